//! Where consumer groups read on here, and how they do.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use headland_event::{GroupName, Offset, PartitionIndex, TopicName, TopicPartition};
use headland_replication::groups::{Committed, Source};
use headland_replication::{Checkpoint, ReadTo};

use super::super::Node;
use super::{GroupError, source};
use crate::groups::{FormerRead, GroupView, PositionView, Reading};
use crate::members::LifeName;
use crate::topics::Topic;

/// Names a union over regions, as in `orders@*`.
const UNION: &str = "@*";

/// Nothing was read.
fn nothing() -> ReadTo {
    ReadTo::Lives(BTreeMap::new())
}

impl Node {
    /// Every group by name.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupView> {
        let names = self.consumers.groups.names();
        names.map(|group| self.group(group)).collect()
    }

    /// Committed offsets of other regions that passed a limit and were left out, since the start:
    /// here their groups read again what was read there.
    #[must_use]
    pub const fn group_offsets_left_out(&self) -> u64 {
        self.consumers.groups.left_out()
    }

    /// A group; without positions when it is not known.
    #[must_use]
    pub fn group(&self, group: &GroupName) -> GroupView {
        let positions = self.consumers.groups.of(group);
        let positions: Vec<PositionView> =
            positions.map(|(source, at)| self.position(source, at)).collect();
        let lag = positions.iter().map(|position| position.lag_records);
        let lag_records = lag.fold(0, u64::saturating_add);
        GroupView { group: group.clone(), lag_records, positions }
    }

    /// The same for who goes on from there.
    ///
    /// # Errors
    /// [`GroupError::NotBack`] while peers may know how far it had read, unless all that is known
    /// of it was committed here since.
    pub fn group_to_go_on(&self, group: &GroupName) -> Result<GroupView, GroupError> {
        let mut known = self.consumers.groups.of(group).map(|(source, _)| source).peekable();
        let is_some = known.peek().is_some();
        if !is_some || !self.consumers.wait.has_said(group, known) {
            self.is_back()?;
        }
        Ok(self.group(group))
    }

    fn position(&self, source: &Source, at: &Committed) -> PositionView {
        let Source { region, topic: origin_topic, partition } = source.clone();
        let Committed { epoch, read } = at;
        let place = self.counted(source, read);
        let topic = place.as_ref().map(|place| place.topic.clone());
        let end = place.as_ref().and_then(|place| self.durable.get(place)).copied();
        let end = end.unwrap_or_default();
        let mut view = PositionView {
            origin: region,
            origin_topic,
            partition,
            epoch: *epoch,
            life: None,
            origin_offset: read.highest(),
            topic,
            committed: read.highest(),
            end,
            lag_records: 0,
            ahead_records: 0,
            lost_records: 0,
            elsewhere: self.elsewhere(source, read),
        };
        let checkpoint = place.as_ref().and_then(|place| Some((place, self.checkpoint(place)?)));
        let Some((place, checkpoint)) = checkpoint else {
            view.ahead_records = view.committed.since(end);
            return view;
        };
        for (place, end) in self.read_beside(source, place) {
            let Some(checkpoint) = self.checkpoint(&place) else { continue };
            let start = self.keeping.start(&place);
            for range in checkpoint.unread(read, end) {
                let from = range.from.max(start).min(range.until);
                view.lost_records += from.since(range.from);
                view.lag_records += range.until.since(from);
            }
        }
        view.committed = self.next_in(place, read).from;
        let here = self.awaited_end(place).map_or(view.committed, |end| view.committed.min(end));
        let (life, origin_offset) = checkpoint.place_at(here);
        (view.life, view.origin_offset) = (Some(LifeName::of(life)), origin_offset);
        view.ahead_records = view.committed.since(end);
        view
    }

    /// Where a partition lies here that is read in a place, with where it ends there: of this
    /// region's own in its log and in what others gave back, of which neither has any of the other;
    /// of copies in that one.
    fn read_beside(&self, of: &Source, place: &TopicPartition) -> Vec<(TopicPartition, Offset)> {
        let is_own = of.region == *self.identity.region();
        let copies = self.copies(of).map(|(.., at)| at).filter(|at| is_own || at == place);
        let ends = copies.filter_map(|at| Some((at.clone(), *self.durable.get(&at)?)));
        ends.collect()
    }

    /// What a group has read of lives of which no copy here has anything.
    fn elsewhere(&self, source: &Source, read: &ReadTo) -> Vec<FormerRead> {
        let lives = self.not_here(source, read).into_iter();
        let named = lives.map(|life| (LifeName::of(life), read.offset_of(life)));
        named.map(|(life, origin_offset)| FormerRead { life, origin_offset }).collect()
    }

    /// Where a group reads on in a topic of this hub, or in `<topic>@*`, the union over all
    /// regions: every partition that has records, with what is to be read next.
    ///
    /// # Errors
    /// [`GroupError::NoTopic`] when there is no such topic here, [`GroupError::Left`] when groups
    /// go on in another region, [`GroupError::NotBack`] while peers may know how far it had read.
    pub fn reading(&self, group: &GroupName, topic: &str) -> Result<Vec<Reading>, GroupError> {
        if let Some(why) = self.left() {
            return Err(GroupError::Left(why));
        }
        let no_topic = || GroupError::NoTopic { topic: topic.to_owned() };
        let name = TopicName::new(topic.strip_suffix(UNION).unwrap_or(topic));
        let name = name.map_err(|_| no_topic())?;
        let is_union = topic.ends_with(UNION);
        let read = self.topics.resolve(&name).map(|known| &known.name);
        let is_read = |known: &&Topic| {
            let of_union = known.origin_name == name && !known.is_apart();
            if is_union { of_union } else { Some(&known.name) == read }
        };
        let topics = self.topics.iter().filter(is_read);
        let mut places: BTreeMap<Source, Reading> = BTreeMap::new();
        let mut topics = topics.peekable();
        topics.peek().ok_or_else(no_topic)?;
        for known in topics {
            for partition in (0..known.partitions).map(PartitionIndex::new) {
                let source = source(known, partition);
                let committed = self.consumers.groups.committed(group, &source);
                let read = committed.map_or_else(nothing, |known| known.read.clone());
                let own = TopicPartition::new(known.name.clone(), partition);
                let at = if is_union { self.counted(&source, &read) } else { Some(own) };
                if let Some(at) = at.filter(|at| self.durable.contains_key(at)) {
                    places.insert(source, self.next_in(&at, &read));
                }
            }
        }
        if !self.consumers.wait.has_said(group, places.keys()) {
            self.is_back()?;
        }
        Ok(places.into_values().collect())
    }

    /// What is to be read next of a partition here, by who has read so far.
    fn next_in(&self, at: &TopicPartition, read: &ReadTo) -> Reading {
        let end = self.durable.get(at).copied().unwrap_or_default();
        let reading = |from, until| Reading { at: at.clone(), from, until };
        let Some(checkpoint) = self.checkpoint(at) else {
            return reading(read.highest(), Offset::new(u64::MAX));
        };
        // What retention let go cannot be read; nobody is to wait for it.
        let start = self.keeping.start(at);
        // Nor is what may come back passed over.
        let known = self.awaited_end(at).map_or(end, |awaited| end.min(awaited));
        let unread = checkpoint.unread(read, known);
        match unread.iter().find(|range| range.until > start) {
            Some(range) if range.until < end => reading(range.from.max(start), range.until),
            Some(range) => reading(range.from.max(start), Offset::new(u64::MAX)),
            None => reading(checkpoint.ahead(read, end), Offset::new(u64::MAX)),
        }
    }

    /// Where a partition is read here: this hub's own, else of its copies the one that has most
    /// lives of it and has come furthest, and of equal ones that over the fewest regions. So each
    /// record counts once, whichever ways it came; a group goes on in another copy at the same
    /// record. What it has not read of a life before the last one, in whatever copy, comes first.
    fn counted(&self, of: &Source, read: &ReadTo) -> Option<TopicPartition> {
        let copies: Vec<_> = self.copies(of).collect();
        let (.., furthest) = copies.iter().max()?;
        let is_behind = |at: &TopicPartition| {
            let Some(last) = self.checkpoint(furthest).map(|known| known.last_life()) else {
                return false;
            };
            let next = self.next_in(at, read).from;
            let end = self.durable.get(at).copied().unwrap_or_default();
            let life = self.checkpoint(at).map(|known| known.place_at(next).0);
            next < end && life.is_some_and(|life| life != last)
        };
        let behind = copies.iter().filter(|(.., at)| is_behind(at)).max();
        Some(behind.map_or(furthest, |(.., at)| at).clone())
    }

    /// Copies of a partition here that hold anything, and how they compare.
    fn copies<'a>(
        &'a self,
        of: &'a Source,
    ) -> impl Iterator<Item = (bool, usize, Offset, Reverse<usize>, TopicPartition)> + 'a {
        let partition = of.partition;
        let copies = self.topics.iter().filter(move |known| source(known, partition) == *of);
        copies.filter_map(move |known| {
            let at = TopicPartition::new(known.name.clone(), partition);
            let end = *self.durable.get(&at)?;
            let checkpoint = self.checkpoint(&at);
            let lives = checkpoint.as_deref().map_or(0, Checkpoint::lives);
            let end = checkpoint.map_or(end, |known| known.place_at(end).1);
            Some((known.is_local(), lives, end, Reverse(known.path.len()), at))
        })
    }

    /// Whether somebody else gives a partition its order: another region's log, as it came.
    pub(in crate::node) fn is_mirror(&self, at: &TopicPartition) -> bool {
        let topic = self.topics.get(&at.topic);
        topic.is_some_and(Topic::is_mirror)
    }

    /// What is known of the lives that wrote a partition: this hub's own, and copies of which
    /// anything has come.
    pub(super) fn checkpoints_of<'a>(
        &'a self,
        of: &'a Source,
    ) -> impl Iterator<Item = Cow<'a, Checkpoint>> + 'a {
        let here = self.topics.iter().filter(|known| source(known, of.partition) == *of);
        here.filter_map(|known| {
            self.checkpoint(&TopicPartition::new(known.name.clone(), of.partition))
        })
    }
}
