//! Places for handshakes of peers, shared by whoever accepts and the handshakes themselves.
#![expect(clippy::disallowed_types, reason = "quinn's traits name std's Instant")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use headland_event::Monotonic;
use quinn::{Runtime, TokioRuntime};
use tokio::sync::oneshot;

use crate::handshakes::{Arrival, HandshakeEnd, HandshakeId, Handshakes, Shown};

/// All places of an endpoint; clones are the same ones.
#[derive(Debug, Clone)]
pub(super) struct Places {
    shared: Arc<Mutex<Shared>>,
    started: Instant,
}

#[derive(Debug, Default)]
struct Shared {
    handshakes: Handshakes,
    /// Dropped to give up a handshake.
    held: BTreeMap<HandshakeId, oneshot::Sender<()>>,
}

impl Default for Places {
    fn default() -> Self {
        Self { shared: Arc::default(), started: TokioRuntime.now() }
    }
}

impl Places {
    /// The time of quinn's timers, as tests may hold it still.
    fn now(&self) -> Monotonic {
        let passed = TokioRuntime.now().saturating_duration_since(self.started);
        Monotonic::from_millis(0).after(passed)
    }

    /// Whether a peer's handshake is to be left alone beside the one that it began just before.
    pub(super) fn is_repeated(&self, from: SocketAddr) -> bool {
        let now = self.now();
        self.lock().handshakes.is_repeated(now, from)
    }

    /// Whether peers are to show that they receive at the address they send from.
    pub(super) fn is_busy(&self) -> bool {
        self.lock().handshakes.is_busy()
    }

    /// Takes a place for a peer; `None` when it is to be ignored.
    pub(super) fn take(&self, from: SocketAddr, shown: Shown) -> Option<Place> {
        let now = self.now();
        let mut shared = self.lock();
        let id = match shared.handshakes.on_arrival(now, from, shown) {
            Arrival::Ignore => return None,
            Arrival::Admit(id) => id,
            Arrival::Replace(id, given_up) => {
                shared.held.remove(&given_up);
                id
            }
        };
        let (held, given_up) = oneshot::channel();
        shared.held.insert(id, held);
        debug_assert_eq!(shared.held.len(), shared.handshakes.len(), "one sender a place");
        drop(shared);
        Some(Place { places: self.clone(), id, from, given_up, end: HandshakeEnd::Failed })
    }

    /// Places taken.
    pub(super) fn taken(&self) -> usize {
        self.lock().handshakes.len()
    }

    /// The lock is never held across an await, and nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one handshake, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    id: HandshakeId,
    from: SocketAddr,
    given_up: oneshot::Receiver<()>,
    end: HandshakeEnd,
}

impl Place {
    /// The handshake has succeeded; what this returns is kept as long as its connection.
    pub(super) fn on_established(&mut self) -> Arc<Lasting> {
        self.end = HandshakeEnd::Established;
        let Self { places, id, from, .. } = self;
        Arc::new(Lasting { shared: Arc::clone(&places.shared), id: *id, from: *from })
    }

    /// Waits until the place is needed for somebody else.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn given_up(&mut self) {
        // Nothing is ever sent: the sender is dropped.
        (&mut self.given_up).await.ok();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = self.places.now();
        let mut shared = self.places.lock();
        shared.handshakes.on_end(now, self.id, self.end);
        shared.held.remove(&self.id);
    }
}

/// A connection that a handshake has become; dropping it says that it is over.
#[derive(Debug)]
pub(super) struct Lasting {
    shared: Arc<Mutex<Shared>>,
    id: HandshakeId,
    from: SocketAddr,
}

impl Drop for Lasting {
    fn drop(&mut self) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.handshakes.on_closed(self.id, self.from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_left_alone_beside_its_connection_and_not_after_it() {
        let (places, from) = (Places::default(), SocketAddr::from(([192, 0, 2, 1], 443)));
        let mut place = places.take(from, Shown::Receives).unwrap();
        let lasting = place.on_established();
        drop(place);

        let beside = places.is_repeated(from);
        drop(lasting);

        assert!(beside);
        assert!(!places.is_repeated(from));
    }
}
