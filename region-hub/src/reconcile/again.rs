//! Beginning anew where a snapshot has counted what no log has any more.

use headland_event::{Gaps, Now, Record};
use headland_reconcile::{Membership, Reconciler};

use super::{Derived, Held, Inventory, Progress, STEP_BYTES_TARGET, Step};
use crate::topics::Topics;

impl Inventory {
    /// Forgets what a snapshot said and begins with the first commit of the journal, without
    /// records in these ranges of logs, which are lost. What rows show that these had a share in is
    /// written again once the journal is read.
    pub fn begin_anew(&mut self, without: &Gaps) {
        let shown = self.reconciler.shown_of(without);
        self.again.get_or_insert_default().merge(shown);
        self.reconciler = Reconciler::new(self.config.clone(), self.seed);
        (self.members, self.held) = (Membership::new(), Held::default());
        self.next = Progress::default();
    }

    /// Whether rows are to be written again: a snapshot of before that says as if they were.
    #[must_use]
    pub fn writes_again(&self) -> bool {
        self.again.is_some() || !self.said_again.is_empty()
    }

    /// The rows that are to be written again, once all that is written is read; called between
    /// commits.
    pub(super) fn write_again(&mut self, topics: &Topics, now: Now) -> Option<Step> {
        let through = Progress::at_start_of(self.next.commit.after(1));
        if through < self.written || !self.writes_again() {
            return None;
        }
        if let Some(shown) = self.again.take() {
            self.reconciler.show_again(&shown);
            self.said_again.extend(std::iter::from_fn(|| self.reconciler.poll_output()));
        }
        let mut derived = Derived::default();
        while derived.bytes() < STEP_BYTES_TARGET {
            let Some(output) = self.said_again.pop_front() else { break };
            derived.push(&output, &Record { time: now.wall, ..Record::default() }, now.wall);
        }
        self.written = through;
        (!derived.is_empty()).then(|| Step {
            bytes: derived.bytes(),
            batches: derived.batches(topics, self.codec),
            progress: through.encode(self.overlaps.counted()),
        })
    }
}
