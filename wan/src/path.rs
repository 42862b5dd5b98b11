//! One direction of an emulated network.
//!
//! A packet waits for the rate, then travels for the delay and what the jitter adds. Its fate is
//! drawn from the seed in the order of arrival, see `fate.rs`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::fate::{Fates, wander};
use crate::profile::PathProfile;
use crate::quantity::Mtu;

/// Bytes travelling at once, whatever the rate and delay: more is dropped, and counted as the
/// emulator's own failure.
///
/// 400 Mbit/s over 500 ms are 25 MB, so a profile of a real network stays far below; a sender
/// without congestion control on a path without a rate must not eat the machine's memory.
pub const IN_FLIGHT_BYTES_LIMIT: usize = 64 << 20;

/// A packet that leaves this much after it was due was late.
pub const LATE: Duration = Duration::from_millis(1);

/// What a path carries.
pub trait Packet: Clone {
    /// Its length on the wire in bytes, with the IP header.
    fn size(&self) -> usize;
}

/// A UDP datagram on its way through a relay, with the client it came from or goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The client's side of the relay.
    pub client: SocketAddr,
    /// The payload.
    pub bytes: Vec<u8>,
}

impl Packet for Datagram {
    fn size(&self) -> usize {
        let header = match self.client {
            SocketAddr::V4(_) => 28,
            SocketAddr::V6(_) => 48,
        };
        self.bytes.len().saturating_add(header)
    }
}

/// A whole IP packet.
impl Packet for Vec<u8> {
    fn size(&self) -> usize {
        self.len()
    }
}

/// What a path did with a packet at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It travels, once or twice.
    Taken,
    /// It is gone, and nobody tells the sender.
    Dropped,
    /// It is gone, and a router on the way would tell the sender why.
    TooBig {
        /// What would have fitted.
        mtu: Mtu,
    },
}

/// What became of the packets of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathCounters {
    /// Packets handed out, duplicates included.
    pub forwarded: u64,
    /// Bytes of them, with IP headers.
    pub forwarded_bytes: u64,
    /// Packets lost at random, alone or in bursts.
    pub lost: u64,
    /// Packets that met a cut: sent during it, or travelling when it began.
    pub cut: u64,
    /// Packets that found the queue full.
    pub queue_drops: u64,
    /// Packets larger than the path's MTU.
    pub too_big: u64,
    /// Second copies made.
    pub duplicated: u64,
    /// Packets held back so that others overtake them.
    pub reordered: u64,
    /// Packets among the forwarded whose receiver's address was no longer anybody's.
    pub forgotten: u64,
    /// Packets the emulator itself lost: no memory, or the driver could not keep up.
    pub own_drops: u64,
    /// Packets taken out more than [`LATE`] after they were due.
    pub late: u64,
    /// How much later than due a packet was taken out at most: what the driver's timer adds.
    pub timer_lag_max: Duration,
    /// The sum of all such delays; over `forwarded` it is their mean.
    pub timer_lag_sum: Duration,
}

/// Whether a path lets anything through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Passage {
    #[default]
    Open,
    Cut,
}

/// One direction: packets in, the same packets out when they are due.
#[derive(Debug)]
pub struct Path<P> {
    profile: PathProfile,
    seed: u64,
    fates: Fates,
    passage: Passage,
    /// When the last packet queued for the rate will have left.
    idle_at: Duration,
    /// By due time, then by order of arrival.
    in_flight: BTreeMap<(Duration, u64), P>,
    in_flight_bytes: usize,
    arrivals: u64,
    counters: PathCounters,
}

impl<P: Packet> Path<P> {
    /// An open path that repeats itself for the same seed and inputs.
    #[must_use]
    pub fn new(profile: PathProfile, seed: u64) -> Self {
        Self {
            profile,
            seed,
            fates: Fates::new(seed),
            passage: Passage::Open,
            idle_at: Duration::ZERO,
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
            arrivals: 0,
            counters: PathCounters::default(),
        }
    }

    /// Takes a packet that a sender put on the path at `now`, time since the start.
    ///
    /// Cost: O(log n) for n packets in flight.
    pub fn on_packet(&mut self, now: Duration, packet: P) -> Admission {
        let fate = self.fates.draw(&self.profile);
        let size = packet.size();
        let counters = &mut self.counters;
        if self.passage == Passage::Cut {
            counters.cut += 1;
            return Admission::Dropped;
        }
        if let Some(mtu) = self.profile.mtu.filter(|mtu| size > usize::from(mtu.get())) {
            counters.too_big += 1;
            return Admission::TooBig { mtu };
        }
        if fate.is_lost {
            counters.lost += 1;
            return Admission::Dropped;
        }
        if !self.has_room(size) {
            self.counters.own_drops += 1;
            return Admission::Dropped;
        }
        let Some(sent_at) = self.enqueue(now, size) else {
            self.counters.queue_drops += 1;
            return Admission::Dropped;
        };
        let jitter = wander(self.seed, self.profile.jitter, sent_at);
        let mut due = sent_at + self.profile.delay + jitter;
        if fate.is_held_back {
            self.counters.reordered += 1;
            due += self.profile.reordering_delay;
        }
        if fate.is_doubled && self.has_room(size.saturating_mul(2)) {
            self.counters.duplicated += 1;
            self.insert(due, packet.clone());
        }
        self.insert(due, packet);
        Admission::Taken
    }

    /// Counts packets that the driver lost before they reached the path.
    pub fn on_own_drops(&mut self, count: u64) {
        self.counters.own_drops = self.counters.own_drops.saturating_add(count);
    }

    /// Counts a packet that came out but had no receiver any more, its address being changed.
    pub fn on_forgotten(&mut self) {
        self.counters.forgotten += 1;
        debug_assert!(self.counters.forgotten <= self.counters.forwarded, "it came out before");
    }

    /// The next packet that is due at `now`, in order of due time.
    pub fn poll_output(&mut self, now: Duration) -> Option<P> {
        let first = self.in_flight.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((due, _), packet) = first.remove_entry();
        let (size, lag) = (packet.size(), now.saturating_sub(due));
        self.in_flight_bytes -= size;
        let counters = &mut self.counters;
        counters.forwarded += 1;
        counters.forwarded_bytes += u64::try_from(size).unwrap_or(u64::MAX);
        counters.late += u64::from(lag > LATE);
        counters.timer_lag_max = counters.timer_lag_max.max(lag);
        counters.timer_lag_sum = counters.timer_lag_sum.saturating_add(lag);
        self.check();
        Some(packet)
    }

    /// When the next packet is due, `None` when nothing travels.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.in_flight.first_key_value().map(|((due, _), _)| *due)
    }

    /// Shapes what arrives from now on by another profile; what travels keeps its due time.
    pub fn set_profile(&mut self, profile: PathProfile) {
        self.profile = profile;
    }

    /// What shapes the packets that arrive now.
    #[must_use]
    pub const fn profile(&self) -> PathProfile {
        self.profile
    }

    /// Cuts the path: what travels is lost, and so is what arrives until [`Self::heal`].
    pub fn cut(&mut self) {
        self.passage = Passage::Cut;
        self.counters.cut += u64::try_from(self.in_flight.len()).unwrap_or(u64::MAX);
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        // The queue in front of the cut is gone with it.
        self.idle_at = Duration::ZERO;
    }

    /// Ends a cut; nothing dropped during it comes back.
    pub fn heal(&mut self) {
        self.passage = Passage::Open;
    }

    /// What became of the packets so far.
    #[must_use]
    pub const fn counters(&self) -> PathCounters {
        self.counters
    }

    /// When a packet that arrives at `now` has left at the path's rate, or `None` when the queue
    /// is full. An idle path takes any packet: the queue holds those that wait.
    fn enqueue(&mut self, now: Duration, length: usize) -> Option<Duration> {
        let Some(rate) = self.profile.rate else {
            return Some(now);
        };
        let send_time = rate.time_for(length);
        let waiting = self.idle_at.saturating_sub(now);
        if !waiting.is_zero() && waiting + send_time > self.profile.queue.wait_max(rate) {
            return None;
        }
        self.idle_at = now + waiting + send_time;
        Some(self.idle_at)
    }

    fn has_room(&self, length: usize) -> bool {
        self.in_flight_bytes.saturating_add(length) <= IN_FLIGHT_BYTES_LIMIT
    }

    fn insert(&mut self, due: Duration, packet: P) {
        self.in_flight_bytes += packet.size();
        self.arrivals += 1;
        let replaced = self.in_flight.insert((due, self.arrivals), packet);
        debug_assert!(replaced.is_none(), "arrival numbers are unique");
        self.check();
    }

    fn check(&self) {
        debug_assert!(self.in_flight_bytes <= IN_FLIGHT_BYTES_LIMIT, "the bound on memory holds");
        debug_assert!(
            self.in_flight_bytes == 0 || !self.in_flight.is_empty(),
            "only what travels is counted as travelling"
        );
    }
}

#[cfg(test)]
mod tests;
