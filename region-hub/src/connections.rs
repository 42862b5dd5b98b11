//! Frames of links over QUIC: accepts and dials, and moves frames until a connection is over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headland_platform::task::{self, Token};
use headland_platform::telemetry::with_causes;
use headland_platform::tls::{SpiffeId, peer_id};
use headland_replication::quic::{
    CloseCode, Connection, DriverError, Endpoint, LaneEvent, LaneSender, Lanes, Lost,
};
use headland_replication::{Dialled, Ended};
use tokio::sync::mpsc::Sender;

use crate::node::PeerIndex;
use crate::session::SessionId;

/// Handshakes under way at once; more wait in the socket, so that half-open ones cost no memory.
const HANDSHAKES_LIMIT: usize = 256;

/// What happens on connections.
#[derive(Debug)]
pub(crate) enum LinkInput {
    /// A connection was made by one of both nodes; frames go out by this.
    Connected(SessionId, SpiffeId, Dialled, LaneSender),
    /// Something happened on a lane.
    Event(SessionId, LaneEvent),
    /// A connection is over.
    Lost(SessionId, String, Ended),
    /// A peer could not be dialled.
    DialFailed(PeerIndex, String),
}

/// Where a peer is and who it must be.
#[derive(Debug, Clone)]
pub(crate) struct PeerAddress {
    /// `host:port`.
    pub(crate) address: String,
    /// Who its certificate must name.
    pub(crate) id: SpiffeId,
}

/// Makes connections and moves their frames, each in tasks of its own.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    endpoint: Endpoint,
    inputs: Sender<LinkInput>,
    token: Token,
    last: Arc<AtomicU64>,
}

impl Connections {
    /// Starts accepting.
    pub(crate) fn start(endpoint: Endpoint, inputs: Sender<LinkInput>, token: &Token) -> Self {
        let connections = Self { endpoint, inputs, token: token.clone(), last: Arc::default() };
        drop(task::spawn("accept", token, connections.clone().accept()));
        connections
    }

    async fn accept(self) {
        let handshakes = Arc::new(tokio::sync::Semaphore::new(HANDSHAKES_LIMIT));
        while let Some(incoming) = self.endpoint.accept().await {
            let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
            let connections = self.clone();
            drop(task::spawn("handshake", &self.token, async move {
                let address = incoming.remote_address();
                match incoming.establish().await {
                    Ok(connection) => {
                        drop(permit);
                        connections.run(connection, Dialled::There).await;
                    }
                    Err(error) => {
                        let error = with_causes(&error);
                        tracing::warn!(%address, error, "a connection was not accepted");
                    }
                }
            }));
        }
    }

    /// Dials a peer once.
    pub(crate) fn dial(&self, index: PeerIndex, peer: PeerAddress) {
        let connections = self.clone();
        drop(task::spawn("dial", &self.token, async move {
            match connections.connect(&peer).await {
                Ok(connection) => connections.run(connection, Dialled::Here).await,
                Err(why) => {
                    // A receiver that is gone means that the hub is stopping.
                    drop(connections.inputs.send(LinkInput::DialFailed(index, why)).await);
                }
            }
        }));
    }

    async fn connect(&self, peer: &PeerAddress) -> Result<Connection, String> {
        let PeerAddress { address, id } = peer;
        let resolved = tokio::net::lookup_host(address).await;
        let mut resolved =
            resolved.map_err(|error| format!("cannot resolve {address}: {error}"))?;
        let resolved: SocketAddr =
            resolved.next().ok_or_else(|| format!("{address} has no address"))?;
        let connection = self
            .endpoint
            .connect(resolved, &id.server_name())
            .await
            .map_err(|error| with_causes(&error))?;
        let found = connection.peer_certificates().first().and_then(peer_id);
        if found.as_ref() == Some(id) {
            return Ok(connection);
        }
        let found = found.map_or_else(|| "nobody".to_owned(), |found| found.to_string());
        let why = format!("{address} is {found}, expected {id}");
        connection.close(CloseCode::Identity, &why);
        Err(why)
    }

    async fn run(self, connection: Connection, dialled: Dialled) {
        let Some(id) = connection.peer_certificates().first().and_then(peer_id) else {
            let address = connection.remote_address();
            let why = "the certificate names no hub and no agent: it needs exactly one URI \
                       spiffe://<fleet>/region/<region>/hub/<name> or …/agent/<name>";
            tracing::warn!(%address, why, "a connection was not accepted");
            connection.close(CloseCode::Identity, why);
            return;
        };
        let session = SessionId::new(self.last.fetch_add(1, Ordering::Relaxed));
        let Lanes { sender, mut events, driver } = connection.lanes();
        let moving = task::spawn("lanes", &self.token, driver.run());
        let connected = LinkInput::Connected(session, id, dialled, sender);
        if self.inputs.send(connected).await.is_err() {
            return;
        }
        while let Some(event) = events.recv().await {
            if self.inputs.send(LinkInput::Event(session, event)).await.is_err() {
                return;
            }
        }
        let (why, ended) = match moving.join().await.flatten() {
            Some(Err(error)) => (with_causes(&error), ended(&error)),
            Some(Ok(())) | None => ("closed".to_owned(), Ended::Lost),
        };
        drop(self.inputs.send(LinkInput::Lost(session, why, ended)).await);
    }
}

/// What the peer's transport says about dialling again; its last frame may not have arrived.
fn ended(error: &DriverError) -> Ended {
    let superseded = CloseCode::Superseded;
    if let DriverError::Lost(Lost::ClosedByPeer { code, .. }) = error
        && *code == superseded
    {
        return Ended::Superseded;
    }
    Ended::Lost
}
