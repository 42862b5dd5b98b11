//! Rights of one sku, as all holders' records tell.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use headland_event::Monotonic;

use super::books::Given;
use super::late::News;
use super::record::Order;
use super::{
    Act, AskNumber, Books, CLOSED_LIMIT, Closing, EscrowRecord, Holder, ORDERS_LIMIT, Share, Units,
};
use crate::name::RequestId;

/// Open reservations of one holder.
#[derive(Debug, Clone, Copy, Default)]
struct Promises {
    count: usize,
    units: i64,
}

/// Rights of one sku by holder, and what is open.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    rights: BTreeMap<Holder, i64>,
    /// Reservations that are neither sold nor released, by the holders that promised units: most
    /// are one's, but a customer who turned from one region to another may have been granted twice.
    open: BTreeMap<RequestId, Vec<(Holder, Units)>>,
    /// Of each holder: how many of its reservations are open, and their units.
    promises: BTreeMap<Holder, Promises>,
    /// Of each holder the latest of its reservations that ended, and how.
    closed: BTreeMap<Holder, VecDeque<(RequestId, Closing)>>,
    /// What each holder's log comes to.
    books: BTreeMap<Holder, Books>,
    /// By who gave and who had asked: the latest request that was answered.
    answered: BTreeMap<(Holder, Holder), AskNumber>,
    /// This holder's latest offers and recalls.
    orders: VecDeque<Order>,
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
    pub(super) fn apply(&mut self, from: &Holder, record: &EscrowRecord) {
        let EscrowRecord { sku: _, act, books } = record;
        let promised = match act {
            Act::Spend { request, units } => return self.open_one(from, request, *units),
            Act::Gone { request } => self.close_one(from, request),
            Act::Close { request, outcome } => {
                self.note_closed(from, request, *outcome);
                self.close_one(from, request)
            }
            Act::Create { .. }
            | Act::Ask { .. }
            | Act::Recall { .. }
            | Act::Give { .. }
            | Act::Destroy { .. } => 0,
        };
        self.enter(from, (act, promised), books.as_deref());
    }

    /// The same of a part of a record that comes behind what followed it.
    pub(super) fn apply_part(&mut self, from: &Holder, record: &EscrowRecord, news: News) {
        let EscrowRecord { sku: _, act, books } = record;
        if news.promise {
            match act {
                Act::Spend { request, units } => self.open_one(from, request, *units),
                Act::Gone { request } | Act::Close { request, outcome: _ } => {
                    let _ended = self.close_one(from, request);
                }
                Act::Create { .. }
                | Act::Ask { .. }
                | Act::Recall { .. }
                | Act::Give { .. }
                | Act::Destroy { .. } => {}
            }
        }
        if let Some(books) = books.as_deref().filter(|_| news.books) {
            self.enter(from, (act, 0), Some(books));
        }
    }

    /// Enters the next books of a holder, or else what an act changes of those that there are.
    fn enter(&mut self, from: &Holder, (act, promised): (&Act, i64), books: Option<&Books>) {
        let before = self.books.get(from).cloned().unwrap_or_default();
        let books = match books {
            Some(books) => books.clone().after(&before),
            None => {
                let mut books = before.clone();
                books.enter(act, promised);
                books
            }
        };
        self.change(from, books.own().saturating_sub(before.own()));
        for Given { to, units, number } in books.given() {
            let more = units.saturating_sub(before.given_to(to));
            self.change(from, -more);
            self.change(to, more);
            self.note_answer(from, to, *number);
        }
        self.books.insert(from.clone(), books);
    }

    /// A later promise of a request stands for the one before it, as in a log that is compacted by
    /// key: what lies between them may be gone, the end of the first one too.
    fn open_one(&mut self, from: &Holder, request: &RequestId, units: Units) {
        self.close_one(from, request);
        self.change(from, -units.get());
        self.open.entry(request.clone()).or_default().push((from.clone(), units));
        let promises = self.promises.entry(from.clone()).or_default();
        promises.count += 1;
        promises.units += units.get();
    }

    /// Only who promised can end a promise, so that its log alone orders both. Returns its units,
    /// which are rights again until the books say what became of them.
    fn close_one(&mut self, from: &Holder, request: &RequestId) -> i64 {
        let Some(open) = self.open.get_mut(request) else { return 0 };
        let Some(index) = open.iter().position(|(holder, _)| holder == from) else { return 0 };
        let (_, units) = open.remove(index);
        if open.is_empty() {
            self.open.remove(request);
        }
        if let Some(promises) = self.promises.get_mut(from) {
            promises.count -= 1;
            promises.units -= units.get();
        }
        self.change(from, units.get());
        units.get()
    }

    /// The oldest name is forgotten for it.
    fn note_closed(&mut self, from: &Holder, request: &RequestId, outcome: Closing) {
        let closed = self.closed.entry(from.clone()).or_default();
        if closed.len() >= CLOSED_LIMIT {
            closed.pop_front();
        }
        closed.push_back((request.clone(), outcome));
    }

    /// How a holder's reservation ended, if it is one of the last. O([`CLOSED_LIMIT`]).
    pub(super) fn closed_by(&self, holder: &Holder, request: &RequestId) -> Option<Closing> {
        let found = self.closed.get(holder)?.iter().rev().find(|(of, _)| of == request);
        found.map(|(_, outcome)| *outcome)
    }

    /// How a reservation ended, whoever had granted it. O(holders × [`CLOSED_LIMIT`]).
    pub(super) fn closed(&self, request: &RequestId) -> Option<Closing> {
        self.closed.keys().find_map(|holder| self.closed_by(holder, request))
    }

    /// What a holder's log comes to.
    pub(super) fn books(&self, holder: &Holder) -> Option<&Books> {
        self.books.get(holder)
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

    /// Units that a holder has promised under a request and has not closed.
    pub(super) fn promised_by(&self, holder: &Holder, request: &RequestId) -> Option<Units> {
        let mut open = self.open.get(request)?.iter();
        open.find(|(at, _)| at == holder).map(|(_, units)| *units)
    }

    /// Another holder that promised units under a request, as far as is known here; it may have
    /// closed it since.
    pub(super) fn promised_elsewhere(
        &self,
        holder: &Holder,
        request: &RequestId,
    ) -> Option<&(Holder, Units)> {
        self.open.get(request)?.iter().find(|(at, _)| at != holder)
    }

    /// Open reservations of a holder.
    pub(super) fn open(&self, holder: &Holder) -> usize {
        self.promises.get(holder).map_or(0, |promises| promises.count)
    }

    /// The number of a request to make now; `None` while the last one still stands.
    pub(super) fn next_ask(&mut self, now: Monotonic, ask_again: Duration) -> Option<AskNumber> {
        if self.stands_until.is_some_and(|until| now < until) {
            return None;
        }
        self.stands_until = Some(now.after(ask_again));
        self.asked = self.asked.next();
        Some(self.asked)
    }

    /// Takes note of a request that this holder made before it was restarted.
    pub(super) fn note_ask(&mut self, holder: &Holder) {
        self.asked = self.asked.max(self.books.get(holder).map(Books::asked).unwrap_or_default());
    }

    /// Takes note of an offer or a recall of this holder; the oldest one is forgotten for it.
    pub(super) fn note_order(&mut self, order: Order) {
        if self.orders.len() >= ORDERS_LIMIT {
            self.orders.pop_front();
        }
        self.orders.push_back(order);
    }

    /// What this holder ordered under a request. O(orders), of which there are few.
    pub(super) fn order(&self, request: &RequestId) -> Option<&Order> {
        self.orders.iter().find(|order| order.request == *request)
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

    /// What each holder should destroy so that `units` are gone: in proportion to what each holds,
    /// and what is beyond all rights in proportion to what each has promised and does not owe yet.
    pub(super) fn shares(&self, units: Units) -> Vec<Share> {
        let held: Vec<(&Holder, i64)> = self.holders().filter(|(_, units)| *units > 0).collect();
        let mut shares = proportion(&held, units.get());
        let beyond = units.less(shares.values().sum());
        let debt = |holder: &Holder| self.books.get(holder).map_or(0, Books::debt);
        let promised: Vec<(&Holder, i64)> = self
            .promises
            .iter()
            .map(|(holder, promises)| (holder, promises.units - debt(holder)))
            .filter(|(_, units)| *units > 0)
            .collect();
        for (holder, units) in proportion(&promised, beyond.get()) {
            *shares.entry(holder).or_insert(0) += units;
        }
        let share = |(holder, units): (&Holder, i64)| Share {
            holder: holder.clone(),
            units: Units::clamped(units),
        };
        shares.into_iter().map(share).collect()
    }

    /// All that is known, to compare.
    #[cfg(test)]
    pub(super) fn known(&self) -> String {
        let Self { rights: _, open, promises, closed, books, answered, orders, .. } = self;
        let asked = self.asked;
        let promises: Vec<_> = promises.iter().filter(|(_, of)| of.count > 0).collect();
        let books: Vec<_> = books.iter().filter(|(_, of)| **of != Books::default()).collect();
        format!("{open:?} {promises:?} {closed:?} {books:?} {answered:?} {orders:?} {asked:?}")
    }

    fn note_answer(&mut self, from: &Holder, to: &Holder, number: AskNumber) {
        let latest = self.answered.entry((from.clone(), to.clone())).or_default();
        *latest = number.max(*latest);
    }

    fn change(&mut self, holder: &Holder, units: i64) {
        let rights = self.rights.entry(holder.clone()).or_insert(0);
        *rights = rights.saturating_add(units);
    }
}

/// Shares of `wanted`, or of all there is, in proportion to what each has; the first ones have one
/// more when it does not divide.
fn proportion<'a>(has: &[(&'a Holder, i64)], wanted: i64) -> BTreeMap<&'a Holder, i64> {
    let mut left: i64 = has.iter().map(|(_, units)| units).sum();
    let mut wanted = wanted.clamp(0, left);
    let mut shares = BTreeMap::new();
    for (holder, has) in has {
        let part = i128::from(wanted) * i128::from(*has);
        let part =
            part.div_euclid(i128::from(left)) + i128::from(part.rem_euclid(i128::from(left)) > 0);
        let units = i64::try_from(part).unwrap_or(*has).min(*has).min(wanted);
        left -= has;
        wanted -= units;
        if units > 0 {
            shares.insert(*holder, units);
        }
    }
    debug_assert_eq!(wanted, 0, "shares leave out what there is");
    shares
}
