//! Bodies of commit frames: entries, then changes of state, each behind its own CRC.
//!
//! ```text
//! part     crc u32 of everything after it │ length u32 of everything after it │ content
//! entry    topic u8 length + name │ partition u32 │ base u64
//!          │ dot { stream 16, incarnation u32 + u64, sequence u64 }
//!          │ stamp u8 0 none, 1 (layout in `event::entry`) │ batch u32 length + bytes
//! change   owner u8 length + name │ key u32 length + bytes
//!          │ value u8 0 deleted, 1 u32 length + bytes
//! ```

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{Batch, Dot, Entry, Offset, PartitionIndex, Sequence, Stamp, TopicPartition};

use crate::commit::{Commit, StateChange};
use crate::fault::Fault;
use crate::frame::FrameHeader;

const CRC_LEN: usize = 4;
const PART_HEADER_LEN: usize = 8;
const ABSENT: u8 = 0;
const PRESENT: u8 = 1;

/// Which entries of a body are wanted; all are checked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    Every,
    Of(&'a TopicPartition),
}

/// Appends the body of a commit.
pub(crate) fn write(writer: &mut Writer, commit: &Commit) {
    let Commit { entries, state } = commit;
    for (partition, entry) in entries {
        write_part(writer, |writer| write_entry(writer, partition, entry));
    }
    for change in state {
        write_part(writer, |writer| write_change(writer, change));
    }
}

/// Reads the entries that are wanted and every change of state, and checks every part's CRC.
pub(crate) fn read(header: &FrameHeader, body: Bytes, wanted: Wanted<'_>) -> Result<Commit, Fault> {
    debug_assert!(header.length == body.len(), "the body is as long as its header says");
    let mut reader = Reader::new(body);
    let mut commit = Commit::default();
    for _ in 0..header.entries {
        let mut part = read_part("entry", &mut reader)?;
        commit.entries.extend(read_entry(&mut part, wanted)?);
    }
    for _ in 0..header.changes {
        let mut part = read_part("state change", &mut reader)?;
        commit.state.push(read_change(&mut part)?);
    }
    reader.end()?;
    Ok(commit)
}

fn write_part(writer: &mut Writer, content: impl FnOnce(&mut Writer)) {
    let start = writer.len();
    writer.u32(0);
    writer.u32(0);
    content(writer);
    let length = u32::try_from(writer.len() - start - PART_HEADER_LEN).unwrap_or(u32::MAX);
    patch(writer, start + CRC_LEN, &length.to_be_bytes());
    let crc = writer.as_slice().get(start + CRC_LEN..).map_or(0, crc32c::crc32c);
    patch(writer, start, &crc.to_be_bytes());
}

/// Overwrites bytes that were written as a placeholder.
pub(crate) fn patch(writer: &mut Writer, at: usize, bytes: &[u8]) {
    let field = writer.as_mut_slice().get_mut(at..at + bytes.len());
    debug_assert!(field.is_some(), "a patched field was written before");
    if let Some(field) = field {
        field.copy_from_slice(bytes);
    }
}

fn read_part(part: &'static str, reader: &mut Reader) -> Result<Reader, Fault> {
    let found = reader.u32("part crc")?;
    let mut ahead = reader.clone();
    let length = ahead.length("part length", ahead.remaining())?;
    let checked = reader.take(part, length + CRC_LEN)?;
    let expected = crc32c::crc32c(&checked);
    if found != expected {
        return Err(Fault::Checksum { part, found, expected });
    }
    Ok(Reader::new(checked.slice(CRC_LEN..)))
}

fn write_entry(writer: &mut Writer, partition: &TopicPartition, entry: &Entry) {
    let TopicPartition { topic, partition } = partition;
    let Entry { base, dot, stamp, batch } = entry;
    let Dot { stream, incarnation, sequence } = dot;
    writer.name(topic.as_str());
    writer.u32(partition.get());
    writer.u64(base.get());
    writer.stream_id(*stream);
    writer.incarnation(*incarnation);
    writer.u64(sequence.get());
    match stamp {
        None => writer.u8(ABSENT),
        Some(stamp) => {
            writer.u8(PRESENT);
            stamp.write(writer);
        }
    }
    writer.bytes(batch.as_bytes());
}

fn read_entry(
    reader: &mut Reader,
    wanted: Wanted<'_>,
) -> Result<Option<(TopicPartition, Entry)>, Fault> {
    let topic = reader.name("topic")?;
    let partition = PartitionIndex::new(reader.u32("partition")?);
    let partition = TopicPartition::new(topic, partition);
    match wanted {
        Wanted::Of(one) if *one != partition => return Ok(None),
        Wanted::Of(_) | Wanted::Every => {}
    }
    let base = Offset::new(reader.u64("base offset")?);
    let dot = Dot {
        stream: reader.stream_id("stream")?,
        incarnation: reader.incarnation("incarnation")?,
        sequence: Sequence::new(reader.u64("sequence")?),
    };
    let stamp = if read_presence("stamp", reader)? { Some(Stamp::read(reader)?) } else { None };
    let batch = Batch::decode(reader.bytes("batch", reader.remaining())?)?;
    reader.end()?;
    Ok(Some((partition, Entry { base, dot, stamp, batch })))
}

fn write_change(writer: &mut Writer, change: &StateChange) {
    let StateChange { owner, key, value } = change;
    writer.name(owner.as_str());
    writer.bytes(key);
    match value {
        None => writer.u8(ABSENT),
        Some(value) => {
            writer.u8(PRESENT);
            writer.bytes(value);
        }
    }
}

fn read_change(reader: &mut Reader) -> Result<StateChange, Fault> {
    let owner = reader.name("state owner")?;
    let key = reader.bytes("state key", reader.remaining())?;
    let value = if read_presence("state value", reader)? {
        Some(reader.bytes("state value", reader.remaining())?)
    } else {
        None
    };
    reader.end()?;
    Ok(StateChange { owner, key, value })
}

fn read_presence(field: &'static str, reader: &mut Reader) -> Result<bool, CodecError> {
    let at = reader.position();
    match reader.u8(field)? {
        ABSENT => Ok(false),
        PRESENT => Ok(true),
        found => {
            let found = i64::from(found);
            Err(CodecError::Value { field, at, found, expected: "0 or 1" })
        }
    }
}
