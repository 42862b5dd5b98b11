//! Damage to bytes that were acknowledged is found, named and never cut off.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(unreachable_pub, reason = "shared by several test binaries")]
mod fixture;

use headland_event::{ByteCount, CommitNumber, Offset};
use headland_storage::{
    Fault, LogReader, LogStore, MemoryDisk, OpenError, ReadError, StateStore, Survival,
};

use fixture::{Model, open, owner, partition};

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

fn journals(disk: &MemoryDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(".journal")).collect()
}

fn flip(disk: &MemoryDisk, name: &str, at: usize, bit: u8) {
    disk.flip_bit(name, ByteCount::new(u64::try_from(at).unwrap()), bit);
}

#[test]
fn a_flipped_bit_anywhere_in_a_closed_journal_is_refused_or_costs_nothing() {
    let (disk, model) = written();
    let names = journals(&disk);
    assert!(names.len() > 2, "{names:?}");
    let mut refused = 0;
    for name in &names {
        for at in 0..disk.content(name).unwrap().len() {
            let (disk, model) = (written().0, &model);
            flip(&disk, name, at, u8::try_from(at % 8).unwrap());

            match open(&disk, 2) {
                // Only the last seal can be lost without losing what it vouches for.
                Ok(store) => model.check(&store),
                Err(OpenError::Corrupt(_) | OpenError::Missing { .. }) => refused += 1,
                Err(error) => panic!("{name} at {at}: {error}"),
            }
        }
    }

    let total: usize = names.iter().map(|name| disk.content(name).unwrap().len()).sum();
    assert_eq!(total - refused, 56, "every byte but those of the last seal is vouched for");
}

#[test]
fn a_refused_journal_is_left_as_it_was() {
    let (disk, _) = written();
    let name = journals(&disk).remove(1);
    flip(&disk, &name, 100, 0);
    let before: Vec<_> = journals(&disk).iter().map(|name| disk.content(name)).collect();

    let refused = open(&disk, 2).unwrap_err();

    let after: Vec<_> = journals(&disk).iter().map(|name| disk.content(name)).collect();
    assert_eq!(after, before);
    let OpenError::Corrupt(corruption) = refused else { panic!("{refused}") };
    assert_eq!((corruption.file, corruption.position), (name, ByteCount::new(76)));
}

#[test]
fn a_missing_file_is_named_by_its_successor() {
    let (disk, _) = written();
    let names = journals(&disk);
    disk.set_content(&names[0], b"");

    let refused = open(&disk, 2).unwrap_err();

    let OpenError::Missing { file } = refused else { panic!("{refused}") };
    assert_eq!(file, names[1]);
}

#[test]
fn a_damaged_identity_is_refused_and_a_missing_one_is_a_new_life() {
    let (disk, model) = written();
    flip(&disk, "identity", 13, 0);
    let refused = open(&disk, 2).unwrap_err();
    flip(&disk, "identity", 13, 0);
    let first = open(&disk, 3).unwrap().incarnation();

    disk.remove("identity");
    let store = open(&disk, 4).unwrap();

    assert!(
        matches!(&refused, OpenError::Identity { source: Fault::Checksum { .. }, .. }),
        "{refused}"
    );
    assert_eq!((first.counter(), first.nonce()), (1, 1));
    assert_eq!((store.incarnation().counter(), store.incarnation().nonce()), (2, 4));
    model.check(&store);
}

#[test]
fn damage_that_appears_under_a_running_reader_is_an_error_and_not_an_entry() {
    let (disk, _) = written();
    let store = open(&disk, 2).unwrap();
    let reader = store.reader();
    let limit = ByteCount::mebibytes(1);
    let whole = reader.replay(CommitNumber::new(1), limit).unwrap().len();
    disk.flip_bit(&journals(&disk)[0], ByteCount::new(200), 3);

    let read = reader.read(&partition(1), Offset::new(0), limit);
    let replayed = reader.replay(CommitNumber::new(1), limit);

    assert_eq!(whole, 7);
    assert!(matches!(read, Err(ReadError::Corrupt(_))), "{read:?}");
    assert!(matches!(replayed, Err(ReadError::Corrupt(_))), "{replayed:?}");
    assert!(store.scan(&owner(), b"").is_ok());
}

#[test]
fn a_damaged_last_group_is_refused_once_it_is_sealed_and_set_aside_before() {
    let write = |seal: fn(&mut headland_storage::MemoryStore)| {
        let disk = MemoryDisk::new(1);
        let model = Model::default();
        let mut store = open(&disk, 1).unwrap();
        store.append(&model.group(1, 1)).unwrap();
        seal(&mut store);
        disk.crash(Survival::Everything);
        flip(&disk, "0000000001.journal", 300, 0);
        disk
    };

    let sealed = open(&write(|store| store.seal().unwrap()), 2);
    let unsealed = open(&write(|_| ()), 2).unwrap();

    assert!(matches!(sealed, Err(OpenError::Corrupt(_))), "{sealed:?}");
    assert_eq!(unsealed.report().tails.len(), 1);
}
