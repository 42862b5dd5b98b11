//! What a life says of itself, beside what it has applied.
//!
//! A life that goes on from a backup, or from a copy, numbers its logs on behind those of the one
//! before, so that nobody has what lies before its first record: it wrote nothing there. To others
//! that looks as if it were missing, for good. So a life says where its logs begin, and what lies
//! before is missing to nobody: it holds back nothing that is stable, takes none of the gaps that
//! are kept, and nothing that is written names it as not seen. Of a life of an earlier version,
//! which says nothing of it, that is guessed from what the others have said that they have.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::{Actor, Extent, Gaps, Offset, VectorClock};
use serde::{Deserialize, Serialize};

use super::{Member, MemberStanding, Membership, is_of};
use crate::escrow::Holder;

/// What a life has said of itself; snapshots keep it apart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Word {
    /// Where its latest report stands in its log of members; `None` while only reports are known
    /// that were read by an earlier version.
    pub(super) at: Option<Offset>,
    /// Where its logs begin, of those that do not begin at 0.
    begins: VectorClock,
    /// The highest version of stamps that it reads, by its latest report.
    pub(super) stamps: u8,
}

impl Word {
    /// Of a life that has said nothing.
    pub(super) const fn new() -> Self {
        Self { at: None, begins: VectorClock::new(), stamps: 0 }
    }

    /// Takes note of where a life's logs begin. Whichever of its reports says it, it says the same;
    /// of others' logs nobody asks it.
    pub(super) fn on_begins(&mut self, life: &Holder, begins: &VectorClock) {
        let own = begins.iter().filter(|(actor, _)| is_of(actor, life));
        own.for_each(|(actor, begin)| self.begins.advance(actor, begin));
    }
}

impl Membership {
    /// Where logs begin, as far as their lives have said so; all others begin at 0. O(lives ×
    /// actors that do not begin there).
    #[must_use]
    pub fn begins(&self) -> VectorClock {
        let mut begins = VectorClock::new();
        self.members.values().for_each(|member| begins.merge(&member.word.begins));
        begins
    }

    /// Lives that may not read stamps of a version: each that goes on and has not said in its
    /// latest report that it does, and each that is not listed and is in what was applied
    /// somewhere. A life that joins, or goes back to an earlier version, is one of them until it
    /// says so. What all have to read waits until there is none; even then it reaches a life of an
    /// earlier version that joins later. O(lives × actors).
    #[must_use]
    pub fn unable_to_read(&self, stamps: u8) -> BTreeSet<Holder> {
        let may_read = |life: &Holder| {
            let known = self.members.get(life);
            known.is_some_and(|member| member.has_ended() || member.word.stamps >= stamps)
        };
        self.named().into_iter().filter(|life| !may_read(life)).collect()
    }

    /// Where a log begins; 0 while its life has not said so.
    #[must_use]
    pub fn begin(&self, actor: &Actor) -> Offset {
        let member = self.members.get(&Holder::of(actor));
        member.map_or(Offset::new(0), |member| member.word.begins.end(actor))
    }

    /// The same, and of lives that have not said it the first offset that anybody has who takes
    /// part, or this hub: an excluded one is gone on without. O(lives × actors), where something is
    /// missing at the beginning of a log.
    pub(super) fn begins_for(&self, applied: &Extent) -> VectorClock {
        let mut begins = self.begins();
        let is_meant = |standing| standing != MemberStanding::Excluded;
        let has_said = |of: &&Member| is_meant(of.standing) && !of.reported().is_empty();
        let members = self.members.values().filter(has_said);
        let said = members.map(|member| (member.reported(), &member.missing));
        let said: Vec<_> = said.chain([(applied.ends().clone(), applied.gaps())]).collect();
        // Of each log the first offset that somebody has.
        let mut first: BTreeMap<&Actor, Offset> = BTreeMap::new();
        let first_gaps = said.iter().flat_map(|(_, gaps)| gaps.iter());
        for (actor, gap) in first_gaps.filter(|(_, gap)| gap.from == Offset::new(0)) {
            first.entry(actor).or_insert(gap.until);
        }
        for (actor, begin) in &mut first {
            let has = said.iter().filter(|(ends, _)| ends.end(actor) > Offset::new(0));
            let from = has.map(|(_, gaps)| {
                let gap = gaps.of(actor).first().filter(|gap| gap.from == Offset::new(0));
                gap.map_or(Offset::new(0), |gap| gap.until)
            });
            *begin = from.min().unwrap_or_default();
        }
        first.into_iter().for_each(|(actor, begin)| begins.advance(actor, begin));
        begins
    }
}

/// Takes what lies before the beginnings of logs out of gaps.
pub(super) fn begin_at(gaps: &mut Gaps, begins: &VectorClock) {
    for (actor, begin) in begins.iter() {
        let _was_missing = gaps.fill(actor, Offset::new(0), begin);
    }
}
