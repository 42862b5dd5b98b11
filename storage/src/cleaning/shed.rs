//! Names what is shed: records that go before every linked receiver has them.

use std::collections::BTreeMap;

use bytes::Bytes;
use headland_event::{ByteCount, Entry, Offset, Sequence, TopicPartition};

use crate::cleaning::record::{self, Dropped, ShedBy};
use crate::commit::StateChange;
use crate::group::byte_count;
use crate::log::{LogReader, ReadError};
use crate::state::{StateError, StateStore};

/// Bytes of a partition read at once.
const READ_BYTES: ByteCount = ByteCount::mebibytes(1);

/// Offsets that are shed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loss {
    pub(super) from: Offset,
    pub(super) until: Offset,
    pub(super) by: ShedBy,
}

/// What is shed of a partition.
#[derive(Debug, Default)]
pub(super) struct Shed {
    /// Ranges of dots in the order of offsets.
    pub(super) ranges: Vec<Dropped>,
    /// Offset before which all of them are named.
    pub(super) until: Offset,
    /// Bytes read to find out.
    pub(super) read: u64,
}

/// Names the dots of the records in offsets that are shed, as far as `budget` bytes allow.
///
/// Damaged entries have no dots any more: readers learned of them, and they are passed over here.
pub(super) fn name(
    reader: &impl LogReader,
    partition: &TopicPartition,
    loss: Loss,
    budget: u64,
) -> Result<Shed, ReadError> {
    let mut shed = Shed { until: loss.from, ..Shed::default() };
    while shed.until < loss.until && shed.read < budget {
        let limit = READ_BYTES.min(ByteCount::new(budget - shed.read));
        let entries = match reader.read(partition, shed.until, limit) {
            Ok(entries) => entries,
            Err(ReadError::Quarantined { until, .. }) => {
                shed.until = until;
                continue;
            }
            Err(error) => return Err(error),
        };
        for entry in entries.iter().take_while(|entry| entry.base < loss.until) {
            shed.read += byte_count(entry.batch.as_bytes().len()).get();
            shed.add(dropped(partition, entry, loss));
        }
        shed.until = entries.last().map_or(loss.until, Entry::end);
    }
    shed.until = shed.until.min(loss.until);
    Ok(shed)
}

/// The dots of an entry, without those of records before the loss.
fn dropped(partition: &TopicPartition, entry: &Entry, loss: Loss) -> Dropped {
    let Entry { base, dot, stamp: _, batch } = entry;
    let kept = if *base < loss.from { loss.from.since(*base) } else { 0 };
    debug_assert!(kept < batch.span(), "an entry that is shed holds shed offsets");
    let last = Sequence::new(dot.sequence.after(batch.span()).get() - 1);
    Dropped {
        partition: partition.clone(),
        stream: dot.stream,
        incarnation: dot.incarnation,
        first: dot.sequence.after(kept),
        last,
        count: byte_count(batch.len()).get().min(batch.span() - kept),
        policy: loss.by,
    }
}

impl Shed {
    /// Adds a range to the last one of its stream if it follows it.
    fn add(&mut self, next: Dropped) {
        let is_same = |dropped: &Dropped| {
            (dropped.stream, dropped.incarnation) == (next.stream, next.incarnation)
        };
        match self.ranges.iter_mut().rev().find(|dropped| is_same(dropped)) {
            Some(last) if last.last.after(1) == next.first => {
                (last.last, last.count) = (next.last, last.count + next.count);
            }
            Some(_) | None => self.ranges.push(next),
        }
    }
}

/// The changes that keep ranges as state, behind what was shed of the same streams before.
pub(super) fn changes(
    state: &impl StateStore,
    ranges: &[Dropped],
) -> Result<Vec<StateChange>, StateError> {
    let mut streams: BTreeMap<Bytes, Vec<Dropped>> = BTreeMap::new();
    for range in ranges {
        let key = record::shed_key(range);
        if !streams.contains_key(&key) {
            let owner = record::owner();
            let known = match state.get(&owner, &key)? {
                Some(value) => record::read_shed(key.clone(), value)
                    .map_err(|_| StateError::Corrupt { owner })?,
                None => Vec::new(),
            };
            streams.insert(key.clone(), known);
        }
        if let Some(known) = streams.get_mut(&key) {
            record::add_range(known, range.clone());
        }
    }
    Ok(streams.into_iter().map(|(key, ranges)| record::shed_change(key, &ranges)).collect())
}
