//! What follows the last valid frame of a file: nothing, an unfinished write, or proof of damage.

use bytes::Bytes;
use headland_event::ByteCount;
use headland_event::limits::{COMMIT_BYTES_LIMIT, GROUP_BYTES_LIMIT};

use crate::chain::JOURNAL_SUFFIX;
use crate::fault::OpenError;
use crate::frame::{FRAME_HEADER_LEN, FRAME_MAGIC, FrameHeader};
use crate::group::byte_count;
use crate::medium::{Medium, MediumError, MediumFile};

const CHUNK_LEN: usize = 64 << 10;
/// Zeros to compare a chunk with: most of a preallocated file is nothing else.
static ZEROS: [u8; CHUNK_LEN] = [0; CHUNK_LEN];
/// An unfinished write is one group: the largest commit, or commits up to a group's limit.
const KEPT_BYTES_LIMIT: u64 = COMMIT_BYTES_LIMIT.get() + GROUP_BYTES_LIMIT.get();

/// What was found behind the last valid frame, and was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// Name of the journal file.
    pub file: String,
    /// Position from which it is void.
    pub position: ByteCount,
    /// Bytes from there to the last one that is not zero.
    pub length: ByteCount,
    /// Where those bytes are now.
    pub kept: TailKept,
}

/// Where a tail is kept for whoever wants to look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TailKept {
    /// In a file of this name.
    Aside(String),
    /// Still in the journal file, behind its end: there was no room for a copy, or it is longer
    /// than any unfinished write.
    InPlace,
}

/// What stands behind a position of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remains {
    /// The valid frame there that names the largest durable position.
    pub(crate) proof: Option<FrameHeader>,
    /// Position after the last byte that is not zero.
    pub(crate) end: u64,
}

impl Remains {
    /// Largest durable position that a valid frame names.
    pub(crate) fn durable(&self) -> u64 {
        self.proof.as_ref().map_or(0, |header| header.durable)
    }
}

/// Looks at everything in `from..size` for frames, of the file with `nonce` if it is known.
///
/// Cost: reads it all; chunks of zeros are compared, not searched.
pub(crate) fn examine<F: MediumFile>(
    file: &F,
    nonce: Option<u64>,
    from: u64,
    size: u64,
) -> Result<Remains, MediumError> {
    let mut remains = Remains { proof: None, end: from };
    let mut at = from;
    while at < size {
        let left = ByteCount::new(size - at).as_len();
        // A header that begins in this chunk may end in the next.
        let mut chunk = vec![0; left.min(CHUNK_LEN + FRAME_HEADER_LEN)];
        file.read_at(ByteCount::new(at), &mut chunk)?;
        let chunk = Bytes::from(chunk);
        let own = chunk.slice(..left.min(CHUNK_LEN));
        if ZEROS.get(..own.len()) != Some(&*own) {
            let last = own.iter().rposition(|byte| *byte != 0).map_or(0, |index| index + 1);
            remains.end = at + byte_count(last).get();
            let found = best_proof(&chunk, own.len(), nonce, at);
            if found.as_ref().is_some_and(|found| found.durable > remains.durable()) {
                remains.proof = found;
            }
        }
        at += byte_count(own.len()).get();
    }
    Ok(remains)
}

fn best_proof(
    chunk: &Bytes,
    starts: usize,
    nonce: Option<u64>,
    chunk_at: u64,
) -> Option<FrameHeader> {
    let mut best: Option<FrameHeader> = None;
    for (index, window) in chunk.windows(FRAME_HEADER_LEN).take(starts).enumerate() {
        if !window.starts_with(&FRAME_MAGIC) {
            continue;
        }
        let position = chunk_at + byte_count(index).get();
        let bytes = chunk.slice(index..index + FRAME_HEADER_LEN);
        if let Ok(header) = FrameHeader::decode(bytes, position)
            && nonce.is_none_or(|nonce| nonce == header.nonce)
            && best.as_ref().is_none_or(|best| best.durable < header.durable)
        {
            best = Some(header);
        }
    }
    best
}

/// Copies `position..end` of a journal file into a file beside it.
pub(crate) fn keep_aside<M: Medium>(
    medium: &mut M,
    name: &str,
    file: &M::File,
    (position, end): (u64, u64),
) -> Result<Tail, OpenError> {
    debug_assert!(position < end, "a tail has bytes");
    let length = end - position;
    let tail = |kept| Tail {
        file: name.to_owned(),
        position: ByteCount::new(position),
        length: ByteCount::new(length),
        kept,
    };
    if length > KEPT_BYTES_LIMIT {
        return Ok(tail(TailKept::InPlace));
    }
    let mut content = vec![0; ByteCount::new(length).as_len()];
    file.read_at(ByteCount::new(position), &mut content)?;
    let aside = format!("{}.tail", name.trim_end_matches(JOURNAL_SUFFIX));
    match medium.replace(&aside, &content) {
        Ok(()) => Ok(tail(TailKept::Aside(aside))),
        Err(MediumError::Full { .. }) => Ok(tail(TailKept::InPlace)),
        Err(error @ MediumError::Io { .. }) => Err(error.into()),
    }
}

/// Whether a frame further on proves that bytes at `position` were durable.
pub(crate) fn is_damage(position: u64, remains: &Remains) -> bool {
    remains.durable() > position
}

#[cfg(test)]
mod tests {
    use headland_event::CommitNumber;

    use super::*;
    use crate::memory::MemoryDisk;

    fn seal(nonce: u64, position: u64) -> Bytes {
        FrameHeader::seal(nonce, position, CommitNumber::new(1)).encode()
    }

    fn remains(content: &[u8], nonce: Option<u64>, from: u64) -> Remains {
        let disk = MemoryDisk::new(1);
        disk.set_content("a", content);
        let file = disk.attach().open("a").unwrap();
        examine(&file, nonce, from, byte_count(content.len()).get()).unwrap()
    }

    #[test]
    fn a_frame_across_two_chunks_is_found() {
        for position in [CHUNK_LEN - 55, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1] {
            let at = byte_count(position).get();
            let content = [&vec![0; position], &*seal(7, at), &[0; 100]].concat();

            let found = remains(&content, Some(7), 0);
            assert_eq!((found.durable(), found.end), (at, at + 56));
        }
    }

    #[test]
    fn a_frame_of_another_file_or_place_proves_nothing() {
        let foreign = [&[1; 10], &*seal(8, 10)].concat();
        let moved = [&[1; 10], &*seal(7, 11)].concat();

        assert_eq!(remains(&foreign, Some(7), 0), Remains { proof: None, end: 66 });
        assert_eq!(remains(&moved, Some(7), 0), Remains { proof: None, end: 66 });
        assert_eq!(remains(&foreign, None, 0).durable(), 10);
    }

    #[test]
    fn nothing_but_zeros_is_no_tail() {
        assert_eq!(remains(&vec![0; 200_000], None, 100), Remains { proof: None, end: 100 });
    }
}
