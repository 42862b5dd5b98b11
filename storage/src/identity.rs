//! The node's identity: which life of which data directory this is.
//!
//! ```text
//! identity v1, 28 bytes:  magic "HLDNODE\n" │ version u16 1 │ reserved u16 0
//!                         │ incarnation { counter u32, nonce u64 } │ crc u32 of all before
//! ```
//! The file is only ever replaced as a whole. When it is missing beside a journal, somebody copied
//! or repaired the directory, so the node starts a new life: the old one's dots are never reused.

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

/// Reads the identity, or makes one with `nonce`; `written` is the life that the journal names.
pub(crate) fn open<M: Medium>(
    medium: &mut M,
    nonce: u64,
    written: Option<Incarnation>,
) -> Result<Incarnation, OpenError> {
    if let Some(content) = medium.load(IDENTITY_NAME)? {
        return decode(content)
            .map_err(|source| OpenError::Identity { file: IDENTITY_NAME.to_owned(), source });
    }
    let none = Incarnation::new(0, 0);
    Ok(renew(medium, nonce, written.unwrap_or(none))?)
}

/// Starts the life after `old`: some of what was said in it is not known here any more.
pub(crate) fn renew<M: Medium>(
    medium: &mut M,
    nonce: u64,
    old: Incarnation,
) -> Result<Incarnation, MediumError> {
    let incarnation = Incarnation::new(old.counter().saturating_add(1), nonce);
    medium.replace(IDENTITY_NAME, &encode(incarnation))?;
    Ok(incarnation)
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
