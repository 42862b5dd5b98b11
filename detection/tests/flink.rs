//! Rows and results recorded from Apache Flink 1.20.0, on input made for this project.
//!
//! Each case ends with a watermark at the end of time, as a bounded source does in Flink.

use std::error::Error;

use headland_detection::{Decoder, Engine, Output, Program};
use headland_event::{EventTime, Offset};

/// Key, value and second of each row; watermarks follow every row.
const ROWS: [(&str, i32, &str); 12] = [
    ("a", 1, "01.000"),
    ("a", 2, "05.000"),
    ("b", 3, "07.000"),
    ("a", 4, "12.000"),
    ("b", 5, "09.000"),
    ("a", 6, "03.000"),
    ("b", 7, "21.000"),
    ("a", 8, "10.000"),
    ("a", 9, "29.999"),
    ("a", 10, "30.000"),
    ("b", 11, "19.500"),
    ("a", 12, "45.000"),
];

const TUMBLE: &str = "FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY window_start, window_end, k";

/// Runs one query over the rows and tells its results, values joined by spaces.
fn results(delay: &str, target: &str, query: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let sql = format!(
        "CREATE TABLE t (k STRING, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL \
         '{delay}' SECOND) WITH ('topic' = 't', 'format' = 'csv');
         CREATE TABLE r ({target}) WITH ('topic' = 'r');
         INSERT INTO r {query}"
    );
    let program = Program::compile("case.sql", &sql)?;
    let table = program.table_id("t").ok_or("no table t")?;
    let decoder = Decoder::new(program.table(table), None)?;
    let mut engine = Engine::new(program, 1);
    for (key, value, second) in ROWS {
        let line = format!("{key},{value},2026-03-01 00:00:{second}");
        let row = decoder.decode(line.as_bytes())?;
        engine.on_row(table, &row, Offset::new(0), EventTime::MIN);
    }
    engine.on_watermark(table, EventTime::from_millis(i64::MAX), Offset::new(0), EventTime::MIN);
    let mut results = Vec::new();
    while let Some(output) = engine.poll_output() {
        if let Output::Result(result) = output {
            let values: Vec<_> =
                result.columns.iter().map(|(_, value)| value.to_string()).collect();
            results.push(values.join(" "));
        }
    }
    Ok(results)
}

/// What the query `tumble10` tells: window, key, COUNT, SUM, MIN and MAX.
fn tumble(delay: &str) -> Result<Vec<String>, Box<dyn Error>> {
    results(
        delay,
        "s TIMESTAMP(3), e TIMESTAMP(3), k STRING, c BIGINT, total INT, lo INT, hi INT",
        &format!("SELECT window_start, window_end, k, COUNT(*), SUM(v), MIN(v), MAX(v) {TUMBLE}"),
    )
}

#[test]
fn tumbling_windows_with_five_seconds_of_delay_hold_what_flink_says() {
    assert_eq!(
        tumble("5").unwrap(),
        [
            "2026-03-01T00:00:00Z 2026-03-01T00:00:10Z a 3 9 1 6",
            "2026-03-01T00:00:00Z 2026-03-01T00:00:10Z b 2 8 3 5",
            "2026-03-01T00:00:10Z 2026-03-01T00:00:20Z a 2 12 4 8",
            "2026-03-01T00:00:20Z 2026-03-01T00:00:30Z a 1 9 9 9",
            "2026-03-01T00:00:20Z 2026-03-01T00:00:30Z b 1 7 7 7",
            "2026-03-01T00:00:30Z 2026-03-01T00:00:40Z a 1 10 10 10",
            "2026-03-01T00:00:40Z 2026-03-01T00:00:50Z a 1 12 12 12",
        ]
    );
}

#[test]
fn tumbling_windows_without_delay_lose_the_same_late_rows_as_in_flink() {
    assert_eq!(
        tumble("0").unwrap(),
        [
            "2026-03-01T00:00:00Z 2026-03-01T00:00:10Z a 2 3 1 2",
            "2026-03-01T00:00:00Z 2026-03-01T00:00:10Z b 1 3 3 3",
            "2026-03-01T00:00:10Z 2026-03-01T00:00:20Z a 1 4 4 4",
            "2026-03-01T00:00:20Z 2026-03-01T00:00:30Z a 1 9 9 9",
            "2026-03-01T00:00:20Z 2026-03-01T00:00:30Z b 1 7 7 7",
            "2026-03-01T00:00:30Z 2026-03-01T00:00:40Z a 1 10 10 10",
            "2026-03-01T00:00:40Z 2026-03-01T00:00:50Z a 1 12 12 12",
        ]
    );
}

/// Flink ran this with its older group windows, which hold the same rows.
#[test]
fn having_and_the_average_of_ints_are_those_of_flink() {
    let average = |delay| {
        results(
            delay,
            "s TIMESTAMP(3), k STRING, c BIGINT, mean INT",
            &format!("SELECT window_start, k, COUNT(*), AVG(v) {TUMBLE} HAVING COUNT(*) > 1"),
        )
    };

    assert_eq!(
        average("5").unwrap(),
        ["2026-03-01T00:00:00Z a 3 3", "2026-03-01T00:00:00Z b 2 4", "2026-03-01T00:00:10Z a 2 6",]
    );
    assert_eq!(average("0").unwrap(), ["2026-03-01T00:00:00Z a 2 1"]);
}
