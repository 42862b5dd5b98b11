//! Queries: SELECT, UNION ALL, WITH.

use sqlparser::ast::{Query, Select, SetExpr, SetOperator, SetQuantifier, Spanned};
use sqlparser::tokenizer::Location;

use crate::expression::source_text::quoted;
use crate::expression::typed::common;
use crate::query::bound::{Bound, cast_all};
use crate::query::select;
use crate::query::source::Environment;
use crate::relation::{Changes, Field, GroupAggregate, Key, Operator, Relation};
use crate::sql::error::{Fault, SqlErrorReason};

const QUERIES: &str = "SELECT … FROM … [WHERE …] [GROUP BY …] [HAVING …], UNION ALL and WITH";

/// Compiles a query; `at` is its place.
pub(super) fn query<'a>(
    query: &'a Query,
    environment: &Environment<'a>,
    at: Location,
) -> Result<Bound, Fault> {
    let Query {
        with,
        body,
        order_by,
        limit_clause,
        fetch,
        locks,
        for_clause,
        settings,
        format_clause,
        pipe_operators,
    } = query;
    let clause = [
        (order_by.is_some(), "ORDER BY"),
        (limit_clause.is_some() || fetch.is_some(), "LIMIT"),
        (!locks.is_empty() || for_clause.is_some(), "FOR after a query"),
        (settings.is_some() || format_clause.is_some(), "SETTINGS or FORMAT"),
        (!pipe_operators.is_empty(), "|>"),
    ]
    .into_iter()
    .find_map(|(is_there, name)| is_there.then_some(name));
    if let Some(clause) = clause {
        return Err(Fault::new(at, SqlErrorReason::unsupported(clause, QUERIES)));
    }
    let mut environment = environment.clone();
    if let Some(with) = with {
        if with.recursive {
            let reason = SqlErrorReason::unsupported("WITH RECURSIVE", "WITH");
            return Err(Fault::new(at, reason));
        }
        for cte in &with.cte_tables {
            let columns = &cte.alias.columns;
            if let Some(column) = columns.first() {
                let reason = SqlErrorReason::unsupported("names of columns in WITH", "AS names");
                return Err(Fault::new(column.name.span.start, reason));
            }
            environment.add_cte(&cte.alias.name, &[], &cte.query);
        }
    }
    set(body, &environment, at)
}

fn set<'a>(body: &'a SetExpr, environment: &Environment<'a>, at: Location) -> Result<Bound, Fault> {
    match body {
        SetExpr::Select(parsed) => select::compile(parsed, environment),
        SetExpr::Query(inner) => query(inner, &environment.deeper(at)?, at),
        SetExpr::SetOperation { op: SetOperator::Union, set_quantifier, left, right } => {
            let is_all = match set_quantifier {
                SetQuantifier::All => true,
                SetQuantifier::None | SetQuantifier::Distinct => false,
                SetQuantifier::ByName
                | SetQuantifier::AllByName
                | SetQuantifier::DistinctByName => {
                    let reason = SqlErrorReason::unsupported("UNION BY NAME", QUERIES);
                    return Err(Fault::new(at, reason));
                }
            };
            let inner = environment.deeper(at)?;
            let left = set(left, &inner, at)?;
            let right_at = select_of(right).map_or(at, |select| select.select_token.0.span.start);
            let right = set(right, &inner, right_at)?;
            let bound = union(left, right.relation, right_at)?;
            Ok(if is_all { bound } else { once(bound) })
        }
        other => {
            let start = other.span().start;
            let at = if start.line == 0 { at } else { start };
            Err(Fault::new(at, SqlErrorReason::unsupported(quoted(other), QUERIES)))
        }
    }
}

/// The SELECT that a query is, when it is one.
pub(super) fn select_of(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => select_of(&query.body),
        SetExpr::SetOperation { left, .. } => select_of(left),
        _ => None,
    }
}

fn union(left: Bound, right: Relation, at: Location) -> Result<Bound, Fault> {
    let (first, second) = (&left.relation.columns, &right.columns);
    if first.len() != second.len() {
        let subject = "the number of columns of this side of UNION ALL";
        let reason = SqlErrorReason::mismatch(subject, second.len(), first.len());
        return Err(Fault::new(at, reason));
    }
    let mut columns = Vec::with_capacity(first.len());
    for (one, other) in first.iter().zip(second) {
        let meeting = common(Some(&one.data_type), Some(&other.data_type)).flatten();
        let data_type = meeting.ok_or_else(|| {
            let subject = format!("column {} of this side of UNION ALL", other.name);
            let reason = SqlErrorReason::mismatch(subject, &other.data_type, &one.data_type);
            Fault::new(at, reason)
        })?;
        columns.push(Field { name: one.name.clone(), data_type });
    }
    let qualifiers = left.qualifiers.clone();
    let inputs = vec![cast_all(left.relation, &columns), cast_all(right, &columns)];
    let shared = |column: fn(&Relation) -> Option<usize>| {
        let mut found = inputs.iter().map(column);
        let first = found.next().flatten();
        if found.all(|other| other == first) { first } else { None }
    };
    let event_time = shared(|input| input.event_time);
    let changes = inputs.iter().map(|input| input.changes).max().unwrap_or(Changes::Append);
    let window = match inputs.as_slice() {
        [first, rest @ ..] if rest.iter().all(|input| input.window == first.window) => first.window,
        _ => None,
    };
    let relation = Relation {
        columns,
        event_time,
        window,
        changes,
        upsert_key: None,
        operator: Operator::Union(inputs),
    };
    Ok(Bound { relation, qualifiers, ranked: None, window_row: None })
}

/// Each distinct row once.
pub(super) fn once(bound: Bound) -> Bound {
    let input = bound.relation.clone();
    let keys = input.columns.iter().enumerate().map(|(index, field)| Key {
        expression: crate::expression::Expression::Column(index),
        data_type: field.data_type.clone(),
    });
    let keys: Vec<Key> = keys.collect();
    let relation = Relation {
        columns: input.columns.clone(),
        event_time: None,
        window: None,
        changes: input.changes,
        upsert_key: Some((0..keys.len()).collect()),
        operator: Operator::GroupAggregate(Box::new(GroupAggregate {
            input,
            keys,
            aggregates: Vec::new(),
        })),
    };
    bound.over(relation)
}
