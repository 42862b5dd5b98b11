//! What a holder's log of one sku comes to, so that a later record stands for those before it.

use std::collections::BTreeSet;

use headland_event::Offset;
use serde::{Deserialize, Serialize};

use super::record::{Act, AskNumber, Closing, Holder};

/// No sum of units, and no count, that comes of use is larger; sums of a few such ones still fit.
const SUM_LIMIT: i64 = 1 << 53;

/// All that a holder's records of one sku say, but for the promises that are open.
///
/// Every number but `own` and `debt` only grows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Books {
    /// Units put up for sale here, less those sold, destroyed, and paid for debts when released.
    own: i64,
    /// Units it was asked to destroy when it had promised them already.
    #[serde(default)]
    debt: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    given: Vec<Given>,
    /// The number of its latest request for rights.
    #[serde(default)]
    asked: AskNumber,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    answered: Vec<Answered>,
    /// Offers and recalls so far.
    #[serde(default)]
    orders: u64,
    /// Reservations that ended so far, but for those ended by versions that did not count them.
    #[serde(default, skip_serializing_if = "is_none")]
    closes: u64,
}

/// What one holder was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given {
    pub(super) to: Holder,
    /// Units, all in all.
    pub(super) units: i64,
    /// The latest request of it that was answered.
    pub(super) number: AskNumber,
}

/// Up to where the recalls of a holder are answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Answered {
    by: Holder,
    next: Offset,
}

/// Whether a count is left out.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Books {
    /// Checks what another hub wrote: nobody can be given fewer than no units, or be named twice.
    ///
    /// # Errors
    /// What does not fit, and what would.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { own, debt, given, asked: _, answered, orders, closes } = self;
        let sums = [("debt", *debt)].into_iter().chain(given.iter().map(|of| ("given", of.units)));
        let counts = [("orders", *orders), ("closes", *closes)];
        let counts = counts.map(|(name, of)| (name, i64::try_from(of).unwrap_or(i64::MAX)));
        for (name, found) in sums.chain(counts) {
            if !(0..=SUM_LIMIT).contains(&found) {
                return Err(format!("books: {name} is {found}, expected 0 to {SUM_LIMIT}"));
            }
        }
        if !(-SUM_LIMIT..=SUM_LIMIT).contains(own) {
            return Err(format!("books: own is {own}, expected at most {SUM_LIMIT} either way"));
        }
        let given_to: BTreeSet<&Holder> = given.iter().map(|of| &of.to).collect();
        let answered_by: BTreeSet<&Holder> = answered.iter().map(|of| &of.by).collect();
        if given_to.len() < given.len() || answered_by.len() < answered.len() {
            return Err("books: a holder is named twice, expected once".to_owned());
        }
        Ok(())
    }

    pub(super) const fn own(&self) -> i64 {
        self.own
    }

    pub(super) const fn debt(&self) -> i64 {
        self.debt
    }

    pub(super) const fn asked(&self) -> AskNumber {
        self.asked
    }

    pub(super) const fn orders(&self) -> u64 {
        self.orders
    }

    pub(super) const fn closes(&self) -> u64 {
        self.closes
    }

    /// What each holder was given.
    pub(super) fn given(&self) -> &[Given] {
        &self.given
    }

    /// Units that a holder was given.
    pub(super) fn given_to(&self, to: &Holder) -> i64 {
        self.given.iter().find(|of| of.to == *to).map_or(0, |of| of.units)
    }

    /// Where the first recall of a holder may stand that is not answered.
    pub(super) fn answered(&self, by: &Holder) -> Offset {
        let found = self.answered.iter().find(|of| of.by == *by);
        found.map(|of| of.next).unwrap_or_default()
    }

    /// Enters the next record of the log; `promised` are the units of the promise that it ends.
    pub(super) fn enter(&mut self, act: &Act, promised: i64) {
        self.closes += u64::from(matches!(act, Act::Close { .. }));
        match act {
            Act::Create { request: _, units } => {
                self.own = self.own.saturating_add(units.get());
                self.orders += 1;
            }
            Act::Recall { .. } => self.orders += 1,
            Act::Close { request: _, outcome: Closing::Sold } => self.own -= promised,
            Act::Close { request: _, outcome: Closing::Released } => {
                let paid = self.debt.min(promised);
                self.debt -= paid;
                self.own -= paid;
            }
            Act::Ask { number, units: _ } => self.asked = self.asked.max(*number),
            Act::Give { to, number, units } => self.give(to, *number, units.get()),
            Act::Destroy { recall, units, missing } => {
                self.own -= units.get();
                self.debt = self.debt.saturating_add(missing.get());
                self.answer(&recall.by, recall.at.after(1));
            }
            Act::Spend { .. } | Act::Gone { .. } => {}
        }
    }

    /// These books of a later record: what only grows has not become less.
    pub(super) fn after(mut self, before: &Self) -> Self {
        for Given { to, units, number } in &before.given {
            let more = units.saturating_sub(self.given_to(to));
            self.give(to, *number, more.max(0));
        }
        for Answered { by, next } in &before.answered {
            self.answer(by, *next);
        }
        self.asked = self.asked.max(before.asked);
        self.orders = self.orders.max(before.orders);
        self.closes = self.closes.max(before.closes);
        self
    }

    fn give(&mut self, to: &Holder, number: AskNumber, units: i64) {
        match self.given.iter_mut().find(|of| of.to == *to) {
            Some(of) => {
                of.units = of.units.saturating_add(units);
                of.number = of.number.max(number);
            }
            None => self.given.push(Given { to: to.clone(), units, number }),
        }
    }

    fn answer(&mut self, by: &Holder, next: Offset) {
        match self.answered.iter_mut().find(|of| of.by == *by) {
            Some(of) => of.next = of.next.max(next),
            None => self.answered.push(Answered { by: by.clone(), next }),
        }
    }
}
