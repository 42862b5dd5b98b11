//! Demand: units that customers took from a shelf, by day, and how long stock lasts at it.
//!
//! Demand per day is what was taken in a window of days of event time, divided by the days of the
//! window; a shelf of which less is known is taken to have sold nothing before. Stock lasts
//! units ÷ demand per day, its days of cover. Both are compared without dividing.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use headland_event::EventTime;
use serde::{Deserialize, Serialize};

use crate::ledger::MovementKind;
use crate::shelf::Shortage;

const DAY_MS: i64 = 86_400_000;

/// For how many days stock should last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cover {
    /// Days that the stock of a shelf should last. Too few warn when it is too late to order; too
    /// many warn of everything.
    pub days: NonZeroU16,
    /// Days of event time over which demand is taken, the latest day with a sale included. A short
    /// window follows every peak, a long one misses that demand grows; up to 12 bytes a day and
    /// shelf with sales are kept.
    pub window_days: NonZeroU16,
}

/// What customers took from one shelf, less what they gave back before they had it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Demand {
    /// Units by day since 1970, by rising day; no day is further back than the window.
    taken: VecDeque<(i32, i64)>,
    pub(crate) shortage: Shortage,
}

impl Demand {
    /// Units that a movement shows customers to want; `None` of a kind that shows nothing.
    ///
    /// What is handed over from what was reserved was wanted when it was reserved.
    pub(crate) const fn shown_by(kind: MovementKind, units: i64) -> Option<i64> {
        match kind {
            MovementKind::Sale | MovementKind::Reserve => Some(units),
            MovementKind::Release => Some(-units),
            MovementKind::Return
            | MovementKind::Restock
            | MovementKind::Adjustment
            | MovementKind::TransferOut
            | MovementKind::TransferIn
            | MovementKind::Commit => None,
        }
    }

    /// Takes note of units wanted at a time. O(days of the window); a time before the window of
    /// the latest day changes nothing.
    pub(crate) fn note(&mut self, time: EventTime, units: i64, window_days: NonZeroU16) {
        let day = i32::try_from(time.millis().div_euclid(DAY_MS)).unwrap_or(i32::MAX);
        let latest = self.taken.back().map_or(day, |(latest, _)| day.max(*latest));
        let first = latest.saturating_sub(i32::from(window_days.get()) - 1);
        while self.taken.front().is_some_and(|(day, _)| *day < first) {
            self.taken.pop_front();
        }
        if day < first {
            return;
        }
        let at = self.taken.partition_point(|(of, _)| *of < day);
        match self.taken.get_mut(at) {
            Some((of, taken)) if *of == day => *taken += units,
            Some(_) | None => self.taken.insert(at, (day, units)),
        }
        debug_assert!(self.taken.len() <= usize::from(window_days.get()), "days beyond the window");
    }

    /// Units wanted in the window.
    pub(crate) fn units(&self) -> i64 {
        self.taken.iter().map(|(_, units)| units).sum()
    }

    /// Whether so many units last for fewer days than they should.
    pub(crate) fn exhausts(&self, units: i64, cover: Cover) -> bool {
        let Cover { days, window_days } = cover;
        let wanted = i128::from(self.units().max(0)) * i128::from(days.get());
        i128::from(units) * i128::from(window_days.get()) < wanted
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn days(count: u16) -> NonZeroU16 {
        NonZeroU16::new(count).unwrap()
    }

    fn noon(day: i64) -> EventTime {
        EventTime::from_millis(day * DAY_MS + DAY_MS / 2)
    }

    #[test]
    fn fourteen_units_last_a_week_at_two_a_day_and_thirteen_do_not() {
        let mut demand = Demand::default();
        (0..10).for_each(|day| demand.note(noon(day), 2, days(10)));
        let cover = Cover { days: days(7), window_days: days(10) };

        assert!(!demand.exhausts(14, cover));
        assert!(demand.exhausts(13, cover));
    }

    #[test]
    fn a_shelf_that_sells_nothing_lasts_for_ever_and_one_below_zero_does_not() {
        let cover = Cover { days: days(7), window_days: days(10) };

        assert!(!Demand::default().exhausts(0, cover));
        assert!(Demand::default().exhausts(-1, cover));
    }

    #[test]
    fn what_is_released_was_not_wanted_and_what_is_committed_was_wanted_before() {
        assert_eq!(Demand::shown_by(MovementKind::Release, 3), Some(-3));
        assert_eq!(Demand::shown_by(MovementKind::Commit, 3), None);
    }

    proptest! {
        #[test]
        fn demand_is_the_sum_over_the_window_before_the_latest_day(
            sales in vec((0..30_i64, 1..9_i64), 1..60), window in 1..12_u16,
        ) {
            let mut demand = Demand::default();
            let mut latest = i64::MIN;
            let mut counted: Vec<(i64, i64)> = Vec::new();
            for (day, units) in sales {
                latest = latest.max(day);
                counted.push((day, units));
                // What has left the window does not come back.
                counted.retain(|(day, _)| latest - day < i64::from(window));

                demand.note(noon(day), units, days(window));

                let expected: i64 = counted.iter().map(|(_, units)| units).sum();
                prop_assert_eq!(demand.units(), expected);
            }
        }
    }
}
