//! When agents are told that what they sent is safe, where other regions have to hold it first.
//!
//! A commit of this hub makes records durable here. Of a topic with `ack = "regions(n)"` they wait
//! then until so many regions have acknowledged the partition up to its end of that moment, and the
//! agent's next connection waits for the same before it is told a position, which says as much as
//! an acknowledgement. Nothing is guessed of a region that is away: what it said last counts until
//! it is here in another life, which says anew what it has.
//!
//! What waits takes up the agent's window. After the topic's `ack_wait` its channel is refused, so
//! that the agent's other topics flow; once all that waited is held, the agent is asked to connect
//! anew.
//!
//! A region's word that it has everything before an offset covers holes as well, so that holes of
//! what too few regions held have to be rare and known: retention takes nothing that is not held
//! where it has to be, so that whatever is gone by it was held; and where damage takes it, what a
//! peer says from there on does not count, after a restart of this hub either.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use headland_event::{
    ChannelId, Monotonic, Now, Offset, PartitionIndex, TopicName, TopicPartition,
};
use headland_replication::frame::Goodbye;
use headland_replication::{Identity, Refusal, RefusalCode};
use headland_storage::{MissingOffsets, StateStore, Ticket};
use serde::Serialize;

use super::fullness::Place;
use super::links::KnownPeer;
use super::recovery::{RecoveryError, number, owner};
use super::{Node, Output};
use crate::config::{Ack, TopicConfig};
use crate::peer_link::{LinkId, Peer};
use crate::topics::{Topic, base_topic};

/// How long records wait in a link that is in order: longer is said.
const IN_ORDER: Duration = Duration::from_secs(5);

/// What waits until enough regions hold it.
#[derive(Debug, Default)]
pub(super) struct Acks {
    rules: BTreeMap<TopicName, Rule>,
    /// By partition, in the order of their ends: no more than the agents' windows hold, and of a
    /// channel that was refused, whose window is free again, the last.
    waiting: BTreeMap<TopicPartition, VecDeque<Waiting>>,
    /// Channels that waited too long and were refused.
    refused: BTreeSet<(LinkId, ChannelId)>,
    /// In how many partitions a channel waits for its first position.
    unplaced: BTreeMap<(LinkId, ChannelId), usize>,
    /// Up to where enough regions have held a partition, in this run.
    once_held: BTreeMap<TopicPartition, Offset>,
    /// Where a peer got a hole for damage to what too few regions had held, the first one of each
    /// partition: how its acknowledgements count ends there. Keys are those of the state.
    gaps: BTreeMap<Bytes, Offset>,
    /// Reads behind damage, each until the commit is durable that says so.
    reads: VecDeque<(Ticket, Output)>,
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
    link_id: LinkId,
    channel: ChannelId,
    /// The agent's offset before which all is safe then.
    next: Offset,
    word: Word,
    end: Offset,
    since: Monotonic,
}

/// How far a channel is once a commit is durable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) place: Place,
    /// The peer's offset before which all was looked at.
    pub(super) next: Offset,
    /// The one before which all is kept here; what lies between comes again.
    pub(super) kept: Offset,
}

/// How an agent is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// By an acknowledgement.
    Stored,
    /// By the position at which it goes on.
    Position,
}

impl Waiting {
    /// Whether another one is told the same at the same moment, but for how far.
    fn is_as(&self, other: &Self) -> bool {
        let what = |one: &Self| (one.link_id, one.channel, one.word, one.end);
        what(self) == what(other)
    }
}

/// The keys of all channels of a connection.
const fn all_of(link_id: LinkId) -> RangeInclusive<(LinkId, ChannelId)> {
    (link_id, ChannelId::new(0))..=(link_id, ChannelId::new(u32::MAX))
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
    pub(super) fn forget(&mut self, link_id: LinkId) {
        for waiting in self.waiting.values_mut() {
            waiting.retain(|one| one.link_id != link_id);
        }
        self.forget_refused(link_id);
        let unplaced = self.unplaced.range(all_of(link_id)).map(|(of, _)| *of);
        for of in unplaced.collect::<Vec<_>>() {
            self.unplaced.remove(&of);
        }
    }

    /// Forgets what a connection was refused. O(its channels): another may have very many.
    fn forget_refused(&mut self, link_id: LinkId) {
        for of in self.refused.range(all_of(link_id)).copied().collect::<Vec<_>>() {
            self.refused.remove(&of);
        }
    }

    /// Notes that a channel need not wait for one more partition; whether it waits for none.
    fn place(&mut self, channel: (LinkId, ChannelId)) -> bool {
        let Some(left) = self.unplaced.get_mut(&channel) else { return true };
        *left = left.saturating_sub(1);
        let is_placed = *left == 0;
        if is_placed {
            self.unplaced.remove(&channel);
        }
        is_placed
    }

    /// Keeps of what a channel waits for in a partition the last: before that is held it is told
    /// nothing.
    fn keep_last(&mut self, at: &TopicPartition, channel: (LinkId, ChannelId)) {
        let Some(waiting) = self.waiting.get_mut(at) else { return };
        let is_of = |one: &Waiting| (one.link_id, one.channel) == channel;
        let mut others = waiting.iter().filter(|one| is_of(one)).count();
        waiting.retain(|one| {
            others -= usize::from(is_of(one));
            !is_of(one) || others == 0
        });
    }

    /// How much waits.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    /// Reads on once a commit is durable.
    pub(super) fn read_later(&mut self, after: Ticket, read: Output) {
        self.reads.push_back((after, read));
    }

    /// A commit is durable: what may be read now.
    pub(super) fn on_committed(&mut self, ticket: Ticket) -> Vec<Output> {
        let due = std::iter::from_fn(|| self.reads.pop_front_if(|(after, _)| *after <= ticket));
        due.map(|(_, read)| read).collect()
    }

    /// Where what a peer says of a partition ceases to count.
    fn gap(&self, peer: &Identity, at: &TopicPartition) -> Option<Offset> {
        if self.gaps.is_empty() { None } else { self.gaps.get(&gap_key(peer, at)).copied() }
    }
}

/// The key of a gap in the state.
fn gap_key(peer: &Identity, at: &TopicPartition) -> Bytes {
    Bytes::from(format!("{peer} {at}"))
}

/// The topic that a gap's key names.
fn topic_of(key: &Bytes) -> Option<TopicName> {
    let text = std::str::from_utf8(key).ok()?;
    let (_, at) = text.rsplit_once(' ')?;
    TopicName::new(at.rsplit_once('/')?.0).ok()
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
    /// What a channel brought is durable here, or was put off.
    pub(super) fn on_stored(&mut self, now: Now, of: Stored) {
        let Stored { place: (link_id, channel), next, kept } = of;
        if kept < next {
            // Whoever holds it has to keep it: it is asked for again.
            if let Some(known) = self.peer_links.get_mut(&link_id) {
                known.on_passed(channel, next);
            }
            return;
        }
        self.tell_or_wait(now, (link_id, channel), (next, Word::Stored));
    }

    /// An agent is to go on from `next`, which is durable here.
    pub(super) fn go_on(
        &mut self,
        now: Now,
        (link_id, channel): (LinkId, ChannelId),
        next: Offset,
    ) {
        self.tell_or_wait(now, (link_id, channel), (next, Word::Position));
    }

    fn tell_or_wait(
        &mut self,
        now: Now,
        (link_id, channel): (LinkId, ChannelId),
        (next, word): (Offset, Word),
    ) {
        let is_told = self.acks.rules.is_empty() || next == Offset::default();
        let waits = if is_told { Vec::new() } else { self.lacking((link_id, channel), word) };
        if waits.is_empty() {
            return self.tell(now, (link_id, channel), (next, word));
        }
        if word == Word::Position {
            self.acks.unplaced.insert((link_id, channel), waits.len());
        }
        let since = now.monotonic;
        for (partition, end) in waits {
            let waiting = Waiting { link_id, channel, next, word, end, since };
            let before = self.acks.waiting.entry(partition).or_default();
            match before.back_mut() {
                // One commit brought both.
                Some(last) if last.is_as(&waiting) => last.next = next,
                Some(_) | None => before.push_back(waiting),
            }
        }
    }

    fn tell(
        &mut self,
        now: Now,
        (link_id, channel): (LinkId, ChannelId),
        (next, word): (Offset, Word),
    ) {
        let is_leased = self.is_leased(now);
        let Some(known) = self.peer_links.get_mut(&link_id) else { return };
        if !is_leased && matches!(known.peer, Peer::Agent(_)) {
            // Its next connection is told a position, once this region is in use again. Over this
            // one it might never be: when the lease goes on before anybody saw that it was over,
            // nothing else makes the agent connect anew.
            known.link.close(Goodbye::Reconfigured);
            return;
        }
        match word {
            Word::Stored => known.link.on_stored(channel, next),
            Word::Position => known.link.subscribe(channel, next),
        }
    }

    /// Partitions that too few regions hold up to their ends here, of those that matter to a
    /// channel of an agent: the one that it goes into, and for its first position all of the
    /// topic, since there were fewer of them once and it may have gone into any other.
    fn lacking(
        &self,
        (link_id, channel): (LinkId, ChannelId),
        word: Word,
    ) -> Vec<(TopicPartition, Offset)> {
        let known = self.peer_links.get(&link_id);
        let known = known.filter(|known| matches!(known.peer, Peer::Agent(_)));
        let Some(receiving) = known.and_then(|known| known.receiving(channel)) else {
            return Vec::new();
        };
        let local = &receiving.local;
        let Some(regions) = self.regions_of(&local.topic) else { return Vec::new() };
        let first = TopicPartition::new(local.topic.clone(), PartitionIndex::new(0));
        let of_topic = self.durable.range(first..).take_while(|(at, _)| at.topic == local.topic);
        let matters = |at: &TopicPartition| word == Word::Position || at == local;
        of_topic
            .filter(|(at, end)| matters(at) && self.held(at, regions) < **end)
            .map(|(at, end)| (at.clone(), *end))
            .collect()
    }

    fn rule(&self, topic: &TopicName) -> Option<Rule> {
        if self.acks.rules.is_empty() {
            return None;
        }
        let of_base = || self.acks.rules.get(&base_topic(topic)?);
        self.acks.rules.get(topic).or_else(of_base).copied()
    }

    /// In how many regions a topic has to be; `None` when it is acknowledged once it is here. What
    /// a topic brings with it is in as many as are offered it.
    pub(super) fn regions_of(&self, topic: &TopicName) -> Option<usize> {
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

    /// Up to where so many regions hold a partition, this one among them. What is gone by retention
    /// was held.
    pub(super) fn held(&self, at: &TopicPartition, regions: usize) -> Offset {
        let Some(topic) = self.topics.get(&at.topic) else { return Offset::default() };
        let acked = self.offered(topic).map(|peer| self.held_by(&peer.identity, at));
        let mut acked: Vec<Offset> = acked.collect();
        acked.sort_unstable_by(|one, other| other.cmp(one));
        // The first one of them is the second region.
        let held = regions.checked_sub(2).and_then(|last| acked.get(last)).copied();
        held.unwrap_or_default().max(self.keeping.start(at))
    }

    /// Up to where a peer holds a partition by what it has acknowledged.
    fn held_by(&self, peer: &Identity, at: &TopicPartition) -> Offset {
        let acked = self.keeping.acked(peer, at).unwrap_or_default();
        self.acks.gap(peer, at).map_or(acked, |gap| acked.min(gap))
    }

    /// A peer is about to get a hole for damage: what it says from there on does not count, if too
    /// few regions have held what is gone. Whether that is so, and is in the next commit.
    pub(super) fn note_gap(&mut self, link_id: LinkId, lost: &MissingOffsets) -> bool {
        let MissingOffsets { partition: at, from, until } = lost;
        let Some(known) = self.peer_links.get(&link_id) else { return false };
        if self.regions_of(&at.topic).is_none() {
            return false;
        }
        let once_held = self.acks.once_held.get(at).copied().unwrap_or_default();
        let from = (*from).max(once_held).max(self.keeping.start(at));
        if from >= *until {
            return false;
        }
        let key = gap_key(&known.identity, at);
        let first = self.acks.gaps.entry(key.clone()).or_insert(from);
        *first = from.min(*first);
        let value = first.get().to_be_bytes().to_vec();
        tracing::error!(
            peer = %known.identity, partition = %at, from = %first,
            "damage to records that too few regions hold: nothing is acknowledged from there on \
             until the topic was run with ack = \"local\""
        );
        self.composer.set(owner("gaps"), key, Some(value.into()));
        true
    }

    /// Takes up where peers got holes for damage. Of topics that wait for no region any more that
    /// is forgotten: who took the rule away has given them up.
    pub(super) fn restore_gaps(&mut self, state: &impl StateStore) -> Result<(), RecoveryError> {
        for (key, value) in state.scan(&owner("gaps"), b"")? {
            if topic_of(&key).is_some_and(|topic| self.rule(&topic).is_some()) {
                self.acks.gaps.insert(key, Offset::new(number("gaps", &value)?));
            } else {
                self.composer.set(owner("gaps"), key, None);
            }
        }
        Ok(())
    }

    /// Another region holds more of a partition: tells those who wait for that.
    pub(super) fn on_held(&mut self, now: Now, at: &TopicPartition) {
        if self.acks.rules.is_empty() {
            return;
        }
        let Some(regions) = self.regions_of(&at.topic) else { return };
        let held = self.held(at, regions);
        let once_held = self.acks.once_held.entry(at.clone()).or_default();
        if held > *once_held {
            *once_held = held;
            // Retention may take more.
            self.keeping.on_written();
        }
        let Some(waiting) = self.acks.waiting.get_mut(at) else { return };
        let mut safe = Vec::new();
        while let Some(one) = waiting.pop_front_if(|one| one.end <= held) {
            safe.push(one);
        }
        if waiting.is_empty() {
            self.acks.waiting.remove(at);
        }
        let mut told = BTreeSet::new();
        for Waiting { link_id, channel, next, word, .. } in safe {
            if word == Word::Position && !self.acks.place((link_id, channel)) {
                continue;
            }
            // A channel that was refused ignores it.
            self.tell(now, (link_id, channel), (next, word));
            told.insert((link_id, channel));
        }
        for (link_id, channel) in told {
            if self.acks.refused.contains(&(link_id, channel)) && !self.waits(at, channel, link_id)
            {
                self.take_up_again(link_id);
            }
            self.drain(now, link_id);
        }
    }

    fn waits(&self, at: &TopicPartition, channel: ChannelId, link_id: LinkId) -> bool {
        let waiting = self.acks.waiting.get(at).into_iter().flatten();
        waiting.into_iter().any(|one| (one.link_id, one.channel) == (link_id, channel))
    }

    /// Makes an agent connect anew, which offers again what was refused.
    fn take_up_again(&mut self, link_id: LinkId) {
        self.acks.forget_refused(link_id);
        if let Some(known) = self.peer_links.get_mut(&link_id) {
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
            let late = late.map(|one| (one.link_id, one.channel));
            let late = late.filter(|channel| !self.acks.refused.contains(channel));
            overdue.extend(late.map(|channel| (channel, at.clone())));
        }
        for ((link_id, channel), at) in overdue {
            let refusal = Refusal::new(RefusalCode::PositionUnavailable, self.why_not(&at));
            self.acks.refused.insert((link_id, channel));
            self.acks.keep_last(&at, (link_id, channel));
            if let Some(known) = self.peer_links.get_mut(&link_id) {
                tracing::warn!(agent = %known.identity, %refusal, "not acknowledged");
                known.link.refuse(channel, refusal);
            }
            self.drain(now, link_id);
        }
    }

    fn why_not(&self, at: &TopicPartition) -> String {
        let regions = self.regions_of(&at.topic).unwrap_or(1);
        let end = self.durable.get(at).copied().unwrap_or_default();
        let topic = self.topics.get(&at.topic);
        let lacking = topic.into_iter().flat_map(|topic| self.offered(topic));
        let lacking = lacking.filter_map(|peer| {
            let acked = self.held_by(&peer.identity, at).max(self.keeping.start(at));
            let records = end.since(acked);
            let region = peer.identity.region();
            let how = if self.acks.gap(&peer.identity, at) == Some(acked) {
                format!("got a hole at {acked} for records that are damaged here")
            } else if self.kept(&peer.identity).is_none() {
                "is not reached".to_owned()
            } else {
                format!("lacks {records}")
            };
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
