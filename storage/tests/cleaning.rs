//! Cleaning over the disk in memory: against a naive model, over crashes at every byte.
//!
//! The rule under test: everything at or after a partition's start is read exactly, state equals
//! the model, what was deleted stays deleted, and no offset is ever given twice.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use headland_event::{
    Batch, ByteCount, CommitNumber, Dot, Entry, EventTime, Incarnation, Offset, PartitionIndex,
    Record, Sequence, StreamId, TopicName, TopicPartition,
};
use headland_storage::{
    CleanPolicy, CleanReport, Cleaning, Commit, Dropped, LogReader, LogStore, MemoryDisk,
    MemoryStore, OpenOptions, Retention, Shed, ShedBy, StateChange, StateMarks, StateOwner,
    StateStore, Survival, TopicPattern, TopicRule,
};
use proptest::prelude::*;

const FILE_BYTES: u64 = 4_000;
const PLENTY: ByteCount = ByteCount::mebibytes(64);

fn partition(index: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(index))
}

fn owner() -> StateOwner {
    StateOwner::new("positions").unwrap()
}

fn time(millis: u64) -> EventTime {
    EventTime::from_millis(i64::try_from(millis).unwrap())
}

fn open(disk: &MemoryDisk, nonce: u64) -> MemoryStore {
    open_with(disk, nonce, ByteCount::new(0))
}

fn open_with(disk: &MemoryDisk, nonce: u64, reserve_bytes: ByteCount) -> MemoryStore {
    let file_bytes = ByteCount::new(FILE_BYTES);
    let options = OpenOptions { file_bytes, reserve_bytes, ..OpenOptions::new(nonce) };
    MemoryStore::open(disk, options).unwrap()
}

/// Records of `size` bytes that happened at `at`.
fn entry(base: u64, (records, size): (u64, usize), at: u64) -> Entry {
    let record = |n| Record::new(time(at), format!("{}", base + n), vec![7; size]);
    let records: Vec<Record> = (0..records).map(record).collect();
    Entry {
        base: Offset::new(base),
        dot: Dot {
            stream: StreamId::new([9; 16]),
            incarnation: Incarnation::new(1, 2),
            sequence: Sequence::new(base + 1),
        },
        stamp: None,
        batch: Batch::encode(&records).unwrap(),
    }
}

fn set(key: u64, value: Option<String>) -> StateChange {
    let key = Bytes::from(format!("k{key}"));
    StateChange { owner: owner(), key, value: value.map(Bytes::from) }
}

/// What a store has to hold.
#[derive(Debug, Clone, Default)]
struct Model {
    partitions: BTreeMap<TopicPartition, (u64, Vec<Entry>)>,
    state: BTreeMap<Bytes, Bytes>,
}

impl Model {
    fn end(&self, index: u32) -> u64 {
        self.partitions.get(&partition(index)).map_or(0, |(end, _)| *end)
    }

    fn apply(&mut self, commit: &Commit) {
        for (partition, entry) in &commit.entries {
            let (end, entries) = self.partitions.entry(partition.clone()).or_default();
            *end = entry.end().get();
            entries.push(entry.clone());
        }
        for StateChange { key, value, .. } in &commit.state {
            match value {
                Some(value) => drop(self.state.insert(key.clone(), value.clone())),
                None => drop(self.state.remove(key)),
            }
        }
    }

    fn check(&self, store: &MemoryStore) {
        let reader = store.reader();
        for (partition, (end, entries)) in &self.partitions {
            assert_eq!(reader.end(partition).get(), *end, "end of {partition}");
            let start = reader.start(partition);
            let kept = entries.iter().filter(|entry| entry.end() > start);
            assert_eq!(all(store, partition), kept.cloned().collect::<Vec<_>>());
        }
        let state: BTreeMap<_, _> = store.scan(&owner(), b"").unwrap().into_iter().collect();
        assert_eq!(state, self.state);
    }
}

/// Every entry of a partition that can be read.
fn all(store: &MemoryStore, partition: &TopicPartition) -> Vec<Entry> {
    let (reader, mut found) = (store.reader(), Vec::new());
    let mut next = Offset::new(0);
    loop {
        let read = reader.read(partition, next, ByteCount::new(700)).unwrap();
        let Some(last) = read.last() else { return found };
        next = last.end();
        found.extend(read);
    }
}

fn append(store: &mut MemoryStore, model: &mut Model, commit: Commit) {
    store.append(std::slice::from_ref(&commit)).unwrap();
    model.apply(&commit);
}

/// A commit of one entry.
fn one(model: &Model, index: u32, size: (u64, usize), at: u64) -> Commit {
    let entry = entry(model.end(index), size, at);
    Commit { entries: vec![(partition(index), entry)], state: Vec::new() }
}

fn fill(store: &mut MemoryStore, model: &mut Model, index: u32, count: u64) {
    for n in 0..count {
        let commit = one(model, index, (2, 200), n);
        append(store, model, commit);
    }
}

fn keep(bytes: u64) -> CleanPolicy {
    let retention = Retention { time: None, bytes: Some(ByteCount::new(bytes)) };
    let pattern = TopicPattern::StartsWith(String::new());
    CleanPolicy { topics: vec![TopicRule { pattern, retention }], ..CleanPolicy::default() }
}

fn clean(store: &mut MemoryStore, policy: &CleanPolicy, now: u64) -> CleanReport {
    store.mark_state().unwrap();
    let report = store.clean(policy, time(now), PLENTY).unwrap();
    assert!(report.is_done, "{report:?}");
    report
}

fn journal_files(disk: &MemoryDisk) -> usize {
    let is_ours = |name: &&String| name.ends_with(".journal") || name.ends_with(".cold");
    disk.names().iter().filter(is_ours).count()
}

#[test]
fn what_passes_the_bytes_kept_goes_with_its_files_and_the_start_survives_a_restart() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1);
    fill(&mut store, &mut model, 0, 60);
    let before = journal_files(&disk);

    let report = clean(&mut store, &keep(8_000), 0);

    let start = store.reader().start(&partition(0));
    assert_eq!(report.moved, [partition(0)]);
    assert_eq!(journal_files(&disk), before - report.files_removed + report.files_written);
    assert!(report.files_removed >= 3, "{report:?}");
    assert!(start > Offset::new(0));
    model.check(&store);
    drop(store);
    disk.crash(Survival::Nothing);
    let store = open(&disk, 2);
    assert_eq!(store.reader().start(&partition(0)), start);
    model.check(&store);
}

#[test]
fn what_is_older_than_is_kept_goes_and_nothing_younger() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1);
    fill(&mut store, &mut model, 0, 60);
    let retention = Retention { time: Some(Duration::from_millis(50)), bytes: None };
    let pattern = TopicPattern::Exactly(TopicName::new("air").unwrap());
    let policy =
        CleanPolicy { topics: vec![TopicRule { pattern, retention }], ..CleanPolicy::default() };

    clean(&mut store, &policy, 90);

    // Records of offsets 80 and 81 happened at 40; older ones may stay with others of their block.
    let start = store.reader().start(&partition(0)).get();
    assert!((1..=80).contains(&start), "{start}");
    model.check(&store);
    clean(&mut store, &policy, 1_000);
    assert_eq!(store.reader().start(&partition(0)), Offset::new(120));
}

#[test]
fn acknowledged_records_go_up_to_the_offset_and_not_past_what_a_receiver_holds() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1);
    fill(&mut store, &mut model, 0, 60);
    let mut policy = CleanPolicy::default();
    policy.trim(partition(0), Offset::new(77), Retention::NOTHING);
    let trimmed = clean(&mut store, &policy, 0);
    assert_eq!(store.reader().start(&partition(0)), Offset::new(77));
    assert_eq!(trimmed.dropped, []);

    policy.trim(partition(0), Offset::new(100), Retention::NOTHING);
    policy.hold(partition(0), Offset::new(90));
    clean(&mut store, &policy, 0);

    assert_eq!(store.reader().start(&partition(0)), Offset::new(90));
    model.check(&store);
}

#[test]
fn acknowledged_records_are_kept_as_long_as_the_policy_says() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1);
    fill(&mut store, &mut model, 0, 60);
    let mut policy = CleanPolicy::default();
    let keep = Retention { time: Some(Duration::from_secs(3_600)), bytes: None };
    policy.trim(partition(0), Offset::new(100), keep);

    clean(&mut store, &policy, 100);

    assert_eq!(store.reader().start(&partition(0)), Offset::new(0));
    clean(&mut store, &policy, 3_600_100);
    assert_eq!(store.reader().start(&partition(0)), Offset::new(100));
}

#[test]
fn what_retention_takes_from_a_linked_receiver_is_named_by_its_dots() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1);
    fill(&mut store, &mut model, 0, 60);
    let mut policy = keep(8_000);
    policy.hold(partition(0), Offset::new(31));

    let report = clean(&mut store, &policy, 0);

    let start = store.reader().start(&partition(0)).get();
    let expected = Dropped {
        partition: partition(0),
        stream: StreamId::new([9; 16]),
        incarnation: Incarnation::new(1, 2),
        first: Sequence::new(32),
        last: Sequence::new(start),
        count: start - 31,
        policy: ShedBy::Bytes,
    };
    assert_eq!(report.dropped, std::slice::from_ref(&expected));
    drop(store);
    disk.crash(Survival::Nothing);
    assert_eq!(open(&disk, 2).dropped(&partition(0)).unwrap(), [expected]);
}

#[test]
fn what_the_caller_gives_up_goes_up_to_that_entry_and_what_nobody_has_of_it_is_named() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1);
    fill(&mut store, &mut model, 0, 40);
    let mut policy = CleanPolicy::default();
    policy.hold(partition(0), Offset::new(6));
    policy.shed(partition(0), Shed { to: Offset::new(16), by: ShedBy::Time });

    let report = clean(&mut store, &policy, 0);
    let again = clean(&mut store, &policy, 0);

    let [dropped] = <[Dropped; 1]>::try_from(report.dropped).unwrap();
    let range = (dropped.first.get(), dropped.last.get(), dropped.count, dropped.policy);
    assert_eq!(store.reader().start(&partition(0)), Offset::new(16));
    assert_eq!(range, (7, 16, 10, ShedBy::Time));
    assert_eq!(again.moved, []);
    model.check(&store);
}

#[test]
fn a_partition_that_was_cleaned_away_whole_goes_on_where_it_ended() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1);
    fill(&mut store, &mut model, 1, 9);
    fill(&mut store, &mut model, 0, 60);
    let mut policy = CleanPolicy::default();
    policy.trim(partition(1), Offset::new(18), Retention::NOTHING);
    policy.trim(partition(0), Offset::new(118), Retention::NOTHING);
    clean(&mut store, &policy, 0);
    drop(store);
    disk.crash(Survival::Nothing);

    let mut store = open(&disk, 2);

    let reader = store.reader();
    assert_eq!(reader.start(&partition(1)), Offset::new(18));
    assert_eq!(reader.end(&partition(1)), Offset::new(18));
    assert_eq!(reader.read(&partition(1), Offset::new(0), PLENTY).unwrap(), []);
    fill(&mut store, &mut model, 1, 1);
    assert_eq!(all(&store, &partition(1)), [entry(18, (2, 200), 0)]);
    model.check(&store);
}

#[test]
fn a_deleted_key_stays_deleted_when_the_cache_is_rebuilt() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1);
    let state = vec![set(1, Some("one".to_owned()))];
    append(&mut store, &mut model, Commit { entries: Vec::new(), state });
    fill(&mut store, &mut model, 0, 20);
    let state = vec![set(1, None), set(2, Some("two".to_owned()))];
    append(&mut store, &mut model, Commit { entries: Vec::new(), state });
    fill(&mut store, &mut model, 0, 40);

    for to in [10, 30, 60, 90, 116] {
        let mut policy = CleanPolicy::default();
        policy.trim(partition(0), Offset::new(to), Retention::NOTHING);
        clean(&mut store, &policy, 0);
        store.rebuild_state().unwrap();
        model.check(&store);
        drop(store);
        disk.crash(Survival::Nothing);
        store = open(&disk, to);
        model.check(&store);
    }

    assert_eq!(store.newest(&owner(), b"k1").unwrap(), None);
    assert!(store.newest(&owner(), b"k2").unwrap().is_some());
}

#[test]
fn a_store_with_nothing_to_clean_writes_nothing() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1);
    fill(&mut store, &mut model, 0, 60);
    let policy = keep(8_000);
    clean(&mut store, &policy, 0);
    let (last, syncs) = (store.last_commit(), disk.sync_count());

    let again = clean(&mut store, &policy, 0);

    assert_eq!(again, CleanReport { is_done: true, ..CleanReport::default() });
    assert_eq!((store.last_commit(), disk.sync_count()), (last, syncs));
}

#[test]
fn files_after_the_state_mark_are_left_alone() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1);
    fill(&mut store, &mut model, 0, 60);

    let report = store.clean(&keep(0), time(0), PLENTY).unwrap();

    assert_eq!((report.files_removed, report.files_written), (0, 0));
    assert!(clean(&mut store, &keep(0), 0).files_removed > 5);
}

#[test]
fn no_file_goes_while_an_operator_that_is_named_has_fewer_than_two_snapshots() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1);
    fill(&mut store, &mut model, 0, 60);
    let policy = CleanPolicy { operators: vec![owner()], ..keep(500) };
    let snapshots = store.snapshots();

    let removed = [0, 40, 50].map(|at| {
        if at > 0 {
            snapshots.save(&owner(), CommitNumber::new(at), b"state").unwrap();
        }
        clean(&mut store, &policy, 0).files_removed
    });

    assert_eq!((removed[0], removed[1]), (0, 0));
    assert!(removed[2] > 0, "{removed:?}");
    model.check(&store);
}

#[test]
fn a_small_budget_ends_at_the_same_files_in_many_calls() {
    let clean_all = |budget: u64| {
        let (disk, mut model) = (MemoryDisk::new(1), Model::default());
        let mut store = open(&disk, 1);
        for _ in 0..20 {
            fill(&mut store, &mut model, 0, 3);
            fill(&mut store, &mut model, 1, 1);
        }
        let mut policy = CleanPolicy::default();
        policy.trim(partition(0), Offset::new(100), Retention::NOTHING);
        store.mark_state().unwrap();
        let mut calls = 0;
        loop {
            let report = store.clean(&policy, time(0), ByteCount::new(budget)).unwrap();
            let found = report.read.get() + report.written.get();
            assert!(found <= budget + 3_000, "{found}");
            model.check(&store);
            calls += 1;
            if report.is_done {
                return (calls, all(&store, &partition(1)), journal_files(&disk));
            }
        }
    };

    let (once, read, files) = clean_all(1 << 20);
    let (calls, read_slowly, files_slowly) = clean_all(1_000);

    assert_eq!(once, 1);
    assert!(calls > 10, "{calls}");
    assert_eq!((read_slowly, files_slowly), (read, files));
}

#[test]
fn at_half_live_each_byte_is_written_at_most_twice() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1);
    let (mut appended, mut copied, mut copies) = (0, 0, 0);
    let mut policy = CleanPolicy::default();
    for round in 0..40 {
        for _ in 0..6 {
            for index in [0, 1] {
                let commit = one(&model, index, (2, 200), round);
                appended += 500;
                append(&mut store, &mut model, commit);
            }
        }
        // Of partition 0 nothing stays but the newest, of partition 1 everything.
        let to = Offset::new(model.end(0).saturating_sub(4));
        policy.trim(partition(0), to, Retention::NOTHING);
        let report = clean(&mut store, &policy, 0);
        copied += report.written.get();
        copies += report.files_written;
    }

    model.check(&store);
    assert!(copies > 10, "{copies}");
    assert!(copied <= appended, "{copied} bytes copied of {appended} appended");
}

#[test]
fn cleaning_makes_room_on_a_full_disk() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open_with(&disk, 1, ByteCount::new(8_000));
    fill(&mut store, &mut model, 0, 60);
    disk.set_capacity(Some(disk.used()));
    while store.append(&[one(&model, 0, (2, 200), 0)]).is_ok() {
        let commit = one(&model, 0, (2, 200), 0);
        model.apply(&commit);
    }

    clean(&mut store, &keep(8_000), 0);

    fill(&mut store, &mut model, 0, 20);
    model.check(&store);
}

#[test]
fn a_damaged_file_is_left_as_it_is() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1);
    fill(&mut store, &mut model, 0, 60);
    store.mark_state().unwrap();
    let damaged = "0000000003.journal";
    disk.flip_bit(damaged, ByteCount::new(1_000), 3);

    let report = clean(&mut store, &keep(8_000), 0);

    assert!(report.files_removed > 2, "{report:?}");
    assert!(disk.names().iter().any(|name| name == damaged));
    assert!(!disk.names().iter().any(|name| name == "0000000004.journal"));
}

#[test]
fn a_file_that_was_cut_short_is_not_cleaned_although_what_is_left_of_it_reads_well() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1);
    fill(&mut store, &mut model, 0, 60);
    store.close().unwrap();
    let short = "0000000003.journal";
    let content = disk.content(short).unwrap();
    let last_frame = content.windows(4).rposition(|bytes| bytes == b"HLDF").unwrap();
    disk.set_content(short, content.get(..last_frame).unwrap());
    let mut store = open(&disk, 2);
    store.mark_state().unwrap();

    let report = clean(&mut store, &keep(8_000), 0);

    assert!(report.files_removed > 2, "{report:?}");
    drop(store);
    assert_eq!(open(&disk, 3).report().damaged_files, [short]);
}

#[test]
fn the_end_of_a_partition_that_was_cleaned_away_whole_is_not_in_doubt_when_others_are_damaged() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1);
    fill(&mut store, &mut model, 0, 20);
    fill(&mut store, &mut model, 1, 40);
    store.mark_state().unwrap();
    let mut policy = CleanPolicy::default();
    policy.trim(partition(0), Offset::new(40), Retention::NOTHING);
    clean(&mut store, &policy, 0);
    store.close().unwrap();
    let name = disk.names().into_iter().filter(|name| name.ends_with(".journal")).nth(1).unwrap();
    let content = disk.content(&name).unwrap();
    let directory = content.windows(8).position(|bytes| bytes == b"HLDINDX\n").unwrap();
    let entry = content.windows(3).position(|bytes| bytes == b"air").unwrap();
    for at in [entry + 40, directory + 10] {
        disk.flip_bit(&name, ByteCount::new(u64::try_from(at).unwrap()), 0);
    }

    let store = open(&disk, 2);

    let reader = store.reader();
    assert_eq!(store.report().damaged_files, [name]);
    assert_eq!(reader.end(&partition(0)), Offset::new(40));
    assert_eq!(reader.read(&partition(0), Offset::new(0), PLENTY).unwrap(), []);
    assert_eq!(reader.end(&partition(1)), Offset::new(80));
}

#[test]
fn the_end_is_in_doubt_of_what_was_written_since_the_cleaning_when_the_newest_chain_is_lost_too() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1);
    fill(&mut store, &mut model, 0, 20);
    fill(&mut store, &mut model, 1, 40);
    store.mark_state().unwrap();
    let mut policy = CleanPolicy::default();
    policy.trim(partition(0), Offset::new(40), Retention::NOTHING);
    clean(&mut store, &policy, 0);
    fill(&mut store, &mut model, 0, 1);
    store.close().unwrap();
    let mut store = open(&disk, 2);
    fill(&mut store, &mut model, 1, 2);
    drop(store);
    disk.remove("witness");
    let journals = disk.names().into_iter().filter(|name| name.ends_with(".journal"));
    let journals: Vec<String> = journals.collect();
    let [.., closed, newest] = &journals[..] else { panic!("{journals:?}") };
    let content = disk.content(closed).unwrap();
    let directory = content.windows(8).position(|bytes| bytes == b"HLDINDX\n").unwrap();
    let entry = content.windows(3).take(directory).rposition(|bytes| bytes == b"air").unwrap();
    for at in [entry + 40, directory + 10] {
        disk.flip_bit(closed, ByteCount::new(u64::try_from(at).unwrap()), 0);
    }
    // The two frames of the chain stand behind the header of the file.
    let content = disk.content(newest).unwrap();
    let frames = content.windows(4).enumerate().filter(|(_, bytes)| *bytes == b"HLDF");
    for (at, _) in frames.take(2) {
        disk.flip_bit(newest, ByteCount::new(u64::try_from(at + 80).unwrap()), 0);
    }

    let store = open(&disk, 3);

    assert_eq!(store.report().damaged_files.len(), 2);
    assert!(store.reader().end(&partition(0)) >= Offset::new(42), "42 offsets were given");
}

#[cfg(feature = "disk")]
#[test]
fn a_store_on_disk_is_the_same_after_cleaning_a_restart_and_the_loss_of_its_cache() {
    let directory = tempfile::tempdir().unwrap();
    let open = |nonce| {
        let file_bytes = ByteCount::new(FILE_BYTES);
        headland_storage::DiskStore::open(
            directory.path(),
            OpenOptions { file_bytes, ..OpenOptions::new(nonce) },
        )
        .unwrap()
    };
    let mut store = open(1);
    let mut model = Model::default();
    for n in 0..60 {
        let mut commit = one(&model, 0, (2, 200), n);
        commit.state = vec![set(n % 7, (n % 3 > 0).then(|| n.to_string()))];
        store.append(std::slice::from_ref(&commit)).unwrap();
        model.apply(&commit);
    }
    let mut policy = CleanPolicy::default();
    policy.trim(partition(0), Offset::new(90), Retention::NOTHING);
    store.mark_state().unwrap();

    let report = store.clean(&policy, time(0), PLENTY).unwrap();
    store.close().unwrap();
    std::fs::remove_dir_all(directory.path().join("state")).unwrap();
    let store = open(2);

    assert!(report.files_removed > 5, "{report:?}");
    let reader = store.reader();
    assert_eq!(reader.start(&partition(0)), Offset::new(90));
    let read = reader.read(&partition(0), Offset::new(0), PLENTY).unwrap();
    assert_eq!(read, model.partitions[&partition(0)].1[45..]);
    let state: BTreeMap<_, _> = store.scan(&owner(), b"").unwrap().into_iter().collect();
    assert_eq!(state, model.state);
}

#[derive(Debug, Clone)]
enum Act {
    Append { partition: u32, records: u64, changes: Vec<(u64, Option<u8>)> },
    Clean { to: [u64; 2], bytes: Option<u64>, budget: u64 },
    Mark,
    Reopen,
    Crash,
    Rebuild,
}

fn act() -> impl Strategy<Value = Act> {
    let change = (0..6_u64, proptest::option::of(any::<u8>()));
    // Few keys: a commit often changes one several times.
    let changes = proptest::collection::vec(change, 1..5);
    prop_oneof![
        12 => (0..2_u32, 1..5_u64, changes).prop_map(|(partition, records, changes)| {
            Act::Append { partition, records, changes }
        }),
        4 => (any::<[u64; 2]>(), proptest::option::of(0..20_000_u64), 500..40_000_u64).prop_map(
            |(to, bytes, budget)| Act::Clean { to, bytes, budget }
        ),
        2 => Just(Act::Mark),
        1 => Just(Act::Reopen),
        1 => Just(Act::Crash),
        1 => Just(Act::Rebuild),
    ]
}

/// A policy that trims each partition somewhere before its end.
fn policy(model: &Model, to: [u64; 2], bytes: Option<u64>) -> CleanPolicy {
    let mut policy = bytes.map_or_else(CleanPolicy::default, keep);
    for (index, to) in (0..).zip(to) {
        let to = Offset::new(to % (model.end(index) + 1));
        policy.trim(partition(index), to, Retention::NOTHING);
    }
    policy
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_the_store_holds_what_the_model_holds(
        acts in proptest::collection::vec(act(), 1..120), seed: u64,
    ) {
        let (disk, mut model) = (MemoryDisk::new(seed), Model::default());
        let mut store = open(&disk, 1);
        for (n, act) in (2..).zip(acts) {
            match act {
                Act::Append { partition: index, records, changes } => {
                    let mut commit = one(&model, index, (records, 100), n);
                    let change = |(key, value): (u64, Option<u8>)| {
                        set(key, value.map(|value| value.to_string()))
                    };
                    commit.state = changes.into_iter().map(change).collect();
                    append(&mut store, &mut model, commit);
                }
                Act::Clean { to, bytes, budget } => {
                    let starts = [0, 1].map(|index| store.reader().start(&partition(index)));
                    let policy = policy(&model, to, bytes);
                    store.clean(&policy, time(n), ByteCount::new(budget)).unwrap();
                    for (index, start) in (0..).zip(starts) {
                        prop_assert!(store.reader().start(&partition(index)) >= start);
                    }
                }
                Act::Mark => store.mark_state().unwrap(),
                Act::Reopen => {
                    store.close().unwrap();
                    store = open(&disk, n);
                }
                Act::Crash => {
                    let starts = [0, 1].map(|index| store.reader().start(&partition(index)));
                    drop(store);
                    disk.crash(Survival::Seeded);
                    store = open(&disk, n);
                    for (index, start) in (0..).zip(starts) {
                        prop_assert_eq!(store.reader().start(&partition(index)), start);
                    }
                }
                Act::Rebuild => store.rebuild_state().unwrap(),
            }
            model.check(&store);
        }
    }
}

/// Fills a store and cleans it until the power fails; what was acknowledged is in the model.
fn work(disk: &MemoryDisk, model: &mut Model) -> Result<(), ()> {
    let options = OpenOptions {
        file_bytes: ByteCount::new(1_500),
        reserve_bytes: ByteCount::new(0),
        ..OpenOptions::new(1)
    };
    let mut store = MemoryStore::open(disk, options).map_err(drop)?;
    let mut policy = CleanPolicy::default();
    for n in 0..14 {
        let index = u32::from(n % 4 == 0);
        let mut commit = one(model, index, (1, 150), n);
        let value = (n % 5 != 0).then(|| n.to_string());
        commit.state = vec![set(n % 3, value)];
        store.append(std::slice::from_ref(&commit)).map_err(drop)?;
        model.apply(&commit);
        if n % 4 == 3 {
            let to = Offset::new(model.end(0).saturating_sub(2));
            policy.trim(partition(0), to, Retention::NOTHING);
            store.mark_state().map_err(drop)?;
            store.clean(&policy, time(0), PLENTY).map_err(drop)?;
        }
    }
    Ok(())
}

#[test]
fn a_crash_at_any_byte_of_cleaning_loses_nothing_and_brings_nothing_back() {
    // A prime step meets every place of the small writes that cleaning is made of.
    let steps = [(Survival::Nothing, 7), (Survival::Everything, 7), (Survival::Seeded, 11)];
    for (survival, step) in steps {
        for budget in (0..).step_by(step) {
            let (disk, mut model) = (MemoryDisk::new(budget), Model::default());
            disk.cut_power_after(ByteCount::new(budget));

            let finished = work(&disk, &mut model);
            disk.crash(survival);

            let mut store = open(&disk, 2);
            let reader = store.reader();
            let found = [0, 1].map(|index| reader.end(&partition(index)).get());
            if found != [model.end(0), model.end(1)] {
                // The commit that was being written is there, whole; the model knows none of it.
                let written: u64 = model.end(0) + model.end(1);
                assert_eq!(found.iter().sum::<u64>(), written + 1);
                continue;
            }
            model.check(&store);
            store.rebuild_state().unwrap();
            let mut policy = CleanPolicy::default();
            policy.trim(partition(0), Offset::new(model.end(0)), Retention::NOTHING);
            clean(&mut store, &policy, 0);
            model.check(&store);
            if finished.is_ok() {
                assert!(budget > 3_000, "the workload writes more than that");
                break;
            }
        }
    }
}
