//! Kafka's RecordBatch v2.
//!
//! ```text
//!  0  base offset      i64  outside the CRC: a receiver re-bases without touching records
//!  8  length           i32  of everything after this field
//! 12  leader epoch     i32  outside the CRC
//! 16  magic            i8   2
//! 17  crc              u32  CRC-32C of everything after this field
//! 21  attributes       i16  bits 0-2 codec (0 here), others 0
//! 23  last offset delta i32 records - 1
//! 27  base time        i64  event time of the first record, ms
//! 35  max time         i64  largest event time, ms
//! 43  producer id      i64  -1
//! 51  producer epoch   i16  -1
//! 53  base sequence    i32  -1
//! 57  record count     i32
//! 61  records          { length, attributes i8, time delta, offset delta, key, value, headers }
//! ```
//! Lengths and deltas of records are zig-zag varints; a length of -1 is an absent key or value.
//!
//! # Source
//! Apache Kafka, KIP-98 and the documentation of its message format, "Record Batch".

use bytes::Bytes;

use crate::codec::{CodecError, Reader, Writer};
use crate::id::Offset;
use crate::limits::{BATCH_RECORDS_LIMIT, HEADERS_LIMIT, RECORD_BYTES_LIMIT};
use crate::record::{Header, Record};
use crate::time::EventTime;

const LENGTH_AT: usize = 8;
const CRC_AT: usize = 17;
const CHECKED_FROM: usize = 21;
const RECORDS_FROM: usize = 61;
/// The payload's limit, plus what the largest single record needs around it.
const ENCODED_BYTES_LIMIT: usize = (1 << 20) + 2_048;
const MAGIC: i8 = 2;
const CODEC_MASK: i16 = 0x07;

/// Records that cannot be a batch, or bytes that are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// A batch holds at least one record.
    #[error("a batch without records")]
    Empty,
    /// More records than a batch may hold.
    #[error("a batch of {found} records, the limit is {limit}")]
    TooManyRecords {
        /// Records given.
        found: usize,
        /// Most that fit.
        limit: usize,
    },
    /// A record above its limit.
    #[error("record {index} has {found} bytes, the limit is {limit}")]
    RecordTooLarge {
        /// Index of the record in the batch.
        index: usize,
        /// Its bytes.
        found: usize,
        /// Most that fit.
        limit: usize,
    },
    /// More headers than a record may have.
    #[error("record {index} has {found} headers, the limit is {limit}")]
    TooManyHeaders {
        /// Index of the record in the batch.
        index: usize,
        /// Its headers.
        found: usize,
        /// Most that fit.
        limit: usize,
    },
    /// An encoded batch above its limit.
    #[error("a batch of {found} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes of the batch.
        found: usize,
        /// Most that fit.
        limit: usize,
    },
    /// The checksum does not match: some byte changed after the batch was written.
    #[error("the batch's CRC-32C is {found:08x}, its bytes give {expected:08x}")]
    Corrupt {
        /// What the header says.
        found: u32,
        /// What the bytes give.
        expected: u32,
    },
    /// A format other than v2, or a codec that this build does not read.
    #[error("batch {field} is {found}, expected {expected}")]
    Unsupported {
        /// The header field.
        field: &'static str,
        /// Its value.
        found: i64,
        /// What this build reads.
        expected: &'static str,
    },
    /// The layout breaks off or contradicts itself.
    #[error("the batch's layout is broken")]
    Layout(#[from] CodecError),
}

impl BatchError {
    /// Whether the same bytes could be accepted later: never.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Empty
            | Self::TooManyRecords { .. }
            | Self::RecordTooLarge { .. }
            | Self::TooManyHeaders { .. }
            | Self::TooLarge { .. }
            | Self::Corrupt { .. }
            | Self::Unsupported { .. }
            | Self::Layout(_) => false,
        }
    }
}

/// An encoded batch whose header and checksum were verified when it was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
    count: usize,
    base_time: EventTime,
    max_time: EventTime,
}

impl Batch {
    /// Encodes records, uncompressed, with base offset 0.
    ///
    /// Cost: one allocation, one pass, one CRC.
    ///
    /// # Errors
    /// [`BatchError`] when there is no record or a limit is passed; nothing is truncated.
    pub fn encode(records: &[Record]) -> Result<Self, BatchError> {
        let first = records.first().ok_or(BatchError::Empty)?;
        check_limits(records)?;
        let base_time = first.time;
        let max_time = records.iter().map(|record| record.time).max().unwrap_or(base_time);
        let mut writer = Writer::new();
        write_header(&mut writer, records.len(), base_time, max_time);
        for (index, record) in records.iter().enumerate() {
            write_record(&mut writer, index, record, base_time);
        }
        let found = writer.len();
        let limit = ENCODED_BYTES_LIMIT;
        if found > limit {
            return Err(BatchError::TooLarge { found, limit });
        }
        seal(&mut writer);
        Ok(Self { bytes: writer.finish(), count: records.len(), base_time, max_time })
    }

    /// Encodes records into batches within their limits, in order, by halving what does not fit.
    ///
    /// A record that fits no batch is an error in its place and takes no other with it.
    #[must_use]
    pub fn encode_all(records: &[Record]) -> Vec<Result<Self, BatchError>> {
        match Self::encode(records) {
            Err(_) if records.len() > 1 => {
                let (left, right) = records.split_at(records.len() / 2);
                let mut all = Self::encode_all(left);
                all.extend(Self::encode_all(right));
                all
            }
            Err(BatchError::Empty) => Vec::new(),
            one => vec![one],
        }
    }

    /// Verifies bytes that hold exactly one batch: header, limits and CRC, records unread.
    ///
    /// # Errors
    /// [`BatchError`] when they do not.
    pub fn decode(bytes: Bytes) -> Result<Self, BatchError> {
        let found = bytes.len();
        let limit = ENCODED_BYTES_LIMIT;
        if found > limit {
            return Err(BatchError::TooLarge { found, limit });
        }
        let mut reader = Reader::new(bytes.clone());
        let header = read_header(&mut reader)?;
        let checked = bytes.slice(CHECKED_FROM..);
        let expected = crc32c::crc32c(&checked);
        if header.crc != expected {
            return Err(BatchError::Corrupt { found: header.crc, expected });
        }
        Ok(Self {
            bytes,
            count: header.count,
            base_time: header.base_time,
            max_time: header.max_time,
        })
    }

    /// Decodes every record, in order.
    ///
    /// Cost: one pass; keys, values and header values share the batch's memory.
    ///
    /// # Errors
    /// [`BatchError::Layout`] when the records contradict the header.
    pub fn records(&self) -> Result<Vec<Record>, BatchError> {
        let mut reader = Reader::new(self.bytes.slice(RECORDS_FROM..));
        let records = (0..self.count)
            .map(|index| read_record(&mut reader, index, self.base_time))
            .collect::<Result<Vec<_>, _>>()?;
        reader.end()?;
        Ok(records)
    }

    /// How many records the batch holds, at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// How many offsets and sequence numbers the batch takes.
    #[must_use]
    pub fn span(&self) -> u64 {
        u64::try_from(self.count).unwrap_or(u64::MAX)
    }

    /// Event time of the first record.
    #[must_use]
    pub const fn base_time(&self) -> EventTime {
        self.base_time
    }

    /// Largest event time of a record.
    #[must_use]
    pub const fn max_time(&self) -> EventTime {
        self.max_time
    }

    /// The encoded batch, base offset 0.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The encoded batch as a Kafka client expects it at `base`: one copy, no new CRC.
    #[must_use]
    pub fn rebased(&self, base: Offset) -> Bytes {
        let mut writer = Writer::new();
        writer.u64(base.get());
        writer.raw(&self.bytes.slice(LENGTH_AT..));
        writer.finish()
    }
}

fn check_limits(records: &[Record]) -> Result<(), BatchError> {
    if records.len() > BATCH_RECORDS_LIMIT {
        return Err(BatchError::TooManyRecords {
            found: records.len(),
            limit: BATCH_RECORDS_LIMIT,
        });
    }
    let limit = RECORD_BYTES_LIMIT.as_len();
    for (index, record) in records.iter().enumerate() {
        let found = record.payload_len();
        if found > limit {
            return Err(BatchError::RecordTooLarge { index, found, limit });
        }
        let found = record.headers.len();
        if found > HEADERS_LIMIT {
            return Err(BatchError::TooManyHeaders { index, found, limit: HEADERS_LIMIT });
        }
    }
    Ok(())
}

fn write_header(writer: &mut Writer, count: usize, base_time: EventTime, max_time: EventTime) {
    writer.u64(0);
    writer.u32(0);
    writer.i32(-1);
    writer.i8(MAGIC);
    writer.u32(0);
    writer.i16(0);
    writer.length(count - 1);
    writer.i64(base_time.millis());
    writer.i64(max_time.millis());
    writer.i64(-1);
    writer.i16(-1);
    writer.i32(-1);
    writer.length(count);
}

/// Writes length and checksum into the header of a batch whose records are complete.
fn seal(writer: &mut Writer) {
    let bytes = writer.as_mut_slice();
    let length = u32::try_from(bytes.len() - LENGTH_AT - 4).unwrap_or(u32::MAX);
    let crc = bytes.get(CHECKED_FROM..).map_or(0, crc32c::crc32c);
    if let Some(field) = bytes.get_mut(LENGTH_AT..LENGTH_AT + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    if let Some(field) = bytes.get_mut(CRC_AT..CHECKED_FROM) {
        field.copy_from_slice(&crc.to_be_bytes());
    }
}

fn write_record(writer: &mut Writer, index: usize, record: &Record, base_time: EventTime) {
    let Record { time, key, value, headers } = record;
    let mut body = Writer::new();
    body.i8(0);
    body.varint(time.millis_since(base_time));
    body.varint(wide(index));
    write_optional(&mut body, key.as_ref());
    write_optional(&mut body, value.as_ref());
    body.varint(wide(headers.len()));
    for Header { name, value } in headers {
        body.varint(wide(name.len()));
        body.raw(name.as_bytes());
        write_optional(&mut body, Some(value));
    }
    writer.varint(wide(body.len()));
    writer.raw(body.as_slice());
}

fn write_optional(writer: &mut Writer, bytes: Option<&Bytes>) {
    match bytes {
        None => writer.varint(-1),
        Some(bytes) => {
            writer.varint(wide(bytes.len()));
            writer.raw(bytes);
        }
    }
}

fn wide(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

struct BatchHeader {
    crc: u32,
    count: usize,
    base_time: EventTime,
    max_time: EventTime,
}

fn read_header(reader: &mut Reader) -> Result<BatchHeader, BatchError> {
    reader.u64("base offset")?;
    let length = reader.length("batch length", usize::MAX)?;
    if length != reader.remaining() {
        return Err(unsupported("length", wide(length), "the bytes that follow it"));
    }
    reader.i32("leader epoch")?;
    let magic = reader.i8("magic")?;
    if magic != MAGIC {
        return Err(unsupported("magic", i64::from(magic), "2"));
    }
    let crc = reader.u32("crc")?;
    let attributes = reader.i16("attributes")?;
    if attributes & CODEC_MASK != 0 {
        return Err(unsupported("codec", i64::from(attributes & CODEC_MASK), "0 (none)"));
    }
    let last_delta = reader.length("last offset delta", BATCH_RECORDS_LIMIT)?;
    let base_time = EventTime::from_millis(reader.i64("base time")?);
    let max_time = EventTime::from_millis(reader.i64("max time")?);
    reader.take("producer id, epoch and sequence", 14)?;
    let count = reader.length("record count", BATCH_RECORDS_LIMIT)?;
    if count == 0 {
        return Err(BatchError::Empty);
    }
    if last_delta + 1 != count {
        return Err(unsupported("last offset delta", wide(last_delta), "record count - 1"));
    }
    Ok(BatchHeader { crc, count, base_time, max_time })
}

const fn unsupported(field: &'static str, found: i64, expected: &'static str) -> BatchError {
    BatchError::Unsupported { field, found, expected }
}

fn read_record(
    reader: &mut Reader,
    index: usize,
    base_time: EventTime,
) -> Result<Record, CodecError> {
    let at = reader.position();
    let length = reader.varint("record length")?;
    let length = bounded("record length", at, length, reader.remaining())?;
    let mut body = Reader::new(reader.take("record", length)?);
    body.i8("record attributes")?;
    let time = base_time.millis().saturating_add(body.varint("time delta")?);
    let delta = body.varint("offset delta")?;
    if delta != wide(index) {
        let expected = "the record's index";
        return Err(CodecError::Value { field: "offset delta", at, found: delta, expected });
    }
    let key = read_optional(&mut body, "key")?;
    let value = read_optional(&mut body, "value")?;
    let count = body.varint("header count")?;
    let count = bounded("header count", at, count, HEADERS_LIMIT)?;
    let headers =
        (0..count).map(|_| read_record_header(&mut body)).collect::<Result<Vec<_>, _>>()?;
    body.end()?;
    Ok(Record { time: EventTime::from_millis(time), key, value, headers })
}

fn read_record_header(body: &mut Reader) -> Result<Header, CodecError> {
    let at = body.position();
    let raw = read_optional(body, "header name")?.unwrap_or_default();
    let name = String::from_utf8(raw.to_vec()).map_err(|_| CodecError::Value {
        field: "header name",
        at,
        found: wide(raw.len()),
        expected: "UTF-8",
    })?;
    let value = read_optional(body, "header value")?.unwrap_or_default();
    Ok(Header { name, value })
}

fn read_optional(reader: &mut Reader, field: &'static str) -> Result<Option<Bytes>, CodecError> {
    let at = reader.position();
    let length = reader.varint(field)?;
    if length == -1 {
        return Ok(None);
    }
    let length = bounded(field, at, length, reader.remaining())?;
    reader.take(field, length).map(Some)
}

fn bounded(field: &'static str, at: usize, found: i64, limit: usize) -> Result<usize, CodecError> {
    usize::try_from(found).ok().filter(|length| *length <= limit).ok_or(CodecError::Value {
        field,
        at,
        found,
        expected: "a length within what is left",
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn records() -> impl Strategy<Value = Vec<Record>> {
        let bytes = || vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        let header = ("[a-z-]{1,12}", bytes()).prop_map(|(name, value)| Header { name, value });
        let record = (any::<i32>(), option::of(bytes()), option::of(bytes()), vec(header, 0..4))
            .prop_map(|(time, key, value, headers)| Record {
                time: EventTime::from_millis(i64::from(time)),
                key,
                value,
                headers,
            });
        vec(record, 1..30)
    }

    fn one() -> Vec<Record> {
        vec![Record::new(EventTime::from_millis(1_000), "till-3", "{\"quantity\":6}")]
    }

    #[test]
    fn a_batch_without_records_is_refused() {
        assert_eq!(Batch::encode(&[]), Err(BatchError::Empty));
    }

    #[test]
    fn a_record_at_its_limit_fits_and_one_byte_more_does_not() {
        let limit = RECORD_BYTES_LIMIT.as_len();
        let of = |length: usize| vec![Record::new(EventTime::default(), "", vec![0_u8; length])];

        assert_eq!(
            Batch::encode(&of(limit + 1)),
            Err(BatchError::RecordTooLarge { index: 0, found: limit + 1, limit })
        );
        assert_eq!(Batch::encode(&of(limit)).unwrap().len(), 1);
    }

    #[test]
    fn ten_thousand_records_fit_and_one_more_does_not() {
        let record = Record::new(EventTime::default(), "", "");

        assert_eq!(Batch::encode(&vec![record.clone(); 10_000]).unwrap().len(), 10_000);
        assert_eq!(
            Batch::encode(&vec![record; 10_001]),
            Err(BatchError::TooManyRecords { found: 10_001, limit: 10_000 })
        );
    }

    #[test]
    fn a_record_that_fits_no_batch_takes_no_other_with_it() {
        let of = |length: usize| Record::new(EventTime::default(), "", vec![0_u8; length]);
        let (small, large) = (of(600 << 10), of((1 << 20) + 1));

        let all = Batch::encode_all(&[small.clone(), large, small.clone(), small]);

        let lengths: Vec<Option<usize>> =
            all.iter().map(|one| one.as_ref().ok().map(Batch::len)).collect();
        assert_eq!(lengths, [Some(1), None, Some(1), Some(1)]);
        assert_eq!(Batch::encode_all(&[]), Vec::new());
    }

    #[test]
    fn rebasing_changes_the_offset_and_keeps_the_batch_valid() {
        let batch = Batch::encode(&one()).unwrap();

        let rebased = batch.rebased(Offset::new(77));

        assert_eq!(rebased.get(..8), Some(&77_u64.to_be_bytes()[..]));
        assert_eq!(Batch::decode(rebased).unwrap().records().unwrap(), one());
    }

    #[test]
    fn a_compressed_batch_names_its_codec() {
        let mut bytes = Batch::encode(&one()).unwrap().as_bytes().to_vec();
        bytes[22] = 4;

        assert_eq!(Batch::decode(Bytes::from(bytes)), Err(unsupported("codec", 4, "0 (none)")));
    }

    proptest! {
        #[test]
        fn decode_of_encode_is_the_same_records(records in records()) {
            let batch = Batch::encode(&records).unwrap();
            let decoded = Batch::decode(batch.as_bytes().clone()).unwrap();

            prop_assert_eq!(&decoded, &batch);
            prop_assert_eq!(decoded.records().unwrap(), records);
        }

        #[test]
        fn a_flipped_bit_behind_the_checksum_is_always_found(
            records in records(), at in any::<prop::sample::Index>(), bit in 0..8_u32,
        ) {
            let mut bytes = Batch::encode(&records).unwrap().as_bytes().to_vec();
            let at = CRC_AT + at.index(bytes.len() - CRC_AT);
            bytes[at] ^= 1 << bit;

            prop_assert!(Batch::decode(Bytes::from(bytes)).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
            prop_assert!(Batch::decode(Bytes::from(bytes)).is_err());
        }
    }
}
