//! The canonical state and its fingerprint.
//!
//! The canonical state is a sorted list of rows, each behind its length as 32 bits:
//! ```text
//! 's' sku, location, units i64                 'a' sku, attribute, value
//! 't' sku, `in-transit` or `reserved`, units   'c' id of the pair, winner, loser
//! 'l' delivery id, position kept               'v' id of what is reviewed, decision
//! 'd' delivery id, position kept, position dropped
//! 'o' stocktake's delivery id `~` position of a posting that overlaps with it
//! ```
//! with every text behind its length as 32 bits, numbers big-endian, and a position as region,
//! incarnation (counter u32, nonce u64), partition u32, offset u64. Two hubs that hold the same
//! set of events have the same bytes.
//!
//! The fingerprint is SHA-256 over a version byte, the number of rows and the sum of the rows'
//! SHA-256 modulo 2^256. A sum needs no order and can be taken back, so it is kept along the way
//! at one or two hashes per change, and asking for it costs one. It detects divergence; it is no
//! commitment against somebody who chooses rows.
//!
//! # Source
//! Bellare, Micciancio, "A New Paradigm for Collision-Free Hashing", 1997 (`AdHash`).

use headland_event::codec::Writer;
use sha2::{Digest, Sha256};

use crate::ledger::Account;
use crate::name::{AttributeName, AttributeValue, DeliveryId, ReviewId, Sku};
use crate::position::Position;

const FINGERPRINT_VERSION: u8 = 1;

/// One row of the canonical state.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Row<'a> {
    /// Units in an account that is stock.
    Stock { sku: &'a Sku, account: &'a Account, units: i64 },
    /// The value of an attribute.
    Attribute { sku: &'a Sku, name: &'a AttributeName, value: &'a AttributeValue },
    /// A pair of concurrent writes.
    Conflict { id: &'a str, winner: &'a Position, loser: &'a Position },
    /// A delivery that came late.
    Late { id: &'a ReviewId, kept: &'a Position },
    /// A posting that overlaps with the stocktake of its shelf.
    Overlap { id: &'a ReviewId },
    /// A decision about a late event or an overlap.
    Decision { late: &'a ReviewId, decision: &'a Position },
    /// A copy that does not count.
    Duplicate { id: &'a DeliveryId, kept: &'a Position, dropped: &'a Position },
}

impl Row<'_> {
    /// The row's bytes in the layout above.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.visit(|part| bytes.extend_from_slice(part));
        bytes
    }

    /// The row's bytes, part by part: most rows are only hashed, and need no buffer.
    fn visit(self, mut put: impl FnMut(&[u8])) {
        match self {
            Self::Stock { sku, account, units } => {
                let kind = if matches!(account, Account::Location(_)) { b"s" } else { b"t" };
                put(kind);
                put_text(&mut put, sku.as_str());
                put_text(&mut put, account.name());
                put(&units.to_be_bytes());
            }
            Self::Attribute { sku, name, value } => {
                put(b"a");
                put_text(&mut put, sku.as_str());
                put_text(&mut put, name.as_str());
                put_text(&mut put, value.as_str());
            }
            Self::Conflict { id, winner, loser } => {
                put(b"c");
                put_text(&mut put, id);
                put_position(&mut put, winner);
                put_position(&mut put, loser);
            }
            Self::Late { id, kept } => {
                put(b"l");
                put_text(&mut put, id.as_str());
                put_position(&mut put, kept);
            }
            Self::Overlap { id } => {
                put(b"o");
                put_text(&mut put, id.as_str());
            }
            Self::Decision { late, decision } => {
                put(b"v");
                put_text(&mut put, late.as_str());
                put_position(&mut put, decision);
            }
            Self::Duplicate { id, kept, dropped } => {
                put(b"d");
                put_text(&mut put, id.as_str());
                put_position(&mut put, kept);
                put_position(&mut put, dropped);
            }
        }
    }
}

/// A text behind its length. Every text of a row is far shorter than 2^32 bytes.
fn put_text(put: &mut impl FnMut(&[u8]), text: &str) {
    put(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    put(text.as_bytes());
}

fn put_position(put: &mut impl FnMut(&[u8]), position: &Position) {
    let Position { actor, offset } = position;
    put_text(put, actor.region.as_str());
    put(&actor.incarnation.counter().to_be_bytes());
    put(&actor.incarnation.nonce().to_be_bytes());
    put(&actor.partition.get().to_be_bytes());
    put(&offset.get().to_be_bytes());
}

/// The canonical state's bytes from its rows in any order.
pub(crate) fn canonical(mut rows: Vec<Vec<u8>>) -> Vec<u8> {
    rows.sort_unstable();
    let mut writer = Writer::new();
    for row in &rows {
        writer.bytes(row);
    }
    writer.finish().to_vec()
}

/// A sum over the rows of the canonical state, in no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RowSum {
    rows: u64,
    /// Modulo 2^256, least significant limb first.
    limbs: [u64; 4],
}

impl RowSum {
    /// The sum over rows given as bytes.
    pub(crate) fn over(rows: &[Vec<u8>]) -> Self {
        let mut sum = Self::default();
        for row in rows {
            sum.add_hash(limbs(Sha256::digest(row).into()));
        }
        sum
    }

    pub(crate) fn add(&mut self, row: Row<'_>) {
        self.add_hash(hash(row));
    }

    /// Takes back a row that was added.
    pub(crate) fn remove(&mut self, row: Row<'_>) {
        assert!(self.rows > 0, "a row was taken from an empty state: {row:?}");
        self.rows -= 1;
        let mut borrow = false;
        for (limb, part) in self.limbs.iter_mut().zip(hash(row)) {
            let (less, first) = limb.overflowing_sub(part);
            let (less, second) = less.overflowing_sub(u64::from(borrow));
            (*limb, borrow) = (less, first || second);
        }
    }

    /// The fingerprint of the rows added so far.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let Self { rows, limbs } = self;
        let mut hasher = Sha256::new();
        hasher.update([FINGERPRINT_VERSION]);
        hasher.update(rows.to_be_bytes());
        for limb in limbs {
            hasher.update(limb.to_be_bytes());
        }
        hasher.finalize().into()
    }

    fn add_hash(&mut self, hash: [u64; 4]) {
        self.rows += 1;
        let mut carry = false;
        for (limb, part) in self.limbs.iter_mut().zip(hash) {
            let (more, first) = limb.overflowing_add(part);
            let (more, second) = more.overflowing_add(u64::from(carry));
            (*limb, carry) = (more, first || second);
        }
    }
}

fn hash(row: Row<'_>) -> [u64; 4] {
    let mut hasher = Sha256::new();
    row.visit(|part| hasher.update(part));
    limbs(hasher.finalize().into())
}

/// SHA-256 as four limbs.
fn limbs(digest: [u8; 32]) -> [u64; 4] {
    let mut limbs = [0; 4];
    let (chunks, _) = digest.as_chunks::<8>();
    for (limb, chunk) in limbs.iter_mut().zip(chunks) {
        *limb = u64::from_be_bytes(*chunk);
    }
    limbs
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::name::Location;

    fn sum_of(skus: &[String]) -> RowSum {
        let mut sum = RowSum::default();
        for name in skus {
            with_row(name, |row| sum.add(row));
        }
        sum
    }

    fn at(location: &str) -> Account {
        Account::Location(Location::new(location).unwrap())
    }

    #[test]
    fn stock_in_an_account_is_told_from_a_location_of_that_name() {
        let sku = Sku::new("a").unwrap();
        let row = |account: &Account| Row::Stock { sku: &sku, account, units: 1 }.to_bytes();

        assert_ne!(row(&Account::Reserved), row(&at("reserved")));
    }

    fn with_row(name: &str, act: impl FnOnce(Row<'_>)) {
        let (sku, account) = (Sku::new(name).unwrap(), at("x"));
        act(Row::Stock { sku: &sku, account: &account, units: -1 });
    }

    #[test]
    fn parts_that_only_concatenate_alike_are_different_rows() {
        let row = |sku: &str, location: &str| {
            let (sku, account) = (Sku::new(sku).unwrap(), at(location));
            Row::Stock { sku: &sku, account: &account, units: 1 }.to_bytes()
        };

        assert_ne!(row("ab", "c"), row("a", "bc"));
        assert_eq!(row("a", "b"), b"s\0\0\0\x01a\0\0\0\x01b\0\0\0\0\0\0\0\x01");
    }

    proptest! {
        #[test]
        fn a_fingerprint_does_not_depend_on_order_and_forgets_a_row_taken_back(
            names in vec("[a-z]{1,3}", 0..12), extra in "[A-Z]{1,3}", turn in 0..12_usize,
        ) {
            let mut turned = names.clone();
            turned.rotate_left(turn % names.len().max(1));
            let sum = sum_of(&names);
            let mut passing = sum;
            with_row(&extra, |row| passing.add(row));
            prop_assert_ne!(passing.fingerprint(), sum.fingerprint());

            with_row(&extra, |row| passing.remove(row));

            prop_assert_eq!(passing, sum);
            prop_assert_eq!(sum_of(&turned).fingerprint(), sum.fingerprint());
        }
    }
}
