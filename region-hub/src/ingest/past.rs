//! What a hub's journal holds of inventory, and how much of that counts.
//!
//! What is born here is stamped with what it happened after, and that is read as "whoever wrote it
//! knew of these". So records that the journal holds but that do not count, because their life's
//! log ends before them as far as is known here, must not be in it: once they are handed in they
//! count as written beside what was born meanwhile, not as seen by it. A stocktake that claimed
//! them would take their units out of stock for good.
//!
//! The stamp is made when a batch is composed, long before the batches before it are durable and
//! reconciled. So records of members are read here a second time, as they are composed: in the
//! order of the journal, with the same rule as [`crate::reconcile::Inventory`], which a test
//! compares.

use std::collections::BTreeMap;

use headland_event::{Actor, Batch, Extent, Offset, Taken};
use headland_reconcile::{MemberRecord, Membership};

/// What there is of logs of inventory, in the order of the journal.
#[derive(Debug, Clone, Default)]
pub struct CausalPast {
    /// All that the journal holds.
    heads: Extent,
    /// As much of it as counts. What is given up for want of room is said where it is reconciled.
    counted: Extent,
    members: Membership,
    /// Batches that do not count, by the log they are of.
    held: BTreeMap<Actor, HeldParts>,
}

/// Where batches of one log begin and end.
pub(crate) type HeldParts = BTreeMap<Offset, Offset>;

impl CausalPast {
    /// As it is with a snapshot: what counted, who took part, and the ends of batches held back.
    pub(crate) fn resume(
        applied: Extent,
        members: Membership,
        held: BTreeMap<Actor, HeldParts>,
    ) -> Self {
        let (counted, mut heads) = (applied.clone(), applied);
        for (actor, parts) in &held {
            for (from, until) in parts {
                let _taken = heads.take(actor, *from, *until);
            }
        }
        Self { heads, counted, members, held }
    }

    /// All that the journal holds.
    pub(super) const fn heads(&self) -> &Extent {
        &self.heads
    }

    /// As much of it as counts: what is born next happens after this.
    pub(super) const fn counted(&self) -> &Extent {
        &self.counted
    }

    /// Who takes part.
    pub(super) const fn members(&self) -> &Membership {
        &self.members
    }

    /// Takes note of a batch of inventory. O(log actors), and O(gaps of its log) below its end.
    pub(super) fn on_inventory(&mut self, actor: &Actor, from: Offset, end: Offset) {
        // What is given up is said where it is reconciled.
        if self.heads.take(actor, from, end) == Taken::Known {
            // A copy of what came before, over another way.
            return;
        }
        if self.members.accepts(actor, end) {
            let _taken = self.counted.take(actor, from, end);
        } else {
            self.held.entry(actor.clone()).or_default().insert(from, end);
        }
        debug_assert!(
            self.heads.ends().covers(self.counted.ends()),
            "what counts is in the journal"
        );
    }

    /// Takes note of records of members: what was held may count from now on. What cannot be read
    /// is said where it is reconciled.
    pub(super) fn on_members(&mut self, batch: &Batch) {
        // A hole has a record without a value, which is none of members.
        for record in batch.records().unwrap_or_default() {
            let value = record.value.as_deref().unwrap_or_default();
            if let Ok(MemberRecord::Change(signed)) = MemberRecord::parse(value) {
                self.members.on_change(&signed.change);
            }
        }
        let Self { counted, members, held, .. } = self;
        held.retain(|actor, parts| {
            parts.retain(|from, end| {
                let counts = members.accepts(actor, *end);
                if counts {
                    let _taken = counted.take(actor, *from, *end);
                }
                !counts
            });
            !parts.is_empty()
        });
    }
}
