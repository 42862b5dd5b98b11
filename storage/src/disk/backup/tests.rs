use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

use super::*;
use crate::commit::{Commit, StateChange, StateOwner};
use crate::disk::DiskStore;
use crate::log::LogStore;
use crate::state::StateStore;
use crate::store::OpenOptions;

fn open(path: &Path, nonce: u64) -> DiskStore {
    let small = ByteCount::new(16 << 10);
    let options =
        OpenOptions { file_bytes: small, reserve_bytes: small, ..OpenOptions::new(nonce) };
    DiskStore::open(path, options).unwrap()
}

fn owner() -> StateOwner {
    StateOwner::new("positions").unwrap()
}

/// Commit `number`, which says so in its state.
fn numbered(number: u64) -> Commit {
    let value = Some(Bytes::from(number.to_be_bytes().to_vec()));
    let state = vec![StateChange { owner: owner(), key: Bytes::from(vec![7; 500]), value }];
    Commit { entries: Vec::new(), state }
}

fn append(store: &mut DiskStore, count: u64) {
    let next = store.last_commit().get() + 1;
    for number in next..next + count {
        store.append(&[numbered(number)]).unwrap();
    }
}

/// The state, which is the number of the last commit.
fn state(store: &DiskStore) -> u64 {
    let value = store.get(&owner(), &[7; 500]).unwrap().unwrap();
    u64::from_be_bytes((*value).try_into().unwrap())
}

fn hastily(data: &Path, target: &Path) -> Result<BackupReport, BackupError> {
    backup_patiently(data, target, || {})
}

#[test]
fn what_is_restored_is_what_was_saved_in_another_life() {
    let root = tempfile::tempdir().unwrap();
    let [data, saved, restored] = ["data", "saved", "restored"].map(|name| root.path().join(name));
    let mut store = open(&data, 1);
    append(&mut store, 100);
    store.snapshots().save(&owner(), CommitNumber::new(90), b"windows").unwrap();
    let before = store.incarnation();
    store.close().unwrap();

    let made = backup(&data, &saved).unwrap();
    let report = restore(&saved, &restored, 77).unwrap();

    let store = open(&restored, 2);
    assert_eq!((made.last_commit.get(), made.incarnation), (100, before));
    assert_eq!(report, BackupReport { incarnation: store.incarnation(), ..made });
    assert_eq!(store.incarnation(), Incarnation::new(before.counter() + 1, 77));
    assert_eq!((store.last_commit().get(), state(&store)), (100, 100));
    assert_eq!(store.report().lost, None);
    let snapshot = store.snapshots().latest(&owner()).unwrap().unwrap();
    assert_eq!((snapshot.at.get(), &*snapshot.state), (90, &b"windows"[..]));
}

#[test]
fn an_idle_store_that_is_in_use_is_saved_whole() {
    let root = tempfile::tempdir().unwrap();
    let [data, saved] = ["data", "saved"].map(|name| root.path().join(name));
    let mut store = open(&data, 1);
    append(&mut store, 40);
    store.seal().unwrap();

    let made = hastily(&data, &saved).unwrap();

    assert_eq!(made.last_commit.get(), 40);
}

#[test]
fn a_store_that_is_written_meanwhile_is_saved_up_to_the_group_before_the_last() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let mut store = open(&data, 1);
    append(&mut store, 60);
    // The first backup may be over before the other thread has run at all.
    store.snapshots().save(&owner(), CommitNumber::new(59), b"windows").unwrap();
    let (acknowledged, is_done) = (AtomicU64::new(60), AtomicBool::new(false));

    thread::scope(|scope| {
        scope.spawn(|| {
            let snapshots = store.snapshots();
            while !is_done.load(Ordering::Relaxed) {
                append(&mut store, 1);
                acknowledged.fetch_add(1, Ordering::Relaxed);
                // Faster than any backup: none of those there at its start is there at its end.
                snapshots.save(&owner(), store.last_commit(), b"windows").unwrap();
            }
        });
        for round in 0..4 {
            let saved = root.path().join(format!("saved-{round}"));
            let restored = root.path().join(format!("restored-{round}"));
            let before = acknowledged.load(Ordering::Relaxed);

            let made = hastily(&data, &saved).unwrap().last_commit.get();
            let after = acknowledged.load(Ordering::Relaxed);
            restore(&saved, &restored, 5).unwrap();

            let store = open(&restored, 9);
            assert!((before - 1..=after).contains(&made), "{before} <= {made} <= {after}");
            assert_eq!((store.last_commit().get(), state(&store)), (made, made));
            let snapshot = store.snapshots().latest(&owner()).unwrap();
            assert!(snapshot.is_some_and(|snapshot| snapshot.at.get() <= made));
        }
        is_done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_backup_opened_as_it_is_is_another_life() {
    let root = tempfile::tempdir().unwrap();
    let [data, saved] = ["data", "saved"].map(|name| root.path().join(name));
    let mut store = open(&data, 1);
    append(&mut store, 3);
    let before = store.incarnation();
    store.close().unwrap();
    backup(&data, &saved).unwrap();

    let store = open(&saved, 2);

    assert_eq!(store.incarnation(), Incarnation::new(before.counter() + 1, 2));
    assert_eq!(store.last_commit().get(), 3);
}

#[test]
fn a_damaged_or_unfinished_backup_restores_nothing() {
    let root = tempfile::tempdir().unwrap();
    let [data, saved, restored] = ["data", "saved", "restored"].map(|name| root.path().join(name));
    let mut store = open(&data, 1);
    append(&mut store, 40);
    store.close().unwrap();
    backup(&data, &saved).unwrap();
    let file = saved.join("0000000001.journal");
    let mut content = std::fs::read(&file).unwrap();
    content[300] ^= 1;
    std::fs::write(&file, content).unwrap();

    let damaged = restore(&saved, &restored, 5).unwrap_err();
    std::fs::remove_file(saved.join("backup")).unwrap();
    let unfinished = restore(&saved, &restored, 5).unwrap_err();

    assert_eq!(damaged.to_string(), "0000000001.journal in the backup is damaged");
    assert!(matches!(unfinished, BackupError::NotABackup { source: None, .. }), "{unfinished}");
    assert!(!restored.exists());
}

#[test]
fn nothing_is_written_over_what_is_there() {
    let root = tempfile::tempdir().unwrap();
    let [data, saved] = ["data", "saved"].map(|name| root.path().join(name));
    let mut store = open(&data, 1);
    append(&mut store, 1);
    store.close().unwrap();
    backup(&data, &saved).unwrap();

    let again = backup(&data, &saved).unwrap_err();
    let over = restore(&saved, &data, 5).unwrap_err();
    let nothing = backup(root.path(), &root.path().join("other")).unwrap_err();

    assert!(matches!(again, BackupError::NotEmpty { .. }), "{again}");
    assert!(matches!(over, BackupError::NotEmpty { .. }), "{over}");
    assert!(matches!(nothing, BackupError::NoIdentity { .. }), "{nothing}");
}

#[test]
fn a_damaged_journal_is_saved_with_what_is_left_of_it_and_says_so() {
    let root = tempfile::tempdir().unwrap();
    let [data, saved, restored] = ["data", "saved", "restored"].map(|name| root.path().join(name));
    let mut store = open(&data, 1);
    append(&mut store, 60);
    store.close().unwrap();
    let file = data.join("0000000001.journal");
    let mut content = std::fs::read(&file).unwrap();
    content[900] ^= 1;
    std::fs::write(&file, content).unwrap();

    let made = hastily(&data, &saved).unwrap();
    restore(&saved, &restored, 5).unwrap();

    assert_eq!((made.last_commit.get(), made.damaged), (60, 1));
    let store = open(&restored, 9);
    assert_eq!((store.lost_state().len(), state(&store)), (1, 60));
}

/// Positions of the frame headers of a file that stand behind its opening.
fn frames(content: &[u8]) -> Vec<usize> {
    let magic = content.windows(4).enumerate().filter(|(_, window)| *window == b"HLDF");
    magic.map(|(at, _)| at).skip(2).collect()
}

/// Backs up a closed journal of one file with 20 commits, a bit of it flipped where `damage` says
/// so of its frames; returns what the backup says, and the last number in the restored state.
fn saved_with_damage(damage: impl Fn(&[usize]) -> usize) -> (BackupReport, u64) {
    let root = tempfile::tempdir().unwrap();
    let [data, saved, restored] = ["data", "saved", "restored"].map(|name| root.path().join(name));
    let mut store = open(&data, 1);
    append(&mut store, 20);
    store.close().unwrap();
    let file = data.join("0000000001.journal");
    let mut content = std::fs::read(&file).unwrap();
    let at = damage(&frames(&content));
    content[at] ^= 1;
    std::fs::write(&file, content).unwrap();

    let made = hastily(&data, &saved).unwrap();
    restore(&saved, &restored, 5).unwrap();

    let mut store = open(&restored, 9);
    store.accept_loss(&owner()).unwrap();
    (made, state(&store))
}

#[test]
fn a_damaged_frame_header_in_the_middle_of_the_newest_file_does_not_end_the_backup() {
    let (made, state) = saved_with_damage(|frames| frames[10] + 10);

    // A header says nothing that its neighbours do not: what stands behind it is found again.
    assert_eq!((made.last_commit.get(), made.damaged, state), (20, 0, 20));
}

#[test]
fn damage_to_the_last_commit_of_the_newest_file_is_named_and_not_cut_off() {
    // Behind the last commit stands the seal.
    let header = saved_with_damage(|frames| frames[frames.len() - 2] + 10);
    let body = saved_with_damage(|frames| frames[frames.len() - 2] + 100);

    let found = [header, body].map(|(made, state)| (made.last_commit.get(), made.damaged, state));
    assert_eq!(found, [(20, 0, 20), (20, 1, 19)]);
}

#[test]
fn a_damaged_seal_at_the_end_costs_no_commit_of_the_backup() {
    let (made, state) = saved_with_damage(|frames| frames[frames.len() - 1] + 10);

    assert_eq!((made.last_commit.get(), state), (20, 20));
}
