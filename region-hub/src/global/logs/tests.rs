//! Promises and rows that wait, one after the other.

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
