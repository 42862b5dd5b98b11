//! A peer that holds a valid certificate and says what no honest one would.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use headland_event::Lane;
use headland_platform::task::{self, Task, Token};
use headland_platform::tls::Identity;
use headland_replication::frame::{Frame, Refusal};
use headland_replication::quic::{
    DriverError, Endpoint, LaneEvent, LaneEvents, LaneSender, Lanes, TlsConfigs, Windows,
};

use crate::fleet::{Fleet, Node};
use crate::process::WAIT_LIMIT;

/// One connection to a hub, without the state machine that keeps a peer honest.
#[derive(Debug)]
pub struct Forger {
    sender: LaneSender,
    events: LaneEvents,
    driver: Task<Option<Result<(), DriverError>>>,
    _endpoint: Endpoint,
}

impl Forger {
    /// Connects to a hub of `region` with a certificate that the fleet issued as `name`.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn connect(fleet: &Fleet, name: &str, hub: &Node, region: &str) -> Result<Self> {
        let certificate = fleet.path(&format!("{name}.pem"));
        let key = fleet.path(&format!("{name}.key"));
        let identity = Identity::load(&fleet.path("ca.pem"), &certificate, &key)?;
        let client = Some(identity.client().as_ref().clone());
        let tls = TlsConfigs { server: None, client };
        let endpoint = Endpoint::bind("127.0.0.1:0".parse()?, tls, Windows::agent())?;
        let name = format!("hub-1.{region}.headland");
        let connection = endpoint.connect(hub.address, &name).await?;
        let Lanes { sender, events, driver } = connection.lanes();
        let driver = task::spawn("forger", &Token::new(), driver.run());
        Ok(Self { sender, events, driver, _endpoint: endpoint })
    }

    /// Sends a frame on the control lane.
    ///
    /// # Errors
    /// When it does not encode or the connection is over.
    pub fn send(&self, frame: &Frame) -> Result<()> {
        self.send_bytes(frame.encode()?)
    }

    /// Sends bytes as a frame on the control lane.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn send_bytes(&self, bytes: Bytes) -> Result<()> {
        self.sender.send(Lane::Control, bytes).context("cannot send")
    }

    /// The next refusal; other frames are passed over.
    ///
    /// # Errors
    /// When none comes before the connection ends, or in time.
    pub async fn refusal(&mut self) -> Result<Refusal> {
        let waiting = async {
            while let Some(event) = self.events.recv().await {
                if let LaneEvent::Received { lane: _, frame } = event
                    && let Frame::Refuse(refuse) = Frame::decode(frame)?
                {
                    return Ok(refuse.refusal);
                }
            }
            bail!("the hub closed the connection without a refusal")
        };
        tokio::time::timeout(WAIT_LIMIT, waiting).await.context("the hub refused nothing")?
    }

    /// Waits until the hub has closed the connection.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn closed(mut self) -> Result<()> {
        let waiting = async {
            while self.events.recv().await.is_some() {}
            self.driver.join().await
        };
        let ended = tokio::time::timeout(WAIT_LIMIT, waiting).await;
        ended.context("the hub keeps the connection").map(drop)
    }
}
