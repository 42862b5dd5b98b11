//! How long the agent has run, over restarts.

use std::time::Duration;

use headland_event::Monotonic;

/// Counts the time an agent has run. It stands still while the agent is down, and no clock that is
/// set makes it jump.
#[derive(Debug, Default)]
pub(super) struct Uptime {
    /// How long earlier runs were, as far as they said.
    before: Duration,
    /// When this run first looked at the clock.
    started: Option<Monotonic>,
    last: Duration,
}

impl Uptime {
    /// Goes on from an earlier run.
    pub(super) const fn restore(&mut self, before: Duration) {
        self.before = before;
        self.last = before;
    }

    /// How long the agent has run at `now`.
    pub(super) fn at(&mut self, now: Monotonic) -> Duration {
        let started = *self.started.get_or_insert(now);
        self.last = self.last.max(self.before.saturating_add(now.since(started)));
        self.last
    }

    /// How long it had run when that was last asked.
    pub(super) const fn last(&self) -> Duration {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_counts_from_its_first_look_at_the_clock_behind_the_runs_before() {
        let mut uptime = Uptime::default();
        uptime.restore(Duration::from_secs(60));

        let first = uptime.at(Monotonic::from_millis(5_000));
        let second = uptime.at(Monotonic::from_millis(7_000));
        let earlier = uptime.at(Monotonic::from_millis(6_000));

        let seconds = [first, second, earlier, uptime.last()].map(|uptime| uptime.as_secs());
        assert_eq!(seconds, [60, 62, 62, 62]);
    }
}
