//! What a log lost and no hub has is sent again by the agents that keep it.

use headland_event::{ByteCount, ChannelId, Hole, Random, SeededRandom};
use headland_replication::CloseReason;
use headland_replication::frame::Goodbye;
use headland_storage::{MemoryDisk, OpenOptions, Survival};

use super::audit_damage::Writer;
use super::damage::damage;
use super::handing::{Net, at_start};
use super::hub::Hub;
use super::refills::{
    AIR, again, answer, asked, config, missing, offer_refills, started, text, wait,
};
use super::remote::{Remote, record};

/// An agent that goes on with its log over connections.
pub(super) struct Device {
    pub(super) remote: Remote,
    pub(super) channel: ChannelId,
    links: u64,
}

impl Device {
    pub(super) fn new(hub: &mut Hub) -> Self {
        let mut remote = Remote::agent(hub, 10_000);
        let channel = remote.offer(hub, AIR);
        Self { remote, channel, links: 1 }
    }

    pub(super) fn write(&mut self, hub: &mut Hub, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let records = [record("eu-1-air", &text(number))];
            self.remote.publish(hub, self.channel, &records);
        }
    }

    /// Connects anew; the former connection is over.
    pub(super) fn connect(&mut self, hub: &mut Hub) {
        hub.node.on_disconnected(hub.now, self.remote.link_id);
        let remote = Remote::agent(hub, 10_000 + self.links);
        self.links += 1;
        let former = std::mem::replace(&mut self.remote, remote);
        self.remote.take_log_of(former);
        self.remote.offer(hub, AIR);
    }

    /// Lets so many seconds go by, and connects anew when it is told to.
    pub(super) fn pass(&mut self, hub: &mut Hub, seconds: u64) {
        for _ in 0..seconds {
            pass(hub, &mut self.remote, 1);
            if hub.closed.iter().any(|(link_id, _)| *link_id == self.remote.link_id) {
                self.connect(hub);
            }
        }
    }

    fn was_told_to_connect_anew(&self, hub: &Hub) -> bool {
        let reason = CloseReason::Here(Goodbye::Reconfigured);
        hub.closed.iter().any(|closed| *closed == (self.remote.link_id, reason.clone()))
    }
}

/// Lets so many seconds go by at a hub and an agent that stays.
fn pass(hub: &mut Hub, remote: &mut Remote, seconds: u64) {
    for _ in 0..seconds {
        hub.advance(1_000);
        remote.link.on_timeout(hub.now.monotonic);
        hub.talk(remote);
    }
}

/// A hub alone, whose agent wrote five records, and which starts again after it lost one.
fn hurt(lost: u64) -> (Hub, Device) {
    let mut hub = started("eu", &[]);
    let mut device = Device::new(&mut hub);
    device.write(&mut hub, 0..5);
    // Something else follows, so that only the end of this log is lost, and no position.
    let alerts = device.remote.offer(&mut hub, "alerts");
    device.remote.publish(&mut hub, alerts, &[record("eu-1-air", "{}")]);
    damage(&hub, &text(lost));
    let mut hub = again(&hub, "eu", &[]);
    hub.settle();
    device.connect(&mut hub);
    (hub, device)
}

pub(super) fn sorted(hub: &Hub, topic: &str) -> Vec<String> {
    let mut texts = hub.texts(topic);
    texts.sort();
    texts
}

fn sorted_texts(count: u64) -> Vec<String> {
    let mut texts = texts(0..count);
    texts.sort();
    texts
}

pub(super) fn texts(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(text).collect()
}

#[test]
fn what_damage_took_is_sent_again_by_the_agent_that_keeps_it_and_nothing_is_there_twice() {
    for lost in [0, 2, 4] {
        let (mut hub, mut device) = hurt(lost);
        device.write(&mut hub, 5..6);
        assert!(!sorted(&hub, AIR).contains(&text(lost)));

        pass(&mut hub, &mut device.remote, 61);
        assert!(device.was_told_to_connect_anew(&hub), "{lost}");
        device.connect(&mut hub);
        device.write(&mut hub, 6..8);

        assert_eq!(sorted(&hub, AIR), texts(0..8), "{lost}");
        assert_eq!(hub.node.audit.counts().faults, 0, "{lost}");
        device.connect(&mut hub);
        pass(&mut hub, &mut device.remote, 600);
        device.connect(&mut hub);
        assert_eq!(sorted(&hub, AIR), texts(0..8), "{lost}");
    }
}

#[test]
fn what_an_agent_keeps_no_more_stays_lost_and_is_named() {
    let (mut hub, mut device) = hurt(0);
    device.remote.let_go(device.channel, 2);

    pass(&mut hub, &mut device.remote, 61);
    device.connect(&mut hub);
    device.write(&mut hub, 5..6);

    assert_eq!(hub.texts(AIR), texts(1..6));
    assert_eq!(missing(&hub), ["air/0 0..1 []"]);
    let holes = hub.entries(AIR).iter().filter(|of| Hole::of(&of.batch).is_some()).count();
    assert_eq!(holes, 0, "what is lost is named once");
}

#[test]
fn a_hub_that_stops_amid_it_begins_anew() {
    let (mut hub, mut device) = hurt(1);
    pass(&mut hub, &mut device.remote, 61);
    hub.hold_commits();
    device.connect(&mut hub);
    let disk = hub.disk().clone();
    disk.crash(Survival::Nothing);
    let mut hub = Hub::start_as(7, &disk, &config("eu", &[], "*"), hub.now).unwrap();
    device.connect(&mut hub);
    device.write(&mut hub, 5..6);
    assert!(!sorted(&hub, AIR).contains(&text(1)));

    pass(&mut hub, &mut device.remote, 61);
    device.connect(&mut hub);

    assert_eq!(sorted(&hub, AIR), texts(0..6));
}

#[test]
fn what_was_on_its_way_to_the_disk_meanwhile_is_not_taken_for_lost() {
    let (mut hub, mut device) = hurt(3);
    hub.hold_commits();
    device.write(&mut hub, 5..7);

    pass(&mut hub, &mut device.remote, 61);
    hub.release_commits();
    device.connect(&mut hub);
    device.write(&mut hub, 7..8);

    assert_eq!(sorted(&hub, AIR), texts(0..8));
}

#[test]
fn an_agent_that_comes_later_sends_again_what_was_lost_then() {
    let (mut hub, mut device) = hurt(2);
    hub.node.on_disconnected(hub.now, device.remote.link_id);
    pass(&mut hub, &mut device.remote, 600);

    device.connect(&mut hub);

    assert_eq!(sorted(&hub, AIR), texts(0..5));
}

#[test]
fn what_retention_let_go_is_not_taken_for_lost() {
    let kept = |text: String| {
        let lane = "lane = \"telemetry\"";
        text.replace(lane, &format!("{lane}\nretention = {{ bytes = \"100KiB\" }}"))
    };
    let text_of = kept(config("eu", &[], "*"));
    let small = OpenOptions { file_bytes: ByteCount::new(64 << 10), ..OpenOptions::new(7) };
    let start = |disk: &MemoryDisk, now| {
        let options = OpenOptions { ..small };
        Hub::start_with(options, disk, &text_of, now).unwrap()
    };
    let mut hub = start(&MemoryDisk::new(7), at_start());
    let mut device = Device::new(&mut hub);
    for n in 10..20 {
        device.write(&mut hub, n..n + 1);
        device.pass(&mut hub, 61);
    }
    let first = hub.start_of(AIR).get();
    assert!(first > 2, "retention let some go: {first}");
    let numbers = |hub: &Hub| -> Vec<String> {
        sorted(hub, AIR).iter().map(|text| text.chars().take(6).collect()).collect()
    };
    let held = numbers(&hub);
    damage(&hub, &text(18));
    let disk = hub.disk().clone();
    disk.crash(Survival::Everything);
    let mut hub = start(&disk, hub.now).scrubbing(ByteCount::mebibytes(64));
    device.connect(&mut hub);

    device.pass(&mut hub, 90);

    assert_eq!(held.len(), 3);
    assert_eq!(numbers(&hub), held[1..], "retention goes on");
}

#[test]
fn of_a_compacted_topic_agents_are_not_asked() {
    let compacted = |text: String| {
        text.replace("lane = \"telemetry\"", "lane = \"telemetry\"\ncleanup = \"compact\"")
    };
    let text_of = compacted(config("eu", &[], "*"));
    let mut hub = Hub::start_as(7, &MemoryDisk::new(7), &text_of, at_start()).unwrap();
    let mut device = Device::new(&mut hub);
    device.write(&mut hub, 0..5);
    damage(&hub, &text(2));
    hub.restart(&text_of);
    hub.settle();
    device.connect(&mut hub);

    pass(&mut hub, &mut device.remote, 600);

    assert!(!device.was_told_to_connect_anew(&hub));
}

/// Two hubs of which the first lost a record that the second has, and the agent of the first.
fn hurt_with_a_copy(lost: u64) -> (Net, Device) {
    let mut net = Net::new([started("eu", &["us"]), started("us", &["eu"])]);
    net.meet(0, 1);
    let mut device = Device::new(&mut net.hubs[0]);
    device.write(&mut net.hubs[0], 0..5);
    net.talk(5);
    assert_eq!(net.hubs[1].texts("eu.air"), texts(0..5));
    damage(&net.hubs[0], &text(lost));
    let hub = again(&net.hubs[0], "eu", &["us"]);
    net.replace(0, hub);
    net.hubs[0].settle();
    (net, device)
}

#[test]
fn what_another_hub_has_comes_back_from_that_also_at_the_end_of_the_log() {
    for lost in [2, 4] {
        let (mut net, mut device) = hurt_with_a_copy(lost);
        net.meet(0, 1);
        let mut alerts = Remote::agent(&mut net.hubs[0], 20_000);
        let channel = alerts.offer(&mut net.hubs[0], "alerts");
        for n in 0..6 {
            // What was written before needs no replay from here on.
            alerts.publish(&mut net.hubs[0], channel, &[record("eu-1-air", &text(10 + n))]);
            for _ in 0..11 {
                net.talk(1);
                alerts.link.on_timeout(net.hubs[0].now.monotonic);
                net.hubs[0].talk(&mut alerts);
            }
        }

        device.connect(&mut net.hubs[0]);
        for _ in 0..100 {
            net.talk(1);
            device.remote.link.on_timeout(net.hubs[0].now.monotonic);
            net.hubs[0].talk(&mut device.remote);
        }

        assert_eq!(net.hubs[0].texts(AIR), texts(0..5), "{lost}");
        assert!(!device.was_told_to_connect_anew(&net.hubs[0]), "{lost}");
    }
}

#[test]
fn what_an_agent_sent_again_is_not_taken_from_a_hub_later() {
    let (net, mut device) = hurt_with_a_copy(2);
    let held = net.hubs[1].entries("eu.air");
    let mut hub = net.hubs.into_iter().next().unwrap();
    device.connect(&mut hub);
    device.pass(&mut hub, 540);
    assert!(!sorted(&hub, AIR).contains(&text(2)), "the other hub is waited for");
    device.pass(&mut hub, 120);
    assert_eq!(sorted(&hub, AIR), texts(0..5));

    let mut us = Remote::hub(&mut hub, 2, "us");
    offer_refills(&mut hub, &mut us);
    wait(&mut hub, &mut us, 1);
    assert_eq!(asked(&us).len(), 1);
    answer(&mut hub, &mut us, vec![held[2].clone()]);
    wait(&mut hub, &mut us, 60);

    assert_eq!(sorted(&hub, AIR), texts(0..5));
}

#[test]
fn whatever_is_damaged_and_whenever_it_stops_all_that_is_kept_is_there_once_in_the_end() {
    for seed in 0..50 {
        let mut random = SeededRandom::new(seed);
        let mut hub = started("eu", &[]);
        let mut device = Device::new(&mut hub);
        let mut writer = Writer::new();
        let mut written = 0;
        for _ in 0..12 {
            match random.next_u64() % 6 {
                0 | 1 => {
                    let count = 1 + random.next_u64() % 3;
                    device.write(&mut hub, written..written + count);
                    written += count;
                }
                2 if written > 0 => {
                    let lost = text(random.next_u64() % written);
                    if sorted(&hub, AIR).contains(&lost) {
                        damage(&hub, &lost);
                    }
                }
                3 => {
                    hub.release_commits();
                    hub.hold_commits();
                }
                4 => {
                    let survival = match random.next_u64() % 2 {
                        0 => Survival::Nothing,
                        _ => Survival::Everything,
                    };
                    let disk = hub.disk().clone();
                    disk.crash(survival);
                    hub = Hub::start_as(7, &disk, &config("eu", &[], "*"), hub.now).unwrap();
                    device.connect(&mut hub);
                }
                _ => {
                    device.pass(&mut hub, 1 + random.next_u64() % 90);
                    writer.state(&mut hub, &device);
                }
            }
        }
        hub.release_commits();
        hub = again(&hub, "eu", &[]).scrubbing(ByteCount::mebibytes(64));
        device.connect(&mut hub);
        device.pass(&mut hub, 1_300);
        writer.state(&mut hub, &device);

        assert_eq!(sorted(&hub, AIR), sorted_texts(written), "seed {seed}");
        assert_eq!(hub.node.audit.counts().faults, 0, "seed {seed}");
    }
}
