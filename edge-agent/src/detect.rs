//! Rows to alerts: runs the rules, and says how far event time has come.

use std::sync::Arc;

use bytes::Bytes;
use headland_detection::{
    Change, Engine, FileRows, Output, Program, Refusal, RefusedRow, RestoreError, Revisions, Row,
    Rule, RuleCounts, RuleLoad, RuleResult, TableId,
};
use headland_event::codec::{Reader, Writer};
use headland_event::trace::TRACEPARENT_HEADER;
use headland_event::{
    AgentName, Alert, AlertId, AlertState, Coverage, EventTime, Offset, Record, TopicName,
    TraceParent,
};

use crate::decode::TimeMark;

/// Entries of keyed state in a part of a snapshot: a third of a millisecond on a server, a few on
/// the small devices that agents run on.
const ENTRIES_PER_PART: usize = 1_024;

/// What rules made of a row.
#[derive(Debug)]
pub enum Detected {
    /// An alert, and the topic the rule writes to.
    Alert(TopicName, Record),
    /// A window did not take the row because it came after its end.
    Late(TableId),
}

impl Detected {
    /// The alert and its topic, if it is one.
    #[must_use]
    pub fn into_alert(self) -> Option<(TopicName, Record)> {
        match self {
            Self::Alert(topic, record) => Some((topic, record)),
            Self::Late(_) => None,
        }
    }
}

/// The agent's rules.
#[derive(Debug)]
pub struct Detect {
    /// The rules, whatever is in the files that they look in.
    program: Program,
    engine: Engine,
    revisions: Revisions,
    /// Whose rows they see: this agent's alone, so that upstream each result is provisional.
    coverage: Coverage,
    seed: u64,
}

/// Where a row came from.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// Its offset in the outbox.
    pub evidence: Offset,
    /// When its line was captured.
    pub captured_at: EventTime,
    /// Its trace.
    pub trace: Option<TraceParent>,
    /// What is to be said about its event time.
    pub time: TimeMark,
}

impl Detect {
    /// Runs a program's rules from the start over the rows of `agent`.
    #[must_use]
    pub fn new(program: Program, agent: &AgentName, seed: u64) -> Self {
        let (engine, revisions) = (Engine::new(program.clone(), seed), Revisions::default());
        Self { program, engine, revisions, coverage: Coverage::of(agent.as_str()), seed }
    }

    /// The rules' state, as of the last row: how often alerts have changed, then the engine's in
    /// its own layout.
    #[cfg(test)]
    pub(crate) fn snapshot(&mut self) -> Bytes {
        let mut writer = Writer::new();
        writer.raw(&self.begin_snapshot());
        while let Some(part) = self.poll_snapshot() {
            writer.raw(&part);
        }
        writer.finish()
    }

    /// Begins a snapshot of the rules' state as of the last row, with what stands before its parts:
    /// how often alerts have changed. The parts are the engine's state in its own layout; they come
    /// from [`Self::poll_snapshot`], and rows may come in between.
    ///
    /// Cost: as of the [engine](Engine::begin_snapshot), and a copy of the alerts that change.
    ///
    /// # Panics
    /// While another is under way.
    #[must_use]
    pub fn begin_snapshot(&mut self) -> Bytes {
        let mut writer = Writer::new();
        self.revisions.write(&mut writer);
        self.engine.begin_snapshot();
        writer.finish()
    }

    /// The next part of the snapshot under way, at most a few milliseconds of work; none when it is
    /// whole.
    #[must_use]
    pub fn poll_snapshot(&mut self) -> Option<Bytes> {
        self.engine.poll_snapshot(ENTRIES_PER_PART)
    }

    /// Goes on from a snapshot of the same rules, which looked in these files then.
    ///
    /// # Errors
    /// [`RestoreError`] when it is of other rules, or none; nothing changes.
    pub fn restore(
        &mut self,
        snapshot: Bytes,
        files: Vec<(TableId, Arc<FileRows>)>,
    ) -> Result<(), RestoreError> {
        let mut reader = Reader::new(snapshot);
        let revisions = Revisions::read(&mut reader)?;
        let engine = reader.take("rules", reader.remaining())?;
        let over = |program: Program, (table, rows)| program.with_file(table, rows);
        let program = files.into_iter().fold(self.program.clone(), over);
        self.engine = Engine::restore(program, self.seed, engine)?;
        self.revisions = revisions;
        Ok(())
    }

    /// Begins with what is in these files, before any row.
    pub fn begin_with(&mut self, files: Vec<(TableId, Arc<FileRows>)>) {
        files.iter().for_each(|(table, rows)| self.on_file(*table, rows));
    }

    /// Lets rules that look in the file of a table find these rows from now on.
    pub fn on_file(&mut self, table: TableId, rows: &Arc<FileRows>) {
        self.engine.on_file(table, rows);
    }

    /// Does not know any more what the file of a table holds: rules that look in it refuse rows.
    pub fn forget_file(&mut self, table: TableId) {
        self.engine.forget_file(table);
    }

    /// Which content of the file of a table rules look in; none when they have none.
    #[must_use]
    pub fn file_digest(&self, table: TableId) -> Option<&str> {
        self.engine.program().file_rows(table).map(|rows| rows.digest())
    }

    /// The tables whose files rules look in, with the digests of what they hold.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        let tables = self.program.file_tables();
        tables.filter_map(|(id, table, _)| Some((&**table.name(), self.file_digest(id)?)))
    }

    /// The name of a table.
    #[must_use]
    pub fn table_name(&self, table: TableId) -> &str {
        self.program.table(table).name()
    }

    /// Feeds a row to each table that sees it; returns what the rules make of it, in order.
    pub fn on_row(
        &mut self,
        tables: &[TableId],
        row: &Row,
        origin: Origin,
        now: EventTime,
    ) -> Vec<Detected> {
        let Origin { evidence, captured_at, trace, time } = origin;
        for table in tables {
            match time {
                TimeMark::Declared | TimeMark::Arrival => {
                    self.engine.on_row(*table, row, evidence, captured_at);
                }
                TimeMark::Future => {
                    self.engine.on_future_row(*table, row, evidence, captured_at);
                }
            }
        }
        let (mut detected, mut results) = (Vec::new(), Vec::new());
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Result(result) => {
                    results.push(result);
                }
                Output::Late(late) => detected.push(Detected::Late(late.table)),
                // The source counts them and says so once.
                Output::Refused(RefusedRow { reason: Refusal::Future, .. }) => {}
                // So was the file when it was read.
                Output::Refused(RefusedRow { reason: Refusal::NoTable, .. }) => {}
                Output::Refused(refused) => {
                    tracing::error!(?refused, "a rule did not take a row");
                }
                Output::Failed(failed) => tracing::error!(?failed, "a window has no result"),
                // Rules that look in stores are refused: the row goes on without a partner.
                Output::Lookup(lookup) => {
                    self.engine.on_lookup(
                        &lookup.rule,
                        lookup.id,
                        Vec::new(),
                        lookup.evidence,
                        lookup.arrived_at,
                    );
                }
            }
        }
        let mut results = results.into_iter().peekable();
        while let Some(result) = results.next() {
            let is_replaced = result.change == Change::UpdateBefore
                && results.peek().is_some_and(|next| replaces(next, &result));
            if !is_replaced {
                let id = AlertId::derive(&result.rule, &result.key, &result.window);
                let Some(said) = self.say(id, &result) else { continue };
                let topic = result.topic.clone();
                let record = alert_record((id, said), &self.coverage, result, trace, now);
                detected.push(Detected::Alert(topic, record));
            }
        }
        detected
    }

    /// What is to be said of a result's alert; none when there is nothing to take back.
    fn say(&mut self, id: AlertId, result: &RuleResult) -> Option<(AlertState, u32)> {
        let mut rules = self.engine.program().rules().iter();
        let rule = rules.find(|rule| *rule.name() == result.rule)?;
        let forgotten = self.revisions.forgotten();
        let said = self.revisions.on_result(id, rule, result);
        if forgotten == 0 && self.revisions.forgotten() > 0 {
            tracing::warn!(
                "more alerts change than are remembered: those whose last change is longest ago \
                 are not taken back, and begin at revision 1 again; this is said once"
            );
        }
        said
    }

    /// How far event time has come for all of these tables.
    #[must_use]
    pub fn watermark(&self, tables: &[TableId]) -> Option<EventTime> {
        tables.iter().map(|table| self.engine.watermark(*table)).min().flatten()
    }

    /// What became of the rows of each rule, and what it keeps.
    pub fn meters(&self) -> impl Iterator<Item = (&str, RuleCounts, RuleLoad)> {
        self.engine.program().rules().iter().filter_map(|rule| {
            let name = &**rule.name();
            Some((name, self.engine.counts(name)?, self.engine.load(name)?))
        })
    }

    /// The topics that rules write to.
    pub fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.engine.program().rules().iter().map(Rule::topic)
    }
}

/// The topic of alerts.
///
/// # Panics
/// Never: the name is a literal that fits.
#[must_use]
pub fn alerts_topic() -> TopicName {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for topics")]
    TopicName::new("alerts").expect("a literal topic name fits")
}

/// Whether a result is the new row of the update that an old one belongs to.
fn replaces(new: &RuleResult, old: &RuleResult) -> bool {
    let is_same = (&new.rule, &new.key, &new.window) == (&old.rule, &old.key, &old.window);
    new.change == Change::UpdateAfter && is_same
}

fn alert_record(
    (id, (state, revision)): (AlertId, (AlertState, u32)),
    coverage: &Coverage,
    result: RuleResult,
    trace: Option<TraceParent>,
    now: EventTime,
) -> Record {
    let RuleResult {
        change: _,
        finality,
        rule,
        topic: _,
        severity,
        key,
        window,
        event_time,
        captured_at,
        evidence,
        columns,
    } = result;
    let values = columns.into_iter().map(|(name, value)| (name.to_string(), value.to_string()));
    let alert = Alert {
        id,
        rule: rule.to_string(),
        key,
        window,
        state,
        severity,
        revision,
        finality,
        coverage: coverage.clone(),
        event_time,
        captured_at,
        detected_at: now,
        evidence,
        values: values.collect(),
    };
    #[expect(clippy::expect_used, reason = "texts and numbers always have a JSON")]
    let value = serde_json::to_vec(&alert).expect("an alert has a JSON");
    let record = Record::new(event_time, Bytes::from(alert.key), Bytes::from(value));
    match trace {
        Some(trace) => record.with_header(TRACEPARENT_HEADER, trace.to_string()),
        None => record,
    }
}
