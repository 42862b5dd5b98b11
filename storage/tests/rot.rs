//! Damage of every kind at random places of every file: found or harmless, and no more is given up
//! than what it touched.
//!
//! `HEADLAND_ROT_SEED=<seed>` runs one trial alone, `HEADLAND_ROT_TRIALS=<count>` another number.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

#[expect(unreachable_pub, dead_code, reason = "shared by several test binaries")]
mod fixture;
#[expect(unreachable_pub, reason = "shared by several test binaries")]
mod decay;

use std::collections::BTreeMap;

use headland_event::{ByteCount, Entry, Offset, SeededRandom, TopicPartition};
use headland_storage::{
    LogReader, LogStore, MemoryDisk, MemoryStore, ReadError, StateError, StateStore, Survival,
    verify,
};

use decay::{Rot, contents, place, rot, wish};
use fixture::{Model, open, owner, partition};

/// Trials in a run without a wish: what a few seconds of one core allow in the dev profile.
const TRIALS: u64 = 600;

/// A closed store of several files, and what it holds.
fn written() -> (BTreeMap<String, Vec<u8>>, Model) {
    let disk = MemoryDisk::new(1);
    let mut model = Model::default();
    let mut store = open(&disk, 1).unwrap();
    for (salt, count) in (1..).zip([2, 1, 3, 1, 2, 2, 1, 3]) {
        let group = model.group(count, salt);
        store.append(&group).unwrap();
        model.commits.extend(group);
    }
    store.close().unwrap();
    disk.crash(Survival::Everything);
    (contents(&disk), model)
}

/// All that a reader gets of a partition by going on behind what is quarantined.
fn follow(store: &MemoryStore, at: &TopicPartition) -> Vec<Entry> {
    let reader = store.reader();
    let (mut next, mut entries) = (Offset::new(0), Vec::new());
    while next < reader.end(at) {
        match reader.read(at, next, ByteCount::mebibytes(1)) {
            Ok(read) => {
                let Some(last) = read.last() else { break };
                next = last.end();
                entries.extend(read);
            }
            Err(ReadError::Quarantined { until, .. }) => next = until,
            Err(error) => panic!("{error}"),
        }
    }
    entries
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Nothing was lost.
    Harmless,
    /// What was touched is lost, and nothing else.
    Quarantined,
}

fn trial(seed: u64, whole: &BTreeMap<String, Vec<u8>>, model: &Model) -> Option<Outcome> {
    let mut files = whole.clone();
    let rot = rot(&mut files, &mut SeededRandom::new(seed))?;
    let disk = MemoryDisk::new(seed);
    files.iter().for_each(|(name, content)| disk.set_content(name, content));
    let report = verify(&disk.attach()).unwrap();
    let store = match open(&disk, 2) {
        Ok(store) => store,
        Err(error) => panic!("{rot:?} keeps the store from opening: {error:?}"),
    };
    let mut outcome = Outcome::Harmless;
    for at in (0..2).map(partition) {
        let commits = model.commits.iter().flat_map(|commit| &commit.entries);
        let expected: Vec<&Entry> =
            commits.filter(|(held, _)| *held == at).map(|(_, entry)| entry).collect();
        let found = follow(&store, &at);
        for entry in &found {
            assert!(expected.contains(&entry), "{rot:?}: {entry:?} was never written");
        }
        for entry in expected.into_iter().filter(|entry| !found.contains(entry)) {
            let is_touched = place(whole, &at, entry).any(|(name, part)| {
                name == rot.name && part.start < rot.range.end && rot.range.start < part.end
            });
            assert!(is_touched, "{rot:?} took {at} {}", entry.base);
            outcome = Outcome::Quarantined;
        }
    }
    outcome = outcome.max(check_state(&store, model, &rot));
    if outcome != Outcome::Harmless {
        assert!(!report.is_sound(), "{rot:?}: {report:?}");
    }
    goes_on(store, &disk);
    Some(outcome)
}

/// Checks that every value read is the newest one; what may not be is not read, and named.
fn check_state(store: &MemoryStore, model: &Model, rot: &Rot) -> Outcome {
    let mut outcome = Outcome::Harmless;
    for (key, value) in model.newest() {
        match store.get(&owner(), &key) {
            Ok(found) => assert_eq!(found, value, "{rot:?}"),
            Err(StateError::Lost { .. }) => outcome = Outcome::Quarantined,
            Err(error) => panic!("{rot:?}: {error}"),
        }
    }
    assert!(outcome == Outcome::Harmless || rot.name.ends_with(".journal"), "{rot:?}");
    outcome
}

/// A damaged store takes commits as any other does, and has them after a restart.
fn goes_on(mut store: MemoryStore, disk: &MemoryDisk) {
    let at = partition(0);
    store.accept_loss(&owner()).unwrap();
    let mut group = Model::default().group(1, 0);
    let (_, entry) = &mut group[0].entries[0];
    let base = store.reader().end(&at);
    entry.base = base;
    store.append(&group).unwrap();
    let last = store.last_commit();
    drop(store);

    let store = open(disk, 3).unwrap();

    assert_eq!(store.last_commit(), last);
    let read = store.reader().read(&at, base, ByteCount::mebibytes(1)).unwrap();
    assert_eq!(read.last(), group[0].entries.first().map(|(_, entry)| entry));
    assert!(store.scan(&owner(), b"").is_ok());
}

#[test]
fn rot_is_found_or_harmless_and_takes_nothing_that_it_did_not_touch() {
    let (whole, model) = written();
    let seeds = match wish("HEADLAND_ROT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..wish("HEADLAND_ROT_TRIALS").unwrap_or(TRIALS) + 1,
    };
    let mut outcomes = BTreeMap::new();

    for seed in seeds {
        eprintln!("HEADLAND_ROT_SEED={seed}");
        if let Some(outcome) = trial(seed, &whole, &model) {
            *outcomes.entry(outcome).or_insert(0_u64) += 1;
        }
    }

    eprintln!("{outcomes:?}");
    let count = |outcome| outcomes.get(&outcome).copied().unwrap_or(0);
    let trials: u64 = outcomes.values().sum();
    assert!(trials < 100 || count(Outcome::Harmless) < trials, "{outcomes:?}");
}
