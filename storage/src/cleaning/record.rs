//! What cleaning keeps as state, under the owner `log`: where partitions start, and what was shed.
//!
//! ```text
//! key of a start   u8 1 │ topic u8 length + name │ partition u32
//! its value        version u8 1 │ start u64
//! key of the shed  u8 2 │ topic u8 length + name │ partition u32
//!                  │ stream 16 │ incarnation u32 + u64
//! its value        version u8 1 │ ranges u32, then for each
//!                  { first u64 │ last u64 │ count u64 │ policy u8 1 time, 2 bytes }
//! ```
//! Values are absolute, so that replaying them in order ends at the same state.

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{Incarnation, Offset, PartitionIndex, Sequence, StreamId, TopicPartition};

use crate::commit::{StateChange, StateOwner};

/// Whose state this is.
const OWNER: &str = "log";
const VERSION: u8 = 1;
const KEY_START: u8 = 1;
const KEY_SHED: u8 = 2;
const POLICY_TIME: u8 = 1;
const POLICY_BYTES: u8 = 2;
/// Ranges kept for each stream: one per time that its receivers fell behind and caught up again.
/// Above it the two oldest become one that spans them, which keeps the count and loses the gap.
const RANGES_MAX: usize = 8;

/// Why records were shed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShedBy {
    /// They were older than is kept.
    Time,
    /// There were more bytes than are kept.
    Bytes,
}

/// Records of one stream that were cleaned away before every linked receiver had them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The partition they stood in.
    pub partition: TopicPartition,
    /// The stream.
    pub stream: StreamId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Sequence of the first of them.
    pub first: Sequence,
    /// Sequence of the last of them.
    pub last: Sequence,
    /// How many they are; fewer than the sequences between when some of those were kept, or gone
    /// before.
    pub count: u64,
    /// Why.
    pub policy: ShedBy,
}

impl Dropped {
    /// Adds a range behind those of the same stream and incarnation, as the store keeps them: one
    /// that follows the last for the same reason lengthens it, and of more than 8 the two oldest
    /// become one, which keeps the count and loses the gap.
    pub fn add_to(self, ranges: &mut Vec<Self>) {
        add_range(ranges, self);
    }
}

/// The owner of this state.
pub(crate) fn owner() -> StateOwner {
    #[expect(clippy::expect_used, reason = "the name is a constant of three letters")]
    StateOwner::new(OWNER).expect("a valid name")
}

/// What the keys of all starts begin with.
pub(crate) const fn starts_prefix() -> [u8; 1] {
    [KEY_START]
}

/// What the keys of all that was shed of a partition begin with.
pub(crate) fn shed_prefix(partition: &TopicPartition) -> Bytes {
    key(KEY_SHED, partition).finish()
}

fn key(kind: u8, partition: &TopicPartition) -> Writer {
    let TopicPartition { topic, partition } = partition;
    let mut writer = Writer::new();
    writer.u8(kind);
    writer.name(topic.as_str());
    writer.u32(partition.get());
    writer
}

/// The change that sets a partition's start.
pub(crate) fn start_change(partition: &TopicPartition, start: Offset) -> StateChange {
    let mut value = Writer::new();
    value.u8(VERSION);
    value.u64(start.get());
    let (owner, key) = (owner(), key(KEY_START, partition).finish());
    StateChange { owner, key, value: Some(value.finish()) }
}

/// The start that a change sets, `None` for any other change.
pub(crate) fn start_of(change: StateChange) -> Option<(TopicPartition, Offset)> {
    let StateChange { owner, key, value } = change;
    let is_start = owner.as_str() == OWNER && key.first() == Some(&KEY_START);
    value.filter(|_| is_start).and_then(|value| read_start(key, value).ok())
}

/// Reads a partition's start.
pub(crate) fn read_start(key: Bytes, value: Bytes) -> Result<(TopicPartition, Offset), CodecError> {
    let mut key = Reader::new(key);
    let partition = read_partition(&mut key, KEY_START)?;
    key.end()?;
    let mut value = Reader::new(value);
    read_version(&mut value)?;
    let start = Offset::new(value.u64("start")?);
    value.end()?;
    Ok((partition, start))
}

/// The key under which it is kept what was shed of a stream.
pub(crate) fn shed_key(dropped: &Dropped) -> Bytes {
    let mut writer = key(KEY_SHED, &dropped.partition);
    writer.stream_id(dropped.stream);
    writer.incarnation(dropped.incarnation);
    writer.finish()
}

/// The change that sets what was shed of a stream: ranges of one stream, in order.
pub(crate) fn shed_change(key: Bytes, ranges: &[Dropped]) -> StateChange {
    debug_assert!(ranges.len() <= RANGES_MAX, "ranges are merged before they are kept");
    let mut value = Writer::new();
    value.u8(VERSION);
    value.length(ranges.len());
    for dropped in ranges {
        let Dropped { partition: _, stream: _, incarnation: _, first, last, count, policy } =
            dropped;
        value.u64(first.get());
        value.u64(last.get());
        value.u64(*count);
        value.u8(match policy {
            ShedBy::Time => POLICY_TIME,
            ShedBy::Bytes => POLICY_BYTES,
        });
    }
    StateChange { owner: owner(), key, value: Some(value.finish()) }
}

/// Reads what was shed of a stream, in order.
pub(crate) fn read_shed(key: Bytes, value: Bytes) -> Result<Vec<Dropped>, CodecError> {
    let mut key = Reader::new(key);
    let partition = read_partition(&mut key, KEY_SHED)?;
    let stream = key.stream_id("stream")?;
    let incarnation = key.incarnation("incarnation")?;
    key.end()?;
    let mut value = Reader::new(value);
    read_version(&mut value)?;
    let mut ranges = Vec::new();
    for _ in 0..value.length("ranges", value.remaining())? {
        ranges.push(Dropped {
            partition: partition.clone(),
            stream,
            incarnation,
            first: Sequence::new(value.u64("first sequence")?),
            last: Sequence::new(value.u64("last sequence")?),
            count: value.u64("count")?,
            policy: read_policy(&mut value)?,
        });
    }
    value.end()?;
    Ok(ranges)
}

/// Adds a range behind those of the same stream.
pub(crate) fn add_range(ranges: &mut Vec<Dropped>, next: Dropped) {
    if let Some(last) = ranges.last_mut() {
        debug_assert!(last.stream == next.stream, "ranges are kept by stream");
        if last.last.after(1) == next.first && last.policy == next.policy {
            *last = Dropped { first: last.first, count: last.count + next.count, ..next };
            return;
        }
    }
    ranges.push(next);
    if ranges.len() > RANGES_MAX {
        let oldest = ranges.remove(0);
        if let Some(second) = ranges.first_mut() {
            second.first = second.first.min(oldest.first);
            second.last = second.last.max(oldest.last);
            second.count += oldest.count;
        }
    }
    debug_assert!(ranges.len() <= RANGES_MAX, "ranges are bounded");
}

fn read_partition(reader: &mut Reader, kind: u8) -> Result<TopicPartition, CodecError> {
    let at = reader.position();
    let found = reader.u8("kind of key")?;
    if found != kind {
        let (field, found) = ("kind of key", i64::from(found));
        return Err(CodecError::Value { field, at, found, expected: "the kind sought" });
    }
    let topic = reader.name("topic")?;
    Ok(TopicPartition::new(topic, PartitionIndex::new(reader.u32("partition")?)))
}

fn read_version(reader: &mut Reader) -> Result<(), CodecError> {
    let at = reader.position();
    match reader.u8("version")? {
        VERSION => Ok(()),
        found => {
            let found = i64::from(found);
            Err(CodecError::Value { field: "version", at, found, expected: "1" })
        }
    }
}

fn read_policy(reader: &mut Reader) -> Result<ShedBy, CodecError> {
    let at = reader.position();
    match reader.u8("policy")? {
        POLICY_TIME => Ok(ShedBy::Time),
        POLICY_BYTES => Ok(ShedBy::Bytes),
        found => {
            let found = i64::from(found);
            Err(CodecError::Value { field: "policy", at, found, expected: "1 or 2" })
        }
    }
}

#[cfg(test)]
mod tests {
    use headland_event::TopicName;
    use proptest::prelude::*;

    use super::*;

    fn partition() -> TopicPartition {
        TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(3))
    }

    fn dropped(first: u64, last: u64, policy: ShedBy) -> Dropped {
        Dropped {
            partition: partition(),
            stream: StreamId::new([5; 16]),
            incarnation: Incarnation::new(1, 2),
            first: Sequence::new(first),
            last: Sequence::new(last),
            count: last - first + 1,
            policy,
        }
    }

    #[test]
    fn a_start_is_read_as_it_was_set() {
        let StateChange { owner, key, value } = start_change(&partition(), Offset::new(7));

        assert_eq!(owner.as_str(), "log");
        assert!(key.starts_with(&starts_prefix()));
        assert_eq!(read_start(key, value.unwrap()), Ok((partition(), Offset::new(7))));
    }

    #[test]
    fn ranges_that_follow_each_other_become_one_and_others_do_not() {
        let mut ranges = vec![dropped(1, 4, ShedBy::Time)];

        add_range(&mut ranges, dropped(5, 9, ShedBy::Time));
        add_range(&mut ranges, dropped(10, 11, ShedBy::Bytes));
        add_range(&mut ranges, dropped(13, 13, ShedBy::Bytes));

        let (one, two) = (dropped(1, 9, ShedBy::Time), dropped(10, 11, ShedBy::Bytes));
        assert_eq!(ranges, [one, two, dropped(13, 13, ShedBy::Bytes)]);
    }

    #[test]
    fn above_the_bound_the_two_oldest_ranges_become_one_with_the_count_of_both() {
        let mut ranges = Vec::new();

        for n in 0..9 {
            add_range(&mut ranges, dropped(n * 10 + 1, n * 10 + 2, ShedBy::Bytes));
        }

        assert_eq!(ranges.len(), RANGES_MAX);
        assert_eq!(ranges[0], Dropped { count: 4, ..dropped(1, 12, ShedBy::Bytes) });
        assert_eq!(ranges[1], dropped(21, 22, ShedBy::Bytes));
    }

    proptest! {
        #[test]
        fn what_was_shed_is_read_as_it_was_set(
            ranges in proptest::collection::vec((any::<u32>(), any::<u16>(), any::<bool>()), 1..8),
        ) {
            let range = |(first, more, is_time): &(u32, u16, bool)| {
                let policy = if *is_time { ShedBy::Time } else { ShedBy::Bytes };
                dropped(u64::from(*first), u64::from(*first) + u64::from(*more), policy)
            };
            let ranges: Vec<Dropped> = ranges.iter().map(range).collect();
            let key = shed_key(&ranges[0]);

            let change = shed_change(key.clone(), &ranges);

            prop_assert!(key.starts_with(&shed_prefix(&partition())));
            prop_assert_eq!(read_shed(key, change.value.unwrap()), Ok(ranges));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(key: Vec<u8>, value: Vec<u8>) {
            drop(read_shed(key.clone().into(), value.clone().into()));
            drop(read_start(key.into(), value.into()));
        }
    }
}
