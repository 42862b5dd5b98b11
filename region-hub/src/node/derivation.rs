//! What durable commits derive, composed step by step.

use bytes::Bytes;
use headland_event::{Batch, CommitNumber, Entry, Now, TopicPartition};
use headland_storage::StateOwner;

use super::Node;
use crate::global::{ResultsStep, Rules};
use crate::reconcile::{Inventory, Step};

/// Bytes of derived records on their way to the disk at most, but for one step: beyond it deriving
/// waits for a commit to become durable, so that one commit that derives a lot takes memory for
/// a few steps and not for all of it. Smaller leaves the disk idle between steps.
const DERIVED_BYTES_LIMIT: usize = 4 << 20;

impl Node {
    /// Reconciles a durable commit, after those before it.
    pub(super) fn reconcile(
        &mut self,
        number: CommitNumber,
        entries: &[(TopicPartition, Entry)],
        now: Now,
    ) {
        self.inventory.on_commit(&self.topics, number, entries);
        if let Some(rules) = &mut self.rules {
            rules.on_commit(&self.topics, number, entries);
        }
        self.derive(now);
    }

    /// Derives as much as may be on its way to the disk; none of it while that is full.
    pub(super) fn derive(&mut self, now: Now) {
        self.write_derived(now);
        self.note_taken();
    }

    fn write_derived(&mut self, now: Now) {
        // Whatever is left waits for a step on its way to the disk, whose report comes here again.
        while !self.fullness.is_full() && self.derived_bytes() < DERIVED_BYTES_LIMIT {
            // Neither waits until the other has nothing left: while one derives without end, which
            // inventory does in a catch-up, each has half of the steps.
            if let Some(results) = self.rules.as_mut().and_then(Rules::poll_turn) {
                self.write_results(results, now);
            } else if let Some(step) = self.inventory.poll_step(&self.topics, now) {
                let Step { batches, bytes, progress } = step;
                let (owner, key) = Inventory::place();
                self.write_step((batches, bytes), (owner, vec![(key, progress)]), now);
            } else if let Some(results) = self.rules.as_mut().and_then(Rules::poll_step) {
                self.write_results(results, now);
            } else {
                return;
            }
        }
    }

    fn write_results(&mut self, ResultsStep { batches, bytes, state }: ResultsStep, now: Now) {
        self.write_step((batches, bytes), (Rules::owner(), state), now);
    }

    /// Composes a step with how far it is, and hands the commit out when it is large enough.
    fn write_step(
        &mut self,
        (batches, bytes): (Vec<(TopicPartition, Batch)>, usize),
        (owner, state): (StateOwner, Vec<(Bytes, Bytes)>),
        now: Now,
    ) {
        self.derived_pending += bytes;
        for (partition, batch) in batches {
            self.born(&partition, batch, now);
        }
        for (key, value) in state {
            self.composer.set(owner.clone(), key, Some(value));
        }
        self.cut_commit();
    }

    /// Bytes of derived records that are composed and not durable.
    fn derived_bytes(&self) -> usize {
        let in_flight = self.in_flight.iter().map(|commit| commit.derived_bytes);
        self.derived_pending + in_flight.sum::<usize>()
    }
}
