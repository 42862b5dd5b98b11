//! Damage that nobody read yet: the log is read through, slowly, and what was found is said.

use headland_event::{ByteCount, Monotonic, Now};
use headland_platform::telemetry::with_causes;
use headland_storage::{Found, FoundOffsets, Scrub, Scrubbed, StateStore};

use super::status::ScrubView;
use super::{Node, Output, StartError};
use crate::outbox::Outbox;

impl Node {
    /// Reads the log through for damage, at most so many bytes a second; 0 for none.
    ///
    /// # Errors
    /// [`StartError`] when the state cannot be read.
    pub fn with_scrub(
        mut self,
        bytes_per_second: ByteCount,
        state: &impl StateStore,
        now: Monotonic,
    ) -> Result<Self, StartError> {
        self.scrub = Scrub::new(bytes_per_second, now);
        let mark = Outbox::scrubbed(state)?;
        if let Some(Err(error)) = mark.map(|mark| self.scrub.take_up(mark)) {
            let error = with_causes(&error);
            tracing::warn!(error, "how far the log was scrubbed is not known; it begins anew");
        }
        Ok(self)
    }

    /// Reads on, if it is time to.
    pub(super) fn scrub(&mut self, now: Now) {
        if let Some(read) = self.scrub.poll_read(now) {
            self.outputs.push_back(Output::Scrub(read));
        }
    }

    /// The answer to [`Output::Scrub`].
    pub fn on_scrubbed(&mut self, now: Now, scrubbed: Scrubbed) {
        let Found { commits, offsets, failure, mark, .. } = self.scrub.on_scrubbed(now, scrubbed);
        if let Some(mark) = mark {
            self.outbox.set_scrub(mark);
        }
        if let Some(error) = failure {
            tracing::error!(error = with_causes(&error), "a part of the log cannot be read");
        }
        for lost in commits {
            self.note_damaged_commits(now, lost);
        }
        for FoundOffsets { lost, behind: _ } in offsets {
            self.note_damage(now, &lost);
        }
    }

    /// How far the log is read, and what was found.
    pub(super) fn scrub_view(&self) -> ScrubView {
        let status = self.scrub.status();
        ScrubView {
            read_bytes: status.read.get(),
            damaged: status.damaged,
            failed: status.failed,
            last_pass: status.last_pass,
        }
    }
}
