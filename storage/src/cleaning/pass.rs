//! One pass over closed files, in small steps: finds out what is live, or copies it.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use headland_event::{ByteCount, CommitNumber, Offset, TopicPartition};

use crate::cleaning::CleanError;
use crate::cleaning::liveness::{Deletions, Judge, Live};
use crate::cold::ColdWriter;
use crate::cursor::{Cursor, NextCommit, Step};
use crate::frame::{FIRST_FRAME_AT, FRAME_HEADER_LEN};
use crate::group::byte_count;
use crate::journal::Journal;
use crate::journal::install::ClosedFile;
use crate::medium::{Medium, MediumFile};
use crate::scan::{self, Content};
use crate::state::StateCache;

/// What a pass is for.
#[derive(Debug)]
pub(super) enum Purpose<F> {
    /// To find out what is live.
    Survey,
    /// To copy it; the file is begun with the first commit that has something live.
    Copy {
        /// Bytes that are live at most.
        room: ByteCount,
        writer: Option<Box<ColdWriter<F>>>,
    },
}

/// A pass over files that follow each other.
#[derive(Debug)]
pub(super) struct Pass<F> {
    files: VecDeque<ClosedFile<F>>,
    cursor: Option<Cursor<F>>,
    keys: RangeInclusive<CommitNumber>,
    nonce: u64,
    deletions: Deletions,
    pub(super) live: Live,
    pub(super) purpose: Purpose<F>,
}

/// What a step of a pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stepped {
    /// It read and wrote so many bytes, and there is more.
    On {
        /// Bytes read.
        read: u64,
        /// Bytes written.
        written: u64,
    },
    /// It met damage, in the file with this nonce: nothing may be concluded from what it found.
    Damaged {
        /// The file's nonce.
        nonce: u64,
    },
    /// All files are behind.
    Done,
}

impl<F: MediumFile> Pass<F> {
    /// Begins a pass over files, of which the first is the oldest when deletions may go.
    pub(super) fn new(
        files: Vec<ClosedFile<F>>,
        deletions: Deletions,
        purpose: Purpose<F>,
    ) -> Option<Self> {
        let (first, last) = (files.first()?, files.last()?);
        let (keys, nonce) = (first.base..=last.base, first.source.nonce);
        let (files, live) = (files.into(), Live::default());
        Some(Self { files, cursor: None, keys, nonce, deletions, live, purpose })
    }

    /// What the files are called in the index.
    pub(super) fn keys(&self) -> RangeInclusive<CommitNumber> {
        self.keys.clone()
    }

    /// The nonce of the file that is being read.
    pub(super) const fn nonce(&self) -> u64 {
        self.nonce
    }

    /// Goes on by one frame.
    pub(super) fn step<M: Medium<File = F>, C: StateCache>(
        &mut self,
        journal: &mut Journal<M>,
        judge: &Judge<'_, C, impl Fn(&TopicPartition) -> Offset>,
    ) -> Result<Stepped, CleanError> {
        let Some(cursor) = &mut self.cursor else {
            return Ok(self.open_next());
        };
        let frame = match cursor.step().map_err(CleanError::Medium)? {
            Step::Frame(frame) => frame,
            Step::End => {
                self.cursor = None;
                return Ok(Stepped::On { read: 0, written: 0 });
            }
            Step::Invalid(_) => return Ok(Stepped::Damaged { nonce: self.nonce }),
        };
        let read = byte_count(frame.header.frame_len()).get();
        let placed = match scan::read_content(&frame) {
            Ok(Content::Commit(placed)) => placed,
            Ok(Content::Seal | Content::Chain(_)) => return Ok(Stepped::On { read, written: 0 }),
            Err(_) => return Ok(Stepped::Damaged { nonce: self.nonce }),
        };
        let number = placed.number;
        let left = judge.left(placed, self.deletions, &mut self.live).map_err(CleanError::State)?;
        if left.entries.is_empty() && left.state.is_empty() {
            return Ok(Stepped::On { read, written: 0 });
        }
        self.live.state += byte_count(FRAME_HEADER_LEN).get();
        let written = match &mut self.purpose {
            Purpose::Survey => 0,
            Purpose::Copy { room, writer } => {
                let writer = match writer {
                    Some(writer) => writer,
                    None => {
                        let begun = journal.begin_cold(*self.keys.start(), *room);
                        writer.insert(Box::new(begun.map_err(CleanError::Medium)?))
                    }
                };
                let before = writer.size().get();
                writer.push(number, &left).map_err(CleanError::Copy)?;
                writer.size().get() - before
            }
        };
        Ok(Stepped::On { read, written })
    }

    fn open_next(&mut self) -> Stepped {
        let Some(ClosedFile { source, base, .. }) = self.files.pop_front() else {
            return Stepped::Done;
        };
        self.nonce = source.nonce;
        let first = NextCommit::of(source.kind, base);
        self.cursor =
            Some(Cursor::new(source.file, source.nonce, first, FIRST_FRAME_AT, source.end));
        Stepped::On { read: FIRST_FRAME_AT, written: 0 }
    }
}
