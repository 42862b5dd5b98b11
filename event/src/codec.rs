//! Bounds-checked reading and writing of hand-drawn layouts.
//!
//! All integers are big-endian, as in Kafka's formats, unless a method says otherwise. A length is
//! checked against what is there before anything is allocated for it.

use bytes::Bytes;

use crate::id::{Incarnation, StreamId};

/// 64 bits, seven to a byte.
const VARINT_BYTES_LIMIT: usize = 10;

/// Bytes that do not hold what their layout says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The bytes end inside a field.
    #[error("{field} needs {needed} bytes at {at}, {left} are left")]
    Short {
        /// The field being read.
        field: &'static str,
        /// Position in the input.
        at: usize,
        /// How many bytes the field needs.
        needed: usize,
        /// How many there are.
        left: usize,
    },
    /// A field holds a value outside its range.
    #[error("{field} at {at} holds {found}, expected {expected}")]
    Value {
        /// The field being read.
        field: &'static str,
        /// Position in the input.
        at: usize,
        /// The value found.
        found: i64,
        /// What would fit.
        expected: &'static str,
    },
    /// Bytes are left over after the last field.
    #[error("{left} bytes follow the last field at {at}")]
    Trailing {
        /// Position in the input.
        at: usize,
        /// How many bytes follow.
        left: usize,
    },
}

/// Reads a layout front to back.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
    at: usize,
}

macro_rules! read_int {
    ($name:ident, $type:ty, $width:literal) => {
        /// Reads a big-endian integer of the width in the name.
        ///
        /// # Errors
        /// [`CodecError::Short`] when fewer bytes are left.
        pub fn $name(&mut self, field: &'static str) -> Result<$type, CodecError> {
            let Some((raw, _)) = self.rest().split_first_chunk::<$width>() else {
                return Err(self.short(field, $width));
            };
            let value = <$type>::from_be_bytes(*raw);
            self.at += $width;
            Ok(value)
        }
    };
}

impl Reader {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    /// Position of the next byte.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest().len()
    }

    fn rest(&self) -> &[u8] {
        debug_assert!(self.at <= self.bytes.len(), "the position stays within the input");
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn short(&self, field: &'static str, needed: usize) -> CodecError {
        CodecError::Short { field, at: self.at, needed, left: self.remaining() }
    }

    /// Takes `count` bytes without copying them.
    ///
    /// # Errors
    /// [`CodecError::Short`] when fewer are left.
    pub fn take(&mut self, field: &'static str, count: usize) -> Result<Bytes, CodecError> {
        if count > self.remaining() {
            return Err(self.short(field, count));
        }
        let taken = self.bytes.slice(self.at..self.at + count);
        self.at += count;
        Ok(taken)
    }

    read_int!(u8, u8, 1);
    read_int!(u16, u16, 2);
    read_int!(u32, u32, 4);
    read_int!(u64, u64, 8);
    read_int!(i8, i8, 1);
    read_int!(i16, i16, 2);
    read_int!(i32, i32, 4);
    read_int!(i64, i64, 8);

    /// Reads a length or count of 32 bits and checks it against `limit`.
    ///
    /// # Errors
    /// [`CodecError`] when bytes are missing or the number is above `limit`.
    pub fn length(&mut self, field: &'static str, limit: usize) -> Result<usize, CodecError> {
        let at = self.at;
        let raw = self.u32(field)?;
        usize::try_from(raw).ok().filter(|length| *length <= limit).ok_or_else(|| {
            CodecError::Value {
                field,
                at,
                found: i64::from(raw),
                expected: "a length within its limit",
            }
        })
    }

    /// Reads a length of 32 bits, then that many bytes.
    ///
    /// # Errors
    /// [`CodecError`] when bytes are missing or the length is above `limit`.
    pub fn bytes(&mut self, field: &'static str, limit: usize) -> Result<Bytes, CodecError> {
        let length = self.length(field, limit)?;
        self.take(field, length)
    }

    /// Reads a length of 32 bits, then that many bytes of UTF-8.
    ///
    /// # Errors
    /// [`CodecError`] when bytes are missing, the length is above `limit`, or it is not UTF-8.
    pub fn text(&mut self, field: &'static str, limit: usize) -> Result<String, CodecError> {
        let at = self.at;
        let raw = self.bytes(field, limit)?;
        let text = std::str::from_utf8(&raw).map_err(|error| CodecError::Value {
            field,
            at: at + 4 + error.valid_up_to(),
            found: raw.get(error.valid_up_to()).copied().map_or(-1, i64::from),
            expected: "UTF-8",
        })?;
        Ok(text.to_owned())
    }

    /// Reads a zig-zag variable-length integer, protobuf's and Kafka's.
    ///
    /// # Errors
    /// [`CodecError`] when bytes are missing or more than ten bytes carry on.
    pub fn varint(&mut self, field: &'static str) -> Result<i64, CodecError> {
        let (value, length) = read_varint(self.rest(), field, self.at)?;
        self.at += length;
        Ok(value)
    }

    /// Reads a stream's id.
    ///
    /// # Errors
    /// [`CodecError::Short`] when fewer than 16 bytes are left.
    pub fn stream_id(&mut self, field: &'static str) -> Result<StreamId, CodecError> {
        let mut raw = [0_u8; 16];
        raw.copy_from_slice(&self.take(field, 16)?);
        Ok(StreamId::new(raw))
    }

    /// Reads an incarnation: counter of 32 bits, nonce of 64.
    ///
    /// # Errors
    /// [`CodecError::Short`] when fewer than 12 bytes are left.
    pub fn incarnation(&mut self, field: &'static str) -> Result<Incarnation, CodecError> {
        Ok(Incarnation::new(self.u32(field)?, self.u64(field)?))
    }

    /// Reads a name of up to 255 bytes through its checked constructor.
    ///
    /// # Errors
    /// [`CodecError`] when bytes are missing or the name does not fit its type.
    pub fn name<T: std::str::FromStr>(&mut self, field: &'static str) -> Result<T, CodecError> {
        let at = self.at;
        let length = self.u8(field)?;
        let raw = self.take(field, usize::from(length))?;
        std::str::from_utf8(&raw).ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
            CodecError::Value {
                field,
                at,
                found: i64::from(length),
                expected: "a name that fits its type",
            }
        })
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`CodecError::Trailing`] when bytes follow.
    pub fn end(&self) -> Result<(), CodecError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(CodecError::Trailing { at: self.at, left }),
        }
    }
}

/// Reads the zig-zag integer at the start of `bytes`, which stand at `at`; says how long it is.
pub(crate) fn read_varint(
    bytes: &[u8],
    field: &'static str,
    at: usize,
) -> Result<(i64, usize), CodecError> {
    let mut raw = 0_u64;
    for (index, byte) in bytes.iter().take(VARINT_BYTES_LIMIT).enumerate() {
        raw |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let magnitude = (raw >> 1).cast_signed();
            return Ok((if raw & 1 == 0 { magnitude } else { !magnitude }, index + 1));
        }
    }
    match bytes.len() {
        VARINT_BYTES_LIMIT.. => {
            Err(CodecError::Value { field, at, found: -1, expected: "at most ten bytes" })
        }
        length => Err(CodecError::Short { field, at: at + length, needed: 1, left: 0 }),
    }
}

/// How many bytes [`Writer::varint`] takes for `value`, 1 to 10.
pub(crate) const fn varint_len(value: i64) -> usize {
    let bits = u64::BITS - (zigzag(value) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Writes a layout front to back. Integers are big-endian.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

macro_rules! write_int {
    ($name:ident, $type:ty) => {
        /// Writes a big-endian integer of the width in the name.
        pub fn $name(&mut self, value: $type) {
            self.bytes.extend_from_slice(&value.to_be_bytes());
        }
    };
}

impl Writer {
    /// Starts with nothing written.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Starts with nothing written and room for `bytes` bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    write_int!(u8, u8);
    write_int!(u16, u16);
    write_int!(u32, u32);
    write_int!(u64, u64);
    write_int!(i8, i8);
    write_int!(i16, i16);
    write_int!(i32, i32);
    write_int!(i64, i64);

    /// Writes bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes a length or count as 32 bits.
    ///
    /// # Panics
    /// When it does not fit 32 bits: every length of ours has a far smaller limit.
    pub fn length(&mut self, length: usize) {
        #[expect(clippy::expect_used, reason = "every length of ours has a limit far below 2^32")]
        self.u32(u32::try_from(length).expect("a length below its limit fits 32 bits"));
    }

    /// Writes a length of 32 bits, then the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.raw(bytes);
    }

    /// Writes a zig-zag variable-length integer, protobuf's and Kafka's.
    pub fn varint(&mut self, value: i64) {
        let mut raw = zigzag(value);
        loop {
            let [low, ..] = raw.to_le_bytes();
            raw >>= 7;
            if raw == 0 {
                self.u8(low & 0x7f);
                return;
            }
            self.u8(low | 0x80);
        }
    }

    /// Writes a stream's id.
    pub fn stream_id(&mut self, stream: StreamId) {
        self.raw(stream.bytes());
    }

    /// Writes an incarnation: counter of 32 bits, nonce of 64.
    pub fn incarnation(&mut self, incarnation: Incarnation) {
        self.u32(incarnation.counter());
        self.u64(incarnation.nonce());
    }

    /// Writes a name behind a length of 8 bits.
    ///
    /// # Panics
    /// When it is longer than 255 bytes: every checked name is shorter.
    pub fn name(&mut self, name: &str) {
        #[expect(clippy::expect_used, reason = "the longest checked name has 249 bytes")]
        self.u8(u8::try_from(name.len()).expect("a checked name is at most 249 bytes"));
        self.raw(name.as_bytes());
    }

    /// Forgets what was written and keeps the memory, to write the next layout there.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// How many bytes were written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What was written so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// What was written so far, to patch a field whose value is known only at the end.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The bytes written, to go on with.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        self.bytes
    }

    /// The bytes written.
    #[must_use]
    pub fn finish(self) -> Bytes {
        Bytes::from(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_length_above_its_limit_is_refused_before_anything_is_read() {
        let mut reader = Reader::new(Bytes::from_static(&[0xff, 0xff, 0xff, 0xff]));

        assert_eq!(
            reader.bytes("value", 10),
            Err(CodecError::Value {
                field: "value",
                at: 0,
                found: 0xffff_ffff,
                expected: "a length within its limit"
            })
        );
    }

    #[test]
    fn a_field_that_ends_early_says_where_and_how_much_is_missing() {
        let mut reader = Reader::new(Bytes::from_static(&[1, 2, 3]));
        reader.u8("version").unwrap();

        assert_eq!(
            reader.u32("count"),
            Err(CodecError::Short { field: "count", at: 1, needed: 4, left: 2 })
        );
    }

    #[test]
    fn a_cleared_writer_starts_over() {
        let mut writer = Writer::new();
        writer.u32(7);

        writer.clear();
        writer.u8(1);

        assert_eq!(writer.as_slice(), [1]);
    }

    #[test]
    fn a_varint_of_ten_bytes_fits_and_one_that_carries_on_does_not() {
        let longest = |last: u8| {
            let mut bytes = vec![0xff; 9];
            bytes.extend([last, 0]);
            Reader::new(Bytes::from(bytes)).varint("delta")
        };

        assert_eq!(longest(0x01), Ok(i64::MIN));
        assert_eq!(
            longest(0x81),
            Err(CodecError::Value {
                field: "delta",
                at: 0,
                found: -1,
                expected: "at most ten bytes"
            })
        );
    }

    #[test]
    fn a_varint_that_ends_early_says_where() {
        let mut reader = Reader::new(Bytes::from_static(&[7, 0x80, 0x80]));
        reader.u8("version").unwrap();

        assert_eq!(
            reader.varint("delta"),
            Err(CodecError::Short { field: "delta", at: 3, needed: 1, left: 0 })
        );
    }

    proptest! {
        #[test]
        fn decode_of_encode_is_the_same_varint(value in any::<i64>(), shift in 0..64_u32) {
            let value = value >> shift;
            let mut writer = Writer::new();
            writer.varint(value);
            prop_assert_eq!(writer.len(), varint_len(value));

            let mut reader = Reader::new(writer.finish());
            prop_assert_eq!(reader.varint("value"), Ok(value));
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }
}
