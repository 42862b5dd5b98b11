//! How fast events are applied, and what a key costs.
//!
//! A key is one sku at one of ten locations. Every event is a JSON line of its own delivery: it is
//! parsed, checked against every delivery before it, applied, and its derived records are taken.
//! The first pass makes the keys, the second one hits them in no order, the third one also writes
//! the derived records' JSON. Events are made before the clock runs.

use std::path::Path;
#[cfg(test)]
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use headland_event::{
    Actor, Batch, Dot, Entry, EventTime, Extent, Hlc, Incarnation, Offset, PartitionIndex, Record,
    RegionId, Sequence, StreamId, TopicName, TopicPartition, Verdict,
};
use headland_reconcile::{Config, Input, Locality, Output, Prepared, READ_AHEAD, Reconciler};
use headland_storage::{Commit, DiskStore, LogStore, OpenOptions};
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::report::Report;
use headland_gauge::{self as gauge, Resident, float};

/// Events made at a time, and events of one durable commit.
const CHUNK: u64 = 1_000;
const PARTITIONS: u32 = 8;
const LOCATIONS: u64 = 10;
/// Keys of the small measurement.
const KEYS_SMALL: u64 = 1_000;

/// Least events per second in memory, and with durable commits.
const EVENTS_PER_SECOND: f64 = 300_000.0;
const DURABLE_PER_SECOND: f64 = 50_000.0;
/// Most resident bytes of a key with one delivery.
const BYTES_PER_KEY: f64 = 200.0;
/// Most that an event of a million keys may cost, of what one of a thousand keys does.
const COST_RATIO: f64 = 2.0;

/// What is done with derived records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Derived {
    Taken,
    Written,
}

/// Measures and compares with the bars.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    let directory = arguments.take_path("directory")?;
    let keys = arguments.take("keys", 1_000_000_u64)?;
    arguments.finish()?;
    // The large one first: what the small one leaves behind would hide its memory.
    let large = measure(keys, keys)?;
    let small = measure(KEYS_SMALL, keys)?;
    let durable = durable(&directory, keys.min(300_000))?;
    let ratio = large.hit_micros / small.hit_micros;
    let is_green = 1e6 / large.hit_micros >= EVENTS_PER_SECOND
        && 1e6 / large.make_micros >= EVENTS_PER_SECOND
        && large.bytes_per_key <= BYTES_PER_KEY
        && ratio <= COST_RATIO
        && durable.per_second >= DURABLE_PER_SECOND;
    let result = json!({
        "keys": keys,
        "events_each_pass": keys,
        "large": large.to_json(),
        "small": small.to_json(),
        "cost_ratio_large_to_small": ratio,
        "durable": durable.to_json(),
        "bars": {
            "events_per_second": EVENTS_PER_SECOND,
            "bytes_per_key": BYTES_PER_KEY,
            "cost_ratio": COST_RATIO,
            "durable_per_second": DURABLE_PER_SECOND,
        },
    });
    Ok(Report { is_green, result })
}

/// Processor time of one event by pass, and memory.
#[derive(Debug)]
struct Measured {
    keys: u64,
    make_micros: f64,
    hit_micros: f64,
    write_micros: f64,
    bytes_per_key: f64,
    bytes_per_event_after_all: f64,
}

impl Measured {
    fn to_json(&self) -> Value {
        json!({
            "keys": self.keys,
            "first_pass_events_per_cpu_second": 1e6 / self.make_micros,
            "second_pass_events_per_cpu_second": 1e6 / self.hit_micros,
            "third_pass_with_json_events_per_cpu_second": 1e6 / self.write_micros,
            "second_pass_cpu_micros_per_event": self.hit_micros,
            "resident_bytes_per_key_after_first_pass": self.bytes_per_key,
            "resident_bytes_per_event_after_all": self.bytes_per_event_after_all,
        })
    }
}

fn measure(keys: u64, events: u64) -> Result<Measured> {
    let before = Resident::of_this()?.now;
    let mut feed = Feed::new(keys)?;
    let make = feed.pass(events, Derived::Taken);
    feed.settle();
    let bytes = Resident::of_this()?.now.saturating_sub(before);
    let hit = feed.pass(events, Derived::Taken);
    let write = feed.pass(events, Derived::Written);
    feed.settle();
    let bytes_after = Resident::of_this()?.now.saturating_sub(before);
    let micros = |took: Duration| took.as_secs_f64() * 1e6 / float(events);
    Ok(Measured {
        keys,
        make_micros: micros(make),
        hit_micros: micros(hit),
        write_micros: micros(write),
        bytes_per_key: float(bytes) / float(keys),
        bytes_per_event_after_all: float(bytes_after) / float(3 * events),
    })
}

/// A hub that is fed events by number.
#[derive(Debug)]
struct Feed {
    reconciler: Reconciler,
    keys: u64,
    next: u64,
    actors: Vec<Actor>,
    offsets: Vec<u64>,
    context: Extent,
    taken: u64,
}

impl Feed {
    fn new(keys: u64) -> Result<Self> {
        let region = RegionId::new("eu")?;
        let actors = (0..PARTITIONS).map(|partition| Actor {
            region: region.clone(),
            incarnation: Incarnation::new(1, 1),
            partition: PartitionIndex::new(partition),
        });
        Ok(Self {
            reconciler: Reconciler::new(Config::new(region.clone(), i64::MIN), 7),
            keys,
            next: 0,
            actors: actors.collect(),
            offsets: vec![0; usize::try_from(PARTITIONS)?],
            context: Extent::default(),
            taken: 0,
        })
    }

    /// Applies events and returns the processor time that took, making them left out.
    fn pass(&mut self, events: u64, derived: Derived) -> Duration {
        let mut took = Duration::ZERO;
        let mut left = events;
        while left > 0 {
            let count = left.min(CHUNK);
            left -= count;
            let made: Vec<(usize, Bytes)> = (0..count).map(|_| self.make()).collect();
            let start = gauge::cpu();
            for group in made.chunks(READ_AHEAD) {
                let prepared = self.reconciler.prepare(group.iter().map(|(_, value)| value));
                for ((partition, value), prepared) in group.iter().zip(&prepared) {
                    self.apply(*partition, value, prepared);
                    while let Some(output) = self.reconciler.poll_output() {
                        self.take(&output, derived);
                    }
                }
            }
            took += gauge::cpu() - start;
        }
        took
    }

    /// The next event: its partition follows from its location, as devices stay at one hub.
    fn make(&mut self) -> (usize, Bytes) {
        let number = self.next;
        self.next += 1;
        // The first pass goes through the keys, later ones hit them in no order.
        let key = if number < self.keys {
            number
        } else {
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
        } % self.keys;
        let (sku, location) = (key / LOCATIONS, key % LOCATIONS);
        // What comes in is more than what is sold, as in most stores.
        let (kind, quantity) =
            if number < self.keys { ("restock", 1_000_000) } else { ("sale", 1 + number % 9) };
        let value = format!(
            "{{\"id\":\"till-{location}/{number}\",\"kind\":\"{kind}\",\
             \"device\":\"till-{location}\",\"sku\":\"sku-{sku}\",\
             \"location\":\"store-{location}\",\"quantity\":{quantity},\
             \"time\":\"2010-12-01T08:26:00Z\"}}"
        );
        let partition = usize::try_from(location).unwrap_or(0) % self.actors.len().max(1);
        (partition, Bytes::from(value))
    }

    fn apply(&mut self, partition: usize, value: &Bytes, prepared: &Prepared) {
        let (Some(actor), Some(offset)) =
            (self.actors.get(partition), self.offsets.get_mut(partition))
        else {
            return;
        };
        let input = Input {
            actor,
            offset: Offset::new(*offset),
            hlc: Hlc::new(EventTime::from_millis(1), 0),
            context: &self.context,
            verdict: Verdict::OnTime,
            locality: Locality::Local,
            captured_at: EventTime::from_millis(1),
            detected_at: EventTime::from_millis(1),
            value,
        };
        self.reconciler.on_prepared(input, prepared);
        *offset += 1;
    }

    fn take(&mut self, output: &Output, derived: Derived) {
        self.taken += match derived {
            Derived::Taken => 1,
            Derived::Written => {
                let value = output.value().map_or(0, |value| value.len());
                u64::try_from(output.key().len() + value).unwrap_or(0)
            }
        };
    }

    /// Everybody has seen everything: what only older cuts could ask for goes.
    fn settle(&mut self) {
        let stable = self.reconciler.applied();
        self.reconciler.compact(&stable.into());
    }
}

/// Events per second when events and what they derive are committed durably.
#[derive(Debug)]
struct Durable {
    events: u64,
    per_second: f64,
    per_cpu_second: f64,
}

impl Durable {
    fn to_json(&self) -> Value {
        json!({
            "events": self.events,
            "events_each_commit": CHUNK,
            "barrier": "one fdatasync a commit",
            "events_per_second": self.per_second,
            "events_per_cpu_second": self.per_cpu_second,
        })
    }
}

/// Each commit holds a batch of events and the postings and stock records they derive.
fn durable(directory: &Path, events: u64) -> Result<Durable> {
    std::fs::create_dir_all(directory).context("cannot create the directory")?;
    let folder = tempfile::tempdir_in(directory).context("cannot create a directory")?;
    let mut store = DiskStore::open(folder.path(), OpenOptions::new(1))?;
    let mut journal = Journal::new()?;
    let mut feed = Feed::new(events)?;
    let (start, cpu) = (gauge::now(), gauge::cpu());
    let mut left = events;
    while left > 0 {
        let count = left.min(CHUNK);
        left -= count;
        let made: Vec<(usize, Bytes)> = (0..count).map(|_| feed.make()).collect();
        let mut records = Vec::new();
        let mut derived: [Vec<Record>; 2] = [Vec::new(), Vec::new()];
        for group in made.chunks(READ_AHEAD) {
            let prepared = feed.reconciler.prepare(group.iter().map(|(_, value)| value));
            for ((partition, value), prepared) in group.iter().zip(&prepared) {
                feed.apply(*partition, value, prepared);
                records.push(Record::new(EventTime::from_millis(1), "till", value.clone()));
                while let Some(output) = feed.reconciler.poll_output() {
                    let [postings, stock] = &mut derived;
                    let to = if matches!(output, Output::Posting(_)) { postings } else { stock };
                    let value = output.value().map(Bytes::from);
                    let key = Some(Bytes::from(output.key()));
                    let time = EventTime::from_millis(1);
                    to.push(Record { time, key, value, headers: Vec::new() });
                }
            }
        }
        let [postings, stock] = derived;
        let commit = journal.commit([records, postings, stock])?;
        store.append(&[commit])?;
    }
    let (took, cpu) = (gauge::now() - start, gauge::cpu() - cpu);
    store.close()?;
    let per = |took: Duration| float(events) / took.as_secs_f64();
    Ok(Durable { events, per_second: per(took), per_cpu_second: per(cpu) })
}

/// Where the topics of one hub end.
#[derive(Debug)]
struct Journal {
    partitions: [TopicPartition; 3],
    ends: [Offset; 3],
}

impl Journal {
    fn new() -> Result<Self> {
        let of = |name| -> Result<TopicPartition> {
            Ok(TopicPartition::new(TopicName::new(name)?, PartitionIndex::new(0)))
        };
        let partitions =
            [of("inventory.events")?, of("inventory.postings")?, of("inventory.stock")?];
        Ok(Self { partitions, ends: [Offset::default(); 3] })
    }

    fn commit(&mut self, records: [Vec<Record>; 3]) -> Result<Commit> {
        let mut entries = Vec::new();
        for ((partition, end), records) in self.partitions.iter().zip(&mut self.ends).zip(records) {
            if records.is_empty() {
                continue;
            }
            let dot = Dot {
                stream: StreamId::new([7; 16]),
                incarnation: Incarnation::new(1, 1),
                sequence: Sequence::new(end.get() + 1),
            };
            let entry = Entry { base: *end, dot, stamp: None, batch: Batch::encode(&records)? };
            *end = entry.end();
            entries.push((partition.clone(), entry));
        }
        Ok(Commit { entries, state: Vec::new() })
    }
}

/// Where a test may write.
#[cfg(test)]
fn scratch() -> PathBuf {
    std::env::temp_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_applied_and_derives_postings_and_stock() {
        let mut feed = Feed::new(50).unwrap();

        feed.pass(100, Derived::Taken);

        assert_eq!(feed.reconciler.deliveries(), 100);
        assert_eq!(feed.taken, 200, "postings and stock of each");
        assert_eq!(feed.reconciler.skus().len(), 5);
        feed.settle();
        assert_eq!(feed.reconciler.marks(), 50);
    }

    #[test]
    fn a_durable_run_writes_all_events() {
        let measured = durable(&scratch(), 2_500).unwrap();

        assert_eq!(measured.events, 2_500);
        assert!(measured.per_second > 0.0);
    }
}
