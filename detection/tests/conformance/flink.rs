//! Cases of Apache Flink: a query over a table `t`, its rows, and the rows of its changelog.

use std::collections::BTreeMap;

use headland_detection::RuleResult;
use serde::Deserialize;

use crate::case::{self, Verdict};
use crate::shown;

/// Cases that were given to this project; made on Flink 1.20.0.
pub(crate) const GIVEN: &[u8] =
    include_bytes!("../../../tests/fixtures/conformance/flink_sql/cases.json.zst");

/// Cases of our own; `Generate.java` beside them makes them again.
pub(crate) const OWN: &[u8] = include_bytes!("../../../tests/fixtures/flink/cases.json.zst");

/// Cases that do not answer as Flink does, and why.
pub(crate) const DEVIATIONS: &str =
    include_str!("../../../tests/fixtures/conformance/DEVIATIONS.md");

#[derive(Debug, Deserialize)]
struct Case {
    id: String,
    sql: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Option<String>>>,
    delay_ms: u64,
    /// The change, then the values.
    expected: Vec<Vec<Option<String>>>,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    data_type: String,
}

/// Runs every case of a compressed file.
pub(crate) fn run(compressed: &[u8]) -> Vec<Verdict> {
    let json = zstd::stream::decode_all(compressed).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&json).unwrap();
    cases.iter().map(|case| Verdict::new(&case.id, outcome(case))).collect()
}

fn outcome(case: &Case) -> Result<(), String> {
    let columns: Vec<String> = case
        .columns
        .iter()
        .map(|column| {
            let is_time = column.data_type == "TS";
            let data_type = if is_time { "TIMESTAMP(3)" } else { &column.data_type };
            format!("`{}` {data_type}", column.name)
        })
        .collect();
    let sql = format!(
        "CREATE TABLE t ({}, WATERMARK FOR ts AS ts - INTERVAL '{}.{:03}' SECOND) WITH ('topic' = \
         't', 'format' = 'csv');\nCREATE TABLE result WITH ('topic' = 'result') AS\n{}",
        columns.join(", "),
        case.delay_ms / 1_000,
        case.delay_ms % 1_000,
        case.sql.trim_end_matches(';'),
    );
    let lines: Vec<_> = case.rows.iter().map(|row| (vec!["t".to_owned()], line(row))).collect();
    let results = case::run(&sql, &lines)?;
    let shown = |row: &Vec<Option<String>>| {
        let values = row.iter().map(|value| match value {
            // Java writes the kind of change in front of a ROW, also within an ARRAY.
            Some(text) => text.replace("+I[", "["),
            None => "null".to_owned(),
        });
        values.collect::<Vec<_>>().join(" | ")
    };
    let (expected, found): (Vec<_>, Vec<_>) =
        (case.expected.iter().map(shown).collect(), results.iter().map(row).collect());
    if readers(&case.sql) > 1 {
        return case::compare(standing(&expected), standing(&found));
    }
    case::compare(expected, found)
}

/// How often a query reads the table: of two readers Flink fixes no order, so that what is taken
/// back on the way depends on the run, and what stands at the end does not.
fn readers(sql: &str) -> usize {
    ["FROM t", "JOIN t", "TABLE t"].iter().map(|reader| sql.matches(reader).count()).sum()
}

/// The rows that stand behind changes, each with how often.
fn standing(changes: &[String]) -> Vec<String> {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for change in changes {
        let (kind, row) = change.split_once(" | ").unwrap_or((change, ""));
        *counts.entry(row).or_insert(0) += if kind.starts_with('+') { 1 } else { -1 };
    }
    let left = counts.into_iter().filter(|(_, count)| *count != 0);
    left.map(|(row, count)| format!("{count} times {row}")).collect()
}

/// A row as a line of CSV: absent fields are NULL, all others are quoted.
fn line(row: &[Option<String>]) -> String {
    let fields = row.iter().map(|field| match field {
        Some(text) => format!("\"{}\"", text.replace('"', "\"\"")),
        None => String::new(),
    });
    fields.collect::<Vec<_>>().join(",")
}

fn row(result: &RuleResult) -> String {
    let values = result.columns.iter().map(|(_, value)| shown::value(value));
    std::iter::once(result.change.to_string()).chain(values).collect::<Vec<_>>().join(" | ")
}
