//! Puts cold files in the place of closed ones, or drops these.
//!
//! The order is what makes it safe: the cold file and its name are durable, then the chain that
//! names it and a seal behind that, and only then anything is removed that the chain no longer
//! names. A crash in between leaves files that no chain names, which the next open removes.
//!
//! # What the cleaner keeps
//! The journal cannot check these, and a reader relies on them:
//!
//! - A commit keeps its number, an entry its base offset, its dot and its stamp, and both their
//!   order. A batch may lose records when those that are left keep their offsets.
//! - Whoever replays the journal from its start ends at the same state: of the changes of a key
//!   all may go but the last one; a deletion may go when no older value is in any file before.
//! - Nothing goes that the state cache, a snapshot, or a receiver within its retention still has
//!   to replay.
//! - Between looking at a file and installing its replacement nobody else installs one.
//!
//! A file that is written anew because lost entries came back ([`crate::refill`]) holds more than
//! the one before it did. What it holds beyond that was named as lost, and what is still lost is
//! named in the same chain.

use std::ops::RangeInclusive;
use std::sync::Arc;

use headland_event::{ByteCount, CommitNumber, EventTime, Offset, TopicPartition};

use crate::chain::{ChainPlace, file_name};
use crate::cold::{ColdFile, ColdName, ColdWriter};
use crate::commit::Priority;
use crate::frame::SEAL_LEN;
use crate::group::byte_count;
use crate::index::{FileKind, Index, Mend, Segment, Source};
use crate::journal::{Journal, refused};
use crate::log::AppendError;
use crate::medium::{Medium, MediumError, MediumFile};

/// What a closed file holds of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldShare {
    pub(crate) partition: TopicPartition,
    /// First offset.
    pub(crate) base: Offset,
    /// Offset after the last record.
    pub(crate) end: Offset,
    /// Largest event time of a record.
    pub(crate) time: EventTime,
    /// Bytes of its entries' parts; the rest of a file is state and frames.
    pub(crate) bytes: ByteCount,
}

/// A closed file, as cleaning looks at it.
#[derive(Debug, Clone)]
pub(crate) struct ClosedFile<F> {
    pub(crate) source: Source<F>,
    /// Number of the first commit that may be in it: what it is called in a [`Replacement`].
    pub(crate) base: CommitNumber,
    /// Number of its last commit.
    pub(crate) last: CommitNumber,
    /// In the order in which partitions were first seen.
    pub(crate) shares: Vec<HeldShare>,
    /// Where it ended once: behind the end of its source when it was cut short since.
    pub(crate) closed_at: u64,
    /// Whether something of it is lost, also where what is left reads well to its end.
    pub(crate) is_damaged: bool,
}

/// Closed files that follow each other, and what takes their place.
#[derive(Debug)]
pub(crate) struct Replacement<F> {
    /// [`ClosedFile::base`] of the first and of the last of them.
    pub(crate) files: RangeInclusive<CommitNumber>,
    /// `None` drops them.
    pub(crate) cold: Option<ColdFile<F>>,
    /// What that changes about what is lost; nothing where only what no longer counts goes.
    pub(crate) mend: Option<Mend>,
}

impl<F: Clone> Replacement<F> {
    /// Puts the cold file in an index; returns the files that it takes the place of.
    fn apply(&self, index: &mut Index<F>) -> Vec<Arc<Segment<F>>> {
        let cold = self.cold.as_ref().map(|ColdFile { source, number, summary }| {
            index.segment_of(source.clone(), *number, summary.clone())
        });
        let replaced = index.replace(self.files.clone(), cold);
        if let Some(mend) = &self.mend {
            index.mend(mend);
        }
        replaced
    }
}

impl<M: Medium> Journal<M> {
    /// The closed files in the order of their commits.
    pub(crate) fn closed_files(&self) -> Vec<ClosedFile<M::File>> {
        let index = self.shared.read();
        index.closed().map(|segment| closed_file(&index, segment)).collect()
    }

    /// Begins a cold file with room for `room` bytes, to replace files from `base` on.
    ///
    /// # Errors
    /// [`MediumError::Full`] when there is no room; others when the medium fails.
    pub(crate) fn begin_cold(
        &mut self,
        base: CommitNumber,
        room: ByteCount,
    ) -> Result<ColdWriter<M::File>, MediumError> {
        let number = self.next_file;
        self.next_file += 1;
        let nonce = self.next_nonce();
        let file = self.medium.create(&file_name(FileKind::Cold, number), room)?;
        let incarnation = self.incarnation;
        Ok(ColdWriter::new(file, ColdName { number, nonce, base, incarnation }))
    }

    /// Removes a cold file that will not be installed.
    pub(crate) fn discard_cold(&mut self, name: &str) {
        // Tried again by the next open; until then it costs room on the disk and nothing else.
        drop(self.medium.remove(name));
    }

    /// Makes replacements part of the journal, then removes the files that were replaced.
    ///
    /// Cost: one barrier for the names, one for the chain and one for its seal, whatever the number
    /// of replacements.
    /// Readers that are reading a replaced file read it to its end.
    ///
    /// # Errors
    /// [`AppendError`] when the chain and its seal are not certain to be durable. Then the journal
    /// goes on as before; the cold files have to stay where they are, because a crash may still
    /// bring the chain back that names them. The next open removes them if not.
    ///
    /// # Panics
    /// When replacements contradict the journal or each other: writing that would lose data.
    pub(crate) fn install(
        &mut self,
        replacements: Vec<Replacement<M::File>>,
    ) -> Result<(), AppendError> {
        if replacements.is_empty() {
            return Ok(());
        }
        self.medium.sync_names().map_err(AppendError::Medium)?;
        let mut next = self.shared.read().clone();
        for replacement in &replacements {
            replacement.apply(&mut next);
        }
        self.write_chain(&next)?;
        // Without it damage to the chain would pass for an unfinished write, and what the chain
        // before names is about to be removed.
        self.seal()?;
        let mut index = self.shared.write();
        let replaced: Vec<_> = replacements.iter().flat_map(|r| r.apply(&mut index)).collect();
        drop(index);
        // Should both frames of the chain be damaged one day, the one before is of no use from
        // here on. Without room for it the journal is as safe as its two frames are.
        drop(self.vouch());
        for file in replaced {
            // Tried again by the next open; until then it costs room on the disk and nothing else.
            drop(self.medium.remove(&file.source.name));
        }
        Ok(())
    }

    /// Makes the chain of another index durable, in the current file if it has room.
    fn write_chain(&mut self, next: &Index<M::File>) -> Result<(), AppendError> {
        let mut chain = next.chain();
        if let Some(current) = &self.current {
            // The file that holds a chain is not among those that it names.
            chain.files.retain(|file| file.nonce != current.nonce);
        }
        let size = ByteCount::new(chain.len());
        let Some(current) = self.current.as_mut().filter(|current| current.fits(size)) else {
            self.clear_group();
            // It makes room, so it may use what is kept for alerts.
            return self.make_durable_in_new_file(Priority::Alerts, next.chain(), &[]);
        };
        let place = ChainPlace {
            nonce: current.nonce,
            position: current.end,
            durable: current.end,
            next: next.last().after(1),
        };
        let frames = chain.encode(place);
        debug_assert!(current.end + size.get() + SEAL_LEN <= current.room, "the chain fits");
        let written = current
            .file
            .write_at(ByteCount::new(current.end), &frames)
            .and_then(|()| current.file.sync());
        if let Err(error) = written {
            self.give_up_file();
            return Err(refused(error, size));
        }
        current.end += byte_count(frames.len()).get();
        self.shared.write().extend(current.end);
        Ok(())
    }
}

fn closed_file<F: Clone>(index: &Index<F>, segment: &Segment<F>) -> ClosedFile<F> {
    let shares = segment.shares.iter().filter_map(|(id, share)| {
        Some(HeldShare {
            partition: index.name(*id)?.clone(),
            base: share.base,
            end: share.end,
            time: share.time,
            bytes: share.bytes,
        })
    });
    let (source, base, last) = (segment.source.clone(), segment.base, segment.last);
    let closed_at = segment.member().end;
    let (shares, is_damaged) = (shares.collect(), segment.is_damaged);
    ClosedFile { source, base, last, shares, closed_at, is_damaged }
}

#[cfg(test)]
mod tests;
