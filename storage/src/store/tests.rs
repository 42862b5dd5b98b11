use std::cell::Cell;
use std::rc::Rc;

use super::*;
use crate::commit::StateChange;
use crate::memory::{MemoryDisk, MemoryMedium, MemoryStore, Survival};
use crate::state::MemoryState;

/// A cache that fails while it is told to, counts attempts to rebuild it, and shows its mark.
#[derive(Clone, Default)]
struct Flaky {
    values: MemoryState,
    fails: Rc<Cell<bool>>,
    clears: Rc<Cell<u32>>,
    /// Changes fail, and nothing else.
    refuses: Rc<Cell<bool>>,
    /// Scans fail until it is cleared.
    is_spoiled: Rc<Cell<bool>>,
    mark: CommitNumber,
}

impl Flaky {
    fn answer(&self) -> Result<(), StateError> {
        if self.fails.get() {
            Err(StateError::Cache { reason: "told to".to_owned() })
        } else {
            Ok(())
        }
    }
}

impl StateStore for Flaky {
    fn get(&self, owner: &StateOwner, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        self.values.get(owner, key)
    }

    fn scan_from(
        &self,
        owner: &StateOwner,
        from: &[u8],
        limit: ByteCount,
    ) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        if self.is_spoiled.get() {
            return Err(StateError::Corrupt { owner: owner.clone() });
        }
        self.values.scan_from(owner, from, limit)
    }
}

impl StateCache for Flaky {
    fn mark(&self) -> CommitNumber {
        self.mark
    }

    fn reached(&self) -> CommitNumber {
        self.values.reached().max(self.mark)
    }

    fn newest(&self, owner: &StateOwner, key: &[u8]) -> Result<Option<CommitNumber>, StateError> {
        self.values.newest(owner, key)
    }

    fn apply(&mut self, commit: CommitNumber, changes: &[StateChange]) -> Result<(), StateError> {
        self.answer()?;
        if self.refuses.get() {
            return Err(StateError::Cache { reason: "no changes".to_owned() });
        }
        self.values.apply(commit, changes)
    }

    fn forget(
        &mut self,
        owner: &StateOwner,
        key: &[u8],
        commit: CommitNumber,
    ) -> Result<(), StateError> {
        self.values.forget(owner, key, commit)
    }

    fn set_mark(&mut self, commit: CommitNumber) -> Result<(), StateError> {
        self.answer()?;
        self.mark = commit;
        Ok(())
    }

    fn changes_of(
        &mut self,
        commits: std::ops::Range<CommitNumber>,
        limit: ByteCount,
    ) -> Result<Option<Vec<StateChange>>, StateError> {
        self.values.changes_of(commits, limit)
    }

    fn clear(&mut self) -> Result<(), StateError> {
        self.clears.set(self.clears.get() + 1);
        self.answer()?;
        self.is_spoiled.set(false);
        self.mark = CommitNumber::new(0);
        self.values.clear()
    }
}

fn open() -> (Store<MemoryMedium, Flaky>, Flaky) {
    let cache = Flaky::default();
    let medium = MemoryDisk::new(1).attach();
    (Store::start(medium, OpenOptions::new(1), |_| Ok(cache.clone())).unwrap(), cache)
}

fn owner() -> StateOwner {
    StateOwner::new("positions").unwrap()
}

fn set(key: &'static str, value: impl Into<Bytes>) -> Commit {
    let (owner, key, value) = (owner(), Bytes::from(key), Some(value.into()));
    Commit { entries: Vec::new(), state: vec![StateChange { owner, key, value }] }
}

#[test]
fn a_commit_stays_committed_when_the_cache_fails_and_reads_say_so_until_it_is_rebuilt() {
    let (mut store, Flaky { fails, .. }) = open();
    store.append(&[set("a", "1")]).unwrap();
    fails.set(true);

    let appended = store.append(&[set("b", "2")]).unwrap();
    let behind = store.get(&owner(), b"a");
    fails.set(false);
    store.append(&[set("c", "3")]).unwrap();

    assert_eq!(appended.last, CommitNumber::new(2));
    assert!(matches!(&behind, Err(error @ StateError::Behind) if error.is_retryable()));
    let keys: Vec<Bytes> =
        store.scan(&owner(), b"").unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["a", "b", "c"]);
}

#[test]
fn the_mark_moves_by_itself_after_64_mebibytes_and_not_before() {
    let (mut store, _) = open();
    let mut marks = Vec::new();

    for _ in 0..5 {
        store.append(&[set("a", vec![7; 15 << 20])]).unwrap();
        marks.push(store.cache.mark().get());
    }

    assert_eq!(marks, [0, 0, 0, 0, 5]);
}

#[test]
fn a_cache_that_stays_broken_is_rebuilt_after_1_2_4_and_more_groups() {
    let (mut store, Flaky { fails, clears, .. }) = open();
    fails.set(true);

    let mut attempts = Vec::new();
    for group in 0..32 {
        let before = clears.get();
        store.append(&[set("a", "1")]).unwrap();
        attempts.extend((clears.get() > before).then_some(group));
    }

    assert_eq!(attempts, [0, 1, 3, 6, 11, 20]);
}

#[test]
fn a_cache_ahead_of_the_journal_is_thrown_away_and_a_new_life_begins() {
    let disk = MemoryDisk::new(1);
    let before = Store::start(disk.attach(), OpenOptions::new(1), |_| Ok(Flaky::default()))
        .unwrap()
        .incarnation();
    let open_cache = |incarnation| {
        let mut cache = Flaky::default();
        if incarnation == before {
            cache.apply(CommitNumber::new(9), &set("ghost", "1").state)?;
        }
        Ok(cache)
    };

    let store = Store::start(disk.attach(), OpenOptions::new(2), open_cache).unwrap();

    assert_eq!(store.get(&owner(), b"ghost").unwrap(), None);
    assert_eq!(store.report().lost, Some(CommitNumber::new(9)));
    assert_eq!(store.incarnation().counter(), before.counter() + 1);
}

#[test]
fn a_broken_cache_is_not_rebuilt_by_every_mark() {
    let (mut store, Flaky { fails, clears, .. }) = open();
    fails.set(true);
    store.append(&[set("a", "1")]).unwrap();

    let mut attempts = Vec::new();
    for mark in 0..32 {
        let before = clears.get();
        let refused = store.mark_state().unwrap_err();
        let is_attempt = clears.get() > before;
        assert_eq!(matches!(refused, StateError::Behind), !is_attempt, "mark {mark}: {refused}");
        attempts.extend(is_attempt.then_some(mark));
    }

    assert_eq!(attempts, [0, 2, 5, 10, 19]);
}

/// A disk with two commits, of which the first has lost its change of state.
fn with_a_loss() -> MemoryDisk {
    let disk = MemoryDisk::new(1);
    let options = OpenOptions { reserve_bytes: ByteCount::new(0), ..OpenOptions::new(1) };
    let mut store = MemoryStore::open(&disk, options).unwrap();
    store.append(&[set("a", "precious")]).unwrap();
    store.append(&[set("b", "2")]).unwrap();
    store.close().unwrap();
    disk.crash(Survival::Everything);
    let name = "0000000001.journal";
    let content = disk.content(name).unwrap();
    let at = content.windows(8).position(|bytes| bytes == b"precious").unwrap();
    disk.flip_bit(name, ByteCount::new(u64::try_from(at).unwrap()), 0);
    disk
}

#[test]
fn damage_that_opening_finds_in_the_cache_is_mended_by_it_and_a_loss_is_noted_once() {
    let cache = Flaky::default();
    cache.is_spoiled.set(true);

    let opened =
        Store::start(with_a_loss().attach(), OpenOptions::new(2), |_| Ok(cache.clone())).unwrap();

    assert_eq!(cache.clears.get(), 1);
    assert_eq!(opened.lost_state().len(), 1);
    assert_eq!(opened.get(&owner(), b"b").unwrap().as_deref(), Some(&b"2"[..]));
}

#[test]
fn no_mark_is_set_on_a_cache_that_recording_a_loss_has_broken() {
    let disk = with_a_loss();
    let cache = Flaky::default();
    let options = OpenOptions { reserve_bytes: ByteCount::new(0), ..OpenOptions::new(2) };
    // Room for the identity of the new life, and none for a file to record the loss in.
    disk.set_capacity(Some(ByteCount::new(disk.used().get() + 28)));
    let mut store = Store::start(disk.attach(), options, |_| Ok(cache.clone())).unwrap();
    disk.set_capacity(None);
    cache.refuses.set(true);

    let refused = store.mark_state().unwrap_err();

    assert!(matches!(refused, StateError::Behind), "{refused}");
    assert_eq!(store.cache.mark(), CommitNumber::new(0));
}

#[test]
fn a_crash_before_the_new_life_is_durable_leaves_the_evidence_for_it() {
    let disk = MemoryDisk::new(1);
    let options = OpenOptions { reserve_bytes: ByteCount::new(0), ..OpenOptions::new(1) };
    let mut store = MemoryStore::open(&disk, options).unwrap();
    let before = store.incarnation();
    store.append(&[set("a", "1")]).unwrap();
    store.snapshots().save(&owner(), CommitNumber::new(9), b"").unwrap();
    store.close().unwrap();
    let mut torn = 0;

    for spent in 0.. {
        let fork = disk.fork();
        fork.cut_power_after(ByteCount::new(spent));
        let is_open = MemoryStore::open(&fork, options).is_ok();
        fork.crash(Survival::Everything);
        let store = MemoryStore::open(&fork, options).unwrap();
        assert!(store.incarnation().counter() > before.counter(), "cut after {spent}");
        assert_eq!(store.snapshots().latest(&owner()).unwrap(), None);
        if is_open {
            break;
        }
        torn += 1;
    }

    assert!(torn > 0);
}
