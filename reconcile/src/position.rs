//! Where a copy of an event stands in its hub's log.

use std::fmt;

use headland_event::{Actor, Offset};
use serde::{Deserialize, Serialize};

/// One copy's place: ordered by region, incarnation, partition, offset.
///
/// The order is arbitrary but total and equal everywhere, which is all that choosing one of
/// several copies needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The log the copy was first written to at a hub.
    pub actor: Actor,
    /// Its offset there.
    pub offset: Offset,
}

impl fmt::Display for Position {
    /// `<region>@<incarnation>/<partition>/<offset>`: two lives of a hub have the same offsets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { actor, offset } = self;
        write!(f, "{actor}/{offset}")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use headland_event::{Incarnation, PartitionIndex, RegionId};

    use super::*;

    /// An actor of the first life of a region's hub.
    pub(crate) fn actor(region: &str, partition: u32) -> Actor {
        Actor {
            region: RegionId::new(region).unwrap(),
            incarnation: Incarnation::new(1, 9),
            partition: PartitionIndex::new(partition),
        }
    }

    /// The position at an offset of such an actor.
    pub(crate) fn position(region: &str, partition: u32, offset: u64) -> Position {
        Position { actor: actor(region, partition), offset: Offset::new(offset) }
    }

    #[test]
    fn region_comes_before_incarnation_partition_and_offset() {
        let mut later_life = position("eu", 0, 0);
        later_life.actor.incarnation = Incarnation::new(2, 0);
        let sorted = [
            position("eu", 0, 8),
            position("eu", 1, 2),
            later_life,
            position("us", 0, 0),
            position("us", 0, 1),
        ];

        assert!(sorted.is_sorted());
        assert_eq!(position("eu", 1, 2).to_string(), "eu@1-0000000000000009/1/2");
    }
}
