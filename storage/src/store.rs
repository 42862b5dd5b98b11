//! A store: the journal, and the cache of the state that its commits left.

use bytes::Bytes;
use headland_event::{ByteCount, CommitNumber, EventTime, Incarnation, TopicPartition};

use crate::cleaning::{
    self, CleanError, CleanPolicy, CleanReport, Cleaner, Cleaning, Dropped, Moves, Workplace,
};
use crate::commit::{Appended, Commit, Priority, StateOwner};
use crate::fault::OpenError;
use crate::journal::opening::Opening;
use crate::journal::{Journal, JournalOptions};
use crate::log::{AppendError, ByteIdentity, Capabilities, DenseOffsets, LogReader, LogStore};
use crate::loss::Losses;
use crate::medium::{Medium, MediumError};
use crate::place::{self, Lies, OnCopy, Standing};
use crate::reader::JournalReader;
use crate::recovery::OpenReport;
use crate::refill::{Refill, RefillRefused, Refilled};
use crate::restart::is_whole;
use crate::snapshot::SnapshotStore;
use crate::state::{StateCache, StateError, StateMarks, StateStore};

/// Bytes of the journal after which the state mark moves by itself: what a restart replays.
const MARK_BYTES: u64 = 64 << 20;

/// Most groups between attempts to rebuild a state cache that fails: at least one an hour on a node
/// that writes three groups a second.
const REBUILD_GROUPS_MAX: u32 = 10_000;

/// Replays the journal into the cache, and keeps what that finds lost.
mod catch_up;

use catch_up::{OnLoss, Starts};

/// How to open a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOptions {
    /// 64 random bits, fresh for every open: told apart by them are a new incarnation, when there
    /// is none yet, and the files this life writes.
    pub nonce: u64,
    /// Size of a journal file. Default 64 MiB, on small flash 4 MiB, on a hub 120 MiB. Too small
    /// costs a barrier for the directory more often, too large wastes what is allocated ahead; from
    /// 128 MiB on ext4 needs more extents than an inode holds, which slows every barrier.
    pub file_bytes: ByteCount,
    /// Room kept for alerts on a full disk. Default 4 MiB; 0 keeps none.
    pub reserve_bytes: ByteCount,
    /// Memory of the state cache, where there is one beside the journal. Default 4 MiB, on a hub
    /// 16 MiB. Too small costs reads from disk, too large memory only.
    pub cache_bytes: ByteCount,
    /// What to do when the directory is a copy of the one it was, or was copied to where it is.
    /// Default [`OnCopy::GoOn`].
    pub on_copy: OnCopy,
}

impl OpenOptions {
    /// Least size of a file that an operator should ask for: below it, about each commit begins a
    /// file of its own, which costs a barrier for the directory.
    pub const FILE_BYTES_LEAST: ByteCount = ByteCount::new(64 << 10);

    /// The defaults, which fit an agent.
    #[must_use]
    pub const fn new(nonce: u64) -> Self {
        Self {
            nonce,
            file_bytes: ByteCount::mebibytes(64),
            reserve_bytes: ByteCount::mebibytes(4),
            cache_bytes: ByteCount::mebibytes(4),
            on_copy: OnCopy::GoOn,
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

/// How many groups or marks to let pass before a cache that could not be rebuilt is tried again:
/// each attempt reads the journal, so they double from one on.
#[derive(Debug, Clone, Copy, Default)]
struct Patience {
    left: u32,
    next: u32,
}

impl Patience {
    fn on_failed(&mut self) {
        self.left = self.next;
        self.next = self.next.saturating_mul(2).clamp(1, REBUILD_GROUPS_MAX);
    }

    /// Lets a group or a mark pass; returns whether it is time for an attempt.
    const fn is_over(&mut self) -> bool {
        let is_over = self.left == 0;
        self.left = self.left.saturating_sub(1);
        is_over
    }
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
    patience: Patience,
    unmarked: u64,
    losses: Losses,
    snapshots: SnapshotStore<M>,
    cleaner: Cleaner<M::File>,
    report: OpenReport,
}

impl<M: Medium, C: StateCache> Store<M, C> {
    /// Finds the journal, compares the cache with it, and brings the cache up to date.
    ///
    /// The cache is opened under the life that wrote it, and goes on in a new one: a cache that
    /// was thrown away could not be rebuilt from a journal of which changes of state are damaged.
    /// Only a cache of commits that the journal has lost is worth nothing.
    pub(crate) fn start(
        medium: M,
        options: OpenOptions,
        open_cache: impl Fn(Incarnation) -> Result<C, StateError>,
    ) -> Result<Self, OpenError> {
        let OpenOptions { nonce, file_bytes, reserve_bytes, cache_bytes: _, on_copy } = options;
        let options = JournalOptions { nonce, file_bytes, reserve_bytes };
        let (lies, standing) = match on_copy {
            OnCopy::GoOn => (Lies::Here, Standing::Usual),
            OnCopy::NewLife => place::look(&medium)?,
        };
        let begins = standing == Standing::Over || lies == Lies::Elsewhere;
        let mut at = medium.clone();
        let mut opening = Opening::find(medium.clone(), options)?;
        let (last, found) = (opening.last(), opening.incarnation());
        let (snapshots, ahead) = SnapshotStore::open(medium, opening.incarnation(), last)?;
        let mut cache = open_cache(opening.incarnation()).map_err(OpenError::State)?;
        let beside = ahead.commit.unwrap_or_default().max(opening.witnessed());
        let reached = beside.max(cache.reached());
        if reached > last {
            opening.report.lost = Some(reached);
        }
        opening.report.copied = lies == Lies::Elsewhere;
        opening.report.renewed = standing == Standing::Over;
        opening.report.standing = standing.of_next();
        if reached > last || opening.is_cut() || begins {
            let life = opening.next_life();
            if cache.reached() <= last {
                cache.announce_life(life).map_err(OpenError::State)?;
                opening.begin_life(life)?;
                cache.begin_life(life).map_err(OpenError::State)?;
            } else {
                // What it is ahead by is the evidence for the new life, so that has to be durable.
                opening.begin_life(life)?;
                drop(cache);
                cache = open_cache(life).map_err(OpenError::State)?;
            }
            snapshots.begin_life(life, ahead)?;
        }
        // Behind the life that it is about: an opening that ends before begins one more.
        if begins || lies != Lies::Here {
            place::keep(&mut at, standing.of_next())?;
        }
        let (journal, report) = opening.settle()?;
        let reader = journal.reader();
        let mut store = Self {
            journal,
            reader,
            cache,
            health: CacheHealth::Broken,
            patience: Patience::default(),
            unmarked: 0,
            losses: Losses::default(),
            snapshots,
            cleaner: Cleaner::default(),
            report,
        };
        let starts = store.take_up_state().map_err(OpenError::State)?;
        store.begin_without_what_is_lost(found)?;
        store.raise_starts(starts);
        Ok(store)
    }

    /// What opening found and did.
    #[must_use]
    pub const fn report(&self) -> &OpenReport {
        &self.report
    }

    /// Says that the life of the directory is over: it forked, or was taken back. The next opening
    /// that asks to be told of copies begins another one; nothing else changes.
    ///
    /// # Errors
    /// [`MediumError`] when that cannot be written down; the life goes on then.
    pub fn end_life(&mut self) -> Result<(), MediumError> {
        self.journal.end_life()
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
        self.catch_up(OnLoss::Refuse)?;
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

    /// What was shed of a partition: records that went before every linked receiver had them.
    ///
    /// By stream, and of each stream in order. Receivers accept it as a named hole.
    ///
    /// # Errors
    /// [`StateError`] when the cache fails.
    pub fn dropped(&self, partition: &TopicPartition) -> Result<Vec<Dropped>, StateError> {
        cleaning::dropped(self, partition)
    }

    /// Lets partitions start where cleaning last made them start.
    fn raise_starts(&self, starts: Starts) {
        let mut index = self.journal.shared().write();
        for (partition, start) in starts {
            index.raise_start(&partition, start);
        }
    }

    /// Brings a durable group into the cache. The group is committed whatever happens here.
    fn apply(&mut self, first: CommitNumber, group: &[Commit], size: ByteCount) {
        self.note_damage();
        match self.health {
            CacheHealth::Current => {
                let applied = (0..).zip(group).try_for_each(|(index, commit)| {
                    self.apply_commit(first.after(index), &commit.state)
                });
                if applied.is_err() {
                    drop(self.try_rebuild());
                }
            }
            CacheHealth::Broken if self.patience.is_over() => drop(self.try_rebuild()),
            CacheHealth::Broken => {}
        }
        self.unmarked = self.unmarked.saturating_add(size.get());
        if self.unmarked >= MARK_BYTES && self.mark_state().is_err() {
            // Tried again after as much again; until then a restart has more to replay.
            self.unmarked = 0;
        }
    }

    /// A cache that a read found damaged is broken; whatever writes next rebuilds it.
    fn note_damage(&mut self) {
        if self.cache.is_damaged() {
            self.health = CacheHealth::Broken;
        }
    }

    /// Rebuilds a cache that is broken, when it is time to. It counts as a group, so that a log
    /// that became idle gets to an attempt too.
    fn heal(&mut self) -> Result<(), StateError> {
        self.note_damage();
        match self.health {
            CacheHealth::Current => Ok(()),
            CacheHealth::Broken if self.patience.is_over() => self.try_rebuild(),
            CacheHealth::Broken => Err(StateError::Behind),
        }
    }

    /// Rebuilds the cache; when that fails reads say so until a later attempt succeeds.
    fn try_rebuild(&mut self) -> Result<(), StateError> {
        self.rebuild_state().inspect_err(|_| {
            self.health = CacheHealth::Broken;
            self.patience.on_failed();
        })
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
        self.cleaner.on_appended(size);
        self.apply(appended.first, group, size);
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

impl<M: Medium, C: StateCache> Cleaning for Store<M, C> {
    fn clean(
        &mut self,
        policy: &CleanPolicy,
        now: EventTime,
        budget: ByteCount,
    ) -> Result<CleanReport, CleanError> {
        self.heal().map_err(CleanError::State)?;
        let state = self.cache().map_err(CleanError::State)?;
        let moves = cleaning::moves(&self.reader, state, (policy, now), budget.get())?;
        let Moves { starts, dropped, commit, read, is_partial } = moves;
        let mut report = CleanReport { dropped, ..CleanReport::default() };
        report.read = ByteCount::new(read);
        if !starts.is_empty() {
            // It makes room, so it may use what is kept for alerts.
            self.append_as(Priority::Alerts, &[commit]).map_err(CleanError::Start)?;
            let mut index = self.journal.shared().write();
            for (partition, start) in starts {
                index.raise_start(&partition, start);
                report.moved.push(partition);
            }
        }
        let waits = self.cleaner.waits_for_mark(&self.journal.closed_files(), self.cache.mark());
        if waits {
            self.mark_state().map_err(CleanError::State)?;
        }
        self.cache().map_err(CleanError::State)?;
        let marked = self.cache.mark();
        let until = self.snapshots.oldest_needed(&policy.operators);
        let until = until.map_or(marked, |needed| needed.min(marked));
        let Self { journal, cache, cleaner, losses, .. } = self;
        let mut place = Workplace { journal, cache, losses, until, policy, now };
        cleaner.work(&mut place, budget.get().saturating_sub(read), &mut report)?;
        if let Some(commits) = self.cleaner.restating() {
            let is_done = self.restate(commits)?;
            self.cleaner.on_restated(is_done, &self.losses);
            report.is_done = false;
        }
        // Only now: what a step before an error said would go with it.
        report.refilled = self.cleaner.take_refilled();
        let reader = self.reader();
        for Refilled { partition, from, until, result } in &mut report.refilled {
            // Another one came before it, or the damage was in what was read, not in the file.
            let is_refused = *result == Err(RefillRefused::NotLost);
            if is_refused && is_whole(&reader, partition, *from..*until).is_ok_and(|whole| whole) {
                *result = Err(RefillRefused::Intact);
            }
        }
        report.is_done &= !is_partial;
        Ok(report)
    }

    fn refill(&mut self, refill: Refill) {
        self.cleaner.refill(refill);
    }
}

impl<M: Medium, C: StateCache> StateStore for Store<M, C> {
    fn get(&self, owner: &StateOwner, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        let cache = self.cache()?;
        self.check_certain(owner, || cache.newest(owner, key))?;
        cache.get(owner, key)
    }

    fn scan_from(
        &self,
        owner: &StateOwner,
        from: &[u8],
        limit: ByteCount,
    ) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        let cache = self.cache()?;
        self.check_certain(owner, || Ok(None))?;
        cache.scan_from(owner, from, limit)
    }
}

impl<M: Medium, C: StateCache> StateMarks for Store<M, C> {
    fn mark_state(&mut self) -> Result<(), StateError> {
        self.heal()?;
        // Behind a mark nobody looks for losses again.
        self.record_losses()?;
        // Recording is a commit, after which the cache may be broken or half rebuilt.
        self.cache()?;
        let last = self.reader.last_commit();
        if self.cache.mark() < last {
            self.cache.set_mark(last)?;
        }
        self.unmarked = 0;
        // Without it damage to the end of the journal is harder to tell, and nothing is lost.
        drop(self.journal.vouch());
        Ok(())
    }
}

impl<M: Medium, C: StateCache> Store<M, C> {
    /// Number of the last commit, 0 in an empty log.
    #[must_use]
    pub fn last_commit(&self) -> CommitNumber {
        self.reader.last_commit()
    }

    /// The snapshots of operators' state in the same data directory.
    #[must_use]
    pub fn snapshots(&self) -> SnapshotStore<M> {
        self.snapshots.clone()
    }

    /// The commit that last set or deleted a key; see [`StateCache::newest`].
    ///
    /// # Errors
    /// [`StateError`] when the cache fails.
    pub fn newest(
        &self,
        owner: &StateOwner,
        key: &[u8],
    ) -> Result<Option<CommitNumber>, StateError> {
        self.cache()?.newest(owner, key)
    }

    /// Forgets that a key was deleted by `commit` or before; see [`StateCache::forget`].
    ///
    /// # Errors
    /// [`StateError`] when the cache fails.
    pub fn forget(
        &mut self,
        owner: &StateOwner,
        key: &[u8],
        commit: CommitNumber,
    ) -> Result<(), StateError> {
        self.cache.forget(owner, key, commit)
    }
}

#[cfg(test)]
mod tests;
