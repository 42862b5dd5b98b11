//! Counters per actor that remember what they were at any cut.
//!
//! A cell is the fold of one actor's postings to one shelf, up to the position applied: units
//! raised and units lowered, two numbers that only grow, so that the larger one is the newer one
//! and merging is a join. `crdts::PNCounter` is just such a pair; it is not used itself because it
//! reads through big integers and hides the single actor's count that a stocktake needs. Its parts
//! are: each side is a bare `crdts::VClock`, one of the types measured sound.
//!
//! Beside the pair stands the history of the fold: after each posting its offset and the net
//! units so far, found by binary search when a stocktake asks what the cell was at its cut, and the
//! second in which it happened. It grows by 24 bytes per posting, until [`Cells::compact`] drops
//! the marks that no cut asked for can fall between.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

use crdts::{CmRDT, CvRDT, Dot, VClock};
use headland_event::{Actor, Extent, Gap, Offset};
use serde::{Deserialize, Serialize};

use crate::second::Second;

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
    /// When the posting happened; snapshots keep it apart.
    #[serde(skip)]
    pub(crate) second: Second,
}

/// What a stocktake's counter had seen of a log: all below an end, but for what lies in gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Where its counter's hub saw the log end.
    pub end: Offset,
    /// What was missing there below that end, by rising offset, none touching another.
    pub unseen: &'a [Gap],
}

impl<'a> Seen<'a> {
    /// What there is of a log in what was seen of all.
    #[must_use]
    pub fn of(all: &'a Extent, actor: &Actor) -> Self {
        Self { end: all.ends().end(actor), unseen: all.gaps().of(actor) }
    }

    /// All below an end.
    #[must_use]
    pub const fn below(end: Offset) -> Self {
        Self { end, unseen: &[] }
    }

    /// Whether the record at an offset was seen. O(log gaps).
    #[must_use]
    pub fn includes(&self, offset: Offset) -> bool {
        let at = self.unseen.partition_point(|gap| gap.until <= offset);
        offset < self.end && self.unseen.get(at).is_none_or(|gap| offset < gap.from)
    }

    /// Net units that were seen, where `before` are those of all postings before an offset.
    pub(crate) fn net(self, before: impl Fn(Offset) -> i64) -> i64 {
        let unseen = self.unseen.iter().map(|gap| before(gap.until) - before(gap.from));
        before(self.end) - unseen.sum::<i64>()
    }

    /// The parts of the log that were not seen, each with the offset behind it; the last has none.
    fn parts(self) -> impl Iterator<Item = (Offset, Option<Offset>)> + use<'a> {
        let unseen = self.unseen.iter().map(|gap| (gap.from, Some(gap.until)));
        unseen.chain([(self.end, None)])
    }
}

/// What a stocktake asks of a cell: what its counter had seen of it, and which of the rest is said
/// to have happened by a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// What its counter's hub had seen of the log.
    pub seen: Seen<'a>,
    /// When it was made.
    pub by: Second,
}

/// A posting beyond what a stocktake's counter saw that happened no later than the stocktake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beyond {
    pub(crate) offset: Offset,
    pub(crate) delta: i64,
    pub(crate) second: Second,
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

    /// Adds the posting at `offset` of `actor`; one of which there is a mark changes nothing.
    ///
    /// O(log actors), and one before others of its log O(postings behind it). Sums are exact while
    /// postings keep to [`crate::event::UNITS_LIMIT`].
    pub fn post(&mut self, actor: &A, offset: Offset, second: Second, delta: i64) {
        let is_new = match self.history.get_mut(actor) {
            Some(marks) => add(marks, offset, second, delta),
            None => {
                let marks = vec![Mark { offset, net: delta, second }];
                self.history.insert(actor.clone(), marks).is_none()
            }
        };
        if !is_new {
            return;
        }
        let side = if delta < 0 { &mut self.lowered } else { &mut self.raised };
        let units = side.get(actor) + delta.unsigned_abs();
        side.apply(Dot::new(actor.clone(), units));
        debug_assert!(self.is_sum(actor), "history and cell of {actor} differ");
    }

    fn is_sum(&self, actor: &A) -> bool {
        let last = self.history.get(actor).and_then(|marks| marks.last());
        last.map_or(0, |last| i128::from(last.net)) == self.net(actor)
    }

    /// The actors that posted, in their order.
    pub(crate) fn writers(&self) -> impl Iterator<Item = &A> {
        self.history.keys()
    }

    /// Units raised less units lowered, over all actors. O(actors).
    #[must_use]
    pub fn total(&self) -> i64 {
        let sum =
            |side: &VClock<A>| -> i128 { side.iter().map(|dot| i128::from(dot.counter)).sum() };
        let total = sum(&self.raised) - sum(&self.lowered);
        i64::try_from(total).unwrap_or(if total < 0 { i64::MIN } else { i64::MAX })
    }

    /// What [`Self::total`] is of what was seen of each actor's log.
    ///
    /// Exact for every cut that [`Self::compact`] was told of, or that covers what it was told is
    /// stable. O(actors × gaps × log postings).
    pub fn total_at<'a>(&self, seen: impl Fn(&A) -> Seen<'a>) -> i64 {
        let net = |(actor, marks): (&A, &Vec<Mark>)| seen(actor).net(|end| net_before(marks, end));
        self.history.iter().map(net).sum()
    }

    /// Joins the cells of another replica: per actor, the one that has applied more of its log.
    /// Where a part of a log is missing there is no such order; hubs exchange records, not cells.
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

    /// The postings that were not seen of their log and happened by a second, of those that
    /// [`Self::compact`] left. O(actors × gaps × log postings + postings not seen).
    pub(crate) fn beyond<'a>(&self, asked: impl Fn(&A) -> Asked<'a>) -> Vec<(A, Beyond)> {
        let mut found = Vec::new();
        for (actor, marks) in &self.history {
            let beyond = beyond(marks, asked(actor));
            found.extend(beyond.into_iter().map(|beyond| (actor.clone(), beyond)));
        }
        found
    }

    /// Forgets marks that no cut can fall between any more: `kept` gives, for an actor, what may
    /// still be asked; every other cut asked for later covers the stable one.
    pub fn compact<'a>(
        &mut self,
        stable: impl Fn(&A) -> Seen<'a>,
        kept: impl Fn(&A) -> Vec<Asked<'a>>,
    ) {
        for (actor, marks) in &mut self.history {
            compact(marks, stable(actor), &kept(actor));
        }
    }

    /// The second of each mark, actor by actor.
    pub(crate) fn seconds(&self) -> impl Iterator<Item = Second> {
        self.history.values().flatten().map(|mark| mark.second)
    }

    /// Gives each mark its second, in the order of [`Self::seconds`]; the actors it passes are
    /// those of this cell.
    pub(crate) fn seconds_mut(&mut self) -> impl Iterator<Item = &mut Second> {
        self.history.values_mut().flatten().map(|mark| &mut mark.second)
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

/// Adds the mark of a posting among those of its log; says whether there was none at its offset.
/// What [`compact`] left stays as good as before: an end that may be asked for has no forgotten
/// mark between it and the last one before it.
pub(crate) fn add(marks: &mut Vec<Mark>, offset: Offset, second: Second, delta: i64) -> bool {
    let at = marks.partition_point(|mark| mark.offset < offset);
    if marks.get(at).is_some_and(|mark| mark.offset == offset) {
        return false;
    }
    let before = at.checked_sub(1).and_then(|at| marks.get(at)).map_or(0, |mark| mark.net);
    for behind in marks.iter_mut().skip(at) {
        behind.net += delta;
    }
    marks.insert(at, Mark { offset, net: before + delta, second });
    true
}

/// The net units after the last mark before an end.
pub(crate) fn net_before(marks: &[Mark], end: Offset) -> i64 {
    let inside = marks.partition_point(|mark| mark.offset < end);
    inside.checked_sub(1).and_then(|at| marks.get(at)).map_or(0, |mark| mark.net)
}

/// The marks that were not seen and happened by a second, each with what it posted.
pub(crate) fn beyond(marks: &[Mark], asked: Asked<'_>) -> Vec<Beyond> {
    let of = |part| {
        let (first, behind) = range_of(marks, part);
        let before = first.checked_sub(1).and_then(|at| marks.get(at)).map_or(0, |mark| mark.net);
        made_by(asked.by, before, marks.get(first..behind).unwrap_or_default())
    };
    asked.seen.parts().flat_map(of).collect()
}

/// Where the marks of a part of a log stand: the first of them, and the first behind it.
fn range_of(marks: &[Mark], (from, until): (Offset, Option<Offset>)) -> (usize, usize) {
    let before = |end: Offset| marks.partition_point(|mark| mark.offset < end);
    (before(from), until.map_or(marks.len(), before))
}

/// Those of marks in a row that happened by a second, each with what it posted; `before` are the
/// net units before the first.
pub(crate) fn made_by<'a>(
    by: Second,
    mut before: i64,
    marks: impl IntoIterator<Item = &'a Mark>,
) -> Vec<Beyond> {
    let mut found = Vec::new();
    for mark in marks {
        let delta = mark.net - before;
        before = mark.net;
        if mark.second.is_by(by) {
            found.push(Beyond { offset: mark.offset, delta, second: mark.second });
        }
    }
    found
}

/// Keeps of the marks that are stable those that are the last before an end of a part that was not
/// seen or is not stable, and those that [`beyond`] would give, each with the one before it.
pub(crate) fn compact(marks: &mut Vec<Mark>, stable: Seen<'_>, asked: &[Asked<'_>]) {
    let mut kept = vec![false; marks.len()];
    // Nothing that is not stable is forgotten, whenever it happened.
    let ends = Asked { seen: stable, by: Second::default() };
    let asked = asked.iter().copied().chain([ends]);
    let parts = asked.flat_map(|of| of.seen.parts().map(move |part| (part, of.by)));
    for (part, by) in parts {
        let (first, behind) = range_of(marks, part);
        let is_beyond = |(at, mark): (usize, &Mark)| {
            let is_beyond = (first..behind).contains(&at) && mark.second.is_by(by);
            is_beyond.then_some([at.checked_sub(1), Some(at)])
        };
        let beyond: Vec<_> = marks.iter().enumerate().filter_map(is_beyond).flatten().collect();
        let last_of = |end: usize| end.checked_sub(1);
        let ends = [last_of(first), part.1.and_then(|_| last_of(behind))];
        for at in beyond.into_iter().chain(ends).flatten() {
            if let Some(kept) = kept.get_mut(at) {
                *kept = true;
            }
        }
    }
    let mut kept = kept.into_iter();
    marks.retain(|mark| kept.next() == Some(true) || !stable.includes(mark.offset));
}

#[cfg(test)]
pub(crate) mod tests;
