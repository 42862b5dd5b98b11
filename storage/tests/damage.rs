//! Damage to bytes that were acknowledged is found, named and never cut off.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[expect(unreachable_pub, reason = "shared by several test binaries")]
mod fixture;

use std::ops::Range;

use headland_event::{ByteCount, CommitNumber, Entry, Offset, TopicPartition};
use headland_storage::{
    Commit, LogReader, LogStore, LostParts, MemoryDisk, MemoryStore, OpenError, OpenOptions,
    QuarantinedCommits, ReadError, StateError, StateStore, Survival,
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

/// Checks that a store shows what the model holds, but for what it names as lost; returns how many
/// entries that are.
fn check_but_lost(store: &MemoryStore, model: &Model) -> usize {
    let mut missing = 0;
    for at in (0..2).map(partition) {
        let (entries, lost) = follow(&store.reader(), &at);
        let held = model.commits.iter().flat_map(|commit| &commit.entries);
        let held = held.filter(|(partition, _)| *partition == at).map(|(_, entry)| entry);
        let is_lost = |entry: &&Entry| lost.iter().any(|lost| lost.contains(&entry.base.get()));
        missing += held.clone().filter(is_lost).count();
        assert!(entries.iter().eq(held.filter(|entry| !is_lost(entry))), "{lost:?}");
    }
    missing
}

/// Checks that every value read is the newest one, unless a loss was accepted, and then that of
/// one change at most.
fn check_state_but_lost(store: &MemoryStore, model: &Model) {
    let lost = store.lost_state();
    assert!(lost.len() <= 1, "{lost:?}");
    let newest = model.newest();
    for (key, value) in &newest {
        match store.get(&owner(), key) {
            Ok(found) => assert_eq!(found, *value),
            Err(StateError::Lost { .. }) if !lost.is_empty() => {}
            Err(error) => panic!("{error}"),
        }
    }
    if lost.is_empty() {
        let set = newest.into_iter().filter_map(|(key, value)| Some((key, value?)));
        assert!(store.scan(&owner(), b"").unwrap().into_iter().eq(set));
    }
}

#[test]
fn a_flipped_bit_anywhere_costs_no_more_than_the_entry_that_it_is_in() {
    let (disk, model) = written();
    let names = journals(&disk);
    assert!(names.len() > 2, "{names:?}");
    for name in &names {
        let mut lost = 0;
        for at in 0..disk.content(name).unwrap().len() {
            let disk = written().0;
            flip(&disk, name, at, u8::try_from(at % 8).unwrap());

            let store = open(&disk, 2).unwrap_or_else(|error| panic!("{name} at {at}: {error:?}"));

            check_state_but_lost(&store, &model);
            let missing = check_but_lost(&store, &model);
            assert!(missing <= 1, "{missing} entries, {name} at {at}");
            lost += missing;
        }
        assert!(lost > 100, "a flipped bit in an entry costs it: {lost}");
    }
}

#[test]
fn damage_before_the_last_group_of_the_newest_file_leaves_what_stands_behind_it() {
    let write = || {
        let (disk, mut model) = (MemoryDisk::new(1), Model::default());
        let (file_bytes, reserve_bytes) = (ByteCount::new(8_000), ByteCount::new(0));
        let options = OpenOptions { file_bytes, reserve_bytes, ..OpenOptions::new(1) };
        let mut store = MemoryStore::open(&disk, options).unwrap();
        let mut last = 0;
        for (salt, count) in (1..).zip([2, 1, 3, 2]) {
            let group = model.group(count, salt);
            last = disk.content("0000000001.journal").map_or(0, |bytes| bytes.len());
            store.append(&group).unwrap();
            model.commits.extend(group);
        }
        disk.crash(Survival::Everything);
        (disk, model, last)
    };
    let (_, model, last) = write();
    let mut lost = 0;
    for at in 0..last {
        let disk = write().0;
        flip(&disk, "0000000001.journal", at, u8::try_from(at % 8).unwrap());

        let store = open(&disk, 2).unwrap_or_else(|error| panic!("{at}: {error:?}"));

        check_state_but_lost(&store, &model);
        let missing = check_but_lost(&store, &model);
        assert!(missing <= 1, "{missing} entries, {at}");
        let records = u64::try_from(store.lost_state().len()).unwrap();
        assert_eq!(store.reader().last_commit(), CommitNumber::new(8 + records), "{at}");
        // What is lost may be all of a partition that nobody else names: its dots are not reused.
        assert!(missing == 0 || store.incarnation().counter() == 2, "{at}");
        // Both partitions have entries in the last group: no offsets have to be given up.
        for index in 0..2 {
            let at = partition(index);
            let held = model.commits.iter().flat_map(|commit| &commit.entries);
            let end = held.filter(|(held, _)| *held == at).map(|(_, entry)| entry.end()).max();
            assert_eq!(Some(store.reader().end(&at)), end);
        }
        lost += missing;
    }
    assert!(lost > 500, "a flipped bit in an entry costs it: {lost}");
}

#[test]
fn offsets_lost_at_the_end_are_never_given_again_and_a_new_life_begins_once() {
    let (disk, model) = written();
    let name = journals(&disk).pop().unwrap();
    let content = disk.content(&name).unwrap();
    let entry = content.windows(3).rposition(|bytes| bytes == b"air").unwrap();
    flip(&disk, &name, entry + 40, 0);

    let mut store = open(&disk, 2).unwrap();
    let life = store.incarnation();
    let report = store.report().clone();
    let missing = check_but_lost(&store, &model);
    let at = model.commits.last().unwrap().entries[0].0.clone();
    let base = store.reader().end(&at);
    let known: u64 = model
        .commits
        .iter()
        .flat_map(|commit| &commit.entries)
        .filter(|(partition, _)| *partition == at)
        .map(|(_, entry)| entry.end().get())
        .max()
        .unwrap();
    let mut next = model.group(1, 9);
    next[0].entries[0].0 = at.clone();
    next[0].entries[0].1.base = base;
    store.append(&next).unwrap();
    drop(store);
    let store = open(&disk, 3).unwrap();

    assert_eq!((report.damaged_files, missing), (vec![name], 1));
    assert_eq!((life.counter(), store.incarnation()), (2, life));
    assert!(base.get() >= known, "{base} {known}");
    let (entries, _) = follow(&store.reader(), &at);
    assert_eq!(entries.last(), Some(&next[0].entries[0].1));
}

/// Damages both frames of the newest file's chain; returns the file's name.
fn damage_chain(disk: &MemoryDisk) -> String {
    let name = journals(disk).pop().unwrap();
    let content = disk.content(&name).unwrap();
    let length = content.get(84..88).unwrap().try_into().unwrap();
    let chain = usize::try_from(u32::from_be_bytes(length)).unwrap();
    flip(disk, &name, 76 + 60, 0);
    flip(disk, &name, 76 + 56 + chain + 60, 0);
    name
}

#[test]
fn a_chain_that_is_damaged_twice_is_read_from_the_witness_or_the_file_before() {
    for with_witness in [true, false] {
        let (disk, model) = written();
        damage_chain(&disk);
        if !with_witness {
            disk.remove("witness");
        }

        let store = open(&disk, 2).unwrap();

        assert_eq!(store.report().files, journals(&disk).len());
        assert_eq!((check_but_lost(&store, &model), store.lost_state()), (0, Vec::new()));
    }
}

#[test]
fn a_journal_of_which_nothing_says_what_it_is_made_of_is_refused_and_left_as_it_was() {
    let (disk, _) = written();
    let name = damage_chain(&disk);
    flip(&disk, &name, 30, 0);
    disk.remove("witness");
    let before: Vec<_> = journals(&disk).iter().map(|name| disk.content(name)).collect();

    let refused = open(&disk, 2).map(drop).unwrap_err();

    let after: Vec<_> = journals(&disk).iter().map(|name| disk.content(name)).collect();
    assert_eq!(after, before);
    let OpenError::Corrupt(corruption) = refused else { panic!("{refused}") };
    assert_eq!(corruption.file, name);
}

#[test]
fn an_empty_file_in_the_place_of_a_missing_one_gives_up_what_was_in_it() {
    let (disk, model) = written();
    let names = journals(&disk);
    disk.set_content(&names[1], b"");

    let store = open(&disk, 2).unwrap();

    assert_eq!(store.report().damaged_files, [&*names[1]]);
    assert_eq!(check_but_lost(&store, &model), 1);
    assert_eq!(store.incarnation().counter(), 2);
}

#[test]
fn a_missing_file_is_an_error_that_names_it_and_the_way_on() {
    let (disk, _) = written();
    let names = journals(&disk);
    disk.remove(&names[0]);

    let refused = open(&disk, 2).map(drop).unwrap_err();

    let told = refused.to_string();
    let OpenError::Missing { name, file } = refused else { panic!("{told}") };
    assert_eq!((&name, Some(&file)), (&names[0], names.last()));
    assert!(told.contains("make an empty file of that name"), "{told}");
    disk.set_content(&name, b"");
    assert_eq!(open(&disk, 2).unwrap().report().damaged_files, [name]);
}

#[test]
fn closed_files_are_not_read_whole_and_a_damaged_directory_is_made_again() {
    let (disk, model) = written();
    let name = journals(&disk).remove(1);
    let whole = disk.content(&name).unwrap();
    let clean = open(&disk, 2).unwrap().report().scanned_files.clone();
    let directory = whole.windows(8).position(|bytes| bytes == b"HLDINDX\n").unwrap();
    flip(&disk, &name, directory + 70, 0);

    let store = open(&disk, 3).unwrap();
    let scanned = store.report().scanned_files.clone();
    model.check(&store);
    drop(store);

    assert_eq!((clean, scanned), (Vec::new(), vec![name.clone()]));
    assert_eq!(disk.content(&name), Some(whole));
    assert_eq!(open(&disk, 4).unwrap().report().scanned_files, [""; 0]);
}

#[test]
fn damaged_points_of_a_directory_are_made_again_from_the_file() {
    let (disk, model) = written();
    for name in journals(&disk) {
        let content = disk.content(&name).unwrap();
        let header = content.windows(8).position(|bytes| bytes == b"HLDINDX\n");
        let Some(directory) = header else { continue };
        let summary = &content[directory + 44..directory + 48];
        let summary = u32::from_be_bytes(summary.try_into().unwrap());
        let points = directory + 64 + usize::try_from(summary).unwrap();
        (points..content.len()).for_each(|at| flip(&disk, &name, at, 0));
    }

    let store = open(&disk, 2).unwrap();

    assert_eq!(store.report().scanned_files, [""; 0]);
    model.check(&store);
}

#[test]
fn a_damaged_identity_is_a_new_life_as_a_missing_one_is() {
    let (disk, model) = written();
    let first = open(&disk, 3).unwrap().incarnation();
    flip(&disk, "identity", 13, 0);

    let damaged = open(&disk, 4).unwrap();
    model.check(&damaged);
    let damaged = damaged.incarnation();
    disk.remove("identity");
    let missing = open(&disk, 5).unwrap();

    assert_eq!((first.counter(), first.nonce()), (1, 1));
    assert_eq!((damaged.counter(), damaged.nonce()), (2, 4));
    assert_eq!(missing.incarnation().nonce(), 5);
    model.check(&missing);
}

#[test]
fn an_identity_of_a_later_build_is_refused() {
    let (disk, _) = written();
    let mut content = disk.content("identity").unwrap()[..24].to_vec();
    content[9] = 2;
    content.extend(crc32c::crc32c(&content).to_be_bytes());
    disk.set_content("identity", &content);

    let refused = open(&disk, 2).unwrap_err();

    let OpenError::Identity { source, .. } = &refused else { panic!("{refused}") };
    assert!(source.is_version() && !refused.is_retryable(), "{source}");
}

#[test]
fn what_only_the_witness_proves_is_damage_still_when_the_opening_before_failed() {
    let (disk, model) = written();
    let name = journals(&disk).pop().unwrap();
    let content = disk.content(&name).unwrap();
    // Part of the last entry, and the seal behind it.
    let entry = content.windows(3).rposition(|bytes| bytes == b"air").unwrap();
    let seal = content.windows(4).rposition(|bytes| bytes == b"HLDF").unwrap();
    assert!(entry < seal);
    flip(&disk, &name, entry + 40, 0);
    flip(&disk, &name, seal + 10, 0);
    // The new life is durable by then, and the chain behind it is not.
    disk.fail_sync(1);
    let failed = open(&disk, 2).map(drop).unwrap_err();

    let store = open(&disk, 3).unwrap();

    assert!(failed.is_retryable(), "{failed}");
    assert_eq!((&*store.report().damaged_files, &*store.report().tails), (&[name][..], &[][..]));
    assert_eq!(check_but_lost(&store, &model), 1);
    assert_eq!(store.reader().last_commit(), CommitNumber::new(7));
}

#[test]
fn commits_in_doubt_are_kept_although_the_entries_before_them_are_lost_with_a_closed_file() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1).unwrap();
    while journals(&disk).len() < 2 {
        // Even salts go to the first partition.
        let group = model.group(1, 2);
        store.append(&group).unwrap();
        model.commits.extend(group);
    }
    disk.crash(Survival::Everything);
    let closed = journals(&disk).remove(0);
    let content = disk.content(&closed).unwrap();
    let directory = content.windows(8).position(|bytes| bytes == b"HLDINDX\n").unwrap();
    let entry = content.windows(3).take(directory).rposition(|bytes| bytes == b"air").unwrap();
    flip(&disk, &closed, entry + 40, 0);
    flip(&disk, &closed, directory + 10, 0);

    let store = open(&disk, 2).unwrap();

    assert_eq!((store.report().in_doubt, check_but_lost(&store, &model)), (1, 1));
    let (entries, _) = follow(&store.reader(), &partition(0));
    assert_eq!(entries.last(), model.commits.last().map(|commit| &commit.entries[0].1));
}

/// All that a reader gets of a partition by going on behind what is quarantined.
fn follow(reader: &impl LogReader, at: &TopicPartition) -> (Vec<Entry>, Vec<Range<u64>>) {
    let (mut next, mut entries, mut lost) = (Offset::new(0), Vec::new(), Vec::new());
    while next < reader.end(at) {
        match reader.read(at, next, ByteCount::mebibytes(1)) {
            Ok(read) => {
                next = read.last().unwrap().end();
                entries.extend(read);
            }
            Err(ReadError::Quarantined { partition, from, until }) => {
                assert_eq!((&partition, from), (at, next));
                lost.push(from.get()..until.get());
                next = until;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (entries, lost)
}

/// All that a replay gives by going on behind what is quarantined.
fn replay_all(reader: &impl LogReader) -> (Vec<Commit>, Vec<QuarantinedCommits>) {
    let (mut next, mut commits, mut lost) = (CommitNumber::new(1), Vec::new(), Vec::new());
    while next <= reader.last_commit() {
        match reader.replay(next, ByteCount::mebibytes(1)) {
            Ok(replayed) => {
                next = replayed.next;
                let read = replayed.commits.into_iter();
                commits.extend(read.map(|c| Commit { entries: c.entries, state: c.state }));
            }
            Err(ReadError::QuarantinedCommits(left)) => {
                assert_eq!(left.from, next);
                next = left.until;
                let QuarantinedCommits { entries, state, .. } = &*left;
                commits.push(Commit { entries: entries.clone(), state: state.clone() });
                lost.push(*left);
            }
            Err(error) => panic!("{error}"),
        }
    }
    (commits, lost)
}

#[test]
fn a_bit_flipped_under_a_running_reader_costs_the_part_it_is_in_and_no_other() {
    let (disk, model) = written();
    let store = open(&disk, 2).unwrap();
    let reader = store.reader();
    let parts: usize = model.commits.iter().map(|c| c.entries.len() + c.state.len()).sum();
    let mut found = (0, 0);

    for name in journals(&disk) {
        for at in 0..disk.content(&name).unwrap().len() {
            let bit = u8::try_from(at % 8).unwrap();
            flip(&disk, &name, at, bit);
            let read: Vec<_> = (0..2).map(|n| follow(&reader, &partition(n))).collect();
            let (commits, lost) = replay_all(&reader);
            flip(&disk, &name, at, bit);

            let lost_entries: usize = read.iter().map(|(_, lost)| lost.len()).sum();
            let whole: Vec<_> = (0..2).map(|n| follow(&reader, &partition(n)).0).collect();
            for ((entries, lost), whole) in read.into_iter().zip(whole) {
                let mut expected = whole;
                expected.retain(|entry| !lost.contains(&(entry.base.get()..entry.end().get())));
                assert_eq!(entries, expected, "{name} at {at}");
            }
            let left: usize = commits.iter().map(|c| c.entries.len() + c.state.len()).sum();
            assert!(lost.len() <= 1, "{name} at {at}: {lost:?}");
            assert_eq!(commits.len(), model.commits.len(), "{name} at {at}");
            match lost.first().map(|left| left.lost) {
                // A frame's header says nothing that its neighbours do not.
                None => assert_eq!((left, lost_entries), (parts, 0), "{name} at {at}"),
                Some(LostParts::Counted { entries, changes }) => {
                    assert_eq!((left, entries + changes), (parts - 1, 1), "{name} at {at}");
                    assert_eq!(lost_entries, entries, "{name} at {at}");
                    found.0 += entries;
                    found.1 += changes;
                }
                Some(other) => panic!("{other:?}"),
            }
        }
    }

    assert!(found.0 > 500 && found.1 > 100, "entries and changes were hit: {found:?}");
}

#[test]
fn what_is_quarantined_is_not_worth_a_retry() {
    let (from, until) = (Offset::new(1), Offset::new(3));
    let error = ReadError::Quarantined { partition: partition(0), from, until };

    assert!(!error.is_retryable());
    assert_eq!(error.to_string(), "offsets 1 to 2 of air/0 are damaged");
}

#[test]
fn a_damaged_last_group_is_quarantined_once_it_is_sealed_and_set_aside_before() {
    let write = |seal: fn(&mut MemoryStore)| {
        let disk = MemoryDisk::new(1);
        let model = Model::default();
        let mut store = open(&disk, 1).unwrap();
        store.append(&model.group(1, 1)).unwrap();
        seal(&mut store);
        disk.crash(Survival::Everything);
        flip(&disk, "0000000001.journal", 300, 0);
        disk
    };

    let sealed = open(&write(|store| store.seal().unwrap()), 2).unwrap();
    let unsealed = open(&write(|_| ()), 2).unwrap();

    assert_eq!(sealed.report().damaged_files, ["0000000001.journal"]);
    assert!(sealed.report().tails.is_empty());
    assert_eq!(unsealed.report().tails.len(), 1);
}
