//! Keyed state of an operator, and snapshots of it that do not stop the operator.
//!
//! A snapshot shows the state at one moment, its cut, while rows go on changing it: whoever changes
//! an entry that is not written yet leaves its old value behind. So a snapshot costs its caller a
//! copy of the keys at the cut, then as little at a time as it asks for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Debug;

use headland_event::KeyMap;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::keymap::key_map;

use crate::operator::arriving::Limits;
use crate::operator::group_key::GroupKey;
use crate::output::Refusal;

/// Keys that are sorted at once: about 5 ms, which is the longest step of a snapshot behind its
/// cut.
const RUN_KEYS: usize = 1 << 16;

/// What an entry takes besides its own bytes: the hash kept beside it and its place in the index.
const INDEX_BYTES: usize = 8 + 18;

/// Memory of one entry with a key that lies inline, about.
pub(crate) fn entry_bytes<V: State>(state: &V) -> usize {
    size_of::<(GroupKey, V)>() + INDEX_BYTES + state.heap_bytes()
}

/// What an operator keeps per key.
pub(crate) trait State: Clone + Debug + Send {
    /// What reading needs to know besides the bytes.
    type Shape;

    /// Writes the state; equal states give equal bytes.
    fn write(&self, writer: &mut Writer);

    /// Reads what [`write`](Self::write) wrote.
    fn read(shape: &Self::Shape, reader: &mut Reader) -> Result<Self, CodecError>;

    /// Bytes on the heap, about; O(1).
    fn heap_bytes(&self) -> usize;
}

/// A map from keys to state.
///
/// Iteration has no order that lasts over a restore: whatever comes out is sorted first.
#[derive(Debug)]
pub(crate) struct Keyed<V> {
    entries: KeyMap<GroupKey, V>,
    /// Heap bytes of keys and states, about.
    heap: usize,
    cut: Option<Box<Cut<V>>>,
}

/// A snapshot under way.
#[derive(Debug)]
struct Cut<V> {
    /// Keys at the cut, in runs that are sorted one by one and then merged.
    runs: Vec<Vec<GroupKey>>,
    sorted_runs: usize,
    /// The next key of each run that has one.
    heads: BinaryHeap<Reverse<(GroupKey, usize)>>,
    /// States at the cut of entries that changed since; none when there was no entry.
    before: KeyMap<GroupKey, Option<V>>,
    /// The last key written.
    written: Option<GroupKey>,
}

/// How far a snapshot has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Done,
}

impl<V: State> Keyed<V> {
    pub(crate) fn new(seed: u64) -> Self {
        Self { entries: key_map(seed), heap: 0, cut: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Memory of keys and states, about.
    pub(crate) fn bytes(&self) -> usize {
        self.heap + self.entries.len() * (size_of::<(GroupKey, V)>() + INDEX_BYTES)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        self.entries.get(key)
    }

    /// Whether limits let the operator keep more for a key: for one that is not there another key.
    pub(crate) fn admit(&self, key: &[u8], limits: &Limits) -> Result<(), Refusal> {
        match self.get(key) {
            Some(_) => limits.admit_bytes(self.bytes()),
            None => limits.admit_key(self.len(), self.bytes()),
        }
    }

    /// Puts an empty entry in unless there is one; whether there was none.
    pub(crate) fn open(&mut self, key: &[u8]) -> bool
    where
        V: Default,
    {
        self.get(key).is_none() && self.insert(GroupKey::new(key), V::default())
    }

    /// Changes an entry, if it is there.
    pub(crate) fn update<R>(&mut self, key: &[u8], change: impl FnOnce(&mut V) -> R) -> Option<R> {
        if let Some(cut) = &mut self.cut {
            cut.keep(key, self.entries.get(key));
        }
        let state = self.entries.get_mut(key)?;
        let before = state.heap_bytes();
        let result = change(state);
        self.heap = (self.heap + state.heap_bytes()).saturating_sub(before);
        Some(result)
    }

    /// Puts an entry in; whether there was none.
    pub(crate) fn insert(&mut self, key: GroupKey, state: V) -> bool {
        if let Some(cut) = &mut self.cut {
            cut.keep(key.as_bytes(), self.entries.get(key.as_bytes()));
        }
        let key_bytes = key.heap_bytes();
        self.heap += key_bytes + state.heap_bytes();
        match self.entries.insert(key, state) {
            None => true,
            Some(old) => {
                // The map keeps the key it has.
                self.heap = self.heap.saturating_sub(key_bytes + old.heap_bytes());
                false
            }
        }
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<V> {
        if let Some(cut) = &mut self.cut {
            cut.keep(key, self.entries.get(key));
        }
        let (key, state) = self.entries.swap_remove_entry(key)?;
        self.heap = self.heap.saturating_sub(key.heap_bytes() + state.heap_bytes());
        Some(state)
    }

    /// A copy without the snapshot under way.
    pub(crate) fn copy(&self) -> Self {
        Self { entries: self.entries.clone(), heap: self.heap, cut: None }
    }

    /// Every entry, in no order that lasts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&GroupKey, &V)> {
        self.entries.iter()
    }

    /// Every key, in no order that lasts.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &GroupKey> {
        self.entries.keys()
    }

    /// Every entry in the order of keys; O(n log n).
    pub(crate) fn sorted(&self) -> Vec<(&GroupKey, &V)> {
        let entries = self.entries.iter().map(|(key, state)| (key.prefix(), key, state));
        let mut entries: Vec<_> = entries.collect();
        entries.sort_unstable_by(|(left_prefix, left, _), (right_prefix, right, _)| {
            left_prefix.cmp(right_prefix).then_with(|| left.cmp(right))
        });
        entries.into_iter().map(|(_, key, state)| (key, state)).collect()
    }

    /// Reads what a snapshot wrote.
    pub(crate) fn read(
        seed: u64,
        shape: &V::Shape,
        reader: &mut Reader,
    ) -> Result<Self, CodecError> {
        let mut keyed = Self::new(seed);
        // An entry takes at least the length of its key, so that what is left bounds their number.
        let entries = reader.length("entries", reader.remaining() / 4)?;
        let mut last: Option<GroupKey> = None;
        for _ in 0..entries {
            let at = reader.position();
            let key = GroupKey::read(reader)?;
            if last.as_ref().is_some_and(|last| *last >= key) {
                let found = i64::try_from(keyed.len()).unwrap_or(i64::MAX);
                let expected = "keys in ascending order";
                return Err(CodecError::Value { field: "entry", at, found, expected });
            }
            last = Some(key.clone());
            keyed.insert(key, V::read(shape, reader)?);
        }
        Ok(keyed)
    }

    /// Begins a snapshot of the state as it stands, and writes how many entries it has. Copies
    /// every key: about 15 ms for a million.
    pub(crate) fn begin_cut(&mut self, writer: &mut Writer) {
        debug_assert!(self.cut.is_none(), "one snapshot at a time");
        writer.length(self.len());
        let mut runs = Vec::with_capacity(self.len().div_ceil(RUN_KEYS));
        let mut keys = self.entries.keys();
        loop {
            let run: Vec<GroupKey> = keys.by_ref().take(RUN_KEYS).cloned().collect();
            if run.is_empty() {
                break;
            }
            runs.push(run);
        }
        self.cut = Some(Box::new(Cut {
            runs,
            sorted_runs: 0,
            heads: BinaryHeap::new(),
            before: key_map(0),
            written: None,
        }));
    }

    /// Entries that the snapshot under way has yet to write.
    pub(crate) fn uncut(&self) -> usize {
        let cut = self.cut.as_ref();
        cut.map_or(0, |cut| cut.heads.len() + cut.runs.iter().map(Vec::len).sum::<usize>())
    }

    /// Writes up to `budget` further entries of the snapshot under way, in the order of keys.
    pub(crate) fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        let Some(cut) = &mut self.cut else { return Progress::Done };
        if !cut.sort_a_run() {
            return Progress::More;
        }
        for _ in 0..budget {
            let Some(key) = cut.next_key() else {
                self.cut = None;
                return Progress::Done;
            };
            key.write(writer);
            match cut.before.swap_remove(key.as_bytes()) {
                Some(Some(state)) => state.write(writer),
                Some(None) | None => {
                    let state = self.entries.get(key.as_bytes());
                    debug_assert!(state.is_some(), "an entry that went left its state behind");
                    if let Some(state) = state {
                        state.write(writer);
                    }
                }
            }
            cut.written = Some(key);
        }
        Progress::More
    }
}

impl<V: State> Cut<V> {
    /// Keeps the state of an entry that is about to change, unless that was done or it is written.
    fn keep(&mut self, key: &[u8], state: Option<&V>) {
        let is_written = self.written.as_ref().is_some_and(|written| key <= written.as_bytes());
        if !is_written && !self.before.contains_key(key) {
            self.before.insert(GroupKey::new(key), state.cloned());
        }
    }

    /// Sorts the next run; whether all were sorted before.
    fn sort_a_run(&mut self) -> bool {
        let Some(run) = self.runs.get_mut(self.sorted_runs) else { return true };
        // Descending, so that the next key is the last and leaves without a move of the others.
        run.sort_unstable_by(|left, right| right.cmp(left));
        if let Some(first) = run.pop() {
            self.heads.push(Reverse((first, self.sorted_runs)));
        }
        self.sorted_runs += 1;
        false
    }

    fn next_key(&mut self) -> Option<GroupKey> {
        let Reverse((key, run)) = self.heads.pop()?;
        if let Some(next) = self.runs.get_mut(run).and_then(Vec::pop) {
            self.heads.push(Reverse((next, run)));
        }
        Some(key)
    }
}
