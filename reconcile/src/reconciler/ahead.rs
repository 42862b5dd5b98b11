//! Records read ahead, so that many are looked up at a time.
//!
//! With a million shelves nearly every look-up waits for memory, several times in a row: the sku,
//! the slot of the shelf, the shelf, the slot of the delivery. A record needs the answer of one
//! wait before it can begin the next, but other records do not. So a group of records is looked up
//! stage by stage: the waits of one stage overlap, and when the records are applied, one after the
//! other, what they need is in the processor's caches.
//!
//! # Source
//! Chen, Ailamaki, Gibbons, Mowry, "Improving Hash Join Performance through Prefetching", 2004
//! (group prefetching); here the loads themselves are what fetches.

use bytes::Bytes;

use super::Reconciler;
use crate::catalogue::{ShelfIndex, ShelfKey};
use crate::delivery::DeliveryDigest;
use crate::event::{EventBody, InventoryEvent, RejectReason};

/// Records worth reading ahead: more would push each other out of the first caches, fewer would not
/// fill the processor's list of open loads.
pub const READ_AHEAD: usize = 64;

/// A record's value, read ahead.
#[derive(Debug)]
#[must_use = "it is read to be applied"]
pub struct Prepared(pub(super) Result<Found, RejectReason>);

/// An event, and where what it is about was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) event: InventoryEvent,
    pub(super) digest: DeliveryDigest,
    /// The shelf of the location that it moves units at, unless that is new.
    pub(super) shelf: Option<ShelfIndex>,
}

impl Reconciler {
    /// Reads values ahead, to be applied by [`Self::on_prepared`] in any order that
    /// [`Self::on_event`] allows, with other records between them or not.
    ///
    /// It changes nothing but the time that takes. [`READ_AHEAD`] at a time are looked up together,
    /// and as many should be given: what is read for more is out of the caches when it is applied.
    /// O(bytes), a few hundred bytes each.
    pub fn prepare<'a>(&self, values: impl IntoIterator<Item = &'a Bytes>) -> Vec<Prepared> {
        let mut prepared: Vec<Prepared> =
            values.into_iter().map(|value| self.read(value)).collect();
        let mut keys: Vec<Option<ShelfKey>> = Vec::with_capacity(READ_AHEAD);
        for group in prepared.chunks_mut(READ_AHEAD) {
            keys.clear();
            keys.extend(group.iter().map(|Prepared(read)| self.key_of(read.as_ref().ok()?)));
            for (Prepared(read), key) in group.iter_mut().zip(&keys) {
                if let (Ok(found), Some(key)) = (read, key) {
                    found.shelf = self.catalogue.find_index(*key);
                }
            }
            for Prepared(read) in &*group {
                if let Ok(Found { shelf: Some(shelf), .. }) = read {
                    self.catalogue.touch(*shelf);
                }
            }
            for Prepared(read) in &*group {
                if let Ok(found) = read {
                    self.deliveries.touch(&found.digest);
                }
            }
        }
        prepared
    }

    /// Reads one value, looking nothing up.
    pub(super) fn read(&self, value: &Bytes) -> Prepared {
        Prepared(InventoryEvent::parse_with(value, &self.catalogue).and_then(|event| {
            self.config.check(&event)?;
            Ok(Found { digest: DeliveryDigest::of(&event.id), event, shelf: None })
        }))
    }

    fn key_of(&self, found: &Found) -> Option<ShelfKey> {
        match &found.event.body {
            EventBody::Movement(movement) => {
                self.catalogue.find_key(&found.event.sku, movement.location()?)
            }
            EventBody::Stocktake { .. }
            | EventBody::Attribute { .. }
            | EventBody::Decision { .. } => None,
        }
    }
}
