//! When the log is cleaned, and by what.

use std::collections::BTreeMap;
use std::time::Duration;

use headland_event::{
    DropPolicy, Incarnation, Lane, Monotonic, Now, Offset, StreamId, TopicName, TopicPartition,
};
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
    shed: Shedding,
    /// Records shed in this run, by age and by bytes.
    pub(super) shed_records: (u64, u64),
}

/// Lives of which it is kept what each stream shed. A partition's records are of the newest ones
/// only; holes of earlier ones have another name anyhow.
const LIVES_MAX: usize = 4;

/// What was shed, by partition and life.
#[derive(Debug, Default)]
struct Shedding(BTreeMap<TopicPartition, BTreeMap<(Incarnation, StreamId), Vec<Dropped>>>);

impl Shedding {
    fn add(&mut self, range: Dropped) {
        let lives = self.0.entry(range.partition.clone()).or_default();
        range.clone().add_to(lives.entry((range.incarnation, range.stream)).or_default());
        while lives.len() > LIVES_MAX {
            lives.pop_first();
        }
    }

    fn of(&self, partition: &TopicPartition) -> Vec<Dropped> {
        self.0.get(partition).into_iter().flat_map(BTreeMap::values).flatten().cloned().collect()
    }
}

/// When cleaning is due at once.
const AT_ONCE: Monotonic = Monotonic::from_nanos(0);

impl Cleaning {
    /// Due at the start: an outbox that was full in the last run takes no lines, so nothing that
    /// is composed would ask for it.
    pub(super) fn due() -> Self {
        let (due_at, shed) = (Some(AT_ONCE), Shedding::default());
        Self { due_at, is_dirty: false, shed, shed_records: (0, 0) }
    }

    /// Takes note of what an earlier run shed, in order.
    pub(super) fn take_up(&mut self, dropped: Vec<Dropped>) {
        dropped.into_iter().for_each(|range| self.shed.add(range));
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
            self.cleaning.shed.add(range);
        }
    }

    /// What was shed of a partition.
    pub(super) fn dropped_of(&self, partition: &TopicPartition) -> Vec<Dropped> {
        self.cleaning.shed.of(partition)
    }
}

#[cfg(test)]
mod tests {
    use headland_event::{PartitionIndex, Sequence};

    use super::*;

    fn range(life: u32, first: u64) -> Dropped {
        let topic = TopicName::new("air").unwrap();
        Dropped {
            partition: TopicPartition::new(topic, PartitionIndex::new(0)),
            stream: StreamId::new([1; 16]),
            incarnation: Incarnation::new(life, 7),
            first: Sequence::new(first),
            last: Sequence::new(first),
            count: 1,
            policy: ShedBy::Bytes,
        }
    }

    #[test]
    fn what_was_shed_takes_no_more_room_however_often_that_happens() {
        let mut shedding = Shedding::default();

        for (life, n) in (1..=20).flat_map(|life| (0..100).map(move |n| (life, n))) {
            shedding.add(range(life, 2 * n + 1));
        }

        let kept = shedding.of(&range(1, 1).partition);
        assert_eq!(kept.len(), 8 * LIVES_MAX);
        assert_eq!(kept.iter().map(|range| range.count).sum::<u64>(), 400);
        assert!(kept.iter().all(|range| range.incarnation.counter() > 16), "the newest lives");
    }
}
