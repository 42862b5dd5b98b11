//! Links to configured hubs: up, down, and what an operator hears of it.

use std::time::Duration;

use headland_event::Now;
use headland_replication::{Identity, Peering};

use super::reach::Notice;
use super::{KnownPeer, Node};
use crate::session::{Session, SessionId};

/// How often it is noted whether everything of a peer is here: a scan of all channels each time.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

impl KnownPeer {
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
    /// The connection to a node that carries data.
    pub(super) fn kept(&self, identity: &Identity) -> Option<&Session> {
        let kept = self.peerings.get(identity).and_then(Peering::kept)?;
        self.sessions.get(&kept)
    }

    /// Whether a connection is one that this hub still uses.
    #[must_use]
    pub fn is_connected(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// A connection carries data from now on.
    pub(super) fn on_up(&mut self, now: Now, session: SessionId) {
        let Some(identity) = self.sessions.get(&session).map(|known| &known.identity) else {
            return;
        };
        let peer = self.peers.iter_mut().find(|peer| peer.identity == *identity);
        let Some(peer) = peer else { return };
        if let Some(notice) = peer.reach.on_up(now.monotonic) {
            peer.tell(notice);
        }
    }

    /// A connection ended with this word, or could not be used: what an operator hears while the
    /// peer is away.
    pub fn on_failed(&mut self, session: SessionId, why: &str) {
        let Some(known) = self.sessions.get(&session) else { return };
        let peer = self.peers.iter_mut().find(|peer| peer.identity == known.identity);
        if let Some(peer) = peer {
            peer.reach.on_failed(why);
        }
    }

    /// A connection is about to be forgotten: keeps what is known of the peer, if it was in use.
    pub(super) fn on_down(&mut self, now: Now, session: SessionId) {
        let Some(known) = self.sessions.get(&session) else { return };
        let is_kept = self.peerings.get(&known.identity).and_then(Peering::kept) == Some(session);
        let peer = self.peers.iter_mut().find(|peer| peer.identity == known.identity);
        let Some(peer) = peer.filter(|_| is_kept) else { return };
        peer.lag.on_link(&known.link);
        peer.reach.on_down(now.monotonic, peer.lag.behind_records());
    }

    /// Notes of which peers everything is here, and says which are away.
    pub(super) fn watch_peers(&mut self, now: Now) {
        let is_due = self.watch_at <= now.monotonic;
        for at in 0..self.peers.len() {
            let Some(peer) = self.peers.get_mut(at) else { continue };
            let kept = self.peerings.get(&peer.identity).and_then(Peering::kept);
            let session = kept.and_then(|kept| self.sessions.get(&kept));
            if let Some(session) = session.filter(|_| is_due) {
                peer.lag.on_link(&session.link);
                peer.reach.on_behind(now.monotonic, peer.lag.behind_records());
            }
            if let Some(notice) = peer.reach.on_timeout(now.monotonic) {
                peer.tell(notice);
            }
        }
        if is_due {
            self.watch_at = now.monotonic.after(WATCH_INTERVAL);
        }
    }
}
