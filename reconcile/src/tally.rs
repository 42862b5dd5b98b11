//! The cells of one shelf, small as long as one log writes to it.
//!
//! Most shelves are written through one partition of one hub, and there are millions of them. Their
//! one cell stands here in 40 bytes; with a second actor it becomes [`Cells`], which says the same.

use headland_event::Offset;
use serde::{Deserialize, Serialize};

use crate::actor::{ActorIndex, Spot};
use crate::cell::{self, Cells, Mark, Sides};

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

    fn post(&mut self, offset: Offset, delta: i64) {
        if offset <= self.offset {
            return;
        }
        let mark = Mark { offset: self.offset, net: self.net() };
        match &mut self.older {
            Some(older) => older.rest.push(mark),
            None => self.older = Some(Box::new(Older { first: mark, rest: Vec::new() })),
        }
        self.offset = offset;
        self.sides.add(delta);
    }

    fn net_before(&self, end: Offset) -> i64 {
        if self.offset < end {
            self.net()
        } else {
            self.older.as_ref().map_or(0, |older| older.net_before(end))
        }
    }

    fn into_cells(self) -> Cells<ActorIndex> {
        let last = Mark { offset: self.offset, net: self.net() };
        let mut marks = self.older.map_or_else(Vec::new, |older| Vec::from(*older));
        marks.push(last);
        let mut cells = Cells::new();
        cells.adopt(&self.actor, self.sides, marks);
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
    /// Adds a posting; one at or below an earlier offset of its actor changes nothing. O(1) for
    /// one actor, else O(log actors).
    pub(crate) fn post(&mut self, at: Spot, delta: i64) {
        let Spot { actor, offset } = at;
        match self {
            Self::Empty => {
                let mut sides = Sides::default();
                sides.add(delta);
                *self = Self::One(Cell { actor, sides, offset, older: None });
            }
            Self::One(cell) if cell.actor == actor => cell.post(offset, delta),
            Self::One(_) => {
                if let Self::One(cell) = std::mem::take(self) {
                    let mut cells = cell.into_cells();
                    cells.post(&actor, offset, delta);
                    *self = Self::Many(Box::new(cells));
                }
            }
            Self::Many(cells) => cells.post(&actor, offset, delta),
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

    /// What [`Self::total`] was when each actor's log ended where `end` says.
    pub(crate) fn total_at(&self, end: impl Fn(ActorIndex) -> Offset) -> i64 {
        match self {
            Self::Empty => 0,
            Self::One(cell) => cell.net_before(end(cell.actor)),
            Self::Many(cells) => cells.total_at(|actor| end(*actor)),
        }
    }

    /// Does what [`Cells::compact`] does.
    pub(crate) fn compact(
        &mut self,
        stable: impl Fn(ActorIndex) -> Offset,
        ends: impl Fn(ActorIndex) -> Vec<Offset>,
    ) {
        match self {
            Self::Empty => {}
            Self::One(cell) => {
                let (stable, mut ends) = (stable(cell.actor), ends(cell.actor));
                // Else the latest posting is the last before it, and that one is not among these.
                if cell.offset >= stable {
                    ends.push(stable);
                }
                let Some(older) = cell.older.take() else { return };
                let mut marks = Vec::from(*older);
                cell::compact(&mut marks, stable, &ends);
                cell.older = Older::try_from(marks).ok().map(Box::new);
            }
            Self::Many(cells) => cells.compact(|actor| stable(*actor), |actor| ends(*actor)),
        }
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
        let mark = |offset, net| Mark { offset: Offset::new(offset), net };
        let older = Older { first: mark(3, 5), rest: vec![mark(4, 6)] };

        let bytes = postcard::to_stdvec(&older).unwrap();

        assert_eq!(bytes, postcard::to_stdvec(&vec![mark(3, 5), mark(4, 6)]).unwrap());
        assert_eq!(postcard::from_bytes::<Older>(&bytes), Ok(older));
        assert!(postcard::from_bytes::<Older>(&[0]).is_err());
    }

    proptest! {
        #[test]
        fn a_tally_says_what_plain_cells_say(
            log in vec((0..2_usize, prop_oneof![-9..0_i64, 1..9_i64]), 0..20), end in 0..20_u64,
            stable in 0..20_u64, later in 0..20_u64,
        ) {
            let mut actors = Actors::new(1);
            let (mut tally, mut cells) = (Tally::default(), Cells::new());
            for (offset, (region, delta)) in (0..).zip(&log) {
                let at = spot(&mut actors, ["eu", "us"][*region], offset);
                tally.post(at, *delta);
                tally.post(at, *delta);
                cells.post(&at.actor, at.offset, *delta);
            }
            let at = |end| move |_| Offset::new(end);

            prop_assert_eq!(tally.total(), cells.total());
            prop_assert_eq!(tally.total_at(at(end)), cells.total_at(|_| Offset::new(end)));

            tally.compact(at(stable), |_| vec![Offset::new(end)]);
            for end in [end, stable + later] {
                prop_assert_eq!(tally.total_at(at(end)), cells.total_at(|_| Offset::new(end)));
            }
        }
    }
}
