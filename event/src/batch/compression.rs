//! How a batch's records are compressed, and how little a hostile one can make a reader allocate.

use std::fmt;
use std::io::{self, Read, Write};

use bytes::Bytes;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use serde::{Deserialize, Serialize};

use crate::batch::BatchError;
use crate::limits::DECOMPRESSED_BYTES_LIMIT;

/// An LZ4 frame's first bytes. The older "legacy" frames, which Kafka does not write, have others.
const LZ4_MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// How the records of a batch are compressed; chosen by topic when the batch is built.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// LZ4's frame format, blocks of 64 KiB that do not refer to each other: the cheapest to read.
    Lz4,
    /// Zstandard, level 3: smaller and slower. Only in builds with the feature `zstd`.
    Zstd,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 3] = [Self::None, Self::Lz4, Self::Zstd];

    /// The codec's number in a batch's attributes: 0, 3 or 4, as in Kafka.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The codec of a number in a batch's attributes.
    ///
    /// # Errors
    /// [`BatchError::CodecRefused`] when it is one of Kafka's others, or none.
    pub const fn from_code(code: u8) -> Result<Self, BatchError> {
        let name = match code {
            0 => return Ok(Self::None),
            3 => return Ok(Self::Lz4),
            4 => return Ok(Self::Zstd),
            1 => "gzip",
            2 => "snappy",
            5.. => "unknown",
        };
        Err(BatchError::CodecRefused { name, code })
    }

    /// Whether this build can read and write the codec.
    #[must_use]
    pub const fn is_built(self) -> bool {
        match self {
            Self::None | Self::Lz4 => true,
            Self::Zstd => cfg!(feature = "zstd"),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// Appends `records` to `out`, compressed.
pub(super) fn compress(codec: Codec, records: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
    let done = match codec {
        Codec::None => {
            out.extend_from_slice(records);
            Ok(())
        }
        Codec::Lz4 => compress_lz4(records, out),
        Codec::Zstd => return compress_zstd(records, out),
    };
    done.map_err(|error| failed(codec, &error))
}

fn compress_lz4(records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    // Kafka's Java clients refuse blocks that refer to each other, and write blocks of 64 KiB.
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(records)?;
    encoder.finish()?;
    Ok(())
}

#[cfg(feature = "zstd")]
fn compress_zstd(records: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
    /// Kafka's default: higher levels cost several times the processor for a few per cent.
    const LEVEL: i32 = 3;
    let compressed = zstd::bulk::compress(records, LEVEL);
    out.extend_from_slice(&compressed.map_err(|error| failed(Codec::Zstd, &error))?);
    Ok(())
}

#[cfg(not(feature = "zstd"))]
const fn compress_zstd(_: &[u8], _: &mut Vec<u8>) -> Result<(), BatchError> {
    Err(BatchError::CodecAbsent { codec: Codec::Zstd })
}

/// The records in `compressed`, and an error as soon as they pass their limit.
///
/// Cost: nothing for [`Codec::None`]; else one pass and memory for what comes out, plus, while it
/// runs, what the frame asks for: up to 8 MiB for zstd's window, 13 MiB for LZ4's largest blocks,
/// and at most 2 MiB for frames as Kafka's clients and this crate write them.
pub(super) fn decompress(codec: Codec, compressed: Bytes) -> Result<Bytes, BatchError> {
    match codec {
        Codec::None => Ok(compressed),
        Codec::Lz4 => decompress_lz4(&compressed),
        Codec::Zstd => decompress_zstd(&compressed),
    }
}

fn decompress_lz4(mut compressed: &[u8]) -> Result<Bytes, BatchError> {
    if !compressed.starts_with(&LZ4_MAGIC) {
        return Err(failed(Codec::Lz4, &"the records are no LZ4 frame"));
    }
    let records = read_within_limit(Codec::Lz4, FrameDecoder::new(&mut compressed))?;
    match compressed.len() {
        0 => Ok(records),
        left => Err(failed(Codec::Lz4, &format_args!("{left} bytes follow the frame"))),
    }
}

#[cfg(feature = "zstd")]
fn decompress_zstd(compressed: &[u8]) -> Result<Bytes, BatchError> {
    /// A decoder allocates a frame's window before anything comes out; no record refers further
    /// back than all records are long. Levels up to 19 stay within it.
    const WINDOW_LOG_LIMIT: u32 = DECOMPRESSED_BYTES_LIMIT.get().ilog2();
    let decoder = zstd::stream::read::Decoder::with_buffer(compressed).and_then(|mut decoder| {
        decoder.window_log_max(WINDOW_LOG_LIMIT)?;
        Ok(decoder)
    });
    read_within_limit(Codec::Zstd, decoder.map_err(|error| failed(Codec::Zstd, &error))?)
}

#[cfg(not(feature = "zstd"))]
const fn decompress_zstd(_: &[u8]) -> Result<Bytes, BatchError> {
    Err(BatchError::CodecAbsent { codec: Codec::Zstd })
}

/// Reads to the end, or one byte past the limit: what comes behind is never produced.
fn read_within_limit(codec: Codec, source: impl Read) -> Result<Bytes, BatchError> {
    let limit = DECOMPRESSED_BYTES_LIMIT;
    let mut records = Vec::new();
    source
        .take(limit.get() + 1)
        .read_to_end(&mut records)
        .map_err(|error| failed(codec, &error))?;
    match records.len() {
        found if found > limit.as_len() => {
            Err(BatchError::ContentsTooLarge { found, limit: limit.as_len() })
        }
        _ => Ok(Bytes::from(records)),
    }
}

fn failed(codec: Codec, detail: &dyn fmt::Display) -> BatchError {
    BatchError::Compression { codec, detail: detail.to_string() }
}
