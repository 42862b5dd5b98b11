//! The core: events in, derived records out.
//!
//! What is kept is a function of the set of events. Each part keeps that by itself: cells are
//! joined per actor, registers compare every pair of writes, deliveries keep the smallest copy.
//! When a copy that counted is replaced by a smaller one, its effect is taken back by name and the
//! new one's is made, and whatever the derived topics show differently is written again or
//! retracted (see [`crate::output`]).
//!
//! Rejected and forbidden records claim no delivery id: were it otherwise, a device could silence
//! another one by sending its ids first.

use std::collections::VecDeque;

use bytes::Bytes;
use headland_event::{Actor, EventTime, Hlc, Offset, RegionId, VectorClock, Verdict};

use crate::catalogue::{Catalogue, ProductView};
use crate::delivery::{Arrival, Deliveries, DeliveryCopy, Effect};
use crate::event::{EventBody, InventoryEvent, RejectReason};
use crate::fingerprint::{self, Row, RowSum};
use crate::name::{AttributeName, AttributeValue, Location, Sku};
use crate::output::{
    ConflictRecord, ConflictSubject, ConflictValue, DerivedTopic, Output, RejectedRecord,
};
use crate::position::Position;
use crate::register::{Register, Write};

/// What changed, as derived records.
mod report;
/// Warnings that a shelf runs low.
mod restock;
/// Every row of the canonical state, recomputed.
mod canonical;
#[cfg(test)]
mod tests;

/// What a reconciler has to know of its hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The hub's region.
    pub region: RegionId,
    /// Units below which a shelf of this region runs low. Too small warns too late; too large
    /// warns of every slow seller.
    pub restock_below: i64,
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
    /// What the ingest hub's journal held before.
    pub context: &'a VectorClock,
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
    pub(crate) applied: VectorClock,
    pub(crate) catalogue: Catalogue,
    pub(crate) deliveries: Deliveries,
    pub(crate) sum: RowSum,
    pub(crate) outputs: VecDeque<Output>,
}

impl Reconciler {
    /// A reconciler that has seen nothing. The seed only protects its hash maps.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            applied: VectorClock::new(),
            catalogue: Catalogue::new(seed),
            deliveries: Deliveries::new(seed),
            sum: RowSum::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Applies one record. Records of one actor come by rising offset, actors in any order.
    ///
    /// An offset at or before one applied is a replay and changes nothing. O(log actors) for a
    /// posting, plus O(writes of the same key) for a stocktake or an attribute.
    pub fn on_event(&mut self, input: Input<'_>) {
        debug_assert!(
            input.locality == Locality::Remote || input.actor.region == self.config.region,
            "a local record of region {} at a hub of {}",
            input.actor.region,
            self.config.region
        );
        if self.applied.includes(input.actor, input.offset) {
            return;
        }
        self.applied.advance(input.actor, input.offset.after(1));
        let event = match (input.verdict, InventoryEvent::parse(input.value)) {
            (Verdict::Forbidden, _) => return,
            (_, Err(reason)) => return self.reject(&input, reason),
            (Verdict::Future, Ok(_)) => return self.reject(&input, RejectReason::Future),
            (Verdict::OnTime | Verdict::Late, Ok(event)) => event,
        };
        self.deliver(&input, &event);
    }

    /// The next thing to write, if there is any.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Units of a sku at a location; `None` when nothing that counts mentions them. O(1).
    #[must_use]
    pub fn stock(&self, sku: &Sku, location: &Location) -> Option<i64> {
        self.catalogue.get(sku)?.shelves.get(location)?.shown
    }

    /// The value of a sku's attribute; `None` when nothing that counts sets it. O(1).
    #[must_use]
    pub fn attribute(&self, sku: &Sku, name: &AttributeName) -> Option<&AttributeValue> {
        self.catalogue.get(sku)?.attributes.get(name)?.shown.as_ref()
    }

    /// All that holds of one sku; `None` when nothing does. O(its locations and attributes).
    #[must_use]
    pub fn product(&self, sku: &Sku) -> Option<ProductView> {
        self.catalogue.view(sku)
    }

    /// Every sku ever mentioned, in order of first mention.
    #[must_use]
    pub fn skus(&self) -> impl ExactSizeIterator<Item = &Sku> {
        self.catalogue.iter().map(|(sku, _)| sku)
    }

    /// The end of what was applied of each actor's log.
    #[must_use]
    pub const fn applied(&self) -> &VectorClock {
        &self.applied
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

    fn reject(&mut self, input: &Input<'_>, reason: RejectReason) {
        let record = RejectedRecord::new(reason, input.value, position_of(input));
        self.outputs.push_back(Output::Rejected(record));
    }

    fn deliver(&mut self, input: &Input<'_>, event: &InventoryEvent) {
        let position = position_of(input);
        let effect = self.place(event, input.verdict, &position);
        let copy = DeliveryCopy { position: position.clone(), effect };
        match self.deliveries.arrive(&event.id, copy) {
            Arrival::First => {
                let conflicts = self.make(input, event, effect);
                self.report_conflicts(&[], conflicts);
            }
            Arrival::Dropped => {
                if let Effect::Posting { shelf, delta } = effect {
                    self.catalogue.shelf_at(shelf).2.withdraw(position.clone(), delta);
                }
                self.report_dropped(event, position);
                return;
            }
            Arrival::Replaced(old) => {
                let gone = self.take_back(event, &old);
                let conflicts = self.make(input, event, effect);
                self.report_replaced(event, &old.position);
                self.report_conflicts(&gone, conflicts);
                if old.effect == Effect::Late && effect != Effect::Late {
                    self.retract(DerivedTopic::Late, event.id.to_string());
                }
                self.settle(old.effect);
            }
        }
        self.settle(effect);
        self.warn(input, event, effect);
    }

    /// Finds where a copy belongs, and adds a posting made on time to its cell.
    fn place(&mut self, event: &InventoryEvent, verdict: Verdict, position: &Position) -> Effect {
        match &event.body {
            EventBody::Posting { .. } if verdict == Verdict::Late => Effect::Late,
            EventBody::Posting { location, delta, .. } => {
                let shelf = self.catalogue.shelf_place(&event.sku, location);
                self.catalogue.shelf_at(shelf).2.post(position, *delta);
                Effect::Posting { shelf, delta: *delta }
            }
            EventBody::Stocktake { location, .. } => {
                Effect::Stocktake { shelf: self.catalogue.shelf_place(&event.sku, location) }
            }
            EventBody::Attribute { name, .. } => {
                Effect::Attribute { attribute: self.catalogue.attribute_place(&event.sku, name) }
            }
        }
    }

    /// Makes a copy count, and returns the conflicts it is in.
    fn make(
        &mut self,
        input: &Input<'_>,
        event: &InventoryEvent,
        effect: Effect,
    ) -> Vec<ConflictRecord> {
        match (effect, &event.body) {
            (Effect::Stocktake { shelf }, EventBody::Stocktake { count, .. }) => {
                let (sku, location, shelf) = self.catalogue.shelf_at(shelf);
                let write = write_of(input, event, *count);
                let conflicts = conflicts_of(shelf.stocktakes(), &write, || {
                    ConflictSubject::Stocktake { sku: sku.clone(), location: location.clone() }
                });
                shelf.count(write);
                conflicts
            }
            (Effect::Attribute { attribute }, EventBody::Attribute { value, .. }) => {
                let (sku, name, attribute) = self.catalogue.attribute_at(attribute);
                let write = write_of(input, event, value.clone());
                let conflicts = conflicts_of(&attribute.writes, &write, || {
                    ConflictSubject::Attribute { sku: sku.clone(), attribute: name.clone() }
                });
                attribute.writes.insert(write);
                conflicts
            }
            (Effect::Late, _) => {
                self.report_late(input, event);
                Vec::new()
            }
            // A posting is in its cell since `place`, whichever copy counts.
            (Effect::Posting { .. } | Effect::Stocktake { .. } | Effect::Attribute { .. }, _) => {
                Vec::new()
            }
        }
    }

    /// Undoes what a copy did that counted so far, and returns the conflicts it was in.
    fn take_back(&mut self, event: &InventoryEvent, old: &DeliveryCopy) -> Vec<ConflictRecord> {
        let DeliveryCopy { position, effect } = old;
        match *effect {
            Effect::Late => {
                self.sum.remove(Row::Late { id: &event.id, kept: position });
                Vec::new()
            }
            Effect::Posting { shelf, delta } => {
                self.catalogue.shelf_at(shelf).2.withdraw(position.clone(), delta);
                Vec::new()
            }
            Effect::Stocktake { shelf } => {
                let (sku, location, shelf) = self.catalogue.shelf_at(shelf);
                let write = shelf.uncount(position);
                write.map_or_else(Vec::new, |write| {
                    conflicts_of(shelf.stocktakes(), &write, || ConflictSubject::Stocktake {
                        sku: sku.clone(),
                        location: location.clone(),
                    })
                })
            }
            Effect::Attribute { attribute } => {
                let (sku, name, attribute) = self.catalogue.attribute_at(attribute);
                let write = attribute.writes.remove(position);
                write.map_or_else(Vec::new, |write| {
                    conflicts_of(&attribute.writes, &write, || ConflictSubject::Attribute {
                        sku: sku.clone(),
                        attribute: name.clone(),
                    })
                })
            }
        }
    }
}

fn position_of(input: &Input<'_>) -> Position {
    Position { actor: input.actor.clone(), offset: input.offset }
}

fn write_of<V>(input: &Input<'_>, event: &InventoryEvent, value: V) -> Write<V> {
    Write {
        id: event.id.clone(),
        position: position_of(input),
        hlc: input.hlc,
        context: input.context.clone(),
        value,
    }
}

fn conflicts_of<V: Clone + Into<ConflictValue>>(
    register: &Register<V>,
    write: &Write<V>,
    subject: impl Fn() -> ConflictSubject,
) -> Vec<ConflictRecord> {
    register
        .concurrent(write)
        .map(|other| ConflictRecord::between(subject(), write, other))
        .collect()
}
