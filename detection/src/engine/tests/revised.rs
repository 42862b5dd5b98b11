//! Results over time: early, final and corrected, of one log and of several.

use std::collections::BTreeSet;

use headland_event::Finality;

use super::*;
use crate::output::Change;
use crate::part::{Part, Standing};

/// Windows that hold a row once, and windows that hold it twice.
const REVISED: &str = "
    CREATE TABLE tumbled (k STRING, c BIGINT, s BIGINT, lo BIGINT)
      WITH ('topic' = 'alerts', 'emit.early' = '2 s', 'allowed-lateness' = '8 s');
    INSERT INTO tumbled SELECT k, COUNT(*), SUM(v), MIN(v)
    FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY k, window_start, window_end;
    CREATE TABLE hopped (k STRING, c BIGINT, s BIGINT, lo BIGINT)
      WITH ('topic' = 'alerts', 'emit.early' = '2 s', 'allowed-lateness' = '8 s');
    INSERT INTO hopped SELECT k, COUNT(*), SUM(v), MIN(v)
    FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND))
    GROUP BY k, window_start, window_end;";

const EARLY: &str = "
    CREATE TABLE high (k STRING, s BIGINT) WITH ('topic' = 'alerts', 'emit.early' = '2 s',
      'allowed-lateness' = '60 s');
    INSERT INTO high SELECT k, SUM(v)
    FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY k, window_start, window_end HAVING SUM(v) > 5;";

fn revisions(outputs: &[Output]) -> Vec<String> {
    let results = outputs.iter().filter_map(|output| match output {
        Output::Result(result) => Some(result),
        _ => None,
    });
    let told = results.map(|result| {
        let RuleResult { change, finality, key, window, columns, .. } = result;
        format!("{finality:?} {change} {key} {window}: {}", columns[1].1)
    });
    told.collect()
}

#[test]
fn an_open_window_gives_results_early_where_they_changed_then_one_that_is_final() {
    let rows = [
        ("a", Some(7), 0),
        ("b", Some(1), 1_999),
        ("a", Some(1), 2_000),
        ("b", Some(0), 4_000),
        ("b", Some(9), 6_500),
        ("b", Some(0), 14_999),
    ];

    let outputs = run(&mut engine(EARLY), &rows);

    let expected = [
        "Provisional +I a 10000: 8",
        "Provisional +U b 10000: 10",
        "Final -U a 10000: 8",
        "Final +U a 10000: 8",
        "Final -U b 10000: 10",
        "Final +U b 10000: 10",
    ];
    // At 2 s b has 1, at 4 s and 6 s as much: HAVING asks for more than 5.
    assert_eq!(revisions(&outputs), expected);
}

#[test]
fn what_was_said_early_is_taken_back_when_the_final_result_is_filtered_out() {
    let rows = [("a", Some(7), 0), ("b", Some(0), 2_000), ("a", Some(-3), 2_500)];
    let mut engine = engine(EARLY);

    run(&mut engine, &rows);
    let closing = run(&mut engine, &[("c", None, 14_999)]);

    assert_eq!(revisions(&closing), ["Final -U a 10000: 7"]);
}

#[test]
fn a_late_row_within_the_lateness_is_a_correction() {
    let mut engine = engine(EARLY);
    run(&mut engine, &[("a", Some(7), 0), ("a", Some(0), 15_000)]);

    let corrections = run(&mut engine, &[("a", Some(2), 9_999), ("b", Some(6), 9_999)]);

    let expected =
        ["Correction -U a 10000: 7", "Correction +U a 10000: 9", "Correction +I b 10000: 6"];
    assert_eq!(revisions(&corrections), expected);
}

fn run_revised(
    inputs: &[Input],
    mut between: impl FnMut(usize, &mut Engine, &mut Vec<Output>),
) -> Vec<Output> {
    let mut engine = engine(REVISED);
    let mut outputs = Vec::new();
    for (offset, input) in inputs.iter().enumerate() {
        between(offset, &mut engine, &mut outputs);
        feed(&mut engine, offset, input);
    }
    finish(&mut engine);
    outputs.extend(drain(&mut engine));
    outputs
}

/// Per rule, key and window: the final result, and what all changes together leave.
type Told = BTreeMap<(String, String, String), (Option<Vec<String>>, Vec<String>)>;

/// Applies changes in order, and checks what each kind of them promises.
fn told_by(outputs: &[Output]) -> Told {
    let mut told = Told::new();
    let mut final_said = BTreeSet::new();
    for output in outputs {
        let Output::Result(result) = output else { continue };
        let id = (result.rule.to_string(), result.key.clone(), result.window.clone());
        let values: Vec<String> = result.columns.iter().map(|(_, v)| v.to_string()).collect();
        let (final_values, now) = told.entry(id.clone()).or_default();
        match result.finality {
            Finality::Provisional => assert!(!final_said.contains(&id), "early behind final"),
            Finality::Final => {}
            Finality::Correction => {
                let has_closed = final_said.contains(&id) || final_values.is_none();
                assert!(has_closed, "corrected before it was final");
            }
        }
        match result.change {
            Change::Insert | Change::UpdateAfter => {
                assert!(now.is_empty(), "what is replaced is taken back first");
                now.clone_from(&values);
                if result.finality == Finality::Final {
                    assert!(final_said.insert(id), "final once");
                    *final_values = Some(values);
                }
            }
            Change::UpdateBefore | Change::Delete => {
                assert_eq!(*now, values, "what is taken back is what was said");
                now.clear();
            }
        }
    }
    told
}

/// What a batch job computes over the rows that each window took before it closed, and over all it
/// took; and how many rows were too late for every window of a rule.
fn batch(inputs: &[Input], rule: &str, slide: i64, told: &mut Told) -> u64 {
    type Groups = BTreeMap<(i64, String), Vec<Option<i64>>>;
    let (mut in_time, mut all) = (Groups::new(), Groups::new());
    let (mut watermark, mut late) = (i64::MIN, 0);
    for (key, value, millis) in inputs {
        let first = (millis.div_euclid(slide) + 1) * slide;
        let ends: Vec<i64> = (0..10_000 / slide).map(|step| first + step * slide).collect();
        let last = ends.last().unwrap() - 1 + 8_000;
        late += u64::from(last <= watermark);
        for end in ends {
            if end - 1 > watermark {
                in_time.entry((end, key.clone())).or_default().push(*value);
            }
            if end - 1 + 8_000 > watermark {
                all.entry((end, key.clone())).or_default().push(*value);
            }
        }
        watermark = watermark.max(millis - 5_000);
    }
    let values = |(_, key): &(i64, String), rows: &Vec<Option<i64>>| {
        let numbers: Vec<i64> = rows.iter().copied().flatten().collect();
        let shown =
            |number: Option<i64>| number.map_or_else(|| "NULL".to_owned(), |n| n.to_string());
        let sum = (!numbers.is_empty()).then(|| numbers.iter().sum::<i64>());
        let least = numbers.iter().copied().min();
        vec![key.clone(), rows.len().to_string(), shown(sum), shown(least)]
    };
    for (id, rows) in &all {
        let before_it_closed = in_time.get(id).map(|rows| values(id, rows));
        let name = (rule.to_owned(), id.1.clone(), id.0.to_string());
        told.insert(name, (before_it_closed, values(id, rows)));
    }
    late
}

proptest! {
    #[test]
    fn early_final_and_corrected_results_are_those_of_batches_over_accepted_rows(
        inputs in inputs()
    ) {
        let outputs = run_revised(&inputs, |_, _, _| {});

        let mut expected = Told::new();
        let late = batch(&inputs, "tumbled", 10_000, &mut expected)
            + batch(&inputs, "hopped", 5_000, &mut expected);
        prop_assert_eq!(told_by(&outputs), expected);
        let told_late = outputs.iter().filter(|output| matches!(output, Output::Late(_))).count();
        prop_assert_eq!(u64::try_from(told_late).unwrap(), late);
    }

    #[test]
    fn neither_batches_nor_restarts_change_results_over_time(
        inputs in inputs(), breaks in prop::collection::vec(0_u8..3, 60), seed in any::<u64>()
    ) {
        let broken = run_revised(&inputs, |offset, engine, outputs| {
            if breaks[offset] > 0 {
                outputs.extend(drain(engine));
            }
            if breaks[offset] > 1 {
                let snapshot = engine.snapshot();
                let program = engine.program().clone();
                *engine = Engine::restore(program, seed, snapshot.clone()).unwrap();
                assert_eq!(engine.snapshot(), snapshot, "equal states give equal bytes");
            }
        });

        prop_assert_eq!(broken, run_revised(&inputs, |_, _, _| {}));
    }

    #[test]
    fn rows_that_come_while_a_snapshot_is_taken_are_not_in_it(
        inputs in inputs(), begin in 0_usize..60
    ) {
        let begin = begin.min(inputs.len());
        let mut engine = engine(REVISED);
        for (offset, input) in inputs[..begin].iter().enumerate() {
            feed(&mut engine, offset, input);
        }
        drain(&mut engine);
        let program = engine.program().clone();
        let expected = Engine::restore(program, 1, engine.snapshot()).unwrap().snapshot();

        engine.begin_snapshot();
        let (mut parts, mut rest) = (Vec::new(), inputs[begin..].iter().enumerate());
        while let Some(part) = engine.poll_snapshot(1) {
            parts.extend_from_slice(&part);
            if let Some((offset, input)) = rest.next() {
                feed(&mut engine, begin + offset, input);
            }
        }

        prop_assert_eq!(bytes::Bytes::from(parts), expected);
    }
}

const MEANS: &str = "
    CREATE TABLE means (k STRING, c BIGINT, m DOUBLE)
      WITH ('topic' = 'alerts', 'emit.early' = '3 s', 'allowed-lateness' = '30 s');
    INSERT INTO means SELECT k, COUNT(*), AVG(d)
    FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND))
    GROUP BY k, window_start, window_end;";

/// A row of a log: key, reading in sevenths (whose sums depend on their order), time, lateness.
type Logged = (String, i32, i64, bool);

fn logged() -> impl Strategy<Value = Logged> {
    ("[a-c]", any::<i32>(), 0_i64..30_000, prop::bool::weighted(0.2))
}

fn feed_logged(engine: &mut Engine, part: u32, (key, reading, millis, is_late): &Logged) {
    let standing = if *is_late {
        Standing::Late { behind: EventTime::from_millis(millis + 1_000) }
    } else {
        Standing::OnTime
    };
    let reading = Value::Double(f64::from(*reading) / 7.0);
    let time = Value::Timestamp(EventTime::from_millis(*millis));
    let row = Row::new(vec![Value::text(key), Value::Null, reading, time]);
    let origin = Origin { part: Part::new(part), standing };
    engine.on_row_of(T, &row, origin, Offset::new(0), EventTime::MIN);
}

proptest! {
    #[test]
    fn results_of_several_logs_do_not_depend_on_which_of_them_is_ahead(
        logs in prop::collection::vec(
            prop::collection::vec(logged(), 0..20), 3
        ),
        turns in prop::collection::vec(0_u32..3, 60),
        early in prop::collection::vec(0_i64..30_000, 60),
    ) {
        let in_turns = |turns: &[u32], early: &[i64]| {
            let mut engine = engine(MEANS);
            let mut heads: Vec<_> = logs.iter().map(|log| log.iter()).collect();
            for (turn, early) in turns.iter().zip(early) {
                if let Some(row) = heads[usize::try_from(*turn).unwrap()].next() {
                    feed_logged(&mut engine, *turn, row);
                }
                let time = EventTime::from_millis(*early);
                engine.on_event_time(T, time, Offset::new(0), EventTime::MIN);
            }
            for (part, head) in (0..).zip(heads) {
                head.for_each(|row| feed_logged(&mut engine, part, row));
            }
            let end = EventTime::from_millis(i64::MAX);
            engine.on_watermark(T, end, Offset::new(0), EventTime::MIN);
            told_by(&drain(&mut engine))
        };

        prop_assert_eq!(in_turns(&turns, &early), in_turns(&[], &[]));
    }
}

#[test]
fn rows_that_their_log_calls_late_are_left_out_of_the_final_result_and_corrected_behind_it() {
    let mut engine = engine(MEANS);
    for (part, is_late) in [(1, false), (0, true), (0, false)] {
        feed_logged(&mut engine, part, &("a".to_owned(), 7, 1_000, is_late));
    }

    let watermark = EventTime::from_millis(5_000);
    engine.on_watermark(T, watermark, Offset::new(0), EventTime::MIN);

    let expected = ["Final +I a 5000: 2", "Correction -U a 5000: 2", "Correction +U a 5000: 3"];
    assert_eq!(revisions(&drain(&mut engine)), expected);
}

#[test]
fn without_allowed_lateness_a_row_that_its_log_calls_late_is_late_also_for_an_open_window() {
    let mut engine = engine(COUNTS);

    feed_logged(&mut engine, 0, &("a".to_owned(), 7, 1_000, true));

    assert_eq!(told(&drain(&mut engine)), ["late 0"]);
}
