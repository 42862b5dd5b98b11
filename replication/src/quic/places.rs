//! Places for handshakes of peers, shared by whoever accepts and the handshakes themselves.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::handshakes::{Arrival, HandshakeId, Handshakes};

/// All places of an endpoint; clones are the same ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    handshakes: Handshakes,
    /// Dropped to give up a handshake.
    held: BTreeMap<HandshakeId, oneshot::Sender<()>>,
}

impl Places {
    /// Takes a place for a peer; `None` when it is to be ignored.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let mut shared = self.lock();
        let id = match shared.handshakes.on_arrival(address) {
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
        Some(Place { places: self.clone(), id, given_up })
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
    given_up: oneshot::Receiver<()>,
}

impl Place {
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
        let mut shared = self.places.lock();
        shared.handshakes.on_end(self.id);
        shared.held.remove(&self.id);
    }
}
