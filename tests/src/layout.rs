//! Hubs in any layout of links, in one thread: what arrives where, over how many regions.
//!
//! Each region has a hub with topics of its own and one writer for each of them; every link passes
//! on what came from elsewhere. Frames arrive in a seeded order, disks are memory, and nothing
//! fails but hubs that start again to call each other something else: what is looked at is who
//! takes what from whom, and what it is called.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "it is test code: what does not fit ends the test, and its indices are its own"
)]

/// Regions, their links, and what they call each other.
mod plan;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use bytes::Bytes;
use headland_event::{
    AgentName, Batch, ByteCount, ChannelId, CommitNumber, Dot, Entry, EventTime, GroupName,
    HubName, Incarnation, Lane, Monotonic, Now, Offset, PartitionIndex, Random, Record, RegionId,
    SeededRandom, Sequence, StreamId, TopicName, TopicPartition,
};
use headland_platform::tls::{Role, SpiffeId};
use headland_replication::{Dialled, Ended, Identity, Link, LinkConfig, LinkOutput, Offer};
use headland_storage::{
    LogReader, LogStore, MemoryDisk, MemoryStore, Missing, OpenOptions, Survival,
    replay_past_damage,
};
use region_hub::peer_link::LinkId;
use region_hub::{Node, Output};

pub use plan::{Called, Layout};

/// How long the world goes on after everything is written, in steps of [`STEP_MILLIS`].
const STEPS: u64 = 24;

/// How far the clock goes in one step.
const STEP_MILLIS: u64 = 250;

/// The wall clock when it begins.
const START: i64 = 1_291_190_760_000;

/// A hub with its disk, and the one that writes its topics.
#[derive(Debug)]
struct Site {
    region: RegionId,
    node: Node,
    disk: MemoryDisk,
    store: MemoryStore,
    writer: Link,
    logs: BTreeMap<ChannelId, Vec<Entry>>,
}

/// Where frames go: to one end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Hub(usize),
    Writer(usize),
}

/// All regions at work.
#[derive(Debug)]
pub struct World {
    layout: Layout,
    sites: Vec<Site>,
    /// Connections with both ends; the first ones are the writers'.
    connections: Vec<(End, End)>,
    frames: BTreeMap<(LinkId, End, Lane), VecDeque<Bytes>>,
    now: Now,
    random: SeededRandom,
}

impl World {
    /// Starts every hub, links them, and writes so many records to each topic.
    #[must_use]
    pub fn run(layout: Layout, records: u64, seed: u64) -> Self {
        let now = Now { monotonic: Monotonic::default(), wall: EventTime::from_millis(START) };
        let count = layout.regions.len();
        let disk = |region| MemoryDisk::new(seed_of(region));
        let sites = (0..count).map(|at| Site::start(&layout, at, (disk(at), now))).collect();
        let writers = (0..count).map(|region| (End::Hub(region), End::Writer(region)));
        let links = layout.links.iter().map(|(one, other)| (End::Hub(*one), End::Hub(*other)));
        let connections = writers.chain(links).collect();
        let (frames, random) = (BTreeMap::new(), SeededRandom::new(seed));
        let mut world = Self { layout, sites, connections, frames, now, random };
        world.connect();
        world.settle();
        for half in [records / 2, records - records / 2] {
            world.write_on(half);
        }
        world
    }

    /// Writes so many more records to each topic, and goes on until all has arrived.
    pub fn write_on(&mut self, records: u64) {
        self.write(records);
        for _ in 0..STEPS {
            self.advance();
        }
    }

    /// Has hubs call each other something else from their next start on, and starts each of them
    /// again, in turn, while records are written to every topic.
    pub fn rename(&mut self, seed: u64, records: u64) {
        self.layout = self.layout.clone().renamed(seed);
        for region in 0..self.sites.len() {
            for (index, site) in self.sites.iter_mut().enumerate() {
                site.write(index, &self.layout.regions[index].1, records);
            }
            for _ in 0..self.random.below(200) {
                self.step();
            }
            self.restart(region);
        }
        self.write_on(records);
    }

    /// Takes the power from a hub and starts it again on what is durable.
    fn restart(&mut self, region: usize) {
        let end = End::Hub(region);
        let ends = self.connections.iter().enumerate();
        let ended = ends.filter(|(_, (one, other))| [*one, *other].contains(&end));
        let ended: Vec<usize> = ended.map(|(index, _)| index).collect();
        self.perform_all();
        for index in &ended {
            let (link_id, (one, other)) = (link_id_of(*index), self.connections[*index]);
            for far in [one, other].into_iter().filter(|far| *far != end) {
                if let End::Hub(far) = far {
                    self.sites[far].node.on_lost(self.now, link_id, Ended::Lost, "restart");
                }
            }
        }
        // Nothing that a connection asked for is left to the next one of its number.
        self.perform_all();
        let is_ended = |link_id: &LinkId| ended.iter().any(|index| link_id_of(*index) == *link_id);
        self.frames.retain(|(of, _, _), _| !is_ended(of));
        let site = &mut self.sites[region];
        site.disk.crash(Survival::Nothing);
        let started = Site::start(&self.layout, region, (site.disk.clone(), self.now));
        let logs = std::mem::replace(site, started).logs;
        self.sites[region].logs = logs;
        self.sites[region].offer(&self.layout.regions[region].1);
        for index in ended {
            self.meet(index);
        }
    }

    /// Ends a link of the layout for good, by its place there.
    pub fn cut(&mut self, link: usize) {
        let index = self.sites.len() + link;
        let (link_id, (one, other)) = (link_id_of(index), self.connections[index]);
        self.frames.retain(|(of, _, _), _| *of != link_id);
        for end in [one, other] {
            if let End::Hub(region) = end {
                self.sites[region].node.on_lost(self.now, link_id, Ended::Lost, "cut");
            }
        }
        self.settle();
    }

    /// What regions that were never linked lack of each other's topics, whichever way it comes;
    /// nothing when all is there.
    #[must_use]
    pub fn lacking(&self) -> Vec<String> {
        let count = self.sites.len();
        let pairs = (0..count).flat_map(|at| (0..count).map(move |of| (at, of)));
        let mut faults = Vec::new();
        for (at, of) in pairs.filter(|(at, of)| self.layout.distance(*of, *at) > 1) {
            for topic in &self.layout.regions[of].1 {
                self.compare(at, of, topic, &mut faults);
            }
        }
        // Over how many regions it comes is no matter any more.
        faults.retain(|fault| !fault.contains(" came to "));
        faults
    }

    fn connect(&mut self) {
        // Which link is there first decides what is taken over which way at the beginning.
        let writers = self.sites.len();
        let mut order: Vec<usize> = (0..self.connections.len()).collect();
        for last in (writers + 1..order.len()).rev() {
            let among = u64::try_from(last - writers + 1).unwrap();
            order.swap(last, writers + usize::try_from(self.random.below(among)).unwrap());
        }
        for index in order {
            self.meet(index);
            // A writer has said hello as soon as anything is done.
            for _ in 0..if index < writers { 0 } else { self.random.below(200) } {
                self.step();
            }
        }
    }

    /// Makes a connection.
    fn meet(&mut self, index: usize) {
        let (one, other) = self.connections[index];
        let link_id = link_id_of(index);
        for (end, peer, dialled) in [(one, other, Dialled::Here), (other, one, Dialled::There)] {
            let id = self.spiffe(peer);
            if let End::Hub(region) = end {
                self.sites[region].node.on_connected(self.now, link_id, &id, dialled);
            }
        }
    }

    fn spiffe(&self, end: End) -> SpiffeId {
        let (region, role) = match end {
            End::Hub(region) => (region, Role::Hub("hub-1".to_owned())),
            End::Writer(region) => (region, Role::Agent("a".to_owned())),
        };
        SpiffeId { fleet: "test".to_owned(), region: self.sites[region].region.clone(), role }
    }

    fn write(&mut self, records: u64) {
        for (index, site) in self.sites.iter_mut().enumerate() {
            site.write(index, &self.layout.regions[index].1, records);
        }
        self.settle();
    }

    fn advance(&mut self) {
        let Now { monotonic, wall } = self.now;
        self.now = Now {
            monotonic: Monotonic::from_nanos(monotonic.nanos() + STEP_MILLIS * 1_000_000),
            wall: EventTime::from_millis(wall.millis() + STEP_MILLIS.cast_signed()),
        };
        for site in &mut self.sites {
            site.node.on_timeout(self.now);
            site.writer.on_timeout(self.now.monotonic);
        }
        self.settle();
    }

    fn settle(&mut self) {
        while self.step() {}
    }

    /// Does one thing that somebody asks for, or lets one frame arrive; `false` when there is none.
    fn step(&mut self) -> bool {
        for index in 0..self.sites.len() {
            if let Some(output) = self.sites[index].node.poll_output() {
                self.perform(index, output);
                return true;
            }
            if let Some(output) = self.sites[index].writer.poll_output() {
                self.perform_writer(index, output);
                return true;
            }
        }
        let waiting: Vec<_> = self.frames.keys().copied().collect();
        let Some(count) = u64::try_from(waiting.len()).ok().filter(|count| *count > 0) else {
            return false;
        };
        let (link_id, to, lane) = waiting[usize::try_from(self.random.below(count)).unwrap()];
        let queue = self.frames.get_mut(&(link_id, to, lane)).unwrap();
        let frame = queue.pop_front().expect("a queue that is kept holds something");
        if queue.is_empty() {
            self.frames.remove(&(link_id, to, lane));
        }
        match to {
            End::Hub(at) => self.sites[at].node.on_frame(self.now, link_id, lane, frame),
            End::Writer(at) => self.sites[at].writer.on_frame(self.now.monotonic, lane, frame),
        }
        true
    }

    /// Does all that anybody asks for, and lets no frame arrive.
    fn perform_all(&mut self) {
        for index in 0..self.sites.len() {
            while let Some(output) = self.sites[index].node.poll_output() {
                self.perform(index, output);
            }
            while let Some(output) = self.sites[index].writer.poll_output() {
                self.perform_writer(index, output);
            }
        }
    }

    fn send(&mut self, from: End, link_id: LinkId, lane: Lane, frame: Bytes) {
        let index =
            (0..self.connections.len()).find(|index| link_id_of(*index) == link_id).unwrap();
        let (one, other) = self.connections[index];
        let to = if from == one { other } else { one };
        self.frames.entry((link_id, to, lane)).or_default().push_back(frame);
    }

    fn perform(&mut self, index: usize, output: Output) {
        let (now, site) = (self.now, &mut self.sites[index]);
        match output {
            Output::Commit(composed) => {
                let appended = site.store.append(&[composed.commit]).unwrap();
                site.node.on_committed(now, composed.ticket, appended.last);
            }
            Output::Read { link_id, channel, partition, from, limit } => {
                let entries = site.store.reader().read(&partition, from, limit).unwrap();
                site.node.on_entries(now, link_id, channel, entries);
            }
            Output::Send { link_id, lane, frame } => {
                let written = ByteCount::new(frame.len() as u64);
                site.node.on_written(now, link_id, lane, written);
                self.send(End::Hub(index), link_id, lane, frame);
            }
            Output::Close { link_id, reason } => panic!("{link_id} is closed: {reason}"),
            Output::Dial(_)
            | Output::Trace(_)
            | Output::Snapshot(_)
            | Output::Clean(_)
            | Output::Look { .. }
            | Output::Recall { .. }
            | Output::Refill(_)
            | Output::Scrub(_) => {}
        }
    }

    fn perform_writer(&mut self, index: usize, output: LinkOutput) {
        let site = &mut self.sites[index];
        match output {
            LinkOutput::Send { lane, frame } => {
                site.writer.on_written(lane, ByteCount::new(frame.len() as u64));
                self.send(End::Writer(index), link_id_of(index), lane, frame);
            }
            LinkOutput::Read { channel, from, limit: _ } => {
                let entries = site.logs[&channel].iter().filter(|entry| entry.base >= from);
                let entries = entries.cloned().collect();
                site.writer.on_entries(channel, entries);
            }
            LinkOutput::OfferRefused { refusal, .. } => panic!("a writer is refused: {refusal}"),
            LinkOutput::PeerReady(_)
            | LinkOutput::Announced(_)
            | LinkOutput::Deliver { .. }
            | LinkOutput::Acked { .. }
            | LinkOutput::Promised(_)
            | LinkOutput::Leased(_)
            | LinkOutput::RefillAsked(_)
            | LinkOutput::Refilled(_)
            | LinkOutput::Ended { .. }
            | LinkOutput::Close(_) => {}
        }
    }

    /// What is wrong with what regions hold of each other's topics; nothing when it is in order.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for at in 0..self.sites.len() {
            self.returned(at, &mut faults);
            self.copied_twice(at, &mut faults);
            for of in 0..self.sites.len() {
                for topic in &self.layout.regions[of].1 {
                    self.compare(at, of, topic, &mut faults);
                }
            }
        }
        faults
    }

    /// What came back to its origin, or was more hops away than regions have to be.
    fn returned(&self, at: usize, faults: &mut Vec<String>) {
        let site = &self.sites[at];
        for topic in site.node.topics().iter().filter(|topic| !topic.is_local()) {
            if topic.origin == site.region || topic.path.contains(&site.region) {
                faults.push(format!(
                    "{} came back to {} by {:?}",
                    topic.name, site.region, topic.path
                ));
            }
        }
    }

    /// What is there twice, having come the same way: a rename begins no second copy.
    fn copied_twice(&self, at: usize, faults: &mut Vec<String>) {
        let mut known = BTreeMap::new();
        for topic in self.sites[at].node.topics().iter().filter(|topic| !topic.is_local()) {
            let way = (&topic.origin, &topic.origin_name, &topic.path);
            if let Some(other) = known.insert(way, &topic.name) {
                let region = &self.sites[at].region;
                faults.push(format!("{region} has {} and {other}, which are one", topic.name));
            }
            let mut found = topic.names().into_iter().map(|name| TopicName::new(name).unwrap());
            let topics = self.sites[at].node.topics();
            let is_found = |name: TopicName| topics.resolve(&name) == Some(topic);
            if !found.all(is_found) {
                faults.push(format!("{} is not found by {:?}", topic.name, topic.also));
            }
        }
    }

    /// Whether a union reader at a region meets every record of another's topic once, in order, in
    /// a copy that came over as few regions as there are between the two.
    fn compare(&self, at: usize, of: usize, topic: &str, faults: &mut Vec<String>) {
        let (site, origin) = (&self.sites[at], &self.sites[of]);
        let name = TopicName::new(topic).unwrap();
        let own = TopicPartition::new(name, PartitionIndex::new(0));
        let expected = origin.entries(&own);
        let group = GroupName::new("reader").unwrap();
        let places = site.node.reading(&group, &format!("{topic}@*"));
        let places = places.unwrap_or_default().into_iter().map(|place| place.at);
        let places = places.filter(|place| {
            site.node.topics().get(&place.topic).is_some_and(|found| found.origin == origin.region)
        });
        let places: Vec<TopicPartition> = places.collect();
        let [place] = &places[..] else {
            let (here, there) = (&site.region, &origin.region);
            faults.push(format!("{here} counts {topic} of {there} in {places:?}"));
            return;
        };
        let found = site.entries(place);
        if found != expected {
            let counts = (found.len(), expected.len());
            faults.push(format!("{place} at {} has entries of {counts:?}", site.region));
        }
        let hops = site.node.topics().get(&place.topic).map_or(0, |topic| topic.path.len());
        let distance = self.layout.distance(of, at);
        if hops != distance {
            faults.push(format!("{place} came to {} over {hops}, not {distance}", site.region));
        }
    }
}

impl Site {
    fn start(layout: &Layout, region: usize, (disk, now): (MemoryDisk, Now)) -> Self {
        let text = layout.config(region);
        let loaded = headland_platform::config::parse(Path::new("hub.toml"), text);
        let config: region_hub::config::HubConfig = loaded.expect("it fits").value;
        let seed = seed_of(region);
        let store = MemoryStore::open(&disk, OpenOptions::new(seed)).unwrap();
        let name = HubName::new("hub-1").unwrap();
        let role = Role::Hub(name.to_string());
        let id = SpiffeId { fleet: "test".to_owned(), region: config.region.clone(), role };
        let log = (&store.reader(), &store);
        let node = Node::new(&config, &id, store.incarnation(), log, seed, now);
        let mut node = node.expect("a hub starts on its log");
        let replayed = replay_past_damage(&store.reader(), CommitNumber::new(1), |commit| {
            node.on_replayed(commit);
        });
        replayed.expect("the log is whole");
        node.on_replay_ended(now, Missing::default()).expect("nothing is missing");
        let region = config.region;
        let agent = Identity::Agent { region: region.clone(), name: AgentName::new("a").unwrap() };
        let hub = Identity::Hub { region: region.clone(), name };
        let link = LinkConfig::new(agent, Incarnation::new(1, seed), hub);
        let writer = Link::new(link, seed, now.monotonic);
        Self { region, node, disk, store, writer, logs: BTreeMap::new() }
    }

    /// Has the writer offer all that it has written.
    fn offer(&mut self, topics: &[String]) {
        for (channel, log) in &self.logs {
            let topic = TopicName::new(&topics[usize::try_from(channel.get()).unwrap()]).unwrap();
            let head = log.last().map_or(Offset::new(0), Entry::end);
            self.writer.announce(offer_of(&self.region, &topic, head)).unwrap();
        }
    }

    /// Appends records to the log of each topic, ten to an entry, offering those that are new.
    fn write(&mut self, index: usize, topics: &[String], records: u64) {
        for (number, topic) in (0_u32..).zip(topics) {
            let channel = ChannelId::new(number);
            let log = self.logs.entry(channel).or_default();
            let is_new = log.is_empty();
            let end = log.last().map_or(Offset::new(0), Entry::end).get();
            for base in (end..end + records).step_by(10) {
                let upto = (base + 10).min(end + records);
                let record = |at| Record::new(EventTime::from_millis(START), "d", format!("{at}"));
                let batch: Vec<Record> = (base..upto).map(record).collect();
                let stream =
                    [u8::try_from(index * 16).unwrap() + u8::try_from(number).unwrap(); 16];
                let dot = Dot {
                    stream: StreamId::new(stream),
                    incarnation: Incarnation::new(1, 1),
                    sequence: Sequence::new(base + 1),
                };
                let batch = Batch::encode(&batch).unwrap();
                log.push(Entry { base: Offset::new(base), dot, stamp: None, batch });
            }
            let head = Offset::new(end + records);
            if is_new {
                let topic = TopicName::new(topic).unwrap();
                self.writer.announce(offer_of(&self.region, &topic, head)).unwrap();
            } else {
                self.writer.on_head(channel, head);
            }
        }
    }

    fn entries(&self, at: &TopicPartition) -> Vec<Entry> {
        let reader = self.store.reader();
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let from = entries.last().map_or(Offset::new(0), Entry::end);
            let more = reader.read(at, from, ByteCount::mebibytes(1)).unwrap();
            if more.is_empty() {
                return entries;
            }
            entries.extend(more);
        }
    }
}

fn offer_of(region: &RegionId, topic: &TopicName, head: Offset) -> Offer {
    Offer {
        source: TopicPartition::new(topic.clone(), PartitionIndex::new(0)),
        origin: region.clone(),
        origin_topic: topic.clone(),
        path: Vec::new(),
        lane: Lane::Telemetry,
        start: Offset::new(0),
        head,
    }
}

fn seed_of(region: usize) -> u64 {
    u64::try_from(region).unwrap() + 1
}

const fn link_id_of(index: usize) -> LinkId {
    LinkId::new(index as u64 + 1)
}
