//! Leaving a region for another one: it stops acknowledging, and consumers go on elsewhere.
//!
//! That a region was left is a record of `_groups`, behind all that is known here of what groups
//! have read there, and ahead of what they read from now on. Its own hub, once it hears of it,
//! takes no topics of agents, who keep what they have, and no committed offsets; where it cannot be
//! told, it goes on until it is. What groups commit there meanwhile counts if they read further.

use std::time::Duration;

use headland_event::{BatchError, Now, Offset, PartitionIndex, RegionId, TopicPartition};
use headland_replication::fence::Fence;
use headland_replication::frame::Goodbye;
use headland_storage::Ticket;

use super::Node;
use super::recovery::owner;
use crate::failover::{FailoverAction, FailoverView};
use crate::records::groups_topic;
use crate::session::{Peer, SessionId};

/// Why a region is not left, or returned to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FailoverError {
    /// It is this hub's own.
    #[error("region {region} is this hub's own; ask the hub of the region to go on in")]
    OwnRegion {
        /// The region.
        region: RegionId,
    },
    /// This hub has no link to it.
    #[error("this hub has no link to region {region}; it has links to {known}")]
    NoRegion {
        /// The region.
        region: RegionId,
        /// Regions there are links to.
        known: String,
    },
    /// Nobody left it.
    #[error("region {region} was not left: there is nothing to return to")]
    NotLeft {
        /// The region.
        region: RegionId,
    },
    /// The disk has room for nothing but alerts.
    #[error("the disk is full: nothing has changed; ask again once there is room")]
    Full,
    /// It fits no batch.
    #[error("it cannot be written: {0}")]
    Batch(#[from] BatchError),
}

impl Node {
    /// Leaves a region for this one, or returns to it.
    ///
    /// # Errors
    /// [`FailoverError`] when that cannot be; nothing has changed.
    pub fn on_failover(
        &mut self,
        now: Now,
        region: &RegionId,
        action: FailoverAction,
    ) -> Result<Ticket, FailoverError> {
        let own = self.identity.region().clone();
        if *region == own {
            return Err(FailoverError::OwnRegion { region: own });
        }
        if !self.peers.iter().any(|peer| peer.identity.region() == region) {
            let known = self.peers.iter().map(|peer| peer.identity.region().as_str());
            let known = known.collect::<Vec<_>>().join(", ");
            return Err(FailoverError::NoRegion { region: region.clone(), known });
        }
        if self.fullness.is_full() {
            return Err(FailoverError::Full);
        }
        let fences = &self.consumers.fences;
        let to = match action {
            FailoverAction::Leave => Some(own),
            FailoverAction::Return if fences.left_for(region).is_some() => None,
            FailoverAction::Return => {
                return Err(FailoverError::NotLeft { region: region.clone() });
            }
        };
        let fence = fences.change(region, to);
        self.write_fence(&fence, now)?;
        self.take_fence(&fence, now);
        let ticket = self.composer.next_ticket();
        self.cut_commit();
        Ok(ticket)
    }

    /// Takes over that a region was left or returned to, in memory and in the state. When it is
    /// this one, its agents connect anew, which has their topics refused or taken again.
    pub(super) fn take_fence(&mut self, fence: &Fence, now: Now) {
        if !self.consumers.fences.take(fence) {
            return;
        }
        self.keep_fence(fence);
        if fence.fenced != *self.identity.region() {
            return;
        }
        match &fence.to {
            Some(to) => tracing::warn!(%to, "this region was left: nothing is acknowledged"),
            None => tracing::info!("this region is in use again"),
        }
        let agents = self.sessions.iter().filter(|(_, known)| matches!(known.peer, Peer::Agent(_)));
        for session in agents.map(|(session, _)| *session).collect::<Vec<SessionId>>() {
            if let Some(known) = self.sessions.get_mut(&session) {
                known.link.close(Goodbye::Reconfigured);
            }
            self.drain(now, session);
        }
    }

    fn keep_fence(&mut self, fence: &Fence) {
        let value = serde_json::to_vec(fence).unwrap_or_default();
        self.composer.set(owner("groups"), fence.key().into(), Some(value.into()));
    }

    /// Why this hub takes nothing of its agents and groups; `None` while its region is in use.
    pub(super) fn left(&self) -> Option<String> {
        let region = self.identity.region();
        let to = self.consumers.fences.left_for(region)?;
        Some(format!(
            "region {region} was left for {to}; to return, ask there: headland failback {region}"
        ))
    }

    /// Where this hub's own `_groups` ends, with what was composed by now.
    #[must_use]
    pub fn groups_end(&self) -> Offset {
        self.composer.end(&groups_partition())
    }

    /// Whether a region has this hub's `_groups` up to `end` on disk; `None` while it is not
    /// linked.
    #[must_use]
    pub fn has_heard(&self, region: &RegionId, end: Offset) -> Option<bool> {
        let peer = self.peers.iter().find(|peer| peer.identity.region() == region)?;
        self.kept(&peer.identity)?;
        let acked = self.keeping.acked(&peer.identity, &groups_partition());
        Some(acked.is_some_and(|acked| acked >= end))
    }

    /// What leaving a region or returning to it came to, after so long, where that is written
    /// before `end`.
    #[must_use]
    pub fn failover(&self, region: &RegionId, end: Offset, took: Duration) -> FailoverView {
        let peer = self.peers.iter().find(|peer| peer.identity.region() == region);
        let met = peer.filter(|peer| peer.reach.was_up());
        FailoverView {
            region: region.clone(),
            to: self.consumers.fences.left_for(region).cloned(),
            heard_there: self.has_heard(region, end) == Some(true),
            rpo_records: met.map(|peer| self.behind_records(peer)),
            rto_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            groups: self.groups(),
        }
    }
}

fn groups_partition() -> TopicPartition {
    TopicPartition::new(groups_topic(), PartitionIndex::new(0))
}
