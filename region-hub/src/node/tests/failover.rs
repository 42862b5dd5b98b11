//! A region that is left for another one, and returned to.

use headland_event::{GroupName, Offset, PartitionIndex, TopicName};
use headland_replication::frame::Goodbye;
use headland_replication::groups::Change;
use headland_replication::{CloseReason, LinkOutput, RefusalCode};

use super::hub::{CONFIG, Hub};
use super::remote::{Remote, record};
use crate::failover::FailoverAction;
use crate::groups::{OffsetsRequest, Place};
use crate::node::{FailoverError, GroupError};
use crate::session::SessionId;

const EVENTS: &str = "inventory.events";

fn config(region: &str, other: &str) -> String {
    let peer = format!("[[peer]]\nregion = \"{other}\"");
    let text = CONFIG.replace("[[peer]]\nregion = \"us\"", &peer);
    text.replacen("region = \"eu\"", &format!("region = \"{region}\""), 1)
}

fn pair() -> (Hub, Hub) {
    (Hub::configured(&config("eu", "us")), Hub::configured(&config("us", "eu")))
}

fn meet(eu: &mut Hub, us: &mut Hub, session: u64) {
    let session = SessionId::new(session);
    eu.meet(us, session);
    eu.talk_to(us, session);
}

fn fail(hub: &mut Hub, region: &str, action: FailoverAction) -> Result<(), FailoverError> {
    let ticket = hub.node.on_failover(hub.now, &region.parse().unwrap(), action)?;
    hub.settle();
    assert!(hub.node.is_durable(ticket));
    Ok(())
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
fn a_region_that_was_left_acknowledges_nothing_and_groups_go_on_elsewhere_and_come_back() {
    let (mut eu, mut us) = pair();
    meet(&mut eu, &mut us, 100);
    let link = SessionId::new(100);
    let mut agent = Remote::agent(&mut eu, 1);
    let channel = agent.offer(&mut eu, EVENTS);
    agent.publish(&mut eu, channel, &[record("eu-1-a", "{}"), record("eu-1-a", "{}")]);
    commit(&mut eu, EVENTS, 1).unwrap();
    eu.talk_to(&mut us, link);

    fail(&mut us, "eu", FailoverAction::Leave).unwrap();
    let before = us.node.has_heard(&"eu".parse().unwrap(), us.node.groups_end());
    eu.talk_to(&mut us, link);
    let heard = us.node.has_heard(&"eu".parse().unwrap(), us.node.groups_end());
    let put_off = eu.closed.clone();
    let mut again = Remote::agent(&mut eu, 2);
    again.take_log_of(agent);
    again.offer(&mut eu, EVENTS);
    let refused = commit(&mut eu, EVENTS, 2);
    commit(&mut us, "eu.inventory.events", 2).unwrap();
    eu.talk_to(&mut us, link);

    assert_eq!((before, heard), (Some(false), Some(true)));
    let reconfigured = CloseReason::Here(Goodbye::Reconfigured);
    assert_eq!(put_off, [(SessionId::new(1), reconfigured)]);
    assert_eq!(refusals(&again), [RefusalCode::NotAuthorised]);
    let why = "region eu was left for us; to return, ask there: headland failback eu";
    assert_eq!(refused, Err(GroupError::Left(why.to_owned())));
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
    let none = fail(&mut us, "eu", FailoverAction::Return);
    assert_eq!(none, Err(FailoverError::NotLeft { region: "eu".parse().unwrap() }));
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
