//! The link to the hub: which channel is which partition, and why it ended.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::{
    ChannelId, DropPolicy, Entry, EventTime, Lane, Offset, RegionId, TopicName, TopicPartition,
};
use headland_replication::frame::Goodbye;
use headland_replication::frame::{ChannelEnd, ChannelPromise};
use headland_replication::{CloseReason, Link, Offer};
use headland_storage::Dropped;

use crate::outbox::{Stretch, holes, partition_of};

/// One connection to the hub.
#[derive(Debug)]
pub struct Uplink {
    /// The link's state machine.
    pub link: Link,
    region: RegionId,
    channels: BTreeMap<ChannelId, TopicPartition>,
    /// Where the read of a channel that is open starts.
    reads: BTreeMap<ChannelId, Offset>,
    /// Channels whose open read met damage.
    damaged: BTreeSet<ChannelId>,
    is_ready: bool,
    /// Channels of which the hub has said where it stands.
    taken: BTreeSet<ChannelId>,
    /// Topics that the hub does not take.
    refused: BTreeSet<TopicName>,
}

impl Uplink {
    /// A connection that was just made by an agent of `region`.
    #[must_use]
    pub fn new(link: Link, region: RegionId) -> Self {
        let (channels, reads, damaged) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let (taken, refused) = (BTreeSet::new(), BTreeSet::new());
        Self { link, region, channels, reads, damaged, is_ready: false, taken, refused }
    }

    /// The hub has said where it stands in a channel; returns its partition, and whether that is
    /// the first time.
    pub fn on_acked(&mut self, channel: ChannelId) -> Option<(&TopicPartition, bool)> {
        let is_first = self.taken.insert(channel);
        self.channels.get(&channel).map(|partition| (partition, is_first))
    }

    /// The hub does not take a channel.
    pub fn on_refused(&mut self, channel: ChannelId) {
        if let Some(partition) = self.channels.get(&channel) {
            self.refused.insert(partition.topic.clone());
        }
    }

    /// Whether the hub takes none of these topics.
    pub fn is_useless<'a>(&self, mut topics: impl Iterator<Item = &'a TopicName>) -> bool {
        topics.all(|topic| self.refused.contains(topic))
    }

    /// The hub has said hello.
    pub const fn on_ready(&mut self) {
        self.is_ready = true;
    }

    /// Whether the hub has said hello.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// The partition of a channel.
    #[must_use]
    pub fn partition(&self, channel: ChannelId) -> Option<&TopicPartition> {
        self.channels.get(&channel)
    }

    /// A channel reads its partition from an offset on.
    pub fn on_read(&mut self, channel: ChannelId, from: Offset) {
        self.reads.insert(channel, from);
    }

    /// The read of a channel met damage; what it finds behind that comes as its answer.
    pub fn on_damaged(&mut self, channel: ChannelId) {
        self.damaged.insert(channel);
    }

    /// The log's answer to the read of a channel; holes stand for what it does not have any more.
    /// What `stretch` says that another hub has is not sent.
    pub fn on_entries(
        &mut self,
        channel: ChannelId,
        entries: Vec<Entry>,
        dropped: &[Dropped],
        stretch: impl Fn(Offset) -> Stretch,
    ) {
        let otherwise = match self.damaged.remove(&channel) {
            true => DropPolicy::Damaged,
            false => DropPolicy::Acknowledged,
        };
        let entries = match self.reads.remove(&channel) {
            Some(from) => {
                let entries = holes::filled(from, entries, dropped, otherwise);
                holes::elsewhere(entries, stretch)
            }
            None => entries,
        };
        self.link.on_entries(channel, entries);
    }

    /// Tells the hub that a topic has grown to `head`; offers it when that was not done yet.
    pub fn on_head(&mut self, topic: &TopicName, lane: Lane, head: Offset) {
        if !self.is_ready {
            return;
        }
        let source = partition_of(topic);
        if let Some(channel) = self.channel(&source) {
            self.link.on_head(channel, head);
            return;
        }
        let offer = Offer {
            source: source.clone(),
            origin: self.region.clone(),
            origin_topic: topic.clone(),
            path: Vec::new(),
            lane,
            start: Offset::new(0),
            head,
        };
        match self.link.announce(offer) {
            Ok(channel) => {
                self.channels.insert(channel, source);
            }
            Err(error) => tracing::error!(%topic, %error, "cannot offer"),
        }
    }

    /// Promises that a topic's events up to `watermark` lie before `end`, or are late.
    pub fn promise(&mut self, topic: &TopicName, watermark: EventTime, end: Offset) {
        let Some(channel) = self.channel(&partition_of(topic)) else { return };
        let ends = vec![ChannelEnd { channel, end }];
        let promise = ChannelPromise { topic: topic.clone(), watermark, ends };
        if let Err(error) = self.link.promise(promise) {
            tracing::error!(%topic, %error, "cannot promise");
        }
    }

    /// Records sent that the hub has not acknowledged.
    #[must_use]
    pub fn in_flight_records(&self) -> u64 {
        self.link.offers().map(|offer| offer.in_flight_records).sum()
    }

    fn channel(&self, partition: &TopicPartition) -> Option<ChannelId> {
        self.channels.iter().find(|(_, known)| *known == partition).map(|(channel, _)| *channel)
    }
}

/// Why the hub ended the link for a newer one, for whoever runs the agent.
pub const SUPERSEDED: &str =
    "another agent with this certificate is connected; the next attempt waits, longer each time";

/// Why the link ended, for whoever runs the agent.
#[must_use]
pub fn why(reason: &CloseReason) -> String {
    if is_superseded(reason) { SUPERSEDED.to_owned() } else { reason.to_string() }
}

/// Whether the hub ended the link for a newer one of the same identity.
#[must_use]
pub const fn is_superseded(reason: &CloseReason) -> bool {
    matches!(reason, CloseReason::Peer(Goodbye::Superseded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_is_put_off_says_that_another_has_its_certificate() {
        let superseded = CloseReason::Peer(Goodbye::Superseded);
        let stopping = CloseReason::Peer(Goodbye::ShuttingDown);

        assert_eq!(why(&superseded), SUPERSEDED);
        assert_eq!(why(&stopping), stopping.to_string());
    }
}
