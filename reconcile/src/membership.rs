//! Which lives of hubs take part, and what all of them have seen.
//!
//! A life (see [`Holder`]) joins, may drain, and ends sealed or excluded. Each change is a record
//! that any hub may write; what a life is follows from the set of them, because standings only
//! rise and ends only grow, so that hubs that were cut off from each other agree once they have
//! exchanged the records. A life that ended never writes again: a region that was excluded goes on
//! as a new life, and what the former one wrote beyond its end counts once the region's operator
//! hands it in, by raising that end to all that its hub holds ([`Membership::handed_in`]).
//!
//! When a life is excluded, hubs differ in how much of its logs they have applied, and what is
//! applied stays. So the end of its logs is not one operator's word: every hub that has applied
//! more says so ([`Membership::amendments`]), the largest end holds, and what stands behind the end
//! known so far is held back, not thrown away. Once all hubs have heard each other the same
//! records count everywhere, whichever came first, the exclusion or they.
//!
//! Every hub now and then reports what it has applied. A report takes effect at a receiver once
//! that has applied the reporter's own records up to the report: every later record of that life
//! was then written by somebody who knew at least as much. The meet of the reports in effect is
//! *causally stable*: no record that is still to come can be concurrent with what it includes, and
//! [`crate::Reconciler::compact`] may forget what only such a record could ask for. What a report
//! says is missing is not included, since its writer's records say that they have not seen it; that
//! holds until a later report takes effect, not until it is heard. No clock takes part in it; a
//! life that is silent holds it back until somebody excludes it.
//!
//! # Source
//! Baquero, Almeida, Shoker, "Making Operation-based CRDTs Operation-based", 2014 (causal
//! stability).

use std::collections::{BTreeMap, BTreeSet};

use headland_event::{Actor, Extent, Gap, Gaps, Offset, RegionId, TopicName, VectorClock};
use serde::{Deserialize, Serialize};

use crate::escrow::Holder;

/// What hubs write about members.
mod record;

/// What hubs hold of logs beside inventory.
mod other_logs;

/// What a life says of itself.
mod word;

/// All of it as bytes.
mod bytes;

pub use other_logs::OtherLogs;
pub use record::{MemberRecord, MemberRecordError, SignedChange};
use word::Word;

/// How far a life has got, in the order in which that can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberStanding {
    /// It takes events in.
    Active,
    /// It takes nothing new in and hands over what it has.
    Draining,
    /// It said where its logs end, and will write no more.
    Sealed,
    /// Others decided where its logs end; what it wrote beyond does not count.
    Excluded,
}

/// A change of one life's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberChange {
    /// The life.
    pub life: Holder,
    /// What it is from now on; a lower one than before changes nothing.
    pub standing: MemberStanding,
    /// Where its logs end, when it is sealed or excluded.
    #[serde(serialize_with = "record::write_ends", deserialize_with = "record::read_ends")]
    pub ends: VectorClock,
}

/// What a life says that it has applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberReport {
    /// The life.
    pub life: Holder,
    /// The ends of everything it has applied, its own logs included.
    #[serde(serialize_with = "record::write_ends", deserialize_with = "record::read_ends")]
    pub applied: VectorClock,
    /// What it knows to be stable, and forgets where this record stands in its own journal; empty
    /// when it forgets nothing.
    #[serde(
        default,
        skip_serializing_if = "VectorClock::is_empty",
        serialize_with = "record::write_ends",
        deserialize_with = "record::read_ends"
    )]
    pub stable: VectorClock,
    /// What lies below the ends of what is stable and is not; hubs of before said nothing of it.
    #[serde(
        default,
        skip_serializing_if = "Gaps::is_empty",
        serialize_with = "record::write_gaps",
        deserialize_with = "record::read_gaps"
    )]
    pub unstable: Gaps,
    /// What lies below the ends of what was applied and was not; hubs of before said nothing of it.
    #[serde(
        default,
        skip_serializing_if = "Gaps::is_empty",
        serialize_with = "record::write_gaps",
        deserialize_with = "record::read_gaps"
    )]
    pub missing: Gaps,
    /// What damage took from its log although it may have applied it: it has it to send no more.
    #[serde(
        default,
        skip_serializing_if = "Gaps::is_empty",
        serialize_with = "record::write_gaps",
        deserialize_with = "record::read_gaps"
    )]
    pub lost: Gaps,
    /// Where logs beside inventory end that hubs have to hold alike; `None` when nothing is said of
    /// them, as by hubs of before.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "record::write_logs",
        deserialize_with = "record::read_logs"
    )]
    pub others: Option<OtherLogs>,
    /// Where its own logs of inventory begin, of those that do not begin at 0: a life that goes on
    /// from a backup wrote nothing before. Hubs of before said nothing of it.
    #[serde(
        default,
        skip_serializing_if = "VectorClock::is_empty",
        serialize_with = "record::write_ends",
        deserialize_with = "record::read_ends"
    )]
    pub begins: VectorClock,
    /// The highest version of stamps that it reads; hubs of before read the first one and said
    /// nothing of it.
    #[serde(default = "record::first_stamps", skip_serializing_if = "record::are_first_stamps")]
    pub stamps: u8,
}

impl MemberReport {
    /// The report of a life that has applied so much, is missing nothing and says no more.
    #[must_use]
    pub const fn new(life: Holder, applied: VectorClock) -> Self {
        Self {
            life,
            applied,
            stable: VectorClock::new(),
            unstable: Gaps::new(),
            missing: Gaps::new(),
            lost: Gaps::new(),
            others: None,
            begins: VectorClock::new(),
            stamps: record::first_stamps(),
        }
    }
}

/// Regions of whose logs somebody lacks what another one has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lacking {
    /// Of lives that write no more, something behind the end of what is there.
    pub over: BTreeSet<RegionId>,
    /// Of any life, something that others had passed over.
    pub gaps: BTreeSet<RegionId>,
}

impl Lacking {
    fn merge(&mut self, Self { over, gaps }: Self) {
        self.over.extend(over);
        self.gaps.extend(gaps);
    }
}

/// A gap in a log here, and what others have said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldGap<'a> {
    /// The log.
    pub actor: Actor,
    /// What is missing here.
    pub gap: Gap,
    /// Lives that have said that they have something of it to send.
    pub holders: BTreeSet<&'a Holder>,
    /// Lives that go on, hold nothing of it as far as they have said, and have not said all.
    pub unsaid: BTreeSet<&'a Holder>,
}

impl HeldGap<'_> {
    const fn new(actor: Actor, gap: Gap) -> Self {
        Self { actor, gap, holders: BTreeSet::new(), unsaid: BTreeSet::new() }
    }

    /// Whether what lies in it may still come from somebody who takes part.
    #[must_use]
    pub fn may_come(&self) -> bool {
        !self.holders.is_empty() || !self.unsaid.is_empty()
    }
}

/// Whether a record counts, by the life that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// It does.
    Counts,
    /// Its life's logs end before it, as far as is known here. It is held back: it counts once a
    /// member says that it has applied it, or the region's next life hands it in.
    BeyondEnd,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    standing: MemberStanding,
    ends: VectorClock,
    /// The latest report in effect.
    seen: Option<VectorClock>,
    /// Reports whose records have not all come, by what each says of its own logs.
    waiting: Option<VectorClock>,
    /// What the latest report says is missing; snapshots keep it apart.
    #[serde(skip)]
    missing: Gaps,
    /// What the latest report in effect says is missing; likewise.
    #[serde(skip)]
    unseen: Gaps,
    /// Logs of which the latest report says less than was known; no snapshot has them.
    #[serde(skip)]
    lowered: BTreeSet<Actor>,
    /// What it says that its log lost; likewise.
    #[serde(skip)]
    lost: Gaps,
    /// Where it has said that other logs end for it; likewise.
    #[serde(skip)]
    others: Option<OtherLogs>,
    /// What it has said of itself; likewise.
    #[serde(skip)]
    word: Word,
}

impl Member {
    /// What takes part and has said nothing else.
    const fn active() -> Self {
        let standing = MemberStanding::Active;
        let ends = VectorClock::new();
        let missing = Gaps::new();
        let unseen = Gaps::new();
        let lowered = BTreeSet::new();
        let lost = Gaps::new();
        let word = Word::new();
        let (seen, waiting, others) = (None, None, None);
        Self { standing, ends, seen, waiting, missing, unseen, lowered, lost, others, word }
    }

    /// Whether it is still to be asked for what it has: also an excluded one, while it is linked.
    fn may_send(&self, life: &Holder, is_linked: impl Fn(&Holder) -> bool) -> bool {
        self.standing != MemberStanding::Excluded || is_linked(life)
    }

    const fn has_ended(&self) -> bool {
        match self.standing {
            MemberStanding::Active | MemberStanding::Draining => false,
            MemberStanding::Sealed | MemberStanding::Excluded => true,
        }
    }

    /// What it has said that it applied, in effect or not.
    fn reported(&self) -> VectorClock {
        self.waiting.as_ref().or(self.seen.as_ref()).cloned().unwrap_or_default()
    }

    /// Whether what life `own` says that it applied was said later than what is known: that stands
    /// behind it in the life's log of members. Where it stands was not kept by versions of before.
    /// There its own logs only grow; of others a report that is cut says less than one before it.
    fn is_later(&self, (said, at): (&VectorClock, Option<Offset>), own: &Holder) -> bool {
        if let (Some(at), Some(known)) = (at, self.word.at) {
            return at > known;
        }
        let known = self.reported();
        let own_of = |clock: &VectorClock| {
            let mut own_logs = VectorClock::new();
            let own = clock.iter().filter(|(actor, _)| is_of(actor, own));
            own.for_each(|(actor, end)| own_logs.advance(actor, end));
            own_logs
        };
        let (said_own, known_own) = (own_of(said), own_of(&known));
        if said_own == known_own {
            // Of a life that writes nothing: each says what it had seen, and of two of which
            // neither says more either may be the later one.
            return said.covers(&known) || !known.covers(said);
        }
        said_own.covers(&known_own)
    }
}

/// Logs beside inventory of which something may be missing, with up to where they are whole.
type Cut = BTreeMap<(TopicName, Actor), Offset>;

/// Every life that ever took part.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Membership {
    members: BTreeMap<Holder, Member>,
}

impl Membership {
    /// Nobody takes part.
    #[must_use]
    pub const fn new() -> Self {
        Self { members: BTreeMap::new() }
    }

    /// Takes note of a change; changes come in any order, and again.
    pub fn on_change(&mut self, change: &MemberChange) {
        let MemberChange { life, standing, ends } = change;
        let member = self.members.entry(life.clone()).or_insert_with(Member::active);
        member.standing = member.standing.max(*standing);
        member.ends.merge(ends);
    }

    /// Takes note of a report of which nobody knows where it stands, see [`Self::on_report_at`].
    pub fn on_report(&mut self, report: MemberReport, applied: &VectorClock) {
        self.on_report_from(report, None, applied);
    }

    /// Takes note of a report that stands at an offset of its life's log of members: of two the one
    /// that stands later was said later, over whatever ways they came. Of reports that wait for
    /// their records the latest is kept: a receiver that lags behind holds one of each life.
    pub fn on_report_at(&mut self, report: MemberReport, at: Offset, applied: &VectorClock) {
        self.on_report_from(report, Some(at), applied);
    }

    fn on_report_from(&mut self, report: MemberReport, at: Option<Offset>, applied: &VectorClock) {
        let MemberReport {
            stable: _,
            unstable: _,
            life,
            applied: seen,
            missing,
            lost,
            others,
            begins,
            stamps,
        } = report;
        // Whoever reports takes part.
        let member = self.members.entry(life.clone()).or_insert_with(Member::active);
        let is_later = member.is_later((&seen, at), &life);
        let is_placed = at.is_some() && member.word.at.is_some();
        member.word.on_begins(&life, &begins);
        if is_later {
            (member.missing, member.lost) = (missing.clone(), lost);
            member.word.at = at.or(member.word.at);
            member.word.stamps = stamps;
        }
        if let Some(others) = others {
            member.others.get_or_insert_default().merge(&others);
        }
        if is_later {
            let known = member.reported();
            let lowered = known.iter().filter(|(actor, end)| seen.end(actor) < *end);
            // Of a report whose place is known nothing is told by what it says.
            let lowered = lowered.filter(|_| at.is_none());
            member.lowered = lowered.map(|(actor, _)| actor.clone()).collect();
            member.waiting = Some(seen);
        } else if !is_placed {
            // One that came late over another way, or behind damage. Where it had passed over
            // something, a later one may say less of it.
            let mut known = member.reported();
            let lowered = &member.lowered;
            let whole = seen
                .iter()
                .filter(|(actor, _)| missing.of(actor).is_empty() && !lowered.contains(*actor));
            whole.for_each(|(actor, end)| known.advance(actor, end));
            member.waiting = Some(known);
        }
        self.on_applied(applied);
    }

    /// Takes note of what this hub has applied: reports may take effect.
    pub fn on_applied(&mut self, applied: &VectorClock) {
        for (life, member) in &mut self.members {
            let is_heard = |seen: &VectorClock| {
                let mut own = seen.iter().filter(|(actor, _)| is_of(actor, life));
                own.all(|(actor, end)| applied.end(actor) >= end)
            };
            if let Some(waiting) = member.waiting.take_if(|waiting| is_heard(waiting)) {
                (member.seen, member.unseen) = (Some(waiting), member.missing.clone());
            }
        }
    }

    /// What hub `own` has to say about lives that ended, having applied more of their logs than
    /// anybody has said: the same again until it is said. Of its own life it says nothing, the
    /// others decide about that. Of former lives of its region it does: what is applied stays, and
    /// a new life that kept it to itself would differ from the others for good.
    #[must_use]
    pub fn amendments(&self, own: &Holder, applied: &VectorClock) -> Vec<MemberChange> {
        self.raised(applied, |life| life != own)
    }

    /// What raises the ends of a region's lives, but for `own`, to all that a hub holds of them.
    #[must_use]
    pub fn handed_in(
        &self,
        (own, region): (&Holder, &RegionId),
        held: &VectorClock,
    ) -> Vec<MemberChange> {
        self.raised(held, |life| life.region == *region && life != own)
    }

    /// A change together with all that is known of its life, so that a record of it stands for
    /// those before.
    #[must_use]
    pub fn joined(&self, change: MemberChange) -> MemberChange {
        let MemberChange { life, standing, mut ends } = change;
        let Some(known) = self.members.get(&life) else {
            return MemberChange { life, standing, ends };
        };
        ends.merge(&known.ends);
        MemberChange { life, standing: standing.max(known.standing), ends }
    }

    /// Regions of whose logs `known` has what `have` lacks: of a life that ended up to its end, of
    /// another that `is_over` all of them, and of every life what lies in a gap, since whoever
    /// passed over it will not send it. Whoever holds it hands it on. O(actors × log lives).
    #[must_use]
    pub fn lacking(
        &self,
        have: &Extent,
        known: &Extent,
        is_over: impl Fn(&Holder) -> bool,
    ) -> Lacking {
        let mut lacking = Lacking::default();
        for (actor, end) in known.ends().iter() {
            let life = Holder::of(actor);
            let ended = self.members.get(&life).filter(|member| member.has_ended());
            let counts = ended.map_or(end, |member| member.ends.end(actor).min(end));
            let is_over = ended.is_some() || is_over(&life);
            if is_over && have.lacks_behind(known, actor, counts) {
                lacking.over.insert(actor.region.clone());
            }
            if have.lacks_within(known, actor, counts) {
                lacking.gaps.insert(actor.region.clone());
            }
        }
        lacking
    }

    /// The same of all that somebody has said that he has and can send: what only lives had that
    /// are over nobody waits for, nor what an excluded one had that is not linked. A sealed life
    /// says where its logs end, and that it has them. Where a log ends says nothing of what lies
    /// below that end. O(lives × actors × log lives).
    #[must_use]
    pub fn lacked(
        &self,
        have: &Extent,
        is_over: impl Fn(&Holder) -> bool,
        is_linked: impl Fn(&Holder) -> bool,
    ) -> Lacking {
        let mut lacked = Lacking::default();
        for (life, member) in &self.members {
            if is_over(life) || !member.may_send(life, &is_linked) {
                continue;
            }
            lacked.merge(self.lacking(have, &self.reported(life), &is_over));
            let ends = Extent::new(member.ends.clone(), Gaps::new());
            lacked.over.extend(self.lacking(have, &ends, &is_over).over);
        }
        lacked
    }

    /// Logs of lives that write no more, of which somebody said that it has records behind the end
    /// here, each with the end that was said. Before its [beginning](Self::begin) a log has none.
    /// O(actors × log lives).
    #[must_use]
    pub fn lacked_ends(&self, have: &Extent, is_over: impl Fn(&Holder) -> bool) -> VectorClock {
        let known = self.known();
        let mut lacked = VectorClock::new();
        for (actor, end) in known.iter() {
            let life = Holder::of(actor);
            let ended = self.members.get(&life).filter(|member| member.has_ended());
            let counts = ended.map_or(end, |member| member.ends.end(actor).min(end));
            let from = have.ends().end(actor).max(self.begin(actor));
            if from < counts && (ended.is_some() || is_over(&life)) {
                lacked.advance(actor, counts);
            }
        }
        lacked
    }

    /// Every gap here with what other lives than `own` have said of it: which have something of
    /// what lies in it in their log, and which go on and have not said as far. Of an excluded one
    /// it was decided to go on without; the hub of a sealed one hands on what it has, and the seal
    /// says that it has its own log up to its end. O(gaps × lives × gaps of a log).
    #[must_use]
    pub fn gaps_held(&self, own: &Holder, have: &Extent) -> Vec<HeldGap<'_>> {
        if have.gaps().is_empty() {
            return Vec::new();
        }
        let counts = |(life, member): &(&Holder, &Member)| {
            *life != own && member.standing != MemberStanding::Excluded
        };
        let said = |member: &Member| {
            let mut ends = member.reported();
            ends.merge(&member.ends);
            Extent::new(ends, member.missing.clone()).without(&member.lost)
        };
        let others = self.members.iter().filter(counts);
        let others: Vec<_> = others.map(|(life, of)| (life, of, said(of))).collect();
        let held = |(actor, gap): (&Actor, Gap)| {
            let mut held = HeldGap::new(actor.clone(), gap);
            for (life, member, said) in &others {
                let end = said.ends().end(actor);
                if !said.gaps().spans(actor, gap.from, gap.until.min(end)) {
                    held.holders.insert(life);
                } else if end < gap.until && !member.has_ended() {
                    held.unsaid.insert(life);
                }
            }
            held
        };
        have.gaps().iter().map(held).collect()
    }

    /// Whether another life than `own` that goes on has said that it has not applied all of a part
    /// of a log. O(lives × gaps of the log).
    #[must_use]
    pub fn is_lacked(&self, own: &Holder, actor: &Actor, part: Gap) -> bool {
        let others = self.members.iter().filter(|(life, of)| *life != own && !of.has_ended());
        let mut said = others.map(|(_, of)| Extent::new(of.reported(), of.missing.clone()));
        said.any(|said| !said.has(actor, part.from, part.until))
    }

    /// Every life that anybody has named: listed, or in what was applied somewhere.
    #[must_use]
    pub fn named(&self) -> BTreeSet<Holder> {
        let applied = self.known();
        let applied = applied.iter().map(|(actor, _)| Holder::of(actor));
        applied.chain(self.members.keys().cloned()).collect()
    }

    /// What a life has said that it applied and has in its log, whether its own records have come
    /// or not.
    #[must_use]
    pub fn reported(&self, life: &Holder) -> Extent {
        let member = self.members.get(life);
        member.map_or_else(Extent::default, |member| {
            Extent::new(member.reported(), member.missing.clone()).without(&member.lost)
        })
    }

    /// What anybody has said that there is: ends of lives that ended, and what was applied.
    #[must_use]
    pub fn known(&self) -> VectorClock {
        let mut known = VectorClock::new();
        for member in self.members.values() {
            known.merge(&member.ends);
            known.merge(&member.reported());
        }
        known
    }

    /// Lives that [`Self::stable`] waits for: those that go on and whose report is not in effect,
    /// those that ended and of which records are missing here, and those that are not listed and of
    /// which there are records here or elsewhere. O(lives × log actors).
    #[must_use]
    pub fn unheard(&self, applied: &VectorClock) -> BTreeSet<Holder> {
        let is_unheard = |member: &Member| {
            if member.has_ended() { !applied.covers(&member.ends) } else { member.seen.is_none() }
        };
        let unheard = self.members.iter().filter(|(_, member)| is_unheard(member));
        let unheard = unheard.map(|(life, _)| life.clone());
        let known = self.known();
        let known = known.iter().chain(applied.iter()).map(|(actor, _)| Holder::of(actor));
        unheard.chain(known.filter(|life| !self.members.contains_key(life))).collect()
    }

    /// Changes that raise the ends of some lives that ended to what a clock knows of them.
    fn raised(&self, clock: &VectorClock, is_meant: impl Fn(&Holder) -> bool) -> Vec<MemberChange> {
        let ended =
            self.members.iter().filter(|(life, member)| member.has_ended() && is_meant(life));
        ended
            .filter_map(|(life, member)| {
                let mut ends = VectorClock::new();
                for (actor, end) in clock.iter().filter(|(actor, _)| is_of(actor, life)) {
                    if end > member.ends.end(actor) {
                        ends.advance(actor, end);
                    }
                }
                let is_more = ends.iter().next().is_some();
                let standing = member.standing;
                is_more.then(|| MemberChange { life: life.clone(), standing, ends })
            })
            .collect()
    }

    /// Whether a record counts. O(log lives + log actors).
    #[must_use]
    pub fn acceptance(&self, actor: &Actor, offset: Offset) -> Acceptance {
        let life = Holder::of(actor);
        let Some(member) = self.members.get(&life) else { return Acceptance::Counts };
        if member.has_ended() && !member.ends.includes(actor, offset) {
            Acceptance::BeyondEnd
        } else {
            Acceptance::Counts
        }
    }

    /// Whether a batch that ends at `end` of a log counts. Ends of logs lie between batches, so it
    /// does as a whole or not at all. O(log lives + log actors).
    #[must_use]
    pub fn accepts(&self, actor: &Actor, end: Offset) -> bool {
        match self.acceptance(actor, Offset::new(end.get().saturating_sub(1))) {
            Acceptance::Counts => true,
            Acceptance::BeyondEnd => false,
        }
    }

    /// What a life is; `None` of one that never joined.
    #[must_use]
    pub fn standing(&self, life: &Holder) -> Option<MemberStanding> {
        self.members.get(life).map(|member| member.standing)
    }

    /// Every life with what it is and where its logs end, ordered by region and life.
    pub fn lives(&self) -> impl Iterator<Item = (&Holder, MemberStanding, &VectorClock)> {
        self.members.iter().map(|(life, member)| (life, member.standing, &member.ends))
    }

    /// What every record that is still to come was written after: what each life that goes on has
    /// reported, but for what it reported as missing, as far as it was applied here. Of its own log
    /// a life has seen all that it wrote, and offsets [before the beginning](Self::begins) of a log
    /// count as seen. Empty while [`Self::unheard`] names a life. O(lives × (actors + gaps)).
    #[must_use]
    pub fn stable(&self, applied: &Extent) -> Extent {
        if !self.unheard(applied.ends()).is_empty() {
            return Extent::default();
        }
        let begins = self.begins_for(applied);
        let goes_on = self.members.iter().filter(|(_, member)| !member.has_ended());
        let seen = goes_on.filter_map(|(life, member)| {
            let mut unseen = member.unseen.clone();
            unseen.retain(|actor| !is_of(actor, life));
            // Before they are counted: only so many gaps are kept.
            word::begin_at(&mut unseen, &begins);
            Some(Extent::new(member.seen.clone()?, unseen))
        });
        let stable = seen.reduce(|of, seen| of.meet(&seen));
        let mut here = applied.gaps().clone();
        word::begin_at(&mut here, &begins);
        let here = Extent::new(applied.ends().clone(), here);
        let stable = stable.map(|stable| stable.meet(&here)).unwrap_or_default();
        debug_assert!(applied.ends().covers(stable.ends()), "stable beyond what was applied");
        stable
    }
}

fn is_of(actor: &Actor, life: &Holder) -> bool {
    actor.region == life.region && actor.incarnation == life.incarnation
}

#[cfg(test)]
mod tests;
