//! Faults of the harness itself, to prove that the checks find them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headland_event::{
    ChannelId, Entry, EventTime, Monotonic, Offset, Promise, TopicName, TopicPartition, Verdict,
    VerdictAt,
};
use headland_replication::Frame;

use super::network::Connection;
use super::topology::NodeId;

/// When a planted fault may take effect.
pub(super) const PLANTED_FROM: Monotonic = Monotonic::from_millis(3_000);

/// What a harness that does its work does wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Planted {
    /// Nothing.
    #[default]
    Nothing,
    /// A commit is reported durable before it is, and then the power goes.
    EarlyReport,
    /// A mirrored entry is handed to the other region twice, the second time as the next one.
    ForwardTwice,
    /// A mirrored entry is acknowledged to its sender and never handed on.
    Swallow,
    /// A hub decides anew whether what another hub sends is late, by the promises of that region
    /// that have arrived, in place of what the region's own log said.
    LatenessOnArrival,
    /// The clock of a hub that is cut off stands still, so that its lease never ends.
    StoppedClock,
    /// A region that was sealed goes on from a copy of its disk of before it drained.
    OldCopy,
    /// What a hub has of a region is another topic to it once it calls other regions something
    /// else, as if a name said what a copy is.
    CopyAnew,
    /// What a group has read is forgotten where a region is renamed.
    GroupForgotten,
}

/// The node whose inventory the tampering is about, and who receives it.
const TAMPERED: [NodeId; 2] = [NodeId::Hub(1), NodeId::Hub(0)];

/// Somebody on the way from one hub to another who shifts offsets so that neither side notices.
#[derive(Debug, Default)]
pub(super) struct Tampering {
    pub(super) planted: Planted,
    pub(super) is_done: bool,
    partition: Option<TopicPartition>,
    /// By how much the receiver's offsets are ahead of the sender's.
    shift: i64,
    /// The hub whose clock stands still, and since when.
    stopped: Option<(usize, Monotonic)>,
    /// Hubs that call other regions something else than before.
    renamed: BTreeSet<usize>,
    /// The last promise that has arrived at a hub of another one about a topic.
    promised: BTreeMap<(NodeId, NodeId, TopicName), EventTime>,
}

impl Tampering {
    pub(super) fn new(planted: Planted) -> Self {
        let (partition, stopped, promised) = (None, None, BTreeMap::new());
        let renamed = BTreeSet::new();
        Self { planted, is_done: false, partition, shift: 0, stopped, renamed, promised }
    }

    /// A region is cut off.
    pub(super) fn on_cut(&mut self, region: usize, now: Monotonic) {
        if self.planted == Planted::StoppedClock && self.stopped.is_none() {
            (self.stopped, self.is_done) = (Some((region, now)), true);
        }
    }

    /// A region is no longer cut off.
    pub(super) fn on_heal(&mut self, region: usize) {
        self.stopped = self.stopped.filter(|(hub, _)| *hub != region);
    }

    /// When the clock of a hub stopped that stands still.
    pub(super) fn stopped_at(&self, hub: usize) -> Option<Monotonic> {
        self.stopped.filter(|(stopped, _)| *stopped == hub).map(|(_, at)| at)
    }

    /// A hub calls other regions something else.
    pub(super) fn on_renamed(&mut self, hub: usize) {
        self.renamed.insert(hub);
    }

    /// Whether a hub forgets what its group has read.
    pub(super) fn forgets(&mut self, hub: usize) -> bool {
        let forgets = self.planted == Planted::GroupForgotten && self.renamed.contains(&hub);
        self.is_done |= forgets;
        forgets
    }

    /// Whether frames are tampered with, so that logs of both sides no longer agree.
    pub(super) const fn is_on_the_way(&self) -> bool {
        matches!(self.planted, Planted::ForwardTwice | Planted::Swallow | Planted::CopyAnew)
    }

    /// What a hub that decides lateness on arrival takes a frame of another hub for.
    pub(super) fn judged_anew(
        &mut self,
        connection: &Connection,
        from: usize,
        frame: Bytes,
    ) -> Bytes {
        let (source, target) = (connection.ends[from], connection.ends[1 - from]);
        if [source, target].iter().any(|end| matches!(end, NodeId::Agent(_))) {
            return frame;
        }
        let Ok(Frame::Data(mut data)) = Frame::decode(frame.clone()) else { return frame };
        let channel = usize::try_from(data.channel.get()).unwrap();
        let Some(partition) = connection.offers[from].get(channel) else { return frame };
        if partition.topic.as_str() == "_promises" {
            for promise in promises_in(&data.entry) {
                self.promised.insert((target, source, promise.topic), promise.watermark);
            }
            return frame;
        }
        let key = (target, source, partition.topic.clone());
        let Some(promised) = self.promised.get(&key) else { return frame };
        if judge(&mut data.entry, *promised) {
            self.is_done = true;
        }
        Frame::Data(data).encode().unwrap()
    }

    /// What a hub that was renamed takes an offer of inventory for.
    fn offered_anew(&mut self, ends: [NodeId; 2], frame: Frame) -> Frame {
        let is_renamed = matches!(ends[1], NodeId::Hub(hub) if self.renamed.contains(&hub));
        match frame {
            Frame::Announce(mut announce) if ends == TAMPERED && is_renamed => {
                let topic = &mut announce.offer.origin_topic;
                if topic.as_str() == "inventory.events" {
                    self.is_done = true;
                    *topic = TopicName::new("inventory.events-anew").unwrap();
                }
                Frame::Announce(announce)
            }
            frame => frame,
        }
    }

    /// The frames that go on in place of one.
    pub(super) fn frames(
        &mut self,
        now: Monotonic,
        connection: &Connection,
        from: usize,
        frame: Frame,
    ) -> Vec<Frame> {
        let ends = [connection.ends[from], connection.ends[1 - from]];
        let source = |end: usize, channel: ChannelId| {
            connection.offers[end].get(usize::try_from(channel.get()).unwrap()).cloned()
        };
        match frame {
            frame if self.planted == Planted::CopyAnew => vec![self.offered_anew(ends, frame)],
            Frame::Data(mut data) if ends == TAMPERED => {
                let Some(source) = source(from, data.channel) else { return Vec::new() };
                if self.partition.as_ref().is_some_and(|partition| *partition == source) {
                    data.entry.base = shifted(data.entry.base, self.shift);
                    return vec![Frame::Data(data)];
                }
                let is_ripe = self.partition.is_none() && now >= PLANTED_FROM;
                if !is_ripe || source.topic.as_str() != "inventory.events" {
                    return vec![Frame::Data(data)];
                }
                (self.partition, self.is_done) = (Some(source), true);
                let span = i64::try_from(data.entry.batch.span()).unwrap();
                if self.planted == Planted::Swallow {
                    self.shift = -span;
                    return Vec::new();
                }
                self.shift = span;
                let mut copy = data.clone();
                copy.entry.base = shifted(copy.entry.base, span);
                vec![Frame::Data(data), Frame::Data(copy)]
            }
            Frame::Ack(mut ack) if [ends[1], ends[0]] == TAMPERED => {
                if self.partition.is_some() && source(1 - from, ack.channel) == self.partition {
                    ack.next = shifted(ack.next, -self.shift);
                }
                vec![Frame::Ack(ack)]
            }
            Frame::Position(mut position) if [ends[1], ends[0]] == TAMPERED => {
                if self.partition.is_some() && source(1 - from, position.channel) == self.partition
                {
                    position.next = shifted(position.next, -self.shift);
                }
                vec![Frame::Position(position)]
            }
            frame => vec![frame],
        }
    }
}

fn promises_in(entry: &Entry) -> impl Iterator<Item = Promise> {
    let records = entry.batch.records().unwrap().into_iter();
    // What is said of agents is no promise.
    records.filter_map(|record| serde_json::from_slice(&record.value?).ok())
}

/// Gives an entry the verdicts that a promise would have it have; returns whether they are others.
fn judge(entry: &mut Entry, promised: EventTime) -> bool {
    let Some(stamp) = &mut entry.stamp else { return false };
    let mut verdicts = Vec::new();
    for (delta, record) in entry.batch.numbered_records().unwrap() {
        let verdict = match stamp.verdict(delta) {
            Verdict::OnTime | Verdict::Late if record.time <= promised => Verdict::Late,
            Verdict::OnTime | Verdict::Late => Verdict::OnTime,
            other @ (Verdict::Future | Verdict::Forbidden | Verdict::Unlisted) => other,
        };
        if verdict != Verdict::OnTime {
            verdicts.push(VerdictAt { delta, verdict });
        }
    }
    let before = std::mem::replace(&mut stamp.verdicts, verdicts);
    before != stamp.verdicts
}

fn shifted(offset: Offset, shift: i64) -> Offset {
    Offset::new(offset.get().saturating_add_signed(shift))
}
