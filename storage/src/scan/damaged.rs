//! Takes in what is left of a stretch of a file that was durable and is damaged.
//!
//! What is lost of a partition lies between the valid entries around it; readers name it so. Only
//! behind the last valid entry of a partition nothing says how much was lost there. So the bytes
//! that were lost bound how many records they can have held, as does what the file says that it
//! gives at most, and no offset in that range is given again.

use std::collections::BTreeSet;
use std::ops::Range;

use headland_event::limits::BATCH_RECORDS_LIMIT;

use crate::allowance::Allowance;
use crate::body::Part;
use crate::frame::{FrameHeader, FrameKind};
use crate::group::byte_count;
use crate::index::{Index, PartitionId, Segment};
use crate::medium::{MediumError, MediumFile};
use crate::offsets::span_of;
use crate::points::EntryPlace;
use crate::salvage::{FoundPart, Piece, Salvage};

/// Bytes of the smallest entry: the fields around a batch, and the batch's own header.
const ENTRY_BYTES_MIN: u64 = 100;

/// What was lost in a stretch of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Loss {
    /// No more records than this were lost behind the last valid entry of any partition.
    pub(crate) records_max: u64,
    /// Partitions with a valid entry behind all that was lost: their ends are known.
    pub(crate) intact: BTreeSet<PartitionId>,
    /// Headers of chain frames, whose bodies are not checked yet.
    pub(crate) chains: Vec<FrameHeader>,
}

impl Loss {
    /// What so many bytes can have held.
    const fn of_bytes(lost: u64) -> Self {
        let records_max = lost.div_ceil(ENTRY_BYTES_MIN).saturating_mul(BATCH_RECORDS_LIMIT as u64);
        Self { records_max, intact: BTreeSet::new(), chains: Vec::new() }
    }

    /// The same of a file that gave no more offsets than it allows for.
    pub(crate) fn within(mut self, allowance: Allowance) -> Self {
        self.records_max = self.records_max.min(allowance.offsets());
        self
    }

    /// What was lost here and in a range behind it.
    pub(crate) fn then(mut self, later: Self) -> Self {
        let Self { records_max, mut intact, mut chains } = later;
        if records_max == 0 {
            intact.append(&mut self.intact);
        }
        chains.extend(self.chains);
        Self { records_max: self.records_max.saturating_add(records_max), intact, chains }
    }
}

/// As [`take_in`], of a file that may be shorter than the range: what it was cut short of is lost.
pub(crate) fn take_in_up_to<F: MediumFile>(
    index: &mut Index<F>,
    segment: &mut Segment<F>,
    range: Range<u64>,
    size: u64,
) -> Result<Loss, MediumError> {
    let end = range.end.min(size).max(range.start);
    let loss = take_in(index, segment, range.start..end)?;
    let missing = range.end.saturating_sub(end);
    Ok(if missing == 0 { loss } else { loss.then(Loss::of_bytes(missing)) })
}

/// Adds the commits and entries to a segment that are valid in a range of its file's positions.
///
/// Commits whose frames are lost leave gaps in the numbers.
pub(crate) fn take_in<F: MediumFile>(
    index: &mut Index<F>,
    segment: &mut Segment<F>,
    range: Range<u64>,
) -> Result<Loss, MediumError> {
    let (file, nonce) = (segment.source.file.clone(), segment.source.nonce);
    let mut walk = Salvage::new(file, nonce, range.start, range.end);
    let mut taking = Taking {
        index,
        segment,
        frame: Place::lost_at(range.start),
        loss: Loss::default(),
        until: range.end,
    };
    while let Some(piece) = walk.step()? {
        if taking.frame.end <= piece.position() {
            taking.leave_frame();
        }
        match piece {
            Piece::Frame(header) => taking.enter_frame(&header),
            Piece::Part(found) => taking.part(found),
            Piece::Lost(gap) => taking.lost(gap.from, gap.until),
        }
    }
    taking.leave_frame();
    let loss = taking.loss;
    segment.extend(segment.source.end.max(range.end));
    Ok(loss)
}

/// The frame that the walk is in, or the place where its header should be.
struct Place {
    position: u64,
    /// End of the body; the end of all positions where the header is lost.
    end: u64,
    entries: Option<usize>,
    found: usize,
    lost_bytes: u64,
    /// What was intact before anything was lost in this frame.
    intact: BTreeSet<PartitionId>,
}

impl Place {
    const fn lost_at(position: u64) -> Self {
        let (end, entries, found, lost_bytes) = (u64::MAX, None, 0, 0);
        Self { position, end, entries, found, lost_bytes, intact: BTreeSet::new() }
    }
}

struct Taking<'a, F> {
    index: &'a mut Index<F>,
    segment: &'a mut Segment<F>,
    frame: Place,
    loss: Loss,
    /// End of the positions taken in: a frame may claim to go on behind it.
    until: u64,
}

impl<F: MediumFile> Taking<'_, F> {
    fn enter_frame(&mut self, header: &FrameHeader) {
        // What was lost between frames has no end of its own.
        self.leave_frame();
        let (position, end) = (header.position, header.end().min(self.until));
        match header.kind {
            FrameKind::Commit => {
                self.frame =
                    Place { end, entries: Some(header.entries), ..Place::lost_at(position) };
                if self.segment.last < header.commit {
                    self.segment.commit(header.commit, (position, end), []);
                }
            }
            FrameKind::Seal | FrameKind::Chain => {
                if header.kind == FrameKind::Chain {
                    self.loss.chains.push(header.clone());
                }
                self.frame = Place { end, entries: Some(0), ..Place::lost_at(position) };
            }
        }
    }

    /// Counts what was lost in the frame that ends here, or between frames.
    fn leave_frame(&mut self) {
        let Place { entries, found, lost_bytes, .. } = self.frame;
        let most = lost_bytes.div_ceil(ENTRY_BYTES_MIN);
        let lost = match entries {
            Some(entries) => byte_count(entries.saturating_sub(found)).get().min(most),
            None => most,
        };
        if lost > 0 {
            let records = lost.saturating_mul(byte_count(BATCH_RECORDS_LIMIT).get());
            self.loss.records_max = self.loss.records_max.saturating_add(records);
        } else {
            // Only changes of state were lost, or nothing.
            self.loss.intact.append(&mut self.frame.intact);
        }
        self.frame = Place::lost_at(self.frame.end.min(u64::MAX - 1));
    }

    fn lost(&mut self, from: u64, until: u64) {
        if self.frame.entries.is_none() {
            self.frame.position = from;
        }
        self.frame.lost_bytes += until - from;
        self.frame.intact.append(&mut self.loss.intact);
    }

    fn part(&mut self, found: FoundPart) {
        let FoundPart { position, length, part } = found;
        let (partition, entry) = match part {
            Part::Entry(partition, entry) => (partition, entry),
            Part::Change(_) => return,
        };
        let id = self.index.intern(&partition);
        let held = self.segment.shares.get(&id).map(|share| share.end);
        if held.is_some_and(|end| entry.base < end) || position <= self.frame.position {
            return;
        }
        let place = EntryPlace {
            frame: self.frame.position,
            part: position,
            length: u32::try_from(length).unwrap_or(u32::MAX),
            // Lower than it was where an entry before it is lost: a reader that trusts it goes
            // astray in the changes behind the entries, and searches.
            index: u32::try_from(self.frame.found).unwrap_or(u32::MAX),
        };
        self.segment.add(&span_of(id, &entry, place));
        self.frame.found += 1;
        self.loss.intact.insert(id);
    }
}
