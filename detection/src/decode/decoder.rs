//! What every format shares: decoder, errors, event time.

use std::sync::Arc;

use crate::decode::csv::CsvDecoder;
use crate::decode::json::JsonDecoder;
use crate::sql::error::Hint;
use crate::table::{Format, Table};
use crate::value::{DataType, Row, Value};

/// Decodes the lines of one table.
///
/// Cost: one pass over the line; allocates the row and its texts.
#[derive(Debug, Clone)]
pub struct Decoder {
    format: FormatDecoder,
    /// The event-time column, by index and name.
    event_time: Option<(usize, Arc<str>)>,
}

#[derive(Debug, Clone)]
enum FormatDecoder {
    Json(JsonDecoder),
    Csv(CsvDecoder),
}

/// A header that does not fit its table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The header is not a line of its format.
    #[error("the header cannot be read")]
    Line(#[source] DecodeError),
    /// The table declares a column that the header does not name.
    #[error("the header does not name column {column:?} of table {table}{hint}")]
    Lacks {
        /// The column.
        column: Arc<str>,
        /// The table.
        table: Arc<str>,
        /// What the header names instead.
        hint: Hint,
    },
    /// The header names a column twice.
    #[error("the header names column {column:?} twice")]
    Repeats {
        /// The column.
        column: Arc<str>,
    },
}

/// A line that holds no row of its table. Decoding it again gives the same error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The line does not follow its format.
    #[error("byte {position}: found {found}, expected {expected}")]
    Syntax {
        /// Where in the line, in bytes from 1.
        position: usize,
        /// What was found.
        found: String,
        /// What would fit.
        expected: &'static str,
    },
    /// The value of a column does not fit its type.
    #[error("column {column:?}, byte {position}: found {found}, expected {expected}")]
    Column {
        /// The column.
        column: Arc<str>,
        /// Where in the line, in bytes from 1: the start of a CSV field, the end of a JSON value.
        position: usize,
        /// What was found.
        found: String,
        /// What would fit.
        expected: String,
    },
    /// The event-time column is absent or NULL: no window could hold the row.
    #[error("no event time: column {column:?} is absent or empty")]
    NoEventTime {
        /// The event-time column.
        column: Arc<str>,
    },
    /// A CSV line has more or fewer fields than its header.
    #[error("found {found} fields, expected {expected}")]
    FieldCount {
        /// How many fields the line has.
        found: usize,
        /// How many the header names.
        expected: usize,
    },
}

impl Decoder {
    /// A decoder for the lines of `table`.
    ///
    /// `header` is the first line of a CSV source, which names its fields in any order; without
    /// it they stand in the order of the table's columns. JSON names its own and ignores it.
    ///
    /// # Errors
    /// [`HeaderError`] when the header does not name every column of the table once.
    pub fn new(table: &Table, header: Option<&[u8]>) -> Result<Self, HeaderError> {
        let format = match table.format() {
            Format::Json => FormatDecoder::Json(JsonDecoder::new(table)),
            Format::Csv => FormatDecoder::Csv(CsvDecoder::new(table, header)?),
        };
        let event_time = table.event_time_index().and_then(|index| {
            let column = table.schema().columns().get(index)?;
            Some((index, Arc::clone(column.name())))
        });
        Ok(Self { format, event_time })
    }

    /// The row that a line holds, without its line break. A field that is absent is NULL; a field
    /// that is no column of the table is ignored.
    ///
    /// # Errors
    /// [`DecodeError`] when the line does not follow the format, a value does not fit its column,
    /// or the row has no event time though its table declares one.
    pub fn decode(&self, line: &[u8]) -> Result<Row, DecodeError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let values = match &self.format {
            FormatDecoder::Json(json) => json.decode(line)?,
            FormatDecoder::Csv(csv) => csv.decode(line)?,
        };
        if let Some((index, column)) = &self.event_time
            && values.get(*index).is_none_or(Value::is_null)
        {
            return Err(DecodeError::NoEventTime { column: Arc::clone(column) });
        }
        Ok(Row::new(values))
    }
}

/// What a column of a type takes, for errors.
pub(crate) fn expected(data_type: DataType) -> String {
    match data_type {
        DataType::Timestamp => format!("TIMESTAMP(3) as {}", crate::timestamp::EXPECTED),
        DataType::Boolean
        | DataType::Int
        | DataType::BigInt
        | DataType::Double
        | DataType::String => data_type.to_string(),
    }
}

/// A value of a line quoted in an error, cut when it is long.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_LIMIT: usize = 40;
    let mut cut: String = text.chars().take(CHARS_LIMIT).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}
