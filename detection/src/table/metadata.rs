//! What is known about a line besides what stands in it: `METADATA` columns.

use std::borrow::Cow;

use headland_event::Offset;

use crate::sql::error::{Fault, Hint, SqlErrorReason};
use crate::sql::statement::{ColumnKind, CreateTable, DeclaredColumn};
use crate::table::Table;
use crate::value::{DataType, Row, Value};

/// What a column of metadata holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metadata {
    /// When the line arrived, by the clock of the node that captured it.
    Timestamp,
    /// The topic of the line's record.
    Topic,
    /// The offset of the line's record in the log of the node that runs the rule.
    Offset,
}

/// The key of [`Metadata::Offset`].
pub(super) const OFFSET: &str = "offset";

/// Keys that a column may name.
const KEYS: [&str; 3] = ["timestamp", "topic", OFFSET];

/// The columns of metadata that a table declares, by index.
pub(super) fn columns(declared: &CreateTable) -> Result<Vec<(usize, Metadata)>, Fault> {
    let mut columns = Vec::new();
    for (index, DeclaredColumn { name, kind }) in declared.columns.iter().enumerate() {
        let ColumnKind::Metadata(data_type, key) = kind else { continue };
        let metadata = match key.name.as_str() {
            "timestamp" => Metadata::Timestamp,
            "topic" => Metadata::Topic,
            OFFSET => Metadata::Offset,
            other => {
                let hint = Hint::new(other, KEYS.into_iter());
                let reason = SqlErrorReason::UnknownMetadata { name: other.to_owned(), hint };
                return Err(Fault::new(key.at, reason));
            }
        };
        let (fits, expected) = match metadata {
            Metadata::Timestamp => (data_type.is_timestamp(), "TIMESTAMP_LTZ(3)"),
            Metadata::Topic => (*data_type == DataType::String, "STRING"),
            Metadata::Offset => (*data_type == DataType::BigInt, "BIGINT"),
        };
        if !fits {
            let subject = format!("the type of metadata column {name}");
            let reason = SqlErrorReason::mismatch(subject, data_type, expected);
            return Err(Fault::new(name.span.start, reason));
        }
        columns.push((index, metadata));
    }
    Ok(columns)
}

/// Refuses columns of metadata in a table that a rule inserts into: a result has none yet.
pub(crate) fn refuse(declared: &CreateTable) -> Result<(), Fault> {
    let mut columns = declared.columns.iter();
    let found = columns.find(|column| matches!(column.kind, ColumnKind::Metadata(..)));
    let Some(DeclaredColumn { name, kind: _ }) = found else { return Ok(()) };
    let (what, fits) =
        ("a METADATA column of a table that a rule inserts into", "it in a table that is read");
    Err(Fault::new(name.span.start, SqlErrorReason::unsupported(what, fits)))
}

impl Table {
    /// The row with its offset where a column asks for it.
    pub(crate) fn with_offset<'a>(&self, row: &'a Row, offset: Offset) -> Cow<'a, Row> {
        let mut columns = self.metadata().iter();
        let Some((index, _)) = columns.find(|(_, metadata)| *metadata == Metadata::Offset) else {
            return Cow::Borrowed(row);
        };
        let mut values = row.values().to_vec();
        if let Some(place) = values.get_mut(*index) {
            *place = i64::try_from(offset.get()).map_or(Value::Null, Value::Integer);
        }
        Cow::Owned(Row::new(values))
    }
}

#[cfg(test)]
mod tests {
    use headland_event::EventTime;

    use crate::decode::Decoder;
    use crate::engine::Engine;
    use crate::output::Output;
    use crate::program::Program;
    use headland_event::Offset;

    fn refused(columns: &str) -> String {
        let sql = format!("CREATE TABLE t ({columns}) WITH ('topic' = 't')");
        Program::compile("rules.sql", &sql).unwrap_err().to_string()
    }

    #[test]
    fn a_row_knows_when_and_where_it_came_and_arrival_may_be_its_event_time() {
        let sql = "CREATE TABLE t (k STRING, at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' \
                   VIRTUAL, topic STRING METADATA, n BIGINT METADATA FROM 'offset', \
                   later AS at + INTERVAL '1' SECOND, WATERMARK FOR at AS at) \
                   WITH ('topic' = 'air', 'format' = 'csv');\n\
                   CREATE TABLE r WITH ('topic' = 'r') AS SELECT k, at, topic, n, later FROM t;";
        let program = Program::compile("rules.sql", sql).unwrap();
        let table = program.table_id("t").unwrap();
        let decoder = Decoder::new(program.table(table), None).unwrap();
        let now = EventTime::from_millis(7_000);
        let row = decoder.decode_captured(b"a", now).unwrap();
        let mut engine = Engine::new(program, 1);

        engine.on_row(table, &row, Offset::new(42), now);

        let Some(Output::Result(result)) = engine.poll_output() else { panic!() };
        let values: Vec<_> = result.columns.iter().map(|(_, value)| value.to_string()).collect();
        assert_eq!(values, ["a", "1970-01-01T00:00:07Z", "air", "42", "1970-01-01T00:00:08Z"]);
        assert_eq!(engine.watermark(table), Some(now));
    }

    #[test]
    fn what_is_not_known_about_a_line_is_refused_with_what_is() {
        assert_eq!(
            refused("p INT METADATA FROM 'partition'"),
            "rules.sql:1:37: unknown metadata \"partition\", known are timestamp, topic, offset"
        );
        assert_eq!(
            refused("topik STRING METADATA"),
            "rules.sql:1:17: unknown metadata \"topik\", did you mean \"topic\"?"
        );
        assert_eq!(
            refused("at BIGINT METADATA FROM 'timestamp'"),
            "rules.sql:1:17: the type of metadata column at is BIGINT, expected TIMESTAMP_LTZ(3)"
        );
        assert!(refused("n BIGINT METADATA FROM 'offset', m AS n + 1").contains("unknown column"));
    }

    #[test]
    fn a_table_that_a_rule_inserts_into_has_no_metadata() {
        let sql = "CREATE TABLE t (k STRING) WITH ('topic' = 't');\n\
                   CREATE TABLE r (k STRING, n BIGINT METADATA FROM 'offset') WITH ('topic' = \
                   'r');\nINSERT INTO r SELECT k, 1 FROM t;";

        let error = Program::compile("rules.sql", sql).unwrap_err();

        assert_eq!(
            error.to_string(),
            "rules.sql:2:27: a METADATA column of a table that a rule inserts into is not \
             supported yet; supported: it in a table that is read"
        );
    }
}
