//! Rules that look rows up in a file.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test, with what it found")]

use std::sync::Arc;

use headland_detection::{Engine, FileRows, Output, Program, Row, TableId, Value};
use headland_event::{EventTime, Offset};

const TABLES: &str = "
CREATE TABLE e (id STRING, v BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
  WITH ('topic' = 'e');
CREATE TABLE devices (id STRING, site STRING, most BIGINT)
  WITH ('connector' = 'filesystem', 'path' = 'devices.csv', 'format' = 'csv');
";

fn program(query: &str) -> Program {
    let sql = format!("{TABLES}CREATE TABLE o WITH ('topic' = 'o') AS {query};");
    Program::compile("rules.sql", &sql).unwrap()
}

fn read(program: &Program, csv: &str) -> (TableId, Arc<FileRows>) {
    let (id, table, _) = program.file_tables().next().unwrap();
    (id, Arc::new(FileRows::read(table, "devices.csv", csv.as_bytes()).unwrap()))
}

fn with(program: &Program, csv: &str) -> Program {
    let (table, rows) = read(program, csv);
    program.clone().with_file(table, rows)
}

/// What comes out for rows of one table, one line each.
fn run(engine: &mut Engine, rows: &[(&str, i64, i64)]) -> Vec<String> {
    let table = engine.program().table_id("e").unwrap();
    let mut told = Vec::new();
    for (number, (id, value, second)) in (0..).zip(rows) {
        let time = EventTime::from_millis(second * 1_000);
        let row = vec![Value::text(id), Value::Integer(*value), Value::Timestamp(time)];
        engine.on_row(table, &Row::new(row), Offset::new(number), EventTime::MIN);
        while let Some(output) = engine.poll_output() {
            told.push(match output {
                Output::Result(result) => {
                    let values = result.columns.iter().map(|(_, value)| value.to_string());
                    values.collect::<Vec<_>>().join(" ")
                }
                Output::Refused(refused) => format!("refused: {}", refused.reason),
                other => format!("{other:?}"),
            });
        }
    }
    told
}

const JOINED: &str = "SELECT e.id, v, d.site FROM e
  JOIN devices FOR SYSTEM_TIME AS OF e.ts AS d ON d.id = e.id AND v < d.most";

#[test]
fn each_row_comes_out_with_every_row_of_the_file_that_has_its_key() {
    let csv = "id,site,most\na,north,9\nb,south,9\nb,west,5\nc,east,0\n";
    let rows = [("a", 1, 0), ("b", 4, 1), ("b", 7, 2), ("c", 1, 3), ("d", 1, 4), ("a", 2, 5)];

    let inner = run(&mut Engine::new(with(&program(JOINED), csv), 7), &rows);
    let left = JOINED.replace("JOIN", "LEFT JOIN");
    let left = run(&mut Engine::new(with(&program(&left), csv), 7), &rows);

    assert_eq!(inner, ["a 1 north", "b 4 south", "b 4 west", "b 7 south", "a 2 north"]);
    let expected =
        ["a 1 north", "b 4 south", "b 4 west", "b 7 south", "c 1 NULL", "d 1 NULL", "a 2 north"];
    assert_eq!(left, expected);
}

#[test]
fn rows_that_one_row_finds_have_keys_of_their_own_unless_it_finds_one_at_most() {
    let keys = |tables: &str, select: &str, from: &str| {
        let sql = format!("{tables}CREATE VIEW j AS {JOINED}; CREATE TABLE o WITH ('topic' = 'o')");
        let program = Program::compile("rules.sql", &format!("{sql} AS SELECT {select} {from};"));
        let mut engine = Engine::new(with(&program.unwrap(), "a,north,9\na,west,8\n"), 7);
        let table = engine.program().table_id("e").unwrap();
        let row = vec![Value::text("a"), Value::Integer(1), Value::Timestamp(EventTime::MIN)];
        engine.on_row(table, &Row::new(row), Offset::new(0), EventTime::MIN);
        let mut keys = Vec::new();
        while let Some(Output::Result(result)) = engine.poll_output() {
            keys.push((result.key, result.window));
        }
        keys
    };
    let joined = JOINED.split_once("FROM").map(|(_, from)| format!("FROM{from}")).unwrap();

    for (select, from) in [("e.id", &*joined), ("e.id, site", &joined), ("*", "FROM j")] {
        let keys = keys(TABLES, select, from);
        assert_eq!(keys.len(), 2, "{keys:?}");
        assert_ne!(keys[0], keys[1], "{select} {from}");
    }
    let keyed = TABLES.replace("most BIGINT)", "most BIGINT, PRIMARY KEY (id, site) NOT ENFORCED)");
    let one = keys(&keyed, "e.id", &format!("{joined} AND d.site = 'west'"));
    let all = keys(&keyed, "e.id", &joined);
    assert_eq!((one.len(), all.len()), (1, 2));
    assert_ne!(all[0], all[1]);
}

#[test]
fn rows_that_may_be_taken_back_are_not_looked_up() {
    let last =
        "CREATE VIEW last AS SELECT id, v, ts FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY
      id ORDER BY ts DESC) AS n FROM e) WHERE n = 1;";
    let query = JOINED.replace("FROM e", "FROM last AS e");
    let sql = format!("{TABLES}{last}CREATE TABLE o WITH ('topic' = 'o') AS {query};");

    let refused = Program::compile("rules.sql", &sql).unwrap_err().to_string();

    let what = "looking rows up that may be taken back is not supported yet";
    assert!(refused.contains(what), "{refused}");
}

#[test]
fn a_rule_without_its_file_refuses_rows_and_takes_them_once_it_is_there() {
    let mut engine = Engine::new(program(JOINED), 7);

    let before = run(&mut engine, &[("a", 1, 0)]);
    let (table, rows) = read(engine.program(), "a,north,9\n");
    engine.on_file(table, &rows);
    let first = run(&mut engine, &[("a", 2, 1)]);
    let (table, rows) = read(engine.program(), "a,south,9\n");
    engine.on_file(table, &rows);
    let second = run(&mut engine, &[("a", 3, 2)]);
    engine.forget_file(table);
    let behind = run(&mut engine, &[("a", 4, 3)]);

    assert_eq!(before, ["refused: the rule looks in a file that could not be read"]);
    assert_eq!(behind, before);
    assert_eq!((first, second), (vec!["a 2 north".to_owned()], vec!["a 3 south".to_owned()]));
    let counts = engine.counts("o").unwrap();
    assert_eq!((counts.rows, counts.accepted, counts.refused), (4, 2, 2));
}

#[test]
fn what_is_looked_up_goes_into_windows_and_a_rule_that_began_anew_looks_again() {
    let query = "SELECT site, window_end, SUM(v) AS total FROM TABLE(TUMBLE(TABLE joined,
      DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY site, window_start, window_end";
    let view = format!("CREATE VIEW joined AS {};", JOINED.replace("d.site", "d.site, ts"));
    let sql = format!("{TABLES}{view}CREATE TABLE o WITH ('topic' = 'o') AS {query};");
    let program = with(&Program::compile("rules.sql", &sql).unwrap(), "a,north,9\nb,north,9\n");
    let rows = [("a", 1, 0), ("b", 2, 9), ("c", 4, 9), ("a", 8, 10), ("c", 0, 25)];

    let mut engine = Engine::new(program, 7);
    let first = run(&mut engine, &rows);
    engine.begin_anew("o");
    let again = run(&mut engine, &[("b", 5, 30), ("z", 0, 40)]);

    assert!(engine.program().rules()[0].merges_parts());
    assert_eq!(first, ["north 1970-01-01T00:00:10Z 3", "north 1970-01-01T00:00:20Z 8"]);
    assert_eq!(again, ["north 1970-01-01T00:00:40Z 5"]);
}

#[test]
fn what_a_file_holds_is_part_of_the_definition_of_the_rules_that_look_in_it() {
    let query = "SELECT e.id FROM e";
    let (joined, alone) = (program(JOINED), program(query));
    let definition = |program: &Program| program.definition("o").unwrap().into_owned();

    let (first, second) = (with(&joined, "a,north,9\n"), with(&joined, "a,south,9\n"));

    assert_ne!(definition(&joined), definition(&first));
    assert_ne!(definition(&first), definition(&second));
    assert_eq!(definition(&first), definition(&with(&joined, "a,north,9\n")));
    assert_eq!(definition(&alone), definition(&with(&alone, "a,north,9\n")));
}

#[test]
fn a_snapshot_goes_on_with_the_file_that_its_program_has() {
    let mut engine = Engine::new(with(&program(JOINED), "a,north,9\n"), 7);
    let before = run(&mut engine, &[("a", 1, 0)]);

    let snapshot = engine.snapshot();
    let program = with(engine.program(), "a,south,9\n");
    let mut restored = Engine::restore(program, 8, snapshot).unwrap();

    assert_eq!(before, ["a 1 north"]);
    assert_eq!(run(&mut restored, &[("a", 2, 1)]), ["a 2 south"]);
}

#[test]
fn conditions_on_the_left_are_asked_before_the_file_unless_they_may_fail() {
    let explained = |condition: &str| {
        let program = program(&format!("{JOINED} WHERE {condition}"));
        let text = program.explain("o").unwrap();
        let plan = text.lines().filter(|line| line.contains("filter") || line.contains("join"));
        plan.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    let join = "inner join with the rows of a file by 1 key".to_owned();
    let filter = "filter".to_owned();

    let left = explained("v > 3 AND e.id <> 'b'");
    let right = explained("d.site = 'north'");
    let both = explained("v > 3 AND d.site = 'north'");
    let failing = explained("10 / v > 1");

    assert_eq!(left, [join.clone(), filter.clone()]);
    assert_eq!(right, [filter.clone(), join.clone()]);
    assert_eq!(both, [filter.clone(), join.clone(), filter.clone()]);
    assert_eq!(failing, [filter, join]);
}

#[test]
fn rows_without_a_time_of_their_own_look_up_by_their_arrival() {
    let sql = "CREATE TABLE e (id STRING, at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp',
          made TIMESTAMP(3))
        WITH ('topic' = 'e');
      CREATE VIEW seen AS SELECT UPPER(id) AS id, at, made FROM e WHERE id <> 'x';
      CREATE TABLE devices (id STRING, site STRING)
        WITH ('connector' = 'filesystem', 'path' = 'devices.csv', 'format' = 'csv');
      CREATE TABLE versions (id STRING, ts TIMESTAMP(3), PRIMARY KEY (id) NOT ENFORCED,
        WATERMARK FOR ts AS ts) WITH ('topic' = 'v');
      CREATE TABLE o WITH ('topic' = 'o') AS SELECT seen.id, d.site FROM seen
        JOIN devices FOR SYSTEM_TIME AS OF seen.at AS d ON d.id = seen.id;";
    let compile = |sql: &str| Program::compile("rules.sql", sql);
    let refused = |from: &str, to: &str| compile(&sql.replace(from, to)).unwrap_err().to_string();

    let program = with(&compile(sql).unwrap(), "A,north\n");
    let (mut engine, e) = (Engine::new(program.clone(), 7), program.table_id("e").unwrap());
    let row = |id| Row::new(vec![Value::text(id), Value::Null, Value::Null]);
    engine.on_row(e, &row("a"), Offset::new(0), EventTime::MIN);

    let Some(Output::Result(result)) = engine.poll_output() else { panic!("no result") };
    assert_eq!(result.columns[1].1, Value::text("north"));
    let made = refused("OF seen.at", "OF seen.made");
    let expected = "the time of FOR SYSTEM_TIME AS OF is `seen.made`, expected the event-time \
                    column of the left side, or for a table without WATERMARK one of its arrival, \
                    METADATA FROM 'timestamp'";
    assert!(made.ends_with(expected), "{made}");
    let version = compile(&sql.replace("d.site", "d.ts").replace("JOIN devices", "JOIN versions"));
    let version = version.unwrap_err().to_string();
    assert!(version.ends_with("expected the event-time column of the left side"), "{version}");
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    let refused = |tables: &str, query: &str| {
        let sql = format!("{tables}\nCREATE TABLE o WITH ('topic' = 'o') AS {query};");
        Program::compile("rules.sql", &sql).unwrap_err().to_string()
    };
    let table = |columns: &str, options: &str| {
        format!("CREATE TABLE t ({columns}) WITH ('connector' = 'filesystem', {options});")
    };
    let sql = |columns: &str, options: &str| {
        let table = table(columns, options);
        Program::compile("rules.sql", &table).unwrap_err().to_string()
    };

    assert_eq!(
        refused(TABLES, "SELECT id FROM devices"),
        "rules.sql:7:55: reading table devices, which has a 'connector', is not supported yet; \
         supported: JOIN table FOR SYSTEM_TIME AS OF left.event_time ON left.key = table.key"
    );
    let right = JOINED.replace("JOIN", "RIGHT JOIN").replace("FROM e\n", "FROM e");
    assert_eq!(
        refused(TABLES, &right),
        "rules.sql:7:112: FOR SYSTEM_TIME AS OF on the right side of this join is not supported \
         yet; supported: [INNER | LEFT] JOIN"
    );
    let upper = JOINED.replace("d.id = e.id", "UPPER(d.id) = e.id").replace("FROM e\n", "FROM e");
    assert!(refused(TABLES, &upper).contains("lacks an equality between columns of both sides"));
    assert_eq!(
        sql("a INT", "'format' = 'csv'"),
        "rules.sql:1:30: table t lacks the option 'path' in WITH: the file, from the folder of \
         the rules"
    );
    assert_eq!(
        sql("a INT", "'path' = 'p', 'topic' = 't'"),
        "rules.sql:1:72: option 'topic' is on a table of another kind, expected it on a table \
         without 'connector'"
    );
    assert_eq!(
        sql("a INT", "'path' = 'p', 'file.bytes' = '5MiB'"),
        "rules.sql:1:87: option 'file.bytes' is \"5MiB\", expected at most 4MiB"
    );
    assert!(
        sql("ts TIMESTAMP(3), WATERMARK FOR ts AS ts", "'path' = 'p'")
            .contains("WATERMARK here is not supported yet")
    );
    let topic = "CREATE TABLE t (a INT) WITH ('topic' = 't', 'path' = 'p');";
    assert_eq!(
        Program::compile("rules.sql", topic).unwrap_err().to_string(),
        "rules.sql:1:45: option 'path' is on a table of another kind, expected 'connector' = \
         'filesystem' beside it"
    );
    let store = "CREATE TABLE t (a INT) WITH ('connector' = 'jdbc');";
    let store = Program::compile("rules.sql", store).unwrap();
    assert_eq!(
        store.check_stores().unwrap_err().to_string(),
        "rules.sql:1:44: option 'connector' is \"jdbc\", expected 'filesystem' with 'path', or no \
         connector and a 'topic'"
    );
}
