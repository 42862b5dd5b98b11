//! Finds valid frames and parts again behind damage.
//!
//! A healthy file is a walk: a frame's header says where its body ends, a part's where the next
//! one begins, and every step is checked. Where a step fails the walk is *lost*:
//!
//! - *Inside a frame* whose header is valid the body ends where the header says. The damaged
//!   part's own length is believed when a valid part, or the end of the body, stands where it
//!   points; else the first position at which a whole valid part stands is taken.
//! - *Between frames*, or in a body whose header is damaged, the next valid header of this file at
//!   its own position ends the search; what lies before it is searched for parts as a body is.
//!
//! A part's header says neither which file it is from nor where it stands, so bytes inside a
//! record's value may pass for one (a record that carries a piece of a journal). They are not
//! taken while the damaged part's own length tells where it ends. Where that length is damaged as
//! well nothing here can tell, so whoever asks checks that an entry's offsets are the missing ones.
//!
//! # Cost
//! One read of everything, one checksum of every part that is found. A candidate costs a look at
//! its first bytes, and a checksum only where its lengths agree with each other; the bytes of
//! candidates that turned out to be none are limited to [`WASTE_RATIO`] times what was searched
//! and [`WASTE_BYTES`], so crafted records cannot make the search quadratic. Above it nothing more
//! is searched inside parts, which gives up more but never invents. Memory: the largest part.

use bytes::Bytes;
use headland_event::ByteCount;

use crate::body::{self, Part};
use crate::frame::{FRAME_HEADER_LEN, FRAME_MAGIC, FrameHeader, FrameKind};
use crate::group::byte_count;
use crate::medium::{MediumError, MediumFile};
use crate::window::{CHUNK_LEN, Window};

/// Which bytes could be a part.
mod shape;

/// Bytes of false candidates examined per byte searched.
const WASTE_RATIO: u64 = 8;
/// Bytes of false candidates examined in any case: the largest commit.
const WASTE_BYTES: u64 = 16 << 20;

/// What stands in a file, in the order of positions. Together pieces cover all bytes walked, but
/// for the bodies of frames that hold no parts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one is looked at at a time, and most are parts: a box for each would cost more"
)]
pub(crate) enum Piece {
    /// A valid header of a frame; its parts follow, as far as they are valid.
    Frame(FrameHeader),
    /// A valid part.
    Part(FoundPart),
    /// Nothing valid; parts behind it may belong to a frame whose header lay in it.
    Lost(Gap),
}

impl Piece {
    pub(crate) const fn position(&self) -> u64 {
        match self {
            Self::Frame(header) => header.position,
            Self::Part(found) => found.position,
            Self::Lost(gap) => gap.from,
        }
    }
}

/// A valid part and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundPart {
    pub(crate) position: u64,
    /// Bytes of it, its header included.
    pub(crate) length: usize,
    pub(crate) part: Part,
}

/// Positions at which nothing valid stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) from: u64,
    pub(crate) until: u64,
}

/// How far a walk came.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one is looked at at a time, and most are pieces: a box for each would cost more"
)]
pub(crate) enum Walked {
    /// To the end of the next piece.
    Piece(Piece),
    /// It has searched so many bytes behind damage and found nothing yet.
    On(u64),
    /// To the end of the file.
    End,
}

/// What a part said of itself before it was damaged, as far as its header is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Bytes of its content.
    length: u32,
    /// Its checksum, as its header says.
    said: u32,
    /// The checksum of what stands behind that now. Only that in the header may be damaged.
    found: u32,
}

impl Claim {
    /// Whether a whole part is the one that stood there.
    pub(crate) fn is_of(&self, part: &[u8]) -> bool {
        let Some((crc, length)) = header_of(part) else { return false };
        length == self.length && (crc == self.said || crc == self.found)
    }
}

/// A search behind damage that is not over.
#[derive(Debug, Clone, Copy)]
enum Search {
    /// For a frame's header, from here on.
    Header { at: u64 },
    /// For a part from here on, behind one that says where it ends, if that is believed.
    Part { claimed: Option<u64>, at: u64 },
}

/// What a search came to.
enum Sought {
    At(u64),
    Nowhere,
    /// Nothing before this position.
    Until(u64),
}

/// Walks a file over healthy and damaged bytes alike.
#[derive(Debug)]
pub(crate) struct Salvage<F> {
    window: Window<F>,
    nonce: u64,
    from: u64,
    at: u64,
    /// End of the body that the walk is in; `at` and less when it stands between frames.
    body_end: u64,
    wasted: u64,
    search: Option<Search>,
}

impl<F: MediumFile> Salvage<F> {
    /// Walks `from..until` of the file with `nonce`; a frame should begin at `from`.
    pub(crate) const fn new(file: F, nonce: u64, from: u64, until: u64) -> Self {
        let window = Window::new(file, until);
        Self { window, nonce, from, at: from, body_end: from, wasted: 0, search: None }
    }

    /// The next piece, `None` at the end.
    ///
    /// # Errors
    /// [`MediumError`] when the file cannot be read; damage is a piece, not an error.
    pub(crate) fn step(&mut self) -> Result<Option<Piece>, MediumError> {
        loop {
            match self.walk(u64::MAX)? {
                Walked::Piece(piece) => return Ok(Some(piece)),
                Walked::On(_) => {}
                Walked::End => return Ok(None),
            }
        }
    }

    /// Goes on to the next piece, and searches about so many bytes behind damage at most; a later
    /// call goes on from there. Each search may waste as many as [`WASTE_BYTES`] on candidates.
    ///
    /// # Errors
    /// As for [`Self::step`].
    pub(crate) fn walk(&mut self, bytes: u64) -> Result<Walked, MediumError> {
        let (position, end) = (self.at, self.window.end());
        if position >= end {
            return Ok(Walked::End);
        }
        if self.search.is_none() && position >= self.body_end {
            if let Some(header) = self.header_at(position)? {
                self.enter(&header);
                return Ok(Walked::Piece(Piece::Frame(header)));
            }
            self.search = Some(Search::Header { at: position + 1 });
        }
        if let Some(Search::Header { at }) = self.search {
            self.body_end = match self.next_header(at, at.saturating_add(bytes))? {
                Sought::At(found) => found,
                Sought::Nowhere => end,
                Sought::Until(until) => {
                    self.search = Some(Search::Header { at: until });
                    return Ok(Walked::On(until - at));
                }
            };
            self.search = None;
        }
        let (claimed, at) = if let Some(Search::Part { claimed, at }) = self.search {
            (claimed, at)
        } else {
            if let Some((length, part)) = self.part_at(position, self.body_end)? {
                self.at += byte_count(length).get();
                return Ok(Walked::Piece(Piece::Part(FoundPart { position, length, part })));
            }
            (self.claimed_end(position, self.body_end)?, position + 1)
        };
        let limit = claimed.unwrap_or(self.body_end);
        self.at = match self.next_part(claimed, at, at.saturating_add(bytes))? {
            Sought::At(found) => found,
            Sought::Nowhere => limit,
            Sought::Until(until) => {
                self.search = Some(Search::Part { claimed, at: until });
                return Ok(Walked::On(until - at));
            }
        };
        self.search = None;
        debug_assert!(position < self.at && self.at <= self.body_end, "the walk goes on");
        Ok(Walked::Piece(Piece::Lost(Gap { from: position, until: self.at })))
    }

    /// What the one part said of itself that stood where nothing valid does; `None` where that
    /// cannot be told, or there were several.
    ///
    /// # Errors
    /// As for [`Self::step`].
    pub(crate) fn claim(&self, gap: Gap) -> Result<Option<Claim>, MediumError> {
        let Gap { from, until } = gap;
        let head = self.window.peek(from, body::PART_HEADER_LEN)?;
        let Some((said, length)) = head.as_deref().and_then(header_of) else { return Ok(None) };
        let part = byte_count(body::PART_HEADER_LEN).get() + u64::from(length);
        if length == 0 || from + part != until {
            return Ok(None);
        }
        let Some(part) = self.window.peek(from, ByteCount::new(part).as_len())? else {
            return Ok(None);
        };
        let found = part.get(body::CRC_LEN..).map_or(0, crc32c::crc32c);
        Ok(Some(Claim { length, said, found }))
    }

    /// Moves past a frame's header, and past a body that holds no parts.
    fn enter(&mut self, header: &FrameHeader) {
        let end = self.at + byte_count(header.frame_len()).get();
        self.body_end = end.min(self.window.end());
        self.at = match header.kind {
            FrameKind::Commit => self.at + byte_count(FRAME_HEADER_LEN).get(),
            FrameKind::Seal | FrameKind::Chain => self.body_end,
        };
    }

    fn header_at(&mut self, at: u64) -> Result<Option<FrameHeader>, MediumError> {
        let Some(bytes) = self.window.view(at, FRAME_HEADER_LEN)? else { return Ok(None) };
        let decoded = FrameHeader::decode(bytes, at);
        Ok(decoded.ok().filter(|header| header.nonce == self.nonce))
    }

    /// The first valid header in `from..until`, or a little behind that.
    fn next_header(&mut self, from: u64, until: u64) -> Result<Sought, MediumError> {
        let mut at = from;
        while let Some(chunk) = self.chunk_at(at, FRAME_MAGIC.len())? {
            if at >= until {
                return Ok(Sought::Until(at));
            }
            for (position, window) in (at..).zip(chunk.windows(FRAME_MAGIC.len())) {
                if window == FRAME_MAGIC && self.header_at(position)?.is_some() {
                    return Ok(Sought::At(position));
                }
            }
            at += CHUNK_LEN;
        }
        Ok(Sought::Nowhere)
    }

    /// The part at `at`, if a valid one ends at or before `end`.
    fn part_at(&mut self, at: u64, end: u64) -> Result<Option<(usize, Part)>, MediumError> {
        let room = end.saturating_sub(at);
        let head = ByteCount::new(room).as_len().min(shape::SEEN_LEN);
        let Some(head) = self.window.view(at, head)? else { return Ok(None) };
        let Some(length) = shape::part_len(&head, room) else { return Ok(None) };
        let Some(bytes) = self.window.view(at, length)? else { return Ok(None) };
        let read = body::read_any(bytes, self.window.buffer_len());
        Ok(read.ok().map(|part| (length, part)))
    }

    /// Where the walk goes on behind a part that is not valid, if that is in `from..until` or a
    /// little behind.
    fn next_part(
        &mut self,
        claimed: Option<u64>,
        from: u64,
        until: u64,
    ) -> Result<Sought, MediumError> {
        let limit = claimed.unwrap_or(self.body_end);
        let mut at = from;
        loop {
            let found = match self.candidate(at, limit, until)? {
                Sought::At(found) => found,
                Sought::Nowhere => return Ok(Sought::Nowhere),
                Sought::Until(until) => return Ok(Sought::Until(until)),
            };
            // A part inside the lost one counts only when those that follow it lead to its end.
            if claimed.is_none() || self.leads_to(found, limit)? {
                return Ok(Sought::At(found));
            }
            at = found + 1;
        }
    }

    /// Where a lost part says that it ends, if that is the end of the body or another part.
    fn claimed_end(&mut self, lost: u64, end: u64) -> Result<Option<u64>, MediumError> {
        let Some(head) = self.window.view(lost, body::PART_HEADER_LEN)? else { return Ok(None) };
        let Some((_, length)) = header_of(&head) else { return Ok(None) };
        let claimed = lost + byte_count(body::PART_HEADER_LEN).get() + u64::from(length);
        let is_believed = claimed == end
            || (claimed < end && length > 0 && self.part_at(claimed, end)?.is_some());
        Ok(is_believed.then_some(claimed))
    }

    /// The first valid part that begins and ends before `limit`, if it begins in `from..until` or a
    /// little behind.
    fn candidate(&mut self, from: u64, limit: u64, until: u64) -> Result<Sought, MediumError> {
        let mut at = from;
        while at < limit {
            if at >= until {
                return Ok(Sought::Until(at));
            }
            let Some(chunk) = self.chunk_at(at, shape::SEEN_LEN)? else {
                return Ok(Sought::Nowhere);
            };
            let own = ByteCount::new(CHUNK_LEN.min(limit - at)).as_len();
            for (position, start) in (at..limit).zip(0..own.min(chunk.len())) {
                let head = chunk.get(start..).unwrap_or_default();
                let head = head.get(..shape::SEEN_LEN).unwrap_or(head);
                let Some(length) = shape::part_len(head, limit - position) else { continue };
                if self.is_wasteful(position) {
                    return Ok(Sought::Nowhere);
                }
                if self.part_at(position, limit)?.is_some() {
                    return Ok(Sought::At(position));
                }
                self.wasted += byte_count(length).get();
            }
            at += CHUNK_LEN;
        }
        Ok(Sought::Nowhere)
    }

    /// Whether valid parts follow each other from `from` exactly to `end`.
    fn leads_to(&mut self, from: u64, end: u64) -> Result<bool, MediumError> {
        let mut at = from;
        while at < end && !self.is_wasteful(from) {
            let Some((length, _)) = self.part_at(at, end)? else { break };
            at += byte_count(length).get();
        }
        self.wasted += at - from;
        Ok(at == end)
    }

    const fn is_wasteful(&self, at: u64) -> bool {
        self.wasted > WASTE_BYTES + WASTE_RATIO * (at - self.from)
    }

    /// A chunk's bytes from `at` on, and up to `ahead` more that belong to the next one.
    fn chunk_at(&mut self, at: u64, ahead: usize) -> Result<Option<Bytes>, MediumError> {
        let left = self.window.end().saturating_sub(at);
        let length = CHUNK_LEN.saturating_add(byte_count(ahead).get()).min(left);
        if length == 0 { Ok(None) } else { self.window.view(at, ByteCount::new(length).as_len()) }
    }
}

/// The checksum and the length that a part's header says.
fn header_of(part: &[u8]) -> Option<(u32, u32)> {
    let (crc, rest) = part.split_first_chunk()?;
    let (length, _) = rest.split_first_chunk()?;
    Some((u32::from_be_bytes(*crc), u32::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests;
