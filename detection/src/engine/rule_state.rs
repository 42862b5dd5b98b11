//! One rule as it runs: its operators, its counts, and what becomes of what leaves them.

use std::collections::VecDeque;
use std::sync::Arc;

use headland_event::{EventTime, Offset};

use crate::engine::dataflow::{Dataflow, Effect, Effects, Failure, Outcome};
use crate::file_rows::FileRows;
use crate::operator::arriving::{Changed, Kept, Limits};
use crate::output::{
    FailedWindow, LateRow, LookupId, LookupRequest, Output, Refusal, RefusedRow, RuleCounts,
    RuleLoad, RuleResult,
};
use crate::part::{Origin, Standing};
use crate::plan::{JoinedKeys, Rule};
use crate::relation::{Sink, WindowName};
use crate::settings::{OnLimit, RuleLimits, RuleSettings};
use crate::table::TableId;
use crate::value::{Row, Value};

/// One rule as it runs.
#[derive(Debug)]
pub(crate) struct RuleState {
    pub(crate) sink: Sink,
    pub(crate) counts: RuleCounts,
    pub(crate) dataflow: Dataflow,
    pub(crate) settings: RuleSettings,
    /// The limits under which the rule stopped; none while it runs.
    pub(crate) stopped_under: Option<Limits>,
    /// The latest time of rows of several logs that it has taken.
    pub(crate) furthest: i64,
    /// Rows refused at a limit in this run.
    limited: u64,
    seed: u64,
    effects: Effects,
    /// What is in the files that the rule looks in.
    files: Vec<(TableId, Arc<FileRows>)>,
    pub(crate) cut: Cut,
}

/// What a snapshot under way is of.
#[derive(Debug)]
pub(crate) enum Cut {
    /// There is none.
    Nothing,
    /// The operators that run.
    Running,
    /// Those that ran until the rule stopped at a limit.
    Stopped(Box<Dataflow>),
}

/// Where an input stands and when it was captured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) evidence: Offset,
    pub(crate) captured_at: EventTime,
}

/// Whether event time may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timeliness {
    Credible,
    /// Further ahead than a clock may be wrong.
    Future,
}

/// How many logs the rows of a table come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    One,
    /// Others read the same logs and are to say the same: a row that is refused here for what this
    /// node has room for is missing.
    SideBySide,
}

/// One row as the rules see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) table: TableId,
    pub(crate) row: &'a Row,
    pub(crate) event_time: Option<EventTime>,
    pub(crate) timeliness: Timeliness,
    pub(crate) watermark: Option<EventTime>,
    pub(crate) origin: Origin,
    pub(crate) reading: Reading,
    pub(crate) arrival: Arrival,
}

impl RuleState {
    pub(crate) fn new(sink: Sink, settings: RuleSettings, seed: u64) -> Self {
        let (times, limits) = (settings.times(), settings.operator_limits());
        let dataflow = Dataflow::new(&sink.relation, times, seed, limits);
        let (counts, effects) = (RuleCounts::default(), Effects::default());
        let (stopped_under, furthest, limited) = (None, i64::MIN, 0);
        Self {
            sink,
            counts,
            dataflow,
            settings,
            stopped_under,
            furthest,
            limited,
            seed,
            effects,
            files: Vec::new(),
            cut: Cut::Nothing,
        }
    }

    /// Looks in these rows of a file from now on.
    pub(crate) fn on_file(&mut self, table: TableId, rows: &Arc<FileRows>) {
        self.dataflow.on_file(table, rows);
        self.files.retain(|(known, _)| *known != table);
        self.files.push((table, Arc::clone(rows)));
    }

    /// Does not know any more what is in a file.
    pub(crate) fn forget_file(&mut self, table: TableId) {
        self.dataflow.forget_file(table);
        self.files.retain(|(known, _)| *known != table);
    }

    /// Looks in the files that an engine of the same rule looked in.
    fn look_in(mut self, files: Vec<(TableId, Arc<FileRows>)>) -> Self {
        files.iter().for_each(|(table, rows)| self.on_file(*table, rows));
        self
    }

    /// Starts over with other settings; what the rule has kept is gone.
    pub(crate) fn with_settings(self, settings: RuleSettings) -> Self {
        Self::new(self.sink, settings, self.seed).look_in(self.files)
    }

    /// Goes on by other limits.
    pub(crate) fn set_limits(&mut self, limits: RuleLimits) {
        self.settings = self.settings.with_limits(limits);
        self.dataflow.set_limits(self.settings.operator_limits());
    }

    pub(crate) fn load(&self) -> RuleLoad {
        let Kept { keys, bytes } = self.dataflow.kept();
        RuleLoad { keys, bytes, limited: self.limited }
    }

    const fn is_stopped(&self) -> bool {
        self.stopped_under.is_some()
    }

    /// Lets a rule that stopped at a limit begin anew, as of these watermarks of its tables, when a
    /// limit was raised since or no longer stops it; says whether it does.
    pub(crate) fn begins_anew_if_raised(&mut self, watermarks: &[Option<EventTime>]) -> bool {
        let Some(before) = self.stopped_under else { return false };
        let is_raised = self.settings.operator_limits().is_above(&before);
        if !is_raised && self.settings.on_limit == OnLimit::StopRule {
            return false;
        }
        self.stopped_under = None;
        self.pass(watermarks);
        true
    }

    /// Begins with nothing, as of these watermarks of its tables.
    pub(crate) fn begin_anew(&mut self, watermarks: &[Option<EventTime>]) {
        let files = std::mem::take(&mut self.files);
        *self = Self::new(self.sink.clone(), self.settings, self.seed).look_in(files);
        self.pass(watermarks);
    }

    fn pass(&mut self, watermarks: &[Option<EventTime>]) {
        let mut effects = Effects::default();
        for (index, watermark) in watermarks.iter().enumerate() {
            // Windows that have passed were lost with the stop: rows of them are late.
            if let Some(watermark) = watermark {
                let table = TableId::new(index);
                self.dataflow.on_watermark(table, watermark.millis(), &mut effects);
            }
        }
        debug_assert!(effects.list.is_empty(), "a rule that has seen nothing has no results");
    }

    pub(crate) fn on_row(
        &mut self,
        rule: &Rule,
        input: &Input<'_>,
        outputs: &mut VecDeque<Output>,
    ) {
        for entry in 0..self.dataflow.entries(input.table) {
            self.counts.rows += 1;
            match self.enter(entry, input) {
                Ok(Outcome::Filtered) => self.counts.filtered += 1,
                Ok(Outcome::Taken) => {
                    self.counts.accepted += 1;
                    self.note_furthest(input);
                }
                Ok(Outcome::Late(window_end)) => {
                    self.counts.late += 1;
                    outputs.push_back(Output::Late(late(rule, input, window_end)));
                }
                Err(reason) => {
                    self.counts.refused += 1;
                    self.limited += u64::from(is_limited(&reason));
                    self.stop_at(&reason);
                    self.miss_refused(input, &reason);
                    outputs.push_back(Output::Refused(RefusedRow {
                        table: input.table,
                        rule: rule.name().clone(),
                        row: input.row.clone(),
                        reason,
                        evidence: input.arrival.evidence,
                    }));
                }
            }
            self.give_out(rule, input.arrival, outputs);
        }
    }

    fn note_furthest(&mut self, input: &Input<'_>) {
        if let (Reading::SideBySide, Some(time)) = (input.reading, input.event_time) {
            self.furthest = self.furthest.max(time.millis());
        }
    }

    /// A row that others have room for is missing here: no window that holds it is final, or
    /// corrected when the row is late.
    fn miss_refused(&mut self, input: &Input<'_>, reason: &Refusal) {
        let (Reading::SideBySide, Some(time)) = (input.reading, input.event_time) else { return };
        if !is_limited(reason) {
            return;
        }
        let time = time.millis();
        match input.origin.standing {
            Standing::OnTime => self.dataflow.on_gap(time, time),
            Standing::Late { .. } => self.dataflow.on_doubt(time, time, &mut self.effects),
        }
    }

    /// Rows of this rule with times from `first` to `last` are missing.
    pub(crate) fn on_gap(&mut self, first: EventTime, last: EventTime) {
        if first <= last {
            self.dataflow.on_gap(first.millis(), last.millis());
        }
    }

    /// Late rows of this rule with times from `first` to `last` are missing, or count elsewhere
    /// otherwise.
    pub(crate) fn on_doubt(
        &mut self,
        rule: &Rule,
        (first, last): (EventTime, EventTime),
        arrival: Arrival,
        outputs: &mut VecDeque<Output>,
    ) {
        if first <= last && !self.is_stopped() {
            self.dataflow.on_doubt(first.millis(), last.millis(), &mut self.effects);
            self.give_out(rule, arrival, outputs);
        }
    }

    fn enter(&mut self, entry: usize, input: &Input<'_>) -> Result<Outcome, Refusal> {
        if self.is_stopped() {
            return Err(Refusal::Stopped);
        }
        if input.timeliness == Timeliness::Future && self.dataflow.is_timed() {
            return Err(Refusal::Future);
        }
        let (place, row) = ((input.table, entry), input.row.values());
        self.dataflow.on_row(place, row, input.origin, &mut self.effects)
    }

    pub(crate) fn on_watermark(
        &mut self,
        rule: &Rule,
        table: TableId,
        watermark: EventTime,
        arrival: Arrival,
        outputs: &mut VecDeque<Output>,
    ) {
        if !self.is_stopped() {
            self.dataflow.on_watermark(table, watermark.millis(), &mut self.effects);
            self.give_out(rule, arrival, outputs);
        }
    }

    /// Event time has come to `time`, by what the rule's tables have shown.
    pub(crate) fn on_early(
        &mut self,
        rule: &Rule,
        time: EventTime,
        arrival: Arrival,
        outputs: &mut VecDeque<Output>,
    ) {
        if self.settings.early_results.is_some() && !self.is_stopped() {
            self.dataflow.on_early(time.millis(), &mut self.effects);
            self.give_out(rule, arrival, outputs);
        }
    }

    pub(crate) fn on_lookup(
        &mut self,
        rule: &Rule,
        id: LookupId,
        found: Vec<Vec<Value>>,
        arrival: Arrival,
        outputs: &mut VecDeque<Output>,
    ) {
        if !self.is_stopped() {
            self.dataflow.on_lookup(id.stage, id.number, found, &mut self.effects);
            self.give_out(rule, arrival, outputs);
        }
    }

    /// Ends the rule when it has met a limit and is to stop there; its state goes.
    fn stop_at(&mut self, reason: &Refusal) {
        if reason.is_limit() && self.settings.on_limit == OnLimit::StopRule {
            let (times, limits) = (self.settings.times(), self.settings.operator_limits());
            self.stopped_under = Some(limits);
            let mut nothing = Dataflow::new(&self.sink.relation, times, self.seed, limits);
            self.files.iter().for_each(|(table, rows)| nothing.on_file(*table, rows));
            let stopped = std::mem::replace(&mut self.dataflow, nothing);
            if matches!(self.cut, Cut::Running) {
                self.cut = Cut::Stopped(Box::new(stopped));
            }
            // What it had taken is gone, should it begin anew.
            if self.furthest > i64::MIN {
                self.dataflow.on_gap(i64::MIN, self.furthest);
            }
        }
    }

    /// Makes outputs of what an input brought about.
    fn give_out(&mut self, rule: &Rule, arrival: Arrival, outputs: &mut VecDeque<Output>) {
        let mut effects = std::mem::take(&mut self.effects);
        self.counts.suppressed += effects.suppressed;
        self.counts.early_left_out += effects.early_left_out;
        for effect in effects.list.drain(..) {
            outputs.push_back(match effect {
                Effect::Row(changed) => {
                    self.counts.results += 1;
                    Output::Result(result(rule, &self.sink, changed, arrival))
                }
                Effect::Failure(failure) => {
                    self.counts.failed += 1;
                    self.stop_at(&failure.reason);
                    Output::Failed(failed(rule, failure, arrival))
                }
                Effect::Lookup(lookup) => Output::Lookup(LookupRequest {
                    rule: rule.name().clone(),
                    id: LookupId { stage: lookup.stage, number: lookup.number },
                    key: lookup.key,
                    arrived_at: arrival.captured_at,
                    evidence: arrival.evidence,
                }),
            });
        }
        (effects.suppressed, effects.early_left_out) = (0, 0);
        self.effects = effects;
    }
}

/// Whether a row was refused for what there is room for.
fn is_limited(reason: &Refusal) -> bool {
    reason.is_limit() || *reason == Refusal::Stopped
}

fn failed(rule: &Rule, failure: Failure, arrival: Arrival) -> FailedWindow {
    let Failure { reason, keys, window_end } = failure;
    FailedWindow {
        rule: rule.name().clone(),
        key: JoinedKeys(&keys).to_string(),
        window_end,
        error: reason,
        evidence: arrival.evidence,
    }
}

fn late(rule: &Rule, input: &Input<'_>, window_end: Option<EventTime>) -> LateRow {
    LateRow {
        table: input.table,
        rule: rule.name().clone(),
        row: input.row.clone(),
        event_time: input.event_time.unwrap_or(EventTime::MIN),
        window_end,
        watermark: input.watermark.unwrap_or(EventTime::MIN),
        evidence: input.arrival.evidence,
    }
}

fn result(rule: &Rule, sink: &Sink, changed: Changed, arrival: Arrival) -> RuleResult {
    let Changed { change, finality, row: mut values } = changed;
    debug_assert!(values.len() >= sink.width, "a value per column");
    let key = match sink.key.as_slice() {
        [] => String::new(),
        [column] => values.get(*column).map(ToString::to_string).unwrap_or_default(),
        columns => {
            let keys: Vec<Value> =
                columns.iter().filter_map(|column| values.get(*column).cloned()).collect();
            JoinedKeys(&keys).to_string()
        }
    };
    let window = match sink.window {
        WindowName::Column(column) => {
            values.get(column).map(ToString::to_string).unwrap_or_default()
        }
        WindowName::End(column) => match values.get(column) {
            Some(Value::Timestamp(time)) => time.millis().to_string(),
            other => other.map(ToString::to_string).unwrap_or_default(),
        },
        WindowName::Evidence => arrival.evidence.to_string(),
        WindowName::Whole => String::new(),
    };
    let event_time = match sink.event_time.and_then(|column| values.get(column)) {
        Some(Value::Timestamp(time)) => *time,
        // A table without event time counts by arrival.
        _ => arrival.captured_at,
    };
    values.truncate(sink.width);
    let names = rule.schema().columns().iter().map(|column| column.name().clone());
    RuleResult {
        change,
        finality,
        rule: rule.name().clone(),
        topic: rule.topic().clone(),
        severity: rule.severity(),
        key,
        window,
        event_time,
        captured_at: arrival.captured_at,
        evidence: arrival.evidence,
        columns: names.zip(values).collect(),
    }
}
