//! Rows of the state in sled, and what they add up to.
//!
//! ```text
//! key     owner u8 length + name │ key
//! row     crc u32 of key in sled and everything after this field │ commit u64
//!         │ kind u8 0 deleted, 1 set │ value
//! totals  under the key u8 0:  crc u32 as in a row │ commit u64 │ rows u64 │ sum u64
//! ```
//! *commit* is the one that set or deleted the key; a deleted key keeps its row as long as the
//! journal keeps the change, so that cleaning can ask which change of a key is its newest.
//!
//! *Totals* are written with rows, all at once: the last commit that any of these is of, how many
//! rows there are, and the sum of their CRCs. A database that lost a page, or took an older one for
//! it, adds up to something else, although each of its rows is whole.

use bytes::Bytes;
use headland_event::CommitNumber;
use headland_event::codec::{Reader, Writer};

use crate::commit::StateOwner;

/// Key in sled of the totals; an owner's name is never empty, so no owner can reach it.
pub(super) const TOTALS_KEY: [u8; 1] = [0];

const CRC_LEN: usize = 4;
const DELETED: u8 = 0;
const SET: u8 = 1;

/// The key in sled of a key of an owner; those of one owner share a prefix, in the order of keys.
pub(super) fn stored_key(owner: &StateOwner, key: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.name(owner.as_str());
    writer.raw(key);
    writer.as_slice().to_vec()
}

/// What the newest change of a key left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// The commit that set or deleted it.
    pub(super) commit: CommitNumber,
    /// The value, `None` when it was deleted.
    pub(super) value: Option<Bytes>,
}

impl Row {
    pub(super) fn encode(key: &[u8], commit: CommitNumber, value: Option<&Bytes>) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u64(commit.get());
        writer.u8(if value.is_some() { SET } else { DELETED });
        writer.raw(value.map_or(&[], |value| value));
        with_crc(key, writer.as_slice())
    }

    /// Whether a stored row is what was written under this key.
    pub(super) fn is_whole(key: &[u8], stored: &[u8]) -> bool {
        rest_of(key, stored).is_some()
    }

    /// The row, `None` when it is not what was written under this key.
    pub(super) fn decode(key: &[u8], stored: &[u8]) -> Option<Self> {
        let mut reader = checked(key, stored)?;
        let commit = CommitNumber::new(reader.u64("commit").ok()?);
        let kind = reader.u8("kind").ok()?;
        let value = reader.take("value", reader.remaining()).ok()?;
        match kind {
            DELETED if value.is_empty() => Some(Self { commit, value: None }),
            SET => Some(Self { commit, value: Some(value) }),
            _ => None,
        }
    }
}

/// What all rows add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    /// The last commit whose changes are in the rows.
    pub(super) commit: CommitNumber,
    rows: u64,
    sum: u64,
}

impl Totals {
    /// The same rows as of another commit.
    pub(super) const fn as_of(self, commit: CommitNumber) -> Self {
        Self { commit, ..self }
    }

    /// Takes a stored row in.
    pub(super) fn add(&mut self, stored: &[u8]) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(crc_of(stored));
    }

    /// Takes a stored row out.
    pub(super) fn remove(&mut self, stored: &[u8]) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(crc_of(stored));
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let Self { commit, rows, sum } = self;
        let mut writer = Writer::new();
        writer.u64(commit.get());
        writer.u64(rows);
        writer.u64(sum);
        with_crc(&TOTALS_KEY, writer.as_slice())
    }

    /// The totals, `None` when they are not what was written.
    pub(super) fn decode(stored: &[u8]) -> Option<Self> {
        let mut reader = checked(&TOTALS_KEY, stored)?;
        let commit = CommitNumber::new(reader.u64("commit").ok()?);
        let totals = Self { commit, rows: reader.u64("rows").ok()?, sum: reader.u64("sum").ok()? };
        reader.end().ok()?;
        Some(totals)
    }
}

fn with_crc(key: &[u8], rest: &[u8]) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), rest);
    [&crc.to_be_bytes(), rest].concat()
}

/// What stands behind a CRC that is right.
fn rest_of<'a>(key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    let (crc, rest) = stored.split_first_chunk::<CRC_LEN>()?;
    let expected = crc32c::crc32c_append(crc32c::crc32c(key), rest);
    (u32::from_be_bytes(*crc) == expected).then_some(rest)
}

fn checked(key: &[u8], stored: &[u8]) -> Option<Reader> {
    rest_of(key, stored).map(|rest| Reader::new(Bytes::copy_from_slice(rest)))
}

/// The CRC that a stored row starts with.
fn crc_of(stored: &[u8]) -> u64 {
    stored.first_chunk::<CRC_LEN>().map_or(0, |crc| u64::from(u32::from_be_bytes(*crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [(Vec<u8>, Row); 2] {
        let owner = StateOwner::new("positions").unwrap();
        let commit = CommitNumber::new(7);
        [Some(Bytes::from_static(b"value")), None]
            .map(|value| (stored_key(&owner, b"a"), Row { commit, value }))
    }

    #[test]
    fn every_flipped_bit_of_a_row_is_found_and_so_is_another_key() {
        for (key, row) in rows() {
            let stored = Row::encode(&key, row.commit, row.value.as_ref());

            assert_eq!(Row::decode(&key, &stored), Some(row));
            assert_eq!(Row::decode(b"b", &stored), None);
            for bit in 0..stored.len() * 8 {
                let mut flipped = stored.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Row::decode(&key, &flipped), None, "bit {bit}");
            }
        }
    }

    #[test]
    fn totals_tell_an_older_row_and_a_lost_one_from_the_newest() {
        let [(key, newest), (_, older)] = rows();
        let [newest, older] =
            [newest, older].map(|row| Row::encode(&key, row.commit, row.value.as_ref()));
        let mut totals = Totals::default();
        totals.add(&older);
        totals.remove(&older);
        totals.add(&newest);

        let of = |stored: &[&[u8]]| {
            let mut totals = Totals::default();
            stored.iter().for_each(|stored| totals.add(stored));
            totals
        };

        assert_eq!(totals, of(&[&newest]));
        assert_ne!(totals, of(&[&older]));
        assert_ne!(totals, of(&[]));
        assert_eq!(Totals::decode(&totals.encode()), Some(totals));
    }
}
