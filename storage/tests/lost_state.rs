//! A change of state that is damaged before any cache had it stops those whom it may belong to,
//! and nobody else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use headland_event::{
    Batch, ByteCount, CommitNumber, Dot, Entry, EventTime, Incarnation, Offset, PartitionIndex,
    Record, Sequence, StreamId, TopicName, TopicPartition,
};
use headland_storage::{
    Commit, LogReader, LogStore, MemoryDisk, MemoryStore, OpenOptions, StateChange, StateError,
    StateOwner, StateStore, Survival,
};

const JOURNAL: &str = "0000000001.journal";

fn owner(name: &str) -> StateOwner {
    StateOwner::new(name).unwrap()
}

fn set(name: &str, key: &'static str, value: &'static str) -> Commit {
    let (owner, key, value) = (owner(name), Bytes::from(key), Some(Bytes::from(value)));
    Commit { entries: Vec::new(), state: vec![StateChange { owner, key, value }] }
}

fn open(disk: &MemoryDisk, nonce: u64) -> MemoryStore {
    let reserve_bytes = ByteCount::new(0);
    MemoryStore::open(disk, OpenOptions { reserve_bytes, ..OpenOptions::new(nonce) }).unwrap()
}

/// Three commits, of which the second, of the owner `a`, lost its change of state.
fn damaged() -> MemoryDisk {
    let disk = MemoryDisk::new(1);
    let mut store = open(&disk, 1);
    let commits = [set("a", "x", "first"), set("a", "x", "second"), set("b", "y", "third")];
    for commit in commits {
        store.append(&[commit]).unwrap();
    }
    store.close().unwrap();
    disk.crash(Survival::Everything);
    let content = disk.content(JOURNAL).unwrap();
    let at = content.windows(6).position(|bytes| bytes == b"second").unwrap();
    disk.flip_bit(JOURNAL, ByteCount::new(u64::try_from(at).unwrap()), 0);
    disk
}

#[test]
fn a_store_opens_in_a_new_life_and_names_the_commit_whose_change_is_lost() {
    let disk = damaged();

    let store = open(&disk, 2);

    let [lost] = &*store.lost_state() else { panic!("one loss") };
    assert_eq!((lost.from, lost.until), (CommitNumber::new(2), CommitNumber::new(3)));
    assert_eq!(store.incarnation().counter(), 2);
    assert_eq!(store.report().lost_state, store.lost_state());
}

#[test]
fn what_may_be_outdated_is_not_read_and_what_was_set_later_is() {
    let store = open(&damaged(), 2);

    let outdated = store.get(&owner("a"), b"x").unwrap_err();
    let unknown = store.get(&owner("c"), b"z").unwrap_err();
    let later = store.get(&owner("b"), b"y").unwrap();
    let all = store.scan(&owner("b"), b"").unwrap_err();

    for error in [&outdated, &unknown, &all] {
        assert!(matches!(error, StateError::Lost { .. }) && !error.is_retryable(), "{error}");
    }
    assert_eq!(outdated.to_string(), "changes of state in commits 2 to 2 are lost, maybe of a");
    assert_eq!(later.as_deref(), Some(&b"third"[..]));
}

#[test]
fn an_owner_that_accepts_the_loss_reads_what_is_left_over_restarts_too() {
    let disk = damaged();
    let mut store = open(&disk, 2);

    store.accept_loss(&owner("a")).unwrap();

    let life = store.incarnation();
    for nonce in 3..5 {
        let left = store.scan(&owner("a"), b"").unwrap();
        assert_eq!(left, [(Bytes::from("x"), Bytes::from("first"))]);
        assert!(store.scan(&owner("b"), b"").is_err());
        drop(store);
        store = open(&disk, nonce);
        assert_eq!(store.incarnation(), life, "a loss that is recorded begins no other life");
    }
}

#[test]
fn nothing_is_written_by_an_owner_that_has_nothing_to_accept() {
    let disk = MemoryDisk::new(1);
    let mut store = open(&disk, 1);
    store.append(&[set("a", "x", "1")]).unwrap();

    store.accept_loss(&owner("a")).unwrap();

    assert_eq!(store.last_commit(), CommitNumber::new(1));
}

#[test]
fn a_loss_that_finds_no_room_to_be_recorded_is_found_again() {
    let disk = damaged();
    // For the identity of the new life, and not for a file.
    disk.set_capacity(Some(ByteCount::new(disk.used().get() + 28)));
    drop(open(&disk, 2));

    disk.set_capacity(None);
    let store = open(&disk, 3);

    assert_eq!(store.lost_state().len(), 1);
    assert_eq!(store.reader().last_commit(), CommitNumber::new(4));
}

fn journal_with(disk: &MemoryDisk, text: &[u8]) -> (String, usize) {
    let mut journals = disk.names().into_iter().filter(|name| name.ends_with(".journal"));
    let found = journals.find_map(|name| {
        let content = disk.content(&name).unwrap();
        let at = content.windows(text.len()).position(|bytes| bytes == text)?;
        Some((name, at))
    });
    found.unwrap()
}

fn flip(disk: &MemoryDisk, name: &str, at: usize) {
    disk.flip_bit(name, ByteCount::new(u64::try_from(at).unwrap()), 0);
}

#[test]
fn what_a_life_loses_that_began_while_a_journal_was_opened_is_followed_by_another_life() {
    let small = |nonce| {
        let file_bytes = ByteCount::new(2_000);
        let reserve_bytes = ByteCount::new(0);
        OpenOptions { file_bytes, reserve_bytes, ..OpenOptions::new(nonce) }
    };
    let disk = MemoryDisk::new(1);
    let mut store = MemoryStore::open(&disk, small(1)).unwrap();
    for commit in [set("a", "x", "first"), set("a", "x", "second"), set("b", "y", "third")] {
        store.append(&[commit]).unwrap();
    }
    store.seal().unwrap();
    // In doubt, so opening writes it anew, before it finds that a change is lost.
    store.append(&[set("b", "y", "fourth")]).unwrap();
    disk.crash(Survival::Everything);
    let (name, at) = journal_with(&disk, b"second");
    flip(&disk, &name, at);
    let mut store = MemoryStore::open(&disk, small(2)).unwrap();
    let in_doubt = store.report().in_doubt;
    let life = store.incarnation();
    let entry = Commit { entries: vec![entry(life)], state: Vec::new() };
    store.append(&[entry]).unwrap();
    while disk.names().iter().filter(|name| name.ends_with(".journal")).count() < 4 {
        store.append(&[set("b", "y", "later")]).unwrap();
    }
    store.close().unwrap();
    let (name, at) = journal_with(&disk, b"of the second life");
    let content = disk.content(&name).unwrap();
    let directory = content.windows(8).position(|bytes| bytes == b"HLDINDX\n").unwrap();
    flip(&disk, &name, at);
    flip(&disk, &name, directory + 10);

    let store = MemoryStore::open(&disk, small(3)).unwrap();

    assert_eq!((in_doubt, life.counter()), (1, 2));
    assert_eq!(store.incarnation().counter(), 3, "dots of a life that lost entries are not reused");
}

fn entry(incarnation: Incarnation) -> (TopicPartition, Entry) {
    let record = Record::new(EventTime::from_millis(0), "k", "of the second life");
    let dot = Dot { stream: StreamId::new([9; 16]), incarnation, sequence: Sequence::new(1) };
    let batch = Batch::encode(&[record]).unwrap();
    let partition = TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(0));
    (partition, Entry { base: Offset::new(0), dot, stamp: None, batch })
}
