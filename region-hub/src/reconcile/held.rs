//! Inventory of lives whose logs end before it, as far as is known here.
//!
//! It is held back in the order of its log and not thrown away: once somebody says that the log
//! ends later, it counts after all. What is held is in the journal too, and no snapshot is made
//! while anything is, so that a restart finds it again.

use std::collections::{BTreeMap, VecDeque};

use headland_event::{Actor, Offset};
use headland_reconcile::{Acceptance, Membership};

use super::Stamped;

/// Batches that do not count yet, by the log they are of.
#[derive(Debug, Default)]
pub(super) struct Held {
    by_actor: BTreeMap<Actor, VecDeque<Stamped>>,
    bytes: u64,
}

impl Held {
    /// Hands back a batch that counts, and keeps any other.
    pub(super) fn pass(&mut self, members: &Membership, stamped: Stamped) -> Option<Stamped> {
        let actor = &stamped.stamp.actor;
        let waits = self.by_actor.contains_key(actor) || !counts(members, &stamped);
        if !waits {
            return Some(stamped);
        }
        self.bytes = self.bytes.saturating_add(stamped.bytes());
        self.by_actor.entry(actor.clone()).or_default().push_back(stamped);
        None
    }

    /// Takes out what counts by now, in the order of each log.
    pub(super) fn release(&mut self, members: &Membership) -> Vec<Stamped> {
        let mut released = Vec::new();
        for waiting in self.by_actor.values_mut() {
            while let Some(stamped) = waiting.pop_front_if(|first| counts(members, first)) {
                self.bytes = self.bytes.saturating_sub(stamped.bytes());
                released.push(stamped);
            }
        }
        self.by_actor.retain(|_, waiting| !waiting.is_empty());
        released
    }

    /// Bytes of the batches that are held.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.by_actor.is_empty()
    }

    /// What is held.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Stamped> {
        self.by_actor.values().flatten()
    }
}

/// Ends of logs lie between batches: a batch counts whole or not at all.
fn counts(members: &Membership, stamped: &Stamped) -> bool {
    let last = Offset::new(stamped.end().get().saturating_sub(1));
    match members.acceptance(&stamped.stamp.actor, last) {
        Acceptance::Counts => true,
        Acceptance::BeyondEnd => false,
    }
}
