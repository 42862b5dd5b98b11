//! A group of commits encoded in one buffer, to be written with one write.
//!
//! Commits are encoded before it is known which file they go to; placing the group then fills in
//! the headers. The buffer is kept from group to group, so appending allocates nothing per record.

use headland_event::codec::Writer;
use headland_event::limits::{COMMIT_BYTES_LIMIT, GROUP_BYTES_LIMIT};
use headland_event::{ByteCount, CommitNumber};

use crate::body;
use crate::commit::Commit;
use crate::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind};
use crate::log::AppendError;
use crate::points::EntryPlace;

/// Commits encoded in one buffer, which serves one group after another.
#[derive(Debug, Default)]
pub(crate) struct Group {
    writer: Writer,
    frames: Vec<FrameDraft>,
    /// Position of the first frame, once the group is placed.
    position: u64,
}

/// A frame whose place is not known yet.
#[derive(Debug)]
struct FrameDraft {
    start: usize,
    length: usize,
    entries: usize,
    changes: usize,
}

/// A frame of a placed group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlacedFrame<'a> {
    pub(crate) position: u64,
    pub(crate) end: u64,
    entries: usize,
    body: &'a [u8],
}

impl<'a> PlacedFrame<'a> {
    /// Where the entries are, in order.
    pub(crate) fn places(&self) -> impl Iterator<Item = EntryPlace> + use<'a> {
        body::places(self.position, self.entries, self.body)
    }
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
    /// Encodes commits in place of those before; returns their bytes in the journal.
    ///
    /// # Errors
    /// [`AppendError`] when there is no commit or a limit is passed.
    pub(crate) fn encode(&mut self, commits: &[Commit]) -> Result<ByteCount, AppendError> {
        if commits.is_empty() {
            return Err(AppendError::Empty);
        }
        self.clear();
        for (index, commit) in commits.iter().enumerate() {
            let found = self.push(commit);
            if found > COMMIT_BYTES_LIMIT {
                let limit = COMMIT_BYTES_LIMIT;
                return Err(AppendError::CommitTooLarge { index, found, limit });
            }
        }
        let found = self.size();
        if commits.len() > 1 && found > GROUP_BYTES_LIMIT {
            return Err(AppendError::GroupTooLarge { found, limit: GROUP_BYTES_LIMIT });
        }
        Ok(found)
    }

    /// Forgets the commits; keeps the memory of a usual group, gives back that of one large commit.
    pub(crate) fn clear(&mut self) {
        if self.size() > GROUP_BYTES_LIMIT {
            self.writer = Writer::new();
        }
        self.writer.clear();
        self.frames.clear();
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
        byte_count(self.writer.len())
    }

    /// Fills in the frames' headers.
    pub(crate) fn place(&mut self, place: Place) {
        let Place { nonce, position, durable, first } = place;
        self.position = position;
        let mut commit = first;
        for FrameDraft { start, length, entries, changes } in &self.frames {
            let header = FrameHeader {
                kind: FrameKind::Commit,
                length: *length,
                entries: *entries,
                changes: *changes,
                commit,
                nonce,
                position: position + byte_count(*start).get(),
                durable,
            };
            body::patch(&mut self.writer, *start, &header.encode());
            commit = commit.after(1);
        }
    }

    /// The frames as they go to the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.writer.as_slice()
    }

    /// The frames of a placed group, in order.
    pub(crate) fn frames(&self) -> impl Iterator<Item = PlacedFrame<'_>> {
        self.frames.iter().map(|FrameDraft { start, length, entries, .. }| {
            let body = start + FRAME_HEADER_LEN;
            let position = self.position + byte_count(*start).get();
            PlacedFrame {
                position,
                end: position + byte_count(FRAME_HEADER_LEN + length).get(),
                entries: *entries,
                body: self.bytes().get(body..body + length).unwrap_or_default(),
            }
        })
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

        let fits = Group::default().encode(&[sized(limit)]).unwrap();
        let refused = Group::default().encode(&[sized(above)]).unwrap_err();

        assert_eq!(fits, limit);
        assert!(
            matches!(refused, AppendError::CommitTooLarge { index: 0, found, .. } if found == above)
        );
    }

    #[test]
    fn commits_of_the_groups_limit_fit_together_and_one_byte_more_does_not() {
        let half = GROUP_BYTES_LIMIT.get() / 2;
        let above = ByteCount::new(GROUP_BYTES_LIMIT.get() + 1);
        let pair = |second: u64| [sized(ByteCount::new(half)), sized(ByteCount::new(second))];

        let fits = Group::default().encode(&pair(half)).unwrap();
        let refused = Group::default().encode(&pair(half + 1)).unwrap_err();

        assert_eq!(fits, GROUP_BYTES_LIMIT);
        assert!(matches!(refused, AppendError::GroupTooLarge { found, .. } if found == above));
    }

    #[test]
    fn placed_frames_name_their_positions_and_numbers() {
        let mut group = Group::default();
        group.encode(&[Commit::default(), Commit::default()]).unwrap();
        let first = CommitNumber::new(5);

        group.place(Place { nonce: 3, position: 1_000, durable: 900, first });

        let frames: Vec<(u64, u64)> = group.frames().map(|f| (f.position, f.end)).collect();
        assert_eq!(frames, [(1_000, 1_056), (1_056, 1_112)]);
        let second = Bytes::copy_from_slice(&group.bytes()[FRAME_HEADER_LEN..]);
        let header = FrameHeader::decode(second, 1_056).unwrap();
        assert_eq!((header.commit.get(), header.nonce, header.durable), (6, 3, 900));
    }

    #[test]
    fn a_group_is_encoded_alike_whatever_was_in_the_buffer_before() {
        let (mut fresh, mut used) = (Group::default(), Group::default());
        used.encode(&[sized(ByteCount::new(5 << 20)), Commit::default()]).unwrap_err();

        fresh.encode(&[sized(ByteCount::new(100))]).unwrap();
        used.encode(&[sized(ByteCount::new(100))]).unwrap();

        assert_eq!(used.bytes(), fresh.bytes());
        assert_eq!(used.frames().count(), 1);
    }
}
