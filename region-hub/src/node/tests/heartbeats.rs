//! Heartbeats of a hub, there and in another region.

use headland_event::{Incarnation, Offset, TopicName};

use super::hub::{CONFIG, Hub, START};
use super::remote::{Remote, record};
use crate::peer_link::LinkId;
use crate::records::heartbeat_record;

const LINK: LinkId = LinkId::new(100);

/// Region `us`, linked to `eu`.
fn us(more: &str) -> String {
    let text = CONFIG.replacen("region = \"eu\"", "region = \"us\"", 1);
    text.replace("[[peer]]\nregion = \"us\"", "[[peer]]\nregion = \"eu\"") + more
}

/// When the heartbeats of a topic were written, in milliseconds since the test began.
fn beats(hub: &Hub, topic: &str) -> Vec<i64> {
    let entries = hub.entries(topic).into_iter();
    let records = entries.flat_map(|entry| entry.batch.records().unwrap());
    records.map(|record| record.time.millis() - START.millis()).collect()
}

#[test]
fn a_hub_says_every_second_that_it_is_there_and_another_region_hears_it() {
    let mut eu = Hub::configured(&(CONFIG.to_owned() + "[heartbeats]\n"));
    let mut us = Hub::configured(&us(""));
    eu.meet(&mut us, LINK);
    for _ in 0..12 {
        eu.advance(250);
        us.advance(250);
        eu.talk_to(&mut us, LINK);
    }

    let expected = vec![250, 1_250, 2_250];
    assert_eq!(beats(&eu, "heartbeats"), expected);
    assert_eq!(beats(&us, "eu.heartbeats"), expected);
    assert_eq!(beats(&us, "heartbeats"), Vec::<i64>::new(), "it has no section");
}

#[test]
fn a_heartbeat_says_which_life_of_which_region_was_there_when() {
    let now = headland_event::Now { wall: START, ..Default::default() };

    let record = heartbeat_record(&"eu".parse().unwrap(), Incarnation::new(1, 7), now);

    let value = r#"{"region":"eu","incarnation":"1-0000000000000007","time":1291190760000}"#;
    assert_eq!(record.key.as_deref(), Some(&b"eu"[..]));
    assert_eq!(record.value.as_deref(), Some(value.as_bytes()));
}

/// How long a hub keeps a topic, in milliseconds.
fn kept(hub: &Hub, name: &str) -> Option<u64> {
    hub.node.kept_of(hub.node.topics().get(&TopicName::new(name).unwrap()).unwrap()).retention_ms
}

const KEEP: &str = "[heartbeats]\nkeep = \"10m\"\n";

#[test]
fn a_hubs_own_heartbeats_are_kept_for_as_long_as_it_says_and_no_copy_of_that_name_is_cut() {
    let mut hub = Hub::configured(&(CONFIG.to_owned() + KEEP));
    let mut us = Remote::hub(&mut hub, 1, "us");
    for name in ["heartbeats", "heartbeats.dead"] {
        let channel = us.offer(&mut hub, name);
        us.mirror(&mut hub, channel, &[record("us", "{}")]);
    }
    hub.advance(1);
    hub.settle();

    let names = ["heartbeats", "us.heartbeats", "us.heartbeats.dead"];
    assert_eq!(names.map(|name| kept(&hub, name)), [Some(600_000), None, None]);
    hub.restart(&(CONFIG.to_owned() + KEEP));
    assert_eq!(names.map(|name| kept(&hub, name)), [Some(600_000), None, None]);
}

#[test]
fn copies_of_heartbeats_are_kept_as_their_hub_says_where_that_is_asked_for() {
    let mut eu = Hub::configured(&(CONFIG.to_owned() + KEEP));
    let least = "[sync]\nretention = \"origin\"\ntime_least = \"1m\"\n";
    let mut us = Hub::configured(&us(least));
    eu.meet(&mut us, LINK);
    eu.advance(250);
    eu.talk_to(&mut us, LINK);

    assert_eq!(kept(&us, "eu.heartbeats"), Some(600_000));
}

#[test]
fn what_agents_published_under_that_name_before_is_kept_as_a_whole() {
    let declared = CONFIG.replace("topics = [", "topics = [\"heartbeats\", ")
        + "[[topic]]\nname = \"heartbeats\"\npartitions = 1\n";
    let mut hub = Hub::configured(&declared);
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, "heartbeats");
    agent.publish(&mut hub, channel, &[record("eu-1-a", "{}")]);

    let beats = CONFIG.to_owned() + KEEP;
    let mut found = Vec::new();
    for _ in 0..2 {
        hub.restart(&beats);
        hub.advance(250);
        hub.settle();
        found.push((kept(&hub, "heartbeats"), hub.entries("heartbeats").len()));
    }

    assert_eq!(found, [(None, 2), (None, 3)]);
}

#[test]
fn heartbeats_that_others_wrote_between_are_not_cut_either() {
    let mut hub = Hub::configured(&(CONFIG.to_owned() + KEEP));
    hub.advance(1);
    hub.settle();
    let before = kept(&hub, "heartbeats");

    hub.restart(CONFIG);
    let mut us = Remote::hub(&mut hub, 1, "us");
    let channel = us.offer(&mut hub, "orders");
    us.mirror(&mut hub, channel, &[record("us", "{}")]);
    hub.restart(&(CONFIG.to_owned() + KEEP));

    assert_eq!((before, kept(&hub, "heartbeats")), (Some(600_000), None));
}

#[test]
fn heartbeats_have_a_stream_of_their_own() {
    let limit = "[[topic]]\nname = \"air\"\nretention = { time = \"1h\" }\n";
    let mut hub = Hub::configured(&(CONFIG.to_owned() + limit + "[heartbeats]\n"));
    hub.advance(1);
    hub.settle();

    let stream = |topic: &str| hub.entries(topic).first().map(|entry| entry.dot.stream);
    assert!(stream("heartbeats").is_some() && stream("_settings").is_some());
    assert_ne!(stream("heartbeats"), stream("_settings"));
    assert_eq!(hub.start_of("heartbeats"), Offset::new(0));
}
