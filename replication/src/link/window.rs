//! How much may be on its way and not yet on the receiver's disk.

use headland_event::{ByteCount, Lane};

use super::lanes::PerLane;

/// Bytes of data frames in flight, kept alike by sender and receiver.
///
/// State and telemetry share the window; alerts have half of one on top, so that bulk which fills
/// the window cannot hold them up. A frame larger than its part goes when nothing else does.
///
/// Both sides count a frame by its encoded length. The receiver gives bytes back before the sender
/// hears of it, so it never counts more than an honest sender does.
#[derive(Debug, Clone)]
pub(super) struct Window {
    size: u64,
    in_flight: PerLane<u64>,
}

impl Window {
    pub(super) fn new(size: ByteCount) -> Self {
        Self { size: size.get(), in_flight: PerLane::default() }
    }

    /// Lowers the window to what the peer takes.
    pub(super) fn lower_to(&mut self, size: ByteCount) {
        self.size = self.size.min(size.get());
    }

    /// Whether `bytes` more may be in flight on `lane`.
    pub(super) const fn has_room(&self, lane: Lane, bytes: u64) -> bool {
        let (in_flight, size) = match lane {
            Lane::Control | Lane::Alerts => (*self.in_flight.get(Lane::Alerts), self.size / 2),
            Lane::State | Lane::Telemetry => (self.bulk(), self.size),
        };
        in_flight == 0 || in_flight.saturating_add(bytes) <= size
    }

    /// Counts bytes that set out.
    pub(super) const fn charge(&mut self, lane: Lane, bytes: u64) {
        let in_flight = self.in_flight.get_mut(lane);
        *in_flight = in_flight.saturating_add(bytes);
    }

    /// Gives bytes back that are stored, or will be sent again.
    pub(super) fn give_back(&mut self, lane: Lane, bytes: u64) {
        let in_flight = self.in_flight.get_mut(lane);
        debug_assert!(*in_flight >= bytes, "{bytes} bytes of {in_flight} given back on {lane}");
        *in_flight = in_flight.saturating_sub(bytes);
    }

    /// Bytes in flight on `lane`.
    pub(super) const fn in_flight(&self, lane: Lane) -> ByteCount {
        ByteCount::new(*self.in_flight.get(lane))
    }

    const fn bulk(&self) -> u64 {
        self.in_flight.get(Lane::State).saturating_add(*self.in_flight.get(Lane::Telemetry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_and_telemetry_share_the_window_and_alerts_have_half_of_one_more() {
        let mut window = Window::new(ByteCount::new(100));
        window.charge(Lane::Telemetry, 70);
        window.charge(Lane::State, 30);

        assert!(!window.has_room(Lane::State, 1));
        assert!(!window.has_room(Lane::Telemetry, 1));
        window.charge(Lane::Alerts, 20);
        assert!(window.has_room(Lane::Alerts, 30));
        assert!(!window.has_room(Lane::Alerts, 31));
    }

    #[test]
    fn a_frame_above_the_window_goes_when_nothing_else_is_in_flight() {
        let mut window = Window::new(ByteCount::new(100));
        assert!(window.has_room(Lane::State, 1_000));

        window.charge(Lane::Telemetry, 1);

        assert!(!window.has_room(Lane::State, 1_000));
    }
}
