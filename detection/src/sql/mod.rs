//! From SQL text to statements, with the place of every mistake.

/// Where and why SQL was refused.
pub(crate) mod error;
/// The nearest known name to a misspelt one.
pub(crate) mod spelling;
/// Flink's syntax as far as `sqlparser` lets a dialect reach.
pub(crate) mod dialect;
/// Interval literals.
pub(crate) mod interval;
/// Types as they are written.
pub(crate) mod data_type;
/// `WITHIN INTERVAL …` behind PATTERN.
pub(crate) mod within;
/// The statements of a rule file.
pub(crate) mod statement;
