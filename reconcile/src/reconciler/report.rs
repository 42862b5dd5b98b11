//! What changed, as derived records, with the sum of rows kept in step.

use super::{Input, Reconciler, position_of};
use crate::delivery::Effect;
use crate::event::InventoryEvent;
use crate::fingerprint::Row;
use crate::output::{
    AttributeRecord, ConflictRecord, DerivedTopic, DuplicateRecord, LateRecord, Output, Retraction,
    StockRecord, attribute_key, stock_key,
};
use crate::position::Position;

impl Reconciler {
    /// Reports what a copy's shelf or attribute holds now, if that is not what was reported last.
    pub(super) fn settle(&mut self, effect: Effect) {
        match effect {
            Effect::Late => {}
            Effect::Posting { shelf: at, .. } | Effect::Stocktake { shelf: at } => {
                let restock_below = self.config.restock_below;
                let (sku, location, shelf) = self.catalogue.shelf_at(at);
                let (before, now) = (shelf.shown, shelf.units());
                if before == now {
                    return;
                }
                shelf.shown = now;
                shelf.shortage.recover(now, restock_below);
                let row = |units| Row::Stock { sku, location, units };
                if let Some(units) = before {
                    self.sum.remove(row(units));
                }
                let Some(units) = now else {
                    let key = stock_key(sku, location);
                    return self.retract(DerivedTopic::Stock, key);
                };
                self.sum.add(row(units));
                let (sku, location) = (sku.clone(), location.clone());
                self.outputs.push_back(Output::Stock(StockRecord { sku, location, units }));
            }
            Effect::Attribute { attribute: at } => {
                let (sku, name, attribute) = self.catalogue.attribute_at(at);
                let now = attribute.writes.winner().map(|write| &write.value);
                if attribute.shown.as_ref() == now {
                    return;
                }
                let now = now.cloned();
                if let Some(value) = &attribute.shown {
                    self.sum.remove(Row::Attribute { sku, name, value });
                }
                attribute.shown.clone_from(&now);
                let Some(value) = now else {
                    let key = attribute_key(sku, name);
                    return self.retract(DerivedTopic::Stock, key);
                };
                self.sum.add(Row::Attribute { sku, name, value: &value });
                let (sku, attribute) = (sku.clone(), name.clone());
                let record = AttributeRecord { sku, attribute, value };
                self.outputs.push_back(Output::Attribute(record));
            }
        }
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

    /// Reports a late event that counts as its delivery's copy.
    pub(super) fn report_late(&mut self, input: &Input<'_>, event: &InventoryEvent) {
        #[expect(clippy::expect_used, reason = "the value was parsed into an event before")]
        let value = serde_json::from_slice(input.value).expect("an event's value is JSON");
        self.sum.add(Row::Late { id: &event.id, kept: &position_of(input) });
        let (id, region) = (event.id.clone(), input.actor.region.clone());
        self.outputs.push_back(Output::Late(LateRecord { id, event: value, region }));
    }

    /// Reports a copy that came after the one that counts.
    pub(super) fn report_dropped(&mut self, event: &InventoryEvent, dropped: Position) {
        let Some(delivery) = self.deliveries.get(&event.id) else { return };
        let (id, kept) = (event.id.clone(), delivery.kept.position.clone());
        self.sum.add(Row::Duplicate { id: &id, kept: &kept, dropped: &dropped });
        self.outputs.push_back(Output::Duplicate(DuplicateRecord { id, kept, dropped }));
    }

    /// Reports the copy that counted until now as dropped, and again every copy dropped before,
    /// because their records name the copy kept.
    pub(super) fn report_replaced(&mut self, event: &InventoryEvent, replaced: &Position) {
        let id = &event.id;
        let Some(delivery) = self.deliveries.get(id) else { return };
        let kept = &delivery.kept.position;
        debug_assert!(kept < replaced, "{kept} replaced a smaller copy at {replaced}");
        for dropped in &delivery.dropped {
            if dropped != replaced {
                self.sum.remove(Row::Duplicate { id, kept: replaced, dropped });
            }
            self.sum.add(Row::Duplicate { id, kept, dropped });
            self.outputs.push_back(Output::Duplicate(DuplicateRecord {
                id: id.clone(),
                kept: kept.clone(),
                dropped: dropped.clone(),
            }));
        }
    }

    /// Takes the record of a key back.
    pub(super) fn retract(&mut self, topic: DerivedTopic, key: String) {
        self.outputs.push_back(Output::Retracted(Retraction { topic, key }));
    }
}

/// The row of a conflict.
pub(super) fn conflict_row(record: &ConflictRecord) -> Row<'_> {
    let (winner, loser) = (&record.winner.position, &record.loser.position);
    Row::Conflict { id: &record.id, winner, loser }
}
