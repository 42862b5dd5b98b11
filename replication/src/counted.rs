//! Which dots a reader has counted: of a record that is in the logs of two hubs, one copy counts.
//!
//! A device that goes from one hub to another sends the second one what the first did not
//! acknowledge, whether or not it has it on disk. No log is filtered; who reads several of them
//! counts each dot once, whichever copy comes first, without a time after which it forgets.
//!
//! A stream is without gaps, so that what was seen of it is one range, or a few while the logs of
//! some hubs are behind. What was seen and did not count (not granted, shed, compacted away) makes
//! no gap in that; it is kept beside it, since a copy in another log may count.
//!
//! What is kept is bounded, and nothing is forgotten in silence: of records before the end of a
//! range that went it is said that nobody knows, and when streams go that they went. Of the oldest
//! that did not count it is forgotten that they did not: a copy of them is taken for doubled.
//! Cost: O(ranges of the life) for a batch, 16 bytes for a range.

use std::collections::BTreeMap;

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{Dot, Incarnation, StreamId};

/// Most lives of streams; beyond it those go that were counted longest ago.
const LIVES_LIMIT: usize = 65_536;

/// Most ranges of one life; beyond it the oldest goes, and who comes before its end is unsure.
const RANGES_LIMIT: usize = 256;

/// Most ranges of one life that did not count; beyond it the oldest is taken for counted.
const PASSED_LIMIT: usize = 256;

/// Sequences from the first to before the second.
type Range = (u64, u64);

/// What was counted of one life of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Life {
    /// What was seen: in order, with a gap between each and the next.
    ranges: Vec<Range>,
    /// What of it did not count: in the same way.
    passed: Vec<Range>,
    /// Before it what was seen is not all known any more.
    forgotten: u64,
    /// The how manieth batch was the last.
    touched: u64,
}

/// Dots that were counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    lives: BTreeMap<(StreamId, Incarnation), Life>,
    batches: u64,
}

/// Of a batch, the records that were counted before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doubled(Vec<Range>);

impl Doubled {
    /// Whether the record at a place in the batch, 0 the first, was counted before.
    #[must_use]
    pub fn has(&self, place: u64) -> bool {
        self.0.iter().any(|(from, to)| (*from..*to).contains(&place))
    }
}

/// What is known of the records of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Those that were counted before.
    pub doubled: Doubled,
    /// Those of which nobody knows any more; they are taken as new.
    pub unsure: Doubled,
    /// Streams were let go: whatever comes of them again is taken as new.
    pub has_let_go: bool,
}

/// How what was counted is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountedLayout {
    /// Ranges that were counted, and nothing of the others.
    Ranges,
    /// Also what was passed and what was forgotten.
    WithPassed,
}

impl Counted {
    /// Counts as many records as a batch takes, the first of which has this dot. Records without
    /// dots, of sequence 0, are never counted before.
    pub fn count(&mut self, dot: Dot, span: u64) -> Known {
        self.take(dot, span, |from, to| vec![(from, to)])
    }

    /// As [`count`](Self::count) for those at `places` of a batch that takes `span` of them, in
    /// order; the others are passed: they have not counted, and leave no gap.
    pub fn count_at(&mut self, dot: Dot, span: u64, places: impl Iterator<Item = u64>) -> Known {
        self.take(dot, span, |first, end| {
            let mut counting: Vec<Range> = Vec::new();
            for at in places.map(|place| first.saturating_add(place)).filter(|at| *at < end) {
                match counting.last_mut() {
                    Some(last) if last.1 == at => last.1 += 1,
                    _ => counting.push((at, at + 1)),
                }
            }
            counting
        })
    }

    /// Whether some of so many records were counted, or nobody knows any more whether they were.
    #[must_use]
    pub fn knows(&self, dot: Dot, span: u64) -> bool {
        let Dot { stream, incarnation, sequence } = dot;
        let of = (sequence.get(), sequence.get().saturating_add(span));
        let life = self.lives.get(&(stream, incarnation)).filter(|_| of.0 > 0);
        life.is_some_and(|life| of.0 < life.forgotten || !overlaps(&life.ranges, of).is_empty())
    }

    /// Whether something was counted of the same life of a stream, before a record.
    #[must_use]
    pub fn knows_before(&self, dot: Dot) -> bool {
        let life = self.lives.get(&(dot.stream, dot.incarnation));
        let first = life.and_then(|life| life.ranges.first());
        first.is_some_and(|(from, _)| *from < dot.sequence.get())
    }

    fn take(
        &mut self,
        dot: Dot,
        span: u64,
        counting: impl FnOnce(u64, u64) -> Vec<Range>,
    ) -> Known {
        let Dot { stream, incarnation, sequence } = dot;
        let (from, to) = (sequence.get(), sequence.get().saturating_add(span));
        if from == 0 || from == to {
            return Known::default();
        }
        self.batches += 1;
        let life = self.lives.entry((stream, incarnation)).or_default();
        life.touched = self.batches;
        let mut known = life.take((from, to), &counting(from, to));
        if self.lives.len() > LIVES_LIMIT {
            self.let_go();
            known.has_let_go = true;
        }
        known
    }

    /// Lets the sixteenth go that was counted longest ago: devices that are no more.
    fn let_go(&mut self) {
        let mut touched: Vec<u64> = self.lives.values().map(|life| life.touched).collect();
        let (_, oldest, _) = touched.select_nth_unstable(LIVES_LIMIT / 16);
        let oldest = *oldest;
        self.lives.retain(|_, life| life.touched > oldest);
    }

    /// `batches u64 │ lives u32, for each { stream 16 │ incarnation 12 │ touched u64
    /// │ forgotten u64 │ ranges, passed 2 × u32, for each { from u64 │ to u64 } }`.
    pub fn write(&self, writer: &mut Writer) {
        let Self { lives, batches } = self;
        writer.u64(*batches);
        writer.length(lives.len());
        for ((stream, incarnation), Life { ranges, passed, forgotten, touched }) in lives {
            writer.stream_id(*stream);
            writer.incarnation(*incarnation);
            writer.u64(*touched);
            writer.u64(*forgotten);
            for ranges in [ranges, passed] {
                writer.length(ranges.len());
                for (from, to) in ranges {
                    writer.u64(*from);
                    writer.u64(*to);
                }
            }
        }
    }

    /// Reads what [`Self::write`] wrote, now or in an earlier layout.
    ///
    /// # Errors
    /// [`CodecError`] when the bytes are not of the layout.
    pub fn read(layout: CountedLayout, reader: &mut Reader) -> Result<Self, CodecError> {
        let mut counted = Self { batches: reader.u64("batches")?, ..Self::default() };
        for _ in 0..reader.length("lives", LIVES_LIMIT)? {
            let of = (reader.stream_id("stream")?, reader.incarnation("incarnation")?);
            let mut life = Life { touched: reader.u64("touched")?, ..Life::default() };
            match layout {
                CountedLayout::Ranges => {
                    life.ranges = read_ranges(RANGES_LIMIT, reader)?;
                    let is_full = life.ranges.len() == RANGES_LIMIT;
                    let first = life.ranges.first().filter(|_| is_full);
                    life.forgotten = first.map_or(0, |(from, _)| *from);
                }
                CountedLayout::WithPassed => {
                    life.forgotten = reader.u64("forgotten")?;
                    life.ranges = read_ranges(RANGES_LIMIT, reader)?;
                    life.passed = read_ranges(PASSED_LIMIT, reader)?;
                }
            }
            counted.lives.insert(of, life);
        }
        Ok(counted)
    }
}

fn read_ranges(limit: usize, reader: &mut Reader) -> Result<Vec<Range>, CodecError> {
    let mut ranges: Vec<Range> = Vec::new();
    for _ in 0..reader.length("ranges", limit)? {
        let at = reader.position();
        let (from, to) = (reader.u64("from")?, reader.u64("to")?);
        let before = ranges.last().map_or(0, |(_, to)| *to);
        if from <= before || to <= from {
            let found = i64::try_from(from).unwrap_or(i64::MAX);
            let (field, expected) = ("range", "ranges in order with gaps");
            return Err(CodecError::Value { field, at, found, expected });
        }
        ranges.push((from, to));
    }
    Ok(ranges)
}

impl Life {
    /// Sees a range, of which `counting` counts.
    fn take(&mut self, of: Range, counting: &[Range]) -> Known {
        let (from, to) = of;
        let is_whole = counting.first() == Some(&of);
        // The usual case: the next batch of the stream.
        if let Some(last) = self.ranges.last_mut()
            && last.1 == from
            && is_whole
        {
            last.1 = to;
            return Known::default();
        }
        let seen = overlaps(&self.ranges, of);
        let passed = overlaps(&self.passed, of);
        let fresh = without(&[of], &seen);
        let doubled = without(&seen, &passed);
        let unsure = overlaps(&fresh, (from, self.forgotten.min(to)));
        insert(&mut self.ranges, of);
        if self.ranges.len() > RANGES_LIMIT {
            self.forgotten = self.forgotten.max(self.ranges.remove(0).1);
        }
        if !passed.is_empty() {
            self.passed = without(&self.passed, &[of]);
        }
        for left in [fresh, passed] {
            for range in without(&left, counting) {
                insert(&mut self.passed, range);
            }
        }
        let excess = self.passed.len().saturating_sub(PASSED_LIMIT);
        self.passed.drain(..excess);
        let places = |ranges: Vec<Range>| {
            Doubled(ranges.into_iter().map(|(a, b)| (a - from, b - from)).collect())
        };
        Known { doubled: places(doubled), unsure: places(unsure), has_let_go: false }
    }
}

/// What ranges have in common with another one.
fn overlaps(ranges: &[Range], (from, to): Range) -> Vec<Range> {
    let first = ranges.partition_point(|(_, end)| *end <= from);
    let behind = ranges.partition_point(|(start, _)| *start < to);
    let touching = ranges.get(first..behind).unwrap_or_default().iter();
    let cut = touching.map(|(a, b)| ((*a).max(from), (*b).min(to)));
    cut.filter(|(a, b)| a < b).collect()
}

/// What of ranges is in none of the others; both are in order.
fn without(ranges: &[Range], others: &[Range]) -> Vec<Range> {
    let mut left = Vec::new();
    for (from, to) in ranges {
        let mut from = *from;
        for (start, end) in overlaps(others, (from, *to)) {
            if from < start {
                left.push((from, start));
            }
            from = end;
        }
        if from < *to {
            left.push((from, *to));
        }
    }
    left
}

/// Adds a range, and makes one of those that it touches.
fn insert(ranges: &mut Vec<Range>, (from, to): Range) {
    let first = ranges.partition_point(|(_, end)| *end < from);
    let behind = ranges.partition_point(|(start, _)| *start <= to);
    let touching = ranges.get(first..behind).unwrap_or_default();
    let start = touching.first().map_or(from, |(start, _)| from.min(*start));
    let end = touching.last().map_or(to, |(_, end)| to.max(*end));
    ranges.splice(first..behind, [(start, end)]);
    debug_assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.1 < b.0));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use headland_event::Sequence;
    use proptest::prelude::*;

    use super::*;

    fn dot(life: u32, sequence: u64) -> Dot {
        Dot {
            stream: StreamId::new([1; 16]),
            incarnation: Incarnation::new(life, 7),
            sequence: Sequence::new(sequence),
        }
    }

    fn read_back(counted: &Counted) -> Result<Counted, CodecError> {
        let mut writer = Writer::new();
        counted.write(&mut writer);
        Counted::read(CountedLayout::WithPassed, &mut Reader::new(writer.finish()))
    }

    proptest! {
        #[test]
        fn each_dot_counts_once_in_whatever_order_batches_come(
            batches in proptest::collection::vec((0_u32..2, 1_u64..60, 1_u64..9), 1..80),
        ) {
            let (mut counted, mut seen) = (Counted::default(), BTreeSet::new());
            for (life, first, span) in batches {
                let doubled = counted.count(dot(life, first), span).doubled;

                for place in 0..span {
                    prop_assert_eq!(doubled.has(place), !seen.insert((life, first + place)));
                }
                prop_assert_eq!(read_back(&counted), Ok(counted.clone()));
            }
        }

        #[test]
        fn what_is_passed_counts_once_when_a_copy_of_it_counts(
            batches in proptest::collection::vec((1_u64..60, 1_u64..9, 0_u64..512), 1..80),
        ) {
            let (mut counted, mut seen) = (Counted::default(), BTreeSet::new());
            for (first, span, bits) in batches {
                let counts = |place: &u64| (bits >> place) & 1 == 1;

                let known = counted.count_at(dot(0, first), span, (0..span).filter(counts));

                for place in (0..span).filter(counts) {
                    prop_assert_eq!(known.doubled.has(place), !seen.insert(first + place));
                    prop_assert!(!known.unsure.has(place));
                }
                prop_assert_eq!(read_back(&counted), Ok(counted.clone()));
            }
        }
    }

    #[test]
    fn records_that_do_not_count_leave_no_gaps_that_push_out_what_did() {
        let mut counted = Counted::default();
        counted.count(dot(0, 1), 10);
        for n in 0..2 * u64::try_from(RANGES_LIMIT).unwrap() {
            // Of a hundred records one does not count.
            counted.count_at(dot(0, 11 + 100 * n), 100, (0..100).filter(|place| *place != 50));
        }

        let known = counted.count(dot(0, 1), 10);

        assert!((0..10).all(|place| known.doubled.has(place)));
    }

    #[test]
    fn what_comes_before_a_range_that_went_is_unsure_until_it_is_seen_and_what_follows_is_not() {
        let mut counted = Counted::default();
        counted.count(dot(0, 1), 10);
        for n in 0..u64::try_from(RANGES_LIMIT).unwrap() {
            assert_eq!(counted.count(dot(0, 20 + 10 * n), 5), Known::default());
        }

        let again = counted.count(dot(0, 5), 10);

        assert!(!again.doubled.has(0), "its range went");
        assert!(again.unsure.has(0) && again.unsure.has(5) && !again.unsure.has(6));
    }

    #[test]
    fn ranges_of_the_earlier_layout_are_read() {
        let mut writer = Writer::new();
        writer.u64(2);
        writer.length(1);
        writer.stream_id(dot(0, 1).stream);
        writer.incarnation(dot(0, 1).incarnation);
        writer.u64(2);
        writer.length(1);
        [1, 11].into_iter().for_each(|end| writer.u64(end));
        let mut reader = Reader::new(writer.finish());

        let mut read = Counted::read(CountedLayout::Ranges, &mut reader).unwrap();

        assert!(read.count(dot(0, 10), 1).doubled.has(0));
    }

    #[test]
    fn records_without_dots_are_never_doubled() {
        let mut counted = Counted::default();

        for _ in 0..2 {
            assert!(!counted.count(dot(1, 0), 5).doubled.has(0));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let mut counted = Counted::default();
        for n in 0..=u64::try_from(RANGES_LIMIT).unwrap() {
            counted.count(dot(0, 1 + 2 * n), 1);
        }
        let mut has_let_go = false;
        for life in 1..=u32::try_from(LIVES_LIMIT).unwrap() {
            has_let_go |= counted.count(dot(life, 1), 1).has_let_go;
        }

        assert!(counted.lives.len() <= LIVES_LIMIT);
        assert!(has_let_go, "it is said");
        assert!(!counted.count(dot(0, 3), 1).doubled.has(0), "the first life went");
        let last = u32::try_from(LIVES_LIMIT).unwrap();
        assert!(counted.count(dot(last, 1), 1).doubled.has(0));
    }
}
