//! The first 61 bytes of a batch: everything but its records.

use bytes::Bytes;

use crate::batch::compression::Codec;
use crate::batch::error::{BatchError, RefusedAttribute};
use crate::codec::{Reader, Writer};
use crate::id::OffsetDelta;
use crate::limits::BATCH_RECORDS_LIMIT;
use crate::time::EventTime;

/// Bytes before the records.
pub(super) const HEAD_BYTES: usize = 61;
/// Bytes before the length field.
pub(super) const LENGTH_AT: usize = 8;
/// Most bytes of a batch: the largest record's payload and what it needs around it. It fits one
/// wire frame, with room for its dot and stamp.
pub(super) const ENCODED_BYTES_LIMIT: usize = (1 << 20) + 2_048;

const CRC_AT: usize = 17;
const CHECKED_FROM: usize = 21;
const MAGIC: i8 = 2;
const CODEC_MASK: i16 = 0x07;
const NO_PRODUCER: i64 = -1;

/// The CRC field of a batch that was verified.
pub(super) fn checksum(batch: &Bytes) -> u32 {
    let field = batch.get(CRC_AT..CHECKED_FROM).and_then(|field| field.try_into().ok());
    field.map_or(0, u32::from_be_bytes)
}

/// What a batch's header says about its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) codec: Codec,
    pub(super) last_delta: OffsetDelta,
    pub(super) base_time: EventTime,
    pub(super) max_time: EventTime,
    /// At least 1, at most [`BATCH_RECORDS_LIMIT`].
    pub(super) count: usize,
}

impl Head {
    /// Verifies everything but the records' own layout: length, CRC, and every field.
    pub(super) fn read(batch: &Bytes) -> Result<Self, BatchError> {
        let found = batch.len();
        let limit = ENCODED_BYTES_LIMIT;
        if found > limit {
            return Err(BatchError::TooLarge { found, limit });
        }
        let mut reader = Reader::new(batch.clone());
        reader.u64("base offset")?;
        expect_field("length", reader.i32("length")?.into(), wide(reader.remaining()))?;
        reader.i32("leader epoch")?;
        expect_field("magic", reader.i8("magic")?.into(), MAGIC.into())?;
        let found = reader.u32("crc")?;
        let expected = batch.get(CHECKED_FROM..).map_or(0, crc32c::crc32c);
        if found != expected {
            return Err(BatchError::Corrupt { found, expected });
        }
        Self::read_checked(&mut reader)
    }

    /// Reads the fields that the CRC covers.
    fn read_checked(reader: &mut Reader) -> Result<Self, BatchError> {
        let codec = read_attributes(reader.i16("attributes")?)?;
        let last_delta = reader.u32("last offset delta")?;
        let base_time = EventTime::from_millis(reader.i64("base time")?);
        let max_time = EventTime::from_millis(reader.i64("max time")?);
        expect_field("producer id", reader.i64("producer id")?, NO_PRODUCER)?;
        expect_field("producer epoch", reader.i16("producer epoch")?.into(), NO_PRODUCER)?;
        expect_field("base sequence", reader.i32("base sequence")?.into(), NO_PRODUCER)?;
        let count = reader.u32("record count")?;
        if count == 0 {
            return Err(BatchError::Empty);
        }
        let limit = BATCH_RECORDS_LIMIT;
        let span = usize::try_from(last_delta).unwrap_or(usize::MAX).saturating_add(1);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if span.max(count) > limit {
            return Err(BatchError::TooManyRecords { found: span.max(count), limit });
        }
        if count > span {
            let expected = "at least the record count less one";
            let (field, found) = ("last offset delta", i64::from(last_delta));
            return Err(BatchError::Unsupported { field, found, expected });
        }
        Ok(Self { codec, last_delta: OffsetDelta::new(last_delta), base_time, max_time, count })
    }

    /// Writes the header, length and CRC included, into the first bytes of a batch whose records
    /// are complete.
    pub(super) fn write(self, batch: &mut [u8]) {
        let Self { codec, last_delta, base_time, max_time, count } = self;
        assert!(batch.len() > HEAD_BYTES, "a batch has room for its header and a record");
        assert!(batch.len() <= ENCODED_BYTES_LIMIT, "a batch within its limit is written");
        let mut head = Writer::with_capacity(HEAD_BYTES);
        head.u64(0);
        head.length(batch.len() - LENGTH_AT - 4);
        head.i32(-1);
        head.i8(MAGIC);
        head.u32(0);
        head.i16(codec.code().into());
        head.u32(last_delta.get());
        head.i64(base_time.millis());
        head.i64(max_time.millis());
        head.i64(NO_PRODUCER);
        head.i16(-1);
        head.i32(-1);
        head.length(count);
        debug_assert_eq!(head.len(), HEAD_BYTES, "the layout above");
        if let Some(field) = batch.get_mut(..HEAD_BYTES) {
            field.copy_from_slice(head.as_slice());
        }
        let crc = batch.get(CHECKED_FROM..).map_or(0, crc32c::crc32c);
        if let Some(field) = batch.get_mut(CRC_AT..CHECKED_FROM) {
            field.copy_from_slice(&crc.to_be_bytes());
        }
    }
}

fn read_attributes(attributes: i16) -> Result<Codec, BatchError> {
    if let Some(found) = RefusedAttribute::in_bits(attributes) {
        return Err(BatchError::Attribute { found });
    }
    let [_, code] = (attributes & CODEC_MASK).to_be_bytes();
    Codec::from_code(code)
}

const fn expect_field(field: &'static str, found: i64, expected: i64) -> Result<(), BatchError> {
    if found == expected {
        return Ok(());
    }
    let expected = match expected {
        NO_PRODUCER => "-1",
        2 => "2",
        _ => "the bytes that follow it",
    };
    Err(BatchError::Unsupported { field, found, expected })
}

fn wide(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
