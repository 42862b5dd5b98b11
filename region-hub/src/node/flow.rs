//! What operators ask of links to other regions, and how these do.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::{ByteCount, Entry, Lane, Now, Offset, RegionId, TopicPartition};
use headland_replication::condition::{Condition, Connection, Observed};
use headland_replication::latency::Histogram;
use headland_replication::marks::Outstanding;
use headland_replication::{Flow, Marks, Refusal, RefusalCode};
use headland_storage::{StateStore, Ticket};
use serde::{Deserialize, Serialize};

use super::links::KnownPeer;
use super::recovery::owner;
use super::{LinkState, Node, RecoveryError};
use crate::links::{LinkChange, LinkTopicView, LinkView};
use crate::topics::Topic;

/// Lanes of data.
const LANES: [Lane; 3] = [Lane::Alerts, Lane::State, Lane::Telemetry];

/// Why a link is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// There is no such link.
    #[error("this hub has no link to region {region}; it has links to {known}")]
    NoLink {
        /// What was asked for.
        region: RegionId,
        /// Regions there are links to.
        known: String,
    },
    /// A rate at which nothing would ever arrive.
    #[error("a link is limited to 1 byte a second or more; to send nothing, pause it")]
    NoRate,
    /// The control lane carries no data.
    #[error("the control lane is the link's own; lanes of data are alerts, state and telemetry")]
    ControlLane,
}

/// A link's flow in the state `links`, by region.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    paused: BTreeSet<Lane>,
    bytes_per_second: Option<ByteCount>,
}

impl Node {
    /// Changes what is sent to a region. It holds at once, and over a restart once the ticket's
    /// commit is durable.
    ///
    /// # Errors
    /// [`LinkError`] when it does not fit; nothing has changed.
    pub fn on_link_change(
        &mut self,
        now: Now,
        region: &RegionId,
        change: &LinkChange,
    ) -> Result<Ticket, LinkError> {
        let index = self.link_index(region)?;
        let Some(peer) = self.peers.get_mut(index) else { return Err(self.no_link(region)) };
        match change {
            LinkChange::Pause(lanes) | LinkChange::Resume(lanes)
                if lanes.contains(&Lane::Control) =>
            {
                return Err(LinkError::ControlLane);
            }
            LinkChange::Pause(lanes) => peer.flow.paused.extend(named(lanes)),
            LinkChange::Resume(lanes) => {
                peer.flow.paused.retain(|lane| !named(lanes).contains(lane));
            }
            LinkChange::Limit(Some(rate)) if rate.get() == 0 => return Err(LinkError::NoRate),
            LinkChange::Limit(rate) => peer.flow.bytes_per_second = *rate,
        }
        let (identity, flow) = (peer.identity.clone(), peer.flow.clone());
        tracing::info!(peer = %identity, ?flow, "an operator changed what is sent");
        let Flow { paused, bytes_per_second } = flow.clone();
        let value = serde_json::to_vec(&Kept { paused, bytes_per_second }).unwrap_or_default();
        let key = region.as_str().to_owned().into();
        self.composer.set(owner("links"), key, Some(value.into()));
        let ticket = self.composer.next_ticket();
        if let Some(peer_link) = self.peerings.get(&identity).and_then(|peering| peering.kept()) {
            if let Some(known) = self.peer_links.get_mut(&peer_link) {
                known.link.set_flow(now.monotonic, flow);
            }
            self.drain(now, peer_link);
        }
        Ok(ticket)
    }

    /// Takes up what operators asked for before this run.
    pub(super) fn restore_links(&mut self, state: &impl StateStore) -> Result<(), RecoveryError> {
        for (key, value) in state.scan(&owner("links"), b"")? {
            let kept: Kept = serde_json::from_slice(&value)
                .map_err(|source| RecoveryError::Json { owner: owner("links"), source })?;
            let peer = self
                .peers
                .iter_mut()
                .find(|peer| peer.identity.region().as_str().as_bytes() == key.as_ref());
            if let Some(peer) = peer {
                let Kept { paused, bytes_per_second } = kept;
                peer.flow = Flow { paused, bytes_per_second };
            }
        }
        Ok(())
    }

    fn link_index(&self, region: &RegionId) -> Result<usize, LinkError> {
        let index = self.peers.iter().position(|peer| peer.identity.region() == region);
        index.ok_or_else(|| self.no_link(region))
    }

    fn no_link(&self, region: &RegionId) -> LinkError {
        let known: Vec<&str> =
            self.peers.iter().map(|peer| peer.identity.region().as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        LinkError::NoLink { region: region.clone(), known }
    }

    /// Marks bytes and times of what became durable.
    pub(super) fn mark(&mut self, now: Now, entries: &[(TopicPartition, Entry)]) {
        for (partition, entry) in entries {
            let bytes = u64::try_from(entry.batch.as_bytes().len()).unwrap_or(u64::MAX);
            let (span, time) = ((entry.base, entry.end()), entry.batch.max_time());
            let marks = self.keeping.marks.entry(partition.clone()).or_default();
            marks.on_entry(span, ByteCount::new(bytes), time, now.monotonic);
        }
    }

    /// Every link, without its topics.
    pub fn links(&self, now: Now) -> impl Iterator<Item = LinkView> {
        self.peers.iter().map(move |peer| LinkView { topics: None, ..self.link_view(peer, now) })
    }

    /// One link with its topics.
    ///
    /// # Errors
    /// [`LinkError::NoLink`] when there is none to that region.
    pub fn link(&self, now: Now, region: &RegionId) -> Result<LinkView, LinkError> {
        let known = self.peers.get(self.link_index(region)?);
        let view = known.map(|peer| self.link_view(peer, now));
        view.ok_or_else(|| self.no_link(region))
    }

    fn link_view(&self, peer: &KnownPeer, now: Now) -> LinkView {
        let peer_link = self.kept(&peer.identity);
        let topics = self.outstanding(peer, now);
        let mut lanes: BTreeMap<Lane, Outstanding> = BTreeMap::new();
        let (mut flowing, mut held, mut refused) =
            <(Outstanding, Outstanding, Outstanding)>::default();
        let mut refused_topics = Vec::new();
        for topic in &topics {
            let sum =
                if peer.flow.paused.contains(&topic.view.lane) { &mut held } else { &mut flowing };
            *sum = sum.and(topic.taken);
            refused = refused.and(topic.refused);
            if topic.refused.records > 0 {
                refused_topics.push(topic.view.topic.clone());
            }
            let lane = lanes.entry(topic.view.lane).or_default();
            *lane = lane.and(topic.taken).and(topic.refused);
        }
        let up_at = peer.up_at.filter(|_| peer_link.is_some());
        let connection = up_at.map_or(Connection::None, Connection::Since);
        let observed = Observed { connection, flowing, held, refused, acked_at: peer.acked_at };
        let rtt = peer_link.and_then(|peer_link| peer_link.link.rtt());
        let granted = self.granted_ago(peer.identity.region(), now.monotonic);
        LinkView {
            region: peer.identity.region().clone(),
            left_for: self.left_for(peer.identity.region()).cloned(),
            lease_granted_ms: granted.map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
            peer: peer.identity.to_string(),
            state: if peer_link.is_some() { LinkState::Up } else { LinkState::Down },
            condition: Condition::of(&observed, now.monotonic),
            rtt_ms: rtt.map(|rtt| u64::try_from(rtt.as_millis()).unwrap_or(u64::MAX)),
            paused: peer.flow.paused.clone(),
            bytes_per_second: peer.flow.bytes_per_second,
            outstanding: flowing.and(held).and(refused).into(),
            lanes: lanes.into_iter().map(|(lane, of)| (lane.to_string(), of.into())).collect(),
            latency: peer
                .latencies
                .iter()
                .filter_map(|(lane, of)| Some((lane.to_string(), of.recent(now.monotonic)?.into())))
                .collect(),
            behind_records: self.behind_records(peer),
            refused_topics,
            topics: Some(topics.into_iter().map(|topic| topic.view).collect()),
        }
    }

    /// How long records took to each region since the start, by lane.
    pub fn latencies(&self) -> impl Iterator<Item = (&RegionId, Lane, &Histogram)> {
        self.peers.iter().flat_map(|peer| {
            let lanes = peer.latencies.iter();
            lanes.map(|(lane, of)| (peer.identity.region(), *lane, of.counted()))
        })
    }

    /// Records here that a peer is not known to have of what it is offered, link or no link.
    pub(super) fn lacking_records(&self, peer: &KnownPeer) -> u64 {
        let lacking = self.offered_to(peer).filter(|part| !part.comes_another_way());
        lacking.map(|part| part.head.since(part.acked)).fold(0, u64::saturating_add)
    }

    /// Whether a peer has what is older than a few seconds of what it takes. What it refuses no
    /// time mends, and a region would never be returned to; operators are told of it.
    pub(super) fn is_in_order(&self, peer: &KnownPeer, now: Now) -> bool {
        match self.link_view(peer, now).condition {
            Condition::Ok => true,
            Condition::Refused => peer.flow.paused.is_empty(),
            Condition::CatchingUp | Condition::Paused | Condition::Stalled | Condition::Down => {
                false
            }
        }
    }

    /// Every partition that a peer is offered, ordered by topic.
    fn offered_to<'a>(&'a self, peer: &'a KnownPeer) -> impl Iterator<Item = Offered<'a>> {
        let (region, peer_link) = (peer.identity.region(), self.kept(&peer.identity));
        self.durable.iter().filter_map(move |(at, head)| {
            let topic = self.topics.get(&at.topic)?;
            peer.offering.offers(topic, region).then(|| Offered {
                topic,
                at,
                acked: self.keeping.acked(&peer.identity, at).unwrap_or_default(),
                head: *head,
                refusal: peer_link.and_then(|peer_link| peer_link.refused(at)),
            })
        })
    }

    /// What a peer lacks of each topic that it is offered.
    fn outstanding(&self, peer: &KnownPeer, now: Now) -> Vec<TopicLack> {
        let mut topics: Vec<TopicLack> = Vec::new();
        let unmarked = Marks::new();
        for part in self.offered_to(peer) {
            let marks = self.keeping.marks.get(part.at).unwrap_or(&unmarked);
            if topics.last().is_none_or(|known| known.view.topic != part.at.topic) {
                topics.push(TopicLack::new(part.topic));
            }
            if let Some(known) = topics.last_mut() {
                known.add(marks.outstanding(part.acked, part.head, now.monotonic), &part);
            }
        }
        topics
    }
}

/// A partition that a peer is offered.
struct Offered<'a> {
    topic: &'a Topic,
    at: &'a TopicPartition,
    /// What the peer is known to have.
    acked: Offset,
    head: Offset,
    /// Why it does not take it.
    refusal: Option<&'a Refusal>,
}

impl Offered<'_> {
    /// Whether the peer takes it from somebody else, so that it lacks nothing here.
    fn comes_another_way(&self) -> bool {
        self.refusal.is_some_and(|refusal| refusal.code() == RefusalCode::Loop)
    }
}

/// What a peer lacks of a topic.
struct TopicLack {
    view: LinkTopicView,
    /// Of partitions that it takes.
    taken: Outstanding,
    /// Of partitions that it does not take, although they come to it over no other way.
    refused: Outstanding,
}

impl TopicLack {
    fn new(topic: &Topic) -> Self {
        let (taken, refused) = (Outstanding::default(), Outstanding::default());
        let (name, lane) = (topic.name.clone(), topic.lane);
        let outstanding = taken.into();
        let view = LinkTopicView { topic: name, lane, outstanding, refused: None };
        Self { view, taken, refused }
    }

    /// Counts a partition.
    fn add(&mut self, lacking: Outstanding, part: &Offered<'_>) {
        match part.refusal {
            None => self.taken = self.taken.and(lacking),
            Some(_) if part.comes_another_way() => {}
            Some(_) => self.refused = self.refused.and(lacking),
        }
        self.view.outstanding = self.taken.and(self.refused).into();
        if let Some(refusal) = part.refusal.filter(|_| self.view.refused.is_none()) {
            self.view.refused = Some(refusal.to_string());
        }
    }
}

/// The lanes that are named, or all.
fn named(lanes: &BTreeSet<Lane>) -> BTreeSet<Lane> {
    if lanes.is_empty() { LANES.into() } else { lanes.clone() }
}
