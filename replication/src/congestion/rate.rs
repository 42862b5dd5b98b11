//! What a path delivers.

use std::collections::VecDeque;

use super::Limit;

/// Rounds for which a delivery rate is believed: BBR's ten.
const ROUNDS: usize = 10;

/// The largest delivery rate of the last rounds.
#[derive(Debug, Clone, Default)]
pub(super) struct RateFilter {
    /// Bytes per second, oldest first.
    samples: VecDeque<u64>,
}

impl RateFilter {
    /// Takes a round's rate. One in which there was not enough to send counts only when it shows
    /// more than was known, and makes nothing older.
    pub(super) fn on_round(&mut self, rate: u64, limit: Limit) {
        if limit == Limit::Application && self.max().is_some_and(|max| rate <= max) {
            return;
        }
        if self.samples.len() == ROUNDS {
            self.samples.pop_front();
        }
        self.samples.push_back(rate);
        debug_assert!(self.samples.len() <= ROUNDS);
    }

    /// Forgets what the path used to deliver.
    pub(super) fn forget(&mut self) {
        self.samples.clear();
    }

    /// Bytes per second; `None` when nothing is known.
    pub(super) fn max(&self) -> Option<u64> {
        self.samples.iter().copied().max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_believed_for_ten_rounds() {
        let mut filter = RateFilter::default();
        filter.on_round(900, Limit::Window);

        for _ in 0..9 {
            filter.on_round(100, Limit::Window);
        }
        assert_eq!(filter.max(), Some(900));
        filter.on_round(100, Limit::Window);

        assert_eq!(filter.max(), Some(100));
    }

    #[test]
    fn a_round_with_little_to_send_takes_nothing_away() {
        let mut filter = RateFilter::default();
        filter.on_round(900, Limit::Window);

        for _ in 0..50 {
            filter.on_round(10, Limit::Application);
        }
        assert_eq!(filter.max(), Some(900));
        filter.on_round(901, Limit::Application);

        assert_eq!(filter.max(), Some(901));
    }
}
