//! How far consumer groups have read: committed here, taken over from other regions, translated.
//!
//! Commits are records of `_groups`, which other regions mirror. What holds is kept in memory and
//! in the state `groups`, in the same commit as the record it came by; where each mirrored
//! partition stands in the log of its origin in `checkpoints`, which changes only when a hub on the
//! way starts a new life (`lives`).

/// What groups had read before this hub began its life, and waiting for it.
mod coming_back;
/// The same over the lives of the hubs whose logs they read.
mod lives;
/// Where groups read on here.
mod reading;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headland_event::{
    Batch, BatchError, GroupName, Incarnation, Now, Offset, PartitionIndex, Record, RegionId,
    TopicName, TopicPartition,
};
use headland_replication::fence::{Fence, Fences};
use headland_replication::groups::{Change, CommitError, GroupEnd, GroupRecord, Groups, Source};
use headland_replication::{Checkpoint, ReadTo};
use headland_storage::{StateStore, Ticket};
use serde::{Deserialize, Serialize};

use coming_back::Wait;

use super::recovery::owner;
use super::{Node, RecoveryError};
use crate::groups::{OffsetsRequest, POSITIONS_AT_ONCE, Place};
use crate::members::LifeName;
use crate::peer_link::LinkId;
use crate::records::groups_topic;
use crate::topics::Topic;

/// How far groups have read, and where mirrors stand.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    groups: Groups,
    checkpoints: BTreeMap<TopicPartition, Checkpoint>,
    /// The same of what this hub gives the order, where a former life of it wrote some.
    own: BTreeMap<TopicPartition, Checkpoint>,
    /// Regions that were left.
    pub(super) fences: Fences,
    began: Began,
    /// What groups have read of this region's own logs, of lives of which nothing is here, and for
    /// how many looks nobody has given it back.
    awaited: BTreeMap<(Source, Incarnation), u32>,
    /// Lives of which it was said in this run that nothing is here.
    said: BTreeSet<(RegionId, Incarnation)>,
    /// What peers may have yet of how far groups had read.
    wait: Wait,
}

impl Consumers {
    /// Partitions of other regions' logs of which something came here.
    pub(super) fn mirrors(&self) -> impl Iterator<Item = &TopicPartition> {
        self.checkpoints.keys()
    }

    /// Where a mirror stands in the log of its origin.
    pub(super) fn of_mirror(&self, at: &TopicPartition) -> Option<&Checkpoint> {
        self.checkpoints.get(at)
    }

    /// All of a mirror is lost: what comes of it is its beginning.
    pub(super) fn forget_mirror(&mut self, at: &TopicPartition) {
        self.checkpoints.remove(at);
    }

    /// Which offset of its origin's log one of a mirror is, in the newest run of that.
    pub(super) fn origin_of(&self, at: &TopicPartition, local: Offset) -> Option<Offset> {
        self.checkpoints.get(at)?.origin_of(local)
    }

    /// The same where a life of the origin wrote some of the mirror, the beginning of its log in an
    /// earlier copy.
    pub(super) fn origin_at(
        &self,
        at: &TopicPartition,
        local: Offset,
        life: Incarnation,
    ) -> Option<Offset> {
        let checkpoint = self.checkpoints.get(at)?;
        checkpoint.is_of(life).then(|| checkpoint.origin_of(local).unwrap_or_default())
    }

    /// Where an offset of the origin's log is in the newest run of a mirror, of which a life of the
    /// origin wrote some.
    pub(super) fn local_at(
        &self,
        at: &TopicPartition,
        origin: Offset,
        life: Incarnation,
    ) -> Option<Offset> {
        let checkpoint = self.checkpoints.get(at)?;
        checkpoint.is_of(life).then(|| checkpoint.local_of(origin))
    }

    /// Where the newest run of a mirror begins.
    pub(super) fn begins(&self, at: &TopicPartition) -> Option<Offset> {
        self.checkpoints.get(at).map(Checkpoint::run_begins)
    }
}

/// What is kept of a group, and travels.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Kept {
    Position(GroupRecord),
    End(GroupEnd),
    Fence(Fence),
}

/// How this run of the hub began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Began {
    /// As the life that wrote the log, or with an empty one.
    #[default]
    Before,
    /// As another life on a log that this former one wrote: from a backup.
    Anew(Incarnation),
}

/// Why a committed offset is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// There is no such topic.
    #[error("there is no topic {topic} at this hub; `GET /v1/topics` lists those there are")]
    NoTopic {
        /// What was asked for.
        topic: String,
    },
    /// The offset is in an earlier copy of the topic.
    #[error(
        "offset {offset} of {partition} is of an earlier copy: a hub on the way began anew, and \
         the log is here again from offset {begins} on"
    )]
    EarlierCopy {
        /// The partition.
        partition: TopicPartition,
        /// What was asked for.
        offset: Offset,
        /// Where the copy begins that counts.
        begins: Offset,
    },
    /// Nobody can have read so far.
    #[error("{partition} ends at offset {end} here: nobody has read it up to {offset}")]
    PastEnd {
        /// The partition.
        partition: TopicPartition,
        /// What was asked for.
        offset: Offset,
        /// Where it ends.
        end: Offset,
    },
    /// It goes back, or beyond a limit.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Too many at once.
    #[error("{found} partitions in one request, at most {limit} can be")]
    TooMany {
        /// Partitions asked for.
        found: usize,
        /// Most that fit.
        limit: usize,
    },
    /// This region was left for another one.
    #[error("nothing was read or changed: {0}")]
    Left(String),
    /// This hub began its life just now, and peers may know how far the group had read.
    #[error(
        "nothing was read or changed: this hub began a new life, and how far groups had read is \
         still to come from {from}; ask again, it is waited for a minute at most"
    )]
    NotBack {
        /// The regions of these peers.
        from: String,
    },
    /// Nothing is to be changed.
    #[error("no partition is named; a change names at least one")]
    Nothing,
    /// One partition would be in two places at once.
    #[error("{partition} is named twice, as a partition or a copy of it; name it once")]
    Twice {
        /// The partition where it was born.
        partition: Source,
    },
    /// Nobody has committed anything by that name.
    #[error("there is no group {group}; `GET /v1/groups` lists those there are")]
    NoGroup {
        /// What was asked for.
        group: GroupName,
    },
    /// They fit no batch.
    #[error("the committed offsets cannot be written: {0}")]
    Batch(#[from] BatchError),
    /// The disk has room for nothing but alerts.
    #[error("the disk is full: nothing was committed; commit again once there is room")]
    Full,
}

impl Node {
    /// Changes what a group has committed: all positions of the request, or none. It holds here at
    /// once, and for good once the ticket's commit is durable.
    ///
    /// # Errors
    /// [`GroupError`] when one of them does not fit; nothing has changed.
    pub fn on_group(
        &mut self,
        now: Now,
        group: &GroupName,
        request: &OffsetsRequest,
    ) -> Result<Ticket, GroupError> {
        // Whether this region is in use is looked at now, not when the last input came.
        self.look_after_leases(now);
        if self.fullness.is_full() {
            return Err(GroupError::Full);
        }
        if let Some(why) = self.left() {
            return Err(GroupError::Left(why));
        }
        let OffsetsRequest { change, positions } = request;
        if *change == Change::Reset {
            // It would not hold against what comes back, of which it is to be the next epoch.
            self.is_back()?;
        }
        let (found, limit) = (positions.len(), POSITIONS_AT_ONCE);
        if found > limit {
            return Err(GroupError::TooMany { found, limit });
        }
        if positions.is_empty() {
            return Err(GroupError::Nothing);
        }
        let (mut places, mut named) = (Vec::with_capacity(found), BTreeSet::new());
        for Place { topic, partition, offset } in positions {
            let name = self.topics.resolve(topic).map_or(topic, |known| &known.name);
            let at = TopicPartition::new(name.clone(), *partition);
            let (source, read) = self.source_of(group, &at, (*offset, *change))?;
            if !named.insert(source.clone()) {
                return Err(GroupError::Twice { partition: source });
            }
            places.push((source, read));
        }
        let records = self.consumers.groups.change_all(group, &places, *change)?;
        self.write_groups(&records, now)?;
        for record in &records {
            let _held = self.hold_group(record);
            self.consumers.wait.on_said(record);
        }
        let ticket = self.composer.next_ticket();
        self.cut_commit();
        Ok(ticket)
    }

    /// Deletes a group, in every region. It is gone here at once, and for good once the ticket's
    /// commit is durable; who uses its name again begins anew.
    ///
    /// # Errors
    /// [`GroupError`] when there is none, or nothing can be written; nothing has changed.
    pub fn on_group_end(&mut self, now: Now, group: &GroupName) -> Result<Ticket, GroupError> {
        // Whether this region is in use is looked at now, not when the last input came.
        self.look_after_leases(now);
        if self.fullness.is_full() {
            return Err(GroupError::Full);
        }
        if let Some(why) = self.left() {
            return Err(GroupError::Left(why));
        }
        let Some(end) = self.consumers.groups.end(group)? else {
            self.is_back()?;
            return Err(GroupError::NoGroup { group: group.clone() });
        };
        self.write_group_logs([(end.group.to_string(), Some(json(&end)))], now)?;
        let _is_news = self.end_group(&end, now);
        let ticket = self.composer.next_ticket();
        self.cut_commit();
        Ok(ticket)
    }

    /// Writes down that a region was left or returned to.
    pub(super) fn write_fence(&mut self, fence: &Fence, now: Now) -> Result<(), BatchError> {
        self.write_group_logs([(fence.key(), Some(json(fence)))], now)
    }

    /// Takes over the end of a group, in memory and in the state, and lets its records here go;
    /// says whether it is news.
    fn end_group(&mut self, end: &GroupEnd, now: Now) -> bool {
        let Some(gone) = self.consumers.groups.take_end(end) else { return false };
        self.composer.set(owner("groups"), end.group.to_string().into(), Some(json(end)));
        for record in &gone {
            self.composer.set(owner("groups"), record.key().into(), None);
        }
        // What is left of the group in this hub's own log goes when that is compacted.
        let keys = gone.iter().map(|record| (record.key(), None));
        if let Err(error) = self.write_group_logs(keys, now) {
            tracing::error!(%error, "a deleted group's offsets fit no batch");
        }
        true
    }

    /// How far of the log of its origin a group has read that is at an offset of this hub.
    fn source_of(
        &self,
        group: &GroupName,
        at: &TopicPartition,
        (offset, change): (Offset, Change),
    ) -> Result<(Source, ReadTo), GroupError> {
        let no_topic = || GroupError::NoTopic { topic: at.topic.to_string() };
        let topic = self.topics.get(&at.topic).ok_or_else(no_topic)?;
        let source = source(topic, at.partition);
        let known = self.consumers.groups.committed(group, &source).map(|known| &known.read);
        let end = self.composer.end(at);
        let Some(checkpoint) = self.checkpoint(at) else {
            // Of a copy in which nothing is yet it is not known who writes it.
            return if offset > end {
                Err(GroupError::PastEnd { partition: at.clone(), offset, end })
            } else {
                Ok((source, ReadTo::Unnamed(offset)))
            };
        };
        let begins = checkpoint.begins();
        if offset < begins {
            return Err(GroupError::EarlierCopy { partition: at.clone(), offset, begins });
        }
        let (life, origin) = checkpoint.place_at(offset);
        if offset > end && known.is_none_or(|known| known.offset_of(life) < origin) {
            return Err(GroupError::PastEnd { partition: at.clone(), offset, end });
        }
        // What may come back yet is not read by who read on behind it.
        let offset = self.awaited_end(at).map_or(offset, |awaited| offset.min(awaited));
        let read = match change {
            Change::Commit => checkpoint.read_to(offset, known),
            Change::Reset => checkpoint.set_to(offset, known),
        };
        Ok((source, read))
    }

    /// Composes records of committed offsets.
    fn write_groups(&mut self, records: &[GroupRecord], now: Now) -> Result<(), BatchError> {
        self.write_group_logs(records.iter().map(|record| (record.key(), Some(json(record)))), now)
    }

    /// Composes records of `_groups`.
    fn write_group_logs(
        &mut self,
        records: impl IntoIterator<Item = (String, Option<Bytes>)>,
        now: Now,
    ) -> Result<(), BatchError> {
        let record = |(key, value): (String, Option<Bytes>)| {
            let record = Record::new(now.wall, key, Bytes::new());
            Record { value, ..record }
        };
        let records: Vec<Record> = records.into_iter().map(record).collect();
        let partition = TopicPartition::new(groups_topic(), PartitionIndex::new(0));
        let batches = Batch::encode_all(&records).into_iter().collect::<Result<Vec<_>, _>>()?;
        for batch in batches {
            self.born(&partition, batch, now);
        }
        Ok(())
    }

    /// Takes over a committed offset, in memory and in the state; returns what holds when that is
    /// news.
    fn hold_group(&mut self, record: &GroupRecord) -> Option<GroupRecord> {
        let held = self.consumers.groups.take(record)?;
        self.composer.set(owner("groups"), held.key().into(), Some(json(&held)));
        Some(held)
    }

    /// Takes over what the `_groups` of a region says, of the groups that are to be.
    pub(super) fn take_groups(
        &mut self,
        now: Now,
        link_id: LinkId,
        origin: &RegionId,
        batch: &Batch,
    ) {
        let Some(known) = self.peer_links.get(&link_id) else { return };
        let peer = self.peers.iter().find(|peer| peer.identity == known.identity);
        let Some(filter) = peer.map(|peer| peer.groups.clone()) else { return };
        for record in batch.records().unwrap_or_default() {
            let value = record.value.unwrap_or_default();
            match serde_json::from_slice::<Kept>(&value) {
                Ok(Kept::Position(at)) if filter.takes(at.group.as_str()) => {
                    let _held = self.hold_group(&at);
                    self.look_for_former(&at, now);
                }
                Ok(Kept::End(end)) if filter.takes(end.group.as_str()) => {
                    let _is_news = self.end_group(&end, now);
                }
                Ok(Kept::Fence(fence)) => self.hear_fence(origin, &fence, now),
                // What a later version writes is not for this one.
                Ok(Kept::Position(_) | Kept::End(_)) | Err(_) => {}
            }
        }
    }

    /// Takes up what the state says of groups and mirrors.
    pub(super) fn restore_groups(&mut self, state: &impl StateStore) -> Result<(), RecoveryError> {
        for (_, value) in state.scan(&owner("groups"), b"")? {
            let kept = serde_json::from_slice(&value)
                .map_err(|source| RecoveryError::Json { owner: owner("groups"), source })?;
            match kept {
                Kept::Position(record) => drop(self.consumers.groups.take(&record)),
                Kept::End(end) => drop(self.consumers.groups.take_end(&end)),
                Kept::Fence(fence) => {
                    let _is_news = self.consumers.fences.take(&fence);
                }
            }
        }
        for (key, value) in state.scan(&owner("checkpoints"), b"")? {
            let layout = |source| RecoveryError::Layout { owner: owner("checkpoints"), source };
            let checkpoint = Checkpoint::decode(value).map_err(layout)?;
            let Some(at) = partition_of(&key) else { continue };
            // Of a topic that is not known any more its origin says again that it is a copy.
            let has_own_order = self.topics.get(&at.topic).is_some_and(|topic| !topic.is_mirror());
            let Consumers { own, checkpoints, .. } = &mut self.consumers;
            let known = if has_own_order { own } else { checkpoints };
            known.insert(at, checkpoint);
        }
        let key = Bytes::from_static(b"life");
        let (life, found) = (self.incarnation.to_string(), state.get(&owner("node"), &key)?);
        if found.as_deref() != Some(life.as_bytes()) {
            let former = found.map(|found| String::from_utf8_lossy(&found).parse::<LifeName>());
            let anew = |name: Result<LifeName, _>| {
                // Of one that nobody can read, nothing was read.
                Began::Anew(name.map_or(Incarnation::new(0, 0), LifeName::incarnation))
            };
            self.consumers.began = former.map_or(Began::Before, anew);
            self.composer.set(owner("node"), key, Some(life.into()));
            self.await_offsets_anew();
        } else if state.get(&owner("node"), coming_back::KEY)?.is_some() {
            self.await_offsets();
        }
        Ok(())
    }

    /// Whether what was composed by then is durable.
    #[must_use]
    pub fn is_durable(&self, ticket: Ticket) -> bool {
        self.composer.next_ticket() > ticket
            && self.in_flight.front().is_none_or(|front| front.ticket > ticket)
    }
}

/// The partition that a key names as it is displayed.
fn partition_of(key: &[u8]) -> Option<TopicPartition> {
    let (topic, partition) = std::str::from_utf8(key).ok()?.rsplit_once('/')?;
    let partition = PartitionIndex::new(partition.parse().ok()?);
    Some(TopicPartition::new(TopicName::new(topic).ok()?, partition))
}

fn source(topic: &Topic, partition: PartitionIndex) -> Source {
    if let Some(own) = topic.path.last().filter(|_| !topic.is_mirror()) {
        // What is kept apart has an order of this hub's own.
        return Source { region: own.clone(), topic: topic.name.clone(), partition };
    }
    Source { region: topic.origin.clone(), topic: topic.origin_name.clone(), partition }
}

pub(super) fn json(record: &impl Serialize) -> Bytes {
    #[expect(clippy::expect_used, reason = "names and numbers always have a JSON")]
    Bytes::from(serde_json::to_vec(record).expect("names and numbers have a JSON"))
}
