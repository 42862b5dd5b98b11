//! Which lives take part: what ended does not count beyond its end, whatever comes first.

use headland_event::{Actor, Incarnation, Offset, PartitionIndex, VectorClock};
use headland_reconcile::{
    Holder, MemberChange, MemberRecord, MemberStanding, Membership, ReasonText, Reviewer,
    SignedChange,
};
use headland_replication::LinkOutput;

use super::hub::{CONFIG, Hub};
use super::remote::{self, LIFE, Remote, record};
use crate::members::{LifeName, RegionAction, RegionRequest};
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

pub(super) fn request(action: RegionAction, region: &str) -> RegionRequest {
    let (by, reason) = (Reviewer::new("ann").unwrap(), ReasonText::new("lost").unwrap());
    RegionRequest { action, region: region.parse().unwrap(), life: None, by, reason }
}

/// Asks, and lets the hub write it.
fn ask(hub: &mut Hub, action: RegionAction, region: &str) -> Result<Offset, RegionError> {
    let end = hub.node.on_region(hub.now, &request(action, region));
    hub.settle();
    end
}

/// That `us` is excluded, with the end of its only log of inventory.
pub(super) fn excluded_at(end: u64) -> String {
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

/// A hub that has waited for others long enough, and takes part.
fn joined(text: &str) -> Hub {
    let mut hub = Hub::configured(text);
    hub.settle();
    hub.advance(11_000);
    hub.settle();
    hub
}

/// A hub that holds one restock of `us`, which is a member.
fn hub_with_us() -> (Hub, Remote, headland_event::ChannelId) {
    let mut hub = joined(&with_members());
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

/// A hub that holds back two records of `us`, which are beyond its end.
fn hub_that_holds() -> Hub {
    let (mut hub, mut us, channel) = hub_with_us();
    ask(&mut hub, RegionAction::Exclude, "us").unwrap();
    for id in ["us/2", "us/3"] {
        us.mirror(&mut hub, channel, &[record("us-1-till", &restock(id))]);
    }
    assert_eq!((units(&hub), hub.node.regions().held_records), (Some(4), 2));
    hub
}

/// A device of `eu` says something; returns what its hub says that happened before of the log of
/// `us`, and the agent to go on with.
fn seen_of_us(hub: &mut Hub, link_id: u64, former: Option<Remote>) -> (u64, Remote) {
    let mut agent = Remote::agent(hub, link_id);
    former.into_iter().for_each(|former| agent.take_log_of(former));
    let channel = agent.offer(hub, EVENTS);
    let said = restock(&format!("eu/{link_id}")).replace("us-1", "eu-1");
    agent.publish(hub, channel, &[record("eu-1-till", &said)]);
    let stamp = hub.entries(EVENTS).pop().unwrap().stamp.unwrap();
    (stamp.context.ends().end(&actor_of_us()).get(), agent)
}

fn actor_of_us() -> Actor {
    let (region, partition) = ("us".parse().unwrap(), PartitionIndex::new(0));
    Actor { region, incarnation: LIFE, partition }
}

/// The records of `us` are handed in, up to an end of its log.
fn hand_in(hub: &mut Hub, end: u64) {
    let mut us = Remote::hub(hub, 7, "us");
    let members = us.offer(hub, MEMBERS);
    us.mirror(hub, members, &[record("us", &excluded_at(end))]);
}

#[test]
fn what_is_born_here_does_not_claim_to_have_seen_what_is_held() {
    let mut hub = hub_that_holds();

    let (while_held, agent) = seen_of_us(&mut hub, 4, None);
    hub.restart(&with_members());
    let (restarted, agent) = seen_of_us(&mut hub, 5, Some(agent));
    hand_in(&mut hub, 3);
    let (handed_in, _) = seen_of_us(&mut hub, 8, Some(agent));

    assert_eq!([while_held, restarted, handed_in], [1, 1, 3]);
    let applied = hub.node.inventory().extent();
    assert_eq!(*hub.node.ingest.counted(), applied, "what counts is what was applied");
    assert_eq!(*hub.node.ingest.extent(), applied);
}

#[test]
fn a_hub_goes_on_from_a_snapshot_with_what_was_held_although_nobody_ever_hands_it_in() {
    let mut hub = hub_that_holds();
    hub.advance(11_000);
    let (_, agent) = seen_of_us(&mut hub, 4, None);
    let commits = hub.commits();

    hub.restart(&with_members());
    let restarted = (units(&hub), hub.node.regions().held_records);
    let (seen, _) = seen_of_us(&mut hub, 5, Some(agent));
    hand_in(&mut hub, 3);

    assert!(hub.replayed < commits, "{} of {commits} were replayed", hub.replayed);
    assert_eq!((restarted, seen), ((Some(4), 2), 1));
    assert_eq!((units(&hub), hub.node.regions().held_records), (Some(12), 0));
    let postings = hub.keys("inventory.postings");
    assert_eq!(postings, ["us/1", "eu/4", "eu/5", "us/2", "us/3"], "each is written once");
}

#[test]
fn when_no_more_can_be_held_only_that_log_waits_and_the_word_that_ends_it_gets_through() {
    let mut hub = joined(&with_members());
    let mut us = Remote::hub(&mut hub, 1, "us");
    let [events, members] = [EVENTS, MEMBERS].map(|topic| us.offer(&mut hub, topic));
    let write = |hub: &mut Hub, us: &mut Remote, id: &str| {
        us.mirror(hub, events, &[record("us-1-till", &restock(id))]);
    };
    write(&mut hub, &mut us, "us/1");
    ask(&mut hub, RegionAction::Add, "us").unwrap();
    ask(&mut hub, RegionAction::Exclude, "us").unwrap();
    write(&mut hub, &mut us, "us/2");
    write(&mut hub, &mut us, "us/3");
    hub.node.inventory.limit_held(headland_event::ByteCount::new(1));

    write(&mut hub, &mut us, "us/4");
    let before = (hub.records("us.inventory.events").len(), hub.node.regions().held_records);
    seen_of_us(&mut hub, 8, None);
    us.mirror(&mut hub, members, &[record("us", &excluded_at(4))]);

    assert_eq!(before, (3, 2), "the fourth waits with its sender");
    assert_eq!(hub.records("us.inventory.events").len(), 4);
    assert_eq!((units(&hub), hub.node.regions().held_records), (Some(16), 0));
    let postings = hub.keys("inventory.postings");
    assert_eq!(postings, ["us/1", "eu/8", "us/2", "us/3", "us/4"], "others go on");
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

    assert_eq!((at_rest, reports(&hub)), (2, 3), "the first one says that it has nothing yet");
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
    assert!(refused[2].contains("its own hub hands in what others wrote"), "{}", refused[2]);
    assert!(refused[3].starts_with("no life of region ap is active here"), "{}", refused[3]);
    let error = ask(&mut silent, RegionAction::Drain, "us").unwrap_err();
    assert_eq!(error, RegionError::NotConfigured);
    assert!(silent.node.topics().get(&crate::members::members_topic()).is_none());
}

#[test]
fn a_hub_without_members_refuses_one_that_has_them_and_names_both() {
    let mut hub = Hub::new();
    let mut us = Remote::hub(&mut hub, 1, "us");

    us.offer(&mut hub, MEMBERS);

    let closed: Vec<String> = hub.closed.iter().map(|(_, why)| why.to_string()).collect();
    assert_eq!(closed.len(), 1, "{closed:?}");
    let text = "region/us/hub/hub-1 has a section [membership] in its configuration and \
                region/eu/hub/hub-1 has none";
    assert!(closed[0].contains(text), "{closed:?}");
}

#[test]
fn a_hub_that_joins_hears_who_takes_part_before_it_counts_what_others_go_on_without() {
    let mut hub = Hub::configured(&with_members());
    hub.settle();
    let mut us = Remote::hub(&mut hub, 1, "us");
    let [events, members] = [EVENTS, MEMBERS].map(|topic| us.offer(&mut hub, topic));

    for id in ["us/1", "us/2"] {
        us.mirror(&mut hub, events, &[record("us-1-till", &restock(id))]);
    }
    let before = units(&hub);
    us.mirror(&mut hub, members, &[record("us", &excluded_at(1))]);
    for _ in 0..3 {
        hub.advance(1_000);
        hub.talk(&mut us);
    }

    assert_eq!((before, units(&hub)), (None, Some(4)));
    assert_eq!(hub.node.regions().held_records, 1);
    let said = hub.texts(MEMBERS);
    assert!(!said.iter().any(|text| text.contains("more of its logs")), "{said:?}");
}

#[test]
fn a_hub_that_reaches_nobody_joins_after_a_while() {
    let mut hub = Hub::configured(&with_members());
    let standing = |hub: &mut Hub| {
        hub.settle();
        serde_json::to_value(hub.node.regions()).unwrap()["lives"][0]["standing"].clone()
    };
    let mut at = Vec::new();
    for _ in 0..3 {
        hub.advance(4_900);
        at.push(standing(&mut hub));
    }

    let nothing = serde_json::Value::Null;
    assert_eq!(at, [nothing.clone(), nothing, "active".into()]);
}

/// A hub where two lives of `us` take part; the second one has written one record.
fn hub_with_two_lives() -> (Hub, Incarnation) {
    let (mut hub, mut us, channel) = hub_with_us();
    let second = Incarnation::new(2, 7);
    let mut stamp = remote::stamp("us", Offset::new(1));
    stamp.actor.incarnation = second;
    us.publish_stamped(&mut hub, channel, &[record("us-1-till", &restock("us/2"))], Some(stamp));
    ask(&mut hub, RegionAction::Add, "us").unwrap();
    (hub, second)
}

#[test]
fn with_a_life_that_is_lost_another_that_goes_on_is_not_ended() {
    let (mut hub, second) = hub_with_two_lives();
    let all = ask(&mut hub, RegionAction::Exclude, "us").unwrap_err();
    let mut asked = request(RegionAction::Exclude, "us");
    asked.life = Some(LifeName::of(LIFE));

    hub.node.on_region(hub.now, &asked).unwrap();
    hub.settle();

    let text = "several lives of region us go on: 1-0000000000000005, 2-0000000000000007";
    assert!(all.to_string().starts_with(text), "{all}");
    let standing = |incarnation| {
        let life = Holder { region: "us".parse().unwrap(), incarnation };
        hub.node.inventory.members().standing(&life)
    };
    assert_eq!(standing(LIFE), Some(MemberStanding::Excluded));
    assert_eq!(standing(second), Some(MemberStanding::Active));
}

#[test]
fn a_change_is_answered_with_the_list_only_once_it_was_read() {
    let (mut hub, _us, _) = hub_with_us();

    let end = hub.node.on_region(hub.now, &request(RegionAction::Drain, "us")).unwrap();
    let early = hub.node.regions_from(end).is_some();
    hub.settle();

    let view = serde_json::to_value(hub.node.regions_from(end)).unwrap();
    assert!(!early);
    assert_eq!(view["lives"][1]["standing"], "draining", "{view}");
}

#[test]
fn what_nobody_else_can_hand_in_any_hub_that_holds_it_can() {
    let mut hub = hub_that_holds();

    let first = ask(&mut hub, RegionAction::Return, "us");
    let again = ask(&mut hub, RegionAction::Return, "us");

    assert_eq!((units(&hub), hub.node.regions().held_records), (Some(12), 0));
    assert_eq!(first, again, "asked for again, it is done once");
}

#[test]
fn what_only_another_hub_holds_that_one_can_hand_in_although_the_region_goes_on() {
    let mut hub = hub_that_holds();
    let region: headland_event::RegionId = "us".parse().unwrap();
    let life = Holder { region, incarnation: Incarnation::new(2, 7) };
    let (standing, ends) = (MemberStanding::Active, VectorClock::new());
    let (by, reason) = (Reviewer::new("bob").unwrap(), ReasonText::new("back").unwrap());
    let change = MemberChange { life, standing, ends };
    let record_of = MemberRecord::Change(SignedChange { change, by, reason }).to_json();
    let mut us = Remote::hub(&mut hub, 7, "us");
    let members = us.offer(&mut hub, MEMBERS);
    us.mirror(&mut hub, members, &[record("us", &String::from_utf8(record_of).unwrap())]);

    let first = ask(&mut hub, RegionAction::Return, "us");
    let again = ask(&mut hub, RegionAction::Return, "us").unwrap_err().to_string();

    assert!(first.is_ok(), "{first:?}");
    assert_eq!((units(&hub), hub.node.regions().held_records), (Some(12), 0));
    assert!(again.starts_with("this hub holds nothing of region us beyond its end"), "{again}");
    assert!(again.contains("held_records"), "{again}");
}

#[test]
fn a_log_that_ended_is_handed_on_to_hubs_that_lack_some_of_it_and_not_any_longer() {
    let peer = "[[peer]]\nregion = \"ap\"\nname = \"hub-1\"\naddress = \"none:1\"\n";
    let mut hub = joined(&with_members().replace("[[agent]]", &format!("{peer}[[agent]]")));
    let mut us = Remote::hub(&mut hub, 1, "us");
    let channel = us.offer(&mut hub, EVENTS);
    us.mirror(&mut hub, channel, &[record("us-1-till", &restock("us/1"))]);
    let mut ap = Remote::hub(&mut hub, 2, "ap");
    let offered = |ap: &Remote| {
        let topic = format!("us.{EVENTS}");
        let is_it = |said: &&LinkOutput| {
            matches!(said, LinkOutput::Announced(announce)
            if announce.offer.source.topic.as_str() == topic)
        };
        ap.said.iter().filter(is_it).count()
    };
    let reported = |end: u64| record("ap/applied", &ap_applied(end));
    let members = ap.offer(&mut hub, MEMBERS);
    ap.mirror(&mut hub, members, &[reported(0)]);
    let look = |hub: &mut Hub, ap: &mut Remote| {
        for _ in 0..2 {
            hub.advance(1_000);
            hub.talk(ap);
        }
    };

    ask(&mut hub, RegionAction::Add, "us").unwrap();
    look(&mut hub, &mut ap);
    let before = offered(&ap);
    ask(&mut hub, RegionAction::Exclude, "us").unwrap();
    look(&mut hub, &mut ap);
    let lacking = offered(&ap);
    let mut later = Remote::hub(&mut hub, 3, "ap");
    later.take_log_of(ap);
    let members = later.offer(&mut hub, MEMBERS);
    later.mirror(&mut hub, members, &[reported(1)]);
    look(&mut hub, &mut later);
    let again = Remote::hub(&mut hub, 4, "ap");

    assert_eq!((before, lacking, offered(&again)), (0, 1, 0));
}

/// What the hub of `ap` says that it has applied: so much of the log of `us`.
fn ap_applied(end: u64) -> String {
    let mut applied = VectorClock::new();
    applied.advance(&actor_of_us(), Offset::new(end));
    let life = Holder { region: "ap".parse().unwrap(), incarnation: LIFE };
    let record = MemberRecord::Report(headland_reconcile::MemberReport::new(life, applied));
    String::from_utf8(record.to_json()).unwrap()
}

#[test]
fn the_log_of_members_is_compacted_and_what_is_left_says_all() {
    let small = "api = { socket = \"none\" }\nstorage = { file_bytes = \"64KiB\" }";
    let config = with_members().replace("api = { socket = \"none\" }", small);
    let mut hub = joined(&config);
    let mut us = Remote::hub(&mut hub, 1, "us");
    let channel = us.offer(&mut hub, EVENTS);
    us.subscribe_all();
    hub.talk(&mut us);
    for number in 0..300 {
        us.mirror(&mut hub, channel, &[record("us-1-till", &restock(&format!("us/{number}")))]);
        hub.advance(1_000);
        hub.talk(&mut us);
        us.store_all();
        us.said.clear();
        hub.talk(&mut us);
        match number {
            3 => drop(ask(&mut hub, RegionAction::Add, "us").unwrap()),
            9 => drop(ask(&mut hub, RegionAction::Drain, "us").unwrap()),
            _ => {}
        }
    }

    let entries = hub.entries(MEMBERS);
    let left: usize = entries.iter().map(|entry| entry.batch.len()).sum();
    let mut read = Membership::new();
    let applied = hub.node.inventory().applied();
    let places = entries.iter().flat_map(|entry| {
        let first = entry.stamp.as_ref().unwrap().offset;
        let records = entry.batch.numbered_records().unwrap().into_iter();
        // What stands for compacted records has no value.
        records.filter_map(move |(delta, record)| Some((first.at(delta), record.value?)))
    });
    for (at, value) in places {
        match MemberRecord::parse(&value).unwrap() {
            MemberRecord::Change(signed) => read.on_change(&signed.change),
            MemberRecord::Report(report) => read.on_report_at(report, at, &applied),
            MemberRecord::Void(_) => {}
        }
    }
    assert!(left < 200, "{left} records are left of {}", hub.node.regions().lives.len());
    assert_eq!(&read, hub.node.inventory.members());
}

#[test]
fn a_hub_that_drains_takes_no_inventory_of_agents_and_all_else() {
    let mut hub = joined(&with_members());
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
