//! What a region's own hub gets back of its former lives, beside what hubs hold alike.

use headland_event::{
    ByteCount, ChannelId, Entry, EventTime, Hlc, Incarnation, Now, Offset, Stamp,
};
use headland_replication::Counted;
use headland_storage::{LogReader, MemoryDisk, OnCopy, OpenOptions, TopicPattern};

use super::handing::{self, Net, at_start};
use super::hub::{Hub, START};
use super::lives::{commit, lag, named, only, publish, read_on, told};
use super::remote::{Remote, record, stamp_of};

const READINGS: &str = "readings";
const BACK: &str = "handed-on.us.readings";

/// A life of `us` that is over.
const FORMER: Incarnation = Incarnation::new(3, 4);

pub(super) fn config(region: &str, peers: &[&str]) -> String {
    let text = handing::config(region, peers, "*");
    let text = text.replace("topics = [", "topics = [\"readings\", ");
    format!("{text}[[topic]]\nname = \"readings\"\npartitions = 1\n")
}

/// A hub on a disk; a new disk, or one of a backup, begins a life.
pub(super) fn hub_on(disk: &MemoryDisk, nonce: u64, region: &str, peers: &[&str]) -> Hub {
    let options = OpenOptions { on_copy: OnCopy::NewLife, ..OpenOptions::new(nonce) };
    Hub::start_with(options, disk, &config(region, peers), at_start()).unwrap()
}

pub(super) fn hub(nonce: u64, region: &str, peers: &[&str]) -> Hub {
    hub_on(&MemoryDisk::new(nonce), nonce, region, peers)
}

/// Hubs of `eu` and `us`, linked, of which the second has so many records, and the first too.
fn two(us: Hub, records: u64) -> Net {
    let mut net = Net::new([hub(7, "eu", &["us"]), us]);
    net.meet(0, 1);
    publish(&mut net.hubs[1], "a", 0..records);
    net.talk(5);
    net
}

/// The hub of `us` is gone, and another one goes on, which has written so many records.
fn go_on(net: &mut Net, mut us: Hub, life: &str, records: u64) {
    publish(&mut us, life, 0..records);
    net.replace(1, us);
    net.meet(0, 1);
    net.talk(10);
}

#[test]
fn a_region_that_lost_its_disk_gets_back_its_other_topics_and_groups_read_each_record_once() {
    for page in [100, 7] {
        let mut net = two(hub(7, "us", &["eu"]), 50);
        commit(&mut net.hubs[0], "us.readings", 20);
        net.talk(5);

        go_on(&mut net, hub(9, "us", &["eu"]), "b", 10);

        let [eu, us] = &mut net.hubs[..] else { panic!("two hubs") };
        assert_eq!(us.texts(BACK), named("a", 0..50));
        assert_eq!((lag(us), lag(eu)), (40, 40), "of both lives");
        let expected = [named("a", 20..50), named("b", 0..10)].concat();
        assert_eq!(read_on(us, "readings@*", page), expected);
        assert_eq!((lag(us), read_on(us, BACK, page)), (0, vec![]));
        us.advance(300_000);
        us.settle();
        assert_eq!((told(us), only(us).elsewhere), (vec![], vec![]));
    }
}

#[test]
fn what_groups_have_read_and_nobody_gives_back_is_said_after_a_while() {
    let mut us = alone();
    let mut eu = Remote::hub(&mut us, 1, "eu");
    let groups = eu.offer(&mut us, "_groups");
    let read = r#"{"group":"billing","region":"us","topic":"readings","partition":0,"epoch":0,"#
        .to_owned()
        + r#""lives":[{"life":{"counter":3,"nonce":4},"offset":40}]}"#;
    eu.mirror(&mut us, groups, &[record("billing/us/readings/0", &read)]);
    let mut looks = |seconds: u32| {
        for _ in 0..seconds {
            us.advance(1_000);
            us.settle();
        }
        told(&us).len()
    };

    assert_eq!((looks(30), looks(60)), (0, 1));
}

#[test]
fn what_was_given_back_comes_once_is_not_passed_on_and_the_present_life_is_not_in_it() {
    let mut net = two(hub(7, "us", &["eu"]), 20);
    go_on(&mut net, hub(9, "us", &["eu"]), "b", 10);

    publish(&mut net.hubs[1], "b", 10..15);
    net.talk(5);
    net.part(0, 1);
    net.hubs[1].restart(&config("us", &["eu"]));
    publish(&mut net.hubs[1], "b", 15..20);
    net.meet(0, 1);
    net.talk(10);

    let [eu, us] = &net.hubs[..] else { panic!("two hubs") };
    assert_eq!(us.texts(BACK), named("a", 0..20));
    assert_eq!(us.texts(READINGS), named("b", 0..20));
    assert_eq!(eu.texts("us.readings"), [named("a", 0..20), named("b", 0..20)].concat());
    let apart = eu.node.topics().iter().filter(|topic| topic.name.as_str().contains(BACK));
    assert_eq!(apart.count(), 0, "who gave it has it");
    let offers = eu.node.peer_links.iter().flat_map(|(_, known)| known.link.offers());
    let given = offers.filter(|of| of.source.topic.as_str() == "us.readings");
    let given: Vec<(u64, u64)> = given.map(|of| (of.head.get(), of.lag_records())).collect();
    assert_eq!(given, [(20, 0)], "what the present life wrote goes back to nobody");
}

#[test]
fn a_hub_on_an_old_backup_gets_back_what_it_lacks_and_reads_it_between_both() {
    let disk = MemoryDisk::new(1);
    let mut net = two(hub_on(&disk, 11, "us", &["eu"]), 20);
    let backup = disk.fork();
    publish(&mut net.hubs[1], "a", 20..50);
    net.talk(5);

    backup.move_to(2);
    go_on(&mut net, hub_on(&backup, 22, "us", &["eu"]), "b", 10);

    let us = &mut net.hubs[1];
    assert_eq!(us.texts(READINGS), [named("a", 0..20), named("b", 0..10)].concat());
    assert_eq!(us.texts(BACK), named("a", 20..50));
    let read = read_on(us, "readings@*", 10);
    assert_eq!(read, [named("a", 0..50), named("b", 0..10)].concat());
}

#[test]
fn of_two_former_lives_each_comes_back_part_by_part() {
    let mut net = two(hub(7, "us", &["eu"]), 20);
    go_on(&mut net, hub(9, "us", &["eu"]), "b", 10);

    go_on(&mut net, hub(11, "us", &["eu"]), "c", 5);

    let us = &mut net.hubs[1];
    let former = [named("a", 0..20), named("b", 0..10)].concat();
    assert_eq!(us.texts(BACK), former);
    assert_eq!(read_on(us, "readings@*", 6), [former, named("c", 0..5)].concat());
}

#[test]
fn what_an_agent_sends_again_has_the_dot_that_it_has_in_what_was_given_back() {
    let mut net = two(hub(7, "us", &["eu"]), 5);
    let mut us = hub(9, "us", &["eu"]);
    publish(&mut us, "a", 0..5);

    go_on(&mut net, us, "b", 3);

    let us = &net.hubs[1];
    let mut counted = Counted::default();
    let mut count = |entry: &Entry| {
        let doubled = counted.count(entry.dot, entry.batch.span()).doubled;
        (0..entry.batch.span()).filter(|place| !doubled.has(*place)).count()
    };
    let both: [usize; 2] =
        [READINGS, BACK].map(|topic| us.entries(topic).iter().map(&mut count).sum());
    assert_eq!(both, [8, 0]);
    assert_eq!(us.texts(BACK).len(), 5);
}

#[test]
fn two_hubs_of_which_each_has_a_part_fill_one_log() {
    let ap = hub(7, "ap", &["eu", "us"]);
    let eu = hub(7, "eu", &["ap", "us"]);
    let mut net = Net::new([ap, eu, hub(7, "us", &["ap", "eu"])]);
    net.meet(0, 2);
    net.meet(1, 2);
    publish(&mut net.hubs[2], "a", 0..10);
    net.talk(5);
    net.part(1, 2);
    publish(&mut net.hubs[2], "a", 10..30);
    net.talk(5);

    net.replace(2, hub(9, "us", &["ap", "eu"]));
    net.meet(1, 2);
    net.meet(0, 2);
    net.talk(10);

    assert_eq!(net.hubs[2].texts(BACK), named("a", 0..30));
}

/// The hub of `us`, which waits for `ap` and `eu` no more.
fn alone() -> Hub {
    let mut us = hub(9, "us", &["ap", "eu"]);
    us.settle();
    us.advance(11_000);
    us.settle();
    us
}

fn stamp(offset: u64) -> Stamp {
    stamp_of(("us", FORMER), Offset::new(offset))
}

/// A peer gives back records of the former life with these numbers.
fn bring(us: &mut Hub, (peer, channel): (&mut Remote, ChannelId), numbers: std::ops::Range<u64>) {
    for number in numbers {
        let record = record("us-1-a", &format!("a{number}"));
        peer.publish_stamped(us, channel, &[record], Some(stamp(number)));
    }
    us.settle();
}

#[test]
fn a_later_part_waits_for_the_earlier_one_while_it_is_not_known_who_has_that() {
    let mut us = hub(9, "us", &["ap", "eu"]);
    let mut eu = Remote::hub(&mut us, 1, "eu");
    let of_eu = eu.offer_back(&mut us, READINGS);
    bring(&mut us, (&mut eu, of_eu), 20..40);
    let before = us.texts(BACK);
    let mut ap = Remote::hub(&mut us, 2, "ap");
    let of_ap = ap.offer_back(&mut us, READINGS);
    bring(&mut us, (&mut ap, of_ap), 0..30);
    for _ in 0..5 {
        us.advance(1_000);
        us.settle();
    }

    assert_eq!(before, Vec::<String>::new());
    assert_eq!(us.texts(BACK), named("a", 0..40));
}

#[test]
fn what_one_hub_lost_comes_from_another_and_each_record_is_stored_once() {
    let mut us = alone();
    let mut eu = Remote::hub(&mut us, 1, "eu");
    let of_eu = eu.offer_back(&mut us, READINGS);
    bring(&mut us, (&mut eu, of_eu), 0..2);
    eu.lose(&mut us, of_eu, 2, stamp(2));
    bring(&mut us, (&mut eu, of_eu), 4..6);
    us.advance(11_000);
    us.settle();
    let first = us.texts(BACK);

    us.restart(&config("us", &["ap", "eu"]));
    let mut ap = Remote::hub(&mut us, 2, "ap");
    let of_ap = ap.offer_back(&mut us, READINGS);
    bring(&mut us, (&mut ap, of_ap), 0..7);

    assert_eq!(first, [named("a", 0..2), named("a", 4..6)].concat());
    assert_eq!(us.texts(BACK), [first, named("a", 2..4), named("a", 6..7)].concat());
}

#[test]
fn a_hub_that_was_cut_goes_on_where_it_was() {
    let mut us = alone();
    let mut eu = Remote::hub(&mut us, 1, "eu");
    let channel = eu.offer_back(&mut us, READINGS);
    bring(&mut us, (&mut eu, channel), 0..3);
    us.node.on_disconnected(us.now, eu.link_id);

    let mut again = Remote::hub(&mut us, 2, "eu");
    again.take_log_of(eu);
    let channel = again.offer_back(&mut us, READINGS);
    let sent_again = us.texts(BACK);
    bring(&mut us, (&mut again, channel), 3..5);

    assert_eq!(sent_again, named("a", 0..3));
    assert_eq!(us.texts(BACK), named("a", 0..5));
}

#[test]
fn what_retention_would_let_go_is_not_brought_back_and_the_rest_goes_when_its_time_has_come() {
    let text = config("us", &["ap", "eu"])
        .replace("name = \"readings\"", "name = \"readings\"\nretention = { time = \"1h\" }");
    let now = Now { wall: START.plus(std::time::Duration::from_hours(2)), ..at_start() };
    let mut us = Hub::start_as(9, &MemoryDisk::new(9), &text, now).unwrap();
    us.advance(11_000);
    let mut eu = Remote::hub(&mut us, 1, "eu");
    let channel = eu.offer_back(&mut us, READINGS);
    let at = |offset, wall: EventTime| Some(Stamp { hlc: Hlc::new(wall, 0), ..stamp(offset) });

    eu.publish_stamped(&mut us, channel, &[record("us-1-a", "old")], at(0, START));
    eu.publish_stamped(&mut us, channel, &[record("us-1-a", "new")], at(1, now.wall));
    us.settle();

    assert_eq!(us.texts(BACK), ["new"]);
    let policy = us.node.clean_policy();
    let pattern = TopicPattern::Exactly(BACK.parse().unwrap());
    let rule = policy.topics.iter().find(|rule| rule.pattern == pattern);
    let time = rule.map(|rule| rule.retention.time);
    assert_eq!(time, Some(Some(std::time::Duration::from_hours(1))), "as the topic itself");
}

/// How many records of a topic have a value, in all of its partitions.
fn everywhere(hub: &Hub, topic: &str, value: &str) -> usize {
    let reader = hub.reader();
    let partitions = reader.partitions().into_iter().filter(|at| at.topic.as_str() == topic);
    let read = |at| reader.read(&at, Offset::new(0), ByteCount::mebibytes(1)).unwrap();
    let records = partitions.flat_map(read).flat_map(|entry| entry.batch.records().unwrap());
    records.filter(|record| record.value.as_deref() == Some(value.as_bytes())).count()
}

#[test]
fn alerts_of_a_former_life_come_back_apart_and_what_hubs_write_for_each_other_does_not() {
    let mut us = hub(7, "us", &["eu"]);
    let mut agent = Remote::agent(&mut us, 1);
    let channel = agent.offer(&mut us, "alerts");
    agent.publish(&mut us, channel, &[record("eu-1-a", "an alert")]);
    us.node.on_disconnected(us.now, agent.link_id);
    let mut net = two(us, 5);
    net.talk(40);

    go_on(&mut net, hub(9, "us", &["eu"]), "b", 1);

    let us = &net.hubs[1];
    let found = ["handed-on.us.alerts", "alerts"].map(|topic| everywhere(us, topic, "an alert"));
    assert_eq!(found, [1, 0]);
    let given_back = us.node.topics().iter().filter(|topic| topic.is_given_back());
    let given_back: Vec<&str> = given_back.map(|topic| topic.origin_name.as_str()).collect();
    assert!(given_back.iter().all(|name| ["alerts", READINGS].contains(name)), "{given_back:?}");
    assert!(!net.hubs[0].entries("us._audit").is_empty(), "there was something to give back");
}

#[test]
fn nothing_is_taken_back_of_a_topic_that_is_not_there_or_of_this_very_life() {
    let mut us = alone();
    let life = us.node.incarnation;
    publish(&mut us, "b", 0..2);
    let mut eu = Remote::hub(&mut us, 1, "eu");
    eu.offer_back(&mut us, "elsewhere");
    let channel = eu.offer_back(&mut us, READINGS);

    let own = stamp_of(("us", life), Offset::new(0));
    eu.publish_stamped(&mut us, channel, &[record("us-1-a", "b0")], Some(own));
    bring(&mut us, (&mut eu, channel), 0..1);

    assert_eq!(us.texts(BACK), ["a0"]);
    assert!(us.node.topics().iter().all(|topic| !topic.name.as_str().contains("elsewhere")));
}
