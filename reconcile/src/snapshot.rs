//! The core's state as bytes.
//!
//! ```text
//! snapshot v1:  1 version u8 │ SHA-256 of the rest [32] │ postcard of { applied, products,
//!               deliveries }
//! ```
//! Products and deliveries stand in order of first mention, because deliveries name places in
//! that order. Bytes are decoded only when their hash fits, and the state is then checked against
//! itself: whoever goes on from damaged bytes would tell other regions something nobody said. On
//! an error the caller takes the older snapshot and replays from there.

use headland_event::VectorClock;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::catalogue::Attribute;
use crate::delivery::Delivery;
use crate::fingerprint::RowSum;
use crate::name::{AttributeName, DeliveryId, Location, Sku};
use crate::reconciler::{Config, Reconciler};
use crate::shelf::Shelf;

const SNAPSHOT_VERSION: u8 = 1;

/// Why bytes are no snapshot to go on from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Written in another format.
    #[error("snapshot version {found:?} cannot be read, expected 1")]
    Version {
        /// The first byte, if there is one.
        found: Option<u8>,
    },
    /// Cut off or changed since it was written.
    #[error("snapshot of {length} bytes does not have its checksum")]
    Damaged {
        /// Bytes found.
        length: usize,
    },
    /// Whole, but not of this layout.
    #[error("snapshot cannot be decoded: {detail}")]
    Bytes {
        /// What the decoder met.
        detail: String,
    },
    /// Decoded, but its parts contradict each other.
    #[error("snapshot contradicts itself: {detail}")]
    Inconsistent {
        /// The first contradiction found.
        detail: &'static str,
    },
}

#[derive(Serialize)]
struct Written<'a> {
    applied: &'a VectorClock,
    products: Vec<WrittenProduct<'a>>,
    deliveries: Vec<(&'a DeliveryId, &'a Delivery)>,
}

#[derive(Serialize)]
struct WrittenProduct<'a> {
    sku: &'a Sku,
    shelves: Vec<(&'a Location, &'a Shelf)>,
    attributes: Vec<(&'a AttributeName, &'a Attribute)>,
}

#[derive(Deserialize)]
struct Read {
    applied: VectorClock,
    products: Vec<ReadProduct>,
    deliveries: Vec<(DeliveryId, Delivery)>,
}

#[derive(Deserialize)]
struct ReadProduct {
    sku: Sku,
    shelves: Vec<(Location, Shelf)>,
    attributes: Vec<(AttributeName, Attribute)>,
}

impl Reconciler {
    /// The state as bytes, without what [`Reconciler::new`] is given. O(state).
    ///
    /// # Panics
    /// When outputs have not been drained: they belong into the same commit, and a snapshot
    /// without them would lose them for good.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        assert!(self.outputs.is_empty(), "{} outputs would be lost", self.outputs.len());
        let Self { config: _, applied, catalogue, deliveries, sum: _, outputs: _ } = self;
        let products = catalogue.iter().map(|(sku, product)| WrittenProduct {
            sku,
            shelves: product.shelves.iter().collect(),
            attributes: product.attributes.iter().collect(),
        });
        let written = Written {
            applied,
            products: products.collect(),
            deliveries: deliveries.iter().collect(),
        };
        #[expect(clippy::expect_used, reason = "plain data whose lengths are known, into memory")]
        let body = postcard::to_stdvec(&written).expect("plain data always has an encoding");
        let checksum: [u8; 32] = Sha256::digest(&body).into();
        [&[SNAPSHOT_VERSION][..], &checksum, &body].concat()
    }

    /// The reconciler that wrote these bytes, to go on from `applied`. O(state).
    ///
    /// # Errors
    /// [`RestoreError`] when the bytes are of another version, damaged, or inconsistent.
    pub fn restore(config: Config, seed: u64, bytes: &[u8]) -> Result<Self, RestoreError> {
        let rest = match bytes.split_first() {
            Some((&SNAPSHOT_VERSION, rest)) => rest,
            other => return Err(RestoreError::Version { found: other.map(|(found, _)| *found) }),
        };
        let body = rest
            .split_first_chunk::<32>()
            .and_then(|(checksum, body)| (*checksum == *Sha256::digest(body)).then_some(body))
            .ok_or(RestoreError::Damaged { length: bytes.len() })?;
        let read: Read = postcard::from_bytes(body)
            .map_err(|error| RestoreError::Bytes { detail: error.to_string() })?;
        let mut reconciler = Self::new(config, seed);
        reconciler.fill(read);
        reconciler.sum = RowSum::over(&reconciler.rows());
        reconciler.audit().map_err(|detail| RestoreError::Inconsistent { detail })?;
        Ok(reconciler)
    }

    fn fill(&mut self, read: Read) {
        let Read { applied, products, deliveries } = read;
        self.applied = applied;
        for ReadProduct { sku, shelves, attributes } in products {
            let (_, product) = self.catalogue.product(&sku);
            product.shelves.extend(shelves);
            product.attributes.extend(attributes);
        }
        for (id, delivery) in deliveries {
            self.deliveries.insert(id, delivery);
        }
    }
}
