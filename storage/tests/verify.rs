//! Verifying finds every damaged byte that counts, and changes nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(unreachable_pub, dead_code, reason = "shared by several test binaries")]
mod fixture;

use std::collections::BTreeMap;

use bytes::Bytes;
use headland_event::{ByteCount, Offset};
use headland_storage::{
    Damage, Damaged, LogStore, MemoryDisk, Survival, VerifiedFile, VerifyReport, verify,
};

use fixture::{Model, open, partition};

/// A closed store of several files, and what it holds.
fn written() -> (MemoryDisk, Model) {
    let disk = MemoryDisk::new(1);
    let mut model = Model::default();
    let mut store = open(&disk, 1).unwrap();
    for (salt, count) in (1..).zip([2, 1, 3, 1]) {
        let group = model.group(count, salt);
        store.append(&group).unwrap();
        model.commits.extend(group);
    }
    store.close().unwrap();
    disk.crash(Survival::Everything);
    (disk, model)
}

fn verified(disk: &MemoryDisk) -> VerifyReport {
    verify(&disk.attach()).unwrap()
}

fn contents(disk: &MemoryDisk) -> BTreeMap<String, Option<Bytes>> {
    disk.names().into_iter().map(|name| (name.clone(), disk.content(&name))).collect()
}

fn total(report: &VerifyReport, of: fn(&VerifiedFile) -> u64) -> u64 {
    report.files.iter().map(of).sum()
}

#[test]
fn a_sound_store_is_counted_to_the_last_record() {
    let (disk, model) = written();

    let report = verified(&disk);

    assert_eq!(report.damage, []);
    assert_eq!((report.leftovers.len(), report.unfinished.as_ref()), (0, None));
    let entries = || model.commits.iter().flat_map(|commit| &commit.entries);
    let records: u64 = entries().map(|(_, entry)| entry.batch.span()).sum();
    let changes: usize = model.commits.iter().map(|commit| commit.state.len()).sum();
    let count = |length: usize| u64::try_from(length).unwrap();
    assert!(report.files.len() > 2);
    assert_eq!(total(&report, |file| file.commits), count(model.commits.len()));
    assert_eq!(total(&report, |file| file.entries), count(entries().count()));
    assert_eq!(total(&report, |file| file.records), records);
    assert_eq!(total(&report, |file| file.changes), count(changes));
}

#[test]
fn every_flipped_byte_is_found_and_nothing_is_changed() {
    let (disk, _) = written();
    let names = disk.names();

    for name in names.iter().filter(|name| !name.ends_with("reserve")) {
        let length = disk.content(name).unwrap().len();
        for at in 0..length {
            let position = ByteCount::new(u64::try_from(at).unwrap());
            disk.flip_bit(name, position, u8::try_from(at % 8).unwrap());
            let before = contents(&disk);

            let report = verified(&disk);

            assert_eq!(contents(&disk), before);
            // The last seal may as well not have been written.
            assert!(!report.is_sound() || report.unfinished.is_some(), "{name} at {at}");
            disk.flip_bit(name, position, u8::try_from(at % 8).unwrap());
        }
    }

    assert!(verified(&disk).is_sound());
}

#[test]
fn a_damaged_entry_is_named_with_its_file_and_its_offsets() {
    let (disk, model) = written();
    let (_, entry) = &model.commits[0].entries[0];
    let file = disk.content("0000000001.journal").unwrap();
    let batch = entry.batch.as_bytes();
    let at = file.windows(batch.len()).position(|window| window == batch).unwrap();
    disk.flip_bit("0000000001.journal", ByteCount::new(u64::try_from(at).unwrap()), 0);

    let report = verified(&disk);

    let [parts, offsets] = &*report.damage else { panic!("{:?}", report.damage) };
    assert!(matches!(parts.what, Damaged::Parts { .. }), "{parts:?}");
    let Damage { file, what, .. } = offsets;
    assert_eq!(file, "0000000001.journal");
    let (from, until) = (Offset::new(0), Offset::new(1));
    assert_eq!(*what, Damaged::Offsets { partition: partition(1), from, until });
}

#[test]
fn a_missing_file_is_damage_and_one_that_nobody_names_is_left_over() {
    let (disk, _) = written();
    disk.set_content("0000000009.cold", b"x");
    disk.remove("0000000001.journal");

    let report = verified(&disk);

    assert_eq!(report.leftovers, ["0000000009.cold"]);
    let missing: Vec<&str> = report
        .damage
        .iter()
        .filter(|damage| damage.what == Damaged::File)
        .map(|damage| &*damage.file)
        .collect();
    assert_eq!(missing, ["0000000001.journal"]);
}

#[test]
fn an_unfinished_write_is_no_damage() {
    let disk = MemoryDisk::new(1);
    let model = Model::default();
    let mut store = open(&disk, 1).unwrap();
    store.append(&model.group(1, 1)).unwrap();
    let whole = disk.content("0000000001.journal").unwrap();
    drop(store);
    disk.set_content("0000000001.journal", &[&*whole, b"HLDF torn"].concat());

    let report = verified(&disk);

    assert!(report.is_sound(), "{:?}", report.damage);
    let unfinished = report.unfinished.unwrap();
    assert_eq!(unfinished.position.as_len(), whole.len());
}
