//! Reconciling: committed inventory of every region in, derived records out.
//!
//! Commits are read in the order of the journal, and what they derive is committed together with
//! the number of the last commit it came from. After a restart the journal is read again from its
//! start; what was derived up to that number is not written a second time.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use headland_event::trace::TRACEPARENT_HEADER;
use headland_event::{
    Batch, CommitNumber, Entry, Now, PartitionIndex, Record, TopicName, TopicPartition,
};
use headland_reconcile::{Config, DerivedTopic, Input, Locality, Output, Reconciler};
use headland_storage::StateOwner;

use crate::config::HubConfig;
use crate::records::captured_at;
use crate::session::murmur2;
use crate::topics::{Topic, Topics};

/// The inventory of all regions, as this hub's journal tells it.
#[derive(Debug)]
pub struct Inventory {
    reconciler: Reconciler,
    topic: TopicName,
    written: CommitNumber,
}

impl Inventory {
    /// The state that holds how far derived records were written.
    pub const OWNER: &'static str = "inventory";

    /// Nothing reconciled yet.
    #[must_use]
    pub fn new(config: &HubConfig, seed: u64) -> Self {
        let region = config.region.clone();
        let restock_below = config.reconcile.restock_below;
        Self {
            reconciler: Reconciler::new(Config { region, restock_below }, seed),
            topic: config.reconcile.topic.clone(),
            written: CommitNumber::default(),
        }
    }

    /// Takes note of how far derived records were written before a restart.
    pub const fn restore(&mut self, written: CommitNumber) {
        self.written = written;
    }

    /// The state change that says that everything derived up to `number` is written.
    #[must_use]
    pub fn progress(&mut self, number: CommitNumber) -> (StateOwner, Bytes, Bytes) {
        debug_assert!(number > self.written, "derived records are written in commit order");
        self.written = number;
        let value = number.get().to_be_bytes().to_vec();
        (crate::node::owner(Self::OWNER), Bytes::from_static(b"written"), Bytes::from(value))
    }

    /// Reconciles a durable commit; returns the batches to write, none for what was written before.
    pub fn on_commit(
        &mut self,
        topics: &Topics,
        number: CommitNumber,
        entries: &[(TopicPartition, Entry)],
        now: Now,
    ) -> Vec<(TopicPartition, Batch)> {
        let mut derived = Derived::default();
        for (partition, entry) in entries {
            let topic = topics.get(&partition.topic);
            if let Some(topic) = topic.filter(|topic| topic.origin_name == self.topic) {
                self.on_entry(topic, entry, now, &mut derived);
            }
        }
        if number <= self.written { Vec::new() } else { derived.batches(topics) }
    }

    fn on_entry(&mut self, topic: &Topic, entry: &Entry, now: Now, derived: &mut Derived) {
        let Some(stamp) = &entry.stamp else { return };
        let locality = if topic.is_local() { Locality::Local } else { Locality::Remote };
        // The records were decoded when the batch was stamped, here or at its ingest hub.
        let records = entry.batch.numbered_records().unwrap_or_default();
        debug_assert_eq!(records.len(), entry.batch.len(), "a stamped batch decodes");
        for (delta, record) in &records {
            let value = record.value.clone().unwrap_or_default();
            let offset = stamp.offset.at(*delta);
            self.reconciler.on_event(Input {
                actor: &stamp.actor,
                offset,
                hlc: stamp.hlc,
                context: &stamp.context,
                verdict: stamp.verdict(*delta),
                locality,
                captured_at: captured_at(record).unwrap_or(now.wall),
                detected_at: now.wall,
                value: &value,
            });
            while let Some(output) = self.reconciler.poll_output() {
                derived.push(&output, record);
            }
        }
    }

    /// What is reconciled so far.
    #[must_use]
    pub const fn reconciler(&self) -> &Reconciler {
        &self.reconciler
    }
}

/// Derived records of one commit, by topic, in the order derived.
#[derive(Debug, Default)]
struct Derived {
    records: VecDeque<(DerivedTopic, Record)>,
}

impl Derived {
    fn push(&mut self, output: &Output, cause: &Record) {
        let value = output.value().map(Bytes::from);
        let key = Some(Bytes::from(output.key()));
        let mut record = Record { time: cause.time, key, value, headers: Vec::new() };
        if let Some(trace) = cause.header(TRACEPARENT_HEADER) {
            record = record.with_header(TRACEPARENT_HEADER, trace.to_vec());
        }
        self.records.push_back((output.topic(), record));
    }

    fn batches(self, topics: &Topics) -> Vec<(TopicPartition, Batch)> {
        let mut by_partition: BTreeMap<TopicPartition, Vec<Record>> = BTreeMap::new();
        for (topic, record) in self.records {
            let known = topics.iter().find(|known| known.name.as_str() == topic.name());
            let Some(known) = known else { continue };
            let hash = murmur2(record.key.as_deref().unwrap_or_default()) & 0x7fff_ffff;
            let partition = PartitionIndex::new(hash % known.partitions);
            let partition = TopicPartition::new(known.name.clone(), partition);
            by_partition.entry(partition).or_default().push(record);
        }
        let mut batches = Vec::new();
        for (partition, records) in by_partition {
            for batch in Batch::encode_all(&records) {
                match batch {
                    Ok(batch) => batches.push((partition.clone(), batch)),
                    Err(error) => {
                        tracing::error!(%partition, %error, "a derived record fits no batch");
                    }
                }
            }
        }
        batches
    }
}
