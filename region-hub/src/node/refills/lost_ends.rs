//! The end of a copy that damage took: what it was, though nothing of its log stands behind it.
//!
//! What stands behind a loss tells what was lost. Behind the end of a log nothing stands, and
//! where the newest file lost some it is not even known how much: far more offsets stay taken than
//! there were records. Of a copy both is known from elsewhere. Its checkpoint tells which offset of
//! its origin's log the first that is lost was, and the position of the channel that brings it how
//! far it had come: what is behind that comes by itself, as does all of it where the position was
//! lost too. What follows here later tells the same. Offsets that stay taken and were no record's
//! are not missing from then on.
//!
//! A copy that comes over another hub has its position in that hub's offsets. So as long as nothing
//! follows only that hub is asked, and what it sends is taken up to that position.
//!
//! Until it is known how much was lost, and others were asked for it, groups wait before it: what
//! comes back is not passed over by who reads on.

use std::collections::BTreeSet;

use headland_event::{Actor, Incarnation, Now, Offset, TopicPartition};
use headland_replication::Checkpoint;
use headland_replication::checkpoint::LostEnd;
use headland_storage::{Missing, MissingOffsets};

use super::super::Node;
use super::super::recovery::owner;
use super::{Asking, Search};
use crate::peer_link::{LinkId, PeerLink, Receiving};
use crate::topics::{Replication, Topic};

/// What is asked for of the end of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LostOfCopy {
    life: Incarnation,
    /// The first offset at the origin.
    from: Offset,
    /// The offset there after the last one there may be.
    until: Offset,
    /// Who alone is asked, and from which offset of his log on the copy comes by itself.
    sender: Option<(LinkId, Offset)>,
}

/// The connection that brings a copy.
struct Sender<'a> {
    link_id: LinkId,
    known: &'a PeerLink,
    /// Where it goes on, in the log of who sends it.
    next: Offset,
}

impl Node {
    /// Whether others may have what is lost in a partition.
    pub(super) fn may_come_back(&self, partition: &TopicPartition) -> bool {
        let topic = self.topics.get(&partition.topic);
        let topic = topic.filter(|topic| !self.is_of_inventory(&topic.origin_name));
        topic.is_some_and(|topic| topic.replication == Replication::Offered)
    }

    /// Where a copy stands of which comes back what is lost.
    fn copy(&self, at: &TopicPartition) -> Option<&Checkpoint> {
        let is_copy = self.is_mirror(at) && self.may_come_back(at);
        is_copy.then(|| self.consumers.of_mirror(at)).flatten()
    }

    fn sender_of(&self, copy: &TopicPartition) -> Option<Sender<'_>> {
        self.peer_links.hubs().into_iter().find_map(|link_id| {
            let known = self.peer_links.get(&link_id)?;
            let Receiving { position_key, .. } =
                known.all_receiving().find(|of| of.local == *copy)?;
            let next = self.positions.get(position_key).copied().unwrap_or_default();
            Some(Sender { link_id, known, next })
        })
    }

    /// Whether a hub is that of the region where a topic was born.
    fn is_at_origin(&self, copy: &TopicPartition, known: &PeerLink) -> bool {
        self.topics.get(&copy.topic).is_some_and(|topic| topic.origin == *known.identity.region())
    }

    /// What a range was that damage took with the end of a copy; `None` of any other one, and as
    /// long as nothing tells.
    pub(super) fn lost_of_copy(&self, lost: &MissingOffsets) -> Option<LostOfCopy> {
        let MissingOffsets { partition, from, until } = lost;
        let checkpoint = self.copy(partition)?;
        let span = until.since(*from);
        if let Some(LostEnd { life, from, until }) = checkpoint.lost_at(*from) {
            let most = from.after(span);
            let until = until.map_or(most, |until| until.min(most));
            return (from < until).then_some(LostOfCopy { life, from, until, sender: None });
        }
        let (life, origin) = checkpoint.place_at(*from);
        let all = LostOfCopy { life, from: origin, until: origin.after(span), sender: None };
        let is_before = |end| self.damaged_before(partition, end).is_some_and(|of| of <= *from);
        if let Some(end) = checkpoint.lost_behind(*from) {
            return is_before(end).then_some(all);
        }
        if !is_before(self.composer.end(partition)) {
            return None;
        }
        let Sender { link_id, known, next } = self.sender_of(partition)?;
        if !self.is_at_origin(partition, known) {
            return Some(LostOfCopy { sender: Some((link_id, next)), ..all });
        }
        // Of the same life it is settled by now; its next one says nothing of how far this came.
        (known.life() != Some(life)).then_some(all)
    }

    /// The search for a range at the end of a copy.
    pub(super) fn search_of_copy(
        &self,
        now: Now,
        lost: MissingOffsets,
        of: LostOfCopy,
    ) -> Option<Search> {
        let LostOfCopy { life, from, until, sender } = of;
        let Topic { origin, origin_name, .. } = self.topics.get(&lost.partition.topic)?;
        let mut hubs = self.hubs_to_ask(&lost, origin);
        hubs.retain(|(_, hub)| sender.is_none_or(|(sender, _)| sender == *hub));
        let partition = lost.partition.partition;
        let actor = Actor { region: origin.clone(), incarnation: life, partition };
        let (topic, comes_from) = (origin_name.clone(), sender.map(|(_, next)| next));
        let (next_life, hub, asked, next) = (None, None, from, from);
        let asking =
            Asking { actor, topic, from, until, next_life, comes_from, hubs, hub, asked, next };
        Some(Search::new(now, lost, Some(asking)))
    }

    /// Settles how much was lost at the ends of copies that come from their origins.
    pub(super) fn settle_ends(&mut self) {
        let lost: BTreeSet<TopicPartition> =
            self.missing.offsets().map(|lost| lost.partition.clone()).collect();
        for at in lost {
            if let Some(unused) = self.unused_by_origin(&at) {
                self.settle_end(&at, unused);
            }
        }
    }

    /// From where on offsets at the end of a copy were no record's, by how far the channel from its
    /// origin had come.
    fn unused_by_origin(&self, copy: &TopicPartition) -> Option<Offset> {
        let checkpoint = self.copy(copy).filter(|known| known.unused_end().is_none())?;
        let end = self.composer.end(copy);
        let first = self.damaged_before(copy, end)?;
        let (life, origin) = checkpoint.place_at(first);
        let Sender { known, next, .. } = self.sender_of(copy)?;
        let is_same = self.is_at_origin(copy, known) && known.life() == Some(life);
        let unused = first.after(next.since(origin));
        (is_same && unused <= end).then_some(unused)
    }

    /// Who brings a copy has sent all that he had brought of it: what is from an offset of the
    /// origin on comes by itself.
    pub(super) fn on_rest_comes(&mut self, now: Now, goes_on: Option<Offset>) {
        let Some(Search { lost, asking: Some(asking), .. }) = &self.refills.search else { return };
        let MissingOffsets { partition, from, until } = lost.clone();
        let unused = goes_on.map(|goes_on| from.after(goes_on.since(asking.from)));
        let unused = unused.filter(|unused| *unused <= until);
        if let Some(unused) = unused.filter(|_| self.composer.end(&partition) == until) {
            self.settle_end(&partition, unused);
        }
        self.ask_next_hub(now);
    }

    /// Nothing follows the end of a copy that was lost, and from this offset on there was nothing.
    pub(super) fn settle_end(&mut self, copy: &TopicPartition, unused: Offset) {
        let Some(mut checkpoint) = self.consumers.of_mirror(copy).cloned() else { return };
        let end = self.composer.end(copy);
        tracing::info!(%copy, %unused, %end, "no record stood there at the end that was lost");
        checkpoint.lose_end(unused);
        self.keep_checkpoint(copy, checkpoint);
        self.mend_unused(copy);
    }

    /// Offsets of a copy that never were a record's are not missing.
    pub(in crate::node) fn mend_unused(&mut self, copy: &TopicPartition) {
        let unused = self.unused(copy);
        unused.into_iter().for_each(|range| self.missing.mend(copy, range));
    }

    fn unused(&self, copy: &TopicPartition) -> Vec<std::ops::Range<Offset>> {
        let end = self.composer.end(copy);
        self.copy(copy).map_or_else(Vec::new, |known| known.unused(end))
    }

    /// What a start found missing, less what never was a record.
    pub(in crate::node) fn less_unused(&self, mut missing: Missing) -> Missing {
        for copy in self.consumers.mirrors() {
            self.unused(copy).into_iter().for_each(|range| missing.mend(copy, range));
        }
        missing
    }

    /// The same of a range; `None` when nothing is left of it.
    pub(in crate::node) fn less_unused_of(&self, lost: &MissingOffsets) -> Option<MissingOffsets> {
        let mut left = lost.clone();
        for unused in self.unused(&lost.partition) {
            if unused.contains(&left.from) {
                left.from = unused.end;
            }
            if unused.start < left.until && left.until <= unused.end {
                left.until = unused.start;
            }
        }
        (left.from < left.until).then_some(left)
    }

    /// Some of a copy came back. Where that was lost with the end, and not known how much it was,
    /// it is part of it again.
    pub(super) fn regain_end(&mut self, copy: &TopicPartition, back: std::ops::Range<Offset>) {
        let Some(known) = self.copy(copy) else { return };
        let mut checkpoint = known.clone();
        checkpoint.regain(back);
        if checkpoint != *known {
            self.keep_checkpoint(copy, checkpoint);
            self.mend_unused(copy);
        }
    }

    /// The first offset of the end of a copy that may come back yet: it is not known how much was
    /// lost, or not everybody was asked for it.
    pub(in crate::node) fn awaited_end(&self, copy: &TopicPartition) -> Option<Offset> {
        let unused = self.copy(copy)?.unused_end();
        let end = unused.unwrap_or_else(|| self.composer.end(copy));
        let first = self.damaged_before(copy, end)?;
        let is_through = |lost: &MissingOffsets| {
            let tried = self.refills.tried.get(lost);
            lost.partition != *copy || tried.is_some_and(|tried| !tried.not_at.is_empty())
        };
        let is_given_up = unused.is_some() && self.missing.offsets().all(is_through);
        (!is_given_up).then_some(first)
    }

    /// Where a channel goes on. Where damage took all of the copy that it had brought, the log does
    /// not even know that there was one: it begins anew.
    pub(in crate::node) fn goes_on_at(&mut self, receiving: &Receiving) -> Offset {
        let Receiving { local, position_key, .. } = receiving;
        let next = self.positions.get(position_key).copied().unwrap_or_default();
        let begin = Offset::new(0);
        let is_there = self.composer.end(local).max(self.keeping.start(local)) > begin;
        let is_copy = self.is_mirror(local) && self.may_come_back(local);
        if next == begin || is_there || !is_copy {
            return next;
        }
        tracing::error!(copy = %local, %next, "all of a copy is lost; it is asked for once more");
        self.consumers.forget_mirror(local);
        self.composer.set(owner("checkpoints"), local.to_string().into(), None);
        self.write_position(position_key, begin);
        begin
    }
}
