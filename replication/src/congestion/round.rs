//! What one round trip showed.

use std::time::Duration;

use headland_event::Monotonic;

use super::Limit;

/// Acknowledged datagrams in a row whose shortest round trip tells a queue from jitter (HyStart++,
/// RFC 9406, §4.2).
const SAMPLES: u32 = 8;

/// The round that is going on: it ends when something sent after its start is acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Round {
    started: Monotonic,
    is_over: bool,
    acked: u64,
    lost: u64,
    /// Acknowledged by the acknowledgement that is being taken in.
    fresh: u64,
    is_marked: bool,
    limit: Limit,
    shortest: Option<Duration>,
    samples: u32,
    sampled: Duration,
    lately: Option<Duration>,
}

/// A round that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoundResult {
    /// How long it took.
    pub(super) took: Duration,
    /// Bytes that arrived.
    pub(super) acked: u64,
    /// Bytes that did not.
    pub(super) lost: u64,
    /// Whether the path marked datagrams (RFC 3168).
    pub(super) is_marked: bool,
    /// What limited the sender.
    pub(super) limit: Limit,
    /// The shortest round trip in it.
    pub(super) shortest: Duration,
}

impl RoundResult {
    /// Bytes per second that arrived.
    pub(super) fn rate(&self) -> u64 {
        let rate = u128::from(self.acked) * 1_000_000_000 / self.took.as_nanos().max(1);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

impl Round {
    pub(super) const fn new(started: Monotonic) -> Self {
        Self {
            started,
            is_over: false,
            acked: 0,
            lost: 0,
            fresh: 0,
            is_marked: false,
            limit: Limit::Window,
            shortest: None,
            samples: 0,
            sampled: Duration::MAX,
            lately: None,
        }
    }

    pub(super) fn on_acked(&mut self, sent_at: Monotonic, round_trip: Duration, bytes: u64) {
        self.is_over |= sent_at > self.started;
        self.acked = self.acked.saturating_add(bytes);
        self.fresh = self.fresh.saturating_add(bytes);
        self.shortest = Some(self.shortest.map_or(round_trip, |known| known.min(round_trip)));
        self.sampled = self.sampled.min(round_trip);
        self.samples += 1;
        if self.samples == SAMPLES {
            self.lately = Some(self.sampled);
            (self.samples, self.sampled) = (0, Duration::MAX);
        }
    }

    /// Counts lost bytes; a loss of none is a mark.
    pub(super) const fn on_lost(&mut self, bytes: u64) {
        self.lost = self.lost.saturating_add(bytes);
        self.is_marked |= bytes == 0;
    }

    pub(super) fn on_limit(&mut self, limit: Limit) {
        if limit == Limit::Application {
            self.limit = limit;
        }
    }

    /// Bytes acknowledged since the last call.
    pub(super) const fn take_fresh(&mut self) -> u64 {
        std::mem::replace(&mut self.fresh, 0)
    }

    /// The shortest round trip of the last few datagrams, once there were enough.
    pub(super) const fn lately(&self) -> Option<Duration> {
        self.lately
    }

    /// Ends the round if it is over, and starts the next.
    pub(super) fn end(&mut self, now: Monotonic) -> Option<RoundResult> {
        let took = now.since(self.started);
        let shortest = self.shortest.filter(|_| self.is_over && took > Duration::ZERO)?;
        let Self { acked, lost, is_marked, limit, samples, sampled, lately, .. } = *self;
        *self = Self { samples, sampled, lately, ..Self::new(now) };
        Some(RoundResult { took, acked, lost, is_marked, limit, shortest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_millis(ms)
    }

    #[test]
    fn a_round_ends_with_the_first_datagram_that_was_sent_in_it() {
        let mut round = Round::new(at(100));

        round.on_acked(at(90), Duration::from_millis(60), 1_000);
        assert_eq!(round.end(at(150)), None);
        round.on_acked(at(101), Duration::from_millis(79), 1_000);
        let result = round.end(at(180)).unwrap();

        assert_eq!((result.acked, result.took), (2_000, Duration::from_millis(80)));
        assert_eq!(result.shortest, Duration::from_millis(60));
        assert_eq!(result.rate(), 25_000);
    }

    #[test]
    fn one_late_datagram_is_no_queue() {
        let mut round = Round::new(at(0));
        for index in 0..8 {
            let round_trip = if index == 3 { 80 } else { 200 };
            round.on_acked(at(0), Duration::from_millis(round_trip), 1);
        }

        assert_eq!(round.lately(), Some(Duration::from_millis(80)));
    }

    #[test]
    fn a_loss_of_nothing_is_a_mark() {
        let mut round = Round::new(at(0));
        round.on_lost(0);
        round.on_acked(at(1), Duration::from_millis(1), 1);

        assert!(round.end(at(2)).unwrap().is_marked);
    }
}
