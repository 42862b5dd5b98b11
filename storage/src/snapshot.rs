//! Snapshots of operators' state: what makes a restart replay the end of the journal only.
//!
//! What an operator keeps in memory is a function of the journal's commits, in order. A snapshot is
//! that state as of one commit, in bytes that only its owner understands. Two are kept of each
//! owner, so that a damaged one costs a longer replay and nothing else; a new one takes the place
//! of the older. None ever stands in for the journal.
//!
//! ```text
//! OWNER.SLOT.snapshot, slot 0 or 1:
//!   magic "HLDSNAP\n" │ version u16 1 │ reserved u16 0 │ incarnation { counter u32, nonce u64 }
//!   │ commit u64 │ owner u8 length + name │ state u32 length + bytes │ crc u32 of all before
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use headland_event::codec::{Reader, Writer};
use headland_event::{ByteCount, CommitNumber, Incarnation};

/// When the next one is due.
mod pace;

pub use pace::SnapshotPace;

use crate::commit::StateOwner;
use crate::fault::Fault;
use crate::frame::check_crc;
use crate::group::byte_count;
use crate::medium::{Medium, MediumError};

const MAGIC: [u8; 8] = *b"HLDSNAP\n";
const SNAPSHOT_VERSION: u16 = 1;
const NAME_SUFFIX: &str = ".snapshot";

/// Largest state of one owner: it is held in memory whole, while it is written and when it is read.
const STATE_BYTES_LIMIT: ByteCount = ByteCount::mebibytes(256);

/// An operator's state as of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last commit that the state takes into account; replay goes on behind it.
    pub at: CommitNumber,
    /// The state, in the owner's own layout.
    pub state: Bytes,
}

/// A snapshot that was not saved. The ones before it are still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The state is above the limit.
    #[error("the state of {owner} takes {found}, the limit of a snapshot is {limit}")]
    TooLarge {
        /// Whose state it is.
        owner: StateOwner,
        /// Its bytes.
        found: ByteCount,
        /// The limit.
        limit: ByteCount,
    },
    /// The medium failed.
    #[error("a snapshot could not be written or read")]
    Medium(#[from] MediumError),
}

impl SnapshotError {
    /// Whether the same snapshot could be saved later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::TooLarge { .. } => false,
            Self::Medium(_) => true,
        }
    }
}

/// One of the two places that an owner's snapshots take turns in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    First,
    Second,
}

impl Slot {
    const BOTH: [Self; 2] = [Self::First, Self::Second];

    const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    fn file_name(self, owner: &StateOwner) -> String {
        let digit = match self {
            Self::First => 0,
            Self::Second => 1,
        };
        format!("{owner}.{digit}{NAME_SUFFIX}")
    }
}

/// Whose snapshot a file holds, and in which slot; `None` for any other file.
fn parse_name(name: &str) -> Option<(StateOwner, Slot)> {
    let (owner, digit) = name.strip_suffix(NAME_SUFFIX)?.rsplit_once('.')?;
    let slot = match digit {
        "0" => Slot::First,
        "1" => Slot::Second,
        _ => return None,
    };
    Some((StateOwner::new(owner).ok()?, slot))
}

/// Whether a file of a data directory holds a snapshot.
#[cfg(feature = "disk")]
pub(crate) fn is_snapshot(name: &str) -> bool {
    parse_name(name).is_some()
}

/// The snapshots of one data directory. Clones share them; any thread may save or read.
#[derive(Debug, Clone)]
pub struct SnapshotStore<M>(Arc<Mutex<Kept<M>>>);

#[derive(Debug)]
struct Kept<M> {
    medium: M,
    incarnation: Incarnation,
    /// Whole snapshots of each owner, at most one in each slot.
    owners: BTreeMap<StateOwner, BTreeMap<Slot, CommitNumber>>,
}

/// Snapshots of commits that the journal lost: the evidence that it did.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// The highest of the commits; `None` when there are none.
    pub(crate) commit: Option<CommitNumber>,
    names: Vec<String>,
}

impl Ahead {
    /// Removes the snapshots, durably.
    pub(crate) fn remove<M: Medium>(self, medium: &mut M) -> Result<(), MediumError> {
        if self.names.is_empty() {
            return Ok(());
        }
        for name in self.names {
            medium.remove(&name)?;
        }
        medium.sync_names()
    }
}

impl<M: Medium> SnapshotStore<M> {
    /// Finds what is whole, and removes what is not.
    ///
    /// What names a commit after `last` is returned, and stays until [`Self::begin_life`]. Cost:
    /// reads every snapshot once.
    pub(crate) fn open(
        medium: M,
        incarnation: Incarnation,
        last: CommitNumber,
    ) -> Result<(Self, Ahead), MediumError> {
        let mut kept = Kept { medium, incarnation, owners: BTreeMap::new() };
        let mut ahead = Ahead::default();
        for name in kept.medium.list()? {
            let Some((owner, slot)) = parse_name(&name) else { continue };
            match kept.read(&owner, slot)? {
                Some(snapshot) if snapshot.at <= last => {
                    kept.owners.entry(owner).or_default().insert(slot, snapshot.at);
                }
                Some(snapshot) => {
                    ahead.commit = ahead.commit.max(Some(snapshot.at));
                    ahead.names.push(name);
                }
                None => kept.medium.remove(&name)?,
            }
        }
        Ok((Self(Arc::new(Mutex::new(kept))), ahead))
    }

    /// Saves an owner's state as of a durable commit, in place of the older of its two snapshots.
    ///
    /// A state that is not newer than the latest one is not saved again. Cost: one file written,
    /// two barriers.
    ///
    /// # Errors
    /// [`SnapshotError`]; what was saved before is still there.
    pub fn save(
        &self,
        owner: &StateOwner,
        at: CommitNumber,
        state: &[u8],
    ) -> Result<(), SnapshotError> {
        let (found, limit) = (byte_count(state.len()), STATE_BYTES_LIMIT);
        if found > limit {
            return Err(SnapshotError::TooLarge { owner: owner.clone(), found, limit });
        }
        let mut kept = self.lock();
        let latest = kept.slots(owner).first().copied();
        if latest.is_some_and(|(_, latest)| at <= latest) {
            return Ok(());
        }
        let slot = latest.map_or(Slot::First, |(slot, _)| slot.other());
        let content = encode(owner, kept.incarnation, at, state);
        kept.medium.replace(&slot.file_name(owner), &content)?;
        kept.owners.entry(owner.clone()).or_default().insert(slot, at);
        debug_assert!(kept.slots(owner).first() == Some(&(slot, at)), "the newest comes first");
        Ok(())
    }

    /// The latest snapshot of an owner that is whole, `None` when there is none.
    ///
    /// # Errors
    /// [`SnapshotError`] when the medium fails.
    pub fn latest(&self, owner: &StateOwner) -> Result<Option<Snapshot>, SnapshotError> {
        let kept = self.lock();
        for (slot, _) in kept.slots(owner) {
            if let Some(snapshot) = kept.read(owner, slot)? {
                return Ok(Some(snapshot));
            }
        }
        Ok(None)
    }

    /// The older snapshot of an owner: for when it does not understand the latest one.
    ///
    /// # Errors
    /// [`SnapshotError`] when the medium fails.
    pub fn older(&self, owner: &StateOwner) -> Result<Option<Snapshot>, SnapshotError> {
        let kept = self.lock();
        match kept.slots(owner).get(1) {
            Some((slot, _)) => Ok(kept.read(owner, *slot)?),
            None => Ok(None),
        }
    }

    /// Every snapshot of an owner that is whole, the newest first: a node takes up the first that
    /// it understands.
    ///
    /// # Errors
    /// [`SnapshotError`] when the medium fails.
    pub fn newest_first(&self, owner: &StateOwner) -> Result<Vec<Snapshot>, SnapshotError> {
        let kept = self.lock();
        let read = kept.slots(owner).into_iter().map(|(slot, _)| kept.read(owner, slot));
        Ok(read.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// The commit after which cleaning has to leave everything alone: some owner's older snapshot
    /// goes on from there. 0 while an owner has only one, or one of `operators` none; `None` when
    /// nobody has any.
    #[must_use]
    pub fn oldest_needed(&self, operators: &[StateOwner]) -> Option<CommitNumber> {
        let kept = self.lock();
        let older = |owner| kept.slots(owner).get(1).map_or_else(Default::default, |(_, at)| *at);
        kept.owners.keys().chain(operators).map(older).min()
    }

    /// Goes on in a new life, which is durable: only now the evidence for it may go.
    ///
    /// It goes durably, before a commit gets the number of one that was lost.
    pub(crate) fn begin_life(
        &self,
        incarnation: Incarnation,
        ahead: Ahead,
    ) -> Result<(), MediumError> {
        let mut kept = self.lock();
        kept.incarnation = incarnation;
        ahead.remove(&mut kept.medium)
    }

    fn lock(&self) -> MutexGuard<'_, Kept<M>> {
        // Each change is one call after the medium's, so a panic elsewhere leaves nothing half
        // done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Medium> Kept<M> {
    /// The slots of an owner that hold a snapshot, the latest first.
    fn slots(&self, owner: &StateOwner) -> Vec<(Slot, CommitNumber)> {
        let held = self.owners.get(owner);
        let mut slots: Vec<_> =
            Slot::BOTH.into_iter().filter_map(|slot| Some((slot, *held?.get(&slot)?))).collect();
        slots.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
        slots
    }

    /// A snapshot, `None` unless it is whole and this owner's.
    fn read(&self, owner: &StateOwner, slot: Slot) -> Result<Option<Snapshot>, MediumError> {
        let content = self.medium.load(&slot.file_name(owner))?;
        let decoded = content.and_then(|content| decode(content).ok());
        Ok(decoded.filter(|(found, _)| found == owner).map(|(_, snapshot)| snapshot))
    }
}

fn encode(owner: &StateOwner, incarnation: Incarnation, at: CommitNumber, state: &[u8]) -> Bytes {
    let mut writer = Writer::new();
    writer.raw(&MAGIC);
    writer.u16(SNAPSHOT_VERSION);
    writer.u16(0);
    writer.incarnation(incarnation);
    writer.u64(at.get());
    writer.name(owner.as_str());
    writer.bytes(state);
    writer.u32(crc32c::crc32c(writer.as_slice()));
    writer.finish()
}

fn decode(content: Bytes) -> Result<(StateOwner, Snapshot), Fault> {
    check_crc("snapshot", &content)?;
    let mut reader = Reader::new(content);
    if *reader.take("snapshot magic", MAGIC.len())? != MAGIC {
        return Err(Fault::Magic);
    }
    let found = reader.u16("snapshot version")?;
    if found != SNAPSHOT_VERSION {
        let (field, expected) = ("snapshot version", SNAPSHOT_VERSION);
        return Err(Fault::Version { field, found, expected });
    }
    reader.u16("reserved")?;
    reader.incarnation("incarnation")?;
    let at = CommitNumber::new(reader.u64("commit")?);
    let owner = reader.name("owner")?;
    let state = reader.bytes("state", STATE_BYTES_LIMIT.as_len())?;
    Ok((owner, Snapshot { at, state }))
}

#[cfg(test)]
mod tests;
