//! Restoring a hub from its journal.

use bytes::Bytes;
use headland_event::codec::CodecError;
use headland_event::{Entry, EventTime, Lane, NameError, Offset, TopicName, TopicPartition};
use headland_storage::{LogReader, StateError, StateOwner, StateStore};

use super::{Node, StartError};
use crate::reconcile::Inventory;
use crate::store::OWNERS;
use crate::topics::{Topic, TopicError};

/// Why a hub's state could not be taken up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// The state could not be read.
    #[error("the state store failed")]
    State(#[from] StateError),
    /// A value is not of a known layout.
    #[error("the state of {owner} is not of a known layout")]
    Layout {
        /// Whose state it is.
        owner: StateOwner,
        /// What is wrong with it.
        source: CodecError,
    },
    /// A value is no JSON of a known kind.
    #[error("the state of {owner} is not of a known kind")]
    Json {
        /// Whose state it is.
        owner: StateOwner,
        /// What the parser met.
        source: serde_json::Error,
    },
    /// A log that holds a part of the state cannot be read.
    #[error("a log of rights or settings cannot be read")]
    Log(#[from] headland_storage::ReadError),
    /// A stored name does not fit.
    #[error("a stored name does not fit")]
    Name(#[from] NameError),
    /// A stored topic contradicts the configuration.
    #[error("a stored topic does not fit the configuration")]
    Topic(#[from] TopicError),
}

/// An owner of state whose name is a literal.
///
/// # Panics
/// When the literal does not fit the rule for owners, which a test would meet.
#[must_use]
pub fn owner(name: &'static str) -> StateOwner {
    debug_assert!(OWNERS.contains(&name), "what {name} loses cannot be accepted");
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for owners")]
    StateOwner::new(name).expect("a literal owner fits")
}

impl Node {
    /// Checks that the log is of this node, and writes whose it is into the first commit of one
    /// that does not say: two nodes on one log would both go on with its offsets and sequences.
    pub(super) fn claim(&mut self, state: &impl StateStore) -> Result<(), StartError> {
        let key = Bytes::from_static(b"name");
        let found = state.get(&owner("node"), &key).map_err(RecoveryError::State)?;
        let expected = self.identity.to_string();
        match found {
            Some(found) if found == expected.as_bytes() => {}
            Some(found) => {
                let found = String::from_utf8_lossy(&found).into_owned();
                let (data_dir, expected) = (self.data_dir.clone(), self.identity.clone());
                return Err(StartError::OtherNode { data_dir, found, expected });
            }
            None => self.composer.set(owner("node"), key, Some(expected.into())),
        }
        Ok(())
    }

    /// Takes up what the state says: topics, positions, promised watermarks, derived records.
    pub(super) fn restore(&mut self, state: &impl StateStore) -> Result<(), RecoveryError> {
        for (_, value) in state.scan(&owner("topics"), b"")? {
            let topic = Topic::decode(value)
                .map_err(|source| RecoveryError::Layout { owner: owner("topics"), source })?;
            self.topics.add(topic)?;
        }
        for topic in self.topics.iter().filter(|topic| topic.lane == Lane::Alerts) {
            self.composer.add_alerts(topic.name.clone());
        }
        for (key, value) in state.scan(&owner("positions"), b"")? {
            self.positions.insert(key, Offset::new(number("positions", &value)?));
        }
        for (key, value) in state.scan(&owner("watermarks"), b"")? {
            let topic = TopicName::new(&String::from_utf8_lossy(&key))?;
            let millis = i64::from_ne_bytes(number("watermarks", &value)?.to_ne_bytes());
            let rose = self.ingest.promise(&topic, EventTime::from_millis(millis));
            debug_assert!(rose, "a topic has one watermark in the state");
        }
        self.restore_heartbeats(state)?;
        self.restore_partitions(state)?;
        self.restore_links(state)?;
        self.restore_groups(state)?;
        self.restore_begins(state)?;
        self.restore_gaps(state)?;
        self.restore_ends(state)?;
        self.restore_cuts(state)?;
        self.restore_lost(state)?;
        self.restore_fences(state)?;
        self.restore_resent(state)?;
        let (owner, key) = Inventory::place();
        if let Some(value) = state.get(&owner, &key)? {
            let layout = |source| RecoveryError::Layout { owner, source };
            self.inventory.restore(value).map_err(layout)?;
        }
        Ok(())
    }

    /// Takes up what the log itself says of rights and of how topics are kept.
    pub(super) fn recover(&mut self, log: &impl LogReader) -> Result<(), StartError> {
        self.recover_rights(log)?;
        Ok(self.recover_settings(log)?)
    }

    /// Takes note of an entry that was in the log before this run.
    pub(super) fn observe(&mut self, partition: &TopicPartition, entry: &Entry) {
        debug_assert!(
            self.durable.get(partition).is_some_and(|end| entry.end() <= *end),
            "what is replayed lies before the end of its partition"
        );
        let Some(topic) = self.topics.get(&partition.topic) else { return };
        if let Some(stamp) = entry.stamp.as_ref().filter(|_| !entry.is_stand_in()) {
            let origin_topic = topic.origin_name.clone();
            self.regain(&partition.topic, &origin_topic, (stamp, &entry.batch));
            self.ingest.observe(&origin_topic, stamp, &entry.batch);
        }
    }
}

pub(super) fn number(whose: &'static str, value: &Bytes) -> Result<u64, RecoveryError> {
    let mut reader = headland_event::codec::Reader::new(value.clone());
    reader
        .u64("value")
        .and_then(|number| reader.end().map(|()| number))
        .map_err(|source| RecoveryError::Layout { owner: owner(whose), source })
}
