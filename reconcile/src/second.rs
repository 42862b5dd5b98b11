//! Event time in whole seconds, which is what is kept of each posting.

use headland_event::EventTime;
use serde::{Deserialize, Serialize};

/// A whole second of event time in 32 bits: millions of these are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Second(u32);

/// Not known: it overlaps with nothing. Of an event it follows from its time alone, at every hub.
impl Default for Second {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Second {
    /// The second that a time is in; not known of a time outside the years 1970 to 2105.
    #[must_use]
    pub fn of(time: EventTime) -> Self {
        u32::try_from(time.millis().div_euclid(1_000)).map_or_else(|_| Self::default(), Self)
    }

    /// Its first millisecond.
    #[must_use]
    pub fn start(self) -> EventTime {
        EventTime::from_millis(i64::from(self.0) * 1_000)
    }

    /// Whether it is not after another one; false when either is not known.
    #[must_use]
    pub fn is_by(self, other: Self) -> bool {
        self <= other && other != Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_by_itself_and_by_later_ones() {
        let of = |millis| Second::of(EventTime::from_millis(millis));

        assert!(of(5_999).is_by(of(5_000)));
        assert!(!of(6_000).is_by(of(5_999)));
        assert_eq!(of(5_999).start(), EventTime::from_millis(5_000));
    }

    #[test]
    fn what_is_not_known_is_by_nothing() {
        let known = Second::of(EventTime::from_millis(5_000));

        assert_eq!(Second::of(EventTime::from_millis(-1)), Second::default());
        assert!(!Second::default().is_by(known));
        assert!(!known.is_by(Second::default()));
    }
}
