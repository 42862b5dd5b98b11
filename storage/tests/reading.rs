//! Readers over journals of many blocks and files, and beside a running writer.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use headland_event::{
    Batch, ByteCount, CommitNumber, Dot, Entry, EventTime, Incarnation, Offset, PartitionIndex,
    Record, Sequence, StreamId, TopicName, TopicPartition,
};
use headland_storage::{Commit, LogReader, LogStore, MemoryDisk, MemoryStore, OpenOptions};

const RARE: u32 = 7;

fn partition(index: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(index))
}

fn open(disk: &MemoryDisk) -> MemoryStore {
    let (file_bytes, reserve_bytes) = (ByteCount::mebibytes(1), ByteCount::new(0));
    MemoryStore::open(disk, OpenOptions { file_bytes, reserve_bytes, ..OpenOptions::new(1) })
        .unwrap()
}

fn entry(base: u64, size: usize) -> Entry {
    let value = Bytes::from(vec![u8::try_from(base % 251).unwrap(); size]);
    let (incarnation, sequence) = (Incarnation::new(1, 2), Sequence::new(base + 1));
    let time = EventTime::from_millis(i64::try_from(base * 10).unwrap());
    Entry {
        base: Offset::new(base),
        dot: Dot { stream: StreamId::new([9; 16]), incarnation, sequence },
        stamp: None,
        batch: Batch::encode(&[Record::new(time, "k", value)]).unwrap(),
    }
}

fn commit(index: u32, base: u64, size: usize) -> Commit {
    Commit { entries: vec![(partition(index), entry(base, size))], state: Vec::new() }
}

/// 400 entries of partition 0, and one of a rare partition after every hundredth.
fn filled(disk: &MemoryDisk) -> MemoryStore {
    let mut store = open(disk);
    for base in 0..400 {
        let size = 100 + usize::try_from(base % 40).unwrap() * 600;
        store.append(&[commit(0, base, size)]).unwrap();
        if base % 100 == 99 {
            store.append(&[commit(RARE, base / 100, 10)]).unwrap();
        }
    }
    store
}

fn offsets(reader: &impl LogReader, index: u32, limit: ByteCount) -> Vec<u64> {
    let mut next = Offset::new(0);
    let mut found = Vec::new();
    loop {
        let entries = reader.read(&partition(index), next, limit).unwrap();
        let Some(last) = entries.last() else { return found };
        next = last.end();
        found.extend(entries.iter().map(|entry| entry.base.get()));
    }
}

#[test]
fn every_entry_is_read_once_and_in_order_whatever_the_limit() {
    let disk = MemoryDisk::new(1);
    let store = filled(&disk);
    assert!(disk.names().len() > 4, "{:?}", disk.names());

    for limit in [0, 50_000, 100 << 20].map(ByteCount::new) {
        assert!(offsets(&store.reader(), 0, limit).into_iter().eq(0..400), "{limit}");
        assert_eq!(offsets(&store.reader(), RARE, limit), [0, 1, 2, 3]);
    }
}

#[test]
fn the_same_is_read_after_reopening() {
    let disk = MemoryDisk::new(1);
    drop(filled(&disk));

    let store = open(&disk);

    assert!(offsets(&store.reader(), 0, ByteCount::mebibytes(1)).into_iter().eq(0..400));
    assert_eq!(offsets(&store.reader(), RARE, ByteCount::mebibytes(1)), [0, 1, 2, 3]);
}

#[test]
fn a_time_is_found_in_a_journal_of_many_blocks_and_files() {
    let disk = MemoryDisk::new(1);
    let store = filled(&disk);
    let reader = store.reader();

    // Every entry has one record, of ten milliseconds after the one before.
    for base in 0..400_u64 {
        let time = i64::try_from(base * 10).unwrap();
        let found = |time| reader.offset_at(&partition(0), EventTime::from_millis(time)).unwrap();
        assert_eq!(found(time), Some(Offset::new(base)));
        assert_eq!(found(time + 1), (base < 399).then(|| Offset::new(base + 1)));
    }
}

#[test]
fn a_replay_from_any_commit_begins_with_that_commit() {
    let disk = MemoryDisk::new(1);
    let store = filled(&disk);
    let reader = store.reader();

    for number in (1..=404).map(CommitNumber::new) {
        let replayed = reader.replay(number, ByteCount::new(100_000)).unwrap().commits;
        let numbers = replayed.iter().map(|commit| commit.number.get());
        assert!(numbers.eq((number.get()..).take(replayed.len())));
        assert!(!replayed.is_empty());
    }
}

#[test]
fn a_reader_beside_the_writer_sees_every_entry_once_and_in_order() {
    const COUNT: u64 = 2_000;
    let disk = MemoryDisk::new(1);
    let mut store = open(&disk);
    let reader = store.reader();

    let seen = std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut seen = Vec::new();
            let mut next = Offset::new(0);
            while next < Offset::new(COUNT) {
                for entry in reader.read(&partition(0), next, ByteCount::new(20_000)).unwrap() {
                    next = entry.end();
                    seen.push(entry.base.get());
                }
            }
            seen
        });
        for base in 0..COUNT {
            store.append(&[commit(0, base, 700)]).unwrap();
        }
        reading.join().unwrap()
    });

    assert!(seen.into_iter().eq(0..COUNT));
}
