//! What is handed on of lives that write no more, until every hub holds the same.

use headland_event::{GroupName, Monotonic, Now};
use headland_storage::MemoryDisk;

use super::hub::{CONFIG, Hub, START};
use super::remote::{Remote, record, stamp_of};
use crate::members::RegionAction;
use crate::peer_link::LinkId;

const EVENTS: &str = "inventory.events";

/// The configuration of a region's hub with the others as its peers, which are offered no topic
/// but what goes always, when `offered` is empty.
pub(super) fn config(region: &str, peers: &[&str], offered: &str) -> String {
    let peer = |peer: &&str| {
        let name = format!("[[peer]]\nregion = \"{peer}\"\nname = \"hub-1\"\n");
        format!("{name}address = \"none:1\"\ntopics = [\"{offered}\"]\n")
    };
    let peers: String = peers.iter().map(peer).collect();
    let text = CONFIG.replace("region = \"eu\"", &format!("region = \"{region}\""));
    let (before, after) = text.split_once("[[peer]]").unwrap();
    let (_, agents) = after.split_once("[[agent]]").unwrap();
    let members = "[membership]\nreport_every = \"1s\"\n";
    format!("{before}{peers}[[agent]]{agents}\n{members}")
}

/// A hub that passes on what it gets, on a disk; a new disk, or one of a backup, begins a life.
pub(super) fn hub_on(disk: &MemoryDisk, nonce: u64, region: &str, peers: &[&str]) -> Hub {
    let text = config(region, peers, "*").replace("topics = [\"*\"]", "forward = true");
    Hub::start_as(nonce, disk, &text, at_start()).unwrap()
}

/// One that passes on nothing.
pub(super) fn end_on(disk: &MemoryDisk, nonce: u64, region: &str, peers: &[&str]) -> Hub {
    Hub::start_as(nonce, disk, &config(region, peers, "*"), at_start()).unwrap()
}

pub(super) const fn at_start() -> Now {
    Now { monotonic: Monotonic::from_nanos(0), wall: START }
}

/// A hub on a new disk, whose life has this number.
fn hub(nonce: u64, region: &str, peers: &[&str]) -> Hub {
    hub_that_offers(nonce, region, peers, "*")
}

fn hub_that_offers(nonce: u64, region: &str, peers: &[&str], offered: &str) -> Hub {
    let now = Now { monotonic: Monotonic::default(), wall: START };
    Hub::start_as(nonce, &MemoryDisk::new(nonce), &config(region, peers, offered), now).unwrap()
}

/// The hub of `us` when it has waited long enough for `eu` to tell it who takes part.
fn alone() -> Hub {
    waited(hub(7, "us", &["eu"]))
}

fn waited(mut hub: Hub) -> Hub {
    hub.settle();
    hub.advance(11_000);
    hub.settle();
    hub
}

/// Hubs and the connections between them, by the hubs' numbers.
pub(super) struct Net {
    pub(super) hubs: Vec<Hub>,
    pub(super) links: Vec<(usize, usize, LinkId)>,
    connections: u64,
}

impl Net {
    pub(super) fn new(hubs: impl IntoIterator<Item = Hub>) -> Self {
        Self { hubs: hubs.into_iter().collect(), links: Vec::new(), connections: 100 }
    }

    fn pair(&mut self, one: usize, other: usize) -> (&mut Hub, &mut Hub) {
        let (before, after) = self.hubs.split_at_mut(other);
        (&mut before[one], &mut after[0])
    }

    /// Connects two hubs; the one with the smaller number comes first.
    pub(super) fn meet(&mut self, one: usize, other: usize) {
        self.connections += 1;
        let link_id = LinkId::new(self.connections);
        let (first, second) = self.pair(one, other);
        first.meet(second, link_id);
        self.links.push((one, other, link_id));
        self.talk(5);
    }

    /// Cuts the connection between two hubs.
    pub(super) fn part(&mut self, one: usize, other: usize) {
        let at = self.links.iter().position(|link| (link.0, link.1) == (one, other)).unwrap();
        let (_, _, link_id) = self.links.remove(at);
        let (first, second) = self.pair(one, other);
        first.node.on_disconnected(first.now, link_id);
        second.node.on_disconnected(second.now, link_id);
    }

    /// Puts another hub in the place of one, which is gone with its connections.
    pub(super) fn replace(&mut self, at: usize, hub: Hub) {
        self.hubs[at] = hub;
        for (one, other, link_id) in std::mem::take(&mut self.links) {
            if one != at && other != at {
                self.links.push((one, other, link_id));
                continue;
            }
            let left = &mut self.hubs[if one == at { other } else { one }];
            left.node.on_disconnected(left.now, link_id);
        }
    }

    /// Lets all talk for so many seconds; connections that were closed are made anew.
    pub(super) fn talk(&mut self, seconds: u32) {
        for _ in 0..seconds {
            for hub in &mut self.hubs {
                hub.advance(1_000);
                hub.settle();
            }
            for (one, other, link_id) in self.links.clone().into_iter().cycle().take(12) {
                let (first, second) = self.pair(one, other);
                first.talk_to(second, link_id);
            }
            for at in 0..self.links.len() {
                let (one, other, link_id) = self.links[at];
                let is_closed = |hub: &Hub| hub.closed.iter().any(|(of, _)| *of == link_id);
                if is_closed(&self.hubs[one]) || is_closed(&self.hubs[other]) {
                    self.connections += 1;
                    let again = LinkId::new(self.connections);
                    self.links[at].2 = again;
                    let (first, second) = self.pair(one, other);
                    first.node.on_disconnected(first.now, link_id);
                    second.node.on_disconnected(second.now, link_id);
                    first.meet(second, again);
                }
            }
        }
    }
}

/// A device of the hub's region says that four units came.
pub(super) fn restock(hub: &mut Hub, link_id: u64, ids: &[&str]) {
    let mut agent = Remote::agent(hub, link_id);
    let channel = agent.offer(hub, EVENTS);
    for id in ids {
        let text =
            format!(r#"{{"id":"{id}","kind":"restock","device":"eu-1-till","sku":"85123A","#)
                + r#""location":"eu-1","quantity":4,"time":"2010-12-01T08:06:00Z"}"#;
        agent.publish(hub, channel, &[record("eu-1-till", &text)]);
    }
}

pub(super) fn state(hub: &Hub) -> (Option<i64>, String) {
    let (sku, at) = ("85123A", "eu-1");
    let sku = headland_reconcile::Sku::new(sku).unwrap();
    let at = headland_reconcile::Location::new(at).unwrap();
    let inventory = hub.node.inventory();
    (inventory.stock(&sku, &at), format!("{:?}", inventory.fingerprint()))
}

#[test]
fn a_region_that_lost_its_disk_gets_back_what_its_former_life_wrote() {
    let mut net = Net::new([hub(7, "eu", &["us"]), hub(7, "us", &["eu"])]);
    net.meet(0, 1);
    restock(&mut net.hubs[1], 2, &["us/1", "us/2"]);
    net.talk(5);

    net.replace(1, hub(9, "us", &["eu"]));
    net.meet(0, 1);
    restock(&mut net.hubs[1], 4, &["us/3"]);
    net.talk(10);

    let [eu, again] = &net.hubs[..] else { panic!("two hubs") };
    assert_eq!(state(eu).0, Some(12));
    assert_eq!(state(again), state(eu));
    let back = again.entries("handed-on.us.inventory.events");
    assert_eq!(back.len(), 2, "only what it lacked is stored again: {back:?}");
}

/// A hub of `us` in its second life, whose first wrote two records that only `eu` has, and `ap`,
/// which knows the second life only. Then all of them talk.
fn what_the_third_has(offered: &str) -> Net {
    let eu = hub_that_offers(7, "eu", &["ap", "us"], offered);
    let ap = hub_that_offers(7, "ap", &["eu", "us"], offered);
    let mut net = Net::new([ap, eu, hub(7, "us", &["ap", "eu"])]);
    net.meet(1, 2);
    restock(&mut net.hubs[2], 2, &["us/1", "us/2"]);
    net.talk(5);
    net.replace(2, hub(9, "us", &["ap", "eu"]));
    net.meet(0, 2);
    restock(&mut net.hubs[2], 4, &["us/3"]);
    net.talk(20);
    assert_eq!((state(&net.hubs[0]).0, state(&net.hubs[1]).0), (Some(4), Some(8)));
    net.meet(1, 2);
    net.meet(0, 1);
    net.talk(20);
    assert!(net.connections < 110, "connections are made anew a few times at most");
    net
}

#[test]
fn what_only_one_hub_has_of_a_life_that_is_over_reaches_all() {
    let net = what_the_third_has("*");
    let [ap, eu, us] = &net.hubs[..] else { panic!("three hubs") };

    assert_eq!(state(eu).0, Some(12));
    assert_eq!(state(us), state(eu));
    assert_eq!(state(ap), state(eu));
}

#[test]
fn a_filter_of_a_link_does_not_hide_what_is_handed_on_and_hides_all_else() {
    let net = what_the_third_has("nothing");
    let [ap, eu, _] = &net.hubs[..] else { panic!("three hubs") };

    assert_eq!(state(ap), state(eu));
    let names: Vec<&str> = ap.node.topics().iter().map(|topic| topic.name.as_str()).collect();
    let is_handed_on = |name: &&&str| name.starts_with("eu.us.") || name.starts_with("handed-on.");
    let handed_on: Vec<&&str> = names.iter().filter(is_handed_on).collect();
    let all = ["_groups", "_members", "_promises", EVENTS];
    let allowed: Vec<String> = all.iter().map(|topic| format!("handed-on.us.{topic}")).collect();
    let is_allowed = |name: &&str| allowed.contains(&(*name).to_owned()) || *name == "eu.us._audit";
    assert!(handed_on.iter().all(|name| is_allowed(name)), "{handed_on:?}");
    assert!(handed_on.iter().any(|name| **name == "handed-on.us.inventory.events"));
}

#[test]
fn what_is_handed_on_is_kept_apart_in_one_topic_for_each() {
    let net = what_the_third_has("*");

    let topics = net.hubs[2].node.topics().iter();
    let apart: Vec<&str> =
        topics.filter(|topic| topic.is_apart()).map(|topic| topic.name.as_str()).collect();

    assert!(apart.contains(&"handed-on.us.inventory.events"), "{apart:?}");
    assert!(apart.iter().all(|name| name.starts_with("handed-on.")), "{apart:?}");
    // How far groups read of the former life's logs says nothing of those of the present one.
    assert!(apart.iter().all(|name| *name != "handed-on.us._groups"), "{apart:?}");
}

#[test]
fn a_union_reads_the_log_of_a_region_and_not_what_was_handed_on_of_its_former_life() {
    let net = what_the_third_has("*");

    let group = GroupName::new("all").unwrap();

    let read = net.hubs[0].node.reading(&group, "inventory.events@*").unwrap();

    let read: Vec<&str> = read.iter().map(|place| place.at.topic.as_str()).collect();
    assert!(read.contains(&"us.inventory.events"), "{read:?}");
    assert!(read.iter().all(|name| !name.starts_with("handed-on.")), "{read:?}");
}

#[test]
fn a_link_that_is_down_for_a_moment_has_no_other_one_made_anew() {
    let mut net = what_the_third_has("*");
    let before = net.connections;

    net.part(0, 2);
    net.talk(3);
    net.meet(0, 2);
    net.talk(10);

    assert_eq!(net.connections, before + 1, "only the one that was cut");
    assert_eq!(state(&net.hubs[0]), state(&net.hubs[1]));
}

#[test]
fn a_life_that_another_machine_has_as_well_is_not_taken_for_this_hubs_own() {
    let mut us = alone();
    let mut eu = Remote::hub(&mut us, 1, "eu");
    let channel = eu.offer_back(&mut us, EVENTS);
    let life = us.node.incarnation;
    let region = us.region().clone();
    let stamp = stamp_of((region.as_str(), life), headland_event::Offset::new(0));

    eu.publish_stamped(&mut us, channel, &[record("us-1-till", "{}")], Some(stamp));

    let said = format!("{:?}", eu.said);
    assert!(said.contains("it is of this life of this hub, which has not written it"), "{said}");
    assert_eq!(us.records("handed-on.us.inventory.events").len(), 0);
    assert!(us.node.ingest.heads().is_empty());
}

#[test]
fn a_hole_in_what_is_handed_on_passes_over_nothing() {
    let mut us = alone();
    let mut eu = Remote::hub(&mut us, 1, "eu");
    let channel = eu.offer_back(&mut us, EVENTS);
    let former = headland_event::Incarnation::new(3, 4);
    let stamp = |offset| Some(stamp_of(("us", former), headland_event::Offset::new(offset)));

    eu.lose(&mut us, channel, 10, stamp(40).unwrap());
    let behind_the_hole = us.node.ingest.heads().clone();
    eu.publish_stamped(&mut us, channel, &[record("us-1-till", "{}")], stamp(0));

    assert!(behind_the_hole.is_empty(), "{behind_the_hole:?}");
    assert_eq!(us.records("handed-on.us.inventory.events").len(), 1);
}

/// A restock of four units.
fn restocked(id: &str) -> headland_event::Record {
    let text = format!(r#"{{"id":"{id}","kind":"restock","device":"us-1-till","sku":"85123A","#)
        + r#""location":"eu-1","quantity":4,"time":"2010-12-01T08:06:00Z"}"#;
    record("us-1-till", &text)
}

fn missing(hub: &Hub) -> Vec<(u64, u64)> {
    let extent = hub.node.inventory().extent();
    extent.gaps().iter().map(|(_, gap)| (gap.from.get(), gap.until.get())).collect()
}

#[test]
fn a_later_part_that_comes_first_counts_and_so_does_the_earlier_one_when_it_comes() {
    let mut us = alone();
    let mut eu = Remote::hub(&mut us, 1, "eu");
    let channel = eu.offer_back(&mut us, EVENTS);
    let former = headland_event::Incarnation::new(3, 4);
    let stamp = |offset| Some(stamp_of(("us", former), headland_event::Offset::new(offset)));

    eu.publish_stamped(&mut us, channel, &[restocked("us/3")], stamp(2));
    let first = (state(&us).0, missing(&us));
    for offset in [1, 2, 1, 0] {
        let id = format!("us/{}", offset + 1);
        eu.publish_stamped(&mut us, channel, &[restocked(&id)], stamp(offset));
    }

    assert_eq!(first, (Some(4), vec![(0, 2)]));
    assert_eq!((state(&us).0, missing(&us)), (Some(12), vec![]));
    assert_eq!(us.records("handed-on.us.inventory.events").len(), 3, "each is stored once");
    let before = state(&us);
    us.restart(&config("us", &["eu"], "*"));
    assert_eq!(state(&us), before);
}

#[test]
fn what_an_agent_shed_of_a_log_that_is_handed_on_is_missing_to_nobody() {
    let mut us = alone();
    let mut eu = Remote::hub(&mut us, 1, "eu");
    let channel = eu.offer_back(&mut us, EVENTS);
    let former = headland_event::Incarnation::new(3, 4);
    let stamp = |offset| Some(stamp_of(("us", former), headland_event::Offset::new(offset)));

    eu.publish_stamped(&mut us, channel, &[restocked("us/9")], stamp(8));
    eu.shed(&mut us, channel, 6, stamp(2));

    assert_eq!((state(&us).0, missing(&us)), (Some(4), vec![(0, 2)]));
}

/// Hubs of `ap`, `eu` and `us`, of which the last one's disk has damaged the second of three
/// records that `ap` has got.
fn damaged() -> Net {
    let ap = hub(7, "ap", &["eu", "us"]);
    let eu = hub(7, "eu", &["ap", "us"]);
    let mut net = Net::new([ap, eu, hub(7, "us", &["ap", "eu"])]);
    net.meet(0, 2);
    restock(&mut net.hubs[2], 2, &["us/1", "us/2", "us/3"]);
    net.talk(5);
    super::damage::damage(&net.hubs[2], "us/2");
    net
}

#[test]
fn what_the_disk_of_a_living_region_damaged_comes_from_another_that_has_it() {
    let mut net = damaged();
    net.part(0, 2);
    net.meet(1, 2);
    net.talk(20);
    assert_eq!(state(&net.hubs[1]).0, Some(8));
    assert_eq!(missing(&net.hubs[1]), [(1, 2)]);
    let named = net.hubs[1].node.regions().lacking;
    assert_eq!((named.len(), named[0].from.get(), named[0].until.get()), (1, 1, 2));
    assert!(named[0].way_out.contains("no hub of region ap was heard of"), "{named:?}");

    net.meet(0, 1);
    net.talk(20);

    let states: Vec<_> = net.hubs.iter().map(state).collect();
    assert_eq!(states[1].0, Some(12));
    assert_eq!((&states[1], &states[2]), (&states[0], &states[0]));
    assert_eq!(missing(&net.hubs[1]), []);
    let apart: Vec<usize> = ["us.inventory.events", "handed-on.us.inventory.events"]
        .map(|topic| net.hubs[1].values(topic).iter().filter(|text| text.contains("us/2")).count())
        .into();
    assert_eq!(apart, [0, 1]);
    let back = net.hubs[2].values("handed-on.us.inventory.events");
    assert!(back.len() == 1 && back[0].contains("us/2"), "its log has it again: {back:?}");
}

/// What `eu` says of what it lacks.
fn ways_out(net: &Net) -> Vec<String> {
    net.hubs[1].node.regions().lacking.into_iter().map(|of| of.way_out).collect()
}

#[test]
fn what_only_a_life_that_is_over_had_is_named_until_an_operator_goes_on_without() {
    let mut net = damaged();
    net.part(0, 2);
    net.meet(0, 1);
    net.talk(20);
    net.part(0, 1);
    net.meet(1, 2);
    net.talk(20);
    let while_away = ways_out(&net);
    net.replace(0, hub(9, "ap", &["eu", "us"]));
    net.meet(0, 1);
    net.talk(20);
    let when_lost = ways_out(&net);
    let (_, command) = when_lost[0].split_once("--life ").unwrap();
    let life = command.split('`').next().unwrap().parse().unwrap();

    let asked = super::members::request(RegionAction::Exclude, "ap");
    let asked = crate::members::RegionRequest { life: Some(life), ..asked };
    let eu = &mut net.hubs[1];
    eu.node.on_region(eu.now, &asked).unwrap();
    net.talk(10);
    let of_the_next = ways_out(&net);
    net.meet(0, 2);
    net.talk(20);
    let decided = ways_out(&net);

    assert!(while_away[0].contains("hands them on once it is linked"), "{while_away:?}");
    assert!(when_lost[0].contains("`headland region exclude ap --life"), "{when_lost:?}");
    assert!(of_the_next[0].contains("has not said yet"), "it met us never: {of_the_next:?}");
    assert!(decided[0].contains("no hub that takes part"), "{decided:?}");
    assert_eq!((while_away.len(), when_lost.len(), decided.len()), (1, 1, 1));
    assert_eq!(state(&net.hubs[1]).0, Some(8));
}

/// What `eu` forgets for good.
fn forgotten(net: &Net) -> headland_event::VectorClock {
    net.hubs[1].node.inventory().compacted().ends().clone()
}

/// `eu` lacks what only the sealed hub of `ap` has, which is away; with what `eu` forgot before.
fn sealed_with_what_is_lacking() -> (Net, headland_event::VectorClock) {
    let mut net = damaged();
    net.part(0, 2);
    net.meet(0, 1);
    net.talk(20);
    for action in [RegionAction::Drain, RegionAction::Seal] {
        let ap = &mut net.hubs[0];
        ap.node.on_region(ap.now, &super::members::request(action, "ap")).unwrap();
        net.talk(10);
    }
    let before = forgotten(&net);
    net.part(0, 1);
    net.meet(1, 2);
    net.talk(20);
    assert_eq!(missing(&net.hubs[1]), [(1, 2)]);
    (net, before)
}

#[test]
fn nothing_is_forgotten_while_a_sealed_hub_has_what_is_lacking_and_it_hands_that_on() {
    let (mut net, before) = sealed_with_what_is_lacking();
    let (named, meanwhile) = (ways_out(&net), forgotten(&net));

    net.meet(0, 1);
    net.talk(20);

    assert!(named[0].contains("is sealed: its hub has to run and be linked"), "{named:?}");
    assert_eq!(meanwhile, before);
    assert_eq!((missing(&net.hubs[1]), state(&net.hubs[1]).0), (vec![], Some(12)));
    assert_ne!(forgotten(&net), before);
}

#[test]
fn a_sealed_life_whose_data_is_gone_is_excluded_by_its_name_and_no_more_waited_for() {
    let (mut net, before) = sealed_with_what_is_lacking();
    let named = ways_out(&net);
    let (_, command) = named[0].split_once("--life ").unwrap();
    let life = command.split('`').next().unwrap().parse().unwrap();
    let asked = super::members::request(RegionAction::Exclude, "ap");
    let eu = &mut net.hubs[1];

    let unnamed = eu.node.on_region(eu.now, &asked).unwrap_err().to_string();
    let asked = crate::members::RegionRequest { life: Some(life), ..asked };
    eu.node.on_region(eu.now, &asked).unwrap();
    net.talk(20);

    assert!(unnamed.contains("a sealed one that is named (--life)"), "{unnamed}");
    assert!(ways_out(&net)[0].contains("no hub that takes part"), "{:?}", ways_out(&net));
    assert_ne!(forgotten(&net), before);
}

#[test]
fn a_region_that_is_away_and_has_not_said_what_it_has_is_waited_for() {
    let peers = |own: &str| -> Vec<&str> {
        ["ap", "eu", "us"].into_iter().filter(|region| *region != own).collect()
    };
    let mut net = Net::new(["ap", "eu", "us"].map(|region| hub(7, region, &peers(region))));
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        net.meet(one, other);
    }
    net.talk(15);
    net.part(0, 1);
    net.part(0, 2);
    net.part(1, 2);
    restock(&mut net.hubs[2], 2, &["us/1", "us/2", "us/3"]);
    net.talk(5);
    super::damage::damage(&net.hubs[2], "us/2");
    let before = forgotten(&net);
    net.meet(1, 2);
    net.talk(20);
    let (named, meanwhile) = (ways_out(&net), forgotten(&net));

    net.meet(0, 1);
    net.meet(0, 2);
    net.talk(20);
    let decided = ways_out(&net);

    assert!(named[0].starts_with("ap@") && named[0].contains("has not said yet"), "{named:?}");
    assert_eq!(meanwhile, before);
    assert!(decided[0].contains("no hub that takes part"), "{decided:?}");
    assert_ne!(forgotten(&net), before);
}

#[test]
fn what_the_log_lost_and_the_state_has_is_asked_for_over_restarts_and_counts_once() {
    let mut net = damaged();
    net.talk(15);
    net.part(0, 2);
    net.meet(1, 2);
    net.talk(15);
    let before = (state(&net.hubs[2]), state(&net.hubs[1]).0);
    let commits = net.hubs[2].commits();

    let disk = net.hubs[2].disk().clone();
    disk.crash(headland_storage::Survival::Nothing);
    let mut us = end_on(&disk, 7, "us", &["ap", "eu"]);
    us.now = net.hubs[0].now;
    let (replayed, again) = (us.replayed, state(&us));
    net.replace(2, us);
    net.meet(0, 2);
    net.meet(1, 2);
    net.talk(20);

    assert!(replayed < commits, "it begins with a snapshot that has it");
    assert_eq!((before.0.0, before.1), (Some(12), Some(8)));
    assert_eq!(again, before.0);
    let back = net.hubs[2].values("handed-on.us.inventory.events");
    assert!(back.len() == 1 && back[0].contains("us/2"), "{back:?}");
    let states: Vec<_> = net.hubs.iter().map(state).collect();
    assert_eq!((&states[0], &states[1]), (&before.0, &before.0));
    assert_eq!(states[2], before.0);
}

#[test]
fn what_nobody_has_any_more_is_named_with_the_way_out_until_its_life_is_excluded() {
    let ap = hub(7, "ap", &["eu", "us"]);
    let mut net = Net::new([ap, hub(7, "eu", &["ap", "us"]), hub(7, "us", &["ap", "eu"])]);
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        net.meet(one, other);
    }
    net.talk(15);
    net.part(0, 2);
    restock(&mut net.hubs[2], 2, &["us/1", "us/2"]);
    net.talk(15);
    let lacking = |net: &Net| net.hubs[0].node.regions().lacking;
    let before = lacking(&net);

    net.replace(1, hub(9, "eu", &["ap", "us"]));
    net.replace(2, hub(9, "us", &["ap", "eu"]));
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        net.meet(one, other);
    }
    net.talk(20);
    let named = lacking(&net);
    let life = named[0].log.split(['@', '/']).nth(1).unwrap().parse().unwrap();
    let asked = super::members::request(RegionAction::Exclude, "us");
    let asked = crate::members::RegionRequest { life: Some(life), ..asked };
    let hub = &mut net.hubs[0];
    hub.node.on_region(hub.now, &asked).unwrap();
    net.talk(10);

    let mut copies = net.hubs[0].node.topics().iter().filter(|of| of.origin.as_str() == "us");
    let copy = copies.find(|of| of.origin_name.as_str() != "_members").unwrap();
    assert!(!net.hubs[0].node.is_awaited_topic(copy), "who never sends it is not waited for");
    assert_eq!(before, [], "its life goes on");
    let of: Vec<_> = named.iter().map(|of| (of.from.get(), of.until.get())).collect();
    assert_eq!(of, [(0, 2)]);
    let way_out = format!("`headland region exclude us --life {life}`");
    assert!(named[0].way_out.contains(&way_out), "{}", named[0].way_out);
    assert_eq!(lacking(&net), []);
    assert_eq!(state(&net.hubs[0]), state(&net.hubs[1]));
}

#[test]
fn what_came_over_a_region_that_lost_it_is_handed_on_over_links_that_do_not_forward() {
    let disk = MemoryDisk::new;
    let mut net = Net::new([
        end_on(&disk(1), 1, "ap", &["eu"]),
        hub_on(&disk(2), 2, "eu", &["ap", "us"]),
        end_on(&disk(3), 3, "us", &["eu", "za"]),
        end_on(&disk(4), 4, "za", &["us"]),
    ]);
    for (one, other) in [(0, 1), (1, 2), (2, 3)] {
        net.meet(one, other);
    }
    restock(&mut net.hubs[0], 2, &["ap/1", "ap/2"]);
    net.talk(15);
    let while_it_lives = state(&net.hubs[3]).0;
    net.replace(0, end_on(&disk(5), 5, "ap", &["eu"]));
    net.replace(1, hub_on(&disk(6), 6, "eu", &["ap", "us"]));
    let us = &mut net.hubs[2];
    let asked = super::members::request(RegionAction::Exclude, "ap");
    us.node.on_region(us.now, &asked).unwrap();
    net.talk(40);

    assert_eq!(while_it_lives, None, "its log goes over links that forward");
    assert_eq!((state(&net.hubs[2]).0, state(&net.hubs[3]).0), (Some(8), Some(8)));
    assert_eq!(net.hubs[3].node.regions().lacking, []);
}

#[test]
fn a_region_gets_back_what_its_own_disk_damaged_in_the_same_life() {
    let mut net = damaged();
    let disk = net.hubs[2].disk().clone();
    // A snapshot has all of it, and misses nothing.
    let snapshots = disk.names().into_iter().filter(|name| name.contains("snapshot"));
    snapshots.for_each(|name| disk.remove(&name));
    let text = config("us", &["ap", "eu"], "*");
    let mut us = Hub::start_as(7, &disk, &text, net.hubs[2].now).unwrap();
    us.settle();
    net.replace(2, us);
    assert_eq!((state(&net.hubs[2]).0, missing(&net.hubs[2])), (Some(8), vec![(1, 2)]));

    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        net.meet(one, other);
    }
    net.talk(30);

    let states: Vec<_> = net.hubs.iter().map(state).collect();
    assert_eq!(states[0].0, Some(12));
    assert_eq!((&states[1], &states[2]), (&states[0], &states[0]));
    assert_eq!(missing(&net.hubs[2]), []);
}

#[test]
fn rights_of_a_log_of_which_a_part_was_handed_on_are_the_same_after_a_restart() {
    let now = Now { monotonic: Monotonic::default(), wall: START };
    let text = config("eu", &["ap", "us"], "*") + "[escrow]\nfloor = 1\n";
    let mut eu = waited(Hub::start_as(7, &MemoryDisk::new(7), &text, now).unwrap());
    let life = headland_event::Incarnation::new(3, 4);
    let stamp = |offset| Some(stamp_of(("us", life), headland_event::Offset::new(offset)));
    let rights = |hub: &Hub| {
        hub.node.rights_of(&headland_reconcile::Sku::new("85123A").unwrap()).unwrap().holders
    };

    let offered = r#"{"sku":"85123A","act":"create","request":"o1","units":10}"#;
    let mut us = Remote::hub(&mut eu, 1, "us");
    let channel = us.offer(&mut eu, "inventory.escrow");
    us.publish_stamped(&mut eu, channel, &[record("85123A", offered)], stamp(0));
    eu.node.on_disconnected(eu.now, us.link_id);
    let sold = r#"{"sku":"85123A","act":"spend","request":"r1","units":4}"#;
    let mut ap = Remote::hub(&mut eu, 2, "ap");
    let channel = ap.hand_on(&mut eu, "inventory.escrow", "us");
    ap.publish_stamped(&mut eu, channel, &[record("85123A", sold)], stamp(1));
    let before = rights(&eu);
    let apart = eu.values("handed-on.us.inventory.escrow").len();
    eu.restart(&text);

    assert_eq!((apart, before.values().sum::<i64>()), (1, 6), "{before:?}");
    assert_eq!(rights(&eu), before);
}

#[test]
fn what_two_lives_of_a_hub_say_of_one_region_has_a_key_each() {
    let mut keys = Vec::new();
    for nonce in [7, 9] {
        let mut us = hub(nonce, "us", &["eu"]);
        us.settle();
        us.advance(11_000);
        us.settle();
        let mut eu = Remote::hub(&mut us, 1, "eu");
        let channel = eu.offer(&mut us, EVENTS);
        eu.mirror(&mut us, channel, &[record("eu-1-till", "{}")]);
        let asked = super::members::request(RegionAction::Add, "eu");
        us.node.on_region(us.now, &asked).unwrap();
        us.settle();
        let said = us.keys("_members");
        let of_eu = said.into_iter().filter(|key| key.contains("eu@") && key.ends_with("standing"));
        keys.extend(of_eu);
    }

    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1]);
}
