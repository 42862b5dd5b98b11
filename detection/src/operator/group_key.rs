//! Keys of state as bytes: short ones lie inline, and their order is the order of their values.
//!
//! ```text
//! tag u8   0 NULL | 1 false | 2 true | 3 integer | 4 double | 5 text | 6 timestamp
//! body     –      | –       | –      | i64 with the sign bit flipped | bits in total order
//!          | bytes with 0x00 as 0x00 0xff, then 0x00 0x00 | i64 as an integer
//! tag u8   7 float | 8 decimal | 9 bytes | 10 date | 11 time | 12 array | 13 map
//! body     bits in total order | scale u8, i128 with the sign bit flipped | as a text
//!          | i64 as an integer, twice | count and values | count and pairs
//! ```
//!
//! A group's key is read on every row and its values only when a result is made, so that bytes save
//! an allocation and up to three cache misses a row over values behind pointers.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use headland_event::EventTime;
use headland_event::codec::{CodecError, Reader, Writer};

use crate::decimal::Decimal;
use crate::value::Value;

/// How many bytes of a key lie inline: with the length and the tag of the variant 24, as much as a
/// value takes.
const INLINE_BYTES: usize = 22;

const SIGN: u64 = 1 << 63;
const SIGN_32: u32 = 1 << 31;

/// The values of a key, encoded so that equal values are equal bytes and lesser ones lesser bytes.
#[derive(Clone)]
pub(crate) struct GroupKey(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Heap(Box<[u8]>),
}

impl GroupKey {
    /// The key of encoded bytes.
    pub(crate) fn new(encoded: &[u8]) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        match (bytes.get_mut(..encoded.len()), u8::try_from(encoded.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(encoded);
                Self(Repr::Inline { len, bytes })
            }
            _ => Self(Repr::Heap(Box::from(encoded))),
        }
    }

    /// The key of values.
    pub(crate) fn of<'a>(values: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut encoded = Vec::new();
        values.into_iter().for_each(|value| encode(value, &mut encoded));
        Self::new(&encoded)
    }

    /// The encoded bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Repr::Heap(bytes) => bytes,
        }
    }

    /// The first bytes, filled up with zeros: a lesser prefix is of a lesser key, so that most
    /// comparisons need no look at the key itself.
    pub(crate) fn prefix(&self) -> [u8; 8] {
        let mut prefix = [0; 8];
        let bytes = self.as_bytes();
        let len = bytes.len().min(8);
        if let (Some(place), Some(bytes)) = (prefix.get_mut(..len), bytes.get(..len)) {
            place.copy_from_slice(bytes);
        }
        prefix
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Inline { .. } => 0,
            Repr::Heap(bytes) => bytes.len(),
        }
    }

    /// The values, in order.
    pub(crate) fn values(&self) -> impl Iterator<Item = Value> + '_ {
        let mut rest = self.as_bytes();
        std::iter::from_fn(move || {
            let (value, behind) = decode(rest)?;
            rest = behind;
            Some(value)
        })
    }

    /// Writes the key behind its length.
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.bytes(self.as_bytes());
    }

    /// Reads what [`write`](Self::write) wrote; refuses bytes that are no values.
    pub(crate) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let at = reader.position();
        let encoded = reader.bytes("key", reader.remaining())?;
        let mut rest: &[u8] = &encoded;
        while !rest.is_empty() {
            let Some((_, behind)) = decode(rest) else {
                let found = i64::try_from(encoded.len() - rest.len()).unwrap_or(i64::MAX);
                return Err(CodecError::Value { field: "key", at, found, expected: "a value" });
            };
            rest = behind;
        }
        Ok(Self::new(&encoded))
    }
}

/// Appends a value.
pub(crate) fn encode(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Null => bytes.push(0),
        Value::Boolean(truth) => bytes.push(1 + u8::from(*truth)),
        Value::Integer(number) => {
            bytes.push(3);
            encode_integer(*number, bytes);
        }
        Value::Double(number) => {
            bytes.push(4);
            let number = if number.is_nan() { f64::NAN } else { *number };
            let bits = number.to_bits();
            // The order of bits is that of numbers once negative ones are mirrored.
            let ordered = if bits & SIGN == 0 { bits | SIGN } else { !bits };
            bytes.extend_from_slice(&ordered.to_be_bytes());
        }
        Value::Text(text) => {
            bytes.push(5);
            encode_bytes(text.as_bytes(), bytes);
        }
        Value::Timestamp(time) => {
            bytes.push(6);
            encode_integer(time.millis(), bytes);
        }
        Value::Float(number) => {
            bytes.push(7);
            let number = if number.is_nan() { f32::NAN } else { *number };
            let bits = number.to_bits();
            let ordered = if bits & SIGN_32 == 0 { bits | SIGN_32 } else { !bits };
            bytes.extend_from_slice(&ordered.to_be_bytes());
        }
        Value::Decimal(number) => {
            bytes.push(8);
            bytes.push(number.scale());
            let unscaled = number.unscaled().cast_unsigned() ^ (1 << 127);
            bytes.extend_from_slice(&unscaled.to_be_bytes());
        }
        Value::Bytes(plain) => {
            bytes.push(9);
            encode_bytes(plain, bytes);
        }
        Value::Date(days) => {
            bytes.push(10);
            encode_integer(i64::from(*days), bytes);
        }
        Value::Time(millis) => {
            bytes.push(11);
            encode_integer(i64::from(*millis), bytes);
        }
        Value::Array(values) => {
            bytes.push(12);
            encode_count(values.len(), bytes);
            values.iter().for_each(|value| encode(value, bytes));
        }
        Value::Map(entries) => {
            bytes.push(13);
            encode_count(entries.len(), bytes);
            for (key, value) in &**entries {
                encode(key, bytes);
                encode(value, bytes);
            }
        }
    }
}

fn encode_count(count: usize, bytes: &mut Vec<u8>) {
    encode_integer(i64::try_from(count).unwrap_or(i64::MAX), bytes);
}

fn encode_integer(number: i64, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(number.cast_unsigned() ^ SIGN).to_be_bytes());
}

fn encode_bytes(text: &[u8], bytes: &mut Vec<u8>) {
    if text.contains(&0) {
        for byte in text {
            bytes.push(*byte);
            if *byte == 0 {
                bytes.push(0xff);
            }
        }
    } else {
        bytes.extend_from_slice(text);
    }
    bytes.extend_from_slice(&[0, 0]);
}

/// The first value and what is behind it; none when the bytes are no value.
fn decode(bytes: &[u8]) -> Option<(Value, &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    Some(match tag {
        0 => (Value::Null, rest),
        1 => (Value::Boolean(false), rest),
        2 => (Value::Boolean(true), rest),
        3 => {
            let (number, rest) = decode_integer(rest)?;
            (Value::Integer(number), rest)
        }
        4 => {
            let (raw, rest) = rest.split_first_chunk::<8>()?;
            let ordered = u64::from_be_bytes(*raw);
            let bits = if ordered & SIGN == 0 { !ordered } else { ordered ^ SIGN };
            (Value::Double(f64::from_bits(bits)), rest)
        }
        5 => {
            let (text, rest) = decode_bytes(rest)?;
            (Value::Text(Arc::from(std::str::from_utf8(&text).ok()?)), rest)
        }
        6 => {
            let (millis, rest) = decode_integer(rest)?;
            (Value::Timestamp(EventTime::from_millis(millis)), rest)
        }
        7 => {
            let (raw, rest) = rest.split_first_chunk::<4>()?;
            let ordered = u32::from_be_bytes(*raw);
            let bits = if ordered & SIGN_32 == 0 { !ordered } else { ordered ^ SIGN_32 };
            (Value::Float(f32::from_bits(bits)), rest)
        }
        8 => {
            let (scale, rest) = rest.split_first()?;
            let (raw, rest) = rest.split_first_chunk::<16>()?;
            let unscaled = (u128::from_be_bytes(*raw) ^ (1 << 127)).cast_signed();
            (Value::Decimal(Decimal::new(unscaled, *scale)?), rest)
        }
        9 => {
            let (plain, rest) = decode_bytes(rest)?;
            (Value::Bytes(Arc::from(plain)), rest)
        }
        10 => {
            let (days, rest) = decode_integer(rest)?;
            (Value::Date(i32::try_from(days).ok()?), rest)
        }
        11 => {
            let (millis, rest) = decode_integer(rest)?;
            (Value::Time(u32::try_from(millis).ok()?), rest)
        }
        12 => {
            let (count, mut rest) = decode_integer(rest)?;
            let mut values = Vec::new();
            for _ in 0..count {
                let (value, behind) = decode(rest)?;
                values.push(value);
                rest = behind;
            }
            (Value::Array(Arc::from(values)), rest)
        }
        13 => {
            let (count, mut rest) = decode_integer(rest)?;
            let mut entries = Vec::new();
            for _ in 0..count {
                let (key, behind) = decode(rest)?;
                let (value, behind) = decode(behind)?;
                entries.push((key, value));
                rest = behind;
            }
            (Value::Map(Arc::from(entries)), rest)
        }
        _ => return None,
    })
}

fn decode_integer(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (raw, rest) = bytes.split_first_chunk::<8>()?;
    Some(((u64::from_be_bytes(*raw) ^ SIGN).cast_signed(), rest))
}

fn decode_bytes(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::new();
    loop {
        let (part, behind) = rest.split_at_checked(rest.iter().position(|byte| *byte == 0)?)?;
        text.extend_from_slice(part);
        match behind {
            [0, 0, behind @ ..] => return Some((text, behind)),
            [0, 0xff, behind @ ..] => {
                text.push(0);
                rest = behind;
            }
            _ => return None,
        }
    }
}

impl Borrow<[u8]> for GroupKey {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Hash for GroupKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As a slice hashes, so that a map finds a key by its bytes.
        self.as_bytes().hash(state);
    }
}

impl PartialEq for GroupKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for GroupKey {}

impl Ord for GroupKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for GroupKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.values()).finish()
    }
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
            "[\u{0}ab\u{ff}]{0,4}".prop_map(|text| Value::text(&text)),
            any::<i64>().prop_map(|millis| Value::Timestamp(EventTime::from_millis(millis))),
        ]
    }

    #[test]
    fn a_key_takes_no_more_room_than_a_value() {
        assert_eq!(size_of::<GroupKey>(), 24);
    }

    #[test]
    fn a_key_of_22_bytes_lies_inline_and_one_of_23_does_not() {
        let key = |len| GroupKey::of([&Value::text(&"x".repeat(len))]);

        assert_eq!(key(19).heap_bytes(), 0);
        assert_eq!(key(20).heap_bytes(), 23);
    }

    #[test]
    fn bytes_that_are_no_values_are_refused() {
        let mut writer = Writer::new();
        writer.bytes(&[3, 0, 0]);

        let read = GroupKey::read(&mut Reader::new(writer.finish()));

        assert_eq!(
            read.unwrap_err(),
            CodecError::Value { field: "key", at: 0, found: 0, expected: "a value" }
        );
    }

    proptest! {
        #[test]
        fn decode_of_encode_is_the_same_values(values in prop::collection::vec(value(), 0..4)) {
            let key = GroupKey::of(&values);

            prop_assert_eq!(key.values().collect::<Vec<_>>(), values);
        }

        #[test]
        fn keys_order_as_their_values(
            left in prop::collection::vec(value(), 2),
            right in prop::collection::vec(value(), 2),
        ) {
            prop_assert_eq!(GroupKey::of(&left).cmp(&GroupKey::of(&right)), left.cmp(&right));
        }
    }
}
