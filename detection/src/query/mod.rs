//! From INSERT INTO … SELECT to a rule.

/// Relations with the names their columns have in SQL.
mod bound;
/// What FROM names.
mod source;
/// Columns that say when a row arrived.
mod arrival;
/// Joins and what bounds their state.
mod join;
/// `CROSS JOIN UNNEST(…)`.
mod unnest;
/// `IN (SELECT …)` and `EXISTS`.
mod membership;
/// Windowing functions.
mod window;
/// Conditions of WHERE and ON, one by one.
mod conjunct;
/// Ranks: Top-N and deduplication.
mod rank;
/// OVER.
mod over;
/// GROUP BY and what may stand behind it.
mod grouping;
/// MATCH_RECOGNIZE.
mod pattern;
/// Calls of aggregates.
mod aggregate;
/// The clauses of SELECT.
mod select;
/// Queries: SELECT, UNION ALL, WITH.
mod body;
/// What a rule does with its rows.
mod sink;

pub(crate) use sink::{columns, compile};
