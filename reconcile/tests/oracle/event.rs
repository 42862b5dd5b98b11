//! One record as an event: what it moves, what it decides, what it came after.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Region, incarnation and partition.
pub(crate) type Actor = (String, (u32, u64), u32);

/// One record as its ingest hub stamped it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) actor: Actor,
    pub(crate) offset: u64,
    pub(crate) hlc: (i64, u32),
    pub(crate) context: BTreeMap<Actor, u64>,
    /// `on-time`, `late`, `future` or `forbidden`.
    pub(crate) verdict: &'static str,
    pub(crate) value: String,
}

/// A record with its value read.
pub(super) struct Event<'a> {
    pub(super) record: &'a Record,
    pub(super) json: Value,
}

impl Event<'_> {
    pub(super) fn text(&self, field: &str) -> &str {
        self.json[field].as_str().unwrap()
    }

    pub(super) fn is_after(&self, other: &Self) -> bool {
        let (end, later) = (self.record.context.get(&other.record.actor), &self.record.actor);
        let is_same = *later == other.record.actor;
        end.is_some_and(|end| other.record.offset < *end)
            || is_same && other.record.offset < self.record.offset
    }

    pub(super) fn rank(&self) -> ((i64, u32), &Actor, u64) {
        (self.record.hlc, &self.record.actor, self.record.offset)
    }

    pub(super) fn place(&self) -> String {
        format!("{}/{}", actor_text(&self.record.actor), self.record.offset)
    }

    /// The account that units enter or leave, by how many they change it, and the other account.
    pub(super) fn movement(&self) -> Option<(Value, i64, Value)> {
        let (location, units) =
            (json!({"location": self.json["location"]}), &self.json["quantity"]);
        let (sign, other) = match self.text("kind") {
            "sale" => (-1, "customer"),
            "return" => (1, "customer"),
            "restock" => (1, "supplier"),
            "adjustment" => (1, "adjustment"),
            "transfer-out" => (-1, "in-transit"),
            "transfer-in" => (1, "in-transit"),
            "reserve" => (-1, "reserved"),
            "release" => (1, "reserved"),
            "commit" => return Some((json!("reserved"), -units.as_i64()?, json!("customer"))),
            _ => return None,
        };
        Some((location, sign * units.as_i64()?, json!(other)))
    }

    pub(super) fn ruling(&self) -> Value {
        let effective = self.json.get("effective").cloned().unwrap_or_else(|| json!("restate"));
        match self.text("kind") {
            "approve" => json!({"status": "approved", "effective": effective}),
            "reject" => json!({"status": "rejected"}),
            _ => json!({"status": "amended", "effective": effective,
                "units": self.json["quantity"]}),
        }
    }

    pub(super) fn side(&self, value: &Value) -> Value {
        let ends = self.record.context.iter();
        let context: BTreeMap<String, u64> =
            ends.map(|(actor, end)| (actor_text(actor), *end)).collect();
        let hlc = format!("{}.{}", self.record.hlc.0, self.record.hlc.1);
        json!({"id": self.text("id"), "value": value, "hlc": hlc, "context": context})
    }

    pub(super) fn decision(&self) -> Value {
        let (mut ruling, json) = (self.ruling(), &self.json);
        ruling["reviewer"] = json["reviewer"].clone();
        ruling["reason"] = json["reason"].clone();
        ruling
    }
}

fn actor_text((region, (counter, nonce), partition): &Actor) -> String {
    format!("{region}@{counter}-{nonce:016x}/{partition}")
}
