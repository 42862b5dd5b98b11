//! Logs that end before where others have them to.

use headland_event::{Alert, ChannelId, Incarnation};
use headland_replication::{Refusal, RefusalCode};
use headland_storage::{MemoryDisk, OnCopy, OpenOptions};

use super::handing::{Net, at_start, config, end_on, state};
use super::hub::{CONFIG, Hub};
use super::remote::{Remote, record};

const EVENTS: &str = "inventory.events";

/// A hub that has three records of an agent, and that agent.
fn hub() -> (Hub, Remote) {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let events = agent.offer(&mut hub, EVENTS);
    agent.publish(&mut hub, events, &[record("eu-1-till", "a"), record("eu-1-till", "b")]);
    agent.publish(&mut hub, events, &[record("eu-1-till", "c")]);
    (hub, agent)
}

fn raised(hub: &Hub) -> Vec<Alert> {
    hub.alerts().into_iter().filter(|alert| alert.rule == "log_went_back").collect()
}

#[test]
fn a_log_that_ends_before_where_it_is_here_is_named_once_a_run() {
    let (mut hub, _agent) = hub();

    // A copy of the agent's data directory, of before it wrote anything, twice.
    Remote::agent(&mut hub, 2).offer(&mut hub, EVENTS);
    Remote::agent(&mut hub, 3).offer(&mut hub, EVENTS);
    let first = raised(&hub);
    hub.restart(CONFIG);
    Remote::agent(&mut hub, 4).offer(&mut hub, EVENTS);
    let second = raised(&hub);

    assert_eq!(first.len(), 1);
    assert_eq!((first[0].values["ends_at"].as_str(), first[0].window.as_str()), ("0", "3"));
    assert!(first[0].values["fault"].contains("of agent eu-1 ends at 0, and 3 of it are here"));
    assert!(second.iter().all(|alert| alert.id == first[0].id));
}

#[test]
fn a_log_that_has_no_entry_where_it_is_had_to_is_named_as_another_one() {
    let (mut hub, _agent) = hub();
    let mut copy = Remote::agent(&mut hub, 2);
    let other = ["v", "x", "y", "z"].map(|value| record("eu-1-till", value));
    copy.write(ChannelId::new(0), &other, None);

    copy.offer(&mut hub, EVENTS);
    hub.talk(&mut copy);

    let raised = raised(&hub);
    assert_eq!(raised.len(), 1, "{raised:?}");
    assert_eq!(raised[0].window, "3");
    let fault = &raised[0].values["fault"];
    assert!(fault.contains("of agent eu-1 is not the log of which 3 are here"), "{fault}");
}

#[test]
fn a_log_that_is_as_long_as_it_is_here_is_no_cause_for_alarm() {
    let (mut hub, agent) = hub();

    let mut again = Remote::agent(&mut hub, 2);
    again.take_log_of(agent);
    again.offer(&mut hub, EVENTS);

    assert_eq!(raised(&hub), []);
}

/// A device of the hub's region says that four units came, by an agent in a life of its own.
fn restock(hub: &mut Hub, link_id: u64, ids: &[&str]) {
    let mut agent = Remote::agent_in(hub, link_id, Incarnation::new(1, link_id));
    let channel = agent.offer(hub, EVENTS);
    for id in ids {
        let text =
            format!(r#"{{"id":"{id}","kind":"restock","device":"eu-1-till","sku":"85123A","#)
                + r#""location":"eu-1","quantity":4,"time":"2010-12-01T08:06:00Z"}"#;
        agent.publish(hub, channel, &[record("eu-1-till", &text)]);
    }
}

/// The hub of `us` on a disk, which begins a new life on a copy, as real ones do.
fn us_on(disk: &MemoryDisk, nonce: u64) -> Hub {
    let options = OpenOptions { on_copy: OnCopy::NewLife, ..OpenOptions::new(nonce) };
    Hub::start_with(options, disk, &config("us", &["ap", "eu"], "*"), at_start()).unwrap()
}

/// Three hubs of which that of `us`, the last one, is not linked, and a copy of its disk of before
/// it wrote the last two of five records, which the others have.
fn three_and_a_copy() -> (Net, MemoryDisk) {
    let disk = MemoryDisk::new(7);
    let us = us_on(&disk, 7);
    let ap = end_on(&MemoryDisk::new(8), 8, "ap", &["eu", "us"]);
    let eu = end_on(&MemoryDisk::new(9), 9, "eu", &["ap", "us"]);
    let mut net = Net::new([ap, eu, us]);
    net.meet(0, 1);
    net.meet(0, 2);
    net.meet(1, 2);
    restock(&mut net.hubs[1], 11, &["eu/1"]);
    restock(&mut net.hubs[2], 12, &["us/1", "us/2"]);
    net.talk(5);
    let copy = disk.fork();
    restock(&mut net.hubs[2], 13, &["us/3", "us/4"]);
    net.talk(5);
    assert!(net.hubs.iter().all(|hub| state(hub).0 == Some(20)));
    net.part(0, 2);
    net.part(1, 2);
    (net, copy)
}

fn assert_all_hold(net: &Net, stock: i64) {
    for hub in &net.hubs {
        assert_eq!(state(hub).0, Some(stock), "in {}", hub.region());
        assert_eq!(state(hub), state(&net.hubs[0]));
    }
}

#[test]
fn a_copy_of_a_hubs_directory_that_meets_its_peers_first_ends_like_them_in_a_new_life() {
    let (mut net, copy) = three_and_a_copy();

    copy.move_to(2);
    net.replace(2, us_on(&copy, 21));
    net.meet(0, 2);
    net.meet(1, 2);
    restock(&mut net.hubs[2], 14, &["us/5"]);
    net.talk(20);

    assert_all_hold(&net, 24);
    let said = raised(&net.hubs[2]);
    assert_eq!(said.len(), 1);
    assert!(said[0].values["life"].starts_with("2-"), "{:?}", said[0]);
}

#[test]
fn a_copy_of_a_hubs_directory_that_meets_agents_first_ends_like_its_peers_and_loses_nothing() {
    let (mut net, copy) = three_and_a_copy();

    copy.move_to(2);
    net.replace(2, us_on(&copy, 21));
    restock(&mut net.hubs[2], 14, &["us/5", "us/6", "us/7"]);
    net.hubs[2].settle();
    net.meet(0, 2);
    net.meet(1, 2);
    net.talk(20);

    assert_all_hold(&net, 32);
}

/// A hub of `us` whose volume was taken back, as it is when it has met a peer that has more.
fn taken_back() -> (Net, MemoryDisk) {
    let (mut net, disk) = three_and_a_copy();
    net.replace(2, us_on(&disk, 21));
    net.meet(0, 2);
    net.talk(3);
    (net, disk)
}

#[test]
fn a_hub_whose_volume_was_taken_back_writes_nothing_once_a_peer_has_more() {
    let (mut net, _) = taken_back();

    let commits = net.hubs[2].commits();
    restock(&mut net.hubs[2], 14, &["us/5"]);
    net.talk(3);

    let said = net.hubs[2].node.taken_back().unwrap().clone();
    assert_eq!((said.peer.as_str(), said.ends_at < said.held_to), ("region/ap/hub/hub-1", true));
    assert!(said.to_string().contains("start it again, and it goes on in a new life"), "{said}");
    assert_eq!(net.hubs[2].commits(), commits);
    assert!(net.hubs.iter().all(|hub| raised(hub).is_empty()));
}

#[test]
fn a_hub_whose_volume_was_taken_back_ends_like_its_peers_once_it_is_started_again() {
    let (mut net, disk) = taken_back();

    net.hubs[2].end_life();
    net.replace(2, us_on(&disk, 22));
    net.meet(0, 2);
    net.meet(1, 2);
    restock(&mut net.hubs[2], 14, &["us/5"]);
    net.talk(20);

    assert_all_hold(&net, 24);
    let said = raised(&net.hubs[2]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].values["fault"].contains("was taken back, and a peer has more of its log"));
    assert!(said[0].values["life"].starts_with("2-"), "{:?}", said[0]);
}

#[test]
fn a_life_that_began_so_is_ended_by_no_peer_and_the_one_that_says_so_is_named() {
    let (mut net, disk) = taken_back();
    net.hubs[2].end_life();
    net.replace(2, us_on(&disk, 22));
    net.meet(0, 2);
    net.meet(1, 2);
    net.talk(5);
    let copy = disk.fork();
    restock(&mut net.hubs[2], 13, &["us/3", "us/4"]);
    net.talk(5);

    net.replace(2, us_on(&copy, 23));
    net.meet(0, 2);
    net.talk(3);

    assert_eq!(net.hubs[2].node.taken_back(), None);
    let said = raised(&net.hubs[2]);
    let of_events = |alert: &&Alert| {
        alert.values.get("partition").is_some_and(|partition| partition == "inventory.events/0")
    };
    let said: Vec<&Alert> = said.iter().filter(of_events).collect();
    assert_eq!(said.len(), 1, "once a run: {said:?}");
    assert_eq!(said[0].values["peer"], "region/ap/hub/hub-1");
}

/// A hub that says of itself that it refuses a topic as one does that has not what is asked for.
#[test]
fn a_refusal_that_a_peer_makes_up_ends_no_life() {
    let mut hub = Hub::new();
    restock(&mut hub, 11, &["eu/1"]);
    let mut us = Remote::hub(&mut hub, 2, "us");
    let text = "inventory.events/0 holds 0 to 1, the peer stands at 4";
    let refusal = Refusal::new(RefusalCode::PositionUnavailable, text);

    us.refuse_all(&mut hub, &refusal);

    assert_eq!(hub.node.taken_back(), None);
    assert_eq!(raised(&hub), []);
}
