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

/// Windows of every kind, of sums whose last digits depend on their order.
const WINDOWS: [(&str, &str); 3] = [
    ("tumbled", "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND)"),
    ("hopped", "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '3' SECOND, INTERVAL '12' SECOND)"),
    ("cumulated", "CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)"),
];

fn windows() -> String {
    let rules = WINDOWS.map(|(name, window)| {
        format!(
            "CREATE TABLE {name} (k STRING, c BIGINT, m DOUBLE) WITH (
               'topic' = '{name}', 'emit.early' = '3 s', 'allowed-lateness' = '4 s');
             INSERT INTO {name} SELECT k, COUNT(*), AVG(d) FROM TABLE({window})
             GROUP BY k, window_start, window_end;"
        )
    });
    rules.concat()
}

/// What a log holds: a row of a key with a reading at a time, or that the log is complete up to it.
#[derive(Debug, Clone)]
enum InLog {
    Row(String, i32, i64),
    Promise(i64),
}

fn in_log() -> impl Strategy<Value = InLog> {
    let row = ("[a-b]", any::<i32>(), 0_i64..40_000).prop_map(|(k, d, t)| InLog::Row(k, d, t));
    prop_oneof![4 => row, 1 => (0_i64..40_000).prop_map(InLog::Promise)]
}

/// A node that reads logs, each up to where its last promise says.
struct Reader {
    engine: Engine,
    promised: [i64; 3],
}

impl Reader {
    fn read(&mut self, log: u32, next: &InLog) {
        let promised = &mut self.promised[usize::try_from(log).unwrap()];
        let at = |millis: i64| EventTime::from_millis(millis);
        match next {
            InLog::Row(key, reading, millis) => {
                let standing = match *promised {
                    behind if *millis <= behind => Standing::Late { behind: at(behind) },
                    _ => Standing::OnTime,
                };
                let reading = Value::Double(f64::from(*reading) / 7.0);
                let time = Value::Timestamp(at(*millis));
                let row = Row::new(vec![Value::text(key), Value::Null, reading, time]);
                let origin = Origin { part: Part::new(log), standing };
                self.engine.on_row_of(T, &row, origin, Offset::new(0), EventTime::MIN);
            }
            InLog::Promise(to) => {
                *promised = (*promised).max(*to);
                let (least, most) =
                    (self.promised.iter().min().unwrap(), self.promised.iter().max().unwrap());
                self.engine.on_watermark(T, at(*least), Offset::new(0), EventTime::MIN);
                self.engine.on_event_time(T, at(*most), Offset::new(0), EventTime::MIN);
            }
        }
        self.engine.check_invariants();
    }
}

proptest! {
    #[test]
    fn results_of_several_logs_do_not_depend_on_which_of_them_is_ahead(
        logs in prop::collection::vec(prop::collection::vec(in_log(), 0..30), 3),
        turns in prop::collection::vec(0_u32..3, 90),
    ) {
        let in_turns = |turns: &[u32]| {
            let mut reader = Reader { engine: engine(&windows()), promised: [-1; 3] };
            let mut heads: Vec<_> = logs.iter().map(|log| log.iter()).collect();
            for turn in turns {
                if let Some(next) = heads[usize::try_from(*turn).unwrap()].next() {
                    reader.read(*turn, next);
                }
            }
            for (log, head) in (0..).zip(heads) {
                head.for_each(|next| reader.read(log, next));
            }
            for log in 0..3 {
                reader.read(log, &InLog::Promise(i64::MAX));
            }
            told_by(&drain(&mut reader.engine))
        };

        prop_assert_eq!(in_turns(&turns), in_turns(&[]));
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

#[test]
fn a_row_that_was_late_for_the_first_of_its_windows_corrects_the_others_only() {
    let mut reader = Reader { engine: engine(&windows()), promised: [-1; 3] };
    let row = |millis| InLog::Row("a".to_owned(), 7, millis);
    // Of the hops that hold 1,000 those which end at 3,000 and 6,000 are over for longer than 4 s.
    for next in [row(1_000), InLog::Promise(10_000), row(1_000)] {
        reader.read(0, &next);
    }
    drain(&mut reader.engine);

    for log in [1, 2, 0] {
        reader.read(log, &InLog::Promise(i64::MAX));
    }

    let told = drain(&mut reader.engine);
    let corrected: Vec<String> =
        revisions(&told).into_iter().filter(|told| told.starts_with("Corr")).collect();
    // Hops end at 9,000 and 12,000; of the windows that cumulate, 2,000 to 6,000 are over.
    let expected = [
        "Correction -U a 9000: 1",
        "Correction +U a 9000: 2",
        "Correction -U a 8000: 1",
        "Correction +U a 8000: 2",
        "Correction -U a 10000: 1",
        "Correction +U a 10000: 2",
        "Correction -U a 12000: 1",
        "Correction +U a 12000: 2",
    ];
    assert_eq!(corrected, expected);
}

#[test]
fn a_window_of_which_rows_are_missing_is_not_final_also_behind_a_restart() {
    let mut engine = engine(MEANS);
    for millis in [1_000, 12_000] {
        feed_logged(&mut engine, 0, &("a".to_owned(), 7, millis, false));
    }
    let at = EventTime::from_millis;

    engine.on_gap(T, at(6_000), at(8_000));
    let snapshot = engine.snapshot();
    let mut restored = Engine::restore(engine.program().clone(), 3, snapshot).unwrap();
    for engine in [&mut engine, &mut restored] {
        engine.on_watermark(T, at(i64::MAX), Offset::new(0), EventTime::MIN);
        let expected = [
            "Final +I a 5000: 1",
            "Provisional +I a 10000: 1",
            "Provisional +I a 15000: 1",
            "Final +I a 20000: 1",
        ];

        assert_eq!(revisions(&drain(engine)), expected);
    }
}

#[test]
fn a_window_that_was_final_stays_so_when_rows_are_missed_behind_it() {
    let mut engine = engine(MEANS);
    let at = EventTime::from_millis;
    feed_logged(&mut engine, 0, &("a".to_owned(), 7, 1_000, false));
    engine.on_watermark(T, at(9_999), Offset::new(0), EventTime::MIN);
    drain(&mut engine);

    engine.on_gap(T, EventTime::MIN, at(9_999));
    let late = Standing::Late { behind: at(9_999) };
    let time = Value::Timestamp(at(9_000));
    let row = Row::new(vec![Value::text("a"), Value::Null, Value::Null, time]);
    let origin = Origin { part: Part::new(0), standing: late };
    engine.on_row_of(T, &row, origin, Offset::new(0), EventTime::MIN);

    let told = revisions(&drain(&mut engine));
    assert_eq!(told, ["Correction -U a 10000: 1", "Correction +U a 10000: 2"]);
}

/// Rows of two keys at 1 s and one at 12 s, where there is room for one key and window; then the
/// end.
fn with_room_for_one_pane(on_limit: &str) -> Engine {
    let rule = format!(
        "CREATE TABLE c (k STRING, c BIGINT) WITH ('topic' = 'c', 'limit.keys' = '1'{on_limit});
         INSERT INTO c SELECT k, COUNT(*) FROM TABLE(
           TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND))
         GROUP BY k, window_start, window_end;"
    );
    let mut engine = engine(&rule);
    feed_logged(&mut engine, 0, &("a".to_owned(), 7, 1_000, false));
    feed_logged(&mut engine, 1, &("b".to_owned(), 7, 1_000, false));
    engine
}

#[test]
fn a_row_beyond_a_limit_leaves_its_window_without_a_final_result() {
    let mut engine = with_room_for_one_pane("");
    let at = |engine: &mut Engine, millis| {
        let time = EventTime::from_millis(millis);
        engine.on_watermark(T, time, Offset::new(0), EventTime::MIN);
        revisions(&drain(engine))
    };

    let limited = at(&mut engine, 10_000);
    feed_logged(&mut engine, 0, &("a".to_owned(), 7, 12_000, false));
    let whole = at(&mut engine, 20_000);

    assert_eq!(limited, ["Provisional +I a 10000: 1"]);
    assert_eq!(whole, ["Final +I a 20000: 1"]);
    let load = engine.load("c").unwrap();
    assert_eq!((load.keys, load.limited), (0, 1));
}

#[test]
fn a_rule_that_stopped_at_a_limit_begins_anew_without_final_results_of_what_it_lost() {
    let mut stopped = with_room_for_one_pane(", 'on-limit' = 'stop-rule'");
    drain(&mut stopped);
    let snapshot = stopped.snapshot();

    let program = Program::compile(
        "rules.sql",
        &format!(
            "{TABLE}CREATE TABLE c (k STRING, c BIGINT) WITH ('topic' = 'c', 'limit.keys' = '2');
             INSERT INTO c SELECT k, COUNT(*) FROM TABLE(
               TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND))
             GROUP BY k, window_start, window_end;"
        ),
    );
    let mut engine = Engine::restore(program.unwrap(), 1, snapshot).unwrap();
    for millis in [2_000, 12_000] {
        feed_logged(&mut engine, 0, &("a".to_owned(), 7, millis, false));
    }
    engine.on_watermark(T, EventTime::from_millis(i64::MAX), Offset::new(0), EventTime::MIN);

    let told = revisions(&drain(&mut engine));
    assert_eq!(told, ["Provisional +I a 10000: 1", "Final +I a 20000: 1"]);
}

#[test]
fn early_results_keep_to_the_limit_of_work_and_what_is_left_out_is_counted() {
    let rules = EARLY.replace("'allowed-lateness' = '60 s'", "'limit.work' = '2'");
    let mut engine = engine(&rules.replace(" HAVING SUM(v) > 5", ""));
    let rows = [
        ("a", Some(1), 0),
        ("b", Some(1), 0),
        ("a", Some(1), 11_000),
        ("a", Some(1), 11_001),
        ("c", Some(1), 0),
        ("a", Some(1), 13_000),
    ];

    let told = revisions(&run(&mut engine, &rows[..4]));
    let beyond = revisions(&run(&mut engine, &rows[4..]));

    // At 11 s the first window has two groups, which is as many as there may be.
    assert_eq!(told, ["Provisional +I a 10000: 1", "Provisional +I b 10000: 1"]);
    assert_eq!(beyond, Vec::<String>::new());
    assert_eq!(engine.counts("high").unwrap().early_left_out, 3);
}

#[test]
fn early_results_keep_to_the_limit_of_memory() {
    let rules = EARLY.replace("'allowed-lateness' = '60 s'", "'limit.memory' = '1B'");
    let mut engine = engine(&rules);

    let told = run(&mut engine, &[("a", Some(9), 0), ("a", Some(9), 2_000)]);

    assert_eq!(revisions(&told), Vec::<String>::new());
}

/// Late rows that one node lacks.
mod doubted;
