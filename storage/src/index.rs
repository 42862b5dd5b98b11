//! Where commits and offsets are: shared between the writer and its readers.
//!
//! The index is sparse. A file is thought of in blocks of 64 KiB; there is one point per block for
//! the commits, and one per block and partition that has an entry starting there. A reader finds
//! its block by bisection and walks its frames, so a commit of a few hundred bytes costs no memory
//! of its own. Readers hold offsets and commit numbers, never positions.

use std::collections::BTreeMap;

use headland_event::{CommitNumber, Offset, TopicPartition};

use crate::frame::FIRST_FRAME_AT;

const BLOCK_LEN: u64 = 64 << 10;

/// One file of the chain, up to its committed end.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) file: F,
    pub(crate) name: String,
    pub(crate) nonce: u64,
    /// Number of its first commit.
    pub(crate) base: CommitNumber,
    /// Position after its last committed frame.
    pub(crate) end: u64,
    points: Vec<CommitPoint>,
}

impl<F> Segment<F> {
    /// A file without commits.
    pub(crate) const fn new(file: F, name: String, nonce: u64, base: CommitNumber) -> Self {
        Self { file, name, nonce, base, end: FIRST_FRAME_AT, points: Vec::new() }
    }
}

#[derive(Debug, Clone, Copy)]
struct CommitPoint {
    commit: CommitNumber,
    position: u64,
}

#[derive(Debug, Clone, Copy)]
struct EntryPoint {
    base: Offset,
    segment: usize,
    commit: CommitNumber,
    position: u64,
}

#[derive(Debug)]
struct Partition {
    start: Offset,
    end: Offset,
    points: Vec<EntryPoint>,
}

/// One entry of a committed frame, as the index needs it.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) partition: TopicPartition,
    pub(crate) base: Offset,
    pub(crate) end: Offset,
}

/// A stretch of frames to walk.
#[derive(Debug, Clone)]
pub(crate) struct Stretch<F> {
    pub(crate) file: F,
    pub(crate) name: String,
    pub(crate) nonce: u64,
    /// Number of the commit at `position`.
    pub(crate) commit: CommitNumber,
    /// Position of its first frame.
    pub(crate) position: u64,
    /// Frames that start at or after this position are not part of it.
    pub(crate) until: u64,
    /// Committed end of the file.
    pub(crate) end: u64,
}

/// The index of a journal.
#[derive(Debug)]
pub(crate) struct Index<F> {
    segments: Vec<Segment<F>>,
    partitions: BTreeMap<TopicPartition, Partition>,
    last: CommitNumber,
}

impl<F: Clone> Index<F> {
    pub(crate) const fn new() -> Self {
        Self { segments: Vec::new(), partitions: BTreeMap::new(), last: CommitNumber::new(0) }
    }

    pub(crate) const fn last(&self) -> CommitNumber {
        self.last
    }

    pub(crate) fn start(&self, partition: &TopicPartition) -> Offset {
        self.partitions.get(partition).map_or(Offset::new(0), |found| found.start)
    }

    pub(crate) fn end(&self, partition: &TopicPartition) -> Offset {
        self.partitions.get(partition).map_or(Offset::new(0), |found| found.end)
    }

    pub(crate) fn partitions(&self) -> Vec<TopicPartition> {
        self.partitions.keys().cloned().collect()
    }

    /// The newest file.
    pub(crate) fn last_file(&self) -> Option<&F> {
        self.segments.last().map(|segment| &segment.file)
    }

    /// Adds a file behind the others.
    pub(crate) fn push(&mut self, segment: Segment<F>) {
        debug_assert!(segment.base == self.last.after(1), "a file starts with the next commit");
        self.segments.push(segment);
    }

    /// Adds the next commit, which stands in the last file at `position..end`.
    pub(crate) fn commit(&mut self, position: u64, end: u64, spans: Vec<Span>) {
        self.last = self.last.after(1);
        let Some(segment) = self.segments.last_mut() else {
            debug_assert!(false, "a commit stands in a file");
            return;
        };
        debug_assert!(segment.end <= position && position < end, "frames follow each other");
        segment.end = end;
        let block = position / BLOCK_LEN;
        if segment.points.last().is_none_or(|point| point.position / BLOCK_LEN != block) {
            segment.points.push(CommitPoint { commit: self.last, position });
        }
        let place = (self.segments.len() - 1, position);
        for span in spans {
            self.add_span(span, place);
        }
    }

    fn add_span(&mut self, span: Span, (segment, position): (usize, u64)) {
        let Span { partition, base, end } = span;
        let commit = self.last;
        let partition = self.partitions.entry(partition).or_insert_with(|| Partition {
            start: base,
            end: base,
            points: Vec::new(),
        });
        debug_assert!(partition.end == base && base < end, "offsets of a partition are dense");
        partition.end = end;
        let block = position / BLOCK_LEN;
        let is_in_block =
            |point: &EntryPoint| (point.segment, point.position / BLOCK_LEN) == (segment, block);
        if !partition.points.last().is_some_and(is_in_block) {
            partition.points.push(EntryPoint { base, segment, commit, position });
        }
    }

    /// Moves the last file's end past a frame that holds no commit.
    pub(crate) fn extend(&mut self, end: u64) {
        if let Some(segment) = self.segments.last_mut() {
            debug_assert!(segment.end <= end, "a file's end only grows");
            segment.end = end;
        }
    }

    /// The blocks that hold a partition's entries, the first one with offset `from`, at most
    /// `count` of them; none when `from` is at or after the end.
    pub(crate) fn blocks(
        &self,
        partition: &TopicPartition,
        from: Offset,
        count: usize,
    ) -> Vec<Stretch<F>> {
        let Some(found) = self.partitions.get(partition).filter(|found| from < found.end) else {
            return Vec::new();
        };
        let first = found.points.partition_point(|point| point.base <= from).saturating_sub(1);
        let points = found.points.iter().skip(first).take(count);
        points
            .filter_map(|point| {
                let until = (point.position / BLOCK_LEN + 1) * BLOCK_LEN;
                self.stretch(point.segment, point.commit, point.position, until)
            })
            .collect()
    }

    /// The rest of the file that holds `commit`, from a point at or before that commit on.
    pub(crate) fn file_of(&self, commit: CommitNumber) -> Option<Stretch<F>> {
        if commit > self.last {
            return None;
        }
        // A file without commits has the base of its successor, which is the one to take.
        let number = self.segments.partition_point(|s| s.base <= commit).checked_sub(1)?;
        let points = &self.segments.get(number)?.points;
        let point = points.partition_point(|point| point.commit <= commit).checked_sub(1)?;
        let CommitPoint { commit, position } = *points.get(point)?;
        self.stretch(number, commit, position, u64::MAX)
    }

    fn stretch(
        &self,
        segment: usize,
        commit: CommitNumber,
        position: u64,
        until: u64,
    ) -> Option<Stretch<F>> {
        let Segment { file, name, nonce, end, .. } = self.segments.get(segment)?;
        Some(Stretch {
            file: file.clone(),
            name: name.clone(),
            nonce: *nonce,
            commit,
            position,
            until,
            end: *end,
        })
    }
}

#[cfg(test)]
mod tests {
    use headland_event::{PartitionIndex, TopicName};

    use super::*;

    fn partition() -> TopicPartition {
        TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(0))
    }

    /// Commits of one record and 30,000 bytes each: two or three start in each block.
    fn index(commits: u64) -> Index<()> {
        let mut index = Index::new();
        index.push(Segment::new((), "1".to_owned(), 1, CommitNumber::new(1)));
        for n in 0..commits {
            let (base, end) = (Offset::new(n), Offset::new(n + 1));
            let position = FIRST_FRAME_AT + n * 30_000;
            let span = Span { partition: partition(), base, end };
            index.commit(position, position + 30_000, vec![span]);
        }
        index
    }

    fn starts(index: &Index<()>, from: u64, count: usize) -> Vec<u64> {
        let blocks = index.blocks(&partition(), Offset::new(from), count);
        blocks.iter().map(|block| block.commit.get()).collect()
    }

    #[test]
    fn a_block_is_found_by_any_offset_in_it() {
        let index = index(7);

        assert_eq!(starts(&index, 0, 9), [1, 4, 6]);
        assert_eq!(starts(&index, 2, 9), [1, 4, 6]);
        assert_eq!(starts(&index, 3, 9), [4, 6]);
        assert_eq!(starts(&index, 6, 9), [6]);
        assert_eq!(starts(&index, 7, 9), [0_u64; 0]);
        assert_eq!(starts(&index, 0, 2), [1, 4]);
    }

    #[test]
    fn an_unknown_partition_is_empty_and_starts_at_0() {
        let index = Index::<()>::new();

        assert_eq!(index.end(&partition()), Offset::new(0));
        assert_eq!(index.start(&partition()), Offset::new(0));
        assert!(index.blocks(&partition(), Offset::new(0), 1).is_empty());
    }

    #[test]
    fn a_commit_is_found_in_the_file_that_holds_it_past_empty_ones() {
        let mut index = index(3);
        index.push(Segment::new((), "2".to_owned(), 2, CommitNumber::new(4)));
        index.push(Segment::new((), "3".to_owned(), 3, CommitNumber::new(4)));
        index.commit(FIRST_FRAME_AT, 200, Vec::new());
        let found = |commit| index.file_of(CommitNumber::new(commit)).map(|file| file.name);

        assert_eq!(found(3).as_deref(), Some("1"));
        assert_eq!(found(4).as_deref(), Some("3"));
        assert_eq!(found(5), None);
        assert_eq!(found(0), None);
    }
}
