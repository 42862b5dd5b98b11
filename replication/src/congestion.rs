//! How much of a connection may be on its way through the network.
//!
//! The window follows what the path has shown it can deliver, not what it loses: the largest
//! delivery rate of the last rounds, times the shortest round trip, and a little more, so that a
//! path that got faster is noticed.
//!
//! ```text
//!   path   = rate × shortest round trip
//!   window = gain × path + QUEUE_SHARE × √path + turn
//!
//!   Startup ──queue grows, or rate stands──▶ Settle ──one round──▶ Cruise ◀──two rounds──▶ Drain
//! ```
//! - **Startup** grows by half per round and ends at the first sign of a queue. What is in flight
//!   by then is half as much again as the path holds; doubling filled a queue of 100 ms.
//! - **Loss** below 15 % of a round changes nothing: on long paths it is weather. Above that the
//!   path has become slower, and what it used to deliver is forgotten.
//! - **A queue** that is longer than this connection's own for some rounds may belong to others. A
//!   drain tells: when the queue stands although it sent less, it competes as they do, by growing
//!   until a loss, from the share that it had before the queue: by half a round until the first
//!   loss, as they grew when they started, then slowly; until a drain shows an empty path again. A
//!   fixed multiple of what the path holds, as BBR has it, was left 10 % by a kernel's cubic with a
//!   queue of 100 ms; slow growth from the start 6 %; to compete only beside a queue of 60 ms 7 %,
//!   as cubic keeps that queue between 10 and 45 ms once it has the path.
//! - **A turn** is what is acknowledged at once beyond what the path delivers meanwhile. What waits
//!   for its turn on a radio or a busy machine is in flight too, and no queue; without room for it
//!   a path of 80 ms with turns of 20 ms delivered 36 % of what it could.
//! - **Drain** keeps the window below what the path holds for two rounds now and then, to see the
//!   shortest round trip, and whether others are there.
//! - The root in the window is a queue of its own for every connection: the slower of two
//!   connections has more of it for its rate, and so they become equal.
//!
//! # Source
//! Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 14(5), 2016, for the
//! model; Jin, Wei, Low, "FAST TCP", INFOCOM 2004, §III, for a fixed share of the queue; Arun and
//! Balakrishnan, "Copa", NSDI 2018, §2.2, for telling an own queue from that of others.

use std::time::Duration;

use headland_event::{ByteCount, Monotonic};

/// What a path delivers.
mod rate;
/// What one round trip showed.
mod round;
/// The shortest round trip, as it was lately.
mod shortest;
/// How much is acknowledged at once.
mod turns;

use rate::RateFilter;
use round::{Round, RoundResult};
use shortest::Shortest;
use turns::Turns;

/// Datagrams before anything is known (RFC 9002, §7.2 has 10; pacing spreads them), each counted
/// as one of Ethernet at most: larger ones would fill a slow path's queue at once.
const INITIAL_DATAGRAMS: u64 = 32;
const ETHERNET_BYTES: u64 = 1_472;
/// Datagrams in flight at least: enough for the peer to see a loss by what follows it.
const LEAST_DATAGRAMS: u64 = 4;
/// Most bytes in flight, whatever the path shows: several times a hub's flow-control windows.
const WINDOW_LIMIT: u64 = 64 << 20;

/// Percent of what the path holds, alone on it: the rest is how a faster path is found.
const GAIN_ALONE: u64 = 115;
/// Percent of the window kept after a loss against senders that fill the queue. Cubic keeps 70, but
/// bbr gives nothing away: with 75 it left a link less than a quarter in the end. Each round adds
/// the root of the window in datagrams; half of that left 20 % beside a kernel's bbr.
const KEPT_COMPETING: u64 = 90;
/// Percent while the queue is too long.
const GAIN_SHRINKING: u64 = 90;
/// Percent while the queue is emptied to see the path without it.
const GAIN_DRAINING: u64 = 75;
/// Bytes of queue for each root of a byte that the path holds: 256 KiB at 400 Mbit/s and 80 ms.
const QUEUE_SHARE: u64 = 128;

/// Round trips count as this long at least: on a shorter path what the two machines take to answer
/// outweighs the network, and a window made for the network alone would starve it.
const SHORT_ROUND_TRIP: Duration = Duration::from_millis(10);

/// Rounds without a loss to the queue after which it is far from full, and the window grows by a
/// part of itself, as cubic's does by then. A loss that others caused before the window had grown
/// left a link 15 % of a fast path for half a minute.
const QUIET_ROUNDS: u32 = 20;
/// That part: a quarter more in four rounds.
const QUIET_GROWTH: u64 = 16;

/// What [`Congestion::pacing_gain`] is at most, and the pause that each one more makes up for: the
/// interval of quinn's bursts.
const PACING_GAIN_LIMIT: u64 = 8;
const BURST_INTERVAL: Duration = Duration::from_millis(2);

/// Percent of a round's bytes lost from which on the path counts as slower.
const LOSS_LIMIT: u64 = 15;
/// Rounds with a long queue after which a drain shows whose it is.
const CROWDED_ROUNDS: u32 = 4;
/// Time after a drain that showed no others in which no other drain looks for them: what a drain
/// costs is little then.
const TRUST: Duration = Duration::from_secs(3);
/// What a queue may be longer than its own before it counts as long: an eighth of the shortest
/// round trip, within these. Timers and radios make as much.
const SLACK: (Duration, Duration) = (Duration::from_millis(8), Duration::from_millis(40));
/// Rounds without growth by a quarter after which startup is over.
const FLAT_ROUNDS: u32 = 3;
/// Rounds of a drain: one to send less, one to see the effect.
const DRAIN_ROUNDS: u32 = 2;
/// Time between drains: the shortest round trip is remembered for longer than that, and this long
/// a connection may compete against nobody.
const DRAIN_INTERVAL: Duration = Duration::from_secs(10);

/// What limited the sender lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The window: what was delivered says what the path can.
    Window,
    /// There was nothing to send: what was delivered says nothing about the path.
    Application,
}

/// What a loss was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Some datagrams.
    Single,
    /// Everything for several round trips: the path was gone, and may be another one.
    Persistent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Startup,
    Settle,
    Cruise,
    Drain { left: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Company {
    Alone,
    Competing {
        /// Bytes that it has reached.
        window: u64,
        /// Rounds since it last lost something to the queue; `None` before the first loss.
        quiet_rounds: Option<u32>,
    },
}

/// Decides how many bytes of one connection may be in flight.
///
/// Feed what was acknowledged and lost; read [`Self::window`].
#[derive(Debug, Clone)]
pub struct Congestion {
    datagram: u64,
    window: u64,
    phase: Phase,
    company: Company,
    rate: RateFilter,
    shortest: Shortest,
    turns: Turns,
    round: Round,
    best_startup_rate: u64,
    flat_rounds: u32,
    crowded_rounds: u32,
    /// The shortest round trip since the last start: what stood on the path before is no sign.
    start_shortest: Option<Duration>,
    /// Bytes in flight before the drain that looks for others.
    share: u64,
    drain_at: Monotonic,
    trusted_until: Monotonic,
}

impl Congestion {
    /// A path of which nothing is known but the size of its datagrams.
    #[must_use]
    pub fn new(now: Monotonic, datagram: ByteCount) -> Self {
        let datagram = datagram.get().max(1);
        Self {
            datagram,
            window: initial_window(datagram),
            phase: Phase::Startup,
            company: Company::Alone,
            rate: RateFilter::default(),
            shortest: Shortest::default(),
            turns: Turns::default(),
            round: Round::new(now),
            best_startup_rate: 0,
            flat_rounds: 0,
            crowded_rounds: 0,
            start_shortest: None,
            share: 0,
            drain_at: now.after(DRAIN_INTERVAL),
            trusted_until: now,
        }
    }

    /// Bytes that may be in flight before anything is known.
    #[must_use]
    pub const fn initial_window(&self) -> ByteCount {
        ByteCount::new(initial_window(self.datagram))
    }

    /// Bytes that may be in flight.
    #[must_use]
    pub const fn window(&self) -> ByteCount {
        ByteCount::new(self.window)
    }

    /// Bytes that the path holds without a queue, as far as is known: 0 before the first round.
    #[must_use]
    pub fn path_bytes(&self) -> ByteCount {
        let shortest = self.shortest.get().unwrap_or_default().max(SHORT_ROUND_TRIP);
        ByteCount::new(times(self.rate.max().unwrap_or(0), shortest))
    }

    /// The shortest round trip lately; `None` before the first.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.shortest.get()
    }

    /// How many times faster than a window per round trip datagrams may leave while the window has
    /// room: 1 to 8.
    ///
    /// A bucket of tokens for 2 ms (RFC 9002, §7.7 leaves its size open) is full long before a
    /// sender that is woken every 10 ms comes to empty it: beside busy neighbours a link used a
    /// third of its window. What comes in turns, or is looked at in turns, has to leave in turns.
    #[must_use]
    pub fn pacing_gain(&self) -> u64 {
        let rate = self.rate.max().unwrap_or(0);
        let each = times(rate, BURST_INTERVAL).max(self.datagram);
        (1 + self.turns.bytes() / each).min(PACING_GAIN_LIMIT)
    }

    /// The path carries datagrams of this size from now on.
    pub fn on_datagram_size(&mut self, datagram: ByteCount) {
        self.datagram = datagram.get().max(1);
        self.window = self.bounded(self.window);
    }

    /// A datagram of `bytes`, sent at `sent_at`, has arrived.
    pub fn on_acked(&mut self, now: Monotonic, sent_at: Monotonic, bytes: ByteCount) {
        let round_trip = now.since(sent_at);
        self.shortest.on_round_trip(now, round_trip);
        let start = self.start_shortest.map_or(round_trip, |known| known.min(round_trip));
        self.start_shortest = Some(start);
        self.round.on_acked(sent_at, round_trip, bytes.get());
    }

    /// The acknowledgement that came at `now` is taken in; `in_flight` bytes remain.
    pub fn on_acks_end(&mut self, now: Monotonic, in_flight: ByteCount, limit: Limit) {
        let acked = self.round.take_fresh();
        // A sender that uses less than half of its window says nothing about a larger one; one that
        // had nothing to send for a moment, between two bursts, is limited by the window.
        let is_used = in_flight.get().saturating_add(acked) * 2 >= self.window;
        self.round.on_limit(if is_used { Limit::Window } else { limit });
        if self.phase == Phase::Startup {
            if is_used {
                self.window = self.bounded(self.window.saturating_add(acked / 2));
            }
            let floor = self.start_shortest;
            if self.round.lately().zip(floor).is_some_and(|(lately, floor)| exceeds(lately, floor))
            {
                self.settle();
            }
        } else {
            // A path that is still being found delivers more than is known, which is no turn.
            self.turns.on_acked(now, acked, self.rate.max().unwrap_or(0));
        }
        if let Some(result) = self.round.end(now) {
            self.on_round(now, result);
        }
    }

    /// Datagrams of `bytes` in all are lost; 0 when the path only marked them.
    pub fn on_lost(&mut self, now: Monotonic, bytes: ByteCount, loss: Loss) {
        match loss {
            Loss::Single => self.round.on_lost(bytes.get()),
            Loss::Persistent => {
                // The same path most likely, so a part of what it held is tried at once; startup
                // finds the rest, or that it is less now.
                let window = self.path_bytes().get() / 4;
                self.window = self.bounded(window.max(self.initial_window().get()));
                self.enter_startup(now);
            }
        }
    }

    fn enter_startup(&mut self, now: Monotonic) {
        self.phase = Phase::Startup;
        self.company = Company::Alone;
        self.rate.forget();
        self.round = Round::new(now);
        self.start_shortest = None;
        (self.best_startup_rate, self.flat_rounds, self.crowded_rounds) = (0, 0, 0);
    }

    /// Ends startup: the window becomes what was in flight without the queue that it built.
    fn settle(&mut self) {
        let (lately, shortest) = (self.round.lately(), self.shortest.get());
        if let (Some(lately), Some(shortest)) = (lately, shortest) {
            let kept = u128::from(self.window) * shortest.as_nanos() / lately.as_nanos().max(1);
            self.window = self.bounded(u64::try_from(kept).unwrap_or(u64::MAX));
        }
        self.phase = Phase::Settle;
    }

    fn on_round(&mut self, now: Monotonic, result: RoundResult) {
        debug_assert!(result.took > Duration::ZERO, "a round takes time");
        let is_heavy = result.lost * 100 >= (result.lost + result.acked) * LOSS_LIMIT
            && result.lost > LEAST_DATAGRAMS * self.datagram;
        if is_heavy {
            self.rate.forget();
        }
        self.rate.on_round(result.rate(), result.limit);
        self.turns.on_round();
        match self.phase {
            Phase::Startup if is_heavy => self.settle(),
            Phase::Startup => self.grow(result),
            Phase::Settle => {
                self.phase = Phase::Cruise;
                self.drain_at = now.after(DRAIN_INTERVAL);
                self.apply(GAIN_ALONE);
            }
            Phase::Cruise => self.cruise(now, result, is_heavy),
            Phase::Drain { left } => self.drain(now, result, left),
        }
    }

    fn grow(&mut self, result: RoundResult) {
        if result.limit == Limit::Application {
            return;
        }
        if result.rate() >= self.best_startup_rate + self.best_startup_rate / 4 {
            self.best_startup_rate = result.rate();
            self.flat_rounds = 0;
        } else {
            self.flat_rounds += 1;
        }
        if self.flat_rounds >= FLAT_ROUNDS {
            self.settle();
        }
    }

    fn cruise(&mut self, now: Monotonic, result: RoundResult, is_heavy: bool) {
        let is_crowded = result.is_marked || self.is_long(result.shortest);
        self.crowded_rounds = if is_crowded { self.crowded_rounds.saturating_add(1) } else { 0 };
        if let Company::Competing { window, quiet_rounds } = self.company {
            self.company = self.competed(window, quiet_rounds, result, is_crowded);
        } else if self.crowded_rounds >= CROWDED_ROUNDS && self.trusted_until <= now {
            self.share = times(self.rate.max().unwrap_or(0), result.shortest);
            self.drain_at = now;
        }
        if self.drain_at <= now {
            self.phase = Phase::Drain { left: DRAIN_ROUNDS };
            self.apply(GAIN_DRAINING);
            return;
        }
        match self.company {
            Company::Competing { window, .. } => self.window = window,
            Company::Alone if is_heavy || is_crowded => self.apply(GAIN_SHRINKING),
            Company::Alone => self.apply(GAIN_ALONE),
        }
    }

    /// The next window against senders that fill the queue: loss without a queue is weather.
    fn competed(
        &self,
        window: u64,
        quiet_rounds: Option<u32>,
        result: RoundResult,
        is_crowded: bool,
    ) -> Company {
        let step = (window / self.datagram).isqrt().max(1) * self.datagram;
        let (next, quiet_rounds) = match quiet_rounds {
            _ if is_crowded && (result.lost > 0 || result.is_marked) => {
                // What arrived is what fits, when growth by half overshot by more than is taken.
                let is_full = result.limit == Limit::Window;
                let fits = if is_full { result.acked } else { u64::MAX };
                ((window / 100 * KEPT_COMPETING).min(fits.max(window / 2)), Some(0))
            }
            // A window that is not used says nothing about a larger one.
            _ if result.limit == Limit::Application => (window, quiet_rounds),
            None => (window + window / 2, None),
            Some(rounds) if rounds < QUIET_ROUNDS => (window + step, Some(rounds + 1)),
            Some(rounds) => (window + step.max(window / QUIET_GROWTH), Some(rounds)),
        };
        Company::Competing { window: self.bounded(next), quiet_rounds }
    }

    fn drain(&mut self, now: Monotonic, result: RoundResult, left: u32) {
        if left > 1 {
            self.phase = Phase::Drain { left: left - 1 };
            return;
        }
        (self.phase, self.drain_at) = (Phase::Cruise, now.after(DRAIN_INTERVAL));
        self.company = match self.company {
            _ if !self.is_queueing(result.shortest) => Company::Alone,
            Company::Alone if self.crowded_rounds >= CROWDED_ROUNDS => {
                Company::Competing { window: self.bounded(self.share), quiet_rounds: None }
            }
            company => company,
        };
        match self.company {
            Company::Alone => {
                (self.crowded_rounds, self.trusted_until) = (0, now.after(TRUST));
                self.apply(GAIN_ALONE);
            }
            Company::Competing { window, .. } => self.window = window,
        }
    }

    /// Sets the window to `gain` percent of what the path holds, and a queue of its own.
    fn apply(&mut self, gain: u64) {
        if self.rate.max().is_none() {
            return;
        }
        let held = self.path_bytes().get();
        let queue = if gain > 100 { QUEUE_SHARE * held.isqrt() } else { 0 };
        // A queue that ends at once looks like a turn: room for half of what the path holds leaves
        // others theirs, and a drain that left room for a turn would empty nothing.
        let turn = self.turns.bytes().min(if gain > 100 { held / 2 } else { held / 8 });
        self.window = self.bounded(held.saturating_mul(gain) / 100 + queue + turn);
    }

    /// Whether a round trip shows the beginning of a queue.
    fn is_queueing(&self, round_trip: Duration) -> bool {
        self.shortest.get().is_some_and(|shortest| exceeds(round_trip, shortest))
    }

    /// Whether a round trip shows a queue that is longer than our own.
    fn is_long(&self, round_trip: Duration) -> bool {
        let Some(shortest) = self.shortest.get() else { return false };
        let (held, rate) = (self.path_bytes().get(), self.rate.max().unwrap_or(0).max(1));
        let own = u128::from(held * (GAIN_ALONE - 100) / 100 + QUEUE_SHARE * held.isqrt());
        let own = u64::try_from(own * 1_000_000_000 / u128::from(rate)).unwrap_or(u64::MAX);
        exceeds(round_trip, shortest.saturating_add(Duration::from_nanos(own)))
    }

    fn bounded(&self, window: u64) -> u64 {
        window.clamp(LEAST_DATAGRAMS * self.datagram, WINDOW_LIMIT)
    }
}

/// Bytes in flight before anything is known.
const fn initial_window(datagram: u64) -> u64 {
    let counted = if datagram < ETHERNET_BYTES { datagram } else { ETHERNET_BYTES };
    INITIAL_DATAGRAMS * counted
}

/// Whether a round trip is longer than a known one by more than timers and radios make.
fn exceeds(round_trip: Duration, known: Duration) -> bool {
    let (least, most) = SLACK;
    round_trip > known.saturating_add((known / 8).clamp(least, most))
}

/// Bytes that `rate` bytes per second make in `duration`.
fn times(rate: u64, duration: Duration) -> u64 {
    let bytes = u128::from(rate) * duration.as_nanos() / 1_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
