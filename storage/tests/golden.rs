//! Bytes written by version 1 of the format stay readable, and stay the same.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(unreachable_pub, dead_code, reason = "shared by several test binaries")]
mod fixture;

use headland_event::{ByteCount, CommitNumber, Incarnation};
use headland_storage::{LogReader, LogStore, MemoryDisk, MemoryStore, OpenOptions, Survival};

use fixture::Model;

const JOURNAL: &[u8] = include_bytes!("fixtures/v1.journal");
const IDENTITY: &[u8] = include_bytes!("fixtures/v1.identity");
const NONCE: u64 = 0x0123_4567_89ab_cdef;

fn open(disk: &MemoryDisk, nonce: u64) -> MemoryStore {
    let reserve_bytes = ByteCount::new(0);
    MemoryStore::open(disk, OpenOptions { reserve_bytes, ..OpenOptions::new(nonce) }).unwrap()
}

/// Two groups, one with two commits, entries with and without a stamp, values set and deleted.
fn model() -> Model {
    let mut model = Model::default();
    model.commits.extend(model.group(2, 1));
    model.commits.extend(model.group(1, 2));
    model
}

#[test]
fn a_journal_of_version_1_is_read() {
    let disk = MemoryDisk::new(1);
    disk.set_content("0000000001.journal", JOURNAL);
    disk.set_content("identity", IDENTITY);

    let store = open(&disk, 1);

    model().check(&store);
    assert_eq!(store.incarnation(), Incarnation::new(1, NONCE));
    assert_eq!(store.report().in_doubt, 0);
    assert_eq!(store.reader().last_commit(), CommitNumber::new(3));
}

#[test]
fn the_same_commits_are_written_as_the_same_bytes() {
    let disk = MemoryDisk::new(1);
    let mut store = open(&disk, NONCE);
    let (first, second) = (Model::default().group(2, 1), model().commits.split_off(2));
    store.append(&first).unwrap();
    store.append(&second).unwrap();
    store.close().unwrap();

    disk.crash(Survival::Everything);

    assert_eq!(disk.content("identity").as_deref(), Some(IDENTITY));
    assert_eq!(disk.content("0000000001.journal").as_deref(), Some(JOURNAL));
}
