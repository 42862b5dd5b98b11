//! One direction of the TCP connections through a relay, as far as a relay can emulate it.
//!
//! A relay ends each connection on both sides, so a lost segment would be repeated over loopback at
//! once and loss would mean nothing. What is emulated: the delay and its jitter; the rate, which
//! all connections share, with back-pressure where packets would meet a full queue; and cuts,
//! during which bytes wait, as TCP would send them again. For loss there are the namespaces.

use std::time::Duration;

use crate::fate::wander;
use crate::profile::PathProfile;
use crate::shaper::{Cut, Direction};

/// What one direction does to chunks of bytes.
#[derive(Debug)]
pub(crate) struct Line {
    profile: PathProfile,
    seed: u64,
    /// When the last byte taken will have left at the rate.
    idle_at: Duration,
    /// When the last chunk arrives; none overtakes another, whatever changed in between.
    last_due: Duration,
}

/// What becomes of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Entry {
    /// It arrives at this time.
    DueAt(Duration),
    /// The queue is full; it can be offered again after this time.
    WaitFor(Duration),
}

impl Line {
    pub(crate) const fn new(profile: PathProfile, seed: u64) -> Self {
        Self { profile, seed, idle_at: Duration::ZERO, last_due: Duration::ZERO }
    }

    /// Offers `length` bytes at `now`. An idle line takes a chunk of any length.
    pub(crate) fn on_chunk(&mut self, now: Duration, length: usize) -> Entry {
        let waiting = self.idle_at.saturating_sub(now);
        let sent_at = match self.profile.rate {
            None => now,
            Some(rate) => {
                let send_time = rate.time_for(length);
                let room = self.profile.queue.wait_max(rate);
                let excess = (waiting + send_time).saturating_sub(room).min(waiting);
                if !excess.is_zero() {
                    return Entry::WaitFor(excess);
                }
                self.idle_at = now + waiting + send_time;
                self.idle_at
            }
        };
        let jitter = wander(self.seed, self.profile.jitter, sent_at);
        let due = (sent_at + self.profile.delay + jitter).max(self.last_due);
        debug_assert!(due >= now, "nothing arrives before it was sent");
        self.last_due = due;
        Entry::DueAt(due)
    }

    /// Shapes what is offered from now on by another profile.
    pub(crate) const fn set_profile(&mut self, profile: PathProfile) {
        self.profile = profile;
    }
}

impl Cut {
    /// Whether nothing passes in a direction.
    #[must_use]
    pub const fn stops(self, direction: Direction) -> bool {
        match (self, direction) {
            (Self::None, _)
            | (Self::ToTarget, Direction::FromTarget)
            | (Self::FromTarget, Direction::ToTarget) => false,
            (Self::Both, _)
            | (Self::ToTarget, Direction::ToTarget)
            | (Self::FromTarget, Direction::FromTarget) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::quantity::{QueueSize, Rate};

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// 1,000 bytes take a millisecond and three of them fit the queue.
    fn slow() -> PathProfile {
        PathProfile {
            delay: millis(40),
            rate: Rate::bits_per_second(8_000_000),
            queue: QueueSize::bytes(3_000),
            ..PathProfile::default()
        }
    }

    #[test]
    fn a_chunk_arrives_after_its_send_time_and_the_delay() {
        let mut line = Line::new(slow(), 1);

        assert_eq!(line.on_chunk(millis(5), 1_000), Entry::DueAt(millis(46)));
        assert_eq!(line.on_chunk(millis(5), 1_000), Entry::DueAt(millis(47)));
    }

    #[test]
    fn a_full_queue_says_when_it_has_room_again() {
        let mut line = Line::new(slow(), 1);
        for _ in 0..3 {
            assert_ne!(line.on_chunk(millis(0), 1_000), Entry::WaitFor(millis(1)));
        }

        assert_eq!(line.on_chunk(millis(0), 1_000), Entry::WaitFor(millis(1)));
        assert_eq!(line.on_chunk(millis(1), 1_000), Entry::DueAt(millis(44)));
    }

    #[test]
    fn an_idle_line_takes_a_chunk_longer_than_its_queue() {
        let mut line = Line::new(slow(), 1);

        assert_eq!(line.on_chunk(millis(0), 9_000), Entry::DueAt(millis(49)));
        assert_eq!(line.on_chunk(millis(0), 9_000), Entry::WaitFor(millis(9)));
    }

    #[test]
    fn a_shorter_delay_lets_no_chunk_overtake() {
        let mut line = Line::new(slow(), 1);
        let first = line.on_chunk(millis(0), 1_000);

        line.set_profile(PathProfile::default());

        assert_eq!(line.on_chunk(millis(1), 1_000), first);
    }

    #[test]
    fn a_cut_stops_the_directions_it_names() {
        let stopped = |cut: Cut| [Direction::ToTarget, Direction::FromTarget].map(|d| cut.stops(d));

        assert_eq!(stopped(Cut::None), [false, false]);
        assert_eq!(stopped(Cut::Both), [true, true]);
        assert_eq!(stopped(Cut::ToTarget), [true, false]);
        assert_eq!(stopped(Cut::FromTarget), [false, true]);
    }

    proptest! {
        #[test]
        fn a_chunk_that_waited_as_told_is_taken(
            lengths in proptest::collection::vec(1..20_000_usize, 1..50), gap in 0..3_u64,
        ) {
            let mut line = Line::new(slow(), 1);
            let mut now = Duration::ZERO;
            for length in lengths {
                now += millis(gap);
                if let Entry::WaitFor(wait) = line.on_chunk(now, length) {
                    now += wait;
                    prop_assert!(matches!(line.on_chunk(now, length), Entry::DueAt(_)));
                }
            }
        }
    }
}
