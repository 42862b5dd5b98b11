//! Vector clocks over hub incarnations.
//!
//! The actor is one partition of the inventory log of one life of one hub, and its count is an
//! offset in that log. So the clock of a hub's journal at some moment is simply the ends of these
//! partitions there: exact, with no counter of its own, and known to every mirror (ADR 0002).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, Reader, Writer};
use crate::id::{Incarnation, Offset, PartitionIndex, RegionId};
use crate::limits::CLOCK_ENTRIES_LIMIT;

/// One writer of inventory: a partition of the log of one life of one region's hub.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// The region of the hub.
    pub region: RegionId,
    /// The hub's life.
    pub incarnation: Incarnation,
    /// The partition of its inventory topic.
    pub partition: PartitionIndex,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.region, self.incarnation, self.partition)
    }
}

/// For each actor, the end of what is known of it: every offset below is included.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VectorClock {
    ends: BTreeMap<Actor, Offset>,
}

impl VectorClock {
    /// A clock that knows nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { ends: BTreeMap::new() }
    }

    /// The end of what is known of `actor`, 0 for an unknown one.
    #[must_use]
    pub fn end(&self, actor: &Actor) -> Offset {
        self.ends.get(actor).copied().unwrap_or_default()
    }

    /// Whether the event at `offset` of `actor` is included.
    #[must_use]
    pub fn includes(&self, actor: &Actor, offset: Offset) -> bool {
        offset < self.end(actor)
    }

    /// Raises the end of `actor`; a lower one changes nothing.
    pub fn advance(&mut self, actor: &Actor, end: Offset) {
        if end > self.end(actor) {
            self.ends.insert(actor.clone(), end);
        }
    }

    /// Raises every end to the other clock's: the least upper bound of both.
    pub fn merge(&mut self, other: &Self) {
        for (actor, end) in &other.ends {
            self.advance(actor, *end);
        }
        debug_assert!(self.covers(other), "a merge loses nothing of the other clock");
    }

    /// What both clocks include: their greatest lower bound.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        let mut both = Self::new();
        for (actor, end) in &self.ends {
            both.advance(actor, (*end).min(other.end(actor)));
        }
        both
    }

    /// Actors and their ends, ordered by actor.
    pub fn iter(&self) -> impl Iterator<Item = (&Actor, Offset)> {
        self.ends.iter().map(|(actor, end)| (actor, *end))
    }

    /// How many actors are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether this clock includes all that `other` does.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.ends.iter().all(|(actor, end)| self.end(actor) >= *end)
    }

    /// Appends the clock: count, then per actor region, incarnation, partition, end.
    ///
    /// # Panics
    /// When it knows more than [`CLOCK_ENTRIES_LIMIT`] actors: nobody could read it back.
    pub fn write(&self, writer: &mut Writer) {
        assert!(self.ends.len() <= CLOCK_ENTRIES_LIMIT, "a clock that no reader takes is written");
        writer.length(self.ends.len());
        for (Actor { region, incarnation, partition }, end) in &self.ends {
            writer.name(region.as_str());
            writer.incarnation(*incarnation);
            writer.u32(partition.get());
            writer.u64(end.get());
        }
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`CodecError`] when bytes are missing, a name does not fit or there are too many actors.
    pub fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let count = reader.length("clock entries", CLOCK_ENTRIES_LIMIT)?;
        let mut clock = Self::new();
        for _ in 0..count {
            let actor = Actor {
                region: reader.name("clock region")?,
                incarnation: reader.incarnation("clock incarnation")?,
                partition: PartitionIndex::new(reader.u32("clock partition")?),
            };
            clock.advance(&actor, Offset::new(reader.u64("clock end")?));
        }
        Ok(clock)
    }
}

impl PartialOrd for VectorClock {
    /// Causal order: `None` when neither clock covers the other.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self.covers(other), other.covers(self)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::*;

    fn actor(index: u32) -> Actor {
        Actor {
            region: RegionId::new("eu").unwrap(),
            incarnation: Incarnation::new(1, 9),
            partition: PartitionIndex::new(index),
        }
    }

    fn clocks() -> impl Strategy<Value = VectorClock> {
        btree_map(0..4_u32, 1..5_u64, 0..4).prop_map(|ends| {
            let mut clock = VectorClock::new();
            for (index, end) in ends {
                clock.advance(&actor(index), Offset::new(end));
            }
            clock
        })
    }

    fn merged(left: &VectorClock, right: &VectorClock) -> VectorClock {
        let mut clock = left.clone();
        clock.merge(right);
        clock
    }

    #[test]
    fn an_end_excludes_the_offset_it_names() {
        let mut clock = VectorClock::new();
        clock.advance(&actor(0), Offset::new(3));

        assert!(clock.includes(&actor(0), Offset::new(2)));
        assert!(!clock.includes(&actor(0), Offset::new(3)));
        assert!(!clock.includes(&actor(1), Offset::new(0)));
    }

    fn of_actors(count: usize) -> VectorClock {
        let mut clock = VectorClock::new();
        for index in (0..).take(count) {
            clock.advance(&actor(index), Offset::new(1));
        }
        clock
    }

    #[test]
    fn a_clock_of_as_many_actors_as_the_limit_is_written_and_read() {
        let clock = of_actors(CLOCK_ENTRIES_LIMIT);
        let mut writer = Writer::new();
        clock.write(&mut writer);

        assert_eq!(VectorClock::read(&mut Reader::new(writer.finish())), Ok(clock));
    }

    #[test]
    #[should_panic(expected = "no reader takes")]
    fn a_clock_of_one_actor_more_is_never_written() {
        of_actors(CLOCK_ENTRIES_LIMIT + 1).write(&mut Writer::new());
    }

    #[test]
    fn a_count_of_one_actor_more_is_refused() {
        let mut writer = Writer::new();
        writer.length(CLOCK_ENTRIES_LIMIT + 1);

        let expected = "a length within its limit";
        let (field, found) = ("clock entries", 4_097);
        assert_eq!(
            VectorClock::read(&mut Reader::new(writer.finish())),
            Err(CodecError::Value { field, at: 0, found, expected })
        );
    }

    proptest! {
        #[test]
        fn merge_is_commutative_associative_and_idempotent(
            a in clocks(), b in clocks(), c in clocks(),
        ) {
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
            prop_assert_eq!(merged(&a, &a), a);
        }

        #[test]
        fn a_merge_covers_both_and_order_is_antisymmetric(a in clocks(), b in clocks()) {
            let both = merged(&a, &b);

            prop_assert!(both >= a && both >= b);
            prop_assert_eq!(a.partial_cmp(&b), b.partial_cmp(&a).map(Ordering::reverse));
        }

        #[test]
        fn decode_of_encode_is_the_same_clock(clock in clocks()) {
            let mut writer = Writer::new();
            clock.write(&mut writer);

            prop_assert_eq!(VectorClock::read(&mut Reader::new(writer.finish())), Ok(clock));
        }
    }
}
