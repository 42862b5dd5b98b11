//! Types of `crdts` that are not used here, each with a case in which it goes wrong. When one of
//! these fails after an update of the library, the type may be looked at again.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

use crdts::{CmRDT, CvRDT, LWWReg, MVReg, Map, PNCounter};
use headland_event::{Random, SeededRandom};

type Registers = Map<u8, MVReg<u8, u8>, u8>;

#[test]
fn a_last_writer_wins_register_with_equal_markers_keeps_both_values_apart() {
    let (mut one, mut other) = (LWWReg { val: "a", marker: 7 }, LWWReg { val: "b", marker: 7 });
    let (one_said, other_said) = (one.clone(), other.clone());

    one.merge(other_said);
    other.merge(one_said);

    assert_eq!((one.val, other.val), ("a", "b"));
}

#[test]
fn a_counter_that_misses_an_operation_does_not_say_so() {
    let mut writer = PNCounter::new();
    let first = writer.inc("eu");
    writer.apply(first);
    let second = writer.inc("eu");
    let mut reader = PNCounter::new();

    reader.apply(second);

    assert_eq!(reader.read().to_string(), "2");
}

/// What every key of a map holds, in order.
fn shown(map: &Registers) -> Vec<(u8, Vec<u8>)> {
    let mut keys: Vec<(u8, Vec<u8>)> = (0..2)
        .filter_map(|key| {
            let mut values = map.get(&key).val?.read().val;
            values.sort_unstable();
            Some((key, values))
        })
        .collect();
    keys.sort();
    keys
}

/// Three replicas after a few writes, removals and merges.
fn replicas(seed: u64) -> [Registers; 3] {
    let mut random = SeededRandom::new(seed);
    let mut below = |bound: u64| u8::try_from(random.below(bound)).unwrap();
    let mut replicas = [Registers::new(), Registers::new(), Registers::new()];
    for value in 0..8 {
        let (at, from, key) = (below(3), below(3), below(2));
        let other = replicas[usize::from(from)].clone();
        let replica = &mut replicas[usize::from(at)];
        match below(3) {
            0 => {
                let context = replica.read_ctx().derive_add_ctx(at);
                let write = replica.update(key, context, |of, context| of.write(value, context));
                replica.apply(write);
            }
            1 => {
                let context = replica.get(&key).derive_rm_ctx();
                let removal = replica.rm(key, context);
                replica.apply(removal);
            }
            _ => replica.merge(other),
        }
    }
    replicas
}

#[test]
fn a_map_with_removals_shows_what_the_order_of_merges_makes_of_it() {
    let differs = |seed: &u64| {
        let [a, b, c] = replicas(*seed);
        let (mut left, mut right, mut bc) = (a.clone(), a, b.clone());
        left.merge(b);
        left.merge(c.clone());
        bc.merge(c);
        right.merge(bc);
        shown(&left) != shown(&right)
    };

    let found = (0..30_000).find(differs);

    assert!(found.is_some(), "merging a map became associative");
}
