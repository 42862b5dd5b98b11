//! Decides what to read of a file that grows, is truncated, rotated, or taken away.
//!
//! A path is a row of generations. As long as one is read, its file stays open, whatever name it
//! has by then; its successor is begun once that holds bytes and the old one has no more.

use std::collections::VecDeque;
use std::time::Duration;

use headland_event::{ByteCount, Monotonic};

use super::Chunk;
use super::generation::{FileId, Generation};
use super::text::{Taken, Text};
use crate::decode::Line;
use crate::outbox::FilePosition;

/// Most lines handed on at once: a commit of them stays well below its limit.
const LINES_LIMIT: usize = 1_000;

/// How often a file without news is looked at: well below what a person or a rule waits for.
const IDLE: Duration = Duration::from_millis(5);

/// The first wait after a file could not be read: a file that is being moved is back by then.
const RETRY_MIN: Duration = Duration::from_millis(500);

/// The longest wait after a file could not be read: what was mended is read within it.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Where a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// At the source's path.
    Path,
    /// Under another name in the same folder: the file of a generation.
    Renamed(Generation),
}

/// Work the caller does on behalf of a [`Follow`], in order.
#[derive(Debug)]
pub(super) enum Step {
    /// Open a file instead of the one that is open; answer with [`Follow::on_opened`] or
    /// [`Follow::on_failed`].
    Open(Place),
    /// Read the open file from there; answer with [`Follow::on_read`] or [`Follow::on_failed`].
    Read(ByteCount),
    /// Hand lines on.
    Take(Chunk),
    /// Tell the operator.
    Report(Change),
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Another file stands there; the one before was read to its end.
    Rotated,
    /// The file is shorter than what was read of it.
    Truncated,
    /// The file has other bytes where it was read last: it was truncated and grew since the last
    /// look, and what it held in between is not known.
    Overwritten,
    /// The file is not the one that was read before the agent started, and that one is gone.
    Exchanged,
}

/// A file that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    /// Which one it is.
    pub(super) file: FileId,
    /// Its length.
    pub(super) length: ByteCount,
    /// Its first bytes, as many as the position's generation is told by.
    pub(super) head: Vec<u8>,
    /// As many before the position.
    pub(super) tail: Vec<u8>,
}

/// What was found at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AtPath {
    /// Which file.
    pub(super) file: FileId,
    /// Its length.
    pub(super) length: ByteCount,
}

/// The answer to a [`Step::Read`]; the path was looked at after the bytes were read.
#[derive(Debug)]
pub(super) struct Read {
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// The open file's length.
    pub(super) length: ByteCount,
    /// What stands at the path now; `None` when nothing does or it cannot be seen.
    pub(super) at_path: Option<AtPath>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The file at the path is wanted.
    Opening,
    /// The file of the position is wanted, under another name.
    Searching,
    /// There is none: the bytes of the file at the path say whether it is a copy of it.
    Comparing,
    /// The file is read as it grows.
    Reading(FileId),
    /// The file has a successor and is read to its end.
    Finishing(FileId),
}

/// Follows one path.
#[derive(Debug)]
pub(super) struct Follow {
    state: State,
    position: FilePosition,
    text: Text,
    steps: VecDeque<Step>,
    /// When to go on; `None` while an answer is awaited.
    due: Option<Monotonic>,
    retry: Duration,
}

impl Follow {
    /// Goes on at `position`; the file may not exist yet.
    pub(super) fn new(position: FilePosition) -> Self {
        Self {
            state: State::Opening,
            position,
            text: Text::default(),
            steps: VecDeque::from([Step::Open(Place::Path)]),
            due: None,
            retry: RETRY_MIN,
        }
    }

    /// Up to where lines were taken.
    pub(super) const fn position(&self) -> FilePosition {
        self.position
    }

    /// The next piece of work; `None` while time has to pass or an answer is awaited.
    pub(super) fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When [`Self::on_timeout`] wants to be called; `None` while an answer is awaited.
    pub(super) const fn poll_timeout(&self) -> Option<Monotonic> {
        self.due
    }

    /// Advances to `now`; call it no later than [`Self::poll_timeout`].
    pub(super) fn on_timeout(&mut self, now: Monotonic) {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.go_on();
        }
    }

    /// A file could not be opened or read: it is opened again later, after waits that double.
    pub(super) fn on_failed(&mut self, now: Monotonic) {
        self.state = State::Opening;
        self.text = Text::default();
        self.due = Some(now.after(self.retry));
        self.retry = self.retry.saturating_mul(2).min(RETRY_MAX);
    }

    /// A file was opened, or there is none.
    pub(super) fn on_opened(&mut self, now: Monotonic, opened: Option<Opened>) {
        match (self.state, opened) {
            (State::Searching, Some(found)) if self.is_read(&found) => {
                // Whether it has a successor that holds bytes is seen when it is read.
                self.begin(&found);
            }
            (State::Searching, _) => {
                self.state = State::Comparing;
                self.go_on();
            }
            (_, None) => {
                self.state = State::Opening;
                self.due = Some(now.after(IDLE));
            }
            (State::Opening, Some(found)) if self.is_other_inode(&found) => {
                // The old file may stand under another name, with lines that were not read yet.
                self.state = State::Searching;
                self.go_on();
            }
            (_, Some(found)) => {
                if !self.is_read(&found) {
                    self.start_over(Change::Exchanged);
                }
                self.begin(&found);
            }
        }
    }

    /// Starts to read a file that was opened, at the position.
    fn begin(&mut self, found: &Opened) {
        let is_start = self.position.bytes == 0;
        self.text = if is_start { Text::default() } else { Text::behind(&found.head, &found.tail) };
        self.state = State::Reading(found.file);
        self.go_on();
    }

    /// The open file was read.
    pub(super) fn on_read(&mut self, now: Monotonic, read: Read) {
        let Read { bytes, length, at_path } = read;
        self.retry = RETRY_MIN;
        let Some(news) = bytes.strip_prefix(self.text.last_read().as_slice()) else {
            let is_shorter = length.get() < self.read_end();
            return self.on_overwritten(if is_shorter {
                Change::Truncated
            } else {
                Change::Overwritten
            });
        };
        if !news.is_empty() {
            self.text.push(news);
            self.take_lines();
            return self.go_on();
        }
        match self.state {
            State::Reading(file) if has_successor(file, at_path) => {
                // What was written to it until the successor was begun is read before.
                self.state = State::Finishing(file);
                self.go_on();
            }
            State::Finishing(_) => self.finish(),
            State::Opening | State::Searching | State::Comparing | State::Reading(_) => {
                self.due = Some(now.after(IDLE));
            }
        }
    }

    /// Whether an opened file is the one that was read up to the position.
    fn is_read(&self, opened: &Opened) -> bool {
        opened.length.get() >= self.position.bytes
            // A position that an earlier version wrote knows no more than its length.
            && self.position.generation.is_none_or(|it| it.holds(&opened.head, &opened.tail))
    }

    fn is_other_inode(&self, opened: &Opened) -> bool {
        self.position.generation.is_some_and(|before| !opened.file.has_inode_of(before))
    }

    /// The open file no longer has the bytes that were read last.
    fn on_overwritten(&mut self, change: Change) {
        // The rest of that line is gone: nobody may take its beginning for the whole.
        let cut = self.text.take_rest();
        let number = self.position.lines + 1;
        if let State::Finishing(_) = self.state {
            self.state = State::Opening;
            self.start_over(Change::Rotated);
        } else {
            self.start_over(change);
        }
        if let Some(Taken { bytes, length: _ }) = cut {
            let cut = Some(Line { bytes, number });
            let chunk = Chunk { lines: Vec::new(), cut, position: self.position };
            self.steps.push_back(Step::Take(chunk));
        }
        self.go_on();
    }

    /// The file has a successor and no more bytes: its last line may lack its line break.
    fn finish(&mut self) {
        if let Some(rest) = self.text.take_rest() {
            let line = self.line(&rest);
            self.take(vec![line]);
        }
        self.start_over(Change::Rotated);
        self.state = State::Opening;
        self.go_on();
    }

    fn start_over(&mut self, change: Change) {
        self.position = FilePosition::default();
        self.text = Text::default();
        self.steps.push_back(Step::Report(change));
    }

    /// Asks for what the state needs next.
    fn go_on(&mut self) {
        debug_assert!(self.due.is_none(), "an answer is awaited or time has to pass, not both");
        let step = match (self.state, self.position.generation) {
            (State::Searching, Some(generation)) => Step::Open(Place::Renamed(generation)),
            (State::Opening | State::Searching | State::Comparing, _) => Step::Open(Place::Path),
            (State::Reading(_) | State::Finishing(_), _) => {
                let known = u64::try_from(self.text.last_read().len()).unwrap_or(u64::MAX);
                debug_assert!(known <= self.read_end(), "what is known was read");
                Step::Read(ByteCount::new(self.read_end().saturating_sub(known)))
            }
        };
        self.steps.push_back(step);
    }

    /// Where the bytes that were read end.
    fn read_end(&self) -> u64 {
        self.position.bytes.saturating_add(self.text.pending_bytes())
    }

    fn take_lines(&mut self) {
        let mut lines = Vec::new();
        while let Some(taken) = self.text.take_line() {
            lines.push(self.line(&taken));
            if lines.len() == LINES_LIMIT {
                self.take(std::mem::take(&mut lines));
            }
        }
        if !lines.is_empty() {
            self.take(lines);
        }
    }

    /// Counts a line as taken.
    fn line(&mut self, Taken { bytes, length }: &Taken) -> Line {
        self.position.bytes = self.position.bytes.saturating_add(*length);
        self.position.lines += 1;
        let kept = super::trimmed(bytes).len();
        Line { bytes: bytes.slice(..kept), number: self.position.lines }
    }

    fn take(&mut self, lines: Vec<Line>) {
        debug_assert!(lines.len() <= LINES_LIMIT, "a chunk is bounded");
        self.position.generation = match self.state {
            State::Reading(file) | State::Finishing(file) => Some(self.text.generation(file)),
            State::Opening | State::Searching | State::Comparing => None,
        };
        self.steps.push_back(Step::Take(Chunk { lines, cut: None, position: self.position }));
    }
}

/// Whether another file was begun at the path: an empty one may be made before its writer turns
/// to it.
fn has_successor(file: FileId, at_path: Option<AtPath>) -> bool {
    at_path.is_some_and(|found| found.file != file && found.length > ByteCount::default())
}

#[cfg(test)]
mod tests;
