//! Everything we offered, and which of it goes out next.

use bytes::Bytes;
use headland_event::{ByteCount, ChannelId, Entry, Lane, Offset};

use super::budget::Budget;
use super::flow::Throttle;
use super::index;
use super::lanes::{DATA_LANES, PerLane};
use super::outbound::{Departure, Freed, Outbound, Phase};
use super::output::{AnnounceError, OfferStatus};
use super::ring::{Ring, Waiting};
use super::shares::Shares;
use super::window::Window;
use crate::frame::{Announce, HOPS_LIMIT, Head, Offer, Position, Refusal, RefusalCode};

/// Reads staged per lane: one to send from while the next is on its way from the disk.
const STAGED_READS: u64 = 2;

/// What a frame about one of our channels meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// The peer's durable position moved.
    Acked(Offset),
    /// The channel cannot go on and was ended; a peer asked for a position that is not here.
    Ended(Refusal, Option<Offset>),
    /// Nothing the caller must know.
    Nothing,
}

/// A read to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadRequest {
    pub(super) channel: ChannelId,
    pub(super) from: Offset,
    pub(super) limit: ByteCount,
}

/// A data frame to send.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) lane: Lane,
    pub(super) channel: ChannelId,
    /// The offset after its entry.
    pub(super) end: Offset,
    pub(super) frame: Bytes,
}

#[derive(Debug, Clone, Default)]
struct LaneQueue {
    /// Channels with a staged frame.
    sendable: Ring,
    /// Channels with more in the log and nothing staged.
    readable: Ring,
    /// Bytes staged, and asked for.
    staged: u64,
}

/// Everything we offered on one link.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    channels: Vec<Outbound>,
    lanes: PerLane<LaneQueue>,
    shares: Shares,
    window: Window,
    read_bytes: ByteCount,
    channels_limit: usize,
}

impl Sender {
    pub(super) fn new(window: ByteCount, read_bytes: ByteCount, channels_limit: usize) -> Self {
        Self {
            channels: Vec::new(),
            lanes: PerLane::default(),
            shares: Shares::default(),
            window: Window::new(window),
            read_bytes,
            channels_limit,
        }
    }

    /// Takes the peer's credit into account.
    pub(super) fn on_credit(&mut self, window: ByteCount) {
        self.window.lower_to(window);
    }

    pub(super) fn announce(&mut self, offer: Offer) -> Result<Announce, AnnounceError> {
        let source_partition = offer.source.clone();
        if offer.lane == Lane::Control {
            return Err(AnnounceError::ControlLane { source_partition });
        }
        let (found, limit) = (offer.path.len(), HOPS_LIMIT);
        if found > limit {
            return Err(AnnounceError::PathTooLong { source_partition, found, limit });
        }
        let limit = self.channels_limit;
        let raw = u32::try_from(self.channels.len()).ok().filter(|_| self.channels.len() < limit);
        let Some(raw) = raw else {
            return Err(AnnounceError::TooManyChannels { source_partition, limit });
        };
        self.channels.push(Outbound::new(offer.clone()));
        Ok(Announce { channel: ChannelId::new(raw), offer })
    }

    /// An error ends the link.
    pub(super) fn on_position(&mut self, position: Position) -> Result<Progress, Refusal> {
        let outbound = self.known(position.channel)?;
        if outbound.phase() == Phase::Refused {
            return Ok(Progress::Nothing);
        }
        let is_first = outbound.phase() == Phase::Announced;
        match outbound.on_position(position)? {
            Ok(freed) => {
                self.give_back(position.channel, freed);
                self.refresh(position.channel);
                Ok(if is_first { Progress::Acked(position.next) } else { Progress::Nothing })
            }
            Err(refusal) => {
                self.end(position.channel);
                Ok(Progress::Ended(refusal, Some(position.next)))
            }
        }
    }

    /// An error ends the link.
    pub(super) fn on_ack(&mut self, channel: ChannelId, next: Offset) -> Result<Progress, Refusal> {
        let Some(outbound) = self.flowing(channel)? else { return Ok(Progress::Nothing) };
        let Some(in_flight) = outbound.on_ack(channel, next)? else {
            return Ok(Progress::Nothing);
        };
        self.give_back(channel, Freed { staged: 0, in_flight });
        Ok(Progress::Acked(next))
    }

    /// An error ends the link.
    pub(super) fn on_passed(&mut self, channel: ChannelId, next: Offset) -> Result<(), Refusal> {
        let Some(outbound) = self.flowing(channel)? else { return Ok(()) };
        let in_flight = outbound.on_passed(channel, next)?;
        self.give_back(channel, Freed { staged: 0, in_flight });
        Ok(())
    }

    /// A channel of which the peer says what it has; `None` of one that it refused.
    fn flowing(&mut self, channel: ChannelId) -> Result<Option<&mut Outbound>, Refusal> {
        let outbound = self.known(channel)?;
        match outbound.phase() {
            Phase::Refused => Ok(None),
            Phase::Announced => {
                let text = format!("channel {channel} is acknowledged before it has a position");
                Err(Refusal::new(RefusalCode::BadFrame, text))
            }
            Phase::Flowing => Ok(Some(outbound)),
        }
    }

    /// Ends a channel that the peer refused, and says whether it was alive; an error ends the link.
    pub(super) fn on_refused(&mut self, channel: ChannelId) -> Result<Option<()>, Refusal> {
        let was_alive = self.known(channel)?.phase() != Phase::Refused;
        self.end(channel);
        Ok(was_alive.then_some(()))
    }

    pub(super) fn on_head(&mut self, channel: ChannelId, head: Offset) {
        if let Some(outbound) = self.channel(channel) {
            outbound.on_head(head);
            self.refresh(channel);
        }
    }

    /// Stages the answer to a read; a late one, for a channel that ended, changes nothing.
    pub(super) fn on_entries(&mut self, channel: ChannelId, entries: Vec<Entry>) -> Progress {
        let read_bytes = self.read_bytes.get();
        let Some(outbound) = self.channel(channel).filter(|outbound| outbound.has_read_open())
        else {
            return Progress::Nothing;
        };
        let lane = outbound.offer.lane;
        let answer = outbound.on_entries(channel, entries);
        let queue = self.lanes.get_mut(lane);
        debug_assert!(queue.staged >= read_bytes, "every open read has reserved its bytes");
        queue.staged = queue.staged.saturating_sub(read_bytes);
        queue.staged += answer.bytes;
        self.refresh(channel);
        answer.refusal.map_or(Progress::Nothing, |refusal| {
            self.end(channel);
            Progress::Ended(refusal, None)
        })
    }

    /// The open read of a channel is not answered for now: its lane has the room for others.
    pub(super) fn put_off(&mut self, channel: ChannelId) {
        let read_bytes = self.read_bytes.get();
        let Some(outbound) = self.channel(channel).filter(|outbound| outbound.has_read_open())
        else {
            return;
        };
        let lane = outbound.offer.lane;
        outbound.put_off();
        let queue = self.lanes.get_mut(lane);
        debug_assert!(queue.staged >= read_bytes, "every open read has reserved its bytes");
        queue.staged = queue.staged.saturating_sub(read_bytes);
        self.refresh(channel);
    }

    /// A channel of which a read was put off goes on.
    pub(super) fn go_on(&mut self, channel: ChannelId) {
        if let Some(outbound) = self.channel(channel) {
            outbound.go_on();
            self.refresh(channel);
        }
    }

    /// The next read to ask for, alerts first; each lane has room for its own.
    pub(super) fn next_read(&mut self) -> Option<ReadRequest> {
        let limit = self.read_bytes;
        let (lane, channel) = DATA_LANES.into_iter().find_map(|lane| {
            let queue = self.lanes.get(lane);
            let has_room = queue.staged + limit.get() <= STAGED_READS * limit.get();
            queue.readable.peek().filter(|_| has_room).map(|channel| (lane, channel))
        })?;
        let from = self.channel(channel)?.start_read();
        let queue = self.lanes.get_mut(lane);
        queue.staged += limit.get();
        queue.readable.on_served(channel);
        self.refresh(channel);
        Some(ReadRequest { channel, from, limit })
    }

    /// The next frame to send, within window and budget, as far as the operator lets it.
    pub(super) fn next_send(&mut self, budget: &Budget, throttle: &Throttle) -> Option<Sent> {
        let lane = self.shares.pick(|lane| {
            self.next_bytes(lane).is_some_and(|bytes| {
                self.window.has_room(lane, bytes) && budget.has_room(lane, bytes)
            }) && throttle.allows(lane)
        })?;
        let channel = self.lanes.get(lane).sendable.peek()?;
        let departure = self.channel(channel)?.depart()?;
        let queue = self.lanes.get_mut(lane);
        queue.staged = queue.staged.saturating_sub(departure.bytes);
        queue.sendable.on_served(channel);
        self.window.charge(lane, departure.bytes);
        self.shares.charge(lane, departure.bytes);
        self.refresh(channel);
        let Departure { frame, end, bytes: _ } = departure;
        Some(Sent { lane, channel, end, frame })
    }

    /// Heads that the peer does not know yet.
    pub(super) fn take_untold_heads(&mut self) -> Vec<Head> {
        let untold = self.channels.iter_mut().zip(0_u32..).filter_map(|(outbound, raw)| {
            let head = outbound.take_untold_head()?;
            Some(Head { channel: ChannelId::new(raw), head })
        });
        untold.collect()
    }

    pub(super) fn is_known(&self, channel: ChannelId) -> bool {
        index(channel) < self.channels.len()
    }

    pub(super) fn statuses(&self) -> impl Iterator<Item = OfferStatus> {
        self.channels.iter().zip(0_u32..).map(|(out, raw)| out.status(ChannelId::new(raw)))
    }

    pub(super) const fn in_flight(&self, lane: Lane) -> ByteCount {
        self.window.in_flight(lane)
    }

    fn next_bytes(&self, lane: Lane) -> Option<u64> {
        let channel = self.lanes.get(lane).sendable.peek()?;
        self.channels.get(index(channel))?.next_bytes()
    }

    fn channel(&mut self, channel: ChannelId) -> Option<&mut Outbound> {
        self.channels.get_mut(index(channel))
    }

    fn known(&mut self, channel: ChannelId) -> Result<&mut Outbound, Refusal> {
        let count = self.channels.len();
        self.channel(channel).ok_or_else(|| {
            let text = format!("channel {channel} of {count} announced");
            Refusal::new(RefusalCode::BadFrame, text)
        })
    }

    fn end(&mut self, channel: ChannelId) {
        let reserved = self.read_bytes.get();
        let Some(outbound) = self.channel(channel) else { return };
        if outbound.phase() == Phase::Refused {
            return;
        }
        // The answer to an open read is not awaited any more, so its reservation ends here.
        let open = if outbound.has_read_open() { reserved } else { 0 };
        let mut freed = outbound.end();
        freed.staged += open;
        self.give_back(channel, freed);
        self.refresh(channel);
    }

    fn give_back(&mut self, channel: ChannelId, freed: Freed) {
        let Some(lane) = self.channel(channel).map(|outbound| outbound.offer.lane) else { return };
        let queue = self.lanes.get_mut(lane);
        debug_assert!(queue.staged >= freed.staged, "staged bytes are counted once");
        queue.staged = queue.staged.saturating_sub(freed.staged);
        self.window.give_back(lane, freed.in_flight);
    }

    /// Puts the channel into the rings it belongs in.
    fn refresh(&mut self, channel: ChannelId) {
        let Some(outbound) = self.channel(channel) else { return };
        let lane = outbound.offer.lane;
        let of = |waits: Option<()>| waits.map_or(Waiting::No, |()| Waiting::Yes);
        let sendable = of(outbound.next_bytes().map(drop));
        let readable = of(outbound.wants_read().then_some(()));
        let queue = self.lanes.get_mut(lane);
        queue.sendable.set(channel, sendable);
        queue.readable.set(channel, readable);
    }
}
