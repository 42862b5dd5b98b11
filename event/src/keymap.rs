//! The hash map whose order does not differ between runs.
//!
//! Std's maps are seeded by the machine and iterate in an order that changes from run to run, so
//! nothing built on them can be replayed. These iterate in insertion order; a snapshot sorts.

use foldhash::fast::FixedState;
use indexmap::{IndexMap, IndexSet};

/// Keyed state: hash map with a fixed hasher, iterated in insertion order.
///
/// Keys from outside are only ever hashed behind a bound on their number, which is what keeps a
/// fixed seed from being an attack; [`key_map`] takes a seed for where that is not so.
pub type KeyMap<K, V> = IndexMap<K, V, FixedState>;

/// A set with the same hasher and order as [`KeyMap`].
pub type KeySet<K> = IndexSet<K, FixedState>;

/// An empty map whose hasher is seeded by the node.
#[must_use]
pub fn key_map<K, V>(seed: u64) -> KeyMap<K, V> {
    KeyMap::with_hasher(FixedState::with_seed(seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iteration_follows_insertion_whatever_the_seed() {
        for seed in 0..20 {
            let mut map = key_map(seed);
            for key in ["c", "a", "b"] {
                map.insert(key, ());
            }

            assert_eq!(map.keys().copied().collect::<Vec<_>>(), ["c", "a", "b"]);
        }
    }
}
