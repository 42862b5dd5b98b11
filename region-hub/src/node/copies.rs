//! What damage took from one place of the log, and this hub can still read in another.
//!
//! A log of inventory may lie here twice: where its own hub was away for a while, a copy came over
//! another way. What damage takes from one of them is lost ([`super::lost`]): others are asked for
//! it, and none of it is handed on. Nobody else may have it any more, though the second copy has.
//! So that is looked through, and what it has is stored apart, as if another hub had handed it on.
//!
//! In what was handed on itself logs of several lives lie mixed, so that what stands around damage
//! does not tell of which log it took something. But it is known which ranges of logs were handed
//! on. So all of that partition is read, and what is not found in it is lost.
//!
//! Either is a *walk* over a partition, a piece at a time, in the order of the losses. Walks are
//! not kept: a start begins those again that its state and its reads ask for.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use headland_event::{
    Actor, ByteCount, Entry, Gap, Gaps, Lane, Monotonic, Now, Offset, PartitionIndex,
    TopicPartition,
};
use headland_platform::telemetry::with_causes;
use headland_replication::Offer;
use headland_storage::{MissingOffsets, ReadError};

use super::recovery::owner;
use super::scrub::Asks;
use super::{Node, Output};
use crate::topics::{Mirror, Topic};

/// Walks that wait. What is lost beyond that is looked for when these are over.
const WALKS_MAX: usize = 256;

/// Bytes read at once, and the time between two reads: 25 MB a second, less than links read.
const LOOK_BYTES: ByteCount = ByteCount::new(256 << 10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How long a walk waits for what is composed to become durable.
const WAIT: Duration = Duration::from_millis(100);

/// What is looked for, and where.
#[derive(Debug, PartialEq, Eq)]
struct Walk {
    at: TopicPartition,
    next: Offset,
    until: Offset,
    sought: Sought,
}

#[derive(Debug, PartialEq, Eq)]
enum Sought {
    /// A range of a log that is lost.
    Lost(Actor, Gap),
    /// What was handed on and was not found yet: what is left at the end is lost.
    HandedOn(Census),
}

/// What was handed on of logs, less what was found of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Census {
    left: Gaps,
    /// What lay between two entries of a log that have nothing else between them.
    between: Vec<(Actor, Gap)>,
    /// The last entry: its log, and the ends of it there and here.
    last: Option<(Actor, Offset, Offset)>,
}

impl Census {
    /// Takes note of the next entry, which has these offsets of its log and here.
    fn on_found(&mut self, actor: &Actor, log: Gap, here: Gap) {
        let _changed = self.left.fill(actor, log.from, log.until);
        let last = self.last.replace((actor.clone(), log.until, here.until));
        let Some((before, from, local)) = last.filter(|(before, _, _)| before == actor) else {
            return;
        };
        let missing = here.from.since(local);
        if missing > 0 && from.get().checked_add(missing) == Some(log.from.get()) {
            self.between.push((before, Gap { from, until: log.from }));
        }
    }

    /// What is lost, of a partition that begins at `start`. Where retention let something go, all
    /// that is not found may be that, but for what as many offsets here have stood for.
    fn lost(self, start: Offset) -> Vec<(Actor, Gap)> {
        let Self { left, between, last: _ } = self;
        if start == Offset::new(0) {
            return left.iter().map(|(actor, gap)| (actor.clone(), gap)).collect();
        }
        let is_left = |of: &(Actor, Gap)| left.spans(&of.0, of.1.from, of.1.until);
        between.into_iter().filter(is_left).collect()
    }
}

/// Walks over partitions here.
#[derive(Debug, Default)]
pub(super) struct Walks {
    waiting: VecDeque<Walk>,
    /// The one of which a piece is being read.
    reading: Option<Walk>,
    due_at: Monotonic,
    /// From which loss on there was no room to look for any.
    left_out: Option<(Actor, Offset)>,
    /// What others are to be asked for.
    pub(super) asks: Asks,
    /// Where what was handed on was not found. Others are asked for it once all walks are over:
    /// an ordinary copy may have it.
    not_found: BTreeSet<TopicPartition>,
}

impl Walks {
    pub(super) fn poll_timeout(&self) -> Option<Monotonic> {
        let is_left = self.left_out.is_some() || !self.not_found.is_empty();
        let has_some = !self.waiting.is_empty() || is_left;
        (self.reading.is_none() && has_some).then_some(self.due_at)
    }

    fn has_census_of(&self, at: &TopicPartition) -> bool {
        let is_it = |walk: &Walk| walk.at == *at && matches!(walk.sought, Sought::HandedOn(_));
        self.waiting.iter().chain(&self.reading).any(is_it)
    }

    fn push(&mut self, walk: Walk) {
        if self.waiting.contains(&walk) {
            return;
        }
        if self.waiting.len() < WALKS_MAX {
            self.waiting.push_back(walk);
        } else if let Sought::Lost(actor, gap) = walk.sought {
            self.leave_out(&actor, gap);
        }
    }

    fn leave_out(&mut self, actor: &Actor, gap: Gap) {
        let this = (actor.clone(), gap.from);
        let first = self.left_out.take().filter(|first| *first < this).unwrap_or(this);
        self.left_out = Some(first);
    }
}

impl Node {
    /// Looks in other copies for a range of a log that damage took from one.
    pub(super) fn seek_copies(&mut self, actor: &Actor, lost: Gap) {
        // Of its own log a hub has no copy but what was handed on, of which it has lost nothing.
        if actor.region == *self.identity.region() {
            return;
        }
        if self.walks.waiting.len() >= WALKS_MAX {
            return self.walks.leave_out(actor, lost);
        }
        for at in self.places_of(actor) {
            let end = self.composer.end(&at);
            let Some(next) = self.consumers.local_at(&at, lost.from, actor.incarnation) else {
                continue;
            };
            let until = self.consumers.local_at(&at, lost.until, actor.incarnation);
            let until = until.unwrap_or(end).min(end);
            if next < until {
                let sought = Sought::Lost(actor.clone(), lost);
                self.walks.push(Walk { at, next, until, sought });
            }
        }
    }

    /// Damage was met in a partition: when what was handed on lies in it, all of that is looked
    /// through.
    pub(super) fn on_damage_apart(&mut self, at: &TopicPartition) {
        let is_apart = self
            .topics
            .get(&at.topic)
            .is_some_and(|topic| topic.is_apart() && self.is_of_inventory(&topic.origin_name));
        if is_apart && self.speaking.is_some() && !self.walks.has_census_of(at) {
            let (next, until) = (Offset::new(0), Offset::new(0));
            let sought = Sought::HandedOn(Census::default());
            self.walks.push(Walk { at: at.clone(), next, until, sought });
        }
    }

    /// A start knows what is lost, and what it met: it looks for that again.
    pub(super) fn seek_lost(&mut self) {
        for (actor, gap) in self.lost_ranges() {
            self.seek_copies(&actor, gap);
        }
        let met = self.missing.offsets().map(|lost| lost.partition.clone());
        // Of a partition of which nothing can be read the log does not even know that it was.
        let apart = self.topics.iter().filter(|topic| topic.is_apart());
        let apart = apart.flat_map(|topic| {
            let all = (0..topic.partitions).map(PartitionIndex::new);
            all.map(|partition| TopicPartition::new(topic.name.clone(), partition))
        });
        let is_gone = |at: &TopicPartition| {
            let is_known = self.composer.end(at).max(self.keeping.start(at)) > Offset::new(0);
            !is_known && !self.handed_on_in(at).is_empty()
        };
        let looked_at: Vec<TopicPartition> = met.chain(apart.filter(is_gone)).collect();
        looked_at.iter().for_each(|at| self.on_damage_apart(at));
    }

    /// Looks for what there was no room for before, in the order of logs.
    fn seek_left_out(&mut self) {
        let Some((log, from)) = self.walks.left_out.take() else { return };
        for (actor, gap) in self.lost_ranges() {
            if (&actor, gap.from) >= (&log, from) {
                self.seek_copies(&actor, gap);
            }
        }
    }

    /// Goes on with the first walk, if it is time to.
    pub(super) fn look_on(&mut self, now: Now) {
        if self.walks.poll_timeout().is_none_or(|at| at > now.monotonic) {
            return;
        }
        let Some(mut walk) = self.walks.waiting.pop_front() else {
            if self.walks.left_out.is_none() {
                return self.ask_for_what_was_not_found(now);
            }
            return self.seek_left_out();
        };
        let (end, durable) = (self.composer.end(&walk.at), self.durable.get(&walk.at));
        let is_begun = walk.until > Offset::new(0);
        let is_durable = durable.copied().unwrap_or_default() >= end;
        if self.holds_inventory_back() || !(is_begun || is_durable) {
            self.walks.due_at = now.monotonic.after(WAIT);
            self.walks.waiting.push_back(walk);
            return;
        }
        if !is_begun {
            // All that was handed on is durable now, and what is from here on comes behind.
            let census = Census { left: self.handed_on_in(&walk.at), ..Census::default() };
            (walk.until, walk.sought) = (end, Sought::HandedOn(census));
        }
        let (partition, from, limit) = (walk.at.clone(), walk.next, LOOK_BYTES);
        self.walks.reading = Some(walk);
        self.outputs.push_back(Output::Look { partition, from, limit });
    }

    /// The answer to [`Output::Look`].
    pub fn on_looked(&mut self, now: Now, found: Result<Vec<Entry>, ReadError>) {
        let Some(mut walk) = self.walks.reading.take() else { return };
        self.walks.due_at = now.monotonic.after(LOOK_EVERY);
        match found {
            Ok(entries) if entries.is_empty() => {
                let durable = self.durable.get(&walk.at).copied().unwrap_or_default();
                if durable < walk.until.min(self.composer.end(&walk.at)) {
                    self.walks.due_at = now.monotonic.after(WAIT);
                    self.walks.waiting.push_back(walk);
                    return;
                }
                walk.next = walk.until;
            }
            Ok(entries) => {
                for entry in entries {
                    walk.next = entry.end();
                    self.on_found(&mut walk, entry);
                }
            }
            Err(ReadError::Quarantined { partition, from, until }) => {
                walk.next = until;
                self.walks.reading = Some(walk);
                self.note_damage(now, &MissingOffsets { partition, from, until });
                let Some(same) = self.walks.reading.take() else { return };
                walk = same;
            }
            Err(error) => {
                let (at, error) = (&walk.at, with_causes(&error));
                tracing::error!(%at, error, "cannot look for what is lost of a log");
                return;
            }
        }
        if walk.next < walk.until {
            self.walks.waiting.push_front(walk);
        } else if let Sought::HandedOn(census) = walk.sought {
            self.on_not_found(now, &walk.at, census);
        }
    }

    fn on_found(&mut self, walk: &mut Walk, entry: Entry) {
        let Some(stamp) = entry.stamp.as_ref().filter(|_| !entry.is_stand_in()) else { return };
        let (from, until) = (stamp.offset, stamp.offset.after(entry.batch.span()));
        match &mut walk.sought {
            Sought::HandedOn(census) => {
                let here = Gap { from: entry.base, until: entry.end() };
                census.on_found(&stamp.actor, Gap { from, until }, here);
            }
            Sought::Lost(actor, gap) => {
                let is_sought = stamp.actor == *actor && from < gap.until && gap.from < until;
                if is_sought && let Some(topic) = self.topics.get(&walk.at.topic).cloned() {
                    self.keep_apart(&topic, entry);
                }
            }
        }
    }

    /// Stores apart what a second copy has, as what another hub hands on.
    fn keep_apart(&mut self, copy: &Topic, entry: Entry) {
        let Some(stamp) = &entry.stamp else { return };
        let inventory = copy.origin_name.clone();
        if self.has(&inventory, stamp, &entry.batch) || self.lacks_room(&entry) {
            return;
        }
        let Topic { lane, origin, path, .. } = copy.clone();
        let source = TopicPartition::new(inventory.clone(), stamp.actor.partition);
        let (start, head) = (Offset::new(0), Offset::new(0));
        let origin_topic = inventory.clone();
        let offer = Offer { source, origin, origin_topic, path, lane, start, head };
        let (name, mirror) = match self.topics.set_apart(&offer) {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "what a second copy has cannot be kept apart");
                return;
            }
        };
        if let (Mirror::Changed, Some(topic)) = (mirror, self.topics.get(&name)) {
            if topic.lane == Lane::Alerts {
                self.composer.add_alerts(topic.name.clone());
            }
            let key = topic.name.as_str().to_owned().into();
            self.composer.set(owner("topics"), key, Some(topic.encode()));
        }
        let local = TopicPartition::new(name, stamp.actor.partition);
        self.regain(&local.topic, &inventory, (stamp, &entry.batch));
        self.ingest.observe(&inventory, stamp, &entry.batch);
        self.note_end(&local, &inventory, stamp, &entry.batch);
        self.composer.copied(&local, entry.dot, entry.stamp, entry.batch);
        self.cut_commit();
    }

    /// What was handed on and is not there any more is lost.
    fn on_not_found(&mut self, now: Now, at: &TopicPartition, census: Census) {
        let mut is_news = false;
        for (actor, gap) in census.lost(self.keeping.start(at)) {
            is_news |= self.lose_apart(&actor, gap);
        }
        if is_news {
            self.walks.not_found.insert(at.clone());
        }
        self.walks.due_at = now.monotonic.after(LOOK_EVERY);
    }

    /// Asks others for what no copy here has either.
    fn ask_for_what_was_not_found(&mut self, now: Now) {
        let lost = self.lost_ranges();
        let is_lost = |at: &TopicPartition| {
            let origin = self.topics.get(&at.topic).map(|topic| &topic.origin);
            let is_of = |of: &Actor| Some(&of.region) == origin && of.partition == at.partition;
            lost.iter().any(|(actor, _)| is_of(actor))
        };
        let mut asked = std::mem::take(&mut self.walks.not_found);
        asked.retain(is_lost);
        if !asked.is_empty() {
            self.ask_for_lost_of(now, &asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use headland_event::{Incarnation, PartitionIndex};

    use super::*;

    #[test]
    fn behind_what_retention_let_go_only_what_as_many_offsets_stood_for_is_lost() {
        let actor = |life| Actor {
            region: "us".parse().unwrap(),
            incarnation: Incarnation::new(1, life),
            partition: PartitionIndex::new(0),
        };
        let gap = |from, until| Gap { from: Offset::new(from), until: Offset::new(until) };
        let census = || {
            let mut census = Census::default();
            for life in 0..2 {
                assert_eq!(census.left.add(&actor(life), gap(0, 9)), None);
            }
            // 4 to 6 came first and went; 7 is damaged at 14; 2 and 3 went before.
            for (log, here) in [((0, 2), (10, 12)), ((6, 7), (13, 14)), ((8, 9), (15, 16))] {
                census.on_found(&actor(1), gap(log.0, log.1), gap(here.0, here.1));
            }
            census
        };

        assert_eq!(census().lost(Offset::new(1)), [(actor(1), gap(7, 8))]);
        let all = [(actor(0), gap(0, 9)), (actor(1), gap(2, 6)), (actor(1), gap(7, 8))];
        assert_eq!(census().lost(Offset::new(0)), all);
    }
}
