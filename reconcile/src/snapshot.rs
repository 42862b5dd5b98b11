//! The core's state as bytes.
//!
//! ```text
//! snapshot v8:  as v7 with version 8, and at the end: postcard of the gaps that a cut may have
//!               below what is compacted; written only when there are such gaps or writes as of v7
//! v7:           as v6 with version 7, and at the end: postcard of a list of { number of a write,
//!               gaps that its writer had not seen }
//! v6:           6 version u8 │ SHA-256 of the rest [32] │ postcard of { actors with what was
//!               applied of each, skus, locations, shelves, attributes, deliveries kept,
//!               deliveries dropped, reviews, demand, seconds } │
//!               postcard of { what every cut that may be asked for includes, void stocktakes } │
//!               postcard of gaps
//! v5:           as v6 with version 5 and without gaps: what lay in one counted as applied
//! v4:           as v5 with version 4 and without the second object: nothing was compacted
//! ```
//! Writes are numbered from 0: stocktakes shelf by shelf, then those of attributes, then decisions.
//! Seconds are those of each shelf's postings, of which marks are kept, and of its stocktakes,
//! shelf by shelf. Each part stands in order of first mention, because the others name its members
//! by that order. Older versions than 4 are not read, their events are: version 1 had no reviews,
//! and up to version 3 nobody knew when postings happened, so that which of them overlap with a
//! stocktake would depend on what each hub had in a snapshot.
//! Bytes are decoded only when their hash fits, and the state is then checked against itself:
//! whoever goes on from damaged bytes would tell other regions something nobody said. On an error
//! the caller takes the older snapshot and replays from there, or the whole journal.

use headland_event::{Actor, Gaps, Offset};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::actor::Spot;
use crate::catalogue::{Attribute, AttributeKey, Catalogue, Product, ShelfIndex, ShelfKey, Stored};
use crate::delivery::{DeliveryCopy, DeliveryDigest};
use crate::demand::Demand;
use crate::fingerprint::RowSum;
use crate::name::{DeliveryId, Location, ReviewId, Sku};
use crate::reconciler::{Compaction, Config, Reconciler};
use crate::review::Review;
use crate::second::Second;
use crate::shelf::Shelf;

const SNAPSHOT_VERSION: u8 = 8;

/// The layout when nobody had said that he missed something below what is compacted.
const KEPT_VERSION: u8 = 7;

/// The layout when every writer had seen all below the ends of its context.
const SEEN_VERSION: u8 = 6;

/// The layout before gaps in logs were known.
const GAPLESS_VERSION: u8 = 5;

/// The one before, in which nothing was compacted.
const UNCOMPACTED_VERSION: u8 = 4;

/// Why bytes are no snapshot to go on from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Written in another format.
    #[error("snapshot version {found:?} cannot be read, expected 4 to 8")]
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
    actors: Vec<(&'a Actor, &'a Offset)>,
    products: Vec<(&'a Sku, &'a Product)>,
    locations: Vec<&'a Location>,
    shelves: Vec<(&'a ShelfKey, &'a Stored<Shelf>)>,
    attributes: Vec<(&'a AttributeKey, &'a Stored<Attribute>)>,
    kept: Vec<(&'a DeliveryDigest, &'a DeliveryCopy)>,
    dropped: Vec<(&'a DeliveryId, &'a Vec<Spot>)>,
    reviews: Vec<(&'a ReviewId, &'a Review)>,
    demand: Vec<(&'a ShelfIndex, &'a Demand)>,
    seconds: Vec<Second>,
}

#[derive(Deserialize)]
struct Read {
    actors: Vec<(Actor, Offset)>,
    products: Vec<(Sku, Product)>,
    locations: Vec<Location>,
    shelves: Vec<(ShelfKey, Stored<Shelf>)>,
    attributes: Vec<(AttributeKey, Stored<Attribute>)>,
    kept: Vec<(DeliveryDigest, DeliveryCopy)>,
    dropped: Vec<(DeliveryId, Vec<Spot>)>,
    reviews: Vec<(ReviewId, Review)>,
    demand: Vec<(ShelfIndex, Demand)>,
    seconds: Vec<Second>,
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
        let Self { actors, catalogue, deliveries, reviews, demand, compaction, .. } = self;
        let Catalogue { products, locations, shelves, attributes } = catalogue;
        let mut seconds = Vec::new();
        shelves.iter().for_each(|(_, stored)| stored.held.write_seconds(&mut seconds));
        let written = Written {
            actors: actors.iter().collect(),
            products: products.iter().collect(),
            locations: locations.keys().collect(),
            shelves: shelves.iter().collect(),
            attributes: attributes.iter().collect(),
            kept: deliveries.iter_kept().collect(),
            dropped: deliveries.iter_dropped().collect(),
            reviews: reviews.iter().collect(),
            demand: demand.iter().collect(),
            seconds,
        };
        let mut body = encode(&(written, compaction, actors.gaps()));
        let (unseen, kept) = (self.unseen(), compaction.kept());
        let is_whole = unseen.is_empty() && kept.is_empty();
        let version = if is_whole { SEEN_VERSION } else { SNAPSHOT_VERSION };
        if !is_whole {
            body.extend(encode(&(unseen, kept)));
        }
        let checksum: [u8; 32] = Sha256::digest(&body).into();
        [&[version][..], &checksum, &body].concat()
    }

    /// What writers had not seen, of those that missed something, by the number of the write.
    fn unseen(&self) -> Vec<(usize, &Gaps)> {
        let Self { catalogue, reviews, .. } = self;
        let counts = catalogue.shelves.iter();
        let counts = counts.filter_map(|(_, stored)| stored.held.stocktakes());
        let counts = counts.flat_map(|of| of.writes().map(|write| &write.unseen));
        let attributes = catalogue.attributes.values();
        let attributes = attributes.flat_map(|stored| stored.held.writes.writes());
        let decisions = reviews.iter().flat_map(|(_, review)| review.decisions.writes());
        let attributes = attributes.map(|write| &write.unseen);
        let all = counts.chain(attributes).chain(decisions.map(|write| &write.unseen));
        all.enumerate().filter_map(|(number, unseen)| Some((number, unseen.gaps()?))).collect()
    }

    /// Takes what [`Self::unseen`] gave.
    fn fill_unseen(&mut self, unseen: Vec<(usize, Gaps)>) -> Result<(), RestoreError> {
        let Self { catalogue, reviews, unseen: sets, .. } = self;
        let counts = catalogue.shelves.values_mut();
        let counts = counts.filter_map(|stored| stored.held.stocktakes_mut());
        let counts = counts.flat_map(|of| of.writes_mut().map(|write| &mut write.unseen));
        let attributes = catalogue.attributes.values_mut();
        let attributes = attributes.flat_map(|stored| stored.held.writes.writes_mut());
        let decisions = reviews.values_mut().flat_map(|review| review.decisions.writes_mut());
        let attributes = attributes.map(|write| &mut write.unseen);
        let all = counts.chain(attributes).chain(decisions.map(|write| &mut write.unseen));
        let mut all = all.enumerate();
        for (number, gaps) in unseen {
            let Some((_, write)) = all.find(|(at, _)| *at == number) else {
                let detail = "gaps are of a write that is not there";
                return Err(RestoreError::Inconsistent { detail });
            };
            *write = sets.share(&gaps);
        }
        Ok(())
    }

    /// The reconciler that wrote these bytes, to go on from what it had applied. O(state).
    ///
    /// # Errors
    /// [`RestoreError`] when the bytes are of another version, damaged, or inconsistent.
    pub fn restore(config: Config, seed: u64, bytes: &[u8]) -> Result<Self, RestoreError> {
        let (version, rest) = match bytes.split_first() {
            Some((&version @ UNCOMPACTED_VERSION..=SNAPSHOT_VERSION, rest)) => (version, rest),
            other => return Err(RestoreError::Version { found: other.map(|(found, _)| *found) }),
        };
        let body = rest
            .split_first_chunk::<32>()
            .and_then(|(checksum, body)| (*checksum == *Sha256::digest(body)).then_some(body))
            .ok_or(RestoreError::Damaged { length: bytes.len() })?;
        let undecodable =
            |error: postcard::Error| RestoreError::Bytes { detail: error.to_string() };
        let (mut read, mut rest): (Read, _) =
            postcard::take_from_bytes(body).map_err(undecodable)?;
        let (mut compaction, gaps): (Compaction, Gaps) = match version {
            UNCOMPACTED_VERSION => (Compaction::default(), Gaps::new()),
            GAPLESS_VERSION => (postcard::from_bytes(rest).map_err(undecodable)?, Gaps::new()),
            _ => {
                let (read, left) = postcard::take_from_bytes(rest).map_err(undecodable)?;
                rest = left;
                read
            }
        };
        let mut unseen = Vec::new();
        if version >= KEPT_VERSION {
            (unseen, rest) = postcard::take_from_bytes(rest).map_err(undecodable)?;
        }
        if version == SNAPSHOT_VERSION {
            compaction.fill_kept(postcard::from_bytes(rest).map_err(undecodable)?);
        }
        let seconds = std::mem::take(&mut read.seconds);
        let mut reconciler = Self::new(config, seed);
        reconciler.fill(read, gaps);
        reconciler.compaction = compaction;
        // Sums are found again by what each count had seen.
        reconciler.fill_unseen(unseen)?;
        reconciler.fill_seconds(seconds)?;
        reconciler.sum = RowSum::over(&reconciler.rows());
        reconciler.audit().map_err(|detail| RestoreError::Inconsistent { detail })?;
        Ok(reconciler)
    }

    /// Takes what happened when, and finds what overlaps again; none of it is reported again.
    fn fill_seconds(&mut self, seconds: Vec<Second>) -> Result<(), RestoreError> {
        let mut seconds = seconds.into_iter();
        for stored in self.catalogue.shelves.values_mut() {
            stored.held.read_seconds(&mut seconds, &self.actors);
        }
        if seconds.next().is_some() {
            let detail = "seconds are of postings that are not there";
            return Err(RestoreError::Inconsistent { detail });
        }
        for shelf in self.catalogue.shelf_indices() {
            self.settle_overlaps(shelf);
        }
        self.outputs.clear();
        Ok(())
    }

    fn fill(&mut self, read: Read, gaps: Gaps) {
        let Read { actors, products, locations, .. } = read;
        self.actors.fill(actors, gaps);
        self.catalogue.products.extend(products);
        self.catalogue.locations.extend(locations.into_iter().map(|location| (location, ())));
        self.catalogue.shelves.extend(read.shelves);
        self.catalogue.attributes.extend(read.attributes);
        self.deliveries.fill(read.kept, read.dropped);
        self.reviews.fill(read.reviews);
        self.demand.extend(read.demand);
    }
}

fn encode(data: &impl Serialize) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "plain data whose lengths are known, into memory")]
    postcard::to_stdvec(data).expect("plain data always has an encoding")
}
