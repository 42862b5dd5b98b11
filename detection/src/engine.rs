//! The engine: rows in, results out.

use std::collections::VecDeque;

use headland_event::{EventTime, Offset};

use crate::expression::{EvaluationError, Expression};
use crate::output::{
    Change, FailedWindow, LateRow, Output, Refusal, RefusedRow, RuleCounts, RuleResult,
};
use crate::plan::{FilterPlan, JoinedKeys, KeyLabel, Operator, Rule, TumblePlan, WindowLabel};
use crate::program::Program;
use crate::table::TableId;
use crate::value::{Row, Value};
use crate::window::{AddError, Windows, is_closed};

/// Most groups a rule keeps open: at about 200 bytes each, 200 MB. A row that would open one more
/// is refused as [`Refusal::WindowLimit`] and counted; open groups still take rows.
pub const WINDOW_LIMIT: usize = 1_000_000;

/// Runs the rules of a [`Program`] over rows.
///
/// Feed rows with [`on_row`](Self::on_row), then drain [`poll_output`](Self::poll_output). What
/// comes out is a function of the rows and their order, whatever the batches they come in.
#[derive(Debug)]
pub struct Engine {
    pub(crate) program: Program,
    window_limit: usize,
    /// Per source table; none before its first event time.
    pub(crate) watermarks: Vec<Option<EventTime>>,
    /// Per rule, in the program's order.
    pub(crate) states: Vec<RuleState>,
    pub(crate) outputs: VecDeque<Output>,
}

/// What a rule remembers.
#[derive(Debug)]
pub(crate) struct RuleState {
    pub(crate) counts: RuleCounts,
    /// Empty for a rule without windows.
    pub(crate) windows: Windows,
}

/// Where an input stands and when it was captured.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    evidence: Offset,
    captured_at: EventTime,
}

impl Engine {
    /// An engine that has seen nothing; `seed` seeds the hashers of its keyed state.
    #[must_use]
    pub fn new(program: Program, seed: u64) -> Self {
        let states = program
            .rules()
            .iter()
            .map(|_| RuleState { counts: RuleCounts::default(), windows: Windows::new(seed) });
        let states = states.collect();
        let watermarks = vec![None; program.tables().len()];
        Self { program, window_limit: WINDOW_LIMIT, watermarks, states, outputs: VecDeque::new() }
    }

    /// Keeps at most `limit` groups open per rule instead of [`WINDOW_LIMIT`].
    ///
    /// Too small refuses rows; too large lets a rule with a key of many values exhaust memory.
    #[must_use]
    pub const fn with_window_limit(mut self, limit: usize) -> Self {
        self.window_limit = limit;
        self
    }

    /// The program that runs.
    #[must_use]
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// Feeds one row of `table`: first its rules see it under the watermark as it stands, then the
    /// watermark moves to the row's event time less the delay and closes windows.
    ///
    /// `evidence` is where the row stands in the caller's log and `captured_at` the caller's clock
    /// when it arrived; both are only passed on. Cost: O(rules of the table); closing a window of
    /// n groups sorts them, O(n log n).
    ///
    /// # Panics
    /// When `table` is another program's.
    pub fn on_row(&mut self, table: TableId, row: &Row, evidence: Offset, captured_at: EventTime) {
        let arrival = Arrival { evidence, captured_at };
        let event_time = self.feed(table, row, Timeliness::Credible, arrival);
        if let (Some(event_time), Some(delay)) = (event_time, self.program.table(table).delay()) {
            self.advance(table, event_time.minus(delay), arrival);
        }
    }

    /// Feeds a row whose event time is further ahead than a clock may be wrong, by the caller's
    /// judgement: rules without windows see it as any other, rules with windows refuse it as
    /// [`Refusal::Future`], and the watermark does not move. Otherwise as [`on_row`](Self::on_row).
    ///
    /// # Panics
    /// When `table` is another program's.
    pub fn on_future_row(
        &mut self,
        table: TableId,
        row: &Row,
        evidence: Offset,
        captured_at: EventTime,
    ) {
        self.feed(table, row, Timeliness::Future, Arrival { evidence, captured_at });
    }

    /// Shows a row to the rules of its table; returns its event time.
    fn feed(
        &mut self,
        table: TableId,
        row: &Row,
        timeliness: Timeliness,
        arrival: Arrival,
    ) -> Option<EventTime> {
        let declared = self.program.table(table);
        debug_assert_eq!(row.values().len(), declared.schema().columns().len(), "a whole row");
        let input = Input {
            table,
            row,
            event_time: declared.event_time_of(row),
            timeliness,
            watermark: self.watermarks.get(table.index()).copied().flatten(),
            window_limit: self.window_limit,
            arrival,
        };
        for (rule, state) in self.program.rules().iter().zip(&mut self.states) {
            if rule.source() == table {
                state.on_row(rule, &input, &mut self.outputs);
            }
        }
        input.event_time
    }

    /// Moves the watermark of `table` to `watermark` unless it stands there already or later, and
    /// closes windows: for the end of a bounded input, or a source that is known to be complete.
    ///
    /// # Panics
    /// When `table` is another program's.
    pub fn on_watermark(
        &mut self,
        table: TableId,
        watermark: EventTime,
        evidence: Offset,
        captured_at: EventTime,
    ) {
        assert!(table.index() < self.watermarks.len(), "an id names a table of its own program");
        self.advance(table, watermark, Arrival { evidence, captured_at });
    }

    /// The next output, in the order of the inputs that caused them; none when drained.
    ///
    /// Outputs of one input come rule by rule; those of one rule by (window end, keys).
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The watermark of `table`: no event at or before it is expected any more. None before the
    /// table's first row, and for a table without event time.
    #[must_use]
    pub fn watermark(&self, table: TableId) -> Option<EventTime> {
        self.watermarks.get(table.index()).copied().flatten()
    }

    /// What became of the rows of the rule called `name`; none when there is no such rule.
    #[must_use]
    pub fn counts(&self, name: &str) -> Option<RuleCounts> {
        let mut rules = self.program.rules().iter().zip(&self.states);
        rules.find(|(rule, _)| &**rule.name() == name).map(|(_, state)| state.counts)
    }

    fn advance(&mut self, table: TableId, to: EventTime, arrival: Arrival) {
        let Some(watermark) = self.watermarks.get_mut(table.index()) else { return };
        if watermark.is_some_and(|watermark| watermark >= to) {
            return;
        }
        *watermark = Some(to);
        for (rule, state) in self.program.rules().iter().zip(&mut self.states) {
            if let Operator::Tumble(plan) = rule.operator()
                && rule.source() == table
            {
                state.close(rule, plan, to, arrival, &mut self.outputs);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        for (rule, state) in self.program.rules().iter().zip(&self.states) {
            let counts = state.counts;
            assert_eq!(
                counts.rows,
                counts.filtered + counts.accepted + counts.late + counts.refused,
                "counts of in are counts of out"
            );
            assert!(state.windows.len() <= self.window_limit);
            let watermark = self.watermark(rule.source()).unwrap_or(EventTime::MIN);
            assert!(
                state.windows.sorted().all(|(end, ..)| !is_closed(end, watermark)),
                "no window is open that the watermark has closed"
            );
        }
    }
}

/// Whether event time may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timeliness {
    Credible,
    /// Further ahead than a clock may be wrong.
    Future,
}

/// One row as the rules see it.
struct Input<'a> {
    table: TableId,
    row: &'a Row,
    event_time: Option<EventTime>,
    timeliness: Timeliness,
    watermark: Option<EventTime>,
    window_limit: usize,
    arrival: Arrival,
}

impl RuleState {
    fn on_row(&mut self, rule: &Rule, input: &Input<'_>, outputs: &mut VecDeque<Output>) {
        self.counts.rows += 1;
        let seen = match rule.operator() {
            Operator::Filter(plan) => filter(rule, plan, input),
            Operator::Tumble(plan) => self.window(rule, plan, input),
        };
        match seen {
            Seen::Filtered => self.counts.filtered += 1,
            Seen::Accepted(None) => self.counts.accepted += 1,
            Seen::Accepted(Some(result)) => {
                self.counts.accepted += 1;
                self.counts.results += 1;
                outputs.push_back(Output::Result(result));
            }
            Seen::Late(late) => {
                self.counts.late += 1;
                outputs.push_back(Output::Late(late));
            }
            Seen::Refused(reason) => {
                self.counts.refused += 1;
                outputs.push_back(Output::Refused(RefusedRow {
                    table: input.table,
                    rule: rule.name().clone(),
                    row: input.row.clone(),
                    reason,
                    evidence: input.arrival.evidence,
                }));
            }
        }
    }

    /// Puts a row into its window, unless WHERE drops it or the window has closed.
    fn window(&mut self, rule: &Rule, plan: &TumblePlan, input: &Input<'_>) -> Seen {
        let row = input.row.values();
        match holds(plan.predicate.as_ref(), row) {
            Ok(true) => {}
            Ok(false) => return Seen::Filtered,
            Err(error) => return Seen::Refused(Refusal::Evaluation(error)),
        }
        let Some(event_time) = input.event_time else {
            return Seen::Refused(Refusal::NoEventTime);
        };
        match input.timeliness {
            Timeliness::Credible => {}
            Timeliness::Future => return Seen::Refused(Refusal::Future),
        }
        let window_end = plan.size.end_of(event_time);
        if let Some(watermark) = input.watermark
            && is_closed(window_end, watermark)
        {
            return Seen::Late(LateRow {
                table: input.table,
                rule: rule.name().clone(),
                row: input.row.clone(),
                event_time,
                window_end,
                watermark,
                evidence: input.arrival.evidence,
            });
        }
        match self.windows.add(plan, window_end, row, input.window_limit) {
            Ok(()) => Seen::Accepted(None),
            Err(AddError::Evaluation(error)) => Seen::Refused(Refusal::Evaluation(error)),
            Err(AddError::Full) => {
                Seen::Refused(Refusal::WindowLimit { limit: input.window_limit })
            }
        }
    }

    /// Closes the windows that a watermark has passed.
    fn close(
        &mut self,
        rule: &Rule,
        plan: &TumblePlan,
        watermark: EventTime,
        arrival: Arrival,
        outputs: &mut VecDeque<Output>,
    ) {
        while let Some((end, groups)) = self.windows.pop_due(watermark) {
            for (keys, accumulators) in groups {
                let pairs = plan.aggregates.iter().zip(&accumulators);
                let aggregates = pairs.map(|(aggregate, state)| aggregate.result(state));
                let row = plan.group_row(&keys, end, aggregates);
                let closed = Closed { rule, keys: &keys, end, arrival };
                match closed.result(plan, &row) {
                    Ok(None) => self.counts.suppressed += 1,
                    Ok(Some(result)) => {
                        self.counts.results += 1;
                        outputs.push_back(Output::Result(result));
                    }
                    Err(error) => {
                        self.counts.failed += 1;
                        outputs.push_back(Output::Failed(closed.failed(error)));
                    }
                }
            }
        }
    }
}

/// What became of a row in one rule.
enum Seen {
    Filtered,
    Accepted(Option<RuleResult>),
    Late(LateRow),
    Refused(Refusal),
}

fn filter(rule: &Rule, plan: &FilterPlan, input: &Input<'_>) -> Seen {
    let row = input.row.values();
    let projected = match holds(plan.predicate.as_ref(), row) {
        Ok(false) => return Seen::Filtered,
        Ok(true) => project(&plan.projection, row),
        Err(error) => Err(error),
    };
    match projected {
        Ok(values) => {
            // A table without event time counts by arrival.
            let event_time = input.event_time.unwrap_or(input.arrival.captured_at);
            let labels = Labels { source: row, keys: &[], end: None };
            Seen::Accepted(Some(result(rule, values, event_time, &labels, input.arrival)))
        }
        Err(error) => Seen::Refused(Refusal::Evaluation(error)),
    }
}

/// One group of a window that has closed.
struct Closed<'a> {
    rule: &'a Rule,
    keys: &'a [Value],
    end: EventTime,
    arrival: Arrival,
}

impl Closed<'_> {
    fn result(
        &self,
        plan: &TumblePlan,
        row: &[Value],
    ) -> Result<Option<RuleResult>, EvaluationError> {
        if !holds(plan.having.as_ref(), row)? {
            return Ok(None);
        }
        let values = project(&plan.projection, row)?;
        let labels = Labels { source: &[], keys: self.keys, end: Some(self.end) };
        // The event time of a window is its last millisecond, Flink's window_time.
        let event_time = EventTime::from_millis(self.end.millis().saturating_sub(1));
        Ok(Some(result(self.rule, values, event_time, &labels, self.arrival)))
    }

    fn failed(&self, error: EvaluationError) -> FailedWindow {
        FailedWindow {
            rule: self.rule.name().clone(),
            key: JoinedKeys(self.keys).to_string(),
            window_end: self.end,
            error,
            evidence: self.arrival.evidence,
        }
    }
}

/// Whether a clause that may be absent holds.
fn holds(condition: Option<&Expression>, row: &[Value]) -> Result<bool, EvaluationError> {
    condition.map_or(Ok(true), |condition| condition.is_true(row))
}

fn project(projection: &[Expression], row: &[Value]) -> Result<Vec<Value>, EvaluationError> {
    projection
        .iter()
        .map(|expression| expression.evaluate(row).map(std::borrow::Cow::into_owned))
        .collect()
}

/// What key and window of a result may be taken from, besides its columns.
struct Labels<'a> {
    source: &'a [Value],
    keys: &'a [Value],
    end: Option<EventTime>,
}

fn result(
    rule: &Rule,
    values: Vec<Value>,
    event_time: EventTime,
    labels: &Labels<'_>,
    arrival: Arrival,
) -> RuleResult {
    debug_assert_eq!(values.len(), rule.schema().columns().len(), "a value per column");
    let text = |values: &[Value], index: usize| {
        values.get(index).map(ToString::to_string).unwrap_or_default()
    };
    let key = match rule.key {
        KeyLabel::Result(index) => text(&values, index),
        KeyLabel::Group => JoinedKeys(labels.keys).to_string(),
        KeyLabel::Source(index) => text(labels.source, index),
        KeyLabel::None => String::new(),
    };
    let window = match (rule.window, labels.end) {
        (WindowLabel::Result(index), _) => text(&values, index),
        (WindowLabel::End, Some(end)) => end.millis().to_string(),
        (WindowLabel::End, None) | (WindowLabel::Evidence, _) => arrival.evidence.to_string(),
    };
    let names = rule.schema().columns().iter().map(|column| column.name().clone());
    RuleResult {
        change: Change::Insert,
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

#[cfg(test)]
mod tests;
