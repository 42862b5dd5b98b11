//! What comes out of the engine, against Flink's semantics and a naive model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::output::{LateRow, Refusal, RuleResult};
use crate::snapshot::RestoreError;
use crate::value::Value;

/// Alerts of windows that are open.
mod alerts;
/// Early, final and corrected results.
mod revised;

const TABLE: &str = "
    CREATE TABLE t (k STRING, v BIGINT, d DOUBLE, ts TIMESTAMP(3),
      WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('topic' = 't', 'key' = 'k');";

const COUNTS: &str = "
    CREATE TABLE counts (k STRING, c BIGINT, s BIGINT, a BIGINT, mean DOUBLE, least BIGINT)
      WITH ('topic' = 'alerts', 'severity' = 'critical');
    INSERT INTO counts SELECT k, COUNT(*), SUM(v), AVG(v), AVG(d), MIN(v)
    FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY k, window_start, window_end;";

fn engine(rules: &str) -> Engine {
    Engine::new(Program::compile("rules.sql", &format!("{TABLE}{rules}")).unwrap(), 7)
}

const T: TableId = TableId::new(0);

fn row(key: &str, value: Option<i64>, millis: i64) -> Row {
    let value = value.map_or(Value::Null, Value::Integer);
    let time = Value::Timestamp(EventTime::from_millis(millis));
    Row::new(vec![Value::text(key), value, Value::Null, time])
}

fn drain(engine: &mut Engine) -> Vec<Output> {
    std::iter::from_fn(|| engine.poll_output()).collect()
}

/// Feeds rows of (key, value, event time in ms); the place in the slice is the offset.
fn run(engine: &mut Engine, rows: &[(&str, Option<i64>, i64)]) -> Vec<Output> {
    for (offset, (key, value, millis)) in (0..).zip(rows) {
        let captured_at = EventTime::from_millis(1_000_000 + i64::try_from(offset).unwrap());
        engine.on_row(T, &row(key, *value, *millis), Offset::new(offset), captured_at);
        engine.check_invariants();
    }
    drain(engine)
}

/// Results as `key window: values`, late and refused rows by their offset.
fn told(outputs: &[Output]) -> Vec<String> {
    let told = outputs.iter().map(|output| match output {
        Output::Result(RuleResult { key, window, columns, .. }) => {
            let values: Vec<_> = columns.iter().map(|(_, value)| value.to_string()).collect();
            format!("{key} {window}: {}", values.join(" "))
        }
        Output::Late(late) => format!("late {}", late.evidence),
        Output::Refused(refused) => format!("refused {}: {}", refused.evidence, refused.reason),
        Output::Failed(failed) => {
            let end = failed.window_end.unwrap();
            let Refusal::Evaluation(error) = failed.error else { panic!("{failed:?}") };
            format!("failed {} {end}: {error}", failed.key)
        }
        Output::Lookup(lookup) => format!("lookup {:?}", lookup.key),
    });
    told.collect()
}

#[test]
fn a_window_fires_when_the_watermark_reaches_its_last_millisecond() {
    let mut engine = engine(COUNTS);

    let before = run(&mut engine, &[("a", Some(1), 0), ("a", Some(2), 14_998)]);
    let at = run(&mut engine, &[("a", Some(4), 14_999)]);

    assert_eq!(told(&before), Vec::<String>::new());
    assert_eq!(engine.watermark(T), Some(EventTime::from_millis(9_999)));
    assert_eq!(told(&at), ["a 10000: a 1 1 1 NULL 1"]);
}

#[test]
fn a_row_is_late_when_its_window_had_closed_before_it_and_not_when_it_closes_the_window_itself() {
    // The watermark is 9,998 before the last row of the first input, and 9,999 of the second.
    let in_time = [("a", Some(1), 14_998), ("a", Some(2), 9_999)];
    let too_late = [("a", Some(1), 14_999), ("a", Some(2), 9_999)];

    let (mut first, mut second) = (engine(COUNTS), engine(COUNTS));
    let (first_out, second_out) = (run(&mut first, &in_time), run(&mut second, &too_late));

    assert_eq!(told(&first_out), Vec::<String>::new());
    assert_eq!(told(&second_out), ["late 1"]);
    assert_eq!(first.counts("counts").unwrap().accepted, 2);
    assert_eq!(second.counts("counts").unwrap().late, 1);
}

#[test]
fn a_late_row_says_what_it_was_late_for() {
    let outputs = run(&mut engine(COUNTS), &[("a", None, 15_000), ("b", Some(2), 9_000)]);

    let expected = LateRow {
        table: T,
        rule: "counts".into(),
        row: row("b", Some(2), 9_000),
        event_time: EventTime::from_millis(9_000),
        window_end: Some(EventTime::from_millis(10_000)),
        watermark: EventTime::from_millis(10_000),
        evidence: Offset::new(1),
    };
    assert_eq!(outputs, [Output::Late(expected)]);
}

#[test]
fn a_row_behind_the_watermark_is_taken_while_its_window_is_open() {
    let rows = [("a", Some(1), 18_000), ("a", Some(2), 10_001), ("a", Some(3), 25_000)];

    assert_eq!(told(&run(&mut engine(COUNTS), &rows)), ["a 20000: a 2 3 1 NULL 1"]);
}

#[test]
fn windows_that_close_together_come_out_by_end_then_key() {
    let rows =
        [("b", Some(1), 9_000), ("b", Some(1), 11_000), ("a", Some(1), 9_500), ("z", None, 60_000)];

    let outputs = run(&mut engine(COUNTS), &rows);

    assert_eq!(
        told(&outputs),
        ["a 10000: a 1 1 1 NULL 1", "b 10000: b 1 1 1 NULL 1", "b 20000: b 1 1 1 NULL 1"]
    );
}

#[test]
fn a_result_carries_the_input_that_made_it_fire() {
    let outputs = run(&mut engine(COUNTS), &[("a", None, 0), ("b", Some(1), 20_000)]);

    let Some(Output::Result(result)) = outputs.first() else { panic!("{outputs:?}") };
    assert_eq!(result.evidence, Offset::new(1));
    assert_eq!(result.captured_at, EventTime::from_millis(1_000_001));
    assert_eq!(result.event_time, EventTime::from_millis(9_999));
    assert_eq!(result.severity, headland_event::Severity::Critical);
    let names: Vec<_> = result.columns.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["k", "c", "s", "a", "mean", "least"]);
    assert_eq!(told(&outputs), ["a 10000: a 1 NULL NULL NULL NULL"]);
}

#[test]
fn having_drops_a_group_and_counts_it() {
    let rules = "
        CREATE TABLE many (k STRING, c BIGINT) WITH ('topic' = 'alerts');
        INSERT INTO many SELECT k, COUNT(v) FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL \
         '10' SECOND)) WHERE k <> 'c' GROUP BY k, window_start, window_end
        HAVING SUM(v) > 5 AND k <> 'b';";
    let mut engine = engine(rules);
    let rows = [("a", Some(6), 1), ("b", Some(6), 2), ("c", Some(6), 3), ("a", None, 15_000)];

    let outputs = run(&mut engine, &rows);

    assert_eq!(told(&outputs), ["a 10000: a 1"]);
    let counts = engine.counts("many").unwrap();
    assert_eq!((counts.filtered, counts.suppressed, counts.results), (1, 1, 1));
}

#[test]
fn a_filter_passes_rows_that_are_true_and_drops_the_false_and_the_unknown() {
    let rules = "
        CREATE TABLE big (k STRING, doubled BIGINT) WITH ('topic' = 'alerts');
        INSERT INTO big SELECT k, v * 2 FROM t WHERE v >= 100;";
    let mut engine = engine(rules);

    let outputs = run(&mut engine, &[("a", Some(100), 1), ("b", Some(99), 2), ("c", None, 3)]);

    assert_eq!(told(&outputs), ["a 0: a 200"]);
    assert_eq!(engine.counts("big").unwrap().filtered, 2);
}

#[test]
fn alert_key_and_alert_window_name_columns_of_the_result() {
    let rules = "
        CREATE TABLE sale (v BIGINT, sku STRING)
          WITH ('topic' = 'alerts', 'alert.key' = 'sku', 'alert.window' = 'v');
        INSERT INTO sale SELECT v, k FROM t;";

    assert_eq!(told(&run(&mut engine(rules), &[("85123A", Some(6), 1)])), ["85123A 6: 6 85123A"]);
}

#[test]
fn a_row_whose_expression_has_no_value_is_refused_and_counted() {
    let rules = "
        CREATE TABLE share (q BIGINT) WITH ('topic' = 'alerts');
        INSERT INTO share SELECT 10 / v FROM t;";
    let mut engine = engine(rules);

    let outputs = run(&mut engine, &[("a", Some(0), 1), ("a", Some(4), 2)]);

    assert_eq!(told(&outputs), ["refused 0: an expression has no value for the row", "a 1: 2"]);
    assert_eq!(engine.counts("share").unwrap().refused, 1);
}

#[test]
fn a_group_whose_result_has_no_value_is_named() {
    let rules = "
        CREATE TABLE share (k STRING, q BIGINT) WITH ('topic' = 'alerts');
        INSERT INTO share SELECT k, 1 / SUM(v) FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL \
         '10' SECOND)) GROUP BY k, window_start, window_end;";
    let mut engine = engine(rules);

    let outputs = run(&mut engine, &[("a", Some(0), 1), ("b", Some(1), 2), ("a", None, 15_000)]);

    assert_eq!(told(&outputs), ["failed a 10000ms: an integer is divided by zero", "b 10000: b 1"]);
    assert_eq!(engine.counts("share").unwrap().failed, 1);
}

#[test]
fn a_row_that_would_open_a_group_beyond_the_limit_is_refused_and_still_moves_time() {
    let mut engine = engine(COUNTS).with_window_limit(1);
    let rows = [("a", Some(1), 1), ("b", Some(1), 2), ("a", Some(1), 3), ("b", Some(1), 20_000)];

    let outputs = run(&mut engine, &rows);

    assert_eq!(
        told(&outputs),
        [
            "refused 1: the rule has 1 groups open, its limit",
            "refused 3: the rule has 1 groups open, its limit",
            "a 10000: a 2 2 1 NULL 1"
        ]
    );
}

#[test]
fn a_row_without_event_time_is_refused_by_windows_and_moves_nothing() {
    let mut engine = engine(COUNTS);
    let row = Row::new(vec![Value::text("a"), Value::Null, Value::Null, Value::Null]);

    engine.on_row(T, &row, Offset::new(0), EventTime::from_millis(5));

    assert_eq!(told(&drain(&mut engine)), ["refused 0: the row has no event time"]);
    assert_eq!(engine.watermark(T), None);
}

#[test]
fn a_watermark_moves_forward_only() {
    let mut engine = engine(COUNTS);
    let mut set = |millis| {
        engine.on_watermark(T, EventTime::from_millis(millis), Offset::new(0), EventTime::MIN);
        engine.watermark(T).map(EventTime::millis)
    };

    assert_eq!([set(5), set(3), set(6)], [Some(5), Some(5), Some(6)]);
}

#[test]
fn the_end_of_time_closes_the_last_window_and_overflows_nothing() {
    let mut engine = engine(COUNTS);

    let outputs = run(&mut engine, &[("a", Some(1), i64::MIN), ("b", Some(1), i64::MAX)]);
    engine.on_watermark(T, EventTime::from_millis(i64::MAX), Offset::new(2), EventTime::MIN);

    assert_eq!(outputs.len() + drain(&mut engine).len(), 2);
}

#[test]
fn a_hostile_rule_stops_at_its_limit_while_others_go_on() {
    let other = COUNTS.replace("counts", "others");
    let stop =
        RuleSettings { keys_limit: 1, on_limit: crate::OnLimit::StopRule, ..Default::default() };
    let mut engine = engine(&format!("{COUNTS}{other}")).with_settings("counts", stop);
    let rows = [("a", Some(1), 1), ("b", Some(1), 2), ("a", Some(1), 3), ("b", Some(1), 20_000)];

    let outputs = run(&mut engine, &rows);

    assert_eq!(
        told(&outputs),
        [
            "refused 1: the rule has 1 groups open, its limit",
            "refused 2: the rule has stopped at a limit",
            "refused 3: the rule has stopped at a limit",
            "a 10000: a 2 2 1 NULL 1",
            "b 10000: b 1 1 1 NULL 1",
        ]
    );
    assert_eq!(engine.counts("counts").unwrap().refused, 3);
}

fn changed_text(now: i64, before: i64) -> String {
    let shape = |size| {
        format!(
            "panes TUMBLE {size} ms, 1 keys, Count() BIGINT Append, Sum(BIGINT) BIGINT Append, \
             Average(BIGINT) BIGINT Append, Average(DOUBLE) DOUBLE Append, Min(BIGINT) BIGINT \
             Append"
        )
    };
    format!("rule \"counts\" now keeps {}, the snapshot holds {}", shape(now), shape(before))
}

#[test]
fn a_snapshot_is_refused_by_rules_that_keep_other_state() {
    let snapshot = engine(COUNTS).snapshot();
    let other = COUNTS.replace("'10' SECOND", "'20' SECOND");
    let program = |rules: &str| Program::compile("rules.sql", &format!("{TABLE}{rules}")).unwrap();

    let changed = Engine::restore(program(&other), 1, snapshot.clone()).unwrap_err();
    let removed = Engine::restore(program(""), 1, snapshot.clone()).unwrap_err();
    let version = Engine::restore(program(""), 1, bytes::Bytes::from_static(&[9])).unwrap_err();

    assert_eq!(changed.to_string(), changed_text(20_000, 10_000));
    assert_eq!(removed, RestoreError::UnknownRule { name: "counts".to_owned() });
    assert_eq!(version, RestoreError::Version { found: 9 });
    let mut longer = snapshot.to_vec();
    longer.push(0);
    let damaged = Engine::restore(program(COUNTS), 1, longer.into()).unwrap_err();
    assert_eq!(damaged.to_string(), "the snapshot is damaged");
}

#[test]
fn a_snapshot_is_refused_under_another_allowed_lateness_or_retention() {
    let last = "CREATE TABLE last (k STRING, c BIGINT) WITH ('topic' = 'last');
        INSERT INTO last SELECT k, COUNT(*) OVER (PARTITION BY k ORDER BY ts
          ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM t;";
    let program = |rules: &str| Program::compile("rules.sql", &format!("{TABLE}{rules}")).unwrap();
    let options = [
        (COUNTS, "'severity' = 'critical'", "'allowed-lateness' = '1h'", "3600000 ms late"),
        (last, "'topic' = 'last'", "'topic' = 'last', 'state-retention' = '1h'", "for 3600000 ms"),
    ];
    for (rules, plain, option, named) in options {
        let snapshot = engine(rules).snapshot();

        let changed = Engine::restore(program(&rules.replace(plain, option)), 1, snapshot);

        let error = changed.unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn a_rule_that_stopped_at_a_limit_begins_anew_once_it_is_raised() {
    let with = |option: &str| {
        let option = format!("'on-limit' = 'stop-rule', {option}");
        let rules = COUNTS.replace("'severity' = 'critical'", &option);
        Program::compile("rules.sql", &format!("{TABLE}{rules}")).unwrap()
    };
    let mut engine = Engine::new(with("'limit.keys' = '1'"), 7);
    run(&mut engine, &[("a", Some(1), 16_000), ("b", Some(1), 17_000)]);
    let snapshot = engine.snapshot();
    let rows = [("c", Some(1), 9_000), ("c", Some(1), 18_000), ("c", Some(1), 40_000)];
    let told_under = |option: &str| {
        let mut engine = Engine::restore(with(option), 1, snapshot.clone()).unwrap();
        told(&run(&mut engine, &rows))
    };

    let same = told_under("'limit.keys' = '1'");
    let raised = told_under("'limit.keys' = '2'");

    assert!(same.iter().all(|line| line.ends_with("the rule has stopped at a limit")), "{same:?}");
    assert_eq!(raised.len(), 2, "{raised:?}");
    assert!(raised[0].starts_with("late 0"), "{raised:?}");
    assert_eq!(raised[1], "c 20000: c 1 1 1 NULL 1");
}

#[test]
fn a_rule_that_stops_while_a_snapshot_is_taken_is_in_it_as_it_ran() {
    let option = "'on-limit' = 'stop-rule', 'limit.keys' = '1'";
    let rules = COUNTS.replace("'severity' = 'critical'", option);
    let program = Program::compile("rules.sql", &format!("{TABLE}{rules}")).unwrap();
    let before = [("a", Some(1), 16_000)];
    let mut engine = Engine::new(program.clone(), 7);
    run(&mut engine, &before);
    let expected = engine.snapshot();

    engine.begin_snapshot();
    let mut parts = engine.poll_snapshot(1).unwrap().to_vec();
    run(&mut engine, &[("b", Some(1), 17_000)]);
    let kept = engine.load("counts").map(|load| load.keys);
    while let Some(part) = engine.poll_snapshot(1) {
        parts.extend_from_slice(&part);
    }

    assert_eq!(kept, Some(0), "the rule has stopped");
    assert_eq!(bytes::Bytes::from(parts), expected);
    let after = engine.snapshot();
    assert_eq!(Engine::restore(program, 7, after.clone()).unwrap().snapshot(), after);
}

#[test]
fn a_part_of_a_snapshot_takes_many_small_windows() {
    let table = TABLE.replace("INTERVAL '5' SECOND", "INTERVAL '2' HOUR");
    let program = Program::compile("rules.sql", &format!("{table}{COUNTS}")).unwrap();
    let mut engine = Engine::new(program, 7);
    // So many windows are open at once, of a key each.
    let windows: Vec<_> = (0..500).map(|at| ("a", Some(1), at * 10_000)).collect();
    run(&mut engine, &windows);
    let expected = engine.snapshot();

    engine.begin_snapshot();
    let parts: Vec<bytes::Bytes> = std::iter::from_fn(|| engine.poll_snapshot(1_024)).collect();

    assert_eq!(bytes::Bytes::from(parts.concat()), expected);
    assert!(parts.len() < 10, "{} parts", parts.len());
}

#[test]
#[should_panic(expected = "outputs are drained before a snapshot")]
fn a_snapshot_before_outputs_are_drained_would_lose_them_and_panics() {
    let mut engine = engine(COUNTS);
    engine.on_row(T, &row("a", None, 0), Offset::new(0), EventTime::MIN);
    engine.on_row(T, &row("a", None, 90_000), Offset::new(1), EventTime::MIN);

    drop(engine.snapshot());
}

type Input = (String, Option<i64>, i64);

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    // Values and times are small enough for keys, windows and lateness to collide.
    prop::collection::vec(("[a-c]", prop::option::of(-50_i64..50), -40_000_i64..40_000), 0..60)
}

/// The rules of the property tests: a window rule and a filter over the same rows.
const BOTH: &str = "
    CREATE TABLE counts (k STRING, c BIGINT, n BIGINT, s BIGINT, a BIGINT, lo BIGINT, hi BIGINT)
      WITH ('topic' = 'alerts');
    INSERT INTO counts SELECT k, COUNT(*), COUNT(v), SUM(v), AVG(v), MIN(v), MAX(v)
    FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY k, window_start, window_end;
    CREATE TABLE big (k STRING, v BIGINT) WITH ('topic' = 'alerts');
    INSERT INTO big SELECT k, v FROM t WHERE v > 40;";

fn feed(engine: &mut Engine, offset: usize, (key, value, millis): &Input) {
    let offset = Offset::new(u64::try_from(offset).unwrap());
    engine.on_row(T, &row(key, *value, *millis), offset, EventTime::from_millis(0));
    engine.check_invariants();
}

fn finish(engine: &mut Engine) {
    engine.on_watermark(T, EventTime::from_millis(i64::MAX), Offset::new(999), EventTime::MIN);
    engine.check_invariants();
}

fn whole(inputs: &[Input]) -> Vec<Output> {
    let mut engine = engine(BOTH);
    for (offset, input) in inputs.iter().enumerate() {
        feed(&mut engine, offset, input);
    }
    finish(&mut engine);
    drain(&mut engine)
}

/// What a batch job computes over the rows that are not late: results by (end, key), then the
/// offsets of the late rows.
fn naive(inputs: &[Input]) -> (Vec<String>, Vec<String>) {
    let mut watermark = i64::MIN;
    let mut groups: BTreeMap<(i64, String), Vec<Option<i64>>> = BTreeMap::new();
    let mut late = Vec::new();
    for (offset, (key, value, millis)) in inputs.iter().enumerate() {
        let end = (millis.div_euclid(10_000) + 1) * 10_000;
        if end - 1 <= watermark {
            late.push(format!("late {offset}"));
        } else {
            groups.entry((end, key.clone())).or_default().push(*value);
        }
        watermark = watermark.max(millis - 5_000);
    }
    let shown =
        |value: Option<i64>| value.map_or_else(|| "NULL".to_owned(), |value| value.to_string());
    let results = groups.iter().map(|((end, key), rows)| {
        let values: Vec<i64> = rows.iter().copied().flatten().collect();
        let count = i64::try_from(values.len()).unwrap();
        let sum = (count > 0).then(|| values.iter().sum::<i64>());
        format!(
            "{key} {end}: {key} {} {count} {} {} {} {}",
            rows.len(),
            shown(sum),
            shown(sum.map(|sum| sum / count)),
            shown(values.iter().copied().min()),
            shown(values.iter().copied().max())
        )
    });
    (results.collect(), late)
}

proptest! {
    #[test]
    fn results_are_those_of_a_batch_computation_over_the_rows_that_are_not_late(
        inputs in inputs()
    ) {
        let outputs = whole(&inputs);

        let of_windows = outputs.iter().filter(|output| {
            !matches!(output, Output::Result(result) if &*result.rule == "big")
        });
        let of_windows = told(&of_windows.cloned().collect::<Vec<_>>());
        let (late, results) =
            of_windows.into_iter().partition::<Vec<_>, _>(|told| told.starts_with("late"));
        prop_assert_eq!((results, late), naive(&inputs));
    }

    #[test]
    fn the_batches_rows_come_in_change_nothing(
        inputs in inputs(), drains in prop::collection::vec(any::<bool>(), 60)
    ) {
        let mut engine = engine(BOTH);
        let mut outputs = Vec::new();
        for ((offset, input), drains) in inputs.iter().enumerate().zip(drains) {
            feed(&mut engine, offset, input);
            if drains {
                outputs.extend(drain(&mut engine));
            }
        }
        finish(&mut engine);
        outputs.extend(drain(&mut engine));

        prop_assert_eq!(outputs, whole(&inputs));
    }

    #[test]
    fn a_restart_from_a_snapshot_at_any_point_changes_nothing(
        inputs in inputs(), restart in 0_usize..60, seed in any::<u64>()
    ) {
        let mut engine = engine(BOTH);
        let mut outputs = Vec::new();
        for (offset, input) in inputs.iter().enumerate() {
            if offset == restart {
                outputs.extend(drain(&mut engine));
                let snapshot = engine.snapshot();
                let program = engine.program().clone();
                engine = Engine::restore(program, seed, snapshot.clone()).unwrap();
                prop_assert_eq!(engine.snapshot(), snapshot, "equal states give equal bytes");
            }
            feed(&mut engine, offset, input);
        }
        finish(&mut engine);
        outputs.extend(drain(&mut engine));

        prop_assert_eq!(outputs, whole(&inputs));
    }

    #[test]
    fn every_row_is_accounted_for(inputs in inputs()) {
        let mut engine = engine(BOTH);
        for (offset, input) in inputs.iter().enumerate() {
            feed(&mut engine, offset, input);
        }
        finish(&mut engine);
        let outputs = drain(&mut engine);

        let counts = engine.counts("counts").unwrap();
        let late = outputs.iter().filter(|output| matches!(output, Output::Late(_))).count();
        let accepted: i64 = outputs
            .iter()
            .filter_map(|output| match output {
                Output::Result(result) if &*result.rule == "counts" => Some(&result.columns[1].1),
                _ => None,
            })
            .map(|count| if let Value::Integer(count) = count { *count } else { panic!() })
            .sum();
        prop_assert_eq!(counts.rows, u64::try_from(inputs.len()).unwrap());
        prop_assert_eq!(counts.late, u64::try_from(late).unwrap());
        prop_assert_eq!(counts.accepted, u64::try_from(accepted).unwrap());
        prop_assert_eq!(counts.late + counts.accepted, counts.rows);
    }

    #[test]
    fn no_bytes_make_restore_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let mut engine = engine(BOTH);
        run(&mut engine, &[("a", Some(1), 1_000), ("b", Some(2), 2_000), ("a", None, 12_000)]);
        let program = engine.program().clone();
        let snapshot = engine.snapshot();
        let made_up = [&snapshot[..1], &bytes].concat();
        let mut damaged = snapshot.to_vec();
        damaged[at.index(snapshot.len())] = to;

        // Damage that is a state of its own is for the checksum of the file to find.
        for bytes in [made_up, damaged] {
            drop(Engine::restore(program.clone(), 1, bytes.into()));
        }
    }
}

#[test]
fn a_future_row_moves_neither_watermark_nor_windows() {
    let mut engine = engine(COUNTS);
    let far = row("a", Some(1), 4_000_000_000_000);
    run(&mut engine, &[("a", Some(1), 1_000)]);

    engine.on_future_row(T, &far, Offset::new(1), EventTime::from_millis(2_000));
    engine.check_invariants();
    let refused = told(&drain(&mut engine));
    let rest = told(&run(&mut engine, &[("a", Some(2), 2_000), ("a", Some(3), 15_000)]));

    assert_eq!(refused, ["refused 1: the row's event time is too far ahead"]);
    assert_eq!(rest, ["a 10000: a 2 3 1 NULL 1"]);
    assert_eq!(engine.watermark(T), Some(EventTime::from_millis(10_000)));
}

#[test]
fn a_rule_without_windows_sees_a_future_row() {
    let mut engine = engine(
        "CREATE TABLE seen (k STRING) WITH ('topic' = 'alerts');
         INSERT INTO seen SELECT k FROM t WHERE v > 1;",
    );

    engine.on_future_row(T, &row("a", Some(2), i64::MAX), Offset::new(0), EventTime::default());

    assert_eq!(told(&drain(&mut engine)), ["a 0: a"]);
    assert_eq!(engine.watermark(T), None);
}
