//! Headers of journal files, version 2, and of frames, version 1.
//!
//! Integers are big-endian; every CRC is CRC-32C. The whole format, with recovery, is drawn in
//! `docs/specs/store.md`.
//!
//! ```text
//! file header, 76 bytes                     frame header, 56 bytes
//!  0  magic         "HLDJRNL\n"              0  magic     "HLDF"
//!  8  version       u16  2                   4  version   u16  1
//! 10  allowance     u16  2^n offsets        6  kind      u16  1 commit, 2 seal, 3 chain
//! 12  number        u64  of this file        8  length    u32  of the body
//! 20  nonce         u64  random, never 0    12  entries   u32
//! 28  base commit   u64                     16  changes   u32
//! 36  incarnation   u32 counter, u64 nonce  20  commit    u64
//! 48  prev. nonce   u64  0: no predecessor  28  nonce     u64  the file's
//! 56  prev. end     u64                     36  position  u64  of this header in the file
//! 64  opening end   u64  of the first group 44  durable   u64  known durable when written
//! 72  crc           u32  of bytes 0..72     52  crc       u32  of bytes 0..52
//! ```
//! Version 1 of a file has the same header and no chain frames. Earlier builds wrote 0 in the place
//! of the allowance, and skip it.

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{CommitNumber, Incarnation};

use crate::allowance::Allowance;
use crate::fault::Fault;
use crate::group::byte_count;

/// Bytes of a file's header.
pub(crate) const FILE_HEADER_LEN: usize = 76;
/// Bytes of a file's header, as a position.
pub(crate) const FIRST_FRAME_AT: u64 = 76;
/// Bytes of a frame's header.
pub(crate) const FRAME_HEADER_LEN: usize = 56;
/// Bytes of a seal, which is a header without a body.
pub(crate) const SEAL_LEN: u64 = 56;
/// First bytes of every frame.
pub(crate) const FRAME_MAGIC: [u8; 4] = *b"HLDF";

const FILE_MAGIC: [u8; 8] = *b"HLDJRNL\n";
/// Version of every format of the store but that of files; each has its own field.
pub(crate) const FORMAT_VERSION: u16 = 1;
const FILE_VERSION_1: u16 = 1;
const FILE_VERSION_2: u16 = 2;
const KIND_COMMIT: u16 = 1;
const KIND_SEAL: u16 = 2;
const KIND_CHAIN: u16 = 3;
const CRC_LEN: usize = 4;

/// Where a file's predecessor ends: every byte of it from there on is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    /// The predecessor's nonce, 0 when there is none.
    pub(crate) nonce: u64,
    /// Its end.
    pub(crate) end: u64,
}

impl Link {
    /// The link of the first file.
    pub(crate) const NONE: Self = Self { nonce: 0, end: 0 };
}

/// What a file says about the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileVersion {
    /// Its predecessor, in the header.
    One,
    /// All of them, in chain frames.
    Two,
}

/// The header of a journal file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) version: FileVersion,
    /// Most offsets that it gives.
    pub(crate) allowance: Allowance,
    /// Number of the file; numbers rise along the chain and are never used again.
    pub(crate) number: u64,
    /// Random, in every frame of the file, so that no foreign bytes pass for a frame.
    pub(crate) nonce: u64,
    /// Number of the first commit in the file.
    pub(crate) base: CommitNumber,
    /// The life of the node that wrote it.
    pub(crate) incarnation: Incarnation,
    /// The predecessor and its end.
    pub(crate) previous: Link,
    /// Position after the first group. Header and first group are one write, and count as one:
    /// unless all of it is valid the file does not exist and its predecessor does not end.
    pub(crate) opening_end: u64,
}

impl FileHeader {
    pub(crate) fn encode(&self) -> Bytes {
        let Self { version, allowance, number, nonce, base, incarnation, previous, opening_end } =
            self;
        debug_assert!(*nonce != 0, "a nonce of 0 means that there is no file");
        let mut writer = Writer::new();
        writer.raw(&FILE_MAGIC);
        writer.u16(match version {
            FileVersion::One => FILE_VERSION_1,
            FileVersion::Two => FILE_VERSION_2,
        });
        writer.u16(allowance.code());
        writer.u64(*number);
        writer.u64(*nonce);
        writer.u64(base.get());
        writer.incarnation(*incarnation);
        writer.u64(previous.nonce);
        writer.u64(previous.end);
        writer.u64(*opening_end);
        writer.u32(crc32c::crc32c(writer.as_slice()));
        debug_assert!(writer.len() == FILE_HEADER_LEN, "the file header has a fixed size");
        writer.finish()
    }

    pub(crate) fn decode(bytes: Bytes) -> Result<Self, Fault> {
        check_crc("file header", &bytes)?;
        let mut reader = Reader::new(bytes);
        if *reader.take("file magic", FILE_MAGIC.len())? != FILE_MAGIC {
            return Err(Fault::Magic);
        }
        let version = match reader.u16("file version")? {
            FILE_VERSION_1 => FileVersion::One,
            FILE_VERSION_2 => FileVersion::Two,
            found => {
                let expected = FILE_VERSION_2;
                return Err(Fault::Version { field: "file version", found, expected });
            }
        };
        Ok(Self {
            version,
            allowance: Allowance::of_code(reader.u16("allowance")?),
            number: reader.u64("file number")?,
            nonce: reader.u64("file nonce")?,
            base: CommitNumber::new(reader.u64("base commit")?),
            incarnation: reader.incarnation("incarnation")?,
            previous: Link {
                nonce: reader.u64("previous nonce")?,
                end: reader.u64("previous end")?,
            },
            opening_end: reader.u64("opening end")?,
        })
    }
}

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// A commit.
    Commit,
    /// No body: says that everything before it is durable.
    Seal,
    /// What the journal is made of.
    Chain,
}

/// The header of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    /// Bytes of the body.
    pub(crate) length: usize,
    /// Entries in the body.
    pub(crate) entries: usize,
    /// Changes of state in the body.
    pub(crate) changes: usize,
    /// Number of the commit; of the next one in a seal or a chain.
    pub(crate) commit: CommitNumber,
    /// The file's nonce.
    pub(crate) nonce: u64,
    /// Position of the header in its file.
    pub(crate) position: u64,
    /// Position below which the file was known durable when the frame was written.
    pub(crate) durable: u64,
}

impl FrameHeader {
    pub(crate) fn encode(&self) -> Bytes {
        let Self { kind, length, entries, changes, commit, nonce, position, durable } = self;
        debug_assert!(durable <= position, "nothing is durable before it is written");
        let mut writer = Writer::new();
        writer.raw(&FRAME_MAGIC);
        writer.u16(FORMAT_VERSION);
        writer.u16(match kind {
            FrameKind::Commit => KIND_COMMIT,
            FrameKind::Seal => KIND_SEAL,
            FrameKind::Chain => KIND_CHAIN,
        });
        writer.length(*length);
        writer.length(*entries);
        writer.length(*changes);
        writer.u64(commit.get());
        writer.u64(*nonce);
        writer.u64(*position);
        writer.u64(*durable);
        writer.u32(crc32c::crc32c(writer.as_slice()));
        debug_assert!(writer.len() == FRAME_HEADER_LEN, "the frame header has a fixed size");
        writer.finish()
    }

    /// The seal at `position`, which says that all before it is durable; `commit` is the number of
    /// the next commit.
    pub(crate) const fn seal(nonce: u64, position: u64, commit: CommitNumber) -> Self {
        let (kind, durable) = (FrameKind::Seal, position);
        Self { kind, length: 0, entries: 0, changes: 0, commit, nonce, position, durable }
    }

    /// Reads a header that stands at `position`, whatever file it belongs to.
    pub(crate) fn decode(bytes: Bytes, position: u64) -> Result<Self, Fault> {
        if !bytes.starts_with(&FRAME_MAGIC) {
            return Err(Fault::Magic);
        }
        check_crc("frame header", &bytes)?;
        let mut reader = Reader::new(bytes);
        reader.take("frame magic", FRAME_MAGIC.len())?;
        check_version("frame version", reader.u16("frame version")?)?;
        let kind = match reader.u16("frame kind")? {
            KIND_COMMIT => FrameKind::Commit,
            KIND_SEAL => FrameKind::Seal,
            KIND_CHAIN => FrameKind::Chain,
            found => {
                return Err(Fault::Version { field: "frame kind", found, expected: KIND_CHAIN });
            }
        };
        let header = Self {
            kind,
            length: reader.length("frame length", usize::MAX)?,
            entries: reader.length("entries", usize::MAX)?,
            changes: reader.length("changes", usize::MAX)?,
            commit: CommitNumber::new(reader.u64("commit")?),
            nonce: reader.u64("nonce")?,
            position: reader.u64("position")?,
            durable: reader.u64("durable")?,
        };
        if header.position != position {
            let (found, expected) = (header.position, position);
            return Err(Fault::Mismatch { field: "position", found, expected });
        }
        if header.durable > position {
            let (found, expected) = (header.durable, position);
            return Err(Fault::Mismatch { field: "durable position", found, expected });
        }
        Ok(header)
    }

    /// Position after header and body.
    pub(crate) fn end(&self) -> u64 {
        self.position + byte_count(self.frame_len()).get()
    }

    /// Bytes of header and body.
    pub(crate) const fn frame_len(&self) -> usize {
        FRAME_HEADER_LEN + self.length
    }
}

/// Checks the CRC in the last four bytes against all the bytes before them.
pub(crate) fn check_crc(part: &'static str, bytes: &[u8]) -> Result<(), Fault> {
    let Some((checked, crc)) = bytes.split_last_chunk::<CRC_LEN>() else {
        let (needed, left) = (CRC_LEN, bytes.len());
        return Err(CodecError::Short { field: part, at: 0, needed, left }.into());
    };
    let found = u32::from_be_bytes(*crc);
    let expected = crc32c::crc32c(checked);
    if found == expected { Ok(()) } else { Err(Fault::Checksum { part, found, expected }) }
}

/// Checks a version that stands in bytes whose CRC is right.
pub(crate) fn check_version(field: &'static str, found: u16) -> Result<(), Fault> {
    if found == FORMAT_VERSION {
        Ok(())
    } else {
        Err(Fault::Version { field, found, expected: FORMAT_VERSION })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame_header() -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Commit,
            length: 10,
            entries: 1,
            changes: 2,
            commit: CommitNumber::new(7),
            nonce: 11,
            position: 76,
            durable: 0,
        }
    }

    #[test]
    fn a_frame_header_at_another_position_is_refused() {
        let refused = FrameHeader::decode(frame_header().encode(), 69);

        assert_eq!(refused, Err(Fault::Mismatch { field: "position", found: 76, expected: 69 }));
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut bytes = frame_header().encode().to_vec();
        bytes[5] = 2;
        let crc = crc32c::crc32c(&bytes[..52]).to_be_bytes();
        bytes[52..].copy_from_slice(&crc);

        let refused = FrameHeader::decode(bytes.into(), 76).unwrap_err();

        assert_eq!(refused, Fault::Version { field: "frame version", found: 2, expected: 1 });
        assert!(refused.is_version());
    }

    #[test]
    fn every_flipped_bit_of_a_frame_header_is_found() {
        let bytes = frame_header().encode();

        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::decode(flipped.into(), 76).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn decode_of_encode_is_the_same_file_header(
            numbers: (u64, u64), nonce in 1_u64.., life: (u32, u64), ends: (u64, u64, u64),
            allowance: u16,
        ) {
            let header = FileHeader {
                version: FileVersion::Two,
                allowance: Allowance::of_code(allowance),
                number: numbers.0,
                nonce,
                base: CommitNumber::new(numbers.1),
                incarnation: Incarnation::new(life.0, life.1),
                previous: Link { nonce: ends.0, end: ends.1 },
                opening_end: ends.2,
            };

            prop_assert_eq!(FileHeader::decode(header.encode()), Ok(header));
        }

        #[test]
        fn decode_of_encode_is_the_same_frame_header(
            is_seal: bool, sizes: (u16, u16, u16), commit: u64, nonce: u64, ends: (u64, u64),
        ) {
            let header = FrameHeader {
                kind: if is_seal { FrameKind::Seal } else { FrameKind::Commit },
                length: usize::from(sizes.0),
                entries: usize::from(sizes.1),
                changes: usize::from(sizes.2),
                commit: CommitNumber::new(commit),
                nonce,
                position: ends.0.max(ends.1),
                durable: ends.0.min(ends.1),
            };

            let decoded = FrameHeader::decode(header.encode(), header.position);

            prop_assert_eq!(decoded, Ok(header));
        }

        #[test]
        fn any_bytes_decode_without_a_panic(bytes: Vec<u8>) {
            drop(FileHeader::decode(bytes.clone().into()));
            drop(FrameHeader::decode(bytes.into(), 0));
        }
    }
}
