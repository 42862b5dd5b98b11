//! What a topic's retention takes away, and what a linked hub learns of it.

use headland_event::{DropPolicy, Hole};
use headland_replication::LinkOutput;

use super::hub::{CONFIG, Hub};
use super::remote::{Remote, record};

const EVENTS: &str = "inventory.events";

/// A hub that keeps 64 KiB of inventory, in small files.
fn short_of_room() -> Hub {
    let partitions = "lane = \"state\"\npartitions = 1\n";
    let kept = format!("{partitions}retention = {{ bytes = \"64KiB\" }}\n");
    let text = CONFIG.replace(partitions, &kept);
    let small = "api = { socket = \"none\" }\nstorage = { file_bytes = \"128KiB\" }";
    Hub::configured(&text.replace("api = { socket = \"none\" }", small))
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
