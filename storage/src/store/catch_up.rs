//! Replays the journal into the cache, and keeps what that finds lost.

use std::ops::Range;

use headland_event::{ByteCount, CommitNumber, Incarnation, Offset, TopicPartition};

use super::{CacheHealth, MARK_BYTES, Patience, Store};
use crate::cleaning::{self, CleanError};
use crate::commit::{Commit, Priority, StateChange, StateOwner, StoredCommit};
use crate::fault::OpenError;
use crate::log::{AppendError, LogReader, QuarantinedCommits, ReadError, Replayed};
use crate::loss::{self, Losses, LostState};
use crate::medium::Medium;
use crate::state::{StateCache, StateError};

/// Bytes of the journal replayed into the state cache at once.
const REPLAY_BYTES: ByteCount = ByteCount::mebibytes(4);

/// Bytes of keys and values that are set anew for a damaged file: they go in one commit.
const RESTATED_BYTES_MAX: ByteCount = ByteCount::mebibytes(4);

/// Where partitions start.
pub(super) type Starts = Vec<(TopicPartition, Offset)>;

/// What to do about changes of state that turn out to be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnLoss {
    /// Note them: a new life can begin.
    Note,
    /// Refuse to go on: the life that goes on cannot do without. The next open can.
    Refuse,
}

impl<M: Medium, C: StateCache> Store<M, C> {
    /// Changes of state that are lost for good, in the order of commits, and who accepted that.
    #[must_use]
    pub fn lost_state(&self) -> Vec<LostState> {
        self.losses.all()
    }

    /// Goes on with what is left of an owner's state although changes of it may be lost, for good:
    /// reads fail with [`StateError::Lost`] no longer, in any later run either.
    ///
    /// For an owner that has rederived its state from the journal's entries and set it anew, that
    /// can do without the newest values, or whose operator decided so. Does nothing when nothing
    /// is lost. Cost: one commit.
    ///
    /// # Errors
    /// [`AppendError`] when the decision is not durable; nothing has changed then.
    pub fn accept_loss(&mut self, owner: &StateOwner) -> Result<(), AppendError> {
        if self.losses.doubts(owner, None).is_none() {
            return Ok(());
        }
        let mut losses = self.losses.clone();
        losses.accept(owner);
        let commit = Commit { entries: Vec::new(), state: losses.changes() };
        let (appended, size) =
            self.journal.append(Priority::Alerts, std::slice::from_ref(&commit))?;
        losses.on_recorded();
        self.losses = losses;
        self.cleaner.on_appended(size);
        self.apply(appended.first, &[commit], size);
        Ok(())
    }

    /// Brings the cache up to date while the store opens, and reads the starts of partitions and
    /// the losses that it holds. A cache that turns out to be damaged is rebuilt.
    pub(super) fn take_up_state(&mut self) -> Result<Starts, StateError> {
        match self.catch_up_and_read() {
            Err(error) if error.is_damage() => {
                self.cache.clear()?;
                // They are found again.
                self.losses = Losses::default();
                self.catch_up_and_read()
            }
            taken => taken,
        }
    }

    fn catch_up_and_read(&mut self) -> Result<Starts, StateError> {
        self.report.replayed = self.catch_up(OnLoss::Note)?;
        self.losses.take_up(&self.cache)?;
        cleaning::known(&self.cache)
    }

    /// Applies what the cache has not seen yet; returns how many commits that were.
    pub(super) fn catch_up(&mut self, on_loss: OnLoss) -> Result<usize, StateError> {
        if self.cache.reached() > self.reader.last_commit() {
            self.cache.clear()?;
        }
        let mut next = self.cache.mark().after(1);
        let mut count = 0;
        while next <= self.reader.last_commit() {
            let Replayed { commits, next: behind } = self.replay_state(next, on_loss)?;
            debug_assert!(next < behind, "a replay goes on; cleaning leaves gaps");
            for commit in &commits {
                self.apply_commit(commit.number, &commit.state)?;
            }
            count += commits.len();
            next = behind;
            self.unmarked = self.unmarked.saturating_add(REPLAY_BYTES.get());
            // Behind a mark nobody looks for losses again: first they have to be recorded.
            if self.unmarked >= MARK_BYTES && !self.losses.has_found() {
                // A rebuild that is interrupted goes on from here.
                self.cache.set_mark(CommitNumber::new(next.get() - 1))?;
                self.unmarked = 0;
            }
        }
        self.health = CacheHealth::Current;
        self.patience = Patience::default();
        Ok(count)
    }

    /// Commits with the changes of state that are left of them.
    fn replay_state(
        &mut self,
        next: CommitNumber,
        on_loss: OnLoss,
    ) -> Result<Replayed, StateError> {
        let left = match self.reader.replay(next, REPLAY_BYTES) {
            Ok(replayed) => return Ok(replayed),
            Err(ReadError::QuarantinedCommits(left)) => left,
            Err(error) => return Err(StateError::Replay(error)),
        };
        if !left.is_state_whole() && !self.losses.knows(left.from, left.until) {
            match on_loss {
                OnLoss::Note => self.losses.find(left.from, left.until),
                OnLoss::Refuse => {
                    return Err(StateError::Replay(ReadError::QuarantinedCommits(left)));
                }
            }
        }
        let QuarantinedCommits { from, until, entries, state, .. } = *left;
        let commits = vec![StoredCommit { number: from, entries, state }];
        Ok(Replayed { commits, next: until })
    }

    pub(super) fn apply_commit(
        &mut self,
        number: CommitNumber,
        changes: &[StateChange],
    ) -> Result<(), StateError> {
        if changes.is_empty() { Ok(()) } else { self.cache.apply(number, changes) }
    }

    /// Begins a new life when changes of state turned out to be lost, unless that has happened
    /// since the journal was `found`, and records them.
    ///
    /// What was said in the old life may have been said on the strength of what is lost.
    pub(super) fn begin_without_what_is_lost(
        &mut self,
        found: Incarnation,
    ) -> Result<(), OpenError> {
        if self.losses.has_found() && self.journal.incarnation() == found {
            let life = self.journal.next_life();
            self.cache.announce_life(life).map_err(OpenError::State)?;
            self.journal.begin_life(life)?;
            self.cache.begin_life(life).map_err(OpenError::State)?;
            self.snapshots.begin_life(life, crate::snapshot::Ahead::default())?;
        }
        if self.losses.has_found() {
            // Without room for a commit the loss is found again by the next open: nothing marks
            // the state before it is recorded.
            drop(self.record_losses());
        }
        self.report.lost_state = self.losses.all();
        Ok(())
    }

    /// Makes the journal hold what is known to be lost; nothing is written when it does.
    pub(super) fn record_losses(&mut self) -> Result<(), StateError> {
        if !self.losses.has_found() {
            return Ok(());
        }
        let commit = Commit { entries: Vec::new(), state: self.losses.changes() };
        let appended = self.journal.append(Priority::Alerts, std::slice::from_ref(&commit));
        let (appended, size) = appended.map_err(|error| StateError::Unrecorded(Box::new(error)))?;
        self.losses.on_recorded();
        self.cleaner.on_appended(size);
        self.apply(appended.first, &[commit], size);
        Ok(())
    }

    /// Sets anew what commits changed that is still the newest of its key: the journal lost it, and
    /// the cache has it. `false` when that is too much for one commit.
    pub(super) fn restate(&mut self, commits: Range<CommitNumber>) -> Result<bool, CleanError> {
        if self.losses.is_full_of_restated()
            || self.cache.mark() < CommitNumber::new(commits.end.get() - 1)
        {
            return Ok(false);
        }
        let changes = self.cache.changes_of(commits.clone(), RESTATED_BYTES_MAX);
        let Some(mut state) = changes.map_err(CleanError::State)? else { return Ok(false) };
        state.push(loss::restated(&commits));
        let commit = Commit { entries: Vec::new(), state };
        let appended = self.journal.append(Priority::Alerts, std::slice::from_ref(&commit));
        let (appended, size) = appended.map_err(CleanError::Start)?;
        self.losses.on_restated(commits);
        self.cleaner.on_appended(size);
        self.apply(appended.first, &[commit], size);
        Ok(true)
    }

    /// Refuses a read of what may be outdated because changes of state are lost.
    pub(super) fn check_certain(
        &self,
        owner: &StateOwner,
        newest: impl FnOnce() -> Result<Option<CommitNumber>, StateError>,
    ) -> Result<(), StateError> {
        if self.losses.is_empty() {
            return Ok(());
        }
        self.losses.doubts(owner, newest()?).map_or(Ok(()), Err)
    }
}
