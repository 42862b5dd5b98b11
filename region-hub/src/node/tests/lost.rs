//! What damage takes from logs of inventory, and what comes back of it.

use std::collections::BTreeSet;

use headland_event::{
    Actor, DropPolicy, Hole, Incarnation, Offset, PartitionIndex, Record, RegionId,
};
use headland_storage::{MissingOffsets, Survival};

use super::damage::damage;
use super::handing::{Net, config, end_on, hub_on, state};
use super::hub::Hub;
use super::remote::{Remote, partition, record, stamp_of};

const EVENTS: &str = "inventory.events";

/// Offsets that stay taken where the end of a log is damaged.
const TAKEN: u64 = 10_000;

/// An agent of a hub, in a life with this number, says for each number that four units came, each
/// in a commit of its own.
pub(super) fn write(hub: &mut Hub, life: u64, numbers: std::ops::Range<u64>) {
    let mut agent = Remote::agent_in(hub, 10_000 + life, Incarnation::new(1, life));
    let channel = agent.offer(hub, EVENTS);
    for number in numbers {
        agent.publish(hub, channel, &[restocked(&id(number))]);
    }
    hub.node.on_disconnected(hub.now, agent.link_id);
}

pub(super) fn id(number: u64) -> String {
    format!("no/{number}.")
}

pub(super) fn restocked(id: &str) -> Record {
    let text = format!(r#"{{"id":"{id}","kind":"restock","device":"eu-1-till","sku":"85123A","#)
        + r#""location":"eu-1","quantity":4,"time":"2010-12-01T08:06:00Z"}"#;
    record("eu-1-till", &text)
}

/// The power of a hub fails, which goes on with its disk, and a snapshot if there is one.
pub(super) fn again(hub: &Hub, region: &str, peers: &[&str]) -> Hub {
    let disk = hub.disk().clone();
    disk.crash(Survival::Nothing);
    let mut again = end_on(&disk, 7, region, peers);
    again.now = hub.now;
    again
}

fn forget_snapshots(hub: &Hub) {
    let disk = hub.disk();
    let names = disk.names().into_iter().filter(|name| name.contains("snapshot"));
    names.for_each(|name| disk.remove(&name));
}

/// Which of the numbers lie in a topic, each as often as it does.
pub(super) fn numbers(hub: &Hub, topic: &str, of: std::ops::Range<u64>) -> Vec<u64> {
    let texts = hub.values(topic);
    let lies = |number: u64| texts.iter().filter(move |text| text.contains(&id(number)));
    of.flat_map(|number| lies(number).map(move |_| number)).collect()
}

pub(super) fn lost(hub: &Hub) -> Vec<(u64, u64)> {
    let lost = hub.node.speaking.as_ref().unwrap().lost.gaps();
    lost.iter().map(|(_, gap)| (gap.from.get(), gap.until.get())).collect()
}

#[test]
fn a_life_that_goes_on_from_a_backup_writes_down_where_its_log_begins_and_says_it() {
    let begin = |hub: &Hub| {
        let (region, incarnation) = (hub.region().clone(), hub.node.incarnation);
        let partition = PartitionIndex::new(0);
        hub.node.inventory.members().begin(&Actor { region, incarnation, partition }).get()
    };
    let mut us = waited(end_on_new("us", &["ap"]));
    write(&mut us, 1, 0..3);
    let first = waited(us);
    let backup = first.disk().fork();
    backup.remove("identity");

    let mut next = end_on(&backup, 8, "us", &["ap"]);
    next.now = first.now;
    let mut next = waited(next);
    write(&mut next, 2, 3..5);
    let mut next = waited(next);

    assert_ne!(next.node.incarnation, first.node.incarnation);
    assert_eq!([begin(&first), begin(&next)], [0, 3]);
    assert!(next.node.regions().lacking.is_empty(), "what lies before was written by nobody");
    // Another start of that life takes up what it wrote down, wherever the log ends by then.
    let said = next.node.begins();
    next.node.speaking.as_mut().unwrap().begins = headland_event::VectorClock::new();
    next.node.restore_begins(&next.store).unwrap();
    assert_eq!(next.node.begins(), said);
}

#[test]
fn a_log_of_which_the_end_was_damaged_gets_back_that_end_and_nothing_that_follows() {
    for has_snapshot in [true, false] {
        let mut net = Net::new([end_on_new("eu", &["us"]), end_on_new("us", &["eu"])]);
        net.meet(0, 1);
        write(&mut net.hubs[1], 2, 0..5);
        net.talk(15);
        damage(&net.hubs[1], &id(4));
        if !has_snapshot {
            forget_snapshots(&net.hubs[1]);
        }

        let us = again(&net.hubs[1], "us", &["eu"]);
        let found = lost(&us);
        net.replace(1, us);
        write(&mut net.hubs[1], 3, 5..8);
        net.meet(0, 1);
        net.talk(20);
        write(&mut net.hubs[1], 4, 8..12);
        net.talk(20);
        let us = again(&net.hubs[1], "us", &["eu"]);
        net.replace(1, us);
        write(&mut net.hubs[1], 5, 12..15);
        net.meet(0, 1);
        net.talk(20);

        let back = numbers(&net.hubs[1], "handed-on.us.inventory.events", 0..15);
        assert_eq!(found, [(4, 4 + TAKEN)], "with a snapshot: {has_snapshot}");
        assert_eq!(back, [4], "with a snapshot: {has_snapshot}");
        // The hub goes on in a new life, of which nobody has anything there.
        assert_eq!(lost(&net.hubs[1]), [(4, 4 + TAKEN)]);
        assert_eq!(state(&net.hubs[0]).0, Some(60));
        assert_eq!(state(&net.hubs[1]), state(&net.hubs[0]));
    }
}

#[test]
fn a_log_of_which_the_end_was_damaged_in_a_run_gets_back_that_end_and_nothing_that_follows() {
    let mut net = Net::new(["ap", "eu", "us"].map(|region| {
        let others: Vec<&str> = ["ap", "eu", "us"].into_iter().filter(|of| *of != region).collect();
        end_on_new(region, &others)
    }));
    net.meet(0, 2);
    write(&mut net.hubs[2], 2, 0..5);
    net.talk(15);
    damage(&net.hubs[2], &id(4));

    net.meet(1, 2);
    net.talk(5);
    write(&mut net.hubs[2], 3, 5..8);
    net.talk(20);

    let back = numbers(&net.hubs[2], "handed-on.us.inventory.events", 0..8);
    assert_eq!((lost(&net.hubs[2]), back), (vec![], vec![4]));
    net.meet(0, 1);
    net.talk(20);
    let states: BTreeSet<_> = net.hubs.iter().map(state).collect();
    assert_eq!((states.len(), states.first().unwrap().0), (1, Some(32)));
}

fn end_on_new(region: &str, peers: &[&str]) -> Hub {
    end_on(&headland_storage::MemoryDisk::new(7), 7, region, peers)
}

/// A hub of `us` when it has waited long enough for others to tell it who takes part.
pub(super) fn waited(mut us: Hub) -> Hub {
    us.settle();
    us.advance(11_000);
    us.settle();
    us
}

#[test]
fn what_came_back_in_more_pieces_than_are_kept_stops_no_start_and_no_report() {
    let mut us = waited(end_on_new("us", &["eu"]));
    let count = 140;
    let mut agent = Remote::agent_in(&mut us, 2, Incarnation::new(1, 2));
    let channel = agent.offer(&mut us, EVENTS);
    agent.publish(&mut us, channel, &[restocked(&id(0))]);
    us.settle();
    let records: Vec<_> = (1..count).map(|number| restocked(&id(number))).collect();
    agent.publish(&mut us, channel, &records);
    let alerts = agent.offer(&mut us, "alerts");
    agent.publish(&mut us, alerts, &[record("eu-1-till", "what follows in the journal")]);
    damage(&us, &id(count - 1));
    let us = again(&us, "us", &["eu"]);
    let found = lost(&us);
    let mut us = waited(us);

    let life = us.node.incarnation;
    let mut eu = Remote::hub(&mut us, 5, "eu");
    let channel = eu.offer_back(&mut us, EVENTS);
    for number in (2..count).step_by(2) {
        let stamp = Some(stamp_of(("us", life), Offset::new(number)));
        eu.publish_stamped(&mut us, channel, &[restocked(&id(number))], stamp);
    }
    let us = again(&us, "us", &["eu"]);

    assert_eq!(found, [(1, 1 + TAKEN)]);
    let limit = headland_event::extent::GAPS_OF_LOG_LIMIT;
    let last = (count - 1, 1 + TAKEN);
    assert_eq!(
        (lost(&us).len(), lost(&us).last()),
        (limit, Some(&last)),
        "the lowest are given up"
    );
}

/// Positions in what is handed on.
pub(super) fn positions(hub: &Hub) -> Vec<u64> {
    let is_of_handed_on = |key: &&bytes::Bytes| key.ends_with(b"/handed-on");
    let keys = hub.node.positions.iter().filter(|(key, _)| is_of_handed_on(key));
    keys.map(|(_, next)| next.get()).collect()
}

#[test]
fn damage_that_a_run_finds_holds_up_nothing_that_is_handed_on_of_other_regions() {
    let mut us = waited(end_on_new("us", &["ap", "eu"]));
    write(&mut us, 2, 0..3);
    let former = Incarnation::new(3, 4);
    let stamp = |offset| Some(stamp_of(("sa", former), Offset::new(offset)));
    let mut ap = Remote::hub(&mut us, 5, "ap");
    let channel = ap.hand_on(&mut us, EVENTS, "sa");
    ap.publish_stamped(&mut us, channel, &[restocked("sa/0")], stamp(0));
    let own = ap.offer_back(&mut us, "inventory.escrow");
    let before = positions(&us);

    damage(&us, &id(1));
    let mut eu = Remote::hub(&mut us, 6, "eu");
    eu.subscribe_all();
    us.talk(&mut eu);
    ap.publish_stamped(&mut us, channel, &[restocked("sa/1")], stamp(1));

    assert_eq!((before, lost(&us)), (vec![1], vec![(1, 2)]), "{own}");
    assert_eq!(us.values("handed-on.sa.inventory.events").len(), 2);
    assert_eq!(positions(&us), [2]);
}

#[test]
fn a_copy_that_is_gone_whole_is_asked_for_from_the_beginning() {
    let peers = ["ap", "eu"];
    let mut us = waited(hub_on(&headland_storage::MemoryDisk::new(7), 7, "us", &peers));
    let stamp =
        |life, offset| Some(stamp_of(("eu", Incarnation::new(3, life)), Offset::new(offset)));
    let mut ap = Remote::hub(&mut us, 5, "ap");
    let handed_on = ap.hand_on(&mut us, EVENTS, "eu");
    ap.publish_stamped(&mut us, handed_on, &[restocked(&id(1))], stamp(1, 0));
    let mut eu = Remote::hub(&mut us, 6, "eu");
    let channel = eu.offer(&mut us, EVENTS);
    eu.publish_stamped(&mut us, channel, &[restocked(&id(0))], stamp(2, 0));
    ap.publish_stamped(&mut us, handed_on, &[restocked(&id(2))], stamp(1, 1));
    let before = positions(&us);
    damage(&us, &id(0));

    let us = again(&us, "us", &peers);

    assert_eq!(before, [2]);
    assert_eq!(lost(&us), [(2, u64::MAX)], "none of what is apart");
    let known = us.node.missing().offsets().map(|lost| lost.partition.to_string());
    let known: Vec<String> = known.filter(|at| at.contains(EVENTS)).collect();
    assert_eq!(known, [""; 0], "no damage to a log of inventory is known");
    assert_eq!(positions(&us), [0; 0]);
}

#[test]
fn an_end_that_is_lost_stays_so_until_that_very_copy_goes_on() {
    let peers = ["ap", "sa"];
    let mut us = waited(end_on_new("us", &peers));
    let stamp = |offset| Some(stamp_of(("eu", Incarnation::new(3, 4)), Offset::new(offset)));
    let over = |region: &str| {
        let eu: RegionId = "eu".parse().unwrap();
        (eu.clone(), vec![eu, region.parse().unwrap()])
    };
    let offer = |us: &mut Hub, link_id, region: &str, former: Option<Remote>| {
        let mut remote = Remote::hub(us, link_id, region);
        former.into_iter().for_each(|former| remote.take_log_of(former));
        let channel = remote.offer_over(us, EVENTS, over(region));
        (remote, channel)
    };
    let (mut ap, channel) = offer(&mut us, 5, "ap", None);
    for number in 0..3 {
        ap.publish_stamped(&mut us, channel, &[restocked(&id(number))], stamp(number));
    }
    let (mut sa, of_sa) = offer(&mut us, 6, "sa", None);
    sa.publish_stamped(&mut us, of_sa, &[restocked(&id(0))], stamp(0));
    damage(&us, &id(2));

    let mut us = waited(again(&us, "us", &peers));
    let found = lost(&us);
    let (mut sa, of_sa) = offer(&mut us, 7, "sa", Some(sa));
    sa.publish_stamped(&mut us, of_sa, &[restocked(&id(1))], stamp(1));
    let behind_another_way = lost(&us);
    let mut us = waited(again(&us, "us", &peers));
    let over_a_restart = lost(&us);
    let (mut ap, channel) = offer(&mut us, 8, "ap", Some(ap));
    ap.publish_stamped(&mut us, channel, &[restocked(&id(3))], stamp(3));

    assert_eq!(numbers(&us, "sa.inventory.events", 0..4), [0, 1]);
    assert_eq!(numbers(&us, "ap.inventory.events", 0..4), [0, 1, 3]);
    let all = [found, behind_another_way, over_a_restart];
    assert_eq!(all, [[(2, u64::MAX)], [(2, u64::MAX)], [(2, u64::MAX)]]);
    assert_eq!(lost(&us), [], "it is missing");
    assert_eq!(again(&us, "us", &peers).node.speaking.as_ref().unwrap().lost.gaps().len(), 0);
}

/// A hub that says what it lacks and keeps at most 64 KiB of inventory, in small files.
fn short_of_room(disk: &headland_storage::MemoryDisk, region: &str, peers: &[&str]) -> Hub {
    let kept = "retention = { bytes = \"64KiB\" }\n";
    let text = config(region, peers, "*");
    let text = text.replace("partitions = 1\n", &format!("partitions = 1\n{kept}"));
    let small = "api = { socket = \"none\" }\nstorage = { file_bytes = \"128KiB\" }";
    let text = text.replace("api = { socket = \"none\" }", small);
    Hub::start_as(7, disk, &text, super::handing::at_start()).unwrap()
}

/// A hub takes in so many events of 8 KiB, a second apart.
fn fill(hub: &mut Hub, link_id: u64, numbers: std::ops::Range<u64>) {
    let mut agent = Remote::agent_in(hub, 10_000 + link_id, Incarnation::new(1, link_id));
    let channel = agent.offer(hub, EVENTS);
    for number in numbers {
        let text = format!("{{\"id\":\"{}\",\"text\":\"{}\"}}", id(number), "x".repeat(8 << 10));
        agent.publish(hub, channel, &[record("eu-1-till", &text)]);
        hub.advance(1_000);
        hub.talk(&mut agent);
    }
    hub.node.on_disconnected(hub.now, agent.link_id);
}

/// A peer that takes all from the beginning, and says that it has it.
pub(super) fn taken_by(us: &mut Hub, link_id: u64, region: &str) {
    let mut peer = Remote::hub(us, link_id, region);
    peer.subscribe_all();
    us.talk(&mut peer);
    peer.store_all();
    us.talk(&mut peer);
    us.node.on_disconnected(us.now, peer.link_id);
}

#[test]
fn what_retention_let_go_before_damage_is_not_lost_and_not_said_to_be_damaged() {
    let disk = headland_storage::MemoryDisk::new(7);
    let mut us = waited(short_of_room(&disk, "us", &["eu"]));
    fill(&mut us, 2, 0..80);
    let start = us.start_of(EVENTS).get();
    damage(&us, &id(start));

    let mut eu = Remote::hub(&mut us, 5, "eu");
    eu.subscribe_all();
    us.talk(&mut eu);

    let holes = eu.said.iter().filter_map(|said| match said {
        headland_replication::LinkOutput::Deliver { entry, .. } => Hole::of(&entry.batch),
        _ => None,
    });
    let holes: Vec<_> = holes.map(|hole| (hole.policy, hole.count)).collect();
    assert!(start > 0);
    assert_eq!(lost(&us), [(start, start + 1)]);
    assert_eq!(holes, [(DropPolicy::Bytes, start), (DropPolicy::Damaged, 1)]);
}

#[test]
fn what_is_lost_is_so_until_retention_passes_it_also_where_a_run_ends_just_then() {
    let disk = headland_storage::MemoryDisk::new(7);
    let mut us = waited(short_of_room(&disk, "us", &["eu"]));
    fill(&mut us, 2, 0..4);
    damage(&us, &id(1));
    taken_by(&mut us, 5, "eu");
    let found = lost(&us);
    disk.crash(Survival::Nothing);
    let mut us = waited(short_of_room(&disk, "us", &["eu"]));
    let over_a_restart = lost(&us);

    fill(&mut us, 3, 4..80);

    assert_eq!((found, over_a_restart), (vec![(1, 2)], vec![(1, 2)]));
    assert!(us.start_of(EVENTS).get() > 2);
    assert_eq!(lost(&us), []);
    disk.crash(Survival::Nothing);
    assert_eq!(lost(&short_of_room(&disk, "us", &["eu"])), []);
}

#[test]
fn what_a_peer_lacks_stays_said_to_be_lost_when_retention_passes_it() {
    let disk = headland_storage::MemoryDisk::new(7);
    let eu = short_of_room(&disk, "eu", &["us"]);
    let mut net = Net::new([eu, end_on_new("us", &["eu"])]);
    net.meet(0, 1);
    net.talk(15);
    net.part(0, 1);
    fill(&mut net.hubs[0], 2, 0..4);
    damage(&net.hubs[0], &id(1));
    net.meet(0, 1);
    net.talk(5);

    for number in 4..60 {
        fill(&mut net.hubs[0], 100 + number, number..number + 1);
        net.talk(1);
    }
    net.talk(10);

    assert!(net.hubs[0].start_of(EVENTS).get() > 2);
    assert_eq!(lost(&net.hubs[0]), [(1, 2)]);
    let lacking = net.hubs[1].node.regions().lacking;
    let way_out = "no hub that takes part has said that it can send them";
    assert!(lacking.iter().all(|of| of.way_out.starts_with(way_out)), "{lacking:?}");
    assert_eq!(lacking.len(), 1);
}

#[test]
fn what_one_copy_lost_stays_lost_when_retention_passes_it_in_another_one() {
    let disk = headland_storage::MemoryDisk::new(7);
    let peers = ["ap", "sa"];
    let mut us = waited(short_of_room(&disk, "us", &peers));
    let stamp = |offset| stamp_of(("eu", Incarnation::new(3, 4)), Offset::new(offset));
    let over = |region: &str| {
        let eu: RegionId = "eu".parse().unwrap();
        (eu.clone(), vec![eu, region.parse().unwrap()])
    };
    let mut ap = Remote::hub(&mut us, 5, "ap");
    let channel = ap.offer_over(&mut us, EVENTS, over("ap"));
    for number in 0..4 {
        ap.publish_stamped(&mut us, channel, &[restocked(&id(number))], Some(stamp(number)));
    }
    damage(&us, &id(3));
    disk.crash(Survival::Nothing);
    let mut us = waited(short_of_room(&disk, "us", &peers));
    let found = lost(&us);

    let mut sa = Remote::hub(&mut us, 6, "sa");
    let channel = sa.offer_over(&mut us, EVENTS, over("sa"));
    for number in 0..60 {
        if number == 3 {
            sa.lose(&mut us, channel, 1, stamp(3));
            continue;
        }
        let text = format!("{{\"id\":\"{}\",\"text\":\"{}\"}}", id(number), "x".repeat(8 << 10));
        let records = [record("eu-1-till", &text)];
        sa.publish_stamped(&mut us, channel, &records, Some(stamp(number)));
        us.advance(1_000);
        us.talk(&mut sa);
    }

    assert_eq!(found, [(3, u64::MAX)]);
    assert!(us.start_of("sa.inventory.events").get() > 4);
    assert_eq!(us.start_of("ap.inventory.events").get(), 0);
    assert_eq!(lost(&us), [(3, 4), (60, u64::MAX)]);
}

#[test]
fn a_log_of_which_retention_let_go_what_a_peer_lacks_is_not_sent_to_it_once_more() {
    let disk = headland_storage::MemoryDisk::new(7);
    let eu = short_of_room(&disk, "eu", &["us"]);
    let mut net = Net::new([eu, end_on_new("us", &["eu"])]);
    net.talk(11);
    net.meet(0, 1);
    fill(&mut net.hubs[0], 2, 0..4);
    net.talk(5);
    net.part(0, 1);
    damage(&net.hubs[1], &id(1));
    forget_snapshots(&net.hubs[1]);
    let us = again(&net.hubs[1], "us", &["eu"]);
    net.replace(1, us);
    fill(&mut net.hubs[0], 3, 4..80);

    net.meet(0, 1);
    net.talk(20);

    let (_, _, link_id) = net.links[0];
    let handed_on = net.hubs[0].node.handed_on(link_id);
    assert!(net.hubs[0].start_of(EVENTS).get() > 2);
    assert!(!handed_on.gapped.is_empty(), "it lacks what counts at eu");
    assert!(handed_on.again.is_empty(), "{:?}", handed_on.again);
    fill(&mut net.hubs[0], 4, 80..82);
    net.talk(20);
    let again = net.hubs[1].values("handed-on.eu.inventory.events");
    assert_eq!(again, [""; 0]);
}

#[test]
fn what_is_composed_behind_the_damaged_end_of_a_copy_is_not_lost_with_it() {
    let mut us = waited(end_on_new("us", &["eu"]));
    let mut eu = Remote::hub(&mut us, 5, "eu");
    let channel = eu.offer(&mut us, EVENTS);
    (0..4).for_each(|number| eu.mirror(&mut us, channel, &[restocked(&id(number))]));
    us.cut_power_after(0);
    eu.mirror(&mut us, channel, &[restocked(&id(4))]);
    let (partition, from) = (partition("eu.inventory.events"), Offset::new(3));

    let until = Offset::new(u64::MAX);
    us.node.on_damaged_end(us.now, MissingOffsets { partition, from, until });

    assert_eq!(lost(&us), [(3, 4)]);
}
