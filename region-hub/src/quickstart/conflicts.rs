//! Pairs of writes that neither hub could know of from the other: one in the region that is cut
//! off, one outside, the second a moment later, so that it wins by its hub's clock.

use headland_event::RegionId;

use super::causal_case::{DeliveryIds, Phase, Planted, Step, Visible};
use super::event::{Event, Happening};
use super::facts::Fact;
use super::fleet::{Fleet, Site};

/// Pairs of concurrent attribute changes.
const ATTRIBUTE_PAIRS: usize = 24;

/// Pairs of concurrent stocktakes.
const STOCKTAKE_PAIRS: usize = 6;

/// The attribute that both sides set.
const ATTRIBUTE: &str = "shelf";

/// Units each side of a stocktake pair puts in stock: so many that planted products never run low
/// by any reading, and raise no restock alert.
const DELIVERED: i64 = 1_000;

/// Plants all pairs. Before the cut, bases are written that both sides have seen.
pub(super) fn plant(fleet: &Fleet, ids: &mut DeliveryIds, planted: &mut Planted) {
    for pair in 0..ATTRIBUTE_PAIRS {
        if let Some((first, second)) = sides(fleet, pair) {
            plant_attributes(fleet, &format!("PLANT-SHELF-{pair}"), [first, second], ids, planted);
        }
    }
    for pair in 0..STOCKTAKE_PAIRS {
        if let Some((first, second)) = sides(fleet, pair) {
            let case = Count { fleet, sku: format!("PLANT-COUNT-{pair}"), ids, planted };
            case.plant(first, second);
        }
    }
}

/// Who writes first and who second: the region cut off and each of the others, in either order.
fn sides(fleet: &Fleet, pair: usize) -> Option<(&Site, &Site)> {
    let cut = fleet.cut_region()?;
    let others: Vec<&RegionId> = fleet.regions().iter().filter(|region| *region != cut).collect();
    let other = others.iter().cycle().nth(pair)?;
    let inside = fleet.sites_of(cut).first().copied()?;
    let outside = fleet.sites_of(other).first().copied()?;
    let cut_off_is_first = (pair / others.len()).is_multiple_of(2);
    Some(if cut_off_is_first { (inside, outside) } else { (outside, inside) })
}

fn plant_attributes(
    fleet: &Fleet,
    sku: &str,
    [first, second]: [&Site; 2],
    ids: &mut DeliveryIds,
    planted: &mut Planted,
) {
    let mut write = |site: &Site, phase: Phase, round| {
        let value = format!("{sku} by {} in round {round}", site.region);
        let happening = Happening::Attribute { name: ATTRIBUTE, value: value.clone() };
        let event = ids.event(site, sku, happening);
        let id = event.id.clone();
        let visible = Visible::Attribute { name: ATTRIBUTE, value };
        let (site, visible_at) = (site.name.clone(), phase.visible_at(fleet, site));
        planted.add(phase, round, Step { site, event, clock_error_ms: 0, visible, visible_at });
        id
    };
    let base = write(second, Phase::Before, 0);
    let loser = write(first, Phase::During, 0);
    let winner = write(second, Phase::During, 3);
    for id in [&loser, &winner] {
        planted.facts.push(Fact::Ordered { id: id.clone(), over: base.clone() });
    }
    planted.facts.push(Fact::Concurrent { kind: "attribute", id: winner, over: loser });
}

/// A pair of concurrent stocktakes of one product, with sales before and after each.
struct Count<'a> {
    fleet: &'a Fleet,
    sku: String,
    ids: &'a mut DeliveryIds,
    planted: &'a mut Planted,
}

impl Count<'_> {
    fn plant(mut self, first: &Site, second: &Site) {
        let mut seen = Vec::new();
        let mut units = 0;
        let base = [
            (first, Happening::Restock(DELIVERED)),
            (second, Happening::Restock(DELIVERED)),
            (first, Happening::Sale(7)),
            (second, Happening::Sale(5)),
        ];
        for (round, (site, happening)) in base.into_iter().enumerate() {
            units += happening.delta();
            seen.push(self.write(site, Phase::Before, round, happening, units));
        }
        let loser = self.count(first, 0, units, &seen);
        let winner = self.count(second, 3, units, &seen);
        self.planted.facts.push(Fact::Concurrent { kind: "stocktake", id: winner, over: loser });
    }

    /// A sale that the stocktake sees, the stocktake, and a sale after it; returns its id.
    fn count(&mut self, site: &Site, round: usize, units: i64, seen: &[String]) -> String {
        // Sides count differently and neither finds what the books say.
        let (sold, counted, sold_after) = if round == 0 { (3, 905, 2) } else { (4, 811, 6) };
        let during = Phase::During;
        let sale = Happening::Sale(sold);
        let sale = self.write(site, during, round, sale, units - sold);
        let stocktake = Happening::Stocktake(counted);
        let stocktake = self.write(site, during, round + 1, stocktake, counted);
        let after = Happening::Sale(sold_after);
        self.write(site, during, round + 2, after, counted - sold_after);
        for posting in seen.iter().cloned().chain([sale]) {
            self.planted.facts.push(Fact::Saw { id: stocktake.clone(), posting });
        }
        stocktake
    }

    fn write(
        &mut self,
        site: &Site,
        phase: Phase,
        round: usize,
        happening: Happening,
        units: i64,
    ) -> String {
        let event: Event = self.ids.event(site, &self.sku, happening);
        let id = event.id.clone();
        let visible_at = phase.visible_at(self.fleet, site);
        let (site, visible) = (site.name.clone(), Visible::Units(units));
        self.planted.add(
            phase,
            round,
            Step { site, event, clock_error_ms: 0, visible, visible_at },
        );
        id
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn planted() -> Planted {
        let fleet = Fleet::new("3".parse().unwrap(), &[]).unwrap();
        let mut planted = Planted::default();
        plant(&fleet, &mut DeliveryIds::default(), &mut planted);
        planted
    }

    #[test]
    fn of_each_pair_one_side_is_cut_off_and_either_side_wins() {
        let planted = planted();

        let mut cut_off_wins = 0;
        for fact in &planted.facts {
            if let Fact::Concurrent { id: winner, over: loser, .. } = fact {
                assert_ne!(winner.starts_with("ap-"), loser.starts_with("ap-"));
                cut_off_wins += usize::from(winner.starts_with("ap-"));
            }
        }
        assert_eq!(cut_off_wins, 12 + 2);
    }

    #[test]
    fn the_winner_is_written_rounds_after_the_loser() {
        let planted = planted();
        let round_of = |id: &str| {
            let has = |round: &Vec<Step>| round.iter().any(|step| step.event.id == id);
            planted.during.iter().position(has).unwrap()
        };

        for fact in &planted.facts {
            if let Fact::Concurrent { id: winner, over: loser, .. } = fact {
                assert_eq!(round_of(winner), round_of(loser) + 3);
            }
        }
    }

    #[test]
    fn a_stocktake_saw_what_was_sold_before_the_cut_and_one_sale_of_its_side() {
        let planted = planted();

        let mut seen = BTreeMap::new();
        for fact in &planted.facts {
            if let Fact::Saw { id, .. } = fact {
                *seen.entry(id).or_insert(0) += 1;
            }
        }
        assert_eq!(seen.into_values().collect::<Vec<_>>(), [5; 12]);
    }

    #[test]
    fn planted_stock_stays_far_above_the_restock_threshold() {
        let planted = planted();

        for step in planted.steps() {
            if let Visible::Units(units) = step.visible {
                assert!(units > 700, "{step:?}");
            }
        }
    }
}
