//! One direction of an emulated network.
//!
//! A datagram waits for the rate, then travels for the delay and its share of the jitter. Its fate
//! is drawn from the seed in the order of arrival, always with the same number of draws, so the
//! n-th datagram meets the same fate whatever happened to those before it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::profile::PathProfile;
use crate::quantity::below;

/// Bytes travelling at once, whatever the rate and delay: more is dropped as if a queue were full.
///
/// 400 Mbit/s over 500 ms are 25 MB, so a profile of a real network stays far below; a sender
/// without congestion control on a path without a rate must not eat the machine's memory.
pub const IN_FLIGHT_BYTES_LIMIT: usize = 64 << 20;

/// A UDP datagram on its way, with the client it came from or goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The client's side of the relay.
    pub client: SocketAddr,
    /// The payload.
    pub bytes: Vec<u8>,
}

/// What became of the datagrams of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathCounters {
    /// Datagrams handed out, duplicates included.
    pub forwarded: u64,
    /// Datagrams lost at random.
    pub lost: u64,
    /// Datagrams that met a cut: sent during it, or travelling when it began.
    pub cut: u64,
    /// Datagrams that found the queue full.
    pub queue_drops: u64,
    /// Second copies made.
    pub duplicated: u64,
    /// How much later than due a datagram was taken out at most: what the driver's timer adds.
    pub timer_lag_max: Duration,
}

/// Whether a path lets anything through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Passage {
    #[default]
    Open,
    Cut,
}

/// One direction: datagrams in, the same datagrams out when they are due.
#[derive(Debug)]
pub struct Path {
    profile: PathProfile,
    random: ChaCha8Rng,
    passage: Passage,
    /// When the last datagram queued for the rate will have left.
    idle_at: Duration,
    /// By due time, then by order of arrival.
    in_flight: BTreeMap<(Duration, u64), Datagram>,
    in_flight_bytes: usize,
    arrivals: u64,
    counters: PathCounters,
}

/// What the seed says about one datagram.
struct Fate {
    is_lost: bool,
    is_doubled: bool,
    jitter: Duration,
}

impl Path {
    /// An open path that repeats itself for the same seed and inputs.
    #[must_use]
    pub fn new(profile: PathProfile, seed: u64) -> Self {
        Self {
            profile,
            random: ChaCha8Rng::seed_from_u64(seed),
            passage: Passage::Open,
            idle_at: Duration::ZERO,
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
            arrivals: 0,
            counters: PathCounters::default(),
        }
    }

    /// Takes a datagram that a sender put on the path at `now`, time since the start.
    ///
    /// Cost: O(log n) for n datagrams in flight.
    pub fn on_datagram(&mut self, now: Duration, datagram: Datagram) {
        let fate = self.draw();
        if self.passage == Passage::Cut {
            self.counters.cut += 1;
            return;
        }
        if fate.is_lost {
            self.counters.lost += 1;
            return;
        }
        let Some(sent_at) = self.enqueue(now, datagram.bytes.len()) else {
            self.counters.queue_drops += 1;
            return;
        };
        let due = sent_at + self.profile.delay + fate.jitter;
        if fate.is_doubled && self.has_room(datagram.bytes.len().saturating_mul(2)) {
            self.counters.duplicated += 1;
            self.insert(due, datagram.clone());
        }
        self.insert(due, datagram);
    }

    /// The next datagram that is due at `now`, in order of due time.
    pub fn poll_output(&mut self, now: Duration) -> Option<Datagram> {
        let first = self.in_flight.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((due, _), datagram) = first.remove_entry();
        self.in_flight_bytes -= datagram.bytes.len();
        self.counters.forwarded += 1;
        self.counters.timer_lag_max = self.counters.timer_lag_max.max(now.saturating_sub(due));
        self.check();
        Some(datagram)
    }

    /// When the next datagram is due, `None` when nothing travels.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.in_flight.first_key_value().map(|((due, _), _)| *due)
    }

    /// Shapes what arrives from now on by another profile; what travels keeps its due time.
    pub fn set_profile(&mut self, profile: PathProfile) {
        self.profile = profile;
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

    /// What became of the datagrams so far.
    #[must_use]
    pub const fn counters(&self) -> PathCounters {
        self.counters
    }

    /// Draws the fate of the next datagram: always three numbers, whatever the profile says, so
    /// that a changed profile or a cut does not shift the fates of those after it.
    fn draw(&mut self) -> Fate {
        let PathProfile { loss, duplication, jitter, .. } = self.profile;
        let jitter = u64::try_from(jitter.as_nanos()).unwrap_or(u64::MAX - 1);
        Fate {
            is_lost: loss.happens(self.random.next_u64()),
            is_doubled: duplication.happens(self.random.next_u64()),
            jitter: Duration::from_nanos(below(self.random.next_u64(), jitter + 1)),
        }
    }

    /// When a datagram that arrives at `now` has left at the path's rate, or `None` when the queue
    /// is full. An idle path takes any datagram: the queue holds those that wait.
    fn enqueue(&mut self, now: Duration, length: usize) -> Option<Duration> {
        if !self.has_room(length) {
            return None;
        }
        let Some(rate) = self.profile.rate else {
            return Some(now);
        };
        let send_time = rate.time_for(length);
        let waiting = self.idle_at.saturating_sub(now);
        if !waiting.is_zero() && waiting + send_time > rate.time_for(self.profile.queue.as_len()) {
            return None;
        }
        self.idle_at = now + waiting + send_time;
        Some(self.idle_at)
    }

    fn has_room(&self, length: usize) -> bool {
        self.in_flight_bytes.saturating_add(length) <= IN_FLIGHT_BYTES_LIMIT
    }

    fn insert(&mut self, due: Duration, datagram: Datagram) {
        self.in_flight_bytes += datagram.bytes.len();
        self.arrivals += 1;
        let replaced = self.in_flight.insert((due, self.arrivals), datagram);
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
