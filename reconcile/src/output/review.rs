//! What is under review, as records: late events, and postings that overlap with a stocktake.

use headland_event::EventTime;
use serde::Serialize;

use super::{LateRecord, ReviewRecord, as_text};
use crate::name::{DeliveryId, Location, ReviewId, Sku};
use crate::position::Position;

/// A posting that counts as after a stocktake, though it happened no later: the counter's hub had
/// not seen it, and its units were perhaps gone from the shelf when that was counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OverlapRecord {
    /// What decisions call it: `<stocktake's delivery id>~<place of the posting>`.
    pub id: ReviewId,
    /// The sku.
    pub sku: Sku,
    /// Where.
    pub location: Location,
    /// Where the event stands that posted.
    #[serde(serialize_with = "as_text")]
    pub at: Position,
    /// When it happened, in milliseconds, to the second.
    pub time: EventTime,
    /// Units posted to the location.
    pub units: i64,
    /// Units of those that are added to the count now: all until somebody decides.
    pub added: i64,
    /// The stocktake.
    pub stocktake: StocktakeRecord,
    /// How many decisions about it are known, and 1.
    pub revision: u64,
    /// What was decided about it; absent as long as nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<ReviewRecord>,
}

/// A stocktake that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StocktakeRecord {
    /// Its delivery.
    pub id: DeliveryId,
    /// Units found.
    pub count: i64,
    /// When, in milliseconds, to the second.
    pub time: EventTime,
}

/// One thing that is, or was, to be decided.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum ReviewEntry {
    /// An event that came late.
    Late(Box<LateRecord>),
    /// A posting that overlaps with a stocktake.
    Overlap(Box<OverlapRecord>),
}

impl ReviewEntry {
    /// What decisions call it.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Late(record) => record.id.as_str(),
            Self::Overlap(record) => record.id.as_str(),
        }
    }

    /// The sku.
    #[must_use]
    pub const fn sku(&self) -> &Sku {
        match self {
            Self::Late(record) => &record.sku,
            Self::Overlap(record) => &record.sku,
        }
    }

    /// How many decisions about it are known.
    #[must_use]
    pub const fn decisions(&self) -> u64 {
        match self {
            Self::Late(record) => record.revision.saturating_sub(1),
            Self::Overlap(record) => record.revision.saturating_sub(1),
        }
    }

    /// What was decided, if something was.
    #[must_use]
    pub fn review(&self) -> Option<&ReviewRecord> {
        match self {
            Self::Late(record) => record.review.as_ref(),
            Self::Overlap(record) => record.review.as_ref(),
        }
    }

    /// Whether it waits for a decision: nobody has decided, or reviewers disagree.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        is_pending(self.review())
    }
}

/// Whether nobody has decided, or reviewers disagree.
pub(super) const fn is_pending(review: Option<&ReviewRecord>) -> bool {
    match review {
        None | Some(ReviewRecord::Disputed { .. }) => true,
        Some(ReviewRecord::Decided(_)) => false,
    }
}
