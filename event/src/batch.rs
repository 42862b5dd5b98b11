//! Kafka's RecordBatch v2.
//!
//! ```text
//!  0  base offset      i64  outside the CRC: a receiver re-bases without touching records
//!  8  length           i32  of everything after this field
//! 12  leader epoch     i32  outside the CRC
//! 16  magic            i8   2
//! 17  crc              u32  CRC-32C of everything after this field
//! 21  attributes       i16  bits 0-2 codec (0 none, 3 lz4, 4 zstd), others 0
//! 23  last offset delta i32 of the batch as first written
//! 27  base time        i64  event time of the first record, ms
//! 35  max time         i64  largest event time, ms
//! 43  producer id      i64  -1
//! 51  producer epoch   i16  -1
//! 53  base sequence    i32  -1
//! 57  record count     i32
//! 61  records, compressed together
//!                      { length, attributes i8, time delta, offset delta, key, value, headers }
//! ```
//! Lengths and deltas of records are zig-zag varints; a length of -1 is an absent key or value.
//! Offset deltas rise; they have holes where compaction took records out, and only there.
//!
//! # Source
//! Apache Kafka, KIP-98, KIP-110 (zstd) and the documentation of its message format, "Record
//! Batch".

use bytes::Bytes;

use crate::codec::Writer;
use crate::id::{Offset, OffsetDelta};
use crate::record::Record;
use crate::time::EventTime;

/// Why records are no batch, or bytes are none.
mod error;
/// The first 61 bytes.
mod head;
/// Codecs, bounded.
mod compression;
/// Records to bytes.
mod builder;
/// Bytes to records.
mod contents;

pub use compression::Codec;
pub use contents::{Contents, HeaderRefs, RecordRef, RecordRefs};
pub use error::{BatchError, RefusedAttribute};

use head::{HEAD_BYTES, Head, LENGTH_AT};

/// An encoded batch whose header and checksum were verified when it was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
    head: Head,
}

impl Batch {
    /// Encodes records, uncompressed, with base offset 0.
    ///
    /// Cost: one allocation, two passes, one CRC.
    ///
    /// # Errors
    /// [`BatchError`] when there is no record or a limit is passed; nothing is truncated.
    pub fn encode(records: &[Record]) -> Result<Self, BatchError> {
        Self::encode_with(Codec::None, records)
    }

    /// Encodes records, compressed, with base offset 0.
    ///
    /// Records that the codec would not make smaller, such as a single short one, stay
    /// uncompressed, and the batch says so. Cost: as [`Self::encode`], then the codec's.
    ///
    /// # Errors
    /// [`BatchError`] when there is no record, a limit is passed, or the codec is not in this
    /// build ([`Codec::is_built`]); nothing is truncated.
    pub fn encode_with(codec: Codec, records: &[Record]) -> Result<Self, BatchError> {
        builder::encode(codec, records)
    }

    /// Encodes one record at delta 0 of a batch that takes `span` offsets.
    pub(crate) fn spanning(record: &Record, span: u64) -> Result<Self, BatchError> {
        builder::encode_spanning(record, span)
    }

    /// Encodes records into batches within their limits, in order, by halving what does not fit.
    ///
    /// A record that fits no batch is an error in its place and takes no other with it.
    #[must_use]
    pub fn encode_all(records: &[Record]) -> Vec<Result<Self, BatchError>> {
        Self::encode_all_with(Codec::None, records)
    }

    /// Encodes records as [`Self::encode_all`] does, compressed.
    #[must_use]
    pub fn encode_all_with(codec: Codec, records: &[Record]) -> Vec<Result<Self, BatchError>> {
        match Self::encode_with(codec, records) {
            Err(_) if records.len() > 1 => {
                let (left, right) = records.split_at(records.len() / 2);
                let mut all = Self::encode_all_with(codec, left);
                all.extend(Self::encode_all_with(codec, right));
                all
            }
            Err(BatchError::Empty) => Vec::new(),
            one => vec![one],
        }
    }

    /// Verifies bytes that hold exactly one batch: header, limits and CRC, records unread.
    ///
    /// The base offset and leader epoch are taken as they are. Cost: one CRC, no allocation.
    ///
    /// # Errors
    /// [`BatchError`] when they do not.
    pub fn decode(bytes: Bytes) -> Result<Self, BatchError> {
        let head = Head::read(&bytes)?;
        Ok(Self { bytes, head })
    }

    /// Decodes every record, in order.
    ///
    /// Cost: one pass; keys, values and header values share the batch's memory, or, when it is
    /// compressed, that of its decompressed records.
    ///
    /// # Errors
    /// As [`Self::contents`], or when the records contradict the header or pass a limit.
    pub fn records(&self) -> Result<Vec<Record>, BatchError> {
        self.contents()?.to_records()
    }

    /// Decodes every record with its place, in order, as [`Self::records`] does.
    ///
    /// The offset of a record is [`Offset::at`] its delta, its dot [`crate::Dot::at`] it. Counting
    /// records instead is wrong in a compacted batch.
    ///
    /// # Errors
    /// As [`Self::records`].
    pub fn numbered_records(&self) -> Result<Vec<(OffsetDelta, Record)>, BatchError> {
        self.contents()?.to_numbered_records()
    }

    /// Decompresses the records, to decode them one by one.
    ///
    /// Cost: nothing for an uncompressed batch, else the codec's and at most 8 MiB of memory that
    /// lives as long as the contents or any record taken out of them.
    ///
    /// # Errors
    /// [`BatchError`] when the codec is not in this build, its bytes are broken, or more comes
    /// out than a batch may hold.
    pub fn contents(&self) -> Result<Contents, BatchError> {
        let compressed = self.bytes.slice(HEAD_BYTES..);
        Contents::new(compression::decompress(self.head.codec, compressed)?, self.head)
    }

    /// The batch with only the records that `keep` says yes to, or nothing when it says none.
    ///
    /// What is kept has the same offset deltas and bytes, and the batch the same span and codec
    /// (see [`Self::encode_with`]); base and max time are those of the kept records. A batch that
    /// keeps all is itself, byte for byte. Cost: decompresses once; compresses only when some are
    /// dropped.
    ///
    /// # Errors
    /// [`BatchError`] when the records are broken, or when times so far apart that they need more
    /// bytes from another base time take a full batch past its limit: keep it whole then.
    pub fn retain(
        &self,
        mut keep: impl FnMut(&RecordRef<'_>) -> bool,
    ) -> Result<Option<Self>, BatchError> {
        let contents = self.contents()?;
        let mut kept = Vec::with_capacity(self.len());
        for record in &contents {
            let record = record?;
            if keep(&record) {
                kept.push(record);
            }
        }
        match kept.len() {
            0 => Ok(None),
            all if all == self.len() => Ok(Some(self.clone())),
            _ => builder::encode_kept(self, &kept).map(Some),
        }
    }

    /// How many records the batch holds, at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub const fn len(&self) -> usize {
        self.head.count
    }

    /// How many offsets and sequence numbers the batch takes: [`Self::len`] and its holes.
    #[must_use]
    pub fn span(&self) -> u64 {
        u64::from(self.head.last_delta.get()) + 1
    }

    /// How far the batch's last offset is past its base, whether a record is still there or not.
    #[must_use]
    pub const fn last_delta(&self) -> OffsetDelta {
        self.head.last_delta
    }

    /// Event time of the first record.
    #[must_use]
    pub const fn base_time(&self) -> EventTime {
        self.head.base_time
    }

    /// Largest event time of a record.
    #[must_use]
    pub const fn max_time(&self) -> EventTime {
        self.head.max_time
    }

    /// How the records are compressed.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.head.codec
    }

    /// CRC-32C of everything from the attributes on, as the header has it: the same wherever the
    /// batch lies.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        head::checksum(&self.bytes)
    }

    /// The encoded batch, base offset 0 unless it was decoded from bytes with another.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The encoded batch as a Kafka client expects it at `base`: one copy, no new CRC.
    #[must_use]
    pub fn rebased(&self, base: Offset) -> Bytes {
        let mut writer = Writer::with_capacity(self.bytes.len());
        writer.u64(base.get());
        writer.raw(&self.bytes.slice(LENGTH_AT..));
        writer.finish()
    }
}

#[cfg(test)]
mod tests;
