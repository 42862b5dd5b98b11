//! One connection to an agent or to another region's hub.
//!
//! The link moves entries; this is what the hub adds: who may publish what, which local partition
//! an offered one belongs to, and which partitions are offered in turn.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headland_event::{
    Actor, Alias, ChannelId, DropPolicy, Entry, Gap, Incarnation, Lane, Monotonic, NameError,
    Offset, PartitionIndex, RegionId, TopicName, TopicPartition,
};
use headland_replication::link::SubscriptionStatus;
use headland_replication::route::{NamePolicy, Naming};
use headland_replication::{
    Filter, Identity, Link, LinkConfig, Offer, Refusal, RefusalCode, route,
};

use crate::holes;
use crate::ingest::Grant;
use crate::members::is_of_members;
use crate::records::groups_topic;
use crate::topics::{Replication, Topic, Topics};

/// What hubs say beside records.
mod words;

/// Number of a connection in this run of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(u64);

impl LinkId {
    /// Wraps a number that no other connection of this run has.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

impl std::fmt::Display for LinkId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Who is at the other end, and what that allows.
#[derive(Debug, Clone)]
pub enum Peer {
    /// An agent of this region.
    Agent(Grant),
    /// Another region's hub, and which topics are offered to it.
    Hub(Offering),
}

/// Whether topics that came from other regions are passed on to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarding {
    /// Only topics born here are offered.
    Own,
    /// Every topic is offered that the peer's region has not seen.
    All,
}

/// Which topics are offered to a peer.
#[derive(Debug, Clone)]
pub struct Offering {
    /// Whether those of other regions are among them.
    pub forwarding: Forwarding,
    /// Which of them, by any of their names here.
    pub topics: Filter,
}

impl Offering {
    /// Whether a topic is offered to a hub of `region`. What hubs tell each other about topics
    /// goes with every link, whatever its filter says: without it nobody could read the others.
    #[must_use]
    pub fn offers(&self, topic: &Topic, region: &RegionId) -> bool {
        self.offers_beyond(self.forwarding, topic, region)
    }

    /// The same, with another answer to what comes from other regions.
    fn offers_beyond(&self, forwarding: Forwarding, topic: &Topic, region: &RegionId) -> bool {
        topic.replication == Replication::Offered
            && (topic.is_local() || forwarding == Forwarding::All)
            && route::should_offer(region, &topic.origin, &topic.path)
            && (topic.is_internal() || self.takes(topic))
    }

    /// Whether a hub of `region` that lost some of a topic gets it from here, whatever way that
    /// came: it wrote it, or may have it anyway.
    #[must_use]
    pub fn gives_back(&self, topic: &Topic, region: &RegionId) -> bool {
        topic.replication == Replication::Offered
            && (topic.origin == *region || topic.is_internal() || self.takes(topic))
    }

    fn takes(&self, topic: &Topic) -> bool {
        // Asked at every commit: a topic with one name makes no list.
        if topic.also.is_empty() {
            return self.topics.takes(topic.name.as_str());
        }
        self.topics.takes_one_of(&topic.names())
    }
}

/// What is handed on to a peer beside what it is offered anyway: logs of which it lacks some, since
/// the life that wrote them writes no more, or since the peer lost what it had of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HandedOn {
    /// Regions of whose lives that are over the peer lacks some.
    pub lacked: BTreeSet<RegionId>,
    /// Regions of whose logs the peer passed over some, since who sent them had lost it.
    pub gapped: BTreeSet<RegionId>,
    /// Topics of those regions that the peer is offered anyway and gets once more from their
    /// beginning, by their names here: it passed over what it lacks, or its disk lost it.
    pub again: BTreeSet<TopicName>,
    /// Regions of whose logs a former life of the peer may have had what this one lacks.
    pub lost: BTreeSet<RegionId>,
    /// Regions of which the peer lacks what was handed on to this hub.
    pub apart: BTreeSet<RegionId>,
    /// Topics beside inventory of which the peer lacks what a life wrote that is over, each with
    /// the region it was born in, by its name there.
    pub others: BTreeSet<(RegionId, TopicName)>,
    /// The same of what was handed on to this hub, whatever life wrote it.
    pub others_apart: BTreeSet<(RegionId, TopicName)>,
    /// Topics beside inventory of which the peer says how far it has them, by their names there.
    pub told: BTreeSet<TopicName>,
    /// Regions of which a life is over: what that said of who takes part, nobody says again.
    pub over: BTreeSet<RegionId>,
    /// Topics that all hubs have to hold alike, by their names where they were born. No filter of
    /// a link hides them, and the peer gets back what it lost of its own.
    pub needed: BTreeSet<TopicName>,
}

impl HandedOn {
    /// Regions of whose logs anything is handed on; none where there is only told what would be.
    #[must_use]
    pub fn regions(&self) -> BTreeSet<&RegionId> {
        let others = self.others.iter().chain(&self.others_apart).map(|(region, _)| region);
        let regions = [&self.lacked, &self.gapped, &self.lost, &self.apart];
        regions.into_iter().flatten().chain(others).collect()
    }

    /// Whether a topic is handed on to a hub of `region`.
    fn includes(&self, topic: &Topic, offering: &Offering, region: &RegionId) -> bool {
        let Topic { origin, origin_name, path, .. } = topic;
        let is_needed = self.needed.contains(origin_name);
        if topic.is_local() {
            return false;
        }
        if is_of_members(origin_name) && self.over.contains(origin) {
            return topic.is_apart() || path.len() == 1;
        }
        let is_among = |of: &BTreeSet<(RegionId, TopicName)>| {
            of.contains(&(origin.clone(), origin_name.clone()))
        };
        if topic.is_apart() {
            let is_lacked = || !self.told.contains(origin_name) && self.apart.contains(origin);
            return is_needed && (is_among(&self.others_apart) || is_lacked());
        }
        let is_other = || is_among(&self.others);
        if topic.replication != Replication::Offered {
            return false;
        }
        if is_needed && is_other() {
            return true;
        }
        let is_lacked = self.lacked.contains(origin);
        let is_gapped = self.gapped.contains(origin);
        if origin == region && *origin_name == groups_topic() {
            // Of its own that is given back, up to where its present life begins.
            return false;
        }
        if origin == region || path.contains(region) {
            return is_needed && (is_lacked || is_gapped || self.lost.contains(origin));
        }
        // What hubs have to hold alike goes whatever way it came here over: nobody between may have
        // it any more. Of the rest a copy that came over a third region is that one's to hand on.
        let is_allowed = || offering.offers_beyond(Forwarding::All, topic, region);
        is_needed && (is_lacked || is_gapped) || path.len() == 1 && is_lacked && is_allowed()
    }

    /// Whether a topic that is offered to a hub of `region` anyway is handed on to it besides.
    fn includes_again(&self, topic: &Topic, offering: &Offering, region: &RegionId) -> bool {
        self.again.contains(&topic.name) && offering.offers(topic, region)
    }
}

/// How a partition comes to be offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As the configuration of the link says.
    Offered,
    /// Since the peer lacks some of it.
    HandedOn,
    /// Since former lives of the peer's region wrote it.
    GivenBack,
}

/// A partition that the peer sends and we store.
#[derive(Debug, Clone)]
pub struct Receiving {
    /// The peer's name for it.
    pub source: TopicPartition,
    /// Our partition.
    pub local: TopicPartition,
    /// The topic's name where it was born.
    pub origin_topic: TopicName,
    /// The key of our position in the state `positions`.
    pub position_key: Bytes,
}

/// One connection.
#[derive(Debug)]
pub struct PeerLink {
    /// The link's state machine.
    pub link: Link,
    /// Who the peer is, as its certificate says.
    pub identity: Identity,
    /// What that allows.
    pub peer: Peer,
    /// What the topics of a hub are called here.
    naming: Naming,
    region: RegionId,
    incarnation: Option<Incarnation>,
    /// Regions from which topics come that this peer offered over a longer way.
    pub declined: BTreeSet<RegionId>,
    /// Boxed, since a map keeps room for eleven values where an agent has one.
    receiving: BTreeMap<ChannelId, Box<Receiving>>,
    /// Our partitions that it sends, with its channels: several where it hands on several copies.
    taken: BTreeSet<(TopicPartition, ChannelId)>,
    sending: BTreeMap<ChannelId, TopicPartition>,
    /// Where the read of a channel that is open starts.
    reads: BTreeMap<ChannelId, Offset>,
    /// Channels whose open read met damage.
    damaged: BTreeSet<ChannelId>,
    offered: BTreeMap<TopicPartition, ChannelId>,
    /// Partitions that are handed on besides, from their beginning.
    again: BTreeMap<TopicPartition, ChannelId>,
    handed_on: HandedOn,
    /// Copies of what the peer's region wrote, up to where former lives of it did.
    of_former: BTreeMap<TopicPartition, Offset>,
    /// What of them is given back.
    given_back: BTreeMap<TopicPartition, ChannelId>,
    /// By channel, how far compaction left nothing behind what is here of a log.
    cut: BTreeMap<ChannelId, (Actor, Offset)>,
    /// Partitions that the peer does not take, with its reason.
    refused: BTreeMap<TopicPartition, Refusal>,
    /// Whether the peer reads that something was looked at and not kept.
    reads_passed: bool,
}

impl PeerLink {
    /// A connection that was just made, with the hello on its way. Topics of a hub are named after
    /// its region, unless [it is called something else](Self::named).
    #[must_use]
    pub fn new(config: LinkConfig, peer: Peer, seed: u64, now: Monotonic) -> Self {
        let identity = config.peer.clone();
        let region = config.hello.identity.region().clone();
        let alias = Alias::from(identity.region());
        Self {
            naming: Naming::new(alias, NamePolicy::Prefix),
            region,
            link: Link::new(config, seed, now),
            identity,
            peer,
            incarnation: None,
            declined: BTreeSet::new(),
            receiving: BTreeMap::new(),
            taken: BTreeSet::new(),
            sending: BTreeMap::new(),
            reads: BTreeMap::new(),
            damaged: BTreeSet::new(),
            offered: BTreeMap::new(),
            again: BTreeMap::new(),
            handed_on: HandedOn::default(),
            of_former: BTreeMap::new(),
            given_back: BTreeMap::new(),
            cut: BTreeMap::new(),
            refused: BTreeMap::new(),
            reads_passed: false,
        }
    }

    /// The same with other names for what the hub offers.
    #[must_use]
    pub fn named(self, naming: Naming) -> Self {
        Self { naming, ..self }
    }

    /// What the topics of a hub are called here.
    #[must_use]
    pub const fn naming(&self) -> &Naming {
        &self.naming
    }

    /// What is handed on now.
    #[must_use]
    pub const fn handed_on(&self) -> &HandedOn {
        &self.handed_on
    }

    /// Hands on this from now on. Of what is taken out nothing more is sent here.
    pub fn hand_on(&mut self, handed_on: HandedOn) {
        self.handed_on = handed_on;
    }

    /// A copy of what the peer's region wrote is of former lives of it up to an offset: the peer
    /// may lack that, and has what is behind.
    pub fn on_former(&mut self, partition: &TopicPartition, until: Offset) {
        self.of_former.insert(partition.clone(), until);
    }

    /// The peer has said which life it is in.
    pub const fn on_ready(&mut self, incarnation: Incarnation) {
        self.incarnation = Some(incarnation);
    }

    /// Whether the peer has said hello.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.incarnation.is_some()
    }

    /// The life that the peer has said it is in.
    #[must_use]
    pub const fn life(&self) -> Option<Incarnation> {
        self.incarnation
    }

    /// Decides on a partition that the peer offers.
    ///
    /// # Errors
    /// The [`Refusal`] to answer with; its text names what to add to the configuration.
    pub fn admit(&self, topics: &Topics, offer: &Offer) -> Result<Receiving, Refusal> {
        let unfit = |error: NameError| Refusal::new(RefusalCode::UnfitName, error.to_string());
        let (name, partition) = match &self.peer {
            Peer::Agent(grant) => {
                let name = offer.source.topic.clone();
                let topic = granted(topics, grant, &name)?;
                (name, topics.partition_of(grant.agent(), topic))
            }
            Peer::Hub(_) => {
                (self.naming.prefixed(&offer.source.topic).map_err(unfit)?, offer.source.partition)
            }
        };
        let incarnation = self.incarnation.unwrap_or(Incarnation::new(0, 0));
        let key = format!("{}/{incarnation}/{}", self.identity, offer.source);
        Ok(Receiving {
            source: offer.source.clone(),
            local: TopicPartition::new(name, partition),
            origin_topic: offer.origin_topic.clone(),
            position_key: Bytes::from(key),
        })
    }

    /// Stores what an admitted channel belongs to.
    pub fn receive(&mut self, channel: ChannelId, receiving: Receiving) {
        self.taken.insert((receiving.local.clone(), channel));
        self.receiving.insert(channel, Box::new(receiving));
    }

    /// Whether the peer sends what goes into a partition of ours.
    #[must_use]
    pub fn takes(&self, local: &TopicPartition) -> bool {
        self.channels(local).next().is_some()
    }

    /// Channels of the peer that go into a partition of ours.
    fn channels(&self, local: &TopicPartition) -> impl Iterator<Item = ChannelId> {
        let from = (local.clone(), ChannelId::new(0));
        let until = (local.clone(), ChannelId::new(u32::MAX));
        self.taken.range(from..=until).map(|(_, channel)| *channel)
    }

    /// Tells the peer to send no more of what goes into a partition of ours, since it comes from
    /// `region`.
    pub fn leave(&mut self, local: &TopicPartition, refusal: &Refusal, region: &RegionId) {
        for channel in self.channels(local).collect::<Vec<_>>() {
            self.on_ended(channel);
            self.declined.insert(region.clone());
            self.link.refuse(channel, refusal.clone());
        }
    }

    /// Whether everything that the peer has told of what goes into a partition of ours is here.
    #[must_use]
    pub fn is_through(&self, local: &TopicPartition) -> bool {
        let channels: BTreeSet<ChannelId> = self.channels(local).collect();
        let mut known = self.link.subscriptions();
        known.all(|status| !channels.contains(&status.channel) || status.lag_records() == 0)
    }

    /// Whether compaction left nothing of a log up to an offset, from what is here of it on.
    #[must_use]
    pub fn is_cut(&self, channel: ChannelId, actor: &Actor, until: Offset) -> bool {
        self.cut.get(&channel).is_some_and(|(of, at)| of == actor && *at == until)
    }

    /// Compaction left nothing of a log before an offset, from what is here of it on.
    pub fn on_cut(&mut self, channel: ChannelId, actor: Actor, until: Offset) {
        self.cut.insert(channel, (actor, until));
    }

    /// Whether a channel goes on behind an offset, as far as the peer has told.
    #[must_use]
    pub fn goes_on(&self, channel: ChannelId, end: Offset) -> bool {
        let mut known = self.link.subscriptions();
        known.any(|status| status.channel == channel && end < status.head)
    }

    /// Where a channel ends at the peer, as far as it has told.
    #[must_use]
    pub fn head(&self, channel: ChannelId) -> Option<Offset> {
        let mut known = self.link.subscriptions();
        known.find(|status| status.channel == channel).map(|status| status.head)
    }

    /// The peer sends no more of a channel.
    pub fn on_ended(&mut self, channel: ChannelId) {
        self.cut.remove(&channel);
        if let Some(receiving) = self.receiving.remove(&channel) {
            self.taken.remove(&(receiving.local, channel));
        }
    }

    /// What a channel of the peer belongs to here.
    #[must_use]
    pub fn receiving(&self, channel: ChannelId) -> Option<&Receiving> {
        self.receiving.get(&channel).map(Box::as_ref)
    }

    /// Whether all that the peer has said of who takes part is durable here, as far as was heard.
    #[must_use]
    pub fn has_members(&self) -> bool {
        let mut known = self.subscribed(is_of_members);
        self.is_ready() && known.all(|status| status.lag_records() == 0)
    }

    /// How far channels have come of topics like this, by their names where they were born.
    pub fn subscribed(
        &self,
        is_meant: impl Fn(&TopicName) -> bool,
    ) -> impl Iterator<Item = SubscriptionStatus> {
        let is_of = move |channel| {
            self.receiving(channel).is_some_and(|of: &Receiving| is_meant(&of.origin_topic))
        };
        self.link.subscriptions().filter(move |status| is_of(status.channel))
    }

    /// Every channel of the peer, with what it belongs to here.
    pub fn all_receiving(&self) -> impl Iterator<Item = &Receiving> {
        self.receiving.values().map(Box::as_ref)
    }

    /// Whether a channel of ours hands on what another one offers as well, or gives back what none
    /// offers: how far the peer has got there says nothing of what it has of the log.
    #[must_use]
    pub fn is_beside(&self, channel: ChannelId) -> bool {
        self.again.values().chain(self.given_back.values()).any(|beside| *beside == channel)
    }

    /// The local partition of a channel of ours.
    #[must_use]
    pub fn sending(&self, channel: ChannelId) -> Option<&TopicPartition> {
        self.sending.get(&channel)
    }

    /// A channel of ours reads its partition from an offset on.
    pub fn on_read(&mut self, channel: ChannelId, from: Offset) {
        self.reads.insert(channel, from);
    }

    /// Where the open read of a channel starts.
    #[must_use]
    pub fn read_from(&self, channel: ChannelId) -> Option<Offset> {
        self.reads.get(&channel).copied()
    }

    /// The read of a channel met damage; what it finds behind that comes as its answer.
    pub fn on_damaged(&mut self, channel: ChannelId) {
        self.damaged.insert(channel);
    }

    /// The log's answer to the read of a channel; holes stand for what it does not have any more,
    /// which is damaged or else gone for the reason `why`, as is all before `start`. Returns of
    /// which log the damaged part is, by what follows; none when its log begins behind that.
    pub fn on_entries(
        &mut self,
        channel: ChannelId,
        entries: Vec<Entry>,
        (start, why): (Offset, DropPolicy),
    ) -> Option<(Actor, Gap)> {
        let is_damaged = self.damaged.remove(&channel);
        let from = self.reads.remove(&channel);
        let damaged = entries.first().zip(from).filter(|_| is_damaged);
        let damaged = damaged.and_then(|(first, from)| holes::part_before(from.max(start), first));
        let entries = match from {
            Some(from) if is_damaged => {
                let left = holes::filled(from.max(start), entries, DropPolicy::Damaged);
                holes::filled(from, left, why)
            }
            Some(from) => holes::filled(from, entries, why),
            None => entries,
        };
        self.link.on_entries(channel, entries);
        damaged
    }

    /// Partitions offered to the peer, with our channels.
    pub fn offered(&self) -> impl Iterator<Item = (&TopicPartition, ChannelId)> {
        self.offered.iter().map(|(partition, channel)| (partition, *channel))
    }

    /// The peer does not take a channel of ours.
    pub fn on_refused(&mut self, channel: ChannelId, refusal: Refusal) {
        if let Some(partition) = self.sending.get(&channel) {
            self.refused.insert(partition.clone(), refusal);
        }
    }

    /// Why the peer does not take a partition of ours; `None` while it does.
    #[must_use]
    pub fn refused(&self, partition: &TopicPartition) -> Option<&Refusal> {
        self.refused.get(partition)
    }

    /// Tells the peer that a partition has grown; offers it when that was not done yet.
    pub fn on_head(&mut self, topic: &Topic, partition: &TopicPartition, head: Offset) {
        let Peer::Hub(offering) = &self.peer else { return };
        if !self.is_ready() {
            return;
        }
        let region = self.identity.region();
        let way = if offering.offers(topic, region) { Way::Offered } else { Way::HandedOn };
        let is_again = self.handed_on.includes_again(topic, offering, region);
        if way == Way::Offered || self.handed_on.includes(topic, offering, region) {
            if let Some(channel) = self.offered.get(partition) {
                self.link.on_head(*channel, head);
            } else if let Some(channel) = self.offer(topic, partition, head, way) {
                self.offered.insert(partition.clone(), channel);
            }
        }
        if is_again {
            if let Some(channel) = self.again.get(partition) {
                self.link.on_head(*channel, head);
            } else if let Some(channel) = self.offer(topic, partition, head, Way::HandedOn) {
                self.again.insert(partition.clone(), channel);
            }
        }
        if let Some(until) = self.of_former.get(partition) {
            self.give_back(topic, partition, head.min(*until));
        }
    }

    /// Offers the peer what former lives of its region wrote, once.
    fn give_back(&mut self, topic: &Topic, partition: &TopicPartition, until: Offset) {
        if let Some(channel) = self.given_back.get(partition) {
            self.link.on_head(*channel, until);
        } else if let Some(channel) = self.offer(topic, partition, until, Way::GivenBack) {
            self.given_back.insert(partition.clone(), channel);
        }
    }

    /// Offers a partition, as this hub does anyway or since the peer lacks some of it.
    fn offer(
        &mut self,
        topic: &Topic,
        partition: &TopicPartition,
        head: Offset,
        way: Way,
    ) -> Option<ChannelId> {
        let is_handed_on = match way {
            Way::Offered => false,
            Way::HandedOn => self.handed_on.needed.contains(&topic.origin_name),
            Way::GivenBack => true,
        };
        let path = if is_handed_on {
            route::handed_on_path(&topic.origin, &self.region)
        } else {
            route::extended_path(&topic.path, &self.region)
        };
        // What is over keeps nothing live waiting; for committed offsets groups wait.
        let is_bulk = way == Way::GivenBack && topic.origin_name != groups_topic();
        let lane = if is_bulk { Lane::Telemetry } else { topic.lane };
        let offer = Offer {
            source: partition.clone(),
            origin: topic.origin.clone(),
            origin_topic: topic.origin_name.clone(),
            path,
            lane,
            start: Offset::new(0),
            head,
        };
        match self.link.announce(offer) {
            Ok(channel) => {
                self.sending.insert(channel, partition.clone());
                Some(channel)
            }
            Err(error) => {
                tracing::error!(peer = %self.identity, %partition, %error, "cannot offer");
                None
            }
        }
    }
}

fn granted<'a>(topics: &'a Topics, grant: &Grant, name: &TopicName) -> Result<&'a Topic, Refusal> {
    let agent = grant.agent();
    // A topic brings its dead and late ones, so only the topic itself is ever named.
    let base = name.as_str();
    let base = base.strip_suffix(".dead").or_else(|| base.strip_suffix(".late")).unwrap_or(base);
    if !grant.covers(name) {
        let text = format!(
            "agent {agent} may not publish {name}; \
             add {base} to topics of [[agent]] name = \"{agent}\""
        );
        return Err(Refusal::new(RefusalCode::NotAuthorised, text));
    }
    topics.get(name).filter(|topic| topic.is_local()).ok_or_else(|| {
        let text = format!("topic {name} is not declared; add [[topic]] name = \"{base}\"");
        Refusal::new(RefusalCode::UnknownTopic, text)
    })
}

/// The partition of an agent's batches: whole batches of one agent stay together and in order.
pub(crate) fn agent_partition(agent: &str, partitions: u32) -> PartitionIndex {
    PartitionIndex::new((murmur2(agent.as_bytes()) & 0x7fff_ffff) % partitions.max(1))
}

/// Kafka's hash of keys: any Kafka client finds the same partition.
///
/// # Source
/// Murmur2 by Austin Appleby, seed 0x9747b28c as in Apache Kafka's default partitioner.
#[must_use]
pub fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut hash = 0x9747_b28c_u32 ^ length;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (shift, byte) in (0_u32..).step_by(8).zip(rest) {
            hash ^= u32::from(*byte) << shift;
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use headland_event::{AgentName, Codec, HubName};
    use headland_platform::config::DurationText;

    use super::*;
    use crate::config::{Ack, AgentConfig, Cleanup, Copies, RetentionConfig, TopicConfig};

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    fn region(name: &str) -> RegionId {
        RegionId::new(name).unwrap()
    }

    fn hub(name: &str) -> Identity {
        Identity::Hub { region: region(name), name: HubName::new("hub-1").unwrap() }
    }

    fn topics() -> Topics {
        let declared = TopicConfig {
            name: topic("air"),
            lane: Lane::Telemetry,
            partitions: 8,
            retention: RetentionConfig::default(),
            cleanup: Cleanup::Delete,
            tombstones: DurationText::new(Duration::from_hours(24)),
            codec: Codec::None,
            ack: Ack::Local,
            ack_wait: DurationText::new(Duration::from_secs(10)),
            copies: Copies::Here,
        };
        Topics::new(&region("eu"), &[declared]).unwrap()
    }

    fn agent_peer_link() -> PeerLink {
        let config = AgentConfig {
            name: AgentName::new("eu-1").unwrap(),
            region: None,
            topics: ["air", "undeclared"].map(|name| topic(name).into()).to_vec(),
            exclude: Vec::new(),
            devices: Vec::new(),
        };
        let peer = Identity::Agent { region: region("eu"), name: config.name.clone() };
        let link = LinkConfig::new(hub("eu"), Incarnation::new(1, 1), peer);
        PeerLink::new(link, Peer::Agent(Grant::new(&config, &[])), 1, Monotonic::default())
    }

    fn offer(name: &str, path: &[&str]) -> Offer {
        Offer {
            source: TopicPartition::new(topic(name), PartitionIndex::new(0)),
            origin: region(path.first().copied().unwrap_or("eu")),
            origin_topic: topic(name),
            path: path.iter().map(|name| region(name)).collect(),
            lane: Lane::Telemetry,
            start: Offset::new(0),
            head: Offset::new(0),
        }
    }

    #[test]
    fn murmur2_gives_kafkas_published_values() {
        let hashes = ["21", "foobar", "a-little-bit-long-string", "abc"]
            .map(|key| i32::from_ne_bytes(murmur2(key.as_bytes()).to_ne_bytes()));

        assert_eq!(hashes, [-973_932_308, -790_332_482, -985_981_536, 479_470_107]);
    }

    #[test]
    fn an_agents_topic_goes_whole_to_the_partition_of_its_name() {
        let receiving = agent_peer_link().admit(&topics(), &offer("air", &[])).unwrap();

        let expected = (murmur2(b"eu-1") & 0x7fff_ffff) % 8;
        assert_eq!(
            receiving.local,
            TopicPartition::new(topic("air"), PartitionIndex::new(expected))
        );
    }

    #[test]
    fn a_topic_outside_the_grant_or_undeclared_names_the_line_to_add() {
        let refusals = ["alerts", "undeclared"]
            .map(|name| agent_peer_link().admit(&topics(), &offer(name, &[])).unwrap_err());

        assert_eq!(
            refusals.clone().map(|refusal| refusal.code()),
            [RefusalCode::NotAuthorised, RefusalCode::UnknownTopic]
        );
        assert!(refusals[1].to_string().contains("add [[topic]] name = \"undeclared\""));
    }

    #[test]
    fn another_regions_topic_keeps_its_partition_under_a_prefix() {
        let link = LinkConfig::new(hub("eu"), Incarnation::new(1, 1), hub("us"));
        let offering = Offering { forwarding: Forwarding::Own, topics: Filter::default() };
        let peer_link = PeerLink::new(link, Peer::Hub(offering), 1, Monotonic::default());

        let receiving = peer_link.admit(&topics(), &offer("air", &["us"])).unwrap();

        let expected = TopicPartition::new(topic("us.air"), PartitionIndex::new(0));
        assert_eq!(receiving.local, expected);
    }
}
