//! Walks the frames of one file, front to back.

use bytes::Bytes;
use headland_event::CommitNumber;

use crate::fault::Fault;
use crate::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind};
use crate::group::byte_count;
use crate::index::FileKind;
use crate::medium::{MediumError, MediumFile};
use crate::window::Window;

/// A frame whose header is valid for its place; its body is not checked yet.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    pub(crate) body: Bytes,
    /// Length of the buffer that the body shares.
    pub(crate) buffer_len: usize,
}

/// What stands at the cursor.
#[derive(Debug)]
pub(crate) enum Step {
    /// A frame; the cursor moved past it.
    Frame(Frame),
    /// The end of what the cursor may read.
    End,
    /// No valid frame; the cursor stays.
    Invalid(Fault),
}

/// Which commit the next frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextCommit {
    /// Whatever it says: a reader comes from a point that knows only where the frame is.
    Any,
    /// Exactly this one.
    Exactly(CommitNumber),
    /// This one or a later one, in a file that cleaning wrote.
    AtLeast(CommitNumber),
}

impl NextCommit {
    /// The commits from `first` on, of a file of this kind.
    pub(crate) const fn of(kind: FileKind, first: CommitNumber) -> Self {
        match kind {
            FileKind::Journal => Self::Exactly(first),
            FileKind::Cold => Self::AtLeast(first),
        }
    }

    fn check(self, found: CommitNumber) -> Result<(), Fault> {
        let expected = match self {
            Self::Any => return Ok(()),
            Self::AtLeast(first) if found >= first => return Ok(()),
            Self::Exactly(number) if found == number => return Ok(()),
            Self::AtLeast(number) | Self::Exactly(number) => number.get(),
        };
        Err(Fault::Mismatch { field: "commit", found: found.get(), expected })
    }

    const fn past(self, found: CommitNumber) -> Self {
        match self {
            Self::Any => Self::Any,
            Self::Exactly(_) => Self::Exactly(found.after(1)),
            Self::AtLeast(_) => Self::AtLeast(found.after(1)),
        }
    }
}

/// Reads frames in chunks; bodies share the chunk's memory.
#[derive(Debug)]
pub(crate) struct Cursor<F> {
    window: Window<F>,
    nonce: u64,
    next: NextCommit,
    at: u64,
}

impl<F: MediumFile> Cursor<F> {
    /// Reads frames of the file with `nonce` in `at..end`, the first of them commit `next`.
    pub(crate) const fn new(file: F, nonce: u64, next: NextCommit, at: u64, end: u64) -> Self {
        Self { window: Window::new(file, end), nonce, next, at }
    }

    /// Position of the next frame.
    pub(crate) const fn position(&self) -> u64 {
        self.at
    }

    /// Reads the next frame.
    pub(crate) fn step(&mut self) -> Result<Step, MediumError> {
        if self.at >= self.window.end() {
            return Ok(Step::End);
        }
        let Some(bytes) = self.window.view(self.at, FRAME_HEADER_LEN)? else {
            return Ok(Step::Invalid(self.short(FRAME_HEADER_LEN)));
        };
        let header = match FrameHeader::decode(bytes, self.at).and_then(|h| self.belongs(h)) {
            Ok(header) => header,
            Err(fault) => return Ok(Step::Invalid(fault)),
        };
        let Some(frame) = self.window.view(self.at, header.frame_len())? else {
            return Ok(Step::Invalid(self.short(header.frame_len())));
        };
        self.at += byte_count(header.frame_len()).get();
        match header.kind {
            FrameKind::Commit => self.next = self.next.past(header.commit),
            FrameKind::Seal | FrameKind::Chain => {}
        }
        let (body, buffer_len) = (frame.slice(FRAME_HEADER_LEN..), self.window.buffer_len());
        Ok(Step::Frame(Frame { header, body, buffer_len }))
    }

    fn belongs(&self, header: FrameHeader) -> Result<FrameHeader, Fault> {
        if header.nonce != self.nonce {
            let (found, expected) = (header.nonce, self.nonce);
            return Err(Fault::Mismatch { field: "nonce", found, expected });
        }
        self.next.check(header.commit)?;
        Ok(header)
    }

    fn short(&self, length: usize) -> Fault {
        Fault::Short { needed: byte_count(length).get(), left: self.window.end() - self.at }
    }
}
