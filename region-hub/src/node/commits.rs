//! What is composed becomes a commit, and is remembered until that is durable.

use headland_storage::{Commit, Composed};

use super::{COMMIT_BYTES_TARGET, InFlight, Node, Output};

impl Node {
    /// What is composed, as a commit that is on its way to the disk.
    pub(super) fn take_commit(&mut self) -> Option<Composed> {
        let composed = self.composer.take()?;
        let Commit { entries, state: _ } = &composed.commit;
        self.in_flight.push_back(InFlight {
            ticket: composed.ticket,
            entries: entries.clone(),
            stored: std::mem::take(&mut self.stored),
            moved: std::mem::take(&mut self.moved),
            subscribed: std::mem::take(&mut self.subscribed),
            derived_bytes: std::mem::take(&mut self.derived_pending),
        });
        Some(composed)
    }

    /// Hands the commit out early when it has become large enough.
    pub(super) fn cut_commit(&mut self) {
        if self.composer.pending_bytes() >= COMMIT_BYTES_TARGET
            && let Some(composed) = self.take_commit()
        {
            self.outputs.push_back(Output::Commit(composed));
        }
    }
}
