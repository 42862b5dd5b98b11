//! The suite that every backend of [`LogStore`] and [`StateStore`] passes.
//!
//! A backend's test calls `check` with a way to make a fresh data directory; each check gets its
//! own. A failed assertion panics, an unexpected error is returned.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use headland_event::{
    Batch, ByteCount, CommitNumber, Dot, Entry, EventTime, Incarnation, Offset, PartitionIndex,
    Record, Sequence, StreamId, TopicName, TopicPartition,
};

use crate::commit::{Commit, StateChange, StateOwner, StoredCommit};
use crate::log::{AppendError, LogReader, LogStore, Replayed};
use crate::state::StateStore;

/// What a check returns: an error is one that the contract does not allow.
pub type Checked = Result<(), Box<dyn Error>>;

const READ_LIMIT: ByteCount = ByteCount::mebibytes(64);
/// Longer than any commit takes: who waits that long was not woken.
const WAIT: Duration = Duration::from_secs(60);

/// One data directory of a backend.
pub trait Backend {
    /// The store under test.
    type Store: LogStore + StateStore;

    /// Opens the directory; called again only after the store before was dropped.
    ///
    /// # Errors
    /// Whatever keeps it from opening, which fails the check.
    fn open(&mut self) -> Result<Self::Store, Box<dyn Error>>;
}

/// Runs every check, each on a fresh directory.
///
/// # Errors
/// The first error that the contract does not allow.
///
/// # Panics
/// When a backend breaks the contract.
pub fn check<B: Backend>(mut fresh: impl FnMut() -> B) -> Checked {
    entries_are_read_back_as_they_were_written(&mut fresh())?;
    a_read_begins_with_the_entry_that_holds_the_offset(&mut fresh())?;
    a_read_stops_at_its_limit_after_one_entry_at_least(&mut fresh())?;
    a_time_finds_the_first_record_that_reaches_it(&mut fresh())?;
    commits_are_replayed_in_order_and_whole(&mut fresh())?;
    a_reader_follows_the_writer(&mut fresh())?;
    one_who_waits_is_woken_by_the_commit_and_not_before(&mut fresh())?;
    a_gap_in_offsets_is_refused_and_nothing_is_written(&mut fresh())?;
    a_group_above_a_limit_is_refused_and_nothing_is_written(&mut fresh())?;
    state_is_what_the_last_changes_set(&mut fresh())?;
    everything_is_there_after_reopening(&mut fresh())
}

fn entries_are_read_back_as_they_were_written<B: Backend>(backend: &mut B) -> Checked {
    let mut store = backend.open()?;
    let (first, second) = (partition("a", 0)?, partition("a", 1)?);
    let commit = Commit {
        entries: vec![
            (first.clone(), entry(0, 3)?),
            (second.clone(), entry(0, 1)?),
            (first.clone(), entry(3, 2)?),
        ],
        state: Vec::new(),
    };

    let appended = store.append(std::slice::from_ref(&commit))?;

    let reader = store.reader();
    assert_eq!((appended.first, appended.last), (CommitNumber::new(1), CommitNumber::new(1)));
    assert_eq!(reader.partitions(), [first.clone(), second.clone()]);
    assert_eq!((reader.start(&first), reader.end(&first)), (Offset::new(0), Offset::new(5)));
    let read = reader.read(&first, Offset::new(0), READ_LIMIT)?;
    assert_eq!(read, [entry(0, 3)?, entry(3, 2)?]);
    assert_eq!(reader.read(&second, Offset::new(0), READ_LIMIT)?, [entry(0, 1)?]);
    Ok(())
}

fn a_read_begins_with_the_entry_that_holds_the_offset<B: Backend>(backend: &mut B) -> Checked {
    let mut store = backend.open()?;
    let at = partition("a", 0)?;
    store.append(&[commit(&at, 0, 3)?, commit(&at, 3, 3)?])?;

    let reader = store.reader();
    let begins = |from: u64| -> Result<Vec<u64>, Box<dyn Error>> {
        let entries = reader.read(&at, Offset::new(from), READ_LIMIT)?;
        Ok(entries.iter().map(|entry| entry.base.get()).collect())
    };

    assert_eq!(begins(2)?, [0, 3]);
    assert_eq!(begins(3)?, [3]);
    assert_eq!(begins(5)?, [3]);
    assert_eq!(begins(6)?, [0_u64; 0]);
    assert_eq!(reader.read(&partition("b", 0)?, Offset::new(0), READ_LIMIT)?, []);
    assert_eq!(reader.end(&partition("b", 0)?), Offset::new(0));
    Ok(())
}

fn a_read_stops_at_its_limit_after_one_entry_at_least<B: Backend>(backend: &mut B) -> Checked {
    let mut store = backend.open()?;
    let at = partition("a", 0)?;
    store.append(&[commit(&at, 0, 1)?, commit(&at, 1, 1)?, commit(&at, 2, 1)?])?;
    let size = u64::try_from(entry(0, 1)?.batch.as_bytes().len())?;

    let reader = store.reader();
    let count = |limit: u64| -> Result<usize, Box<dyn Error>> {
        Ok(reader.read(&at, Offset::new(0), ByteCount::new(limit))?.len())
    };

    assert_eq!(count(0)?, 1);
    assert_eq!(count(2 * size - 1)?, 1);
    assert_eq!(count(2 * size)?, 2);
    assert_eq!(reader.replay(CommitNumber::new(1), ByteCount::new(0))?.commits.len(), 1);
    Ok(())
}

fn a_time_finds_the_first_record_that_reaches_it<B: Backend>(backend: &mut B) -> Checked {
    let mut store = backend.open()?;
    let (at, other) = (partition("a", 0)?, partition("b", 0)?);
    let timed = |base: u64, times: &[i64]| -> Result<Commit, Box<dyn Error>> {
        let records = times.iter().map(|time| Record::new(EventTime::from_millis(*time), "k", "v"));
        let batch = Batch::encode(&records.collect::<Vec<_>>())?;
        let entry = Entry { batch, ..entry(base, 1)? };
        Ok(Commit { entries: vec![(at.clone(), entry)], state: Vec::new() })
    };
    store.append(&[commit(&other, 0, 9)?])?;
    store.append(&[timed(0, &[10, 30, 20])?])?;
    store.append(&[timed(3, &[5])?, timed(4, &[25, 40])?])?;

    let reader = store.reader();
    let found = |time: i64| -> Result<Option<u64>, Box<dyn Error>> {
        Ok(reader.offset_at(&at, EventTime::from_millis(time))?.map(Offset::get))
    };

    assert_eq!((found(i64::MIN)?, found(10)?), (Some(0), Some(0)));
    assert_eq!((found(11)?, found(30)?), (Some(1), Some(1)));
    assert_eq!((found(31)?, found(40)?), (Some(5), Some(5)));
    assert_eq!(found(41)?, None);
    assert_eq!(reader.offset_at(&partition("c", 0)?, EventTime::MIN)?, None);
    Ok(())
}

fn commits_are_replayed_in_order_and_whole<B: Backend>(backend: &mut B) -> Checked {
    let mut store = backend.open()?;
    let at = partition("a", 0)?;
    let mut both = commit(&at, 2, 1)?;
    both.state.push(change("positions", "x", Some("1"))?);
    let group = [commit(&at, 0, 2)?, both, Commit::default()];

    let appended = store.append(&group)?;

    let Replayed { commits, next } = store.reader().replay(CommitNumber::new(0), READ_LIMIT)?;
    let expected: Vec<StoredCommit> = (1..)
        .map(CommitNumber::new)
        .zip(group)
        .map(|(number, Commit { entries, state })| StoredCommit { number, entries, state })
        .collect();
    assert_eq!((commits, next), (expected, CommitNumber::new(4)));
    assert_eq!((appended.first, appended.last), (CommitNumber::new(1), CommitNumber::new(3)));
    let rest = store.reader().replay(CommitNumber::new(3), READ_LIMIT)?;
    assert_eq!(rest.commits.len(), 1);
    for from in [4, 9].map(CommitNumber::new) {
        let none = Replayed { commits: Vec::new(), next: from };
        assert_eq!(store.reader().replay(from, READ_LIMIT)?, none);
    }
    Ok(())
}

fn a_reader_follows_the_writer<B: Backend>(backend: &mut B) -> Checked {
    let mut store = backend.open()?;
    let at = partition("a", 0)?;
    let reader = store.reader();

    let before = reader.last_commit();
    store.append(&[commit(&at, 0, 1)?])?;
    store.seal()?;
    store.append(&[commit(&at, 1, 1)?])?;

    assert_eq!(before, CommitNumber::new(0));
    assert_eq!(reader.last_commit(), CommitNumber::new(2));
    assert_eq!(reader.read(&at, Offset::new(0), READ_LIMIT)?.len(), 2);
    Ok(())
}

fn one_who_waits_is_woken_by_the_commit_and_not_before<B: Backend>(backend: &mut B) -> Checked {
    let mut store = backend.open()?;
    let at = partition("a", 0)?;
    let reader = store.reader();
    store.append(&[commit(&at, 0, 1)?])?;
    let at_once = reader.wait(&at, Offset::new(0), WAIT);
    let in_vain = reader.wait(&at, Offset::new(1), Duration::from_millis(1));

    let woken = std::thread::scope(|scope| -> Result<_, Box<dyn Error>> {
        let waiter = scope.spawn(|| {
            let end = reader.wait(&at, Offset::new(2), WAIT);
            (end, reader.wait_commit(CommitNumber::new(3), WAIT))
        });
        store.append(&[commit(&at, 1, 1)?])?;
        store.append(&[commit(&at, 2, 2)?])?;
        Ok(waiter.join().ok())
    })?;

    assert_eq!((at_once, in_vain), (Offset::new(1), Offset::new(1)));
    assert_eq!(woken, Some((Offset::new(4), CommitNumber::new(3))));
    Ok(())
}

fn a_gap_in_offsets_is_refused_and_nothing_is_written<B: Backend>(backend: &mut B) -> Checked {
    let mut store = backend.open()?;
    let at = partition("a", 0)?;

    let refused = store.append(&[commit(&at, 0, 2)?, commit(&at, 3, 1)?]);

    assert!(
        matches!(
            &refused,
            Err(AppendError::OffsetGap { partition, expected, found })
                if *partition == at && (expected.get(), found.get()) == (2, 3)
        ),
        "{refused:?}"
    );
    assert_eq!(store.reader().last_commit(), CommitNumber::new(0));
    store.append(&[commit(&at, 0, 2)?, commit(&at, 2, 1)?])?;
    assert_eq!(store.reader().end(&at), Offset::new(3));
    Ok(())
}

fn a_group_above_a_limit_is_refused_and_nothing_is_written<B: Backend>(backend: &mut B) -> Checked {
    let mut store = backend.open()?;
    let sized = |bytes: usize| -> Result<Commit, Box<dyn Error>> {
        let value = Some(Bytes::from(vec![7; bytes]));
        let (owner, key) = (StateOwner::new("positions")?, Bytes::from_static(b"x"));
        let state = vec![StateChange { owner, key, value }];
        Ok(Commit { entries: Vec::new(), state })
    };

    let empty = store.append(&[]);
    let commit = store.append(&[sized(16 << 20)?]);
    let group = store.append(&[sized(2 << 20)?, sized(2 << 20)?]);

    assert!(matches!(empty, Err(AppendError::Empty)), "{empty:?}");
    assert!(matches!(commit, Err(AppendError::CommitTooLarge { index: 0, .. })), "{commit:?}");
    assert!(matches!(group, Err(AppendError::GroupTooLarge { .. })), "{group:?}");
    assert_eq!(store.get(&StateOwner::new("positions")?, b"x")?, None);
    store.append(&[sized(5 << 20)?])?;
    assert_eq!(store.reader().last_commit(), CommitNumber::new(1));
    Ok(())
}

fn state_is_what_the_last_changes_set<B: Backend>(backend: &mut B) -> Checked {
    let mut store = backend.open()?;
    let owner = StateOwner::new("positions")?;
    let set = |changes: &[(&str, Option<&str>)]| -> Result<Commit, Box<dyn Error>> {
        let changes = changes.iter().map(|(key, value)| change("positions", key, *value));
        let state = changes.collect::<Result<Vec<_>, _>>()?;
        Ok(Commit { entries: Vec::new(), state })
    };
    let mut other = set(&[("a/3", Some("9"))])?;
    other.state.push(change("position", "s", Some("8"))?);

    store.append(&[
        set(&[("a/2", Some("1")), ("a/1", Some("2")), ("b/1", Some("3"))])?,
        set(&[("a/1", Some("4")), ("b/1", None)])?,
        other,
    ])?;

    assert_eq!(store.get(&owner, b"a/1")?.as_deref(), Some(&b"4"[..]));
    assert_eq!(store.get(&owner, b"b/1")?, None);
    let pair = |key: &'static str, value: &'static str| (Bytes::from(key), Bytes::from(value));
    let found = store.scan(&owner, b"a/")?;
    assert_eq!(found, [pair("a/1", "4"), pair("a/2", "1"), pair("a/3", "9")]);
    assert_eq!(store.scan(&owner, b"c")?, []);
    assert_eq!(store.scan(&StateOwner::new("position")?, b"")?, [pair("s", "8")]);
    let page = |from: &[u8], bytes| store.scan_from(&owner, from, ByteCount::new(bytes));
    assert_eq!(page(b"", 0)?, [pair("a/1", "4")]);
    assert_eq!(page(b"a/1\0", 8)?, [pair("a/2", "1"), pair("a/3", "9")]);
    assert_eq!(page(b"a/3\0", 8)?, []);
    Ok(())
}

fn everything_is_there_after_reopening<B: Backend>(backend: &mut B) -> Checked {
    let mut store = backend.open()?;
    let at = partition("a", 0)?;
    let owner = StateOwner::new("positions")?;
    let mut first = commit(&at, 0, 2)?;
    first.state.push(change("positions", "x", Some("1"))?);
    store.append(&[first])?;
    store.append(&[commit(&at, 2, 1)?])?;
    let incarnation = store.incarnation();
    let replayed = store.reader().replay(CommitNumber::new(1), READ_LIMIT)?;
    drop(store);

    let mut store = backend.open()?;

    assert_eq!(store.incarnation(), incarnation);
    assert_eq!(store.reader().replay(CommitNumber::new(1), READ_LIMIT)?, replayed);
    assert_eq!(store.get(&owner, b"x")?.as_deref(), Some(&b"1"[..]));
    let appended = store.append(&[commit(&at, 3, 1)?])?;
    assert_eq!(appended.first, CommitNumber::new(3));
    assert_eq!(store.reader().read(&at, Offset::new(0), READ_LIMIT)?.len(), 3);
    Ok(())
}

fn partition(topic: &str, index: u32) -> Result<TopicPartition, Box<dyn Error>> {
    Ok(TopicPartition::new(TopicName::new(topic)?, PartitionIndex::new(index)))
}

fn entry(base: u64, records: i64) -> Result<Entry, Box<dyn Error>> {
    let record = |n| Record::new(EventTime::from_millis(n), format!("key-{n}"), "value");
    Ok(Entry {
        base: Offset::new(base),
        dot: Dot {
            stream: StreamId::new([7; 16]),
            incarnation: Incarnation::new(1, 2),
            sequence: Sequence::new(base + 1),
        },
        stamp: None,
        batch: Batch::encode(&(0..records).map(record).collect::<Vec<_>>())?,
    })
}

fn commit(at: &TopicPartition, base: u64, records: i64) -> Result<Commit, Box<dyn Error>> {
    Ok(Commit { entries: vec![(at.clone(), entry(base, records)?)], state: Vec::new() })
}

fn change(owner: &str, key: &str, value: Option<&str>) -> Result<StateChange, Box<dyn Error>> {
    Ok(StateChange {
        owner: StateOwner::new(owner)?,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
    })
}
