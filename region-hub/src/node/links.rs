//! Links to configured hubs: up, down, and what an operator hears of it.

use std::collections::BTreeMap;
use std::time::Duration;

use headland_event::{Alias, Lane, Monotonic, Now, Offset};
use headland_platform::config::SizeText;
use headland_replication::latency::Latencies;
use headland_replication::route::Naming;
use headland_replication::{Filter, Flow, Identity, Lag, Marks, Peering};

use super::reach::{Notice, Reach};
use super::{Node, PeerIndex};
use crate::config::PeerConfig;
use crate::peer_link::{Forwarding, LinkId, Offering, PeerLink};

/// How often it is noted whether everything of a peer is here: a scan of all channels each time.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// A configured hub of another region.
#[derive(Debug)]
pub(super) struct KnownPeer {
    pub(super) identity: Identity,
    pub(super) offering: Offering,
    /// What its topics are called here.
    pub(super) naming: Naming,
    /// Groups whose committed offsets are taken over from it.
    pub(super) groups: Filter,
    /// What it is sent.
    pub(super) flow: Flow,
    /// Where it is dialled; absent when it dials us.
    pub(super) address: Option<String>,
    pub(super) reach: Reach,
    /// How far the hubs are apart, link or no link.
    pub(super) lag: Lag,
    /// When the link was up last.
    pub(super) up_at: Option<Monotonic>,
    /// When it acknowledged something last.
    pub(super) acked_at: Option<Monotonic>,
    /// How long records took to it that were written in this run, by lane.
    pub(super) latencies: BTreeMap<Lane, Latencies>,
}

impl KnownPeer {
    /// A hub of the configuration that was not heard of yet.
    pub(super) fn new(config: &PeerConfig, now: Now) -> Self {
        let PeerConfig { region, name, alias, names, address, forward, .. } = config;
        let PeerConfig { topics, exclude, groups, exclude_groups, rate, .. } = config;
        let alias = alias.as_ref().map_or_else(|| Alias::from(region), |of| of.get_ref().clone());
        let forwarding = if *forward { Forwarding::All } else { Forwarding::Own };
        let address = address.as_ref().map(|address| address.get_ref().clone());
        let why = address.as_ref().map_or("it has not dialled", |_| "no answer yet");
        let bytes_per_second = rate.map(SizeText::get);
        Self {
            identity: Identity::Hub { region: region.clone(), name: name.clone() },
            offering: Offering { forwarding, topics: Filter::new(topics.clone(), exclude.clone()) },
            naming: Naming::new(alias, *names),
            groups: Filter::new(groups.clone(), exclude_groups.clone()),
            flow: Flow { bytes_per_second, ..Flow::default() },
            reach: Reach::new(now.monotonic, why),
            address,
            lag: Lag::new(),
            up_at: None,
            acked_at: None,
            latencies: BTreeMap::new(),
        }
    }

    /// Records of a partition between two offsets are durable there.
    pub(super) fn on_arrived(
        &mut self,
        now: Monotonic,
        (lane, marks): (Lane, &Marks),
        (from, until): (Offset, Offset),
    ) {
        for (records, written) in marks.written(from, until) {
            self.latencies.entry(lane).or_default().on_acked(now, now.since(written), records);
        }
    }

    fn tell(&self, notice: Notice) {
        let peer = &self.identity;
        let place = self.address.as_deref().map_or_else(String::new, |at| format!(" at {at}"));
        match notice {
            Notice::Away { since, why } => {
                let seconds = since.as_secs();
                tracing::warn!("peer {peer}{place} not reached for {seconds} s: {why}");
            }
            Notice::Back { after } => {
                tracing::info!("peer {peer}{place} reached after {} s", after.as_secs());
            }
        }
    }
}

impl Node {
    /// The address of a peer in the configuration is the shell's business; this is who it must be.
    #[must_use]
    pub fn peer(&self, index: PeerIndex) -> Option<&Identity> {
        self.peers.get(index).map(|peer| &peer.identity)
    }

    /// The connection to a node that carries data.
    pub(super) fn kept(&self, identity: &Identity) -> Option<&PeerLink> {
        let kept = self.peerings.get(identity).and_then(Peering::kept)?;
        self.peer_links.get(&kept)
    }

    /// Whether a connection is one that this hub still uses.
    #[must_use]
    pub fn is_connected(&self, peer_link: LinkId) -> bool {
        self.peer_links.contains_key(&peer_link)
    }

    /// A connection carries data from now on.
    pub(super) fn on_up(&mut self, now: Now, peer_link: LinkId) {
        let Some(identity) = self.peer_links.get(&peer_link).map(|known| &known.identity) else {
            return;
        };
        let peer = self.peers.iter_mut().find(|peer| peer.identity == *identity);
        let Some(peer) = peer else { return };
        peer.up_at = Some(now.monotonic);
        if let Some(notice) = peer.reach.on_up(now.monotonic) {
            peer.tell(notice);
        }
        let flow = peer.flow.clone();
        if let Some(known) = self.peer_links.get_mut(&peer_link) {
            known.link.set_flow(now.monotonic, flow);
        }
    }

    /// A connection ended with this word, or could not be used: what an operator hears while the
    /// peer is away.
    pub fn on_failed(&mut self, peer_link: LinkId, why: &str) {
        let Some(known) = self.peer_links.get(&peer_link) else { return };
        let peer = self.peers.iter_mut().find(|peer| peer.identity == known.identity);
        if let Some(peer) = peer {
            peer.reach.on_failed(why);
        }
    }

    /// A connection is about to be forgotten: keeps what is known of the peer, if it was in use.
    pub(super) fn on_down(&mut self, now: Now, peer_link: LinkId) {
        let Some(known) = self.peer_links.get(&peer_link) else { return };
        let is_kept = self.peerings.get(&known.identity).and_then(Peering::kept) == Some(peer_link);
        let peer = self.peers.iter_mut().find(|peer| peer.identity == known.identity);
        let Some(peer) = peer.filter(|_| is_kept) else { return };
        peer.lag.on_link(&known.link);
        peer.reach.on_down(now.monotonic, peer.lag.behind_records());
    }

    /// Notes of which peers everything is here, and says which are away; ends what groups wait for.
    pub(super) fn watch_peers(&mut self, now: Now) {
        let is_due = self.watch_at <= now.monotonic;
        for at in 0..self.peers.len() {
            let Some(peer) = self.peers.get_mut(at) else { continue };
            let kept = self.peerings.get(&peer.identity).and_then(Peering::kept);
            let peer_link = kept.and_then(|kept| self.peer_links.get(&kept));
            if let Some(peer_link) = peer_link.filter(|_| is_due) {
                peer.lag.on_link(&peer_link.link);
                peer.reach.on_behind(now.monotonic, peer.lag.behind_records());
            }
            if let Some(notice) = peer.reach.on_timeout(now.monotonic) {
                peer.tell(notice);
            }
        }
        if is_due {
            self.watch_at = now.monotonic.after(WATCH_INTERVAL);
            self.look_for_ways(now);
            self.refuse_overdue(now);
        }
        self.look_for_offsets(now);
    }
}
