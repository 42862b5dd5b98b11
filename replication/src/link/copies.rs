//! Alerts that are sent again in datagrams until they are acknowledged.
//!
//! ```text
//!   stream     ──[1]──────────╳[2]·········· a round trip later [2]──▶ and all behind it
//!   datagrams  ──────[1]─────────────[2]─────────────[2]─────────────▶
//! ```
//! A lost packet holds up a stream for a round trip and more, and every alert behind it with it.
//! What a datagram brings is taken at once if it comes next in its channel (`inbound.rs`), and its
//! place on the stream is passed over then: no order and no bound changes.
//!
//! The first copy follows after a moment, because QUIC would put a datagram into the packet that
//! carries the stream, to be lost with it. A path so short that the acknowledgement is faster costs
//! no datagram at all. A datagram that has room left repeats what went before.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use headland_event::{ChannelId, Monotonic, Offset};

use super::outbound::length;
use crate::frame::{COPIES_LIMIT, COPIES_ROOM, copy_bytes, encode_copies};

/// How long after the stream, and after the copy before, a copy goes out: long enough for another
/// packet and, the second time, for the end of a burst of losses; short against a round trip.
const WAITS: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(35)];

/// Alerts kept until they are acknowledged, most: with small ones what three datagrams hold. When
/// more are on their way, the oldest are left to their stream.
const KEPT_LIMIT: usize = 32;

/// Copies may take a 64th of what is sent, so that they do not weigh on a catch-up, and 8 KiB a
/// second, which is ten small alerts a second on a link that carries nothing else.
const SHARE: u64 = 64;
const NANOS_PER_BYTE: u64 = 1_000_000_000 / (8 << 10);

/// Bytes of copies that may go at once after a rest, most.
const BURST_BYTES: u64 = 16 << 10;

/// When the next copy of an alert goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Some time after now, which is not known where frames set out.
    Soon,
    At(Monotonic),
    /// It had its copies, and may fill what room others leave.
    Never,
}

#[derive(Debug, Clone)]
struct Kept {
    channel: ChannelId,
    end: Offset,
    frame: Bytes,
    copies: usize,
    due: Due,
}

/// Alerts on their way, and what may be spent on sending them again.
#[derive(Debug, Clone, Default)]
pub(super) struct Copies {
    kept: VecDeque<Kept>,
    /// Up to when time has earned bytes.
    now: Monotonic,
    /// Bytes not spent.
    spare: u64,
    /// Bytes sent that have not come to one byte for copies yet.
    rest: u64,
}

impl Copies {
    pub(super) fn new(now: Monotonic) -> Self {
        Self { kept: VecDeque::new(), now, spare: BURST_BYTES, rest: 0 }
    }

    /// Notes `bytes` that went out on streams, of which copies have their share.
    pub(super) fn on_sent(&mut self, bytes: u64) {
        let sent = self.rest.saturating_add(bytes);
        self.rest = sent % SHARE;
        self.earn(sent / SHARE);
    }

    /// Keeps an alert that set out as `frame`, to be sent again, if a datagram can carry it.
    pub(super) fn keep(&mut self, channel: ChannelId, end: Offset, frame: &Bytes) {
        if copy_bytes(frame) > COPIES_ROOM {
            return;
        }
        if self.kept.len() >= KEPT_LIMIT {
            self.kept.pop_front();
        }
        let frame = frame.clone();
        self.kept.push_back(Kept { channel, end, frame, copies: 0, due: Due::Soon });
    }

    /// The peer has everything of a channel before `next`.
    pub(super) fn on_acked(&mut self, channel: ChannelId, next: Offset) {
        self.kept.retain(|kept| kept.channel != channel || kept.end > next);
        self.shrink();
    }

    /// What was sent of a channel is over: it ended, or starts over.
    pub(super) fn forget(&mut self, channel: ChannelId) {
        self.kept.retain(|kept| kept.channel != channel);
        self.shrink();
    }

    /// Thousands of links have alerts now and then: what they held is given back.
    fn shrink(&mut self) {
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
        }
    }

    /// Advances to `now`: what set out before gets its time.
    pub(super) fn on_time(&mut self, now: Monotonic) {
        let nanos = u64::try_from(now.since(self.now).as_nanos()).unwrap_or(u64::MAX);
        let bytes = nanos / NANOS_PER_BYTE;
        self.earn(bytes);
        // What does not come to a byte yet is not lost.
        self.now = self.now.after(Duration::from_nanos(bytes * NANOS_PER_BYTE));
        for kept in &mut self.kept {
            if let (Due::Soon, Some(wait)) = (kept.due, WAITS.get(kept.copies)) {
                kept.due = Due::At(now.after(*wait));
            }
        }
    }

    fn earn(&mut self, bytes: u64) {
        self.spare = self.spare.saturating_add(bytes).min(BURST_BYTES);
    }

    /// When [`Self::on_time`] and [`Self::next_due`] are to be called.
    pub(super) fn poll_timeout(&self) -> Option<Monotonic> {
        let due = self.kept.iter().filter_map(|kept| match kept.due {
            Due::Soon => Some(self.now),
            Due::At(at) => Some(at),
            Due::Never => None,
        });
        due.min()
    }

    /// The frame of copies to send at `now`; `None` when nothing more is due.
    pub(super) fn next_due(&mut self, now: Monotonic) -> Option<Bytes> {
        loop {
            let chosen = self.choose(now)?;
            let frames = chosen.places.iter().filter_map(|at| Some(&self.kept.get(*at)?.frame));
            let frames: Vec<&Bytes> = frames.collect();
            let frame = encode_copies(frames.into_iter());
            // Once all is spent a copy is left out, and the next one comes in its time.
            if let Some(spare) = self.spare.checked_sub(length(&frame)) {
                self.spare = spare;
                return Some(frame);
            }
        }
    }

    /// What goes into the next datagram: what is due, then the latest that still fits.
    fn choose(&mut self, now: Monotonic) -> Option<Chosen> {
        let mut chosen = Chosen::default();
        for (at, kept) in self.kept.iter_mut().enumerate() {
            let is_due = matches!(kept.due, Due::At(due) if due <= now);
            if is_due && chosen.add(at, &kept.frame) {
                kept.copies += 1;
                let wait = WAITS.get(kept.copies);
                kept.due = wait.map_or(Due::Never, |wait| Due::At(now.after(*wait)));
            }
        }
        if chosen.places.is_empty() {
            return None;
        }
        if self.spare >= BURST_BYTES / 2 {
            for (at, kept) in self.kept.iter().enumerate().rev() {
                if !chosen.places.contains(&at) {
                    chosen.add(at, &kept.frame);
                }
            }
            chosen.places.sort_unstable();
        }
        Some(chosen)
    }
}

/// Places in the queue of what goes into one datagram.
#[derive(Debug, Default)]
struct Chosen {
    places: Vec<usize>,
    bytes: usize,
}

impl Chosen {
    /// Adds an alert if there is room; says whether there was.
    fn add(&mut self, at: usize, frame: &Bytes) -> bool {
        let bytes = self.bytes + copy_bytes(frame);
        let has_room = self.places.len() < COPIES_LIMIT && bytes <= COPIES_ROOM;
        if has_room {
            self.places.push(at);
            self.bytes = bytes;
        }
        has_room
    }
}
