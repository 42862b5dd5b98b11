//! Handing on what lives wrote that write no more, to hubs that lack some of it.
//!
//! A life that ended, or that another of its region goes on after, cannot be asked for what a hub
//! lacks of it: its own hub may be gone, or have been restored from a backup that is older than
//! what others got. So whoever has the region's own copy offers it to each hub that has not said
//! that it applied as much, the region's next life among them: that one gets back what it lost.
//! What is offered beside the logs of inventory is what hubs have to hold alike to end alike.
//!
//! Who lacks what is a matter of reports, which come later than what they are about: a hub may be
//! offered what it has, and then takes nothing. The other way round it may have told off one that
//! offered before it knew why; that connection is made anew.

use std::collections::BTreeSet;

use headland_event::{Actor, Batch, Now, RegionId, Stamp, TopicName, TopicPartition};
use headland_reconcile::{Holder, MemberStanding};
use headland_replication::frame::Goodbye;
use headland_replication::route;
use headland_replication::{Identity, Offer};

use super::Node;
use super::members::Speaking;
use crate::members::{is_of_members, members_topic};
use crate::records::{groups_topic, promises_topic};
use crate::session::{HandedOn, Session, SessionId};

/// What others hand on to this hub.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Awaited {
    /// Regions of whose logs somebody has more than this hub.
    lacked: BTreeSet<RegionId>,
    /// Regions of which a life is over.
    over: BTreeSet<RegionId>,
}

impl Node {
    /// Hands on to every hub what it lacks of lives that write no more.
    pub(super) fn hand_on(&mut self, now: Now) {
        self.note_former();
        for session in self.sessions.hubs() {
            let handed_on = self.handed_on(session);
            let former = self.sessions.get(&session).map(Session::handed_on);
            if former.is_none_or(|former| *former == handed_on) {
                continue;
            }
            let Some(known) = self.sessions.get_mut(&session) else { continue };
            let lacked = &handed_on.lacked;
            tracing::info!(peer = %known.identity, ?lacked, "hands on logs of lives that are over");
            known.hand_on(handed_on);
            for (partition, end) in &self.durable {
                if let Some(topic) = self.topics.get(&partition.topic) {
                    known.on_head(topic, partition, *end);
                }
            }
            self.drain(now, session);
        }
        self.await_handed_on(now);
    }

    /// What is handed on to a peer, by what it has reported.
    pub(super) fn handed_on(&self, session: SessionId) -> HandedOn {
        let peer = self.sessions.get(&session).and_then(life_of);
        let Some(peer) = peer.filter(|_| self.speaking.is_some()) else {
            return HandedOn::default();
        };
        let members = self.inventory.members();
        let is_over = |life: &Holder| self.is_over(life);
        let mut lacked = members.lacking(&members.reported(&peer), self.ingest.heads(), is_over);
        let mut over = self.regions_over();
        if !self.has_former(&peer) {
            lacked.remove(&peer.region);
            over.remove(&peer.region);
        }
        HandedOn { lacked, over, needed: self.needed().into_iter().collect() }
    }

    /// Topics that all hubs have to hold alike, by their names where they were born.
    fn needed(&self) -> [TopicName; 4] {
        let inventory = self.inventory.configuration().0.clone();
        [inventory, members_topic(), promises_topic(), groups_topic()]
    }

    /// Keeps which lives were seen to be over. A link that is down for a moment brings none of them
    /// back, and what is taken over which way must not change with each of its cuts: all
    /// connections that were told off would be made anew.
    fn note_former(&mut self) {
        let named = self.inventory.members().named();
        let (over, present): (Vec<_>, Vec<_>) = {
            let over = named.iter().filter(|life| self.is_succeeded(life)).cloned().collect();
            let present = self.sessions.iter().filter_map(|(_, known)| life_of(known)).collect();
            (over, present)
        };
        let Some(speaking) = &mut self.speaking else { return };
        speaking.former.retain(|life| !present.contains(life));
        speaking.former.extend(over);
    }

    /// Whether a life writes no more although nobody has said so.
    fn is_over(&self, life: &Holder) -> bool {
        let was_seen = |speaking: &Speaking| speaking.former.contains(life);
        self.speaking.as_ref().is_some_and(was_seen) || self.is_succeeded(life)
    }

    /// Whether another life of a region is here.
    fn is_succeeded(&self, life: &Holder) -> bool {
        if life.region == *self.identity.region() {
            return life.incarnation != self.incarnation;
        }
        let kept = self.peers.iter().filter_map(|peer| self.kept(&peer.identity));
        let mut lives = kept.filter_map(life_of);
        lives.any(|of| of.region == life.region && of.incarnation != life.incarnation)
    }

    /// Regions of which a life is over.
    fn regions_over(&self) -> BTreeSet<RegionId> {
        let members = self.inventory.members();
        let has_ended = |life: &Holder| {
            members.standing(life).is_some_and(|standing| standing >= MemberStanding::Sealed)
        };
        let named = members.named().into_iter();
        named.filter(|life| has_ended(life) || self.is_over(life)).map(|life| life.region).collect()
    }

    /// Whether another life of a peer's region is known than the one that it is in.
    fn has_former(&self, peer: &Holder) -> bool {
        let named = self.inventory.members().named();
        named.iter().any(|life| life.region == peer.region && life != peer)
    }

    /// Takes note of what others have that this hub lacks. Whoever was told off before, since the
    /// region itself was linked, is asked again.
    fn await_handed_on(&mut self, now: Now) {
        let (heads, members) = (self.ingest.heads(), self.inventory.members());
        let lacked = members.lacking(heads, &members.known(), |life| self.is_over(life));
        let found = Awaited { lacked, over: self.regions_over() };
        let Some(speaking) = &mut self.speaking else { return };
        if speaking.awaited == found {
            return;
        }
        let before = std::mem::replace(&mut speaking.awaited, found.clone());
        let is_new = |region: &RegionId| {
            let is_new = |of: &BTreeSet<RegionId>, former: &BTreeSet<RegionId>| {
                of.contains(region) && !former.contains(region)
            };
            is_new(&found.lacked, &before.lacked) || is_new(&found.over, &before.over)
        };
        let told_off = |known: &Session| known.declined.iter().any(is_new);
        let asked: Vec<SessionId> = self
            .sessions
            .iter()
            .filter_map(|(session, known)| told_off(known).then_some(*session))
            .collect();
        for session in asked {
            if let Some(known) = self.sessions.get_mut(&session) {
                tracing::info!(peer = %known.identity, "asked again for what is lacking here");
                known.link.close(Goodbye::Reconfigured);
            }
            self.drain(now, session);
        }
    }

    /// Whether what is offered is taken over every way: it is handed on, and the region's own hub
    /// may lack it.
    pub(super) fn is_awaited(&self, offer: &Offer) -> bool {
        let Some(speaking) = &self.speaking else { return false };
        let Awaited { lacked, over } = &speaking.awaited;
        let is_said = is_of_members(&offer.origin_topic) && offer.path.len() == 2;
        lacked.contains(&offer.origin) || (is_said && over.contains(&offer.origin))
    }

    /// Whether what is offered came from here and is of use, since a former life of this hub may
    /// have written more than it handed down.
    pub(super) fn takes_back(&self, offer: &Offer) -> bool {
        let own = self.identity.region();
        route::is_handed_back(own, &offer.origin, &offer.path)
            && self.speaking.is_some()
            // How far groups had read the former life's logs says nothing of those of this one.
            && offer.origin_topic != groups_topic()
            && self.needed().contains(&offer.origin_topic)
    }

    /// Whether a batch says that this life of this hub wrote it, and it did not: somebody else has
    /// the same life.
    pub(super) fn is_of_another_self(
        &self,
        origin_topic: &TopicName,
        stamp: &Stamp,
        batch: &Batch,
    ) -> bool {
        let Actor { region, incarnation, partition } = &stamp.actor;
        let own = TopicPartition::new(origin_topic.clone(), *partition);
        let end = stamp.offset.after(batch.span());
        (region, *incarnation) == (self.identity.region(), self.incarnation)
            && end > self.composer.end(&own)
    }

    /// Whether a batch of inventory came from here and is here: it needs no second place.
    pub(super) fn has_still(&self, origin_topic: &TopicName, stamp: &Stamp, batch: &Batch) -> bool {
        stamp.actor.region == *self.identity.region()
            && origin_topic == self.inventory.configuration().0
            && self.ingest.heads().end(&stamp.actor) >= stamp.offset.after(batch.span())
    }
}

/// The life of a hub at the other end of a connection; none of an agent, or before its hello.
fn life_of(known: &Session) -> Option<Holder> {
    let Identity::Hub { region, .. } = &known.identity else { return None };
    Some(Holder { region: region.clone(), incarnation: known.life()? })
}
