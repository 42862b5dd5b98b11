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

/// Gaps below an end, by how far each begins behind the one before it and how long it is.
pub(crate) fn gaps_before(drawn: &[(u64, u64)], end: u64) -> Vec<Gap> {
    let mut from = 0;
    let gaps = drawn.iter().map(|(behind, length)| {
        let gap =
            Gap { from: Offset::new(from + behind), until: Offset::new(from + behind + length) };
        from = gap.until.get();
        gap
    });
    gaps.filter(|gap| gap.until.get() < end).collect()
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

    let below = |end| Seen::below(Offset::new(end));
    let at = |end| cells.total_at(|actor| below(if *actor == eu { end } else { 0 }));

    assert_eq!([0, 2, 3, 5, 6, 9].map(at), [0, 0, 10, 10, 7, 7]);
    assert_eq!(cells.total(), 107);
}

#[test]
fn what_lay_in_a_gap_was_not_seen() {
    let mut cells = Cells::new();
    for (offset, delta) in [(0, 1), (2, 10), (3, 100), (5, 1_000), (6, 10_000)] {
        cells.post(&actor("eu", 0), Offset::new(offset), Second::default(), delta);
    }
    let gaps = gaps_before(&[(2, 1), (1, 2)], 9);
    let seen = |end| Seen { unseen: &gaps, ..Seen::below(Offset::new(end)) };
    let offsets = |by| {
        let beyond = cells.beyond(|_| Asked { seen: seen(6), by });
        beyond.into_iter().map(|(_, of)| (of.offset.get(), of.delta)).collect::<Vec<_>>()
    };

    assert_eq!(cells.total_at(|_| seen(6)), 101);
    assert_eq!(cells.total_at(|_| seen(9)), 10_101);
    assert_eq!(offsets(Second::default()), []);
    let mut dated = Cells::new();
    for (offset, delta) in [(0, 1), (2, 10), (3, 100), (5, 1_000), (6, 10_000)] {
        let second = Second::of(EventTime::from_millis(offset * 1_000));
        let offset = Offset::new(u64::try_from(offset).unwrap());
        dated.post(&actor("eu", 0), offset, second, delta);
    }
    let by = Second::of(EventTime::from_millis(5_000));
    let found = dated.beyond(|_| Asked { seen: seen(6), by });
    let found: Vec<_> = found.into_iter().map(|(_, of)| (of.offset.get(), of.delta)).collect();
    assert_eq!(found, [(2, 10), (5, 1_000)]);
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
        let below = |end: u64| Seen::below(Offset::new(end));
        let asked = |end: &u64| Asked { seen: below(*end), by: Second::default() };
        let ends: Vec<_> = kept.iter().map(asked).collect();

        cells.compact(|_| below(stable), |_| ends.clone());

        for end in kept.iter().copied().chain([stable, stable + later]) {
            let at = |cells: &Cells| cells.total_at(|_| below(end));
            prop_assert_eq!(at(&cells), at(&whole));
        }
        prop_assert_eq!(cells.total(), whole.total());
        let after = deltas.len().saturating_sub(usize::try_from(stable).unwrap());
        prop_assert!(cells.marks() <= after + kept.len() + 1);
    }

    #[test]
    fn compacting_keeps_what_a_stocktake_asked_for_overlaps_with(
        log in vec((1..9_i64, 0..6_u32), 1..12), stable in 0..12_u64,
        kept in vec((0..12_u64, 0..6_u32, vec((1..4_u64, 1..4_u64), 0..3)), 0..3),
        later in 0..12_u64,
        unstable in vec((1..4_u64, 1..4_u64), 0..3),
        late in proptest::sample::subsequence((0..12_usize).collect::<Vec<_>>(), 0..5),
    ) {
        let second = |second: u32| Second::of(EventTime::from_millis(i64::from(second) * 1_000));
        let post = |cells: &mut Cells, at: usize| {
            let Some((delta, second_at)) = log.get(at) else { return };
            let offset = Offset::new(u64::try_from(at).unwrap());
            cells.post(&actor("eu", 0), offset, second(*second_at), *delta);
        };
        let (mut whole, mut cells) = (Cells::new(), Cells::new());
        (0..log.len()).for_each(|at| post(&mut whole, at));
        // What a part is missing of comes behind the compaction.
        (0..log.len()).filter(|at| !late.contains(at)).for_each(|at| post(&mut cells, at));
        let kept: Vec<_> = kept.into_iter()
            .map(|(end, by, gaps)| (end, by, gaps_before(&gaps, end))).collect();
        let asked = |(end, by, gaps): &(u64, u32, Vec<Gap>)| {
            let seen = Seen { end: Offset::new(*end), unseen: gaps.clone().leak() };
            Asked { seen, by: second(*by) }
        };
        let kept: Vec<_> = kept.iter().map(asked).collect();
        let unstable = gaps_before(&unstable, stable);
        let stable_seen = Seen { unseen: &unstable, ..Seen::below(Offset::new(stable)) };

        cells.compact(|_| stable_seen, |_| kept.clone());
        late.iter().for_each(|at| post(&mut cells, *at));

        // Whoever covers what is stable has missed nothing but what is not.
        let covering = [
            (stable, 6, vec![]), (stable + later, 3, vec![]), (stable + later, 2, unstable.clone()),
        ];
        for asked in kept.into_iter().chain(covering.iter().map(asked)) {
            prop_assert_eq!(cells.beyond(|_| asked), whole.beyond(|_| asked));
            prop_assert_eq!(cells.total_at(|_| asked.seen), whole.total_at(|_| asked.seen));
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
