//! Blocks: rows of one owner's state that follow each other, as sled stores them.
//!
//! ```text
//! key    owner u8 length + name │ the first key the block was made for, nothing in the first one
//! block  crc u32 of key in sled and everything after this field
//!        │ rows, in the order of keys: { key length u32 │ key │ commit u64
//!        │                               │ kind u8 0 deleted, 1 set │ value length u32 │ value }
//! ```
//! *commit* is the one that set or deleted the key; a deleted key keeps its row as long as the
//! journal keeps the change, so that cleaning can ask which change of a key is its newest.
//!
//! sled cuts its tree into pages of at most sixteen items, however small these are, keeps a table
//! of all pages in memory and reads all of it when it opens. A million rows of 30 bytes, stored one
//! by one, took 112 MB of memory at opening; in blocks they take 18 MB.

use std::collections::BTreeMap;

use bytes::Bytes;
use headland_event::CommitNumber;
use headland_event::codec::{Reader, Writer};

use crate::commit::StateOwner;

/// Bytes of a block above which it is divided, if it has more than one row: what setting one key
/// has sled write. Larger ones cost more of that, smaller ones memory and time to open.
const BLOCK_BYTES_MAX: usize = 512;

/// Bytes of a row beside its key and value.
const ROW_HEADER_LEN: usize = 17;
pub(super) const CRC_LEN: usize = 4;
const DELETED: u8 = 0;
const SET: u8 = 1;

/// A key of an owner as the cache orders them: those of one owner share a prefix.
pub(super) fn stored_key(owner: &StateOwner, key: &[u8]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(1 + owner.as_str().len() + key.len());
    writer.name(owner.as_str());
    writer.raw(key);
    writer.as_slice().to_vec()
}

/// The owner's part of a stored key, and the rest of it.
pub(super) fn split_key(stored: &[u8]) -> (&[u8], &[u8]) {
    let length = stored.first().map_or(0, |length| 1 + usize::from(*length));
    stored.split_at_checked(length).unwrap_or((stored, &[]))
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
    /// Bytes that it takes in a block together with its key.
    pub(super) fn stored_len(&self, key: &[u8]) -> usize {
        ROW_HEADER_LEN + key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// Rows by their keys, without the owner's part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Block {
    pub(super) rows: BTreeMap<Bytes, Row>,
}

/// A block as sled is given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredBlock {
    pub(super) key: Vec<u8>,
    pub(super) bytes: Vec<u8>,
}

impl Block {
    /// The rows of a stored block, `None` when it is not what was written under this key.
    pub(super) fn decode(key: &[u8], stored: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(Bytes::copy_from_slice(checked(key, stored)?));
        let mut rows = BTreeMap::new();
        while reader.remaining() > 0 {
            let key = reader.bytes("key", stored.len()).ok()?;
            let commit = CommitNumber::new(reader.u64("commit").ok()?);
            let kind = reader.u8("kind").ok()?;
            let value = reader.bytes("value", stored.len()).ok()?;
            let value = match kind {
                DELETED if value.is_empty() => None,
                SET => Some(value),
                _ => return None,
            };
            rows.insert(key, Row { commit, value });
        }
        Some(Self { rows })
    }

    /// Itself under `key`, or divided into several of which that is the first one's; none when
    /// there are no rows.
    pub(super) fn into_stored(self, key: &[u8]) -> Vec<StoredBlock> {
        let (owner, _) = split_key(key);
        let total: usize = self.rows.iter().map(|(key, row)| row.stored_len(key)).sum();
        // Equal parts: whatever comes between two keys later finds room in each.
        let part = total.div_ceil(total.div_ceil(BLOCK_BYTES_MAX).max(1));
        let mut stored: Vec<StoredBlock> = Vec::new();
        let mut writer = Writer::with_capacity(BLOCK_BYTES_MAX);
        let mut name = key.to_vec();
        for (key, row) in self.rows {
            let length = row.stored_len(&key);
            let is_full = writer.len() + length > BLOCK_BYTES_MAX || writer.len() >= part;
            if is_full && !writer.is_empty() {
                let next = [owner, &key].concat();
                stored.push(StoredBlock::new(std::mem::replace(&mut name, next), &writer));
                writer.clear();
            }
            let Row { commit, value } = row;
            writer.bytes(&key);
            writer.u64(commit.get());
            writer.u8(if value.is_some() { SET } else { DELETED });
            writer.bytes(&value.unwrap_or_default());
        }
        if !writer.is_empty() {
            stored.push(StoredBlock::new(name, &writer));
        }
        stored
    }
}

impl StoredBlock {
    fn new(key: Vec<u8>, rows: &Writer) -> Self {
        let bytes = with_crc(&key, rows.as_slice());
        Self { key, bytes }
    }

    /// A block without rows, which keeps a place.
    pub(super) fn empty(key: &[u8]) -> Self {
        Self::new(key.to_vec(), &Writer::new())
    }
}

/// What is stored under a key, behind its CRC.
pub(super) fn with_crc(key: &[u8], rest: &[u8]) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), rest);
    [&crc.to_be_bytes(), rest].concat()
}

/// What stands behind a CRC that is right.
pub(super) fn checked<'a>(key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    let (crc, rest) = stored.split_first_chunk::<CRC_LEN>()?;
    let expected = crc32c::crc32c_append(crc32c::crc32c(key), rest);
    (u32::from_be_bytes(*crc) == expected).then_some(rest)
}

/// The CRC that something stored starts with.
pub(super) fn crc_of(stored: &[u8]) -> u32 {
    stored.first_chunk::<CRC_LEN>().map_or(0, |crc| u32::from_be_bytes(*crc))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &[u8] = b"\x09positions";

    fn row(commit: u64, value: Option<Vec<u8>>) -> Row {
        Row { commit: CommitNumber::new(commit), value: value.map(Bytes::from) }
    }

    fn block(rows: impl IntoIterator<Item = (Vec<u8>, Row)>) -> Block {
        Block { rows: rows.into_iter().map(|(key, row)| (Bytes::from(key), row)).collect() }
    }

    #[test]
    fn every_flipped_bit_of_a_block_is_found_and_so_is_another_key() {
        let block = block([
            (b"a".to_vec(), row(7, Some(b"value".to_vec()))),
            (b"b".to_vec(), row(8, None)),
        ]);
        let [stored] = &block.clone().into_stored(KEY)[..] else { panic!("it is small") };

        assert_eq!(Block::decode(KEY, &stored.bytes), Some(block));
        assert_eq!(Block::decode(b"\x09position5", &stored.bytes), None);
        for bit in 0..stored.bytes.len() * 8 {
            let mut flipped = stored.bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Block::decode(KEY, &flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_row_of_any_size_stands_alone_and_a_block_without_rows_is_none() {
        let large = block([(b"a".to_vec(), row(1, Some(vec![7; 100_000])))]);

        assert_eq!(large.into_stored(KEY).len(), 1);
        assert_eq!(Block::default().into_stored(KEY), []);
    }

    #[test]
    fn a_block_of_the_limit_stays_whole_and_one_byte_more_makes_two() {
        let of = |bytes: usize| {
            let value = Some(vec![7; bytes - 2 * (ROW_HEADER_LEN + 1) - 100]);
            block([(b"a".to_vec(), row(1, Some(vec![7; 100]))), (b"b".to_vec(), row(1, value))])
        };

        assert_eq!(of(BLOCK_BYTES_MAX).into_stored(KEY).len(), 1);
        assert_eq!(of(BLOCK_BYTES_MAX + 1).into_stored(KEY).len(), 2);
    }

    proptest! {
        #[test]
        fn blocks_that_a_block_is_divided_into_hold_its_rows_in_order(
            rows in prop::collection::btree_map(
                prop::collection::vec(any::<u8>(), 0..20),
                (any::<u64>(), prop::option::of(prop::collection::vec(any::<u8>(), 0..300))),
                0..60,
            )
        ) {
            let whole = block(rows.into_iter().map(|(key, (at, value))| (key, row(at, value))));

            let stored = whole.clone().into_stored(KEY);

            prop_assert!(stored.is_sorted_by(|one, next| one.key < next.key));
            let mut all = BTreeMap::new();
            for (index, StoredBlock { key, bytes }) in stored.iter().enumerate() {
                let found = Block::decode(key, bytes).unwrap();
                let (_, first) = split_key(key);
                prop_assert!(index > 0 || first.is_empty());
                prop_assert!(found.rows.keys().all(|key| **key >= *first));
                prop_assert!(bytes.len() <= CRC_LEN + BLOCK_BYTES_MAX || found.rows.len() == 1);
                all.extend(found.rows);
            }
            prop_assert_eq!(all, whole.rows);
        }
    }
}
