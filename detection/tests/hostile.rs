//! Rules that would take all memory, time or stack of a device: each is refused when it is
//! compiled, or stops at its limit while the rule beside it goes on.

use std::error::Error;

use headland_detection::{Decoder, Engine, Output, Program};
use headland_event::{EventTime, Offset};

const TABLE: &str = "CREATE TABLE t (k STRING, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
    WITH ('topic' = 't', 'format' = 'csv');\n";

/// Why a query is refused, without its place.
fn refused(query: &str) -> String {
    let sql = format!("{TABLE}CREATE TABLE r WITH ('topic' = 'r') AS {query}");
    match Program::compile("rules.sql", &sql) {
        Ok(_) => "nothing".to_owned(),
        Err(error) => error.reason().to_string(),
    }
}

/// Runs a query by its settings beside a rule that passes every row on, over rows of one key whose
/// values count from 0; tells how many rows the query took and refused.
fn beside(settings: &str, query: &str, keys: &[&str]) -> Result<(u64, u64), Box<dyn Error>> {
    let sql = format!(
        "{TABLE}CREATE TABLE hostile WITH ('topic' = 'h', {settings}) AS {query};
         CREATE TABLE plain WITH ('topic' = 'p') AS SELECT k, v FROM t;"
    );
    let program = Program::compile("rules.sql", &sql)?;
    let table = program.table_id("t").ok_or("no table t")?;
    let decoder = Decoder::new(program.table(table), None)?;
    let mut engine = Engine::new(program, 1);
    let mut passed = 0;
    for (number, key) in (0_u64..).zip(keys) {
        let line =
            format!("{key},{number},2026-03-01 00:00:{:02}.{:03}", number / 1_000, number % 1_000);
        let row = decoder.decode(line.as_bytes())?;
        engine.on_row(table, &row, Offset::new(number), EventTime::MIN);
        while let Some(output) = engine.poll_output() {
            passed += usize::from(matches!(&output, Output::Result(one) if &*one.rule == "plain"));
        }
    }
    assert_eq!(passed, keys.len(), "the rule beside it goes on");
    let counts = engine.counts("hostile").ok_or("no rule hostile")?;
    Ok((counts.accepted, counts.refused))
}

#[test]
fn a_regex_bomb_is_refused_and_one_that_explodes_elsewhere_takes_linear_time() {
    let long = "a".repeat(50_000) + "b";

    let told = refused("SELECT k FROM t WHERE REGEXP(k, '\\w{100}{100}{100}')");
    assert!(told.contains("a pattern of more than 1048576 bytes once compiled"), "{told}");
    let told = refused("SELECT k FROM t WHERE REGEXP(k, '(a)\\1')");
    assert!(told.contains("without look-around and back references"), "{told}");
    let query = "SELECT k FROM t WHERE REGEXP(k, '^(a+)+$')";
    assert_eq!(beside("'limit.keys' = '1'", query, &[&long]).unwrap(), (0, 0));
}

#[test]
fn a_huge_window_is_refused_and_one_of_very_many_keys_stops_at_its_limit() {
    let group = "FROM t GROUP BY TUMBLE(ts, INTERVAL";
    let keys: Vec<String> = (0..50).map(|number| format!("k{number}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();

    let told = refused(&format!("SELECT COUNT(*) AS n {group} '40000' DAY)"));
    assert!(told.contains("longer than 100 years"), "{told}");
    let query = format!("SELECT k, COUNT(*) AS n {group} '36000' DAY), k");
    assert_eq!(beside("'limit.keys' = '20'", &query, &keys).unwrap(), (20, 30));
    let stopped = beside("'limit.keys' = '20', 'on-limit' = 'stop-rule'", &query, &keys).unwrap();
    assert_eq!(stopped, (20, 30));
}

#[test]
fn a_cross_join_is_refused_and_a_join_on_one_value_stops_at_its_limit_of_work() {
    let told = refused("SELECT a.k FROM t a JOIN t b ON a.v < b.v");
    assert!(told.contains("without one every row meets every other"), "{told}");
    let told = refused("SELECT a.k FROM t a CROSS JOIN t b");
    assert!(told.contains("this kind of join"), "{told}");
    let query = "SELECT a.v FROM t a JOIN t b ON a.k = b.k AND b.v < 0";
    let (accepted, refused) = beside("'limit.work' = '10'", query, &["a"; 30]).unwrap();
    // Each row enters on both sides.
    assert_eq!(accepted + refused, 60);
    assert!(refused >= 10, "{refused} refused");
}

#[test]
fn a_window_in_very_many_parts_is_refused() {
    let table = "SELECT window_end FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND, \
                 INTERVAL '1' DAY))";
    let group = "SELECT COUNT(*) AS n FROM t GROUP BY HOP(ts, INTERVAL '0.001' SECOND, INTERVAL \
                 '1' HOUR)";
    let cumulate = "SELECT window_end FROM TABLE(CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' \
                    SECOND, INTERVAL '1' DAY))";

    for query in [table, group, cumulate] {
        let told = refused(query);
        assert!(told.contains("expected at most 1000 times"), "{told}");
    }
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
    let parentheses = format!("SELECT {}1{} AS x FROM t", "(".repeat(900), ")".repeat(900));
    let calls = format!("SELECT {}v{} AS x FROM t", "ABS(".repeat(900), ")".repeat(900));
    let nots = format!("SELECT k FROM t WHERE {} TRUE", "NOT ".repeat(1_500));
    let sum = format!("SELECT v{} AS x FROM t", " + v".repeat(1_500));
    assert!(refused(&nots).contains("expected"), "the parser gives up");
    let queries = (0..60).fold("SELECT k FROM t".to_owned(), |q, _| format!("SELECT k FROM ({q})"));
    let members = (0..60).fold("SELECT k FROM t".to_owned(), |query, _| {
        format!("SELECT k FROM t WHERE k IN ({query})")
    });

    for query in [parentheses, calls, sum, queries, members] {
        let told = refused(&query);
        let is_refused =
            told.contains("nested too deeply") || told.contains("longer than its limit");
        assert!(is_refused, "{told}");
    }
    let types = format!("CREATE TABLE d (a {}INT{})", "ARRAY<".repeat(40), ">".repeat(40));
    let error = Program::compile("rules.sql", &types).unwrap_err();
    assert_eq!(error.reason().to_string(), "the nesting of a type is longer than its limit of 16");
}

#[test]
fn ten_megabytes_of_sql_are_refused_before_they_are_read() {
    let comment = format!("/*{}*/", " ".repeat(10 << 20));
    let statement = format!(
        "{TABLE}CREATE TABLE r WITH ('topic' = 'r') AS SELECT k FROM t WHERE \
                             k IN ('a'{})",
        ", 'a'".repeat(20_000)
    );

    let error = Program::compile("rules.sql", &comment).unwrap_err();
    assert_eq!(error.to_string(), "rules.sql:1:1: the file is longer than its limit of 1048576");
    let error = Program::compile("rules.sql", &statement).unwrap_err();
    assert_eq!(
        error.reason().to_string(),
        "the statement in tokens is longer than its limit of 4000"
    );
}

#[test]
fn a_pattern_that_goes_back_for_ever_stops_at_its_limit_of_work() {
    let query = "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES LAST(A.v) AS \
                 x ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW PATTERN (A* A* A* A* B) DEFINE \
                 A AS A.v >= 0, B AS B.v < 0)";

    let (accepted, refused) = beside("'limit.work' = '50'", query, &["a"; 200]).unwrap();

    assert_eq!(accepted + refused, 200);
}

#[test]
fn a_collection_of_very_many_elements_stops_at_the_limit_of_work() {
    let query = "SELECT x FROM t CROSS JOIN UNNEST(SPLIT(REPEAT(k, 100), 'a')) AS u (x)";

    assert_eq!(beside("'limit.work' = '100'", query, &["b", "a", "ab"]).unwrap(), (1, 2));
}
