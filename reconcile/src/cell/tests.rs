use headland_event::EventTime;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::position::tests::actor;

const REGIONS: [&str; 3] = ["ap", "eu", "us"];

/// Replicas that applied prefixes of the same three logs.
fn replicas() -> impl Strategy<Value = [Cells; 3]> {
    let logs = vec(vec(prop_oneof![-9..0_i64, 1..9_i64], 0..8), 3);
    let lengths = vec(vec(0..9_usize, 3), 3);
    (logs, lengths).prop_map(|(logs, lengths)| {
        [0, 1, 2].map(|replica| {
            let mut cells = Cells::new();
            for ((region, log), length) in REGIONS.iter().zip(&logs).zip(&lengths[replica]) {
                fold(&mut cells, region, &log[..log.len().min(*length)]);
            }
            cells
        })
    })
}

fn fold(cells: &mut Cells, region: &str, deltas: &[i64]) {
    for (offset, delta) in (0..).zip(deltas) {
        cells.post(&actor(region, 0), Offset::new(offset), Second::default(), *delta);
    }
}

fn merged(left: &Cells, right: &Cells) -> Cells {
    let mut cells = left.clone();
    cells.merge(right.clone());
    cells
}

#[test]
fn a_cell_is_known_at_every_cut() {
    let (eu, us) = (actor("eu", 0), actor("us", 0));
    let mut cells = Cells::new();
    cells.post(&eu, Offset::new(2), Second::default(), 10);
    cells.post(&eu, Offset::new(5), Second::default(), -3);
    cells.post(&us, Offset::new(1), Second::default(), 100);

    let at = |end| cells.total_at(|actor| Offset::new(if *actor == eu { end } else { 0 }));

    assert_eq!([0, 2, 3, 5, 6, 9].map(at), [0, 0, 10, 10, 7, 7]);
    assert_eq!(cells.total(), 107);
}

#[test]
fn a_posting_applied_twice_counts_once() {
    let mut cells = Cells::new();
    cells.post(&actor("eu", 0), Offset::new(2), Second::default(), 10);

    cells.post(&actor("eu", 0), Offset::new(2), Second::default(), 10);

    assert_eq!(cells.total(), 10);
}

proptest! {
    #[test]
    fn cells_total_what_the_crate_s_own_counter_does(
        log in vec((0..3_usize, prop_oneof![-9..0_i64, 1..9_i64]), 0..20),
    ) {
        let (mut cells, mut counter) = (Cells::new(), crdts::PNCounter::new());
        for (offset, (region, delta)) in (0..).zip(&log) {
            let actor = actor(REGIONS[*region], 0);
            cells.post(&actor, Offset::new(offset), Second::default(), *delta);
            let op = if *delta < 0 {
                counter.dec_many(actor, delta.unsigned_abs())
            } else {
                counter.inc_many(actor, delta.unsigned_abs())
            };
            counter.apply(op);
        }

        prop_assert_eq!(cells.total().to_string(), counter.read().to_string());
    }

    #[test]
    fn compacting_changes_no_cut_that_is_kept_or_covers_the_stable_one(
        deltas in vec(1..9_i64, 1..12), stable in 0..12_u64, kept in vec(0..12_u64, 0..3),
        later in 0..12_u64,
    ) {
        let mut whole = Cells::new();
        fold(&mut whole, "eu", &deltas);
        let mut cells = whole.clone();
        let asked = |end: &u64| Asked { end: Offset::new(*end), by: Second::default() };
        let ends: Vec<_> = kept.iter().map(asked).collect();

        cells.compact(|_| Offset::new(stable), |_| ends.clone());

        for end in kept.iter().copied().chain([stable, stable + later]) {
            let at = |cells: &Cells| cells.total_at(|_| Offset::new(end));
            prop_assert_eq!(at(&cells), at(&whole));
        }
        prop_assert_eq!(cells.total(), whole.total());
        let after = deltas.len().saturating_sub(usize::try_from(stable).unwrap());
        prop_assert!(cells.marks() <= after + kept.len() + 1);
    }

    #[test]
    fn compacting_keeps_what_a_stocktake_asked_for_overlaps_with(
        log in vec((1..9_i64, 0..6_u32), 1..12), stable in 0..12_u64,
        kept in vec((0..12_u64, 0..6_u32), 0..3), later in 0..12_u64,
    ) {
        let second = |second: u32| Second::of(EventTime::from_millis(i64::from(second) * 1_000));
        let mut whole = Cells::new();
        for (offset, (delta, at)) in (0..).zip(&log) {
            whole.post(&actor("eu", 0), Offset::new(offset), second(*at), *delta);
        }
        let mut cells = whole.clone();
        let asked = |(end, by): (u64, u32)| Asked { end: Offset::new(end), by: second(by) };
        let kept: Vec<_> = kept.into_iter().map(asked).collect();

        cells.compact(|_| Offset::new(stable), |_| kept.clone());

        for asked in kept.into_iter().chain([asked((stable, 6)), asked((stable + later, 3))]) {
            prop_assert_eq!(cells.beyond(|_| asked), whole.beyond(|_| asked));
        }
    }

    #[test]
    fn merge_is_commutative_associative_and_idempotent([a, b, c] in replicas()) {
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &a), a);
    }

    #[test]
    fn a_merge_is_what_one_replica_with_the_longer_logs_has(
        logs in vec(vec(1..9_i64, 0..8), 2), short in 0..8_usize,
    ) {
        let (mut left, mut right, mut both) = (Cells::new(), Cells::new(), Cells::new());
        fold(&mut left, "eu", &logs[0]);
        fold(&mut left, "us", &logs[1][..logs[1].len().min(short)]);
        fold(&mut right, "eu", &logs[0][..logs[0].len().min(short)]);
        fold(&mut right, "us", &logs[1]);
        fold(&mut both, "us", &logs[1]);
        fold(&mut both, "eu", &logs[0]);

        prop_assert_eq!(merged(&left, &right), both);
    }
}
