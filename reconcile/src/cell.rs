//! Counters per actor that remember what they were at any cut.
//!
//! A cell is the fold of one actor's postings to one shelf, up to the position applied: units
//! raised and units lowered, two numbers that only grow, so that the larger one is the newer one
//! and merging is a join. `crdts::PNCounter` is just such a pair; it is not used itself because it
//! reads through big integers and hides the single actor's count that a stocktake needs. Its parts
//! are: each side is a bare `crdts::VClock`, one of the types measured sound.
//!
//! Beside the pair stands the history of the fold: after each posting its offset and the net
//! units so far, found by binary search when a stocktake asks what the cell was at its cut. It
//! grows by 16 bytes per posting; cutting it below what every hub has applied (causal stability)
//! is a later issue.

use std::collections::BTreeMap;

use crdts::{CmRDT, CvRDT, Dot, VClock};
use headland_event::{Actor, Offset};
use serde::{Deserialize, Serialize};

/// One cell per actor: a replicated counter, additive within an actor's log, joined between logs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cells {
    raised: VClock<Actor>,
    lowered: VClock<Actor>,
    /// Per actor, by rising offset.
    history: BTreeMap<Actor, Vec<Mark>>,
}

/// The net units of a cell after the posting at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    offset: Offset,
    net: i64,
}

impl Cells {
    /// Cells in which nothing was posted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the posting at `offset` of `actor`; one at or below an earlier offset changes nothing.
    ///
    /// O(log actors). Sums are exact while postings keep to [`crate::event::UNITS_LIMIT`].
    pub fn post(&mut self, actor: &Actor, offset: Offset, delta: i64) {
        let before = self.history.get(actor).and_then(|marks| marks.last());
        if before.is_some_and(|mark| offset <= mark.offset) {
            return;
        }
        let net = before.map_or(0, |mark| mark.net) + delta;
        let side = if delta < 0 { &mut self.lowered } else { &mut self.raised };
        let units = side.get(actor) + delta.unsigned_abs();
        side.apply(Dot::new(actor.clone(), units));
        match self.history.get_mut(actor) {
            Some(marks) => marks.push(Mark { offset, net }),
            None => {
                self.history.insert(actor.clone(), vec![Mark { offset, net }]);
            }
        }
        debug_assert_eq!(i128::from(net), self.net(actor), "history and cell of {actor} differ");
    }

    /// Units raised less units lowered, over all actors. O(actors).
    #[must_use]
    pub fn total(&self) -> i64 {
        let sum =
            |side: &VClock<Actor>| -> i128 { side.iter().map(|dot| i128::from(dot.counter)).sum() };
        let total = sum(&self.raised) - sum(&self.lowered);
        i64::try_from(total).unwrap_or(if total < 0 { i64::MIN } else { i64::MAX })
    }

    /// What [`Self::total`] was when each actor's log ended where `end` says.
    ///
    /// O(actors × log postings).
    pub fn total_at(&self, end: impl Fn(&Actor) -> Offset) -> i64 {
        self.history
            .iter()
            .filter_map(|(actor, marks)| {
                let end = end(actor);
                let inside = marks.partition_point(|mark| mark.offset < end);
                marks.get(inside.checked_sub(1)?).map(|mark| mark.net)
            })
            .sum()
    }

    /// Joins the cells of another replica: per actor, the one that has applied more of its log.
    ///
    /// Commutative, associative and idempotent for replicas that folded prefixes of the same logs.
    pub fn merge(&mut self, other: Self) {
        let Self { raised, lowered, history } = other;
        self.raised.merge(raised);
        self.lowered.merge(lowered);
        for (actor, marks) in history {
            let ours = self.history.entry(actor).or_default();
            if ours.len() < marks.len() {
                *ours = marks;
            }
        }
    }

    fn net(&self, actor: &Actor) -> i128 {
        i128::from(self.raised.get(actor)) - i128::from(self.lowered.get(actor))
    }
}

#[cfg(test)]
mod tests {
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
            cells.post(&actor(region, 0), Offset::new(offset), *delta);
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
        cells.post(&eu, Offset::new(2), 10);
        cells.post(&eu, Offset::new(5), -3);
        cells.post(&us, Offset::new(1), 100);

        let at = |end| cells.total_at(|actor| Offset::new(if *actor == eu { end } else { 0 }));

        assert_eq!([0, 2, 3, 5, 6, 9].map(at), [0, 0, 10, 10, 7, 7]);
        assert_eq!(cells.total(), 107);
    }

    #[test]
    fn a_posting_applied_twice_counts_once() {
        let mut cells = Cells::new();
        cells.post(&actor("eu", 0), Offset::new(2), 10);

        cells.post(&actor("eu", 0), Offset::new(2), 10);

        assert_eq!(cells.total(), 10);
    }

    proptest! {
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
}
