//! A log that is damaged: what is left is served, and what is gone is named.

use headland_event::{ByteCount, DropPolicy, EventTime, Hole, Offset, RegionId};
use headland_replication::LinkOutput;

use super::hub::{CONFIG, Hub};
use super::remote::{Remote, at};

const EVENTS: &str = "inventory.events";

fn restock(n: u32) -> String {
    format!(r#"{{"id":"eu-1/{n}","kind":"restock","device":"eu-1-till","sku":"SKU-{n}","#)
        + r#""location":"eu-1","quantity":5,"time":"2010-12-01T08:06:00Z"}"#
}

/// A hub with five restocks in commits of their own.
fn stocked() -> Hub {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let events = agent.offer(&mut hub, EVENTS);
    for n in 0..5 {
        agent.publish(&mut hub, events, &[at("eu-1-till", EventTime::default(), &restock(n))]);
    }
    hub
}

/// Flips a bit in the first place of the newest journal file that holds `text`.
pub(super) fn damage(hub: &Hub, text: &str) {
    damage_in_file_of(hub, text, text);
}

/// The same in the first place of that file that holds `other`.
pub(super) fn damage_in_file_of(hub: &Hub, text: &str, other: &str) {
    let disk = hub.disk();
    let journals = disk.names().into_iter().filter(|name| name.ends_with(".journal"));
    for name in journals {
        let content = disk.content(&name).unwrap();
        let find = |text: &str| content.windows(text.len()).position(|at| at == text.as_bytes());
        if find(text).is_some() {
            let place = find(other).unwrap_or_else(|| panic!("{other} is not in {name}"));
            return disk.flip_bit(&name, ByteCount::new(place as u64), 0);
        }
    }
    panic!("{text} is nowhere");
}

/// What a hub delivered to a peer: offsets of records and of holes.
fn received(remote: &Remote) -> (Vec<u64>, Vec<(u64, u64, DropPolicy)>) {
    let (mut records, mut holes) = (Vec::new(), Vec::new());
    for said in &remote.said {
        let LinkOutput::Deliver { entry, .. } = said else { continue };
        if entry.stamp.as_ref().is_none_or(|stamp| stamp.actor.region != eu()) {
            continue;
        }
        match Hole::of(&entry.batch) {
            Some(hole) => holes.push((entry.base.get(), hole.count, hole.policy)),
            None => records.push(entry.base.get()),
        }
    }
    (records, holes)
}

fn eu() -> RegionId {
    RegionId::new("eu").unwrap()
}

#[test]
fn a_hub_with_a_damaged_commit_starts_alerts_and_counts_all_else() {
    let mut hub = stocked();
    damage(&hub, "SKU-2");

    hub.restart(CONFIG);
    hub.settle();

    let missing: Vec<String> = hub
        .node
        .missing()
        .offsets()
        .map(|lost| format!("{} {}..{}", lost.partition, lost.from, lost.until))
        .collect();
    assert_eq!(missing, ["inventory.events/0 2..3"]);
    assert_eq!(hub.node.missing().commits().len(), 1);
    let stock = hub.node.inventory().fingerprint();
    assert_ne!(stock, stocked().node.inventory().fingerprint());
    assert_eq!(hub.node.status().missing[0].from, Offset::new(2));
    let alerts: usize = hub.alerts().len();
    assert_eq!(alerts, 2, "of the commit and of the offsets");
}

#[test]
fn what_is_damaged_is_skipped_on_a_link_and_named_to_the_peer() {
    let mut hub = stocked();
    let mut us = Remote::hub(&mut hub, 2, "us");
    damage(&hub, "SKU-2");

    us.subscribe_all();
    hub.talk(&mut us);

    let (records, holes) = received(&us);
    assert_eq!(holes, [(2, 1, DropPolicy::Damaged)]);
    assert!([0, 1, 3, 4].iter().all(|offset| records.contains(offset)), "{records:?}");
    assert!(hub.closed.is_empty(), "the link stays: {:?}", hub.closed);
    assert_eq!(hub.node.missing().records().into_values().collect::<Vec<_>>(), [1]);
}

#[test]
fn what_is_damaged_at_the_end_is_named_once_something_follows_it() {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let events = agent.offer(&mut hub, EVENTS);
    let sell = |agent: &mut Remote, hub: &mut Hub, n| {
        agent.publish(hub, events, &[at("eu-1-till", EventTime::default(), &restock(n))]);
    };
    sell(&mut agent, &mut hub, 0);
    sell(&mut agent, &mut hub, 1);
    damage(&hub, "SKU-1");
    let mut us = Remote::hub(&mut hub, 2, "us");
    us.subscribe_all();
    hub.talk(&mut us);
    let before = received(&us);

    sell(&mut agent, &mut hub, 2);
    hub.talk(&mut us);

    assert_eq!(before.1, []);
    let (records, holes) = received(&us);
    assert_eq!(holes, [(1, 1, DropPolicy::Damaged)]);
    assert!(records.contains(&2), "{records:?}");
}

#[test]
fn a_damage_that_two_peers_meet_is_one_alert() {
    let mut hub = stocked();
    damage(&hub, "SKU-2");

    for (link_id, region) in [(2, "us"), (3, "us")] {
        let mut remote = Remote::hub(&mut hub, link_id, region);
        remote.subscribe_all();
        hub.talk(&mut remote);
        hub.node.on_disconnected(hub.now, remote.link_id);
    }

    assert_eq!(hub.alerts().len(), 1);
}
