//! Frames of the link over QUIC: dials, and moves frames until the connection is over.

use std::net::SocketAddr;

use headland_event::Lane;
use headland_platform::clock::Clock;
use headland_platform::task::{self, Task, Token};
use headland_platform::telemetry::with_causes;
use headland_platform::tls::{Identity, PeerEnd, SpiffeId, peer_id};
use headland_replication::quic::{
    BindError, CloseCode, ConnectError, Connection, DriverError, Endpoint, LaneEvent, LaneEvents,
    LaneSender, Lanes, Lost, TlsConfigs,
};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

use crate::hubs::HubIndex;

/// Number of an attempt to connect, in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Attempt(u64);

impl Attempt {
    /// The one after it.
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What attempts to connect are made with.
#[derive(Debug)]
pub(crate) struct Dialling {
    pub(crate) endpoint: Endpoint,
    /// In the order of the configuration.
    pub(crate) hubs: Vec<HubAddress>,
    /// Who is told what happens.
    pub(crate) to: Sender<(Attempt, LinkInput)>,
}

impl Dialling {
    /// Follows renewed certificates until the agent stops.
    pub(crate) fn renew(&self, token: &Token) {
        // All hubs are shown the same certificate.
        if let Some(hub) = self.hubs.first() {
            let renewing = renew(self.endpoint.clone(), hub.identity.clone());
            drop(task::spawn("renewal", token, renewing));
        }
    }

    /// Dials a hub once and moves frames until the connection is over, in a task of its own.
    pub(crate) fn dial(&self, hub: HubIndex, attempt: Attempt, token: &Token) {
        let inputs = Inputs { attempt, to: self.to.clone() };
        let hub = self.hubs.get(hub).cloned();
        drop(hub.map(|hub| dial(self.endpoint.clone(), hub, inputs, token)));
    }
}

/// Takes what happens in one attempt.
#[derive(Debug, Clone)]
struct Inputs {
    attempt: Attempt,
    to: Sender<(Attempt, LinkInput)>,
}

impl Inputs {
    /// Says whether anybody takes it still.
    async fn send(&self, input: LinkInput) -> bool {
        self.to.send((self.attempt, input)).await.is_ok()
    }
}

/// What happens on the way to the hub and back.
#[derive(Debug)]
pub(crate) enum LinkInput {
    /// The connection was made; frames go out by this.
    Connected(LaneSender),
    /// Something happened on a lane.
    Event(LaneEvent),
    /// The connection could not be made, or is over.
    Lost(Ending),
}

/// How a connection, or the attempt to make one, ended.
#[derive(Debug)]
pub(crate) struct Ending {
    /// For whoever runs the agent.
    pub(crate) why: String,
    /// What the hub told the transport, if it closed the connection.
    pub(crate) code: Option<CloseCode>,
}

impl From<String> for Ending {
    fn from(why: String) -> Self {
        Self { why, code: None }
    }
}

/// Where the hub is and who it must be.
#[derive(Debug, Clone)]
pub(crate) struct HubAddress {
    /// `host:port`.
    pub(crate) address: String,
    /// Who its certificate must name.
    pub(crate) id: SpiffeId,
    /// Who this agent is and whom it trusts, as its files say now.
    pub(crate) identity: watch::Receiver<Identity>,
}

/// TLS of an endpoint that only dials, as `identity`.
pub(crate) fn tls_of(identity: &Identity) -> TlsConfigs {
    TlsConfigs { server: None, client: Some(identity.client().as_ref().clone()) }
}

/// Hands each new identity to the endpoint: handshakes from then on are made with it, and a
/// connection that exists stays.
async fn renew(endpoint: Endpoint, mut identity: watch::Receiver<Identity>) {
    while identity.changed().await.is_ok() {
        let tls = tls_of(&identity.borrow_and_update());
        let renewed: Result<(), BindError> = endpoint.renew(tls);
        if let Err(error) = renewed {
            let error = with_causes(&error);
            tracing::error!(error, "the new certificate cannot be used; the old one stays");
        }
    }
}

/// Dials once and moves frames until the connection is over, in a task of its own.
fn dial(endpoint: Endpoint, hub: HubAddress, inputs: Inputs, token: &Token) -> Task<Option<()>> {
    let drivers = token.clone();
    task::spawn("uplink", token, async move {
        let lost = match connect(&endpoint, &hub).await {
            Ok(connection) => {
                let address = connection.remote_address();
                let identity = hub.identity.clone();
                let Ending { why, code } = run(connection, identity, &inputs, &drivers).await;
                Ending { why: format!("{address}: {why}"), code }
            }
            Err(error) => Ending::from(error),
        };
        // A receiver that is gone means that the agent is stopping.
        inputs.send(LinkInput::Lost(lost)).await;
    })
}

async fn connect(endpoint: &Endpoint, hub: &HubAddress) -> Result<Connection, String> {
    let resolved = tokio::net::lookup_host(&hub.address).await;
    let mut addresses =
        resolved.map_err(|error| format!("cannot resolve {}: {error}", hub.address))?;
    let address: SocketAddr =
        addresses.next().ok_or_else(|| format!("{} has no address", hub.address))?;
    let connection = endpoint
        .connect(address, &hub.id.server_name())
        .await
        .map_err(|error: ConnectError| with_causes(&error))?;
    let found = connection.peer_certificates().first().and_then(peer_id);
    if found.as_ref() == Some(&hub.id) {
        return Ok(connection);
    }
    let found = found.map_or_else(|| "nobody".to_owned(), |id| id.to_string());
    let why = format!("{address} is {found}, expected {}", hub.id);
    connection.close(CloseCode::Identity, &why);
    Err(why)
}

async fn run(
    connection: Connection,
    identity: watch::Receiver<Identity>,
    inputs: &Inputs,
    token: &Token,
) -> Ending {
    let Lanes { sender, events, driver } = connection.lanes();
    let moving = task::spawn("uplink lanes", token, driver.run());
    if !inputs.send(LinkInput::Connected(sender)).await {
        return Ending::from("the agent is stopping".to_owned());
    }
    tokio::select! {
        () = pass_on(events, inputs) => {}
        () = review(&connection, identity) => {}
    }
    match moving.join().await.flatten() {
        Some(Err(error)) => {
            let code = if let DriverError::Lost(Lost::ClosedByPeer { code, .. }) = &error {
                Some(*code)
            } else {
                None
            };
            Ending { why: with_causes(&error), code }
        }
        Some(Ok(())) | None => Ending::from("closed".to_owned()),
    }
}

async fn pass_on(mut events: LaneEvents, inputs: &Inputs) {
    while let Some(event) = events.recv().await {
        if !inputs.send(LinkInput::Event(event)).await {
            return;
        }
    }
}

/// Judges the hub again whenever certificate files have changed; ends once it has closed the
/// connection.
async fn review(connection: &Connection, mut identity: watch::Receiver<Identity>) {
    let clock = Clock::start();
    loop {
        let chain = connection.peer_certificates();
        let judged = identity.borrow_and_update().judge(&chain, PeerEnd::Server, clock.wall());
        if let Err(distrust) = judged {
            let why = distrust.to_string();
            tracing::warn!(why, "the link to the hub was closed");
            connection.close(CloseCode::Revoked, &why);
            return;
        }
        if identity.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Sends a frame; one that is not taken is lost with the connection, and sent again on the next.
pub(crate) fn send(sender: Option<&LaneSender>, lane: Lane, frame: bytes::Bytes) {
    if let Some(Err(error)) = sender.map(|sender| sender.send(lane, frame)) {
        tracing::debug!(%lane, %error, "a frame was not sent");
    }
}
