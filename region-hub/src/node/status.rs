//! What the hub says about itself.

use std::collections::BTreeMap;
use std::time::Duration;

use headland_event::{
    AgentName, DropPolicy, EventTime, Incarnation, Monotonic, Offset, RegionId, TopicName,
};
use headland_replication::Identity;
use headland_replication::link::CopyCounts;
use headland_storage::MissingOffsets;
use serde::Serialize;

use super::links::KnownPeer;
use super::scrub::ScrubView;
use super::{LeaseStatus, Node};
use crate::global::Rules;
use crate::peer_link::PeerLink;

/// Whether a link carries data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// Both sides have said hello.
    Up,
    /// There is no connection.
    Down,
}

/// A link to another region's hub.
#[derive(Debug, Clone, Serialize)]
pub struct LinkStatus {
    /// The peer.
    pub peer: String,
    /// Its region.
    pub region: RegionId,
    /// Whether the link carries data.
    pub state: LinkState,
    /// Records here that the peer is not known to have. While the link is down it grows with the
    /// log; a peer not met since the start counts as having none.
    pub lag_records: u64,
    /// Records there that are not stored here; while the link is down, as last heard.
    pub behind_records: u64,
    /// The round trip in milliseconds, when it was measured.
    pub rtt_ms: Option<u64>,
}

/// An agent of this region.
#[derive(Debug, Clone, Serialize)]
pub struct AgentStatus {
    /// Its name.
    pub name: AgentName,
    /// Whether its link is up.
    pub connected: bool,
}

/// A hub's own view of itself.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The hub's region.
    pub region: RegionId,
    /// The region that this one was left for; absent while it is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_for: Option<RegionId>,
    /// Whether this region is in use, and who decides about it; absent without `[failover]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseStatus>,
    /// The life of its data directory.
    #[serde(serialize_with = "as_text")]
    pub incarnation: Incarnation,
    /// Whether the journal was taken up and peers are served.
    pub ready: bool,
    /// SHA-256 over the reconciled state, hexadecimal: equal on hubs with equal state.
    pub fingerprint: String,
    /// What is reconciled: the end of each actor's inventory.
    pub applied: BTreeMap<String, Offset>,
    /// Promised event time by topic, milliseconds.
    pub watermarks: BTreeMap<TopicName, EventTime>,
    /// Links to other regions.
    pub links: Vec<LinkStatus>,
    /// Agents of this region.
    pub agents: Vec<AgentStatus>,
    /// Regions of peers that may know yet how far groups had read before this hub began its life,
    /// while groups do not read on for want of that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups_wait_for: Vec<RegionId>,
    /// What damage took from the log, as far as that was met since the start.
    pub missing: Vec<MissingStatus>,
    /// How far the log is read through for more of it.
    pub scrub: ScrubView,
}

/// Records of a partition that are damaged.
#[derive(Debug, Clone, Serialize)]
pub struct MissingStatus {
    /// The partition.
    pub partition: String,
    /// Offset of the first one.
    pub from: Offset,
    /// Offset after the last one.
    pub until: Offset,
    /// Regions whose hubs were asked for it and do not have all of it either.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_at: Vec<RegionId>,
}

fn as_text<S: serde::Serializer>(value: &Incarnation, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

impl Node {
    /// The hub's view of itself. Cost: O(state) for the fingerprint's bytes at most.
    #[must_use]
    pub fn status(&self) -> Status {
        let reconciler = self.inventory.reconciler();
        let fingerprint = reconciler.fingerprint();
        Status {
            region: self.identity.region().clone(),
            left_for: self.left_for(self.identity.region()).cloned(),
            lease: self.lease_status(),
            incarnation: self.incarnation,
            ready: true,
            fingerprint: fingerprint.iter().map(|byte| format!("{byte:02x}")).collect(),
            applied: reconciler
                .applied()
                .iter()
                .map(|(actor, end)| (actor.to_string(), end))
                .collect(),
            watermarks: self
                .ingest
                .watermarks()
                .map(|(topic, watermark)| (topic.clone(), watermark))
                .collect(),
            links: self.peers.iter().map(|peer| self.link_status(peer)).collect(),
            agents: self
                .promises
                .agents()
                .map(|(name, connected)| AgentStatus { name: name.clone(), connected })
                .collect(),
            groups_wait_for: self.groups_wait_for(),
            missing: self.missing.offsets().map(|lost| self.missing_status(lost)).collect(),
            scrub: self.scrub_status().into(),
        }
    }

    fn missing_status(&self, lost: &MissingOffsets) -> MissingStatus {
        let MissingOffsets { partition, from, until } = lost;
        let (partition, not_at) = (partition.to_string(), self.not_at(lost));
        MissingStatus { partition, from: *from, until: *until, not_at }
    }

    fn link_status(&self, peer: &KnownPeer) -> LinkStatus {
        let identity = &peer.identity;
        let peer_link = self.kept(identity);
        let rtt = peer_link.and_then(|peer_link| peer_link.link.rtt());
        LinkStatus {
            peer: identity.to_string(),
            region: identity.region().clone(),
            state: if peer_link.is_some() { LinkState::Up } else { LinkState::Down },
            lag_records: self.lacking_records(peer),
            behind_records: self.behind_records(peer),
            rtt_ms: rtt.map(|rtt| u64::try_from(rtt.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// Records at a peer that are not stored here; while there is no link, as last heard.
    pub(super) fn behind_records(&self, peer: &KnownPeer) -> u64 {
        self.kept(&peer.identity).map_or_else(|| peer.lag.behind_records(), behind)
    }

    /// For how long this hub has not held all that each peer was known to have; zero while it does.
    pub fn link_lags(&self, now: Monotonic) -> impl Iterator<Item = (&RegionId, Duration)> {
        self.peers.iter().map(move |peer| {
            // A link that was just made knows of nothing yet, but what was missing still is.
            let is_complete = peer.lag.behind_records() == 0
                && self.kept(&peer.identity).is_some_and(|kept| behind(kept) == 0);
            let lag = if is_complete { Duration::ZERO } else { peer.reach.incomplete_for(now) };
            (peer.identity.region(), lag)
        })
    }

    /// What copies of alerts did on each link that there is, since it was made.
    pub fn link_copies(&self) -> impl Iterator<Item = (&RegionId, CopyCounts)> {
        self.peers.iter().filter_map(|peer| {
            let kept = self.kept(&peer.identity)?;
            Some((peer.identity.region(), kept.link.copies()))
        })
    }

    /// Agents and hubs that are connected.
    #[must_use]
    pub fn connected(&self) -> (usize, usize) {
        let kept = self.peerings.iter().filter(|(_, peering)| peering.kept().is_some());
        let (agents, hubs): (Vec<_>, Vec<_>) =
            kept.partition(|(identity, _)| matches!(identity, Identity::Agent { .. }));
        (agents.len(), hubs.len())
    }

    /// Durable records by topic.
    #[must_use]
    pub fn records(&self) -> BTreeMap<&TopicName, u64> {
        let mut records: BTreeMap<&TopicName, u64> = BTreeMap::new();
        for (partition, end) in &self.durable {
            *records.entry(&partition.topic).or_default() += end.get();
        }
        records
    }

    /// Records that are gone, by topic and by why, as their senders name them; of this run.
    pub fn dropped(&self) -> impl Iterator<Item = (&TopicName, DropPolicy, u64)> {
        self.gone.counts().iter().map(|((topic, policy), count)| (topic, *policy, *count))
    }

    /// The rules over all regions, if there are any.
    #[must_use]
    pub const fn rules(&self) -> Option<&Rules> {
        self.rules.as_ref()
    }

    /// Reconciled inventory.
    #[must_use]
    pub const fn inventory(&self) -> &headland_reconcile::Reconciler {
        self.inventory.reconciler()
    }

    /// Every topic of the hub.
    #[must_use]
    pub const fn topics(&self) -> &crate::topics::Topics {
        &self.topics
    }
}

/// Records there that are not stored here. Heads are a peer's word, so their sum may be anything.
fn behind(peer_link: &PeerLink) -> u64 {
    let lags = peer_link.link.subscriptions().map(|subscription| subscription.lag_records());
    lags.fold(0, u64::saturating_add)
}
