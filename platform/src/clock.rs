//! The only reader of the clock and of the machine's randomness.

use std::time::{Duration, UNIX_EPOCH};

use headland_event::{EventTime, Monotonic};
use ring::rand::{SecureRandom, SystemRandom};

#[expect(clippy::disallowed_types, reason = "the one place that reads the clock")]
type Origin = std::time::Instant;

/// This process's clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Origin,
}

impl Clock {
    /// Starts the monotonic clock at zero.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn start() -> Self {
        Self { origin: Origin::now() }
    }

    /// Time since the clock was started.
    #[must_use]
    pub fn monotonic(&self) -> Monotonic {
        Monotonic::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The machine's wall clock; the epoch when it is set before 1970.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn wall(&self) -> EventTime {
        let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        EventTime::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// How long to sleep until `at`; zero when it is past.
    #[must_use]
    pub fn until(&self, at: Monotonic) -> Duration {
        at.since(self.monotonic())
    }
}

/// The machine's random source failed, which no node can run without.
#[derive(Debug, thiserror::Error)]
#[error("the machine gave no random bytes")]
pub struct EntropyError;

/// 64 random bits from the machine, for seeds, nonces and ids.
///
/// # Errors
/// [`EntropyError`] when the machine's source fails.
pub fn entropy() -> Result<u64, EntropyError> {
    let mut bytes = [0_u8; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| EntropyError)?;
    Ok(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_does_not_go_back() {
        let clock = Clock::start();

        let (first, second) = (clock.monotonic(), clock.monotonic());

        assert!(second >= first);
    }

    #[test]
    fn two_draws_of_entropy_differ() {
        assert_ne!(entropy().unwrap(), entropy().unwrap());
    }
}
