//! The plan of a rule: one line per operator, inputs below it and further in.

use std::fmt;

use crate::explain::length::Length;
use crate::program::Program;
use crate::relation::{
    AggregateCall, AggregateKind, Frame, Join, JoinKind, JoinMethod, Keep, Operator, OverCall,
    Relation, WindowKind, Windowing,
};
use crate::table::Table;

/// Most columns that a line names.
const SHOWN_COLUMNS: usize = 8;

/// Writes the plan of a relation that is `depth` operators below the result.
pub(super) fn write(
    f: &mut fmt::Formatter<'_>,
    program: &Program,
    relation: &Relation,
    depth: usize,
) -> fmt::Result {
    let indent = depth * 2;
    let name = name(program, relation);
    writeln!(f, "{:indent$}{name}", "")?;
    let mut inputs = inputs(&relation.operator).into_iter();
    inputs.try_for_each(|input| write(f, program, input, depth + 1))
}

/// What an operator reads, the left side of a join first.
pub(super) fn inputs(operator: &Operator) -> Vec<&Relation> {
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
        Operator::Unnest(plan) => vec![&plan.input],
    }
}

/// What a table's event time is and how far the watermark stays behind it.
pub(super) fn event_time(table: &Table) -> String {
    let column = table.event_time_index().and_then(|index| table.schema().columns().get(index));
    match (column, table.delay()) {
        (Some(column), Some(delay)) if delay.is_zero() => {
            format!("event time {}, watermark at the latest", column.name())
        }
        (Some(column), Some(delay)) => {
            format!("event time {}, watermark {} behind", column.name(), Length::of(delay))
        }
        _ => "no event time".to_owned(),
    }
}

fn name(program: &Program, relation: &Relation) -> String {
    match &relation.operator {
        Operator::Scan(table) => {
            let table = program.table(*table);
            format!("scan {}, {}, {}", table.name(), place(table), event_time(table))
        }
        Operator::Filter { .. } => "filter".to_owned(),
        Operator::Project { .. } => format!("project {}", named(relation)),
        Operator::Union(inputs) => format!("union of {}", inputs.len()),
        Operator::Window { window, .. } => format!("rows with their {}", kind(window.kind)),
        Operator::WindowAggregate(plan) => {
            let windows = match &plan.windowing {
                Windowing::Assign(window) => kind(window.kind),
                Windowing::Attached(_) => "window of its input".to_owned(),
            };
            let per = keys(relation, plan.keys.len());
            format!("{} per {windows}{per}", listed(&plan.aggregates))
        }
        Operator::GroupAggregate(plan) => {
            let per = if plan.keys.is_empty() {
                "over all rows".to_owned()
            } else {
                format!("per {}, over all rows", first(relation, plan.keys.len()))
            };
            format!("{} {per}", listed(&plan.aggregates))
        }
        Operator::Over(plan) => {
            let calls = plan.calls.iter().map(over_call).collect::<Vec<_>>().join(", ");
            let per = apart(plan.partition.len());
            format!("{calls} over {}{per}", frame(plan.frame))
        }
        Operator::Deduplicate(plan) => {
            let which = match plan.keep {
                Keep::First => "first",
                Keep::Last => "last",
            };
            format!("the {which} row{}", apart(plan.keys.len()))
        }
        Operator::TopN(plan) => {
            let (least, most) = plan.range;
            format!("ranks {least} to {most}{}", apart(plan.partition.len()))
        }
        Operator::Join(plan) => join(plan),
        Operator::Unnest(_) => "a row per element".to_owned(),
        Operator::Match(plan) => {
            let names: Vec<&str> = plan.variables.iter().map(|one| &*one.name).collect();
            let within = plan.within.map(|most| format!(" within {}", Length(most)));
            let per = apart(plan.partition.len());
            format!("match of {}{}{per}", names.join(", "), within.unwrap_or_default())
        }
    }
}

/// Where the rows of a table are.
pub(super) fn place(table: &Table) -> String {
    match (table.topic(), table.file(), table.store()) {
        (Some(topic), ..) => format!("topic {topic}"),
        (None, Some(file), _) => format!("file {}", file.path.display()),
        (None, None, Some(store)) => format!("store {}", store.connector),
        (None, None, None) => "nowhere".to_owned(),
    }
}

/// The names of a relation's columns that have one: others only label results.
fn named(relation: &Relation) -> String {
    let names = relation.columns.iter().map(|field| &*field.name).filter(|name| !name.is_empty());
    shortened(names.collect())
}

fn shortened(names: Vec<&str>) -> String {
    let more = names.len().saturating_sub(SHOWN_COLUMNS);
    let shown = names.into_iter().take(SHOWN_COLUMNS).collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// The names of a relation's first columns.
fn first(relation: &Relation, count: usize) -> String {
    let columns = relation.columns.iter().take(count);
    shortened(
        columns
            .map(|field| if field.name.is_empty() { "an expression" } else { &*field.name })
            .collect(),
    )
}

fn keys(relation: &Relation, count: usize) -> String {
    if count == 0 { String::new() } else { format!(" and {}", first(relation, count)) }
}

/// What keeps rows apart when their keys have no names.
fn apart(keys: usize) -> String {
    match keys {
        0 => String::new(),
        1 => " per key".to_owned(),
        _ => format!(" per {keys} keys"),
    }
}

fn kind(kind: WindowKind) -> String {
    match kind {
        WindowKind::Tumble { size, .. } => format!("tumbling window of {}", Length(size)),
        WindowKind::Hop { size, slide, .. } => {
            format!("hopping window of {} every {}", Length(size), Length(slide))
        }
        WindowKind::Cumulate { size, step, .. } => {
            format!("cumulating window of {} by {}", Length(size), Length(step))
        }
        WindowKind::Session { gap } => format!("session with gaps below {}", Length(gap)),
    }
}

fn frame(frame: Frame) -> String {
    match frame {
        Frame::Rows(Some(rows)) => format!("each row and the {rows} before it"),
        Frame::Range(Some(reach)) => format!("the last {}", Length(reach)),
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
        JoinMethod::Interval { lower, upper, .. } => {
            format!("of rows {} to {} apart", Length(*lower), Length(*upper))
        }
        JoinMethod::Window { .. } => "of rows in one window".to_owned(),
        JoinMethod::Temporal { .. } => "with the version at the row's time".to_owned(),
        JoinMethod::Lookup { .. } => "with what is looked up on arrival".to_owned(),
        JoinMethod::Latest { .. } => "with the row of its key that came last".to_owned(),
        JoinMethod::File { .. } => "with the rows of a file".to_owned(),
    };
    let keys = match plan.keys.len() {
        0 => "without keys".to_owned(),
        1 => "by 1 key".to_owned(),
        keys => format!("by {keys} keys"),
    };
    format!("{kind} join {method} {keys}")
}

fn listed(calls: &[AggregateCall]) -> String {
    let listed = calls.iter().map(call).collect::<Vec<_>>().join(", ");
    if listed.is_empty() { "distinct rows".to_owned() } else { listed }
}

fn call(call: &AggregateCall) -> String {
    let distinct = if call.is_distinct { " distinct" } else { "" };
    let filter = if call.filter.is_some() { " filtered" } else { "" };
    format!("{}{distinct}{filter}", function(call.function))
}

/// The SQL name of an aggregate.
const fn function(function: AggregateKind) -> &'static str {
    use crate::relation::Spread;
    match function {
        AggregateKind::Count => "COUNT",
        AggregateKind::Sum => "SUM",
        AggregateKind::Average => "AVG",
        AggregateKind::Min => "MIN",
        AggregateKind::Max => "MAX",
        AggregateKind::FirstValue => "FIRST_VALUE",
        AggregateKind::LastValue => "LAST_VALUE",
        AggregateKind::Spread(Spread::DeviationPopulation) => "STDDEV_POP",
        AggregateKind::Spread(Spread::DeviationSample) => "STDDEV_SAMP",
        AggregateKind::Spread(Spread::VariancePopulation) => "VAR_POP",
        AggregateKind::Spread(Spread::VarianceSample) => "VAR_SAMP",
        AggregateKind::ListAggregate => "LISTAGG",
        AggregateKind::Collect => "COLLECT",
        AggregateKind::ApproximateDistinct => "APPROX_COUNT_DISTINCT",
        AggregateKind::ApproximateQuantile(_) => "APPROX_QUANTILE",
        AggregateKind::ApproximateTop(_) => "APPROX_TOP_K",
    }
}

fn over_call(over: &OverCall) -> String {
    match over {
        OverCall::Aggregate(aggregate) => call(aggregate),
        OverCall::RowNumber => "ROW_NUMBER".to_owned(),
        OverCall::Rank => "RANK".to_owned(),
        OverCall::DenseRank => "DENSE_RANK".to_owned(),
        OverCall::Lag { .. } => "LAG".to_owned(),
    }
}
