//! What inventory should be, computed from the plain set of records by the definitions alone.
//!
//! It shares nothing with the crate. Every sum, winner and pair is taken over all records at once.

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

/// The derived topics read as tables: (topic, key) to value.
pub(crate) type Tables = BTreeMap<(String, String), Value>;

struct Event<'a> {
    record: &'a Record,
    json: Value,
}

impl Event<'_> {
    fn text(&self, field: &str) -> String {
        self.json[field].as_str().unwrap().to_owned()
    }

    fn is_after(&self, other: &Self) -> bool {
        let (end, later) = (self.record.context.get(&other.record.actor), &self.record.actor);
        let is_same = *later == other.record.actor;
        end.is_some_and(|end| other.record.offset < *end)
            || is_same && other.record.offset < self.record.offset
    }

    fn rank(&self) -> ((i64, u32), &Actor, u64) {
        (self.record.hlc, &self.record.actor, self.record.offset)
    }

    fn place(&self) -> String {
        let (region, _, partition) = &self.record.actor;
        format!("{region}/{partition}/{}", self.record.offset)
    }

    fn key(&self) -> (String, &'static str, String) {
        let is_attribute = self.text("kind") == "attribute";
        let about = if is_attribute { "attribute" } else { "location" };
        (self.text("sku"), about, self.text(about))
    }

    fn is_posting(&self) -> bool {
        !matches!(&*self.text("kind"), "stocktake" | "attribute")
    }

    fn delta(&self) -> i64 {
        let quantity = self.json["quantity"].as_i64().unwrap();
        if self.text("kind") == "sale" { -quantity } else { quantity }
    }

    fn side(&self, field: &str) -> Value {
        let ends = self.record.context.iter();
        let context: BTreeMap<String, u64> = ends
            .map(|(actor, end)| {
                let (region, (counter, nonce), partition) = actor;
                (format!("{region}@{counter}-{nonce:016x}/{partition}"), *end)
            })
            .collect();
        let hlc = format!("{}.{}", self.record.hlc.0, self.record.hlc.1);
        json!({"id": self.text("id"), "value": self.json[field], "hlc": hlc, "context": context})
    }
}

/// Every derived table but rejected records and alerts.
pub(crate) fn tables(records: &[Record]) -> Tables {
    let mut tables = Tables::new();
    // Places leave the incarnation out: only equal records may share a key.
    let mut put = |topic: &str, key: String, value: Value| {
        let old = tables.insert((topic.to_owned(), key), value.clone());
        assert!(old.is_none_or(|old| old == value), "two different records of one key");
    };
    let mut copies: BTreeMap<String, Vec<Event<'_>>> = BTreeMap::new();
    for record in records.iter().filter(|of| matches!(of.verdict, "on-time" | "late")) {
        let event = Event { record, json: serde_json::from_str(&record.value).unwrap() };
        copies.entry(event.text("id")).or_default().push(event);
    }
    let mut kept: BTreeMap<_, Vec<Event<'_>>> = BTreeMap::new();
    for (id, mut copies) in copies {
        copies.sort_by_key(|copy| (copy.record.actor.clone(), copy.record.offset));
        for copy in &copies[1..] {
            let (first, place) = (copies[0].place(), copy.place());
            let value = json!({"id": id, "kept": first, "dropped": place});
            put("inventory.duplicates", format!("{id}@{place}"), value);
        }
        let first = copies.swap_remove(0);
        if first.record.verdict == "late" && first.is_posting() {
            let region = &first.record.actor.0;
            let value = json!({"id": id, "event": first.json, "region": region});
            put("inventory.late", id, value);
        } else {
            kept.entry(first.key()).or_default().push(first);
        }
    }
    for ((sku, about, name), events) in kept {
        reconcile(&sku, about, &name, &events, &mut put);
    }
    tables
}

/// The records of one key of the stock table and of its conflicts.
fn reconcile(
    sku: &str,
    about: &str,
    name: &str,
    events: &[Event<'_>],
    put: &mut impl FnMut(&str, String, Value),
) {
    let (postings, writes): (Vec<_>, Vec<_>) = events.iter().partition(|of| of.is_posting());
    let is_last = |write: &&&Event<'_>| !writes.iter().any(|other| other.is_after(write));
    let winner = writes.iter().filter(is_last).max_by_key(|write| write.rank());
    let (kind, field) =
        if about == "attribute" { (about, "value") } else { ("stocktake", "count") };
    if about == "attribute" {
        let value = json!({"sku": sku, "attribute": name, "value": winner.unwrap().json[field]});
        put("inventory.stock", format!("{sku}#{name}"), value);
    } else {
        let count = winner.map_or(0, |stocktake| stocktake.json[field].as_i64().unwrap());
        let is_added = |of: &&&Event<'_>| winner.is_none_or(|stocktake| !stocktake.is_after(of));
        let moved: i64 = postings.iter().filter(is_added).map(|posting| posting.delta()).sum();
        let value = json!({"sku": sku, "location": name, "units": count + moved});
        put("inventory.stock", format!("{sku}|{name}"), value);
    }
    for (at, one) in writes.iter().enumerate() {
        for other in writes[..at].iter().filter(|of| !one.is_after(of) && !of.is_after(one)) {
            let (one, other) = if one.rank() > other.rank() { (one, other) } else { (other, one) };
            let id = format!("{}~{}", one.text("id"), other.text("id"));
            let (winner, loser) = (one.side(field), other.side(field));
            let value = json!({"id": id, "kind": kind, "sku": sku, about: name,
                "winner": winner, "loser": loser});
            put("inventory.conflicts", id, value);
        }
    }
}
