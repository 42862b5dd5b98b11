//! What operators ask of links, and how these do.

use std::time::Duration;

use headland_event::{ByteCount, Lane, Offset};
use headland_replication::{Condition, LinkOutput, Refusal, RefusalCode};

use super::hub::{CONFIG, Hub};
use super::remote::{Remote, record};
use crate::links::{LinkChange, LinkView};
use crate::node::{LinkError, LinkState};

const EVENTS: &str = "inventory.events";

/// A hub with a linked peer and an agent.
fn linked(text: &str) -> (Hub, Remote, Remote, headland_event::ChannelId) {
    let mut hub = Hub::configured(text);
    let us = Remote::hub(&mut hub, 1, "us");
    let mut agent = Remote::agent(&mut hub, 2);
    let channel = agent.offer(&mut hub, EVENTS);
    (hub, us, agent, channel)
}

fn change(hub: &mut Hub, change: &LinkChange) {
    let ticket = hub.node.on_link_change(hub.now, &"us".parse().unwrap(), change).unwrap();
    hub.settle();
    assert!(hub.node.is_durable(ticket));
}

fn link(hub: &Hub) -> LinkView {
    hub.node.link(hub.now, &"us".parse().unwrap()).unwrap()
}

fn wait(hub: &mut Hub, us: &mut Remote, seconds: u64) {
    for _ in 0..seconds {
        hub.advance(1_000);
        us.link.on_timeout(hub.now.monotonic);
        hub.talk(us);
    }
}

#[test]
fn a_paused_lane_sends_nothing_until_it_is_resumed_and_says_what_is_held() {
    let (mut hub, mut us, mut agent, channel) = linked(CONFIG);
    change(&mut hub, &LinkChange::Pause([Lane::State].into()));

    agent.publish(&mut hub, channel, &[record("eu-1-till", "{}")]);
    hub.talk(&mut us);
    us.subscribe_all();
    wait(&mut hub, &mut us, 60);
    let (held, view) = (us.delivered(), link(&hub));
    change(&mut hub, &LinkChange::Resume([].into()));
    hub.talk(&mut us);
    us.store_all();
    hub.talk(&mut us);

    assert_eq!((held, view.condition, view.outstanding.records), (0, Condition::Paused, 1));
    assert!(view.outstanding.age_ms >= 60_000, "{view:?}");
    assert!(us.delivered() > 0);
    assert_eq!((link(&hub).condition, link(&hub).outstanding.records), (Condition::Ok, 0));
}

#[test]
fn a_pause_holds_over_a_restart() {
    let (mut hub, ..) = linked(CONFIG);
    change(&mut hub, &LinkChange::Pause([].into()));
    change(&mut hub, &LinkChange::Limit(Some(ByteCount::new(9))));

    hub.restart(CONFIG);

    let view = link(&hub);
    assert_eq!(view.paused, [Lane::Alerts, Lane::State, Lane::Telemetry].into());
    assert_eq!(view.bytes_per_second, Some(ByteCount::new(9)));
}

#[test]
fn a_limited_link_sends_its_rate_and_goes_on_by_itself() {
    let limited = CONFIG.replace("address = \"none", "rate = \"1000B\"\naddress = \"none");
    let (mut hub, mut us, mut agent, channel) = linked(&limited);
    hub.talk(&mut us);
    for _ in 0..20 {
        agent.publish(&mut hub, channel, &[record("eu-1-till", &"x".repeat(900))]);
    }
    hub.talk(&mut us);
    us.subscribe_all();
    hub.talk(&mut us);
    let early = us.delivered();

    for _ in 0..40 {
        wait(&mut hub, &mut us, 1);
        us.store_all();
    }

    assert!(early < 5, "{early} at once");
    assert!(us.delivered() >= 20, "{} after 40 s", us.delivered());
}

#[test]
fn a_link_that_is_down_is_down_and_what_the_region_lacks_grows() {
    let (mut hub, us, mut agent, channel) = linked(CONFIG);
    hub.node.on_disconnected(hub.now, us.link_id);

    agent.publish(&mut hub, channel, &[record("eu-1-till", "{}")]);
    hub.advance(7_000);
    hub.settle();
    let view = link(&hub);

    assert_eq!((view.state, view.condition), (LinkState::Down, Condition::Down));
    let topics = view.topics.unwrap();
    let events = topics.iter().find(|topic| topic.topic.as_str() == EVENTS).unwrap();
    assert_eq!(events.outstanding.records, 1);
    assert!(events.outstanding.bytes > 0);
    assert_eq!(Duration::from_millis(events.outstanding.age_ms), Duration::from_secs(7));
}

#[test]
fn a_peer_that_acknowledges_nothing_is_stalled_after_ten_seconds() {
    let (mut hub, mut us, mut agent, channel) = linked(CONFIG);
    hub.talk(&mut us);
    us.subscribe_all();
    hub.talk(&mut us);
    us.store_all();
    wait(&mut hub, &mut us, 1);
    agent.publish(&mut hub, channel, &[record("eu-1-till", "{}")]);
    hub.talk(&mut us);

    wait(&mut hub, &mut us, 7);
    let before = link(&hub).condition;
    wait(&mut hub, &mut us, 10);

    assert_eq!((before, link(&hub).condition), (Condition::CatchingUp, Condition::Stalled));
}

/// The link after the peer refused the topic for this reason, and a record more.
fn refused(code: RefusalCode) -> LinkView {
    let (mut hub, mut us, mut agent, channel) = linked(CONFIG);
    agent.publish(&mut hub, channel, &[record("eu-1-till", "{}")]);
    hub.talk(&mut us);
    us.subscribe_all();
    hub.talk(&mut us);
    us.store_all();
    hub.talk(&mut us);
    let announced = us.said.iter().find_map(|said| match said {
        LinkOutput::Announced(of) if of.offer.origin_topic.as_str() == EVENTS => Some(of.channel),
        _ => None,
    });

    us.link.refuse(announced.unwrap(), Refusal::new(code, "for a reason"));
    hub.talk(&mut us);
    agent.publish(&mut hub, channel, &[record("eu-1-till", "{}")]);
    hub.talk(&mut us);

    assert_eq!(hub.node.status().links[0].lag_records, link(&hub).outstanding.records);
    link(&hub)
}

#[test]
fn a_topic_that_is_refused_is_outstanding_and_named_unless_it_comes_over_another_way() {
    let (unfit, elsewhere) =
        (refused(RefusalCode::PositionUnavailable), refused(RefusalCode::Loop));

    assert_eq!((unfit.condition, unfit.outstanding.records), (Condition::Refused, 1));
    assert_eq!(unfit.refused_topics, [EVENTS.parse().unwrap()]);
    assert_eq!((elsewhere.condition, elsewhere.outstanding.records), (Condition::Ok, 0));
    assert_eq!(elsewhere.refused_topics, []);
}

#[test]
fn a_topic_that_is_excluded_is_not_offered_and_not_missed() {
    let narrow =
        CONFIG.replace("address = \"none", "exclude = [\"inventory.*\"]\naddress = \"none");
    let (mut hub, mut us, mut agent, channel) = linked(&narrow);

    agent.publish(&mut hub, channel, &[record("eu-1-till", "{}")]);
    hub.talk(&mut us);

    let topics = link(&hub).topics.unwrap();
    assert!(topics.iter().all(|topic| !topic.topic.as_str().starts_with("inventory.")));
    us.subscribe_all();
    hub.talk(&mut us);
    us.store_all();
    hub.talk(&mut us);
    assert_eq!(link(&hub).outstanding.records, 0);
}

#[test]
fn what_no_link_can_do_is_refused_with_what_would_fit() {
    let (mut hub, ..) = linked(CONFIG);
    let mut ask = |region: &str, change: LinkChange| {
        let region = region.parse().unwrap();
        hub.node.on_link_change(hub.now, &region, &change).unwrap_err()
    };

    let known = "us".to_owned();
    let unknown = LinkError::NoLink { region: "ap".parse().unwrap(), known };
    assert_eq!(ask("ap", LinkChange::Limit(None)), unknown);
    assert_eq!(ask("us", LinkChange::Limit(Some(ByteCount::new(0)))), LinkError::NoRate);
    let control = LinkChange::Pause([Lane::Control].into());
    assert_eq!(ask("us", control), LinkError::ControlLane);
}

#[test]
fn a_link_says_how_long_records_took_by_this_hubs_own_clock_and_a_cut_counts() {
    let (mut hub, mut us, mut agent, channel) = linked(CONFIG);
    agent.publish(&mut hub, channel, &[record("eu-1-till", "{}")]);
    hub.talk(&mut us);
    us.subscribe_all();
    hub.talk(&mut us);
    let before = link(&hub).latency.get("state").copied();
    hub.advance(40);
    us.store_all();
    hub.talk(&mut us);
    let first = link(&hub).latency["state"];

    for _ in 0..3 {
        agent.publish(&mut hub, channel, &[record("eu-1-till", "{}")]);
    }
    hub.node.on_disconnected(hub.now, us.link_id);
    hub.advance(7_000);
    let mut us = Remote::hub(&mut hub, 3, "us");
    let offered = us.said.iter().find_map(|said| match said {
        LinkOutput::Announced(of) if of.offer.source.topic.as_str() == EVENTS => Some(of.channel),
        _ => None,
    });
    us.link.subscribe(offered.unwrap(), Offset::new(1));
    hub.talk(&mut us);
    us.store_all();
    hub.talk(&mut us);
    let after = link(&hub).latency["state"];

    assert_eq!(before, None, "nothing was acknowledged");
    assert_eq!((first.records, first.p50_ms, first.max_ms), (1, 40, 40));
    assert_eq!((after.records, after.max_ms), (4, 7_000));
    assert!(after.p50_ms >= 7_000 && after.p99_ms == 7_000, "{after:?}");
    let (region, lane, counted) = hub.node.latencies().next().unwrap();
    assert_eq!((region.as_str(), lane, counted.records), ("us", Lane::State, 4));
}
