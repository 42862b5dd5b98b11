//! Records and alerts to commits: the outbox is the agent's log.
//!
//! A commit holds the records of some lines, the alerts they raised, and how far each file was
//! read, so after a crash the next line is read exactly once.

use std::collections::BTreeMap;

use bytes::Bytes;
use headland_event::codec::CodecError;
use headland_event::limits::RECORD_BYTES_LIMIT;
use headland_event::{
    Batch, ByteCount, Offset, PartitionIndex, Random, Record, TopicName, TopicPartition,
};
use headland_replication::Identity;
use headland_storage::{Composed, Composer, StateError, StateOwner, StateStore};

use crate::dead;
use crate::decode::Columns;

/// How far files were read.
mod position;

pub use position::FilePosition;

/// Why the outbox could not be taken up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The state could not be read.
    #[error("cannot read how far sources were read")]
    State(#[from] StateError),
    /// What is stored of a source is not of a known layout.
    #[error("what is stored of a source is not of a known layout")]
    Layout(#[from] CodecError),
    /// The log is another node's: two on one log would both go on with its sequences.
    #[error(
        "the log is of {found}, the configuration is of {expected}; give it a data_dir of its own"
    )]
    OtherNode {
        /// Whose log it is.
        found: String,
        /// Who the configuration names.
        expected: Identity,
    },
}

/// Composes the agent's commits and knows what the hub has of them.
#[derive(Debug)]
pub struct Outbox {
    composer: Composer,
    waiting: BTreeMap<TopicName, Vec<Record>>,
    acked: BTreeMap<TopicPartition, Offset>,
    durable: BTreeMap<TopicPartition, Offset>,
    unacked_bytes: u64,
    dead_letters: u64,
    sizes: BTreeMap<TopicPartition, Vec<(Offset, u64)>>,
}

/// The one partition of an agent's topic.
#[must_use]
pub fn partition_of(topic: &TopicName) -> TopicPartition {
    TopicPartition::new(topic.clone(), PartitionIndex::new(0))
}

fn owner(name: &'static str) -> StateOwner {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for owners")]
    StateOwner::new(name).expect("a literal owner fits")
}

impl Outbox {
    /// An outbox on top of what the composer knows of the log.
    #[must_use]
    pub fn new(composer: Composer) -> Self {
        let durable = composer.ends().map(|(at, end)| (at.clone(), end)).collect();
        Self {
            composer,
            waiting: BTreeMap::new(),
            acked: BTreeMap::new(),
            durable,
            unacked_bytes: 0,
            dead_letters: 0,
            sizes: BTreeMap::new(),
        }
    }

    /// How far a file was read, by the state.
    ///
    /// # Errors
    /// [`OutboxError`] when the state cannot be read.
    pub fn position(state: &impl StateStore, source: &str) -> Result<FilePosition, OutboxError> {
        match state.get(&owner("sources"), source.as_bytes())? {
            Some(value) => Ok(FilePosition::decode(value)?),
            None => Ok(FilePosition::default()),
        }
    }

    /// The offset the next record of a topic will have.
    #[must_use]
    pub fn next_offset(&self, topic: &TopicName) -> Offset {
        let waiting = self.waiting.get(topic).map_or(0, Vec::len);
        self.composer.end(&partition_of(topic)).after(u64::try_from(waiting).unwrap_or(0))
    }

    /// Adds a record to the commit being composed. One beyond the limit, which a rule can make,
    /// becomes a dead letter.
    pub fn push(&mut self, topic: &TopicName, record: Record) {
        let (found, limit) = (record.payload_len(), RECORD_BYTES_LIMIT.as_len());
        if found <= limit {
            self.waiting.entry(topic.clone()).or_default().push(record);
            return;
        }
        let reason = format!("a record of {found} bytes for {topic}, the limit is {limit}");
        match dead::topic_of(topic) {
            Ok(dead_topic) => {
                tracing::warn!("{reason}; kept in {dead_topic}");
                let bytes = record.value.unwrap_or_default();
                self.push_dead(&dead_topic, dead::letter(record.time, &bytes, &reason));
            }
            Err(error) => {
                debug_assert!(false, "names of dead letters are checked at the start");
                tracing::error!(%error, "{reason}; it is lost");
            }
        }
    }

    /// Adds a dead letter to the commit being composed.
    pub fn push_dead(&mut self, dead_topic: &TopicName, letter: Record) {
        debug_assert!(
            letter.payload_len() <= RECORD_BYTES_LIMIT.as_len(),
            "a dead letter is small"
        );
        self.dead_letters += 1;
        self.waiting.entry(dead_topic.clone()).or_default().push(letter);
    }

    /// Dead letters of this run.
    #[must_use]
    pub const fn dead_letters(&self) -> u64 {
        self.dead_letters
    }

    /// Whose log it is: in the first commit of one that does not say.
    ///
    /// # Errors
    /// [`OutboxError::OtherNode`] when it is another node's.
    pub fn claim(&mut self, state: &impl StateStore, node: &Identity) -> Result<(), OutboxError> {
        let key = Bytes::from_static(b"name");
        match state.get(&owner("node"), &key)? {
            Some(found) if found == node.to_string() => Ok(()),
            Some(found) => {
                let found = String::from_utf8_lossy(&found).into_owned();
                Err(OutboxError::OtherNode { found, expected: node.clone() })
            }
            None => {
                self.composer.set(owner("node"), key, Some(node.to_string().into()));
                Ok(())
            }
        }
    }

    /// Which column stands where in a file, by the state.
    ///
    /// # Errors
    /// [`OutboxError`] when the state cannot be read.
    pub fn columns(state: &impl StateStore, source: &str) -> Result<Option<Columns>, OutboxError> {
        let value = state.get(&owner("columns"), source.as_bytes())?;
        Ok(value.map(Columns::decode).transpose()?)
    }

    /// Keeps which column stands where in a file, in the commit being composed.
    pub fn set_columns(&mut self, source: &str, columns: &Columns) {
        let key = Bytes::copy_from_slice(source.as_bytes());
        self.composer.set(owner("columns"), key, Some(columns.encode()));
    }

    /// Closes the commit: what was pushed, and how far a file was read.
    ///
    /// # Panics
    /// Never: what fits no batch became a dead letter when it was pushed.
    pub fn finish(
        &mut self,
        source: &str,
        position: FilePosition,
        random: &mut dyn Random,
    ) -> Option<Composed> {
        for (topic, records) in std::mem::take(&mut self.waiting) {
            let partition = partition_of(&topic);
            for batch in Batch::encode_all(&records) {
                #[expect(clippy::expect_used, reason = "what is larger became a dead letter")]
                let batch = batch.expect("a record within its limit fits a batch");
                let bytes = u64::try_from(batch.as_bytes().len()).unwrap_or(u64::MAX);
                let end = self.composer.born(&partition, None, batch.clone(), random);
                let end = end.after(batch.span());
                self.sizes.entry(partition.clone()).or_default().push((end, bytes));
                self.unacked_bytes = self.unacked_bytes.saturating_add(bytes);
            }
        }
        let key = Bytes::copy_from_slice(source.as_bytes());
        self.composer.set(owner("sources"), key, Some(position.encode()));
        self.composer.take()
    }

    /// The end of a partition is durable.
    pub fn on_durable(&mut self, partition: &TopicPartition, end: Offset) {
        self.durable.insert(partition.clone(), end);
    }

    /// The hub has everything of a partition before `next` on disk.
    pub fn on_acked(&mut self, partition: &TopicPartition, next: Offset) {
        self.acked.insert(partition.clone(), next);
        if let Some(sizes) = self.sizes.get_mut(partition) {
            let done = sizes.iter().take_while(|(end, _)| *end <= next).count();
            let freed: u64 = sizes.drain(..done).map(|(_, bytes)| bytes).sum();
            self.unacked_bytes = self.unacked_bytes.saturating_sub(freed);
        }
    }

    /// Durable ends by partition.
    pub fn durable(&self) -> impl Iterator<Item = (&TopicPartition, Offset)> {
        self.durable.iter().map(|(partition, end)| (partition, *end))
    }

    /// The durable end of a partition.
    #[must_use]
    pub fn durable_end(&self, partition: &TopicPartition) -> Offset {
        self.durable.get(partition).copied().unwrap_or_default()
    }

    /// Records that the hub has not acknowledged.
    #[must_use]
    pub fn unacked_records(&self) -> u64 {
        self.durable
            .iter()
            .map(|(at, end)| end.since(self.acked.get(at).copied().unwrap_or_default()))
            .sum()
    }

    /// Bytes written in this run that the hub has not acknowledged.
    #[must_use]
    pub const fn unacked_bytes(&self) -> ByteCount {
        ByteCount::new(self.unacked_bytes)
    }
}
