//! How far derived records are written: the commit, and the step within it.
//!
//! ```text
//! v1:  8 bytes, no version │ commit u64: everything derived up to it is written
//! v2:  2 version u8 │ commit u64 │ record u64 │ output u64: everything before this step is
//!      written, but no overlaps, which are not counted
//! v3:  3 version u8 │ … as v2, overlaps with all else
//! ```
//! A step is counted, never measured: how many outputs a record causes follows from the journal
//! alone, while their bytes also depend on clocks. So a restart that cuts commits elsewhere still
//! skips exactly what is written. Of one record's outputs the restock alert comes last, hence a
//! restart with another threshold moves no other step.

use bytes::Bytes;
use headland_event::CommitNumber;
use headland_event::codec::{CodecError, Reader, Writer};

/// The layout in which overlaps count as outputs.
const VERSION: u8 = 3;
/// The layout in which they do not.
const VERSION_2: u8 = 2;

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

/// Which outputs are written, and counted as steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// All but overlaps, which there were none of when this began.
    ButOverlaps,
    /// Every one.
    All,
}

impl Progress {
    /// The first step of a commit.
    #[must_use]
    pub const fn at_start_of(commit: CommitNumber) -> Self {
        Self { commit, record: 0, output: 0 }
    }

    /// The value in the state, v3, or v2 as long as overlaps are not counted.
    #[must_use]
    pub fn encode(&self, counted: Counted) -> Bytes {
        let Self { commit, record, output } = self;
        let mut writer = Writer::new();
        writer.u8(match counted {
            Counted::All => VERSION,
            Counted::ButOverlaps => VERSION_2,
        });
        writer.u64(commit.get());
        writer.u64(*record);
        writer.u64(*output);
        writer.finish()
    }

    /// Reads a value of any version, and what it counts.
    ///
    /// # Errors
    /// [`CodecError`] when it is of none.
    pub fn decode(value: Bytes) -> Result<(Self, Counted), CodecError> {
        let is_first_version = value.len() == V1_LEN;
        let mut reader = Reader::new(value);
        if is_first_version {
            let written = CommitNumber::new(reader.u64("written commit")?);
            return Ok((Self::at_start_of(written.after(1)), Counted::ButOverlaps));
        }
        let version = reader.u8("progress version")?;
        let counted = match version {
            VERSION => Counted::All,
            VERSION_2 => Counted::ButOverlaps,
            _ => {
                let found = i64::from(version);
                let expected = "2 or 3, or 8 bytes without a version";
                return Err(CodecError::Value {
                    field: "progress version",
                    at: 0,
                    found,
                    expected,
                });
            }
        };
        let commit = CommitNumber::new(reader.u64("commit")?);
        let (record, output) = (reader.u64("record")?, reader.u64("output")?);
        reader.end()?;
        Ok((Self { commit, record, output }, counted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_the_first_version_says_that_its_whole_commit_is_written() {
        let value = Bytes::copy_from_slice(&7_u64.to_be_bytes());

        let progress = Progress::decode(value).unwrap();

        let expected = Progress { commit: CommitNumber::new(8), record: 0, output: 0 };
        assert_eq!(progress, (expected, Counted::ButOverlaps));
    }

    #[test]
    fn values_have_these_bytes_and_read_back_with_what_they_count() {
        let progress = Progress { commit: CommitNumber::new(7), record: 258, output: 3 };

        for (version, counted) in [(2, Counted::ButOverlaps), (3, Counted::All)] {
            let value = progress.encode(counted);

            let rest = [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3];
            assert_eq!(*value, [&[version][..], &rest].concat());
            assert_eq!(Progress::decode(value), Ok((progress, counted)));
        }
    }

    #[test]
    fn a_value_of_another_version_or_length_is_refused() {
        let found = [&[4_u8; 25][..], &[2; 9], &[2; 26], &[]]
            .map(|value| Progress::decode(Bytes::copy_from_slice(value)).is_err());

        assert_eq!(found, [true; 4]);
    }
}
