//! Replays commits in order, whole, and names those that lost a part.

use headland_event::{ByteCount, CommitNumber};

use crate::body::{self, Part, Wanted};
use crate::commit::{Commit, StoredCommit};
use crate::cursor::{Cursor, Frame, NextCommit, Step};
use crate::fault::Fault;
use crate::frame::{FrameHeader, FrameKind};
use crate::group::byte_count;
use crate::index::{CommitStretch, FileKind, Source};
use crate::log::{LostParts, QuarantinedCommits, ReadError};
use crate::lookup::Shared;
use crate::medium::{MediumError, MediumFile};
use crate::salvage::{FoundPart, Piece, Salvage};

/// Commits gathered up to a limit.
#[derive(Debug)]
struct Gathered {
    commits: Vec<StoredCommit>,
    next: CommitNumber,
    last: CommitNumber,
    left: u64,
}

/// How the walk over a file's commits ended.
enum Ended {
    /// At its end.
    Whole,
    /// At the limit, or behind the last commit.
    Full,
    /// At a place where no valid frame is.
    Astray(Place),
}

/// Where the frame of a commit should be.
#[derive(Debug, Clone, Copy)]
struct Place {
    commit: CommitNumber,
    position: u64,
}

/// Reads whole commits in order, the first one numbered `from`, up to `last`.
pub(crate) fn replay<F: MediumFile>(
    shared: &Shared<F>,
    from: CommitNumber,
    last: CommitNumber,
    limit: ByteCount,
) -> Result<Vec<StoredCommit>, ReadError> {
    let next = from.max(CommitNumber::new(1));
    let mut gathered = Gathered { commits: Vec::new(), next, last, left: limit.get() };
    while gathered.next <= last {
        let Some(stretch) = shared.commits_from(gathered.next)? else { break };
        let before = gathered.next;
        match gathered.file(&stretch)? {
            Ended::Whole => {}
            Ended::Full | Ended::Astray(_) => break,
        }
        debug_assert!(gathered.next > before, "the file of a commit holds it, or a later one");
        if gathered.next == before {
            break;
        }
    }
    Ok(gathered.commits)
}

impl Gathered {
    /// Takes the commits of a file; damage behind a commit that was taken ends it early.
    ///
    /// # Errors
    /// [`ReadError::QuarantinedCommits`] when the first commit wanted is damaged.
    fn file<F: MediumFile>(&mut self, stretch: &CommitStretch<F>) -> Result<Ended, ReadError> {
        let CommitStretch { source, commit, frame, last } = stretch;
        let mut place = Place { commit: *commit, position: *frame };
        let until = self.last.min(*last).after(1);
        loop {
            let astray = match self.walk(source, place).map_err(ReadError::Medium)? {
                Ended::Astray(astray) => astray,
                ended @ (Ended::Whole | Ended::Full) => return Ok(ended),
            };
            if !self.commits.is_empty() {
                return Ok(Ended::Astray(astray));
            }
            let (left, resume) = salvage(source, astray, until).map_err(ReadError::Medium)?;
            if left.until > self.next {
                return Err(ReadError::QuarantinedCommits(Box::new(left)));
            }
            // The walk began at a point before the first commit wanted, and so did the damage.
            debug_assert!(resume > astray.position, "a walk past damage goes on");
            place = Place { commit: left.until, position: resume };
        }
    }

    fn walk<F: MediumFile>(
        &mut self,
        source: &Source<F>,
        mut place: Place,
    ) -> Result<Ended, MediumError> {
        let Source { file, nonce, kind, end, .. } = source;
        let first = NextCommit::of(*kind, place.commit);
        let mut cursor = Cursor::new(file.clone(), *nonce, first, place.position, *end);
        loop {
            place.position = cursor.position();
            let frame = match cursor.step()? {
                Step::Frame(frame) => frame,
                Step::End => return Ok(Ended::Whole),
                Step::Invalid(_) => return Ok(Ended::Astray(place)),
            };
            match frame.header.kind {
                FrameKind::Commit => {}
                FrameKind::Seal | FrameKind::Chain => continue,
            }
            match self.take(&frame) {
                Ok(true) => place.commit = frame.header.commit.after(1),
                Ok(false) => return Ok(Ended::Full),
                Err(_) => return Ok(Ended::Astray(place)),
            }
        }
    }

    /// Takes a commit, unless it is full; commits before the first one wanted are passed over.
    fn take(&mut self, frame: &Frame) -> Result<bool, Fault> {
        let number = frame.header.commit;
        if number < self.next {
            return Ok(true);
        }
        let size = byte_count(frame.header.frame_len()).get();
        if number > self.last || (size > self.left && !self.commits.is_empty()) {
            return Ok(false);
        }
        let (body, buffer_len) = (frame.body.clone(), frame.buffer_len);
        let body = body::read_from(&frame.header, body, buffer_len, Wanted::Every)?;
        let Commit { entries, state } = body;
        self.commits.push(StoredCommit { number, entries, state });
        self.left = self.left.saturating_sub(size);
        self.next = number.after(1);
        Ok(true)
    }
}

/// What is left of the commits from the one at `place` on, whose frame is not valid; up to the
/// next commit whose frame has a valid header, or to `until`. With it the position to go on at.
fn salvage<F: MediumFile>(
    source: &Source<F>,
    place: Place,
    until: CommitNumber,
) -> Result<(QuarantinedCommits, u64), MediumError> {
    let Place { commit: from, position } = place;
    let mut walk = Salvage::new(source.file.clone(), source.nonce, position, source.end);
    let mut own: Option<FrameHeader> = None;
    let mut resume = source.end;
    let mut left = QuarantinedCommits {
        file: source.name.to_string(),
        from,
        until,
        entries: Vec::new(),
        state: Vec::new(),
        lost: LostParts::Unknown,
    };
    while let Some(piece) = walk.step()? {
        if own.as_ref().is_some_and(|header| body_end(header) <= piece.position()) {
            resume = piece.position();
            break;
        }
        match piece {
            Piece::Lost(_) => {}
            Piece::Frame(header) => match header.kind {
                FrameKind::Commit if is_own(source.kind, &header, place) => own = Some(header),
                FrameKind::Commit => {
                    (left.until, resume) = (header.commit, header.position);
                    break;
                }
                FrameKind::Seal | FrameKind::Chain => {}
            },
            Piece::Part(FoundPart { part: Part::Entry(partition, entry), .. }) => {
                left.entries.push((partition, entry));
            }
            Piece::Part(FoundPart { part: Part::Change(change), .. }) => left.state.push(change),
        }
    }
    if let Some(header) = own {
        (left.from, left.until) = (header.commit, header.commit.after(1));
        left.lost = lost_of(&header, &left);
    }
    debug_assert!(left.from < left.until, "a replay goes on");
    Ok((left, resume))
}

/// Whether a valid header is that of the commit expected at a place. In a file that cleaning wrote
/// that is the next one there, whatever its number.
fn is_own(kind: FileKind, header: &FrameHeader, place: Place) -> bool {
    match kind {
        FileKind::Journal => header.commit == place.commit,
        FileKind::Cold => header.position == place.position,
    }
}

fn body_end(header: &FrameHeader) -> u64 {
    header.position + byte_count(header.frame_len()).get()
}

fn lost_of(header: &FrameHeader, left: &QuarantinedCommits) -> LostParts {
    let entries = header.entries.checked_sub(left.entries.len());
    let changes = header.changes.checked_sub(left.state.len());
    match (entries, changes) {
        (Some(entries), Some(changes)) if entries + changes > 0 => {
            LostParts::Counted { entries, changes }
        }
        // More parts than the frame has, or none missing: something among them is not its own.
        (Some(_) | None, Some(_) | None) => LostParts::Unknown,
    }
}
