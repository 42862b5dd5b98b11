//! Escrow: rights to sell, so that regions that cannot hear each other never sell one unit twice.
//!
//! Of a sku under escrow only who holds rights may promise units, and only as many. Rights are
//! created where stock is put up for sale, spent by reservations, given to another holder that asks
//! for some, and destroyed when stock turns out to be missing. Each is a record in the log of the
//! holder that does it, made durable before anybody is answered, so that a reservation costs one
//! local commit while rights last. What a holder has is
//!
//! ```text
//! created + received − given − spent + refunded − destroyed
//! ```
//!
//! and only its own log can lower it: nothing that happens elsewhere, late or twice can make it
//! oversell. A holder is one life of one hub. A hub that was restored or cloned is another life and
//! starts with no rights; what its former life held is out of reach, which may refuse a customer
//! but never promises a unit twice. Until it has met a peer it says so ([`Answer::UnknownYet`]).
//!
//! When stock is missing, rights are recalled, and each holder answers a recall with one record:
//! what it destroys of the rights it has, and what it cannot, because it has promised those units
//! already. The latter is a debt: a promise that is released later pays it before anything is free
//! to be promised again.
//!
//! Every record but a promise has books: what all its writer did with the sku comes to. So a
//! log can be cut by key ([`EscrowRecord::key`]): the promises that are open and the last
//! record say what the whole log says.
//!
//! What compaction left out of a log may come from another hub after all, behind what followed it
//! there ([`Escrow::on_cut`]). Of each key the record at the highest offset holds then.
//!
//! The core is sans-IO: [`Escrow::on_record`] feeds what is durable, [`Escrow::poll_output`] drains
//! what is to be made durable or answered.
//!
//! # Source
//! O'Neil, "The Escrow Transactional Method", 1986; Balegas et al., "Extending Eventually
//! Consistent Cloud Databases for Enforcing Numeric Invariants" (bounded counters), 2015.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use headland_event::{KeyMap, Monotonic, Offset, keymap};
use serde::Serialize;

use crate::name::{RequestId, Sku};

/// What holders write to their logs.
mod record;
/// What a holder's log comes to.
mod books;
/// Rights of one sku, as all holders' records tell.
mod pool;
/// Records that come behind what followed them.
mod late;
#[cfg(test)]
mod tests;

pub use books::Books;
use late::Late;
use pool::Pool;
use record::Order;
pub use record::{
    Act, AskNumber, Closing, EscrowRecord, EscrowRecordError, Holder, OrderKind, RecallId, Share,
    Units, UnitsError,
};

/// Most reservations of one sku that may be open at one holder; beyond, asked ones are refused.
/// Each is remembered until it is closed, so that asking again is answered alike.
pub const OPEN_LIMIT: usize = 100_000;

/// Offers and recalls of one sku that a holder remembers, so that one asked for again after a
/// timeout is done once. Operators repeat within minutes; before a thousand others is long ago.
pub const ORDERS_LIMIT: usize = 1_000;

/// Ended reservations of one sku and holder whose names are remembered, by every hub, so that one
/// asked for again after a timeout is not promised twice. Clients repeat within seconds.
pub const CLOSED_LIMIT: usize = 1_000;

/// What a customer is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// The units are promised, durably.
    Granted,
    /// This holder has too few rights; some were asked for.
    NotHere {
        /// Units it could promise now.
        here: i64,
        /// Units that others held, as far as is known here.
        elsewhere: i64,
    },
    /// This holder came up from a backup or a clone and has met no peer: it holds nothing and does
    /// not know what there is.
    UnknownYet,
    /// The request was granted here, or is being granted, with another number of units: it is
    /// another reservation and needs a name of its own.
    OtherUnits {
        /// Units that are promised under its name.
        promised: Units,
    },
    /// The reservation is being sold or released here; its name is taken until that is durable.
    Ending {
        /// Which of the two.
        outcome: Closing,
    },
    /// The reservation ended: its name is one of the last that did.
    Closed {
        /// How it ended.
        outcome: Closing,
    },
    /// Another holder granted the request, and only that one can say whether it still does:
    /// nothing is promised here.
    PromisedElsewhere {
        /// Who granted it.
        holder: Holder,
        /// Units that were granted.
        units: Units,
    },
}

/// Why a reservation is not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// Nothing of that name is open at this holder.
    #[error("it is not open here")]
    NotOpen,
    /// It is being ended otherwise.
    #[error("it is being {outcome} already")]
    Ending {
        /// How.
        outcome: Closing,
    },
    /// It ended otherwise.
    #[error("it was {outcome} already")]
    Closed {
        /// How.
        outcome: Closing,
    },
}

/// Why an offer or a recall is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Another one has its name.
    #[error("the request is {kind} of {units} units already; use another name")]
    Taken {
        /// What it is.
        kind: OrderKind,
        /// Of how many units.
        units: Units,
    },
}

/// Work for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum EscrowOutput {
    /// To be made durable in this holder's log, in this order, then fed to [`Escrow::on_record`].
    Commit(EscrowRecord),
    /// The answer to a reservation.
    Answer {
        /// The sku.
        sku: Sku,
        /// The customer's request, which names one reservation of each sku.
        request: RequestId,
        /// What to say.
        answer: Answer,
    },
    /// A recall asked for more than there are rights here: so many units were promised that are not
    /// there. It belongs in the commit of the record that came before it, so that a crash loses
    /// both, or neither.
    Short {
        /// The sku.
        sku: Sku,
        /// Units missing.
        units: Units,
    },
}

/// Whether a hub's life may trust what it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It began empty, or went on from its own disk.
    Settled,
    /// It came up from a backup or as a clone, and has met no peer since.
    Alone,
}

/// What an escrow has to know of its hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EscrowConfig {
    /// Who this is.
    pub holder: Holder,
    /// Whether it has to meet a peer first.
    pub standing: Standing,
    /// Units of a sku that a holder keeps when another one asks, and below which it asks itself.
    /// Too small refuses customers after each refill, too large hoards.
    pub floor: Units,
    /// Floors of skus that have one of their own.
    pub floors: BTreeMap<Sku, Units>,
    /// How long an unanswered request for rights stands before the next one.
    pub ask_again: Duration,
}

/// How far a promise of this holder has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// Its record is not durable yet.
    UnderWay(Units),
    /// It is open.
    Durable(Units),
    /// The record that ends it is not durable yet.
    Ending(Closing),
}

/// The rights that this holder knows of.
#[derive(Debug, Clone)]
pub struct Escrow {
    config: EscrowConfig,
    pools: KeyMap<Sku, Pool>,
    /// How far each holder's log was fed.
    applied: BTreeMap<Holder, Offset>,
    /// Holders of whose logs a part may come behind what followed it.
    late: BTreeMap<Holder, Late>,
    /// Units that recalls ask of this holder whose answers its log does not have.
    owed: BTreeMap<(Sku, RecallId), i64>,
    /// Whether a part of another holder's log is lost here: with what it gave, this one may seem to
    /// have less than nothing.
    is_partial: bool,
    /// Records handed out and not durable yet.
    pending: VecDeque<EscrowRecord>,
    outputs: VecDeque<EscrowOutput>,
}

impl Escrow {
    /// An escrow without rights. The seed only protects its hash map.
    #[must_use]
    pub fn new(config: EscrowConfig, seed: u64) -> Self {
        Self {
            config,
            pools: keymap::key_map(seed),
            applied: BTreeMap::new(),
            late: BTreeMap::new(),
            owed: BTreeMap::new(),
            is_partial: false,
            pending: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes note of a record that was in this node's journal when it started. It only says what
    /// holds: rights that others asked for are asked for again, and what recalls still ask of this
    /// holder is done by [`Self::resume`], to be called after the last record.
    pub fn replay(&mut self, from: &Holder, at: Offset, record: &EscrowRecord) {
        if self.advances(from, at) {
            self.note(from, at, record);
        } else {
            let _owed = self.note_late(from, at, record);
        }
    }

    /// What lies in another holder's log from an offset on may come late: compaction left it out
    /// where the log came from, and what holds instead is not here yet.
    pub fn on_cut(&mut self, holder: &Holder, from: Offset) {
        if *holder != self.config.holder {
            self.late.entry(holder.clone()).or_insert_with(|| Late::new(from)).begin(from);
        }
    }

    /// Nothing of a holder's log comes late any more.
    pub fn on_whole(&mut self, holder: &Holder) {
        self.late.remove(holder);
    }

    /// Takes note that a part of another holder's log is lost here. What it gave is lost with it:
    /// this holder may have fewer rights than it was given, never more.
    pub fn on_lost(&mut self) {
        self.is_partial = true;
    }

    /// Goes on with what the life before a crash had not made durable.
    pub fn resume(&mut self) {
        // Those of one holder in their order: its books say up to where they are answered.
        for ((sku, recall), units) in self.owed.clone() {
            self.destroy(&sku, recall, units);
        }
    }

    /// Takes note of a durable record of a holder's log, its own included; positions rise. One at
    /// or below an earlier position is a repetition and changes nothing, unless it may come late
    /// ([`Self::on_cut`]): then it says what it says, and calls for nothing.
    pub fn on_record(&mut self, now: Monotonic, from: &Holder, at: Offset, record: &EscrowRecord) {
        if !self.advances(from, at) {
            if let Some(owed) = self.note_late(from, at, record) {
                self.destroy(&record.sku, RecallId { by: from.clone(), at }, owed);
            }
            return;
        }
        let is_own = *from == self.config.holder;
        if is_own {
            let proposed = self.pending.iter().position(|pending| pending == record);
            proposed.and_then(|index| self.pending.remove(index));
        } else {
            self.on_peer_met();
        }
        self.note(from, at, record);
        let EscrowRecord { sku, act, books: _ } = record;
        match act {
            Act::Spend { request, .. } if is_own => {
                self.answer(sku, request, Answer::Granted);
                self.refill(now, sku, 0);
            }
            Act::Ask { number, units } if !is_own => self.give(sku, from, *number, units.get()),
            Act::Recall { .. } => {
                let recall = RecallId { by: from.clone(), at };
                if let Some(owed) = self.owed.get(&(sku.clone(), recall.clone())).copied() {
                    self.destroy(sku, recall, owed);
                }
            }
            Act::Create { .. }
            | Act::Spend { .. }
            | Act::Close { .. }
            | Act::Ask { .. }
            | Act::Give { .. }
            | Act::Destroy { .. }
            | Act::Gone { .. } => {}
        }
        debug_assert!(self.is_partial || self.available(sku) >= 0, "{sku}: fewer than none");
    }

    /// Takes note of a peer: what was unknown is known to be elsewhere now.
    pub fn on_peer_met(&mut self) {
        self.config.standing = Standing::Settled;
    }

    /// Puts units up for sale; none changes nothing, nor does the same request once more.
    ///
    /// # Errors
    /// [`OrderError`] when the request is a recall, or an offer of other units.
    pub fn on_create(
        &mut self,
        request: &RequestId,
        sku: &Sku,
        units: Units,
    ) -> Result<(), OrderError> {
        let order = Order { request: request.clone(), kind: OrderKind::Offer, units };
        if units.get() > 0 && self.is_new_order(sku, &order)? {
            self.propose(sku, Act::Create { request: Some(request.clone()), units });
        }
        Ok(())
    }

    /// A customer asks for units. The same request is answered alike, once more, while it is open
    /// here; what another holder promised is never granted here, as it may be over by now.
    ///
    /// Granted, the answer comes when the record is durable; else at once. A request for no units
    /// is not here.
    pub fn on_reserve(&mut self, now: Monotonic, request: &RequestId, sku: &Sku, units: Units) {
        let answer = match self.promised(request, sku) {
            Some(Promise::UnderWay(promised)) if promised == units => return,
            Some(Promise::Ending(outcome)) => Answer::Ending { outcome },
            Some(Promise::Durable(promised)) if promised == units => Answer::Granted,
            Some(Promise::UnderWay(promised) | Promise::Durable(promised)) => {
                Answer::OtherUnits { promised }
            }
            None => match self.refusal(request, sku, units) {
                Some(refusal) => refusal,
                None => return self.propose(sku, Act::Spend { request: request.clone(), units }),
            },
        };
        let is_not_here = matches!(answer, Answer::NotHere { .. });
        self.answer(sku, request, answer);
        if is_not_here {
            self.refill(now, sku, units.get());
        }
    }

    /// Why a request that this holder has not granted is not granted now; `None` when it can be.
    fn refusal(&self, request: &RequestId, sku: &Sku, units: Units) -> Option<Answer> {
        match self.config.standing {
            Standing::Alone => return Some(Answer::UnknownYet),
            Standing::Settled => {}
        }
        let holder = &self.config.holder;
        let pool = self.pools.get(sku);
        if let Some((holder, units)) =
            pool.and_then(|pool| pool.promised_elsewhere(holder, request)).cloned()
        {
            return Some(Answer::PromisedElsewhere { holder, units });
        }
        if let Some(outcome) = pool.and_then(|pool| pool.closed(request)) {
            return Some(Answer::Closed { outcome });
        }
        let has_room = pool.is_none_or(|pool| pool.open(holder) < OPEN_LIMIT);
        let here = self.available(sku);
        let fits = units.get() > 0 && units.get() <= here;
        let elsewhere = pool.map_or(0, |pool| pool.elsewhere(holder));
        (!fits || !has_room).then_some(Answer::NotHere { here, elsewhere })
    }

    /// A reservation made here ended. The same outcome once more changes nothing, as long as the
    /// name is remembered ([`CLOSED_LIMIT`]).
    ///
    /// # Errors
    /// [`CloseError`] when it is not open here, or ended otherwise.
    pub fn on_close(
        &mut self,
        request: &RequestId,
        sku: &Sku,
        outcome: Closing,
    ) -> Result<(), CloseError> {
        let holder = &self.config.holder;
        match self.promised(request, sku) {
            None => match self.pools.get(sku).and_then(|of| of.closed_by(holder, request)) {
                None => Err(CloseError::NotOpen),
                Some(before) if before == outcome => Ok(()),
                Some(outcome) => Err(CloseError::Closed { outcome }),
            },
            Some(Promise::UnderWay(_)) => Err(CloseError::NotOpen),
            Some(Promise::Ending(other)) if other != outcome => {
                Err(CloseError::Ending { outcome: other })
            }
            Some(Promise::Ending(_)) => Ok(()),
            Some(Promise::Durable(_)) => {
                self.propose(sku, Act::Close { request: request.clone(), outcome });
                Ok(())
            }
        }
    }

    /// Stock is missing: so many units that were put up for sale are not there. Rights are recalled
    /// from every holder, in proportion to what each is known to hold; what is beyond all rights is
    /// owed by those who have promised units that are not handed over yet. The same request once
    /// more changes nothing.
    ///
    /// # Errors
    /// [`OrderError`] when the request is an offer, or a recall of other units.
    pub fn on_shortfall(
        &mut self,
        request: &RequestId,
        sku: &Sku,
        units: Units,
    ) -> Result<(), OrderError> {
        let order = Order { request: request.clone(), kind: OrderKind::Recall, units };
        if units.get() == 0 || !self.is_new_order(sku, &order)? {
            return Ok(());
        }
        let shares = self.pools.get(sku).map_or_else(Vec::new, |pool| pool.shares(units));
        let recalled: i64 = shares.iter().map(|share| share.units.get()).sum();
        let missing = units.less(recalled);
        self.propose(sku, Act::Recall { request: Some(request.clone()), shares, missing });
        self.report_short(sku, missing);
        Ok(())
    }

    /// The next piece of work, if there is any.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<EscrowOutput> {
        self.outputs.pop_front()
    }

    /// Units that can be promised here now: rights less what is being made durable. O(pending).
    #[must_use]
    pub fn available(&self, sku: &Sku) -> i64 {
        let held = self.pools.get(sku).map_or(0, |pool| pool.rights(&self.config.holder));
        let leaving: i64 =
            self.pending.iter().filter(|of| of.sku == *sku).map(|of| of.act.leaving()).sum();
        held - leaving
    }

    /// Rights of every holder of a sku, as far as is known here.
    pub fn rights(&self, sku: &Sku) -> impl Iterator<Item = (&Holder, i64)> {
        self.pools.get(sku).into_iter().flat_map(Pool::holders)
    }

    fn floor(&self, sku: &Sku) -> i64 {
        self.config.floors.get(sku).unwrap_or(&self.config.floor).get()
    }

    fn advances(&mut self, from: &Holder, at: Offset) -> bool {
        let is_new = self.applied.get(from).is_none_or(|next| at >= *next);
        if is_new {
            self.applied.insert(from.clone(), at.after(1));
        }
        is_new
    }

    /// Applies a durable record: what it says, without what it calls for.
    fn note(&mut self, from: &Holder, at: Offset, record: &EscrowRecord) {
        let EscrowRecord { sku, act, books: _ } = record;
        let share = self.share_of(act);
        let own = &self.config.holder;
        let pool = self.pools.entry(sku.clone()).or_default();
        pool.apply(from, record);
        if let Some(late) = self.late.get_mut(from) {
            late.note(at, record);
        }
        if from == own {
            pool.note_ask(own);
            if let Some(order) = act.order() {
                pool.note_order(order);
            }
        }
        if let Some(units) = share {
            self.owed.insert((sku.clone(), RecallId { by: from.clone(), at }), units);
        }
        let books = pool.books(own);
        let is_answered = |of: &RecallId| books.is_some_and(|books| of.at < books.answered(&of.by));
        self.owed.retain(|(of, recall), _| of != sku || !is_answered(recall));
    }

    /// Units of this holder that a recall asks for.
    fn share_of(&self, act: &Act) -> Option<i64> {
        let Act::Recall { shares, .. } = act else { return None };
        let shares = shares.iter().filter(|share| share.holder == self.config.holder);
        let units: i64 = shares.map(|share| share.units.get()).sum();
        (units > 0).then_some(units)
    }

    /// Applies what a record says that comes behind what followed it in its log, as far as nothing
    /// that followed says otherwise; the units that it asks for, if it is a recall that this holder
    /// has not answered. Books say of each writer up to where recalls are answered: one before an
    /// answered one passes for answered.
    fn note_late(&mut self, from: &Holder, at: Offset, record: &EscrowRecord) -> Option<i64> {
        let late = self.late.get_mut(from).filter(|late| late.may_come(at))?;
        let news = late.take(at, record);
        let share = self.share_of(&record.act);
        let pool = self.pools.entry(record.sku.clone()).or_default();
        if let Some(news) = news {
            pool.apply_part(from, record, news);
        }
        let answered = pool.books(&self.config.holder).map(|books| books.answered(from));
        let key = (record.sku.clone(), RecallId { by: from.clone(), at });
        let is_new = at >= answered.unwrap_or_default() && !self.owed.contains_key(&key);
        let owed = share.filter(|_| is_new)?;
        self.owed.insert(key, owed);
        Some(owed)
    }

    /// Whether an offer or a recall was not ordered before. O(pending + orders).
    fn is_new_order(&self, sku: &Sku, order: &Order) -> Result<bool, OrderError> {
        let of_sku = self.pending.iter().filter(|pending| pending.sku == *sku);
        let under_way = of_sku
            .filter_map(|pending| pending.act.order())
            .find(|other| other.request == order.request);
        let done = || self.pools.get(sku)?.order(&order.request).cloned();
        match under_way.or_else(done) {
            None => Ok(true),
            Some(before) if before == *order => Ok(false),
            Some(Order { request: _, kind, units }) => Err(OrderError::Taken { kind, units }),
        }
    }

    /// What this holder promised under a request. O(pending).
    fn promised(&self, request: &RequestId, sku: &Sku) -> Option<Promise> {
        let of =
            |pending: &&EscrowRecord| pending.sku == *sku && pending.act.request() == Some(request);
        let under_way = self.pending.iter().rev().find(of).and_then(|pending| match pending.act {
            Act::Spend { units, .. } => Some(Promise::UnderWay(units)),
            Act::Close { outcome, .. } => Some(Promise::Ending(outcome)),
            Act::Create { .. }
            | Act::Ask { .. }
            | Act::Give { .. }
            | Act::Recall { .. }
            | Act::Destroy { .. }
            | Act::Gone { .. } => None,
        });
        under_way.or_else(|| {
            let units = self.pools.get(sku)?.promised_by(&self.config.holder, request)?;
            Some(Promise::Durable(units))
        })
    }

    fn answer(&mut self, sku: &Sku, request: &RequestId, answer: Answer) {
        let (sku, request) = (sku.clone(), request.clone());
        self.outputs.push_back(EscrowOutput::Answer { sku, request, answer });
    }

    fn propose(&mut self, sku: &Sku, act: Act) {
        let books = self.books_with(sku, &act).map(Box::new);
        let record = EscrowRecord { sku: sku.clone(), act, books };
        self.pending.push_back(record.clone());
        debug_assert!(
            self.is_partial || self.available(sku) >= 0,
            "{sku}: more was proposed than is held"
        );
        self.outputs.push_back(EscrowOutput::Commit(record));
    }

    /// What this holder's log comes to behind all that is under way and an act; `None` for a
    /// promise. O(pending).
    fn books_with(&self, sku: &Sku, act: &Act) -> Option<Books> {
        let promised = match act {
            Act::Spend { .. } => return None,
            Act::Close { request, .. } => {
                self.pools.get(sku)?.promised_by(&self.config.holder, request)
            }
            Act::Create { .. }
            | Act::Ask { .. }
            | Act::Give { .. }
            | Act::Recall { .. }
            | Act::Destroy { .. }
            | Act::Gone { .. } => None,
        };
        let under_way = self.pending.iter().rev().filter(|pending| pending.sku == *sku);
        let under_way = under_way.filter_map(|pending| pending.books.as_deref()).next();
        let durable = || self.pools.get(sku)?.books(&self.config.holder);
        let mut books = under_way.or_else(durable).cloned().unwrap_or_default();
        books.enter(act, promised.map_or(0, Units::get));
        Some(books)
    }

    /// Asks for rights when too few are left, unless a request for some stands.
    fn refill(&mut self, now: Monotonic, sku: &Sku, wanted: i64) {
        let (floor, ask_again) = (self.floor(sku), self.config.ask_again);
        let here = self.available(sku);
        let short = Units::clamped(wanted.max(2 * floor) - here);
        let is_low = here < floor || here < wanted;
        let holder = &self.config.holder;
        let Some(pool) = self.pools.get_mut(sku) else { return };
        if !is_low || short.get() == 0 || pool.elsewhere(holder) <= 0 {
            return;
        }
        if let Some(number) = pool.next_ask(now, ask_again) {
            self.propose(sku, Act::Ask { number, units: short });
        }
    }

    /// Answers a request for rights, once, with no more than half of what can be spared: the next
    /// one who asks may be nearer to customers.
    fn give(&mut self, sku: &Sku, to: &Holder, number: AskNumber, wanted: i64) {
        let spare = self.available(sku) - self.floor(sku);
        let units = Units::clamped(wanted.min(spare - spare / 2));
        let holder = &self.config.holder;
        let Some(pool) = self.pools.get_mut(sku) else { return };
        if units.get() > 0 && pool.answers(holder, to, number) {
            self.propose(sku, Act::Give { to: to.clone(), number, units });
        }
    }

    /// Answers a recall, in one record: what of it is destroyed, and what is not there any more.
    fn destroy(&mut self, sku: &Sku, recall: RecallId, owed: i64) {
        let owed = Units::clamped(owed);
        let units = Units::clamped(owed.get().min(self.available(sku)));
        let missing = owed.less(units.get());
        self.propose(sku, Act::Destroy { recall, units, missing });
        self.report_short(sku, missing);
    }

    fn report_short(&mut self, sku: &Sku, units: Units) {
        if units.get() > 0 {
            self.outputs.push_back(EscrowOutput::Short { sku: sku.clone(), units });
        }
    }
}
