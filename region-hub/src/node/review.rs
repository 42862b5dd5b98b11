//! Decisions about late events, and about postings that overlap with a stocktake, made at this hub.
//!
//! A decision is an inventory event that is born here: it goes into the hub's own inventory log,
//! with what the hub has seen as its context, and from there to every other region.

use std::fmt::Write as _;

use headland_event::{
    Batch, BatchError, EventTime, Now, Offset, PartitionIndex, Record, TopicPartition,
};
use headland_reconcile::{DeliveryId, InventoryEvent, RejectReason, ReviewEntry, ReviewId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Node;
use crate::peer_link::murmur2;

/// What is decided about a late event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewRequest {
    /// Approve, reject or amend.
    pub kind: ReviewKind,
    /// What is reviewed: the delivery id of the late event, or `id` of a row of
    /// `inventory.overlaps`.
    pub late: String,
    /// Who decides.
    pub reviewer: String,
    /// Why.
    pub reason: String,
    /// `restate` or `carry`; restate when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<String>,
    /// Units; of an amendment only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<i64>,
}

/// The kinds of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReviewKind {
    /// It counts.
    Approve,
    /// It does not.
    Reject,
    /// It counts with another number of units.
    Amend,
}

/// A decision on its way into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "the decision holds once its partition reaches beyond its offset"]
pub struct Reviewed {
    /// The decision's own delivery id.
    pub id: DeliveryId,
    /// Where it will stand.
    pub at: TopicPartition,
    /// At which offset.
    pub offset: Offset,
}

/// Why nothing was decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReviewError {
    /// Nothing of that name is, or was, to be decided here.
    #[error(
        "nothing named {late:?} is under review here; it may have been taken back by a later \
         stocktake; `headland review list` shows what is"
    )]
    NotLate {
        /// The id asked for.
        late: String,
    },
    /// More of an overlap would come after the count than was posted.
    #[error("all of its {posted} units or more: approve it instead, or amend it to fewer")]
    NotFewer {
        /// Units posted.
        posted: u64,
    },
    /// Of an overlap there is only to say how much of it counts.
    #[error("effective is \"carry\", which says nothing about an overlap with a stocktake")]
    Carried,
    /// The decision would be no event that counts.
    #[error("the decision cannot be written: {0}")]
    Unfit(#[from] RejectReason),
    /// It fits no batch.
    #[error("the decision cannot be written: {0}")]
    Batch(#[from] BatchError),
    /// This hub's life has ended.
    #[error("the decision is not taken: {0}")]
    Closed(String),
    /// This hub has no topic of inventory to write it to.
    #[error("this hub declares no topic of inventory")]
    NoInventory,
}

impl Node {
    /// Writes a decision about what is reviewed to this hub's inventory log.
    ///
    /// The same request again, before the first one is reconciled, has the same delivery id and
    /// counts once.
    ///
    /// # Errors
    /// [`ReviewError`] when it cannot be decided here; nothing changes.
    pub fn on_review(
        &mut self,
        now: Now,
        request: &ReviewRequest,
    ) -> Result<Reviewed, ReviewError> {
        if let Some(why) = self.closed() {
            return Err(ReviewError::Closed(why));
        }
        let not_late = || ReviewError::NotLate { late: request.late.clone() };
        let late = ReviewId::new(&request.late).map_err(|_| not_late())?;
        let reviewed = self.inventory.reconciler().reviewed(&late).ok_or_else(not_late)?;
        check(request, &reviewed)?;
        let (sku, known) = (reviewed.sku(), reviewed.decisions());
        let topic = self.inventory.configuration().0.clone();
        let partitions = self.topics.get(&topic).ok_or(ReviewError::NoInventory)?.partitions;
        let mut value = json!({
            "id": self.decision_id(request, known),
            "kind": request.kind,
            "device": format!("hub/{}", self.identity.region()),
            "sku": sku,
            "late": late,
            "reviewer": request.reviewer,
            "reason": request.reason,
            "time": time_text(now.wall),
        });
        if let Some(fields) = value.as_object_mut() {
            let effective = request.effective.as_ref().map(|of| ("effective".into(), json!(of)));
            let quantity = request.quantity.map(|of| ("quantity".into(), json!(of)));
            fields.extend(effective.into_iter().chain(quantity));
        }
        let value = value.to_string();
        let decision = InventoryEvent::parse(value.as_bytes())?;
        let hash = murmur2(late.as_str().as_bytes()) & 0x7fff_ffff;
        let at = TopicPartition::new(topic, PartitionIndex::new(hash % partitions.max(1)));
        let record = Record::new(now.wall, format!("hub/{}", self.identity.region()), value);
        let batch = Batch::encode(&[record])?;
        let offset = self.composer.end(&at);
        self.born(&at, batch, now);
        self.cut_commit();
        Ok(Reviewed { id: decision.id, at, offset })
    }

    /// Names a decision by what is decided and by how many decisions were known: whoever repeats a
    /// request repeats the name, whoever decides again has another one.
    fn decision_id(&self, request: &ReviewRequest, known: u64) -> String {
        let asked = serde_json::to_vec(request).unwrap_or_default();
        let digest = Sha256::digest(asked);
        let mut id = format!("review/{}/", self.identity.region());
        for byte in digest.iter().take(16) {
            // Writing to a text does not fail.
            let _written = write!(id, "{byte:02x}");
        }
        format!("{id}/{known}")
    }
}

/// Refuses what says more of an overlap than there is to say.
fn check(request: &ReviewRequest, reviewed: &ReviewEntry) -> Result<(), ReviewError> {
    let ReviewEntry::Overlap(overlap) = reviewed else { return Ok(()) };
    let posted = overlap.units.unsigned_abs();
    let is_all = |quantity: i64| u64::try_from(quantity).is_ok_and(|quantity| quantity >= posted);
    if request.kind == ReviewKind::Amend && request.quantity.is_some_and(is_all) {
        return Err(ReviewError::NotFewer { posted });
    }
    if request.effective.as_deref() == Some("carry") {
        return Err(ReviewError::Carried);
    }
    Ok(())
}

fn time_text(time: EventTime) -> String {
    jiff::Timestamp::from_millisecond(time.millis()).unwrap_or_default().to_string()
}
