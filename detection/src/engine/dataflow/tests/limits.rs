use super::*;

/// A relation whose groups grow with every row.
fn growing(function: AggregateKind) -> AggregateCall {
    AggregateCall { is_distinct: function == AggregateKind::Count, ..call(function) }
}

/// Feeds rows of one key and ever new values until one is refused; how many were taken.
fn fill(relation: &Relation, limits: Limits) -> (usize, Option<Refusal>, usize) {
    let mut dataflow = Dataflow::new(relation, TIMES, 7, limits);
    for taken in 0..5_000 {
        let value = i64::try_from(taken).unwrap();
        let row = values(&(LEFT, 0, value, 1));
        if let Err(refusal) =
            dataflow.on_row((LEFT, 0), &row, Origin::default(), &mut Effects::default())
        {
            return (taken, Some(refusal), dataflow.kept().bytes);
        }
    }
    (5_000, None, dataflow.kept().bytes)
}

#[test]
fn the_limit_of_memory_bounds_groups_that_grow_in_every_aggregation() {
    let limits = Limits { bytes: 20_000, ..LIMITS };
    for function in [AggregateKind::Count, AggregateKind::Collect, AggregateKind::ListAggregate] {
        let aggregates = || vec![growing(function)];
        let windows = |kind| WindowAggregate {
            input: scan(LEFT),
            windowing: Windowing::Assign(Window { time: TIME, kind, partition: vec![KEY] }),
            keys: vec![key(KEY)],
            aggregates: aggregates(),
        };
        let group =
            GroupAggregate { input: scan(LEFT), keys: vec![key(KEY)], aggregates: aggregates() };
        for operator in [
            Operator::WindowAggregate(Box::new(windows(WindowKind::Tumble { size: 9, offset: 0 }))),
            Operator::WindowAggregate(Box::new(windows(SESSION))),
            Operator::GroupAggregate(Box::new(group)),
        ] {
            let relation = relation(operator, 6, Changes::Append);

            let (taken, refusal, kept) = fill(&relation, limits);

            assert_eq!(refusal, Some(Refusal::MemoryLimit { limit: 20_000 }), "{relation:?}");
            assert!(taken > 50, "{taken}");
            // What one row adds to a list may bring it beyond the limit, which is asked before.
            assert!((20_000..41_000).contains(&kept), "{kept}");
        }
    }
}

#[test]
fn groups_that_do_not_grow_go_on_at_the_limit_of_memory() {
    let tumble = windowed(WindowKind::Tumble { size: 9, offset: 0 });
    let tumble = Relation {
        operator: match tumble.operator {
            Operator::WindowAggregate(mut plan) => {
                plan.aggregates = vec![call(AggregateKind::Sum)];
                Operator::WindowAggregate(plan)
            }
            other => other,
        },
        ..tumble
    };

    let (taken, refusal, _) = fill(&tumble, Limits { bytes: 1, ..LIMITS });

    assert_eq!((taken, refusal), (5_000, None));
}

/// Counts per key and window of a windowing table function: a row is in two or three windows.
fn attached_hops() -> Relation {
    let aggregate = WindowAggregate {
        input: table_window(LEFT, HOP),
        windowing: Windowing::Attached(WindowColumns { start: 3, end: 4 }),
        keys: vec![key(KEY)],
        aggregates: vec![call(AggregateKind::Sum)],
    };
    relation(Operator::WindowAggregate(Box::new(aggregate)), 5, Changes::Append)
}

#[test]
fn a_row_that_does_not_fit_all_of_its_windows_is_in_none() {
    let limits = Limits { keys: 4, ..LIMITS };
    let mut dataflow = Dataflow::new(&attached_hops(), TIMES, 7, limits);
    let mut effects = Effects::default();
    let taken =
        dataflow.on_row((LEFT, 0), &values(&(LEFT, 0, 1, 1)), Origin::default(), &mut effects);
    let before = dataflow.kept();

    let refused =
        dataflow.on_row((LEFT, 0), &values(&(LEFT, 1, 1, 1)), Origin::default(), &mut effects);

    assert_eq!(taken, Ok(Outcome::Taken));
    assert_eq!(before.keys, 3);
    assert_eq!(refused, Err(Refusal::WindowLimit { limit: 4 }));
    assert_eq!(dataflow.kept(), before);
    assert!(effects.list.is_empty());
}

#[test]
fn a_row_of_known_groups_is_taken_at_the_limit_of_keys() {
    let limits = Limits { keys: 3, ..LIMITS };
    let mut dataflow = Dataflow::new(&attached_hops(), TIMES, 7, limits);
    for _ in 0..2 {
        let row = values(&(LEFT, 0, 1, 1));

        let outcome = dataflow.on_row((LEFT, 0), &row, Origin::default(), &mut Effects::default());

        assert_eq!(outcome, Ok(Outcome::Taken));
    }
}

/// Ends a relation's input behind a restart and says what failed.
fn end_behind_a_restart(relation: &Relation, rows: &[Row], limits: Limits) -> Vec<Refusal> {
    let mut run = Run { dataflow: Dataflow::new(relation, TIMES, 7, limits), ..Run::new(relation) };
    rows.iter().for_each(|row| drop(run.feed(row)));
    let mut reader = Reader::new(run.snapshot());
    let mut restarted = Dataflow::new(relation, TIMES, 99, limits);
    restarted.read(&mut reader).unwrap();
    let mut effects = Effects::default();
    [LEFT, RIGHT].iter().for_each(|t| restarted.on_watermark(*t, i64::MAX, &mut effects));
    let failures = effects.list.into_iter().filter_map(|effect| match effect {
        Effect::Failure(failure) => Some(failure.reason),
        Effect::Row(_) | Effect::Lookup(_) => None,
    });
    failures.collect()
}

#[test]
fn the_limit_of_work_holds_behind_a_restart() {
    let columns = WindowColumns { start: 3, end: 4 };
    let method = JoinMethod::Window { left: columns, right: columns };
    let tumble = WindowKind::Tumble { size: 100, offset: 0 };
    let pairs =
        join(JoinKind::Inner, method, table_window(LEFT, tumble), table_window(RIGHT, tumble));
    let rows = (0..10).flat_map(|value| [(LEFT, 0, value, value), (RIGHT, 0, value, value)]);
    let rising: Vec<Row> = (0..10).map(|value| (LEFT, 0, value, value)).collect();

    let of_join =
        end_behind_a_restart(&pairs, &rows.collect::<Vec<_>>(), Limits { work: 99, ..LIMITS });
    let of_match = end_behind_a_restart(&rise_and_fall(), &rising, Limits { work: 8, ..LIMITS });

    assert_eq!(of_join, [Refusal::WorkLimit { limit: 99 }]);
    // Behind the rows from which few enough are left.
    assert_eq!(of_match.first(), Some(&Refusal::WorkLimit { limit: 8 }));
}

/// A pattern over variables that each hold for one value.
fn pattern_of_values(pattern: Pattern) -> Relation {
    let Operator::Match(plan) = rise_and_fall().operator else { panic!("a match") };
    let variable = |(own, name): (usize, &str)| Variable {
        name: name.into(),
        condition: Some(Expression::Compare(
            Comparison::Equal,
            Box::new([
                Expression::Column(0),
                Expression::Constant(Value::Integer(i64::try_from(own).unwrap())),
            ]),
        )),
        navigations: vec![Navigation {
            variable: Some(own),
            kind: NavigationKind::Last(0),
            value: Expression::Column(VALUE),
        }],
    };
    let variables = ["A", "B", "C"].into_iter().enumerate().map(variable).collect();
    let plan = Match { pattern, variables, ..*plan };
    relation(Operator::Match(Box::new(plan)), 3, Changes::Append)
}

fn repeat(pattern: Pattern, most: Option<u32>, greed: Greed) -> Pattern {
    Pattern::Repeat { pattern: Box::new(pattern), least: 0, most, greed }
}

#[test]
fn a_loop_whose_body_may_be_empty_ends_and_matches() {
    for greed in [Greed::Greedy, Greed::Reluctant] {
        let optional = |variable| repeat(Pattern::Variable(variable), Some(1), greed);
        let body = Pattern::Sequence(vec![optional(0), optional(1)]);
        let pattern = Pattern::Sequence(vec![repeat(body, None, greed), Pattern::Variable(2)]);
        let mut run = Run::new(&pattern_of_values(pattern));

        // A B B A C, then C alone.
        for (value, time) in [(0, 0), (1, 1), (1, 2), (0, 3), (2, 4), (2, 5)] {
            run.feed(&(LEFT, 0, value, time));
        }
        run.end();

        // LAST(A.value) of each match.
        let found: Vec<_> = run.said.iter().map(|changed| changed.row[1].clone()).collect();
        assert_eq!(found, [Value::Integer(0), Value::Null], "{greed:?}");
    }
}

#[test]
fn steps_between_rows_hardly_count_as_work() {
    // Twelve optional rows of A before C: 36 steps without a row, and 13 rows looked at.
    let optional = repeat(Pattern::Variable(0), Some(12), Greed::Greedy);
    let pattern = Pattern::Sequence(vec![optional, Pattern::Variable(2)]);
    let limits = Limits { work: 30, ..LIMITS };
    let relation = pattern_of_values(pattern);
    let dataflow = Dataflow::new(&relation, TIMES, 7, limits);
    let mut run = Run { dataflow, ..Run::new(&relation) };
    for time in 0..12 {
        run.feed(&(LEFT, 0, if time == 11 { 2 } else { 0 }, time));
    }

    run.end();

    assert_eq!(run.said.len(), 1);
}

#[test]
fn a_session_of_many_rows_closes_in_order_of_time() {
    let relation = table_window(LEFT, SESSION);
    let limits = Limits { work: usize::MAX, bytes: usize::MAX, ..LIMITS };
    let dataflow = Dataflow::new(&relation, TIMES, 7, limits);
    let mut run = Run { dataflow, ..Run::new(&relation) };
    for time in 0..30_000 {
        run.feed(&(LEFT, 0, time, time ^ 1));
    }

    run.end();

    let times: Vec<_> = run.said.iter().map(|changed| changed.row[TIME].clone()).collect();
    assert_eq!(times.len(), 30_000);
    assert!(times.is_sorted());
}

#[test]
fn a_last_row_that_does_not_fit_leaves_none_rather_than_an_older_one() {
    let latest = JoinMethod::Latest { table: RIGHT };
    let relation = join(JoinKind::Left, latest, scan(LEFT), scan(RIGHT));
    let mut dataflow = Dataflow::new(&relation, TIMES, 7, Limits { bytes: 1, ..LIMITS });
    let mut feed = |table: TableId, key: i64, text: &str| {
        let key = Value::text(&format!("k{key}"));
        let time = Value::Timestamp(EventTime::from_millis(0));
        let mut effects = Effects::default();
        let row = [key, Value::text(text), time];
        let outcome = dataflow.on_row((table, 0), &row, Origin::default(), &mut effects);
        let found = effects.list.into_iter().map(|effect| match effect {
            Effect::Row(Changed { row, .. }) => row[3 + VALUE].clone(),
            other => panic!("{other:?}"),
        });
        (outcome.map(|_| found.collect::<Vec<_>>()), dataflow.kept().keys)
    };
    let refused = Err(Refusal::MemoryLimit { limit: 1 });

    let first = feed(RIGHT, 0, "long");
    let other = feed(RIGHT, 1, "long");
    let shorter = feed(RIGHT, 0, "tiny");
    let found = feed(LEFT, 0, "");
    let longer = feed(RIGHT, 0, "longer");
    let lost = feed(LEFT, 0, "");

    assert_eq!(first, (Ok(Vec::new()), 1));
    assert_eq!(other, (refused.clone(), 1));
    assert_eq!(shorter, (Ok(Vec::new()), 1));
    assert_eq!(found, (Ok(vec![Value::text("tiny")]), 1));
    assert_eq!(longer, (refused, 0));
    assert_eq!(lost, (Ok(vec![Value::Null]), 0));
}
