//! The process that sends.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use headland_event::TopicPartition;
use headland_platform::clock::Clock;
use headland_platform::task;
use headland_replication::quic::{Endpoint, Lanes, Windows};
use serde_json::json;

use crate::arguments::Arguments;
use crate::children::say;
use crate::end::{End, Log};
use crate::fleet::{self, Side};
use crate::load::{Load, PARTITIONS, partition};
use crate::scenario::Scenario;
use headland_gauge as gauge;

/// Records of a batch when all are written before the link starts: what a busy producer makes.
const BATCH_RECORDS: u64 = 500;
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
    let mut feed = Feed::new(scenario)?;
    if is_behind {
        feed.write_all(&mut log).await?;
    }
    let tls = fleet::load(&directory, Side::Source)?;
    let endpoint = Endpoint::bind(SocketAddr::from(([0, 0, 0, 0], 0)), tls, Windows::hub())?;
    let started = gauge::now();
    let connection = endpoint.connect(target, &Side::Sink.server_name()?).await?;
    let Lanes { sender, mut events, driver } = connection.lanes();
    let driver = task::spawn_until_done("lanes", driver.run());
    let mut end = End::new(Side::Source, log, clock, sender)?;
    for index in 0..PARTITIONS {
        end.offer(Side::Source, partition(index)?)?;
    }
    let mut ticks = tokio::time::interval(TICK);
    while !(feed.is_done() && end.log.is_settled() && end.is_acknowledged()) {
        end.drain()?;
        let wait = end.poll_timeout().context("the link is open")?;
        tokio::select! {
            event = events.recv() => end.on_event(event.context("the connection is lost")?),
            written = end.log.durable() => end.on_durable(&written?),
            _ = ticks.tick(), if !feed.is_done() => feed.write_due(&mut end.log)?,
            () = tokio::time::sleep(wait) => end.on_timeout(),
        }
    }
    let seconds = gauge::now().saturating_sub(started).as_secs_f64();
    let cpu_seconds = gauge::cpu().as_secs_f64();
    say(&json!({ "seconds": seconds, "cpu_seconds": cpu_seconds }))?;
    drop(driver);
    end.close()
}

/// What is still to be written.
struct Feed {
    scenario: Scenario,
    load: Load,
    partitions: Vec<TopicPartition>,
    started: Duration,
    written: u64,
    turn: usize,
}

impl Feed {
    fn new(scenario: Scenario) -> Result<Self> {
        let partitions = (0..PARTITIONS).map(partition).collect::<Result<_>>()?;
        let load = Load::new(scenario.record_bytes);
        Ok(Self { scenario, load, partitions, started: gauge::now(), written: 0, turn: 0 })
    }

    const fn is_done(&self) -> bool {
        self.written == self.scenario.records
    }

    fn write(&mut self, log: &mut Log, count: u64) -> Result<()> {
        let count = count.min(self.scenario.records - self.written);
        if count > 0 {
            let batch = self.load.batch(count, gauge::now())?;
            let partition = self.partitions.get(self.turn).context("one of eight")?;
            log.write(partition, batch);
            self.turn = (self.turn + 1) % self.partitions.len();
            self.written += count;
        }
        Ok(())
    }

    /// Writes everything, and waits until it is durable.
    async fn write_all(&mut self, log: &mut Log) -> Result<()> {
        while !self.is_done() {
            for _ in 0..BATCHES_AHEAD {
                self.write(log, BATCH_RECORDS)?;
            }
            log.commit();
            while !log.is_settled() {
                log.durable().await?;
            }
        }
        Ok(())
    }

    /// Writes what is due by now, as one batch.
    fn write_due(&mut self, log: &mut Log) -> Result<()> {
        let since = gauge::now().saturating_sub(self.started);
        let due = since.as_millis() * u128::from(self.scenario.records_per_second) / 1_000;
        let due = u64::try_from(due)?;
        self.write(log, due.saturating_sub(self.written))?;
        log.commit();
        Ok(())
    }
}
