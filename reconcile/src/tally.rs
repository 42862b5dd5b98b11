//! The cells of one shelf, small as long as one log writes to it.
//!
//! Most shelves are written through one partition of one hub, and there are millions of them. Their
//! one cell stands here in 40 bytes; with a second actor it becomes [`Cells`], which says the same.

use headland_event::Offset;
use serde::{Deserialize, Serialize};

use crate::actor::{ActorIndex, Spot};
use crate::cell::{self, Asked, Beyond, Cells, Mark, Seen, Sides};
use crate::second::Second;

/// The cells of one shelf.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Tally {
    /// Nothing was posted.
    #[default]
    Empty,
    /// One actor posted.
    One(Cell),
    /// Several did.
    Many(Box<Cells<ActorIndex>>),
}

/// The cell of one actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cell {
    actor: ActorIndex,
    /// When the latest posting happened; snapshots keep it apart.
    #[serde(skip)]
    second: Second,
    sides: Sides,
    /// The latest posting.
    offset: Offset,
    /// Those before it; most cells have none.
    older: Option<Box<Older>>,
}

/// Marks before the latest one, by rising offset. The first one stands by itself, so that the
/// second posting to a shelf takes one allocation of 40 bytes. In snapshots it is a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Mark>", into = "Vec<Mark>")]
struct Older {
    first: Mark,
    rest: Vec<Mark>,
}

impl Older {
    const fn len(&self) -> usize {
        1 + self.rest.len()
    }

    fn net_before(&self, end: Offset) -> i64 {
        match self.rest.first() {
            Some(second) if second.offset < end => cell::net_before(&self.rest, end),
            Some(_) | None => cell::net_before(std::slice::from_ref(&self.first), end),
        }
    }

    /// The marks at or behind an end.
    fn behind(&self, end: Offset) -> impl Iterator<Item = &Mark> {
        let inside = self.rest.partition_point(|mark| mark.offset < end);
        let first = Some(&self.first).filter(|mark| mark.offset >= end);
        first.into_iter().chain(self.rest.iter().skip(inside))
    }
}

impl TryFrom<Vec<Mark>> for Older {
    type Error = &'static str;

    fn try_from(marks: Vec<Mark>) -> Result<Self, Self::Error> {
        let mut marks = marks.into_iter();
        let first = marks.next().ok_or("a cell names older marks and has none")?;
        Ok(Self { first, rest: marks.collect() })
    }
}

impl From<Older> for Vec<Mark> {
    fn from(Older { first, rest }: Older) -> Self {
        std::iter::once(first).chain(rest).collect()
    }
}

impl Cell {
    fn net(&self) -> i64 {
        // Both sides stay far below 2^63: sums are exact while postings keep to their limit.
        self.sides.raised.cast_signed() - self.sides.lowered.cast_signed()
    }

    fn post(&mut self, offset: Offset, second: Second, delta: i64) {
        if offset <= self.offset {
            return self.insert(offset, second, delta);
        }
        let mark = self.last();
        match &mut self.older {
            Some(older) => older.rest.push(mark),
            None => self.older = Some(Box::new(Older { first: mark, rest: Vec::new() })),
        }
        (self.offset, self.second) = (offset, second);
        self.sides.add(delta);
    }

    /// Adds a posting before others of its log, unless there is a mark of it.
    #[cold]
    fn insert(&mut self, offset: Offset, second: Second, delta: i64) {
        let mut marks = self.marks();
        if !cell::add(&mut marks, offset, second, delta) {
            return;
        }
        // The latest posting stands in the cell.
        let _latest = marks.pop();
        self.older = Older::try_from(marks).ok().map(Box::new);
        self.sides.add(delta);
    }

    /// The mark of the latest posting.
    fn last(&self) -> Mark {
        Mark { offset: self.offset, net: self.net(), second: self.second }
    }

    /// Every mark.
    fn marks(&self) -> Vec<Mark> {
        let older = self.older.iter();
        let older = older.flat_map(|older| std::iter::once(&older.first).chain(&older.rest));
        older.copied().chain([self.last()]).collect()
    }

    fn net_before(&self, end: Offset) -> i64 {
        if self.offset < end {
            self.net()
        } else {
            self.older.as_ref().map_or(0, |older| older.net_before(end))
        }
    }

    /// Does what [`cell::beyond`] does, without a copy of the history.
    fn beyond(&self, asked: Asked<'_>) -> Vec<Beyond> {
        let Asked { seen: Seen { end, unseen }, by } = asked;
        if !unseen.is_empty() {
            return cell::beyond(&self.marks(), asked);
        }
        let last = Some(self.last()).filter(|last| last.offset >= end);
        let older = self.older.iter().flat_map(|older| older.behind(end));
        cell::made_by(by, self.net_before(end), older.chain(last.as_ref()))
    }

    fn to_cells(&self) -> Cells<ActorIndex> {
        let mut cells = Cells::new();
        cells.adopt(&self.actor, self.sides, self.marks());
        cells
    }
}

impl Sides {
    fn add(&mut self, delta: i64) {
        let side = if delta < 0 { &mut self.lowered } else { &mut self.raised };
        *side += delta.unsigned_abs();
    }
}

impl Tally {
    /// Adds a posting; one of which there is a mark changes nothing. O(1) for one actor, else
    /// O(log actors), and O(postings of its actor) before others of its log.
    pub(crate) fn post(&mut self, at: Spot, second: Second, delta: i64) {
        let Spot { actor, offset } = at;
        match self {
            Self::Empty => {
                let mut sides = Sides::default();
                sides.add(delta);
                *self = Self::One(Cell { actor, second, sides, offset, older: None });
            }
            Self::One(cell) if cell.actor == actor => cell.post(offset, second, delta),
            Self::One(_) => {
                if let Self::One(cell) = std::mem::take(self) {
                    let mut cells = cell.to_cells();
                    cells.post(&actor, offset, second, delta);
                    *self = Self::Many(Box::new(cells));
                }
            }
            Self::Many(cells) => cells.post(&actor, offset, second, delta),
        }
    }

    /// Units over all actors.
    pub(crate) fn total(&self) -> i64 {
        match self {
            Self::Empty => 0,
            Self::One(cell) => cell.net(),
            Self::Many(cells) => cells.total(),
        }
    }

    /// What [`Self::total`] is of what was seen of each actor's log.
    pub(crate) fn total_at<'a>(&self, seen: impl Fn(ActorIndex) -> Seen<'a>) -> i64 {
        match self {
            Self::Empty => 0,
            Self::One(cell) => seen(cell.actor).net(|end| cell.net_before(end)),
            Self::Many(cells) => cells.total_at(|actor| seen(*actor)),
        }
    }

    /// Does what [`Cells::beyond`] does.
    pub(crate) fn beyond<'a>(
        &self,
        asked: impl Fn(ActorIndex) -> Asked<'a>,
    ) -> Vec<(Spot, Beyond)> {
        let at = |actor, beyond: Beyond| (Spot { actor, offset: beyond.offset }, beyond);
        match self {
            Self::Empty => Vec::new(),
            Self::One(cell) => {
                let beyond = cell.beyond(asked(cell.actor)).into_iter();
                beyond.map(|beyond| at(cell.actor, beyond)).collect()
            }
            Self::Many(cells) => {
                let beyond = cells.beyond(|actor| asked(*actor));
                beyond.into_iter().map(|(actor, beyond)| at(actor, beyond)).collect()
            }
        }
    }

    /// Does what [`Cells::compact`] does.
    pub(crate) fn compact<'a>(
        &mut self,
        stable: impl Fn(ActorIndex) -> Seen<'a>,
        kept: impl Fn(ActorIndex) -> Vec<Asked<'a>>,
    ) {
        match self {
            Self::Empty => {}
            // The latest posting stands in the cell, whoever asks.
            Self::One(cell) if cell.older.is_none() => {}
            Self::One(cell) => {
                let mut marks = cell.marks();
                cell::compact(&mut marks, stable(cell.actor), &kept(cell.actor));
                // The latest posting stands in the cell: it is kept, as the last one before what is
                // stable or one behind.
                let latest = marks.pop();
                debug_assert_eq!(latest, Some(cell.last()), "the latest posting is forgotten");
                cell.older = Older::try_from(marks).ok().map(Box::new);
            }
            Self::Many(cells) => cells.compact(|actor| stable(*actor), |actor| kept(*actor)),
        }
    }

    /// Appends when each posting happened that a mark is kept of.
    pub(crate) fn write_seconds(&self, seconds: &mut Vec<Second>) {
        match self {
            Self::Empty => {}
            Self::One(cell) => seconds.extend(cell.marks().iter().map(|mark| mark.second)),
            Self::Many(cells) => seconds.extend(cells.seconds()),
        }
    }

    /// Takes what [`Self::write_seconds`] appended; too few leave the rest unknown.
    pub(crate) fn read_seconds(&mut self, seconds: &mut impl Iterator<Item = Second>) {
        match self {
            Self::Empty => {}
            Self::One(cell) => {
                let older = cell.older.iter_mut();
                let older = older
                    .flat_map(|older| std::iter::once(&mut older.first).chain(&mut older.rest));
                let all = older.map(|mark| &mut mark.second).chain([&mut cell.second]);
                all.zip(seconds).for_each(|(of, second)| *of = second);
            }
            Self::Many(cells) => {
                cells.seconds_mut().zip(seconds).for_each(|(of, second)| *of = second);
            }
        }
    }

    /// The logs that posted.
    pub(crate) fn writers(&self) -> impl Iterator<Item = ActorIndex> {
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(cell) => (Some(cell.actor), None),
            Self::Many(cells) => (None, Some(cells)),
        };
        one.into_iter().chain(many.into_iter().flat_map(|cells| cells.writers().copied()))
    }

    /// Marks kept.
    pub(crate) fn marks(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(cell) => 1 + cell.older.as_ref().map_or(0, |older| older.len()),
            Self::Many(cells) => cells.marks(),
        }
    }
}

#[cfg(test)]
mod tests {
    use headland_event::EventTime;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::actor::Actors;
    use crate::actor::tests::spot;

    #[test]
    fn a_tally_of_one_actor_fits_in_48_bytes() {
        assert!(size_of::<Tally>() <= 48, "{}", size_of::<Tally>());
    }

    #[test]
    fn older_marks_stand_in_a_snapshot_as_a_list() {
        let second = Second::default();
        let mark = |offset, net| Mark { offset: Offset::new(offset), net, second };
        let older = Older { first: mark(3, 5), rest: vec![mark(4, 6)] };

        let bytes = postcard::to_stdvec(&older).unwrap();

        assert_eq!(bytes, postcard::to_stdvec(&vec![mark(3, 5), mark(4, 6)]).unwrap());
        assert_eq!(postcard::from_bytes::<Older>(&bytes), Ok(older));
        assert!(postcard::from_bytes::<Older>(&[0]).is_err());
    }

    proptest! {
        #[test]
        fn a_tally_says_what_plain_cells_say(
            log in vec((0..2_usize, prop_oneof![-9..0_i64, 1..9_i64], 0..6_i64), 0..20),
            end in (0..20_u64, 0..6_i64), stable in 0..20_u64, later in (0..20_u64, 0..6_i64),
            gaps in vec((1..4_u64, 1..4_u64), 0..3),
        ) {
            let second = |second: i64| Second::of(EventTime::from_millis(second * 1_000));
            let mut actors = Actors::new(1);
            let (mut tally, mut cells) = (Tally::default(), Cells::new());
            for (offset, (region, delta, at)) in (0..).zip(&log) {
                let spot = spot(&mut actors, ["eu", "us"][*region], offset);
                tally.post(spot, second(*at), *delta);
                tally.post(spot, second(*at), *delta);
                cells.post(&spot.actor, spot.offset, second(*at), *delta);
            }
            let gaps = cell::tests::gaps_before(&gaps, end.0);
            let seen = |end| Seen { unseen: &gaps, ..Seen::below(Offset::new(end)) };
            let asked = |(end, by)| Asked { seen: seen(end), by: second(by) };
            let covering = |(end, by): (u64, i64)| {
                Asked { seen: Seen::below(Offset::new(stable + end)), by: second(by) }
            };
            let beyond = |tally: &Tally, asked| {
                let beyond = tally.beyond(|_| asked).into_iter();
                beyond.map(|(at, of)| (at.actor, of)).collect::<Vec<_>>()
            };
            prop_assert_eq!(tally.total(), cells.total());
            prop_assert_eq!(tally.total_at(|_| seen(end.0)), cells.total_at(|_| seen(end.0)));
            prop_assert_eq!(beyond(&tally, asked(end)), cells.beyond(|_| asked(end)));

            tally.compact(|_| Seen::below(Offset::new(stable)), |_| vec![asked(end)]);
            for of in [asked(end), covering(later)] {
                prop_assert_eq!(tally.total_at(|_| of.seen), cells.total_at(|_| of.seen));
                prop_assert_eq!(beyond(&tally, of), cells.beyond(|_| of));
            }

            let mut seconds = Vec::new();
            tally.write_seconds(&mut seconds);
            let bytes = postcard::to_stdvec(&tally).unwrap();
            let mut read: Tally = postcard::from_bytes(&bytes).unwrap();
            let mut seconds = seconds.into_iter();
            read.read_seconds(&mut seconds);
            prop_assert_eq!((read, seconds.next()), (tally, None));
        }
    }
}
