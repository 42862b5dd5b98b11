//! SQL rules over event streams as a sans-IO engine.
//!
//! A rule file in a subset of Flink SQL is compiled to a [`Program`]: source tables, and rules with
//! typed operators over column indexes. A [`Decoder`] turns the lines of a table into rows, an
//! [`Engine`] turns rows into results, with Flink's semantics: three-valued logic, watermarks after
//! every row, windows aligned to the epoch and closed when the watermark reaches their last
//! millisecond, late rows in a side output.
//!
//! It does *not* read files or clocks, and does not know what an offset, a region or a device is:
//! an offset handed in is handed out as evidence.
//!
//! What it takes: `CREATE TABLE` with columns, computed columns, `WATERMARK FOR`, a primary key and
//! options, `CREATE VIEW`, and `INSERT INTO … SELECT` (or `CREATE TABLE … AS SELECT`) over filters,
//! windows, groups, OVER, joins, UNNEST, queries in WHERE, Top-N, deduplication and UNION ALL, with
//! Flink's types. Anything else is refused with file, line, column, and what would fit. Options of
//! a rule's target say how the rule runs ([`RuleSettings`]); [`Program::explain`] tells what it
//! will do, [`rule_files`] does so for whole files (`docs/rules.md`). Where it differs
//! from Flink: times have milliseconds; a row for which an expression has no value is refused
//! instead of failing the job; late rows are told and counted.
//!
//! ```
//! use headland_detection::{Decoder, Engine, Output, Program};
//! use headland_event::{EventTime, Offset};
//!
//! let program = Program::compile("rules.sql", "
//!     CREATE TABLE air (station STRING, ts TIMESTAMP(3), pm25 DOUBLE,
//!       WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE) WITH ('topic' = 'air', 'format' = 'csv');
//!     CREATE TABLE high (station STRING, until TIMESTAMP(3), pm25 DOUBLE)
//!       WITH ('topic' = 'alerts', 'severity' = 'critical');
//!     INSERT INTO high SELECT station, window_end, AVG(pm25)
//!     FROM TABLE(TUMBLE(TABLE air, DESCRIPTOR(ts), INTERVAL '1' HOUR))
//!     GROUP BY station, window_start, window_end HAVING AVG(pm25) > 120;
//! ").unwrap();
//! let table = program.table_id("air").unwrap();
//! let decoder = Decoder::new(program.table(table), None).unwrap();
//! let mut engine = Engine::new(program, 1);
//! let lines = ["Dongsi,2013-03-01 00:10:00,130", "Dongsi,2013-03-01 01:01:00,90"];
//! for (line, offset) in lines.iter().zip(0..) {
//!     let row = decoder.decode(line.as_bytes()).unwrap();
//!     engine.on_row(table, &row, Offset::new(offset), EventTime::from_millis(0));
//! }
//! let Some(Output::Result(result)) = engine.poll_output() else { panic!() };
//! assert_eq!((&*result.rule, &*result.key, &*result.window), ("high", "Dongsi", "1362099600000"));
//! ```

/// From SQL text to statements, with the place of every mistake.
mod sql;
/// Exact decimal numbers.
mod decimal;
/// Values, rows and schemas.
mod value;
/// Timestamps as text.
mod timestamp;
/// Values as bytes of a snapshot.
mod value_codec;
/// Declared tables: schema, topic, format and event time.
mod table;
/// Scalar expressions.
mod expression;
/// What is expected of the data of a table.
mod expectation;
/// What a query computes: a tree of typed relational operators.
mod relation;
/// Compiled rules: typed operators over column indexes.
mod plan;
/// From INSERT INTO … SELECT to a rule.
mod query;
/// A compiled rule file.
mod program;
/// What a rule may keep and do.
mod settings;
/// What a rule will do, told before it runs.
mod explain;
/// Rule files as their authors check them.
pub mod rule_files;
/// From a line of a topic to a row of its table.
mod decode;
/// Rows of a file that rules look up.
mod file_rows;
/// Several logs read side by side.
mod part;
/// Relational operators as they run.
mod operator;
/// What comes out of the engine.
mod output;
/// The engine: rows in, results out.
mod engine;
/// The engine's state as bytes.
mod snapshot;
/// What results make of alerts.
mod revisions;

pub use decimal::Decimal;
pub use decode::{DecodeError, Decoder, HeaderError};
pub use engine::Engine;
pub use expression::EvaluationError;
pub use file_rows::{FileMistake, FileMistakes, FileRows};
pub use output::{
    Change, FailedWindow, LateRow, LookupId, LookupRequest, Output, Refusal, RefusedRow,
    RuleCounts, RuleLoad, RuleResult,
};
pub use part::{Origin, Part, Standing};
pub use plan::Rule;
pub use program::Program;
pub use revisions::Revisions;
pub use settings::{OnLimit, RuleLimits, RuleSettings, WINDOW_LIMIT};
pub use snapshot::RestoreError;
pub use sql::error::{Hint, Position, SqlError, SqlErrorReason};
pub use table::{FilePlace, Format, Table, TableId, WithoutRows};
pub use value::{Column, DataType, Row, Schema, Value};
