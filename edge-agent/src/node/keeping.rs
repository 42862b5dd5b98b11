//! What the agent keeps of which hub has acknowledged what.
//!
//! It goes with the next commit. Where nothing more is written there is a commit of its own, soon:
//! an agent that has forgotten what another hub has acknowledged sends it to this one as well, and
//! who reads the logs of both has it twice.

use std::time::Duration;

use headland_event::{Monotonic, Now};

use super::{IN_FLIGHT_LIMIT, Node};

/// How long what was acknowledged waits for lines to be kept with. Shorter costs an idle agent that
/// is just done more barriers, longer is in doubt after a crash.
const KEEP_AFTER: Duration = Duration::from_secs(1);

/// When what was acknowledged is to be kept.
#[derive(Debug, Default)]
pub(super) struct Keep {
    due_at: Option<Monotonic>,
}

impl Keep {
    /// When to look, `None` while there is nothing to keep.
    pub(super) const fn due_at(&self) -> Option<Monotonic> {
        self.due_at
    }
}

impl Node {
    /// Something was acknowledged.
    pub(super) fn keep_soon(&mut self, now: Now) {
        if self.keep.due_at.is_none() && self.outbox.has_unkept() {
            self.keep.due_at = Some(now.monotonic.after(KEEP_AFTER));
        }
    }

    /// Commits what no line has taken along, when that is due and commits on their way leave room.
    pub(super) fn keep_acknowledged(&mut self, now: Now) {
        if self.keep.due_at.take_if(|due| *due <= now.monotonic).is_some() {
            if self.can_keep() && self.outbox.has_unkept() {
                self.commit_apart(now);
            }
            self.keep_soon(now);
        }
    }

    /// The agent is stopping: commits what would be forgotten, if commits on their way leave room.
    pub fn on_stopping(&mut self, now: Now) {
        if self.can_keep() && self.outbox.has_unkept() {
            self.commit_apart(now);
        }
    }

    /// Commits what may be sent as holes, as soon as commits on their way leave room.
    pub(super) fn keep_holes(&mut self, now: Now) {
        if self.outbox.has_to_keep() && self.can_keep() {
            self.commit_apart(now);
        }
    }

    /// Whether a commit of no lines may be composed; lines left half-way go with their own.
    fn can_keep(&self) -> bool {
        let is_free = self.in_flight.len() < IN_FLIGHT_LIMIT && self.results.is_written();
        is_free && self.outbox.waiting_bytes() == 0
    }
}
