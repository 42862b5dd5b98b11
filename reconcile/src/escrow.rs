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
//! The core is sans-IO: [`Escrow::on_record`] feeds what is durable, [`Escrow::poll_output`] drains
//! what is to be made durable or answered.
//!
//! # Source
//! O'Neil, "The Escrow Transactional Method", 1986; Balegas et al., "Extending Eventually
//! Consistent Cloud Databases for Enforcing Numeric Invariants" (bounded counters), 2015.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use headland_event::{Incarnation, KeyMap, Monotonic, Offset, RegionId, keymap};
use serde::{Deserialize, Serialize};

use crate::event::UNITS_LIMIT;
use crate::name::{RequestId, Sku};

/// Rights of one sku, as all holders' records tell.
mod pool;
#[cfg(test)]
mod tests;

use pool::Pool;

/// Most reservations of one sku that may be open at one holder; beyond, asked ones are refused.
/// Each is remembered until it is closed, so that asking again is answered alike.
pub const OPEN_LIMIT: usize = 100_000;

/// Who may hold rights: one life of one region's hub.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// The region.
    pub region: RegionId,
    /// The life.
    pub incarnation: Incarnation,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.region, self.incarnation)
    }
}

/// Number of a holder's request for rights of one sku, from 1 on. With holder and sku it names the
/// request, so that it is answered once by each.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct AskNumber(u64);

/// What a holder writes to its log about rights of one sku.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscrowRecord {
    /// The sku.
    pub sku: Sku,
    /// What happened.
    #[serde(flatten)]
    pub act: Act,
}

/// What happened to rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "lowercase")]
pub enum Act {
    /// Units were put up for sale.
    Create {
        /// How many.
        units: i64,
    },
    /// Units were promised to a customer.
    Spend {
        /// The customer's request.
        request: RequestId,
        /// How many.
        units: i64,
    },
    /// A promise was kept, or taken back.
    Close {
        /// The customer's request.
        request: RequestId,
        /// Which of the two.
        outcome: Closing,
    },
    /// Rights are wanted.
    Ask {
        /// The number of the request.
        number: AskNumber,
        /// How many.
        units: i64,
    },
    /// Rights were given away.
    Give {
        /// To whom.
        to: Holder,
        /// The number of the request that is answered.
        number: AskNumber,
        /// How many.
        units: i64,
    },
    /// Stock is missing: holders are asked to destroy rights.
    Recall {
        /// Who is asked to destroy how many.
        shares: Vec<Share>,
    },
    /// Rights were destroyed.
    Destroy {
        /// How many.
        units: i64,
    },
}

/// A holder's part of a recall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The holder.
    pub holder: Holder,
    /// Units it is to destroy.
    pub units: i64,
}

/// How a reservation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Closing {
    /// The customer has the units.
    Sold,
    /// The customer does not want them; their rights are free again.
    Released,
}

/// What a customer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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
}

/// Work for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum EscrowOutput {
    /// To be made durable in this holder's log, in this order, then fed to [`Escrow::on_record`].
    Commit(EscrowRecord),
    /// The answer to a reservation.
    Answer {
        /// The customer's request.
        request: RequestId,
        /// What to say.
        answer: Answer,
    },
    /// A recall asked for more than this holder could destroy: so many units were promised that are
    /// not there.
    Short {
        /// The sku.
        sku: Sku,
        /// Units missing.
        units: i64,
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
    /// Units of each sku that a holder keeps when another one asks, and below which it asks itself.
    /// Too small refuses customers after each refill, too large hoards.
    pub floor: i64,
    /// How long an unanswered request for rights stands before the next one.
    pub ask_again: Duration,
}

/// The rights that this holder knows of.
#[derive(Debug, Clone)]
pub struct Escrow {
    config: EscrowConfig,
    pools: KeyMap<Sku, Pool>,
    /// How far each holder's log was fed.
    applied: BTreeMap<Holder, Offset>,
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
            pending: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes note of a record that was in this node's journal when it started. It only says what
    /// holds: whatever it called for was done in the life that wrote the journal, or is asked for
    /// again.
    pub fn replay(&mut self, from: &Holder, at: Offset, record: &EscrowRecord) {
        if self.advances(from, at) {
            let is_own = *from == self.config.holder;
            let pool = self.pool(&record.sku);
            pool.apply(from, &record.act);
            if let (Act::Ask { number, .. }, true) = (&record.act, is_own) {
                pool.note_ask(*number);
            }
        }
    }

    /// Takes note of a durable record of a holder's log, its own included; positions rise. One at
    /// or below an earlier position is a repetition and changes nothing.
    pub fn on_record(&mut self, now: Monotonic, from: &Holder, at: Offset, record: &EscrowRecord) {
        if !self.advances(from, at) {
            return;
        }
        let is_own = *from == self.config.holder;
        if is_own {
            let proposed = self.pending.iter().position(|pending| pending == record);
            proposed.and_then(|index| self.pending.remove(index));
        } else {
            self.on_peer_met();
        }
        let EscrowRecord { sku, act } = record;
        self.pool(sku).apply(from, act);
        match act {
            Act::Spend { request, .. } if is_own => {
                let (request, answer) = (request.clone(), Answer::Granted);
                self.outputs.push_back(EscrowOutput::Answer { request, answer });
                self.refill(now, sku, 0);
            }
            Act::Ask { number, units } if !is_own => self.give(sku, from, *number, *units),
            Act::Recall { shares } => self.destroy(sku, shares),
            Act::Create { .. }
            | Act::Spend { .. }
            | Act::Close { .. }
            | Act::Ask { .. }
            | Act::Give { .. }
            | Act::Destroy { .. } => {}
        }
        debug_assert!(self.available(sku) >= 0, "{sku}: fewer rights than none");
    }

    /// Takes note of a peer: what was unknown is known to be elsewhere now.
    pub fn on_peer_met(&mut self) {
        self.config.standing = Standing::Settled;
    }

    /// Puts units up for sale. More than [`UNITS_LIMIT`] or fewer than 1 changes nothing.
    pub fn on_create(&mut self, sku: &Sku, units: i64) {
        if (1..=UNITS_LIMIT).contains(&units) {
            self.propose(sku, Act::Create { units });
        }
    }

    /// A customer asks for units. The same request is answered alike, once more.
    ///
    /// Granted, the answer comes when the record is durable; else at once.
    pub fn on_reserve(&mut self, now: Monotonic, request: &RequestId, sku: &Sku, units: i64) {
        let is_under_way = self
            .pending
            .iter()
            .any(|pending| matches!(&pending.act, Act::Spend { request: of, .. } if of == request));
        if is_under_way {
            return;
        }
        let pool = self.pools.get(sku);
        let is_open = pool.is_some_and(|pool| pool.is_open(request));
        let has_room = pool.is_none_or(|pool| pool.open() < OPEN_LIMIT);
        let here = self.available(sku);
        let fits = (1..=here.min(UNITS_LIMIT)).contains(&units);
        let answer = match self.config.standing {
            _ if is_open => Answer::Granted,
            Standing::Settled if fits && has_room => {
                return self.propose(sku, Act::Spend { request: request.clone(), units });
            }
            Standing::Alone => Answer::UnknownYet,
            Standing::Settled => {
                let elsewhere = pool.map_or(0, |pool| pool.elsewhere(&self.config.holder));
                Answer::NotHere { here, elsewhere }
            }
        };
        self.outputs.push_back(EscrowOutput::Answer { request: request.clone(), answer });
        if matches!(answer, Answer::NotHere { .. }) {
            self.refill(now, sku, units);
        }
    }

    /// A reservation made here ended; one that is not open changes nothing.
    pub fn on_close(&mut self, request: &RequestId, sku: &Sku, outcome: Closing) {
        let holder = &self.config.holder;
        let is_open = self.pools.get(sku).is_some_and(|pool| pool.is_open_at(request, holder));
        let is_under_way = self
            .pending
            .iter()
            .any(|pending| matches!(&pending.act, Act::Close { request: of, .. } if of == request));
        if is_open && !is_under_way {
            self.propose(sku, Act::Close { request: request.clone(), outcome });
        }
    }

    /// Stock is missing: so many units that were put up for sale are not there. Rights are recalled
    /// from every holder, in proportion to what each is known to hold.
    pub fn on_shortfall(&mut self, sku: &Sku, units: i64) {
        let Some(pool) = self.pools.get(sku) else { return };
        let shares = pool.shares(units);
        let recalled: i64 = shares.iter().map(|share| share.units).sum();
        if recalled < units {
            let (sku, units) = (sku.clone(), units - recalled);
            self.outputs.push_back(EscrowOutput::Short { sku, units });
        }
        if !shares.is_empty() {
            self.propose(sku, Act::Recall { shares });
        }
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

    fn advances(&mut self, from: &Holder, at: Offset) -> bool {
        let is_new = self.applied.get(from).is_none_or(|next| at >= *next);
        if is_new {
            self.applied.insert(from.clone(), at.after(1));
        }
        is_new
    }

    fn pool(&mut self, sku: &Sku) -> &mut Pool {
        self.pools.entry(sku.clone()).or_default()
    }

    fn propose(&mut self, sku: &Sku, act: Act) {
        let record = EscrowRecord { sku: sku.clone(), act };
        self.pending.push_back(record.clone());
        debug_assert!(self.available(sku) >= 0, "{sku}: more was proposed than is held");
        self.outputs.push_back(EscrowOutput::Commit(record));
    }

    /// Asks for rights when too few are left, unless a request for some stands.
    fn refill(&mut self, now: Monotonic, sku: &Sku, wanted: i64) {
        let (floor, ask_again) = (self.config.floor, self.config.ask_again);
        let here = self.available(sku);
        let short = wanted.clamp(0, UNITS_LIMIT).max(2 * floor) - here;
        let is_low = here < floor || here < wanted;
        let holder = self.config.holder.clone();
        let pool = self.pool(sku);
        if !is_low || short <= 0 || pool.elsewhere(&holder) <= 0 {
            return;
        }
        if let Some(number) = pool.next_ask(now, ask_again) {
            self.propose(sku, Act::Ask { number, units: short });
        }
    }

    /// Answers a request for rights, once, with no more than half of what can be spared: the next
    /// one who asks may be nearer to customers.
    fn give(&mut self, sku: &Sku, to: &Holder, number: AskNumber, wanted: i64) {
        let spare = self.available(sku) - self.config.floor;
        let units = wanted.min(spare - spare / 2);
        let holder = self.config.holder.clone();
        if units > 0 && self.pool(sku).answers(&holder, to, number) {
            self.propose(sku, Act::Give { to: to.clone(), number, units });
        }
    }

    fn destroy(&mut self, sku: &Sku, shares: &[Share]) {
        let own = shares.iter().filter(|share| share.holder == self.config.holder);
        let wanted: i64 = own.map(|share| share.units).sum();
        let units = wanted.min(self.available(sku)).max(0);
        if units > 0 {
            self.propose(sku, Act::Destroy { units });
        }
        if units < wanted {
            let (sku, units) = (sku.clone(), wanted - units);
            self.outputs.push_back(EscrowOutput::Short { sku, units });
        }
    }
}

impl Act {
    /// Rights that the holder has fewer of once this is durable.
    const fn leaving(&self) -> i64 {
        match self {
            Self::Spend { units, .. } | Self::Give { units, .. } | Self::Destroy { units } => {
                *units
            }
            Self::Create { .. } | Self::Close { .. } | Self::Ask { .. } | Self::Recall { .. } => 0,
        }
    }
}
