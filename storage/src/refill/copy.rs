//! Writes a damaged file anew, with what came back, in small steps.

use std::ops::Range;
use std::sync::Arc;

use headland_event::limits::COMMIT_BYTES_LIMIT;
use headland_event::{ByteCount, CommitNumber};

use super::assembly::{Assembly, Left};
use super::fitting::Fitting;
use super::{Refill, RefillRefused, Refilled};
use crate::body;
use crate::cold::{ColdFile, ColdWriter};
use crate::commit::Commit;
use crate::frame::{FIRST_FRAME_AT, FRAME_HEADER_LEN};
use crate::group::byte_count;
use crate::index::{Mend, Source};
use crate::journal::Journal;
use crate::journal::install::ClosedFile;
use crate::loss::Losses;
use crate::medium::{Medium, MediumError, MediumFile};
use crate::salvage::{Gap, Piece, Salvage, Walked};

/// Bytes searched behind damage in one step: all of a large file may be zeros, and commits wait for
/// the end of a step.
const SEARCH_BYTES: u64 = 1 << 20;

/// A file that is being written anew.
#[derive(Debug)]
pub(super) struct Copy<F> {
    /// What the file is called in the index.
    key: CommitNumber,
    last: CommitNumber,
    source: Source<F>,
    /// Positions where the bytes end that are there, and where they ended once: behind that when
    /// the file was cut short.
    there: u64,
    closed_at: u64,
    walk: Salvage<F>,
    read: u64,
    /// Bytes searched behind that.
    searched: u64,
    assembly: Assembly,
    fitting: Fitting,
    writer: ColdWriter<F>,
    /// The last commit that left anything: what came back behind all others goes there.
    held: Option<(CommitNumber, Commit)>,
    /// Whether it lost changes of state that no record tells of.
    is_state_unknown: bool,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stepped {
    /// It read and wrote so many bytes, and there is more.
    On {
        /// Bytes read.
        read: u64,
        /// Bytes written.
        written: u64,
    },
    /// All of the file was read.
    Done,
}

/// A file that was written anew.
pub(super) struct Copied<F> {
    pub(super) key: CommitNumber,
    pub(super) name: Arc<str>,
    /// The file and what it makes of lost offsets; nothing when no commit is in it.
    pub(super) cold: Result<Option<(ColdFile<F>, Mend)>, RefillRefused>,
    pub(super) results: Vec<Refilled>,
    /// Whether it lost changes of state that no record tells of.
    pub(super) is_state_unknown: bool,
}

impl<F: MediumFile> Copy<F> {
    /// Begins to write a closed file anew.
    pub(super) fn begin<M: Medium<File = F>>(
        journal: &mut Journal<M>,
        file: ClosedFile<F>,
        refills: Vec<Refill>,
    ) -> Result<Self, MediumError> {
        let fitting = Fitting::new(&journal.shared().read(), &file, refills.clone());
        let ClosedFile { source, base, last, closed_at, .. } = file;
        let there = source.end.min(source.file.size()?.get()).max(FIRST_FRAME_AT);
        let back: u64 = refills.iter().map(|refill| super::size(&refill.entry)).sum();
        let writer = journal.begin_cold(base, ByteCount::new(closed_at + back))?;
        let walk = Salvage::new(source.file.clone(), source.nonce, FIRST_FRAME_AT, there);
        let assembly = Assembly::new(source.kind, base);
        let (key, read, searched, held) = (base, FIRST_FRAME_AT, 0, None);
        let is_state_unknown = false;
        Ok(Self {
            key,
            last,
            source,
            there,
            closed_at,
            walk,
            read,
            searched,
            assembly,
            fitting,
            writer,
            held,
            is_state_unknown,
        })
    }

    /// The commits of the file.
    pub(super) fn commits(&self) -> Range<CommitNumber> {
        self.key..self.last.after(1)
    }

    /// Whether it has to stay because it lost changes of state that no record tells of.
    pub(super) const fn is_state_unknown(&self) -> bool {
        self.is_state_unknown
    }

    /// By which the file is told from all others, those that took its name included.
    pub(super) const fn nonce(&self) -> u64 {
        self.source.nonce
    }

    /// Goes on by a piece.
    ///
    /// # Errors
    /// [`RefillRefused`] when the file has to stay as it is, or cannot be read or written.
    pub(super) fn step(&mut self, losses: &Losses) -> Result<Stepped, RefillRefused> {
        let piece = match self.walk.walk(SEARCH_BYTES).map_err(|_| RefillRefused::Failed)? {
            Walked::Piece(piece) => piece,
            Walked::On(read) => {
                self.searched += read;
                return Ok(Stepped::On { read, written: 0 });
            }
            Walked::End => return Ok(Stepped::Done),
        };
        if let Piece::Lost(gap) = &piece {
            let claim = self.walk.claim(*gap).map_err(|_| RefillRefused::Failed)?;
            self.fitting.on_gap(claim);
        }
        let until = match &piece {
            Piece::Frame(header) => header.position + byte_count(FRAME_HEADER_LEN).get(),
            Piece::Part(found) => found.position + byte_count(found.length).get(),
            Piece::Lost(gap) => gap.until,
        };
        // What was searched on the way here has counted.
        let read = until.saturating_sub(self.read).saturating_sub(self.searched);
        (self.read, self.searched) = (self.read.max(until), 0);
        let before = self.writer.size().get();
        if let Some(left) = self.assembly.on_piece(piece)? {
            self.take(left, losses)?;
        }
        Ok(Stepped::On { read, written: self.writer.size().get() - before })
    }

    /// Takes what is left of a commit over, with what goes before its entries.
    fn take(&mut self, left: Left, losses: &Losses) -> Result<(), RefillRefused> {
        let Left { number, commit, lost_state, gaps } = left;
        if lost_state.is_some_and(|lost| !losses.knows(lost.start, lost.end)) {
            self.is_state_unknown = true;
            return Err(RefillRefused::Evidence);
        }
        let mut room = if self.fitting.is_wanted(&commit.entries) { room(&commit) } else { 0 };
        let Commit { entries, state } = commit;
        let mut commit = Commit { entries: Vec::with_capacity(entries.len()), state };
        for (partition, entry) in entries {
            let (before, counts) = self.fitting.on_entry(&partition, &entry, &gaps, &mut room);
            commit.entries.extend(before.into_iter().map(|entry| (partition.clone(), entry)));
            if counts {
                commit.entries.push((partition, entry));
            } else if gaps.is_empty() {
                // Nothing around it is damaged: it is what it seems, and it would be lost.
                return Err(RefillRefused::Evidence);
            }
        }
        if commit != Commit::default() {
            let over = self.held.replace((number, commit));
            over.map_or(Ok(()), |(number, commit)| self.write(number, &commit))?;
        }
        Ok(())
    }

    fn write(&mut self, number: CommitNumber, commit: &Commit) -> Result<(), RefillRefused> {
        self.writer.push(number, commit).map_err(|_| RefillRefused::Failed)
    }

    /// Takes over what is left at the end, and makes the file durable.
    pub(super) fn finish(mut self, losses: &Losses) -> Copied<F> {
        let (key, name) = (self.key, self.writer.name());
        let ended = self.end(losses);
        let Self { fitting, writer, is_state_unknown, .. } = self;
        let rest = ended.err().unwrap_or(RefillRefused::Failed);
        let (mend, results) = fitting.into_parts(rest);
        let written = ended.and_then(|()| writer.finish().map_err(|_| RefillRefused::Failed));
        let cold = written.map(|cold| cold.map(|cold| (cold, mend)));
        Copied { key, name, cold, results, is_state_unknown }
    }

    fn end(&mut self, losses: &Losses) -> Result<(), RefillRefused> {
        let mut left = Vec::new();
        // Of a file that was cut short first the rest of the commit that the cut is in.
        let within = self.assembly.open_until().unwrap_or(self.there);
        let within = within.max(self.there).min(self.closed_at);
        for (from, until) in [(self.there, within), (within, self.closed_at)] {
            if from < until {
                self.fitting.on_gap(None);
                left.extend(self.assembly.on_piece(Piece::Lost(Gap { from, until }))?);
            }
        }
        left.extend(self.assembly.finish(self.last)?);
        for left in left {
            self.take(left, losses)?;
        }
        let (number, mut commit) =
            self.held.take().unwrap_or_else(|| (self.key, Commit::default()));
        let behind = self.fitting.finish(self.assembly.gaps(), room(&commit));
        commit.entries.extend(behind);
        if commit == Commit::default() { Ok(()) } else { self.write(number, &commit) }
    }

    /// Gives the file up; returns its name, and the entries.
    pub(super) fn give_up(self, refused: RefillRefused) -> (Arc<str>, Vec<Refilled>) {
        (self.writer.name(), self.fitting.into_parts(refused).1)
    }
}

/// Bytes that a commit has room for beside what is in it.
fn room(commit: &Commit) -> u64 {
    let mut writer = headland_event::codec::Writer::new();
    body::write(&mut writer, commit);
    let used = byte_count(writer.len() + FRAME_HEADER_LEN).get();
    COMMIT_BYTES_LIMIT.get().saturating_sub(used)
}
