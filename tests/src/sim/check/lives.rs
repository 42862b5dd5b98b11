//! Whatever lives of nodes ended, every record is everywhere, and counts once.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::{Dot, Hole, Record};

use super::{counting, ensure};
use crate::sim::evidence::{Evidence, HubEvidence, text};
use crate::sim::input::mirror_prefix;
use crate::sim::topology::REGIONS;

pub(super) fn check(evidence: &Evidence) -> Result<(), String> {
    for topic in ["inventory.events", "air.readings"] {
        let unions: Vec<BTreeMap<Dot, Record>> =
            (0..REGIONS.len()).map(|hub| counting::union_of(evidence, hub, topic)).collect();
        let mut all: BTreeMap<Dot, &Record> = BTreeMap::new();
        for (dot, record) in unions.iter().flatten() {
            let first = *all.entry(*dot).or_insert(record);
            ensure(first == record, || format!("{topic}: {dot} has other bytes elsewhere"))?;
        }
        for (hub, union) in unions.iter().enumerate() {
            let missing = all.keys().find(|dot| !union.contains_key(*dot));
            // What other regions lack of a life that ended is measured by inventory alone.
            ensure(missing.is_none() || topic != "inventory.events", || {
                format!("{topic}: {missing:?} is not at hub {hub}")
            })?;
        }
        for (hub, union) in unions.iter().enumerate() {
            of_region(evidence, hub, topic, union)?;
        }
        for agent in 0..evidence.settings.homes.agents() {
            lines_of(evidence, agent, topic, &all)?;
        }
    }
    one_verdict(evidence)
}

/// What any hub has of a region's logs, of whichever of its lives, is at the region's own hub.
fn of_region(
    evidence: &Evidence,
    region: usize,
    topic: &str,
    union: &BTreeMap<Dot, Record>,
) -> Result<(), String> {
    for (hub, HubEvidence { log, .. }) in evidence.hubs.iter().enumerate() {
        let log = log.iter().filter(|(partition, _)| counting::topic_of(partition) == topic);
        let entries = log.flat_map(|(_, entries)| entries);
        let entries = entries.filter(|entry| Hole::of(&entry.batch).is_none());
        for entry in entries {
            let stamp = entry.stamp.as_ref().ok_or("a hub's entry has no stamp")?;
            if stamp.actor.region.as_str() != REGIONS[region] {
                continue;
            }
            for place in 0..entry.batch.len() {
                let sequence = entry.dot.sequence.after(place as u64);
                let dot = Dot { sequence, ..entry.dot };
                ensure(union.contains_key(&dot), || {
                    format!("{topic}: {dot} of {} is at hub {hub} and not at home", stamp.actor)
                })?;
            }
        }
    }
    Ok(())
}

/// All lines of an agent are there, in order: what its lives wrote that its disk knows of.
fn lines_of(
    evidence: &Evidence,
    agent: usize,
    topic: &str,
    all: &BTreeMap<Dot, &Record>,
) -> Result<(), String> {
    let log = evidence.agents[agent].iter();
    let log = log.filter(|(partition, _)| partition.topic.as_str() == topic);
    let mut found = Vec::new();
    for entry in log.flat_map(|(_, entries)| entries) {
        for place in 0..entry.batch.span() {
            let dot = Dot { sequence: entry.dot.sequence.after(place), ..entry.dot };
            let record = all.get(&dot);
            let record =
                record.ok_or_else(|| format!("{topic} of agent {agent}: {dot} is gone"))?;
            found.push(text(record.value.as_ref()));
        }
    }
    for file in &evidence.inputs[agent] {
        let [(of, expected), _] = counting::expected_of(file);
        ensure(of != topic || found == expected, || {
            let difference = counting::difference(&found, &expected);
            format!("agent {agent}'s {topic}: {difference}")
        })?;
    }
    Ok(())
}

/// What stands in several logs, of whatever hubs, has one verdict. A hub's own log and what others
/// handed on have it once; the copy of a log that began anew from a backup has its beginning again.
fn one_verdict(evidence: &Evidence) -> Result<(), String> {
    let mut verdicts = BTreeMap::new();
    for (hub, of) in evidence.hubs.iter().enumerate() {
        for (partition, entries) in &of.log {
            let is_mirror = mirror_prefix(partition.topic.as_str()).is_some();
            let mut places = BTreeSet::new();
            for entry in entries {
                let Some(stamp) = &entry.stamp else { continue };
                let place = (stamp.actor.clone(), stamp.offset, entry.dot);
                ensure(places.insert(place.clone()) || is_mirror, || {
                    format!("{} is twice in {partition} at hub {hub}", entry.dot)
                })?;
                let verdict = verdicts.entry(place).or_insert_with(|| stamp.verdicts.clone());
                ensure(*verdict == stamp.verdicts, || {
                    format!("{} of {partition} at hub {hub} has two verdicts", entry.dot)
                })?;
            }
        }
    }
    Ok(())
}
