//! One connection, before it is split into lanes.

use std::net::SocketAddr;

use rustls::pki_types::CertificateDer;

use super::close::CloseCode;
use super::lanes::Lanes;
use super::lost::Lost;

/// One established connection; clones are the same one.
#[derive(Debug, Clone)]
pub struct Connection {
    inner: quinn::Connection,
}

impl Connection {
    pub(super) const fn new(inner: quinn::Connection) -> Self {
        Self { inner }
    }

    /// The peer's certificate chain, its own first; empty when TLS asked for none.
    #[must_use]
    pub fn peer_certificates(&self) -> Vec<CertificateDer<'static>> {
        let chain = self.inner.peer_identity();
        let chain = chain.and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
        chain.map_or_else(Vec::new, |chain| *chain)
    }

    /// Where the peer is now; a roaming peer moves.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        self.inner.remote_address()
    }

    /// Splits the connection into frames out, frames in, and what moves them. Call it once: a
    /// second set of lanes is refused by the peer.
    #[must_use]
    pub fn lanes(&self) -> Lanes {
        Lanes::new(self.inner.clone())
    }

    /// Closes at once: what was not written is lost. In good order, drop the [`super::LaneSender`]
    /// and wait for the driver instead.
    pub fn close(&self, code: CloseCode, text: &str) {
        self.inner.close(code.varint(), text.as_bytes());
    }

    /// Waits until the connection is over; says why.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn closed(&self) -> Lost {
        self.inner.closed().await.into()
    }
}
