//! Operators against batch computations over all rows, written without anything of the operators.

use super::*;

/// Rows out of order, by so much less than the watermark stays behind that none is late, nor
/// touches the end of a session that has fired, which would not be one with it.
fn timely_rows(sides: u8) -> impl Strategy<Value = Vec<Row>> {
    rows(sides).prop_map(|mut rows| {
        rows.sort_by_key(|row| row.3 + row.2 % 4);
        rows
    })
}

fn said(relation: &Relation, rows: &[Row]) -> Vec<Changed> {
    let mut run = Run::new(relation);
    for row in rows {
        let outcomes = run.feed(row);
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Taken), "no row is late");
    }
    run.end();
    run.said
}

fn time(millis: i64) -> Value {
    Value::Timestamp(EventTime::from_millis(millis))
}

fn nulls(columns: usize) -> Vec<Value> {
    vec![Value::Null; columns]
}

fn count(row: Vec<Value>, counts: &mut BTreeMap<Vec<Value>, i64>) {
    *counts.entry(row).or_insert(0) += 1;
}

/// Times of a key cut where more than 3 ms lie between neighbours.
fn sessions<'a>(rows: &[&'a Row]) -> Vec<Vec<&'a Row>> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.3);
    let mut sessions: Vec<Vec<&Row>> = Vec::new();
    for row in rows {
        match sessions.last_mut() {
            Some(session) if row.3 <= session.last().unwrap().3 + 3 => session.push(row),
            _ => sessions.push(vec![row]),
        }
    }
    sessions
}

/// The hopping windows of 10 ms every 4 ms that hold a time.
fn hops(millis: i64) -> Vec<(i64, i64)> {
    let starts = (millis - 9..=millis).filter(|start| start.rem_euclid(4) == 0);
    starts.map(|start| (start, start + 10)).collect()
}

fn with_window(row: &Row, (start, end): (i64, i64)) -> Vec<Value> {
    [values(row), vec![time(start), time(end), time(end - 1)]].concat()
}

proptest! {
    #[test]
    fn sessions_hold_what_a_batch_cuts_at_the_gaps(rows in timely_rows(1)) {
        let mut expected = BTreeMap::new();
        for key in 0..3 {
            for session in sessions(&of_key(&rows, key)) {
                let (start, end) = (session[0].3, session.last().unwrap().3 + 3);
                let sum = session.iter().map(|row| row.2).sum();
                let max = session.iter().map(|row| row.2).max().unwrap();
                let row = [Value::text(&format!("k{key}")), time(start), time(end), time(end - 1),
                    Value::Integer(sum), Value::Integer(max)];
                count(row.to_vec(), &mut expected);
            }
        }

        prop_assert_eq!(folded(&said(&windowed(SESSION), &rows)), expected);
    }

    #[test]
    fn each_row_of_a_session_comes_out_once_with_the_session_that_holds_it(
        rows in timely_rows(1),
    ) {
        let mut expected = BTreeMap::new();
        for key in 0..3 {
            for session in sessions(&of_key(&rows, key)) {
                let extent = (session[0].3, session.last().unwrap().3 + 3);
                session.iter().for_each(|row| count(with_window(row, extent), &mut expected));
            }
        }

        prop_assert_eq!(folded(&said(&table_window(LEFT, SESSION), &rows)), expected);
    }

    #[test]
    fn over_rows_each_row_sees_those_before_it_by_time_then_arrival(rows in timely_rows(1)) {
        let said = said(&over(Frame::Rows(Some(2))), &rows);

        for key in 0..3 {
            let mut ordered = of_key(&rows, key);
            ordered.sort_by_key(|row| row.3);
            let expected: Vec<Vec<Value>> = (0..ordered.len()).map(|at| {
                let seen = &ordered[at.saturating_sub(2)..=at];
                let rank = ordered.iter().position(|row| row.3 == ordered[at].3).unwrap() + 1;
                let lag = at.checked_sub(2).map_or(-1, |back| ordered[back].2);
                let numbers = [
                    seen.iter().map(|row| row.2).sum(),
                    seen.iter().map(|row| row.2).min().unwrap(),
                    i64::try_from(at + 1).unwrap(),
                    i64::try_from(rank).unwrap(),
                    lag,
                ];
                [values(ordered[at]), numbers.map(Value::Integer).to_vec()].concat()
            }).collect();
            let name = Value::text(&format!("k{key}"));
            let of_key = said.iter().filter(|changed| changed.row[KEY] == name);
            let of_key: Vec<_> = of_key.map(|changed| changed.row.clone()).collect();
            prop_assert_eq!(of_key, expected);
        }
    }

    #[test]
    fn a_window_join_gives_every_pair_of_each_window_and_those_alone(rows in timely_rows(2)) {
        let columns = WindowColumns { start: 3, end: 4 };
        let method = JoinMethod::Window { left: columns, right: columns };
        let join =
            join(JoinKind::Full, method, table_window(LEFT, HOP), table_window(RIGHT, HOP));
        let mut expected = BTreeMap::new();
        let windows: std::collections::BTreeSet<_> =
            rows.iter().flat_map(|row| hops(row.3)).collect();
        for window in windows {
            let inside = |side| {
                rows.iter().filter(move |row| row.0 == side && hops(row.3).contains(&window))
            };
            for left in inside(LEFT) {
                let partners: Vec<_> = inside(RIGHT).filter(|right| right.1 == left.1).collect();
                let left = with_window(left, window);
                if partners.is_empty() {
                    count([left.clone(), nulls(6)].concat(), &mut expected);
                }
                for right in partners {
                    count([left.clone(), with_window(right, window)].concat(), &mut expected);
                }
            }
            for right in inside(RIGHT).filter(|right| !inside(LEFT).any(|left| left.1 == right.1)) {
                count([nulls(6), with_window(right, window)].concat(), &mut expected);
            }
        }

        prop_assert_eq!(folded(&said(&join, &rows)), expected);
    }

    #[test]
    fn a_temporal_join_takes_the_last_version_at_the_time_of_the_row(rows in timely_rows(2)) {
        let method = JoinMethod::Temporal { left_time: TIME, right_time: TIME };
        let join = join(JoinKind::Left, method, scan(LEFT), scan(RIGHT));
        let mut expected = BTreeMap::new();
        for left in rows.iter().filter(|row| row.0 == LEFT) {
            let versions =
                rows.iter().filter(|row| row.0 == RIGHT && row.1 == left.1 && row.3 <= left.3);
            // Of versions of one time the last that came.
            let version = versions.max_by_key(|row| row.3);
            let right = version.map_or_else(|| nulls(3), values);
            count([values(left), right].concat(), &mut expected);
        }

        prop_assert_eq!(folded(&said(&join, &rows)), expected);
    }
}
