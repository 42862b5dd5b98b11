//! Rules that look for the last row of a topic.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test, with what it found")]

use headland_detection::{Engine, Output, Program, Row, Value};
use headland_event::{EventTime, Offset};

const TABLES: &str = "
CREATE TABLE e (station STRING, k BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
  WITH ('topic' = 'e');
CREATE TABLE limits (station STRING, kind STRING, most BIGINT,
  PRIMARY KEY (station, kind) NOT ENFORCED) WITH ('topic' = 'limits');
CREATE TABLE numbered (k INT, most BIGINT, PRIMARY KEY (k) NOT ENFORCED)
  WITH ('topic' = 'numbered');
CREATE TABLE stored (k BIGINT, most BIGINT, PRIMARY KEY (k) NOT ENFORCED)
  WITH ('connector' = 'elsewhere');
CREATE TABLE filed (k BIGINT, most BIGINT)
  WITH ('connector' = 'filesystem', 'path' = 'filed.csv', 'format' = 'csv');
CREATE VIEW newest AS SELECT station, k, ts FROM (SELECT *,
  ROW_NUMBER() OVER (PARTITION BY station ORDER BY ts DESC) AS n FROM e) WHERE n = 1;
";

/// A station with more than 22 bytes.
const LONG: &str = "a station with a name of more than thirty bytes";

fn compile(query: &str) -> Result<Program, String> {
    let sql = format!("{TABLES}CREATE TABLE o WITH ('topic' = 'o') AS\n{query};");
    Program::compile("rules.sql", &sql).map_err(|error| error.to_string())
}

/// What comes out for rows of any tables, one line each.
fn run(query: &str, rows: &[(&str, Vec<Value>)]) -> Vec<String> {
    let mut engine = Engine::new(compile(query).unwrap(), 7);
    let mut told = Vec::new();
    for (number, (table, row)) in (0..).zip(rows) {
        let table = engine.program().table_id(table).unwrap();
        engine.on_row(table, &Row::new(row.clone()), Offset::new(number), EventTime::MIN);
        while let Some(output) = engine.poll_output() {
            told.push(match output {
                Output::Result(result) => {
                    let values = result.columns.iter().map(|(_, value)| value.to_string());
                    values.collect::<Vec<_>>().join(" ")
                }
                other => format!("{other:?}"),
            });
        }
    }
    told
}

fn event(station: &str, k: i64) -> (&'static str, Vec<Value>) {
    let time = Value::Timestamp(EventTime::from_millis(0));
    ("e", vec![Value::text(station), Value::Integer(k), time])
}

fn limit(station: &str, kind: Value, most: i64) -> (&'static str, Vec<Value>) {
    ("limits", vec![Value::text(station), kind, Value::Integer(most)])
}

#[test]
fn a_column_of_the_primary_key_may_be_equal_to_a_constant() {
    let (dust, ozone) = (Value::text("pm25"), Value::text("o3"));
    let rows = [
        limit(LONG, dust.clone(), 1),
        limit(LONG, ozone, 2),
        limit("b", Value::Null, 3),
        event(LONG, 0),
        event("b", 0),
        limit(LONG, dust.clone(), 4),
        event(LONG, 0),
        limit("b", dust, 5),
        event("b", 0),
    ];
    let query = |on: &str| {
        format!(
            "SELECT e.k, l.most FROM e LEFT JOIN limits FOR SYSTEM_TIME AS OF e.ts AS l ON {on}"
        )
    };

    let behind = run(&query("l.station = e.station AND l.kind = 'pm25'"), &rows);
    let before = run(&query("'pm25' = l.kind AND e.station = l.station"), &rows);

    assert_eq!(behind, ["0 1", "0 NULL", "0 4", "0 5"]);
    assert_eq!(before, behind);
}

#[test]
fn a_key_of_a_narrower_type_is_compared_by_value() {
    let numbered = |k: i64, most| ("numbered", vec![Value::Integer(k), Value::Integer(most)]);
    let rows =
        [numbered(1, 10), numbered(-1, 20), event("a", 1), event("a", -1), event("a", 1 << 32 | 1)];

    let told = run(
        "SELECT e.k, n.most FROM e LEFT JOIN numbered FOR SYSTEM_TIME AS OF e.ts AS n ON n.k = e.k",
        &rows,
    );

    assert_eq!(told, ["1 10", "-1 20", "4294967297 NULL"]);
}

#[test]
fn a_condition_without_a_column_of_the_primary_key_is_refused_where_it_stands() {
    let joined = "SELECT e.k FROM e JOIN limits FOR SYSTEM_TIME AS OF e.ts AS l\nON ";

    let missing = compile(&format!("{joined}l.station = e.station")).unwrap_err();
    let changed =
        compile(&format!("{joined}l.station = e.station AND UPPER(l.kind) = 'A'")).unwrap_err();

    for error in [missing, changed] {
        assert!(error.contains("lacks an equality with `kind` itself"), "{error}");
        assert!(error.starts_with("rules.sql:16:4"), "{error}");
    }
}

#[test]
fn rows_that_are_taken_back_look_nothing_up() {
    for table in ["numbered", "stored", "filed"] {
        let query = format!(
            "SELECT n.station, t.most FROM newest AS n\n\
             JOIN {table} FOR SYSTEM_TIME AS OF n.ts AS t ON t.k = n.k"
        );

        let error = compile(&query).unwrap_err();

        assert!(error.contains("looking rows up that may be taken back is not"), "{error}");
        assert!(error.starts_with("rules.sql:16:"), "{error}");
    }
}
