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

use std::collections::BTreeMap;
use std::ops::Range;

use headland_event::{ByteCount, Entry, Offset, Random, SeededRandom, TopicPartition};
use headland_storage::{
    LogReader, LogStore, MemoryDisk, MemoryStore, ReadError, StateStore, Survival, verify,
};

use fixture::{Model, open, owner, partition};

/// Trials in a run without a wish: what a few seconds of one core allow in the dev profile.
const TRIALS: u64 = 600;

/// Bytes of the frame that ends a closed store's newest file.
const SEAL_LEN: usize = 56;

fn wish(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a failing seed is run again by its number")]
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text:?}: {error}")))
}

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
    let content = |name: String| {
        let bytes = disk.content(&name).unwrap().to_vec();
        (name, bytes)
    };
    (disk.names().into_iter().map(content).collect(), model)
}

/// What was done to a file.
#[derive(Debug)]
struct Rot {
    name: String,
    /// Bytes that are different now, or gone.
    range: Range<usize>,
}

/// Damages a file; `None` when nothing is different now.
fn rot(files: &mut BTreeMap<String, Vec<u8>>, random: &mut SeededRandom) -> Option<Rot> {
    let mut below = |bound: usize| usize::try_from(random.below(bound as u64)).unwrap();
    let name = files.keys().nth(below(files.len()))?.clone();
    let content = files.get_mut(&name)?;
    if content.is_empty() {
        return None;
    }
    let before = content.clone();
    let at = below(content.len());
    let end = (at + 1 + below(300)).min(content.len());
    match below(4) {
        0 => content[at] ^= 1 << below(8),
        1 => content[at..end].fill(0),
        2 => content[at..end].fill_with(|| u8::try_from(below(256)).unwrap()),
        _ => content.truncate(at),
    }
    let is_same = |n: &usize| content.get(*n) == before.get(*n);
    let first = (0..before.len()).find(|n| !is_same(n))?;
    let last = (0..before.len()).rev().find(|n| !is_same(n))?;
    Some(Rot { name, range: first..last + 1 })
}

/// Where an entry's part stands in the files.
fn place(
    files: &BTreeMap<String, Vec<u8>>,
    at: &TopicPartition,
    base: Offset,
) -> (String, Range<usize>) {
    let topic = at.topic.as_str();
    let mut prefix = vec![u8::try_from(topic.len()).unwrap()];
    prefix.extend_from_slice(topic.as_bytes());
    prefix.extend_from_slice(&at.partition.get().to_be_bytes());
    prefix.extend_from_slice(&base.get().to_be_bytes());
    let journals = files.iter().filter(|(name, _)| name.ends_with(".journal"));
    let mut found = journals.flat_map(|(name, content)| {
        let starts = content.windows(prefix.len()).enumerate();
        let starts = starts.filter(|(_, window)| *window == prefix).map(|(start, _)| start);
        starts.map(move |start| (name, content, start))
    });
    let (name, content, start) = found
        .find(|(_, content, start)| {
            // The same bytes with the flag of a base and an end stand in directories and chains.
            let length = u32::from_be_bytes(content[start - 4..*start].try_into().unwrap());
            let end = start + usize::try_from(length).unwrap();
            content.get(start - 4..end).is_some_and(|part| {
                content[start - 8..start - 4] == crc32c::crc32c(part).to_be_bytes()
            })
        })
        .unwrap();
    let length = u32::from_be_bytes(content[start - 4..start].try_into().unwrap());
    (name.clone(), start - 8..start + usize::try_from(length).unwrap())
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
    /// The newest file was cut, as if its end had never been written.
    Cut,
    /// The store does not open, and says which file is why.
    Refused,
}

fn trial(seed: u64, whole: &BTreeMap<String, Vec<u8>>, model: &Model) -> Option<Outcome> {
    let mut files = whole.clone();
    let rot = rot(&mut files, &mut SeededRandom::new(seed))?;
    let disk = MemoryDisk::new(seed);
    files.iter().for_each(|(name, content)| disk.set_content(name, content));
    let report = verify(&disk.attach()).unwrap();
    let store = match open(&disk, 2) {
        Ok(store) => store,
        Err(error) => {
            eprintln!("REFUSED {rot:?}: {error:?}");
            assert!(!report.is_sound(), "{rot:?}: {report:?}");
            return Some(Outcome::Refused);
        }
    };
    let newest = whole.keys().rfind(|name| name.ends_with(".journal")).unwrap();
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
            let (name, part) = place(whole, &at, entry.base);
            let is_touched =
                name == rot.name && part.start < rot.range.end && rot.range.start < part.end;
            // Without its last frame, the seal, nothing says that a newest file was finished.
            let is_unsealed = name == *newest
                && name == rot.name
                && rot.range.end > whole[newest].len() - SEAL_LEN;
            assert!(is_touched || is_unsealed, "{rot:?} took {at} {}", entry.base);
            outcome = outcome.max(if is_touched { Outcome::Quarantined } else { Outcome::Cut });
        }
    }
    if outcome != Outcome::Harmless {
        let is_told = !report.is_sound() || report.unfinished.is_some() || rot.name == *newest;
        assert!(is_told, "{rot:?}: {report:?}");
    }
    goes_on(store, &disk);
    Some(outcome)
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
