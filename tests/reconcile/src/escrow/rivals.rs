//! The same customers, answered without escrow.

use super::Tally;

/// One lock in the first region: exact, and out of reach behind a cut.
#[derive(Debug, Default)]
pub(super) struct CentralLock {
    stock: i64,
    pub(super) tally: Tally,
}

impl CentralLock {
    pub(super) const fn restock(&mut self, units: i64) {
        self.stock += units;
    }

    pub(super) const fn customer(&mut self, units: i64, is_reachable: bool) {
        self.tally.asked += 1;
        if units > self.stock {
            return;
        }
        if is_reachable {
            self.stock -= units;
            self.tally.granted += 1;
        } else {
            self.tally.refused_in_vain += 1;
        }
    }
}

/// Each region sells what it believes is there, and hears of others when it can.
#[derive(Debug)]
pub(super) struct Hope {
    created: i64,
    /// Units that each region, by itself, has sold and put up.
    done: Vec<i64>,
    /// What each region has heard of each.
    heard: Vec<Vec<i64>>,
    sold: i64,
    pub(super) tally: Tally,
}

impl Hope {
    pub(super) fn new(regions: usize) -> Self {
        Self {
            created: 0,
            done: vec![0; regions],
            heard: vec![vec![0; regions]; regions],
            sold: 0,
            tally: Tally::default(),
        }
    }

    pub(super) fn restock(&mut self, region: usize, units: i64) {
        self.created += units;
        self.change(region, units);
    }

    pub(super) fn customer(&mut self, region: usize, units: i64) {
        self.tally.asked += 1;
        let believed: i64 = self.heard.get(region).map_or(0, |heard| heard.iter().sum());
        if units <= believed {
            self.tally.granted += 1;
            self.sold += units;
            self.change(region, -units);
            let beyond = (self.sold - self.created).max(0);
            self.tally.oversold = self.tally.oversold.max(beyond.unsigned_abs());
        } else if units <= self.created - self.sold {
            self.tally.refused_in_vain += 1;
        }
    }

    /// One region hears what another one has done.
    pub(super) fn exchange(&mut self, to: usize, from: usize) {
        let done = self.done.get(from).copied().unwrap_or(0);
        let heard = self.heard.get_mut(to).and_then(|heard| heard.get_mut(from));
        if let Some(heard) = heard {
            *heard = done;
        }
    }

    fn change(&mut self, region: usize, units: i64) {
        if let Some(done) = self.done.get_mut(region) {
            *done += units;
            let own = self.heard.get_mut(region).and_then(|heard| heard.get_mut(region));
            if let Some(own) = own {
                *own = *done;
            }
        }
    }
}
