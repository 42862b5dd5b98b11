//! What FROM names: a table, alone or in windows.

use sqlparser::ast::{
    Expr, Function, Ident, ObjectName, ObjectNamePart, Spanned, TableAlias, TableFactor,
    TableWithJoins,
};
use sqlparser::tokenizer::Location;

use crate::expression::call::{arguments, function_name, plain_argument};
use crate::expression::source_text::{place, quoted};
use crate::plan::WindowSize;
use crate::program::Catalog;
use crate::sql::error::{Fault, Hint, SqlErrorReason};
use crate::sql::interval;
use crate::table::{Table, TableId, unknown_column};

const SOURCES: &str =
    "FROM table and FROM TABLE(TUMBLE(TABLE table, DESCRIPTOR(column), INTERVAL 'n' UNIT))";

/// What a query reads.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) id: TableId,
    pub(crate) table: &'a Table,
    /// What qualifies its columns: the alias, else the name.
    pub(crate) name: Ident,
    /// The size of its tumbling windows.
    pub(crate) window: Option<WindowSize>,
}

/// Compiles FROM; `at` is the place of the query.
pub(crate) fn compile<'a>(
    from: &[TableWithJoins],
    catalog: &'a Catalog,
    at: Location,
) -> Result<Source<'a>, Fault> {
    let [TableWithJoins { relation, joins }] = from else {
        let what = if from.is_empty() { "a query without FROM" } else { "a list of tables" };
        return Err(Fault::new(at, SqlErrorReason::unsupported(what, SOURCES)));
    };
    if let Some(join) = joins.first() {
        let join_at = join.relation.span().start;
        return Err(Fault::new(join_at, SqlErrorReason::unsupported("a join", SOURCES)));
    }
    match relation {
        TableFactor::Table {
            name,
            alias,
            args: None,
            with_hints,
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_hints,
        } if with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() => {
            let name = single_name(name, at)?;
            let (id, table) = lookup(name, catalog)?;
            Ok(Source { id, table, name: aliased(name, alias.as_ref())?, window: None })
        }
        TableFactor::TableFunction { expr: Expr::Function(function), alias } => {
            windowed(function, alias.as_ref(), catalog, at)
        }
        other => {
            let start = other.span().start;
            let at = if start.line == 0 { at } else { start };
            Err(Fault::new(at, SqlErrorReason::unsupported(quoted(other), SOURCES)))
        }
    }
}

fn windowed<'a>(
    function: &Function,
    alias: Option<&TableAlias>,
    catalog: &'a Catalog,
    at: Location,
) -> Result<Source<'a>, Fault> {
    let span = function.name.span().start;
    let at = if span.line == 0 { at } else { span };
    let name = function_name(function);
    if name != "TUMBLE" {
        let known = ["TUMBLE", "HOP", "CUMULATE", "SESSION"];
        let reason = if known.contains(&name.as_str()) {
            SqlErrorReason::unsupported(format!("the windowing function {name}"), "TUMBLE")
        } else {
            let hint = Hint::new(&name, known.into_iter());
            SqlErrorReason::UnknownFunction { name, hint }
        };
        return Err(Fault::new(at, reason));
    }
    let given: Vec<Option<&Expr>> = arguments(function, at)?.iter().map(plain_argument).collect();
    let [Some(table_argument), Some(descriptor), Some(size)] = given.as_slice() else {
        let expected = "TABLE table, DESCRIPTOR(column), INTERVAL 'n' UNIT, by position";
        let found = quoted(function);
        let reason = SqlErrorReason::mismatch("the list of arguments of TUMBLE", found, expected);
        return Err(Fault::new(at, reason));
    };
    let table_name = table_name(table_argument, at)?;
    let (id, table) = lookup(table_name, catalog)?;
    check_descriptor(descriptor, table_name, table, at)?;
    let size_at = place(size, at);
    let subject = "the size of a window";
    let duration = interval::duration(size, subject, size_at)?;
    let window = WindowSize::new(duration).ok_or_else(|| {
        let reason = SqlErrorReason::mismatch(subject, quoted(size), "1 millisecond or more");
        Fault::new(size_at, reason)
    })?;
    Ok(Source { id, table, name: aliased(table_name, alias)?, window: Some(window) })
}

/// The name in `TABLE name`, which the dialect reads as a prefixed expression.
fn table_name(argument: &Expr, at: Location) -> Result<&Ident, Fault> {
    let Expr::Prefixed { value, .. } = argument else {
        let expected = "TABLE and its name";
        let subject = "the first argument of TUMBLE";
        let reason = SqlErrorReason::mismatch(subject, quoted(argument), expected);
        return Err(Fault::new(place(argument, at), reason));
    };
    match &**value {
        Expr::Identifier(name) => Ok(name),
        other => {
            let supported = "TABLE and its name; keys stand in GROUP BY";
            let reason = SqlErrorReason::unsupported("PARTITION BY in TUMBLE", supported);
            Err(Fault::new(place(other, at), reason))
        }
    }
}

/// Checks that `DESCRIPTOR(column)` names the column of event time.
fn check_descriptor(
    descriptor: &Expr,
    table_name: &Ident,
    table: &Table,
    at: Location,
) -> Result<(), Fault> {
    let descriptor_at = place(descriptor, at);
    let column = match descriptor {
        Expr::Function(function) if function_name(function) == "DESCRIPTOR" => {
            match arguments(function, descriptor_at)? {
                [argument] => plain_argument(argument),
                _ => None,
            }
        }
        _ => None,
    };
    let Some(Expr::Identifier(column)) = column else {
        let (subject, found) = ("the second argument of TUMBLE", quoted(descriptor));
        let reason = SqlErrorReason::mismatch(subject, found, "DESCRIPTOR(column)");
        return Err(Fault::new(descriptor_at, reason));
    };
    let at = column.span.start;
    let Some(index) = table.schema().index_of(&column.value) else {
        return Err(Fault::new(at, unknown_column(&column.value, table_name, table.schema())));
    };
    if table.event_time_index() == Some(index) {
        return Ok(());
    }
    let expected = match table.event_time_index().and_then(|i| table.schema().columns().get(i)) {
        Some(event_time) => format!("the event-time column {}", event_time.name()),
        None => format!("a column with a WATERMARK, which table {table_name} does not declare"),
    };
    let subject = "the column of DESCRIPTOR";
    Err(Fault::new(at, SqlErrorReason::mismatch(subject, format!("{column}"), expected)))
}

/// The identifier of a name of one part.
fn single_name(name: &ObjectName, at: Location) -> Result<&Ident, Fault> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => Ok(name),
        _ => Err(Fault::new(at, SqlErrorReason::unsupported(quoted(name), "a name of one part"))),
    }
}

fn lookup<'a>(name: &Ident, catalog: &'a Catalog) -> Result<(TableId, &'a Table), Fault> {
    catalog.source(&name.value).ok_or_else(|| {
        let text = name.value.clone();
        let reason = if catalog.is_target(&text) {
            let what = format!("reading table {text}, which a rule inserts into,");
            SqlErrorReason::unsupported(what, "tables that no rule inserts into")
        } else {
            let hint = Hint::new(&text, catalog.source_names());
            SqlErrorReason::UnknownTable { name: text, hint }
        };
        Fault::new(name.span.start, reason)
    })
}

fn aliased(name: &Ident, alias: Option<&TableAlias>) -> Result<Ident, Fault> {
    let Some(alias) = alias else { return Ok(name.clone()) };
    if alias.columns.is_empty() && alias.at.is_none() {
        return Ok(alias.name.clone());
    }
    let supported = "an alias of the table alone";
    let reason = SqlErrorReason::unsupported("an alias with columns", supported);
    Err(Fault::new(alias.name.span.start, reason))
}
