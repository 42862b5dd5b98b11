//! Actors by number: names of logs are long, and everything that is kept names one.

use std::cmp::Ordering;
use std::fmt;

use headland_event::{Actor, Extent, Gap, Gaps, KeyMap, Offset, VectorClock, keymap};
use serde::{Deserialize, Serialize};

use crate::position::Position;

/// An actor of one [`Actors`], by order of first mention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct ActorIndex(u32);

impl fmt::Display for ActorIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "actor {}", self.0)
    }
}

/// A [`Position`] in 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spot {
    pub(crate) actor: ActorIndex,
    pub(crate) offset: Offset,
}

/// Every actor that was ever mentioned. Nothing is removed, so an index stays true.
#[derive(Debug, Clone)]
pub(crate) struct Actors {
    /// Each with the end of what was applied of its log.
    known: KeyMap<Actor, Offset>,
    /// What lies below those ends and was not applied: it may come later.
    gaps: Gaps,
    /// The one asked for last: records come in batches of one.
    latest: Option<ActorIndex>,
}

impl Actors {
    pub(crate) fn new(seed: u64) -> Self {
        Self { known: keymap::key_map(seed), gaps: Gaps::new(), latest: None }
    }

    /// The index of an actor, made when it is new. O(1).
    ///
    /// # Panics
    /// Beyond 2^32 actors, which no clock could name.
    pub(crate) fn index_of(&mut self, actor: &Actor) -> ActorIndex {
        if let Some(latest) = self.latest.filter(|latest| self.get(*latest) == actor) {
            return latest;
        }
        let index = match self.known.get_index_of(actor) {
            Some(index) => index,
            None => self.known.insert_full(actor.clone(), Offset::default()).0,
        };
        #[expect(clippy::expect_used, reason = "clocks bound the number of actors")]
        let index = ActorIndex(u32::try_from(index).expect("a node knows fewer than 2^32 actors"));
        self.latest = Some(index);
        index
    }

    /// Takes note that the record at `offset` of an actor's log is applied; says whether it was
    /// not before. O(1) at the end of a log, else O(gaps of it).
    pub(crate) fn advance(&mut self, index: ActorIndex, offset: Offset) -> bool {
        let found = usize::try_from(index.0).ok().and_then(|at| self.known.get_index_mut(at));
        let Some((actor, end)) = found else { return false };
        if offset < *end {
            return !self.gaps.is_empty() && self.gaps.fill(actor, offset, offset.after(1));
        }
        *end = offset.after(1);
        true
    }

    /// Takes note that a part of a log comes whose records are applied next: what lies between it
    /// and what was applied is missing. Returns a gap that is given up for want of room.
    #[must_use]
    pub(crate) fn begin(&mut self, actor: &Actor, from: Offset) -> Option<Gap> {
        let index = self.index_of(actor);
        let found = usize::try_from(index.0).ok().and_then(|at| self.known.get_index_mut(at));
        let (actor, end) = found?;
        if from <= *end {
            return self.gaps.trim(actor);
        }
        let gap = Gap { from: *end, until: from };
        *end = from;
        self.gaps.note(actor, gap)
    }

    /// Takes note of a part of a log that has no records, at anybody.
    pub(crate) fn pass(&mut self, actor: &Actor, from: Offset, until: Offset) {
        let index = self.index_of(actor);
        let found = usize::try_from(index.0).ok().and_then(|at| self.known.get_index_mut(at));
        if let Some((actor, end)) = found {
            *end = until.max(*end);
            let _was_missing = self.gaps.fill(actor, from, until);
        }
    }

    /// What was applied of each actor's log. O(actors).
    pub(crate) fn extent(&self) -> Extent {
        Extent::new(self.applied(), self.gaps.clone())
    }

    /// What lies below the ends and was not applied.
    pub(crate) const fn gaps(&self) -> &Gaps {
        &self.gaps
    }

    /// The end of what was applied of each actor's log. O(actors).
    pub(crate) fn applied(&self) -> VectorClock {
        let mut applied = VectorClock::new();
        for (actor, end) in &self.known {
            applied.advance(actor, *end);
        }
        applied
    }

    /// The actor of an index.
    ///
    /// # Panics
    /// When another [`Actors`] made the index; [`Self::has`] tells.
    pub(crate) fn get(&self, index: ActorIndex) -> &Actor {
        let found = usize::try_from(index.0).ok().and_then(|at| self.known.get_index(at));
        #[expect(clippy::expect_used, reason = "an index stays true: nothing is ever removed")]
        found.expect("an index of these actors leads to one").0
    }

    /// Whether an index leads to an actor.
    pub(crate) fn has(&self, index: ActorIndex) -> bool {
        usize::try_from(index.0).is_ok_and(|at| at < self.known.len())
    }

    /// The position that a spot stands for.
    pub(crate) fn position(&self, spot: Spot) -> Position {
        Position { actor: self.get(spot.actor).clone(), offset: spot.offset }
    }

    /// The order of two spots' positions.
    pub(crate) fn compare(&self, one: Spot, other: Spot) -> Ordering {
        let by_actor = if one.actor == other.actor {
            Ordering::Equal
        } else {
            self.get(one.actor).cmp(self.get(other.actor))
        };
        by_actor.then(one.offset.cmp(&other.offset))
    }

    /// Every actor in order of first mention, with the end of what was applied of its log.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&Actor, &Offset)> {
        self.known.iter()
    }

    /// Fills what [`Self::new`] made from what [`Self::iter`] gave.
    pub(crate) fn fill(&mut self, actors: Vec<(Actor, Offset)>, gaps: Gaps) {
        self.known.extend(actors);
        self.gaps = gaps;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::position::tests::actor;

    /// The spot of an offset of the first partition of a region's hub.
    pub(crate) fn spot(actors: &mut Actors, region: &str, offset: u64) -> Spot {
        Spot { actor: actors.index_of(&actor(region, 0)), offset: Offset::new(offset) }
    }

    #[test]
    fn spots_are_ordered_as_their_positions_whatever_was_mentioned_first() {
        let mut actors = Actors::new(1);
        let spots = [("us", 0), ("eu", 7), ("us", 3), ("eu", 2)]
            .map(|(region, offset)| spot(&mut actors, region, offset));

        for one in spots {
            for other in spots {
                let expected = actors.position(one).cmp(&actors.position(other));
                assert_eq!(actors.compare(one, other), expected);
            }
        }
        assert_eq!(actors.iter().len(), 2);
    }

    #[test]
    fn what_was_missing_is_applied_once() {
        let mut actors = Actors::new(1);
        let (eu, at) = (actor("eu", 0), spot(&mut actors, "eu", 7));
        assert_eq!(actors.begin(&eu, at.offset), None);
        assert!(actors.advance(at.actor, at.offset));

        let applied: Vec<bool> =
            [3, 3, 9, 3, 6].map(|offset| actors.advance(at.actor, Offset::new(offset))).into();
        actors.pass(&eu, Offset::new(0), Offset::new(3));

        assert_eq!(applied, [true, false, true, false, true]);
        let missing: Vec<_> = actors.gaps().iter().map(|(_, gap)| gap).collect();
        assert_eq!(missing, [Gap { from: Offset::new(4), until: Offset::new(6) }]);
    }

    #[test]
    fn what_was_applied_only_grows() {
        let mut actors = Actors::new(1);
        let at = spot(&mut actors, "eu", 7);

        assert!(actors.advance(at.actor, at.offset));
        assert!(!actors.advance(at.actor, at.offset));
        assert!(!actors.advance(at.actor, Offset::new(3)));

        assert_eq!(actors.applied().end(&actor("eu", 0)), Offset::new(8));
    }
}
