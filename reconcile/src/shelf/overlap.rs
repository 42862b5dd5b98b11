//! Postings that overlap with the current stocktake in time, but not in causality.
//!
//! Their units were perhaps still on the shelf when it was counted, and perhaps not: the counter's
//! hub had not seen them. They count as after the count until somebody who knows says how many of
//! their units do. Which ones they are follows from the postings and the stocktakes alone; what is
//! kept here is which of them were given to a review, so that a change costs what changed.

use crate::actor::Spot;
use crate::review::ReviewIndex;
use crate::second::Second;

/// One posting that overlaps with the current stocktake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overlap {
    pub(crate) at: Spot,
    pub(crate) delta: i64,
    pub(crate) second: Second,
}

/// Every posting that overlaps with the current stocktake of a shelf.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Overlaps {
    /// Those that no review has yet.
    fresh: Vec<Overlap>,
    /// Those that a review has.
    given: Vec<(Overlap, ReviewIndex)>,
    /// Reviews of what overlaps no longer.
    gone: Vec<ReviewIndex>,
    /// Units of those that reviewers said the count has already.
    aside: i64,
}

impl Overlaps {
    /// A posting overlaps that did not.
    pub(super) fn begin(&mut self, overlap: Overlap) {
        self.fresh.push(overlap);
    }

    /// The posting at a place counts no longer. O(overlaps).
    pub(super) fn end(&mut self, at: Spot) {
        self.fresh.retain(|overlap| overlap.at != at);
        let gone = self.given.extract_if(.., |(overlap, _)| overlap.at == at);
        self.gone.extend(gone.map(|(_, review)| review));
    }

    /// The stocktakes changed, and these overlap now.
    ///
    /// Reviews go in the order of places, not in that of arrival, which a hub that was restored
    /// does not know: it has to write what it would have written.
    pub(super) fn begin_anew(&mut self, fresh: Vec<Overlap>) {
        self.fresh = fresh;
        self.given.sort_unstable_by_key(|(overlap, _)| (overlap.at.actor, overlap.at.offset));
        self.gone.extend(self.given.drain(..).map(|(_, review)| review));
    }

    /// Whether something is to be given to reviews, or taken from them.
    pub(crate) fn has_changed(&self) -> bool {
        !(self.fresh.is_empty() && self.gone.is_empty())
    }

    /// Reviews of what overlaps no longer, and overlaps that no review has; both are taken.
    pub(crate) fn take_changes(&mut self) -> (Vec<ReviewIndex>, Vec<Overlap>) {
        (std::mem::take(&mut self.gone), std::mem::take(&mut self.fresh))
    }

    /// Takes note that a review has an overlap.
    pub(crate) fn give(&mut self, overlap: Overlap, review: ReviewIndex) {
        self.given.push((overlap, review));
    }

    /// Changes the units that the count has already.
    pub(crate) fn set_aside(&mut self, units: i64) {
        self.aside += units;
    }

    /// Units that reviewers said the count has already.
    pub(crate) fn aside(&self) -> i64 {
        self.aside
    }

    /// Whether these overlap and each has a review.
    pub(super) fn are(&self, expected: &[Overlap]) -> bool {
        let place = |overlap: &Overlap| (overlap.at.actor, overlap.at.offset);
        let mut given: Vec<Overlap> = self.given.iter().map(|(overlap, _)| *overlap).collect();
        let mut expected = expected.to_vec();
        given.sort_unstable_by_key(place);
        expected.sort_unstable_by_key(place);
        given == expected && !self.has_changed()
    }
}
