//! The process that receives.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use headland_platform::clock::Clock;
use headland_platform::task;
use headland_replication::quic::{Endpoint, LaneEvent, LaneEvents, Windows};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use crate::arguments::Arguments;
use crate::children::say;
use crate::end::{End, Log, Standing, Written};
use crate::fleet::{self, Side};
use crate::latency::Latencies;
use crate::load::{self, made_at};
use crate::scenario::Scenario;
use crate::silence::Silences;
use crate::timeline::Timeline;
use headland_gauge as gauge;

/// Says where it listens, takes in what one peer sends over one connection after another, and says
/// what it stored and how late each record was when its standard input ends.
pub(crate) async fn run(mut arguments: Arguments) -> Result<()> {
    let directory = arguments.take_path("directory")?;
    let scenario = Scenario::read(&arguments.take_path("scenario")?)?;
    arguments.finish()?;
    let clock = Clock::start();
    let log = Log::open(&directory.join("sink"), clock)?;
    let tls = fleet::load(&directory, Side::Sink)?;
    let endpoint = Endpoint::bind(SocketAddr::from(([0, 0, 0, 0], 0)), tls, Windows::hub())?;
    say(&json!({ "address": endpoint.local_address().to_string() }))?;
    let mut end = End::new(Side::Sink, log, clock, Vec::new());
    let mut count = Count::default();
    let asked = async {
        let mut nothing = Vec::new();
        tokio::io::stdin().read_to_end(&mut nothing).await.ok();
    };
    tokio::pin!(asked);
    let (mut events, mut driver) = (None, None);
    // Side by side: those that began during a cut are never finished.
    let mut handshakes = JoinSet::new();
    loop {
        if end.drain()? == Standing::Down {
            (events, driver) = (None, None);
        }
        let wait = end.poll_timeout();
        tokio::select! {
            () = &mut asked => break,
            event = next(&mut events) => match event {
                Some(event) => end.on_event(event),
                None => {
                    end.disconnect();
                    events = None;
                }
            },
            written = end.log.durable() => {
                let written = written?;
                end.on_durable(&written);
                count.add(&written, &scenario)?;
            }
            incoming = endpoint.accept() => {
                handshakes.spawn(incoming.context("the endpoint is open")?.establish());
            }
            Some(established) = handshakes.join_next() => {
                // One that is given up halfway is followed by the next.
                let Ok(connection) = established.context("a handshake panicked")? else { continue };
                end.disconnect();
                while !end.log.is_settled() {
                    count.add(&end.log.durable().await?, &scenario)?;
                }
                let lanes = connection.lanes();
                driver = Some(task::spawn_until_done("lanes", lanes.driver.run()));
                events = Some(lanes.events);
                end.connect(lanes.sender)?;
            }
            () = tokio::time::sleep(wait) => end.on_timeout(),
        }
    }
    let cpu_seconds = gauge::cpu().as_secs_f64();
    let Count { records, latencies, alerts, timeline, silences } = count;
    say(&json!({
        "cpu_seconds": cpu_seconds,
        "records": records,
        "latency": latencies.report(),
        "alerts": alerts.report(),
        "silences": silences.to_json(),
        "timeline": timeline.to_json(),
    }))?;
    drop(driver);
    end.close()
}

/// The next event of a connection; never, while there is none.
async fn next(events: &mut Option<LaneEvents>) -> Option<LaneEvent> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

/// What became durable.
#[derive(Default)]
struct Count {
    records: u64,
    latencies: Latencies,
    alerts: Latencies,
    timeline: Timeline,
    silences: Silences,
}

impl Count {
    /// Counts batches; of alerts and of a steady load also how old they are.
    fn add(&mut self, written: &[Written], scenario: &Scenario) -> Result<()> {
        let now = gauge::now();
        let alerts = load::alerts()?;
        for Written { batch, partition, .. } in written {
            let ages = made_at(batch)?.into_iter().map(|made_at| now.saturating_sub(made_at));
            if *partition == alerts {
                ages.for_each(|age| self.alerts.add(age));
                continue;
            }
            self.records += batch.span();
            self.timeline.add(now, batch.span() * u64::try_from(scenario.record_bytes)?);
            self.silences.end(now);
            if scenario.records_per_second > 0 {
                ages.for_each(|age| self.latencies.add(age));
            }
        }
        Ok(())
    }
}
