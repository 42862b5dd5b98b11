//! Batches of records of 200 bytes, and how they are spread.

use anyhow::Result;
use headland_event::{Batch, EventTime, Random, Record, SeededRandom};

/// Key and value of a record together.
pub(super) const RECORD_LEN: usize = 200;
const KEY_LEN: usize = 8;

/// How the records of one commit are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// All in one partition.
    One,
    /// Evenly over eight, each with a batch of its own.
    Eight,
    /// All in one of eight, the next commit in the next.
    Turns,
}

/// What one append holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) records: usize,
    pub(crate) spread: Spread,
}

impl Shape {
    /// Every shape that is measured.
    pub(super) const ALL: [Self; 6] = [
        Self { records: 1, spread: Spread::One },
        Self { records: 1, spread: Spread::Turns },
        Self { records: 100, spread: Spread::One },
        Self { records: 100, spread: Spread::Eight },
        Self { records: 1_000, spread: Spread::One },
        Self { records: 1_000, spread: Spread::Eight },
    ];

    /// Records of each batch of one append.
    pub(crate) fn batches(self) -> Vec<usize> {
        match self.spread {
            Spread::One | Spread::Turns => vec![self.records],
            Spread::Eight => {
                let (each, rest) = (self.records / 8, self.records % 8);
                (0..8).map(|index| each + usize::from(index < rest)).collect()
            }
        }
    }

    /// The partition of a batch: `index` counts the batches of append number `append`.
    pub(crate) const fn partition(self, append: usize, index: usize) -> usize {
        match self.spread {
            Spread::One => 0,
            Spread::Eight => index,
            Spread::Turns => append % 8,
        }
    }
}

/// Records whose bytes a disk cannot compress.
pub(super) fn records(count: usize, random: &mut SeededRandom) -> Vec<Record> {
    (0..count)
        .map(|index| {
            let time = EventTime::from_millis(i64::try_from(index).unwrap_or(i64::MAX));
            Record::new(time, noise(KEY_LEN, random), noise(RECORD_LEN - KEY_LEN, random))
        })
        .collect()
}

/// One append's batches.
pub(crate) fn encoded(shape: Shape, random: &mut SeededRandom) -> Result<Vec<Batch>> {
    let encode = |count| Ok(Batch::encode(&records(count, random))?);
    shape.batches().into_iter().map(encode).collect()
}

/// Random bytes.
pub(super) fn noise(length: usize, random: &mut SeededRandom) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&random.next_u64().to_be_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_batches_share_the_records_evenly_and_turns_go_round() {
        let eight = |records| Shape { records, spread: Spread::Eight };
        let turns = Shape { records: 1, spread: Spread::Turns };

        assert_eq!(eight(100).batches(), [13, 13, 13, 13, 12, 12, 12, 12]);
        assert_eq!(eight(1_000).batches(), [125; 8]);
        assert_eq!(turns.batches(), [1]);
        assert_eq!((turns.partition(9, 0), eight(100).partition(9, 3)), (1, 3));
    }

    #[test]
    fn a_record_has_200_bytes() {
        let records = records(3, &mut SeededRandom::new(1));

        assert!(records.iter().all(|record| record.payload_len() == 200));
    }
}
