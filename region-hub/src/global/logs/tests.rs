//! Promises and rows that wait, one after the other.

use proptest::prelude::*;

use super::*;

const FIRST: Incarnation = Incarnation::new(1, 1);
const SECOND: Incarnation = Incarnation::new(2, 7);

fn topic() -> TopicName {
    TopicName::new("air").unwrap()
}

fn at(life: Incarnation, topic: &TopicName) -> At<'_> {
    At { region: 0, life, topic }
}

fn millis(millis: i64) -> EventTime {
    EventTime::from_millis(millis)
}

fn promise_of(topic: TopicName, watermark: i64, end: u64) -> Promise {
    let ends = BTreeMap::from([(PartitionIndex::new(0), Offset::new(end))]);
    Promise { topic, watermark: millis(watermark), ends }
}

fn promise(watermark: i64, end: u64) -> Promise {
    promise_of(topic(), watermark, end)
}

fn held(offset: u64) -> Held {
    Held {
        partition: PartitionIndex::new(0),
        offset: Offset::new(offset),
        time: millis(0),
        verdict: Verdict::Late,
        horizon: millis(9),
        behind: EventTime::MIN,
        value: Bytes::from_static(b"row"),
    }
}

/// One region, in its first life.
fn logs() -> Logs {
    let mut logs = Logs::new(1);
    assert_eq!(logs.on_life(0, FIRST, Offset::new(3)), None);
    logs
}

fn reach(logs: &mut Logs, life: Incarnation, from: u64, end: u64) -> Option<Lost> {
    let range = (Offset::new(from), Offset::new(end));
    logs.reach(at(life, &topic()), PartitionIndex::new(0), range).1
}

#[test]
fn a_promise_is_reached_with_its_data_and_names_what_its_held_rows_came_behind() {
    let mut logs = logs();
    logs.on_promise(0, FIRST, promise(100, 3));
    logs.on_promise(0, FIRST, promise(200, 5));
    logs.hold(at(FIRST, &topic()), held(4));

    reach(&mut logs, FIRST, 0, 4);
    let [first, none] = [logs.next_reached(0), logs.next_reached(0)];
    reach(&mut logs, FIRST, 4, 5);
    let second = logs.next_reached(0);

    let (behind, settled) = (millis(100), Settled::ByPromise);
    let due = Due { held: held(4), behind, settled };
    assert_eq!(first, Some(Reached { topic: topic(), held: Vec::new() }));
    assert_eq!(none, None);
    assert_eq!(second, Some(Reached { topic: topic(), held: vec![due] }));
    assert_eq!(logs.least(&topic()), Some(millis(200)));
}

#[test]
fn a_region_that_has_promised_nothing_holds_all_and_the_furthest_is_known() {
    let mut logs = Logs::new(2);
    logs.on_life(1, FIRST, Offset::new(0));
    logs.on_promise(1, FIRST, promise(100, 0));

    assert!(logs.next_reached(1).is_some());

    assert_eq!(logs.least(&topic()), None);
    assert_eq!(logs.most(&topic()), Some(millis(100)));
}

#[test]
fn a_topic_whose_data_is_behind_holds_no_other() {
    let mut logs = logs();
    let other = TopicName::new("water").unwrap();
    logs.on_promise(0, FIRST, promise(100, 7));
    logs.on_promise(0, FIRST, promise_of(other.clone(), 200, 0));

    assert_eq!(logs.next_reached(0).map(|reached| reached.topic), Some(other.clone()));

    assert_eq!((logs.next_reached(0), logs.least(&other)), (None, Some(millis(200))));
}

#[test]
fn rows_that_never_came_and_rows_that_stand_for_others_are_lost_behind_the_watermark() {
    let mut logs = logs();
    logs.on_promise(0, FIRST, promise(100, 0));
    logs.next_reached(0);

    let found = [(0, 3), (4, 5), (5, 6)].map(|(from, end)| reach(&mut logs, FIRST, from, end));

    let lost = Some(Lost { after: millis(100), until: None });
    assert_eq!(found, [None, lost, None]);
}

#[test]
fn rows_beyond_their_bound_wait_no_longer() {
    let mut logs = logs();
    let value = Bytes::from(vec![0; HELD_BYTES_LIMIT]);
    logs.hold(at(FIRST, &topic()), Held { value, ..held(0) });
    let at_the_bound = logs.next_reached(0);

    logs.hold(at(FIRST, &topic()), held(1));
    let beyond = logs.next_reached(0).unwrap();

    assert_eq!(at_the_bound, None);
    let settled: Vec<Settled> = beyond.held.iter().map(|due| due.settled).collect();
    assert_eq!(settled, [Settled::ByBound; 2]);
    assert_eq!(logs.next_reached(0), None);
}

#[test]
fn a_row_beyond_the_bound_came_behind_the_promise_before_the_one_that_covers_it() {
    let mut logs = logs();
    // None is reached: another partition is behind.
    for (watermark, end) in [(100, 1), (200, 2)] {
        let mut promise = promise(watermark, end);
        promise.ends.insert(PartitionIndex::new(1), Offset::new(9));
        logs.on_promise(0, FIRST, promise);
    }
    let value = Bytes::from(vec![0; HELD_BYTES_LIMIT]);
    logs.hold(at(FIRST, &topic()), Held { value, ..held(0) });
    logs.hold(at(FIRST, &topic()), held(1));
    logs.hold(at(FIRST, &topic()), held(2));

    let beyond = logs.next_reached(0).unwrap();

    let found: Vec<_> = beyond.held.iter().map(|due| (due.behind, due.settled)).collect();
    let expected = [
        (EventTime::MIN, Settled::ByPromise),
        (millis(100), Settled::ByPromise),
        (millis(200), Settled::ByBound),
    ];
    assert_eq!(found, expected);
}

/// What a row came behind by a look at every promise.
fn judged_one_by_one(promises: &VecDeque<Waiting>, in_effect: EventTime, held: Held) -> Due {
    let covers = |promise: &Waiting| {
        held.offset < promise.ends.get(&held.partition).copied().unwrap_or_default()
    };
    let covering = promises.iter().position(covers);
    let before = promises.iter().take(covering.unwrap_or(promises.len()));
    let behind = before.map(|promise| promise.watermark).fold(in_effect, EventTime::max);
    let settled = if covering.is_some() { Settled::ByPromise } else { Settled::ByBound };
    Due { held, behind, settled }
}

proptest! {
    #[test]
    fn rows_are_judged_as_by_a_look_at_every_promise_also_where_ends_go_back(
        promised in prop::collection::vec((0_i64..50, 0_u64..20, 0_u64..20, any::<bool>()), 0..12),
        rows in prop::collection::vec((0_u32..3, 0_u64..22), 0..30),
        in_effect in 0_i64..50,
    ) {
        let promises: VecDeque<Waiting> = promised.into_iter().map(|(time, first, second, both)| {
            let second = both.then_some((PartitionIndex::new(1), Offset::new(second)));
            let first = [(PartitionIndex::new(0), Offset::new(first))];
            Waiting { watermark: millis(time), ends: first.into_iter().chain(second).collect() }
        }).collect();
        let judge = Judge::new(&promises, millis(in_effect));

        for (partition, offset) in rows {
            let row = Held { partition: PartitionIndex::new(partition), ..held(offset) };
            let expected = judged_one_by_one(&promises, millis(in_effect), row.clone());
            prop_assert_eq!(judge.settle(row), expected);
        }
    }
}

/// As many promises and rows as may wait: a look at every promise for each row, or at every row for
/// each promise, would take minutes.
#[test]
fn as_many_rows_as_may_wait_are_let_go_whether_by_their_bound_or_by_as_many_promises() {
    const ROWS: u64 = 100_000;
    let waiting = || {
        let mut logs = logs();
        for number in 0..PROMISES_LIMIT {
            let (number, limit) = (u64::try_from(number).unwrap(), 4_096);
            // The last ones reach as far as the rows do.
            let end = (number + 1) * ROWS / limit;
            logs.on_promise(0, FIRST, promise(i64::try_from(number).unwrap(), end));
        }
        for offset in 0..ROWS {
            let value = Bytes::from_static(&[b'x'; 41]);
            logs.hold(at(FIRST, &topic()), Held { value, ..held(offset) });
        }
        logs
    };

    let (mut by_promises, mut by_bound) = (waiting(), waiting());
    reach(&mut by_promises, FIRST, 0, ROWS);
    let promised = std::iter::from_fn(|| by_promises.next_reached(0)).flat_map(|it| it.held);
    let promised: Vec<_> = promised.map(|due| (due.held.offset, due.behind)).collect();
    by_bound.hold(at(FIRST, &topic()), Held { value: vec![0; 1 << 20].into(), ..held(ROWS) });
    let beyond = by_bound.next_reached(0).unwrap().held;

    assert_eq!(promised.len(), 100_000);
    assert_eq!(promised.last(), Some(&(Offset::new(ROWS - 1), millis(4_094))));
    let last = beyond.last().map(|due| (due.behind, due.settled));
    assert_eq!(last, Some((millis(4_095), Settled::ByBound)));
    let beyond: Vec<_> = beyond.iter().map(|due| (due.held.offset, due.behind)).collect();
    assert_eq!(beyond.get(..promised.len()), Some(&*promised));
}

#[test]
fn promises_beyond_their_bound_are_passed_over_and_what_they_said_is_lost() {
    let mut logs = logs();
    for number in 0..PROMISES_LIMIT {
        let watermark = i64::try_from(number).unwrap();
        assert_eq!(logs.on_promise(0, FIRST, promise(watermark, 9)), None);
    }

    let lost = logs.on_promise(0, FIRST, promise(90_000, 9));

    let last = i64::try_from(PROMISES_LIMIT).unwrap() - 1;
    assert_eq!(lost, Some(Lost { after: millis(last - 1), until: Some(millis(last)) }));
    assert_eq!(logs.regions[0].lives[&FIRST].topics[&topic()].promises.len(), PROMISES_LIMIT);
}

#[test]
fn a_new_life_is_not_held_up_by_promises_of_the_one_before_it() {
    let mut logs = logs();
    logs.on_promise(0, FIRST, promise(100, 1_000));

    let lost = logs.on_life(0, SECOND, Offset::new(0));
    logs.on_promise(0, SECOND, promise(200, 2));
    reach(&mut logs, FIRST, 0, 900);
    let before_its_data = logs.next_reached(0);
    reach(&mut logs, SECOND, 0, 2);
    let with_it = logs.next_reached(0);

    assert_eq!(lost, Some(Lost { after: EventTime::MIN, until: None }));
    assert_eq!(before_its_data, None);
    assert!(with_it.is_some());
    assert_eq!(logs.least(&topic()), Some(millis(200)));
}

#[test]
fn a_life_that_goes_on_from_a_backup_has_what_the_one_before_it_had() {
    let mut logs = logs();
    reach(&mut logs, FIRST, 0, 10);

    logs.on_life(0, SECOND, Offset::new(4));
    logs.on_promise(0, SECOND, promise(200, 10));

    assert!(logs.next_reached(0).is_some());
    assert_eq!(reach(&mut logs, SECOND, 10, 12), None);
}

#[test]
fn the_oldest_of_too_many_lives_is_let_go() {
    let mut logs = Logs::new(1);

    for counter in 1..=5 {
        logs.on_life(0, Incarnation::new(counter, 0), Offset::new(0));
    }

    let kept: Vec<u32> = logs.regions[0].lives.keys().map(|life| life.counter()).collect();
    assert_eq!(kept, [2, 3, 4, 5]);
}
