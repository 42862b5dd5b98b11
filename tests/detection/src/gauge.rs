//! What the machine says about time, processor and memory.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// Time of the processor this process has taken.
pub(crate) fn cpu() -> Duration {
    read(ClockId::ProcessCPUTime)
}

/// Time that has passed since some moment.
pub(crate) fn now() -> Duration {
    read(ClockId::Monotonic)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Memory of this process that is resident now, in bytes.
pub(crate) fn resident() -> Result<u64> {
    of_status("VmRSS:")
}

/// The most that ever was, in bytes.
pub(crate) fn resident_peak() -> Result<u64> {
    of_status("VmHWM:")
}

fn of_status(name: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read the status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()).context("no such line")?;
    Ok(kibibytes.parse::<u64>().context("a number of kibibytes")? * 1024)
}
