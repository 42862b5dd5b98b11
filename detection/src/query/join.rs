//! Joins and what bounds their state.

use sqlparser::ast::{Expr, Join as ParsedJoin, JoinConstraint, JoinOperator, ObjectNamePart};
use sqlparser::tokenizer::Location;

use crate::expression::source_text::{place, quoted};
use crate::expression::tree::Comparison;
use crate::expression::{Columns, Compiler, Expression};
use crate::program::Catalog;
use crate::query::arrival;
use crate::query::bound::{Bound, changes};
use crate::query::conjunct::{Bounds, join, split};
use crate::query::source::{Environment, Versioned, versioned};
use crate::query::unnest;
use crate::relation::{Changes, Join, JoinKind, JoinMethod, Operator, Relation, WindowColumns};
use crate::sql::error::{Fault, SqlErrorReason};
use crate::table::Table;

const JOINS: &str = "[INNER | LEFT | RIGHT | FULL] JOIN … ON left.key = right.key [AND …]";

/// Compiles one join of FROM onto what stands before it.
pub(super) fn compile<'a>(
    left: Bound,
    parsed: &'a ParsedJoin,
    environment: &Environment<'a>,
    at: Location,
) -> Result<Bound, Fault> {
    if let Some(call) = unnest::call(&parsed.relation) {
        return unnest::join(left, call, unnest::when_empty(&parsed.join_operator, at)?, at);
    }
    let Versioned { bound: right, as_of } = versioned(&parsed.relation, environment, at)?;
    let (kind, constraint) = kind(&parsed.join_operator, at)?;
    let mut qualifiers = left.qualifiers.clone();
    qualifiers.extend(right.qualifiers.clone());
    let mut columns = left.relation.columns.clone();
    columns.extend(right.relation.columns.clone());
    let names = left.scope().0.into_iter().chain(right.scope().0).collect();
    let mut sides =
        Sides { width: left.relation.columns.len(), keys: Vec::new(), rest: Vec::new() };
    sides.conditions(constraint, Columns(names), &left, &right, at)?;
    if kind == JoinKind::Semi || kind == JoinKind::Anti {
        qualifiers.truncate(sides.width);
        columns.truncate(sides.width);
    }
    let window_row = left.window_row;
    let method = match as_of {
        Some(as_of) => {
            let at = condition_at(constraint, at);
            sides.versions(&left, &right, (as_of, kind), environment.catalog, at)?
        }
        None => sides.method(&left, &right),
    };
    if sides.keys.is_empty() && !matches!(method, JoinMethod::Window { .. }) {
        let subject = "the condition of a join".to_owned();
        let missing = "an equality between columns of both sides: without one every row meets \
                       every other";
        let reason = SqlErrorReason::Missing { subject, missing: missing.to_owned() };
        return Err(Fault::new(at, reason));
    }
    let relation = joined(left.relation, right.relation, kind, sides, method, columns);
    Ok(Bound { relation, qualifiers, ranked: None, window_row })
}

/// Where the condition of a join stands.
fn condition_at(constraint: &JoinConstraint, at: Location) -> Location {
    match constraint {
        JoinConstraint::On(sql) => place(sql, at),
        JoinConstraint::Using(_) | JoinConstraint::Natural | JoinConstraint::None => at,
    }
}

fn joined(
    left: Relation,
    right: Relation,
    kind: JoinKind,
    sides: Sides,
    method: JoinMethod,
    columns: Vec<crate::relation::Field>,
) -> Relation {
    let is_bounded = !matches!(method, JoinMethod::Regular);
    let all = match (&method, kind) {
        // Rows without a partner are taken back once one comes.
        (JoinMethod::Regular, kind) if kind != JoinKind::Inner && kind != JoinKind::Semi => {
            Changes::Retract
        }
        _ => changes(&left, &right),
    };
    // The other side only brings versions, whose changes are not the rows'.
    let is_versioned = match &method {
        JoinMethod::Temporal { .. }
        | JoinMethod::Lookup { .. }
        | JoinMethod::File { .. }
        | JoinMethod::Latest { .. } => true,
        JoinMethod::Regular | JoinMethod::Interval { .. } | JoinMethod::Window { .. } => false,
    };
    let (event_time, window) = (
        left.event_time,
        match &method {
            JoinMethod::Window { left, .. } => Some(*left),
            _ => None,
        },
    );
    let changes = if is_versioned { left.changes } else { all };
    let (keys, condition) = (sides.keys, join(sides.rest));
    let join = Join { left, right, kind, keys, condition, method };
    let upsert_key = join.left.upsert_key.clone().filter(|_| is_versioned);
    Relation {
        event_time: event_time.filter(|_| is_bounded),
        window,
        changes,
        upsert_key: upsert_key.map(|key| key.into_iter().chain(join.among_matches()).collect()),
        columns,
        operator: Operator::Join(Box::new(join)),
    }
}

fn kind(operator: &JoinOperator, at: Location) -> Result<(JoinKind, &JoinConstraint), Fault> {
    Ok(match operator {
        JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => {
            (JoinKind::Inner, constraint)
        }
        JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
            (JoinKind::Left, constraint)
        }
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
            (JoinKind::Right, constraint)
        }
        JoinOperator::FullOuter(constraint) => (JoinKind::Full, constraint),
        JoinOperator::Semi(constraint) | JoinOperator::LeftSemi(constraint) => {
            (JoinKind::Semi, constraint)
        }
        JoinOperator::Anti(constraint) | JoinOperator::LeftAnti(constraint) => {
            (JoinKind::Anti, constraint)
        }
        _ => return Err(Fault::new(at, SqlErrorReason::unsupported("this kind of join", JOINS))),
    })
}

/// The conditions of a join, taken apart.
struct Sides {
    /// How many columns the left side has.
    width: usize,
    keys: Vec<(Expression, Expression)>,
    rest: Vec<Expression>,
}

impl Sides {
    fn conditions(
        &mut self,
        constraint: &JoinConstraint,
        mut scope: Columns,
        left: &Bound,
        right: &Bound,
        at: Location,
    ) -> Result<(), Fault> {
        match constraint {
            JoinConstraint::On(sql) => {
                let mut compiler = Compiler::new(&mut scope, at);
                let condition = compiler.condition("the condition of ON", sql)?;
                for condition in split(condition) {
                    self.add(condition);
                }
                Ok(())
            }
            JoinConstraint::Using(names) => {
                for name in names {
                    let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else {
                        let reason = SqlErrorReason::unsupported(quoted(name), "a column's name");
                        return Err(Fault::new(at, reason));
                    };
                    let (left, right) =
                        (left.scope().find(None, name)?, right.scope().find(None, name)?);
                    self.keys.push((Expression::Column(left), Expression::Column(right)));
                }
                Ok(())
            }
            JoinConstraint::Natural | JoinConstraint::None => {
                Err(Fault::new(at, SqlErrorReason::unsupported("a join without ON", JOINS)))
            }
        }
    }

    /// An equality of one side with the other is a pair of keys.
    fn add(&mut self, condition: Expression) {
        let Expression::Compare(Comparison::Equal, pair) = &condition else {
            self.rest.push(condition);
            return;
        };
        let [first, second] = &**pair;
        let is_left = |one: &Expression| {
            let columns = one.columns();
            !columns.is_empty() && columns.iter().all(|column| *column < self.width)
        };
        let is_right = |one: &Expression| {
            let columns = one.columns();
            !columns.is_empty() && columns.iter().all(|column| *column >= self.width)
        };
        if is_left(first) && is_right(second) {
            self.keys.push((first.clone(), moved(second, self.width)));
        } else if is_right(first) && is_left(second) {
            self.keys.push((second.clone(), moved(first, self.width)));
        } else {
            self.rest.push(condition);
        }
    }

    /// What bounds the state; conditions that it stands for are taken out.
    fn method(&mut self, left: &Bound, right: &Bound) -> JoinMethod {
        let bounded = self.window(left, right);
        let bounded = bounded.or_else(|| self.interval(&left.relation, &right.relation));
        bounded.unwrap_or(JoinMethod::Regular)
    }

    /// As of a time: versions by event time, or a table that is looked up.
    fn versions(
        &mut self,
        left: &Bound,
        right: &Bound,
        (as_of, kind): (&Expr, JoinKind),
        catalog: &Catalog,
        at: Location,
    ) -> Result<JoinMethod, Fault> {
        let method = versions(left, right, as_of, catalog, at)?;
        let is_looked_up = !matches!(method, JoinMethod::Temporal { .. });
        if is_looked_up && !matches!(kind, JoinKind::Inner | JoinKind::Left) {
            let what = "FOR SYSTEM_TIME AS OF on the right side of this join";
            let at = place(as_of, at);
            return Err(Fault::new(at, SqlErrorReason::unsupported(what, "[INNER | LEFT] JOIN")));
        }
        if is_looked_up && left.relation.changes != Changes::Append {
            // What was found for a row is not kept, so that it could not be taken back.
            let what = "looking rows up that may be taken back";
            let supported = "FOR SYSTEM_TIME AS OF before the ROW_NUMBER, GROUP BY or outer join \
                             that takes rows back";
            return Err(Fault::new(place(as_of, at), SqlErrorReason::unsupported(what, supported)));
        }
        match &method {
            JoinMethod::File { .. } => self.keep_columns(|_| true),
            JoinMethod::Latest { .. } => self.keep_primary_key(&right.relation, at)?,
            JoinMethod::Temporal { .. }
            | JoinMethod::Lookup { .. }
            | JoinMethod::Regular
            | JoinMethod::Interval { .. }
            | JoinMethod::Window { .. } => {}
        }
        Ok(method)
    }

    /// Leaves the columns of the primary key of the right side as keys, each equal to something of
    /// the left side or to a constant.
    fn keep_primary_key(&mut self, right: &Relation, at: Location) -> Result<(), Fault> {
        let primary = right.upsert_key.as_deref().unwrap_or_default();
        for condition in std::mem::take(&mut self.rest) {
            match self.constant_key(&condition) {
                Some(key) if key_column(&key.1).is_some_and(|own| primary.contains(&own)) => {
                    self.keys.push(key);
                }
                Some(_) | None => self.rest.push(condition),
            }
        }
        self.keep_columns(|column| primary.contains(&column));
        let is_missing = |column: &&usize| {
            !self.keys.iter().any(|(_, right)| key_column(right) == Some(**column))
        };
        let missing = primary.iter().filter(is_missing);
        let missing = missing.filter_map(|column| right.columns.get(*column));
        let missing: Vec<_> = missing.map(|field| quoted(&field.name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let subject = "the condition of a join with the last row".to_owned();
        let missing = format!(
            "an equality with {} itself: each column of the primary key is equal to something of \
             the left side that fits its type, or to a constant",
            missing.join(" and ")
        );
        Err(Fault::new(at, SqlErrorReason::Missing { subject, missing }))
    }

    /// An equality of the right side with a constant, as a pair of keys.
    fn constant_key(&self, condition: &Expression) -> Option<(Expression, Expression)> {
        let Expression::Compare(Comparison::Equal, pair) = condition else { return None };
        let [first, second] = &**pair;
        let is_constant = |one: &Expression| one.is_total() && one.columns().is_empty();
        let (constant, other) = match (is_constant(first), is_constant(second)) {
            (true, false) => (first, second),
            (false, true) => (second, first),
            (true, true) | (false, false) => return None,
        };
        let is_right = other.columns().iter().all(|column| *column >= self.width);
        is_right.then(|| (constant.clone(), moved(other, self.width)))
    }

    /// Leaves only keys that are certain columns of the right side; what else is to be equal is
    /// asked of each pair.
    fn keep_columns(&mut self, is_kept: impl Fn(usize) -> bool) {
        let is_column =
            |(_, right): &(Expression, Expression)| key_column(right).is_some_and(&is_kept);
        let (columns, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.keys).into_iter().partition(is_column);
        self.keys = columns;
        for (left, right) in others {
            let most = right.columns().into_iter().max().map_or(0, |column| column + 1);
            let places = (0..most).map(|column| Expression::Column(self.width + column));
            let right = right.over(&places.collect::<Vec<_>>());
            self.rest.push(Expression::Compare(Comparison::Equal, Box::new([left, right])));
        }
    }

    /// Both sides' windows are equal: start with start and end with end, or whole windows.
    fn window(&mut self, left: &Bound, right: &Bound) -> Option<JoinMethod> {
        let windows = (left.relation.window?, right.relation.window?);
        let (left_window, right_window): (WindowColumns, WindowColumns) = windows;
        let pair =
            |left: usize, right: usize| (Expression::Column(left), Expression::Column(right));
        let starts = pair(left_window.start, right_window.start);
        let ends = pair(left_window.end, right_window.end);
        let rows = left.window_row.zip(right.window_row).map(|(left, right)| pair(left, right));
        let has = |wanted: &(Expression, Expression)| self.keys.contains(wanted);
        let is_whole = rows.as_ref().is_some_and(has);
        if !(is_whole || has(&starts) && has(&ends)) {
            return None;
        }
        self.keys.retain(|key| *key != starts && *key != ends && Some(key) != rows.as_ref());
        Some(JoinMethod::Window { left: left_window, right: right_window })
    }

    /// Event times of both sides are bounded by each other on both ends.
    fn interval(&mut self, left: &Relation, right: &Relation) -> Option<JoinMethod> {
        let (left_time, right_time) = (left.event_time?, right.event_time?);
        let of = |condition: &Expression| Bounds::of(condition, left_time, self.width + right_time);
        let mut bounds = self.rest.iter().filter_map(of).fold(Bounds::default(), Bounds::and);
        let key = (Expression::Column(left_time), Expression::Column(right_time));
        let is_equal = self.keys.contains(&key);
        if is_equal {
            bounds = bounds.and(Bounds { lower: Some(0), upper: Some(0) });
        }
        let (lower, upper) = (bounds.lower?, bounds.upper?);
        let width = self.width;
        self.rest
            .retain(|condition| Bounds::of(condition, left_time, width + right_time).is_none());
        self.keys.retain(|pair| *pair != key);
        Some(JoinMethod::Interval { left_time, right_time, lower, upper })
    }
}

/// An expression over the right side's columns alone, over its row.
fn moved(one: &Expression, width: usize) -> Expression {
    let columns = one.columns().into_iter().max().map_or(0, |column| column + 1);
    let places = (0..columns).map(|column| Expression::Column(column.saturating_sub(width)));
    one.over(&places.collect::<Vec<_>>())
}

/// The column that a key is, as it is or widened so that different values stay different.
fn key_column(key: &Expression) -> Option<usize> {
    match key {
        Expression::Column(column) => Some(*column),
        Expression::Cast(cast) if cast.keeps_apart() => match cast.input {
            Expression::Column(column) => Some(column),
            _ => None,
        },
        _ => None,
    }
}

/// `FOR SYSTEM_TIME AS OF left.time`: versions by event time, or a table that is looked up.
fn versions(
    left: &Bound,
    right: &Bound,
    as_of: &Expr,
    catalog: &Catalog,
    at: Location,
) -> Result<JoinMethod, Fault> {
    let at = place(as_of, at);
    let typed = Compiler::new(&mut left.scope(), at).compile(as_of)?;
    let unfit = |expected: &str| {
        let subject = "the time of FOR SYSTEM_TIME AS OF";
        Fault::new(at, SqlErrorReason::mismatch(subject, quoted(as_of), expected))
    };
    let time = match typed.expression {
        Expression::Column(column) => Some(column),
        _ => None,
    };
    let event_time = left.relation.event_time.filter(|event_time| time == Some(*event_time));
    let is_arrival = time.is_some_and(|time| arrival::is_of(&left.relation, time, catalog));
    if event_time.is_none() && !is_arrival {
        let expected = "the event-time column of the left side, or for a table without WATERMARK \
                        one of its arrival, METADATA FROM 'timestamp'";
        return Err(unfit(expected));
    }
    if let Operator::Scan(table) = right.relation.operator
        && catalog.table(table).is_some_and(|table| table.file().is_some())
    {
        return Ok(JoinMethod::File { table });
    }
    if right.relation.upsert_key.is_none() {
        let subject = "the right side of FOR SYSTEM_TIME AS OF".to_owned();
        let missing = "a PRIMARY KEY (…) NOT ENFORCED, by which its versions replace each other";
        let reason = SqlErrorReason::Missing { subject, missing: missing.to_owned() };
        return Err(Fault::new(at, reason));
    }
    match (right.relation.event_time, &right.relation.operator) {
        (Some(right_time), _) => {
            let left_time =
                event_time.ok_or_else(|| unfit("the event-time column of the left side"));
            left_time.map(|left_time| JoinMethod::Temporal { left_time, right_time })
        }
        (None, Operator::Scan(table)) => match catalog.table(*table).and_then(Table::store) {
            Some(_) => Ok(JoinMethod::Lookup { table: *table }),
            None => Ok(JoinMethod::Latest { table: *table }),
        },
        (None, _) => {
            let subject = "the right side of FOR SYSTEM_TIME AS OF".to_owned();
            let missing = "a WATERMARK, or to be a table itself".to_owned();
            Err(Fault::new(at, SqlErrorReason::Missing { subject, missing }))
        }
    }
}
