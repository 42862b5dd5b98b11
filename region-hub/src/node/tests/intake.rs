//! What a peer delivers and promises, and what the hub makes of it.

use std::time::Duration;

use headland_event::{
    Batch, EventTime, Hlc, Incarnation, Offset, PartitionIndex, Stamp, TopicName, Verdict,
};
use headland_replication::frame::{ChannelEnd, ChannelPromise};
use headland_replication::{CloseReason, LinkOutput, RefusalCode};

use super::hub::{CONFIG, Hub, START};
use super::remote::{Remote, at, record, stamp};
use crate::ingest::FOREIGN_ACTORS_LIMIT;

const EVENTS: &str = "inventory.events";

/// A sale of one unit.
fn sale(id: u32) -> String {
    format!(
        r#"{{"id":"eu-1/{id}","kind":"sale","device":"eu-1-till","sku":"85123A","location":"eu-1","#
    ) + r#""quantity":1,"time":"2010-12-01T08:06:00Z"}"#
}

/// Promises the events up to a time, as far as the agent's log goes.
fn promise(hub: &mut Hub, agent: &mut Remote, channel: headland_event::ChannelId, upto: EventTime) {
    let topic = TopicName::new(EVENTS).unwrap();
    let ends = vec![ChannelEnd { channel, end: agent.end(channel) }];
    agent.link.promise(ChannelPromise { topic, watermark: upto, ends }).unwrap();
    hub.talk(agent);
    hub.advance(1_000);
    hub.talk(agent);
}

fn acknowledged(remote: &Remote) -> Vec<u64> {
    let next = |said: &LinkOutput| match said {
        LinkOutput::Acked { next, .. } => Some(next.get()),
        _ => None,
    };
    remote.said.iter().filter_map(next).collect()
}

fn ended(remote: &Remote) -> Option<(RefusalCode, String)> {
    remote.said.iter().find_map(|said| match said {
        LinkOutput::OfferRefused { refusal, .. } => Some((refusal.code(), refusal.to_string())),
        _ => None,
    })
}

fn closed_with(hub: &Hub) -> Option<RefusalCode> {
    hub.closed.iter().find_map(|(_, reason)| match reason {
        CloseReason::RefusedHere(refusal) => Some(refusal.code()),
        _ => None,
    })
}

#[test]
fn a_record_is_acknowledged_once_its_commit_is_durable_and_not_before() {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, EVENTS);
    let durable = usize::try_from(hub.commits()).unwrap();

    hub.cut_power_after(0);
    agent.publish(&mut hub, channel, &[record("eu-1-till", &sale(1))]);
    let without_disk = acknowledged(&agent);
    hub.restart(CONFIG);
    let mut agent = Remote::agent(&mut hub, 2);
    let channel = agent.offer(&mut hub, EVENTS);
    agent.publish(&mut hub, channel, &[record("eu-1-till", &sale(1))]);

    assert_eq!(without_disk.iter().filter(|next| **next > 0).count(), 0);
    assert_eq!(acknowledged(&agent).last(), Some(&1));
    assert!(usize::try_from(hub.commits()).unwrap() > durable);
}

#[test]
fn a_hub_goes_on_where_it_stood_after_a_restart() {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, EVENTS);
    agent.publish(&mut hub, channel, &[record("eu-1-till", &sale(1))]);

    hub.restart(CONFIG);
    let mut again = Remote::agent(&mut hub, 2);
    again.take_log_of(agent);
    let channel = again.offer(&mut hub, EVENTS);
    again.publish(&mut hub, channel, &[record("eu-1-till", &sale(2))]);

    let values: Vec<String> = hub.texts(EVENTS);
    assert_eq!(values, [sale(1), sale(2)]);
    assert_eq!(hub.texts("inventory.stock").len(), 2);
}

#[test]
fn a_promise_makes_what_comes_after_it_and_lies_before_it_late() {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, EVENTS);
    agent.publish(&mut hub, channel, &[record("eu-1-till", &sale(1))]);

    promise(&mut hub, &mut agent, channel, START);
    let just_after = EventTime::from_millis(START.millis() + 1);
    let records = [record("eu-1-till", &sale(2)), at("eu-1-till", just_after, &sale(3))];
    agent.publish(&mut hub, channel, &records);

    assert_eq!(hub.verdicts(EVENTS), [Verdict::OnTime, Verdict::Late, Verdict::OnTime]);
    assert_eq!(hub.keys("inventory.late"), ["eu-1/2"]);
}

#[test]
fn a_promise_from_the_future_is_ignored_and_one_at_the_limit_is_not() {
    let topic = TopicName::new(EVENTS).unwrap();
    let of = |ahead: Duration| {
        let mut hub = Hub::new();
        let mut agent = Remote::agent(&mut hub, 1);
        let channel = agent.offer(&mut hub, EVENTS);
        promise(&mut hub, &mut agent, channel, START.plus(ahead));
        hub.node.status().watermarks.get(&topic).copied()
    };

    let limit = headland_event::progress::FUTURE_LIMIT;

    assert_eq!(of(limit), Some(START.plus(limit)));
    assert_eq!(of(limit + Duration::from_millis(1)), None);
}

#[test]
fn a_promise_survives_a_restart_and_never_falls() {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, EVENTS);
    promise(&mut hub, &mut agent, channel, START);

    hub.restart(CONFIG);
    let mut agent = Remote::agent(&mut hub, 2);
    let channel = agent.offer(&mut hub, EVENTS);
    promise(&mut hub, &mut agent, channel, EventTime::from_millis(START.millis() - 1));

    let topic = TopicName::new(EVENTS).unwrap();
    assert_eq!(hub.node.status().watermarks.get(&topic), Some(&START));
    assert_eq!(hub.texts("_promises").len(), 1);
}

#[test]
fn a_record_of_another_agents_device_is_kept_out_of_state_and_becomes_a_dead_letter() {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, EVENTS);

    let records = [record("eu-2-till", &sale(1)), record("eu-1-till", &sale(2))];
    agent.publish(&mut hub, channel, &records);

    assert_eq!(hub.verdicts(EVENTS), [Verdict::Forbidden, Verdict::OnTime]);
    assert_eq!(hub.keys("inventory.events.dead"), ["eu-2-till"]);
    assert_eq!(hub.keys("inventory.stock"), ["85123A|eu-1"]);
    assert!(hub.texts("inventory.stock").concat().contains("\"units\":-1"));
}

#[test]
fn a_stamp_of_a_foreign_region_is_refused_and_nothing_of_it_is_stored() {
    let mut hub = Hub::new();
    let mut us = Remote::hub(&mut hub, 1, "us");
    let channel = us.offer(&mut hub, EVENTS);

    let forged = stamp("ap", us.end(channel));
    us.publish_stamped(&mut hub, channel, &[record("ap-1-till", &sale(1))], Some(forged));

    let (code, text) = ended(&us).unwrap();
    assert_eq!(code, RefusalCode::BadFrame);
    assert!(text.contains("its stamp is of region ap"), "{text}");
    assert_eq!(hub.texts("us.inventory.events"), [""; 0]);
    assert!(hub.closed.is_empty());
}

#[test]
fn a_stamp_of_another_partition_is_refused_and_nothing_of_it_is_stored() {
    let mut hub = Hub::new();
    let mut us = Remote::hub(&mut hub, 1, "us");
    let channel = us.offer(&mut hub, EVENTS);

    let mut forged = stamp("us", us.end(channel));
    forged.actor.partition = PartitionIndex::new(1);
    us.publish_stamped(&mut hub, channel, &[record("us-1-till", &sale(1))], Some(forged));

    let (code, text) = ended(&us).unwrap();
    assert_eq!(code, RefusalCode::BadFrame);
    assert!(text.contains("its stamp is of partition 1"), "{text}");
    assert_eq!(hub.texts("us.inventory.events"), [""; 0]);
}

#[test]
fn a_stamp_at_the_last_offset_closes_the_link_and_the_hub_goes_on() {
    let mut hub = Hub::new();
    let mut us = Remote::hub(&mut hub, 1, "us");
    let channel = us.offer(&mut hub, EVENTS);

    let forged = stamp("us", Offset::new(u64::MAX));
    us.publish_stamped(&mut hub, channel, &[record("us-1-till", &sale(1))], Some(forged));

    assert_eq!(closed_with(&hub), Some(RefusalCode::BadFrame));
    assert_eq!(hub.texts("us.inventory.events"), [""; 0]);
}

/// A stamp of another life of the hub in us.
fn stamp_of_life(life: usize, offset: Offset) -> Stamp {
    let mut stamp = stamp("us", offset);
    stamp.actor.incarnation = Incarnation::new(2, u64::try_from(life).unwrap());
    stamp
}

#[test]
fn an_actor_beyond_the_limit_closes_the_link_and_the_hub_still_writes() {
    let mut hub = Hub::new();
    let batch = Batch::encode(&[record("us-1-till", &sale(1))]).unwrap();
    let topic = TopicName::new(EVENTS).unwrap();
    for life in 2..=FOREIGN_ACTORS_LIMIT {
        hub.node.ingest.observe(&topic, &stamp_of_life(life, Offset::new(0)), &batch);
    }
    let mut us = Remote::hub(&mut hub, 1, "us");
    let channel = us.offer(&mut hub, EVENTS);

    for (life, id) in [(1, 1), (2, 2)] {
        let stamp = stamp_of_life(life, us.end(channel));
        us.publish_stamped(&mut hub, channel, &[record("us-1-till", &sale(id))], Some(stamp));
    }
    let before = (hub.texts("us.inventory.events").len(), closed_with(&hub));
    let stamp = stamp_of_life(FOREIGN_ACTORS_LIMIT + 1, us.end(channel));
    us.publish_stamped(&mut hub, channel, &[record("us-1-till", &sale(3))], Some(stamp));
    let mut agent = Remote::agent(&mut hub, 2);
    let ours = agent.offer(&mut hub, EVENTS);
    agent.publish(&mut hub, ours, &[record("eu-1-till", &sale(4))]);
    agent.publish(&mut hub, ours, &[record("eu-1-till", &sale(5))]);

    assert_eq!(before, (2, None));
    assert_eq!(closed_with(&hub), Some(RefusalCode::NotAuthorised));
    assert_eq!(hub.texts("us.inventory.events").len(), 2);
    assert_eq!(hub.texts(EVENTS).len(), 2);
    assert_eq!(hub.node.ingest.heads().len(), FOREIGN_ACTORS_LIMIT + 1);
}

#[test]
fn a_mirrored_batch_without_a_stamp_is_refused() {
    let mut hub = Hub::new();
    let mut us = Remote::hub(&mut hub, 1, "us");
    let channel = us.offer(&mut hub, EVENTS);

    us.publish(&mut hub, channel, &[record("us-1-till", &sale(1))]);

    let (code, text) = ended(&us).unwrap();
    assert_eq!(code, RefusalCode::BadFrame);
    assert!(text.contains("without a stamp"), "{text}");
}

#[test]
fn a_mirrored_batch_keeps_its_stamp_and_its_dot() {
    let mut hub = Hub::new();
    let mut us = Remote::hub(&mut hub, 1, "us");
    let channel = us.offer(&mut hub, EVENTS);

    us.mirror(&mut hub, channel, &[record("us-1-till", &sale(1))]);

    let entries = hub.entries("us.inventory.events");
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].stamp, Some(stamp("us", Offset::new(0))));
    assert_eq!(entries[0].dot, us.dot(channel, 0));
}

#[test]
fn a_topic_outside_the_grant_is_refused_and_the_link_goes_on() {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);

    agent.offer(&mut hub, "air.readings");
    let channel = agent.offer(&mut hub, EVENTS);
    agent.publish(&mut hub, channel, &[record("eu-1-till", &sale(1))]);

    let (code, text) = ended(&agent).unwrap();
    assert_eq!(code, RefusalCode::NotAuthorised);
    assert!(text.contains("add air.readings to topics of [[agent]] name = \"eu-1\""), "{text}");
    assert_eq!(hub.texts(EVENTS).len(), 1);
}

#[test]
fn what_an_agent_publishes_is_offered_to_the_other_region_and_what_came_from_there_is_not() {
    let mut hub = Hub::new();
    let mut us = Remote::hub(&mut hub, 1, "us");
    let mut agent = Remote::agent(&mut hub, 2);
    let theirs = us.offer(&mut hub, EVENTS);
    let ours = agent.offer(&mut hub, EVENTS);

    us.mirror(&mut hub, theirs, &[record("us-1-till", &sale(1))]);
    agent.publish(&mut hub, ours, &[record("eu-1-till", &sale(2))]);
    hub.talk(&mut us);

    let announced = |said: &LinkOutput| match said {
        LinkOutput::Announced(announce) => Some(announce.offer.source.topic.to_string()),
        _ => None,
    };
    let announced: Vec<_> = us.said.iter().filter_map(announced).collect();
    assert_eq!(announced, ["_refills", EVENTS, "alerts"]);
}

#[test]
fn a_traced_record_has_a_span_for_each_thing_that_became_of_it() {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, EVENTS);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    let records = [record("eu-1-till", &sale(1)), record("eu-2-till", &sale(2))]
        .map(|record| record.with_header("traceparent", trace));
    agent.publish(&mut hub, channel, &records);

    let mut names: Vec<&str> = hub.spans.iter().map(|span| span.name).collect();
    names.sort_unstable();
    // The sale is derived three times: its postings, its stock, and that it was oversold.
    let expected = [
        "hub.alert",
        "hub.dead_letter",
        "hub.derive",
        "hub.derive",
        "hub.derive",
        "hub.ingest",
        "hub.ingest",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_clock_beyond_every_date_is_refused_so_that_ours_goes_on_growing() {
    let mut hub = Hub::new();
    let mut us = Remote::hub(&mut hub, 1, "us");
    let channel = us.offer(&mut hub, EVENTS);
    let end_of_time = Hlc::new(EventTime::from_millis(i64::MAX), u32::MAX);

    let stamp = Stamp { hlc: end_of_time, ..stamp("us", Offset::new(0)) };
    us.publish_stamped(&mut hub, channel, &[record("us-1-till", "{}")], Some(stamp));

    assert_eq!(closed_with(&hub), Some(RefusalCode::BadFrame));
    assert_eq!(hub.entries("us.inventory.events"), []);
}
