//! State: absolute values under keys, as the journal's commits left them.
//!
//! The journal is the truth. What serves the reads is a cache that can be thrown away and rebuilt
//! by replaying the changes from any commit at or before the one it stands at, because a change
//! sets an absolute value.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use headland_event::{ByteCount, CommitNumber, Incarnation};

use crate::commit::{StateChange, StateOwner};
use crate::group::byte_count;
use crate::log::{AppendError, ReadError};

/// Bytes of keys and values that a scan of a prefix fetches at once.
const SCAN_BYTES: ByteCount = ByteCount::mebibytes(1);

/// Bytes of a change in a commit beside its key and value, at most.
const OVERHEAD: u64 = 300;

/// State that could not be read or rebuilt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A value is not what was written: the cache has to be rebuilt.
    #[error("a value of {owner} in the state cache is damaged")]
    Corrupt {
        /// Whose value it is.
        owner: StateOwner,
    },
    /// The cache failed: it has to be rebuilt.
    #[error("the state cache failed: {reason}")]
    Cache {
        /// What the cache says.
        reason: String,
    },
    /// The cache could not be used for want of file descriptors or memory: nothing is wrong with
    /// what it holds.
    #[error("the state cache cannot be used now: {reason}")]
    Unavailable {
        /// What the system says.
        reason: String,
    },
    /// The cache failed earlier and could not be rebuilt yet.
    #[error("the state cache is behind the journal")]
    Behind,
    /// Changes of state are lost for good, and the owner has not accepted that: what is left may
    /// be outdated. It rederives its state, or stops; see [`crate::Store::accept_loss`].
    #[error("changes of state in commits {from} to {until} are lost, maybe of {owner}",
        until = until.get() - 1)]
    Lost {
        /// Whose state was asked for.
        owner: StateOwner,
        /// Number of the first commit that lost changes.
        from: CommitNumber,
        /// Number after the last one.
        until: CommitNumber,
    },
    /// Changes of state are lost, and the journal could not be made to say so: a restart would find
    /// out again.
    #[error("the loss of changes of state could not be recorded")]
    Unrecorded(#[source] Box<AppendError>),
    /// The journal could not be replayed into the cache.
    #[error("the journal could not be replayed into the state cache")]
    Replay(#[source] ReadError),
}

impl StateError {
    /// Whether the same call could succeed later, after the cache was rebuilt.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Corrupt { .. } | Self::Cache { .. } | Self::Unavailable { .. } | Self::Behind => {
                true
            }
            Self::Lost { .. } => false,
            Self::Unrecorded(error) => error.is_retryable(),
            Self::Replay(error) => error.is_retryable(),
        }
    }

    /// Whether nothing is to be made of what the cache holds: it has to be rebuilt.
    pub(crate) const fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt { .. } | Self::Cache { .. } => true,
            Self::Unavailable { .. }
            | Self::Behind
            | Self::Lost { .. }
            | Self::Unrecorded(_)
            | Self::Replay(_) => false,
        }
    }
}

/// Reads the state that committed changes left.
pub trait StateStore {
    /// The value of a key, `None` when it was never set or was deleted.
    ///
    /// # Errors
    /// [`StateError`] when the cache fails.
    fn get(&self, owner: &StateOwner, key: &[u8]) -> Result<Option<Bytes>, StateError>;

    /// Keys of an owner from `from` on, with their values, in the order of keys.
    ///
    /// At least one when there is one, then as many as fit `limit` bytes of keys and values. To go
    /// on, start at the last key found with a zero byte behind it: nothing lies between the two.
    ///
    /// # Errors
    /// [`StateError`] when the cache fails.
    fn scan_from(
        &self,
        owner: &StateOwner,
        from: &[u8],
        limit: ByteCount,
    ) -> Result<Vec<(Bytes, Bytes)>, StateError>;

    /// Every key of an owner that starts with `prefix`, with its value, in the order of keys.
    ///
    /// Cost: everything found is held in memory at once; for prefixes known to be narrow. What may
    /// be wide is read by [`Self::scan_from`].
    ///
    /// # Errors
    /// [`StateError`] when the cache fails.
    fn scan(&self, owner: &StateOwner, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        let mut found: Vec<(Bytes, Bytes)> = Vec::new();
        let mut from = prefix.to_vec();
        loop {
            let page = self.scan_from(owner, &from, SCAN_BYTES)?;
            let Some((last, _)) = page.last() else { return Ok(found) };
            from = [last, &[0][..]].concat();
            let is_over = !last.starts_with(prefix);
            found.extend(page.into_iter().take_while(|(key, _)| key.starts_with(prefix)));
            if is_over {
                return Ok(found);
            }
        }
    }
}

/// A store whose state can be made durable, so that a restart replays less.
pub trait StateMarks {
    /// Makes the state durable as of the last commit; does nothing when it is already.
    ///
    /// The store does it every 64 MiB by itself; a caller with a clock does it every 30 s.
    ///
    /// # Errors
    /// [`StateError`] when the cache fails; the mark stays where it was, which costs replay only.
    fn mark_state(&mut self) -> Result<(), StateError>;
}

/// What a store keeps state in: may be behind the journal, never ahead of what is durable.
pub trait StateCache: StateStore {
    /// Every change up to this commit is in the cache, and would be after a crash.
    fn mark(&self) -> CommitNumber;

    /// The last commit it holds anything of, at or after the mark; it may lose what is after.
    ///
    /// Only durable commits are applied, so a journal that ends before it has lost commits.
    fn reached(&self) -> CommitNumber;

    /// The commit that last set or deleted a key, `None` when none is known.
    ///
    /// For cleaning, to ask whether a change in the journal still counts: one of an earlier commit
    /// does not. A deleted key is remembered until [`Self::forget`], because its deletion has to
    /// stay in the journal as long as any older value does.
    ///
    /// # Errors
    /// [`StateError`] when the cache fails.
    fn newest(&self, owner: &StateOwner, key: &[u8]) -> Result<Option<CommitNumber>, StateError>;

    /// Applies a commit's changes, in order and all at once.
    ///
    /// # Errors
    /// [`StateError`] when the cache fails.
    fn apply(&mut self, commit: CommitNumber, changes: &[StateChange]) -> Result<(), StateError>;

    /// Forgets that a key was deleted by `commit` or before: its deletion left the journal, and
    /// every older value with it. Nothing happens to a key that was set since.
    ///
    /// # Errors
    /// [`StateError`] when the cache fails.
    fn forget(
        &mut self,
        owner: &StateOwner,
        key: &[u8],
        commit: CommitNumber,
    ) -> Result<(), StateError>;

    /// Makes everything applied durable and sets the mark to `commit`, the last one applied.
    ///
    /// # Errors
    /// [`StateError`] when that is not certain; the mark stays where it was.
    fn set_mark(&mut self, commit: CommitNumber) -> Result<(), StateError>;

    /// Whether damage was found: nothing may be made of what it holds until [`Self::clear`].
    fn is_damaged(&self) -> bool {
        false
    }

    /// Says that a life of the directory begins, in which the cache stays what it is.
    ///
    /// Until [`Self::begin_life`] it is the cache of both lives, whatever happens in between.
    ///
    /// # Errors
    /// [`StateError`] when that is not certain.
    fn announce_life(&mut self, _life: Incarnation) -> Result<(), StateError> {
        Ok(())
    }

    /// Belongs to a life that has begun, and to no other.
    ///
    /// # Errors
    /// [`StateError`] when that is not certain.
    fn begin_life(&mut self, _life: Incarnation) -> Result<(), StateError> {
        Ok(())
    }

    /// The changes of these commits that are still the newest of their keys, deletions that are
    /// remembered among them; `None` when keys and values have more than `limit` bytes.
    ///
    /// For setting them anew where the journal lost them. Cost: reads all of the cache.
    ///
    /// # Errors
    /// [`StateError`] when the cache fails.
    fn changes_of(
        &mut self,
        commits: Range<CommitNumber>,
        limit: ByteCount,
    ) -> Result<Option<Vec<StateChange>>, StateError>;

    /// Throws everything away; the mark goes back to 0.
    ///
    /// # Errors
    /// [`StateError`] when the cache fails.
    fn clear(&mut self) -> Result<(), StateError>;
}

/// Changes up to so many bytes of keys and values.
#[derive(Debug)]
pub(crate) struct Changes {
    found: Vec<StateChange>,
    left: Option<u64>,
}

impl Changes {
    pub(crate) const fn new(limit: ByteCount) -> Self {
        Self { found: Vec::new(), left: Some(limit.get()) }
    }

    pub(crate) fn push(&mut self, owner: &StateOwner, key: &Bytes, value: Option<Bytes>) {
        let bytes = byte_count(key.len() + value.as_ref().map_or(0, Bytes::len)).get();
        self.left = self.left.and_then(|left| left.checked_sub(bytes + OVERHEAD));
        if self.left.is_some() {
            self.found.push(StateChange { owner: owner.clone(), key: key.clone(), value });
        }
    }

    /// All of them, if there was room.
    pub(crate) fn finish(self) -> Option<Vec<StateChange>> {
        self.left.map(|_| self.found)
    }
}

/// A cache in memory: always rebuilt from the journal.
#[derive(Debug, Clone, Default)]
pub struct MemoryState {
    values: BTreeMap<StateOwner, BTreeMap<Bytes, Newest>>,
    reached: CommitNumber,
    mark: CommitNumber,
}

/// What the newest change of a key left.
#[derive(Debug, Clone)]
struct Newest {
    commit: CommitNumber,
    value: Option<Bytes>,
}

impl MemoryState {
    fn newest_of(&self, owner: &StateOwner, key: &[u8]) -> Option<&Newest> {
        self.values.get(owner).and_then(|values| values.get(key))
    }
}

impl StateStore for MemoryState {
    fn get(&self, owner: &StateOwner, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.newest_of(owner, key).and_then(|newest| newest.value.clone()))
    }

    fn scan_from(
        &self,
        owner: &StateOwner,
        from: &[u8],
        limit: ByteCount,
    ) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        let Some(values) = self.values.get(owner) else { return Ok(Vec::new()) };
        let set = values
            .range(Bytes::copy_from_slice(from)..)
            .filter_map(|(key, newest)| Some((key.clone(), newest.value.clone()?)));
        let mut bytes = 0;
        let mut found = Vec::new();
        for (key, value) in set {
            bytes += byte_count(key.len() + value.len()).get();
            if bytes > limit.get() && !found.is_empty() {
                break;
            }
            found.push((key, value));
        }
        Ok(found)
    }
}

impl StateCache for MemoryState {
    /// After a crash nothing is left at all, and the whole journal is replayed: so cleaning may
    /// rely on a mark as it may on that of a cache that survives.
    fn mark(&self) -> CommitNumber {
        self.mark
    }

    fn reached(&self) -> CommitNumber {
        self.reached
    }

    fn newest(&self, owner: &StateOwner, key: &[u8]) -> Result<Option<CommitNumber>, StateError> {
        Ok(self.newest_of(owner, key).map(|newest| newest.commit))
    }

    fn apply(&mut self, commit: CommitNumber, changes: &[StateChange]) -> Result<(), StateError> {
        for StateChange { owner, key, value } in changes {
            let values = self.values.entry(owner.clone()).or_default();
            values.insert(key.clone(), Newest { commit, value: value.clone() });
        }
        self.reached = commit;
        Ok(())
    }

    fn forget(
        &mut self,
        owner: &StateOwner,
        key: &[u8],
        commit: CommitNumber,
    ) -> Result<(), StateError> {
        let newest = self.newest_of(owner, key);
        if newest.is_some_and(|newest| newest.value.is_none() && newest.commit <= commit)
            && let Some(values) = self.values.get_mut(owner)
        {
            values.remove(key);
        }
        Ok(())
    }

    fn set_mark(&mut self, commit: CommitNumber) -> Result<(), StateError> {
        self.mark = commit;
        Ok(())
    }

    fn changes_of(
        &mut self,
        commits: Range<CommitNumber>,
        limit: ByteCount,
    ) -> Result<Option<Vec<StateChange>>, StateError> {
        let mut changes = Changes::new(limit);
        for (owner, values) in &self.values {
            let newest = values.iter().filter(|(_, newest)| commits.contains(&newest.commit));
            newest.for_each(|(key, newest)| changes.push(owner, key, newest.value.clone()));
        }
        Ok(changes.finish())
    }

    fn clear(&mut self) -> Result<(), StateError> {
        self.values.clear();
        (self.reached, self.mark) = (CommitNumber::default(), CommitNumber::default());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
