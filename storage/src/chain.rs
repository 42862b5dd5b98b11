//! What the journal is made of: the body of a chain frame.
//!
//! ```text
//! part     as in `body`: crc u32 │ length u32 │ content
//! content  files u32, then for each
//!            { number u64 │ nonce u64 │ kind u8 1 journal, 2 cold
//!              │ base commit u64 │ last commit u64 │ end u64 }
//!          holes u32, then for each
//!            { topic u8 length + name │ partition u32 │ from u64 │ until u64
//!              │ cause u8 1 cleaned, 2 lost, 3 given up + life u32 counter, u64 nonce }
//! ```
//! The files are in the order of their commits; the one that holds the frame is not among them.
//! The newest valid chain frame of the newest file is the truth: what it does not name is no part
//! of the journal. A chain is written as two frames with the same body, because it is the one
//! thing in a journal whose loss would cost more than itself.

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{CommitNumber, Incarnation, Offset, PartitionIndex, TopicPartition};

use crate::body;
use crate::fault::Fault;
use crate::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind, Link};
use crate::group::byte_count;
use crate::index::FileKind;

/// What a file that is appended to is named with.
pub(crate) const JOURNAL_SUFFIX: &str = ".journal";
/// What a file that cleaning wrote is named with.
pub(crate) const COLD_SUFFIX: &str = ".cold";
/// Frames that a chain is written as.
const COPIES: u64 = 2;
const KIND_JOURNAL: u8 = 1;
const KIND_COLD: u8 = 2;
const CAUSE_CLEANED: u8 = 1;
const CAUSE_LOST: u8 = 2;
const CAUSE_GIVEN_UP: u8 = 3;

/// The name of a file: its number in ten digits, so that names sort like numbers.
pub(crate) fn file_name(kind: FileKind, number: u64) -> String {
    let suffix = match kind {
        FileKind::Journal => JOURNAL_SUFFIX,
        FileKind::Cold => COLD_SUFFIX,
    };
    format!("{number:010}{suffix}")
}

/// Kind and number of a file with that name; `None` for a name that is none of ours.
pub(crate) fn parse_name(name: &str) -> Option<(FileKind, u64)> {
    let journal = name.strip_suffix(JOURNAL_SUFFIX).map(|digits| (FileKind::Journal, digits));
    let cold = || name.strip_suffix(COLD_SUFFIX).map(|digits| (FileKind::Cold, digits));
    let (kind, digits) = journal.or_else(cold)?;
    digits.parse().ok().map(|number| (kind, number))
}

/// A file of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) number: u64,
    pub(crate) nonce: u64,
    pub(crate) kind: FileKind,
    /// Number of the first commit that may be in it.
    pub(crate) base: CommitNumber,
    /// Number of its last commit.
    pub(crate) last: CommitNumber,
    /// Position where it ends: bytes from there on are its directory, or void.
    pub(crate) end: u64,
}

impl Member {
    /// The file as a header names it.
    pub(crate) const fn link(&self) -> Link {
        Link { nonce: self.nonce, end: self.end }
    }
}

/// Why offsets of a partition hold nothing; of two causes of one hole the greater says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HoleCause {
    /// They were cleaned; the hole keeps the end of a partition from going back.
    Cleaned,
    /// What they held is damaged, and entries stood behind them.
    Lost,
    /// All that the end of the partition can have held in lives up to this one, the last one in
    /// which it was written: nobody knows how many of them were given.
    GivenUp(Incarnation),
}

/// Offsets that no entry will ever have again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) partition: TopicPartition,
    pub(crate) from: Offset,
    pub(crate) until: Offset,
    pub(crate) cause: HoleCause,
}

impl Hole {
    /// Whether it is the same offsets, whatever the cause.
    pub(crate) fn is_same_range(&self, other: &Self) -> bool {
        (self.from, self.until) == (other.from, other.until) && self.partition == other.partition
    }

    /// Whether cleaning left it at the end of a partition, which is at `end`.
    pub(crate) fn is_cleaned_up_to(&self, partition: &TopicPartition, end: Offset) -> bool {
        self.cause == HoleCause::Cleaned && self.until == end && self.partition == *partition
    }
}

/// What the journal is made of, the file being written left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) files: Vec<Member>,
    pub(crate) holes: Vec<Hole>,
}

/// Where a chain goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChainPlace {
    /// The file's nonce.
    pub(crate) nonce: u64,
    /// Position of the first of the frames.
    pub(crate) position: u64,
    /// Position below which the file is known durable.
    pub(crate) durable: u64,
    /// Number of the next commit.
    pub(crate) next: CommitNumber,
}

impl Chain {
    /// The body of a chain frame.
    pub(crate) fn body(&self) -> Bytes {
        let Self { files, holes } = self;
        let mut writer = Writer::new();
        body::write_part(&mut writer, |writer| {
            writer.length(files.len());
            files.iter().for_each(|member| write_member(writer, member));
            writer.length(holes.len());
            holes.iter().for_each(|hole| write_hole(writer, hole));
        });
        writer.finish()
    }

    /// The frames of the chain as they go to a file.
    pub(crate) fn encode(&self, place: ChainPlace) -> Bytes {
        let ChainPlace { nonce, position, durable, next } = place;
        let body = self.body();
        let mut writer = Writer::new();
        for _ in 0..COPIES {
            let header = FrameHeader {
                kind: FrameKind::Chain,
                length: body.len(),
                entries: 0,
                changes: 0,
                commit: next,
                nonce,
                position: position + byte_count(writer.len()).get(),
                durable,
            };
            writer.raw(&header.encode());
            writer.raw(&body);
        }
        debug_assert!(byte_count(writer.len()).get() == self.len(), "the length is known before");
        writer.finish()
    }

    /// Bytes of the frames.
    pub(crate) fn len(&self) -> u64 {
        COPIES * byte_count(FRAME_HEADER_LEN + self.body().len()).get()
    }

    /// Reads the body of a chain frame.
    pub(crate) fn decode(bytes: Bytes) -> Result<Self, Fault> {
        let mut outer = Reader::new(bytes);
        let mut reader = body::read_part("chain", &mut outer)?;
        outer.end()?;
        let mut chain = Self::default();
        for _ in 0..reader.length("files", reader.remaining())? {
            chain.files.push(read_member(&mut reader)?);
        }
        for _ in 0..reader.length("holes", reader.remaining())? {
            chain.holes.push(read_hole(&mut reader)?);
        }
        reader.end()?;
        Ok(chain)
    }
}

fn write_member(writer: &mut Writer, member: &Member) {
    let Member { number, nonce, kind, base, last, end } = member;
    debug_assert!(base <= last, "a file of the chain holds a commit");
    writer.u64(*number);
    writer.u64(*nonce);
    writer.u8(match kind {
        FileKind::Journal => KIND_JOURNAL,
        FileKind::Cold => KIND_COLD,
    });
    writer.u64(base.get());
    writer.u64(last.get());
    writer.u64(*end);
}

fn read_member(reader: &mut Reader) -> Result<Member, CodecError> {
    Ok(Member {
        number: reader.u64("file number")?,
        nonce: reader.u64("file nonce")?,
        kind: read_kind(reader)?,
        base: CommitNumber::new(reader.u64("base commit")?),
        last: CommitNumber::new(reader.u64("last commit")?),
        end: reader.u64("file end")?,
    })
}

fn write_hole(writer: &mut Writer, hole: &Hole) {
    let Hole { partition, from, until, cause } = hole;
    writer.name(partition.topic.as_str());
    writer.u32(partition.partition.get());
    writer.u64(from.get());
    writer.u64(until.get());
    match cause {
        HoleCause::Cleaned => writer.u8(CAUSE_CLEANED),
        HoleCause::Lost => writer.u8(CAUSE_LOST),
        HoleCause::GivenUp(life) => {
            writer.u8(CAUSE_GIVEN_UP);
            writer.incarnation(*life);
        }
    }
}

fn read_hole(reader: &mut Reader) -> Result<Hole, CodecError> {
    let topic = reader.name("topic")?;
    let partition = PartitionIndex::new(reader.u32("partition")?);
    Ok(Hole {
        partition: TopicPartition::new(topic, partition),
        from: Offset::new(reader.u64("hole from")?),
        until: Offset::new(reader.u64("hole until")?),
        cause: read_cause(reader)?,
    })
}

fn read_cause(reader: &mut Reader) -> Result<HoleCause, CodecError> {
    let (field, at) = ("hole cause", reader.position());
    match reader.u8(field)? {
        CAUSE_CLEANED => Ok(HoleCause::Cleaned),
        CAUSE_LOST => Ok(HoleCause::Lost),
        CAUSE_GIVEN_UP => reader.incarnation("life of the hole").map(HoleCause::GivenUp),
        found => {
            let found = i64::from(found);
            Err(CodecError::Value { field, at, found, expected: "1, 2 or 3" })
        }
    }
}

fn read_kind(reader: &mut Reader) -> Result<FileKind, CodecError> {
    let (field, at) = ("file kind", reader.position());
    match reader.u8(field)? {
        KIND_JOURNAL => Ok(FileKind::Journal),
        KIND_COLD => Ok(FileKind::Cold),
        found => {
            let found = i64::from(found);
            Err(CodecError::Value { field, at, found, expected: "1 or 2" })
        }
    }
}

#[cfg(test)]
mod tests {
    use headland_event::TopicName;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn chain(files: &[(u64, bool)], holes: &[(u64, u32)]) -> Chain {
        let partition = TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(3));
        let file = |(number, is_cold): &(u64, bool)| Member {
            number: *number,
            nonce: number ^ 7,
            kind: if *is_cold { FileKind::Cold } else { FileKind::Journal },
            base: CommitNumber::new(*number),
            last: CommitNumber::new(number.saturating_add(1)),
            end: number / 2,
        };
        let hole = |(from, cause): &(u64, u32)| Hole {
            partition: partition.clone(),
            from: Offset::new(*from),
            until: Offset::new(from.saturating_add(9)),
            cause: match cause {
                0 => HoleCause::Cleaned,
                1 => HoleCause::Lost,
                counter => HoleCause::GivenUp(Incarnation::new(*counter, from ^ 5)),
            },
        };
        Chain { files: files.iter().map(file).collect(), holes: holes.iter().map(hole).collect() }
    }

    #[test]
    fn a_name_tells_kind_and_number() {
        for kind in [FileKind::Journal, FileKind::Cold] {
            assert_eq!(parse_name(&file_name(kind, 42)), Some((kind, 42)));
        }
        assert_eq!(file_name(FileKind::Cold, 42), "0000000042.cold");
        assert_eq!(parse_name("0000000042.tail"), None);
        assert_eq!(parse_name("x.journal"), None);
    }

    #[test]
    fn a_chain_is_written_twice_and_each_frame_stands_alone() {
        let chain = chain(&[(1, true), (4, false)], &[(5, 1), (20, 2)]);
        let place = ChainPlace { nonce: 9, position: 76, durable: 0, next: CommitNumber::new(6) };

        let bytes = chain.encode(place);

        let (first, second) = (bytes.slice(..bytes.len() / 2), bytes.slice(bytes.len() / 2..));
        let mut at = 76;
        for copy in [first, second] {
            let header = FrameHeader::decode(copy.slice(..FRAME_HEADER_LEN), at).unwrap();
            assert_eq!((header.kind, header.commit.get()), (FrameKind::Chain, 6));
            assert_eq!(Chain::decode(copy.slice(FRAME_HEADER_LEN..)), Ok(chain.clone()));
            at += byte_count(copy.len()).get();
        }
    }

    #[test]
    fn every_flipped_bit_of_a_chain_is_found() {
        let body = chain(&[(1, true), (4, false)], &[(5, 1), (20, 2)]).body();

        for bit in 0..body.len() * 8 {
            let mut flipped = body.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Chain::decode(flipped.into()).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn decode_of_encode_is_the_same_chain(
            files: Vec<(u64, bool)>, holes in vec((any::<u64>(), 0_u32..4), 0..9),
        ) {
            let chain = chain(&files, &holes);

            prop_assert_eq!(Chain::decode(chain.body()), Ok(chain));
        }

        #[test]
        fn any_bytes_decode_without_a_panic(bytes: Vec<u8>) {
            drop(Chain::decode(bytes.into()));
        }
    }
}
