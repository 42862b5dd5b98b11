use proptest::prelude::*;

use super::*;
use crate::memory::{MemoryDisk, MemoryMedium, Survival};

const LIFE: Incarnation = Incarnation::new(1, 7);

fn owner(name: &str) -> StateOwner {
    StateOwner::new(name).unwrap()
}

const fn at(commit: u64) -> CommitNumber {
    CommitNumber::new(commit)
}

fn open(disk: &MemoryDisk, last: u64) -> SnapshotStore<MemoryMedium> {
    SnapshotStore::open(disk.attach(), LIFE, at(last)).unwrap().0
}

fn commits(store: &SnapshotStore<MemoryMedium>, owner: &StateOwner) -> [Option<u64>; 2] {
    [store.latest(owner), store.older(owner)]
        .map(|found| found.unwrap().map(|snapshot| snapshot.at.get()))
}

#[test]
fn two_snapshots_of_each_owner_are_kept_and_the_older_one_makes_room() {
    let disk = MemoryDisk::new(1);
    let store = open(&disk, 9);
    let (stock, windows) = (owner("stock"), owner("windows"));

    for commit in 1..=3 {
        store.save(&stock, at(commit), &[7; 3]).unwrap();
    }
    store.save(&windows, at(5), b"w").unwrap();
    disk.crash(Survival::Nothing);

    let store = open(&disk, 9);
    assert_eq!(commits(&store, &stock), [Some(3), Some(2)]);
    assert_eq!(commits(&store, &windows), [Some(5), None]);
    let expected = Snapshot { at: at(3), state: Bytes::from_static(&[7; 3]) };
    assert_eq!(store.latest(&stock).unwrap(), Some(expected));
    assert_eq!(disk.names(), ["stock.0.snapshot", "stock.1.snapshot", "windows.0.snapshot"]);
}

#[test]
fn cleaning_has_to_keep_what_follows_the_oldest_of_the_older_snapshots() {
    let store = open(&MemoryDisk::new(1), 9);
    let needed = || store.oldest_needed(&[]).map(CommitNumber::get);

    let none = needed();
    store.save(&owner("stock"), at(2), b"").unwrap();
    let one = needed();
    store.save(&owner("stock"), at(4), b"").unwrap();
    let two = needed();
    store.save(&owner("windows"), at(3), b"").unwrap();
    let another = needed();
    store.save(&owner("windows"), at(6), b"").unwrap();

    assert_eq!([none, one, two, another, needed()], [None, Some(0), Some(2), Some(0), Some(2)]);
}

#[test]
fn a_damaged_latest_snapshot_falls_back_to_the_older_one_whichever_bit_it_is() {
    let disk = MemoryDisk::new(1);
    let stock = owner("stock");
    open(&disk, 9).save(&stock, at(1), b"old").unwrap();
    open(&disk, 9).save(&stock, at(2), b"new").unwrap();
    let (name, whole) = ("stock.1.snapshot", disk.content("stock.1.snapshot").unwrap());

    for bit in 0..whole.len() * 8 {
        let (byte, of_byte) = (u64::try_from(bit / 8).unwrap(), u8::try_from(bit % 8).unwrap());
        disk.set_content(name, &whole);
        let running = open(&disk, 9);
        disk.flip_bit(name, ByteCount::new(byte), of_byte);

        assert_eq!(running.latest(&stock).unwrap().unwrap().at, at(1), "bit {bit}, running");
        assert_eq!(commits(&open(&disk, 9), &stock), [Some(1), None], "bit {bit}, at rest");
    }
}

#[test]
fn a_snapshot_after_the_end_of_the_journal_stays_until_a_new_life_has_begun() {
    let disk = MemoryDisk::new(1);
    let stock = owner("stock");
    open(&disk, 9).save(&stock, at(4), b"").unwrap();
    open(&disk, 9).save(&stock, at(6), b"").unwrap();

    let (store, ahead) = SnapshotStore::open(disk.attach(), LIFE, at(5)).unwrap();

    assert_eq!(ahead.commit, Some(at(6)));
    assert_eq!(commits(&store, &stock), [Some(4), None]);
    assert_eq!(disk.names(), ["stock.0.snapshot", "stock.1.snapshot"]);
    store.begin_life(Incarnation::new(2, 8), ahead).unwrap();
    disk.crash(Survival::Nothing);
    assert_eq!(disk.names(), ["stock.0.snapshot"]);
}

#[test]
fn a_full_disk_keeps_the_snapshots_that_are_there() {
    let disk = MemoryDisk::new(1);
    let (store, stock) = (open(&disk, 9), owner("stock"));
    store.save(&stock, at(1), b"1").unwrap();
    disk.set_capacity(Some(disk.used()));

    let refused = store.save(&stock, at(2), b"2").unwrap_err();

    assert!(matches!(&refused, SnapshotError::Medium(MediumError::Full { .. })), "{refused}");
    assert!(refused.is_retryable());
    assert_eq!(commits(&store, &stock), [Some(1), None]);
}

#[test]
fn a_state_above_the_limit_is_refused() {
    let store = open(&MemoryDisk::new(1), 9);
    let state = vec![0; STATE_BYTES_LIMIT.as_len() + 1];

    let refused = store.save(&owner("stock"), at(1), &state).unwrap_err();

    assert!(matches!(&refused, SnapshotError::TooLarge { .. }) && !refused.is_retryable());
}

#[test]
fn another_owners_file_under_this_name_is_not_its_snapshot() {
    let disk = MemoryDisk::new(1);
    open(&disk, 9).save(&owner("stock"), at(1), b"").unwrap();
    disk.set_content("windows.0.snapshot", &disk.content("stock.0.snapshot").unwrap());

    assert_eq!(commits(&open(&disk, 9), &owner("windows")), [None, None]);
}

proptest! {
    /// Whatever is lost of a write that the power cut into, the snapshot before it is there.
    #[test]
    fn a_crash_while_saving_leaves_the_latest_or_the_one_before(seed: u64, cut in 0_u64..200) {
        let disk = MemoryDisk::new(seed);
        let stock = owner("stock");
        let store = open(&disk, 9);
        store.save(&stock, at(1), &[1; 50]).unwrap();
        store.save(&stock, at(2), &[2; 50]).unwrap();
        disk.cut_power_after(ByteCount::new(cut));
        let saved = store.save(&stock, at(3), &[3; 50]).is_ok();
        disk.crash(Survival::Seeded);

        let found = open(&disk, 9).latest(&stock).unwrap().unwrap();

        prop_assert!(found.at == at(3) || (!saved && found.at == at(2)), "{:?}", found.at);
        let value = u8::try_from(found.at.get()).unwrap();
        prop_assert_eq!(found.state, vec![value; 50]);
    }

    #[test]
    fn any_bytes_decode_without_a_panic(bytes: Vec<u8>) {
        drop(decode(bytes.into()));
    }
}
