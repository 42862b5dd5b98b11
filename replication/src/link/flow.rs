//! How much a link may send, as its operator says.
//!
//! # Source
//! The rate is the generic cell rate algorithm (ITU-T I.371, annex A) in its virtual-scheduling
//! form: one moment in time instead of a bucket.

use std::collections::BTreeSet;
use std::time::Duration;

use headland_event::{ByteCount, Lane, Monotonic};

/// How far ahead of its rate a link may send: what a timer's grain needs, and too little to fill a
/// queue on the way.
const BURST: Duration = Duration::from_millis(50);

/// What a link may send; everything by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flow {
    /// Lanes of which no data is sent. Heads and keepalives go on, so that lag stays known.
    pub paused: BTreeSet<Lane>,
    /// Most bytes of data a second on average; `None` for as much as the path takes. Alerts count
    /// and never wait for it.
    pub bytes_per_second: Option<ByteCount>,
}

/// Holds a link to its flow.
#[derive(Debug, Clone, Default)]
pub(super) struct Throttle {
    flow: Flow,
    now: Monotonic,
    /// When everything sent so far would have been sent at the rate.
    paid_at: Monotonic,
}

impl Throttle {
    pub(super) fn set(&mut self, flow: Flow) {
        self.flow = flow;
        // What was sent at another rate is no debt at this one.
        self.paid_at = self.now;
    }

    pub(super) fn on_time(&mut self, now: Monotonic) {
        self.now = self.now.max(now);
    }

    /// Whether a frame may go out on a lane now.
    pub(super) fn allows(&self, lane: Lane) -> bool {
        !self.flow.paused.contains(&lane) && (lane == Lane::Alerts || self.due().is_none())
    }

    /// Counts a frame that went out.
    pub(super) fn charge(&mut self, bytes: u64) {
        let Some(rate) = self.flow.bytes_per_second else { return };
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.get().max(1));
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.paid_at = self.paid_at.max(self.now).after(cost);
    }

    /// When bulk may go out again, while the rate holds it back.
    pub(super) fn due(&self) -> Option<Monotonic> {
        let ahead = self.paid_at.since(self.now);
        let wait = ahead.checked_sub(BURST).filter(|wait| !wait.is_zero())?;
        Some(self.now.after(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(bytes_per_second: u64) -> Throttle {
        let mut throttle = Throttle::default();
        let rate = Some(ByteCount::new(bytes_per_second));
        throttle.set(Flow { bytes_per_second: rate, ..Flow::default() });
        throttle
    }

    #[test]
    fn a_second_carries_as_many_bytes_as_the_rate_says_and_a_burst() {
        let mut throttle = limited(100_000);
        let mut sent = 0;

        for millis in 0..1_000 {
            throttle.on_time(Monotonic::from_millis(millis));
            while throttle.allows(Lane::Telemetry) {
                throttle.charge(1_000);
                sent += 1_000;
            }
        }

        assert_eq!(sent, 105_000);
    }

    #[test]
    fn a_rate_says_when_to_go_on() {
        let mut throttle = limited(1_000);
        throttle.charge(500);

        assert_eq!(throttle.due(), Some(Monotonic::from_millis(450)));
        throttle.on_time(Monotonic::from_millis(450));

        assert_eq!(throttle.due(), None);
        assert!(throttle.allows(Lane::State));
    }

    #[test]
    fn alerts_never_wait_for_a_rate_but_for_a_pause() {
        let mut throttle = limited(1);
        throttle.charge(1_000);

        assert!(throttle.allows(Lane::Alerts));
        assert!(!throttle.allows(Lane::State));
        throttle.set(Flow { paused: [Lane::Alerts].into(), bytes_per_second: None });

        assert!(!throttle.allows(Lane::Alerts));
        assert!(throttle.allows(Lane::State));
    }

    #[test]
    fn time_without_sending_saves_up_no_more_than_a_burst() {
        let mut throttle = limited(1_000);
        throttle.on_time(Monotonic::from_millis(60_000));
        throttle.charge(50);
        assert!(throttle.allows(Lane::State));

        throttle.charge(1);

        assert!(!throttle.allows(Lane::State));
    }
}
