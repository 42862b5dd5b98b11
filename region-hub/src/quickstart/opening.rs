//! Opening stock and deliveries, which the recorded data lacks, made up from the seed.
//!
//! In every region enough products are opened so low that their sales lead to a restock alert;
//! all others never run low. Every product is in stock in every region.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headland_event::{EventTime, Random, RegionId};

use super::event::Happening;
use super::fleet::{Fleet, Site};
use super::postings::{Delivery, Posting};

/// Units below which a hub raises a restock alert; also written into the hubs' configuration.
pub(super) const RESTOCK_BELOW: i64 = 20;

/// At least this many products of each region run low: half as many again as the check asks for.
const SCARCE_MIN: usize = 45;

/// One product in this many runs low.
const SCARCE_ONE_IN: usize = 10;

/// One product that ran low in this many is delivered again, so that it can run low once more.
const REPLENISHED_ONE_IN: u64 = 3;

/// How long after it ran low a product is delivered.
const DELIVERY_TIME: Duration = Duration::from_secs(3_600);

/// At most this many units are in stock beyond what is needed.
const SPARE_UNITS: u64 = 50;

/// A product at a site, and what its postings do to its stock.
#[derive(Debug)]
struct Demand<'a> {
    site: &'a Site,
    sku: &'static str,
    /// Changes in the order of time, without those that will be late.
    deltas: Vec<(EventTime, i64)>,
}

impl Demand<'_> {
    /// How far the stock falls below its start at worst; 0 when it never does.
    fn drop(&self) -> u64 {
        let mut units = 0_i64;
        let mut lowest = 0_i64;
        for (_, delta) in &self.deltas {
            units += delta;
            lowest = lowest.min(units);
        }
        lowest.unsigned_abs()
    }

    /// When the stock falls below the threshold, opened with `opening` units.
    fn runs_low_at(&self, opening: i64) -> Option<EventTime> {
        let mut units = opening;
        let mut at = self.deltas.iter();
        at.find(|(_, delta)| {
            units += delta;
            units < RESTOCK_BELOW
        })
        .map(|(time, _)| *time)
    }
}

/// Stock made up for a run.
#[derive(Debug, Default)]
pub(super) struct Stock<'a> {
    /// Deliveries before the first sale: each product at each site that sells it, and each product
    /// in each region.
    pub(super) opening: Vec<Posting<'a>>,
    /// Deliveries in between, in no order.
    pub(super) deliveries: Vec<Posting<'a>>,
}

/// Opens the stock for `postings`, which are in the order of their time. O(rows log rows).
pub(super) fn stock<'a>(
    fleet: &'a Fleet,
    postings: &[Posting<'a>],
    random: &mut dyn Random,
) -> Stock<'a> {
    let Some(first) = postings.first().map(|posting| posting.time) else {
        return Stock::default();
    };
    let skus: BTreeSet<&'static str> = postings.iter().map(|posting| posting.sku).collect();
    let mut stock = Stock::default();
    for region in fleet.regions() {
        let mut demands = demands(fleet, region, &skus, postings);
        shuffle(&mut demands, random);
        let scarce_goal = SCARCE_MIN.max(demands.len() / SCARCE_ONE_IN);
        let mut scarce = 0;
        for demand in &demands {
            let drop = demand.drop();
            let floor = RESTOCK_BELOW.unsigned_abs();
            let units = if drop > 0 && scarce < scarce_goal {
                scarce += 1;
                floor + random.below(drop)
            } else {
                floor + drop + random.below(SPARE_UNITS)
            };
            let units = i64::try_from(units).unwrap_or(i64::MAX);
            stock.opening.push(delivery(demand, units, first));
            if let Some(low_at) = demand.runs_low_at(units)
                && random.below(REPLENISHED_ONE_IN) == 0
            {
                let units = RESTOCK_BELOW.saturating_add_unsigned(random.below(SPARE_UNITS));
                stock.deliveries.push(delivery(demand, units, low_at.plus(DELIVERY_TIME)));
            }
        }
    }
    debug_assert!(stock.opening.iter().all(|posting| posting.happening.delta() >= RESTOCK_BELOW));
    stock.opening.sort_by_key(|posting| (&posting.site.name, posting.sku));
    stock
}

/// What each product of a region needs; a product that nobody there sells is put at the first site.
fn demands<'a>(
    fleet: &'a Fleet,
    region: &RegionId,
    skus: &BTreeSet<&'static str>,
    postings: &[Posting<'a>],
) -> Vec<Demand<'a>> {
    let mut demands: BTreeMap<_, Demand<'a>> = BTreeMap::new();
    for posting in postings.iter().filter(|posting| posting.site.region == *region) {
        let Posting { site, sku, happening, time, delivery } = posting;
        let new = || Demand { site, sku, deltas: Vec::new() };
        let demand = demands.entry((*sku, &site.name)).or_insert_with(new);
        if *delivery != Delivery::Held {
            demand.deltas.push((*time, happening.delta()));
        }
    }
    let sold: BTreeSet<&'static str> = demands.keys().map(|(sku, _)| *sku).collect();
    let first = fleet.sites_of(region).first().copied();
    let unsold = skus.difference(&sold).filter_map(|sku| Some((*sku, first?)));
    let unsold = unsold.map(|(sku, site)| Demand { site, sku, deltas: Vec::new() });
    demands.into_values().chain(unsold).collect()
}

const fn delivery<'a>(demand: &Demand<'a>, units: i64, time: EventTime) -> Posting<'a> {
    let Demand { site, sku, deltas: _ } = demand;
    Posting { site, sku, happening: Happening::Restock(units), time, delivery: Delivery::Once }
}

/// # Source
/// Durstenfeld, "Algorithm 235: random permutation", 1964.
fn shuffle<T>(items: &mut [T], random: &mut dyn Random) {
    for end in (1..items.len()).rev() {
        let drawn = random.below(end as u64 + 1);
        items.swap(end, usize::try_from(drawn).unwrap_or(end));
    }
}

#[cfg(test)]
mod tests {
    use headland_event::SeededRandom;

    use super::*;

    fn posting(site: &Site, units: i64, minute: i64, delivery: Delivery) -> Posting<'_> {
        let time = EventTime::from_millis(minute * 60_000);
        Posting { site, sku: "85123A", happening: Happening::Sale(units), time, delivery }
    }

    #[test]
    fn a_scarce_product_opens_at_the_threshold_and_falls_below_it() {
        let fleet = Fleet::new("3".parse().unwrap(), &[]).unwrap();
        let site = fleet.sites_of(&fleet.regions()[0])[0];
        let sold = [posting(site, 9, 1, Delivery::Once), posting(site, 8, 2, Delivery::Once)];

        for seed in 0..50 {
            let stock = stock(&fleet, &sold, &mut SeededRandom::new(seed));

            let opened = stock.opening.iter().find(|posting| posting.site == site).unwrap();
            let units = opened.happening.delta();
            assert!((20..20 + 17).contains(&units), "{units}");
        }
    }

    #[test]
    fn a_product_is_in_stock_in_regions_that_never_sell_it() {
        let fleet = Fleet::new("3".parse().unwrap(), &[]).unwrap();
        let site = fleet.sites_of(&fleet.regions()[0])[0];

        let stock =
            stock(&fleet, &[posting(site, 9, 1, Delivery::Once)], &mut SeededRandom::new(1));

        let regions: BTreeSet<&str> =
            stock.opening.iter().map(|posting| posting.site.region.as_str()).collect();
        assert_eq!(regions.into_iter().collect::<Vec<_>>(), ["ap", "eu", "us"]);
    }

    #[test]
    fn a_sale_that_will_be_late_makes_nothing_scarce() {
        let fleet = Fleet::new("3".parse().unwrap(), &[]).unwrap();
        let site = fleet.sites_of(&fleet.regions()[0])[0];

        let sold = [posting(site, 900, 1, Delivery::Held)];
        let stock = stock(&fleet, &sold, &mut SeededRandom::new(1));

        assert!(stock.opening.iter().all(|posting| posting.happening.delta() < 20 + 50));
        assert!(stock.deliveries.is_empty());
    }
}
