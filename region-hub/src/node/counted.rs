//! What this hub counted and its log lost since.
//!
//! Whoever has it hands it on. If none has, hubs that had not counted it go on without, and this
//! one has it in its stock for good. Its state cannot give it back: of a delivery it keeps a digest
//! of the id, nothing of its device, and not what its writer had seen. Nor can it be taken out by
//! reading the journal anew: that would take out whatever else damage took since the snapshot, and
//! some other hub may have counted it as well. So it is named, and a stocktake of the shelves makes
//! their stock equal again: what lies below its cut was on the shelf, at whoever has it and at
//! whoever lacks it.

use headland_event::{Extent, Gap, Gaps};
use headland_reconcile::HeldGap;

use super::Node;
use crate::members::LackView;

impl Node {
    /// What this hub counted and its log lost since, with the way out.
    pub(super) fn counted_views(&self) -> Vec<LackView> {
        let counted = self.counted_and_lost();
        let held = self.inventory.members().gaps_held(&self.life(), &counted);
        let views = held.into_iter().map(|held| {
            let way_out = self.way_out_of_counted(&held);
            let HeldGap { actor, gap, .. } = held;
            LackView { log: actor.to_string(), from: gap.from, until: gap.until, way_out }
        });
        views.collect()
    }

    fn way_out_of_counted(&self, held: &HeldGap<'_>) -> String {
        let is_held = held.holders.iter().any(|life| !self.is_over(life));
        if is_held {
            return "they count here, and the log here lost them: a hub that has them hands them \
                    on once it is linked"
                .to_owned();
        }
        "they count here, the log here lost them, and no hub that goes on has said that it can \
         send them: hubs that have not counted them count without them; if a backup of a hub has \
         them, one that is started from it hands them on; when none has, a stocktake of the \
         shelves that differ makes their stock equal again"
            .to_owned()
    }

    /// What this hub has counted of logs and lost from its own, as what lies below their ends.
    fn counted_and_lost(&self) -> Extent {
        let extent = self.inventory.reconciler().extent();
        let mut found = Gaps::new();
        let lost = self.speaking.iter().flat_map(|speaking| speaking.lost.gaps().iter());
        for (actor, range) in lost {
            let until = range.until.min(extent.ends().end(actor));
            for part in extent.gaps().rest(actor, Gap { until, ..range }) {
                let _beyond = found.add(actor, part);
            }
        }
        Extent::new(extent.ends().clone(), found)
    }
}
