//! Frames of links over QUIC: accepts and dials, and moves frames until a connection is over.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use headland_platform::clock::Clock;
use headland_platform::task::{self, Token};
use headland_platform::telemetry::with_causes;
use headland_platform::tls::{Identity, SpiffeId, peer_id};
use headland_replication::quic::{
    BindError, CloseCode, ConnectError, Connection, DriverError, Endpoint, LaneEvent, LaneEvents,
    LaneSender, Lanes, Lost, TlsConfigs,
};
use headland_replication::{Dialled, Ended};
use tokio::sync::mpsc::Sender;

use crate::node::PeerIndex;
use crate::peer_link::LinkId;

/// Who may have a link at all, as files say now.
pub(crate) mod admission;
/// How often failed handshakes are told.
mod failures;

use admission::Admission;
use failures::FailedHandshakes;

/// What happens on connections.
#[derive(Debug)]
pub(crate) enum LinkInput {
    /// A connection was made by one of both nodes; frames go out by this.
    Connected(LinkId, SpiffeId, Dialled, LaneSender),
    /// Something happened on a lane.
    Event(LinkId, LaneEvent),
    /// A connection is over.
    Lost(LinkId, String, Ended),
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

/// TLS of an endpoint that accepts and dials as `identity`.
pub(crate) fn tls_of(identity: &Identity) -> TlsConfigs {
    TlsConfigs {
        server: Some(identity.server().as_ref().clone()),
        client: Some(identity.client().as_ref().clone()),
    }
}

/// Makes connections and moves their frames, each in tasks of its own.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    endpoint: Endpoint,
    admission: Admission,
    clock: Clock,
    inputs: Sender<LinkInput>,
    token: Token,
    last: Arc<AtomicU64>,
    failed: Arc<Mutex<FailedHandshakes>>,
}

impl Connections {
    /// Starts accepting, and showing whatever certificate the files hold.
    pub(crate) fn start(
        endpoint: Endpoint,
        admission: Admission,
        clock: Clock,
        inputs: Sender<LinkInput>,
        token: &Token,
    ) -> Self {
        let (token, last, failed) = (token.clone(), Arc::default(), Arc::default());
        let connections = Self { endpoint, admission, clock, inputs, token, last, failed };
        drop(task::spawn("renewal", &connections.token, connections.clone().renew()));
        drop(task::spawn("accept", &connections.token, connections.clone().accept()));
        connections
    }

    /// Hands each new identity to the endpoint: handshakes from then on are made with it.
    async fn renew(mut self) {
        while self.admission.identity.changed().await.is_ok() {
            let tls = tls_of(&self.admission.identity.borrow_and_update());
            let renewed: Result<(), BindError> = self.endpoint.renew(tls);
            if let Err(error) = renewed {
                let error = with_causes(&error);
                tracing::error!(error, "the new certificate cannot be used; the old one stays");
            }
        }
    }

    async fn accept(self) {
        while let Some(incoming) = self.endpoint.accept().await {
            let connections = self.clone();
            drop(task::spawn("handshake", &self.token, async move {
                let address = incoming.remote_address();
                match incoming.establish().await {
                    // In a task of its own: this one keeps room for the handshake while it lives.
                    Ok(connection) => connections.start_run(connection, Dialled::There),
                    // Whoever floods a hub with handshakes must not flood its log as well.
                    Err(error @ ConnectError::GivenUp { .. }) => {
                        tracing::debug!(%error, "a connection was not accepted");
                    }
                    Err(error) => connections.tell_failed(address, &error),
                }
            }));
        }
    }

    /// Moves a connection's frames until it is over.
    fn start_run(self, connection: Connection, dialled: Dialled) {
        let token = self.token.clone();
        drop(task::spawn("connection", &token, self.run(connection, dialled)));
    }

    /// Says that a handshake has failed, loudly if nothing was said of one for a while.
    fn tell_failed(&self, address: SocketAddr, error: &ConnectError) {
        let error = with_causes(error);
        let now = self.clock.monotonic();
        let told = self.failed.lock().unwrap_or_else(PoisonError::into_inner).on_failed(now);
        match told {
            Some(untold) => {
                tracing::warn!(%address, error, untold, "a connection was not accepted");
            }
            None => tracing::debug!(%address, error, "a connection was not accepted"),
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
        let link_id = LinkId::new(self.last.fetch_add(1, Ordering::Relaxed));
        let Lanes { sender, events, driver } = connection.lanes();
        let connected = LinkInput::Connected(link_id, id.clone(), dialled, sender);
        if self.inputs.send(connected).await.is_err() {
            return;
        }
        let admission = self.admission.clone();
        let reviewed = review(admission, self.clock, connection, id, dialled);
        // In this task, not in one of their own: each costs a hub with thousands of connections.
        let moved = async { tokio::join!(driver.run(), pass_on(events, link_id, &self.inputs)) };
        let moved = tokio::select! {
            (moved, passed_on) = moved => if passed_on.is_some() { moved } else { return },
            // Reviewing ends only with the events, as it closes the connection first.
            () = reviewed => return,
        };
        let (why, ended) = match moved {
            Err(error) => (with_causes(&error), ended(&error)),
            Ok(()) => ("closed".to_owned(), Ended::Lost),
        };
        drop(self.inputs.send(LinkInput::Lost(link_id, why, ended)).await);
    }
}

/// Passes on what happens on a connection's lanes until it is over; `None` when the hub stops.
async fn pass_on(
    mut events: LaneEvents,
    link_id: LinkId,
    inputs: &Sender<LinkInput>,
) -> Option<()> {
    while let Some(event) = events.recv().await {
        inputs.send(LinkInput::Event(link_id, event)).await.ok()?;
    }
    Some(())
}

/// Judges a connection again whenever what it was admitted by has changed.
async fn review(
    mut admission: Admission,
    clock: Clock,
    connection: Connection,
    peer: SpiffeId,
    dialled: Dialled,
) {
    loop {
        // The first time at once: it may have changed between the handshake and now.
        admission.review(&connection, &peer, dialled, clock.wall());
        admission.changed().await;
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
