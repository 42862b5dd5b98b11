//! The state machine of one connection.
//!
//! Both sides run the same machine, and each may offer and take. A channel is one partition:
//!
//! ```text
//!   sender                                         receiver
//!   announce ─────────── announce ───────────────▶ Announced → subscribe, or refuse
//!   Acked ◀───────────── position{epoch 1, next} ─
//!   Read → on_entries ── data{epoch, base} ──────▶ Deliver → on_stored
//!   Acked ◀───────────── ack{next} ───────────────
//! ```
//! - **The receiver owns positions.** Data of another epoch or another base than expected is never
//!   delivered. An older epoch is ignored; anything else is answered with a position of a new
//!   epoch, from which the sender goes on (go-back-N).
//! - **Order within a channel** is the log's, because a channel stays on one lane and each lane is
//!   one ordered stream. Lanes may overtake each other.
//! - **Alerts go twice**: on their stream, and in datagrams that no loss holds up. An entry is
//!   taken from whichever brings it first, once, and only where it comes next.
//! - **Bounds**: the window (bytes in flight until stored at the receiver), two staged reads per
//!   lane, the bytes a driver holds per lane, the number of channels. Nothing else grows.
//! - **Nothing outlives the connection** but what is stored at the receiver: after a cut a new link
//!   starts from there.
//!
//! Feed inputs, then drain [`Link::poll_output`] until it is empty, then wait no longer than
//! [`Link::poll_timeout`].

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use headland_event::{ByteCount, ChannelId, Entry, Lane, Monotonic, Offset, Random, SeededRandom};

use crate::frame::{
    self, ChannelPromise, Data, Frame, FrameError, Goodbye, Hello, Offer, PROMISE_ENDS_LIMIT,
    Refusal, RefusalCode, Refuse, Scope,
};
use crate::lease::LeaseMessage;
use crate::route;

/// Settings of one link.
mod config;
/// What a link asks of its caller.
mod output;
/// One value per lane.
mod lanes;
/// Channels that wait for their turn.
mod ring;
/// Who sends next.
mod shares;
/// How much may be in flight.
mod window;
/// How much the driver may hold.
mod budget;
/// How much an operator lets it send.
mod flow;
/// Which alerts are sent again in datagrams.
mod copies;
/// Whether the peer is alive.
mod liveness;
/// One channel we offered.
mod outbound;
/// Everything we offered.
mod sender;
/// One channel the peer announced.
mod inbound;
/// Everything the peer announced.
mod receiver;
/// What a log lost.
mod refills;

use budget::Budget;
use copies::Copies;
use flow::Throttle;
use liveness::Liveness;
use receiver::Receiver;
use refills::Refills;
use sender::{Progress, Sender};

pub use config::LinkConfig;
pub use flow::Flow;
pub use output::{
    AnnounceError, CloseReason, CopyCounts, LinkOutput, OfferStatus, PromiseError,
    SubscriptionStatus,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Our hello is out, the peer's is not in.
    Greeting,
    Ready,
    Closed,
}

/// The state machine of one connection.
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    state: State,
    liveness: Liveness,
    budget: Budget,
    throttle: Throttle,
    copies: Copies,
    copied: CopyCounts,
    sender: Sender,
    receiver: Receiver,
    refills: Refills,
    outputs: VecDeque<LinkOutput>,
}

impl Link {
    /// A link on a fresh connection whose certificate belongs to `config.peer`.
    ///
    /// The seed spreads the keepalives of links that start together.
    #[must_use]
    pub fn new(config: LinkConfig, seed: u64, now: Monotonic) -> Self {
        let interval = config.keepalive_interval;
        let spread = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        let first = Duration::from_nanos(SeededRandom::new(seed).below(spread));
        let window = config.hello.window;
        let mut link = Self {
            state: State::Greeting,
            liveness: Liveness::new(interval, config.silence_timeout, first, now),
            budget: Budget::new(config.unsent_bytes_limit),
            throttle: Throttle::default(),
            copies: Copies::new(now),
            copied: CopyCounts::default(),
            sender: Sender::new(window, config.read_bytes, config.channels_limit),
            receiver: Receiver::new(window, config.channels_limit),
            refills: Refills::default(),
            outputs: VecDeque::new(),
            config,
        };
        link.send_control(&Frame::Hello(link.config.hello.clone()));
        link
    }

    /// Takes a frame that arrived on `lane`. Frames of one lane must come in order, but for copies,
    /// which may be lost, come late and come again.
    ///
    /// A frame that breaks the protocol refuses the peer and closes the link.
    pub fn on_frame(&mut self, now: Monotonic, lane: Lane, bytes: Bytes) {
        if self.state == State::Closed {
            return;
        }
        self.liveness.on_heard(now);
        self.throttle.on_time(now);
        let length = outbound::length(&bytes);
        let taken = Frame::decode(bytes)
            .map_err(|error| unreadable(&error))
            .and_then(|frame| self.on_decoded(now, lane, frame, length));
        if let Err(refusal) = taken {
            self.refuse_peer(refusal);
        }
    }

    /// Offers a partition; returns the channel by which both sides speak of it from now on.
    ///
    /// # Errors
    /// [`AnnounceError`] when a limit is reached or the link is closed.
    pub fn announce(&mut self, offer: Offer) -> Result<ChannelId, AnnounceError> {
        if self.state == State::Closed {
            return Err(AnnounceError::Closed { source_partition: offer.source });
        }
        let announce = self.sender.announce(offer)?;
        let channel = announce.channel;
        self.send_control(&Frame::Announce(announce));
        Ok(channel)
    }

    /// Takes an announced channel: everything before `next` is durable here.
    ///
    /// Called again, it goes back to an offset that is stored and not past what was delivered,
    /// as a caller does that lost what it had not stored yet. A refused channel stays refused.
    ///
    /// # Panics
    /// When `next` is, on a later call, before what is stored or past what was delivered.
    pub fn subscribe(&mut self, channel: ChannelId, next: Offset) {
        self.receiver.subscribe(channel, next);
    }

    /// Refuses an announced channel for the rest of the connection.
    pub fn refuse(&mut self, channel: ChannelId, refusal: Refusal) {
        if self.state != State::Closed && self.receiver.end(channel).is_some() {
            self.send_control(&Frame::Refuse(Refuse { scope: Scope::Yours(channel), refusal }));
        }
    }

    /// Answers a [`LinkOutput::Read`], in log order, starting exactly at its offset; empty when
    /// the log has nothing more.
    ///
    /// Entries that start elsewhere end the channel with a typed refusal on both sides: a hole is
    /// named, never skipped.
    pub fn on_entries(&mut self, channel: ChannelId, entries: Vec<Entry>) {
        let progress = self.sender.on_entries(channel, entries);
        self.on_progress(channel, progress);
    }

    /// The log of a channel we offered has grown to `head`.
    pub fn on_head(&mut self, channel: ChannelId, head: Offset) {
        self.sender.on_head(channel, head);
    }

    /// Answers the open read of a channel by nothing for now, since what it met may still come:
    /// the channel stands still until [`Self::go_on`], and takes no room from others.
    pub fn put_off(&mut self, channel: ChannelId) {
        self.sender.put_off(channel);
    }

    /// Has a channel of which a read was put off read again.
    pub fn go_on(&mut self, channel: ChannelId) {
        self.sender.go_on(channel);
    }

    /// Everything before `next` of a subscribed channel is durable here; acknowledged at the next
    /// chance, several steps at once.
    ///
    /// # Panics
    /// When that is more than was delivered: acknowledging it would lose data at the peer.
    pub fn on_stored(&mut self, channel: ChannelId, next: Offset) {
        self.receiver.on_stored(channel, next);
    }

    /// Everything before `next` of a subscribed channel was looked at, and what is not stored of it
    /// is not kept: it takes no window any more and is not acknowledged. The peer must have offered
    /// [`crate::frame::PASSED_TOPIC`]: one of an earlier version gives up a link on which it hears
    /// this.
    ///
    /// # Panics
    /// When that is more than was delivered.
    pub fn on_passed(&mut self, channel: ChannelId, next: Offset) {
        self.receiver.on_passed(channel, next);
    }

    /// Sends a promise over channels we announced.
    ///
    /// # Errors
    /// [`PromiseError`] when it has too many ends or names a channel that was never announced.
    pub fn promise(&mut self, promise: ChannelPromise) -> Result<(), PromiseError> {
        let (found, limit) = (promise.ends.len(), PROMISE_ENDS_LIMIT);
        if found > limit {
            return Err(PromiseError::TooManyEnds { found, limit });
        }
        if let Some(end) = promise.ends.iter().find(|end| !self.sender.is_known(end.channel)) {
            return Err(PromiseError::UnknownChannel { channel: end.channel });
        }
        if self.state != State::Closed {
            self.send_control(&Frame::Promise(promise));
        }
        Ok(())
    }

    /// Sends from now on what `flow` lets it; what was sent is not taken back.
    pub fn set_flow(&mut self, now: Monotonic, flow: Flow) {
        self.throttle.on_time(now);
        self.throttle.set(flow);
    }

    /// The driver has written `bytes` of frames on `lane`.
    pub fn on_written(&mut self, lane: Lane, bytes: ByteCount) {
        self.budget.on_written(lane, bytes.get());
    }

    /// Advances to `now`; call it no later than [`Self::poll_timeout`], and after feeding frames
    /// that have arrived, which would otherwise count as silence.
    pub fn on_timeout(&mut self, now: Monotonic) {
        if self.state == State::Closed {
            return;
        }
        self.throttle.on_time(now);
        if let Some(silence) = self.liveness.silence(now) {
            let limit = self.config.silence_timeout;
            self.end(CloseReason::Silent { silence, limit });
            return;
        }
        let keepalive = self.liveness.take_due(now);
        // On a stalled lane they would only pile up: they say how things are, not how they were.
        if let Some(keepalive) = keepalive.filter(|_| self.budget.has_room(Lane::Control, 1)) {
            self.send_control(&Frame::Keepalive(keepalive));
            for head in self.sender.take_untold_heads() {
                self.send_control(&Frame::Head(head));
            }
        }
        self.send_copies(now);
    }

    /// Sends alerts again that are on their way for a while.
    fn send_copies(&mut self, now: Monotonic) {
        self.copies.on_time(now);
        while let Some(frame) = self.copies.next_due(now) {
            let bytes = outbound::length(&frame);
            // On a stalled lane they would only pile up, behind what they repeat.
            if self.throttle.allows(Lane::Alerts) && self.budget.has_room(Lane::Alerts, bytes) {
                self.throttle.charge(bytes);
                self.copied.sent += 1;
                self.send(Lane::Alerts, frame);
            }
        }
    }

    /// Sends a sign of life now: a peer that has lost the connection answers that it has.
    pub fn probe(&mut self, now: Monotonic) {
        if self.state != State::Closed {
            self.liveness.hasten(now);
            self.on_timeout(now);
        }
    }

    /// Says something about who is in use. The peer must have offered
    /// [`crate::frame::LEASES_TOPIC`]: one of an
    /// earlier version gives up a link on which it hears this. While the control lane is stalled
    /// it is lost, since what is said of leases is said again and would only pile up.
    pub fn say(&mut self, message: LeaseMessage) {
        if self.state == State::Ready && self.budget.has_room(Lane::Control, 1) {
            self.send_control(&Frame::Lease(message));
        }
    }

    /// Closes the link in good order. What is in flight is sent again on the next connection.
    pub fn close(&mut self, reason: Goodbye) {
        if self.state != State::Closed {
            self.outputs.clear();
            self.send_control(&Frame::Goodbye(reason));
            self.end(CloseReason::Here(reason));
        }
    }

    /// Refuses the peer as a whole and closes the link.
    pub fn refuse_peer(&mut self, refusal: Refusal) {
        if self.state != State::Closed {
            self.outputs.clear();
            let refuse = Refuse { scope: Scope::Link, refusal: refusal.clone() };
            self.send_control(&Frame::Refuse(refuse));
            self.end(CloseReason::RefusedHere(refusal));
        }
    }

    /// The next thing to do; `None` until another input.
    pub fn poll_output(&mut self) -> Option<LinkOutput> {
        if self.outputs.is_empty() && self.state == State::Ready {
            self.advance();
        }
        let output = self.outputs.pop_front();
        if output.is_none() {
            // A hub has thousands of links on which little is said, and room for four outputs is
            // a kilobyte.
            self.outputs = VecDeque::new();
        }
        output
    }

    /// When to call [`Self::on_timeout`]; `None` once closed.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        let liveness = self.liveness.poll_timeout();
        let others = [self.throttle.due(), self.copies.poll_timeout()];
        let next = others.into_iter().flatten().fold(liveness, Monotonic::min);
        (self.state != State::Closed).then_some(next)
    }

    /// Every channel we offered, in the order announced. Cost: O(entries in flight).
    pub fn offers(&self) -> impl Iterator<Item = OfferStatus> {
        self.sender.statuses()
    }

    /// Every channel we subscribed to, in the order announced.
    pub fn subscriptions(&self) -> impl Iterator<Item = SubscriptionStatus> {
        self.receiver.statuses()
    }

    /// Bytes of data frames on `lane` sent and not acknowledged.
    #[must_use]
    pub const fn in_flight(&self, lane: Lane) -> ByteCount {
        self.sender.in_flight(lane)
    }

    /// Bytes on `lane` that the driver holds.
    #[must_use]
    pub const fn unsent(&self, lane: Lane) -> ByteCount {
        self.budget.unsent(lane)
    }

    /// The round trip as the last echoed keepalive took it, processing at the peer left out.
    #[must_use]
    pub const fn rtt(&self) -> Option<Duration> {
        self.liveness.rtt()
    }

    /// What copies of alerts did so far.
    #[must_use]
    pub const fn copies(&self) -> CopyCounts {
        self.copied
    }

    /// When the last frame arrived; when the link started, before the first.
    #[must_use]
    pub const fn heard_at(&self) -> Monotonic {
        self.liveness.heard_at()
    }

    fn on_decoded(
        &mut self,
        now: Monotonic,
        lane: Lane,
        frame: Frame,
        length: u64,
    ) -> Result<(), Refusal> {
        self.check_place(lane, &frame)?;
        match frame {
            Frame::Hello(hello) => self.on_hello(hello)?,
            Frame::Announce(announce) => {
                self.receiver.on_announce(&announce)?;
                let local = self.config.hello.identity.region();
                match route::check_offer(local, &self.config.peer, &announce.offer) {
                    Ok(()) => self.outputs.push_back(LinkOutput::Announced(announce)),
                    Err(refusal) => self.refuse(announce.channel, refusal),
                }
            }
            Frame::Position(position) => {
                let progress = self.sender.on_position(position)?;
                self.copies.forget(position.channel);
                self.on_progress(position.channel, progress);
            }
            Frame::Refuse(refuse) => self.on_refuse(refuse)?,
            Frame::Data(data) => self.on_data(lane, data, length)?,
            Frame::Ack(ack) => {
                let progress = self.sender.on_ack(ack.channel, ack.next)?;
                self.copies.on_acked(ack.channel, ack.next);
                self.on_progress(ack.channel, progress);
            }
            Frame::Passed(passed) => {
                self.sender.on_passed(passed.channel, passed.next)?;
                self.copies.on_acked(passed.channel, passed.next);
            }
            Frame::Head(head) => self.receiver.on_head(head)?,
            Frame::Keepalive(keepalive) => self.liveness.on_keepalive(now, keepalive),
            Frame::Promise(promise) => {
                let promise = self.receiver.on_promise(promise)?;
                self.outputs.push_back(LinkOutput::Promised(promise));
            }
            Frame::Goodbye(reason) => self.end(CloseReason::Peer(reason)),
            Frame::Lease(message) => self.outputs.push_back(LinkOutput::Leased(message)),
            Frame::RefillAsk(ask) => self.outputs.push_back(LinkOutput::RefillAsked(ask)),
            Frame::RefillPart(part) => self.outputs.push_back(LinkOutput::Refilled(part)),
            Frame::Copies(copies) => self.on_copies(copies)?,
        }
        Ok(())
    }

    /// Checks that the frame may come now and on this lane.
    fn check_place(&self, lane: Lane, frame: &Frame) -> Result<(), Refusal> {
        let has_lane = match frame {
            Frame::Data(_) => true,
            Frame::Copies(_) => lane == Lane::Alerts,
            Frame::RefillPart(_) => lane == Lane::Telemetry,
            Frame::Hello(_)
            | Frame::Announce(_)
            | Frame::Position(_)
            | Frame::Refuse(_)
            | Frame::Ack(_)
            | Frame::Passed(_)
            | Frame::Head(_)
            | Frame::Keepalive(_)
            | Frame::Promise(_)
            | Frame::Goodbye(_)
            | Frame::Lease(_)
            | Frame::RefillAsk(_) => lane == Lane::Control,
        };
        let has_turn = match (self.state, frame) {
            (State::Greeting, Frame::Hello(_)) | (_, Frame::Refuse(_) | Frame::Goodbye(_)) => true,
            (State::Greeting, _) | (_, Frame::Hello(_)) => false,
            (State::Ready | State::Closed, _) => true,
        };
        if has_lane && has_turn {
            return Ok(());
        }
        let kind = frame.kind();
        let text = format!("a frame of kind {kind} on lane {lane} while {:?}", self.state);
        Err(Refusal::new(RefusalCode::BadFrame, text))
    }

    fn on_hello(&mut self, hello: Hello) -> Result<(), Refusal> {
        let expected = &self.config.peer;
        if hello.identity != *expected {
            let text = format!("the certificate is {expected}'s, the hello {}'s", hello.identity);
            return Err(Refusal::new(RefusalCode::IdentityMismatch, text));
        }
        self.sender.on_credit(hello.window);
        self.state = State::Ready;
        self.outputs.push_back(LinkOutput::PeerReady(hello));
        Ok(())
    }

    fn on_data(&mut self, lane: Lane, data: Data, length: u64) -> Result<(), Refusal> {
        let channel = data.channel;
        if let Some(entry) = self.receiver.on_data(lane, data, length)? {
            self.outputs.push_back(LinkOutput::Deliver { channel, entry });
        }
        Ok(())
    }

    /// Takes of a datagram what comes next in its channel.
    fn on_copies(&mut self, copies: frame::Copies) -> Result<(), Refusal> {
        for data in copies.entries {
            let channel = data.channel;
            if let Some(entry) = self.receiver.on_copy(data)? {
                self.copied.taken += 1;
                self.outputs.push_back(LinkOutput::Deliver { channel, entry });
            } else {
                self.copied.passed += 1;
            }
        }
        Ok(())
    }

    fn on_refuse(&mut self, refuse: Refuse) -> Result<(), Refusal> {
        let Refuse { scope, refusal } = refuse;
        match scope {
            Scope::Link => self.end(CloseReason::RefusedByPeer(refusal)),
            Scope::Yours(channel) => {
                // Once is news; a peer that repeats it must not fill anybody's log.
                self.copies.forget(channel);
                if self.sender.on_refused(channel)?.is_some() {
                    let refused = LinkOutput::OfferRefused { channel, refusal, asked: None };
                    self.outputs.push_back(refused);
                }
            }
            Scope::Mine(channel) => {
                if self.receiver.on_ended(channel)?.is_some() {
                    self.outputs.push_back(LinkOutput::Ended { channel, refusal });
                }
            }
        }
        Ok(())
    }

    fn on_progress(&mut self, channel: ChannelId, progress: Progress) {
        match progress {
            Progress::Nothing => {}
            Progress::Acked(next) => self.outputs.push_back(LinkOutput::Acked { channel, next }),
            Progress::Ended(refusal, asked) if self.state != State::Closed => {
                self.copies.forget(channel);
                let scope = Scope::Mine(channel);
                self.send_control(&Frame::Refuse(Refuse { scope, refusal: refusal.clone() }));
                self.outputs.push_back(LinkOutput::OfferRefused { channel, refusal, asked });
            }
            Progress::Ended(..) => {}
        }
    }

    /// Finds the next thing to do: what the peer waits for first, then what we have for it.
    ///
    /// Answers wait while the driver holds too much of the control lane, and are coalesced
    /// meanwhile; that is what bounds them.
    fn advance(&mut self) {
        if self.budget.has_room(Lane::Control, 1) {
            if let Some(position) = self.receiver.next_position() {
                self.send_control(&Frame::Position(position));
                return;
            }
            if let Some(ack) = self.receiver.next_ack() {
                self.send_control(&ack);
                return;
            }
        }
        if let Some(sent) = self.sender.next_send(&self.budget, &self.throttle) {
            let sender::Sent { lane, channel, end, frame } = sent;
            let bytes = outbound::length(&frame);
            self.throttle.charge(bytes);
            self.copies.on_sent(bytes);
            if lane == Lane::Alerts {
                self.copies.keep(channel, end, &frame);
            }
            self.send(lane, frame);
        } else if let Some(read) = self.sender.next_read() {
            let sender::ReadRequest { channel, from, limit } = read;
            self.outputs.push_back(LinkOutput::Read { channel, from, limit });
        } else {
            self.send_refill();
        }
    }

    fn send_control(&mut self, frame: &Frame) {
        #[expect(clippy::expect_used, reason = "only a data frame can come near the limit")]
        let bytes = frame.encode().expect("a control frame is far below the frame limit");
        self.send(Lane::Control, bytes);
    }

    fn send(&mut self, lane: Lane, frame: Bytes) {
        self.budget.charge(lane, outbound::length(&frame));
        self.outputs.push_back(LinkOutput::Send { lane, frame });
    }

    fn end(&mut self, reason: CloseReason) {
        self.state = State::Closed;
        self.outputs.push_back(LinkOutput::Close(reason));
    }
}

/// Where a channel stands among those of its side, which are numbered without gaps.
fn index(channel: ChannelId) -> usize {
    usize::try_from(channel.get()).unwrap_or(usize::MAX)
}

/// The refusal that answers bytes which are no frame; the causes are part of its text.
fn unreadable(error: &FrameError) -> Refusal {
    let code = match error {
        FrameError::Version { .. } => RefusalCode::UnsupportedVersion,
        FrameError::TooLarge { .. } | FrameError::Layout(_) | FrameError::Batch(_) => {
            RefusalCode::BadFrame
        }
    };
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Refusal::new(code, text)
}

#[cfg(test)]
mod tests;
