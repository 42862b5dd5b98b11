//! A review of many late events by reviewers in regions that are cut off from each other.

use std::ops::Range;

use headland_replication::frame::{ChannelEnd, ChannelPromise};
use headland_storage::MemoryDisk;

use super::damage::damage;
use super::handing::{Net, end_on, state};
use super::hub::{Hub, START};
use super::remote::{Remote, record};
use crate::node::{ReviewKind, ReviewRequest};

const EVENTS: &str = "inventory.events";

/// Late events, in batches of a hundred.
const LATE: u32 = 1_000;

/// The batch that damage took from the region's own log before `eu` got it.
const DAMAGED: Range<u32> = 400..500;

/// A sale of four units.
fn sale(number: u32) -> String {
    format!(r#"{{"id":"us/{number:0>4}","kind":"sale","device":"eu-1-till","sku":"85123A","#)
        + r#""location":"eu-1","quantity":4,"time":"2010-12-01T08:06:00Z"}"#
}

/// A device of the hub's region sells, all of it behind the promise that no more comes.
fn sell_late(hub: &mut Hub) {
    let mut agent = Remote::agent(hub, 2);
    let channel = agent.offer(hub, EVENTS);
    agent.publish(hub, channel, &[record("eu-1-till", &sale(9_999))]);
    let topic = headland_event::TopicName::new(EVENTS).unwrap();
    let ends = vec![ChannelEnd { channel, end: agent.end(channel) }];
    agent.link.promise(ChannelPromise { topic, watermark: START, ends }).unwrap();
    hub.talk(&mut agent);
    hub.advance(1_000);
    hub.talk(&mut agent);
    for first in (0..LATE).step_by(100) {
        let sales = (first..first + 100).map(|number| record("eu-1-till", &sale(number)));
        agent.publish(hub, channel, &sales.collect::<Vec<_>>());
    }
}

/// Whether a reviewer approves of an event: of every second, or of every third.
const fn approves(reviewer: usize, number: u32) -> bool {
    number.is_multiple_of([2, 3][reviewer])
}

/// The reviewer of a hub decides about some events.
fn review(net: &mut Net, reviewer: usize, numbers: impl IntoIterator<Item = u32>) {
    let hub = &mut net.hubs[reviewer];
    for number in numbers {
        let kind = match approves(reviewer, number) {
            true => ReviewKind::Approve,
            false => ReviewKind::Reject,
        };
        let reviewer = ["ann", "bob"][reviewer].to_owned();
        let (late, reason) = (format!("us/{number:0>4}"), "the till was offline".to_owned());
        let (effective, quantity) = (None, None);
        let request = ReviewRequest { kind, late, reviewer, reason, effective, quantity };
        let _reviewed = hub.node.on_review(hub.now, &request).unwrap();
        if number % 50 == 49 {
            hub.settle();
        }
    }
    hub.settle();
}

/// Late events of which the reviews differ, by the conflicts that a hub lists.
fn disagreements(hub: &Hub) -> Vec<String> {
    let listed = hub.values("inventory.conflicts").into_iter();
    let of_review = listed.filter(|value| value.contains(r#""kind":"review""#));
    let late = of_review.map(|value| {
        let (_, behind) = value.split_once("us/").unwrap();
        behind.get(..4).unwrap().to_owned()
    });
    let mut late: Vec<String> = late.collect();
    late.sort();
    late
}

#[test]
fn a_thousand_late_events_reviewed_at_two_hubs_that_are_cut_off_end_the_same_at_all() {
    let peers = [("ap", ["eu", "us"]), ("eu", ["ap", "us"]), ("us", ["ap", "eu"])];
    let hubs = peers
        .iter()
        .zip(1..)
        .map(|((region, peers), nonce)| end_on(&MemoryDisk::new(nonce), nonce, region, peers));
    let mut net = Net::new(hubs);
    net.meet(0, 2);
    sell_late(&mut net.hubs[2]);
    net.talk(15);
    damage(&net.hubs[2], "us/0450");
    net.part(0, 2);
    net.meet(1, 2);
    net.talk(15);
    let of_eu = net.hubs[1].node.inventory().late_events().count();

    // Once while one of them lacks some, and once when that has come over the other.
    for number in [0..DAMAGED.start, DAMAGED.start..LATE] {
        review(&mut net, 0, number.clone());
        review(&mut net, 1, number);
        net.meet(0, 1);
        net.talk(15);
        net.part(0, 1);
    }
    net.meet(0, 1);
    net.meet(0, 2);
    net.talk(30);

    let all = 0..LATE;
    let differ = all.clone().filter(|of| approves(0, *of) != approves(1, *of));
    let differ: Vec<String> = differ.map(|of| format!("{of:0>4}")).collect();
    let agreed = all.filter(|of| approves(0, *of) && approves(1, *of)).count();
    let units = -4 - 4 * i64::try_from(agreed).unwrap();
    assert_eq!((of_eu, differ.len()), (900, 500), "what was damaged was not there yet");
    for hub in &net.hubs {
        assert_eq!(disagreements(hub), differ);
        assert_eq!(state(hub), (Some(units), state(&net.hubs[0]).1));
        assert_eq!(hub.node.inventory().late_events().count(), LATE as usize);
    }
}
