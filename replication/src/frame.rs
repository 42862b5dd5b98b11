//! The frames of a link and their layouts.
//!
//! ```text
//! frame v1:      1 version u8 │ kind u8 │ body
//!
//! 1  hello       identity │ incarnation 12 │ window u64
//! 2  announce    channel u32 │ topic name │ partition u32 │ origin name │ origin topic name
//!                │ hops u8 × { region name } │ lane u8 │ start u64 │ head u64
//! 3  position    channel u32 │ epoch u64 │ next u64
//! 4  refuse      scope u8 { 0 link, 1 yours, 2 mine } │ channel u32 unless scope is 0
//!                │ code u8 │ text
//! 5  data        channel u32 │ epoch u64 │ base u64 │ dot { stream 16, incarnation 12,
//!                sequence u64 } │ stamped u8 { 0, 1 } │ stamp if 1 │ batch bytes
//! 6  ack         channel u32 │ next u64
//! 7  head        channel u32 │ head u64
//! 8  keepalive   sent at u64 ns │ echoes u8 { 0, 1 } │ { sent at u64 ns, held u64 ns } if 1
//! 9  promise     topic name │ watermark i64 ms │ ends u32 × { channel u32, end u64 }
//! 10 goodbye     reason u8
//! 11 lease       word u8 │ what it says
//! 12 copies      count u8 (1 to 8) × { what follows the kind of a data frame }
//! 13 refill ask  number u64 │ origin name │ topic name │ partition u32 │ life 12 │ from u64
//!                │ until u64
//! 14 refill part number u64 │ present u8 { 0, 1 } │ a data frame's fields from base on if 1
//! 15 passed      channel u32 │ next u64
//!
//! identity:      role u8 { 0 agent, 1 hub } │ region name │ node name
//! name:          length u8 │ bytes;   text, bytes: length u32 │ bytes
//! ```
//! Integers are big-endian. A frame is at most [`headland_event::limits::FRAME_BYTES_LIMIT`] long;
//! every length is checked
//! before anything is allocated for it, and nothing may follow the last field. The stamp's layout
//! is drawn in [`headland_event::entry`], the batch's in [`headland_event::batch`].
//!
//! A decoder that meets an unknown version, kind or code refuses the frame: versions are agreed on
//! in the ALPN id and the hello, never guessed.

use bytes::Bytes;
use headland_event::batch::BatchError;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::limits::FRAME_BYTES_LIMIT;

use crate::lease::LeaseMessage;

/// Who speaks: the first frame in each direction.
mod hello;
/// What a sender offers: one partition, where it came from and how far it reaches.
mod announce;
/// Where a receiver stands, what it has stored, and how far the sender's log reaches.
mod progress;
/// One entry of a log on its way.
mod data;
/// Alerts on their way once more.
mod copies;
/// What is refused, and why.
mod refusal;
/// Signs of life and the end of it.
mod keepalive;
/// Who is in use.
mod lease;
/// What a log lost.
mod refill;

pub use announce::{Announce, HOPS_LIMIT, Offer};
pub use copies::{COPIES_BYTES_LIMIT, COPIES_LIMIT, Copies, is_copies};
pub(crate) use copies::{COPIES_ROOM, copy_bytes, encode_copies};
pub use data::{Data, channel_of_data};
pub use hello::{Hello, Identity};
pub use keepalive::{Echo, Goodbye, Keepalive};
pub use lease::LEASES_TOPIC;
pub use progress::{
    Ack, ChannelEnd, ChannelPromise, Head, PASSED_TOPIC, PROMISE_ENDS_LIMIT, Passed, Position,
};
pub use refill::{REFILLS_TOPIC, RefillAsk, RefillPart};
pub use refusal::{REFUSAL_TEXT_LIMIT, Refusal, RefusalCode, Refuse, Scope};

/// Version of the frames this build writes, and the only one it reads.
pub const FRAME_VERSION: u8 = 1;

/// The kind byte of [`Frame::Data`], by which a driver finds its channel.
const DATA_KIND: u8 = 5;

/// The kind byte of [`Frame::Copies`], by which a driver knows what goes as a datagram.
const COPIES_KIND: u8 = 12;

/// One frame of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Who speaks; first in each direction.
    Hello(Hello),
    /// The sender offers a partition.
    Announce(Announce),
    /// The receiver says where it stands.
    Position(Position),
    /// Something is refused for good.
    Refuse(Refuse),
    /// One entry; the only frame that travels on its topic's lane.
    Data(Data),
    /// The receiver has stored what precedes a position.
    Ack(Ack),
    /// The sender's log has grown.
    Head(Head),
    /// A sign of life, and the echo of the peer's.
    Keepalive(Keepalive),
    /// The sender promises something about event time.
    Promise(ChannelPromise),
    /// The sender closes the link in good order.
    Goodbye(Goodbye),
    /// A hub's word about who is in use; only to a peer that has said that it reads it.
    Lease(LeaseMessage),
    /// A question for what a log lost; only to a peer that has said that it reads it.
    RefillAsk(RefillAsk),
    /// A part of the answer.
    RefillPart(RefillPart),
    /// Alerts once more, in a datagram; only to a peer that takes datagrams of this size.
    Copies(Copies),
    /// The receiver has looked at what precedes a position; only to a peer that has said that it
    /// reads it.
    Passed(Passed),
}

/// Bytes that are no frame, or a frame that cannot be bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame above the limit.
    #[error("a frame of {found} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes of the frame.
        found: usize,
        /// Most that fit.
        limit: usize,
    },
    /// A version this build does not read.
    #[error("frame version {found}, this build reads {expected}")]
    Version {
        /// The version found.
        found: u8,
        /// The version read.
        expected: u8,
    },
    /// The layout breaks off or contradicts itself.
    #[error("the frame's layout is broken")]
    Layout(#[from] CodecError),
    /// The batch inside is damaged.
    #[error("the frame's batch is refused")]
    Batch(#[from] BatchError),
}

impl FrameError {
    /// Whether the same bytes could be read later: never.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::Version { .. } | Self::Layout(_) | Self::Batch(_) => {
                false
            }
        }
    }
}

impl Frame {
    /// Encodes the frame in the layout above.
    ///
    /// Cost: one pass; a batch is copied once.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] when a data frame's stamp leaves no room for its batch; every
    /// other frame is far below the limit.
    pub fn encode(&self) -> Result<Bytes, FrameError> {
        let mut writer = Writer::new();
        writer.u8(FRAME_VERSION);
        writer.u8(self.kind());
        match self {
            Self::Hello(hello) => hello.write(&mut writer),
            Self::Announce(announce) => announce.write(&mut writer),
            Self::Position(position) => position.write(&mut writer),
            Self::Refuse(refuse) => refuse.write(&mut writer),
            Self::Data(data) => data.write(&mut writer),
            Self::Ack(ack) => ack.write(&mut writer),
            Self::Head(head) => head.write(&mut writer),
            Self::Keepalive(keepalive) => keepalive.write(&mut writer),
            Self::Promise(promise) => promise.write(&mut writer),
            Self::Goodbye(goodbye) => writer.u8(goodbye.code()),
            Self::Lease(message) => message.write(&mut writer),
            Self::RefillAsk(ask) => ask.write(&mut writer),
            Self::RefillPart(part) => part.write(&mut writer),
            Self::Copies(copies) => {
                copies.write(&mut writer);
                copies::check_length(writer.len())?;
            }
            Self::Passed(passed) => passed.write(&mut writer),
        }
        check_length(writer.len())?;
        Ok(writer.finish())
    }

    /// Decodes one frame that fills `bytes`.
    ///
    /// Cost: one pass; a batch shares the memory of `bytes`, and its checksum is verified.
    ///
    /// # Errors
    /// [`FrameError`] when the bytes are anything else than one frame of this version.
    pub fn decode(bytes: Bytes) -> Result<Self, FrameError> {
        let length = bytes.len();
        check_length(length)?;
        let mut reader = Reader::new(bytes);
        let found = reader.u8("frame version")?;
        if found != FRAME_VERSION {
            return Err(FrameError::Version { found, expected: FRAME_VERSION });
        }
        let at = reader.position();
        let frame = match reader.u8("frame kind")? {
            1 => Self::Hello(Hello::read(&mut reader)?),
            2 => Self::Announce(Announce::read(&mut reader)?),
            3 => Self::Position(Position::read(&mut reader)?),
            4 => Self::Refuse(Refuse::read(&mut reader)?),
            DATA_KIND => Self::Data(Data::read(&mut reader)?),
            6 => Self::Ack(Ack::read(&mut reader)?),
            7 => Self::Head(Head::read(&mut reader)?),
            8 => Self::Keepalive(Keepalive::read(&mut reader)?),
            9 => Self::Promise(ChannelPromise::read(&mut reader)?),
            10 => Self::Goodbye(Goodbye::read(&mut reader)?),
            11 => Self::Lease(LeaseMessage::read(&mut reader)?),
            COPIES_KIND => {
                copies::check_length(length)?;
                Self::Copies(Copies::read(&mut reader)?)
            }
            13 => Self::RefillAsk(RefillAsk::read(&mut reader)?),
            14 => Self::RefillPart(RefillPart::read(&mut reader)?),
            15 => Self::Passed(Passed::read(&mut reader)?),
            unknown => return Err(unknown_code("frame kind", at, unknown, "1 to 15").into()),
        };
        reader.end()?;
        Ok(frame)
    }

    /// The kind byte of the layout above.
    pub(crate) const fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => 1,
            Self::Announce(_) => 2,
            Self::Position(_) => 3,
            Self::Refuse(_) => 4,
            Self::Data(_) => DATA_KIND,
            Self::Ack(_) => 6,
            Self::Head(_) => 7,
            Self::Keepalive(_) => 8,
            Self::Promise(_) => 9,
            Self::Goodbye(_) => 10,
            Self::Lease(_) => 11,
            Self::Copies(_) => COPIES_KIND,
            Self::RefillAsk(_) => 13,
            Self::RefillPart(_) => 14,
            Self::Passed(_) => 15,
        }
    }
}

fn check_length(found: usize) -> Result<(), FrameError> {
    let limit = FRAME_BYTES_LIMIT.as_len();
    if found > limit { Err(FrameError::TooLarge { found, limit }) } else { Ok(()) }
}

fn unknown_code(field: &'static str, at: usize, found: u8, expected: &'static str) -> CodecError {
    CodecError::Value { field, at, found: i64::from(found), expected }
}

/// Reads the byte before an optional field.
fn read_presence(reader: &mut Reader, field: &'static str) -> Result<Presence, CodecError> {
    let at = reader.position();
    match reader.u8(field)? {
        0 => Ok(Presence::Absent),
        1 => Ok(Presence::Present),
        unknown => Err(unknown_code(field, at, unknown, "0 or 1")),
    }
}

/// Whether an optional field follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Absent,
    Present,
}

impl Presence {
    const fn of<T>(field: Option<&T>) -> Self {
        if field.is_some() { Self::Present } else { Self::Absent }
    }

    fn write(self, writer: &mut Writer) {
        writer.u8(match self {
            Self::Absent => 0,
            Self::Present => 1,
        });
    }
}

#[cfg(test)]
mod tests;
