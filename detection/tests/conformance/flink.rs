//! Cases of Apache Flink: a query over a table `t`, its rows, and the rows of its changelog.

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
    let expected = case.expected.iter().map(|row| {
        let values = row.iter().map(|value| value.clone().unwrap_or_else(|| "null".to_owned()));
        values.collect::<Vec<_>>().join(" | ")
    });
    case::compare(expected.collect(), results.iter().map(row).collect())
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
