//! Bytes written by any version of the format stay readable, and this one's stay the same.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(unreachable_pub, dead_code, reason = "shared by several test binaries")]
mod fixture;

use headland_event::{ByteCount, CommitNumber, Incarnation};
use headland_storage::{LogReader, LogStore, MemoryDisk, MemoryStore, OpenOptions, Survival};

use fixture::Model;

const V1_JOURNAL: &[u8] = include_bytes!("fixtures/v1.journal");
const V2_CLOSED: &[u8] = include_bytes!("fixtures/v2.allowing.closed.journal");
const V2_NEWEST: &[u8] = include_bytes!("fixtures/v2.allowing.newest.journal");
/// The same of builds before files said how many offsets they give.
const V2_CLOSED_BEFORE: &[u8] = include_bytes!("fixtures/v2.closed.journal");
const V2_NEWEST_BEFORE: &[u8] = include_bytes!("fixtures/v2.newest.journal");
const IDENTITY: &[u8] = include_bytes!("fixtures/v1.identity");
const NONCE: u64 = 0x0123_4567_89ab_cdef;

/// Opens a store whose files hold one group each.
fn open(disk: &MemoryDisk, nonce: u64) -> MemoryStore {
    let (file_bytes, reserve_bytes) = (ByteCount::new(100), ByteCount::new(0));
    let options = OpenOptions { file_bytes, reserve_bytes, ..OpenOptions::new(nonce) };
    MemoryStore::open(disk, options).unwrap()
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
    disk.set_content("0000000001.journal", V1_JOURNAL);
    disk.set_content("identity", IDENTITY);

    let store = open(&disk, 1);

    model().check(&store);
    assert_eq!(store.incarnation(), Incarnation::new(1, NONCE));
    assert_eq!(store.report().in_doubt, 0);
    assert_eq!(store.reader().last_commit(), CommitNumber::new(3));
}

#[test]
fn a_journal_of_version_1_goes_on_in_version_2_and_is_read_with_it() {
    let disk = MemoryDisk::new(1);
    disk.set_content("0000000001.journal", V1_JOURNAL);
    disk.set_content("identity", IDENTITY);
    let mut model = model();
    let mut store = open(&disk, 1);
    let group = model.group(2, 3);
    store.append(&group).unwrap();
    model.commits.extend(group);
    drop(store);

    let store = open(&disk, 2);

    model.check(&store);
    assert_eq!(store.report().scanned_files, [""; 0]);
    // The directory stands where the last seal was, which nothing needs any more.
    let (frames, _seal) = V1_JOURNAL.split_at(V1_JOURNAL.len() - 56);
    assert!(disk.content("0000000001.journal").unwrap().starts_with(frames));
}

#[test]
fn a_journal_of_version_2_is_read() {
    for (closed, newest) in [(V2_CLOSED_BEFORE, V2_NEWEST_BEFORE), (V2_CLOSED, V2_NEWEST)] {
        let disk = MemoryDisk::new(1);
        disk.set_content("0000000001.journal", closed);
        disk.set_content("0000000002.journal", newest);
        disk.set_content("identity", IDENTITY);

        let store = open(&disk, 1);

        model().check(&store);
        assert_eq!(store.incarnation(), Incarnation::new(1, NONCE));
        assert_eq!((store.report().in_doubt, store.report().files), (0, 2));
        assert_eq!(store.report().scanned_files, [""; 0]);
    }
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
    assert_eq!(disk.content("0000000001.journal").as_deref(), Some(V2_CLOSED));
    assert_eq!(disk.content("0000000002.journal").as_deref(), Some(V2_NEWEST));
}
