//! Reservations: answered from what this hub holds, made durable in its own log.

use std::collections::BTreeMap;

use bytes::Bytes;
use headland_event::codec::Writer;
use headland_event::{
    Alert, AlertId, AlertState, Batch, ByteCount, Entry, Incarnation, Now, Offset, PartitionIndex,
    Record, Severity, TopicName, TopicPartition,
};
use headland_reconcile::escrow::{Answer, CloseError, Closing, Standing};
use headland_reconcile::{EscrowOutput, EscrowRecord, Sku, Units};
use headland_storage::{LogReader, StateError, StateStore};

use super::recovery::{RecoveryError, owner};
use super::{Node, StartError};
use crate::config::HubConfig;
use crate::escrow::{
    CloseRequest, ReserveRequest, Reserved, Rights, RightsView, UnitsRequest, escrow_partition,
    escrow_topic,
};
use crate::session::murmur2;

/// Bytes of a log of rights read at once.
const READ_BYTES: ByteCount = ByteCount::mebibytes(1);

/// The rule that alerts about missing units are of.
const SHORT_RULE: &str = "escrow-short";

/// Why nothing is reserved or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EscrowError {
    /// This hub holds no rights.
    #[error("this hub takes no reservations; add a section [escrow] to its configuration")]
    NotConfigured,
    /// Nothing of that name is reserved here.
    #[error("no reservation {request} of sku {sku} is open here")]
    NotOpen {
        /// The request.
        request: String,
        /// The sku.
        sku: Sku,
    },
    /// It is being ended otherwise.
    #[error("reservation {request} of sku {sku} is being {outcome} already")]
    Ending {
        /// The request.
        request: String,
        /// The sku.
        sku: Sku,
        /// How.
        outcome: Closing,
    },
}

impl Node {
    /// The rights of a hub that is configured to hold some, before its log is read.
    pub(super) fn rights(
        config: &HubConfig,
        incarnation: Incarnation,
        state: &impl StateStore,
        seed: u64,
    ) -> Result<Option<Rights>, StartError> {
        let Some(escrow) = &config.escrow else { return Ok(None) };
        let standing = standing(incarnation, state).map_err(RecoveryError::State)?;
        let region = config.region.clone();
        Ok(Some(Rights::new(escrow, region, incarnation, standing, seed)))
    }

    /// Reads what every log of rights here says. O(their bytes).
    pub(super) fn recover_rights(&mut self, log: &impl LogReader) -> Result<(), RecoveryError> {
        let Some(rights) = &mut self.rights else { return Ok(()) };
        for partition in log.partitions() {
            let topic = self.topics.get(&partition.topic);
            if topic.is_none_or(|topic| topic.origin_name != escrow_topic()) {
                continue;
            }
            let mut next = log.start(&partition);
            while next < log.end(&partition) {
                let entries = log.read(&partition, next, READ_BYTES)?;
                let Some(last) = entries.last() else { break };
                next = last.end();
                entries.iter().for_each(|entry| rights.replay(entry));
            }
        }
        rights.resume();
        Ok(())
    }

    /// Takes note of durable records about rights, and writes what they call for.
    pub(super) fn note_rights(&mut self, now: Now, entries: &[(TopicPartition, Entry)]) {
        let Self { rights: Some(rights), topics, .. } = self else { return };
        for (partition, entry) in entries {
            let topic = topics.get(&partition.topic);
            if topic.is_some_and(|topic| topic.origin_name == escrow_topic()) {
                rights.on_entry(now.monotonic, entry);
            }
        }
        self.write_rights(now, None);
    }

    /// Takes note that another region's hub was met in this life.
    pub(super) fn note_peer_met(&mut self) {
        let Some(rights) = &mut self.rights else { return };
        rights.on_peer_met();
        self.composer.set(owner("escrow"), met_key(), Some(encoded(self.incarnation)));
    }

    /// A customer asks for units: answered at once, or granted once a record is durable.
    ///
    /// # Errors
    /// [`EscrowError`] when this hub holds no rights.
    pub fn on_reserve(
        &mut self,
        now: Now,
        asked: &ReserveRequest,
    ) -> Result<Reserved, EscrowError> {
        let rights = self.rights.as_mut().ok_or(EscrowError::NotConfigured)?;
        rights.on_reserve(now.monotonic, asked);
        let answer = self.write_rights(now, Some(asked));
        let rights = self.rights.as_ref().ok_or(EscrowError::NotConfigured)?;
        let under_way = rights.under_way(asked).map(Reserved::UnderWay);
        // An escrow writes or answers; were it to do neither, nothing would be known.
        debug_assert!(
            answer.is_some() != under_way.is_some(),
            "a reservation is either under way or answered"
        );
        Ok(answer.or(under_way).unwrap_or(Reserved::Answered(Answer::UnknownYet)))
    }

    /// A reservation made here ended; durable once the log of rights reaches the offset returned.
    ///
    /// # Errors
    /// [`EscrowError`] when none of that name is open here, or it is being ended otherwise.
    pub fn on_reservation_closed(
        &mut self,
        now: Now,
        asked: &CloseRequest,
    ) -> Result<Offset, EscrowError> {
        let rights = self.rights.as_mut().ok_or(EscrowError::NotConfigured)?;
        rights.on_close(asked).map_err(|error| {
            let (request, sku) = (asked.request.to_string(), asked.sku.clone());
            match error {
                CloseError::Ending { outcome } => EscrowError::Ending { request, sku, outcome },
                CloseError::NotOpen => EscrowError::NotOpen { request, sku },
            }
        })?;
        self.write_rights(now, None);
        Ok(self.composer.end(&escrow_partition()))
    }

    /// Puts units up for sale; durable once the log of rights reaches the offset returned.
    ///
    /// # Errors
    /// [`EscrowError`] when this hub holds no rights.
    pub fn on_offered(&mut self, now: Now, asked: &UnitsRequest) -> Result<Offset, EscrowError> {
        self.rights.as_mut().ok_or(EscrowError::NotConfigured)?.on_create(asked);
        self.write_rights(now, None);
        Ok(self.composer.end(&escrow_partition()))
    }

    /// Units that were put up for sale are missing: rights are recalled from every holder; durable
    /// once the log of rights reaches the offset returned.
    ///
    /// # Errors
    /// [`EscrowError`] when this hub holds no rights.
    pub fn on_missing(&mut self, now: Now, asked: &UnitsRequest) -> Result<Offset, EscrowError> {
        self.rights.as_mut().ok_or(EscrowError::NotConfigured)?.on_shortfall(asked);
        self.write_rights(now, None);
        Ok(self.composer.end(&escrow_partition()))
    }

    /// What is known of a sku's rights; `None` at a hub that holds none.
    #[must_use]
    pub fn rights_of(&self, sku: &Sku) -> Option<RightsView> {
        self.rights.as_ref().map(|rights| rights.view(sku))
    }

    /// Composes what the escrow asks for, and returns the answer to a reservation if it has one.
    pub(super) fn write_rights(
        &mut self,
        now: Now,
        asked: Option<&ReserveRequest>,
    ) -> Option<Reserved> {
        let mut answered = None;
        while let Some(output) = self.rights.as_mut().and_then(Rights::poll_output) {
            match output {
                EscrowOutput::Commit(record) => self.write_right(now, &record),
                EscrowOutput::Answer { sku, request, answer } => {
                    let is_asked = asked.is_some_and(|of| of.sku == sku && of.request == request);
                    answered = is_asked.then_some(Reserved::Answered(answer)).or(answered);
                }
                EscrowOutput::Short { sku, units } => self.warn_short(now, &sku, units),
            }
        }
        self.cut_commit();
        answered
    }

    fn write_right(&mut self, now: Now, record: &EscrowRecord) {
        let at = escrow_partition();
        let offset = self.composer.end(&at);
        if let Some(rights) = &mut self.rights {
            rights.on_composed(offset, record);
        }
        let written = Record::new(now.wall, record.sku.to_string(), record.to_json());
        match Batch::encode(&[written]) {
            Ok(batch) => self.born(&at, batch, now),
            // Names are bounded, and so is the number of holders that a recall names.
            Err(error) => tracing::error!(%at, %error, "a record about rights fits no batch"),
        }
    }

    /// Says that units were promised which are not there.
    fn warn_short(&mut self, now: Now, sku: &Sku, units: Units) {
        let evidence = self.composer.end(&escrow_partition());
        let window = format!("{}/{evidence}", self.incarnation);
        let region = self.identity.region().to_string();
        let alert = Alert {
            id: AlertId::derive(SHORT_RULE, sku.as_str(), &format!("{region}/{window}")),
            rule: SHORT_RULE.to_owned(),
            key: sku.to_string(),
            window,
            state: AlertState::Firing,
            severity: Severity::Critical,
            revision: 1,
            event_time: now.wall,
            captured_at: now.wall,
            detected_at: now.wall,
            evidence,
            values: BTreeMap::from([
                ("region".to_owned(), region),
                ("sku".to_owned(), sku.to_string()),
                ("units".to_owned(), units.to_string()),
            ]),
        };
        tracing::error!(%sku, %units, "units were promised that are not there");
        let (Ok(topic), Ok(value)) = (TopicName::new("alerts"), serde_json::to_vec(&alert)) else {
            return;
        };
        let partitions = self.topics.get(&topic).map_or(1, |topic| topic.partitions.max(1));
        let key = alert.id.to_string();
        let hash = murmur2(key.as_bytes()) & 0x7fff_ffff;
        let at = TopicPartition::new(topic, PartitionIndex::new(hash % partitions));
        match Batch::encode(&[Record::new(now.wall, key, value)]) {
            Ok(batch) => self.born(&at, batch, now),
            Err(error) => tracing::error!(%at, %error, "an alert fits no batch"),
        }
    }
}

fn met_key() -> Bytes {
    Bytes::from_static(b"met")
}

fn encoded(incarnation: Incarnation) -> Bytes {
    let mut writer = Writer::new();
    writer.u32(incarnation.counter());
    writer.u64(incarnation.nonce());
    writer.finish()
}

/// The first life of a data directory began empty. A later one came up from a backup or as a clone,
/// until it has met a peer.
fn standing(incarnation: Incarnation, state: &impl StateStore) -> Result<Standing, StateError> {
    let met = state.get(&owner("escrow"), &met_key())?;
    let has_met = met.is_some_and(|met| met == encoded(incarnation));
    Ok(if has_met || incarnation.counter() <= 1 { Standing::Settled } else { Standing::Alone })
}
