//! Rights of one sku, as all holders' records tell.

use std::collections::BTreeMap;
use std::time::Duration;

use headland_event::Monotonic;

use super::{Act, AskNumber, Closing, Holder, Share};
use crate::name::RequestId;

/// Rights of one sku by holder, and what is open.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    rights: BTreeMap<Holder, i64>,
    /// Reservations that are neither sold nor released, with their units.
    open: BTreeMap<RequestId, (Holder, i64)>,
    /// By who gave and who had asked: the latest request that was answered.
    answered: BTreeMap<(Holder, Holder), AskNumber>,
    /// The latest request of this holder, 0 before the first.
    asked: AskNumber,
    /// Until when it stands; `None` when none was made since the start.
    stands_until: Option<Monotonic>,
}

impl Pool {
    /// Applies a durable record of a holder.
    ///
    /// What a holder has may look like less than nothing elsewhere, while the log of who gave it
    /// rights is behind; never to itself.
    pub(super) fn apply(&mut self, from: &Holder, act: &Act) {
        match act {
            Act::Create { units } => self.change(from, *units),
            Act::Spend { request, units } => {
                self.change(from, -units);
                self.open.insert(request.clone(), (from.clone(), *units));
            }
            Act::Close { request, outcome } => {
                // Only who promised can end a promise, so that its log alone orders both.
                if !self.is_open_at(request, from) {
                    return;
                }
                let Some((_, units)) = self.open.remove(request) else { return };
                match outcome {
                    Closing::Sold => {}
                    Closing::Released => self.change(from, units),
                }
            }
            Act::Ask { .. } | Act::Recall { .. } => {}
            Act::Give { to, number, units } => {
                self.change(from, -units);
                self.change(to, *units);
                self.note_answer(from, to, *number);
            }
            Act::Destroy { units } => self.change(from, -units),
        }
    }

    pub(super) fn rights(&self, holder: &Holder) -> i64 {
        self.rights.get(holder).copied().unwrap_or(0)
    }

    pub(super) fn holders(&self) -> impl Iterator<Item = (&Holder, i64)> {
        self.rights.iter().map(|(holder, units)| (holder, *units))
    }

    /// Units that others hold.
    pub(super) fn elsewhere(&self, holder: &Holder) -> i64 {
        self.holders().filter(|(of, _)| *of != holder).map(|(_, units)| units.max(0)).sum()
    }

    pub(super) fn is_open(&self, request: &RequestId) -> bool {
        self.open.contains_key(request)
    }

    pub(super) fn is_open_at(&self, request: &RequestId, holder: &Holder) -> bool {
        self.open.get(request).is_some_and(|(at, _)| at == holder)
    }

    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// The number of a request to make now; `None` while the last one still stands.
    pub(super) fn next_ask(&mut self, now: Monotonic, ask_again: Duration) -> Option<AskNumber> {
        if self.stands_until.is_some_and(|until| now < until) {
            return None;
        }
        self.stands_until = Some(now.after(ask_again));
        self.asked = AskNumber(self.asked.0 + 1);
        Some(self.asked)
    }

    /// Takes note of a request that this holder made before it was restarted.
    pub(super) fn note_ask(&mut self, number: AskNumber) {
        self.asked = self.asked.max(number);
    }

    /// Whether a request is to be answered by `from`: not when it, or a later one, was.
    pub(super) fn answers(&mut self, from: &Holder, to: &Holder, number: AskNumber) -> bool {
        let before = self.answered.get(&(from.clone(), to.clone()));
        let is_new = before.is_none_or(|before| *before < number);
        if is_new {
            self.note_answer(from, to, number);
        }
        is_new
    }

    /// What each holder should destroy so that `units` are gone, as far as there are so many: in
    /// proportion to what each holds, the first ones one more when it does not divide.
    pub(super) fn shares(&self, units: i64) -> Vec<Share> {
        let held: Vec<(&Holder, i64)> = self.holders().filter(|(_, units)| *units > 0).collect();
        let mut left: i64 = held.iter().map(|(_, units)| units).sum();
        let mut wanted = units.clamp(0, left);
        let mut shares = Vec::new();
        for (holder, has) in held {
            let part = i128::from(wanted) * i128::from(has);
            let part = part.div_euclid(i128::from(left))
                + i128::from(part.rem_euclid(i128::from(left)) > 0);
            let units = i64::try_from(part).unwrap_or(has).min(has).min(wanted);
            left -= has;
            wanted -= units;
            if units > 0 {
                shares.push(Share { holder: holder.clone(), units });
            }
        }
        debug_assert_eq!(wanted, 0, "a recall leaves out what there is");
        shares
    }

    fn note_answer(&mut self, from: &Holder, to: &Holder, number: AskNumber) {
        let latest = self.answered.entry((from.clone(), to.clone())).or_default();
        *latest = number.max(*latest);
    }

    fn change(&mut self, holder: &Holder, units: i64) {
        *self.rights.entry(holder.clone()).or_insert(0) += units;
    }
}
