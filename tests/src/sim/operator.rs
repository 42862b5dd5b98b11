//! What operators ask of hubs.

use std::time::Duration;

use headland_event::{Monotonic, RegionId};
use headland_reconcile::{MemberStanding, ReasonText, Reviewer};
use headland_storage::LogStore;
use region_hub::members::{LifeName, RegionAction, RegionRequest};

use super::agenda::Event;
use super::planted_fault::Planted;
use super::schedule::FAULTS_UNTIL;
use super::topology::{NodeId, REGIONS};
use super::world::World;

/// How long an operator waits until asking again.
const ASKED_AGAIN: Duration = Duration::from_millis(300);

/// When who asked in vain gives up.
const PATIENT_UNTIL: Monotonic = Monotonic::from_millis(FAULTS_UNTIL + 20_000);

impl World {
    /// A hub is asked to exclude the life that another one had before, until it knows of it.
    pub(super) fn exclude(&mut self, by: usize, former: usize) {
        let [current, before] = self.hubs[former].lives;
        let life = before.map(LifeName::of);
        if life.is_some() && self.ask(by, RegionAction::Exclude, former, life) {
            self.meet("regions_excluded");
            self.excluded.insert(former);
        } else if (current.is_none() || before.is_some()) && self.agenda.now() < PATIENT_UNTIL {
            self.agenda.after(ASKED_AGAIN, Event::Exclude { by, former });
            return;
        }
        self.to_exclude -= 1;
    }

    /// A hub is asked to have a region take in nothing new; who asks is patient.
    pub(super) fn drain(&mut self, by: usize, region: usize) {
        if self.ask(by, RegionAction::Drain, region, None) {
            self.meet("regions_drained");
            self.draining.insert(region);
            if self.tampering.planted == Planted::OldCopy {
                self.hubs[region].back_up();
            }
            let delay = self.delay(100, 2_000);
            self.agenda.after(delay, Event::Seal(region));
        } else if self.agenda.now() < Monotonic::from_millis(FAULTS_UNTIL) {
            self.agenda.after(ASKED_AGAIN, Event::Drain { by, region });
        }
    }

    /// The hub of a drained region is asked where its logs end, until that is on its disk.
    pub(super) fn seal(&mut self, region: usize) {
        match self.standing_of(region) {
            Some(MemberStanding::Sealed) => {
                self.meet("regions_sealed");
                let delay = self.delay(1, 2_500);
                self.agenda.after(delay, Event::Renew(region));
                return;
            }
            Some(MemberStanding::Draining) => {
                self.ask(region, RegionAction::Seal, region, None);
            }
            // What was asked was not on the disk of whoever was asked, when that one crashed.
            Some(MemberStanding::Active)
                if self.agenda.now() >= Monotonic::from_millis(FAULTS_UNTIL) =>
            {
                self.ask(region, RegionAction::Drain, region, None);
            }
            Some(MemberStanding::Active | MemberStanding::Excluded) | None => {}
        }
        self.agenda.after(ASKED_AGAIN, Event::Seal(region));
    }

    /// What the life of a region's hub is in its own list; `None` while it is down.
    fn standing_of(&self, region: usize) -> Option<MemberStanding> {
        let running = self.hubs[region].running.as_ref()?;
        let own = LifeName::of(running.store.incarnation());
        let lives = running.node.regions().lives;
        lives.into_iter().find(|life| life.life == own)?.standing
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
