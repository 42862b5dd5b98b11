//! Records and alerts to commits: the outbox is the agent's log.
//!
//! A commit holds the records of some lines, the alerts they raised, and how far each file was
//! read, so after a crash the next line is read exactly once.

use std::collections::BTreeMap;

use bytes::Bytes;
use headland_event::codec::CodecError;
use headland_event::{
    Batch, ByteCount, Offset, PartitionIndex, Random, Record, TopicName, TopicPartition,
};
use headland_storage::{Composed, Composer, StateError, StateOwner, StateStore};

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
    /// A stored position is not of a known layout.
    #[error("a source's stored position is not of a known layout")]
    Layout(#[from] CodecError),
}

/// Composes the agent's commits and knows what the hub has of them.
#[derive(Debug)]
pub struct Outbox {
    composer: Composer,
    waiting: BTreeMap<TopicName, Vec<Record>>,
    acked: BTreeMap<TopicPartition, Offset>,
    durable: BTreeMap<TopicPartition, Offset>,
    unacked_bytes: u64,
    sizes: BTreeMap<TopicPartition, Vec<(Offset, u64)>>,
}

/// The one partition of an agent's topic.
#[must_use]
pub fn partition_of(topic: &TopicName) -> TopicPartition {
    TopicPartition::new(topic.clone(), PartitionIndex::new(0))
}

fn sources_owner() -> StateOwner {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for owners")]
    StateOwner::new("sources").expect("a literal owner fits")
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
            sizes: BTreeMap::new(),
        }
    }

    /// How far a file was read, by the state.
    ///
    /// # Errors
    /// [`OutboxError`] when the state cannot be read.
    pub fn position(state: &impl StateStore, source: &str) -> Result<FilePosition, OutboxError> {
        match state.get(&sources_owner(), source.as_bytes())? {
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

    /// Adds a record to the commit being composed.
    pub fn push(&mut self, topic: &TopicName, record: Record) {
        self.waiting.entry(topic.clone()).or_default().push(record);
    }

    /// Closes the commit: what was pushed, and how far a file was read.
    pub fn finish(
        &mut self,
        source: &str,
        position: FilePosition,
        random: &mut dyn Random,
    ) -> Option<Composed> {
        for (topic, records) in std::mem::take(&mut self.waiting) {
            let partition = partition_of(&topic);
            for batch in Batch::encode_all(&records) {
                let batch = match batch {
                    Ok(batch) => batch,
                    // A line is at most half a record, so only what a rule made can be this large.
                    Err(error) => {
                        tracing::error!(%topic, %error, "a record fits no batch; left out");
                        continue;
                    }
                };
                let bytes = u64::try_from(batch.as_bytes().len()).unwrap_or(u64::MAX);
                let end = self.composer.born(&partition, None, batch.clone(), random);
                let end = end.after(batch.span());
                self.sizes.entry(partition.clone()).or_default().push((end, bytes));
                self.unacked_bytes = self.unacked_bytes.saturating_add(bytes);
            }
        }
        let key = Bytes::copy_from_slice(source.as_bytes());
        self.composer.set(sources_owner(), key, Some(position.encode()));
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
