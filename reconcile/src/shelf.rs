//! Stock of one sku at one location.
//!
//! units = count of the current stocktake + postings that did not happen before it. Without a
//! stocktake that is every posting. Each posting made on time is in its actor's cell, whichever
//! copy of its delivery counts, so that a cell depends on nothing but its actor's log; copies that
//! do not count are subtracted by name.

use serde::{Deserialize, Serialize};

use crate::cell::Cells;
use crate::position::Position;
use crate::register::{Register, Write};

/// Everything known of one (sku, location).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Shelf {
    cells: Cells,
    /// Postings in the cells.
    posted: usize,
    withdrawn: Vec<Withdrawal>,
    /// Sum of what was withdrawn.
    withdrawn_delta: i64,
    stocktakes: Register<i64>,
    /// Sum of the postings that count and happened before the current stocktake.
    counted_before: i64,
    /// Units last reported, `None` when there is nothing to report.
    pub(crate) shown: Option<i64>,
    pub(crate) shortage: Shortage,
}

/// A posting in the cells whose copy does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Withdrawal {
    position: Position,
    delta: i64,
}

/// Whether this hub has warned that the shelf runs low, and how often it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Shortage {
    pub(crate) state: ShortageState,
    /// Episodes so far, the current one included.
    pub(crate) episodes: u64,
}

/// Whether an episode of shortage is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum ShortageState {
    /// A posting that brings the shelf below the threshold starts an episode.
    #[default]
    Over,
    /// The episode was reported and lasts until units are back at the threshold.
    Reported,
}

impl Shelf {
    /// Adds a posting made on time, whether or not its copy counts. O(log actors).
    pub(crate) fn post(&mut self, position: &Position, delta: i64) {
        self.cells.post(&position.actor, position.offset, delta);
        self.posted += 1;
        self.counted_before += self.if_counted_before(position, delta);
    }

    /// Makes a posting that was added before count no longer. O(log actors).
    pub(crate) fn withdraw(&mut self, position: Position, delta: i64) {
        self.counted_before -= self.if_counted_before(&position, delta);
        self.withdrawn_delta += delta;
        self.withdrawn.push(Withdrawal { position, delta });
        debug_assert!(self.withdrawn.len() <= self.posted, "more withdrawn than posted");
    }

    /// Every stocktake of the shelf.
    pub(crate) const fn stocktakes(&self) -> &Register<i64> {
        &self.stocktakes
    }

    /// Adds a stocktake. O(stocktakes + withdrawals + actors × log postings).
    pub(crate) fn count(&mut self, stocktake: Write<i64>) {
        self.stocktakes.insert(stocktake);
        self.counted_before = self.sum_before();
    }

    /// Takes a stocktake back, as if it had never been made. Costs what [`Self::count`] does.
    pub(crate) fn uncount(&mut self, position: &Position) -> Option<Write<i64>> {
        let stocktake = self.stocktakes.remove(position);
        self.counted_before = self.sum_before();
        stocktake
    }

    /// Units in stock; `None` when nothing that counts was ever said about the shelf. O(actors).
    pub(crate) fn units(&self) -> Option<i64> {
        let moved = self.cells.total() - self.withdrawn_delta;
        match self.stocktakes.winner() {
            Some(stocktake) => Some(stocktake.value + moved - self.counted_before),
            None if self.posted == self.withdrawn.len() => None,
            None => Some(moved),
        }
    }

    /// Whether what is kept along the way is what it is derived from. O(shelf).
    pub(crate) fn is_consistent(&self) -> bool {
        let withdrawn: i64 = self.withdrawn.iter().map(|gone| gone.delta).sum();
        self.withdrawn.len() <= self.posted
            && self.withdrawn_delta == withdrawn
            && self.counted_before == self.sum_before()
            && self.shown == self.units()
    }

    fn if_counted_before(&self, position: &Position, delta: i64) -> i64 {
        let is_before = self.stocktakes.winner().is_some_and(|winner| winner.is_after(position));
        if is_before { delta } else { 0 }
    }

    fn sum_before(&self) -> i64 {
        let Some(stocktake) = self.stocktakes.winner() else { return 0 };
        let withdrawn: i64 = self
            .withdrawn
            .iter()
            .filter(|gone| stocktake.is_after(&gone.position))
            .map(|gone| gone.delta)
            .sum();
        self.cells.total_at(|actor| stocktake.end(actor)) - withdrawn
    }
}

#[cfg(test)]
mod tests {
    use headland_event::{EventTime, Hlc, Offset, VectorClock};

    use super::*;
    use crate::name::DeliveryId;
    use crate::position::tests::{actor, position};

    fn stocktake(at: Position, seen: &[(&str, u64)], value: i64) -> Write<i64> {
        let mut context = VectorClock::new();
        for (region, end) in seen {
            context.advance(&actor(region, 0), Offset::new(*end));
        }
        let hlc = Hlc::new(EventTime::from_millis(1), 0);
        Write { id: DeliveryId::new("count").unwrap(), position: at, hlc, context, value }
    }

    #[test]
    fn postings_a_stocktake_knew_of_are_in_its_count_and_others_are_added() {
        let mut shelf = Shelf::default();
        shelf.post(&position("eu", 0, 0), 50);
        shelf.post(&position("us", 0, 0), -3);
        shelf.post(&position("us", 0, 1), -4);
        shelf.count(stocktake(position("eu", 0, 1), &[("us", 1)], 40));

        shelf.post(&position("eu", 0, 2), -5);

        assert_eq!(shelf.units(), Some(40 - 4 - 5));
    }

    #[test]
    fn a_posting_that_arrives_after_the_stocktake_that_knew_of_it_changes_nothing() {
        let mut shelf = Shelf::default();
        shelf.count(stocktake(position("eu", 0, 1), &[("us", 1)], 40));

        shelf.post(&position("us", 0, 0), -3);

        assert_eq!(shelf.units(), Some(40));
    }

    #[test]
    fn a_withdrawn_posting_leaves_the_units_and_the_cut() {
        let mut shelf = Shelf::default();
        shelf.post(&position("eu", 0, 0), 50);
        shelf.post(&position("us", 0, 0), -3);
        shelf.withdraw(position("us", 0, 0), -3);
        assert_eq!(shelf.units(), Some(50));

        shelf.count(stocktake(position("eu", 0, 1), &[("us", 1)], 40));

        assert_eq!(shelf.units(), Some(40));
    }

    #[test]
    fn a_stocktake_taken_back_leaves_the_one_before_it() {
        let mut shelf = Shelf::default();
        shelf.post(&position("us", 0, 0), -3);
        shelf.count(stocktake(position("eu", 0, 1), &[], 40));
        shelf.count(stocktake(position("eu", 0, 2), &[("us", 1)], 10));
        assert_eq!(shelf.units(), Some(10));

        let gone = shelf.uncount(&position("eu", 0, 2));

        assert_eq!(gone.map(|stocktake| stocktake.value), Some(10));
        assert_eq!(shelf.units(), Some(37));
    }

    #[test]
    fn a_shelf_whose_only_posting_was_withdrawn_is_unknown_again() {
        let mut shelf = Shelf::default();
        assert_eq!(shelf.units(), None);
        shelf.post(&position("eu", 0, 0), 5);
        assert_eq!(shelf.units(), Some(5));

        shelf.withdraw(position("eu", 0, 0), 5);

        assert_eq!(shelf.units(), None);
    }
}
