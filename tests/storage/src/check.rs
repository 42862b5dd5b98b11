//! What a store has to show after it was killed.

use std::collections::BTreeMap;

use anyhow::Result;
use bytes::Bytes;
use headland_event::{ByteCount, CommitNumber, Entry, Offset, TopicPartition};
use headland_storage::{
    Commit, LogReader, LogStore, ReadError, StateChange, StateStore, StoredCommit,
};
use serde_json::{Value, json};

use crate::load::{Ends, Load};

/// Bytes replayed or read at once.
const READ_BYTES: ByteCount = ByteCount::mebibytes(4);

/// What must not happen, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Failures {
    /// Acknowledged commits that are not there, or not as they were written.
    pub(crate) acknowledged_lost: u64,
    /// Commits that nobody acknowledged and that are not whole.
    pub(crate) partial_visible: u64,
    /// Commits beyond what the writer can have written.
    pub(crate) never_written: u64,
    /// Partitions that show something else than the commits do.
    pub(crate) reads_differ: u64,
    /// States that are not what the commits leave.
    pub(crate) states_differ: u64,
    /// Stores that did not open, or could not be read.
    pub(crate) failures_to_open: u64,
}

impl Failures {
    /// Whether nothing of it happened.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Counts what another check found.
    pub(crate) const fn add(&mut self, other: Self) {
        let Self {
            acknowledged_lost,
            partial_visible,
            never_written,
            reads_differ,
            states_differ,
            failures_to_open,
        } = other;
        self.acknowledged_lost += acknowledged_lost;
        self.partial_visible += partial_visible;
        self.never_written += never_written;
        self.reads_differ += reads_differ;
        self.states_differ += states_differ;
        self.failures_to_open += failures_to_open;
    }

    /// As part of a report.
    pub(crate) fn report(&self) -> Value {
        let Self {
            acknowledged_lost,
            partial_visible,
            never_written,
            reads_differ,
            states_differ,
            failures_to_open,
        } = self;
        json!({
            "acknowledged_lost": acknowledged_lost,
            "partial_visible": partial_visible,
            "never_written": never_written,
            "reads_differ": reads_differ,
            "states_differ": states_differ,
            "failures_to_open": failures_to_open,
        })
    }
}

/// What is known about a load before its store is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// The last commit that was acknowledged.
    pub(crate) acknowledged: u64,
    /// Most commits that can have been written since.
    pub(crate) in_flight: u64,
}

/// What the commits of a log leave.
#[derive(Debug, Default)]
struct Left {
    last: u64,
    ends: Ends,
    entries: BTreeMap<TopicPartition, Vec<Entry>>,
    state: BTreeMap<Bytes, Bytes>,
}

/// Compares everything that the store shows with the load; returns the last commit as well.
pub(crate) fn check(
    store: &(impl LogStore + StateStore),
    load: &Load,
    known: Known,
) -> Result<(u64, Failures)> {
    let reader = store.reader();
    let mut left = Left::default();
    let mut failures = Failures::default();
    loop {
        let next = CommitNumber::new(left.last + 1);
        let Ok(replayed) = reader.replay(next, READ_BYTES) else {
            failures.failures_to_open += 1;
            break;
        };
        if replayed.commits.is_empty() {
            break;
        }
        for commit in replayed.commits {
            left.take(commit, load, known, &mut failures)?;
        }
    }
    failures.acknowledged_lost += known.acknowledged.saturating_sub(left.last);
    failures.never_written += left.last.saturating_sub(known.acknowledged + known.in_flight);
    for (partition, entries) in &left.entries {
        let shows = read(&reader, partition);
        failures.reads_differ += u64::from(!shows.is_ok_and(|shows| shows == *entries));
        failures.reads_differ +=
            u64::from(Some(&reader.end(partition)) != left.ends.get(partition));
    }
    let state: Option<BTreeMap<Bytes, Bytes>> =
        store.scan(load.owner(), b"").ok().map(|pairs| pairs.into_iter().collect());
    failures.states_differ += u64::from(state.as_ref() != Some(&left.state));
    Ok((left.last, failures))
}

impl Left {
    fn take(
        &mut self,
        commit: StoredCommit,
        load: &Load,
        known: Known,
        failures: &mut Failures,
    ) -> Result<()> {
        let StoredCommit { number, entries, state } = commit;
        self.last += 1;
        let found = Commit { entries, state };
        if number.get() != self.last || found != load.commit(self.last, &mut self.ends)? {
            if self.last <= known.acknowledged {
                failures.acknowledged_lost += 1;
            } else {
                failures.partial_visible += 1;
            }
        }
        for (partition, entry) in found.entries {
            self.entries.entry(partition).or_default().push(entry);
        }
        for StateChange { owner: _, key, value } in found.state {
            match value {
                Some(value) => self.state.insert(key, value),
                None => self.state.remove(&key),
            };
        }
        Ok(())
    }
}

/// Every entry of a partition.
fn read(reader: &impl LogReader, partition: &TopicPartition) -> Result<Vec<Entry>, ReadError> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let next = entries.last().map_or_else(Offset::default, Entry::end);
        let more = reader.read(partition, next, READ_BYTES)?;
        if more.is_empty() {
            return Ok(entries);
        }
        entries.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use headland_storage::DiskStore;

    use super::*;
    use crate::load::Volume;
    use crate::writer::options;

    /// A store that holds commits 1 to 3, as `change` leaves them.
    fn found(change: fn(&mut Vec<Commit>), acknowledged: u64) -> (u64, Failures) {
        let directory = tempfile::tempdir().unwrap();
        let load = Load::new(1, Volume::Mixed).unwrap();
        let mut ends = Ends::new();
        let mut group: Vec<Commit> =
            (1..=3).map(|number| load.commit(number, &mut ends).unwrap()).collect();
        change(&mut group);
        let mut store = DiskStore::open(directory.path(), options(1)).unwrap();
        store.append(&group).unwrap();
        check(&store, &load, Known { acknowledged, in_flight: 4 }).unwrap()
    }

    #[test]
    fn a_whole_log_has_no_failures_with_or_without_acknowledgement() {
        assert_eq!(found(|_| (), 3), (3, Failures::default()));
        assert_eq!(found(|_| (), 0), (3, Failures::default()));
    }

    #[test]
    fn a_missing_commit_is_lost_when_it_was_acknowledged() {
        let (last, failures) = found(|group| drop(group.pop()), 3);

        assert_eq!((last, failures.acknowledged_lost), (2, 1));
        assert!(found(|group| drop(group.pop()), 2).1.is_none());
    }

    #[test]
    fn a_commit_without_one_of_its_changes_is_partial_unless_it_was_acknowledged() {
        let shorten = |group: &mut Vec<Commit>| drop(group[2].state.pop());

        assert_eq!(found(shorten, 0).1.partial_visible, 1);
        assert_eq!(found(shorten, 3).1.acknowledged_lost, 1);
    }

    #[test]
    fn commits_beyond_what_was_in_flight_were_never_written() {
        let directory = tempfile::tempdir().unwrap();
        let load = Load::new(1, Volume::Mixed).unwrap();
        let mut ends = Ends::new();
        let mut store = DiskStore::open(directory.path(), options(1)).unwrap();
        for number in 1..=6 {
            store.append(&[load.commit(number, &mut ends).unwrap()]).unwrap();
        }

        let known = Known { acknowledged: 1, in_flight: 4 };
        let (_, failures) = check(&store, &load, known).unwrap();

        assert_eq!(failures, Failures { never_written: 1, ..Failures::default() });
    }
}
