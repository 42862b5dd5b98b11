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

/// One record as its ingest hub stamped it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) actor: Actor,
    pub(crate) offset: u64,
    pub(crate) hlc: (i64, u32),
    /// What its hub had seen, as ranges of offsets.
    pub(crate) context: BTreeMap<Actor, Vec<std::ops::Range<u64>>>,
    /// `on-time`, `late`, `future` or `forbidden`.
    pub(crate) verdict: &'static str,
    pub(crate) value: Value,
}

/// The derived topics read as tables: (topic, key) to value.
pub(crate) type Tables = BTreeMap<(String, String), Value>;

/// Accepted writes by the field that they write to, and their key.
type Writes<'a> = BTreeMap<(&'static str, String), Vec<&'a Record>>;

impl Record {
    fn text(&self, field: &str) -> &str {
        self.value[field].as_str().unwrap_or_default()
    }

    fn is_after(&self, Self { actor, offset, .. }: &Self) -> bool {
        let mut seen = self.context.get(actor).into_iter().flatten();
        seen.any(|seen| seen.contains(offset)) || *actor == self.actor && *offset < self.offset
    }

    fn rank(&self) -> ((i64, u32), &Actor, u64) {
        (self.hlc, &self.actor, self.offset)
    }

    fn place(&self) -> String {
        let Self { actor: (region, (life, nonce), partition), offset, .. } = self;
        format!("{region}@{life}-{nonce:016x}/{partition}/{offset}")
    }

    /// The key of a shelf, an account or an attribute of its sku.
    fn key(&self, mark: char, name: &str) -> String {
        format!("{}{mark}{name}", self.text("sku"))
    }

    /// The key of a write, and the field that it writes to.
    fn write(&self) -> Option<(&'static str, String)> {
        match self.text("kind") {
            "stocktake" => Some(("location", self.key('|', self.text("location")))),
            "attribute" => Some(("attribute", self.key('#', self.text("attribute")))),
            "approve" | "reject" | "amend" => Some(("late", self.text("late").to_owned())),
            _ => None,
        }
    }

    /// What it changes: the shelf, and what is on the way or reserved. Below 0, units are taken.
    fn movement(&self) -> Option<impl Iterator<Item = (String, i64)>> {
        let (units, kind) = (self.value["quantity"].as_i64()?, self.text("kind"));
        let (here, there) = match kind {
            "sale" => (-units, 0),
            "return" | "restock" | "adjustment" => (units, 0),
            "transfer-out" | "reserve" => (-units, units),
            "transfer-in" | "release" => (units, -units),
            "commit" => (0, -units),
            _ => return None,
        };
        let other = if kind.starts_with("transfer") { "in-transit" } else { "reserved" };
        let moved = [(self.key('|', self.text("location")), here), (self.key('~', other), there)];
        Some(moved.into_iter().filter(|(_, units)| *units != 0))
    }

    fn second(&self) -> i64 {
        self.text("time").parse::<jiff::Timestamp>().unwrap().as_second()
    }

    fn ruling(&self) -> Value {
        // Of an overlap there is only to say how much of it counts.
        let is_carried = self.text("effective") == "carry" && !self.text("late").contains('~');
        let (from, units) = (if is_carried { "carry" } else { "restate" }, &self.value["quantity"]);
        match self.text("kind") {
            "approve" => json!({"status": "approved", "effective": from}),
            "reject" => json!({"status": "rejected"}),
            _ => json!({"status": "amended", "effective": from, "units": units}),
        }
    }
}

/// Every derived table but rejected records and alerts.
pub(crate) fn tables(records: &[Record]) -> Tables {
    let mut tables = Tables::new();
    let mut put = |topic: &str, key: &str, value: Value| {
        tables.insert((format!("inventory.{topic}"), key.to_owned()), value);
    };
    let accepted = records.iter().filter(|of| matches!(of.verdict, "on-time" | "late"));
    let placed: BTreeMap<_, _> = accepted.map(|of| ((&of.actor, of.offset), of)).collect();
    let (mut kept, mut writes, mut moves) = (BTreeMap::new(), Writes::new(), BTreeMap::new());
    // Of copies of one delivery the one at the smallest place counts.
    for of in placed.into_values() {
        let (id, place) = (of.text("id"), of.place());
        if let Some(first) = kept.get(id).map(|first: &&Record| first.place()) {
            put("duplicates", &format!("{id}@{place}"), json!({"kept": first}));
            continue;
        }
        kept.insert(id, of);
        of.write().into_iter().for_each(|key| writes.entry(key).or_default().push(of));
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
        if *field != "late" {
            // Of a shelf, what is counted as long as nothing comes on top.
            let last = &last(writes).value;
            put("stock", key, json!({"value": last["value"], "units": last["count"]}));
        }
    }
    for (id, event) in kept {
        let Some(moved) = event.movement() else { continue };
        let (row, counted) = review(&writes, id);
        let (mut at, is_late) = (event, event.verdict == "late");
        if is_late {
            put("late", id, row.clone());
            // Only a ruling that it counts says from when on.
            let Some(effective) = row["review"]["effective"].as_str() else { continue };
            at = if effective == "carry" { last(&writes[&("late", id.to_owned())]) } else { event };
        }
        put("postings", id, json!({"time": at.second() * 1_000}));
        for (shelf, units) in moved {
            let units = if is_late { counted(units) } else { units };
            moves.entry(shelf).or_insert_with(Vec::new).push((at, units, is_late));
        }
    }
    for (shelf, moves) in moves {
        let count = writes.get(&("location", shelf.clone())).map(|counts| last(counts));
        let is_added = |at: &Record| count.is_none_or(|count| !count.is_after(at));
        let mut units = count.map_or(0, |count| count.value["count"].as_i64().unwrap());
        for (at, mut added, is_late) in moves.into_iter().filter(|(at, ..)| is_added(at)) {
            // What came late was reviewed already.
            if let Some(count) = count.filter(|of| !is_late && at.second() <= of.second()) {
                let key = format!("{}~{}", count.text("id"), at.place());
                let (mut row, counted) = review(&writes, &key);
                // No more of it came after the count than there is.
                added = counted(added).clamp(added.min(0), added.max(0));
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
fn maximal<'a>(writes: &[&'a Record]) -> Vec<&'a Record> {
    writes.iter().filter(|of| !writes.iter().any(|other| other.is_after(of))).copied().collect()
}

/// The write that holds.
fn last<'a>(writes: &[&'a Record]) -> &'a Record {
    maximal(writes).into_iter().max_by_key(|of| of.rank()).unwrap()
}

/// What those decided who were not overruled, how many decided, and 1; and what it makes of units.
fn review(writes: &Writes<'_>, late: &str) -> (Value, impl Fn(i64) -> i64) {
    let decisions = writes.get(&("late", late.to_owned())).map_or(&[][..], |of| of);
    let mut rulings: Vec<Value> = maximal(decisions).iter().map(|of| of.ruling()).collect();
    rulings.dedup();
    let held = if rulings.len() > 1 { json!({"status": "disputed"}) } else { rulings.pop().into() };
    let (is_rejected, amended) = (held["status"] == "rejected", held["units"].as_i64());
    let amended = move |units: i64| amended.map_or(units, |of| of * units.signum());
    let row = json!({"review": held, "revision": 1 + decisions.len()});
    (row, move |units| if is_rejected { 0 } else { amended(units) })
}
