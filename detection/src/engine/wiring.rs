//! From a relation to operators: which operator runs a node, and what feeds it.

use crate::engine::dataflow::{Input, Scan, Stage, Target};
use crate::expression::Expression;
use crate::operator::accumulator::Call;
use crate::operator::arriving::{Emitted, Operate};
use crate::operator::assign_windows::AssignWindows;
use crate::operator::calc::{Pass, Project};
use crate::operator::file_join::FileJoin;
use crate::operator::group_aggregate::GroupAggregate;
use crate::operator::interval_join::IntervalJoin;
use crate::operator::latest_join::LatestJoin;
use crate::operator::lookup_join::LookupJoin;
use crate::operator::matching::Matching;
use crate::operator::over::Over;
use crate::operator::pairing::Pairing;
use crate::operator::pane_aggregate::{Assignment, PaneAggregate};
use crate::operator::rank::Ranking;
use crate::operator::regular_join::RegularJoin;
use crate::operator::session_aggregate::SessionAggregate;
use crate::operator::session_window::SessionWindow;
use crate::operator::temporal_join::TemporalJoin;
use crate::operator::unnest::Unnest;
use crate::operator::window::Extent;
use crate::operator::window_join::WindowJoin;
use crate::relation::{
    AggregateCall, Changes, Join, JoinMethod, Key, Operator, Relation, Window, WindowAggregate,
    Windowing,
};
use crate::settings::Times;

/// The stages of a relation, the root first, and where tables enter.
pub(super) fn wire(relation: &Relation, times: Times, seed: u64) -> (Vec<Stage>, Vec<Scan>) {
    let mut builder = Builder { stages: Vec::new(), scans: Vec::new(), times, seed };
    builder.add(relation, Vec::new(), None);
    (builder.stages, builder.scans)
}

/// Makes stages of a relation, the root first.
struct Builder {
    stages: Vec<Stage>,
    scans: Vec<Scan>,
    times: Times,
    seed: u64,
}

impl Builder {
    /// Adds what feeds `parent`, behind filters that were met on the way down.
    fn add(&mut self, relation: &Relation, mut guards: Vec<Expression>, parent: Option<Target>) {
        match &relation.operator {
            Operator::Filter { input, predicate } => {
                let parent = parent.unwrap_or_else(|| self.stage(Box::new(Pass), 1, None));
                // The filter nearest to the source is asked first.
                guards.insert(0, predicate.clone());
                self.add(input, guards, Some(parent));
            }
            Operator::Scan(table) => {
                let target = parent.unwrap_or_else(|| self.stage(Box::new(Pass), 1, None));
                self.guard(target, guards, relation);
                self.scans.push(Scan { table: *table, target });
            }
            operator => {
                if let Some(parent) = parent {
                    self.guard(parent, guards, relation);
                }
                let (operator, inputs) = self.operator(operator);
                let target = self.stage(operator, inputs.len(), parent);
                self.wait_for_left(relation, target);
                for (port, input) in inputs.into_iter().enumerate() {
                    self.add(input, Vec::new(), Some(Target { port, ..target }));
                }
            }
        }
    }

    fn stage(
        &mut self,
        operator: Box<dyn Operate>,
        inputs: usize,
        parent: Option<Target>,
    ) -> Target {
        let inputs = std::iter::repeat_with(Input::default).take(inputs).collect();
        let out = Emitted::default();
        self.stages.push(Stage { operator, inputs, parent, watermark: None, out });
        Target { stage: self.stages.len() - 1, port: 0 }
    }

    /// The last row of a topic has no time of its own, and nothing waits for it.
    fn wait_for_left(&mut self, relation: &Relation, target: Target) {
        let Operator::Join(plan) = &relation.operator else { return };
        let stage = self.stages.get_mut(target.stage);
        if let (JoinMethod::Latest { .. }, Some(stage)) = (&plan.method, stage)
            && let [_, right] = stage.inputs.as_mut_slice()
        {
            right.watermark = Some(i64::MAX);
        }
    }

    fn guard(&mut self, target: Target, guards: Vec<Expression>, relation: &Relation) {
        let stage = self.stages.get_mut(target.stage);
        if let Some(input) = stage.and_then(|stage| stage.inputs.get_mut(target.port)) {
            input.guards = guards;
            input.window = relation.window;
        }
    }

    /// The operator that runs a node, and what feeds it.
    fn operator<'a>(&self, operator: &'a Operator) -> (Box<dyn Operate>, Vec<&'a Relation>) {
        let seed = self.seed;
        match operator {
            Operator::Scan(_) | Operator::Filter { .. } => {
                debug_assert!(false, "neither is a stage of its own");
                (Box::new(Pass), Vec::new())
            }
            Operator::Project { input, expressions } => {
                (Box::new(Project::new(expressions.clone())), vec![input])
            }
            Operator::Union(inputs) => (Box::new(Pass), inputs.iter().collect()),
            Operator::Window { input, window } => (windowed(window, seed), vec![input]),
            Operator::WindowAggregate(plan) => (self.window_aggregate(plan), vec![&plan.input]),
            Operator::GroupAggregate(plan) => {
                let calls = calls(&plan.aggregates, plan.input.changes);
                let operator = GroupAggregate::new(expressions(&plan.keys), calls, seed);
                (Box::new(operator), vec![&plan.input])
            }
            Operator::Over(plan) => {
                let partition = expressions(&plan.partition);
                let keys = (partition, self.times.retention);
                let operator = Over::new(plan.time, keys, plan.frame, &plan.calls, seed);
                (Box::new(operator), vec![&plan.input])
            }
            Operator::Deduplicate(plan) => {
                let operator = Ranking::deduplicate(plan, plan.input.changes, seed);
                (Box::new(operator), vec![&plan.input])
            }
            Operator::TopN(plan) => {
                (Box::new(Ranking::top_n(plan, plan.input.changes, seed)), vec![&plan.input])
            }
            Operator::Join(plan) => join(plan, self.times.retention, seed),
            Operator::Unnest(plan) => (Box::new(Unnest::new(plan)), vec![&plan.input]),
            Operator::Match(plan) => {
                (Box::new(Matching::new(plan, self.times.retention, seed)), vec![&plan.input])
            }
        }
    }

    fn window_aggregate(&self, plan: &WindowAggregate) -> Box<dyn Operate> {
        let calls = calls(&plan.aggregates, plan.input.changes);
        let keys = expressions(&plan.keys);
        let assignment = match &plan.windowing {
            Windowing::Attached(columns) => Assignment::Attached(*columns),
            Windowing::Assign(window) => match Extent::of(window.kind) {
                Extent::Fixed(windows) => Assignment::Time { column: window.time, windows },
                Extent::Session { gap } => {
                    let (column, seed) = (window.time, self.seed);
                    return Box::new(SessionAggregate::new(column, gap, keys, calls, seed));
                }
            },
        };
        Box::new(PaneAggregate::new(assignment, keys, calls, self.times, self.seed))
    }
}

fn windowed(window: &Window, seed: u64) -> Box<dyn Operate> {
    match Extent::of(window.kind) {
        Extent::Fixed(windows) => Box::new(AssignWindows::new(window.time, windows)),
        Extent::Session { gap } => {
            Box::new(SessionWindow::new(window.time, gap, window.partition.clone(), seed))
        }
    }
}

fn join(plan: &Join, retention: i64, seed: u64) -> (Box<dyn Operate>, Vec<&Relation>) {
    let widths = (plan.left.columns.len(), plan.right.columns.len());
    let pairing = Pairing::new(plan.kind, plan.keys.clone(), plan.condition.clone(), widths);
    let both = vec![&plan.left, &plan.right];
    match &plan.method {
        JoinMethod::Regular => (Box::new(RegularJoin::new(pairing, seed)), both),
        JoinMethod::Interval { left_time, right_time, lower, upper } => {
            let times = (*left_time, *right_time);
            (Box::new(IntervalJoin::new(pairing, times, (*lower, *upper), seed)), both)
        }
        JoinMethod::Window { left, right } => {
            (Box::new(WindowJoin::new(pairing, *left, *right, seed)), both)
        }
        JoinMethod::Temporal { left_time, right_time } => {
            let times = (*left_time, *right_time);
            (Box::new(TemporalJoin::new(pairing, times, retention, seed)), both)
        }
        JoinMethod::Lookup { .. } => (Box::new(LookupJoin::new(pairing)), vec![&plan.left]),
        JoinMethod::Latest { .. } => (Box::new(LatestJoin::new(pairing, seed)), both),
        JoinMethod::File { table } => {
            (Box::new(FileJoin::new(pairing, *table, seed)), vec![&plan.left])
        }
    }
}

fn calls(calls: &[AggregateCall], changes: Changes) -> Vec<Call> {
    calls.iter().map(|call| Call::new(call, changes)).collect()
}

fn expressions(keys: &[Key]) -> Vec<Expression> {
    keys.iter().map(|key| key.expression.clone()).collect()
}

/// Whether an operator of a relation goes by event time.
pub(super) fn is_timed(relation: &Relation) -> bool {
    match &relation.operator {
        Operator::Scan(_) => false,
        Operator::Filter { input, .. } | Operator::Project { input, .. } => is_timed(input),
        Operator::Union(inputs) => inputs.iter().any(is_timed),
        Operator::GroupAggregate(plan) => is_timed(&plan.input),
        Operator::Unnest(plan) => is_timed(&plan.input),
        Operator::TopN(plan) => plan.window.is_some() || is_timed(&plan.input),
        Operator::Join(plan) => {
            let is_timed_itself = match plan.method {
                JoinMethod::Regular
                | JoinMethod::Lookup { .. }
                | JoinMethod::File { .. }
                | JoinMethod::Latest { .. } => false,
                JoinMethod::Interval { .. }
                | JoinMethod::Window { .. }
                | JoinMethod::Temporal { .. } => true,
            };
            is_timed_itself || is_timed(&plan.left) || is_timed(&plan.right)
        }
        Operator::Window { .. }
        | Operator::WindowAggregate(_)
        | Operator::Over(_)
        | Operator::Deduplicate(_)
        | Operator::Match(_) => true,
    }
}
