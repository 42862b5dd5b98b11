//! `IN (SELECT …)`, `NOT IN (SELECT …)` and `EXISTS (SELECT …)` in WHERE: semi and anti joins.
//!
//! The query inside sees no column of the one outside, and only its distinct rows are kept.

use sqlparser::ast::{BinaryOperator, Expr, Query, UnaryOperator};
use sqlparser::tokenizer::Location;

use crate::expression::source_text::place;
use crate::expression::typed::{common, type_name, widen};
use crate::expression::{Compiler, Expression, Typed};
use crate::query::body;
use crate::query::bound::{Bound, HIDDEN, cast_all, changes, field, project};
use crate::query::source::Environment;
use crate::relation::{Changes, Field, Join, JoinKind, JoinMethod, Operator, Relation};
use crate::sql::error::{Fault, SqlErrorReason};
use crate::value::{DataType, Value};

/// A condition that asks another query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// What is looked for; none asks whether the query has a row.
    needle: Option<&'a Expr>,
    query: &'a Query,
    kind: JoinKind,
}

/// Takes a condition of WHERE apart: conditions on the row, and those that ask another query.
pub(super) fn split(condition: &Expr) -> (Vec<&Expr>, Vec<Asked<'_>>) {
    let (mut plain, mut asked) = (Vec::new(), Vec::new());
    // `a AND b AND c` nests to the left, as deep as the statement is long.
    let mut rest = vec![condition];
    while let Some(sql) = rest.pop() {
        match sql {
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                rest.extend([&**right, left])
            }
            other => match question(other) {
                Some(question) => asked.push(question),
                None => plain.push(other),
            },
        }
    }
    (plain, asked)
}

/// What a condition asks of another query; none when it asks none.
fn question(sql: &Expr) -> Option<Asked<'_>> {
    let kind = |negated: bool| if negated { JoinKind::Anti } else { JoinKind::Semi };
    match sql {
        Expr::InSubquery { expr, subquery, negated } => {
            Some(Asked { needle: Some(expr), query: subquery, kind: kind(*negated) })
        }
        Expr::Exists { subquery, negated } => {
            Some(Asked { needle: None, query: subquery, kind: kind(*negated) })
        }
        Expr::Nested(inner) => question(inner),
        // NOT of unknown is unknown: both leave the row out.
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
            let asked = question(expr)?;
            Some(Asked { kind: kind(asked.kind == JoinKind::Semi), ..asked })
        }
        _ => None,
    }
}

/// The rows for which a query gives the answer that is asked for.
pub(super) fn keep<'a>(
    bound: Bound,
    asked: Asked<'a>,
    environment: &Environment<'a>,
    at: Location,
) -> Result<Bound, Fault> {
    let Asked { needle, query, kind } = asked;
    let inner = body::query(query, &environment.deeper(at)?, at)?;
    let relation = match needle {
        None => {
            let rows = body::once(constant(inner.relation)).relation;
            joined(bound.relation.clone(), rows, kind, Vec::new(), None)
        }
        Some(sql) => {
            let at = place(sql, at);
            let typed = Compiler::new(&mut bound.scope(), at).compile(sql)?;
            member(bound.relation.clone(), typed, inner, kind, at)?
        }
    };
    Ok(bound.over(relation))
}

/// `needle [NOT] IN (rows)`.
fn member(
    left: Relation,
    needle: Typed,
    rows: Bound,
    kind: JoinKind,
    at: Location,
) -> Result<Relation, Fault> {
    let columns: Vec<Field> =
        rows.relation.columns.iter().filter(|one| *one.name != *HIDDEN).cloned().collect();
    let [column] = columns.as_slice() else {
        let subject = "the number of columns of the query in IN";
        return Err(Fault::new(at, SqlErrorReason::mismatch(subject, columns.len(), "1")));
    };
    let meeting = common(needle.data_type.as_ref(), Some(&column.data_type)).flatten();
    let Some(data_type) = meeting else {
        let subject = "the column of the query in IN";
        let expected = type_name(needle.data_type.as_ref());
        let reason = SqlErrorReason::mismatch(subject, &column.data_type, expected);
        return Err(Fault::new(at, reason));
    };
    let needle = widen(needle, &data_type);
    let wanted = [Field { name: column.name.clone(), data_type }];
    let members = body::once(Bound::named(cast_all(only(rows.relation, column), &wanted), None));
    let keys = vec![(needle.clone(), Expression::Column(0))];
    if kind == JoinKind::Semi {
        return Ok(joined(left, members.relation, kind, keys, None));
    }
    // NOT IN holds when no member is equal, and none could be: neither a member nor what is looked
    // for is NULL, unless there is no member at all. The second join meets two rows at most.
    let width = left.columns.len();
    let is_null = |one: Expression| Expression::IsNull(Box::new(one));
    let nulls = vec![(field("", DataType::Boolean), is_null(Expression::Column(0)))];
    let nulls = body::once(Bound::named(project(members.relation.clone(), nulls), None));
    let unequal = joined(left, members.relation, kind, keys, None);
    let unknown = Expression::Or(vec![Expression::Column(width), is_null(needle)]);
    Ok(joined(unequal, nulls.relation, kind, Vec::new(), Some(unknown)))
}

/// The one column that has a name.
fn only(rows: Relation, column: &Field) -> Relation {
    if rows.columns.len() == 1 {
        return rows;
    }
    let index = rows.columns.iter().position(|one| one == column).unwrap_or_default();
    project(rows, vec![(column.clone(), Expression::Column(index))])
}

/// Rows that say no more than that they are there.
fn constant(rows: Relation) -> Bound {
    let there = Expression::Constant(Value::Boolean(true));
    Bound::named(project(rows, vec![(field("", DataType::Boolean), there)]), None)
}

fn joined(
    left: Relation,
    right: Relation,
    kind: JoinKind,
    keys: Vec<(Expression, Expression)>,
    condition: Option<Expression>,
) -> Relation {
    debug_assert!(kind == JoinKind::Semi || kind == JoinKind::Anti, "rows of the left side alone");
    let changes = if kind == JoinKind::Anti { Changes::Retract } else { changes(&left, &right) };
    Relation {
        columns: left.columns.clone(),
        event_time: None,
        window: None,
        changes,
        upsert_key: left.upsert_key.clone(),
        operator: Operator::Join(Box::new(Join {
            left,
            right,
            kind,
            keys,
            condition,
            method: JoinMethod::Regular,
        })),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::decode::Decoder;
    use crate::engine::Engine;
    use crate::output::{Change, Output};
    use crate::program::Program;
    use headland_event::{EventTime, Offset};

    const TABLES: &str = "CREATE TABLE t (k STRING) WITH ('topic' = 't', 'format' = 'csv');\n\
                          CREATE TABLE s (k STRING) WITH ('topic' = 's', 'format' = 'csv');\n";

    fn program(condition: &str) -> Result<Program, String> {
        let query = format!("SELECT k FROM t WHERE {condition}");
        let sql = format!("{TABLES}CREATE TABLE r WITH ('topic' = 'r') AS {query}");
        Program::compile("rules.sql", &sql).map_err(|error| error.to_string())
    }

    /// The rows that stand behind lines of tables, sorted.
    fn standing(condition: &str, lines: &[(&str, &str)]) -> Vec<String> {
        let program = program(condition).unwrap();
        let mut engine = Engine::new(program.clone(), 1);
        for (name, line) in lines {
            let table = program.table_id(name).unwrap();
            let decoder = Decoder::new(program.table(table), None).unwrap();
            let row = decoder.decode(line.as_bytes()).unwrap();
            engine.on_row(table, &row, Offset::new(0), EventTime::from_millis(0));
        }
        let mut counts: BTreeMap<String, i32> = BTreeMap::new();
        while let Some(output) = engine.poll_output() {
            let Output::Result(result) = output else { panic!("{output:?}") };
            let sign = match result.change {
                Change::Insert | Change::UpdateAfter => 1,
                Change::UpdateBefore | Change::Delete => -1,
            };
            *counts.entry(result.columns[0].1.to_string()).or_default() += sign;
        }
        counts.into_iter().filter(|(_, count)| *count > 0).map(|(row, _)| row).collect()
    }

    #[test]
    fn a_row_is_in_as_soon_as_an_equal_one_is_and_null_never() {
        let lines = [("t", "a"), ("t", ""), ("s", "a"), ("s", "a"), ("s", ""), ("t", "b")];

        assert_eq!(standing("k IN (SELECT k FROM s)", &lines), ["a"]);
    }

    #[test]
    fn not_in_is_unknown_with_a_null_among_the_members_and_for_null_itself() {
        let not_in = |lines: &[(&str, &str)]| standing("k NOT IN (SELECT k FROM s)", lines);

        assert_eq!(not_in(&[("t", "a"), ("t", "b"), ("s", "b")]), ["a"]);
        assert_eq!(not_in(&[("s", "b"), ("t", "a"), ("t", "")]), ["a"]);
        assert_eq!(not_in(&[("t", "a"), ("t", "")]), ["NULL", "a"], "there is no member");
        assert_eq!(not_in(&[("t", "a"), ("t", ""), ("s", "")]), [""; 0]);
        assert_eq!(not_in(&[("s", ""), ("t", "a")]), [""; 0]);
        assert_eq!(standing("NOT (k IN (SELECT k FROM s))", &[("t", "a"), ("s", "b")]), ["a"]);
    }

    #[test]
    fn exists_waits_for_a_row_of_the_other_query() {
        let exists = "EXISTS (SELECT 1 FROM s WHERE k = 'go') AND k <> 'b'";

        assert_eq!(standing(exists, &[("t", "a"), ("t", "b"), ("s", "no")]), [""; 0]);
        assert_eq!(standing(exists, &[("t", "a"), ("t", "b"), ("s", "go"), ("s", "go")]), ["a"]);
        assert_eq!(
            standing("NOT EXISTS (SELECT 1 FROM s)", &[("t", "a"), ("t", "b"), ("s", "x")]),
            [""; 0]
        );
    }

    #[test]
    fn what_a_query_in_a_condition_cannot_do_is_refused() {
        assert_eq!(
            program("k IN (SELECT k, k FROM s)").unwrap_err(),
            "rules.sql:3:62: the number of columns of the query in IN is 2, expected 1"
        );
        assert_eq!(
            program("k IN (SELECT CHAR_LENGTH(k) FROM s)").unwrap_err(),
            "rules.sql:3:62: the column of the query in IN is INT, expected STRING"
        );
        let told = program("k = 'a' OR k IN (SELECT k FROM s)").unwrap_err();
        assert!(
            told.ends_with(
                "a query in a condition that other conditions of WHERE are joined \
                                to by AND"
            ),
            "{told}"
        );
    }
}
