//! How soon it shows that the last packet of several is lost: here over 40 ms each way.
//!
//! ```text
//!   without   ──[record]──╳          timer ──[ping]──▶ ◀──[answer]── ──[record]──▶   226 ms
//!   with      ──[record]──╳──[probe]──▶ ◀──[answer]── ──[record]──▶                  140 ms
//! ```
//! That a packet is missing is said by the answer to a later one. A record that nothing follows
//! has none: the transport waits for its timer, a round trip and a while, and sends a ping, so that
//! two round trips pass before it sends the record again. A small datagram a moment after the
//! record is that later packet. The receiver answers a second packet at once, and not after 25 ms.
//!
//! It costs a packet for each record that nothing follows, so it is for links between hubs, whose
//! records wait for each other, and not for thousands of agents. Alerts have their copies instead.
//!
//! # Source
//! RFC 8985, §7 (tail loss probes), and RFC 9002, §6.1.2: what was sent nine eighths of a round
//! trip before something that arrived is lost.

use std::time::Duration;

/// Shortest round trip that is worth a probe: on a shorter path the second one costs less than what
/// the two machines take.
const ROUND_TRIP_LEAST: Duration = Duration::from_millis(20);

/// Time without another record after which a probe goes out. Less would cost faster streams a
/// packet for each record, and is no use where an eighth of the round trip is more; with 25 ms the
/// receiver would have answered the record alone by then, and the probe 25 ms late.
const MOMENT: Duration = Duration::from_millis(20);

/// What to do about what was written last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrailOutput {
    /// Nothing: look again once more was written.
    Rest,
    /// Look again after this long.
    Wait(Duration),
    /// Send a probe, and look again.
    Probe,
}

/// Watches whether something follows what was written.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    seen: u64,
    done: u64,
}

impl Trail {
    /// Looks at how often something was written so far, and how long a round trip takes.
    pub fn on_look(&mut self, written: u64, round_trip: Duration) -> TrailOutput {
        if written == self.done || round_trip < ROUND_TRIP_LEAST {
            (self.seen, self.done) = (written, written);
            return TrailOutput::Rest;
        }
        if written != self.seen {
            self.seen = written;
            return TrailOutput::Wait(MOMENT);
        }
        self.done = written;
        TrailOutput::Probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(80);
    const LATER: TrailOutput = TrailOutput::Wait(MOMENT);

    #[test]
    fn what_nothing_follows_for_a_moment_is_followed_by_one_probe() {
        let mut trail = Trail::default();

        assert_eq!(trail.on_look(0, ROUND_TRIP), TrailOutput::Rest);
        assert_eq!(trail.on_look(1, ROUND_TRIP), LATER);
        assert_eq!(trail.on_look(1, ROUND_TRIP), TrailOutput::Probe);
        assert_eq!(trail.on_look(1, ROUND_TRIP), TrailOutput::Rest);
        assert_eq!(trail.on_look(2, ROUND_TRIP), LATER);
    }

    #[test]
    fn what_is_followed_needs_no_probe() {
        let mut trail = Trail::default();

        for written in 1..100 {
            assert_eq!(trail.on_look(written, ROUND_TRIP), LATER);
        }
        assert_eq!(trail.on_look(99, ROUND_TRIP), TrailOutput::Probe);
    }

    #[test]
    fn a_short_path_is_left_to_the_transport() {
        let mut trail = Trail::default();

        let short = trail.on_look(1, Duration::from_millis(19));

        assert_eq!(short, TrailOutput::Rest);
        assert_eq!(trail.on_look(1, ROUND_TRIP), TrailOutput::Rest);
        assert_eq!(trail.on_look(2, Duration::from_millis(20)), LATER);
    }
}
