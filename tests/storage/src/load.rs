//! Commits that are known from their number alone, so that a checker needs no copy of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use bytes::Bytes;
use headland_event::{
    Batch, Codec, Dot, Entry, EventTime, Incarnation, Offset, PartitionIndex, Random, Record,
    SeededRandom, Sequence, StreamId, TopicName, TopicPartition,
};
use headland_storage::{Commit, LogReader, StateChange, StateOwner};

/// Topics whose records go once they are old, when there are too many bytes of them, once they were
/// acknowledged, never, and once a later one has the same key.
pub(crate) const AGED: &str = "proof.aged";
pub(crate) const BOUNDED: &str = "proof.bounded";
pub(crate) const OUTBOX: &str = "proof.outbox";
pub(crate) const KEPT: &str = "proof.kept";
pub(crate) const KEYED: &str = "proof.keyed";

/// Partitions that the load writes to: two of each topic.
pub(crate) const PARTITIONS: u64 = 10;
/// Keys of the state that the load changes, besides the one that every commit sets.
const KEYS: u64 = 200;
/// Key of the state that every commit sets to its own number.
const LAST_KEY: &[u8] = b"last";

/// How large commits are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Volume {
    /// One to four entries of one to twenty records, each fiftieth batch with one record larger
    /// than a block of the journal.
    Mixed,
    /// One or two entries of one or two short records: a few commits fit a few sectors.
    Small,
}

/// Where each partition ends.
pub(crate) type Ends = BTreeMap<TopicPartition, Offset>;

/// The load with one seed: commit `n` of two loads is the same exactly if their seeds are.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    seed: u64,
    volume: Volume,
    /// One for each way in which a log lets go of records; one may stand for all of them.
    topics: [TopicName; 5],
    owner: StateOwner,
}

impl Load {
    pub(crate) fn new(seed: u64, volume: Volume) -> Result<Self> {
        let [aged, bounded, outbox, kept, keyed] =
            [AGED, BOUNDED, OUTBOX, KEPT, KEYED].map(TopicName::new);
        let topics = [aged?, bounded?, outbox?, kept?, keyed?];
        let owner = StateOwner::new("proof").context("a valid name")?;
        Ok(Self { seed, volume, topics, owner })
    }

    /// Small commits of the topic of alerts.
    pub(crate) fn alerts(seed: u64) -> Result<Self> {
        let topic = TopicName::new("alerts").context("a valid name")?;
        let topics = std::array::from_fn(|_| topic.clone());
        Ok(Self { topics, ..Self::new(seed, Volume::Small)? })
    }

    /// The owner of all the state that the load changes.
    pub(crate) const fn owner(&self) -> &StateOwner {
        &self.owner
    }

    /// How large its commits are.
    pub(crate) const fn volume(&self) -> Volume {
        self.volume
    }

    /// Every partition that it writes to.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        (0..PARTITIONS).filter_map(|index| self.partition(index))
    }

    /// Where a log ends that holds nothing but this load.
    pub(crate) fn ends(&self, reader: &impl LogReader) -> Ends {
        let end = |partition: TopicPartition| (partition.clone(), reader.end(&partition));
        self.partitions().map(end).collect()
    }

    /// The commit with this number, and moves the ends past it.
    ///
    /// Besides its entries it has up to four changes of state, and the one every commit makes.
    pub(crate) fn commit(&self, number: u64, ends: &mut Ends) -> Result<Commit> {
        let mut random = SeededRandom::new(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let entries_most = match self.volume {
            Volume::Mixed => 4,
            Volume::Small => 2,
        };
        let entries = (0..=random.below(entries_most))
            .map(|_| {
                let partition = self.partition(random.below(PARTITIONS)).context("one of them")?;
                let base = ends.entry(partition.clone()).or_default();
                let entry = if partition.topic.as_str() == KEYED {
                    self.keyed_entry(*base, number, &mut random)?
                } else {
                    self.entry(*base, number, &mut random)?
                };
                *base = entry.end();
                Ok((partition, entry))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut state: Vec<StateChange> =
            (0..random.below(5)).map(|index| self.change((number, index), &mut random)).collect();
        state.push(self.set(Bytes::from_static(LAST_KEY), (number, 0)));
        Ok(Commit { entries, state })
    }

    /// As [`Self::commit`], and then records until their bytes are as many.
    pub(crate) fn commit_of_at_least(
        &self,
        bytes: u64,
        number: u64,
        ends: &mut Ends,
    ) -> Result<Commit> {
        let mut commit = self.commit(number, ends)?;
        let mut random = SeededRandom::new(number);
        let partition = self.partition(0).context("the first")?;
        let base = ends.entry(partition.clone()).or_default();
        let record = record(number, bytes, &mut random);
        let mut entry = self.entry(*base, number, &mut random)?;
        entry.batch = Batch::encode(&[record])?;
        *base = entry.end();
        commit.entries.push((partition, entry));
        Ok(commit)
    }

    fn partition(&self, index: u64) -> Option<TopicPartition> {
        let topic = self.topics.get(usize::try_from(index % 5).ok()?)?;
        let index = PartitionIndex::new(u32::try_from(index).ok()?);
        Some(TopicPartition::new(topic.clone(), index))
    }

    fn entry(&self, base: Offset, number: u64, random: &mut SeededRandom) -> Result<Entry> {
        let (records, size, large_in) = match self.volume {
            Volume::Mixed => (20, 400, 50),
            Volume::Small => (2, 40, u64::MAX),
        };
        let is_large = random.below(large_in) == 0;
        let records: Vec<Record> = (0..=random.below(records))
            .map(|index| {
                let size = if is_large && index == 0 { 100_000 } else { 8 + random.below(size) };
                record(number, size, random)
            })
            .collect();
        placed(base, Batch::encode(&records)?)
    }

    /// Values and tombstones of a few keys, every second batch compressed.
    fn keyed_entry(&self, base: Offset, number: u64, random: &mut SeededRandom) -> Result<Entry> {
        let (records, size, keys) = match self.volume {
            Volume::Mixed => (20, 400, 50),
            Volume::Small => (2, 40, 3),
        };
        let records: Vec<Record> = (0..=random.below(records))
            .map(|_| {
                let key = Some(Bytes::from(format!("key-{}", random.below(keys))));
                let Record { time, value, headers, .. } =
                    record(number, 8 + random.below(size), random);
                let value = value.filter(|_| random.below(4) > 0);
                Record { time, key, value, headers }
            })
            .collect();
        let codec = if random.below(2) == 0 { Codec::None } else { Codec::Lz4 };
        placed(base, Batch::encode_with(codec, &records)?)
    }

    fn change(&self, at: (u64, u64), random: &mut SeededRandom) -> StateChange {
        let key = Bytes::from(format!("key-{}", random.below(KEYS)));
        if random.below(4) == 0 {
            return StateChange { owner: self.owner.clone(), key, value: None };
        }
        self.set(key, at)
    }

    /// Every value names its commit and its place there, so that of two that a commit gives one key
    /// it is known which is left.
    fn set(&self, key: Bytes, (number, index): (u64, u64)) -> StateChange {
        let value = Some(Bytes::from(format!("set by commit {number}, change {index}")));
        StateChange { owner: self.owner.clone(), key, value }
    }
}

/// A batch as the load writes it: one stream a partition, whose sequence follows from the offset.
fn placed(base: Offset, batch: Batch) -> Result<Entry> {
    let (incarnation, sequence) = (Incarnation::new(1, 1), Sequence::new(base.get() + 1));
    let dot = Dot { stream: StreamId::new([7; 16]), incarnation, sequence };
    Ok(Entry { base, dot, stamp: None, batch })
}

/// When the records of a commit happened: a millisecond after those of the one before.
pub(crate) fn time_of(number: u64) -> EventTime {
    EventTime::from_millis(i64::try_from(number).unwrap_or(i64::MAX))
}

fn record(number: u64, size: u64, random: &mut SeededRandom) -> Record {
    let time = time_of(number);
    let mut value = Vec::new();
    for _ in 0..size.div_ceil(8) {
        value.extend_from_slice(&random.next_u64().to_be_bytes());
    }
    Record::new(time, number.to_string(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_follows_from_seed_number_and_ends() {
        let commit = |seed: u64, number: u64| {
            Load::new(seed, Volume::Mixed).unwrap().commit(number, &mut Ends::new()).unwrap()
        };

        assert_eq!(commit(1, 5), commit(1, 5));
        assert_ne!(commit(1, 5), commit(1, 6));
        assert_ne!(commit(1, 5), commit(2, 5));
    }

    #[test]
    fn entries_of_a_partition_follow_each_other() {
        let load = Load::new(3, Volume::Mixed).unwrap();
        let mut ends = Ends::new();
        let mut expected = Ends::new();

        for number in 1..200 {
            for (partition, entry) in load.commit(number, &mut ends).unwrap().entries {
                let end = expected.entry(partition).or_default();
                assert_eq!(entry.base, *end);
                *end = entry.end();
            }
        }

        assert_eq!(ends, expected);
        assert_eq!(ends.len(), 10);
    }
}
