//! Stretches of event time of which rows are missing here: what windows over them say is never
//! final, because whoever has those rows says otherwise.
//!
//! Of late rows that are missing, or count elsewhere otherwise, *doubts* say as much: what is final
//! leaves late rows out and stands, and corrections behind it are none.
//!
//! # Snapshot
//! ```text
//! gaps     u32, each: first i64 ms │ last i64 ms     ascending, apart from each other
//! doubts   in the same layout, when the highest bit of the number of gaps is set
//! ```
//! Before version 7 of a snapshot that bit was never set.

use headland_event::codec::{CodecError, Reader, Writer};

/// Most stretches that are told apart; beyond it two that are near each other become one, so that
/// windows between them are not final either: of those ahead of what has fired, if there are such,
/// since what was final stays so.
const GAPS_LIMIT: usize = 64;

/// Of the number of gaps: doubts follow.
const WITH_DOUBTS: u32 = 1 << 31;

/// Stretches of event time, in milliseconds, both ends included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Gaps(Vec<(i64, i64)>);

impl Gaps {
    /// Adds a stretch; windows have fired up to `fired`.
    pub(crate) fn add(&mut self, first: i64, last: i64, fired: i64) {
        debug_assert!(first <= last, "a stretch goes forward");
        let (mut first, mut last) = (first, last);
        self.0.retain(|(from, to)| {
            // Two stretches without a millisecond between them are one.
            let is_apart = *to < first.saturating_sub(1) || *from > last.saturating_add(1);
            if !is_apart {
                (first, last) = (first.min(*from), last.max(*to));
            }
            is_apart
        });
        let at = self.0.partition_point(|(from, _)| *from < first);
        self.0.insert(at, (first, last));
        if self.0.len() > GAPS_LIMIT {
            self.join_nearest(fired);
        }
        debug_assert!(self.0.is_sorted_by(|left, right| left.1 < right.0), "apart and in order");
    }

    fn join_nearest(&mut self, fired: i64) {
        let pairs = self.0.iter().zip(self.0.iter().skip(1)).enumerate();
        let nearest = pairs.min_by_key(|(_, ((_, to), (from, _)))| {
            // What lies between two has not fired when the first of them reaches that far.
            (*to < fired, from.saturating_sub(*to))
        });
        let Some((at, (left, right))) = nearest.map(|(at, pair)| (at, (*pair.0, *pair.1))) else {
            return;
        };
        self.0.splice(at..at + 2, [(left.0, right.1)]);
    }

    /// Whether a time from `first` to `last`, both included, is in a stretch.
    pub(crate) fn touch(&self, first: i64, last: i64) -> bool {
        let at = self.0.partition_point(|(_, to)| *to < first);
        self.0.get(at).is_some_and(|(from, _)| *from <= last)
    }

    /// Forgets what lies before a time.
    pub(crate) fn forget_before(&mut self, time: i64) {
        self.0.retain(|(_, to)| *to >= time);
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends gaps and doubts.
    pub(crate) fn write(gaps: &Self, doubts: &Self, writer: &mut Writer) {
        let flag = if doubts.is_empty() { 0 } else { WITH_DOUBTS };
        gaps.write_with(flag, writer);
        if !doubts.is_empty() {
            doubts.write_with(0, writer);
        }
    }

    fn write_with(&self, flag: u32, writer: &mut Writer) {
        // There are few.
        let count = u32::try_from(self.0.len()).unwrap_or(0);
        writer.u32(count | flag);
        for (first, last) in &self.0 {
            writer.i64(*first);
            writer.i64(*last);
        }
    }

    /// Reads the gaps and doubts that [`write`](Self::write) wrote.
    pub(crate) fn read(reader: &mut Reader) -> Result<(Self, Self), CodecError> {
        let (at, count) = (reader.position(), reader.u32("gaps")?);
        let gaps = Self::read_list(at, count & !WITH_DOUBTS, reader)?;
        let at = reader.position();
        let doubts = if count & WITH_DOUBTS == 0 { 0 } else { reader.u32("doubts")? };
        Ok((gaps, Self::read_list(at, doubts, reader)?))
    }

    fn read_list(at: usize, count: u32, reader: &mut Reader) -> Result<Self, CodecError> {
        if usize::try_from(count).is_ok_and(|count| count > GAPS_LIMIT) {
            let (field, found, expected) = ("gaps", i64::from(count), "at most 64 stretches");
            return Err(CodecError::Value { field, at, found, expected });
        }
        let mut gaps = Self::default();
        for _ in 0..count {
            let (at, first) = (reader.position(), reader.i64("gap")?);
            let last = reader.i64("gap")?;
            if last < first || gaps.0.last().is_some_and(|(_, before)| *before >= first) {
                let expected = "stretches of time in ascending order";
                return Err(CodecError::Value { field: "gap", at, found: first, expected });
            }
            gaps.0.push((first, last));
        }
        Ok(gaps)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn restarted(gaps: &Gaps) -> Gaps {
        let mut writer = Writer::new();
        Gaps::write(gaps, &Gaps::default(), &mut writer);
        let (gaps, doubts) = Gaps::read(&mut Reader::new(writer.finish())).unwrap();
        assert!(doubts.is_empty());
        gaps
    }

    #[test]
    fn stretches_that_touch_become_one_and_those_that_do_not_stay_apart() {
        let mut gaps = Gaps::default();
        for (first, last) in [(10, 20), (40, 50), (21, 30), (32, 32)] {
            gaps.add(first, last, i64::MIN);
        }

        assert_eq!(gaps.0, [(10, 30), (32, 32), (40, 50)]);
        assert!(!gaps.touch(31, 31) && gaps.touch(31, 32) && gaps.touch(0, 10));
        assert!(!gaps.touch(0, 9) && !gaps.touch(51, 99));
    }

    #[test]
    fn beyond_their_limit_the_nearest_two_become_one() {
        let mut gaps = Gaps::default();
        for number in 0..64 {
            gaps.add(number * 100, number * 100, i64::MIN);
        }

        gaps.add(250, 250, i64::MIN);
        gaps.add(6_301, 6_301, i64::MIN);

        assert_eq!(gaps.0.len(), GAPS_LIMIT);
        assert!(gaps.touch(230, 230) || gaps.touch(270, 270));
        assert!(gaps.touch(6_300, 6_301) && !gaps.touch(150, 150));
    }

    #[test]
    fn what_has_fired_between_two_stretches_stays_so_when_others_can_become_one() {
        let mut gaps = Gaps::default();
        // The nearest of all lie where windows have fired.
        for number in 0..32 {
            gaps.add(number * 10, number * 10, i64::MIN);
            gaps.add(10_000 + number * 100, 10_000 + number * 100, i64::MIN);
        }

        gaps.add(20_000, 20_000, 5_000);

        assert_eq!(gaps.0.len(), GAPS_LIMIT);
        assert!((0..31).all(|number| !gaps.touch(number * 10 + 1, number * 10 + 9)));
        assert!(gaps.touch(10_001, 10_099) && !gaps.touch(311, 9_999));
    }

    #[test]
    fn stretches_that_overlap_in_a_snapshot_are_refused() {
        let mut writer = Writer::new();
        writer.length(2);
        [0, 5, 5, 9].into_iter().for_each(|time| writer.i64(time));

        let refused = Gaps::read(&mut Reader::new(writer.finish())).unwrap_err();

        assert!(refused.to_string().contains("ascending"), "{refused}");
    }

    proptest! {
        #[test]
        fn every_time_that_was_added_is_in_a_stretch_and_what_has_fired_stays_apart_if_it_can(
            added in prop::collection::vec((0_i64..2_000, 0_i64..9, 0_i64..40), 0..150),
            asked in 0_i64..2_000,
        ) {
            let (mut gaps, mut fired) = (Gaps::default(), i64::MIN);
            for (first, length, further) in &added {
                let (before, last) = (gaps.clone(), first + length);
                gaps.add(*first, last, fired);
                // The millisecond behind each stretch that was there.
                let behind = before.0.iter().map(|(_, to)| to + 1).filter(|time| *time < fired);
                let mut behind = behind.filter(|time| !(*first..=last).contains(time));
                // Two became one where windows have fired: then no two lie ahead of that.
                if behind.any(|time| gaps.touch(time, time)) {
                    let second_last = gaps.0.iter().rev().nth(1);
                    prop_assert!(second_last.is_none_or(|(_, to)| *to < fired), "{fired} {gaps:?}");
                }
                fired = fired.max(0) + further;
            }

            let mut stretches = added.iter().map(|(first, length, _)| *first..=first + length);
            let is_in = stretches.any(|stretch| stretch.contains(&asked));
            prop_assert!(!is_in || gaps.touch(asked, asked));
            prop_assert!(gaps.0.len() <= GAPS_LIMIT);
            prop_assert_eq!(restarted(&gaps), gaps);
        }
    }
}
