//! Which lives of hubs take part, as this hub says and hears.
//!
//! Records of members are read in the order of the journal together with inventory
//! ([`crate::reconcile::Inventory`]), so that what counts follows from the journal alone. Here they
//! are written: that this hub's life takes part, what it has applied, what operators ask for, and
//! that it has applied more of a life that ended than anybody has said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headland_event::{Actor, Batch, BatchError, Monotonic, Now, Offset, Record, VectorClock};
use headland_reconcile::{
    Holder, MemberChange, MemberRecord, MemberReport, MemberStanding, ReasonText, Reviewer,
    SignedChange,
};

use super::Node;
use crate::members::{LifeView, RegionAction, RegionRequest, RegionsView, members_partition};

/// How often it is looked whether there is something to say about lives that ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a region's part is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// This hub does not say who takes part.
    #[error("this hub lists no members; add a section [membership] to its configuration")]
    NotConfigured,
    /// No life of the region is one that this can be done to.
    #[error("no life of region {region} is {needed} here; `headland region list` shows them")]
    NoLife {
        /// The region.
        region: String,
        /// What a life would have to be.
        needed: &'static str,
    },
    /// Only the region's own hub can do it.
    #[error("only a hub of region {region} knows where its logs end; ask that one, or exclude it")]
    NotHere {
        /// The region.
        region: String,
    },
    /// The region's own hub cannot do it.
    #[error("region {region} is this hub's own: ask another region's hub, or drain and seal it")]
    OwnRegion {
        /// The region.
        region: String,
    },
    /// This life is the one that ended.
    #[error(
        "this life of region {region} is {standing}: start a new one from a backup of this hub \
         (headland store backup, restore), then ask that one"
    )]
    LifeEnded {
        /// The region.
        region: String,
        /// What this life is.
        standing: &'static str,
    },
    /// It fits no batch.
    #[error("the change cannot be written: {0}")]
    Batch(#[from] BatchError),
    /// The disk has room for nothing but alerts.
    #[error("the disk is full: nothing was changed; ask again once there is room")]
    Full,
}

/// When this hub says what about members; a hub without the section says nothing.
#[derive(Debug)]
pub(super) struct Speaking {
    /// How often it says what it has applied.
    every: Duration,
    report_at: Monotonic,
    look_at: Monotonic,
    /// What it said last that it has applied.
    reported: VectorClock,
}

impl Speaking {
    pub(super) fn new(every: Duration, now: Monotonic) -> Self {
        Self { every, report_at: now, look_at: now, reported: VectorClock::new() }
    }
}

impl Node {
    /// This hub's life as a member.
    fn life(&self) -> Holder {
        Holder { region: self.identity.region().clone(), incarnation: self.incarnation }
    }

    /// What this hub's own life is; `None` when it is not listed.
    pub(super) fn own_standing(&self) -> Option<MemberStanding> {
        self.inventory.members().standing(&self.life())
    }

    /// Why this hub takes in no inventory any more; `None` as long as it does.
    pub(super) fn closed(&self) -> Option<String> {
        let standing = self.own_standing()?;
        let region = self.identity.region();
        (standing > MemberStanding::Active).then(|| {
            let standing = word(standing);
            format!("region {region} is {standing}: its hub takes in no inventory any more")
        })
    }

    /// Says what is due about members.
    pub(super) fn speak_of_members(&mut self, now: Now) {
        let is_heard = self.durable.get(&members_partition()).copied().unwrap_or_default()
            == self.composer.end(&members_partition())
            && self.inventory.is_idle();
        let own = self.life();
        let Some(speaking) = &mut self.speaking else { return };
        if now.monotonic < speaking.look_at {
            return;
        }
        speaking.look_at = now.monotonic.after(LOOK_EVERY);
        // What was said and is not read yet would be said again.
        if !is_heard {
            return;
        }
        let (members, applied) = (self.inventory.members(), self.inventory.reconciler().applied());
        let mut said = Vec::new();
        if members.standing(&own).is_none() {
            let (standing, ends) = (MemberStanding::Active, VectorClock::new());
            let change = MemberChange { life: own.clone(), standing, ends };
            said.extend(self.signed(change, "a hub's life began"));
        }
        for change in members.amendments(&own, &applied) {
            said.extend(self.signed(change, "more of its logs was applied here"));
        }
        let report_due = self
            .speaking
            .as_mut()
            .filter(|speaking| now.monotonic >= speaking.report_at && speaking.reported != applied);
        if let Some(speaking) = report_due {
            speaking.report_at = now.monotonic.after(speaking.every);
            speaking.reported = applied.clone();
            said.push(MemberRecord::Report(MemberReport { life: own, applied }));
        }
        // Their size is bounded by the number of actors that a clock may have.
        if let Err(error) = self.write_members(&said, now) {
            tracing::error!(%error, "a record of members fits no batch");
        }
    }

    /// When [`Self::speak_of_members`] wants to look again.
    pub(super) fn members_at(&self) -> Option<Monotonic> {
        let speaking = self.speaking.as_ref().filter(|_| !self.fullness.is_full());
        speaking.map(|speaking| speaking.look_at)
    }

    /// A change that the hub makes by itself.
    fn signed(&self, change: MemberChange, reason: &str) -> Option<MemberRecord> {
        let by = Reviewer::new(&format!("hub/{}", self.identity.region())).ok()?;
        let reason = ReasonText::new(reason).ok()?;
        Some(MemberRecord::Change(SignedChange { change, by, reason }))
    }

    fn write_members(&mut self, said: &[MemberRecord], now: Now) -> Result<(), BatchError> {
        if said.is_empty() {
            return Ok(());
        }
        let key = self.identity.region().to_string();
        let records: Vec<Record> =
            said.iter().map(|of| Record::new(now.wall, key.clone(), of.to_json())).collect();
        for batch in Batch::encode_all(&records) {
            self.born(&members_partition(), batch?, now);
        }
        self.cut_commit();
        Ok(())
    }

    /// Changes a region's part; it holds here once the partition of members reaches the offset
    /// returned, and elsewhere once that is known there.
    ///
    /// # Errors
    /// [`RegionError`] when it cannot be changed so here; nothing changes.
    pub fn on_region(&mut self, now: Now, asked: &RegionRequest) -> Result<Offset, RegionError> {
        if self.speaking.is_none() {
            return Err(RegionError::NotConfigured);
        }
        if self.fullness.is_full() {
            return Err(RegionError::Full);
        }
        let changes = self.changes(asked)?;
        let RegionRequest { by, reason, .. } = asked;
        let said: Vec<MemberRecord> = changes
            .into_iter()
            .map(|change| {
                let (by, reason) = (by.clone(), reason.clone());
                let (life, standing) = (&change.life, word(change.standing));
                tracing::warn!(%life, standing, %by, "a region's part changes");
                MemberRecord::Change(SignedChange { change, by, reason })
            })
            .collect();
        self.write_members(&said, now)?;
        Ok(self.composer.end(&members_partition()))
    }

    /// What a request comes to, by what is known here.
    fn changes(&self, asked: &RegionRequest) -> Result<Vec<MemberChange>, RegionError> {
        let region = asked.region.to_string();
        let is_own = asked.region == *self.identity.region();
        let closed = self.own_standing().filter(|standing| *standing > MemberStanding::Draining);
        let (changes, needed) = match asked.action {
            RegionAction::Add => (self.unlisted(asked), "unlisted"),
            RegionAction::Drain => {
                (self.raised(asked, MemberStanding::Draining, |_| VectorClock::new()), "active")
            }
            RegionAction::Seal if !is_own => return Err(RegionError::NotHere { region }),
            RegionAction::Seal => {
                let is_drained = self.own_standing() == Some(MemberStanding::Draining);
                let ends = |life: &Holder| ends_of(life, self.ingest.heads());
                let sealed = self.raised(asked, MemberStanding::Sealed, ends);
                let own = sealed.into_iter().filter(|change| change.life == self.life());
                (own.filter(|_| is_drained).collect(), "draining")
            }
            RegionAction::Exclude if is_own => return Err(RegionError::OwnRegion { region }),
            RegionAction::Exclude => {
                let applied = self.inventory.reconciler().applied();
                let ends = |life: &Holder| ends_of(life, &applied);
                (self.raised(asked, MemberStanding::Excluded, ends), "one that goes on")
            }
            RegionAction::Return if !is_own => return Err(RegionError::NotHere { region }),
            RegionAction::Return => {
                if let Some(standing) = closed {
                    return Err(RegionError::LifeEnded { region, standing: word(standing) });
                }
                let held = self.ingest.heads();
                (self.inventory.members().handed_in(&self.life(), held), "one that ended early")
            }
        };
        if changes.is_empty() { Err(RegionError::NoLife { region, needed }) } else { Ok(changes) }
    }

    /// Lives of a region that are not listed, and take part from now on.
    fn unlisted(&self, asked: &RegionRequest) -> Vec<MemberChange> {
        let members = self.inventory.members();
        let seen = self.ingest.heads().iter().map(|(actor, _)| life_of(actor));
        let lives: BTreeSet<Holder> = seen.filter(|life| life.region == asked.region).collect();
        let unlisted = lives.into_iter().filter(|life| members.standing(life).is_none());
        let (standing, ends) = (MemberStanding::Active, VectorClock::new());
        unlisted.map(|life| MemberChange { life, standing, ends: ends.clone() }).collect()
    }

    /// Lives of a region that have not got as far as a standing.
    fn raised(
        &self,
        asked: &RegionRequest,
        standing: MemberStanding,
        ends: impl Fn(&Holder) -> VectorClock,
    ) -> Vec<MemberChange> {
        // A sealed life said itself where it ends.
        let ended = MemberStanding::Sealed;
        let lives = self.inventory.members().lives();
        let meant = lives
            .filter(|(life, of, _)| life.region == asked.region && *of < standing && *of < ended);
        meant
            .map(|(life, _, _)| MemberChange { life: life.clone(), standing, ends: ends(life) })
            .collect()
    }

    /// Who takes part, as far as this hub has read.
    #[must_use]
    pub fn regions(&self) -> RegionsView {
        let members = self.inventory.members();
        let applied = self.inventory.reconciler().applied();
        let listed = members.lives().map(|(life, standing, ends)| LifeView {
            region: life.region.clone(),
            life: life.incarnation.to_string(),
            standing: Some(standing),
            ends: shown(ends),
        });
        let seen: BTreeSet<Holder> = applied.iter().map(|(actor, _)| life_of(actor)).collect();
        let unlisted = seen.into_iter().filter(|life| members.standing(life).is_none());
        let unlisted = unlisted.map(|life| LifeView {
            region: life.region,
            life: life.incarnation.to_string(),
            standing: None,
            ends: BTreeMap::new(),
        });
        RegionsView {
            lives: listed.chain(unlisted).collect(),
            held_records: self.inventory.held_records(),
            stable: shown(&members.stable(&applied)),
        }
    }
}

fn life_of(actor: &Actor) -> Holder {
    Holder { region: actor.region.clone(), incarnation: actor.incarnation }
}

/// The ends of one life's logs in a clock.
fn ends_of(life: &Holder, clock: &VectorClock) -> VectorClock {
    let mut ends = VectorClock::new();
    for (actor, end) in clock.iter().filter(|(actor, _)| life_of(actor) == *life) {
        ends.advance(actor, end);
    }
    ends
}

fn shown(clock: &VectorClock) -> BTreeMap<String, Offset> {
    clock.iter().map(|(actor, end)| (actor.to_string(), end)).collect()
}

const fn word(standing: MemberStanding) -> &'static str {
    match standing {
        MemberStanding::Active => "active",
        MemberStanding::Draining => "draining",
        MemberStanding::Sealed => "sealed",
        MemberStanding::Excluded => "excluded",
    }
}
