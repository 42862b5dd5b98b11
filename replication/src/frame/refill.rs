//! What a hub's log lost, asked of another one that has it, and what that one has.
//!
//! Sent only to a peer that has offered [`REFILLS_TOPIC`]: hubs of earlier versions do not know it.
//! Logs are named as where they were born, and so are their offsets: both hubs may call a copy
//! something else and have it at other offsets.

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{Entry, Incarnation, Offset, PartitionIndex, RegionId, TopicName};

use super::{FrameError, Presence, data, read_presence};

/// The topic that a hub offers to say that it reads these frames; it never has a record.
pub const REFILLS_TOPIC: &str = "_refills";

/// A question for what lies in a range of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefillAsk {
    /// By which the answer is told from others of this connection.
    pub number: u64,
    /// The region the log was born in.
    pub origin: RegionId,
    /// The topic's name there.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// The life of that region's hub that wrote what is asked for.
    pub life: Incarnation,
    /// The first offset there.
    pub from: Offset,
    /// The offset after the last one there, above the first.
    pub until: Offset,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefillPart {
    /// Of the question.
    pub number: u64,
    /// The next entry, at the speaker's offset; none when all was said that the speaker has of it,
    /// or says at once.
    pub entry: Option<Entry>,
}

impl RefillAsk {
    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { number, origin, topic, partition, life, from, until } = self;
        writer.u64(*number);
        writer.name(origin.as_str());
        writer.name(topic.as_str());
        writer.u32(partition.get());
        writer.incarnation(*life);
        writer.u64(from.get());
        writer.u64(until.get());
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, FrameError> {
        let number = reader.u64("refill")?;
        let (origin, topic) = (reader.name("origin")?, reader.name("topic")?);
        let partition = PartitionIndex::new(reader.u32("partition")?);
        let life = reader.incarnation("life")?;
        let from = Offset::new(reader.u64("from")?);
        let at = reader.position();
        let until = Offset::new(reader.u64("until")?);
        if until <= from {
            let found = i64::try_from(until.get()).unwrap_or(i64::MAX);
            let (field, expected) = ("until", "an offset above the first");
            return Err(CodecError::Value { field, at, found, expected }.into());
        }
        Ok(Self { number, origin, topic, partition, life, from, until })
    }
}

impl RefillPart {
    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { number, entry } = self;
        writer.u64(*number);
        Presence::of(entry.as_ref()).write(writer);
        if let Some(entry) = entry {
            data::write_entry(writer, entry);
        }
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, FrameError> {
        let number = reader.u64("refill")?;
        let entry = match read_presence(reader, "entry")? {
            Presence::Absent => None,
            Presence::Present => Some(data::read_entry(reader)?),
        };
        Ok(Self { number, entry })
    }
}
