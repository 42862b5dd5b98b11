//! What a hub does while it can take no more: alerts flow, all else waits where it is.
//!
//! The log keeps a reserve for alerts, and writes everything that stands before one from it. So
//! while the disk is full nothing but alerts is composed; deriving and promising wait too. And
//! inventory that comes faster than it is reconciled would pile up in memory, as would results of
//! rules over all regions whose rows come faster than those are written. In all cases what links
//! deliver is held here, unacknowledged, which takes up their windows and so stops the senders, who
//! have it still. The windows bound what is held. Promises go on: what one lets go has been bounded
//! before, and of those that rows are far behind the last ones are kept.

use std::collections::{BTreeMap, VecDeque};

use headland_event::{ByteCount, ChannelId, Entry, Lane, Now, Offset, TopicPartition};

use super::Node;
use super::early::Turn;
use crate::global::Rules;
use crate::peer_link::LinkId;

/// Inventory that may wait to be reconciled: seconds of work, and little beside a hub's memory.
const BEHIND_LIMIT: ByteCount = ByteCount::mebibytes(64);

/// Whether the disk takes commits, and what was delivered while nothing more could be taken.
#[derive(Debug)]
pub(super) struct Fullness {
    is_full: bool,
    pub(super) behind_limit: ByteCount,
    /// By channel, in the order in which they came.
    held: BTreeMap<Place, Held>,
}

/// A channel of a connection.
pub(super) type Place = (LinkId, ChannelId);

/// What is held of a channel.
#[derive(Debug, Default)]
struct Held {
    /// In the order in which they came.
    entries: VecDeque<Entry>,
    /// Of their batches.
    bytes: u64,
}

impl Held {
    fn push(&mut self, entry: Entry) {
        self.bytes += entry.batch.as_bytes().len() as u64;
        self.entries.push_back(entry);
    }
}

impl Fullness {
    pub(super) const fn new() -> Self {
        Self { is_full: false, behind_limit: BEHIND_LIMIT, held: BTreeMap::new() }
    }

    /// Whether nothing but alerts may be composed.
    pub(super) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// The first of what is held of each channel.
    pub(super) fn fronts(&self) -> impl Iterator<Item = (Place, &Entry)> {
        self.held.iter().filter_map(|(place, held)| Some((*place, held.entries.front()?)))
    }

    /// What a channel goes on with of which something is held.
    pub(super) fn front(&self, place: Place) -> Option<&Entry> {
        self.held.get(&place)?.entries.front()
    }

    /// How much is held of a connection.
    pub(super) fn held_bytes(&self, link_id: LinkId) -> ByteCount {
        let of_link = self.held.iter().filter(|((of, _), _)| *of == link_id);
        ByteCount::new(of_link.map(|(_, held)| held.bytes).sum())
    }
}

impl Node {
    /// The disk has room for nothing but alerts.
    pub const fn on_full(&mut self) {
        self.fullness.is_full = true;
    }

    /// The disk has room again.
    pub fn on_resumed(&mut self, now: Now) {
        self.fullness.is_full = false;
        self.write_rights(now, None);
        self.release(now);
        self.derive(now);
    }

    /// Takes what was held, as far as that is possible by now.
    pub(super) fn release(&mut self, now: Now) {
        let is_behind = self.is_behind() || self.rules.as_ref().is_some_and(Rules::is_behind);
        if self.fullness.is_full || self.fullness.held.is_empty() || is_behind {
            return;
        }
        // One channel after the other, so that each sees what others hold. Behind the first entry
        // of one that still waits nothing is looked at.
        let places: Vec<Place> = self.fullness.held.keys().copied().collect();
        for place in places {
            self.release_one(now, place);
        }
    }

    /// The same of one channel.
    pub(super) fn release_one(&mut self, now: Now, place: Place) {
        let Held { mut entries, .. } = self.fullness.held.remove(&place).unwrap_or_default();
        while let Some(entry) = entries.pop_front() {
            self.on_delivered(now, place.0, place.1, entry);
            if let Some(held) = self.fullness.held.get_mut(&place) {
                entries.drain(..).for_each(|entry| held.push(entry));
            }
        }
        self.is_released(place);
    }

    /// Holds an entry that cannot be taken now; hands back any other, with what becomes of it.
    pub(super) fn hold(
        &mut self,
        (link_id, channel): Place,
        local: &TopicPartition,
        entry: Entry,
    ) -> Option<(Entry, Turn)> {
        let topic = self.topics.get(&local.topic);
        let is_alert = topic.is_some_and(|topic| topic.lane == Lane::Alerts);
        let is_inventory =
            topic.is_some_and(|topic| topic.origin_name == *self.inventory.configuration().0);
        // What follows something that is held would be out of order.
        let follows = self.fullness.held.contains_key(&(link_id, channel));
        let is_foreign = topic.is_some_and(|topic| !topic.is_local());
        let behind = self.rules.as_ref().filter(|rules| rules.is_behind());
        let waits_for_rules =
            topic.is_some_and(|topic| behind.is_some_and(|rules| rules.read(&topic.origin_name)));
        let waits = (self.fullness.is_full || waits_for_rules) && !is_alert
            || is_inventory && (self.is_behind() || self.lacks_room(&entry))
            || is_inventory && is_foreign && self.is_joining();
        let is_free = !waits && !follows;
        if is_free {
            match self.turn((link_id, channel), local, &entry) {
                Turn::Waits => {}
                turn @ (Turn::Comes | Turn::PutOff) => return Some((entry, turn)),
            }
        }
        self.fullness.held.entry((link_id, channel)).or_default().push(entry);
        self.bound_early((link_id, channel), local);
        None
    }

    /// Whether inventory of other regions is held back for now, whichever log it is of.
    pub(super) fn holds_inventory_back(&self) -> bool {
        let inventory = self.inventory.configuration().0;
        let behind = self.rules.as_ref().filter(|rules| rules.is_behind());
        let waits_for_rules = behind.is_some_and(|rules| rules.read(inventory));
        self.fullness.is_full || waits_for_rules || self.is_behind() || self.is_joining()
    }

    /// Whether as much inventory waits to be reconciled as may.
    fn is_behind(&self) -> bool {
        self.inventory.waiting_bytes() >= self.fullness.behind_limit
    }

    /// Whether an entry of a life that ended would be held back from counting, and as much is as
    /// may. Only its own log waits for that: the operator's word is in another.
    pub(super) fn lacks_room(&self, entry: &Entry) -> bool {
        let Some(stamp) = &entry.stamp else { return false };
        let end = stamp.offset.get().checked_add(entry.batch.span()).map(Offset::new);
        end.is_some_and(|end| self.inventory.lacks_room_for(&stamp.actor, end))
    }

    /// Forgets what a connection delivered that is over: its next one delivers it again.
    pub(super) fn forget_held(&mut self, link_id: LinkId) {
        self.fullness.held.retain(|(of, _), _| *of != link_id);
        self.forget_early(link_id);
    }
}
