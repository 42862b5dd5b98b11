//! The directory of a closed file: what it holds and where, so that nobody reads it to find out.
//!
//! It stands at the file's end, which the chain names, and is an accelerator, never the truth: a
//! missing or damaged one is made again from the file.
//!
//! ```text
//! header, 64 bytes                           summary
//!  0  magic          "HLDINDX\n"             partitions u32, then for each
//!  8  version        u16  1                    { topic u8 length + name │ partition u32
//! 10  reserved       u16  0                      │ base u64 │ end u64 │ max event time i64
//! 12  nonce          u64  the file's             │ bytes u64 of its parts
//! 20  position       u64  of this header         │ points u32 │ crc u32 of them }
//! 28  base commit    u64                     commit points u32 │ crc u32 of them
//! 36  last commit    u64                     points, in the order of the summary
//! 44  summary length u32                     entry   { base u64 │ max event time i64 │ frame u64
//! 48  summary crc    u32                               │ part u64 │ length u32 │ index u32 }
//! 52  points length  u64                     commit  { number u64 │ frame u64 }
//! 60  crc            u32  of bytes 0..60
//! ```

use bytes::Bytes;
use headland_event::codec::{Reader, Writer};
use headland_event::{ByteCount, CommitNumber, EventTime, Offset, PartitionIndex, TopicPartition};

use crate::fault::Fault;
use crate::frame::{FORMAT_VERSION, check_crc, check_version};
use crate::group::byte_count;
use crate::medium::{MediumError, MediumFile};
use crate::points::{CommitPoint, EntryPlace, EntryPoint, Paged, Points};

/// First bytes of every directory.
pub(crate) const MAGIC: [u8; 8] = *b"HLDINDX\n";
const HEADER_LEN: usize = 64;
/// Read at once: header and summary of a file with up to about a hundred partitions.
const FIRST_READ: u64 = 8 << 10;

/// What a file holds of a partition, and where its points are.
#[derive(Debug, Clone)]
pub(crate) struct ShareSummary {
    pub(crate) partition: TopicPartition,
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) time: EventTime,
    pub(crate) bytes: ByteCount,
    pub(crate) points: Points<EntryPoint>,
}

/// What a file holds, and where its points are.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) nonce: u64,
    /// Position where the file ends and its directory starts.
    pub(crate) end: u64,
    pub(crate) base: CommitNumber,
    pub(crate) last: CommitNumber,
    pub(crate) shares: Vec<ShareSummary>,
    pub(crate) points: Points<CommitPoint>,
}

/// A directory as it goes to a file, and the summary with points paged in from there.
pub(crate) struct Directory {
    pub(crate) bytes: Bytes,
    pub(crate) summary: Summary,
}

/// Points have a fixed size in a directory.
pub(crate) trait PointCodec: Sized {
    /// That size.
    const LEN: usize;
    fn write(&self, writer: &mut Writer);
    fn read(reader: &mut Reader) -> Result<Self, Fault>;
}

impl PointCodec for EntryPoint {
    const LEN: usize = 40;

    fn write(&self, writer: &mut Writer) {
        let Self { base, time, place: EntryPlace { frame, part, length, index } } = self;
        writer.u64(base.get());
        writer.i64(time.millis());
        writer.u64(*frame);
        writer.u64(*part);
        writer.u32(*length);
        writer.u32(*index);
    }

    fn read(reader: &mut Reader) -> Result<Self, Fault> {
        Ok(Self {
            base: Offset::new(reader.u64("base offset")?),
            time: EventTime::from_millis(reader.i64("event time")?),
            place: EntryPlace {
                frame: reader.u64("frame")?,
                part: reader.u64("part")?,
                length: reader.u32("part length")?,
                index: reader.u32("entry index")?,
            },
        })
    }
}

impl PointCodec for CommitPoint {
    const LEN: usize = 16;

    fn write(&self, writer: &mut Writer) {
        let Self { commit, frame } = self;
        writer.u64(commit.get());
        writer.u64(*frame);
    }

    fn read(reader: &mut Reader) -> Result<Self, Fault> {
        let commit = CommitNumber::new(reader.u64("commit")?);
        Ok(Self { commit, frame: reader.u64("frame")? })
    }
}

impl Summary {
    /// Makes the directory of a file whose points are all held; `None` when some are paged.
    pub(crate) fn directory(&self) -> Option<Directory> {
        let mut points = Writer::new();
        let mut body = Writer::new();
        body.length(self.shares.len());
        for share in &self.shares {
            write_share(&mut body, share);
            write_points(&mut body, &mut points, &share.points)?;
        }
        write_points(&mut body, &mut points, &self.points)?;
        let mut writer = Writer::new();
        writer.raw(&MAGIC);
        writer.u16(FORMAT_VERSION);
        writer.u16(0);
        writer.u64(self.nonce);
        writer.u64(self.end);
        writer.u64(self.base.get());
        writer.u64(self.last.get());
        writer.length(body.len());
        writer.u32(crc32c::crc32c(body.as_slice()));
        writer.u64(byte_count(points.len()).get());
        writer.u32(crc32c::crc32c(writer.as_slice()));
        debug_assert!(writer.len() == HEADER_LEN, "the directory's header has a fixed size");
        let first_point = self.end + byte_count(HEADER_LEN + body.len()).get();
        let body = body.finish();
        writer.raw(&body);
        writer.raw(points.as_slice());
        // What was written is read back, so that a summary has one meaning.
        let (shares, points) = read_body(body, first_point).ok()?;
        let Self { nonce, end, base, last, .. } = *self;
        let summary = Self { nonce, end, base, last, shares, points };
        Some(Directory { bytes: writer.finish(), summary })
    }

    /// Reads the summary that stands at `end` of a file of `size` bytes with `nonce`.
    pub(crate) fn load<F: MediumFile>(
        file: &F,
        nonce: u64,
        (end, size): (u64, u64),
    ) -> Result<Result<Self, Fault>, MediumError> {
        let short = |needed: u64| {
            let left = size.saturating_sub(end);
            Ok(Err(Fault::Short { needed, left }))
        };
        let least = byte_count(HEADER_LEN).get();
        let left = size.saturating_sub(end);
        if left < least {
            return short(least);
        }
        let mut bytes = vec![0; ByteCount::new(left.min(FIRST_READ)).as_len()];
        file.read_at(ByteCount::new(end), &mut bytes)?;
        let bytes = Bytes::from(bytes);
        let header = match Header::decode(bytes.slice(..HEADER_LEN), nonce, end) {
            Ok(header) => header,
            Err(fault) => return Ok(Err(fault)),
        };
        let needed = HEADER_LEN + header.summary_len;
        let whole = byte_count(needed).get().saturating_add(header.points_len);
        if left < whole {
            return short(whole);
        }
        let body = if needed <= bytes.len() {
            bytes.slice(HEADER_LEN..needed)
        } else {
            let mut body = vec![0; header.summary_len];
            file.read_at(ByteCount::new(end + least), &mut body)?;
            body.into()
        };
        Ok(header.summary(body))
    }
}

struct Header {
    nonce: u64,
    end: u64,
    base: CommitNumber,
    last: CommitNumber,
    summary_len: usize,
    summary_crc: u32,
    points_len: u64,
}

impl Header {
    fn decode(bytes: Bytes, nonce: u64, end: u64) -> Result<Self, Fault> {
        check_crc("directory header", &bytes)?;
        let mut reader = Reader::new(bytes);
        if *reader.take("directory magic", MAGIC.len())? != MAGIC {
            return Err(Fault::Magic);
        }
        check_version("directory version", reader.u16("directory version")?)?;
        reader.u16("reserved")?;
        let header = Self {
            nonce: reader.u64("nonce")?,
            end: reader.u64("position")?,
            base: CommitNumber::new(reader.u64("base commit")?),
            last: CommitNumber::new(reader.u64("last commit")?),
            summary_len: reader.length("summary length", usize::MAX)?,
            summary_crc: reader.u32("summary crc")?,
            points_len: reader.u64("points length")?,
        };
        for (field, found, expected) in
            [("nonce", header.nonce, nonce), ("position", header.end, end)]
        {
            if found != expected {
                return Err(Fault::Mismatch { field, found, expected });
            }
        }
        Ok(header)
    }

    fn summary(self, body: Bytes) -> Result<Summary, Fault> {
        let Self { nonce, end, base, last, summary_crc: found, .. } = self;
        let expected = crc32c::crc32c(&body);
        if found != expected {
            return Err(Fault::Checksum { part: "directory summary", found, expected });
        }
        let first_point = end + byte_count(HEADER_LEN + body.len()).get();
        let (shares, points) = read_body(body, first_point)?;
        Ok(Summary { nonce, end, base, last, shares, points })
    }
}

fn write_share(writer: &mut Writer, share: &ShareSummary) {
    let ShareSummary { partition, base, end, time, bytes, points: _ } = share;
    writer.name(partition.topic.as_str());
    writer.u32(partition.partition.get());
    writer.u64(base.get());
    writer.u64(end.get());
    writer.i64(time.millis());
    writer.u64(bytes.get());
}

/// Appends held points to `all`, and their number and CRC to the summary.
fn write_points<P: PointCodec>(
    summary: &mut Writer,
    all: &mut Writer,
    points: &Points<P>,
) -> Option<()> {
    let Points::Held(points) = points else { return None };
    let start = all.len();
    points.iter().for_each(|point| point.write(all));
    debug_assert!(all.len() - start == points.len() * P::LEN, "points have a fixed size");
    summary.length(points.len());
    summary.u32(all.as_slice().get(start..).map_or(0, crc32c::crc32c));
    Some(())
}

fn read_body(
    body: Bytes,
    first_point: u64,
) -> Result<(Vec<ShareSummary>, Points<CommitPoint>), Fault> {
    let mut reader = Reader::new(body);
    let mut position = first_point;
    let mut shares = Vec::new();
    for _ in 0..reader.length("partitions", reader.remaining())? {
        let topic = reader.name("topic")?;
        let partition = PartitionIndex::new(reader.u32("partition")?);
        shares.push(ShareSummary {
            partition: TopicPartition::new(topic, partition),
            base: Offset::new(reader.u64("base offset")?),
            end: Offset::new(reader.u64("end offset")?),
            time: EventTime::from_millis(reader.i64("event time")?),
            bytes: ByteCount::new(reader.u64("bytes")?),
            points: read_paged::<EntryPoint>(&mut reader, &mut position)?,
        });
    }
    let points = read_paged::<CommitPoint>(&mut reader, &mut position)?;
    reader.end()?;
    Ok((shares, points))
}

fn read_paged<P: PointCodec>(reader: &mut Reader, position: &mut u64) -> Result<Points<P>, Fault> {
    let count = reader.length("points", usize::MAX)?;
    let length = count.saturating_mul(P::LEN);
    let paged = Paged { position: *position, length, crc: reader.u32("points crc")? };
    *position = position.saturating_add(byte_count(length).get());
    Ok(Points::Paged(paged))
}

/// Reads points that are paged out.
pub(crate) fn load_points<F: MediumFile, P: PointCodec>(
    file: &F,
    paged: Paged,
) -> Result<Result<Vec<P>, Fault>, MediumError> {
    let Paged { position, length, crc: found } = paged;
    let mut bytes = vec![0; length];
    match file.read_at(ByteCount::new(position), &mut bytes) {
        Err(error) if error.is_short() => {
            let needed = position.saturating_add(byte_count(length).get());
            return Ok(Err(Fault::Short { needed, left: file.size()?.get() }));
        }
        read => read?,
    }
    let expected = crc32c::crc32c(&bytes);
    if found != expected {
        return Ok(Err(Fault::Checksum { part: "points", found, expected }));
    }
    let mut reader = Reader::new(bytes.into());
    Ok((0..length / P::LEN).map(|_| P::read(&mut reader)).collect())
}

#[cfg(test)]
mod tests {
    use headland_event::TopicName;

    use super::*;
    use crate::medium::Medium;
    use crate::memory::{MemoryDisk, MemoryFile};

    const END: u64 = 1_000;

    fn summary() -> Summary {
        let share = |partition: u32| {
            let point = |n: u64| EntryPoint {
                base: Offset::new(n),
                time: EventTime::from_millis(-5),
                place: EntryPlace { frame: n * 2, part: n * 2 + 56, length: 9, index: partition },
            };
            let topic = TopicName::new("air").unwrap();
            ShareSummary {
                partition: TopicPartition::new(topic, PartitionIndex::new(partition)),
                base: Offset::new(1),
                end: Offset::new(9),
                time: EventTime::from_millis(-5),
                bytes: ByteCount::new(77),
                points: Points::Held((1..4).map(point).collect()),
            }
        };
        let commit = CommitNumber::new(3);
        Summary {
            nonce: 5,
            end: END,
            base: CommitNumber::new(3),
            last: CommitNumber::new(8),
            shares: vec![share(0), share(1)],
            points: Points::Held(vec![CommitPoint { commit, frame: 76 }]),
        }
    }

    fn file(bytes: &[u8]) -> MemoryFile {
        let mut medium = MemoryDisk::new(1).attach();
        let file = medium.create("a", ByteCount::new(END)).unwrap();
        file.write_at(ByteCount::new(END), bytes).unwrap();
        file
    }

    fn load(bytes: &[u8]) -> Result<Summary, Fault> {
        let size = END + byte_count(bytes.len()).get();
        Summary::load(&file(bytes), 5, (END, size)).unwrap()
    }

    fn paged<P>(points: &Points<P>) -> Paged {
        match points {
            Points::Paged(paged) => *paged,
            Points::Held(_) => panic!("points of a directory are paged"),
        }
    }

    #[test]
    fn a_directory_is_read_as_it_was_written_and_points_are_paged_in() {
        let written = summary();
        let directory = written.directory().unwrap();
        let file = file(&directory.bytes);

        let read = load(&directory.bytes).unwrap();

        assert_eq!((read.base, read.last), (written.base, written.last));
        for (share, held) in read.shares.iter().zip(&written.shares) {
            assert_eq!(share.partition, held.partition);
            assert_eq!(
                (share.base, share.end, share.time, share.bytes),
                (held.base, held.end, held.time, held.bytes)
            );
            let points = load_points::<_, EntryPoint>(&file, paged(&share.points)).unwrap();
            let Points::Held(expected) = &held.points else { panic!("held") };
            assert_eq!(points.as_ref(), Ok(expected));
        }
        let commits = load_points::<_, CommitPoint>(&file, paged(&read.points)).unwrap().unwrap();
        assert_eq!(commits.len(), 1);
        assert_eq!(paged(&directory.summary.points), paged(&read.points));
    }

    #[test]
    fn every_flipped_bit_of_a_directory_is_found_in_the_summary_or_in_the_points() {
        let bytes = summary().directory().unwrap().bytes;
        let points = 2 * 3 * EntryPoint::LEN + CommitPoint::LEN;
        let mut refused = 0;

        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok(read) = load(&flipped) else {
                refused += 1;
                continue;
            };
            let file = file(&flipped);
            let entries = read.shares.iter().map(|share| paged(&share.points));
            let damaged = entries
                .filter(|at| load_points::<_, EntryPoint>(&file, *at).unwrap().is_err())
                .count();
            let commits = load_points::<_, CommitPoint>(&file, paged(&read.points)).unwrap();
            assert_eq!(damaged + usize::from(commits.is_err()), 1, "bit {bit}");
        }

        assert_eq!(refused, (bytes.len() - points) * 8);
    }

    #[test]
    fn a_directory_cut_short_is_refused() {
        let bytes = summary().directory().unwrap().bytes;

        for length in 0..bytes.len() {
            assert!(matches!(load(&bytes[..length]), Err(Fault::Short { .. })), "{length}");
        }
    }

    #[test]
    fn another_files_directory_is_refused() {
        let bytes = summary().directory().unwrap().bytes;
        let size = END + byte_count(bytes.len()).get();

        let refused = Summary::load(&file(&bytes), 6, (END, size)).unwrap().unwrap_err();

        assert_eq!(refused, Fault::Mismatch { field: "nonce", found: 5, expected: 6 });
    }
}
