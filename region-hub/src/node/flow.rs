//! What operators ask of links to other regions, and how these do.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::{ByteCount, Entry, Lane, Now, RegionId, TopicPartition};
use headland_replication::condition::{Condition, Connection, Observed};
use headland_replication::latency::Counted;
use headland_replication::marks::Outstanding;
use headland_replication::{Flow, Marks};
use headland_storage::{StateStore, Ticket};
use serde::{Deserialize, Serialize};

use super::links::KnownPeer;
use super::recovery::owner;
use super::{LinkState, Node, RecoveryError};
use crate::links::{LinkChange, LinkTopicView, LinkView};

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
        for (topic, outstanding) in &topics {
            if topic.refused.is_none() {
                let lane = lanes.entry(topic.lane).or_default();
                *lane = lane.and(*outstanding);
            }
        }
        let sum = |held: bool| {
            let of = lanes.iter().filter(|(lane, _)| peer.flow.paused.contains(lane) == held);
            of.fold(Outstanding::default(), |sum, (_, more)| sum.and(*more))
        };
        let (flowing, held) = (sum(false), sum(true));
        let up_at = peer.up_at.filter(|_| peer_link.is_some());
        let connection = up_at.map_or(Connection::None, Connection::Since);
        let observed = Observed { connection, flowing, held, acked_at: peer.acked_at };
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
            outstanding: flowing.and(held).into(),
            lanes: lanes.into_iter().map(|(lane, of)| (lane.to_string(), of.into())).collect(),
            latency: peer
                .latencies
                .iter()
                .filter_map(|(lane, of)| Some((lane.to_string(), of.recent(now.monotonic)?.into())))
                .collect(),
            behind_records: self.behind_records(peer),
            topics: Some(topics.into_iter().map(|(topic, _)| topic).collect()),
        }
    }

    /// How long records took to each region since the start, by lane.
    pub fn latencies(&self) -> impl Iterator<Item = (&RegionId, Lane, &Counted)> {
        self.peers.iter().flat_map(|peer| {
            let lanes = peer.latencies.iter();
            lanes.map(|(lane, of)| (peer.identity.region(), *lane, of.counted()))
        })
    }

    /// Whether a peer has what is older than a few seconds.
    pub(super) fn is_in_order(&self, peer: &KnownPeer, now: Now) -> bool {
        self.link_view(peer, now).condition == Condition::Ok
    }

    /// What a peer lacks of each topic that it is offered.
    fn outstanding(&self, peer: &KnownPeer, now: Now) -> Vec<(LinkTopicView, Outstanding)> {
        let (region, peer_link) = (peer.identity.region(), self.kept(&peer.identity));
        let mut topics: Vec<(LinkTopicView, Outstanding)> = Vec::new();
        let unmarked = Marks::new();
        for (at, head) in &self.durable {
            let topic = self.topics.get(&at.topic);
            let Some(topic) = topic.filter(|topic| peer.offering.offers(topic, region)) else {
                continue;
            };
            let acked = self.keeping.acked(&peer.identity, at).unwrap_or_default();
            let marks = self.keeping.marks.get(at).unwrap_or(&unmarked);
            let lacking = marks.outstanding(acked, *head, now.monotonic);
            let refused = peer_link.and_then(|peer_link| peer_link.refused(at)).map(str::to_owned);
            match topics.last_mut().filter(|(known, _)| known.topic == at.topic) {
                Some((known, sum)) => {
                    *sum = sum.and(lacking);
                    known.outstanding = (*sum).into();
                    known.refused = known.refused.take().or(refused);
                }
                None => {
                    let (name, outstanding) = (topic.name.clone(), lacking.into());
                    let lane = topic.lane;
                    topics
                        .push((LinkTopicView { topic: name, lane, outstanding, refused }, lacking));
                }
            }
        }
        topics
    }
}

/// The lanes that are named, or all.
fn named(lanes: &BTreeSet<Lane>) -> BTreeSet<Lane> {
    if lanes.is_empty() { LANES.into() } else { lanes.clone() }
}
