//! What compiles, and what is said about what does not.

use super::*;
use crate::value::DataType;

/// Lines 1 to 5 of every file below; what a test adds starts on line 6.
const TABLES: &str = "\
CREATE TABLE air_readings (station STRING, ts TIMESTAMP(3), pm25 DOUBLE, n INT, total BIGINT,
  ok BOOLEAN, WATERMARK FOR ts AS ts - INTERVAL '1' HOUR) WITH ('topic' = 'air', 'key' = 'station');
CREATE TABLE plain (a STRING, ts TIMESTAMP(3)) WITH ('topic' = 'plain');
CREATE TABLE high (station STRING, until TIMESTAMP(3), pm25 DOUBLE) WITH ('topic' = 'alerts');
CREATE TABLE seen (station STRING) WITH ('topic' = 'alerts');
";

const WINDOWS: &str = "FROM TABLE(TUMBLE(TABLE air_readings, DESCRIPTOR(ts), INTERVAL '3' HOURS))";

fn compiled(sql: &str) -> Program {
    Program::compile("rules.sql", &format!("{TABLES}{sql}")).unwrap()
}

fn refusal(sql: &str) -> String {
    Program::compile("rules.sql", &format!("{TABLES}{sql}")).unwrap_err().to_string()
}

/// The refusal of an expression in WHERE, without file and line: it starts in column 51.
fn refused_where(condition: &str) -> String {
    let sql = format!("INSERT INTO seen SELECT station FROM air_readings WHERE {condition}");
    let refusal = refusal(&sql);
    refusal.strip_prefix("rules.sql:6:").unwrap_or(&refusal).to_owned()
}

#[test]
fn a_file_becomes_source_tables_and_rules_named_by_their_targets() {
    let program = compiled(
        "INSERT INTO seen SELECT station FROM air_readings;\nINSERT INTO high SELECT a, ts, 1 FROM \
         plain;",
    );

    let tables: Vec<_> = program.tables().iter().map(|table| &**table.name()).collect();
    let rules: Vec<_> = program.rules().iter().map(|rule| &**rule.name()).collect();
    assert_eq!(tables, ["air_readings", "plain"]);
    assert_eq!(rules, ["seen", "high"]);
    assert_eq!(program.rules()[1].sources(), [program.table_id("plain").unwrap()]);
}

#[test]
fn an_unknown_column_is_placed_and_the_one_that_was_meant_is_named() {
    assert_eq!(
        refusal("INSERT INTO seen\nSELECT station\nFROM air_readings\nWHERE ok AND pm52 > 120"),
        "rules.sql:9:14: unknown column \"pm52\" in table air_readings, did you mean \"pm25\"?"
    );
    assert_eq!(
        refusal(&format!(
            "INSERT INTO seen SELECT humidity {WINDOWS}\nGROUP BY window_start, window_end"
        )),
        "rules.sql:6:25: unknown column \"humidity\" in table air_readings, known are station, ts, \
         pm25, n, total, ok, window_start, window_end, window_time"
    );
    assert_eq!(refused_where("r.n > 1"), "57: unknown table \"r\", known are air_readings");
}

#[test]
fn an_unknown_table_is_placed_whether_read_or_written() {
    assert_eq!(
        refusal("INSERT INTO seen SELECT station FROM air_reading"),
        "rules.sql:6:38: unknown table \"air_reading\", did you mean \"air_readings\"?"
    );
    assert_eq!(
        refusal("INSERT INTO sene SELECT station FROM air_readings"),
        "rules.sql:6:13: unknown table \"sene\", did you mean \"seen\"?"
    );
}

#[test]
fn operands_of_the_wrong_type_are_refused() {
    assert_eq!(
        refused_where("pm25 > 'high'"),
        "64: the right side of > is STRING, expected DOUBLE"
    );
    assert_eq!(
        refused_where("station + 1 = 2"),
        "57: the left side of + is STRING, expected a number"
    );
    assert_eq!(refused_where("NOT n"), "61: the operand of NOT is INT, expected BOOLEAN");
    assert_eq!(refused_where("n"), "57: the condition of WHERE is INT, expected BOOLEAN");
    assert_eq!(refused_where("n LIKE '1%'"), "57: the left side of LIKE is INT, expected STRING");
    assert_eq!(refused_where("station IN ('a', 2)"), "74: an item of IN is INT, expected STRING");
    assert_eq!(
        refused_where("CASE WHEN ok THEN 1 ELSE 'x' END = 1"),
        "82: the value of ELSE is STRING, expected INT"
    );
    assert_eq!(
        refused_where("ts > TIMESTAMP '2013-03-01'"),
        "72: the literal is `TIMESTAMP '2013-03-01'`, expected TIMESTAMP 'RFC 3339 or YYYY-MM-DD \
         HH:MM:SS[.fff]'"
    );
}

#[test]
fn functions_are_refused_by_name_and_by_their_arguments() {
    assert_eq!(
        refused_where("UPER(station) = 'A'"),
        "57: unknown function \"UPER\", did you mean \"UPPER\"?"
    );
    assert_eq!(
        refused_where("UPPER(n) = 'A'"),
        "63: the argument of UPPER is INT, expected STRING"
    );
    assert_eq!(
        refused_where("ABS(n, 1) = 1"),
        "57: the number of arguments of ABS is 2, expected 1"
    );
    assert_eq!(
        refused_where("AVG(pm25) > 1"),
        "57: aggregate AVG can stand only in SELECT or HAVING"
    );
    assert_eq!(
        refusal(&format!(
            "INSERT INTO high SELECT station, window_end, SUM(station) {WINDOWS}\n\
             GROUP BY station, window_start, window_end"
        )),
        "rules.sql:6:50: the argument of SUM is STRING, expected a number"
    );
    assert_eq!(
        refusal(&format!(
            "INSERT INTO high SELECT station, window_end, SUM(n, n) {WINDOWS}\n\
             GROUP BY station, window_start, window_end"
        )),
        "rules.sql:6:53: the second argument of SUM is `n`, expected a constant"
    );
}

#[test]
fn what_flink_knows_and_headland_does_not_is_named_with_what_is_supported() {
    let queries = "SELECT … FROM … [WHERE …] [GROUP BY …] [HAVING …], UNION ALL and WITH";

    assert_eq!(
        refusal("INSERT INTO seen SELECT station FROM air_readings ORDER BY station"),
        format!("rules.sql:6:18: ORDER BY is not supported yet; supported: {queries}")
    );
    assert_eq!(
        refusal("INSERT INTO seen SELECT station FROM air_readings LIMIT 1"),
        format!("rules.sql:6:18: LIMIT is not supported yet; supported: {queries}")
    );
    assert_eq!(
        refusal("INSERT INTO seen SELECT station FROM air_readings QUALIFY n > 1"),
        "rules.sql:6:18: QUALIFY is not supported yet; supported: SELECT … FROM … [WHERE …] [GROUP \
         BY …] [HAVING …] [WINDOW …]"
    );
}

#[test]
fn a_join_of_everything_with_everything_is_refused() {
    assert_eq!(
        refusal("INSERT INTO seen SELECT station FROM air_readings\nJOIN plain ON n > 1"),
        "rules.sql:6:18: the condition of a join lacks an equality between columns of both sides: \
         without one every row meets every other"
    );
    assert!(refusal("INSERT INTO seen SELECT station FROM air_readings, plain").contains("a list"));
}

#[test]
fn a_column_of_two_tables_must_say_whose_it_is() {
    assert_eq!(
        refusal("INSERT INTO seen SELECT station FROM air_readings JOIN plain ON ts = n"),
        "rules.sql:6:65: column \"ts\" is in each of air_readings, plain; put the name of one and \
         a dot before it"
    );
}

#[test]
fn a_rank_needs_a_bound_unless_event_time_orders_it() {
    let rank = |order: &str| {
        format!(
            "INSERT INTO seen SELECT station FROM (SELECT station, ROW_NUMBER() OVER (PARTITION BY \
             station ORDER BY {order}) AS rank_number FROM air_readings)"
        )
    };

    assert_eq!(compiled(&rank("ts")).rules().len(), 1);
    assert_eq!(compiled(&(rank("pm25") + " WHERE rank_number <= 3")).rules().len(), 1);
    assert!(refusal(&rank("pm25")).contains("ROW_NUMBER that is not ordered by event time lacks"));
}

#[test]
fn views_and_with_are_queries_by_name() {
    let program = compiled(
        "CREATE VIEW warm (place) AS SELECT station FROM air_readings WHERE pm25 > 1;
         INSERT INTO seen WITH w AS (SELECT place FROM warm) SELECT place FROM w UNION ALL SELECT \
         a FROM plain",
    );

    let tables = ["air_readings", "plain"].map(|name| program.table_id(name).unwrap());
    assert_eq!(program.rules()[0].sources(), tables);
}

#[test]
fn a_view_of_itself_is_refused() {
    assert!(
        refusal("CREATE VIEW v AS SELECT a FROM v; INSERT INTO seen SELECT a FROM v")
            .ends_with("the nesting of queries and views is longer than its limit of 24")
    );
}

#[test]
fn a_table_may_be_made_of_a_query() {
    let program = compiled(
        "CREATE TABLE made WITH ('topic' = 'made') AS SELECT n * 1.5 AS more, ts FROM air_readings",
    );

    let columns = program.rules()[0].schema().columns().iter();
    let columns: Vec<_> =
        columns.map(|column| format!("{} {}", column.name(), column.data_type())).collect();
    assert_eq!(columns, ["more DECIMAL(13, 1)", "ts TIMESTAMP(3)"]);
}

#[test]
fn columns_after_insert_into_take_the_query_in_their_order_and_the_rest_null() {
    let program =
        compiled("INSERT INTO high (pm25, station) SELECT pm25, station FROM air_readings");

    assert_eq!(program.rules()[0].schema().columns().len(), 3);
}

#[test]
fn a_window_needs_a_watermark_and_its_column() {
    assert_eq!(
        refusal(
            "INSERT INTO seen SELECT a FROM TABLE(TUMBLE(TABLE plain, DESCRIPTOR(ts), INTERVAL '1' \
             HOUR))\nGROUP BY a, window_start, window_end"
        ),
        "rules.sql:6:69: the column of DESCRIPTOR is ts, expected a column with a WATERMARK, which \
         table plain does not declare"
    );
    assert_eq!(
        refusal(
            "INSERT INTO seen SELECT station FROM TABLE(TUMBLE(TABLE air_readings, \
             DESCRIPTOR(pm25), INTERVAL '1' HOUR))\nGROUP BY station, window_start, window_end"
        ),
        "rules.sql:6:82: the column of DESCRIPTOR is pm25, expected the event-time column ts"
    );
    assert_eq!(
        refusal(
            "INSERT INTO seen SELECT station FROM TABLE(TUMBLE(TABLE air_readings, \
             DESCRIPTOR(ts),\n INTERVAL '0' HOUR))\nGROUP BY station, window_start, window_end"
        ),
        "rules.sql:6:44: the size of a window is 0 ms, expected 1 millisecond or more"
    );
    assert_eq!(
        refusal(
            "INSERT INTO seen SELECT station FROM TABLE(TUMBLE(TABLE air_readings, \
             DESCRIPTOR(ts),\n INTERVAL '1' MONTH))\nGROUP BY station, window_start, window_end"
        ),
        "rules.sql:7:11: the size of a window is `INTERVAL '1' MONTH`, expected INTERVAL 'n' \
         SECOND, MINUTE, HOUR or DAY"
    );
}

#[test]
fn groups_must_name_the_window_and_every_column_that_is_selected() {
    assert_eq!(
        refusal(&format!(
            "INSERT INTO seen SELECT station {WINDOWS}\nGROUP BY station, window_start"
        )),
        "rules.sql:7:10: GROUP BY of a query with windows lacks window_end"
    );
    assert_eq!(
        refusal(&format!(
            "INSERT INTO high SELECT station, window_end,\n pm25 {WINDOWS}\n\
             GROUP BY station, window_start, window_end"
        )),
        "rules.sql:7:2: column \"pm25\" is neither in GROUP BY nor inside an aggregate"
    );
}

#[test]
fn a_result_must_fit_the_columns_of_its_target() {
    assert_eq!(
        refusal("INSERT INTO seen SELECT station, n FROM air_readings"),
        "rules.sql:6:34: the number of columns inserted into table seen is 2, expected 1"
    );
    assert_eq!(
        refusal("INSERT INTO seen SELECT n FROM air_readings"),
        "rules.sql:6:25: the value for column station of table seen is INT, expected STRING"
    );
    assert_eq!(
        compiled("INSERT INTO high SELECT station, ts, n FROM air_readings").rules()[0]
            .schema()
            .columns()[2]
            .data_type(),
        &DataType::Double,
        "an INT widens to the DOUBLE of the target"
    );
}

#[test]
fn a_name_has_one_meaning() {
    assert_eq!(
        refusal("CREATE TABLE plain (b INT) WITH ('topic' = 'x')"),
        "rules.sql:6:14: table \"plain\" appears twice; it was first named on line 3"
    );
    assert_eq!(
        refusal(
            "INSERT INTO seen SELECT a FROM plain;\nINSERT INTO seen SELECT station FROM \
             air_readings"
        ),
        "rules.sql:7:13: the target of a rule, \"seen\" appears twice; it was first named on line 6"
    );
    assert_eq!(
        refusal(
            "INSERT INTO seen SELECT a FROM plain;\n\
             INSERT INTO high SELECT station, NULL, 1 FROM seen"
        ),
        "rules.sql:7:47: reading table seen, which a rule inserts into, is not supported yet; \
         supported: tables that no rule inserts into, and views"
    );
}

#[test]
fn a_double_quoted_text_is_refused_with_both_things_it_may_have_meant() {
    assert_eq!(
        refused_where("station = \"Dongsi\""),
        "67: the literal is \"Dongsi\", expected 'text' in single quotes or `name` in backquotes"
    );
}

#[test]
fn a_long_chain_of_and_compiles_and_a_long_sum_is_refused() {
    let chain = vec!["n > 1"; 900].join(" AND ");
    let sum = vec!["n"; 1_900].join(" + ");

    let sql = format!("INSERT INTO seen SELECT station FROM air_readings WHERE {chain}");

    assert_eq!(compiled(&sql).rules().len(), 1);
    assert!(refused_where(&format!("{sum} > 1")).ends_with("longer than its limit of 200"));
    assert!(refused_where(&vec!["n"; 1_900].join(" | ")).contains("is not supported yet"));
}

#[test]
fn one_expression_may_be_written_in_two_ways_and_is_still_the_key() {
    let program = compiled(&format!(
        "INSERT INTO high SELECT UPPER(r.station), window_end, (n + 1) * COUNT(*) {WINDOWS} AS r\n\
         GROUP BY upper(station), window_start, window_end, n + 1"
    ));

    assert_eq!(program.rules().len(), 1);
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

#[test]
fn a_second_table_on_a_topic_that_is_read_needs_the_same_records() {
    let more = |columns: &str, with: &str| {
        let table = format!("CREATE TABLE other ({columns}) WITH ('topic' = 'plain'{with});");
        compiled(&table).check_topic(&topic("plain")).unwrap_err().to_string()
    };

    let columns = more("a STRING, ts STRING", "");
    let format = more("a STRING, ts TIMESTAMP(3)", ", 'format' = 'csv'");
    let key = more("a STRING, ts TIMESTAMP(3)", ", 'key' = 'a'");
    let time = more("a STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts", "");

    let of = |difference: &str| {
        format!(
            "rules.sql:6:14: topic \"plain\" is that of table plain on line 3 already, and \
             {difference}; give table other a topic of its own"
        )
    };
    assert_eq!(columns, of("their columns differ"));
    assert_eq!(format, of("their formats differ"));
    assert_eq!(key, of("their keys differ"));
    assert_eq!(time, of("their event times differ"));
}

#[test]
fn a_table_does_not_read_the_topic_that_a_rule_writes() {
    let program = compiled("INSERT INTO seen SELECT station FROM air_readings;");

    let refusal = program.check_topic(&topic("alerts")).unwrap_err();

    assert_eq!(
        refusal.to_string(),
        "rules.sql:4:14: rule seen writes to topic \"alerts\"; give table high a topic of its own"
    );
}

#[test]
fn equal_tables_on_one_topic_see_its_records_each() {
    let program =
        compiled("CREATE TABLE again (a STRING, ts TIMESTAMP(3)) WITH ('topic' = 'plain');");

    let checked = program.check_topic(&topic("plain"));
    let tables: Vec<TableId> = program.tables_of(&topic("plain")).collect();

    assert_eq!(checked, Ok(()));
    assert_eq!(tables, ["plain", "again"].map(|name| program.table_id(name).unwrap()));
}

#[test]
fn a_pattern_names_its_variables_and_is_ordered_by_event_time() {
    let matched = |order: &str, skip: &str| {
        format!(
            "INSERT INTO seen SELECT first_station FROM air_readings MATCH_RECOGNIZE (ORDER BY \
             {order} MEASURES FIRST(A.station) AS first_station AFTER MATCH SKIP TO LAST {skip} \
             PATTERN (A B+) DEFINE B AS B.n > LAST(A.n, 0) AND SUM(B.n) < 100)"
        )
    };

    assert_eq!(compiled(&matched("ts", "B")).rules().len(), 1);
    assert!(refusal(&matched("ts", "C")).contains("unknown variable \"C\" of PATTERN"));
    assert!(
        refusal(&matched("n", "B")).ends_with("MATCH_RECOGNIZE lacks ORDER BY ts, the event time")
    );
}
