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

use std::fmt;

use headland_event::{Alert, Hlc, VectorClock};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event::RejectReason;
use crate::name::{AttributeName, AttributeValue, DeliveryId, Location, Sku};
use crate::position::Position;
use crate::register::Write;

/// Most bytes of a rejected record that its report repeats.
pub const REJECTED_BYTES_LIMIT: usize = 4_096;

/// Something the reconciler tells its hub to write.
#[derive(Debug, Clone)]
pub enum Output {
    /// A shelf holds another number of units.
    Stock(StockRecord),
    /// An attribute has another value.
    Attribute(AttributeRecord),
    /// Two writes were concurrent.
    Conflict(Box<ConflictRecord>),
    /// An event came late and does not count.
    Late(LateRecord),
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
    /// Units by `sku|location`, attributes by `sku#attribute`.
    Stock,
    /// Pairs of concurrent writes.
    Conflicts,
    /// Events that came late.
    Late,
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
            Self::Conflicts => "inventory.conflicts",
            Self::Late => "inventory.late",
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

/// Units of one sku at one location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StockRecord {
    /// The sku.
    pub sku: Sku,
    /// Where.
    pub location: Location,
    /// Units in stock; below 0 when more was sold than ever came.
    pub units: i64,
}

/// The value of one attribute of one sku.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttributeRecord {
    /// The sku.
    pub sku: Sku,
    /// Which attribute.
    pub attribute: AttributeName,
    /// Its value.
    pub value: AttributeValue,
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
}

impl From<AttributeValue> for ConflictValue {
    fn from(value: AttributeValue) -> Self {
        Self::Text(value)
    }
}

impl From<i64> for ConflictValue {
    fn from(units: i64) -> Self {
        Self::Units(units)
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
    /// The event, byte for byte as received.
    pub event: Box<RawValue>,
    /// The region whose hub took it in.
    pub region: headland_event::RegionId,
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
            Self::Conflict(_) => DerivedTopic::Conflicts,
            Self::Late(_) => DerivedTopic::Late,
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
            Self::Stock(record) => stock_key(&record.sku, &record.location),
            Self::Attribute(record) => attribute_key(&record.sku, &record.attribute),
            Self::Conflict(record) => record.id.clone(),
            Self::Late(record) => record.id.to_string(),
            Self::Duplicate(record) => format!("{}@{}", record.id, record.dropped),
            // With the incarnation: two lives of a hub may both reject at one offset.
            Self::Rejected(record) => {
                format!("{}/{}", record.position.actor, record.position.offset)
            }
            Self::Restock(alert) => alert.id.to_string(),
            Self::Retracted(retraction) => retraction.key.clone(),
        }
    }

    /// The value of the record to write, in JSON; `None` for a record without one.
    #[must_use]
    pub fn value(&self) -> Option<Vec<u8>> {
        Some(match self {
            Self::Stock(record) => json(record),
            Self::Attribute(record) => json(record),
            Self::Conflict(record) => json(record),
            Self::Late(record) => json(record),
            Self::Duplicate(record) => json(record),
            Self::Rejected(record) => json(record),
            Self::Restock(alert) => json(alert),
            Self::Retracted(_) => return None,
        })
    }
}

/// The key of a shelf's record; unambiguous because no sku contains `|` or `#`.
pub(crate) fn stock_key(sku: &Sku, location: &Location) -> String {
    format!("{sku}|{location}")
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

fn as_ends<S: Serializer>(clock: &VectorClock, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(clock.iter().map(|(actor, end)| (actor.to_string(), end)))
}

#[cfg(test)]
mod tests {
    use headland_event::{EventTime, Incarnation, Offset};

    use super::*;
    use crate::position::tests::{actor, position};

    fn text(output: &Output) -> (&'static str, String, Option<String>) {
        let value = output.value().map(|value| String::from_utf8(value).unwrap());
        (output.topic().name(), output.key(), value)
    }

    fn written(
        topic: &'static str,
        key: &str,
        value: &str,
    ) -> (&'static str, String, Option<String>) {
        (topic, key.to_owned(), Some(value.to_owned()))
    }

    #[test]
    fn stock_and_attributes_share_a_topic_under_keys_that_differ() {
        let (sku, location) = (Sku::new("85123A").unwrap(), Location::new("eu-1").unwrap());
        let stock = Output::Stock(StockRecord { sku: sku.clone(), location, units: -2 });
        let attribute = Output::Attribute(AttributeRecord {
            sku,
            attribute: AttributeName::new("price").unwrap(),
            value: AttributeValue::new("2.55").unwrap(),
        });

        let json = r#"{"sku":"85123A","location":"eu-1","units":-2}"#;
        assert_eq!(text(&stock), written("inventory.stock", "85123A|eu-1", json));
        let json = r#"{"sku":"85123A","attribute":"price","value":"2.55"}"#;
        assert_eq!(text(&attribute), written("inventory.stock", "85123A#price", json));
    }

    #[test]
    fn a_conflict_names_both_writes_with_clock_and_context() {
        let subject = ConflictSubject::Stocktake {
            sku: Sku::new("s").unwrap(),
            location: Location::new("l").unwrap(),
        };
        let write = |id: &str, region: &str, wall| {
            let mut context = VectorClock::new();
            context.advance(&actor(region, 0), Offset::new(4));
            Write {
                id: DeliveryId::new(id).unwrap(),
                position: position(region, 0, 4),
                hlc: Hlc::new(EventTime::from_millis(wall), 2),
                context,
                value: wall,
            }
        };

        let (eu, us) = (write("a", "eu", 5), write("b", "us", 6));
        let record = ConflictRecord::between(subject.clone(), &eu, &us);

        assert_eq!(record, ConflictRecord::between(subject, &us, &eu));
        let json = concat!(
            r#"{"id":"b~a","kind":"stocktake","sku":"s","location":"l","#,
            r#""winner":{"id":"b","value":6,"hlc":"6.2","context":{"us@1-0000000000000009/0":4}},"#,
            r#""loser":{"id":"a","value":5,"hlc":"5.2","context":{"eu@1-0000000000000009/0":4}}}"#
        );
        let output = Output::Conflict(Box::new(record));
        assert_eq!(text(&output), written("inventory.conflicts", "b~a", json));
    }

    #[test]
    fn late_duplicate_and_rejected_records_have_the_agreed_json() {
        let id = DeliveryId::new("a/1").unwrap();
        let event = RawValue::from_string(r#"{"id" : "a/1"}"#.to_owned()).unwrap();
        let late =
            Output::Late(LateRecord { id: id.clone(), event, region: actor("eu", 0).region });
        let (kept, dropped) = (position("eu", 3, 7), position("us", 0, 9));
        let duplicate = Output::Duplicate(DuplicateRecord { id, kept, dropped });
        let at = position("eu", 1, 2);
        let rejected = Output::Rejected(RejectedRecord::new(RejectReason::Future, b"{\xff", at));

        let json = r#"{"id":"a/1","event":{"id" : "a/1"},"region":"eu"}"#;
        assert_eq!(text(&late), written("inventory.late", "a/1", json));
        let json = r#"{"id":"a/1","kept":"eu/3/7","dropped":"us/0/9"}"#;
        assert_eq!(text(&duplicate), written("inventory.duplicates", "a/1@us/0/9", json));
        let json = "{\"reason\":\"future\",\"value\":\"{\u{fffd}\"}";
        assert_eq!(
            text(&rejected),
            written("inventory.rejected", "eu@1-0000000000000009/1/2", json)
        );
    }

    #[test]
    fn two_lives_of_a_hub_reject_under_keys_that_differ() {
        let keys = [1, 2].map(|life| {
            let mut at = position("eu", 1, 2);
            at.actor.incarnation = Incarnation::new(life, 9);
            Output::Rejected(RejectedRecord::new(RejectReason::Future, b"{}", at)).key()
        });

        assert_eq!(keys, ["eu@1-0000000000000009/1/2", "eu@2-0000000000000009/1/2"]);
    }

    #[test]
    fn a_rejected_record_repeats_at_most_its_limit() {
        let at = position("eu", 1, 2);

        let record = RejectedRecord::new(RejectReason::Future, &[b'x'; 5_000], at);

        assert_eq!(record.value.len(), REJECTED_BYTES_LIMIT);
    }
}
