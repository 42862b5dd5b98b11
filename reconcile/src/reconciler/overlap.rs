//! Postings that overlap with a stocktake: who is asked, and what the answer does to stock.

use super::Reconciler;
use crate::catalogue::ShelfIndex;
use crate::delivery::Effect;
use crate::fingerprint::Row;
use crate::ledger::Account;
use crate::name::ReviewId;
use crate::output::{DerivedTopic, Output, OverlapRecord, ReviewEntry, StocktakeRecord};
use crate::review::{Overlapping, Review, ReviewIndex};
use crate::shelf::{Overlap, Shelf};

impl Reconciler {
    /// What is, or was, to be decided: late events as they stand in `inventory.late`, and postings
    /// that overlap with a stocktake as in `inventory.overlaps`, in order of first mention.
    /// O(reviews).
    pub fn under_review(&self) -> impl Iterator<Item = ReviewEntry> {
        self.reviews.iter().filter_map(|(id, review)| self.entry_of(id, review))
    }

    /// The rows of `inventory.overlaps` from the review at an index on, each with its index;
    /// indices stay true as more is applied. O(reviews from there on).
    pub fn overlaps_from(&self, index: usize) -> impl Iterator<Item = (usize, OverlapRecord)> {
        let reviews = self.reviews.iter().enumerate().skip(index);
        reviews.filter_map(|(at, (id, review))| Some((at, self.overlap_record(id, review)?)))
    }

    /// One of them; `None` when nothing of that name is under review.
    #[must_use]
    pub fn reviewed(&self, id: &ReviewId) -> Option<ReviewEntry> {
        self.entry_of(id, self.reviews.get(id.as_str())?)
    }

    fn entry_of(&self, id: &ReviewId, review: &Review) -> Option<ReviewEntry> {
        let late = self.late_record(review).map(|record| ReviewEntry::Late(Box::new(record)));
        late.or_else(|| {
            let record = self.overlap_record(id, review)?;
            Some(ReviewEntry::Overlap(Box::new(record)))
        })
    }

    /// Asks about what overlaps with a shelf's stocktake now, and no longer about what does not.
    pub(crate) fn settle_overlaps(&mut self, at: ShelfIndex) {
        let shelf = self.catalogue.shelf_mut(at);
        let Some(overlaps) = shelf.overlaps_mut().filter(|overlaps| overlaps.has_changed()) else {
            return;
        };
        let (gone, fresh) = overlaps.take_changes();
        for index in gone {
            self.stop_asking(index);
        }
        for overlap in fresh {
            self.ask(at, overlap);
        }
    }

    fn stop_asking(&mut self, index: ReviewIndex) {
        let (id, review) = self.reviews.at(index);
        let Some(gone) = review.overlap.take() else { return };
        let key = id.to_string();
        self.sum.remove(Row::Overlap { id });
        if let Some(overlaps) = self.catalogue.shelf_mut(gone.shelf).overlaps_mut() {
            overlaps.set_aside(-gone.aside);
        }
        self.retract(DerivedTopic::Overlaps, key);
    }

    fn ask(&mut self, shelf: ShelfIndex, overlap: Overlap) {
        let Self { catalogue, reviews, actors, sum, .. } = self;
        let stocked = catalogue.shelf_mut(shelf);
        let Some(id) = stocktake_of(stocked)
            .map(|(id, _)| ReviewId::of_overlap(id, &actors.position(overlap.at)))
        else {
            return;
        };
        let index = reviews.index_of(&id);
        let (_, review) = reviews.at(index);
        let aside = review.aside(overlap.delta);
        debug_assert!(review.overlap.is_none(), "{id} overlaps already");
        review.overlap = Some(Overlapping { shelf, overlap, aside });
        sum.add(Row::Overlap { id: &id });
        if let Some(overlaps) = stocked.overlaps_mut() {
            overlaps.give(overlap, index);
            overlaps.set_aside(aside);
        }
        self.report_overlap(&id);
    }

    /// Lets the decisions about an overlap say how many of its units are added to the count.
    pub(super) fn settle_overlap(&mut self, index: ReviewIndex) {
        let (id, review) = self.reviews.at(index);
        let Some(Overlapping { shelf, overlap, aside }) = review.overlap else { return };
        let due = review.aside(overlap.delta);
        let id = id.clone();
        if due != aside {
            review.overlap = Some(Overlapping { shelf, overlap, aside: due });
            if let Some(overlaps) = self.catalogue.shelf_mut(shelf).overlaps_mut() {
                overlaps.set_aside(due - aside);
            }
            self.settle(Effect::Stocktake { shelf });
        }
        self.report_overlap(&id);
    }

    fn report_overlap(&mut self, id: &ReviewId) {
        let review = self.reviews.get(id.as_str());
        if let Some(record) = review.and_then(|review| self.overlap_record(id, review)) {
            self.outputs.push_back(Output::Overlap(Box::new(record)));
        }
    }

    fn overlap_record(&self, id: &ReviewId, review: &Review) -> Option<OverlapRecord> {
        let Overlapping { shelf, overlap: Overlap { at, delta, second }, aside } = review.overlap?;
        let (named, shelf) = self.catalogue.shelf_named(shelf)?;
        let Account::Location(location) = named.name else { return None };
        let (_, stocktake) = stocktake_of(shelf)?;
        Some(OverlapRecord {
            id: id.clone(),
            sku: named.sku.clone(),
            location,
            at: self.actors.position(at),
            time: second.start(),
            units: delta,
            added: delta - aside,
            stocktake,
            revision: review.revision(),
            review: review.record(),
        })
    }
}

/// The stocktake that holds.
fn stocktake_of(shelf: &Shelf) -> Option<(&crate::name::DeliveryId, StocktakeRecord)> {
    let write = shelf.stocktakes()?.winner()?;
    let (id, count) = (write.id.clone(), write.value.units);
    Some((&write.id, StocktakeRecord { id, count, time: write.value.second.start() }))
}
