//! Where consumer groups read on here, and how they do.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use headland_event::{GroupName, Incarnation, Offset, PartitionIndex, TopicName, TopicPartition};
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

/// A partition of a region as it is here: over one of the ways that it came, or its own log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CopyHere {
    at: TopicPartition,
    is_local: bool,
    /// How many lives of the region it has some of, and the last of these.
    lives: usize,
    last_life: Option<Incarnation>,
    /// Where it ends in the numbers of that.
    end: Offset,
    /// Regions on the way.
    hops: usize,
}

impl CopyHere {
    /// Which of several copies has most lives of the region, and so the last one.
    fn most_lives(&self) -> impl Ord + use<'_> {
        (self.is_local, self.lives, self.end, Reverse(self.hops), &self.at)
    }
}

/// Of copies of a partition the one that has come furthest in the last life, and of equal ones
/// that over the fewest regions: one that only was to bring a former life may have some of the last
/// one too, and get no more of it.
fn furthest(copies: &[CopyHere]) -> Option<&CopyHere> {
    let last_life = copies.iter().max_by_key(|copy| copy.most_lives())?.last_life;
    let of_last = copies.iter().filter(|copy| copy.last_life == last_life);
    of_last.max_by_key(|copy| (copy.is_local, copy.end, copy.lives, Reverse(copy.hops), &copy.at))
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
        let copies = self.copies(of).map(|copy| copy.at).filter(|at| is_own || at == place);
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

    /// Where a partition is read here: this hub's own, else of its copies the one that has come
    /// furthest ([`furthest`]). So each record counts once, whichever ways it came; a group goes on
    /// in another copy at the same record. What it has not read of a life before the last one, or
    /// before what that copy has of the last one, comes first, in whatever copy it is.
    fn counted(&self, of: &Source, read: &ReadTo) -> Option<TopicPartition> {
        let copies: Vec<_> = self.copies(of).collect();
        let furthest = furthest(&copies)?;
        let next = |copy: &CopyHere| {
            let next = self.next_in(&copy.at, read).from;
            Some((next, self.checkpoint(&copy.at)?.place_at(next)))
        };
        let first = next(furthest).map(|(_, place)| place);
        let is_behind = |copy: &&CopyHere| {
            let Some((last, (next, (life, offset)))) = furthest.last_life.zip(next(copy)) else {
                return false;
            };
            let end = self.durable.get(&copy.at).copied().unwrap_or_default();
            next < end && (life != last || first.is_some_and(|first| (life, offset) < first))
        };
        let behind = copies.iter().filter(is_behind).max_by_key(|copy| copy.most_lives());
        Some(behind.unwrap_or(furthest).at.clone())
    }

    /// Copies of a partition here that hold anything.
    fn copies<'a>(&'a self, of: &'a Source) -> impl Iterator<Item = CopyHere> + 'a {
        let partition = of.partition;
        let copies = self.topics.iter().filter(move |known| source(known, partition) == *of);
        copies.filter_map(move |known| {
            let at = TopicPartition::new(known.name.clone(), partition);
            let end = *self.durable.get(&at)?;
            let checkpoint = self.checkpoint(&at);
            let lives = checkpoint.as_deref().map_or(0, Checkpoint::lives);
            let last_life = checkpoint.as_deref().map(Checkpoint::last_life);
            let end = checkpoint.map_or(end, |known| known.place_at(end).1);
            let (is_local, hops) = (known.is_local(), known.path.len());
            Some(CopyHere { at, is_local, lives, last_life, end, hops })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(topic: &str, lives: &[u64], end: u64, hops: usize) -> CopyHere {
        let topic = TopicName::new(topic).unwrap();
        CopyHere {
            at: TopicPartition::new(topic, PartitionIndex::new(0)),
            is_local: false,
            lives: lives.len(),
            last_life: lives.last().map(|nonce| Incarnation::new(1, *nonce)),
            end: Offset::new(end),
            hops,
        }
    }

    fn chosen(copies: &[CopyHere]) -> &str {
        furthest(copies).unwrap().at.topic.as_str()
    }

    #[test]
    fn the_copy_that_has_come_furthest_in_the_last_life_is_read_however_many_others_have() {
        let direct = copy("us.air", &[2], 1_670, 1);
        let once = copy("ap.us.air", &[1, 2], 588, 2);
        let former = copy("af.us.air", &[1], 9_000, 2);

        assert_eq!(chosen(&[direct.clone(), once.clone(), former.clone()]), "us.air");
        assert_eq!(chosen(&[once.clone(), former]), "ap.us.air");
        assert_eq!(chosen(&[copy("us.air", &[2], 588, 1), once]), "ap.us.air");
        assert_eq!(chosen(&[copy("ap.us.air", &[2], 1_670, 2), direct]), "us.air");
    }
}
