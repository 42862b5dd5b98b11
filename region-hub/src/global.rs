//! Rules over the rows of several regions: windows whose final results are equal at every hub.
//!
//! Every hub has the logs of all regions, each in its own order, and none of them in the same order
//! together. So a result is made of the logs one by one: each (region, partition) keeps a partial
//! result in the order of its log, and partial results merge by region, then partition. A window is
//! final when every region has promised that it is complete and the log has come to where that
//! promise says: then it holds each region's rows on time, whoever asks. What is late was decided
//! by the ingest hub and counts in corrections only.
//!
//! Commits go in as they become durable, records of results come out in bounded steps with how far
//! they are, so that after a restart what is written is not written again.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use headland_detection::{
    DecodeError, Decoder, Engine, Format, Origin, Output, Part, Program, Standing, TableId,
};
use headland_event::{
    Codec, CommitNumber, Entry, EventTime, Hole, Offset, PartitionIndex, Record, RegionId, Stamp,
    TopicName, TopicPartition, Verdict,
};
use headland_storage::{StateOwner, StateStore};

use crate::node::RecoveryError;
use crate::reconcile::{Progress, Step, batches_of};
use crate::records::promises_topic;
use crate::topics::{PARTITIONS_LIMIT, Topics};

/// How far each region's logs have come.
mod logs;
/// Results as records.
mod results;
/// The state as bytes.
mod snapshot;

use logs::{Held, Logs, Reached};
use results::Results;
pub use results::{FINALITY_HEADER, REVISION_HEADER};
pub use snapshot::{RulesSnapshotError, RulesState};

/// Bytes of results after which a step ends, as of what reconciling derives.
const STEP_BYTES_TARGET: usize = 1 << 20;

/// Rules over the rows of several regions.
#[derive(Debug)]
pub struct Rules {
    /// In the order in which their partial results merge.
    regions: Vec<RegionId>,
    tables: Vec<Source>,
    engine: Engine,
    seed: u64,
    logs: Logs,
    results: Results,
    /// Results that are not taken yet, with the step each of them is.
    ready: VecDeque<(Progress, TopicName, Record)>,
    /// Everything before it is written.
    written: Progress,
    /// The step that comes next.
    next: Progress,
    unreadable: u64,
}

/// A table that is read.
#[derive(Debug)]
struct Source {
    table: TableId,
    topic: TopicName,
    decoder: Decoder,
}

/// Rules that cannot run over the rows of several regions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// A rule is not of windows that merge.
    #[error(
        "rule {rule} cannot run over several regions, expected a TUMBLE, HOP or CUMULATE \
         aggregate over single rows"
    )]
    NotWindows {
        /// The rule.
        rule: String,
    },
    /// A table reads the topic of one region.
    #[error("table {table} reads topic '{topic}', expected '{topic}@*', the topic of all regions")]
    OneRegion {
        /// The table.
        table: String,
        /// Its topic.
        topic: TopicName,
    },
    /// A table's format needs more than a record says.
    #[error("table {table} has format csv, expected json")]
    Format {
        /// The table.
        table: String,
    },
    /// A rule writes to a topic that others write to.
    #[error("rule {rule} writes to topic {topic}, which the hub has already, expected a new one")]
    TakenTopic {
        /// The rule.
        rule: String,
        /// Its topic.
        topic: TopicName,
    },
    /// The hub's own region is not among those whose rows count.
    #[error("the rules' regions are {found}, expected the hub's own, {own}, among them")]
    OwnRegion {
        /// The hub's region.
        own: RegionId,
        /// The regions.
        found: String,
    },
}

impl Rules {
    /// The state that holds how far results were written.
    pub const OWNER: &'static str = "rules";

    /// The key it is under.
    const KEY: &'static [u8] = b"written";

    /// Rules that have seen nothing, over the rows of `regions`: a window is final when all of them
    /// are past it.
    ///
    /// # Errors
    /// [`RulesError`] for the first rule, table or region that does not fit.
    pub fn new(
        program: Program,
        own: &RegionId,
        regions: &[RegionId],
        topics: &Topics,
        seed: u64,
    ) -> Result<Self, RulesError> {
        let mut regions = regions.to_vec();
        regions.sort_unstable();
        regions.dedup();
        if !regions.contains(own) {
            let found = regions.iter().map(RegionId::as_str).collect::<Vec<_>>().join(", ");
            return Err(RulesError::OwnRegion { own: own.clone(), found });
        }
        for rule in program.rules() {
            let (name, topic) = (rule.name().to_string(), rule.topic());
            if !rule.merges_parts() {
                return Err(RulesError::NotWindows { rule: name });
            }
            if topics.get(topic).is_some() {
                return Err(RulesError::TakenTopic { rule: name, topic: topic.clone() });
            }
        }
        let tables = sources(&program)?;
        let logs = Logs::new(regions.len());
        Ok(Self {
            results: Results::new(&program, &regions),
            engine: Engine::new(program, seed),
            regions,
            tables,
            seed,
            logs,
            ready: VecDeque::new(),
            written: Progress::default(),
            next: Progress::default(),
            unreadable: 0,
        })
    }

    /// The topics that results go to.
    pub fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.engine.program().rules().iter().map(headland_detection::Rule::topic)
    }

    /// Where the state holds how far results were written.
    #[must_use]
    pub fn place() -> (StateOwner, Bytes) {
        (crate::node::owner(Self::OWNER), Bytes::from_static(Self::KEY))
    }

    /// Takes note of how far results were written before a restart.
    ///
    /// # Errors
    /// [`RecoveryError`] when the state cannot be read, or is of no known version.
    pub fn read_progress(&mut self, state: &impl StateStore) -> Result<(), RecoveryError> {
        let (owner, key) = Self::place();
        if let Some(value) = state.get(&owner, &key)? {
            let layout = |source| RecoveryError::Layout { owner, source };
            self.written = Progress::decode(value).map_err(layout)?;
        }
        Ok(())
    }

    /// Records that are no row of a table that reads their topic.
    #[must_use]
    pub const fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Takes note of a durable commit; what it makes of windows comes from [`Self::poll_step`].
    pub fn on_commit(
        &mut self,
        topics: &Topics,
        number: CommitNumber,
        entries: &[(TopicPartition, Entry)],
    ) {
        self.next = Progress::at_start_of(number);
        for (partition, entry) in entries {
            let Some(topic) = topics.get(&partition.topic) else { continue };
            let Some(stamp) = &entry.stamp else { continue };
            let Some(region) = self.regions.iter().position(|known| *known == topic.origin) else {
                continue;
            };
            if topic.origin_name == promises_topic() {
                for record in entry.batch.records().unwrap_or_default() {
                    let tables = &self.tables;
                    let is_read = |topic: &TopicName| tables.iter().any(|it| it.topic == *topic);
                    self.logs.on_promise(region, &record, is_read);
                }
            } else if self.tables.iter().any(|source| source.topic == topic.origin_name) {
                self.on_rows((region, &topic.origin_name), stamp, entry);
            } else {
                continue;
            }
            self.pass_promises(region);
        }
    }

    /// Shows the rows of an entry to the rules, but for those whose log called them late: by which
    /// watermark is known once the next promise covers them.
    fn on_rows(&mut self, (region, topic): (usize, &TopicName), stamp: &Stamp, entry: &Entry) {
        let partition = stamp.actor.partition;
        let is_hole = Hole::of(&entry.batch).is_some();
        let records =
            if is_hole { Vec::new() } else { entry.batch.numbered_records().unwrap_or_default() };
        for (delta, record) in records {
            let offset = stamp.offset.at(delta);
            match stamp.verdict(delta) {
                Verdict::OnTime => {
                    let value = record.value.unwrap_or_default();
                    let origin =
                        Origin { part: part(region, partition), standing: Standing::OnTime };
                    self.feed(topic, &value, origin, offset);
                }
                Verdict::Late => {
                    let value = record.value.unwrap_or_default();
                    let held = Held { topic: topic.clone(), partition, offset, value };
                    self.logs.hold(region, held);
                }
                // None of them counts, at any hub: what becomes of them their ingest hub decided.
                Verdict::Future | Verdict::Forbidden | Verdict::Unlisted => {}
            }
        }
        let end = stamp.offset.after(entry.end().since(entry.base));
        self.logs.reach(region, topic, partition, end);
    }

    fn feed(&mut self, topic: &TopicName, value: &[u8], origin: Origin, offset: Offset) {
        for source in self.tables.iter().filter(|source| source.topic == *topic) {
            match source.decoder.decode(value) {
                Ok(row) => {
                    self.engine.on_row_of(source.table, &row, origin, offset, EventTime::MIN);
                }
                Err(error) => {
                    note_unreadable(&mut self.unreadable, topic, offset, &error);
                }
            }
        }
        self.take_results();
    }

    /// Lets promises take effect whose ends the region's logs have come to, one after the other:
    /// first the late rows that lie before it, then the watermark.
    fn pass_promises(&mut self, region: usize) {
        while let Some(Reached { topic, behind, late }) = self.logs.next_reached(region) {
            for Held { topic, partition, offset, value } in late {
                let standing = Standing::Late { behind };
                let origin = Origin { part: part(region, partition), standing };
                self.feed(&topic, &value, origin, offset);
            }
            let (least, most) = (self.logs.least(&topic), self.logs.most(&topic));
            for source in self.tables.iter().filter(|source| source.topic == topic) {
                let (table, zero) = (source.table, Offset::default());
                if let Some(least) = least {
                    self.engine.on_watermark(table, least, zero, EventTime::MIN);
                }
                if let Some(most) = most {
                    self.engine.on_event_time(table, most, zero, EventTime::MIN);
                }
            }
            self.take_results();
        }
    }

    fn take_results(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            let result = match output {
                Output::Result(result) => result,
                // The record is in its log with its verdict, and the rule counts it.
                Output::Late(_) => continue,
                Output::Refused(refused) => {
                    tracing::error!(?refused, "a rule did not take a row");
                    continue;
                }
                Output::Failed(failed) => {
                    tracing::error!(?failed, "a window has no result");
                    continue;
                }
                Output::Lookup(_) => {
                    debug_assert!(false, "a rule that merges parts looks nothing up");
                    continue;
                }
            };
            self.results.add(result);
        }
        let program = self.engine.program();
        for (topic, record) in self.results.take(program, &self.logs) {
            let at = self.next;
            self.next.output += 1;
            if at >= self.written {
                self.ready.push_back((self.next, topic, record));
            }
        }
    }

    /// The next results, as many as one commit should take; none when all are taken.
    pub fn poll_step(&mut self) -> Option<Step> {
        let (mut by_topic, mut bytes, mut progress) = (BTreeMap::<_, Vec<_>>::new(), 0, None);
        while let Some((through, topic, record)) = self.ready.pop_front() {
            bytes += record.payload_len();
            by_topic.entry(topic).or_default().push(record);
            progress = Some(through);
            if bytes >= STEP_BYTES_TARGET {
                break;
            }
        }
        let progress = progress?;
        debug_assert!(self.written < progress, "results are written in their order");
        self.written = progress;
        let mut batches = Vec::new();
        for (topic, records) in by_topic {
            let at = TopicPartition::new(topic, PartitionIndex::new(0));
            batches_of(&at, (&records, Codec::None), &mut batches);
        }
        Some(Step { batches, bytes, progress })
    }

    /// Whether all results were taken.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }
}

/// The number of a log: by region, then partition.
fn part(region: usize, partition: PartitionIndex) -> Part {
    debug_assert!(partition.get() < PARTITIONS_LIMIT, "topics have a bounded number of partitions");
    let region = u32::try_from(region).unwrap_or(u32::MAX);
    Part::new(region.saturating_mul(PARTITIONS_LIMIT).saturating_add(partition.get()))
}

fn sources(program: &Program) -> Result<Vec<Source>, RulesError> {
    let tables = program.tables().iter().map(|table| {
        let name = || table.name().to_string();
        let topic = table.topic().clone();
        if !table.is_of_all_regions() {
            return Err(RulesError::OneRegion { table: name(), topic });
        }
        let decoder = Decoder::new(table, None);
        match (table.format(), decoder, program.table_id(table.name())) {
            (Format::Json, Ok(decoder), Some(table)) => Ok(Source { table, topic, decoder }),
            (Format::Json | Format::Csv, ..) => Err(RulesError::Format { table: name() }),
        }
    });
    tables.collect()
}

fn note_unreadable(count: &mut u64, topic: &TopicName, offset: Offset, error: &DecodeError) {
    *count = count.saturating_add(1);
    if *count == 1 {
        tracing::warn!(%topic, %offset, %error, "a record is no row of its table; said once");
    }
}

#[cfg(test)]
mod tests;
