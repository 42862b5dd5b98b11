//! Which hub has acknowledged which records.
//!
//! Of each partition a list of spans that do not overlap. A hub says where it stands, and has
//! everything before that on disk: as records, or as holes where another hub has the records. So
//! what it has itself is what lies before its position and in no other hub's span. A hub that
//! stands further back than it did has lost what it had beyond, which is then nobody's again, and
//! is sent anew.
//!
//! What was sent to a hub and not acknowledged by it is nobody's: the next hub gets it, whether or
//! not the first one has it on disk. Readers of both logs count a dot once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{Offset, TopicPartition};
use headland_replication::Identity;

/// Most spans of a partition. An agent that goes to and fro adds one each time; beyond it the two
/// oldest become one of several hubs, which none of the hubs is sent again.
const SPANS_LIMIT: usize = 64;

/// Longest name of a hub: `region/` and `/hub/` between two names of at most 64 bytes.
const HUB_BYTES_LIMIT: usize = 256;

/// Who has a span of which one half is one hub's and the other half another's.
const SEVERAL: &str = "";

/// Records that one hub has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    from: Offset,
    to: Offset,
    hub: String,
}

/// Which hub has acknowledged which records of each partition.
#[derive(Debug, Default)]
pub struct Settled {
    partitions: BTreeMap<TopicPartition, Vec<Span>>,
    changed: BTreeSet<TopicPartition>,
}

/// Who has a stretch of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Whether another hub has them than the one that asks.
    pub is_elsewhere: bool,
    /// Where it ends; `None` when nothing is known behind it.
    pub end: Option<Offset>,
}

impl Settled {
    /// A hub has everything of a partition before `next`; returns up to where all records are with
    /// some hub. Cost: O(spans).
    pub fn on_acked(&mut self, partition: &TopicPartition, hub: &Identity, next: Offset) -> Offset {
        let hub = hub.to_string();
        let spans = self.partitions.entry(partition.clone()).or_default();
        let before = spans.clone();
        for span in spans.iter_mut().filter(|span| span.hub == hub) {
            span.to = span.to.min(next);
        }
        spans.retain(|span| span.hub != hub || span.from < span.to);
        let others: Vec<Span> = spans.iter().filter(|span| span.hub != hub).cloned().collect();
        spans.retain(|span| span.hub != hub);
        let mut at = Offset::new(0);
        for other in &others {
            let to = other.from.min(next);
            if at < to {
                spans.push(Span { from: at, to, hub: hub.clone() });
            }
            at = at.max(other.to);
        }
        if at < next {
            spans.push(Span { from: at, to: next, hub });
        }
        spans.sort_unstable_by_key(|span| span.from);
        limit(spans);
        if *spans != before {
            self.changed.insert(partition.clone());
        }
        debug_assert!(spans.iter().zip(spans.iter().skip(1)).all(|(a, b)| a.to <= b.from));
        contiguous(spans)
    }

    /// Takes over what a hub was known to have acknowledged before spans were kept.
    pub fn adopt(&mut self, partition: &TopicPartition, hub: &str, acked: Offset) {
        let spans = self.partitions.entry(partition.clone()).or_default();
        if spans.is_empty() && acked > Offset::new(0) {
            spans.push(Span { from: Offset::new(0), to: acked, hub: hub.to_owned() });
            self.changed.insert(partition.clone());
        }
    }

    /// Who has the records of a partition from an offset on, as `hub` is told.
    #[must_use]
    pub fn stretch(&self, partition: &TopicPartition, hub: &Identity, at: Offset) -> Stretch {
        let hub = hub.to_string();
        let spans = self.partitions.get(partition).map_or(&[][..], Vec::as_slice);
        let mut others = spans.iter().filter(|span| span.hub != hub && span.to > at);
        match others.next() {
            Some(span) if span.from <= at => Stretch { is_elsewhere: true, end: Some(span.to) },
            Some(span) => Stretch { is_elsewhere: false, end: Some(span.from) },
            None => Stretch { is_elsewhere: false, end: None },
        }
    }

    /// What has changed since this was last asked, as bytes:
    /// `spans u32, for each { from u64 │ to u64 │ hub text }`.
    pub fn take_changed(&mut self) -> Vec<(TopicPartition, Bytes)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        let encoded = changed.filter_map(|partition| {
            let spans = self.partitions.get(&partition)?;
            let mut writer = Writer::new();
            writer.length(spans.len());
            for Span { from, to, hub } in spans {
                writer.u64(from.get());
                writer.u64(to.get());
                writer.bytes(hub.as_bytes());
            }
            Some((partition, writer.finish()))
        });
        encoded.collect()
    }

    /// Takes up what an earlier run has kept of a partition.
    ///
    /// # Errors
    /// [`CodecError`] when the bytes are not of the layout; nothing changes.
    pub fn restore(&mut self, partition: TopicPartition, bytes: Bytes) -> Result<(), CodecError> {
        let mut reader = Reader::new(bytes);
        let mut spans = Vec::new();
        for _ in 0..reader.length("spans", SPANS_LIMIT)? {
            let from = Offset::new(reader.u64("from")?);
            let to = Offset::new(reader.u64("to")?);
            spans.push(Span { from, to, hub: reader.text("hub", HUB_BYTES_LIMIT)? });
        }
        reader.end()?;
        self.partitions.insert(partition, spans);
        Ok(())
    }
}

/// Makes one of neighbours of one hub, and of the oldest beyond the limit.
fn limit(spans: &mut Vec<Span>) {
    spans.dedup_by(|next, span| {
        let is_one = span.hub == next.hub && span.to == next.from;
        span.to = if is_one { next.to } else { span.to };
        is_one
    });
    while spans.len() > SPANS_LIMIT {
        let first = spans.remove(0);
        if let Some(next) = spans.first_mut() {
            // A gap between them is lost: it was shed, or is older than anything that is kept.
            *next = Span { from: first.from, to: next.to, hub: SEVERAL.to_owned() };
        }
    }
}

/// Up to where spans follow each other from the beginning.
fn contiguous(spans: &[Span]) -> Offset {
    let mut at = Offset::new(0);
    for span in spans {
        if span.from > at {
            break;
        }
        at = at.max(span.to);
    }
    at
}

#[cfg(test)]
mod tests {
    use headland_event::{HubName, PartitionIndex, RegionId, TopicName};

    use super::*;

    fn air() -> TopicPartition {
        TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(0))
    }

    fn hub(region: &str) -> Identity {
        let region = RegionId::new(region).unwrap();
        Identity::Hub { region, name: HubName::new("hub-1").unwrap() }
    }

    /// What is acknowledged, one after the other, and up to where all is settled each time.
    fn acked(settled: &mut Settled, steps: &[(&str, u64)]) -> Vec<u64> {
        let steps = steps.iter();
        let all = steps.map(|(at, next)| settled.on_acked(&air(), &hub(at), Offset::new(*next)));
        all.map(Offset::get).collect()
    }

    /// Stretches from offset 0 on, as a hub is told: where each ends, and whether it is elsewhere.
    fn stretches(settled: &Settled, of: &str) -> Vec<(bool, Option<u64>)> {
        let (mut at, mut found) = (Offset::new(0), Vec::new());
        loop {
            let Stretch { is_elsewhere, end } = settled.stretch(&air(), &hub(of), at);
            found.push((is_elsewhere, end.map(Offset::get)));
            match end {
                Some(end) => at = end,
                None => return found,
            }
        }
    }

    #[test]
    fn what_one_hub_acknowledged_is_elsewhere_for_another_and_not_for_itself() {
        let mut settled = Settled::default();

        assert_eq!(
            acked(&mut settled, &[("eu", 5), ("us", 0), ("us", 5), ("us", 9)]),
            [5, 5, 5, 9]
        );

        assert_eq!(stretches(&settled, "us"), [(true, Some(5)), (false, None)]);
        assert_eq!(stretches(&settled, "eu"), [(false, Some(5)), (true, Some(9)), (false, None)]);
        assert_eq!(stretches(&settled, "ap"), [(true, Some(5)), (true, Some(9)), (false, None)]);
    }

    #[test]
    fn a_hub_that_stands_further_back_than_it_did_is_sent_what_it_lost_and_no_others_records() {
        let mut settled = Settled::default();
        acked(&mut settled, &[("eu", 5), ("us", 9), ("eu", 12)]);

        assert_eq!(acked(&mut settled, &[("eu", 2)]), [2]);
        assert_eq!(stretches(&settled, "eu"), [(false, Some(5)), (true, Some(9)), (false, None)]);
        assert_eq!(acked(&mut settled, &[("eu", 5), ("eu", 9)]), [9, 9]);
    }

    #[test]
    fn a_hub_that_turns_out_to_have_more_than_it_acknowledged_has_what_nobody_else_does() {
        let mut settled = Settled::default();

        // It had stored up to 11 when its acknowledgements were lost; the other one has 5 to 9.
        assert_eq!(acked(&mut settled, &[("eu", 5), ("us", 9), ("eu", 11)]), [5, 9, 11]);

        assert_eq!(
            stretches(&settled, "us"),
            [(true, Some(5)), (false, Some(9)), (true, Some(11)), (false, None)]
        );
    }

    #[test]
    fn decode_of_encode_is_the_same_and_nothing_is_written_twice() {
        let mut settled = Settled::default();
        acked(&mut settled, &[("eu", 5), ("us", 9)]);

        let mut again = Settled::default();
        for (partition, bytes) in settled.take_changed() {
            again.restore(partition, bytes).unwrap();
        }
        acked(&mut settled, &[("us", 9)]);

        assert_eq!(again.partitions, settled.partitions);
        assert_eq!(settled.take_changed(), []);
    }

    #[test]
    fn however_often_an_agent_goes_to_and_fro_its_spans_are_bounded() {
        let mut settled = Settled::default();

        for next in 1..=500 {
            let at = if next % 2 == 0 { "eu" } else { "us" };
            assert_eq!(acked(&mut settled, &[(at, next)]), [next]);
        }

        assert_eq!(settled.partitions[&air()].len(), SPANS_LIMIT);
        assert_eq!(settled.stretch(&air(), &hub("eu"), Offset::new(0)).end, Some(Offset::new(437)));
    }

    #[test]
    fn what_was_acknowledged_before_spans_were_kept_is_the_hubs_of_then() {
        let mut settled = Settled::default();
        settled.adopt(&air(), &hub("eu").to_string(), Offset::new(4));
        settled.adopt(&air(), &hub("us").to_string(), Offset::new(7));

        assert_eq!(stretches(&settled, "us"), [(true, Some(4)), (false, None)]);
    }
}
