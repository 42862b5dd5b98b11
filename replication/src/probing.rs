//! How soon a connection notices that its path is back.
//!
//! After a cut a transport that doubles its waits (RFC 9002, §6.2.1) is asleep for as long as the
//! cut took. A small datagram every now and then costs next to nothing, and the answer to the
//! first one that passes tells the transport at once what has to be sent again.

use std::time::Duration;

use headland_event::{ByteCount, Monotonic};

/// Time between two looks, and between two probes: short against the 500 ms within which the first
/// record has to follow the heal, long against what forty bytes cost.
const INTERVAL: Duration = Duration::from_millis(150);

/// What to do about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutput {
    /// Nothing is in flight: look again once something was written.
    Rest,
    /// Look again after this long.
    Wait(Duration),
    /// Send a probe, whatever the window says, and look again after this long.
    Probe(Duration),
}

/// Watches whether what is in flight is ever acknowledged.
#[derive(Debug, Clone)]
pub struct Probing {
    acknowledgements: u64,
    heard_at: Monotonic,
}

impl Probing {
    /// A path that is fine at `now`.
    #[must_use]
    pub const fn new(now: Monotonic) -> Self {
        Self { acknowledgements: 0, heard_at: now }
    }

    /// Something was written after a rest.
    pub const fn on_written(&mut self, now: Monotonic) {
        self.heard_at = now;
    }

    /// Looks at a path: how much is in flight, how many acknowledgements have ever arrived, and
    /// how long a round trip takes.
    pub fn on_look(
        &mut self,
        now: Monotonic,
        in_flight: ByteCount,
        acknowledgements: u64,
        round_trip: Duration,
    ) -> ProbeOutput {
        if in_flight == ByteCount::new(0) {
            return ProbeOutput::Rest;
        }
        if acknowledgements != self.acknowledgements {
            self.acknowledgements = acknowledgements;
            self.heard_at = now;
        }
        // An answer that is only late is no cut: the transport's own first probe is out by then.
        let patience = (round_trip * 2).max(INTERVAL);
        if now.since(self.heard_at) < patience {
            return ProbeOutput::Wait(INTERVAL);
        }
        ProbeOutput::Probe(INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(80);
    const SOME: ByteCount = ByteCount::new(1_200);

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_millis(ms)
    }

    #[test]
    fn a_path_with_nothing_in_flight_is_left_alone() {
        let mut probing = Probing::new(at(0));

        let output = probing.on_look(at(9_000), ByteCount::new(0), 0, ROUND_TRIP);

        assert_eq!(output, ProbeOutput::Rest);
    }

    #[test]
    fn two_round_trips_without_an_acknowledgement_are_a_reason_to_probe() {
        let mut probing = Probing::new(at(0));

        assert_eq!(probing.on_look(at(159), SOME, 0, ROUND_TRIP), ProbeOutput::Wait(INTERVAL));
        assert_eq!(probing.on_look(at(160), SOME, 0, ROUND_TRIP), ProbeOutput::Probe(INTERVAL));
    }

    #[test]
    fn a_path_that_answers_is_never_probed() {
        let mut probing = Probing::new(at(0));

        for look in 1..100 {
            let output = probing.on_look(at(look * 150), SOME, look, ROUND_TRIP);
            assert_eq!(output, ProbeOutput::Wait(INTERVAL));
        }
    }

    #[test]
    fn a_silent_path_is_probed_until_it_answers() {
        let mut probing = Probing::new(at(0));

        for look in 2..200 {
            let output = probing.on_look(at(look * 150), SOME, 0, ROUND_TRIP);
            assert_eq!(output, ProbeOutput::Probe(INTERVAL));
        }
        let output = probing.on_look(at(30_000), SOME, 1, ROUND_TRIP);

        assert_eq!(output, ProbeOutput::Wait(INTERVAL));
    }
}
