//! Which lives take part: what ended does not count beyond its end, whatever comes first.

use headland_event::{Actor, Offset, PartitionIndex, VectorClock};
use headland_reconcile::{
    Holder, MemberChange, MemberRecord, MemberStanding, ReasonText, Reviewer, SignedChange,
};

use super::hub::{CONFIG, Hub};
use super::remote::{LIFE, Remote, record};
use crate::members::{RegionAction, RegionRequest};
use crate::node::RegionError;

const EVENTS: &str = "inventory.events";
const MEMBERS: &str = "_members";

fn with_members() -> String {
    format!("{CONFIG}\n[membership]\nreport_every = \"1s\"\n")
}

fn restock(id: &str) -> String {
    format!(
        r#"{{"id":"{id}","kind":"restock","device":"us-1-till","sku":"85123A","location":"us-1","#
    ) + r#""quantity":4,"time":"2010-12-01T08:06:00Z"}"#
}

fn request(action: RegionAction, region: &str) -> RegionRequest {
    let (by, reason) = (Reviewer::new("ann").unwrap(), ReasonText::new("lost").unwrap());
    RegionRequest { action, region: region.parse().unwrap(), by, reason }
}

/// Asks, and lets the hub write it.
fn ask(hub: &mut Hub, action: RegionAction, region: &str) -> Result<Offset, RegionError> {
    let end = hub.node.on_region(hub.now, &request(action, region));
    hub.settle();
    end
}

/// That `us` is excluded, with the end of its only log of inventory.
fn excluded_at(end: u64) -> String {
    let region: headland_event::RegionId = "us".parse().unwrap();
    let partition = PartitionIndex::new(0);
    let mut ends = VectorClock::new();
    let actor = Actor { region: region.clone(), incarnation: LIFE, partition };
    ends.advance(&actor, Offset::new(end));
    let life = Holder { region, incarnation: LIFE };
    let change = MemberChange { life, standing: MemberStanding::Excluded, ends };
    let (by, reason) = (Reviewer::new("bob").unwrap(), ReasonText::new("lost").unwrap());
    let record = MemberRecord::Change(SignedChange { change, by, reason });
    String::from_utf8(record.to_json()).unwrap()
}

fn units(hub: &Hub) -> Option<i64> {
    let (sku, at) = ("85123A", "us-1");
    let sku = headland_reconcile::Sku::new(sku).unwrap();
    hub.node.inventory().stock(&sku, &headland_reconcile::Location::new(at).unwrap())
}

/// A hub that holds one restock of `us`, which is a member.
fn hub_with_us() -> (Hub, Remote, headland_event::ChannelId) {
    let mut hub = Hub::configured(&with_members());
    let mut us = Remote::hub(&mut hub, 1, "us");
    let channel = us.offer(&mut hub, EVENTS);
    us.mirror(&mut hub, channel, &[record("us-1-till", &restock("us/1"))]);
    ask(&mut hub, RegionAction::Add, "us").unwrap();
    (hub, us, channel)
}

#[test]
fn what_an_excluded_life_wrote_beyond_its_end_is_held_also_over_a_restart_until_it_is_raised() {
    let (mut hub, mut us, channel) = hub_with_us();
    ask(&mut hub, RegionAction::Exclude, "us").unwrap();

    us.mirror(&mut hub, channel, &[record("us-1-till", &restock("us/2"))]);
    let held = (units(&hub), hub.node.regions().held_records);
    hub.restart(&with_members());
    let restarted = (units(&hub), hub.node.regions().held_records);
    let mut again = Remote::hub(&mut hub, 2, "us");
    let members = again.offer(&mut hub, MEMBERS);
    again.mirror(&mut hub, members, &[record("us", &excluded_at(2))]);

    assert_eq!((held, restarted), ((Some(4), 1), (Some(4), 1)));
    assert_eq!((units(&hub), hub.node.regions().held_records), (Some(8), 0));
    assert_eq!(hub.keys("inventory.postings"), ["us/1", "us/2"], "each is written once");
}

#[test]
fn an_end_that_is_raised_step_by_step_lets_each_record_count_once_and_in_order() {
    let (mut hub, mut us, channel) = hub_with_us();
    ask(&mut hub, RegionAction::Exclude, "us").unwrap();
    us.mirror(&mut hub, channel, &[record("us-1-till", &restock("us/2"))]);
    us.mirror(&mut hub, channel, &[record("us-1-till", &restock("us/3"))]);
    let mut again = Remote::hub(&mut hub, 2, "us");
    let members = again.offer(&mut hub, MEMBERS);

    again.mirror(&mut hub, members, &[record("us", &excluded_at(2))]);
    let first = (units(&hub), hub.node.regions().held_records);
    again.mirror(&mut hub, members, &[record("us", &excluded_at(3))]);

    assert_eq!(first, (Some(8), 1));
    assert_eq!((units(&hub), hub.node.regions().held_records), (Some(12), 0));
    assert_eq!(hub.keys("inventory.postings"), ["us/1", "us/2", "us/3"]);
}

#[test]
fn a_hub_that_applied_more_of_an_excluded_log_says_so_once() {
    let (mut hub, mut us, channel) = hub_with_us();
    us.mirror(&mut hub, channel, &[record("us-1-till", &restock("us/2"))]);
    let mut again = Remote::hub(&mut hub, 2, "us");
    let members = again.offer(&mut hub, MEMBERS);
    again.mirror(&mut hub, members, &[record("us", &excluded_at(1))]);

    for _ in 0..5 {
        hub.advance(1_000);
        hub.settle();
    }

    let said = hub.texts(MEMBERS);
    let raised = said.iter().filter(|text| text.contains("more of its logs was applied here"));
    let raised: Vec<&String> = raised.collect();
    assert_eq!(raised.len(), 1, "{said:?}");
    assert!(raised[0].contains("\"end\":2"), "{}", raised[0]);
    assert_eq!(units(&hub), Some(8));
}

#[test]
fn a_hub_says_that_it_takes_part_and_what_it_has_applied_when_that_has_changed() {
    let (mut hub, mut us, channel) = hub_with_us();
    let reports = |hub: &Hub| {
        hub.texts(MEMBERS).iter().filter(|text| text.starts_with("{\"report\"")).count()
    };
    for _ in 0..4 {
        hub.advance(1_000);
        hub.settle();
    }
    let at_rest = reports(&hub);

    us.mirror(&mut hub, channel, &[record("us-1-till", &restock("us/2"))]);
    for _ in 0..4 {
        hub.advance(1_000);
        hub.settle();
    }

    assert_eq!((at_rest, reports(&hub)), (1, 2));
    let view = serde_json::to_value(hub.node.regions()).unwrap();
    let own = view["lives"].as_array().unwrap().iter().find(|life| life["region"] == "eu");
    assert_eq!(own.unwrap()["standing"], "active");
}

#[test]
fn what_cannot_be_asked_of_this_hub_is_refused_with_whom_to_ask() {
    let (mut hub, _us, _) = hub_with_us();
    let mut silent = Hub::new();

    let refused = [
        (RegionAction::Exclude, "eu"),
        (RegionAction::Seal, "us"),
        (RegionAction::Return, "us"),
        (RegionAction::Drain, "ap"),
    ]
    .map(|(action, region)| ask(&mut hub, action, region).unwrap_err().to_string());

    assert!(refused[0].contains("ask another region's hub"), "{}", refused[0]);
    assert!(refused[1].contains("ask that one, or exclude it"), "{}", refused[1]);
    assert_eq!(refused[1], refused[2]);
    assert!(refused[3].starts_with("no life of region ap is active here"), "{}", refused[3]);
    let error = ask(&mut silent, RegionAction::Drain, "us").unwrap_err();
    assert_eq!(error, RegionError::NotConfigured);
    assert!(silent.node.topics().get(&crate::members::members_topic()).is_none());
}

#[test]
fn a_hub_that_drains_takes_no_inventory_of_agents_and_all_else() {
    let mut hub = Hub::configured(&with_members());
    let mut agent = Remote::agent(&mut hub, 1);
    let [events, alerts] = [EVENTS, "alerts"].map(|topic| agent.offer(&mut hub, topic));
    hub.advance(1_000);
    hub.settle();
    ask(&mut hub, RegionAction::Drain, "eu").unwrap();

    agent.publish(&mut hub, alerts, &[record("eu-1-till", "{}")]);
    agent.publish(&mut hub, events, &[record("eu-1-till", &restock("eu/1"))]);

    let alerts = headland_event::TopicName::new("alerts").unwrap();
    assert_eq!(hub.node.records().get(&alerts), Some(&1));
    assert_eq!(hub.texts(EVENTS), Vec::<String>::new());
    let refused = agent.said.iter().any(|said| {
        format!("{said:?}")
            .contains("region eu is draining: its hub takes in no inventory any more")
    });
    assert!(refused, "{:?}", agent.said);
}
