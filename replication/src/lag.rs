//! How far two nodes are apart, also while there is no link between them.
//!
//! A [`Link`] knows lag only while it lives. [`Lag`] outlives the links to one peer: it keeps the
//! last heads, acknowledgements and promises heard, so that what grows meanwhile is measured
//! against them.

use std::collections::BTreeMap;
use std::time::Duration;

use headland_event::limits::TOPICS_LIMIT;
use headland_event::{EventTime, Monotonic, Offset, TopicName, TopicPartition};

use crate::link::Link;

/// Most partitions remembered in each direction: as many as a link has channels by default. More
/// are not counted; a peer cannot make a node remember without end.
pub const PARTITIONS_LIMIT: usize = 8_192;

/// Where one partition is at its sender and at its receiver, as last heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reach {
    head: Offset,
    durable: Offset,
}

/// What is known about the distance to one peer; keep one for each, longer than any link.
///
/// Feed it with [`Self::on_link`] before each reading and once more when a link ends.
#[derive(Debug, Clone, Default)]
pub struct Lag {
    ahead: BTreeMap<TopicPartition, Reach>,
    behind: BTreeMap<TopicPartition, Reach>,
    watermarks: BTreeMap<TopicName, EventTime>,
    heard_at: Option<Monotonic>,
}

impl Lag {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over what a link to the peer knows. Cost: O(channels × log partitions).
    pub fn on_link(&mut self, link: &Link) {
        self.heard_at = self.heard_at.max(Some(link.heard_at()));
        for offer in link.offers() {
            if let Some(durable) = offer.acked {
                remember(&mut self.ahead, offer.source, Reach { head: offer.head, durable });
            }
        }
        for status in link.subscriptions() {
            let reach = Reach { head: status.head, durable: status.stored };
            remember(&mut self.behind, status.source, reach);
        }
    }

    /// A partition of ours has grown to `head`, link or no link; one that the peer has never taken
    /// does not count.
    pub fn on_head(&mut self, source: &TopicPartition, head: Offset) {
        if let Some(reach) = self.ahead.get_mut(source) {
            reach.head = reach.head.max(head);
        }
    }

    /// The peer's events of `topic` up to `watermark` are here, or late: a promise took effect.
    pub fn on_promise(&mut self, topic: &TopicName, watermark: EventTime) {
        if let Some(known) = self.watermarks.get_mut(topic) {
            *known = watermark.max(*known);
        } else if self.watermarks.len() < TOPICS_LIMIT {
            self.watermarks.insert(topic.clone(), watermark);
        }
    }

    /// Records here that the peer has not acknowledged; at most the largest number there is.
    #[must_use]
    pub fn ahead_records(&self) -> u64 {
        records(&self.ahead)
    }

    /// Records that the peer had when it was last heard and that are not durable here.
    #[must_use]
    pub fn behind_records(&self) -> u64 {
        records(&self.behind)
    }

    /// Up to when the peer's events of each topic are here, or late.
    pub fn watermarks(&self) -> impl Iterator<Item = (&TopicName, EventTime)> {
        self.watermarks.iter().map(|(topic, watermark)| (topic, *watermark))
    }

    /// How far the peer's most backward topic is behind the wall clock in event time; it grows
    /// with the clock while nothing is promised. `None` before the first promise, zero when the
    /// promise is ahead of the clock.
    #[must_use]
    pub fn event_time(&self, wall: EventTime) -> Option<Duration> {
        let slowest = self.watermarks.values().min()?;
        Some(Duration::from_millis(u64::try_from(wall.millis_since(*slowest)).unwrap_or(0)))
    }

    /// How long ago the peer was heard; `None` when it never was.
    #[must_use]
    pub fn silence(&self, now: Monotonic) -> Option<Duration> {
        self.heard_at.map(|heard_at| now.since(heard_at))
    }
}

fn remember(known: &mut BTreeMap<TopicPartition, Reach>, source: TopicPartition, reach: Reach) {
    if known.len() < PARTITIONS_LIMIT || known.contains_key(&source) {
        known.insert(source, reach);
    }
}

/// Heads are a peer's word, so their sum may be anything.
fn records(known: &BTreeMap<TopicPartition, Reach>) -> u64 {
    known.values().map(|reach| reach.head.since(reach.durable)).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use headland_event::{
        AgentName, Batch, ChannelId, Dot, Entry, HubName, Incarnation, Lane, PartitionIndex,
        Record, RegionId, Sequence, StreamId,
    };

    use super::*;
    use crate::frame::{Frame, Head, Identity, Offer};
    use crate::link::{LinkConfig, LinkOutput};

    const CHANNEL: ChannelId = ChannelId::new(0);
    const START: Monotonic = Monotonic::from_millis(0);

    fn source(topic: &str) -> TopicPartition {
        TopicPartition::new(TopicName::new(topic).unwrap(), PartitionIndex::new(0))
    }

    fn link(local: &Identity, peer: &Identity) -> Link {
        Link::new(LinkConfig::new(local.clone(), Incarnation::new(1, 7), peer.clone()), 1, START)
    }

    /// An agent's and a hub's link after their hellos; the agent has offered `topic` up to `head`,
    /// and the hub has taken it from `next` on.
    fn links(topic: &str, head: u64, next: u64) -> [Link; 2] {
        let region = RegionId::new("eu").unwrap();
        let agent =
            Identity::Agent { region: region.clone(), name: AgentName::new("eu-1").unwrap() };
        let hub = Identity::Hub { region: region.clone(), name: HubName::new("hub-1").unwrap() };
        let mut links = [link(&agent, &hub), link(&hub, &agent)];
        let offer = Offer {
            source: source(topic),
            origin: region,
            origin_topic: TopicName::new(topic).unwrap(),
            path: Vec::new(),
            lane: Lane::State,
            start: Offset::new(0),
            head: Offset::new(head),
        };
        links[0].announce(offer).unwrap();
        carry(&mut links);
        links[1].subscribe(CHANNEL, Offset::new(next));
        carry(&mut links);
        links
    }

    /// Moves frames both ways until nothing moves; reads are left unanswered.
    fn carry([near, far]: &mut [Link; 2]) {
        for _ in 0..4 {
            pump(near, far);
            pump(far, near);
        }
    }

    fn pump(from: &mut Link, to: &mut Link) {
        while let Some(output) = from.poll_output() {
            match output {
                LinkOutput::Send { lane, frame } => to.on_frame(START, lane, frame),
                LinkOutput::Deliver { channel, entry } => from.on_stored(channel, entry.end()),
                _ => {}
            }
        }
    }

    fn entry(base: Offset) -> Entry {
        let record = Record::new(EventTime::from_millis(1), "k", "v");
        let dot = Dot {
            stream: StreamId::new([1; 16]),
            incarnation: Incarnation::new(1, 1),
            sequence: Sequence::new(base.get() + 1),
        };
        Entry { base, dot, stamp: None, batch: Batch::encode(&[record]).unwrap() }
    }

    #[test]
    fn both_sides_remember_after_the_link_is_gone_how_far_apart_they_were() {
        let links = links("t", 10, 4);
        let mut lags = [Lag::new(), Lag::new()];
        for (lag, link) in lags.iter_mut().zip(&links) {
            lag.on_link(link);
        }
        drop(links);

        let [agent, hub] = lags;

        assert_eq!((agent.ahead_records(), agent.behind_records()), (6, 0));
        assert_eq!((hub.ahead_records(), hub.behind_records()), (0, 6));
    }

    #[test]
    fn what_is_stored_shortens_the_lag_of_both_sides() {
        let mut links = links("t", 10, 4);
        links[0].on_entries(CHANNEL, vec![entry(Offset::new(4))]);
        carry(&mut links);
        let mut lags = [Lag::new(), Lag::new()];

        for (lag, link) in lags.iter_mut().zip(&links) {
            lag.on_link(link);
        }

        assert_eq!(lags[0].ahead_records(), 5);
        assert_eq!(lags[1].behind_records(), 5);
    }

    #[test]
    fn records_written_while_the_link_is_down_count_where_the_peer_had_taken_the_partition() {
        let mut lag = Lag::new();
        lag.on_link(&links("t", 10, 10)[0]);

        lag.on_head(&source("t"), Offset::new(13));
        lag.on_head(&source("never-offered"), Offset::new(99));

        assert_eq!(lag.ahead_records(), 3);
    }

    #[test]
    fn event_time_falls_behind_the_clock_by_the_slowest_topic_and_only_promises_shorten_that() {
        let mut lag = Lag::new();
        let wall = EventTime::from_millis;
        assert_eq!(lag.event_time(wall(10_000)), None);

        lag.on_promise(&source("a").topic, wall(9_000));
        lag.on_promise(&source("b").topic, wall(4_000));
        lag.on_promise(&source("b").topic, wall(3_000));

        assert_eq!(lag.event_time(wall(10_000)), Some(Duration::from_secs(6)));
        assert_eq!(lag.event_time(wall(70_000)), Some(Duration::from_secs(66)));
        assert_eq!(lag.event_time(wall(3_000)), Some(Duration::ZERO));
    }

    #[test]
    fn silence_counts_from_the_last_frame_of_the_last_link() {
        let mut lag = Lag::new();
        assert_eq!(lag.silence(START), None);

        lag.on_link(&links("t", 1, 1)[1]);

        assert_eq!(lag.silence(Monotonic::from_millis(7_000)), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_peer_that_claims_endless_logs_makes_the_lag_large_and_nothing_overflow() {
        let mut lag = Lag::new();
        for topic in ["a", "b"] {
            let mut links = links(topic, 1, 1);
            let head = Head { channel: CHANNEL, head: Offset::new(u64::MAX) };
            links[1].on_frame(START, Lane::Control, Frame::Head(head).encode().unwrap());
            lag.on_link(&links[1]);
        }

        assert_eq!(lag.behind_records(), u64::MAX);
    }

    #[test]
    fn no_more_partitions_are_remembered_than_the_limit() {
        let mut known = BTreeMap::new();
        let reach = Reach { head: Offset::new(2), durable: Offset::new(1) };
        for raw in 0..=u32::try_from(PARTITIONS_LIMIT).unwrap() {
            let topic = TopicName::new("t").unwrap();
            remember(&mut known, TopicPartition::new(topic, PartitionIndex::new(raw)), reach);
        }

        remember(&mut known, source("t"), Reach { head: Offset::new(5), ..reach });

        assert_eq!(known.len(), PARTITIONS_LIMIT);
        assert_eq!(known[&source("t")].head, Offset::new(5));
    }
}
