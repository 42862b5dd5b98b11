//! Snapshots of what an agent derives from its journal, so that a restart replays the end of it
//! only.
//!
//! ```text
//! v4:  4 version u8 │ outbox u32 length + bytes, in its own layout │ audit, in its own layout
//!      │ files u32, then per file that rules look in: table u32 + UTF-8, digest u32 + UTF-8
//!      │ rules, in their own layout
//! v3:  as v4 without files
//! ```
//! A snapshot at a commit says what rules and outbox hold with it. Rules run ahead of the disk, so
//! it is taken when the commit is composed and handed out once that is durable; and only when all
//! that the rules raised so far is in it, because restoring raises nothing again. One of other
//! rules is not taken up for them, because a replay would derive something else.

use std::time::Duration;

use bytes::Bytes;
use headland_detection::RestoreError;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::limits::COMMIT_BYTES_LIMIT;
use headland_event::{ByteCount, CommitNumber, Monotonic, Now, Offset};
use headland_platform::telemetry::with_causes;
use headland_replication::Audit;
use headland_storage::{Composed, Snapshot, SnapshotPace, StateOwner, Ticket};

use super::{Node, Output};
use crate::detect::Detect;
use crate::outbox::{owner, partition_of};

const VERSION: u8 = 4;

/// The layout before rules looked in files, which is otherwise the same.
const VERSION_3: u8 = 3;

/// Parts of the rules' state that are written at a time. More stops the agent longer, fewer let a
/// state of many small slices take longer.
const PARTS_AT_ONCE: usize = 3;

/// Time that is left for other work between them.
const BETWEEN_PARTS: Duration = Duration::from_millis(1);

/// Why a snapshot was not taken up; the journal is replayed instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeUpError {
    /// Not of a known layout.
    #[error("a snapshot is not of a known layout")]
    Layout(#[from] CodecError),
    /// The rules do not know themselves in it.
    #[error("the rules cannot be restored")]
    Rules(#[from] RestoreError),
}

/// When the next snapshot is due, and the one that is being made.
#[derive(Debug)]
pub(super) struct Snapshots {
    pace: SnapshotPace,
    under_way: Option<UnderWay>,
}

/// A snapshot that is not handed out yet.
#[derive(Debug)]
struct UnderWay {
    /// Its commit.
    ticket: Ticket,
    /// The commit's number, once that is durable.
    at: Option<CommitNumber>,
    state: Writer,
    /// When the next parts of the rules are due; none when all are written.
    parts_at: Option<Monotonic>,
}

impl Snapshots {
    /// At least `after` lies between two snapshots.
    pub(super) const fn new(after: Duration) -> Self {
        // The first one soon: without any the log cannot be cleaned.
        Self { pace: SnapshotPace::due(after), under_way: None }
    }

    /// Bytes that are written of the snapshot under way.
    #[cfg(test)]
    pub(super) fn written_bytes(&self) -> Option<usize> {
        self.under_way.as_ref().map(|snapshot| snapshot.state.len())
    }
}

impl Node {
    /// Whose state the snapshots of an agent are.
    #[must_use]
    pub fn snapshot_owner() -> StateOwner {
        owner("detect")
    }

    /// Takes up the first snapshot that fits, before anything is replayed; returns the first
    /// commit to replay.
    pub fn take_up(&mut self, snapshots: impl IntoIterator<Item = Snapshot>) -> CommitNumber {
        let mut why = "there is none".to_owned();
        for Snapshot { at, state } in snapshots {
            match self.try_take_up(state) {
                Ok(()) => return at.after(1),
                Err(error) => {
                    why = with_causes(&error);
                    tracing::warn!(
                        %at, why,
                        "a snapshot is not used; what the journal still holds is replayed"
                    );
                }
            }
        }
        self.no_snapshot = why;
        // Before the first row of all no file was known, and the journal has the rest.
        let start = |topic| self.outbox.ledger().start(&partition_of(topic));
        let mut topics = self.sources.iter().map(|source| source.decoder.topic());
        if topics.any(|topic| start(topic) > Offset::new(0)) {
            self.detect.begin_with(self.files.oldest());
        }
        CommitNumber::new(1)
    }

    fn try_take_up(&mut self, state: Bytes) -> Result<(), TakeUpError> {
        let mut reader = Reader::new(state);
        let found = reader.u8("snapshot version")?;
        if !matches!(found, VERSION_3 | VERSION) {
            let (field, found, expected) = ("snapshot version", i64::from(found), "3 or 4");
            return Err(CodecError::Value { field, at: 0, found, expected }.into());
        }
        let outbox = reader.bytes("outbox", reader.remaining())?;
        let audit = Audit::read(self.incarnation, Monotonic::default(), &mut reader)?;
        let files = if found == VERSION { self.files.read(&mut reader)? } else { Vec::new() };
        let rules = reader.take("rules", reader.remaining())?;
        // What is held does not depend on the rules, and their error is the last that can happen.
        let lanes = &self.lanes;
        let uptime = self.outbox.ledger_mut().restore(outbox, |topic| lanes.of(topic))?;
        self.uptime.restore(uptime);
        self.detect.restore(rules, files)?;
        self.audit = audit;
        for source in &self.sources {
            let watermark = self.detect.watermark(source.decoder.tables());
            let reached = watermark.map(|watermark| (source.decoder.topic().clone(), watermark));
            self.reached.extend(reached);
        }
        Ok(())
    }

    /// Begins a snapshot as of a commit that was just composed, when one is due.
    pub(super) fn snapshot(&mut self, now: Now, composed: &Composed) {
        let batches = composed.commit.entries.iter();
        let bytes = batches.map(|(_, entry)| entry.batch.as_bytes().len()).sum();
        let Snapshots { pace, under_way } = &mut self.snapshots;
        pace.on_written(size(bytes));
        if !pace.is_due(now.monotonic) || under_way.is_some() || !self.results.is_written() {
            return;
        }
        let outbox = self.outbox.ledger().encode(self.uptime.at(now.monotonic));
        debug_assert!(outbox.len() < COMMIT_BYTES_LIMIT.as_len(), "blocks are few");
        let mut state = Writer::new();
        state.u8(VERSION);
        state.bytes(&outbox);
        self.audit.write(&mut state);
        files(&self.detect, &mut state);
        state.raw(&self.detect.begin_snapshot());
        pace.on_begun();
        let parts_at = Some(now.monotonic.after(BETWEEN_PARTS));
        let begun = UnderWay { ticket: composed.ticket, at: None, state, parts_at };
        self.snapshots.under_way = Some(begun);
    }

    /// When the next parts of a snapshot under way are due.
    pub(super) fn snapshot_at(&self) -> Option<Monotonic> {
        self.snapshots.under_way.as_ref().and_then(|snapshot| snapshot.parts_at)
    }

    /// Writes the next parts of the snapshot under way, when they are due.
    pub(super) fn write_snapshot(&mut self, now: Now) {
        let Snapshots { pace, under_way: Some(snapshot) } = &mut self.snapshots else { return };
        if snapshot.parts_at.is_none_or(|due| now.monotonic < due) {
            return;
        }
        for _ in 0..PARTS_AT_ONCE {
            let Some(part) = self.detect.poll_snapshot() else {
                snapshot.parts_at = None;
                pace.on_taken(now.monotonic, size(snapshot.state.len()));
                return self.hand_out_snapshot();
            };
            snapshot.state.raw(&part);
        }
        snapshot.parts_at = Some(now.monotonic.after(BETWEEN_PARTS));
    }

    /// A commit is durable: the snapshot may be of it.
    pub(super) fn note_durable(&mut self, durable: Ticket, number: CommitNumber) {
        let snapshot = self.snapshots.under_way.as_mut();
        if let Some(snapshot) = snapshot.filter(|snapshot| snapshot.ticket == durable) {
            snapshot.at = Some(number);
            self.hand_out_snapshot();
        }
    }

    /// Hands the snapshot out when it is whole and its commit durable.
    fn hand_out_snapshot(&mut self) {
        let whole = self.snapshots.under_way.take_if(|it| it.parts_at.is_none() && it.at.is_some());
        if let Some(UnderWay { at: Some(at), state, .. }) = whole {
            let state = state.finish();
            self.outputs.push_back(Output::Snapshot(Snapshot { at, state }));
        }
    }
}

/// Writes which contents of files are in force.
fn files(detect: &Detect, writer: &mut Writer) {
    let files: Vec<_> = detect.files().collect();
    writer.length(files.len());
    for (table, digest) in files {
        writer.bytes(table.as_bytes());
        writer.bytes(digest.as_bytes());
    }
}

fn size(bytes: usize) -> ByteCount {
    ByteCount::new(u64::try_from(bytes).unwrap_or(u64::MAX))
}
