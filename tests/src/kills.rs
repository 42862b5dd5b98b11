//! Two regions under load, one of whose hubs is killed again and again.
//!
//! An agent of `eu` reads a file that never stops growing; `us` has the mirror. One hub after the
//! other gets a SIGKILL and is started again at once. It flows again when `us` has a line that was
//! written after that start. At the end the mirror has every line, in order, once.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use headland_event::Monotonic;
use headland_platform::clock::Clock;
use serde_json::{Value, json};

use crate::fleet::{Fleet, Node, values};
use crate::process::WAIT_LIMIT;

/// How often lines are written, and how often it is looked.
const TICK: Duration = Duration::from_millis(10);

/// Lines written at once: 500 a second.
const LINES: u32 = 5;

/// How long it flows between two kills.
const BETWEEN: Duration = Duration::from_millis(300);

const SOURCE: &str = "inventory.events";
const MIRROR: &str = "eu.inventory.events";

/// What a run with kills came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kills {
    /// From the start of a killed hub until it flowed again, in milliseconds, in rising order.
    pub flowed_ms: Vec<u64>,
    /// Lines that were written.
    pub lines: u64,
    /// Lines that the mirror lacks.
    pub lost: u64,
    /// Lines that it has more than once, or out of order.
    pub doubled: u64,
}

impl Kills {
    /// The time within which so many percent of the kills were over.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Option<u64> {
        let rank = (self.flowed_ms.len() * percent).div_ceil(100);
        self.flowed_ms.get(rank.max(1) - 1).copied()
    }

    /// What was found, as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let of = |percent| self.percentile(percent);
        json!({
            "kills": self.flowed_ms.len(), "lines": self.lines, "lost": self.lost,
            "doubled": self.doubled, "flowed_again_p50_ms": of(50), "flowed_again_p99_ms": of(99),
            "flowed_again_max_ms": of(100),
        })
    }
}

/// Which hub is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Mirror,
}

/// The two regions and their load.
struct Regions {
    fleet: Fleet,
    eu: Node,
    us: Node,
    _agent: Node,
    written: u32,
    clock: Clock,
}

impl Regions {
    async fn start() -> Result<Self> {
        let fleet = Fleet::new()?;
        let (mut eu, mut us) = (fleet.hub("eu")?, fleet.hub("us")?);
        eu.grant("eu-1", &[SOURCE, "alerts"], &["eu-1-"])?;
        eu.expect(&us)?;
        us.dial(&eu)?;
        let mut agent = fleet.agent("eu-1", &eu)?;
        fleet.append("eu-1.jsonl", &lines(0, 1))?;
        eu.start().await?;
        us.start().await?;
        agent.start().await?;
        let clock = Clock::start();
        Ok(Self { fleet, eu, us, _agent: agent, written: 1, clock })
    }

    fn write(&mut self) -> Result<()> {
        let next = self.written + LINES;
        let lines = lines(self.written, next);
        self.written = next;
        self.fleet.append("eu-1.jsonl", &lines)
    }

    /// Writes on until `done` says so of where the mirror ends; `None` while nobody says.
    async fn flow(&mut self, done: impl Fn(Option<u64>, Duration) -> bool) -> Result<()> {
        let began = self.clock.monotonic();
        let mut interval = tokio::time::interval(TICK);
        loop {
            interval.tick().await;
            self.write()?;
            let passed = self.clock.monotonic().since(began);
            let end = self.mirrored().await;
            if done(end, passed) {
                return Ok(());
            }
            if passed > WAIT_LIMIT {
                bail!("{} lines were written, the mirror ends at {end:?}", self.written);
            }
        }
    }

    /// Where the mirror ends.
    async fn mirrored(&self) -> Option<u64> {
        let topic = self.us.api.json(&format!("/v1/topics/{MIRROR}")).await.ok()?;
        topic.pointer("/partitions/0/end").and_then(Value::as_u64)
    }

    /// Kills a hub, starts it again, and waits until it flows; how long that took.
    async fn kill(&mut self, end: End) -> Result<Duration> {
        let hub = match end {
            End::Source => &mut self.eu,
            End::Mirror => &mut self.us,
        };
        hub.kill().await?;
        self.write()?;
        let began: Monotonic = self.clock.monotonic();
        let before = u64::from(self.written);
        {
            let Self { eu, us, fleet, written, .. } = self;
            let starting = match end {
                End::Source => eu.start(),
                End::Mirror => us.start(),
            };
            tokio::pin!(starting);
            let mut interval = tokio::time::interval(TICK);
            loop {
                tokio::select! {
                    started = &mut starting => break started?,
                    _ = interval.tick() => {
                        let next = *written + LINES;
                        fleet.append("eu-1.jsonl", &lines(*written, next))?;
                        *written = next;
                    }
                }
            }
        }
        self.flow(|end, _| end.is_some_and(|end| end > before)).await?;
        Ok(self.clock.monotonic().since(began))
    }
}

/// Restocks of one unit, numbered.
fn lines(from: u32, until: u32) -> Vec<String> {
    let line = |at: u32| {
        format!(r#"{{"id":"eu-1/{at}","kind":"restock","device":"eu-1-till","sku":"A","location":"#)
            + r#""eu-1","quantity":1,"time":"2010-12-01T08:00:00Z"}"#
    };
    (from..until).map(line).collect()
}

/// Kills either hub in turn, so many times in all.
///
/// # Errors
/// When a hub does not come back, or it does not flow again.
pub async fn run(kills: usize) -> Result<Kills> {
    let mut regions = Regions::start().await?;
    regions.flow(|end, _| end.is_some_and(|end| end > 100)).await?;
    let mut flowed_ms = Vec::with_capacity(kills);
    for kill in 0..kills {
        let end = if kill % 2 == 0 { End::Source } else { End::Mirror };
        let took = regions.kill(end).await?;
        flowed_ms.push(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        regions.flow(|_, passed| passed > BETWEEN).await?;
    }
    flowed_ms.sort_unstable();
    let lines = u64::from(regions.written);
    let count = usize::try_from(lines).context("too many lines")?;
    let mirrored = regions.us.records_when(MIRROR, count).await?;
    let source = regions.eu.records(SOURCE).await?;
    let (mut lost, mut doubled) = (0, 0);
    let mut next = 0_u32;
    for found in values(&mirrored)? {
        let id = found.get("id").and_then(Value::as_str);
        let id = id.and_then(|id| id.strip_prefix("eu-1/")?.parse().ok());
        let id: u32 = id.with_context(|| format!("an id in {found}"))?;
        if id < next {
            doubled += 1;
        } else {
            lost += u64::from(id - next);
            next = id + 1;
        }
    }
    lost += lines.saturating_sub(u64::from(next));
    // The copy is one of what stands at its source, dot by dot.
    let dots = |records: &[Value]| -> Vec<_> {
        records.iter().map(|record| record.get("dot").map(Value::to_string)).collect()
    };
    if dots(&source) != dots(&mirrored) {
        bail!("the mirror is no copy of its source");
    }
    Ok(Kills { flowed_ms, lines, lost, doubled })
}
