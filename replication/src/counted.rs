//! Which dots a reader has counted: of a record that is in the logs of two hubs, one copy counts.
//!
//! A device that goes from one hub to another sends the second one what the first did not
//! acknowledge, whether or not it has it on disk. No log is filtered; who reads several of them
//! counts each dot once, whichever copy comes first, without a time after which it forgets.
//!
//! A stream is without gaps, so that what was counted of it is one range, or a few while the logs
//! of some hubs are behind. Cost: O(ranges of the life) for a batch, 16 bytes for a range.

use std::collections::BTreeMap;

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{Dot, Incarnation, StreamId};

/// Most lives of streams; beyond it the one goes that was counted longest ago, and its records
/// would count again.
const LIVES_LIMIT: usize = 65_536;

/// Most ranges of one life; beyond it the oldest goes, and its records would count again.
const RANGES_LIMIT: usize = 256;

/// Sequences from the first to before the second.
type Range = (u64, u64);

/// What was counted of one life of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Life {
    /// In order, with a gap between each and the next.
    ranges: Vec<Range>,
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

impl Counted {
    /// Counts as many records as a batch takes, the first of which has this dot. Records without
    /// dots, of sequence 0, are never counted before.
    pub fn count(&mut self, dot: Dot, span: u64) -> Doubled {
        let Dot { stream, incarnation, sequence } = dot;
        let (from, to) = (sequence.get(), sequence.get().saturating_add(span));
        if from == 0 || from == to {
            return Doubled::default();
        }
        self.batches += 1;
        let fresh = || Life { ranges: Vec::new(), touched: 0 };
        let life = self.lives.entry((stream, incarnation)).or_insert_with(fresh);
        life.touched = self.batches;
        let doubled = life.count((from, to));
        if self.lives.len() > LIVES_LIMIT {
            self.let_go();
        }
        doubled
    }

    /// Lets the sixteenth go that was counted longest ago: devices that are no more.
    fn let_go(&mut self) {
        let mut touched: Vec<u64> = self.lives.values().map(|life| life.touched).collect();
        let (_, oldest, _) = touched.select_nth_unstable(LIVES_LIMIT / 16);
        let oldest = *oldest;
        self.lives.retain(|_, life| life.touched > oldest);
    }

    /// `batches u64 │ lives u32, for each { stream 16 │ incarnation 12 │ touched u64
    /// │ ranges u32, for each { from u64 │ to u64 } }`.
    pub fn write(&self, writer: &mut Writer) {
        let Self { lives, batches } = self;
        writer.u64(*batches);
        writer.length(lives.len());
        for ((stream, incarnation), Life { ranges, touched }) in lives {
            writer.stream_id(*stream);
            writer.incarnation(*incarnation);
            writer.u64(*touched);
            writer.length(ranges.len());
            for (from, to) in ranges {
                writer.u64(*from);
                writer.u64(*to);
            }
        }
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`CodecError`] when the bytes are not of the layout.
    pub fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let mut counted = Self { batches: reader.u64("batches")?, ..Self::default() };
        for _ in 0..reader.length("lives", LIVES_LIMIT)? {
            let of = (reader.stream_id("stream")?, reader.incarnation("incarnation")?);
            let mut life = Life { ranges: Vec::new(), touched: reader.u64("touched")? };
            for _ in 0..reader.length("ranges", RANGES_LIMIT)? {
                let at = reader.position();
                let (from, to) = (reader.u64("from")?, reader.u64("to")?);
                let before = life.ranges.last().map_or(0, |(_, to)| *to);
                if from <= before || to <= from {
                    let found = i64::try_from(from).unwrap_or(i64::MAX);
                    let (field, expected) = ("range", "ranges in order with gaps");
                    return Err(CodecError::Value { field, at, found, expected });
                }
                life.ranges.push((from, to));
            }
            counted.lives.insert(of, life);
        }
        Ok(counted)
    }
}

impl Life {
    fn count(&mut self, (from, to): Range) -> Doubled {
        // The usual case: the next batch of the stream.
        if let Some(last) = self.ranges.last_mut()
            && last.1 == from
        {
            last.1 = to;
            return Doubled::default();
        }
        let first = self.ranges.partition_point(|(_, end)| *end < from);
        let behind = self.ranges.partition_point(|(start, _)| *start <= to);
        let touching = self.ranges.get(first..behind).unwrap_or_default();
        let overlaps = touching.iter().map(|(a, b)| ((*a).max(from), (*b).min(to)));
        let overlaps = overlaps.filter(|(a, b)| a < b).map(|(a, b)| (a - from, b - from));
        let doubled = Doubled(overlaps.collect());
        let start = touching.first().map_or(from, |(start, _)| from.min(*start));
        let end = touching.last().map_or(to, |(_, end)| to.max(*end));
        self.ranges.splice(first..behind, [(start, end)]);
        if self.ranges.len() > RANGES_LIMIT {
            self.ranges.remove(0);
        }
        debug_assert!(self.ranges.iter().zip(self.ranges.iter().skip(1)).all(|(a, b)| a.1 < b.0));
        doubled
    }
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

    proptest! {
        #[test]
        fn each_dot_counts_once_in_whatever_order_batches_come(
            batches in proptest::collection::vec((0_u32..2, 1_u64..60, 1_u64..9), 1..80),
        ) {
            let (mut counted, mut seen) = (Counted::default(), BTreeSet::new());
            for (life, first, span) in batches {
                let doubled = counted.count(dot(life, first), span);

                for place in 0..span {
                    prop_assert_eq!(doubled.has(place), !seen.insert((life, first + place)));
                }
                let mut writer = Writer::new();
                counted.write(&mut writer);
                let read = Counted::read(&mut Reader::new(writer.finish()));
                prop_assert_eq!(read.as_ref(), Ok(&counted));
            }
        }
    }

    #[test]
    fn records_without_dots_are_never_doubled() {
        let mut counted = Counted::default();

        for _ in 0..2 {
            assert!(!counted.count(dot(1, 0), 5).has(0));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let mut counted = Counted::default();
        for n in 0..=u64::try_from(RANGES_LIMIT).unwrap() {
            counted.count(dot(0, 1 + 2 * n), 1);
        }
        for life in 1..=u32::try_from(LIVES_LIMIT).unwrap() {
            counted.count(dot(life, 1), 1);
        }

        assert!(counted.lives.len() <= LIVES_LIMIT);
        assert!(!counted.count(dot(0, 3), 1).has(0), "the first life went");
        assert!(counted.count(dot(u32::try_from(LIVES_LIMIT).unwrap(), 1), 1).has(0));
    }
}
