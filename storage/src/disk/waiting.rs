//! Changes of state that sled was not given yet.
//!
//! sled writes two pages to its file for each batch that it takes, however small, and waits for
//! them: for commits of 20 kB that was half as much again as their records. So changes gather here
//! first; what is set over and over, like positions, then reaches sled once. State is as safe as
//! before, because sled counts as of the state mark only, and that writes what waits. What sled
//! knows beyond the journal's end is a witness that the journal lost commits; that witness is older
//! now by what waits.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use headland_event::CommitNumber;

use super::block::Row;
use crate::group::byte_count;

/// Bytes of keys and rows that wait at most, but for one commit: small beside sled's own memory,
/// and some thousand changes to a batch.
const WAITING_BYTES_MAX: u64 = 256 << 10;

/// What a row costs in memory besides its bytes.
const ROW_OVERHEAD: usize = 64;

/// Rows that sled was not given yet, by their stored keys.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    rows: BTreeMap<Vec<u8>, Row>,
    bytes: u64,
    /// The last commit that something here is of.
    reached: CommitNumber,
}

impl Waiting {
    /// Takes what a commit left under a key, in place of what an older one did.
    pub(super) fn set(&mut self, commit: CommitNumber, key: Vec<u8>, value: Option<&Bytes>) {
        // A copy: the value is a slice of its whole commit, which would stay in memory with it.
        let value = value.map(|value| Bytes::copy_from_slice(value));
        let row = Row { commit, value };
        let gone = self.rows.get(&key).map_or(0, |before| room(&key, before));
        self.bytes = self.bytes.saturating_sub(gone).saturating_add(room(&key, &row));
        self.rows.insert(key, row);
        self.reached = commit;
        debug_assert!(self.bytes > 0, "a row that waits takes room");
    }

    /// The row of a key, if it waits.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Row> {
        self.rows.get(key)
    }

    /// Rows from a key on, in the order of keys.
    pub(super) fn range(&self, from: &[u8]) -> impl Iterator<Item = (&[u8], &Row)> {
        let from = (Bound::Included(from), Bound::Unbounded);
        let rows = self.rows.range::<[u8], _>(from);
        rows.map(|(key, row)| (key.as_slice(), row))
    }

    /// The last commit that a row is of; `None` when none waits.
    pub(super) fn reached(&self) -> Option<CommitNumber> {
        (!self.rows.is_empty()).then_some(self.reached)
    }

    /// Whether sled should be given them.
    pub(super) const fn is_full(&self) -> bool {
        self.bytes >= WAITING_BYTES_MAX
    }

    /// Lets go of every row: sled has them, or nobody wants them.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Bytes that a row takes while it waits.
fn room(key: &[u8], row: &Row) -> u64 {
    byte_count(row.stored_len(key) + ROW_OVERHEAD).get()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: CommitNumber = CommitNumber::new(7);

    #[test]
    fn a_row_takes_the_place_of_an_older_one_and_of_its_room() {
        let mut waiting = Waiting::default();

        for _ in 0..10_000 {
            waiting.set(COMMIT, b"position".to_vec(), Some(&Bytes::from(vec![1; 100])));
        }

        assert!(!waiting.is_full());
        assert_eq!(waiting.range(b"").count(), 1);
        assert_eq!(waiting.reached(), Some(COMMIT));
    }

    #[test]
    fn rows_wait_until_they_are_256_kibibytes() {
        let mut waiting = Waiting::default();
        let mut count = 0_u32;

        while !waiting.is_full() {
            waiting.set(COMMIT, count.to_be_bytes().to_vec(), Some(&Bytes::from(vec![1; 43])));
            count += 1;
        }

        assert_eq!(count, 2_048, "of 128 bytes each");
        waiting.clear();
        assert_eq!((waiting.reached(), waiting.get(&[0; 4])), (None, None));
    }
}
