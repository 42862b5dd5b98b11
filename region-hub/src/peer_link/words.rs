//! What hubs say beside records, and how each knows that the other reads it.
//!
//! A hub of an earlier version gives up a link on which it hears a frame that it does not know, so
//! who reads such frames offers a topic of their own, which never has a record.

use headland_event::{
    ChannelId, Lane, Offset, PartitionIndex, RegionId, TopicName, TopicPartition,
};
use headland_replication::frame::{Announce, PASSED_TOPIC};
use headland_replication::{Offer, Refusal, RefusalCode};

use super::{Peer, PeerLink};
use crate::records::passed_topic;

impl PeerLink {
    /// Tells the peer that this hub, of region `own`, reads what is said under this topic's name.
    pub fn offer_word(&mut self, own: &RegionId, topic: TopicName) {
        let source = TopicPartition::new(topic.clone(), PartitionIndex::new(0));
        let offer = Offer {
            origin: own.clone(),
            path: vec![own.clone()],
            lane: Lane::State,
            start: Offset::default(),
            head: Offset::default(),
            origin_topic: topic,
            source,
        };
        if let Err(error) = self.link.announce(offer) {
            tracing::error!(%error, peer = %self.identity, "cannot say what is read here");
        }
    }

    /// Whether a hub offers the topic of that name: there is nothing to take of it.
    pub fn take_word(&mut self, announce: &Announce, topic: &str) -> bool {
        let is_offered = announce.offer.origin_topic.as_str() == topic;
        if !is_offered || !matches!(self.peer, Peer::Hub(_)) {
            return false;
        }
        // As what comes over another way, it is refused without a word to operators.
        let text = format!("{topic} never has a record");
        self.link.refuse(announce.channel, Refusal::new(RefusalCode::Loop, text));
        true
    }

    /// Tells a hub that this one reads how far it has looked at what it does not keep. To be called
    /// before any log is offered: what is asked of a peer of which this is not known yet would be
    /// acknowledged.
    pub fn offer_passed(&mut self, own: &RegionId) {
        if matches!(self.peer, Peer::Hub(_)) {
            self.offer_word(own, passed_topic());
        }
    }

    /// Whether a hub says that it reads that.
    pub fn take_passed(&mut self, announce: &Announce) -> bool {
        let is_said = self.take_word(announce, PASSED_TOPIC);
        self.reads_passed |= is_said;
        is_said
    }

    /// All of a channel before `next` was looked at, and what is not stored of it is not kept. A
    /// hub of an earlier version, which would not send on otherwise, takes it for acknowledged.
    pub fn on_passed(&mut self, channel: ChannelId, next: Offset) {
        if self.reads_passed {
            self.link.on_passed(channel, next);
        } else {
            self.link.on_stored(channel, next);
        }
    }
}
