//! Relational operators as they run: rows and watermarks in, rows out.

/// What passes between operators, and what an operator is.
pub(crate) mod arriving;
/// Keys as bytes.
pub(crate) mod group_key;
/// Keyed state and its snapshots.
pub(crate) mod keyed;
/// Snapshots of one map and a few numbers.
mod cut;
/// Times at which keys want to be looked at.
mod timers;
/// Rows kept per key.
mod row_list;
/// Bounded summaries.
mod sketch;
/// Variances and deviations.
mod moments;
/// How often each value was added.
mod tally;
/// Sums of DECIMAL.
mod exact_sum;
/// Aggregates.
pub(crate) mod accumulator;
/// The aggregates of a group.
pub(crate) mod group_state;
/// Projection, and passing on.
pub(crate) mod calc;
/// Rows of elements.
pub(crate) mod unnest;
/// Windows and their panes.
pub(crate) mod window;
/// Keyed state in slices of time.
mod paned;
/// Results of windows that are open.
mod early;
/// Times of which rows are missing.
mod gaps;
/// Which windows hold a row.
pub(crate) mod assign_windows;
/// Aggregates per TUMBLE, HOP and CUMULATE window.
pub(crate) mod pane_aggregate;
/// Windows that grow and merge.
mod sessions;
/// Aggregates per session.
pub(crate) mod session_aggregate;
/// Rows of sessions.
pub(crate) mod session_window;
/// Aggregates per key with updates.
pub(crate) mod group_aggregate;
/// OVER windows.
pub(crate) mod over;
/// Top-N and deduplication.
pub(crate) mod rank;
/// What every join does.
pub(crate) mod pairing;
/// Rows near each other in time.
pub(crate) mod interval_join;
/// Rows in the same window.
pub(crate) mod window_join;
/// Rows with the version at their time.
pub(crate) mod temporal_join;
/// Rows with what somebody else finds.
pub(crate) mod lookup_join;
/// Join with the last row of a topic.
pub(crate) mod latest_join;
/// Join with the rows of a file.
pub(crate) mod file_join;
/// Every pair of rows.
pub(crate) mod regular_join;
/// Runs of rows that fit a pattern.
pub(crate) mod matching;
