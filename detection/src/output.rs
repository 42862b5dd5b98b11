//! What comes out of the engine.

use std::fmt;
use std::sync::Arc;

use headland_event::{EventTime, Offset, Severity, TopicName};

use crate::expression::EvaluationError;
use crate::table::TableId;
use crate::value::{Row, Value};

/// One output of an engine. Every row and every window that gives no result is counted or is one
/// of these: nothing vanishes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// A rule has a result.
    Result(RuleResult),
    /// A row came after its window had closed.
    Late(LateRow),
    /// A rule could not take a row.
    Refused(RefusedRow),
    /// A rule could not compute the result of a group.
    Failed(FailedWindow),
}

/// What a result does to the results before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A row that was not there: `+I`.
    Insert,
    /// Takes back what an update replaces; carries the old row: `-U`.
    UpdateBefore,
    /// The row that replaces it: `+U`.
    UpdateAfter,
    /// Takes a row back for good; carries the old row: `-D`.
    Delete,
}

/// The change as Flink writes it.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Insert => "+I",
            Self::UpdateBefore => "-U",
            Self::UpdateAfter => "+U",
            Self::Delete => "-D",
        })
    }
}

/// A result of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleResult {
    /// What it does to the rule's results before it.
    pub change: Change,
    /// The rule: the name of its target table.
    pub rule: Arc<str>,
    /// The topic it goes to.
    pub topic: TopicName,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about: the column of `alert.key` or else `key`; else the keys of the group joined
    /// by `|`, or for a rule without windows the key of the source's row; empty when there is none.
    pub key: String,
    /// The column of `alert.window`; else the window's end in milliseconds, or for a rule without
    /// windows the offset of the evidence. Decimal text.
    pub window: String,
    /// Event time of the row; of a window its last millisecond. Arrival for a table without one.
    pub event_time: EventTime,
    /// When the input was captured that made it fire.
    pub captured_at: EventTime,
    /// Where the input stands that made it fire; of a window, the row that moved the watermark.
    pub evidence: Offset,
    /// The columns of the target table with their values, in order.
    pub columns: Vec<(Arc<str>, Value)>,
}

/// A row that came after its window had closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateRow {
    /// The table the row belongs to.
    pub table: TableId,
    /// The rule whose window had closed; other rules may have taken the row.
    pub rule: Arc<str>,
    /// The row.
    pub row: Row,
    /// Its event time.
    pub event_time: EventTime,
    /// The end of the window it would have gone to.
    pub window_end: EventTime,
    /// The watermark before the row, at or past the last millisecond of that window.
    pub watermark: EventTime,
    /// Where the row stands.
    pub evidence: Offset,
}

/// A row that a rule could not take; it moves the watermark all the same, unless its event time is
/// too far ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRow {
    /// The table the row belongs to.
    pub table: TableId,
    /// The rule; other rules may have taken the row.
    pub rule: Arc<str>,
    /// The row.
    pub row: Row,
    /// Why it was refused.
    pub reason: Refusal,
    /// Where the row stands.
    pub evidence: Offset,
}

/// Why a rule could not take a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The row would open a group beyond the bound on open groups.
    #[error("the rule has {limit} groups open, its limit")]
    WindowLimit {
        /// The bound.
        limit: usize,
    },
    /// An expression has no value for the row.
    #[error("an expression has no value for the row")]
    Evaluation(#[source] EvaluationError),
    /// The event time is further ahead than a clock may be wrong, so that no window takes the row.
    #[error("the row's event time is too far ahead")]
    Future,
    /// The row has no event time, so that no window holds it.
    #[error("the row has no event time")]
    NoEventTime,
}

/// A group of a closed window whose result could not be computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedWindow {
    /// The rule.
    pub rule: Arc<str>,
    /// The group's keys, joined.
    pub key: String,
    /// The window's end.
    pub window_end: EventTime,
    /// Why HAVING or SELECT has no value.
    pub error: EvaluationError,
    /// Where the row stands that closed the window.
    pub evidence: Offset,
}

/// What became of the rows and groups of a rule since its engine was new.
///
/// `rows` = `filtered` + `accepted` + `late` + `refused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleCounts {
    /// Rows of the rule's source.
    pub rows: u64,
    /// Rows for which WHERE was not true.
    pub filtered: u64,
    /// Rows that went into a result or a window.
    pub accepted: u64,
    /// Rows that came after their window had closed.
    pub late: u64,
    /// Rows the rule could not take.
    pub refused: u64,
    /// Results.
    pub results: u64,
    /// Groups for which HAVING was not true.
    pub suppressed: u64,
    /// Groups whose result could not be computed.
    pub failed: u64,
}
