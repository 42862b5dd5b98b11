//! The node's identity: which life of which data directory this is.
//!
//! ```text
//! identity v1, 28 bytes:  magic "HLDNODE\n" │ version u16 1 │ reserved u16 0
//!                         │ incarnation { counter u32, nonce u64 } │ crc u32 of all before
//! ```
//! The file is only ever replaced as a whole. When it is missing beside a journal, somebody copied
//! or repaired the directory; when it is damaged, nobody knows what it said. Either way the node
//! starts a new life: the old one's dots are never reused.

use bytes::Bytes;
use headland_event::Incarnation;
use headland_event::codec::{Reader, Writer};

use crate::fault::{Fault, OpenError};
use crate::frame::check_crc;
use crate::medium::{Medium, MediumError};

/// Name of the identity's file.
pub(crate) const IDENTITY_NAME: &str = "identity";

const MAGIC: [u8; 8] = *b"HLDNODE\n";
const IDENTITY_VERSION: u16 = 1;

/// How the life was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// As it was left, or there was nothing yet.
    Sound,
    /// The file was damaged, so that nobody knows any more which life this was.
    Damaged,
}

/// Reads the identity, or makes one with `nonce`; `written` is the life that the journal names.
///
/// A damaged one is taken for a missing one: nothing is guessed, because a new life reuses nothing
/// of any old one.
pub(crate) fn open<M: Medium>(
    medium: &mut M,
    nonce: u64,
    written: Option<Incarnation>,
) -> Result<(Incarnation, Found), OpenError> {
    let mut found = Found::Sound;
    if let Some(content) = medium.load(IDENTITY_NAME)? {
        match decode(content) {
            Ok(incarnation) => return Ok((incarnation, found)),
            Err(source) if source.is_version() => {
                return Err(OpenError::Identity { file: IDENTITY_NAME.to_owned(), source });
            }
            Err(_) => found = Found::Damaged,
        }
    }
    let none = Incarnation::new(0, 0);
    Ok((renew(medium, nonce, written.unwrap_or(none))?, found))
}

/// Starts the life after `old`: some of what was said in it is not known here any more.
pub(crate) fn renew<M: Medium>(
    medium: &mut M,
    nonce: u64,
    old: Incarnation,
) -> Result<Incarnation, MediumError> {
    let incarnation = after(old, nonce);
    write(medium, incarnation)?;
    Ok(incarnation)
}

/// The life after `old` that `nonce` tells from any other.
pub(crate) const fn after(old: Incarnation, nonce: u64) -> Incarnation {
    Incarnation::new(old.counter().saturating_add(1), nonce)
}

/// Makes a life durable as the one that the directory is in.
pub(crate) fn write<M: Medium>(
    medium: &mut M,
    incarnation: Incarnation,
) -> Result<(), MediumError> {
    medium.replace(IDENTITY_NAME, &encode(incarnation))
}

fn encode(incarnation: Incarnation) -> Bytes {
    let mut writer = Writer::new();
    writer.raw(&MAGIC);
    writer.u16(IDENTITY_VERSION);
    writer.u16(0);
    writer.incarnation(incarnation);
    writer.u32(crc32c::crc32c(writer.as_slice()));
    writer.finish()
}

/// Reads an identity.
pub(crate) fn decode(content: Bytes) -> Result<Incarnation, Fault> {
    check_crc("identity", &content)?;
    let mut reader = Reader::new(content);
    if *reader.take("identity magic", MAGIC.len())? != MAGIC {
        return Err(Fault::Magic);
    }
    let found = reader.u16("identity version")?;
    if found != IDENTITY_VERSION {
        let (field, expected) = ("identity version", IDENTITY_VERSION);
        return Err(Fault::Version { field, found, expected });
    }
    reader.u16("reserved")?;
    Ok(reader.incarnation("incarnation")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_an_identity_is_found() {
        let content = encode(Incarnation::new(3, 4));

        assert_eq!(decode(content.clone()), Ok(Incarnation::new(3, 4)));
        for bit in 0..content.len() * 8 {
            let mut flipped = content.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(flipped.into()).is_err(), "bit {bit}");
        }
    }
}
