//! What compaction left out of logs before what holds instead was here.
//!
//! Of rights to sell and of committed offsets a later record of a key stands for those before it,
//! so their logs are compacted, and a hub that gets one is told of a hole where nothing is left.
//! What holds instead comes later in that log. When the sender is lost before, others may be the
//! only ones who have what was there. So such a hole is a *cut*: a part of a log that may be taken
//! although its end is behind it, until all is here that the sender had when the hole came. A hub
//! says in its reports up to where it has a log whole, so that others hand on what lies behind.
//! What was passed over since nobody brought it ([`super::early`]) is a cut as well, also of who
//! takes part: there a later part waits for nothing, and a key that was spoken of once, as a life
//! that was excluded or a stocktake that is void, is spoken of nowhere behind it.
//! What comes so comes behind what followed it in its log: groups hold the highest offset whatever
//! comes first, members the highest standing and the report that stands last in its log, and rights
//! go by the offsets of their records ([`headland_reconcile::Escrow::on_cut`]).
//!
//! ```text
//! state `cuts`:  key `<topic>/<actor>`, value: 1 version u8 │ topic u8 length + name
//!                │ region u8 length + name │ life { counter u32, nonce u64 }
//!                │ partition u32 │ first that came late u64, 2^64 - 1 when none did
//!                │ u32 × { from u64, until u64 }
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::extent::GAPS_OF_LOG_LIMIT;
use headland_event::{
    Actor, Batch, Entry, Gap, Gaps, Hole, Incarnation, Offset, PartitionIndex, Stamp, TopicName,
    TopicPartition,
};
use headland_reconcile::Holder;
use headland_storage::StateStore;

use super::Node;
use super::ends::Cut;
use super::escrow::Held;
use super::fullness::Place;
use super::handing::{REPORTS_WAITED, life_of};
use super::recovery::{RecoveryError, owner};
use crate::escrow::escrow_topic;
use crate::members::{is_taken_late, reported_topics};
use crate::peer_link::{LinkId, PeerLink, Receiving};

const VERSION: u8 = 1;

/// Cuts of one log. Of more the last one reaches over what lies between, which is here and is
/// taken once more when it comes again.
const CUTS_OF_LOG_LIMIT: usize = GAPS_OF_LOG_LIMIT / 2;

/// For how many of its own reports a hub takes a peer that did not write a log to have sent all
/// that it offers of it, before it goes by that peer's word: a copy that it hands on it offers once
/// it has heard what is lacking here, or has waited for that in vain, and that has to arrive.
const REPORTS_SETTLED: u32 = REPORTS_WAITED + 2;

/// A log of a life, by the name of its topic where it was born.
type Log = (TopicName, Actor);

/// What compaction left out.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    by_topic: BTreeMap<TopicName, Gaps>,
    /// By log, the first offset that came late: a start that reads the log takes it so again.
    late: BTreeMap<Log, Offset>,
    /// By channel, how far its sender had its log when a cut came, or when it was seen first.
    heads: BTreeMap<Place, Offset>,
    /// For how many looks, a second each, a connection has brought all that it has of a log.
    settled: BTreeMap<(LinkId, Log), u64>,
    /// Lives of whose rights nothing comes late any more, once all is durable up to these ends,
    /// which the next look takes.
    closing: BTreeMap<Holder, Option<BTreeMap<TopicPartition, Offset>>>,
}

impl Cuts {
    /// Whether any of a part of a log may be taken although the log goes on behind it.
    pub(super) fn touch(&self, topic: &TopicName, actor: &Actor, part: Gap) -> bool {
        self.by_topic.get(topic).is_some_and(|gaps| gaps.touches(actor, part.from, part.until))
    }

    /// Where the first cut of a log begins.
    pub(super) fn first(&self, topic: &TopicName, actor: &Actor) -> Option<Offset> {
        Some(self.by_topic.get(topic)?.of(actor).first()?.from)
    }

    fn logs(&self) -> Vec<Log> {
        let of = |(topic, gaps): (&TopicName, &Gaps)| -> BTreeSet<Log> {
            gaps.iter().map(|(actor, _)| (topic.clone(), actor.clone())).collect()
        };
        self.by_topic.iter().flat_map(of).collect()
    }

    fn of(&self, (topic, actor): &Log) -> &[Gap] {
        self.by_topic.get(topic).map_or(&[], |gaps| gaps.of(actor))
    }

    fn add(&mut self, (topic, actor): &Log, cut: Gap) -> Option<Gap> {
        let gaps = self.by_topic.entry(topic.clone()).or_default();
        let of_log = gaps.of(actor);
        let last = of_log.last().filter(|_| of_log.len() >= CUTS_OF_LOG_LIMIT);
        let from = last.map_or(cut.from, |last| last.from.min(cut.from));
        gaps.add(actor, Gap { from, ..cut })
    }

    fn fill(&mut self, (topic, actor): &Log, part: Gap) -> bool {
        let Some(gaps) = self.by_topic.get_mut(topic) else { return false };
        gaps.fill(actor, part.from, part.until)
    }
}

impl Node {
    /// Takes note of a hole that compaction left: what was there may come from others. A sender
    /// that has nothing behind it may have come to it as this hub does.
    pub(super) fn note_compacted(
        &mut self,
        place: Place,
        receiving: &Receiving,
        entry: &Entry,
        cut: Option<Cut>,
    ) {
        let Some((cut, stamp)) = cut.zip(entry.stamp.as_ref()) else { return };
        let topic = &receiving.origin_topic;
        if self.speaking.is_none() || !reported_topics().contains(topic) {
            return;
        }
        let log = (topic.clone(), stamp.actor.clone());
        let until = stamp.offset.after(entry.batch.span());
        let from = stamp.offset.max(self.end_here(topic, stamp));
        // Who wrote the log has nothing elsewhere. Of others, how far they are whole says nothing
        // of this channel: what was there may be in what they hand on.
        let is_all = match cut {
            Cut::GoesOn => false,
            Cut::Through | Cut::Ahead => self.is_writer(place.0, &log),
        };
        if is_all || from >= until {
            return;
        }
        let head = self.peer_links.get(&place.0).and_then(|known| known.head(place.1));
        let Some(speaking) = &mut self.speaking else { return };
        if let Some(head) = head {
            let known = speaking.cuts.heads.entry(place).or_default();
            *known = head.max(*known);
        }
        self.cut(&log, Gap { from, until });
    }

    /// Takes note of a part that is taken although the part before it is not here: nobody brings
    /// that at present, but somebody may yet.
    pub(super) fn note_passed(&mut self, topic: &TopicName, stamp: &Stamp) {
        if self.speaking.is_some() && is_taken_late(topic) {
            let passed = Gap { from: self.end_here(topic, stamp), until: stamp.offset };
            if passed.from < passed.until {
                self.cut(&(topic.clone(), stamp.actor.clone()), passed);
            }
        }
    }

    fn cut(&mut self, log: &Log, cut: Gap) {
        let Some(speaking) = &mut self.speaking else { return };
        if let Some(Gap { from, until }) = speaking.cuts.add(log, cut) {
            let (topic, actor) = log;
            tracing::error!(%topic, %actor, %from, %until, "more is cut out of logs than is kept");
        }
        if log.0 == escrow_topic()
            && let Held::Rights(rights) = &mut self.rights
        {
            rights.on_cut(&Holder::of(&log.1), cut.from);
        }
        self.keep_cuts(log);
    }

    /// Takes note of records that are composed: what lies in a cut is here now.
    pub(super) fn fill_cut(&mut self, origin_topic: &TopicName, stamp: &Stamp, batch: &Batch) {
        let part = Gap { from: stamp.offset, until: stamp.offset.after(batch.span()) };
        let Some(speaking) = &mut self.speaking else { return };
        let is_cut = speaking.cuts.touch(origin_topic, &stamp.actor, part);
        if !is_cut || Hole::of(batch).is_some() {
            return;
        }
        let log = (origin_topic.clone(), stamp.actor.clone());
        if part.from < speaking.ends.end(origin_topic, &stamp.actor) {
            let first = speaking.cuts.late.entry(log.clone()).or_insert(part.from);
            *first = part.from.min(*first);
        }
        let _was_cut = speaking.cuts.fill(&log, part);
        self.keep_cuts(&log);
    }

    /// Up to where a log is whole here.
    pub(super) fn whole_here(&self, topic: &TopicName, actor: &Actor) -> Offset {
        let end = self.end_of_other(topic, actor);
        let first = self.speaking.as_ref().and_then(|of| of.cuts.first(topic, actor));
        first.map_or(end, |first| first.min(end))
    }

    /// Whether the hub at the other end of a connection is the life that wrote a log.
    fn is_writer(&self, link_id: LinkId, log: &Log) -> bool {
        self.peer_links.get(&link_id).and_then(life_of) == Some(Holder::of(&log.1))
    }

    /// Up to where the hub at the other end of a connection has a log whole: of its own life all,
    /// of others what it has said. `None` while it has said nothing, which is no word that it has
    /// all.
    fn sure_of(&self, link_id: LinkId, log: &Log) -> Option<Offset> {
        if self.is_writer(link_id, log) {
            return Some(Offset::new(u64::MAX));
        }
        let life = self.peer_links.get(&link_id).and_then(life_of)?;
        self.inventory.members().whole_of_other(&life, (&log.0, &log.1))
    }

    /// Looks which cuts are none any more: all that a sender had is here, who has nothing that he
    /// lacks himself.
    pub(super) fn close_cuts(&mut self) {
        self.end_late_rights();
        let Some(speaking) = &mut self.speaking else { return };
        let wanted = speaking.every.saturating_mul(REPORTS_SETTLED).as_secs();
        let logs = speaking.cuts.logs();
        let mut heads = std::mem::take(&mut speaking.cuts.heads);
        let before = std::mem::take(&mut speaking.cuts.settled);
        if logs.is_empty() {
            return;
        }
        heads.retain(|(link_id, _), _| self.peer_links.get(link_id).is_some());
        let (mut closed, mut settled) = (Vec::new(), BTreeMap::new());
        for link_id in self.peer_links.hubs() {
            let Some(known) = self.peer_links.get(&link_id) else { continue };
            for log in &logs {
                let Some(until) = self.sure_of(link_id, log) else { continue };
                if !self.has_come(known, link_id, log, &mut heads) {
                    continue;
                }
                let key = (link_id, log.clone());
                let looks = before.get(&key).copied().unwrap_or_default().saturating_add(1);
                if self.is_writer(link_id, log) || looks > wanted {
                    closed.push((log.clone(), Gap { from: Offset::new(0), until }));
                }
                settled.insert(key, looks);
            }
        }
        let Some(speaking) = &mut self.speaking else { return };
        (speaking.cuts.heads, speaking.cuts.settled) = (heads, settled);
        for (log, part) in closed {
            let Some(speaking) = &mut self.speaking else { return };
            if speaking.cuts.fill(&log, part) {
                self.keep_cuts(&log);
            }
        }
    }

    /// What came late last of a life's rights has to be durable before it is forgotten what could.
    fn end_late_rights(&mut self) {
        let Some(speaking) = &mut self.speaking else { return };
        let mut closing = std::mem::take(&mut speaking.cuts.closing);
        closing.retain(|life, ends| {
            let Some(ends) = ends else {
                *ends = Some(self.ends_of_rights(life));
                return true;
            };
            let is_durable = |(at, end): (&TopicPartition, &Offset)| {
                self.durable.get(at).copied().unwrap_or_default() >= *end
            };
            let waits = !ends.iter().all(is_durable);
            if let (false, Held::Rights(rights)) = (waits, &mut self.rights) {
                rights.on_whole(life);
            }
            waits
        });
        if let Some(speaking) = &mut self.speaking {
            speaking.cuts.closing = closing;
        }
    }

    /// Where all ends now, durable or not, in which some of a life's rights may lie.
    fn ends_of_rights(&self, life: &Holder) -> BTreeMap<TopicPartition, Offset> {
        let topics = self.topics.iter().filter(|topic| topic.origin_name == escrow_topic());
        let topics = topics.filter(|topic| topic.origin == life.region);
        let all = topics.flat_map(|topic| {
            let partitions = (0..topic.partitions).map(PartitionIndex::new);
            partitions.map(|partition| TopicPartition::new(topic.name.clone(), partition))
        });
        all.map(|at| (at.clone(), self.composer.end(&at))).collect()
    }

    /// Whether a connection has brought all of a log that its sender had when the last cut came.
    fn has_come(
        &self,
        known: &PeerLink,
        link_id: LinkId,
        (topic, actor): &Log,
        heads: &mut BTreeMap<Place, Offset>,
    ) -> bool {
        let source = (actor.region.clone(), topic.clone(), actor.partition);
        let mut has_some = false;
        for status in known.link.subscriptions() {
            let place = (link_id, status.channel);
            let receiving = known.receiving(status.channel);
            if receiving.and_then(|of| self.source(of)).as_ref() != Some(&source) {
                continue;
            }
            let head = *heads.entry(place).or_insert(status.head);
            if status.passed < head || self.has_put_off(place) {
                return false;
            }
            has_some = true;
        }
        has_some
    }

    fn keep_cuts(&mut self, log: &Log) {
        let Some(speaking) = &self.speaking else { return };
        let (topic, actor) = log;
        let (cuts, late) = (speaking.cuts.of(log), speaking.cuts.late.get(log).copied());
        let (is_whole, is_none) = (cuts.is_empty(), cuts.is_empty() && late.is_none());
        let value = (!is_none).then(|| encode(log, late, cuts));
        let life = Holder::of(actor);
        if let Some(speaking) = self.speaking.as_mut().filter(|_| *topic == escrow_topic()) {
            if is_whole {
                speaking.cuts.closing.entry(life).or_insert(None);
            } else {
                speaking.cuts.closing.remove(&life);
            }
        }
        let key = Bytes::from(format!("{topic}/{actor}"));
        self.composer.set(owner("cuts"), key, value);
    }

    /// Lives of whose rights a part came late, or may, and from where on.
    pub(super) fn late_rights(&self) -> BTreeMap<Holder, Offset> {
        let Some(speaking) = &self.speaking else { return BTreeMap::new() };
        let topic = escrow_topic();
        let cut = speaking.cuts.logs();
        let logs: BTreeSet<&Log> = cut.iter().chain(speaking.cuts.late.keys()).collect();
        let mut late = BTreeMap::new();
        for log in logs.into_iter().filter(|(of, _)| *of == topic) {
            let first = speaking.cuts.first(&log.0, &log.1);
            let from = speaking.cuts.late.get(log).copied().into_iter().chain(first).min();
            late.insert(Holder::of(&log.1), from.unwrap_or_default());
        }
        late
    }

    /// Lives of whose rights nothing comes late any more.
    pub(super) fn whole_rights(&self) -> BTreeSet<Holder> {
        let is_whole = |life: &Holder| {
            let Some(speaking) = &self.speaking else { return true };
            let cut = speaking.cuts.logs();
            !cut.iter().any(|(topic, actor)| *topic == escrow_topic() && Holder::of(actor) == *life)
        };
        self.late_rights().into_keys().filter(is_whole).collect()
    }

    /// Takes up what the state says.
    pub(super) fn restore_cuts(&mut self, state: &impl StateStore) -> Result<(), RecoveryError> {
        let Some(speaking) = &mut self.speaking else { return Ok(()) };
        for (_, value) in state.scan(&owner("cuts"), b"")? {
            let layout = |source| RecoveryError::Layout { owner: owner("cuts"), source };
            let (log, late, cuts) = decode(value).map_err(layout)?;
            let gaps = speaking.cuts.by_topic.entry(log.0.clone()).or_default();
            for cut in cuts {
                let _beyond = gaps.add(&log.1, cut);
            }
            if let Some(from) = late {
                speaking.cuts.late.insert(log, from);
            }
        }
        Ok(())
    }
}

fn encode((topic, actor): &Log, late: Option<Offset>, cuts: &[Gap]) -> Bytes {
    let Actor { region, incarnation, partition } = actor;
    let mut writer = Writer::new();
    writer.u8(VERSION);
    writer.name(topic.as_str());
    writer.name(region.as_str());
    writer.u32(incarnation.counter());
    writer.u64(incarnation.nonce());
    writer.u32(partition.get());
    writer.u64(late.map_or(u64::MAX, Offset::get));
    writer.length(cuts.len());
    for Gap { from, until } in cuts {
        writer.u64(from.get());
        writer.u64(until.get());
    }
    writer.finish()
}

fn decode(value: Bytes) -> Result<(Log, Option<Offset>, Vec<Gap>), CodecError> {
    let mut reader = Reader::new(value);
    let version = reader.u8("cuts version")?;
    if version != VERSION {
        let (field, found, expected) = ("cuts version", i64::from(version), "1");
        return Err(CodecError::Value { field, at: 0, found, expected });
    }
    let topic = reader.name("topic")?;
    let region = reader.name("region")?;
    let incarnation = Incarnation::new(reader.u32("counter")?, reader.u64("nonce")?);
    let partition = PartitionIndex::new(reader.u32("partition")?);
    let late = Some(reader.u64("late")?).filter(|late| *late < u64::MAX).map(Offset::new);
    let mut cuts = Vec::new();
    for _ in 0..reader.length("cuts", GAPS_OF_LOG_LIMIT)? {
        let (from, until) = (reader.u64("from")?, reader.u64("until")?);
        cuts.push(Gap { from: Offset::new(from), until: Offset::new(until) });
    }
    reader.end()?;
    Ok(((topic, Actor { region, incarnation, partition }), late, cuts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Log {
        let (region, partition) = ("us".parse().unwrap(), PartitionIndex::new(3));
        let actor = Actor { region, incarnation: Incarnation::new(2, 0xa7), partition };
        (TopicName::new("_groups").unwrap(), actor)
    }

    fn gap(from: u64, until: u64) -> Gap {
        Gap { from: Offset::new(from), until: Offset::new(until) }
    }

    #[test]
    fn cuts_read_back_and_another_version_is_refused() {
        for late in [None, Some(Offset::new(4))] {
            let value = encode(&log(), late, &[gap(1, 3), gap(7, 9)]);

            let read = decode(value.clone()).unwrap();
            assert_eq!(read, (log(), late, vec![gap(1, 3), gap(7, 9)]));
            let mut later = value.to_vec();
            later[0] = 2;
            assert!(decode(later.into()).is_err());
        }
    }

    #[test]
    fn of_more_cuts_than_are_kept_the_last_reaches_over_what_lies_between() {
        let (mut cuts, limit) = (Cuts::default(), u64::try_from(CUTS_OF_LOG_LIMIT).unwrap());
        for at in 0..limit {
            assert_eq!(cuts.add(&log(), gap(10 * at, 10 * at + 5)), None);
        }

        assert_eq!(cuts.add(&log(), gap(10_000, 10_001)), None);

        let (of_log, last) = (cuts.of(&log()), gap(10 * (limit - 1), 10_001));
        assert_eq!((of_log.len(), of_log.last()), (CUTS_OF_LOG_LIMIT, Some(&last)));
        assert_eq!(cuts.first(&log().0, &log().1), Some(Offset::new(0)));
    }
}
