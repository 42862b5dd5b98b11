//! Lateness is decided once, by promises that were made.

use std::collections::BTreeMap;

use headland_event::{
    Dot, Entry, EventTime, Hole, Offset, PartitionIndex, Promise, TopicName, TopicPartition,
    Verdict,
};

use super::{ensure, kept_as};
use crate::sim::evidence::{Evidence, Log, records_of};
use crate::sim::topology::{Homes, REGIONS, agents_of};

/// The topics that agents promise about.
const PROMISED: [&str; 2] = ["inventory.events", "air.readings"];

pub(super) fn check(evidence: &Evidence) -> Result<(), String> {
    for source in 0..REGIONS.len() {
        by_promises(evidence, source)?;
        for hub in 0..REGIONS.len() {
            one_verdict(evidence, source, hub)?;
            promises_grow(evidence, source, hub)?;
        }
        // Of an agent that comes from another hub what it brings may be late here.
        if evidence.settings.homes == Homes::Own {
            none_in_order_is_late(evidence, source)?;
        }
    }
    Ok(())
}

/// A record is late exactly if a promise at or after its time was logged before it.
fn by_promises(evidence: &Evidence, hub: usize) -> Result<(), String> {
    let mut promised: BTreeMap<TopicName, EventTime> = BTreeMap::new();
    let entries = evidence.hubs[hub].commits.iter().flat_map(|commit| &commit.entries);
    for (partition, entry) in entries {
        if partition.topic.as_str() == "_promises" {
            for promise in promises_in([entry]) {
                promised.insert(promise.topic, promise.watermark);
            }
        }
        if !PROMISED.contains(&partition.topic.as_str()) || Hole::of(&entry.batch).is_some() {
            continue;
        }
        let stamp = entry.stamp.as_ref().ok_or("a hub's entry has no stamp")?;
        let watermark = promised.get(&partition.topic).copied();
        for (delta, record) in entry.batch.numbered_records().unwrap() {
            let is_passed = watermark.is_some_and(|watermark| record.time <= watermark);
            let fits = match stamp.verdict(delta) {
                Verdict::OnTime => !is_passed,
                Verdict::Late => is_passed,
                Verdict::Future | Verdict::Forbidden | Verdict::Unlisted => true,
            };
            ensure(fits, || {
                format!(
                    "record {delta} of {partition} at {} is {:?} at {}, promised {watermark:?}",
                    entry.base,
                    stamp.verdict(delta),
                    record.time
                )
            })?;
        }
    }
    Ok(())
}

/// A hub has of each record of a region the verdict that the region's own hub gave.
fn one_verdict(evidence: &Evidence, source: usize, hub: usize) -> Result<(), String> {
    let verdicts = |log: &Log, hub: usize| {
        let mut verdicts = BTreeMap::new();
        for topic in PROMISED {
            for index in 0..8 {
                let topic = TopicName::new(topic).unwrap();
                let partition = TopicPartition::new(topic, PartitionIndex::new(index));
                let kept = kept_as(hub, source, &partition);
                for entry in log.get(&kept).into_iter().flatten() {
                    let stamp = entry.stamp.clone().unwrap();
                    let (key, verdicts_of) = ((partition.clone(), stamp.offset), stamp.verdicts);
                    verdicts.insert(key, (stamp.actor, verdicts_of));
                }
            }
        }
        verdicts
    };
    let expected = verdicts(&evidence.hubs[source].log, source);
    let found = verdicts(&evidence.hubs[hub].log, hub);
    let differs = expected.iter().find(|(key, verdict)| found.get(key) != Some(verdict));
    ensure(differs.is_none() && found.len() == expected.len(), || {
        format!("hub {hub} has other verdicts than hub {source}, first {differs:?}")
    })
}

/// A region's promises about a topic only grow, at every hub.
fn promises_grow(evidence: &Evidence, source: usize, hub: usize) -> Result<(), String> {
    let mut promised: BTreeMap<TopicName, EventTime> = BTreeMap::new();
    let kept = kept_as(hub, source, &promises_partition());
    for promise in promises_in(evidence.hubs[hub].log.get(&kept).into_iter().flatten()) {
        let Promise { topic, watermark, ends: _ } = promise;
        let before = promised.insert(topic.clone(), watermark);
        ensure(before.is_none_or(|before| before < watermark), || {
            format!("region {source} promised {before:?} of {topic}, then {watermark}")
        })?;
    }
    Ok(())
}

/// A record above what its agent had promised before it is not late, unless some agent was absent
/// and the others went on without it.
fn none_in_order_is_late(evidence: &Evidence, source: usize) -> Result<(), String> {
    let log = &evidence.hubs[source].log;
    let promises = records_of(log.get(&promises_partition()).into_iter().flatten());
    if promises.iter().any(|record| record.key.as_deref().is_some_and(is_about_an_agent)) {
        return Ok(());
    }
    for agent in agents_of(source, evidence.settings.homes) {
        for topic in PROMISED {
            let name = TopicName::new(topic).unwrap();
            let outbox = TopicPartition::new(name.clone(), PartitionIndex::new(0));
            let offsets: BTreeMap<Dot, Offset> = evidence.agents[agent]
                .get(&outbox)
                .into_iter()
                .flatten()
                .map(|entry| (entry.dot, entry.base))
                .collect();
            let entries = log.iter().filter(|(partition, _)| partition.topic == name);
            for entry in entries.flat_map(|(_, entries)| entries) {
                let Some(base) = offsets.get(&entry.dot) else { continue };
                in_order(evidence, (agent, &name), entry, *base)?;
            }
        }
    }
    Ok(())
}

fn in_order(
    evidence: &Evidence,
    (agent, topic): (usize, &TopicName),
    entry: &Entry,
    base: Offset,
) -> Result<(), String> {
    let stamp = entry.stamp.as_ref().ok_or("a hub's entry has no stamp")?;
    for (delta, record) in entry.batch.numbered_records().unwrap() {
        let offset = base.at(delta);
        let promised = evidence
            .promises
            .iter()
            .filter(|promise| promise.agent == agent && promise.end <= offset)
            .filter(|promise| promise.topic == *topic)
            .map(|promise| promise.watermark)
            .max();
        let is_in_order = promised.is_none_or(|promised| record.time > promised);
        ensure(!is_in_order || stamp.verdict(delta) != Verdict::Late, || {
            format!(
                "agent {agent} had promised {promised:?} before its record {offset} at {}, \
                 which is late",
                record.time
            )
        })?;
    }
    Ok(())
}

fn promises_partition() -> TopicPartition {
    TopicPartition::new(TopicName::new("_promises").unwrap(), PartitionIndex::new(0))
}

fn is_about_an_agent(key: &[u8]) -> bool {
    key.starts_with(b"agent/")
}

fn promises_in<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<Promise> {
    let records = records_of(entries);
    let promises = records.iter().filter(|r| !r.key.as_deref().is_some_and(is_about_an_agent));
    promises.map(|record| serde_json::from_slice(record.value.as_ref().unwrap()).unwrap()).collect()
}
