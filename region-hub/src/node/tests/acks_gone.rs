//! Acknowledged once other regions hold it, where records are gone: by retention, by damage, with
//! the disk of a region, or behind another number of partitions.

use bytes::Bytes;
use headland_event::{Hole, Offset};
use headland_storage::MemoryDisk;

use super::acks::{Regions, config};
use super::damage::damage;
use super::hub::Hub;
use super::remote::{Remote, record};
use crate::node::recovery::owner;

const READINGS: &str = "readings";

/// The first region in small files, which keeps of the topic what `retention` says.
fn keeping(retention: &str) -> String {
    let kept = format!("ack_wait = \"10s\"\nretention = {{ {retention} }}");
    let small = "api = { socket = \"none\" }\nstorage = { file_bytes = \"128KiB\" }";
    let text = config("eu", "us").replace("ack_wait = \"10s\"", &kept);
    text.replace("api = { socket = \"none\" }", small)
}

/// Publishes records of 8 KiB, each in a commit of its own.
fn publish(regions: &mut Regions, range: std::ops::Range<u32>) {
    for n in range {
        let value = format!("{{\"n\":\"N-{n}.\",\"text\":\"{}\"}}", "x".repeat(8 << 10));
        let Regions { eu, agent, channel, .. } = regions;
        agent.publish(eu, *channel, &[record("eu-1-a", &value)]);
    }
}

/// Lets hours pass and the log be cleaned.
fn grow_old(regions: &mut Regions) {
    for _ in 0..2 {
        regions.eu.advance(7_200_000);
        regions.us.now = regions.eu.now;
        regions.us.advance(0);
        regions.eu.settle();
        regions.talk();
    }
}

/// Lets the region find out that the other one has nothing of what it lost.
fn ask(regions: &mut Regions) {
    for _ in 0..4 {
        regions.eu.advance(1_000);
        regions.talk();
    }
}

/// Records and missing ones that the other region has.
fn there(regions: &Regions) -> (usize, u64) {
    let entries = regions.us.entries("eu.readings");
    let holes = entries.iter().filter_map(|entry| Hole::of(&entry.batch));
    let missing: u64 = holes.map(|hole| hole.count).sum();
    let all = entries.last().map_or(0, |last| last.end().get());
    (usize::try_from(all - missing).unwrap(), missing)
}

/// The other region loses its disk and goes on as a new life.
fn lose_the_other_disk(regions: &mut Regions) {
    regions.cut();
    let now = regions.us.now;
    regions.us = Hub::start_as(8, &MemoryDisk::new(2), &config("us", "eu"), now).unwrap();
}

#[test]
fn retention_takes_nothing_that_too_few_regions_hold_so_that_no_hole_is_acknowledged() {
    for retention in ["time = \"1h\"", "bytes = \"64KiB\""] {
        let mut regions = Regions::configured(&keeping(retention));
        publish(&mut regions, 0..40);
        grow_old(&mut regions);
        let kept = regions.eu.start_of(READINGS);

        regions.meet();
        regions.reconnect();
        let (acked, held) = (regions.acked(), there(&regions));
        grow_old(&mut regions);

        assert_eq!(kept, Offset::new(0), "{retention}");
        assert_eq!((acked, held), (40, (40, 0)), "{retention}");
        assert!(regions.eu.start_of(READINGS) > Offset::new(0), "it goes once it is held");
    }
}

#[test]
fn what_is_damaged_before_another_region_holds_it_is_never_acknowledged_by_a_hole() {
    let mut regions = Regions::new();
    publish(&mut regions, 0..6);
    damage(&regions.eu, "N-3.");

    regions.meet();
    ask(&mut regions);
    let (first, held) = (regions.acked(), there(&regions));
    publish(&mut regions, 6..8);
    regions.talk();
    let (later, all) = (regions.acked(), there(&regions));
    regions.cut();
    regions.eu.restart(&config("eu", "us"));
    regions.meet();
    ask(&mut regions);
    regions.reconnect();
    let restarted = regions.acked();

    assert_eq!(held, (5, 1));
    assert_eq!((first, later, restarted), (3, 3, 0), "a position says all or nothing");
    assert_eq!(all, (7, 1), "all else is there");

    regions.cut();
    let local = config("eu", "us").replace("ack = \"regions(2)\"\nack_wait = \"10s\"\n", "");
    regions.eu.restart(&local);
    regions.eu.settle();
    regions.eu.restart(&config("eu", "us"));
    regions.meet();
    ask(&mut regions);
    regions.reconnect();
    assert_eq!(regions.acked(), 8, "an operator has given up what is damaged");
}

#[test]
fn damage_to_what_another_region_holds_stops_nothing() {
    let mut regions = Regions::new();
    regions.meet();
    publish(&mut regions, 0..6);
    regions.talk();
    damage(&regions.eu, "N-3.");
    lose_the_other_disk(&mut regions);

    regions.meet();
    ask(&mut regions);
    publish(&mut regions, 6..8);
    regions.talk();

    assert_eq!((regions.acked(), there(&regions)), (8, (7, 1)));
}

#[test]
fn a_region_that_begins_anew_holds_up_nobody_over_what_is_gone_by_retention() {
    let mut regions = Regions::configured(&keeping("time = \"1h\""));
    regions.meet();
    publish(&mut regions, 0..40);
    regions.talk();
    grow_old(&mut regions);
    let start = regions.eu.start_of(READINGS);
    lose_the_other_disk(&mut regions);

    regions.meet();
    regions.reconnect();
    let anew = regions.acked();
    regions.cut();
    regions.eu.restart(&keeping("time = \"1h\""));
    regions.meet();
    regions.reconnect();

    assert_eq!(start, Offset::new(40), "nothing is left of it");
    assert_eq!((anew, regions.acked(), there(&regions)), (40, 40, (0, 0)));
    publish(&mut regions, 40..41);
    regions.talk();
    assert_eq!((regions.acked(), there(&regions)), (41, (1, 40)));
}

/// The configuration of `eu` with more partitions of what agents publish.
fn grown() -> String {
    let one = "name = \"readings\"\npartitions = 1\n";
    config("eu", "us").replacen(one, "name = \"readings\"\npartitions = 7\n", 1)
}

/// What is acknowledged to an agent once its topic has grown: with no other region, with one, and
/// after a further record.
fn acked_after_growth(regions: &mut Regions) -> [u64; 3] {
    regions.eu.restart(&grown());
    regions.reconnect();
    let alone = regions.acked();
    regions.meet();
    let met = regions.acked();
    publish(regions, 5..6);
    regions.talk();
    [alone, met, regions.acked()]
}

#[test]
fn an_agent_whose_topic_grew_is_acknowledged_in_its_partition_once_others_have_that() {
    let mut regions = Regions::new();
    publish(&mut regions, 0..5);

    let acked = acked_after_growth(&mut regions);

    assert_eq!(acked, [0, 5, 6]);
    assert_eq!(regions.eu.entries(READINGS).len(), 6, "the agent goes on where it was");
}

#[test]
fn a_position_waits_for_the_partition_that_a_topic_had_before_it_grew() {
    let mut regions = Regions::new();
    // A version that did not keep how many partitions a topic has.
    let key = Bytes::from_static(b"topic/readings");
    regions.eu.node.composer.set(owner("assigned"), key, None);
    publish(&mut regions, 0..5);

    let acked = acked_after_growth(&mut regions);

    assert_eq!(acked, [0, 5, 6]);
    assert_eq!(regions.eu.entries(READINGS).len(), 5, "the agent goes into another one now");
}

#[test]
fn what_a_region_had_in_a_former_life_does_not_count_once_it_is_here_in_another_one() {
    let mut regions = Regions::new();
    regions.meet();
    publish(&mut regions, 0..5);
    regions.talk();
    let before = regions.acked();
    regions.cut();

    let link_id = regions.next_link_id().to_string().parse().unwrap();
    let _anew = Remote::hub(&mut regions.eu, link_id, "us");
    regions.reconnect();

    assert_eq!((before, regions.acked()), (5, 0));
}
