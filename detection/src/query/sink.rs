//! What a rule does with its rows.

use sqlparser::ast::Ident;
use sqlparser::tokenizer::{Location, Span};

use crate::expression::typed::type_name;
use crate::expression::{Expression, Typed};
use crate::plan::Rule;
use crate::program::Catalog;
use crate::query::bound::{HIDDEN, field, project};
use crate::query::source::Environment;
use crate::query::{body, select};
use crate::relation::{Changes, Field, JoinMethod, Operator, Relation, Sink, WindowName};
use crate::sql::error::{Fault, Position, SqlErrorReason};
use crate::sql::statement::{ColumnKind, DeclaredColumn, Insert};
use crate::table::{Table, TableId, unknown_column};
use crate::value::{Column, Value};

/// Compiles `INSERT INTO target [(columns)] query`.
pub(crate) fn compile(insert: &Insert, target: &Table, catalog: &Catalog) -> Result<Rule, Fault> {
    let at = insert.target.span.start;
    let parsed = body::select_of(&insert.query.body);
    let at = parsed.map_or(at, |select| select.select_token.0.span.start);
    let bound = body::query(&insert.query, &Environment::new(catalog), at)?;
    if let Some(fault) = bound.ranked.as_ref().and_then(|ranked| ranked.unbounded.clone()) {
        return Err(fault);
    }
    let places: Vec<Location> = parsed.map_or_else(Vec::new, |select| {
        select.projection.iter().map(|item| select::item_place(item, at)).collect()
    });
    let wanted = wanted(insert, target)?;
    let relation = fit(bound.relation, target, &wanted, &places, at)?;
    if let Some((option, at)) = target.changes_at()
        && !relation.is_of_windows()
    {
        return Err(immutable(option, at));
    }
    let mut sources = Vec::new();
    collect_sources(&relation, &mut sources);
    let Some(topic) = target.topic() else {
        let what = format!("inserting into table {}, which has a 'connector',", target.name());
        return Err(Fault::new(
            insert.target.span.start,
            SqlErrorReason::unsupported(what, "topics"),
        ));
    };
    let sink = labelled(relation, target, catalog);
    Ok(Rule::new((target, topic), sources, sink))
}

/// The columns that `CREATE TABLE target AS query` gives the target.
pub(crate) fn columns(insert: &Insert, catalog: &Catalog) -> Result<Vec<DeclaredColumn>, Fault> {
    let at = insert.target.span.start;
    let parsed = body::select_of(&insert.query.body);
    let at = parsed.map_or(at, |select| select.select_token.0.span.start);
    let bound = body::query(&insert.query, &Environment::new(catalog), at)?;
    let visible = bound.relation.columns.into_iter().filter(|field| *field.name != *HIDDEN);
    let columns = visible.map(|Field { name, data_type }| DeclaredColumn {
        name: Ident::with_span(Span::new(at, at), &*name),
        kind: ColumnKind::Physical(data_type),
    });
    Ok(columns.collect())
}

fn immutable(option: &str, at: Position) -> Fault {
    let found = "on a rule whose results may not change";
    let expected = "a rule whose results are those of a TUMBLE, HOP or CUMULATE aggregate";
    let subject = format!("option '{option}'");
    Fault::new(at, SqlErrorReason::mismatch(subject, found, expected))
}

/// Per column of the target which column of the query it takes; none takes NULL.
fn wanted(insert: &Insert, target: &Table) -> Result<Vec<Option<usize>>, Fault> {
    let columns = target.schema().columns();
    if insert.columns.is_empty() {
        return Ok((0..columns.len()).map(Some).collect());
    }
    let mut wanted = vec![None; columns.len()];
    for (place, name) in insert.columns.iter().enumerate() {
        let index = target.schema().index_of(&name.value).ok_or_else(|| {
            let reason = unknown_column(&name.value, &insert.target, target.schema());
            Fault::new(name.span.start, reason)
        })?;
        if let Some(slot) = wanted.get_mut(index) {
            *slot = Some(place);
        }
    }
    Ok(wanted)
}

/// The query's columns in the target's order and types.
fn fit(
    relation: Relation,
    target: &Table,
    wanted: &[Option<usize>],
    places: &[Location],
    at: Location,
) -> Result<Relation, Fault> {
    let name = target.name();
    let visible: Vec<usize> = relation
        .columns
        .iter()
        .enumerate()
        .filter(|(_, field)| *field.name != *HIDDEN)
        .map(|(index, _)| index)
        .collect();
    let expected = wanted.iter().flatten().count();
    if visible.len() != expected {
        let subject = format!("the number of columns inserted into table {name}");
        let at = places.get(expected).copied().unwrap_or(at);
        let reason = SqlErrorReason::mismatch(subject, visible.len(), expected);
        return Err(Fault::new(at, reason));
    }
    let mut items = Vec::with_capacity(wanted.len());
    for (column, place) in target.schema().columns().iter().zip(wanted) {
        let typed = match place.and_then(|place| visible.get(place)) {
            Some(index) => source_of(&relation, *index),
            None => Typed { expression: Expression::Constant(Value::Null), data_type: None },
        };
        let expression = typed.widen_to(column.data_type()).map_err(|typed| {
            let subject = format!("the value for column {} of table {name}", column.name());
            let found = type_name(typed.data_type.as_ref());
            let at = place.and_then(|place| places.get(place).copied()).unwrap_or(at);
            Fault::new(at, SqlErrorReason::mismatch(subject, found, column.data_type()))
        })?;
        items.push((target_field(column), expression));
    }
    Ok(onto(relation, items))
}

fn target_field(column: &Column) -> Field {
    field(column.name(), column.data_type().clone())
}

/// A column of the query; a bare NULL of SELECT fits every type.
fn source_of(relation: &Relation, index: usize) -> Typed {
    let null = Expression::Constant(Value::Null);
    let is_null = matches!(&relation.operator, Operator::Project { expressions, .. }
        if expressions.get(index) == Some(&null));
    if is_null {
        return Typed { expression: null, data_type: None };
    }
    let data_type = relation.columns.get(index).map(|field| field.data_type.clone());
    Typed { expression: Expression::Column(index), data_type }
}

/// A projection over a relation; over another projection both become one.
fn onto(relation: Relation, items: Vec<(Field, Expression)>) -> Relation {
    match relation.operator {
        Operator::Project { input, expressions } => {
            let items = items.into_iter().map(|(field, one)| (field, one.over(&expressions)));
            project(*input, items.collect())
        }
        operator => project(Relation { operator, ..relation }, items),
    }
}

fn collect_sources(relation: &Relation, sources: &mut Vec<TableId>) {
    match &relation.operator {
        Operator::Scan(table) => {
            if !sources.contains(table) {
                sources.push(*table);
            }
        }
        Operator::Filter { input, .. }
        | Operator::Project { input, .. }
        | Operator::Window { input, .. } => collect_sources(input, sources),
        Operator::Union(inputs) => {
            inputs.iter().for_each(|input| collect_sources(input, sources));
        }
        Operator::WindowAggregate(one) => collect_sources(&one.input, sources),
        Operator::GroupAggregate(one) => collect_sources(&one.input, sources),
        Operator::Over(one) => collect_sources(&one.input, sources),
        Operator::Deduplicate(one) => collect_sources(&one.input, sources),
        Operator::TopN(one) => collect_sources(&one.input, sources),
        Operator::Match(one) => collect_sources(&one.input, sources),
        Operator::Unnest(one) => collect_sources(&one.input, sources),
        Operator::Join(one) => {
            collect_sources(&one.left, sources);
            collect_sources(&one.right, sources);
        }
    }
}

/// Names key, window and event time of results, if need be by columns behind the target's.
fn labelled(relation: Relation, target: &Table, catalog: &Catalog) -> Sink {
    let width = relation.columns.len();
    let declared = target.alert_key().or_else(|| target.key_index());
    let primary = (!target.primary_key().is_empty()).then(|| target.primary_key().to_vec());
    let (input, mut items) = match relation.operator {
        Operator::Project { input, expressions } => {
            (*input, relation.columns.into_iter().zip(expressions).collect::<Vec<_>>())
        }
        operator => {
            let items = relation.columns.iter().cloned().enumerate();
            let items = items.map(|(index, field)| (field, Expression::Column(index))).collect();
            (Relation { operator, ..relation }, items)
        }
    };
    let mut place = |column: usize| {
        let wanted = Expression::Column(column);
        let known = items.iter().position(|(_, expression)| *expression == wanted);
        known.unwrap_or_else(|| {
            if let Some(hidden) = input.columns.get(column) {
                items.push((field(HIDDEN, hidden.data_type.clone()), wanted));
            }
            items.len() - 1
        })
    };
    let window = match (target.alert_window(), input.window) {
        (Some(column), _) => WindowName::Column(column),
        (None, Some(window)) => WindowName::End(place(window.end)),
        (None, None) if input.changes == Changes::Retract => WindowName::Whole,
        (None, None) => WindowName::Evidence,
    };
    let natural = input.upsert_key.clone().map(|key| {
        let window = input.window;
        let is_window =
            |column: usize| window.is_some_and(|one| column == one.start || column == one.end);
        key.into_iter().filter(|column| !is_window(*column)).collect::<Vec<_>>()
    });
    let key = match (declared, primary, natural.or_else(|| record_key(&input, catalog))) {
        (Some(column), _, _) => vec![column],
        (None, Some(columns), _) => columns,
        (None, None, Some(columns)) => columns.into_iter().map(&mut place).collect(),
        (None, None, None) => Vec::new(),
    };
    let event_time = input.event_time.map(&mut place);
    Sink { relation: project(input, items), width, key, window, event_time }
}

/// The column that is the key of a source's records, where rows only passed filters; behind a file
/// also what tells the rows apart that one row found there.
fn record_key(relation: &Relation, catalog: &Catalog) -> Option<Vec<usize>> {
    match &relation.operator {
        Operator::Scan(table) => catalog.table(*table)?.key_index().map(|column| vec![column]),
        Operator::Filter { input, .. } => record_key(input, catalog),
        Operator::Join(join) if matches!(join.method, JoinMethod::File { .. }) => {
            let left = join.left.upsert_key.clone();
            let left = left.or_else(|| record_key(&join.left, catalog)).unwrap_or_default();
            let key: Vec<_> = left.into_iter().chain(join.among_matches()).collect();
            (!key.is_empty()).then_some(key)
        }
        // Of rows found in a file whatever they have a part in tells them apart.
        Operator::Project { input, expressions } if looks_in_file(input) => {
            let key = record_key(input, catalog)?;
            let has = |expression: &Expression| {
                expression.columns().iter().any(|column| key.contains(column))
            };
            let places = (0..).zip(expressions).filter(|(_, expression)| has(expression));
            let places: Vec<_> = places.map(|(place, _)| place).collect();
            (!places.is_empty()).then_some(places)
        }
        Operator::Project { .. }
        | Operator::Union(_)
        | Operator::Window { .. }
        | Operator::WindowAggregate(_)
        | Operator::GroupAggregate(_)
        | Operator::Over(_)
        | Operator::Deduplicate(_)
        | Operator::TopN(_)
        | Operator::Join(_)
        | Operator::Match(_)
        | Operator::Unnest(_) => None,
    }
}

/// Whether rows were looked up in a file and then only passed filters and projections.
fn looks_in_file(relation: &Relation) -> bool {
    match &relation.operator {
        Operator::Join(join) => matches!(join.method, JoinMethod::File { .. }),
        Operator::Filter { input, .. } | Operator::Project { input, .. } => looks_in_file(input),
        Operator::Scan(_)
        | Operator::Union(_)
        | Operator::Window { .. }
        | Operator::WindowAggregate(_)
        | Operator::GroupAggregate(_)
        | Operator::Over(_)
        | Operator::Deduplicate(_)
        | Operator::TopN(_)
        | Operator::Match(_)
        | Operator::Unnest(_) => false,
    }
}
