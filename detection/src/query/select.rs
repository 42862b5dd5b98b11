//! The clauses of SELECT.

use std::sync::Arc;

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, Spanned, WildcardAdditionalOptions,
};
use sqlparser::tokenizer::Location;

use crate::expression::source_text::{place, quoted};
use crate::expression::{Columns, Compiler, Expression, Scope, Typed};
use crate::query::bound::{Bound, HIDDEN, data_type, field, filter, project, window_row_type};
use crate::query::grouping::GroupScope;
use crate::query::over::{OverScope, Overed};
use crate::query::rank::{self, Ranked};
use crate::query::source::{self, Environment};
use crate::query::{conjunct, membership};
use crate::relation::{
    Changes, Field, GroupAggregate, Key, Operator, Relation, WindowAggregate, Windowing,
};
use crate::sql::error::{Fault, SqlErrorReason};

const QUERIES: &str = "SELECT … FROM … [WHERE …] [GROUP BY …] [HAVING …] [WINDOW …]";

/// A column of SELECT: its name, type and expression.
type Item = (Field, Expression);

/// Compiles one SELECT.
pub(super) fn compile<'a>(
    select: &'a Select,
    environment: &Environment<'a>,
) -> Result<Bound, Fault> {
    let at = select.select_token.0.span.start;
    if let Some(clause) = other_clause(select) {
        return Err(Fault::new(at, SqlErrorReason::unsupported(clause, QUERIES)));
    }
    let bound = source::compile(&select.from, environment, at)?;
    let (plain, asked) = select.selection.as_ref().map(membership::split).unwrap_or_default();
    let mut bound = rank::filter(bound.clone(), conditions(&plain, &mut bound.scope(), at)?)?;
    for one in asked {
        bound = membership::keep(bound, one, environment, at)?;
    }
    let query = SelectCompiler { select, at, scope: bound.scope() };
    let bound = if query.is_grouped() { query.grouped(bound)? } else { query.plain(bound)? };
    match &select.distinct {
        None | Some(Distinct::All) => Ok(bound),
        Some(Distinct::Distinct) => Ok(distinct(bound)),
        Some(Distinct::On(_)) => {
            Err(Fault::new(at, SqlErrorReason::unsupported("DISTINCT ON", "SELECT DISTINCT")))
        }
    }
}

/// The conditions of WHERE that ask no other query, as one.
fn conditions(
    plain: &[&Expr],
    scope: &mut Columns,
    at: Location,
) -> Result<Option<Expression>, Fault> {
    let compiled =
        plain.iter().map(|sql| Compiler::new(scope, at).condition("the condition of WHERE", sql));
    Ok(conjunct::join(compiled.collect::<Result<Vec<_>, _>>()?))
}

fn condition(
    clause: &str,
    condition: Option<&Expr>,
    scope: &mut impl Scope,
    at: Location,
) -> Result<Option<Expression>, Fault> {
    let subject = format!("the condition of {clause}");
    condition.map(|sql| Compiler::new(scope, at).condition(&subject, sql)).transpose()
}

struct SelectCompiler<'a> {
    select: &'a Select,
    at: Location,
    /// What `*` stands for, and names mean before GROUP BY.
    scope: Columns,
}

impl SelectCompiler<'_> {
    /// Whether rows are grouped: by GROUP BY, by HAVING, or by an aggregate in SELECT.
    fn is_grouped(&self) -> bool {
        let has_keys = match &self.select.group_by {
            GroupByExpr::All(_) => true,
            GroupByExpr::Expressions(keys, modifiers) => !keys.is_empty() || !modifiers.is_empty(),
        };
        let is_aggregate = |sql: &Expr| {
            let compiled = Compiler::new(&mut PlainScope(self.scope.clone()), self.at).compile(sql);
            compiled.is_err_and(|fault| fault.is_misplaced_aggregate())
        };
        has_keys
            || self.select.having.is_some()
            || self.select.projection.iter().any(|item| match item {
                SelectItem::UnnamedExpr(sql) | SelectItem::ExprWithAlias { expr: sql, .. } => {
                    is_aggregate(sql)
                }
                _ => false,
            })
    }

    fn grouped(&self, bound: Bound) -> Result<Bound, Fault> {
        let mut groups =
            GroupScope::compile(self.select, self.scope.clone(), bound.relation, self.at)?;
        let items = self.items(&mut groups)?;
        let having = condition("HAVING", self.select.having.as_ref(), &mut groups, self.at)?;
        let relation = groups.finish()?;
        let relation = match having {
            Some(having) => filter(relation, having),
            None => relation,
        };
        Ok(self.projected(relation, items))
    }

    fn plain(&self, bound: Bound) -> Result<Bound, Fault> {
        let input = bound.relation;
        let mut over = OverScope::new(self.scope.clone(), &input, self.select, self.at);
        let items = self.items(&mut over)?;
        match over.finish()? {
            Overed::Plain => Ok(self.projected(input, items)),
            Overed::Over(relation) => Ok(self.projected(*relation, items)),
            Overed::Ranked { partition, order, kind, relation } => {
                let rank = Expression::Column(input.columns.len());
                let column = items.iter().position(|(_, expression)| *expression == rank);
                let unbounded = relation.as_ref().err().cloned();
                // Stands in until a bound comes; refused when none does.
                let plain = match relation {
                    Ok(relation) => *relation,
                    Err(_) => padded(input.clone()),
                };
                let mut bound = self.projected(plain, items.clone());
                match (column, unbounded) {
                    (Some(column), unbounded) => {
                        let ranked =
                            Ranked { input, partition, order, kind, items, column, unbounded };
                        bound.ranked = Some(Box::new(ranked));
                        Ok(bound)
                    }
                    (None, Some(fault)) => Err(fault),
                    (None, None) => Ok(bound),
                }
            }
        }
    }

    /// The columns of SELECT over a relation; a whole window brings its start and end along.
    fn projected(&self, relation: Relation, mut items: Vec<Item>) -> Bound {
        let whole = relation.window.and_then(|window| {
            let columns = vec![Expression::Column(window.start), Expression::Column(window.end)];
            let row = Expression::Collect(columns);
            items.iter().position(|(field, expression)| {
                *expression == row && field.data_type == window_row_type()
            })
        });
        if let (Some(_), Some(window)) = (whole, relation.window) {
            for column in [window.start, window.end] {
                let is_there =
                    items.iter().any(|(_, expression)| *expression == Expression::Column(column));
                if let (false, Some(hidden)) = (is_there, relation.columns.get(column)) {
                    let hidden = field(HIDDEN, hidden.data_type.clone());
                    items.push((hidden, Expression::Column(column)));
                }
            }
        }
        let mut bound = Bound::named(project(relation, items), None);
        bound.window_row = whole;
        bound
    }

    fn items(&self, scope: &mut impl Scope) -> Result<Vec<Item>, Fault> {
        let mut items: Vec<Item> = Vec::new();
        for item in &self.select.projection {
            match item {
                SelectItem::UnnamedExpr(sql) => {
                    let typed = Compiler::new(scope, self.at).compile(sql)?;
                    let name = name_of(sql)
                        .map_or_else(|| format!("EXPR${}", items.len()), |name| name.value.clone());
                    items.push(named(&name, typed));
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    let typed = Compiler::new(scope, self.at).compile(expr)?;
                    items.push(named(&alias.value, typed));
                }
                SelectItem::Wildcard(options) if is_plain(options) => {
                    self.wildcard(None, options, scope, &mut items)?;
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) if is_plain(options) => {
                    let table = name.to_string();
                    self.wildcard(Some(&table), options, scope, &mut items)?;
                }
                other => {
                    let at = other.span().start;
                    let supported = "expressions with or without an alias, *, and table.*";
                    let reason = SqlErrorReason::unsupported(quoted(other), supported);
                    return Err(Fault::new(at, reason));
                }
            }
        }
        Ok(items)
    }

    fn wildcard(
        &self,
        table: Option<&str>,
        options: &WildcardAdditionalOptions,
        scope: &mut impl Scope,
        items: &mut Vec<Item>,
    ) -> Result<(), Fault> {
        let span = options.wildcard_token.0.span;
        for column in &self.scope.0 {
            if column.name.is_empty() || table.is_some() && column.qualifier.as_deref() != table {
                continue;
            }
            let qualifier = column.qualifier.as_deref().map(|name| Ident::with_span(span, name));
            let name = Ident::with_span(span, &*column.name);
            let typed = scope.column(qualifier.as_ref(), &name)?;
            items.push(named(&column.name, typed));
        }
        if items.is_empty() {
            let hint = crate::sql::error::Hint::new(
                table.unwrap_or_default(),
                self.scope.tables().into_iter(),
            );
            let name = table.unwrap_or_default().to_owned();
            return Err(Fault::new(span.start, SqlErrorReason::UnknownTable { name, hint }));
        }
        Ok(())
    }
}

/// Columns before GROUP BY, among which OVER is not looked into.
struct PlainScope(Columns);

impl Scope for PlainScope {
    fn whole(&mut self, sql: &Expr) -> Result<Option<Typed>, Fault> {
        let is_over = matches!(sql, Expr::Function(function) if function.over.is_some());
        Ok(is_over.then(|| Typed {
            expression: Expression::Constant(crate::value::Value::Null),
            data_type: None,
        }))
    }

    fn column(&mut self, qualifier: Option<&Ident>, name: &Ident) -> Result<Typed, Fault> {
        self.0.column(qualifier, name)
    }
}

fn is_plain(options: &WildcardAdditionalOptions) -> bool {
    *options == WildcardAdditionalOptions::default()
}

fn named(name: &str, typed: Typed) -> Item {
    let data_type = data_type(&typed);
    (Field { name: Arc::from(name), data_type }, typed.expression)
}

/// The name that a column of SELECT has by itself.
fn name_of(sql: &Expr) -> Option<&Ident> {
    match sql {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(parts) => parts.last(),
        Expr::Nested(inner) => name_of(inner),
        _ => None,
    }
}

/// The rows with a column behind them where a rank will stand.
fn padded(input: Relation) -> Relation {
    let mut items: Vec<Item> = input
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| (column.clone(), Expression::Column(index)))
        .collect();
    let null = Expression::Constant(crate::value::Value::Null);
    items.push((field(HIDDEN, crate::value::DataType::BigInt), null));
    project(input, items)
}

/// SELECT DISTINCT: a group per row; within windows when their columns are there.
fn distinct(bound: Bound) -> Bound {
    let input = bound.relation.clone();
    let all: Vec<usize> = (0..input.columns.len()).collect();
    let key = |column: &usize| {
        let data_type = input.columns.get(*column).map(|field| field.data_type.clone());
        let data_type = data_type.unwrap_or(crate::value::DataType::String);
        Key { expression: Expression::Column(*column), data_type }
    };
    if let (Some(window), Changes::Append) = (input.window, input.changes) {
        let rest: Vec<usize> = all
            .iter()
            .copied()
            .filter(|column| *column != window.start && *column != window.end)
            .collect();
        let keys: Vec<Key> = rest.iter().map(key).collect();
        let mut columns: Vec<Field> =
            rest.iter().filter_map(|column| input.columns.get(*column).cloned()).collect();
        let names = crate::query::window::COLUMNS;
        columns.extend(names.map(|name| field(name, crate::value::DataType::Timestamp)));
        let start = rest.len();
        let place = |column: usize| match rest.iter().position(|known| *known == column) {
            Some(index) => index,
            None if column == window.start => start,
            None => start + 1,
        };
        let items = all
            .iter()
            .zip(&input.columns)
            .map(|(column, field)| (field.clone(), Expression::Column(place(*column))))
            .collect();
        let aggregated = Relation {
            columns,
            event_time: Some(start + 2),
            window: Some(crate::relation::WindowColumns { start, end: start + 1 }),
            changes: Changes::Append,
            upsert_key: Some((0..start + 2).collect()),
            operator: Operator::WindowAggregate(Box::new(WindowAggregate {
                input,
                windowing: Windowing::Attached(window),
                keys,
                aggregates: Vec::new(),
            })),
        };
        return bound.over(project(aggregated, items));
    }
    let keys = all.iter().map(key).collect();
    let relation = Relation {
        columns: input.columns.clone(),
        event_time: None,
        window: None,
        changes: input.changes,
        upsert_key: Some(all),
        operator: Operator::GroupAggregate(Box::new(GroupAggregate {
            input,
            keys,
            aggregates: Vec::new(),
        })),
    };
    bound.over(relation)
}

/// The first clause of a SELECT that rules do not have. Destructured, so that a clause `sqlparser`
/// learns breaks the build instead of passing unseen.
fn other_clause(select: &Select) -> Option<&'static str> {
    let Select {
        select_token: _,
        optimizer_hints,
        distinct: _,
        select_modifiers,
        top,
        top_before_distinct: _,
        projection: _,
        exclude,
        into,
        from: _,
        lateral_views,
        prewhere,
        selection: _,
        connect_by,
        group_by: _,
        cluster_by,
        distribute_by,
        sort_by,
        having: _,
        named_window: _,
        qualify,
        window_before_qualify: _,
        value_table_mode,
        flavor,
    } = select;
    [
        (qualify.is_some(), "QUALIFY"),
        (top.is_some(), "TOP"),
        (into.is_some(), "INTO"),
        (exclude.is_some(), "EXCLUDE"),
        (!lateral_views.is_empty(), "LATERAL VIEW"),
        (prewhere.is_some(), "PREWHERE"),
        (!connect_by.is_empty(), "CONNECT BY"),
        (!cluster_by.is_empty(), "CLUSTER BY"),
        (!distribute_by.is_empty(), "DISTRIBUTE BY"),
        (!sort_by.is_empty(), "SORT BY"),
        (!optimizer_hints.is_empty() || select_modifiers.is_some(), "a hint after SELECT"),
        (value_table_mode.is_some(), "SELECT AS"),
        (*flavor != SelectFlavor::Standard, "FROM before SELECT"),
    ]
    .into_iter()
    .find_map(|(is_there, name)| is_there.then_some(name))
}

/// The place of an item, for errors about it.
pub(super) fn item_place(item: &SelectItem, at: Location) -> Location {
    match item {
        SelectItem::UnnamedExpr(sql) | SelectItem::ExprWithAlias { expr: sql, .. } => {
            place(sql, at)
        }
        other => {
            let start = other.span().start;
            if start.line == 0 { at } else { start }
        }
    }
}
