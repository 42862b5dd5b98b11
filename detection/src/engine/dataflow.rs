//! The operators of one rule at work: rows climb from scans to the root, watermarks after them.

use std::sync::Arc;

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{EventTime, Finality};

use crate::engine::wiring;
use crate::expression::Expression;
use crate::file_rows::FileRows;
use crate::operator::arriving::{
    Arriving, Changed, Emitted, Fate, Intent, Kept, Limits, LookupRequest, Operate,
};
use crate::operator::keyed::Progress;
use crate::output::{Change, Refusal};
use crate::part::Origin;
use crate::relation::{Relation, WindowColumns};
use crate::settings::Times;
use crate::table::TableId;
use crate::value::Value;

/// The operators of one rule.
#[derive(Debug)]
pub(crate) struct Dataflow {
    /// The root first, inputs behind what they feed.
    stages: Vec<Stage>,
    scans: Vec<Scan>,
    limits: Limits,
    is_timed: bool,
    /// Where the row under way comes from; what operators make of what they keep comes from here.
    origin: Origin,
}

/// Where rows of a table enter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scan {
    pub(super) table: TableId,
    pub(super) target: Target,
}

/// An input of a stage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) stage: usize,
    pub(super) port: usize,
}

/// An operator and what stands around it.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) operator: Box<dyn Operate>,
    pub(super) inputs: Vec<Input>,
    /// None for the root.
    pub(super) parent: Option<Target>,
    pub(super) watermark: Option<i64>,
    pub(super) out: Emitted,
}

/// One input of a stage.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// Filters in front of it.
    pub(super) guards: Vec<Expression>,
    pub(super) watermark: Option<i64>,
    /// Where a row of it says which group and window it is of.
    pub(super) window: Option<WindowColumns>,
}

/// What became of a row of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Filtered,
    Taken,
    Late(Option<EventTime>),
}

impl Outcome {
    /// What became of a row that was several: one that was taken counts, then one that was late.
    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Taken, _) | (_, Self::Taken) => Self::Taken,
            (Self::Late(end), _) | (_, Self::Late(end)) => Self::Late(end),
            (Self::Filtered, Self::Filtered) => Self::Filtered,
        }
    }
}

/// A row on its way into a stage.
#[derive(Debug, Clone, Copy)]
struct Fed<'a> {
    change: Change,
    finality: Finality,
    row: &'a [Value],
}

impl<'a> Fed<'a> {
    const fn entering(row: &'a [Value]) -> Self {
        Self { change: Change::Insert, finality: Finality::Final, row }
    }

    fn of(changed: &'a Changed) -> Self {
        let Changed { change, finality, row } = changed;
        Self { change: *change, finality: *finality, row }
    }
}

/// What one input of a rule brings about, in order.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) list: Vec<Effect>,
    /// Results of operators that a later operator filtered out.
    pub(crate) suppressed: u64,
    /// Open windows that gave no early results, because of a limit.
    pub(crate) early_left_out: u64,
}

/// One thing that an input of a rule brings about.
#[derive(Debug)]
pub(crate) enum Effect {
    Row(Changed),
    Failure(Failure),
    Lookup(Lookup),
}

/// A key that a stage wants looked up.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub(crate) stage: usize,
    pub(crate) number: u64,
    pub(crate) key: Vec<Value>,
}

/// A result of an operator that a later one could not take.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) reason: Refusal,
    /// The keys of its group, when it has a window.
    pub(crate) keys: Vec<Value>,
    pub(crate) window_end: Option<EventTime>,
}

impl Dataflow {
    /// The operators of a relation that have seen nothing.
    pub(crate) fn new(relation: &Relation, times: Times, seed: u64, limits: Limits) -> Self {
        let (stages, scans) = wiring::wire(relation, times, seed);
        debug_assert!(!stages.is_empty() && !scans.is_empty(), "a rule reads and has a root");
        let (is_timed, origin) = (wiring::is_timed(relation), Origin::default());
        Self { stages, scans, limits, is_timed, origin }
    }

    pub(crate) const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether event time decides what becomes of a row.
    pub(crate) const fn is_timed(&self) -> bool {
        self.is_timed
    }

    /// How often rows of a table enter: a join with itself reads it twice.
    pub(crate) fn entries(&self, table: TableId) -> usize {
        self.scans.iter().filter(|scan| scan.table == table).count()
    }

    /// Lets a row enter at the `entry`-th place that reads its table.
    pub(crate) fn on_row(
        &mut self,
        (table, entry): (TableId, usize),
        row: &[Value],
        origin: Origin,
        effects: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let scan = self.scans.iter().filter(|scan| scan.table == table).nth(entry);
        let Some(scan) = scan.copied() else { return Ok(Outcome::Filtered) };
        self.origin = origin;
        let outcome = self.feed(scan.target, self.limits, Fed::entering(row), effects);
        self.origin = Origin::default();
        outcome
    }

    /// Lets windows give early results that are due when event time has come to `time`.
    pub(crate) fn on_early(&mut self, time: i64, effects: &mut Effects) {
        for at in (0..self.stages.len()).rev() {
            let Some(stage) = self.stages.get_mut(at) else { return };
            let mut out = std::mem::take(&mut stage.out);
            stage.operator.on_early(time, &self.limits, &mut out);
            effects.early_left_out += std::mem::take(&mut out.early_left_out);
            self.derive(at, out, effects);
        }
    }

    /// Says that rows with times from `first` to `last` are missing.
    pub(crate) fn on_gap(&mut self, first: i64, last: i64) {
        self.stages.iter_mut().for_each(|stage| stage.operator.on_gap(first, last));
    }

    /// Says that late rows with times from `first` to `last` are missing, or count elsewhere
    /// otherwise.
    pub(crate) fn on_doubt(&mut self, first: i64, last: i64, effects: &mut Effects) {
        for at in (0..self.stages.len()).rev() {
            let Some(stage) = self.stages.get_mut(at) else { return };
            let mut out = std::mem::take(&mut stage.out);
            stage.operator.on_doubt(first, last, &mut out);
            self.derive(at, out, effects);
        }
    }

    /// Moves the watermark of a table: every operator takes it once its inputs have sent theirs.
    pub(crate) fn on_watermark(&mut self, table: TableId, watermark: i64, effects: &mut Effects) {
        for scan in &self.scans {
            if scan.table == table
                && let Some(input) = input(&mut self.stages, scan.target)
            {
                input.watermark = Some(watermark);
            }
        }
        self.spread_watermarks(effects);
    }

    /// Hands the rows of a file to those who look in it.
    pub(crate) fn on_file(&mut self, table: TableId, rows: &Arc<FileRows>) {
        self.stages.iter_mut().for_each(|stage| stage.operator.on_file(table, rows));
    }

    /// Takes the rows of a file from those who look in it.
    pub(crate) fn forget_file(&mut self, table: TableId) {
        self.stages.iter_mut().for_each(|stage| stage.operator.forget_file(table));
    }

    /// Hands an answer to the stage that asked.
    pub(crate) fn on_lookup(
        &mut self,
        stage: usize,
        number: u64,
        found: Vec<Vec<Value>>,
        effects: &mut Effects,
    ) {
        if let Some(asking) = self.stages.get_mut(stage) {
            let mut out = std::mem::take(&mut asking.out);
            asking.operator.on_lookup(number, found, &mut out);
            self.derive(stage, out, effects);
            self.spread_watermarks(effects);
        }
    }

    fn spread_watermarks(&mut self, effects: &mut Effects) {
        for at in (0..self.stages.len()).rev() {
            let Some(stage) = self.stages.get_mut(at) else { return };
            let least = stage.inputs.iter().map(|input| input.watermark).min().flatten();
            let Some(watermark) = least else { continue };
            if stage.watermark.is_none_or(|before| before < watermark) {
                stage.watermark = Some(watermark);
                let mut out = std::mem::take(&mut stage.out);
                stage.operator.on_watermark(watermark, &self.limits, &mut out);
                if out.rows.is_empty() && out.failures.is_empty() {
                    stage.out = out;
                } else {
                    self.derive(at, out, effects);
                }
            }
            let Some(stage) = self.stages.get(at) else { return };
            let behind = stage.operator.watermark_behind(watermark);
            if let Some(target) = stage.parent
                && behind > i64::MIN
                && let Some(input) = input(&mut self.stages, target)
            {
                input.watermark = Some(behind);
            }
        }
    }

    fn feed(
        &mut self,
        target: Target,
        limits: Limits,
        Fed { change, finality, row }: Fed<'_>,
        effects: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let Some(stage) = self.stages.get_mut(target.stage) else { return Ok(Outcome::Filtered) };
        if let Some(input) = stage.inputs.get(target.port) {
            for guard in &input.guards {
                if !guard.is_true(row).map_err(Refusal::Evaluation)? {
                    return Ok(Outcome::Filtered);
                }
            }
        }
        let (port, origin, intent) = (target.port, self.origin, Intent::Take);
        let arriving = Arriving { port, change, finality, origin, row, limits: &limits, intent };
        let mut out = std::mem::take(&mut stage.out);
        debug_assert!(out.rows.is_empty(), "what left a stage was passed on");
        let fate = stage.operator.on_row(&arriving, &mut out);
        match fate {
            Ok(Fate::Passed) => self.pass(target.stage, limits, out, effects),
            Ok(Fate::Taken) => {
                self.derive(target.stage, out, effects);
                Ok(Outcome::Taken)
            }
            Ok(Fate::Late(end)) => {
                self.derive(target.stage, out, effects);
                Ok(Outcome::Late(end))
            }
            Err(refusal) => {
                // A row is taken wholly or not at all.
                out.rows.clear();
                if let Some(stage) = self.stages.get_mut(target.stage) {
                    stage.out = out;
                }
                Err(refusal)
            }
        }
    }

    /// Whether a row that stands before a stage would be refused there; changes nothing.
    fn attempt(
        &mut self,
        target: Target,
        Fed { change, finality, row }: Fed<'_>,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        let Some(stage) = self.stages.get_mut(target.stage) else { return Ok(()) };
        if let Some(input) = stage.inputs.get(target.port) {
            for guard in &input.guards {
                if !guard.is_true(row).map_err(Refusal::Evaluation)? {
                    return Ok(());
                }
            }
        }
        let (port, origin, intent) = (target.port, self.origin, Intent::Try);
        let arriving = Arriving { port, change, finality, origin, row, limits, intent };
        let mut out = Emitted::default();
        let fate = stage.operator.on_row(&arriving, &mut out)?;
        debug_assert!(fate == Fate::Passed || out.rows.is_empty(), "a trial has no effect");
        let Some(parent) = stage.parent else { return Ok(()) };
        let limits = limits.for_rows(out.rows.len());
        let mut rows = out.rows.iter();
        rows.try_for_each(|changed| self.attempt(parent, Fed::of(changed), &limits))
    }

    /// Tries the rows that one became, and feeds them if none is refused.
    fn feed_all(
        &mut self,
        target: Target,
        mut limits: Limits,
        rows: &[Changed],
        effects: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        if rows.len() > 1 {
            let room = limits.for_rows(rows.len());
            for changed in rows {
                self.attempt(target, Fed::of(changed), &room)?;
            }
            limits = limits.for_tried();
        }
        let mut outcome = Ok(Outcome::Filtered);
        for changed in rows {
            match (self.feed(target, limits, Fed::of(changed), effects), outcome) {
                (Ok(next), Ok(before)) => outcome = Ok(before.and(next)),
                (Err(refusal), Ok(_)) | (_, Err(refusal)) => outcome = Err(refusal),
            }
        }
        debug_assert!(rows.len() < 2 || outcome.is_ok(), "what was tried is taken");
        outcome
    }

    /// Passes on what a stage without state made of a row: what became of it says the next one.
    fn pass(
        &mut self,
        from: usize,
        limits: Limits,
        mut out: Emitted,
        effects: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let parent = self.stages.get(from).and_then(|stage| stage.parent);
        let Some(parent) = parent else {
            effects.list.extend(out.rows.drain(..).map(Effect::Row));
            self.give_back(from, out);
            return Ok(Outcome::Taken);
        };
        let outcome = self.feed_all(parent, limits, &out.rows, effects);
        out.rows.clear();
        self.give_back(from, out);
        outcome
    }

    /// Passes on what a stage made of what it keeps.
    fn derive(&mut self, from: usize, mut out: Emitted, effects: &mut Effects) {
        for reason in out.failures.drain(..) {
            let failure = Failure { reason, keys: Vec::new(), window_end: None };
            effects.list.push(Effect::Failure(failure));
        }
        for LookupRequest { number, key } in out.lookups.drain(..) {
            effects.list.push(Effect::Lookup(Lookup { stage: from, number, key }));
        }
        let parent = self.stages.get(from).and_then(|stage| stage.parent);
        let Some(parent) = parent else {
            effects.list.extend(out.rows.drain(..).map(Effect::Row));
            self.give_back(from, out);
            return;
        };
        for changed in out.rows.drain(..) {
            match self.feed(parent, self.limits, Fed::of(&changed), effects) {
                Ok(Outcome::Taken) => {}
                Ok(Outcome::Filtered | Outcome::Late(_)) => effects.suppressed += 1,
                Err(reason) => {
                    let window = input(&mut self.stages, parent).and_then(|input| input.window);
                    effects.list.push(Effect::Failure(failure(reason, &changed.row, window)));
                }
            }
        }
        self.give_back(from, out);
    }

    /// Keeps the memory of an empty buffer for the next input, unless it has grown large.
    fn give_back(&mut self, stage: usize, out: Emitted) {
        const KEPT_ROWS: usize = 1_024;
        if out.rows.capacity() <= KEPT_ROWS
            && let Some(stage) = self.stages.get_mut(stage)
        {
            stage.out = out;
        }
    }

    /// What all operators keep.
    pub(crate) fn kept(&self) -> Kept {
        let mut all = Kept::default();
        for kept in self.stages.iter().map(|stage| stage.operator.kept()) {
            all.keys += kept.keys;
            all.bytes += kept.bytes;
        }
        all
    }

    /// What the state looks like: a snapshot is restored only into the same shape.
    pub(crate) fn shape(&self) -> String {
        let shapes = self.stages.iter().map(|stage| stage.operator.shape());
        let shapes: Vec<String> = shapes.filter(|shape| !shape.is_empty()).collect();
        if shapes.is_empty() { "stateless".to_owned() } else { shapes.join("; ") }
    }

    /// Begins a snapshot of every operator as it stands.
    pub(crate) fn begin_cut(&mut self, writer: &mut Writer) {
        for stage in &mut self.stages {
            for watermark in stage.inputs.iter().map(|input| input.watermark) {
                writer.i64(watermark.unwrap_or(i64::MIN));
            }
            writer.i64(stage.watermark.unwrap_or(i64::MIN));
            stage.operator.begin_cut();
        }
    }

    /// Writes about `budget` further entries of a stage; whether it is done.
    pub(crate) fn poll_cut(
        &mut self,
        stage: usize,
        budget: usize,
        writer: &mut Writer,
    ) -> Option<Progress> {
        Some(self.stages.get_mut(stage)?.operator.poll_cut(budget, writer))
    }

    /// Reads what a snapshot wrote into operators that are new.
    pub(crate) fn read(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        let known = |watermark: i64| (watermark != i64::MIN).then_some(watermark);
        for stage in &mut self.stages {
            for input in &mut stage.inputs {
                input.watermark = known(reader.i64("watermark")?);
            }
            stage.watermark = known(reader.i64("watermark")?);
        }
        self.stages.iter_mut().try_for_each(|stage| stage.operator.read(reader))
    }
}

fn failure(reason: Refusal, row: &[Value], window: Option<WindowColumns>) -> Failure {
    let keys = window.and_then(|window| row.get(..window.start)).unwrap_or_default();
    let end = window.and_then(|window| row.get(window.end));
    let window_end = end.and_then(|end| match end {
        Value::Timestamp(time) => Some(*time),
        _ => None,
    });
    Failure { reason, keys: keys.to_vec(), window_end }
}

fn input(stages: &mut [Stage], target: Target) -> Option<&mut Input> {
    stages.get_mut(target.stage)?.inputs.get_mut(target.port)
}

#[cfg(test)]
mod tests;
