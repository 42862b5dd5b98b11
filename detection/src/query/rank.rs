//! Ranks: `ROW_NUMBER() OVER (…)` in a query whose rows an outer WHERE bounds.

use crate::expression::Expression;
use crate::expression::tree::Comparison;
use crate::query::bound::{Bound, field, project};
use crate::query::conjunct::{join, split};
use crate::relation::{
    Changes, Deduplicate, Direction, Field, Keep, Key, Operator, Order, RankColumn, RankKind,
    Relation, TopN, WindowColumns,
};
use crate::sql::error::{Fault, SqlErrorReason};
use crate::value::{DataType, Value};

/// A query with a rank among its columns, before anything bounds the rank.
#[derive(Debug, Clone)]
pub(super) struct Ranked {
    /// The rows that are ranked.
    pub(super) input: Relation,
    pub(super) partition: Vec<Key>,
    pub(super) order: Vec<Order>,
    pub(super) kind: RankKind,
    /// The query's columns over the input's with the rank behind them.
    pub(super) items: Vec<(Field, Expression)>,
    /// Which of them is the rank.
    pub(super) column: usize,
    /// Why the rank cannot stand without a bound; none when it can.
    pub(super) unbounded: Option<Fault>,
}

/// WHERE over a relation: bounds its rank, if it has one.
pub(super) fn filter(bound: Bound, predicate: Option<Expression>) -> Result<Bound, Fault> {
    let Some(ranked) = bound.ranked.clone() else {
        return Ok(match predicate {
            Some(predicate) => {
                let relation = super::bound::filter(bound.relation.clone(), predicate);
                bound.over(relation)
            }
            None => bound,
        });
    };
    let mut range = Range { first: 1, last: None };
    let mut rest = Vec::new();
    for condition in predicate.into_iter().flat_map(split) {
        if !range.narrow(&condition, ranked.column) {
            rest.push(condition);
        }
    }
    let relation = match (range.last, &ranked.unbounded) {
        (Some(last), _) => bounded(*ranked, range.first, last)?,
        (None, Some(fault)) => return Err(fault.clone()),
        (None, None) => bound.relation.clone(),
    };
    let relation = match join(rest) {
        Some(rest) => super::bound::filter(relation, rest),
        None => relation,
    };
    Ok(bound.over(relation))
}

/// Ranks that a WHERE leaves.
struct Range {
    first: u64,
    last: Option<u64>,
}

impl Range {
    /// Takes in a condition on the rank; false when it says something else.
    fn narrow(&mut self, condition: &Expression, column: usize) -> bool {
        let Expression::Compare(comparison, sides) = condition else { return false };
        let [left, right] = &**sides;
        let (comparison, number) = match (is_column(left, column), is_column(right, column)) {
            (true, false) => (*comparison, whole(right)),
            (false, true) => (comparison.mirrored(), whole(left)),
            _ => return false,
        };
        let Some(number) = number else { return false };
        let (first, last) = match comparison {
            Comparison::Equal => (number, Some(number)),
            Comparison::LessOrEqual => (1, Some(number)),
            Comparison::Less => (1, number.checked_sub(1)),
            Comparison::GreaterOrEqual => (number, None),
            Comparison::Greater => (number.saturating_add(1), None),
            Comparison::NotEqual => return false,
        };
        self.first = self.first.max(first);
        self.last = match (self.last, last) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        true
    }
}

fn is_column(expression: &Expression, column: usize) -> bool {
    match expression {
        Expression::Column(index) => *index == column,
        Expression::Cast(cast) => is_column(&cast.input, column),
        _ => false,
    }
}

fn whole(expression: &Expression) -> Option<u64> {
    match expression.constant() {
        Some(Value::Integer(number)) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// The rows whose rank is within bounds.
fn bounded(ranked: Ranked, first: u64, last: u64) -> Result<Relation, Fault> {
    let Ranked { input, partition, order, kind, mut items, column: _, unbounded: _ } = ranked;
    let window = window_of(&input, &partition);
    let rank = input.columns.len();
    let time_order = match (order.as_slice(), input.event_time) {
        ([Order { expression: Expression::Column(column), direction, .. }], Some(time))
            if *column == time =>
        {
            Some(*direction)
        }
        _ => None,
    };
    if let (Some(direction), RankKind::RowNumber, (1, 1)) = (time_order, kind, (first, last)) {
        let one = Expression::Constant(Value::Integer(1));
        let mut columns: Vec<_> = (0..rank).map(Expression::Column).collect();
        columns.push(one);
        for (_, expression) in &mut items {
            *expression = expression.over(&columns);
        }
        return Ok(project(deduplicated(input, partition, direction, window), items));
    }
    let is_used = items.iter().any(|(_, expression)| expression.columns().contains(&rank));
    let mut columns = input.columns.clone();
    if is_used {
        columns.push(field("", DataType::BigInt));
    }
    let key = partition_columns(&partition);
    let relation = Relation {
        columns,
        event_time: if window.is_some() { input.event_time } else { None },
        window,
        changes: if window.is_some() { input.changes } else { Changes::Retract },
        // Partition and rank name a row where the rank is given.
        upsert_key: key.filter(|_| is_used && kind == RankKind::RowNumber).map(|mut key| {
            key.push(rank);
            key
        }),
        operator: Operator::TopN(Box::new(TopN {
            input,
            partition,
            order,
            rank: kind,
            range: (first, last),
            rank_column: if is_used { RankColumn::Appended } else { RankColumn::Left },
            window,
        })),
    };
    Ok(project(relation, items))
}

/// A Top-N gives no rank that nobody reads: as in Flink, fewer rows change then.
pub(super) fn without_unused_rank(
    mut relation: Relation,
    items: &[(Field, Expression)],
) -> Relation {
    if let Operator::TopN(top) = &mut relation.operator
        && top.rank_column == RankColumn::Appended
    {
        let rank = top.input.columns.len();
        if !items.iter().any(|(_, expression)| expression.columns().contains(&rank)) {
            top.rank_column = RankColumn::Left;
            relation.columns.truncate(rank);
            relation.upsert_key = None;
        }
    }
    relation
}

fn deduplicated(
    input: Relation,
    keys: Vec<Key>,
    direction: Direction,
    window: Option<WindowColumns>,
) -> Relation {
    let time = input.event_time.unwrap_or_default();
    let keep = match direction {
        Direction::Ascending => Keep::First,
        Direction::Descending => Keep::Last,
    };
    // The first row by event time is only known once the watermark has passed it; the last one is
    // replaced as later ones come.
    let changes = match (keep, window) {
        (Keep::First, _) | (_, Some(_)) => input.changes,
        (Keep::Last, None) => Changes::Retract,
    };
    Relation {
        columns: input.columns.clone(),
        event_time: input.event_time,
        window,
        changes,
        upsert_key: partition_columns(&keys),
        operator: Operator::Deduplicate(Box::new(Deduplicate { input, keys, time, keep, window })),
    }
}

/// The columns that keys are, when all are columns.
fn partition_columns(keys: &[Key]) -> Option<Vec<usize>> {
    keys.iter()
        .map(|key| match key.expression {
            Expression::Column(column) => Some(column),
            _ => None,
        })
        .collect()
}

/// The input's window when both of its columns are among the keys.
fn window_of(input: &Relation, partition: &[Key]) -> Option<WindowColumns> {
    let has =
        |column: usize| partition.iter().any(|key| key.expression == Expression::Column(column));
    input.window.filter(|window| has(window.start) && has(window.end))
}

/// The refusal of a rank that nothing bounds.
pub(super) fn needs_bound(name: &str, at: sqlparser::tokenizer::Location) -> Fault {
    let subject = format!("{name} that is not ordered by event time");
    let missing =
        format!("a bound: SELECT … FROM (SELECT …, {name}() OVER (…) AS n …) WHERE n <= 3");
    Fault::new(at, SqlErrorReason::Missing { subject, missing })
}
