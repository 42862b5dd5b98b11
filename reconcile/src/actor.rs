//! Actors by number: names of logs are long, and everything that is kept names one.

use std::cmp::Ordering;
use std::fmt;

use headland_event::{Actor, KeyMap, Offset, keymap};
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
    known: KeyMap<Actor, ()>,
}

impl Actors {
    pub(crate) fn new(seed: u64) -> Self {
        Self { known: keymap::key_map(seed) }
    }

    /// The index of an actor, made when it is new. O(1).
    ///
    /// # Panics
    /// Beyond 2^32 actors, which no clock could name.
    pub(crate) fn index_of(&mut self, actor: &Actor) -> ActorIndex {
        let index = match self.known.get_index_of(actor) {
            Some(index) => index,
            None => self.known.insert_full(actor.clone(), ()).0,
        };
        #[expect(clippy::expect_used, reason = "clocks bound the number of actors")]
        ActorIndex(u32::try_from(index).expect("a node knows fewer than 2^32 actors"))
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

    /// Every actor in order of first mention.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Actor> {
        self.known.keys()
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
}
