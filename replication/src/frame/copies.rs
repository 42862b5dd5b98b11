//! Alerts that travel a second time, in a datagram, past a stream that a loss holds up.

use bytes::Bytes;
use headland_event::codec::{Reader, Writer};

use super::{COPIES_KIND, Data, FRAME_VERSION, FrameError, unknown_code};

/// Bytes of such a frame, most: every path carries as much in one datagram, which is 1,200 bytes of
/// UDP payload less QUIC's headers. A receiver takes more.
pub const COPIES_BYTES_LIMIT: usize = 1_100;

/// Entries in such a frame, most: no more would fit, as none has fewer bytes than its place.
pub const COPIES_LIMIT: usize = 8;

/// Bytes before the first entry: version, kind and count.
const HEADER_BYTES: usize = 3;

/// Bytes that a data frame has before its body: version and kind.
const DATA_HEADER_BYTES: usize = 2;

/// Entries of the alert lane that have been sent on their stream already. Each says where it
/// belongs as on the stream, so that it counts once, however often it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies {
    /// What went out on the stream, in that order; at least one and at most [`COPIES_LIMIT`].
    pub entries: Vec<Data>,
}

/// Refuses a frame that came on a stream and would fit no datagram: what is taken of it counts for
/// itself alone.
pub(super) fn check_length(found: usize) -> Result<(), FrameError> {
    let limit = COPIES_BYTES_LIMIT;
    if found > limit { Err(FrameError::TooLarge { found, limit }) } else { Ok(()) }
}

/// Whether an encoded frame is one of copies: such a frame travels in a datagram.
#[must_use]
pub fn is_copies(frame: &[u8]) -> bool {
    matches!(frame, [_, COPIES_KIND, ..])
}

/// Bytes that an encoded data frame takes among copies.
pub(crate) const fn copy_bytes(data_frame: &Bytes) -> usize {
    data_frame.len().saturating_sub(DATA_HEADER_BYTES)
}

/// Bytes that are there for entries.
pub(crate) const COPIES_ROOM: usize = COPIES_BYTES_LIMIT - HEADER_BYTES;

/// Encodes a frame of copies from data frames as they were encoded for the stream, [`COPIES_LIMIT`]
/// of them at most.
pub(crate) fn encode_copies<'a>(data_frames: impl ExactSizeIterator<Item = &'a Bytes>) -> Bytes {
    debug_assert!((1..=COPIES_LIMIT).contains(&data_frames.len()), "a few copies at a time");
    let mut writer = Writer::new();
    writer.u8(FRAME_VERSION);
    writer.u8(COPIES_KIND);
    writer.u8(u8::try_from(data_frames.len()).unwrap_or(u8::MAX));
    for frame in data_frames {
        writer.raw(frame.get(DATA_HEADER_BYTES..).unwrap_or_default());
    }
    writer.finish()
}

impl Copies {
    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { entries } = self;
        writer.u8(u8::try_from(entries.len()).unwrap_or(u8::MAX));
        for data in entries {
            data.write(writer);
        }
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, FrameError> {
        let at = reader.position();
        let count = reader.u8("copies")?;
        if !(1..=COPIES_LIMIT).contains(&usize::from(count)) {
            return Err(unknown_code("copies", at, count, "1 to 8").into());
        }
        let entries = (0..count).map(|_| Data::read(reader)).collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }
}
