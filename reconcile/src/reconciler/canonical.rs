//! Every row of the canonical state, recomputed from what the rows are derived from.

use super::Reconciler;
use super::conflict::{self, Contested, conflicts_of};
use super::report::{conflict_row, values_of};
use crate::delivery::Effect;
use crate::fingerprint::{Row, RowSum};
use crate::output::ConflictSubject;
use crate::register::Register;
use crate::review::Review;

impl Reconciler {
    /// The rows in no order. O(state), and per key quadratic in its writes.
    pub(crate) fn rows(&self) -> Vec<Vec<u8>> {
        let mut rows = Vec::new();
        for (named, shelf) in self.catalogue.shelves() {
            if let Some(units) = shelf.units() {
                let row = Row::Stock { sku: named.sku, account: &named.name, units };
                rows.push(row.to_bytes());
            }
            if let (Some(stocktakes), Some(subject)) =
                (shelf.stocktakes(), conflict::of_shelf(&named))
            {
                conflict_rows(&mut rows, stocktakes, &subject);
            }
        }
        for (named, attribute) in self.catalogue.attributes() {
            let is_multi_value = self.config.multi_value.contains(named.name);
            for value in values_of(&attribute.writes, is_multi_value) {
                let row = Row::Attribute { sku: named.sku, name: named.name, value: &value };
                rows.push(row.to_bytes());
            }
            conflict_rows(&mut rows, &attribute.writes, &conflict::of_attribute(&named));
        }
        for (id, review) in self.reviews.iter() {
            if let Some(late) = &review.late {
                rows.push(Row::Late { id, kept: &self.actors.position(late.at) }.to_bytes());
            }
            if review.overlap.is_some() {
                rows.push(Row::Overlap { id }.to_bytes());
            }
            for write in review.decisions.writes() {
                rows.push(Row::Decision { late: id, decision: &write.position }.to_bytes());
            }
            conflict_rows(&mut rows, &review.decisions, &conflict::of_review(id));
        }
        for (id, dropped) in self.deliveries.iter_dropped() {
            let Some(kept) = self.deliveries.kept(id) else { continue };
            let kept = self.actors.position(kept.at);
            for dropped in dropped {
                let dropped = self.actors.position(*dropped);
                rows.push(Row::Duplicate { id, kept: &kept, dropped: &dropped }.to_bytes());
            }
        }
        rows
    }

    /// Checks what is kept along the way against what it is derived from.
    ///
    /// # Errors
    /// The first thing found wrong, in words.
    pub(crate) fn audit(&mut self) -> Result<(), &'static str> {
        let Self { actors, catalogue, deliveries, reviews, demand, compaction, .. } = self;
        for (_, copy) in deliveries.iter_kept() {
            let leads_somewhere = match copy.effect {
                Effect::Late => true,
                Effect::Void => {
                    actors.has(copy.at.actor) && compaction.is_void(&actors.position(copy.at))
                }
                Effect::Movement(shift) => {
                    shift.parts().all(|(shelf, _)| catalogue.has_shelf(shelf))
                }
                Effect::Stocktake { shelf } => catalogue.has_shelf(shelf),
                Effect::Attribute { attribute } => catalogue.has_attribute(attribute),
                Effect::Decision { review } => reviews.has(review),
            };
            if !leads_somewhere || !actors.has(copy.at.actor) {
                return Err("a delivery names a log, shelf, attribute or review that is not there");
            }
        }
        for (id, dropped) in deliveries.iter_dropped() {
            let Some(kept) = deliveries.kept(id) else {
                return Err("copies were dropped of a delivery that is not there");
            };
            if dropped.iter().any(|at| !actors.has(at.actor)) {
                return Err("a dropped copy names a log that is not there");
            }
            if dropped.iter().any(|dropped| actors.compare(*dropped, kept.at).is_le()) {
                return Err("a dropped copy is not larger than the one kept");
            }
        }
        if !demand.keys().all(|shelf| catalogue.has_shelf(*shelf)) {
            return Err("demand is of a shelf that is not there");
        }
        if !catalogue.shelves().all(|(_, shelf)| shelf.is_consistent(actors)) {
            return Err("a shelf's sums differ from its postings");
        }
        let due = reviews.iter().all(|(_, review)| review.due(actors) == review.applied);
        if !due {
            return Err("a late event does to stock what nobody decided");
        }
        let is_aside = |review: &Review| {
            review.overlap.is_none_or(|of| review.aside(of.overlap.delta) == of.aside)
        };
        if !reviews.iter().all(|(_, review)| is_aside(review)) {
            return Err("an overlap is added to a count as nobody decided");
        }
        self.audit_rows()
    }

    fn audit_rows(&self) -> Result<(), &'static str> {
        for (named, attribute) in self.catalogue.attributes() {
            let is_multi_value = self.config.multi_value.contains(named.name);
            if attribute.shown != values_of(&attribute.writes, is_multi_value) {
                return Err("an attribute shows a value that does not hold");
            }
        }
        if RowSum::over(&self.rows()) != self.sum {
            return Err("the fingerprint is not that of the state");
        }
        Ok(())
    }
}

fn conflict_rows<V: Contested>(
    rows: &mut Vec<Vec<u8>>,
    register: &Register<V>,
    subject: &ConflictSubject,
) {
    for write in register.writes() {
        let won = conflicts_of(register, write, subject)
            .into_iter()
            .filter(|record| record.winner.position == write.position);
        rows.extend(won.map(|record| conflict_row(&record).to_bytes()));
    }
}
