//! The state mark: which commit sled's files are known to hold, in a file of its own.
//!
//! ```text
//! marker v3, 48 bytes:  magic "HLDMARK\n" │ version u16 3 │ reserved u16 0
//!                       │ incarnation { counter u32, nonce u64 }
//!                       │ next incarnation { counter u32, nonce u64 } │ commit u64 │ crc u32
//! ```
//! The cache is that of both incarnations: while a life begins the marker names the old one and
//! the next, so that a crash in between leaves a cache that counts under whichever is durable.
//! Otherwise they are the same.
//!
//! Version 2 has no next incarnation. Version 1 vouched for rows without commits; a cache that it
//! marks is rebuilt.

use std::path::Path;

use bytes::Bytes;
use headland_event::codec::{Reader, Writer};
use headland_event::{CommitNumber, Incarnation};

use crate::fault::Fault;
use crate::frame::check_crc;

/// Name of the marker's file.
pub(super) const MARKER_NAME: &str = "state.mark";

const MAGIC: [u8; 8] = *b"HLDMARK\n";
const MARKER_VERSION: u16 = 3;
const MARKER_VERSION_2: u16 = 2;

/// The lives whose cache it is: the one that goes on, and the one that is about to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lives {
    pub(super) now: Incarnation,
    pub(super) next: Incarnation,
}

impl Lives {
    /// One life, and no other is about to begin.
    pub(super) const fn only(life: Incarnation) -> Self {
        Self { now: life, next: life }
    }
}

pub(super) fn encode(lives: Lives, commit: CommitNumber) -> Bytes {
    let Lives { now, next } = lives;
    let mut writer = Writer::new();
    writer.raw(&MAGIC);
    writer.u16(MARKER_VERSION);
    writer.u16(0);
    writer.incarnation(now);
    writer.incarnation(next);
    writer.u64(commit.get());
    writer.u32(crc32c::crc32c(writer.as_slice()));
    writer.finish()
}

/// The marker's commit, when there is a marker of this life that can be read.
pub(super) fn read(data: &Path, incarnation: Incarnation) -> Option<CommitNumber> {
    let content = std::fs::read(data.join(MARKER_NAME)).ok()?;
    let (lives, commit) = decode(content.into()).ok()?;
    (lives.now == incarnation || lives.next == incarnation).then_some(commit)
}

fn decode(content: Bytes) -> Result<(Lives, CommitNumber), Fault> {
    check_crc("marker", &content)?;
    let mut reader = Reader::new(content);
    if *reader.take("marker magic", MAGIC.len())? != MAGIC {
        return Err(Fault::Magic);
    }
    let found = reader.u16("marker version")?;
    reader.u16("reserved")?;
    let now = reader.incarnation("incarnation")?;
    let next = match found {
        MARKER_VERSION => reader.incarnation("next incarnation")?,
        MARKER_VERSION_2 => now,
        _ => {
            let (field, expected) = ("marker version", MARKER_VERSION);
            return Err(Fault::Version { field, found, expected });
        }
    };
    Ok((Lives { now, next }, CommitNumber::new(reader.u64("commit")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_marker_is_found() {
        let lives = Lives { now: Incarnation::new(1, 2), next: Incarnation::new(2, 9) };
        let commit = CommitNumber::new(3);
        let content = encode(lives, commit);

        assert_eq!(decode(content.clone()), Ok((lives, commit)));
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

        assert_eq!(refused, Fault::Version { field: "marker version", found: 1, expected: 3 });
    }

    #[test]
    fn a_marker_of_version_2_is_of_one_life() {
        let second = b"HLDMARK\n\x00\x02\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\
            \x00\x00\x00\x00\x00\x00\x00\x03";
        let content = [&second[..], &crc32c::crc32c(second).to_be_bytes()].concat();

        let lives = Lives::only(Incarnation::new(1, 2));
        assert_eq!(decode(content.into()), Ok((lives, CommitNumber::new(3))));
    }
}
