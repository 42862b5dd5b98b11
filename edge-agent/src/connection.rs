//! Frames of the link over QUIC: dials, and moves frames until the connection is over.

use std::net::SocketAddr;

use headland_event::Lane;
use headland_platform::task::{self, Task, Token};
use headland_platform::telemetry::with_causes;
use headland_platform::tls::{SpiffeId, peer_id};
use headland_replication::quic::{
    CloseCode, ConnectError, Connection, DriverError, Endpoint, LaneEvent, LaneSender, Lanes, Lost,
};
use tokio::sync::mpsc::Sender;

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
}

/// Dials once and moves frames until the connection is over, in a task of its own.
pub(crate) fn dial(
    endpoint: Endpoint,
    hub: HubAddress,
    inputs: Sender<LinkInput>,
    token: &Token,
) -> Task<Option<()>> {
    let drivers = token.clone();
    task::spawn("uplink", token, async move {
        let lost = match connect(&endpoint, &hub).await {
            Ok(connection) => {
                let address = connection.remote_address();
                let Ending { why, code } = run(connection, &inputs, &drivers).await;
                Ending { why: format!("{address}: {why}"), code }
            }
            Err(error) => Ending::from(error),
        };
        // A receiver that is gone means that the agent is stopping.
        drop(inputs.send(LinkInput::Lost(lost)).await);
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

async fn run(connection: Connection, inputs: &Sender<LinkInput>, token: &Token) -> Ending {
    let Lanes { sender, mut events, driver } = connection.lanes();
    let moving = task::spawn("uplink lanes", token, driver.run());
    if inputs.send(LinkInput::Connected(sender)).await.is_err() {
        return Ending::from("the agent is stopping".to_owned());
    }
    while let Some(event) = events.recv().await {
        if inputs.send(LinkInput::Event(event)).await.is_err() {
            break;
        }
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

/// Sends a frame; one that is not taken is lost with the connection, and sent again on the next.
pub(crate) fn send(sender: Option<&LaneSender>, lane: Lane, frame: bytes::Bytes) {
    if let Some(Err(error)) = sender.map(|sender| sender.send(lane, frame)) {
        tracing::debug!(%lane, %error, "a frame was not sent");
    }
}
