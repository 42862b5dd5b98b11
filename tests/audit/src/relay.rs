//! Who stands between the hubs: for each of them the other one, by certificate.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use headland_event::{Lane, TopicName};
use headland_platform::task::{self, Task, Token};
use headland_platform::tls::Identity;
use headland_replication::quic::{
    Endpoint, LaneEvent, LaneEvents, LaneSender, Lanes, TlsConfigs, Windows,
};
use headland_tests::fleet::{Fleet, Node};

use crate::tampering::{Planted, Tampering, Wish};

/// How long a full lane is left alone.
const PAUSE: Duration = Duration::from_millis(1);

/// A relay that listens in the place of a hub and hands on to it.
pub(crate) struct Relay {
    /// Where the other hub has to dial.
    pub(crate) address: SocketAddr,
    tampering: Arc<Mutex<Tampering>>,
    running: Task<Option<Result<()>>>,
}

/// What is asked of a relay while it runs.
#[derive(Debug, Clone)]
pub(crate) struct Wishes(Arc<Mutex<Tampering>>);

/// Which way frames go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToReceiver,
    ToSender,
}

impl Relay {
    /// Listens as `sender` and hands on to it as `receiver`; both are regions with certificates
    /// in the fleet's folder.
    ///
    /// # Errors
    /// When there is no socket or no certificate.
    pub(crate) fn start(
        fleet: &Fleet,
        (sender, receiver): (&str, &str),
        hub: &Node,
        topic: TopicName,
    ) -> Result<Self> {
        let (near, far) = (identity(fleet, sender)?, identity(fleet, receiver)?);
        let server = TlsConfigs { server: Some(near.server().as_ref().clone()), client: None };
        let client = TlsConfigs { server: None, client: Some(far.client().as_ref().clone()) };
        let any: SocketAddr = "127.0.0.1:0".parse()?;
        let (listens, dials) = (
            Endpoint::bind(any, server, Windows::hub())?,
            Endpoint::bind(any, client, Windows::hub())?,
        );
        let address = listens.local_address();
        let tampering = Arc::new(Mutex::new(Tampering::new(topic)));
        let (shared, to) = (Arc::clone(&tampering), (hub.address, near.id().server_name()));
        let running = task::spawn("relay", &Token::new(), async move {
            hand_on(&listens, &dials, to, &shared).await
        });
        Ok(Self { address, tampering, running })
    }

    /// How to ask for something to be planted.
    pub(crate) fn wishes(&self) -> Wishes {
        Wishes(Arc::clone(&self.tampering))
    }

    /// Waits until the connection between the hubs has ended: what was planted held for that one.
    ///
    /// # Errors
    /// Always, with why it ended.
    pub(crate) async fn ended(self) -> Result<Infallible> {
        self.running.join().await.flatten().transpose()?;
        bail!("the connection between the hubs has ended")
    }
}

impl Wishes {
    /// Asks for something to be planted.
    pub(crate) fn plant(&self, wish: Wish) {
        self.lock().wish = wish;
    }

    /// The record that was dropped, and the one that was doubled.
    pub(crate) fn planted(&self) -> [Option<Planted>; 2] {
        let tampering = self.lock();
        [tampering.dropped, tampering.doubled]
    }

    fn lock(&self) -> MutexGuard<'_, Tampering> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity(fleet: &Fleet, name: &str) -> Result<Identity> {
    let [ca, certificate, key] =
        ["ca.pem".to_owned(), format!("{name}.pem"), format!("{name}.key")]
            .map(|file| fleet.path(&file));
    Identity::load(&ca, &certificate, &key).with_context(|| format!("identity of {name}"))
}

/// One connection of the receiver, and one to the sender; ends with either.
async fn hand_on(
    listens: &Endpoint,
    dials: &Endpoint,
    (address, name): (SocketAddr, String),
    tampering: &Mutex<Tampering>,
) -> Result<()> {
    let accepted = loop {
        // Of several attempts of one peer all but one are given up.
        let incoming = listens.accept().await.context("nobody can connect any more")?;
        if let Ok(connection) = incoming.establish().await {
            break connection;
        }
    };
    let dialled = dials.connect(address, &name).await?;
    let Lanes { sender: to_receiver, events: of_receiver, driver: near } = accepted.lanes();
    let Lanes { sender: to_sender, events: of_sender, driver: far } = dialled.lanes();
    tokio::select! {
        ended = near.run() => ended.context("the receiver's connection"),
        ended = far.run() => ended.context("the sender's connection"),
        ended = pump(Way::ToReceiver, of_sender, &to_receiver, tampering) => ended,
        ended = pump(Way::ToSender, of_receiver, &to_sender, tampering) => ended,
    }
}

async fn pump(
    way: Way,
    mut events: LaneEvents,
    to: &LaneSender,
    tampering: &Mutex<Tampering>,
) -> Result<()> {
    while let Some(event) = events.recv().await {
        let LaneEvent::Received { lane, frame } = event else { continue };
        let frames = {
            let mut tampering = tampering.lock().unwrap_or_else(PoisonError::into_inner);
            match way {
                Way::ToReceiver => tampering.on_sender_frame(headland_gauge::now(), frame)?,
                Way::ToSender => vec![tampering.on_receiver_frame(frame)?],
            }
        };
        for frame in frames {
            send(to, lane, frame).await?;
        }
    }
    Ok(())
}

async fn send(to: &LaneSender, lane: Lane, frame: Bytes) -> Result<()> {
    while let Err(error) = to.send(lane, frame.clone()) {
        if !error.is_retryable() {
            return Err(error.into());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
