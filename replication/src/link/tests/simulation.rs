//! Any schedule of deliveries, datagrams that are lost or doubled or late, stalls, late disks and
//! cuts ends with exact copies.

use std::collections::BTreeMap;
use std::time::Duration;

use headland_event::{Entry, Lane};
use proptest::collection::vec;
use proptest::prelude::*;

use super::pair::{Fate, Log, Pair, source};

#[derive(Debug, Clone, Copy)]
enum Step {
    CarryUp(Lane),
    CarryDown,
    Datagram { at: usize, fate: Fate },
    Append { log: usize, bytes: usize },
    AnswerRead,
    Store,
    Rewind,
    Wait { ms: u64 },
    Cut,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::sample::select(&Lane::ALL[..]).prop_map(Step::CarryUp),
        6 => Just(Step::CarryDown),
        6 => (0..4_usize, prop::sample::select(&Fate::ALL[..]))
            .prop_map(|(at, fate)| Step::Datagram { at, fate }),
        6 => (0..3_usize, 1..900_usize).prop_map(|(log, bytes)| Step::Append { log, bytes }),
        5 => Just(Step::AnswerRead),
        5 => Just(Step::Store),
        1 => Just(Step::Rewind),
        1 => (1..50_u64).prop_map(|ms| Step::Wait { ms }),
        2 => (1..700_u64).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Cut),
    ]
}

const TOPICS: [(&str, Lane); 3] =
    [("alerts", Lane::Alerts), ("inventory.events", Lane::State), ("air", Lane::Telemetry)];

fn start() -> Pair {
    let mut pair = Pair::new();
    for (topic, lane) in TOPICS {
        pair.agent.offer(Log::new(topic, lane, 2, 100));
    }
    pair
}

/// The receiver loses what it had not stored, and goes back to what it has.
fn rewind(pair: &mut Pair) {
    let first: BTreeMap<_, _> =
        pair.hub.delivered.iter().rev().map(|(channel, entry)| (*channel, entry.base)).collect();
    pair.hub.delivered.clear();
    for (channel, next) in first {
        pair.hub.link.subscribe(channel, next);
    }
    pair.hub.drain();
}

fn apply(pair: &mut Pair, step: Step) {
    match step {
        Step::CarryUp(lane) => {
            Pair::carry(pair.now, &mut pair.agent, &mut pair.hub, lane);
        }
        Step::CarryDown => {
            Pair::carry(pair.now, &mut pair.hub, &mut pair.agent, Lane::Control);
        }
        Step::Datagram { at, fate } => pair.carry_datagram(at, fate),
        Step::Append { log, bytes } => pair.agent.append(log, bytes),
        Step::AnswerRead => pair.agent.answer_read(),
        Step::Store => pair.hub.store_one(),
        Step::Rewind => rewind(pair),
        Step::Wait { ms } => {
            // Nodes wake up when their link wants them to, if only to be asked when again.
            pair.agent.link.on_timeout(pair.now);
            pair.now = pair.now.after(Duration::from_millis(ms));
            pair.agent.link.on_timeout(pair.now);
            pair.hub.link.on_timeout(pair.now);
            if pair.agent.link.poll_timeout().is_none() || pair.hub.link.poll_timeout().is_none() {
                pair.cut();
            }
        }
        Step::Cut => pair.cut(),
    }
    pair.agent.drain();
    pair.hub.drain();
}

fn check_bounds(pair: &Pair) {
    // Window 4,096 and budget 1,024; the largest frame here is below both but for the budget.
    let in_flight = |lane| pair.agent.link.in_flight(lane).get();
    assert!(in_flight(Lane::State) + in_flight(Lane::Telemetry) <= 4_096);
    assert!(in_flight(Lane::Alerts) <= 2_048);
    for lane in [Lane::Alerts, Lane::State, Lane::Telemetry] {
        assert!(pair.agent.link.unsent(lane).get() <= 1_200, "{lane}");
    }
    assert!(pair.agent.reads.len() <= 6, "two reads per lane at most");
}

fn check_copies(pair: &Pair) {
    for log in &pair.agent.logs {
        let copy: &[Entry] = pair.hub.mirrored(log.topic);
        assert!(log.entries.starts_with(copy), "{} is not a prefix", log.topic);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_mirror_is_a_prefix_after_every_step_and_complete_after_the_last(
        schedule in vec(steps(), 0..300),
    ) {
        let mut pair = start();

        for step in schedule {
            apply(&mut pair, step);
            check_bounds(&pair);
            check_copies(&pair);
        }
        pair.run();

        for log in &pair.agent.logs {
            prop_assert_eq!(pair.hub.mirrored(log.topic), &log.entries[..]);
        }
        for status in pair.agent.link.offers() {
            prop_assert_eq!(status.lag_records(), 0);
            prop_assert_eq!(status.in_flight_records, 0);
        }
        prop_assert_eq!(pair.hub.mirror.keys().cloned().collect::<Vec<_>>(), sorted_sources());
    }
}

fn sorted_sources() -> Vec<headland_event::TopicPartition> {
    let mut sources: Vec<_> = TOPICS.iter().map(|(topic, _)| source(topic)).collect();
    sources.sort();
    sources
}
