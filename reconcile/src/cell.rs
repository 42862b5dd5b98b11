//! Counters per actor that remember what they were at any cut.
//!
//! A cell is the fold of one actor's postings to one shelf, up to the position applied: units
//! raised and units lowered, two numbers that only grow, so that the larger one is the newer one
//! and merging is a join. `crdts::PNCounter` is just such a pair; it is not used itself because it
//! reads through big integers and hides the single actor's count that a stocktake needs. Its parts
//! are: each side is a bare `crdts::VClock`, one of the types measured sound.
//!
//! Beside the pair stands the history of the fold: after each posting its offset and the net
//! units so far, found by binary search when a stocktake asks what the cell was at its cut. It
//! grows by 16 bytes per posting, until [`Cells::compact`] drops the marks that no cut asked for
//! can fall between.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

use crdts::{CmRDT, CvRDT, Dot, VClock};
use headland_event::{Actor, Offset};
use serde::{Deserialize, Serialize};

/// One cell per actor: a replicated counter, additive within an actor's log, joined between logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "A: Deserialize<'de> + Ord"))]
pub struct Cells<A: Ord = Actor> {
    raised: VClock<A>,
    lowered: VClock<A>,
    /// Per actor, by rising offset.
    history: BTreeMap<A, Vec<Mark>>,
}

/// The net units of a cell after the posting at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) offset: Offset,
    pub(crate) net: i64,
}

impl<A: Ord> Default for Cells<A> {
    fn default() -> Self {
        Self { raised: VClock::new(), lowered: VClock::new(), history: BTreeMap::new() }
    }
}

impl<A: Ord + Clone + Debug + Display> Cells<A> {
    /// Cells in which nothing was posted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the posting at `offset` of `actor`; one at or below an earlier offset changes nothing.
    ///
    /// O(log actors). Sums are exact while postings keep to [`crate::event::UNITS_LIMIT`].
    pub fn post(&mut self, actor: &A, offset: Offset, delta: i64) {
        let before = self.history.get(actor).and_then(|marks| marks.last());
        if before.is_some_and(|mark| offset <= mark.offset) {
            return;
        }
        let net = before.map_or(0, |mark| mark.net) + delta;
        let side = if delta < 0 { &mut self.lowered } else { &mut self.raised };
        let units = side.get(actor) + delta.unsigned_abs();
        side.apply(Dot::new(actor.clone(), units));
        match self.history.get_mut(actor) {
            Some(marks) => marks.push(Mark { offset, net }),
            None => {
                self.history.insert(actor.clone(), vec![Mark { offset, net }]);
            }
        }
        debug_assert_eq!(i128::from(net), self.net(actor), "history and cell of {actor} differ");
    }

    /// Units raised less units lowered, over all actors. O(actors).
    #[must_use]
    pub fn total(&self) -> i64 {
        let sum =
            |side: &VClock<A>| -> i128 { side.iter().map(|dot| i128::from(dot.counter)).sum() };
        let total = sum(&self.raised) - sum(&self.lowered);
        i64::try_from(total).unwrap_or(if total < 0 { i64::MIN } else { i64::MAX })
    }

    /// What [`Self::total`] was when each actor's log ended where `end` says.
    ///
    /// Exact for every cut that [`Self::compact`] was told of, or that covers what it was told is
    /// stable. O(actors × log postings).
    pub fn total_at(&self, end: impl Fn(&A) -> Offset) -> i64 {
        self.history.iter().map(|(actor, marks)| net_before(marks, end(actor))).sum()
    }

    /// Joins the cells of another replica: per actor, the one that has applied more of its log.
    ///
    /// Commutative, associative and idempotent for replicas that folded prefixes of the same logs
    /// and were not compacted.
    pub fn merge(&mut self, other: Self) {
        let Self { raised, lowered, history } = other;
        self.raised.merge(raised);
        self.lowered.merge(lowered);
        for (actor, marks) in history {
            let ours = self.history.entry(actor).or_default();
            if ours.len() < marks.len() {
                *ours = marks;
            }
        }
    }

    /// Forgets marks that no cut can fall between any more: `ends` gives, for an actor, where the
    /// cuts end that may still be asked for; every other cut asked for later covers the stable one.
    pub fn compact(&mut self, stable: impl Fn(&A) -> Offset, ends: impl Fn(&A) -> Vec<Offset>) {
        for (actor, marks) in &mut self.history {
            let (stable, mut ends) = (stable(actor), ends(actor));
            ends.push(stable);
            compact(marks, stable, &ends);
        }
    }

    /// Marks kept, over all actors.
    #[must_use]
    pub fn marks(&self) -> usize {
        self.history.values().map(Vec::len).sum()
    }

    /// Takes one actor's cell in, before anything of it is here.
    pub(crate) fn adopt(&mut self, actor: &A, units: Sides, marks: Vec<Mark>) {
        debug_assert!(!self.history.contains_key(actor), "{actor} has a cell already");
        for (side, units) in [(&mut self.raised, units.raised), (&mut self.lowered, units.lowered)]
        {
            if units > 0 {
                side.apply(Dot::new(actor.clone(), units));
            }
        }
        self.history.insert(actor.clone(), marks);
    }

    fn net(&self, actor: &A) -> i128 {
        i128::from(self.raised.get(actor)) - i128::from(self.lowered.get(actor))
    }
}

/// Both sides of one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Sides {
    pub(crate) raised: u64,
    pub(crate) lowered: u64,
}

/// The net units after the last mark before an end.
pub(crate) fn net_before(marks: &[Mark], end: Offset) -> i64 {
    let inside = marks.partition_point(|mark| mark.offset < end);
    inside.checked_sub(1).and_then(|at| marks.get(at)).map_or(0, |mark| mark.net)
}

/// Keeps of the marks before `stable` those that are the last before one of `ends`.
pub(crate) fn compact(marks: &mut Vec<Mark>, stable: Offset, ends: &[Offset]) {
    let last_before = |end: Offset| {
        let inside = marks.partition_point(|mark| mark.offset < end);
        inside.checked_sub(1).and_then(|at| marks.get(at)).map(|mark| mark.offset)
    };
    let asked: Vec<Offset> = ends.iter().filter_map(|end| last_before(*end)).collect();
    marks.retain(|mark| mark.offset >= stable || asked.contains(&mark.offset));
}

#[cfg(test)]
mod tests;
