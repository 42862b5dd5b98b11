//! Snapshots of what a hub derives from its journal, so that a restart replays the end of it only.
//!
//! ```text
//! v7:  7 version u8 │ inventory topic u8 length + name │ restock below i64
//!      │ hybrid clock { wall i64, logical u32 } │ audit, in its own layout
//!      │ members u32 length + postcard │ inventory that is held back, in its own layout
//!      │ reconciler u32 length + bytes, in its own layout
//!      │ rules, in their own layout, empty without rules
//! v6:  as v7 with version 6; members say of nothing that it is missing
//! v5:  as v6 with version 5, and at the end: rules u32 length + bytes │ reconciler
//! v4:  as v5 with version 4 and without what is held back: there was none
//! v3:  as v4 with version 3 and without rules
//! v2:  as v3 with version 2 and without members
//! v1:  as v2 with version 1 and without audit
//! ```
//! A snapshot at a commit says what was reconciled up to it. Restoring it derives nothing again, so
//! it is handed out only when all that was derived up to it is durable. Results of rules may wait
//! for as long as more come than the disk takes: a snapshot does not wait for a moment at which
//! there are none, but is handed out once those are written that were there when it began.
//!
//! The hub's causal past is the reconciler's and what is held back: both are ends of inventory in
//! the journal. One that was made of another topic is not taken up, because a replay would derive
//! something else. The threshold of
//! restock alerts says only when to warn from now on, so a snapshot with another one is as good.
//!
//! The state of rules may be large, so it is written in parts, with other work in between: it shows
//! the end of its commit all the same, as all that stands before it does.

use std::time::Duration;

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{
    ByteCount, CommitNumber, Entry, EventTime, Hlc, Monotonic, Now, TopicName, TopicPartition,
};
use headland_platform::telemetry::with_causes;
use headland_reconcile::{Membership, RestoreError};
use headland_replication::Audit;
use headland_storage::{Snapshot, SnapshotPace, StateOwner, Ticket};

use super::recovery::owner;
use super::{Node, Output};
use crate::global::RulesState;
use crate::reconcile::{Held, HeldError, Inventory};

const VERSION: u8 = 7;
/// The layout before the rules stood behind everything else; the first one with what is held back.
const VERSION_5: u8 = 5;
/// The layout before what is held back was in it.
const VERSION_4: u8 = 4;
/// The layout before there were rules; the first one with members.
const VERSION_3: u8 = 3;
/// The layout before there was an audit.
const VERSION_1: u8 = 1;

/// Parts of the rules' state that are written at a time: one takes about a millisecond, or ten when
/// it sorts. More stops the hub longer, fewer let a state of many small slices take longer.
const PARTS_AT_ONCE: usize = 3;

/// Time that is left for other work between them.
const BETWEEN_PARTS: Duration = Duration::from_millis(1);

/// Most bytes of who took part: hundreds of lives, each with a clock of as many ends as fit one.
const MEMBERS_BYTES_LIMIT: usize = 64 << 20;

/// Why a snapshot was not taken up; the journal is replayed instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeUpError {
    /// Not of a known layout.
    #[error("a snapshot is not of a known layout")]
    Layout(#[from] CodecError),
    /// Made of another topic's events.
    #[error("a snapshot is of [reconcile] topic = \"{found}\", configured is \"{expected}\"")]
    Topic {
        /// The topic it is of.
        found: TopicName,
        /// The one that is configured.
        expected: TopicName,
    },
    /// Who took part cannot be read.
    #[error("who took part cannot be read from {length} bytes")]
    Members {
        /// Bytes found.
        length: usize,
    },
    /// What is held back cannot be read.
    #[error("what is held back cannot be read")]
    Held(#[from] HeldError),
    /// The reconciler does not know itself in it.
    #[error("the reconciler cannot be restored")]
    Reconciler(#[from] RestoreError),
}

/// When the next snapshot is due, and the one that waits for what was derived before it.
#[derive(Debug)]
pub(super) struct Snapshots {
    pace: SnapshotPace,
    under_way: Option<UnderWay>,
    waiting: Option<Waiting>,
    /// The last commit that is durable.
    durable: Option<Ticket>,
    /// How many are wanted soon, however little is written.
    wanted: u8,
}

/// A snapshot whose rules are being written.
#[derive(Debug)]
struct UnderWay {
    at: CommitNumber,
    state: Writer,
    needs: Needs,
    /// When the next parts are due.
    next_at: Monotonic,
}

#[derive(Debug)]
struct Waiting {
    at: CommitNumber,
    state: Bytes,
    needs: Needs,
}

/// What has to be durable before a snapshot is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// The results of rules before this one, which are in no commit yet.
    Results(u64),
    /// The commit with the last of what was derived.
    Commit(Ticket),
}

impl Snapshots {
    /// At least `after` lies between two snapshots.
    pub(super) fn new(after: Duration, now: Monotonic) -> Self {
        let pace = SnapshotPace::new(after, now);
        Self { pace, under_way: None, waiting: None, durable: None, wanted: 0 }
    }

    /// So many are wanted as soon as time allows.
    pub(super) const fn want(&mut self, wanted: u8) {
        self.wanted = wanted;
        if wanted > 0 {
            self.pace.hasten();
        }
    }

    /// Since when a commit is wanted for the next of these to be made behind it.
    pub(super) fn wanted_at(&self) -> Option<Monotonic> {
        let is_idle = self.under_way.is_none() && self.waiting.is_none();
        (self.wanted > 0 && is_idle).then(|| self.pace.due_at())
    }
}

impl Node {
    /// Whose state the snapshots of a hub are.
    #[must_use]
    pub fn snapshot_owner() -> StateOwner {
        owner(Inventory::OWNER)
    }

    /// Takes up the first snapshot that fits, before anything is replayed; returns the first
    /// commit to replay.
    pub fn take_up(&mut self, snapshots: impl IntoIterator<Item = Snapshot>) -> CommitNumber {
        let mut why = "there is none".to_owned();
        for Snapshot { at, state } in snapshots {
            match self.try_take_up(at, state) {
                Ok(()) => return at.after(1),
                Err(error) => {
                    why = with_causes(&error);
                    tracing::warn!(%at, why, "a snapshot is not used; the journal is replayed");
                }
            }
        }
        self.no_snapshot = why;
        CommitNumber::new(1)
    }

    fn try_take_up(&mut self, at: CommitNumber, state: Bytes) -> Result<(), TakeUpError> {
        let mut reader = Reader::new(state);
        let found = reader.u8("snapshot version")?;
        if !(VERSION_1..=VERSION).contains(&found) {
            let (field, found, expected) = ("snapshot version", i64::from(found), "1 to 7");
            return Err(CodecError::Value { field, at: 0, found, expected }.into());
        }
        let topic: TopicName = reader.name("inventory topic")?;
        let _warned_below = reader.i64("restock below")?;
        let (expected, _) = self.inventory.configuration();
        if topic != *expected {
            return Err(TakeUpError::Topic { found: topic, expected: expected.clone() });
        }
        let wall = EventTime::from_millis(reader.i64("wall clock")?);
        let hlc = Hlc::new(wall, reader.u32("logical clock")?);
        let audit = (found != VERSION_1)
            .then(|| Audit::read(self.incarnation, self.started.monotonic, &mut reader))
            .transpose()?;
        let members = (found >= VERSION_3).then(|| read_members(&mut reader)).transpose()?;
        let held = (found >= VERSION_5).then(|| Held::read(&mut reader)).transpose()?;
        let (rules, reconciler) = read_parts(found, &mut reader)?;
        let rules = self.rules_in(at, rules);
        let waits = (members.unwrap_or_default(), held.unwrap_or_default());
        self.inventory.take_up(at, &reconciler, waits)?;
        match (&mut self.rules, rules) {
            (Some(mine), Some(state)) => mine.take_up(state, at, hlc),
            (Some(mine), None) => mine.begin_new(at),
            (None, _) => {}
        }
        self.ingest.take_up(hlc, self.inventory.past());
        // Only now is it certain that what the sums are about is not replayed.
        self.audit = audit.unwrap_or_else(|| Audit::new(self.incarnation, self.started.monotonic));
        Ok(())
    }

    /// The state of this hub's rules in a snapshot. Rules that do not go on from it begin new, and
    /// the rest of the snapshot is as good: what was before may have gone by retention.
    fn rules_in(&self, at: CommitNumber, state: Bytes) -> Option<RulesState> {
        let rules = self.rules.as_ref()?;
        let why = if state.is_empty() {
            "it has none".to_owned()
        } else {
            match rules.decode(state) {
                Ok(state) => return Some(state),
                Err(error) => with_causes(&error),
            }
        };
        tracing::warn!(
            %at,
            why,
            "rules do not go on from a snapshot: they begin new where the log ends, and windows \
             over what was before are not final here"
        );
        None
    }

    /// Hands out the snapshot that waits, when what was derived before it is durable.
    pub(super) fn hand_out_snapshot(&mut self, durable: Ticket) {
        self.snapshots.durable = Some(durable);
        let is_there = |needs: Needs| match needs {
            Needs::Results(_) => false,
            Needs::Commit(ticket) => ticket <= durable,
        };
        let ready = self.snapshots.waiting.take_if(|waiting| is_there(waiting.needs));
        if let Some(Waiting { at, state, needs: _ }) = ready {
            self.outputs.push_back(Output::Snapshot(Snapshot { at, state }));
        }
    }

    /// Begins a snapshot at a commit that was reconciled whole, when one is due. Without rules it
    /// is whole at once.
    pub(super) fn snapshot(
        &mut self,
        now: Now,
        (ticket, number): (Ticket, CommitNumber),
        entries: &[(TopicPartition, Entry)],
    ) {
        let Snapshots { pace, under_way, waiting, durable: _, wanted: _ } = &mut self.snapshots;
        entries.iter().for_each(|(_, entry)| pace.on_written(bytes_of(entry)));
        let is_due = pace.is_due(now.monotonic) && under_way.is_none() && waiting.is_none();
        if !is_due || !self.inventory.is_idle() || self.audit.has_faults() {
            return;
        }
        pace.on_begun();
        let state = self.encode_snapshot();
        let needs = match &self.rules {
            Some(rules) if !rules.is_taken(rules.derived_end()) => {
                Needs::Results(rules.derived_end())
            }
            Some(_) | None => Needs::Commit(self.last_composed().unwrap_or(ticket)),
        };
        let next_at = now.monotonic.after(BETWEEN_PARTS);
        let mut snapshot = UnderWay { at: number, state, needs, next_at };
        match &mut self.rules {
            Some(rules) => {
                snapshot.state.raw(&rules.begin_snapshot());
                self.snapshots.under_way = Some(snapshot);
            }
            None => self.end_snapshot(now, snapshot),
        }
    }

    /// The commit with the last of what was composed, unless all of it is durable.
    fn last_composed(&self) -> Option<Ticket> {
        let is_pending = self.composer.pending_bytes() > 0;
        let in_flight = self.in_flight.back().map(|last| last.ticket);
        if is_pending { Some(self.composer.next_ticket()) } else { in_flight }
    }

    /// Results were composed: a snapshot may have waited for the last of them.
    pub(super) fn note_taken(&mut self) {
        let last = self.last_composed();
        let Some(rules) = &self.rules else { return };
        let Snapshots { under_way, waiting, pace: _, durable, wanted: _ } = &mut self.snapshots;
        let under_way = under_way.as_mut().map(|it| &mut it.needs);
        for needs in under_way.into_iter().chain(waiting.as_mut().map(|it| &mut it.needs)) {
            if let Needs::Results(end) = *needs
                && rules.is_taken(end)
                && let Some(ticket) = last.or(*durable)
            {
                *needs = Needs::Commit(ticket);
            }
        }
    }

    /// When the next parts of a snapshot under way are due.
    pub(super) fn snapshot_at(&self) -> Option<Monotonic> {
        self.snapshots.under_way.as_ref().map(|snapshot| snapshot.next_at)
    }

    /// Writes the next parts of the snapshot under way, when they are due.
    pub(super) fn write_snapshot(&mut self, now: Now) {
        let due = self.snapshots.under_way.take_if(|due| due.next_at <= now.monotonic);
        let (Some(mut snapshot), Some(rules)) = (due, &mut self.rules) else { return };
        for _ in 0..PARTS_AT_ONCE {
            match rules.poll_snapshot() {
                Some(part) => snapshot.state.raw(&part),
                None => return self.end_snapshot(now, snapshot),
            }
        }
        snapshot.next_at = now.monotonic.after(BETWEEN_PARTS);
        self.snapshots.under_way = Some(snapshot);
    }

    fn end_snapshot(&mut self, now: Now, UnderWay { at, state, needs, next_at: _ }: UnderWay) {
        let state = state.finish();
        let size = ByteCount::new(u64::try_from(state.len()).unwrap_or(u64::MAX));
        self.snapshots.pace.on_taken(now.monotonic, size);
        self.snapshots.want(self.snapshots.wanted.saturating_sub(1));
        self.snapshots.waiting = Some(Waiting { at, state, needs });
        if let Some(durable) = self.snapshots.durable {
            self.hand_out_snapshot(durable);
        }
    }

    /// All of a snapshot that stands before the rules.
    fn encode_snapshot(&self) -> Writer {
        let (topic, restock_below) = self.inventory.configuration();
        let hlc = self.ingest.hlc();
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.name(topic.as_str());
        writer.i64(restock_below);
        writer.i64(hlc.wall().millis());
        writer.u32(hlc.logical());
        self.audit.write(&mut writer);
        writer.bytes(&self.inventory.members().to_bytes());
        self.inventory.write_held(&mut writer);
        writer.bytes(&self.inventory.reconciler().snapshot());
        writer
    }
}

/// The state of rules, and the reconciler's, of a snapshot of version `found`.
fn read_parts(found: u8, reader: &mut Reader) -> Result<(Bytes, Bytes), CodecError> {
    if found > VERSION_5 {
        let reconciler = reader.bytes("reconciler", reader.remaining())?;
        return Ok((reader.take("rules", reader.remaining())?, reconciler));
    }
    let rules = match found {
        VERSION_4.. => reader.bytes("rules", reader.remaining())?,
        _ => Bytes::new(),
    };
    Ok((rules, reader.take("reconciler", reader.remaining())?))
}

fn read_members(reader: &mut Reader) -> Result<Membership, TakeUpError> {
    let bytes = reader.bytes("members", MEMBERS_BYTES_LIMIT)?;
    Membership::from_bytes(&bytes).map_err(|_| TakeUpError::Members { length: bytes.len() })
}

fn bytes_of(entry: &Entry) -> ByteCount {
    ByteCount::new(u64::try_from(entry.batch.as_bytes().len()).unwrap_or(u64::MAX))
}
