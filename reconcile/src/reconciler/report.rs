//! What changed, as derived records, with the sum of rows kept in step.

use headland_event::EventTime;

use super::{Reconciler, event_of};
use crate::actor::Spot;
use crate::catalogue::{AttributeIndex, AttributeView, ShelfIndex};
use crate::delivery::Effect;
use crate::event::{Decision, Effective, EventBody, InventoryEvent, Ruling};
use crate::fingerprint::Row;
use crate::ledger::{Account, Movement};
use crate::name::{AttributeValue, DeliveryId, ReviewId, Sku};
use crate::output::{
    AccountingWindow, AttributeRecord, ConflictRecord, DerivedTopic, DuplicateRecord, LateRecord,
    Output, PostingRecord, Retraction, StockRecord, attribute_key, stock_key,
};
use crate::register::{Register, Write};
use crate::review::{Outcome, Review};

impl Reconciler {
    /// Reports what a copy's shelves or attribute hold now, if that is not what was reported last.
    pub(super) fn settle(&mut self, effect: Effect) {
        match effect {
            Effect::Late | Effect::Void | Effect::Decision { .. } => {}
            Effect::Movement(shift) => {
                self.settle_shelf(shift.shelf);
                if let Some(from) = shift.from {
                    self.settle_shelf(from);
                }
            }
            Effect::Stocktake { shelf } => self.settle_shelf(shelf),
            Effect::Attribute { attribute } => self.settle_attribute(attribute),
        }
    }

    fn settle_shelf(&mut self, at: ShelfIndex) {
        self.settle_overlaps(at);
        let restock_below = self.config.restock_below;
        let (named, shelf) = self.catalogue.shelf_at(at);
        let (before, now) = (shelf.shown, shelf.units());
        if before == now {
            return;
        }
        shelf.shown = now;
        shelf.shortage.recover(now, restock_below);
        if let (Some(demand), Some(cover)) = (self.demand.get_mut(&at), self.config.cover) {
            demand.recover(now, cover);
        }
        let (sku, account) = (named.sku.clone(), named.name);
        let row = |units| Row::Stock { sku: &sku, account: &account, units };
        if let Some(units) = before {
            self.sum.remove(row(units));
        }
        if let Some(units) = now {
            self.sum.add(row(units));
        }
        let is_location = matches!(account, Account::Location(_));
        let is_oversold = |units: Option<i64>| is_location && units.is_some_and(|units| units < 0);
        if is_oversold(before) && !is_oversold(now) {
            self.retract(DerivedTopic::Oversold, stock_key(&sku, &account));
        }
        let Some(units) = now else {
            return self.retract(DerivedTopic::Stock, stock_key(&sku, &account));
        };
        let record = StockRecord { sku, account, units };
        if is_oversold(now) {
            self.outputs.push_back(Output::Oversold(record.clone()));
        }
        self.outputs.push_back(Output::Stock(record));
    }

    fn settle_attribute(&mut self, at: AttributeIndex) {
        let (named, attribute) = self.catalogue.attribute_at(at);
        let now = values_of(&attribute.writes, self.config.multi_value.contains(named.name));
        if attribute.shown == now {
            return;
        }
        let (sku, name) = (named.sku, named.name);
        for value in &attribute.shown {
            self.sum.remove(Row::Attribute { sku, name, value });
        }
        for value in &now {
            self.sum.add(Row::Attribute { sku, name, value });
        }
        let view = AttributeView::of(&now);
        attribute.shown = now;
        let Some(value) = view else {
            let key = attribute_key(sku, name);
            return self.retract(DerivedTopic::Stock, key);
        };
        let record = AttributeRecord { sku: sku.clone(), attribute: name.clone(), value };
        self.outputs.push_back(Output::Attribute(record));
    }

    /// Reports the conflicts of a copy that counts now, and takes back those of the copy that
    /// counted before unless a new one stands under the same key.
    pub(super) fn report_conflicts(&mut self, gone: &[ConflictRecord], fresh: Vec<ConflictRecord>) {
        for record in gone {
            self.sum.remove(conflict_row(record));
            if fresh.iter().all(|other| other.id != record.id) {
                self.retract(DerivedTopic::Conflicts, record.id.clone());
            }
        }
        for record in fresh {
            self.sum.add(conflict_row(&record));
            self.outputs.push_back(Output::Conflict(Box::new(record)));
        }
    }

    /// Reports where a movement that counts took units from and to.
    pub(super) fn report_postings(
        &mut self,
        id: &DeliveryId,
        sku: &Sku,
        time: EventTime,
        movement: &Movement,
    ) {
        let postings = movement.postings();
        debug_assert_eq!(postings.iter().map(|of| of.units).sum::<i64>(), 0, "{id} leaks units");
        self.outputs.push_back(Output::Posting(PostingRecord {
            id: id.clone(),
            kind: movement.kind(),
            sku: sku.clone(),
            time,
            postings,
        }));
    }

    /// Reports a late event with what was decided, and its postings when it counts.
    pub(super) fn report_review(&mut self, id: &ReviewId) {
        let Some(review) = self.reviews.get(id.as_str()) else { return };
        let Some(record) = self.late_record(review) else { return };
        let posted = match (review.outcome(), event_of(review)) {
            (Outcome::Settled(decision), Some(InventoryEvent { sku, time, body, .. })) => {
                let EventBody::Movement(movement) = body else { return };
                let at = |effective| match effective {
                    Effective::Restate => time,
                    Effective::Carry => decision.value.time,
                };
                match decision.value.ruling {
                    Ruling::Reject => None,
                    Ruling::Approve(effective) => Some((sku, at(effective), movement)),
                    Ruling::Amend { units, effective } => {
                        Some((sku, at(effective), movement.amended(units)))
                    }
                }
            }
            (Outcome::Open | Outcome::Disputed | Outcome::Settled(_), _) => None,
        };
        let late = record.id.clone();
        self.outputs.push_back(Output::Late(Box::new(record)));
        if let Some((sku, time, movement)) = posted {
            self.report_postings(&late, &sku, time, &movement);
        }
    }

    /// Reports a copy that came after the one that counts.
    pub(super) fn report_dropped(&mut self, id: &DeliveryId, kept: Spot, dropped: Spot) {
        let (kept, dropped) = (self.actors.position(kept), self.actors.position(dropped));
        self.sum.add(Row::Duplicate { id, kept: &kept, dropped: &dropped });
        let record = DuplicateRecord { id: id.clone(), kept, dropped };
        self.outputs.push_back(Output::Duplicate(record));
    }

    /// Reports the copy that counted until now as dropped, and again every copy dropped before,
    /// because their records name the copy kept.
    pub(super) fn report_replaced(&mut self, id: &DeliveryId, kept: Spot, replaced: Spot) {
        debug_assert!(self.actors.compare(kept, replaced).is_lt(), "{id}: a larger copy counts");
        let Self { actors, deliveries, sum, outputs, .. } = self;
        let (kept, old) = (actors.position(kept), actors.position(replaced));
        for dropped in deliveries.dropped(id) {
            let is_older = *dropped != replaced;
            let dropped = actors.position(*dropped);
            if is_older {
                sum.remove(Row::Duplicate { id, kept: &old, dropped: &dropped });
            }
            sum.add(Row::Duplicate { id, kept: &kept, dropped: &dropped });
            let record = DuplicateRecord { id: id.clone(), kept: kept.clone(), dropped };
            outputs.push_back(Output::Duplicate(record));
        }
    }

    /// The record of a late event that has come. O(bytes of the event + decisions).
    pub(super) fn late_record(&self, review: &Review) -> Option<LateRecord> {
        let late = review.late.as_ref()?;
        #[expect(clippy::expect_used, reason = "the value was parsed into an event before")]
        let event = serde_json::from_str(&late.value).expect("an event's value is JSON");
        let InventoryEvent { id, sku, time, body, .. } = event_of(review)?;
        let EventBody::Movement(movement) = body else { return None };
        let outcome = review.outcome();
        let if_applied = match outcome {
            Outcome::Settled(Write { value: Decision { ruling, .. }, .. }) => match ruling {
                Ruling::Amend { units, .. } => movement.amended(*units).postings(),
                Ruling::Approve(_) | Ruling::Reject => movement.postings(),
            },
            Outcome::Open | Outcome::Disputed => movement.postings(),
        };
        Some(LateRecord {
            id,
            sku,
            event,
            region: self.actors.get(late.at.actor).region.clone(),
            window: AccountingWindow::of(time, self.config.accounting_window),
            revision: review.revision(),
            if_applied,
            review: review.record(),
        })
    }

    /// Takes the record of a key back.
    pub(super) fn retract(&mut self, topic: DerivedTopic, key: String) {
        self.outputs.push_back(Output::Retracted(Retraction { topic, key }));
    }
}

/// What an attribute holds: the winner's value, or every value that nobody overwrote, in order.
pub(super) fn values_of(
    writes: &Register<AttributeValue>,
    is_multi_value: bool,
) -> Vec<AttributeValue> {
    if !is_multi_value {
        return writes.winner().map(|write| write.value.clone()).into_iter().collect();
    }
    let mut values: Vec<AttributeValue> =
        writes.maximal().map(|write| write.value.clone()).collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// The row of a conflict.
pub(super) fn conflict_row(record: &ConflictRecord) -> Row<'_> {
    let (winner, loser) = (&record.winner.position, &record.loser.position);
    Row::Conflict { id: &record.id, winner, loser }
}
