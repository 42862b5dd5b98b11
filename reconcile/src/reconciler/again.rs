//! Writing again what derived topics show, where records were counted that no log has any more.
//!
//! Whoever goes on without such records begins anew and reads the logs that there are. That derives
//! nothing of rows that only those records made, so they are named before, and said again after.

use std::collections::BTreeSet;

use headland_event::{Actor, Gaps};

use super::Reconciler;
use super::report::values_of;
use crate::catalogue::{AttributeView, ShelfIndex};
use crate::delivery::Effect;
use crate::ledger::Account;
use crate::name::{AttributeName, ReviewId, Sku};
use crate::output::{AttributeRecord, DerivedTopic, Output, StockRecord, attribute_key, stock_key};

/// Rows of derived topics that records of some part of a log had a share in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shown {
    shelves: BTreeSet<(Sku, Account)>,
    attributes: BTreeSet<(Sku, AttributeName)>,
    late: BTreeSet<ReviewId>,
}

impl Shown {
    /// Takes in what else is to be said again.
    pub fn merge(&mut self, Self { shelves, attributes, late }: Self) {
        self.shelves.extend(shelves);
        self.attributes.extend(attributes);
        self.late.extend(late);
    }
}

impl Reconciler {
    /// Rows that records in some ranges of logs had a share in: stock, attributes and late events.
    /// O(deliveries × ranges of a log).
    #[must_use]
    pub fn shown_of(&self, ranges: &Gaps) -> Shown {
        let mut shown = Shown::default();
        let is_in = |actor: &Actor, offset| {
            ranges.of(actor).iter().any(|gap| (gap.from..gap.until).contains(&offset))
        };
        for (_, copy) in self.deliveries.iter_kept() {
            if !is_in(self.actors.get(copy.at.actor), copy.at.offset) {
                continue;
            }
            match copy.effect {
                Effect::Movement(shift) => {
                    let shelves = shift.parts().filter_map(|(at, _)| self.shelf_name(at));
                    shown.shelves.extend(shelves);
                }
                Effect::Stocktake { shelf } => shown.shelves.extend(self.shelf_name(shelf)),
                Effect::Attribute { attribute } => {
                    let named = self.catalogue.attribute_named(attribute);
                    shown.attributes.extend(named.map(|of| (of.sku.clone(), of.name.clone())));
                }
                Effect::Decision { review } => {
                    let Some((late, review)) = self.reviews.named(review) else { continue };
                    shown.late.insert(late.clone());
                    let applied = review.applied.into_iter();
                    let shelves = applied.flat_map(|applied| applied.shift.parts());
                    shown.shelves.extend(shelves.filter_map(|(at, _)| self.shelf_name(at)));
                }
                Effect::Late | Effect::Void => {}
            }
        }
        for (id, review) in self.reviews.iter() {
            let Some(late) = &review.late else { continue };
            if is_in(self.actors.get(late.at.actor), late.at.offset) {
                shown.late.insert(id.clone());
                let shelves = late.shift.parts().filter_map(|(at, _)| self.shelf_name(at));
                shown.shelves.extend(shelves);
            }
        }
        shown
    }

    fn shelf_name(&self, at: ShelfIndex) -> Option<(Sku, Account)> {
        let (named, _) = self.catalogue.shelf_named(at)?;
        Some((named.sku.clone(), named.name))
    }

    /// Says what holds now of some rows, whether it was said before or not. O(rows + shelves +
    /// attributes).
    pub fn show_again(&mut self, shown: &Shown) {
        let mut said = Vec::new();
        let (mut shelves, mut attributes) = (shown.shelves.clone(), shown.attributes.clone());
        for (named, shelf) in self.catalogue.shelves() {
            let (sku, account) = (named.sku.clone(), named.name);
            if shelves.remove(&(sku.clone(), account.clone())) {
                said.push((sku, account, shelf.shown));
            }
        }
        said.extend(shelves.into_iter().map(|(sku, account)| (sku, account, None)));
        for (sku, account, units) in said {
            let key = stock_key(&sku, &account);
            let is_location = matches!(account, Account::Location(_));
            let record = units.map(|units| StockRecord { sku, account, units });
            let oversold = record.clone().filter(|record| is_location && record.units < 0);
            match oversold {
                Some(record) => self.outputs.push_back(Output::Oversold(record)),
                None => self.retract(DerivedTopic::Oversold, key.clone()),
            }
            match record {
                Some(record) => self.outputs.push_back(Output::Stock(record)),
                None => self.retract(DerivedTopic::Stock, key),
            }
        }
        let mut said = Vec::new();
        for (named, attribute) in self.catalogue.attributes() {
            let (sku, name) = (named.sku.clone(), named.name.clone());
            if attributes.remove(&(sku.clone(), name.clone())) {
                let is_multi_value = self.config.multi_value.contains(&name);
                let view = AttributeView::of(&values_of(&attribute.writes, is_multi_value));
                said.push((sku, name, view));
            }
        }
        said.extend(attributes.into_iter().map(|(sku, name)| (sku, name, None)));
        for (sku, attribute, value) in said {
            match value {
                Some(value) => {
                    let record = AttributeRecord { sku, attribute, value };
                    self.outputs.push_back(Output::Attribute(record));
                }
                None => self.retract(DerivedTopic::Stock, attribute_key(&sku, &attribute)),
            }
        }
        for late in &shown.late {
            let has_come = self.reviews.get(late.as_str()).is_some_and(|of| of.late.is_some());
            if has_come {
                self.report_review(late);
            } else {
                self.retract(DerivedTopic::Late, late.to_string());
            }
        }
    }
}
