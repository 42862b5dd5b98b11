//! Where logs end, as far as they are here, that hubs have to hold alike.
//!
//! ```text
//! state `ends`:  key `<topic>/<actor>`, value: 1 version u8 │ topic u8 length + name
//!                │ region u8 length + name │ life { counter u32, nonce u64 }
//!                │ partition u32 │ end u64
//! ```
//! `topic` is the name where it was born, then the end is that of all that came here over whatever
//! way, or that of a topic [set apart](crate::topics::Topic::is_apart), then it is what was handed
//! on. Of inventory the first is a part of the causal past ([`crate::ingest::CausalPast`]) and not
//! here. Each is written in the commit with the records, so that a restart knows what it has.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::limits::CLOCK_ENTRIES_LIMIT;
use headland_event::{
    Actor, Batch, ChannelId, DropPolicy, Entry, Gap, Hole, Incarnation, Offset, PartitionIndex,
    Stamp, TopicName, TopicPartition, VectorClock,
};
use headland_reconcile::OtherLogs;
use headland_storage::StateStore;

use super::Node;
use super::members::Speaking;
use super::recovery::{RecoveryError, owner};
use crate::escrow::escrow_topic;
use crate::members::{members_topic, reported_topics};
use crate::peer_link::{LinkId, Receiving};
use crate::records::{groups_topic, promises_topic};
use crate::topics::Topic;

const VERSION: u8 = 1;

/// Ends by topic.
#[derive(Debug)]
pub(super) struct Ends {
    /// Topics that all hubs have to hold alike, by their names where they were born.
    needed: BTreeSet<TopicName>,
    by_topic: BTreeMap<TopicName, VectorClock>,
}

impl Ends {
    /// Of a hub whose inventory is in this topic.
    pub(super) fn new(inventory: TopicName) -> Self {
        let needed =
            [inventory, escrow_topic(), groups_topic(), members_topic(), promises_topic()].into();
        Self { needed, by_topic: BTreeMap::new() }
    }

    /// Topics that all hubs have to hold alike, by their names where they were born.
    pub(super) const fn needed(&self) -> &BTreeSet<TopicName> {
        &self.needed
    }

    /// What is here of a topic.
    pub(super) fn of(&self, topic: &TopicName) -> Option<&VectorClock> {
        self.by_topic.get(topic)
    }

    pub(super) fn end(&self, topic: &TopicName, actor: &Actor) -> Offset {
        self.of(topic).map_or(Offset::new(0), |clock| clock.end(actor))
    }
}

/// What a hole is that compaction left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The log goes on behind it, as far as is known. What holds instead comes later, and until it
    /// is here others may be the only ones who have what was there.
    GoesOn,
    /// The sender has nothing behind it, and this hub has what lies before.
    Through,
    /// The sender has nothing behind it; something before it is not here.
    Ahead,
}

impl Node {
    /// What a hole of compaction says of where a log ends; `None` of any other entry. It is taken
    /// for the end of what is here once its sender has nothing more: the log would seem to end
    /// before it else. Until then the next record says so.
    pub(super) fn cut_by(
        &mut self,
        (link_id, channel): (LinkId, ChannelId),
        receiving: &Receiving,
        entry: &Entry,
    ) -> Option<Cut> {
        let stamp = entry.stamp.as_ref().filter(|_| !entry.is_stand_in())?;
        // Of inventory a part that was passed over is taken when it comes.
        let is_whole = self.is_of_inventory(&receiving.origin_topic);
        let hole = Hole::of(&entry.batch).filter(|_| !is_whole)?;
        if hole.policy != DropPolicy::Compacted {
            return None;
        }
        let end_here = self.end_here(&receiving.origin_topic, stamp);
        let known = self.peer_links.get_mut(&link_id)?;
        let follows = stamp.offset <= end_here || known.is_cut(channel, &stamp.actor, stamp.offset);
        if follows {
            let until = stamp.offset.after(entry.batch.span());
            known.on_cut(channel, stamp.actor.clone(), until);
        }
        Some(match (known.goes_on(channel, entry.end()), follows) {
            (true, _) => Cut::GoesOn,
            (false, true) => Cut::Through,
            (false, false) => Cut::Ahead,
        })
    }

    /// Whether hubs have to hold a topic alike to end alike, by its name where it was born; none
    /// where hubs do not say who takes part.
    pub(super) fn is_needed(&self, origin_topic: &TopicName) -> bool {
        self.ends().is_some_and(|ends| ends.needed.contains(origin_topic))
    }

    /// Whether a batch of a topic that hubs hold alike is here, over whatever way it came.
    pub(super) fn has(&self, origin_topic: &TopicName, stamp: &Stamp, batch: &Batch) -> bool {
        let end = stamp.offset.after(batch.span());
        if self.is_of_inventory(origin_topic) {
            let lost = self.speaking.as_ref().map(|speaking| speaking.lost.gaps());
            return self.ingest.extent().has(&stamp.actor, stamp.offset, end)
                && lost.is_none_or(|lost| !lost.touches(&stamp.actor, stamp.offset, end));
        }
        let part = Gap { from: stamp.offset, until: end };
        let is_cut = |of: &Speaking| of.cuts.touch(origin_topic, &stamp.actor, part);
        self.end_here(origin_topic, stamp) >= end && !self.speaking.as_ref().is_some_and(is_cut)
    }

    /// Whether a topic, by its name where it was born, is reconciled. Of its logs a part that was
    /// passed over is taken when it comes; of all others it is not.
    pub(super) fn is_of_inventory(&self, origin_topic: &TopicName) -> bool {
        origin_topic == self.inventory.configuration().0
    }

    /// Where logs end here of which reports say so, and up to where they are whole.
    pub(super) fn others_here(&self) -> OtherLogs {
        let mut others = OtherLogs::new();
        for topic in reported_topics() {
            let known = self.ends().and_then(|ends| ends.of(&topic));
            for (actor, end) in known.into_iter().flat_map(VectorClock::iter) {
                others.raise((&topic, actor), end, self.whole_here(&topic, actor));
            }
        }
        others
    }

    /// The same of what was handed on to this hub, by the topics' names where they were born.
    pub(super) fn others_apart(&self) -> OtherLogs {
        let mut others = OtherLogs::new();
        let reported = reported_topics();
        let apart = self.topics.iter().filter(|topic| topic.is_apart());
        for topic in apart.filter(|topic| reported.contains(&topic.origin_name)) {
            if let Some(known) = self.ends().and_then(|ends| ends.of(&topic.name)) {
                others.merge_topic(&topic.origin_name, known);
            }
        }
        others
    }

    fn ends(&self) -> Option<&Ends> {
        self.speaking.as_ref().map(|speaking| &speaking.ends)
    }

    /// Where the log that a stamp is of ends here, over whatever way it came.
    pub(super) fn end_here(&self, origin_topic: &TopicName, stamp: &Stamp) -> Offset {
        if self.is_of_inventory(origin_topic) {
            self.ingest.heads().end(&stamp.actor)
        } else {
            self.end_of_other(origin_topic, &stamp.actor)
        }
    }

    /// The same of a log beside inventory.
    pub(super) fn end_of_other(&self, origin_topic: &TopicName, actor: &Actor) -> Offset {
        self.ends().map_or(Offset::new(0), |ends| ends.end(origin_topic, actor))
    }

    /// Whether a log is new here of a topic of which as many are known as are told apart. Nothing
    /// of it is kept apart: hubs would hand it to each other for ever.
    pub(super) fn is_beyond(&self, origin_topic: &TopicName, stamp: &Stamp) -> bool {
        self.ends().and_then(|ends| ends.of(origin_topic)).is_some_and(|known| {
            known.len() >= CLOCK_ENTRIES_LIMIT && known.end(&stamp.actor) == Offset::new(0)
        })
    }

    /// Takes note of a batch that is composed for a partition here.
    pub(super) fn note_end(
        &mut self,
        local: &TopicPartition,
        origin_topic: &TopicName,
        stamp: &Stamp,
        batch: &Batch,
    ) {
        if !self.is_needed(origin_topic) {
            return;
        }
        let is_apart = self.topics.get(&local.topic).is_some_and(Topic::is_apart);
        if is_apart && Hole::of(batch).is_none() {
            self.note_passed(origin_topic, stamp);
        }
        self.fill_cut(origin_topic, stamp, batch);
        let end = stamp.offset.after(batch.span());
        if !self.is_of_inventory(origin_topic) && !self.is_beyond(origin_topic, stamp) {
            self.raise_end(origin_topic, &stamp.actor, end);
        }
        if is_apart {
            self.raise_end(&local.topic, &stamp.actor, end);
        }
    }

    fn raise_end(&mut self, topic: &TopicName, actor: &Actor, end: Offset) {
        let Some(speaking) = &mut self.speaking else { return };
        if speaking.ends.end(topic, actor) >= end {
            return;
        }
        speaking.ends.by_topic.entry(topic.clone()).or_default().advance(actor, end);
        let key = Bytes::from(format!("{topic}/{actor}"));
        self.composer.set(owner("ends"), key, Some(encode(topic, actor, end)));
    }

    /// Takes up what the state says.
    pub(super) fn restore_ends(&mut self, state: &impl StateStore) -> Result<(), RecoveryError> {
        let Some(speaking) = &mut self.speaking else { return Ok(()) };
        for (_, value) in state.scan(&owner("ends"), b"")? {
            let layout = |source| RecoveryError::Layout { owner: owner("ends"), source };
            let (topic, actor, end) = decode(value).map_err(layout)?;
            speaking.ends.by_topic.entry(topic).or_default().advance(&actor, end);
        }
        Ok(())
    }
}

fn encode(topic: &TopicName, actor: &Actor, end: Offset) -> Bytes {
    let Actor { region, incarnation, partition } = actor;
    let mut writer = Writer::new();
    writer.u8(VERSION);
    writer.name(topic.as_str());
    writer.name(region.as_str());
    writer.u32(incarnation.counter());
    writer.u64(incarnation.nonce());
    writer.u32(partition.get());
    writer.u64(end.get());
    writer.finish()
}

fn decode(value: Bytes) -> Result<(TopicName, Actor, Offset), CodecError> {
    let mut reader = Reader::new(value);
    let version = reader.u8("ends version")?;
    if version != VERSION {
        let (field, found, expected) = ("ends version", i64::from(version), "1");
        return Err(CodecError::Value { field, at: 0, found, expected });
    }
    let topic = reader.name("topic")?;
    let region = reader.name("region")?;
    let incarnation = Incarnation::new(reader.u32("counter")?, reader.u64("nonce")?);
    let partition = PartitionIndex::new(reader.u32("partition")?);
    let end = Offset::new(reader.u64("end")?);
    reader.end()?;
    Ok((topic, Actor { region, incarnation, partition }, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_reads_back_and_another_version_is_refused() {
        let topic = TopicName::new("_groups").unwrap();
        let (region, partition) = ("us".parse().unwrap(), PartitionIndex::new(3));
        let actor = Actor { region, incarnation: Incarnation::new(2, 0xa7), partition };

        let value = encode(&topic, &actor, Offset::new(9));

        assert_eq!(decode(value.clone()).unwrap(), (topic, actor, Offset::new(9)));
        let mut later = value.to_vec();
        later[0] = 2;
        assert!(decode(later.into()).is_err());
    }
}
