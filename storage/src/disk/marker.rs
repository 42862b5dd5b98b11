//! The state mark: which commit sled's files are known to hold, in a file of its own.
//!
//! ```text
//! marker v2, 36 bytes:  magic "HLDMARK\n" │ version u16 2 │ reserved u16 0
//!                       │ incarnation { counter u32, nonce u64 } │ commit u64 │ crc u32
//! ```
//! Version 1 vouched for rows without commits; a cache that it marks is rebuilt.

use std::path::Path;

use bytes::Bytes;
use headland_event::codec::{Reader, Writer};
use headland_event::{CommitNumber, Incarnation};

use crate::fault::Fault;
use crate::frame::check_crc;

/// Name of the marker's file.
pub(super) const MARKER_NAME: &str = "state.mark";

const MAGIC: [u8; 8] = *b"HLDMARK\n";
const MARKER_VERSION: u16 = 2;

pub(super) fn encode(incarnation: Incarnation, commit: CommitNumber) -> Bytes {
    let mut writer = Writer::new();
    writer.raw(&MAGIC);
    writer.u16(MARKER_VERSION);
    writer.u16(0);
    writer.incarnation(incarnation);
    writer.u64(commit.get());
    writer.u32(crc32c::crc32c(writer.as_slice()));
    writer.finish()
}

/// The marker's commit, when there is a marker of this life that can be read.
pub(super) fn read(data: &Path, incarnation: Incarnation) -> Option<CommitNumber> {
    let content = std::fs::read(data.join(MARKER_NAME)).ok()?;
    let (written_by, commit) = decode(content.into()).ok()?;
    (written_by == incarnation).then_some(commit)
}

fn decode(content: Bytes) -> Result<(Incarnation, CommitNumber), Fault> {
    check_crc("marker", &content)?;
    let mut reader = Reader::new(content);
    if *reader.take("marker magic", MAGIC.len())? != MAGIC {
        return Err(Fault::Magic);
    }
    let found = reader.u16("marker version")?;
    if found != MARKER_VERSION {
        let (field, expected) = ("marker version", MARKER_VERSION);
        return Err(Fault::Version { field, found, expected });
    }
    reader.u16("reserved")?;
    let incarnation = reader.incarnation("incarnation")?;
    Ok((incarnation, CommitNumber::new(reader.u64("commit")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_marker_is_found() {
        let (life, commit) = (Incarnation::new(1, 2), CommitNumber::new(3));
        let content = encode(life, commit);

        assert_eq!(decode(content.clone()), Ok((life, commit)));
        for bit in 0..content.len() * 8 {
            let mut flipped = content.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(flipped.into()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_marker_of_version_1_is_not_taken_for_one_of_this_version() {
        let first = b"HLDMARK\n\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\
            \x00\x00\x00\x00\x00\x00\x00\x03";
        let content = [&first[..], &crc32c::crc32c(first).to_be_bytes()].concat();

        let refused = decode(content.into()).unwrap_err();

        assert_eq!(refused, Fault::Version { field: "marker version", found: 1, expected: 2 });
    }
}
