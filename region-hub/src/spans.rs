//! Spans of traced records on their way through the hub.

use headland_event::trace::TraceParent;
use headland_event::{Entry, Now, Record, RegionId, TopicPartition};
use headland_platform::telemetry::Span;

use crate::records::captured_at;
use crate::topics::{Replication, Topic, Topics};

/// Makes spans for records whose trace is sampled.
#[derive(Debug)]
pub struct Spans {
    region: RegionId,
    export: Export,
}

/// Whether spans are wanted; without a collector no batch is decoded for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// To the configured collector, those of sampled traces whose id's lower half is at most this.
    /// An id is as random as a draw and the same everywhere: hubs of one ratio keep the same
    /// traces whole, which draws of their own would not.
    UpTo(u64),
    /// Nowhere.
    Off,
}

impl Export {
    /// That share, 0 to 1, of the traces that agents sampled.
    #[must_use]
    pub fn share(ratio: f64) -> Self {
        // Nine decimal digits are finer than any use of a sampling ratio.
        let parts = format!("{:.0}", ratio.clamp(0.0, 1.0) * 1e9).parse::<u64>().unwrap_or(0);
        match parts {
            0 => Self::Off,
            1_000_000_000.. => Self::UpTo(u64::MAX),
            parts => Self::UpTo((u64::MAX / 1_000_000_000) * parts),
        }
    }

    fn takes(self, trace: TraceParent) -> bool {
        let lower = lower_half(trace.trace_id());
        match self {
            Self::UpTo(most) => trace.is_sampled() && lower <= most,
            Self::Off => false,
        }
    }
}

/// The lower 64 bits of a trace's id.
fn lower_half(id: u128) -> u64 {
    u64::try_from(id & u128::from(u64::MAX)).unwrap_or(u64::MAX)
}

impl Spans {
    /// Spans of a hub in `region`.
    #[must_use]
    pub const fn new(region: RegionId, export: Export) -> Self {
        Self { region, export }
    }

    /// One span per sampled record of a durable commit, named by what became of it: ingested,
    /// mirrored, alerted, derived, or put aside as a dead letter.
    #[must_use]
    pub fn of(&self, topics: &Topics, entries: &[(TopicPartition, Entry)], now: Now) -> Vec<Span> {
        if self.export == Export::Off {
            return Vec::new();
        }
        let mut spans = Vec::new();
        for (partition, entry) in entries {
            let Some(topic) = topics.get(&partition.topic) else { continue };
            let name = span_name(topic);
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
        let trace = record.trace_parent().filter(|trace| self.export.takes(*trace))?;
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

fn span_name(topic: &Topic) -> &'static str {
    let name = topic.origin_name.as_str();
    match (topic.is_local(), topic.replication) {
        (true, _) if name.ends_with(".dead") => "hub.dead_letter",
        (true, Replication::Kept) => "hub.derive",
        (true, Replication::Offered) if name == "alerts" => "hub.alert",
        (true, Replication::Offered) => "hub.ingest",
        (false, _) if name == "alerts" => "hub.mirror.alert",
        (false, _) => "hub.mirror",
    }
}

/// FNV-1a, 64 bits: spread enough for ids within one trace.
fn span_id(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use headland_event::trace::Sampled;

    use super::*;

    #[test]
    fn a_hub_exports_the_configured_share_of_sampled_traces_by_their_id() {
        let half = Export::share(0.5);
        let of = |lower: u64, sampled| TraceParent::new((1 << 64) | u128::from(lower), 1, sampled);

        let quarter = of(u64::MAX / 4, Sampled::Yes);
        let most = of(u64::MAX / 4 * 3, Sampled::Yes);

        assert!(half.takes(quarter));
        assert!(!half.takes(most));
        assert!(!half.takes(of(u64::MAX / 4, Sampled::No)));
        assert!(Export::share(1.0).takes(of(u64::MAX, Sampled::Yes)));
        assert_eq!(Export::share(0.0), Export::Off);
    }
}
