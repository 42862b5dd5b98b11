//! Records that the hub itself writes: promises and dead letters.

use std::collections::BTreeMap;

use bytes::Bytes;
use headland_event::trace::TRACEPARENT_HEADER;
use headland_event::{
    AgentName, EventTime, Incarnation, Now, Offset, PartitionIndex, Promise, Record, RegionId,
    TopicName, TopicPartition,
};
use headland_replication::audit::Statement;
use headland_replication::frame::{LEASES_TOPIC, PASSED_TOPIC, REFILLS_TOPIC};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Most bytes of a payload that a dead letter repeats.
const DEAD_BYTES_LIMIT: usize = 4 << 10;

/// Most bytes of a key that a dead letter repeats.
const DEAD_KEY_BYTES_LIMIT: usize = 256;

/// Longest trace header that a dead letter repeats: W3C's has 55 bytes, a later version may more.
const TRACE_BYTES_LIMIT: usize = 128;

/// Header with the wall clock, in milliseconds, when a record was captured.
pub const CLOCK_HEADER: &str = "hl-clock";

/// Header of a dead letter: why the record is there.
pub const REASON_HEADER: &str = "hl-reason";

/// Header of a dead letter: where the whole record stands in the topic it was meant for.
const SOURCE_HEADER: &str = "hl-source-offset";

/// Header of a dead letter that repeats a part of its record: how long the whole value is.
const LENGTH_HEADER: &str = "hl-bytes";

/// Header of a dead letter that repeats a part of its record: SHA-256 of the whole value.
const HASH_HEADER: &str = "hl-sha256";

/// The topic of promises.
///
/// # Panics
/// Never: the name is a literal that fits.
#[must_use]
pub fn promises_topic() -> TopicName {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for topics")]
    TopicName::new("_promises").expect("a literal topic name fits")
}

/// The topic of what writers state about their streams.
///
/// # Panics
/// Never: the name is a literal that fits.
#[must_use]
pub fn audit_topic() -> TopicName {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for topics")]
    TopicName::new("_audit").expect("a literal topic name fits")
}

/// The topic of what consumer groups have committed.
///
/// # Panics
/// Never: the name is a literal that fits.
#[must_use]
pub fn groups_topic() -> TopicName {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for topics")]
    TopicName::new("_groups").expect("a literal topic name fits")
}

/// The topic by whose offer hubs know who reads what is said of leases; it never has a record.
///
/// # Panics
/// Never: the name is a literal that fits.
#[must_use]
pub fn leases_topic() -> TopicName {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for topics")]
    TopicName::new(LEASES_TOPIC).expect("a literal topic name fits")
}

/// The topic by whose offer hubs know who reads what is asked about lost ranges; it never has a
/// record.
///
/// # Panics
/// Never: the name is a literal that fits.
#[must_use]
pub fn refills_topic() -> TopicName {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for topics")]
    TopicName::new(REFILLS_TOPIC).expect("a literal topic name fits")
}

/// The topic by whose offer hubs know who reads that something was looked at and not kept; it never
/// has a record.
///
/// # Panics
/// Never: the name is a literal that fits.
#[must_use]
pub fn passed_topic() -> TopicName {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for topics")]
    TopicName::new(PASSED_TOPIC).expect("a literal topic name fits")
}

/// The topic of heartbeats, of hubs with `[heartbeats]`.
///
/// # Panics
/// Never: the name is a literal that fits.
#[must_use]
pub fn heartbeats_topic() -> TopicName {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for topics")]
    TopicName::new("heartbeats").expect("a literal topic name fits")
}

/// A hub's heartbeat, JSON under its region's name.
#[must_use]
pub fn heartbeat_record(region: &RegionId, incarnation: Incarnation, now: Now) -> Record {
    #[derive(Serialize)]
    struct Heartbeat<'a> {
        region: &'a RegionId,
        incarnation: String,
        time: EventTime,
    }
    let heartbeat = Heartbeat { region, incarnation: incarnation.to_string(), time: now.wall };
    Record::new(now.wall, region.to_string(), json(&heartbeat))
}

/// The topic of alerts.
///
/// # Panics
/// Never: the name is a literal that fits.
#[must_use]
pub fn alerts_topic() -> TopicName {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for topics")]
    TopicName::new("alerts").expect("a literal topic name fits")
}

/// The record of what a stream comes to, under the partition it was born in.
#[must_use]
pub fn statement_record(partition: &TopicPartition, statement: &Statement, now: Now) -> Record {
    Record::new(now.wall, partition.to_string(), statement.encode())
}

/// The record of a region's promise, JSON under the topic's name.
#[must_use]
pub fn promise_record(
    topic: &TopicName,
    watermark: EventTime,
    ends: &BTreeMap<PartitionIndex, Offset>,
    now: Now,
) -> Record {
    let promise = Promise { topic: topic.clone(), watermark, ends: ends.clone() };
    Record::new(now.wall, topic.as_str().to_owned(), json(&promise))
}

/// The record that says that an agent no longer holds the region's event time.
#[must_use]
pub fn absent_record(agent: &AgentName, now: Now) -> Record {
    #[derive(Serialize)]
    struct Absent<'a> {
        agent: &'a AgentName,
        state: &'static str,
    }
    let absent = Absent { agent, state: "ABSENT" };
    Record::new(now.wall, format!("agent/{agent}"), json(&absent))
}

/// Where the record of a dead letter stands whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// At this offset of the topic it was meant for.
    At(Offset),
    /// Nowhere: it was derived, and no batch holds it.
    Nowhere,
}

/// The dead letter of a record that may not count or cannot be written: the first 4 KiB, and of a
/// longer one its length and SHA-256.
#[must_use]
pub fn dead_record(record: &Record, reason: &str, whole: Whole) -> Record {
    let value = record.value.as_ref();
    let kept = value.map(|value| value.slice(..value.len().min(DEAD_BYTES_LIMIT)));
    let key = record.key.as_ref().map(|key| key.slice(..key.len().min(DEAD_KEY_BYTES_LIMIT)));
    let mut dead = Record { time: record.time, key, value: kept, headers: Vec::new() }
        .with_header(REASON_HEADER, reason.to_owned());
    if let Whole::At(offset) = whole {
        dead = dead.with_header(SOURCE_HEADER, offset.to_string());
    }
    if let Some(value) = value.filter(|value| value.len() > DEAD_BYTES_LIMIT) {
        dead = dead
            .with_header(LENGTH_HEADER, value.len().to_string())
            .with_header(HASH_HEADER, hexadecimal(&Sha256::digest(value)));
    }
    match record.header(TRACEPARENT_HEADER).filter(|trace| trace.len() <= TRACE_BYTES_LIMIT) {
        Some(trace) => dead.with_header(TRACEPARENT_HEADER, trace.to_vec()),
        None => dead,
    }
}

/// When a record was captured, from its header; `None` when it has none.
#[must_use]
pub fn captured_at(record: &Record) -> Option<EventTime> {
    let text = std::str::from_utf8(record.header(CLOCK_HEADER)?).ok()?;
    text.parse().ok().map(EventTime::from_millis)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn json(value: &impl Serialize) -> Bytes {
    #[expect(clippy::expect_used, reason = "names and numbers always have a JSON")]
    Bytes::from(serde_json::to_vec(value).expect("names and numbers have a JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_json_with_its_ends() {
        let topic = TopicName::new("air").unwrap();
        let ends = [(PartitionIndex::new(3), Offset::new(9))].into();

        let record = promise_record(&topic, EventTime::from_millis(7), &ends, Now::default());

        let text = r#"{"topic":"air","watermark":7,"ends":{"3":9}}"#;
        assert_eq!(record.value.as_deref(), Some(text.as_bytes()));
    }

    #[test]
    fn a_dead_letter_is_small_whatever_its_records_key_and_trace_are() {
        let record = Record::new(EventTime::default(), vec![b'k'; 1 << 19], "v")
            .with_header(TRACEPARENT_HEADER, vec![b't'; 1 << 18]);

        let dead = dead_record(&record, "not its device", Whole::Nowhere);

        assert_eq!(dead.key.as_ref().map(Bytes::len), Some(DEAD_KEY_BYTES_LIMIT));
        assert_eq!(dead.header(TRACEPARENT_HEADER), None);
        assert!(dead.payload_len() < 1_024);
    }

    #[test]
    fn a_dead_letter_keeps_four_kibibytes_and_says_why_and_where() {
        let record = Record::new(EventTime::default(), "us-1", vec![7; DEAD_BYTES_LIMIT + 1]);

        let dead = dead_record(&record, "not its device", Whole::At(Offset::new(12)));

        assert_eq!(dead.value.as_ref().map(Bytes::len), Some(DEAD_BYTES_LIMIT));
        assert_eq!(dead.header("hl-reason"), Some(&b"not its device"[..]));
        assert_eq!(dead.header("hl-source-offset"), Some(&b"12"[..]));
    }
}
