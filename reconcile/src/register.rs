//! Writes of one key under causality: a multi-value register that keeps its losers.
//!
//! Write `f` happened before write `e` when `e`'s context includes `f`'s position, in no gap of it,
//! or `f` stands earlier in the same log. Of the writes that no other one happened after, the one
//! with the largest (HLC, actor, offset) wins; a clock decides only where causality does not.
//!
//! `crdts::MVReg` is not used here for three reasons. It compares whole clocks: a mirror follows
//! each partition at its own pace, so a context may include a write without all of *its* context,
//! and two clocks then look concurrent though one writer had seen the other. It forgets dominated
//! writes, but each concurrent pair has to be reported whenever its second half arrives. And a
//! write cannot be taken back when a smaller copy of its delivery turns up.
//!
//! Every write of a key is kept, and a new one is compared with each: O(writes of the key). One
//! that everybody has seen overwritten is kept too: when the delivery that overwrote it turns out
//! to have a smaller copy that says something else, the older write holds again.

use headland_event::{Actor, Hlc, VectorClock};
use serde::{Deserialize, Serialize};

use crate::cell::Seen;
use crate::name::DeliveryId;
use crate::position::Position;
use crate::unseen::Unseen;

/// One write: a value with the place, time and causal past of the event that wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Write<V> {
    pub(crate) id: DeliveryId,
    pub(crate) position: Position,
    pub(crate) hlc: Hlc,
    pub(crate) context: VectorClock,
    /// What the writer had not seen below the ends of its context; snapshots keep it apart.
    #[serde(skip)]
    pub(crate) unseen: Unseen,
    pub(crate) value: V,
}

impl<V> Write<V> {
    /// What the writer had seen of the log of `actor`; of its own all that stands before.
    pub(crate) fn seen(&self, actor: &Actor) -> Seen<'_> {
        let end = self.context.end(actor);
        if *actor == self.position.actor {
            Seen::below(end.max(self.position.offset))
        } else {
            Seen { end, unseen: self.unseen.of(actor) }
        }
    }

    /// Whether what stands at `position` happened before this write.
    pub(crate) fn is_after(&self, position: &Position) -> bool {
        *position != self.position && self.seen(&position.actor).includes(position.offset)
    }

    /// What decides between concurrent writes: the larger one wins.
    pub(crate) fn rank(&self) -> (Hlc, &Position) {
        (self.hlc, &self.position)
    }
}

/// The writes of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Register<V> {
    writes: Vec<Kept<V>>,
    winner: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept<V> {
    write: Write<V>,
    /// How many of the others happened after it: 0 for a maximal write.
    successors: u32,
}

impl<V> Default for Register<V> {
    fn default() -> Self {
        Self { writes: Vec::new(), winner: None }
    }
}

impl<V> Register<V> {
    /// The write that holds, if there is one. O(1).
    pub(crate) fn winner(&self) -> Option<&Write<V>> {
        self.winner.and_then(|at| self.writes.get(at)).map(|kept| &kept.write)
    }

    /// The writes that no other one happened after, in no order that means anything; should every
    /// write have a successor, which no honest hub brings about, the winner alone.
    pub(crate) fn maximal(&self) -> impl Iterator<Item = &Write<V>> {
        let has_maximal = self.writes.iter().any(|kept| kept.successors == 0);
        self.writes
            .iter()
            .enumerate()
            .filter(move |(at, kept)| {
                kept.successors == 0 || (!has_maximal && self.winner == Some(*at))
            })
            .map(|(_, kept)| &kept.write)
    }

    /// Every write, in no order that means anything.
    pub(crate) fn writes(&self) -> impl Iterator<Item = &Write<V>> {
        self.writes.iter().map(|kept| &kept.write)
    }

    /// Every write, in the order of [`Self::writes`].
    pub(crate) fn writes_mut(&mut self) -> impl Iterator<Item = &mut Write<V>> {
        self.writes.iter_mut().map(|kept| &mut kept.write)
    }

    /// The writes here that neither happened before `write` nor after it.
    pub(crate) fn concurrent(&self, write: &Write<V>) -> impl Iterator<Item = &Write<V>> {
        self.writes().filter(move |other| {
            other.position != write.position
                && !write.is_after(&other.position)
                && !other.is_after(&write.position)
        })
    }

    /// Adds a write whose position is not here yet.
    pub(crate) fn insert(&mut self, write: Write<V>) {
        debug_assert!(self.writes().all(|other| other.position != write.position));
        let mut successors = 0;
        for Kept { write: other, successors: others } in &mut self.writes {
            *others += u32::from(write.is_after(&other.position));
            successors += u32::from(other.is_after(&write.position));
        }
        self.writes.push(Kept { write, successors });
        self.elect();
    }

    /// Takes a write back, as if it had never been here.
    pub(crate) fn remove(&mut self, position: &Position) -> Option<Write<V>> {
        let at = self.writes().position(|write| write.position == *position)?;
        let Kept { write, .. } = self.writes.swap_remove(at);
        for Kept { write: other, successors } in &mut self.writes {
            if write.is_after(&other.position) {
                debug_assert!(*successors > 0, "a successor of {} was not counted", other.position);
                *successors -= 1;
            }
        }
        self.elect();
        Some(write)
    }

    /// Contexts that include each other cannot come from an honest hub; should every write have a
    /// successor then, the largest rank decides, so that all hubs still show the same.
    fn elect(&mut self) {
        self.winner = (0..)
            .zip(&self.writes)
            .max_by_key(|(_, kept)| (kept.successors == 0, kept.write.rank()))
            .map(|(at, _)| at);
        debug_assert_eq!(self.winner.is_none(), self.writes.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use headland_event::{EventTime, Gap, Gaps, Offset};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::position::tests::{actor, position};
    use crate::unseen::UnseenSets;

    fn write(at: Position, wall: i64, seen: &[(&str, u64)]) -> Write<i64> {
        let mut context = VectorClock::new();
        for (region, end) in seen {
            context.advance(&actor(region, 0), Offset::new(*end));
        }
        Write {
            id: DeliveryId::new(&at.to_string()).unwrap(),
            position: at,
            hlc: Hlc::new(EventTime::from_millis(wall), 0),
            context,
            unseen: Unseen::default(),
            value: wall,
        }
    }

    /// The same by a writer that missed a part of the log of `eu`.
    fn without(from: u64, until: u64, write: Write<i64>) -> Write<i64> {
        let mut unseen = Gaps::new();
        let gap = Gap { from: Offset::new(from), until: Offset::new(until) };
        assert_eq!(unseen.note(&actor("eu", 0), gap), None);
        Write { unseen: UnseenSets::default().share(&unseen), ..write }
    }

    fn winner(register: &Register<i64>) -> Option<i64> {
        register.winner().map(|write| write.value)
    }

    #[test]
    fn a_causal_successor_wins_against_a_clock_a_day_ahead() {
        let mut register = Register::default();
        register.insert(write(position("eu", 0, 0), 86_400_000, &[]));

        register.insert(write(position("us", 0, 0), 5, &[("eu", 1)]));

        assert_eq!(winner(&register), Some(5));
    }

    #[test]
    fn a_writer_is_not_after_what_lay_in_a_gap_of_its_context() {
        let mut register = Register::default();
        for (offset, wall) in [(0, 6), (1, 7), (2, 8), (3, 9)] {
            register.insert(write(position("eu", 0, offset), wall, &[]));
        }
        let latest = without(1, 3, write(position("us", 0, 0), 5, &[("eu", 4)]));

        let concurrent: Vec<_> = register.concurrent(&latest).map(|other| other.value).collect();
        register.insert(latest);

        assert_eq!(concurrent, [7, 8]);
        assert_eq!(winner(&register), Some(5), "what lay in the gap was overwritten behind it");
    }

    #[test]
    fn a_writer_has_seen_its_own_log_whatever_its_context_says() {
        let mut register = Register::default();
        register.insert(write(position("eu", 0, 1), 9, &[]));
        let latest = without(1, 3, write(position("eu", 0, 4), 5, &[("eu", 4)]));

        assert_eq!(register.concurrent(&latest).count(), 0);
        register.insert(latest);

        assert_eq!(winner(&register), Some(5));
    }

    #[test]
    fn of_concurrent_writes_the_later_clock_wins_and_then_the_larger_position() {
        let mut register = Register::default();
        register.insert(write(position("eu", 0, 0), 7, &[]));
        register.insert(write(position("ap", 0, 0), 6, &[]));
        assert_eq!(winner(&register), Some(7));

        register.insert(write(position("us", 0, 0), 7, &[]));

        assert_eq!(register.winner().unwrap().position, position("us", 0, 0));
    }

    #[test]
    fn a_later_write_of_the_same_log_needs_no_context_to_win() {
        let mut register = Register::default();
        register.insert(write(position("eu", 0, 1), 5, &[]));
        let earlier = write(position("eu", 0, 0), 9, &[]);

        assert_eq!(register.concurrent(&earlier).count(), 0);
        register.insert(earlier);

        assert_eq!(winner(&register), Some(5));
    }

    #[test]
    fn a_writer_that_saw_a_write_but_not_its_context_is_after_it() {
        let mut register = Register::default();
        register.insert(write(position("ap", 0, 4), 9, &[]));
        register.insert(write(position("eu", 0, 0), 8, &[("ap", 5)]));
        let latest = write(position("us", 0, 0), 1, &[("eu", 1)]);

        let concurrent: Vec<_> =
            register.concurrent(&latest).map(|other| other.position.to_string()).collect();
        register.insert(latest);

        assert_eq!(concurrent, ["ap@1-0000000000000009/0/4"]);
        assert_eq!(winner(&register), Some(1));
    }

    #[test]
    fn writes_that_claim_to_be_after_each_other_still_have_one_winner() {
        let mut register = Register::default();
        register.insert(write(position("eu", 0, 0), 5, &[("us", 1)]));

        register.insert(write(position("us", 0, 0), 3, &[("eu", 1)]));

        assert_eq!(winner(&register), Some(5));
    }

    proptest! {
        #[test]
        fn a_write_taken_back_leaves_what_would_be_without_it(
            drawn in vec((0..3_usize, 0..5_i64, vec(0..6_u64, 3)), 1..12), gone in 0..12_usize,
        ) {
            let regions = ["ap", "eu", "us"];
            let writes: Vec<_> = (0..).zip(&drawn).map(|(offset, (region, wall, ends))| {
                let seen: Vec<_> = regions.into_iter().zip(ends.iter().copied()).collect();
                write(position(regions[*region], 0, offset), *wall, &seen)
            }).collect();
            let gone = gone % writes.len();
            let (mut all, mut without) = (Register::default(), Register::default());
            for (at, write) in writes.iter().enumerate() {
                all.insert(write.clone());
                if at != gone {
                    without.insert(write.clone());
                }
            }

            let removed = all.remove(&writes[gone].position);

            prop_assert_eq!(removed.as_ref(), Some(&writes[gone]));
            prop_assert_eq!(all.winner(), without.winner());
            let positions = |register: &Register<i64>| {
                let maximal = register.maximal().map(|write| write.position.clone());
                maximal.collect::<std::collections::BTreeSet<_>>()
            };
            prop_assert_eq!(positions(&all), positions(&without));
            prop_assert!(all.winner().is_none_or(|of| positions(&all).contains(&of.position)));
        }
    }
}
