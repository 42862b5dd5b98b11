//! Where a receiver stands, what it has stored, and how far the sender's log reaches.

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{ChannelEpoch, ChannelId, EventTime, Offset, TopicName};

/// Most channels in a promise: eight times the partitions a hub's topic has by default.
pub const PROMISE_ENDS_LIMIT: usize = 1_024;

/// The receiver's word on where it stands: the sender goes on from there, in the new epoch.
///
/// Sent once to accept a channel, and again whenever data did not fit; then everything still on
/// its way in an older epoch is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The sender's channel.
    pub channel: ChannelId,
    /// Higher than in any earlier position of the channel.
    pub epoch: ChannelEpoch,
    /// The sender's offset that the next entry must start at.
    pub next: Offset,
}

/// The receiver's word that everything before `next` is durable there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The sender's channel.
    pub channel: ChannelId,
    /// The sender's offset after the last durable record.
    pub next: Offset,
}

/// The topic that a hub offers to say that it reads [`Passed`]; it never has a record.
pub const PASSED_TOPIC: &str = "_passed";

/// The receiver's word that it has looked at everything before `next`, which takes no window any
/// more. What of it is not acknowledged is not kept there: the next connection brings it again.
///
/// Sent only to a peer that has offered [`PASSED_TOPIC`]: hubs of earlier versions do not know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The sender's channel.
    pub channel: ChannelId,
    /// The sender's offset after the last record that was looked at.
    pub next: Offset,
}

/// The sender's word on how far its log reaches, so that lag is known while nothing flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The sender's channel.
    pub channel: ChannelId,
    /// The offset after the last record.
    pub head: Offset,
}

/// An end of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelEnd {
    /// The sender's channel.
    pub channel: ChannelId,
    /// The offset that it must be stored up to.
    pub end: Offset,
}

/// "My events of this topic up to `watermark` lie before these ends, or are late."
///
/// It travels beside the data and may arrive first: it takes effect when the receiver has stored
/// every channel up to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPromise {
    /// The topic, under the sender's name.
    pub topic: TopicName,
    /// Up to which event time, inclusive.
    pub watermark: EventTime,
    /// The ends of the topic's channels; at most [`PROMISE_ENDS_LIMIT`].
    pub ends: Vec<ChannelEnd>,
}

impl Position {
    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { channel, epoch, next } = self;
        writer.u32(channel.get());
        writer.u64(epoch.get());
        writer.u64(next.get());
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        Ok(Self {
            channel: ChannelId::new(reader.u32("channel")?),
            epoch: ChannelEpoch::new(reader.u64("epoch")?),
            next: Offset::new(reader.u64("next")?),
        })
    }
}

impl Ack {
    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { channel, next } = self;
        write_place(writer, *channel, *next);
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let (channel, next) = read_place(reader, "next")?;
        Ok(Self { channel, next })
    }
}

impl Passed {
    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { channel, next } = self;
        write_place(writer, *channel, *next);
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let (channel, next) = read_place(reader, "next")?;
        Ok(Self { channel, next })
    }
}

impl Head {
    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { channel, head } = self;
        write_place(writer, *channel, *head);
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let (channel, head) = read_place(reader, "head")?;
        Ok(Self { channel, head })
    }
}

impl ChannelPromise {
    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { topic, watermark, ends } = self;
        debug_assert!(ends.len() <= PROMISE_ENDS_LIMIT, "the link checks a promise it is given");
        writer.name(topic.as_str());
        writer.i64(watermark.millis());
        writer.length(ends.len());
        for ChannelEnd { channel, end } in ends {
            write_place(writer, *channel, *end);
        }
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let topic = reader.name("topic")?;
        let watermark = EventTime::from_millis(reader.i64("watermark")?);
        let count = reader.length("ends", PROMISE_ENDS_LIMIT)?;
        let ends = (0..count).map(|_| read_place(reader, "end"));
        let ends = ends.map(|end| end.map(|(channel, end)| ChannelEnd { channel, end }));
        Ok(Self { topic, watermark, ends: ends.collect::<Result<_, _>>()? })
    }
}

fn write_place(writer: &mut Writer, channel: ChannelId, offset: Offset) {
    writer.u32(channel.get());
    writer.u64(offset.get());
}

fn read_place(reader: &mut Reader, field: &'static str) -> Result<(ChannelId, Offset), CodecError> {
    Ok((ChannelId::new(reader.u32("channel")?), Offset::new(reader.u64(field)?)))
}
