//! Gathers the entries of a partition in order, and notices when one is missing.

use std::ops::Range;

use headland_event::{ByteCount, Entry, Offset};

use crate::group::byte_count;
use crate::index::Before;

/// Entries gathered up to a limit, without a hole between them.
#[derive(Debug)]
pub(crate) struct Gathering {
    entries: Vec<Entry>,
    /// The offset that the next entry must hold.
    next: Offset,
    /// End of the last valid entry met, wanted or not; where a hole begins.
    met: Option<Offset>,
    left: u64,
}

/// What became of an entry that was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(crate) enum Offered {
    /// It was taken, or lies before what is wanted.
    On,
    /// It does not fit the limit.
    Full,
    /// It begins behind the offset that must come next: these offsets are missing.
    Behind(Range<Offset>),
}

impl Gathering {
    /// Gathers from the entry that holds `from`, one at least, then up to `limit` of batches.
    pub(crate) const fn new(from: Offset, limit: ByteCount) -> Self {
        Self { entries: Vec::new(), next: from, met: None, left: limit.get() }
    }

    /// Notes that an entry begins at `base`, whether it can be read or not.
    pub(crate) fn begin(&mut self, base: Offset) {
        if self.met.is_none_or(|met| met < base) && base <= self.next {
            self.met = Some(base);
        }
    }

    /// Offers the next entry of the partition that is valid.
    pub(crate) fn offer(&mut self, entry: Entry) -> Offered {
        if entry.base > self.next {
            return Offered::Behind(self.missing_before(entry.base));
        }
        self.met = Some(entry.end());
        if entry.end() <= self.next {
            return Offered::On;
        }
        let size = byte_count(entry.batch.as_bytes().len()).get();
        if size > self.left && !self.entries.is_empty() {
            return Offered::Full;
        }
        self.left = self.left.saturating_sub(size);
        self.next = entry.end();
        self.entries.push(entry);
        Offered::On
    }

    /// Goes on at the first entry of a file, over offsets before it that were cleaned away.
    ///
    /// Only when all before those was met: an entry that is missing before them is lost, not clean.
    pub(crate) fn cross(&mut self, before: Before, base: Offset) {
        match before {
            Before::Cleaned { from } if from <= self.next && self.next < base => self.skip_to(base),
            Before::Cleaned { .. } | Before::Nothing | Before::Lost => {}
        }
    }

    /// Goes on at `offset`, over offsets that were cleaned away.
    pub(crate) fn skip_to(&mut self, offset: Offset) {
        debug_assert!(self.next <= offset, "gathering goes forward");
        self.next = offset;
    }

    /// The offsets missing between the last valid entry and `until`.
    pub(crate) fn missing_before(&self, until: Offset) -> Range<Offset> {
        self.met.unwrap_or(self.next).min(self.next)..until
    }

    /// The offset that the next entry must hold.
    pub(crate) const fn next(&self) -> Offset {
        self.next
    }

    /// End of the last valid entry met.
    pub(crate) const fn met(&self) -> Option<Offset> {
        self.met
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn finish(self) -> Vec<Entry> {
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use headland_event::{Batch, Dot, EventTime, Incarnation, Record, Sequence, StreamId};

    use super::*;

    fn entry(base: u64, records: usize) -> Entry {
        let incarnation = Incarnation::new(1, 2);
        let stream = StreamId::new([8; 16]);
        let records = vec![Record::new(EventTime::from_millis(0), "k", "v"); records];
        Entry {
            base: Offset::new(base),
            dot: Dot { stream, incarnation, sequence: Sequence::new(base + 1) },
            stamp: None,
            batch: Batch::encode(&records).unwrap(),
        }
    }

    fn gathering(from: u64) -> Gathering {
        Gathering::new(Offset::new(from), ByteCount::mebibytes(1))
    }

    fn missing(from: u64, until: u64) -> Offered {
        Offered::Behind(Offset::new(from)..Offset::new(until))
    }

    #[test]
    fn a_hole_begins_where_the_last_valid_entry_ends_even_before_what_is_wanted() {
        let mut gathering = gathering(7);

        assert_eq!(gathering.offer(entry(0, 5)), Offered::On);
        assert_eq!(gathering.offer(entry(10, 1)), missing(5, 10));
        assert!(gathering.is_empty());
    }

    #[test]
    fn a_hole_before_what_is_wanted_is_of_no_interest() {
        let mut gathering = gathering(12);

        assert_eq!(gathering.offer(entry(0, 5)), Offered::On);
        assert_eq!(gathering.offer(entry(10, 5)), Offered::On);
        assert_eq!(gathering.finish(), [entry(10, 5)]);
    }

    #[test]
    fn an_entry_that_is_known_to_begin_and_cannot_be_read_is_missing_from_its_base() {
        let mut gathering = gathering(7);

        gathering.begin(Offset::new(5));

        assert_eq!(gathering.offer(entry(10, 1)), missing(5, 10));
    }

    #[test]
    fn cleaned_offsets_are_crossed_and_a_lost_entry_before_them_is_not() {
        let cross = |ends_at: usize| {
            let mut gathering = gathering(0);
            assert_eq!(gathering.offer(entry(0, ends_at)), Offered::On);
            gathering.cross(Before::Cleaned { from: Offset::new(5) }, Offset::new(9));
            gathering.offer(entry(9, 1))
        };

        assert_eq!(cross(5), Offered::On);
        assert_eq!(cross(4), missing(4, 9));
    }

    #[test]
    fn entries_follow_each_other_after_the_first() {
        let mut gathering = gathering(0);

        assert_eq!(gathering.offer(entry(0, 2)), Offered::On);
        assert_eq!(gathering.offer(entry(3, 1)), missing(2, 3));
        assert_eq!(gathering.finish(), [entry(0, 2)]);
    }
}
