//! What of a commit still counts.
//!
//! An entry is live unless all of it lies before its partition's start. A change of state is live
//! when it is the newest one of its key: the last one in the newest commit that changes it. A
//! deletion that is the newest has to stay as long as an older value of the key is in any file: it
//! may go with the oldest file of the journal, whose own older values go with it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headland_event::{CommitNumber, Entry, Offset, TopicPartition};

use crate::body::PART_HEADER_LEN;
use crate::cleaning::runs;
use crate::commit::{Commit, StateChange, StateOwner};
use crate::group::byte_count;
use crate::scan::PlacedCommit;
use crate::state::{StateCache, StateError};

/// Bytes of keys of deletions that go with one file; those above it stay until its next turn.
const FORGOTTEN_BYTES_MAX: u64 = 1 << 20;

/// Whether deletions may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deletions {
    /// Older values may stand in files before.
    Stay,
    /// Nothing stands before.
    Go,
}

/// A deletion that goes, for the cache to forget once it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forgotten {
    pub(super) owner: StateOwner,
    pub(super) key: Bytes,
    pub(super) commit: CommitNumber,
}

/// Decides what is live.
pub(super) struct Judge<'a, C, S, L> {
    pub(super) cache: &'a C,
    /// Where a partition starts.
    pub(super) start: S,
    /// What compaction leaves of an entry that is live, in files that hold its partition from an
    /// offset on: an entry over the same offsets.
    pub(super) compact: L,
}

/// What is live of the commits looked at so far.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Bytes of entries.
    pub(super) entries: u64,
    /// Bytes of everything else: changes, and frames around what is live.
    pub(super) state: u64,
    pub(super) forgotten: Vec<Forgotten>,
    forgotten_bytes: u64,
}

impl<C, S, L> Judge<'_, C, S, L>
where
    C: StateCache,
    S: Fn(&TopicPartition) -> Offset,
    L: Fn(&TopicPartition, Entry, Offset) -> Entry,
{
    /// What is left of a commit; nothing when it holds neither entries nor changes.
    pub(super) fn left(
        &self,
        placed: PlacedCommit,
        (deletions, bases): (Deletions, &BTreeMap<TopicPartition, Offset>),
        live: &mut Live,
    ) -> Result<Commit, StateError> {
        let PlacedCommit { number, commit: Commit { entries, state }, places, .. } = placed;
        let mut left = Commit::default();
        for ((partition, entry), place) in entries.into_iter().zip(places) {
            if self.is_entry_live(&partition, &entry) {
                let before = byte_count(entry.batch.as_bytes().len()).get();
                let base = bases.get(&partition).copied().unwrap_or(entry.base);
                let entry = (self.compact)(&partition, entry, base);
                let after = byte_count(entry.batch.as_bytes().len()).get();
                live.entries += if after != before && runs::is_hole(&entry) {
                    // Most holes become one with their neighbours. What the others take is counted
                    // where they are written.
                    1
                } else {
                    (u64::from(place.length) + after).saturating_sub(before)
                };
                left.entries.push((partition, entry));
            }
        }
        for change in last_of_each_key(state) {
            if self.is_change_live(&change, number, deletions, live)? {
                live.state += change_len(&change);
                left.state.push(change);
            }
        }
        Ok(left)
    }

    fn is_entry_live(&self, partition: &TopicPartition, entry: &Entry) -> bool {
        entry.end() > (self.start)(partition)
    }

    fn is_change_live(
        &self,
        change: &StateChange,
        number: CommitNumber,
        deletions: Deletions,
        live: &mut Live,
    ) -> Result<bool, StateError> {
        let StateChange { owner, key, value } = change;
        if self.cache.newest(owner, key)?.is_some_and(|newest| newest > number) {
            return Ok(false);
        }
        Ok(match (value, deletions) {
            (Some(_), _) | (None, Deletions::Stay) => true,
            (None, Deletions::Go) => !live.forget(owner, key, number),
        })
    }
}

impl Live {
    /// Lets a deletion go, unless there are too many.
    fn forget(&mut self, owner: &StateOwner, key: &Bytes, commit: CommitNumber) -> bool {
        let size = byte_count(owner.as_str().len() + key.len()).get();
        if self.forgotten_bytes + size > FORGOTTEN_BYTES_MAX {
            return false;
        }
        self.forgotten_bytes += size;
        let (owner, key) = (owner.clone(), key.clone());
        self.forgotten.push(Forgotten { owner, key, commit });
        true
    }
}

/// The last change of each key, in the order of the commit.
///
/// The cache knows only which commit changed a key last. An earlier change in that commit must not
/// outlive the last one: a value would come back once the deletion behind it is gone.
fn last_of_each_key(state: Vec<StateChange>) -> Vec<StateChange> {
    let mut seen = BTreeSet::new();
    let is_last = |change: &StateChange| seen.insert((change.owner.clone(), change.key.clone()));
    let mut last: Vec<_> = state.into_iter().rev().filter(is_last).collect();
    last.reverse();
    last
}

/// Bytes of the part that holds a change.
fn change_len(change: &StateChange) -> u64 {
    let StateChange { owner, key, value } = change;
    let value = value.as_ref().map_or(0, |value| 4 + value.len());
    byte_count(PART_HEADER_LEN + 1 + owner.as_str().len() + 4 + key.len() + 1 + value).get()
}

#[cfg(test)]
mod tests {
    use headland_event::{
        Batch, Dot, EventTime, Incarnation, PartitionIndex, Record, Sequence, StreamId, TopicName,
    };

    use super::*;
    use crate::body;
    use crate::state::MemoryState;

    fn owner() -> StateOwner {
        StateOwner::new("positions").unwrap()
    }

    fn change(key: &'static str, value: Option<&'static str>) -> StateChange {
        let (key, value) = (Bytes::from(key), value.map(Bytes::from));
        StateChange { owner: owner(), key, value }
    }

    fn entry(base: u64) -> (TopicPartition, Entry) {
        let records = vec![Record::new(EventTime::from_millis(0), "k", "v"); 3];
        let entry = Entry {
            base: Offset::new(base),
            dot: Dot {
                stream: StreamId::new([8; 16]),
                incarnation: Incarnation::new(1, 2),
                sequence: Sequence::new(base + 1),
            },
            stamp: None,
            batch: Batch::encode(&records).unwrap(),
        };
        let topic = TopicName::new("air").unwrap();
        (TopicPartition::new(topic, PartitionIndex::new(0)), entry)
    }

    fn placed(number: u64, commit: Commit) -> PlacedCommit {
        let mut writer = headland_event::codec::Writer::new();
        body::write(&mut writer, &commit);
        let places = body::places(0, commit.entries.len(), writer.as_slice()).collect();
        let number = CommitNumber::new(number);
        PlacedCommit { number, frame: 0, end: 0, commit, places }
    }

    /// What is left of commit 2 of three, when records before offset 3 may go.
    fn left(second: Commit, third: &[StateChange], deletions: Deletions) -> (Commit, Live) {
        let mut cache = MemoryState::default();
        cache.apply(CommitNumber::new(2), &second.state).unwrap();
        cache.apply(CommitNumber::new(3), third).unwrap();
        let start = |_: &TopicPartition| Offset::new(3);
        let judge = Judge { cache: &cache, start, compact: |_: &TopicPartition, entry, _| entry };
        let mut live = Live::default();
        let left = judge.left(placed(2, second), (deletions, &BTreeMap::new()), &mut live).unwrap();
        (left, live)
    }

    #[test]
    fn an_entry_is_live_from_the_one_on_that_reaches_the_start() {
        let entries = vec![entry(0), entry(3)];

        let (left, live) = left(Commit { entries, state: vec![] }, &[], Deletions::Stay);

        assert_eq!(left.entries, [entry(3)]);
        let mut writer = headland_event::codec::Writer::new();
        body::write(&mut writer, &left);
        assert_eq!((live.entries, live.state), (byte_count(writer.len()).get(), 0));
    }

    #[test]
    fn a_change_is_live_until_a_later_commit_sets_or_deletes_its_key() {
        let state = vec![change("a", Some("1")), change("b", Some("2")), change("c", Some("3"))];
        let third = [change("a", Some("4")), change("b", None)];

        let (left, live) = left(Commit { entries: vec![], state }, &third, Deletions::Stay);

        assert_eq!(left.state, [change("c", Some("3"))]);
        let mut writer = headland_event::codec::Writer::new();
        body::write(&mut writer, &left);
        assert_eq!((live.entries, live.state), (0, byte_count(writer.len()).get()));
    }

    #[test]
    fn of_several_changes_of_a_key_in_a_commit_only_the_last_is_live() {
        let state = || {
            let a = [change("a", Some("1")), change("a", None)];
            let b = [change("b", None), change("b", Some("2"))];
            Commit { entries: vec![], state: [a, b].concat() }
        };

        let (stay, _) = left(state(), &[], Deletions::Stay);
        let (go, live) = left(state(), &[], Deletions::Go);

        assert_eq!(stay.state, [change("a", None), change("b", Some("2"))]);
        assert_eq!(go.state, [change("b", Some("2"))]);
        let (owner, key, commit) = (owner(), Bytes::from("a"), CommitNumber::new(2));
        assert_eq!(live.forgotten, [Forgotten { owner, key, commit }]);
    }

    #[test]
    fn a_deletion_goes_only_with_the_oldest_file() {
        let second = || Commit { entries: vec![], state: vec![change("a", None)] };

        let (kept, none) = left(second(), &[], Deletions::Stay);
        let (gone, one) = left(second(), &[], Deletions::Go);

        assert_eq!((kept.state.len(), none.forgotten.len()), (1, 0));
        assert_eq!(gone, Commit::default());
        let (owner, key, commit) = (owner(), Bytes::from("a"), CommitNumber::new(2));
        assert_eq!(one.forgotten, [Forgotten { owner, key, commit }]);
    }
}
