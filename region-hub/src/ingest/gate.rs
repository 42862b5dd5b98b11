//! What an agent's record has to be to count: permitted, of a registered schema, about a known sku.
//!
//! It is decided once, by the hub that takes a record in, and stands in the stamp: lists and
//! schemas change, and a region that reads the record later must not judge it otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use headland_event::schema::SchemaIdError;
use headland_event::{AgentName, Record, SchemaId, TopicName};
use headland_reconcile::{EventBody, InventoryEvent, KnownSkus};

use super::{Grant, has_device_keys};
use crate::config::HubConfig;

/// Bytes of a key that a message repeats.
const KEY_BYTES_SHOWN: usize = 128;

/// Ids of registered schemas by topic; a topic that is not named takes any.
pub type RegisteredSchemas = BTreeMap<TopicName, BTreeSet<SchemaId>>;

/// Why an agent may not publish a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forbidden {
    /// Its device is not one of the agent's.
    Device {
        /// The agent.
        agent: AgentName,
        /// The device, the beginning of its id.
        device: String,
    },
    /// It decides about a late event.
    Decision {
        /// The agent.
        agent: AgentName,
    },
    /// It names a schema that is not registered.
    Schema {
        /// The schema.
        found: SchemaId,
        /// The topic.
        topic: TopicName,
        /// Those that are.
        registered: BTreeSet<SchemaId>,
    },
    /// What it names as its schema is no id.
    SchemaId(SchemaIdError),
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device { agent, device } => {
                write!(f, "device {device} is not one that agent {agent} may publish for")
            }
            Self::Decision { agent } => {
                write!(f, "agent {agent} may not decide about late events, only operators may")
            }
            Self::Schema { found, topic, registered } => {
                let known: Vec<String> = registered.iter().map(ToString::to_string).collect();
                let known = known.join(", ");
                write!(f, "schema {found} is not registered for topic {topic}; it has {known}")
            }
            Self::SchemaId(error) => error.fmt(f),
        }
    }
}

/// What the configuration asks of an agent's records.
#[derive(Debug)]
pub struct Gate {
    inventory: TopicName,
    skus: KnownSkus,
    schemas: RegisteredSchemas,
}

impl Gate {
    /// The gate of a configured hub.
    #[must_use]
    pub fn new(config: &HubConfig) -> Self {
        let inventory = config.reconcile.topic.clone();
        Self { inventory, skus: config.known_skus.clone(), schemas: config.registered.clone() }
    }

    /// Takes events about these skus only.
    #[cfg(test)]
    pub(super) fn list_only(
        &mut self,
        skus: BTreeMap<headland_reconcile::Sku, headland_reconcile::UnitName>,
    ) {
        self.skus = KnownSkus::Listed(skus);
    }

    /// Takes these schemas only.
    #[cfg(test)]
    pub(super) fn register(&mut self, schemas: RegisteredSchemas) {
        self.schemas = schemas;
    }

    /// Why an agent may not publish a record to a topic; `None` when it may.
    ///
    /// Cost: a look at key and headers; in the topic of inventory one at the value for the words of
    /// a decision.
    #[must_use]
    pub fn forbidden(
        &self,
        grant: &Grant,
        topic: &TopicName,
        record: &Record,
    ) -> Option<Forbidden> {
        if has_device_keys(topic) && !grant.covers_device(record) {
            let (agent, device) = (grant.agent().clone(), key_text(record));
            return Some(Forbidden::Device { agent, device });
        }
        if *topic == self.inventory && is_decision(record) {
            return Some(Forbidden::Decision { agent: grant.agent().clone() });
        }
        let registered = self.schemas.get(topic)?;
        match SchemaId::of_record(record) {
            Ok(None) => None,
            Ok(Some(found)) if registered.contains(&found) => None,
            Ok(Some(found)) => {
                let (topic, registered) = (topic.clone(), registered.clone());
                Some(Forbidden::Schema { found, topic, registered })
            }
            Err(error) => Some(Forbidden::SchemaId(error)),
        }
    }

    /// Whether a record is an event about a sku, or in a unit, that the list does not have.
    ///
    /// What is no event at all is not for the list to judge. Cost: parses the event, where there
    /// is a list.
    #[must_use]
    pub fn is_unlisted(&self, topic: &TopicName, record: &Record) -> bool {
        if *topic != self.inventory || self.skus == KnownSkus::Any {
            return false;
        }
        let event = InventoryEvent::parse(record.value.as_deref().unwrap_or_default());
        event.is_ok_and(|event| self.skus.check(&event).is_err())
    }
}

/// Whether a record decides about a late event, which only an operator does, at a hub.
///
/// Cost: a look for the words; the event is parsed only where one of them, or a character in
/// disguise, is found.
fn is_decision(record: &Record) -> bool {
    let Some(value) = record.value.as_deref() else { return false };
    let holds = |word: &[u8]| value.windows(word.len()).any(|found| found == word);
    let may_be = [b"approve".as_slice(), b"reject", b"amend", b"\\u"].into_iter().any(holds);
    let event = may_be.then(|| InventoryEvent::parse(value));
    matches!(event, Some(Ok(InventoryEvent { body: EventBody::Decision { .. }, .. })))
}

fn key_text(record: &Record) -> String {
    let Some(key) = record.key.as_deref() else { return "(none)".to_owned() };
    String::from_utf8_lossy(key.get(..KEY_BYTES_SHOWN).unwrap_or(key)).into_owned()
}
