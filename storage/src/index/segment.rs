//! One file of the journal: what it holds of each partition, and where.

use std::collections::BTreeMap;

use headland_event::{ByteCount, CommitNumber, EventTime, Offset};

use super::{PartitionId, Source};
use crate::chain::Member;
use crate::points::{self, CommitPoint, EntryPlace, EntryPoint, Points};

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
#[derive(Debug, Clone)]
pub(crate) struct Share {
    /// First offset.
    pub(crate) base: Offset,
    /// Offset after the last record.
    pub(crate) end: Offset,
    /// Largest event time of a record.
    pub(crate) time: EventTime,
    /// Bytes of its entries' parts.
    pub(crate) bytes: ByteCount,
    pub(super) points: Points<EntryPoint>,
}

/// One file of the journal.
#[derive(Debug, Clone)]
pub(crate) struct Segment<F> {
    pub(crate) source: Source<F>,
    pub(crate) number: u64,
    /// Number of the first commit that may be in it: the key of the file in the index.
    pub(crate) base: CommitNumber,
    /// Number of its last commit; before `base` when it holds none.
    pub(crate) last: CommitNumber,
    pub(crate) shares: BTreeMap<PartitionId, Share>,
    /// Whether some of it could not be read. Then it gets no directory, so that every opening
    /// sees what is missing and nothing passes for cleaned that is lost.
    pub(crate) is_damaged: bool,
    /// Where it ended when it was closed: behind the end of its source when it was cut short since.
    /// 0 when nothing says so.
    pub(crate) closed_at: u64,
    pub(super) points: Points<CommitPoint>,
}

impl<F: Clone> Segment<F> {
    /// A file without commits, of which the first will be number `base` or a later one.
    pub(crate) fn new(source: Source<F>, number: u64, base: CommitNumber) -> Self {
        debug_assert!(base > CommitNumber::new(0), "commits are numbered from 1");
        let last = CommitNumber::new(base.get() - 1);
        let (shares, points) = (BTreeMap::new(), Points::Held(Vec::new()));
        let (is_damaged, closed_at) = (false, 0);
        Self { source, number, base, last, shares, is_damaged, closed_at, points }
    }

    pub(crate) fn has_commits(&self) -> bool {
        self.last >= self.base
    }

    /// Adds a commit behind the others, which stands at `frame..end`.
    pub(crate) fn commit(
        &mut self,
        number: CommitNumber,
        (frame, end): (u64, u64),
        spans: impl IntoIterator<Item = Span>,
    ) {
        debug_assert!(self.source.end <= frame && frame < end, "frames follow each other");
        debug_assert!(self.last < number, "commit numbers grow");
        self.source.end = end;
        self.last = number;
        if let Points::Held(points) = &mut self.points {
            points::add_commit(points, number, frame);
        }
        for span in spans {
            debug_assert!(frame < span.place.part, "an entry stands behind its frame's header");
            self.add(&span);
        }
    }

    /// Adds an entry behind the others.
    pub(crate) fn add(&mut self, span: &Span) {
        let Span { partition, base, end, time, place } = *span;
        let share = self.shares.entry(partition).or_insert_with(|| Share {
            base,
            end: base,
            time,
            bytes: ByteCount::new(0),
            points: Points::Held(Vec::new()),
        });
        debug_assert!(share.end <= base && base < end, "entries of a partition follow each other");
        share.end = end;
        share.time = share.time.max(time);
        share.bytes = ByteCount::new(share.bytes.get() + u64::from(place.length));
        if let Points::Held(points) = &mut share.points {
            points::add_entry(points, base, time, place);
        }
    }

    /// Moves the end past a frame that holds no commit.
    pub(crate) fn extend(&mut self, end: u64) {
        debug_assert!(self.source.end <= end, "a file's end only grows");
        self.source.end = end;
    }

    /// The held points of a partition.
    pub(crate) fn into_entry_points(mut self, id: Option<PartitionId>) -> Vec<EntryPoint> {
        match id.and_then(|id| self.shares.remove(&id)).map(|share| share.points) {
            Some(Points::Held(points)) => points,
            Some(Points::Paged(_)) | None => Vec::new(),
        }
    }

    /// The held points of the commits.
    pub(crate) fn into_commit_points(self) -> Vec<CommitPoint> {
        match self.points {
            Points::Held(points) => points,
            Points::Paged(_) => Vec::new(),
        }
    }

    /// Whether points are in memory that could stand in a directory.
    pub(crate) const fn wants_directory(&self) -> bool {
        matches!(self.points, Points::Held(_)) && !self.is_damaged
    }

    /// The file as the chain names it: up to where it ended once, so that every opening sees that
    /// it was cut short.
    pub(crate) fn member(&self) -> Member {
        let Self { source, number, base, last, closed_at, .. } = self;
        let (nonce, kind, end) = (source.nonce, source.kind, source.end.max(*closed_at));
        Member { number: *number, nonce, kind, base: *base, last: *last, end }
    }
}
