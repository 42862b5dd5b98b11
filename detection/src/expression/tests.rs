//! Values and types of expressions as they are written in SQL.

use super::*;
use crate::decimal::Decimal;
use crate::sql::statement::{Statement, parse};
use crate::value::{Column, DataType, Schema, Value};
use headland_event::EventTime;
use sqlparser::ast::{SelectItem, SetExpr};
use sqlparser::tokenizer::Location;

fn schema() -> Schema {
    Schema::new(vec![
        Column::new("i", DataType::Int),
        Column::new("b", DataType::BigInt),
        Column::new("d", DataType::Double),
        Column::new("s", DataType::String),
        Column::new("ts", DataType::Timestamp),
        Column::new("nothing", DataType::BigInt),
        Column::new("yes", DataType::Boolean),
    ])
}

fn row() -> [Value; 7] {
    [
        Value::Integer(7),
        Value::Integer(-3),
        Value::Double(2.5),
        Value::text("Dongsi"),
        Value::Timestamp(EventTime::from_millis(1_291_191_960_000)),
        Value::Null,
        Value::Boolean(true),
    ]
}

/// The type and value of a SQL expression over [`row`].
fn evaluated(sql: &str) -> (Option<DataType>, Value) {
    let statement = format!("INSERT INTO r SELECT {sql} FROM t");
    let Some(Statement::Insert(insert)) = parse(&statement).unwrap().pop() else { panic!() };
    let SetExpr::Select(select) = *insert.query.body else { panic!() };
    let [SelectItem::UnnamedExpr(parsed)] = select.projection.as_slice() else { panic!("{sql}") };
    let mut scope = Columns::of_schema("t", &schema());
    let typed = Compiler::new(&mut scope, Location::new(1, 1)).compile(parsed).unwrap();
    let value = typed.expression.evaluate(&row()).unwrap().into_owned();
    assert!(
        typed.data_type.as_ref().is_none_or(|data_type| value.fits(data_type)),
        "{sql} is {value:?}"
    );
    (typed.data_type, value)
}

fn value(sql: &str) -> Value {
    evaluated(sql).1
}

/// The truth of a condition; none when it is unknown.
fn truth(sql: &str) -> Option<bool> {
    match evaluated(sql) {
        (_, Value::Boolean(truth)) => Some(truth),
        (_, Value::Null) => None,
        other => panic!("{sql} is {other:?}"),
    }
}

#[test]
fn arithmetic_binds_as_in_sql_and_takes_the_wider_type() {
    assert_eq!(evaluated("i + 2 * 3"), (Some(DataType::Int), Value::Integer(13)));
    assert_eq!(evaluated("(i + 2) * b"), (Some(DataType::BigInt), Value::Integer(-27)));
    assert_eq!(evaluated("i / 2"), (Some(DataType::Int), Value::Integer(3)));
    assert_eq!(evaluated("d / 2.0"), (Some(DataType::Double), Value::Double(1.25)));
    assert_eq!(
        evaluated("i / 2.0"),
        (
            Some(DataType::Decimal { precision: 17, scale: 6 }),
            Value::Decimal(Decimal::parse("3.500000").unwrap())
        )
    );
    assert_eq!(evaluated("b % 2"), (Some(DataType::BigInt), Value::Integer(-1)));
    assert_eq!(evaluated("-d - i"), (Some(DataType::Double), Value::Double(-9.5)));
    assert_eq!(evaluated("2147483647 + 1").1, Value::Integer(-2_147_483_648));
    assert_eq!(evaluated("-9223372036854775808").0, Some(DataType::BigInt));
}

#[test]
fn arithmetic_with_null_is_null() {
    assert_eq!(evaluated("b + nothing"), (Some(DataType::BigInt), Value::Null));
    assert_eq!(value("nothing / 0"), Value::Null);
    assert_eq!(value("-nothing"), Value::Null);
}

#[test]
fn numbers_of_different_types_compare_by_value() {
    assert_eq!(truth("i > d"), Some(true));
    assert_eq!(truth("b = -3.0"), Some(true));
    assert_eq!(truth("d <= 2"), Some(false));
    assert_eq!(truth("i <> 7"), Some(false));
}

#[test]
fn a_comparison_with_null_is_unknown_and_is_null_is_not() {
    assert_eq!(truth("nothing = nothing"), None);
    assert_eq!(truth("i = NULL"), None);
    assert_eq!(truth("NOT (nothing > 1)"), None);
    assert_eq!(truth("nothing IS NULL"), Some(true));
    assert_eq!(truth("i IS NOT NULL"), Some(true));
    assert_eq!(truth("(nothing > 1) IS TRUE"), Some(false));
    assert_eq!(truth("(nothing > 1) IS NOT FALSE"), Some(true));
}

#[test]
fn and_binds_before_or_and_not_before_and() {
    assert_eq!(truth("yes OR yes AND FALSE"), Some(true));
    assert_eq!(truth("NOT yes AND FALSE OR yes"), Some(true));
    assert_eq!(truth("nothing > 1 OR yes"), Some(true));
    assert_eq!(truth("nothing > 1 AND yes"), None);
}

#[test]
fn between_includes_both_its_ends() {
    assert_eq!(truth("i BETWEEN 7 AND 8"), Some(true));
    assert_eq!(truth("i BETWEEN 6 AND 7"), Some(true));
    assert_eq!(truth("i BETWEEN 8 AND 9"), Some(false));
    assert_eq!(truth("i NOT BETWEEN 8 AND nothing"), Some(true));
    assert_eq!(truth("i BETWEEN 7 AND nothing"), None);
}

#[test]
fn in_takes_the_widest_type_of_its_items() {
    assert_eq!(truth("i IN (1, 7.0)"), Some(true));
    assert_eq!(truth("i IN (1, 2147483648)"), Some(false));
    assert_eq!(truth("s NOT IN ('Tiantan', 'Dongsi')"), Some(false));
    assert_eq!(truth("i NOT IN (1, NULL)"), None);
}

#[test]
fn text_is_matched_joined_and_changed_in_case() {
    assert_eq!(truth("s LIKE 'D%s_'"), Some(true));
    assert_eq!(truth("s NOT LIKE '%x%'"), Some(true));
    assert_eq!(value("UPPER(s) || '-' || lower('A')"), Value::text("DONGSI-a"));
    assert_eq!(value("CONCAT(s, NULL)"), Value::Null);
    assert_eq!(value("'it''s'"), Value::text("it's"));
}

#[test]
fn case_has_the_widest_type_of_its_values() {
    let searched = "CASE WHEN nothing > 1 THEN 1 WHEN i > 5 THEN b ELSE 0 END";
    let simple = "CASE i WHEN 1 THEN 'one' WHEN 7 THEN 'seven' END";

    assert_eq!(evaluated(searched), (Some(DataType::BigInt), Value::Integer(-3)));
    assert_eq!(evaluated(simple), (Some(DataType::String), Value::text("seven")));
    assert_eq!(evaluated("CASE WHEN yes THEN 1 ELSE 2.5E0 END").1, Value::Double(1.0));
    assert_eq!(
        evaluated("CASE WHEN yes THEN 1 ELSE 2.5 END").0,
        Some(DataType::Decimal { precision: 11, scale: 1 })
    );
    assert_eq!(value("CASE WHEN NOT yes THEN 1 END"), Value::Null);
}

#[test]
fn coalesce_and_abs_keep_the_type_of_their_arguments() {
    assert_eq!(evaluated("COALESCE(nothing, i)"), (Some(DataType::BigInt), Value::Integer(7)));
    assert_eq!(evaluated("COALESCE(nothing, d)"), (Some(DataType::Double), Value::Double(2.5)));
    assert_eq!(evaluated("ABS(b)"), (Some(DataType::BigInt), Value::Integer(3)));
    assert_eq!(evaluated("ABS(-d)"), (Some(DataType::Double), Value::Double(2.5)));
    assert_eq!(evaluated("NULL"), (None, Value::Null));
}

#[test]
fn timestamps_compare_with_literals() {
    assert_eq!(truth("ts = TIMESTAMP '2010-12-01 08:26:00'"), Some(true));
    assert_eq!(truth("ts < TIMESTAMP '2010-12-01 08:26:00.001'"), Some(true));
}

#[test]
fn a_column_may_be_qualified_by_its_table() {
    assert_eq!(value("t.i"), Value::Integer(7));
    assert_eq!(value("`t`.`s`"), Value::text("Dongsi"));
}

#[test]
fn fields_items_and_keys_are_reached_by_name_index_and_key() {
    assert_eq!(value("ARRAY[i, 2][1]"), Value::Integer(7));
    assert_eq!(value("ARRAY[i, 2][3]"), Value::Null);
    assert_eq!(value("MAP['a', i]['a']"), Value::Integer(7));
    assert_eq!(value("MAP['a', i]['b']"), Value::Null);
    assert_eq!(value("CARDINALITY(ARRAY[1, 2])"), Value::Integer(2));
}

#[test]
fn a_time_moves_by_intervals_and_is_cut_to_units() {
    let moved = "ts + INTERVAL '1' DAY - INTERVAL '1' MONTH = TIMESTAMP '2010-11-02 08:26:00'";

    assert_eq!(truth(moved), Some(true));
    assert_eq!(truth("FLOOR(ts TO HOUR) = TIMESTAMP '2010-12-01 08:00:00'"), Some(true));
    assert_eq!(truth("TIMESTAMPADD(HOUR, i, ts) > ts"), Some(true));
    assert_eq!(value("TIMESTAMPDIFF(MINUTE, ts, ts + INTERVAL '90' SECOND)"), Value::Integer(1));
    assert_eq!(value("EXTRACT(YEAR FROM ts)"), Value::Integer(2010));
    assert_eq!(truth("ts > '2010-12-01 08:25:59'"), Some(true));
}

#[test]
fn what_cannot_be_cast_refuses_the_row_and_try_cast_gives_null() {
    assert_eq!(evaluated("CAST('12' AS BIGINT)"), (Some(DataType::BigInt), Value::Integer(12)));
    assert_eq!(evaluated("TRY_CAST(s AS INT)"), (Some(DataType::Int), Value::Null));
    assert_eq!(value("CAST(d AS STRING)"), Value::text("2.5"));
    assert_eq!(value("CAST('abc' AS VARCHAR(2))"), Value::text("ab"));
}

#[test]
fn regular_expressions_are_constant_and_linear() {
    assert_eq!(value("REGEXP_EXTRACT(s, '(D.)(n)', 2)"), Value::text("n"));
    assert_eq!(value("REGEXP_REPLACE(s, '[aeiou]', '-')"), Value::text("D-ngs-"));
    assert_eq!(truth("s SIMILAR TO 'D%(si|so)'"), Some(true));
    assert_eq!(truth("s LIKE '!%%' ESCAPE '!'"), Some(false));
}

#[test]
fn numbers_are_rounded_in_their_type() {
    assert_eq!(evaluated("ROUND(d)"), (Some(DataType::Double), Value::Double(3.0)));
    assert_eq!(value("ROUND(1.255, 2)").to_string(), "1.26");
    assert_eq!(value("TRUNCATE(12.99, 1)").to_string(), "12.9");
    assert_eq!(value("FLOOR(-1.5)").to_string(), "-2");
    assert_eq!(evaluated("MOD(i, 4)"), (Some(DataType::Int), Value::Integer(3)));
    assert_eq!(value("GREATEST(i, b, 9)"), Value::Integer(9));
    assert_eq!(value("LEAST(i, nothing)"), Value::Null);
    assert_eq!(value("NULLIF(i, 7)"), Value::Null);
    assert_eq!(value("IF(yes, 'a', 'b')"), Value::text("a"));
}

#[test]
fn null_is_no_json() {
    assert_eq!(truth("CAST(NULL AS STRING) IS JSON"), Some(false));
    assert_eq!(truth("'[1]' IS JSON ARRAY"), Some(true));
}

#[test]
fn what_only_a_clock_or_a_dice_knows_is_refused_with_what_would_fit() {
    let refused = |call: &str| {
        let sql = format!(
            "CREATE TABLE t (k STRING) WITH ('topic' = 't');\n\
             CREATE TABLE r WITH ('topic' = 'r') AS SELECT {call} AS x FROM t;"
        );
        crate::Program::compile("rules.sql", &sql).unwrap_err().to_string()
    };
    let fits = "use the event time, or the time of arrival, declared as `at TIMESTAMP_LTZ(3) \
                METADATA FROM 'timestamp', WATERMARK FOR at AS at`";

    for call in ["PROCTIME()", "NOW()", "CURRENT_TIMESTAMP", "CURRENT_DATE", "UNIX_TIMESTAMP()"] {
        let name = call.trim_end_matches("()");
        assert_eq!(
            refused(call),
            format!(
                "rules.sql:2:47: {name} would give other results when the log is read again; {fits}"
            )
        );
    }
    assert!(refused("RAND()").ends_with("derive it from a column, for example MD5(id)"));
    let column = "CREATE TABLE t (k STRING,\n proc AS PROCTIME()) WITH ('topic' = 't')";
    let error = crate::Program::compile("rules.sql", column).unwrap_err();
    assert_eq!((error.position().line, error.position().column), (2, 10));
}
