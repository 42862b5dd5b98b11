//! Reads a journal while its writer goes on.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use headland_event::{ByteCount, CommitNumber, Entry, Offset, TopicPartition};

use crate::body::{self, Wanted};
use crate::commit::{Commit, StoredCommit};
use crate::cursor::{Cursor, Frame, Step};
use crate::fault::{Corruption, Fault};
use crate::frame::FrameKind;
use crate::group::byte_count;
use crate::index::{Index, Stretch};
use crate::log::{LogReader, ReadError};
use crate::medium::MediumFile;

/// Blocks looked at by one read: 4 MiB of the journal at most, however rare the partition is.
const BLOCKS_PER_READ: usize = 64;

/// The index behind a lock that is only ever held for look-ups and additions in memory.
#[derive(Debug)]
pub(crate) struct Shared<F>(Arc<RwLock<Index<F>>>);

impl<F> Clone for Shared<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F> Shared<F> {
    pub(crate) fn new(index: Index<F>) -> Self {
        Self(Arc::new(RwLock::new(index)))
    }

    // A panic under the lock is a broken invariant of the index; the writer that met it is gone,
    // and what readers find was committed before.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Index<F>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Index<F>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

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
        // All blocks are taken under one lock: a block fetched later could be one that the writer
        // began after filling up the block before it, and entries in between would be missed.
        let blocks = self.shared.read().blocks(partition, from, BLOCKS_PER_READ);
        let mut found = EntriesFound { entries: Vec::new(), left: limit.get(), is_full: false };
        for block in blocks {
            walk(&block, |frame| {
                let Commit { entries, .. } =
                    body::read(&frame.header, frame.body.clone(), Wanted::Of(partition))?;
                entries.into_iter().for_each(|(_, entry)| found.offer(entry, from));
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
            let Some(file) = self.shared.read().file_of(next) else { break };
            let before = next;
            walk(&file, |frame| {
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
    left: u64,
    is_full: bool,
}

impl EntriesFound {
    fn offer(&mut self, entry: Entry, from: Offset) {
        if self.is_full || entry.end() <= from {
            return;
        }
        let size = byte_count(entry.batch.as_bytes().len()).get();
        if size > self.left && !self.entries.is_empty() {
            self.is_full = true;
            return;
        }
        self.left = self.left.saturating_sub(size);
        self.entries.push(entry);
    }
}

enum Walk {
    On,
    Stop,
}

/// Visits the commits of a stretch, in order.
fn walk<F: MediumFile>(
    stretch: &Stretch<F>,
    mut visit: impl FnMut(&Frame) -> Result<Walk, Fault>,
) -> Result<(), ReadError> {
    let Stretch { file, name, nonce, commit, position, until, end } = stretch;
    let mut cursor = Cursor::new(file.clone(), *nonce, *commit, *position, *end);
    while cursor.position() < *until {
        let at = cursor.position();
        let corrupt = |source| {
            let (file, position) = (name.clone(), ByteCount::new(at));
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
