//! Rules over the rows of several regions: windows whose final results are equal at every hub.
//!
//! Every hub has the logs of all regions, each in its own order, and none of them in the same order
//! together. So a result is made of the logs one by one: each (region, topic, partition) keeps a
//! partial result in the order of its log, and partial results merge by region, topic, partition. A
//! window is final when every region has promised that it is complete and the log has come to where
//! that promise says: then it holds each region's rows on time, whoever asks. Whether a row is late
//! is up to its log and its rule's own time column, and a late one counts in corrections only.
//!
//! A hub that lacks rows which others may have, or had no room for them, says what it has, and
//! never that it is final: rows that were cleaned away or shed, rows from before the rules were
//! there, rows beyond a limit, rows of a life of a hub that is over.
//!
//! Commits go in as they become durable, records of results come out in bounded steps with how far
//! they are, so that after a restart what is written is not written again.

use std::collections::BTreeMap;

use bytes::Bytes;
use headland_detection::{
    DecodeError, Decoder, Engine, Format, Output, Program, RuleCounts, RuleLoad, SqlError, TableId,
};
use headland_event::{
    Batch, Codec, CommitNumber, Entry, EventTime, Offset, PartitionIndex, Promise, Record,
    RegionId, TopicName, TopicPartition,
};
use headland_replication::Counted;
use headland_storage::{StateOwner, StateStore};

use crate::node::RecoveryError;
use crate::reconcile::{Progress, batches_of};
use crate::records::promises_topic;
use crate::topics::Topics;

/// How far each region's logs have come.
mod logs;
/// Rows of the logs, and what is to be made of each.
mod rows;
/// Where rules begin that are new to a log.
mod beginning;
/// Results as records.
mod results;
/// How often each result was said.
mod said;
/// Which limits a rule runs by, commit by commit.
mod limits;
/// How far the results of each rule are written.
mod written;
/// Results that wait to be written.
mod ready;
/// The state as bytes.
mod snapshot;

use beginning::{Beginning, Phase};
use logs::{At, Logs, Lost};
use ready::Ready;
pub use results::{ANEW_HEADER, FINALITY_HEADER, REVISION_HEADER};
use results::{Made, Results};
pub use snapshot::{RulesSnapshotError, RulesState};
use written::{Mark, Written};

/// Bytes of results after which a step ends, as of what reconciling derives.
const STEP_BYTES_TARGET: usize = 1 << 20;

/// Rules over the rows of several regions.
#[derive(Debug)]
pub struct Rules {
    /// In the order in which their partial results merge.
    regions: Vec<RegionId>,
    tables: Vec<Source>,
    /// The topics that are read, in the order in which their partial results merge.
    topics: Vec<TopicName>,
    engine: Engine,
    seed: u64,
    logs: Logs,
    results: Results,
    ready: Ready,
    turn: Turn,
    /// What the log held when the hub started.
    beginning: Beginning,
    phase: Phase,
    written: Written,
    /// Rows that counted: one that two hubs have in their logs counts once.
    counted: Counted,
    counts: RulesCounts,
}

/// What became of the rows and results of rules over several regions, since this run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RulesCounts {
    /// Records that are no row of a table that reads their topic.
    pub unreadable: u64,
    /// Rows that a rule could not take, at its limits or for their values.
    pub refused: u64,
    /// How often rows were found missing, so that windows over their time are not final here.
    pub gaps: u64,
    /// Provisional results that were left out because those before them were not written yet.
    pub left_out: u64,
    /// Results that a later one of the same rule, key and window took the place of, because many
    /// waited to be written: their revisions are missing.
    pub replaced: u64,
    /// Rows that had no room to wait for a promise that covers them: windows that they are of are
    /// not final here, and what was final may be corrected elsewhere and not here, or here only.
    pub unsettled: u64,
    /// Results of rules that began here when their windows had closed: what was said of those
    /// before stays.
    pub settled: u64,
    /// Results whose revisions were forgotten, because more are remembered than may be.
    pub forgotten: u64,
    /// Second copies of rows that two hubs have in their logs, of a device that went from one to
    /// the other; windows that they are of are not final here.
    pub doubled: u64,
    /// Rows of which it is not known any more whether a copy has counted; they count, and windows
    /// that they are of are not final here.
    pub unsure: u64,
}

impl RulesCounts {
    /// What was left out or is not as at other hubs, by name.
    #[must_use]
    pub const fn left(&self) -> [(&'static str, u64); 10] {
        let Self {
            unreadable,
            refused,
            gaps,
            left_out,
            replaced,
            unsettled,
            settled,
            forgotten,
            doubled,
            unsure,
        } = *self;
        [
            ("unreadable", unreadable),
            ("refused", refused),
            ("gaps", gaps),
            ("left-out", left_out),
            ("replaced", replaced),
            ("unsettled", unsettled),
            ("settled", settled),
            ("forgotten", forgotten),
            ("doubled", doubled),
            ("unsure", unsure),
        ]
    }
}

/// Results that go into one commit.
#[derive(Debug)]
#[must_use = "results that are dropped are never said again"]
pub struct ResultsStep {
    /// The batches, in order.
    pub batches: Vec<(TopicPartition, Batch)>,
    /// Bytes of their records.
    pub bytes: usize,
    /// How far the rules are with it, by the keys of the state; it belongs in the same commit.
    pub state: Vec<(Bytes, Bytes)>,
}

/// Who writes next what it has derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Rules,
    Others,
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
    /// A rule looks for the last row of a topic.
    #[error(transparent)]
    LastRow(#[from] SqlError),
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

    /// What stands before the name of a rule in the keys it is under.
    const KEY: &'static str = "written/";

    /// The key of how far all rules were together, in the state of earlier versions.
    const OLD_KEY: &'static [u8] = b"written";

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
        program.check_side_by_side()?;
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
        let mut read: Vec<TopicName> = tables.iter().map(|source| source.topic.clone()).collect();
        read.sort_unstable();
        read.dedup();
        let logs = Logs::new(regions.len());
        let nothing = |_: &str| Ok::<_, std::convert::Infallible>(None);
        let Ok(written) = Written::of(&program, &regions, nothing);
        Ok(Self {
            results: Results::new(&program, &regions),
            engine: Engine::new(program, seed),
            regions,
            tables,
            topics: read,
            seed,
            logs,
            ready: Ready::default(),
            turn: Turn::Rules,
            beginning: Beginning::default(),
            phase: Phase::Running,
            written,
            counted: Counted::default(),
            counts: RulesCounts::default(),
        })
    }

    /// The topics that results go to.
    pub fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.engine.program().rules().iter().map(headland_detection::Rule::topic)
    }

    /// Whose state holds how far results were written.
    #[must_use]
    pub fn owner() -> StateOwner {
        crate::node::owner(Self::OWNER)
    }

    fn key(rule: &str) -> Bytes {
        format!("{}{rule}", Self::KEY).into()
    }

    /// Takes note of how far results were written before a restart, before a snapshot is taken up.
    ///
    /// # Errors
    /// [`RecoveryError`] when the state cannot be read, or is of no known version.
    pub fn read_progress(&mut self, state: &impl StateStore) -> Result<(), RecoveryError> {
        let owner = Self::owner();
        self.written = Written::of(self.engine.program(), &self.regions, |rule| {
            let value = state.get(&owner, &Self::key(rule))?;
            let layout = |source| RecoveryError::Layout { owner: owner.clone(), source };
            value.map(Mark::decode).transpose().map_err(layout)
        })?;
        if let Some(value) = state.get(&owner, Self::OLD_KEY)? {
            let layout = |source| RecoveryError::Layout { owner, source };
            let (written, _) = Progress::decode(value).map_err(layout)?;
            let Progress { commit, output, .. } = written;
            self.written.read_before_marks(commit, output);
        }
        Ok(())
    }

    /// What became of rows and results in this run.
    #[must_use]
    pub const fn counts(&self) -> RulesCounts {
        let (left_out, settled) = (self.ready.left_out(), self.written.settled());
        let (replaced, forgotten) = (self.ready.replaced(), self.results.said.forgotten());
        RulesCounts { left_out, replaced, settled, forgotten, ..self.counts }
    }

    /// What became of the rows of each rule, and what it keeps.
    pub fn meters(&self) -> impl Iterator<Item = (&str, RuleCounts, RuleLoad)> {
        self.engine.program().rules().iter().filter_map(|rule| {
            let name = &**rule.name();
            Some((name, self.engine.counts(name)?, self.engine.load(name)?))
        })
    }

    /// Takes note of a durable commit; what it makes of windows comes from [`Self::poll_step`].
    pub fn on_commit(
        &mut self,
        topics: &Topics,
        number: CommitNumber,
        entries: &[(TopicPartition, Entry)],
    ) {
        match self.phase {
            Phase::Running => self.apply_limits(number),
            // They begin where the log ends.
            Phase::BeginsNew(_) => return self.written.on_commit(number),
        }
        self.written.on_commit(number);
        for (partition, entry) in entries {
            let Some(topic) = topics.get(&partition.topic) else { continue };
            let Some(stamp) = &entry.stamp else { continue };
            let Some(region) = self.regions.iter().position(|known| *known == topic.origin) else {
                continue;
            };
            let (topic, life) = (&topic.origin_name, stamp.actor.incarnation);
            let is_promises = *topic == promises_topic();
            if !is_promises && !self.topics.contains(topic) {
                continue;
            }
            let lost = self.logs.on_life(region, life, stamp.offset);
            self.lose(None, lost, rows::horizon(stamp));
            if is_promises {
                for record in entry.batch.records().unwrap_or_default() {
                    self.on_promise((region, life), &record);
                }
            } else {
                self.on_rows(At { region, life, topic }, stamp, entry);
            }
            self.pass_promises(region);
        }
    }

    /// A record of a region's `_promises`. One that is no promise, such as an absent agent, says
    /// nothing here; nor does one about a topic that is not read, whose data nobody waits for.
    fn on_promise(
        &mut self,
        (region, life): (usize, headland_event::Incarnation),
        record: &Record,
    ) {
        let value = record.value.as_deref().unwrap_or_default();
        let Ok(promise) = serde_json::from_slice::<Promise>(value) else { return };
        if self.topics.contains(&promise.topic) {
            let (topic, until) = (promise.topic.clone(), promise.watermark);
            let lost = self.logs.on_promise(region, life, promise);
            self.lose(Some(&topic), lost, until);
        }
    }

    /// Rows of a topic, or of all, are missing here: as late as `horizon` when it is not known how
    /// late.
    fn lose(&mut self, topic: Option<&TopicName>, lost: Option<Lost>, horizon: EventTime) {
        let Some(Lost { after, until }) = lost else { return };
        let first = EventTime::from_millis(after.millis().saturating_add(1));
        let last = until.unwrap_or(horizon);
        if first <= last {
            self.counts.gaps = self.counts.gaps.saturating_add(1);
            tracing::warn!(
                ?topic, %first, %last,
                "rows are missing: windows with them are not final"
            );
        }
        let (zero, never) = (Offset::default(), EventTime::MIN);
        for source in self.tables.iter().filter(|it| topic.is_none_or(|topic| it.topic == *topic)) {
            if first <= last {
                self.engine.on_gap(source.table, first, last);
            }
            // Late ones may be among them, or have come behind another promise elsewhere.
            self.engine.on_doubt(source.table, (EventTime::MIN, last), zero, never);
        }
        self.take_results();
    }

    fn take_results(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            let result = match output {
                Output::Result(result) => result,
                // The record is in its log with its verdict, and the rule counts it.
                Output::Late(_) => continue,
                Output::Refused(refused) => {
                    self.counts.refused = self.counts.refused.saturating_add(1);
                    if self.counts.refused == 1 {
                        tracing::error!(?refused, "a rule did not take a row; said once");
                    }
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
        for made in self.results.take(program, &self.logs, &mut self.written) {
            self.ready.push(made);
        }
    }

    /// As [`Self::poll_step`], every other time: none in between, when others have their turn.
    pub fn poll_turn(&mut self) -> Option<ResultsStep> {
        self.turn = match self.turn {
            Turn::Others => Turn::Rules,
            Turn::Rules => Turn::Others,
        };
        match self.turn {
            Turn::Others => None,
            Turn::Rules => self.poll_step(),
        }
    }

    /// The next results, as many as one commit should take; none when all are taken.
    pub fn poll_step(&mut self) -> Option<ResultsStep> {
        self.poll_step_of(STEP_BYTES_TARGET)
    }

    /// The next results, until they have so many bytes.
    fn poll_step_of(&mut self, bytes_target: usize) -> Option<ResultsStep> {
        let (mut by_topic, mut bytes) = (BTreeMap::<_, Vec<_>>::new(), 0);
        let mut marks = BTreeMap::new();
        while bytes < bytes_target
            && let Some(Made { rule, topic, record, urgency: _, mark }) = self.ready.pop()
        {
            bytes += record.payload_len();
            marks.extend(self.written.missing_marks(mark.commit()));
            by_topic.entry(topic).or_default().push(record);
            marks.insert(rule, mark);
        }
        if marks.is_empty() {
            return None;
        }
        let mut batches = Vec::new();
        for (topic, records) in by_topic {
            let at = TopicPartition::new(topic, PartitionIndex::new(0));
            batches_of(&at, (&records, Codec::None), &mut batches);
        }
        let state = marks.iter().map(|(rule, mark)| (Self::key(rule), mark.encode())).collect();
        Some(ResultsStep { batches, bytes, state })
    }

    /// Whether the rules read a topic, by its name in its region.
    #[must_use]
    pub fn read(&self, origin_name: &TopicName) -> bool {
        self.topics.contains(origin_name)
    }

    /// Whether as many results wait to be written as may: further rows had better wait too.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.ready.is_behind()
    }

    /// Lets fewer results wait, so that a test reaches the limits.
    #[cfg(test)]
    pub(crate) fn limit_ready(&mut self, bytes: usize, behind: headland_event::ByteCount) {
        self.ready = Ready::of_at_most(bytes, behind);
    }

    /// Behind every result that was derived so far.
    #[must_use]
    pub const fn derived_end(&self) -> u64 {
        self.ready.end()
    }

    /// Whether every result before `end` was taken, or another will be in its place.
    #[must_use]
    pub fn is_taken(&self, end: u64) -> bool {
        self.ready.is_taken(end)
    }

    /// Whether all results were taken.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }
}

fn sources(program: &Program) -> Result<Vec<Source>, RulesError> {
    let tables = program.tables().iter().filter_map(|table| Some((table, table.topic()?.clone())));
    let tables = tables.map(|(table, topic)| {
        let name = || table.name().to_string();
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
