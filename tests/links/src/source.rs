//! The process that sends.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use headland_event::{Lane, TopicPartition};
use headland_platform::clock::Clock;
use headland_platform::task;
use headland_replication::quic::{Connection, Endpoint, LaneEvents, Lanes, Windows};
use serde_json::json;

use crate::arguments::Arguments;
use crate::children::say;
use crate::end::{End, Log, Standing, Written};
use crate::fleet::{self, Side};
use crate::latency::Latencies;
use crate::load::{self, BATCH_RECORDS, Due, Load, PARTITIONS, made_at, partition};
use crate::scenario::Scenario;
use headland_gauge as gauge;

/// Time between two batches of a steady load.
const TICK: Duration = Duration::from_millis(2);
/// Batches that are composed before the disk is waited for.
const BATCHES_AHEAD: u32 = 64;

/// Writes the load of `--scenario`, sends it to `--target` until all is acknowledged, and says how
/// long that took.
pub(crate) async fn run(mut arguments: Arguments) -> Result<()> {
    let directory = arguments.take_path("directory")?;
    let target: SocketAddr = arguments.take("target", SocketAddr::from(([0, 0, 0, 0], 0)))?;
    let scenario = Scenario::read(&arguments.take_path("scenario")?)?;
    arguments.finish()?;
    let clock = Clock::start();
    let mut log = Log::open(&directory.join("source"), clock)?;
    let is_behind = scenario.records_per_second == 0;
    let mut feed = Feed::new(&scenario)?;
    if is_behind {
        feed.write_all(&mut log).await?;
    }
    let tls = fleet::load(&directory, Side::Source)?;
    let endpoint = Endpoint::bind(SocketAddr::from(([0, 0, 0, 0], 0)), tls, Windows::hub())?;
    let started = gauge::now();
    let mut end = End::new(Side::Source, log, clock, feed.offered()?);
    let mut links = 0_u32;
    while !is_done(&feed, &end) {
        let connection = dial(&endpoint, target, &mut feed, &mut end).await?;
        links += 1;
        let Lanes { sender, events, driver } = connection.lanes();
        let driver = task::spawn_until_done("lanes", driver.run());
        end.connect(sender)?;
        serve(&mut end, &mut feed, events).await?;
        drop(driver);
    }
    let seconds = gauge::now().saturating_sub(started).as_secs_f64();
    let start = feed.records.began_at().map(|at| at.saturating_sub(started).as_secs_f64());
    let cpu_seconds = gauge::cpu().as_secs_f64();
    say(&json!({
        "seconds": seconds,
        "start_ms": start.map(|seconds| seconds * 1_000.0),
        "cpu_seconds": cpu_seconds,
        "connections": links,
        "latency": feed.durable.report(),
    }))?;
    end.close()
}

/// Whether all is written, and on the peer's disk.
fn is_done(feed: &Feed, end: &End) -> bool {
    feed.is_done() && end.log.is_settled() && end.is_acknowledged()
}

/// Connects, however long it takes; what is due is written meanwhile.
async fn dial(
    endpoint: &Endpoint,
    target: SocketAddr,
    feed: &mut Feed,
    end: &mut End,
) -> Result<Connection> {
    let name = Side::Sink.server_name()?;
    let mut ticks = tokio::time::interval(TICK);
    loop {
        let connecting = endpoint.connect(target, &name);
        tokio::pin!(connecting);
        loop {
            tokio::select! {
                connected = &mut connecting => match connected {
                    Ok(connection) => return Ok(connection),
                    // Nobody answered for long; a proof has nothing better to do than to go on.
                    Err(_) => break,
                },
                written = end.log.durable() => feed.on_durable(&written?, end)?,
                _ = ticks.tick(), if !feed.is_done() => feed.write_due(&mut end.log)?,
            }
        }
    }
}

/// Sends over one connection until all is acknowledged or the connection is gone.
async fn serve(end: &mut End, feed: &mut Feed, mut events: LaneEvents) -> Result<()> {
    let mut ticks = tokio::time::interval(TICK);
    while !is_done(feed, end) && end.drain()? == Standing::Up {
        feed.begin_with(end);
        let wait = end.poll_timeout();
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => end.on_event(event),
                None => {
                    end.disconnect();
                    return Ok(());
                }
            },
            written = end.log.durable() => feed.on_durable(&written?, end)?,
            _ = ticks.tick(), if !feed.is_done() => {
                feed.write_alerts(&mut end.log)?;
                feed.write_due(&mut end.log)?;
            }
            () = tokio::time::sleep(wait) => end.on_timeout(),
        }
    }
    Ok(())
}

/// What is still to be written.
struct Feed {
    load: Load,
    records: Due,
    partitions: Vec<TopicPartition>,
    turn: usize,
    alerts: Option<(Due, Load, TopicPartition)>,
    /// Of a steady load: how old each record was when it was durable here.
    durable: Latencies,
}

/// Bytes of an alert.
const ALERT_BYTES: usize = 200;

impl Feed {
    fn new(scenario: &Scenario) -> Result<Self> {
        let partitions = (0..PARTITIONS).map(partition).collect::<Result<_>>()?;
        let load = Load::new(scenario.record_bytes);
        let records = Due::new(scenario.records, scenario.records_per_second);
        let alerts = scenario.alerts.map(|alerts| {
            let due = Due::new(alerts.count, alerts.per_second);
            Ok::<_, anyhow::Error>((due, Load::new(ALERT_BYTES), load::alerts()?))
        });
        let (alerts, durable) = (alerts.transpose()?, Latencies::default());
        Ok(Self { load, records, partitions, turn: 0, alerts, durable })
    }

    /// What the peer is offered.
    fn offered(&self) -> Result<Vec<(TopicPartition, Lane)>> {
        let records = self.partitions.iter().map(|partition| (partition.clone(), Lane::Telemetry));
        let alerts = self.alerts.iter().map(|(_, _, partition)| (partition.clone(), Lane::Alerts));
        Ok(records.chain(alerts).collect())
    }

    fn is_done(&self) -> bool {
        self.records.is_done() && self.alerts.as_ref().is_none_or(|(due, ..)| due.is_done())
    }

    fn write(&mut self, log: &mut Log, count: u64) -> Result<()> {
        if count > 0 {
            let batch = self.load.batch(count, gauge::now())?;
            let partition = self.partitions.get(self.turn).context("one of eight")?;
            log.write(partition, batch);
            self.turn = (self.turn + 1) % self.partitions.len();
        }
        Ok(())
    }

    /// Writes all records, and waits until they are durable.
    async fn write_all(&mut self, log: &mut Log) -> Result<()> {
        while !self.records.is_done() {
            for _ in 0..BATCHES_AHEAD {
                let count = self.records.take(BATCH_RECORDS);
                self.write(log, count)?;
            }
            log.commit();
            while !log.is_settled() {
                log.durable().await?;
            }
        }
        Ok(())
    }

    /// Starts the clock of the records once the link carries what is offered. Those made before
    /// would wait for its first handshake, which is reported by itself: MirrorMaker runs and has
    /// passed records before it is measured.
    fn begin_with(&mut self, end: &End) {
        if self.records.began_at().is_none() && end.is_flowing() {
            self.records.begin(gauge::now());
        }
    }

    /// Writes the records that are due by now, as one batch.
    fn write_due(&mut self, log: &mut Log) -> Result<()> {
        let count = self.records.by(gauge::now())?;
        self.write(log, count)?;
        log.commit();
        Ok(())
    }

    /// A commit became durable: its records are counted, and the peer hears of it.
    fn on_durable(&mut self, written: &[Written], end: &mut End) -> Result<()> {
        end.on_durable(written);
        let now = gauge::now();
        let steady = written.iter().filter(|written| {
            self.records.is_steady() && self.partitions.contains(&written.partition)
        });
        for Written { batch, .. } in steady {
            for made_at in made_at(batch)? {
                self.durable.add(now.saturating_sub(made_at));
            }
        }
        Ok(())
    }

    /// Writes the alerts that are due by now: the first when the link begins, so that what making
    /// it took is not counted.
    fn write_alerts(&mut self, log: &mut Log) -> Result<()> {
        let Some((due, load, partition)) = &mut self.alerts else { return Ok(()) };
        let now = gauge::now();
        due.begin(now);
        let count = due.by(now)?;
        if count > 0 {
            log.write(partition, load.batch(count, now)?);
        }
        Ok(())
    }
}
