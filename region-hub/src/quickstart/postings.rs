//! The recorded sales as postings of the sites, with the fate that the seed gives each delivery.

use std::collections::BTreeMap;
use std::time::Duration;

use headland_event::{EventTime, Random, RegionId};

use super::event::Happening;
use super::excerpt::Sale;
use super::fleet::Site;
use super::split::Split;

/// One event in this many is held back until it is late.
const HELD_ONE_IN: usize = 100;

/// One event in this many is delivered twice.
const REDELIVERED_ONE_IN: usize = 200;

/// Only the first 7 of 10 events may be held back, so that the promise passes them in time.
const HELD_WITHIN_TENTHS: usize = 7;

/// How far the rules let a watermark trail the events of its site.
const WATERMARK_DELAY: Duration = Duration::from_secs(2 * 3_600);

/// A sale this large raises an alert of its own by a filter, which has no memory: delivered twice
/// it would raise the alert twice, so such a sale is not redelivered.
const BULK_UNITS: i64 = 100;

/// How an event is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Once, in its place.
    Once,
    /// Only when its region's hub has promised that nothing of its time is to come.
    Held,
    /// In its place and once more a while later, with the same id.
    Twice,
}

/// A change of one product's stock at one site.
#[derive(Debug, Clone)]
pub(super) struct Posting<'a> {
    /// Where.
    pub(super) site: &'a Site,
    /// The product.
    pub(super) sku: &'static str,
    /// What happened.
    pub(super) happening: Happening,
    /// When.
    pub(super) time: EventTime,
    /// How it is delivered.
    pub(super) delivery: Delivery,
}

/// All sales as postings in the order of their time.
pub(super) fn postings<'a>(
    sales: &[Sale],
    split: &Split<'a>,
    random: &mut dyn Random,
) -> Vec<Posting<'a>> {
    let located = sales.iter().filter_map(|sale| Some((sale, split.site(sale)?)));
    let mut postings: Vec<Posting<'_>> = located
        .map(|(sale, site)| Posting {
            site,
            sku: sale.sku,
            happening: happening(sale),
            time: sale.time,
            delivery: Delivery::Once,
        })
        .collect();
    debug_assert!(postings.is_sorted_by_key(|posting| posting.time));
    let passed = passed_times(&postings);
    let can_be_held = |posting: &Posting<'_>| {
        passed.get(&posting.site.region).is_some_and(|passed| posting.time <= *passed)
    };
    let early = postings.len() * HELD_WITHIN_TENTHS / 10;
    let (held, twice) = (postings.len() / HELD_ONE_IN, postings.len() / REDELIVERED_ONE_IN);
    choose(&mut postings, early, held, Delivery::Held, can_be_held, random);
    let all = postings.len();
    let can_come_twice = |posting: &Posting<'_>| posting.happening.delta().abs() < BULK_UNITS;
    choose(&mut postings, all, twice, Delivery::Twice, can_come_twice, random);
    postings
}

/// The time that each region's promise has passed at the end of the run: its slowest site's.
fn passed_times(postings: &[Posting<'_>]) -> BTreeMap<RegionId, EventTime> {
    let mut last = BTreeMap::new();
    for posting in postings {
        last.insert(&posting.site.name, (&posting.site.region, posting.time));
    }
    let mut passed = BTreeMap::new();
    for (region, time) in last.into_values() {
        let time = time.minus(WATERMARK_DELAY);
        let slowest = passed.entry(region.clone()).or_insert(time);
        *slowest = time.min(*slowest);
    }
    passed
}

fn happening(sale: &Sale) -> Happening {
    match sale.quantity {
        units if sale.invoice.starts_with('C') => Happening::Return(units.abs()),
        units if units < 0 => Happening::Adjustment(units),
        units => Happening::Sale(units),
    }
}

/// Gives `count` of the first `within` postings another delivery; fewer when too few fit.
fn choose(
    postings: &mut [Posting<'_>],
    within: usize,
    count: usize,
    delivery: Delivery,
    fits: impl Fn(&Posting<'_>) -> bool,
    random: &mut dyn Random,
) {
    let open = |posting: &Posting<'_>| posting.delivery == Delivery::Once && fits(posting);
    let count = count.min(postings.iter().take(within).filter(|posting| open(posting)).count());
    let mut chosen = 0;
    while chosen < count {
        let drawn = usize::try_from(random.below(within as u64)).unwrap_or_default();
        if let Some(posting) = postings.get_mut(drawn)
            && open(posting)
        {
            posting.delivery = delivery;
            chosen += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use headland_event::SeededRandom;

    use super::super::excerpt::sales;
    use super::super::fleet::Fleet;
    use super::super::options::SplitBy;
    use super::*;

    #[test]
    fn one_in_a_hundred_is_held_and_one_in_two_hundred_comes_twice() {
        let sales = sales().unwrap();
        let fleet = Fleet::new("3".parse().unwrap(), &[]).unwrap();
        let split = Split::new(&fleet, SplitBy::Hash, &sales);

        let postings = postings(&sales, &split, &mut SeededRandom::new(7));

        let indices = |delivery| {
            let found = postings.iter().enumerate().filter(move |(_, p)| p.delivery == delivery);
            found.map(|(index, _)| index).collect::<Vec<_>>()
        };
        assert_eq!(indices(Delivery::Held).len(), 120);
        assert!(indices(Delivery::Held).iter().all(|index| *index < 8_400));
        assert_eq!(indices(Delivery::Twice).len(), 60);
        let twice = postings.iter().filter(|posting| posting.delivery == Delivery::Twice);
        assert!(twice.map(|posting| posting.happening.delta()).all(|delta| delta.abs() < 100));
    }

    #[test]
    fn a_cancellation_is_a_return_and_another_negative_row_a_write_off() {
        let of = |invoice, quantity| {
            let time = EventTime::default();
            happening(&Sale { invoice, sku: "A", quantity, time, country: "France" })
        };

        assert_eq!(of("C536379", -4), Happening::Return(4));
        assert_eq!(of("536380", -4), Happening::Adjustment(-4));
        assert_eq!(of("536380", 4), Happening::Sale(4));
    }
}
