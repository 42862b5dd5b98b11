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

use headland_event::{
    ByteCount, ChannelId, Entry, Lane, Now, Offset, PartitionIndex, RegionId, Stamp, TopicName,
    TopicPartition,
};

use super::Node;
use crate::global::Rules;
use crate::peer_link::{LinkId, PeerLink};

/// Inventory that may wait to be reconciled: seconds of work, and little beside a hub's memory.
const BEHIND_LIMIT: ByteCount = ByteCount::mebibytes(64);

/// Whether the disk takes commits, and what was delivered while nothing more could be taken.
#[derive(Debug)]
pub(super) struct Fullness {
    is_full: bool,
    pub(super) behind_limit: ByteCount,
    /// By channel, in the order in which they came.
    held: BTreeMap<Place, VecDeque<Entry>>,
    /// Channels whose first held entry is ahead of what is here of its log, each with how far
    /// others have to come first that bring the same log.
    ahead: BTreeMap<Place, BTreeMap<Place, Offset>>,
}

/// A channel of a connection.
type Place = (LinkId, ChannelId);

impl Fullness {
    pub(super) const fn new() -> Self {
        Self {
            is_full: false,
            behind_limit: BEHIND_LIMIT,
            held: BTreeMap::new(),
            ahead: BTreeMap::new(),
        }
    }

    /// Whether nothing but alerts may be composed.
    pub(super) const fn is_full(&self) -> bool {
        self.is_full
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
            let mut entries = self.fullness.held.remove(&place).unwrap_or_default();
            while let Some(entry) = entries.pop_front() {
                self.on_delivered(now, place.0, place.1, entry);
                if let Some(held) = self.fullness.held.get_mut(&place) {
                    held.append(&mut entries);
                }
            }
        }
    }

    /// Holds an entry that cannot be taken now; hands back any other.
    pub(super) fn hold(
        &mut self,
        link_id: LinkId,
        channel: ChannelId,
        local: &TopicPartition,
        entry: Entry,
    ) -> Option<Entry> {
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
        if is_free && !self.is_ahead((link_id, channel), local, &entry) {
            self.fullness.ahead.remove(&(link_id, channel));
            return Some(entry);
        }
        self.fullness.held.entry((link_id, channel)).or_default().push_back(entry);
        None
    }

    /// Whether an entry that was handed on is ahead of what is here of its log, and somebody else
    /// may bring what lies before: taken first, it would pass over that for good. It waits for
    /// those who have something of this log, until they have brought what they had when it came, or
    /// are ahead themselves and further.
    fn is_ahead(&mut self, place: Place, local: &TopicPartition, entry: &Entry) -> bool {
        let topic = self.topics.get(&local.topic).filter(|topic| topic.is_apart());
        // What is passed over of inventory is taken when it comes.
        let topic = topic.filter(|topic| !self.is_of_inventory(&topic.origin_name));
        let (Some(topic), Some(stamp)) = (topic, &entry.stamp) else { return false };
        let is_ahead = |stamp: &Stamp| stamp.offset > self.end_here(&topic.origin_name, stamp);
        if !is_ahead(stamp) {
            return false;
        }
        let log = (&topic.origin, &topic.origin_name, local.partition);
        let waited_for = self.fullness.ahead.get(&place).cloned();
        let waited_for = waited_for.unwrap_or_else(|| self.bringing(log));
        let first = |of: &Place| {
            let held = self.fullness.held.get(of).and_then(VecDeque::front);
            held.and_then(|entry| entry.stamp.as_ref())
        };
        let comes_first = |(of, until): (&Place, &Offset)| {
            if *of == place || self.stored(*of).is_none_or(|stored| stored >= *until) {
                return false;
            }
            // Of several that are ahead the one goes on that is least so.
            first(of).is_none_or(|other| {
                !is_ahead(other) || (other.actor == stamp.actor && other.offset < stamp.offset)
            })
        };
        let waits = waited_for.iter().any(comes_first);
        self.fullness.ahead.insert(place, waited_for);
        waits
    }

    /// Channels that bring a log, whatever way it took, with how far they reach.
    fn bringing(&self, log: (&RegionId, &TopicName, PartitionIndex)) -> BTreeMap<Place, Offset> {
        let peer_links = self.peer_links.hubs().into_iter();
        let known = peer_links.filter_map(|id| Some((id, self.peer_links.get(&id)?)));
        let brings = |known: &PeerLink, channel| {
            let local = known.receiving(channel).map(|of| &of.local);
            let topic = local.and_then(|local| self.topics.get(&local.topic));
            let found = local.zip(topic);
            found.is_some_and(|(at, of)| (&of.origin, &of.origin_name, at.partition) == log)
        };
        let mut bringing = BTreeMap::new();
        for (id, known) in known {
            let channels = known.link.subscriptions();
            let channels = channels.filter(|status| brings(known, status.channel));
            bringing.extend(channels.map(|status| ((id, status.channel), status.head)));
        }
        bringing
    }

    /// How far a channel is durable here; `None` when it brings nothing more.
    fn stored(&self, (link_id, channel): Place) -> Option<Offset> {
        let known = self.peer_links.get(&link_id)?;
        known.receiving(channel)?;
        let mut channels = known.link.subscriptions();
        channels.find(|status| status.channel == channel).map(|status| status.stored)
    }

    /// Whether as much inventory waits to be reconciled as may.
    fn is_behind(&self) -> bool {
        self.inventory.waiting_bytes() >= self.fullness.behind_limit
    }

    /// Whether an entry of a life that ended would be held back from counting, and as much is as
    /// may. Only its own log waits for that: the operator's word is in another.
    fn lacks_room(&self, entry: &Entry) -> bool {
        let Some(stamp) = &entry.stamp else { return false };
        let end = stamp.offset.get().checked_add(entry.batch.span()).map(Offset::new);
        end.is_some_and(|end| self.inventory.lacks_room_for(&stamp.actor, end))
    }

    /// Forgets what a connection delivered that is over: its next one delivers it again.
    pub(super) fn forget_held(&mut self, link_id: LinkId) {
        self.fullness.held.retain(|(of, _), _| *of != link_id);
        self.fullness.ahead.retain(|(of, _), _| *of != link_id);
    }
}
