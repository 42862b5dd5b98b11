//! A region that is left for another one, and returned to.

use std::ops::Range;
use std::time::Duration;

use headland_event::{ChannelId, EventTime, GroupName, Offset, PartitionIndex, TopicName};
use headland_replication::frame::Goodbye;
use headland_replication::groups::Change;
use headland_replication::{CloseReason, LinkOutput, RefusalCode};
use headland_storage::MemoryDisk;

use super::hub::{CONFIG, Hub};
use super::remote::{Remote, at, record};
use crate::failover::{FailoverAction, FailoverStep};
use crate::groups::{OffsetsRequest, Place};
use crate::node::{FailoverError, GroupError};
use crate::peer_link::LinkId;

const EVENTS: &str = "inventory.events";

fn config(region: &str, other: &str) -> String {
    let peer = format!("[[peer]]\nregion = \"{other}\"");
    let text = CONFIG.replace("[[peer]]\nregion = \"us\"", &peer);
    text.replacen("region = \"eu\"", &format!("region = \"{region}\""), 1)
}

fn pair() -> (Hub, Hub) {
    (Hub::configured(&config("eu", "us")), Hub::configured(&config("us", "eu")))
}

fn meet(eu: &mut Hub, us: &mut Hub, link_id: u64) {
    let link_id = LinkId::new(link_id);
    eu.meet(us, link_id);
    eu.talk_to(us, link_id);
}

fn fail(hub: &mut Hub, region: &str, action: FailoverAction) -> Result<(), FailoverError> {
    let ticket = hub.node.on_failover(hub.now, &region.parse().unwrap(), action)?;
    hub.settle();
    assert!(ticket.is_none_or(|ticket| hub.node.is_durable(ticket)));
    Ok(())
}

/// Whether a region's hub has answered that it is as asked.
fn heard(hub: &Hub, region: &str, action: FailoverAction) -> bool {
    match hub.node.poll_failover(&region.parse().unwrap(), action, Duration::from_secs(5)) {
        FailoverStep::Done(view) => view.heard_there,
        FailoverStep::LookAgain(after) => panic!("to be asked again after {after:?}"),
    }
}

/// The region that a hub's own one was left for, as its status says.
fn left_for(hub: &Hub) -> Option<String> {
    hub.node.status().left_for.map(|to| to.to_string())
}

fn group() -> GroupName {
    GroupName::new("billing").unwrap()
}

fn commit(hub: &mut Hub, topic: &str, offset: u64) -> Result<(), GroupError> {
    let (topic, partition) = (TopicName::new(topic).unwrap(), PartitionIndex::new(0));
    let positions = vec![Place { topic, partition, offset: Offset::new(offset) }];
    let request = OffsetsRequest { change: Change::Commit, positions };
    let _ticket = hub.node.on_group(hub.now, &group(), &request)?;
    hub.settle();
    Ok(())
}

fn committed(hub: &Hub) -> Vec<u64> {
    hub.node.group(&group()).positions.iter().map(|at| at.committed.get()).collect()
}

fn refusals(agent: &Remote) -> Vec<RefusalCode> {
    let refused = agent.said.iter().filter_map(|said| match said {
        LinkOutput::OfferRefused { refusal, .. } => Some(refusal.code()),
        _ => None,
    });
    refused.collect()
}

#[test]
fn a_region_that_is_linked_is_waited_for_until_it_answers_and_five_seconds_at_most() {
    let (mut eu, mut us) = pair();
    let asked = |us: &Hub, waited| {
        let step = us.node.poll_failover(&"eu".parse().unwrap(), FailoverAction::Leave, waited);
        match step {
            FailoverStep::LookAgain(_) => None,
            FailoverStep::Done(view) => Some(view.heard_there),
        }
    };
    let (none, last) = (Duration::ZERO, Duration::from_millis(4_999));
    let (_, mut alone) = pair();
    meet(&mut eu, &mut us, 100);
    fail(&mut us, "eu", FailoverAction::Leave).unwrap();
    fail(&mut alone, "eu", FailoverAction::Leave).unwrap();
    let unlinked = asked(&alone, none);
    let linked = [none, last, Duration::from_secs(5)].map(|waited| asked(&us, waited));
    eu.talk_to(&mut us, LinkId::new(100));

    assert_eq!(unlinked, Some(false), "nobody is there to answer");
    assert_eq!(linked, [None, None, Some(false)]);
    assert_eq!(asked(&us, none), Some(true));
}

#[test]
fn a_region_that_was_left_acknowledges_nothing_and_groups_go_on_elsewhere_and_come_back() {
    let (mut eu, mut us) = pair();
    meet(&mut eu, &mut us, 100);
    let link = LinkId::new(100);
    let mut agent = Remote::agent(&mut eu, 1);
    let channel = agent.offer(&mut eu, EVENTS);
    agent.publish(&mut eu, channel, &[record("eu-1-a", "{}"), record("eu-1-a", "{}")]);
    commit(&mut eu, EVENTS, 1).unwrap();
    eu.talk_to(&mut us, link);

    fail(&mut us, "eu", FailoverAction::Leave).unwrap();
    let before = heard(&us, "eu", FailoverAction::Leave);
    eu.talk_to(&mut us, link);
    let after = heard(&us, "eu", FailoverAction::Leave);
    let put_off = eu.closed.clone();
    let mut again = Remote::agent(&mut eu, 2);
    again.take_log_of(agent);
    again.offer(&mut eu, EVENTS);
    let refused = commit(&mut eu, EVENTS, 2);
    let read = eu.node.reading(&group(), EVENTS);
    let deleted = eu.node.on_group_end(eu.now, &group());
    let of_eu = us.node.link(us.now, &"eu".parse().unwrap()).unwrap();
    let (status, link_says) = (left_for(&eu), of_eu.left_for.map(|to| to.to_string()));
    commit(&mut us, "eu.inventory.events", 2).unwrap();
    eu.talk_to(&mut us, link);

    assert_eq!((before, after), (false, true));
    let reconfigured = CloseReason::Here(Goodbye::Reconfigured);
    assert_eq!(put_off, [(LinkId::new(1), reconfigured)]);
    assert_eq!(refusals(&again), [RefusalCode::NotAuthorised]);
    let why = "region eu was left for us; to return, ask there: headland failback eu; if us is \
               lost, ask here: headland failback eu --force";
    assert_eq!(refused, Err(GroupError::Left(why.to_owned())));
    assert_eq!(read.map(drop), Err(GroupError::Left(why.to_owned())));
    assert_eq!(deleted.map(drop), Err(GroupError::Left(why.to_owned())));
    assert_eq!((status, link_says), (Some("us".to_owned()), Some("us".to_owned())));
    assert_eq!([&eu, &us].map(committed), [[2], [2]]);

    fail(&mut us, "eu", FailoverAction::Return).unwrap();
    eu.talk_to(&mut us, link);
    let mut third = Remote::agent(&mut eu, 3);
    third.take_log_of(again);
    let channel = third.offer(&mut eu, EVENTS);
    third.publish(&mut eu, channel, &[record("eu-1-a", "{}")]);
    eu.talk_to(&mut us, link);

    assert_eq!(refusals(&third), []);
    assert_eq!(eu.records(EVENTS).len(), 3);
    assert_eq!(commit(&mut eu, EVENTS, 3), Ok(()));
    assert_eq!(left_for(&eu), None);
}

#[test]
fn a_failover_that_is_asked_again_changes_nothing_and_says_what_it_came_to() {
    let (mut eu, mut us) = pair();
    meet(&mut eu, &mut us, 100);
    let none = fail(&mut us, "eu", FailoverAction::Return);
    fail(&mut us, "eu", FailoverAction::Leave).unwrap();
    eu.talk_to(&mut us, LinkId::new(100));
    us.restart(&config("us", "eu"));

    let written = us.entries("_groups").len();
    fail(&mut us, "eu", FailoverAction::Leave).unwrap();
    let left = (us.entries("_groups").len(), heard(&us, "eu", FailoverAction::Leave));

    assert_eq!(none, Err(FailoverError::NotLeft { region: "eu".parse().unwrap() }));
    assert_eq!(left, (written, true), "the answer is known after a crash too");
}

#[test]
fn what_was_committed_there_before_it_heard_is_here_once_it_has_answered() {
    let (mut eu, mut us) = pair();
    meet(&mut eu, &mut us, 100);
    let mut agent = Remote::agent(&mut eu, 1);
    let channel = agent.offer(&mut eu, EVENTS);
    agent.publish(&mut eu, channel, &[record("eu-1-a", "{}"), record("eu-1-a", "{}")]);
    eu.talk_to(&mut us, LinkId::new(100));

    fail(&mut us, "eu", FailoverAction::Leave).unwrap();
    commit(&mut eu, EVENTS, 2).unwrap();
    let asked = (committed(&us), heard(&us, "eu", FailoverAction::Leave));
    eu.talk_to(&mut us, LinkId::new(100));
    let answered = (committed(&us), heard(&us, "eu", FailoverAction::Leave));

    assert_eq!(asked, (vec![], false));
    assert_eq!(answered, (vec![2], true));
}

#[test]
fn a_hub_that_lost_the_number_is_not_heard_and_has_it_by_the_answer() {
    let (mut eu, mut us) = pair();
    meet(&mut eu, &mut us, 100);
    for action in [FailoverAction::Leave, FailoverAction::Return] {
        fail(&mut us, "eu", action).unwrap();
        eu.talk_to(&mut us, LinkId::new(100));
    }
    eu.node.on_disconnected(eu.now, LinkId::new(100));
    let mut us = Hub::start_as(8, &MemoryDisk::new(2), &config("us", "eu"), us.now).unwrap();

    fail(&mut us, "eu", FailoverAction::Leave).unwrap();
    meet(&mut eu, &mut us, 101);
    let ignored = (left_for(&eu), heard(&us, "eu", FailoverAction::Leave));
    fail(&mut us, "eu", FailoverAction::Leave).unwrap();
    eu.talk_to(&mut us, LinkId::new(101));

    assert_eq!(ignored, (None, false));
    assert_eq!(left_for(&eu).as_deref(), Some("us"));
    assert!(heard(&us, "eu", FailoverAction::Leave));
}

#[test]
fn of_two_regions_left_for_each_other_one_goes_on_and_a_return_ends_both() {
    let (mut eu, mut us) = pair();
    fail(&mut us, "eu", FailoverAction::Leave).unwrap();
    fail(&mut eu, "us", FailoverAction::Leave).unwrap();

    meet(&mut eu, &mut us, 100);
    let left = [&eu, &us].map(left_for);
    let heard_there = (heard(&us, "eu", FailoverAction::Leave), commit(&mut eu, EVENTS, 0));
    let refused = fail(&mut us, "eu", FailoverAction::Leave);
    fail(&mut eu, "us", FailoverAction::Return).unwrap();
    eu.talk_to(&mut us, LinkId::new(100));

    assert_eq!(left, [None, Some("eu".to_owned())]);
    assert_eq!(heard_there, (false, Ok(())));
    assert!(matches!(refused, Err(FailoverError::Left(_))), "{refused:?}");
    assert_eq!([&eu, &us].map(left_for), [None, None]);
}

#[test]
fn a_region_is_returned_to_where_groups_went_on_and_by_force_at_its_own_hub() {
    let (mut eu, mut us) = pair();
    meet(&mut eu, &mut us, 100);
    fail(&mut us, "eu", FailoverAction::Leave).unwrap();
    eu.talk_to(&mut us, LinkId::new(100));

    let own = fail(&mut eu, "eu", FailoverAction::Return);
    fail(&mut eu, "eu", FailoverAction::ForceReturn).unwrap();
    let forced = (left_for(&eu), heard(&eu, "eu", FailoverAction::ForceReturn));
    eu.talk_to(&mut us, LinkId::new(100));
    fail(&mut us, "eu", FailoverAction::Leave).unwrap();
    eu.talk_to(&mut us, LinkId::new(100));

    let (region, to) = ("eu".parse().unwrap(), "us".parse().unwrap());
    assert_eq!(own, Err(FailoverError::LeftFor { region, to }));
    assert_eq!(forced, (None, true));
    assert_eq!(left_for(&eu).as_deref(), Some("us"), "its number was heard, and is passed");
}

#[test]
fn a_region_that_was_left_while_it_was_away_hears_of_it_first_and_holds_to_it_over_a_crash() {
    let (mut eu, mut us) = pair();
    fail(&mut us, "eu", FailoverAction::Leave).unwrap();
    us.restart(&config("us", "eu"));
    let alone = commit(&mut eu, EVENTS, 0);

    meet(&mut eu, &mut us, 100);
    let met = commit(&mut eu, EVENTS, 0);
    eu.restart(&config("eu", "us"));
    let mut agent = Remote::agent(&mut eu, 1);
    agent.offer(&mut eu, EVENTS);

    assert_eq!(alone, Ok(()));
    assert!(matches!(met, Err(GroupError::Left(_))), "{met:?}");
    assert_eq!(refusals(&agent), [RefusalCode::NotAuthorised]);
}

#[test]
fn a_hub_leaves_neither_its_own_region_nor_one_it_has_no_link_to() {
    let (_, mut us) = pair();

    let own = fail(&mut us, "us", FailoverAction::Leave);
    let unknown = fail(&mut us, "ap", FailoverAction::Leave);

    let region = |name: &str| name.parse().unwrap();
    assert_eq!(own, Err(FailoverError::OwnRegion { region: region("us") }));
    let known = "eu".to_owned();
    assert_eq!(unknown, Err(FailoverError::NoRegion { region: region("ap"), known }));
}

/// Delivers so many restocks of 1 KiB each, ten in a batch, on from a number.
fn publish(hub: &mut Hub, agent: &mut Remote, channel: ChannelId, numbers: Range<u32>) {
    let note = "x".repeat(1_000);
    let restocks: Vec<_> = numbers
        .map(|n| {
            let id = format!(r#"{{"id":"eu-1/{n}","kind":"restock","device":"eu-1-till","#);
            let of = format!(r#""sku":"SKU-{n}","location":"eu-1","quantity":5,"note":"{note}","#);
            at("eu-1-till", EventTime::default(), &(id + &of + r#""time":"2010-12-01T08:06:00Z"}"#))
        })
        .collect();
    restocks.chunks(10).for_each(|batch| agent.publish(hub, channel, batch));
}

/// Bytes of batches of a topic at a hub, from an entry on.
fn bytes_from(hub: &Hub, topic: &str, entries: usize) -> u64 {
    let lengths = hub.entries(topic).into_iter().skip(entries).map(|e| e.batch.as_bytes().len());
    u64::try_from(lengths.sum::<usize>()).unwrap()
}

#[test]
fn after_a_failover_the_healed_link_ships_what_each_lacks_and_nothing_again() {
    for (tail, meanwhile) in [(20, 300), (200, 20), (0, 40)] {
        let (mut eu, mut us) = pair();
        meet(&mut eu, &mut us, 100);
        let mut agent = Remote::agent(&mut eu, 1);
        let channel = agent.offer(&mut eu, EVENTS);
        publish(&mut eu, &mut agent, channel, 0..500);
        eu.talk_to(&mut us, LinkId::new(100));
        let copied = us.entries("eu.inventory.events").len();
        for hub in [&mut eu, &mut us] {
            hub.node.on_disconnected(hub.now, LinkId::new(100));
            hub.settle();
        }

        // The region has more than was shipped when it is left; its agent goes on at the other.
        publish(&mut eu, &mut agent, channel, 500..500 + tail);
        fail(&mut us, "eu", FailoverAction::Leave).unwrap();
        let mut moved = Remote::agent(&mut us, 1);
        let there = moved.offer(&mut us, EVENTS);
        publish(&mut us, &mut moved, there, 1_000..1_000 + meanwhile);
        meet(&mut eu, &mut us, 101);
        fail(&mut us, "eu", FailoverAction::Return).unwrap();
        eu.talk_to(&mut us, LinkId::new(101));

        let delta = bytes_from(&us, "eu.inventory.events", copied)
            + bytes_from(&eu, "us.inventory.events", 0);
        let shipped: u64 = [&eu, &us].map(|hub| hub.shipped[&LinkId::new(101)]).iter().sum();
        assert!(delta > u64::from(tail + meanwhile) * 1_000, "{delta}");
        assert!(shipped <= delta * 12 / 10, "shipped {shipped} of a delta of {delta}");
        assert_eq!(left_for(&eu), None);
        assert_eq!(us.entries("eu.inventory.events"), eu.entries(EVENTS), "an exact copy");
        assert_eq!(eu.entries("us.inventory.events"), us.entries(EVENTS), "an exact copy");
        let all = usize::try_from(500 + tail + meanwhile).unwrap();
        assert_eq!(us.records("eu.inventory.events").len() + us.records(EVENTS).len(), all);
        let stock = [&eu, &us].map(|hub| hub.node.inventory().fingerprint());
        assert_eq!(stock[0], stock[1]);
    }
}
