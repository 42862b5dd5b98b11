//! Damage that nobody read yet: the log is read through, slowly, and what was found is handled as
//! what links find.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use headland_event::{ByteCount, CommitNumber, EventTime, Monotonic, Now, TopicPartition};
use headland_platform::telemetry::with_causes;
use headland_storage::{Found, FoundOffsets, Scrub, ScrubStatus, Scrubbed, StateStore};
use serde::Serialize;

use super::recovery::{RecoveryError, owner};
use super::{Node, Output, StartError};
use crate::holes;

/// Where it is kept how far the log is read.
const KEY: Bytes = Bytes::from_static(b"scrub");

/// How long what is lost is gathered while a pass goes on, until others are asked for it.
const GATHERED: Duration = Duration::from_secs(10 * 60);

/// Where something was found to be lost that others are still to be asked for.
#[derive(Debug, Default)]
pub(super) struct Asks {
    places: BTreeSet<TopicPartition>,
    since: Option<Monotonic>,
}

impl Asks {
    fn add(&mut self, now: Monotonic, place: TopicPartition) {
        self.places.insert(place);
        self.since.get_or_insert(now);
    }

    /// When others are to be asked.
    pub(super) fn due_at(&self) -> Option<Monotonic> {
        self.since.map(|since| since.after(GATHERED))
    }
}

/// What a scrub of the log found.
#[derive(Debug, Clone, Serialize)]
pub struct ScrubView {
    /// Bytes of commits read since the start.
    pub read_bytes: u64,
    /// Damaged places met since the start, each as often as it was.
    pub damaged: u64,
    /// Reads that failed since the start.
    pub failed: u64,
    /// Number of the commit that is read next; absent between two passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// Number of the commit at which the pass ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// When all was read the last time, milliseconds since 1970; absent before the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_pass: Option<EventTime>,
}

impl From<ScrubStatus> for ScrubView {
    fn from(status: ScrubStatus) -> Self {
        let (next, until) = status.pass.unzip();
        Self {
            read_bytes: status.read.get(),
            damaged: status.damaged,
            failed: status.failed,
            next: next.map(CommitNumber::get),
            until: until.map(CommitNumber::get),
            last_pass: status.last_pass,
        }
    }
}

impl Node {
    /// Reads the log through for damage, at most so many bytes a second; 0 for none.
    ///
    /// # Errors
    /// [`StartError`] when the state cannot be read.
    pub fn with_scrub(
        mut self,
        bytes_per_second: ByteCount,
        state: &impl StateStore,
    ) -> Result<Self, StartError> {
        self.scrub = Scrub::new(bytes_per_second, self.started.monotonic);
        let mark = state.get(&owner("node"), &KEY).map_err(RecoveryError::State)?;
        if let Some(Err(error)) = mark.map(|mark| self.scrub.take_up(mark)) {
            let error = with_causes(&error);
            tracing::warn!(error, "how far the log was scrubbed is not known; it begins anew");
        }
        Ok(self)
    }

    /// When [`Self::scrub`] wants to be called.
    pub(super) fn scrub_at(&self) -> Option<Monotonic> {
        self.scrub.poll_timeout().into_iter().chain(self.walks.asks.due_at()).min()
    }

    /// Reads on, and asks for what was found to be lost, if it is time to.
    pub(super) fn scrub(&mut self, now: Now) {
        if self.walks.asks.due_at().is_some_and(|due| due <= now.monotonic) {
            self.ask_for_all_lost(now);
        }
        if let Some(read) = self.scrub.poll_read(now) {
            self.outputs.push_back(Output::Scrub(read));
        }
    }

    /// The answer to [`Output::Scrub`].
    pub fn on_scrubbed(&mut self, now: Now, scrubbed: Scrubbed) {
        let Found { commits, offsets, failure, mark, is_over, .. } =
            self.scrub.on_scrubbed(now, scrubbed);
        if let Some(mark) = mark.filter(|_| !self.fullness.is_full()) {
            self.composer.set(owner("node"), KEY, Some(mark));
        }
        if let Some(error) = failure {
            tracing::error!(error = with_causes(&error), "a part of the log cannot be read");
        }
        for lost in commits {
            self.note_damaged_commits(now, lost);
        }
        for found in offsets {
            self.on_found_damage(now, found);
        }
        if is_over {
            self.ask_for_all_lost(now);
        }
    }

    /// Offsets of the log are damaged, which reading it through met, or a consumer: that is said,
    /// and others are asked for what they held.
    pub fn on_found_damage(&mut self, now: Now, FoundOffsets { lost, behind }: FoundOffsets) {
        self.note_damage(now, &lost);
        let from = lost.from.max(self.keeping.start(&lost.partition));
        let part = behind.and_then(|entry| holes::part_before(from, &entry));
        let is_end = self.note_lost_end(&lost);
        let is_part = part.is_some_and(|part| self.lose_part(&lost.partition, &part));
        if is_end || is_part {
            self.walks.asks.add(now.monotonic, lost.partition);
        }
    }

    /// Asks for what was found to be lost. Connections are made anew for that: not at each place.
    fn ask_for_all_lost(&mut self, now: Now) {
        let asks = std::mem::take(&mut self.walks.asks);
        if !asks.places.is_empty() {
            self.ask_for_lost_of(now, &asks.places);
        }
    }

    /// How far the log is read, and what was found.
    #[must_use]
    pub fn scrub_status(&self) -> ScrubStatus {
        self.scrub.status()
    }
}
