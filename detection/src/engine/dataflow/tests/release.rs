use super::*;

const MINUTE: Times = Times { retention: 60_000, ..TIMES };

fn run_with(relation: &Relation, times: Times) -> Run {
    Run { dataflow: Dataflow::new(relation, times, 7, LIMITS), ..Run::new(relation) }
}

/// Feeds a row of each side and key, then moves both watermarks to `watermark`.
fn kept_at(relation: &Relation, times: Times, watermark: i64) -> usize {
    let mut run = run_with(relation, times);
    for key in 0..3 {
        run.feed(&(RIGHT, key, 1, 1_000));
        run.feed(&(LEFT, key, 1, 1_000));
    }
    let mut effects = Effects::default();
    for table in [LEFT, RIGHT] {
        run.dataflow.on_watermark(table, watermark, &mut effects);
    }
    run.take(effects);
    run.dataflow.kept().keys
}

fn temporal() -> Relation {
    let times = JoinMethod::Temporal { left_time: TIME, right_time: TIME };
    join(JoinKind::Left, times, scan(LEFT), scan(RIGHT))
}

#[test]
fn a_bounded_range_lets_go_of_its_keys_one_and_a_half_frames_behind_the_last_row() {
    let range = over(Frame::Range(Some(100)));

    // 1,000 + 150 + 1.
    assert_eq!(kept_at(&range, TIMES, 1_150), 3);
    assert_eq!(kept_at(&range, TIMES, 1_151), 0);
}

#[test]
fn keys_that_no_window_bounds_are_let_go_of_when_their_retention_is_over() {
    for relation in [over(Frame::Rows(Some(2))), over(Frame::Range(None)), temporal()] {
        assert_eq!(kept_at(&relation, TIMES, 1 << 40), 3, "{relation:?}");
        assert_eq!(kept_at(&relation, MINUTE, 60_999), 3, "{relation:?}");
        assert_eq!(kept_at(&relation, MINUTE, 61_000), 0, "{relation:?}");
    }
}

#[test]
fn a_match_keeps_no_key_without_rows_that_may_begin_one() {
    let relation = rise_and_fall();

    assert_eq!(kept_at(&relation, TIMES, 1_011), 3);
    assert_eq!(kept_at(&relation, TIMES, 1_012), 0);
}

#[test]
fn a_left_row_of_a_key_without_versions_is_not_kept_once_it_is_out() {
    let mut run = Run::new(&temporal());
    run.feed(&(LEFT, 0, 1, 10));

    run.feed(&(RIGHT, 1, 1, 30));
    run.feed(&(LEFT, 1, 1, 30));

    assert_eq!(run.said.len(), 1);
    // Of key 1 a row and a version wait.
    assert_eq!(run.dataflow.kept().keys, 1);
}

#[test]
fn a_row_before_a_clean_up_timer_of_a_range_is_late_although_no_row_of_its_key_fired_there() {
    let mut run = Run::new(&over(Frame::Range(Some(10))));
    run.feed(&(LEFT, 0, 1, 100));
    // Sets a second timer, at 129, and does not take the first, at 116, back.
    run.feed(&(LEFT, 0, 1, 113));
    run.feed(&(LEFT, 1, 1, 125));

    let before = run.feed(&(LEFT, 0, 1, 116));
    let behind = run.feed(&(LEFT, 0, 1, 117));

    assert_eq!(before, [Outcome::Late(None)]);
    assert_eq!(behind, [Outcome::Taken]);
}

#[test]
fn a_range_that_has_let_go_of_a_key_knows_nothing_of_what_fired() {
    let mut run = Run::new(&over(Frame::Range(Some(10))));
    run.feed(&(LEFT, 0, 1, 100));
    run.feed(&(LEFT, 1, 1, 200));

    let late = run.feed(&(LEFT, 0, 1, 50));

    assert_eq!(late, [Outcome::Taken]);
}

#[test]
fn retention_is_kept_over_a_restart() {
    for relation in [over(Frame::Rows(Some(2))), temporal()] {
        let mut run = run_with(&relation, MINUTE);
        run.feed(&(LEFT, 0, 1, 10));
        run.feed(&(RIGHT, 0, 1, 10));
        run.feed(&(LEFT, 1, 1, 40_000));
        run.feed(&(RIGHT, 1, 1, 40_000));
        let mut reader = Reader::new(run.snapshot());
        run.dataflow = Dataflow::new(&relation, MINUTE, 99, LIMITS);
        run.dataflow.read(&mut reader).unwrap();

        run.feed(&(LEFT, 1, 1, 60_015));
        run.feed(&(RIGHT, 1, 1, 60_015));

        assert_eq!(run.dataflow.kept().keys, 1, "{relation:?}");
    }
}

#[test]
fn what_a_key_takes_under_retention_grows_neither_with_its_rows_nor_by_a_restart() {
    for relation in [over(Frame::Rows(Some(2))), temporal(), rise_and_fall()] {
        let mut run = run_with(&relation, MINUTE);
        let mut feed = |times: std::ops::Range<i64>| {
            for time in times {
                run.feed(&(RIGHT, 0, time, time));
                run.feed(&(LEFT, 0, time, time));
            }
            run.dataflow.kept()
        };

        let few = feed(0..30);
        let many = feed(30..300);
        let mut reader = Reader::new(run.snapshot());
        let mut restarted = Dataflow::new(&relation, MINUTE, 99, LIMITS);
        restarted.read(&mut reader).unwrap();

        assert_eq!(few, many, "{relation:?}");
        assert_eq!(restarted.kept(), many, "{relation:?}");
    }
}
