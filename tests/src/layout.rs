//! Hubs in any layout of links, in one thread: what arrives where, over how many regions.
//!
//! Each region has a hub with topics of its own and one writer for each of them; every link passes
//! on what came from elsewhere. Frames arrive in a seeded order, disks are memory, nothing fails:
//! what is looked at is who takes what from whom, and what it is called.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "it is test code: what does not fit ends the test, and its indices are its own"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use bytes::Bytes;
use headland_event::{
    AgentName, Batch, ByteCount, ChannelId, Dot, Entry, EventTime, GroupName, HubName, Incarnation,
    Lane, Monotonic, Now, Offset, PartitionIndex, Random, Record, RegionId, SeededRandom, Sequence,
    StreamId, TopicName, TopicPartition,
};
use headland_platform::tls::{Role, SpiffeId};
use headland_replication::{Dialled, Ended, Identity, Link, LinkConfig, LinkOutput, Offer};
use headland_storage::{LogReader, LogStore, MemoryDisk, MemoryStore, Missing, OpenOptions};
use region_hub::peer_link::LinkId;
use region_hub::{Node, Output};

/// How long the world goes on after everything is written, in steps of [`STEP_MILLIS`].
const STEPS: u64 = 24;

/// How far the clock goes in one step.
const STEP_MILLIS: u64 = 250;

/// The wall clock when it begins.
const START: i64 = 1_291_190_760_000;

/// Regions by name with the topics they write, and which of them are linked.
#[derive(Debug, Clone)]
pub struct Layout {
    /// A region's name and its topics'.
    pub regions: Vec<(String, Vec<String>)>,
    /// Pairs of regions by index.
    pub links: BTreeSet<(usize, usize)>,
}

impl Layout {
    /// Draws two to six regions with names and topics that look like each other's, linked so that
    /// each reaches each.
    ///
    /// # Panics
    /// Never: what is drawn is within its lists.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        const NAMES: [&str; 8] = ["us", "us.west", "eu", "eu.us", "a", "a.b", "us-2", "west"];
        const TOPICS: [&str; 6] =
            ["orders", "us.orders", "west.orders", "b.orders", "us.west.orders", "eu.us.orders"];
        let mut random = SeededRandom::new(seed);
        let mut draw =
            |below: usize| usize::try_from(random.below(u64::try_from(below).unwrap())).unwrap();
        let mut names = NAMES.to_vec();
        let regions = (0..2 + draw(5)).map(|_| {
            let name = names.remove(draw(names.len())).to_owned();
            let topics: BTreeSet<&str> = (0..1 + draw(3)).map(|_| TOPICS[draw(6)]).collect();
            (name, topics.into_iter().map(ToOwned::to_owned).collect())
        });
        let regions: Vec<_> = regions.collect();
        // A tree reaches everybody; what comes on top makes rings.
        let mut links: BTreeSet<_> =
            (1..regions.len()).map(|region| (draw(region), region)).collect();
        for _ in 0..draw(regions.len()) {
            let (one, other) = (draw(regions.len()), draw(regions.len()));
            if one != other {
                links.insert((one.min(other), one.max(other)));
            }
        }
        Self { regions, links }
    }

    /// So many regions that each write `orders`, linked as told.
    #[must_use]
    pub fn of(regions: usize, links: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let region = |index: usize| (format!("r{index}"), vec!["orders".to_owned()]);
        let links = links.into_iter().map(|(one, other)| (one.min(other), one.max(other)));
        Self { regions: (0..regions).map(region).collect(), links: links.collect() }
    }

    /// How many links lie between two regions at least.
    ///
    /// # Panics
    /// When there is no way from one to the other.
    #[must_use]
    pub fn distance(&self, from: usize, to: usize) -> usize {
        let mut reached = BTreeSet::from([from]);
        for steps in 0..self.regions.len() {
            if reached.contains(&to) {
                return steps;
            }
            let ends = self.links.iter().flat_map(|(one, other)| [(one, other), (other, one)]);
            let next: Vec<usize> =
                ends.filter(|(one, _)| reached.contains(one)).map(|(_, other)| *other).collect();
            reached.extend(next);
        }
        panic!("region {to} is not reached from {from}")
    }

    fn config(&self, region: usize) -> String {
        let (name, topics) = &self.regions[region];
        let mut text = format!(
            "region = \"{name}\"\nname = \"hub-1\"\ndata_dir = \"none\"\n\
             listen = {{ address = \"127.0.0.1:1\" }}\napi = {{ socket = \"none\" }}\n\
             tls = {{ ca_file = \"none\", certificate_file = \"none\", key_file = \"none\" }}\n"
        );
        for topic in topics {
            text += &format!("[[topic]]\nname = \"{topic}\"\npartitions = 1\n");
        }
        for (one, other) in self.links.iter().filter(|(one, other)| [one, other].contains(&&region))
        {
            let peer = &self.regions[if *one == region { *other } else { *one }].0;
            text += &format!("[[peer]]\nregion = \"{peer}\"\nname = \"hub-1\"\nforward = true\n");
        }
        text + &format!("[[agent]]\nname = \"a\"\ntopics = {topics:?}\ndevices = [\"*\"]\n")
    }
}

/// A hub with its disk, and the one that writes its topics.
#[derive(Debug)]
struct Site {
    region: RegionId,
    node: Node,
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
        let sites = (0..count).map(|region| Site::start(&layout, region, now)).collect();
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
            let (one, other) = self.connections[index];
            let link_id = link_id_of(index);
            for (end, peer, dialled) in [(one, other, Dialled::Here), (other, one, Dialled::There)]
            {
                let id = self.spiffe(peer);
                if let End::Hub(region) = end {
                    self.sites[region].node.on_connected(self.now, link_id, &id, dialled);
                }
            }
            // A writer has said hello as soon as anything is done.
            for _ in 0..if index < writers { 0 } else { self.random.below(200) } {
                self.step();
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

    /// Whether a union reader at a region meets every record of another's topic once, in order, in
    /// a copy that came over as few regions as there are between the two.
    fn compare(&self, at: usize, of: usize, topic: &str, faults: &mut Vec<String>) {
        let (site, origin) = (&self.sites[at], &self.sites[of]);
        let name = TopicName::new(topic).unwrap();
        let own = TopicPartition::new(name, PartitionIndex::new(0));
        let expected = origin.entries(&own);
        let group = GroupName::new("reader").unwrap();
        let places = site.node.reading(&group, &format!("{topic}@*"));
        let places = places.unwrap_or_default().into_iter().map(|(place, _)| place);
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
    fn start(layout: &Layout, region: usize, now: Now) -> Self {
        let text = layout.config(region);
        let loaded = headland_platform::config::parse(Path::new("hub.toml"), text);
        let config: region_hub::config::HubConfig = loaded.expect("it fits").value;
        let seed = u64::try_from(region).unwrap() + 1;
        let store = MemoryStore::open(&MemoryDisk::new(seed), OpenOptions::new(seed)).unwrap();
        let name = HubName::new("hub-1").unwrap();
        let role = Role::Hub(name.to_string());
        let id = SpiffeId { fleet: "test".to_owned(), region: config.region.clone(), role };
        let log = (&store.reader(), &store);
        let node = Node::new(&config, &id, store.incarnation(), log, seed, now);
        let mut node = node.expect("a hub starts on an empty log");
        node.on_replay_ended(now, Missing::default()).expect("nothing is missing");
        let region = config.region;
        let agent = Identity::Agent { region: region.clone(), name: AgentName::new("a").unwrap() };
        let hub = Identity::Hub { region: region.clone(), name };
        let link = LinkConfig::new(agent, Incarnation::new(1, seed), hub);
        let writer = Link::new(link, seed, now.monotonic);
        Self { region, node, store, writer, logs: BTreeMap::new() }
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
                let offer = Offer {
                    source: TopicPartition::new(topic.clone(), PartitionIndex::new(0)),
                    origin: self.region.clone(),
                    origin_topic: topic,
                    path: Vec::new(),
                    lane: Lane::Telemetry,
                    start: Offset::new(0),
                    head,
                };
                self.writer.announce(offer).unwrap();
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

const fn link_id_of(index: usize) -> LinkId {
    LinkId::new(index as u64 + 1)
}
