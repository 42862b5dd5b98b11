//! Chains of causally ordered writes whose clocks say the opposite.

use super::causal_case::{DeliveryIds, Phase, Planted, Step, Visible};
use super::event::Happening;
use super::facts::Fact;
use super::fleet::Fleet;

/// How many chains, each on a product of its own.
const CHAINS: usize = 4;

/// Writes of one chain: so 4 × 6 pairs are ordered by causality alone.
const WRITES: usize = 7;

/// The first write's clock is this far ahead and the last one's this far behind.
const CLOCK_ERROR_MS: i64 = 3_600_000;

/// The attribute that the chains set.
const ATTRIBUTE: &str = "price-label";

/// Plants all chains: each write is made in the next region, once it shows the write before.
pub(super) fn plant(fleet: &Fleet, ids: &mut DeliveryIds, planted: &mut Planted) {
    for chain in 1..=CHAINS {
        let sku = format!("PLANT-ORDER-{chain}");
        let mut before: Option<String> = None;
        let regions = fleet.regions().iter().cycle().skip(chain).take(WRITES);
        for (write, region) in regions.enumerate() {
            let Some(site) = fleet.sites_of(region).first().copied() else {
                continue;
            };
            let value = format!("{sku} write {} of {WRITES}", write + 1);
            let happening = Happening::Attribute { name: ATTRIBUTE, value: value.clone() };
            let event = ids.event(site, &sku, happening);
            let id = event.id.clone();
            if let Some(over) = before.replace(id.clone()) {
                planted.facts.push(Fact::Ordered { id, over });
            }
            let step = Step {
                site: site.name.clone(),
                event,
                clock_error_ms: clock_error_ms(write),
                visible: Visible::Attribute { name: ATTRIBUTE, value },
                visible_at: Phase::Before.visible_at(fleet, site),
            };
            planted.add(Phase::Before, write, step);
        }
    }
}

/// From an hour ahead at the first write down to an hour behind at the last.
fn clock_error_ms(write: usize) -> i64 {
    let steps = i64::try_from(WRITES - 1).unwrap_or(1);
    let write = i64::try_from(write).unwrap_or_default();
    CLOCK_ERROR_MS - 2 * CLOCK_ERROR_MS * write / steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_run_against_causality_from_an_hour_ahead_to_an_hour_behind() {
        let errors: Vec<i64> = (0..WRITES).map(clock_error_ms).collect();

        assert_eq!((errors[0], errors[WRITES - 1]), (3_600_000, -3_600_000));
        assert!(errors.windows(2).all(|pair| pair[1] < pair[0]));
    }

    #[test]
    fn successive_writes_are_made_in_different_regions() {
        let fleet = Fleet::new("3".parse().unwrap(), &[]).unwrap();
        let mut planted = Planted::default();

        plant(&fleet, &mut DeliveryIds::default(), &mut planted);

        for pair in planted.before.windows(2) {
            for (earlier, later) in pair[0].iter().zip(&pair[1]) {
                assert_eq!(earlier.event.sku, later.event.sku);
                assert_ne!(earlier.site, later.site);
            }
        }
    }
}
