//! What a hub counted and its log lost since.

use headland_event::Incarnation;
use headland_storage::MemoryDisk;

use super::damage::damage;
use super::handing::{Net, end_on, state};
use super::hub::Hub;
use super::lost::{id, taken_by, write};
use super::remote::{Remote, record};

/// What a hub says of each part of a log that it lacks, or lost, and what becomes of it.
fn lacking(hub: &Hub) -> Vec<(u64, u64, String)> {
    let lacking = hub.node.regions().lacking.into_iter();
    lacking.map(|of| (of.from.get(), of.until.get(), of.way_out)).collect()
}

fn net() -> Net {
    let new = |region, peers: &[&str]| end_on(&MemoryDisk::new(7), 7, region, peers);
    Net::new([new("eu", &["us"]), new("us", &["ap", "eu"])])
}

#[test]
fn what_one_hub_counts_and_no_log_has_is_named_and_a_stocktake_makes_stock_equal() {
    let mut net = net();
    net.meet(0, 1);
    write(&mut net.hubs[1], 2, 0..4);
    net.talk(15);
    net.part(0, 1);
    write(&mut net.hubs[1], 3, 4..6);
    net.talk(15);
    damage(&net.hubs[1], &id(4));
    net.meet(0, 1);
    net.talk(20);
    let counted = (state(&net.hubs[0]).0, state(&net.hubs[1]).0);
    let named = lacking(&net.hubs[1]);

    let us = &mut net.hubs[1];
    let mut agent = Remote::agent_in(us, 10_900, Incarnation::new(1, 900));
    let channel = agent.offer(us, "inventory.events");
    let text = r#"{"id":"count","kind":"stocktake","device":"eu-1-till","sku":"85123A","#
        .to_owned()
        + r#""location":"eu-1","count":50,"time":"2010-12-01T08:07:00Z"}"#;
    agent.publish(us, channel, &[record("eu-1-till", &text)]);
    us.node.on_disconnected(us.now, agent.link_id);
    net.talk(10);

    assert_eq!(counted, (Some(20), Some(24)));
    let (from, until, way_out) = &named[0];
    assert_eq!((named.len(), *from, *until), (1, 4, 5));
    assert!(way_out.contains("a stocktake of the shelves that differ"), "{way_out}");
    assert_eq!((state(&net.hubs[0]).0, state(&net.hubs[1]).0), (Some(50), Some(50)));
}

#[test]
fn what_a_hub_counts_and_lost_and_another_one_has_is_said_to_come() {
    let mut net = net();
    net.meet(0, 1);
    write(&mut net.hubs[1], 2, 0..4);
    net.talk(15);
    net.part(0, 1);
    damage(&net.hubs[1], &id(2));
    taken_by(&mut net.hubs[1], 900, "ap");

    let named = lacking(&net.hubs[1]);

    let (from, until, way_out) = &named[0];
    assert_eq!((*from, *until), (2, 3));
    assert!(way_out.ends_with("a hub that has them hands them on once it is linked"), "{way_out}");
}
