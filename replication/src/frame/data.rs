//! One entry of a log on its way.

use bytes::Bytes;
use headland_event::batch::BatchError;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::limits::FRAME_BYTES_LIMIT;
use headland_event::{
    Batch, ByteCount, ChannelEpoch, ChannelId, Dot, Entry, Offset, Sequence, Stamp,
};

use super::{DATA_KIND, FRAME_VERSION, FrameError, Presence, read_presence};

/// One entry of the sender's log, with the position it belongs to in the same frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// The sender's channel.
    pub channel: ChannelId,
    /// The epoch of the position that the sender goes on from.
    pub epoch: ChannelEpoch,
    /// The entry; its base is the sender's offset.
    pub entry: Entry,
}

/// Where the channel stands in a data frame, after version and kind.
const CHANNEL_AT: std::ops::Range<usize> = 2..6;

/// The channel that an encoded frame carries data of; `None` for any other frame.
#[must_use]
pub fn channel_of_data(frame: &[u8]) -> Option<ChannelId> {
    let [_, kind, ..] = frame else { return None };
    let raw: [u8; 4] = frame.get(CHANNEL_AT)?.try_into().ok()?;
    (*kind == DATA_KIND).then_some(ChannelId::new(u32::from_be_bytes(raw)))
}

impl Data {
    /// The entry with a batch of its own, which keeps nothing else of the frame it came in.
    ///
    /// Cost: copies the batch and verifies it once more.
    pub(crate) fn detached(self) -> Result<Entry, BatchError> {
        let Entry { base, dot, stamp, batch } = self.entry;
        let batch = Batch::decode(Bytes::copy_from_slice(batch.as_bytes()))?;
        Ok(Entry { base, dot, stamp, batch })
    }

    /// Bytes of its frame on the stream, however it came. Cost: encodes it.
    pub(crate) fn frame_bytes(&self) -> ByteCount {
        let mut writer = Writer::new();
        writer.u8(FRAME_VERSION);
        writer.u8(DATA_KIND);
        self.write(&mut writer);
        ByteCount::new(u64::try_from(writer.len()).unwrap_or(u64::MAX))
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { channel, epoch, entry } = self;
        writer.u32(channel.get());
        writer.u64(epoch.get());
        write_entry(writer, entry);
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, FrameError> {
        let channel = ChannelId::new(reader.u32("channel")?);
        let epoch = ChannelEpoch::new(reader.u64("epoch")?);
        Ok(Self { channel, epoch, entry: read_entry(reader)? })
    }
}

/// Appends an entry, from its base on.
pub(super) fn write_entry(writer: &mut Writer, entry: &Entry) {
    let Entry { base, dot, stamp, batch } = entry;
    let Dot { stream, incarnation, sequence } = dot;
    writer.u64(base.get());
    writer.stream_id(*stream);
    writer.incarnation(*incarnation);
    writer.u64(sequence.get());
    Presence::of(stamp.as_ref()).write(writer);
    if let Some(stamp) = stamp {
        stamp.write(writer);
    }
    writer.bytes(batch.as_bytes());
}

/// Reads what [`write_entry`] wrote.
pub(super) fn read_entry(reader: &mut Reader) -> Result<Entry, FrameError> {
    let base_at = reader.position();
    let base = Offset::new(reader.u64("base offset")?);
    let dot = Dot {
        stream: reader.stream_id("stream")?,
        incarnation: reader.incarnation("incarnation")?,
        sequence: Sequence::new(reader.u64("sequence")?),
    };
    let presence = read_presence(reader, "stamped")?;
    let stamp_at = reader.position();
    let stamp = match presence {
        Presence::Absent => None,
        Presence::Present => Some(Stamp::read(reader)?),
    };
    let batch = Batch::decode(reader.bytes("batch", FRAME_BYTES_LIMIT.as_len())?)?;
    let entry = Entry { base, dot, stamp, batch };
    check_room(&entry, base_at, stamp_at)?;
    Ok(entry)
}

/// Refuses an entry whose end would leave 64 bits: everyone adds to these numbers unchecked.
fn check_room(entry: &Entry, base_at: usize, stamp_at: usize) -> Result<(), CodecError> {
    let Entry { base, dot, stamp, batch } = entry;
    let first = base.get().max(dot.sequence.get());
    let stamped = stamp.as_ref().map_or(0, |stamp| stamp.offset.get());
    let numbers =
        [("base offset or sequence", base_at, first), ("stamp offset", stamp_at, stamped)];
    for (field, at, first) in numbers {
        if first.checked_add(batch.span()).is_none() {
            let found = i64::try_from(first).unwrap_or(i64::MAX);
            let expected = "an entry that ends within 64 bits";
            return Err(CodecError::Value { field, at, found, expected });
        }
    }
    Ok(())
}
