//! Derived records and their JSON.
//!
//! Each derived topic is read as a table: the last record of a key holds, and a record without a
//! value takes the key away, Kafka's tombstone. Read so, the tables of all hubs that hold the same
//! events are equal, in whatever order the events came.
//!
//! That is also how a report is taken back. When a copy of a delivery has counted and a smaller
//! one arrives, what the first one alone had caused (a late event, a conflict, stock of a shelf
//! that nothing else mentions) is followed by [`Output::Retracted`] for the same key, and what
//! changed by a new record; a hub that got the smaller copy first never wrote either. Duplicates
//! are never taken back: a copy once dropped stays dropped, only the copy kept may get smaller.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use headland_event::{Alert, EventTime, Gap, Gaps, Hlc, Offset, RegionId, VectorClock};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// What is under review, as records.
mod review;

use crate::catalogue::AttributeView;
use crate::event::{Decision, Effective, RejectReason, Ruling};
use crate::ledger::{Account, MovementKind, Posting};
use crate::name::{
    AttributeName, AttributeValue, DeliveryId, Location, ReasonText, ReviewId, Reviewer, Sku,
};
use crate::position::Position;
use crate::register::Write;
use crate::shelf::Count;

use review::is_pending;
pub use review::{OverlapRecord, ReviewEntry, StocktakeRecord};

/// Most bytes of a rejected record that its report repeats.
pub const REJECTED_BYTES_LIMIT: usize = 4_096;

/// Something the reconciler tells its hub to write.
#[derive(Debug, Clone)]
pub enum Output {
    /// A shelf holds another number of units.
    Stock(StockRecord),
    /// More of a sku was taken from a location than ever came there.
    Oversold(StockRecord),
    /// Units of an event that counts moved between accounts.
    Posting(PostingRecord),
    /// An attribute has another value.
    Attribute(AttributeRecord),
    /// Two writes were concurrent.
    Conflict(Box<ConflictRecord>),
    /// An event came late and does not count.
    Late(Box<LateRecord>),
    /// A posting that counts overlaps with the stocktake of its shelf.
    Overlap(Box<OverlapRecord>),
    /// A copy of a delivery does not count, because a smaller one does.
    Duplicate(DuplicateRecord),
    /// A record is not an inventory event that could count.
    Rejected(RejectedRecord),
    /// A shelf ran low by an event of this region.
    Restock(Box<Alert>),
    /// What was written of this key no longer holds: a record without a value.
    Retracted(Retraction),
}

/// A topic the reconciler writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DerivedTopic {
    /// Units by `sku|location` and `sku~account`, attributes by `sku#attribute`.
    Stock,
    /// Shelves with less than nothing on them.
    Oversold,
    /// Movements that count, each with postings that sum to 0.
    Postings,
    /// Pairs of concurrent writes.
    Conflicts,
    /// Events that came late.
    Late,
    /// Postings that overlap with a stocktake.
    Overlaps,
    /// Copies that do not count.
    Duplicates,
    /// Records that are no inventory events.
    Rejected,
    /// Alerts; the only one that is replicated.
    Alerts,
}

impl DerivedTopic {
    /// The topic's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stock => "inventory.stock",
            Self::Oversold => "inventory.oversold",
            Self::Postings => "inventory.postings",
            Self::Conflicts => "inventory.conflicts",
            Self::Late => "inventory.late",
            Self::Overlaps => "inventory.overlaps",
            Self::Duplicates => "inventory.duplicates",
            Self::Rejected => "inventory.rejected",
            Self::Alerts => "alerts",
        }
    }
}

impl fmt::Display for DerivedTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Units of one sku in one account that is stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StockRecord {
    /// The sku.
    pub sku: Sku,
    /// Where: `"location":"…"`, or `"account":"in-transit"` and `"account":"reserved"`.
    #[serde(flatten, serialize_with = "as_place")]
    pub account: Account,
    /// Units in stock; below 0 when more was sold than ever came.
    pub units: i64,
}

/// A movement that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PostingRecord {
    /// The delivery.
    pub id: DeliveryId,
    /// What moved.
    pub kind: MovementKind,
    /// Of which sku.
    pub sku: Sku,
    /// When, in milliseconds: event time, or for a late event carried forward the decision's.
    pub time: EventTime,
    /// Between which accounts; units sum to 0.
    pub postings: [Posting; 2],
}

/// The value of one attribute of one sku.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttributeRecord {
    /// The sku.
    pub sku: Sku,
    /// Which attribute.
    pub attribute: AttributeName,
    /// Its value, or all of them where concurrent ones are kept.
    pub value: AttributeView,
}

/// Two writes of one key of which neither writer had seen the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConflictRecord {
    /// `<winner's delivery id>~<loser's>`.
    pub id: String,
    /// What both wrote.
    #[serde(flatten)]
    pub subject: ConflictSubject,
    /// The write with the larger (HLC, actor, offset).
    pub winner: ConflictSide,
    /// The other one.
    pub loser: ConflictSide,
}

/// What concurrent writes are about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ConflictSubject {
    /// An attribute of a sku.
    Attribute {
        /// The sku.
        sku: Sku,
        /// The attribute.
        attribute: AttributeName,
    },
    /// The stock of a sku at a location.
    Stocktake {
        /// The sku.
        sku: Sku,
        /// The location.
        location: Location,
    },
    /// What becomes of a late event, or of one that overlaps with a stocktake.
    Review {
        /// What is reviewed.
        late: ReviewId,
    },
}

/// One of two concurrent writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConflictSide {
    /// The delivery.
    pub id: DeliveryId,
    /// What it wrote.
    pub value: ConflictValue,
    /// The ingest hub's clock, `<wall ms>.<logical>` in JSON.
    #[serde(serialize_with = "as_text")]
    pub hlc: Hlc,
    /// What the writer had seen, a JSON object from actor to end.
    #[serde(serialize_with = "as_ends")]
    pub context: VectorClock,
    /// What it had not seen below these ends, a JSON object from actor to `[from, until]` of each
    /// gap; left out when there is none.
    #[serde(serialize_with = "as_gaps", skip_serializing_if = "Gaps::is_empty")]
    pub unseen: Gaps,
    /// Where the write stands; not in JSON.
    #[serde(skip)]
    pub position: Position,
}

/// What a concurrent write set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ConflictValue {
    /// An attribute's value.
    Text(AttributeValue),
    /// Units counted.
    Units(i64),
    /// What was decided about a late event.
    Decision(DecisionRecord),
}

impl From<AttributeValue> for ConflictValue {
    fn from(value: AttributeValue) -> Self {
        Self::Text(value)
    }
}

impl From<Count> for ConflictValue {
    fn from(count: Count) -> Self {
        Self::Units(count.units)
    }
}

impl From<Decision> for ConflictValue {
    fn from(decision: Decision) -> Self {
        Self::Decision(DecisionRecord::from(&decision))
    }
}

/// A decision about a late event, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DecisionRecord {
    /// `approved`, `rejected` or `amended`.
    pub status: &'static str,
    /// `restate` or `carry`; absent of a rejection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<&'static str>,
    /// Units it counts with; only of an amendment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<i64>,
    /// Who decided.
    pub reviewer: Reviewer,
    /// Why.
    pub reason: ReasonText,
}

impl From<&Decision> for DecisionRecord {
    fn from(decision: &Decision) -> Self {
        let Decision { ruling, time: _, reviewer, reason } = decision;
        let name = |effective| match effective {
            Effective::Restate => "restate",
            Effective::Carry => "carry",
        };
        let (status, effective, units) = match *ruling {
            Ruling::Approve(effective) => ("approved", Some(name(effective)), None),
            Ruling::Reject => ("rejected", None, None),
            Ruling::Amend { units, effective } => ("amended", Some(name(effective)), Some(units)),
        };
        Self { status, effective, units, reviewer: reviewer.clone(), reason: reason.clone() }
    }
}

impl ConflictRecord {
    /// The report about two concurrent writes, the same whichever is named first.
    pub(crate) fn between<V>(subject: ConflictSubject, one: &Write<V>, other: &Write<V>) -> Self
    where
        V: Clone + Into<ConflictValue>,
    {
        let (winner, loser) = if one.rank() > other.rank() { (one, other) } else { (other, one) };
        debug_assert_ne!(winner.position, loser.position, "a write does not conflict with itself");
        let side = |write: &Write<V>| ConflictSide {
            id: write.id.clone(),
            value: write.value.clone().into(),
            hlc: write.hlc,
            context: write.context.clone(),
            unseen: write.unseen.gaps().cloned().unwrap_or_default(),
            position: write.position.clone(),
        };
        let id = format!("{}~{}", winner.id, loser.id);
        Self { id, subject, winner: side(winner), loser: side(loser) }
    }
}

/// An event that was at or before its region's watermark when it arrived there.
#[derive(Debug, Clone, Serialize)]
pub struct LateRecord {
    /// The delivery.
    pub id: DeliveryId,
    /// The event's sku, not in JSON of its own.
    #[serde(skip)]
    pub sku: Sku,
    /// The event, byte for byte as received.
    pub event: Box<RawValue>,
    /// The region whose hub took it in.
    pub region: RegionId,
    /// The accounting window that it came too late for.
    pub window: AccountingWindow,
    /// How many decisions about it are known, and 1: it grows with each, in any order.
    pub revision: u64,
    /// What it moves when it counts, with the units of the amendment that holds, if one does.
    pub if_applied: [Posting; 2],
    /// What was decided about it; absent as long as nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<ReviewRecord>,
}

impl LateRecord {
    /// Whether it waits for a decision: nobody has decided, or reviewers disagree.
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        is_pending(self.review.as_ref())
    }
}

/// A slice of event time in which movements are accounted for together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AccountingWindow {
    /// Its first millisecond.
    pub start: EventTime,
    /// The first millisecond after it.
    pub end: EventTime,
}

impl AccountingWindow {
    /// The window of a time, where windows follow each other from 1970 on; `length` of less than a
    /// millisecond is one.
    #[must_use]
    pub fn of(time: EventTime, length: Duration) -> Self {
        let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX).max(1);
        let start = time.millis() - time.millis().rem_euclid(length);
        let end = start.saturating_add(length);
        debug_assert!(start <= time.millis() && time.millis() < end);
        Self { start: EventTime::from_millis(start), end: EventTime::from_millis(end) }
    }
}

/// What the decisions about a late event come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ReviewRecord {
    /// They agree, or one has overruled the others.
    Decided(DecisionRecord),
    /// They do not: the pairs are in `inventory.conflicts`.
    Disputed {
        /// Always `disputed`.
        status: Disputed,
    },
}

/// The word for a late event whose reviewers disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Disputed {
    /// It does not count until somebody who has seen both decisions decides again.
    Disputed,
}

/// A copy of a delivery that does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DuplicateRecord {
    /// The delivery.
    pub id: DeliveryId,
    /// Where the copy stands that counts.
    #[serde(serialize_with = "as_text")]
    pub kept: Position,
    /// Where the copy stands that does not.
    #[serde(serialize_with = "as_text")]
    pub dropped: Position,
}

/// A record that is not an inventory event that could count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectedRecord {
    /// Why; one phrase in JSON.
    #[serde(serialize_with = "as_text")]
    pub reason: RejectReason,
    /// Its first [`REJECTED_BYTES_LIMIT`] bytes, with U+FFFD for what is no text.
    pub value: String,
    /// Where it stands; the record's key, not in its JSON.
    #[serde(skip)]
    pub position: Position,
}

impl RejectedRecord {
    pub(crate) fn new(reason: RejectReason, value: &[u8], position: Position) -> Self {
        let beginning = value.get(..REJECTED_BYTES_LIMIT).unwrap_or(value);
        Self { reason, value: String::from_utf8_lossy(beginning).into_owned(), position }
    }
}

/// A key of a derived topic that no longer has a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retraction {
    /// The topic.
    pub topic: DerivedTopic,
    /// The key.
    pub key: String,
}

impl Output {
    /// The topic it belongs in.
    #[must_use]
    pub const fn topic(&self) -> DerivedTopic {
        match self {
            Self::Stock(_) | Self::Attribute(_) => DerivedTopic::Stock,
            Self::Oversold(_) => DerivedTopic::Oversold,
            Self::Posting(_) => DerivedTopic::Postings,
            Self::Conflict(_) => DerivedTopic::Conflicts,
            Self::Late(_) => DerivedTopic::Late,
            Self::Overlap(_) => DerivedTopic::Overlaps,
            Self::Duplicate(_) => DerivedTopic::Duplicates,
            Self::Rejected(_) => DerivedTopic::Rejected,
            Self::Restock(_) => DerivedTopic::Alerts,
            Self::Retracted(retraction) => retraction.topic,
        }
    }

    /// The key of the record to write.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Stock(record) | Self::Oversold(record) => stock_key(&record.sku, &record.account),
            Self::Posting(record) => record.id.to_string(),
            Self::Attribute(record) => attribute_key(&record.sku, &record.attribute),
            Self::Conflict(record) => record.id.clone(),
            Self::Late(record) => record.id.to_string(),
            Self::Overlap(record) => record.id.to_string(),
            Self::Duplicate(record) => format!("{}@{}", record.id, record.dropped),
            Self::Rejected(record) => record.position.to_string(),
            Self::Restock(alert) => alert.id.to_string(),
            Self::Retracted(retraction) => retraction.key.clone(),
        }
    }

    /// The value of the record to write, in JSON; `None` for a record without one.
    #[must_use]
    pub fn value(&self) -> Option<Vec<u8>> {
        Some(match self {
            Self::Stock(record) | Self::Oversold(record) => json(record),
            Self::Posting(record) => json(record),
            Self::Attribute(record) => json(record),
            Self::Conflict(record) => json(record),
            Self::Late(record) => json(record),
            Self::Overlap(record) => json(record),
            Self::Duplicate(record) => json(record),
            Self::Rejected(record) => json(record),
            Self::Restock(alert) => json(alert),
            Self::Retracted(_) => return None,
        })
    }
}

/// The key of a shelf's record; unambiguous because no sku contains `|` or `#`, and of skus that
/// end alike behind a `~` none has both.
pub(crate) fn stock_key(sku: &Sku, account: &Account) -> String {
    match account {
        Account::Location(location) => format!("{sku}|{location}"),
        other => format!("{sku}~{}", other.name()),
    }
}

/// The key of an attribute's record.
pub(crate) fn attribute_key(sku: &Sku, name: &AttributeName) -> String {
    format!("{sku}#{name}")
}

fn json(record: &impl Serialize) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "texts, numbers and maps by text always have a JSON")]
    serde_json::to_vec(record).expect("a record of texts and numbers has a JSON")
}

fn as_text<S: Serializer>(value: &impl fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

fn as_place<S: Serializer>(account: &Account, to: S) -> Result<S::Ok, S::Error> {
    let is_location = matches!(account, Account::Location(_));
    let field = if is_location { "location" } else { "account" };
    to.collect_map([(field, account.name())])
}

fn as_ends<S: Serializer>(clock: &VectorClock, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(clock.iter().map(|(actor, end)| (actor.to_string(), end)))
}

fn as_gaps<S: Serializer>(gaps: &Gaps, to: S) -> Result<S::Ok, S::Error> {
    let mut by_actor: BTreeMap<String, Vec<[Offset; 2]>> = BTreeMap::new();
    for (actor, Gap { from, until }) in gaps.iter() {
        by_actor.entry(actor.to_string()).or_default().push([from, until]);
    }
    to.collect_map(by_actor)
}

#[cfg(test)]
mod tests;
