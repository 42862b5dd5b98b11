//! MATCH_RECOGNIZE: runs of rows in the order of event time that fit a pattern.
//!
//! A pattern becomes a small program that is tried from each row on, preferred ways first, as a
//! regular expression that goes back. A try that comes to the end of the rows waits for more of
//! them, unless `WITHIN` says that none can come in time. What one try may do is bounded by the
//! rule's limit of work: beyond it the try fails, is named, and the next row begins.
//!
//! # Source
//! ISO/IEC TR 19075-5 for what a match is; Flink's CEP for late rows, which are dropped.

use std::collections::BTreeSet;
use std::ops::Range;

use headland_event::codec::{CodecError, Reader, Writer};

use crate::expression::{EvaluationError, Expression};
use crate::operator::accumulator::Call;
use crate::operator::arriving::{Arriving, Changed, Emitted, Fate, Kept, Limits, Operate};
use crate::operator::cut::Header;
use crate::operator::group_key::GroupKey;
use crate::operator::keyed::{Keyed, Progress, State};
use crate::operator::over::retention_shape;
use crate::operator::pane_aggregate::encode_keys;
use crate::operator::row_list::RowList;
use crate::operator::timers::Timers;
use crate::output::Refusal;
use crate::relation::{Changes, Greed, Match, Navigation, NavigationKind, Pattern, Skip};
use crate::value::Value;

/// Beyond this a program is not built further: no limit of work lets it run.
const STEPS_LIMIT: usize = 1 << 17;

/// The work of looking at a row, in steps between rows: only rows weigh, unless a pattern takes
/// very many steps without one.
const ROW_WORK: usize = 16;

/// Runs of rows that fit a pattern.
#[derive(Debug)]
pub(crate) struct Matching {
    plan: Match,
    partition: Vec<Expression>,
    steps: Vec<Step>,
    seed: u64,
    /// Rows from the first that may begin a match, by time.
    partitions: Keyed<Partition>,
    /// For how long a key is kept behind its last row, in milliseconds.
    retention: i64,
    timers: Timers,
    progress: i64,
    header: Header,
    key: Vec<u8>,
}

/// What is kept of a key.
#[derive(Debug, Clone, Default)]
struct Partition {
    rows: RowList,
    /// The timer that is set for when the key may be too old: one, however many rows there are.
    /// When it comes and there are later rows, it is set anew.
    expiry: Option<i64>,
}

impl State for Partition {
    type Shape = ();

    fn write(&self, writer: &mut Writer) {
        let Self { rows, expiry: _ } = self;
        rows.write(writer);
    }

    fn read(_shape: &(), reader: &mut Reader) -> Result<Self, CodecError> {
        Ok(Self { rows: RowList::read(&(), reader)?, expiry: None })
    }

    fn heap_bytes(&self) -> usize {
        self.rows.heap_bytes()
    }
}

/// One step of a pattern's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The next row is this variable's.
    Row(usize),
    /// The first way, and if it fails the second.
    Either(usize, usize),
    /// The same in front of a loop whose body may pass without a row.
    Loop(usize, usize),
    Jump(usize),
    Done,
}

impl Step {
    const fn work(self) -> usize {
        match self {
            Self::Row(_) => ROW_WORK,
            Self::Either(..) | Self::Loop(..) | Self::Jump(_) | Self::Done => 1,
        }
    }
}

/// The variables of the rows of one try.
#[derive(Debug, Default)]
struct Bound {
    variables: Vec<usize>,
    /// Per row a number that no other way to bind the rows up to it has.
    ids: Vec<usize>,
    last_id: usize,
}

impl Bound {
    const fn len(&self) -> usize {
        self.variables.len()
    }

    fn push(&mut self, variable: usize) {
        self.last_id += 1;
        self.variables.push(variable);
        self.ids.push(self.last_id);
    }

    fn truncate(&mut self, length: usize) {
        self.variables.truncate(length);
        self.ids.truncate(length);
    }

    /// Names what is bound; 0 is nothing.
    fn id(&self) -> usize {
        self.ids.last().copied().unwrap_or(0)
    }
}

/// What a try from one row on ends with.
enum Tried {
    /// The variable of each row.
    Found(Vec<usize>),
    /// It depends on rows that may come.
    Open,
    Failed,
}

/// The rows of one try and whose each is.
struct Binding<'a> {
    rows: &'a RowList,
    start: usize,
    variables: &'a [usize],
}

impl Matching {
    pub(crate) fn new(plan: &Match, retention: i64, seed: u64) -> Self {
        let mut steps = Vec::new();
        compile(&plan.pattern, &mut steps);
        steps.push(Step::Done);
        Self {
            plan: plan.clone(),
            partition: plan.partition.iter().map(|key| key.expression.clone()).collect(),
            steps,
            seed,
            partitions: Keyed::new(seed),
            retention,
            timers: Timers::default(),
            progress: i64::MIN,
            header: Header::default(),
            key: Vec::new(),
        }
    }

    /// Asks to be called for a row at `time`: when the watermark has come to it, and when what
    /// began with it ends.
    fn set_timers(&mut self, time: i64, key: &GroupKey) {
        let deadline = self.plan.within.map(|within| time.saturating_add(within));
        for time in [Some(time), deadline].into_iter().flatten() {
            if time > self.progress {
                self.timers.set(time, key.clone());
            }
        }
    }

    /// Asks to be called when the last row of a key is too old to be kept, unless that is set.
    fn set_expiry(&mut self, key: &GroupKey) {
        let retention = self.retention;
        if retention == i64::MAX {
            return;
        }
        let expiry = self.partitions.update(key.as_bytes(), |kept| {
            if kept.expiry.is_none() {
                kept.expiry = kept.rows.last().map(|(last, _)| last.saturating_add(retention));
                return kept.expiry;
            }
            None
        });
        if let Some(expiry) = expiry.flatten() {
            self.timers.set(expiry, key.clone());
        }
    }

    /// Finds what there is to find among the rows up to `time`; drops those that are done with.
    fn search(
        &self,
        key: &GroupKey,
        rows: &mut RowList,
        (time, limits): (i64, &Limits),
        out: &mut Emitted,
    ) {
        let ready = rows.len_up_to(time);
        let mut start = 0;
        while start < ready {
            let tried = match self.attempt(rows, start..ready, time, limits) {
                Ok(tried) => tried,
                Err(refusal) => {
                    out.failures.push(refusal);
                    Tried::Failed
                }
            };
            match tried {
                Tried::Open => break,
                Tried::Found(variables) if !variables.is_empty() => {
                    let binding = Binding { rows, start, variables: &variables };
                    match self.measured(key, &binding) {
                        Ok(row) => out.rows.push(Changed::insert(row)),
                        Err(error) => out.failures.push(Refusal::Evaluation(error)),
                    }
                    start += self.skipped(&variables);
                }
                Tried::Found(_) | Tried::Failed => start += 1,
            }
        }
        rows.drop_first(start);
    }

    /// By how many rows the search goes on behind a match; at least one.
    fn skipped(&self, variables: &[usize]) -> usize {
        let place = match self.plan.skip {
            Skip::PastLastRow => Some(variables.len()),
            Skip::ToNextRow => Some(1),
            Skip::ToFirst(wanted) => variables.iter().position(|variable| *variable == wanted),
            Skip::ToLast(wanted) => variables.iter().rposition(|variable| *variable == wanted),
        };
        place.unwrap_or(1).max(1)
    }

    fn attempt(
        &self,
        rows: &RowList,
        Range { start, end: ready }: Range<usize>,
        time: i64,
        limits: &Limits,
    ) -> Result<Tried, Refusal> {
        let Some((first, _)) = rows.get(start) else { return Ok(Tried::Failed) };
        let deadline = self.plan.within.map_or(i64::MAX, |within| first.saturating_add(within));
        // No row can come any more that would be in time.
        let is_closed = time == i64::MAX || time >= deadline;
        let mut bound = Bound::default();
        let mut ways = vec![(0, 0)];
        let mut visited = BTreeSet::new();
        let mut work = 0;
        while let Some((mut step, length)) = ways.pop() {
            bound.truncate(length);
            while let Some(next) = self.steps.get(step) {
                work += next.work();
                limits.admit_work(work / ROW_WORK)?;
                match next {
                    Step::Done => return Ok(Tried::Found(bound.variables)),
                    Step::Jump(target) => step = *target,
                    // Again in front of the loop with the rows of before: every way on from here
                    // is tried already, or waits its turn.
                    Step::Loop(..) if !visited.insert((step, bound.id())) => break,
                    Step::Either(first, second) | Step::Loop(first, second) => {
                        ways.push((*second, bound.len()));
                        step = *first;
                    }
                    Step::Row(variable) => {
                        let at = start + bound.len();
                        if at >= ready {
                            if is_closed {
                                break;
                            }
                            return Ok(Tried::Open);
                        }
                        let is_in_time = rows.get(at).is_some_and(|(time, _)| *time < deadline);
                        bound.push(*variable);
                        let binding = Binding { rows, start, variables: &bound.variables };
                        if !is_in_time || !self.holds(*variable, &binding)? {
                            break;
                        }
                        step += 1;
                    }
                }
            }
        }
        Ok(Tried::Failed)
    }

    /// Whether the last row of a binding may be the variable's it is bound to.
    fn holds(&self, variable: usize, binding: &Binding<'_>) -> Result<bool, Refusal> {
        let Some(variable) = self.plan.variables.get(variable) else { return Ok(false) };
        let Some(condition) = &variable.condition else { return Ok(true) };
        let row = binding.navigated(&variable.navigations).map_err(Refusal::Evaluation)?;
        condition.is_true(&row).map_err(Refusal::Evaluation)
    }

    fn measured(
        &self,
        key: &GroupKey,
        binding: &Binding<'_>,
    ) -> Result<Vec<Value>, EvaluationError> {
        let navigated = binding.navigated(&self.plan.measure_navigations)?;
        let mut row: Vec<Value> = key.values().collect();
        for measure in &self.plan.measures {
            row.push(measure.evaluate(&navigated)?.into_owned());
        }
        Ok(row)
    }
}

impl Binding<'_> {
    /// One value per navigation; NULL where it leads to no row.
    fn navigated(&self, navigations: &[Navigation]) -> Result<Vec<Value>, EvaluationError> {
        let mut values = Vec::with_capacity(navigations.len());
        for Navigation { variable, kind, value } in navigations {
            let rows = self.variables.iter().enumerate();
            let mut rows =
                rows.filter(|(_, bound)| variable.is_none_or(|wanted| wanted == **bound));
            let mut chosen = |back: u64, is_first: bool| {
                let back = usize::try_from(back).ok()?;
                let (place, _) = if is_first { rows.nth(back) } else { rows.nth_back(back) }?;
                self.rows.get(self.start + place).map(|(_, row)| row)
            };
            let found = match kind {
                NavigationKind::First(back) => chosen(*back, true),
                NavigationKind::Last(back) => chosen(*back, false),
                NavigationKind::Aggregate(call) => {
                    let call = Call::new(call, Changes::Append);
                    let mut state = call.start();
                    for (place, _) in rows {
                        if let Some((_, row)) = self.rows.get(self.start + place) {
                            call.add(&mut state, &call.contribution(row)?);
                        }
                    }
                    values.push(call.result(&state));
                    continue;
                }
            };
            values.push(match found {
                Some(row) => value.evaluate(row)?.into_owned(),
                None => Value::Null,
            });
        }
        Ok(values)
    }
}

/// Appends the program of a pattern.
fn compile(pattern: &Pattern, steps: &mut Vec<Step>) {
    if steps.len() > STEPS_LIMIT {
        return;
    }
    match pattern {
        Pattern::Variable(variable) => steps.push(Step::Row(*variable)),
        Pattern::Sequence(parts) => parts.iter().for_each(|part| compile(part, steps)),
        Pattern::Alternatives(ways) => {
            let mut jumps = Vec::new();
            for (index, way) in ways.iter().enumerate() {
                let either = steps.len();
                let is_last = index + 1 == ways.len();
                if !is_last {
                    steps.push(Step::Either(either + 1, either + 1));
                }
                compile(way, steps);
                if !is_last {
                    jumps.push(steps.len());
                    steps.push(Step::Jump(0));
                    let next = steps.len();
                    set(steps, either, Step::Either(either + 1, next));
                }
            }
            let end = steps.len();
            jumps.into_iter().for_each(|jump| set(steps, jump, Step::Jump(end)));
        }
        Pattern::Repeat { pattern, least, most, greed } => {
            (0..*least).for_each(|_| compile(pattern, steps));
            match most {
                Some(most) => {
                    let optional = most.saturating_sub(*least);
                    let mut eithers = Vec::new();
                    for _ in 0..optional {
                        if steps.len() > STEPS_LIMIT {
                            break;
                        }
                        eithers.push(steps.len());
                        steps.push(Step::Done);
                        compile(pattern, steps);
                    }
                    let end = steps.len();
                    eithers.into_iter().for_each(|at| set(steps, at, either(*greed, at + 1, end)));
                }
                None => {
                    let at = steps.len();
                    steps.push(Step::Done);
                    compile(pattern, steps);
                    steps.push(Step::Jump(at));
                    let end = steps.len();
                    let step = match either(*greed, at + 1, end) {
                        Step::Either(first, second) if may_be_empty(pattern) => {
                            Step::Loop(first, second)
                        }
                        step => step,
                    };
                    set(steps, at, step);
                }
            }
        }
    }
}

/// Whether no row at all fits a pattern.
fn may_be_empty(pattern: &Pattern) -> bool {
    match pattern {
        Pattern::Variable(_) => false,
        Pattern::Sequence(parts) => parts.iter().all(may_be_empty),
        Pattern::Alternatives(ways) => ways.iter().any(may_be_empty),
        Pattern::Repeat { pattern, least, most: _, greed: _ } => {
            *least == 0 || may_be_empty(pattern)
        }
    }
}

const fn either(greed: Greed, more: usize, end: usize) -> Step {
    match greed {
        Greed::Greedy => Step::Either(more, end),
        Greed::Reluctant => Step::Either(end, more),
    }
}

fn set(steps: &mut [Step], at: usize, step: Step) {
    if let Some(place) = steps.get_mut(at) {
        *place = step;
    }
}

impl Operate for Matching {
    fn on_row(&mut self, arriving: &Arriving<'_>, _out: &mut Emitted) -> Result<Fate, Refusal> {
        let time = arriving.time(self.plan.time)?;
        arriving.limits.admit_work(self.steps.len())?;
        if time <= self.progress {
            return Ok(Fate::Late(None));
        }
        self.key.clear();
        encode_keys(&self.partition, arriving.row, &mut self.key)?;
        self.partitions.admit(&self.key, arriving.limits)?;
        if arriving.is_trial() {
            return Ok(Fate::Taken);
        }
        self.partitions.open(&self.key);
        self.partitions.update(&self.key, |kept| {
            kept.rows.insert_by_number(time, Box::from(arriving.row));
        });
        let key = GroupKey::new(&self.key);
        self.set_timers(time, &key);
        self.set_expiry(&key);
        Ok(Fate::Taken)
    }

    fn on_watermark(&mut self, watermark: i64, limits: &Limits, out: &mut Emitted) {
        self.progress = watermark;
        while let Some((time, key)) = self.timers.pop_due(watermark) {
            let kept = self.partitions.update(key.as_bytes(), std::mem::take);
            let Some(Partition { mut rows, expiry }) = kept else { continue };
            let expiry = expiry.filter(|expiry| *expiry > time);
            self.search(&key, &mut rows, (time, limits), out);
            let last = rows.last().map(|(last, _)| last.saturating_add(self.retention));
            if last.is_some_and(|last| last > time) {
                let rest = Partition { rows, expiry };
                self.partitions.update(key.as_bytes(), |kept| *kept = rest);
                self.set_expiry(&key);
            } else {
                self.partitions.remove(key.as_bytes());
                if let Some(expiry) = expiry {
                    self.timers.unset(expiry, key);
                }
            }
        }
        if watermark == i64::MAX {
            // No row will come: what waits for more of them ends as it is.
            let keys: Vec<GroupKey> =
                self.partitions.sorted().into_iter().map(|(key, _)| key.clone()).collect();
            for key in keys {
                if let Some(Partition { mut rows, .. }) = self.partitions.remove(key.as_bytes()) {
                    self.search(&key, &mut rows, (i64::MAX, limits), out);
                }
            }
        }
    }

    fn kept(&self) -> Kept {
        let bytes = self.partitions.bytes() + self.timers.bytes();
        Kept { keys: self.partitions.len(), bytes }
    }

    fn shape(&self) -> String {
        let (keys, steps) = (self.partition.len(), self.steps.len());
        let kept = retention_shape(self.retention);
        format!("match of {steps} steps, {keys} keys{kept}, within {:?}", self.plan.within)
    }

    fn begin_cut(&mut self) {
        let progress = self.progress;
        self.header.begin(&mut self.partitions, |writer| writer.i64(progress));
    }

    fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        self.header.poll(&mut self.partitions, budget, writer)
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), CodecError> {
        self.progress = reader.i64("progress")?;
        self.partitions = Keyed::read(self.seed, &(), reader)?;
        let waiting = self
            .partitions
            .iter()
            .flat_map(|(key, kept)| kept.rows.iter().map(move |(time, _)| (*time, key.clone())));
        let waiting: Vec<_> = waiting.collect();
        for (time, key) in &waiting {
            self.set_timers(*time, key);
            self.set_expiry(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(pattern: &Pattern) -> Vec<Step> {
        let mut steps = Vec::new();
        compile(pattern, &mut steps);
        steps
    }

    #[test]
    fn a_loop_goes_back_and_a_bounded_repetition_is_written_out() {
        let a = || Box::new(Pattern::Variable(0));
        let plus = Pattern::Repeat { pattern: a(), least: 1, most: None, greed: Greed::Greedy };
        let two =
            Pattern::Repeat { pattern: a(), least: 0, most: Some(2), greed: Greed::Reluctant };

        assert_eq!(steps(&plus), [Step::Row(0), Step::Either(2, 4), Step::Row(0), Step::Jump(1)]);
        assert_eq!(
            steps(&two),
            [Step::Either(4, 1), Step::Row(0), Step::Either(4, 3), Step::Row(0)]
        );
    }

    #[test]
    fn a_bomb_of_repetitions_is_not_written_out() {
        let mut bomb = Pattern::Variable(0);
        for _ in 0..6 {
            let (pattern, greed) = (Box::new(bomb), Greed::Greedy);
            bomb = Pattern::Repeat { pattern, least: 0, most: Some(1_000), greed };
        }

        assert!(steps(&bomb).len() < 2 * STEPS_LIMIT);
    }
}
