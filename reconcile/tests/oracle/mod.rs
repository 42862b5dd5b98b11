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

    fn shelf(&self) -> String {
        format!("{}|{}", self.text("sku"), self.text("location"))
    }

    /// The key of a write, and the field that it writes to.
    fn write(&self) -> Option<(&'static str, String)> {
        let sku = self.text("sku");
        match self.text("kind") {
            "stocktake" => Some(("location", self.shelf())),
            "attribute" => Some(("attribute", format!("{sku}#{}", self.text("attribute")))),
            "approve" | "reject" | "amend" => Some(("late", self.text("late").to_owned())),
            _ => None,
        }
    }

    /// How many units it takes from one shelf, and the other one, if that is stock too, they go to.
    fn movement(&self) -> Option<(String, i64, Option<String>)> {
        let (units, sku) = (self.1["quantity"].as_i64()?, self.text("sku"));
        let other = |account: &str| Some(format!("{sku}~{account}"));
        match self.text("kind") {
            "sale" => Some((self.shelf(), units, None)),
            "return" | "restock" | "adjustment" => Some((self.shelf(), -units, None)),
            "transfer-out" => Some((self.shelf(), units, other("in-transit"))),
            "transfer-in" => Some((self.shelf(), -units, other("in-transit"))),
            "reserve" => Some((self.shelf(), units, other("reserved"))),
            "release" => Some((self.shelf(), -units, other("reserved"))),
            "commit" => Some((format!("{sku}~reserved"), units, None)),
            _ => None,
        }
    }

    fn ruling(&self) -> Value {
        let is_carried = self.text("effective") == "carry";
        let effective = if is_carried { "carry" } else { "restate" };
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
    let mut copies: BTreeMap<String, Vec<Event<'_>>> = BTreeMap::new();
    for record in records.iter().filter(|of| matches!(of.verdict, "on-time" | "late")) {
        let event = Event(record, serde_json::from_str(&record.value).unwrap());
        copies.entry(event.text("id").to_owned()).or_default().push(event);
    }
    for copies in copies.values_mut() {
        copies.sort_by_key(|Event(record, _)| (record.actor.clone(), record.offset));
    }
    let (mut writes, mut moves) = (BTreeMap::<_, Vec<&Event<'_>>>::new(), BTreeMap::new());
    for (id, copies) in &copies {
        let [kept, dropped @ ..] = &**copies else { continue };
        for copy in dropped {
            put("duplicates", &format!("{id}@{}", copy.place()), json!({"kept": kept.place()}));
        }
        if let Some(key) = kept.write() {
            writes.entry(key).or_default().push(kept);
        }
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
    for (id, event) in copies.iter().map(|(id, copies)| (id, &copies[0])) {
        let Some((shelf, mut units, other)) = event.movement() else { continue };
        let mut at = event;
        if event.0.verdict == "late" {
            let decisions = writes.get(&("late", id.clone())).map_or(&[][..], |of| of);
            let review = outcome(decisions);
            let (status, is_carried) = (&review["status"], review["effective"] == "carry");
            put("late", id, json!({"review": review, "revision": 1 + decisions.len()}));
            if status != "approved" && status != "amended" {
                continue;
            }
            units = review["units"].as_i64().map_or(units, |new| new * units.signum());
            at = if is_carried { last(decisions) } else { event };
        }
        let time = at.text("time").parse::<jiff::Timestamp>().unwrap().as_millisecond();
        put("postings", id, json!({"time": time}));
        for (shelf, units) in std::iter::once((shelf, -units)).chain(other.map(|key| (key, units)))
        {
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
