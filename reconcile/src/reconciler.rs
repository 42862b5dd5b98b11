//! The core: events in, derived records out.
//!
//! What is kept is a function of the set of events. Each part keeps that by itself: cells are
//! joined per actor, registers compare every pair of writes, deliveries keep the smallest copy,
//! reviews ask which decisions nobody overruled. When a copy that counted is replaced by a smaller
//! one, its effect is taken back by name and the new one's is made, and whatever the derived
//! topics show differently is written again or retracted (see [`crate::output`]).
//!
//! Rejected and forbidden records claim no delivery id: were it otherwise, a device could silence
//! another one by sending its ids first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use headland_event::{
    Actor, EventTime, Extent, Gap, Hlc, KeyMap, Offset, RegionId, VectorClock, Verdict, keymap,
};

use crate::actor::{Actors, Spot};
use crate::catalogue::{Catalogue, ProductView, ShelfIndex};
use crate::delivery::{Arrival, Deliveries, DeliveryCopy, Effect};
use crate::demand::{Cover, Demand};
use crate::event::{EventBody, InventoryEvent, RejectReason};
use crate::fingerprint::{self, RowSum};
use crate::name::{AttributeName, AttributeValue, DeliveryId, Location, Sku, UnitName};
use crate::output::{LateRecord, Output, RejectedRecord};
use crate::position::Position;
use crate::register::Write;
use crate::review::{Review, Reviews};
use crate::second::Second;
use crate::unseen::{Unseen, UnseenSets};

/// Records read ahead, so that many are looked up at a time.
mod ahead;
/// What a copy does when it counts, and how that is undone.
mod effect;
/// Pairs of writes of which neither writer had seen the other.
mod conflict;
/// Postings that overlap with a stocktake.
mod overlap;
/// What changed, as derived records.
mod report;
/// Warnings that a shelf runs low.
mod restock;
/// Every row of the canonical state, recomputed.
mod canonical;
/// Forgetting what no cut can ask for, and counts that nobody can judge.
mod compaction;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod review_tests;
#[cfg(test)]
mod unseen_tests;

use ahead::Found;
pub use ahead::{Prepared, READ_AHEAD};
pub(crate) use compaction::Compaction;
pub use compaction::VoidStocktake;

/// Accounting windows that nobody configured: days of UTC.
const DAY: Duration = Duration::from_secs(86_400);

/// What a reconciler has to know of its hub.
///
/// All but the region, the threshold and the days of cover changes what counts, so every hub of a
/// fleet has to have it alike: hubs that differ there end with different states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The hub's region.
    pub region: RegionId,
    /// Units below which a shelf of this region runs low. Too small warns too late; too large
    /// warns of every slow seller.
    pub restock_below: i64,
    /// For how many days the stock of a shelf of this region should last, if that is watched.
    pub cover: Option<Cover>,
    /// The skus there are.
    pub skus: KnownSkus,
    /// How long an accounting window is; late events name the one they missed.
    pub accounting_window: Duration,
    /// Attributes of which concurrent values are all kept; of others the last writer wins.
    pub multi_value: BTreeSet<AttributeName>,
}

/// The skus that events may be about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KnownSkus {
    /// Any, in any unit.
    #[default]
    Any,
    /// These, each counted in one unit; events that name no unit mean this one.
    Listed(BTreeMap<Sku, UnitName>),
}

impl Config {
    /// A hub that accepts every sku, where of concurrent values the last writer wins.
    #[must_use]
    pub const fn new(region: RegionId, restock_below: i64) -> Self {
        Self {
            region,
            restock_below,
            cover: None,
            skus: KnownSkus::Any,
            accounting_window: DAY,
            multi_value: BTreeSet::new(),
        }
    }

    fn check(&self, event: &InventoryEvent) -> Result<(), RejectReason> {
        self.skus.check(event)
    }
}

impl KnownSkus {
    /// Checks that an event is about a sku that is known, in its unit. O(log skus).
    ///
    /// # Errors
    /// [`RejectReason`] when the list does not have the sku, or counts it in another unit.
    pub fn check(&self, event: &InventoryEvent) -> Result<(), RejectReason> {
        let Self::Listed(listed) = self else { return Ok(()) };
        let Some(expected) = listed.get(&event.sku) else {
            return Err(RejectReason::UnknownSku { found: event.sku.clone() });
        };
        match &event.unit {
            Some(found) if found != expected => Err(RejectReason::UnitMismatch {
                sku: event.sku.clone(),
                found: found.clone(),
                expected: expected.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether this hub is the one that took an event in from its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Locality {
    /// It is, and it warns when the event makes stock run low.
    Local,
    /// Another hub did, and warns.
    Remote,
}

/// One record of some region's `inventory.events`, with what its ingest hub stamped on it.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The log it was first written to at a hub.
    pub actor: &'a Actor,
    /// Its offset there.
    pub offset: Offset,
    /// The ingest hub's clock when it wrote the record.
    pub hlc: Hlc,
    /// What the ingest hub's journal held before, and what of it was missing there.
    pub context: &'a Extent,
    /// What the ingest hub decided about it.
    pub verdict: Verdict,
    /// Whether that hub is this one.
    pub locality: Locality,
    /// This node's wall clock when the record came in; only copied to alerts.
    pub captured_at: EventTime,
    /// This node's wall clock now; only copied to alerts.
    pub detected_at: EventTime,
    /// The record's value.
    pub value: &'a Bytes,
}

/// Keeps what every region's events say about inventory.
#[derive(Debug, Clone)]
pub struct Reconciler {
    pub(crate) config: Config,
    pub(crate) actors: Actors,
    pub(crate) catalogue: Catalogue,
    pub(crate) deliveries: Deliveries,
    pub(crate) reviews: Reviews,
    /// Of shelves that customers of this region took from.
    pub(crate) demand: KeyMap<ShelfIndex, Demand>,
    pub(crate) compaction: Compaction,
    /// What writers had not seen.
    pub(crate) unseen: UnseenSets,
    pub(crate) sum: RowSum,
    pub(crate) outputs: VecDeque<Output>,
}

impl Reconciler {
    /// A reconciler that has seen nothing. The seed only protects its hash maps.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            actors: Actors::new(seed),
            catalogue: Catalogue::new(seed),
            deliveries: Deliveries::new(seed),
            reviews: Reviews::new(seed),
            demand: keymap::key_map(seed),
            compaction: Compaction::default(),
            unseen: UnseenSets::default(),
            sum: RowSum::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Applies one record. Records of one actor come by rising offset, but for what was
    /// [missing](Self::begin), actors in any order.
    ///
    /// An offset below the end of what is applied that is not missing is a replay and changes
    /// nothing. O(log actors) for a movement, or O(postings of its log to its shelf) where it was
    /// missing, plus O(writes of the same key) for a stocktake, an attribute or a decision.
    pub fn on_event(&mut self, input: Input<'_>) {
        let prepared = self.read(input.value);
        self.on_prepared(input, &prepared);
    }

    /// Applies one record as [`Self::on_event`] does, whose value was read ahead by this
    /// reconciler's [`Self::prepare`].
    pub fn on_prepared(&mut self, input: Input<'_>, prepared: &Prepared) {
        debug_assert!(
            input.locality == Locality::Remote || input.actor.region == self.config.region,
            "a local record of region {} at a hub of {}",
            input.actor.region,
            self.config.region
        );
        let actor = self.actors.index_of(input.actor);
        if !self.actors.advance(actor, input.offset) || input.verdict == Verdict::Forbidden {
            return;
        }
        match (input.verdict, &prepared.0) {
            (_, Err(reason)) => self.reject(&input, reason.clone()),
            (Verdict::Future | Verdict::Forbidden, Ok(_)) => {
                self.reject(&input, RejectReason::Future);
            }
            (Verdict::Unlisted, Ok(found)) => {
                let (sku, unit) = (found.event.sku.clone(), found.event.unit.clone());
                let region = input.actor.region.clone();
                self.reject(&input, RejectReason::Unlisted { sku, unit, region });
            }
            (Verdict::OnTime | Verdict::Late, Ok(found)) => {
                self.deliver(&input, Spot { actor, offset: input.offset }, found);
            }
        }
    }

    /// Takes note that a part of a log comes next that begins at `from`: what lies between what is
    /// applied of the log and it is missing, and is applied when it comes. Of more gaps than
    /// [`Gaps::note`](headland_event::Gaps::note) keeps, the one that is given up is returned: its
    /// records will never be applied here.
    #[must_use]
    pub fn begin(&mut self, actor: &Actor, from: Offset) -> Option<Gap> {
        self.actors.begin(actor, from)
    }

    /// Takes note of offsets of a log that have no records at anybody: an agent shed them.
    pub fn pass(&mut self, actor: &Actor, from: Offset, until: Offset) {
        self.actors.pass(actor, from, until);
    }

    /// The next thing to write, if there is any.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Units of a sku at a location; `None` when nothing that counts mentions them. O(1).
    #[must_use]
    pub fn stock(&self, sku: &Sku, location: &Location) -> Option<i64> {
        self.catalogue.find(sku, location)?.shown
    }

    /// The value of a sku's attribute, the first of several; `None` when nothing that counts sets
    /// it. O(1).
    #[must_use]
    pub fn attribute(&self, sku: &Sku, name: &AttributeName) -> Option<&AttributeValue> {
        self.catalogue.find_attribute(sku, name)?.shown.first()
    }

    /// All that holds of one sku; `None` when nothing does. O(its locations and attributes).
    #[must_use]
    pub fn product(&self, sku: &Sku) -> Option<ProductView> {
        self.catalogue.view(sku)
    }

    /// Every sku ever mentioned, in order of first mention.
    #[must_use]
    pub fn skus(&self) -> impl ExactSizeIterator<Item = &Sku> {
        self.catalogue.skus()
    }

    /// What was applied of each actor's log, with what is missing of it. O(actors).
    #[must_use]
    pub fn extent(&self) -> Extent {
        self.actors.extent()
    }

    /// The end of what was applied of each actor's log. O(actors).
    #[must_use]
    pub fn applied(&self) -> VectorClock {
        self.actors.applied()
    }

    /// A late event, decided or not; `None` when no late event of that delivery counts as its copy.
    /// O(bytes of the event).
    #[must_use]
    pub fn late_event(&self, id: &DeliveryId) -> Option<InventoryEvent> {
        event_of(self.reviews.get(id.as_str())?)
    }

    /// Late events as they stand in `inventory.late`, in order of first mention. O(late events).
    pub fn late_events(&self) -> impl Iterator<Item = LateRecord> {
        self.reviews.iter().filter_map(|(_, review)| self.late_record(review))
    }

    /// 32 bytes that are equal at hubs that hold the same events. O(1): kept along the way, as
    /// [`crate::fingerprint`] describes.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        self.sum.fingerprint()
    }

    /// The canonical state the fingerprint stands for, recomputed from everything. O(state).
    #[must_use]
    pub fn canonical_state(&self) -> Vec<u8> {
        fingerprint::canonical(self.rows())
    }

    /// Marks kept of postings: what [`Self::compact`] makes smaller. O(shelves).
    #[must_use]
    pub fn marks(&self) -> usize {
        self.catalogue.shelves.iter().map(|(_, stored)| stored.held.marks()).sum()
    }

    /// Deliveries known.
    #[must_use]
    pub fn deliveries(&self) -> usize {
        self.deliveries.len()
    }

    fn reject(&mut self, input: &Input<'_>, reason: RejectReason) {
        let record = RejectedRecord::new(reason, input.value, position_of(input));
        self.outputs.push_back(Output::Rejected(record));
    }

    fn deliver(&mut self, input: &Input<'_>, at: Spot, found: &Found) {
        let Found { event, digest, .. } = found;
        let effect = self.place(found, input, at);
        let copy = DeliveryCopy { at, effect };
        match self.deliveries.arrive((*digest, &event.id), copy, &self.actors) {
            Arrival::First => {
                self.note_demand(input, event, effect);
                let conflicts = self.make(input, event, copy);
                self.report_conflicts(&[], conflicts);
            }
            Arrival::Dropped(kept) => {
                self.withdraw(copy);
                return self.report_dropped(&event.id, kept, at);
            }
            Arrival::Replaced(old) => {
                let gone = self.take_back(&event.id, old);
                let conflicts = self.make(input, event, copy);
                self.report_replaced(&event.id, at, old.at);
                self.report_conflicts(&gone, conflicts);
                self.settle(old.effect);
            }
        }
        self.settle(effect);
        self.warn(input, event, effect);
    }

    /// Finds where a copy belongs, and adds a movement made on time to its cells.
    fn place(&mut self, found: &Found, input: &Input<'_>, at: Spot) -> Effect {
        let Found { event, shelf, .. } = found;
        match &event.body {
            EventBody::Movement(_) if input.verdict == Verdict::Late => Effect::Late,
            EventBody::Movement(movement) => {
                let shift = self.shift(&event.sku, movement, *shelf);
                let second = Second::of(event.time);
                for (shelf, delta) in shift.parts() {
                    self.catalogue.shelf_mut(shelf).post(at, second, delta, &self.actors);
                }
                Effect::Movement(shift)
            }
            EventBody::Stocktake { .. } if self.voids(input, event) => Effect::Void,
            EventBody::Stocktake { location, .. } => {
                Effect::Stocktake { shelf: self.shelf_of(&event.sku, location) }
            }
            EventBody::Attribute { name, .. } => {
                Effect::Attribute { attribute: self.catalogue.attribute_index(&event.sku, name) }
            }
            EventBody::Decision { late, .. } => {
                Effect::Decision { review: self.reviews.index_of(late) }
            }
        }
    }
}

/// A late event that has come.
fn event_of(review: &Review) -> Option<InventoryEvent> {
    InventoryEvent::parse(review.late.as_ref()?.value.as_bytes()).ok()
}

fn position_of(input: &Input<'_>) -> Position {
    Position { actor: input.actor.clone(), offset: input.offset }
}

fn write_of<V>(input: &Input<'_>, event: &InventoryEvent, value: V, unseen: Unseen) -> Write<V> {
    Write {
        id: event.id.clone(),
        position: position_of(input),
        hlc: input.hlc,
        context: input.context.ends().clone(),
        unseen,
        value,
    }
}
