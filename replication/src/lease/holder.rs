//! Whether this hub's own region is in use: it is while a majority grants it a lease.

use std::collections::BTreeMap;

use headland_event::{Monotonic, RegionId};

use super::LEASE;

/// The lease of one's own region.
#[derive(Debug, Clone, Default)]
pub(super) struct Holder {
    /// The fence that is asked under.
    number: u64,
    /// When the last request was sent that a region has granted.
    granted: BTreeMap<RegionId, Monotonic>,
}

impl Holder {
    /// Asks under another fence from now on; what was granted under a former one is over.
    pub(super) fn begin(&mut self, number: u64) {
        if self.number != number {
            self.number = number;
            self.granted.clear();
        }
    }

    /// Takes nothing of what was granted for granted any more.
    pub(super) fn clear(&mut self) {
        self.granted.clear();
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// A region has granted what was asked at a moment, which is not to come.
    pub(super) fn on_grant(&mut self, now: Monotonic, from: &RegionId, asked: (u64, Monotonic)) {
        let (number, sent_at) = asked;
        if number == self.number && sent_at <= now {
            let known = self.granted.entry(from.clone()).or_default();
            *known = sent_at.max(*known);
        }
    }

    /// Until when so many other regions have granted it, counted from when they were asked; `None`
    /// before they have.
    pub(super) fn until(&self, others: usize) -> Option<Monotonic> {
        let mut sent: Vec<Monotonic> = self.granted.values().copied().collect();
        sent.sort_unstable_by(|one, other| other.cmp(one));
        Some(sent.get(others.checked_sub(1)?)?.after(LEASE))
    }
}
