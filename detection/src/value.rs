//! Values, rows and schemas: what flows through rules.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use headland_event::EventTime;

use crate::timestamp;

/// The type of a column or an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataType {
    /// `BOOLEAN`.
    Boolean,
    /// `INT`: 32 bits, signed; arithmetic wraps, as in Flink.
    Int,
    /// `BIGINT`: 64 bits, signed; arithmetic wraps, as in Flink.
    BigInt,
    /// `DOUBLE`: IEEE 754, 64 bits.
    Double,
    /// `STRING`, also written `VARCHAR`: UTF-8 text.
    String,
    /// `TIMESTAMP(3)`: milliseconds, read as UTC.
    Timestamp,
}

impl DataType {
    /// Whether arithmetic takes it.
    #[must_use]
    pub const fn is_numeric(self) -> bool {
        match self {
            Self::Int | Self::BigInt | Self::Double => true,
            Self::Boolean | Self::String | Self::Timestamp => false,
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "BOOLEAN",
            Self::Int => "INT",
            Self::BigInt => "BIGINT",
            Self::Double => "DOUBLE",
            Self::String => "STRING",
            Self::Timestamp => "TIMESTAMP(3)",
        })
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
    /// An `INT` or a `BIGINT`; an `INT` stays within 32 bits.
    Integer(i64),
    /// A `DOUBLE`.
    Double(f64),
    /// A `STRING`; a clone shares the text.
    Text(Arc<str>),
    /// A `TIMESTAMP(3)`.
    Timestamp(EventTime),
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
    pub fn fits(&self, data_type: DataType) -> bool {
        match self {
            Self::Null => true,
            Self::Boolean(_) => data_type == DataType::Boolean,
            Self::Integer(number) => match data_type {
                DataType::BigInt => true,
                DataType::Int => i32::try_from(*number).is_ok(),
                DataType::Boolean | DataType::Double | DataType::String | DataType::Timestamp => {
                    false
                }
            },
            Self::Double(_) => data_type == DataType::Double,
            Self::Text(_) => data_type == DataType::String,
            Self::Timestamp(_) => data_type == DataType::Timestamp,
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
        }
    }
}

/// The nearest DOUBLE of an integer: SQL's widening, which rounds above 2^53 as Flink's does.
pub(crate) const fn widened(number: i64) -> f64 {
    number as f64
}

/// One NaN for all, so that equal keys hash equally.
const fn canonical(number: f64) -> f64 {
    if number.is_nan() { f64::NAN } else { number }
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
        }
    }
}

/// The value as an alert shows it: NULL as `NULL`, a DOUBLE with a decimal point, a TIMESTAMP in
/// RFC 3339.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value:?}"),
            Self::Text(value) => f.write_str(value),
            Self::Timestamp(value) => timestamp::write(*value, f),
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
    pub const fn data_type(&self) -> DataType {
        self.data_type
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
    fn an_int_column_holds_32_bits_and_not_33() {
        assert!(Value::Integer(i64::from(i32::MAX)).fits(DataType::Int));
        assert!(!Value::Integer(i64::from(i32::MAX) + 1).fits(DataType::Int));
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
