//! What is handed on of rights to sell and of committed offsets, when inventory is the same at all.

use std::collections::BTreeMap;

use headland_event::{
    ChannelId, DropPolicy, Entry, GroupName, Incarnation, Offset, PartitionIndex, Record, RegionId,
    Stamp, TopicName,
};
use headland_reconcile::escrow::Answer;
use headland_reconcile::{RequestId, Sku, Units};
use headland_replication::groups::Change;
use headland_storage::{MemoryDisk, TopicPattern};

use super::handing::{Net, at_start, config, restock};
use super::hub::Hub;
use super::remote::{Remote, record, stamp_of};
use crate::escrow::{ReserveRequest, Reserved, UnitsRequest};
use crate::groups::{OffsetsRequest, Place};
use crate::links::LinkChange;
use crate::members::RegionAction;

const EVENTS: &str = "inventory.events";
const ESCROW: &str = "inventory.escrow";

/// A hub on a new disk that holds rights. It passes on to `us` what it gets, and to nobody else.
fn hub(nonce: u64, region: &str, peers: &[&str]) -> Hub {
    let text = config(region, peers, "*") + "[escrow]\nfloor = 1\n";
    let of_us = "region = \"us\"\nname = \"hub-1\"\naddress = \"none:1\"\n";
    let text = text.replace(
        &format!("{of_us}topics = [\"*\"]"),
        &format!("{of_us}forward = true\ntopics = [\"*\"]"),
    );
    Hub::start_as(nonce, &MemoryDisk::new(nonce), &text, at_start()).unwrap()
}

/// Hubs of `ap`, `eu` and `us`, of which the last two are linked.
fn three() -> Net {
    let (ap, eu) = (hub(5, "ap", &["eu", "us"]), hub(6, "eu", &["ap", "us"]));
    let mut net = Net::new([ap, eu, hub(7, "us", &["ap", "eu"])]);
    net.meet(1, 2);
    net
}

fn sku() -> Sku {
    Sku::new("85123A").unwrap()
}

fn rights(hub: &Hub) -> BTreeMap<String, i64> {
    hub.node.rights_of(&sku()).unwrap().holders
}

fn here(hub: &Hub) -> i64 {
    hub.node.rights_of(&sku()).unwrap().here
}

/// A customer asks a hub for units.
fn reserve(hub: &mut Hub, name: &str, units: i64) -> Reserved {
    let (request, units) = (RequestId::new(name).unwrap(), Units::new(units).unwrap());
    let reserved = hub.node.on_reserve(hub.now, &ReserveRequest { request, sku: sku(), units });
    hub.settle();
    reserved.unwrap()
}

/// How many customers a hub grants one unit each.
fn sold(hub: &mut Hub, prefix: &str) -> usize {
    let names = (0..20).map(|number| format!("{prefix}{number}"));
    names.filter(|name| matches!(reserve(hub, name, 1), Reserved::UnderWay(_))).count()
}

fn offer(hub: &mut Hub, units: i64) {
    let (request, units) = (RequestId::new("offer").unwrap(), Units::new(units).unwrap());
    let _at = hub.node.on_offered(hub.now, &UnitsRequest { request, sku: sku(), units }).unwrap();
    hub.settle();
}

/// `us` had ten units and gave `ap` four that it had asked for. Only `eu` got that, before the disk
/// of `us` was lost.
fn given_and_lost() -> Net {
    let mut net = three();
    net.meet(0, 1);
    net.meet(0, 2);
    offer(&mut net.hubs[2], 10);
    net.talk(15);
    net.part(0, 2);
    net.part(1, 2);
    let refused = reserve(&mut net.hubs[0], "first", 4);
    assert!(matches!(refused, Reserved::Answered(Answer::NotHere { .. })), "{refused:?}");
    net.talk(15);
    net.part(0, 1);
    net.meet(1, 2);
    net.talk(15);
    assert_eq!((here(&net.hubs[2]), here(&net.hubs[0])), (6, 0));
    net.replace(2, hub(9, "us", &["ap", "eu"]));
    net.meet(1, 2);
    net.talk(15);
    net
}

#[test]
fn rights_that_a_lost_life_gave_reach_whom_it_gave_them_from_the_one_hub_that_heard() {
    let mut net = given_and_lost();
    let before = here(&net.hubs[0]);

    net.meet(0, 1);
    net.talk(40);

    assert_eq!((before, here(&net.hubs[0])), (0, 4));
    let all: Vec<_> = net.hubs.iter().map(rights).collect();
    assert_eq!((&all[0], &all[2]), (&all[1], &all[1]));
    assert_eq!(all[1].values().sum::<i64>(), 10);
    let apart = net.hubs[0].values("handed-on.us.inventory.escrow").len();
    assert_eq!(apart, 1, "what was here is not stored again");
    assert_eq!(sold(&mut net.hubs[0], "ap"), 4);
    assert_eq!(sold(&mut net.hubs[1], "eu"), 0, "what the lost life had stays with it");
    assert_eq!(net.hubs.iter().flat_map(|hub| hub.node.regions().lacking).count(), 0);
}

#[test]
fn what_a_lost_life_asked_for_is_not_given_to_it_when_that_is_handed_on() {
    let mut net = three();
    net.meet(0, 1);
    net.meet(0, 2);
    offer(&mut net.hubs[0], 10);
    net.talk(15);
    net.part(0, 1);
    net.part(0, 2);
    let refused = reserve(&mut net.hubs[2], "first", 4);
    assert!(matches!(refused, Reserved::Answered(Answer::NotHere { .. })), "{refused:?}");
    net.talk(15);
    net.replace(2, hub(9, "us", &["ap", "eu"]));
    net.meet(1, 2);
    net.talk(15);
    let asks = |hub: &Hub, topic| hub.values(topic).concat().matches(r#""act":"ask""#).count();
    assert_eq!(asks(&net.hubs[1], "us.inventory.escrow"), 1);

    net.meet(0, 1);
    net.talk(40);

    assert_eq!(asks(&net.hubs[0], "handed-on.us.inventory.escrow"), 1);
    assert_eq!(here(&net.hubs[0]), 10);
    assert_eq!(sold(&mut net.hubs[0], "ap"), 10);
}

fn group() -> GroupName {
    GroupName::new("billing").unwrap()
}

/// How far a group has read the inventory of `us`, as a hub knows.
fn read(hub: &Hub) -> Vec<u64> {
    let at = hub.node.group(&group()).positions.into_iter();
    let of_us = at.filter(|at| (at.origin.as_str(), at.origin_topic.as_str()) == ("us", EVENTS));
    of_us.map(|at| at.origin_offset.get()).collect()
}

/// The group has read so many records at `us`.
fn commit(hub: &mut Hub, offset: u64) {
    let (topic, partition) = (TopicName::new(EVENTS).unwrap(), PartitionIndex::new(0));
    let positions = vec![Place { topic, partition, offset: Offset::new(offset) }];
    let request = OffsetsRequest { change: Change::Commit, positions };
    let _ticket = hub.node.on_group(hub.now, &group(), &request).unwrap();
    hub.settle();
}

#[test]
fn what_a_group_committed_at_a_lost_life_reaches_all_from_the_one_hub_that_heard() {
    let mut net = three();
    net.meet(0, 1);
    net.meet(0, 2);
    restock(&mut net.hubs[2], 2, &["us/1", "us/2", "us/3"]);
    commit(&mut net.hubs[2], 1);
    net.talk(15);
    net.part(0, 1);
    net.part(0, 2);
    commit(&mut net.hubs[2], 3);
    net.talk(15);
    let apart = (read(&net.hubs[0]), read(&net.hubs[1]));

    net.replace(2, hub(9, "us", &["ap", "eu"]));
    net.meet(1, 2);
    net.talk(15);
    net.meet(0, 1);
    net.talk(40);

    assert_eq!(apart, (vec![1], vec![3]));
    assert_eq!((read(&net.hubs[0]), read(&net.hubs[1])), (vec![3], vec![3]));
    assert_eq!(net.hubs.iter().flat_map(|hub| hub.node.regions().lacking).count(), 0);
}

#[test]
fn what_compaction_left_at_the_end_of_a_log_that_is_handed_on_is_here_where_it_goes_on() {
    let mut eu = hub(6, "eu", &["ap", "us"]);
    eu.settle();
    eu.advance(11_000);
    eu.settle();
    let life = Incarnation::new(3, 4);
    let stamp = |offset| Some(stamp_of(("us", life), Offset::new(offset)));
    let offered = r#"{"sku":"85123A","act":"create","request":"o1","units":10}"#;
    let mut ap = Remote::hub(&mut eu, 1, "ap");
    let channel = ap.hand_on(&mut eu, ESCROW, "us");
    let end = |hub: &Hub| {
        let actor = stamp(0).unwrap().actor;
        hub.node.others_here().end(&TopicName::new(ESCROW).unwrap(), &actor).get()
    };

    ap.publish_stamped(&mut eu, channel, &[record("85123A", offered)], stamp(0));
    ap.leave(&mut eu, channel, (2, DropPolicy::Compacted), stamp(1));
    let behind = end(&eu);
    ap.leave(&mut eu, channel, (1, DropPolicy::Compacted), stamp(9));

    assert_eq!((behind, end(&eu)), (3, 3), "what lies before a later one may come from others");
}

#[test]
fn of_a_sealed_life_that_is_linked_nothing_is_lacking_and_no_link_is_made_anew() {
    let mut net = three();
    net.meet(0, 1);
    net.meet(0, 2);
    net.talk(15);
    for action in [RegionAction::Drain, RegionAction::Seal] {
        let us = &mut net.hubs[2];
        us.node.on_region(us.now, &super::members::request(action, "us")).unwrap();
        net.talk(5);
    }
    let us = &mut net.hubs[2];
    let change = LinkChange::Pause([headland_event::Lane::State].into());
    let _ticket = us.node.on_link_change(us.now, &"ap".parse().unwrap(), &change).unwrap();
    let before = net.links.clone();

    offer(&mut net.hubs[2], 10);
    net.talk(15);

    let ends: Vec<i64> = net.hubs.iter().map(|hub| rights(hub).values().sum()).collect();
    assert_eq!(ends, [0, 10, 10], "the one that waits for its own hub lags");
    assert_eq!(net.hubs[0].node.regions().lacking, []);
    assert_eq!(net.links, before);
}

#[test]
fn that_groups_of_linked_regions_read_on_is_no_news_for_a_report() {
    let mut net = three();
    net.meet(0, 1);
    net.meet(0, 2);
    restock(&mut net.hubs[2], 2, &["us/1", "us/2", "us/3"]);
    net.talk(15);
    let said =
        |net: &Net| -> usize { net.hubs.iter().map(|of| of.entries("_members").len()).sum() };
    let before = said(&net);

    for offset in 1..4 {
        commit(&mut net.hubs[2], offset);
        net.talk(5);
    }

    assert_eq!(read(&net.hubs[0]), [3]);
    assert_eq!(said(&net), before);
}

/// Hubs of `ap`, `eu`, `sa` and `us` in a line, of which none passes on what it gets.
fn line() -> Net {
    let near = [("sa", vec!["ap"]), ("ap", vec!["sa", "eu"]), ("eu", vec!["ap", "us"])];
    let hubs = (1..).zip(near.into_iter().chain([("us", vec!["eu"])]));
    Net::new(hubs.map(|(nonce, (region, peers))| end(nonce, region, &peers)))
}

/// A hub on a new disk that holds rights and passes on nothing.
fn end(nonce: u64, region: &str, peers: &[&str]) -> Hub {
    let text = config(region, peers, "*") + "[escrow]\nfloor = 1\n";
    Hub::start_as(nonce, &MemoryDisk::new(nonce), &text, at_start()).unwrap()
}

#[test]
fn rights_of_a_lost_life_reach_the_end_of_a_line_that_passes_on_nothing() {
    let mut net = line();
    for (one, other) in [(0, 1), (1, 2), (2, 3)] {
        net.meet(one, other);
    }
    // No inventory is lacking with which rights would go.
    offer(&mut net.hubs[3], 10);
    net.talk(15);
    let before = rights(&net.hubs[0]).len();

    net.replace(3, end(9, "us", &["eu"]));
    net.meet(2, 3);
    net.talk(40);

    assert_eq!(before, 0, "what a life that goes on writes goes over its own links");
    let all: Vec<_> = net.hubs.iter().map(rights).collect();
    assert_eq!(all[2].values().sum::<i64>(), 10);
    assert_eq!((&all[0], &all[1], &all[3]), (&all[2], &all[2], &all[2]));
    let apart = net.hubs[0].values("handed-on.us.inventory.escrow").len();
    assert_eq!(apart, 1, "each is stored once");
}

/// A hub that knows which lives are there, and where a log of a lost life of `us` ends for it.
fn of_three_peers() -> (Hub, impl Fn(u64) -> Option<Stamp>, impl Fn(&Hub, &str) -> u64) {
    let mut eu = hub(6, "eu", &["ap", "sa", "us"]);
    eu.settle();
    eu.advance(11_000);
    eu.settle();
    let stamp = |offset| Some(stamp_of(("us", Incarnation::new(3, 4)), Offset::new(offset)));
    let end = move |hub: &Hub, topic: &str| {
        let actor = stamp(0).unwrap().actor;
        hub.node.others_here().end(&TopicName::new(topic).unwrap(), &actor).get()
    };
    (eu, stamp, end)
}

fn offered(request: &str) -> [Record; 1] {
    let act = format!(r#""act":"create","request":"{request}","units":10"#);
    [record("85123A", &format!(r#"{{"sku":"85123A",{act}}}"#))]
}

#[test]
fn what_compaction_left_of_a_log_is_taken_from_others_until_what_holds_instead_is_here() {
    let (mut eu, stamp, end) = of_three_peers();
    let mut ap = Remote::hub(&mut eu, 1, "ap");
    let channel = ChannelId::new(0);
    ap.write(channel, &offered("o1"), stamp(0));
    for offset in [1, 2] {
        ap.write_hole(channel, (1, DropPolicy::Compacted), stamp(offset));
    }
    ap.write(channel, &offered("o4"), stamp(3));
    let [us, of_ap] = ["us", "ap"].map(|name| RegionId::new(name).unwrap());
    let over = headland_replication::route::handed_on_path(&us, &of_ap);
    assert_eq!(ap.announce(ESCROW, (us, over)), channel);
    ap.withhold_last(channel);
    eu.talk(&mut ap);
    let before = end(&eu, ESCROW);

    let mut sa = Remote::hub(&mut eu, 2, "sa");
    let channel = sa.hand_on(&mut eu, ESCROW, "us");
    for (offset, request) in ["o1", "o2", "o3"].into_iter().enumerate() {
        let stamp = stamp(u64::try_from(offset).unwrap());
        sa.publish_stamped(&mut eu, channel, &offered(request), stamp);
    }

    let offset = |entry: &Entry| entry.stamp.as_ref().unwrap().offset.get();
    let apart = eu.entries("handed-on.us.inventory.escrow");
    assert_eq!(apart.iter().map(offset).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!((before, end(&eu, ESCROW)), (1, 3));
}

#[test]
fn the_end_of_a_log_that_compaction_left_in_several_parts_is_here_with_the_last_of_them() {
    let (mut eu, stamp, end) = of_three_peers();
    let mut ap = Remote::hub(&mut eu, 1, "ap");
    let channel = ChannelId::new(0);
    ap.write(channel, &offered("o1"), stamp(0));
    for offset in [1, 2, 3] {
        ap.write_hole(channel, (1, DropPolicy::Compacted), stamp(offset));
    }
    let [us, of_ap] = ["us", "ap"].map(|name| RegionId::new(name).unwrap());
    let over = headland_replication::route::handed_on_path(&us, &of_ap);
    assert_eq!(ap.announce(ESCROW, (us, over)), channel);
    eu.talk(&mut ap);

    assert_eq!(end(&eu, ESCROW), 4);
}

#[test]
fn what_is_kept_apart_of_offsets_and_members_is_not_compacted_since_the_last_may_not_hold() {
    let (mut eu, stamp, _) = of_three_peers();
    let mut ap = Remote::hub(&mut eu, 1, "ap");
    for (topic, apart) in
        [("_groups", "handed-on.us._groups"), ("_members", "handed-on.us._members")]
    {
        let channel = ap.hand_on(&mut eu, topic, "us");
        ap.publish_stamped(&mut eu, channel, &[record("key", "{}")], stamp(0));
        assert_eq!(eu.entries(apart).len(), 1);
    }

    let rules = eu.node.clean_policy().compactions;

    let is_cut = |name: &str| {
        let pattern = TopicPattern::Exactly(TopicName::new(name).unwrap());
        rules.iter().any(|rule| rule.pattern == pattern)
    };
    let are_cut = ["_groups", "_members"].map(is_cut);
    let apart_are = ["handed-on.us._groups", "handed-on.us._members"].map(is_cut);
    assert_eq!((are_cut, apart_are), ([true; 2], [false; 2]));
}
