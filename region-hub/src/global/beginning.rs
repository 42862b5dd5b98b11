//! Where rules begin that are new to a log: behind all that it holds.
//!
//! Rules whose state is not in a snapshot cannot read what the log held before it, since some of it
//! may be gone. So they begin where the log ends, with the ends of its partitions and the last
//! promises that it holds, and windows over anything that may lie before that are not final here.

use std::sync::Arc;

use headland_event::progress::FUTURE_LIMIT;
use headland_event::{
    ByteCount, CommitNumber, EventTime, Hlc, Incarnation, Offset, PartitionIndex, Promise,
    TopicName, TopicPartition,
};
use headland_storage::LogReader;

use super::Rules;
use super::logs::At;
use crate::records::promises_topic;
use crate::topics::Topics;

/// Offsets of a region's promises that are looked at for the last one of each topic: minutes of
/// them. A topic whose region promised nothing since holds windows until it does.
const PROMISES_BACK: u64 = 1_024;

/// Bytes that are read of them.
const PROMISES_BYTES: ByteCount = ByteCount::mebibytes(1);

/// Whether rules read commits.
#[derive(Debug)]
pub(super) enum Phase {
    Running,
    /// They begin when all that the log holds was replayed.
    BeginsNew(Beginning),
}

/// What a log holds when a hub starts: where its partitions end, and the last promises.
#[derive(Debug, Clone, Default)]
pub(super) struct Beginning {
    pub(super) ends: Vec<End>,
    pub(super) promises: Vec<(usize, Incarnation, Promise)>,
}

/// Where a partition ends, by the offsets of its region.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) region: usize,
    pub(super) life: Incarnation,
    pub(super) topic: TopicName,
    pub(super) partition: PartitionIndex,
    pub(super) end: Offset,
}

impl Rules {
    /// Looks at the end of a log, in case that rules are new to it. Cost: a read of the last entry
    /// of each partition of the topics that are read.
    pub fn read_ends(&mut self, topics: &Topics, log: &impl LogReader) {
        let mut beginning = Beginning::default();
        for partition in log.partitions() {
            let Some(topic) = topics.get(&partition.topic) else { continue };
            let Some(region) = self.regions.iter().position(|known| *known == topic.origin) else {
                continue;
            };
            let name = &topic.origin_name;
            if *name == promises_topic() {
                beginning.read_promises(region, &partition, log);
            } else if self.topics.contains(name) {
                beginning.read_end((region, name), &partition, log);
            }
        }
        self.beginning = beginning;
    }

    /// Begins new where the log ends, once what is behind commit `at` is replayed: there is no
    /// state to go on from.
    pub fn begin_new(&mut self, at: CommitNumber) {
        // It may be the last one.
        self.written.on_commit(at);
        self.phase = Phase::BeginsNew(std::mem::take(&mut self.beginning));
    }

    /// All that the log holds was replayed; `hlc` is at or behind the stamp of each of its batches.
    pub fn on_replay_ended(&mut self, hlc: Hlc) {
        self.begin_where_the_log_ends(hlc);
        self.written.edit_limits();
    }

    fn begin_where_the_log_ends(&mut self, hlc: Hlc) {
        let phase = std::mem::replace(&mut self.phase, Phase::Running);
        let Phase::BeginsNew(Beginning { ends, promises }) = phase else {
            self.beginning = Beginning::default();
            return;
        };
        for End { region, life, topic, partition, end } in &ends {
            // Whatever is lost by it is before the beginning.
            let _lost = self.logs.on_life(*region, *life, *end);
            let at = At { region: *region, life: *life, topic };
            let _lost = self.logs.reach(at, *partition, (Offset::default(), *end));
        }
        for (region, life, promise) in promises {
            let _lost = self.logs.on_life(region, life, Offset::default());
            let promise = Some(promise).filter(|promise| self.topics.contains(&promise.topic));
            let _lost = promise.and_then(|promise| self.logs.on_promise(region, life, promise));
        }
        let last = hlc.wall().plus(FUTURE_LIMIT);
        let names: Vec<_> =
            self.engine.program().rules().iter().map(|rule| rule.name().clone()).collect();
        self.engine.on_gap_of(&names, EventTime::MIN, last);
        (0..self.regions.len()).for_each(|region| self.pass_promises(region));
        self.leave_settled(&names, self.written.commit());
    }

    /// These rules begin behind commit `at`: what windows that all regions are past were made of,
    /// they have not seen.
    fn leave_settled(&mut self, rules: &[Arc<str>], at: CommitNumber) {
        for rule in rules {
            self.results.said.forget(rule);
            self.written.begin(rule, at, self.results.least(rule, &self.logs));
        }
    }

    /// Lets limits hold that were edited, from this commit on. A rule that had stopped at one and
    /// begins anew lacks what it had taken, as it has said.
    pub(super) fn apply_limits(&mut self, number: CommitNumber) {
        for (rule, limits) in self.written.take_edits(number) {
            if self.engine.set_limits(&rule, limits) {
                tracing::info!(%rule, "a limit was raised: a rule that had stopped begins anew");
                self.leave_settled(&[rule], self.written.commit());
            }
        }
    }

    /// Rules that the snapshot at commit `at` did not have, or of another definition, lack the rows
    /// before it; `hlc` is at or behind the stamp of each of them.
    pub(super) fn begin_new_rules(&mut self, at: CommitNumber, hlc: Hlc) {
        let new = self.engine.begun_new().to_vec();
        if !new.is_empty() {
            tracing::warn!(
                ?new,
                "rules are new or changed: windows that are open here are not final"
            );
            self.engine.on_gap_of(&new, EventTime::MIN, hlc.wall().plus(FUTURE_LIMIT));
            self.leave_settled(&new, at);
        }
    }
}

impl Beginning {
    fn read_end(
        &mut self,
        (region, topic): (usize, &TopicName),
        partition: &TopicPartition,
        log: &impl LogReader,
    ) {
        let last = Offset::new(log.end(partition).get().saturating_sub(1));
        match log.read(partition, last, ByteCount::new(1)) {
            Ok(entries) => {
                let entry = entries.last();
                let stamp = entry.and_then(|entry| Some((entry, entry.stamp.as_ref()?)));
                self.ends.extend(stamp.map(|(entry, stamp)| End {
                    region,
                    life: stamp.actor.incarnation,
                    topic: topic.clone(),
                    partition: stamp.actor.partition,
                    end: stamp.offset.after(entry.batch.span()),
                }));
            }
            // Its windows wait until more comes.
            Err(error) => tracing::warn!(%partition, %error, "where rows end cannot be read"),
        }
    }

    fn read_promises(&mut self, region: usize, partition: &TopicPartition, log: &impl LogReader) {
        let (start, end) = (log.start(partition), log.end(partition));
        let from = start.max(Offset::new(end.get().saturating_sub(PROMISES_BACK)));
        let entries = match log.read(partition, from, PROMISES_BYTES) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%partition, %error, "what was promised cannot be read");
                return;
            }
        };
        for entry in &entries {
            let Some(stamp) = &entry.stamp else { continue };
            for record in entry.batch.records().unwrap_or_default() {
                let value = record.value.as_deref().unwrap_or_default();
                if let Ok(promise) = serde_json::from_slice(value) {
                    self.promises.push((region, stamp.actor.incarnation, promise));
                }
            }
        }
    }
}
