//! One JSON object per line, read without an intermediate tree.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::decode::decoder::{DecodeError, expected, shown};
use crate::table::Table;
use crate::timestamp;
use crate::value::{Column, DataType, Value, widened};

/// Decodes JSON objects. A key that appears twice counts as it stands last.
#[derive(Debug, Clone)]
pub(crate) struct JsonDecoder {
    columns: Arc<[Column]>,
}

impl JsonDecoder {
    pub(crate) fn new(table: &Table) -> Self {
        Self { columns: Arc::from(table.schema().columns()) }
    }

    /// The values of a line in the order of the schema.
    pub(crate) fn decode(&self, line: &[u8]) -> Result<Vec<Value>, DecodeError> {
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
            *value = map.next_value_seed(ValueSeed { column, misfit: &mut *self.misfit })?;
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

/// Reads the value of one column.
struct ValueSeed<'a> {
    column: &'a Column,
    misfit: &'a mut Option<Misfit>,
}

impl ValueSeed<'_> {
    fn refuse<E: serde::de::Error>(self, found: String) -> E {
        *self.misfit = Some(Misfit { column: self.column.clone(), found });
        E::custom("a value that does not fit its column")
    }

    fn keep<E: serde::de::Error>(self, value: Value, found: impl fmt::Display) -> Result<Value, E> {
        if value.fits(self.column.data_type()) {
            Ok(value)
        } else {
            Err(self.refuse(found.to_string()))
        }
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
        write!(f, "{}", self.column.data_type())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.keep(Value::Boolean(value), value)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
        let value = match self.column.data_type() {
            DataType::Double => Value::Double(widened(number)),
            DataType::Boolean
            | DataType::Int
            | DataType::BigInt
            | DataType::String
            | DataType::Timestamp => Value::Integer(number),
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
        self.keep(Value::Double(number), number)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        let value = match self.column.data_type() {
            DataType::Timestamp => timestamp::parse(text).map(Value::Timestamp),
            DataType::String => Some(Value::text(text)),
            DataType::Boolean | DataType::Int | DataType::BigInt | DataType::Double => None,
        };
        value.ok_or_else(|| self.refuse(shown(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _seq: A) -> Result<Value, A::Error> {
        Err(self.refuse("an array".to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, _map: A) -> Result<Value, A::Error> {
        Err(self.refuse("an object".to_owned()))
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
