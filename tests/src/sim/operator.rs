//! What operators ask of hubs.

use headland_event::RegionId;
use headland_reconcile::{ReasonText, Reviewer};
use region_hub::members::{LifeName, RegionAction, RegionRequest};

use super::topology::REGIONS;
use super::world::World;

impl World {
    /// A hub is asked to exclude the life that another one had before.
    pub(super) fn exclude(&mut self, by: usize, former: usize) {
        let [_, Some(life)] = self.hubs[former].lives else { return };
        if self.ask(by, RegionAction::Exclude, former, Some(LifeName::of(life))) {
            self.meet("regions_excluded");
            self.excluded.insert(former);
        }
    }

    /// Every hub is asked to hand in what it holds of lives that were excluded.
    pub(super) fn hand_in(&mut self) {
        for former in std::mem::take(&mut self.excluded) {
            for hub in 0..REGIONS.len() {
                if self.ask(hub, RegionAction::Return, former, None) {
                    self.meet("regions_handed_in");
                }
            }
        }
        self.committed_at = self.agenda.now();
    }

    /// Whether a hub does what it is asked about a region.
    fn ask(
        &mut self,
        hub: usize,
        action: RegionAction,
        region: usize,
        life: Option<LifeName>,
    ) -> bool {
        let region = RegionId::new(REGIONS[region]).unwrap();
        let (by, reason) = (Reviewer::new("ann").unwrap(), ReasonText::new("a drill").unwrap());
        let asked = RegionRequest { action, region, life, by, reason };
        let mut is_done = false;
        self.feed_hub(hub, |node, now| is_done = node.on_region(now, &asked).is_ok());
        is_done
    }
}
