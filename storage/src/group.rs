//! A group of commits encoded in one buffer, to be written with one write.
//!
//! Commits are encoded before it is known which file they go to; placing the group then fills in
//! the headers. The buffer starts with room for a file's header, so that the first group of a file
//! and that header are one write too.

use headland_event::codec::Writer;
use headland_event::limits::{COMMIT_BYTES_LIMIT, GROUP_BYTES_LIMIT};
use headland_event::{ByteCount, CommitNumber};

use crate::body;
use crate::commit::Commit;
use crate::frame::{FILE_HEADER_LEN, FRAME_HEADER_LEN, FileHeader, FrameHeader, FrameKind};
use crate::log::AppendError;

/// Commits encoded, not yet placed.
#[derive(Debug)]
pub(crate) struct Group {
    writer: Writer,
    frames: Vec<FrameDraft>,
}

/// A frame whose place is not known yet.
#[derive(Debug)]
struct FrameDraft {
    start: usize,
    length: usize,
    entries: usize,
    changes: usize,
}

/// Where a group goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The file's nonce.
    pub(crate) nonce: u64,
    /// Position of the first frame.
    pub(crate) position: u64,
    /// Position below which the file is known durable.
    pub(crate) durable: u64,
    /// Number of the first commit.
    pub(crate) first: CommitNumber,
}

impl Group {
    /// Encodes a group and checks the limits.
    ///
    /// Cost: one growing buffer; batches are copied as they are.
    pub(crate) fn encode(commits: &[Commit]) -> Result<Self, AppendError> {
        if commits.is_empty() {
            return Err(AppendError::Empty);
        }
        let mut group = Self { writer: Writer::new(), frames: Vec::with_capacity(commits.len()) };
        group.writer.raw(&[0; FILE_HEADER_LEN]);
        for (index, commit) in commits.iter().enumerate() {
            let found = group.push(commit);
            if found > COMMIT_BYTES_LIMIT {
                return Err(AppendError::CommitTooLarge {
                    index,
                    found,
                    limit: COMMIT_BYTES_LIMIT,
                });
            }
        }
        let found = group.size();
        if commits.len() > 1 && found > GROUP_BYTES_LIMIT {
            return Err(AppendError::GroupTooLarge { found, limit: GROUP_BYTES_LIMIT });
        }
        Ok(group)
    }

    fn push(&mut self, commit: &Commit) -> ByteCount {
        let start = self.writer.len();
        self.writer.raw(&[0; FRAME_HEADER_LEN]);
        body::write(&mut self.writer, commit);
        let length = self.writer.len() - start - FRAME_HEADER_LEN;
        let (entries, changes) = (commit.entries.len(), commit.state.len());
        self.frames.push(FrameDraft { start, length, entries, changes });
        byte_count(self.writer.len() - start)
    }

    /// Bytes of all frames.
    pub(crate) fn size(&self) -> ByteCount {
        byte_count(self.writer.len() - FILE_HEADER_LEN)
    }

    /// Fills in the frames' headers and returns each frame's position, in order.
    pub(crate) fn place(&mut self, place: Place) -> Vec<u64> {
        let Place { nonce, position, durable, first } = place;
        let mut commit = first;
        let mut positions = Vec::with_capacity(self.frames.len());
        for FrameDraft { start, length, entries, changes } in &self.frames {
            let header = FrameHeader {
                kind: FrameKind::Commit,
                length: *length,
                entries: *entries,
                changes: *changes,
                commit,
                nonce,
                position: position + byte_count(start - FILE_HEADER_LEN).get(),
                durable,
            };
            body::patch(&mut self.writer, *start, &header.encode());
            positions.push(header.position);
            commit = commit.after(1);
        }
        positions
    }

    /// The frames, to be written behind others.
    pub(crate) fn frames(&self) -> &[u8] {
        self.writer.as_slice().get(FILE_HEADER_LEN..).unwrap_or_default()
    }

    /// The frames behind a file's header, to be written at the start of a file.
    pub(crate) fn with_file_header(&mut self, header: &FileHeader) -> &[u8] {
        body::patch(&mut self.writer, 0, &header.encode());
        self.writer.as_slice()
    }
}

/// A length in memory as a number of bytes.
pub(crate) fn byte_count(length: usize) -> ByteCount {
    // No platform that Rust supports has lengths above 64 bits.
    ByteCount::new(u64::try_from(length).unwrap_or(u64::MAX))
}
