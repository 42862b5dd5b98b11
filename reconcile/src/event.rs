//! Inventory events, parsed once from JSON.
//!
//! ```text
//! {"id":"eu-1/000123","kind":"sale","device":"eu-1-till","sku":"85123A","location":"eu-1",
//!  "quantity":6,"time":"2010-12-01T08:26:00Z","clock":"2010-12-01T08:26:03Z"}
//! ```
//! Kinds `sale`, `return`, `restock`, `adjustment` move stock by `quantity`; `stocktake` has
//! `count` instead; `attribute` has `attribute` and `value` and no location. Fields that a kind
//! does not use, and unknown ones, are ignored, so that producers can add some.

use std::borrow::Cow;
use std::fmt;

use headland_event::EventTime;
use serde::Deserialize;

use crate::name::{
    AttributeName, AttributeValue, DeliveryId, DeviceName, Location, Sku, TextError,
};

/// Most units one event may move or count.
///
/// Sums stay exact: 64 bits hold more than nine billion such events of one sku at one location.
pub const UNITS_LIMIT: i64 = 1_000_000_000;

/// First event time accepted, 1971-01-01T00:00:00Z: a device without a set clock says 1970.
pub const TIME_FIRST: EventTime = EventTime::from_millis(31_536_000_000);

/// First event time refused again, 2100-01-01T00:00:00Z.
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
    /// What happened.
    pub body: EventBody,
}

/// What an event says about its sku.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventBody {
    /// Stock moved.
    Posting {
        /// Where.
        location: Location,
        /// Why.
        kind: PostingKind,
        /// By how many units, up or down; never 0.
        delta: i64,
    },
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
}

/// Why stock moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PostingKind {
    /// To a customer: down.
    Sale,
    /// From a customer: up.
    Return,
    /// From a supplier: up.
    Restock,
    /// Found, lost or corrected: either way.
    Adjustment,
}

impl fmt::Display for PostingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sale => "sale",
            Self::Return => "return",
            Self::Restock => "restock",
            Self::Adjustment => "adjustment",
        })
    }
}

/// Why a record is not an inventory event that could count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// Bytes that are no text.
    #[error("not UTF-8 after byte {valid_up_to}")]
    NotUtf8 {
        /// Bytes that are.
        valid_up_to: usize,
    },
    /// Text that is no JSON object, or whose field has another type.
    #[error("not an inventory event in JSON: {detail}")]
    Json {
        /// What the parser met, and where.
        detail: String,
    },
    /// A field that the kind needs is absent or null.
    #[error("{field} is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// No kind of that name.
    #[error("unknown kind {found:?}")]
    UnknownKind {
        /// The kind, its first 64 characters.
        found: String,
    },
    /// A text that does not fit.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Units outside what the kind allows.
    #[error("{field} is {found}, expected {expected}")]
    Units {
        /// `quantity` or `count`.
        field: &'static str,
        /// The number found.
        found: i64,
        /// What the kind allows.
        expected: &'static str,
    },
    /// A time that is not RFC 3339.
    #[error("{field} {found:?} is not a time in RFC 3339")]
    Time {
        /// `time` or `clock`.
        field: &'static str,
        /// The text, its first 64 characters.
        found: String,
    },
    /// An event time before [`TIME_FIRST`] or not before [`TIME_END`].
    #[error("time {found} is outside 1971 to 2099")]
    TimeRange {
        /// The time found.
        found: EventTime,
    },
    /// The ingest hub's verdict: further ahead of its clock than allowed.
    #[error("future")]
    Future,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    device: Option<Text<'a>>,
    #[serde(borrow)]
    sku: Option<Text<'a>>,
    #[serde(borrow)]
    location: Option<Text<'a>>,
    quantity: Option<i64>,
    count: Option<i64>,
    #[serde(borrow)]
    attribute: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
    #[serde(borrow)]
    time: Option<Text<'a>>,
    #[serde(borrow)]
    clock: Option<Text<'a>>,
}

impl InventoryEvent {
    /// Reads one event from a record's value. O(bytes), one allocation per text kept.
    ///
    /// # Errors
    /// [`RejectReason`], never [`RejectReason::Future`]; no input makes it panic.
    pub fn parse(value: &[u8]) -> Result<Self, RejectReason> {
        let text = std::str::from_utf8(value)
            .map_err(|error| RejectReason::NotUtf8 { valid_up_to: error.valid_up_to() })?;
        // Serde also builds a struct from an array, by place; only names can be checked here.
        if !text.trim_start().starts_with('{') {
            return Err(RejectReason::Json { detail: "no object".to_owned() });
        }
        let fields: Fields<'_> = serde_json::from_str(text)
            .map_err(|error| RejectReason::Json { detail: error.to_string() })?;
        let event = Self {
            id: DeliveryId::new(required(fields.id.as_ref(), "id")?)?,
            device: DeviceName::new(required(fields.device.as_ref(), "device")?)?,
            time: event_time(required(fields.time.as_ref(), "time")?)?,
            clock: fields.clock.as_ref().map(|Text(text)| time("clock", text)).transpose()?,
            sku: Sku::new(required(fields.sku.as_ref(), "sku")?)?,
            body: fields.body()?,
        };
        debug_assert!(TIME_FIRST <= event.time && event.time < TIME_END);
        Ok(event)
    }
}

impl Fields<'_> {
    fn body(&self) -> Result<EventBody, RejectReason> {
        match required(self.kind.as_ref(), "kind")? {
            "sale" => self.posting(PostingKind::Sale),
            "return" => self.posting(PostingKind::Return),
            "restock" => self.posting(PostingKind::Restock),
            "adjustment" => self.posting(PostingKind::Adjustment),
            "stocktake" => {
                let count = self.count.ok_or(RejectReason::Missing { field: "count" })?;
                if !(0..=UNITS_LIMIT).contains(&count) {
                    let expected = "0 to 1000000000";
                    return Err(RejectReason::Units { field: "count", found: count, expected });
                }
                Ok(EventBody::Stocktake { location: self.location()?, count })
            }
            "attribute" => Ok(EventBody::Attribute {
                name: AttributeName::new(required(self.attribute.as_ref(), "attribute")?)?,
                value: AttributeValue::new(required(self.value.as_ref(), "value")?)?,
            }),
            other => Err(RejectReason::UnknownKind { found: beginning(other) }),
        }
    }

    fn posting(&self, kind: PostingKind) -> Result<EventBody, RejectReason> {
        let quantity = self.quantity.ok_or(RejectReason::Missing { field: "quantity" })?;
        let is_within = (-UNITS_LIMIT..=UNITS_LIMIT).contains(&quantity);
        let (fits, expected) = match kind {
            PostingKind::Sale | PostingKind::Return | PostingKind::Restock => {
                (is_within && quantity > 0, "1 to 1000000000")
            }
            PostingKind::Adjustment => {
                (is_within && quantity != 0, "-1000000000 to 1000000000 without 0")
            }
        };
        if !fits {
            return Err(RejectReason::Units { field: "quantity", found: quantity, expected });
        }
        let delta = match kind {
            PostingKind::Sale => -quantity,
            PostingKind::Return | PostingKind::Restock | PostingKind::Adjustment => quantity,
        };
        Ok(EventBody::Posting { location: self.location()?, kind, delta })
    }

    fn location(&self) -> Result<Location, RejectReason> {
        Ok(Location::new(required(self.location.as_ref(), "location")?)?)
    }
}

fn required<'a>(text: Option<&'a Text<'_>>, field: &'static str) -> Result<&'a str, RejectReason> {
    text.map(|Text(text)| &**text).ok_or(RejectReason::Missing { field })
}

fn event_time(text: &str) -> Result<EventTime, RejectReason> {
    let found = time("time", text)?;
    if TIME_FIRST <= found && found < TIME_END {
        Ok(found)
    } else {
        Err(RejectReason::TimeRange { found })
    }
}

fn time(field: &'static str, text: &str) -> Result<EventTime, RejectReason> {
    text.parse::<jiff::Timestamp>()
        .map(|time| EventTime::from_millis(time.as_millisecond()))
        .map_err(|_| RejectReason::Time { field, found: beginning(text) })
}

fn beginning(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
