//! What holds of every operator, whatever rows come: neither batches nor restarts change what it
//! says, and every row is taken, filtered, late or refused, once. Batch computations over the
//! accepted rows are beside the operators (`engine/tests.rs`, `engine/dataflow/tests/oracles.rs`)
//! and, for those that are missing there, here.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what fails here fails a property, with the rows that did it"
)]

use std::collections::BTreeMap;

use headland_detection::{
    Change, Engine, LookupRequest, Output, Program, Row, RuleResult, TableId, Value,
};
use headland_event::{EventTime, Offset};
use proptest::prelude::*;

const TABLES: &str = "
CREATE TABLE l (k STRING, v BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('topic' = 'l');
CREATE TABLE r (k STRING, v BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('topic' = 'r');
CREATE TABLE versions (k STRING, v BIGINT, ts TIMESTAMP(3), PRIMARY KEY (k) NOT ENFORCED,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('topic' = 'versions');
CREATE TABLE named (k STRING, w BIGINT, PRIMARY KEY (k) NOT ENFORCED)
  WITH ('connector' = 'elsewhere');
CREATE TABLE latest (k STRING, v BIGINT, ts TIMESTAMP(3), PRIMARY KEY (k) NOT ENFORCED)
  WITH ('topic' = 'latest');
CREATE VIEW recent AS SELECT l.k, l.ts, latest.v AS w FROM l
  JOIN latest FOR SYSTEM_TIME AS OF l.ts ON l.k = latest.k AND latest.v < 8;
CREATE VIEW both AS SELECT k, v, ts FROM l UNION ALL SELECT k, v, ts FROM r;
";

/// A query per operator.
const QUERIES: [(&str, &str); 25] = [
    ("filter and project", "SELECT k, v + 1 AS w FROM l WHERE v > 3"),
    (
        "TUMBLE",
        "SELECT k, window_end, SUM(v) AS s FROM TABLE(TUMBLE(TABLE l, DESCRIPTOR(ts),
         INTERVAL '10' SECOND)) WHERE v > 0 GROUP BY k, window_start, window_end",
    ),
    (
        "HOP",
        "SELECT k, window_end, SUM(v) AS s FROM TABLE(HOP(TABLE l, DESCRIPTOR(ts),
         INTERVAL '5' SECOND, INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end",
    ),
    (
        "CUMULATE",
        "SELECT k, window_end, SUM(v) AS s FROM TABLE(CUMULATE(TABLE l, DESCRIPTOR(ts),
         INTERVAL '4' SECOND, INTERVAL '12' SECOND)) GROUP BY k, window_start, window_end",
    ),
    (
        "SESSION",
        "SELECT k, window_end, SUM(v) AS s FROM TABLE(SESSION(TABLE l PARTITION BY k,
         DESCRIPTOR(ts), INTERVAL '3' SECOND)) GROUP BY k, window_start, window_end",
    ),
    ("SESSION group", "SELECT k, SUM(v) AS s FROM l GROUP BY k, SESSION(ts, INTERVAL '3' SECOND)"),
    (
        "OVER ROWS",
        "SELECT k, v, SUM(v) OVER (PARTITION BY k ORDER BY ts
         ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS s FROM l",
    ),
    (
        "OVER RANGE",
        "SELECT k, v, SUM(v) OVER (PARTITION BY k ORDER BY ts
         RANGE BETWEEN INTERVAL '5' SECOND PRECEDING AND CURRENT ROW) AS s FROM l",
    ),
    ("GROUP BY", "SELECT k, COUNT(*) AS n, SUM(v) AS s FROM l GROUP BY k HAVING SUM(v) > 2"),
    (
        "window join",
        "SELECT a.k, a.v, b.v AS w FROM
         (SELECT * FROM TABLE(TUMBLE(TABLE l, DESCRIPTOR(ts), INTERVAL '10' SECOND))) a
         FULL JOIN
         (SELECT * FROM TABLE(TUMBLE(TABLE r, DESCRIPTOR(ts), INTERVAL '10' SECOND))) b
         ON a.k = b.k AND a.window_start = b.window_start AND a.window_end = b.window_end",
    ),
    (
        "interval join",
        "SELECT l.k, l.v, r.v AS w FROM l LEFT JOIN r ON l.k = r.k
         AND l.ts BETWEEN r.ts - INTERVAL '3' SECOND AND r.ts + INTERVAL '5' SECOND",
    ),
    (
        "temporal join",
        "SELECT l.k, l.v, versions.v AS w FROM l
         LEFT JOIN versions FOR SYSTEM_TIME AS OF l.ts ON l.k = versions.k",
    ),
    ("regular join", "SELECT l.k, l.v, r.v AS w FROM l FULL JOIN r ON l.k = r.k"),
    (
        "deduplicate, first",
        "SELECT k, v, ts FROM (SELECT k, v, ts,
         ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts) AS n FROM l) WHERE n = 1",
    ),
    (
        "deduplicate, last",
        "SELECT k, v, ts FROM (SELECT k, v, ts,
         ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC) AS n FROM l) WHERE n = 1",
    ),
    (
        "Top-N",
        "SELECT k, v, n FROM (SELECT k, v,
         ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC) AS n FROM l) WHERE n <= 2",
    ),
    ("UNION ALL", "SELECT k, v FROM both"),
    (
        "windows over UNION ALL",
        "SELECT k, window_end, SUM(v) AS s FROM TABLE(TUMBLE(TABLE both, DESCRIPTOR(ts),
         INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end",
    ),
    (
        "MATCH_RECOGNIZE",
        "SELECT * FROM l MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts
         MEASURES A.v AS low, LAST(B.v) AS high ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
         PATTERN (A B+) DEFINE A AS A.v < 3, B AS B.v >= 3)",
    ),
    (
        "MATCH_RECOGNIZE WITHIN",
        "SELECT * FROM l MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts
         MEASURES A.v AS low, LAST(B.v) AS high ONE ROW PER MATCH AFTER MATCH SKIP TO NEXT ROW
         PATTERN (A C* B) WITHIN INTERVAL '8' SECOND
         DEFINE A AS A.v < 3, B AS B.v >= 6, C AS C.v < 6)",
    ),
    (
        "UNNEST",
        "SELECT k, x, n FROM l
         CROSS JOIN UNNEST(ARRAY[v, v + 1, v]) WITH ORDINALITY AS u (x, n) WHERE x > 2",
    ),
    (
        "LEFT JOIN UNNEST",
        "SELECT k, x FROM l LEFT JOIN UNNEST(SPLIT(k, CAST(v AS STRING))) AS u (x) ON TRUE",
    ),
    (
        "lookup join",
        "SELECT l.k, l.v, named.w FROM l
         LEFT JOIN named FOR SYSTEM_TIME AS OF l.ts ON l.k = named.k",
    ),
    (
        "join with the last row",
        "SELECT l.k, l.v, latest.v AS w FROM l
         LEFT JOIN latest FOR SYSTEM_TIME AS OF l.ts ON l.k = latest.k",
    ),
    (
        "windows over the last row",
        "SELECT k, window_end, SUM(w) AS s FROM TABLE(TUMBLE(TABLE recent, DESCRIPTOR(ts),
         INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end",
    ),
];

/// The rows of the table that is looked up: none of one key, one and two of the others.
fn named(key: &Value) -> Vec<Row> {
    let rows = match key.to_string().as_str() {
        "k1" => 1,
        "k2" => 2,
        _ => 0,
    };
    (0..rows).map(|w| Row::new(vec![key.clone(), Value::Integer(w)])).collect()
}

/// Side, key, value and second of a row.
type Input = (usize, u8, i64, i64);

/// Seconds lie close and jump back, so that rows meet, are late and touch what has closed.
fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let step = prop_oneof![4 => 0_i64..6, 1 => -20_i64..0];
    let input = (0_usize..2, 0_u8..3, -3_i64..9, step);
    prop::collection::vec(input, 0..40).prop_map(|steps| {
        let mut second = 0;
        let inputs = steps.into_iter().map(|(side, key, value, step)| {
            second += step;
            (side, key, value, second)
        });
        inputs.collect()
    })
}

fn program(query: &str, options: &str) -> Program {
    let sql = format!("{TABLES}CREATE TABLE o WITH ('topic' = 'o'{options}) AS {query};");
    Program::compile("rules.sql", &sql).unwrap()
}

/// An engine, what came out of it, and how many rows went in.
struct Run {
    engine: Engine,
    outputs: Vec<Output>,
    /// What is to be looked up and was not answered.
    asked: Vec<LookupRequest>,
    looked_up: usize,
    fed: u64,
}

impl Run {
    fn new(program: &Program) -> Self {
        let (outputs, asked) = (Vec::new(), Vec::new());
        Self { engine: Engine::new(program.clone(), 7), outputs, asked, looked_up: 0, fed: 0 }
    }

    fn tables(&self, side: usize) -> Vec<TableId> {
        let names: &[&str] = [&["l"][..], &["r", "versions", "latest"]][side];
        names.iter().map(|name| self.engine.program().table_id(name).unwrap()).collect()
    }

    /// Feeds a row to the tables of its side that the rule reads.
    fn feed(&mut self, (side, key, value, second): &Input) {
        let time = Value::Timestamp(EventTime::from_millis(second * 1_000));
        let row = Row::new(vec![Value::text(&format!("k{key}")), Value::Integer(*value), time]);
        for table in self.tables(*side) {
            self.engine.on_row(table, &row, Offset::new(self.fed), EventTime::MIN);
        }
        self.fed += 1;
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Lookup(lookup) => {
                    self.asked.push(lookup);
                    self.looked_up += 1;
                }
                output => self.outputs.push(output),
            }
        }
    }

    /// Answers what was asked so far.
    fn answer(&mut self) {
        self.drain();
        for LookupRequest { rule, id, key, arrived_at, evidence } in std::mem::take(&mut self.asked)
        {
            self.engine.on_lookup(&rule, id, named(&key[0]), evidence, arrived_at);
        }
        self.drain();
    }

    /// Goes on from a snapshot, with hashers of another seed.
    fn restart(&mut self) {
        self.drain();
        let (program, state) = (self.engine.program().clone(), self.engine.snapshot());
        self.engine = Engine::restore(program, 99, state.clone()).unwrap();
        assert_eq!(self.engine.snapshot(), state, "equal states, equal bytes");
    }

    fn end(mut self) -> Self {
        for table in [self.tables(0), self.tables(1)].concat() {
            let end = EventTime::from_millis(i64::MAX);
            self.engine.on_watermark(table, end, Offset::new(self.fed), EventTime::MIN);
        }
        self.answer();
        self
    }

    /// Rows that are there once all changes are done, each as often as it is.
    fn there(&self) -> BTreeMap<String, i64> {
        let mut there = BTreeMap::new();
        for output in &self.outputs {
            let Output::Result(RuleResult { change, columns, .. }) = output else { continue };
            let by = match change {
                Change::Insert | Change::UpdateAfter => 1,
                Change::UpdateBefore | Change::Delete => -1,
            };
            let values: Vec<_> = columns.iter().map(|(_, value)| value.to_string()).collect();
            *there.entry(values.join(" ")).or_insert(0) += by;
        }
        assert!(there.values().all(|count| *count >= 0), "only what is there is taken back");
        there.retain(|_, count| *count > 0);
        there
    }

    /// Which rows were late, in the order in which they came.
    fn late(&self) -> Vec<u64> {
        let late = self.outputs.iter().filter_map(|output| match output {
            Output::Late(late) => Some(late.evidence.get()),
            _ => None,
        });
        late.collect()
    }
}

/// The second in which the window of 10 s ends that a row is in.
fn window_end(second: i64) -> i64 {
    (second.div_euclid(10) + 1) * 10
}

/// Parts rows into those in time and the places of the late ones: a row is late when the last
/// millisecond of its window is not behind the watermark, 5 s before the greatest time of the side
/// that is less far.
fn parted(inputs: &[Input]) -> (Vec<&Input>, Vec<u64>) {
    let mut most = [None; 2];
    let (mut in_time, mut late) = (Vec::new(), Vec::new());
    for (at, input) in (0..).zip(inputs) {
        let (side, _, _, second) = *input;
        let watermark = most.iter().copied().min().flatten().map(|most: i64| (most - 5) * 1_000);
        if watermark.is_some_and(|watermark| window_end(second) * 1_000 - 1 <= watermark) {
            late.push(at);
        } else {
            in_time.push(input);
        }
        most[side] = most[side].max(Some(second));
    }
    (in_time, late)
}

fn ran(program: &Program, inputs: &[Input]) -> Run {
    let mut run = Run::new(program);
    inputs.iter().for_each(|input| run.feed(input));
    run.end()
}

/// How often each of some rows is there.
fn counted(rows: impl IntoIterator<Item = String>) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    rows.into_iter().for_each(|row| *counts.entry(row).or_insert(0) += 1);
    counts
}

/// A second as results show it.
fn shown(second: i64) -> String {
    Value::Timestamp(EventTime::from_millis(second * 1_000)).to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn neither_batches_nor_restarts_change_what_any_operator_says(
        inputs in inputs(), between in prop::collection::vec(0_u8..8, 40)
    ) {
        for (name, query) in QUERIES {
            let program = program(query, "");
            let mut run = Run::new(&program);
            for (input, between) in inputs.iter().zip(&between) {
                run.feed(input);
                match between {
                    // What was asked before is answered behind it, under the same name.
                    0 => run.restart(),
                    1 => run.answer(),
                    2 | 3 => run.drain(),
                    _ => {}
                }
            }

            let (found, expected) = (run.end(), ran(&program, &inputs));
            prop_assert_eq!(found.there(), expected.there(), "{}", name);
            // Rows come out in the order of the answers, which whoever looks up decides.
            if name != "lookup join" {
                prop_assert_eq!(found.outputs, expected.outputs, "{}", name);
            }
            prop_assert_eq!(found.engine.counts("o"), expected.engine.counts("o"), "{}", name);
        }
    }

    #[test]
    fn every_row_of_every_operator_is_taken_filtered_late_or_refused_once(inputs in inputs()) {
        let limits = ["", ", 'limit.keys' = '2'", ", 'limit.keys' = '3', 'on-limit' = 'stop-rule'"];
        for ((name, query), limit) in
            QUERIES.into_iter().flat_map(|query| limits.map(|limit| (query, limit)))
        {
            let run = ran(&program(query, limit), &inputs);
            let counts = run.engine.counts("o").unwrap();

            let is_read = |table: &str| {
                let rule = &run.engine.program().rules()[0];
                rule.sources().contains(&run.engine.program().table_id(table).unwrap())
            };
            let is_right_read = is_read("r") || is_read("versions") || is_read("latest");
            let read = inputs.iter().filter(|input| input.0 == 0 || is_right_read).count();
            let count = |is_it: fn(&Output) -> bool| {
                u64::try_from(run.outputs.iter().filter(|output| is_it(output)).count()).unwrap()
            };
            prop_assert_eq!(counts.rows, u64::try_from(read).unwrap(), "{}{}", name, limit);
            prop_assert_eq!(
                counts.rows,
                counts.filtered + counts.accepted + counts.late + counts.refused,
                "{}{}", name, limit
            );
            prop_assert_eq!(counts.late, count(|it| matches!(it, Output::Late(_))));
            prop_assert_eq!(counts.refused, count(|it| matches!(it, Output::Refused(_))));
            prop_assert_eq!(counts.results, count(|it| matches!(it, Output::Result(_))));
            prop_assert_eq!(counts.failed, count(|it| matches!(it, Output::Failed(_))));
        }
    }

    #[test]
    fn a_filter_gives_each_row_that_passes_and_a_union_each_row_of_both_sides(inputs in inputs()) {
        let (_, filter) = QUERIES[0];
        let passing = inputs.iter().filter(|(side, _, value, _)| *side == 0 && *value > 3);
        let expected = counted(passing.map(|(_, key, value, _)| format!("k{key} {}", value + 1)));
        prop_assert_eq!(ran(&program(filter, ""), &inputs).there(), expected);

        let all = counted(inputs.iter().map(|(_, key, value, _)| format!("k{key} {value}")));
        prop_assert_eq!(ran(&program("SELECT k, v FROM both", ""), &inputs).there(), all);
    }

    #[test]
    fn a_filter_above_windows_changes_no_window(inputs in inputs()) {
        let windows = [
            "SESSION(TABLE l PARTITION BY k, DESCRIPTOR(ts), INTERVAL '3' SECOND)",
            "HOP(TABLE l, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND)",
        ];
        let joins = [
            "",
            "LEFT JOIN named FOR SYSTEM_TIME AS OF w.window_time ON w.k = named.k",
            "LEFT JOIN latest FOR SYSTEM_TIME AS OF w.window_time ON w.k = latest.k",
        ];
        for (window, join) in windows.iter().flat_map(|window| joins.map(|join| (window, join))) {
            let query = |filter: &str| format!(
                "SELECT w.k, w.v, w.window_start, w.window_end FROM TABLE({window}) AS w
                 {join} {filter}"
            );
            let some = query("WHERE w.v > 3 AND w.k <> 'k2'");

            let all = ran(&program(&query(""), ""), &inputs);
            let some = ran(&program(&some, ""), &inputs);

            let mut expected = all.there();
            expected.retain(|row, _| {
                let mut words = row.split(' ');
                let is_key = words.next() != Some("k2");
                is_key && words.next().unwrap().parse::<i64>().unwrap() > 3
            });
            prop_assert_eq!(some.there(), expected, "{} {}", window, join);
        }
    }

    #[test]
    fn deduplication_ends_with_the_first_or_last_row_by_time_of_each_key(inputs in inputs()) {
        for (query, is_last) in [("deduplicate, first", false), ("deduplicate, last", true)] {
            let (_, query) = QUERIES.into_iter().find(|(name, _)| *name == query).unwrap();
            let run = ran(&program(query, ""), &inputs);

            let mut kept: BTreeMap<u8, &Input> = BTreeMap::new();
            // As in Flink, no row is late for a rank that has no window.
            prop_assert_eq!(run.late(), Vec::<u64>::new(), "{}", query);
            for input in inputs.iter().filter(|input| input.0 == 0) {
                let before = kept.entry(input.1).or_insert(input);
                // Of one time the first that came is the first, and the last that came the last.
                let replaces = if is_last { input.3 >= before.3 } else { input.3 < before.3 };
                if replaces {
                    *before = input;
                }
            }
            let rows = kept.values().map(|(_, key, value, second)| {
                format!("k{key} {value} {}", shown(*second))
            });
            prop_assert_eq!(run.there(), counted(rows), "{}", query);
        }
    }

    #[test]
    fn a_collection_gives_each_of_its_elements_and_a_lookup_each_row_that_is_found(
        inputs in inputs()
    ) {
        let query = |name| QUERIES.into_iter().find(|(known, _)| *known == name).unwrap().1;
        let left: Vec<_> = inputs.iter().filter(|input| input.0 == 0).collect();

        let elements = left.iter().flat_map(|(_, key, value, _)| {
            let elements = [(value, 0, 1), (value, 1, 2), (value, 0, 3)];
            let elements = elements.map(|(value, more, place)| (value + more, place));
            let above = elements.into_iter().filter(|(element, _)| *element > 2);
            above.map(move |(element, place)| format!("k{key} {element} {place}"))
        });
        let found = ran(&program(query("UNNEST"), ""), &inputs).there();
        prop_assert_eq!(found, counted(elements));

        let rows = left.iter().flat_map(|(_, key, value, _)| {
            let found = named(&Value::text(&format!("k{key}")));
            let mut found: Vec<_> = found.iter().map(|row| row.values()[1].to_string()).collect();
            if found.is_empty() {
                found.push(Value::Null.to_string());
            }
            found.into_iter().map(move |w| format!("k{key} {value} {w}"))
        });
        let found = ran(&program(query("lookup join"), ""), &inputs).there();
        prop_assert_eq!(found, counted(rows));
    }

    #[test]
    fn rows_that_a_filter_leaves_out_look_nothing_up_and_the_others_find_the_same(
        inputs in inputs(), kind in prop_oneof![Just(""), Just("LEFT ")]
    ) {
        for (table, value) in [("named", "w"), ("latest", "v")] {
            let query = |filter: &str| format!(
                "SELECT l.k, l.v, {table}.{value} AS w FROM l {kind}JOIN {table}
                 FOR SYSTEM_TIME AS OF l.ts ON l.k = {table}.k {filter}"
            );
            let filter = format!("WHERE l.v > 3 AND ({table}.{value} IS NULL OR l.v + 1 > 5)");
            let (all, some) = (program(&query(""), ""), program(&query(&filter), ""));

            let (all, some) = (ran(&all, &inputs), ran(&some, &inputs));

            let mut expected = all.there();
            expected.retain(|row, _| {
                let mut words = row.split(' ').skip(1);
                let value: i64 = words.next().unwrap().parse().unwrap();
                value > 3 && (words.next() == Some("NULL") || value + 1 > 5)
            });
            prop_assert_eq!(some.there(), expected, "{}", table);
            let passing = inputs.iter().filter(|(side, _, value, _)| *side == 0 && *value > 3);
            prop_assert!(some.looked_up <= passing.count(), "{}", some.looked_up);
        }
    }

    #[test]
    fn a_row_finds_the_last_row_of_its_key_that_came_before_it(inputs in inputs()) {
        let query = |name| QUERIES.into_iter().find(|(known, _)| *known == name).unwrap().1;
        let run = ran(&program(query("join with the last row"), ""), &inputs);

        let (mut last, mut rows) = (BTreeMap::new(), Vec::new());
        for (side, key, value, _) in &inputs {
            if *side == 1 {
                last.insert(key, value);
            } else {
                let found = last.get(key).map_or_else(|| "NULL".to_owned(), ToString::to_string);
                rows.push(format!("k{key} {value} {found}"));
            }
        }
        prop_assert_eq!(run.there(), counted(rows.into_iter()));
    }

    #[test]
    fn a_pattern_finds_the_matches_that_a_search_over_the_sorted_rows_in_time_finds(
        inputs in inputs()
    ) {
        let (_, query) = QUERIES[18];
        let run = ran(&program(query, ""), &inputs);

        // A row is late when it is not behind the watermark, 5 s before the greatest time so far.
        let (mut most, mut late) = (None, Vec::new());
        let mut kept: BTreeMap<u8, Vec<(i64, i64)>> = BTreeMap::new();
        for (at, (side, key, value, second)) in (0..).zip(&inputs) {
            if *side == 0 {
                if most.is_some_and(|most: i64| *second <= most - 5) {
                    late.push(at);
                } else {
                    kept.entry(*key).or_default().push((*second, *value));
                }
                most = most.max(Some(*second));
            }
        }
        prop_assert_eq!(run.late(), late);
        let mut matches = Vec::new();
        for (key, mut rows) in kept {
            // Of one time they stay in the order in which they came.
            rows.sort_by_key(|(second, _)| *second);
            let mut rest = rows.as_slice();
            while let Some((first, behind)) = rest.split_first() {
                let length = behind.iter().take_while(|(_, value)| *value >= 3).count();
                if first.1 < 3 && length > 0 {
                    matches.push(format!("k{key} {} {}", first.1, behind[length - 1].1));
                    rest = &behind[length..];
                } else {
                    rest = behind;
                }
            }
        }
        prop_assert_eq!(run.there(), counted(matches));
    }

    #[test]
    fn windows_over_a_union_hold_the_accepted_rows_of_both_sides(inputs in inputs()) {
        let (_, query) = QUERIES[17];
        let run = ran(&program(query, ""), &inputs);

        let mut sums: BTreeMap<(u8, i64), i64> = BTreeMap::new();
        let (in_time, late) = parted(&inputs);
        prop_assert_eq!(run.late(), late);
        for (_, key, value, second) in in_time {
            *sums.entry((*key, window_end(*second))).or_insert(0) += value;
        }
        let rows = sums.iter().map(|((key, end), sum)| format!("k{key} {} {sum}", shown(*end)));
        prop_assert_eq!(run.there(), counted(rows));
    }
}
