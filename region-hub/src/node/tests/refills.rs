//! What damage takes from ordinary topics comes back from hubs that have it, at its offsets.

use headland_event::{
    Batch, ByteCount, Entry, Hole, Incarnation, Lane, Offset, PartitionIndex, Record,
};
use headland_replication::frame::{RefillAsk, RefillPart};
use headland_replication::{LinkOutput, Offer};
use headland_storage::{MemoryDisk, Survival};

use super::damage::damage;
use super::handing::{Net, at_start};
use super::hub::{CONFIG, Hub};
use super::remote::{Remote, partition, record};

pub(super) const AIR: &str = "air";

/// The configuration of a region's hub with an ordinary topic, and the others as its peers.
pub(super) fn config(region: &str, peers: &[&str], offered: &str) -> String {
    let peer = |peer: &&str| {
        let name = format!("[[peer]]\nregion = \"{peer}\"\nname = \"hub-1\"\n");
        format!("{name}address = \"none:1\"\ntopics = [\"{offered}\"]\n")
    };
    let peers: String = peers.iter().map(peer).collect();
    let text = CONFIG.replace("region = \"eu\"", &format!("region = \"{region}\""));
    let text = text.replace("topics = [\"inventory.events\"", "topics = [\"air\"");
    let (before, after) = text.split_once("[[peer]]").unwrap();
    let (_, agents) = after.split_once("[[agent]]").unwrap();
    let topic = "[[topic]]\nname = \"air\"\nlane = \"telemetry\"\npartitions = 1\n";
    // Only what needs no replay is written anew.
    let storage = "storage = { snapshot_after = \"1s\" }\n";
    format!("{storage}{before}{topic}{peers}[[agent]]{agents}")
}

pub(super) fn started(region: &str, peers: &[&str]) -> Hub {
    let text = config(region, peers, "*");
    Hub::start_as(7, &MemoryDisk::new(7), &text, at_start()).unwrap()
}

/// The power of a hub fails, which goes on with its disk.
pub(super) fn again(hub: &Hub, region: &str, peers: &[&str]) -> Hub {
    let disk = hub.disk().clone();
    disk.crash(Survival::Everything);
    Hub::start_as(7, &disk, &config(region, peers, "*"), hub.now).unwrap()
}

/// What a record says; those above nine are so large that snapshots follow them.
pub(super) fn text(number: u64) -> String {
    let padding = if number > 9 { "x".repeat(40_000) } else { String::new() };
    format!("air/{number}.{padding}")
}

/// An agent of a hub writes records, each in a commit of its own.
pub(super) fn write(hub: &mut Hub, life: u64, numbers: std::ops::Range<u64>) {
    let mut agent = Remote::agent_in(hub, 10_000 + life, Incarnation::new(1, life));
    let channel = agent.offer(hub, AIR);
    for number in numbers {
        agent.publish(hub, channel, &[record("eu-1-air", &text(number))]);
    }
    hub.node.on_disconnected(hub.now, agent.link_id);
}

pub(super) fn missing(hub: &Hub) -> Vec<String> {
    let of = hub.node.status().missing.into_iter();
    of.map(|lost| format!("{} {}..{} {:?}", lost.partition, lost.from, lost.until, lost.not_at))
        .collect()
}

/// The hub of `eu`, which lost its third record of five and goes on, and what it held.
fn hurt(peers: &[&str], offered: &str) -> (Hub, Vec<Entry>) {
    let mut eu = started("eu", peers);
    write(&mut eu, 1, 0..5);
    let held = eu.entries(AIR);
    damage(&eu, &text(2));
    let disk = eu.disk().clone();
    disk.crash(Survival::Everything);
    let mut eu = Hub::start_as(7, &disk, &config("eu", peers, offered), eu.now).unwrap();
    eu.settle();
    write(&mut eu, 2, 5..6);
    assert_eq!(missing(&eu), ["air/0 2..3 []"]);
    (eu, held)
}

/// Lets so many seconds go by.
pub(super) fn wait(hub: &mut Hub, remote: &mut Remote, seconds: u64) {
    for _ in 0..seconds {
        hub.advance(1_000);
        hub.talk(remote);
    }
}

/// Lets a hub write now and then, so that what was before needs no replay.
fn go_on(hub: &mut Hub, remote: &mut Remote, lives: std::ops::Range<u64>) {
    for life in lives {
        write(hub, life, life + 10..life + 11);
        wait(hub, remote, 11);
    }
}

/// The same of all, of whom the first writes.
pub(super) fn all_go_on(net: &mut Net, lives: std::ops::Range<u64>) {
    for life in lives {
        write(&mut net.hubs[0], life, life + 10..life + 11);
        net.talk(11);
    }
}

/// A hub says that it reads what is asked about lost ranges.
pub(super) fn offer_refills(hub: &mut Hub, remote: &mut Remote) {
    let region: headland_event::RegionId = "us".parse().unwrap();
    let source = partition("_refills");
    let offer = Offer {
        origin: region.clone(),
        origin_topic: source.topic.clone(),
        source,
        path: vec![region],
        lane: Lane::State,
        start: Offset::new(0),
        head: Offset::new(0),
    };
    remote.link.announce(offer).unwrap();
    hub.talk(remote);
}

/// What a hub was asked.
pub(super) fn asked(remote: &Remote) -> Vec<RefillAsk> {
    let asked = remote.said.iter().filter_map(|said| match said {
        LinkOutput::RefillAsked(ask) => Some(ask.clone()),
        _ => None,
    });
    asked.collect()
}

/// Answers the last question with these entries.
pub(super) fn answer(hub: &mut Hub, remote: &mut Remote, entries: Vec<Entry>) {
    let number = asked(remote).last().unwrap().number;
    for entry in entries.into_iter().map(Some).chain([None]) {
        remote.link.answer_refill(RefillPart { number, entry });
    }
    hub.talk(remote);
}

/// Regions that the hub's alerts say to have sent something else.
fn accused(hub: &Hub) -> Vec<String> {
    let alerts = hub.alerts().into_iter().filter(|alert| alert.rule == "refused_refill");
    alerts.map(|alert| alert.values["region"].clone()).collect()
}

/// Each region with its peers.
const REGIONS: [(&str, [&str; 2]); 3] =
    [("eu", ["us", "ap"]), ("us", ["eu", "ap"]), ("ap", ["eu", "us"])];

/// Connects all, with new connections where there are some.
fn meet_all(net: &mut Net) {
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        if net.links.iter().any(|link| (link.0, link.1) == (one, other)) {
            net.part(one, other);
        }
        net.meet(one, other);
    }
}

/// Three hubs that hold five records of the first, and what that one and the second hold.
fn three() -> (Net, Vec<Entry>, Vec<Entry>) {
    let mut net = Net::new(REGIONS.map(|(region, peers)| started(region, &peers)));
    meet_all(&mut net);
    write(&mut net.hubs[0], 1, 0..5);
    net.talk(5);
    let (held, copied) = (net.hubs[0].entries(AIR), net.hubs[1].entries("eu.air"));
    assert_eq!((held.len(), copied.len()), (5, 5));
    (net, held, copied)
}

/// Starts the first two hubs again.
fn start_two_again(net: &mut Net) {
    for (at, (region, peers)) in REGIONS.iter().enumerate().take(2) {
        let hub = again(&net.hubs[at], region, peers);
        net.replace(at, hub);
    }
}

#[test]
fn what_is_damaged_at_the_origin_and_at_a_copy_comes_back_to_both_at_its_offsets() {
    let (mut net, held, copied) = three();
    // What was written is in closed files from here on, and is read again by nobody but a scrub.
    start_two_again(&mut net);
    write(&mut net.hubs[0], 2, 5..6);
    meet_all(&mut net);
    all_go_on(&mut net, 3..5);
    let lives = [0, 1].map(|at| net.hubs[at].node.incarnation);
    (0..2).for_each(|at| damage(&net.hubs[at], &text(2)));
    let (eu, us) = (net.hubs.remove(0), net.hubs.remove(0));
    let rate = ByteCount::mebibytes(64);
    net.hubs.splice(0..0, [eu.scrubbing(rate), us.scrubbing(rate)]);

    all_go_on(&mut net, 5..20);

    assert_eq!([0, 1].map(|at| net.hubs[at].node.incarnation), lives);

    assert_eq!(net.hubs[0].entries(AIR)[..5], held[..]);
    assert_eq!(net.hubs[1].entries("eu.air")[..5], copied[..]);
    for hub in &net.hubs {
        assert_eq!(missing(hub), [""; 0]);
        assert_eq!(hub.node.audit.counts().faults, 0);
        assert_eq!(accused(hub), [""; 0]);
    }
    let expected: Vec<String> = (0..6).chain(13..30).map(text).collect();
    assert_eq!(net.hubs[0].texts(AIR), expected);
    assert_eq!(net.hubs[1].texts("eu.air"), expected);
    assert_eq!(net.hubs[2].texts("eu.air"), expected);
    let damaged = |hub: &Hub| hub.alerts().iter().filter(|of| of.rule == "damaged_log").count();
    assert!((0..2).all(|at| damaged(&net.hubs[at]) > 0), "a scrub found it");
}

#[test]
fn what_a_life_lost_comes_back_from_copies_of_it_though_the_next_life_sends_all_again() {
    let (mut net, held, copied) = three();
    (0..2).for_each(|at| damage(&net.hubs[at], &text(2)));
    let life = net.hubs[0].node.incarnation;
    start_two_again(&mut net);
    assert_ne!(net.hubs[0].node.incarnation, life, "a start met the damage");
    assert_eq!(missing(&net.hubs[0]), ["air/0 2..3 []"]);
    assert_eq!(missing(&net.hubs[1]), ["eu.air/0 2..3 []"]);
    write(&mut net.hubs[0], 2, 5..6);

    meet_all(&mut net);
    all_go_on(&mut net, 3..9);

    assert_eq!(net.hubs[0].entries(AIR)[..5], held[..]);
    assert_eq!(net.hubs[1].entries("eu.air")[..5], copied[..]);
    for hub in &net.hubs {
        assert_eq!(missing(hub), [""; 0]);
        assert_eq!(accused(hub), [""; 0]);
    }
}

#[test]
fn the_lost_end_of_a_log_comes_back_from_a_copy_though_the_next_life_goes_on_behind_it() {
    let mut net = Net::new([started("eu", &["us"]), started("us", &["eu"])]);
    net.meet(0, 1);
    write(&mut net.hubs[0], 1, 0..5);
    let held = net.hubs[0].entries(AIR);
    net.talk(5);
    net.part(0, 1);
    (3..5).for_each(|number| damage(&net.hubs[0], &text(number)));
    let eu = again(&net.hubs[0], "eu", &["us"]);
    net.replace(0, eu);
    write(&mut net.hubs[0], 2, 5..8);
    assert!(missing(&net.hubs[0])[0].starts_with("air/0 3.."), "{:?}", missing(&net.hubs[0]));

    net.meet(0, 1);
    all_go_on(&mut net, 3..6);

    let expected: Vec<String> = (0..8).chain(13..16).map(text).collect();
    assert!(net.hubs[0].texts(AIR) == expected);
    assert_eq!(net.hubs[0].entries(AIR)[..5], held);
}

#[test]
fn what_no_hub_has_stays_lost_and_who_was_asked_is_said() {
    let (eu, _) = hurt(&["us"], "*");
    let mut net = Net::new([eu, started("us", &["eu"])]);

    net.meet(0, 1);
    net.talk(30);

    assert_eq!(missing(&net.hubs[0]), ["air/0 2..3 [\"us\"]"]);
    let copied = net.hubs[1].entries("eu.air");
    let holes = copied.iter().filter(|entry| Hole::of(&entry.batch).is_some());
    assert_eq!(holes.map(|hole| hole.base.get()).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_copy_that_has_a_hole_is_not_doubled_by_what_its_origin_gets_back() {
    let (eu, held) = hurt(&["us"], "*");
    let mut net = Net::new([eu, started("us", &["eu"])]);
    net.meet(0, 1);
    net.talk(5);
    let copied = net.hubs[1].entries("eu.air");

    let refill = headland_storage::Refill { partition: partition(AIR), entry: held[2].clone() };
    net.hubs[0].perform(crate::node::Output::Refill(refill));
    all_go_on(&mut net, 3..9);

    assert_eq!(net.hubs[0].entries(AIR)[..5], held[..]);
    assert_eq!(missing(&net.hubs[0]), [""; 0]);
    let after = net.hubs[1].entries("eu.air");
    assert_eq!((after.len(), &after[..6]), (12, &copied[..]));
    assert_eq!(net.hubs[1].node.audit.counts().faults, 0);
}

#[test]
fn a_hub_that_sends_something_else_is_named_and_it_is_not_taken() {
    let (mut eu, held) = hurt(&["us"], "*");
    let mut us = Remote::hub(&mut eu, 2, "us");
    offer_refills(&mut eu, &mut us);
    wait(&mut eu, &mut us, 1);
    let ask = asked(&us).pop().unwrap();
    assert_eq!((ask.from.get(), ask.until.get(), ask.topic.as_str()), (2, 3, AIR));
    let lie = Record { value: Some("air/7.".into()), ..held[2].batch.records().unwrap().remove(0) };

    let batch = Batch::encode(&[lie]).unwrap();
    answer(&mut eu, &mut us, vec![Entry { batch, ..held[2].clone() }]);
    go_on(&mut eu, &mut us, 3..8);

    assert_eq!(accused(&eu), ["us"]);
    assert_eq!(missing(&eu), ["air/0 2..3 []"]);
    assert_eq!(asked(&us).len(), 1, "it is not asked for that again");
    assert_eq!(eu.entries(AIR).len(), 10);
}

#[test]
fn what_is_of_other_offsets_or_of_another_life_is_refused_before_the_log_sees_it() {
    for is_life in [true, false] {
        let (mut eu, held) = hurt(&["us"], "*");
        let mut us = Remote::hub(&mut eu, 2, "us");
        offer_refills(&mut eu, &mut us);
        wait(&mut eu, &mut us, 1);
        let mut entry = held[2].clone();
        let stamp = entry.stamp.as_mut().unwrap();
        if is_life {
            stamp.actor.incarnation = Incarnation::new(9, 9);
        } else {
            stamp.offset = Offset::new(3);
        }

        answer(&mut eu, &mut us, vec![entry]);
        wait(&mut eu, &mut us, 20);

        assert_eq!(accused(&eu), ["us"]);
        assert_eq!(missing(&eu), ["air/0 2..3 [\"us\"]"]);
    }
}

#[test]
fn what_a_hub_has_comes_back_from_it_whatever_it_calls_it() {
    let (mut eu, held) = hurt(&["us"], "*");
    let mut us = Remote::hub(&mut eu, 2, "us");
    offer_refills(&mut eu, &mut us);
    wait(&mut eu, &mut us, 1);

    answer(&mut eu, &mut us, vec![Entry { base: Offset::new(700), ..held[2].clone() }]);
    go_on(&mut eu, &mut us, 3..8);

    assert_eq!(eu.entries(AIR)[..5], held[..]);
    assert_eq!(missing(&eu), [""; 0]);
}

#[test]
fn a_hub_of_an_earlier_version_is_not_asked_and_keeps_its_link() {
    let (mut eu, _) = hurt(&["us"], "*");
    let mut us = Remote::hub(&mut eu, 2, "us");

    us.subscribe_all();
    wait(&mut eu, &mut us, 4);

    assert_eq!(asked(&us), []);
    assert_eq!(eu.closed, []);
    assert_eq!(missing(&eu), ["air/0 2..3 []"]);
}

#[test]
fn a_hub_is_given_back_only_what_its_link_takes() {
    for (offered, expected) in [("*", 4), ("inventory.*", 0)] {
        let (mut eu, held) = hurt(&["us"], offered);
        let mut us = Remote::hub(&mut eu, 2, "us");
        let actor = held[0].stamp.as_ref().unwrap().actor.clone();
        us.link.ask_refill(RefillAsk {
            number: 4,
            origin: actor.region,
            topic: partition(AIR).topic,
            partition: PartitionIndex::new(0),
            life: actor.incarnation,
            from: Offset::new(0),
            until: Offset::new(1_000),
        });
        eu.talk(&mut us);

        let parts = us.said.iter().filter_map(|said| match said {
            LinkOutput::Refilled(part) => Some(part.entry.clone()),
            _ => None,
        });
        let parts: Vec<Option<Entry>> = parts.collect();
        assert_eq!(parts.last(), Some(&None), "{offered}");
        assert_eq!(parts.len() - 1, expected, "all of that life but the lost one, {offered}");
    }
}

#[test]
fn a_hub_that_sends_nothing_new_and_does_not_end_is_not_waited_for() {
    let (mut eu, held) = hurt(&["us"], "*");
    let mut us = Remote::hub(&mut eu, 2, "us");
    offer_refills(&mut eu, &mut us);
    wait(&mut eu, &mut us, 1);
    let number = asked(&us).last().unwrap().number;

    for _ in 0..3 {
        us.link.answer_refill(RefillPart { number, entry: Some(held[2].clone()) });
        eu.talk(&mut us);
    }
    wait(&mut eu, &mut us, 1);

    // The first was what was lost; who says it again is not believed any more.
    assert_eq!(accused(&eu), ["us"]);
    assert!(eu.node.refills.search.is_none(), "{:?}", eu.node.refills);
}

#[test]
fn an_agent_is_not_answered() {
    let (mut eu, _) = hurt(&["us"], "*");
    let mut agent = Remote::agent_in(&mut eu, 20_000, Incarnation::new(1, 77));
    let region = eu.region().clone();
    for number in 0..50 {
        agent.link.ask_refill(RefillAsk {
            number,
            origin: region.clone(),
            topic: partition(AIR).topic,
            partition: PartitionIndex::new(0),
            life: eu.node.incarnation,
            from: Offset::new(0),
            until: Offset::new(1_000),
        });
        eu.talk(&mut agent);
    }

    let is_part = |said: &LinkOutput| matches!(said, LinkOutput::Refilled(_));
    assert!(!agent.said.iter().any(is_part), "{:?}", agent.said);
}

#[test]
fn more_than_is_gathered_at_once_comes_back_bit_by_bit() {
    let padding = "x".repeat(700_000);
    let mut net = Net::new([started("eu", &["us"]), started("us", &["eu"])]);
    net.meet(0, 1);
    let eu = &mut net.hubs[0];
    let mut agent = Remote::agent_in(eu, 10_001, Incarnation::new(1, 1));
    let channel = agent.offer(eu, AIR);
    for number in 0..20 {
        let text = format!("air/{number}.{padding}");
        agent.publish(eu, channel, &[record("eu-1-air", &text)]);
    }
    eu.node.on_disconnected(eu.now, agent.link_id);
    net.talk(20);
    let held = net.hubs[0].entries(AIR);
    assert_eq!((held.len(), net.hubs[1].entries("eu.air").len()), (20, 20));
    (1..19).for_each(|number| damage(&net.hubs[0], &format!("air/{number}.x")));
    let eu = again(&net.hubs[0], "eu", &["us"]);
    net.replace(0, eu);
    assert_eq!(missing(&net.hubs[0]), ["air/0 1..19 []"]);
    net.meet(0, 1);

    let mut most = 0;
    for life in 3..40 {
        write(&mut net.hubs[0], life, life + 20..life + 21);
        for _ in 0..11 {
            net.talk(1);
            most = most.max(net.hubs[0].node.refills.gathered_bytes);
        }
    }

    assert_eq!(missing(&net.hubs[0]), [""; 0]);
    assert_eq!(net.hubs[0].entries(AIR)[..20], held[..]);
    assert!(most < 10 << 20, "{most}");
    assert_eq!(accused(&net.hubs[0]), [""; 0]);
}
