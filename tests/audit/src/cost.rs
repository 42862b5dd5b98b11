//! What auditing costs: the very calls that a node makes, on the very entries that it has, timed.
//!
//! A node has no switch that turns auditing off, so that a run with and one without it cannot be
//! compared. What it does is a call for each entry; those are made once more, on what lies in the
//! journal of the stopped node, and the processor time that they take is set against what the
//! node's process took for everything.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use headland_event::{ByteCount, Entry, Incarnation, Monotonic, Offset, TopicName, TopicPartition};
use headland_replication::Audit;
use headland_replication::audit::Statement;
use headland_storage::{DiskStore, LogReader, LogStore, OpenOptions};
use serde_json::{Value, json};

/// The topic of statements.
const STATEMENTS: &str = "_audit";

/// Bytes of a journal read at once.
const PAGE: ByteCount = ByteCount::mebibytes(16);

/// What was counted, and how long that took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) batches: u64,
    pub(crate) records: u64,
    pub(crate) statements: u64,
    pub(crate) cpu: Duration,
}

impl Cost {
    /// Audits the journal of a stopped node again, as the node that writes as `born` would.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) fn of(directory: &Path, born: Incarnation) -> Result<Self> {
        let store = DiskStore::open(directory, OpenOptions::new(1))?;
        let reader = store.reader();
        let partitions = reader.partitions();
        // A node asks what a topic is for each entry.
        let topics: BTreeMap<TopicName, bool> =
            partitions.iter().map(|at| (at.topic.clone(), is_of_statements(&at.topic))).collect();
        let mut audit = Audit::new(born, Monotonic::default());
        let mut cost = Self::default();
        for partition in &partitions {
            let mut next = reader.start(partition);
            while next < reader.end(partition) {
                let entries = reader.read(partition, next, PAGE)?;
                let Some(last) = entries.last() else { break };
                next = last.end();
                cost.add(&mut audit, &topics, partition, &entries);
            }
        }
        Ok(cost)
    }

    fn add(
        &mut self,
        audit: &mut Audit,
        topics: &BTreeMap<TopicName, bool>,
        partition: &TopicPartition,
        entries: &[Entry],
    ) {
        let before = headland_gauge::cpu();
        for entry in entries {
            if topics.get(&partition.topic) == Some(&true) {
                for record in entry.batch.records().unwrap_or_default() {
                    self.statements += 1;
                    if let Ok(statement) = Statement::decode(record.value.unwrap_or_default()) {
                        audit.on_statement(entry.dot.incarnation, statement);
                    }
                }
            } else {
                audit.on_entry(partition, entry);
            }
        }
        self.cpu += headland_gauge::cpu().saturating_sub(before);
        self.batches += u64::try_from(entries.len()).unwrap_or(u64::MAX);
        self.records += entries.iter().map(|entry| entry.batch.span()).sum::<u64>();
    }
}

fn is_of_statements(topic: &TopicName) -> bool {
    // A mirror's name begins with its region.
    topic.as_str() == STATEMENTS || topic.as_str().ends_with(&format!(".{STATEMENTS}"))
}

/// How often each record of a partition is there, beside what its writer numbered it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) records: u64,
    /// Records that are missing between others.
    pub(crate) missing: u64,
    /// Records that are there again.
    pub(crate) again: u64,
}

impl Held {
    /// What was found, as JSON.
    pub(crate) fn json(self) -> Value {
        let Self { records, missing, again } = self;
        json!({"records": records, "missing": missing, "again": again})
    }

    /// Counts what a stopped node has of a partition with one stream.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) fn of(directory: &Path, partition: &TopicPartition) -> Result<Self> {
        let store = DiskStore::open(directory, OpenOptions::new(1))?;
        let reader = store.reader();
        let (mut held, mut offset, mut next) = (Self::default(), Offset::new(0), None);
        while offset < reader.end(partition) {
            for entry in reader.read(partition, offset, PAGE)? {
                offset = entry.end();
                let (first, span) = (entry.dot.sequence.get(), entry.batch.span());
                let expected = next.unwrap_or(first);
                held.records += span;
                held.missing += first.saturating_sub(expected);
                held.again += expected.saturating_sub(first).min(span);
                next = Some(expected.max(first + span));
            }
        }
        Ok(held)
    }
}
