//! One channel that the peer announced: from its first frame to our disk.
//!
//! ```text
//!   stored ≤ passed ≤ expected ≤ head
//!            │ held    │ still at the peer │
//! ```
//! What lies between `stored` and `passed` was looked at and is not kept.
//! What a datagram has brought comes on the stream as well, later: `streamed ≤ expected`.

use std::collections::VecDeque;

use headland_event::{ChannelEpoch, ChannelId, Offset};

use super::output::SubscriptionStatus;
use crate::frame::{Data, Offer, Position};

/// Whether we have taken the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Announced,
    Subscribed,
    Refused,
}

/// What became of a data frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The entry we expected.
    Expected,
    /// On its way since before our latest position, or taken before: ignored.
    Stale,
    /// Neither: refused, and everything behind it in its epoch too.
    Misplaced,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    end: Offset,
    bytes: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Inbound {
    pub(super) offer: Offer,
    phase: Phase,
    epoch: ChannelEpoch,
    stored: Offset,
    acked: Offset,
    passed: Offset,
    /// What the peer was told of `passed`, by an acknowledgement or otherwise.
    told_passed: Offset,
    expected: Offset,
    /// The offset after the last entry of this epoch that came on the stream.
    streamed: Offset,
    held: VecDeque<Held>,
}

impl Inbound {
    pub(super) const fn new(offer: Offer) -> Self {
        Self {
            offer,
            phase: Phase::Announced,
            epoch: ChannelEpoch::new(0),
            stored: Offset::new(0),
            acked: Offset::new(0),
            passed: Offset::new(0),
            told_passed: Offset::new(0),
            expected: Offset::new(0),
            streamed: Offset::new(0),
            held: VecDeque::new(),
        }
    }

    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    /// Takes the channel from `next` on, or goes back to it; returns the bytes no longer held.
    pub(super) fn subscribe(&mut self, next: Offset) -> u64 {
        match self.phase {
            Phase::Announced => {
                self.stored = next;
                self.acked = next;
                self.passed = next;
                self.told_passed = next;
            }
            Phase::Subscribed => {
                assert!(
                    self.passed <= next && next <= self.expected,
                    "passed {} and delivered {}, but told to go on from {next}",
                    self.passed,
                    self.expected
                );
            }
            Phase::Refused => return 0,
        }
        self.phase = Phase::Subscribed;
        self.expected = next;
        self.begin_epoch();
        let mut freed = 0;
        while let Some(last) = self.held.pop_back_if(|last| last.end > next) {
            freed += last.bytes;
        }
        freed
    }

    /// Ends the channel; returns the bytes no longer held.
    pub(super) fn end(&mut self) -> u64 {
        self.phase = Phase::Refused;
        self.held.drain(..).map(|held| held.bytes).sum()
    }

    /// Sorts a data frame of `bytes` from the stream; an entry that does not fit begins an epoch.
    pub(super) fn on_data(&mut self, data: &Data, bytes: u64) -> Arrival {
        if data.epoch < self.epoch {
            return Arrival::Stale;
        }
        let (base, end) = (data.entry.base, data.entry.end());
        if data.epoch == self.epoch && base == self.streamed && end <= self.expected {
            // A datagram has brought it; in its place on the stream it says nothing new.
            self.streamed = end;
            return Arrival::Stale;
        }
        if data.epoch > self.epoch || base != self.streamed || base != self.expected {
            self.begin_epoch();
            return Arrival::Misplaced;
        }
        self.streamed = end;
        self.take(data, bytes);
        Arrival::Expected
    }

    /// Whether an entry that a datagram has brought is the next one. Any other one says nothing, as
    /// the stream brings it too.
    pub(super) fn awaits(&self, data: &Data) -> bool {
        data.epoch == self.epoch && data.entry.base == self.expected
    }

    /// Takes an entry of a frame of `bytes` that it [awaits](Self::awaits), as if the stream had
    /// brought it.
    pub(super) fn on_copy(&mut self, data: &Data, bytes: u64) {
        debug_assert!(self.awaits(data), "only the next entry is taken");
        self.take(data, bytes);
    }

    fn take(&mut self, data: &Data, bytes: u64) {
        self.expected = data.entry.end();
        self.offer.head = self.offer.head.max(self.expected);
        self.held.push_back(Held { end: self.expected, bytes });
        debug_assert!(self.passed < self.expected, "what is delivered was not looked at yet");
        debug_assert!(self.streamed <= self.expected, "what came on the stream was taken");
    }

    /// From now on the stream begins where we stand.
    fn begin_epoch(&mut self) {
        self.epoch = self.epoch.after(1);
        self.streamed = self.expected;
    }

    /// Notes what is durable; returns the bytes no longer held.
    ///
    /// # Panics
    /// When more is stored than was delivered: the log would then hold something else than the
    /// peer's, and an acknowledgement would lose data there.
    pub(super) fn on_stored(&mut self, next: Offset) -> u64 {
        assert!(next <= self.expected, "stored {next}, but delivered {}", self.expected);
        self.stored = self.stored.max(next);
        self.on_passed(next)
    }

    /// Notes what was looked at, whether it is kept or not; returns the bytes no longer held.
    ///
    /// # Panics
    /// When that is more than was delivered.
    pub(super) fn on_passed(&mut self, next: Offset) -> u64 {
        assert!(next <= self.expected, "passed {next}, but delivered {}", self.expected);
        self.passed = self.passed.max(next);
        let mut freed = 0;
        while let Some(first) = self.held.pop_front_if(|first| first.end <= next) {
            freed += first.bytes;
        }
        freed
    }

    pub(super) fn on_head(&mut self, head: Offset) {
        self.offer.head = self.offer.head.max(head);
    }

    /// The acknowledgement to send, when there is news.
    pub(super) fn take_unacked(&mut self) -> Option<Offset> {
        let is_news = self.phase == Phase::Subscribed && self.acked < self.stored;
        is_news.then(|| {
            self.acked = self.stored;
            self.told_passed = self.told_passed.max(self.acked);
            self.acked
        })
    }

    /// Up to where to say that all was looked at, when there is news.
    pub(super) fn take_untold_passed(&mut self) -> Option<Offset> {
        let is_news = self.phase == Phase::Subscribed && self.told_passed < self.passed;
        is_news.then(|| {
            self.told_passed = self.passed;
            self.passed
        })
    }

    pub(super) const fn position(&self, channel: ChannelId) -> Position {
        Position { channel, epoch: self.epoch, next: self.expected }
    }

    pub(super) fn status(&self, channel: ChannelId) -> SubscriptionStatus {
        SubscriptionStatus {
            channel,
            source: self.offer.source.clone(),
            stored: self.stored,
            passed: self.passed,
            delivered: self.expected,
            head: self.offer.head,
        }
    }
}
