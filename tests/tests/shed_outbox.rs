//! An agent that had to shed, and its hub: nothing is missing that is not named.
//!
//! Both nodes as the binaries drive them, over disks in memory and frames handed from one to the
//! other.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use edge_agent::decode::Line;
use edge_agent::outbox::FilePosition;
use headland_detection::Program;
use headland_event::{
    AgentName, ByteCount, Entry, EventTime, Hole, HubName, Lane, Monotonic, Now, Offset, RegionId,
    TopicName, TopicPartition,
};
use headland_platform::tls::{Role, SpiffeId};
use headland_replication::{Dialled, Identity};
use headland_storage::{
    Cleaning, LogReader, LogStore, MemoryDisk, MemoryStore, OpenOptions, Snapshot,
};
use region_hub::peer_link::LinkId;

const RULES: &str = "
CREATE TABLE air (station STRING, `time` TIMESTAMP(3), pm25 DOUBLE,
  WATERMARK FOR `time` AS `time` - INTERVAL '1' HOUR)
  WITH ('topic' = 'air.readings', 'format' = 'csv', 'key' = 'station');
CREATE TABLE events (id STRING, `time` TIMESTAMP(3), device STRING)
  WITH ('topic' = 'inventory.events', 'format' = 'csv', 'key' = 'device');
CREATE TABLE high (station STRING, pm25 DOUBLE) WITH ('topic' = 'alerts', 'alert.key' = 'station');
INSERT INTO high SELECT station, pm25 FROM air WHERE pm25 > 100;
";

const AGENT: &str = r#"
region = "eu"
name = "eu-1"
data_dir = "none"
hub = { address = "none:1", name = "hub-1" }
tls = { ca_file = "none", certificate_file = "none", key_file = "none" }
rules = { file = "none" }
api = { socket = "none" }
outbox = { bytes_limit = "24KiB", keep_bytes = "2KiB" }
[[source]]
table = "air"
path = "air.csv"
[[source]]
table = "events"
path = "events.csv"
lane = "state"
"#;

const HUB: &str = r#"
region = "eu"
name = "hub-1"
data_dir = "none"
listen = { address = "127.0.0.1:1" }
tls = { ca_file = "none", certificate_file = "none", key_file = "none" }
api = { socket = "none" }
[[topic]]
name = "inventory.events"
lane = "state"
partitions = 1
[[topic]]
name = "air.readings"
partitions = 1
[[agent]]
name = "eu-1"
devices = ["d"]
topics = ["inventory.events", "air.readings", "alerts"]
"#;

const WALL: EventTime = EventTime::from_millis(1_577_836_800_000);
const PLENTY: ByteCount = ByteCount::mebibytes(16);
const TOPICS: [&str; 3] = ["air.readings", "inventory.events", "alerts"];

fn at(topic: &str) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), headland_event::PartitionIndex::new(0))
}

fn region() -> RegionId {
    RegionId::new("eu").unwrap()
}

struct Pair {
    agent: edge_agent::Node,
    outbox: MemoryStore,
    hub: region_hub::Node,
    log: MemoryStore,
    now: Now,
    connections: u64,
    /// The connection that carries frames, if there is one.
    link_id: Option<LinkId>,
    lines: BTreeMap<usize, u64>,
}

impl Pair {
    fn new() -> Self {
        let now = Now { wall: WALL, monotonic: Monotonic::default() };
        let open = |seed, nonce| {
            let options =
                OpenOptions { file_bytes: ByteCount::new(16 << 10), ..OpenOptions::new(nonce) };
            MemoryStore::open(&MemoryDisk::new(seed), options).unwrap()
        };
        let (outbox, log) = (open(1, 1), open(2, 2));
        let identity = Identity::Hub { region: region(), name: HubName::new("hub-1").unwrap() };
        let program = Program::compile("rules.sql", RULES).unwrap();
        let config = toml::from_str(AGENT).unwrap();
        let reads = (&outbox.reader(), &outbox);
        let agent =
            edge_agent::Node::new(&config, vec![identity], program, outbox.incarnation(), reads, 3);
        let id = SpiffeId {
            fleet: "f".to_owned(),
            region: region(),
            role: Role::Hub("hub-1".to_owned()),
        };
        let reads = (&log.reader(), &log);
        let config = toml::from_str(HUB).unwrap();
        let hub = region_hub::Node::new(&config, &id, log.incarnation(), reads, 4, now);
        let (agent, hub, lines) = (agent.unwrap(), hub.unwrap(), BTreeMap::new());
        let mut pair = Self { agent, outbox, hub, log, now, connections: 0, link_id: None, lines };
        pair.settle();
        pair
    }

    fn feed(&mut self, source: usize, text: &str) {
        let number = self.lines.entry(source).or_default();
        *number += 1;
        let line = Line { bytes: bytes::Bytes::copy_from_slice(text.as_bytes()), number: *number };
        let position = FilePosition { bytes: *number, lines: *number, generation: None };
        assert!(self.agent.wants_lines(), "there is room for line {number} of source {source}");
        self.agent.on_lines(self.now, source, &[line], position);
        self.settle();
        self.advance(50);
    }

    /// Feeds a day of readings, every tenth of which raises an alert, and of events.
    fn day(&mut self, count: u32) {
        for n in 0..count {
            let pm25 = if n % 10 == 0 { 150 } else { 20 };
            let (hour, minute) = (n / 60 % 24, n % 60);
            self.feed(0, &format!("d,2013-03-01 {hour:02}:{minute:02}:00,{pm25}"));
            if n % 4 == 0 {
                self.feed(1, &format!("e{n},2013-03-01 {hour:02}:{minute:02}:00,d"));
            }
        }
    }

    fn advance(&mut self, millis: u64) {
        self.now.monotonic = Monotonic::from_nanos(self.now.monotonic.nanos() + millis * 1_000_000);
        self.agent.on_timeout(self.now);
        self.settle();
        self.hub.on_timeout(self.now);
        self.settle();
    }

    fn connect(&mut self) {
        self.connections += 1;
        let link_id = LinkId::new(self.connections);
        self.link_id = Some(link_id);
        let name = AgentName::new("eu-1").unwrap();
        let role = Role::Agent(name.to_string());
        let id = SpiffeId { fleet: "f".to_owned(), region: region(), role };
        self.agent.on_connected(self.now, 0);
        self.hub.on_connected(self.now, link_id, &id, Dialled::There);
        self.settle();
        self.wait();
    }

    /// Lets ten seconds pass, in steps that keep links alive.
    fn wait(&mut self) {
        for _ in 0..20 {
            self.advance(500);
        }
    }

    fn cut(&mut self) {
        let link_id = self.link_id.take().unwrap();
        self.agent.on_disconnected(self.now);
        self.hub.on_disconnected(self.now, link_id);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            if let Some(output) = self.agent.poll_output() {
                self.perform_agent(output);
            } else if let Some(output) = self.hub.poll_output() {
                self.perform_hub(output);
            } else {
                return;
            }
        }
    }

    fn perform_agent(&mut self, output: edge_agent::Output) {
        use edge_agent::Output;

        let now = self.now;
        match output {
            Output::Commit(composed) => {
                let number = self.outbox.append(&[composed.commit]).unwrap().last;
                self.agent.on_committed(now, composed.ticket, number);
            }
            Output::Send { lane, frame } => {
                self.agent.on_written(now, lane, size(&frame));
                if let Some(link_id) = self.link_id {
                    self.hub.on_frame(now, link_id, lane, frame);
                }
            }
            Output::Read { channel, partition, from, limit } => {
                let entries = self.outbox.reader().read(&partition, from, limit).unwrap();
                self.agent.on_entries(now, channel, entries);
            }
            Output::Snapshot(Snapshot { at, state }) => {
                let owner = edge_agent::Node::snapshot_owner();
                self.outbox.snapshots().save(&owner, at, &state).unwrap();
            }
            Output::Clean(policy) => {
                let report = self.outbox.clean(&policy, now.wall, PLENTY).unwrap();
                let reader = self.outbox.reader();
                let starts = report.moved.into_iter().map(|partition| {
                    let start = reader.start(&partition);
                    (partition, start)
                });
                self.agent.on_cleaned(starts, report.dropped);
            }
            Output::Dial(_) | Output::Close(_) | Output::Trace(_) | Output::Scrub(_) => {}
        }
    }

    fn perform_hub(&mut self, output: region_hub::Output) {
        use region_hub::Output;

        let now = self.now;
        match output {
            Output::Commit(composed) => {
                let number = self.log.append(&[composed.commit]).unwrap().last;
                self.hub.on_committed(now, composed.ticket, number);
            }
            Output::Send { link_id, lane, frame } => {
                self.hub.on_written(now, link_id, lane, size(&frame));
                if self.link_id == Some(link_id) {
                    self.agent.on_frame(now, lane, frame);
                }
            }
            Output::Close { reason, .. } => panic!("the hub closes: {reason}"),
            Output::Read { .. }
            | Output::Dial(_)
            | Output::Trace(_)
            | Output::Snapshot(_)
            | Output::Clean(_)
            | Output::Look { .. }
            | Output::Recall { .. }
            | Output::Refill(_)
            | Output::Scrub(_) => {}
        }
    }

    /// Records and records named as gone, of a topic at the hub; nothing else is between them.
    fn at_hub(&self, topic: &str) -> (u64, u64) {
        let mut entries: Vec<Entry> = Vec::new();
        let reader = self.log.reader();
        let partitions = reader.partitions();
        let mut partitions = partitions.iter().filter(|at| at.topic.as_str() == topic);
        let Some(partition) = partitions.next() else { return (0, 0) };
        assert_eq!(partitions.next(), None, "an agent writes to one partition");
        loop {
            let from = entries.last().map_or(Offset::new(0), Entry::end);
            let more = reader.read(partition, from, PLENTY).unwrap();
            if more.is_empty() {
                break;
            }
            entries.extend(more);
        }
        let mut next = Offset::new(0);
        let mut counts = (0, 0);
        for entry in &entries {
            assert_eq!(entry.base, next, "{topic} has no gap");
            assert_eq!(entry.dot.sequence.get(), next.get() + 1, "{topic} has every dot");
            next = entry.end();
            match Hole::of(&entry.batch) {
                Some(hole) => counts.1 += hole.count,
                None => counts.0 += u64::try_from(entry.batch.len()).unwrap(),
            }
        }
        counts
    }

    fn written(&self, topic: &str) -> u64 {
        self.outbox.reader().end(&at(topic)).get()
    }
}

fn size(frame: &bytes::Bytes) -> ByteCount {
    ByteCount::new(u64::try_from(frame.len()).unwrap())
}

#[test]
fn what_an_agent_sheds_while_its_hub_is_away_is_named_there_and_nothing_else_is_missing() {
    let mut pair = Pair::new();
    pair.connect();
    pair.day(20);
    pair.cut();
    pair.day(400);
    let before = pair.agent.status();

    pair.connect();

    let counts: Vec<(u64, u64)> = TOPICS.iter().map(|topic| pair.at_hub(topic)).collect();
    let written: Vec<u64> = TOPICS.iter().map(|topic| pair.written(topic)).collect();
    let named: Vec<u64> = counts.iter().map(|(_, named)| *named).collect();
    assert!(before.shed_by_bytes_records > 0);
    assert_eq!(written, counts.iter().map(|(records, named)| records + named).collect::<Vec<_>>());
    assert_eq!(named.iter().sum::<u64>(), before.shed_by_bytes_records);
    assert_eq!(named[2], 0, "alerts are never shed");
    let by_hub: u64 = pair.hub.dropped().map(|(_, _, count)| count).sum();
    assert_eq!(by_hub, before.shed_by_bytes_records);
    assert_eq!(pair.agent.status().unacknowledged_records, 0);
}

#[test]
fn a_hub_that_lost_its_disk_learns_what_the_agent_does_not_have_any_more() {
    let mut pair = Pair::new();
    pair.connect();
    pair.day(300);
    pair.wait();
    pair.wait();
    pair.cut();
    let fresh = Pair::new();
    (pair.hub, pair.log) = (fresh.hub, fresh.log);

    pair.connect();
    pair.day(1);

    let (records, named) = pair.at_hub("air.readings");
    assert!(records > 0 && named > 0, "{records} records, {named} named");
    assert_eq!(records + named, pair.written("air.readings"));
    let policies: Vec<&str> = pair.hub.dropped().map(|(_, policy, _)| policy.as_str()).collect();
    assert!(policies.iter().all(|policy| *policy == "acknowledged"), "{policies:?}");
}

/// Frames of every lane reach the other node, or the tests above would prove nothing.
#[test]
fn all_lanes_carry_data() {
    let mut pair = Pair::new();
    pair.connect();
    pair.day(20);

    let lanes = [Lane::Telemetry, Lane::State, Lane::Alerts];
    for (topic, lane) in TOPICS.iter().zip(lanes) {
        assert_eq!(pair.at_hub(topic), (pair.written(topic), 0), "{lane}");
    }
}
