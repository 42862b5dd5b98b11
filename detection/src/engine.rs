//! The engine: rows in, results out.

use std::collections::VecDeque;
use std::sync::Arc;

use headland_event::{EventTime, Offset};

use crate::engine::rule_state::{Arrival, Input, Reading, RuleState, Timeliness};
use crate::file_rows::FileRows;
use crate::output::{LookupId, Output, RuleCounts, RuleLoad};
use crate::part::Origin;
use crate::program::Program;
use crate::settings::{RuleLimits, RuleSettings};
use crate::snapshot::SnapshotCursor;
use crate::table::TableId;
use crate::value::Row;

/// From a relation to operators.
mod wiring;
/// The operators of a rule at work.
pub(crate) mod dataflow;
/// One rule as it runs.
pub(crate) mod rule_state;

/// Runs the rules of a [`Program`] over rows.
///
/// Feed rows with [`on_row`](Self::on_row), then drain [`poll_output`](Self::poll_output). What
/// comes out is a function of the rows and their order, whatever the batches they come in.
#[derive(Debug)]
pub struct Engine {
    pub(crate) program: Program,
    /// Per source table; none before its first event time.
    pub(crate) watermarks: Vec<Option<EventTime>>,
    /// Per rule, in the program's order.
    pub(crate) states: Vec<RuleState>,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) begun_new: Vec<Arc<str>>,
    pub(crate) snapshot: Option<SnapshotCursor>,
}

impl Engine {
    /// An engine that has seen nothing, whose rules run by the settings in their WITH; `seed` seeds
    /// the hashers of its keyed state.
    #[must_use]
    pub fn new(program: Program, seed: u64) -> Self {
        let states = program
            .rules()
            .iter()
            .map(|rule| RuleState::new(rule.sink().clone(), *rule.settings(), seed));
        let mut states: Vec<RuleState> = states.collect();
        for (table, rows) in program.files() {
            states.iter_mut().for_each(|state| state.on_file(table, rows));
        }
        let watermarks = vec![None; program.tables().len()];
        let (outputs, begun_new) = (VecDeque::new(), Vec::new());
        Self { program, watermarks, states, outputs, begun_new, snapshot: None }
    }

    /// Runs the rule called `name` by `settings` instead of those in its WITH. For a rule that has
    /// seen rows it starts over; a name that no rule has changes nothing.
    #[must_use]
    pub fn with_settings(mut self, name: &str, settings: RuleSettings) -> Self {
        let place = self.program.rules().iter().position(|rule| &**rule.name() == name);
        let states = std::mem::take(&mut self.states).into_iter().enumerate();
        let states =
            states.map(
                |(index, state)| {
                    if Some(index) == place { state.with_settings(settings) } else { state }
                },
            );
        self.states = states.collect();
        self
    }

    /// Keeps at most `limit` keys per rule instead of [`WINDOW_LIMIT`](crate::WINDOW_LIMIT).
    ///
    /// Too small refuses rows; too large lets a rule with a key of many values exhaust memory.
    #[must_use]
    pub fn with_window_limit(mut self, limit: usize) -> Self {
        for state in &mut self.states {
            state.settings.keys_limit = limit;
            state.dataflow.set_limits(state.settings.operator_limits());
        }
        self
    }

    /// Lets rules that look in the file of a table find these rows from now on.
    ///
    /// Cost: an index of the file per rule that looks there.
    ///
    /// # Panics
    /// When `table` is another program's.
    pub fn on_file(&mut self, table: TableId, rows: &Arc<FileRows>) {
        self.program = self.program.clone().with_file(table, Arc::clone(rows));
        self.states.iter_mut().for_each(|state| state.on_file(table, rows));
    }

    /// What the file of a table holds is not known any more: rules that look in it refuse their
    /// rows.
    pub fn forget_file(&mut self, table: TableId) {
        self.program = self.program.clone().without_file(table);
        self.states.iter_mut().for_each(|state| state.forget_file(table));
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
        let (origin, timeliness) = (Origin::default(), Timeliness::Credible);
        let event_time = self.feed(table, row, (origin, timeliness, Reading::One), arrival);
        if let (Some(event_time), Some(delay)) = (event_time, self.program.table(table).delay()) {
            self.advance(table, event_time.minus(delay), arrival);
            self.early(table, event_time, arrival);
        }
    }

    /// Feeds one row of `table` that is read from several logs at once, of which each says itself
    /// how far its event time is: neither watermark nor early results move with the row, but by
    /// [`on_watermark`](Self::on_watermark) and [`on_event_time`](Self::on_event_time) alone.
    ///
    /// Rows of one log come in its order. A log's rows that are on time have to be fed before the
    /// watermark passes them, and a late one before it passes what the row came behind. Final
    /// results of a rule that [merges parts](crate::Rule::merges_parts) then depend on the rows of
    /// each log alone, not on how logs alternate.
    ///
    /// # Panics
    /// When `table` is another program's.
    pub fn on_row_of(
        &mut self,
        table: TableId,
        row: &Row,
        origin: Origin,
        evidence: Offset,
        captured_at: EventTime,
    ) {
        let arrival = Arrival { evidence, captured_at };
        self.feed(table, row, (origin, Timeliness::Credible, Reading::SideBySide), arrival);
    }

    /// Says that rows of `table` with event times from `first` to `last`, both included, are
    /// missing here and may be there on another node: windows of rules that
    /// [merge parts](crate::Rule::merges_parts), are open and hold such a time give their result as
    /// [provisional](headland_event::Finality::Provisional) also when they close. Windows that have
    /// closed were whole.
    ///
    /// At most 64 stretches are told apart; beyond that the nearest become one.
    pub fn on_gap(&mut self, table: TableId, first: EventTime, last: EventTime) {
        let rules = self.program.rules().iter().zip(&mut self.states);
        for (_, state) in rules.filter(|(rule, _)| rule.sources().contains(&table)) {
            state.on_gap(first, last);
        }
    }

    /// Says that late rows of `table` with event times from `first` to `last`, both included, are
    /// missing here, or may count otherwise on another node. Final results leave late rows out and
    /// stand; but windows of rules that [merge parts](crate::Rule::merges_parts) and hold such a
    /// time are no longer corrected: what they have, with the late rows that came, they say behind
    /// their final result as [provisional](headland_event::Finality::Provisional), those that have
    /// closed now, once.
    ///
    /// At most 64 stretches are told apart; beyond that the nearest become one. O(groups of windows
    /// that have closed and still take late rows), the first time that they are in doubt.
    pub fn on_doubt(
        &mut self,
        table: TableId,
        (first, last): (EventTime, EventTime),
        evidence: Offset,
        captured_at: EventTime,
    ) {
        let arrival = Arrival { evidence, captured_at };
        let rules = self.program.rules().iter().zip(&mut self.states);
        for (rule, state) in rules.filter(|(rule, _)| rule.sources().contains(&table)) {
            state.on_doubt(rule, (first, last), arrival, &mut self.outputs);
        }
    }

    /// As [`on_gap`](Self::on_gap), for the rules among those called `names`.
    pub fn on_gap_of(&mut self, names: &[Arc<str>], first: EventTime, last: EventTime) {
        let rules = self.program.rules().iter().zip(&mut self.states);
        for (_, state) in rules.filter(|(rule, _)| names.contains(rule.name())) {
            state.on_gap(first, last);
        }
    }

    /// Lets the rule called `name` begin with nothing, where its tables stand: what it had kept was
    /// of another definition.
    pub fn begin_anew(&mut self, name: &str) {
        let mut rules = self.program.rules().iter().zip(&mut self.states);
        if let Some((rule, state)) = rules.find(|(rule, _)| &**rule.name() == name) {
            state.begin_anew(&self.watermarks);
            if !self.begun_new.contains(rule.name()) {
                self.begun_new.push(rule.name().clone());
            }
        }
    }

    /// Lets the rule called `name` run by other limits from the next row on, with what it keeps: a
    /// limit that is lower than what it keeps lets nothing more in. A rule that had stopped at a
    /// limit begins with nothing where its tables stand, when one was raised or none stops it any
    /// more; says whether it does.
    pub fn set_limits(&mut self, name: &str, limits: RuleLimits) -> bool {
        let mut rules = self.program.rules().iter().zip(&mut self.states);
        let found = rules.find(|(rule, _)| &**rule.name() == name);
        found.is_some_and(|(_, state)| {
            state.set_limits(limits);
            state.begins_anew_if_raised(&self.watermarks)
        })
    }

    /// Rules that begin with nothing in an engine that was restored, by their names: those that the
    /// snapshot did not have, those that had stopped at a limit and no longer do, and those that
    /// were told to [begin anew](Self::begin_anew).
    #[must_use]
    pub fn begun_new(&self) -> &[Arc<str>] {
        &self.begun_new
    }

    /// Says that some rows of `table` have come to `time`, however far its watermark is: rules that
    /// give early results do so when a further interval has begun.
    pub fn on_event_time(
        &mut self,
        table: TableId,
        time: EventTime,
        evidence: Offset,
        captured_at: EventTime,
    ) {
        self.early(table, time, Arrival { evidence, captured_at });
    }

    /// Feeds a row whose event time is further ahead than a clock may be wrong, by the caller's
    /// judgement: rules that do not go by event time see it as any other, the others refuse it as
    /// [`Refusal::Future`](crate::Refusal::Future), and the watermark does not move. Otherwise as
    /// [`on_row`](Self::on_row).
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
        let arrival = Arrival { evidence, captured_at };
        let how = (Origin::default(), Timeliness::Future, Reading::One);
        self.feed(table, row, how, arrival);
    }

    /// Shows a row to the rules of its table; returns its event time.
    fn feed(
        &mut self,
        table: TableId,
        row: &Row,
        (origin, timeliness, reading): (Origin, Timeliness, Reading),
        arrival: Arrival,
    ) -> Option<EventTime> {
        let declared = self.program.table(table);
        debug_assert_eq!(row.values().len(), declared.schema().columns().len(), "a whole row");
        let row = &*declared.with_offset(row, arrival.evidence);
        let event_time = declared.event_time_of(row);
        let watermark = self.watermarks.get(table.index()).copied().flatten();
        let input =
            Input { table, row, event_time, timeliness, watermark, origin, reading, arrival };
        for (rule, state) in self.program.rules().iter().zip(&mut self.states) {
            state.on_row(rule, &input, &mut self.outputs);
        }
        event_time
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

    /// Answers an [`Output::Lookup`] with the rows found for its key, of the columns of the table
    /// that was asked for. An answer to no request, or a second one, changes nothing.
    pub fn on_lookup(
        &mut self,
        rule: &str,
        id: LookupId,
        found: Vec<Row>,
        evidence: Offset,
        captured_at: EventTime,
    ) {
        let arrival = Arrival { evidence, captured_at };
        let mut rules = self.program.rules().iter().zip(&mut self.states);
        if let Some((rule, state)) = rules.find(|(known, _)| &**known.name() == rule) {
            let found = found.into_iter().map(|row| row.values().to_vec()).collect();
            state.on_lookup(rule, id, found, arrival, &mut self.outputs);
        }
    }

    /// The next output, in the order of the inputs that caused them; none when drained.
    ///
    /// Outputs of one input come rule by rule; those of one window by its end, then keys.
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

    /// What the rule called `name` keeps; none when there is no such rule. O(operators).
    #[must_use]
    pub fn load(&self, name: &str) -> Option<RuleLoad> {
        let mut rules = self.program.rules().iter().zip(&self.states);
        rules.find(|(rule, _)| &**rule.name() == name).map(|(_, state)| state.load())
    }

    fn advance(&mut self, table: TableId, to: EventTime, arrival: Arrival) {
        let Some(watermark) = self.watermarks.get_mut(table.index()) else { return };
        if watermark.is_some_and(|watermark| watermark >= to) {
            return;
        }
        *watermark = Some(to);
        for (rule, state) in self.program.rules().iter().zip(&mut self.states) {
            state.on_watermark(rule, table, to, arrival, &mut self.outputs);
        }
    }

    fn early(&mut self, table: TableId, time: EventTime, arrival: Arrival) {
        let rules = self.program.rules().iter().zip(&mut self.states);
        for (rule, state) in rules.filter(|(rule, _)| rule.sources().contains(&table)) {
            state.on_early(rule, time, arrival, &mut self.outputs);
        }
    }

    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        for state in &self.states {
            let counts = state.counts;
            assert_eq!(
                counts.rows,
                counts.filtered + counts.accepted + counts.late + counts.refused,
                "counts of in are counts of out"
            );
            assert!(state.dataflow.kept().keys <= state.settings.keys_limit);
        }
    }
}

#[cfg(test)]
mod tests;
