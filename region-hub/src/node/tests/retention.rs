//! What a topic's retention takes away, and what a linked hub learns of it.

use std::time::Duration;

use headland_event::{DropPolicy, EventTime, Hole, Offset, TopicName};
use headland_replication::{LinkOutput, Refusal, RefusalCode};
use headland_storage::Survival;

use super::hub::{CONFIG, Hub};
use super::remote::{Remote, at, partition, record};
use crate::node::Output;

const EVENTS: &str = "inventory.events";

/// A hub in small files that keeps of inventory what `retention` says.
fn keeping(retention: &str) -> String {
    let partitions = "lane = \"state\"\npartitions = 1\n";
    let kept = format!("{partitions}retention = {{ {retention} }}\n");
    let text = CONFIG.replace(partitions, &kept);
    let small = "api = { socket = \"none\" }\nstorage = { file_bytes = \"128KiB\" }";
    text.replace("api = { socket = \"none\" }", small)
}

fn short_of_room() -> Hub {
    Hub::configured(&keeping("bytes = \"64KiB\""))
}

/// Publishes events of 8 KiB, a second apart.
fn publish(hub: &mut Hub, count: u32) {
    let mut agent = Remote::agent(hub, 1);
    let channel = agent.offer(hub, EVENTS);
    for n in 0..count {
        let value = format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(8 << 10));
        agent.publish(hub, channel, &[record("eu-1-till", &value)]);
        hub.advance(1_000);
        hub.talk(&mut agent);
    }
}

#[test]
fn what_passes_a_topics_retention_goes_and_a_hub_that_lacks_it_is_told_how_much() {
    let mut hub = short_of_room();
    publish(&mut hub, 80);
    let start = hub.start_of(EVENTS).get();

    let mut us = Remote::hub(&mut hub, 2, "us");
    us.subscribe_all();
    hub.talk(&mut us);

    let delivered = us.said.iter().filter_map(|said| match said {
        LinkOutput::Deliver { entry, .. } if entry.batch.as_bytes().len() > 8 << 10 => Some(1),
        LinkOutput::Deliver { entry, .. } => {
            let hole = Hole::of(&entry.batch)?;
            assert_eq!(hole.policy, DropPolicy::Bytes);
            Some(hole.count)
        }
        _ => None,
    });
    assert!(start > 0);
    assert_eq!(delivered.sum::<u64>(), 80);
}

#[test]
fn a_topic_without_retention_keeps_everything() {
    let mut hub = Hub::new();

    publish(&mut hub, 40);

    assert_eq!(hub.start_of(EVENTS).get(), 0);
    assert_eq!(hub.records(EVENTS).len(), 40);
}

#[test]
fn age_counts_from_when_the_hub_took_a_record_in_whatever_time_its_device_says() {
    let mut hub = Hub::configured(&keeping("time = \"1h\""));
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, EVENTS);
    let value = "x".repeat(8 << 10);
    let stale = EventTime::from_millis(1_000);

    for _ in 0..40 {
        agent.publish(&mut hub, channel, &[at("eu-1-till", stale, &value)]);
        hub.advance(1_000);
        hub.talk(&mut agent);
    }
    let young = hub.start_of(EVENTS);
    hub.advance(3_600_000);
    hub.settle();
    hub.advance(3_600_000);
    hub.settle();

    assert_eq!(young, Offset::new(0), "it was taken in a minute ago");
    assert!(hub.start_of(EVENTS) > Offset::new(0), "it is two hours old");
}

#[test]
fn a_quiet_hub_looks_every_five_minutes_for_what_grew_too_old() {
    let mut hub = Hub::configured(&keeping("time = \"1h\""));
    hub.settle();
    hub.advance(10_000);
    hub.settle();

    assert_eq!(hub.node.clean_at(), Some(hub.now.monotonic.after(Duration::from_mins(5))));
}

#[test]
fn a_hub_with_a_full_disk_goes_on_cleaning_although_nothing_is_written() {
    let mut hub = Hub::new();
    hub.settle();
    hub.advance(10_000);
    hub.settle();

    hub.node.on_full();

    let due = hub.node.clean_at();
    assert!(due.is_some() && hub.node.poll_timeout() <= due, "{due:?}");
    hub.advance(10_000);
    let outputs: Vec<Output> = std::iter::from_fn(|| hub.node.poll_output()).collect();
    assert!(outputs.iter().any(|output| matches!(output, Output::Clean(_))), "{outputs:?}");
}

#[test]
fn dead_and_late_topics_are_kept_for_as_long_as_the_topic_they_come_with() {
    let mut hub = Hub::configured(&keeping("time = \"1h\""));
    hub.settle();
    hub.node.on_full();
    hub.advance(10_000);

    let policy = std::iter::from_fn(|| hub.node.poll_output()).find_map(|output| match output {
        Output::Clean(policy) => Some(policy),
        _ => None,
    });
    let policy = policy.unwrap();

    let kept = |topic: &str| policy.retention(&TopicName::new(topic).unwrap()).time;
    let hour = Some(Duration::from_hours(1));
    assert_eq!([EVENTS, "inventory.events.dead", "inventory.events.late"].map(kept), [hour; 3]);
    assert_eq!(["inventory.late", "alerts.dead"].map(kept), [None; 2]);
}

#[test]
fn a_hub_whose_stock_cannot_be_made_any_more_does_not_start_and_says_what_would_fit() {
    let mut hub = short_of_room();
    publish(&mut hub, 80);
    assert!(hub.start_of(EVENTS) > Offset::new(0));
    let disk = hub.disk().clone();
    let text = keeping("bytes = \"64KiB\"");

    disk.crash(Survival::Nothing);
    let as_it_was = Hub::start(&disk.fork(), &text, hub.now);
    for name in disk.names().iter().filter(|name| name.ends_with(".snapshot")) {
        disk.remove(name);
    }
    let refused = Hub::start(&disk, &text, hub.now).err();

    assert!(as_it_was.is_ok());
    let said = refused.unwrap().to_string();
    assert!(said.starts_with("stock cannot be made from hubs/eu: inventory.events/0 begins at"));
    assert!(said.contains("no snapshot has it (there is none)"), "{said}");
    assert!(said.ends_with("or from a backup (headland store restore)"), "{said}");
}

#[test]
fn what_a_peer_has_over_another_way_is_not_kept_for_it_until_it_takes_it_after_all() {
    let mut hub = Hub::new();
    publish(&mut hub, 3);
    let held = |hub: &Hub| {
        let policy = hub.node.clean_policy();
        policy.receivers.get(&partition(EVENTS)).and_then(|receivers| receivers.hold)
    };
    let before = held(&hub);
    let mut us = Remote::hub(&mut hub, 2, "us");
    let announced = us.said.iter().filter_map(|said| match said {
        LinkOutput::Announced(announce) => Some(announce.channel),
        _ => None,
    });
    let channels: Vec<_> = announced.collect();

    for channel in channels {
        us.link.refuse(channel, Refusal::new(RefusalCode::Loop, "it comes from eu itself"));
    }
    hub.talk(&mut us);
    let refused = held(&hub);
    hub.node.on_disconnected(hub.now, us.link_id);
    let away = held(&hub);
    let mut again = Remote::hub(&mut hub, 3, "us");
    again.subscribe_all();
    hub.talk(&mut again);

    assert_eq!((before, refused, away), (Some(Offset::new(0)), None, None));
    assert_eq!(held(&hub), Some(Offset::new(0)), "it takes it after all");
}
