//! A handful of values by their slots.

use super::slot::Slot;

/// Values up to which room is made for one at a time.
const FEW: usize = 4;

/// A value for each of a few slots of one connection, in the order of lanes.
///
/// A map keeps room for eleven values where most connections have one, even once it is empty, and
/// a hub has thousands of connections. Each call costs O(slots).
#[derive(Debug)]
pub(super) struct BySlot<T> {
    sorted: Vec<(Slot, T)>,
}

impl<T> Default for BySlot<T> {
    fn default() -> Self {
        Self { sorted: Vec::new() }
    }
}

impl<T> BySlot<T> {
    pub(super) const fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    pub(super) fn contains(&self, slot: Slot) -> bool {
        self.place(slot).is_ok()
    }

    /// In the order of lanes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.sorted.iter().map(|(slot, value)| (*slot, value))
    }

    /// In the order of lanes.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut T)> {
        self.sorted.iter_mut().map(|(slot, value)| (*slot, value))
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let place = self.place(slot).ok()?;
        self.sorted.get_mut(place).map(|(_, value)| value)
    }

    /// Puts a value in; the one that was there before is dropped.
    pub(super) fn insert(&mut self, slot: Slot, value: T) {
        match self.place(slot) {
            Ok(place) => {
                if let Some(known) = self.sorted.get_mut(place) {
                    known.1 = value;
                }
            }
            Err(place) => {
                if self.sorted.len() < FEW {
                    self.sorted.reserve_exact(1);
                }
                self.sorted.insert(place, (slot, value));
            }
        }
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<T> {
        let place = self.place(slot).ok()?;
        Some(self.sorted.remove(place).1)
    }

    /// Lets all values go, with their room.
    pub(super) fn clear(&mut self) {
        self.sorted = Vec::new();
    }

    fn place(&self, slot: Slot) -> Result<usize, usize> {
        self.sorted.binary_search_by_key(&slot, |(known, _)| *known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(code: u8) -> Slot {
        Slot::from_code(code).unwrap()
    }

    #[test]
    fn values_are_in_the_order_of_their_lanes_whichever_came_first() {
        let mut values = BySlot::default();
        for code in [0x13, 0x03, 0x01, 0x02] {
            values.insert(slot(code), code);
        }

        let codes: Vec<u8> = values.iter().map(|(_, code)| *code).collect();

        assert_eq!(codes, [0x01, 0x02, 0x03, 0x13]);
    }

    #[test]
    fn a_slot_has_one_value_until_it_is_removed() {
        let mut values = BySlot::default();
        values.insert(slot(0x02), 1);
        values.insert(slot(0x02), 2);

        assert_eq!(values.get_mut(slot(0x02)), Some(&mut 2));
        assert_eq!(values.remove(slot(0x02)), Some(2));
        assert_eq!(values.remove(slot(0x02)), None);
        assert!(values.is_empty() && !values.contains(slot(0x02)));
    }

    #[test]
    fn room_is_made_for_one_value_at_a_time_while_they_are_few() {
        let mut values = BySlot::default();
        values.insert(slot(0x01), [0_u8; 64]);

        assert_eq!(values.sorted.capacity(), 1);
    }
}
