//! Which lives of hubs take part, as this hub says and hears.
//!
//! Records of members are read in the order of the journal together with inventory
//! ([`crate::reconcile::Inventory`]), so that what counts follows from the journal alone. Here they
//! are written: that this hub's life takes part, what it has applied, and that it has applied more
//! of a life that ended than anybody has said. What operators ask for is in [`super::regions`].

/// Where this life's logs of inventory begin.
mod begins;

use std::collections::BTreeSet;
use std::time::Duration;

use headland_event::{
    Batch, BatchError, Extent, Gaps, Monotonic, Now, Record, RegionId, Stamp, TopicName,
    VectorClock,
};
use headland_reconcile::{
    HeldGap, Holder, MemberChange, MemberRecord, MemberReport, MemberStanding, OtherLogs,
    ReasonText, Reviewer, SignedChange,
};
use headland_replication::{Identity, Refusal, RefusalCode};

use super::cuts::Cuts;
use super::ends::Ends;
use super::handing::{Aged, Awaited};
use super::lost::Lost;
use super::{KnownPeer, Node};
use crate::config::HubConfig;
use crate::members::{is_of_members, members_partition};
use crate::peer_link::PeerLink;

/// How often it is looked whether there is something to say about lives that ended.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Void stocktakes that one look writes down, a few hundred kilobytes; the next one goes on.
const VOID_EACH: usize = 1_000;

/// How long a life that is not listed yet waits for hubs that it cannot reach, before it takes in
/// other regions' inventory. Those that are reached have said by then who takes part; longer only
/// delays the first start beside a hub that is down.
pub(super) const JOIN_WAIT: Duration = Duration::from_secs(10);

/// When this hub says what about members; a hub without the section says nothing.
#[derive(Debug)]
pub(super) struct Speaking {
    /// How often it says what it has applied.
    pub(super) every: Duration,
    report_at: Monotonic,
    look_at: Monotonic,
    /// What it said last that it has applied, and that its log lost; `None` before the first
    /// report of this start, which is written also by a hub that has nothing: whoever has reported
    /// nothing counts as one of an earlier version, which takes little of what is handed on.
    reported: Option<Reported>,
    /// What others hand on to it.
    pub(super) awaited: Awaited,
    /// Whether there may be somebody to tell off who hands on what is not lacking any more.
    pub(super) leaves: bool,
    /// What it held a while ago.
    pub(super) aged: Aged,
    /// Where logs end that hubs have to hold alike.
    pub(super) ends: Ends,
    /// What compaction left out of these.
    pub(super) cuts: Cuts,
    /// What its log lost by damage.
    pub(super) lost: Lost,
    /// Where this life's logs of inventory begin, of those that do not begin at 0.
    pub(super) begins: VectorClock,
    /// Lives that were seen to be over since the start, because another one of their region came.
    pub(super) former: BTreeSet<Holder>,
    joining: Joining,
}

/// What was said of what is applied, of what the log lost, and of where other logs end of lives
/// that are not linked: those of the others grow all the time, and nobody else is asked for them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reported {
    extent: Extent,
    lost: Gaps,
    others: OtherLogs,
}

/// Whether a life has heard who takes part. Until it has, it counts nothing of other regions: it
/// might be what the others go on without, and what it has counted stays.
#[derive(Debug)]
enum Joining {
    /// It has until then; so many looks in a row have found that every configured hub was heard.
    Until(Monotonic, u32),
    Heard,
}

impl Speaking {
    /// What a hub with `[membership]` says; `None` without it.
    pub(super) fn of(config: &HubConfig, now: Monotonic) -> Option<Self> {
        let every = config.membership.as_ref()?.report_every.get();
        Some(Self::new(every, config.reconcile.topic.clone(), now))
    }

    fn new(every: Duration, inventory: TopicName, now: Monotonic) -> Self {
        let (reported, awaited) = (None, Awaited::default());
        let joining = Joining::Until(now.after(JOIN_WAIT), 0);
        let former = BTreeSet::new();
        let (aged, ends, leaves) = (Aged::default(), Ends::new(inventory), false);
        Self {
            every,
            report_at: now,
            look_at: now,
            reported,
            awaited,
            leaves,
            aged,
            ends,
            cuts: Cuts::default(),
            lost: Lost::default(),
            begins: VectorClock::new(),
            former,
            joining,
        }
    }
}

impl Node {
    /// This hub's life as a member.
    pub(super) fn life(&self) -> Holder {
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

    /// Why nothing flows between this hub and one that says who takes part, when this one does not:
    /// what counts of a region that is excluded would differ between the two for good.
    pub(super) fn unlike(&self, peer: &Identity, offered: &TopicName) -> Option<Refusal> {
        (self.speaking.is_none() && is_of_members(offered)).then(|| {
            let text = format!(
                "{peer} has a section [membership] in its configuration and {} has none: what \
                 counts of an excluded region would differ; add it here, or take it out there",
                self.identity
            );
            Refusal::new(RefusalCode::NotAuthorised, text)
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
        self.hand_on(now);
        // What was said and is not read yet would be said again.
        if !is_heard {
            return;
        }
        self.look_around(now);
        let mut said = Vec::new();
        let is_joining = self.is_joining();
        let (members, extent) = (self.inventory.members(), self.inventory.reconciler().extent());
        if !is_joining && members.standing(&own).is_none() {
            let (standing, ends) = (MemberStanding::Active, VectorClock::new());
            let change = MemberChange { life: own.clone(), standing, ends };
            said.extend(self.signed(change, "a hub's life began"));
        }
        for change in members.amendments(&own, extent.ends()) {
            said.extend(self.signed(change, "more of its logs was applied here"));
        }
        let void = self.inventory.reconciler().unsaid().take(VOID_EACH);
        said.extend(void.map(MemberRecord::Void));
        let report = self.report(now);
        let reported = report.as_ref().map(|(_, reported)| reported.clone());
        said.extend(report.map(|(report, _)| MemberRecord::Report(report)));
        // Their size is bounded by the number of actors that a clock may have.
        match (self.write_members(&said, now), &mut self.speaking, reported) {
            (Ok(()), Some(speaking), Some(reported)) => speaking.reported = Some(reported),
            (Ok(()), _, _) => {}
            (Err(error), _, _) => tracing::error!(%error, "a record of members fits no batch"),
        }
    }

    /// What this hub has applied, and what it knows to be stable and will forget, with what counts
    /// as said once it is written; `None` while that is said already, or not due.
    fn report(&mut self, now: Now) -> Option<(MemberReport, Reported)> {
        let (is_joining, life) = (self.is_joining(), self.life());
        let is_due = !is_joining && now.monotonic >= self.speaking.as_ref()?.report_at;
        if !is_due {
            return None;
        }
        let reconciler = self.inventory.reconciler();
        let (extent, members) = (reconciler.extent(), self.inventory.members());
        // Of a peer that was never heard of there may be a whole history of counts.
        let is_known = self.unlisted_peers().next().is_none();
        // What is missing amid a log may be a count at any older cut, if somebody has it.
        let is_awaited = members.gaps_held(&life, &extent).iter().any(HeldGap::may_come);
        let is_stable = is_known && !is_awaited;
        let stable = if is_stable { members.stable(&extent) } else { Extent::default() };
        let is_more = !reconciler.compacted().covers(&stable);
        let others_here = self.others_here();
        let others = others_here.of(|_, actor| !self.is_here(&Holder::of(actor)));
        let speaking = self.speaking.as_mut()?;
        let found = Reported { extent, lost: speaking.lost.gaps().clone(), others };
        let is_said = speaking.reported.as_ref() == Some(&found);
        if is_said && !is_more {
            return None;
        }
        speaking.report_at = now.monotonic.after(speaking.every);
        let Reported { extent, lost, others: _ } = found.clone();
        let (applied, missing) = (extent.ends().clone(), extent.gaps().clone());
        let others = Some(others_here);
        let (stable, unstable) = (stable.ends().clone(), stable.gaps().clone());
        let (begins, stamps) = (self.begins(), Stamp::VERSION_READ);
        let bare = MemberReport { stamps, begins, ..MemberReport::new(life, applied) };
        let report = MemberReport { stable, unstable, missing, lost, others, ..bare };
        let report = report.bounded();
        // What is stable may not have fitted, and would not the next time.
        let is_news = !is_said || !report.stable.is_empty();
        is_news.then_some((report, found))
    }

    /// Regions of configured hubs of which no life is listed.
    pub(super) fn unlisted_peers(&self) -> impl Iterator<Item = &RegionId> {
        let members = self.inventory.members();
        let is_listed =
            |region: &RegionId| members.lives().any(|(life, ..)| life.region == *region);
        let regions = self.peers.iter().filter_map(|peer| match &peer.identity {
            Identity::Hub { region, .. } => Some(region),
            Identity::Agent { .. } => None,
        });
        regions.filter(move |region| !is_listed(region))
    }

    /// Notes whether every configured hub was heard about who takes part, or the time for it is up.
    fn look_around(&mut self, now: Now) {
        let is_listed = self.own_standing().is_some();
        let heard = |peer: &KnownPeer| self.kept(&peer.identity).is_some_and(PeerLink::has_members);
        let are_heard = self.peers.iter().all(heard);
        let Some(speaking) = &mut self.speaking else { return };
        let Joining::Until(deadline, looks) = speaking.joining else { return };
        // What a hub has to say is announced soon after its hello, hence in time for the next look.
        let looks = if are_heard { looks + 1 } else { 0 };
        let is_over = is_listed || looks > 1 || self.peers.is_empty() || deadline <= now.monotonic;
        speaking.joining = if is_over { Joining::Heard } else { Joining::Until(deadline, looks) };
    }

    /// Whether this life does not yet take in what other regions count.
    pub(super) fn is_joining(&self) -> bool {
        let is_until = |of: &Speaking| matches!(of.joining, Joining::Until(_, _));
        self.speaking.as_ref().is_some_and(is_until) && self.own_standing().is_none()
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
        Some(self.change(change, by, reason))
    }

    /// A change as it is written: of what this hub says of a life the last record stays when
    /// `_members` is compacted, so it says all that was composed before.
    pub(super) fn change(
        &self,
        change: MemberChange,
        by: Reviewer,
        reason: ReasonText,
    ) -> MemberRecord {
        let change = self.ingest.members().joined(change);
        MemberRecord::Change(SignedChange { change, by, reason })
    }

    pub(super) fn write_members(
        &mut self,
        said: &[MemberRecord],
        now: Now,
    ) -> Result<(), BatchError> {
        if said.is_empty() {
            return Ok(());
        }
        let writer = self.life();
        let records: Vec<Record> = said
            .iter()
            .map(|of| Record::new(now.wall, key_of(&writer, of), of.to_json()))
            .collect();
        for batch in Batch::encode_all(&records) {
            self.born(&members_partition(), batch?, now);
        }
        self.cut_commit();
        Ok(())
    }
}

/// What a record of members is about: of all that a life of a hub says of it the last record stays.
/// The writer's life is a part: another one, begun from an old backup, does not know all that the
/// former one said.
fn key_of(writer: &Holder, said: &MemberRecord) -> String {
    match said {
        MemberRecord::Change(signed) => format!("{writer}/{}/standing", signed.change.life),
        MemberRecord::Report(report) => format!("{writer}/{}/applied", report.life),
        MemberRecord::Void(void) => format!("{writer}/{}/void", void.position),
    }
}

pub(super) const fn word(standing: MemberStanding) -> &'static str {
    match standing {
        MemberStanding::Active => "active",
        MemberStanding::Draining => "draining",
        MemberStanding::Sealed => "sealed",
        MemberStanding::Excluded => "excluded",
    }
}
