use headland_event::{EventTime, Gap, Gaps, Hlc, Offset, VectorClock};

use super::*;
use crate::name::DeliveryId;
use crate::position::tests::{actor, position};
use crate::unseen::{Unseen, UnseenSets};

/// A shelf with the actors that its postings name.
struct Tested {
    shelf: Shelf,
    actors: Actors,
}

impl Tested {
    fn new() -> Self {
        Self { shelf: Shelf::default(), actors: Actors::new(1) }
    }

    fn spot(&mut self, at: &Position) -> Spot {
        Spot { actor: self.actors.index_of(&at.actor), offset: at.offset }
    }

    fn post(&mut self, at: &Position, delta: i64) {
        let at = self.spot(at);
        self.shelf.post(at, Second::default(), delta, &self.actors);
    }

    fn withdraw(&mut self, at: Position, delta: i64) {
        let at = self.spot(&at);
        self.shelf.withdraw(at, delta, &self.actors);
    }

    fn count(&mut self, stocktake: Write<Count>) {
        self.shelf.count(stocktake, &self.actors);
    }

    fn uncount(&mut self, at: &Position) -> Option<Write<Count>> {
        self.shelf.uncount(at, &self.actors)
    }

    fn units(&self) -> Option<i64> {
        self.shelf.units()
    }
}

fn stocktake(at: Position, seen: &[(&str, u64)], units: i64) -> Write<Count> {
    let mut context = VectorClock::new();
    for (region, end) in seen {
        context.advance(&actor(region, 0), Offset::new(*end));
    }
    let hlc = Hlc::new(EventTime::from_millis(1), 0);
    let value = Count { units, second: Second::default() };
    let (id, unseen) = (DeliveryId::new("count").unwrap(), Unseen::default());
    Write { id, position: at, hlc, context, unseen, value }
}

#[test]
fn postings_a_stocktake_knew_of_are_in_its_count_and_others_are_added() {
    let mut shelf = Tested::new();
    shelf.post(&position("eu", 0, 0), 50);
    shelf.post(&position("us", 0, 0), -3);
    shelf.post(&position("us", 0, 1), -4);
    shelf.count(stocktake(position("eu", 0, 1), &[("us", 1)], 40));

    shelf.post(&position("eu", 0, 2), -5);

    assert_eq!(shelf.units(), Some(40 - 4 - 5));
}

#[test]
fn a_posting_that_arrives_after_the_stocktake_that_knew_of_it_changes_nothing() {
    let mut shelf = Tested::new();
    shelf.count(stocktake(position("eu", 0, 1), &[("us", 1)], 40));

    shelf.post(&position("us", 0, 0), -3);

    assert_eq!(shelf.units(), Some(40));
}

#[test]
fn a_posting_that_lay_in_a_gap_is_added_to_the_count_whenever_it_comes() {
    let mut count = stocktake(position("eu", 0, 1), &[("us", 4)], 40);
    let gap = Gap { from: Offset::new(1), until: Offset::new(3) };
    let mut unseen = Gaps::new();
    assert_eq!(unseen.note(&actor("us", 0), gap), None);
    count.unseen = UnseenSets::default().share(&unseen);
    let of = |offset| (position("us", 0, offset), -(10_i64.pow(u32::try_from(offset).unwrap())));
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [3, 0, 1, 2]] {
        for counted_at in 0..=4 {
            for compacted_at in 0..=4 {
                let mut shelf = Tested::new();
                for (at, offset) in order.into_iter().enumerate() {
                    if at == counted_at {
                        shelf.count(count.clone());
                    }
                    // What is forgotten once the count is here is nothing that it asks for.
                    if at == compacted_at && counted_at <= compacted_at {
                        shelf.shelf.compact(|_| Seen::below(Offset::new(4)), &shelf.actors);
                    }
                    let (place, delta) = of(offset);
                    shelf.post(&place, delta);
                }
                if counted_at == 4 {
                    shelf.count(count.clone());
                }

                assert_eq!(shelf.units(), Some(40 - 10 - 100), "{order:?} {counted_at}");
                shelf.withdraw(position("us", 0, 2), -100);
                shelf.withdraw(position("us", 0, 3), -1_000);
                assert_eq!(shelf.units(), Some(40 - 10), "{order:?} {counted_at}");
            }
        }
    }
}

#[test]
fn a_withdrawn_posting_leaves_the_units_and_the_cut() {
    let mut shelf = Tested::new();
    shelf.post(&position("eu", 0, 0), 50);
    shelf.post(&position("us", 0, 0), -3);
    shelf.withdraw(position("us", 0, 0), -3);
    assert_eq!(shelf.units(), Some(50));

    shelf.count(stocktake(position("eu", 0, 1), &[("us", 1)], 40));

    assert_eq!(shelf.units(), Some(40));
}

#[test]
fn a_stocktake_taken_back_leaves_the_one_before_it() {
    let mut shelf = Tested::new();
    shelf.post(&position("us", 0, 0), -3);
    shelf.count(stocktake(position("eu", 0, 1), &[], 40));
    shelf.count(stocktake(position("eu", 0, 2), &[("us", 1)], 10));
    assert_eq!(shelf.units(), Some(10));

    let gone = shelf.uncount(&position("eu", 0, 2));

    assert_eq!(gone.map(|stocktake| stocktake.value.units), Some(10));
    assert_eq!(shelf.units(), Some(37));
}

#[test]
fn a_shelf_whose_only_posting_was_withdrawn_is_unknown_again() {
    let mut shelf = Tested::new();
    assert_eq!(shelf.units(), None);
    shelf.post(&position("eu", 0, 0), 5);
    assert_eq!(shelf.units(), Some(5));

    shelf.withdraw(position("eu", 0, 0), 5);

    assert_eq!(shelf.units(), None);
}

#[test]
fn a_late_event_put_in_counts_by_its_place_and_can_be_taken_out() {
    let mut shelf = Tested::new();
    shelf.post(&position("eu", 0, 0), 50);
    shelf.count(stocktake(position("eu", 0, 3), &[("us", 1)], 40));
    let known = shelf.spot(&position("us", 0, 0));
    let unknown = shelf.spot(&position("us", 0, 1));

    shelf.shelf.put_in(known, -3, &shelf.actors);
    shelf.shelf.put_in(unknown, -4, &shelf.actors);

    assert_eq!(shelf.units(), Some(36), "the count had the one its counter knew of");
    shelf.shelf.take_out(unknown, -4, &shelf.actors);
    assert_eq!(shelf.units(), Some(40));
}

#[test]
fn compacting_keeps_what_an_earlier_stocktake_would_need_again() {
    let mut shelf = Tested::new();
    for offset in 0..10 {
        shelf.post(&position("us", 0, offset), -1);
    }
    shelf.count(stocktake(position("eu", 0, 1), &[("us", 3)], 100));
    shelf.count(stocktake(position("eu", 0, 2), &[("us", 8)], 50));
    assert_eq!(shelf.shelf.marks(), 10);

    shelf.shelf.compact(|_| Seen::below(Offset::new(10)), &shelf.actors);
    assert_eq!(shelf.shelf.marks(), 3);
    assert_eq!(shelf.units(), Some(48));
    shelf.uncount(&position("eu", 0, 2));

    assert_eq!(shelf.units(), Some(93));
}

#[test]
fn a_shelf_of_one_log_without_stocktakes_fits_in_88_bytes() {
    assert!(size_of::<Shelf>() <= 88, "{}", size_of::<Shelf>());
}
