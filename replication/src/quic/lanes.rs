//! Frames in and out of one connection.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use headland_event::{ByteCount, Lane};

use super::close::{CloseCode, Farewell};
use super::connection::Connection;
use super::future_set::FutureSet;
use super::lane_reader::{ClaimedSlots, read_datagrams, read_slot};
use super::lane_writer::{WritingEnd, write_lanes};
use super::lost::{DriverError, Lost};
use super::outgoing::{self, Incoming, Outgoing};
use super::passing::{self, EventsIn, EventsOut};
use super::slot::Slot;

/// How long a peer may take over what was queued when the connection is closed: several round
/// trips of any path. One that takes nothing would keep the connection's memory for ever.
const LINGER: Duration = Duration::from_secs(5);

/// What happens on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneEvent {
    /// A frame arrived; frames of one lane are in order, but for those with copies of alerts.
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
    queue: Incoming,
}

impl LaneSender {
    /// Closes the connection in good order, and tells the peer's transport why.
    pub fn close(self, farewell: Farewell) {
        self.queue.close(farewell);
    }

    /// Queues a frame; [`LaneEvent::Written`] follows when the transport has taken it.
    ///
    /// # Errors
    /// [`SendError`] when the lane is full or the connection over.
    pub fn send(&self, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        self.queue.push(Slot::of(lane, &frame), frame)
    }
}

/// Frames in, and what was written.
#[derive(Debug)]
pub struct LaneEvents {
    events: EventsOut,
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
    connection: Connection,
    events: EventsIn,
    outgoing: Outgoing,
}

impl Lanes {
    pub(super) fn new(connection: Connection) -> Self {
        let (events_out, events) = passing::queue();
        let events_in = LaneEvents { events };
        let (queue, outgoing) = outgoing::queue();
        let driver = LaneDriver { connection, events: events_out, outgoing };
        Self { sender: LaneSender { queue }, events: events_in, driver }
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
        let Self { connection, events, outgoing } = self;
        let writing = async {
            if write_lanes(&connection, &outgoing, &events).await == WritingEnd::Lost {
                // The readers say why, once they have read what came.
                std::future::pending::<()>().await;
            }
        };
        let lingering = async {
            let pause = linger(&outgoing.closed().await);
            tokio::time::sleep(pause).await;
        };
        tokio::select! {
            lost = read_lanes(&connection, &events) => return lost,
            () = writing => {}
            () = lingering => {}
            () = connection.probe_when_silent() => {}
            () = connection.probe_trails() => {}
        }
        let Farewell { code, text } = outgoing.farewell().unwrap_or_default();
        connection.close(code, &text);
        Ok(())
    }
}

/// How long the peer may take over the last frames. One that has been silent gets no time, as
/// whoever dials again waits for this connection's end; nor one that is revoked.
const fn linger(farewell: &Farewell) -> Duration {
    match farewell.code {
        CloseCode::Silent | CloseCode::Revoked => Duration::ZERO,
        CloseCode::Done
        | CloseCode::Protocol
        | CloseCode::Identity
        | CloseCode::ShuttingDown
        | CloseCode::Superseded
        | CloseCode::Reconfigured
        | CloseCode::Refused(_)
        | CloseCode::Unknown(_) => LINGER,
    }
}

/// Reads every stream that the peer opens to its end. One that fails does not keep the others from
/// reading what the transport already has: the peer's last word may be there.
async fn read_lanes(connection: &Connection, events: &EventsIn) -> Result<(), DriverError> {
    let claimed = ClaimedSlots::default();
    let mut reading = FutureSet::new();
    let mut errors: Vec<DriverError> = Vec::new();
    let mut lost: Option<Lost> = None;
    let mut datagrams = pin!(read_datagrams(connection.quic(), events));
    let mut has_datagrams = true;
    while lost.is_none() || !reading.is_empty() {
        tokio::select! {
            biased;
            () = &mut datagrams, if has_datagrams => has_datagrams = false,
            ended = reading.next(), if !reading.is_empty() => errors.extend(Result::err(ended)),
            stream = connection.quic().accept_uni(), if lost.is_none() => match stream {
                Ok(stream) => {
                    reading.push(read_slot(connection.quic(), stream, &claimed, events));
                }
                Err(error) => lost = Some(Lost::from(error)),
            },
        }
    }
    let is_loss = |error: &DriverError| matches!(error, DriverError::Lost(_));
    let cause = errors.into_iter().find(|error| !is_loss(error));
    Err(cause
        .or_else(|| lost.map(DriverError::Lost))
        .unwrap_or(DriverError::Lost(Lost::ClosedHere)))
}
