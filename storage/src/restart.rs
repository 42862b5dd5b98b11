//! Takes a node through its log at a start, past damage, and keeps what is known to be missing.
//!
//! A damaged commit must not stop a node that could serve all the rest. So what is left of it is
//! fed as one commit, the replay goes on behind it, and what is gone is named: first by commits,
//! and as far as reads of partitions still can tell it also by offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};

use headland_event::{ByteCount, CommitNumber, Entry, Offset, TopicName, TopicPartition};

use crate::commit::{StateOwner, StoredCommit};
use crate::log::{LogReader, LostParts, QuarantinedCommits, ReadError, Replayed};
use crate::state::StateError;

/// What a node tells its operators of it.
mod alerts;

/// Bytes of the journal replayed at once: a few frames, and little beside a node's memory.
const REPLAY_BYTES: ByteCount = ByteCount::mebibytes(4);

/// Ranges that are kept one by one. More damage than that is a disk to replace, and whoever needs
/// the whole list verifies the directory; further ranges are counted.
const RANGES_MAX: usize = 1_024;

/// Commits of which a part is gone; what was left of them was fed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingCommits {
    /// Name of the file they stand in.
    pub file: String,
    /// Number of the first one.
    pub from: CommitNumber,
    /// Number after the last one.
    pub until: CommitNumber,
    /// How much is gone.
    pub lost: LostParts,
}

/// Offsets of a partition whose records are damaged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingOffsets {
    /// The partition.
    pub partition: TopicPartition,
    /// The first one.
    pub from: Offset,
    /// The one after the last. At the end of a partition it is the highest possible: nobody knows
    /// how many records a damaged entry held, or whether it was of this partition at all.
    pub until: Offset,
}

/// What a node knows to be missing from its log, since it was started.
///
/// It grows by what a start found and by what reads find later; the same damage counts once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    commits: Vec<MissingCommits>,
    offsets: BTreeSet<MissingOffsets>,
    /// Ranges beyond those that are kept.
    more: u64,
    beginnings: Vec<(TopicPartition, Offset)>,
}

impl Missing {
    /// Commits of which a part is gone: as the start found them, then as a scrub did.
    #[must_use]
    pub fn commits(&self) -> &[MissingCommits] {
        &self.commits
    }

    /// Offsets that are gone, by partition and in their order; at most 1,024 ranges.
    pub fn offsets(&self) -> impl Iterator<Item = &MissingOffsets> {
        self.offsets.iter()
    }

    /// How many records of each topic are gone, of the ranges that are listed.
    #[must_use]
    pub fn records(&self) -> BTreeMap<TopicName, u64> {
        let mut records: BTreeMap<TopicName, u64> = BTreeMap::new();
        for MissingOffsets { partition, from, until } in &self.offsets {
            let count = records.entry(partition.topic.clone()).or_default();
            *count = count.saturating_add(until.since(*from));
        }
        records
    }

    /// Partitions of which a replay from the first commit did not get the beginning, because it
    /// was cleaned away, with the first offset that it got. None when it began later: then there
    /// is a snapshot of what was before.
    #[must_use]
    pub fn beginnings(&self) -> &[(TopicPartition, Offset)] {
        &self.beginnings
    }

    /// Whether nothing is known to be damaged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.offsets.is_empty()
    }

    /// Ranges that were found beyond those listed.
    #[must_use]
    pub const fn unlisted(&self) -> u64 {
        self.more
    }

    /// Takes note of commits that were found damaged after the start; returns whether that is news.
    /// What the start found is known by the same numbers.
    pub fn add_commits(&mut self, commits: MissingCommits) -> bool {
        let is_same =
            |known: &MissingCommits| (known.from, known.until) == (commits.from, commits.until);
        if self.commits.iter().any(is_same) {
            return false;
        }
        if self.commits.len() >= RANGES_MAX {
            self.more = self.more.saturating_add(1);
            return false;
        }
        self.commits.push(commits);
        true
    }

    /// Takes note of offsets that a read found damaged; returns whether that is news. A part of
    /// what is known is none, unless that has no end: then it is known now how much it is.
    pub fn add(&mut self, offsets: MissingOffsets) -> bool {
        debug_assert!(offsets.from < offsets.until, "a range that is missing is not empty");
        let holds = |outer: &MissingOffsets, inner: &MissingOffsets| {
            let is_within = outer.from <= inner.from && inner.until <= outer.until;
            is_within && outer.partition == inner.partition
        };
        let is_open = |known: &MissingOffsets| known.until == Offset::new(u64::MAX);
        let is_known =
            |known: &MissingOffsets| *known == offsets || !is_open(known) && holds(known, &offsets);
        if self.offsets.iter().any(is_known) {
            return false;
        }
        self.offsets.retain(|known| !holds(&offsets, known));
        if self.offsets.len() >= RANGES_MAX {
            self.more = self.more.saturating_add(1);
            return false;
        }
        self.offsets.insert(offsets)
    }

    /// Offsets are read again, since what was lost came back. What is left of ranges around them
    /// stays; beyond the ranges that are kept it is counted only.
    pub fn mend(&mut self, partition: &TopicPartition, held: Range<Offset>) {
        let is_its = |lost: &MissingOffsets| {
            lost.partition == *partition && lost.from < held.end && held.start < lost.until
        };
        let cut: Vec<MissingOffsets> =
            self.offsets.iter().filter(|of| is_its(of)).cloned().collect();
        for lost in cut {
            self.offsets.remove(&lost);
            let before = MissingOffsets { until: held.start, ..lost.clone() };
            let behind = MissingOffsets { from: held.end, ..lost };
            for left in [before, behind] {
                if left.from < left.until {
                    self.add(left);
                }
            }
        }
    }
}

/// Feeds every commit numbered `from` or later to `take`, in order; of damaged ones what is left,
/// as one commit with the number of the first. Returns what is missing.
///
/// Changes of state in what is fed are those that are left, and say nothing of what the store
/// makes of the loss: see [`crate::StateError::Lost`]. Cost: reads the journal once from there on,
/// and for each damaged place a block of every partition.
///
/// # Errors
/// [`ReadError`] when the medium fails; never because of damage to commits.
pub fn replay_past_damage(
    reader: &impl LogReader,
    from: CommitNumber,
    mut take: impl FnMut(StoredCommit),
) -> Result<Missing, ReadError> {
    let mut missing = Missing::default();
    let mut suspects = Suspects::default();
    let mut first: BTreeMap<TopicPartition, Offset> = BTreeMap::new();
    let mut take = |commit: StoredCommit| {
        for (partition, entry) in &commit.entries {
            if !first.contains_key(partition) {
                first.insert(partition.clone(), entry.base);
            }
        }
        take(commit);
    };
    let mut next = from;
    while next <= reader.last_commit() {
        match reader.replay(next, REPLAY_BYTES) {
            Ok(Replayed { commits, next: behind }) => {
                next = behind;
                for commit in commits {
                    suspects.on_whole(&commit.entries);
                    take(commit);
                }
            }
            Err(ReadError::QuarantinedCommits(left)) => {
                let QuarantinedCommits { file, from, until, entries, state, lost } = *left;
                debug_assert!(next < until, "a replay goes on behind damage");
                next = until;
                suspects.on_damaged(&entries);
                missing.commits.push(MissingCommits { file, from, until, lost });
                take(StoredCommit { number: from, entries, state });
            }
            Err(error) => return Err(error),
        }
    }
    suspects.end(reader);
    // What was lost in files that the replay began behind.
    suspects.add_known(reader);
    while let Some((partition, at)) = suspects.take() {
        if let Some(lost) = lost_around(reader, &partition, at)? {
            missing.add(lost);
        }
    }
    if from <= CommitNumber::new(1) {
        missing.beginnings = cleaned(reader, &first);
    }
    Ok(missing)
}

/// The damaged range that holds an offset; `None` when a record is there, or it was cleaned away.
///
/// A read names what is lost from where it was asked to begin, and no more than one block of it
/// where all of a block is lost. So it is asked from further and further before, until an entry
/// stands between there and the damage, and then behind it until one follows.
///
/// # Errors
/// [`ReadError`] when the medium fails.
pub fn lost_around(
    reader: &impl LogReader,
    partition: &TopicPartition,
    at: Offset,
) -> Result<Option<MissingOffsets>, ReadError> {
    let start = reader.start(partition);
    let (mut begin, mut step) = (at, 1);
    let mut lost = loop {
        match lost_after(reader, partition, begin, at)? {
            Some(lost) if lost.from <= begin && begin > start => {
                let before = lost.from.get().saturating_sub(step);
                begin = Offset::new(before).max(start);
                step = step.saturating_mul(2);
            }
            Some(lost) => break lost,
            None => return Ok(None),
        }
    };
    loop {
        match reader.read(partition, lost.until, ByteCount::new(1)) {
            Err(ReadError::Quarantined { until, .. }) if until > lost.until => lost.until = until,
            Ok(_) | Err(ReadError::Quarantined { .. }) => return Ok(Some(lost)),
            Err(error) => return Err(error),
        }
    }
}

/// Whether readers get every one of these offsets.
pub(crate) fn is_whole(
    reader: &impl LogReader,
    partition: &TopicPartition,
    offsets: Range<Offset>,
) -> Result<bool, ReadError> {
    let mut next = offsets.start;
    while next < offsets.end {
        match reader.read(partition, next, ByteCount::new(1)) {
            Ok(entries) => match (entries.first(), entries.last()) {
                (Some(first), Some(last)) if first.base <= next => next = last.end(),
                _ => return Ok(false),
            },
            Err(ReadError::Quarantined { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The damaged range that holds `at`, read from `next` on.
fn lost_after(
    reader: &impl LogReader,
    partition: &TopicPartition,
    mut next: Offset,
    at: Offset,
) -> Result<Option<MissingOffsets>, ReadError> {
    // Where the damage began that the last read met.
    let mut begun = None;
    while next <= at {
        match reader.read(partition, next, ByteCount::new(1)) {
            Ok(entries) => match entries.last() {
                Some(last) => (begun, next) = (None, last.end()),
                None => return Ok(None),
            },
            Err(ReadError::Quarantined { partition, from, until }) => {
                let from = begun.unwrap_or(from);
                if until > at {
                    return Ok((from <= at).then_some(MissingOffsets { partition, from, until }));
                }
                (begun, next) = (Some(from), until);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Partitions that do not begin at 0 since they were cleaned. Where they start says little alone:
/// until files are removed, what lies before it is replayed.
fn cleaned(
    reader: &impl LogReader,
    first: &BTreeMap<TopicPartition, Offset>,
) -> Vec<(TopicPartition, Offset)> {
    let was_cleaned = |partition: &TopicPartition| reader.start(partition) > Offset::new(0);
    let found = reader.partitions().into_iter().filter(was_cleaned).map(|partition| {
        let first = first.get(&partition).copied();
        let first = first.unwrap_or_else(|| reader.end(&partition));
        (partition, first)
    });
    found.filter(|(_, first)| *first > Offset::new(0)).collect()
}

/// Places that damage may have reached: a damaged commit does not say which partitions it held, so
/// in each of them the record before the first one that follows is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Suspects {
    places: BTreeSet<(TopicPartition, Offset)>,
    /// Partitions that were met since the last damaged commit; `None` before the first one.
    met: Option<BTreeSet<TopicPartition>>,
}

impl Suspects {
    pub(crate) fn on_whole(&mut self, entries: &[(TopicPartition, Entry)]) {
        let Some(met) = &mut self.met else { return };
        for (partition, entry) in entries {
            if !met.contains(partition) {
                met.insert(partition.clone());
                self.places.extend(before(partition, entry));
            }
        }
    }

    pub(crate) fn on_damaged(&mut self, left: &[(TopicPartition, Entry)]) {
        self.met = Some(BTreeSet::new());
        self.places.extend(left.iter().filter_map(|(partition, entry)| before(partition, entry)));
    }

    /// Whether damage was met, so that what follows it in each partition is looked for.
    pub(crate) const fn is_looking(&self) -> bool {
        self.met.is_some()
    }

    /// Adds what the log knows to be lost and has not cleaned away.
    fn add_known(&mut self, reader: &impl LogReader) {
        for partition in reader.partitions() {
            let (start, lost) = (reader.start(&partition), reader.lost(&partition));
            let last = lost.into_iter().filter(|lost| start < lost.end).filter_map(|lost| {
                Some((partition.clone(), Offset::new(lost.end.get().checked_sub(1)?)))
            });
            self.places.extend(last);
        }
    }

    /// Takes out a place to look at, `None` when there is none at present.
    pub(crate) fn take(&mut self) -> Option<(TopicPartition, Offset)> {
        self.places.pop_first()
    }

    /// Whether there are places to look at.
    pub(crate) fn has_places(&self) -> bool {
        !self.places.is_empty()
    }

    /// Nothing was written since to partitions that were not met: adds their ends.
    pub(crate) fn end(&mut self, reader: &impl LogReader) {
        self.end_with(reader, |_| None);
    }

    /// Adds of the partitions that were not met what lies before the first entry behind a place
    /// that all commits since the damage stand before, and their ends where there is none.
    pub(crate) fn end_with(
        &mut self,
        reader: &impl LogReader,
        first: impl Fn(&TopicPartition) -> Option<Offset>,
    ) {
        let Some(met) = self.met.take() else { return };
        let quiet = reader.partitions().into_iter().filter(|partition| !met.contains(partition));
        self.places.extend(quiet.filter_map(|partition| {
            let next = first(&partition).unwrap_or_else(|| reader.end(&partition));
            Some((partition, Offset::new(next.get().checked_sub(1)?)))
        }));
    }
}

/// Damage took changes of state, and nobody has decided to go on without them
/// ([`crate::Store::accept_loss`]). Trying again changes nothing.
#[derive(Debug, thiserror::Error)]
#[error(
    "damage to {data_dir} took changes of state, maybe of {owner}; to go on with what is left \
     of it run: headland store accept-loss {data_dir}"
)]
pub struct UndecidedLoss {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Whose state it may be.
    pub owner: StateOwner,
    source: Box<dyn Error + Send + Sync>,
}

impl UndecidedLoss {
    /// The loss that kept a node from starting, when that is what its error comes from.
    ///
    /// # Errors
    /// The error itself when it comes from something else.
    pub fn behind<E: Error + Send + Sync + 'static>(data_dir: &Path, error: E) -> Result<Self, E> {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(found) = cause {
            if let Some(StateError::Lost { owner, .. }) = found.downcast_ref() {
                let (data_dir, owner) = (data_dir.to_owned(), owner.clone());
                return Ok(Self { data_dir, owner, source: Box::new(error) });
            }
            cause = found.source();
        }
        Err(error)
    }
}

fn before(partition: &TopicPartition, entry: &Entry) -> Option<(TopicPartition, Offset)> {
    let last = entry.base.get().checked_sub(1)?;
    Some((partition.clone(), Offset::new(last)))
}

#[cfg(test)]
mod tests;
