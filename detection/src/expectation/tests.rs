//! Expectations as rules: what they say of data, and how mistakes in them are told.

use headland_event::{EventTime, Offset};

use crate::engine::Engine;
use crate::output::{Output, RuleResult};
use crate::program::Program;
use crate::rule_files::{Question, judge};
use crate::value::{Row, Value};

fn sql(options: &str) -> String {
    format!(
        "CREATE TABLE air (station STRING, ts TIMESTAMP(3), pm25 DOUBLE,\n\
         WATERMARK FOR ts AS ts) WITH ('topic' = 'air',\n{options});"
    )
}

fn refused(options: &str) -> String {
    Program::compile("rules.sql", &sql(options)).unwrap_err().to_string()
}

/// What rules say of rows (time in seconds, reading), each as `rule window: values`.
fn said(options: &str, rows: &[(i64, Option<f64>)]) -> Vec<String> {
    let program = Program::compile("rules.sql", &sql(options)).unwrap();
    let table = program.table_id("air").unwrap();
    let mut engine = Engine::new(program, 1);
    for (offset, (seconds, reading)) in (0..).zip(rows) {
        let time = Value::Timestamp(EventTime::from_millis(seconds * 1_000));
        let reading = reading.map_or(Value::Null, Value::Double);
        let row = Row::new(vec![Value::text("a"), time, reading]);
        engine.on_row(table, &row, Offset::new(offset), EventTime::MIN);
    }
    let end = EventTime::from_millis(1_000_000);
    engine.on_watermark(table, end, Offset::new(0), EventTime::MIN);
    let outputs = std::iter::from_fn(|| engine.poll_output());
    let told = outputs.map(|output| {
        let Output::Result(RuleResult { rule, window, columns, .. }) = output else {
            panic!("{output:?}")
        };
        let values = columns.iter().filter(|(name, _)| !name.starts_with("window"));
        let values: Vec<_> = values.map(|(name, value)| format!("{name} {value}")).collect();
        format!("{rule} {window}: {}", values.join(", "))
    });
    told.collect()
}

#[test]
fn a_share_of_nulls_above_the_bound_is_told_per_window_and_one_at_it_is_not() {
    let rows = [(0, None), (1, Some(1.0)), (60, None), (61, None), (62, Some(1.0))];

    let told = said("'expect.nulls.pm25' = '50%'", &rows);

    assert_eq!(told, ["air.expect.nulls.pm25 120000: row_count 3, nulls 2"]);
}

#[test]
fn values_outside_a_range_are_counted_and_its_bounds_and_null_are_within() {
    let rows =
        [(0, Some(-0.5)), (1, Some(1_000.0)), (2, None), (60, Some(1_000.5)), (61, Some(-9.0))];

    let told = said("'expect.range.pm25' = '-0.5..1000'", &rows);

    let expected =
        "air.expect.range.pm25 120000: row_count 2, outside 2, least -9.0, greatest 1000.5";
    assert_eq!(told, [expected]);
}

#[test]
fn one_bound_of_a_range_is_enough() {
    let rows = [(0, Some(-1.0)), (60, Some(1e9))];

    let told = said("'expect.range.pm25' = '0..'", &rows);

    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("air.expect.range.pm25 60000: "), "{told:?}");
}

#[test]
fn too_few_and_too_many_rows_are_told_for_windows_of_the_length_that_was_asked_for() {
    let rows = [(0, None), (10, None), (11, None), (20, None), (21, None), (22, None)];

    let told = said("'expect.window' = '10 s', 'expect.volume' = '2..2'", &rows);

    let volume = |window: u32, rows: u32| format!("air.expect.volume {window}: row_count {rows}");
    assert_eq!(told, [volume(10_000, 1), volume(30_000, 3)]);
}

#[test]
fn silence_is_told_at_the_end_of_the_first_window_that_finds_the_newest_row_too_old() {
    // The third row is 40 s behind the second: too old at 30 s, and the windows behind it.
    let rows = [(0, None), (9, None), (49, None), (55, None)];

    let told = said("'expect.window' = '10 s', 'expect.freshness' = '15 s'", &rows);

    let stale: Vec<&str> = told.iter().map(|one| one.split(':').next().unwrap()).collect();
    assert_eq!(stale, ["air.expect.freshness 30000", "air.expect.freshness 80000",]);
}

#[test]
fn what_is_expected_is_explained_with_the_names_of_its_rules() {
    let options = "'expect.window' = '10 min', 'expect.nulls.pm25' = '0.05', \
                   'expect.range.pm25' = '..500', 'expect.volume' = '1..', \
                   'expect.freshness' = '90 s', 'expect.topic' = 'quality', \
                   'expect.severity' = 'critical'";
    let files = [std::path::Path::new("rules.sql")];

    let text = sql(options);
    let report = judge(Question::Explain, files, |_| Ok(text.as_bytes()));

    let expected = "\
rules.sql: 4 rules over 1 table

table air, topic air, json, event time ts, watermark at the latest
  expects NULL in at most 5% of pm25 in each 10min: rule air.expect.nulls.pm25
  expects pm25 within ..500 in each 10min: rule air.expect.range.pm25
  expects 1.. rows in each 10min that has any: rule air.expect.volume
  expects a row no older than 1min30s at the end of each 10min: rule air.expect.freshness

rule air.expect.nulls.pm25 to topic quality, severity critical
plan
";
    assert_eq!(report.told.get(..expected.len()), Some(expected), "{}", report.told);
    assert_eq!(report.refused, "");
}

#[test]
fn mistakes_are_told_at_their_options_with_what_would_fit() {
    let cases = [
        (
            "'expect.nulls.pm52' = '5%'",
            "rules.sql:3:1: unknown column \"pm52\" in table air, did you mean \"pm25\"?",
        ),
        (
            "'expect.nulls.pm25' = '101%'",
            "rules.sql:3:23: option 'expect.nulls.pm25' is \"101%\", expected a share such as 5% \
             or 0.05, at most 100%",
        ),
        (
            "'expect.range.pm25' = '9..1'",
            "rules.sql:3:23: option 'expect.range.pm25' is \"9..1\", expected bounds of numbers \
             such as 0..1000, -40.5.. or ..1000",
        ),
        (
            "'expect.range.station' = '0..1'",
            "rules.sql:3:1: column station of option 'expect.range.station' is not a number, \
             expected a column of numbers",
        ),
        (
            "'expect.volume' = '..'",
            "rules.sql:3:19: option 'expect.volume' is \"..\", expected bounds of whole numbers \
             such as 10..10000, 10.. or ..10000",
        ),
        (
            "'expect.freshness' = '2 weeks'",
            "rules.sql:3:22: option 'expect.freshness' is \"2 weeks\", expected a length of time \
             such as 500ms, 10s, 5min, 1h or 7d",
        ),
        (
            "'expect.window' = '1 ms', 'expect.freshness' = '1 d'",
            "rules.sql:3:48: option 'expect.freshness' is \"1 d\", expected less than 10000 times \
             'expect.window', which is 1ms",
        ),
        (
            "'expect.fresh' = '1 d'",
            "rules.sql:3:1: unknown option \"expect.fresh\" of table air, did you mean \
             \"expect.freshness\"?",
        ),
        (
            "'expect.volume' = '1..', 'expect.severity' = 'bad'",
            "rules.sql:3:46: option 'expect.severity' is \"bad\", expected info, warning or \
             critical",
        ),
    ];

    let told = cases.map(|(options, _)| refused(options));

    assert_eq!(told, cases.map(|(_, expected)| expected.to_owned()));
}

#[test]
fn a_table_without_event_time_or_that_a_rule_writes_expects_nothing() {
    let timeless = "CREATE TABLE t (a INT) WITH ('topic' = 't', 'expect.volume' = '1..')";
    let target = sql("'expect.volume' = '1..'")
        .replace("'air',", "'high',")
        .replace("TABLE air", "TABLE high");
    let written =
        format!("{}INSERT INTO high SELECT * FROM air;{target}", sql("'key' = 'station'"));

    let told = [timeless, &written].map(|sql| Program::compile("rules.sql", sql).unwrap_err());

    let told = told.map(|error| error.to_string());
    assert_eq!(
        told[0],
        "rules.sql:1:45: option 'expect.volume' lacks WATERMARK FOR in table t: windows are of \
         event time"
    );
    assert!(
        told[1].ends_with(
            "option 'expect.volume' is on a table that a rule inserts into, expected it on a \
             table that is read"
        ),
        "{}",
        told[1]
    );
}
