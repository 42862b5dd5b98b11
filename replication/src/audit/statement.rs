//! What a node states, and its bytes.

use bytes::Bytes;
use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{Incarnation, Sequence, StreamId};

use super::digest::Digest;

const VERSION: u8 = 1;

/// All batches of a range of one life of a stream, as the value of a record of `_audit`; its key is
/// the stream's partition where it was born, as text. A range begins where the one before ended, or
/// where its writer began to count.
///
/// ```text
/// v1:  1 version u8 │ stream 16 │ incarnation 12 │ from u64 │ to u64 │ records u64 │ sum u64
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// The stream.
    pub stream: StreamId,
    /// The life of its writer.
    pub incarnation: Incarnation,
    /// The first sequence of the range.
    pub from: Sequence,
    /// The sequence after its last one.
    pub to: Sequence,
    /// What they come to.
    pub digest: Digest,
}

impl Statement {
    /// The bytes of the layout above.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Self { stream, incarnation, from, to, digest: Digest { records, sum } } = self;
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.stream_id(*stream);
        writer.incarnation(*incarnation);
        writer.u64(from.get());
        writer.u64(to.get());
        writer.u64(*records);
        writer.u64(*sum);
        writer.finish()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`CodecError`] when bytes are missing or left over, or the version is unknown.
    pub fn decode(bytes: Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let found = reader.u8("statement version")?;
        if found != VERSION {
            let (field, found, expected) = ("statement version", i64::from(found), "1");
            return Err(CodecError::Value { field, at: 0, found, expected });
        }
        let statement = Self {
            stream: reader.stream_id("stream")?,
            incarnation: reader.incarnation("incarnation")?,
            from: Sequence::new(reader.u64("stated from")?),
            to: Sequence::new(reader.u64("stated up to")?),
            digest: Digest { records: reader.u64("records")?, sum: reader.u64("sum")? },
        };
        reader.end()?;
        Ok(statement)
    }
}
