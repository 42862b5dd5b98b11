//! Damage, crashes, cleaning, marks and snapshots in random order, over and over in one directory:
//! it always opens, nothing is read that was not written, nothing goes that damage did not touch,
//! and no offset is given twice.
//!
//! `HEADLAND_RUIN_SEED=<seed>` runs one history alone, `HEADLAND_RUIN_TRIALS=<count>` so many.

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

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headland_event::{
    Batch, ByteCount, CommitNumber, Dot, Entry, EventTime, Offset, Random, Record, SeededRandom,
    Sequence, StreamId, TopicPartition,
};
use headland_storage::{
    CleanPolicy, Cleaning, Commit, LogReader, LogStore, MemoryDisk, MemoryStore, OpenOptions,
    ReadError, Retention, StateChange, StateError, StateMarks, StateStore, Survival, verify,
};

use decay::{contents, place, rot, wish};
use fixture::{owner, partition};

/// Histories in a run without a wish: what a few seconds of one core allow in the dev profile.
const TRIALS: u64 = 60;
const PARTITIONS: u32 = 3;
const FILE_BYTES: ByteCount = ByteCount::new(2_500);

/// What was acknowledged, and what is known to be gone.
#[derive(Default)]
struct Model {
    entries: BTreeMap<TopicPartition, BTreeMap<Offset, Entry>>,
    state: BTreeMap<Bytes, Option<Bytes>>,
    written: u64,
    /// The furthest offset that cleaning was ever asked to move the start of a partition to: what
    /// reaches it may go only because damage touched it, whatever the store says where it starts.
    trimmed: BTreeMap<TopicPartition, Offset>,
    gone: BTreeSet<(TopicPartition, Offset)>,
    /// Keys that may show an older value, because a loss was accepted.
    outdated: BTreeSet<Bytes>,
}

struct History {
    disk: MemoryDisk,
    random: SeededRandom,
    model: Model,
    nonce: u64,
    trail: Vec<String>,
}

impl History {
    fn open(&mut self) -> MemoryStore {
        self.nonce += 1;
        let reserve_bytes = ByteCount::new(0);
        let options = OpenOptions::new(self.nonce);
        let options = OpenOptions { file_bytes: FILE_BYTES, reserve_bytes, ..options };
        MemoryStore::open(&self.disk, options)
            .unwrap_or_else(|error| panic!("{error:?}: {:#?}", self.trail))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn append(&mut self, store: &mut MemoryStore) {
        let at = partition(u32::try_from(self.below(PARTITIONS.into())).unwrap());
        self.model.written += 1;
        let (written, base) = (self.model.written, store.reader().end(&at));
        let size = usize::try_from(self.below(200)).unwrap();
        let count = 1 + self.below(3);
        let record =
            |n| Record::new(EventTime::from_millis(0), format!("{written}-{n}"), vec![7; size]);
        let (stream, sequence) = (StreamId::new([9; 16]), Sequence::new(base.get() + 1));
        let dot = Dot { stream, incarnation: store.incarnation(), sequence };
        let batch = Batch::encode(&(0..count).map(record).collect::<Vec<_>>()).unwrap();
        let entry = Entry { base, dot, stamp: None, batch };
        let key = Bytes::from(format!("k{}", self.below(12)));
        let value = (self.below(4) > 0).then(|| Bytes::from(format!("v{written}")));
        let change = StateChange { owner: owner(), key: key.clone(), value: value.clone() };
        let entries = vec![(at.clone(), entry.clone())];
        store.append(&[Commit { entries, state: vec![change] }]).unwrap();
        let held = self.model.entries.entry(at.clone()).or_default();
        let last = held.last_key_value().map(|(_, entry)| entry.end()).unwrap_or_default();
        assert!(base >= last, "offset {base} of {at} is given again: {:#?}", self.trail);
        held.insert(base, entry);
        self.model.state.insert(key.clone(), value);
        self.model.outdated.remove(&key);
    }

    fn clean(&mut self, store: &mut MemoryStore) {
        let mut policy = CleanPolicy::default();
        let at = partition(u32::try_from(self.below(PARTITIONS.into())).unwrap());
        let (start, end) = (store.reader().start(&at), store.reader().end(&at));
        let to = Offset::new(start.get() + self.below(end.since(start).min(30) + 1));
        policy.trim(at.clone(), to, Retention::NOTHING);
        let trimmed = self.model.trimmed.entry(at.clone()).or_default();
        *trimmed = to.max(*trimmed);
        store.mark_state().unwrap();
        let report = store.clean(&policy, EventTime::from_millis(0), ByteCount::mebibytes(1));
        match report {
            Ok(report) => self.trail.push(format!("clean {at} to {to}: {report:?}")),
            // What would be named as shed can be damaged; then nothing moves.
            Err(error) => self.trail.push(format!("clean {at} to {to}: {error}")),
        }
    }

    fn work(&mut self, store: &mut MemoryStore) {
        for _ in 0..5 + self.below(40) {
            match self.below(12) {
                0 => self.clean(store),
                1 => store.mark_state().unwrap(),
                2 => store.seal().unwrap(),
                3 => store.snapshots().save(&owner(), store.last_commit(), b"windows").unwrap(),
                _ => self.append(store),
            }
        }
    }

    /// Ends a run so that everything is known durable.
    fn end(&mut self, mut store: MemoryStore) {
        if self.below(2) == 0 {
            store.close().unwrap();
            self.trail.push("close".to_owned());
        } else {
            store.seal().unwrap();
            store.mark_state().unwrap();
            drop(store);
            self.trail.push("crash".to_owned());
        }
        self.disk.crash(Survival::Seeded);
    }

    /// Checks all that a store shows; `is_touched` says of which entries damage took bytes.
    fn check(
        &mut self,
        store: &mut MemoryStore,
        is_touched: impl Fn(&TopicPartition, &Entry) -> bool,
    ) {
        let reader = store.reader();
        for (at, entries) in &self.model.entries {
            let trimmed = self.model.trimmed.get(at).copied().unwrap_or_default();
            let mut next = Offset::new(0);
            let mut found = BTreeMap::new();
            while next < reader.end(at) {
                match reader.read(at, next, ByteCount::new(600)) {
                    Ok(read) => {
                        let Some(last) = read.last() else { break };
                        next = last.end();
                        found.extend(read.into_iter().map(|entry| (entry.base, entry)));
                    }
                    Err(ReadError::Quarantined { until, .. }) => {
                        assert!(until > next, "{at}: {:#?}", self.trail);
                        next = until;
                    }
                    Err(error) => panic!("{error}: {:#?}", self.trail),
                }
            }
            for (base, entry) in &found {
                assert_eq!(entries.get(base), Some(entry), "{at}: {:#?}", self.trail);
            }
            for (base, entry) in entries {
                let id = (at.clone(), *base);
                let may_be_gone = entry.end() <= trimmed || self.model.gone.contains(&id);
                if may_be_gone || found.contains_key(base) {
                    continue;
                }
                assert!(is_touched(at, entry), "{at} {base} went: {:#?}", self.trail);
                self.model.gone.insert(id);
            }
            let last = entries.last_key_value().map(|(_, entry)| entry.end()).unwrap_or_default();
            let is_unknown = !reader.partitions().contains(at);
            assert!(
                is_unknown || reader.end(at) >= last,
                "{at} ends early {} {last}: {:#?}",
                reader.end(at),
                self.trail
            );
        }
        // A partition that lost all it had is unknown, and begins again in the new life.
        let known = reader.partitions();
        self.model.entries.retain(|at, _| known.contains(at));
        self.model.trimmed.retain(|at, _| known.contains(at));
        self.model.gone.retain(|(at, _)| known.contains(at));
        self.check_state(store);
        self.check_commits(store);
    }

    fn check_state(&mut self, store: &mut MemoryStore) {
        for (key, value) in &self.model.state {
            match store.get(&owner(), key) {
                Ok(found) if self.model.outdated.contains(key) => drop(found),
                Ok(found) => assert_eq!(found, *value, "{key:?}: {:#?}", self.trail),
                Err(StateError::Lost { .. }) => drop(self.model.outdated.insert(key.clone())),
                Err(error) => panic!("{error}: {:#?}", self.trail),
            }
        }
        store.accept_loss(&owner()).unwrap();
        for key in &self.model.outdated {
            assert!(store.get(&owner(), key).is_ok());
        }
    }

    /// A replay comes to its end whatever is lost.
    fn check_commits(&self, store: &MemoryStore) {
        let (reader, mut next) = (store.reader(), CommitNumber::new(1));
        while next <= reader.last_commit() {
            let before = next;
            next = match reader.replay(next, ByteCount::new(500)) {
                Ok(replayed) => replayed.next,
                Err(ReadError::QuarantinedCommits(left)) => left.until,
                Err(error) => panic!("{error}: {:#?}", self.trail),
            };
            assert!(next > before, "{before}: {:#?}", self.trail);
        }
    }
}

fn run(seed: u64) -> usize {
    let (disk, random) = (MemoryDisk::new(seed), SeededRandom::new(seed));
    let (model, trail) = (Model::default(), vec![format!("HEADLAND_RUIN_SEED={seed}")]);
    let mut history = History { disk, random, model, nonce: 0, trail };
    for _ in 0..4 {
        let mut store = history.open();
        history.work(&mut store);
        history.end(store);
        let mut store = history.open();
        history.check(&mut store, |_, _| false);
        history.end(store);
        let mut files = contents(&history.disk);
        let whole = files.clone();
        let Some(rot) = rot(&mut files, &mut history.random) else { continue };
        history.trail.push(format!("{rot:?}"));
        files.iter().for_each(|(name, content)| history.disk.set_content(name, content));
        drop(verify(&history.disk.attach()).unwrap());
        let mut store = history.open();
        history.trail.push(format!("{:?}", store.report()));
        history.check(&mut store, |at, entry| {
            place(&whole, at, entry).any(|(name, part)| {
                name == rot.name && part.start < rot.range.end && rot.range.start < part.end
            })
        });
        history.end(store);
    }
    history.model.gone.len() + history.model.outdated.len()
}

#[test]
fn a_directory_that_is_damaged_again_and_again_opens_and_loses_only_what_damage_touched() {
    let seeds = match wish("HEADLAND_RUIN_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..wish("HEADLAND_RUIN_TRIALS").unwrap_or(TRIALS) + 1,
    };
    let histories = seeds.end - seeds.start;

    let lost: usize = seeds.map(run).sum();

    eprintln!("{histories} histories, {lost} entries and values lost to damage");
    assert!(histories < 50 || lost > 0, "damage that costs nothing tests nothing");
}
