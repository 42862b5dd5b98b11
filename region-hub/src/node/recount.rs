//! Going on without what this hub counted and no log has any more.
//!
//! A hub may have counted a record, lost it from its log since, and be the only one that had it.
//! Its state cannot give the record back: of the delivery it keeps a digest, not the id, nothing of
//! its device, and no clock beside it. So all others count without it, and this one would differ
//! from them for good. An operator decides to go on without ([`RegionAction::Recount`]). Then the
//! next start takes up no snapshot that counts it and reads the journal from its first commit: what
//! this hub counts is what its log has, as everywhere, and the part is a gap here as it is at all
//! others. If a backup still has it, it comes as any other gap is filled, and counts everywhere.
//!
//! [`RegionAction::Recount`]: crate::members::RegionAction::Recount

use headland_event::{Actor, Extent, Gap, Gaps, Offset, RegionId, TopicPartition, VectorClock};
use headland_reconcile::{HeldGap, MemberChange};

use super::{Node, RegionError};
use crate::members::LackView;

impl Node {
    /// What this hub counted and its log lost since, with the way out.
    pub(super) fn counted_views(&self) -> Vec<LackView> {
        let ends = self.inventory.reconciler().applied();
        let counted = Extent::new(ends, self.counted_and_lost());
        let held = self.inventory.members().gaps_held(&self.life(), &counted);
        let views = held.into_iter().map(|held| {
            let way_out = self.way_out_of_counted(&held);
            let HeldGap { actor, gap, .. } = held;
            LackView { log: actor.to_string(), from: gap.from, until: gap.until, way_out }
        });
        views.collect()
    }

    /// What becomes of records that count here and that this hub's log lost.
    fn way_out_of_counted(&self, held: &HeldGap<'_>) -> String {
        let region = &held.actor.region;
        if self.is_without(&held.actor, held.gap) {
            return "they count here until this hub starts again, and then no more".to_owned();
        }
        if !self.has_nobody(held) {
            let way_out = self.way_out_of(held).unwrap_or_default();
            return format!("they count here, and the log here lost them: {way_out}");
        }
        format!(
            "they count at this hub alone, and no hub that takes part has them any more; if a \
             backup of a hub has them, one that is started from it hands them on; when none has, \
             `headland region recount {region}` at this hub and a restart of it go on without \
             them, as all others do"
        )
    }

    /// Whether nobody who takes part, or may, can send what lies in a gap.
    fn has_nobody(&self, held: &HeldGap<'_>) -> bool {
        !held.may_come() && self.unlisted_peers().next().is_none()
    }

    /// Says once more what this hub is, with who decides that it goes on without some of a region.
    pub(super) fn recounted(&self, region: &RegionId) -> Result<Vec<MemberChange>, RegionError> {
        if self.lost_to_all(region).is_empty() {
            return Err(RegionError::NothingLost { region: region.to_string() });
        }
        if !self.may_recount() {
            return Err(RegionError::HistoryGone);
        }
        let standing = self.own_standing();
        let ends = VectorClock::new();
        let own = standing.map(|standing| MemberChange { life: self.life(), standing, ends });
        Ok(own.into_iter().collect())
    }

    /// What this hub has counted of logs and lost from its own since.
    fn counted_and_lost(&self) -> Gaps {
        let lost = self.speaking.as_ref().map(|speaking| speaking.lost.gaps());
        lost.map_or_else(Gaps::new, |lost| self.counted_of(lost))
    }

    fn counted_of(&self, ranges: &Gaps) -> Gaps {
        let extent = self.inventory.reconciler().extent();
        let mut found = Gaps::new();
        for (actor, range) in ranges.iter() {
            let until = range.until.min(extent.ends().end(actor));
            for part in extent.gaps().rest(actor, Gap { until, ..range }) {
                let _beyond = found.add(actor, part);
            }
        }
        found
    }

    /// Of what was counted and lost of a region, what nobody who takes part has.
    fn lost_to_all(&self, region: &RegionId) -> Gaps {
        let ends = self.inventory.reconciler().applied();
        let counted = Extent::new(ends, self.counted_and_lost());
        let (own, members) = (self.life(), self.inventory.members());
        let mut found = Gaps::new();
        for held in members.gaps_held(&own, &counted) {
            if held.actor.region == *region && self.has_nobody(&held) {
                let _beyond = found.add(&held.actor, held.gap);
            }
        }
        found
    }

    /// From its next start on this hub goes on without what nobody has of a region.
    pub(super) fn go_on_without(&mut self, region: &RegionId) {
        let found = self.lost_to_all(region);
        let Some(speaking) = &mut self.speaking else { return };
        for (actor, gap) in found.iter() {
            let (from, until) = (gap.from, gap.until);
            tracing::warn!(%actor, %from, %until, "goes on without these from the next start on");
            let _beyond = speaking.lost.without_mut().add(actor, gap);
        }
        for (actor, _) in found.iter() {
            self.keep_lost(actor);
        }
    }

    /// Whether it is decided to go on without a part of a log.
    fn is_without(&self, actor: &Actor, gap: Gap) -> bool {
        let speaking = self.speaking.as_ref();
        speaking.is_some_and(|of| of.lost.without().spans(actor, gap.from, gap.until))
    }

    /// What a snapshot that was just taken up has counted although it is decided to go on without;
    /// `None` when that is nothing, or the journal does not hold all else.
    pub(super) fn counted_without(&self) -> Option<Gaps> {
        let without = self.speaking.as_ref()?.lost.without();
        let counted = self.counted_of(without);
        (!counted.is_empty() && self.may_recount()).then_some(counted)
    }

    /// Whether the journal holds the beginnings of all logs of inventory.
    pub(super) fn may_recount(&self) -> bool {
        let begins_later = |at: &TopicPartition| {
            let topic = self.topics.get(&at.topic);
            let is_of_inventory = topic.is_some_and(|of| self.is_of_inventory(&of.origin_name));
            is_of_inventory && self.keeping.start(at) > Offset::new(0)
        };
        !self.durable.keys().any(begins_later)
    }
}
