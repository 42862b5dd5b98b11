//! What the machine says about time, processor, memory and bytes written; Linux only.
//!
//! The proofs of each area measure with it, so that their figures mean the same. It judges nothing
//! and repeats nothing: rounds, medians over runs and bars are the proofs' own.
//!
//! ```
//! let (cpu, start) = (headland_gauge::cpu(), headland_gauge::now());
//! let sum: u64 = (0..1_000).sum();
//! let (took, cpu) = (headland_gauge::now() - start, headland_gauge::cpu() - cpu);
//! println!("{sum} after {took:?}, of which {cpu:?} on the processor");
//! ```

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// Time that never goes back, from some fixed moment on.
#[must_use]
pub fn now() -> Duration {
    read(ClockId::Monotonic)
}

/// Processor time of this process so far, all threads, user and system together.
#[must_use]
pub fn cpu() -> Duration {
    read(ClockId::ProcessCPUTime)
}

/// Processor time of another process so far, all threads that it has or had; in steps of 10 ms.
///
/// # Errors
/// When there is no such process.
pub fn cpu_of(process: u32) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let table = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    ticks(&table).map(|ticks| Duration::from_millis(ticks * 10)).context("a line of numbers")
}

/// User and system time in a line of `/proc/PID/stat`, in hundredths of a second.
fn ticks(table: &str) -> Option<u64> {
    // The name before stands in parentheses and may hold anything.
    let (_, rest) = table.rsplit_once(") ")?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Bytes that a process has written so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Handed to `write` and its like, pipes included.
    pub calls: u64,
    /// Pages made dirty, each counted whole: what goes to the disk.
    pub pages: u64,
}

impl Written {
    /// What this process has written.
    ///
    /// # Errors
    /// When the kernel does not account for it.
    pub fn by_this() -> Result<Self> {
        let table = fs::read_to_string("/proc/self/io").context("cannot read what was written")?;
        Ok(Self { calls: field(&table, "wchar:")?, pages: field(&table, "write_bytes:")? })
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { calls: self.calls + other.calls, pages: self.pages + other.pages }
    }

    /// What was written since an earlier look.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(earlier.calls),
            pages: self.pages.saturating_sub(earlier.pages),
        }
    }
}

/// Resident memory of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resident {
    /// Bytes now.
    pub now: u64,
    /// Most bytes so far.
    pub peak: u64,
}

impl Resident {
    /// Asks the kernel.
    ///
    /// # Errors
    /// When its table lacks them.
    pub fn of_this() -> Result<Self> {
        Self::read("/proc/self/status")
    }

    /// The same of another process.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(process: u32) -> Result<Self> {
        Self::read(&format!("/proc/{process}/status"))
    }

    fn read(path: &str) -> Result<Self> {
        let table = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        let kibibytes = |name| field(&table, name).map(|count| count * 1_024);
        Ok(Self { now: kibibytes("VmRSS:")?, peak: kibibytes("VmHWM:")? })
    }
}

/// The number after a name at the start of a line.
fn field(table: &str, name: &str) -> Result<u64> {
    let value = table.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.split_whitespace().next());
    let number = number.with_context(|| format!("{name} is missing"))?;
    number.parse().with_context(|| format!("{name} is {number:?}"))
}

/// The middle of an odd number of values, the upper middle of an even one; 0 of none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// A count as a factor of a ratio; exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts of a measurement stay far below 2^53")]
#[must_use]
pub const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name_and_a_missing_one_is_named() {
        let table = "rchar: 1\nwchar: 22\nVmRSS:\t     332 kB\n";

        assert_eq!(field(table, "wchar:").unwrap(), 22);
        assert_eq!(field(table, "VmRSS:").unwrap(), 332);
        assert_eq!(
            field(table, "write_bytes:").unwrap_err().to_string(),
            "write_bytes: is missing"
        );
    }

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let line = "7 (a) b 5) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0 1 0";

        assert_eq!(ticks(line), Some(42));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn the_median_is_the_middle_value_in_any_order() {
        assert_eq!(median(&[9.0, 1.0, 5.0]).to_bits(), 5.0_f64.to_bits());
        assert_eq!(median(&[]).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn bytes_written_by_this_process_are_seen() {
        let before = Written::by_this().unwrap();
        let mut file = tempfile::tempfile().unwrap();

        std::io::Write::write_all(&mut file, &[7; 10_000]).unwrap();

        assert!(Written::by_this().unwrap().since(before).calls >= 10_000);
    }
}
