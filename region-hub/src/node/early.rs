//! Parts of logs that come before an earlier part of them.
//!
//! Of logs beside inventory what lies before the part that comes first is passed over for good (ADR
//! 0010). So a part that was handed on and is ahead of what is here is taken only when the part
//! before it is here, or nobody brings that any more:
//!
//! - no channel of this hub has more of the log than was stored of it;
//! - nobody who takes part and can send says that the log goes on for him behind what is here. One
//!   that is linked has brought what he has once his channels of the log are through. What one has
//!   that is no peer comes over a peer that lacks it still;
//! - no connection is away that was bringing it when it was cut.
//!
//! This is asked of a log and an offset, not of a connection, so that a cut ends no wait. What is
//! early waits in memory while a channel moves that may bring the part before it, and up to a
//! bound: it takes up the window of its connection, behind which that part may be. Else it is *put
//! off*: it is not kept, and its channel goes on behind it, so that nothing stands still. The
//! position of the channel that is written down stays before what was put off, so that the next
//! connection brings it again, after a crash too; what lies behind it and was taken is skipped
//! then, as it is here. Once the wait is over that connection is made anew, unless all of it came
//! from others meanwhile. Each time some part is taken that was not before, so that this ends.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::{
    Actor, ByteCount, Entry, Gap, Hole, Now, Offset, Stamp, TopicName, TopicPartition,
};
use headland_reconcile::{Holder, MemberStanding};
use headland_replication::frame::Goodbye;

use super::Node;
use super::fullness::Place;
use super::handing::life_of;
use crate::members::{is_of_members, reported_topics};
use crate::peer_link::{LinkId, PeerLink, Receiving};
use crate::topics::Topic;

/// What may wait of one connection for earlier parts of its logs: a quarter of its window, so that
/// all else has room. Beyond it is put off.
pub(super) const WAITING_LIMIT: ByteCount = ByteCount::mebibytes(4);

/// Logs of one channel of which it is known what was put off. Of more it is known only that there
/// are some: they come again with the first of the others.
const LOGS_LIMIT: usize = 1_024;

/// For how many looks, a second each, a part waits until all is heard that linked hubs have said:
/// one may be held up for long.
const UNHEARD_LOOKS: u32 = 10;

/// A log of a life, by the name of its topic where it was born.
type Log = (TopicName, Actor);

/// What is known of parts that came early.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// By log, what may bring its earlier part.
    waits: BTreeMap<Log, Wait>,
    /// Channels that have gone on behind something that was put off.
    past: BTreeMap<Place, Past>,
    /// Channels of which more is held behind something early than may wait.
    crowded: BTreeSet<Place>,
}

/// What may bring the earlier part of a log.
#[derive(Debug, Default)]
struct Wait {
    /// Channels, with how far they reached when they were first seen.
    places: BTreeMap<Place, Offset>,
    /// Lives whose connection was cut before they had brought what they had.
    cut: BTreeSet<Holder>,
    /// For how many looks it was not heard what linked hubs have.
    unheard: u32,
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

/// Who may bring what lies before a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Coming {
    /// Nobody.
    No,
    /// Somebody who is not at it.
    Later,
    /// Perhaps somebody: not all that linked hubs have said was heard.
    Unheard,
    /// A channel that moves.
    Now,
}

impl Past {
    const fn at(next: Offset) -> Self {
        Self { next, put_off: BTreeMap::new(), is_more: false, is_at_hole: false }
    }
}

impl Early {
    /// Whether something was put off of a log that lies before an offset and behind what is here.
    fn has_put_off(&self, log: &Log, before: Offset, here: Offset) -> bool {
        self.past.values().any(|past| match past.put_off.get(log) {
            Some(part) => part.from < before && part.until > here,
            None => past.is_more,
        })
    }

    /// A connection to a life is over. It has brought nothing of what was put off.
    fn forget(
        &mut self,
        link_id: LinkId,
        life: Option<&Holder>,
        is_through: &dyn Fn(Place, Offset) -> bool,
    ) {
        let over = self.past.iter().filter(|((of, _), _)| *of == link_id);
        let logs: BTreeSet<Log> = over.flat_map(|(_, past)| past.put_off.keys().cloned()).collect();
        for log in logs {
            self.waits.entry(log).or_default().cut.extend(life.cloned());
        }
        self.past.retain(|(of, _), _| *of != link_id);
        self.crowded.retain(|(of, _)| *of != link_id);
        for wait in self.waits.values_mut() {
            let mut over = wait.places.iter().filter(|((of, _), _)| *of == link_id);
            if over.any(|(place, until)| !is_through(*place, *until)) {
                wait.cut.extend(life.cloned());
            }
            wait.places.retain(|(of, _), _| *of != link_id);
        }
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
        match self.who_brings(place, &log, first) {
            Coming::Now if !self.is_crowded(place) => Turn::Waits,
            Coming::Unheard if !is_cut && !self.is_crowded(place) => Turn::Waits,
            Coming::Now | Coming::Unheard | Coming::Later if !is_cut => Turn::PutOff,
            Coming::No | Coming::Now | Coming::Unheard | Coming::Later => {
                self.early.waits.remove(&log);
                Turn::Comes
            }
        }
    }

    /// The log and the offset there of an entry that is ahead of what is here; `None` of all that
    /// passes over nothing.
    fn early_of(&self, local: &TopicPartition, entry: &Entry) -> Option<(Log, Offset)> {
        let topic = self.topics.get(&local.topic).filter(|topic| topic.is_apart())?;
        // What is passed over of inventory is taken when it comes, and of what was said of who
        // takes part a later record says what those before it did.
        let is_any = self.is_of_inventory(&topic.origin_name) || is_of_members(&topic.origin_name);
        if is_any || entry.is_stand_in() {
            return None;
        }
        let stamp = entry.stamp.as_ref().filter(|of| !self.is_beyond(&topic.origin_name, of))?;
        let Stamp { actor, offset, .. } = stamp;
        let log = (topic.origin_name.clone(), actor.clone());
        (*offset > self.end_of(&log)).then_some((log, *offset))
    }

    fn end_of(&self, (topic, actor): &Log) -> Offset {
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

    /// Who may bring what lies before an offset of a log that a channel brings.
    fn who_brings(&mut self, place: Place, log: &Log, first: Offset) -> Coming {
        self.see(log);
        let Some(wait) = self.early.waits.get(log) else { return Coming::No };
        let channels = wait.places.iter().filter(|(of, _)| **of != place);
        let of_channels = channels.map(|(of, until)| self.brings(*of, *until, (log, first)));
        let of_channels = of_channels.max().unwrap_or(Coming::No);
        let is_unheard = wait.unheard < UNHEARD_LOOKS && self.is_unheard();
        match of_channels {
            Coming::Now => Coming::Now,
            Coming::No | Coming::Later | Coming::Unheard if is_unheard => Coming::Unheard,
            Coming::Later | Coming::Unheard => Coming::Later,
            Coming::No => {
                let is_cut = wait.cut.iter().any(|life| self.returns(life));
                let is_said = is_cut || self.is_said(wait, log, first);
                if is_said { Coming::Later } else { Coming::No }
            }
        }
    }

    /// Whether a linked hub has said something of who has what that was not heard yet.
    fn is_unheard(&self) -> bool {
        let is_direct = |of: &Receiving| {
            let topic = self.topics.get(&of.local.topic);
            is_of_members(&of.origin_topic) && topic.is_some_and(|topic| !topic.is_apart())
        };
        let lags = |known: &PeerLink| {
            let mut channels = known.link.subscriptions().filter(|of| of.lag_records() > 0);
            channels.any(|of| known.receiving(of.channel).is_some_and(is_direct))
        };
        let links = self.peer_links.hubs();
        let mut links = links.iter().filter_map(|id| self.peer_links.get(id));
        self.is_joining() || links.any(|known| known.is_ready() && lags(known))
    }

    /// Takes note of channels that bring a log, whatever way it took, with how far they reach.
    fn see(&mut self, (topic, actor): &Log) {
        let mut seen = BTreeMap::new();
        let peer_links = self.peer_links.hubs().into_iter();
        for (id, known) in peer_links.filter_map(|id| Some((id, self.peer_links.get(&id)?))) {
            let brings = |of: &Receiving| {
                let found = self.topics.get(&of.local.topic);
                found.is_some_and(|of| (&of.origin, &of.origin_name) == (&actor.region, topic))
                    && of.local.partition == actor.partition
            };
            let channels = known.link.subscriptions();
            let channels = channels.filter(|of| known.receiving(of.channel).is_some_and(brings));
            seen.extend(channels.map(|status| ((id, status.channel), status.head)));
        }
        let wait = self.early.waits.entry((topic.clone(), actor.clone())).or_default();
        wait.places.retain(|place, _| seen.contains_key(place));
        for (place, head) in seen {
            wait.places.entry(place).or_insert(head);
        }
    }

    /// Whether a channel may bring what lies before an offset of a log.
    fn brings(&self, of: Place, until: Offset, (log, first): (&Log, Offset)) -> Coming {
        if self.stored(of).is_none_or(|stored| stored >= until) {
            return Coming::No;
        }
        let Some(held) = self.fullness.front(of) else { return Coming::Now };
        let stamp = held.stamp.as_ref().filter(|stamp| stamp.actor == log.1);
        // Of several that are ahead the one goes on that is least so.
        let is_no_nearer = |stamp: &Stamp| stamp.offset > self.end_of(log) && stamp.offset >= first;
        if stamp.is_some_and(is_no_nearer) { Coming::No } else { Coming::Later }
    }

    /// How far a channel is durable here; `None` when it brings nothing more.
    fn stored(&self, (link_id, channel): Place) -> Option<Offset> {
        let known = self.peer_links.get(&link_id)?;
        known.receiving(channel)?;
        let mut channels = known.link.subscriptions();
        channels.find(|status| status.channel == channel).map(|status| status.stored)
    }

    /// Whether a life whose connection was cut may go on with what it brought: its next one says
    /// what it has.
    fn returns(&self, life: &Holder) -> bool {
        let is_excluded = self.standing_of(life) == Some(MemberStanding::Excluded);
        match self.link_of(life) {
            Some((_, known)) => known.all_receiving().next().is_none(),
            None => self.is_peer(life) && !is_excluded && !self.is_over(life),
        }
    }

    /// Whether somebody who takes part says that he has more of a log than is here, and it may come
    /// from him although no channel brings it now.
    fn is_said(&self, wait: &Wait, log: &Log, first: Offset) -> bool {
        let (topic, actor) = log;
        if !reported_topics().contains(topic) {
            return false;
        }
        let members = self.inventory.members();
        let (own, here) = (self.life(), self.end_of(log));
        let sends = |life: &Holder| self.link_of(life).is_some();
        let holders = members.holders((topic, actor), here, |of| self.is_over(of), sends);
        let mut others = holders.into_iter().filter(|life| **life != own);
        others.any(|life| match self.link_of(life) {
            // Its channels say what it has.
            Some((link_id, _)) => !wait.places.keys().any(|(of, _)| *of == link_id),
            None => self.is_peer(life) || self.has_way(log, first),
        })
    }

    /// Whether a peer may still hand on what lies before an offset of a log: it lacks it as well.
    /// One that has what lies behind it takes it no more.
    fn has_way(&self, (topic, actor): &Log, first: Offset) -> bool {
        let members = self.inventory.members();
        let lacks = |life: &Holder| {
            members.end_of_other(life, (topic, actor)).is_some_and(|end| end < first)
        };
        let mut regions = self.peers.iter().map(|peer| peer.identity.region());
        regions.any(|region| {
            let linked = self.peer_links.iter().filter_map(|(_, known)| life_of(known));
            let linked: Vec<_> = linked.filter(|life| life.region == *region).collect();
            if !linked.is_empty() {
                return linked.iter().any(lacks);
            }
            let mut lives = members.lives().map(|(life, ..)| life);
            let lives: Vec<_> = lives.by_ref().filter(|life| life.region == *region).collect();
            lives.is_empty() || lives.into_iter().any(|life| !self.is_over(life) && lacks(life))
        })
    }

    fn standing_of(&self, life: &Holder) -> Option<MemberStanding> {
        self.inventory.members().standing(life)
    }

    fn is_peer(&self, life: &Holder) -> bool {
        self.peers.iter().any(|peer| *peer.identity.region() == life.region)
    }

    fn link_of(&self, life: &Holder) -> Option<(LinkId, &PeerLink)> {
        let links = self.peer_links.hubs().into_iter();
        let mut links = links.filter_map(|id| Some((id, self.peer_links.get(&id)?)));
        links.find(|(_, known)| life_of(known).as_ref() == Some(life))
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
            past.put_off.insert(log, Gap { from, until });
        } else {
            past.is_more = true;
        }
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
        let is_unheard = self.is_unheard();
        let mut waits = std::mem::take(&mut self.early.waits);
        waits.retain(|log, wait| {
            wait.cut.retain(|life| self.returns(life));
            wait.unheard = wait.unheard.saturating_add(u32::from(is_unheard));
            !wait.cut.is_empty() || waiting.contains(log)
        });
        self.early.waits = waits;
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
        let is_due = |node: &mut Self, (log, part): (Log, Gap)| {
            let here = node.end_of(&log);
            here >= part.from
                || !node.early.has_put_off(&log, part.from, here)
                    && node.who_brings(place, &log, part.from) == Coming::No
        };
        is_here && is_more || left.into_iter().any(|part| is_due(self, part))
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

    /// Forgets what a connection brought that is over. Who was bringing a log goes on with its next
    /// one.
    pub(super) fn forget_early(&mut self, link_id: LinkId) {
        let Some(known) = self.peer_links.get(&link_id) else { return };
        let life = life_of(known);
        let stored: BTreeMap<Place, Offset> = known
            .link
            .subscriptions()
            .map(|status| ((link_id, status.channel), status.stored))
            .collect();
        let is_through =
            |place: Place, until| stored.get(&place).is_none_or(|stored| *stored >= until);
        self.early.forget(link_id, life.as_ref(), &is_through);
    }
}
