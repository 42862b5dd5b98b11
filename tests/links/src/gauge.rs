//! What the machine says about time and processor; Linux only.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time that never goes back, the same in every process of the machine.
pub(crate) fn now() -> Duration {
    read(ClockId::Monotonic)
}

/// Processor time of this process so far, all threads, user and system together.
pub(crate) fn cpu() -> Duration {
    read(ClockId::ProcessCPUTime)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Ends after `wait`.
pub(crate) async fn after(wait: Duration) {
    drop(tokio::time::timeout(wait, std::future::pending::<()>()).await);
}

/// A count as a factor of a ratio; exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts of a measurement stay far below 2^53")]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}
