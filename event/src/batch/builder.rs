//! Writes records behind room for a header, then closes the batch.

use bytes::Bytes;

use crate::batch::compression::{self, Codec};
use crate::batch::contents::RecordRef;
use crate::batch::head::{ENCODED_BYTES_LIMIT, HEAD_BYTES, Head};
use crate::batch::{Batch, BatchError};
use crate::codec::{Writer, varint_len};
use crate::id::OffsetDelta;
use crate::limits::{
    BATCH_RECORDS_LIMIT, DECOMPRESSED_BYTES_LIMIT, HEADERS_LIMIT, RECORD_BYTES_LIMIT,
};
use crate::record::{Header, Record};
use crate::time::EventTime;

/// Encodes records with offset deltas 0, 1, 2, … .
pub(super) fn encode(codec: Codec, records: &[Record]) -> Result<Batch, BatchError> {
    let base_time = records.first().ok_or(BatchError::Empty)?.time;
    let (found, limit) = (records.len(), BATCH_RECORDS_LIMIT);
    if found > limit {
        return Err(BatchError::TooManyRecords { found, limit });
    }
    let mut records_bytes = 0;
    for (delta, record) in (0_u32..).map(OffsetDelta::new).zip(records) {
        check_record(delta, record)?;
        let body = body_len(delta, record, time_delta(record.time, base_time));
        records_bytes += varint_len(wide(body)) + body;
    }
    check_contents(codec, records_bytes)?;
    let mut builder = Builder::new(base_time, records_bytes);
    for (delta, record) in (0_u32..).map(OffsetDelta::new).zip(records) {
        builder.push(delta, record);
    }
    debug_assert_eq!(builder.writer.len(), HEAD_BYTES + records_bytes, "lengths as counted");
    builder.close(codec, OffsetDelta::new(u32::try_from(found - 1).unwrap_or(u32::MAX)))
}

/// Encodes one record at the base of as many offsets as are asked for.
pub(super) fn encode_spanning(record: &Record, span: u64) -> Result<Batch, BatchError> {
    let (found, limit) = (usize::try_from(span).unwrap_or(usize::MAX), BATCH_RECORDS_LIMIT);
    if found > limit {
        return Err(BatchError::TooManyRecords { found, limit });
    }
    let last_delta = found.checked_sub(1).ok_or(BatchError::Empty)?;
    let first = OffsetDelta::new(0);
    check_record(first, record)?;
    let body = body_len(first, record, 0);
    let records_bytes = varint_len(wide(body)) + body;
    check_contents(Codec::None, records_bytes)?;
    let mut builder = Builder::new(record.time, records_bytes);
    builder.push(first, record);
    builder.close(Codec::None, OffsetDelta::new(u32::try_from(last_delta).unwrap_or(u32::MAX)))
}

/// Encodes what is left of a batch, offset deltas and last delta unchanged.
///
/// # Source
/// Kafka's `MemoryRecords.filterTo`: base offset and last delta stay, base and max time are those
/// of the records left.
pub(super) fn encode_kept(batch: &Batch, kept: &[RecordRef<'_>]) -> Result<Batch, BatchError> {
    let base_time = kept.first().ok_or(BatchError::Empty)?.time();
    // Room for length, attributes and time of most records; wider times make the buffer grow.
    let records_bytes = kept.iter().map(|record| record.undated_bytes().len() + 8).sum();
    let mut builder = Builder::new(base_time, records_bytes);
    for record in kept {
        builder.push_undated(record.time(), record.undated_bytes());
    }
    check_contents(batch.codec(), builder.writer.len() - HEAD_BYTES)?;
    builder.close(batch.codec(), batch.last_delta())
}

/// A batch whose records are being written.
struct Builder {
    /// Room for the header, then the records.
    writer: Writer,
    base_time: EventTime,
    max_time: EventTime,
    count: usize,
}

impl Builder {
    fn new(base_time: EventTime, records_bytes: usize) -> Self {
        let mut writer = Writer::with_capacity(HEAD_BYTES + records_bytes);
        writer.raw(&[0; HEAD_BYTES]);
        Self { writer, base_time, max_time: base_time, count: 0 }
    }

    fn push(&mut self, delta: OffsetDelta, record: &Record) {
        let Record { time, key, value, headers } = record;
        let time_delta = time_delta(*time, self.base_time);
        self.writer.varint(wide(body_len(delta, record, time_delta)));
        self.writer.i8(0);
        self.writer.varint(time_delta);
        self.writer.varint(delta.get().into());
        write_optional(&mut self.writer, key.as_ref());
        write_optional(&mut self.writer, value.as_ref());
        self.writer.varint(wide(headers.len()));
        for Header { name, value } in headers {
            self.writer.varint(wide(name.len()));
            self.writer.raw(name.as_bytes());
            write_optional(&mut self.writer, Some(value));
        }
        self.count(*time);
    }

    /// Writes a record from its bytes after the time delta, which depends on the base time.
    fn push_undated(&mut self, time: EventTime, undated: &[u8]) {
        let time_delta = time_delta(time, self.base_time);
        self.writer.varint(wide(1 + varint_len(time_delta) + undated.len()));
        self.writer.i8(0);
        self.writer.varint(time_delta);
        self.writer.raw(undated);
        self.count(time);
    }

    fn count(&mut self, time: EventTime) {
        self.max_time = self.max_time.max(time);
        self.count += 1;
    }

    /// Compresses the records where that makes them smaller, and writes the header.
    fn close(self, codec: Codec, last_delta: OffsetDelta) -> Result<Batch, BatchError> {
        let Self { writer, base_time, max_time, count } = self;
        let mut bytes = writer.into_vec();
        let mut used = Codec::None;
        if codec != Codec::None {
            let mut compressed = Vec::with_capacity(bytes.len() / 2);
            compressed.resize(HEAD_BYTES, 0);
            let records = bytes.get(HEAD_BYTES..).unwrap_or_default();
            compression::compress(codec, records, &mut compressed)?;
            if compressed.len() < bytes.len() {
                (bytes, used) = (compressed, codec);
            }
        }
        let (found, limit) = (bytes.len(), ENCODED_BYTES_LIMIT);
        if found > limit {
            return Err(BatchError::TooLarge { found, limit });
        }
        let head = Head { codec: used, last_delta, base_time, max_time, count };
        head.write(&mut bytes);
        Ok(Batch { bytes: Bytes::from(bytes), head })
    }
}

fn check_record(delta: OffsetDelta, record: &Record) -> Result<(), BatchError> {
    let index = || usize::try_from(delta.get()).unwrap_or(usize::MAX);
    let (found, limit) = (record.payload_len(), RECORD_BYTES_LIMIT.as_len());
    if found > limit {
        return Err(BatchError::RecordTooLarge { index: index(), found, limit });
    }
    let (found, limit) = (record.headers.len(), HEADERS_LIMIT);
    if found > limit {
        return Err(BatchError::TooManyHeaders { index: index(), found, limit });
    }
    Ok(())
}

/// Refuses records before memory is taken for them.
fn check_contents(codec: Codec, records_bytes: usize) -> Result<(), BatchError> {
    let (found, limit) = (HEAD_BYTES + records_bytes, ENCODED_BYTES_LIMIT);
    if codec == Codec::None && found > limit {
        return Err(BatchError::TooLarge { found, limit });
    }
    let (found, limit) = (records_bytes, DECOMPRESSED_BYTES_LIMIT.as_len());
    if found > limit {
        return Err(BatchError::ContentsTooLarge { found, limit });
    }
    Ok(())
}

/// Bytes of a record after its own length.
fn body_len(delta: OffsetDelta, record: &Record, time_delta: i64) -> usize {
    let Record { time: _, key, value, headers } = record;
    let named = |header: &Header| {
        let Header { name, value } = header;
        varint_len(wide(name.len())) + name.len() + optional_len(Some(value))
    };
    1 + varint_len(time_delta)
        + varint_len(delta.get().into())
        + optional_len(key.as_ref())
        + optional_len(value.as_ref())
        + varint_len(wide(headers.len()))
        + headers.iter().map(named).sum::<usize>()
}

fn optional_len(bytes: Option<&Bytes>) -> usize {
    bytes.map_or(1, |bytes| varint_len(wide(bytes.len())) + bytes.len())
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

/// Wraps around like Kafka's clients do, so that the farthest times survive.
const fn time_delta(time: EventTime, base: EventTime) -> i64 {
    time.millis().wrapping_sub(base.millis())
}

fn wide(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
