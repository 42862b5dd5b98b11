//! What a log lost: asked of the peer, and what the peer lost.

use std::collections::VecDeque;

use bytes::Bytes;
use headland_event::{ByteCount, Lane};

use super::{Link, State, outbound};
use crate::frame::{Frame, RefillAsk, RefillPart};

/// Answers that wait until nothing else is to be sent.
#[derive(Debug, Default)]
pub(super) struct Refills {
    frames: VecDeque<Bytes>,
    bytes: u64,
    /// Whether the last of them ends an answer.
    is_ended: bool,
}

impl Link {
    /// Asks for what this node's log lost; the answer comes as [`super::LinkOutput::Refilled`],
    /// its last part without an entry. The peer must have offered [`crate::frame::REFILLS_TOPIC`]:
    /// one of an earlier version gives up a link on which it hears this. While the control lane is
    /// stalled it is lost, as it is with the connection: ask again later.
    pub fn ask_refill(&mut self, ask: RefillAsk) {
        if self.state == State::Ready && self.budget.has_room(Lane::Control, 1) {
            self.send_control(&Frame::RefillAsk(ask));
        }
    }

    /// Answers a [`super::LinkOutput::RefillAsked`], part by part. It goes out on the telemetry
    /// lane when nothing else is to be sent, and counts for a rate. What waits is for the caller to
    /// bound, by [`Self::refill_bytes`]; of ends without an entry between them the last one waits,
    /// since who asks again does not wait for an answer of before.
    pub fn answer_refill(&mut self, part: RefillPart) {
        if self.state != State::Ready {
            return;
        }
        let is_end = part.entry.is_none();
        // An entry came in a frame or was written from one that has more fields beside it.
        if let Ok(frame) = Frame::RefillPart(part).encode() {
            let refills = &mut self.refills;
            if is_end
                && refills.is_ended
                && let Some(before) = refills.frames.pop_back()
            {
                refills.bytes = refills.bytes.saturating_sub(outbound::length(&before));
            }
            self.refills.is_ended = is_end;
            self.refills.bytes = self.refills.bytes.saturating_add(outbound::length(&frame));
            self.refills.frames.push_back(frame);
        }
    }

    /// Bytes of answers that wait, or that the driver holds among others of their lane.
    #[must_use]
    pub const fn refill_bytes(&self) -> ByteCount {
        let unsent = self.budget.unsent(Lane::Telemetry).get();
        ByteCount::new(self.refills.bytes.saturating_add(unsent))
    }

    /// Sends the next part of an answer, if there is room for it.
    pub(super) fn send_refill(&mut self) {
        let lane = Lane::Telemetry;
        let Some(bytes) = self.refills.frames.front().map(outbound::length) else { return };
        if !self.throttle.allows(lane) || !self.budget.has_room(lane, bytes) {
            return;
        }
        if let Some(frame) = self.refills.frames.pop_front() {
            self.refills.bytes = self.refills.bytes.saturating_sub(bytes);
            self.throttle.charge(bytes);
            self.send(lane, frame);
        }
    }
}
