//! Frames on their way out.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use headland_event::{ByteCount, Lane};
use quinn::{SendStream, WriteError};

use super::by_slot::BySlot;
use super::connection::Connection;
use super::lanes::LaneEvent;
use super::outgoing::Outgoing;
use super::passing::EventsIn;
use super::slot::Slot;

/// How writing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WritingEnd {
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

/// What is left when a slot has nothing more to write.
enum Rest {
    /// Its stream.
    Stream(SendStream),
    /// Nothing: it wrote datagrams.
    Nothing,
    /// Its stream is lost.
    Lost,
}

/// Streams that write at the moment; each is gone when its slot has nothing more to write, so that
/// a connection on which nothing is said keeps nothing for them.
struct Writing<'a> {
    slots: BySlot<Pin<Box<dyn Future<Output = Rest> + Send + 'a>>>,
}

impl Writing<'_> {
    /// The next slot that has written all it had, with what is left of it; waits for ever when
    /// nothing writes.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    async fn next(&mut self) -> (Slot, Rest) {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// By lane: what an acknowledgement makes room for goes to control and alerts before bulk can
    /// take it.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<(Slot, Rest)> {
        let ended = self.slots.iter_mut().find_map(|(slot, writing)| {
            match writing.as_mut().poll(context) {
                Poll::Ready(rest) => Some((slot, rest)),
                Poll::Pending => None,
            }
        });
        let Some((slot, rest)) = ended else { return Poll::Pending };
        self.slots.remove(slot);
        Poll::Ready((slot, rest))
    }
}

/// Writes frames, in order within each slot, until the last word is said, and then waits for their
/// receipt. A slot's stream is opened by its first frame.
pub(super) async fn write_lanes(
    connection: &Connection,
    outgoing: &Outgoing,
    events: &EventsIn,
) -> WritingEnd {
    let mut idle: BySlot<SendStream> = BySlot::default();
    let mut writing = Writing { slots: BySlot::default() };
    loop {
        while let Some(slot) = outgoing.first(|slot| writing.slots.contains(slot)) {
            let stream = idle.remove(slot);
            let written = write_slot(connection, (slot, stream), outgoing, events);
            writing.slots.insert(slot, Box::pin(written));
        }
        if writing.slots.is_empty() && outgoing.farewell().is_some() {
            break;
        }
        tokio::select! {
            biased;
            (slot, rest) = writing.next() => match rest {
                Rest::Stream(stream) => idle.insert(slot, stream),
                Rest::Nothing => {}
                Rest::Lost => return WritingEnd::Lost,
            },
            () = outgoing.changed() => {}
        }
    }
    flush(idle).await
}

/// Ends every stream, and waits until the peer's transport has all of it.
async fn flush(mut streams: BySlot<SendStream>) -> WritingEnd {
    for (_, stream) in streams.iter_mut() {
        if stream.finish().is_err() {
            return WritingEnd::Lost;
        }
    }
    for (_, stream) in streams.iter() {
        match stream.stopped().await {
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => return WritingEnd::Lost,
        }
    }
    WritingEnd::Flushed
}

/// Writes what waits of a slot.
async fn write_slot(
    connection: &Connection,
    (slot, mut stream): (Slot, Option<SendStream>),
    outgoing: &Outgoing,
    events: &EventsIn,
) -> Rest {
    let lane = slot.lane;
    while let Some(frame) = outgoing.take(slot) {
        let bytes = ByteCount::new(u64::try_from(frame.len()).unwrap_or(u64::MAX));
        if slot.is_datagrams() {
            connection.send_datagram(frame);
        } else {
            match write_frame(connection, slot, stream, frame).await {
                Ok(written) => stream = Some(written),
                Err(_) => return Rest::Lost,
            }
        }
        // A caller that no longer listens still wants what it queued to go out.
        events.send(LaneEvent::Written { lane, bytes }).await;
    }
    stream.map_or(Rest::Nothing, Rest::Stream)
}

async fn open(connection: &Connection, slot: Slot) -> Result<SendStream, WriteError> {
    let mut stream = connection.quic().open_uni().await?;
    stream.set_priority(priority(slot.lane))?;
    stream.write_all(&[slot.code()]).await?;
    Ok(stream)
}

/// Writes the length and the frame, which is not copied, to a stream that is opened if need be.
/// Before every part QUIC is told how much it may hold, which follows what the path carries.
async fn write_frame(
    connection: &Connection,
    slot: Slot,
    stream: Option<SendStream>,
    frame: Bytes,
) -> Result<SendStream, WriteError> {
    let mut stream = match stream {
        Some(stream) => stream,
        None => open(connection, slot).await?,
    };
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let mut parts = [Bytes::copy_from_slice(&length.to_be_bytes()), frame];
    let mut rest: &mut [Bytes] = &mut parts;
    while !rest.is_empty() {
        connection.bound_unsent(slot.lane);
        let written = stream.write_chunks(rest).await?;
        rest = rest.get_mut(written.chunks..).unwrap_or_default();
    }
    Ok(stream)
}
