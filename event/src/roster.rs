//! Keyed state that only grows, by the million.
//!
//! A [`crate::KeyMap`] keeps every key's hash and finds it by a 64-bit number. Where nothing is
//! ever removed and fewer than 2^32 keys fit in memory, neither is needed: here an entry costs its
//! own bytes and, of the table, 5 to 11, against 16 to 27 beyond its own bytes there. The table is
//! also half the size, so that more of it stays in the processor's caches.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Entries by key, numbered from 0 in order of insertion. A number stays true: nothing is removed.
#[derive(Clone)]
pub struct Roster<K, V> {
    entries: Vec<(K, V)>,
    /// The number of each entry, found by the hash of its key.
    numbers: HashTable<u32>,
    hasher: FixedState,
}

impl<K: Hash + Eq, V> Roster<K, V> {
    /// An empty one whose hasher is seeded by the node.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self { entries: Vec::new(), numbers: HashTable::new(), hasher }
    }

    /// The number of a key's entry, which `make` makes when there is none; whether it did. O(1).
    ///
    /// # Panics
    /// Beyond 2^32 entries, which do not fit in memory.
    pub fn find_or_insert(&mut self, key: &K, make: impl FnOnce() -> (K, V)) -> (usize, Found) {
        let Self { entries, numbers, hasher } = self;
        let at = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let is_key = |number: &u32| entries.get(at(*number)).is_some_and(|(of, _)| of == key);
        let hash_of =
            |number: &u32| entries.get(at(*number)).map_or(0, |(key, _)| hasher.hash_one(key));
        match numbers.entry(hasher.hash_one(key), is_key, hash_of) {
            Entry::Occupied(found) => (at(*found.get()), Found::Before),
            Entry::Vacant(free) => {
                let index = entries.len();
                #[expect(
                    clippy::expect_used,
                    reason = "four thousand million entries exceed memory"
                )]
                free.insert(u32::try_from(index).expect("fewer than 2^32 entries are kept"));
                entries.push(make());
                debug_assert!(entries.last().is_some_and(|(of, _)| of == key), "another key");
                (index, Found::Now)
            }
        }
    }

    /// The number of a key's entry; the key may be given in any form it can be borrowed as. O(1).
    #[must_use]
    pub fn get_index_of<Q>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let at = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let is_key =
            |number: &u32| self.entries.get(at(*number)).is_some_and(|(of, _)| of.borrow() == key);
        self.numbers.find(self.hasher.hash_one(key), is_key).map(|number| at(*number))
    }

    /// The value of a key. O(1).
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.get_index(self.get_index_of(key)?).map(|(_, value)| value)
    }

    /// Appends entries; of a key that is there already the one there stays.
    pub fn extend(&mut self, entries: impl IntoIterator<Item = (K, V)>)
    where
        K: Clone,
    {
        for (key, value) in entries {
            let _number = self.find_or_insert(&key.clone(), || (key, value));
        }
    }
}

impl<K, V> Roster<K, V> {
    /// The entry of a number. O(1).
    #[must_use]
    pub fn get_index(&self, index: usize) -> Option<(&K, &V)> {
        self.entries.get(index).map(|(key, value)| (key, value))
    }

    /// The entry of a number, its value to be changed. O(1).
    #[must_use]
    pub fn get_index_mut(&mut self, index: usize) -> Option<(&K, &mut V)> {
        self.entries.get_mut(index).map(|(key, value)| (&*key, value))
    }

    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every entry, in order of insertion.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// Every key, in order of insertion.
    #[must_use]
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &K> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// Every value, in order of insertion, to be changed.
    pub fn values_mut(&mut self) -> impl ExactSizeIterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }
}

/// Whether a key was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Found {
    /// It was.
    Before,
    /// Its entry was made now.
    Now,
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Roster<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries.iter().map(|(key, value)| (key, value))).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::keymap;

    #[test]
    fn a_number_stays_true_while_the_table_grows() {
        let mut roster = Roster::new(3);

        for key in 0..1_000_u32 {
            assert_eq!(roster.find_or_insert(&key, || (key, ())).1, Found::Now);
        }

        assert!((0..1_000_u32).all(|key| roster.get_index_of(&key) == usize::try_from(key).ok()));
        assert_eq!(roster.get_index_of(&1_000), None);
    }

    #[test]
    fn a_key_is_found_in_the_form_it_is_borrowed_as() {
        let mut roster = Roster::new(3);
        roster.find_or_insert(&"b".to_owned(), || ("b".to_owned(), ()));

        assert_eq!(roster.get_index_of("b"), Some(0));
        assert_eq!(roster.get_index_of("a"), None);
    }

    proptest! {
        #[test]
        fn a_roster_says_what_a_key_map_says(
            keys in vec("[a-f]{0,2}", 0..80), asked in "[a-f]{0,2}", seed in any::<u64>(),
        ) {
            let (mut roster, mut map) = (Roster::new(seed), keymap::key_map(seed));

            for (value, key) in keys.iter().enumerate() {
                let (index, found) = roster.find_or_insert(key, || (key.clone(), value));
                prop_assert_eq!(found == Found::Now, !map.contains_key(key));
                map.entry(key.clone()).or_insert(value);
                prop_assert_eq!(map.get_index_of(key), Some(index));
            }

            prop_assert_eq!(roster.get(&asked), map.get(&asked));
            prop_assert!(roster.iter().eq(map.iter()));
        }
    }
}
