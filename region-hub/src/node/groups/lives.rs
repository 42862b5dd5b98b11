//! Consumer groups over the lives of the hubs whose logs they read.
//!
//! A partition here holds what several lives of its origin wrote, one behind the other, which its
//! checkpoint knows. A group has read so far of each. So when another life goes on, or begins anew
//! on an empty disk, nothing that it has not read is passed over, and nothing is read again; and
//! news of a former life, whenever they come, say nothing of the next one.
//!
//! What a life wrote and is not here cannot be read here. That is said: no hub knows by itself
//! whether there is more of it than the group has read.

use std::borrow::Cow;

use headland_event::{Alert, Incarnation, NodeRule, Now, Offset, Stamp, TopicPartition};
use headland_replication::checkpoint::Followed;
use headland_replication::groups::{Committed, GroupRecord, Source};
use headland_replication::{Checkpoint, ReadTo};
use headland_storage::MissingOffsets;

use super::super::Node;
use super::super::recovery::owner;
use super::{Began, source};

/// Most lives of which it is remembered that it was said; beyond, each is said once more.
const SAID_LIMIT: usize = 4_096;

/// For how many looks, a second each, peers may begin to give back what groups have read: those
/// that are there have offered it by then.
const AWAITED_LOOKS: u32 = 60;

impl Node {
    /// Where a partition stands in the log of its origin; `None` of a copy in which nothing is.
    pub(in crate::node) fn checkpoint(&self, at: &TopicPartition) -> Option<Cow<'_, Checkpoint>> {
        if self.is_mirror(at) {
            return self.consumers.checkpoints.get(at).map(Cow::Borrowed);
        }
        let begin = Offset::new(0);
        let own = || Cow::Owned(Checkpoint::of_life(begin, begin, self.incarnation));
        Some(self.consumers.own.get(at).map_or_else(own, Cow::Borrowed))
    }

    /// Follows a mirrored partition: an entry with this stamp is about to be composed.
    pub(in crate::node) fn follow(&mut self, at: &TopicPartition, stamp: &Stamp, now: Now) {
        let base = self.composer.end(at);
        let life = stamp.actor.incarnation;
        let Some(checkpoint) = self.consumers.checkpoints.get(at) else {
            self.keep_checkpoint(at, Checkpoint::new(base, stamp));
            return self.on_new_life(at, life, now);
        };
        if checkpoint.is_next(base, stamp) {
            return;
        }
        let mut checkpoint = checkpoint.clone();
        if !checkpoint.is_of(life)
            && let Some(of) = self.source_at(at)
        {
            // Who names no life means one of before.
            self.name_lives(&of, at, now);
        }
        if let Some(from) = self.damaged_before(at, base) {
            checkpoint.lose_end(from);
        }
        let followed = checkpoint.follow(base, stamp);
        self.keep_checkpoint(at, checkpoint);
        self.mend_unused(at);
        if matches!(followed, Followed::Fork(_)) {
            self.on_new_life(at, life, now);
        }
    }

    /// Where the damage begins that a local offset is the end of.
    pub(in crate::node) fn damaged_before(
        &self,
        at: &TopicPartition,
        end: Offset,
    ) -> Option<Offset> {
        let of = |until| move |lost: &&MissingOffsets| lost.partition == *at && lost.until == until;
        let before = |until| self.missing.offsets().find(of(until)).map(|lost| lost.from);
        std::iter::successors(before(end), |from| before(*from)).last()
    }

    fn source_at(&self, at: &TopicPartition) -> Option<Source> {
        self.topics.get(&at.topic).map(|topic| source(topic, at.partition))
    }

    pub(in crate::node) fn keep_checkpoint(&mut self, at: &TopicPartition, checkpoint: Checkpoint) {
        let value = checkpoint.encode();
        let is_mirror = self.is_mirror(at);
        let consumers = &mut self.consumers;
        let kept = if is_mirror { &mut consumers.checkpoints } else { &mut consumers.own };
        kept.insert(at.clone(), checkpoint);
        self.composer.set(owner("checkpoints"), at.to_string().into(), Some(value));
    }

    /// A life of a region's hub was met in a copy for the first time. That hub may have lost how
    /// far its groups had read, so it is said once more to whoever reads this hub's `_groups`.
    fn on_new_life(&mut self, at: &TopicPartition, life: Incarnation, now: Now) {
        let Some(of) = self.source_at(at) else { return };
        let names_more = |record: &GroupRecord| record.lives.iter().any(|read| read.life != life);
        let known = self.consumers.groups.at(&of);
        let known = known.map(|(group, at)| GroupRecord::new(group, &of, at));
        let said: Vec<GroupRecord> = known.filter(names_more).collect();
        if let Err(error) = self.write_groups(&said, now) {
            tracing::error!(%error, "committed offsets fit no batch");
        }
        let lives = said.iter().flat_map(|record| &record.lives);
        let all = ReadTo::Lives(lives.map(|read| (read.life, read.offset)).collect());
        for missing in self.not_here(&of, &all) {
            self.miss(&of, missing, now);
        }
    }

    /// Lives of which a group has read and nothing is here, of a partition that is.
    pub(super) fn not_here(&self, of: &Source, read: &ReadTo) -> Vec<Incarnation> {
        let known: Vec<_> = self.checkpoints_of(of).collect();
        let lives = read.lives().map(|(life, _)| life);
        let is_missing =
            |life: &Incarnation| !known.is_empty() && !known.iter().any(|at| at.is_of(*life));
        lives.filter(is_missing).collect()
    }

    /// A committed offset was heard. When it counts in a former life of this hub's own log, that is
    /// gone from here: what it names of other regions' logs may be about to come.
    pub(super) fn look_for_former(&mut self, record: &GroupRecord, now: Now) {
        if record.region != *self.identity.region() {
            return;
        }
        let of = record.source();
        let at = TopicPartition::new(of.topic.clone(), of.partition);
        if self.topics.get(&of.topic).is_none() || self.is_mirror(&at) {
            return;
        }
        let read = record.lives.iter().map(|read| (read.life, read.offset));
        for life in self.not_here(&of, &ReadTo::Lives(read.collect())) {
            self.miss(&of, life, now);
        }
    }

    /// Groups have read what a life wrote and is not here. Of this hub's own region peers may be
    /// about to give it back.
    fn miss(&mut self, of: &Source, life: Incarnation, now: Now) {
        let is_own = of.region == *self.identity.region();
        let awaited = &mut self.consumers.awaited;
        if is_own && self.speaking.is_some() && awaited.len() < SAID_LIMIT {
            awaited.entry((of.clone(), life)).or_default();
        } else {
            self.say_elsewhere(of, life, now);
        }
    }

    /// Says what groups have read and no peer has given back for a while, once a second.
    pub(in crate::node) fn look_for_what_groups_read(&mut self, now: Now) {
        if self.consumers.awaited.is_empty() || self.is_given_some_back() {
            return;
        }
        for ((of, life), looks) in std::mem::take(&mut self.consumers.awaited) {
            if self.checkpoints_of(&of).any(|known| known.is_of(life)) {
                continue;
            }
            if looks < AWAITED_LOOKS {
                self.consumers.awaited.insert((of, life), looks + 1);
            } else {
                self.say_elsewhere(&of, life, now);
            }
        }
    }

    /// Says that groups have read what a life wrote and is not here, once for each life.
    fn say_elsewhere(&mut self, of: &Source, life: Incarnation, now: Now) {
        let said = &mut self.consumers.said;
        if said.len() >= SAID_LIMIT {
            said.clear();
        }
        let region = of.region.clone();
        if !said.insert((region.clone(), life)) {
            return;
        }
        tracing::error!(%region, %life, first = %of, "what a former life wrote is not here");
        let text = format!(
            "groups have read what hub life {life} of region {region} wrote, {of} first, and \
             nothing of it is here. Whether they have read all of it is not known here: see \
             lag_records of these groups at hubs that have a copy, and let them go on there \
             until it is 0. What no hub has is lost"
        );
        let key = (region.to_string(), life.to_string());
        let facts = [("fault", text), ("region", key.0.clone()), ("life", key.1.clone())];
        self.raise(&Alert::of_node(NodeRule::UnreadElsewhere, key, now.wall, facts), now);
    }

    /// Has what groups committed in a partition name lives, as it is read in a copy.
    fn name_lives(&mut self, of: &Source, at: &TopicPartition, now: Now) {
        let Some(checkpoint) = self.checkpoint(at) else { return };
        let unnamed = self.consumers.groups.at(of);
        let unnamed = unnamed.filter(|(_, at)| matches!(at.read, ReadTo::Unnamed(_)));
        let named = unnamed.map(|(group, at)| {
            let read = checkpoint.named(&at.read);
            GroupRecord::new(group, of, &Committed { epoch: at.epoch, read })
        });
        let named: Vec<GroupRecord> = named.collect();
        for record in &named {
            let _held = self.hold_group(record);
        }
        if let Err(error) = self.write_groups(&named, now) {
            tracing::error!(%error, "committed offsets fit no batch");
        }
    }

    /// Takes up lives at a start: what names none yet names the last one that is here, and a hub
    /// that was restored goes on behind what its backup has of the former one.
    pub(in crate::node) fn begin_life(&mut self, now: Now) {
        let own = self.durable.iter().filter(|(at, _)| !self.is_mirror(at));
        let own: Vec<_> = own.map(|(at, end)| (at.clone(), *end)).collect();
        if let Began::Anew(former) = self.consumers.began {
            let begin = Offset::new(0);
            for (at, _) in &own {
                let known = self.consumers.own.entry(at.clone());
                known.or_insert_with(|| Checkpoint::of_life(begin, begin, former));
            }
        }
        let places: Vec<TopicPartition> = self.durable.keys().cloned().collect();
        for at in places {
            if let Some(of) = self.source_at(&at) {
                self.name_lives(&of, &at, now);
            }
        }
        if !self.begins_a_life() {
            return;
        }
        // What is of before is named by now: what comes from here on is of this life.
        for (at, end) in own {
            let Some(mut checkpoint) = self.consumers.own.get(&at).cloned() else { continue };
            checkpoint.go_on(end, end, self.incarnation);
            self.keep_checkpoint(&at, checkpoint);
        }
    }

    /// Whether this is the first start of another life on a log that a former one wrote.
    pub(in crate::node) const fn begins_a_life(&self) -> bool {
        matches!(self.consumers.began, Began::Anew(_))
    }
}
