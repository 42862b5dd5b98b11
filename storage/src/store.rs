//! A store: the journal, and the cache of the state that its commits left.

use bytes::Bytes;
use headland_event::{ByteCount, CommitNumber, Incarnation};

use crate::commit::{Appended, Commit, Priority, StateOwner};
use crate::fault::OpenError;
use crate::journal::{Journal, JournalOptions};
use crate::log::{AppendError, ByteIdentity, Capabilities, DenseOffsets, LogReader, LogStore};
use crate::medium::Medium;
use crate::reader::JournalReader;
use crate::recovery::OpenReport;
use crate::state::{StateCache, StateError, StateMarks, StateStore};

/// Bytes of the journal replayed into the state cache at once.
const REPLAY_BYTES: ByteCount = ByteCount::mebibytes(4);
/// Bytes of the journal after which the state mark moves by itself: what a restart replays.
const MARK_BYTES: u64 = 64 << 20;

/// How to open a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOptions {
    /// 64 random bits, fresh for every open: told apart by them are a new incarnation, when there
    /// is none yet, and the files this life writes.
    pub nonce: u64,
    /// Size of a journal file. Default 64 MiB, on small flash 4 MiB, on a hub 256 MiB. Too small
    /// costs a barrier for the directory more often, too large wastes what is allocated ahead.
    pub file_bytes: ByteCount,
    /// Room kept for alerts on a full disk. Default 4 MiB; 0 keeps none.
    pub reserve_bytes: ByteCount,
    /// Memory of the state cache, where there is one beside the journal. Default 4 MiB, on a hub
    /// 16 MiB. Too small costs reads from disk, too large memory only.
    pub cache_bytes: ByteCount,
}

impl OpenOptions {
    /// The defaults, which fit an agent.
    #[must_use]
    pub const fn new(nonce: u64) -> Self {
        Self {
            nonce,
            file_bytes: ByteCount::mebibytes(64),
            reserve_bytes: ByteCount::mebibytes(4),
            cache_bytes: ByteCount::mebibytes(4),
        }
    }
}

/// What keeps the state cache from serving reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CacheHealth {
    /// It holds every change up to the last commit.
    Current,
    /// It failed and could not be rebuilt yet.
    Broken,
}

/// One node's journal with the state that its commits left; the only writer of its directory.
///
/// Dropping a store without [`Self::close`] is safe: it is what a crash does.
#[derive(Debug)]
pub struct Store<M: Medium, C> {
    journal: Journal<M>,
    reader: JournalReader<M::File>,
    cache: C,
    health: CacheHealth,
    unmarked: u64,
    report: OpenReport,
}

impl<M: Medium, C: StateCache> Store<M, C> {
    /// Opens the journal, then brings the cache up to date with it.
    pub(crate) fn start(
        medium: M,
        options: OpenOptions,
        cache: impl FnOnce(Incarnation) -> Result<C, StateError>,
    ) -> Result<Self, OpenError> {
        let OpenOptions { nonce, file_bytes, reserve_bytes, cache_bytes: _ } = options;
        let options = JournalOptions { nonce, file_bytes, reserve_bytes };
        let (journal, report) = Journal::open(medium, options)?;
        let cache = cache(journal.incarnation()).map_err(OpenError::State)?;
        let reader = journal.reader();
        let health = CacheHealth::Broken;
        let mut store = Self { journal, reader, cache, health, unmarked: 0, report };
        store.report.replayed = store.catch_up().map_err(OpenError::State)?;
        Ok(store)
    }

    /// What opening found and did.
    #[must_use]
    pub const fn report(&self) -> &OpenReport {
        &self.report
    }

    /// Throws the state cache away and rebuilds it from the whole journal.
    ///
    /// Cost: reads the journal once.
    ///
    /// # Errors
    /// [`StateError`] when the journal cannot be read or the cache fails again.
    pub fn rebuild_state(&mut self) -> Result<(), StateError> {
        self.health = CacheHealth::Broken;
        self.cache.clear()?;
        self.catch_up()?;
        Ok(())
    }

    /// Seals the journal, frees what was allocated ahead and moves the state mark to the end.
    ///
    /// # Errors
    /// [`CloseError`]; nothing acknowledged is lost, the next open has more to do.
    pub fn close(mut self) -> Result<(), CloseError> {
        let marked = self.mark_state();
        self.journal.close().map_err(CloseError::Journal)?;
        marked.map_err(CloseError::State)
    }

    /// Applies what the cache has not seen yet; returns how many commits that were.
    fn catch_up(&mut self) -> Result<usize, StateError> {
        if self.cache.mark() > self.reader.last_commit() {
            // The cache knows commits that the journal lost: it belongs to another past.
            self.cache.clear()?;
        }
        let mut next = self.cache.mark().after(1);
        let mut count = 0;
        while next <= self.reader.last_commit() {
            let commits = self.reader.replay(next, REPLAY_BYTES).map_err(StateError::Replay)?;
            let Some(last) = commits.last().map(|commit| commit.number) else { break };
            for commit in &commits {
                debug_assert!(commit.number == next, "replay goes without gaps");
                self.cache.apply(&commit.state)?;
                next = commit.number.after(1);
            }
            count += commits.len();
            debug_assert!(next == last.after(1), "every commit was applied");
        }
        self.health = CacheHealth::Current;
        Ok(count)
    }

    /// Brings a durable group into the cache. The group is committed whatever happens here.
    fn apply(&mut self, group: &[Commit], size: ByteCount) {
        let changes = || group.iter().filter(|commit| !commit.state.is_empty());
        let applied = match self.health {
            CacheHealth::Current => {
                changes().try_for_each(|commit| self.cache.apply(&commit.state))
            }
            CacheHealth::Broken => self.rebuild_state(),
        };
        if applied.is_err() && self.rebuild_state().is_err() {
            // Reads say so until a later append or a call of `rebuild_state` succeeds.
            self.health = CacheHealth::Broken;
        }
        self.unmarked = self.unmarked.saturating_add(size.get());
        if self.unmarked >= MARK_BYTES && self.mark_state().is_err() {
            // Tried again after as much again; until then a restart has more to replay.
            self.unmarked = 0;
        }
    }

    fn cache(&self) -> Result<&C, StateError> {
        match self.health {
            CacheHealth::Current => Ok(&self.cache),
            CacheHealth::Broken => Err(StateError::Behind),
        }
    }
}

/// A store that could not be closed as it should; what was acknowledged is safe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The journal could not be sealed or cut.
    #[error("the journal could not be sealed")]
    Journal(#[source] AppendError),
    /// The state mark could not be set.
    #[error("the state mark could not be set")]
    State(#[source] StateError),
}

impl<M: Medium, C: StateCache> LogStore for Store<M, C> {
    type Reader = JournalReader<M::File>;

    fn capabilities(&self) -> Capabilities {
        Capabilities { dense_offsets: DenseOffsets::Dense, byte_identity: ByteIdentity::Identical }
    }

    fn incarnation(&self) -> Incarnation {
        self.journal.incarnation()
    }

    fn append_as(&mut self, priority: Priority, group: &[Commit]) -> Result<Appended, AppendError> {
        let (appended, size) = self.journal.append(priority, group)?;
        self.apply(group, size);
        Ok(appended)
    }

    fn seal(&mut self) -> Result<(), AppendError> {
        self.journal.seal()
    }

    fn readmit(&mut self) -> Result<(), AppendError> {
        self.journal.readmit()
    }

    fn reader(&self) -> Self::Reader {
        self.reader.clone()
    }
}

impl<M: Medium, C: StateCache> StateStore for Store<M, C> {
    fn get(&self, owner: &StateOwner, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        self.cache()?.get(owner, key)
    }

    fn scan(&self, owner: &StateOwner, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        self.cache()?.scan(owner, prefix)
    }
}

impl<M: Medium, C: StateCache> StateMarks for Store<M, C> {
    fn mark_state(&mut self) -> Result<(), StateError> {
        match self.health {
            CacheHealth::Current => {}
            CacheHealth::Broken => self.rebuild_state()?,
        }
        let last = self.reader.last_commit();
        if self.cache.mark() < last {
            self.cache.set_mark(last)?;
        }
        self.unmarked = 0;
        Ok(())
    }
}

impl<M: Medium, C: StateCache> Store<M, C> {
    /// Number of the last commit, 0 in an empty log.
    #[must_use]
    pub fn last_commit(&self) -> CommitNumber {
        self.reader.last_commit()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::commit::StateChange;
    use crate::memory::{MemoryDisk, MemoryMedium};
    use crate::state::MemoryState;

    /// A cache that fails while it is told to, and keeps its mark in sight.
    struct Flaky {
        values: MemoryState,
        fails: Rc<Cell<bool>>,
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

        fn scan(
            &self,
            owner: &StateOwner,
            prefix: &[u8],
        ) -> Result<Vec<(Bytes, Bytes)>, StateError> {
            self.values.scan(owner, prefix)
        }
    }

    impl StateCache for Flaky {
        fn mark(&self) -> CommitNumber {
            self.mark
        }

        fn apply(&mut self, changes: &[StateChange]) -> Result<(), StateError> {
            self.answer()?;
            self.values.apply(changes)
        }

        fn set_mark(&mut self, commit: CommitNumber) -> Result<(), StateError> {
            self.answer()?;
            self.mark = commit;
            Ok(())
        }

        fn clear(&mut self) -> Result<(), StateError> {
            self.answer()?;
            self.mark = CommitNumber::new(0);
            self.values.clear()
        }
    }

    fn open() -> (Store<MemoryMedium, Flaky>, Rc<Cell<bool>>) {
        let fails = Rc::new(Cell::new(false));
        let (values, mark) = (MemoryState::default(), CommitNumber::new(0));
        let cache = Flaky { values, fails: Rc::clone(&fails), mark };
        let medium = MemoryDisk::new(1).attach();
        (Store::start(medium, OpenOptions::new(1), |_| Ok(cache)).unwrap(), fails)
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
        let (mut store, fails) = open();
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
    fn a_cache_ahead_of_the_journal_is_thrown_away() {
        let (values, fails) = (MemoryState::default(), Rc::new(Cell::new(false)));
        let mut cache = Flaky { values, fails, mark: CommitNumber::new(9) };
        cache.apply(&set("ghost", "1").state).unwrap();

        let medium = MemoryDisk::new(1).attach();
        let store = Store::start(medium, OpenOptions::new(1), |_| Ok(cache)).unwrap();

        assert_eq!(store.get(&owner(), b"ghost").unwrap(), None);
    }
}
