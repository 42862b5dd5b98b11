//! What a store has to show after it was killed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use headland_event::{ByteCount, CommitNumber, Entry, Offset, TopicPartition};
use headland_storage::{
    Commit, LogReader, LogStore, Medium, ReadError, Replayed, StateCache, StateOwner, StateStore,
    Store, StoredCommit,
};
use serde_json::{Value, json};

use crate::cleaned::{Newest, may_forget, may_start};
use crate::compacted;
use crate::load::{Ends, KEYED, Load};

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
    /// Partitions that lost what nothing let go.
    pub(crate) wrongly_cleaned: u64,
    /// Partitions that start before where an acknowledged commit made them start.
    pub(crate) starts_went_back: u64,
    /// States that are not what the commits leave: in the cache, or in the log itself.
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
            wrongly_cleaned,
            starts_went_back,
            states_differ,
            failures_to_open,
        } = other;
        self.acknowledged_lost += acknowledged_lost;
        self.partial_visible += partial_visible;
        self.never_written += never_written;
        self.reads_differ += reads_differ;
        self.wrongly_cleaned += wrongly_cleaned;
        self.starts_went_back += starts_went_back;
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
            wrongly_cleaned,
            starts_went_back,
            states_differ,
            failures_to_open,
        } = self;
        json!({
            "acknowledged_lost": acknowledged_lost,
            "partial_visible": partial_visible,
            "never_written": never_written,
            "reads_differ": reads_differ,
            "wrongly_cleaned": wrongly_cleaned,
            "starts_went_back": starts_went_back,
            "states_differ": states_differ,
            "failures_to_open": failures_to_open,
        })
    }
}

/// What is known about a load before its store is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    /// The last commit that was acknowledged.
    pub(crate) acknowledged: u64,
    /// Most commits that can have been written since.
    pub(crate) in_flight: u64,
    /// Where partitions were acknowledged to start; others at 0.
    pub(crate) starts: &'a Starts,
}

/// Where partitions start.
pub(crate) type Starts = BTreeMap<TopicPartition, Offset>;

/// Numbers of the commits by which cleaning moved starts: they are none of the load's.
pub(crate) type Cleanings = BTreeSet<u64>;

/// What was found besides failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Found {
    /// The last commit.
    pub(crate) last: u64,
    /// Records before the starts of their partitions.
    pub(crate) cleaned: u64,
    /// Records that compaction took out.
    pub(crate) compacted: u64,
}

/// All that a load has written up to a commit, cleaned or not.
#[derive(Debug, Default)]
struct Written {
    last: u64,
    commits: BTreeMap<u64, Commit>,
    entries: BTreeMap<TopicPartition, Vec<(u64, Entry)>>,
    newest: Newest,
}

/// Compares everything that the store shows with the load, less what it lets go.
///
/// Commits behind the last acknowledged one that only move starts are added to `cleanings`.
pub(crate) fn check<M: Medium, C: StateCache>(
    store: &Store<M, C>,
    load: &Load,
    known: Known<'_>,
    cleanings: &mut Cleanings,
) -> Result<(Found, Failures)> {
    let reader = store.reader();
    let mut failures = Failures::default();
    let Ok(commits) = replay(&reader) else {
        return Ok((Found::default(), Failures { failures_to_open: 1, ..failures }));
    };
    let log = StateOwner::new("log").context("a valid name")?;
    let of_log = |commit: &&Commit| {
        let is_of_log = commit.state.iter().all(|change| change.owner == log);
        commit.entries.is_empty() && !commit.state.is_empty() && is_of_log
    };
    let behind = commits.range(known.acknowledged + 1..);
    cleanings.extend(behind.filter(|(_, commit)| of_log(commit)).map(|(number, _)| number));
    let last = reader.last_commit().get();
    failures.acknowledged_lost += known.acknowledged.saturating_sub(last);
    failures.never_written += last.saturating_sub(known.acknowledged + known.in_flight);
    let written = Written::by(load, last, cleanings)?;
    for (number, expected) in &written.commits {
        if !written.is_as_expected(*number, expected, commits.get(number), &reader) {
            if *number <= known.acknowledged {
                failures.acknowledged_lost += 1;
            } else {
                failures.partial_visible += 1;
            }
        }
    }
    let mut found = Found { last, ..Found::default() };
    for (partition, entries) in &written.entries {
        let start = reader.start(partition);
        found.cleaned += start.get();
        let acknowledged = known.starts.get(partition).copied().unwrap_or_default();
        failures.starts_went_back += u64::from(start < acknowledged);
        match shown(&reader, load, (partition, entries), last) {
            Ok(compacted) => found.compacted += compacted,
            Err(error) => {
                eprintln!("{partition}: {error:#}");
                failures.reads_differ += 1;
            }
        }
        let end = entries.last().map(|(_, entry)| entry.end());
        failures.reads_differ += u64::from(Some(reader.end(partition)) != end);
        let dropped = store.dropped(partition).unwrap_or_default();
        let is_right = may_start(load, (partition, start), (entries, last), &dropped);
        failures.wrongly_cleaned += u64::from(!is_right);
    }
    let state: Option<BTreeMap<Bytes, Bytes>> =
        store.scan(load.owner(), b"").ok().map(|pairs| pairs.into_iter().collect());
    let expected = written.newest.state();
    failures.states_differ += u64::from(state.as_ref() != Some(&expected));
    // Whoever replays the log without its cache has to end at the same.
    failures.states_differ += u64::from(state_of(load, &commits) != expected);
    Ok((found, failures))
}

/// Checks what is read of a partition; returns how many of its records compaction took out.
fn shown(
    reader: &impl LogReader,
    load: &Load,
    (partition, written): (&TopicPartition, &[(u64, Entry)]),
    last: u64,
) -> Result<u64> {
    let shows = read(reader, partition)?;
    if partition.topic.as_str() == KEYED {
        return compacted::check(&shows, written, |number| may_forget(load, number, last));
    }
    let start = reader.start(partition);
    let kept = written.iter().map(|(_, entry)| entry).filter(|entry| entry.end() > start);
    ensure!(kept.eq(&shows), "its entries from {start} on are not those that were written");
    Ok(0)
}

/// The load's state as the commits that are left add up to it.
fn state_of(load: &Load, commits: &BTreeMap<u64, Commit>) -> BTreeMap<Bytes, Bytes> {
    let mut newest = Newest::default();
    for (number, commit) in commits {
        let changes = commit.state.iter().filter(|change| change.owner == *load.owner());
        newest.apply(*number, changes);
    }
    newest.state()
}

/// Every commit that is left, by its number.
fn replay(reader: &impl LogReader) -> Result<BTreeMap<u64, Commit>, ReadError> {
    let mut found = BTreeMap::new();
    let mut next = CommitNumber::new(1);
    while next <= reader.last_commit() {
        let Replayed { commits, next: on } = reader.replay(next, READ_BYTES)?;
        next = on;
        found.extend(commits.into_iter().map(|commit| {
            let StoredCommit { number, entries, state } = commit;
            (number.get(), Commit { entries, state })
        }));
    }
    Ok(found)
}

impl Written {
    fn by(load: &Load, last: u64, cleanings: &Cleanings) -> Result<Self> {
        let (mut written, mut ends) = (Self { last, ..Self::default() }, Ends::new());
        for number in (1..=last).filter(|number| !cleanings.contains(number)) {
            let commit = load.commit(number, &mut ends)?;
            written.newest.apply(number, &commit.state);
            for (partition, entry) in &commit.entries {
                let entries = written.entries.entry(partition.clone()).or_default();
                entries.push((number, entry.clone()));
            }
            written.commits.insert(number, commit);
        }
        Ok(written)
    }

    /// Whether a commit is as it was written, but for what no longer counts.
    fn is_as_expected(
        &self,
        number: u64,
        expected: &Commit,
        found: Option<&Commit>,
        reader: &impl LogReader,
    ) -> bool {
        debug_assert!(number <= self.last, "only what was written is expected");
        let none = Commit::default();
        let found = found.unwrap_or(&none);
        let may_go =
            |(partition, entry): &(TopicPartition, Entry)| entry.end() <= reader.start(partition);
        // What compaction leaves is looked at by partition, because a hole may have moved on.
        let is_kept_whole =
            |(partition, _): &&(TopicPartition, Entry)| partition.topic.as_str() != KEYED;
        let [found_entries, expected_entries] = [&found.entries, &expected.entries]
            .map(|entries| entries.iter().filter(is_kept_whole).cloned().collect::<Vec<_>>());
        is_rest(&found_entries, &expected_entries, may_go)
            && is_rest(&found.state, &expected.state, |change| {
                !self.newest.must_stay(number, change)
            })
    }
}

/// Whether `found` is what is left of `expected`, in order, once some of what may go is gone.
fn is_rest<T: PartialEq>(found: &[T], expected: &[T], may_go: impl Fn(&T) -> bool) -> bool {
    let mut found = found.iter().peekable();
    let is_there_or_gone =
        expected.iter().all(|item| found.next_if_eq(&item).is_some() || may_go(item));
    is_there_or_gone && found.next().is_none()
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
        let known = Known { acknowledged, in_flight: 4, starts: &Starts::new() };
        let (found, failures) = check(&store, &load, known, &mut Cleanings::new()).unwrap();
        (found.last, failures)
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
    fn of_two_values_that_a_commit_gives_one_key_the_first_may_go_and_the_last_must_not() {
        // Commit 1 of this load sets a key twice.
        let load = Load::new(1297, Volume::Small).unwrap();
        let whole = load.commit(1, &mut Ends::new()).unwrap();
        let pairs = (0..whole.state.len()).flat_map(|first| (0..first).map(move |at| (at, first)));
        let mut repeated = pairs.filter(|(first, last)| {
            let [first, last] = [*first, *last].map(|at| &whole.state[at]);
            first.key == last.key && last.value.is_some()
        });
        let (first, last) = repeated.next().unwrap();
        let lost_without = |index: usize| {
            let directory = tempfile::tempdir().unwrap();
            let mut commit = load.commit(1, &mut Ends::new()).unwrap();
            commit.state.remove(index);
            let mut store = DiskStore::open(directory.path(), options(1)).unwrap();
            store.append(&[commit]).unwrap();
            let known = Known { acknowledged: 1, in_flight: 2, starts: &Starts::new() };
            check(&store, &load, known, &mut Cleanings::new()).unwrap().1.acknowledged_lost
        };

        assert_eq!((lost_without(first), lost_without(last)), (0, 1));
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

        let known = Known { acknowledged: 1, in_flight: 4, starts: &Starts::new() };
        let (_, failures) = check(&store, &load, known, &mut Cleanings::new()).unwrap();

        assert_eq!(failures, Failures { never_written: 1, ..Failures::default() });
    }

    #[test]
    fn a_start_before_the_acknowledged_one_went_back() {
        let directory = tempfile::tempdir().unwrap();
        let load = Load::new(1, Volume::Mixed).unwrap();
        let mut ends = Ends::new();
        let mut store = DiskStore::open(directory.path(), options(1)).unwrap();
        store.append(&[load.commit(1, &mut ends).unwrap()]).unwrap();
        let (partition, end) = ends.pop_first().unwrap();

        let starts = Starts::from([(partition, end)]);
        let known = Known { acknowledged: 1, in_flight: 4, starts: &starts };
        let (_, failures) = check(&store, &load, known, &mut Cleanings::new()).unwrap();

        assert_eq!(failures, Failures { starts_went_back: 1, ..Failures::default() });
    }

    #[test]
    fn a_log_that_adds_up_to_another_state_differs_whatever_the_cache_says() {
        let load = Load::new(1, Volume::Mixed).unwrap();
        let mut ends = Ends::new();
        let commits = (1..=3).map(|number| (number, load.commit(number, &mut ends).unwrap()));
        let mut commits: BTreeMap<u64, Commit> = commits.collect();
        let whole = state_of(&load, &commits);

        commits.remove(&3);

        assert_ne!(state_of(&load, &commits), whole);
    }
}
