//! What is here of logs: their ends, and the gaps below them.
//!
//! A log mostly comes from its beginning and in order. Where the one who sends it has lost a part,
//! or a later part comes first over another way, what is missing stays known as a [`Gap`]: whoever
//! holds it may bring it later, it is taken then, and nothing that is here is taken twice. A part
//! that nobody holds, because a life of a hub began its log there, is a gap at everybody alike and
//! is asked of nobody.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::{Actor, VectorClock};
use crate::id::Offset;
use crate::limits::{CLOCK_ENTRIES_LIMIT, SEEN_GAPS_LIMIT};

/// Most gaps of one log. Parts of a log that are brought in another order leave one or two, so that
/// more are as many places of damage. What does not fit is given up, see [`Gaps::note`].
pub const GAPS_OF_LOG_LIMIT: usize = 64;

/// Most gaps of all logs, so that a report of them fits a batch beside a clock of as many ends.
pub const GAPS_LIMIT: usize = CLOCK_ENTRIES_LIMIT;

/// Offsets of a log that are not here, although later ones are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first that is missing.
    pub from: Offset,
    /// The first behind it that is here.
    pub until: Offset,
}

/// The gaps of each log, by rising offset, none touching another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Gaps {
    by_actor: BTreeMap<Actor, Vec<Gap>>,
}

impl Gaps {
    /// No gap.
    #[must_use]
    pub const fn new() -> Self {
        Self { by_actor: BTreeMap::new() }
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_actor.is_empty()
    }

    /// How many there are. O(logs with gaps).
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_actor.values().map(Vec::len).sum()
    }

    /// Every gap, ordered by log and offset.
    pub fn iter(&self) -> impl Iterator<Item = (&Actor, Gap)> {
        self.by_actor.iter().flat_map(|(actor, gaps)| gaps.iter().map(move |gap| (actor, *gap)))
    }

    /// The gaps of one log.
    #[must_use]
    pub fn of(&self, actor: &Actor) -> &[Gap] {
        self.by_actor.get(actor).map_or(&[], Vec::as_slice)
    }

    /// Adds a gap behind all others of its log; an empty one, or one before others, changes
    /// nothing. Returns the gap that was given up for it: beyond the limits the lowest one of the
    /// log, or the new one when the log has none. What is given up counts as here.
    #[must_use]
    pub fn note(&mut self, actor: &Actor, gap: Gap) -> Option<Gap> {
        let is_behind = self.of(actor).last().is_none_or(|last| last.until < gap.from);
        if gap.from >= gap.until || !is_behind {
            return None;
        }
        if self.of(actor).is_empty() && self.len() >= GAPS_LIMIT {
            return Some(gap);
        }
        self.by_actor.entry(actor.clone()).or_default().push(gap);
        self.trim(actor)
    }

    /// Adds a gap wherever it lies, as one with those that it touches. Returns what was given up
    /// for it, see [`Self::note`].
    #[must_use]
    pub fn add(&mut self, actor: &Actor, gap: Gap) -> Option<Gap> {
        if gap.from >= gap.until {
            return None;
        }
        let gaps = self.by_actor.entry(actor.clone()).or_default();
        let mut whole = gap;
        gaps.retain(|of| {
            let is_apart = of.until < gap.from || gap.until < of.from;
            if !is_apart {
                whole.from = whole.from.min(of.from);
                whole.until = whole.until.max(of.until);
            }
            is_apart
        });
        let at = gaps.partition_point(|of| of.until < whole.from);
        gaps.insert(at, whole);
        self.trim(actor)
    }

    /// The parts of a range that lie in no gap of a log, by rising offset.
    #[must_use]
    pub fn rest(&self, actor: &Actor, range: Gap) -> Vec<Gap> {
        let (mut rest, mut from) = (Vec::new(), range.from);
        for gap in self.of(actor).iter().chain([&Gap { from: range.until, until: range.until }]) {
            let until = gap.from.min(range.until);
            if from < until {
                rest.push(Gap { from, until });
            }
            from = from.max(gap.until);
        }
        rest
    }

    /// Gives up the lowest gaps of a log that are beyond the limits, which parts in the middle of
    /// others bring about; returns from the first to the last of them. To be called before a part
    /// is taken: while its records come one by one, a gap may be in two for a moment.
    #[must_use]
    pub fn trim(&mut self, actor: &Actor) -> Option<Gap> {
        let all = self.len();
        let gaps = self.by_actor.get_mut(actor)?;
        let beyond = gaps.len().saturating_sub(GAPS_OF_LOG_LIMIT);
        let beyond = beyond.max(all.saturating_sub(GAPS_LIMIT)).min(gaps.len());
        let given_up: Vec<Gap> = gaps.drain(..beyond).collect();
        if gaps.is_empty() {
            self.by_actor.remove(actor);
        }
        let (first, last) = (given_up.first()?, given_up.last()?);
        Some(Gap { from: first.from, until: last.until })
    }

    /// Takes offsets out of the gaps of a log; says whether any of them was missing. A gap of which
    /// the middle comes is two then, also beyond the limits, see [`Self::trim`].
    #[must_use]
    pub fn fill(&mut self, actor: &Actor, from: Offset, until: Offset) -> bool {
        if !self.touches(actor, from, until) {
            return false;
        }
        let mut left = Vec::new();
        for gap in self.of(actor) {
            let before = Gap { from: gap.from, until: gap.until.min(from) };
            let behind = Gap { from: gap.from.max(until), until: gap.until };
            left.extend([before, behind].into_iter().filter(|part| part.from < part.until));
        }
        self.by_actor.remove(actor);
        if !left.is_empty() {
            self.by_actor.insert(actor.clone(), left);
        }
        true
    }

    /// The lowest gaps of each log that fit, of as many as are kept; where one does not, none that
    /// is behind it in its log does. O(gaps).
    #[must_use]
    pub fn lowest(&self, mut fits: impl FnMut(&Actor, Gap) -> bool) -> Self {
        let (mut lowest, mut room) = (Self::new(), GAPS_LIMIT);
        for (actor, gaps) in &self.by_actor {
            let gaps = gaps.iter().copied().take(GAPS_OF_LOG_LIMIT.min(room));
            let fitting: Vec<Gap> = gaps.take_while(|gap| fits(actor, *gap)).collect();
            room -= fitting.len();
            if !fitting.is_empty() {
                lowest.by_actor.insert(actor.clone(), fitting);
            }
        }
        lowest
    }

    /// Leaves the gaps of some logs only.
    pub fn retain(&mut self, is_meant: impl Fn(&Actor) -> bool) {
        self.by_actor.retain(|actor, _| is_meant(actor));
    }

    /// Whether any of the offsets is missing.
    #[must_use]
    pub fn touches(&self, actor: &Actor, from: Offset, until: Offset) -> bool {
        self.of(actor).iter().any(|gap| gap.from.max(from) < gap.until.min(until))
    }

    /// Whether one offset of a log is missing. O(log gaps of the log).
    #[must_use]
    pub fn contain(&self, actor: &Actor, offset: Offset) -> bool {
        let gaps = self.of(actor);
        let at = gaps.partition_point(|gap| gap.until <= offset);
        gaps.get(at).is_some_and(|gap| gap.from <= offset)
    }

    /// Whether all of the offsets are missing.
    #[must_use]
    pub fn spans(&self, actor: &Actor, from: Offset, until: Offset) -> bool {
        from >= until || self.of(actor).iter().any(|gap| gap.from <= from && until <= gap.until)
    }
}

/// What is here of each log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extent {
    ends: VectorClock,
    gaps: Gaps,
}

/// What a part of a log is to what is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// All of it was here.
    Known,
    /// Some of it was not.
    New,
    /// Some of it was not, and a gap did not fit any more: what lies in it counts as here.
    GivenUp(Gap),
}

impl Extent {
    /// Ends, and what is missing below them.
    #[must_use]
    pub const fn new(ends: VectorClock, gaps: Gaps) -> Self {
        Self { ends, gaps }
    }

    /// The end of what is here of each log, whatever is missing below it.
    #[must_use]
    pub const fn ends(&self) -> &VectorClock {
        &self.ends
    }

    /// What is missing below the ends.
    #[must_use]
    pub const fn gaps(&self) -> &Gaps {
        &self.gaps
    }

    /// What is left without some ranges of logs. Beyond the limits of gaps the lowest of a log are
    /// left out, and count as here.
    #[must_use]
    pub fn without(&self, lost: &Gaps) -> Self {
        let mut left = self.clone();
        for (actor, gap) in lost.iter() {
            let _given_up = left.gaps.add(actor, gap);
        }
        left
    }

    /// Whether all of a part of a log is here.
    #[must_use]
    pub fn has(&self, actor: &Actor, from: Offset, until: Offset) -> bool {
        self.ends.end(actor) >= until && !self.gaps.touches(actor, from, until)
    }

    /// Whether the record at `offset` of a log is here.
    #[must_use]
    pub fn includes(&self, actor: &Actor, offset: Offset) -> bool {
        self.ends.includes(actor, offset) && !self.gaps.contain(actor, offset)
    }

    /// What the writer of log `own` has seen when this is here, as a stamp says it: of its own log
    /// all that it wrote before, and of the others all but the first [`SEEN_GAPS_LIMIT`] gaps. What
    /// lies in further ones it claims to have seen: were ends lowered instead, nothing could be
    /// written after what lies behind them. O(actors + gaps).
    #[must_use]
    pub fn seen_by(&self, own: &Actor) -> Self {
        let mut gaps = Gaps::new();
        let others = self.gaps.iter().filter(|(actor, _)| *actor != own);
        for (actor, gap) in others.take(SEEN_GAPS_LIMIT) {
            let _given_up = gaps.note(actor, gap);
        }
        Self { ends: self.ends.clone(), gaps }
    }

    /// Whether all that is in `other` is here. O(actors + gaps of both).
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.ends.iter().all(|(actor, end)| {
            let here = self.ends.end(actor);
            let mut gaps = self.gaps.of(actor).iter();
            other.gaps.spans(actor, here, end)
                && gaps.all(|gap| other.gaps.spans(actor, gap.from, gap.until.min(end)))
        })
    }

    /// What is in both. Of a log with more gaps than are kept it ends before the first that is not.
    /// O((actors + gaps of both) × log gaps).
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        let (mut both, mut room) = (Self::default(), GAPS_LIMIT);
        for (actor, end) in self.ends.meet(&other.ends).iter() {
            let mut gaps: Vec<Gap> = Vec::new();
            let mut all: Vec<Gap> =
                self.missing(actor, end).chain(other.missing(actor, end)).collect();
            all.sort_unstable_by_key(|gap| gap.from);
            for Gap { from, until } in all {
                let until = until.min(end);
                match gaps.last_mut().filter(|last| from <= last.until) {
                    Some(last) => last.until = last.until.max(until),
                    None if from < until => gaps.push(Gap { from, until }),
                    None => {}
                }
            }
            let fitting = GAPS_OF_LOG_LIMIT.min(room);
            let end = gaps.get(fitting).map_or(end, |beyond| beyond.from);
            gaps.truncate(fitting);
            room -= gaps.len();
            both.ends.advance(actor, end);
            if !gaps.is_empty() {
                both.gaps.by_actor.insert(actor.clone(), gaps);
            }
        }
        both
    }

    /// What is in one of them at least. Of a log with more gaps than are kept the highest count as
    /// if they were in one. O(actors + gaps of both).
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        let (mut ends, mut room) = (self.ends.clone(), GAPS_LIMIT);
        ends.merge(&other.ends);
        let mut gaps = Gaps::new();
        for (actor, end) in ends.iter() {
            let (mut mine, mut theirs) =
                (self.missing(actor, end).peekable(), other.missing(actor, end).peekable());
            let mut shared = Vec::new();
            while let (Some(one), Some(of)) = (mine.peek(), theirs.peek()) {
                let (from, until) = (one.from.max(of.from), one.until.min(of.until));
                if from < until {
                    shared.push(Gap { from, until });
                }
                let _passed = if one.until < of.until { mine.next() } else { theirs.next() };
            }
            shared.truncate(GAPS_OF_LOG_LIMIT.min(room));
            room -= shared.len();
            if !shared.is_empty() {
                gaps.by_actor.insert(actor.clone(), shared);
            }
        }
        Self { ends, gaps }
    }

    /// What is not here of a log below an end, by rising offset.
    fn missing(&self, actor: &Actor, end: Offset) -> impl Iterator<Item = Gap> {
        let behind = Gap { from: self.ends.end(actor), until: end };
        let gaps = self.gaps.of(actor).iter().copied().chain([behind]);
        gaps.filter(|gap| gap.from < gap.until)
    }

    /// Takes offsets out of the gaps of a log; where it ends stays.
    pub fn fill(&mut self, actor: &Actor, from: Offset, until: Offset) {
        let _was_missing = self.gaps.fill(actor, from, until);
    }

    /// Takes a part of a log in; what lies between it and the end before is a gap.
    #[must_use]
    pub fn take(&mut self, actor: &Actor, from: Offset, until: Offset) -> Taken {
        let end = self.ends.end(actor);
        let given_up = if from > end {
            self.gaps.note(actor, Gap { from: end, until: from })
        } else {
            self.gaps.trim(actor)
        };
        let is_filled = self.gaps.fill(actor, from, until);
        if until <= end && !is_filled {
            return Taken::Known;
        }
        self.ends.advance(actor, until);
        given_up.map_or(Taken::New, Taken::GivenUp)
    }

    /// Whether `other` has something of a log, up to `until`, that lies in a gap here.
    #[must_use]
    pub fn lacks_within(&self, other: &Self, actor: &Actor, until: Offset) -> bool {
        let until = until.min(other.ends.end(actor));
        let mut gaps = self.gaps.of(actor).iter();
        gaps.any(|gap| !other.gaps.spans(actor, gap.from, gap.until.min(until)))
    }

    /// Whether `other` has something of a log, up to `until`, that lies behind the end here.
    #[must_use]
    pub fn lacks_behind(&self, other: &Self, actor: &Actor, until: Offset) -> bool {
        let until = until.min(other.ends.end(actor));
        !other.gaps.spans(actor, self.ends.end(actor), until)
    }
}

impl From<VectorClock> for Extent {
    /// All below some ends.
    fn from(ends: VectorClock) -> Self {
        Self { ends, gaps: Gaps::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::id::{Incarnation, PartitionIndex, RegionId};

    fn actor(partition: u32) -> Actor {
        Actor {
            region: RegionId::new("eu").unwrap(),
            incarnation: Incarnation::new(1, 9),
            partition: PartitionIndex::new(partition),
        }
    }

    fn gap(from: u64, until: u64) -> Gap {
        Gap { from: Offset::new(from), until: Offset::new(until) }
    }

    fn take(extent: &mut Extent, from: u64, until: u64) -> Taken {
        extent.take(&actor(0), Offset::new(from), Offset::new(until))
    }

    #[test]
    fn what_a_later_part_passes_over_is_a_gap_until_it_comes() {
        let mut extent = Extent::default();

        let taken =
            [(0, 2), (5, 8), (0, 2), (3, 5), (3, 6), (2, 3), (2, 3)].map(|(from, until)| {
                let taken = take(&mut extent, from, until);
                (taken, extent.gaps().of(&actor(0)).to_vec())
            });

        let (new, known) = (Taken::New, Taken::Known);
        let expected = [
            (new, vec![]),
            (new, vec![gap(2, 5)]),
            (known, vec![gap(2, 5)]),
            (new, vec![gap(2, 3)]),
            (known, vec![gap(2, 3)]),
            (new, vec![]),
            (known, vec![]),
        ];
        assert_eq!(taken, expected);
        assert!(extent.gaps().is_empty());
    }

    #[test]
    fn beyond_the_limit_of_a_log_its_lowest_gap_is_given_up() {
        let mut extent = Extent::default();
        let count = u64::try_from(GAPS_OF_LOG_LIMIT).unwrap();
        for at in 1..=count {
            assert_eq!(take(&mut extent, at * 2 - 1, at * 2), Taken::New);
        }

        let beyond = take(&mut extent, count * 2 + 1, count * 2 + 2);

        assert_eq!(beyond, Taken::GivenUp(gap(0, 1)));
        assert_eq!(extent.gaps().len(), GAPS_OF_LOG_LIMIT);
        assert!(extent.has(&actor(0), Offset::new(0), Offset::new(2)));
    }

    #[test]
    fn a_part_at_the_end_of_a_gap_gives_none_up_though_its_records_come_one_by_one() {
        let count = u64::try_from(GAPS_OF_LOG_LIMIT).unwrap();
        let mut extent = Extent::default();
        for at in 1..=count {
            assert_eq!(take(&mut extent, at * 10, at * 10 + 1), Taken::New);
        }
        let mut one_by_one = extent.gaps().clone();

        assert_eq!(take(&mut extent, 15, 20), Taken::New);
        assert_eq!(one_by_one.trim(&actor(0)), None);
        for at in 15..20 {
            assert!(one_by_one.fill(&actor(0), Offset::new(at), Offset::new(at + 1)));
        }

        assert_eq!(one_by_one, *extent.gaps());
        assert_eq!(extent.gaps().len(), GAPS_OF_LOG_LIMIT);
    }

    #[test]
    fn a_gap_of_which_the_middle_came_is_two_until_another_part_comes() {
        let count = u64::try_from(GAPS_OF_LOG_LIMIT).unwrap();
        let mut extent = Extent::default();
        for at in 1..=count {
            assert_eq!(take(&mut extent, at * 10, at * 10 + 1), Taken::New);
        }

        let taken = [(35, 36), (45, 46), (50, 51)].map(|(from, to)| take(&mut extent, from, to));

        assert_eq!(taken, [Taken::New, Taken::GivenUp(gap(0, 10)), Taken::Known]);
        assert_eq!(extent.gaps().len(), GAPS_OF_LOG_LIMIT);
    }

    #[test]
    fn beyond_the_limit_of_all_a_log_without_gaps_gets_none() {
        let mut gaps = Gaps::new();
        let logs = u32::try_from(GAPS_LIMIT).unwrap();
        for log in 0..logs {
            assert_eq!(gaps.note(&actor(log), gap(0, 1)), None);
        }

        assert_eq!(gaps.note(&actor(logs), gap(3, 4)), Some(gap(3, 4)));
        assert_eq!(gaps.note(&actor(7), gap(3, 4)), Some(gap(0, 1)));
        assert_eq!((gaps.len(), gaps.of(&actor(logs))), (GAPS_LIMIT, &[][..]));
    }

    #[test]
    fn a_writer_has_seen_its_own_log_and_names_the_first_gaps_of_others() {
        let mut here = Extent::default();
        let logs = u32::try_from(SEEN_GAPS_LIMIT).unwrap() + 2;
        for log in 0..logs {
            for (from, until) in [(0, 2), (5, 8)] {
                let _taken = here.take(&actor(log), Offset::new(from), Offset::new(until));
            }
        }

        let seen = here.seen_by(&actor(1));

        assert_eq!((seen.ends(), seen.gaps().len()), (here.ends(), SEEN_GAPS_LIMIT));
        let has_seen = |log| seen.includes(&actor(log), Offset::new(3));
        assert_eq!([0, 1, 2, logs - 2, logs - 1].map(has_seen), [false, true, false, false, true]);
        assert_eq!(Extent::from(here.ends().clone()).seen_by(&actor(1)).gaps(), &Gaps::new());
    }

    /// All of a log but so many single offsets, every fourth from one on.
    fn without_every_fourth(first: u64, count: u64) -> Extent {
        let gaps = (0..count).map(|at| gap(first + 4 * at, first + 4 * at + 1)).collect();
        let mut extent = Extent::default();
        let _taken = extent.take(&actor(0), Offset::new(0), Offset::new(1_000));
        extent.gaps.by_actor.insert(actor(0), gaps);
        extent
    }

    #[test]
    fn what_is_in_both_ends_before_a_gap_that_does_not_fit_and_what_is_in_one_has_it() {
        let (one, other) = (without_every_fourth(0, 40), without_every_fourth(2, 40));
        let set = |of: &Extent| -> BTreeSet<u64> {
            (0..1_000).filter(|at| of.includes(&actor(0), Offset::new(*at))).collect()
        };

        let both = one.meet(&other);

        assert_eq!(both.gaps().len(), GAPS_OF_LOG_LIMIT);
        let all: BTreeSet<u64> = set(&one).intersection(&set(&other)).copied().collect();
        let end = both.ends().end(&actor(0)).get();
        assert_eq!((set(&both), end), (all.range(..128).copied().collect(), 128));
        assert!(one.covers(&both) && other.covers(&both));
        let wide = without_every_fourth(0, 80);
        assert!(wide.join(&wide).covers(&wide));
        assert_eq!(wide.join(&wide).gaps().len(), GAPS_OF_LOG_LIMIT);
        assert_eq!(set(&one.join(&other)).len(), 1_000);
    }

    #[test]
    fn beyond_the_gaps_of_all_logs_a_log_ends_before_its_first() {
        let mut ends = VectorClock::new();
        let mut gaps = Gaps::new();
        let logs = u32::try_from(GAPS_LIMIT).unwrap();
        for log in 0..=logs {
            ends.advance(&actor(log), Offset::new(9));
            gaps.by_actor.insert(actor(log), vec![gap(3, 5)]);
        }
        let many = Extent::new(ends, gaps);

        let both = many.meet(&many);

        assert_eq!(both.gaps().len(), GAPS_LIMIT);
        let end = |log| both.ends().end(&actor(log)).get();
        assert_eq!([end(0), end(logs - 1), end(logs)], [9, 9, 3]);
    }

    proptest! {
        #[test]
        fn an_extent_is_the_set_of_offsets_that_were_taken(
            parts in vec((0..30_u64, 1..6_u64), 0..12), others in vec((0..30_u64, 1..6_u64), 0..12),
            until in 0..40_u64,
        ) {
            let of = |parts: &[(u64, u64)]| {
                let (mut extent, mut set) = (Extent::default(), BTreeSet::new());
                for (from, length) in parts {
                    let is_new = (*from..from + length).any(|at| !set.contains(&at));
                    let taken = take(&mut extent, *from, from + length);
                    assert_eq!(taken == Taken::New, is_new);
                    set.extend(*from..from + length);
                }
                (extent, set)
            };
            let ((here, mine), (there, theirs)) = (of(&parts), of(&others));
            let end = mine.last().map_or(0, |last| last + 1);

            for at in 0..40 {
                let has = here.has(&actor(0), Offset::new(at), Offset::new(at + 1));
                prop_assert_eq!(has, mine.contains(&at));
                prop_assert_eq!(here.includes(&actor(0), Offset::new(at)), has);
            }
            let lacked = theirs.difference(&mine).filter(|at| **at < until);
            let (within, behind): (Vec<u64>, Vec<u64>) = lacked.partition(|at| **at < end);
            let (range, mut taken) = (gap(until / 2, until), Gaps::new());
            for (from, length) in &parts {
                prop_assert_eq!(taken.add(&actor(0), gap(*from, from + length)), None);
            }
            let rest = taken.rest(&actor(0), range);
            for at in 0..40 {
                let is_left = rest.iter().any(|of| of.from.get() <= at && at < of.until.get());
                let is_meant = until / 2 <= at && at < until && !mine.contains(&at);
                prop_assert_eq!(is_left, is_meant);
                let (at, behind) = (Offset::new(at), Offset::new(at + 1));
                let without = here.without(&taken).has(&actor(0), at, behind);
                prop_assert!(!without, "all of it is lost");
            }
            let set = |of: &Extent| -> BTreeSet<u64> {
                (0..40).filter(|at| of.includes(&actor(0), Offset::new(*at))).collect()
            };
            let (both, either) = (here.meet(&there), here.join(&there));
            prop_assert_eq!(set(&both), mine.intersection(&theirs).copied().collect());
            prop_assert_eq!(set(&either), mine.union(&theirs).copied().collect());
            prop_assert_eq!(here.covers(&there), theirs.is_subset(&mine));
            prop_assert!(here.covers(&both) && either.covers(&here) && either.covers(&there));
            let until = Offset::new(until);
            prop_assert_eq!(here.lacks_within(&there, &actor(0), until), !within.is_empty());
            prop_assert_eq!(here.lacks_behind(&there, &actor(0), until), !behind.is_empty());
        }
    }
}
