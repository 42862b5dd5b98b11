//! One pass over closed files, in small steps: finds out what is live, or copies it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use headland_event::{ByteCount, CommitNumber, Entry, Offset, TopicPartition};

use crate::cleaning::CleanError;
use crate::cleaning::liveness::{Deletions, Judge, Live};
use crate::cleaning::runs::{self, Runs};
use crate::cold::ColdWriter;
use crate::commit::Commit;
use crate::cursor::{Cursor, NextCommit, Step};
use crate::frame::{FIRST_FRAME_AT, FRAME_HEADER_LEN};
use crate::group::byte_count;
use crate::journal::Journal;
use crate::journal::install::{ClosedFile, HeldShare};
use crate::medium::{Medium, MediumFile};
use crate::scan::{self, Content};
use crate::state::StateCache;

/// What a part has around its batch, about.
pub(super) const ENTRY_OVERHEAD: usize = 100;

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
    /// First offset of each partition in the files.
    bases: BTreeMap<TopicPartition, Offset>,
    runs: Runs,
    /// The last commit of the copy, which takes in the holes at the end.
    held: Option<(CommitNumber, Commit)>,
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
        let mut bases = BTreeMap::new();
        for HeldShare { partition, base, .. } in files.iter().flat_map(|file| &file.shares) {
            bases.entry(partition.clone()).or_insert(*base);
        }
        let (files, live, runs) = (files.into(), Live::default(), Runs::default());
        let (cursor, held) = (None, None);
        Some(Self { files, cursor, keys, nonce, deletions, bases, runs, held, live, purpose })
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
        judge: &Judge<
            '_,
            C,
            impl Fn(&TopicPartition) -> Offset,
            impl Fn(&TopicPartition, Entry, Offset) -> Entry,
        >,
    ) -> Result<Stepped, CleanError> {
        let Some(cursor) = &mut self.cursor else {
            return match self.open_next() {
                Stepped::Done => self.finish(journal),
                stepped => Ok(stepped),
            };
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
        let left = judge
            .left(placed, (self.deletions, &self.bases), &mut self.live)
            .map_err(CleanError::State)?;
        if left != Commit::default() {
            self.live.state += byte_count(FRAME_HEADER_LEN).get();
        }
        let written = match self.purpose {
            Purpose::Survey => 0,
            Purpose::Copy { .. } => {
                let left = self.runs.pass(left);
                let over = self.held.replace((number, left));
                over.map_or(Ok(0), |(number, left)| self.write(journal, number, &left))?
            }
        };
        Ok(Stepped::On { read, written })
    }

    /// Writes what was held back: the last commit, with the holes at the end.
    fn finish<M: Medium<File = F>>(
        &mut self,
        journal: &mut Journal<M>,
    ) -> Result<Stepped, CleanError> {
        let Some((number, mut left)) = self.held.take() else { return Ok(Stepped::Done) };
        left.entries.extend(self.runs.finish().entries);
        let written = self.write(journal, number, &left)?;
        Ok(Stepped::On { read: 0, written })
    }

    /// Adds what is left of a commit to the copy; says how many bytes that are.
    fn write<M: Medium<File = F>>(
        &mut self,
        journal: &mut Journal<M>,
        number: CommitNumber,
        left: &Commit,
    ) -> Result<u64, CleanError> {
        let Purpose::Copy { room, writer } = &mut self.purpose else { return Ok(0) };
        if *left == Commit::default() {
            return Ok(0);
        }
        let writer = match writer {
            Some(writer) => writer,
            None => {
                let begun = journal.begin_cold(*self.keys.start(), *room);
                writer.insert(Box::new(begun.map_err(CleanError::Medium)?))
            }
        };
        let before = writer.size().get();
        writer.push(number, left).map_err(CleanError::Copy)?;
        // They take room until they are part of a longer one, or go with their partition's start.
        let holes = left.entries.iter().filter(|(_, entry)| runs::is_hole(entry));
        let holes = holes.map(|(_, entry)| entry.batch.as_bytes().len() + ENTRY_OVERHEAD);
        self.live.entries += byte_count(holes.sum()).get();
        Ok(writer.size().get() - before)
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
