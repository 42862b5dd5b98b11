//! The table of rows in sled: blocks of rows, checked against their ranges when they are used.
//!
//! Nothing sled says is taken on trust. Opening compares the ranges with their totals, and the
//! blocks of owners that have few with their ranges. A large owner's ranges are compared when they
//! are used first, so that opening does not depend on how many rows there are; from then on every
//! block that is read is the one that was listed, or an error.

use std::collections::BTreeSet;
use std::path::Path;

use headland_event::{ByteCount, CommitNumber};

use super::block::{Block, Row, StoredBlock, checked, split_key};
use super::contained::Database;
use super::ranges::{Listed, Range, Ranges, Replacement, TOTALS_KEY, Totals, is_void};
use crate::commit::StateOwner;
use crate::state::StateError;

/// Walks over an owner's rows.
mod walk;

pub(super) use walk::Walk;

/// Blocks that opening reads, of the owners with the fewest: some ten milliseconds for 2 MiB, if no
/// row is larger than a block should be. It bounds blocks and not bytes: large values are read with
/// them.
const BLOCKS_READ_AT_OPENING: u64 = 4_096;

/// Rows by stored key.
#[derive(Debug)]
pub(super) struct Table {
    database: Database,
    ranges: Ranges,
    totals: Totals,
}

/// What becomes of a row; `None` takes it away.
pub(super) type Edit<'a> = (&'a [u8], Option<&'a Row>);

impl Table {
    /// Opens a table that was stored, `None` when it does not add up.
    ///
    /// Cost: reads a row for each range, and 4,096 blocks at most: 2 MiB, but for rows that are
    /// larger than a block should be.
    pub(super) fn open(path: &Path, cache_bytes: ByteCount) -> Result<Option<Self>, StateError> {
        let database = Database::open(path, cache_bytes)?;
        let rows: Vec<_> = database.run(|sled| sled.scan_prefix(TOTALS_KEY).collect())?;
        let decoded = Ranges::decode(rows.iter().map(|(key, stored)| (&**key, &**stored)));
        let Some((ranges, totals)) = decoded else { return Ok(None) };
        let table = Self { database, ranges, totals };
        table.check_small_owners()?;
        Ok(Some(table))
    }

    /// Starts an empty one in an empty directory.
    pub(super) fn create(path: &Path, cache_bytes: ByteCount) -> Result<Self, StateError> {
        let database = Database::open(path, cache_bytes)?;
        Ok(Self { database, ranges: Ranges::default(), totals: Totals::default() })
    }

    /// The last commit whose changes are in it.
    pub(super) const fn reached(&self) -> CommitNumber {
        self.totals.commit
    }

    /// Compares the blocks of owners with their ranges, beginning with the smallest owner, as long
    /// as these are not too many.
    fn check_small_owners(&self) -> Result<(), StateError> {
        let mut owners: Vec<(u64, &[u8])> = Vec::new();
        for (first, range) in self.ranges.iter() {
            let (owner, _) = split_key(first);
            match owners.last_mut().filter(|(_, last)| *last == owner) {
                Some((blocks, _)) => *blocks = blocks.saturating_add(range.blocks()),
                None => owners.push((range.blocks(), owner)),
            }
        }
        owners.sort_unstable();
        let mut left = BLOCKS_READ_AT_OPENING;
        for (blocks, owner) in owners {
            let Some(rest) = left.checked_sub(blocks) else { break };
            left = rest;
            for (first, range) in self.ranges.from(owner) {
                self.listed(first, range)?;
            }
        }
        Ok(())
    }

    /// The blocks of a range, which are read and compared with it once.
    fn listed<'a>(&self, first: &[u8], range: &'a Range) -> Result<&'a [Listed], StateError> {
        if let Some(listed) = range.listed() {
            return Ok(listed);
        }
        let found = self.database.run(|sled| {
            let blocks = match self.ranges.after(first) {
                Some(until) => sled.range(first..until),
                None => sled.range(first..),
            };
            let mut found = Vec::new();
            for block in blocks {
                let (key, stored) = block?;
                if checked(&key, &stored).is_none() {
                    return Ok(None);
                }
                found.push(Listed::new(&key, &stored));
            }
            Ok(Some(found))
        })?;
        found.and_then(|found| range.compare(first, found)).ok_or_else(|| damaged(first))
    }

    /// A block that a range lists.
    fn block(&self, listed: &Listed) -> Result<Block, StateError> {
        let stored = self.database.run(|sled| sled.get(&listed.key))?;
        let block = stored.filter(|stored| Listed::new(&listed.key, stored) == *listed);
        let block = block.and_then(|stored| Block::decode(&listed.key, &stored));
        block.ok_or_else(|| damaged(&listed.key))
    }

    /// The row of a key.
    pub(super) fn row(&self, key: &[u8]) -> Result<Option<Row>, StateError> {
        let Some((first, range)) = self.ranges.holding(key) else { return Ok(None) };
        let (before, _) = around(self.listed(first, range)?, key);
        let Some(holding) = before.last() else { return Ok(None) };
        let (_, own_key) = split_key(key);
        Ok(self.block(holding)?.rows.remove(own_key))
    }

    /// Rows of the owner of a key, from that key on.
    pub(super) fn walk<'a>(&'a self, from: &'a [u8]) -> Walk<'a> {
        Walk::new(self, from)
    }

    /// What the stored keys of each owner begin with.
    pub(super) fn owners(&self) -> BTreeSet<Vec<u8>> {
        self.ranges.iter().map(|(first, _)| split_key(first).0.to_vec()).collect()
    }

    /// Makes edits in the order of keys, all at once, and says of which commit they are the last.
    pub(super) fn edit<'a>(
        &mut self,
        commit: CommitNumber,
        edits: impl Iterator<Item = Edit<'a>>,
    ) -> Result<(), StateError> {
        let mut edits = edits.peekable();
        let mut batch = sled::Batch::default();
        let mut changed = Vec::new();
        while let Some((key, _)) = edits.peek() {
            let (owner, _) = split_key(key);
            let range = self.ranges.holding(key);
            let first = range.map_or(owner, |(first, _)| first);
            let blocks = range.map_or(Ok(&[][..]), |(first, range)| self.listed(first, range))?;
            let until = self.ranges.after(first);
            let is_inside = |(key, _): &Edit<'_>| {
                key.starts_with(owner) && until.is_none_or(|until| *key < until)
            };
            let mut inside = std::iter::from_fn(|| edits.next_if(is_inside)).peekable();
            let edited = self.edited((first, blocks), &mut inside, &mut batch)?;
            debug_assert!(inside.peek().is_none(), "every edit inside was made");
            changed.push((first.to_vec(), edited));
        }
        let replacement = self.ranges.replacement(changed, self.totals.as_of(commit), &mut batch);
        self.apply(batch, replacement)
    }

    fn apply(&mut self, batch: sled::Batch, replacement: Replacement) -> Result<(), StateError> {
        self.database.run(|sled| sled.apply_batch(batch))?;
        self.totals = self.ranges.replace(replacement);
        Ok(())
    }

    /// The blocks of a range once edits inside it were made, which are put into the batch.
    fn edited<'a>(
        &self,
        (first, blocks): (&[u8], &[Listed]),
        edits: &mut std::iter::Peekable<impl Iterator<Item = Edit<'a>>>,
        batch: &mut sled::Batch,
    ) -> Result<Vec<Listed>, StateError> {
        let mut edited = Vec::with_capacity(blocks.len());
        let mut rest = blocks;
        while let Some((key, _)) = edits.peek() {
            let (before, behind) = around(rest, key);
            let (key, mut block) = match before.split_last() {
                Some((holding, before)) => {
                    edited.extend_from_slice(before);
                    (&*holding.key, self.block(holding)?)
                }
                None => (first, Block::default()),
            };
            let until = behind.first().map(|block| &*block.key);
            while let Some((key, row)) =
                edits.next_if(|(key, _)| until.is_none_or(|until| *key < until))
            {
                let (_, own_key) = split_key(key);
                match row {
                    Some(row) => drop(block.rows.insert(own_key.to_vec().into(), row.clone())),
                    None => drop(block.rows.remove(own_key)),
                }
            }
            let mut stored = block.into_stored(key);
            if stored.is_empty() && key == first {
                // A range is known by its first block.
                stored.push(StoredBlock::empty(key));
            } else if stored.is_empty() {
                batch.remove(key);
            }
            for StoredBlock { key, bytes } in stored {
                edited.push(Listed::new(&key, &bytes));
                batch.insert(key, bytes);
            }
            rest = behind;
        }
        edited.extend_from_slice(rest);
        if is_void(&edited) {
            batch.remove(first);
            edited.clear();
        }
        debug_assert!(edited.is_sorted_by(|one, next| one.key < next.key), "blocks stay in order");
        Ok(edited)
    }

    /// Has sled write what it holds to its files; says that all changes up to a commit are there.
    pub(super) fn flush(&mut self, commit: CommitNumber) -> Result<(), StateError> {
        let totals = self.totals.as_of(commit);
        self.database.run(|sled| {
            sled.insert(TOTALS_KEY, totals.encode())?;
            sled.flush()
        })?;
        self.totals = totals;
        Ok(())
    }
}

/// The blocks up to the one that may hold a key, and those behind it.
fn around<'a>(blocks: &'a [Listed], key: &[u8]) -> (&'a [Listed], &'a [Listed]) {
    blocks.split_at(blocks.partition_point(|block| *block.key <= *key))
}

/// The error that something under a key is not what was written.
fn damaged(key: &[u8]) -> StateError {
    let (owner, _) = split_key(key);
    let owner = owner.get(1..).and_then(|name| std::str::from_utf8(name).ok());
    match owner.map(StateOwner::new) {
        Some(Ok(owner)) => StateError::Corrupt { owner },
        Some(Err(_)) | None => StateError::Cache { reason: "a key is damaged".to_owned() },
    }
}

#[cfg(test)]
mod tests;
