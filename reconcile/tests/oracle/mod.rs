//! What inventory should be, computed from the plain set of records by the definitions alone.
//!
//! It shares nothing with the crate. Every sum, winner and pair is taken over all records at once.
//! Of each key of the derived tables it states what has to be worked out: units, values that win,
//! which copy counts, what is decided, when what is posted counts, which pairs conflict. What a
//! record only repeats of its event it leaves out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Records as hubs stamp them.
mod record;

pub(crate) use record::{Actor, Record};

/// The derived topics read as tables: (topic, key) to value.
pub(crate) type Tables = BTreeMap<(String, String), Value>;

/// Accepted writes by the field that they write to, and their key.
type Writes<'a> = BTreeMap<(&'static str, String), Vec<&'a Event<'a>>>;

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

    fn second(&self) -> i64 {
        self.text("time").parse::<jiff::Timestamp>().unwrap().as_second()
    }

    fn ruling(&self) -> Value {
        // Of an overlap there is only to say how much of it counts.
        let is_carried = self.text("effective") == "carry" && !self.text("late").contains('~');
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
    // Of copies of one delivery the one at the smallest place counts.
    let mut copies: BTreeMap<String, BTreeMap<(Actor, u64), Event<'_>>> = BTreeMap::new();
    for of in records.iter().filter(|of| matches!(of.verdict, "on-time" | "late")) {
        let event = Event(of, serde_json::from_str(&of.value).unwrap());
        let copies = copies.entry(event.text("id").to_owned()).or_default();
        copies.insert((of.actor.clone(), of.offset), event);
    }
    let (mut writes, mut moves) = (Writes::new(), BTreeMap::new());
    for (id, copies) in &copies {
        let kept = copies.values().next().unwrap();
        for copy in copies.values().skip(1) {
            put("duplicates", &format!("{id}@{}", copy.place()), json!({"kept": kept.place()}));
        }
        kept.write().into_iter().for_each(|key| writes.entry(key).or_default().push(kept));
    }
    for ((field, key), writes) in &writes {
        for (one, of) in writes.iter().flat_map(|one| writes.iter().map(move |of| (one, of))) {
            // Those who rule alike agree.
            let is_agreed = *field == "late" && one.ruling() == of.ruling();
            if !one.is_after(of) && !of.is_after(one) && !is_agreed && one.rank() > of.rank() {
                let key = format!("{}~{}", one.text("id"), of.text("id"));
                put("conflicts", &key, json!({"winner": {"id": one.text("id")}}));
            }
        }
        match *field {
            "attribute" => put("stock", key, json!({"value": last(writes).1["value"]})),
            "location" => _ = moves.entry(key.clone()).or_insert_with(Vec::new),
            _ => {}
        }
    }
    for (id, event) in copies.iter().filter_map(|(id, of)| Some((id, of.values().next()?))) {
        let Some(mut moved) = event.movement() else { continue };
        let (mut at, is_late) = (event, event.0.verdict == "late");
        if is_late {
            let row = review(&writes, id);
            put("late", id, row.clone());
            // Only a ruling that it counts says from when on.
            let Some(effective) = row["review"]["effective"].as_str() else { continue };
            moved.iter_mut().for_each(|(_, units)| *units = counted(&row, *units));
            at = if effective == "carry" { last(&writes[&("late", id.clone())]) } else { event };
        }
        put("postings", id, json!({"time": at.second() * 1_000}));
        for (shelf, units) in moved {
            moves.entry(shelf).or_default().push((at, units, is_late));
        }
    }
    for (shelf, moves) in moves {
        let count = writes.get(&("location", shelf.clone())).map(|counts| last(counts));
        let is_added = |at: &Event<'_>| count.is_none_or(|count| !count.is_after(at));
        let mut units = count.map_or(0, |count| count.1["count"].as_i64().unwrap());
        for (at, mut added, is_late) in moves.into_iter().filter(|(at, ..)| is_added(at)) {
            // What came late was reviewed already.
            if let Some(count) = count.filter(|of| !is_late && at.second() <= of.second()) {
                let key = format!("{}~{}", count.text("id"), at.place());
                let mut row = review(&writes, &key);
                // No more of it came after the count than there is.
                let came = counted(&row, added);
                added = if came.abs() > added.abs() { added } else { came };
                row["added"] = added.into();
                put("overlaps", &key, row);
            }
            units += added;
        }
        put("stock", &shelf, json!({"units": units}));
        if units < 0 && shelf.contains('|') {
            put("oversold", &shelf, json!({"units": units}));
        }
    }
    tables
}

/// Writes of one key that no other one happened after.
fn maximal<'a>(writes: &[&'a Event<'a>]) -> Vec<&'a Event<'a>> {
    writes.iter().filter(|of| !writes.iter().any(|other| other.is_after(of))).copied().collect()
}

/// The write that holds.
fn last<'a>(writes: &[&'a Event<'a>]) -> &'a Event<'a> {
    maximal(writes).into_iter().max_by(|one, other| one.rank().cmp(&other.rank())).unwrap()
}

/// What those decided who were not overruled, and how many decided, and 1.
fn review(writes: &Writes<'_>, late: &str) -> Value {
    let decisions = writes.get(&("late", late.to_owned())).map_or(&[][..], |of| of);
    let rulings: Vec<Value> = maximal(decisions).iter().map(|of| of.ruling()).collect();
    let mut row = json!({"review": rulings.first(), "revision": 1 + decisions.len()});
    if rulings.iter().any(|ruling| *ruling != row["review"]) {
        row["review"] = json!({"status": "disputed"});
    }
    row
}

/// Units as reviewed.
fn counted(row: &Value, units: i64) -> i64 {
    let amended = row["review"]["units"].as_i64().map_or(units, |n| n * units.signum());
    if row["review"]["status"] == "rejected" { 0 } else { amended }
}
