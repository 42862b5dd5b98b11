//! One JSON object per line, read without an intermediate tree.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::decimal::Decimal;
use crate::decode::decoder::{DecodeError, expected, parse_text, shown};
use crate::decode::json_fast;
use crate::table::Table;
use crate::value::{Column, DataType, Value, narrowed, widened};

/// Decodes JSON objects. A key that appears twice counts as it stands last.
#[derive(Debug, Clone)]
pub(crate) struct JsonDecoder {
    columns: Arc<[Column]>,
}

impl JsonDecoder {
    pub(crate) fn new(table: &Table) -> Self {
        Self { columns: Arc::from(table.physical()) }
    }

    #[cfg(test)]
    pub(crate) fn of_columns(columns: &[Column]) -> Self {
        Self { columns: Arc::from(columns) }
    }

    /// The values of a line in the order of the schema.
    pub(crate) fn decode(&self, line: &[u8]) -> Result<Vec<Value>, DecodeError> {
        json_fast::decode(&self.columns, line).map_or_else(|| self.decode_slowly(line), Ok)
    }

    /// The same for a line that may be anything, and the mistake in it.
    pub(crate) fn decode_slowly(&self, line: &[u8]) -> Result<Vec<Value>, DecodeError> {
        let mut values = vec![Value::Null; self.columns.len()];
        let mut misfit = None;
        let mut json = serde_json::Deserializer::from_slice(line);
        let object =
            ObjectSeed { columns: &self.columns, values: &mut values, misfit: &mut misfit };
        let result = object.deserialize(&mut json).and_then(|()| json.end());
        match (result, misfit) {
            (Ok(()), _) => Ok(values),
            (Err(error), Some(Misfit { column, found })) => Err(DecodeError::Column {
                column: Arc::clone(column.name()),
                position: error.column(),
                found,
                expected: expected(column.data_type()),
            }),
            (Err(error), None) => {
                // serde_json writes `what was found[, expected …] at line 1 column n`.
                let text = error.to_string();
                let found = text.split(" at line ").next().unwrap_or_default();
                let found = found.split(", expected ").next().unwrap_or_default().to_owned();
                let position = error.column().max(1);
                Err(DecodeError::Syntax { position, found, expected: "one JSON object" })
            }
        }
    }
}

/// A value that does not fit its column; the place comes with serde's error.
struct Misfit {
    column: Column,
    found: String,
}

struct ObjectSeed<'a> {
    columns: &'a [Column],
    values: &'a mut [Value],
    misfit: &'a mut Option<Misfit>,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        debug_assert_eq!(self.columns.len(), self.values.len(), "a value per column");
        while let Some(index) = map.next_key_seed(KeySeed { columns: self.columns })? {
            let column = index.and_then(|index| self.columns.get(index));
            let value = index.and_then(|index| self.values.get_mut(index));
            let (Some(column), Some(value)) = (column, value) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let data_type = column.data_type();
            *value =
                map.next_value_seed(ValueSeed { column, data_type, misfit: &mut *self.misfit })?;
        }
        Ok(())
    }
}

/// Finds the column of a key without keeping the key.
struct KeySeed<'a> {
    columns: &'a [Column],
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.columns.iter().position(|column| &**column.name() == key))
    }
}

/// Reads the value of one column, or a part of it: then `data_type` is the part's.
struct ValueSeed<'a> {
    column: &'a Column,
    data_type: &'a DataType,
    misfit: &'a mut Option<Misfit>,
}

impl ValueSeed<'_> {
    fn refuse<E: serde::de::Error>(self, found: String) -> E {
        *self.misfit = Some(Misfit { column: self.column.clone(), found });
        E::custom("a value that does not fit its column")
    }

    fn keep<E: serde::de::Error>(self, value: Value, found: impl fmt::Display) -> Result<Value, E> {
        if value.fits(self.data_type) { Ok(value) } else { Err(self.refuse(found.to_string())) }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.data_type)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.keep(Value::Boolean(value), value)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
        let value = match self.data_type {
            DataType::Double => Value::Double(widened(number)),
            DataType::Float => Value::Float(narrowed(widened(number))),
            DataType::Decimal { precision, scale } => Decimal::from_integer(number)
                .rounded(*precision, *scale)
                .map_or(Value::Integer(number), Value::Decimal),
            _ => Value::Integer(number),
        };
        self.keep(value, number)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            // Above 63 bits only a DOUBLE can hold it; the text of a u64 always is one.
            Err(_) => {
                let value = number.to_string().parse().map_or(Value::Null, Value::Double);
                self.keep(value, number)
            }
        }
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        let value = match self.data_type {
            DataType::Float => Value::Float(narrowed(number)),
            DataType::Decimal { precision, scale } => Decimal::from_f64(number, *precision, *scale)
                .map_or(Value::Double(number), Value::Decimal),
            _ => Value::Double(number),
        };
        self.keep(value, number)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        // A number in quotes is a mistake of the device, not a number.
        let is_text = !(self.data_type.is_numeric() || *self.data_type == DataType::Boolean)
            || matches!(self.data_type, DataType::Decimal { .. });
        let value = if is_text { parse_text(text, self.data_type) } else { None };
        value.ok_or_else(|| self.refuse(shown(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let DataType::Array(element) = self.data_type else {
            return Err(self.refuse("an array".to_owned()));
        };
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(ValueSeed {
            column: self.column,
            data_type: element,
            misfit: &mut *self.misfit,
        })? {
            values.push(value);
        }
        Ok(Value::Array(Arc::from(values)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        match self.data_type {
            DataType::Row(columns) => {
                let mut values = vec![Value::Null; columns.len()];
                let fields = ObjectSeed { columns, values: &mut values, misfit: self.misfit };
                fields.visit_map(map)?;
                Ok(Value::Array(Arc::from(values)))
            }
            DataType::Map(entry) if entry.0 == DataType::String => {
                let mut entries = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    let value = map.next_value_seed(ValueSeed {
                        column: self.column,
                        data_type: &entry.1,
                        misfit: &mut *self.misfit,
                    })?;
                    entries.insert(Value::text(&key), value);
                }
                Ok(Value::Map(entries.into_iter().collect()))
            }
            _ => Err(self.refuse("an object".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use headland_event::EventTime;

    use crate::{Decoder, Program, Row};

    use super::*;

    fn decode(line: &str) -> Result<Row, DecodeError> {
        let sql = "CREATE TABLE t (sku STRING, quantity BIGINT, small INT, price DOUBLE, open \
                   BOOLEAN, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('topic' = 't')";
        let program = Program::compile("rules.sql", sql).unwrap();
        Decoder::new(program.tables().first().unwrap(), None).unwrap().decode(line.as_bytes())
    }

    fn refusal(line: &str) -> String {
        decode(line).unwrap_err().to_string()
    }

    #[test]
    fn an_object_fills_its_columns_and_leaves_the_absent_null() {
        let row = decode(
            r#"{"x":{"ts":[1]},"ts":"2010-12-01T08:26:00Z","sku":"8\u00e4","price":2,"open":true}"#,
        )
        .unwrap();

        assert_eq!(
            row.values(),
            [
                Value::text("8ä"),
                Value::Null,
                Value::Null,
                Value::Double(2.0),
                Value::Boolean(true),
                Value::Timestamp(EventTime::from_millis(1_291_191_960_000)),
            ]
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_by_column_and_place() {
        assert_eq!(
            refusal(r#"{"quantity":"six","ts":"2010-12-01T08:26:00Z"}"#),
            "column \"quantity\", byte 17: found \"six\", expected BIGINT"
        );
        assert_eq!(
            refusal(r#"{"quantity":6.5}"#),
            "column \"quantity\", byte 15: found 6.5, expected BIGINT"
        );
        assert_eq!(
            refusal(r#"{"small":2147483648}"#),
            "column \"small\", byte 19: found 2147483648, expected INT"
        );
        assert_eq!(
            refusal(r#"{"sku":{"a":1}}"#),
            "column \"sku\", byte 8: found an object, expected STRING"
        );
        assert_eq!(
            refusal(r#"{"ts":"today"}"#),
            "column \"ts\", byte 13: found \"today\", expected TIMESTAMP(3) as RFC 3339 or \
             YYYY-MM-DD HH:MM:SS[.fff]"
        );
    }

    #[test]
    fn a_row_without_event_time_is_refused_whether_absent_or_null() {
        let refused = "no event time: column \"ts\" is absent or empty";

        assert_eq!(refusal(r#"{"sku":"a"}"#), refused);
        assert_eq!(refusal(r#"{"sku":"a","ts":null}"#), refused);
    }

    #[test]
    fn what_is_not_one_object_is_refused_with_its_place() {
        assert_eq!(
            refusal(r#"{"sku":"#),
            "byte 7: found EOF while parsing a value, expected one JSON object"
        );
        assert_eq!(
            refusal(r#"{"ts":"2010-12-01T08:26:00Z"} {}"#),
            "byte 31: found trailing characters, expected one JSON object"
        );
        assert_eq!(
            refusal("[1]"),
            "byte 1: found invalid type: sequence, expected one JSON object"
        );
    }
}
