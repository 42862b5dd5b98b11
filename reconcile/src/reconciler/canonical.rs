//! Every row of the canonical state, recomputed from what the rows are derived from.

use super::report::conflict_row;
use super::{Reconciler, conflicts_of};
use crate::delivery::Effect;
use crate::fingerprint::{Row, RowSum};
use crate::output::{ConflictSubject, ConflictValue};
use crate::register::Register;

impl Reconciler {
    /// The rows in no order. O(state), and per key quadratic in its writes.
    pub(crate) fn rows(&self) -> Vec<Vec<u8>> {
        let mut rows = Vec::new();
        for (sku, product) in self.catalogue.iter() {
            for (location, shelf) in &product.shelves {
                rows.extend(
                    shelf.units().map(|units| Row::Stock { sku, location, units }.to_bytes()),
                );
                conflict_rows(&mut rows, shelf.stocktakes(), || ConflictSubject::Stocktake {
                    sku: sku.clone(),
                    location: location.clone(),
                });
            }
            for (name, attribute) in &product.attributes {
                let value = attribute.writes.winner().map(|write| &write.value);
                rows.extend(value.map(|value| Row::Attribute { sku, name, value }.to_bytes()));
                conflict_rows(&mut rows, &attribute.writes, || ConflictSubject::Attribute {
                    sku: sku.clone(),
                    attribute: name.clone(),
                });
            }
        }
        for (id, delivery) in self.deliveries.iter() {
            let kept = &delivery.kept.position;
            if delivery.kept.effect == Effect::Late {
                rows.push(Row::Late { id, kept }.to_bytes());
            }
            let dropped = delivery.dropped.iter();
            rows.extend(dropped.map(|dropped| Row::Duplicate { id, kept, dropped }.to_bytes()));
        }
        rows
    }

    /// Checks what is kept along the way against what it is derived from.
    ///
    /// # Errors
    /// The first thing found wrong, in words.
    pub(crate) fn audit(&self) -> Result<(), &'static str> {
        for (_, delivery) in self.deliveries.iter() {
            let leads_somewhere = match delivery.kept.effect {
                Effect::Late => true,
                Effect::Posting { shelf, .. } | Effect::Stocktake { shelf } => {
                    self.catalogue.has_shelf(shelf)
                }
                Effect::Attribute { attribute } => self.catalogue.has_attribute(attribute),
            };
            if !leads_somewhere {
                return Err("a delivery names a shelf or an attribute that is not there");
            }
            if delivery.dropped.iter().any(|dropped| *dropped <= delivery.kept.position) {
                return Err("a dropped copy is not larger than the one kept");
            }
        }
        for (_, product) in self.catalogue.iter() {
            if !product.shelves.values().all(|shelf| shelf.is_consistent()) {
                return Err("a shelf's sums differ from its postings");
            }
            if !product.attributes.values().all(|attribute| attribute.is_consistent()) {
                return Err("an attribute shows a value that does not hold");
            }
        }
        if RowSum::over(&self.rows()) != self.sum {
            return Err("the fingerprint is not that of the state");
        }
        Ok(())
    }
}

fn conflict_rows<V: Clone + Into<ConflictValue>>(
    rows: &mut Vec<Vec<u8>>,
    register: &Register<V>,
    subject: impl Fn() -> ConflictSubject,
) {
    for write in register.writes() {
        let won = conflicts_of(register, write, &subject)
            .into_iter()
            .filter(|record| record.winner.position == write.position);
        rows.extend(won.map(|record| conflict_row(&record).to_bytes()));
    }
}
