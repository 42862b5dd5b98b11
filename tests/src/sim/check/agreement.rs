//! All hubs say the same, and it is what the definitions say.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::{EventTime, Gap, Hole, Offset, RegionId, Verdict};
use headland_reconcile::{Config, DerivedTopic, Input, InventoryEvent, Locality, Reconciler};
use serde_json::Value;

use super::ensure;
use crate::sim::evidence::{Evidence, Log, records_of, text};
use crate::sim::input::mirror_prefix;
use crate::sim::oracle::{self, Tables};
use crate::sim::stated;
use crate::sim::topology::{Disks, REGIONS};

/// Topics that every hub derives for itself.
const DERIVED: [DerivedTopic; 8] = [
    DerivedTopic::Stock,
    DerivedTopic::Oversold,
    DerivedTopic::Postings,
    DerivedTopic::Conflicts,
    DerivedTopic::Late,
    DerivedTopic::Overlaps,
    DerivedTopic::Duplicates,
    DerivedTopic::Rejected,
];

pub(super) fn check(evidence: &Evidence) -> Result<(), String> {
    let first = &evidence.hubs[0];
    let tables = tables_of(&first.log);
    for (hub, other) in evidence.hubs.iter().enumerate().skip(1) {
        ensure(other.canonical == first.canonical, || {
            format!("hub {hub}'s state differs from hub 0's")
        })?;
        ensure(other.fingerprint == first.fingerprint, || {
            format!("hub {hub}'s fingerprint differs from hub 0's, the state does not")
        })?;
        same(&tables_of(&other.log), &tables, &format!("hub {hub}'s tables, not hub 0's"))?;
    }
    let orders = match evidence.settings.disks {
        Disks::Stay => &[[2, 1, 0], [1, 0, 2]][..],
        // Parts of a log lie in several topics.
        Disks::Refilled | Disks::Renewed | Disks::Held => &[],
    };
    for regions in orders.iter().copied() {
        let canonical = state_in_order(&first.log, regions);
        ensure(canonical == first.canonical, || {
            format!("the same events in the order {regions:?} give another state")
        })?;
    }
    let mut records = records(&first.log);
    let void: BTreeSet<String> = records.iter().filter(|of| is_void(&tables, of)).map(id).collect();
    if records.iter().filter(|of| void.contains(&id(of))).count() > void.len() {
        // Of copies of a void count the smallest place speaks, which the definitions do not know.
        return Ok(());
    }
    records.retain(|of| !void.contains(&id(of)));
    let mut counted = tables;
    counted.retain(|(topic, _), _| topic != DerivedTopic::Rejected.name());
    let differs = stated::differs(&counted, &oracle::tables(&records));
    differs.map_or(Ok(()), |key| Err(format!("hub 0's tables, not the oracle's: {key}")))
}

/// The name of a delivery.
fn id(record: &oracle::Record) -> String {
    record.value["id"].to_string()
}

/// Whether a hub says that a stocktake counts nowhere, since its hub had not seen what others have
/// forgotten.
fn is_void(tables: &Tables, record: &oracle::Record) -> bool {
    let (region, (counter, nonce), partition) = &record.actor;
    let place = format!("{region}@{counter}-{nonce:016x}/{partition}/{}", record.offset);
    let rejected = tables.get(&(DerivedTopic::Rejected.name().to_owned(), place));
    record.value["kind"] == "stocktake" && rejected.is_some()
}

/// The last value of every key of the derived topics.
fn tables_of(log: &Log) -> Tables {
    let mut tables = Tables::new();
    for (partition, entries) in log {
        let topic = partition.topic.as_str();
        if !DERIVED.iter().any(|derived| derived.name() == topic) {
            continue;
        }
        for record in records_of(entries) {
            let at = (topic.to_owned(), text(record.key.as_ref()));
            match record.value {
                Some(value) => tables.insert(at, serde_json::from_slice(&value).unwrap()),
                None => tables.remove(&at),
            };
        }
    }
    tables
}

fn same(found: &Tables, expected: &Tables, what: &str) -> Result<(), String> {
    let keys: BTreeMap<_, ()> = found.keys().chain(expected.keys()).map(|key| (key, ())).collect();
    let differs = keys.into_keys().find(|key| found.get(key) != expected.get(key));
    let show = |of: Option<&Value>| of.map_or_else(|| "nothing".to_owned(), Value::to_string);
    differs.map_or(Ok(()), |key| {
        Err(format!("{what}: {key:?} is {}, not {}", show(found.get(key)), show(expected.get(key))))
    })
}

/// The state after the events of one region, then of the next one, and so on.
fn state_in_order(log: &Log, regions: [usize; 3]) -> Vec<u8> {
    let region = RegionId::new(REGIONS[0]).unwrap();
    let mut reconciler = Reconciler::new(Config::new(region, 20), 99);
    for region in regions {
        for (partition, entries) in log {
            if region_of_inventory(partition.topic.as_str()) != Some(region) {
                continue;
            }
            for entry in entries {
                let stamp = entry.stamp.as_ref().unwrap();
                let is_hole = Hole::of(&entry.batch).is_some();
                for (delta, record) in entry.batch.numbered_records().unwrap() {
                    let (delta, verdict) = match is_hole {
                        true => (entry.batch.last_delta(), Verdict::Forbidden),
                        false => (delta, stamp.verdict(delta)),
                    };
                    reconciler.on_event(Input {
                        actor: &stamp.actor,
                        offset: stamp.offset.at(delta),
                        hlc: stamp.hlc,
                        context: &stamp.context,
                        verdict,
                        locality: Locality::Remote,
                        captured_at: EventTime::default(),
                        detected_at: EventTime::default(),
                        value: &record.value.unwrap_or_default(),
                    });
                }
            }
        }
    }
    reconciler.canonical_state()
}

/// The events that a hub of the first region has, as the oracle reads them.
fn records(log: &Log) -> Vec<oracle::Record> {
    let (mut records, mut known) = (Vec::new(), BTreeSet::new());
    for (partition, entries) in log {
        if region_of_inventory(partition.topic.as_str()).is_none() {
            continue;
        }
        for entry in entries {
            let stamp = entry.stamp.as_ref().unwrap();
            let context = stamp.context.ends().iter().map(|(actor, end)| {
                let below = Gap { from: Offset::new(0), until: end };
                let seen = stamp.context.gaps().rest(actor, below).into_iter();
                let seen = seen.map(|of| of.from.get()..of.until.get());
                (actor_of(actor), seen.collect())
            });
            let context: BTreeMap<_, _> = context.collect();
            for (delta, record) in entry.batch.numbered_records().unwrap() {
                let value = record.value.unwrap_or_default();
                // It may have come over several ways.
                if !known.insert((stamp.actor.clone(), stamp.offset.at(delta))) {
                    continue;
                }
                // What is no event is rejected, which the oracle leaves to others.
                if InventoryEvent::parse(&value).is_err() {
                    continue;
                }
                records.push(oracle::Record {
                    actor: actor_of(&stamp.actor),
                    offset: stamp.offset.at(delta).get(),
                    hlc: (stamp.hlc.wall().millis(), stamp.hlc.logical()),
                    context: context.clone(),
                    verdict: match stamp.verdict(delta) {
                        Verdict::OnTime => "on-time",
                        Verdict::Late => "late",
                        Verdict::Future => "future",
                        Verdict::Forbidden => "forbidden",
                        Verdict::Unlisted => "unlisted",
                    },
                    value: serde_json::from_slice(&value).unwrap(),
                });
            }
        }
    }
    records
}

fn actor_of(actor: &headland_event::Actor) -> oracle::Actor {
    let life = (actor.incarnation.counter(), actor.incarnation.nonce());
    (actor.region.as_str().to_owned(), life, actor.partition.get())
}

/// The region that a topic of inventory is of, at a hub of the first region.
fn region_of_inventory(topic: &str) -> Option<usize> {
    match mirror_prefix(topic.strip_prefix("handed-on.").unwrap_or(topic)) {
        Some((region, "inventory.events")) => Some(region),
        None if topic == "inventory.events" => Some(0),
        Some(_) | None => None,
    }
}
