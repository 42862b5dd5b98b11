//! Over which way a topic of another region comes, where there are several.
//!
//! In a ring or a mesh that passes topics on, the same topic is offered by several peers. While the
//! origin itself is linked it is taken from there; the others are told so, and send nothing. When
//! the origin has been away for a while, connections to those that were told off are made anew, so
//! that they offer again what they have. Over regions in between every way is taken: whether such a
//! region still hears from the origin cannot be seen from here, and a cut on the one way must not
//! hold up what flows over the other. Every way is an exact copy under a name of its own, so
//! nothing is lost or counted twice by a change.
//!
//! What is handed on of a life that is over is offered by all who have it: its hub may be linked in
//! a new life that lacks it (see [`super::handing`]). It is kept apart from what is copied, where
//! each record is stored once, whoever brings it first; the others cost their frames. As soon as
//! nothing is lacking any more, those who bring it beside the region itself are told off.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use headland_event::{Lane, Now, RegionId, TopicName, TopicPartition};
use headland_replication::frame::Goodbye;
use headland_replication::{Identity, Offer, Refusal, RefusalCode, route};

use super::Node;
use super::handing::key_of_handed_on;
use super::recovery::owner;
use crate::config::HubConfig;
use crate::escrow::escrow_topic;
use crate::peer_link::{LinkId, PeerLink, Receiving};
use crate::records::heartbeats_topic;
use crate::topics::{Mirror, Topic, TopicError, Topics};

/// How long a preferred peer may be away before others are asked: a restart takes less.
const AWAY_MAX: Duration = Duration::from_secs(10);

impl Node {
    /// Takes up a topic that a peer hub offers, under a name that is free.
    pub(super) fn mirror(
        &mut self,
        link_id: LinkId,
        receiving: Receiving,
        offer: &Offer,
    ) -> Result<Receiving, Refusal> {
        let is_handed_on = route::is_handed_on(&offer.path);
        let is_own = offer.origin == *self.identity.region();
        if is_own && is_handed_on && self.takes_back(offer) {
            return self.take_back_from(link_id, receiving, offer);
        }
        if (is_own || is_handed_on) && !self.keeps_apart(offer) {
            let text = format!("{} has been in region {}", offer.source, offer.origin);
            return Err(Refusal::new(RefusalCode::Loop, text));
        }
        let nearer = self.nearer(offer);
        if let Some(region) = nearer.clone().filter(|_| !self.is_awaited(offer)) {
            let text = format!(
                "{} of region {} comes from region {region} itself",
                offer.origin_topic, offer.origin
            );
            if let Some(known) = self.peer_links.get_mut(&link_id) {
                known.declined.insert(region);
            }
            return Err(Refusal::new(RefusalCode::Loop, text));
        }
        // Beside what comes from the region itself only what that lacks is kept.
        let is_beside = nearer.is_some() && self.keeps_apart(offer);
        let Receiving { local, position_key, .. } = &receiving;
        let (key, (name, mirror)) = if is_handed_on || is_beside {
            (key_of_handed_on(position_key), self.topics.set_apart(offer).map_err(unfit)?)
        } else {
            let taken_up = self.topics.mirror(&local.topic, offer).map_err(unfit)?;
            (position_key.clone(), self.call_plain(link_id, taken_up, offer))
        };
        let receiving = self.taken_up(link_id, receiving, (key, name.clone(), mirror))?;
        if mirror == Mirror::Changed {
            self.grow_copy(&name);
        }
        self.leave_farther(offer);
        Ok(receiving)
    }

    /// Takes up what others give back of a topic of this region.
    fn take_back_from(
        &mut self,
        link_id: LinkId,
        receiving: Receiving,
        offer: &Offer,
    ) -> Result<Receiving, Refusal> {
        let key = key_of_handed_on(&receiving.position_key);
        let (name, mirror) = self.topics.take_back(offer).map_err(unfit)?;
        self.taken_up(link_id, receiving, (key, name, mirror))
    }

    /// A partition goes into this topic, from the position under a key on, which no other channel
    /// of the connection has.
    fn taken_up(
        &mut self,
        link_id: LinkId,
        receiving: Receiving,
        (key, name, mirror): (Bytes, TopicName, Mirror),
    ) -> Result<Receiving, Refusal> {
        let is_known = |known: &PeerLink| known.all_receiving().any(|of| of.position_key == key);
        if self.peer_links.get(&link_id).is_some_and(is_known) {
            let source = &receiving.source;
            let text = format!("{source} is taken already for what is lacking of it");
            return Err(Refusal::new(RefusalCode::Loop, text));
        }
        if let (Mirror::Changed, Some(topic)) = (mirror, self.topics.get(&name)) {
            if topic.lane == Lane::Alerts {
                self.composer.add_alerts(topic.name.clone());
            }
            let name = topic.name.as_str().to_owned().into();
            self.composer.set(owner("topics"), name, Some(topic.encode()));
        }
        let local = TopicPartition::new(name, receiving.local.partition);
        Ok(Receiving { local, position_key: key, ..receiving })
    }

    /// Topics as configured; what a hub makes or reads by its name is never called like a copy.
    pub(super) fn declared(config: &HubConfig) -> Result<Topics, TopicError> {
        let mut topics = Topics::new(&config.region, &config.topics)?;
        if config.heartbeats.is_some() {
            topics.add_heartbeats()?;
        }
        topics.reserve(heartbeats_topic());
        topics.reserve(config.reconcile.topic.clone());
        topics.reserve(escrow_topic());
        Ok(topics)
    }

    /// Lets copies that came from their origins be found by what those are called now, before they
    /// are met; what came over other regions waits for them.
    pub(super) fn call_copies(&mut self) {
        for peer in &self.peers {
            let way = [peer.identity.region().clone()];
            let copies = self.topics.iter().filter(|copy| copy.path == way);
            for copy in copies.cloned().collect::<Vec<_>>() {
                if self.topics.call_copy(&peer.naming, &copy) {
                    let value = self.topics.get(&copy.name).map(Topic::encode);
                    let key = copy.name.as_str().to_owned().into();
                    self.composer.set(owner("topics"), key, value);
                }
            }
        }
    }

    /// Lets a copy that was taken up be found by the name it has at the peer, if it is to be.
    fn call_plain(
        &mut self,
        link_id: LinkId,
        (name, mirror): (TopicName, Mirror),
        offer: &Offer,
    ) -> (TopicName, Mirror) {
        let naming = self.peer_links.get(&link_id).map(PeerLink::naming);
        let source = &offer.source.topic;
        let is_news = naming.is_some_and(|of| self.topics.call_plain(of, &name, source));
        (name, if is_news { Mirror::Changed } else { mirror })
    }

    /// Copies of an offered partition that come over other ways.
    fn others(&self, offer: &Offer) -> Vec<(Topic, TopicPartition)> {
        let is_same = |topic: &&Topic| {
            (&topic.origin, &topic.origin_name) == (&offer.origin, &offer.origin_topic)
        };
        let copies = self.topics.iter().filter(is_same).filter(|topic| !topic.is_local());
        // Who hands a log on may offer it anyway as well.
        let is_again = route::is_handed_on(&offer.path);
        let others = copies.filter(|topic| is_again || topic.path.last() != offer.path.last());
        let others = others.map(|topic| {
            let at = TopicPartition::new(topic.name.clone(), offer.source.partition);
            (topic.clone(), at)
        });
        others.collect()
    }

    /// The connection over which a copy comes.
    fn coming(&self, topic: &Topic) -> Option<LinkId> {
        let region = topic.path.last()?;
        let peer = self.peers.iter().find(|peer| peer.identity.region() == region)?;
        self.peerings.get(&peer.identity)?.kept()
    }

    /// The origin of an offered partition, when it comes from there.
    fn nearer(&self, offer: &Offer) -> Option<RegionId> {
        let mut others = self.others(offer).into_iter();
        let found = others.find(|(topic, at)| is_direct(&topic.path) && self.is_coming(topic, at));
        found.and_then(|(topic, _)| topic.path.last().cloned())
    }

    /// Tells those off from whom a partition comes that its origin offers now.
    fn leave_farther(&mut self, offer: &Offer) {
        let Some(region) = offer.path.last() else { return };
        if !is_direct(&offer.path) {
            return;
        }
        for (topic, at) in self.others(offer) {
            let path = topic.path.clone();
            if self.is_awaited(&Offer { path, ..offer.clone() }) {
                continue;
            }
            let link_id = self.coming(&topic);
            let known = link_id.and_then(|link_id| self.peer_links.get_mut(&link_id));
            if let Some(known) = known {
                let text = format!("{at} comes from region {region} itself");
                known.leave(&at, &Refusal::new(RefusalCode::Loop, text), region);
            }
        }
    }

    /// Tells those off from whom something came beside the origin itself, once that is needed no
    /// more and all that they had of it is here; says whether none of it is left.
    pub(super) fn leave_beside(&mut self, now: Now) -> bool {
        let mut is_over = true;
        for link_id in self.peer_links.hubs() {
            for (at, region) in self.beside(link_id) {
                let Some(known) = self.peer_links.get(&link_id) else { continue };
                if !known.is_through(&at) || self.has_put_off_of(link_id, &at) {
                    is_over = false;
                    continue;
                }
                let Some(known) = self.peer_links.get_mut(&link_id) else { continue };
                let text = format!("{at} comes from region {region} itself");
                known.leave(&at, &Refusal::new(RefusalCode::Loop, text), &region);
            }
            self.drain(now, link_id);
        }
        is_over
    }

    /// Partitions that come over a connection although they come from their origin as well, and
    /// are not awaited, with that region.
    fn beside(&self, link_id: LinkId) -> BTreeSet<(TopicPartition, RegionId)> {
        let Some(known) = self.peer_links.get(&link_id) else { return BTreeSet::new() };
        let beside = known.all_receiving().filter_map(|receiving| {
            let topic = self.topics.get(&receiving.local.topic)?;
            let is_beside = !is_direct(&topic.path) && !self.is_awaited_topic(topic);
            let direct = self.topics.iter().filter(|_| is_beside).find(|direct| {
                let is_same =
                    (&direct.origin, &direct.origin_name) == (&topic.origin, &topic.origin_name);
                is_same && is_direct(&direct.path) && self.is_coming(direct, &receiving.local)
            });
            direct.map(|_| (receiving.local.clone(), topic.origin.clone()))
        });
        beside.collect()
    }

    /// Whether a copy's partition of the same number comes now.
    fn is_coming(&self, copy: &Topic, like: &TopicPartition) -> bool {
        let at = TopicPartition::new(copy.name.clone(), like.partition);
        let link_id = self.coming(copy).and_then(|link_id| self.peer_links.get(&link_id));
        link_id.is_some_and(|known| known.takes(&at))
    }

    /// Makes connections anew to peers that were told off for one that is away by now.
    pub(super) fn look_for_ways(&mut self, now: Now) {
        let away = self
            .peers
            .iter()
            .filter(|peer| peer.reach.down_for(now.monotonic).is_some_and(|down| down > AWAY_MAX));
        let away: Vec<RegionId> = away.map(|peer| peer.identity.region().clone()).collect();
        let is_kept = |identity: &Identity, link_id: LinkId| {
            self.peerings.get(identity).and_then(|peering| peering.kept()) == Some(link_id)
        };
        let told_off = self.peer_links.iter().filter(|(link_id, known)| {
            is_kept(&known.identity, **link_id)
                && away.iter().any(|region| known.declined.contains(region))
        });
        let told_off: Vec<LinkId> = told_off.map(|(link_id, _)| *link_id).collect();
        for link_id in told_off {
            if let Some(known) = self.peer_links.get_mut(&link_id) {
                tracing::info!(peer = %known.identity, "asked again for what came another way");
                known.link.close(Goodbye::Reconfigured);
            }
            self.drain(now, link_id);
        }
    }
}

fn unfit(error: TopicError) -> Refusal {
    Refusal::new(RefusalCode::UnfitName, error.to_string())
}

/// Whether a path has no region between the origin and here.
const fn is_direct(path: &[RegionId]) -> bool {
    path.len() == 1
}
