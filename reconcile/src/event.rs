//! Inventory events, parsed once from JSON.
//!
//! ```text
//! {"id":"eu-1/000123","kind":"sale","device":"eu-1-till","sku":"85123A","location":"eu-1",
//!  "quantity":6,"time":"2010-12-01T08:26:00Z","clock":"2010-12-01T08:26:03Z"}
//! ```
//! Movements (`sale`, `return`, `restock`, `adjustment`, `transfer-out`, `transfer-in`, `reserve`,
//! `commit`, `release`) have a `quantity`; `stocktake` has `count` instead; `attribute` has
//! `attribute` and `value`; the decisions `approve`, `reject` and `amend` name a late event. Fields
//! that a kind does not use, and unknown ones, are ignored, so that producers can add some.

use headland_event::{ByteCount, EventTime, limits};

use crate::ledger::Movement;
use crate::name::{
    AttributeName, AttributeValue, DeliveryId, DeviceName, Location, ReasonText, ReviewId,
    Reviewer, Sku, UnitName,
};

/// Why a record is not an event that could count.
mod reject;
/// The fields of the JSON object, and which of them each kind needs.
mod fields;

use fields::Fresh;
pub(crate) use fields::Names;
pub use reject::RejectReason;

/// Most units one event may move or count.
///
/// Sums stay exact: 64 bits hold more than nine billion such events of one sku at one location.
pub const UNITS_LIMIT: i64 = 1_000_000_000;

/// Most bytes of an event; a larger one is refused before it is parsed.
pub const EVENT_BYTES_LIMIT: ByteCount = limits::RECORD_BYTES_LIMIT;

/// First event time accepted, 1971-01-01T00:00:00Z: a device without a set clock says 1970.
pub const TIME_FIRST: EventTime = EventTime::from_millis(31_536_000_000);

/// First event time refused again, 2100-01-01T00:00:00Z; an earlier one that has not come yet is
/// the ingest hub's verdict.
pub const TIME_END: EventTime = EventTime::from_millis(4_102_444_800_000);

/// An event about inventory, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryEvent {
    /// What the device calls the event; a redelivery repeats it.
    pub id: DeliveryId,
    /// The device that saw it.
    pub device: DeviceName,
    /// When it happened.
    pub time: EventTime,
    /// The device's own idea of the time. Kept, never used to order, hence of any year.
    pub clock: Option<EventTime>,
    /// The sku it is about.
    pub sku: Sku,
    /// What its quantity counts, `each` or `case`; checked against the list of known skus.
    pub unit: Option<UnitName>,
    /// What happened.
    pub body: EventBody,
}

/// What an event says about its sku.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventBody {
    /// Stock moved between accounts.
    Movement(Movement),
    /// Stock was counted.
    Stocktake {
        /// Where.
        location: Location,
        /// Units found, at least 0.
        count: i64,
    },
    /// An attribute was set.
    Attribute {
        /// Which one.
        name: AttributeName,
        /// To what.
        value: AttributeValue,
    },
    /// Somebody decided what becomes of a late event, or of one that overlaps with a stocktake.
    Decision {
        /// What is reviewed.
        late: ReviewId,
        /// What was decided.
        decision: Decision,
    },
}

/// What a reviewer decided about a late event.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Decision {
    /// Whether, and with how many units, it counts.
    pub ruling: Ruling,
    /// When it was decided.
    pub time: EventTime,
    /// Who decided.
    pub reviewer: Reviewer,
    /// Why.
    pub reason: ReasonText,
}

/// Whether a late event counts, or how many units of one that overlaps with a stocktake count
/// after it. Two reviewers disagree when they rule differently, whatever their
/// reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Ruling {
    /// It counts as it came; all of it came after the stocktake.
    Approve(Effective),
    /// It never counts; the stocktake has all of it.
    Reject,
    /// It counts with another number of units, in the direction it had; as many came after the
    /// stocktake.
    Amend {
        /// Units, 1 to [`UNITS_LIMIT`].
        units: i64,
        /// From when on.
        effective: Effective,
    },
}

/// From when on an approved late event counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Effective {
    /// From its own place and time on: a stocktake that knew of it has it in its count, and
    /// windows over its event time are corrected.
    Restate,
    /// From the decision on, as if it happened then: closed books stay as they are.
    Carry,
}

impl Ruling {
    /// The same about an overlap: how many units count is all there is to say, so two who agree on
    /// that agree.
    const fn of_overlap(self) -> Self {
        let effective = Effective::Restate;
        match self {
            Self::Approve(_) => Self::Approve(effective),
            Self::Reject => Self::Reject,
            Self::Amend { units, .. } => Self::Amend { units, effective },
        }
    }
}

impl InventoryEvent {
    /// Reads one event from a record's value. O(bytes), one allocation per text kept.
    ///
    /// # Errors
    /// [`RejectReason`] when the bytes are no event; never [`RejectReason::Future`] nor what only
    /// the list of known skus can tell. No input makes it panic.
    pub fn parse(value: &[u8]) -> Result<Self, RejectReason> {
        Self::parse_with(value, &Fresh)
    }

    /// Does what [`Self::parse`] does, with names that are shared where they are known.
    pub(crate) fn parse_with(value: &[u8], names: &impl Names) -> Result<Self, RejectReason> {
        let event = fields::parse(value, names)?;
        debug_assert!(TIME_FIRST <= event.time && event.time < TIME_END);
        Ok(event)
    }
}

#[cfg(test)]
mod tests;
