//! All agents, and what they have seen together.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headland_event::AgentName;
use headland_platform::clock::Clock;
use headland_platform::task::{self, Task, Token};

use crate::device::{self, Device, Hub};

/// How often is looked at what the agents have seen.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Counts, each read alone, so that their order among themselves does not matter.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    dials: AtomicU64,
    ready: AtomicU64,
    made: AtomicU64,
    acknowledged: AtomicU64,
}

impl Seen {
    pub(crate) fn on_dial(&self) {
        self.dials.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn on_ready(&self) {
        self.ready.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn on_gone(&self) {
        self.ready.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn on_made(&self) {
        self.made.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn on_acknowledged(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that were asked for.
    pub(crate) fn dials(&self) -> u64 {
        self.dials.load(Ordering::Relaxed)
    }

    /// Links that the hub has greeted and that are still there.
    pub(crate) fn ready(&self) -> u64 {
        self.ready.load(Ordering::Relaxed)
    }

    /// Events that were made.
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Events that the hub has on disk, as far as the agents were told.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }
}

/// The agents, which live until this is dropped.
pub(crate) struct Crowd {
    pub(crate) seen: Arc<Seen>,
    count: u64,
    lives: Vec<Task<Option<Result<()>>>>,
    token: Token,
}

impl Crowd {
    /// Starts agents with these numbers, whose certificates are in `folder`, all at once.
    pub(crate) fn start(numbers: Range<u64>, folder: &Path, hub: &Hub) -> Result<Self> {
        let (seen, token, clock) = (Arc::new(Seen::default()), Token::new(), Clock::start());
        let count = numbers.end.saturating_sub(numbers.start);
        let lives = numbers
            .map(|number| {
                let name = name(number);
                let identity = device::identity(folder, &name)?;
                let name = AgentName::new(&name)?;
                let device = Device::new(number, name, hub.clone(), clock, Arc::clone(&seen))?;
                Ok(task::spawn("agent", &token, device.live(identity)))
            })
            .collect::<Result<_>>()?;
        Ok(Self { seen, count, lives, token })
    }

    /// Waits until every agent has its link, and says how long that took.
    pub(crate) async fn all_ready(&self, limit: Duration) -> Result<Duration> {
        self.wait_for("all links", limit, |seen| seen.ready() == self.count).await
    }

    /// Waits until `holds`, and says how long that took.
    pub(crate) async fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&Seen) -> bool,
    ) -> Result<Duration> {
        let clock = Clock::start();
        let begin = clock.monotonic();
        while !holds(&self.seen) {
            tokio::time::sleep(LOOK_INTERVAL).await;
            if clock.monotonic().since(begin) > limit {
                bail!("no {what} within {limit:?}: {:?} of {}", self.seen, self.count);
            }
        }
        Ok(clock.monotonic().since(begin))
    }

    /// Ends all agents; fails when one had ended by itself.
    pub(crate) async fn end(self) -> Result<()> {
        self.token.cancel();
        for life in self.lives {
            life.join().await.flatten().transpose().context("an agent ended by itself")?;
        }
        Ok(())
    }
}

/// What an agent is called.
pub(crate) fn name(number: u64) -> String {
    format!("till-{number}")
}
