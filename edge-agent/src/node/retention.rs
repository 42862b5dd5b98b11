//! When the log is cleaned, and by what.

use std::time::Duration;

use headland_event::{DropPolicy, Lane, Monotonic, Now, Offset, TopicName, TopicPartition};
use headland_storage::{CleanPolicy, Dropped, ShedBy};

use super::{Node, Output};
use crate::detect::alerts_topic;

/// How often what is held is looked through: what it frees is small beside what comes in between.
const CLEAN_EVERY: Duration = Duration::from_secs(10);

/// Which lane each topic has.
#[derive(Debug)]
pub(super) struct Lanes {
    alerts: TopicName,
    sources: Vec<(TopicName, Lane)>,
}

impl Lanes {
    pub(super) fn new(sources: impl Iterator<Item = (TopicName, Lane)>) -> Self {
        Self { alerts: alerts_topic(), sources: sources.collect() }
    }

    pub(super) fn of(&self, topic: &TopicName) -> Lane {
        if *topic == self.alerts {
            return Lane::Alerts;
        }
        let source = self.sources.iter().find(|(known, _)| known == topic);
        source.map_or(Lane::Telemetry, |(_, lane)| *lane)
    }
}

/// When the log is cleaned next.
#[derive(Debug)]
pub(super) struct Cleaning {
    /// `None` while nothing is held that could go.
    pub(super) due_at: Option<Monotonic>,
    /// Whether anything was written since it was cleaned last: state may have been superseded.
    is_dirty: bool,
    /// What was shed in earlier runs and this one.
    pub(super) dropped: Vec<Dropped>,
    /// Records shed in this run, by age and by bytes.
    pub(super) shed_records: (u64, u64),
}

/// When cleaning is due at once.
const AT_ONCE: Monotonic = Monotonic::from_nanos(0);

impl Cleaning {
    /// Due at the start: an outbox that was full in the last run takes no lines, so nothing that
    /// is composed would ask for it.
    pub(super) const fn due() -> Self {
        Self { due_at: Some(AT_ONCE), is_dirty: false, dropped: Vec::new(), shed_records: (0, 0) }
    }
}

impl Node {
    /// Results were composed, which may fill the outbox as lines do.
    pub(super) fn on_results_composed(&mut self) {
        self.cleaning.is_dirty = true;
        if self.outbox.ledger().is_full() {
            self.cleaning.due_at = Some(AT_ONCE);
        } else {
            self.cleaning.due_at.get_or_insert(AT_ONCE);
        }
    }

    /// Something was composed: it will have to go one day, and when nothing more fits, now.
    pub(super) fn on_composed(&mut self, now: Now) {
        self.cleaning.is_dirty = true;
        if self.outbox.ledger().is_full() {
            self.cleaning.due_at = Some(now.monotonic);
        } else if self.cleaning.due_at.is_none() {
            self.cleaning.due_at = Some(now.monotonic.after(CLEAN_EVERY));
        }
    }

    /// Asks for the log to be cleaned, when that is due.
    pub(super) fn clean(&mut self, now: Now) {
        if self.cleaning.due_at.is_none_or(|due| now.monotonic < due) {
            return;
        }
        let uptime = self.uptime.at(now.monotonic);
        let goes = self.outbox.ledger_mut().plan(uptime);
        if std::mem::take(&mut self.cleaning.is_dirty) || goes {
            let operators = vec![Self::snapshot_owner()];
            let policy = CleanPolicy { operators, ..self.outbox.ledger().policy() };
            self.outputs.push_back(Output::Clean(policy));
        }
        let is_settled = self.outbox.ledger().is_settled();
        self.cleaning.due_at = (!is_settled).then(|| now.monotonic.after(CLEAN_EVERY));
    }

    /// Partitions start later now; what no hub had of them is named.
    pub fn on_cleaned(
        &mut self,
        starts: impl IntoIterator<Item = (TopicPartition, Offset)>,
        dropped: Vec<Dropped>,
    ) {
        for (partition, start) in starts {
            let lane = self.lanes.of(&partition.topic);
            self.outbox.ledger_mut().on_start((&partition, lane), start);
        }
        for range in dropped {
            let (by_time, by_bytes) = &mut self.cleaning.shed_records;
            let policy = match range.policy {
                ShedBy::Time => {
                    *by_time += range.count;
                    DropPolicy::Time
                }
                ShedBy::Bytes => {
                    *by_bytes += range.count;
                    DropPolicy::Bytes
                }
            };
            let (partition, records) = (&range.partition, range.count);
            tracing::warn!(%partition, records, %policy, "shed records that no hub has");
            self.cleaning.dropped.push(range);
        }
    }

    /// What was shed of a partition.
    pub(super) fn dropped_of(&self, partition: &TopicPartition) -> Vec<Dropped> {
        let dropped = self.cleaning.dropped.iter();
        dropped.filter(|range| range.partition == *partition).cloned().collect()
    }
}
