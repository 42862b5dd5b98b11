//! Frames on their way out.

use std::collections::BTreeMap;

use bytes::Bytes;
use headland_event::{ByteCount, Lane};
use quinn::{SendStream, WriteError};
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::close::CloseCode;
use super::connection::Connection;
use super::future_set::FutureSet;
use super::lanes::{LANE_FRAMES_LIMIT, LaneEvent};
use super::slot::Slot;

/// How writing a lane ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneEnd {
    /// Everything has reached the peer's transport.
    Flushed,
    /// The connection is lost.
    Lost,
}

/// Among streams QUIC prefers control, then alerts; state and telemetry take turns, because the
/// link has already divided between them and a strict order would undo that.
const fn priority(lane: Lane) -> i32 {
    match lane {
        Lane::Control => 2,
        Lane::Alerts => 1,
        Lane::State | Lane::Telemetry => 0,
    }
}

/// Writes a lane's frames, in order within each slot, until its queue is closed, and then waits
/// for their receipt. A slot's stream is opened by its first frame.
pub(super) async fn write_lane(
    connection: &Connection,
    mut frames: Receiver<(Slot, Bytes)>,
    events: &Sender<LaneEvent>,
) -> LaneEnd {
    let mut queues: BTreeMap<Slot, Sender<Bytes>> = BTreeMap::new();
    let mut writing = FutureSet::new();
    loop {
        // A frame that `recv` has taken is passed on in the same poll, so neither branch loses one.
        tokio::select! {
            biased;
            ended = writing.next(), if !writing.is_empty() => match ended {
                LaneEnd::Flushed => {}
                LaneEnd::Lost => return LaneEnd::Lost,
            },
            frame = frames.recv() => {
                let Some((slot, frame)) = frame else { break };
                let queue = queues.entry(slot).or_insert_with(|| {
                    let (queue, frames) = mpsc::channel(LANE_FRAMES_LIMIT);
                    writing.push(write_slot(connection, slot, frames, events));
                    queue
                });
                // The link's own bounds are far below what a slot can queue; a frame left out would
                // break the order, so the connection goes instead.
                if queue.try_send(frame).is_err() {
                    connection.close(CloseCode::Done, "too many frames wait");
                    return LaneEnd::Lost;
                }
            }
        }
    }
    drop(queues);
    while !writing.is_empty() {
        if writing.next().await == LaneEnd::Lost {
            return LaneEnd::Lost;
        }
    }
    LaneEnd::Flushed
}

async fn write_slot(
    connection: &Connection,
    slot: Slot,
    frames: Receiver<Bytes>,
    events: &Sender<LaneEvent>,
) -> LaneEnd {
    match write_frames(connection, slot, frames, events).await {
        Ok(Some(())) => LaneEnd::Flushed,
        Ok(None) | Err(_) => LaneEnd::Lost,
    }
}

async fn write_frames(
    connection: &Connection,
    slot: Slot,
    mut frames: Receiver<Bytes>,
    events: &Sender<LaneEvent>,
) -> Result<Option<()>, WriteError> {
    let lane = slot.lane;
    let mut stream = connection.quic().open_uni().await?;
    stream.set_priority(priority(lane))?;
    stream.write_all(&[slot.code()]).await?;
    loop {
        // Losing the race to `closed` loses at most a frame that could not be written any more.
        let frame = tokio::select! {
            frame = frames.recv() => frame,
            _ = connection.quic().closed() => return Ok(None),
        };
        let Some(frame) = frame else { break };
        let bytes = write_frame(connection, lane, &mut stream, frame).await?;
        // A caller that no longer listens still wants what it queued to go out.
        events.send(LaneEvent::Written { lane, bytes }).await.ok();
    }
    stream.finish()?;
    match stream.stopped().await {
        Ok(None) => Ok(Some(())),
        Ok(Some(_)) | Err(_) => Ok(None),
    }
}

/// Writes the length and the frame, which is not copied. Before every part QUIC is told how much
/// it may hold, which follows what the path carries.
async fn write_frame(
    connection: &Connection,
    lane: Lane,
    stream: &mut SendStream,
    frame: Bytes,
) -> Result<ByteCount, WriteError> {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let mut parts = [Bytes::copy_from_slice(&length.to_be_bytes()), frame];
    let mut rest: &mut [Bytes] = &mut parts;
    while !rest.is_empty() {
        connection.bound_unsent(lane);
        let written = stream.write_chunks(rest).await?;
        rest = rest.get_mut(written.chunks..).unwrap_or_default();
    }
    Ok(ByteCount::new(u64::from(length)))
}
