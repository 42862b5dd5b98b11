//! Parts of logs that come before an earlier part of them.
//!
//! Of logs beside inventory what lies before the part that comes first is passed over (ADR 0010):
//! for good, or, of topics that reports name and of who takes part, until it comes after all
//! ([`super::cuts`]). Of who takes part nothing waits. Of the rest a part that was handed on and is
//! ahead of what is here is taken only when the part before it is here, or nobody brings that any
//! more:
//!
//! - no channel of this hub has more of the log than was stored of it;
//! - nobody who takes part and can send says that the log goes on for him behind what is here. One
//!   that is linked, and has sent all he offers, is waited for ten minutes, as is one that is no
//!   peer while a peer lacks the part as well;
//! - no connection is away that was bringing it when it was cut.
//!
//! Who that is, is found in [`coming`]. This is asked of a log and an offset, not of a
//! connection, so that a cut ends no wait. What is early waits in memory while a channel moves that
//! may bring the part before it, and up to a bound: it takes up the window of its connection,
//! behind which that part may be. Else it is *put off*: it is not kept, and its channel goes on
//! behind it, so that nothing stands still. The position of the channel that is written down stays
//! before what was put off, and so does what is acknowledged; the next connection brings it again,
//! after a crash too. What lies behind it and was taken is skipped then, as it is here. Once the
//! wait is over that connection is made anew, unless all of it came from others meanwhile. Each
//! time some part is taken that was not before, so that this ends.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::{
    Actor, ByteCount, Entry, Gap, Hole, Now, Offset, Stamp, TopicName, TopicPartition,
};
use headland_replication::frame::Goodbye;

use super::Node;
use super::acks::Stored;
use super::fullness::Place;
use crate::members::is_of_members;
use crate::peer_link::{LinkId, PeerLink, Receiving};
use crate::records::groups_topic;
use crate::topics::Topic;

/// Who may bring the earlier part.
mod coming;

use coming::{Coming, Source, Waits, source_of};

/// What may wait of one connection for earlier parts of its logs: a quarter of its window, so that
/// all else has room. Beyond it is put off.
pub(super) const WAITING_LIMIT: ByteCount = ByteCount::mebibytes(4);

/// Logs of one channel of which it is known what was put off. Of more it is known only that there
/// are some: they come again with the first of the others.
const LOGS_LIMIT: usize = 1_024;

/// For how many looks, a second each, it is remembered that a part waits no more.
const DECIDED_LOOKS: u32 = 600;

/// A log of a life, by the name of its topic where it was born.
type Log = (TopicName, Actor);

/// What is known of parts that came early.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// What may bring the earlier parts of logs.
    waits: Waits,
    /// By log, a part that waits no more and was asked for again.
    decided: BTreeMap<Log, Decided>,
    /// Channels that have gone on behind something that was put off.
    past: BTreeMap<Place, Past>,
    /// Channels of which more is held behind something early than may wait.
    crowded: BTreeSet<Place>,
}

/// A part that waits no more, as long as nothing of what lies before it comes after all.
#[derive(Debug, Clone, Copy)]
struct Decided {
    /// Where it begins.
    first: Offset,
    /// What is here of its log.
    here: Offset,
    /// For how many looks that is known.
    looks: u32,
}

/// A channel that has gone on behind something that was put off.
#[derive(Debug)]
struct Past {
    /// Where it is.
    next: Offset,
    /// What was put off, from the first of each log on.
    put_off: BTreeMap<Log, Gap>,
    /// Whether something was put off of further logs.
    is_more: bool,
    /// Of which topic.
    source: Option<Source>,
    /// Whether it is at a hole of compaction, which says that what follows passes over nothing.
    is_at_hole: bool,
}

/// What becomes of an entry that a channel brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is taken now.
    Comes,
    /// It waits for a channel that moves.
    Waits,
    /// It is not kept; it is asked for again.
    PutOff,
}

/// An entry that a channel has brought.
#[derive(Debug)]
pub(super) struct Brought {
    /// Where the channel goes on.
    next: Offset,
    /// Of a hole the log, and where it ends there.
    hole: Option<(Actor, Offset)>,
}

impl Brought {
    pub(super) fn of(entry: &Entry) -> Self {
        let stamp = entry.stamp.as_ref().filter(|_| Hole::of(&entry.batch).is_some());
        let end = |of: &Stamp| (of.actor.clone(), of.offset.after(entry.batch.span()));
        Self { next: entry.end(), hole: stamp.map(end) }
    }
}

impl Past {
    const fn at(next: Offset) -> Self {
        Self { next, put_off: BTreeMap::new(), is_more: false, source: None, is_at_hole: false }
    }
}

impl Early {
    /// Whether something was put off of a log that lies before an offset and behind what is here.
    fn has_put_off(&self, log: &Log, before: Offset, here: Offset) -> bool {
        self.past.values().any(|past| match past.put_off.get(log) {
            Some(part) => part.from < before && part.until > here,
            None => past.is_more && past.source.as_ref() == Some(&source_of(log)),
        })
    }
}

impl Node {
    /// What becomes of an entry for which there is room.
    pub(super) fn turn(&mut self, place: Place, local: &TopicPartition, entry: &Entry) -> Turn {
        let Some((log, first)) = self.early_of(local, entry) else { return Turn::Comes };
        // The channel that brought what lies before it brings this once more as well.
        if self.early.has_put_off(&log, first, self.end_of(&log)) {
            return Turn::PutOff;
        }
        // What compaction left out before it is in what its sender has behind it: only who is about
        // to bring that as it was is waited for.
        let known = self.peer_links.get(&place.0);
        let is_cut = known.is_some_and(|known| known.is_cut(place.1, &log.1, first));
        let here = self.end_of(&log);
        let is_decided = |of: &Decided| first <= of.first && here <= of.here;
        let decided = self.early.decided.get(&log).is_some_and(is_decided);
        let is_cut = is_cut || decided;
        match self.who_brings(place, &log, first) {
            Coming::Now if !self.is_crowded(place) => Turn::Waits,
            Coming::Unheard if !is_cut && !self.is_crowded(place) => Turn::Waits,
            Coming::Now if decided => Turn::PutOff,
            Coming::Now | Coming::Unheard | Coming::Later | Coming::Far if !is_cut => Turn::PutOff,
            Coming::No | Coming::Now | Coming::Unheard | Coming::Later | Coming::Far => {
                self.early.waits.end(&log);
                Turn::Comes
            }
        }
    }

    /// The log and the offset there of an entry that is ahead of what is here; `None` of all that
    /// passes over nothing.
    fn early_of(&self, local: &TopicPartition, entry: &Entry) -> Option<(Log, Offset)> {
        let topic = self.topics.get(&local.topic).filter(|topic| topic.is_apart())?;
        // What is passed over of inventory is taken when it comes, and so is what was said of who
        // takes part: that tells who waits for whom, and must not wait itself.
        // And of its own committed offsets this hub takes what holds, whatever came first.
        let is_any = self.is_of_inventory(&topic.origin_name)
            || is_of_members(&topic.origin_name)
            || topic.is_given_back() && topic.origin_name == groups_topic();
        if is_any || entry.is_stand_in() {
            return None;
        }
        let stamp = entry.stamp.as_ref().filter(|of| !self.is_beyond(&topic.origin_name, of))?;
        let Stamp { actor, offset, .. } = stamp;
        let log = (topic.origin_name.clone(), actor.clone());
        (*offset > self.end_of(&log)).then_some((log, *offset))
    }

    fn end_of(&self, (topic, actor): &Log) -> Offset {
        if self.is_given_back(topic, actor) {
            return self.end_given_back(topic, actor);
        }
        self.end_of_other(topic, actor)
    }

    /// Notes whether more waits of a connection behind something early than may: that is put off.
    pub(super) fn bound_early(&mut self, place: Place, local: &TopicPartition) {
        if self.fullness.held_bytes(place.0) <= WAITING_LIMIT {
            return;
        }
        let front = self.fullness.front(place);
        if front.is_some_and(|front| self.early_of(local, front).is_some()) {
            self.early.crowded.insert(place);
        }
    }

    /// Whether what is early of a channel may not wait any more.
    pub(super) fn is_crowded(&self, place: Place) -> bool {
        self.early.crowded.contains(&place)
    }

    /// What was held of a channel was looked at.
    pub(super) fn is_released(&mut self, place: Place) {
        if self.fullness.front(place).is_none() {
            self.early.crowded.remove(&place);
        }
    }

    /// Where a channel goes on: behind what was put off, or at the position that is written down.
    pub(super) fn next_of(&self, place: Place, position_key: &[u8]) -> Offset {
        let past = self.early.past.get(&place).map(|past| past.next);
        past.or_else(|| self.positions.get(position_key).copied()).unwrap_or_default()
    }

    /// A channel has brought an entry; returns the position to write down. At a hole of compaction
    /// it stays before it: the next connection says again that what follows passes over nothing.
    pub(super) fn went_on(&mut self, place: Place, at: &Receiving, of: Brought) -> Offset {
        let Brought { next, hole } = of;
        let known = self.peer_links.get(&place.0);
        let is_cut = |(actor, until): (Actor, Offset)| {
            let is_known = |known: &PeerLink| {
                known.is_cut(place.1, &actor, until) && known.goes_on(place.1, next)
            };
            known.is_some_and(is_known)
        };
        // An ordinary copy has all that a channel brings, and would have it twice.
        let is_apart = || self.topics.get(&at.local.topic).is_some_and(Topic::is_apart);
        let is_at_hole = hole.is_some_and(is_cut) && is_apart();
        if is_at_hole {
            self.early.past.entry(place).or_insert_with(|| Past::at(next));
        }
        let Some(past) = self.early.past.get_mut(&place) else { return next };
        (past.next, past.is_at_hole) = (next, is_at_hole);
        if past.put_off.is_empty() && !past.is_more && !is_at_hole {
            self.early.past.remove(&place);
            return next;
        }
        self.positions.get(&at.position_key).copied().unwrap_or_default()
    }

    /// Does not keep an entry that came early, and goes on behind it.
    pub(super) fn put_off(&mut self, place: Place, local: &TopicPartition, entry: &Entry) {
        let Some((log, from)) = self.early_of(local, entry) else { return };
        let until = from.after(entry.batch.span());
        let past = self.early.past.entry(place).or_insert_with(|| {
            tracing::info!(link_id = %place.0, %local, "put off what lies behind what is lacking");
            Past::at(entry.base)
        });
        if let Some(part) = past.put_off.get_mut(&log) {
            part.until = part.until.max(until);
        } else if past.put_off.len() < LOGS_LIMIT {
            past.source = Some(source_of(&log));
            past.put_off.insert(log, Gap { from, until });
        } else {
            past.is_more = true;
        }
    }

    /// Whether a channel is behind something that is asked for again.
    pub(super) fn has_put_off(&self, place: Place) -> bool {
        self.early.past.contains_key(&place)
    }

    /// Whether something that goes into a partition was put off on a connection.
    pub(super) fn has_put_off_of(&self, link_id: LinkId, local: &TopicPartition) -> bool {
        let known = self.peer_links.get(&link_id);
        let is_meant = |channel| {
            let receiving = known.and_then(|known| known.receiving(channel));
            receiving.is_some_and(|of| of.local == *local)
        };
        self.early.past.keys().any(|(of, channel)| *of == link_id && is_meant(*channel))
    }

    /// Asks again for what was put off and has nothing to wait for any more.
    pub(super) fn ask_for_what_was_put_off(&mut self, now: Now) {
        let places: Vec<Place> = self.early.past.keys().copied().collect();
        let mut asked = BTreeSet::new();
        for place in places {
            let known = self.peer_links.get(&place.0);
            let Some(receiving) = known.and_then(|known| known.receiving(place.1)).cloned() else {
                self.early.past.remove(&place);
                continue;
            };
            if self.is_asked_again(place) {
                asked.insert(place.0);
            } else {
                self.catch_up(place, &receiving);
            }
        }
        for link_id in asked {
            if let Some(known) = self.peer_links.get_mut(&link_id) {
                tracing::info!(peer = %known.identity, "asked again for what was put off");
                known.link.close(Goodbye::Reconfigured);
            }
            self.drain(now, link_id);
        }
        let waiting = self.early_logs();
        self.look_at_waits(&waiting);
        let mut decided = std::mem::take(&mut self.early.decided);
        decided.retain(|log, of| {
            of.looks += 1;
            of.looks <= DECIDED_LOOKS && self.end_of(log) <= of.here
        });
        self.early.decided = decided;
    }

    /// Whether something of what a channel brought and was put off can be taken now. What has come
    /// from others is no more meant.
    fn is_asked_again(&mut self, place: Place) -> bool {
        let Some(past) = self.early.past.get(&place) else { return false };
        let (mut left, is_more) = (past.put_off.clone(), past.is_more);
        left.retain(|log, part| self.end_of(log) < part.until);
        let is_here = left.is_empty();
        if let Some(past) = self.early.past.get_mut(&place) {
            past.put_off.clone_from(&left);
        }
        let mut is_due = is_here && is_more;
        for (log, part) in left {
            let here = self.end_of(&log);
            if here < part.from {
                let is_behind = self.early.has_put_off(&log, part.from, here);
                if is_behind || self.look(place, &log, part.from) != Coming::No {
                    continue;
                }
                // On the next connection it is not asked once more.
                self.early.decided.insert(log, Decided { first: part.from, here, looks: 0 });
            }
            is_due = true;
        }
        is_due
    }

    /// A channel of which all that was put off is here goes on where it is.
    fn catch_up(&mut self, place: Place, receiving: &Receiving) {
        let is_through =
            |past: &&Past| past.put_off.is_empty() && !past.is_more && !past.is_at_hole;
        let Some(next) = self.early.past.get(&place).filter(is_through).map(|past| past.next)
        else {
            return;
        };
        self.early.past.remove(&place);
        self.write_position(&receiving.position_key, next);
        self.stored.push(Stored { place, next, kept: next });
    }

    /// Logs of which something waits or was put off.
    fn early_logs(&self) -> BTreeSet<Log> {
        let put_off = self.early.past.values().flat_map(|past| past.put_off.keys().cloned());
        let held = self.fullness.fronts().filter_map(|(place, front)| {
            let local = &self.peer_links.get(&place.0)?.receiving(place.1)?.local;
            Some(self.early_of(local, front)?.0)
        });
        held.chain(put_off).collect()
    }

    /// What was put off of logs that are not here, up to where.
    pub(super) fn lacking_early(&self) -> BTreeMap<Log, Offset> {
        let put_off = self.early.past.values().flat_map(|past| &past.put_off);
        let lacking = put_off.filter(|(log, part)| self.end_of(log) < part.from);
        lacking.map(|(log, part)| (log.clone(), part.from)).collect()
    }

    /// Forgets what a connection brought that is over. Who was bringing something goes on with its
    /// next one.
    pub(super) fn forget_early(&mut self, link_id: LinkId) {
        let was_put_off = |early: &Early, place: &Place| early.past.contains_key(place);
        self.note_cut(link_id, was_put_off);
        let Early { past, crowded, .. } = &mut self.early;
        past.retain(|(of, _), _| *of != link_id);
        crowded.retain(|(of, _)| *of != link_id);
    }
}
