//! Where commits and offsets are: shared between the writer and its readers.
//!
//! The journal is a row of closed files and the open one behind them. A closed file never changes;
//! cleaning puts another in its place, which holds the same offsets and commit numbers or fewer.
//! Each file knows which offsets of which partitions it holds; [`crate::points`] tell where.
//! Readers hold offsets and commit numbers, never positions.

use std::collections::BTreeMap;
use std::sync::Arc;

use headland_event::{ByteCount, CommitNumber, EventTime, Offset, TopicPartition};

use crate::frame::FIRST_FRAME_AT;
use crate::points::{self, CommitPoint, EntryPlace, EntryPoint, Seek};

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
    #[expect(dead_code, reason = "cleaning writes the first one")]
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

/// Entries of one partition in one block of a file.
///
/// The entry at `place` is the first one. Others of the partition follow behind it in the same
/// frame and in later ones; those whose part starts at or after `until` belong to later stretches.
#[derive(Debug, Clone)]
pub(crate) struct Stretch<F> {
    pub(crate) source: Source<F>,
    /// Base offset of the first entry.
    pub(crate) base: Offset,
    pub(crate) place: EntryPlace,
    pub(crate) until: u64,
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

/// One entry of a committed frame, as the index needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) partition: PartitionId,
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    /// Largest event time of a record.
    pub(crate) time: EventTime,
    pub(crate) place: EntryPlace,
}

/// What a file holds of a partition.
#[derive(Debug)]
pub(crate) struct Share {
    /// First offset.
    pub(crate) base: Offset,
    /// Offset after the last record.
    pub(crate) end: Offset,
    /// Largest event time of a record.
    pub(crate) time: EventTime,
    /// Bytes of its entries' parts.
    pub(crate) bytes: ByteCount,
    points: Vec<EntryPoint>,
}

/// One file of the journal.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) source: Source<F>,
    /// Number of the first commit that may be in it: the key of the file in the index.
    pub(crate) base: CommitNumber,
    /// Number of its last commit; before `base` when it holds none.
    pub(crate) last: CommitNumber,
    shares: BTreeMap<PartitionId, Share>,
    points: Vec<CommitPoint>,
}

impl<F> Segment<F> {
    /// A file without commits, of which the first will be number `base`.
    pub(crate) fn new(mut source: Source<F>, base: CommitNumber) -> Self {
        debug_assert!(base > CommitNumber::new(0), "commits are numbered from 1");
        source.end = FIRST_FRAME_AT;
        let last = CommitNumber::new(base.get() - 1);
        Self { source, base, last, shares: BTreeMap::new(), points: Vec::new() }
    }

    fn has_commits(&self) -> bool {
        self.last >= self.base
    }

    fn add(&mut self, span: &Span) {
        let Span { partition, base, end, time, place } = *span;
        let share = self.shares.entry(partition).or_insert_with(|| Share {
            base,
            end: base,
            time,
            bytes: ByteCount::new(0),
            points: Vec::new(),
        });
        debug_assert!(share.end <= base && base < end, "entries of a partition follow each other");
        share.end = end;
        share.time = share.time.max(time);
        share.bytes = ByteCount::new(share.bytes.get() + u64::from(place.length));
        points::add_entry(&mut share.points, base, time, place);
    }
}

#[derive(Debug)]
struct Partition {
    name: TopicPartition,
    end: Offset,
    /// The files that hold entries of it: first offset there, key of the file.
    files: BTreeMap<Offset, CommitNumber>,
}

/// The index of a journal.
#[derive(Debug)]
pub(crate) struct Index<F> {
    ids: BTreeMap<TopicPartition, PartitionId>,
    partitions: Vec<Partition>,
    closed: BTreeMap<CommitNumber, Arc<Segment<F>>>,
    open: Option<Segment<F>>,
    last: CommitNumber,
}

impl<F: Clone> Index<F> {
    pub(crate) const fn new() -> Self {
        Self {
            ids: BTreeMap::new(),
            partitions: Vec::new(),
            closed: BTreeMap::new(),
            open: None,
            last: CommitNumber::new(0),
        }
    }

    pub(crate) const fn last(&self) -> CommitNumber {
        self.last
    }

    pub(crate) fn start(&self, partition: &TopicPartition) -> Offset {
        let files = self.partition(partition).map(|found| &found.files);
        let first = files.and_then(|files| files.keys().next());
        first.copied().unwrap_or_else(|| self.end(partition))
    }

    pub(crate) fn end(&self, partition: &TopicPartition) -> Offset {
        self.partition(partition).map_or(Offset::new(0), |found| found.end)
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
        let (end, files) = (Offset::new(0), BTreeMap::new());
        self.partitions.push(Partition { name: partition.clone(), end, files });
        self.ids.insert(partition.clone(), PartitionId(id));
        PartitionId(id)
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

    /// Begins a file behind the others; the one before it is closed.
    pub(crate) fn push(&mut self, segment: Segment<F>) {
        debug_assert!(segment.base == self.last.after(1), "a file starts with the next commit");
        let closed = self.open.replace(segment).filter(Segment::has_commits);
        if let Some(closed) = closed {
            self.closed.insert(closed.base, Arc::new(closed));
        }
    }

    /// Adds the next commit, which stands in the open file at `frame..end`.
    pub(crate) fn commit(
        &mut self,
        (frame, end): (u64, u64),
        spans: impl IntoIterator<Item = Span>,
    ) {
        self.last = self.last.after(1);
        let Some(open) = &mut self.open else {
            debug_assert!(false, "a commit stands in a file");
            return;
        };
        debug_assert!(open.source.end <= frame && frame < end, "frames follow each other");
        open.source.end = end;
        open.last = self.last;
        points::add_commit(&mut open.points, self.last, frame);
        for span in spans {
            debug_assert!(frame < span.place.part, "an entry stands behind its frame's header");
            open.add(&span);
            let Some(partition) = self.partitions.get_mut(span.partition.as_index()) else {
                debug_assert!(false, "the id of a span was given by this index");
                continue;
            };
            debug_assert!(partition.end <= span.base, "offsets of a partition only grow");
            partition.end = span.end;
            if partition.files.last_key_value().is_none_or(|(_, key)| *key != open.base) {
                partition.files.insert(span.base, open.base);
            }
        }
    }

    /// Moves the open file's end past a frame that holds no commit.
    pub(crate) fn extend(&mut self, end: u64) {
        if let Some(open) = &mut self.open {
            debug_assert!(open.source.end <= end, "a file's end only grows");
            open.source.end = end;
        }
    }

    fn segment(&self, key: CommitNumber) -> Option<&Segment<F>> {
        let open = self.open.as_ref().filter(|open| open.base == key);
        open.or_else(|| self.closed.get(&key).map(|segment| &**segment))
    }

    /// Stretches of a partition in order, the first one where reading starts, at most `count`.
    ///
    /// None when nothing is there to be found: at or after the end, or no record that late.
    pub(crate) fn stretches(
        &self,
        partition: &TopicPartition,
        seek: Seek,
        count: usize,
    ) -> Vec<Stretch<F>> {
        let Some(id) = self.id(partition) else { return Vec::new() };
        let files = self.files_from(id, seek);
        let mut stretches = Vec::new();
        for (segment, share) in files {
            let seek = if stretches.is_empty() { seek } else { Seek::Offset(share.base) };
            let left = count - stretches.len();
            let found = points::entries_from(&share.points, seek).iter().take(left);
            stretches.extend(found.map(|point| Stretch {
                source: segment.source.clone(),
                base: point.base,
                place: point.place,
                until: point.until(),
            }));
            if stretches.len() == count {
                break;
            }
        }
        stretches
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

    /// The rest of the file that holds `commit`, or else the first one after it, from a point at
    /// or before it on.
    pub(crate) fn commits_from(&self, commit: CommitNumber) -> Option<CommitStretch<F>> {
        let before = self.closed.range(..=commit).next_back().map(|(_, found)| found);
        let after = self.closed.range(commit..).map(|(_, found)| found);
        let closed = before.into_iter().chain(after).map(|segment| &**segment);
        let mut files = closed.chain(&self.open);
        let segment = files.find(|segment| segment.has_commits() && commit <= segment.last)?;
        let CommitPoint { commit, frame } = points::commit_from(&segment.points, commit)?;
        let (source, last) = (segment.source.clone(), segment.last);
        Some(CommitStretch { source, commit, frame, last })
    }
}

#[cfg(test)]
mod tests {
    use headland_event::{PartitionIndex, TopicName};

    use super::*;

    fn partition() -> TopicPartition {
        TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(0))
    }

    fn push(index: &mut Index<()>, name: &str) {
        let (name, kind) = (Arc::from(name), FileKind::Journal);
        let source = Source { file: (), name, nonce: 1, kind, end: 0 };
        index.push(Segment::new(source, index.last().after(1)));
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
        let stretches = index.stretches(&partition(), seek, count);
        stretches.iter().map(|s| (s.source.name.to_string(), s.base.get())).collect()
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
        assert!(index.stretches(&partition(), offset(0), 1).is_empty());
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
            let found = index.commits_from(CommitNumber::new(commit));
            found.map(|found| (found.source.name.to_string(), found.commit.get()))
        };

        assert_eq!(found(&index, 3), Some(("1".to_owned(), 1)));
        assert_eq!(found(&index, 4), Some(("3".to_owned(), 4)));
        assert_eq!(found(&index, 5), None);
        assert_eq!(found(&index, 0), Some(("1".to_owned(), 1)));
        push(&mut index, "4");
        assert_eq!(found(&index, 4), Some(("3".to_owned(), 4)));
    }
}
