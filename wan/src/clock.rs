//! The only reader of the clock.

use std::time::Duration;

#[expect(clippy::disallowed_types, reason = "the one place that reads the clock")]
type Origin = std::time::Instant;

/// This process's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Origin,
}

impl Clock {
    /// Starts the clock at zero.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub(crate) fn start() -> Self {
        Self { origin: Origin::now() }
    }

    /// Time since the clock was started.
    pub(crate) fn now(self) -> Duration {
        self.origin.elapsed()
    }
}
