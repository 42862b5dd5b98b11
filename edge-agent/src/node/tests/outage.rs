//! Hubs that are away for longer than there is room.

use headland_replication::frame::{Frame, Hello};

use super::*;

/// Lines of a station, a day apart.
fn days(station: &str, count: u32) -> Vec<String> {
    (0..count).map(|day| format!("{station},2013-03-{:02} 00:00:00,7", 1 + day)).collect()
}

fn feed_all(bench: &mut Bench, texts: &[String]) {
    for (text, number) in texts.iter().zip(2..) {
        bench.feed(&[(text, number)]);
    }
}

#[test]
fn a_full_outbox_sheds_its_oldest_readings_names_them_and_takes_lines_again() {
    let mut bench = Bench::new();
    bench.header();
    feed_all(&mut bench, &days("Dongsi", 10));
    let was_full = !bench.node.wants_lines();

    bench.advance(0);

    let status = bench.node.status();
    let air = partition_of(&TopicName::new("air.readings").unwrap());
    let start = bench.store.reader().start(&air);
    let shed: u64 = bench.store.dropped(&air).unwrap().iter().map(|range| range.count).sum();
    assert!(was_full && bench.node.wants_lines());
    assert!(start > Offset::new(0));
    assert_eq!((shed, status.shed_by_bytes_records), (start.get(), start.get()));
    assert_eq!(status.unacknowledged_records, 10 - start.get());
}

#[test]
fn a_restart_knows_what_was_shed_and_how_full_it_is() {
    let mut bench = Bench::new();
    bench.header();
    feed_all(&mut bench, &days("Dongsi", 10));
    bench.advance(0);
    let before = bench.node.status();
    let air = partition_of(&TopicName::new("air.readings").unwrap());
    let dropped = bench.node.dropped_of(&air);

    let bench = bench.restarted();

    let after = bench.node.status();
    assert_eq!(bench.node.dropped_of(&air), dropped);
    assert_eq!(after.unacknowledged_bytes, before.unacknowledged_bytes);
    assert_eq!(after.unacknowledged_records, before.unacknowledged_records);
}

#[test]
fn an_outbox_that_is_full_at_the_start_is_shed_and_lines_are_taken_again() {
    let mut bench = Bench::new();
    bench.header();
    feed_all(&mut bench, &days("Dongsi", 10));

    let mut bench = bench.restarted();
    let was_full = !bench.node.wants_lines();
    bench.advance(0);

    assert!(was_full && bench.node.wants_lines());
}

#[test]
fn an_idle_agent_asks_for_nothing_to_be_cleaned() {
    let mut bench = Bench::new();
    bench.header();
    bench.feed(&MORNING);
    bench.advance(10_000);

    bench.now.monotonic = Monotonic::from_millis(60_000);
    bench.node.on_timeout(bench.now);

    let asked = std::iter::from_fn(|| bench.node.poll_output());
    assert_eq!(asked.filter(|output| matches!(output, Output::Clean(_))).count(), 0);
}

#[test]
fn what_was_to_go_out_by_a_former_connection_does_not_go_out_by_the_next_one() {
    let mut bench = Bench::new();
    bench.header();
    bench.advance(0);
    let hello = Frame::Hello(Hello {
        identity: hub(),
        incarnation: Incarnation::new(1, 1),
        window: ByteCount::mebibytes(1),
    });
    let sent = |bench: &mut Bench| {
        let outputs = std::iter::from_fn(|| bench.node.poll_output());
        outputs
            .filter_map(|output| match output {
                Output::Send { frame, .. } => Some(Frame::decode(frame).unwrap()),
                Output::Read { .. } | Output::Close(_) => panic!("{output:?} of a former link"),
                _ => None,
            })
            .collect::<Vec<Frame>>()
    };
    bench.node.on_connected(bench.now, 0);
    bench.node.on_frame(bench.now, Lane::Control, hello.encode().unwrap());

    // Nothing of it was done when the connection is another one.
    bench.node.on_disconnected(bench.now);
    assert_eq!(sent(&mut bench), []);
    bench.node.on_connected(bench.now, 0);
    bench.node.on_frame(bench.now, Lane::Control, hello.encode().unwrap());
    bench.node.on_connected(bench.now, 0);

    let frames = sent(&mut bench);
    assert!(matches!(&*frames, [Frame::Hello(_)]), "{frames:?}");
}

#[test]
fn what_a_hub_has_acknowledged_is_kept_within_a_second_although_nothing_more_is_written() {
    let other = Identity::Hub {
        region: RegionId::new("us").unwrap(),
        name: HubName::new("hub-1").unwrap(),
    };
    let mut bench = Bench::of(Setup { hubs: vec![hub(), other.clone()], ..Setup::new() });
    bench.header();
    feed_all(&mut bench, &days("Dongsi", 2));
    let air = partition_of(&TopicName::new("air.readings").unwrap());
    bench.advance(0);

    bench.node.outbox.on_acked(&air, &hub(), Offset::new(2));
    bench.node.keep_soon(bench.now);
    bench.advance(999);
    let waits = bench.node.outbox.has_unkept();
    bench.advance(1);
    let is_kept = !bench.node.outbox.has_unkept();
    let bench = bench.restarted();

    assert!(waits && is_kept);
    let stretch = bench.node.outbox.settled().stretch(&air, &other, Offset::new(0));
    assert_eq!(stretch, Stretch { is_elsewhere: true, end: Some(Offset::new(2)) });
}
