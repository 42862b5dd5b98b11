//! Crashes at every byte, failed barriers and full disks, over the disk in memory.
//!
//! The rule under test: what was acknowledged is there, whole and in order; what was not may be
//! there as a whole commit or not at all; the store always opens.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(unreachable_pub, reason = "shared by several test binaries")]
mod fixture;

use headland_event::{ByteCount, CommitNumber};
use headland_storage::{
    AppendError, Commit, LogReader, LogStore, MemoryDisk, MemoryStore, OpenOptions, Priority,
    Survival,
};
use proptest::prelude::*;

use fixture::{Model, open, stored};

/// What a writer knows: what was acknowledged, and what it tried since.
#[derive(Debug, Default)]
struct Writer {
    acknowledged: Model,
    tried: Vec<Vec<Commit>>,
    salt: u64,
}

impl Writer {
    fn append(&mut self, store: &mut MemoryStore, count: u64) -> Result<(), AppendError> {
        self.salt += 1;
        let group = self.acknowledged.group(count, self.salt);
        match store.append(&group) {
            Ok(_) => {
                self.acknowledged.commits.extend(group);
                self.tried.clear();
                Ok(())
            }
            Err(error) => {
                self.tried.push(group);
                Err(error)
            }
        }
    }

    /// Checks a store that was opened after a crash, and takes over what it found.
    fn check_after_crash(&mut self, store: &MemoryStore) {
        let found = stored(store);
        let known = self.acknowledged.commits.len();
        assert!(found.len() >= known, "{} acknowledged, {} found", known, found.len());
        let (kept, in_doubt) = found.split_at(known);
        assert_eq!(kept, self.acknowledged.commits);
        let is_explained =
            in_doubt.is_empty() || self.tried.iter().any(|group| group.starts_with(in_doubt));
        assert!(is_explained, "{in_doubt:?} was never written as such");
        self.acknowledged.commits = found;
        self.tried.clear();
        self.acknowledged.check(store);
    }
}

/// Writes until the power fails; `Ok` when it did not.
fn work(disk: &MemoryDisk, writer: &mut Writer) -> Result<(), ()> {
    let mut store = open(disk, 1).map_err(drop)?;
    for count in [1, 3, 2] {
        writer.append(&mut store, count).map_err(drop)?;
    }
    store.seal().map_err(drop)?;
    writer.append(&mut store, 1).map_err(drop)?;
    drop(store);
    let mut store = open(disk, 2).map_err(drop)?;
    writer.append(&mut store, 2).map_err(drop)?;
    store.close().map_err(drop)
}

#[test]
fn a_crash_at_any_byte_keeps_every_acknowledged_commit_and_no_part_of_another() {
    // Torn sectors are the business of the random schedules below; here a few of them do.
    let steps = [(Survival::Nothing, 1), (Survival::Everything, 1), (Survival::Seeded, 7)];
    for (survival, step) in steps {
        for budget in (0..).step_by(step) {
            let disk = MemoryDisk::new(budget);
            disk.cut_power_after(ByteCount::new(budget));
            let mut writer = Writer::default();

            let finished = work(&disk, &mut writer);
            disk.crash(survival);

            let mut store = open(&disk, 3).unwrap_or_else(|e| panic!("{survival:?} {budget}: {e}"));
            writer.check_after_crash(&store);
            writer.append(&mut store, 1).unwrap();
            writer.acknowledged.check(&store);
            if finished.is_ok() {
                assert!(budget > 2_000, "the workload writes more than that");
                break;
            }
        }
    }
}

#[test]
fn a_crash_during_recovery_loses_nothing_either() {
    for budget in (0..1_500).step_by(3) {
        let disk = MemoryDisk::new(budget);
        let mut writer = Writer::default();
        let mut store = open(&disk, 1).unwrap();
        writer.append(&mut store, 1).unwrap();
        disk.cut_power_after(ByteCount::new(700));
        assert!(writer.append(&mut store, 3).is_err());
        disk.crash(Survival::Everything);

        disk.cut_power_after(ByteCount::new(budget));
        drop(open(&disk, 2));
        disk.crash(Survival::Seeded);

        writer.check_after_crash(&open(&disk, 3).unwrap());
    }
}

#[test]
fn a_group_costs_one_barrier_however_many_commits_and_partitions_it_has() {
    let disk = MemoryDisk::new(1);
    let options = OpenOptions { reserve_bytes: ByteCount::new(0), ..OpenOptions::new(1) };
    let mut store = MemoryStore::open(&disk, options).unwrap();
    let mut writer = Writer::default();
    writer.append(&mut store, 1).unwrap();
    let before = disk.sync_count();

    writer.append(&mut store, 50).unwrap();

    assert_eq!(disk.sync_count() - before, 1);
}

#[test]
fn a_group_whose_barrier_failed_is_not_acknowledged_and_never_comes_back_behind_another() {
    for survival in [Survival::Nothing, Survival::Everything, Survival::Seeded] {
        let disk = MemoryDisk::new(7);
        let mut store = open(&disk, 1).unwrap();
        let mut writer = Writer::default();
        writer.append(&mut store, 1).unwrap();
        disk.fail_sync(1);

        let refused = writer.append(&mut store, 1).unwrap_err();
        writer.acknowledged.check(&store);
        writer.append(&mut store, 2).unwrap();
        disk.crash(survival);

        assert!(matches!(&refused, AppendError::Medium(_)) && refused.is_retryable());
        writer.acknowledged.check(&open(&disk, 2).unwrap());
        assert!(
            disk.names()
                .iter()
                .any(|name| name.starts_with("000000000") && !name.starts_with("0000000001"))
        );
    }
}

#[test]
fn a_group_in_doubt_is_durable_once_the_store_has_opened() {
    let disk = MemoryDisk::new(7);
    let mut store = open(&disk, 1).unwrap();
    let mut writer = Writer::default();
    writer.append(&mut store, 1).unwrap();
    disk.cut_power_after(ByteCount::new(450));
    assert!(writer.append(&mut store, 2).is_err());
    disk.crash(Survival::Everything);

    let store = open(&disk, 2).unwrap();
    let found = stored(&store);
    disk.crash(Survival::Nothing);

    assert!(store.report().in_doubt > 0);
    assert_eq!(stored(&open(&disk, 3).unwrap()), found);
}

#[test]
fn an_unfinished_write_is_cut_kept_aside_and_reported() {
    let disk = MemoryDisk::new(7);
    let mut store = open(&disk, 1).unwrap();
    let mut writer = Writer::default();
    writer.append(&mut store, 1).unwrap();
    store.seal().unwrap();
    let whole = disk.content("0000000001.journal").unwrap().len();
    disk.cut_power_after(ByteCount::new(60));
    assert!(writer.append(&mut store, 1).is_err());
    disk.crash(Survival::Everything);

    let store = open(&disk, 2).unwrap();

    let report = store.report();
    let [tail] = &*report.tails else { panic!("{report:?}") };
    assert_eq!((tail.file.as_str(), tail.position.as_len()), ("0000000001.journal", whole));
    assert_eq!(disk.content("0000000001.tail").unwrap().len(), tail.length.as_len());
    assert_eq!(disk.content("0000000001.journal").unwrap().len(), whole);
    assert_eq!((report.last_commit, report.in_doubt), (CommitNumber::new(1), 0));
}

#[test]
fn a_full_disk_refuses_a_group_and_accepts_it_when_there_is_room_again() {
    let disk = MemoryDisk::new(1);
    let mut store = open(&disk, 1).unwrap();
    let mut writer = Writer::default();
    writer.append(&mut store, 2).unwrap();
    disk.set_capacity(Some(disk.used()));

    let refused = (0..5).find_map(|_| writer.append(&mut store, 1).err()).unwrap();
    writer.acknowledged.check(&store);
    disk.set_capacity(None);
    writer.append(&mut store, 2).unwrap();

    assert!(matches!(&refused, AppendError::Full { .. }) && refused.is_retryable());
    disk.crash(Survival::Nothing);
    writer.check_after_crash(&open(&disk, 2).unwrap());
}

#[test]
fn a_crash_on_a_full_disk_opens_with_everything_acknowledged() {
    let disk = MemoryDisk::new(1);
    let mut store = open(&disk, 1).unwrap();
    let mut writer = Writer::default();
    writer.append(&mut store, 2).unwrap();
    disk.crash(Survival::Everything);
    disk.set_capacity(Some(disk.used()));

    let store = open(&disk, 2).unwrap();

    writer.check_after_crash(&store);
    assert_eq!(store.report().in_doubt, 2);
}

#[test]
fn the_reserve_lets_alerts_through_and_is_taken_back_before_anything_else() {
    let disk = MemoryDisk::new(1);
    let (file_bytes, reserve_bytes) = (ByteCount::new(1_000), ByteCount::new(2_000));
    let options = OpenOptions { file_bytes, reserve_bytes, ..OpenOptions::new(1) };
    let mut store = MemoryStore::open(&disk, options).unwrap();
    let mut writer = Writer::default();
    writer.append(&mut store, 1).unwrap();
    disk.set_capacity(Some(disk.used()));
    while writer.append(&mut store, 1).is_ok() {}

    let alerts = writer.acknowledged.group(1, 100);
    store.append_as(Priority::Alerts, &alerts).unwrap();
    writer.acknowledged.commits.extend(alerts);
    let still_full = writer.append(&mut store, 1);
    disk.set_capacity(None);
    writer.append(&mut store, 1).unwrap();

    assert!(matches!(still_full, Err(AppendError::Full { .. })), "{still_full:?}");
    writer.acknowledged.check(&store);
    assert!(disk.names().contains(&"reserve".to_owned()));
}

#[derive(Debug, Clone)]
enum Event {
    Append(u64),
    Seal,
    FailSync(u64),
    CutPower(u64),
    Fill,
    MakeRoom,
    Crash,
    Close,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => (1_u64..4).prop_map(Event::Append),
        2 => Just(Event::Seal),
        1 => (1_u64..4).prop_map(Event::FailSync),
        2 => (0_u64..2_000).prop_map(Event::CutPower),
        1 => Just(Event::Fill),
        2 => Just(Event::MakeRoom),
        2 => Just(Event::Crash),
        1 => Just(Event::Close),
    ];
    prop::collection::vec(event, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_schedule_of_crashes_and_faults_loses_or_splits_a_commit(seed: u64, events in events()) {
        let disk = MemoryDisk::new(seed);
        let mut writer = Writer::default();
        let mut nonce = seed | 1;
        let mut store = open(&disk, nonce).unwrap();
        let incarnation = store.incarnation();
        for event in events {
            match event {
                Event::Append(count) => drop(writer.append(&mut store, count)),
                Event::Seal => drop(store.seal()),
                Event::FailSync(nth) => disk.fail_sync(nth),
                Event::CutPower(bytes) => disk.cut_power_after(ByteCount::new(bytes)),
                Event::Fill => disk.set_capacity(Some(disk.used())),
                Event::MakeRoom => disk.set_capacity(None),
                Event::Crash | Event::Close => {
                    if matches!(event, Event::Close) {
                        drop(store.close());
                    }
                    disk.crash(Survival::Seeded);
                    nonce = nonce.wrapping_add(2);
                    store = open(&disk, nonce).unwrap();
                    prop_assert_eq!(store.incarnation(), incarnation);
                    writer.check_after_crash(&store);
                }
            }
            prop_assert_eq!(
                store.reader().last_commit().get(),
                u64::try_from(writer.acknowledged.commits.len()).unwrap()
            );
        }
    }
}
