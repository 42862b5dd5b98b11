//! Values as bytes of a snapshot.
//!
//! ```text
//! tag u8   0 NULL | 1 false | 2 true | 3 integer | 4 double | 5 text | 6 timestamp
//! body     –      | –       | –      | i64       | bits u64 | length u32, UTF-8 | i64 ms
//! ```

use std::sync::Arc;

use headland_event::EventTime;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::limits::RECORD_BYTES_LIMIT;

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
    }
}

/// Reads a value.
pub(crate) fn read(reader: &mut Reader) -> Result<Value, CodecError> {
    let at = reader.position();
    Ok(match reader.u8("value")? {
        0 => Value::Null,
        1 => Value::Boolean(false),
        2 => Value::Boolean(true),
        3 => Value::Integer(reader.i64("integer")?),
        4 => Value::Double(f64::from_bits(reader.u64("double")?)),
        5 => {
            // An expression may join texts of a record into a longer one, but not beyond what is
            // there to be read.
            let limit = RECORD_BYTES_LIMIT.as_len().max(reader.remaining());
            Value::Text(Arc::from(reader.text("text", limit)?))
        }
        6 => Value::Timestamp(EventTime::from_millis(reader.i64("timestamp")?)),
        found => {
            let (field, found) = ("value", i64::from(found));
            return Err(CodecError::Value { field, at, found, expected: "a tag from 0 to 6" });
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Boolean),
            any::<i64>().prop_map(Value::Integer),
            any::<f64>().prop_map(Value::Double),
            ".{0,8}".prop_map(|text| Value::text(&text)),
            any::<i64>().prop_map(|millis| Value::Timestamp(EventTime::from_millis(millis))),
        ]
    }

    #[test]
    fn an_unknown_tag_is_refused_with_its_place() {
        let mut reader = Reader::new(bytes::Bytes::from_static(&[7]));

        assert_eq!(
            read(&mut reader),
            Err(CodecError::Value {
                field: "value",
                at: 0,
                found: 7,
                expected: "a tag from 0 to 6"
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
