//! One value per lane, and the order in which lanes are served.

use headland_event::Lane;

/// Lanes that carry data, first to last.
pub(super) const DATA_LANES: [Lane; 3] = [Lane::Alerts, Lane::State, Lane::Telemetry];

/// One value per lane.
#[derive(Debug, Clone, Default)]
pub(super) struct PerLane<T> {
    control: T,
    alerts: T,
    state: T,
    telemetry: T,
}

impl<T> PerLane<T> {
    pub(super) const fn get(&self, lane: Lane) -> &T {
        match lane {
            Lane::Control => &self.control,
            Lane::Alerts => &self.alerts,
            Lane::State => &self.state,
            Lane::Telemetry => &self.telemetry,
        }
    }

    pub(super) const fn get_mut(&mut self, lane: Lane) -> &mut T {
        match lane {
            Lane::Control => &mut self.control,
            Lane::Alerts => &mut self.alerts,
            Lane::State => &mut self.state,
            Lane::Telemetry => &mut self.telemetry,
        }
    }
}
