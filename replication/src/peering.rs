//! Which of several connections between two nodes is kept, and when to dial again.
//!
//! Two nodes that both dial may meet in the middle, and a node that starts again dials while its
//! former connection still counts as alive at the peer. Both sides then have to keep the same one,
//! in whatever order they learn of them. A connection stands for election once the peer has said
//! hello on it; the first one is kept, and of an old and a new one
//!
//! 1. dialled by the same node, the one made later: a node dials again only when it has none;
//! 2. of two lives of the peer, the one that spoke last: a node is not alive twice;
//! 3. otherwise the one dialled by the smaller identity, unless it has been silent for a while.
//!
//! The third rule decides by what both sides know alike, whatever came first. The others speak
//! about a former connection, which the peer does not have any more. The loser is told that it was
//! superseded, and who dials again after that waits: see [`Dialer::on_superseded`].
//!
//! # Source
//! RFC 4271, §6.8, "BGP Connection Collision Detection"; the rules for former connections are ours.

use std::collections::VecDeque;
use std::time::Duration;

use headland_event::{Incarnation, Monotonic};

use crate::dialer::{Dialer, DialerConfig, DialerOutput};
use crate::frame::Identity;

/// Most connections to one peer at once, the one kept included: a peer that makes more without
/// saying hello loses its oldest.
pub const CONNECTIONS_LIMIT: usize = 4;

/// Which of the two nodes dialled a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialled {
    /// This node.
    Here,
    /// The peer.
    There,
}

/// Why a connection is over, as far as dialling again depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was lost, or closed for any other reason.
    Lost,
    /// The peer has kept another connection of this identity.
    Superseded,
}

/// Settings of a [`Peering`].
#[derive(Debug, Clone)]
pub struct PeeringConfig {
    /// This node.
    pub local: Identity,
    /// The peer.
    pub peer: Identity,
    /// How to dial it; `None` when only the peer dials.
    pub dials: Option<DialerConfig>,
    /// Silence after which the kept connection yields to any new one, default 2 s: two signs of
    /// life are missing then. Shorter gives up connections that only stutter, longer keeps a peer
    /// out that lost its side.
    pub silence: Duration,
}

impl PeeringConfig {
    /// The defaults between `local` and `peer`, which is dialled when `dials` says how.
    #[must_use]
    pub const fn new(local: Identity, peer: Identity, dials: Option<DialerConfig>) -> Self {
        Self { local, peer, dials, silence: Duration::from_secs(2) }
    }
}

/// Work the caller does on behalf of a [`Peering`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an output that is dropped is work that is never done"]
pub enum PeeringOutput<C> {
    /// Open a connection; answer with [`Peering::on_connected`] or [`Peering::on_dial_failed`].
    Dial,
    /// Tell the peer that this connection is superseded, close it and forget it.
    Close(C),
    /// Ask for a sign of life on the kept connection: if the peer has lost it, its transport says
    /// so at once instead of by silence.
    Probe(C),
}

#[derive(Debug, Clone, Copy)]
struct Connection<C> {
    id: C,
    dialled: Dialled,
    /// The peer's life; `None` before its hello.
    life: Option<Incarnation>,
    heard_at: Monotonic,
}

/// All connections between this node and one peer, of which it keeps one; `C` names a connection.
///
/// Every call costs O([`CONNECTIONS_LIMIT`]).
#[derive(Debug, Clone)]
pub struct Peering<C> {
    preferred: Dialled,
    silence: Duration,
    dialer: Option<Dialer>,
    /// Whether a dial has not been answered yet.
    is_dialling: bool,
    /// In the order in which they were made.
    connections: Vec<Connection<C>>,
    kept: Option<C>,
    outputs: VecDeque<PeeringOutput<C>>,
}

impl<C: Copy + Eq> Peering<C> {
    /// A peering without a connection, which wants to dial at once when it may.
    #[must_use]
    pub fn new(config: PeeringConfig, seed: u64) -> Self {
        let PeeringConfig { local, peer, dials, silence } = config;
        Self {
            preferred: if local < peer { Dialled::Here } else { Dialled::There },
            silence,
            dialer: dials.map(|config| Dialer::new(config, seed)),
            is_dialling: false,
            connections: Vec::new(),
            kept: None,
            outputs: VecDeque::new(),
        }
    }

    /// The connection to use, on which the peer has said hello.
    #[must_use]
    pub const fn kept(&self) -> Option<C> {
        self.kept
    }

    /// A connection was made; it is used once the peer has said hello.
    pub fn on_connected(&mut self, now: Monotonic, connection: C, dialled: Dialled) {
        if dialled == Dialled::Here {
            self.is_dialling = false;
        }
        if self.connections.len() >= CONNECTIONS_LIMIT
            && let Some(oldest) = self.connections.iter().find(|old| Some(old.id) != self.kept)
        {
            let oldest = oldest.id;
            self.outputs.push_back(PeeringOutput::Close(oldest));
            self.on_closed(now, oldest, Ended::Lost);
        }
        // A hub has thousands of peers with one connection each.
        self.connections.reserve_exact(1);
        self.connections.push(Connection { id: connection, dialled, life: None, heard_at: now });
        self.check_invariants();
    }

    /// A dial failed.
    pub fn on_dial_failed(&mut self, now: Monotonic) {
        self.is_dialling = false;
        // While another connection is kept, nobody has to try again.
        if self.kept.is_none() {
            self.back_off(now, Ended::Lost);
        }
    }

    /// The peer was heard on a connection; needed for the kept one only, before the next hello.
    pub fn on_heard(&mut self, at: Monotonic, connection: C) {
        if let Some(known) = self.connections.iter_mut().find(|known| known.id == connection) {
            known.heard_at = known.heard_at.max(at);
        }
    }

    /// The peer has said hello, in its life `life`: decides whether the connection is kept.
    ///
    /// Ask [`Self::kept`] for the outcome; the loser is closed by an output.
    pub fn on_hello(&mut self, now: Monotonic, connection: C, life: Incarnation) {
        let Some(new) = self.connections.iter_mut().find(|known| known.id == connection) else {
            return;
        };
        new.life = Some(life);
        new.heard_at = new.heard_at.max(now);
        match self.kept {
            None => self.keep(now, connection),
            Some(kept) if kept == connection => {}
            Some(kept) if self.yields(now, kept, connection) => self.keep(now, connection),
            Some(kept) => {
                self.close(connection);
                self.outputs.push_back(PeeringOutput::Probe(kept));
            }
        }
        self.check_invariants();
    }

    /// A connection is over; one that was closed by an output is known to be, so this is optional.
    pub fn on_closed(&mut self, now: Monotonic, connection: C, ended: Ended) {
        let known = self.connections.iter().position(|known| known.id == connection);
        let Some(known) = known.map(|index| self.connections.remove(index)) else { return };
        let was_kept = self.kept.take_if(|kept| *kept == connection).is_some();
        if self.kept.is_none() && (was_kept || known.dialled == Dialled::Here) {
            self.back_off(now, ended);
        }
        self.check_invariants();
    }

    /// Advances to `now`; call it no later than [`Self::poll_timeout`].
    pub fn on_timeout(&mut self, now: Monotonic) {
        if let Some(dialer) = &mut self.dialer {
            dialer.on_timeout(now);
        }
    }

    /// The next thing to do; `None` until another input.
    pub fn poll_output(&mut self) -> Option<PeeringOutput<C>> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        // One attempt at a time: of two of ours, both sides would have to find out the later.
        if self.is_dialling || self.is_greeting() {
            return None;
        }
        let DialerOutput::Dial = self.dialer.as_mut()?.poll_output()?;
        self.is_dialling = true;
        Some(PeeringOutput::Dial)
    }

    /// When to call [`Self::on_timeout`]; `None` while an attempt or a connection is alive.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        self.dialer.as_ref()?.poll_timeout()
    }

    /// Whether a connection of ours waits for the peer's hello.
    fn is_greeting(&self) -> bool {
        self.connections.iter().any(|known| known.dialled == Dialled::Here && known.life.is_none())
    }

    /// Whether the kept connection makes way for another, on which the peer has said hello.
    fn yields(&self, now: Monotonic, kept: C, other: C) -> bool {
        let place = |id| self.connections.iter().position(|known| known.id == id);
        let (Some(old), Some(new)) = (place(kept), place(other)) else { return false };
        let (Some(old_one), Some(new_one)) = (self.connections.get(old), self.connections.get(new))
        else {
            return false;
        };
        if old_one.dialled == new_one.dialled {
            return new > old;
        }
        old_one.life != new_one.life
            || new_one.dialled == self.preferred
            || now.since(old_one.heard_at) >= self.silence
    }

    /// Keeps a connection; the one kept before and former attempts of the same node lose.
    fn keep(&mut self, now: Monotonic, connection: C) {
        let before: Vec<Connection<C>> =
            self.connections.iter().take_while(|known| known.id != connection).copied().collect();
        let dialled = self.connections.get(before.len()).map(|known| known.dialled);
        let former = self.kept.replace(connection);
        let attempts = before.iter().filter(|known| Some(known.dialled) == dialled);
        let attempts = attempts.map(|known| known.id).filter(|id| Some(*id) != former);
        for loser in former.into_iter().chain(attempts) {
            self.close(loser);
        }
        if let Some(dialer) = &mut self.dialer {
            dialer.on_ready(now);
        }
    }

    /// Closes a connection that lost against the kept one.
    fn close(&mut self, loser: C) {
        debug_assert!(self.kept.is_some_and(|kept| kept != loser), "a loser has a winner");
        self.connections.retain(|known| known.id != loser);
        self.outputs.push_back(PeeringOutput::Close(loser));
    }

    fn back_off(&mut self, now: Monotonic, ended: Ended) {
        let Some(dialer) = &mut self.dialer else { return };
        match ended {
            Ended::Lost => dialer.on_lost(now),
            Ended::Superseded => dialer.on_superseded(now),
        }
    }

    fn check_invariants(&self) {
        debug_assert!(self.connections.len() <= CONNECTIONS_LIMIT, "connections are bounded");
        debug_assert!(
            self.connections
                .iter()
                .all(|known| known.life.is_none() || Some(known.id) == self.kept),
            "of all connections with a hello one is kept, and the others are closed"
        );
        debug_assert!(
            self.kept.is_none_or(|kept| self.connections.iter().any(|known| known.id == kept)),
            "the kept connection is alive"
        );
    }
}

#[cfg(test)]
mod tests;
