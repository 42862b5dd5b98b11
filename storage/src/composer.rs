//! Composes commits: gives records their offsets and dots, and keeps the order of writing.
//!
//! A node is the single writer of its log, so it knows the end of every partition before a commit
//! is durable, and can work ahead of the barrier. Streams born here keep their id and their next
//! sequence number in the state `streams`, in the same commit as the records.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{
    Batch, Dot, Entry, Incarnation, Offset, Random, Sequence, Stamp, StreamId, TopicName,
    TopicPartition,
};

use crate::commit::{Commit, Priority, StateChange, StateOwner};
use crate::log::LogReader;
use crate::state::{StateError, StateStore};

const STREAM_VERSION: u8 = 1;

/// Number of a commit in the order in which it was composed, from 1 in each run of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticket(u64);

#[cfg(test)]
impl Ticket {
    /// The ticket with this number.
    pub(crate) const fn of(number: u64) -> Self {
        Self(number)
    }
}

/// A commit that is ready to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "what was composed is lost unless it is appended"]
pub struct Composed {
    /// Names the commit until the log gives it a number.
    pub ticket: Ticket,
    /// What is to be appended.
    pub commit: Commit,
    /// Alerts', when one of its batches is of a topic of alerts.
    pub priority: Priority,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stream {
    id: StreamId,
    incarnation: Incarnation,
    next: Sequence,
}

/// Why a composer could not take up where the log ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComposerError {
    /// The state could not be read.
    #[error("cannot read the streams born here")]
    State(#[from] StateError),
    /// A value of the state `streams` is not of a known layout.
    #[error("a stream's state is not of a known layout")]
    Layout(#[from] CodecError),
}

/// Composes a node's commits.
#[derive(Debug)]
pub struct Composer {
    incarnation: Incarnation,
    streams_owner: StateOwner,
    ends: BTreeMap<TopicPartition, Offset>,
    streams: BTreeMap<TopicPartition, Stream>,
    pending: Commit,
    pending_bytes: usize,
    priority: Priority,
    /// Topics of alerts, whatever they are called here.
    alerts: BTreeSet<TopicName>,
    last_ticket: Ticket,
}

impl Composer {
    /// Takes up where a log ends.
    ///
    /// # Errors
    /// [`ComposerError`] when the state cannot be read.
    pub fn new(
        incarnation: Incarnation,
        log: &impl LogReader,
        state: &impl StateStore,
    ) -> Result<Self, ComposerError> {
        let streams_owner = streams_owner();
        let ends: BTreeMap<_, _> = log
            .partitions()
            .into_iter()
            .map(|partition| (partition.clone(), log.end(&partition)))
            .collect();
        let mut streams = BTreeMap::new();
        for partition in ends.keys() {
            if let Some(value) = state.get(&streams_owner, partition.to_string().as_bytes())? {
                streams.insert(partition.clone(), read_stream(value)?);
            }
        }
        Ok(Self {
            incarnation,
            streams_owner,
            ends,
            streams,
            pending: Commit::default(),
            pending_bytes: 0,
            priority: Priority::default(),
            alerts: BTreeSet::new(),
            last_ticket: Ticket::default(),
        })
    }

    /// From now on commits with batches of this topic may use the room that is kept for alerts.
    pub fn add_alerts(&mut self, topic: TopicName) {
        self.alerts.insert(topic);
    }

    /// Offset after the last record of a partition, counting what is composed but not durable.
    #[must_use]
    pub fn end(&self, partition: &TopicPartition) -> Offset {
        self.ends.get(partition).copied().unwrap_or_default()
    }

    /// Every partition that has records, with its end.
    pub fn ends(&self) -> impl Iterator<Item = (&TopicPartition, Offset)> {
        self.ends.iter().map(|(partition, end)| (partition, *end))
    }

    /// Adds a batch born here, with the next dot of this partition's stream; returns its base.
    pub fn born(
        &mut self,
        partition: &TopicPartition,
        stamp: Option<Stamp>,
        batch: Batch,
        random: &mut dyn Random,
    ) -> Offset {
        let incarnation = self.incarnation;
        let known = self.streams.get(partition).copied();
        let stream =
            known.filter(|stream| stream.incarnation == incarnation).unwrap_or_else(|| {
                // A new life keeps the stream's id: its sequence starts again under the new life.
                let id = known.map_or_else(|| random_stream(random), |stream| stream.id);
                Stream { id, incarnation, next: Sequence::new(1) }
            });
        let dot = Dot { stream: stream.id, incarnation, sequence: stream.next };
        let next = Stream { next: stream.next.after(batch.span()), ..stream };
        self.streams.insert(partition.clone(), next);
        let key = Bytes::from(partition.to_string());
        self.set(self.streams_owner.clone(), key, Some(write_stream(next)));
        self.copied(partition, dot, stamp, batch)
    }

    /// Adds a batch that was born elsewhere, with the dot it came with; returns its base here.
    pub fn copied(
        &mut self,
        partition: &TopicPartition,
        dot: Dot,
        stamp: Option<Stamp>,
        batch: Batch,
    ) -> Offset {
        let base = self.end(partition);
        let entry = Entry { base, dot, stamp, batch };
        self.pending_bytes += entry.batch.as_bytes().len();
        self.ends.insert(partition.clone(), entry.end());
        self.pending.entries.push((partition.clone(), entry));
        if self.alerts.contains(&partition.topic) {
            self.priority = Priority::Alerts;
        }
        debug_assert!(self.end(partition) > base, "a batch holds at least one record");
        base
    }

    /// Sets or deletes a key of the state in the same commit.
    pub fn set(&mut self, owner: StateOwner, key: Bytes, value: Option<Bytes>) {
        self.pending_bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
        self.pending.state.push(StateChange { owner, key, value });
    }

    /// Bytes of batches and state in the commit being composed.
    #[must_use]
    pub const fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// The ticket of the commit being composed.
    #[must_use]
    pub const fn next_ticket(&self) -> Ticket {
        Ticket(self.last_ticket.0 + 1)
    }

    /// Takes the composed commit, `None` when nothing was added since the last one.
    pub fn take(&mut self) -> Option<Composed> {
        if self.pending.entries.is_empty() && self.pending.state.is_empty() {
            return None;
        }
        self.last_ticket = self.next_ticket();
        self.pending_bytes = 0;
        let (commit, priority) =
            (std::mem::take(&mut self.pending), std::mem::take(&mut self.priority));
        Some(Composed { ticket: self.last_ticket, commit, priority })
    }
}

/// Whose state the streams born here are.
pub(crate) fn streams_owner() -> StateOwner {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for owners")]
    StateOwner::new("streams").expect("a literal owner fits")
}

fn random_stream(random: &mut dyn Random) -> StreamId {
    let mut id = [0_u8; 16];
    for (half, word) in id.chunks_mut(8).zip([random.next_u64(), random.next_u64()]) {
        half.copy_from_slice(&word.to_be_bytes());
    }
    StreamId::new(id)
}

fn write_stream(stream: Stream) -> Bytes {
    let Stream { id, incarnation, next } = stream;
    let mut writer = Writer::new();
    writer.u8(STREAM_VERSION);
    writer.stream_id(id);
    writer.incarnation(incarnation);
    writer.u64(next.get());
    writer.finish()
}

fn read_stream(value: Bytes) -> Result<Stream, CodecError> {
    let mut reader = Reader::new(value);
    let version = reader.u8("stream version")?;
    if version != STREAM_VERSION {
        let found = i64::from(version);
        return Err(CodecError::Value { field: "stream version", at: 0, found, expected: "1" });
    }
    let stream = Stream {
        id: reader.stream_id("stream")?,
        incarnation: reader.incarnation("stream incarnation")?,
        next: Sequence::new(reader.u64("next sequence")?),
    };
    reader.end()?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use headland_event::{EventTime, PartitionIndex, Record, SeededRandom};

    use super::*;
    use crate::state::{MemoryState, StateCache};

    #[derive(Debug, Clone, Default)]
    struct Ends(BTreeMap<TopicPartition, Offset>);

    impl LogReader for Ends {
        fn end(&self, partition: &TopicPartition) -> Offset {
            self.0.get(partition).copied().unwrap_or_default()
        }

        fn start(&self, _: &TopicPartition) -> Offset {
            Offset::new(0)
        }

        fn partitions(&self) -> Vec<TopicPartition> {
            self.0.keys().cloned().collect()
        }

        fn read(
            &self,
            _: &TopicPartition,
            _: Offset,
            _: headland_event::ByteCount,
        ) -> Result<Vec<Entry>, crate::ReadError> {
            Ok(Vec::new())
        }

        fn offset_at(
            &self,
            _: &TopicPartition,
            _: EventTime,
        ) -> Result<Option<Offset>, crate::ReadError> {
            Ok(None)
        }

        fn replay(
            &self,
            _: headland_event::CommitNumber,
            _: headland_event::ByteCount,
        ) -> Result<crate::Replayed, crate::ReadError> {
            Ok(crate::Replayed::default())
        }

        fn last_commit(&self) -> headland_event::CommitNumber {
            headland_event::CommitNumber::new(0)
        }

        fn wait(&self, at: &TopicPartition, _: Offset, _: std::time::Duration) -> Offset {
            self.end(at)
        }

        fn wait_commit(
            &self,
            _: headland_event::CommitNumber,
            _: std::time::Duration,
        ) -> headland_event::CommitNumber {
            self.last_commit()
        }
    }

    fn partition() -> TopicPartition {
        TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(0))
    }

    fn batch(records: usize) -> Batch {
        Batch::encode(&vec![Record::new(EventTime::default(), "k", "v"); records]).unwrap()
    }

    fn composer(log: &Ends, state: &MemoryState, life: u32) -> Composer {
        Composer::new(Incarnation::new(life, 7), log, state).unwrap()
    }

    #[test]
    fn a_commit_with_a_batch_of_alerts_has_their_priority_and_the_next_one_has_not() {
        let mut composer = composer(&Ends::default(), &MemoryState::default(), 1);
        let random = &mut SeededRandom::new(1);
        let alerts = TopicName::new("eu.alerts").unwrap();
        composer.add_alerts(alerts.clone());
        let alerts = TopicPartition::new(alerts, PartitionIndex::new(3));
        let mut take = |partitions: &[&TopicPartition]| {
            for partition in partitions {
                composer.born(partition, None, batch(1), random);
            }
            composer.take().unwrap().priority
        };

        assert_eq!(take(&[&partition()]), Priority::Normal);
        assert_eq!(take(&[&partition(), &alerts, &partition()]), Priority::Alerts);
        assert_eq!(take(&[&partition()]), Priority::Normal);
    }

    #[test]
    fn offsets_and_sequences_are_contiguous_within_a_life() {
        let mut composer = composer(&Ends::default(), &MemoryState::default(), 1);
        let random = &mut SeededRandom::new(1);

        composer.born(&partition(), None, batch(3), random);
        composer.born(&partition(), None, batch(2), random);
        let commit = composer.take().unwrap().commit;

        let placed: Vec<(u64, u64)> = commit
            .entries
            .iter()
            .map(|(_, entry)| (entry.base.get(), entry.dot.sequence.get()))
            .collect();
        assert_eq!(placed, [(0, 1), (3, 4)]);
        assert_eq!(composer.take(), None);
    }

    #[test]
    fn a_restart_goes_on_where_the_log_ends_and_a_new_life_starts_its_own_sequence() {
        let random = &mut SeededRandom::new(1);
        let mut first = composer(&Ends::default(), &MemoryState::default(), 1);
        first.born(&partition(), None, batch(3), random);
        let commit = first.take().unwrap().commit;
        let mut state = MemoryState::default();
        state.apply(headland_event::CommitNumber::new(1), &commit.state).unwrap();
        let log = Ends([(partition(), Offset::new(3))].into());

        let dots = [1, 2].map(|life| {
            let mut next = composer(&log, &state, life);
            next.born(&partition(), None, batch(1), random);
            next.take().unwrap().commit.entries[0].1.clone()
        });

        assert_eq!(dots.clone().map(|entry| entry.base.get()), [3, 3]);
        assert_eq!(dots.clone().map(|entry| entry.dot.sequence.get()), [4, 1]);
        assert_eq!(dots[0].dot.stream, dots[1].dot.stream);
    }
}
