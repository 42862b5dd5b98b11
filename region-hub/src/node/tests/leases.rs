//! Three regions that look after each other.

use headland_event::{GroupName, PartitionIndex, TopicName};
use headland_replication::groups::Change;
use headland_replication::{Ended, LinkOutput, RefusalCode};
use headland_storage::Survival;

use super::hub::{CONFIG, Hub};
use super::remote::{Remote, record};
use crate::failover::FailoverAction;
use crate::groups::{OffsetsRequest, Place};
use crate::node::{FailoverError, GroupError};
use crate::peer_link::LinkId;

const EVENTS: &str = "inventory.events";

/// How far the clock goes in a step, in milliseconds.
const STEP: u64 = 100;

const PAIRS: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 2)];
const REGIONS: [&str; 3] = ["eu", "us", "ap"];

fn config(region: &str, failover: &str) -> String {
    let peers = REGIONS.iter().filter(|other| **other != region);
    let peers = peers.map(|other| format!("[[peer]]\nregion = \"{other}\"\nname = \"hub-1\"\n"));
    let peers: String = peers.collect();
    let known = "[[peer]]\nregion = \"us\"\nname = \"hub-1\"\naddress = \"none:1\"\n";
    let text = CONFIG.replace(known, &format!("{failover}{peers}"));
    text.replacen("region = \"eu\"", &format!("region = \"{region}\""), 1)
}

fn automatic(more: &str) -> String {
    format!("[failover]\nregions = {REGIONS:?}\nautomatic = true\n{more}")
}

/// Three hubs and the links between them that are up.
struct World {
    hubs: [Hub; 3],
    links: Vec<((usize, usize), LinkId)>,
    next: u64,
}

impl World {
    fn new(failover: [&str; 3]) -> Self {
        let mut at = 0;
        let hubs = REGIONS.map(|region| {
            let text = config(region, failover[at]);
            at += 1;
            Hub::configured(&text)
        });
        let mut world = Self { hubs, links: Vec::new(), next: 100 };
        PAIRS.into_iter().for_each(|pair| world.link(pair));
        world
    }

    fn link(&mut self, (one, other): (usize, usize)) {
        let link_id = LinkId::new(self.next);
        self.next += 1;
        let [one_hub, other_hub] = self.hubs.get_disjoint_mut([one, other]).unwrap();
        one_hub.meet(other_hub, link_id);
        self.links.push(((one, other), link_id));
        self.talk();
    }

    fn cut_off(&mut self, of: usize) {
        let (gone, left) =
            self.links.iter().partition(|((one, other), _)| [one, other].contains(&&of));
        self.links = left;
        let gone: Vec<((usize, usize), LinkId)> = gone;
        for ((one, other), link_id) in gone {
            for at in [one, other] {
                let hub = &mut self.hubs[at];
                hub.node.on_lost(hub.now, link_id, Ended::Lost, "cut");
            }
        }
    }

    fn talk(&mut self) {
        for _ in 0..6 {
            for ((one, other), link_id) in self.links.clone() {
                let [one, other] = self.hubs.get_disjoint_mut([one, other]).unwrap();
                one.talk_to(other, link_id);
            }
        }
        self.hubs.iter_mut().for_each(Hub::settle);
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis / STEP {
            self.hubs.iter_mut().for_each(|hub| hub.advance(STEP));
            self.talk();
        }
    }

    fn in_use(&self) -> [bool; 3] {
        [0, 1, 2].map(|at| self.hubs[at].node.lease_status().unwrap().in_use)
    }

    /// Where each hub knows a region to be left for.
    fn left_for(&self, region: &str) -> [Option<String>; 3] {
        let region = region.parse().unwrap();
        [0, 1, 2].map(|at| self.hubs[at].node.left_for(&region).map(ToString::to_string))
    }
}

fn commit(hub: &mut Hub, topic: &str, offset: u64) -> Result<(), GroupError> {
    let (topic, partition) = (TopicName::new(topic).unwrap(), PartitionIndex::new(0));
    let offset = headland_event::Offset::new(offset);
    let positions = vec![Place { topic, partition, offset }];
    let request = OffsetsRequest { change: Change::Commit, positions };
    let group = GroupName::new("billing").unwrap();
    let _ticket = hub.node.on_group(hub.now, &group, &request)?;
    hub.settle();
    Ok(())
}

fn refusals(agent: &Remote) -> Vec<RefusalCode> {
    let refused = agent.said.iter().filter_map(|said| match said {
        LinkOutput::OfferRefused { refusal, .. } => Some(refusal.code()),
        _ => None,
    });
    refused.collect()
}

fn acked(agent: &Remote) -> usize {
    agent.said.iter().filter(|said| matches!(said, LinkOutput::Acked { .. })).count()
}

#[test]
fn a_region_that_is_cut_off_takes_nothing_and_is_left_and_returned_to_by_itself() {
    let failover = automatic("failback = \"automatic\"\nfailback_after = \"20s\"\n");
    let mut world = World::new([&failover, &failover, &failover]);
    world.run(1_000);
    let began = world.in_use();
    let mut agent = Remote::agent(&mut world.hubs[0], 1);
    let channel = agent.offer(&mut world.hubs[0], EVENTS);
    agent.publish(&mut world.hubs[0], channel, &[record("eu-1-a", "{}"), record("eu-1-a", "{}")]);
    commit(&mut world.hubs[0], EVENTS, 1).unwrap();
    world.run(1_000);

    world.cut_off(0);
    world.run(10_000);
    let cut = (world.in_use(), world.left_for("eu"));
    let refused = commit(&mut world.hubs[0], EVENTS, 2);
    let mut again = Remote::agent(&mut world.hubs[0], 2);
    again.take_log_of(agent);
    again.offer(&mut world.hubs[0], EVENTS);
    let alerts: Vec<String> = world.hubs[1]
        .alerts()
        .into_iter()
        .map(|alert| format!("{} {}", alert.rule, alert.key))
        .collect();
    let went_on = commit(&mut world.hubs[1], "eu.inventory.events", 2);
    world.link((0, 1));
    world.link((0, 2));
    world.run(5_000);
    let back = (world.in_use(), world.left_for("eu"));
    world.run(30_000);
    let mut third = Remote::agent(&mut world.hubs[0], 3);
    third.take_log_of(again);
    let channel = third.offer(&mut world.hubs[0], EVENTS);
    third.publish(&mut world.hubs[0], channel, &[record("eu-1-a", "{}")]);

    assert_eq!(began, [true; 3]);
    let us = Some("us".to_owned());
    assert_eq!(cut, ([false, true, true], [None, us.clone(), us.clone()]));
    assert!(matches!(refused, Err(GroupError::Left(_))), "{refused:?}");
    assert_eq!(refusals(&third), []);
    assert_eq!((alerts, went_on), (vec!["failover eu".to_owned()], Ok(())));
    assert_eq!(back, ([false, true, true], [us.clone(), us.clone(), us]));
    assert_eq!((world.in_use(), world.left_for("eu")), ([true; 3], [None, None, None]));
    assert_eq!(world.hubs[0].records(EVENTS).len(), 3);
    assert_eq!(commit(&mut world.hubs[0], EVENTS, 3), Ok(()));
}

#[test]
fn what_is_stored_without_a_lease_is_not_acknowledged_and_is_not_stored_again() {
    let failover = automatic("");
    let mut world = World::new([&failover, &failover, &failover]);
    world.run(1_000);
    let mut agent = Remote::agent(&mut world.hubs[0], 1);
    let channel = agent.offer(&mut world.hubs[0], EVENTS);
    agent.publish(&mut world.hubs[0], channel, &[record("eu-1-a", "{}")]);
    let before = acked(&agent);

    world.cut_off(0);
    let hub = &mut world.hubs[0];
    // Its clock has not been looked at since.
    hub.now.monotonic = hub.now.monotonic.after(std::time::Duration::from_secs(4));
    agent.publish(hub, channel, &[record("eu-1-a", "{}")]);
    let (stored, without) = (hub.records(EVENTS).len(), acked(&agent));
    world.link((0, 1));
    world.run(1_000);
    let mut again = Remote::agent(&mut world.hubs[0], 2);
    again.take_log_of(agent);
    again.offer(&mut world.hubs[0], EVENTS);

    assert_eq!((stored, without), (2, before));
    assert!(acked(&again) > 0);
    assert_eq!(world.hubs[0].records(EVENTS).len(), 2);
}

#[test]
fn a_hub_without_leases_hears_nothing_of_them_and_the_others_need_it() {
    let failover = automatic("");
    let mut world = World::new([&failover, &failover, ""]);

    world.run(20_000);

    let topics: Vec<String> =
        world.hubs[2].node.topics().iter().map(|topic| topic.name.to_string()).collect();
    assert!(topics.iter().all(|name| !name.contains("_leases")), "{topics:?}");
    let [eu, us] = [0, 1].map(|at| world.hubs[at].node.lease_status().unwrap());
    assert_eq!([eu.in_use, us.in_use], [false; 2], "not all have told what was said before");
    assert_eq!(eu.voters, ["us".parse().unwrap()]);
    assert_eq!(world.links.len(), 3);
    assert!(world.hubs.iter().all(|hub| hub.closed.is_empty()));
}

#[test]
fn agents_of_a_hub_that_starts_wait_for_its_lease_and_are_refused_when_it_gets_none() {
    let failover = automatic("");
    let mut world = World::new([&failover, &failover, &failover]);
    world.run(1_000);
    world.cut_off(0);
    world.hubs[0].restart(&config("eu", &failover));

    let mut first = Remote::agent(&mut world.hubs[0], 1);
    let channel = first.offer(&mut world.hubs[0], EVENTS);
    first.publish(&mut world.hubs[0], channel, &[record("eu-1-a", "{}")]);
    let waiting = (refusals(&first), world.hubs[0].records(EVENTS).len());
    world.link((0, 1));
    world.run(1_000);
    world.hubs[0].talk(&mut first);
    let answered = (refusals(&first), world.hubs[0].records(EVENTS).len());

    assert_eq!(waiting, (vec![], 0));
    assert_eq!(answered, (vec![], 1), "over the same connection");
    assert_eq!(world.hubs[0].closed, []);

    world.cut_off(0);
    world.hubs[0].restart(&config("eu", &failover));
    let mut second = Remote::agent(&mut world.hubs[0], 2);
    second.offer(&mut world.hubs[0], EVENTS);
    world.hubs[0].advance(1_900);
    world.hubs[0].talk(&mut second);
    let early = refusals(&second);
    world.hubs[0].advance(200);
    world.hubs[0].talk(&mut second);

    assert_eq!((early, refusals(&second)), (vec![], vec![RefusalCode::NotAuthorised]));
}

#[test]
fn a_hub_remembers_over_a_crash_what_it_has_said_and_goes_on() {
    let failover = automatic("");
    let mut world = World::new([&failover, &failover, &failover]);
    world.run(1_000);

    world.cut_off(2);
    world.hubs[2].restart(&config("ap", &failover));
    world.link((0, 2));
    world.run(1_000);

    let status = world.hubs[2].node.lease_status().unwrap();
    assert!(status.votes, "it need not meet all again");
    assert_eq!(world.in_use(), [true; 3]);
}

#[test]
fn an_operator_does_not_leave_a_region_that_others_have_begun_to_leave() {
    let failover = automatic("");
    let mut world = World::new([&failover, &failover, &failover]);
    world.run(1_000);

    world.cut_off(0);
    world.run(4_400);
    // It asks who agrees, and nobody hears it.
    world.cut_off(2);
    world.run(1_000);
    let us = &mut world.hubs[1];
    let region: headland_event::RegionId = "eu".parse().unwrap();
    let refused = us.node.on_failover(us.now, &region, FailoverAction::Leave);

    assert_eq!(refused, Err(FailoverError::Begun { region }));
    assert_eq!(world.left_for("eu"), [None, None, None]);
}

#[test]
fn a_hub_whose_disk_is_full_asks_for_no_lease_and_is_left() {
    let failover = automatic("");
    let mut world = World::new([&failover, &failover, &failover]);
    world.run(1_000);

    world.hubs[0].node.on_full();
    world.run(10_000);

    assert_eq!(world.in_use(), [false, true, true]);
    assert_eq!(world.left_for("eu")[1].as_deref(), Some("us"));
}

#[test]
fn a_region_that_is_not_automatic_any_more_is_in_use_once_others_know() {
    let failover = automatic("");
    let mut world = World::new([&failover, &failover, &failover]);
    world.run(1_000);

    world.cut_off(0);
    world.hubs[0].restart(&config("eu", &failover.replace("true", "false")));
    world.run(1_000);
    let alone = world.in_use();
    let refused = commit(&mut world.hubs[0], EVENTS, 0);
    world.link((0, 2));
    world.run(1_000);

    assert_eq!(alone, [false, true, true]);
    assert!(matches!(refused, Err(GroupError::Left(_))), "{refused:?}");
    assert_eq!(world.in_use(), [true; 3]);
}

#[test]
fn an_agent_whose_word_was_withheld_connects_anew_although_the_lease_goes_on() {
    let failover = automatic("");
    let mut world = World::new([&failover, &failover, &failover]);
    world.run(1_000);
    let mut agent = Remote::agent(&mut world.hubs[0], 1);
    let channel = agent.offer(&mut world.hubs[0], EVENTS);
    let (positions, hub) = (acked(&agent), &mut world.hubs[0]);
    // It asks again; until the answer is looked at, what it was granted before is over.
    hub.advance(500);
    hub.settle();
    let late = std::time::Duration::from_millis(2_800);
    hub.now.monotonic = hub.now.monotonic.after(late);
    hub.now.wall = hub.now.wall.plus(late);
    agent.publish(hub, channel, &[record("eu-1-a", "{}")]);
    let before = hub.node.lease_status().unwrap().in_use;

    world.talk();
    let after = world.hubs[0].node.lease_status().unwrap().in_use;
    let closed: Vec<LinkId> = world.hubs[0].closed.iter().map(|(link_id, _)| *link_id).collect();
    let told = acked(&agent) - positions;
    let mut again = Remote::agent(&mut world.hubs[0], 2);
    again.take_log_of(agent);
    again.offer(&mut world.hubs[0], EVENTS);

    assert_eq!((before, after, told), (true, true, 0), "nobody saw that it was over");
    assert_eq!(closed, [LinkId::new(1)]);
    assert!(acked(&again) > 0);
    assert_eq!(world.hubs[0].records(EVENTS).len(), 1);
}

#[test]
fn what_an_operator_has_left_is_not_returned_to_by_itself() {
    let failover = automatic("failback = \"automatic\"\nfailback_after = \"20s\"\n");
    let mut world = World::new([&failover, &failover, &failover]);
    world.run(1_000);

    let us = &mut world.hubs[1];
    let region: headland_event::RegionId = "eu".parse().unwrap();
    let ticket = us.node.on_failover(us.now, &region, FailoverAction::Leave).unwrap();
    world.run(40_000);

    assert!(ticket.is_some());
    let us = Some("us".to_owned());
    assert_eq!(world.left_for("eu"), [us.clone(), us.clone(), us]);
}

#[test]
fn what_was_left_by_votes_is_returned_to_after_a_restart_too() {
    let failover = automatic("failback = \"automatic\"\nfailback_after = \"20s\"\n");
    let mut world = World::new([&failover, &failover, &failover]);
    world.run(1_000);

    world.cut_off(0);
    world.run(10_000);
    let left = world.left_for("eu")[1].clone();
    world.cut_off(1);
    world.hubs[1].restart(&config("us", &failover));
    PAIRS.into_iter().for_each(|pair| world.link(pair));
    world.run(40_000);

    assert_eq!(left.as_deref(), Some("us"));
    assert_eq!(world.left_for("eu"), [None, None, None]);
}

#[test]
fn a_hub_that_others_may_leave_does_not_start_without_the_section() {
    let failover = automatic("");
    let mut world = World::new([&failover, &failover, &failover]);
    world.run(1_000);
    world.cut_off(0);
    let without = config("eu", "");
    let start = |hub: &Hub| {
        hub.disk().crash(Survival::Nothing);
        Hub::start(hub.disk(), &without, hub.now).err().map(|error| error.to_string())
    };

    let refused = start(&world.hubs[0]);
    world.hubs[0].restart(&config("eu", &failover.replace("true", "false")));
    world.link((0, 1));
    world.run(1_000);
    let taken = start(&world.hubs[0]);

    let why = refused.unwrap();
    assert!(why.contains("eu") && why.contains("automatic = false"), "{why}");
    assert_eq!(taken, None);
}
