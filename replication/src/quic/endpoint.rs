//! Connecting and accepting.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, EndpointConfig, ServerConfig, TokioRuntime};

use super::close::CloseCode;
use super::connection::Connection;
use super::lost::Lost;
use super::reset::ResetKey;
use super::socket;
use super::transport::{Windows, bound_incoming, transport};

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
}

impl ConnectError {
    /// Whether the same call can succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unusable { .. } => false,
            Self::Handshake { source, .. } => source.is_retryable(),
        }
    }
}

/// One UDP socket, from which connections are opened and on which they arrive.
#[derive(Debug, Clone)]
pub struct Endpoint {
    inner: quinn::Endpoint,
    address: SocketAddr,
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
        let TlsConfigs { server, client } = tls;
        let transport = Arc::new(transport(windows));
        let server = server.map(QuicServerConfig::try_from).transpose();
        let server = server.map_err(|error| unfit(address, &error))?.map(|crypto| {
            let mut config = ServerConfig::with_crypto(Arc::new(crypto));
            config.transport_config(transport.clone());
            bound_incoming(&mut config);
            config
        });
        let client = client.map(QuicClientConfig::try_from).transpose();
        let client = client.map_err(|error| unfit(address, &error))?.map(|crypto| {
            let mut config = ClientConfig::new(Arc::new(crypto));
            config.transport_config(transport);
            config
        });
        let refused = |source| BindError::Address { address, source };
        let socket = socket::bind(address).map_err(refused)?;
        let runtime = Arc::new(TokioRuntime);
        let mut inner = quinn::Endpoint::new(config, server, socket, runtime).map_err(refused)?;
        if let Some(client) = client {
            inner.set_default_client_config(client);
        }
        let address = inner.local_addr().map_err(refused)?;
        Ok(Self { inner, address })
    }

    /// The address it listens on, with the port taken.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// The next peer that connects; `None` once the endpoint is closed.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn accept(&self) -> Option<Incoming> {
        self.inner.accept().await.map(|inner| Incoming { inner })
    }

    /// Connects to `address`, whose certificate must be valid for `name`.
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
        let connecting = self.inner.connect(address, name).map_err(|error| {
            ConnectError::Unusable { address, name: name.to_owned(), text: error.to_string() }
        })?;
        establish(address, connecting).await
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
}

impl Incoming {
    /// Where it comes from; not verified yet.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        self.inner.remote_address()
    }

    /// Completes the handshake.
    ///
    /// # Errors
    /// [`ConnectError::Handshake`], which names the address.
    ///
    /// # Cancel safety
    /// The peer is refused.
    pub async fn establish(self) -> Result<Connection, ConnectError> {
        let address = self.inner.remote_address();
        let connecting = self.inner.accept().map_err(|error| failed(address, error))?;
        establish(address, connecting).await
    }
}

async fn establish(
    address: SocketAddr,
    connecting: quinn::Connecting,
) -> Result<Connection, ConnectError> {
    connecting.await.map(Connection::new).map_err(|error| failed(address, error))
}

fn failed(address: SocketAddr, error: quinn::ConnectionError) -> ConnectError {
    ConnectError::Handshake { address, source: Lost::from(error) }
}

fn unfit(address: SocketAddr, error: &quinn::crypto::rustls::NoInitialCipherSuite) -> BindError {
    BindError::Tls { address, text: error.to_string() }
}
