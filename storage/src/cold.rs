//! Cold files: what is left of closed files after cleaning, written anew.
//!
//! A cold file has the layout of a journal file, without chain frames and seals: a header, frames
//! of commits with their own numbers and their entries' own offsets, and a directory. Commits and
//! entries may be missing. It is written as a whole and made durable before anything names it, so
//! nothing in it is ever in doubt.

use std::sync::Arc;

use headland_event::{ByteCount, CommitNumber, Incarnation};

use crate::allowance::Allowance;
use crate::chain::file_name;
use crate::commit::Commit;
use crate::frame::{FIRST_FRAME_AT, FileHeader, FileVersion, Link};
use crate::group::{Group, Place, byte_count};
use crate::index::{FileKind, Index, Segment, Source};
use crate::log::AppendError;
use crate::medium::{MediumError, MediumFile};
use crate::offsets::span_of;
use crate::summary::{Directory, Summary};

/// Bytes gathered before they are written: few calls, and little memory beside the largest commit.
const WRITE_BYTES: usize = 1 << 20;

/// Which cold file to write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ColdName {
    pub(crate) number: u64,
    pub(crate) nonce: u64,
    /// Number of the first commit of the first file that it replaces.
    pub(crate) base: CommitNumber,
    pub(crate) incarnation: Incarnation,
}

/// Writes a cold file front to back; needs neither the journal nor its lock meanwhile.
#[derive(Debug)]
pub(crate) struct ColdWriter<F> {
    /// Knows the partitions of this file only.
    index: Index<F>,
    segment: Segment<F>,
    group: Group,
    pending: Vec<u8>,
    /// Position of the first pending byte.
    written: u64,
}

/// A cold file that is whole, durable, and not yet part of the journal.
#[derive(Debug)]
pub(crate) struct ColdFile<F> {
    pub(crate) source: Source<F>,
    pub(crate) number: u64,
    pub(crate) summary: Summary,
}

impl<F: MediumFile> ColdWriter<F> {
    /// Begins an empty file.
    pub(crate) fn new(file: F, cold: ColdName) -> Self {
        let ColdName { number, nonce, base, incarnation } = cold;
        let header = FileHeader {
            version: FileVersion::Two,
            allowance: Allowance::UNKNOWN,
            number,
            nonce,
            base,
            incarnation,
            previous: Link::NONE,
            opening_end: FIRST_FRAME_AT,
        };
        let kind = FileKind::Cold;
        let name = Arc::from(file_name(kind, number));
        let source = Source { file, name, nonce, kind, end: FIRST_FRAME_AT };
        Self {
            index: Index::new(),
            segment: Segment::new(source, number, base),
            group: Group::default(),
            pending: header.encode().to_vec(),
            written: 0,
        }
    }

    /// Adds what is left of a commit behind those before it.
    ///
    /// # Errors
    /// [`AppendError`] when it is above the limit of a commit or the medium fails; the file is of
    /// no use then.
    pub(crate) fn push(&mut self, number: CommitNumber, left: &Commit) -> Result<(), AppendError> {
        assert!(number > self.segment.last, "commits of a cold file keep their order");
        let size = self.group.encode(std::slice::from_ref(left))?;
        let position = self.segment.source.end;
        let nonce = self.segment.source.nonce;
        self.group.place(Place { nonce, position, durable: 0, first: number });
        self.pending.extend_from_slice(self.group.bytes());
        let ids: Vec<_> = left.entries.iter().map(|(p, _)| self.index.intern(p)).collect();
        for frame in self.group.frames() {
            let entries = left.entries.iter().zip(&ids).zip(frame.places());
            let spans = entries.map(|(((_, entry), id), place)| span_of(*id, entry, place));
            self.segment.commit(number, (frame.position, frame.end), spans);
        }
        debug_assert!(self.segment.source.end == position + size.get(), "one frame per commit");
        if self.pending.len() >= WRITE_BYTES {
            self.flush().map_err(AppendError::Medium)?;
        }
        Ok(())
    }

    /// Name of the file.
    pub(crate) fn name(&self) -> Arc<str> {
        Arc::clone(&self.segment.source.name)
    }

    /// Bytes written so far, and to be written.
    pub(crate) const fn size(&self) -> ByteCount {
        ByteCount::new(self.segment.source.end)
    }

    fn flush(&mut self) -> Result<(), MediumError> {
        self.segment.source.file.write_at(ByteCount::new(self.written), &self.pending)?;
        self.written += byte_count(self.pending.len()).get();
        self.pending.clear();
        Ok(())
    }

    /// Writes the directory and makes the file durable; `None` when no commit was added.
    ///
    /// # Errors
    /// [`MediumError`] when that is not certain; the file is of no use then.
    pub(crate) fn finish(mut self) -> Result<Option<ColdFile<F>>, MediumError> {
        if !self.segment.has_commits() {
            return Ok(None);
        }
        self.flush()?;
        let Some(directory) = self.index.summary(&self.segment).directory() else {
            debug_assert!(false, "the points of a file that is being written are held");
            return Ok(None);
        };
        let Directory { bytes, summary } = directory;
        let Segment { source, number, .. } = self.segment;
        debug_assert!(self.written == source.end, "every frame was written");
        source.file.write_at(ByteCount::new(source.end), &bytes)?;
        source.file.truncate(ByteCount::new(source.end + byte_count(bytes.len()).get()))?;
        source.file.sync()?;
        Ok(Some(ColdFile { source, number, summary }))
    }
}
