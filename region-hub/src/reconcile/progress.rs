//! How far derived records are written: the commit, and the step within it.
//!
//! ```text
//! v1:  8 bytes, no version │ commit u64: everything derived up to it is written
//! v2:  2 version u8 │ commit u64 │ record u64 │ output u64: everything before this step is written
//! ```
//! A step is counted, never measured: how many outputs a record causes follows from the journal
//! alone, while their bytes also depend on clocks. So a restart that cuts commits elsewhere still
//! skips exactly what is written. Of one record's outputs the restock alert comes last, hence a
//! restart with another threshold moves no other step.

use bytes::Bytes;
use headland_event::CommitNumber;
use headland_event::codec::{CodecError, Reader, Writer};

const VERSION: u8 = 2;

/// Bytes of a value of the first version.
const V1_LEN: usize = 8;

/// A step of deriving; steps are ordered as they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Progress {
    /// The commit that is reconciled.
    pub commit: CommitNumber,
    /// Inventory records of the commit before the one that is reconciled.
    pub record: u64,
    /// Outputs of that record before the next one.
    pub output: u64,
}

impl Progress {
    /// The first step of a commit.
    #[must_use]
    pub const fn at_start_of(commit: CommitNumber) -> Self {
        Self { commit, record: 0, output: 0 }
    }

    /// The value in the state, v2.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Self { commit, record, output } = self;
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.u64(commit.get());
        writer.u64(*record);
        writer.u64(*output);
        writer.finish()
    }

    /// Reads a value of either version.
    ///
    /// # Errors
    /// [`CodecError`] when it is of neither.
    pub fn decode(value: Bytes) -> Result<Self, CodecError> {
        let is_first_version = value.len() == V1_LEN;
        let mut reader = Reader::new(value);
        if is_first_version {
            let written = CommitNumber::new(reader.u64("written commit")?);
            return Ok(Self::at_start_of(written.after(1)));
        }
        let version = reader.u8("progress version")?;
        if version != VERSION {
            let found = i64::from(version);
            let expected = "2, or 8 bytes without a version";
            return Err(CodecError::Value { field: "progress version", at: 0, found, expected });
        }
        let commit = CommitNumber::new(reader.u64("commit")?);
        let (record, output) = (reader.u64("record")?, reader.u64("output")?);
        reader.end()?;
        Ok(Self { commit, record, output })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_the_first_version_says_that_its_whole_commit_is_written() {
        let value = Bytes::copy_from_slice(&7_u64.to_be_bytes());

        let progress = Progress::decode(value).unwrap();

        assert_eq!(progress, Progress { commit: CommitNumber::new(8), record: 0, output: 0 });
    }

    #[test]
    fn a_value_of_the_second_version_has_these_bytes_and_reads_back() {
        let progress = Progress { commit: CommitNumber::new(7), record: 258, output: 3 };

        let value = progress.encode();

        let bytes = [2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3];
        assert_eq!(&*value, &bytes[..]);
        assert_eq!(Progress::decode(value), Ok(progress));
    }

    #[test]
    fn a_value_of_another_version_or_length_is_refused() {
        let found = [&[3_u8; 25][..], &[2; 9], &[2; 26], &[]]
            .map(|value| Progress::decode(Bytes::copy_from_slice(value)).is_err());

        assert_eq!(found, [true; 4]);
    }
}
