//! The process that waits until records are visible at a broker.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::connection::Connection;
use super::fetch;
use crate::arguments::Arguments;
use crate::children::say;
use crate::latency::Latencies;
use crate::load::{PARTITIONS, made_at};
use crate::scenario::Scenario;
use crate::timeline::Timeline;
use headland_gauge as gauge;

/// Between two looks at the ends of a topic.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until `--topic` at `--broker` has `--records` more than when this began, for
/// `--seconds-most`: says that it has begun, and in the end how many came when. With `--ages 1` it
/// reads them, as a consumer does, and says how old each was then.
pub(crate) fn run(mut arguments: Arguments) -> Result<()> {
    let broker: SocketAddr = arguments.take("broker", SocketAddr::from(([0, 0, 0, 0], 0)))?;
    let topic: String = arguments.take("topic", String::new())?;
    let records: u64 = arguments.take("records", 0)?;
    let patience = Duration::from_secs(arguments.take("seconds-most", 60)?);
    let ages: u8 = arguments.take("ages", 0)?;
    let scenario = Scenario::read(&arguments.take_path("scenario")?)?;
    arguments.finish()?;
    let mut watch = Watch {
        connection: Connection::open(broker)?,
        topic,
        record_bytes: u64::try_from(scenario.record_bytes)?,
        until: gauge::now() + patience,
        positions: Vec::new(),
        seen: Seen::default(),
    };
    watch.positions = watch.ends()?;
    say(&json!({ "is_ready": true }))?;
    if ages == 0 {
        watch.look(records)?
    } else {
        watch.read(records)?
    }
    let Seen { records, last_at, latencies, timeline } = watch.seen;
    say(&json!({
        "records": records,
        "last_at": last_at.as_secs_f64(),
        "latency": latencies.report(),
        "timeline": timeline.to_json(),
    }))
}

/// What became visible.
#[derive(Debug, Default)]
struct Seen {
    records: u64,
    last_at: Duration,
    latencies: Latencies,
    timeline: Timeline,
}

/// A look at one topic.
struct Watch {
    connection: Connection,
    topic: String,
    record_bytes: u64,
    until: Duration,
    /// What of each partition was seen.
    positions: Vec<(u32, u64)>,
    seen: Seen,
}

impl Watch {
    fn ends(&mut self) -> Result<Vec<(u32, u64)>> {
        let request = fetch::list_ends(&self.topic, PARTITIONS)?;
        fetch::read_ends(self.connection.ask(&request)?)
    }

    fn add(&mut self, records: u64) {
        if records > 0 {
            self.seen.last_at = gauge::now();
            self.seen.records += records;
            self.seen.timeline.add(self.seen.last_at, records * self.record_bytes);
        }
    }

    /// Looks at the ends alone, which costs the broker next to nothing.
    fn look(&mut self, records: u64) -> Result<()> {
        let sum = |ends: &[(u32, u64)]| ends.iter().map(|(_, end)| end).sum::<u64>();
        let first = sum(&self.positions);
        while self.seen.records < records && gauge::now() < self.until {
            let ends = self.ends()?;
            self.add(sum(&ends).saturating_sub(first + self.seen.records));
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Reads every record.
    fn read(&mut self, records: u64) -> Result<()> {
        while self.seen.records < records && gauge::now() < self.until {
            let request = fetch::fetch(&self.topic, &self.positions)?;
            let batches = fetch::read_fetched(self.connection.ask(&request)?)?;
            let now = gauge::now();
            for (partition, end, batch) in batches {
                for made_at in made_at(&batch)? {
                    self.seen.latencies.add(now.saturating_sub(made_at));
                }
                self.add(batch.span());
                let position = self.positions.iter_mut().find(|(index, _)| *index == partition);
                if let Some((_, position)) = position {
                    *position = end;
                }
            }
        }
        Ok(())
    }
}
