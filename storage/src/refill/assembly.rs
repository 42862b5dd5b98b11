//! Makes commits again of what a walk past damage finds in a file.
//!
//! A part belongs to the frame whose valid header stands before it. Where a header is damaged the
//! numbers of the commits around it tell: of commits that follow each other the part that stands
//! right before the next valid header is of the commit before that one. Where that leaves a choice
//! the file is left alone, because a change of state counts by the number of its commit.

use std::ops::Range;

use headland_event::CommitNumber;

use super::RefillRefused;
use crate::body::Part;
use crate::commit::Commit;
use crate::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind};
use crate::group::byte_count;
use crate::index::FileKind;
use crate::salvage::{FoundPart, Gap, Piece};

/// What is left of a commit, or of some of which only the last one left anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) number: CommitNumber,
    pub(super) commit: Commit,
    /// Commits of which changes of state are lost, or may be.
    pub(super) lost_state: Option<Range<CommitNumber>>,
    /// How many stretches of the file were lost before it, and up to its end.
    pub(super) gaps: Range<u64>,
}

/// Where the walk is.
#[derive(Debug)]
enum At {
    /// Behind a frame, or before the first.
    Between,
    /// In a frame that holds no commit.
    Beside { end: u64 },
    /// In a commit.
    Commit { header: FrameHeader, commit: Commit, is_hurt: bool },
    /// Where a header should be and no valid one is.
    Lost { gaps: Vec<Gap>, earlier: Commit, last: Commit },
}

/// Takes in what a walk finds.
#[derive(Debug)]
pub(super) struct Assembly {
    kind: FileKind,
    /// Number after that of the last commit met.
    next: CommitNumber,
    at: At,
    gaps: u64,
    /// How many there were before where the walk is.
    gaps_before: u64,
}

impl Assembly {
    /// Begins with the first frame of a file, of which `base` is the first commit there may be.
    pub(super) const fn new(kind: FileKind, base: CommitNumber) -> Self {
        Self { kind, next: base, at: At::Between, gaps: 0, gaps_before: 0 }
    }

    /// How many stretches of the file were lost so far.
    pub(super) const fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Where the commit ends that the walk is in, by its header.
    pub(super) fn open_until(&self) -> Option<u64> {
        match &self.at {
            At::Commit { header, .. } => Some(header.end()),
            At::Between | At::Beside { .. } | At::Lost { .. } => None,
        }
    }

    /// Takes the next piece in; returns the commit that is over with it.
    ///
    /// # Errors
    /// [`RefillRefused::Evidence`] where nothing tells what a piece belongs to.
    pub(super) fn on_piece(&mut self, piece: Piece) -> Result<Option<Left>, RefillRefused> {
        let over = match &self.at {
            At::Commit { header, .. } if header.end() <= piece.position() => self.close(None)?,
            At::Beside { end } if *end <= piece.position() => self.close(None)?,
            At::Lost { .. } if matches!(piece, Piece::Frame(_)) => match &piece {
                Piece::Frame(header) => self.close(Some(header.commit))?,
                Piece::Part(_) | Piece::Lost(_) => None,
            },
            At::Between | At::Beside { .. } | At::Commit { .. } | At::Lost { .. } => None,
        };
        match piece {
            Piece::Frame(header) => self.enter(header)?,
            Piece::Part(found) => self.part(found)?,
            Piece::Lost(gap) => self.lost(gap),
        }
        Ok(over)
    }

    /// The end of the file, of which `last` is the last commit; returns what was left open.
    ///
    /// # Errors
    /// As for [`Self::on_piece`].
    pub(super) fn finish(&mut self, last: CommitNumber) -> Result<Option<Left>, RefillRefused> {
        let over = self.close(Some(last.after(1)))?;
        let is_whole = match self.kind {
            FileKind::Journal => self.next == last.after(1),
            FileKind::Cold => self.next <= last.after(1),
        };
        if is_whole { Ok(over) } else { Err(RefillRefused::Evidence) }
    }

    fn enter(&mut self, header: FrameHeader) -> Result<(), RefillRefused> {
        let follows = match (self.kind, header.kind) {
            (FileKind::Journal, _) => header.commit == self.next,
            (FileKind::Cold, FrameKind::Commit) => header.commit >= self.next,
            (FileKind::Cold, FrameKind::Seal | FrameKind::Chain) => false,
        };
        if !follows {
            return Err(RefillRefused::Evidence);
        }
        self.gaps_before = self.gaps;
        self.at = match header.kind {
            FrameKind::Commit => At::Commit { header, commit: Commit::default(), is_hurt: false },
            FrameKind::Seal | FrameKind::Chain => At::Beside { end: header.end() },
        };
        Ok(())
    }

    fn part(&mut self, found: FoundPart) -> Result<(), RefillRefused> {
        let into = match &mut self.at {
            At::Commit { commit, .. } => commit,
            At::Lost { last, .. } => last,
            At::Between | At::Beside { .. } => return Err(RefillRefused::Evidence),
        };
        match found.part {
            Part::Entry(partition, entry) => into.entries.push((partition, entry)),
            Part::Change(change) => into.state.push(change),
        }
        Ok(())
    }

    fn lost(&mut self, gap: Gap) {
        if matches!(self.at, At::Between | At::Beside { .. }) {
            self.gaps_before = self.gaps;
        }
        self.gaps += 1;
        match &mut self.at {
            At::Commit { is_hurt, .. } => *is_hurt = true,
            At::Lost { gaps, earlier, last } => {
                gaps.push(gap);
                earlier.entries.append(&mut last.entries);
                earlier.state.append(&mut last.state);
            }
            // A frame that holds no commit is one piece: what is lost stands behind it.
            At::Between | At::Beside { .. } => {
                let (earlier, last) = (Commit::default(), Commit::default());
                self.at = At::Lost { gaps: vec![gap], earlier, last };
            }
        }
    }

    /// Leaves where the walk is; `next` is the number of the commit that comes next, where known.
    fn close(&mut self, next: Option<CommitNumber>) -> Result<Option<Left>, RefillRefused> {
        match std::mem::replace(&mut self.at, At::Between) {
            At::Between | At::Beside { .. } => Ok(None),
            At::Commit { header, commit, is_hurt } => {
                self.close_commit(&header, commit, is_hurt).map(Some)
            }
            At::Lost { gaps, earlier, last } => {
                let next = next.ok_or(RefillRefused::Evidence)?;
                self.close_lost(&gaps, (earlier, last), next)
            }
        }
    }

    fn close_commit(
        &mut self,
        header: &FrameHeader,
        commit: Commit,
        is_hurt: bool,
    ) -> Result<Left, RefillRefused> {
        let entries = header.entries.checked_sub(commit.entries.len());
        let changes = header.changes.checked_sub(commit.state.len());
        let is_lost_state = match (entries, changes) {
            (Some(0), Some(0)) if !is_hurt => false,
            (Some(entries), Some(changes)) if is_hurt && entries + changes > 0 => changes > 0,
            // More than the frame has, or none missing of a damaged one: some are not its own.
            (Some(_) | None, Some(_) | None) => return Err(RefillRefused::Evidence),
        };
        let (number, gaps) = (header.commit, self.gaps_before..self.gaps);
        self.next = number.after(1);
        let lost_state = is_lost_state.then(|| number..number.after(1));
        Ok(Left { number, commit, lost_state, gaps })
    }

    fn close_lost(
        &mut self,
        gaps: &[Gap],
        (earlier, last): (Commit, Commit),
        next: CommitNumber,
    ) -> Result<Option<Left>, RefillRefused> {
        let is_nothing = |commit: &Commit| *commit == Commit::default();
        let is_all_lost = is_nothing(&earlier) && is_nothing(&last);
        // What a cold file left out says nothing about the numbers around a damaged header: of
        // which commit a part is that is left, nobody knows.
        let missing = match self.kind {
            FileKind::Cold if !is_all_lost => None,
            FileKind::Cold | FileKind::Journal => next.get().checked_sub(self.next.get()),
        };
        let from = std::mem::replace(&mut self.next, next);
        let commit = match missing {
            None => return Err(RefillRefused::Evidence),
            // A seal, or a chain.
            Some(0) if is_all_lost => return Ok(None),
            Some(0) => return Err(RefillRefused::Evidence),
            Some(1) => {
                let Commit { mut entries, mut state } = earlier;
                entries.extend(last.entries);
                state.extend(last.state);
                Commit { entries, state }
            }
            Some(_) if is_nothing(&earlier) => last,
            Some(_) => return Err(RefillRefused::Evidence),
        };
        let is_header_alone = match gaps {
            [gap] => gap.until - gap.from == byte_count(FRAME_HEADER_LEN).get(),
            _ => false,
        };
        let is_whole = missing == Some(1) && is_header_alone;
        let lost_state = (!is_whole).then_some(from..next);
        let number = CommitNumber::new(next.get() - 1);
        let gaps = self.gaps_before..self.gaps;
        Ok(Some(Left { number, commit, lost_state, gaps }))
    }
}
