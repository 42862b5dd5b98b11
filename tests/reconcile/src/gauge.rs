//! What the machine says about time and memory; Linux only.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// Processor time of this process so far, all threads, user and system together.
pub(crate) fn cpu() -> Duration {
    read(ClockId::ProcessCPUTime)
}

/// Time that never goes back, from some fixed moment on.
pub(crate) fn now() -> Duration {
    read(ClockId::Monotonic)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Resident bytes of this process.
pub(crate) fn resident() -> Result<u64> {
    let table = fs::read_to_string("/proc/self/status").context("cannot read the status")?;
    let line = table.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    let kibibytes: u64 = number.parse().with_context(|| format!("VmRSS is {number:?}"))?;
    Ok(kibibytes * 1_024)
}

/// A count as a factor of a ratio; exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts of a measurement stay far below 2^53")]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_written_to_is_resident() {
        let before = resident().unwrap();
        let block = vec![7_u8; 32 << 20];

        assert!(resident().unwrap() >= before + (24 << 20));
        assert_eq!(block.last(), Some(&7));
    }
}
