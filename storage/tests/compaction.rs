//! Compaction by key over the disk in memory: against a naive model, over crashes at every byte.
//!
//! The rule under test: whoever folds a partition by key ends at the same values, offsets and dots
//! stay dense and what they were, and nothing goes that a linked receiver does not have.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use headland_event::{
    Batch, ByteCount, Codec, Dot, DropPolicy, Entry, EventTime, Hole, Incarnation, Offset,
    PartitionIndex, Random, Record, SeededRandom, Sequence, StreamId, TopicName, TopicPartition,
};
use headland_storage::{
    CleanPolicy, CleanReport, Cleaning, Commit, Compaction, CompactionRule, LogReader, LogStore,
    MemoryDisk, MemoryStore, OpenOptions, StateMarks, Survival, TopicPattern,
};

const FILE_BYTES: ByteCount = ByteCount::new(4_000);
const PLENTY: ByteCount = ByteCount::mebibytes(64);
const TOMBSTONES: Duration = Duration::from_millis(100);

fn stock() -> TopicPartition {
    TopicPartition::new(TopicName::new("stock").unwrap(), PartitionIndex::new(0))
}

fn open(disk: &MemoryDisk, nonce: u64) -> MemoryStore {
    let reserve_bytes = ByteCount::new(0);
    let options = OpenOptions { reserve_bytes, file_bytes: FILE_BYTES, ..OpenOptions::new(nonce) };
    MemoryStore::open(disk, options).unwrap()
}

fn policy() -> CleanPolicy {
    let pattern = TopicPattern::Exactly(TopicName::new("stock").unwrap());
    let compaction = Compaction { tombstones: TOMBSTONES };
    let compactions = vec![CompactionRule { pattern, compaction }];
    CleanPolicy { compactions, ..CleanPolicy::default() }
}

fn clean(store: &mut MemoryStore, policy: &CleanPolicy, now: i64) -> CleanReport {
    store.mark_state().unwrap();
    let report = store.clean(policy, EventTime::from_millis(now), PLENTY).unwrap();
    assert!(report.is_done);
    report
}

/// Bytes that no codec makes smaller.
fn noise(seed: u64) -> Bytes {
    let mut random = SeededRandom::new(seed);
    (0..20).flat_map(|_| random.next_u64().to_be_bytes()).collect()
}

/// Appends a record of its own key to a partition before all others, `bytes` bytes of key.
fn append_key(store: &mut MemoryStore, key: u64, bytes: usize) {
    let at = TopicPartition::new(TopicName::new("large").unwrap(), PartitionIndex::new(0));
    let base = store.reader().end(&at);
    let dot = Dot {
        stream: StreamId::new([8; 16]),
        incarnation: Incarnation::new(1, 2),
        sequence: Sequence::new(base.get() + 1),
    };
    let mut name = key.to_be_bytes().to_vec();
    name.resize(bytes, 0);
    let record = Record { key: Some(name.into()), value: Some(noise(key)), ..Record::default() };
    let entry = Entry { base, dot, stamp: None, batch: Batch::encode(&[record]).unwrap() };
    store.append(&[Commit { entries: vec![(at, entry)], state: Vec::new() }]).unwrap();
}

/// Appends a batch of `(key, value)`, all of which happened at 0.
fn append(store: &mut MemoryStore, codec: Codec, records: &[(u64, Option<u64>)]) {
    let record = |(key, value): &(u64, Option<u64>)| Record {
        time: EventTime::from_millis(0),
        key: Some(Bytes::from(format!("key-{key}"))),
        value: value.map(|value| noise(key << 32 | value)),
        ..Record::default()
    };
    let base = store.reader().end(&stock());
    let dot = Dot {
        stream: StreamId::new([9; 16]),
        incarnation: Incarnation::new(1, 2),
        sequence: Sequence::new(base.get() + 1),
    };
    let records: Vec<Record> = records.iter().map(record).collect();
    let batch = Batch::encode_with(codec, &records).unwrap();
    let entries = vec![(stock(), Entry { base, dot, stamp: None, batch })];
    store.append(&[Commit { entries, state: Vec::new() }]).unwrap();
}

/// Every entry, from the start on.
fn all(store: &MemoryStore) -> Vec<Entry> {
    let (reader, mut found) = (store.reader(), Vec::new());
    let mut next = reader.start(&stock());
    loop {
        let read = reader.read(&stock(), next, ByteCount::new(700)).unwrap();
        let Some(last) = read.last() else { return found };
        next = last.end();
        found.extend(read);
    }
}

/// Every record that is left, by its offset, but for holes.
fn records(store: &MemoryStore) -> BTreeMap<Offset, Record> {
    let entries = all(store);
    let mut next = store.reader().start(&stock());
    for entry in &entries {
        assert_eq!(entry.base, next, "offsets are dense");
        assert_eq!(entry.dot.sequence.get(), entry.base.get() + 1, "dots are what they were");
        next = entry.end();
    }
    assert_eq!(next, store.reader().end(&stock()));
    let entries = entries.into_iter().filter(|entry| Hole::of(&entry.batch).is_none());
    let numbered = entries.flat_map(|entry| {
        let records = entry.batch.numbered_records().unwrap();
        records.into_iter().map(move |(delta, record)| (entry.base.at(delta), record))
    });
    numbered.collect()
}

/// What a reader that folds by key ends with.
fn view(store: &MemoryStore) -> BTreeMap<Bytes, Bytes> {
    let mut view = BTreeMap::new();
    for record in records(store).into_values() {
        match record.value {
            Some(value) => drop(view.insert(record.key.unwrap(), value)),
            None => drop(view.remove(&record.key.unwrap())),
        }
    }
    view
}

fn journal_bytes(disk: &MemoryDisk) -> usize {
    let ours = |name: &String| name.ends_with(".journal") || name.ends_with(".cold");
    disk.names()
        .iter()
        .filter(|name| ours(name))
        .map(|name| disk.content(name).unwrap().len())
        .sum()
}

#[test]
fn superseded_records_go_and_leave_one_hole_for_as_many_entries_as_follow_each_other() {
    let disk = MemoryDisk::new(1);
    let mut store = open(&disk, 1);
    for n in 0..200 {
        append(&mut store, Codec::None, &[(n % 3, Some(n))]);
    }
    let (before, expected) = (journal_bytes(&disk), view(&store));

    let report = clean(&mut store, &policy(), 0);

    assert!(report.files_written > 0, "{report:?}");
    assert_eq!(view(&store), expected);
    let after = journal_bytes(&disk);
    assert!(after * 3 < before, "{after} of {before}");
    let first = all(&store).remove(0);
    let hole = Hole::of(&first.batch).unwrap();
    assert_eq!(hole, Hole { count: first.batch.span(), policy: DropPolicy::Compacted });
    assert!(hole.count > 50, "{hole:?}");
    drop(store);
    assert_eq!(view(&open(&disk, 2)), expected);
}

#[test]
fn a_batch_keeps_the_records_that_count_at_their_offsets_under_every_codec() {
    for codec in Codec::ALL {
        let disk = MemoryDisk::new(1);
        let mut store = open(&disk, 1);
        for n in 0..60 {
            let others = (0..8).map(|key| (key, Some(n)));
            let records: Vec<_> = std::iter::once((1_000 + n, Some(n))).chain(others).collect();
            append(&mut store, codec, &records);
        }
        let (before, expected) = (records(&store), view(&store));

        clean(&mut store, &policy(), 0);

        let left = records(&store);
        assert_eq!(view(&store), expected, "{codec}");
        assert!(left.len() * 2 < before.len(), "{} of {} {codec}", left.len(), before.len());
        assert!(left.iter().all(|(offset, record)| before.get(offset) == Some(record)));
    }
}

#[test]
fn nothing_goes_that_a_linked_receiver_does_not_have() {
    let disk = MemoryDisk::new(1);
    let mut store = open(&disk, 1);
    for n in 0..200 {
        append(&mut store, Codec::None, &[(n % 3, Some(n))]);
    }
    let before = records(&store);
    let mut policy = policy();
    policy.hold(stock(), Offset::new(100));

    clean(&mut store, &policy, 0);

    let left = records(&store);
    assert!(left.range(..Offset::new(100)).count() < 10, "{:?}", left.keys());
    assert!(left.range(Offset::new(100)..).eq(before.range(Offset::new(100)..)));
}

#[test]
fn a_partition_with_more_keys_than_fit_holds_up_no_other() {
    const KEY: usize = 500 << 10;
    let disk = MemoryDisk::new(1);
    let mut store = open(&disk, 1);
    let mut policy = policy();
    let pattern = TopicPattern::Exactly(TopicName::new("large").unwrap());
    policy.compactions.push(CompactionRule { pattern, ..policy.compactions[0].clone() });
    for n in 0..200 {
        append(&mut store, Codec::None, &[(n % 3, Some(n))]);
    }
    // 13 MB of keys, then half as much again, by which the next round begins.
    (0..26).for_each(|key| append_key(&mut store, key, KEY));

    clean(&mut store, &policy, 0);
    let before = records(&store).len();
    (26..42).for_each(|key| append_key(&mut store, key, KEY));
    clean(&mut store, &policy, 0);

    assert_eq!(before, 200, "the first round ends in the large one");
    assert!(records(&store).len() < 20, "{} are left", records(&store).len());
}

#[test]
fn a_tombstone_is_kept_for_its_time_and_then_goes_with_all_that_it_deleted() {
    let disk = MemoryDisk::new(1);
    let mut store = open(&disk, 1);
    for n in 0..100 {
        append(&mut store, Codec::None, &[(n, Some(n))]);
    }
    for n in 0..100 {
        append(&mut store, Codec::None, &[(n, None)]);
    }
    append(&mut store, Codec::None, &[(1_000, Some(1))]);
    // The file that is being written is never cleaned.
    (0..30).for_each(|n| append(&mut store, Codec::None, &[(2_000 + n, Some(1))]));
    let tombstones = |store: &MemoryStore| {
        records(store).values().filter(|record| record.value.is_none()).count()
    };

    clean(&mut store, &policy(), 99);
    let in_time = (tombstones(&store), view(&store).len());
    clean(&mut store, &policy(), 100);
    let after = (tombstones(&store), view(&store).len());

    assert_eq!(in_time, (100, 31));
    assert!(after.0 < 20 && after.1 == 31, "{after:?}");
}

#[test]
fn a_compacted_log_is_left_alone_until_it_has_grown_by_half() {
    let disk = MemoryDisk::new(1);
    let mut store = open(&disk, 1);
    for n in 0..200 {
        append(&mut store, Codec::None, &[(n % 3, Some(n))]);
    }
    clean(&mut store, &policy(), 0);

    append(&mut store, Codec::None, &[(1, Some(1))]);
    let report = clean(&mut store, &policy(), 0);

    assert_eq!((report.read, report.written), (ByteCount::new(0), ByteCount::new(0)));
}

/// A seeded mix of keys, deletions and batch sizes, cleaned now and then; `None` once power fails.
fn work(disk: &MemoryDisk, seed: u64, expected: &mut BTreeMap<Bytes, Bytes>) -> Option<()> {
    let reserve_bytes = ByteCount::new(0);
    let options = OpenOptions { reserve_bytes, file_bytes: FILE_BYTES, ..OpenOptions::new(seed) };
    let mut store = MemoryStore::open(disk, options).ok()?;
    let mut random = SeededRandom::new(7);
    for round in 0..80_u64 {
        let base = store.reader().end(&stock());
        let incarnation = Incarnation::new(1, 2);
        let sequence = Sequence::new(base.get() + 1);
        let dot = Dot { stream: StreamId::new([9; 16]), incarnation, sequence };
        let records: Vec<Record> = (0..=random.below(3))
            .map(|_| Record {
                time: EventTime::from_millis(i64::try_from(round).unwrap()),
                key: Some(Bytes::from(format!("key-{}", random.below(6)))),
                value: (random.below(4) > 0).then(|| Bytes::from(vec![b'v'; 120])),
                ..Record::default()
            })
            .collect();
        let batch = Batch::encode(&records).unwrap();
        let entries = vec![(stock(), Entry { base, dot, stamp: None, batch })];
        store.append(&[Commit { entries, state: Vec::new() }]).ok()?;
        for Record { key, value, .. } in records {
            match value {
                Some(value) => drop(expected.insert(key.unwrap(), value)),
                None => drop(expected.remove(&key.unwrap())),
            }
        }
        if round % 20 == 19 {
            store.mark_state().ok()?;
            let now = EventTime::from_millis(i64::try_from(round).unwrap() - 20);
            store.clean(&policy(), now.plus(TOMBSTONES), ByteCount::new(3_000)).ok()?;
        }
    }
    Some(())
}

#[test]
fn a_crash_at_any_byte_of_compaction_changes_no_value_and_brings_none_back() {
    let mut whole = BTreeMap::new();
    work(&MemoryDisk::new(1), 1, &mut whole).unwrap();
    let mut crashes = 0;
    for power in (500..).step_by(397) {
        let disk = MemoryDisk::new(power);
        disk.cut_power_after(ByteCount::new(power));
        let mut expected = BTreeMap::new();
        let is_over = work(&disk, 1, &mut expected).is_some();
        disk.crash(Survival::Seeded);

        let store = open(&disk, 2);

        // The commit that the power failed in may be there or not.
        let found = view(&store);
        let differs = found.iter().filter(|(key, value)| expected.get(*key) != Some(value)).count()
            + expected.keys().filter(|key| !found.contains_key(*key)).count();
        assert!(differs <= 3, "power {power}: {differs}");
        if is_over {
            assert_eq!(found, whole);
            break;
        }
        crashes += 1;
    }
    assert!(crashes > 30, "{crashes}");
}
