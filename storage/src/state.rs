//! State: absolute values under keys, as the journal's commits left them.
//!
//! The journal is the truth. What serves the reads is a cache that can be thrown away and rebuilt
//! by replaying the changes from any commit at or before the one it stands at, because a change
//! sets an absolute value.

use std::collections::BTreeMap;

use bytes::Bytes;
use headland_event::CommitNumber;

use crate::commit::{StateChange, StateOwner};
use crate::log::ReadError;

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
    /// The cache failed earlier and could not be rebuilt yet.
    #[error("the state cache is behind the journal")]
    Behind,
    /// The journal could not be replayed into the cache.
    #[error("the journal could not be replayed into the state cache")]
    Replay(#[source] ReadError),
}

impl StateError {
    /// Whether the same call could succeed later, after the cache was rebuilt.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Corrupt { .. } | Self::Cache { .. } | Self::Behind => true,
            Self::Replay(error) => error.is_retryable(),
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

    /// Every key of an owner that starts with `prefix`, with its value, in the order of keys.
    ///
    /// Cost: everything found is held in memory at once; scan narrow prefixes.
    ///
    /// # Errors
    /// [`StateError`] when the cache fails.
    fn scan(&self, owner: &StateOwner, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StateError>;
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

    /// Applies a commit's changes, in order and all at once.
    ///
    /// # Errors
    /// [`StateError`] when the cache fails.
    fn apply(&mut self, changes: &[StateChange]) -> Result<(), StateError>;

    /// Makes everything applied durable and sets the mark to `commit`, the last one applied.
    ///
    /// # Errors
    /// [`StateError`] when that is not certain; the mark stays where it was.
    fn set_mark(&mut self, commit: CommitNumber) -> Result<(), StateError>;

    /// Throws everything away; the mark goes back to 0.
    ///
    /// # Errors
    /// [`StateError`] when the cache fails.
    fn clear(&mut self) -> Result<(), StateError>;
}

/// A cache in memory: always rebuilt from the journal.
#[derive(Debug, Clone, Default)]
pub struct MemoryState {
    values: BTreeMap<StateOwner, BTreeMap<Bytes, Bytes>>,
}

impl StateStore for MemoryState {
    fn get(&self, owner: &StateOwner, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.values.get(owner).and_then(|values| values.get(key)).cloned())
    }

    fn scan(&self, owner: &StateOwner, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        let Some(values) = self.values.get(owner) else { return Ok(Vec::new()) };
        Ok(values
            .range(Bytes::copy_from_slice(prefix)..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }
}

impl StateCache for MemoryState {
    fn mark(&self) -> CommitNumber {
        CommitNumber::new(0)
    }

    fn apply(&mut self, changes: &[StateChange]) -> Result<(), StateError> {
        for StateChange { owner, key, value } in changes {
            let values = self.values.entry(owner.clone()).or_default();
            match value {
                Some(value) => values.insert(key.clone(), value.clone()),
                None => values.remove(key),
            };
        }
        Ok(())
    }

    fn set_mark(&mut self, _commit: CommitNumber) -> Result<(), StateError> {
        Ok(())
    }

    fn clear(&mut self) -> Result<(), StateError> {
        self.values.clear();
        Ok(())
    }
}
