//! Ranges of blocks, and what the blocks of each add up to.
//!
//! ```text
//! range   key u8 0 │ key of its first block:
//!         crc u32 of key and everything after this field │ blocks u64 │ sum u64 of their CRCs
//! totals  key u8 0:
//!         crc u32 as above │ version u8 2 │ commit u64 │ ranges u64 │ sum u64 of their CRCs
//! ```
//! A range holds the blocks from its first one up to the next range's; none holds two owners'.
//! Ranges and totals are written with blocks, all at once; *commit* is the last one that any block
//! has changes of. A database that lost a page, or took an older one for it, adds up to something
//! else, although each of its blocks is whole.
//!
//! So opening reads totals and ranges, and the blocks of a range are compared with it before the
//! first of them is used. Which ones they are and what their CRCs are stays in memory from then on:
//! about 70 bytes for each block, which has half a kibibyte or one larger row.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::OnceLock;

use bytes::Bytes;
use headland_event::CommitNumber;
use headland_event::codec::{Reader, Writer};

use super::block::{CRC_LEN, checked, crc_of, split_key, with_crc};

/// Blocks of a range above which it is divided. When one is used first all of it is read: up to
/// 128 KiB of rows that share blocks, and every larger row in it.
const BLOCKS_MAX: usize = 256;

/// Key in sled of the totals, and what the keys of ranges start with; an owner's name is never
/// empty, so no block's key does.
pub(super) const TOTALS_KEY: [u8; 1] = [0];

/// Version 1 had no version: its totals were those of rows, without blocks and ranges.
const TOTALS_VERSION: u8 = 2;

/// A block as it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) key: Box<[u8]>,
    pub(super) crc: u32,
    /// Bytes that it is stored in.
    pub(super) length: usize,
}

impl Listed {
    pub(super) fn new(key: &[u8], stored: &[u8]) -> Self {
        Self { key: key.into(), crc: crc_of(stored), length: stored.len() }
    }
}

/// How many things there are, and what their CRCs add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tally {
    count: u64,
    sum: u64,
}

impl Tally {
    fn of(crcs: impl Iterator<Item = u32>) -> Self {
        crcs.fold(Self::default(), |tally, crc| tally.with(crc))
    }

    fn with(self, crc: u32) -> Self {
        let (count, sum) = (self.count.wrapping_add(1), self.sum.wrapping_add(u64::from(crc)));
        Self { count, sum }
    }

    fn without(self, crc: u32) -> Self {
        let (count, sum) = (self.count.wrapping_sub(1), self.sum.wrapping_sub(u64::from(crc)));
        Self { count, sum }
    }
}

/// Some blocks of one owner that follow each other.
#[derive(Debug)]
pub(super) struct Range {
    tally: Tally,
    /// Which ones they are, once they were compared with the tally.
    listed: OnceLock<Vec<Listed>>,
}

impl Range {
    /// Its blocks in order, once they are known to be right.
    pub(super) fn listed(&self) -> Option<&[Listed]> {
        self.listed.get().map(Vec::as_slice)
    }

    /// How many blocks it has.
    pub(super) const fn blocks(&self) -> u64 {
        self.tally.count
    }

    /// Compares the blocks that were found with what they have to add up to; `None` when these are
    /// not they.
    pub(super) fn compare(&self, first: &[u8], found: Vec<Listed>) -> Option<&[Listed]> {
        let is_first = found.first().is_some_and(|block| *block.key == *first);
        if !is_first || Tally::of(found.iter().map(|block| block.crc)) != self.tally {
            return None;
        }
        Some(self.listed.get_or_init(|| found))
    }

    /// Its row in sled.
    fn encode(&self, first: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let Tally { count, sum } = self.tally;
        let key = range_key(first);
        let mut writer = Writer::new();
        writer.u64(count);
        writer.u64(sum);
        let stored = with_crc(&key, writer.as_slice());
        (key, stored)
    }

    /// The key of its first block and the range, `None` when the row is not what was written.
    fn decode(key: &[u8], stored: &[u8]) -> Option<(Vec<u8>, Self)> {
        let mut reader = Reader::new(Bytes::copy_from_slice(checked(key, stored)?));
        let tally = Tally { count: reader.u64("blocks").ok()?, sum: reader.u64("sum").ok()? };
        reader.end().ok()?;
        let first = key.strip_prefix(&TOTALS_KEY)?;
        Some((first.to_vec(), Self { tally, listed: OnceLock::new() }))
    }
}

fn range_key(first: &[u8]) -> Vec<u8> {
    [&TOTALS_KEY, first].concat()
}

/// What all ranges add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    /// The last commit whose changes are in the blocks.
    pub(super) commit: CommitNumber,
    ranges: Tally,
}

impl Totals {
    /// The same blocks as of another commit.
    pub(super) const fn as_of(self, commit: CommitNumber) -> Self {
        Self { commit, ..self }
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let Self { commit, ranges: Tally { count, sum } } = self;
        let mut writer = Writer::new();
        writer.u8(TOTALS_VERSION);
        writer.u64(commit.get());
        writer.u64(count);
        writer.u64(sum);
        with_crc(&TOTALS_KEY, writer.as_slice())
    }

    /// The totals, `None` when they are not what was written, or of another version.
    fn decode(stored: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(Bytes::copy_from_slice(checked(&TOTALS_KEY, stored)?));
        if reader.u8("version").ok()? != TOTALS_VERSION {
            return None;
        }
        let commit = CommitNumber::new(reader.u64("commit").ok()?);
        let ranges = Tally { count: reader.u64("ranges").ok()?, sum: reader.u64("sum").ok()? };
        reader.end().ok()?;
        Some(Self { commit, ranges })
    }
}

/// All ranges by the keys of their first blocks.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    by_first: BTreeMap<Vec<u8>, Range>,
}

/// What ranges become, and what sled has to be given for that.
#[derive(Debug)]
pub(super) struct Replacement {
    /// The key of the first block of each range that goes, and the ranges in its place.
    ranges: Vec<(Vec<u8>, Vec<Vec<Listed>>)>,
    pub(super) totals: Totals,
}

impl Ranges {
    /// Ranges and their totals from the rows in sled that start with [`TOTALS_KEY`]; `None` when
    /// they do not add up.
    pub(super) fn decode<'a>(
        rows: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Option<(Self, Totals)> {
        let (mut ranges, mut found, mut totals) = (Self::default(), Tally::default(), None);
        for (key, stored) in rows {
            if *key == TOTALS_KEY {
                totals = Some(Totals::decode(stored)?);
            } else {
                let (first, range) = Range::decode(key, stored)?;
                found = found.with(crc_of(stored));
                ranges.by_first.insert(first, range);
            }
        }
        totals.filter(|totals| totals.ranges == found).map(|totals| (ranges, totals))
    }

    /// The range that a key of an owner falls in, with the key of its first block.
    pub(super) fn holding(&self, key: &[u8]) -> Option<(&[u8], &Range)> {
        let until = (Bound::Unbounded, Bound::Included(key));
        let (first, range) = self.by_first.range::<[u8], _>(until).next_back()?;
        let (owner, _) = split_key(key);
        first.starts_with(owner).then_some((first.as_slice(), range))
    }

    /// Ranges of an owner from the one on that a key falls in, in order.
    pub(super) fn from<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a Range)> {
        let (owner, _) = split_key(key);
        let first = self.holding(key).map_or(key, |(first, _)| first);
        let ranges = self.by_first.range::<[u8], _>((Bound::Included(first), Bound::Unbounded));
        ranges
            .take_while(move |(first, _)| first.starts_with(owner))
            .map(|(first, range)| (first.as_slice(), range))
    }

    /// The key of the first block of the next range, whoever owns it.
    pub(super) fn after(&self, first: &[u8]) -> Option<&[u8]> {
        let behind = (Bound::Excluded(first), Bound::Unbounded);
        self.by_first.range::<[u8], _>(behind).next().map(|(first, _)| first.as_slice())
    }

    /// All ranges in order, with the keys of their first blocks.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Range)> {
        self.by_first.iter().map(|(first, range)| (first.as_slice(), range))
    }

    /// What becomes of ranges that now have other blocks, and of `totals`; each by the key of its
    /// first block, which it keeps. Puts what sled has to store into `batch`.
    pub(super) fn replacement(
        &self,
        blocks: Vec<(Vec<u8>, Vec<Listed>)>,
        totals: Totals,
        batch: &mut sled::Batch,
    ) -> Replacement {
        let mut replacement = Replacement { ranges: Vec::with_capacity(blocks.len()), totals };
        let tally = &mut replacement.totals.ranges;
        for (first, listed) in blocks {
            if let Some(before) = self.by_first.get(&first) {
                let (key, stored) = before.encode(&first);
                *tally = tally.without(crc_of(&stored));
                batch.remove(key);
            }
            let parts = divided(listed);
            for part in &parts {
                let Some((first, range)) = Range::of(part) else { continue };
                let (key, stored) = range.encode(first);
                *tally = tally.with(crc_of(&stored));
                batch.insert(key, stored);
            }
            replacement.ranges.push((first, parts));
        }
        batch.insert(&TOTALS_KEY, replacement.totals.encode());
        replacement
    }

    /// Does what sled has done.
    pub(super) fn replace(&mut self, replacement: Replacement) -> Totals {
        let Replacement { ranges, totals } = replacement;
        for (first, parts) in ranges {
            self.by_first.remove(&first);
            for part in parts {
                let Some((first, range)) = Range::of(&part) else { continue };
                let first = first.to_vec();
                range.listed.get_or_init(|| part);
                self.by_first.insert(first, range);
            }
        }
        totals
    }
}

impl Range {
    /// The range of these blocks and the key of the first, if there is one.
    fn of(blocks: &[Listed]) -> Option<(&[u8], Self)> {
        let first = blocks.first()?;
        let tally = Tally::of(blocks.iter().map(|block| block.crc));
        Some((&first.key, Self { tally, listed: OnceLock::new() }))
    }
}

/// Blocks in equal parts that are not too many each.
fn divided(mut blocks: Vec<Listed>) -> Vec<Vec<Listed>> {
    let mut parts = blocks.len().div_ceil(BLOCKS_MAX);
    let mut divided = Vec::with_capacity(parts);
    while parts > 1 {
        let behind = blocks.split_off(blocks.len().div_ceil(parts));
        divided.push(std::mem::replace(&mut blocks, behind));
        parts -= 1;
    }
    divided.push(blocks);
    divided
}

/// Whether a range has nothing but a block without rows, which goes with it.
pub(super) fn is_void(blocks: &[Listed]) -> bool {
    matches!(blocks, [block] if block.length == CRC_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(numbers: std::ops::Range<u32>) -> Vec<Listed> {
        let block = |number: u32| {
            let key = [&b"\x04open"[..], &number.to_be_bytes()].concat();
            Listed { key: key.into(), crc: number.wrapping_mul(2_654_435_761), length: 512 }
        };
        numbers.map(block).collect()
    }

    fn first(blocks: &[Listed]) -> Vec<u8> {
        blocks.first().unwrap().key.to_vec()
    }

    /// Ranges with these blocks, and their rows in sled.
    fn with(blocks: Vec<Listed>) -> (Ranges, Totals) {
        let mut ranges = Ranges::default();
        let first = first(&blocks);
        let replacement = ranges.replacement(
            vec![(first, blocks)],
            Totals::default(),
            &mut sled::Batch::default(),
        );
        let totals = ranges.replace(replacement);
        (ranges, totals)
    }

    fn stored(ranges: &Ranges, totals: Totals) -> Vec<(Vec<u8>, Vec<u8>)> {
        let rows = ranges.iter().map(|(first, range)| range.encode(first));
        std::iter::once((TOTALS_KEY.to_vec(), totals.encode())).chain(rows).collect()
    }

    fn decode(rows: &[(Vec<u8>, Vec<u8>)]) -> Option<(Ranges, Totals)> {
        Ranges::decode(rows.iter().map(|(key, stored)| (&**key, &**stored)))
    }

    #[test]
    fn a_range_of_the_limit_stays_whole_and_one_block_more_makes_two_equal_ones() {
        let sizes = |count: u32| -> Vec<u64> {
            with(listed(0..count)).0.iter().map(|(_, range)| range.blocks()).collect()
        };

        assert_eq!(sizes(256), [256]);
        assert_eq!(sizes(257), [129, 128]);
        assert_eq!(sizes(1_000), [250; 4]);
    }

    #[test]
    fn ranges_are_read_as_they_were_written_and_every_flipped_bit_is_found() {
        let (ranges, totals) = with(listed(0..300));
        let rows = stored(&ranges, totals.as_of(CommitNumber::new(7)));

        let (_, found) = decode(&rows).unwrap();

        assert_eq!(found, totals.as_of(CommitNumber::new(7)));
        for row in 0..rows.len() {
            for bit in 0..rows[row].1.len() * 8 {
                let mut flipped = rows.clone();
                flipped[row].1[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&flipped).is_none(), "row {row}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_range_that_is_lost_or_an_older_one_does_not_add_up() {
        let (ranges, totals) = with(listed(0..300));
        let (older, _) = with(listed(0..299));
        let rows = stored(&ranges, totals);
        let lost = rows.split_last().unwrap().1;
        let mut outdated = rows.clone();
        *outdated.last_mut().unwrap() = stored(&older, totals).pop().unwrap();

        assert!(decode(&rows).is_some());
        assert!(decode(lost).is_none());
        assert!(decode(&outdated).is_none());
    }

    #[test]
    fn blocks_are_compared_with_their_range_before_they_are_listed() {
        let (ranges, totals) = with(listed(0..4));
        let (ranges, _) = decode(&stored(&ranges, totals)).unwrap();
        let range = &ranges.by_first[&first(&listed(0..4))];
        let first = first(&listed(0..4));
        let mut outdated = listed(0..4);
        outdated[2].crc += 1;

        assert!(range.compare(&first, listed(0..3)).is_none());
        assert!(range.compare(&first, outdated).is_none());
        assert!(range.listed().is_none());
        assert_eq!(range.compare(&first, listed(0..4)), Some(&*listed(0..4)));
        assert_eq!(range.listed(), Some(&*listed(0..4)));
    }

    #[test]
    fn a_key_falls_in_the_range_before_it_of_its_owner_and_of_no_other() {
        let (ranges, _) = with(listed(5..6));
        let key = |owner: &[u8], number: u32| [owner, &number.to_be_bytes()].concat();

        assert!(ranges.holding(&key(b"\x04open", 4)).is_none());
        assert!(ranges.holding(&key(b"\x04open", 5)).is_some());
        assert!(ranges.holding(&key(b"\x04open", 9)).is_some());
        assert!(ranges.holding(&key(b"\x05other", 9)).is_none());
    }

    #[test]
    fn totals_of_rows_are_not_taken_for_those_of_ranges() {
        let mut first = Writer::new();
        [1, 2, 3].into_iter().for_each(|value| first.u64(value));

        let found = Totals::decode(&with_crc(&TOTALS_KEY, first.as_slice()));

        assert_eq!(found, None);
    }
}
