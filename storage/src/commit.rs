//! What a caller hands in to be made durable together.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use headland_event::{CommitNumber, Entry, TopicPartition};

const OWNER_LENGTH_MAX: usize = 64;

/// Who owns a part of the state, for example `positions`: 1 to 64 of `[a-z0-9_-]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateOwner(Arc<str>);

/// A state owner's name that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state owner {found:?} is not 1 to 64 characters of a-z 0-9 _ -")]
pub struct StateOwnerError {
    /// The name as found.
    pub found: String,
}

impl StateOwner {
    /// Checks and keeps a name.
    ///
    /// # Errors
    /// [`StateOwnerError`] when the name is not 1 to 64 of `[a-z0-9_-]`.
    pub fn new(name: &str) -> Result<Self, StateOwnerError> {
        let fits = (1..=OWNER_LENGTH_MAX).contains(&name.len())
            && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
        if fits {
            Ok(Self(Arc::from(name)))
        } else {
            Err(StateOwnerError { found: name.to_owned() })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StateOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for StateOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for StateOwner {
    type Err = StateOwnerError;

    fn from_str(name: &str) -> Result<Self, StateOwnerError> {
        Self::new(name)
    }
}

/// One key of an owner's state set to an absolute value, so that replaying it twice is harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// Whose state changes.
    pub owner: StateOwner,
    /// The key within that owner's state.
    pub key: Bytes,
    /// The new value; `None` deletes the key.
    pub value: Option<Bytes>,
}

/// Entries and state changes that become durable together or not at all: one frame.
///
/// Each entry's base is the end of its partition, counting the entries before it in the group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commit {
    /// Batches and the partitions they go to, in the order they are applied.
    pub entries: Vec<(TopicPartition, Entry)>,
    /// Changes of state, in the order they are applied.
    pub state: Vec<StateChange>,
}

/// A commit as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCommit {
    /// Its number, contiguous from 1.
    pub number: CommitNumber,
    /// Its entries, in the order they were written.
    pub entries: Vec<(TopicPartition, Entry)>,
    /// Its changes of state, in the order they were written.
    pub state: Vec<StateChange>,
}

/// The numbers a group of commits was given; all of them are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Number of the group's first commit.
    pub first: CommitNumber,
    /// Number of the group's last commit.
    pub last: CommitNumber,
}

/// What a group of commits may use when the disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Priority {
    /// Refused first.
    #[default]
    Normal,
    /// Alerts: may use the reserve that is kept for them.
    Alerts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_of_64_characters_fits_and_one_of_65_does_not() {
        assert_eq!(StateOwner::new(&"a".repeat(64)).unwrap().as_str().len(), 64);
        assert_eq!(StateOwner::new(&"a".repeat(65)).unwrap_err().found.len(), 65);
    }

    #[test]
    fn an_owner_with_a_capital_a_dot_or_nothing_is_refused() {
        for name in ["", "Positions", "a.b", "a/b"] {
            assert_eq!(StateOwner::new(name).unwrap_err().found, name);
        }
    }
}
