//! Frames in and out of one connection.

use std::time::Duration;

use bytes::Bytes;
use headland_event::{ByteCount, Lane};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::watch;

use super::close::Farewell;
use super::lane_reader::{ClaimedLanes, read_lane};
use super::lane_writer::{LaneEnd, write_lane};
use super::lost::{DriverError, Lost};

/// Most frames that wait on a lane: every channel's announcement and more answers than the link
/// leaves unwritten. A link within its own bounds never gets there.
const LANE_FRAMES_LIMIT: usize = 32_768;

/// Most events that wait for the caller. Each may be a frame of 1.1 MiB, so this bounds memory;
/// when it is reached, reading stops and QUIC's windows hold the peer back.
const EVENTS_LIMIT: usize = 8;

/// How long a peer may take over what was queued when the connection is closed: several round
/// trips of any path. One that takes nothing would keep the connection's memory for ever.
const LINGER: Duration = Duration::from_secs(5);

/// What happens on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneEvent {
    /// A frame arrived; frames of one lane are in order.
    Received {
        /// The lane.
        lane: Lane,
        /// The frame.
        frame: Bytes,
    },
    /// A frame was handed to the transport.
    Written {
        /// The lane.
        lane: Lane,
        /// The frame's length.
        bytes: ByteCount,
    },
}

/// A frame that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Too many frames wait on the lane.
    #[error("cannot send on lane {lane}: {limit} frames wait already")]
    Full {
        /// The lane.
        lane: Lane,
        /// Most that may wait.
        limit: usize,
    },
    /// The driver has stopped.
    #[error("cannot send on lane {lane}: the connection is over")]
    Closed {
        /// The lane.
        lane: Lane,
    },
}

impl SendError {
    /// Whether the same frame may be taken later on this connection.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Closed { .. } => false,
        }
    }
}

/// Frames out: never waits. Close or drop it to close the connection in good order.
#[derive(Debug)]
pub struct LaneSender {
    farewell: watch::Sender<Farewell>,
    control: Sender<Bytes>,
    alerts: Sender<Bytes>,
    state: Sender<Bytes>,
    telemetry: Sender<Bytes>,
}

impl LaneSender {
    /// Closes the connection in good order, and tells the peer's transport why.
    pub fn close(self, farewell: Farewell) {
        self.farewell.send_replace(farewell);
    }

    /// Queues a frame; [`LaneEvent::Written`] follows when the transport has taken it.
    ///
    /// # Errors
    /// [`SendError`] when the lane is full or the connection over.
    pub fn send(&self, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        let queue = match lane {
            Lane::Control => &self.control,
            Lane::Alerts => &self.alerts,
            Lane::State => &self.state,
            Lane::Telemetry => &self.telemetry,
        };
        queue.try_send(frame).map_err(|error| match error {
            TrySendError::Full(_) => SendError::Full { lane, limit: LANE_FRAMES_LIMIT },
            TrySendError::Closed(_) => SendError::Closed { lane },
        })
    }
}

/// Frames in, and what was written.
#[derive(Debug)]
pub struct LaneEvents {
    events: Receiver<LaneEvent>,
}

impl LaneEvents {
    /// The next event; `None` when the driver has stopped and nothing is left.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn recv(&mut self) -> Option<LaneEvent> {
        self.events.recv().await
    }
}

/// A connection split into frames out, frames in, and the future that moves them.
#[derive(Debug)]
pub struct Lanes {
    /// Frames out.
    pub sender: LaneSender,
    /// Frames in.
    pub events: LaneEvents,
    /// Moves both; run it in a task of its own.
    pub driver: LaneDriver,
}

/// Moves frames between a connection's streams and its two ends.
#[derive(Debug)]
pub struct LaneDriver {
    connection: quinn::Connection,
    events: Sender<LaneEvent>,
    farewell: watch::Receiver<Farewell>,
    control: Receiver<Bytes>,
    alerts: Receiver<Bytes>,
    state: Receiver<Bytes>,
    telemetry: Receiver<Bytes>,
}

impl Lanes {
    pub(super) fn new(connection: quinn::Connection) -> Self {
        let (events_out, events) = mpsc::channel(EVENTS_LIMIT);
        let events_in = LaneEvents { events };
        let (control_tx, control) = mpsc::channel(LANE_FRAMES_LIMIT);
        let (alerts_tx, alerts) = mpsc::channel(LANE_FRAMES_LIMIT);
        let (state_tx, state) = mpsc::channel(LANE_FRAMES_LIMIT);
        let (telemetry_tx, telemetry) = mpsc::channel(LANE_FRAMES_LIMIT);
        let (farewell_tx, farewell) = watch::channel(Farewell::default());
        let sender = LaneSender {
            farewell: farewell_tx,
            control: control_tx,
            alerts: alerts_tx,
            state: state_tx,
            telemetry: telemetry_tx,
        };
        let events = events_out;
        let driver = LaneDriver { connection, events, farewell, control, alerts, state, telemetry };
        Self { sender, events: events_in, driver }
    }
}

impl LaneDriver {
    /// Runs until the connection is over, or every queued frame has reached the peer's transport
    /// after [`LaneSender`] was closed or dropped; then it closes the connection. A peer that does
    /// not take what is queued within 5 s loses it.
    ///
    /// Frames that arrived before the end are delivered first: drain [`LaneEvents`] meanwhile, or
    /// drop it to let them go.
    ///
    /// # Errors
    /// [`DriverError`]: why it ended, unless it ended here and in good order. When the peer broke
    /// the layout, the connection was closed with [`super::CloseCode::Protocol`].
    ///
    /// # Cancel safety
    /// Frames may be cut in the middle: close the connection.
    pub async fn run(self) -> Result<(), DriverError> {
        let Self { connection, events, farewell, control, alerts, state, telemetry } = self;
        let mut open = farewell.clone();
        let writing = async {
            let ends = tokio::join!(
                write_lane(&connection, Lane::Control, control, &events),
                write_lane(&connection, Lane::Alerts, alerts, &events),
                write_lane(&connection, Lane::State, state, &events),
                write_lane(&connection, Lane::Telemetry, telemetry, &events),
            );
            if ends != (LaneEnd::Flushed, LaneEnd::Flushed, LaneEnd::Flushed, LaneEnd::Flushed) {
                // The connection is lost: the readers say why, once they have read what came.
                std::future::pending::<()>().await;
            }
        };
        let lingering = async {
            while open.changed().await.is_ok() {}
            tokio::time::sleep(LINGER).await;
        };
        tokio::select! {
            lost = read_lanes(&connection, &events) => return lost,
            () = writing => {}
            () = lingering => {}
        }
        let Farewell { code, text } = &*farewell.borrow();
        connection.close(code.varint(), text.as_bytes());
        Ok(())
    }
}

/// Reads all lanes to their ends. One that fails does not keep the others from reading what the
/// transport already has: the peer's last word may be there.
async fn read_lanes(
    connection: &quinn::Connection,
    events: &Sender<LaneEvent>,
) -> Result<(), DriverError> {
    let claimed = ClaimedLanes::default();
    let (first, second, third, fourth) = tokio::join!(
        read_lane(connection, &claimed, events),
        read_lane(connection, &claimed, events),
        read_lane(connection, &claimed, events),
        read_lane(connection, &claimed, events),
    );
    let errors: Vec<DriverError> =
        [first, second, third, fourth].into_iter().filter_map(Result::err).collect();
    let is_loss = |error: &DriverError| matches!(error, DriverError::Lost(_));
    let cause = errors.iter().find(|error| !is_loss(error)).or_else(|| errors.first());
    match cause {
        Some(cause) => Err(cause.clone()),
        // Every lane ended in good order, so the peer is about to close.
        None => Err(Lost::from(connection.closed().await).into()),
    }
}
