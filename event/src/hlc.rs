//! Hybrid logical clocks.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::EventTime;

/// A hybrid logical timestamp: the ingest hub's wall clock, and a counter that breaks ties.
///
/// It only decides between writes that vector clocks show to be concurrent.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Hlc {
    wall: EventTime,
    logical: u32,
}

impl Hlc {
    /// A timestamp from its parts.
    #[must_use]
    pub const fn new(wall: EventTime, logical: u32) -> Self {
        Self { wall, logical }
    }

    /// The wall-clock part.
    #[must_use]
    pub const fn wall(self) -> EventTime {
        self.wall
    }

    /// The counter that breaks ties within a millisecond.
    #[must_use]
    pub const fn logical(self) -> u32 {
        self.logical
    }

    const fn next(self) -> Self {
        match self.logical.checked_add(1) {
            Some(logical) => Self { logical, ..self },
            None => Self {
                wall: EventTime::from_millis(self.wall.millis().saturating_add(1)),
                logical: 0,
            },
        }
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.wall.millis(), self.logical)
    }
}

/// A node's hybrid logical clock.
///
/// # Source
/// Kulkarni, Demirbas et al., "Logical Physical Clocks", 2014, figure 5.
#[derive(Debug, Clone)]
pub struct HlcClock {
    last: Hlc,
}

impl HlcClock {
    /// A clock that has given and seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: Hlc::new(EventTime::MIN, 0) }
    }

    /// The latest timestamp given or seen.
    #[must_use]
    pub const fn last(&self) -> Hlc {
        self.last
    }

    /// A timestamp for a local event at wall time `now`, later than every one before it.
    pub fn tick(&mut self, now: EventTime) -> Hlc {
        let fresh = Hlc::new(now, 0);
        self.last = if fresh > self.last { fresh } else { self.last.next() };
        self.last
    }

    /// Takes note of a timestamp made elsewhere; the next local one is later.
    pub fn observe(&mut self, seen: Hlc) {
        self.last = self.last.max(seen);
    }
}

impl Default for HlcClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_grow_even_when_the_wall_clock_goes_back() {
        let mut clock = HlcClock::new();

        let first = clock.tick(EventTime::from_millis(100));
        let second = clock.tick(EventTime::from_millis(50));

        assert_eq!(second, Hlc::new(EventTime::from_millis(100), 1));
        assert!(second > first);
    }

    #[test]
    fn a_timestamp_after_an_observed_one_is_later_than_it() {
        let mut clock = HlcClock::new();
        let seen = Hlc::new(EventTime::from_millis(900), u32::MAX);

        clock.observe(seen);

        assert_eq!(
            clock.tick(EventTime::from_millis(100)),
            Hlc::new(EventTime::from_millis(901), 0)
        );
    }
}
