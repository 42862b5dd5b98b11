//! A witness beside the journal: what the newest file was when it was last known whole.
//!
//! Inside a journal each frame vouches for those before it, and the next file for the one before.
//! Nothing vouches for the end of the newest file, and its list of files stands in one place, so
//! damage there would pass for an unfinished write, or leave nobody who knows what the journal is
//! made of. The witness says both again in a file of its own. It is written when the state is
//! marked, when cleaning changes the list, when the journal opens and when it is closed: never
//! while anybody waits for a commit. What it says holds for good, so an old one is only less use.
//!
//! ```text
//! witness v1:  magic "HLDWITN\n" │ version u16 1 │ reserved u16 0
//!              │ number u64 │ nonce u64 │ base commit u64: of the newest file
//!              │ incarnation { counter u32, nonce u64 }: the life that wrote the file
//!              │ end u64: the file was durable up to here │ next commit u64: behind that end
//!              │ chain: part as in a chain frame │ crc u32 of all before
//! ```

use bytes::Bytes;
use headland_event::codec::{Reader, Writer};
use headland_event::{CommitNumber, Incarnation};

use crate::chain::Chain;
use crate::fault::Fault;
use crate::frame::{FrameHeader, check_crc};
use crate::medium::{Medium, MediumError};

/// Name of the witness's file.
pub(crate) const WITNESS_NAME: &str = "witness";

const MAGIC: [u8; 8] = *b"HLDWITN\n";
const WITNESS_VERSION: u16 = 1;
const CRC_LEN: usize = 4;

/// What the newest file was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Witness {
    /// Number of the newest file.
    pub(crate) number: u64,
    pub(crate) nonce: u64,
    /// Number of the first commit in it.
    pub(crate) base: CommitNumber,
    /// The life that wrote it.
    pub(crate) incarnation: Incarnation,
    /// Position up to which it was durable.
    pub(crate) end: u64,
    /// Number of the commit behind that.
    pub(crate) next: CommitNumber,
    /// What the journal was made of before it.
    pub(crate) chain: Chain,
}

impl Witness {
    /// The witness of a directory, `None` when there is none that is whole.
    pub(crate) fn load<M: Medium>(medium: &M) -> Result<Option<Self>, MediumError> {
        let content = medium.load(WITNESS_NAME)?;
        Ok(content.and_then(|content| Self::decode(content).ok()))
    }

    /// Makes it the witness of a directory.
    pub(crate) fn save<M: Medium>(&self, medium: &mut M) -> Result<(), MediumError> {
        medium.replace(WITNESS_NAME, &self.encode())
    }

    /// The last commit that was durable.
    pub(crate) const fn last(&self) -> CommitNumber {
        CommitNumber::new(self.next.get().saturating_sub(1))
    }

    /// The seal that it stands for.
    pub(crate) const fn seal(&self) -> FrameHeader {
        FrameHeader::seal(self.nonce, self.end, self.next)
    }

    fn encode(&self) -> Bytes {
        let Self { number, nonce, base, incarnation, end, next, chain } = self;
        let mut writer = Writer::new();
        writer.raw(&MAGIC);
        writer.u16(WITNESS_VERSION);
        writer.u16(0);
        writer.u64(*number);
        writer.u64(*nonce);
        writer.u64(base.get());
        writer.incarnation(*incarnation);
        writer.u64(*end);
        writer.u64(next.get());
        writer.raw(&chain.body());
        writer.u32(crc32c::crc32c(writer.as_slice()));
        writer.finish()
    }

    /// Reads the content of the witness's file.
    pub(crate) fn decode(content: Bytes) -> Result<Self, Fault> {
        check_crc("witness", &content)?;
        let mut reader = Reader::new(content);
        if *reader.take("witness magic", MAGIC.len())? != MAGIC {
            return Err(Fault::Magic);
        }
        let found = reader.u16("witness version")?;
        if found != WITNESS_VERSION {
            let (field, expected) = ("witness version", WITNESS_VERSION);
            return Err(Fault::Version { field, found, expected });
        }
        reader.u16("reserved")?;
        let (number, nonce) = (reader.u64("file number")?, reader.u64("file nonce")?);
        let base = CommitNumber::new(reader.u64("base commit")?);
        let incarnation = reader.incarnation("incarnation")?;
        let (end, next) = (reader.u64("end")?, CommitNumber::new(reader.u64("next commit")?));
        let chain = reader.take("chain", reader.remaining().saturating_sub(CRC_LEN))?;
        let chain = Chain::decode(chain)?;
        Ok(Self { number, nonce, base, incarnation, end, next, chain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_witness_is_found() {
        let witness = Witness {
            number: 3,
            nonce: 4,
            base: CommitNumber::new(5),
            incarnation: Incarnation::new(1, 2),
            end: 600,
            next: CommitNumber::new(9),
            chain: Chain::default(),
        };
        let content = witness.encode();

        assert_eq!(Witness::decode(content.clone()), Ok(witness));
        for bit in 0..content.len() * 8 {
            let mut flipped = content.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Witness::decode(flipped.into()).is_err(), "bit {bit}");
        }
    }
}
