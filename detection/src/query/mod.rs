//! From INSERT INTO … SELECT to a rule.

/// What FROM names: a table, alone or in windows.
pub(crate) mod source;
/// GROUP BY and what may stand behind it.
pub(crate) mod grouping;
/// The clauses of SELECT and the rule they make.
pub(crate) mod select;

pub(crate) use select::compile;
