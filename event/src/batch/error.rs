//! Why records are no batch, or bytes are none.

use std::fmt;

use crate::batch::Codec;
use crate::codec::CodecError;

/// Records that cannot be a batch, or bytes that are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// A batch holds at least one record.
    #[error("a batch without records")]
    Empty,
    /// More records, or a wider span of offsets, than a batch may hold.
    #[error("a batch of {found} records, the limit is {limit}")]
    TooManyRecords {
        /// Records given, or offsets spanned.
        found: usize,
        /// Most that fit.
        limit: usize,
    },
    /// A record above its limit.
    #[error("record {index} has {found} bytes, the limit is {limit}")]
    RecordTooLarge {
        /// Index of the record in the batch.
        index: usize,
        /// Its bytes, or as many of them as were counted before the limit was passed.
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
    /// Records above their limit before compression, or after decompression.
    #[error("records of {found} bytes or more when decompressed, the limit is {limit}")]
    ContentsTooLarge {
        /// Bytes of the records; when reading, as many as were decompressed before it stopped.
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
    /// A header field with a value that no batch here has.
    #[error("batch {field} is {found}, expected {expected}")]
    Unsupported {
        /// The header field.
        field: &'static str,
        /// Its value.
        found: i64,
        /// What this build reads.
        expected: &'static str,
    },
    /// Attributes that only batches of a Kafka broker have.
    #[error("a batch with {found} is not accepted")]
    Attribute {
        /// What the attributes say; the lowest bit of several.
        found: RefusedAttribute,
    },
    /// A codec of Kafka's that is not used here.
    #[error("batch codec {name} ({code}) is not accepted, use none, lz4 or zstd")]
    CodecRefused {
        /// Kafka's name of the codec, `unknown` where Kafka has none.
        name: &'static str,
        /// Its number in the attributes, 1, 2, 5, 6 or 7.
        code: u8,
    },
    /// A codec that this build was made without.
    #[error("batch codec {codec} is not in this build")]
    CodecAbsent {
        /// The codec.
        codec: Codec,
    },
    /// The codec's library could not compress or decompress the records.
    #[error("{codec} could not take the batch's records: {detail}")]
    Compression {
        /// The codec.
        codec: Codec,
        /// What its library says.
        detail: String,
    },
    /// The layout breaks off or contradicts itself.
    #[error("the batch's layout is broken")]
    Layout(#[from] CodecError),
}

impl BatchError {
    /// Whether the same bytes could be accepted by this process later: never.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Empty
            | Self::TooManyRecords { .. }
            | Self::RecordTooLarge { .. }
            | Self::TooManyHeaders { .. }
            | Self::TooLarge { .. }
            | Self::ContentsTooLarge { .. }
            | Self::Corrupt { .. }
            | Self::Unsupported { .. }
            | Self::Attribute { .. }
            | Self::CodecRefused { .. }
            | Self::CodecAbsent { .. }
            | Self::Compression { .. }
            | Self::Layout(_) => false,
        }
    }
}

/// What a batch's attributes may say in Kafka and not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedAttribute {
    /// Bit 3: times are the broker's; event time here is never rewritten.
    AppendTime,
    /// Bit 4: part of a transaction, which only its broker can end.
    Transactional,
    /// Bit 5: a transaction's marker, not records.
    Control,
    /// Bit 6: base time is when tombstones may go, not the first record's time.
    DeleteHorizon,
    /// Bits 7 to 15: no meaning yet.
    Reserved,
}

impl RefusedAttribute {
    /// The lowest refused bit of a batch's attributes.
    pub(super) const fn in_bits(attributes: i16) -> Option<Self> {
        match attributes >> 3 {
            0 => None,
            bits => Some(match bits.trailing_zeros() {
                0 => Self::AppendTime,
                1 => Self::Transactional,
                2 => Self::Control,
                3 => Self::DeleteHorizon,
                4.. => Self::Reserved,
            }),
        }
    }
}

impl fmt::Display for RefusedAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AppendTime => "log append time",
            Self::Transactional => "a transaction",
            Self::Control => "a transaction's marker",
            Self::DeleteHorizon => "a delete horizon",
            Self::Reserved => "reserved attributes",
        })
    }
}
