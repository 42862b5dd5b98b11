//! When agents are told that what they sent is safe, where other regions have to hold it first.
//!
//! A commit of this hub makes records durable here. Of a topic with `ack = "regions(n)"` they wait
//! then until so many regions have acknowledged the partition up to its end of that moment, and the
//! agent's next connection waits for the same before it is told a position, which says as much as
//! an acknowledgement. Nothing is guessed of a region that is away: what it said last may be on a
//! disk that is gone, but it was there when it counted.
//!
//! What waits takes up the agent's window. After the topic's `ack_wait` its channel is refused, so
//! that the agent's other topics flow; once all that waited is held, the agent is asked to connect
//! anew.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use headland_event::{ChannelId, Monotonic, Now, Offset, TopicName, TopicPartition};
use headland_replication::frame::Goodbye;
use headland_replication::{Refusal, RefusalCode};
use serde::Serialize;

use super::Node;
use super::links::KnownPeer;
use crate::config::{Ack, TopicConfig};
use crate::session::{Peer, SessionId};
use crate::topics::{Topic, base_topic};

/// How long records wait in a link that is in order: longer is said.
const IN_ORDER: Duration = Duration::from_secs(5);

/// What waits until enough regions hold it.
#[derive(Debug, Default)]
pub(super) struct Acks {
    rules: BTreeMap<TopicName, Rule>,
    /// By partition, in the order of their ends.
    waiting: BTreeMap<TopicPartition, VecDeque<Waiting>>,
    /// Channels that waited too long and were refused.
    refused: BTreeSet<(SessionId, ChannelId)>,
}

/// How a topic is acknowledged that waits for other regions.
#[derive(Debug, Clone, Copy)]
struct Rule {
    regions: usize,
    wait: Duration,
}

/// What an agent is told once its partition is held up to an end.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    session: SessionId,
    channel: ChannelId,
    /// The agent's offset before which all is safe then.
    next: Offset,
    word: Word,
    end: Offset,
    since: Monotonic,
}

/// How an agent is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// By an acknowledgement.
    Stored,
    /// By the position at which it goes on.
    Position,
}

impl Acks {
    pub(super) fn new(topics: &[TopicConfig]) -> Self {
        let rules = topics.iter().filter_map(|topic| match topic.ack {
            Ack::Local => None,
            Ack::Regions(regions) => {
                Some((topic.name.clone(), Rule { regions, wait: topic.ack_wait.get() }))
            }
        });
        Self { rules: rules.collect(), ..Self::default() }
    }

    /// Forgets what a connection waits for: its next one is told a position.
    pub(super) fn forget(&mut self, session: SessionId) {
        for waiting in self.waiting.values_mut() {
            waiting.retain(|one| one.session != session);
        }
        self.refused.retain(|(of, _)| *of != session);
    }
}

/// Whether what a topic gets is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AckVerdict {
    /// As soon as other regions can have it.
    Ok,
    /// Enough regions are reached and have lacked something for more than 5 s.
    Waiting,
    /// Not at all: fewer regions are reached than have to hold it.
    TooFewRegions,
}

/// How a topic with `ack = "regions(n)"` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AckStatus {
    /// The topic.
    pub topic: TopicName,
    /// Regions that have to hold a record before it is acknowledged, this one among them.
    pub regions: usize,
    /// Regions that are reached now and are offered the topic, this one among them.
    pub reached: usize,
    /// Whether anything is acknowledged.
    pub verdict: AckVerdict,
    /// Records here that fewer regions are known to hold; before peers were met in this run all.
    pub waiting_records: u64,
    /// For how long the oldest has waited that an agent is to be told of, in milliseconds.
    pub waiting_ms: u64,
}

impl Node {
    /// What an agent sent is durable here up to `next`, its own number.
    pub(super) fn on_stored(
        &mut self,
        now: Now,
        (session, channel): (SessionId, ChannelId),
        next: Offset,
    ) {
        self.tell_or_wait(now, (session, channel), (next, Word::Stored));
    }

    /// An agent is to go on from `next`, which is durable here.
    pub(super) fn go_on(
        &mut self,
        now: Now,
        (session, channel): (SessionId, ChannelId),
        next: Offset,
    ) {
        self.tell_or_wait(now, (session, channel), (next, Word::Position));
    }

    fn tell_or_wait(
        &mut self,
        now: Now,
        (session, channel): (SessionId, ChannelId),
        (next, word): (Offset, Word),
    ) {
        let waits = self.lacking(session, channel).filter(|_| next > Offset::default());
        let Some((partition, end)) = waits else {
            return self.tell((session, channel), (next, word));
        };
        let since = now.monotonic;
        let waiting = Waiting { session, channel, next, word, end, since };
        self.acks.waiting.entry(partition).or_default().push_back(waiting);
    }

    fn tell(&mut self, (session, channel): (SessionId, ChannelId), (next, word): (Offset, Word)) {
        let Some(known) = self.sessions.get_mut(&session) else { return };
        match word {
            Word::Stored => known.link.on_stored(channel, next),
            Word::Position => known.link.subscribe(channel, next),
        }
    }

    /// The partition that a channel of an agent goes into and its end here, while too few regions
    /// hold it.
    fn lacking(&self, session: SessionId, channel: ChannelId) -> Option<(TopicPartition, Offset)> {
        let known = self.sessions.get(&session)?;
        let Peer::Agent(_) = known.peer else { return None };
        let local = known.receiving(channel)?.local.clone();
        let regions = self.regions_of(&local.topic)?;
        let end = self.durable.get(&local).copied()?;
        (self.held(&local, regions) < end).then_some((local, end))
    }

    fn rule(&self, topic: &TopicName) -> Option<Rule> {
        let of_base = || self.acks.rules.get(&base_topic(topic)?);
        self.acks.rules.get(topic).or_else(of_base).copied()
    }

    /// In how many regions a topic has to be; `None` when it is acknowledged once it is here. What
    /// a topic brings with it is in as many as are offered it.
    fn regions_of(&self, topic: &TopicName) -> Option<usize> {
        let regions = self.rule(topic)?.regions;
        if self.acks.rules.contains_key(topic) {
            return Some(regions);
        }
        let topic = self.topics.get(topic)?;
        let regions = regions.min(1 + self.offered(topic).count());
        (regions > 1).then_some(regions)
    }

    /// Hubs of other regions that are offered a topic.
    fn offered(&self, topic: &Topic) -> impl Iterator<Item = &KnownPeer> {
        self.peers.iter().filter(|peer| peer.offering.offers(topic, peer.identity.region()))
    }

    /// Up to where so many regions hold a partition, this one among them.
    fn held(&self, at: &TopicPartition, regions: usize) -> Offset {
        let Some(topic) = self.topics.get(&at.topic) else { return Offset::default() };
        let acked = self.offered(topic).map(|peer| self.keeping.acked(&peer.identity, at));
        let mut acked: Vec<Offset> = acked.map(Option::unwrap_or_default).collect();
        acked.sort_unstable_by(|one, other| other.cmp(one));
        // The first one of them is the second region.
        regions.checked_sub(2).and_then(|last| acked.get(last)).copied().unwrap_or_default()
    }

    /// Another region holds more of a partition: tells those who wait for that.
    pub(super) fn on_held(&mut self, now: Now, at: &TopicPartition) {
        let Some(regions) = self.regions_of(&at.topic) else { return };
        let held = self.held(at, regions);
        let Some(waiting) = self.acks.waiting.get_mut(at) else { return };
        let mut safe = Vec::new();
        while let Some(one) = waiting.pop_front_if(|one| one.end <= held) {
            safe.push(one);
        }
        if waiting.is_empty() {
            self.acks.waiting.remove(at);
        }
        let mut told = BTreeSet::new();
        for Waiting { session, channel, next, word, .. } in safe {
            // A channel that was refused ignores it.
            self.tell((session, channel), (next, word));
            told.insert((session, channel));
        }
        for (session, channel) in told {
            if self.acks.refused.contains(&(session, channel)) && !self.waits(at, channel, session)
            {
                self.take_up_again(session);
            }
            self.drain(now, session);
        }
    }

    fn waits(&self, at: &TopicPartition, channel: ChannelId, session: SessionId) -> bool {
        let waiting = self.acks.waiting.get(at).into_iter().flatten();
        waiting.into_iter().any(|one| (one.session, one.channel) == (session, channel))
    }

    /// Makes an agent connect anew, which offers again what was refused.
    fn take_up_again(&mut self, session: SessionId) {
        self.acks.refused.retain(|(of, _)| *of != session);
        if let Some(known) = self.sessions.get_mut(&session) {
            tracing::info!(agent = %known.identity, "asked again for what had to wait");
            known.link.close(Goodbye::Reconfigured);
        }
    }

    /// Refuses the channels of which something has waited for too long.
    pub(super) fn refuse_overdue(&mut self, now: Now) {
        let mut overdue = BTreeMap::new();
        for (at, waiting) in &self.acks.waiting {
            let Some(Rule { wait, .. }) = self.rule(&at.topic) else { continue };
            let late = waiting.iter().filter(|one| now.monotonic.since(one.since) >= wait);
            let late = late.map(|one| (one.session, one.channel));
            overdue.extend(late.map(|channel| (channel, at.clone())));
        }
        overdue.retain(|channel, _| !self.acks.refused.contains(channel));
        for ((session, channel), at) in overdue {
            let refusal = Refusal::new(RefusalCode::PositionUnavailable, self.why_not(&at));
            self.acks.refused.insert((session, channel));
            if let Some(known) = self.sessions.get_mut(&session) {
                tracing::warn!(agent = %known.identity, %refusal, "not acknowledged");
                known.link.refuse(channel, refusal);
            }
            self.drain(now, session);
        }
    }

    fn why_not(&self, at: &TopicPartition) -> String {
        let regions = self.regions_of(&at.topic).unwrap_or(1);
        let end = self.durable.get(at).copied().unwrap_or_default();
        let topic = self.topics.get(&at.topic);
        let lacking = topic.into_iter().flat_map(|topic| self.offered(topic));
        let lacking = lacking.filter_map(|peer| {
            let acked = self.keeping.acked(&peer.identity, at).unwrap_or_default();
            let records = end.since(acked);
            let region = peer.identity.region();
            let is_away = self.kept(&peer.identity).is_none();
            let how =
                if is_away { "is not reached".to_owned() } else { format!("lacks {records}") };
            (records > 0).then(|| format!("{region} {how}"))
        });
        let lacking: Vec<String> = lacking.collect();
        let topic = &at.topic;
        format!(
            "{topic} is acknowledged once {regions} regions hold it: {}; what was sent is kept \
             here and must be kept there, and is asked for again by itself",
            lacking.join(", ")
        )
    }

    /// How topics do that wait for other regions, by name.
    pub fn acks(&self, now: Monotonic) -> impl Iterator<Item = AckStatus> {
        let topics = self.acks.rules.iter();
        topics.filter_map(move |(name, rule)| {
            let topic = self.topics.get(name)?;
            let up = self.offered(topic).filter(|peer| self.kept(&peer.identity).is_some());
            let (regions, reached) = (rule.regions, 1 + up.count());
            let partitions = self.durable.iter().filter(|(at, _)| at.topic == *name);
            let waiting = partitions.map(|(at, end)| end.since(self.held(at, regions)));
            let waiting_records = waiting.fold(0, u64::saturating_add);
            let told = self.acks.waiting.iter().filter(|(at, _)| at.topic == *name);
            let since = told.filter_map(|(_, waiting)| Some(waiting.front()?.since)).min();
            let waited = since.map_or(Duration::ZERO, |since| now.since(since));
            let verdict = if reached < regions {
                AckVerdict::TooFewRegions
            } else if waited > IN_ORDER {
                AckVerdict::Waiting
            } else {
                AckVerdict::Ok
            };
            let waiting_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
            let topic = name.clone();
            Some(AckStatus { topic, regions, reached, verdict, waiting_records, waiting_ms })
        })
    }
}
