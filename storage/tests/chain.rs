//! The newest file says what the journal is made of, and nothing else is part of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(unreachable_pub, reason = "shared by several test binaries")]
mod fixture;

use headland_storage::{LogStore, MemoryDisk, Survival};

use fixture::{Model, open};

/// A closed store of several files, and what it holds.
fn written() -> (MemoryDisk, Model) {
    let disk = MemoryDisk::new(1);
    let mut model = Model::default();
    let mut store = open(&disk, 1).unwrap();
    for salt in 1..6 {
        let group = model.group(2, salt);
        store.append(&group).unwrap();
        model.commits.extend(group);
    }
    store.close().unwrap();
    disk.crash(Survival::Everything);
    (disk, model)
}

#[test]
fn files_that_a_durable_chain_does_not_name_are_removed_and_reported() {
    let (disk, model) = written();
    disk.set_content("0000000000.journal", b"given up");
    disk.set_content("0000000003.cold", b"never installed");

    let store = open(&disk, 2).unwrap();

    assert_eq!(store.report().void_files, ["0000000000.journal", "0000000003.cold"]);
    assert!(!disk.names().iter().any(|name| name.ends_with(".cold")));
    model.check(&store);
}

#[test]
fn nothing_is_removed_while_the_chain_is_in_doubt_and_there_is_no_room_for_another() {
    let disk = MemoryDisk::new(1);
    let mut store = open(&disk, 1).unwrap();
    store.append(&Model::default().group(1, 1)).unwrap();
    drop(store);
    disk.crash(Survival::Everything);
    disk.set_content("0000000003.cold", b"never installed");
    disk.set_capacity(Some(disk.used()));

    let in_doubt = open(&disk, 2).unwrap().report().void_files.clone();
    disk.set_capacity(None);
    let settled = open(&disk, 3).unwrap().report().void_files.clone();

    assert_eq!(in_doubt, [""; 0]);
    assert_eq!(settled, ["0000000003.cold"]);
}

#[test]
fn files_are_told_apart_although_a_seed_was_used_again() {
    let disk = MemoryDisk::new(1);
    let mut model = Model::default();
    for salt in 1..4 {
        let mut store = open(&disk, 7).unwrap();
        let group = model.group(2, salt);
        store.append(&group).unwrap();
        model.commits.extend(group);
        drop(store);
        disk.crash(Survival::Nothing);
    }

    let store = open(&disk, 7).unwrap();

    assert_eq!(store.report().void_files, [""; 0]);
    model.check(&store);
}

#[test]
fn directories_lost_in_a_crash_are_made_again_by_the_next_open() {
    let disk = MemoryDisk::new(1);
    let mut model = Model::default();
    let mut store = open(&disk, 1).unwrap();
    for salt in 1..6 {
        let group = model.group(2, salt);
        store.append(&group).unwrap();
        model.commits.extend(group);
    }
    store.seal().unwrap();
    disk.crash(Survival::Nothing);

    let store = open(&disk, 2).unwrap();
    let scanned = store.report().scanned_files.len();
    model.check(&store);
    drop(store);

    assert_eq!(scanned, store_files(&disk) - 1);
    assert_eq!(open(&disk, 3).unwrap().report().scanned_files, [""; 0]);
}

fn store_files(disk: &MemoryDisk) -> usize {
    disk.names().iter().filter(|name| name.ends_with(".journal")).count()
}
