//! Where commits and offsets are: shared between the writer and its readers.
//!
//! The journal is a row of closed files and the open one behind them. A closed file never changes;
//! cleaning puts another in its place, which holds the same offsets and commit numbers or fewer.
//! Each file knows which offsets of which partitions it holds; [`crate::points`] tell where.
//! Readers hold offsets and commit numbers, never positions.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use headland_event::{CommitNumber, Offset, TopicPartition};

use crate::chain::{Chain, Hole, HoleCause, Member};
use crate::fault::Fault;
use crate::points::{self, CommitPoint, EntryPlace, EntryPoint, Points, Seek};
use crate::summary::{PointCodec, ShareSummary, Summary};

/// One file of the journal.
mod segment;
/// What a file written anew makes of offsets that were lost.
mod mend;
/// Where partitions start.
mod starts;

pub(crate) use mend::{LostPlace, Mend, is_within};
pub(crate) use segment::{Segment, Share, Span};
pub(crate) use starts::HeldBytes;

/// A partition's place in the index; kept as long as the index lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartitionId(u32);

impl PartitionId {
    /// The id as an index into a row per partition.
    pub(crate) const fn as_index(self) -> usize {
        // No platform that Rust's standard library supports here has less than 32 bits.
        self.0 as usize
    }
}

/// What a file of the chain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// Written by appending: commit numbers and offsets have no gaps.
    Journal,
    /// Written by cleaning: what is left of files before, with gaps.
    Cold,
}

/// A file as a reader needs it, up to a committed end. Clones are cheap.
#[derive(Debug, Clone)]
pub(crate) struct Source<F> {
    pub(crate) file: F,
    pub(crate) name: Arc<str>,
    pub(crate) nonce: u64,
    pub(crate) kind: FileKind,
    /// Position after its last committed frame.
    pub(crate) end: u64,
}

/// What lies between the entries of a partition in one file and in the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// No offsets.
    Nothing,
    /// Offsets that were cleaned away.
    Cleaned {
        /// The first of them: where the entries in the files before end.
        from: Offset,
    },
    /// Offsets that were lost, some of them at least.
    Lost,
}

/// Entries of one partition in one block of a file.
///
/// The entry at `place` is the first one. Others of the partition follow behind it in the same
/// frame and in later ones; those whose part starts at or after `until` belong to later stretches.
#[derive(Debug, Clone)]
pub(crate) struct Stretch<F> {
    pub(crate) source: Source<F>,
    /// Base offset of the first entry.
    pub(crate) base: Offset,
    /// What lies before it, if it is the first of the partition in its file.
    pub(crate) before: Before,
    pub(crate) place: EntryPlace,
    pub(crate) until: u64,
    /// Whether entries that are lost may lie between it and the stretch before, of which no point
    /// tells any more.
    pub(crate) is_behind_loss: bool,
}

/// Commits of one file from a frame on, up to the end of the source.
#[derive(Debug, Clone)]
pub(crate) struct CommitStretch<F> {
    pub(crate) source: Source<F>,
    /// Number of the first commit.
    pub(crate) commit: CommitNumber,
    /// Position of its frame.
    pub(crate) frame: u64,
    /// Number of the last commit in the file.
    pub(crate) last: CommitNumber,
}

#[derive(Debug, Clone)]
struct Partition {
    name: TopicPartition,
    /// Offset before which everything may be cleaned away; there may be entries before it yet.
    start: Offset,
    end: Offset,
    /// The files that hold entries of it: first offset there, key of the file.
    files: BTreeMap<Offset, CommitNumber>,
}

/// Where to find the points of one file; some may have to be read from its directory.
#[derive(Debug)]
pub(crate) struct Planned<F, P> {
    pub(crate) source: Source<F>,
    /// Number of the file's first commit.
    pub(crate) base: CommitNumber,
    /// Number of its last commit so far.
    pub(crate) last: CommitNumber,
    /// Base offset of its first entry of the partition, and what lies before that.
    pub(crate) first: Option<(Offset, Before)>,
    /// Whether some of it could not be read when it was opened.
    pub(crate) is_damaged: bool,
    pub(crate) points: Points<P>,
}

/// The index of a journal.
#[derive(Debug, Clone)]
pub(crate) struct Index<F> {
    ids: BTreeMap<TopicPartition, PartitionId>,
    partitions: Vec<Partition>,
    closed: BTreeMap<CommitNumber, Arc<Segment<F>>>,
    open: Option<Segment<F>>,
    lost: Vec<Hole>,
    /// Files of which some could not be read.
    damaged: Vec<CommitNumber>,
    /// Most records that a partition can have lost which no file tells of any more.
    lost_records: u64,
    /// How often what is lost was mended.
    mends: u64,
    last: CommitNumber,
}

impl<F: Clone> Index<F> {
    pub(crate) const fn new() -> Self {
        Self {
            ids: BTreeMap::new(),
            partitions: Vec::new(),
            closed: BTreeMap::new(),
            open: None,
            lost: Vec::new(),
            damaged: Vec::new(),
            lost_records: 0,
            mends: 0,
            last: CommitNumber::new(0),
        }
    }

    pub(crate) const fn last(&self) -> CommitNumber {
        self.last
    }

    pub(crate) fn end(&self, partition: &TopicPartition) -> Offset {
        self.partition(partition).map_or(Offset::new(0), |found| found.end)
    }

    /// Offset after a partition's last entry; before its end when what followed was cleaned away
    /// or is lost.
    pub(crate) fn held_end(&self, partition: &TopicPartition) -> Offset {
        let last = self.id(partition).and_then(|id| {
            let (_, key) = self.partitions.get(id.as_index())?.files.last_key_value()?;
            self.segment(*key)?.shares.get(&id).map(|share| share.end)
        });
        last.unwrap_or(Offset::new(0))
    }

    /// Offsets of a partition that are known to be lost, whatever the files still show.
    pub(crate) fn lost(&self, partition: &TopicPartition) -> Vec<Range<Offset>> {
        let lost = self.lost.iter().filter(|hole| hole.partition == *partition);
        lost.map(|hole| hole.from..hole.until).collect()
    }

    /// Every partition that ever held a record, in order.
    pub(crate) fn partitions(&self) -> Vec<TopicPartition> {
        let known = |id: &&PartitionId| self.end_of(**id) > Offset::new(0);
        let ids = self.ids.values().filter(known);
        ids.filter_map(|id| self.partitions.get(id.as_index())).map(|p| p.name.clone()).collect()
    }

    /// The id of a partition that has one.
    pub(crate) fn id(&self, partition: &TopicPartition) -> Option<PartitionId> {
        self.ids.get(partition).copied()
    }

    /// The id of a partition, which gets one if it has none.
    pub(crate) fn intern(&mut self, partition: &TopicPartition) -> PartitionId {
        if let Some(id) = self.id(partition) {
            return id;
        }
        #[expect(clippy::expect_used, reason = "every id stands for a name held in memory")]
        let id = u32::try_from(self.partitions.len()).expect("fewer than 2^32 partitions");
        let (start, end, files) = (Offset::new(0), Offset::new(0), BTreeMap::new());
        self.partitions.push(Partition { name: partition.clone(), start, end, files });
        self.ids.insert(partition.clone(), PartitionId(id));
        PartitionId(id)
    }

    /// The partition with an id of this index.
    pub(crate) fn name(&self, id: PartitionId) -> Option<&TopicPartition> {
        self.partitions.get(id.as_index()).map(|partition| &partition.name)
    }

    /// Offset after a partition's last record.
    pub(crate) fn end_of(&self, id: PartitionId) -> Offset {
        self.partitions.get(id.as_index()).map_or(Offset::new(0), |found| found.end)
    }

    fn partition(&self, partition: &TopicPartition) -> Option<&Partition> {
        self.partitions.get(self.id(partition)?.as_index())
    }

    /// The newest file.
    pub(crate) fn last_file(&self) -> Option<&F> {
        self.open.as_ref().map(|segment| &segment.source.file)
    }

    /// The newest file, as a chain would name it.
    pub(crate) fn newest(&self) -> Option<Member> {
        self.open.as_ref().map(Segment::member)
    }

    /// Notes that partitions may have lost so many records of which no file tells any more.
    pub(crate) const fn note_lost(&mut self, records: u64) {
        self.lost_records = self.lost_records.saturating_add(records);
    }

    /// Whether entries of a partition stand in a file behind the one called `key`.
    pub(crate) fn is_held_behind(&self, id: PartitionId, key: CommitNumber) -> bool {
        let files = self.partitions.get(id.as_index()).map(|partition| &partition.files);
        files.is_some_and(|files| files.last_key_value().is_some_and(|(_, held)| *held > key))
    }

    /// The key of the first file behind the one that holds a commit.
    pub(crate) fn next_file(&self, commit: CommitNumber) -> Option<CommitNumber> {
        let open = self.open.as_ref().map(|open| open.base);
        let behind = self.closed.range(commit.after(1)..).next().map(|(key, _)| *key);
        behind.or_else(|| open.filter(|base| *base > commit))
    }

    /// The first offset of a partition in the file with this key and those behind it.
    pub(crate) fn first_in(&self, key: CommitNumber, partition: &TopicPartition) -> Option<Offset> {
        let mut files = self.partition(partition)?.files.iter();
        files.find(|(_, held)| **held >= key).map(|(first, _)| *first)
    }

    /// Name of the newest file if it holds no commit: a chain written later does not name it.
    pub(crate) fn void_file(&self) -> Option<Arc<str>> {
        let open = self.open.as_ref().filter(|open| !open.has_commits());
        open.map(|open| Arc::clone(&open.source.name))
    }

    /// Takes in a closed file that stands behind the others.
    ///
    /// # Errors
    /// [`Fault::Mismatch`] when it holds offsets or commits that stand in files before it.
    pub(crate) fn adopt(&mut self, segment: Segment<F>) -> Result<(), Fault> {
        self.register(&segment)?;
        self.closed.insert(segment.base, Arc::new(segment));
        Ok(())
    }

    /// Takes in the newest file; the one that was newest is closed.
    ///
    /// # Errors
    /// [`Fault::Mismatch`] when it holds offsets or commits that stand in files before it.
    pub(crate) fn push(&mut self, segment: Segment<F>) -> Result<(), Fault> {
        self.register(&segment)?;
        let closed = self.open.replace(segment).filter(Segment::has_commits);
        if let Some(closed) = closed {
            self.closed.insert(closed.base, Arc::new(closed));
        }
        Ok(())
    }

    fn register(&mut self, segment: &Segment<F>) -> Result<(), Fault> {
        let (found, expected) = (segment.base.get(), self.last.after(1).get());
        if found < expected {
            return Err(Fault::Mismatch { field: "base commit", found, expected });
        }
        for (id, share) in &segment.shares {
            let Some(partition) = self.partitions.get_mut(id.as_index()) else { continue };
            if share.base < partition.end {
                let (found, expected) = (share.base.get(), partition.end.get());
                return Err(Fault::Mismatch { field: "base offset", found, expected });
            }
            let last = partition.files.last_key_value().map(|(_, key)| *key);
            let since = last.unwrap_or_default();
            let is_lost = segment.is_damaged || self.damaged.iter().any(|key| since <= *key);
            if is_lost && partition.end < share.base {
                let (from, until, cause) = (partition.end, share.base, HoleCause::Lost);
                let partition = partition.name.clone();
                self.lost.push(Hole { partition, from, until, cause });
            }
            partition.end = share.end;
            partition.files.insert(share.base, segment.base);
        }
        if segment.is_damaged {
            self.damaged.push(segment.base);
        }
        self.last = segment.last;
        Ok(())
    }

    /// Adds the next commit, which stands in the open file at `frame..end`.
    pub(crate) fn commit(
        &mut self,
        (frame, end): (u64, u64),
        spans: impl IntoIterator<Item = Span>,
    ) {
        self.last = self.last.after(1);
        let Self { open, partitions, last, .. } = self;
        let Some(open) = open else {
            debug_assert!(false, "a commit stands in a file");
            return;
        };
        let base = open.base;
        let spans = spans.into_iter().inspect(|span| {
            let Some(partition) = partitions.get_mut(span.partition.as_index()) else {
                debug_assert!(false, "the id of a span was given by this index");
                return;
            };
            debug_assert!(partition.end <= span.base, "offsets of a partition only grow");
            partition.end = span.end;
            if partition.files.last_key_value().is_none_or(|(_, key)| *key != base) {
                partition.files.insert(span.base, base);
            }
        });
        open.commit(*last, (frame, end), spans);
    }

    /// Moves the open file's end past a frame that holds no commit.
    pub(crate) fn extend(&mut self, end: u64) {
        if let Some(open) = &mut self.open {
            open.extend(end);
        }
    }

    /// Keeps offsets from ever being given again.
    pub(crate) fn keep_hole(&mut self, hole: Hole) {
        let id = self.intern(&hole.partition);
        if let Some(partition) = self.partitions.get_mut(id.as_index()) {
            partition.end = partition.end.max(hole.until);
        }
        if hole.cause == HoleCause::Cleaned {
            return;
        }
        match self.lost.iter_mut().find(|kept| kept.is_same_range(&hole)) {
            Some(kept) => kept.cause = kept.cause.max(hole.cause),
            None => self.lost.push(hole),
        }
    }

    /// What the journal is made of, as a file that is begun now has to say.
    pub(crate) fn chain(&self) -> Chain {
        let open = self.open.as_ref().filter(|open| open.has_commits());
        let closed = self.closed.values().map(|segment| &**segment);
        let files = closed.chain(open).map(Segment::member).collect();
        let mut holes = self.lost.clone();
        // Without these the end of a partition would go back once its last entries are cleaned.
        holes.extend(self.partitions.iter().filter_map(|partition| {
            let held = partition.files.last_key_value();
            let from = held.and_then(|(_, key)| {
                let id = self.id(&partition.name)?;
                Some(self.segment(*key)?.shares.get(&id)?.end)
            });
            let (from, until) = (from.unwrap_or(Offset::new(0)), partition.end);
            let is_named = self
                .lost
                .iter()
                .any(|hole| hole.until == until && hole.partition == partition.name);
            let (partition, cause) = (partition.name.clone(), HoleCause::Cleaned);
            (from < until && !is_named).then_some(Hole { partition, from, until, cause })
        }));
        Chain { files, holes }
    }

    /// Puts a file in the place of closed ones that follow each other, from the first to the last
    /// of the keys, or drops them; returns those that were there.
    ///
    /// # Panics
    /// When there is no such file, or the new one holds what they do not and what is not known to
    /// be lost: a reader would be shown something else than what was committed.
    pub(crate) fn replace(
        &mut self,
        keys: RangeInclusive<CommitNumber>,
        cold: Option<Segment<F>>,
    ) -> Vec<Arc<Segment<F>>> {
        let replaced: Vec<_> =
            self.closed.range(keys.clone()).map(|(_, s)| Arc::clone(s)).collect();
        let bounds = (replaced.first().map(|s| s.base), replaced.last().map(|s| s.base));
        assert!(bounds == (Some(*keys.start()), Some(*keys.end())), "closed files are replaced");
        if let Some(cold) = &cold {
            assert!(Some(cold.base) == bounds.0, "a cold file is called as the first it replaces");
            assert!(replaced.iter().any(|s| cold.last <= s.last), "its commits are theirs");
            for (id, share) in &cold.shares {
                let is_theirs = self.may_hold(&replaced, *id, &(share.base..share.end));
                assert!(is_theirs, "its offsets are theirs, or were lost");
            }
        }
        for segment in &replaced {
            self.closed.remove(&segment.base);
            for (id, share) in &segment.shares {
                if let Some(partition) = self.partitions.get_mut(id.as_index()) {
                    partition.files.remove(&share.base);
                }
            }
        }
        if let Some(cold) = cold {
            for (id, share) in &cold.shares {
                if let Some(partition) = self.partitions.get_mut(id.as_index()) {
                    partition.files.insert(share.base, cold.base);
                }
            }
            self.closed.insert(cold.base, Arc::new(cold));
        }
        replaced
    }

    /// The closed files, in the order of their commits.
    pub(crate) fn closed(&self) -> impl Iterator<Item = &Arc<Segment<F>>> {
        self.closed.values()
    }

    /// The closed file whose first commit has this number.
    pub(crate) fn closed_at(&self, base: CommitNumber) -> Option<&Segment<F>> {
        self.closed.get(&base).map(|segment| &**segment)
    }

    fn segment(&self, key: CommitNumber) -> Option<&Segment<F>> {
        let open = self.open.as_ref().filter(|open| open.base == key);
        open.or_else(|| self.closed.get(&key).map(|segment| &**segment))
    }

    /// The files with a partition's points to look into, in order, for up to `count` stretches.
    ///
    /// None when nothing is there to be found: at or after the end, or no record that late.
    pub(crate) fn plan(
        &self,
        partition: &TopicPartition,
        seek: Seek,
        count: usize,
    ) -> Vec<Planned<F, EntryPoint>> {
        let Some(id) = self.id(partition) else { return Vec::new() };
        let mut plan = Vec::new();
        let mut points_left = count;
        for (segment, share) in self.files_from(id, seek) {
            // Where a paged file is entered is not known yet: it counts as one stretch.
            let is_first = plan.is_empty();
            let points = match &share.points {
                Points::Paged(paged) => {
                    let found = if is_first { 1 } else { paged.length / EntryPoint::LEN };
                    points_left = points_left.saturating_sub(found);
                    Points::Paged(*paged)
                }
                Points::Held(points) => {
                    let seek = if is_first { seek } else { Seek::Offset(share.base) };
                    let found = points::entries_from(points, seek);
                    let found = found.get(..points_left.min(found.len())).unwrap_or_default();
                    points_left -= found.len();
                    Points::Held(found.to_vec())
                }
            };
            let Segment { source, base, last, is_damaged, .. } = segment;
            let (source, base, last, is_damaged) = (source.clone(), *base, *last, *is_damaged);
            let first = Some((share.base, self.before(id, share.base)));
            plan.push(Planned { source, base, last, first, is_damaged, points });
            if points_left == 0 {
                break;
            }
        }
        plan
    }

    /// What lies between the first entry of a partition in a file, and those in files before.
    fn before(&self, id: PartitionId, base: Offset) -> Before {
        let Some(partition) = self.partitions.get(id.as_index()) else { return Before::Nothing };
        let held = partition.files.range(..base).next_back();
        let share = held.and_then(|(_, key)| self.segment(*key)?.shares.get(&id));
        let end = share.map_or(Offset::new(0), |share| share.end);
        if end == base {
            return Before::Nothing;
        }
        self.absence(&partition.name, end, base)
    }

    fn absence(&self, partition: &TopicPartition, from: Offset, until: Offset) -> Before {
        let is_lost = self
            .lost
            .iter()
            .any(|hole| hole.partition == *partition && hole.from < until && from < hole.until);
        if is_lost { Before::Lost } else { Before::Cleaned { from } }
    }

    /// The files that hold entries of a partition, the first one where what is sought is.
    fn files_from(
        &self,
        id: PartitionId,
        seek: Seek,
    ) -> impl Iterator<Item = (&Segment<F>, &Share)> {
        let files = self.partitions.get(id.as_index()).map(|partition| &partition.files);
        let first = match seek {
            // The last file that starts at or before the offset, if there is one.
            Seek::Offset(from) => {
                files.and_then(|f| f.range(..=from).next_back()).map_or(from, |(base, _)| *base)
            }
            Seek::Time(_) => Offset::new(0),
        };
        let held = files.into_iter().flat_map(move |files| files.range(first..));
        held.filter_map(move |(_, key)| {
            let segment = self.segment(*key)?;
            Some((segment, segment.shares.get(&id)?))
        })
        .skip_while(move |(_, share)| match seek {
            Seek::Offset(from) => share.end <= from,
            Seek::Time(time) => share.time < time,
        })
    }

    /// The file that holds `commit`, or else the first one after it.
    pub(crate) fn plan_commits(&self, commit: CommitNumber) -> Option<Planned<F, CommitPoint>> {
        let before = self.closed.range(..=commit).next_back().map(|(_, found)| found);
        let after = self.closed.range(commit..).map(|(_, found)| found);
        let closed = before.into_iter().chain(after).map(|segment| &**segment);
        let mut files = closed.chain(&self.open);
        let segment = files.find(|segment| segment.has_commits() && commit <= segment.last)?;
        let points = match &segment.points {
            Points::Paged(paged) => Points::Paged(*paged),
            Points::Held(points) => {
                Points::Held(points::commit_from(points, commit).into_iter().collect())
            }
        };
        let Segment { source, base, last, is_damaged, .. } = segment;
        let (source, base, last, is_damaged) = (source.clone(), *base, *last, *is_damaged);
        Some(Planned { source, base, last, first: None, is_damaged, points })
    }

    /// What a file holds, as its directory says it.
    pub(crate) fn summary(&self, segment: &Segment<F>) -> Summary {
        let share = |(id, share): (&PartitionId, &Share)| {
            let Share { base, end, time, bytes, points } = share;
            let (base, end, time, bytes) = (*base, *end, *time, *bytes);
            let partition = self.name(*id)?.clone();
            Some(ShareSummary { partition, base, end, time, bytes, points: points.clone() })
        };
        Summary {
            nonce: segment.source.nonce,
            end: segment.source.end,
            base: segment.base,
            last: segment.last,
            shares: segment.shares.iter().filter_map(share).collect(),
            points: segment.points.clone(),
        }
    }

    /// A file as its directory says it.
    pub(crate) fn segment_of(
        &mut self,
        source: Source<F>,
        number: u64,
        summary: Summary,
    ) -> Segment<F> {
        let Summary { nonce, end, base, last, shares, points } = summary;
        debug_assert!((nonce, end) == (source.nonce, source.end), "the directory is the file's");
        let shares = shares.into_iter().map(|share| {
            let ShareSummary { partition, base, end, time, bytes, points } = share;
            (self.intern(&partition), Share { base, end, time, bytes, points })
        });
        let (shares, is_damaged) = (shares.collect(), false);
        Segment { source, number, base, last, shares, is_damaged, closed_at: 0, points }
    }

    /// Lets go of the points of a closed file that stand in its directory now.
    pub(crate) fn page_out(&mut self, summary: Summary) {
        let Some(held) = self.closed.get(&summary.base).cloned() else { return };
        if held.source.nonce == summary.nonce {
            let (base, source, number) = (summary.base, held.source.clone(), held.number);
            let paged = self.segment_of(source, number, summary);
            self.closed.insert(base, Arc::new(paged));
        }
    }
}

#[cfg(test)]
mod tests {
    use headland_event::{EventTime, PartitionIndex, TopicName};

    use super::*;
    use crate::frame::FIRST_FRAME_AT;

    fn partition() -> TopicPartition {
        TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(0))
    }

    fn push(index: &mut Index<()>, name: &str) {
        let (name, kind) = (Arc::from(name), FileKind::Journal);
        let source = Source { file: (), name, nonce: 1, kind, end: FIRST_FRAME_AT };
        index.push(Segment::new(source, 1, index.last().after(1))).unwrap();
    }

    /// Adds commits of one record and 30,000 bytes each: two or three start in each block.
    fn commit(index: &mut Index<()>, count: u64, time: i64) {
        let id = index.intern(&partition());
        for n in 0..count {
            let base = index.end_of(id);
            let frame = FIRST_FRAME_AT + n * 30_000;
            let place = EntryPlace { frame, part: frame + 56, length: 29_944, index: 0 };
            let time = EventTime::from_millis(time);
            let span = Span { partition: id, base, end: base.after(1), time, place };
            index.commit((frame, frame + 30_000), [span]);
        }
    }

    fn index(files: &[u64]) -> Index<()> {
        let mut index = Index::new();
        for (number, commits) in (1..).zip(files) {
            push(&mut index, &number.to_string());
            commit(&mut index, *commits, number);
        }
        index
    }

    fn found(index: &Index<()>, seek: Seek, count: usize) -> Vec<(String, u64)> {
        let plan = index.plan(&partition(), seek, count);
        let held = plan.iter().flat_map(|file| match &file.points {
            Points::Held(points) => {
                points.iter().map(|point| (file.source.name.to_string(), point.base.get()))
            }
            Points::Paged(_) => panic!("nothing was paged out"),
        });
        held.collect()
    }

    fn offset(from: u64) -> Seek {
        Seek::Offset(Offset::new(from))
    }

    fn pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
        expected.iter().map(|(name, base)| ((*name).to_owned(), *base)).collect()
    }

    #[test]
    fn stretches_go_on_into_later_files_up_to_the_count() {
        let index = index(&[7, 2]);

        assert_eq!(found(&index, offset(2), 9), pairs(&[("1", 0), ("1", 3), ("1", 5), ("2", 7)]));
        assert_eq!(found(&index, offset(3), 2), pairs(&[("1", 3), ("1", 5)]));
        assert_eq!(found(&index, offset(8), 9), pairs(&[("2", 7)]));
        assert_eq!(found(&index, offset(9), 9), []);
    }

    #[test]
    fn a_time_is_found_in_the_first_file_that_reaches_it() {
        let index = index(&[2, 2, 2]);
        let at = |millis| Seek::Time(EventTime::from_millis(millis));

        assert_eq!(found(&index, at(2), 9), pairs(&[("2", 2), ("3", 4)]));
        assert_eq!(found(&index, at(4), 9), []);
    }

    #[test]
    fn an_unknown_partition_is_empty_and_starts_at_0() {
        let index = Index::<()>::new();

        assert_eq!(index.end(&partition()), Offset::new(0));
        assert_eq!(index.start(&partition()), Offset::new(0));
        assert!(index.plan(&partition(), offset(0), 1).is_empty());
    }

    #[test]
    fn a_partition_without_records_is_not_listed() {
        let mut index = index(&[]);

        index.intern(&partition());
        assert_eq!(index.partitions(), []);
        push(&mut index, "1");
        commit(&mut index, 1, 0);

        assert_eq!(index.partitions(), [partition()]);
    }

    #[test]
    fn a_commit_is_found_in_the_file_that_holds_it_past_empty_ones() {
        let mut index = index(&[3, 0, 1]);
        let found = |index: &Index<()>, commit| {
            let Planned { source, points, .. } = index.plan_commits(CommitNumber::new(commit))?;
            let Points::Held(points) = points else { panic!("nothing was paged out") };
            points.first().map(|point| (source.name.to_string(), point.commit.get()))
        };

        assert_eq!(found(&index, 3), Some(("1".to_owned(), 1)));
        assert_eq!(found(&index, 4), Some(("3".to_owned(), 4)));
        assert_eq!(found(&index, 5), None);
        assert_eq!(found(&index, 0), Some(("1".to_owned(), 1)));
        push(&mut index, "4");
        assert_eq!(found(&index, 4), Some(("3".to_owned(), 4)));
    }
}
