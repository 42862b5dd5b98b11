//! Reads a partition's entries of one block, and nothing of others but where their parts end.
//!
//! What another partition's part says about its length is believed without a look at its checksum.
//! Where that is wrong the walk goes astray: it meets something that is not valid, or the offsets
//! of what it finds have a hole. Both are noticed, and the block is then read by
//! [`crate::quarantine`], which checks everything.

use bytes::Bytes;
use headland_event::{Entry, TopicPartition};

use crate::body::{self, PART_HEADER_LEN};
use crate::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind};
use crate::gather::{Gathering, Offered};
use crate::group::byte_count;
use crate::index::Stretch;
use crate::medium::{MediumError, MediumFile};
use crate::window::Window;

/// How the walk over a stretch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Ended {
    /// At its end; later stretches hold more.
    Whole,
    /// At the limit of what is gathered.
    Full,
    /// At bytes that are not what they should be, or at offsets that are missing.
    Astray,
}

/// The partition whose entries are wanted.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    partition: &'a TopicPartition,
    prefix: Bytes,
}

impl<'a> Target<'a> {
    pub(crate) fn new(partition: &'a TopicPartition) -> Self {
        Self { partition, prefix: body::prefix_of(partition) }
    }

    pub(crate) const fn partition(&self) -> &'a TopicPartition {
        self.partition
    }
}

/// Gathers the entries of a stretch.
///
/// Cost: one read for the part of a large entry; for small ones one of the rest of the block, and
/// one of a frame's header where that lies before it.
pub(crate) fn gather<F: MediumFile>(
    stretch: &Stretch<F>,
    target: &Target<'_>,
    gathering: &mut Gathering,
) -> Result<Ended, MediumError> {
    gathering.begin(stretch.base);
    match Walk::new(stretch, target).gather(stretch, gathering) {
        Ok(ended) => Ok(ended),
        Err(Stop::Astray) => Ok(Ended::Astray),
        Err(Stop::Medium(error)) => Err(error),
    }
}

/// What ends a walk before its end.
#[derive(Debug)]
enum Stop {
    Astray,
    Medium(MediumError),
}

impl From<MediumError> for Stop {
    fn from(error: MediumError) -> Self {
        Self::Medium(error)
    }
}

/// A walk from part to part.
#[derive(Debug)]
struct Walk<'a, F> {
    target: &'a Target<'a>,
    window: Window<F>,
    nonce: u64,
    at: u64,
    until: u64,
    frame_end: u64,
    entries_left: usize,
}

impl<'a, F: MediumFile> Walk<'a, F> {
    /// Starts at the first entry of a stretch.
    fn new(stretch: &Stretch<F>, target: &'a Target<'a>) -> Self {
        let Stretch { source, place, until, .. } = stretch;
        let (end, nonce, until) = (source.end, source.nonce, (*until).min(source.end));
        let window = Window::new(source.file.clone(), end).with_horizon(until);
        Self { target, window, nonce, at: place.part, until, frame_end: end, entries_left: 1 }
    }

    fn gather(&mut self, stretch: &Stretch<F>, gathering: &mut Gathering) -> Result<Ended, Stop> {
        let first = self.entry()?;
        if first.base != stretch.base {
            return Err(Stop::Astray);
        }
        let mut offered = gathering.offer(first);
        if self.at < self.until {
            // Only now: a large entry is followed by no other in its block.
            self.enter_behind(stretch.place.frame, stretch.place.index)?;
        }
        loop {
            match offered {
                Offered::On => {}
                Offered::Full => return Ok(Ended::Full),
                Offered::Behind(_) => return Err(Stop::Astray),
            }
            let Some(entry) = self.next_entry()? else { return Ok(Ended::Whole) };
            offered = gathering.offer(entry);
        }
    }

    /// Takes up in the frame at `frame`, behind its entry number `index`.
    fn enter_behind(&mut self, frame: u64, index: u32) -> Result<(), Stop> {
        let bytes = self.window.peek(frame, FRAME_HEADER_LEN)?;
        let header = self.header(bytes, frame)?;
        let behind = usize::try_from(index).unwrap_or(usize::MAX).saturating_add(1);
        self.entries_left = header.entries.saturating_sub(behind);
        self.frame_end = frame + byte_count(header.frame_len()).get();
        Ok(())
    }

    /// Enters the frame at this place.
    fn enter(&mut self) -> Result<(), Stop> {
        let bytes = self.window.view(self.at, FRAME_HEADER_LEN)?;
        let header = self.header(bytes, self.at)?;
        self.frame_end = self.at + byte_count(header.frame_len()).get();
        self.entries_left = header.entries;
        self.at = match header.kind {
            FrameKind::Commit => self.at + byte_count(FRAME_HEADER_LEN).get(),
            FrameKind::Seal | FrameKind::Chain => self.frame_end,
        };
        Ok(())
    }

    fn header(&self, bytes: Option<Bytes>, at: u64) -> Result<FrameHeader, Stop> {
        let header = bytes.and_then(|bytes| FrameHeader::decode(bytes, at).ok());
        header.filter(|header| header.nonce == self.nonce).ok_or(Stop::Astray)
    }

    /// The next entry of the target whose part begins in the stretch.
    fn next_entry(&mut self) -> Result<Option<Entry>, Stop> {
        loop {
            if self.entries_left == 0 {
                self.at = self.at.max(self.frame_end);
            }
            if self.at >= self.until {
                return Ok(None);
            }
            if self.entries_left == 0 {
                self.enter()?;
                continue;
            }
            let prefix = &self.target.prefix;
            let head = self.window.view(self.at, PART_HEADER_LEN + prefix.len())?;
            if head.is_some_and(|head| head.ends_with(prefix)) {
                return self.entry().map(Some);
            }
            let length = self.part_len()?;
            self.skip(length);
        }
    }

    /// The target's entry at this place, which is then behind.
    fn entry(&mut self) -> Result<Entry, Stop> {
        let length = self.part_len()?;
        let part = self.window.view(self.at, length)?.ok_or(Stop::Astray)?;
        let read = body::read_entry_of(self.target.partition, part, self.window.buffer_len());
        let entry = read.ok().flatten().ok_or(Stop::Astray)?;
        self.skip(length);
        Ok(entry)
    }

    fn skip(&mut self, length: usize) {
        debug_assert!(self.entries_left > 0, "a frame has as many entries as its header says");
        self.at += byte_count(length).get();
        self.entries_left -= 1;
    }

    /// Bytes of the part at this place, which must fit its frame.
    fn part_len(&mut self) -> Result<usize, Stop> {
        let head = self.window.view(self.at, PART_HEADER_LEN)?.ok_or(Stop::Astray)?;
        let length = head.last_chunk().map(|raw| u32::from_be_bytes(*raw));
        let whole = length
            .and_then(|length| usize::try_from(length).ok())
            .and_then(|length| length.checked_add(PART_HEADER_LEN));
        let room = self.frame_end.saturating_sub(self.at);
        whole.filter(|whole| byte_count(*whole).get() <= room).ok_or(Stop::Astray)
    }
}
