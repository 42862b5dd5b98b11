//! What nodes told each other, and whether they may say so.

use std::collections::BTreeMap;

use headland_event::{EventTime, Offset, TopicName, TopicPartition};
use headland_replication::Frame;

use super::check::Check;
use super::network::Connection;
use super::topology::NodeId;

/// An event-time promise that an agent sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SentPromise {
    pub(super) agent: usize,
    pub(super) topic: TopicName,
    pub(super) watermark: EventTime,
    /// The end of the agent's log that it is about.
    pub(super) end: Offset,
}

/// An acknowledgement: a hub says that it has all of a sender's partition before `next`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) hub: usize,
    pub(super) sender: NodeId,
    pub(super) partition: TopicPartition,
    pub(super) next: Offset,
}

/// Listens on every connection.
#[derive(Debug, Default)]
pub(super) struct Witness {
    pub(super) promises: Vec<SentPromise>,
    /// The furthest acknowledgement of each stream by each hub.
    pub(super) acknowledged: BTreeMap<(usize, NodeId, TopicPartition), Offset>,
    pub(super) failures: BTreeMap<Check, Vec<String>>,
}

impl Witness {
    pub(super) fn fail(&mut self, check: Check, text: String) {
        self.failures.entry(check).or_default().push(text);
    }

    /// What a node said, and was told, was said in a life of before.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.acknowledged
            .retain(|(hub, sender, _), _| NodeId::Hub(*hub) != node && *sender != node);
        self.promises.retain(|promise| NodeId::Agent(promise.agent) != node);
    }

    /// Takes note of a frame that an end sends; returns what it acknowledges.
    pub(super) fn hear(
        &mut self,
        connection: &mut Connection,
        from: usize,
        frame: &Frame,
    ) -> Option<Acknowledged> {
        match frame {
            Frame::Announce(announce) => {
                connection.offers[from].push(announce.offer.source.clone());
            }
            Frame::Promise(promise) => {
                let NodeId::Agent(agent) = connection.ends[from] else { return None };
                self.promises.extend(promise.ends.iter().map(|end| SentPromise {
                    agent,
                    topic: promise.topic.clone(),
                    watermark: promise.watermark,
                    end: end.end,
                }));
            }
            _ => {}
        }
        Acknowledged::of(connection, from, frame)
    }
}

impl Acknowledged {
    /// What a frame that an end sends acknowledges, if it does.
    pub(super) fn of(connection: &Connection, from: usize, frame: &Frame) -> Option<Self> {
        let (speaker, listener) = (connection.ends[from], connection.ends[1 - from]);
        let (channel, next) = match frame {
            Frame::Ack(ack) => (ack.channel, ack.next),
            Frame::Position(position) => (position.channel, position.next),
            Frame::Hello(_)
            | Frame::Announce(_)
            | Frame::Promise(_)
            | Frame::Refuse(_)
            | Frame::Data(_)
            | Frame::Head(_)
            | Frame::Keepalive(_)
            | Frame::Goodbye(_)
            | Frame::Lease(_)
            | Frame::Copies(_)
            | Frame::RefillAsk(_)
            | Frame::RefillPart(_)
            // What it is about comes again.
            | Frame::Passed(_) => return None,
        };
        let NodeId::Hub(hub) = speaker else { return None };
        let channel = usize::try_from(channel.get()).unwrap();
        let partition = connection.offers[1 - from].get(channel)?.clone();
        Some(Self { hub, sender: listener, partition, next })
    }
}
