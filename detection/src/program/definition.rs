//! What a rule computes, as text: what it says changes when this changes, and not otherwise.
//!
//! Canonical SQL of its query, of the views that it may name, and of the tables it reads and
//! writes: spaces, comments and places make no difference, nor do tables that it does not read.
//! How much it may keep is no part of it, nor how severe its results are, what is expected of its
//! rows, or how far a watermark stays behind.

use std::fmt::Write as _;

use crate::plan::Rule;
use crate::sql::statement::{
    ColumnKind, CreateTable, CreateView, DeclaredColumn, Insert, TableOption, Watermark,
};
use crate::table::Table;

/// Options that change nothing of what is computed begin with one of these. Where a file is and how
/// much it may hold is no part of it: what it holds is.
const OTHER_OPTIONS: [&str; 6] = ["limit.", "on-limit", "severity", "expect.", "path", "file."];

/// The definition of the rule that was compiled from `insert`.
pub(super) fn of(
    (insert, rule): (&Insert, &Rule),
    sources: &[Table],
    declared: &[CreateTable],
    views: &[CreateView],
) -> String {
    let Insert { target, columns, query } = insert;
    let columns: Vec<&str> = columns.iter().map(|name| name.value.as_str()).collect();
    let mut text = format!("INSERT INTO {} {columns:?} {query};", target.value);
    let mut rest: Vec<&CreateView> = views.iter().collect();
    // A name that only looks like a view's adds that view, which does no harm.
    while let Some(index) = rest.iter().position(|view| text.contains(&view.name.value)) {
        let CreateView { name, columns, query } = rest.swap_remove(index);
        let columns: Vec<&str> = columns.iter().map(|name| name.value.as_str()).collect();
        push(&mut text, format_args!("VIEW {} {columns:?} {query};", name.value));
    }
    let read = rule.sources().iter().filter_map(|table| sources.get(table.index()));
    let named = read.map(Table::name).chain([rule.name()]);
    for name in named {
        if let Some(table) = declared.iter().find(|table| *table.name.value == **name) {
            push_table(&mut text, table);
        }
    }
    text
}

fn push_table(text: &mut String, table: &CreateTable) {
    // The query of CREATE TABLE … AS is the rule's.
    let CreateTable { name, columns, watermark, primary_key, options, query: _ } = table;
    push(text, format_args!("TABLE {:?} (", name.value));
    for DeclaredColumn { name, kind } in columns {
        match kind {
            ColumnKind::Physical(data_type) => {
                push(text, format_args!("{:?} {data_type},", name.value));
            }
            ColumnKind::Computed(expression) => {
                push(text, format_args!("{:?} AS {expression},", name.value));
            }
            ColumnKind::Metadata(data_type, key) => {
                push(text, format_args!("{:?} {data_type} METADATA {:?},", name.value, key.name));
            }
        }
    }
    if let Some(Watermark { column, delay: _ }) = watermark {
        push(text, format_args!("WATERMARK {:?},", column.value));
    }
    for column in primary_key {
        push(text, format_args!("KEY {:?},", column.value));
    }
    push(text, format_args!(") WITH ("));
    let is_other =
        |option: &&TableOption| !OTHER_OPTIONS.iter().any(|it| option.key.starts_with(it));
    let mut options: Vec<_> = options.iter().filter(is_other).collect();
    options.sort_by_key(|option| &option.key);
    for TableOption { key, value, .. } in options {
        push(text, format_args!("{key:?} = {value:?},"));
    }
    text.push_str(");");
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // A text takes whatever is written.
    let _taken = text.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use crate::program::Program;

    const SQL: &str = "
CREATE TABLE other (k STRING) WITH ('topic' = 'o');
CREATE TABLE t (k STRING, a INT, b INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
  WITH ('topic' = 't');
CREATE VIEW v AS SELECT k, a, b, ts FROM t WHERE a > 1;
CREATE TABLE n (k STRING, n BIGINT) WITH ('topic' = 'n', 'limit.keys' = '9');
INSERT INTO n SELECT UPPER(k), SUM(CAST(a AS BIGINT))
FROM TABLE(TUMBLE(TABLE v, DESCRIPTOR(ts), INTERVAL '2' SECOND))
WHERE b < 3 GROUP BY UPPER(k), window_start, window_end HAVING COUNT(*) > 1;";

    fn definition(sql: &str) -> String {
        Program::compile("rules.sql", sql).unwrap().definition("n").unwrap().into_owned()
    }

    #[test]
    fn whatever_changes_what_is_said_changes_the_definition() {
        let edits = [
            ("SUM(CAST(a", "SUM(CAST(b"),
            ("SUM(CAST", "MAX(CAST"),
            ("b < 3", "b < 4"),
            ("COUNT(*) > 1", "COUNT(*) > 2"),
            ("UPPER", "LOWER"),
            ("WHERE a > 1", "WHERE a > 2"),
            ("'2' SECOND", "'1' SECOND"),
            ("k STRING, a INT, b INT", "k STRING, a BIGINT, b INT"),
            ("'topic' = 't'", "'topic' = 'u'"),
            ("'topic' = 't'", "'topic' = 't', 'format' = 'csv'"),
            ("n BIGINT)", "n BIGINT, PRIMARY KEY (k) NOT ENFORCED)"),
            ("'topic' = 'n'", "'topic' = 'n', 'allowed-lateness' = '1 s'"),
        ];

        for (from, to) in edits {
            assert_ne!(definition(&SQL.replace(from, to)), definition(SQL), "{from} to {to}");
        }
    }

    #[test]
    fn whatever_does_not_leaves_it() {
        let edits = [
            ("CREATE TABLE other (k STRING) WITH ('topic' = 'o');", "-- gone"),
            ("WHERE b", "  /* why */ WHERE\n b"),
            ("'limit.keys' = '9'", "'limit.keys' = '99', 'on-limit' = 'stop-rule'"),
            ("'topic' = 'n'", "'topic' = 'n', 'severity' = 'critical'"),
            ("AS ts)", "AS ts - INTERVAL '1' SECOND)"),
        ];

        for (from, to) in edits {
            assert_eq!(definition(&SQL.replace(from, to)), definition(SQL), "{from} to {to}");
        }
    }

    #[test]
    fn where_a_file_is_and_how_much_it_may_hold_leaves_it() {
        let sql = |options: &str| {
            format!(
                "CREATE TABLE t (k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) \
                 WITH ('topic' = 't'); \
                 CREATE TABLE f (k STRING, s STRING) WITH ('connector' = 'filesystem', {options}); \
                 CREATE TABLE n (s STRING) WITH ('topic' = 'n'); \
                 INSERT INTO n SELECT f.s FROM t JOIN f FOR SYSTEM_TIME AS OF t.ts ON f.k = t.k;"
            )
        };
        let known = definition(&sql("'path' = 'f.csv', 'format' = 'csv'"));

        let moved = "'path' = 'other/f.csv', 'format' = 'csv', 'file.rows' = '9', \
                     'file.bytes' = '2MiB', 'file.empty' = 'true'";
        assert_eq!(definition(&sql(moved)), known);
        assert_ne!(definition(&sql("'path' = 'f.csv', 'format' = 'json'")), known);
    }
}
