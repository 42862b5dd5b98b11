//! What operators ask of a region's part, and the list of who takes part.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::{BatchError, Now, Offset, RegionId, VectorClock};
use headland_reconcile::{HeldGap, Holder, MemberChange, MemberRecord, MemberStanding};

use super::Node;
use super::members::word;
use crate::members::{
    LackView, LifeName, LifeView, RegionAction, RegionRequest, RegionsView, members_partition,
};

/// What a life has to be, to be excluded.
const EXCLUDABLE: &str = "one that goes on, or a sealed one that is named (--life)";

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
    /// There is nothing here to hand in, and its own hub may have some.
    #[error(
        "this hub holds nothing of region {region} beyond its end, and a life of it goes on: its \
         own hub hands in what others wrote; ask that one, or a hub of which the list shows \
         held_records"
    )]
    GoesOn {
        /// The region.
        region: String,
    },
    /// Several lives could be meant.
    #[error("several lives of region {region} go on: {lives}; name one of them (--life)")]
    SeveralLives {
        /// The region.
        region: String,
        /// Their names.
        lives: String,
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
         (headland store backup, restore), then ask that one; what another hub holds of it, that \
         one can hand in as well"
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

impl Node {
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
                self.change(change, by, reason)
            })
            .collect();
        self.write_members(&said, now)?;
        Ok(self.composer.end(&members_partition()))
    }

    /// What a request comes to, by what is known here.
    fn changes(&self, asked: &RegionRequest) -> Result<Vec<MemberChange>, RegionError> {
        let region = asked.region.to_string();
        let is_own = asked.region == *self.identity.region();
        let (changes, needed) = match asked.action {
            RegionAction::Add => (self.unlisted(asked), "unlisted"),
            RegionAction::Drain => {
                let ends = |_: &Holder| VectorClock::new();
                (self.raised(asked, MemberStanding::Draining, ends)?, "active")
            }
            RegionAction::Seal if !is_own => return Err(RegionError::NotHere { region }),
            RegionAction::Seal => {
                let is_drained = self.own_standing() == Some(MemberStanding::Draining);
                let (life, standing) = (self.life(), MemberStanding::Sealed);
                let ends = ends_of(&life, self.ingest.heads());
                let sealed = is_drained.then_some(MemberChange { life, standing, ends });
                (sealed.into_iter().collect(), "draining")
            }
            RegionAction::Exclude if is_own => return Err(RegionError::OwnRegion { region }),
            RegionAction::Exclude => {
                let applied = self.inventory.reconciler().applied();
                let ends = |life: &Holder| ends_of(life, &applied);
                (self.raised(asked, MemberStanding::Excluded, ends)?, EXCLUDABLE)
            }
            RegionAction::Return => return self.returned(asked),
        };
        if changes.is_empty() { Err(RegionError::NoLife { region, needed }) } else { Ok(changes) }
    }

    /// What this hub holds of lives of a region that ended counts, whoever else goes on: ends only
    /// grow, so that it does no harm where the region's own hub hands in more. Nothing, once it
    /// does: whoever asks again is not refused, unless somebody else could do it.
    fn returned(&self, asked: &RegionRequest) -> Result<Vec<MemberChange>, RegionError> {
        let region = asked.region.to_string();
        let is_own = asked.region == *self.identity.region();
        if let Some(standing) = self.own_standing().filter(|of| is_own && has_ended(*of)) {
            return Err(RegionError::LifeEnded { region, standing: word(standing) });
        }
        let members = self.inventory.members();
        let mut changes = members.handed_in((&self.life(), &asked.region), self.ingest.heads());
        changes.retain(|change| is_meant(asked, &change.life));
        if !changes.is_empty() {
            return Ok(changes);
        }
        let mut lives = members.lives().filter(|(life, _, _)| life.region == asked.region);
        if !is_own && lives.any(|(_, of, _)| !has_ended(of)) {
            return Err(RegionError::GoesOn { region });
        }
        let mut lives = members.lives().filter(|(life, _, _)| is_meant(asked, life));
        if !lives.any(|(_, of, _)| has_ended(of)) {
            return Err(RegionError::NoLife { region, needed: "one that ended" });
        }
        Ok(changes)
    }

    /// Lives of a region that are not listed, and take part from now on.
    fn unlisted(&self, asked: &RegionRequest) -> Vec<MemberChange> {
        let members = self.inventory.members();
        let seen = self.ingest.heads().iter().map(|(actor, _)| Holder::of(actor));
        let lives: BTreeSet<Holder> = seen.filter(|life| is_meant(asked, life)).collect();
        let unlisted = lives.into_iter().filter(|life| members.standing(life).is_none());
        let (standing, ends) = (MemberStanding::Active, VectorClock::new());
        unlisted.map(|life| MemberChange { life, standing, ends: ends.clone() }).collect()
    }

    /// The life of a region that is meant and has not got as far as a standing, raised to it.
    ///
    /// # Errors
    /// [`RegionError::SeveralLives`] when more than one could be meant: with one that is lost,
    /// another that goes on would end.
    fn raised(
        &self,
        asked: &RegionRequest,
        standing: MemberStanding,
        ends: impl Fn(&Holder) -> VectorClock,
    ) -> Result<Vec<MemberChange>, RegionError> {
        let lives = self.inventory.members().lives();
        // A sealed life said itself where it ends, so whoever means it has to name it.
        let is_named = asked.life.is_some();
        let lives = lives.filter(|(_, of, _)| *of < standing && (is_named || !has_ended(*of)));
        let meant = lives.map(|(life, _, _)| life).filter(|life| is_meant(asked, life));
        let meant: Vec<&Holder> = meant.collect();
        if meant.len() > 1 {
            let region = asked.region.to_string();
            let lives: Vec<String> =
                meant.iter().map(|life| life.incarnation.to_string()).collect();
            return Err(RegionError::SeveralLives { region, lives: lives.join(", ") });
        }
        let raised =
            |life: &Holder| MemberChange { life: life.clone(), standing, ends: ends(life) };
        Ok(meant.into_iter().map(raised).collect())
    }

    /// Who takes part, once this hub's own records of members are read up to an end.
    #[must_use]
    pub fn regions_from(&self, end: Offset) -> Option<RegionsView> {
        (self.inventory.members_end() >= end).then(|| self.regions())
    }

    /// What is not here although somebody has said that it has it, with the way out.
    fn lacking_views(&self) -> Vec<LackView> {
        let (members, extent) = (self.inventory.members(), self.inventory.reconciler().extent());
        let behind = members.lacked_ends(&extent, |life| self.is_over(life));
        let behind = behind.iter().map(|(actor, until)| {
            // A life that went on from a backup wrote nothing before its logs begin.
            let from = extent.ends().end(actor).max(members.begin(actor));
            let life = actor.incarnation;
            let way_out = format!(
                "the life is over: a hub that has them hands them on once it is linked; when none \
                 has them any more, `headland region exclude {} --life {life}` goes on without",
                actor.region
            );
            LackView { log: actor.to_string(), from, until, way_out }
        });
        // Nobody can have what no life wrote.
        let is_written = |held: &HeldGap<'_>| held.gap.until > members.begin(&held.actor);
        let gaps = members.gaps_held(&self.life(), &extent).into_iter().filter(is_written);
        let gaps = gaps.filter_map(|held| {
            let way_out = self.way_out_of(&held)?;
            let HeldGap { actor, gap, .. } = held;
            Some(LackView { log: actor.to_string(), from: gap.from, until: gap.until, way_out })
        });
        behind.chain(gaps).chain(self.counted_views()).chain(self.lacking_others()).collect()
    }

    /// The same of rights to sell and of how far groups have read.
    fn lacking_others(&self) -> Vec<LackView> {
        let here = self.others_here();
        let lacked = self.lacked_others();
        let views = lacked.iter().map(|(topic, actor, until)| {
            let (from, log) = (here.whole(topic, actor), format!("{actor} of {topic}"));
            let way_out = "the life is over, and a hub that goes on has said that it has them: it \
                           hands them on once it is linked; when that one is gone for good, \
                           or its disk has lost them, exclude it"
                .to_owned();
            LackView { log, from, until, way_out }
        });
        let early = self.lacking_early().into_iter();
        let early = early.filter(|((topic, actor), _)| lacked.end(topic, actor) == Offset::new(0));
        let early = early.map(|((topic, actor), until)| {
            let from = match self.is_given_back(&topic, &actor) {
                true => self.end_given_back(&topic, &actor),
                false => here.end(&topic, &actor),
            };
            let log = format!("{actor} of {topic}");
            let way_out = "what lies behind them waits for them: a hub that is away was bringing \
                           them or has said that it has more; it hands them on once it is linked; \
                           when it is gone for good, exclude it"
                .to_owned();
            LackView { log, from, until, way_out }
        });
        views.chain(early).collect()
    }

    /// What becomes of a gap here; none of one that nobody has and that begins a log: a life that
    /// went on from a backup wrote nothing there.
    fn way_out_of(&self, held: &HeldGap<'_>) -> Option<String> {
        let HeldGap { actor: _, gap, holders, unsaid } = held;
        let members = self.inventory.members();
        let is_sealed = |life: &Holder| members.standing(life) == Some(MemberStanding::Sealed);
        if holders.iter().any(|life| !self.is_over(life) && !is_sealed(life)) {
            let text = "a hub that has them hands them on once it is linked; all behind them \
                        counts meanwhile";
            return Some(text.to_owned());
        }
        if let Some(life) = holders.iter().find(|life| !self.is_over(life)) {
            return Some(format!(
                "{life} has said that it has them, and is sealed: its hub has to run and be linked \
                 to hand them on; nothing is forgotten meanwhile; when its data is gone, {}",
                exclusion(life)
            ));
        }
        if let Some(last) = holders.last() {
            return Some(format!(
                "only lives that are over have said that they have them, {last} the last of them: \
                 nothing is forgotten meanwhile; when its data is gone, {}",
                exclusion(last)
            ));
        }
        if let Some(life) = unsaid.first() {
            return Some(format!(
                "{life} has not said yet whether it has them, and does once it is linked: nothing \
                 is forgotten meanwhile; when it is gone for good, {}",
                exclusion(life)
            ));
        }
        if let Some(region) = self.unlisted_peers().next() {
            return Some(format!(
                "no hub of region {region} was heard of yet, and it may have them: nothing is \
                 forgotten until it is linked or no peer of the configuration any more"
            ));
        }
        let text = "no hub that takes part has said that it can send them: all counts without \
                    them, and if a backup of a hub has them, one that is started from it hands \
                    them on";
        (gap.from > Offset::new(0)).then(|| text.to_owned())
    }

    /// Who takes part, as far as this hub has read.
    #[must_use]
    pub fn regions(&self) -> RegionsView {
        let members = self.inventory.members();
        let applied = self.inventory.reconciler().applied();
        let listed = members.lives().map(|(life, standing, ends)| LifeView {
            region: life.region.clone(),
            life: LifeName::of(life.incarnation),
            standing: Some(standing),
            ends: shown(ends),
        });
        let seen: BTreeSet<Holder> = applied.iter().map(|(actor, _)| Holder::of(actor)).collect();
        let unlisted = seen.into_iter().filter(|life| members.standing(life).is_none());
        let unlisted = unlisted.map(|life| LifeView {
            region: life.region,
            life: LifeName::of(life.incarnation),
            standing: None,
            ends: BTreeMap::new(),
        });
        let lives = members.unheard(&applied).into_iter().map(|life| life.to_string());
        let regions = self.unlisted_peers().map(RegionId::to_string);
        RegionsView {
            lives: listed.chain(unlisted).collect(),
            held_records: self.inventory.held_records(),
            stable: shown(members.stable(&self.inventory.reconciler().extent()).ends()),
            compacted: shown(self.inventory.reconciler().compacted().ends()),
            lacking: self.lacking_views(),
            unheard: lives.chain(regions).collect(),
        }
    }
}

/// How an operator decides to go on without a life.
fn exclusion(life: &Holder) -> String {
    let Holder { region, incarnation } = life;
    format!(
        "`headland region exclude {region} --life {}`, at another region's hub, goes on without",
        LifeName::of(*incarnation)
    )
}

fn is_meant(asked: &RegionRequest, life: &Holder) -> bool {
    let named = asked.life.is_none_or(|name| name.incarnation() == life.incarnation);
    named && life.region == asked.region
}

const fn has_ended(standing: MemberStanding) -> bool {
    match standing {
        MemberStanding::Active | MemberStanding::Draining => false,
        MemberStanding::Sealed | MemberStanding::Excluded => true,
    }
}

/// The ends of one life's logs in a clock.
fn ends_of(life: &Holder, clock: &VectorClock) -> VectorClock {
    let mut ends = VectorClock::new();
    for (actor, end) in clock.iter().filter(|(actor, _)| Holder::of(actor) == *life) {
        ends.advance(actor, end);
    }
    ends
}

fn shown(clock: &VectorClock) -> BTreeMap<String, Offset> {
    clock.iter().map(|(actor, end)| (actor.to_string(), end)).collect()
}
