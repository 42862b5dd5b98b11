//! Records that senders name as gone: counted, and said once for each range.

use std::collections::BTreeMap;

use headland_event::{Dot, DropPolicy, Entry, Hole, Offset, TopicName, TopicPartition};

use crate::node::Node;

/// What is gone by the holes that became durable in this run.
#[derive(Debug, Default)]
pub(in crate::node) struct Gone {
    /// Records, by topic and why.
    counts: BTreeMap<(TopicName, DropPolicy), u64>,
    /// Ranges of which the last hole is the newest entry of its partition: they may go on.
    open: BTreeMap<TopicPartition, GoneRange>,
}

/// Holes of a partition that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct GoneRange {
    from: Offset,
    until: Offset,
    /// That of the first.
    dot: Dot,
    /// Records that are gone.
    count: u64,
    policy: DropPolicy,
}

impl GoneRange {
    /// What an entry says is gone. Records that a later one of their key replaced, or that another
    /// hub has, are not: nobody misses them.
    fn of(entry: &Entry) -> Option<Self> {
        let Hole { count, policy } = Hole::of(&entry.batch)?;
        let (from, until, dot) = (entry.base, entry.end(), entry.dot);
        (!policy.is_harmless()).then_some(Self { from, until, dot, count, policy })
    }

    /// Both as one, when the other one goes on with this one.
    fn joined(&self, next: &Self) -> Option<Self> {
        let goes_on = next.from == self.until && next.policy == self.policy;
        let count = self.count.saturating_add(next.count);
        goes_on.then(|| Self { until: next.until, count, ..self.clone() })
    }
}

impl Gone {
    pub(in crate::node) const fn counts(&self) -> &BTreeMap<(TopicName, DropPolicy), u64> {
        &self.counts
    }

    /// Takes in what an entry says is gone; returns a range that it ends.
    fn take(&mut self, partition: &TopicPartition, entry: &Entry) -> Option<GoneRange> {
        let found = GoneRange::of(entry);
        if let Some(GoneRange { count, policy, .. }) = &found {
            let gone = self.counts.entry((partition.topic.clone(), *policy)).or_default();
            *gone = gone.saturating_add(*count);
        } else if self.open.is_empty() {
            return None;
        }
        let before = self.open.remove(partition);
        let joined = before.as_ref().zip(found.as_ref()).and_then(|(one, next)| one.joined(next));
        let ended = before.filter(|_| joined.is_none());
        if let Some(range) = joined.or(found) {
            self.open.insert(partition.clone(), range);
        }
        ended
    }
}

impl Node {
    /// Counts the records that senders name as gone. A long range is many holes, and is said once,
    /// when what follows it is here.
    pub(in crate::node) fn count_holes(&mut self, entries: &[(TopicPartition, Entry)]) {
        for (partition, entry) in entries {
            if let Some(range) = self.gone.take(partition, entry) {
                let GoneRange { from, until, dot, count, policy } = range;
                tracing::warn!(
                    %partition, %from, %until, %dot, count, %policy, "records are gone for good"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use headland_event::{
        Batch, EventTime, Incarnation, PartitionIndex, Record, Sequence, StreamId,
    };

    use super::*;

    const TIME: EventTime = EventTime::from_millis(9);

    fn partition(index: u32) -> TopicPartition {
        TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(index))
    }

    fn entry(base: u64, batch: Batch) -> Entry {
        let (stream, incarnation) = (StreamId::new([1; 16]), Incarnation::new(2, 7));
        let dot = Dot { stream, incarnation, sequence: Sequence::new(0) };
        Entry { base: Offset::new(base), dot, stamp: None, batch }
    }

    fn record(base: u64) -> Entry {
        let record = Record::new(TIME, "k", "v");
        entry(base, Batch::encode(&[record]).unwrap())
    }

    fn hole(base: u64, count: u64, policy: DropPolicy) -> Entry {
        entry(base, Hole { count, policy }.to_batch(count, TIME).unwrap())
    }

    /// From, until, and how many are gone, of what is said.
    fn said(entries: &[(u32, Entry)]) -> Vec<(u64, u64, u64)> {
        let mut gone = Gone::default();
        let entries = entries.iter();
        let ended = entries.filter_map(|(index, entry)| gone.take(&partition(*index), entry));
        ended.map(|range| (range.from.get(), range.until.get(), range.count)).collect()
    }

    #[test]
    fn holes_that_follow_each_other_are_said_once_when_something_else_follows() {
        let hole = |base| (0, hole(base, 10_000, DropPolicy::Damaged));
        let mut entries: Vec<_> = (0..1_000).map(|n| hole(5 + 10_000 * n)).collect();
        assert_eq!(said(&entries), []);

        entries.extend([(0, record(10_000_005)), (0, record(10_000_006))]);

        assert_eq!(said(&entries), [(5, 10_000_005, 10_000_000)]);
    }

    #[test]
    fn holes_of_other_partitions_reasons_and_places_are_said_apart() {
        let entries = [
            (0, hole(0, 2, DropPolicy::Damaged)),
            (1, hole(2, 2, DropPolicy::Damaged)),
            (0, hole(2, 3, DropPolicy::Bytes)),
            (0, hole(9, 1, DropPolicy::Bytes)),
            (1, record(4)),
            (0, hole(10, 1, DropPolicy::Elsewhere)),
        ];

        assert_eq!(said(&entries), [(0, 2, 2), (2, 5, 3), (2, 4, 2), (9, 10, 1)]);
    }
}
