//! MATCH_RECOGNIZE: runs of rows in the order of event time that fit a pattern.
//!
//! A pattern becomes a small program that is tried from each row on, preferred ways first, as a
//! regular expression that goes back. A try that comes to the end of the rows waits for more of
//! them, unless `WITHIN` says that none can come in time. What one try may do is bounded by the
//! rule's limit of work: beyond it the try fails, is named, and the next row begins.
//!
//! # Source
//! ISO/IEC TR 19075-5 for what a match is; Flink's CEP for late rows, which are dropped.

use headland_event::codec::{CodecError, Reader, Writer};

use crate::expression::{EvaluationError, Expression};
use crate::operator::accumulator::Call;
use crate::operator::arriving::{Arriving, Changed, Emitted, Fate, Kept, Operate};
use crate::operator::cut::Header;
use crate::operator::group_key::GroupKey;
use crate::operator::keyed::{Keyed, Progress, State};
use crate::operator::pane_aggregate::encode_keys;
use crate::operator::row_list::RowList;
use crate::operator::timers::Timers;
use crate::output::Refusal;
use crate::relation::{Changes, Greed, Match, Navigation, NavigationKind, Pattern, Skip};
use crate::value::Value;

/// Beyond this a program is not built further: no limit of work lets it run.
const STEPS_LIMIT: usize = 1 << 17;

/// Runs of rows that fit a pattern.
#[derive(Debug)]
pub(crate) struct Matching {
    plan: Match,
    partition: Vec<Expression>,
    steps: Vec<Step>,
    seed: u64,
    /// Rows from the first that may begin a match, by time.
    partitions: Keyed<RowList>,
    timers: Timers,
    progress: i64,
    work: usize,
    header: Header,
    key: Vec<u8>,
}

/// One step of a pattern's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The next row is this variable's.
    Row(usize),
    /// The first way, and if it fails the second.
    Either(usize, usize),
    Jump(usize),
    Done,
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
    pub(crate) fn new(plan: &Match, seed: u64) -> Self {
        let mut steps = Vec::new();
        compile(&plan.pattern, &mut steps);
        steps.push(Step::Done);
        Self {
            plan: plan.clone(),
            partition: plan.partition.iter().map(|key| key.expression.clone()).collect(),
            steps,
            seed,
            partitions: Keyed::new(seed),
            timers: Timers::default(),
            progress: i64::MIN,
            work: usize::MAX,
            header: Header::default(),
            key: Vec::new(),
        }
    }

    /// Finds what there is to find among the rows up to `time`; drops those that are done with.
    fn search(&self, key: &GroupKey, rows: &mut RowList, time: i64, out: &mut Emitted) {
        let ready = rows.iter().take_while(|(at, _)| *at <= time).count();
        let mut start = 0;
        while start < ready {
            let tried = match self.attempt(rows, start, ready, time) {
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
        (0..start).for_each(|_| drop(rows.remove(0)));
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
        start: usize,
        ready: usize,
        time: i64,
    ) -> Result<Tried, Refusal> {
        let Some((first, _)) = rows.get(start) else { return Ok(Tried::Failed) };
        let deadline = self.plan.within.map_or(i64::MAX, |within| first.saturating_add(within));
        // No row can come any more that would be in time.
        let is_closed = time == i64::MAX || time >= deadline;
        let mut variables: Vec<usize> = Vec::new();
        let mut ways = vec![(0, 0)];
        let mut work = 0;
        while let Some((mut step, length)) = ways.pop() {
            variables.truncate(length);
            loop {
                work += 1;
                if work > self.work {
                    return Err(Refusal::WorkLimit { limit: self.work });
                }
                match self.steps.get(step) {
                    Some(Step::Done) => return Ok(Tried::Found(variables)),
                    Some(Step::Jump(target)) => step = *target,
                    Some(Step::Either(first, second)) => {
                        ways.push((*second, variables.len()));
                        step = *first;
                    }
                    Some(Step::Row(variable)) => {
                        let at = start + variables.len();
                        if at >= ready {
                            if is_closed {
                                break;
                            }
                            return Ok(Tried::Open);
                        }
                        let is_in_time = rows.get(at).is_some_and(|(time, _)| *time < deadline);
                        variables.push(*variable);
                        let binding = Binding { rows, start, variables: &variables };
                        if !is_in_time || !self.holds(*variable, &binding)? {
                            break;
                        }
                        step += 1;
                    }
                    None => break,
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
                    set(steps, at, either(*greed, at + 1, end));
                }
            }
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
        self.work = arriving.limits.work;
        if time <= self.progress {
            return Ok(Fate::Late(None));
        }
        self.key.clear();
        encode_keys(&self.partition, arriving.row, &mut self.key)?;
        match self.partitions.get(&self.key) {
            Some(_) => arriving.limits.admit_bytes(self.partitions.bytes())?,
            None => {
                arriving.limits.admit_key(self.partitions.len(), self.partitions.bytes())?;
                self.partitions.insert(GroupKey::new(&self.key), RowList::default());
            }
        }
        self.partitions.update(&self.key, |rows| {
            let behind = rows.iter().rev().take_while(|(at, _)| *at > time).count();
            rows.insert(rows.len() - behind, time, Box::from(arriving.row));
        });
        self.timers.set(time, GroupKey::new(&self.key));
        if let Some(within) = self.plan.within {
            self.timers.set(time.saturating_add(within), GroupKey::new(&self.key));
        }
        Ok(Fate::Taken)
    }

    fn on_watermark(&mut self, watermark: i64, out: &mut Emitted) {
        self.progress = watermark;
        while let Some((time, key)) = self.timers.pop_due(watermark) {
            let rows = self.partitions.update(key.as_bytes(), std::mem::take);
            let Some(mut rows) = rows else { continue };
            self.search(&key, &mut rows, time, out);
            self.partitions.update(key.as_bytes(), |kept| *kept = rows);
        }
        if watermark == i64::MAX {
            // No row will come: what waits for more of them ends as it is.
            let keys: Vec<GroupKey> =
                self.partitions.sorted().into_iter().map(|(key, _)| key.clone()).collect();
            for key in keys {
                if let Some(mut rows) = self.partitions.remove(key.as_bytes()) {
                    self.search(&key, &mut rows, i64::MAX, out);
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
        format!("match of {steps} steps, {keys} keys, within {:?}", self.plan.within)
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
        for (key, rows) in self.partitions.iter() {
            debug_assert!(rows.heap_bytes() < usize::MAX, "a list knows its size");
            for (time, _) in rows.iter() {
                let deadline = self.plan.within.map(|within| time.saturating_add(within));
                let times = std::iter::once(*time).chain(deadline);
                for time in times.filter(|time| *time > self.progress) {
                    self.timers.set(time, key.clone());
                }
            }
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
