//! Handshakes that are begun and never finished.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use headland_platform::task::{self, Token};
use headland_platform::tls::Identity;
use headland_replication::quic::{Endpoint, TlsConfigs, Windows};
use tokio::net::UdpSocket;

/// Largest UDP datagram.
const DATAGRAM_BYTES: usize = 65_535;

/// Clients that show that they receive at their address (RFC 9000, §8.1.2) and then hear nothing
/// more: the worst that somebody without a certificate can do to a hub's memory.
///
/// All that they send passes; of the hub's answers only Retry packets do. They stop, without a
/// word to the hub, when this is dropped.
#[derive(Debug)]
pub struct Flood {
    sent: Arc<AtomicUsize>,
    token: Token,
}

impl Flood {
    /// Begins `count` handshakes with a hub from one loopback address.
    ///
    /// # Errors
    /// When the machine gives no sockets.
    pub async fn begin(
        hub: SocketAddr,
        from: Ipv4Addr,
        count: usize,
        identity: &Identity,
    ) -> Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (inner, outer) = (UdpSocket::bind(any).await?, UdpSocket::bind((from, 0)).await?);
        outer.connect(hub).await?;
        let to = inner.local_addr()?;
        let (sent, token) = (Arc::<AtomicUsize>::default(), Token::new());
        drop(task::spawn("flood relay", &token, relay(inner, outer, Arc::clone(&sent))));
        let client = Some(identity.client().as_ref().clone());
        let tls = TlsConfigs { server: None, client };
        let endpoint = Endpoint::bind(any, tls, Windows::agent())?;
        for _ in 0..count {
            let endpoint = endpoint.clone();
            drop(task::spawn("half a handshake", &token, async move {
                // It can only end in silence.
                drop(endpoint.connect(to, "hub-1.eu.headland").await);
            }));
        }
        Ok(Self { sent, token })
    }

    /// Datagrams sent to the hub so far: at least one for each handshake begun.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

async fn relay(inner: UdpSocket, outer: UdpSocket, sent: Arc<AtomicUsize>) {
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
                sent.fetch_add(1, Ordering::Relaxed);
            }
            received = outer.recv(&mut down) => {
                let datagram = received.ok().and_then(|bytes| down.get(..bytes));
                if let (Some(datagram), Some(client)) = (datagram, client)
                    && is_retry(datagram)
                {
                    drop(inner.send_to(datagram, client).await);
                }
            }
        }
    }
}

/// Whether a datagram is a Retry packet (RFC 9000, §17.2.5): long header, type 3.
fn is_retry(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & 0x80 != 0 && (first >> 4) & 3 == 3)
}
