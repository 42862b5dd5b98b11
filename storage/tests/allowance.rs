//! However much damage takes of a file, no more offsets are given up than the file has said that it
//! gives, and none of those that it gave is given again.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

#[expect(unreachable_pub, dead_code, reason = "shared by several test binaries")]
mod fixture;

use headland_event::{
    Batch, ByteCount, Dot, DropPolicy, Entry, EventTime, Hole, Incarnation, Offset, Record,
    Sequence, StreamId, TopicPartition,
};
use headland_storage::{
    Commit, LogReader, LogStore, MemoryDisk, MemoryStore, OpenOptions, Survival,
};

use fixture::partition;

/// What every file allows for.
const ALLOWED: u64 = 1 << 16;

/// A store whose files are never full by their bytes.
fn open(disk: &MemoryDisk, nonce: u64) -> MemoryStore {
    let (file_bytes, reserve_bytes) = (ByteCount::mebibytes(2), ByteCount::new(0));
    let options = OpenOptions { file_bytes, reserve_bytes, ..OpenOptions::new(nonce) };
    MemoryStore::open(disk, options).unwrap()
}

/// A store of one record in a file of its own, opened again.
fn begun(disk: &MemoryDisk) -> MemoryStore {
    let mut store = open(disk, 1);
    append(&mut store, record(1));
    store.close().unwrap();
    open(disk, 2)
}

/// Appends a batch to the end of the first partition, in a commit of its own.
fn append(store: &mut MemoryStore, batch: Batch) {
    append_to(store, partition(0), batch);
}

fn append_to(store: &mut MemoryStore, at: TopicPartition, batch: Batch) {
    let base = store.reader().end(&at);
    let dot = Dot {
        stream: StreamId::new([1; 16]),
        incarnation: Incarnation::new(1, 1),
        sequence: Sequence::new(base.get() + 1),
    };
    let entries = vec![(at, Entry { base, dot, stamp: None, batch })];
    store.append(&[Commit { entries, state: Vec::new() }]).unwrap();
}

/// As many offsets as a batch takes, in as few bytes as there are.
fn dense() -> Batch {
    let count = Hole::SPAN_MAX;
    Hole { count, policy: DropPolicy::Bytes }.to_batch(count, EventTime::default()).unwrap()
}

fn record(bytes: usize) -> Batch {
    Batch::encode(&[Record::new(EventTime::default(), "k", "v".repeat(bytes))]).unwrap()
}

fn journals(disk: &MemoryDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(".journal")).collect()
}

/// Closes a store, and cuts a file behind its header, and the file's directory with the rest.
fn cut(disk: &MemoryDisk, store: MemoryStore, name: &str) {
    store.close().unwrap();
    disk.crash(Survival::Everything);
    let content = disk.content(name).unwrap();
    disk.set_content(name, &content[..76]);
}

#[test]
fn no_more_offsets_are_given_up_than_the_file_allows_for() {
    let disk = MemoryDisk::new(1);
    let mut store = begun(&disk);
    (0..20).for_each(|_| append(&mut store, record(50_000)));
    let newest = journals(&disk).pop().unwrap();
    cut(&disk, store, &newest);

    let store = open(&disk, 3);

    assert_eq!(store.reader().end(&partition(0)), Offset::new(1 + ALLOWED));
    let lost = store.reader().lost(&partition(0));
    assert_eq!(lost, [Offset::new(1)..Offset::new(1 + ALLOWED)]);
    drop(store);
    assert_eq!(open(&disk, 4).reader().end(&partition(0)), Offset::new(1 + ALLOWED));
}

#[test]
fn of_a_closed_file_without_its_directory_no_more_are_given_up_either() {
    let disk = MemoryDisk::new(1);
    let mut store = begun(&disk);
    (0..42).for_each(|_| append(&mut store, record(50_000)));
    let all = journals(&disk);
    assert_eq!(all.len(), 3, "the third file has one record");
    let at = partition(0);
    let base = store.reader().end(&at);
    cut(&disk, store, &all[1]);
    // The third file has nothing of the partition either.
    let third = disk.content(&all[2]).unwrap();
    let place = third.windows(3).rposition(|bytes| bytes == b"air").unwrap();
    disk.flip_bit(&all[2], ByteCount::new(u64::try_from(place).unwrap() + 40), 3);

    let end = open(&disk, 3).reader().end(&at);

    assert!(base <= end && end.get() <= 1 + 2 * ALLOWED, "{base} {end}");
}

#[test]
fn what_an_earlier_life_gave_up_stands_for_nothing_that_a_later_one_loses() {
    let disk = MemoryDisk::new(1);
    let mut store = begun(&disk);
    (0..20).for_each(|_| append(&mut store, record(50_000)));
    let first_lost = journals(&disk).pop().unwrap();
    cut(&disk, store, &first_lost);
    let mut store = open(&disk, 3);
    append_to(&mut store, partition(1), record(1));
    let other = journals(&disk).pop().unwrap();
    store.close().unwrap();
    let mut store = open(&disk, 4);
    append(&mut store, record(1));
    let given = store.reader().end(&partition(0));
    let last = journals(&disk).pop().unwrap();
    store.close().unwrap();
    let mut store = open(&disk, 5);
    append_to(&mut store, partition(2), record(1));
    let life = store.incarnation();
    // Of the first partition this loses nothing, and the next life begins.
    cut(&disk, store, &other);
    let store = open(&disk, 6);
    assert!(life < store.incarnation());
    assert_eq!(store.reader().end(&partition(0)), given);
    cut(&disk, store, &last);

    let end = open(&disk, 7).reader().end(&partition(0));

    assert!(end >= given, "{given} offsets were given, it goes on at {end}");
    assert_eq!(open(&disk, 8).reader().end(&partition(0)), end, "it is given up once");
}

#[test]
fn a_file_of_few_bytes_and_many_offsets_is_followed_by_another_which_allows_for_more() {
    let disk = MemoryDisk::new(1);
    let mut store = open(&disk, 1);

    (0..200).for_each(|_| append(&mut store, dense()));

    let files = journals(&disk).len();
    assert!((4..=6).contains(&files), "two million offsets in {files} files");
}

#[test]
fn what_a_file_gave_before_all_of_it_was_lost_is_never_given_again() {
    for commits in 1..60 {
        let disk = MemoryDisk::new(1);
        let mut store = begun(&disk);
        (0..commits).for_each(|_| append(&mut store, dense()));
        let given = store.reader().end(&partition(0));
        let newest = journals(&disk).pop().unwrap();
        cut(&disk, store, &newest);

        let end = open(&disk, 3).reader().end(&partition(0));

        assert!(end >= given, "{commits} commits gave {given}, it goes on at {end}");
    }
}

#[test]
fn a_file_that_does_not_say_is_taken_to_have_given_what_its_bytes_can_hold() {
    let disk = MemoryDisk::new(1);
    let mut store = begun(&disk);
    (0..20).for_each(|_| append(&mut store, record(50_000)));
    let newest = journals(&disk).pop().unwrap();
    cut(&disk, store, &newest);
    let header = disk.content(&newest).unwrap();
    let earlier = [&header[..10], &[0, 0], &header[12..72]].concat();
    let crc = crc32c::crc32c(&earlier).to_be_bytes();
    disk.set_content(&newest, &[&earlier[..], &crc].concat());

    let end = open(&disk, 3).reader().end(&partition(0));

    assert!(end.get() > 20 * 50_000 / 100 * 10_000, "{end}");
}
