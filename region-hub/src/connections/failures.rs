//! How often failed handshakes are told.

use std::time::Duration;

use headland_event::Monotonic;

/// Between two lines in the log about failed handshakes. Anybody who reaches the port can fail one,
/// thousands a second, and a log that they fill is one where nobody finds anything else.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// Counts failed handshakes, and tells one an interval.
#[derive(Debug, Clone, Default)]
pub(super) struct FailedHandshakes {
    told_at: Option<Monotonic>,
    untold: u64,
}

impl FailedHandshakes {
    /// A handshake has failed: if it is to be told, how many others have failed untold before it.
    /// Those are told with the first one after the interval.
    pub(super) fn on_failed(&mut self, now: Monotonic) -> Option<u64> {
        if self.told_at.is_some_and(|told_at| now.since(told_at) < TELL_INTERVAL) {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_an_interval_is_told_with_the_number_of_those_that_were_not() {
        let mut failed = FailedHandshakes::default();

        let told = [0, 1, 9_999, 10_000, 10_001, 30_000, 40_000]
            .map(|millis| failed.on_failed(Monotonic::from_millis(millis)));

        assert_eq!(told, [Some(0), None, None, Some(2), None, Some(1), Some(0)]);
    }
}
