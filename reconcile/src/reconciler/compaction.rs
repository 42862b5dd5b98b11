//! Forgetting what no cut can ask for any more, and counts that nobody can judge because of that.
//!
//! A stocktake asks every shelf's cells what they were at the cut that its counter's hub had seen.
//! Once all lives that take part have reported a cut, each stocktake that they are still to write
//! has seen it, and what only an older cut could ask for is forgotten ([`Reconciler::compact`]).
//! Some still bring older cuts: a life that begins from an old backup, one that was excluded and
//! whose records are handed in afterwards, a new region that has not caught up. A hub that has
//! forgotten what such a count asks for cannot judge it, and one that has not could: they would
//! differ. So it does not count anywhere: whoever cannot judge it says so, in a record that is
//! there for good ([`crate::MemberRecord::Void`]), and everybody who reads that takes the count
//! back. Which counts do not count is then a set that only grows, and hubs that hold the same
//! records agree. Only logs that wrote to the same shelf are asked for: whoever counts a shelf that
//! no other log knows is always judged. What a hub has said that it misses is not stable and not
//! forgotten, whatever stands behind it is. And what is missing here as well cannot be forgotten.

use std::collections::BTreeMap;

use headland_event::{Actor, Extent, Gap, Gaps, VectorClock};
use serde::{Deserialize, Serialize};

use super::{Input, Locality, Reconciler, position_of};
use crate::actor::Spot;
use crate::catalogue::ShelfIndex;
use crate::cell::Seen;
use crate::delivery::{DeliveryCopy, Effect};
use crate::event::{EventBody, InventoryEvent, RejectReason};
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
    /// Ends of what every cut that may be asked for includes.
    floor: VectorClock,
    /// What lies below these ends and a cut may lack; snapshots keep it apart.
    #[serde(skip)]
    kept: Gaps,
    void: BTreeMap<Position, Void>,
    /// The shelves that are yet to forget. A snapshot has none: what is not forgotten harms nobody.
    #[serde(skip)]
    pass: Option<Pass>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Void {
    id: DeliveryId,
    word: Word,
}

/// Who says that a stocktake does not count. Each hub that cannot judge it says so by itself: one
/// record could be lost by damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Word {
    /// Others; this hub could judge it, or it has not come yet.
    Heard,
    /// This hub has to.
    Due,
    /// This hub did.
    Said,
}

/// Shelves forget one after the other, so that none of a million waits for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pass {
    stable: Extent,
    /// The number of the shelf that comes next.
    next: usize,
}

impl Compaction {
    /// What every cut that may be asked for includes.
    fn floor(&self) -> Extent {
        Extent::new(self.floor.clone(), self.kept.clone())
    }

    /// What lies below the ends of that and a cut may lack.
    pub(crate) const fn kept(&self) -> &Gaps {
        &self.kept
    }

    /// Takes what [`Self::kept`] gave.
    pub(crate) fn fill_kept(&mut self, kept: Gaps) {
        self.kept = kept;
    }

    /// Whether a copy of a stocktake does not count.
    pub(super) fn is_void(&self, position: &Position) -> bool {
        self.void.contains_key(position)
    }

    /// Takes note of a stocktake that cannot be judged.
    fn note(&mut self, position: Position, id: &DeliveryId) {
        let void = self.void.entry(position);
        let void = void.or_insert_with(|| Void { id: id.clone(), word: Word::Due });
        if void.word == Word::Heard {
            void.word = Word::Due;
        }
    }
}

impl Reconciler {
    /// Begins to forget what only a cut before `stable` could ask for, where `stable` is what every
    /// hub whose events still count has applied, as far as it is applied here; no derived record
    /// changes. From now on a stocktake does not count whose counter's hub had not seen all of that
    /// of the logs that wrote to its shelf, but for what is missing here too; [`Self::unsaid`]
    /// names it. O(actors); the work is [`Self::poll_compaction`]'s.
    pub fn begin_compaction(&mut self, stable: &Extent) {
        let stable = stable.meet(&self.applied().into());
        let former = self.compaction.floor();
        if former.covers(&stable) {
            return;
        }
        let now = former.join(&stable);
        let Compaction { floor, kept, pass, .. } = &mut self.compaction;
        (*floor, *kept) = (now.ends().clone(), now.gaps().clone());
        // One that goes on forgets less than it might; the next one forgets the rest.
        pass.get_or_insert(Pass { stable, next: 0 });
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
            stored.held.compact(|actor| Seen::of(&pass.stable, actors.get(actor)), actors);
            pass.next += 1;
        }
        true
    }

    /// Forgets in one go all that [`Self::begin_compaction`] begins to forget. O(state).
    pub fn compact(&mut self, stable: &Extent) {
        self.begin_compaction(stable);
        while self.poll_compaction(usize::MAX) {}
    }

    /// What every cut that may be asked for includes. O(actors + gaps).
    #[must_use]
    pub fn compacted(&self) -> Extent {
        self.compaction.floor()
    }

    /// Whether a copy of a stocktake does not count; one that cannot be judged is noted.
    /// O(actors of the shelf).
    pub(super) fn voids(&mut self, input: &Input<'_>, event: &InventoryEvent) -> bool {
        let EventBody::Stocktake { location, .. } = &event.body else { return false };
        let position = position_of(input);
        let Compaction { floor, kept, .. } = &self.compaction;
        let is_seen = |actor: &Actor| {
            let (seen, floor) = (input.context.ends().end(actor), floor.end(actor));
            // A log's own records were seen by whoever wrote behind them.
            if actor == input.actor {
                return seen.max(input.offset) >= floor;
            }
            // Nothing was forgotten of what is kept, nor of what is missing here as well.
            let unseen = input.context.gaps().of(actor).iter();
            let below = unseen.map(|gap| Gap { until: gap.until.min(floor), ..*gap });
            let mut gone = below.flat_map(|gap| kept.rest(actor, gap));
            let missing = self.actors.gaps();
            seen >= floor && gone.all(|gap| missing.spans(actor, gap.from, gap.until))
        };
        let shelf = self.catalogue.find(&event.sku, location).filter(|_| !floor.is_empty());
        if shelf.is_some_and(|shelf| !shelf.writers().all(|of| is_seen(self.actors.get(of)))) {
            self.compaction.note(position, &event.id);
            return true;
        }
        self.compaction.is_void(&position)
    }

    /// Stocktakes that cannot be judged here, of which this hub has yet to say that they do not
    /// count. O(void stocktakes).
    pub fn unsaid(&self) -> impl Iterator<Item = VoidStocktake> {
        let unsaid = self.compaction.void.iter().filter(|(_, void)| void.word == Word::Due);
        unsaid.map(|(position, void)| VoidStocktake {
            position: position.clone(),
            id: void.id.clone(),
        })
    }

    /// What this hub said may be lost: it says all of it again. O(void stocktakes).
    pub fn say_again(&mut self) {
        for void in self.compaction.void.values_mut().filter(|void| void.word == Word::Said) {
            void.word = Word::Due;
        }
    }

    /// Takes note that a stocktake does not count, whether it has come yet or not, as this hub says
    /// or another one; again changes nothing. Costs what taking it back does.
    pub fn on_void(&mut self, void: &VoidStocktake, by: Locality) {
        let VoidStocktake { position, id } = void;
        let word = match by {
            Locality::Local => Word::Said,
            Locality::Remote => Word::Heard,
        };
        match self.compaction.void.get_mut(position) {
            Some(known) => {
                if word == Word::Said {
                    known.word = word;
                }
                return;
            }
            None => self.compaction.void.insert(position.clone(), Void { id: id.clone(), word }),
        };
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
