//! Who may bring the earlier part of a log, for a part that came before it.
//!
//! Channels, as long as less of them is here than they reached: when they were first seen, or,
//! where their sender says that the log goes on for him, shortly after he said so. Hubs that are
//! away and were bringing something, or say that they have more. And hubs that are no peers, or
//! offer nothing of it: whether these can bring it is not known, so they are waited for only for a
//! while.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::{Offset, PartitionIndex, RegionId, Stamp, TopicName};
use headland_reconcile::{Holder, MemberStanding};

use super::super::Node;
use super::super::fullness::Place;
use super::super::handing::life_of;
use super::{Early, Log};
use crate::members::{is_of_members, reported_topics};
use crate::peer_link::{LinkId, PeerLink, Receiving};

/// For how many looks, a second each, a part waits until all is heard that linked hubs have said:
/// one may be held up for long.
const UNHEARD_LOOKS: u32 = 10;

/// For how many looks a channel may grow after its sender said that he has more: what he says may
/// overtake what he has, and how far it reaches he says every second.
const FRESH_LOOKS: u32 = 4;

/// For how many looks a hub is waited for of which it is not known whether anything of it can come:
/// ten minutes. Two hubs that wait for each other, with nothing that either lacks, go on then.
const FAR_LOOKS: u32 = 600;

/// Logs of which it is known for how long they have waited so; of more it begins anew.
const FAR_LOGS_LIMIT: usize = 4_096;

/// After how many looks with a linked hub that has said all it offers what it was bringing, or not.
const BACK_LOOKS: u32 = 3;

/// Where a log of a region comes from, by its topic where it was born.
pub(super) type Source = (RegionId, TopicName, PartitionIndex);

/// What is waited for.
#[derive(Debug, Default)]
pub(super) struct Waits {
    by_log: BTreeMap<Log, Wait>,
    /// Lives whose connection was cut before they had brought what they had of a partition, and for
    /// how many looks they are back.
    cut: BTreeMap<(Source, Holder), u32>,
    /// By log, for how long it waits for those of whom it is not known whether they can bring it.
    far: BTreeMap<Log, Far>,
    /// Looks so far.
    looks: u64,
}

/// For how long a log waits for those of whom it is not known whether they can bring anything.
#[derive(Debug, Clone, Copy)]
struct Far {
    /// What is here of it.
    here: Offset,
    looks: u32,
    /// When it was looked at last.
    last: u64,
}

/// What may bring the earlier part of a log.
#[derive(Debug, Default)]
struct Wait {
    places: BTreeMap<Place, Reach>,
    /// A channel that moved when it was looked at last.
    moving: Option<Place>,
    /// For how many looks it was not heard what linked hubs have.
    unheard: u32,
}

/// How far a channel has to come.
#[derive(Debug, Clone, Copy)]
struct Reach {
    until: Offset,
    /// Where its sender has said that the log ends for him.
    said: Offset,
    /// For how many looks it may still grow.
    fresh: u32,
}

/// Who may bring what lies before a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Coming {
    /// Nobody.
    No,
    /// Somebody of whom it is not known whether he can.
    Far,
    /// Somebody who is not at it.
    Later,
    /// Perhaps somebody: not all that linked hubs have said was heard.
    Unheard,
    /// A channel that moves.
    Now,
}

impl Waits {
    /// Nothing waits of a log any more.
    pub(super) fn end(&mut self, log: &Log) {
        self.by_log.remove(log);
    }
}

impl Node {
    /// Who may bring what lies before an offset of a log that a channel brings.
    pub(super) fn who_brings(&mut self, place: Place, log: &Log, first: Offset) -> Coming {
        let last = self.early.waits.by_log.get(log);
        let moving = last.and_then(|wait| Some((wait.moving?, wait)));
        let moving = moving.and_then(|(at, wait)| Some((at, *wait.places.get(&at)?)));
        let moves =
            |(at, reach)| at != place && self.brings(at, reach, (log, first)) == Coming::Now;
        if moving.is_some_and(moves) {
            return Coming::Now;
        }
        self.see(log);
        let Some(wait) = self.early.waits.by_log.get(log) else { return Coming::No };
        let channels = wait.places.iter().filter(|(of, _)| **of != place);
        let channels = channels.map(|(of, reach)| (self.brings(*of, *reach, (log, first)), *of));
        let (found, at) = channels.max().unzip();
        let found = match found.unwrap_or(Coming::No) {
            Coming::Now => Coming::Now,
            found if found == Coming::Unheard => found,
            _ if wait.unheard < UNHEARD_LOOKS && self.is_unheard() => Coming::Unheard,
            found => found.max(self.is_said(wait, place, (log, first))),
        };
        if let Some(wait) = self.early.waits.by_log.get_mut(log) {
            wait.moving = at.filter(|_| found == Coming::Now);
        }
        found
    }

    /// The same, once a look: who may not be able to bring it is waited for only for a while.
    pub(super) fn look(&mut self, place: Place, log: &Log, first: Offset) -> Coming {
        let (found, here) = (self.who_brings(place, log, first), self.end_of(log));
        if found != Coming::Far {
            return found;
        }
        let Waits { far, looks: now, .. } = &mut self.early.waits;
        let far = far.entry(log.clone()).or_insert(Far { here, looks: 0, last: *now });
        if far.here < here {
            *far = Far { here, looks: 0, last: *now };
        }
        // Several channels may have brought it.
        if far.last < *now {
            (far.looks, far.last) = (far.looks + 1, *now);
        }
        if far.looks > FAR_LOOKS { Coming::No } else { found }
    }

    /// Whether a linked hub has said something of who has what that was not heard yet.
    fn is_unheard(&self) -> bool {
        let links = self.peer_links.hubs();
        let mut links = links.iter().filter_map(|id| self.peer_links.get(id));
        self.is_joining() || links.any(|known| known.is_ready() && !self.is_heard(known))
    }

    /// Whether all that a linked hub itself has said of members is here, and all that it brings is
    /// known.
    fn is_heard(&self, known: &PeerLink) -> bool {
        let is_direct = |of: &Receiving| {
            let topic = self.topics.get(&of.local.topic);
            is_of_members(&of.origin_topic) && topic.is_some_and(|topic| !topic.is_apart())
        };
        // A channel whose position is not durable yet is not asked for, and brings nothing so far.
        if known.all_receiving().count() > known.link.subscriptions().count() {
            return false;
        }
        let mut channels = known.link.subscriptions().filter(|of| of.lag_records() > 0);
        !channels.any(|of| known.receiving(of.channel).is_some_and(is_direct))
    }

    /// Takes note of channels that bring a log, whatever way it took, with how far they reach.
    fn see(&mut self, log: &Log) {
        let source = source_of(log);
        let here = self.end_of(log);
        let mut seen = BTreeMap::new();
        for (id, known) in self.hub_links() {
            let said = life_of(known).and_then(|life| self.said_of(&life, log));
            let said = said.unwrap_or_default();
            let brings = |of: &Receiving| self.source(of).as_ref() == Some(&source);
            let channels = known.link.subscriptions();
            let channels = channels.filter(|of| known.receiving(of.channel).is_some_and(brings));
            let more = if said > here { FRESH_LOOKS } else { 0 };
            let reach = |until| Reach { until, said, fresh: more };
            seen.extend(channels.map(|status| ((id, status.channel), reach(status.head))));
        }
        let wait = self.early.waits.by_log.entry(log.clone()).or_default();
        wait.places.retain(|place, _| seen.contains_key(place));
        for (place, now) in seen {
            let reach = wait.places.entry(place).or_insert(now);
            if now.said > reach.said {
                (reach.said, reach.fresh) = (now.said, now.fresh);
            }
            if reach.fresh > 0 {
                reach.until = reach.until.max(now.until);
            }
        }
    }

    /// Whether a channel may bring what lies before an offset of a log.
    fn brings(&self, of: Place, reach: Reach, (log, first): (&Log, Offset)) -> Coming {
        let Some(passed) = self.passed(of) else { return Coming::No };
        if passed >= reach.until {
            return if reach.fresh > 0 { Coming::Unheard } else { Coming::No };
        }
        let Some(held) = self.fullness.front(of) else { return Coming::Now };
        let stamp = held.stamp.as_ref().filter(|stamp| stamp.actor == log.1);
        // Of several that are ahead the one goes on that is least so.
        let is_no_nearer = |stamp: &Stamp| stamp.offset > self.end_of(log) && stamp.offset >= first;
        if stamp.is_some_and(is_no_nearer) { Coming::No } else { Coming::Later }
    }

    /// How far a channel was looked at here; `None` when it brings nothing more.
    fn passed(&self, (link_id, channel): Place) -> Option<Offset> {
        let known = self.peer_links.get(&link_id)?;
        known.receiving(channel)?;
        let mut channels = known.link.subscriptions();
        channels.find(|status| status.channel == channel).map(|status| status.passed)
    }

    /// Whether somebody may bring what lies before an offset of a log although no channel does now:
    /// who was at it, or who takes part and says that he has more than is here.
    fn is_said(&self, wait: &Wait, place: Place, (log, first): (&Log, Offset)) -> Coming {
        let (topic, actor) = log;
        let is_reported = reported_topics().contains(topic);
        let (here, source) = (self.end_of(log), source_of(log));
        let bringer = self.peer_links.get(&place.0).and_then(life_of);
        let has_place = |link_id: LinkId| {
            wait.places.keys().any(|(of, channel)| (*of, *channel) != place && *of == link_id)
        };
        let cut = self
            .early
            .waits
            .cut
            .keys()
            .filter(|(of, life)| *of == source && Some(life) != bringer.as_ref());
        let of_cut = cut.map(|(_, life)| match self.link_of(life) {
            Some((link_id, _)) if is_reported && has_place(link_id) => Coming::No,
            None if !self.returns(life) => Coming::No,
            // What it said last may be long ago.
            Some(_) | None if self.said_of(life, log).is_none_or(|said| said > here) => {
                Coming::Later
            }
            Some(_) | None => Coming::Far,
        });
        let of_cut = of_cut.max().unwrap_or(Coming::No);
        if !is_reported {
            return of_cut;
        }
        let (members, own) = (self.inventory.members(), self.life());
        let sends = |life: &Holder| self.link_of(life).is_some();
        let holders = members.holders((topic, actor), here, |of| self.is_over(of), sends);
        let is_other = |life: &&Holder| **life != own && Some(*life) != bringer.as_ref();
        let may_bring = holders.into_iter().filter(is_other).map(|life| match self.link_of(life) {
            // It may not know yet that it has to offer it.
            Some(_) => Coming::Far,
            None if self.is_peer(life) => Coming::Later,
            None if self.has_way(log, first) => Coming::Far,
            None => Coming::No,
        });
        may_bring.max().unwrap_or(Coming::No).max(of_cut)
    }

    /// Whether a peer may still hand on what lies before an offset of a log: it lacks it as well.
    /// One that has what lies behind it takes it no more.
    fn has_way(&self, log: &Log, first: Offset) -> bool {
        let members = self.inventory.members();
        let lacks = |life: &Holder| self.said_of(life, log).is_some_and(|end| end < first);
        let mut regions = self.peers.iter().map(|peer| peer.identity.region());
        regions.any(|region| {
            let linked = self.peer_links.iter().filter_map(|(_, known)| life_of(known));
            let linked: Vec<_> = linked.filter(|life| life.region == *region).collect();
            if !linked.is_empty() {
                return linked.iter().any(lacks);
            }
            let lives = members.lives().map(|(life, ..)| life);
            let lives: Vec<_> = lives.filter(|life| life.region == *region).collect();
            lives.is_empty() || lives.into_iter().any(|life| !self.is_over(life) && lacks(life))
        })
    }

    /// Where a log ends for a life by its own word.
    fn said_of(&self, life: &Holder, (topic, actor): &Log) -> Option<Offset> {
        let is_said = reported_topics().contains(topic);
        is_said.then(|| self.inventory.members().end_of_other(life, (topic, actor))).flatten()
    }

    /// Takes note of what a connection was bringing that is over.
    pub(super) fn note_cut(&mut self, link_id: LinkId, was_put_off: fn(&Early, &Place) -> bool) {
        let Some(known) = self.peer_links.get(&link_id) else { return };
        let Some(life) = life_of(known) else { return };
        let left = known.link.subscriptions().filter(|status| {
            let place = (link_id, status.channel);
            status.lag_records() > 0 || was_put_off(&self.early, &place)
        });
        let sources = left.filter_map(|status| self.source(known.receiving(status.channel)?));
        let waits = |(_, topic, _): &Source| {
            self.is_needed(topic) && !self.is_of_inventory(topic) && !is_of_members(topic)
        };
        let cut: Vec<_> = sources.filter(waits).map(|of| ((of, life.clone()), 0)).collect();
        self.early.waits.cut.extend(cut);
    }

    /// Looks at what is waited for, once a second.
    pub(super) fn look_at_waits(&mut self, waiting: &BTreeSet<Log>) {
        let is_unheard = self.is_unheard();
        let mut waits = std::mem::take(&mut self.early.waits);
        waits.looks += 1;
        // Not by time: who brings it may be linked for a short while only, now and then.
        waits.far.retain(|log, far| self.end_of(log) <= far.here);
        while waits.far.len() > FAR_LOGS_LIMIT {
            let oldest = waits.far.iter().min_by_key(|(_, far)| far.last);
            let Some(oldest) = oldest.map(|(log, _)| log.clone()) else { break };
            waits.far.remove(&oldest);
        }
        waits.cut.retain(|(source, life), looks| {
            let Some((_, known)) = self.link_of(life) else {
                *looks = 0;
                return self.returns(life);
            };
            let is_back = known.all_receiving().any(|of| self.source(of).as_ref() == Some(source));
            *looks += u32::from(is_back || known.is_ready() && self.is_heard(known));
            *looks < BACK_LOOKS
        });
        waits.by_log.retain(|log, wait| {
            wait.unheard = wait.unheard.saturating_add(u32::from(is_unheard));
            for reach in wait.places.values_mut() {
                reach.fresh = reach.fresh.saturating_sub(1);
            }
            waiting.contains(log)
        });
        self.early.waits = waits;
    }

    /// Whether a life that is away may go on with what it was bringing.
    fn returns(&self, life: &Holder) -> bool {
        let standing = self.inventory.members().standing(life);
        let is_excluded = standing == Some(MemberStanding::Excluded);
        self.is_peer(life) && !is_excluded && !self.is_over(life)
    }

    fn is_peer(&self, life: &Holder) -> bool {
        self.peers.iter().any(|peer| *peer.identity.region() == life.region)
    }

    pub(in crate::node) fn source(&self, of: &Receiving) -> Option<Source> {
        let topic = self.topics.get(&of.local.topic)?;
        Some((topic.origin.clone(), topic.origin_name.clone(), of.local.partition))
    }

    fn hub_links(&self) -> impl Iterator<Item = (LinkId, &PeerLink)> {
        let links = self.peer_links.hubs().into_iter();
        links.filter_map(|id| Some((id, self.peer_links.get(&id)?)))
    }

    fn link_of(&self, life: &Holder) -> Option<(LinkId, &PeerLink)> {
        self.hub_links().find(|(_, known)| life_of(known).as_ref() == Some(life))
    }
}

pub(super) fn source_of((topic, actor): &Log) -> Source {
    (actor.region.clone(), topic.clone(), actor.partition)
}
