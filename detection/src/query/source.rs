//! What FROM names: tables, views, queries, windows and joins of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, Query, Spanned, TableAlias, TableFactor, TableVersion,
    TableWithJoins,
};
use sqlparser::tokenizer::Location;

use crate::expression::source_text::quoted;
use crate::program::Catalog;
use crate::query::bound::{Bound, field};
use crate::query::{body, join, pattern, unnest, window};
use crate::relation::{Changes, Field, Operator, Relation, WhenEmpty};
use crate::sql::error::{Fault, Hint, SqlErrorReason};
use crate::sql::statement::CreateView;
use crate::table::{Table, TableId};

/// What FROM takes, for error messages.
pub(super) const SOURCES: &str = "FROM with tables, views, (queries), TABLE(TUMBLE | HOP | \
                                  CUMULATE | SESSION(…)), joins of them and UNNEST(…)";

/// Deepest nesting of views and queries: compiling recurses.
const DEPTH_LIMIT: usize = 24;

/// What names of tables mean.
#[derive(Debug, Clone)]
pub(super) struct Environment<'a> {
    pub(super) catalog: &'a Catalog,
    /// Queries of WITH by name, each with the environment before it.
    ctes: BTreeMap<String, Arc<Cte<'a>>>,
    depth: usize,
}

#[derive(Debug)]
struct Cte<'a> {
    columns: &'a [Ident],
    query: &'a Query,
    environment: Environment<'a>,
}

impl<'a> Environment<'a> {
    pub(super) const fn new(catalog: &'a Catalog) -> Self {
        Self { catalog, ctes: BTreeMap::new(), depth: 0 }
    }

    /// The environment of a query inside this one.
    pub(super) fn deeper(&self, at: Location) -> Result<Self, Fault> {
        if self.depth == DEPTH_LIMIT {
            let (what, limit) = ("the nesting of queries and views", DEPTH_LIMIT);
            return Err(Fault::new(at, SqlErrorReason::TooLong { what, limit }));
        }
        Ok(Self { depth: self.depth + 1, ..self.clone() })
    }

    /// Adds `name AS (query)` of WITH.
    pub(super) fn add_cte(&mut self, name: &'a Ident, columns: &'a [Ident], query: &'a Query) {
        let cte = Cte { columns, query, environment: self.clone() };
        self.ctes.insert(name.value.clone(), Arc::new(cte));
    }

    /// The relation a name means.
    pub(super) fn lookup(&self, name: &Ident) -> Result<Bound, Fault> {
        let at = name.span.start;
        if let Some(cte) = self.ctes.get(&name.value) {
            let inner = cte.environment.deeper(at)?;
            let bound =
                body::query(cte.query, &Environment { depth: self.depth + 1, ..inner }, at)?;
            return rename_columns(bound, cte.columns, name)
                .map(|bound| bound.renamed(&name.value));
        }
        if let Some(CreateView { name: _, columns, query }) = self.catalog.view(&name.value) {
            // A view sees the file's tables and views, and no WITH of the query that names it.
            let inner = Environment { depth: self.depth, ..Environment::new(self.catalog) };
            let bound = body::query(query, &inner.deeper(at)?, at)?;
            return rename_columns(bound, columns, name).map(|bound| bound.renamed(&name.value));
        }
        let (id, table) = self.table(name)?;
        Ok(Bound::named(scan(id, table), Some(&name.value)))
    }

    fn table(&self, name: &Ident) -> Result<(TableId, &'a Table), Fault> {
        self.catalog.source(&name.value).ok_or_else(|| {
            let text = name.value.clone();
            let reason = if self.catalog.is_target(&text) {
                let what = format!("reading table {text}, which a rule inserts into,");
                SqlErrorReason::unsupported(what, "tables that no rule inserts into, and views")
            } else {
                let known =
                    self.catalog.readable_names().chain(self.ctes.keys().map(String::as_str));
                SqlErrorReason::UnknownTable { hint: Hint::new(&text, known), name: text }
            };
            Fault::new(name.span.start, reason)
        })
    }
}

/// The rows of a table.
fn scan(id: TableId, table: &Table) -> Relation {
    let columns = table.schema().columns().iter();
    let columns = columns.map(|column| field(column.name(), column.data_type().clone()));
    let key = table.primary_key();
    Relation {
        operator: Operator::Scan(id),
        columns: columns.collect::<Vec<Field>>(),
        event_time: table.event_time_index(),
        window: None,
        changes: Changes::Append,
        upsert_key: (!key.is_empty()).then(|| key.to_vec()),
    }
}

fn rename_columns(mut bound: Bound, names: &[Ident], at: &Ident) -> Result<Bound, Fault> {
    if names.is_empty() {
        return Ok(bound);
    }
    let visible = bound.relation.columns.iter().filter(|field| !field.name.is_empty()).count();
    if names.len() != visible {
        let subject = format!("the number of columns of {at}");
        let reason = SqlErrorReason::mismatch(subject, names.len(), visible);
        return Err(Fault::new(at.span.start, reason));
    }
    for (field, name) in bound.relation.columns.iter_mut().zip(names) {
        field.name = Arc::from(name.value.as_str());
    }
    Ok(bound)
}

/// Compiles FROM; `at` is the place of the query.
pub(super) fn compile<'a>(
    from: &'a [TableWithJoins],
    environment: &Environment<'a>,
    at: Location,
) -> Result<Bound, Fault> {
    let unsupported = |what| Fault::new(at, SqlErrorReason::unsupported(what, SOURCES));
    let Some((TableWithJoins { relation, joins }, rest)) = from.split_first() else {
        return Err(unsupported("a query without FROM"));
    };
    let mut bound = factor(relation, environment, at)?;
    for one in joins {
        bound = join::compile(bound, one, environment, at)?;
    }
    for TableWithJoins { relation, joins } in rest {
        let call = unnest::call(relation).ok_or_else(|| unsupported("a list of tables"))?;
        bound = unnest::join(bound, call, WhenEmpty::Dropped, at)?;
        for one in joins {
            bound = join::compile(bound, one, environment, at)?;
        }
    }
    Ok(bound)
}

/// What a table of FROM is read as.
#[derive(Debug)]
pub(super) struct Versioned<'a> {
    pub(super) bound: Bound,
    /// `FOR SYSTEM_TIME AS OF expression`.
    pub(super) as_of: Option<&'a Expr>,
}

/// Compiles one table of FROM.
pub(super) fn factor<'a>(
    factor: &'a TableFactor,
    environment: &Environment<'a>,
    at: Location,
) -> Result<Bound, Fault> {
    let Versioned { bound, as_of } = versioned(factor, environment, at)?;
    match as_of {
        None => Ok(bound),
        Some(sql) => {
            let supported = "FOR SYSTEM_TIME AS OF on the right side of a join";
            let reason = SqlErrorReason::unsupported("FOR SYSTEM_TIME AS OF here", supported);
            Err(Fault::new(crate::expression::source_text::place(sql, at), reason))
        }
    }
}

/// Compiles one table of FROM with its version.
pub(super) fn versioned<'a>(
    factor: &'a TableFactor,
    environment: &Environment<'a>,
    at: Location,
) -> Result<Versioned<'a>, Fault> {
    let plain = |bound| Versioned { bound, as_of: None };
    match factor {
        TableFactor::Table {
            name,
            alias,
            args: None,
            with_hints,
            version,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_hints,
        } if with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() => {
            let as_of = match version {
                None => None,
                Some(TableVersion::ForSystemTimeAsOf(as_of)) => Some(as_of),
                Some(other) => {
                    let supported = "FOR SYSTEM_TIME AS OF";
                    let reason = SqlErrorReason::unsupported(quoted(other), supported);
                    return Err(Fault::new(at, reason));
                }
            };
            let named = single_name(name, at)?;
            let bound = environment.lookup(named)?;
            if as_of.is_none() {
                refuse_unread(&bound, named, environment.catalog)?;
            }
            Ok(Versioned { bound: aliased(bound, alias.as_ref())?, as_of })
        }
        TableFactor::Derived { lateral: false, subquery, alias, sample: None } => {
            let start = subquery.span().start;
            let at = if start.line == 0 { at } else { start };
            let bound = body::query(subquery, &environment.deeper(at)?, at)?;
            aliased(unnamed(bound), alias.as_ref()).map(plain)
        }
        TableFactor::TableFunction { expr: Expr::Function(function), alias } => {
            aliased(window::table_function(function, environment, at)?, alias.as_ref()).map(plain)
        }
        TableFactor::NestedJoin { table_with_joins, alias } => {
            let bound = compile(std::slice::from_ref(&**table_with_joins), environment, at)?;
            aliased(bound, alias.as_ref()).map(plain)
        }
        TableFactor::MatchRecognize { .. } => matched(factor, environment, at).map(plain),
        other => {
            let start = other.span().start;
            let at = if start.line == 0 { at } else { start };
            Err(Fault::new(at, SqlErrorReason::unsupported(quoted(other), SOURCES)))
        }
    }
}

/// Refuses to read a table whose rows do not come one after the other.
fn refuse_unread(bound: &Bound, name: &Ident, catalog: &Catalog) -> Result<(), Fault> {
    let Operator::Scan(table) = bound.relation.operator else { return Ok(()) };
    if catalog.table(table).is_none_or(|table| table.topic().is_some()) {
        return Ok(());
    }
    let what = format!("reading table {name}, which has a 'connector',");
    let supported = "JOIN table FOR SYSTEM_TIME AS OF left.event_time ON left.key = table.key";
    Err(Fault::new(name.span.start, SqlErrorReason::unsupported(what, supported)))
}

/// `table MATCH_RECOGNIZE (…)`.
fn matched<'a>(
    factor: &'a TableFactor,
    environment: &Environment<'a>,
    at: Location,
) -> Result<Bound, Fault> {
    let TableFactor::MatchRecognize {
        table,
        partition_by,
        order_by,
        measures,
        rows_per_match,
        after_match_skip,
        pattern,
        symbols,
        alias,
    } = factor
    else {
        return Err(Fault::new(at, SqlErrorReason::unsupported(quoted(factor), SOURCES)));
    };
    let input = self::factor(table, environment, at)?;
    let clauses = pattern::Clauses {
        partition_by,
        order_by,
        measures,
        rows_per_match: rows_per_match.as_ref(),
        skip: after_match_skip.as_ref(),
        pattern,
        symbols,
    };
    aliased(pattern::compile(input, &clauses, at)?, alias.as_ref())
}

/// A query in parentheses hides the names of its tables.
fn unnamed(mut bound: Bound) -> Bound {
    bound.qualifiers.iter_mut().for_each(|qualifier| *qualifier = None);
    bound
}

/// The identifier of a name of one part.
fn single_name(name: &ObjectName, at: Location) -> Result<&Ident, Fault> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => Ok(name),
        _ => Err(Fault::new(at, SqlErrorReason::unsupported(quoted(name), "a name of one part"))),
    }
}

fn aliased(bound: Bound, alias: Option<&TableAlias>) -> Result<Bound, Fault> {
    let Some(alias) = alias else { return Ok(bound) };
    let is_plain =
        alias.at.is_none() && alias.columns.iter().all(|column| column.data_type.is_none());
    if !is_plain {
        let supported = "an alias with names of columns";
        let reason = SqlErrorReason::unsupported("an alias with types", supported);
        return Err(Fault::new(alias.name.span.start, reason));
    }
    let names: Vec<Ident> = alias.columns.iter().map(|column| column.name.clone()).collect();
    rename_columns(bound.renamed(&alias.name.value), &names, &alias.name)
}
