//! Derived records on their way into batches.

use std::collections::BTreeMap;

use bytes::Bytes;
use headland_event::trace::TRACEPARENT_HEADER;
use headland_event::{
    Batch, BatchError, Codec, EventTime, PartitionIndex, Record, TopicName, TopicPartition,
};
use headland_reconcile::{DerivedTopic, Output};

use crate::peer_link::murmur2;
use crate::records::{Whole, dead_record};
use crate::topics::{Topics, dead_topic};

/// Derived records of one step by topic, in the order derived.
#[derive(Debug, Default)]
pub(super) struct Derived {
    by_topic: BTreeMap<DerivedTopic, Vec<Record>>,
    bytes: usize,
}

impl Derived {
    /// Adds what a record caused, at a wall clock.
    ///
    /// A row has the time of what caused it. A row that is taken away has this hub's: compaction
    /// lets a tombstone go some time after that of its record, and readers need it however old the
    /// event was that caused it.
    pub(super) fn push(&mut self, output: &Output, cause: &Record, now: EventTime) {
        let value = output.value().map(Bytes::from);
        let key = Some(Bytes::from(output.key()));
        let time = if value.is_some() { cause.time } else { now.max(cause.time) };
        let mut record = Record { time, key, value, headers: Vec::new() };
        if let Some(trace) = cause.header(TRACEPARENT_HEADER) {
            record = record.with_header(TRACEPARENT_HEADER, trace.to_vec());
        }
        self.bytes += record.payload_len();
        self.by_topic.entry(output.topic()).or_default().push(record);
    }

    /// Bytes of keys, values and headers.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_topic.is_empty()
    }

    /// The batches to write; a record that fits none is replaced by its dead letter.
    pub(super) fn batches(self, topics: &Topics, codec: Codec) -> Vec<(TopicPartition, Batch)> {
        let mut batches = Vec::new();
        for (topic, records) in self.by_topic {
            let Ok(name) = TopicName::new(topic.name()) else { continue };
            let partitions = topics.get(&name).map_or(1, |known| known.partitions);
            let mut by_partition: BTreeMap<PartitionIndex, Vec<Record>> = BTreeMap::new();
            for record in records {
                let hash = murmur2(record.key.as_deref().unwrap_or_default()) & 0x7fff_ffff;
                let partition = PartitionIndex::new(hash % partitions);
                by_partition.entry(partition).or_default().push(record);
            }
            for (partition, records) in by_partition {
                let at = TopicPartition::new(name.clone(), partition);
                batches_of(&at, (&records, codec), &mut batches);
            }
        }
        batches
    }
}

/// Encodes records of one partition, with dead letters for those too large.
pub(crate) fn batches_of(
    at: &TopicPartition,
    (records, codec): (&[Record], Codec),
    batches: &mut Vec<(TopicPartition, Batch)>,
) {
    let mut rest = records;
    for encoded in Batch::encode_all_with(codec, records) {
        let count = encoded.as_ref().map_or(1, Batch::len);
        let (taken, after) = rest.split_at(count.min(rest.len()));
        rest = after;
        match (encoded, taken.first()) {
            (Ok(batch), _) => batches.push((at.clone(), batch)),
            (Err(error), Some(record)) => bury(at, record, &error, batches),
            (Err(_), None) => {}
        }
    }
    debug_assert!(rest.is_empty(), "every record is in a batch or refused in its place");
}

fn bury(
    at: &TopicPartition,
    record: &Record,
    error: &BatchError,
    batches: &mut Vec<(TopicPartition, Batch)>,
) {
    let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default());
    tracing::error!(%at, %key, %error, "a derived record fits no batch: it is a dead letter");
    let reason = format!("a derived record fits no batch: {error}");
    let letter = dead_record(record, &reason, Whole::Nowhere);
    if let (Ok(topic), Ok(batch)) = (dead_topic(&at.topic), Batch::encode(&[letter])) {
        batches.push((TopicPartition::new(topic, PartitionIndex::new(0)), batch));
    }
}

#[cfg(test)]
mod tests {
    use headland_event::limits::RECORD_BYTES_LIMIT;
    use headland_event::{Actor, Incarnation, Offset, RegionId};
    use headland_reconcile::{DeliveryId, DuplicateRecord, Position, Retraction};
    use sha2::{Digest, Sha256};

    use super::*;

    fn position(offset: u64) -> Position {
        let region = RegionId::new("eu").unwrap();
        let (incarnation, partition) = (Incarnation::new(1, 1), PartitionIndex::new(0));
        let actor = Actor { region, incarnation, partition };
        Position { actor, offset: Offset::new(offset) }
    }

    fn of(bytes: usize) -> Record {
        Record::new(EventTime::from_millis(5), "eu/1", vec![b'x'; bytes])
    }

    #[test]
    fn a_row_that_is_taken_away_has_the_time_when_it_was_and_others_that_of_their_event() {
        let (old, now) = (EventTime::from_millis(5), EventTime::from_millis(9_000));
        let mut derived = Derived::default();
        let retracted = Retraction { topic: DerivedTopic::Stock, key: "A|eu-1".to_owned() };
        let duplicate = DuplicateRecord {
            id: DeliveryId::new("eu/1").unwrap(),
            kept: position(0),
            dropped: position(1),
        };

        derived.push(&Output::Retracted(retracted), &of(1), now);
        derived.push(&Output::Duplicate(duplicate), &of(1), now);

        let times = |topic| derived.by_topic.get(&topic).map(|records| records[0].time);
        assert_eq!(times(DerivedTopic::Stock), Some(now));
        assert_eq!(times(DerivedTopic::Duplicates), Some(old));
    }

    #[test]
    fn a_derived_record_too_large_for_a_batch_becomes_a_dead_letter_with_its_hash() {
        let topics = Topics::new(&RegionId::new("eu").unwrap(), &[]).unwrap();
        let large = RECORD_BYTES_LIMIT.as_len() + 1;
        let records = vec![of(7), of(large), of(8)];
        let by_topic = BTreeMap::from([(DerivedTopic::Late, records)]);

        let batches = Derived { by_topic, bytes: 0 }.batches(&topics, Codec::None);

        let mut written = Vec::new();
        for (at, batch) in &batches {
            for record in batch.records().unwrap() {
                written.push((at.to_string(), record.value.clone().unwrap().len(), record));
            }
        }
        let shown: Vec<(&str, usize)> =
            written.iter().map(|(at, length, _)| (at.as_str(), *length)).collect();
        assert_eq!(
            shown,
            [("inventory.late/0", 7), ("inventory.late.dead/0", 4_096), ("inventory.late/0", 8)]
        );
        let letter = &written[1].2;
        let hash: String =
            Sha256::digest(vec![b'x'; large]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(letter.header("hl-sha256"), Some(hash.as_bytes()));
        assert_eq!(letter.header("hl-bytes"), Some(large.to_string().as_bytes()));
        let reason = std::str::from_utf8(letter.header("hl-reason").unwrap()).unwrap();
        assert!(reason.starts_with("a derived record fits no batch: record 0 has "), "{reason}");
        assert!(topics.get(&batches[1].0.topic).is_some());
    }
}
