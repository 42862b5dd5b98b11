//! What a region's own hub gets back of its former lives beside what hubs hold alike.
//!
//! A hub that lost its disk, or goes on from a backup, is handed on inventory, rights and the like
//! ([`super::handing`]). Of other topics its peers have copies, and give back what of them former
//! lives wrote: what stands before the part that its present life wrote, which a copy's checkpoint
//! tells ([`headland_replication::Checkpoint`]). So a channel ends there and carries nothing twice;
//! no report names these topics, and a channel costs what any other does.
//!
//! What comes is stored where it is a mirror of the topic ([`crate::topics::Topics::take_back`]),
//! of several lives part by part, whichever peer brought them. The same checkpoint tells what is
//! here already, in this hub's own log when it goes on from a backup: that is skipped, and so is
//! what the topic's own retention would let go at once. A group that read a former life elsewhere
//! reads on here in what it lacks of it, and then in the log of the present one.
//!
//! How far groups had read comes back so as well, in the lane it has anyway, and is not stored but
//! said again by the present life ([`super::groups`]): whoever hears that life knows it then.
//!
//! A part that comes before an earlier one waits while a linked peer may bring that
//! ([`super::early`]). If one brings it later it is stored all the same, behind what followed it.
//! Groups that have read on by then do not go back for it.

use std::borrow::Cow;

use headland_event::{Actor, Entry, Now, Offset, PartitionIndex, Stamp, TopicName, TopicPartition};
use headland_replication::{Checkpoint, Offer};

use super::Node;
use super::handing::life_of;
use crate::peer_link::{LinkId, Peer, PeerLink};
use crate::records::{groups_topic, heartbeats_topic};
use crate::topics::{Replication, Topic};

impl Node {
    /// Takes note, for a hub that was just met, of which copies here have what former lives of its
    /// region wrote.
    pub(super) fn look_for_copies_of_former(&mut self, link_id: LinkId) {
        let copies = self.durable.keys().filter_map(|partition| {
            let topic = self.topics.get(&partition.topic)?;
            Some((partition.clone(), self.of_former(link_id, topic, partition)?))
        });
        let copies: Vec<(TopicPartition, Offset)> = copies.collect();
        let Some(known) = self.peer_links.get_mut(&link_id) else { return };
        if !copies.is_empty() {
            let (peer, partitions) = (&known.identity, copies.len());
            tracing::info!(%peer, partitions, "gives back what former lives of the region wrote");
        }
        copies.iter().for_each(|(partition, until)| known.on_former(partition, *until));
    }

    /// The same of a copy that has grown, for all hubs that are linked.
    pub(super) fn note_former_of(&mut self, partition: &TopicPartition) {
        let Some(topic) = self.topics.get(&partition.topic).filter(|topic| !topic.is_local())
        else {
            return;
        };
        let found = self.peer_links.hubs().into_iter();
        let found: Vec<(LinkId, Offset)> = found
            .filter_map(|link_id| Some((link_id, self.of_former(link_id, topic, partition)?)))
            .collect();
        for (link_id, until) in found {
            if let Some(known) = self.peer_links.get_mut(&link_id) {
                known.on_former(partition, until);
            }
        }
    }

    /// Up to where a copy is of former lives of the region of a hub that is linked; `None` where
    /// there is nothing to give back.
    pub(super) fn of_former(
        &self,
        link_id: LinkId,
        topic: &Topic,
        partition: &TopicPartition,
    ) -> Option<Offset> {
        let known = self.peer_links.get(&link_id)?;
        let Peer::Hub(offering) = &known.peer else { return None };
        let region = known.identity.region();
        // Most of what is written here is of other regions.
        if topic.origin != *region || topic.is_local() || !self.is_returnable(&topic.origin_name) {
            return None;
        }
        let life = life_of(known)?.incarnation;
        let end = self.durable.get(partition).copied()?;
        let until = self.checkpoint(partition)?.end_of_others(life, end)?;
        let is_left = until > self.keeping.start(partition);
        (is_left && offering.gives_back(topic, region)).then_some(until)
    }

    /// Whether a topic, by its name where it was born, is one of which a region gets back what its
    /// former lives wrote: of what hubs write for each other the next life says its own, but for
    /// committed offsets, which it cannot know.
    fn is_returnable(&self, origin_topic: &TopicName) -> bool {
        self.is_stored_back(origin_topic)
            || self.speaking.is_some() && *origin_topic == groups_topic()
    }

    /// Whether what is given back of a topic is stored, part by part. What was committed is
    /// [said again](Self::say_groups_again) instead.
    fn is_stored_back(&self, origin_topic: &TopicName) -> bool {
        let is_of_hubs = origin_topic.as_str().starts_with('_');
        let is_of_others = !is_of_hubs && *origin_topic != heartbeats_topic();
        self.speaking.is_some() && is_of_others && !self.is_needed(origin_topic)
    }

    /// Whether what a peer offers of this region is taken back: of topics that there are here.
    pub(super) fn takes_back(&self, offer: &Offer) -> bool {
        let topic = self.topics.get(&offer.origin_topic).filter(|topic| topic.is_local());
        let is_here = topic.is_some_and(|topic| topic.replication == Replication::Offered);
        is_here && self.is_returnable(&offer.origin_topic)
    }

    /// Whether a peer gives something back that is not here yet.
    pub(super) fn is_given_some_back(&self) -> bool {
        let given_back = |known: &PeerLink, channel| {
            let topic = known.receiving(channel).and_then(|of| self.topics.get(&of.local.topic));
            topic.is_some_and(Topic::is_given_back)
        };
        self.peer_links.iter().any(|(_, known)| {
            let mut channels = known.link.subscriptions().filter(|of| of.lag_records() > 0);
            channels.any(|of| given_back(known, of.channel))
        })
    }

    /// Whether a log is one that is given back to this hub and stored, by its topic where it was
    /// born.
    pub(super) fn is_given_back(&self, topic: &TopicName, actor: &Actor) -> bool {
        actor.region == *self.identity.region() && self.is_stored_back(topic)
    }

    /// How far a former life wrote a log of this region, by what is here of it.
    pub(super) fn end_given_back(&self, topic: &TopicName, actor: &Actor) -> Offset {
        let ends = self.parts_of_region(topic, actor.partition);
        ends.map(|(known, end)| known.end_of(actor.incarnation, end)).max().unwrap_or_default()
    }

    /// What is here of a log of this region, with where it ends: its own log, and what was given
    /// back.
    fn parts_of_region<'a>(
        &'a self,
        topic: &'a TopicName,
        partition: PartitionIndex,
    ) -> impl Iterator<Item = (Cow<'a, Checkpoint>, Offset)> + 'a {
        let given_back = self.topics.given_back(topic).map(|known| &known.name);
        let here = [Some(topic), given_back].into_iter().flatten();
        here.filter_map(move |name| {
            let at = TopicPartition::new(name.clone(), partition);
            Some((self.checkpoint(&at)?, self.composer.end(&at)))
        })
    }

    /// Stores an entry that a peer gave back, unless it is here, or would be let go at once. How
    /// far groups had read is said again.
    pub(super) fn take_back(
        &mut self,
        now: Now,
        (local, topic): (&TopicPartition, &TopicName),
        entry: Entry,
    ) {
        // What a peer has not, another may have.
        let Some(stamp) = entry.stamp.clone().filter(|_| !entry.is_stand_in()) else { return };
        let is_present = stamp.actor.incarnation == self.incarnation;
        if !is_present && *topic == groups_topic() {
            return self.say_groups_again(&stamp.actor, &entry.batch, now);
        }
        if is_present
            || self.was_given_back(topic, &stamp, &entry)
            || self.is_let_go(local, &stamp, now)
        {
            return;
        }
        self.ingest.observe(topic, &stamp, &entry.batch);
        self.follow(local, &stamp, now);
        self.composer.copied(local, entry.dot, entry.stamp, entry.batch);
    }

    fn was_given_back(&self, topic: &TopicName, stamp: &Stamp, entry: &Entry) -> bool {
        let Actor { incarnation, partition, .. } = stamp.actor;
        let part = (stamp.offset, stamp.offset.after(entry.batch.span()));
        let mut parts = self.parts_of_region(topic, partition);
        parts.any(|(known, end)| known.holds(incarnation, part, end))
    }

    /// Whether retention lets go what its hub took in then.
    fn is_let_go(&self, local: &TopicPartition, stamp: &Stamp, now: Now) -> bool {
        let kept = self.topics.get(&local.topic).map(|topic| self.keeping.kept(topic).1);
        let kept_for = kept.and_then(|kept| kept.retention.time);
        kept_for.is_some_and(|kept_for| stamp.hlc.wall().plus(kept_for) <= now.wall)
    }
}
