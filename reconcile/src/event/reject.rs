//! Why a record is not an inventory event that could count.

use headland_event::{EventTime, RegionId};

use crate::name::{Sku, TextError, UnitName};

/// Why a record is not an inventory event that could count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// More bytes than any event has.
    #[error("{found} bytes, expected at most {limit}")]
    TooLarge {
        /// Bytes found.
        found: usize,
        /// Most bytes allowed.
        limit: usize,
    },
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
    /// A word that is none of those its field may have.
    #[error("{field} is {found:?}, expected {expected}")]
    Word {
        /// The field.
        field: &'static str,
        /// The word, its first 64 characters.
        found: String,
        /// The words it may have.
        expected: &'static str,
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
    /// An event time before [`super::TIME_FIRST`] or not before [`super::TIME_END`].
    #[error("time {found} is outside 1971 to 2099")]
    TimeRange {
        /// The time found.
        found: EventTime,
    },
    /// A sku that the list of known ones does not have.
    #[error("sku {found} is not in the list of known skus")]
    UnknownSku {
        /// The sku.
        found: Sku,
    },
    /// A quantity in another unit than the sku is counted in.
    #[error("unit is {found}, but sku {sku} is counted in {expected}")]
    UnitMismatch {
        /// The sku.
        sku: Sku,
        /// The unit found.
        found: UnitName,
        /// The sku's unit.
        expected: UnitName,
    },
    /// The ingest hub's verdict: its list does not have the sku, or not in that unit.
    #[error(
        "sku {sku}{} is not in the list of known skus of region {region}",
        unit.as_ref().map_or_else(String::new, |unit| format!(" counted in {unit}"))
    )]
    Unlisted {
        /// The sku.
        sku: Sku,
        /// The unit that the event names, if it names one.
        unit: Option<UnitName>,
        /// The region whose hub took it in.
        region: RegionId,
    },
    /// A stocktake of a hub that had not seen what others have forgotten since.
    #[error(
        "its hub had not seen what others have forgotten: it was restored from a backup, excluded \
         or new, and had not caught up; count again"
    )]
    Unseen,
    /// The ingest hub's verdict: further ahead of its clock than allowed.
    #[error("future")]
    Future,
}
