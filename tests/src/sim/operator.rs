//! What operators ask of hubs.

use std::time::Duration;

use headland_event::{Monotonic, RegionId};
use headland_reconcile::{ReasonText, Reviewer};
use region_hub::members::{LifeName, RegionAction, RegionRequest};

use super::agenda::Event;
use super::planted_fault::Planted;
use super::schedule::FAULTS_UNTIL;
use super::topology::{NodeId, REGIONS};
use super::world::World;

/// How long an operator waits until asking again.
const ASKED_AGAIN: Duration = Duration::from_millis(300);

impl World {
    /// A hub is asked to exclude the life that another one had before.
    pub(super) fn exclude(&mut self, by: usize, former: usize) {
        let [_, Some(life)] = self.hubs[former].lives else { return };
        if self.ask(by, RegionAction::Exclude, former, Some(LifeName::of(life))) {
            self.meet("regions_excluded");
            self.excluded.insert(former);
        }
    }

    /// A hub is asked to have a region take in nothing new; who asks is patient.
    pub(super) fn drain(&mut self, by: usize, region: usize) {
        if self.ask(by, RegionAction::Drain, region, None) {
            self.meet("regions_drained");
            self.draining.insert(region, false);
            if self.tampering.planted == Planted::OldCopy {
                self.hubs[region].back_up();
            }
            let delay = self.delay(100, 2_000);
            self.agenda.after(delay, Event::Seal(region));
        } else if self.agenda.now() < Monotonic::from_millis(FAULTS_UNTIL) {
            self.agenda.after(ASKED_AGAIN, Event::Drain { by, region });
        }
    }

    /// The hub of a drained region is asked where its logs end, until that is on its disk: then it
    /// says that there is nothing left to do.
    pub(super) fn seal(&mut self, region: usize) {
        let is_asked = self.ask(region, RegionAction::Seal, region, None);
        let is_up = self.hubs[region].running.is_some();
        let was_asked = self.draining.insert(region, is_asked) == Some(true);
        if was_asked && is_up && !is_asked {
            self.meet("regions_sealed");
            let delay = self.delay(1, 2_500);
            self.agenda.after(delay, Event::Renew(region));
            return;
        }
        self.draining.insert(region, is_asked || was_asked);
        self.agenda.after(ASKED_AGAIN, Event::Seal(region));
    }

    /// The hub of a sealed region is started from a copy of its stopped disk, which has no
    /// identity: it loses nothing, and all that was acknowledged is asked of it.
    pub(super) fn renew(&mut self, region: usize) {
        self.crash(NodeId::Hub(region));
        if self.tampering.planted == Planted::OldCopy {
            self.tampering.is_done = self.hubs[region].restore();
        } else {
            self.hubs[region].forget_identity();
        }
        self.meet("regions_that_go_on_as_another_life");
        self.draining.remove(&region);
        let delay = self.delay(50, 2_000);
        self.agenda.after(delay, Event::Start(NodeId::Hub(region)));
        self.committed_at = self.agenda.now();
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
