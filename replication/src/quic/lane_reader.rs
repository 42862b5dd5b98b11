//! Frames on their way in.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use headland_event::Lane;
use headland_event::limits::FRAME_BYTES_LIMIT;
use quinn::{Connection, ReadError, ReadExactError, RecvStream};

use super::close::CloseCode;
use super::lanes::LaneEvent;
use super::lost::{DriverError, Lost};
use super::passing::EventsIn;
use super::slot::Slot;
use crate::frame::is_copies;

/// Slots of lanes for which the peer has opened its stream, one bit each.
#[derive(Debug, Default)]
pub(super) struct ClaimedSlots(AtomicU64);

impl ClaimedSlots {
    fn claim(&self, slot: Slot) -> Result<(), DriverError> {
        let before = self.0.fetch_or(slot.bit(), Ordering::Relaxed);
        let is_free = before & slot.bit() == 0;
        if is_free { Ok(()) } else { Err(DriverError::LaneTwice { lane: slot.lane }) }
    }
}

/// Reads the frames of one of the peer's streams until it ends; one that breaks the layout closes
/// the connection.
pub(super) async fn read_slot(
    connection: &Connection,
    stream: RecvStream,
    claimed: &ClaimedSlots,
    events: &EventsIn,
) -> Result<(), DriverError> {
    let ended = read_frames(stream, claimed, events).await;
    match &ended {
        Ok(()) | Err(DriverError::Lost(_)) => {}
        Err(broken) => {
            connection.close(CloseCode::Protocol.varint(), broken.to_string().as_bytes());
        }
    }
    ended
}

async fn read_frames(
    mut stream: RecvStream,
    claimed: &ClaimedSlots,
    events: &EventsIn,
) -> Result<(), DriverError> {
    let [code] = read_array(&mut stream).await?.ok_or_else(nothing)?;
    let slot = Slot::from_code(code).ok_or(DriverError::UnknownLane { code })?;
    claimed.claim(slot)?;
    let lane = slot.lane;
    while let Some(prefix) = read_array(&mut stream).await? {
        let frame = read_frame(&mut stream, lane, u32::from_be_bytes(prefix)).await?;
        // A caller that no longer listens is flushing its last frames: the peer's are dropped.
        events.send(LaneEvent::Received { lane, frame }).await;
    }
    Ok(())
}

/// Hands on what datagrams bring until the connection is lost; others than those with copies are
/// probes, and have done their work by arriving.
pub(super) async fn read_datagrams(connection: &Connection, events: &EventsIn) {
    while let Ok(datagram) = connection.read_datagram().await {
        if is_copies(&datagram) {
            // Copied, as it keeps all that arrived with it.
            let frame = Bytes::copy_from_slice(&datagram);
            events.send(LaneEvent::Received { lane: Lane::Alerts, frame }).await;
        }
    }
}

/// Reads a frame whose length was checked before anything is allocated for it.
async fn read_frame(stream: &mut RecvStream, lane: Lane, found: u32) -> Result<Bytes, DriverError> {
    let limit = u32::try_from(FRAME_BYTES_LIMIT.get()).unwrap_or(u32::MAX);
    if found > limit {
        return Err(DriverError::FrameTooLarge { lane, found, limit });
    }
    let length = usize::try_from(found).unwrap_or(usize::MAX);
    // Copied once, into room that was not written before: zeros cost as much as the copy. A chunk
    // is not kept as it is, as it keeps all that arrived with it.
    let mut frame = Vec::with_capacity(length);
    while frame.len() < length {
        let chunk = stream.read_chunk(length - frame.len(), true).await;
        let chunk = chunk.map_err(|error| broken(ReadExactError::ReadError(error)))?;
        let chunk = chunk.ok_or_else(|| broken(ReadExactError::FinishedEarly(frame.len())))?;
        frame.extend_from_slice(&chunk.bytes);
    }
    Ok(Bytes::from(frame))
}

/// Reads `N` bytes; `None` when the stream ends before the first.
async fn read_array<const N: usize>(
    stream: &mut RecvStream,
) -> Result<Option<[u8; N]>, DriverError> {
    let mut raw = [0_u8; N];
    match stream.read_exact(&mut raw).await {
        Ok(()) => Ok(Some(raw)),
        Err(ReadExactError::FinishedEarly(0)) => Ok(None),
        Err(error) => Err(broken(error)),
    }
}

fn broken(error: ReadExactError) -> DriverError {
    match error {
        ReadExactError::ReadError(ReadError::ConnectionLost(lost)) => Lost::from(lost).into(),
        ReadExactError::ReadError(_) | ReadExactError::FinishedEarly(_) => {
            DriverError::Broken { text: error.to_string() }
        }
    }
}

fn nothing() -> DriverError {
    DriverError::Broken { text: "it ended before its lane".to_owned() }
}
