//! Every operator against a naive model, and through snapshots at any point.

use std::collections::BTreeMap;

use headland_event::codec::{Reader, Writer};
use proptest::prelude::*;

use super::*;
use crate::expression::tree::Comparison;
use crate::relation::*;
use crate::value::DataType;

/// What limits bound, and that a row is taken wholly or not at all.
mod limits;
/// Operators against batch computations.
mod oracles;
/// What is let go of as the watermark passes.
mod release;

const LEFT: TableId = TableId::new(0);
const RIGHT: TableId = TableId::new(1);
const KEY: usize = 0;
const VALUE: usize = 1;
const TIME: usize = 2;
const TIMES: Times = Times { lateness: 0, early: None, retention: i64::MAX };
const LIMITS: Limits = Limits { keys: 1_000, reserved: 0, bytes: 1 << 24, work: 10_000 };

/// Side, key, value and time of a row.
type Row = (TableId, u8, i64, i64);

fn values((_, key, value, time): &Row) -> Vec<Value> {
    let time = EventTime::from_millis(*time);
    vec![Value::text(&format!("k{key}")), Value::Integer(*value), Value::Timestamp(time)]
}

fn rows(sides: u8) -> impl Strategy<Value = Vec<Row>> {
    // Times lie close and jump back, so that rows meet, are late and touch closed sessions.
    let step = prop_oneof![4 => 0_i64..6, 1 => -20_i64..0];
    let row = (0..sides, 0_u8..3, 0_i64..9, step);
    prop::collection::vec(row, 0..60).prop_map(|steps| {
        let mut now = 0;
        steps
            .into_iter()
            .map(|(side, key, value, step)| {
                now += step;
                (TableId::new(usize::from(side)), key, value, now)
            })
            .collect()
    })
}

fn relation(operator: Operator, columns: usize, changes: Changes) -> Relation {
    let field = Field { name: "c".into(), data_type: DataType::String };
    let columns = vec![field; columns];
    Relation { operator, columns, event_time: None, window: None, changes, upsert_key: None }
}

fn scan(table: TableId) -> Relation {
    relation(Operator::Scan(table), 3, Changes::Append)
}

fn key(column: usize) -> Key {
    Key { expression: Expression::Column(column), data_type: DataType::String }
}

fn call(function: AggregateKind) -> AggregateCall {
    let arguments =
        vec![Key { expression: Expression::Column(VALUE), data_type: DataType::BigInt }];
    let result_type = DataType::BigInt;
    AggregateCall { function, arguments, is_distinct: false, filter: None, result_type }
}

fn windowed(kind: WindowKind) -> Relation {
    let partition = vec![KEY];
    let aggregate = WindowAggregate {
        input: scan(LEFT),
        windowing: Windowing::Assign(Window { time: TIME, kind, partition }),
        keys: vec![key(KEY)],
        aggregates: vec![call(AggregateKind::Sum), call(AggregateKind::Max)],
    };
    relation(Operator::WindowAggregate(Box::new(aggregate)), 6, Changes::Append)
}

fn over(frame: Frame) -> Relation {
    let calls = vec![
        OverCall::Aggregate(call(AggregateKind::Sum)),
        OverCall::Aggregate(call(AggregateKind::Min)),
        OverCall::RowNumber,
        OverCall::Rank,
        OverCall::Lag {
            value: Expression::Column(VALUE),
            offset: 2,
            default: Expression::Constant(Value::Integer(-1)),
            data_type: DataType::BigInt,
        },
    ];
    let over = Over { input: scan(LEFT), partition: vec![key(KEY)], time: TIME, frame, calls };
    relation(Operator::Over(Box::new(over)), 8, Changes::Append)
}

fn join(kind: JoinKind, method: JoinMethod, left: Relation, right: Relation) -> Relation {
    let keys = vec![(Expression::Column(KEY), Expression::Column(KEY))];
    let columns = left.columns.len() + right.columns.len();
    let join = Join { left, right, kind, keys, condition: None, method };
    relation(Operator::Join(Box::new(join)), columns, Changes::Retract)
}

fn group(input: Relation) -> Relation {
    let aggregates = vec![call(AggregateKind::Sum), call(AggregateKind::Max)];
    let group = GroupAggregate { input, keys: vec![key(KEY)], aggregates };
    relation(Operator::GroupAggregate(Box::new(group)), 3, Changes::Retract)
}

fn top(rank_column: RankColumn) -> Relation {
    let order = Order {
        expression: Expression::Column(VALUE),
        direction: Direction::Descending,
        nulls: Nulls::Last,
    };
    let top = TopN {
        input: scan(LEFT),
        partition: vec![key(KEY)],
        order: vec![order],
        rank: RankKind::RowNumber,
        range: (1, 2),
        rank_column,
        window: None,
    };
    relation(Operator::TopN(Box::new(top)), 4, Changes::Retract)
}

fn table_window(table: TableId, kind: WindowKind) -> Relation {
    let window = Window { time: TIME, kind, partition: vec![KEY] };
    let input = Box::new(scan(table));
    let windowed = relation(Operator::Window { input, window }, 6, Changes::Append);
    Relation { window: Some(WindowColumns { start: 3, end: 4 }), ..windowed }
}

const HOP: WindowKind = WindowKind::Hop { size: 10, slide: 4, offset: 0 };
const CUMULATE: WindowKind = WindowKind::Cumulate { size: 12, step: 4, offset: 0 };
const SESSION: WindowKind = WindowKind::Session { gap: 3 };
const INTERVAL: JoinMethod =
    JoinMethod::Interval { left_time: TIME, right_time: TIME, lower: -3, upper: 5 };

/// `A B+ C`, each B above A and C not above it, within 12 ms.
fn rise_and_fall() -> Relation {
    let navigation = |variable, kind| Navigation {
        variable: Some(variable),
        kind,
        value: Expression::Column(VALUE),
    };
    let variable = |name: &str, own, comparison| Variable {
        name: name.into(),
        condition: Some(Expression::Compare(
            comparison,
            Box::new([Expression::Column(0), Expression::Column(1)]),
        )),
        navigations: vec![
            navigation(own, NavigationKind::Last(0)),
            navigation(0, NavigationKind::First(0)),
        ],
    };
    let pattern = Box::new(Pattern::Variable(1));
    let rises = Pattern::Repeat { pattern, least: 1, most: None, greed: Greed::Greedy };
    let first = Variable { name: "A".into(), condition: None, navigations: Vec::new() };
    let plan = Match {
        input: scan(LEFT),
        partition: vec![key(KEY)],
        time: TIME,
        pattern: Pattern::Sequence(vec![Pattern::Variable(0), rises, Pattern::Variable(2)]),
        variables: vec![
            first,
            variable("B", 1, Comparison::Greater),
            variable("C", 2, Comparison::LessOrEqual),
        ],
        measures: vec![Expression::Column(0), Expression::Column(1)],
        measure_navigations: vec![
            navigation(0, NavigationKind::Last(0)),
            navigation(1, NavigationKind::Aggregate(call(AggregateKind::Sum))),
        ],
        skip: Skip::PastLastRow,
        within: Some(12),
    };
    relation(Operator::Match(Box::new(plan)), 3, Changes::Append)
}

#[test]
fn a_match_takes_the_longest_run_and_the_search_goes_on_behind_it() {
    let mut run = Run::new(&rise_and_fall());
    for (value, time) in [(1, 0), (2, 1), (3, 2), (1, 3), (5, 4), (6, 5), (0, 40)] {
        run.feed(&(LEFT, 0, value, time));
    }
    run.end();

    let found: Vec<_> = run.said.iter().map(|changed| changed.row[1..].to_vec()).collect();
    // The second run has no fall in time.
    assert_eq!(found, [[Value::Integer(1), Value::Integer(5)]]);
}

/// One relation per operator.
fn every_relation() -> Vec<Relation> {
    let columns = WindowColumns { start: 3, end: 4 };
    let method = JoinMethod::Window { left: columns, right: columns };
    let latest = JoinMethod::Latest { table: RIGHT };
    let temporal = JoinMethod::Temporal { left_time: TIME, right_time: TIME };
    let deduplicate = Deduplicate {
        input: scan(LEFT),
        keys: vec![key(KEY)],
        time: TIME,
        keep: Keep::First,
        window: None,
    };
    let (left, right) = (table_window(LEFT, HOP), table_window(RIGHT, HOP));
    vec![
        windowed(WindowKind::Tumble { size: 10, offset: 3 }),
        windowed(HOP),
        windowed(CUMULATE),
        windowed(SESSION),
        rise_and_fall(),
        table_window(LEFT, SESSION),
        over(Frame::Range(Some(5))),
        over(Frame::Rows(Some(2))),
        over(Frame::Range(None)),
        group(scan(LEFT)),
        group(join(JoinKind::Left, JoinMethod::Regular, scan(LEFT), scan(RIGHT))),
        top(RankColumn::Appended),
        top(RankColumn::Left),
        relation(Operator::Deduplicate(Box::new(deduplicate)), 3, Changes::Retract),
        join(JoinKind::Full, INTERVAL, scan(LEFT), scan(RIGHT)),
        join(JoinKind::Full, method, left, right),
        join(JoinKind::Left, temporal, scan(LEFT), scan(RIGHT)),
        join(JoinKind::Left, latest, scan(LEFT), scan(RIGHT)),
        join(JoinKind::Full, JoinMethod::Regular, scan(LEFT), scan(RIGHT)),
        join(JoinKind::Semi, JoinMethod::Regular, scan(LEFT), scan(RIGHT)),
        join(JoinKind::Anti, JoinMethod::Regular, scan(LEFT), scan(RIGHT)),
    ]
}

/// A dataflow with the watermarks of its two tables, 5 ms behind the latest time of each.
struct Run {
    dataflow: Dataflow,
    latest: [i64; 2],
    said: Vec<Changed>,
}

impl Run {
    fn new(relation: &Relation) -> Self {
        let dataflow = Dataflow::new(relation, TIMES, 7, LIMITS);
        Self { dataflow, latest: [i64::MIN; 2], said: Vec::new() }
    }

    /// Feeds a row and the watermark behind it; says what became of it.
    fn feed(&mut self, row: &Row) -> Vec<Outcome> {
        self.feed_values(row, &values(row))
    }

    /// Feeds a row with other values.
    fn feed_values(&mut self, (table, .., time): &Row, values: &[Value]) -> Vec<Outcome> {
        let mut effects = Effects::default();
        let entries = 0..self.dataflow.entries(*table);
        let outcomes = entries.map(|entry| {
            self.dataflow.on_row((*table, entry), values, Origin::default(), &mut effects)
        });
        let outcomes = outcomes.map(Result::unwrap).collect();
        let latest = &mut self.latest[table.index()];
        *latest = (*latest).max(*time);
        let watermark = latest.saturating_sub(5);
        self.dataflow.on_watermark(*table, watermark, &mut effects);
        self.take(effects);
        outcomes
    }

    fn end(&mut self) {
        let mut effects = Effects::default();
        for table in [LEFT, RIGHT] {
            self.dataflow.on_watermark(table, i64::MAX, &mut effects);
        }
        self.take(effects);
    }

    fn take(&mut self, effects: Effects) {
        for effect in effects.list {
            let Effect::Row(changed) = effect else { panic!("{effect:?}") };
            self.said.push(changed);
        }
    }

    fn snapshot(&mut self) -> bytes::Bytes {
        let mut writer = Writer::new();
        self.dataflow.begin_cut(&mut writer);
        self.poll(usize::MAX, &mut writer, |_| {});
        writer.finish()
    }

    /// Goes on with a snapshot, two entries at a time, and does something in between.
    fn poll(&mut self, steps: usize, writer: &mut Writer, mut between: impl FnMut(&mut Self)) {
        let (mut stage, mut step) = (0, 0);
        while let Some(progress) = self.dataflow.poll_cut(stage, 2, writer) {
            stage += usize::from(progress == Progress::Done);
            step += 1;
            if step < steps {
                between(self);
            }
        }
    }

    fn restore(&mut self, relation: &Relation, snapshot: bytes::Bytes) {
        let mut reader = Reader::new(snapshot);
        self.dataflow = Dataflow::new(relation, TIMES, 99, LIMITS);
        self.dataflow.read(&mut reader).unwrap();
        reader.end().unwrap();
    }
}

/// The rows that are there once all changes are done, each as often as it is.
fn folded(said: &[Changed]) -> BTreeMap<Vec<Value>, i64> {
    let mut there = BTreeMap::new();
    for Changed { change, row, .. } in said {
        let by = match change {
            Change::Insert | Change::UpdateAfter => 1,
            Change::UpdateBefore | Change::Delete => -1,
        };
        *there.entry(row.clone()).or_insert(0) += by;
    }
    assert!(there.values().all(|count| *count >= 0), "only what is there is taken back");
    there.retain(|_, count| *count > 0);
    there
}

/// Rows of one key.
fn of_key(rows: &[Row], key: u8) -> Vec<&Row> {
    rows.iter().filter(|row| row.1 == key).collect()
}

/// The starts and ends of the windows that hold a time.
type Ends<'a> = &'a dyn Fn(i64) -> Vec<(i64, i64)>;

fn naive_windows(rows: &[Row], ends: impl Fn(i64) -> Vec<(i64, i64)>) -> BTreeMap<Vec<Value>, i64> {
    let mut groups: BTreeMap<(u8, i64, i64), (i64, i64)> = BTreeMap::new();
    for (_, key, value, time) in rows {
        for (start, end) in ends(*time) {
            let (sum, max) = groups.entry((*key, start, end)).or_insert((0, i64::MIN));
            (*sum, *max) = (*sum + value, (*max).max(*value));
        }
    }
    let time = |millis| Value::Timestamp(EventTime::from_millis(millis));
    let rows = groups.into_iter().map(|((key, start, end), (sum, max))| {
        let window = [time(start), time(end), time(end - 1)];
        let key = Value::text(&format!("k{key}"));
        let row = std::iter::once(key).chain(window);
        (row.chain([Value::Integer(sum), Value::Integer(max)]).collect(), 1)
    });
    rows.collect()
}

proptest! {
    #[test]
    fn a_restart_at_any_point_changes_nothing_in_any_operator(
        rows in rows(2),
        cut in 0_usize..60,
    ) {
        for relation in every_relation() {
            let (mut through, mut restarted) = (Run::new(&relation), Run::new(&relation));
            for (index, row) in rows.iter().enumerate() {
                through.feed(row);
                if index == cut {
                    let snapshot = restarted.snapshot();
                    restarted.restore(&relation, snapshot.clone());
                    prop_assert_eq!(restarted.snapshot(), snapshot, "equal states, equal bytes");
                }
                restarted.feed(row);
            }
            through.end();
            restarted.end();
            prop_assert_eq!(&restarted.said, &through.said, "{:?}", relation.operator);
        }
    }

    #[test]
    fn the_length_of_keys_counts_the_same_behind_a_restart(rows in rows(2)) {
        for relation in every_relation() {
            let kept = ["k", "a key of more than thirty bytes "].map(|name| {
                let mut run = Run::new(&relation);
                for row in &rows {
                    let mut named = values(row);
                    named[KEY] = Value::text(&format!("{name}{}", row.1));
                    run.feed_values(row, &named);
                }
                let before = run.dataflow.kept().bytes;
                let snapshot = run.snapshot();
                run.restore(&relation, snapshot);
                (before, run.dataflow.kept().bytes)
            });

            let [(short, short_restarted), (long, long_restarted)] = kept;

            let difference = long_restarted - short_restarted;
            prop_assert_eq!(long - short, difference, "{:?}", relation.operator);
        }
    }

    #[test]
    fn a_snapshot_shows_the_state_at_its_beginning_whatever_comes_meanwhile(
        rows in rows(2),
        cut in 0_usize..60,
    ) {
        for relation in every_relation() {
            let mut run = Run::new(&relation);
            let (before, after) = rows.split_at(cut.min(rows.len()));
            before.iter().for_each(|row| drop(run.feed(row)));
            let at_once = run.snapshot();
            let mut in_steps = Writer::new();
            run.dataflow.begin_cut(&mut in_steps);
            let mut after = after.iter();
            run.poll(usize::MAX, &mut in_steps, |run| {
                if let Some(row) = after.next() {
                    run.feed(row);
                }
            });
            prop_assert_eq!(in_steps.finish(), at_once, "{:?}", relation.operator);
        }
    }

    #[test]
    fn windows_hold_what_a_batch_over_the_accepted_rows_holds(rows in rows(1)) {
        let hop = |time: i64| -> Vec<(i64, i64)> {
            let ends = (time + 1..=time + 10).filter(|end| (end - 10).rem_euclid(4) == 0);
            ends.map(|end| (end - 10, end)).collect()
        };
        let cumulate = |time: i64| -> Vec<(i64, i64)> {
            let start = time - time.rem_euclid(12);
            (1..=3).map(|step| (start, start + 4 * step)).filter(|(_, end)| time < *end).collect()
        };
        let cases: [(WindowKind, Ends<'_>); 2] = [(HOP, &hop), (CUMULATE, &cumulate)];
        for (kind, ends) in cases {
            let mut run = Run::new(&windowed(kind));
            let mut naive = Vec::new();
            for row in &rows {
                let watermark = run.latest[0].saturating_sub(5);
                let is_open = ends(row.3).iter().any(|(_, end)| end - 1 > watermark);
                let outcome = run.feed(row);
                prop_assert_eq!(outcome[0] == Outcome::Taken, is_open);
                // A row counts in those of its windows that have not fired.
                naive.push((*row, watermark));
            }
            run.end();
            let mut expected: BTreeMap<Vec<Value>, i64> = BTreeMap::new();
            let all: Vec<Row> = naive.iter().map(|(row, _)| *row).collect();
            let open = |row: &Row, end: i64| {
                naive.iter().any(|(other, watermark)| other == row && end - 1 > *watermark)
            };
            let spans: std::collections::BTreeSet<_> = all.iter().flat_map(|r| ends(r.3)).collect();
            for (start, end) in spans {
                let within = all.iter().copied();
                let within: Vec<Row> = within
                    .filter(|row| ends(row.3).contains(&(start, end)) && open(row, end))
                    .collect();
                expected.extend(naive_windows(&within, |_| vec![(start, end)]));
            }
            if naive.iter().all(|(row, _)| naive.iter().filter(|(r, _)| r == row).count() == 1) {
                prop_assert_eq!(folded(&run.said), expected);
            }
        }
    }

    #[test]
    fn updates_of_a_group_end_with_the_aggregates_of_all_rows(rows in rows(1)) {
        let mut run = Run::new(&group(scan(LEFT)));
        rows.iter().for_each(|row| drop(run.feed(row)));

        let expected = (0..3).filter_map(|key| {
            let rows = of_key(&rows, key);
            let sum: i64 = rows.iter().map(|row| row.2).sum();
            let max = rows.iter().map(|row| row.2).max()?;
            let key = Value::text(&format!("k{key}"));
            Some((vec![key, Value::Integer(sum), Value::Integer(max)], 1))
        });
        let expected: BTreeMap<_, _> = expected.collect();
        prop_assert_eq!(folded(&run.said), expected);
    }

    #[test]
    fn a_regular_join_ends_with_every_pair_and_those_alone(rows in rows(2)) {
        let join = join(JoinKind::Full, JoinMethod::Regular, scan(LEFT), scan(RIGHT));
        let mut run = Run::new(&join);
        rows.iter().for_each(|row| drop(run.feed(row)));

        let side = |table| rows.iter().filter(move |row| row.0 == table);
        let mut expected = BTreeMap::new();
        let nulls = || vec![Value::Null; 3];
        for left in side(LEFT) {
            let partners: Vec<_> = side(RIGHT).filter(|right| right.1 == left.1).collect();
            for right in &partners {
                *expected.entry([values(left), values(right)].concat()).or_insert(0) += 1;
            }
            if partners.is_empty() {
                *expected.entry([values(left), nulls()].concat()).or_insert(0) += 1;
            }
        }
        for right in side(RIGHT).filter(|right| !side(LEFT).any(|left| left.1 == right.1)) {
            *expected.entry([nulls(), values(right)].concat()).or_insert(0) += 1;
        }
        prop_assert_eq!(folded(&run.said), expected);
    }

    #[test]
    fn top_n_ends_with_the_first_rows_by_order_whether_ranks_show_or_not(rows in rows(1)) {
        for rank_column in [RankColumn::Appended, RankColumn::Left] {
            let mut run = Run::new(&top(rank_column));
            rows.iter().for_each(|row| drop(run.feed(row)));

            let mut expected = BTreeMap::new();
            for key in 0..3 {
                let mut rows = of_key(&rows, key);
                rows.sort_by_key(|row| std::cmp::Reverse(row.2));
                for (rank, row) in (1..).zip(rows.into_iter().take(2)) {
                    let mut values = values(row);
                    if rank_column == RankColumn::Appended {
                        values.push(Value::Integer(rank));
                    }
                    *expected.entry(values).or_insert(0) += 1;
                }
            }
            prop_assert_eq!(folded(&run.said), expected);
        }
    }

    #[test]
    fn an_interval_join_of_rows_in_order_gives_every_near_pair(mut rows in rows(2)) {
        rows.sort_by_key(|row| row.3);
        let mut run = Run::new(&join(JoinKind::Inner, INTERVAL, scan(LEFT), scan(RIGHT)));
        rows.iter().for_each(|row| drop(run.feed(row)));
        run.end();

        let mut expected = BTreeMap::new();
        for left in rows.iter().filter(|row| row.0 == LEFT) {
            for right in rows.iter().filter(|row| row.0 == RIGHT && row.1 == left.1) {
                if (-3..=5).contains(&(right.3 - left.3)) {
                    *expected.entry([values(left), values(right)].concat()).or_insert(0) += 1;
                }
            }
        }
        prop_assert_eq!(folded(&run.said), expected);
    }

    #[test]
    fn over_a_range_each_row_sees_the_rows_up_to_it(mut rows in rows(1)) {
        rows.sort_by_key(|row| row.3);
        let mut run = Run::new(&over(Frame::Range(Some(5))));
        rows.iter().for_each(|row| drop(run.feed(row)));
        run.end();

        prop_assert_eq!(run.said.len(), rows.len());
        for Changed { row, .. } in &run.said {
            let [Value::Text(key), _, Value::Timestamp(time), sum, least, ..] = row.as_slice()
            else {
                panic!("{row:?}")
            };
            let seen = rows.iter().filter(|other| {
                format!("k{}", other.1) == **key
                    && (time.millis() - 5..=time.millis()).contains(&other.3)
            });
            let seen: Vec<i64> = seen.map(|row| row.2).collect();
            prop_assert_eq!(sum, &Value::Integer(seen.iter().sum()));
            prop_assert_eq!(least, &Value::Integer(*seen.iter().min().unwrap()));
        }
    }
}

#[test]
fn a_late_row_that_joins_an_open_session_is_kept() {
    let mut run = Run::new(&windowed(SESSION));
    // The watermark is 3, and the session of 0 to 11 is open.
    for time in [0, 2, 4, 6, 8] {
        run.feed(&(LEFT, 0, 1, time));
    }

    let joins = run.feed(&(LEFT, 0, 1, -2));
    let joins_nothing = run.feed(&(LEFT, 1, 1, -2));

    assert_eq!(joins, [Outcome::Taken]);
    assert_eq!(joins_nothing, [Outcome::Late(Some(EventTime::from_millis(1)))]);
}

#[test]
fn a_row_that_touches_a_session_that_has_fired_starts_a_new_one() {
    let mut run = Run::new(&windowed(SESSION));
    for time in [0, 8, 3] {
        run.feed(&(LEFT, 0, 1, time));
    }
    run.end();

    let time = |value: &Value| match value {
        Value::Timestamp(time) => time.millis(),
        other => panic!("{other:?}"),
    };
    let sessions: Vec<_> =
        run.said.iter().map(|changed| (time(&changed.row[1]), time(&changed.row[2]))).collect();
    assert_eq!(sessions, [(0, 3), (3, 6), (8, 11)]);
}

#[test]
fn a_row_within_the_allowed_lateness_takes_the_old_result_back() {
    let relation = windowed(WindowKind::Tumble { size: 10, offset: 0 });
    let mut run = Run {
        dataflow: Dataflow::new(&relation, Times { lateness: 10, ..TIMES }, 7, LIMITS),
        ..Run::new(&relation)
    };
    run.feed(&(LEFT, 0, 1, 3));
    run.feed(&(LEFT, 0, 2, 15));

    let within = run.feed(&(LEFT, 0, 4, 4));
    let changes: Vec<_> = run.said.iter().map(|c| (c.change, c.row[4].clone())).collect();
    run.feed(&(LEFT, 0, 0, 25));
    let beyond = run.feed(&(LEFT, 0, 4, 4));

    assert_eq!(within, [Outcome::Taken]);
    assert_eq!(
        changes,
        [
            (Change::Insert, Value::Integer(1)),
            (Change::UpdateBefore, Value::Integer(1)),
            (Change::UpdateAfter, Value::Integer(5)),
        ]
    );
    assert_eq!(beyond, [Outcome::Late(Some(EventTime::from_millis(10)))]);
}

#[test]
fn a_cross_join_is_stopped_at_the_limit_of_work_and_takes_nothing() {
    let pairs = join(JoinKind::Inner, JoinMethod::Regular, scan(LEFT), scan(RIGHT));
    let limits = Limits { work: 3, ..LIMITS };
    let mut run = Run { dataflow: Dataflow::new(&pairs, TIMES, 7, limits), ..Run::new(&pairs) };
    for value in 0..4 {
        run.feed(&(LEFT, 0, value, value));
    }

    let mut effects = Effects::default();
    let refused = run.dataflow.on_row(
        (RIGHT, 0),
        &values(&(RIGHT, 0, 1, 1)),
        Origin::default(),
        &mut effects,
    );

    assert_eq!(refused, Err(Refusal::WorkLimit { limit: 3 }));
    assert!(effects.list.is_empty());
}

#[test]
fn a_window_of_more_panes_than_may_be_looked_at_is_refused() {
    let mut huge = Run::new(&windowed(WindowKind::Hop { size: 20_001, slide: 1, offset: 0 }));

    let refused = huge.dataflow.on_row(
        (LEFT, 0),
        &values(&(LEFT, 0, 1, 1)),
        Origin::default(),
        &mut Effects::default(),
    );

    assert_eq!(refused, Err(Refusal::WorkLimit { limit: 10_000 }));
}

#[test]
fn rows_of_a_lookup_leave_in_the_order_they_came_and_hold_the_watermark() {
    let lookup = join(JoinKind::Left, JoinMethod::Lookup { table: RIGHT }, scan(LEFT), scan(RIGHT));
    let mut dataflow = Dataflow::new(&lookup, TIMES, 7, LIMITS);
    let mut effects = Effects::default();
    for value in [1, 2] {
        dataflow
            .on_row((LEFT, 0), &values(&(LEFT, 0, value, value)), Origin::default(), &mut effects)
            .unwrap();
    }
    let asked: Vec<_> = effects.list.drain(..).collect();

    dataflow.on_lookup(0, 1, vec![values(&(RIGHT, 0, 9, 9))], &mut effects);
    let early = effects.list.len();
    dataflow.on_lookup(0, 0, Vec::new(), &mut effects);

    let left: Vec<_> = effects
        .list
        .iter()
        .map(|effect| match effect {
            Effect::Row(Changed { row, .. }) => (row[VALUE].clone(), row[3 + VALUE].clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!((asked.len(), early), (2, 0));
    assert_eq!(left, [(Value::Integer(1), Value::Null), (Value::Integer(2), Value::Integer(9))]);
}
