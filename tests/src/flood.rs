//! Handshakes that are begun and never finished.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use headland_platform::task::{self, Token};
use headland_platform::tls::Identity;
use headland_replication::quic::{Endpoint, TlsConfigs, Windows};
use tokio::net::UdpSocket;

/// Clients that dial side by side: each begins a handshake every 300 ms, so that a thousand begin
/// in a second while the machine has time left for those who are watched.
const CLIENTS: usize = 300;

/// More than any datagram of a handshake.
const DATAGRAM_BYTES: usize = 4_096;

/// Clients that show that they receive at their address (RFC 9000, §8.1.2) and then hear nothing
/// more: the worst that somebody without a certificate can do to a hub's memory. Each has a socket
/// of its own, as a busy hub takes up one handshake of a socket.
///
/// All that they send passes; of the hub's answers only Retry packets do. They stop, without a
/// word to the hub, when this is dropped.
#[derive(Debug)]
pub struct Flood {
    begun: Arc<AtomicUsize>,
    token: Token,
}

impl Flood {
    /// Begins handshakes with a hub from one loopback address, again and again.
    ///
    /// # Errors
    /// When the machine gives no sockets.
    pub async fn begin(hub: SocketAddr, from: Ipv4Addr, identity: &Identity) -> Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (begun, token) = (Arc::<AtomicUsize>::default(), Token::new());
        let client = Some(identity.client().as_ref().clone());
        let tls = TlsConfigs { server: None, client };
        let endpoint = Endpoint::bind(any, tls, Windows::agent())?;
        for _ in 0..CLIENTS {
            let (inner, outer) = (UdpSocket::bind(any).await?, UdpSocket::bind((from, 0)).await?);
            outer.connect(hub).await?;
            let to = inner.local_addr()?;
            drop(task::spawn("flood relay", &token, relay(inner, outer, Arc::clone(&begun))));
            let endpoint = endpoint.clone();
            drop(task::spawn("half a handshake", &token, async move {
                loop {
                    // It can only end in silence.
                    drop(endpoint.connect(to, "hub-1.eu.headland").await);
                }
            }));
        }
        Ok(Self { begun, token })
    }

    /// Handshakes so far whose client has shown that it receives: one for each Retry packet.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

async fn relay(inner: UdpSocket, outer: UdpSocket, begun: Arc<AtomicUsize>) {
    let (mut up, mut down) = (vec![0; DATAGRAM_BYTES], vec![0; DATAGRAM_BYTES]);
    let mut client = None;
    loop {
        tokio::select! {
            received = inner.recv_from(&mut up) => {
                let Ok((bytes, from)) = received else { continue };
                client = Some(from);
                let datagram = up.get(..bytes).unwrap_or_default();
                // What does not get through is begun again.
                drop(outer.send(datagram).await);
            }
            received = outer.recv(&mut down) => {
                let datagram = received.ok().and_then(|bytes| down.get(..bytes));
                if let (Some(datagram), Some(client)) = (datagram, client)
                    && is_retry(datagram)
                {
                    drop(inner.send_to(datagram, client).await);
                    begun.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Whether a datagram is a Retry packet (RFC 9000, §17.2.5): long header, type 3.
fn is_retry(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & 0x80 != 0 && (first >> 4) & 3 == 3)
}
