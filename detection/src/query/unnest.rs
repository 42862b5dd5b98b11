//! `CROSS JOIN UNNEST(…)`: the elements of a collection of each row.

use sqlparser::ast::{
    Expr, FunctionArg, JoinConstraint, JoinOperator, ObjectNamePart, TableAlias, TableFactor,
    Value as Literal,
};
use sqlparser::tokenizer::Location;

use crate::expression::Compiler;
use crate::expression::call::plain_argument;
use crate::expression::source_text::{place, quoted};
use crate::expression::typed::type_name;
use crate::query::bound::{Bound, field};
use crate::relation::{Elements, Field, Operator, Ordinal, Relation, Unnest, WhenEmpty};
use crate::sql::error::{Fault, SqlErrorReason};
use crate::value::DataType;

const JOINS: &str = "CROSS JOIN UNNEST(collection) [WITH ORDINALITY] [AS name (columns)], and LEFT \
                     JOIN of it ON TRUE";

/// A call of UNNEST in FROM.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    arguments: &'a [FunctionArg],
    alias: Option<&'a TableAlias>,
    ordinal: Ordinal,
}

/// The call that a table of FROM is; none when it is something else.
pub(super) fn call(factor: &TableFactor) -> Option<Call<'_>> {
    let TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } = factor else {
        return None;
    };
    let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else { return None };
    let ordinal = if *with_ordinality { Ordinal::Appended } else { Ordinal::Left };
    let is_unnest = name.value.eq_ignore_ascii_case("UNNEST");
    is_unnest.then_some(Call { arguments: &args.args, alias: alias.as_ref(), ordinal })
}

/// What a join does with rows without an element.
pub(super) fn when_empty(operator: &JoinOperator, at: Location) -> Result<WhenEmpty, Fault> {
    let is_free = |constraint: &JoinConstraint| match constraint {
        JoinConstraint::None => true,
        JoinConstraint::On(Expr::Value(value)) => value.value == Literal::Boolean(true),
        JoinConstraint::On(_) | JoinConstraint::Using(_) | JoinConstraint::Natural => false,
    };
    match operator {
        JoinOperator::CrossJoin(constraint)
        | JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
            if is_free(constraint) =>
        {
            Ok(WhenEmpty::Dropped)
        }
        JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint)
            if is_free(constraint) =>
        {
            Ok(WhenEmpty::Kept)
        }
        _ => Err(Fault::new(at, SqlErrorReason::unsupported("this join of UNNEST", JOINS))),
    }
}

/// The rows of `left` with the elements of one of their collections behind them.
pub(super) fn join(
    left: Bound,
    call: Call<'_>,
    when_empty: WhenEmpty,
    at: Location,
) -> Result<Bound, Fault> {
    let [argument] = call.arguments else {
        let (subject, found) = ("the number of arguments of UNNEST", call.arguments.len());
        return Err(Fault::new(at, SqlErrorReason::mismatch(subject, found, "1")));
    };
    let sql = plain_argument(argument).ok_or_else(|| {
        let reason =
            SqlErrorReason::mismatch("the argument of UNNEST", quoted(argument), "an ARRAY");
        Fault::new(at, reason)
    })?;
    let typed = Compiler::new(&mut left.scope(), at).compile(sql)?;
    let name = call.alias.map(|alias| alias.name.value.as_str());
    let Some((elements, mut appended)) = columns(typed.data_type.as_ref(), name) else {
        let found = type_name(typed.data_type.as_ref());
        let reason = SqlErrorReason::mismatch("the argument of UNNEST", found, "an ARRAY or a MAP");
        return Err(Fault::new(place(sql, at), reason));
    };
    match call.ordinal {
        Ordinal::Appended => appended.push(field("ORDINALITY", DataType::Int)),
        Ordinal::Left => {}
    }
    rename(&mut appended, call.alias)?;
    let mut qualifiers = left.qualifiers.clone();
    qualifiers.extend(appended.iter().map(|_| name.map(Into::into)));
    let mut columns = left.relation.columns.clone();
    columns.extend(appended);
    let window_row = left.window_row;
    let input = left.relation;
    let relation = Relation {
        columns,
        event_time: input.event_time,
        window: input.window,
        changes: input.changes,
        upsert_key: None,
        operator: Operator::Unnest(Box::new(Unnest {
            input,
            collection: typed.expression,
            elements,
            ordinal: call.ordinal,
            when_empty,
        })),
    };
    Ok(Bound { relation, qualifiers, ranked: None, window_row })
}

/// What an element becomes, by the collection's type; a single value is called as its table.
fn columns(collection: Option<&DataType>, name: Option<&str>) -> Option<(Elements, Vec<Field>)> {
    match collection? {
        DataType::Array(element) => Some(match &**element {
            DataType::Row(fields) => {
                let columns = fields.iter().map(|one| field(one.name(), one.data_type().clone()));
                (Elements::Fields(fields.len()), columns.collect())
            }
            value => (Elements::Values, vec![field(name.unwrap_or("EXPR$0"), value.clone())]),
        }),
        DataType::Map(entry) => {
            let (key, value) = &**entry;
            Some((
                Elements::Entries,
                vec![field("KEY", key.clone()), field("VALUE", value.clone())],
            ))
        }
        _ => None,
    }
}

fn rename(columns: &mut [Field], alias: Option<&TableAlias>) -> Result<(), Fault> {
    let Some(alias) = alias else { return Ok(()) };
    if alias.columns.is_empty() {
        return Ok(());
    }
    if alias.columns.len() != columns.len() {
        let subject = format!("the number of columns of {}", alias.name);
        let reason = SqlErrorReason::mismatch(subject, alias.columns.len(), columns.len());
        return Err(Fault::new(alias.name.span.start, reason));
    }
    for (column, named) in columns.iter_mut().zip(&alias.columns) {
        column.name = named.name.value.as_str().into();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::decode::Decoder;
    use crate::engine::Engine;
    use crate::output::Output;
    use crate::program::Program;
    use headland_event::{EventTime, Offset};

    const TABLE: &str = "CREATE TABLE t (k STRING, a ARRAY<INT>, o ARRAY<ROW<sku STRING, n INT>>) \
                         WITH ('topic' = 't');\n";

    /// The rows of a query over one line of the table, values joined by spaces.
    fn rows(query: &str, line: &str) -> Vec<String> {
        let sql =
            format!("{TABLE}CREATE TABLE r WITH ('topic' = 'r', 'limit.work' = '3') AS {query}");
        let program = Program::compile("rules.sql", &sql).unwrap();
        let table = program.table_id("t").unwrap();
        let decoder = Decoder::new(program.table(table), None).unwrap();
        let mut engine = Engine::new(program, 1);
        let row = decoder.decode(line.as_bytes()).unwrap();
        engine.on_row(table, &row, Offset::new(0), EventTime::from_millis(0));
        let shown = |output| match output {
            Output::Result(result) => {
                let values = result.columns.iter().map(|(_, value)| value.to_string());
                values.collect::<Vec<_>>().join(" ")
            }
            Output::Refused(refused) => refused.reason.to_string(),
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(|| engine.poll_output()).map(shown).collect()
    }

    fn refused(query: &str) -> String {
        let sql = format!("{TABLE}CREATE TABLE r WITH ('topic' = 'r') AS {query}");
        Program::compile("rules.sql", &sql).unwrap_err().to_string()
    }

    #[test]
    fn elements_follow_their_row_with_their_places() {
        let query = "SELECT k, x, n FROM t CROSS JOIN UNNEST(a) WITH ORDINALITY AS u (x, n)";

        assert_eq!(rows(query, r#"{"k":"a","a":[7,null]}"#), ["a 7 1", "a NULL 2"]);
        assert_eq!(rows(query, r#"{"k":"a","a":[]}"#), [""; 0]);
        assert_eq!(rows(query, r#"{"k":"a"}"#), [""; 0]);
    }

    #[test]
    fn fields_of_rows_become_columns_and_a_left_join_keeps_a_row_without_any() {
        let query = "SELECT k, u.sku, n FROM t LEFT JOIN UNNEST(o) AS u ON TRUE";

        let line = r#"{"k":"a","o":[{"sku":"x","n":1},null]}"#;
        assert_eq!(rows(query, line), ["a x 1", "a NULL NULL"]);
        assert_eq!(rows(query, r#"{"k":"a","o":[]}"#), ["a NULL NULL"]);
    }

    #[test]
    fn a_collection_beyond_the_limit_of_work_refuses_its_row() {
        let query = "SELECT k, x FROM t, UNNEST(a) AS u (x)";

        assert_eq!(rows(query, r#"{"k":"a","a":[1,2,3]}"#).len(), 3);
        let told = rows(query, r#"{"k":"a","a":[1,2,3,4]}"#);
        assert!(matches!(told.as_slice(), [one] if one.contains('3')), "{told:?}");
    }

    #[test]
    fn what_has_no_elements_is_refused_with_what_has() {
        assert_eq!(
            refused("SELECT k FROM t CROSS JOIN UNNEST(k) AS u (x)"),
            "rules.sql:2:74: the argument of UNNEST is STRING, expected an ARRAY or a MAP"
        );
        assert!(refused("SELECT k FROM t RIGHT JOIN UNNEST(a) AS u (x) ON TRUE").contains(
            "this join of UNNEST is not supported yet; supported: CROSS JOIN UNNEST(collection)"
        ));
        assert!(refused("SELECT k FROM t, t AS b").contains("a list of tables"));
    }
}
