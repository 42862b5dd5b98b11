//! How many bytes and how much time lie between two offsets of a partition.
//!
//! Lag in records is a difference of offsets. For bytes and time a node keeps marks along each
//! partition it writes: at some offsets, how many bytes stand before, the highest event time so
//! far, and when it was written here. There are at most `MARKS_LIMIT`; then every second one
//! goes, so that what is near the end stays exact, and what is further back is read off between two
//! marks as if it had come evenly.

use std::collections::VecDeque;
use std::time::Duration;

use headland_event::{ByteCount, EventTime, Monotonic, Offset};

/// Most marks of a partition: 2.5 KiB at most.
pub const MARKS_LIMIT: usize = 64;

/// In how many parts the records between two marks are told apart by when they were written.
const PARTS: u64 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    /// The offset after what was written.
    end: Offset,
    /// Bytes of everything before it, since the first mark.
    bytes: u64,
    /// The highest event time before it.
    event_time: EventTime,
    /// When the last entry before it was written.
    written: Monotonic,
    /// When the first entry since the mark before was.
    began: Monotonic,
}

impl Mark {
    /// When the record at `offset` was written, of those since the mark `before`: entries that are
    /// not told apart any more came evenly.
    fn written_at(&self, before: &Self, offset: Offset) -> Monotonic {
        let last = u128::from(self.end.since(before.end).saturating_sub(1));
        let past = u128::from(offset.since(before.end)).min(last);
        let took = self.written.since(self.began);
        let share = (took.as_nanos() * past).checked_div(last).unwrap_or(took.as_nanos());
        self.began.after(Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX)))
    }
}

/// Marks along one partition.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    marks: VecDeque<Mark>,
}

/// What a receiver of a partition lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outstanding {
    /// Records.
    pub records: u64,
    /// Bytes of their batches; of records from before the first mark, as many as others have on
    /// average.
    pub bytes: ByteCount,
    /// From the event time the receiver has seen to that of the newest record.
    pub event_time: Duration,
    /// For how long the oldest of them has been here; at least that, of a record from before the
    /// first mark.
    pub age: Duration,
}

impl Outstanding {
    /// This and more: numbers add up, times are those of the worst.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            records: self.records.saturating_add(other.records),
            bytes: ByteCount::new(self.bytes.get().saturating_add(other.bytes.get())),
            event_time: self.event_time.max(other.event_time),
            age: self.age.max(other.age),
        }
    }
}

impl Marks {
    /// No marks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An entry of `bytes` is durable that starts at `base` and ends before `end`.
    pub fn on_entry(
        &mut self,
        (base, end): (Offset, Offset),
        bytes: ByteCount,
        event_time: EventTime,
        now: Monotonic,
    ) {
        if self.marks.is_empty() {
            // What stands before is older than anything this run has seen.
            let first = Mark { end: base, bytes: 0, event_time, written: now, began: now };
            self.marks.push_back(first);
        }
        let Some(last) = self.marks.back().copied() else { return };
        debug_assert!(last.end <= base, "a log grows at its end");
        let next = Mark {
            end,
            bytes: last.bytes.saturating_add(bytes.get()),
            event_time: event_time.max(last.event_time),
            written: now,
            began: now,
        };
        self.marks.push_back(next);
        if self.marks.len() > MARKS_LIMIT {
            self.thin();
        }
    }

    /// Takes out every second mark but the first and the last.
    fn thin(&mut self) {
        let last = self.marks.len().saturating_sub(1);
        let mut began = None;
        let mut kept = VecDeque::with_capacity(MARKS_LIMIT + 1);
        for (at, mark) in self.marks.iter().enumerate() {
            // What was written since the mark that stays begins with the mark that goes.
            let from = began.take().unwrap_or(mark.began);
            if at % 2 == 0 || at == last {
                kept.push_back(Mark { began: from, ..*mark });
            } else {
                began = Some(from);
            }
        }
        self.marks = kept;
    }

    /// What a receiver lacks that has everything before `from`, while the log ends at `head`.
    /// Cost: O(marks).
    #[must_use]
    pub fn outstanding(&self, from: Offset, head: Offset, now: Monotonic) -> Outstanding {
        let records = head.since(from);
        let (Some(first), Some(last)) = (self.marks.front(), self.marks.back()) else {
            return Outstanding { records, ..Outstanding::default() };
        };
        if records == 0 {
            return Outstanding::default();
        }
        let at = self.marks.iter().rev().find(|mark| mark.end <= from).unwrap_or(first);
        let after = self.marks.iter().find(|mark| mark.end > from).unwrap_or(last);
        let known = last.bytes.saturating_sub(between(at, after, from));
        let before = first.end.since(from);
        let mean = last.bytes.checked_div(last.end.since(first.end)).unwrap_or_default();
        let event_time = last.event_time.millis_since(at.event_time);
        let oldest = if before > 0 { first.written } else { after.written_at(at, from) };
        Outstanding {
            records,
            bytes: ByteCount::new(known.saturating_add(before.saturating_mul(mean))),
            event_time: Duration::from_millis(u64::try_from(event_time).unwrap_or(0)),
            age: now.since(oldest),
        }
    }

    /// Records between two offsets with when they were written, the last ones first; of what was
    /// written before the first mark that is not known. Cost: O(marks behind `from`).
    pub fn written(
        &self,
        from: Offset,
        until: Offset,
    ) -> impl Iterator<Item = (u64, Monotonic)> + '_ {
        let marks = self.marks.iter().rev().zip(self.marks.iter().rev().skip(1));
        let marks = marks.take_while(move |(mark, _)| mark.end > from);
        marks.flat_map(move |(mark, before)| {
            let start = before.end.max(from);
            let records = mark.end.min(until).since(start);
            let parts = if mark.began == mark.written { 1 } else { PARTS }.min(records);
            let bound = move |part: u64| {
                let past = (u128::from(records) * u128::from(part)).checked_div(parts.into());
                past.and_then(|past| u64::try_from(past).ok()).unwrap_or(records)
            };
            (0..parts).rev().map(move |part| {
                let (low, high) = (bound(part), bound(part + 1));
                let middle = start.after((low + high) / 2);
                (high - low, mark.written_at(before, middle))
            })
        })
    }
}

/// Bytes before `from`, which lies at or after one mark and before the next, in proportion.
fn between(at: &Mark, after: &Mark, from: Offset) -> u64 {
    let (span, past) = (after.end.since(at.end), from.since(at.end));
    let bytes = u128::from(after.bytes.saturating_sub(at.bytes));
    let share = (bytes * u128::from(past)).checked_div(u128::from(span)).unwrap_or(0);
    at.bytes.saturating_add(u64::try_from(share).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: u64) -> Monotonic {
        Monotonic::from_millis(second * 1_000)
    }

    /// Ten entries of ten records and 1,000 bytes, one a second, an hour of event time each.
    fn ten() -> Marks {
        let mut marks = Marks::new();
        for entry in 0..10 {
            let span = (Offset::new(entry * 10), Offset::new(entry * 10 + 10));
            let time = EventTime::from_millis(3_600_000 * entry.cast_signed());
            marks.on_entry(span, ByteCount::new(1_000), time, at(entry));
        }
        marks
    }

    #[test]
    fn what_is_outstanding_is_known_in_records_bytes_event_time_and_age() {
        let outstanding = ten().outstanding(Offset::new(70), Offset::new(100), at(20));

        let expected = Outstanding {
            records: 30,
            bytes: ByteCount::new(3_000),
            event_time: Duration::from_hours(3),
            age: Duration::from_secs(13),
        };
        assert_eq!(outstanding, expected);
    }

    #[test]
    fn nothing_is_outstanding_at_the_end_however_long_ago_it_was_written() {
        let outstanding = ten().outstanding(Offset::new(100), Offset::new(100), at(9_000));

        assert_eq!(outstanding, Outstanding::default());
    }

    #[test]
    fn age_grows_while_nothing_is_written() {
        let marks = ten();

        let [soon, later] = [10, 70]
            .map(|second| marks.outstanding(Offset::new(95), Offset::new(100), at(second)).age);

        assert_eq!((soon, later), (Duration::from_secs(1), Duration::from_secs(61)));
    }

    #[test]
    fn what_lies_between_two_offsets_was_written_when_its_entries_were() {
        let marks = ten();

        let written = |from, until| {
            let written = marks.written(Offset::new(from), Offset::new(until));
            written.collect::<Vec<_>>()
        };

        assert_eq!(written(75, 92), [(2, at(9)), (10, at(8)), (5, at(7))]);
        assert_eq!(written(0, 10), [(10, at(0))]);
        assert_eq!(
            [written(100, 100), written(50, 50), written(50, 40)],
            [const { Vec::new() }; 3]
        );
    }

    /// A record each millisecond, 10,000 of them; all that was kept of the first ones is where they
    /// began and ended.
    #[test]
    fn of_a_long_backlog_it_is_known_when_its_records_were_written() {
        let mut marks = Marks::new();
        for entry in 0..10_000 {
            let span = (Offset::new(entry), Offset::new(entry + 1));
            let written = Monotonic::from_millis(entry);
            marks.on_entry(span, ByteCount::new(100), EventTime::default(), written);
        }
        let (now, head) = (Monotonic::from_millis(10_000), Offset::new(10_000));

        let written: Vec<_> = marks.written(Offset::new(0), head).collect();
        let records: u64 = written.iter().map(|(records, _)| records).sum();
        let waited = |of: &(u64, Monotonic)| u128::from(of.0) * now.since(of.1).as_millis();
        let mean = written.iter().map(waited).sum::<u128>() / 10_000;
        let ages = [0, 2_500, 5_000, 7_500, 9_999]
            .map(|from| marks.outstanding(Offset::new(from), head, now).age.as_millis());

        assert_eq!(records, 10_000);
        assert!((4_990..=5_010).contains(&mean), "{mean} ms");
        assert_eq!(ages, [10_000, 7_500, 5_000, 2_500, 1]);
        assert!(written.is_sorted_by(|(_, later), (_, earlier)| later >= earlier));
    }

    #[test]
    fn records_of_before_the_first_mark_count_by_the_mean_of_the_others() {
        let mut marks = Marks::new();
        let span = (Offset::new(1_000), Offset::new(1_010));
        marks.on_entry(span, ByteCount::new(500), EventTime::default(), at(1));

        let outstanding = marks.outstanding(Offset::new(0), Offset::new(1_010), at(5));

        assert_eq!((outstanding.records, outstanding.bytes.get()), (1_010, 50_500));
        assert_eq!(outstanding.age, Duration::from_secs(4));
    }

    proptest! {
        #[test]
        fn marks_are_bounded_and_bytes_grow_with_records(
            spans in proptest::collection::vec((1_u64..100, 0_u64..1_000), 1..400),
        ) {
            let (mut marks, mut end) = (Marks::new(), 0);
            for (second, (span, bytes)) in (0_u64..).zip(&spans) {
                let offsets = (Offset::new(end), Offset::new(end + span));
                let time = EventTime::default();
                marks.on_entry(offsets, ByteCount::new(*bytes), time, at(second));
                end += span;
            }
            let total: u64 = spans.iter().map(|(_, bytes)| bytes).sum();
            let bytes = |from| {
                marks.outstanding(Offset::new(from), Offset::new(end), at(1_000)).bytes.get()
            };

            prop_assert!(marks.marks.len() <= MARKS_LIMIT);
            prop_assert_eq!(bytes(0), total);
            prop_assert!((0..end).all(|from| bytes(from) >= bytes(from + 1)));
        }
    }
}
