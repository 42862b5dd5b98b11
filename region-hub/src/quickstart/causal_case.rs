//! Planted cases: what the driver writes in a known causal order, on products of their own.
//!
//! A case is a list of steps; step *n* of all cases together is round *n*. The driver writes a
//! round and goes on only when everything in it is visible where the next round needs it. So an
//! outsider can derive from the facts alone which write wins.

use std::collections::BTreeMap;

use headland_event::{AgentName, RegionId};

use super::event::{Event, Happening};
use super::facts::Fact;
use super::fleet::{Fleet, Site};
use super::{chains, conflicts};

/// The stock location of planted products: the only one that several agents report on.
pub(super) const CENTRAL: &str = "central";

/// Something that a hub's API shows of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Visible {
    /// So many units at [`CENTRAL`].
    Units(i64),
    /// An attribute with this value.
    Attribute {
        /// Which.
        name: &'static str,
        /// Its value.
        value: String,
    },
}

/// One write and where it must be visible before the next round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// The agent that writes.
    pub(super) site: AgentName,
    /// What it writes.
    pub(super) event: Event,
    /// Milliseconds that the event's time and its device's clock are ahead; negative for behind.
    pub(super) clock_error_ms: i64,
    /// What must then be visible.
    pub(super) visible: Visible,
    /// At which hubs.
    pub(super) visible_at: Vec<RegionId>,
}

/// Steps of different products, written together.
pub(super) type Round = Vec<Step>;

/// All planted cases.
#[derive(Debug, Default)]
pub(super) struct Planted {
    /// Rounds before the cut.
    pub(super) before: Vec<Round>,
    /// Rounds while the cut lasts.
    pub(super) during: Vec<Round>,
    /// What follows from the order of the rounds.
    pub(super) facts: Vec<Fact>,
}

/// When a case's steps are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// While all regions talk.
    Before,
    /// While one is cut off.
    During,
}

impl Phase {
    /// Where a write must be visible before the next round: everywhere, or, while a region is cut
    /// off, only at the writer's hub.
    pub(super) fn visible_at(self, fleet: &Fleet, site: &Site) -> Vec<RegionId> {
        match self {
            Self::Before => fleet.regions().to_vec(),
            Self::During => vec![site.region.clone()],
        }
    }
}

impl Planted {
    /// Plans all cases for a fleet.
    pub(super) fn new(fleet: &Fleet) -> Self {
        let mut planted = Self::default();
        let mut ids = DeliveryIds::default();
        chains::plant(fleet, &mut ids, &mut planted);
        conflicts::plant(fleet, &mut ids, &mut planted);
        planted
    }

    /// Puts a step into the `round`-th round of a phase.
    pub(super) fn add(&mut self, phase: Phase, round: usize, step: Step) {
        debug_assert!(!step.visible_at.is_empty(), "a round that waits for nothing orders nothing");
        let rounds = match phase {
            Phase::Before => &mut self.before,
            Phase::During => &mut self.during,
        };
        if rounds.len() <= round {
            rounds.resize(round + 1, Round::new());
        }
        if let Some(steps) = rounds.get_mut(round) {
            steps.push(step);
        }
    }

    /// All steps in the order in which they are written.
    #[cfg(test)]
    pub(super) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.before.iter().chain(&self.during).flatten()
    }
}

/// Counts planted deliveries of each site.
#[derive(Debug, Default)]
pub(super) struct DeliveryIds(BTreeMap<AgentName, usize>);

impl DeliveryIds {
    /// The next planted event of a site.
    pub(super) fn event(&mut self, site: &Site, sku: &str, happening: Happening) -> Event {
        let number = self.0.entry(site.name.clone()).or_default();
        *number += 1;
        Event {
            id: format!("{}/planted-{number:03}", site.name),
            device: site.till(),
            sku: sku.to_owned(),
            location: CENTRAL.to_owned(),
            happening,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn planted(regions: &str) -> Planted {
        Planted::new(&Fleet::new(regions.parse().unwrap(), &[]).unwrap())
    }

    fn count(planted: &Planted, fits: fn(&Fact) -> bool) -> usize {
        planted.facts.iter().filter(|fact| fits(fact)).count()
    }

    #[test]
    fn twenty_attributes_and_five_stocktakes_are_concurrent_and_twenty_pairs_ordered() {
        for regions in ["3", "6"] {
            let planted = planted(regions);

            let of = |wanted: &'static str| {
                let concurrent = planted.facts.iter().filter(
                    move |fact| matches!(fact, Fact::Concurrent { kind, .. } if *kind == wanted),
                );
                concurrent.count()
            };
            assert_eq!((of("attribute"), of("stocktake")), (24, 6));
            assert_eq!(count(&planted, |fact| matches!(fact, Fact::Ordered { .. })), 24 + 24 * 2);
        }
    }

    #[test]
    fn delivery_ids_are_unique_and_name_their_site() {
        let planted = planted("3");

        let ids: BTreeSet<&str> = planted.steps().map(|step| step.event.id.as_str()).collect();
        assert_eq!(ids.len(), planted.steps().count());
        assert!(planted.steps().all(|step| step.event.id.starts_with(step.site.as_str())));
    }

    #[test]
    fn a_round_writes_each_product_once() {
        let planted = planted("3");

        for round in planted.before.iter().chain(&planted.during) {
            let skus: BTreeSet<&str> = round.iter().map(|step| step.event.sku.as_str()).collect();
            assert_eq!(skus.len(), round.len());
        }
    }

    #[test]
    fn during_the_cut_a_write_is_awaited_only_at_its_own_hub() {
        let planted = planted("4");

        for step in planted.during.iter().flatten() {
            let own: Vec<bool> = step
                .visible_at
                .iter()
                .map(|at| step.site.as_str().starts_with(at.as_str()))
                .collect();
            assert_eq!(own, [true]);
        }
    }
}
