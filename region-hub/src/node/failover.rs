//! Leaving a region for another one: it stops acknowledging, and consumers go on elsewhere.
//!
//! That a region was left is a record of `_groups`, behind all that is known here of what groups
//! have read there, and ahead of what they read from now on. Its own hub, once it hears of it,
//! takes no topics of agents, who keep what they have, and no committed offsets; where it cannot be
//! told, it goes on until it is. What groups commit there meanwhile counts if they read further.
//!
//! That hub answers in its own `_groups` with the fence it holds to, behind the last commit that it
//! took: who has the answer here has all that groups have committed there.

use std::time::Duration;

use headland_event::{BatchError, Now, RegionId};
use headland_replication::fence::Fence;
use headland_storage::{StateStore, Ticket};

use super::groups::json;
use super::recovery::owner;
use super::{Node, RecoveryError};
use crate::failover::{FailoverAction, FailoverStep, FailoverView};

/// How long a region that is linked may take to answer. It is many round trips; an operator who
/// has read that it did not answer can ask again.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(20);

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
    /// Nobody ever left it.
    #[error("region {region} was not left: there is nothing to return to")]
    NotLeft {
        /// The region.
        region: RegionId,
    },
    /// Groups go on in another region than this one.
    #[error(
        "region {region} was left for {to}: ask there, so that groups come back with what they \
         have read; if {to} is lost: headland failback {region} --force"
    )]
    LeftFor {
        /// The region.
        region: RegionId,
        /// The region it was left for.
        to: RegionId,
    },
    /// This hub's own region was left: nobody can go on in it.
    #[error("nothing has changed: {0}")]
    Left(String),
    /// The regions of `[failover]` are about to leave it, or have, by themselves.
    #[error(
        "nothing has changed: the regions of [failover] have begun to leave region {region} by \
         themselves; look with headland link list where it was left for, and ask again then"
    )]
    Begun {
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
    /// Leaves a region for this one, or returns to it; asked for again it changes nothing. `None`
    /// when there is nothing to become durable, because the region has answered already.
    ///
    /// # Errors
    /// [`FailoverError`] when that cannot be; nothing has changed.
    pub fn on_failover(
        &mut self,
        now: Now,
        region: &RegionId,
        action: FailoverAction,
    ) -> Result<Option<Ticket>, FailoverError> {
        self.check_failover(region, action)?;
        let to = self.goes_to(action);
        let fences = &self.consumers.fences;
        let held = fences.held(region).filter(|held| held.to == to);
        if held.is_some() && fences.is_answered(region) {
            return Ok(None);
        }
        // While there is no answer the same is said again: a hub that was of an earlier version
        // when it heard of it answers then.
        let is_new = held.is_none() && action != FailoverAction::ForceReturn;
        if is_new && self.is_decision_begun(now, region) {
            return Err(FailoverError::Begun { region: region.clone() });
        }
        let fence = held.cloned().unwrap_or_else(|| fences.change(region, to));
        // Where both regions were left for each other, returning ends both.
        let own = self.identity.region();
        let own_held = fences.held(own).filter(|held| held.to.as_ref() == Some(region));
        let own_back = own_held.filter(|_| fence.to.is_none()).map(|_| fences.change(own, None));
        for fence in own_back.iter().chain([&fence]) {
            self.write_fence(fence, now)?;
            self.take_fence(fence, now);
        }
        let ticket = self.composer.next_ticket();
        self.cut_commit();
        Ok(Some(ticket))
    }

    fn check_failover(
        &self,
        region: &RegionId,
        action: FailoverAction,
    ) -> Result<(), FailoverError> {
        let own = self.identity.region();
        let is_own = region == own;
        if is_own && action == FailoverAction::Leave {
            return Err(FailoverError::OwnRegion { region: own.clone() });
        }
        if !is_own && !self.peers.iter().any(|peer| peer.identity.region() == region) {
            let known = self.peers.iter().map(|peer| peer.identity.region().as_str());
            let known = known.collect::<Vec<_>>().join(", ");
            return Err(FailoverError::NoRegion { region: region.clone(), known });
        }
        if self.fullness.is_full() {
            return Err(FailoverError::Full);
        }
        let held = self.consumers.fences.held(region);
        match action {
            FailoverAction::Leave => {
                self.left().map_or(Ok(()), |why| Err(FailoverError::Left(why)))
            }
            FailoverAction::Return | FailoverAction::ForceReturn => {
                let not_left = || FailoverError::NotLeft { region: region.clone() };
                let to = held.ok_or_else(not_left)?.to.as_ref().filter(|to| *to != own);
                match to.filter(|_| action == FailoverAction::Return) {
                    Some(to) => {
                        Err(FailoverError::LeftFor { region: region.clone(), to: to.clone() })
                    }
                    None => Ok(()),
                }
            }
        }
    }

    /// The region that a region is left for by an action; `None` when it is in use after it.
    fn goes_to(&self, action: FailoverAction) -> Option<RegionId> {
        match action {
            FailoverAction::Leave => Some(self.identity.region().clone()),
            FailoverAction::Return | FailoverAction::ForceReturn => None,
        }
    }

    /// Hears of a fence from a region's `_groups`. One of this hub's own region is answered with
    /// what holds; an answer is about the region it comes from, and no answer follows it.
    pub(super) fn hear_fence(&mut self, origin: &RegionId, fence: &Fence, now: Now) {
        self.take_fence(fence, now);
        if fence.fenced == *self.identity.region() {
            let held = self.consumers.fences.held(&fence.fenced).cloned();
            if let Some(Err(error)) = held.map(|held| self.write_fence(&held, now)) {
                tracing::error!(%error, "the answer to a failover fits no batch");
            }
        } else if fence.fenced == *origin {
            self.consumers.fences.on_answer(fence);
            self.composer.set(owner("fences"), origin.to_string().into(), Some(json(fence)));
        }
    }

    /// Takes up what regions have answered.
    pub(super) fn restore_fences(&mut self, state: &impl StateStore) -> Result<(), RecoveryError> {
        for (_, value) in state.scan(&owner("fences"), b"")? {
            let fence = serde_json::from_slice(&value)
                .map_err(|source| RecoveryError::Json { owner: owner("fences"), source })?;
            self.consumers.fences.on_answer(&fence);
        }
        Ok(())
    }

    /// Takes over that a region was left or returned to, in memory and in the state. When this one
    /// stops or goes on by it, its agents connect anew, which has their topics refused or taken
    /// again.
    pub(super) fn take_fence(&mut self, fence: &Fence, now: Now) {
        let before = self.left_for(self.identity.region()).cloned();
        if !self.consumers.fences.take(fence) {
            return;
        }
        self.composer.set(owner("groups"), fence.key().into(), Some(json(fence)));
        self.on_lease_fence(now, fence);
        let after = self.left_for(self.identity.region());
        if before.as_ref() == after {
            return;
        }
        match after {
            Some(to) => tracing::warn!(%to, "this region was left: it takes nothing of agents"),
            None => tracing::info!("this region is in use again"),
        }
        self.part_with_agents(now);
    }

    /// Why this hub takes nothing of its agents and groups; `None` while its region is in use.
    pub(super) fn left(&self) -> Option<String> {
        let region = self.identity.region();
        let Some(to) = self.left_for(region) else { return self.unleased() };
        Some(format!(
            "region {region} was left for {to}; to return, ask there: headland failback {region}; \
             if {to} is lost, ask here: headland failback {region} --force"
        ))
    }

    /// The region that another one, or this one, was left for; `None` while it is in use.
    #[must_use]
    pub fn left_for(&self, region: &RegionId) -> Option<&RegionId> {
        self.consumers.fences.left_for(region)
    }

    /// What to tell an operator who has waited so long; a region that is linked may answer still.
    #[must_use]
    pub fn poll_failover(
        &self,
        region: &RegionId,
        action: FailoverAction,
        waited: Duration,
    ) -> FailoverStep {
        if waited < ANSWERED_WITHIN && self.is_answer_due(region) {
            return FailoverStep::LookAgain(LOOK_EVERY);
        }
        FailoverStep::Done(self.failover(region, action, waited))
    }

    /// Whether a region is linked and has not answered yet.
    fn is_answer_due(&self, region: &RegionId) -> bool {
        let peer = self.peers.iter().find(|peer| peer.identity.region() == region);
        let linked = peer.is_some_and(|peer| self.kept(&peer.identity).is_some());
        linked && !self.consumers.fences.is_answered(region)
    }

    /// What leaving a region or returning to it came to, after so long.
    fn failover(&self, region: &RegionId, action: FailoverAction, took: Duration) -> FailoverView {
        let peer = self.peers.iter().find(|peer| peer.identity.region() == region);
        let met = peer.filter(|peer| peer.reach.was_up());
        let to = self.left_for(region).cloned();
        let is_own = region == self.identity.region();
        let answered = is_own || self.consumers.fences.is_answered(region);
        FailoverView {
            region: region.clone(),
            heard_there: answered && to == self.goes_to(action),
            to,
            rpo_records: met.map(|peer| self.behind_records(peer)),
            rto_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            groups: self.groups(),
        }
    }
}
