//! What holders write to their logs about rights.
//!
//! ```text
//! {"sku":"s","act":"create","request":"o1","units":5}
//! {"sku":"s","act":"spend","request":"r1","units":2}
//! {"sku":"s","act":"close","request":"r1","outcome":"sold"}
//! {"sku":"s","act":"ask","number":1,"units":4}
//! {"sku":"s","act":"give","to":{"region":"eu","incarnation":{…}},"number":1,"units":4}
//! {"sku":"s","act":"recall","request":"o2","shares":[{"holder":{…},"units":3}],"missing":0}
//! {"sku":"s","act":"destroy","recall":{"by":{…},"at":7},"units":2,"missing":1}
//! ```
//! `request` of `create` and `recall` may be absent: records of before they had one count, too.
//! All but `spend` have `books`, with what the writer's records of the sku come to; those of before
//! lack them, and a reader enters them by itself.

use std::fmt;

use headland_event::{Actor, Incarnation, Offset, RegionId};
use serde::{Deserialize, Serialize};

use super::{Books, CLOSED_LIMIT, ORDERS_LIMIT};
use crate::event::UNITS_LIMIT;
use crate::name::{RequestId, Sku};

/// Who may hold rights: one life of one region's hub.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// The region.
    pub region: RegionId,
    /// The life.
    pub incarnation: Incarnation,
}

impl Holder {
    /// The life that writes a log.
    #[must_use]
    pub fn of(actor: &Actor) -> Self {
        Self { region: actor.region.clone(), incarnation: actor.incarnation }
    }
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

impl AskNumber {
    /// The number of the request after this one.
    pub(super) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A recall, by where its record stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecallId {
    /// Who recalled.
    pub by: Holder,
    /// At which offset of its log.
    pub at: Offset,
}

/// A number of units in a record, 0 to [`UNITS_LIMIT`]. Read so: a peer's record may not take
/// rights away from others by giving fewer than none.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "i64", into = "i64")]
pub struct Units(i64);

/// A number that is no number of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{found} units, expected 0 to {UNITS_LIMIT}")]
pub struct UnitsError {
    /// The number found.
    pub found: i64,
}

impl Units {
    /// Checks a number.
    ///
    /// # Errors
    /// [`UnitsError`] outside 0 to [`UNITS_LIMIT`].
    pub const fn new(units: i64) -> Result<Self, UnitsError> {
        if 0 <= units && units <= UNITS_LIMIT {
            Ok(Self(units))
        } else {
            Err(UnitsError { found: units })
        }
    }

    /// The nearest number of units.
    pub(super) fn clamped(units: i64) -> Self {
        Self(units.clamp(0, UNITS_LIMIT))
    }

    /// So many fewer, at least none.
    pub(super) fn less(self, units: i64) -> Self {
        Self::clamped(self.0.saturating_sub(units))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Units {
    type Error = UnitsError;

    fn try_from(units: i64) -> Result<Self, UnitsError> {
        Self::new(units)
    }
}

impl From<Units> for i64 {
    fn from(units: Units) -> Self {
        units.0
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a holder writes to its log about rights of one sku.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscrowRecord {
    /// The sku.
    pub sku: Sku,
    /// What happened.
    #[serde(flatten)]
    pub act: Act,
    /// What the writer's records of the sku come to with this one. A promise has none: it changes
    /// nothing of them while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub books: Option<Box<Books>>,
}

/// What happened to rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "lowercase")]
pub enum Act {
    /// Units were put up for sale.
    Create {
        /// What the operator calls the offer: asking again repeats it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<RequestId>,
        /// How many.
        units: Units,
    },
    /// Units were promised to a customer.
    Spend {
        /// The customer's request.
        request: RequestId,
        /// How many.
        units: Units,
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
        units: Units,
    },
    /// Rights were given away.
    Give {
        /// To whom.
        to: Holder,
        /// The number of the request that is answered.
        number: AskNumber,
        /// How many.
        units: Units,
    },
    /// Stock is missing: holders are asked to destroy rights.
    Recall {
        /// What the operator calls the recall: asking again repeats it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<RequestId>,
        /// Who is asked to destroy how many.
        shares: Vec<Share>,
        /// Units beyond all rights and open promises: who has them is gone with them.
        missing: Units,
    },
    /// A recall was answered.
    Destroy {
        /// The recall.
        recall: RecallId,
        /// Rights that were destroyed.
        units: Units,
        /// Units that are promised already; the holder owes them.
        missing: Units,
    },
    /// Nothing is left of a promise that ended: in a log a record without a value, under the key of
    /// the promise, which is written together with the end.
    Gone {
        /// The customer's request.
        request: RequestId,
    },
}

/// A holder's part of a recall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The holder.
    pub holder: Holder,
    /// Units it is to destroy.
    pub units: Units,
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

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sold => "sold",
            Self::Released => "released",
        })
    }
}

/// An offer or a recall that an operator named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) request: RequestId,
    pub(super) kind: OrderKind,
    pub(super) units: Units,
}

/// What an operator ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderKind {
    /// Units were put up for sale.
    Offer,
    /// Units are missing.
    Recall,
}

impl fmt::Display for OrderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Offer => "an offer",
            Self::Recall => "a recall",
        })
    }
}

/// Bytes that are no record about rights.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no record about rights: {detail}")]
pub struct EscrowRecordError {
    /// What the parser met, and where.
    pub detail: String,
}

impl EscrowRecord {
    /// Reads a record's JSON, checking every name and number of units.
    ///
    /// # Errors
    /// [`EscrowRecordError`] when it is none. No input makes it panic.
    pub fn parse(json: &[u8]) -> Result<Self, EscrowRecordError> {
        let record: Self = serde_json::from_slice(json)
            .map_err(|error| EscrowRecordError { detail: error.to_string() })?;
        if let Some(books) = &record.books {
            books.check().map_err(|detail| EscrowRecordError { detail })?;
        }
        Ok(record)
    }

    /// What its record in a log is called: of those of one name the last one stays. A promise has
    /// its own until it ends, and so have the latest offers and recalls and the latest ends of
    /// promises, as many as are remembered; of the rest the last one has it all in its books.
    ///
    /// ```text
    /// <writer>/<sku>|open/<request>   <writer>/<sku>|order/<number>
    /// <writer>/<sku>|closed/<number>   <writer>/<sku>|rights
    /// ```
    #[must_use]
    pub fn key(&self, writer: &Holder) -> String {
        let Self { sku, act, books } = self;
        let closes = books.as_ref().map_or(0, |books| books.closes());
        match act {
            Act::Spend { request, .. } | Act::Gone { request } => open_key(writer, sku, request),
            Act::Create { .. } | Act::Recall { .. } => {
                let orders = books.as_ref().map_or(0, |books| books.orders());
                format!("{writer}/{sku}|order/{}", orders % ORDERS_LIMIT as u64)
            }
            // One of before they were counted has what it had then.
            Act::Close { .. } if closes > 0 => {
                format!("{writer}/{sku}|closed/{}", closes % CLOSED_LIMIT as u64)
            }
            Act::Close { .. } | Act::Ask { .. } | Act::Give { .. } | Act::Destroy { .. } => {
                format!("{writer}/{sku}|rights")
            }
        }
    }

    /// What is written together with it, in one batch: nothing is left of the promise it ends.
    #[must_use]
    pub fn gone(&self) -> Option<Self> {
        let Act::Close { request, outcome: _ } = &self.act else { return None };
        let (sku, request) = (self.sku.clone(), request.clone());
        Some(Self { sku, act: Act::Gone { request }, books: None })
    }

    /// Reads a record without a value by its key.
    ///
    /// # Errors
    /// [`EscrowRecordError`] when it is not that of a promise.
    pub fn parse_gone(key: &[u8]) -> Result<Self, EscrowRecordError> {
        let error = |detail: &dyn fmt::Display| EscrowRecordError { detail: detail.to_string() };
        let key = std::str::from_utf8(key).map_err(|of| error(&of))?;
        let named = key.split_once('/').and_then(|(_, named)| named.split_once("|open/"));
        let Some((sku, request)) = named else { return Err(error(&"no key of a promise")) };
        let sku = Sku::new(sku).map_err(|of| error(&of))?;
        let request = RequestId::new(request).map_err(|of| error(&of))?;
        Ok(Self { sku, act: Act::Gone { request }, books: None })
    }

    /// The record as JSON.
    ///
    /// # Panics
    /// Never: texts and numbers always have a JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "texts and numbers always have a JSON")]
        serde_json::to_vec(self).expect("a record of texts and numbers has a JSON")
    }
}

fn open_key(writer: &Holder, sku: &Sku, request: &RequestId) -> String {
    format!("{writer}/{sku}|open/{request}")
}

impl Act {
    /// Rights that the holder has fewer of once this is durable.
    pub(super) const fn leaving(&self) -> i64 {
        match self {
            Self::Spend { units, .. } | Self::Give { units, .. } | Self::Destroy { units, .. } => {
                units.get()
            }
            Self::Create { .. }
            | Self::Close { .. }
            | Self::Ask { .. }
            | Self::Recall { .. }
            | Self::Gone { .. } => 0,
        }
    }

    /// What an operator ordered by it, if it names an order.
    pub(super) fn order(&self) -> Option<Order> {
        match self {
            Self::Create { request, units } => {
                Some(Order { request: request.clone()?, kind: OrderKind::Offer, units: *units })
            }
            Self::Recall { request, shares, missing } => {
                let recalled: i64 = shares.iter().map(|share| share.units.get()).sum();
                let units = Units::clamped(recalled.saturating_add(missing.get()));
                Some(Order { request: request.clone()?, kind: OrderKind::Recall, units })
            }
            Self::Spend { .. }
            | Self::Close { .. }
            | Self::Ask { .. }
            | Self::Give { .. }
            | Self::Destroy { .. }
            | Self::Gone { .. } => None,
        }
    }

    /// The customer's request it is about, if it is about one.
    pub(super) const fn request(&self) -> Option<&RequestId> {
        match self {
            Self::Spend { request, .. } | Self::Close { request, .. } => Some(request),
            Self::Create { .. }
            | Self::Ask { .. }
            | Self::Give { .. }
            | Self::Recall { .. }
            | Self::Destroy { .. }
            | Self::Gone { .. } => None,
        }
    }
}
