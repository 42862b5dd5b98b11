//! Agents and hubs at the other end of a link, with logs of their own.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use headland_event::{
    Actor, AgentName, Batch, ByteCount, ChannelId, Dot, DropPolicy, Entry, EventTime, Extent, Hlc,
    Hole, HubName, Incarnation, Lane, Monotonic, Offset, PartitionIndex, Record, RegionId,
    Sequence, Stamp, StreamId, TopicName, TopicPartition,
};
use headland_platform::tls::{Role, SpiffeId};
use headland_replication::{Dialled, Identity, Link, LinkConfig, LinkOutput, Offer, Refusal};

use super::hub::{Hub, START};
use crate::peer_link::LinkId;

/// The life of every remote node.
pub(super) const LIFE: Incarnation = Incarnation::new(1, 5);

pub(super) struct Remote {
    pub(super) link_id: LinkId,
    pub(super) link: Link,
    identity: Identity,
    life: Incarnation,
    logs: BTreeMap<ChannelId, Vec<Entry>>,
    frames: VecDeque<(Lane, Bytes)>,
    /// What the link said beyond frames and reads, in order.
    pub(super) said: Vec<LinkOutput>,
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

pub(super) fn partition(topic: &str) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionIndex::new(0))
}

impl Remote {
    /// Connects the agent `eu-1` of the hub's region and lets both sides say hello.
    pub(super) fn agent(hub: &mut Hub, link_id: u64) -> Self {
        Self::agent_in(hub, link_id, LIFE)
    }

    /// The same in a life of its own: it has sent nothing yet.
    pub(super) fn agent_in(hub: &mut Hub, link_id: u64, life: Incarnation) -> Self {
        let (region, name) = (hub.region().clone(), AgentName::new("eu-1").unwrap());
        let identity = Identity::Agent { region, name };
        Self::connect(hub, link_id, (identity, life), Role::Agent("eu-1".to_owned()))
    }

    /// Connects another agent of some region and lets both sides say hello.
    pub(super) fn agent_of(hub: &mut Hub, link_id: u64, of: &str, name: &str) -> Self {
        let identity = Identity::Agent { region: region(of), name: AgentName::new(name).unwrap() };
        Self::connect(hub, link_id, (identity, LIFE), Role::Agent(name.to_owned()))
    }

    /// Connects the hub of another region and lets both sides say hello.
    pub(super) fn hub(hub: &mut Hub, link_id: u64, name: &str) -> Self {
        let identity = Identity::Hub { region: region(name), name: HubName::new("hub-1").unwrap() };
        Self::connect(hub, link_id, (identity, LIFE), Role::Hub("hub-1".to_owned()))
    }

    fn connect(
        hub: &mut Hub,
        link_id: u64,
        (identity, life): (Identity, Incarnation),
        role: Role,
    ) -> Self {
        let name = HubName::new("hub-1").unwrap();
        let peer = Identity::Hub { region: hub.region().clone(), name };
        let config = LinkConfig::new(identity.clone(), life, peer);
        let id = SpiffeId { fleet: "test".to_owned(), region: identity.region().clone(), role };
        let link_id = LinkId::new(link_id);
        let link = Link::new(config, 3, Monotonic::default());
        let (logs, frames, said) = (BTreeMap::new(), VecDeque::new(), Vec::new());
        let mut remote = Self { link_id, link, identity, life, logs, frames, said };
        hub.node.on_connected(hub.now, link_id, &id, Dialled::There);
        hub.talk(&mut remote);
        remote
    }

    /// The next frame for the hub, when everything else the link asks for is done.
    pub(super) fn poll_frame(&mut self) -> Option<(Lane, Bytes)> {
        while let Some(output) = self.link.poll_output() {
            match output {
                LinkOutput::Send { lane, frame } => {
                    self.link.on_written(lane, ByteCount::new(frame.len() as u64));
                    self.frames.push_back((lane, frame));
                }
                LinkOutput::Read { channel, from, limit: _ } => {
                    let entries = self.logs.get(&channel).into_iter().flatten();
                    let entries = entries.filter(|entry| entry.end() > from).cloned().collect();
                    self.link.on_entries(channel, entries);
                }
                other => self.said.push(other),
            }
        }
        self.frames.pop_front()
    }

    /// Lets the first entries of a channel's log go; a hole stands for them.
    pub(super) fn let_go(&mut self, channel: ChannelId, entries: usize) {
        let hole = {
            let gone = &self.log(channel)[..entries];
            let span = gone.iter().map(|entry| entry.batch.span()).sum();
            let of = Hole { count: span, policy: DropPolicy::Acknowledged };
            let batch = of.to_batch(span, EventTime::default()).unwrap();
            Entry { batch, ..gone[0].clone() }
        };
        self.logs.get_mut(&channel).unwrap().splice(..entries, [hole]);
    }

    /// Goes on with the log of a former connection, whose only topic is offered next.
    pub(super) fn take_log_of(&mut self, former: Self) {
        self.logs = former.logs;
    }

    /// Offers partition 0 of a topic.
    pub(super) fn offer(&mut self, hub: &mut Hub, topic: &str) -> ChannelId {
        let origin = self.identity.region().clone();
        let path = match &self.identity {
            Identity::Agent { .. } => Vec::new(),
            Identity::Hub { .. } => vec![origin.clone()],
        };
        self.offer_over(hub, topic, (origin, path))
    }

    /// Offers a hub what came from its own region.
    pub(super) fn offer_back(&mut self, hub: &mut Hub, topic: &str) -> ChannelId {
        self.hand_on(hub, topic, hub.region().clone().as_str())
    }

    /// Offers a hub what came from some region.
    pub(super) fn hand_on(&mut self, hub: &mut Hub, topic: &str, origin: &str) -> ChannelId {
        let (origin, own) = (region(origin), self.identity.region());
        let path = headland_replication::route::handed_on_path(&origin, own);
        self.offer_over(hub, topic, (origin, path))
    }

    /// Offers a hub a topic of a region that came over a path.
    pub(super) fn offer_over(
        &mut self,
        hub: &mut Hub,
        topic: &str,
        over: (RegionId, Vec<RegionId>),
    ) -> ChannelId {
        let channel = self.announce(topic, over);
        hub.talk(self);
        channel
    }

    /// The same, with nothing said yet.
    pub(super) fn announce(
        &mut self,
        topic: &str,
        (origin, path): (RegionId, Vec<RegionId>),
    ) -> ChannelId {
        let (source, start) = (partition(topic), Offset::new(0));
        let next = ChannelId::new(u32::try_from(self.link.offers().count()).unwrap());
        let offer = Offer {
            origin_topic: source.topic.clone(),
            source: TopicPartition { topic: source_name(&source.topic, &path), ..source },
            origin,
            path,
            lane: Lane::State,
            start,
            head: self.end(next),
        };
        self.link.announce(offer).unwrap()
    }

    /// Appends a batch to the log of a channel and lets it flow.
    pub(super) fn publish(&mut self, hub: &mut Hub, channel: ChannelId, records: &[Record]) {
        self.publish_stamped(hub, channel, records, None);
    }

    /// As [`Self::publish`], with a stamp of another region's hub that had seen nothing.
    pub(super) fn mirror(&mut self, hub: &mut Hub, channel: ChannelId, records: &[Record]) {
        let stamp = stamp(self.identity.region().as_str(), self.end(channel));
        self.publish_stamped(hub, channel, records, Some(stamp));
    }

    pub(super) fn publish_stamped(
        &mut self,
        hub: &mut Hub,
        channel: ChannelId,
        records: &[Record],
        stamp: Option<Stamp>,
    ) {
        self.write(channel, records, stamp);
        self.link.on_head(channel, self.end(channel));
        hub.talk(self);
    }

    /// The same, with nothing said yet, of a channel that may be announced later.
    pub(super) fn write(&mut self, channel: ChannelId, records: &[Record], stamp: Option<Stamp>) {
        let base = self.end(channel);
        let dot = self.dot(channel, base.get());
        let batch = Batch::encode(records).unwrap();
        let entry = Entry { base, dot, stamp, batch };
        self.logs.entry(channel).or_default().push(entry);
    }

    /// Names a hole in the log of a channel and lets it flow, with a stamp if a hub sends it.
    pub(super) fn shed(
        &mut self,
        hub: &mut Hub,
        channel: ChannelId,
        span: u64,
        stamp: Option<Stamp>,
    ) {
        self.leave(hub, channel, (span, DropPolicy::Bytes), stamp);
    }

    /// The same of a hole that is there for a reason.
    pub(super) fn leave(
        &mut self,
        hub: &mut Hub,
        channel: ChannelId,
        (span, policy): (u64, DropPolicy),
        stamp: Option<Stamp>,
    ) {
        self.write_hole(channel, (span, policy), stamp);
        self.link.on_head(channel, self.end(channel));
        hub.talk(self);
    }

    /// The same, with nothing said yet, of a channel that may be announced later.
    pub(super) fn write_hole(
        &mut self,
        channel: ChannelId,
        (span, policy): (u64, DropPolicy),
        stamp: Option<Stamp>,
    ) {
        let base = self.end(channel);
        let hole = Hole { count: span, policy };
        let batch = hole.to_batch(span, EventTime::default()).unwrap();
        let entry = Entry { base, dot: self.dot(channel, base.get()), stamp, batch };
        self.logs.entry(channel).or_default().push(entry);
    }

    /// Does not send the last entry of a channel, of which it has said that it is there.
    pub(super) fn withhold_last(&mut self, channel: ChannelId) {
        let _entry = self.logs.get_mut(&channel).unwrap().pop().unwrap();
    }

    /// Puts a hole in the place of records that this hub lost, and lets it flow.
    pub(super) fn lose(&mut self, hub: &mut Hub, channel: ChannelId, span: u64, stamp: Stamp) {
        let base = self.end(channel);
        let hole = Hole { count: span, policy: DropPolicy::Damaged };
        let batch = hole.to_batch(span, EventTime::default()).unwrap();
        let dot = Dot { sequence: Sequence::new(0), ..self.dot(channel, base.get()) };
        let entry = Entry { base, dot, stamp: Some(stamp), batch };
        self.logs.entry(channel).or_default().push(entry);
        self.link.on_head(channel, self.end(channel));
        hub.talk(self);
    }

    /// Names a hole without dots: this agent lost records of an earlier life.
    pub(super) fn lose_earlier(&mut self, hub: &mut Hub, channel: ChannelId, policy: DropPolicy) {
        let base = self.end(channel);
        let batch = Hole { count: 7, policy }.to_batch(7, EventTime::default()).unwrap();
        let dot = Dot { sequence: Sequence::new(0), ..self.dot(channel, base.get()) };
        let entry = Entry { base, dot, stamp: None, batch };
        self.logs.entry(channel).or_default().push(entry);
        self.link.on_head(channel, self.end(channel));
        hub.talk(self);
    }

    /// Takes every channel that the hub announced, from its start.
    pub(super) fn subscribe_all(&mut self) {
        let announced = self.said.iter().filter_map(|said| match said {
            LinkOutput::Announced(announce) => Some(announce.channel),
            _ => None,
        });
        for channel in announced.collect::<Vec<_>>() {
            self.link.subscribe(channel, Offset::new(0));
        }
    }

    /// Refuses every channel that the hub announced, in these words.
    pub(super) fn refuse_all(&mut self, hub: &mut Hub, refusal: &Refusal) {
        let announced = self.said.iter().filter_map(|said| match said {
            LinkOutput::Announced(announce) => Some(announce.channel),
            _ => None,
        });
        for channel in announced.collect::<Vec<_>>() {
            self.link.refuse(channel, refusal.clone());
        }
        hub.talk(self);
    }

    /// How many entries were delivered.
    pub(super) fn delivered(&self) -> usize {
        self.said.iter().filter(|said| matches!(said, LinkOutput::Deliver { .. })).count()
    }

    /// Reports everything delivered as stored.
    pub(super) fn store_all(&mut self) {
        for said in &self.said {
            if let LinkOutput::Deliver { channel, entry } = said {
                self.link.on_stored(*channel, entry.end());
            }
        }
    }

    /// The dot of the record at an offset of a channel's log.
    pub(super) fn dot(&self, channel: ChannelId, offset: u64) -> Dot {
        let stream = StreamId::new([u8::try_from(channel.get()).unwrap(); 16]);
        Dot { stream, incarnation: self.life, sequence: Sequence::new(offset + 1) }
    }

    /// The log of a channel.
    pub(super) fn log(&self, channel: ChannelId) -> &[Entry] {
        self.logs.get(&channel).map_or(&[], Vec::as_slice)
    }

    /// Where the log of a channel ends.
    pub(super) fn end(&self, channel: ChannelId) -> Offset {
        let last = self.logs.get(&channel).and_then(|log| log.last());
        last.map_or(Offset::new(0), Entry::end)
    }
}

/// What a hub calls a topic that came over a path: with the region's name before it, when that is
/// another one.
fn source_name(topic: &TopicName, path: &[RegionId]) -> TopicName {
    match path {
        [origin, _, _] => headland_event::mirrored_name(origin, topic).unwrap(),
        _ => topic.clone(),
    }
}

/// A stamp of another region's hub that had seen nothing.
pub(super) fn stamp(name: &str, offset: Offset) -> Stamp {
    stamp_of((name, LIFE), offset)
}

/// The same of another life.
pub(super) fn stamp_of((name, incarnation): (&str, Incarnation), offset: Offset) -> Stamp {
    let actor = Actor { region: region(name), incarnation, partition: PartitionIndex::new(0) };
    let (context, verdicts) = (Extent::default(), Vec::new());
    Stamp { actor, offset, hlc: Hlc::new(START, 0), context, verdicts }
}

/// A device's record at the start of the test.
pub(super) fn record(device: &str, value: &str) -> Record {
    at(device, START, value)
}

/// A device's record at an event time.
pub(super) fn at(device: &str, time: EventTime, value: &str) -> Record {
    Record::new(time, device.to_owned(), value.to_owned())
}
