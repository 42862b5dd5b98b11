//! Declared tables: schema, topic, format and event time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use headland_event::{EventTime, Severity, TopicName};
use sqlparser::ast::Ident;

use crate::expectation;
use crate::expression::{Columns, Compiler, Expression, Named};
use crate::settings::RuleSettings;
use crate::settings::options::{self, ALLOWED_LATENESS, EARLY_RESULTS, RULE_OPTIONS};
use crate::sql::error::{Fault, Hint, Position, SqlErrorReason};
use crate::sql::statement::{ColumnKind, CreateTable, DeclaredColumn, TableOption, Watermark};
use crate::value::{Column, DataType, Row, Schema};

/// What is known about a line besides what stands in it.
pub(crate) mod metadata;
/// Where the rows of a table are.
pub(crate) mod place;

use metadata::Metadata;
pub use place::{FilePlace, WithoutRows};
use place::{Place, StorePlace};

/// Keys that WITH takes besides those of [`RULE_OPTIONS`].
const OPTIONS: [&str; 6] = ["topic", "format", "key", "severity", "alert.key", "alert.window"];

/// Names a source table within one [`Program`](crate::Program).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(usize);

impl TableId {
    pub(crate) const fn new(index: usize) -> Self {
        Self(index)
    }

    /// The table's place among the program's source tables, from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

/// What stands behind the name of a topic to mean the topic in every region.
const ALL_REGIONS: &str = "@*";

/// How a line of a topic holds a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// Comma-separated values by RFC 4180, one record per line.
    Csv,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Csv => "csv",
        })
    }
}

/// The column of event time and how far the watermark stays behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EventTimeColumn {
    index: usize,
    delay: Duration,
}

/// A table as CREATE TABLE declared it.
#[derive(Debug, Clone)]
pub struct Table {
    name: Arc<str>,
    declared_at: Position,
    schema: Schema,
    place: Place,
    is_of_all_regions: bool,
    format: Format,
    key: Option<usize>,
    event_time: Option<EventTimeColumn>,
    severity: Severity,
    alert_key: Option<usize>,
    alert_window: Option<usize>,
    primary_key: Vec<usize>,
    /// What is expected of its rows, and the rule that tells, one line each.
    expectations: Vec<String>,
    settings: RuleSettings,
    changes_at: Option<(&'static str, Position)>,
    /// Per column: the expression of a computed one, over the whole row.
    computed: Vec<(usize, Expression)>,
    /// Columns that hold what is known about a line.
    metadata: Vec<(usize, Metadata)>,
}

impl Table {
    /// The table's name.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where its declaration names it.
    #[must_use]
    pub const fn declared_at(&self) -> Position {
        self.declared_at
    }

    /// Its columns.
    #[must_use]
    pub const fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The topic its rows come from or go to; none when they are in a file or a store.
    #[must_use]
    pub const fn topic(&self) -> Option<&TopicName> {
        match &self.place {
            Place::Topic(topic) => Some(topic),
            Place::File(_) | Place::Store(_) => None,
        }
    }

    /// The file that holds its rows, when one does.
    #[must_use]
    pub const fn file(&self) -> Option<&FilePlace> {
        match &self.place {
            Place::File(file) => Some(file),
            Place::Topic(_) | Place::Store(_) => None,
        }
    }

    /// The store that somebody else looks in for its rows, when one holds them.
    pub(crate) const fn store(&self) -> Option<&StorePlace> {
        match &self.place {
            Place::Store(store) => Some(store),
            Place::Topic(_) | Place::File(_) => None,
        }
    }

    /// How a line holds a row; JSON when WITH does not say.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Whether its rows are those of the topic in every region: `'topic' = 'air@*'`.
    #[must_use]
    pub const fn is_of_all_regions(&self) -> bool {
        self.is_of_all_regions
    }

    /// Where the column stands that is the key of the topic's records, from 0.
    #[must_use]
    pub const fn key_index(&self) -> Option<usize> {
        self.key
    }

    /// The key of a row's record as text; none when the table has no key or the row's is NULL.
    #[must_use]
    pub fn key_of(&self, row: &Row) -> Option<String> {
        let value = row.values().get(self.key?)?;
        (!value.is_null()).then(|| value.to_string())
    }

    /// Where the event-time column stands, from 0.
    #[must_use]
    pub fn event_time_index(&self) -> Option<usize> {
        self.event_time.map(|column| column.index)
    }

    /// How far the table's watermark stays behind the latest event time.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.event_time.map(|column| column.delay)
    }

    /// The event time of a row; none when the table has no event time or the row's is NULL.
    #[must_use]
    pub fn event_time_of(&self, row: &Row) -> Option<EventTime> {
        use crate::value::Value;
        match row.values().get(self.event_time?.index)? {
            Value::Timestamp(time) => Some(*time),
            _ => None,
        }
    }

    /// Why a record of this table is not one of `other`, for two tables on one topic; none when
    /// only their watermarks stay behind by different delays.
    pub(crate) fn difference_from(&self, other: &Self) -> Option<&'static str> {
        if self.schema != other.schema {
            Some("their columns differ")
        } else if self.format != other.format {
            Some("their formats differ")
        } else if self.key != other.key {
            Some("their keys differ")
        } else if self.event_time_index() != other.event_time_index() {
            Some("their event times differ")
        } else {
            None
        }
    }

    pub(crate) const fn severity(&self) -> Severity {
        self.severity
    }

    pub(crate) const fn alert_key(&self) -> Option<usize> {
        self.alert_key
    }

    pub(crate) const fn alert_window(&self) -> Option<usize> {
        self.alert_window
    }

    /// Where the columns of PRIMARY KEY stand; empty without one.
    pub(crate) fn primary_key(&self) -> &[usize] {
        &self.primary_key
    }

    /// What is expected of its rows, one line each.
    pub(crate) fn expectations(&self) -> &[String] {
        &self.expectations
    }

    /// How the rule runs that inserts into the table.
    pub(crate) const fn settings(&self) -> &RuleSettings {
        &self.settings
    }

    /// The first option by which results of windows may change, and where it stands.
    pub(crate) const fn changes_at(&self) -> Option<(&'static str, Position)> {
        self.changes_at
    }

    /// The columns that a line holds.
    pub(crate) fn physical(&self) -> Vec<Column> {
        let columns = self.schema.columns().iter().enumerate();
        columns
            .filter(|(index, _)| self.is_physical(*index))
            .map(|(_, column)| column.clone())
            .collect()
    }

    /// Whether the column at a place stands in the line.
    pub(crate) fn is_physical(&self, index: usize) -> bool {
        self.computed.iter().all(|(computed, _)| *computed != index)
            && self.metadata.iter().all(|(metadata, _)| *metadata != index)
    }

    /// Columns that hold what is known about a line, by index.
    pub(crate) fn metadata(&self) -> &[(usize, Metadata)] {
        &self.metadata
    }

    /// Computed columns by index, with their expressions over the whole row.
    pub(crate) fn computed(&self) -> &[(usize, Expression)] {
        &self.computed
    }

    /// Checks a declaration by itself.
    pub(crate) fn compile(declared: &CreateTable) -> Result<Self, Fault> {
        let (schema, computed) = schema(declared)?;
        let metadata = metadata::columns(declared)?;
        let event_time = declared
            .watermark
            .as_ref()
            .map(|watermark| event_time(watermark, declared, &schema))
            .transpose()?;
        let options = Options { declared, schema: &schema };
        options.check_keys()?;
        Ok(Self {
            name: Arc::from(declared.name.value.as_str()),
            declared_at: declared.name.span.start.into(),
            place: Place::of(declared, || options.topic())?,
            is_of_all_regions: options.is_of_all_regions(),
            format: options.format()?,
            key: options.column("key")?,
            event_time,
            severity: options.severity()?,
            alert_key: options.column("alert.key")?,
            alert_window: options.column("alert.window")?,
            primary_key: primary_key(declared, &schema)?,
            expectations: expectation::of(declared)?.map(|all| all.lines()).unwrap_or_default(),
            settings: options::settings(&declared.options)?,
            changes_at: [ALLOWED_LATENESS, EARLY_RESULTS]
                .into_iter()
                .find_map(|key| Some((key, options.get(key)?.key_at.into()))),
            computed,
            metadata,
            schema,
        })
    }
}

/// The columns, and the expressions of the computed ones, which see the columns of the line.
fn schema(declared: &CreateTable) -> Result<(Schema, Vec<(usize, Expression)>), Fault> {
    for (index, column) in declared.columns.iter().enumerate() {
        let name = &column.name;
        let mut earlier = declared.columns.iter().take(index);
        if let Some(first) = earlier.find(|earlier| earlier.name.value == name.value) {
            let first_line = first.name.span.start.line;
            let name_text = name.value.clone();
            let reason = SqlErrorReason::Duplicate { what: "column", name: name_text, first_line };
            return Err(Fault::new(name.span.start, reason));
        }
    }
    if declared.columns.is_empty() {
        let subject = format!("table {}", declared.name);
        let reason = SqlErrorReason::Missing { subject, missing: "a column".to_owned() };
        return Err(Fault::new(declared.name.span.start, reason));
    }
    let mut scope = LineColumns {
        table: &declared.name.value,
        columns: Columns::default(),
        places: Vec::new(),
    };
    for (index, column) in declared.columns.iter().enumerate() {
        match &column.kind {
            ColumnKind::Physical(data_type) => scope.add(index, &column.name, data_type),
            // A line has no offset yet when its computed columns are made.
            ColumnKind::Metadata(data_type, key) if key.name != metadata::OFFSET => {
                scope.add(index, &column.name, data_type);
            }
            ColumnKind::Metadata(..) | ColumnKind::Computed(_) => {}
        }
    }
    let (mut columns, mut computed) = (Vec::new(), Vec::new());
    for (index, DeclaredColumn { name, kind }) in declared.columns.iter().enumerate() {
        let data_type = match kind {
            ColumnKind::Physical(data_type) | ColumnKind::Metadata(data_type, _) => {
                data_type.clone()
            }
            ColumnKind::Computed(sql) => {
                let typed = Compiler::new(&mut scope.columns, name.span.start).compile(sql)?;
                computed.push((index, typed.expression.over(&scope.places)));
                typed.data_type.unwrap_or(DataType::String)
            }
        };
        columns.push(Column::new(&name.value, data_type));
    }
    Ok((Schema::new(columns), computed))
}

/// The columns that a line holds, with their places in the whole row as qualifier-free names.
struct LineColumns<'a> {
    table: &'a str,
    columns: Columns,
    /// Per column of the line its column in the whole row.
    places: Vec<Expression>,
}

impl LineColumns<'_> {
    fn add(&mut self, index: usize, name: &Ident, data_type: &DataType) {
        // Columns stand in the order of the line; `places` leads back to the whole row.
        self.columns.0.push(Named {
            qualifier: Some(Arc::from(self.table)),
            name: Arc::from(name.value.as_str()),
            data_type: data_type.clone(),
        });
        self.places.push(Expression::Column(index));
    }
}

fn primary_key(declared: &CreateTable, schema: &Schema) -> Result<Vec<usize>, Fault> {
    let columns = declared.primary_key.iter().map(|name| {
        schema.index_of(&name.value).ok_or_else(|| {
            let reason = unknown_column(&name.value, &declared.name, schema);
            Fault::new(name.span.start, reason)
        })
    });
    columns.collect()
}

fn event_time(
    watermark: &Watermark,
    declared: &CreateTable,
    schema: &Schema,
) -> Result<EventTimeColumn, Fault> {
    let Watermark { column, delay } = watermark;
    let at = column.span.start;
    let index = schema
        .index_of(&column.value)
        .ok_or_else(|| Fault::new(at, unknown_column(&column.value, &declared.name, schema)))?;
    let data_type = schema.columns().get(index).map(Column::data_type);
    match data_type {
        Some(found) if found.is_timestamp() => Ok(EventTimeColumn { index, delay: *delay }),
        Some(other) => {
            let subject = format!("event-time column {column}");
            let reason = SqlErrorReason::mismatch(subject, other, DataType::Timestamp);
            Err(Fault::new(at, reason))
        }
        None => Err(Fault::new(at, unknown_column(&column.value, &declared.name, schema))),
    }
}

/// The error for a column that `table` does not have.
pub(crate) fn unknown_column(name: &str, table: &Ident, schema: &Schema) -> SqlErrorReason {
    let known = schema.columns().iter().map(|column| &**column.name());
    unknown_column_of(table, name, known)
}

/// The error for a column that is not among the `known` ones of `table`.
pub(crate) fn unknown_column_of<'a>(
    table: &Ident,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> SqlErrorReason {
    let (name, hint) = (name.to_owned(), Hint::new(name, known));
    SqlErrorReason::UnknownColumn { name, table: table.value.clone(), hint }
}

struct Options<'a> {
    declared: &'a CreateTable,
    schema: &'a Schema,
}

impl Options<'_> {
    fn get(&self, key: &str) -> Option<&TableOption> {
        self.declared.options.iter().find(|option| option.key == key)
    }

    fn check_keys(&self) -> Result<(), Fault> {
        for (index, option) in self.declared.options.iter().enumerate() {
            let earlier = self.declared.options.iter().take(index).find(|o| o.key == option.key);
            let name = option.key.clone();
            let reason = if let Some(first) = earlier {
                let first_line = first.key_at.line;
                SqlErrorReason::Duplicate { what: "option", name, first_line }
            } else if OPTIONS.iter().chain(&RULE_OPTIONS).any(|known| *known == name)
                || place::OPTIONS.contains(&name.as_str())
                || name.starts_with(expectation::PREFIX)
            {
                continue;
            } else {
                let known = OPTIONS.into_iter().chain(RULE_OPTIONS).chain(["expect.…"]);
                let known = known.chain(place::OPTIONS);
                let hint = Hint::new(&name, known);
                let table = self.declared.name.value.clone();
                SqlErrorReason::UnknownOption { name, table, hint }
            };
            return Err(Fault::new(option.key_at, reason));
        }
        Ok(())
    }

    fn is_of_all_regions(&self) -> bool {
        self.get("topic").is_some_and(|option| option.value.ends_with(ALL_REGIONS))
    }

    fn topic(&self) -> Result<TopicName, Fault> {
        let Some(option) = self.get("topic") else {
            let subject = format!("table {}", self.declared.name);
            let missing = "the option 'topic' in WITH".to_owned();
            let reason = SqlErrorReason::Missing { subject, missing };
            return Err(Fault::new(self.declared.name.span.start, reason));
        };
        let name = option.value.strip_suffix(ALL_REGIONS).unwrap_or(&option.value);
        TopicName::new(name).map_err(|error| {
            let found = format!("{:?}", error.found);
            let reason = SqlErrorReason::mismatch("option 'topic'", found, error.expected);
            Fault::new(option.value_at, reason)
        })
    }

    fn format(&self) -> Result<Format, Fault> {
        let Some(option) = self.get("format") else { return Ok(Format::Json) };
        match option.value.as_str() {
            "json" => Ok(Format::Json),
            "csv" => Ok(Format::Csv),
            other => {
                let found = format!("{other:?}");
                let reason = SqlErrorReason::mismatch("option 'format'", found, "json or csv");
                Err(Fault::new(option.value_at, reason))
            }
        }
    }

    fn severity(&self) -> Result<Severity, Fault> {
        let Some(option) = self.get("severity") else { return Ok(Severity::default()) };
        option.value.parse().map_err(|_| {
            let found = format!("{:?}", option.value);
            let expected = "info, warning or critical";
            let reason = SqlErrorReason::mismatch("option 'severity'", found, expected);
            Fault::new(option.value_at, reason)
        })
    }

    fn column(&self, key: &str) -> Result<Option<usize>, Fault> {
        let Some(option) = self.get(key) else { return Ok(None) };
        let reason = || unknown_column(&option.value, &self.declared.name, self.schema);
        let index = self.schema.index_of(&option.value);
        index.map(Some).ok_or_else(|| Fault::new(option.value_at, reason()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::statement::{Statement, parse};
    use crate::value::Value;

    fn compile(sql: &str) -> Result<Table, String> {
        let Some(Statement::CreateTable(declared)) = parse(sql).unwrap().pop() else { panic!() };
        Table::compile(&declared).map_err(|fault| fault.within("rules.sql").to_string())
    }

    #[test]
    fn a_table_knows_topic_format_key_event_time_and_delay() {
        let table = compile(
            "CREATE TABLE air (station STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL \
             '1' HOUR) WITH ('topic' = 'air.readings', 'format' = 'csv', 'key' = 'station')",
        )
        .unwrap();
        let time = EventTime::from_millis(5);

        let row = Row::new(vec![Value::text("Dongsi"), Value::Timestamp(time)]);

        assert_eq!(table.topic().map(TopicName::as_str), Some("air.readings"));
        assert_eq!(table.format(), Format::Csv);
        assert_eq!(table.delay(), Some(Duration::from_secs(3_600)));
        assert_eq!(table.key_of(&row).as_deref(), Some("Dongsi"));
        assert_eq!(table.event_time_of(&row), Some(time));
    }

    #[test]
    fn an_unknown_option_is_refused_with_the_one_that_was_meant() {
        assert_eq!(
            compile("CREATE TABLE t (a INT) WITH ('topic' = 't',\n 'fromat' = 'csv')").unwrap_err(),
            "rules.sql:2:2: unknown option \"fromat\" of table t, did you mean \"format\"?"
        );
        assert_eq!(
            compile("CREATE TABLE t (a INT) WITH ('topic' = 't', 'catalogue' = 'k')").unwrap_err(),
            "rules.sql:1:45: unknown option \"catalogue\" of table t, known are topic, format, \
             key, severity, alert.key, alert.window, allowed-lateness, emit.early, \
             state-retention, limit.keys, limit.memory, limit.work, on-limit, expect.…, \
             connector, path, file.rows, file.bytes, file.empty"
        );
    }

    #[test]
    fn an_option_that_names_a_column_must_name_one_of_the_table() {
        assert_eq!(
            compile("CREATE TABLE t (sku INT) WITH ('topic' = 't', 'alert.key' = 'skü')")
                .unwrap_err(),
            "rules.sql:1:61: unknown column \"skü\" in table t, did you mean \"sku\"?"
        );
    }

    #[test]
    fn values_of_options_are_refused_with_what_would_fit() {
        assert_eq!(
            compile("CREATE TABLE t (a INT) WITH ('topic' = 'a/b')").unwrap_err(),
            "rules.sql:1:40: option 'topic' is \"a/b\", expected 1 to 249 characters of A-Z a-z \
             0-9 . _ -"
        );
        assert_eq!(
            compile("CREATE TABLE t (a INT) WITH ('topic' = 't', 'severity' = 'bad')").unwrap_err(),
            "rules.sql:1:58: option 'severity' is \"bad\", expected info, warning or critical"
        );
        assert_eq!(
            compile("CREATE TABLE t (a INT) WITH ('format' = 'json')").unwrap_err(),
            "rules.sql:1:14: table t lacks the option 'topic' in WITH"
        );
    }

    #[test]
    fn event_time_needs_a_timestamp() {
        assert_eq!(
            compile("CREATE TABLE t (ts BIGINT, WATERMARK FOR ts AS ts) WITH ('topic' = 't')")
                .unwrap_err(),
            "rules.sql:1:42: event-time column ts is BIGINT, expected TIMESTAMP(3)"
        );
    }

    #[test]
    fn a_column_is_declared_once() {
        assert_eq!(
            compile("CREATE TABLE t (a INT,\n a BIGINT) WITH ('topic' = 't')").unwrap_err(),
            "rules.sql:2:2: column \"a\" appears twice; it was first named on line 1"
        );
    }
}
