//! What inventory should be, computed from the plain set of records by the definitions alone.
//!
//! It shares nothing with the crate. Every sum, winner and pair is taken over all records at once.
//! Of each key of the derived tables it states what has to be worked out: units, values that win,
//! which copy counts, what is decided, when what is posted counts, which pairs conflict. What a
//! record only repeats of its event it leaves out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Region, incarnation and partition.
pub(crate) type Actor = (String, (u32, u64), u32);

/// The derived topics read as tables: (topic, key) to value.
pub(crate) type Tables = BTreeMap<(String, String), Value>;

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
struct Event<'a>(&'a Record, Value);

impl Event<'_> {
    fn text(&self, field: &str) -> &str {
        self.1[field].as_str().unwrap_or_default()
    }

    fn is_after(&self, Event(other, _): &Self) -> bool {
        let is_seen = self.0.context.get(&other.actor).is_some_and(|end| other.offset < *end);
        is_seen || self.0.actor == other.actor && other.offset < self.0.offset
    }

    fn rank(&self) -> ((i64, u32), &Actor, u64) {
        (self.0.hlc, &self.0.actor, self.0.offset)
    }

    fn place(&self) -> String {
        let Record { actor: (region, (life, nonce), partition), offset, .. } = self.0;
        format!("{region}@{life}-{nonce:016x}/{partition}/{offset}")
    }

    /// The key of a shelf or an attribute of its sku.
    fn key(&self, mark: char, field: &str) -> String {
        format!("{}{mark}{}", self.text("sku"), self.text(field))
    }

    /// The key of a write, and the field that it writes to.
    fn write(&self) -> Option<(&'static str, String)> {
        match self.text("kind") {
            "stocktake" => Some(("location", self.key('|', "location"))),
            "attribute" => Some(("attribute", self.key('#', "attribute"))),
            "approve" | "reject" | "amend" => Some(("late", self.text("late").to_owned())),
            _ => None,
        }
    }

    /// Shelves that units come to, and, below 0, that they are taken from.
    fn movement(&self) -> Option<Vec<(String, i64)>> {
        let units = self.1["quantity"].as_i64()?;
        let here = |units| (self.key('|', "location"), units);
        let at = |account: &str, units| (format!("{}~{account}", self.text("sku")), units);
        Some(match self.text("kind") {
            "sale" => vec![here(-units)],
            "return" | "restock" | "adjustment" => vec![here(units)],
            "transfer-out" => vec![here(-units), at("in-transit", units)],
            "transfer-in" => vec![here(units), at("in-transit", -units)],
            "reserve" => vec![here(-units), at("reserved", units)],
            "release" => vec![here(units), at("reserved", -units)],
            "commit" => vec![at("reserved", -units)],
            _ => return None,
        })
    }

    fn ruling(&self) -> Value {
        let effective = if self.text("effective") == "carry" { "carry" } else { "restate" };
        match self.text("kind") {
            "approve" => json!({"status": "approved", "effective": effective}),
            "reject" => json!({"status": "rejected"}),
            _ => json!({"status": "amended", "effective": effective, "units": self.1["quantity"]}),
        }
    }
}

/// Every derived table but rejected records and alerts.
pub(crate) fn tables(records: &[Record]) -> Tables {
    let mut tables = Tables::new();
    let mut put = |topic: &str, key: &str, value: Value| {
        tables.insert((format!("inventory.{topic}"), key.to_owned()), value);
    };
    // Of copies of one delivery the one at the smallest place counts.
    let mut copies: BTreeMap<String, BTreeMap<(Actor, u64), Event<'_>>> = BTreeMap::new();
    for record in records.iter().filter(|of| matches!(of.verdict, "on-time" | "late")) {
        let event = Event(record, serde_json::from_str(&record.value).unwrap());
        let place = (record.actor.clone(), record.offset);
        copies.entry(event.text("id").to_owned()).or_default().insert(place, event);
    }
    let (mut writes, mut moves) = (BTreeMap::<_, Vec<&Event<'_>>>::new(), BTreeMap::new());
    for (id, copies) in &copies {
        let mut copies = copies.values();
        let Some(kept) = copies.next() else { continue };
        for copy in copies {
            put("duplicates", &format!("{id}@{}", copy.place()), json!({"kept": kept.place()}));
        }
        kept.write().into_iter().for_each(|key| writes.entry(key).or_default().push(kept));
    }
    for ((field, key), writes) in &writes {
        for (winner, loser) in conflicts(field, writes) {
            let id = format!("{}~{}", winner.text("id"), loser.text("id"));
            put("conflicts", &id, json!({"winner": {"id": winner.text("id")}}));
        }
        match *field {
            "attribute" => put("stock", key, json!({"value": last(writes).1["value"]})),
            "location" => _ = moves.entry(key.clone()).or_insert_with(Vec::new),
            _ => {}
        }
    }
    for (id, event) in copies.iter().filter_map(|(id, of)| Some((id, of.values().next()?))) {
        let Some(mut moved) = event.movement() else { continue };
        let mut at = event;
        if event.0.verdict == "late" {
            let decisions = writes.get(&("late", id.clone())).map_or(&[][..], |of| of);
            let review = outcome(decisions);
            put("late", id, json!({"review": review, "revision": 1 + decisions.len()}));
            // Only a ruling that it counts says from when on.
            let Some(effective) = review["effective"].as_str() else { continue };
            let new = |units: i64| review["units"].as_i64().map_or(units, |n| n * units.signum());
            moved.iter_mut().for_each(|(_, units)| *units = new(*units));
            at = if effective == "carry" { last(decisions) } else { event };
        }
        let time = at.text("time").parse::<jiff::Timestamp>().unwrap().as_millisecond();
        put("postings", id, json!({"time": time}));
        for (shelf, units) in moved {
            moves.entry(shelf).or_default().push((at, units));
        }
    }
    for (shelf, moves) in moves {
        let count = writes.get(&("location", shelf.clone())).map(|counts| last(counts));
        let is_added = |at: &Event<'_>| count.is_none_or(|count| !count.is_after(at));
        let moved: i64 = moves.iter().filter(|(at, _)| is_added(at)).map(|(_, units)| units).sum();
        let units = moved + count.map_or(0, |count| count.1["count"].as_i64().unwrap());
        put("stock", &shelf, json!({"units": units}));
        if units < 0 && shelf.contains('|') {
            put("oversold", &shelf, json!({"units": units}));
        }
    }
    tables
}

/// Writes of one key that no other one happened after.
fn maximal<'a>(writes: &[&'a Event<'a>]) -> Vec<&'a Event<'a>> {
    let is_last = |write: &&&Event<'_>| !writes.iter().any(|other| other.is_after(write));
    writes.iter().filter(is_last).copied().collect()
}

/// The write that holds.
fn last<'a>(writes: &[&'a Event<'a>]) -> &'a Event<'a> {
    maximal(writes).into_iter().max_by(|one, other| one.rank().cmp(&other.rank())).unwrap()
}

/// What those decided who were not overruled.
fn outcome(decisions: &[&Event<'_>]) -> Value {
    let rulings: Vec<Value> = maximal(decisions).iter().map(|of| of.ruling()).collect();
    match &rulings[..] {
        [] => Value::Null,
        [ruling, others @ ..] if others.iter().all(|other| other == ruling) => ruling.clone(),
        _ => json!({"status": "disputed"}),
    }
}

/// Pairs of writes of which neither writer had seen the other, and who rule differently.
fn conflicts<'a>(field: &str, writes: &[&'a Event<'a>]) -> Vec<(&'a Event<'a>, &'a Event<'a>)> {
    let pairs = writes.iter().flat_map(|one| writes.iter().map(move |other| (*one, *other)));
    let is_conflict = |(one, other): &(&Event<'_>, &Event<'_>)| {
        let is_concurrent = !one.is_after(other) && !other.is_after(one);
        let is_agreed = field == "late" && one.ruling() == other.ruling();
        one.rank() > other.rank() && is_concurrent && !is_agreed
    };
    pairs.filter(is_conflict).collect()
}
