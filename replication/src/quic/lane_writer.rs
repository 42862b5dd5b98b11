//! Frames on their way out.

use bytes::Bytes;
use headland_event::{ByteCount, Lane};
use quinn::{Connection, SendStream, WriteError};
use tokio::sync::mpsc::{Receiver, Sender};

use super::lanes::LaneEvent;

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

/// Writes a lane's frames in order until its queue is closed, and then waits for their receipt.
pub(super) async fn write_lane(
    connection: &Connection,
    lane: Lane,
    frames: Receiver<Bytes>,
    events: &Sender<LaneEvent>,
) -> LaneEnd {
    match write_frames(connection, lane, frames, events).await {
        Ok(Some(())) => LaneEnd::Flushed,
        Ok(None) | Err(_) => LaneEnd::Lost,
    }
}

async fn write_frames(
    connection: &Connection,
    lane: Lane,
    mut frames: Receiver<Bytes>,
    events: &Sender<LaneEvent>,
) -> Result<Option<()>, WriteError> {
    let mut stream = connection.open_uni().await?;
    stream.set_priority(priority(lane))?;
    stream.write_all(&[lane.code()]).await?;
    loop {
        // Losing the race to `closed` loses at most a frame that could not be written any more.
        let frame = tokio::select! {
            frame = frames.recv() => frame,
            _ = connection.closed() => return Ok(None),
        };
        let Some(frame) = frame else { break };
        let bytes = write_frame(&mut stream, frame).await?;
        // A caller that no longer listens still wants what it queued to go out.
        events.send(LaneEvent::Written { lane, bytes }).await.ok();
    }
    stream.finish()?;
    match stream.stopped().await {
        Ok(None) => Ok(Some(())),
        Ok(Some(_)) | Err(_) => Ok(None),
    }
}

/// Writes the length and the frame, which is not copied.
async fn write_frame(stream: &mut SendStream, frame: Bytes) -> Result<ByteCount, WriteError> {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let prefix = Bytes::copy_from_slice(&length.to_be_bytes());
    stream.write_all_chunks(&mut [prefix, frame]).await?;
    Ok(ByteCount::new(u64::from(length)))
}
