//! Records and alerts to commits: the outbox is the agent's log.
//!
//! A commit holds the records of some lines, the alerts they raised, and how far each file was
//! read, so after a crash the next line is read exactly once.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader};
use headland_event::limits::RECORD_BYTES_LIMIT;
use headland_event::{
    ByteCount, Lane, Offset, PartitionIndex, Random, Record, TopicName, TopicPartition,
};
use headland_replication::Identity;
use headland_storage::{
    Composed, Composer, StateError, StateOwner, StateStore, Ticket, TopicCodecs,
};

use crate::dead;
use crate::decode::Columns;

/// How far files were read.
mod position;
/// What is held, and what of it goes when there is too much.
mod ledger;
/// Which hub has acknowledged what.
mod settled;
/// What is sent in the place of records that are gone.
pub mod holes;

pub use ledger::{Ledger, Limits};
pub use position::FilePosition;
pub use settled::{Settled, Stretch};

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

/// Key of the state `results`: how many results of the last lines are written, u64.
const WRITTEN: &[u8] = b"written";

/// Key of the state `node`: how far the log is read for damage, in a layout of [`Scrub`]'s.
///
/// [`Scrub`]: headland_storage::Scrub
const SCRUB: &[u8] = b"scrub";

/// Composes the agent's commits and knows what the hub has of them.
#[derive(Debug)]
pub struct Outbox {
    composer: Composer,
    waiting: BTreeMap<TopicName, Vec<Record>>,
    waiting_bytes: usize,
    durable: BTreeMap<TopicPartition, Offset>,
    dead_letters: u64,
    ledger: Ledger,
    settled: Settled,
    /// The commit that keeps what may be sent as holes, until it is durable.
    kept_with: Option<Ticket>,
    keeping: Keeping,
    /// The hub that took records last, by the state.
    last_hub: Option<String>,
    codecs: TopicCodecs,
}

/// Whether it is kept over restarts which hub has acknowledged what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// There is one hub: its positions say it.
    LastHub,
    /// There are several: a restart in front of another one has to know.
    Spans,
}

/// Key of the state `hubs`: the hub that took records last. No topic has such a name.
const LAST_HUB: &[u8] = b"/last";

/// The one partition of an agent's topic.
#[must_use]
pub fn partition_of(topic: &TopicName) -> TopicPartition {
    TopicPartition::new(topic.clone(), PartitionIndex::new(0))
}

fn topic_of(key: &[u8]) -> Option<TopicName> {
    TopicName::new(std::str::from_utf8(key).ok()?).ok()
}

/// An owner of state whose name is a literal.
pub(crate) fn owner(name: &'static str) -> StateOwner {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for owners")]
    StateOwner::new(name).expect("a literal owner fits")
}

impl Outbox {
    /// An outbox on top of what the composer knows of the log; batches are compressed by topic.
    #[must_use]
    pub fn new(composer: Composer, limits: Limits, codecs: TopicCodecs) -> Self {
        let durable = composer.ends().map(|(at, end)| (at.clone(), end)).collect();
        Self {
            composer,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            durable,
            dead_letters: 0,
            ledger: Ledger::new(limits),
            settled: Settled::default(),
            kept_with: None,
            keeping: Keeping::LastHub,
            last_hub: None,
            codecs,
        }
    }

    /// Takes up which hub has acknowledged what.
    ///
    /// # Errors
    /// [`OutboxError`] when the state cannot be read.
    pub fn take_up_hubs(
        &mut self,
        state: &impl StateStore,
        keeping: Keeping,
    ) -> Result<(), OutboxError> {
        self.keeping = keeping;
        for (key, value) in state.scan(&owner("hubs"), b"")? {
            if key == LAST_HUB {
                self.last_hub = Some(String::from_utf8_lossy(&value).into_owned());
            } else if let Some(topic) = topic_of(&key) {
                self.settled.restore(partition_of(&topic), value)?;
            }
        }
        Ok(())
    }

    /// A hub takes records from now on: what it has is told from what the one before it had.
    pub fn on_hub(&mut self, hub: &Identity) {
        let hub = hub.to_string();
        if self.last_hub.as_ref() == Some(&hub) {
            return;
        }
        let former = self.last_hub.replace(hub.clone());
        // Before spans were kept there was one hub.
        if let Some(former) = former {
            let acked: Vec<_> = self.ledger.all_acked().collect();
            for (partition, acked) in acked {
                self.settled.adopt(&partition, &former, acked);
            }
        }
        self.composer.set(owner("hubs"), Bytes::from_static(LAST_HUB), Some(hub.into()));
    }

    /// A hub has everything of a partition before `next` on disk.
    pub fn on_acked(&mut self, partition: &TopicPartition, hub: &Identity, next: Offset) {
        let start = self.ledger.start(partition);
        let all = self.settled.on_acked(partition, hub, (start, next));
        self.ledger.on_acked(partition, all);
    }

    /// A hub that was just connected has everything of a partition before `at` on disk.
    pub fn on_stands(&mut self, partition: &TopicPartition, hub: &Identity, at: Offset) {
        self.settled.on_stands(partition, hub, at);
    }

    /// Whether a commit has to keep what may be sent as holes.
    #[must_use]
    pub const fn has_to_keep(&self) -> bool {
        self.settled.is_due()
    }

    /// Whether some of what hubs have acknowledged is known here only, and to be kept.
    #[must_use]
    pub fn has_unkept(&self) -> bool {
        self.keeping == Keeping::Spans && self.settled.has_changed()
    }

    /// Whether what may be sent as holes is durable, so that they may be sent.
    #[must_use]
    pub const fn may_send_holes(&self) -> bool {
        !self.settled.is_due() && self.kept_with.is_none()
    }

    /// A commit is durable.
    pub fn on_committed(&mut self, ticket: Ticket) {
        self.kept_with.take_if(|kept_with| *kept_with <= ticket);
    }

    /// Which hub has acknowledged what.
    #[must_use]
    pub const fn settled(&self) -> &Settled {
        &self.settled
    }

    /// Keeps which hub has acknowledged what, in the commit being composed.
    fn keep_settled(&mut self) {
        // Of one hub its positions say it all, unless another one was there before.
        if self.keeping == Keeping::LastHub && !self.settled.is_due() {
            return;
        }
        for (partition, value) in self.settled.take_changed() {
            let key = Bytes::copy_from_slice(partition.topic.as_str().as_bytes());
            self.composer.set(owner("hubs"), key, Some(value));
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
            self.waiting_bytes += found;
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
        self.waiting_bytes += letter.payload_len();
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

    /// Keeps what a file that rules look in holds, in the commit being composed.
    pub fn set_file(&mut self, key: Bytes, value: Option<Bytes>) {
        self.composer.set(owner("files"), key, value);
    }

    /// How far the log was read for damage, by the state.
    ///
    /// # Errors
    /// [`OutboxError`] when the state cannot be read.
    pub fn scrubbed(state: &impl StateStore) -> Result<Option<Bytes>, OutboxError> {
        Ok(state.get(&owner("node"), SCRUB)?)
    }

    /// Keeps how far the log is read for damage, in the next commit.
    pub fn set_scrub(&mut self, mark: Bytes) {
        self.composer.set(owner("node"), Bytes::from_static(SCRUB), Some(mark));
    }

    /// Keeps how far a file was read, in the commit being composed.
    pub fn set_position(&mut self, source: &str, position: FilePosition) {
        let key = Bytes::copy_from_slice(source.as_bytes());
        self.composer.set(owner("sources"), key, Some(position.encode()));
    }

    /// How many results of the last lines are written, by the state; `None` when all are.
    ///
    /// # Errors
    /// [`OutboxError`] when the state cannot be read.
    pub fn written_results(state: &impl StateStore) -> Result<Option<u64>, OutboxError> {
        let Some(value) = state.get(&owner("results"), WRITTEN)? else { return Ok(None) };
        let mut reader = Reader::new(value);
        let written = reader.u64("written results")?;
        reader.end()?;
        Ok(Some(written))
    }

    /// Keeps how many results of the last lines are written, in the commit being composed; `None`
    /// when all are.
    pub fn set_written_results(&mut self, written: Option<u64>) {
        let value = written.map(|written| Bytes::copy_from_slice(&written.to_be_bytes()));
        self.composer.set(owner("results"), Bytes::from_static(WRITTEN), value);
    }

    /// Bytes that were pushed into the commit being composed.
    #[must_use]
    pub const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Closes the commit with what was pushed and set, after the agent has run for `uptime`.
    ///
    /// # Panics
    /// Never: what fits no batch became a dead letter when it was pushed.
    pub fn finish(
        &mut self,
        lane: impl Fn(&TopicName) -> Lane,
        uptime: Duration,
        random: &mut dyn Random,
    ) -> Option<Composed> {
        self.waiting_bytes = 0;
        for (topic, records) in std::mem::take(&mut self.waiting) {
            let partition = partition_of(&topic);
            for batch in self.codecs.encode_all(&topic, &records) {
                #[expect(clippy::expect_used, reason = "what is larger became a dead letter")]
                let batch = batch.expect("a record within its limit fits a batch");
                let bytes = u64::try_from(batch.as_bytes().len()).unwrap_or(u64::MAX);
                let end = self.composer.born(&partition, None, batch.clone(), random);
                let (end, bytes) = (end.after(batch.span()), ByteCount::new(bytes));
                self.ledger.on_batch((&partition, lane(&topic)), end, bytes, uptime);
            }
        }
        let is_due = self.settled.is_due();
        self.keep_settled();
        let composed = self.composer.take();
        if is_due {
            self.kept_with = composed.as_ref().map(|composed| composed.ticket);
        }
        composed
    }

    /// The end of a partition is durable.
    pub fn on_durable(&mut self, partition: &TopicPartition, end: Offset) {
        self.durable.insert(partition.clone(), end);
    }

    /// What is held, and what of it is to go.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// As [`Self::ledger`], to tell it what happens.
    pub const fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
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
            .map(|(at, end)| end.get().saturating_sub(self.ledger.acked(at).get()))
            .sum()
    }
}
