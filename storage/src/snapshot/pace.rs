//! When an operator's next snapshot is due.

use std::time::Duration;

use headland_event::{ByteCount, Monotonic};

/// Bytes of batches between snapshots for each byte of the last one: what snapshots add to what is
/// written stays below a quarter, and a restart replays at most some four times what it loads.
const BYTES_FOR_EACH: u64 = 4;

/// Paces snapshots by time and by what was written since the last one.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotPace {
    /// Least time between two.
    after: Duration,
    due_at: Monotonic,
    /// Bytes of batches since the last one, and those that are wanted before the next.
    bytes: u64,
    bytes_wanted: u64,
}

impl SnapshotPace {
    /// Least time between snapshots unless a node is configured otherwise: a restart replays at
    /// least what came since.
    pub const AFTER: Duration = Duration::from_secs(10);

    /// At least `after` lies between two snapshots; the first is due that long after `now`, once
    /// anything was written.
    #[must_use]
    pub fn new(after: Duration, now: Monotonic) -> Self {
        Self { after, due_at: now.after(after), bytes: 0, bytes_wanted: 1 }
    }

    /// As [`Self::new`], but that the first is due as soon as anything was written.
    #[must_use]
    pub const fn due(after: Duration) -> Self {
        Self { after, due_at: Monotonic::from_nanos(0), bytes: 0, bytes_wanted: 1 }
    }

    /// Batches of so many bytes were written.
    pub const fn on_written(&mut self, bytes: ByteCount) {
        self.bytes = self.bytes.saturating_add(bytes.get());
    }

    /// Whether a snapshot is due.
    #[must_use]
    pub fn is_due(&self, now: Monotonic) -> bool {
        self.due_at <= now && self.bytes >= self.bytes_wanted
    }

    /// The next is due as soon as time allows, however little was written.
    pub const fn hasten(&mut self) {
        self.bytes_wanted = 0;
    }

    /// Since when time allows the next.
    #[must_use]
    pub const fn due_at(&self) -> Monotonic {
        self.due_at
    }

    /// A snapshot begins: what is written from here on is not in it.
    pub const fn on_begun(&mut self) {
        self.bytes = 0;
    }

    /// The snapshot that was begun is taken, and has so many bytes.
    pub fn on_taken(&mut self, now: Monotonic, size: ByteCount) {
        let bytes_wanted = size.get().saturating_mul(BYTES_FOR_EACH);
        let due_at = now.after(self.after);
        *self = Self { due_at, bytes_wanted, ..*self };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Monotonic {
        Monotonic::from_millis(millis)
    }

    #[test]
    fn a_snapshot_waits_for_ten_seconds_and_for_four_times_its_bytes() {
        let mut pace = SnapshotPace::due(SnapshotPace::AFTER);
        assert!(!pace.is_due(at(0)));
        pace.on_written(ByteCount::new(1));
        assert!(pace.is_due(at(0)));

        pace.on_begun();
        pace.on_taken(at(5_000), ByteCount::new(100));
        pace.on_written(ByteCount::new(399));
        let few = pace.is_due(at(20_000));
        pace.on_written(ByteCount::new(1));

        assert!(!few);
        assert!(!pace.is_due(at(14_999)));
        assert!(pace.is_due(at(15_000)));
    }

    #[test]
    fn what_is_written_while_a_snapshot_is_made_counts_for_the_next_one() {
        let mut pace = SnapshotPace::due(SnapshotPace::AFTER);
        pace.on_begun();
        pace.on_written(ByteCount::new(400));

        pace.on_taken(at(5_000), ByteCount::new(100));

        assert!(pace.is_due(at(15_000)));
    }

    #[test]
    fn a_snapshot_that_is_wanted_soon_waits_for_ten_seconds_and_for_no_bytes() {
        let mut pace = SnapshotPace::due(SnapshotPace::AFTER);
        pace.on_begun();
        pace.on_taken(at(5_000), ByteCount::new(100));

        pace.hasten();

        assert_eq!(pace.due_at(), at(15_000));
        assert_eq!([14_999, 15_000].map(|now| pace.is_due(at(now))), [false, true]);
    }
}
