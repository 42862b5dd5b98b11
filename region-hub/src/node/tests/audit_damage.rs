//! What the audit says of what damage took, and of what came back of it.

use headland_event::{
    Batch, ByteCount, Dot, Entry, Incarnation, Monotonic, Record, Sequence, StreamId,
};
use headland_replication::Audit;
use headland_replication::audit::INTERVAL;

use super::damage::damage;
use super::handing::Net;
use super::hub::{Hub, START};
use super::refills::{AIR, again, missing, started, text};
use super::remote::{LIFE, Remote, partition, record, stamp};
use super::resent::{Device, sorted, texts};

/// What a device states of its log.
pub(super) struct Writer {
    audit: Audit,
    now: Monotonic,
    /// Entries of its log that it summed up.
    summed: usize,
    statements: u64,
}

impl Writer {
    pub(super) fn new() -> Self {
        let now = Monotonic::default();
        Self { audit: Audit::new(LIFE, now), now, summed: 0, statements: 0 }
    }

    /// States what was written since, in the log of a hub.
    pub(super) fn state(&mut self, hub: &mut Hub, device: &Device) {
        let log = device.remote.log(device.channel);
        log[self.summed..].iter().for_each(|entry| self.audit.on_entry(&partition(AIR), entry));
        self.summed = log.len();
        self.now = self.now.after(INTERVAL);
        let statements = partition("_audit");
        for (_, statement) in self.audit.on_timeout(self.now) {
            self.statements += 1;
            let (stream, sequence) = (StreamId::new([99; 16]), Sequence::new(self.statements));
            let dot = Dot { stream, incarnation: LIFE, sequence };
            let records = [Record::new(START, "air/0", statement.encode())];
            let batch = Batch::encode(&records).unwrap();
            let mut stamp = stamp(hub.region().as_str(), hub.node.composer.end(&statements));
            stamp.actor.incarnation = hub.node.incarnation;
            hub.node.composer.copied(&statements, dot, Some(stamp), batch);
        }
        hub.settle();
    }
}

/// The log of a hub takes an entry of its own once more.
fn double(hub: &mut Hub, Entry { dot, stamp, batch, .. }: Entry) {
    hub.node.composer.copied(&partition(AIR), dot, stamp, batch);
    hub.settle();
}

fn entry_of(hub: &Hub, number: u64) -> Entry {
    let says = |entry: &Entry| {
        let records = entry.batch.records().unwrap_or_default();
        records.iter().any(|of| of.value.as_deref() == Some(text(number).as_bytes()))
    };
    hub.entries(AIR).into_iter().find(says).unwrap()
}

/// What the audit found in this run.
fn faults(hub: &Hub) -> Vec<String> {
    hub.node.audit_status().last_faults
}

/// How the log of a hub meets damage.
#[derive(Debug, Clone, Copy)]
enum Met {
    /// While it runs.
    InScrub,
    /// At a start that reads only what is behind it.
    BehindSnapshot,
    /// At a start that reads over it.
    InReplay,
}

/// A hub alone that lost a record of which it holds others before and behind it.
fn hurt(met: Met, lost: u64) -> (Hub, Device, Writer) {
    let mut hub = started("eu", &[]);
    let (mut device, mut writer) = (Device::new(&mut hub), Writer::new());
    device.write(&mut hub, 0..2);
    writer.state(&mut hub, &device);
    device.write(&mut hub, 2..5);
    if matches!(met, Met::BehindSnapshot) {
        for _ in 0..3 {
            device.pass(&mut hub, 3);
            let alerts = device.remote.offer(&mut hub, "alerts");
            device.remote.publish(&mut hub, alerts, &[record("eu-1-air", &text(10))]);
        }
    }
    damage(&hub, &text(lost));
    let rate = ByteCount::mebibytes(64);
    hub = match met {
        Met::InScrub => hub.scrubbing(rate),
        Met::BehindSnapshot => again(&hub, "eu", &[]).scrubbing(rate),
        Met::InReplay => again(&hub, "eu", &[]),
    };
    hub.settle();
    device.connect(&mut hub);
    device.pass(&mut hub, 20);
    let range = format!("air/0 {lost}..{} []", lost + 1);
    assert!(missing(&hub).contains(&range), "{met:?} {:?}", missing(&hub));
    (hub, device, writer)
}

#[test]
fn what_agents_send_again_is_no_fault_and_what_is_doubled_of_it_is() {
    for met in [Met::InScrub, Met::BehindSnapshot, Met::InReplay] {
        for lost in [0, 1, 3] {
            let (mut hub, mut device, mut writer) = hurt(met, lost);
            device.write(&mut hub, 5..6);
            writer.state(&mut hub, &device);
            device.pass(&mut hub, 90);
            assert_eq!(sorted(&hub, AIR), texts(0..6), "{met:?} {lost}");
            device.write(&mut hub, 6..7);
            writer.state(&mut hub, &device);
            assert_eq!(faults(&hub), [""; 0], "{met:?} {lost}");
            assert!(hub.node.audit.counts().agreed > 0, "{met:?} {lost}");

            hub = again(&hub, "eu", &[]);
            hub.settle();
            device.connect(&mut hub);
            device.write(&mut hub, 7..8);
            writer.state(&mut hub, &device);
            assert_eq!(faults(&hub), [""; 0], "{met:?} {lost}");

            let (of_lost, of_other) = (entry_of(&hub, lost), entry_of(&hub, 4));
            double(&mut hub, of_other);
            double(&mut hub, of_lost);
            let twice = faults(&hub);
            assert_eq!(twice.len(), 2, "{met:?} {lost} {twice:?}");
            assert!(
                twice.iter().all(|fault| fault.starts_with("1 records are there twice in air/0"))
            );
        }
    }
}

#[test]
fn what_is_not_in_the_log_is_named_although_the_log_lost_some_before() {
    let (mut hub, mut device, mut writer) = hurt(Met::InReplay, 3);
    device.pass(&mut hub, 90);
    writer.state(&mut hub, &device);
    let next = device.remote.dot(device.channel, 5);
    let missed = Dot { sequence: next.sequence.after(1), ..next };

    // A hop loses what follows, and goes on behind it.
    device.remote.write(device.channel, &[record("eu-1-air", &text(5))], None);
    device.remote.write(device.channel, &[record("eu-1-air", &text(6))], None);
    let Entry { batch, .. } = device.remote.log(device.channel)[6].clone();
    let entry = Entry { dot: missed, batch, ..entry_of(&hub, 4) };
    double(&mut hub, entry);
    writer.state(&mut hub, &device);

    let found = faults(&hub);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("1 records are missing in air/0"), "{found:?}");
}

/// Two hubs; the agent of the first wrote five records, which the second has too.
fn two() -> (Net, Device, Writer) {
    let mut net = Net::new([started("eu", &["us"]), started("us", &["eu"])]);
    net.meet(0, 1);
    let mut device = Device::new(&mut net.hubs[0]);
    let mut writer = Writer::new();
    device.write(&mut net.hubs[0], 0..2);
    writer.state(&mut net.hubs[0], &device);
    device.write(&mut net.hubs[0], 2..5);
    net.talk(5);
    (net, device, writer)
}

/// Lets a hub write what needs no replay of what was before.
fn go_on(net: &mut Net, hub: usize, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let life = Incarnation::new(1, 1_000 + number);
        let mut other = Remote::agent_in(&mut net.hubs[hub], 20_000 + number, life);
        let alerts = other.offer(&mut net.hubs[hub], "alerts");
        other.publish(&mut net.hubs[hub], alerts, &[record("eu-1-air", &text(10 + number))]);
        let now = net.hubs[hub].now;
        net.hubs[hub].node.on_disconnected(now, other.link_id);
        net.talk(11);
    }
}

#[test]
fn what_a_start_read_over_and_a_hub_gives_back_is_not_missing() {
    for lost in [2, 4] {
        for is_restarted in [true, false] {
            let (mut net, mut device, mut writer) = two();
            damage(&net.hubs[1], &text(lost));
            let us = again(&net.hubs[1], "us", &["eu"]);
            net.replace(1, us);
            net.meet(0, 1);
            writer.state(&mut net.hubs[0], &device);
            net.talk(5);
            go_on(&mut net, 1, 0..6);
            assert_eq!(net.hubs[1].texts("eu.air"), texts(0..5), "{lost}");
            if is_restarted {
                let us = again(&net.hubs[1], "us", &["eu"]);
                net.replace(1, us);
                net.meet(0, 1);
            }

            for n in 5..8 {
                device.connect(&mut net.hubs[0]);
                device.write(&mut net.hubs[0], n..n + 1);
                writer.state(&mut net.hubs[0], &device);
                net.talk(5);
            }

            assert_eq!(net.hubs[1].texts("eu.air"), texts(0..8), "{lost}");
            for hub in &net.hubs {
                assert_eq!(faults(hub), [""; 0], "{lost} {is_restarted}");
            }
            assert!(net.hubs[1].node.audit.counts().agreed > 0, "{lost} {is_restarted}");
        }
    }
}

#[test]
fn a_copy_with_a_hole_for_what_its_origin_lost_takes_what_comes_behind_it() {
    let (mut eu, mut device, mut writer) = hurt(Met::BehindSnapshot, 3);
    device.pass(&mut eu, 90);
    assert_eq!(sorted(&eu, AIR), texts(0..5));
    let eu = again(&eu, "eu", &["us"]);
    let mut net = Net::new([eu, started("us", &["eu"])]);
    net.meet(0, 1);
    net.talk(5);

    for n in 5..8 {
        device.connect(&mut net.hubs[0]);
        device.write(&mut net.hubs[0], n..n + 1);
        writer.state(&mut net.hubs[0], &device);
        net.talk(5);
    }

    let mut held = net.hubs[1].values("eu.air");
    held.sort();
    assert_eq!(held, texts(0..8));
    assert_eq!(faults(&net.hubs[1]), [""; 0]);
    assert!(net.hubs[1].node.audit.counts().agreed > 0);
}
