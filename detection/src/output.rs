//! What comes out of the engine.

use std::fmt;
use std::sync::Arc;

use headland_event::{EventTime, Finality, Offset, Severity, TopicName};

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
    /// A rule wants a key looked up; answer with [`Engine::on_lookup`](crate::Engine::on_lookup).
    Lookup(LookupRequest),
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
    /// How sure it is. Of an update, what the new row is.
    pub finality: Finality,
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
    /// The end of the last window it would have gone to; none for a rule without windows, such as
    /// OVER.
    pub window_end: Option<EventTime>,
    /// The watermark of the table before the row.
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
    /// The row would open a group, session or partition beyond the bound on them.
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
    /// The rule keeps as much as it may.
    #[error("the rule keeps {limit} bytes, its limit")]
    MemoryLimit {
        /// The bound, in bytes.
        limit: usize,
    },
    /// The row would make the rule look at or make more rows than it may for one.
    #[error("the row takes more than {limit} rows to look at, the rule's limit")]
    WorkLimit {
        /// The bound.
        limit: usize,
    },
    /// The rule has stopped at a limit.
    #[error("the rule has stopped at a limit")]
    Stopped,
    /// The rule looks in a file that could not be read.
    #[error("the rule looks in a file that could not be read")]
    NoTable,
}

impl Refusal {
    /// Whether the rule's limits are the reason.
    pub(crate) const fn is_limit(&self) -> bool {
        match self {
            Self::WindowLimit { .. } | Self::MemoryLimit { .. } | Self::WorkLimit { .. } => true,
            Self::Evaluation(_)
            | Self::Future
            | Self::NoEventTime
            | Self::Stopped
            | Self::NoTable => false,
        }
    }
}

/// A key that a rule wants looked up in a table: whoever drives the engine finds the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupRequest {
    /// The rule.
    pub rule: Arc<str>,
    /// Names the request within the rule.
    pub id: LookupId,
    /// The key's values, in the order of the join's conditions.
    pub key: Vec<Value>,
    /// When the row was captured that asks.
    pub arrived_at: EventTime,
    /// Where that row stands.
    pub evidence: Offset,
}

/// Names a [`LookupRequest`] within its rule; the same after a restart from a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupId {
    pub(crate) stage: usize,
    pub(crate) number: u64,
}

/// A result of an operator that a later one could not take, such as a group of a closed window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedWindow {
    /// The rule.
    pub rule: Arc<str>,
    /// The group's keys, joined; empty when it is of no window.
    pub key: String,
    /// The window's end; none when it is of no window.
    pub window_end: Option<EventTime>,
    /// Why it could not be taken.
    pub error: Refusal,
    /// Where the row stands that brought it about.
    pub evidence: Offset,
}

/// What a rule keeps, and what it had no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleLoad {
    /// Keys that it keeps, in all of its operators and windows.
    pub keys: usize,
    /// Bytes of its state, about.
    pub bytes: usize,
    /// Rows refused at a limit, or because the rule had stopped at one, since the engine was made
    /// or restored.
    pub limited: u64,
}

/// What became of the rows and groups of a rule since its engine was new.
///
/// `rows` = `filtered` + `accepted` + `late` + `refused`; a row that the rule reads in two places,
/// such as a join of a table with itself, counts twice.
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
    /// Early results that were due and left out at a limit, in windows.
    pub early_left_out: u64,
}

impl RuleCounts {
    /// What became of rows, by name: each of them is in one of these.
    #[must_use]
    pub const fn outcomes(&self) -> [(&'static str, u64); 4] {
        [
            ("filtered", self.filtered),
            ("accepted", self.accepted),
            ("late", self.late),
            ("refused", self.refused),
        ]
    }
}
