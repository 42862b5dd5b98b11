//! The shortest round trip, as it was lately.

use std::time::Duration;

use headland_event::Monotonic;

/// How long a round trip is remembered, at least; twice as long at most. Longer than the time
/// between two drains, each of which shows it again unless the path has become longer.
const MEMORY: Duration = Duration::from_secs(15);

/// The shortest round trip of the last [`MEMORY`] and of the one before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shortest {
    since: Option<Monotonic>,
    current: Option<Duration>,
    former: Option<Duration>,
}

impl Shortest {
    pub(super) fn on_round_trip(&mut self, now: Monotonic, round_trip: Duration) {
        let since = *self.since.get_or_insert(now);
        if now.since(since) >= MEMORY {
            self.former = self.current.take();
            self.since = Some(now);
        }
        self.current = Some(self.current.map_or(round_trip, |known| known.min(round_trip)));
    }

    pub(super) fn get(&self) -> Option<Duration> {
        match (self.current, self.former) {
            (Some(current), Some(former)) => Some(current.min(former)),
            (current, former) => current.or(former),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_became_longer_is_believed_after_twice_the_memory_at_most() {
        let mut shortest = Shortest::default();
        let second = |count: u64| Monotonic::from_millis(count * 1_000);
        shortest.on_round_trip(second(0), Duration::from_millis(80));

        for now in 1..30 {
            shortest.on_round_trip(second(now), Duration::from_millis(160));
            assert_eq!(shortest.get(), Some(Duration::from_millis(80)), "after {now} s");
        }
        shortest.on_round_trip(second(30), Duration::from_millis(160));

        assert_eq!(shortest.get(), Some(Duration::from_millis(160)));
    }
}
