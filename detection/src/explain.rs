//! What a rule will do, told before it runs: its plan, whether its alerts can be taken back, what
//! it keeps per key, and its limits.

use std::fmt;

use crate::operator::accumulator::Call;
use crate::operator::group_state::Accumulators;
use crate::operator::keyed::entry_bytes;
use crate::plan::Rule;
use crate::program::Program;
use crate::relation::{
    AggregateCall, Changes, Frame, Join, JoinKind, JoinMethod, Keep, Operator, OverCall, Relation,
    WindowAggregate, WindowKind, Windowing,
};
use crate::settings::{OnLimit, RuleSettings};

/// Whether more rows, or rows that come later, can refute a result.
mod monotone;

pub(crate) use monotone::Monotony;

/// What a rule will do, as text of several lines.
#[derive(Debug)]
pub(crate) struct Explanation<'a> {
    pub(crate) program: &'a Program,
    pub(crate) rule: &'a Rule,
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, rule } = self;
        let relation = &rule.sink().relation;
        writeln!(f, "rule {} to topic {}", rule.name(), rule.topic())?;
        writeln!(f, "plan")?;
        plan(f, program, relation, 1)?;
        let updates = match relation.changes {
            Changes::Append if rule.settings().allowed_lateness.is_zero() => "added, never changed",
            Changes::Append => "added, and changed by rows within the allowed lateness",
            Changes::Retract => "added, changed and taken back as rows come",
        };
        writeln!(f, "results\n  {updates}")?;
        writeln!(f, "monotone\n  {}", Monotony::of(relation))?;
        writeln!(f, "state")?;
        let mut states = Vec::new();
        state(relation, &mut states);
        if states.is_empty() {
            writeln!(f, "  none")?;
        }
        for line in states {
            writeln!(f, "  {line}")?;
        }
        limits(f, rule.settings())
    }
}

/// One line per operator, inputs below it and further in.
fn plan(
    f: &mut fmt::Formatter<'_>,
    program: &Program,
    relation: &Relation,
    depth: usize,
) -> fmt::Result {
    let indent = depth * 2;
    let name = name(program, &relation.operator);
    writeln!(f, "{:indent$}{name}", "")?;
    inputs(&relation.operator).into_iter().try_for_each(|input| plan(f, program, input, depth + 1))
}

fn name(program: &Program, operator: &Operator) -> String {
    match operator {
        Operator::Scan(table) => {
            let table = program.table(*table);
            let (name, topic) = (table.name(), table.topic());
            match table.delay() {
                Some(delay) => format!("scan {name}, topic {topic}, watermark {delay:?} behind"),
                None => format!("scan {name}, topic {topic}, no event time"),
            }
        }
        Operator::Filter { .. } => "filter".to_owned(),
        Operator::Project { .. } => "project".to_owned(),
        Operator::Union(inputs) => format!("union of {}", inputs.len()),
        Operator::Window { window, .. } => format!("rows with their {}", kind(window.kind)),
        Operator::WindowAggregate(plan) => {
            let windows = match &plan.windowing {
                Windowing::Assign(window) => kind(window.kind),
                Windowing::Attached(_) => "window of its input".to_owned(),
            };
            format!("{} per {windows} and {} keys", listed(&plan.aggregates), plan.keys.len())
        }
        Operator::GroupAggregate(plan) => {
            format!("{} per {} keys, over all rows", listed(&plan.aggregates), plan.keys.len())
        }
        Operator::Over(plan) => {
            format!(
                "{} calls over {}, per {} keys",
                plan.calls.len(),
                frame(plan.frame),
                plan.partition.len()
            )
        }
        Operator::Deduplicate(plan) => {
            let which = match plan.keep {
                Keep::First => "first",
                Keep::Last => "last",
            };
            format!("the {which} row per {} keys", plan.keys.len())
        }
        Operator::TopN(plan) => {
            let (first, last) = plan.range;
            format!("ranks {first} to {last} per {} keys", plan.partition.len())
        }
        Operator::Join(plan) => join(plan),
        Operator::Match(plan) => {
            format!("match of {} variables per {} keys", plan.variables.len(), plan.partition.len())
        }
    }
}

fn inputs(operator: &Operator) -> Vec<&Relation> {
    match operator {
        Operator::Scan(_) => Vec::new(),
        Operator::Filter { input, .. }
        | Operator::Project { input, .. }
        | Operator::Window { input, .. } => vec![input],
        Operator::Union(inputs) => inputs.iter().collect(),
        Operator::WindowAggregate(plan) => vec![&plan.input],
        Operator::GroupAggregate(plan) => vec![&plan.input],
        Operator::Over(plan) => vec![&plan.input],
        Operator::Deduplicate(plan) => vec![&plan.input],
        Operator::TopN(plan) => vec![&plan.input],
        Operator::Join(plan) => vec![&plan.left, &plan.right],
        Operator::Match(plan) => vec![&plan.input],
    }
}

fn kind(kind: WindowKind) -> String {
    match kind {
        WindowKind::Tumble { size, .. } => format!("tumbling window of {size} ms"),
        WindowKind::Hop { size, slide, .. } => {
            format!("hopping window of {size} ms every {slide} ms")
        }
        WindowKind::Cumulate { size, step, .. } => {
            format!("cumulating window of {size} ms by {step} ms")
        }
        WindowKind::Session { gap } => format!("session with gaps below {gap} ms"),
    }
}

fn frame(frame: Frame) -> String {
    match frame {
        Frame::Rows(Some(rows)) => format!("the last {rows} rows and each"),
        Frame::Range(Some(reach)) => format!("the last {reach} ms"),
        Frame::Rows(None) | Frame::Range(None) => "all rows before".to_owned(),
    }
}

fn join(plan: &Join) -> String {
    let kind = match plan.kind {
        JoinKind::Inner => "inner",
        JoinKind::Left => "left",
        JoinKind::Right => "right",
        JoinKind::Full => "full",
        JoinKind::Semi => "semi",
        JoinKind::Anti => "anti",
    };
    let method = match &plan.method {
        JoinMethod::Regular => "of all rows".to_owned(),
        JoinMethod::Interval { lower, upper, .. } => format!("of rows {lower} to {upper} ms apart"),
        JoinMethod::Window { .. } => "of rows in one window".to_owned(),
        JoinMethod::Temporal { .. } => "with the version at the row's time".to_owned(),
        JoinMethod::Lookup { .. } => "with what is looked up on arrival".to_owned(),
    };
    format!("{kind} join {method} by {} keys", plan.keys.len())
}

fn listed(calls: &[AggregateCall]) -> String {
    let calls = calls.iter().map(|call| format!("{:?}", call.function));
    let listed = calls.collect::<Vec<_>>().join(", ");
    if listed.is_empty() { "distinct rows".to_owned() } else { listed }
}

/// What each operator keeps, one line per operator that does.
fn state(relation: &Relation, lines: &mut Vec<String>) {
    if let Some(line) = kept(&relation.operator) {
        lines.push(line);
    }
    inputs(&relation.operator).into_iter().for_each(|input| state(input, lines));
}

fn kept(operator: &Operator) -> Option<String> {
    let rows = |what: &str| Some(format!("{what}, with all of its columns"));
    match operator {
        Operator::Scan(_)
        | Operator::Filter { .. }
        | Operator::Project { .. }
        | Operator::Union(_) => None,
        Operator::Window { window, .. } => match window.kind {
            WindowKind::Session { .. } => rows("each row until its session closes"),
            WindowKind::Tumble { .. } | WindowKind::Hop { .. } | WindowKind::Cumulate { .. } => {
                None
            }
        },
        Operator::WindowAggregate(plan) => Some(of_windows(plan)),
        Operator::GroupAggregate(plan) => {
            Some(of_group("per key, for ever", &plan.aggregates, plan.input.changes))
        }
        Operator::Over(plan) => match plan.frame {
            Frame::Rows(Some(n)) => rows(&format!("{} rows per key", n.saturating_add(1))),
            Frame::Range(Some(reach)) => {
                rows(&format!("the rows of {reach} ms per key, then nothing of it"))
            }
            Frame::Rows(None) | Frame::Range(None) => {
                let calls = plan.calls.iter().filter_map(|call| match call {
                    OverCall::Aggregate(call) => Some(call.clone()),
                    OverCall::RowNumber
                    | OverCall::Rank
                    | OverCall::DenseRank
                    | OverCall::Lag { .. } => None,
                });
                Some(of_group("per key", &calls.collect::<Vec<_>>(), Changes::Append))
            }
        },
        Operator::Deduplicate(_) => rows("one row per key"),
        Operator::TopN(plan) => match plan.input.changes {
            Changes::Append => rows(&format!("{} rows per key", plan.range.1)),
            Changes::Retract => rows("every row per key, since rows are taken back"),
        },
        Operator::Join(plan) => match &plan.method {
            JoinMethod::Regular => rows("every row of both sides, for ever"),
            JoinMethod::Interval { lower, upper, .. } => {
                rows(&format!("rows of both sides for {} ms", upper.saturating_sub(*lower)))
            }
            JoinMethod::Window { .. } => rows("rows of both sides until their window closes"),
            JoinMethod::Temporal { .. } => rows("rows until the watermark, and versions"),
            JoinMethod::Lookup { .. } => rows("rows until their answer"),
        },
        Operator::Match(_) => rows("rows from the first that may begin a match"),
    }
}

fn of_windows(plan: &WindowAggregate) -> String {
    let panes = match &plan.windowing {
        Windowing::Attached(_) => "per window and key",
        Windowing::Assign(window) => match window.kind {
            WindowKind::Session { .. } => "per session",
            WindowKind::Tumble { .. } => "per window and key",
            WindowKind::Hop { .. } | WindowKind::Cumulate { .. } => "per pane and key",
        },
    };
    of_group(panes, &plan.aggregates, plan.input.changes)
}

/// What a group takes: its entry, and its aggregates over no row.
fn of_group(what: &str, calls: &[AggregateCall], changes: Changes) -> String {
    let calls: Vec<Call> = calls.iter().map(|call| Call::new(call, changes)).collect();
    let empty = Accumulators::start(&calls);
    let entry = entry_bytes(&empty);
    let growing = calls.iter().filter(|call| call.may_grow()).count();
    debug_assert!(entry >= size_of::<Accumulators>(), "a group has its aggregates");
    match growing {
        0 => format!("{entry} bytes {what}"),
        _ => {
            format!("{entry} bytes {what}, and what {growing} of {} aggregates gather", calls.len())
        }
    }
}

fn limits(f: &mut fmt::Formatter<'_>, settings: &RuleSettings) -> fmt::Result {
    let RuleSettings {
        allowed_lateness,
        state_retention,
        keys_limit,
        memory_limit,
        work_limit,
        on_limit,
    } = settings;
    writeln!(f, "limits")?;
    writeln!(
        f,
        "  {keys_limit} keys, {memory_limit} an operator, {work_limit} rows of work a row"
    )?;
    let then = match on_limit {
        OnLimit::RefuseRow => "the row is refused and counted",
        OnLimit::StopRule => "the rule stops and lets go of its state",
    };
    writeln!(f, "  at a limit {then}")?;
    if !allowed_lateness.is_zero() {
        writeln!(f, "  rows up to {allowed_lateness:?} late change results that are out")?;
    }
    match state_retention {
        Some(retention) => writeln!(f, "  keys that no window bounds are kept for {retention:?}"),
        None => writeln!(f, "  keys that no window bounds are kept for ever"),
    }
}

#[cfg(test)]
mod tests {
    use crate::program::Program;

    #[test]
    fn a_rule_tells_its_plan_its_state_and_whether_its_alerts_stand() {
        let sql = "CREATE TABLE air (station STRING, ts TIMESTAMP(3), pm25 DOUBLE,\n\
                   WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE) WITH ('topic' = 'air');\n\
                   CREATE TABLE high (station STRING, until TIMESTAMP(3), n BIGINT)\n\
                   WITH ('topic' = 'alerts', 'limit.keys' = '500', 'allowed-lateness' = '1h');\n\
                   INSERT INTO high SELECT station, window_end, COUNT(*)\n\
                   FROM TABLE(TUMBLE(TABLE air, DESCRIPTOR(ts), INTERVAL '1' HOUR))\n\
                   WHERE pm25 > 120 GROUP BY station, window_start, window_end\n\
                   HAVING COUNT(*) >= 3;";
        let program = Program::compile("rules.sql", sql).unwrap();

        let told = program.explain("high").unwrap();

        let expected = "\
rule high to topic alerts
plan
  project
    filter
      Count per tumbling window of 3600000 ms and 1 keys
        filter
          scan air, topic air, watermark 60s behind
results
  added, and changed by rows within the allowed lateness
monotone
  yes: HAVING asks that aggregates pass bounds which more rows do not undo
state
  74 bytes per window and key
limits
  500 keys, 256MiB an operator, 100000 rows of work a row
  at a limit the row is refused and counted
  rows up to 3600s late change results that are out
  keys that no window bounds are kept for ever
";
        assert_eq!(told, expected);
        assert_eq!(program.explain("low"), None);
    }
}
