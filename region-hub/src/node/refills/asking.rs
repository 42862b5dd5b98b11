//! What a lost range was where it was born, and who may have it.

use std::collections::VecDeque;

use headland_event::{Actor, ByteCount, Entry, Incarnation, Now, Offset, RegionId, TopicPartition};
use headland_storage::{MissingOffsets, ReadError};

use super::{Asking, Node, Output, Recall, Search};
use crate::peer_link::LinkId;
use crate::topics::Topic;

impl Node {
    /// What stands behind the range that is sought tells what it was where it was born.
    pub(super) fn on_behind(&mut self, now: Now, found: Result<Vec<Entry>, ReadError>) {
        let Some(search) = &self.refills.search else { return };
        let behind = found.unwrap_or_default().into_iter().next();
        let lost = search.lost.clone();
        if self.is_own(&lost.partition) {
            let behind = behind.and_then(|behind| Some(behind.stamp?.actor.incarnation));
            let Some(before) = lost.from.get().checked_sub(1) else {
                return self.on_before_own(now, Ok(Vec::new()), behind);
            };
            self.refills.recalling = Some(Recall::BeforeOwn { behind });
            let (partition, from) = (lost.partition, Offset::new(before));
            let limit = ByteCount::new(1);
            return self.outputs.push_back(Output::Recall { partition, from, limit });
        }
        let asking = behind.and_then(|behind| self.asking_of(&lost, &behind));
        let is_there = asking.as_ref().is_none_or(|asking| self.is_at(&lost, asking.from));
        let before = lost.from.get().checked_sub(1).filter(|_| !is_there);
        let Some((asking, before)) = asking.clone().zip(before) else {
            return self.begin_asking(now, asking.filter(|_| is_there));
        };
        self.refills.recalling = Some(Recall::Before(Box::new(asking)));
        let (partition, from) = (lost.partition, Offset::new(before));
        self.outputs.push_back(Output::Recall { partition, from, limit: ByteCount::new(1) });
    }

    /// Whether a log is this hub's own.
    pub(super) fn is_own(&self, log: &TopicPartition) -> bool {
        self.topics.get(&log.topic).is_some_and(Topic::is_local)
    }

    /// Whether an offset of its origin is where a range begins here, as far as is remembered.
    fn is_at(&self, lost: &MissingOffsets, from: Offset) -> bool {
        self.consumers.origin_of(&lost.partition, lost.from) == Some(from)
    }

    /// A range between two entries that have the same distance from their offsets at the origin has
    /// it as well.
    pub(super) fn on_before(
        &mut self,
        now: Now,
        asking: Asking,
        found: Result<Vec<Entry>, ReadError>,
    ) {
        let Some(search) = &self.refills.search else { return };
        let before = found.unwrap_or_default().into_iter().next();
        let end = before.and_then(|before| {
            let stamp = before.stamp.as_ref()?;
            let behind = search.lost.from.get().checked_sub(before.end().get())?;
            let is_same = stamp.actor.region == asking.actor.region;
            is_same.then(|| stamp.offset.after(before.batch.span() + behind))
        });
        self.begin_asking(now, (end == Some(asking.from)).then_some(asking));
    }

    /// What this hub wrote has the same offsets everywhere, so what it lost is known by the life
    /// alone. Where one life follows another that began when the end of its log was lost, mostly:
    /// so it is the one of the entry before, and else of the one behind, or the present one.
    pub(super) fn on_before_own(
        &mut self,
        now: Now,
        found: Result<Vec<Entry>, ReadError>,
        behind: Option<Incarnation>,
    ) {
        let Some(Search { lost, .. }) = &self.refills.search else { return };
        let Some(topic) = self.topics.get(&lost.partition.topic) else { return };
        let before = found.unwrap_or_default().into_iter().next();
        let before = before.and_then(|before| Some(before.stamp?.actor.incarnation));
        let life = before.or(behind).unwrap_or(self.incarnation);
        let next_life = behind.filter(|behind| *behind != life);
        let (region, partition) = (topic.origin.clone(), lost.partition.partition);
        let actor = Actor { region, incarnation: life, partition };
        let (topic, from, until) = (topic.origin_name.clone(), lost.from, lost.until);
        let hubs = self.hubs_to_ask(lost, &actor.region);
        let (comes_from, hub, asked, next) = (None, None, from, from);
        let asking =
            Asking { actor, topic, from, until, next_life, comes_from, hubs, hub, asked, next };
        self.begin_asking(now, Some(asking));
    }

    fn begin_asking(&mut self, now: Now, asking: Option<Asking>) {
        let Some(search) = &mut self.refills.search else { return };
        if asking.is_none() {
            let MissingOffsets { partition, from, until } = &search.lost;
            tracing::warn!(%partition, %from, %until, "nobody can be told what was lost here");
        }
        search.asking = asking;
        self.ask_next_hub(now);
    }

    /// What to ask for, and whom, if the range lies before the entry behind it at its origin too.
    fn asking_of(&self, lost: &MissingOffsets, behind: &Entry) -> Option<Asking> {
        let topic = self.topics.get(&lost.partition.topic)?;
        let stamp = behind.stamp.as_ref()?;
        let left_out = behind.base.since(lost.until);
        let until = Offset::new(stamp.offset.get().checked_sub(left_out)?);
        let from = Offset::new(until.get().checked_sub(lost.until.since(lost.from))?);
        if stamp.actor.region != topic.origin {
            return None;
        }
        let hubs = self.hubs_to_ask(lost, &topic.origin);
        let (actor, topic, next_life) = (stamp.actor.clone(), topic.origin_name.clone(), None);
        let (comes_from, hub, asked, next) = (None, None, from, from);
        Some(Asking { actor, topic, from, until, next_life, comes_from, hubs, hub, asked, next })
    }

    /// Who reads what is asked, and has not sent something else: the origin first.
    pub(super) fn hubs_to_ask(
        &self,
        lost: &MissingOffsets,
        origin: &RegionId,
    ) -> VecDeque<(RegionId, LinkId)> {
        let wrong_at = self.refills.tried.get(lost).map(|tried| &tried.wrong_at);
        let region = |link_id: &LinkId| {
            let known = self.peer_links.get(link_id)?;
            Some((known.identity.region().clone(), *link_id))
        };
        let hubs = self.refills.readers.iter().filter_map(region);
        let is_asked =
            |(of, _): &(RegionId, LinkId)| wrong_at.is_none_or(|wrong| !wrong.contains(of));
        let mut hubs: Vec<(RegionId, LinkId)> = hubs.filter(is_asked).collect();
        hubs.sort_by_key(|(region, _)| (region != origin, region.clone()));
        hubs.into()
    }
}
