//! Everything the peer announced, and what we owe it an answer to.

use headland_event::{ByteCount, ChannelId, Entry, Lane, Offset};

use super::inbound::{Arrival, Inbound, Phase};
use super::index;
use super::output::SubscriptionStatus;
use super::ring::{Ring, Waiting};
use super::window::Window;
use crate::frame::{
    Ack, Announce, ChannelPromise, Data, Frame, Head, Passed, Position, Refusal, RefusalCode,
};

/// Channels up to which room is made for one at a time.
const FEW_CHANNELS: usize = 4;

/// Everything the peer announced on one link.
#[derive(Debug, Clone)]
pub(super) struct Receiver {
    channels: Vec<Inbound>,
    window: Window,
    channels_limit: usize,
    /// Channels whose position the peer must hear. Coalesced: however much of what it sends is
    /// refused, a channel owes one answer.
    positions_due: Ring,
    /// Channels of which the peer must hear what was stored or passed, coalesced alike.
    acks_due: Ring,
}

impl Receiver {
    pub(super) fn new(window: ByteCount, channels_limit: usize) -> Self {
        Self {
            channels: Vec::new(),
            window: Window::new(window),
            channels_limit,
            positions_due: Ring::default(),
            acks_due: Ring::default(),
        }
    }

    /// Notes an announced channel; an error ends the link.
    pub(super) fn on_announce(&mut self, announce: &Announce) -> Result<(), Refusal> {
        let Announce { channel, offer } = announce;
        let count = self.channels.len();
        if index(*channel) != count {
            let text = format!("channel {channel} announced after {count} others");
            return Err(Refusal::new(RefusalCode::BadFrame, text));
        }
        if count >= self.channels_limit {
            let text = format!("{} channels at most", self.channels_limit);
            return Err(Refusal::new(RefusalCode::TooManyChannels, text));
        }
        if count < FEW_CHANNELS {
            // An agent offers one or two, and a vector would keep room for four.
            self.channels.reserve_exact(1);
        }
        self.channels.push(Inbound::new(offer.clone()));
        Ok(())
    }

    pub(super) fn subscribe(&mut self, channel: ChannelId, next: Offset) {
        let Some(inbound) = self.channels.get_mut(index(channel)) else { return };
        if inbound.phase() == Phase::Refused {
            return;
        }
        let freed = inbound.subscribe(next);
        self.window.give_back(inbound.offer.lane, freed);
        self.positions_due.set(channel, Waiting::Yes);
    }

    /// Ends a channel; returns whether it was alive.
    pub(super) fn end(&mut self, channel: ChannelId) -> Option<()> {
        let inbound = self.channels.get_mut(index(channel))?;
        if inbound.phase() == Phase::Refused {
            return None;
        }
        let freed = inbound.end();
        self.window.give_back(inbound.offer.lane, freed);
        self.positions_due.set(channel, Waiting::No);
        self.acks_due.set(channel, Waiting::No);
        Some(())
    }

    /// Takes a data frame of `bytes`; returns the entry to deliver. An error ends the link.
    pub(super) fn on_data(
        &mut self,
        lane: Lane,
        data: Data,
        bytes: u64,
    ) -> Result<Option<Entry>, Refusal> {
        let channel = data.channel;
        let inbound = self.known(channel)?;
        let own = inbound.offer.lane;
        if lane != own {
            let text = format!("channel {channel} of lane {own} has data on lane {lane}");
            return Err(Refusal::new(RefusalCode::BadFrame, text));
        }
        match inbound.phase() {
            Phase::Refused => return Ok(None),
            Phase::Announced => {
                let text = format!("channel {channel} has data before it has a position");
                return Err(Refusal::new(RefusalCode::BadFrame, text));
            }
            Phase::Subscribed => {}
        }
        match inbound.on_data(&data, bytes) {
            Arrival::Stale => Ok(None),
            Arrival::Misplaced => {
                self.positions_due.set(channel, Waiting::Yes);
                Ok(None)
            }
            Arrival::Expected => {
                if !self.window.has_room(lane, bytes) {
                    let held = self.window.in_flight(lane);
                    let text = format!("{bytes} bytes on lane {lane}, which holds {held}");
                    return Err(Refusal::new(RefusalCode::WindowExceeded, text));
                }
                self.window.charge(lane, bytes);
                Ok(Some(data.entry))
            }
        }
    }

    /// Takes an entry that came in a datagram; returns it if it is to be delivered. What cannot be
    /// taken now is left to the stream. An error ends the link.
    pub(super) fn on_copy(&mut self, data: Data) -> Result<Option<Entry>, Refusal> {
        let channel = data.channel;
        let inbound = self.known(channel)?;
        let lane = inbound.offer.lane;
        if lane != Lane::Alerts {
            let text = format!("channel {channel} of lane {lane} has data in a datagram");
            return Err(Refusal::new(RefusalCode::BadFrame, text));
        }
        if inbound.phase() != Phase::Subscribed || !inbound.awaits(&data) {
            return Ok(None);
        }
        // As many bytes as the frame has on the stream, which is how the sender counts it.
        let bytes = data.frame_bytes().get();
        if !self.window.has_room(lane, bytes) {
            return Ok(None);
        }
        self.known(channel)?.on_copy(&data, bytes);
        self.window.charge(lane, bytes);
        // Counted for itself alone, so it holds nothing else of the datagram.
        data.detached().map(Some).map_err(|error| {
            Refusal::new(RefusalCode::BadFrame, format!("channel {channel}: {error}"))
        })
    }

    /// Notes what is durable here; late news of a channel that ended changes nothing.
    pub(super) fn on_stored(&mut self, channel: ChannelId, next: Offset) {
        self.on_done(channel, |inbound| inbound.on_stored(next));
    }

    /// Notes what was looked at, kept or not; late news of a channel that ended changes nothing.
    pub(super) fn on_passed(&mut self, channel: ChannelId, next: Offset) {
        self.on_done(channel, |inbound| inbound.on_passed(next));
    }

    fn on_done(&mut self, channel: ChannelId, done: impl FnOnce(&mut Inbound) -> u64) {
        let inbound = self.channels.get_mut(index(channel));
        let Some(inbound) = inbound.filter(|inbound| inbound.phase() == Phase::Subscribed) else {
            return;
        };
        let freed = done(inbound);
        self.window.give_back(inbound.offer.lane, freed);
        self.acks_due.set(channel, Waiting::Yes);
    }

    /// An error ends the link.
    pub(super) fn on_head(&mut self, head: Head) -> Result<(), Refusal> {
        self.known(head.channel)?.on_head(head.head);
        Ok(())
    }

    /// Takes channels out of a promise that were refused here; an error ends the link.
    pub(super) fn on_promise(
        &mut self,
        promise: ChannelPromise,
    ) -> Result<ChannelPromise, Refusal> {
        let ChannelPromise { topic, watermark, ends } = promise;
        let mut kept = Vec::with_capacity(ends.len());
        for end in ends {
            if self.known(end.channel)?.phase() != Phase::Refused {
                kept.push(end);
            }
        }
        Ok(ChannelPromise { topic, watermark, ends: kept })
    }

    /// Ends a channel that the peer can serve no longer; an error ends the link.
    pub(super) fn on_ended(&mut self, channel: ChannelId) -> Result<Option<()>, Refusal> {
        self.known(channel)?;
        Ok(self.end(channel))
    }

    pub(super) fn next_position(&mut self) -> Option<Position> {
        let channel = self.positions_due.peek()?;
        self.positions_due.on_served(channel);
        self.positions_due.set(channel, Waiting::No);
        self.channels.get(index(channel)).map(|inbound| inbound.position(channel))
    }

    /// What the peer must hear next of what was stored or passed.
    pub(super) fn next_ack(&mut self) -> Option<Frame> {
        while let Some(channel) = self.acks_due.peek() {
            self.acks_due.on_served(channel);
            let inbound = self.channels.get_mut(index(channel));
            let frame = inbound.and_then(|inbound| {
                let ack = |next| Frame::Ack(Ack { channel, next });
                let passed = |next| Frame::Passed(Passed { channel, next });
                let acked = inbound.take_unacked().map(ack);
                acked.or_else(|| inbound.take_untold_passed().map(passed))
            });
            if frame.is_some() {
                return frame;
            }
            self.acks_due.set(channel, Waiting::No);
        }
        None
    }

    pub(super) fn statuses(&self) -> impl Iterator<Item = SubscriptionStatus> {
        let subscribed = self.channels.iter().zip(0_u32..);
        subscribed
            .filter(|(inbound, _)| inbound.phase() == Phase::Subscribed)
            .map(|(inbound, raw)| inbound.status(ChannelId::new(raw)))
    }

    fn known(&mut self, channel: ChannelId) -> Result<&mut Inbound, Refusal> {
        let count = self.channels.len();
        self.channels.get_mut(index(channel)).ok_or_else(|| {
            let text = format!("channel {channel} of {count} announced");
            Refusal::new(RefusalCode::BadFrame, text)
        })
    }
}
