//! Replays commits in order, whole, and names those that lost a part.

use headland_event::{ByteCount, CommitNumber, Entry, TopicPartition};

use crate::body::{self, Part, Wanted};
use crate::commit::{StateChange, StoredCommit};
use crate::cursor::{Cursor, Frame, NextCommit, Step};
use crate::fault::Fault;
use crate::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind};
use crate::group::byte_count;
use crate::index::{CommitStretch, FileKind, Source};
use crate::log::{LostParts, QuarantinedCommits, ReadError, Replayed};
use crate::lookup::Shared;
use crate::medium::{MediumError, MediumFile};
use crate::salvage::{FoundPart, Gap, Piece, Salvage};

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
) -> Result<Replayed, ReadError> {
    let next = from.max(CommitNumber::new(1));
    let behind = last.after(1).max(next);
    let mut gathered = Gathered { commits: Vec::new(), next, last, left: limit.get() };
    let mut is_over = true;
    while gathered.next <= last {
        let Some(stretch) = shared.commits_from(gathered.next)? else { break };
        let before = gathered.next;
        match gathered.file(&stretch)? {
            Ended::Whole => {}
            Ended::Full | Ended::Astray(_) => {
                is_over = false;
                break;
            }
        }
        debug_assert!(gathered.next > before, "the file of a commit holds it, or a later one");
        if gathered.next == before {
            break;
        }
    }
    let Gathered { commits, next, .. } = gathered;
    // Where nothing was found all is cleaned up to the last commit: so a caller always goes on.
    let next = if is_over || commits.is_empty() { behind } else { next };
    debug_assert!(next > from || from > last, "a replay goes on");
    Ok(Replayed { commits, next })
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
                // The file is known to have held more commits than are left of it.
                Ended::Whole if self.next < until => {
                    Place { commit: self.next, position: source.end }
                }
                ended @ (Ended::Whole | Ended::Full) => return Ok(ended),
            };
            let Salvaged { left, resume, health } =
                salvage(source, astray, until).map_err(ReadError::Medium)?;
            debug_assert!(resume >= astray.position, "a walk past damage goes on");
            place = Place { commit: left.until, position: resume };
            // The walk began at a point before the first commit wanted, and so may the damage; and
            // a chain that is lost before the first commit of a file takes none with it.
            if left.until > self.next.max(left.from) {
                match health {
                    Health::Damaged if !self.commits.is_empty() => {
                        return Ok(Ended::Astray(astray));
                    }
                    Health::Damaged => return Err(ReadError::QuarantinedCommits(Box::new(left))),
                    Health::Whole => self.push(left.from, left.entries, left.state),
                }
            }
        }
    }

    fn push(
        &mut self,
        number: CommitNumber,
        entries: Vec<(TopicPartition, Entry)>,
        state: Vec<StateChange>,
    ) {
        self.commits.push(StoredCommit { number, entries, state });
        self.next = number.after(1);
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
        self.left = self.left.saturating_sub(size);
        self.push(number, body.entries, body.state);
        Ok(true)
    }
}

/// Whether commits that were found past damage are all there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// Only the header of the frame is damaged, and its number is known from its neighbours.
    Whole,
    Damaged,
}

/// What is left of commits, none when only frames without commits were damaged.
struct Salvaged {
    left: QuarantinedCommits,
    /// Position at which the next frame should be.
    resume: u64,
    health: Health,
}

/// What is left of the commits from the one at `place` on, whose frame is not valid; up to the
/// next commit whose frame has a valid header, or to `until`.
fn salvage<F: MediumFile>(
    source: &Source<F>,
    place: Place,
    until: CommitNumber,
) -> Result<Salvaged, MediumError> {
    let Place { commit: from, position } = place;
    let mut walk = Salvage::new(source.file.clone(), source.nonce, position, source.end);
    let mut own: Option<FrameHeader> = None;
    let mut gaps = Vec::new();
    let (entries, state, file) = (Vec::new(), Vec::new(), source.name.to_string());
    let lost = LostParts::Unknown;
    let left = QuarantinedCommits { file, from, until, entries, state, lost };
    let mut salvaged = Salvaged { left, resume: source.end, health: Health::Damaged };
    let Salvaged { left, resume, health } = &mut salvaged;
    while let Some(piece) = walk.step()? {
        if own.as_ref().is_some_and(|header| header.end() <= piece.position()) {
            *resume = piece.position();
            break;
        }
        match piece {
            Piece::Lost(gap) => gaps.push(gap),
            Piece::Frame(header) => match header.kind {
                FrameKind::Commit if is_own(source.kind, &header, place) => own = Some(header),
                FrameKind::Commit => {
                    (left.until, *resume) = (header.commit, header.position);
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
    let header_gap = Gap { from: position, until: position + byte_count(FRAME_HEADER_LEN).get() };
    match own {
        Some(header) => {
            (left.from, left.until) = (header.commit, header.commit.after(1));
            left.lost = lost_of(&header, left);
        }
        None if gaps == [header_gap] && left.until == from.after(1) => *health = Health::Whole,
        None => {}
    }
    Ok(salvaged)
}

/// Whether a valid header is that of the commit expected at a place. In a file that cleaning wrote
/// that is the next one there, whatever its number.
fn is_own(kind: FileKind, header: &FrameHeader, place: Place) -> bool {
    match kind {
        FileKind::Journal => (header.commit, header.position) == (place.commit, place.position),
        FileKind::Cold => header.position == place.position,
    }
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
