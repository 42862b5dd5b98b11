//! The process that receives.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use headland_platform::clock::Clock;
use headland_platform::task;
use headland_replication::quic::{Endpoint, Lanes, Windows};
use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::arguments::Arguments;
use crate::children::say;
use crate::end::{End, Log, Written};
use crate::fleet::{self, Side};
use crate::latency::Latencies;
use crate::load::made_at;
use crate::scenario::Scenario;
use crate::timeline::Timeline;
use headland_gauge as gauge;

/// Says where it listens, takes in what one peer sends, and says what it stored and how late each
/// record was when its standard input ends.
pub(crate) async fn run(mut arguments: Arguments) -> Result<()> {
    let directory = arguments.take_path("directory")?;
    let scenario = Scenario::read(&arguments.take_path("scenario")?)?;
    arguments.finish()?;
    let clock = Clock::start();
    let log = Log::open(&directory.join("sink"), clock)?;
    let tls = fleet::load(&directory, Side::Sink)?;
    let endpoint = Endpoint::bind(SocketAddr::from(([0, 0, 0, 0], 0)), tls, Windows::hub())?;
    say(&json!({ "address": endpoint.local_address().to_string() }))?;
    let incoming = endpoint.accept().await.context("the endpoint is open")?;
    let connection = incoming.establish().await?;
    let Lanes { sender, mut events, driver } = connection.lanes();
    let driver = task::spawn_until_done("lanes", driver.run());
    let mut end = End::new(Side::Sink, log, clock, sender)?;
    let mut count = Count::default();
    let asked = async {
        let mut nothing = Vec::new();
        tokio::io::stdin().read_to_end(&mut nothing).await.ok();
    };
    tokio::pin!(asked);
    loop {
        end.drain()?;
        let wait = end.poll_timeout().context("the link is open")?;
        tokio::select! {
            () = &mut asked => break,
            event = events.recv() => match event {
                Some(event) => end.on_event(event),
                // The source has all its acknowledgements and is gone.
                None => {
                    asked.await;
                    break;
                }
            },
            written = end.log.durable() => {
                let written = written?;
                end.on_durable(&written);
                count.add(&written, &scenario)?;
            }
            () = tokio::time::sleep(wait) => end.on_timeout(),
        }
    }
    let cpu_seconds = gauge::cpu().as_secs_f64();
    let Count { records, latencies, timeline } = count;
    say(&json!({
        "cpu_seconds": cpu_seconds,
        "records": records,
        "latency": latencies.report(),
        "timeline": timeline.to_json(),
    }))?;
    drop(driver);
    end.close()
}

/// What became durable.
#[derive(Default)]
struct Count {
    records: u64,
    latencies: Latencies,
    timeline: Timeline,
}

impl Count {
    /// Counts batches; of a steady load also how old their records are.
    fn add(&mut self, written: &[Written], scenario: &Scenario) -> Result<()> {
        let now = gauge::now();
        for Written { batch, .. } in written {
            self.records += batch.span();
            self.timeline.add(now, batch.span() * u64::try_from(scenario.record_bytes)?);
            if scenario.records_per_second > 0 {
                for made_at in made_at(batch)? {
                    self.latencies.add(now.saturating_sub(made_at));
                }
            }
        }
        Ok(())
    }
}
