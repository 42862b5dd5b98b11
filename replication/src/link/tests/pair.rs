//! Two links with a host each, joined by a network that a test moves frame by frame.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use headland_event::{
    AgentName, Batch, ByteCount, ChannelId, Dot, Entry, EventTime, HubName, Incarnation, Lane,
    Monotonic, Offset, PartitionIndex, Record, RegionId, Sequence, StreamId, TopicName,
    TopicPartition,
};

use crate::frame::{Frame, Identity, Offer, is_copies};
use crate::link::{Link, LinkConfig, LinkOutput};

pub(super) fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

pub(super) fn hub(name: &str) -> Identity {
    Identity::Hub { region: region(name), name: HubName::new("hub-1").unwrap() }
}

pub(super) fn agent() -> Identity {
    Identity::Agent { region: region("eu"), name: AgentName::new("eu-1").unwrap() }
}

/// Small bounds, so that a test reaches them with a handful of records.
pub(super) fn config(local: Identity, peer: Identity) -> LinkConfig {
    let mut config = LinkConfig::new(local, Incarnation::new(1, 7), peer);
    config.hello.window = ByteCount::new(4_096);
    config.read_bytes = ByteCount::new(1_024);
    config.unsent_bytes_limit = ByteCount::new(1_024);
    config.channels_limit = 4;
    config
}

pub(super) fn source(topic: &str) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionIndex::new(0))
}

/// An entry of one record of `bytes`.
pub(super) fn entry(base: u64, bytes: usize) -> Entry {
    let value = vec![u8::try_from(base % 251).unwrap(); bytes];
    let record = Record::new(EventTime::from_millis(1_000), "till-3", value);
    Entry {
        base: Offset::new(base),
        dot: Dot {
            stream: StreamId::new([1; 16]),
            incarnation: Incarnation::new(1, 1),
            sequence: Sequence::new(base + 1),
        },
        stamp: None,
        batch: Batch::encode(&[record]).unwrap(),
    }
}

/// A log of one partition and how it is offered.
#[derive(Debug, Clone)]
pub(super) struct Log {
    pub(super) topic: &'static str,
    pub(super) lane: Lane,
    pub(super) entries: Vec<Entry>,
}

impl Log {
    pub(super) fn new(topic: &'static str, lane: Lane, count: u64, bytes: usize) -> Self {
        Self { topic, lane, entries: (0..count).map(|base| entry(base, bytes)).collect() }
    }

    pub(super) fn head(&self) -> Offset {
        Offset::new(u64::try_from(self.entries.len()).unwrap())
    }

    /// The offer of an agent of region `eu`.
    pub(super) fn offer(&self) -> Offer {
        let source = source(self.topic);
        Offer {
            origin: region("eu"),
            origin_topic: source.topic.clone(),
            source,
            path: Vec::new(),
            lane: self.lane,
            start: Offset::new(0),
            head: self.head(),
        }
    }
}

/// One end: a link and what its host keeps.
pub(super) struct Host {
    pub(super) link: Link,
    /// Logs offered, by channel number.
    pub(super) logs: Vec<Log>,
    /// What is stored of the peer's topics; outlives a link.
    pub(super) mirror: BTreeMap<TopicPartition, Vec<Entry>>,
    /// Frames the driver holds, oldest first.
    pub(super) driver: VecDeque<(Lane, Bytes)>,
    /// Datagrams on their way, in any order and as often as the network likes.
    pub(super) datagrams: Vec<Bytes>,
    pub(super) reads: VecDeque<(ChannelId, Offset, ByteCount)>,
    pub(super) delivered: VecDeque<(ChannelId, Entry)>,
    /// Everything else, in order.
    pub(super) seen: Vec<LinkOutput>,
    names: BTreeMap<ChannelId, TopicPartition>,
}

impl Host {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            logs: Vec::new(),
            mirror: BTreeMap::new(),
            driver: VecDeque::new(),
            datagrams: Vec::new(),
            reads: VecDeque::new(),
            delivered: VecDeque::new(),
            seen: Vec::new(),
            names: BTreeMap::new(),
        }
    }

    /// Starts over on a new connection with what is stored.
    pub(super) fn reconnect(&mut self, link: Link) {
        self.link = link;
        self.driver.clear();
        self.datagrams.clear();
        self.reads.clear();
        self.delivered.clear();
        self.seen.clear();
        self.names.clear();
        for log in &self.logs {
            self.link.announce(log.offer()).unwrap();
        }
    }

    pub(super) fn offer(&mut self, log: Log) -> ChannelId {
        let channel = self.link.announce(log.offer()).unwrap();
        self.logs.push(log);
        channel
    }

    pub(super) fn append(&mut self, channel: usize, bytes: usize) {
        let log = &mut self.logs[channel];
        log.entries.push(entry(log.head().get(), bytes));
        let head = log.head();
        self.link.on_head(ChannelId::new(u32::try_from(channel).unwrap()), head);
    }

    /// Drains the link; subscribes to whatever is announced from what is stored.
    pub(super) fn drain(&mut self) {
        while let Some(output) = self.link.poll_output() {
            match output {
                LinkOutput::Send { lane, frame } if is_copies(&frame) => {
                    self.link.on_written(lane, ByteCount::new(frame.len() as u64));
                    self.datagrams.push(frame);
                }
                LinkOutput::Send { lane, frame } => self.driver.push_back((lane, frame)),
                LinkOutput::Read { channel, from, limit } => {
                    self.reads.push_back((channel, from, limit));
                }
                LinkOutput::Deliver { channel, entry } => {
                    self.delivered.push_back((channel, entry));
                }
                LinkOutput::Announced(announce) => {
                    let source = announce.offer.source.clone();
                    let stored = self.mirror.entry(source.clone()).or_default();
                    let next = stored.last().map_or(Offset::new(0), Entry::end);
                    self.link.subscribe(announce.channel, next);
                    self.names.insert(announce.channel, source);
                    self.seen.push(LinkOutput::Announced(announce));
                }
                other => self.seen.push(other),
            }
        }
    }

    /// Answers the oldest read: entries up to the limit, one at least.
    pub(super) fn answer_read(&mut self) {
        let Some((channel, from, limit)) = self.reads.pop_front() else { return };
        let log = &self.logs[usize::try_from(channel.get()).unwrap()];
        let mut entries = Vec::new();
        let mut bytes = 0;
        for entry in log.entries.iter().skip(usize::try_from(from.get()).unwrap()) {
            bytes += entry.batch.as_bytes().len();
            if !entries.is_empty() && bytes > limit.as_len() {
                break;
            }
            entries.push(entry.clone());
        }
        self.link.on_entries(channel, entries);
        self.drain();
    }

    /// Stores the oldest delivered entry, which must follow what is stored.
    pub(super) fn store_one(&mut self) {
        let Some((channel, entry)) = self.delivered.pop_front() else { return };
        let log = self.mirror.get_mut(&self.names[&channel]).unwrap();
        assert_eq!(entry.base, log.last().map_or(Offset::new(0), Entry::end), "gap or double");
        let next = entry.end();
        log.push(entry);
        self.link.on_stored(channel, next);
        self.drain();
    }

    pub(super) fn mirrored(&self, topic: &str) -> &[Entry] {
        self.mirror.get(&source(topic)).map_or(&[], Vec::as_slice)
    }

    /// Frames the driver holds, decoded.
    pub(super) fn outgoing(&self) -> Vec<Frame> {
        self.driver.iter().map(|(_, frame)| Frame::decode(frame.clone()).unwrap()).collect()
    }
}

/// What becomes of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    Arrives,
    ArrivesAndComesAgain,
}

impl Fate {
    pub(super) const ALL: [Self; 3] = [Self::Lost, Self::Arrives, Self::ArrivesAndComesAgain];
}

/// An agent in `eu` and its hub.
pub(super) struct Pair {
    pub(super) now: Monotonic,
    pub(super) agent: Host,
    pub(super) hub: Host,
}

impl Pair {
    pub(super) fn new() -> Self {
        let now = Monotonic::from_millis(10_000);
        let agent_link = Link::new(config(agent(), hub("eu")), 1, now);
        let hub_link = Link::new(config(hub("eu"), agent()), 2, now);
        Self { now, agent: Host::new(agent_link), hub: Host::new(hub_link) }
    }

    /// Cuts the connection: everything on its way is lost, and both start over.
    pub(super) fn cut(&mut self) {
        self.agent.reconnect(Link::new(config(agent(), hub("eu")), 3, self.now));
        self.hub.reconnect(Link::new(config(hub("eu"), agent()), 4, self.now));
    }

    /// Moves the oldest frame of a lane from one driver to the other side's link.
    pub(super) fn carry(now: Monotonic, from: &mut Host, to: &mut Host, lane: Lane) -> bool {
        let Some(at) = from.driver.iter().position(|(queued, _)| *queued == lane) else {
            return false;
        };
        let (lane, frame) = from.driver.remove(at).unwrap();
        let bytes = ByteCount::new(u64::try_from(frame.len()).unwrap());
        from.link.on_written(lane, bytes);
        to.link.on_frame(now, lane, frame);
        from.drain();
        to.drain();
        true
    }

    /// Moves one of the agent's datagrams to the hub; what is left on its way may come again.
    pub(super) fn carry_datagram(&mut self, at: usize, fate: Fate) {
        let Self { now, agent, hub } = self;
        let Some(frame) = agent.datagrams.get(at).cloned() else { return };
        match fate {
            Fate::Lost | Fate::Arrives => drop(agent.datagrams.swap_remove(at)),
            Fate::ArrivesAndComesAgain => {}
        }
        if fate != Fate::Lost {
            hub.link.on_frame(*now, Lane::Alerts, frame);
            hub.drain();
        }
    }

    /// Moves a datagram as somebody would who gives alerts that came before the place of the next.
    pub(super) fn carry_doubled(&mut self, at: usize) {
        let Some(frame) = self.agent.datagrams.get(at).cloned() else { return };
        let Frame::Copies(mut copies) = Frame::decode(frame).unwrap() else { return };
        for data in &mut copies.entries {
            let mut subscriptions = self.hub.link.subscriptions();
            let of_channel = subscriptions.find(|status| status.channel == data.channel);
            data.entry.base = of_channel.map_or(data.entry.base, |status| status.delivered);
        }
        copies.entries.truncate(1);
        let frame = Frame::Copies(copies).encode().unwrap();
        self.hub.link.on_frame(self.now, Lane::Alerts, frame);
        self.hub.drain();
    }

    /// Runs until nothing is left to do; the hub stores at once.
    pub(super) fn run(&mut self) {
        loop {
            self.agent.drain();
            self.hub.drain();
            let mut moved = false;
            for lane in Lane::ALL {
                moved |= Self::carry(self.now, &mut self.agent, &mut self.hub, lane);
                moved |= Self::carry(self.now, &mut self.hub, &mut self.agent, lane);
            }
            for host in [&mut self.agent, &mut self.hub] {
                moved |= !host.reads.is_empty() || !host.delivered.is_empty();
                host.answer_read();
                host.store_one();
            }
            if !moved {
                return;
            }
        }
    }

    /// Runs until both have said hello and every offer has its position.
    pub(super) fn shake_hands(&mut self) {
        loop {
            self.agent.drain();
            self.hub.drain();
            let up = Self::carry(self.now, &mut self.agent, &mut self.hub, Lane::Control);
            let down = Self::carry(self.now, &mut self.hub, &mut self.agent, Lane::Control);
            if !up && !down {
                return;
            }
        }
    }
}
