//! A batch's records, decompressed once and decoded one by one.

use bytes::Bytes;

use crate::batch::BatchError;
use crate::batch::head::Head;
use crate::codec::{CodecError, read_varint};
use crate::id::OffsetDelta;
use crate::limits::{HEADERS_LIMIT, RECORD_BYTES_LIMIT};
use crate::record::{Header, Record};
use crate::time::EventTime;

/// A record of no key, value and headers: its length and six fields of a byte.
const RECORD_BYTES_MIN: usize = 7;

/// The decompressed records of a batch.
#[derive(Debug, Clone)]
pub struct Contents {
    records: Bytes,
    head: Head,
}

impl Contents {
    /// Refuses a count that so few bytes cannot hold, so that the count may size an allocation.
    pub(super) fn new(records: Bytes, head: Head) -> Result<Self, BatchError> {
        let (needed, left) = (head.count * RECORD_BYTES_MIN, records.len());
        if left < needed {
            return Err(CodecError::Short { field: "records", at: 0, needed, left }.into());
        }
        Ok(Self { records, head })
    }

    /// Decodes the records one by one, in order, without copying keys, values or headers.
    ///
    /// Yields exactly the count of the batch's header, or an error as its last item.
    #[must_use]
    pub fn iter(&self) -> RecordRefs<'_> {
        let Self { records, head } = self;
        RecordRefs { cursor: Cursor { bytes: records, at: 0 }, records, head, index: 0, next: 0 }
    }

    /// Decodes every record; keys, values and header values share the contents' memory.
    ///
    /// # Errors
    /// [`BatchError`] when a record contradicts the header or passes its limit.
    pub fn to_records(&self) -> Result<Vec<Record>, BatchError> {
        let mut records = Vec::with_capacity(self.head.count);
        for record in self {
            records.push(record?.to_record()?);
        }
        Ok(records)
    }

    /// Decodes every record with its offset delta, as [`Self::to_records`] does.
    ///
    /// # Errors
    /// As [`Self::to_records`].
    pub fn to_numbered_records(&self) -> Result<Vec<(OffsetDelta, Record)>, BatchError> {
        let mut records = Vec::with_capacity(self.head.count);
        for record in self {
            let record = record?;
            records.push((record.delta(), record.to_record()?));
        }
        Ok(records)
    }
}

impl<'a> IntoIterator for &'a Contents {
    type Item = Result<RecordRef<'a>, BatchError>;
    type IntoIter = RecordRefs<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Iterates over the records of [`Contents`].
#[derive(Debug, Clone)]
pub struct RecordRefs<'a> {
    cursor: Cursor<'a>,
    records: &'a Bytes,
    head: &'a Head,
    /// Records decoded; past the count once an error was returned.
    index: usize,
    /// Smallest offset delta the next record may have.
    next: i64,
}

impl<'a> Iterator for RecordRefs<'a> {
    type Item = Result<RecordRef<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.head.count {
            return None;
        }
        let record = self.read().and_then(|record| {
            self.index += 1;
            if self.index == self.head.count {
                self.cursor.end()?;
            }
            Ok(record)
        });
        if record.is_err() {
            self.index = self.head.count;
        }
        Some(record)
    }
}

impl<'a> RecordRefs<'a> {
    fn read(&mut self) -> Result<RecordRef<'a>, BatchError> {
        let at = self.cursor.at;
        let mut body = self.cursor.nested("record")?;
        body.take("record attributes", 1)?;
        let time_delta = body.varint("time delta")?;
        let undated = body.bytes;
        let time = self.time(at, time_delta)?;
        let delta = self.delta(at, body.varint("offset delta")?)?;
        let key = body.optional("key")?;
        let value = body.optional("value")?;
        let headers_count = self.headers_count(body.varint("header count")?)?;
        let (found, limit) = (bytes_len(key) + bytes_len(value), RECORD_BYTES_LIMIT.as_len());
        if found > limit {
            return Err(BatchError::RecordTooLarge { index: self.index, found, limit });
        }
        if headers_count == 0 {
            body.end()?;
        }
        let headers = HeaderRefs { cursor: body, left: headers_count };
        let (records, index) = (self.records, self.index);
        Ok(RecordRef { records, index, delta, time, key, value, headers, undated })
    }

    /// A time past the header's would be missed by whoever looks for it by the header alone.
    fn time(&self, at: usize, delta: i64) -> Result<EventTime, CodecError> {
        let time = EventTime::from_millis(self.head.base_time.millis().wrapping_add(delta));
        if time > self.head.max_time {
            let (field, found) = ("time", time.millis());
            return Err(CodecError::Value { field, at, found, expected: "at most the max time" });
        }
        Ok(time)
    }

    fn delta(&mut self, at: usize, found: i64) -> Result<OffsetDelta, CodecError> {
        let last = i64::from(self.head.last_delta.get());
        let delta = u32::try_from(found).ok().filter(|_| (self.next..=last).contains(&found));
        self.next = found.saturating_add(1);
        delta.map(OffsetDelta::new).ok_or(CodecError::Value {
            field: "offset delta",
            at,
            found,
            expected: "above the record before, at most the last offset delta",
        })
    }

    fn headers_count(&self, found: i64) -> Result<usize, BatchError> {
        let found = usize::try_from(found).unwrap_or(usize::MAX);
        if found > HEADERS_LIMIT {
            let index = self.index;
            return Err(BatchError::TooManyHeaders { index, found, limit: HEADERS_LIMIT });
        }
        Ok(found)
    }
}

/// One record inside its batch: nothing is copied, headers are not read until asked for.
#[derive(Debug, Clone)]
pub struct RecordRef<'a> {
    records: &'a Bytes,
    index: usize,
    delta: OffsetDelta,
    time: EventTime,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: HeaderRefs<'a>,
    undated: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// How far the record's offset, and its sequence number, is past the batch's base.
    ///
    /// It is the record's index unless the batch was compacted.
    #[must_use]
    pub const fn delta(&self) -> OffsetDelta {
        self.delta
    }

    /// The record's event time.
    #[must_use]
    pub const fn time(&self) -> EventTime {
        self.time
    }

    /// The record's key.
    #[must_use]
    pub const fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The record's value; absent in a tombstone.
    #[must_use]
    pub const fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// Names and values of the record's headers, decoded one by one.
    ///
    /// Yields an error as its last item when they contradict their count or the record's length.
    #[must_use]
    pub fn headers(&self) -> HeaderRefs<'a> {
        self.headers.clone()
    }

    /// The record on its own; key and values share the batch's memory.
    ///
    /// # Errors
    /// [`BatchError`] when its headers are broken or the record passes its limit.
    pub fn to_record(&self) -> Result<Record, BatchError> {
        let share = |bytes: &[u8]| self.records.slice_ref(bytes);
        let mut headers = Vec::with_capacity(self.headers.left);
        for header in self.headers() {
            let (name, value) = header?;
            headers.push(Header { name: name.to_owned(), value: share(value) });
        }
        let (key, value) = (self.key.map(share), self.value.map(share));
        let record = Record { time: self.time, key, value, headers };
        let (found, limit) = (record.payload_len(), RECORD_BYTES_LIMIT.as_len());
        if found > limit {
            return Err(BatchError::RecordTooLarge { index: self.index, found, limit });
        }
        Ok(record)
    }

    /// The record's bytes after its time delta: all that does not depend on the base time.
    pub(super) const fn undated_bytes(&self) -> &'a [u8] {
        self.undated
    }
}

/// Iterates over the headers of a [`RecordRef`].
#[derive(Debug, Clone)]
pub struct HeaderRefs<'a> {
    cursor: Cursor<'a>,
    left: usize,
}

impl<'a> Iterator for HeaderRefs<'a> {
    type Item = Result<(&'a str, &'a [u8]), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let header = self.read();
        if header.is_err() {
            self.left = 0;
        }
        Some(header.map_err(BatchError::from))
    }
}

impl<'a> HeaderRefs<'a> {
    fn read(&mut self) -> Result<(&'a str, &'a [u8]), CodecError> {
        let at = self.cursor.at;
        let name = self.cursor.bytes("header name")?;
        let name = str::from_utf8(name).map_err(|error| CodecError::Value {
            field: "header name",
            at,
            found: name.get(error.valid_up_to()).copied().map_or(-1, i64::from),
            expected: "UTF-8",
        })?;
        let value = self.cursor.optional("header value")?.unwrap_or_default();
        if self.left == 0 {
            self.cursor.end()?;
        }
        Ok((name, value))
    }
}

/// Reads fields of records from borrowed bytes: unlike [`crate::codec::Reader`] it counts no
/// references, which cost more than the fields do.
#[derive(Debug, Clone)]
struct Cursor<'a> {
    bytes: &'a [u8],
    /// Position of the next byte in the batch's decompressed records.
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], CodecError> {
        let (at, left) = (self.at, self.bytes.len());
        let Some((taken, rest)) = self.bytes.split_at_checked(count) else {
            return Err(CodecError::Short { field, at, needed: count, left });
        };
        self.bytes = rest;
        self.at += count;
        Ok(taken)
    }

    fn varint(&mut self, field: &'static str) -> Result<i64, CodecError> {
        let (value, length) = read_varint(self.bytes, field, self.at)?;
        self.take(field, length)?;
        Ok(value)
    }

    /// Reads a length, then that many bytes.
    fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], CodecError> {
        let at = self.at;
        let found = self.varint(field)?;
        let length = usize::try_from(found).map_err(|_| CodecError::Value {
            field,
            at,
            found,
            expected: "a length within what is left",
        })?;
        self.take(field, length)
    }

    /// Reads a length, -1 for nothing, then that many bytes.
    fn optional(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, CodecError> {
        /// The varint of -1.
        const ABSENT: u8 = 1;
        if self.bytes.first() == Some(&ABSENT) {
            self.take(field, 1)?;
            return Ok(None);
        }
        self.bytes(field).map(Some)
    }

    /// Reads a length, then that many bytes as an input of their own.
    fn nested(&mut self, field: &'static str) -> Result<Self, CodecError> {
        let bytes = self.bytes(field)?;
        Ok(Self { bytes, at: self.at - bytes.len() })
    }

    const fn end(&self) -> Result<(), CodecError> {
        match self.bytes.len() {
            0 => Ok(()),
            left => Err(CodecError::Trailing { at: self.at, left }),
        }
    }
}

fn bytes_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(0, <[u8]>::len)
}
