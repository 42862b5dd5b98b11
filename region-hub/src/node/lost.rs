//! What the log lost of inventory by damage, whether this hub's state has it or not.
//!
//! A hub may have counted a record and lost it from its log since: its snapshot is from before. It
//! then lacks nothing itself, but has nothing to send either, and whoever gets its log finds a hole
//! there. And what stood at the end of a log leaves no hole: nothing says that it was there. So
//! what is lost is kept as ranges of logs, and this hub says it beside what it has not applied. A
//! hub that holds it hands it on like all that is missing ([`super::handing`]); here it is stored
//! once more, which lets others and readers have it, and counts only if it had not.
//!
//! ```text
//! state `lost`:  key the log, value: 1 version u8 │ region u8 length + name
//!                │ life { counter u32, nonce u64 } │ partition u32
//!                │ ranges lost │ ranges kept apart, each u32 × { from u64, until u64 }
//!                key a copy whose end is lost, value: 2 version u8 │ topic u8 length + name
//!                │ partition u32
//! ```
//! A read that meets damage names offsets of a partition here; the entry behind them tells of which
//! log they are. At the end of a partition there is none. Of this hub's own log it is known where
//! it ends, since its offsets stay taken. Of a copy it is not: then it is all that there may be of
//! each log that goes there, beyond what is here of it. That is too much, which harms nobody, since
//! it is handed what others have of it, and ends when something follows in that very copy. Where
//! lives are mixed, in what was handed on itself, all of it is read to know ([`super::copies`]).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::extent::GAPS_OF_LOG_LIMIT;
use headland_event::{
    Actor, Batch, Extent, Gap, Gaps, Incarnation, Now, Offset, PartitionIndex, RegionId, Stamp,
    TopicName, TopicPartition,
};
use headland_replication::frame::Goodbye;
use headland_storage::{MissingOffsets, StateStore};

use super::Node;
use super::recovery::{RecoveryError, owner};
use crate::peer_link::LinkId;
use crate::topics::Topic;

const VERSION: u8 = 1;

/// The version of what says that the end of a copy is lost.
const VERSION_OF_ENDS: u8 = 2;

/// What is said of places that are lost beyond the limits.
const TOO_MANY: &str = "more places of a log are lost than are kept: nobody is asked for this one";

/// Partitions by the region and number of the logs that lie in them.
type Places = BTreeMap<(RegionId, PartitionIndex), Vec<TopicPartition>>;

/// What is lost.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// Ranges of logs that cannot be read here.
    gaps: Gaps,
    /// Ranges of logs that were handed on to this hub. They can be read, so that damage to another
    /// place where they stand takes nothing.
    apart: Gaps,
    /// Copies of which the end is lost, and to which nothing was written since.
    ends: BTreeSet<TopicPartition>,
}

impl Lost {
    /// Ranges of logs that cannot be read here.
    pub(super) const fn gaps(&self) -> &Gaps {
        &self.gaps
    }
}

impl Node {
    /// What can be read of inventory here: what the journal held, less what it lost.
    pub(super) fn readable(&self) -> Extent {
        let held = self.ingest.extent();
        self.speaking.as_ref().map_or_else(|| held.clone(), |of| held.without(&of.lost.gaps))
    }

    /// Takes note of the ends of logs that a start found damaged; says whether any of it is news.
    /// What is damaged amid them is missing already, unless it was counted before: then whoever
    /// reads it finds it.
    pub(super) fn note_lost_ends(&mut self) -> bool {
        let found: Vec<MissingOffsets> = self.missing.offsets().cloned().collect();
        let mut is_news = false;
        for lost in found {
            is_news |= self.note_lost_end(&lost);
        }
        is_news |= self.note_lost_copies();
        self.find_lost_ends();
        is_news
    }

    /// The same of a range that may lie at the end of its log; says whether the log
    /// held some of it here only. What retention let go of it is not lost.
    pub(super) fn note_lost_end(&mut self, lost: &MissingOffsets) -> bool {
        let MissingOffsets { partition, from, until } = lost;
        let from = (*from).max(self.keeping.start(partition));
        let mut until = *until;
        // What lies behind it may be known to be damaged too.
        for behind in self.missing.offsets().filter(|other| other.partition == *partition) {
            if (behind.from..behind.until).contains(&until) {
                until = behind.until;
            }
        }
        let end = self.durable.get(partition).copied().filter(|end| *end <= until);
        let topic = self.log_of_inventory(partition);
        let Some((topic, end)) = topic.zip(end) else { return false };
        let log = (topic.origin.clone(), partition.partition);
        if topic.is_local() {
            return self.lose_own_end(&log, Gap { from, until: end });
        }
        let begins = self.consumers.origin_of(partition, from);
        if self.composer.end(partition) > end {
            // What is composed behind it is here, although it cannot be read yet.
            let range = begins.zip(self.consumers.origin_of(partition, end));
            let range = range.map(|(from, until)| Gap { from, until });
            return range.is_some_and(|range| self.lose_all_of(&log, range));
        }
        self.lose_end(partition);
        let all = |from| Gap { from, until: Offset::new(u64::MAX) };
        begins.is_some_and(|begins| self.lose_all_of(&log, all(begins)))
    }

    /// Notes the end of this hub's own log as lost. It goes on behind its offsets, so that no more
    /// than these are lost, whether the state knows of them or not.
    fn lose_own_end(&mut self, log: &(RegionId, PartitionIndex), lost: Gap) -> bool {
        let (region, partition) = log.clone();
        let own = Actor { region, incarnation: self.incarnation, partition };
        let unknown = lost.from.max(self.ingest.heads().end(&own));
        let is_known = self.lose_all_of(log, lost);
        let beyond = Gap { from: unknown, until: lost.until };
        is_known | self.lose(&own, &[beyond])
    }

    /// Notes that the end of a copy is lost; says whether that is news.
    fn lose_end(&mut self, copy: &TopicPartition) -> bool {
        let Some(speaking) = &mut self.speaking else { return false };
        let is_news = speaking.lost.ends.insert(copy.clone());
        if is_news {
            let value = Some(encode_end(copy));
            self.composer.set(owner("lost"), copy.to_string().into(), value);
        }
        is_news
    }

    /// A read for a peer met damage that may reach to the end of a log.
    pub(super) fn on_damaged_end(&mut self, now: Now, lost: MissingOffsets) {
        if self.note_lost_end(&lost) {
            self.ask_for_lost(now, &lost.partition);
        }
    }

    /// Notes as lost what the log held of a range of a region's partition; says whether that is
    /// news.
    fn lose_all_of(
        &mut self,
        (region, partition): &(RegionId, PartitionIndex),
        range: Gap,
    ) -> bool {
        let mut is_news = false;
        let heads = self.ingest.heads().clone();
        let is_meant = |actor: &Actor| (&actor.region, &actor.partition) == (region, partition);
        for (actor, end) in heads.iter().filter(|(actor, _)| is_meant(actor)) {
            let had = self.had(actor, Gap { until: range.until.min(end), ..range });
            for (log, gaps) in had.into_iter().filter(|(log, _)| log == actor) {
                is_news |= self.lose(&log, &gaps);
            }
        }
        is_news
    }

    /// Of a copy of which nothing can be read the log does not even know that there was one. State
    /// that was written with it does. Says whether that is news.
    fn note_lost_copies(&mut self) -> bool {
        let is_gone = |at: &&TopicPartition| {
            let end = self.durable.get(at).copied().unwrap_or_default();
            end == Offset::new(0) && self.log_of_inventory(at).is_some()
        };
        let gone: BTreeSet<TopicPartition> =
            self.consumers.mirrors().filter(is_gone).cloned().collect();
        let mut is_news = false;
        for copy in gone {
            let Some(topic) = self.topics.get(&copy.topic) else { continue };
            let log = (topic.origin.clone(), copy.partition);
            let all = Gap { from: Offset::new(0), until: Offset::new(u64::MAX) };
            is_news |= self.lose_all_of(&log, all);
            is_news |= self.lose_end(&copy);
        }
        is_news
    }

    /// Looks which logs those are of which the end is lost: one may be known from others only.
    pub(super) fn find_lost_ends(&mut self) {
        let Some(speaking) = self.speaking.as_ref().filter(|of| !of.lost.ends.is_empty()) else {
            return;
        };
        let log_of = |copy: &TopicPartition| {
            Some((self.topics.get(&copy.topic)?.origin.clone(), copy.partition))
        };
        let ends: BTreeSet<(RegionId, PartitionIndex)> =
            speaking.lost.ends.iter().filter_map(log_of).collect();
        let (heads, known) = (self.ingest.heads(), self.inventory.members().known());
        let logs = heads.iter().chain(known.iter()).map(|(actor, _)| actor);
        let lost = logs.filter(|actor| ends.contains(&(actor.region.clone(), actor.partition)));
        let lost = lost.map(|actor| {
            (actor.clone(), Gap { from: heads.end(actor), until: Offset::new(u64::MAX) })
        });
        let lost: BTreeMap<Actor, Gap> = lost.collect();
        for (actor, gap) in lost {
            self.lose(&actor, &[gap]);
        }
    }

    /// A read for a peer met damage to a part of a log. Whatever this hub had of it is lost; what
    /// it had not is missing already.
    pub(super) fn on_damaged_part(&mut self, now: Now, at: &TopicPartition, part: &(Actor, Gap)) {
        if self.lose_part(at, part) {
            self.ask_for_lost(now, at);
        }
    }

    /// Notes as lost what this hub had of a part of a log; says whether any of it is news.
    pub(super) fn lose_part(&mut self, at: &TopicPartition, part: &(Actor, Gap)) -> bool {
        if self.speaking.is_none() || self.log_of_inventory(at).is_none() {
            return false;
        }
        let mut is_news = false;
        for (actor, lost) in self.had(&part.0, part.1) {
            is_news |= self.lose(&actor, &lost);
        }
        is_news
    }

    /// Asks for what the log lost in this run: what is handed on begins before it.
    pub(super) fn ask_for_lost(&mut self, now: Now, at: &TopicPartition) {
        self.ask_for_lost_of(now, &BTreeSet::from([at.clone()]));
    }

    /// The same of several places, with one connection made anew for all.
    pub(super) fn ask_for_lost_of(&mut self, now: Now, places: &BTreeSet<TopicPartition>) {
        let origin = |at: &TopicPartition| Some(self.topics.get(&at.topic)?.origin.clone());
        let origins: BTreeSet<RegionId> = places.iter().filter_map(origin).collect();
        let mut asked = BTreeSet::new();
        for origin in &origins {
            asked.append(&mut self.ask_from_the_beginning_of(origin));
        }
        self.cut_commit();
        self.begin_links_anew(now, &asked);
    }

    /// What the log held of a range in this place only, as far as that is not lost already: of the
    /// log that the range is said to be of, and of those before and after it, whose offsets are
    /// counted on, what that one never had.
    fn had(&self, actor: &Actor, range: Gap) -> Vec<(Actor, Vec<Gap>)> {
        let readable = self.readable();
        let is_same = |other: &&Actor| {
            (&other.region, other.partition) == (&actor.region, actor.partition) && *other != actor
        };
        let others = readable.ends().iter().map(|(other, _)| other).filter(is_same);
        let (mut left, mut had) = (vec![range], Vec::new());
        for log in std::iter::once(actor).chain(others) {
            let end = readable.ends().end(log);
            let below = left.iter().map(|gap| Gap { from: gap.from, until: gap.until.min(end) });
            let of = |gap: Gap| readable.gaps().rest(log, gap);
            let found: Vec<Gap> = below.flat_map(of).collect();
            let mut taken = Gaps::new();
            for gap in &found {
                let _beyond = taken.add(log, *gap);
            }
            left = left.into_iter().flat_map(|gap| taken.rest(log, gap)).collect();
            let apart = self.speaking.as_ref().map(|speaking| &speaking.lost.apart);
            let only = |gap: Gap| apart.map_or_else(|| vec![gap], |apart| apart.rest(log, gap));
            had.push((log.clone(), found.into_iter().flat_map(only).collect()));
        }
        had
    }

    /// Notes ranges of a log as lost; says whether any was not known to be.
    fn lose(&mut self, actor: &Actor, lost: &[Gap]) -> bool {
        let Some(speaking) = &mut self.speaking else { return false };
        let known = &mut speaking.lost.gaps;
        let mut news = Vec::new();
        for gap in lost {
            if known.spans(actor, gap.from, gap.until) {
                continue;
            }
            if let Some(Gap { from, until }) = known.add(actor, *gap) {
                tracing::error!(%actor, %from, %until, "{TOO_MANY}");
            }
            // What was given up for others at once would be news at each look.
            if known.spans(actor, gap.from, gap.until) {
                news.push(*gap);
            }
        }
        if !news.is_empty() {
            self.keep_lost(actor);
        }
        // Another copy may be here.
        news.iter().for_each(|gap| self.seek_copies(actor, *gap));
        !news.is_empty()
    }

    /// What is lost.
    pub(super) fn lost_ranges(&self) -> Vec<(Actor, Gap)> {
        let lost = self.speaking.iter().flat_map(|speaking| speaking.lost.gaps.iter());
        lost.map(|(actor, gap)| (actor.clone(), gap)).collect()
    }

    /// What was handed on of logs and lies in a partition here.
    pub(super) fn handed_on_in(&self, at: &TopicPartition) -> Gaps {
        let mut found = Gaps::new();
        let Some(origin) = self.topics.get(&at.topic).map(|topic| &topic.origin) else {
            return found;
        };
        let apart = self.speaking.iter().flat_map(|speaking| speaking.lost.apart.iter());
        for (actor, gap) in apart {
            if (&actor.region, actor.partition) == (origin, at.partition) {
                let _beyond = found.add(actor, gap);
            }
        }
        found
    }

    /// A range that was handed on is not where it was kept apart any more; says whether it is lost.
    pub(super) fn lose_apart(&mut self, actor: &Actor, gap: Gap) -> bool {
        let Some(speaking) = &mut self.speaking else { return false };
        if !speaking.lost.apart.fill(actor, gap.from, gap.until) {
            return false;
        }
        self.keep_lost(actor);
        let had = self.had(actor, gap).into_iter().filter(|(log, _)| log == actor);
        let had: Vec<Gap> = had.flat_map(|(_, gaps)| gaps).collect();
        self.lose(actor, &had)
    }

    /// Partitions in which some of a log may lie that is no other one's.
    pub(super) fn places_of(&self, actor: &Actor) -> Vec<TopicPartition> {
        let log = (actor.region.clone(), actor.partition);
        self.places().remove(&log).unwrap_or_default()
    }

    /// Takes note of a batch of inventory that the log holds, before it is observed.
    pub(super) fn regain(
        &mut self,
        at: &TopicName,
        origin_topic: &TopicName,
        entry: (&Stamp, &Batch),
    ) {
        let (Stamp { actor, offset, .. }, batch) = entry;
        let Some(speaking) = &mut self.speaking else { return };
        if *origin_topic != *self.inventory.configuration().0 {
            return;
        }
        let (lost, end) = (&mut speaking.lost, offset.after(batch.span()));
        let mut is_changed = lost.gaps.fill(actor, *offset, end);
        let is_apart = self.topics.get(at).is_some_and(Topic::is_apart);
        if is_apart && !lost.apart.spans(actor, *offset, end) {
            let _forgotten = lost.apart.add(actor, Gap { from: *offset, until: end });
            is_changed = true;
        }
        if is_changed {
            self.trim_lost(actor);
            self.keep_lost(actor);
        }
    }

    /// Partitions may begin later by now: what retention let go of a log in all places where some
    /// of it lies is lost no more. It stays said while another hub lacks it: who says nothing of it
    /// seems to have it, and would be waited for.
    pub(super) fn let_go(&mut self) {
        let Some(speaking) = &self.speaking else { return };
        if speaking.lost.gaps.is_empty() {
            return;
        }
        let (places, own) = (self.places(), self.life());
        let members = self.inventory.members();
        let lost = speaking.lost.gaps.iter();
        let past = lost.filter_map(|(actor, gap)| {
            let until = gap.until.min(self.kept_from(&places, actor)?);
            let is_past = gap.from < until && !members.is_lacked(&own, actor, Gap { until, ..gap });
            is_past.then(|| (actor.clone(), Gap { until, ..gap }))
        });
        let past: Vec<(Actor, Gap)> = past.collect();
        for (actor, Gap { from, until }) in past {
            let Some(speaking) = &mut self.speaking else { return };
            if speaking.lost.gaps.fill(&actor, from, until) {
                self.keep_lost(&actor);
            }
        }
    }

    /// Regions' own logs of inventory and the copies of them, by the logs that may lie there.
    fn places(&self) -> Places {
        let mut places = Places::new();
        for at in self.durable.keys() {
            if let Some(topic) = self.log_of_inventory(at) {
                let log = (topic.origin.clone(), at.partition);
                places.entry(log).or_default().push(at.clone());
            }
        }
        places
    }

    /// From where on retention keeps a log in some place at least; `None` when none holds any of
    /// it, as far as is known.
    fn kept_from(&self, places: &Places, actor: &Actor) -> Option<Offset> {
        let places = places.get(&(actor.region.clone(), actor.partition))?;
        let is_own = actor.region == *self.identity.region();
        let kept = places.iter().filter_map(|at| {
            let start = self.keeping.start(at);
            if is_own {
                Some(start)
            } else {
                self.consumers.origin_at(at, start, actor.incarnation)
            }
        });
        kept.min()
    }

    /// What can still be read of inventory in regions' own logs and copies of them: what retention
    /// let go there does not come, however often they are sent. O(logs × log places).
    pub(super) fn retained(&self) -> Extent {
        let (readable, places) = (self.readable(), self.places());
        let mut let_go = Gaps::new();
        for (actor, _) in readable.ends().iter() {
            // What a former life of this hub wrote may lie elsewhere.
            let is_own = actor.region == *self.identity.region();
            if is_own && actor.incarnation != self.incarnation {
                continue;
            }
            let until = self.kept_from(&places, actor).unwrap_or_default();
            let _beyond = let_go.add(actor, Gap { from: Offset::new(0), until });
        }
        readable.without(&let_go)
    }

    /// A copy goes on in this run: what it lost at its end lies before this, and is missing if it
    /// is not known to be lost. Before the batch is observed.
    pub(super) fn go_on_behind_loss(&mut self, copy: &TopicPartition, actor: &Actor) {
        let Some(speaking) = &mut self.speaking else { return };
        if !speaking.lost.ends.remove(copy) {
            return;
        }
        let last = self.ingest.heads().end(actor);
        let is_changed = speaking.lost.gaps.fill(actor, last, Offset::new(u64::MAX));
        self.composer.set(owner("lost"), copy.to_string().into(), None);
        if is_changed {
            self.keep_lost(actor);
        }
    }

    /// Gives up the lowest ranges of a log where what came back left more of them than are kept:
    /// what lies there counts as readable.
    fn trim_lost(&mut self, actor: &Actor) {
        let Some(speaking) = &mut self.speaking else { return };
        if let Some(Gap { from, until }) = speaking.lost.gaps.trim(actor) {
            tracing::error!(%actor, %from, %until, "{TOO_MANY}");
        }
    }

    /// Makes connections anew over which something is handed on that is asked for again: it begins
    /// before what was asked for.
    fn begin_links_anew(&mut self, now: Now, asked: &BTreeSet<Bytes>) {
        let brings = |link_id: &LinkId| {
            let known = self.peer_links.get(link_id);
            let mut taken = known.into_iter().flat_map(|known| known.all_receiving());
            taken.any(|of| asked.contains(&of.position_key))
        };
        let anew: Vec<LinkId> = self.peer_links.hubs().into_iter().filter(brings).collect();
        for link_id in anew {
            if let Some(known) = self.peer_links.get_mut(&link_id) {
                tracing::info!(peer = %known.identity, "asked again for what the log lost");
                known.link.close(Goodbye::Reconfigured);
            }
            self.drain(now, link_id);
        }
    }

    /// The topic of a partition that is a region's own log of inventory, or a copy of one.
    fn log_of_inventory(&self, at: &TopicPartition) -> Option<&Topic> {
        let topic = self.topics.get(&at.topic)?;
        (self.is_of_inventory(&topic.origin_name) && !topic.is_apart()).then_some(topic)
    }

    fn keep_lost(&mut self, actor: &Actor) {
        let Some(speaking) = &self.speaking else { return };
        let Lost { gaps, apart, ends: _ } = &speaking.lost;
        let (lost, apart) = (gaps.of(actor), apart.of(actor));
        let is_none = lost.is_empty() && apart.is_empty();
        let value = (!is_none).then(|| encode(actor, lost, apart));
        self.composer.set(owner("lost"), actor.to_string().into(), value);
    }

    /// Takes up what the state says.
    pub(super) fn restore_lost(&mut self, state: &impl StateStore) -> Result<(), RecoveryError> {
        let Some(speaking) = &mut self.speaking else { return Ok(()) };
        for (_, value) in state.scan(&owner("lost"), b"")? {
            let layout = |source| RecoveryError::Layout { owner: owner("lost"), source };
            if value.first() == Some(&VERSION_OF_ENDS) {
                speaking.lost.ends.insert(decode_end(value).map_err(layout)?);
                continue;
            }
            let (actor, lost, apart) = decode(value).map_err(layout)?;
            for gap in lost {
                let _beyond = speaking.lost.gaps.add(&actor, gap);
            }
            for gap in apart {
                let _beyond = speaking.lost.apart.add(&actor, gap);
            }
        }
        Ok(())
    }
}

fn encode(actor: &Actor, lost: &[Gap], apart: &[Gap]) -> Bytes {
    let Actor { region, incarnation, partition } = actor;
    let mut writer = Writer::new();
    writer.u8(VERSION);
    writer.name(region.as_str());
    writer.u32(incarnation.counter());
    writer.u64(incarnation.nonce());
    writer.u32(partition.get());
    for ranges in [lost, apart] {
        writer.length(ranges.len());
        for Gap { from, until } in ranges {
            writer.u64(from.get());
            writer.u64(until.get());
        }
    }
    writer.finish()
}

fn decode(value: Bytes) -> Result<(Actor, Vec<Gap>, Vec<Gap>), CodecError> {
    let mut reader = Reader::new(value);
    let version = reader.u8("lost version")?;
    if version != VERSION {
        let (field, found, expected) = ("lost version", i64::from(version), "1");
        return Err(CodecError::Value { field, at: 0, found, expected });
    }
    let region = reader.name("region")?;
    let incarnation = Incarnation::new(reader.u32("counter")?, reader.u64("nonce")?);
    let partition = PartitionIndex::new(reader.u32("partition")?);
    let (lost, apart) = (ranges(&mut reader)?, ranges(&mut reader)?);
    reader.end()?;
    Ok((Actor { region, incarnation, partition }, lost, apart))
}

fn encode_end(copy: &TopicPartition) -> Bytes {
    let TopicPartition { topic, partition } = copy;
    let mut writer = Writer::new();
    writer.u8(VERSION_OF_ENDS);
    writer.name(topic.as_str());
    writer.u32(partition.get());
    writer.finish()
}

fn decode_end(value: Bytes) -> Result<TopicPartition, CodecError> {
    let mut reader = Reader::new(value);
    let _version = reader.u8("lost version")?;
    let topic = reader.name("topic")?;
    let partition = PartitionIndex::new(reader.u32("partition")?);
    reader.end()?;
    Ok(TopicPartition::new(topic, partition))
}

fn ranges(reader: &mut Reader) -> Result<Vec<Gap>, CodecError> {
    let mut ranges = Vec::new();
    for _ in 0..reader.length("ranges", GAPS_OF_LOG_LIMIT)? {
        let (from, until) = (reader.u64("from")?, reader.u64("until")?);
        ranges.push(Gap { from: Offset::new(from), until: Offset::new(until) });
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_reads_back_and_another_version_is_refused() {
        let (region, partition) = ("us".parse().unwrap(), PartitionIndex::new(3));
        let actor = Actor { region, incarnation: Incarnation::new(2, 0xa7), partition };
        let gap = |from, until| Gap { from: Offset::new(from), until: Offset::new(until) };
        let lost = vec![gap(1, 3), gap(7, u64::MAX)];

        let apart = vec![gap(4, 5)];
        let value = encode(&actor, &lost, &apart);

        assert_eq!(decode(value.clone()).unwrap(), (actor, lost, apart));
        let mut later = value.to_vec();
        later[0] = 2;
        assert!(decode(later.into()).is_err());
    }
}
