//! How far a file was read, as the state keeps it.
//!
//! ```text
//! 0  version   u8   2
//! 1  bytes    u64   read, up to the end of a line
//! 9  lines    u64   read
//! 17 known     u8   0 nothing, 1 the generation follows
//! 18 inode    u64
//! 26 head     u32   CRC-32C of the first bytes read, at most 256
//! 30 tail     u32   CRC-32C of the last bytes read, at most 256
//! ```
//! Version 1 ends after the lines.

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};

use crate::source::Generation;

const VERSION: u8 = 2;

/// How far a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FilePosition {
    /// Bytes read, up to the end of a line.
    pub bytes: u64,
    /// Lines read.
    pub lines: u64,
    /// Which file it was, `None` before anything was read of it.
    pub generation: Option<Generation>,
}

impl FilePosition {
    pub(super) fn encode(self) -> Bytes {
        let Self { bytes, lines, generation } = self;
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.u64(bytes);
        writer.u64(lines);
        writer.u8(u8::from(generation.is_some()));
        if let Some(generation) = generation {
            generation.write(&mut writer);
        }
        writer.finish()
    }

    pub(super) fn decode(value: Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(value);
        let version = reader.u8("position version")?;
        if !matches!(version, 1 | VERSION) {
            return Err(unfit("position version", 0, version, "1 or 2"));
        }
        let (bytes, lines) = (reader.u64("bytes read")?, reader.u64("lines read")?);
        let generation = if version == 1 { None } else { read_generation(&mut reader)? };
        reader.end()?;
        Ok(Self { bytes, lines, generation })
    }
}

fn read_generation(reader: &mut Reader) -> Result<Option<Generation>, CodecError> {
    let at = reader.position();
    match reader.u8("generation")? {
        0 => Ok(None),
        1 => Generation::read(reader).map(Some),
        found => Err(unfit("generation", at, found, "0 or 1")),
    }
}

fn unfit(field: &'static str, at: usize, found: u8, expected: &'static str) -> CodecError {
    CodecError::Value { field, at, found: i64::from(found), expected }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::FileId;

    #[test]
    fn a_position_of_version_one_is_read_without_its_generation() {
        let value = [&[1_u8][..], &30_u64.to_be_bytes(), &3_u64.to_be_bytes()].concat();

        let position = FilePosition::decode(Bytes::from(value)).unwrap();

        assert_eq!(position, FilePosition { bytes: 30, lines: 3, generation: None });
    }

    #[test]
    fn a_position_of_another_version_is_refused() {
        let error = FilePosition::decode(Bytes::from_static(&[3])).unwrap_err();

        assert_eq!(error, unfit("position version", 0, 3, "1 or 2"));
    }

    proptest! {
        #[test]
        fn decode_of_encode_is_the_same_position(
            bytes in any::<u64>(), lines in any::<u64>(), inode in any::<Option<u64>>(),
        ) {
            let of = |inode| Generation::new(FileId::new(1, inode), b"one\n", b"two\n");
            let position = FilePosition { bytes, lines, generation: inode.map(of) };

            prop_assert_eq!(FilePosition::decode(position.encode()).unwrap(), position);
        }

        #[test]
        fn arbitrary_bytes_never_panic(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            drop(FilePosition::decode(Bytes::from(value)));
        }
    }
}
