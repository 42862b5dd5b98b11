//! The clauses of SELECT and the rule they make.

use std::sync::Arc;

use sqlparser::ast::{
    Expr, GroupByExpr, Ident, Query, Select, SelectFlavor, SelectItem, SetExpr, Spanned,
    WildcardAdditionalOptions,
};
use sqlparser::tokenizer::Location;

use crate::expression::source_text::{place, quoted};
use crate::expression::typed::type_name;
use crate::expression::{Compiler, Expression, Scope, TableScope, Typed};
use crate::plan::{FilterPlan, KeyLabel, Operator, Rule, TumblePlan, WindowLabel};
use crate::program::Catalog;
use crate::query::grouping::GroupScope;
use crate::query::source::{self, Source};
use crate::sql::error::{Fault, SqlErrorReason};
use crate::sql::statement::Insert;
use crate::table::Table;

const QUERIES: &str = "SELECT … FROM … [WHERE …] [GROUP BY …] [HAVING …]";

/// Compiles `INSERT INTO target query`.
pub(crate) fn compile(insert: &Insert, target: &Table, catalog: &Catalog) -> Result<Rule, Fault> {
    let at = insert.target.span.start;
    let select = plain_select(&insert.query, at)?;
    let at = select.select_token.0.span.start;
    if let Some(clause) = other_clause(select) {
        return Err(Fault::new(at, SqlErrorReason::unsupported(clause, QUERIES)));
    }
    let source = source::compile(&select.from, catalog, at)?;
    let query = QueryCompiler { select, source, target, at };
    let operator = query.operator()?;
    let (group_key, window) = match &operator {
        Operator::Tumble(_) => (KeyLabel::Group, WindowLabel::End),
        Operator::Filter(_) => (
            query.source.table.key_index().map_or(KeyLabel::None, KeyLabel::Source),
            WindowLabel::Evidence,
        ),
    };
    let key = target.alert_key().or_else(|| target.key_index());
    Ok(Rule {
        name: Arc::clone(target.name()),
        source: query.source.id,
        topic: target.topic().clone(),
        severity: target.severity(),
        schema: target.schema().clone(),
        operator,
        key: key.map_or(group_key, KeyLabel::Result),
        window: target.alert_window().map_or(window, WindowLabel::Result),
    })
}

struct QueryCompiler<'a> {
    select: &'a Select,
    source: Source<'a>,
    target: &'a Table,
    at: Location,
}

impl QueryCompiler<'_> {
    fn operator(&self) -> Result<Operator, Fault> {
        let mut rows =
            TableScope { table: self.source.name.clone(), schema: self.source.table.schema() };
        let predicate = self.condition("WHERE", self.select.selection.as_ref(), &mut rows)?;
        let Some(size) = self.source.window else {
            self.refuse_groups()?;
            let projection = self.projection(&mut rows)?;
            return Ok(Operator::Filter(FilterPlan { predicate, projection }));
        };
        let mut groups = GroupScope::compile(self.select, rows, self.at)?;
        let projection = self.projection(&mut groups)?;
        let having = self.condition("HAVING", self.select.having.as_ref(), &mut groups)?;
        let (keys, aggregates) = groups.finish();
        Ok(Operator::Tumble(TumblePlan { size, predicate, keys, aggregates, having, projection }))
    }

    fn condition(
        &self,
        clause: &str,
        condition: Option<&Expr>,
        scope: &mut impl Scope,
    ) -> Result<Option<Expression>, Fault> {
        let subject = format!("the condition of {clause}");
        condition
            .map(|condition| Compiler::new(scope, self.at).condition(&subject, condition))
            .transpose()
    }

    fn refuse_groups(&self) -> Result<(), Fault> {
        let at = match &self.select.group_by {
            GroupByExpr::All(_) => self.at,
            GroupByExpr::Expressions(keys, modifiers) => {
                match keys.first().or(self.select.having.as_ref()) {
                    Some(first) => place(first, self.at),
                    None if modifiers.is_empty() => return Ok(()),
                    None => self.at,
                }
            }
        };
        let supported = "GROUP BY over FROM TABLE(TUMBLE(…))";
        let reason = SqlErrorReason::unsupported("GROUP BY or HAVING without windows", supported);
        Err(Fault::new(at, reason))
    }

    /// Compiles the items of SELECT and fits them to the columns of the target, by position.
    fn projection(&self, scope: &mut impl Scope) -> Result<Vec<Expression>, Fault> {
        let mut items = Vec::new();
        for item in &self.select.projection {
            match item {
                SelectItem::UnnamedExpr(sql) | SelectItem::ExprWithAlias { expr: sql, .. } => {
                    let typed = Compiler::new(scope, self.at).compile(sql)?;
                    items.push((place(sql, self.at), typed));
                }
                SelectItem::Wildcard(options)
                    if *options == WildcardAdditionalOptions::default() =>
                {
                    for column in self.source.table.schema().columns() {
                        let at = options.wildcard_token.0.span;
                        let name = Ident::with_span(at, &**column.name());
                        items.push((at.start, scope.column(&name)?));
                    }
                }
                other => {
                    let at = other.span().start;
                    let supported = "expressions with or without an alias, and *";
                    let reason = SqlErrorReason::unsupported(quoted(other), supported);
                    return Err(Fault::new(at, reason));
                }
            }
        }
        self.fit(items)
    }

    fn fit(&self, items: Vec<(Location, Typed)>) -> Result<Vec<Expression>, Fault> {
        let columns = self.target.schema().columns();
        let name = self.target.name();
        if items.len() != columns.len() {
            let subject = format!("the number of columns inserted into table {name}");
            let at = items.get(columns.len()).map_or(self.at, |(at, _)| *at);
            let reason = SqlErrorReason::mismatch(subject, items.len(), columns.len());
            return Err(Fault::new(at, reason));
        }
        let fitted = items.into_iter().zip(columns).map(|((at, typed), column)| {
            typed.widen_to(column.data_type()).map_err(|typed| {
                let subject = format!("the value for column {} of table {name}", column.name());
                let found = type_name(typed.data_type);
                Fault::new(at, SqlErrorReason::mismatch(subject, found, column.data_type()))
            })
        });
        fitted.collect()
    }
}

/// The SELECT of a query that is nothing else. Destructured, so that a clause `sqlparser` learns
/// breaks the build instead of passing unseen.
fn plain_select(query: &Query, at: Location) -> Result<&Select, Fault> {
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
        (with.is_some(), "WITH before a query"),
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
    match &**body {
        SetExpr::Select(select) => Ok(select),
        other => {
            let start = other.span().start;
            let at = if start.line == 0 { at } else { start };
            Err(Fault::new(at, SqlErrorReason::unsupported(quoted(other), QUERIES)))
        }
    }
}

/// The first clause of a SELECT that rules do not have.
fn other_clause(select: &Select) -> Option<&'static str> {
    let Select {
        select_token: _,
        optimizer_hints,
        distinct,
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
        named_window,
        qualify,
        window_before_qualify: _,
        value_table_mode,
        flavor,
    } = select;
    [
        (distinct.is_some(), "SELECT DISTINCT"),
        (!named_window.is_empty(), "WINDOW"),
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
