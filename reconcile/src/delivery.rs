//! Deliveries: which copy of each counts.
//!
//! A device that hears no acknowledgement sends again, perhaps to another hub, so several copies
//! of one delivery may stand in several logs. The smallest position counts, whichever copy came
//! first and even where a careless producer reused an id for other content: then the others say
//! nothing. Every id is remembered for good, as the first half of its SHA-256: a device may send
//! again after any time, so neither a clock nor what hubs have seen tells when an id is done with.

use headland_event::roster::Found;
use headland_event::{KeyMap, Roster, keymap};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::actor::{Actors, Spot};
use crate::catalogue::{AttributeIndex, ShelfIndex};
use crate::name::DeliveryId;
use crate::review::ReviewIndex;

/// What a copy does to the state when it counts, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Effect {
    /// It is in the side output for late events.
    Late,
    /// Moves stock.
    Movement(Shift),
    /// Counts a shelf.
    Stocktake { shelf: ShelfIndex },
    /// Sets an attribute.
    Attribute { attribute: AttributeIndex },
    /// Decides about a late event.
    Decision { review: ReviewIndex },
    /// Nothing: a stocktake that a hub cannot judge.
    Void,
}

/// Units that a movement puts on one shelf, and takes from another one if that is stock too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shift {
    pub(crate) shelf: ShelfIndex,
    pub(crate) from: Option<ShelfIndex>,
    /// Within the limit of units, so in 32 bits: millions of these are kept.
    delta: i32,
}

impl Shift {
    /// A shift of a checked number of units.
    ///
    /// # Panics
    /// Beyond [`crate::event::UNITS_LIMIT`].
    pub(crate) fn new(shelf: ShelfIndex, from: Option<ShelfIndex>, delta: i64) -> Self {
        #[expect(clippy::expect_used, reason = "parsing bounds the units of a movement")]
        let delta = i32::try_from(delta).expect("a movement keeps to the limit of units");
        Self { shelf, from, delta }
    }

    pub(crate) fn delta(self) -> i64 {
        i64::from(self.delta)
    }

    /// The same shift of another number of units, in the same direction.
    pub(crate) fn amended(self, units: i64) -> Self {
        Self::new(self.shelf, self.from, units * self.delta().signum())
    }

    /// The shelves it changes, and by how much.
    pub(crate) fn parts(self) -> impl Iterator<Item = (ShelfIndex, i64)> {
        let delta = self.delta();
        std::iter::once((self.shelf, delta)).chain(self.from.map(|from| (from, -delta)))
    }
}

/// One copy of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeliveryCopy {
    pub(crate) at: Spot,
    pub(crate) effect: Effect,
}

/// A delivery id in 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct DeliveryDigest([u64; 2]);

impl DeliveryDigest {
    pub(crate) fn of(id: &DeliveryId) -> Self {
        let digest: [u8; 32] = Sha256::digest(id.as_str()).into();
        let (chunks, _) = digest.as_chunks::<8>();
        let mut halves = [0; 2];
        for (half, chunk) in halves.iter_mut().zip(chunks) {
            *half = u64::from_be_bytes(*chunk);
        }
        Self(halves)
    }
}

/// What became of a copy that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(crate) enum Arrival {
    /// It is the first of its delivery.
    First,
    /// A smaller one, named here, counts already.
    Dropped(Spot),
    /// It is smaller than this one, which counted so far.
    Replaced(DeliveryCopy),
}

/// Every delivery, in order of first arrival.
#[derive(Debug, Clone)]
pub(crate) struct Deliveries {
    kept: Roster<DeliveryDigest, DeliveryCopy>,
    /// Copies that do not count, of the few deliveries that have some.
    dropped: KeyMap<DeliveryId, Vec<Spot>>,
}

impl Deliveries {
    pub(crate) fn new(seed: u64) -> Self {
        Self { kept: Roster::new(seed), dropped: keymap::key_map(seed) }
    }

    /// Takes note of a copy whose position was not seen before. O(1).
    pub(crate) fn arrive(
        &mut self,
        (digest, id): (DeliveryDigest, &DeliveryId),
        copy: DeliveryCopy,
        actors: &Actors,
    ) -> Arrival {
        debug_assert_eq!(digest, DeliveryDigest::of(id));
        let (index, found) = self.kept.find_or_insert(&digest, || (digest, copy));
        let kept = match (found, self.kept.get_index_mut(index)) {
            (Found::Before, Some((_, kept))) => kept,
            (Found::Now, _) | (Found::Before, None) => return Arrival::First,
        };
        debug_assert_ne!(kept.at, copy.at, "a position arrived twice");
        if actors.compare(kept.at, copy.at).is_lt() {
            let kept = kept.at;
            self.drop_copy(id, copy.at);
            return Arrival::Dropped(kept);
        }
        let replaced = std::mem::replace(kept, copy);
        self.drop_copy(id, replaced.at);
        Arrival::Replaced(replaced)
    }

    fn drop_copy(&mut self, id: &DeliveryId, at: Spot) {
        match self.dropped.get_mut(id) {
            Some(dropped) => dropped.push(at),
            None => {
                self.dropped.insert(id.clone(), vec![at]);
            }
        }
    }

    /// Looks for a delivery for nothing but having its place in the processor's caches.
    pub(crate) fn touch(&self, digest: &DeliveryDigest) {
        std::hint::black_box(self.kept.get_index_of(digest));
    }

    /// The copy that counts.
    pub(crate) fn kept(&self, id: &DeliveryId) -> Option<&DeliveryCopy> {
        self.kept.get(&DeliveryDigest::of(id))
    }

    /// Changes what the copy does that counts.
    pub(crate) fn change(&mut self, id: &DeliveryId, effect: Effect) {
        let index = self.kept.get_index_of(&DeliveryDigest::of(id));
        if let Some((_, copy)) = index.and_then(|index| self.kept.get_index_mut(index)) {
            copy.effect = effect;
        }
    }

    /// The copies that do not count.
    pub(crate) fn dropped(&self, id: &DeliveryId) -> &[Spot] {
        self.dropped.get(id).map_or(&[], |dropped| dropped)
    }

    /// How many deliveries are known.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Every copy that counts.
    pub(crate) fn iter_kept(
        &self,
    ) -> impl ExactSizeIterator<Item = (&DeliveryDigest, &DeliveryCopy)> {
        self.kept.iter()
    }

    /// Every delivery with copies that do not count.
    pub(crate) fn iter_dropped(&self) -> impl ExactSizeIterator<Item = (&DeliveryId, &Vec<Spot>)> {
        self.dropped.iter()
    }

    /// Fills what [`Self::new`] made from what both iterators gave.
    pub(crate) fn fill(
        &mut self,
        kept: Vec<(DeliveryDigest, DeliveryCopy)>,
        dropped: Vec<(DeliveryId, Vec<Spot>)>,
    ) {
        self.kept.extend(kept);
        self.dropped.extend(dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actor::tests::spot;

    #[test]
    fn the_smallest_position_is_kept_whichever_came_first() {
        let id = DeliveryId::new("a").unwrap();
        let digest = DeliveryDigest::of(&id);
        let (mut actors, mut deliveries) = (Actors::new(1), Deliveries::new(1));
        let [three, five, seven] = [3, 5, 7].map(|offset| DeliveryCopy {
            at: spot(&mut actors, "eu", offset),
            effect: Effect::Late,
        });

        assert_eq!(deliveries.arrive((digest, &id), five, &actors), Arrival::First);
        assert_eq!(deliveries.arrive((digest, &id), seven, &actors), Arrival::Dropped(five.at));
        assert_eq!(deliveries.arrive((digest, &id), three, &actors), Arrival::Replaced(five));

        assert_eq!(deliveries.kept(&id), Some(&three));
        assert_eq!(deliveries.dropped(&id), [seven.at, five.at]);
    }

    #[test]
    fn a_delivery_is_remembered_in_48_bytes() {
        assert_eq!(size_of::<(DeliveryDigest, DeliveryCopy)>(), 48);
    }
}
