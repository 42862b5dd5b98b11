//! Spans of traced records on their way through the hub.

use headland_event::{Entry, Now, Record, RegionId, TopicPartition};
use headland_platform::telemetry::Span;

use crate::records::captured_at;
use crate::topics::Topics;

/// Makes spans for records whose trace is sampled.
#[derive(Debug)]
pub struct Spans {
    region: RegionId,
    export: Export,
}

/// Whether spans are wanted; without a collector no batch is decoded for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// To the configured collector.
    On,
    /// Nowhere.
    Off,
}

impl Spans {
    /// Spans of a hub in `region`.
    #[must_use]
    pub const fn new(region: RegionId, export: Export) -> Self {
        Self { region, export }
    }

    /// One span per sampled record of a durable commit: ingested, mirrored, or alerted.
    #[must_use]
    pub fn of(&self, topics: &Topics, entries: &[(TopicPartition, Entry)], now: Now) -> Vec<Span> {
        if self.export == Export::Off {
            return Vec::new();
        }
        let mut spans = Vec::new();
        for (partition, entry) in entries {
            let Some(topic) = topics.get(&partition.topic) else { continue };
            let name = match (topic.origin_name.as_str(), topic.is_local()) {
                ("alerts", true) => "hub.alert",
                ("alerts", false) => "hub.mirror.alert",
                (_, true) => "hub.ingest",
                (_, false) => "hub.mirror",
            };
            let records = entry.batch.numbered_records().unwrap_or_default();
            let base = entry.base;
            spans.extend(records.iter().filter_map(|(delta, record)| {
                self.span(name, partition, base.at(*delta), record, now)
            }));
        }
        spans
    }

    fn span(
        &self,
        name: &'static str,
        partition: &TopicPartition,
        offset: headland_event::Offset,
        record: &Record,
        now: Now,
    ) -> Option<Span> {
        let trace = record.trace_parent().filter(|trace| trace.is_sampled())?;
        let attributes = vec![
            ("headland.region", self.region.to_string()),
            ("messaging.destination.name", partition.topic.to_string()),
            ("messaging.destination.partition.id", partition.partition.to_string()),
            ("messaging.kafka.offset", offset.to_string()),
        ];
        // Names and place make the id: a replay after a crash exports the same span again.
        let span_id = span_id(&format!("{}/{name}/{partition}/{offset}", self.region));
        let start = captured_at(record).unwrap_or(now.wall);
        Some(Span { trace, span_id, name, start, end: now.wall, attributes })
    }
}

/// FNV-1a, 64 bits: spread enough for ids within one trace.
fn span_id(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
