//! Windowing functions: as a table (`TABLE(TUMBLE(…))`) and in GROUP BY (`TUMBLE(ts, …)`).

use sqlparser::ast::{Expr, Function, Ident, Spanned};
use sqlparser::tokenizer::Location;

use crate::expression::call::{arguments, function_name, plain_argument};
use crate::expression::source_text::{place, quoted};
use crate::expression::{Columns, Compiler, Expression};
use crate::query::bound::{Bound, field};
use crate::query::source::Environment;
use crate::relation::{Operator, Relation, Window, WindowColumns, WindowKind};
use crate::sql::error::{Fault, Hint, SqlErrorReason};
use crate::sql::interval;
use crate::value::DataType;

/// Windowing functions.
pub(super) const NAMES: [&str; 4] = ["TUMBLE", "HOP", "CUMULATE", "SESSION"];

/// Columns a windowing function appends.
pub(super) const COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// Most windows that hold one row: HOP and CUMULATE beyond would multiply rows.
const WINDOWS_PER_ROW_LIMIT: i64 = 1_000;

/// `TABLE(TUMBLE(TABLE table, DESCRIPTOR(column), size))` and its kin.
pub(super) fn table_function<'a>(
    function: &'a Function,
    environment: &Environment<'a>,
    at: Location,
) -> Result<Bound, Fault> {
    let span = function.name.span().start;
    let at = if span.line == 0 { at } else { span };
    let name = function_name(function);
    if !NAMES.contains(&name.as_str()) {
        let hint = Hint::new(&name, NAMES.into_iter());
        return Err(Fault::new(at, SqlErrorReason::UnknownFunction { name, hint }));
    }
    let given: Vec<Option<&Expr>> = arguments(function, at)?.iter().map(plain_argument).collect();
    let [Some(table), Some(descriptor), lengths @ ..] = given.as_slice() else {
        return Err(wrong_arguments(&name, function, at));
    };
    let (table_name, partition) = table_argument(table, &name, at)?;
    let bound = environment.lookup(table_name)?;
    let scope = bound.scope();
    let time = descriptor_column(descriptor, &name, table_name, &bound, at)?;
    let partition = partition.iter().map(|column| scope.find(None, column));
    let partition = partition.collect::<Result<Vec<_>, _>>()?;
    let mut durations = Vec::new();
    for length in lengths {
        let length = length.ok_or_else(|| wrong_arguments(&name, function, at))?;
        durations.push(millis(length, at)?);
    }
    let kind =
        kind(&name, &durations, at).ok_or_else(|| wrong_arguments(&name, function, at))??;
    let qualifier = bound.qualifiers.first().cloned().flatten();
    let relation = windowed(bound.relation, Window { time, kind, partition });
    Ok(Bound::named(relation, qualifier.as_deref()))
}

fn wrong_arguments(name: &str, function: &Function, at: Location) -> Fault {
    let lengths = match name {
        "TUMBLE" => "INTERVAL size [, INTERVAL offset]",
        "HOP" => "INTERVAL slide, INTERVAL size [, INTERVAL offset]",
        "CUMULATE" => "INTERVAL step, INTERVAL size [, INTERVAL offset]",
        _ => "INTERVAL gap",
    };
    let expected = format!("TABLE table, DESCRIPTOR(column), {lengths}, by position");
    let subject = format!("the list of arguments of {name}");
    Fault::new(at, SqlErrorReason::mismatch(subject, quoted(function), expected))
}

/// A relation with the columns of its windows.
fn windowed(input: Relation, window: Window) -> Relation {
    let width = input.columns.len();
    let mut columns = input.columns.clone();
    let time_type = input.columns.get(window.time).map(|field| field.data_type.clone());
    let time_type = time_type.unwrap_or(DataType::Timestamp);
    columns.extend([
        field("window_start", DataType::Timestamp),
        field("window_end", DataType::Timestamp),
        field("window_time", time_type),
    ]);
    Relation {
        columns,
        event_time: Some(width + 2),
        window: Some(WindowColumns { start: width, end: width + 1 }),
        changes: input.changes,
        upsert_key: None,
        operator: Operator::Window { input: Box::new(input), window },
    }
}

/// The kind of window for lengths in milliseconds; none when their number is wrong.
fn kind(name: &str, lengths: &[i64], at: Location) -> Option<Result<WindowKind, Fault>> {
    let kind = match (name, lengths) {
        ("TUMBLE", [size]) => WindowKind::Tumble { size: *size, offset: 0 },
        ("TUMBLE", [size, offset]) => WindowKind::Tumble { size: *size, offset: *offset },
        ("HOP", [slide, size]) => WindowKind::Hop { size: *size, slide: *slide, offset: 0 },
        ("HOP", [slide, size, offset]) => {
            WindowKind::Hop { size: *size, slide: *slide, offset: *offset }
        }
        ("CUMULATE", [step, size]) => WindowKind::Cumulate { size: *size, step: *step, offset: 0 },
        ("CUMULATE", [step, size, offset]) => {
            WindowKind::Cumulate { size: *size, step: *step, offset: *offset }
        }
        ("SESSION", [gap]) => WindowKind::Session { gap: *gap },
        _ => return None,
    };
    Some(check(kind, at).map(|()| kind))
}

fn check(kind: WindowKind, at: Location) -> Result<(), Fault> {
    let refuse = |found: i64, expected: String| {
        let reason =
            SqlErrorReason::mismatch("the size of a window", format!("{found} ms"), expected);
        Err(Fault::new(at, reason))
    };
    let lengths = match kind {
        WindowKind::Tumble { size, .. } => [size, size],
        WindowKind::Hop { size, slide, .. } => [size, slide],
        WindowKind::Cumulate { size, step, .. } => [size, step],
        WindowKind::Session { gap } => [gap, gap],
    };
    let [size, part] = lengths;
    if let Some(length) = lengths.into_iter().find(|length| *length < 1) {
        return refuse(length, "1 millisecond or more".to_owned());
    }
    if size % part != 0 {
        return refuse(size, format!("a multiple of {part} ms"));
    }
    if size / part > WINDOWS_PER_ROW_LIMIT {
        return refuse(size, format!("at most {WINDOWS_PER_ROW_LIMIT} times {part} ms"));
    }
    Ok(())
}

fn millis(length: &Expr, at: Location) -> Result<i64, Fault> {
    let at = place(length, at);
    let subject = "the size of a window";
    let duration = interval::duration(length, subject, at)?;
    i64::try_from(duration.as_millis()).map_err(|_| {
        Fault::new(at, SqlErrorReason::mismatch(subject, quoted(length), "100 years at most"))
    })
}

/// The name and columns in `TABLE name [PARTITION BY column]`, which the dialect reads as a
/// prefixed expression.
fn table_argument<'a>(
    argument: &'a Expr,
    function: &str,
    at: Location,
) -> Result<(&'a Ident, Vec<&'a Ident>), Fault> {
    let name = match argument {
        // Also without the word TABLE, as older Flink and other dialects have it.
        Expr::Identifier(name) => return Ok((name, Vec::new())),
        Expr::Prefixed { value, .. } => &**value,
        other => other,
    };
    match name {
        Expr::Identifier(name) => Ok((name, Vec::new())),
        Expr::Tuple(parts) => {
            let names = parts.iter().map(|part| match part {
                Expr::Identifier(name) => Some(name),
                _ => None,
            });
            let names: Option<Vec<&Ident>> = names.collect();
            match names.as_deref() {
                Some([name, partition @ ..]) => Ok((name, partition.to_vec())),
                Some([]) | None => Err(no_table(argument, function, at)),
            }
        }
        _ => Err(no_table(argument, function, at)),
    }
}

fn no_table(argument: &Expr, function: &str, at: Location) -> Fault {
    let subject = format!("the first argument of {function}");
    let reason = SqlErrorReason::mismatch(subject, quoted(argument), "TABLE and its name");
    Fault::new(place(argument, at), reason)
}

/// Checks that `DESCRIPTOR(column)` names the column of event time.
fn descriptor_column(
    descriptor: &Expr,
    function: &str,
    table_name: &Ident,
    bound: &Bound,
    at: Location,
) -> Result<usize, Fault> {
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
        let subject = format!("the second argument of {function}");
        let reason = SqlErrorReason::mismatch(subject, quoted(descriptor), "DESCRIPTOR(column)");
        return Err(Fault::new(descriptor_at, reason));
    };
    let index = bound.scope().find(None, column)?;
    if bound.relation.event_time == Some(index) {
        return Ok(index);
    }
    let subject = "the column of DESCRIPTOR";
    let expected = expected_time(&bound.relation, &table_name.value);
    let reason = SqlErrorReason::mismatch(subject, format!("{column}"), expected);
    Err(Fault::new(column.span.start, reason))
}

fn expected_time(relation: &Relation, table: &str) -> String {
    match relation.event_time.and_then(|index| relation.columns.get(index)) {
        Some(event_time) => format!("the event-time column {}", event_time.name),
        None => format!("a column with a WATERMARK, which table {table} does not declare"),
    }
}

/// A group window: `TUMBLE(ts, size)`, or without the time, as Arroyo writes it; none when the
/// expression is something else.
pub(super) fn group_window(
    sql: &Expr,
    scope: &Columns,
    input: &Relation,
    at: Location,
) -> Result<Option<Window>, Fault> {
    let Expr::Function(function) = sql else { return Ok(None) };
    let name = function_name(function);
    let at = place(sql, at);
    if !NAMES.contains(&name.as_str()) {
        return Ok(None);
    }
    let given: Vec<Option<&Expr>> = arguments(function, at)?.iter().map(plain_argument).collect();
    let wrong = || {
        let subject = format!("the list of arguments of {name}");
        let expected = "a column of event time and INTERVALs";
        Fault::new(at, SqlErrorReason::mismatch(subject, quoted(function), expected))
    };
    let given = given.into_iter().collect::<Option<Vec<&Expr>>>().ok_or_else(wrong)?;
    let is_length = |sql: &&Expr| matches!(sql, Expr::Interval(_));
    let (time, lengths) = match given.as_slice() {
        lengths if lengths.iter().all(is_length) => (None, lengths),
        [time, lengths @ ..] => (Some(time), lengths),
        [] => return Err(wrong()),
    };
    let time = match time {
        Some(time) => {
            let typed = Compiler::new(&mut scope.clone(), at).compile(time)?;
            match typed.expression {
                Expression::Column(index) if input.event_time == Some(index) => index,
                _ => {
                    let subject = format!("the first argument of {name}");
                    let expected = expected_time(input, &scope.tables().join(", "));
                    let reason = SqlErrorReason::mismatch(subject, quoted(time), expected);
                    return Err(Fault::new(place(time, at), reason));
                }
            }
        }
        None => input.event_time.ok_or_else(|| {
            let expected = expected_time(input, &scope.tables().join(", "));
            let subject = format!("the time of {name}");
            Fault::new(at, SqlErrorReason::mismatch(subject, "missing", expected))
        })?,
    };
    let lengths = lengths.iter().map(|length| millis(length, at));
    let lengths = lengths.collect::<Result<Vec<_>, _>>()?;
    let kind = kind(&name, &lengths, at).ok_or_else(wrong)??;
    Ok(Some(Window { time, kind, partition: Vec::new() }))
}
