//! Alerts that are sent again in datagrams, unless they are acknowledged first.
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
//! carries the stream, to be lost with it. Where the acknowledgement is faster there is none. A
//! datagram that has room left brings what other alerts have still to come again.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use headland_event::{ChannelId, Monotonic, Offset};

use super::outbound::length;
use crate::frame::{COPIES_LIMIT, COPIES_ROOM, copy_bytes, encode_copies};

/// How long after the stream, and after the copy before, a copy goes out: long enough for another
/// packet and, the second time, for the end of a burst of losses; short against a round trip.
const WAITS: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(35)];

/// Alerts kept for their copies, most: eight datagrams. Those after them are left to their stream:
/// a receiver takes only what comes next.
const KEPT_LIMIT: usize = 64;

/// Copies may take a 64th of what is sent and an eighth of what alerts take, so that they weigh
/// neither on a catch-up nor on a thin path that alerts nearly fill.
const SHARE: u64 = 64;
const SHARE_OF_ALERTS: u64 = 8;

/// And 256 bytes a second: alerts that are few and far between have both their copies.
const NANOS_PER_BYTE: u64 = 1_000_000_000 / 256;

/// Bytes that may go at once after a rest, most: of the share, and of the rest.
const SHARE_BYTES: u64 = 8 << 10;
const BURST_BYTES: u64 = 2 << 10;

/// When the next copy of an alert goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Some time after now, which is not known where frames set out.
    Soon,
    At(Monotonic),
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
    /// Bytes of the share that were not spent, in 64ths.
    share: u64,
    /// Bytes that alerts and time have earned, in eighths.
    rest: u64,
}

impl Copies {
    pub(super) fn new(now: Monotonic) -> Self {
        let rest = BURST_BYTES * SHARE_OF_ALERTS;
        Self { kept: VecDeque::new(), now, share: 0, rest }
    }

    /// Notes `bytes` that went out on streams, of which copies have their share.
    pub(super) fn on_sent(&mut self, bytes: u64) {
        self.share = self.share.saturating_add(bytes).min(SHARE_BYTES * SHARE);
    }

    fn earn(&mut self, eighths: u64) {
        self.rest = self.rest.saturating_add(eighths).min(BURST_BYTES * SHARE_OF_ALERTS);
    }

    /// Keeps an alert that set out as `frame`, to be sent again, if a datagram can carry it.
    pub(super) fn keep(&mut self, channel: ChannelId, end: Offset, frame: &Bytes) {
        self.earn(length(frame));
        if copy_bytes(frame) > COPIES_ROOM || self.kept.len() >= KEPT_LIMIT {
            return;
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
        self.earn(bytes.saturating_mul(SHARE_OF_ALERTS));
        // What does not come to a byte yet is not lost.
        self.now = self.now.after(Duration::from_nanos(bytes * NANOS_PER_BYTE));
        for kept in &mut self.kept {
            if let (Due::Soon, Some(wait)) = (kept.due, WAITS.get(kept.copies)) {
                kept.due = Due::At(now.after(*wait));
            }
        }
    }

    /// When [`Self::on_time`] and [`Self::next_due`] are to be called.
    pub(super) fn poll_timeout(&self) -> Option<Monotonic> {
        let due = self.kept.iter().map(|kept| match kept.due {
            Due::Soon => self.now,
            Due::At(at) => at,
        });
        due.min()
    }

    /// The frame of copies to send at `now`; `None` when nothing more is due.
    pub(super) fn next_due(&mut self, now: Monotonic) -> Option<Bytes> {
        let mut sent = None;
        while sent.is_none() {
            let chosen = self.choose(now)?;
            let frames = chosen.places.iter().filter_map(|at| Some(&self.kept.get(*at)?.frame));
            let frame = encode_copies(frames.collect::<Vec<_>>().into_iter());
            // Once all is spent a copy is left out, and the next one comes in its time.
            sent = self.spend(length(&frame)).map(|()| frame);
            // Its last copy is out, or left out.
            self.kept.retain(|kept| kept.copies < WAITS.len());
            self.shrink();
        }
        sent
    }

    /// Takes bytes out of the share, or of the rest.
    fn spend(&mut self, bytes: u64) -> Option<()> {
        if let Some(share) = self.share.checked_sub(bytes * SHARE) {
            self.share = share;
        } else {
            self.rest = self.rest.checked_sub(bytes * SHARE_OF_ALERTS)?;
        }
        Some(())
    }

    /// What goes into the next datagram: what is due, then the oldest that still fits, as far as
    /// the share goes.
    fn choose(&mut self, now: Monotonic) -> Option<Chosen> {
        let mut chosen = Chosen::default();
        for (at, kept) in self.kept.iter_mut().enumerate() {
            let is_due = matches!(kept.due, Due::At(due) if due <= now);
            if is_due && chosen.add(at, &kept.frame) {
                kept.copies += 1;
                let wait = WAITS.get(kept.copies).copied().unwrap_or_default();
                kept.due = Due::At(now.after(wait));
            }
        }
        if chosen.places.is_empty() {
            return None;
        }
        if self.share >= SHARE_BYTES * SHARE / 2 {
            for (at, kept) in self.kept.iter().enumerate() {
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
