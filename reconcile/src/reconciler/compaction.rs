//! Forgetting what no cut can ask for any more, and counts that nobody can judge because of that.
//!
//! A stocktake asks every shelf's cells what they were at the cut that its counter's hub had seen.
//! Once all lives that take part have reported a cut, each stocktake that they are still to write
//! has seen it, and what only an older cut could ask for is forgotten ([`Reconciler::compact`]).
//! Two kinds of hubs still bring older cuts: a life that begins from an old backup and meets
//! nobody, and one that was excluded and whose records are handed in afterwards. A hub that has
//! forgotten cannot judge such a count, and one that has not could: they would differ. So it does
//! not count anywhere: whoever cannot judge it says so, in a record that is there for good
//! ([`crate::MemberRecord::Void`]), and everybody who reads that takes the count back. Which counts
//! do not count is then a set that only grows, and hubs that hold the same records agree.

use std::collections::BTreeMap;

use headland_event::VectorClock;
use serde::{Deserialize, Serialize};

use super::{Input, Reconciler, position_of};
use crate::actor::Spot;
use crate::catalogue::ShelfIndex;
use crate::delivery::{DeliveryCopy, Effect};
use crate::event::RejectReason;
use crate::name::{DeliveryId, Location, Sku};
use crate::output::{Output, RejectedRecord};
use crate::position::Position;

/// A stocktake that does not count, because a hub cannot judge it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoidStocktake {
    /// Where it stands.
    #[serde(flatten)]
    pub position: Position,
    /// Its delivery.
    pub id: DeliveryId,
}

/// What was forgotten, and which counts do not count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Compaction {
    /// What every cut that may be asked for includes.
    floor: VectorClock,
    void: BTreeMap<Position, Void>,
    /// The shelves that are yet to forget. A snapshot has none: what is not forgotten harms nobody.
    #[serde(skip)]
    pass: Option<Pass>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Void {
    id: DeliveryId,
    /// Whether a record says so; else this hub has to.
    is_said: bool,
}

/// Shelves forget one after the other, so that none of a million waits for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pass {
    stable: VectorClock,
    /// The number of the shelf that comes next.
    next: usize,
}

impl Compaction {
    /// Whether a copy of a stocktake does not count.
    pub(super) fn is_void(&self, position: &Position) -> bool {
        self.void.contains_key(position)
    }

    /// Whether a record was written by who had seen all that may be forgotten here. O(actors).
    fn covers(&self, input: &Input<'_>) -> bool {
        self.floor.iter().all(|(actor, end)| {
            let seen = input.context.end(actor);
            // A log's own records were seen by whoever wrote behind them.
            let seen = if actor == input.actor { seen.max(input.offset) } else { seen };
            seen >= end
        })
    }

    /// Says whether a stocktake that came does not count; one that cannot be judged is noted.
    pub(super) fn voids(&mut self, input: &Input<'_>, id: &DeliveryId) -> bool {
        let position = position_of(input);
        if self.is_void(&position) {
            return true;
        }
        let is_void = !self.covers(input);
        if is_void {
            self.void.insert(position, Void { id: id.clone(), is_said: false });
        }
        is_void
    }
}

impl Reconciler {
    /// Begins to forget what only a cut before `stable` could ask for, where `stable` is what every
    /// hub whose events still count has applied; no derived record changes. From now on a stocktake
    /// whose counter's hub had not seen all of it does not count, and [`Self::unsaid`] names it.
    /// O(actors); the work is [`Self::poll_compaction`]'s.
    pub fn begin_compaction(&mut self, stable: &VectorClock) {
        debug_assert!(self.applied().covers(stable), "stable beyond what was applied");
        let Compaction { floor, pass, .. } = &mut self.compaction;
        if floor.covers(stable) {
            return;
        }
        floor.merge(stable);
        // One that goes on forgets less than it might; the next one forgets the rest.
        pass.get_or_insert_with(|| Pass { stable: floor.clone(), next: 0 });
    }

    /// Lets up to so many shelves forget; says whether more are left. O(shelves × their marks).
    pub fn poll_compaction(&mut self, shelves: usize) -> bool {
        let Self { actors, catalogue, compaction, .. } = self;
        let Some(pass) = &mut compaction.pass else { return false };
        for _ in 0..shelves {
            let Some((_, stored)) = catalogue.shelves.get_index_mut(pass.next) else {
                compaction.pass = None;
                return false;
            };
            stored.held.compact(|actor| pass.stable.end(actors.get(actor)), actors);
            pass.next += 1;
        }
        true
    }

    /// Forgets in one go all that [`Self::begin_compaction`] begins to forget. O(state).
    pub fn compact(&mut self, stable: &VectorClock) {
        self.begin_compaction(stable);
        while self.poll_compaction(usize::MAX) {}
    }

    /// What every cut that may be asked for includes. O(1).
    #[must_use]
    pub const fn compacted(&self) -> &VectorClock {
        &self.compaction.floor
    }

    /// Stocktakes that cannot be judged here and of which no record says that they do not count:
    /// this hub has to write one. O(void stocktakes).
    pub fn unsaid(&self) -> impl Iterator<Item = VoidStocktake> {
        let unsaid = self.compaction.void.iter().filter(|(_, void)| !void.is_said);
        unsaid.map(|(position, void)| VoidStocktake {
            position: position.clone(),
            id: void.id.clone(),
        })
    }

    /// Takes note that a stocktake does not count, whether it has come yet or not; again changes
    /// nothing. Costs what taking it back does.
    pub fn on_void(&mut self, void: &VoidStocktake) {
        let VoidStocktake { position, id } = void;
        let said = Void { id: id.clone(), is_said: true };
        if self.compaction.void.insert(position.clone(), said).is_some() {
            return;
        }
        let Some(copy) = self.deliveries.kept(id).copied() else { return };
        let Effect::Stocktake { shelf } = copy.effect else { return };
        if self.actors.position(copy.at) != *position {
            return;
        }
        self.reject_stocktake(id, copy.at, shelf);
        let gone = self.take_back(id, copy);
        self.report_conflicts(&gone, Vec::new());
        self.deliveries.change(id, Effect::Void);
        self.settle(copy.effect);
    }

    /// Reports a stocktake that counted until now.
    fn reject_stocktake(&mut self, id: &DeliveryId, at: Spot, shelf: ShelfIndex) {
        let position = self.actors.position(at);
        let Some((named, shelf)) = self.catalogue.shelf_named(shelf) else { return };
        let mut counts = shelf.stocktakes().into_iter().flat_map(|of| of.writes());
        let Some(count) = counts.find(|of| of.position == position) else { return };
        let record = void_record((id, named.sku, named.name.name(), count.value.units), position);
        self.outputs.push_back(record);
    }

    /// Reports a stocktake that never counted here.
    pub(super) fn report_void(
        &mut self,
        (id, sku, location, units): (&DeliveryId, &Sku, &Location, i64),
        copy: DeliveryCopy,
    ) {
        let position = self.actors.position(copy.at);
        self.outputs.push_back(void_record((id, sku, location.as_str(), units), position));
    }
}

/// The same record whether the count came before what says that it does not count, or behind it.
fn void_record(
    (id, sku, location, units): (&DeliveryId, &Sku, &str, i64),
    position: Position,
) -> Output {
    let event = serde_json::json!({
        "id": id, "kind": "stocktake", "sku": sku, "location": location, "count": units,
    });
    let record = RejectedRecord::new(RejectReason::Unseen, event.to_string().as_bytes(), position);
    Output::Rejected(record)
}
