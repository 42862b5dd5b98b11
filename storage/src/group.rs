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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::commit::{StateChange, StateOwner};

    /// A commit that takes `size` bytes in the journal.
    fn sized(size: ByteCount) -> Commit {
        let around = FRAME_HEADER_LEN + 8 + 2 + 4 + 1 + 4;
        let value = Some(Bytes::from(vec![7; size.as_len() - around]));
        let owner = StateOwner::new("x").unwrap();
        Commit { entries: Vec::new(), state: vec![StateChange { owner, key: Bytes::new(), value }] }
    }

    #[test]
    fn a_commit_of_the_limit_fits_alone_and_one_byte_more_does_not() {
        let limit = COMMIT_BYTES_LIMIT;
        let above = ByteCount::new(limit.get() + 1);

        let fits = Group::encode(&[sized(limit)]).unwrap();
        let refused = Group::encode(&[sized(above)]).unwrap_err();

        assert_eq!(fits.size(), limit);
        assert!(
            matches!(refused, AppendError::CommitTooLarge { index: 0, found, .. } if found == above)
        );
    }

    #[test]
    fn commits_of_the_groups_limit_fit_together_and_one_byte_more_does_not() {
        let half = GROUP_BYTES_LIMIT.get() / 2;
        let above = ByteCount::new(GROUP_BYTES_LIMIT.get() + 1);
        let pair = |second: u64| [sized(ByteCount::new(half)), sized(ByteCount::new(second))];

        let fits = Group::encode(&pair(half)).unwrap();
        let refused = Group::encode(&pair(half + 1)).unwrap_err();

        assert_eq!(fits.size(), GROUP_BYTES_LIMIT);
        assert!(matches!(refused, AppendError::GroupTooLarge { found, .. } if found == above));
    }

    #[test]
    fn placed_frames_name_their_positions_and_numbers() {
        let mut group = Group::encode(&[Commit::default(), Commit::default()]).unwrap();
        let first = CommitNumber::new(5);

        let positions = group.place(Place { nonce: 3, position: 1_000, durable: 900, first });

        assert_eq!(positions, [1_000, 1_056]);
        let second = Bytes::copy_from_slice(&group.frames()[FRAME_HEADER_LEN..]);
        let header = FrameHeader::decode(second, 1_056).unwrap();
        assert_eq!((header.commit.get(), header.nonce, header.durable), (6, 3, 900));
    }
}
