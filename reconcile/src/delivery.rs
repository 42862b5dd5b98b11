//! Deliveries: which copy of each counts.
//!
//! A device that hears no acknowledgement sends again, perhaps to another hub, so several copies
//! of one delivery may stand in several logs. The smallest position counts, whichever copy came
//! first and even where a careless producer reused an id for other content: then the others say
//! nothing. Every id is remembered for good; a horizon behind which ids are forgotten is a later
//! issue.

use headland_event::{KeyMap, keymap};
use serde::{Deserialize, Serialize};

use crate::catalogue::Place;
use crate::name::DeliveryId;
use crate::position::Position;

/// What a copy does to the state when it counts, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Effect {
    /// Nothing: it is in the side output for late events.
    Late,
    /// Moves stock on a shelf.
    Posting { shelf: Place, delta: i64 },
    /// Counts a shelf.
    Stocktake { shelf: Place },
    /// Sets an attribute.
    Attribute { attribute: Place },
}

/// One copy of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeliveryCopy {
    pub(crate) position: Position,
    pub(crate) effect: Effect,
}

/// One delivery: the copy that counts and the places of those that do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) kept: DeliveryCopy,
    pub(crate) dropped: Vec<Position>,
}

/// What became of a copy that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(crate) enum Arrival {
    /// It is the first of its delivery.
    First,
    /// A smaller one counts already.
    Dropped,
    /// It is smaller than this one, which counted so far.
    Replaced(DeliveryCopy),
}

/// Every delivery by its id, in order of first arrival.
#[derive(Debug, Clone)]
pub(crate) struct Deliveries {
    by_id: KeyMap<DeliveryId, Delivery>,
}

impl Deliveries {
    pub(crate) fn new(seed: u64) -> Self {
        Self { by_id: keymap::key_map(seed) }
    }

    /// Takes note of a copy whose position was not seen before. O(1).
    pub(crate) fn arrive(&mut self, id: &DeliveryId, copy: DeliveryCopy) -> Arrival {
        let Some(delivery) = self.by_id.get_mut(id) else {
            self.by_id.insert(id.clone(), Delivery { kept: copy, dropped: Vec::new() });
            return Arrival::First;
        };
        debug_assert_ne!(delivery.kept.position, copy.position, "a position arrived twice");
        if delivery.kept.position < copy.position {
            delivery.dropped.push(copy.position);
            return Arrival::Dropped;
        }
        let replaced = std::mem::replace(&mut delivery.kept, copy);
        delivery.dropped.push(replaced.position.clone());
        Arrival::Replaced(replaced)
    }

    pub(crate) fn get(&self, id: &DeliveryId) -> Option<&Delivery> {
        self.by_id.get(id)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&DeliveryId, &Delivery)> {
        self.by_id.iter()
    }

    pub(crate) fn insert(&mut self, id: DeliveryId, delivery: Delivery) {
        self.by_id.insert(id, delivery);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::tests::position;

    fn copy(offset: u64) -> DeliveryCopy {
        DeliveryCopy { position: position("eu", 0, offset), effect: Effect::Late }
    }

    #[test]
    fn the_smallest_position_is_kept_whichever_came_first() {
        let id = DeliveryId::new("a").unwrap();
        let mut deliveries = Deliveries::new(1);

        assert_eq!(deliveries.arrive(&id, copy(5)), Arrival::First);
        assert_eq!(deliveries.arrive(&id, copy(7)), Arrival::Dropped);
        assert_eq!(deliveries.arrive(&id, copy(3)), Arrival::Replaced(copy(5)));

        let delivery = deliveries.get(&id).unwrap();
        assert_eq!(delivery.kept, copy(3));
        assert_eq!(delivery.dropped, [copy(7).position, copy(5).position]);
    }
}
