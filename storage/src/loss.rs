//! Changes of state that were damaged before any cache had them.
//!
//! A damaged change of state is lost when it has to be replayed: the value it set is nowhere else.
//! Neither its owner nor its key can be told from bytes whose checksum is wrong, so every owner may
//! have lost its newest value; only a value that a later commit set is certainly the newest. The
//! store opens all the same, in a new life, and keeps of each loss a record in the journal. Until
//! an owner accepts it, reads of its state that could show an outdated value fail with
//! [`StateError::Lost`]; what every other owner reads, once it accepted, is what is left.
//!
//! The records are state of the owner `log`:
//!
//! ```text
//! key    u8 3 │ from u64
//! value  version u8 1 │ until u64 │ owners u32, then each a name: who accepted the loss
//! ```
//!
//! A change that is damaged behind the state mark is in the cache still, and would be lost when
//! that is made anew. Where the file is to be written anew, the changes of its commits that are
//! still the newest of their keys are set once more before, in one commit with
//!
//! ```text
//! key    u8 4 │ from u64
//! value  version u8 1 │ until u64
//! ```

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::Bytes;
use headland_event::CommitNumber;
use headland_event::codec::{CodecError, Reader, Writer};

use crate::cleaning;
use crate::commit::{StateChange, StateOwner};
use crate::composer::streams_owner;
use crate::state::{StateError, StateStore};

const VERSION: u8 = 1;
const KEY_LOST: u8 = 3;
const KEY_RESTATED: u8 = 4;
/// Records before a loss is added to the one before it, which then spans both: more commits than
/// were damaged are in doubt, and none is forgotten.
const RECORDS_MAX: usize = 64;

/// Commits of which changes of state are lost for good, and who has come to terms with it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostState {
    /// Number of the first commit that lost some of its changes of state.
    pub from: CommitNumber,
    /// Number after the last one.
    pub until: CommitNumber,
    /// Owners that accepted the loss.
    pub accepted: BTreeSet<StateOwner>,
}

/// What is lost, in the order of commits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Losses {
    /// In the journal.
    recorded: Vec<LostState>,
    /// Found, and not in the journal yet.
    found: Vec<LostState>,
    /// Commits of which the journal lost changes of state that the cache had: what was still the
    /// newest of its key was set anew behind them, so nothing of them is missed.
    restated: Vec<Range<CommitNumber>>,
}

impl Losses {
    /// Whether nothing is lost.
    pub(crate) const fn is_empty(&self) -> bool {
        self.recorded.is_empty() && self.found.is_empty()
    }

    /// Whether something was found that is not in the journal yet.
    pub(crate) const fn has_found(&self) -> bool {
        !self.found.is_empty()
    }

    /// Whether the loss of these commits is in the journal.
    pub(crate) fn knows(&self, from: CommitNumber, until: CommitNumber) -> bool {
        self.recorded.iter().any(|lost| lost.from <= from && until <= lost.until)
            || self.restated.iter().any(|lost| lost.start <= from && until <= lost.end)
    }

    /// Whether there is no room for more commits whose changes are set anew.
    pub(crate) const fn is_full_of_restated(&self) -> bool {
        self.restated.len() >= RECORDS_MAX
    }

    /// Notes that the journal holds anew what it lost of these commits.
    pub(crate) fn on_restated(&mut self, commits: Range<CommitNumber>) {
        self.restated.push(commits);
    }

    /// Everything that is lost.
    pub(crate) fn all(&self) -> Vec<LostState> {
        self.recorded.iter().chain(&self.found).cloned().collect()
    }

    /// Takes up the records that the state holds.
    pub(crate) fn take_up(&mut self, state: &impl StateStore) -> Result<(), StateError> {
        let owner = cleaning::owner();
        let corrupt = |_| StateError::Corrupt { owner: owner.clone() };
        let rows = state.scan(&owner, &[KEY_LOST])?;
        let records = rows.into_iter().map(|(key, value)| read(key, value).map_err(corrupt));
        self.recorded = records.collect::<Result<_, _>>()?;
        let rows = state.scan(&owner, &[KEY_RESTATED])?;
        let restated = rows.into_iter().map(|(key, value)| read_restated(key, value));
        self.restated = restated.map(|of| of.map_err(corrupt)).collect::<Result<_, _>>()?;
        let found = std::mem::take(&mut self.found);
        self.found = found.into_iter().filter(|of| !self.knows(of.from, of.until)).collect();
        Ok(())
    }

    /// Notes that changes in `from..until` are lost. Storage's own owners can do without: streams
    /// begin again in the new life, and starts of partitions only fall back to what is kept.
    pub(crate) fn find(&mut self, from: CommitNumber, until: CommitNumber) {
        debug_assert!(from < until, "a loss is of one commit at least");
        let is_full = self.recorded.len() + self.found.len() >= RECORDS_MAX;
        match self.found.last_mut() {
            Some(last) if is_full => last.until = last.until.max(until),
            Some(_) | None => {
                let accepted = [cleaning::owner(), streams_owner()].into();
                self.found.push(LostState { from, until, accepted });
            }
        }
    }

    /// Lets an owner accept everything that is lost.
    pub(crate) fn accept(&mut self, owner: &StateOwner) {
        for lost in self.recorded.iter_mut().chain(&mut self.found) {
            lost.accepted.insert(owner.clone());
        }
    }

    /// The changes of state that make the journal hold what is known now.
    pub(crate) fn changes(&self) -> Vec<StateChange> {
        self.recorded.iter().chain(&self.found).map(change).collect()
    }

    /// Notes that the journal holds what is known now.
    pub(crate) fn on_recorded(&mut self) {
        let found = std::mem::take(&mut self.found);
        self.recorded.retain(|lost| found.iter().all(|found| found.from != lost.from));
        self.recorded.extend(found);
        self.recorded.sort_by_key(|lost| lost.from);
    }

    /// The first loss because of which a value of an owner may be outdated that was set by `newest`
    /// last, `None` when that is not known.
    pub(crate) fn doubts(
        &self,
        owner: &StateOwner,
        newest: Option<CommitNumber>,
    ) -> Option<StateError> {
        let is_doubtful = |lost: &&LostState| {
            newest.is_none_or(|newest| newest < lost.until) && !lost.accepted.contains(owner)
        };
        let lost = self.recorded.iter().chain(&self.found).find(is_doubtful)?;
        let (owner, from, until) = (owner.clone(), lost.from, lost.until);
        Some(StateError::Lost { owner, from, until })
    }
}

/// The change of state that says that what was lost of commits is set anew in the same commit.
pub(crate) fn restated(commits: &Range<CommitNumber>) -> StateChange {
    let mut key = Writer::new();
    key.u8(KEY_RESTATED);
    key.u64(commits.start.get());
    let mut value = Writer::new();
    value.u8(VERSION);
    value.u64(commits.end.get());
    let (owner, key) = (cleaning::owner(), key.finish());
    StateChange { owner, key, value: Some(value.finish()) }
}

fn read_restated(key: Bytes, value: Bytes) -> Result<Range<CommitNumber>, CodecError> {
    let mut key = Reader::new(key);
    key.u8("kind of key")?;
    let from = CommitNumber::new(key.u64("lost from")?);
    key.end()?;
    let mut value = Reader::new(value);
    let version = value.u8("version of what is set anew")?;
    if version != VERSION {
        let (field, found) = ("version of what is set anew", i64::from(version));
        return Err(CodecError::Value { field, at: 0, found, expected: "1" });
    }
    let until = CommitNumber::new(value.u64("lost until")?);
    value.end()?;
    Ok(from..until)
}

fn change(lost: &LostState) -> StateChange {
    let LostState { from, until, accepted } = lost;
    let mut key = Writer::new();
    key.u8(KEY_LOST);
    key.u64(from.get());
    let mut value = Writer::new();
    value.u8(VERSION);
    value.u64(until.get());
    value.length(accepted.len());
    accepted.iter().for_each(|owner| value.name(owner.as_str()));
    let (owner, key) = (cleaning::owner(), key.finish());
    StateChange { owner, key, value: Some(value.finish()) }
}

fn read(key: Bytes, value: Bytes) -> Result<LostState, CodecError> {
    let mut key = Reader::new(key);
    key.u8("kind of key")?;
    let from = CommitNumber::new(key.u64("lost from")?);
    key.end()?;
    let mut value = Reader::new(value);
    let version = value.u8("version of a loss")?;
    if version != VERSION {
        let (field, found) = ("version of a loss", i64::from(version));
        return Err(CodecError::Value { field, at: 0, found, expected: "1" });
    }
    let until = CommitNumber::new(value.u64("lost until")?);
    let count = value.length("owners", value.remaining())?;
    let accepted = (0..count).map(|_| value.name("owner")).collect::<Result<_, _>>()?;
    value.end()?;
    Ok(LostState { from, until, accepted })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::state::{MemoryState, StateCache};

    fn owner(name: &str) -> StateOwner {
        StateOwner::new(name).unwrap()
    }

    fn commit(number: u64) -> CommitNumber {
        CommitNumber::new(number)
    }

    fn is_doubted(losses: &Losses, name: &str, newest: Option<u64>) -> bool {
        losses.doubts(&owner(name), newest.map(commit)).is_some()
    }

    #[test]
    fn only_a_value_set_behind_the_loss_is_certain() {
        let mut losses = Losses::default();
        losses.find(commit(5), commit(7));

        let doubted = [None, Some(4), Some(6), Some(7)].map(|n| is_doubted(&losses, "a", n));

        assert_eq!(doubted, [true, true, true, false]);
    }

    #[test]
    fn an_owner_that_accepts_reads_on_and_others_do_not() {
        let mut losses = Losses::default();
        losses.find(commit(5), commit(6));

        losses.accept(&owner("a"));

        assert!(!is_doubted(&losses, "a", None) && is_doubted(&losses, "b", None));
        assert!(!is_doubted(&losses, "streams", None) && !is_doubted(&losses, "log", None));
    }

    #[test]
    fn a_loss_above_the_limit_widens_the_one_before_it() {
        let mut losses = Losses::default();

        (0..100).for_each(|n| losses.find(commit(2 * n + 1), commit(2 * n + 2)));

        let all = losses.all();
        assert_eq!(all.len(), RECORDS_MAX);
        assert_eq!(
            all.last().map(|last| (last.from, last.until)),
            Some((commit(127), commit(200)))
        );
    }

    #[test]
    fn what_is_recorded_is_known_again_and_no_more_is_found() {
        let mut losses = Losses::default();
        losses.find(commit(5), commit(7));
        let mut state = MemoryState::default();
        state.apply(commit(9), &losses.changes()).unwrap();

        losses.take_up(&state).unwrap();

        assert!(!losses.has_found() && losses.knows(commit(5), commit(7)));
        assert!(!losses.knows(commit(5), commit(8)));
    }

    proptest! {
        #[test]
        fn read_of_a_change_is_the_same_loss(
            from: u64, until: u64, names in prop::collection::btree_set("[a-z]{1,9}", 0..4),
        ) {
            let accepted = names.iter().map(|name| owner(name)).collect();
            let lost = LostState { from: commit(from), until: commit(until), accepted };

            let StateChange { key, value, .. } = change(&lost);

            prop_assert_eq!(read(key, value.unwrap()), Ok(lost));
        }
    }
}
