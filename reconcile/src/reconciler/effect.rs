//! What a copy does when it counts, and how that is undone.

use super::conflict::{self, conflicts_of};
use super::{Input, Reconciler, write_of};
use crate::catalogue::ShelfIndex;
use crate::delivery::{DeliveryCopy, Effect, Shift};
use crate::event::{EventBody, InventoryEvent};
use crate::fingerprint::Row;
use crate::ledger::{Account, Movement};
use crate::name::{DeliveryId, Location, ReviewId, Sku};
use crate::output::{ConflictRecord, DerivedTopic};
use crate::review::{LateEvent, ReviewIndex};
use crate::second::Second;
use crate::shelf::Count;

impl Reconciler {
    /// Makes a copy count, and returns the conflicts it is in.
    pub(super) fn make(
        &mut self,
        input: &Input<'_>,
        event: &InventoryEvent,
        copy: DeliveryCopy,
    ) -> Vec<ConflictRecord> {
        match (copy.effect, &event.body) {
            (Effect::Stocktake { shelf }, EventBody::Stocktake { count, .. }) => {
                let Self { catalogue, actors, .. } = self;
                let (named, shelf) = catalogue.shelf_at(shelf);
                let count = Count { units: *count, second: Second::of(event.time) };
                let unseen = self.unseen.share(input.context.gaps());
                let write = write_of(input, event, count, unseen);
                let subject = conflict::of_shelf(&named);
                let conflicts = shelf
                    .stocktakes()
                    .zip(subject.as_ref())
                    .map_or_else(Vec::new, |(stocktakes, subject)| {
                        conflicts_of(stocktakes, &write, subject)
                    });
                shelf.count(write, actors);
                conflicts
            }
            (Effect::Attribute { attribute }, EventBody::Attribute { value, .. }) => {
                let (named, attribute) = self.catalogue.attribute_at(attribute);
                let unseen = self.unseen.share(input.context.gaps());
                let write = write_of(input, event, value.clone(), unseen);
                let subject = conflict::of_attribute(&named);
                let conflicts = conflicts_of(&attribute.writes, &write, &subject);
                attribute.writes.insert(write);
                conflicts
            }
            (Effect::Decision { review }, EventBody::Decision { decision, .. }) => {
                let (late, of) = self.reviews.at(review);
                let unseen = self.unseen.share(input.context.gaps());
                let write = write_of(input, event, decision.clone(), unseen);
                let conflicts = conflicts_of(&of.decisions, &write, &conflict::of_review(late));
                self.sum.add(Row::Decision { late, decision: &write.position });
                of.decisions.insert(write);
                self.settle_review(review);
                conflicts
            }
            (Effect::Void, EventBody::Stocktake { location, count }) => {
                self.report_void((&event.id, &event.sku, location, *count), copy);
                Vec::new()
            }
            (Effect::Late, EventBody::Movement(movement)) => {
                let shift = self.shift(&event.sku, movement, None);
                self.make_late(&event.id, LateEvent { at: copy.at, shift, value: text_of(input) });
                Vec::new()
            }
            // A movement is in its cells since `place`, whichever copy counts.
            (Effect::Movement(_), EventBody::Movement(movement)) => {
                self.report_postings(&event.id, &event.sku, event.time, movement);
                Vec::new()
            }
            (
                Effect::Late
                | Effect::Movement(_)
                | Effect::Stocktake { .. }
                | Effect::Void
                | Effect::Attribute { .. }
                | Effect::Decision { .. },
                _,
            ) => {
                debug_assert!(false, "{} has the effect of another kind", event.id);
                Vec::new()
            }
        }
    }

    /// Undoes what a copy did that counted so far, and returns the conflicts it was in.
    pub(super) fn take_back(&mut self, id: &DeliveryId, old: DeliveryCopy) -> Vec<ConflictRecord> {
        let position = self.actors.position(old.at);
        match old.effect {
            Effect::Late => {
                self.take_back_late(id);
                Vec::new()
            }
            Effect::Movement(_) => {
                self.withdraw(old);
                self.retract(DerivedTopic::Postings, id.to_string());
                Vec::new()
            }
            Effect::Stocktake { shelf } => {
                let Self { catalogue, actors, .. } = self;
                let (named, shelf) = catalogue.shelf_at(shelf);
                let write = shelf.uncount(&position, actors);
                let subject = conflict::of_shelf(&named);
                match (write, shelf.stocktakes(), subject) {
                    (Some(write), Some(stocktakes), Some(subject)) => {
                        conflicts_of(stocktakes, &write, &subject)
                    }
                    (_, _, _) => Vec::new(),
                }
            }
            Effect::Void => {
                self.retract(DerivedTopic::Rejected, position.to_string());
                Vec::new()
            }
            Effect::Attribute { attribute } => {
                let (named, attribute) = self.catalogue.attribute_at(attribute);
                let subject = conflict::of_attribute(&named);
                let write = attribute.writes.remove(&position);
                write.map_or_else(Vec::new, |write| {
                    conflicts_of(&attribute.writes, &write, &subject)
                })
            }
            Effect::Decision { review } => {
                let (late, of) = self.reviews.at(review);
                let subject = conflict::of_review(late);
                self.sum.remove(Row::Decision { late, decision: &position });
                let write = of.decisions.remove(&position);
                let conflicts = write
                    .map_or_else(Vec::new, |write| conflicts_of(&of.decisions, &write, &subject));
                self.settle_review(review);
                conflicts
            }
        }
    }

    /// Takes a copy of a movement that does not count out of its shelves.
    pub(super) fn withdraw(&mut self, copy: DeliveryCopy) {
        let Effect::Movement(shift) = copy.effect else { return };
        for (shelf, delta) in shift.parts() {
            self.catalogue.shelf_mut(shelf).withdraw(copy.at, delta, &self.actors);
        }
    }

    /// The shelves that a movement changes, made when they are new; the first one may have been
    /// found before.
    pub(super) fn shift(
        &mut self,
        sku: &Sku,
        movement: &Movement,
        found: Option<ShelfIndex>,
    ) -> Shift {
        let [to, from] = movement.postings();
        let shelf = found.or_else(|| self.catalogue.shelf_index(sku, &to.account));
        #[expect(clippy::expect_used, reason = "the first posting of a movement is of stock")]
        let shelf = shelf.expect("a movement begins with an account that is stock");
        Shift::new(shelf, self.catalogue.shelf_index(sku, &from.account), to.units)
    }

    pub(super) fn shelf_of(&mut self, sku: &Sku, location: &Location) -> ShelfIndex {
        let shelf = self.catalogue.shelf_index(sku, &Account::Location(location.clone()));
        #[expect(clippy::expect_used, reason = "a location is an account that is stock")]
        shelf.expect("a location has a shelf")
    }

    fn make_late(&mut self, id: &DeliveryId, late: LateEvent) {
        let id = ReviewId::from(id);
        self.sum.add(Row::Late { id: &id, kept: &self.actors.position(late.at) });
        let index = self.reviews.index_of(&id);
        self.reviews.at(index).1.late = Some(late);
        self.settle_review(index);
    }

    fn take_back_late(&mut self, id: &DeliveryId) {
        let name = ReviewId::from(id);
        let index = self.reviews.index_of(&name);
        if let Some(late) = self.reviews.at(index).1.late.take() {
            self.sum.remove(Row::Late { id: &name, kept: &self.actors.position(late.at) });
        }
        self.settle_review(index);
        self.retract(DerivedTopic::Late, id.to_string());
    }

    /// Lets what is reviewed do to stock what the decisions about it come to now.
    fn settle_review(&mut self, index: ReviewIndex) {
        let Self { reviews, actors, catalogue, .. } = self;
        let (id, review) = reviews.at(index);
        let id = id.clone();
        let due = review.due(actors);
        let before = std::mem::replace(&mut review.applied, due);
        let is_changed = before != due;
        if let Some(gone) = before.filter(|_| is_changed) {
            for (shelf, delta) in gone.shift.parts() {
                catalogue.shelf_mut(shelf).take_out(gone.at, delta, actors);
            }
        }
        if let Some(fresh) = due.filter(|_| is_changed) {
            for (shelf, delta) in fresh.shift.parts() {
                catalogue.shelf_mut(shelf).put_in(fresh.at, delta, actors);
            }
        }
        for applied in [before, due].into_iter().flatten().filter(|_| is_changed) {
            self.settle(Effect::Movement(applied.shift));
        }
        if before.is_some() && due.is_none() {
            self.retract(DerivedTopic::Postings, id.to_string());
        }
        self.settle_overlap(index);
        self.report_review(&id);
    }
}

/// The value of an event that was parsed before, which is why it is text.
fn text_of(input: &Input<'_>) -> Box<str> {
    String::from_utf8_lossy(input.value).into()
}
