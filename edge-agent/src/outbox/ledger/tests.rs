use headland_storage::Receivers;

use super::*;

/// 64 blocks of a byte fill it; half of that is kept when it was acknowledged.
const LIMITS: Limits = Limits {
    bytes: ByteCount::new(64),
    age: hours(72),
    kept_bytes: ByteCount::new(32),
    kept_age: hours(1),
};

const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3_600)
}

fn at(topic: &str) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionIndex::new(0))
}

fn lane(topic: &TopicName) -> Lane {
    match topic.as_str() {
        "alerts" => Lane::Alerts,
        "stock" => Lane::State,
        _ => Lane::Telemetry,
    }
}

/// Writes batches of one record and one byte at offsets `from..until`.
fn write(ledger: &mut Ledger, topic: &str, offsets: std::ops::Range<u64>, when: Duration) {
    let partition = at(topic);
    for end in offsets.map(|offset| Offset::new(offset + 1)) {
        let lane = lane(&partition.topic);
        ledger.on_batch((&partition, lane), end, ByteCount::new(1), when);
    }
}

/// What goes of a topic: up to where what is acknowledged, and up to where what is shed and why.
fn going(ledger: &Ledger, topic: &str) -> (Option<u64>, Option<(u64, ShedBy)>) {
    let receivers = ledger.policy().receivers.get(&at(topic)).copied();
    let Receivers { trim, shed, hold: _, keep: _ } = receivers.unwrap_or_default();
    (trim.map(|trim| trim.to.get()), shed.map(|shed| (shed.to.get(), shed.by)))
}

#[test]
fn a_full_outbox_sheds_old_telemetry_then_young_telemetry_then_state_and_never_alerts() {
    let mut ledger = Ledger::new(LIMITS);
    write(&mut ledger, "alerts", 0..20, hours(0));
    write(&mut ledger, "stock", 0..20, hours(0));
    write(&mut ledger, "air", 0..24, hours(1));

    let mut shed = Vec::new();
    for (round, when) in (0..4).zip(2..) {
        assert!(ledger.is_full());
        assert!(ledger.plan(hours(when)));
        assert!(!ledger.is_full());
        shed.push(["air", "stock"].map(|topic| going(&ledger, topic).1.map(|(to, _)| to)));
        let left = 64 - ledger.unacked_bytes().get();
        let from = 24 + round * 100;
        write(&mut ledger, "alerts", from..from + left, hours(when));
    }
    let at_the_end = ledger.plan(hours(6));

    let [first, second, third, fourth] = shed.try_into().unwrap();
    assert_eq!((first, second), ([Some(8), None], [Some(16), None]));
    assert_eq!((third, fourth), ([Some(23), Some(1)], [Some(23), Some(9)]));
    assert!(at_the_end);
    assert_eq!(going(&ledger, "alerts"), (None, None));
}

#[test]
fn an_outbox_full_of_alerts_sheds_nothing_and_stays_full() {
    let mut ledger = Ledger::new(LIMITS);
    write(&mut ledger, "alerts", 0..64, hours(0));

    let planned = ledger.plan(hours(100));

    assert!(!planned && ledger.is_full());
}

#[test]
fn what_the_hub_has_goes_beyond_its_bytes_and_beyond_its_age_oldest_first() {
    let mut ledger = Ledger::new(LIMITS);
    write(&mut ledger, "air", 0..20, hours(0));
    write(&mut ledger, "alerts", 0..20, Duration::from_secs(60));
    for topic in ["air", "alerts"] {
        ledger.on_acked(&at(topic), Offset::new(20));
    }

    ledger.plan(hours(1));
    let by_bytes = ["air", "alerts"].map(|topic| going(&ledger, topic));
    ledger.plan(hours(1) + Duration::from_secs(60));
    let by_age = ["air", "alerts"].map(|topic| going(&ledger, topic));
    ledger.plan(hours(1) + Duration::from_secs(61));
    let at_last = ["air", "alerts"].map(|topic| going(&ledger, topic));

    assert_eq!(by_bytes, [(Some(8), None), (None, None)]);
    assert_eq!(by_age, [(Some(19), None), (None, None)]);
    assert_eq!(at_last, [(Some(19), None), (Some(19), None)]);
}

#[test]
fn what_nobody_took_for_72_hours_is_shed_but_for_alerts_and_the_newest() {
    let mut ledger = Ledger::new(LIMITS);
    write(&mut ledger, "stock", 0..5, hours(0));
    write(&mut ledger, "alerts", 0..5, hours(0));
    ledger.on_acked(&at("stock"), Offset::new(2));

    ledger.plan(hours(72));
    let before = going(&ledger, "stock");
    ledger.plan(hours(72) + Duration::from_millis(1));

    assert_eq!(before, (Some(2), None));
    assert_eq!(going(&ledger, "stock"), (Some(2), Some((4, ShedBy::Time))));
    assert_eq!(going(&ledger, "alerts"), (None, None));
}

#[test]
fn what_has_gone_is_forgotten_and_a_hub_that_went_back_needs_what_is_left() {
    let mut ledger = Ledger::new(LIMITS);
    write(&mut ledger, "air", 0..64, hours(0));
    ledger.plan(hours(1));
    let air = at("air");

    ledger.on_start((&air, Lane::Telemetry), Offset::new(8));
    ledger.on_acked(&air, Offset::new(64));
    let acked = ledger.unacked_bytes();
    ledger.on_acked(&air, Offset::new(0));

    assert_eq!(going(&ledger, "air"), (None, None));
    assert_eq!((acked.get(), ledger.unacked_bytes().get()), (0, 56));
    assert_eq!(ledger.acked(&air), Offset::new(8));
}

#[test]
fn a_restart_goes_on_with_what_was_held_and_how_old_it_was() {
    let mut ledger = Ledger::new(LIMITS);
    write(&mut ledger, "air", 0..10, hours(1));
    write(&mut ledger, "stock", 0..10, hours(2));
    ledger.on_acked(&at("stock"), Offset::new(4));

    let mut next = Ledger::new(LIMITS);
    let uptime = next.restore(ledger.encode(hours(3)), lane).unwrap();
    // Found in the log again.
    write(&mut next, "air", 0..10, hours(3));

    assert_eq!(uptime, hours(3));
    assert_eq!(next.partitions, ledger.partitions);
}

#[test]
fn batches_share_a_block_up_to_a_64th_of_the_limit() {
    let limits = Limits { bytes: ByteCount::new(640), ..LIMITS };
    let mut ledger = Ledger::new(limits);

    write(&mut ledger, "air", 0..25, hours(0));

    let ends: Vec<u64> =
        ledger.partitions[&at("air")].blocks.iter().map(|block| block.end.get()).collect();
    assert_eq!(ends, [10, 20, 25]);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_refused_or_read_and_never_a_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80),
    ) {
        drop(Ledger::new(LIMITS).restore(Bytes::from(bytes), lane));
    }
}
