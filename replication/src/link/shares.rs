//! Who sends next when several lanes could.
//!
//! While all lanes have something to send, alerts get half of the bytes, state three tenths and
//! telemetry the rest; what a lane does not use goes to the others. A lane that was idle starts
//! level with the lane served last, so it neither saves up credit nor waits for others to catch
//! up: an alert goes out next unless alerts have had their half.
//!
//! # Source
//! Goyal, Vin, Cheng, "Start-time Fair Queuing", SIGCOMM 1996, §2.1.

use headland_event::Lane;

use super::lanes::{DATA_LANES, PerLane};

/// Virtual time per byte is `SCALE / weight`; the least common multiple of the weights keeps it
/// whole.
const SCALE: u64 = 30;

const fn weight(lane: Lane) -> u64 {
    match lane {
        Lane::Control | Lane::Alerts => 5,
        Lane::State => 3,
        Lane::Telemetry => 2,
    }
}

/// Divides what is sent between lanes.
#[derive(Debug, Clone, Default)]
pub(super) struct Shares {
    /// Virtual time at which each lane's last frame ends.
    finishes: PerLane<u64>,
    /// Virtual time at which the frame served last started.
    now: u64,
}

impl Shares {
    /// The lane to serve among those that are ready; the earlier one on a tie.
    pub(super) fn pick(&self, is_ready: impl Fn(Lane) -> bool) -> Option<Lane> {
        DATA_LANES.into_iter().filter(|lane| is_ready(*lane)).min_by_key(|lane| self.start(*lane))
    }

    /// Counts `bytes` sent on `lane`.
    pub(super) fn charge(&mut self, lane: Lane, bytes: u64) {
        let start = self.start(lane);
        debug_assert!(start >= self.now, "virtual time never runs backwards");
        self.now = start;
        *self.finishes.get_mut(lane) = start.saturating_add(bytes * (SCALE / weight(lane)));
    }

    fn start(&self, lane: Lane) -> u64 {
        self.now.max(*self.finishes.get(lane))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends 1,000 frames of `bytes` from lanes that always have more, and counts per lane.
    fn served(lanes: &[Lane], bytes: u64) -> [u64; 3] {
        let mut shares = Shares::default();
        let mut counts = PerLane::<u64>::default();
        for _ in 0..1_000 {
            let lane = shares.pick(|lane| lanes.contains(&lane)).unwrap();
            shares.charge(lane, bytes);
            *counts.get_mut(lane) += 1;
        }
        DATA_LANES.map(|lane| *counts.get(lane))
    }

    #[test]
    fn busy_lanes_get_half_three_tenths_and_the_rest() {
        assert_eq!(served(&DATA_LANES, 1_000), [500, 300, 200]);
    }

    #[test]
    fn what_alerts_do_not_use_goes_to_the_others() {
        assert_eq!(served(&[Lane::State, Lane::Telemetry], 1_000), [0, 600, 400]);
        assert_eq!(served(&[Lane::Telemetry], 1_000), [0, 0, 1_000]);
    }

    #[test]
    fn an_alert_after_silence_goes_next_and_saved_up_nothing() {
        let mut shares = Shares::default();
        for _ in 0..100 {
            shares.charge(Lane::Telemetry, 1_000);
        }

        assert_eq!(shares.pick(|_| true), Some(Lane::Alerts));
        shares.charge(Lane::Alerts, 100_000);
        assert_eq!(shares.pick(|lane| lane != Lane::State), Some(Lane::Telemetry));
    }
}
