//! Whether the hub's log holds what was written to it and to those it mirrors.

use std::collections::VecDeque;

use headland_event::{
    Alert, Batch, ByteCount, Entry, NodeRule, Now, PartitionIndex, Record, RegionId, TopicPartition,
};
use headland_replication::audit::{Fault, Statement};
use headland_storage::{MissingOffsets, ReadError, Retention};
use serde::{Deserialize, Serialize};

use super::{Node, Output};
use crate::records::{audit_topic, statement_record};
use crate::topics::Replication;

/// How long statements are kept: they are of use until all have compared them, and an operator
/// may want to look back over a weekend.
pub(super) const RETENTION: Retention =
    Retention { time: Some(std::time::Duration::from_secs(72 * 3_600)), bytes: None };

/// Bytes of a log that are read at once for what came again.
const LOOK_BYTES: ByteCount = ByteCount::mebibytes(1);

/// Most faults that an answer names.
const FAULTS_SHOWN: usize = 100;

/// What the audit of a hub has done in this run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditStatus {
    /// Streams that are summed up.
    pub streams: usize,
    /// Statements of writers that this log agrees with.
    pub agreed: u64,
    /// Statements that could not be compared; the next one of the same stream is.
    pub unchecked: u64,
    /// Ranges in which this log does not hold what was written.
    pub faults: u64,
    /// Batches of streams beyond the limit, which are not audited.
    pub left_out: u64,
    /// The last of these ranges, oldest first.
    pub last_faults: Vec<String>,
}

/// The last faults, for whoever asks; each is an alert besides.
#[derive(Debug, Default)]
pub(super) struct LastFaults(VecDeque<String>);

impl LastFaults {
    fn push(&mut self, fault: &Fault) {
        if self.0.len() >= FAULTS_SHOWN {
            self.0.pop_front();
        }
        self.0.push_back(fault.to_string());
    }
}

impl Node {
    /// Whether all that was written here so far is stated.
    #[must_use]
    pub fn is_stated(&self) -> bool {
        self.audit.poll_timeout().is_none()
    }

    /// Sums up durable entries, and compares with what their writers state.
    pub(super) fn sum_up(&mut self, entries: &[(TopicPartition, Entry)]) {
        for (partition, entry) in entries {
            let Some(topic) = self.topics.get(&partition.topic) else { continue };
            if topic.origin_name == audit_topic() {
                self.compare(entry);
            } else if topic.replication == Replication::Offered {
                // What is kept here has nobody to be compared with.
                self.audit.on_entry(partition, entry);
            }
        }
    }

    /// The same of a commit of this run: what came again in it is looked for in the log.
    pub(super) fn audit_committed(&mut self, entries: &[(TopicPartition, Entry)]) {
        self.sum_up(entries);
        self.look_for_repeats();
    }

    fn compare(&mut self, entry: &Entry) {
        // Batches in the log decode; what a later version states is not for this one.
        for record in entry.batch.records().unwrap_or_default() {
            if let Ok(statement) = Statement::decode(record.value.unwrap_or_default()) {
                self.audit.on_statement(entry.dot.incarnation, statement);
            }
        }
    }

    /// Reads on for what came again in a log, unless the log is read for something else.
    pub(super) fn look_for_repeats(&mut self) {
        if !self.refills.is_read_free() {
            return;
        }
        let Some((partition, next)) = self.audit.poll_read() else { return };
        let from = next.max(self.keeping.start(&partition));
        self.refills.recall_repeats(partition.clone());
        self.outputs.push_back(Output::Recall { partition, from, limit: LOOK_BYTES });
    }

    /// What was read for what came again.
    pub(super) fn on_repeats(
        &mut self,
        now: Now,
        log: &TopicPartition,
        found: Result<Vec<Entry>, ReadError>,
    ) {
        match found {
            Ok(entries) => self.audit.on_read(&entries, self.keeping.start(log)),
            Err(ReadError::Quarantined { partition, from, until }) => {
                self.note_damage(now, &MissingOffsets { partition, from, until });
                if !self.audit.pass_over(until) {
                    self.audit.give_up();
                }
            }
            Err(error) => {
                tracing::warn!(%log, %error, "what came again is not looked for in the log");
                self.audit.give_up();
            }
        }
        if !self.fullness.is_full() {
            self.raise_faults(now);
        }
    }

    /// Raises an alert for each range that differs; one found again in what was written before this
    /// run has the same id.
    pub(super) fn raise_faults(&mut self, now: Now) {
        while let Some(fault) = self.audit.poll_fault() {
            tracing::error!(%fault, "the log does not hold what was written");
            self.last_faults.push(&fault);
            let alert = alert(&fault, self.identity.region(), now);
            self.raise(&alert, now);
        }
    }

    /// States what this hub's own streams come to, when that is due.
    pub(super) fn state(&mut self, now: Now) {
        let stated = self.audit.on_timeout(now.monotonic);
        let records: Vec<Record> = stated
            .iter()
            .map(|(partition, statement)| statement_record(partition, statement, now))
            .collect();
        let partition = TopicPartition::new(audit_topic(), PartitionIndex::new(0));
        for batch in Batch::encode_all(&records).into_iter().flatten() {
            self.born(&partition, batch, now);
        }
    }

    /// What the audit has done.
    #[must_use]
    pub fn audit_status(&self) -> AuditStatus {
        let counts = self.audit.counts();
        AuditStatus {
            streams: self.audit.streams(),
            agreed: counts.agreed,
            unchecked: counts.unchecked,
            faults: counts.faults,
            left_out: counts.left_out,
            last_faults: self.last_faults.0.iter().cloned().collect(),
        }
    }
}

fn alert(fault: &Fault, region: &RegionId, now: Now) -> Alert {
    let Fault { partition, stream, incarnation, from, to, stated, found } = fault;
    // The region is part of what it is about: each hub's log has faults of its own.
    let key = format!("{region} {partition} {stream}/{incarnation}");
    let values = [
        ("fault", fault.to_string()),
        ("region", region.to_string()),
        ("partition", partition.to_string()),
        ("stream", stream.to_string()),
        ("from_sequence", from.to_string()),
        ("to_sequence", to.to_string()),
        ("stated_records", stated.records.to_string()),
        ("found_records", found.records.to_string()),
    ];
    Alert::of_node(NodeRule::Audit, (key, to.to_string()), now.wall, values)
}
