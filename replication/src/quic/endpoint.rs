//! Connecting and accepting.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headland_event::Monotonic;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, EndpointConfig, ServerConfig, TokioRuntime};

use super::close::CloseCode;
use super::connection::Connection;
use super::future_set::FutureSet;
use super::lost::Lost;
use super::pace::Gauge;
use super::places::{Place, Places};
use super::reset::ResetKey;
use super::silence::Silence;
use super::socket;
use super::transport::{Trails, Windows, bound_incoming, transport, widen};
use crate::attempts::{AttemptOutput, Attempts, Heard};
use crate::handshakes::{HANDSHAKE_PATIENCE, Shown};

/// TLS for each direction, with certificates and ALPN set by the caller.
#[derive(Debug, Clone, Default)]
pub struct TlsConfigs {
    /// To accept; without it nobody can connect.
    pub server: Option<rustls::ServerConfig>,
    /// To connect.
    pub client: Option<rustls::ClientConfig>,
}

/// An endpoint that could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address cannot be used.
    #[error("cannot listen on {address}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The TLS settings do not allow TLS 1.3 with QUIC's first cipher.
    #[error("cannot use the TLS settings for {address}: {text}")]
    Tls {
        /// The address.
        address: SocketAddr,
        /// What is missing.
        text: String,
    },
}

impl BindError {
    /// Whether the same call can succeed later: the address may become free.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Address { .. } => true,
            Self::Tls { .. } => false,
        }
    }
}

/// A connection that could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The endpoint has no TLS settings to connect with, or is closed, or cannot use the name or
    /// address.
    #[error("cannot connect to {name} at {address}: {text}")]
    Unusable {
        /// The address.
        address: SocketAddr,
        /// The name its certificate should have.
        name: String,
        /// Why not.
        text: String,
    },
    /// The handshake failed.
    #[error("cannot connect to {address}")]
    Handshake {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: Lost,
    },
    /// Nothing at all was heard.
    #[error(
        "no answer from {address} over UDP to {tried} handshakes in {} s: {silence}",
        waited.as_secs()
    )]
    NoAnswer {
        /// The address.
        address: SocketAddr,
        /// Handshakes that were begun.
        tried: usize,
        /// For how long.
        waited: Duration,
        /// What lies behind it, as far as can be told from here.
        silence: Silence,
    },
    /// A peer's handshake was given up: it took too long, or its place was needed.
    #[error("the handshake of {address} was given up: {why}")]
    GivenUp {
        /// The address.
        address: SocketAddr,
        /// Which bound was reached.
        why: &'static str,
    },
}

impl ConnectError {
    /// Whether the same call can succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unusable { .. } => false,
            Self::Handshake { source, .. } => source.is_retryable(),
            Self::NoAnswer { .. } | Self::GivenUp { .. } => true,
        }
    }
}

/// One UDP socket, from which connections are opened and on which they arrive.
#[derive(Debug, Clone)]
pub struct Endpoint {
    inner: quinn::Endpoint,
    address: SocketAddr,
    windows: Windows,
    crypto: Arc<Mutex<Crypto>>,
    places: Places,
}

/// What new connections are made with.
#[derive(Debug, Clone, Default)]
struct Crypto {
    server: Option<ServerConfig>,
    client: Option<ClientConfig>,
}

impl Crypto {
    fn new(address: SocketAddr, tls: TlsConfigs) -> Result<Self, BindError> {
        let TlsConfigs { server, client } = tls;
        let server = server.map(QuicServerConfig::try_from).transpose();
        let server = server.map_err(|error| unfit(address, &error))?.map(|crypto| {
            let mut config = ServerConfig::with_crypto(Arc::new(crypto));
            bound_incoming(&mut config);
            config
        });
        let client = client.map(QuicClientConfig::try_from).transpose();
        let client = client.map_err(|error| unfit(address, &error))?;
        let client = client.map(|crypto| ClientConfig::new(Arc::new(crypto)));
        Ok(Self { server, client })
    }
}

impl Endpoint {
    /// Opens a socket on `address`; port 0 takes a free one. Must be called on a tokio runtime.
    ///
    /// For a node that only dials; one that others find at its address again after a restart uses
    /// [`Self::listen`].
    ///
    /// # Errors
    /// [`BindError`], which names the address.
    pub fn bind(address: SocketAddr, tls: TlsConfigs, windows: Windows) -> Result<Self, BindError> {
        Self::open(address, tls, windows, EndpointConfig::default())
    }

    /// Opens a socket as [`Self::bind`] does, and tells peers of an earlier process at this
    /// address, which had the same key, that their connections are gone.
    ///
    /// # Errors
    /// [`BindError`], which names the address.
    pub fn listen(
        address: SocketAddr,
        tls: TlsConfigs,
        windows: Windows,
        reset_key: &ResetKey,
    ) -> Result<Self, BindError> {
        Self::open(address, tls, windows, reset_key.endpoint_config())
    }

    fn open(
        address: SocketAddr,
        tls: TlsConfigs,
        windows: Windows,
        config: EndpointConfig,
    ) -> Result<Self, BindError> {
        let crypto = Crypto::new(address, tls)?;
        let refused = |source| BindError::Address { address, source };
        let socket = socket::bind(address).map_err(refused)?;
        let runtime = Arc::new(TokioRuntime);
        let server = crypto.server.clone();
        let inner = quinn::Endpoint::new(widen(config, windows), server, socket, runtime)
            .map_err(refused)?;
        let address = inner.local_addr().map_err(refused)?;
        let (crypto, places) = (Arc::new(Mutex::new(crypto)), Places::default());
        Ok(Self { inner, address, windows, crypto, places })
    }

    /// Uses other certificates or authorities for connections that are made from now on; those
    /// that exist go on.
    ///
    /// # Errors
    /// [`BindError::Tls`]; what was used before stays in use.
    pub fn renew(&self, tls: TlsConfigs) -> Result<(), BindError> {
        let crypto = Crypto::new(self.address, tls)?;
        self.inner.set_server_config(crypto.server.clone());
        *self.crypto.lock().unwrap_or_else(PoisonError::into_inner) = crypto;
        Ok(())
    }

    /// The lock is never held across an await, and nothing panics while it is held.
    fn crypto(&self) -> Crypto {
        self.crypto.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The address it listens on, with the port taken.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Handshakes of peers that were taken up and go on.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.places.taken()
    }

    /// The next peer that connects; `None` once the endpoint is closed.
    ///
    /// While 16 handshakes go on, others are taken up only from addresses that were validated; who
    /// was not is asked to come again and shows thereby that it receives. While 64 go on, no second
    /// one of a socket that did so is taken up for 2 s. Nor is one beside a connection that was
    /// asked to come again, for 2 s and as long as that lasts, however few go on. How many go on
    /// at once, and of one address, [`crate::handshakes`] bounds; who is too many is not answered.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn accept(&self) -> Option<Incoming> {
        loop {
            let inner = self.inner.accept().await?;
            if self.places.is_repeated(inner.remote_address()) {
                inner.ignore();
                continue;
            }
            if self.places.is_busy() && inner.may_retry() {
                // A peer that may be asked to come again can be, so this does not fail.
                inner.retry().ok();
                continue;
            }
            // A token of an earlier connection shows that it receives too, but not that it knows
            // that it was heard now.
            let shown = if inner.may_retry() { Shown::Nothing } else { Shown::Receives };
            let Some(place) = self.places.take(inner.remote_address(), shown) else {
                inner.ignore();
                continue;
            };
            let (server, windows) = (self.crypto().server, self.windows);
            return Some(Incoming { inner, server, windows, place });
        }
    }

    /// Connects to `address`, whose certificate must be valid for `name`. While nobody answers,
    /// handshakes begin as [`Attempts`] says, until the first has been silent for 10 s.
    ///
    /// # Errors
    /// [`ConnectError`], which names the address.
    ///
    /// # Cancel safety
    /// The attempt is given up.
    pub async fn connect(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> Result<Connection, ConnectError> {
        let unusable = |text| ConnectError::Unusable { address, name: name.to_owned(), text };
        let Some(mut client) = self.crypto().client else {
            return Err(unusable("this endpoint has no TLS settings to connect with".to_owned()));
        };
        let mut now = Monotonic::from_millis(0);
        let (mut attempts, mut tried) = (Attempts::default(), 0);
        let mut trying = FutureSet::new();
        // Of those that are tried, in the same order.
        let mut gauges: Vec<Arc<Gauge>> = Vec::new();
        let ended = loop {
            let running: Vec<_> = gauges.iter().map(|gauge| heard_of(gauge)).collect();
            let output = attempts.on_look(now, &running);
            if let AttemptOutput::BeginInPlaceOf(index) = output {
                trying.drop_at(index);
                gauges.remove(index);
            }
            if output != AttemptOutput::Wait {
                let gauge = Arc::new(Gauge::default());
                client.transport_config(Arc::new(transport(address, self.windows, gauge.clone())));
                let connecting = self.inner.connect_with(client.clone(), address, name);
                let connecting = connecting.map_err(|error| unusable(error.to_string()))?;
                gauges.push(Arc::clone(&gauge));
                trying.push(establish(address, connecting, gauge, self.windows.trails));
                tried += 1;
            }
            tokio::select! {
                // First those that go on: else an attempt could be given up in the very moment in
                // which the peer has taken it.
                biased;
                ended = trying.next() => break ended,
                () = tokio::time::sleep(Attempts::pause()) => now = now.after(Attempts::pause()),
            }
        };
        drop(trying);
        match ended {
            Err(ConnectError::Handshake { source: Lost::TimedOut, .. })
                if !gauges.iter().any(|gauge| gauge.is_heard()) =>
            {
                let waited = now.since(Monotonic::from_millis(0));
                let silence = Silence::of(address).await;
                Err(ConnectError::NoAnswer { address, tried, waited, silence })
            }
            ended => ended,
        }
    }

    /// Closes every connection and accepts no more.
    pub fn close(&self, code: CloseCode, text: &str) {
        self.inner.close(code.varint(), text.as_bytes());
    }

    /// Waits until every peer has been told that its connection is closed, or cannot be.
    ///
    /// # Cancel safety
    /// Peers not told yet will find out by silence.
    pub async fn closed(&self) {
        self.inner.wait_idle().await;
    }
}

/// A peer that wants to connect; run [`Self::establish`] apart, so that a slow one holds up nobody.
#[derive(Debug)]
pub struct Incoming {
    inner: quinn::Incoming,
    server: Option<ServerConfig>,
    windows: Windows,
    place: Place,
}

impl Incoming {
    /// Where it comes from; not verified yet.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        self.inner.remote_address()
    }

    /// Completes the handshake, within 5 s and as long as its place is not needed for another.
    ///
    /// # Errors
    /// [`ConnectError::Handshake`] and [`ConnectError::GivenUp`], which name the address.
    ///
    /// # Cancel safety
    /// The peer is refused.
    pub async fn establish(self) -> Result<Connection, ConnectError> {
        let Self { inner, server, windows, mut place } = self;
        let address = inner.remote_address();
        let gauge = Arc::new(Gauge::default());
        let connecting = match server {
            Some(mut server) => {
                server.transport_config(Arc::new(transport(address, windows, gauge.clone())));
                inner.accept_with(Arc::new(server))
            }
            None => inner.accept(),
        };
        let connecting = connecting.map_err(|error| failed(address, error))?;
        let given_up = |why| Err(ConnectError::GivenUp { address, why });
        tokio::select! {
            established = establish(address, connecting, gauge, windows.trails) => {
                established.map(|connection| connection.keep(place.on_established()))
            }
            () = place.given_up() => given_up("its place was needed for another address"),
            () = tokio::time::sleep(HANDSHAKE_PATIENCE) => given_up("it took too long"),
        }
    }
}

fn heard_of(gauge: &Gauge) -> Heard {
    if gauge.is_heard() { Heard::Something } else { Heard::Nothing }
}

/// Completes a handshake, and notes when the peer has answered.
async fn establish(
    address: SocketAddr,
    mut connecting: quinn::Connecting,
    gauge: Arc<Gauge>,
    trails: Trails,
) -> Result<Connection, ConnectError> {
    connecting.handshake_data().await.map_err(|error| failed(address, error))?;
    gauge.on_heard();
    let connection = connecting.await.map_err(|error| failed(address, error))?;
    Ok(Connection::new(connection, gauge, trails))
}

fn failed(address: SocketAddr, error: quinn::ConnectionError) -> ConnectError {
    ConnectError::Handshake { address, source: Lost::from(error) }
}

fn unfit(address: SocketAddr, error: &quinn::crypto::rustls::NoInitialCipherSuite) -> BindError {
    BindError::Tls { address, text: error.to_string() }
}
