//! Walks over an owner's rows.

use std::collections::btree_map;

use bytes::Bytes;

use super::Table;
use crate::disk::block::{Block, Row, split_key};
use crate::disk::ranges::{Listed, Range};
use crate::state::StateError;

/// Rows of one owner in the order of keys, each with its stored key.
///
/// One range of blocks is listed at a time and one block is held.
pub(in crate::disk) struct Walk<'a> {
    table: &'a Table,
    from: &'a [u8],
    ranges: Box<dyn Iterator<Item = (&'a [u8], &'a Range)> + 'a>,
    blocks: std::slice::Iter<'a, Listed>,
    rows: btree_map::IntoIter<Bytes, Row>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(table: &'a Table, from: &'a [u8]) -> Self {
        let ranges = Box::new(table.ranges.from(from));
        let (blocks, rows) = ([].iter(), btree_map::BTreeMap::new().into_iter());
        Self { table, from, ranges, blocks, rows }
    }

    fn step(&mut self) -> Result<Option<(Vec<u8>, Row)>, StateError> {
        let (owner, from) = split_key(self.from);
        loop {
            if let Some((key, row)) = self.rows.next() {
                return Ok(Some(([owner, &key].concat(), row)));
            }
            if let Some(block) = self.blocks.next() {
                let Block { mut rows } = self.table.block(block)?;
                // Rows before the beginning can only stand in the first block.
                if rows.first_key_value().is_some_and(|(key, _)| **key < *from) {
                    rows = rows.split_off(from);
                }
                self.rows = rows.into_iter();
            } else if let Some((first, range)) = self.ranges.next() {
                let blocks = self.table.listed(first, range)?;
                // The last block that begins at `from` or before it is the first to look at.
                let behind = blocks.partition_point(|block| *block.key <= *self.from);
                self.blocks = blocks.get(behind.saturating_sub(1)..).unwrap_or_default().iter();
            } else {
                return Ok(None);
            }
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<(Vec<u8>, Row), StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
