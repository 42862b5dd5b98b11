//! The engine's state as bytes.
//!
//! ```text
//! version    u8    7: 6 is as 7, but that no window is in doubt
//! tables     u32   then per table: name (u32, UTF-8), 0 | 1 and watermark i64 ms
//! rules      u32   then per rule:
//!   name     u32, UTF-8
//!   shape    u32, UTF-8     what the state below looks like
//!   stopped  0 | 1 and 3 × u64    limits it stopped under: keys, bytes, work
//!   counts   9 × u64        rows, filtered, accepted, late, refused, results, suppressed,
//!                           failed, early left out
//!   furthest i64 ms         the latest time taken from several logs, or the least number
//!   marks    i64 ms each    per operator, the root first: the watermark of each input, its own
//!   state    per operator, as its module says: numbers, then keyed entries in the order of keys
//! ```
//!
//! Equal states give equal bytes. A restored engine goes on as the one that was saved. A table or
//! rule the program has and the snapshot has not starts empty; the other way round is refused,
//! since state would vanish. So is a rule of another shape: other keys, aggregates or windows, or
//! another allowed lateness, interval of early results or state retention, under which other state
//! would have been kept. Its limits may change; a rule that had stopped at one begins anew when one
//! of them was raised or `on-limit` no longer stops it.
//!
//! A snapshot may be taken in steps while rows go on: it shows the state at its beginning, however
//! long it takes ([`Engine::begin_snapshot`]).

use std::collections::VecDeque;

use bytes::Bytes;
use headland_event::EventTime;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::limits::RECORD_BYTES_LIMIT;

use crate::engine::Engine;
use crate::engine::rule_state::{Cut, RuleState};
use crate::operator::arriving::Limits;
use crate::operator::keyed::Progress;
use crate::output::RuleCounts;
use crate::program::Program;
use crate::settings::RuleLimits;

const VERSION: u8 = 7;

/// The layout before doubts about late rows were in it, which is otherwise the same.
const VERSION_6: u8 = 6;

/// Entries written at a time by [`Engine::snapshot`]: as many as fit a cache.
const ENTRIES_PER_STEP: usize = 4_096;

/// A snapshot under way.
#[derive(Debug)]
pub(crate) struct SnapshotCursor {
    /// What stands in front of each rule that is not begun, the first of which begins now.
    headers: VecDeque<Writer>,
    /// The rule and the operator that are being written.
    rule: usize,
    stage: usize,
}

/// A snapshot that an engine could not be restored from. Trying again gives the same error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The snapshot was written by another version of this crate.
    #[error("the snapshot has version {found}, expected 6 or {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// The bytes do not hold what their layout says.
    #[error("the snapshot is damaged")]
    Damaged(#[from] CodecError),
    /// The snapshot holds a table that the program does not declare.
    #[error("the snapshot holds table {name:?}, which the rules no longer declare")]
    UnknownTable {
        /// The table.
        name: String,
    },
    /// The snapshot holds a rule that the program does not have.
    #[error("the snapshot holds rule {name:?}, which is no longer there")]
    UnknownRule {
        /// The rule.
        name: String,
    },
    /// A rule has other keys, aggregates or windows, or keeps them for another time, than when the
    /// snapshot was taken.
    #[error("rule {name:?} now keeps {expected}, the snapshot holds {found}")]
    Changed {
        /// The rule.
        name: String,
        /// The shape of its state in the snapshot.
        found: String,
        /// The shape of its state in the program.
        expected: String,
    },
}

impl Engine {
    /// The state of every rule and watermark; O(groups × log groups), one buffer.
    ///
    /// # Panics
    /// When outputs are not drained: they are no part of the state, and would be lost with it. And
    /// while another snapshot is under way.
    #[must_use]
    pub fn snapshot(&mut self) -> Bytes {
        self.begin_snapshot();
        let mut all = Writer::new();
        while let Some(part) = self.poll_snapshot(ENTRIES_PER_STEP) {
            all.raw(&part);
        }
        all.finish()
    }

    /// Begins a snapshot of the state as it stands; its bytes come from
    /// [`poll_snapshot`](Self::poll_snapshot), and rows may be fed in between.
    ///
    /// Copies every key, about 15 ms for a million of them, and from now until the end of the
    /// snapshot the old value of each entry that changes before it is written.
    ///
    /// # Panics
    /// When outputs are not drained: they are no part of the state, and would be lost with it. And
    /// while another snapshot is under way.
    pub fn begin_snapshot(&mut self) {
        assert!(self.outputs.is_empty(), "outputs are drained before a snapshot");
        assert!(self.snapshot.is_none(), "one snapshot at a time");
        let mut header = Writer::new();
        header.u8(VERSION);
        header.length(self.watermarks.len());
        for (table, watermark) in self.program.tables().iter().zip(&self.watermarks) {
            header.bytes(table.name().as_bytes());
            header.u8(u8::from(watermark.is_some()));
            if let Some(watermark) = watermark {
                header.i64(watermark.millis());
            }
        }
        header.length(self.states.len());
        let mut headers = VecDeque::with_capacity(self.states.len() + 1);
        for (rule, state) in self.program.rules().iter().zip(&mut self.states) {
            header.bytes(rule.name().as_bytes());
            header.bytes(state.dataflow.shape().as_bytes());
            state.begin_cut(&mut header);
            headers.push_back(std::mem::take(&mut header));
        }
        headers.push_back(header);
        self.snapshot = Some(SnapshotCursor { headers, rule: 0, stage: 0 });
    }

    /// The next part of the snapshot under way, of about `entries` entries of keyed state; none
    /// when it is whole. All parts in order are the snapshot. About 0.3 µs an entry, and up to
    /// 10 ms for a step that sorts.
    #[must_use]
    pub fn poll_snapshot(&mut self, entries: usize) -> Option<Bytes> {
        let cursor = self.snapshot.as_mut()?;
        let mut writer = Writer::new();
        if cursor.stage == 0
            && let Some(header) = cursor.headers.front_mut()
        {
            writer.raw(header.as_slice());
            header.clear();
        }
        let Some(state) = self.states.get_mut(cursor.rule) else {
            self.snapshot = None;
            return (!writer.is_empty()).then(|| writer.finish());
        };
        match state.poll_cut(cursor.stage, entries.max(1), &mut writer) {
            Some(Progress::More) => {}
            Some(Progress::Done) => cursor.stage += 1,
            None => {
                cursor.headers.pop_front();
                (cursor.rule, cursor.stage) = (cursor.rule + 1, 0);
            }
        }
        Some(writer.finish())
    }

    /// An engine that goes on where [`snapshot`](Self::snapshot) was taken.
    ///
    /// # Errors
    /// [`RestoreError`] when the bytes are damaged or hold state that the program has no place for.
    pub fn restore(program: Program, seed: u64, snapshot: Bytes) -> Result<Self, RestoreError> {
        Self::restore_under(program, seed, snapshot, |_| None)
    }

    /// As [`restore`](Self::restore), with rules that run by other limits than the program says.
    ///
    /// # Errors
    /// [`RestoreError`] when the bytes are damaged or hold state that the program has no place for.
    pub fn restore_under(
        program: Program,
        seed: u64,
        snapshot: Bytes,
        limits: impl Fn(&str) -> Option<RuleLimits>,
    ) -> Result<Self, RestoreError> {
        let mut engine = Self::new(program, seed);
        for (rule, state) in engine.program.rules().iter().zip(&mut engine.states) {
            if let Some(limits) = limits(rule.name()) {
                state.set_limits(limits);
            }
        }
        engine.begun_new = engine.program.rules().iter().map(|rule| rule.name().clone()).collect();
        let mut reader = Reader::new(snapshot);
        let found = reader.u8("version")?;
        if !matches!(found, VERSION_6 | VERSION) {
            return Err(RestoreError::Version { found });
        }
        for _ in 0..count(&mut reader, "tables")? {
            let (name, watermark) = (name(&mut reader, "table")?, watermark(&mut reader)?);
            let index = engine.program.table_id(&name).map(|id| id.index());
            match index.and_then(|index| engine.watermarks.get_mut(index)) {
                Some(place) => *place = watermark,
                None => return Err(RestoreError::UnknownTable { name }),
            }
        }
        for _ in 0..count(&mut reader, "rules")? {
            let (name, found) = (name(&mut reader, "rule")?, name_of_shape(&mut reader)?);
            let mut rules = engine.program.rules().iter().zip(&mut engine.states);
            let Some((_, state)) = rules.find(|(rule, _)| **rule.name() == *name) else {
                return Err(RestoreError::UnknownRule { name });
            };
            let expected = state.dataflow.shape();
            if found != expected {
                return Err(RestoreError::Changed { name, found, expected });
            }
            state.read(&mut reader)?;
            if !state.begins_anew_if_raised(&engine.watermarks) {
                engine.begun_new.retain(|new| **new != *name);
            }
        }
        reader.end()?;
        Ok(engine)
    }
}

fn count(reader: &mut Reader, field: &'static str) -> Result<usize, CodecError> {
    // Whatever is counted takes at least a byte, so that what is left bounds it.
    reader.length(field, reader.remaining())
}

fn name(reader: &mut Reader, field: &'static str) -> Result<String, CodecError> {
    reader.text(field, RECORD_BYTES_LIMIT.as_len())
}

fn name_of_shape(reader: &mut Reader) -> Result<String, CodecError> {
    name(reader, "shape")
}

fn watermark(reader: &mut Reader) -> Result<Option<EventTime>, CodecError> {
    let at = reader.position();
    match reader.u8("watermark")? {
        0 => Ok(None),
        1 => Ok(Some(EventTime::from_millis(reader.i64("watermark")?))),
        found => {
            let (field, found) = ("watermark", i64::from(found));
            Err(CodecError::Value { field, at, found, expected: "0 or 1" })
        }
    }
}

fn limits(reader: &mut Reader) -> Result<Limits, CodecError> {
    let mut limit = |field| {
        let limit = reader.u64(field)?;
        Ok::<_, CodecError>(usize::try_from(limit).unwrap_or(usize::MAX))
    };
    let (keys, bytes, work) = (limit("keys limit")?, limit("bytes limit")?, limit("work limit")?);
    Ok(Limits { keys, reserved: 0, bytes, work })
}

impl RuleState {
    fn begin_cut(&mut self, writer: &mut Writer) {
        writer.u8(u8::from(self.stopped_under.is_some()));
        if let Some(Limits { keys, bytes, work, reserved: _ }) = self.stopped_under {
            for limit in [keys, bytes, work] {
                // No machine this runs on counts further than 64 bits.
                writer.u64(u64::try_from(limit).unwrap_or(u64::MAX));
            }
        }
        let RuleCounts {
            rows,
            filtered,
            accepted,
            late,
            refused,
            results,
            suppressed,
            failed,
            early_left_out,
        } = self.counts;
        let taken = [rows, filtered, accepted, late, refused];
        let given = [results, suppressed, failed, early_left_out];
        taken.into_iter().chain(given).for_each(|count| writer.u64(count));
        writer.i64(self.furthest);
        self.dataflow.begin_cut(writer);
        self.cut = Cut::Running;
    }

    /// Writes about `budget` further entries of an operator; none behind the last one.
    fn poll_cut(&mut self, stage: usize, budget: usize, writer: &mut Writer) -> Option<Progress> {
        let dataflow = match &mut self.cut {
            Cut::Stopped(dataflow) => dataflow,
            Cut::Running | Cut::Nothing => &mut self.dataflow,
        };
        let progress = dataflow.poll_cut(stage, budget, writer);
        if progress.is_none() {
            self.cut = Cut::Nothing;
        }
        progress
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        let at = reader.position();
        self.stopped_under = match reader.u8("stopped")? {
            0 => None,
            1 => Some(limits(reader)?),
            found => {
                let (field, found) = ("stopped", i64::from(found));
                return Err(CodecError::Value { field, at, found, expected: "0 or 1" });
            }
        };
        self.counts = RuleCounts {
            rows: reader.u64("rows")?,
            filtered: reader.u64("filtered")?,
            accepted: reader.u64("accepted")?,
            late: reader.u64("late")?,
            refused: reader.u64("refused")?,
            results: reader.u64("results")?,
            suppressed: reader.u64("suppressed")?,
            failed: reader.u64("failed")?,
            early_left_out: reader.u64("early left out")?,
        };
        self.furthest = reader.i64("furthest")?;
        self.dataflow.read(reader)
    }
}
