//! How far consumer groups have read, at two hubs of two regions.

use headland_event::{GroupName, Incarnation, Lane, Offset, PartitionIndex, TopicName};
use headland_replication::groups::Change;

use super::hub::{CONFIG, Hub};
use super::remote::{Remote, partition, record, stamp};
use crate::groups::{OffsetsRequest, Place, PositionView};
use crate::links::LinkChange;
use crate::node::GroupError;
use crate::peer_link::LinkId;

const READINGS: &str = "readings";
const LINK: u64 = 100;

/// A hub with a topic of bulk, linked to the other region.
pub(super) fn config(region: &str, other: &str) -> String {
    let peer = format!("[[peer]]\nregion = \"{other}\"");
    let text = CONFIG.replace("[[peer]]\nregion = \"us\"", &peer);
    let text = text.replacen("region = \"eu\"", &format!("region = \"{region}\""), 1);
    text.replace("[[peer]]", "[[topic]]\nname = \"readings\"\npartitions = 1\n[[peer]]")
        .replace("topics = [", "topics = [\"readings\", ")
}

/// Two regions, and an agent of the first one that publishes so many records in batches of ten.
struct Regions {
    eu: Hub,
    us: Hub,
    agent: Remote,
    channel: headland_event::ChannelId,
}

impl Regions {
    fn new() -> Self {
        let mut eu = Hub::configured(&config("eu", "us"));
        let us = Hub::configured(&config("us", "eu"));
        let mut agent = Remote::agent(&mut eu, 1);
        let channel = agent.offer(&mut eu, READINGS);
        let mut regions = Self { eu, us, agent, channel };
        regions.meet(LINK);
        regions
    }

    fn meet(&mut self, link_id: u64) {
        let link_id = LinkId::new(link_id);
        self.eu.meet(&mut self.us, link_id);
        self.eu.talk_to(&mut self.us, link_id);
    }

    fn publish(&mut self, records: u64) {
        for _ in 0..records.div_ceil(10) {
            let batch: Vec<_> = (0..10).map(|_| record("eu-1-a", "{}")).collect();
            self.agent.publish(&mut self.eu, self.channel, &batch);
        }
        self.eu.talk_to(&mut self.us, LinkId::new(LINK));
    }

    fn change_link(&mut self, change: &LinkChange) {
        let us = "us".parse().unwrap();
        let _ticket = self.eu.node.on_link_change(self.eu.now, &us, change).unwrap();
        self.eu.talk_to(&mut self.us, LinkId::new(LINK));
    }
}

fn group() -> GroupName {
    GroupName::new("billing").unwrap()
}

pub(super) fn place(topic: &str, offset: u64) -> Place {
    let topic = TopicName::new(topic).unwrap();
    Place { topic, partition: PartitionIndex::new(0), offset: Offset::new(offset) }
}

fn set(hub: &mut Hub, change: Change, at: Place) -> Result<(), GroupError> {
    let request = OffsetsRequest { change, positions: vec![at] };
    let ticket = hub.node.on_group(hub.now, &group(), &request)?;
    hub.settle();
    assert!(hub.node.is_durable(ticket));
    Ok(())
}

fn only(hub: &Hub) -> PositionView {
    let mut positions = hub.node.group(&group()).positions;
    assert_eq!(positions.len(), 1, "{positions:?}");
    positions.remove(0)
}

/// Where the group reads on in a topic: offsets of this hub.
fn reads_on(hub: &Hub, topic: &str) -> Vec<(String, u64)> {
    let places = hub.node.reading(&group(), topic).unwrap().into_iter();
    places.map(|place| (place.at.to_string(), place.from.get())).collect()
}

#[test]
fn a_group_that_fails_over_reads_nothing_again_however_far_the_copy_is_behind() {
    for lag in [0, 10, 100, 10_000] {
        let mut regions = Regions::new();
        regions.publish(50);
        regions.change_link(&LinkChange::Pause([Lane::Telemetry].into()));
        regions.publish(lag);
        let read = 50 + lag;

        set(&mut regions.eu, Change::Commit, place(READINGS, read)).unwrap();
        regions.eu.talk_to(&mut regions.us, LinkId::new(LINK));
        let copied = regions.us.entries("eu.readings").last().map(|last| last.end().get());
        regions.us.node.on_disconnected(regions.us.now, LinkId::new(LINK));
        let position = only(&regions.us);
        let next = reads_on(&regions.us, "eu.readings");

        assert_eq!(copied, Some(50), "lag {lag}");
        assert_eq!((position.lag_records, position.ahead_records), (0, lag), "nothing to read");
        assert_eq!(next, [("eu.readings/0".to_owned(), read)]);
        regions.eu.node.on_disconnected(regions.eu.now, LinkId::new(LINK));
        regions.meet(LINK + 1);
        let _ticket = regions
            .eu
            .node
            .on_link_change(regions.eu.now, &"us".parse().unwrap(), &LinkChange::Resume([].into()))
            .unwrap();
        regions.eu.talk_to(&mut regions.us, LinkId::new(LINK + 1));
        assert_eq!(only(&regions.us).end.get(), read, "what was missing arrived");
        assert_eq!(reads_on(&regions.us, "eu.readings"), [("eu.readings/0".to_owned(), read)]);
    }
}

#[test]
fn what_a_group_commits_where_it_failed_over_to_holds_where_it_comes_back_to() {
    let mut regions = Regions::new();
    regions.publish(50);
    set(&mut regions.eu, Change::Commit, place(READINGS, 20)).unwrap();
    regions.eu.talk_to(&mut regions.us, LinkId::new(LINK));

    set(&mut regions.us, Change::Commit, place("eu.readings", 40)).unwrap();
    regions.eu.talk_to(&mut regions.us, LinkId::new(LINK));
    let late = set(&mut regions.eu, Change::Commit, place(READINGS, 30));

    let back = only(&regions.eu);
    assert_eq!((back.committed.get(), back.lag_records), (40, 10));
    assert_eq!(back.topic.as_ref().map(TopicName::as_str), Some(READINGS));
    assert!(matches!(late, Err(GroupError::Commit(_))), "{late:?}");
}

#[test]
fn a_reset_holds_in_every_region_and_against_what_was_committed_before() {
    let mut regions = Regions::new();
    regions.publish(50);
    set(&mut regions.eu, Change::Commit, place(READINGS, 50)).unwrap();
    regions.eu.talk_to(&mut regions.us, LinkId::new(LINK));

    set(&mut regions.us, Change::Reset, place("eu.readings", 10)).unwrap();
    regions.eu.talk_to(&mut regions.us, LinkId::new(LINK));

    assert_eq!([&regions.eu, &regions.us].map(|hub| only(hub).committed.get()), [10, 10]);
}

#[test]
fn committed_offsets_survive_a_crash_of_either_hub() {
    let mut regions = Regions::new();
    regions.publish(50);
    set(&mut regions.eu, Change::Commit, place(READINGS, 50)).unwrap();
    regions.eu.talk_to(&mut regions.us, LinkId::new(LINK));

    regions.eu.restart(&config("eu", "us"));
    regions.us.restart(&config("us", "eu"));

    assert_eq!([&regions.eu, &regions.us].map(|hub| only(hub).committed.get()), [50, 50]);
}

#[test]
fn a_group_reads_all_regions_topics_of_a_name_once() {
    let mut hub = Hub::configured(&config("eu", "us"));
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, READINGS);
    agent.publish(&mut hub, channel, &[record("eu-1-a", "{}")]);
    let mut us = Remote::hub(&mut hub, 2, "us");
    let channel = us.offer(&mut hub, READINGS);
    us.mirror(&mut hub, channel, &[record("us-1-a", "{}"), record("us-1-a", "{}")]);
    set(&mut hub, Change::Commit, place("us.readings", 1)).unwrap();

    let expected = [("readings/0".to_owned(), 0), ("us.readings/0".to_owned(), 1)];
    assert_eq!(reads_on(&hub, "readings@*"), expected);
    assert_eq!(reads_on(&hub, "us.readings"), expected[1..]);
    assert!(hub.node.reading(&group(), "nothing@*").is_err());
}

#[test]
fn nobody_commits_beyond_the_end_of_a_log() {
    let mut regions = Regions::new();
    regions.publish(10);

    let beyond = set(&mut regions.us, Change::Commit, place("eu.readings", 11));
    let unknown = set(&mut regions.us, Change::Commit, place("eu.reading", 1));

    let (offset, end) = (Offset::new(11), Offset::new(10));
    let partition = partition("eu.readings");
    assert_eq!(beyond, Err(GroupError::PastEnd { partition, offset, end }));
    assert_eq!(unknown, Err(GroupError::NoTopic { topic: "eu.reading".to_owned() }));
    assert_eq!(regions.us.node.groups(), []);
}

#[test]
fn where_the_origin_was_restored_a_group_goes_on_at_the_fork_and_no_record_is_passed_over() {
    let mut hub = Hub::configured(&config("eu", "us"));
    let mut us = Remote::hub(&mut hub, 1, "us");
    let channel = us.offer(&mut hub, READINGS);
    let ten: Vec<_> = (0..10).map(|_| record("us-1-a", "{}")).collect();
    us.mirror(&mut hub, channel, &ten);
    set(&mut hub, Change::Commit, place("us.readings", 10)).unwrap();

    // The backup had six of the ten; the new life wrote others behind them, and they come as it is.
    let new = headland_event::Stamp {
        actor: headland_event::Actor {
            incarnation: Incarnation::new(2, 9),
            ..stamp("us", Offset::new(10)).actor
        },
        ..stamp("us", Offset::new(6))
    };
    us.publish_stamped(&mut hub, channel, &ten, Some(new));
    hub.settle();

    let position = only(&hub);
    assert_eq!((position.origin_offset.get(), position.epoch.get()), (6, 0));
    assert_eq!((position.committed.get(), position.lag_records), (10, 10));
}

#[test]
fn a_change_names_each_partition_once_and_one_at_least() {
    let mut regions = Regions::new();
    regions.publish(10);
    let mut change = |positions: Vec<Place>| {
        let request = OffsetsRequest { change: Change::Commit, positions };
        let hub = &mut regions.eu;
        hub.node.on_group(hub.now, &group(), &request).map(drop)
    };

    let none = change(vec![]);
    let twice = change(vec![place(READINGS, 3), place(READINGS, 4)]);

    assert_eq!(none, Err(GroupError::Nothing));
    assert!(
        matches!(&twice, Err(GroupError::Twice { partition: of }) if of.topic.as_str() == READINGS),
        "{twice:?}"
    );
    assert_eq!(regions.eu.node.groups(), []);
}

fn delete(hub: &mut Hub) -> Result<(), GroupError> {
    let ticket = hub.node.on_group_end(hub.now, &group())?;
    hub.settle();
    assert!(hub.node.is_durable(ticket));
    Ok(())
}

#[test]
fn a_deleted_group_is_gone_in_every_region_over_a_crash_too_and_its_name_begins_anew() {
    let mut regions = Regions::new();
    regions.publish(50);
    set(&mut regions.eu, Change::Commit, place(READINGS, 20)).unwrap();
    regions.eu.talk_to(&mut regions.us, LinkId::new(LINK));
    set(&mut regions.us, Change::Reset, place("eu.readings", 40)).unwrap();
    regions.eu.talk_to(&mut regions.us, LinkId::new(LINK));

    delete(&mut regions.eu).unwrap();
    regions.eu.talk_to(&mut regions.us, LinkId::new(LINK));
    let gone = [&regions.eu, &regions.us].map(|hub| hub.node.groups());
    let again = delete(&mut regions.us);
    regions.eu.restart(&config("eu", "us"));
    regions.us.restart(&config("us", "eu"));
    regions.meet(LINK + 1);
    let after = [&regions.eu, &regions.us].map(|hub| hub.node.groups());
    set(&mut regions.us, Change::Commit, place("eu.readings", 5)).unwrap();
    regions.eu.talk_to(&mut regions.us, LinkId::new(LINK + 1));

    assert_eq!(gone, [vec![], vec![]]);
    assert_eq!(again, Err(GroupError::NoGroup { group: group() }));
    assert_eq!(after, [vec![], vec![]]);
    let of = |hub: &Hub| (only(hub).committed.get(), only(hub).epoch.get());
    assert_eq!([&regions.eu, &regions.us].map(of), [(5, 2 + (1 << 16)), (5, 2 + (1 << 16))]);
}

#[test]
fn committed_offsets_are_compacted_while_a_region_is_held_back_and_it_has_the_last_word_after_that()
{
    let small = |region, other| {
        let storage = "api = { socket = \"none\" }\nstorage = { file_bytes = \"64KiB\" }";
        config(region, other).replace("api = { socket = \"none\" }", storage)
    };
    let mut eu = Hub::configured(&small("eu", "us"));
    let mut us = Hub::configured(&small("us", "eu"));
    let mut agent = Remote::agent(&mut eu, 1);
    let channel = agent.offer(&mut eu, READINGS);
    let batch: Vec<_> = (0..600).map(|_| record("eu-1-a", "{}")).collect();
    agent.publish(&mut eu, channel, &batch);
    for offset in 1..=600 {
        set(&mut eu, Change::Commit, place(READINGS, offset)).unwrap();
        eu.advance(100);
        eu.settle();
    }

    let left = eu.records("_groups").len();
    let link_id = LinkId::new(LINK);
    us.now = eu.now;
    eu.meet(&mut us, link_id);
    eu.talk_to(&mut us, link_id);

    assert!(left < 400, "{left} of 600 records are left although no region has them");
    assert_eq!(only(&us).committed.get(), 600);
}

#[test]
fn a_group_that_a_link_leaves_out_is_not_taken_over() {
    for filter in ["groups = [\"audit*\"]", "exclude_groups = [\"bill*\"]"] {
        let mut eu = Hub::configured(&config("eu", "us"));
        let narrow =
            config("us", "eu").replace("address = \"none", &format!("{filter}\naddress = \"none"));
        let mut us = Hub::configured(&narrow);
        let link_id = LinkId::new(LINK);
        let mut agent = Remote::agent(&mut eu, 1);
        let channel = agent.offer(&mut eu, READINGS);
        eu.meet(&mut us, link_id);
        agent.publish(&mut eu, channel, &[record("eu-1-a", "{}")]);

        set(&mut eu, Change::Commit, place(READINGS, 1)).unwrap();
        eu.talk_to(&mut us, link_id);

        assert_eq!(us.records("eu._groups").len(), 1, "the copy is whole: {filter}");
        assert_eq!(us.node.groups(), [], "{filter}");
    }
}
