//! What inventory should be, computed from the plain set of records by the definitions alone.
//!
//! It shares nothing with the crate. Every sum, winner and pair is taken over all records at once.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// One record as an event: what it moves, what it decides, what it came after.
mod event;

use event::Event;
pub(crate) use event::{Actor, Record};

/// The derived topics read as tables: (topic, key) to value.
pub(crate) type Tables = BTreeMap<(String, String), Value>;

/// Writes of one key: those that no other one happened after, the largest last.
fn maximal<'a>(writes: &[&'a Event<'a>]) -> Vec<&'a Event<'a>> {
    let is_last = |write: &&&Event<'_>| !writes.iter().any(|other| other.is_after(write));
    let mut last: Vec<_> = writes.iter().filter(is_last).copied().collect();
    last.sort_by_key(|write| (write.record.hlc, write.record.actor.clone(), write.record.offset));
    last
}

/// Writes by what they are about: stocktakes by location, attributes, decisions by late event.
type Writes<'a> = BTreeMap<(&'static str, &'a str, &'a str), Vec<&'a Event<'a>>>;

/// Units that move, each with the event whose place decides which stocktakes knew of it.
type Moves<'a> = BTreeMap<(&'a str, String), Vec<(&'a Event<'a>, i64)>>;

/// A record that a planted fault forwards twice is equal to itself.
fn put(tables: &mut Tables, topic: &str, key: String, value: Value) {
    let old = tables.insert((format!("inventory.{topic}"), key), value.clone());
    assert!(old.is_none_or(|old| old == value), "two different records of one key");
}

/// Every derived table but rejected records and alerts.
pub(crate) fn tables(records: &[Record]) -> Tables {
    let mut tables = Tables::new();
    let mut copies: BTreeMap<String, Vec<Event<'_>>> = BTreeMap::new();
    for record in records.iter().filter(|of| matches!(of.verdict, "on-time" | "late")) {
        let event = Event { record, json: serde_json::from_str(&record.value).unwrap() };
        copies.entry(event.text("id").to_owned()).or_default().push(event);
    }
    for (id, copies) in &mut copies {
        copies.sort_by_key(|copy| (copy.record.actor.clone(), copy.record.offset));
        for copy in &copies[1..] {
            let value = json!({"id": id, "kept": copies[0].place(), "dropped": copy.place()});
            put(&mut tables, "duplicates", format!("{id}@{}", copy.place()), value);
        }
    }
    let kept: Vec<&Event<'_>> = copies.values().map(|copies| &copies[0]).collect();
    let mut writes = Writes::new();
    for event in &kept {
        let (about, field) = match event.text("kind") {
            "stocktake" => (event.text("sku"), "location"),
            "attribute" => (event.text("sku"), "attribute"),
            "approve" | "reject" | "amend" => ("", "late"),
            _ => continue,
        };
        writes.entry((field, about, event.text(field))).or_default().push(event);
    }
    let mut moves = Moves::new();
    for event in kept {
        add_moves(event, &writes, &mut moves, &mut tables);
    }
    for (field, sku, name) in writes.keys().filter(|(field, ..)| *field == "location") {
        moves.entry((sku, json!({*field: name}).to_string())).or_default();
    }
    for ((sku, account), moves) in moves {
        add_stock(sku, &serde_json::from_str(&account).unwrap(), &moves, &writes, &mut tables);
    }
    for ((field, sku, name), writes) in &writes {
        if *field == "attribute" {
            let value = &maximal(writes).last().unwrap().json["value"];
            let value = json!({"sku": sku, "attribute": name, "value": value});
            put(&mut tables, "stock", format!("{sku}#{name}"), value);
        }
        add_conflicts(field, sku, name, writes, &mut tables);
    }
    tables
}

/// A movement counts when it was on time, or as those decided who were not overruled.
fn add_moves<'a>(
    event: &'a Event<'a>,
    writes: &Writes<'a>,
    moves: &mut Moves<'a>,
    tables: &mut Tables,
) {
    let Some((account, mut units, other)) = event.movement() else { return };
    let (id, sku) = (event.text("id"), event.text("sku"));
    let (mut at, mut time) = (event, event.text("time"));
    if event.record.verdict == "late" {
        let decisions = writes.get(&("late", "", id)).map_or_else(Vec::new, |of| maximal(of));
        let mut late = json!({"id": id, "event": event.json, "region": event.record.actor.0});
        let last = decisions.last();
        let is_agreed = decisions.iter().all(|of| Some(of.ruling()) == last.map(|of| of.ruling()));
        if let Some(last) = last {
            let disputed = json!({"status": "disputed"});
            late["review"] = if is_agreed { last.decision() } else { disputed };
        }
        put(tables, "late", id.to_owned(), late);
        let counts = |of: &&&Event<'_>| is_agreed && of.text("kind") != "reject";
        let Some(last) = last.filter(counts) else { return };
        units = last.ruling()["units"].as_i64().map_or(units, |new| new * units.signum());
        if last.ruling()["effective"] == "carry" {
            (at, time) = (last, last.text("time"));
        }
    }
    let time = time.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let parts = [(account, units), (other, -units)];
    let postings =
        parts.clone().map(|(account, units)| json!({"account": account, "units": units}));
    let kind = &event.json["kind"];
    let value = json!({"id": id, "kind": kind, "sku": sku, "time": time, "postings": postings});
    put(tables, "postings", id.to_owned(), value);
    for (account, units) in parts {
        moves.entry((sku, account.to_string())).or_default().push((at, units));
    }
}

/// Units are the last count and what moved since, as far as its counter could not know of it.
fn add_stock(
    sku: &str,
    account: &Value,
    moves: &[(&Event<'_>, i64)],
    writes: &Writes<'_>,
    tables: &mut Tables,
) {
    let (key, mut value) = match (account["location"].as_str(), account.as_str()) {
        (Some(name), _) => (format!("{sku}|{name}"), json!({"sku": sku, "location": name})),
        (_, Some(name @ ("in-transit" | "reserved"))) => {
            (format!("{sku}~{name}"), json!({"sku": sku, "account": name}))
        }
        _ => return,
    };
    let name = account["location"].as_str().unwrap_or_default();
    let counts = writes.get(&("location", sku, name)).map_or_else(Vec::new, |of| maximal(of));
    let count = counts.last();
    let is_added = |at: &Event<'_>| count.is_none_or(|count| !count.is_after(at));
    let moved: i64 = moves.iter().filter(|(at, _)| is_added(at)).map(|(_, units)| units).sum();
    let units = count.map_or(0, |count| count.json["count"].as_i64().unwrap()) + moved;
    value["units"] = units.into();
    if units < 0 && !name.is_empty() {
        put(tables, "oversold", key.clone(), value.clone());
    }
    put(tables, "stock", key, value);
}

/// Each pair of writes of which neither writer had seen the other, and who rule differently.
fn add_conflicts(field: &str, sku: &str, name: &str, writes: &[&Event<'_>], tables: &mut Tables) {
    for (at, one) in writes.iter().enumerate() {
        for other in writes[..at].iter().filter(|of| !one.is_after(of) && !of.is_after(one)) {
            let (one, other) = if one.rank() > other.rank() { (one, other) } else { (other, one) };
            let (kind, [winner, loser]) = match field {
                "late" if one.ruling() == other.ruling() => continue,
                "late" => ("review", [one, other].map(|of| of.side(&of.decision()))),
                "location" => ("stocktake", [one, other].map(|of| of.side(&of.json["count"]))),
                _ => ("attribute", [one, other].map(|of| of.side(&of.json["value"]))),
            };
            let id = format!("{}~{}", one.text("id"), other.text("id"));
            let mut value = json!({"id": id, "kind": kind, "winner": winner, "loser": loser});
            value[field] = name.into();
            if !sku.is_empty() {
                value["sku"] = sku.into();
            }
            put(tables, "conflicts", id, value);
        }
    }
}
