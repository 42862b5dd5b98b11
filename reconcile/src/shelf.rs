//! Stock of one sku in one account: at a location, in transit, or reserved.
//!
//! units = count of the current stocktake + postings that did not happen before it. Without a
//! stocktake that is every posting. Each posting made on time is in its actor's cell, whichever
//! copy of its delivery counts, so that a cell depends on nothing but its actor's log. What is not
//! so is named beside the cells: copies that do not count are taken out, late events that were
//! approved are put in.

use serde::{Deserialize, Serialize};

use crate::actor::{ActorIndex, Actors, Spot};
use crate::cell::{Asked, Beyond, Seen};
use crate::position::Position;
use crate::register::{Register, Write};
use crate::second::Second;
use crate::tally::Tally;

/// Postings that overlap with the current stocktake.
mod overlap;

pub(crate) use overlap::{Overlap, Overlaps};

/// Everything known of one (sku, account).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Shelf {
    tally: Tally,
    /// Postings that count: those in the cells, less withdrawn, and those put in.
    counting: u32,
    pub(crate) shortage: Shortage,
    /// Units last reported, `None` when there is nothing to report.
    pub(crate) shown: Option<i64>,
    /// What most shelves have none of.
    more: Option<Box<More>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct More {
    exceptions: Vec<Exception>,
    /// Sum of the exceptions.
    exceptional: i64,
    stocktakes: Register<Count>,
    /// Sum of the postings that count and happened before the current stocktake.
    counted_before: i64,
    /// Found again whenever a snapshot is read.
    #[serde(skip)]
    overlaps: Overlaps,
}

/// What a stocktake says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    /// Units found.
    pub(crate) units: i64,
    /// When; snapshots keep it apart.
    #[serde(skip)]
    pub(crate) second: Second,
}

/// Units beside the cells, as if posted at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Exception {
    at: Spot,
    delta: i64,
}

/// Whether this hub has warned that the shelf runs low, and how often it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Shortage {
    pub(crate) state: ShortageState,
    /// Episodes so far, the current one included.
    pub(crate) episodes: u32,
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
    pub(crate) fn post(&mut self, at: Spot, second: Second, delta: i64, actors: &Actors) {
        self.tally.post(at, second, delta);
        self.counting += 1;
        if let Some(more) = &mut self.more {
            let Some(stocktake) = more.stocktakes.winner() else { return };
            if stocktake.is_after(&actors.position(at)) {
                more.counted_before += delta;
            } else if second.is_by(stocktake.value.second) {
                more.overlaps.begin(Overlap { at, delta, second });
            }
        }
    }

    /// Makes a posting that was added before count no longer. O(log actors).
    pub(crate) fn withdraw(&mut self, at: Spot, delta: i64, actors: &Actors) {
        debug_assert!(self.counting > 0, "more withdrawn than posted");
        self.counting -= 1;
        let more = self.more.get_or_insert_default();
        more.put(Exception { at, delta: -delta }, actors);
        more.overlaps.end(at);
    }

    /// Counts units as if they had been posted at a place: an approved late event.
    pub(crate) fn put_in(&mut self, at: Spot, delta: i64, actors: &Actors) {
        self.counting += 1;
        self.more.get_or_insert_default().put(Exception { at, delta }, actors);
    }

    /// Takes back what [`Self::put_in`] did. O(exceptions).
    pub(crate) fn take_out(&mut self, at: Spot, delta: i64, actors: &Actors) {
        debug_assert!(self.counting > 0, "more taken out than put in");
        self.counting -= 1;
        let Some(more) = &mut self.more else { return };
        more.take(Exception { at, delta }, actors);
    }

    /// Every stocktake of the shelf.
    pub(crate) fn stocktakes(&self) -> Option<&Register<Count>> {
        self.more.as_ref().map(|more| &more.stocktakes)
    }

    /// The same to be changed; none while nothing was counted.
    pub(crate) fn stocktakes_mut(&mut self) -> Option<&mut Register<Count>> {
        self.more.as_mut().map(|more| &mut more.stocktakes)
    }

    /// Adds a stocktake. O(stocktakes) for one that does not hold, else also O(exceptions + actors
    /// × log postings + postings beyond it).
    pub(crate) fn count(&mut self, stocktake: Write<Count>, actors: &Actors) {
        let more = self.more.get_or_insert_default();
        let before = more.holding();
        more.stocktakes.insert(stocktake);
        if more.holding() != before {
            more.recount(&self.tally, actors);
        }
    }

    /// Takes a stocktake back, as if it had never been made. Costs what [`Self::count`] does.
    pub(crate) fn uncount(&mut self, at: &Position, actors: &Actors) -> Option<Write<Count>> {
        let more = self.more.as_mut()?;
        let before = more.holding();
        let stocktake = more.stocktakes.remove(at);
        if more.holding() != before {
            more.recount(&self.tally, actors);
        }
        stocktake
    }

    /// The postings that overlap with the current stocktake, to be given to reviews; `None` when
    /// there never was one.
    pub(crate) fn overlaps_mut(&mut self) -> Option<&mut Overlaps> {
        self.more.as_mut().map(|more| &mut more.overlaps)
    }

    /// Appends when what is kept happened.
    pub(crate) fn write_seconds(&self, seconds: &mut Vec<Second>) {
        self.tally.write_seconds(seconds);
        let stocktakes = self.stocktakes().into_iter().flat_map(Register::writes);
        seconds.extend(stocktakes.map(|stocktake| stocktake.value.second));
    }

    /// Takes what [`Self::write_seconds`] appended, and finds the overlaps again.
    pub(crate) fn read_seconds(
        &mut self,
        seconds: &mut impl Iterator<Item = Second>,
        actors: &Actors,
    ) {
        self.tally.read_seconds(seconds);
        let Some(more) = &mut self.more else { return };
        let counts = more.stocktakes.writes_mut();
        counts.zip(seconds).for_each(|(count, second)| count.value.second = second);
        more.recount(&self.tally, actors);
    }

    /// Units in stock; `None` when nothing that counts was ever said about the shelf. O(actors).
    pub(crate) fn units(&self) -> Option<i64> {
        let total = self.tally.total();
        let Some(more) = &self.more else { return (self.counting > 0).then_some(total) };
        let moved = total + more.exceptional;
        match more.stocktakes.winner() {
            Some(stocktake) => {
                let moved = moved - more.counted_before - more.overlaps.aside();
                Some(stocktake.value.units + moved)
            }
            None => (self.counting > 0).then_some(moved),
        }
    }

    /// Forgets what no cut can ask for any more, once everybody has seen what is before `stable`:
    /// later stocktakes' cuts cover it, and those of earlier ones are kept.
    pub(crate) fn compact<'a>(&mut self, stable: impl Fn(ActorIndex) -> Seen<'a>, actors: &Actors) {
        let more = self.more.as_ref();
        let stable = |actor| stable(actor);
        self.tally.compact(stable, |actor| {
            let stocktakes = more.into_iter().flat_map(|more| more.stocktakes.writes());
            stocktakes.map(|stocktake| asked(stocktake, actors.get(actor))).collect()
        });
    }

    /// The logs that posted to it.
    pub(crate) fn writers(&self) -> impl Iterator<Item = ActorIndex> {
        self.tally.writers()
    }

    /// Marks kept of postings.
    pub(crate) fn marks(&self) -> usize {
        self.tally.marks()
    }

    /// Whether what is kept along the way is what it is derived from. O(shelf).
    pub(crate) fn is_consistent(&self, actors: &Actors) -> bool {
        let is_summed = self.more.as_ref().is_none_or(|more| {
            let exceptional: i64 = more.exceptions.iter().map(|of| of.delta).sum();
            more.exceptional == exceptional
                && more.counted_before == more.sum_before(&self.tally, actors)
                && more.overlaps.are(&more.overlapping(&self.tally, actors))
        });
        is_summed && self.shown == self.units()
    }
}

/// What a stocktake asks of the cell of an actor.
fn asked<'a>(stocktake: &'a Write<Count>, actor: &headland_event::Actor) -> Asked<'a> {
    Asked { seen: stocktake.seen(actor), by: stocktake.value.second }
}

impl More {
    /// Where the stocktake stands that holds.
    fn holding(&self) -> Option<Position> {
        self.stocktakes.winner().map(|winner| winner.position.clone())
    }

    /// Sums and searches anew, with the stocktakes there are now.
    fn recount(&mut self, tally: &Tally, actors: &Actors) {
        self.counted_before = self.sum_before(tally, actors);
        let now = self.overlapping(tally, actors);
        self.overlaps.begin_anew(now);
    }

    /// The postings that count, that the current stocktake's counter had not seen, and that
    /// happened no later than it.
    fn overlapping(&self, tally: &Tally, actors: &Actors) -> Vec<Overlap> {
        let Some(stocktake) = self.stocktakes.winner() else { return Vec::new() };
        let mut found = tally.beyond(|actor| asked(stocktake, actors.get(actor)));
        let place = |at: &Spot| (at.actor, at.offset);
        let mut withdrawn: Vec<_> = self.exceptions.iter().map(|of| place(&of.at)).collect();
        withdrawn.sort_unstable();
        found.retain(|(at, _)| withdrawn.binary_search(&place(at)).is_err());
        let overlap = |(at, beyond): (Spot, Beyond)| Overlap {
            at,
            delta: beyond.delta,
            second: beyond.second,
        };
        found.into_iter().map(overlap).collect()
    }

    fn put(&mut self, exception: Exception, actors: &Actors) {
        let Exception { at, delta } = exception;
        self.counted_before += self.if_counted_before(at, delta, actors);
        self.exceptional += delta;
        self.exceptions.push(exception);
    }

    fn take(&mut self, exception: Exception, actors: &Actors) {
        let Some(index) = self.exceptions.iter().position(|of| *of == exception) else {
            debug_assert!(false, "{exception:?} was never put in");
            return;
        };
        self.exceptions.swap_remove(index);
        self.exceptional -= exception.delta;
        self.counted_before -= self.if_counted_before(exception.at, exception.delta, actors);
    }

    fn if_counted_before(&self, at: Spot, delta: i64, actors: &Actors) -> i64 {
        let is_before =
            self.stocktakes.winner().is_some_and(|winner| winner.is_after(&actors.position(at)));
        if is_before { delta } else { 0 }
    }

    fn sum_before(&self, tally: &Tally, actors: &Actors) -> i64 {
        let Some(stocktake) = self.stocktakes.winner() else { return 0 };
        let exceptional: i64 = self
            .exceptions
            .iter()
            .filter(|of| stocktake.is_after(&actors.position(of.at)))
            .map(|of| of.delta)
            .sum();
        tally.total_at(|actor| stocktake.seen(actors.get(actor))) + exceptional
    }
}

#[cfg(test)]
mod tests;
