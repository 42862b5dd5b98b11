//! Derived records and alerts are written once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headland_event::{Now, Record};
use headland_reconcile::DerivedTopic;
use region_hub::reconcile::Inventory;
use serde_json::Value;

use super::{counting, ensure, kept_as};
use crate::sim::evidence::{Evidence, records_of, text};
use crate::sim::input::mirror_prefix;
use crate::sim::topology::{Homes, REGIONS, agents_of, hub_config};
use crate::sim::world::WALL_START;

/// What the slowest wall clock says when a world begins, in milliseconds.
const EARLIEST_CLOCK: i64 = WALL_START - 24 * 3_600_000;

/// Derived records by partition: key and value, in order.
type Written = BTreeMap<String, Vec<(String, Value)>>;

pub(super) fn check(evidence: &Evidence) -> Result<(), String> {
    for hub in 0..REGIONS.len() {
        let (found, expected) = (written(evidence, hub), derived(evidence, hub));
        let partitions: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
        for partition in partitions {
            let (found, expected) = (found.get(partition), expected.get(partition));
            ensure(found == expected, || {
                format!(
                    "{partition} at hub {hub}: {}",
                    difference(found.map_or(&[], |of| of), expected.map_or(&[], |of| of))
                )
            })?;
        }
    }
    match evidence.settings.homes {
        Homes::Own => (0..REGIONS.len()).try_for_each(|source| alerts(evidence, source)),
        Homes::All => (0..REGIONS.len()).try_for_each(|hub| alerts_of_all(evidence, hub)),
    }
}

/// What a hub's log holds of what it derived.
fn written(evidence: &Evidence, hub: usize) -> Written {
    let mut written = Written::new();
    for (partition, entries) in &evidence.hubs[hub].log {
        for record in records_of(entries) {
            note(&mut written, partition.topic.as_str(), &partition.to_string(), record);
        }
    }
    written
}

/// What a hub that never crashed derives from the same commits.
fn derived(evidence: &Evidence, hub: usize) -> Written {
    let of = &evidence.hubs[hub];
    let mut inventory = Inventory::new(&hub_config(hub, evidence.settings, <_>::default()), 7);
    let mut derived = Written::new();
    for commit in &of.commits {
        inventory.on_commit(&of.topics, commit.number, &commit.entries);
        while let Some(step) = inventory.poll_step(&of.topics, Now::default()) {
            for (partition, batch) in step.batches {
                for record in batch.records().unwrap() {
                    note(&mut derived, partition.topic.as_str(), &partition.to_string(), record);
                }
            }
        }
    }
    derived
}

/// Takes note of a derived record, and of no other one.
fn note(written: &mut Written, topic: &str, partition: &str, record: Record) {
    let is_alerts = topic == DerivedTopic::Alerts.name();
    let is_derived = is_alerts || topic.starts_with("inventory.") && mirror_prefix(topic).is_none();
    if !is_derived || topic == "inventory.events" || topic == "inventory.events.dead" {
        return;
    }
    let mut value = value_of(record.value.as_ref());
    if is_alerts {
        if value["rule"] != "restock" {
            return;
        }
        // When a hub noticed is its own clock's business.
        value["detected_at"] = Value::Null;
    }
    written.entry(partition.to_owned()).or_default().push((text(record.key.as_ref()), value));
}

/// Of agents that go from hub to hub a reader of all regions' alerts has each once.
fn alerts_of_all(evidence: &Evidence, hub: usize) -> Result<(), String> {
    let records = counting::union_of(evidence, hub, "alerts").into_values();
    // Those that hubs raise themselves.
    let is_of_hub = |rule: &Value| rule == "restock" || rule == "failover";
    let of_agents = records.filter(|of| !is_of_hub(&value_of(of.value.as_ref())["rule"]));
    let found = of_agents.map(|record| id_of(&record));
    raised(evidence, 0..evidence.settings.homes.agents(), found)
        .map_err(|at| format!("hub {hub} has {at}"))
}

/// That each alert is there as often as agents raise it that read without a break. Who has a clock
/// that was behind may raise fewer, since what is ahead of it closes no windows, and others: rows
/// that come behind that are not late for it, and its windows hold them. Each is there once.
fn raised(
    evidence: &Evidence,
    agents: impl Iterator<Item = usize> + Clone,
    found: impl Iterator<Item = String>,
) -> Result<(), String> {
    let others = usize::from(agents.clone().any(|agent| evidence.slow[agent]));
    // How often at least, at most, and found.
    let mut times: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    for agent in agents {
        for alert in evidence.uninterrupted_alerts(agent) {
            let [least, most, _] = times.entry(id_of(alert)).or_default();
            *least += usize::from(!evidence.slow[agent]);
            *most += 1;
        }
    }
    for id in found {
        times.entry(id).or_insert([0, others, 0])[2] += 1;
    }
    let wrong = times.iter().find(|(_, [least, most, found])| found < least || found > most);
    wrong.map_or(Ok(()), |(id, [least, most, found])| {
        Err(format!("alert {id} {found} times, raised {least} to {most} times"))
    })
}

/// Every alert of a region is at every hub once, those of agents as often as their input says.
fn alerts(evidence: &Evidence, source: usize) -> Result<(), String> {
    for (hub, of) in evidence.hubs.iter().enumerate() {
        let mut restock = BTreeSet::new();
        let mut found = Vec::new();
        let alerts = of.log.iter().filter(|(partition, _)| {
            let known = headland_event::TopicName::new("alerts").unwrap();
            let local = headland_event::TopicPartition::new(known, partition.partition);
            **partition == kept_as(hub, source, &local)
        });
        for record in alerts.flat_map(|(_, entries)| records_of(entries)) {
            if value_of(record.value.as_ref())["rule"] != "restock" {
                found.push(id_of(&record));
                continue;
            }
            let id = id_of(&record);
            let noticed = value_of(record.value.as_ref())["detected_at"].as_i64();
            ensure(noticed.is_some_and(|at| at >= EARLIEST_CLOCK), || {
                format!("restock alert {id} was noticed at {noticed:?}, before any clock's time")
            })?;
            ensure(restock.insert(id.clone()), || {
                format!("restock alert {id} of region {source} is twice at hub {hub}")
            })?;
        }
        raised(evidence, agents_of(source, evidence.settings.homes), found.into_iter())
            .map_err(|at| format!("hub {hub} has, of region {source}, {at}"))?;
    }
    Ok(())
}

fn id_of(alert: &Record) -> String {
    value_of(alert.value.as_ref())["id"].to_string()
}

fn value_of(value: Option<&Bytes>) -> Value {
    value.map_or(Value::Null, |value| serde_json::from_slice(value).unwrap())
}

fn difference(found: &[(String, Value)], expected: &[(String, Value)]) -> String {
    let at = (0..found.len().max(expected.len()))
        .find(|at| found.get(*at) != expected.get(*at))
        .unwrap_or_default();
    format!(
        "{} records, expected {}; record {at} is {:?}, expected {:?}",
        found.len(),
        expected.len(),
        found.get(at),
        expected.get(at)
    )
}
