//! Values, rows and schemas: what flows through rules.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use headland_event::EventTime;

use crate::decimal::Decimal;
use crate::timestamp;

/// The type of a column or an expression, as in Flink.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DataType {
    /// `BOOLEAN`.
    Boolean,
    /// `TINYINT`: 8 bits, signed; arithmetic wraps, as in Flink, here and below.
    TinyInt,
    /// `SMALLINT`: 16 bits, signed.
    SmallInt,
    /// `INT`: 32 bits, signed.
    Int,
    /// `BIGINT`: 64 bits, signed.
    BigInt,
    /// `FLOAT`: IEEE 754, 32 bits.
    Float,
    /// `DOUBLE`: IEEE 754, 64 bits.
    Double,
    /// `DECIMAL(precision, scale)`: exact.
    Decimal {
        /// How many digits it has, 1 to 38.
        precision: u8,
        /// How many of them stand behind the point.
        scale: u8,
    },
    /// `STRING`, also written `VARCHAR` or `CHAR`: UTF-8 text.
    String,
    /// `BYTES`, also written `VARBINARY` or `BINARY`.
    Bytes,
    /// `DATE`.
    Date,
    /// `TIME`: milliseconds of a day.
    Time,
    /// `TIMESTAMP(3)`: milliseconds, read as UTC.
    Timestamp,
    /// `TIMESTAMP_LTZ(3)`: milliseconds since the epoch, shown in UTC.
    TimestampLtz,
    /// `INTERVAL YEAR TO MONTH`: months.
    MonthInterval,
    /// `INTERVAL DAY TO SECOND`: milliseconds.
    DayInterval,
    /// `ARRAY<element>`.
    Array(Arc<Self>),
    /// `MAP<key, value>`.
    Map(Arc<(Self, Self)>),
    /// `ROW<name type, …>`.
    Row(Arc<[Column]>),
}

impl DataType {
    /// Whether arithmetic takes it.
    #[must_use]
    pub const fn is_numeric(&self) -> bool {
        self.is_integer() || matches!(self, Self::Float | Self::Double | Self::Decimal { .. })
    }

    /// Whether it is a whole number.
    #[must_use]
    pub const fn is_integer(&self) -> bool {
        matches!(self, Self::TinyInt | Self::SmallInt | Self::Int | Self::BigInt)
    }

    /// Whether it is a moment: what windows and watermarks take.
    #[must_use]
    pub const fn is_timestamp(&self) -> bool {
        matches!(self, Self::Timestamp | Self::TimestampLtz)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Boolean => "BOOLEAN",
            Self::TinyInt => "TINYINT",
            Self::SmallInt => "SMALLINT",
            Self::Int => "INT",
            Self::BigInt => "BIGINT",
            Self::Float => "FLOAT",
            Self::Double => "DOUBLE",
            Self::Decimal { precision, scale } => {
                return write!(f, "DECIMAL({precision}, {scale})");
            }
            Self::String => "STRING",
            Self::Bytes => "BYTES",
            Self::Date => "DATE",
            Self::Time => "TIME",
            Self::Timestamp => "TIMESTAMP(3)",
            Self::TimestampLtz => "TIMESTAMP_LTZ(3)",
            Self::MonthInterval => "INTERVAL YEAR TO MONTH",
            Self::DayInterval => "INTERVAL DAY TO SECOND",
            Self::Array(element) => return write!(f, "ARRAY<{element}>"),
            Self::Map(entry) => return write!(f, "MAP<{}, {}>", entry.0, entry.1),
            Self::Row(columns) => {
                f.write_str("ROW<")?;
                for (index, column) in columns.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{} {}", column.name, column.data_type)?;
                }
                ">"
            }
        };
        f.write_str(name)
    }
}

/// One value of a row; which [`DataType`] it has is said by its column.
///
/// Equality, order and hash are total and serve keys and snapshots: NULL equals NULL and comes
/// first, NaN equals NaN and comes last, and -0.0 differs from 0.0, as in Flink's GROUP BY. SQL's
/// own comparison, where NULL equals nothing, is an operator of an expression.
#[derive(Debug, Clone)]
pub enum Value {
    /// No value.
    Null,
    /// A `BOOLEAN`.
    Boolean(bool),
    /// A whole number within the bits of its type, or an interval.
    Integer(i64),
    /// A `DOUBLE`.
    Double(f64),
    /// A `STRING`; a clone shares the text.
    Text(Arc<str>),
    /// A `TIMESTAMP(3)` or `TIMESTAMP_LTZ(3)`.
    Timestamp(EventTime),
    /// A `FLOAT`.
    Float(f32),
    /// A `DECIMAL`.
    Decimal(Decimal),
    /// `BYTES`; a clone shares them.
    Bytes(Arc<[u8]>),
    /// A `DATE`: days since 1970-01-01.
    Date(i32),
    /// A `TIME`: milliseconds since midnight.
    Time(u32),
    /// An `ARRAY`'s elements, or a `ROW`'s values in the order of its type.
    Array(Arc<[Self]>),
    /// A `MAP`'s entries, by key, each key once.
    Map(Arc<[(Self, Self)]>),
}

impl Value {
    /// Text as a value; allocates once.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(Arc::from(text))
    }

    /// Whether there is no value.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether a column of `data_type` may hold this value; NULL fits every column.
    #[must_use]
    pub fn fits(&self, data_type: &DataType) -> bool {
        match (self, data_type) {
            (Self::Null, _)
            | (Self::Boolean(_), DataType::Boolean)
            | (
                Self::Integer(_),
                DataType::BigInt | DataType::MonthInterval | DataType::DayInterval,
            )
            | (Self::Double(_), DataType::Double)
            | (Self::Float(_), DataType::Float)
            | (Self::Text(_), DataType::String)
            | (Self::Bytes(_), DataType::Bytes)
            | (Self::Date(_), DataType::Date)
            | (Self::Time(_), DataType::Time)
            | (Self::Timestamp(_), DataType::Timestamp | DataType::TimestampLtz) => true,
            (Self::Integer(number), DataType::TinyInt) => i8::try_from(*number).is_ok(),
            (Self::Integer(number), DataType::SmallInt) => i16::try_from(*number).is_ok(),
            (Self::Integer(number), DataType::Int) => i32::try_from(*number).is_ok(),
            (Self::Decimal(number), DataType::Decimal { precision, scale }) => {
                number.scale() == *scale && number.rounded(*precision, *scale).is_some()
            }
            (Self::Array(values), DataType::Array(element)) => {
                values.iter().all(|value| value.fits(element))
            }
            (Self::Array(values), DataType::Row(columns)) => {
                values.len() == columns.len()
                    && values.iter().zip(&**columns).all(|(value, c)| value.fits(&c.data_type))
            }
            (Self::Map(entries), DataType::Map(entry)) => {
                entries.iter().all(|(key, value)| key.fits(&entry.0) && value.fits(&entry.1))
            }
            _ => false,
        }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Boolean(_) => 1,
            Self::Integer(_) => 2,
            Self::Double(_) => 3,
            Self::Text(_) => 4,
            Self::Timestamp(_) => 5,
            Self::Float(_) => 6,
            Self::Decimal(_) => 7,
            Self::Bytes(_) => 8,
            Self::Date(_) => 9,
            Self::Time(_) => 10,
            Self::Array(_) => 11,
            Self::Map(_) => 12,
        }
    }
}

/// The nearest DOUBLE of an integer: SQL's widening, which rounds above 2^53 as Flink's does.
pub(crate) const fn widened(number: i64) -> f64 {
    number as f64
}

/// The nearest FLOAT of a DOUBLE.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what the narrower type means")]
pub(crate) const fn narrowed(number: f64) -> f32 {
    number as f32
}

/// One NaN for all, so that equal keys hash equally.
const fn canonical(number: f64) -> f64 {
    if number.is_nan() { f64::NAN } else { number }
}

/// As [`canonical`], for a FLOAT.
const fn canonical_float(number: f32) -> f32 {
    if number.is_nan() { f32::NAN } else { number }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Boolean(left), Self::Boolean(right)) => left.cmp(right),
            (Self::Integer(left), Self::Integer(right)) => left.cmp(right),
            (Self::Double(left), Self::Double(right)) => {
                canonical(*left).total_cmp(&canonical(*right))
            }
            (Self::Text(left), Self::Text(right)) => left.cmp(right),
            (Self::Timestamp(left), Self::Timestamp(right)) => left.cmp(right),
            (Self::Float(left), Self::Float(right)) => {
                canonical_float(*left).total_cmp(&canonical_float(*right))
            }
            (Self::Decimal(left), Self::Decimal(right)) => left.cmp(right),
            (Self::Bytes(left), Self::Bytes(right)) => left.cmp(right),
            (Self::Date(left), Self::Date(right)) => left.cmp(right),
            (Self::Time(left), Self::Time(right)) => left.cmp(right),
            (Self::Array(left), Self::Array(right)) => left.cmp(right),
            (Self::Map(left), Self::Map(right)) => left.cmp(right),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Self::Null => {}
            Self::Boolean(value) => value.hash(state),
            Self::Integer(value) => value.hash(state),
            Self::Double(value) => canonical(*value).to_bits().hash(state),
            Self::Text(value) => value.hash(state),
            Self::Timestamp(value) => value.hash(state),
            Self::Float(value) => canonical_float(*value).to_bits().hash(state),
            Self::Decimal(value) => value.hash(state),
            Self::Bytes(value) => value.hash(state),
            Self::Date(value) => value.hash(state),
            Self::Time(value) => value.hash(state),
            Self::Array(values) => values.hash(state),
            Self::Map(entries) => entries.hash(state),
        }
    }
}

/// The value as an alert shows it: NULL as `NULL`, a DOUBLE with a decimal point, a TIMESTAMP in
/// RFC 3339, BYTES in hexadecimal digits.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value:?}"),
            Self::Text(value) => f.write_str(value),
            Self::Timestamp(value) => timestamp::write(*value, f),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Decimal(value) => write!(f, "{value}"),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::Date(days) => timestamp::write_date(*days, f),
            Self::Time(millis) => timestamp::write_time(*millis, f),
            Self::Array(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Map(entries) => {
                f.write_str("{")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key}={value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

/// A row: one value per column of its table's schema, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(Box<[Value]>);

impl Row {
    /// A row of values in the order of the schema.
    #[must_use]
    pub fn new(values: Vec<Value>) -> Self {
        Self(values.into_boxed_slice())
    }

    /// The values in the order of the schema.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.0
    }
}

/// A column: name and type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    name: Arc<str>,
    data_type: DataType,
}

impl Column {
    /// A column called `name`; names are case-sensitive, as in Flink.
    #[must_use]
    pub fn new(name: &str, data_type: DataType) -> Self {
        Self { name: Arc::from(name), data_type }
    }

    /// The column's name.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The column's type.
    #[must_use]
    pub const fn data_type(&self) -> &DataType {
        &self.data_type
    }
}

/// The columns of a table in the order of their declaration; names do not repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    columns: Box<[Column]>,
}

impl Schema {
    /// A schema of columns whose names the compiler has found to differ.
    pub(crate) fn new(columns: Vec<Column>) -> Self {
        debug_assert!(
            columns.iter().enumerate().all(|(index, column)| {
                columns.iter().take(index).all(|earlier| earlier.name != column.name)
            }),
            "column names differ"
        );
        Self { columns: columns.into_boxed_slice() }
    }

    /// The columns in order.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Where the column called `name` stands, from 0; O(columns).
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| &*column.name == name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::BuildHasher;

    use super::*;

    fn hash(value: &Value) -> u64 {
        headland_event::keymap::key_map::<Value, ()>(7).hasher().hash_one(value)
    }

    #[test]
    fn null_is_first_and_equal_to_itself_as_a_key() {
        let keys = BTreeSet::from([Value::text("a"), Value::Null, Value::Integer(-1), Value::Null]);

        assert_eq!(
            keys.into_iter().collect::<Vec<_>>(),
            [Value::Null, Value::Integer(-1), Value::text("a")]
        );
    }

    #[test]
    fn every_nan_is_one_key_and_the_two_zeros_are_two() {
        let negative_nan = Value::Double(-f64::NAN);

        assert_eq!(negative_nan, Value::Double(f64::NAN));
        assert_eq!(hash(&negative_nan), hash(&Value::Double(f64::NAN)));
        assert_ne!(Value::Double(-0.0), Value::Double(0.0));
    }

    #[test]
    fn a_value_is_no_larger_than_a_text_and_a_tag() {
        assert_eq!(size_of::<Value>(), 24);
    }

    #[test]
    fn an_int_column_holds_32_bits_and_not_33() {
        assert!(Value::Integer(i64::from(i32::MAX)).fits(&DataType::Int));
        assert!(!Value::Integer(i64::from(i32::MAX) + 1).fits(&DataType::Int));
    }

    #[test]
    fn values_read_as_an_alert_shows_them() {
        let shown: Vec<String> = [
            Value::Null,
            Value::Double(120.0),
            Value::Integer(-3),
            Value::text("a|b"),
            Value::Timestamp(EventTime::from_millis(1_291_191_960_500)),
        ]
        .iter()
        .map(ToString::to_string)
        .collect();

        assert_eq!(shown, ["NULL", "120.0", "-3", "a|b", "2010-12-01T08:26:00.500Z"]);
    }
}
