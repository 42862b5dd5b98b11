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
use crate::frame::{FRAME_HEADER_LEN, FrameHeader};
use crate::group::byte_count;
use crate::points::EntryPlace;

/// Bytes of a part's checksum, which is of all behind it.
pub(crate) const CRC_LEN: usize = 4;
/// Bytes before a part's content.
pub(crate) const PART_HEADER_LEN: usize = 8;
const PART_HEADER_LEN_U32: u32 = 8;
/// How many times its own size a slice of a read buffer may keep in memory; above it is copied.
const PINNED_RATIO: usize = 4;
const ABSENT: u8 = 0;
const PRESENT: u8 = 1;

/// Which entries of a body are wanted; all are checked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    Every,
    Of(&'a TopicPartition),
}

/// An entry or a change of state: what a part holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Entry(TopicPartition, Entry),
    Change(StateChange),
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
    let buffer_len = body.len();
    read_from(header, body, buffer_len, wanted)
}

/// As [`read`], where the body shares a buffer of `buffer_len` bytes: what is small beside it is
/// copied out, so that nobody who keeps a key of ten bytes keeps the buffer.
pub(crate) fn read_from(
    header: &FrameHeader,
    body: Bytes,
    buffer_len: usize,
    wanted: Wanted<'_>,
) -> Result<Commit, Fault> {
    debug_assert!(header.length == body.len(), "the body is as long as its header says");
    let mut reader = Reader::new(body);
    let mut commit = Commit::default();
    for _ in 0..header.entries {
        let part = read_part("entry", &mut reader)?;
        commit.entries.extend(read_entry(part, buffer_len, wanted)?);
    }
    for _ in 0..header.changes {
        let part = read_part("state change", &mut reader)?;
        commit.state.push(read_change(part, buffer_len)?);
    }
    reader.end()?;
    Ok(commit)
}

/// Where the entries of a body are, of a frame at `frame` whose parts are known to be valid.
pub(crate) fn places(
    frame: u64,
    entries: usize,
    body: &[u8],
) -> impl Iterator<Item = EntryPlace> + '_ {
    let mut rest = body;
    let mut part = frame + byte_count(FRAME_HEADER_LEN).get();
    (0..u32::try_from(entries).unwrap_or(u32::MAX)).map_while(move |index| {
        let (_, behind_crc) = rest.split_at_checked(CRC_LEN)?;
        let (length, _) = behind_crc.split_first_chunk()?;
        let length = u32::from_be_bytes(*length).checked_add(PART_HEADER_LEN_U32)?;
        let place = EntryPlace { frame, part, length, index };
        rest = rest.get(usize::try_from(length).ok()?..)?;
        part += u64::from(length);
        Some(place)
    })
}

/// The part that holds an entry.
pub(crate) fn part_of(partition: &TopicPartition, entry: &Entry) -> Bytes {
    let mut writer = Writer::new();
    write_part(&mut writer, |writer| write_entry(writer, partition, entry));
    writer.finish()
}

/// What the content of every entry of a partition begins with, and no other entry's.
pub(crate) fn prefix_of(partition: &TopicPartition) -> Bytes {
    let TopicPartition { topic, partition } = partition;
    let mut writer = Writer::new();
    writer.name(topic.as_str());
    writer.u32(partition.get());
    writer.finish()
}

/// Reads one whole part, checked, that holds an entry of `partition`; `None` for another's.
pub(crate) fn read_entry_of(
    partition: &TopicPartition,
    part: Bytes,
    buffer_len: usize,
) -> Result<Option<Entry>, Fault> {
    let mut reader = Reader::new(part);
    let content = read_part("entry", &mut reader)?;
    reader.end()?;
    Ok(read_entry(content, buffer_len, Wanted::Of(partition))?.map(|(_, entry)| entry))
}

/// Reads one whole part, checked, of a kind that nobody told.
///
/// The layouts cannot be mistaken for each other except by intent: an entry ends in a batch with a
/// checksum and a magic number of its own.
pub(crate) fn read_any(part: Bytes, buffer_len: usize) -> Result<Part, Fault> {
    let mut reader = Reader::new(part);
    let content = read_part("part", &mut reader)?;
    reader.end()?;
    match read_entry(content.clone(), buffer_len, Wanted::Every) {
        Ok(Some((partition, entry))) => Ok(Part::Entry(partition, entry)),
        Ok(None) | Err(_) => read_change(content, buffer_len).map(Part::Change),
    }
}

/// Appends a part with the content that is written by `content`.
pub(crate) fn write_part(writer: &mut Writer, content: impl FnOnce(&mut Writer)) {
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

/// Reads a part, checks its CRC, and gives a reader of its content.
pub(crate) fn read_part(part: &'static str, reader: &mut Reader) -> Result<Reader, Fault> {
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
    mut reader: Reader,
    buffer_len: usize,
    wanted: Wanted<'_>,
) -> Result<Option<(TopicPartition, Entry)>, Fault> {
    let reader = &mut reader;
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
    let batch = reader.bytes("batch", reader.remaining())?;
    reader.end()?;
    let batch = Batch::decode(unpinned(batch, buffer_len))?;
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

fn read_change(mut reader: Reader, buffer_len: usize) -> Result<StateChange, Fault> {
    let reader = &mut reader;
    let owner = reader.name("state owner")?;
    let key = reader.bytes("state key", reader.remaining())?;
    let value = if read_presence("state value", reader)? {
        Some(reader.bytes("state value", reader.remaining())?)
    } else {
        None
    };
    reader.end()?;
    let value = value.map(|value| unpinned(value, buffer_len));
    Ok(StateChange { owner, key: unpinned(key, buffer_len), value })
}

/// Bytes that keep at most [`PINNED_RATIO`] times their own size in memory.
fn unpinned(bytes: Bytes, buffer_len: usize) -> Bytes {
    if bytes.len().saturating_mul(PINNED_RATIO) < buffer_len {
        Bytes::copy_from_slice(&bytes)
    } else {
        bytes
    }
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

#[cfg(test)]
mod tests {
    use headland_event::{
        Actor, CommitNumber, EventTime, Hlc, Incarnation, Record, RegionId, StreamId, TopicName,
        VectorClock,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::commit::StateOwner;
    use crate::frame::FrameKind;

    fn entry(has_stamp: bool, value: &[u8]) -> (TopicPartition, Entry) {
        let record = Record::new(EventTime::from_millis(1), "k", value.to_vec());
        let incarnation = Incarnation::new(1, 2);
        let partition = PartitionIndex::new(3);
        let actor = Actor { region: RegionId::new("eu").unwrap(), incarnation, partition };
        let mut context = VectorClock::new();
        context.advance(&actor, Offset::new(4));
        let hlc = Hlc::new(EventTime::from_millis(5), 6);
        let stamp = Stamp {
            actor,
            offset: Offset::new(7),
            hlc,
            context: context.into(),
            verdicts: Vec::new(),
        };
        let (stream, sequence) = (StreamId::new([8; 16]), Sequence::new(9));
        let entry = Entry {
            base: Offset::new(7),
            dot: Dot { stream, incarnation, sequence },
            stamp: has_stamp.then_some(stamp),
            batch: Batch::encode(&[record]).unwrap(),
        };
        (TopicPartition::new(TopicName::new("air").unwrap(), partition), entry)
    }

    fn change(key: &[u8], value: Option<&[u8]>) -> StateChange {
        StateChange {
            owner: StateOwner::new("positions").unwrap(),
            key: Bytes::copy_from_slice(key),
            value: value.map(Bytes::copy_from_slice),
        }
    }

    fn encode(commit: &Commit) -> (FrameHeader, Bytes) {
        let mut writer = Writer::new();
        write(&mut writer, commit);
        let header = FrameHeader {
            kind: FrameKind::Commit,
            length: writer.len(),
            entries: commit.entries.len(),
            changes: commit.state.len(),
            commit: CommitNumber::new(1),
            nonce: 1,
            position: 76,
            durable: 0,
        };
        (header, writer.finish())
    }

    #[test]
    fn every_flipped_bit_of_a_body_is_found_whichever_entries_are_wanted() {
        let entries = vec![entry(true, b"value")];
        let (header, body) = encode(&Commit { entries, state: vec![change(b"a", Some(b"b"))] });
        let other = TopicPartition::new(TopicName::new("x").unwrap(), PartitionIndex::new(0));

        for bit in 0..body.len() * 8 {
            let mut flipped = body.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let flipped = Bytes::from(flipped);
            for wanted in [Wanted::Every, Wanted::Of(&other)] {
                assert!(read(&header, flipped.clone(), wanted).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn only_the_wanted_partition_is_decoded() {
        let (partition, wanted) = entry(false, b"value");
        let mut other = entry(false, b"other");
        other.0.partition = PartitionIndex::new(4);
        let entries = vec![other, (partition.clone(), wanted.clone())];
        let (header, body) = encode(&Commit { entries, state: Vec::new() });

        let found = read(&header, body, Wanted::Of(&partition)).unwrap();

        assert_eq!(found.entries, [(partition, wanted)]);
    }

    #[test]
    fn what_is_small_beside_the_buffer_it_shares_is_copied_out() {
        let entries = vec![entry(false, &[7; 400])];
        let (header, body) = encode(&Commit { entries, state: vec![change(b"a", Some(b"b"))] });
        let limit = 4 * entry(false, &[7; 400]).1.batch.as_bytes().len();
        let is_own = |buffer_len| {
            let read = read_from(&header, body.clone(), buffer_len, Wanted::Every).unwrap();
            let (entry, change) = (read.entries[0].1.clone(), read.state[0].clone());
            // The body here and the commit read are two owners; of a copy there is one besides.
            drop(read);
            let (batch, key) = (entry.batch.as_bytes().clone(), change.key);
            drop(entry);
            (batch.is_unique(), key.is_unique())
        };

        assert_eq!(is_own(limit), (false, true));
        assert_eq!(is_own(limit + 1), (true, true));
    }

    #[test]
    fn entries_are_placed_where_their_parts_start_and_changes_are_not() {
        let entries = vec![entry(true, b"value"), entry(false, b"other")];
        let (header, body) = encode(&Commit { entries, state: vec![change(b"a", None)] });

        let places: Vec<EntryPlace> = places(76, header.entries, &body).collect();

        let [first, second] = *places else { panic!("{places:?}") };
        assert_eq!((first.frame, first.part, first.index), (76, 132, 0));
        assert_eq!((second.part, second.index), (132 + u64::from(first.length), 1));
        let at = usize::try_from(second.part - 132).unwrap();
        let part = body.slice(at..at + usize::try_from(second.length).unwrap());
        let found = u32::from_be_bytes(*part.first_chunk().unwrap());
        assert_eq!(found, crc32c::crc32c(&part[CRC_LEN..]));
    }

    proptest! {
        #[test]
        fn decode_of_encode_is_the_same_commit(
            values: Vec<(bool, Vec<u8>)>, state: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        ) {
            let entries = values.iter().map(|(has_stamp, value)| entry(*has_stamp, value));
            let changes = state.iter().map(|(key, value)| change(key, value.as_deref()));
            let commit = Commit { entries: entries.collect(), state: changes.collect() };
            let (header, body) = encode(&commit);

            prop_assert_eq!(read(&header, body, Wanted::Every), Ok(commit));
        }

        #[test]
        fn any_bytes_decode_without_a_panic(
            bytes: Vec<u8>, entries in 0_usize..3, changes in 0_usize..3,
        ) {
            let (header, _) = encode(&Commit::default());
            let header = FrameHeader { length: bytes.len(), entries, changes, ..header };

            drop(read(&header, bytes.into(), Wanted::Every));
        }
    }
}
