//! Reads a journal while its writer goes on.

use std::ops::Range;

use headland_event::{ByteCount, CommitNumber, Entry, Offset, TopicPartition};

use crate::body::{self, Wanted};
use crate::commit::{Commit, StoredCommit};
use crate::cursor::{Cursor, Frame, NextCommit, Step};
use crate::fault::{Corruption, Fault};
use crate::frame::FrameKind;
use crate::group::byte_count;
use crate::index::{CommitStretch, Source, Stretch};
use crate::log::{LogReader, ReadError};
use crate::lookup::Shared;
use crate::medium::MediumFile;
use crate::points::Seek;

/// Blocks looked at by one read: 4 MiB of the journal at most, however rare the partition is.
const BLOCKS_PER_READ: usize = 64;

/// Reads a journal while its writer goes on; clones are cheap and share everything.
#[derive(Debug)]
pub struct JournalReader<F> {
    shared: Shared<F>,
}

impl<F> Clone for JournalReader<F> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<F: MediumFile> JournalReader<F> {
    pub(crate) const fn new(shared: Shared<F>) -> Self {
        Self { shared }
    }
}

impl<F: MediumFile> LogReader for JournalReader<F> {
    fn end(&self, partition: &TopicPartition) -> Offset {
        self.shared.read().end(partition)
    }

    fn start(&self, partition: &TopicPartition) -> Offset {
        self.shared.read().start(partition)
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        self.shared.read().partitions()
    }

    fn read(
        &self,
        partition: &TopicPartition,
        from: Offset,
        limit: ByteCount,
    ) -> Result<Vec<Entry>, ReadError> {
        let blocks = self.shared.stretches(partition, Seek::Offset(from), BLOCKS_PER_READ)?;
        let mut found =
            EntriesFound { entries: Vec::new(), next: from, left: limit.get(), is_full: false };
        for Stretch { source, place, until, .. } in blocks {
            walk(&source, NextCommit::Any, place.frame..until, |frame| {
                let Commit { entries, .. } =
                    body::read(&frame.header, frame.body.clone(), Wanted::Of(partition))?;
                entries.into_iter().for_each(|(_, entry)| found.offer(entry));
                Ok(if found.is_full { Walk::Stop } else { Walk::On })
            })?;
            if found.is_full {
                break;
            }
        }
        Ok(found.entries)
    }

    fn replay(&self, from: CommitNumber, limit: ByteCount) -> Result<Vec<StoredCommit>, ReadError> {
        let last = self.last_commit();
        let mut next = from.max(CommitNumber::new(1));
        let mut left = limit.get();
        let mut commits = Vec::new();
        let mut is_full = false;
        while next <= last && !is_full {
            let Some(file) = self.shared.commits_from(next)? else { break };
            let CommitStretch { source, commit, frame } = file;
            let before = next;
            let first = NextCommit::of(source.kind, commit);
            walk(&source, first, frame..u64::MAX, |frame| {
                let number = frame.header.commit;
                if number < next {
                    return Ok(Walk::On);
                }
                let size = byte_count(frame.header.frame_len()).get();
                if number > last || (size > left && !commits.is_empty()) {
                    is_full = true;
                    return Ok(Walk::Stop);
                }
                let body = body::read(&frame.header, frame.body.clone(), Wanted::Every)?;
                let Commit { entries, state } = body;
                commits.push(StoredCommit { number, entries, state });
                left = left.saturating_sub(size);
                next = number.after(1);
                Ok(Walk::On)
            })?;
            debug_assert!(is_full || next > before, "the file of a commit holds it");
            if next == before {
                break;
            }
        }
        Ok(commits)
    }

    fn last_commit(&self) -> CommitNumber {
        self.shared.read().last()
    }
}

/// Entries gathered up to a limit.
struct EntriesFound {
    entries: Vec<Entry>,
    /// Entries that end at or before it are not wanted, or were met in a frame that began in one
    /// stretch and ended in the next.
    next: Offset,
    left: u64,
    is_full: bool,
}

impl EntriesFound {
    fn offer(&mut self, entry: Entry) {
        if self.is_full || entry.end() <= self.next {
            return;
        }
        let size = byte_count(entry.batch.as_bytes().len()).get();
        if size > self.left && !self.entries.is_empty() {
            self.is_full = true;
            return;
        }
        self.left = self.left.saturating_sub(size);
        self.next = entry.end();
        self.entries.push(entry);
    }
}

enum Walk {
    On,
    Stop,
}

/// Visits the commits whose frames start in a range of positions, in order.
fn walk<F: MediumFile>(
    source: &Source<F>,
    first: NextCommit,
    frames: Range<u64>,
    mut visit: impl FnMut(&Frame) -> Result<Walk, Fault>,
) -> Result<(), ReadError> {
    let Source { file, name, nonce, end, .. } = source;
    let mut cursor = Cursor::new(file.clone(), *nonce, first, frames.start, *end);
    while cursor.position() < frames.end {
        let at = cursor.position();
        let corrupt = |source| {
            let (file, position) = (name.to_string(), ByteCount::new(at));
            ReadError::Corrupt(Corruption { file, position, source })
        };
        let frame = match cursor.step().map_err(ReadError::Medium)? {
            Step::Frame(frame) => frame,
            Step::End => break,
            Step::Invalid(fault) => return Err(corrupt(fault)),
        };
        let walk = match frame.header.kind {
            FrameKind::Commit => visit(&frame).map_err(corrupt)?,
            FrameKind::Seal => Walk::On,
        };
        match walk {
            Walk::On => {}
            Walk::Stop => break,
        }
    }
    Ok(())
}
