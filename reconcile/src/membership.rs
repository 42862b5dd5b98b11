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

use headland_event::{Actor, Extent, Gap, Gaps, Offset, RegionId, VectorClock};
use serde::{Deserialize, Serialize};

use crate::escrow::Holder;
use crate::snapshot::RestoreError;

/// What hubs write about members.
mod record;

/// What hubs hold of logs beside inventory.
mod other_logs;

pub use other_logs::OtherLogs;
pub use record::{MemberRecord, MemberRecordError, SignedChange};

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
        let (seen, waiting, others) = (None, None, None);
        Self { standing, ends, seen, waiting, missing, unseen, lowered, lost, others }
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

    /// Whether what life `own` says that it applied was said later than what is known. Its own logs
    /// only grow; of others a report that is cut says less than one before it.
    fn is_later(&self, said: &VectorClock, own: &Holder) -> bool {
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

    /// All of it as bytes of a snapshot: lives, then what each said is missing, then what each said
    /// its log lost, then where each said that other logs end, then what the report in effect said
    /// is missing. O(lives × actors).
    ///
    /// # Panics
    /// Never: plain data always has an encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let said = |of: fn(&Member) -> &Gaps| -> BTreeMap<&Holder, &Gaps> {
            let said = self.members.iter().map(|(life, member)| (life, of(member)));
            said.filter(|(_, gaps)| !gaps.is_empty()).collect()
        };
        let (missing, lost) = (said(|member| &member.missing), said(|member| &member.lost));
        let others = self.members.iter();
        let others: BTreeMap<&Holder, &OtherLogs> =
            others.filter_map(|(life, member)| Some((life, member.others.as_ref()?))).collect();
        let all = (self, missing, lost, others, said(|member| &member.unseen));
        #[expect(clippy::expect_used, reason = "plain data whose lengths are known, into memory")]
        postcard::to_stdvec(&all).expect("plain data always has an encoding")
    }

    /// Reads what [`Self::to_bytes`] wrote, or an earlier version that knew of nothing missing.
    /// O(bytes).
    ///
    /// # Errors
    /// [`RestoreError`] when the bytes are no members.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RestoreError> {
        let layout = |error: postcard::Error| RestoreError::Bytes { detail: error.to_string() };
        let (mut read, rest) = postcard::take_from_bytes::<Self>(bytes).map_err(layout)?;
        if rest.is_empty() {
            return Ok(read);
        }
        type Said = BTreeMap<Holder, Gaps>;
        let (missing, rest) = postcard::take_from_bytes::<Said>(rest).map_err(layout)?;
        for (life, missing) in missing {
            if let Some(member) = read.members.get_mut(&life) {
                // Snapshots of before do not say which of it is in effect.
                (member.missing, member.unseen) = (missing.clone(), missing);
            }
        }
        if rest.is_empty() {
            return Ok(read);
        }
        let (lost, rest) = postcard::take_from_bytes::<Said>(rest).map_err(layout)?;
        for (life, lost) in lost {
            if let Some(member) = read.members.get_mut(&life) {
                member.lost = lost;
            }
        }
        if rest.is_empty() {
            return Ok(read);
        }
        type Others = BTreeMap<Holder, OtherLogs>;
        let (others, rest) = postcard::take_from_bytes::<Others>(rest).map_err(layout)?;
        for (life, others) in others {
            if let Some(member) = read.members.get_mut(&life) {
                member.others = Some(others);
            }
        }
        if rest.is_empty() {
            return Ok(read);
        }
        let mut unseen = postcard::from_bytes::<Said>(rest).map_err(layout)?;
        for (life, member) in &mut read.members {
            member.unseen = unseen.remove(life).unwrap_or_default();
        }
        Ok(read)
    }

    /// Takes note of a change; changes come in any order, and again.
    pub fn on_change(&mut self, change: &MemberChange) {
        let MemberChange { life, standing, ends } = change;
        let member = self.members.entry(life.clone()).or_insert_with(Member::active);
        member.standing = member.standing.max(*standing);
        member.ends.merge(ends);
    }

    /// Takes note of a report. Of reports that wait for their records the latest is kept, so that a
    /// receiver that lags behind holds one of each life.
    pub fn on_report(&mut self, report: MemberReport, applied: &VectorClock) {
        let MemberReport { life, applied: seen, missing, lost, others, stable: _, unstable: _ } =
            report;
        // Whoever reports takes part.
        let member = self.members.entry(life.clone()).or_insert_with(Member::active);
        let is_later = member.is_later(&seen, &life);
        if is_later {
            (member.missing, member.lost) = (missing.clone(), lost);
        }
        if let Some(others) = others {
            member.others.get_or_insert_default().merge(&others);
        }
        if is_later {
            let known = member.reported();
            let lowered = known.iter().filter(|(actor, end)| seen.end(actor) < *end);
            member.lowered = lowered.map(|(actor, _)| actor.clone()).collect();
            member.waiting = Some(seen);
        } else {
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
    /// here, each with the end that was said. O(actors × log lives).
    #[must_use]
    pub fn lacked_ends(&self, have: &Extent, is_over: impl Fn(&Holder) -> bool) -> VectorClock {
        let known = self.known();
        let mut lacked = VectorClock::new();
        for (actor, end) in known.iter() {
            let life = Holder::of(actor);
            let ended = self.members.get(&life).filter(|member| member.has_ended());
            let counts = ended.map_or(end, |member| member.ends.end(actor).min(end));
            if have.ends().end(actor) < counts && (ended.is_some() || is_over(&life)) {
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
    /// a life has seen all that it wrote, and offsets at the beginning of one that nobody has said
    /// that he has count as seen. Empty while [`Self::unheard`] names a life. O(lives × (actors +
    /// gaps)).
    #[must_use]
    pub fn stable(&self, applied: &Extent) -> Extent {
        if !self.unheard(applied.ends()).is_empty() {
            return Extent::default();
        }
        let goes_on = self.members.iter().filter(|(_, member)| !member.has_ended());
        let seen = goes_on.filter_map(|(life, member)| {
            let mut unseen = member.unseen.clone();
            unseen.retain(|actor| !is_of(actor, life));
            Some(Extent::new(member.seen.clone()?, unseen))
        });
        let stable = seen.reduce(|of, seen| of.meet(&seen));
        let mut stable = stable.map(|stable| stable.meet(applied)).unwrap_or_default();
        for (actor, gap) in self.beginnings(stable.gaps(), applied) {
            stable.fill(&actor, gap.from, gap.until);
        }
        debug_assert!(applied.ends().covers(stable.ends()), "stable beyond what was applied");
        stable
    }
}

impl Membership {
    /// Those of some gaps that begin a log and of which nobody has said that he has anything, nor
    /// is it here: a life that goes on from a backup wrote nothing there. O(lives × actors), where
    /// there are any.
    fn beginnings(&self, gaps: &Gaps, applied: &Extent) -> Vec<(Actor, Gap)> {
        let mut found: Vec<(Actor, Gap)> = gaps
            .iter()
            .filter(|(_, gap)| gap.from == Offset::new(0))
            .map(|(actor, gap)| (actor.clone(), gap))
            .collect();
        if found.is_empty() {
            return found;
        }
        let said = self.members.values();
        let said = said.map(|member| Extent::new(member.reported(), member.missing.clone()));
        for had in said.chain([applied.clone()]) {
            found.retain(|(actor, gap)| {
                let until = gap.until.min(had.ends().end(actor));
                had.gaps().spans(actor, gap.from, until)
            });
        }
        found
    }
}

fn is_of(actor: &Actor, life: &Holder) -> bool {
    actor.region == life.region && actor.incarnation == life.incarnation
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::position::tests::actor;

    fn life(region: &str) -> Holder {
        let Actor { region, incarnation, .. } = actor(region, 0);
        Holder { region, incarnation }
    }

    fn clock(ends: &[(&str, u64)]) -> VectorClock {
        let mut clock = VectorClock::new();
        for (region, end) in ends {
            clock.advance(&actor(region, 0), Offset::new(*end));
        }
        clock
    }

    fn change(region: &str, standing: MemberStanding, ends: &[(&str, u64)]) -> MemberChange {
        MemberChange { life: life(region), standing, ends: clock(ends) }
    }

    fn members(regions: &[&str]) -> Membership {
        let mut membership = Membership::new();
        for region in regions {
            membership.on_change(&change(region, MemberStanding::Active, &[]));
        }
        membership
    }

    /// Gaps in the log of `us`.
    fn gaps(ranges: &[(u64, u64)]) -> Gaps {
        let mut gaps = Gaps::new();
        for (from, until) in ranges {
            let gap = Gap { from: Offset::new(*from), until: Offset::new(*until) };
            assert_eq!(gaps.note(&actor("us", 0), gap), None);
        }
        gaps
    }

    fn report(region: &str, ends: &[(&str, u64)]) -> MemberReport {
        let (stable, unstable) = (VectorClock::new(), Gaps::new());
        let (missing, lost, others) = (Gaps::new(), Gaps::new(), None);
        let (life, applied) = (life(region), clock(ends));
        MemberReport { life, applied, stable, unstable, missing, lost, others }
    }

    /// What is stable where nothing is missing.
    fn stable(of: &Membership, applied: &VectorClock) -> VectorClock {
        let stable = of.stable(&applied.clone().into());
        assert!(stable.gaps().is_empty());
        stable.ends().clone()
    }

    /// Which of the first offsets of `us` are stable where all of its log is here.
    fn stable_of_us(of: &Membership) -> Vec<u64> {
        let applied = clock(&[("ap", 9), ("eu", 9), ("us", 9)]);
        let stable = of.stable(&applied.into());
        (0..9).filter(|at| stable.includes(&actor("us", 0), Offset::new(*at))).collect()
    }

    #[test]
    fn what_a_member_says_is_missing_is_not_stable_until_its_report_without_it_is_in_effect() {
        let mut membership = members(&["ap", "eu", "us"]);
        let all = clock(&[("ap", 4), ("eu", 9), ("us", 9)]);
        membership.on_report(report("us", &[("ap", 4), ("eu", 9), ("us", 9)]), &all);
        membership.on_report(report("eu", &[("ap", 4), ("eu", 9), ("us", 8)]), &all);
        let missed =
            MemberReport { missing: gaps(&[(2, 4)]), ..report("ap", &[("ap", 4), ("us", 9)]) };
        membership.on_report(missed, &all);
        assert_eq!(stable_of_us(&membership), [0, 1, 4, 5, 6, 7]);

        // It has heard of the rest, and counts of before that are still on their way.
        membership.on_report(report("ap", &[("ap", 6), ("us", 9)]), &all);
        assert_eq!(stable_of_us(&membership), [0, 1, 4, 5, 6, 7]);
        assert_eq!(membership.members[&life("ap")].missing, Gaps::new());
        let restored = Membership::from_bytes(&membership.to_bytes()).unwrap();
        assert_eq!(restored, membership);

        for mut of in [membership, restored] {
            of.on_applied(&clock(&[("ap", 6), ("eu", 9), ("us", 9)]));
            assert_eq!(stable_of_us(&of), [0, 1, 2, 3, 4, 5, 6, 7]);
        }
    }

    #[test]
    fn what_somebody_misses_for_good_holds_back_nothing_behind_it() {
        let mut membership = members(&["ap", "eu"]);
        let all = clock(&[("ap", 4), ("eu", 9), ("us", 9)]);
        let of_us = |standing| change("us", standing, &[("us", 9)]);
        membership.on_change(&of_us(MemberStanding::Sealed));
        membership.on_report(report("eu", &[("ap", 4), ("eu", 9), ("us", 9)]), &all);
        for own_end in [1, 2, 3] {
            let missing = gaps(&[(2, 4)]);
            let said = report("ap", &[("ap", own_end), ("us", 4 + own_end)]);
            membership.on_report(MemberReport { missing, ..said }, &all);
        }

        assert_eq!(stable_of_us(&membership), [0, 1, 4, 5, 6]);
        membership.on_change(&change("ap", MemberStanding::Excluded, &[("ap", 4)]));
        assert_eq!(stable_of_us(&membership), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn a_report_that_is_cut_takes_the_place_of_one_that_said_more() {
        let all = clock(&[("ap", 9), ("eu", 9), ("us", 9)]);
        let first =
            MemberReport { missing: gaps(&[(2, 4)]), ..report("ap", &[("ap", 3), ("us", 9)]) };
        let mut of_eu = Gaps::new();
        let gap = Gap { from: Offset::new(5), until: Offset::new(6) };
        assert_eq!(of_eu.note(&actor("eu", 0), gap), None);
        // The gap in the log of us did not fit any more, so that one ends before it.
        let cut = |own_end| MemberReport {
            missing: of_eu.clone(),
            ..report("ap", &[("ap", own_end), ("eu", 8), ("us", 2)])
        };
        let stable = |said: &[&MemberReport]| {
            let mut membership = members(&["ap"]);
            membership.on_change(&change("us", MemberStanding::Sealed, &[("us", 9)]));
            membership.on_change(&change("eu", MemberStanding::Sealed, &[("eu", 9)]));
            said.iter().for_each(|said| membership.on_report((*said).clone(), &all));
            let stable = membership.stable(&all.clone().into());
            ["eu", "us"].map(|of| {
                let at = |at: &u64| stable.includes(&actor(of, 0), Offset::new(*at));
                (0..9).filter(at).collect::<Vec<u64>>()
            })
        };

        let (later, as_late) = (cut(4), cut(3));

        assert_eq!(stable(&[&first]), [vec![], vec![0, 1, 4, 5, 6, 7, 8]]);
        let of_later = [vec![0, 1, 2, 3, 4, 6, 7], vec![0, 1]];
        assert_eq!(stable(&[&first, &later]), of_later);
        assert_eq!(stable(&[&first, &later, &first]), of_later, "over another way");
        let again = cut(5);
        assert_eq!(stable(&[&first, &later, &again]), of_later);
        assert_eq!(stable(&[&first, &as_late]), of_later, "also of a life that writes nothing");
        let before = report("ap", &[("ap", 2), ("us", 9)]);
        assert_eq!(stable(&[&before, &later, &before]), of_later, "it says more of us than is so");
    }

    #[test]
    fn before_the_beginning_of_a_log_of_which_nobody_has_anything_all_is_stable() {
        let mut membership = members(&["ap", "eu"]);
        let change = change("us", MemberStanding::Sealed, &[("us", 9)]);
        membership.on_change(&change);
        let missed = |region| {
            let missing = gaps(&[(0, 5)]);
            MemberReport { missing, ..report(region, &[(region, 2), ("us", 9)]) }
        };
        let all = clock(&[("ap", 9), ("eu", 9), ("us", 9)]);
        membership.on_report(missed("ap"), &all);
        let mut other = membership.clone();
        membership.on_report(missed("eu"), &all);
        other.on_report(report("eu", &[("eu", 2), ("us", 9)]), &all);

        let here = Extent::new(all.clone(), gaps(&[(0, 5)]));

        assert!(membership.stable(&here).gaps().is_empty());
        assert_eq!(other.stable(&here).gaps(), here.gaps(), "somebody has it");
        assert_eq!(membership.stable(&all.into()).gaps(), here.gaps(), "it is here");
    }

    #[test]
    fn of_its_own_log_a_life_has_seen_all_that_it_wrote_before() {
        let mut membership = members(&["us"]);
        let damaged = MemberReport { missing: gaps(&[(2, 4)]), ..report("us", &[("us", 9)]) };

        membership.on_report(damaged, &clock(&[("us", 9)]));

        let applied = Extent::from(clock(&[("us", 9)]));
        assert_eq!(membership.stable(&applied), applied);
        let here = Extent::new(clock(&[("us", 9)]), gaps(&[(5, 6)]));
        let stable = membership.stable(&here);
        assert_eq!(stable, here, "what is missing here is not stable here");
    }

    #[test]
    fn stable_is_what_every_member_has_seen() {
        let mut membership = members(&["eu", "us"]);
        let applied = clock(&[("eu", 9), ("us", 9)]);
        membership.on_report(report("eu", &[("eu", 8), ("us", 3)]), &applied);
        assert_eq!(stable(&membership, &applied), VectorClock::new(), "us has reported nothing");

        membership.on_report(report("us", &[("eu", 5), ("us", 7)]), &applied);

        assert_eq!(stable(&membership, &applied), clock(&[("eu", 5), ("us", 3)]));
    }

    #[test]
    fn a_report_takes_effect_when_the_reporters_records_have_come() {
        let mut membership = members(&["eu", "us"]);
        let early = clock(&[("eu", 9), ("us", 6)]);
        membership.on_report(report("eu", &[("eu", 9), ("us", 6)]), &early);
        membership.on_report(report("us", &[("eu", 9), ("us", 7)]), &early);
        assert_eq!(stable(&membership, &early), VectorClock::new());

        let applied = clock(&[("eu", 9), ("us", 7)]);
        membership.on_applied(&applied);

        assert_eq!(stable(&membership, &applied), clock(&[("eu", 9), ("us", 6)]));
    }

    #[test]
    fn a_silent_member_holds_stability_back_until_it_is_excluded() {
        let mut membership = members(&["eu", "us"]);
        let applied = clock(&[("eu", 9), ("us", 4)]);
        membership.on_report(report("eu", &[("eu", 9), ("us", 4)]), &applied);
        assert_eq!(stable(&membership, &applied), VectorClock::new());

        membership.on_change(&change("us", MemberStanding::Excluded, &[("us", 4)]));

        assert_eq!(stable(&membership, &applied), clock(&[("eu", 9), ("us", 4)]));
    }

    #[test]
    fn nothing_is_stable_while_records_of_a_life_that_ended_are_missing() {
        let mut membership = members(&["eu", "us"]);
        membership.on_change(&change("us", MemberStanding::Sealed, &[("us", 5)]));
        let applied = clock(&[("eu", 9), ("us", 4)]);
        membership.on_report(report("eu", &[("eu", 9), ("us", 4)]), &applied);

        assert_eq!(stable(&membership, &applied), VectorClock::new());
    }

    #[test]
    fn what_an_excluded_life_wrote_beyond_its_end_does_not_count() {
        let mut membership = members(&["eu", "us"]);
        let at = |offset| (actor("us", 0), Offset::new(offset));
        let acceptance =
            |of: &Membership, (actor, offset): (Actor, Offset)| of.acceptance(&actor, offset);
        assert_eq!(acceptance(&membership, at(9)), Acceptance::Counts);

        membership.on_change(&change("us", MemberStanding::Excluded, &[("us", 5)]));

        assert_eq!(acceptance(&membership, at(4)), Acceptance::Counts);
        assert_eq!(acceptance(&membership, at(5)), Acceptance::BeyondEnd);
        let mut next = at(0);
        next.0.incarnation = headland_event::Incarnation::new(2, 1);
        assert_eq!(acceptance(&membership, next), Acceptance::Counts, "the next life counts");
    }

    #[test]
    fn everybody_but_a_life_itself_moves_its_end_to_what_it_has_applied() {
        let mut membership = members(&["eu", "us"]);
        membership.on_change(&change("us", MemberStanding::Excluded, &[("us", 5)]));
        let applied = clock(&[("us", 9)]);
        let next = Holder { incarnation: headland_event::Incarnation::new(2, 7), ..life("us") };

        assert_eq!(membership.amendments(&life("us"), &applied), []);
        let expected = change("us", MemberStanding::Excluded, &[("us", 9)]);
        assert_eq!(membership.amendments(&life("eu"), &applied), std::slice::from_ref(&expected));
        assert_eq!(membership.amendments(&next, &applied), std::slice::from_ref(&expected));
        let us = life("us").region;
        assert_eq!(membership.handed_in((&life("us"), &us), &applied), []);
        assert_eq!(membership.handed_in((&life("eu"), &us), &applied), [expected]);
        assert_eq!(membership.handed_in((&next, &life("ap").region), &applied), []);
    }

    #[test]
    fn a_log_that_ended_is_lacking_to_whoever_has_not_said_that_it_applied_it_up_to_its_end() {
        let mut membership = members(&["ap", "eu", "us"]);
        let held = clock(&[("eu", 9), ("us", 7)]);
        let lacks = |of: &Membership, region: &str, held: &VectorClock| {
            let held = Extent::new(held.clone(), Gaps::new());
            let lacking = of.lacking(&of.reported(&life(region)), &held, |_| false);
            assert_eq!(lacking.gaps, BTreeSet::new());
            lacking.over
        };
        assert_eq!(lacks(&membership, "ap", &held), BTreeSet::new());
        membership.on_change(&change("us", MemberStanding::Excluded, &[("us", 5)]));
        let us = BTreeSet::from([life("us").region]);
        let nothing = VectorClock::new();

        membership.on_report(report("eu", &[("eu", 2), ("us", 5)]), &nothing);
        membership.on_report(report("ap", &[("us", 4)]), &nothing);

        assert_eq!(lacks(&membership, "ap", &held), us, "ap lacks one");
        assert_eq!(lacks(&membership, "ap", &clock(&[("us", 4)])), BTreeSet::new(), "as we do");
        assert_eq!(lacks(&membership, "eu", &held), BTreeSet::new(), "beyond the end is no lack");
        membership.on_report(report("ap", &[("us", 5)]), &nothing);
        assert_eq!(lacks(&membership, "ap", &held), BTreeSet::new());
    }

    #[test]
    fn of_a_life_that_is_over_all_that_anybody_has_is_lacking_to_others() {
        let mut membership = members(&["ap", "us"]);
        let nothing = VectorClock::new();
        membership.on_report(report("ap", &[("us", 4)]), &nothing);
        let have = Extent::new(clock(&[("us", 3)]), Gaps::new());

        let over = |lives: &[&str]| {
            let is_over = |of: &Holder| lives.contains(&of.region.as_str());
            membership.lacked(&have, is_over, |_| false)
        };
        let lacked = |lives: &[&str]| over(lives).over.len();

        assert_eq!([lacked(&[]), lacked(&["us"])], [0, 1]);
        assert_eq!(lacked(&["ap", "us"]), 0, "nobody has it any more");
        let mut decided = membership.clone();
        decided.on_change(&change("ap", MemberStanding::Excluded, &[]));
        let us = |of: &Holder| of.region.as_str() == "us";
        let of = |is_linked: bool| decided.lacked(&have, us, |_| is_linked).over.len();
        assert_eq!([of(false), of(true)], [0, 1], "an excluded hub that is linked may still send");
        assert_eq!(membership.lacked_ends(&have, |_| false), VectorClock::new());
        assert_eq!(membership.lacked_ends(&have, |_| true), clock(&[("us", 4)]));
    }

    #[test]
    fn what_lies_in_a_gap_is_lacking_of_every_life_as_far_as_somebody_has_it() {
        let mut membership = members(&["ap", "eu", "us"]);
        let ends = clock(&[("us", 9)]);
        let said = MemberReport { missing: gaps(&[(2, 4)]), ..report("ap", &[("us", 9)]) };
        membership.on_report(said, &ends);

        let is_over = |of: &Holder| of.region.as_str() == "us";
        let lacked = |ranges| {
            let have = Extent::new(ends.clone(), gaps(ranges));
            membership.lacked(&have, is_over, |_| false)
        };

        let us = BTreeSet::from([life("us").region]);
        assert_eq!(lacked(&[]), Lacking::default());
        assert_eq!(lacked(&[(2, 4)]), Lacking::default(), "nobody has it");
        let two = Extent::new(ends.clone(), gaps(&[(2, 4), (7, 8)]));
        let held = |by: &Membership| -> Vec<usize> {
            by.gaps_held(&life("eu"), &two).into_iter().map(|of| of.holders.len()).collect()
        };
        assert_eq!(held(&membership), [0, 1]);
        let mut decided = membership.clone();
        decided.on_change(&change("ap", MemberStanding::Excluded, &[]));
        assert_eq!(held(&decided), [0, 0], "it was decided to go on without");
        let that_lost = MemberReport { lost: gaps(&[(6, 9)]), ..report("ap", &[("us", 9)]) };
        let mut after_damage = membership.clone();
        after_damage.on_report(that_lost, &ends);
        assert_eq!(held(&after_damage), [1, 0], "it applied it and has it to send no more");
        assert_eq!(Membership::from_bytes(&after_damage.to_bytes()).unwrap(), after_damage);
        assert_eq!(lacked(&[(2, 5)]), Lacking { gaps: us.clone(), ..Lacking::default() });
        assert_eq!(lacked(&[(2, 4), (7, 8)]), Lacking { gaps: us, ..Lacking::default() });
    }

    #[test]
    fn a_sealed_life_may_send_what_lies_in_a_gap_and_an_excluded_one_does_not() {
        let mut membership = members(&["eu", "us"]);
        membership.on_report(report("us", &[("us", 4)]), &clock(&[]));
        let here = Extent::new(clock(&[("us", 9)]), gaps(&[(3, 5), (7, 8)]));
        let held = |by: &Membership| -> Vec<(usize, usize)> {
            let held = by.gaps_held(&life("eu"), &here);
            held.iter().map(|of| (of.holders.len(), of.unsaid.len())).collect()
        };

        let active = held(&membership);
        membership.on_change(&change("us", MemberStanding::Sealed, &[("us", 9)]));
        let sealed = held(&membership);
        let mut that_lost = membership.clone();
        let lost = MemberReport { lost: gaps(&[(7, 8)]), ..report("us", &[("us", 9)]) };
        that_lost.on_report(lost, &clock(&[]));
        membership.on_change(&change("us", MemberStanding::Excluded, &[]));

        assert_eq!(active, [(1, 0), (0, 1)]);
        assert_eq!(sealed, [(1, 0), (1, 0)], "its end says that it has its own log");
        assert_eq!(held(&that_lost), [(1, 0), (0, 0)]);
        assert_eq!(held(&membership), [(0, 0), (0, 0)]);
    }

    #[test]
    fn whoever_has_not_said_as_far_as_a_gap_may_have_what_lies_in_it() {
        let mut membership = members(&["ap", "eu"]);
        let here = Extent::new(clock(&[("us", 9)]), gaps(&[(3, 5)]));
        let unsaid = |by: &Membership| {
            let held = by.gaps_held(&life("eu"), &here);
            assert!(held[0].holders.is_empty());
            (held[0].unsaid.len(), held[0].may_come())
        };
        assert_eq!(unsaid(&membership), (1, true), "it has said nothing");

        membership.on_report(report("ap", &[("us", 3)]), &clock(&[]));
        assert_eq!(unsaid(&membership), (1, true));
        let said = MemberReport { missing: gaps(&[(3, 4)]), ..report("ap", &[("us", 4)]) };
        membership.on_report(said, &clock(&[]));
        assert_eq!(unsaid(&membership), (1, true), "of one it has said nothing");
        let said = MemberReport { missing: gaps(&[(3, 5)]), ..report("ap", &[("us", 5)]) };
        let mut after = membership.clone();
        after.on_report(said, &clock(&[]));
        assert_eq!(unsaid(&after), (0, false));
        membership.on_change(&change("ap", MemberStanding::Excluded, &[]));
        assert_eq!(unsaid(&membership), (0, false));
    }

    #[test]
    fn a_report_that_comes_late_over_another_way_does_not_say_what_is_missing() {
        let mut membership = members(&["ap"]);
        let said = MemberReport { missing: gaps(&[(2, 4)]), ..report("ap", &[("us", 9)]) };
        membership.on_report(said, &VectorClock::new());

        membership.on_report(report("ap", &[("us", 1)]), &VectorClock::new());

        assert_eq!(membership.members[&life("ap")].missing, gaps(&[(2, 4)]));
    }

    #[test]
    fn members_read_back_with_what_each_said_is_missing_and_those_of_before_without() {
        let mut membership = members(&["ap", "us"]);
        let before = postcard::to_stdvec(&membership).unwrap();
        assert_eq!(Membership::from_bytes(&before), Ok(membership.clone()));
        let mut missing = Gaps::new();
        let gap = Gap { from: Offset::new(2), until: Offset::new(4) };
        assert_eq!(missing.note(&actor("us", 0), gap), None);

        let said = MemberReport { missing, ..report("ap", &[("us", 9)]) };
        membership.on_report(said, &VectorClock::new());

        assert_eq!(Membership::from_bytes(&membership.to_bytes()), Ok(membership));
    }

    #[test]
    fn who_holds_stability_back_is_named() {
        let mut membership = members(&["ap", "eu"]);
        membership.on_change(&change("us", MemberStanding::Sealed, &[("us", 5)]));
        membership.on_report(report("eu", &[]), &VectorClock::new());

        let (few, all) = (clock(&[("us", 4)]), clock(&[("us", 5)]));

        assert_eq!(membership.unheard(&few), [life("ap"), life("us")].into());
        assert_eq!(membership.unheard(&all), [life("ap")].into());
        membership.on_report(report("ap", &[]), &all);
        assert_eq!(membership.unheard(&all), BTreeSet::new());
    }

    #[test]
    fn whoever_reports_takes_part() {
        let mut membership = Membership::new();

        membership.on_report(report("eu", &[]), &VectorClock::new());

        assert_eq!(membership.standing(&life("eu")), Some(MemberStanding::Active));
    }

    #[test]
    fn a_change_joined_with_what_is_known_stands_for_all_before_it() {
        use MemberStanding::{Active, Draining, Excluded};
        let said = [
            change("us", Draining, &[]),
            change("us", Excluded, &[("us", 5)]),
            change("us", Active, &[]),
        ];
        let mut all = Membership::new();
        let mut last = None;
        for change in said {
            let joined = all.joined(change);
            all.on_change(&joined);
            last = Some(joined);
        }

        let mut alone = Membership::new();
        alone.on_change(&last.unwrap());

        assert_eq!(alone, all);
    }

    #[test]
    fn a_life_that_ended_does_not_become_active_again() {
        let mut membership = members(&["us"]);
        membership.on_change(&change("us", MemberStanding::Excluded, &[("us", 5)]));

        membership.on_change(&change("us", MemberStanding::Active, &[]));

        assert_eq!(membership.standing(&life("us")), Some(MemberStanding::Excluded));
    }

    proptest! {
        #[test]
        fn hubs_that_applied_different_parts_of_an_excluded_log_agree_on_what_counts(
            drawn in vec((0..12_u64, proptest::option::of(0..12_u64)), 1..5), turn in 0..10_usize,
        ) {
            // Some operators exclude the same life, each with an end of its own.
            let names = ["ap", "eu", "sa", "za"];
            let mut said: Vec<MemberChange> = drawn.iter().filter_map(|(_, end)| *end)
                .map(|end| change("us", MemberStanding::Excluded, &[("us", end)])).collect();
            said.push(change("us", MemberStanding::Excluded, &[("us", 6)]));
            let mut hubs = vec![Membership::new(); drawn.len()];
            for (at, (hub, (applied, _))) in hubs.iter_mut().zip(&drawn).enumerate() {
                let turned = turn + at;
                let (late, early) = said.split_at(turned % said.len());
                early.iter().chain(late).for_each(|change| hub.on_change(change));
                said.extend(hub.amendments(&life(names[at]), &clock(&[("us", *applied)])));
            }

            for hub in &mut hubs {
                said.iter().rev().for_each(|change| hub.on_change(change));
            }

            for ((hub, (applied, _)), name) in hubs.iter().zip(&drawn).zip(names) {
                prop_assert_eq!(hub, &hubs[0]);
                prop_assert_eq!(hub.amendments(&life(name), &clock(&[("us", *applied)])), []);
                let counts = |offset| hub.acceptance(&actor("us", 0), Offset::new(offset));
                prop_assert!((0..*applied).all(|offset| counts(offset) == Acceptance::Counts));
            }
        }

        #[test]
        fn any_order_of_changes_ends_the_same(
            drawn in vec((0..2_usize, 0..4_usize, 0..9_u64), 1..10), turn in 0..10_usize,
        ) {
            use MemberStanding::{Active, Draining, Excluded, Sealed};
            let changes: Vec<_> = drawn.iter().map(|(region, standing, end)| {
                let region = ["eu", "us"][*region];
                change(region, [Active, Draining, Sealed, Excluded][*standing], &[(region, *end)])
            }).collect();
            let (mut forth, mut turned) = (Membership::new(), Membership::new());

            changes.iter().for_each(|change| forth.on_change(change));
            let (early, late) = changes.split_at(turn % changes.len());
            late.iter().chain(early).chain(late).for_each(|change| turned.on_change(change));

            prop_assert_eq!(forth, turned);
        }
    }
}
