//! Whether this hub's region is in use, and regions that are left without an operator.
//!
//! What decides is [`headland_replication::lease`]; here it meets links, the journal and fences.
//! A hub with `[failover]` offers a topic that never has a record, by which its peers know that it
//! reads what is said of leases: a hub of an earlier version would give up the link.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use headland_event::{Alert, Monotonic, NodeRule, Now, RegionId};
use headland_replication::fence::Fence;
use headland_replication::frame::{Announce, Goodbye, LEASES_TOPIC};
use headland_replication::lease::{
    Asking, LeaseConfig, LeaseMessage, LeaseOutput, Leases, Memory, Serving, Voted,
};
use headland_storage::{StateStore, Ticket};
use serde::Serialize;

use super::groups::json;
use super::recovery::owner;
use super::{Node, RecoveryError, StartError};
use crate::config::{Failback, FailoverConfig};
use crate::failover::FailoverAction;
use crate::peer_link::{LinkId, Peer};
use crate::records::leases_topic;

/// The key of the life in which all is remembered that was said; no region has such a name.
pub(crate) const LEASES_MEMORY: &[u8] = b"/memory";

/// By how much regions may lack something of each other and still be in order: under load there is
/// always something on its way.
const IN_ORDER: Duration = Duration::from_secs(2);

/// How long agents wait for an answer while a hub that has just started has no lease yet: it is
/// there as soon as its links are, and agents of several hubs would leave one that refuses them.
/// They leave one that does not answer for 3 s.
const START_WAIT: Duration = Duration::from_secs(2);

/// Most offers of agents that wait; those beyond are refused, and made again on a new connection.
const OFFERS_LIMIT: usize = 65_536;

/// Offers of agents that are answered once this region has a lease, or has waited for one.
#[derive(Debug)]
struct Lobby {
    until: Monotonic,
    offers: VecDeque<(LinkId, Announce)>,
}

/// What a hub with `[failover]` has.
#[derive(Debug)]
pub(super) struct Leasing {
    core: Leases,
    /// What has to be durable before more is said, in order.
    keeping: VecDeque<Ticket>,
    /// Over which connection a region's hub is told.
    links: BTreeMap<RegionId, LinkId>,
    asking: Asking,
    regions: Vec<RegionId>,
    failback: Option<Duration>,
    /// Since when a region that was left is in order.
    calm: BTreeMap<RegionId, Monotonic>,
    is_in_use: bool,
    lobby: Lobby,
    left: u64,
}

/// How a hub with `[failover]` does.
#[derive(Debug, Clone, Serialize)]
pub struct LeaseStatus {
    /// Whether this region is in use only by a lease.
    pub automatic: bool,
    /// Whether it is in use, as far as leases go.
    pub in_use: bool,
    /// Regions that decide.
    pub regions: Vec<RegionId>,
    /// Those of the others that are linked, take part, and have the same list.
    pub voters: Vec<RegionId>,
    /// Whether this hub votes: after its disk was lost or restored it does once all have told it
    /// what was said.
    pub votes: bool,
    /// Regions that were left by what this hub has seen decided, since its start.
    pub left: u64,
}

impl Leasing {
    fn new(
        config: &FailoverConfig,
        own: &RegionId,
        core: impl FnOnce(LeaseConfig) -> Leases,
        now: Monotonic,
    ) -> Self {
        let FailoverConfig { regions, automatic, after, failback, failback_after } = config;
        let asking = if *automatic { Asking::Automatic } else { Asking::Never };
        let (own, after) = (own.clone(), after.get());
        let core = core(LeaseConfig { own, regions: regions.clone(), asking, after });
        // One that asked before is in use only once others know that it asks no more.
        let is_in_use = core.is_held(now);
        Self {
            core,
            keeping: VecDeque::new(),
            links: BTreeMap::new(),
            asking,
            regions: regions.clone(),
            failback: (*failback == Failback::Automatic).then(|| failback_after.get()),
            calm: BTreeMap::new(),
            is_in_use,
            lobby: Lobby { until: now.after(START_WAIT), offers: VecDeque::new() },
            left: 0,
        }
    }
}

impl Node {
    /// Takes up what this hub has said of leases. One without `[failover]` goes on only if nobody
    /// was told, or enough have been told otherwise since, that its region asks for leases.
    pub(super) fn restore_leases(
        &mut self,
        config: Option<&FailoverConfig>,
        state: &impl StateStore,
        now: Monotonic,
    ) -> Result<(), StartError> {
        let (mut kept, mut life) = (Vec::new(), None);
        let said = state.scan(&owner("leases"), b"").map_err(RecoveryError::State)?;
        for (key, value) in said {
            if key.as_ref() == LEASES_MEMORY {
                life = Some(value);
                continue;
            }
            let voted: Voted = serde_json::from_slice(&value)
                .map_err(|source| RecoveryError::Json { owner: owner("leases"), source })?;
            kept.push(voted);
        }
        let own = self.identity.region();
        let Some(config) = config else {
            // Those that granted it a lease would miss it, and go on for it while it is in use.
            let is_asked = |said: &Voted| said.region == *own && said.leased.is_some();
            let region = kept.iter().find(|said| is_asked(said)).map(|said| said.region.clone());
            return region.map_or(Ok(()), |region| Err(StartError::StillAutomatic { region }));
        };
        let is_whole = life.is_some_and(|life| *life == *self.incarnation.to_string().as_bytes());
        let memory = if is_whole { Memory::Whole } else { Memory::Doubtful };
        let fences = self.consumers.fences.clone();
        // Not drawn: the schedule of all else is that of a hub without leases.
        let seed = self.incarnation.nonce();
        let core = |config| Leases::new(config, fences, (kept, memory), seed, now);
        self.leases = Some(Leasing::new(config, own, core, now));
        Ok(())
    }

    /// Whether this hub may acknowledge now, as far as leases go.
    pub(super) fn is_leased(&mut self, now: Now) -> bool {
        let Some(leases) = &mut self.leases else { return true };
        leases.core.on_clocks(now);
        leases.core.is_held(now.monotonic)
    }

    /// Why this hub takes nothing of its agents and groups for want of a lease.
    pub(super) fn unleased(&self) -> Option<String> {
        let leases = self.leases.as_ref().filter(|leases| !leases.is_in_use)?;
        let regions = leases.regions.iter().map(RegionId::as_str).collect::<Vec<_>>().join(", ");
        let region = self.identity.region();
        if leases.asking == Asking::Never {
            return Some(format!(
                "region {region} was automatic before: it is in use without a lease once it has \
                 told a majority of {regions}"
            ));
        }
        Some(format!(
            "region {region} holds no lease, which a majority of {regions} grants; it goes on once \
             it is linked to enough of them"
        ))
    }

    /// Tells a hub of the list that this one reads what is said of leases.
    pub(super) fn offer_leases(&mut self, link_id: LinkId) {
        let Some(leases) = &self.leases else { return };
        let Some(known) = self.peer_links.get_mut(&link_id) else { return };
        if !leases.regions.contains(known.identity.region()) {
            return;
        }
        known.offer_word(self.identity.region(), leases_topic());
    }

    /// A hub reads what is said of leases; whether that is what it offers. There is nothing to
    /// take of it.
    pub(super) fn on_leases_offered(
        &mut self,
        now: Now,
        link_id: LinkId,
        announce: &Announce,
    ) -> bool {
        let Some(known) = self.peer_links.get_mut(&link_id) else { return false };
        if !known.take_word(announce, LEASES_TOPIC) {
            return false;
        }
        let identity = known.identity.clone();
        let kept = self.peerings.get(&identity).and_then(|peering| peering.kept());
        let is_own = announce.offer.origin == *identity.region();
        if let Some(leases) = self.leases.as_mut().filter(|_| is_own && kept == Some(link_id)) {
            leases.links.insert(identity.region().clone(), link_id);
            leases.core.on_up(now.monotonic, identity.region());
            self.work_leases(now);
        }
        true
    }

    /// A connection is over.
    pub(super) fn on_leases_down(&mut self, now: Now, link_id: LinkId) {
        let Some(leases) = &mut self.leases else { return };
        leases.lobby.offers.retain(|(of, _)| *of != link_id);
        let of = leases.links.iter().find(|(_, known)| **known == link_id);
        let Some(region) = of.map(|(region, _)| region.clone()) else { return };
        leases.links.remove(&region);
        leases.core.on_down(now.monotonic, &region);
        self.work_leases(now);
    }

    /// A hub has said something of leases.
    pub(super) fn on_lease_message(&mut self, now: Now, link_id: LinkId, message: LeaseMessage) {
        let Some(leases) = &mut self.leases else { return };
        let Some(known) = self.peer_links.get(&link_id) else { return };
        let region = known.identity.region();
        if leases.links.get(region) == Some(&link_id) {
            leases.core.on_message(now.monotonic, region, message);
            self.work_leases(now);
        }
    }

    /// A fence holds from now on.
    pub(super) fn on_lease_fence(&mut self, now: Now, fence: &Fence) {
        if let Some(leases) = &mut self.leases {
            leases.core.on_fence(now.monotonic, fence);
            self.work_leases(now);
        }
    }

    /// What was composed by then is durable.
    pub(super) fn on_leases_kept(&mut self, now: Now, ticket: Ticket) {
        let Some(leases) = &mut self.leases else { return };
        let mut is_news = false;
        while leases.keeping.pop_front_if(|kept| *kept <= ticket).is_some() {
            leases.core.on_kept(now.monotonic);
            is_news = true;
        }
        if is_news {
            self.work_leases(now);
        }
    }

    /// Asks for leases, looks after other regions, and returns to those that are back.
    pub(super) fn look_after_leases(&mut self, now: Now) {
        let Some(leases) = &mut self.leases else { return };
        let is_full = self.fullness.is_full();
        leases.core.on_serving(if is_full { Serving::Unable } else { Serving::Able });
        leases.core.on_clocks(now);
        leases.core.on_timeout(now.monotonic);
        let is_over = leases.lobby.until <= now.monotonic;
        self.work_leases(now);
        if is_over {
            self.answer_lobby(now);
        }
        self.return_to_calm(now);
    }

    /// When [`Self::look_after_leases`] wants to be called.
    pub(super) fn leases_at(&self) -> Option<Monotonic> {
        let leases = self.leases.as_ref()?;
        let calm = leases.calm.values().copied();
        let due = leases.failback.and_then(|after| Some(calm.min()?.after(after)));
        let lobby = (!leases.lobby.offers.is_empty()).then_some(leases.lobby.until);
        due.into_iter().chain(lobby).chain(leases.core.poll_timeout()).min()
    }

    fn work_leases(&mut self, now: Now) {
        while let Some(output) = self.leases.as_mut().and_then(|leases| leases.core.poll_output()) {
            match output {
                LeaseOutput::Send(region, message) => self.say_of_leases(now, &region, message),
                LeaseOutput::Keep(voted) => {
                    self.keep_of_leases(voted.region.to_string().into(), json(&voted));
                }
                LeaseOutput::KeepMemory => {
                    let life = self.incarnation.to_string().into();
                    self.keep_of_leases(Bytes::from_static(LEASES_MEMORY), life);
                }
                LeaseOutput::Decided(fence) => self.on_decided(now, &fence),
                LeaseOutput::Began => {
                    tracing::info!("this region holds a lease: it is in use");
                    self.change_use(now);
                }
                LeaseOutput::Ended => {
                    tracing::warn!("this region holds no lease: agents and groups are refused");
                    self.change_use(now);
                }
                LeaseOutput::Disagrees(region) => tracing::error!(
                    %region, "[failover] regions is another list there: its votes do not count"
                ),
            }
        }
    }

    fn say_of_leases(&mut self, now: Now, region: &RegionId, message: LeaseMessage) {
        let link_id = self.leases.as_ref().and_then(|leases| leases.links.get(region)).copied();
        let Some(link_id) = link_id else { return };
        if let Some(known) = self.peer_links.get_mut(&link_id) {
            known.link.say(message);
        }
        self.drain(now, link_id);
    }

    fn keep_of_leases(&mut self, key: Bytes, value: Bytes) {
        self.composer.set(owner("leases"), key, Some(value));
        let ticket = self.composer.next_ticket();
        if let Some(leases) = &mut self.leases {
            leases.keeping.push_back(ticket);
        }
    }

    /// A region is left, by the word of a majority.
    fn on_decided(&mut self, now: Now, fence: &Fence) {
        let held = self.consumers.fences.held(&fence.fenced);
        if held.is_some_and(|held| held.number >= fence.number) || self.fullness.is_full() {
            // While the disk is full it cannot be written; what was decided stays so, and is found
            // again by the next attempt, here or elsewhere.
            return;
        }
        let Fence { fenced, number, to } = fence;
        let to_text = to.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::error!(region = %fenced, to = to_text, number, "a region is lost: it was left");
        if let Err(error) = self.write_fence(fence, now) {
            return tracing::error!(%error, "what was decided fits no batch");
        }
        let values =
            [("region", fenced.to_string()), ("to", to_text), ("number", number.to_string())];
        let alert = Alert::of_node(
            NodeRule::Failover,
            (fenced.to_string(), number.to_string()),
            now.wall,
            values,
        );
        self.raise(&alert, now);
        if let Some(leases) = &mut self.leases {
            leases.left = leases.left.saturating_add(1);
        }
        self.take_fence(fence, now);
    }

    /// This region is in use from now on, or is not: its agents connect anew, which has their
    /// topics taken or refused.
    fn change_use(&mut self, now: Now) {
        let Some(leases) = &mut self.leases else { return };
        leases.is_in_use = leases.core.is_held(now.monotonic);
        self.part_with_agents(now);
        self.answer_lobby(now);
    }

    /// Whether an agent's offer is answered later: this hub has just started, and has no lease yet.
    pub(super) fn waits_for_lease(
        &mut self,
        now: Monotonic,
        link_id: LinkId,
        announce: &Announce,
    ) -> bool {
        let is_left = self.left_for(self.identity.region()).is_some();
        let Some(leases) = self.leases.as_mut().filter(|leases| !leases.is_in_use) else {
            return false;
        };
        let Lobby { until, offers } = &mut leases.lobby;
        if is_left || *until <= now || offers.len() >= OFFERS_LIMIT {
            return false;
        }
        offers.push_back((link_id, announce.clone()));
        true
    }

    /// Answers offers that waited, in their order.
    fn answer_lobby(&mut self, now: Now) {
        let Some(leases) = &mut self.leases else { return };
        // None waits again.
        leases.lobby.until = leases.lobby.until.min(now.monotonic);
        for (link_id, announce) in std::mem::take(&mut leases.lobby.offers) {
            self.on_announced(now, link_id, &announce);
            self.drain(now, link_id);
        }
    }

    /// Asks every agent to connect anew, but for those that have no answer yet.
    pub(super) fn part_with_agents(&mut self, now: Now) {
        let offers = self.leases.iter().flat_map(|leases| &leases.lobby.offers);
        let waiting: BTreeSet<LinkId> = offers.map(|(link_id, _)| *link_id).collect();
        let agents =
            self.peer_links.iter().filter(|(_, known)| matches!(known.peer, Peer::Agent(_)));
        let agents = agents.filter(|(link_id, _)| !waiting.contains(link_id));
        for link_id in agents.map(|(link_id, _)| *link_id).collect::<Vec<LinkId>>() {
            if let Some(known) = self.peer_links.get_mut(&link_id) {
                known.link.close(Goodbye::Reconfigured);
            }
            self.drain(now, link_id);
        }
    }

    /// Returns to regions that were left for this one and have been in order for long enough.
    fn return_to_calm(&mut self, now: Now) {
        let Some(after) = self.leases.as_ref().and_then(|leases| leases.failback) else { return };
        let regions = self.leases.as_ref().map(|leases| leases.regions.clone());
        for region in regions.unwrap_or_default() {
            let is_calm = self.is_calm(now, &region);
            let Some(leases) = &mut self.leases else { return };
            if !is_calm {
                leases.calm.remove(&region);
                continue;
            }
            let since = *leases.calm.entry(region.clone()).or_insert(now.monotonic);
            if now.monotonic.since(since) < after {
                continue;
            }
            leases.calm.remove(&region);
            match self.on_failover(now, &region, FailoverAction::Return) {
                Ok(_) => tracing::info!(%region, "is back in order: it is returned to"),
                Err(error) => tracing::warn!(%region, %error, "cannot return to it"),
            }
        }
    }

    /// Whether a region that was left for this one could be in use again without a loss.
    fn is_calm(&self, now: Now, region: &RegionId) -> bool {
        let own = self.identity.region();
        let held = self.consumers.fences.held(region);
        let is_ours = region != own && held.is_some_and(|fence| fence.to.as_ref() == Some(own));
        // What an operator has left, an operator returns to.
        let is_voted = self.leases.as_ref().is_some_and(|leases| leases.core.is_voted(region));
        if !is_ours
            || !is_voted
            || self.left().is_some()
            || !self.consumers.fences.is_answered(region)
        {
            return false;
        }
        let lags = self.link_lags(now.monotonic).find(|(of, _)| *of == region);
        let has_all = lags.is_some_and(|(_, lag)| lag < IN_ORDER);
        let link = self.peers.iter().find(|peer| peer.identity.region() == region);
        has_all && link.is_some_and(|peer| self.is_in_order(peer, now))
    }

    /// Whether a decision about leaving a region may be under way or made.
    pub(super) fn is_decision_begun(&self, now: Now, region: &RegionId) -> bool {
        let leases = self.leases.as_ref();
        leases.is_some_and(|leases| leases.core.is_begun(now.monotonic, region))
    }

    /// How long ago this hub granted a region a lease; `None` when it never did in this run.
    pub(super) fn granted_ago(&self, region: &RegionId, now: Monotonic) -> Option<Duration> {
        let granted = self.leases.as_ref()?.core.granted_at(region)?;
        Some(now.since(granted))
    }

    /// How leases do; `None` without `[failover]`.
    #[must_use]
    pub fn lease_status(&self) -> Option<LeaseStatus> {
        let leases = self.leases.as_ref()?;
        Some(LeaseStatus {
            automatic: leases.asking == Asking::Automatic,
            in_use: leases.is_in_use,
            regions: leases.regions.clone(),
            voters: leases.core.voters().cloned().collect(),
            votes: leases.core.memory() == Memory::Whole,
            left: leases.left,
        })
    }
}
