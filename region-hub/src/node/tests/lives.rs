//! How far consumer groups have read when the hub whose log they read begins a new life.

use headland_event::{Alert, ChannelId, GroupName, Incarnation, Offset};
use headland_replication::groups::Change;
use headland_storage::{MemoryDisk, OnCopy, OpenOptions};

use super::damage::damage;
use super::groups::{config, place};
use super::hub::Hub;
use super::remote::{Remote, partition, record, stamp_of};
use crate::groups::{OffsetsRequest, PositionView};
use crate::members::LifeName;
use crate::peer_link::LinkId;

const READINGS: &str = "readings";
const COPY: &str = "eu.readings";

/// Lives of the hub of `eu`, by numbers that no order follows from.
const FORMER: Incarnation = Incarnation::new(1, 8);
const NEXT: Incarnation = Incarnation::new(1, 3);

fn group() -> GroupName {
    GroupName::new("billing").unwrap()
}

pub(super) fn commit(hub: &mut Hub, topic: &str, offset: u64) {
    let positions = vec![place(topic, offset)];
    let request = OffsetsRequest { change: Change::Commit, positions };
    let _ticket = hub.node.on_group(hub.now, &group(), &request).unwrap();
    hub.settle();
}

pub(super) fn only(hub: &Hub) -> PositionView {
    let mut positions = hub.node.group(&group()).positions;
    assert_eq!(positions.len(), 1, "{positions:?}");
    positions.remove(0)
}

pub(super) fn lag(hub: &Hub) -> u64 {
    only(hub).lag_records
}

/// Reads on, at most `page` records at once, and commits, until there is nothing more; values that
/// were read.
pub(super) fn read_on(hub: &mut Hub, topic: &str, page: u64) -> Vec<String> {
    let mut read = Vec::new();
    for _ in 0..1_000 {
        let reading = hub.node.reading(&group(), topic).unwrap().remove(0);
        let texts = hub.texts(reading.at.topic.as_str());
        let end = reading.until.get().min(texts.len() as u64).min(reading.from.get() + page);
        if end <= reading.from.get() {
            return read;
        }
        let range = usize::try_from(reading.from.get()).unwrap()..usize::try_from(end).unwrap();
        read.extend_from_slice(&texts[range]);
        commit(hub, reading.at.topic.as_str(), end);
    }
    panic!("it reads again and again: {read:?}");
}

/// Names of records of a life, as an agent writes them.
pub(super) fn named(life: &str, numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| format!("{life}{number}")).collect()
}

pub(super) fn told(hub: &Hub) -> Vec<Alert> {
    hub.alerts().into_iter().filter(|alert| alert.rule == "unread_elsewhere").collect()
}

/// The hubs of `eu` and `us`, which are linked.
struct Regions {
    eu: Hub,
    us: Hub,
    links: u64,
}

impl Regions {
    /// `eu` has so many records, which `us` has too.
    fn of(records: u64) -> Self {
        Self::on(&MemoryDisk::new(1), records)
    }

    fn on(disk: &MemoryDisk, records: u64) -> Self {
        let (eu, us) = (start(disk, 11), Hub::configured(&config("us", "eu")));
        let mut regions = Self { eu, us, links: 100 };
        regions.meet();
        regions.publish("a", 0..records);
        regions
    }

    fn meet(&mut self) {
        self.links += 1;
        self.eu.meet(&mut self.us, LinkId::new(self.links));
        self.talk();
    }

    fn talk(&mut self) {
        self.eu.talk_to(&mut self.us, LinkId::new(self.links));
    }

    fn part(&mut self) {
        let link_id = LinkId::new(self.links);
        self.eu.node.on_disconnected(self.eu.now, link_id);
        self.us.node.on_disconnected(self.us.now, link_id);
    }

    /// A new agent of `eu` publishes records of these names.
    fn publish(&mut self, life: &str, numbers: std::ops::Range<u64>) {
        publish(&mut self.eu, life, numbers);
        self.talk();
    }

    /// The disk of `eu` is lost, and its hub begins a new life, in which it writes so many records.
    fn lose_disk(&mut self, records: u64) {
        self.part();
        self.eu = start(&MemoryDisk::new(2), 22);
        publish(&mut self.eu, "b", 0..records);
        self.meet();
    }
}

fn start(disk: &MemoryDisk, nonce: u64) -> Hub {
    let options = OpenOptions { on_copy: OnCopy::NewLife, ..OpenOptions::new(nonce) };
    let now = super::handing::at_start();
    Hub::start_with(options, disk, &config("eu", "us"), now).unwrap().known_to_groups()
}

pub(super) fn publish(hub: &mut Hub, life: &str, numbers: std::ops::Range<u64>) {
    let of = Incarnation::new(1, numbers.start + u64::from(life.as_bytes()[0]) * 1_000);
    let mut agent = Remote::agent_in(hub, of.nonce(), of);
    let channel = agent.offer(hub, READINGS);
    for value in named(life, numbers) {
        agent.publish(hub, channel, &[record("eu-1-a", &value)]);
    }
    hub.node.on_disconnected(hub.now, agent.link_id);
}

#[test]
fn who_reads_on_behind_damage_at_the_end_of_a_copy_passes_over_nothing_that_follows() {
    let mut regions = Regions::of(5);
    regions.publish("last-", 0..2);
    commit(&mut regions.us, COPY, 3);
    regions.part();
    damage(&regions.us, "last-1");
    regions.us.restart(&config("us", "eu"));
    let missing = regions.us.node.missing();
    let until = missing.offsets().find(|lost| lost.partition == partition(COPY)).unwrap().until;
    let until = until.get();
    regions.meet();
    regions.publish("next-", 0..3);
    let before = lag(&regions.us);

    commit(&mut regions.us, COPY, until);

    let [unread, committed] = [lag(&regions.us), only(&regions.us).committed.get()];
    assert_eq!([unread, committed], [3, until], "of {before} before");
    commit(&mut regions.us, COPY, until + 2);
    assert_eq!(lag(&regions.us), 1);
    regions.talk();
    commit(&mut regions.eu, READINGS, 9);
    assert_eq!(lag(&regions.eu), 1, "nor at the origin");
}

#[test]
fn a_group_reads_what_it_lacked_of_a_lost_life_and_then_the_next_one_each_record_once() {
    for page in [100, 7] {
        let mut regions = Regions::of(50);
        commit(&mut regions.us, COPY, 20);

        regions.lose_disk(10);
        let lag = lag(&regions.us);
        regions.part();
        regions.us.restart(&config("us", "eu"));
        let read = read_on(&mut regions.us, COPY, page);
        regions.meet();
        regions.publish("b", 10..15);
        let later = read_on(&mut regions.us, "readings@*", page);

        assert_eq!(lag, 40, "of both lives");
        assert_eq!(read, [named("a", 20..50), named("b", 0..10)].concat());
        assert_eq!(later, named("b", 10..15));
        assert_eq!((told(&regions.us), told(&regions.eu).len()), (vec![], 1));
    }
}

#[test]
fn a_group_at_the_hub_that_begins_anew_reads_its_life_and_is_told_of_the_former_one() {
    let mut regions = Regions::of(50);
    let former = LifeName::of(regions.eu.node.incarnation);
    commit(&mut regions.eu, READINGS, 20);
    regions.talk();

    regions.lose_disk(30);
    let position = only(&regions.eu);
    let read = read_on(&mut regions.eu, READINGS, 100);
    regions.talk();
    let there = only(&regions.us);
    let rest = read_on(&mut regions.us, COPY, 100);

    let elsewhere: Vec<_> =
        position.elsewhere.iter().map(|of| (of.life, of.origin_offset.get())).collect();
    assert_eq!(elsewhere, [(former, 20)], "what it read of a life that is not here");
    assert_eq!((position.committed.get(), position.lag_records), (0, 30));
    assert_eq!(read, named("b", 0..30), "20 of them were passed over in silence before");
    let told = told(&regions.eu);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].values["life"], former.to_string());
    assert_eq!((there.lag_records, there.committed.get()), (30, 20));
    assert_eq!(rest, named("a", 20..50), "and nothing that was read at the origin");
}

#[test]
fn a_hub_that_has_only_the_next_life_says_so_and_reads_that_from_its_beginning() {
    let mut hub = Hub::configured(&config("us", "eu"));
    let mut eu = Remote::hub(&mut hub, 1, "eu");
    let groups = eu.offer(&mut hub, "_groups");
    say(&mut eu, &mut hub, groups, &lives(&[(FORMER, 40)]));
    let before = told(&hub).len();

    let channel = eu.offer(&mut hub, READINGS);
    mirror(&mut eu, &mut hub, (channel, NEXT), ("b", 0..10));

    assert_eq!((before, told(&hub).len()), (0, 1), "{:?}", hub.alerts());
    assert_eq!(only(&hub).elsewhere.len(), 1);
    assert_eq!(only(&hub).life, Some(LifeName::of(NEXT)));
    assert_eq!(read_on(&mut hub, COPY, 4), named("b", 0..10));
}

#[test]
fn what_is_heard_late_of_a_former_life_changes_nothing_of_the_next_one() {
    let (mut hub, mut eu, channel) = with_a_copy();
    let groups = eu.offer(&mut hub, "_groups");
    commit(&mut hub, COPY, 40);
    mirror(&mut eu, &mut hub, (channel, NEXT), ("b", 0..10));
    commit(&mut hub, COPY, 45);
    let before = lag(&hub);

    say(&mut eu, &mut hub, groups, &lives(&[(FORMER, 40)]));
    say(&mut eu, &mut hub, groups, r#""offset":49"#);

    assert_eq!((before, lag(&hub)), (5, 5));
    assert_eq!(read_on(&mut hub, COPY, 100), named("b", 5..10));
}

#[test]
fn a_committed_offset_of_an_earlier_version_is_of_the_life_that_is_here_when_it_is_read() {
    for restarts in [false, true] {
        let (mut hub, mut eu, channel) = with_a_copy();
        let groups = eu.offer(&mut hub, "_groups");
        say(&mut eu, &mut hub, groups, r#""offset":20"#);
        assert_eq!(only(&hub).committed.get(), 20);
        if restarts {
            hub.restart(&config("us", "eu"));
            let mut again = Remote::hub(&mut hub, 2, "eu");
            again.take_log_of(eu);
            eu = again;
            eu.offer(&mut hub, READINGS);
        }

        mirror(&mut eu, &mut hub, (channel, NEXT), ("b", 0..10));

        assert_eq!(lag(&hub), 30);
        assert_eq!(
            read_on(&mut hub, COPY, 100),
            [named("a", 20..40), named("b", 0..10)].concat(),
            "restarted: {restarts}"
        );
        let said = hub.texts("_groups").join("\n");
        assert!(
            said.contains(r#""lives":[{"life":{"counter":1,"nonce":8},"offset":20}]"#),
            "{said}"
        );
    }
}

#[test]
fn a_committed_offset_that_is_left_out_at_a_limit_is_counted_among_the_metrics() {
    let (mut hub, mut eu, _) = with_a_copy();
    let groups = eu.offer(&mut hub, "_groups");

    say(&mut eu, &mut hub, groups, r#""offset":18446744073709551615"#);

    assert_eq!(hub.node.groups(), []);
    let metrics = crate::metrics::observe(&hub.node, hub.now).render();
    let counted = "headland_group_offsets_left_out_total{} 1";
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
}

#[test]
fn what_retention_let_go_before_it_was_read_is_counted_as_lost() {
    let (mut hub, mut eu, channel) = with_a_copy();
    commit(&mut hub, COPY, 20);
    mirror(&mut eu, &mut hub, (channel, NEXT), ("b", 0..10));

    hub.node.on_cleaned([(partition(COPY), Offset::new(32))], Vec::new());

    let position = only(&hub);
    assert_eq!((position.lost_records, position.lag_records), (12, 18));
    assert_eq!(position.committed.get(), 32);
    assert_eq!(read_on(&mut hub, COPY, 100), [named("a", 32..40), named("b", 0..10)].concat());
    assert_eq!(only(&hub).lost_records, 0);
}

#[test]
fn where_a_hub_was_restored_from_a_backup_each_record_of_both_lives_is_read_once() {
    let disk = MemoryDisk::new(1);
    let mut regions = Regions::on(&disk, 20);
    let backup = disk.fork();
    regions.publish("a", 20..50);
    commit(&mut regions.eu, READINGS, 40);
    regions.talk();

    regions.part();
    backup.move_to(2);
    regions.eu = start(&backup, 22);
    publish(&mut regions.eu, "b", 0..10);
    regions.meet();
    let lag = (lag(&regions.eu), lag(&regions.us));
    let here = read_on(&mut regions.eu, READINGS, 3);
    regions.talk();
    regions.us.restart(&config("us", "eu"));
    let there = read_on(&mut regions.us, COPY, 3);

    assert_eq!(lag, (10, 20));
    assert_eq!(here, named("b", 0..10), "nobody had read them where 40 was committed before");
    assert_eq!(there, named("a", 40..50));
}

/// A hub of `us` with forty records of the former life of `eu`.
fn with_a_copy() -> (Hub, Remote, ChannelId) {
    let mut hub = Hub::configured(&config("us", "eu"));
    let mut eu = Remote::hub(&mut hub, 1, "eu");
    let channel = eu.offer(&mut hub, READINGS);
    mirror(&mut eu, &mut hub, (channel, FORMER), ("a", 0..40));
    (hub, eu, channel)
}

/// `eu` sends records that a life of it wrote, from that number on in its log.
fn mirror(
    eu: &mut Remote,
    hub: &mut Hub,
    (channel, life): (ChannelId, Incarnation),
    (name, numbers): (&str, std::ops::Range<u64>),
) {
    for number in numbers {
        let stamp = stamp_of(("eu", life), Offset::new(number));
        let record = record("eu-1-a", &format!("{name}{number}"));
        eu.publish_stamped(hub, channel, &[record], Some(stamp));
    }
    hub.settle();
}

/// `eu` says how far the group has read.
fn say(eu: &mut Remote, hub: &mut Hub, channel: ChannelId, read: &str) {
    let text = format!(
        r#"{{"group":"billing","region":"eu","topic":"readings","partition":0,"epoch":0,{read}}}"#
    );
    eu.mirror(hub, channel, &[record("billing/eu/readings/0", &text)]);
    hub.settle();
}

fn lives(read: &[(Incarnation, u64)]) -> String {
    let one = |(life, offset): &(Incarnation, u64)| {
        let (counter, nonce) = (life.counter(), life.nonce());
        format!(r#"{{"life":{{"counter":{counter},"nonce":{nonce}}},"offset":{offset}}}"#)
    };
    let all: Vec<String> = read.iter().map(one).collect();
    format!(r#""lives":[{}]"#, all.join(","))
}
