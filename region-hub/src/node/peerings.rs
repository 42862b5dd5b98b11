//! Which connection to each agent and hub is used, and when hubs are dialled.

use std::collections::BTreeMap;

use headland_event::{Incarnation, Monotonic, Now, Random, SeededRandom};
use headland_replication::frame::Goodbye;
use headland_replication::{DialerConfig, Ended, Identity, Peering, PeeringConfig, PeeringOutput};

use super::{Node, Output, PeerIndex};
use crate::config::HubConfig;
use crate::peer_link::{LinkId, Peer};

/// One peering for each agent and hub of the configuration.
pub(super) fn peerings(
    local: &Identity,
    config: &HubConfig,
    random: &mut SeededRandom,
) -> BTreeMap<Identity, Peering<LinkId>> {
    let agents = config.agents.iter().map(|agent| {
        let region = agent.region.as_ref().unwrap_or(&config.region).clone();
        (Identity::Agent { region, name: agent.name.clone() }, None)
    });
    let hubs = config.peers.iter().map(|peer| {
        let identity = Identity::Hub { region: peer.region.clone(), name: peer.name.clone() };
        (identity, peer.address.as_ref().map(|_| DialerConfig::default()))
    });
    let peering = |(peer, dials): (Identity, Option<DialerConfig>)| {
        let config = PeeringConfig::new(local.clone(), peer.clone(), dials);
        (peer, Peering::new(config, random.next_u64()))
    };
    agents.chain(hubs).map(peering).collect()
}

impl Node {
    /// Does what the peering with a node asks for.
    pub(super) fn settle(&mut self, now: Now, identity: &Identity) {
        while let Some(output) =
            self.peerings.get_mut(identity).and_then(|peering| peering.poll_output())
        {
            match output {
                PeeringOutput::Dial => {
                    let index = self.peers.iter().position(|peer| peer.identity == *identity);
                    self.outputs.extend(index.map(Output::Dial));
                }
                PeeringOutput::Close(link_id) => {
                    if let Some(known) = self.peer_links.get_mut(&link_id) {
                        known.link.close(Goodbye::Superseded);
                    }
                    self.drain(now, link_id);
                    self.on_disconnected(now, link_id);
                }
                PeeringOutput::Probe(link_id) => {
                    if let Some(known) = self.peer_links.get_mut(&link_id) {
                        known.link.probe(now.monotonic);
                    }
                    self.drain(now, link_id);
                }
            }
        }
    }

    /// The peer has said hello; whether its connection is the one to use.
    pub(super) fn is_kept(&mut self, now: Now, link_id: LinkId, life: Incarnation) -> bool {
        let Some(known) = self.peer_links.get(&link_id) else { return false };
        let identity = known.identity.clone();
        let Some(peering) = self.peerings.get_mut(&identity) else { return false };
        if let Some(kept) = peering.kept()
            && let Some(known) = self.peer_links.get(&kept)
        {
            peering.on_heard(known.link.heard_at(), kept);
        }
        peering.on_hello(now.monotonic, link_id, life);
        let is_kept = peering.kept() == Some(link_id);
        self.settle(now, &identity);
        is_kept
    }

    /// The peer's or our word that a connection is over, which its transport confirms later.
    pub(super) fn on_over(&mut self, now: Now, link_id: LinkId, ended: Ended) {
        self.on_down(now, link_id);
        // The next connection delivers it again, and is the one that is told how far it got.
        self.forget_held(link_id);
        self.acks.forget(link_id);
        self.on_leases_down(now, link_id);
        self.on_refills_down(now, link_id);
        let Some(known) = self.peer_links.get(&link_id) else { return };
        let identity = known.identity.clone();
        let Some(peering) = self.peerings.get_mut(&identity) else { return };
        // A peering that keeps another connection has not lost its agent.
        if peering.kept() == Some(link_id)
            && let Peer::Agent(grant) = &known.peer
        {
            self.promises.on_disconnected(now.monotonic, grant.agent());
        }
        peering.on_closed(now.monotonic, link_id, ended);
        self.part(&identity);
        self.settle(now, &identity);
    }

    /// A connection of a node is over: if it was the last one of its region's hubs, the region is
    /// not met any more.
    fn part(&mut self, identity: &Identity) {
        let Identity::Hub { region, .. } = identity else { return };
        let mut hubs = self
            .peerings
            .iter()
            .filter(|(peer, _)| matches!(peer, Identity::Hub { region: of, .. } if of == region));
        if !hubs.any(|(_, peering)| peering.kept().is_some()) {
            self.keeping.said.on_parted(region);
        }
    }

    /// The transport of a connection ended, `why` by its own words.
    pub fn on_lost(&mut self, now: Now, link_id: LinkId, ended: Ended, why: &str) {
        self.on_over(now, link_id, ended);
        self.on_failed(link_id, why);
        self.on_disconnected(now, link_id);
    }

    /// A connection ended.
    pub fn on_disconnected(&mut self, now: Now, link_id: LinkId) {
        self.on_over(now, link_id, Ended::Lost);
        let Some(old) = self.peer_links.remove(&link_id) else { return };
        tracing::info!(peer = %old.identity, %link_id, "disconnected");
    }

    /// A peer could not be dialled.
    pub fn on_dial_failed(&mut self, now: Now, peer: PeerIndex, why: &str) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        known.reach.on_failed(why);
        let identity = known.identity.clone();
        if let Some(peering) = self.peerings.get_mut(&identity) {
            peering.on_dial_failed(now.monotonic);
        }
        self.settle(now, &identity);
    }

    /// When a hub is to be dialled, the first of all. Agents are not.
    pub(super) fn dial_at(&self) -> Option<Monotonic> {
        let peerings = self.peers.iter().filter_map(|peer| self.peerings.get(&peer.identity));
        peerings.filter_map(Peering::poll_timeout).min()
    }

    /// Dials the peers whose time has come.
    pub(super) fn dial(&mut self, now: Now) {
        let peers: Vec<Identity> = self.peers.iter().map(|peer| peer.identity.clone()).collect();
        for identity in peers {
            if let Some(peering) = self.peerings.get_mut(&identity) {
                peering.on_timeout(now.monotonic);
            }
            self.settle(now, &identity);
        }
    }
}
