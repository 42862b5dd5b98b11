//! What every format shares: decoder, errors, event time.

use std::sync::Arc;

use headland_event::{EventTime, TopicName};

use crate::decimal::Decimal;
use crate::decode::csv::CsvDecoder;
use crate::decode::json::JsonDecoder;
use crate::expression::{EvaluationError, Expression};
use crate::sql::error::Hint;
use crate::table::metadata::Metadata;
use crate::table::{Format, Table};
use crate::timestamp;
use crate::value::{DataType, Row, Value};

/// Decodes the lines of one table.
///
/// Cost: one pass over the line; allocates the row and its texts.
#[derive(Debug, Clone)]
pub struct Decoder {
    format: FormatDecoder,
    /// The computed columns of the row.
    computed: Vec<(usize, Expression)>,
    metadata: Vec<(usize, Metadata)>,
    /// Per column of the row whether it stands in the line.
    physical: Vec<bool>,
    topic: Value,
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
    /// A computed column has no value for the line.
    #[error("a computed column has no value")]
    Computed(#[source] EvaluationError),
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
        let width = table.schema().columns().len();
        Ok(Self {
            format,
            computed: table.computed().to_vec(),
            metadata: table.metadata().to_vec(),
            physical: (0..width).map(|index| table.is_physical(index)).collect(),
            topic: Value::text(table.topic().map_or("", TopicName::as_str)),
            event_time,
        })
    }

    /// The row that a line holds, without its line break. A field that is absent is NULL; a field
    /// that is no column of the table is ignored.
    ///
    /// # Errors
    /// [`DecodeError`] when the line does not follow the format, a value does not fit its column,
    /// or the row has no event time though its table declares one.
    pub fn decode(&self, line: &[u8]) -> Result<Row, DecodeError> {
        self.decode_line(line, None)
    }

    /// As [`decode`](Self::decode) for a line that arrived at `captured_at`, which is what a column
    /// `METADATA FROM 'timestamp'` holds; without it that column is NULL.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_captured(&self, line: &[u8], captured_at: EventTime) -> Result<Row, DecodeError> {
        self.decode_line(line, Some(captured_at))
    }

    fn decode_line(&self, line: &[u8], captured_at: Option<EventTime>) -> Result<Row, DecodeError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let values = match &self.format {
            FormatDecoder::Json(json) => json.decode(line)?,
            FormatDecoder::Csv(csv) => csv.decode(line)?,
        };
        let is_whole = self.computed.is_empty() && self.metadata.is_empty();
        let values = if is_whole { values } else { self.complete(values, captured_at)? };
        if let Some((index, column)) = &self.event_time
            && values.get(*index).is_none_or(Value::is_null)
        {
            return Err(DecodeError::NoEventTime { column: Arc::clone(column) });
        }
        Ok(Row::new(values))
    }
}

impl Decoder {
    /// The whole row: the line's columns in their places, what is known about the line, and the
    /// computed ones.
    fn complete(
        &self,
        line: Vec<Value>,
        captured_at: Option<EventTime>,
    ) -> Result<Vec<Value>, DecodeError> {
        let mut row = vec![Value::Null; self.physical.len()];
        let mut line = line.into_iter();
        for (place, is_physical) in row.iter_mut().zip(&self.physical) {
            if *is_physical && let Some(value) = line.next() {
                *place = value;
            }
        }
        debug_assert!(line.next().is_none(), "every column of the line has its place");
        for (index, metadata) in &self.metadata {
            let value = match metadata {
                Metadata::Timestamp => captured_at.map_or(Value::Null, Value::Timestamp),
                Metadata::Topic => self.topic.clone(),
                // The log gives it: see `Table::with_offset`.
                Metadata::Offset => Value::Null,
            };
            if let Some(place) = row.get_mut(*index) {
                *place = value;
            }
        }
        for (index, expression) in &self.computed {
            let value = expression.evaluate(&row).map_err(DecodeError::Computed)?.into_owned();
            if let Some(place) = row.get_mut(*index) {
                *place = value;
            }
        }
        Ok(row)
    }
}

/// What a column of a type takes, for errors.
pub(crate) fn expected(data_type: &DataType) -> String {
    if data_type.is_timestamp() {
        format!("{data_type} as {}", timestamp::EXPECTED)
    } else {
        data_type.to_string()
    }
}

/// The value that text stands for in a column of a type; none when it is no such text. Nested types
/// have no text of their own.
pub(crate) fn parse_text(text: &str, data_type: &DataType) -> Option<Value> {
    Some(match data_type {
        DataType::String => Value::text(text),
        DataType::TinyInt => Value::Integer(i64::from(text.parse::<i8>().ok()?)),
        DataType::SmallInt => Value::Integer(i64::from(text.parse::<i16>().ok()?)),
        DataType::Int => Value::Integer(i64::from(text.parse::<i32>().ok()?)),
        DataType::BigInt => Value::Integer(text.parse().ok()?),
        // Words such as "inf" parse as a number too, and are none in a table.
        DataType::Float => {
            Value::Float(text.parse().ok().filter(|number: &f32| number.is_finite())?)
        }
        DataType::Double => {
            Value::Double(text.parse().ok().filter(|number: &f64| number.is_finite())?)
        }
        DataType::Decimal { precision, scale } => {
            Value::Decimal(Decimal::parse(text)?.rounded(*precision, *scale)?)
        }
        DataType::Boolean if text.eq_ignore_ascii_case("true") => Value::Boolean(true),
        DataType::Boolean if text.eq_ignore_ascii_case("false") => Value::Boolean(false),
        DataType::Boolean => return None,
        DataType::Timestamp | DataType::TimestampLtz => Value::Timestamp(timestamp::parse(text)?),
        DataType::Date => Value::Date(timestamp::parse_date(text)?),
        DataType::Time => Value::Time(timestamp::parse_time(text)?),
        DataType::Bytes => Value::Bytes(base64(text)?),
        DataType::MonthInterval
        | DataType::DayInterval
        | DataType::Array(_)
        | DataType::Map(_)
        | DataType::Row(_) => return None,
    })
}

/// Bytes written in base64 by RFC 4648 with padding, as Flink's JSON and CSV formats hold BYTES.
pub(crate) fn base64(text: &str) -> Option<Arc<[u8]>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(text.len() / 4 * 3), 0_u32, 0_u8);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xFF).ok()?);
        }
    }
    Some(Arc::from(bytes))
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
