//! One channel that we offered: from our log to the peer's acknowledgement.
//!
//! ```text
//!   acked ≤ sent ≤ staged_to ≤ head
//!   │ in flight │ staged   │ still in the log │
//! ```
//! What the peer has looked at and does not keep is in flight no more.

use std::collections::VecDeque;

use bytes::Bytes;
use headland_event::{ByteCount, ChannelEpoch, ChannelId, Entry, Offset};

use super::output::OfferStatus;
use crate::frame::{Data, Frame, Offer, Position, Refusal, RefusalCode};

/// Whether the peer has taken the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Announced,
    Flowing,
    Refused,
}

/// The one read a channel may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// None.
    Idle,
    /// One, and the log has not grown since.
    Asked,
    /// One, and the log has grown since: an empty answer says nothing.
    AskedBeforeGrowth,
    /// One from before the peer's latest position: its answer is thrown away.
    Stale,
    /// None: the log had nothing more, until it grows.
    CaughtUp,
    /// None: what follows may come back to the log, until the caller says that it goes on.
    PutOff,
}

#[derive(Debug, Clone)]
struct Staged {
    end: Offset,
    frame: Bytes,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    base: Offset,
    end: Offset,
    bytes: u64,
}

/// What a position freed: these entries will be read and sent again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Freed {
    pub(super) staged: u64,
    pub(super) in_flight: u64,
}

/// What the answer to a read came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Bytes staged.
    pub(super) bytes: u64,
    /// Why the channel must end, when it must.
    pub(super) refusal: Option<Refusal>,
}

/// A frame that set out.
#[derive(Debug, Clone)]
pub(super) struct Departure {
    pub(super) end: Offset,
    pub(super) frame: Bytes,
    pub(super) bytes: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Outbound {
    pub(super) offer: Offer,
    phase: Phase,
    epoch: ChannelEpoch,
    acked: Offset,
    sent: Offset,
    staged_to: Offset,
    told_head: Offset,
    reading: Reading,
    staged: VecDeque<Staged>,
    in_flight: VecDeque<InFlight>,
}

impl Outbound {
    pub(super) const fn new(offer: Offer) -> Self {
        let (start, head) = (offer.start, offer.head);
        Self {
            offer,
            phase: Phase::Announced,
            epoch: ChannelEpoch::new(0),
            acked: start,
            sent: start,
            staged_to: start,
            told_head: head,
            reading: Reading::Idle,
            staged: VecDeque::new(),
            in_flight: VecDeque::new(),
        }
    }

    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    /// Goes back, or on the first time forward, to where the receiver stands.
    ///
    /// The inner error ends the channel, the outer one the link.
    pub(super) fn on_position(
        &mut self,
        position: Position,
    ) -> Result<Result<Freed, Refusal>, Refusal> {
        let Position { channel, epoch, next } = position;
        let Offer { source, start, head, .. } = &self.offer;
        if epoch <= self.epoch {
            let text = format!("channel {channel} at epoch {}, position of {epoch}", self.epoch);
            return Err(Refusal::new(RefusalCode::BadFrame, text));
        }
        if self.phase == Phase::Announced {
            if next < *start || next > *head {
                let text = format!("{source} holds {start} to {head}, the peer stands at {next}");
                return Ok(Err(Refusal::new(RefusalCode::PositionUnavailable, text)));
            }
            self.acked = next;
        } else if next < self.acked || next > self.sent {
            let text = format!(
                "channel {channel} is acknowledged to {} and sent to {}, position at {next}",
                self.acked, self.sent
            );
            return Err(Refusal::new(RefusalCode::BadFrame, text));
        }
        self.phase = Phase::Flowing;
        self.epoch = epoch;
        Ok(Ok(self.rewind(next)))
    }

    fn rewind(&mut self, next: Offset) -> Freed {
        let mut freed = Freed { staged: self.drop_staged(), in_flight: 0 };
        while let Some(last) = self.in_flight.pop_back_if(|last| last.end > next) {
            freed.in_flight += last.bytes;
        }
        self.sent = next;
        self.staged_to = next;
        self.reading = match self.reading {
            Reading::Idle | Reading::CaughtUp | Reading::PutOff => Reading::Idle,
            Reading::Asked | Reading::AskedBeforeGrowth | Reading::Stale => Reading::Stale,
        };
        self.check_order();
        freed
    }

    fn drop_staged(&mut self) -> u64 {
        let bytes = self.staged.iter().map(|staged| length(&staged.frame)).sum();
        self.staged.clear();
        bytes
    }

    /// Ends the channel for this connection; returns what it held.
    pub(super) fn end(&mut self) -> Freed {
        self.phase = Phase::Refused;
        self.reading = Reading::Idle;
        let in_flight = self.in_flight.drain(..).map(|entry| entry.bytes).sum();
        Freed { staged: self.drop_staged(), in_flight }
    }

    /// Takes an acknowledgement; returns the bytes it freed, `None` when it says nothing new.
    pub(super) fn on_ack(
        &mut self,
        channel: ChannelId,
        next: Offset,
    ) -> Result<Option<u64>, Refusal> {
        if next > self.sent {
            let text =
                format!("channel {channel} is sent to {}, acknowledged to {next}", self.sent);
            return Err(Refusal::new(RefusalCode::BadFrame, text));
        }
        if next <= self.acked {
            return Ok(None);
        }
        self.acked = next;
        Ok(Some(self.land(next)))
    }

    /// Takes the peer's word that it has looked at what lies before an offset; returns the bytes
    /// that this freed.
    pub(super) fn on_passed(&mut self, channel: ChannelId, next: Offset) -> Result<u64, Refusal> {
        if next > self.sent {
            let text = format!("channel {channel} is sent to {}, passed to {next}", self.sent);
            return Err(Refusal::new(RefusalCode::BadFrame, text));
        }
        Ok(self.land(next))
    }

    /// What lies before an offset is in flight no more.
    fn land(&mut self, next: Offset) -> u64 {
        let mut freed = 0;
        while let Some(first) = self.in_flight.pop_front_if(|first| first.end <= next) {
            freed += first.bytes;
        }
        self.check_order();
        freed
    }

    pub(super) fn on_head(&mut self, head: Offset) {
        if head <= self.offer.head {
            return;
        }
        self.offer.head = head;
        self.reading = match self.reading {
            Reading::Idle | Reading::CaughtUp => Reading::Idle,
            Reading::Asked | Reading::AskedBeforeGrowth => Reading::AskedBeforeGrowth,
            Reading::Stale => Reading::Stale,
            Reading::PutOff => Reading::PutOff,
        };
    }

    pub(super) fn wants_read(&self) -> bool {
        self.phase == Phase::Flowing
            && self.reading == Reading::Idle
            && self.staged.is_empty()
            && self.staged_to < self.offer.head
    }

    /// Opens a read; returns where it starts.
    pub(super) fn start_read(&mut self) -> Offset {
        debug_assert!(self.wants_read(), "a read is opened only when it is wanted");
        self.reading = Reading::Asked;
        self.staged_to
    }

    /// Whether an answer to a read is awaited.
    pub(super) const fn has_read_open(&self) -> bool {
        match self.reading {
            Reading::Asked | Reading::AskedBeforeGrowth | Reading::Stale => true,
            Reading::Idle | Reading::CaughtUp | Reading::PutOff => false,
        }
    }

    /// The open read is not answered for now.
    pub(super) const fn put_off(&mut self) {
        self.reading = match self.reading {
            // The peer has taken another position since.
            Reading::Stale => Reading::Idle,
            Reading::Asked
            | Reading::AskedBeforeGrowth
            | Reading::Idle
            | Reading::CaughtUp
            | Reading::PutOff => Reading::PutOff,
        };
    }

    /// What was put off is read again.
    pub(super) fn go_on(&mut self) {
        if self.reading == Reading::PutOff {
            self.reading = Reading::Idle;
        }
    }

    /// Stages the answer to a read, up to the first entry that cannot be sent.
    pub(super) fn on_entries(&mut self, channel: ChannelId, entries: Vec<Entry>) -> Answer {
        let mut answer = Answer { bytes: 0, refusal: None };
        let was = std::mem::replace(&mut self.reading, Reading::Idle);
        if was == Reading::Stale || self.phase != Phase::Flowing {
            return answer;
        }
        if entries.is_empty() && was == Reading::Asked {
            self.reading = Reading::CaughtUp;
        }
        for entry in entries {
            match self.stage(channel, entry) {
                Ok(staged) => {
                    answer.bytes += length(&staged.frame);
                    self.staged_to = staged.end;
                    self.staged.push_back(staged);
                }
                Err(refusal) => {
                    answer.refusal = Some(refusal);
                    break;
                }
            }
        }
        self.offer.head = self.offer.head.max(self.staged_to);
        self.check_order();
        answer
    }

    /// Encodes an entry that follows the one before it: a hole in our log is never skipped.
    fn stage(&self, channel: ChannelId, entry: Entry) -> Result<Staged, Refusal> {
        let source = &self.offer.source;
        let (base, end) = (entry.base, entry.end());
        if base != self.staged_to {
            let text = format!("{source} has no entry at {}, the next is {base}", self.staged_to);
            return Err(Refusal::new(RefusalCode::PositionUnavailable, text));
        }
        let frame = Frame::Data(Data { channel, epoch: self.epoch, entry }).encode();
        frame.map(|frame| Staged { end, frame }).map_err(|error| {
            Refusal::new(RefusalCode::EntryTooLarge, format!("{source} at {base}: {error}"))
        })
    }

    /// Bytes of the frame to send next.
    pub(super) fn next_bytes(&self) -> Option<u64> {
        self.staged.front().map(|staged| length(&staged.frame))
    }

    /// Sends the next staged frame.
    pub(super) fn depart(&mut self) -> Option<Departure> {
        let Staged { end, frame } = self.staged.pop_front()?;
        let bytes = length(&frame);
        self.in_flight.push_back(InFlight { base: self.sent, end, bytes });
        self.sent = end;
        self.told_head = self.told_head.max(end);
        self.check_order();
        Some(Departure { end, frame, bytes })
    }

    /// The head to tell the peer, when it does not know it.
    pub(super) fn take_untold_head(&mut self) -> Option<Offset> {
        let head = self.offer.head;
        if self.phase != Phase::Flowing || head <= self.told_head {
            return None;
        }
        self.told_head = head;
        Some(head)
    }

    pub(super) fn status(&self, channel: ChannelId) -> OfferStatus {
        let records = self.in_flight.iter().map(|entry| entry.end.since(entry.base)).sum();
        OfferStatus {
            channel,
            source: self.offer.source.clone(),
            acked: (self.epoch > ChannelEpoch::new(0)).then_some(self.acked),
            sent: self.sent,
            head: self.offer.head,
            in_flight_records: records,
            in_flight_bytes: ByteCount::new(self.in_flight_bytes()),
        }
    }

    pub(super) fn in_flight_bytes(&self) -> u64 {
        self.in_flight.iter().map(|entry| entry.bytes).sum()
    }

    fn check_order(&self) {
        debug_assert!(self.acked <= self.sent, "nothing is acknowledged before it is sent");
        debug_assert!(self.sent <= self.staged_to, "nothing is sent before it is staged");
        debug_assert!(self.staged_to <= self.offer.head, "nothing is staged beyond the log");
    }
}

/// Length of a frame as windows and budgets count it.
pub(super) fn length(frame: &Bytes) -> u64 {
    u64::try_from(frame.len()).unwrap_or(u64::MAX)
}
