//! How much is handed to the driver before it has written it.

use headland_event::{ByteCount, Lane};

use super::lanes::PerLane;

/// Bytes per lane that the driver holds.
///
/// The smaller the bound, the fewer old bytes stand between a new frame and the network; a frame
/// larger than the bound goes alone.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    unsent: PerLane<u64>,
    limit: u64,
}

impl Budget {
    pub(super) fn new(limit: ByteCount) -> Self {
        Self { unsent: PerLane::default(), limit: limit.get() }
    }

    /// Whether `bytes` more may be handed over on `lane`.
    pub(super) const fn has_room(&self, lane: Lane, bytes: u64) -> bool {
        let unsent = *self.unsent.get(lane);
        unsent == 0 || unsent.saturating_add(bytes) <= self.limit
    }

    /// Counts bytes handed over.
    pub(super) const fn charge(&mut self, lane: Lane, bytes: u64) {
        let unsent = self.unsent.get_mut(lane);
        *unsent = unsent.saturating_add(bytes);
    }

    /// Gives bytes back that the driver has written.
    pub(super) fn on_written(&mut self, lane: Lane, bytes: u64) {
        let unsent = self.unsent.get_mut(lane);
        debug_assert!(*unsent >= bytes, "the driver wrote {bytes} bytes of {unsent} on {lane}");
        *unsent = unsent.saturating_sub(bytes);
    }

    /// Bytes the driver holds for `lane`.
    pub(super) const fn unsent(&self, lane: Lane) -> ByteCount {
        ByteCount::new(*self.unsent.get(lane))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_full_at_its_limit_and_other_lanes_are_not() {
        let mut budget = Budget::new(ByteCount::new(100));
        budget.charge(Lane::State, 60);

        assert!(budget.has_room(Lane::State, 40));
        assert!(!budget.has_room(Lane::State, 41));
        assert!(budget.has_room(Lane::Alerts, 41));
    }

    #[test]
    fn a_frame_above_the_limit_goes_alone() {
        let mut budget = Budget::new(ByteCount::new(100));
        assert!(budget.has_room(Lane::State, 1_000));

        budget.charge(Lane::State, 1_000);
        assert!(!budget.has_room(Lane::State, 1));
        budget.on_written(Lane::State, 1_000);

        assert_eq!(budget.unsent(Lane::State), ByteCount::new(0));
        assert!(budget.has_room(Lane::State, 1));
    }
}
