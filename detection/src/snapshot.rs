//! The engine's state as bytes.
//!
//! ```text
//! version    u8    1
//! tables     u32   then per table: name (u32, UTF-8), 0 | 1 and watermark i64 ms
//! rules      u32   then per rule:
//!   name     u32, UTF-8
//!   shape    u32, UTF-8     what the state below looks like
//!   counts   8 × u64        rows, filtered, accepted, late, refused, results, suppressed, failed
//!   groups   u32            then per group, by (end, keys):
//!     end    i64 ms
//!     keys   one value per key of the rule
//!     state  one accumulator per aggregate of the rule
//! ```
//!
//! Equal states give equal bytes. A restored engine goes on as the one that was saved. A table or
//! rule the program has and the snapshot has not starts empty; the other way round is refused,
//! since state would vanish.

use bytes::Bytes;
use headland_event::EventTime;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::limits::RECORD_BYTES_LIMIT;

use crate::engine::{Engine, RuleState};
use crate::output::RuleCounts;
use crate::plan::{Operator, Rule, TumblePlan};
use crate::program::Program;
use crate::value_codec;

const VERSION: u8 = 1;

/// A snapshot that an engine could not be restored from. Trying again gives the same error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The snapshot was written by another version of this crate.
    #[error("the snapshot has version {found}, expected {VERSION}")]
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
    /// A rule has other keys, aggregates or windows than when the snapshot was taken.
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
    /// When outputs are not drained: they are no part of the state, and would be lost with it.
    #[must_use]
    pub fn snapshot(&self) -> Bytes {
        assert!(self.outputs.is_empty(), "outputs are drained before a snapshot");
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.length(self.watermarks.len());
        for (table, watermark) in self.program.tables().iter().zip(&self.watermarks) {
            writer.bytes(table.name().as_bytes());
            match watermark {
                None => writer.u8(0),
                Some(watermark) => {
                    writer.u8(1);
                    writer.i64(watermark.millis());
                }
            }
        }
        writer.length(self.states.len());
        for (rule, state) in self.program.rules().iter().zip(&self.states) {
            writer.bytes(rule.name().as_bytes());
            writer.bytes(rule.shape().as_bytes());
            state.write(&mut writer);
        }
        writer.finish()
    }

    /// An engine that goes on where [`snapshot`](Self::snapshot) was taken.
    ///
    /// # Errors
    /// [`RestoreError`] when the bytes are damaged or hold state that the program has no place for.
    pub fn restore(program: Program, seed: u64, snapshot: Bytes) -> Result<Self, RestoreError> {
        let mut engine = Self::new(program, seed);
        let mut reader = Reader::new(snapshot);
        let found = reader.u8("version")?;
        if found != VERSION {
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
            let Some((rule, state)) = rules.find(|(rule, _)| **rule.name() == *name) else {
                return Err(RestoreError::UnknownRule { name });
            };
            let expected = rule.shape();
            if found != expected {
                return Err(RestoreError::Changed { name, found, expected });
            }
            state.read(rule, &mut reader)?;
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

impl RuleState {
    fn write(&self, writer: &mut Writer) {
        let Self { counts, windows } = self;
        let RuleCounts { rows, filtered, accepted, late, refused, results, suppressed, failed } =
            *counts;
        for count in [rows, filtered, accepted, late, refused, results, suppressed, failed] {
            writer.u64(count);
        }
        writer.length(windows.len());
        for (end, keys, accumulators) in windows.sorted() {
            writer.i64(end.millis());
            keys.iter().for_each(|key| value_codec::write(key, writer));
            accumulators.iter().for_each(|accumulator| accumulator.write(writer));
        }
    }

    fn read(&mut self, rule: &Rule, reader: &mut Reader) -> Result<(), CodecError> {
        self.counts = RuleCounts {
            rows: reader.u64("rows")?,
            filtered: reader.u64("filtered")?,
            accepted: reader.u64("accepted")?,
            late: reader.u64("late")?,
            refused: reader.u64("refused")?,
            results: reader.u64("results")?,
            suppressed: reader.u64("suppressed")?,
            failed: reader.u64("failed")?,
        };
        let at = reader.position();
        let groups = count(reader, "groups")?;
        match rule.operator() {
            Operator::Tumble(plan) => (0..groups).try_for_each(|_| self.read_group(plan, reader)),
            Operator::Filter(_) if groups == 0 => Ok(()),
            Operator::Filter(_) => Err(CodecError::Value {
                field: "groups",
                at,
                found: i64::try_from(groups).unwrap_or(i64::MAX),
                expected: "none for a rule without windows",
            }),
        }
    }

    fn read_group(&mut self, plan: &TumblePlan, reader: &mut Reader) -> Result<(), CodecError> {
        let at = reader.position();
        let end = EventTime::from_millis(reader.i64("end")?);
        let keys = plan.keys.iter().map(|_| value_codec::read(reader)).collect::<Result<_, _>>()?;
        let accumulators = plan.aggregates.iter().map(|aggregate| aggregate.read(reader));
        let accumulators = accumulators.collect::<Result<_, _>>()?;
        if self.windows.insert(end, keys, accumulators) {
            Ok(())
        } else {
            let (field, found) = ("group", end.millis());
            Err(CodecError::Value { field, at, found, expected: "each group once" })
        }
    }
}
