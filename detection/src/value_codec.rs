//! Values as bytes of a snapshot.
//!
//! ```text
//! tag u8   0 NULL | 1 false | 2 true | 3 integer | 4 double | 5 text | 6 timestamp
//! body     –      | –       | –      | i64       | bits u64 | length u32, UTF-8 | i64 ms
//! tag u8   7 float  | 8 decimal                 | 9 bytes           | 10 date  | 11 time
//! body     bits u32 | scale u8, 16 bytes, little-endian | length u32, bytes | i64 days | u32 ms
//! tag u8   12 array or row          | 13 map
//! body     count u32, values        | count u32, (key, value) …
//! ```

use std::sync::Arc;

use headland_event::EventTime;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::limits::RECORD_BYTES_LIMIT;

use crate::decimal::Decimal;
use crate::value::Value;

/// Writes a value.
pub(crate) fn write(value: &Value, writer: &mut Writer) {
    match value {
        Value::Null => writer.u8(0),
        Value::Boolean(false) => writer.u8(1),
        Value::Boolean(true) => writer.u8(2),
        Value::Integer(number) => {
            writer.u8(3);
            writer.i64(*number);
        }
        Value::Double(number) => {
            writer.u8(4);
            writer.u64(number.to_bits());
        }
        Value::Text(text) => {
            writer.u8(5);
            writer.bytes(text.as_bytes());
        }
        Value::Timestamp(time) => {
            writer.u8(6);
            writer.i64(time.millis());
        }
        Value::Float(number) => {
            writer.u8(7);
            writer.u32(number.to_bits());
        }
        Value::Decimal(number) => {
            writer.u8(8);
            writer.u8(number.scale());
            writer.raw(&number.unscaled().to_le_bytes());
        }
        Value::Bytes(bytes) => {
            writer.u8(9);
            writer.bytes(bytes);
        }
        Value::Date(days) => {
            writer.u8(10);
            writer.i64(i64::from(*days));
        }
        Value::Time(millis) => {
            writer.u8(11);
            writer.u32(*millis);
        }
        Value::Array(values) => {
            writer.u8(12);
            writer.length(values.len());
            values.iter().for_each(|value| write(value, writer));
        }
        Value::Map(entries) => {
            writer.u8(13);
            writer.length(entries.len());
            for (key, value) in &**entries {
                write(key, writer);
                write(value, writer);
            }
        }
    }
}

/// Deepest nesting of arrays and maps: no declared type nests deeper.
const DEPTH_LIMIT: u8 = 32;

/// Reads a value.
pub(crate) fn read(reader: &mut Reader) -> Result<Value, CodecError> {
    read_nested(reader, 0)
}

fn read_nested(reader: &mut Reader, depth: u8) -> Result<Value, CodecError> {
    let at = reader.position();
    let refused = |found: i64, expected| CodecError::Value { field: "value", at, found, expected };
    if depth == DEPTH_LIMIT {
        return Err(refused(i64::from(depth), "arrays and maps nested 32 deep at most"));
    }
    // An expression may join texts of a record into a longer one, but not beyond what is there to
    // be read.
    let limit = RECORD_BYTES_LIMIT.as_len().max(reader.remaining());
    Ok(match reader.u8("value")? {
        0 => Value::Null,
        1 => Value::Boolean(false),
        2 => Value::Boolean(true),
        3 => Value::Integer(reader.i64("integer")?),
        4 => Value::Double(f64::from_bits(reader.u64("double")?)),
        5 => Value::Text(Arc::from(reader.text("text", limit)?)),
        6 => Value::Timestamp(EventTime::from_millis(reader.i64("timestamp")?)),
        7 => Value::Float(f32::from_bits(reader.u32("float")?)),
        8 => {
            let scale = reader.u8("scale")?;
            let mut unscaled = [0; 16];
            unscaled.copy_from_slice(&reader.take("decimal", 16)?);
            let number = Decimal::new(i128::from_le_bytes(unscaled), scale);
            let refused = || refused(i64::from(scale), "a decimal of 38 digits at most");
            Value::Decimal(number.ok_or_else(refused)?)
        }
        9 => Value::Bytes(Arc::from(&*reader.bytes("bytes", limit)?)),
        10 => {
            let days = reader.i64("date")?;
            let days = i32::try_from(days).map_err(|_| refused(days, "days within 32 bits"))?;
            Value::Date(days)
        }
        11 => Value::Time(reader.u32("time")?),
        12 => {
            let count = reader.length("array", limit)?;
            let values = (0..count).map(|_| read_nested(reader, depth + 1));
            Value::Array(values.collect::<Result<_, _>>()?)
        }
        13 => {
            let count = reader.length("map", limit)?;
            let mut entries = Vec::new();
            for _ in 0..count {
                let key = read_nested(reader, depth + 1)?;
                entries.push((key, read_nested(reader, depth + 1)?));
            }
            Value::Map(Arc::from(entries))
        }
        found => return Err(refused(i64::from(found), "a tag from 0 to 13")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let plain = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Boolean),
            any::<i64>().prop_map(Value::Integer),
            any::<f64>().prop_map(Value::Double),
            ".{0,8}".prop_map(|text| Value::text(&text)),
            any::<i64>().prop_map(|millis| Value::Timestamp(EventTime::from_millis(millis))),
            any::<f32>().prop_map(Value::Float),
            (any::<i64>(), 0_u8..19).prop_map(|(unscaled, scale)| {
                Value::Decimal(Decimal::new(i128::from(unscaled), scale).unwrap())
            }),
            any::<[u8; 3]>().prop_map(|bytes| Value::Bytes(Arc::from(bytes))),
            any::<i32>().prop_map(Value::Date),
            (0_u32..86_400_000).prop_map(Value::Time),
        ];
        plain.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3)
                    .prop_map(|values| Value::Array(Arc::from(values))),
                prop::collection::vec((inner.clone(), inner), 0..3)
                    .prop_map(|entries| Value::Map(Arc::from(entries))),
            ]
        })
    }

    #[test]
    fn an_unknown_tag_is_refused_with_its_place() {
        let mut reader = Reader::new(bytes::Bytes::from_static(&[14]));

        assert_eq!(
            read(&mut reader),
            Err(CodecError::Value {
                field: "value",
                at: 0,
                found: 14,
                expected: "a tag from 0 to 13"
            })
        );
    }

    proptest! {
        #[test]
        fn read_of_write_is_the_same_value(value in value()) {
            let mut writer = Writer::new();
            write(&value, &mut writer);

            let mut reader = Reader::new(writer.finish());
            prop_assert_eq!(read(&mut reader), Ok(value));
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }
}
