//! Every record is everywhere, once.

use std::collections::BTreeSet;

use headland_event::{Entry, StreamId, TopicPartition, Verdict};
use region_hub::topics::Replication;

use super::{ensure, kept_as, mirror_of};
use crate::sim::evidence::{Evidence, records_of, text};
use crate::sim::input::{Fate, mirror_prefix};
use crate::sim::topology::{AGENTS, REGIONS, region_of};

pub(super) fn check(evidence: &Evidence) -> Result<(), String> {
    for agent in 0..AGENTS {
        for hub in 0..REGIONS.len() {
            lines_of(evidence, agent, hub)?;
            columns_of(evidence, agent, hub)?;
        }
    }
    for source in 0..REGIONS.len() {
        dead_letters(evidence, source)?;
        for hub in (0..REGIONS.len()).filter(|hub| *hub != source) {
            mirrors(evidence, source, hub)?;
        }
    }
    (0..REGIONS.len()).try_for_each(|hub| nothing_returned(evidence, hub))
}

/// An agent's lines are at a hub in order: records in their topic, others in the dead one.
fn lines_of(evidence: &Evidence, agent: usize, hub: usize) -> Result<(), String> {
    for file in &evidence.inputs[agent] {
        let dead = format!("{}.dead", file.topic);
        let of = |fates: &[Fate]| -> Vec<String> {
            let lines = file.lines.iter().filter(|line| fates.contains(&line.fate));
            lines.map(|line| text(Some(&line.text))).collect()
        };
        for (topic, expected) in
            [(file.topic, of(&[Fate::Record, Fate::Forbidden])), (&*dead, of(&[Fate::Dead]))]
        {
            let found: Vec<String> = entries_of(evidence, agent, hub, topic)
                .flat_map(|entry| entry.batch.records().unwrap())
                .map(|record| text(record.value.as_ref()))
                .collect();
            ensure(found == expected, || {
                format!("agent {agent}'s {topic} at hub {hub}: {}", difference(&found, &expected))
            })?;
        }
    }
    Ok(())
}

/// Records of air say what their columns are, also after the agent was started again.
fn columns_of(evidence: &Evidence, agent: usize, hub: usize) -> Result<(), String> {
    let [_, air] = &evidence.inputs[agent];
    for entry in entries_of(evidence, agent, hub, air.topic) {
        for (index, record) in entry.batch.records().unwrap().iter().enumerate() {
            ensure(record.header("hl-columns") == Some(&*air.lines[0].text), || {
                format!("record {index} of {} of agent {agent} has no columns", entry.dot)
            })?;
        }
    }
    Ok(())
}

/// Entries at a hub that an agent wrote to a topic.
fn entries_of<'a>(
    evidence: &'a Evidence,
    agent: usize,
    hub: usize,
    topic: &'a str,
) -> impl Iterator<Item = &'a Entry> {
    let source = region_of(agent);
    let streams: BTreeSet<StreamId> = evidence.agents[agent]
        .iter()
        .filter(|(partition, _)| partition.topic.as_str() == topic)
        .flat_map(|(_, entries)| entries)
        .map(|entry| entry.dot.stream)
        .collect();
    let log = evidence.hubs[hub].log.iter();
    log.filter(move |(partition, _)| {
        let name = partition.topic.as_str();
        match mirror_prefix(name) {
            Some((region, rest)) => hub != source && region == source && rest == topic,
            None => hub == source && name == topic,
        }
    })
    .flat_map(|(_, entries)| entries)
    .filter(move |entry| streams.contains(&entry.dot.stream))
}

/// A hub keeps one dead letter of every record of a forbidden device, and of no other one.
fn dead_letters(evidence: &Evidence, hub: usize) -> Result<(), String> {
    let log = &evidence.hubs[hub].log;
    for topic in ["inventory.events", "air.readings"] {
        let partitions = log.iter().filter(|(partition, _)| partition.topic.as_str() == topic);
        for (partition, entries) in partitions {
            let mut forbidden = Vec::new();
            for entry in entries {
                let stamp = entry.stamp.as_ref().ok_or("a hub's entry has no stamp")?;
                for (delta, _) in entry.batch.numbered_records().unwrap() {
                    if stamp.verdict(delta) == Verdict::Forbidden {
                        forbidden.push(entry.base.at(delta).to_string());
                    }
                }
            }
            let dead = headland_event::TopicName::new(&format!("{topic}.dead")).unwrap();
            let dead = log.get(&TopicPartition::new(dead, partition.partition));
            let sources: Vec<String> = records_of(dead.into_iter().flatten())
                .iter()
                .filter_map(|record| record.header("hl-source-offset"))
                .map(|offset| String::from_utf8_lossy(offset).into_owned())
                .collect();
            ensure(sources == forbidden, || {
                format!("dead letters of {partition} at hub {hub}: {sources:?}, not {forbidden:?}")
            })?;
        }
    }
    Ok(())
}

/// A mirror has the entries of its source: dots, stamps, bytes, offsets and order.
fn mirrors(evidence: &Evidence, source: usize, hub: usize) -> Result<(), String> {
    let from = &evidence.hubs[source];
    let to = &evidence.hubs[hub];
    for (partition, entries) in &from.log {
        let topic = from.topics.get(&partition.topic);
        let topic = topic.ok_or_else(|| format!("{partition} has no topic at hub {source}"))?;
        let mirror = mirror_of(source, partition);
        let copies = to.log.get(&mirror).map_or(&[][..], Vec::as_slice);
        let is_offered = topic.is_local() && topic.replication == Replication::Offered;
        let expected = if is_offered { entries.as_slice() } else { &[] };
        let differs =
            (0..copies.len().max(expected.len())).find(|at| copies.get(*at) != expected.get(*at));
        if let Some(at) = differs {
            return Err(format!(
                "{mirror} at hub {hub} is no copy from entry {at} on: {:?}, not {:?}",
                copies.get(at).map(|entry| (entry.base, entry.dot)),
                expected.get(at).map(|entry| (entry.base, entry.dot)),
            ));
        }
    }
    // Nothing is in a mirror whose source has no such partition.
    let source_of = |partition: &TopicPartition| {
        from.log.keys().any(|known| kept_as(hub, source, known) == *partition)
    };
    let stray = to.log.keys().find(|partition| {
        let prefix = mirror_prefix(partition.topic.as_str());
        prefix.is_some_and(|(region, _)| region == source) && !source_of(partition)
    });
    ensure(stray.is_none(), || format!("{stray:?} at hub {hub} has no source"))
}

/// No topic of a hub came back to it, and in a full mesh none came by way of a third one.
fn nothing_returned(evidence: &Evidence, hub: usize) -> Result<(), String> {
    for topic in evidence.hubs[hub].topics.iter() {
        let comes_directly = topic.path.len() <= 1;
        let is_own = topic.origin.as_str() == REGIONS[hub];
        ensure(comes_directly && is_own == topic.is_local(), || {
            format!("{} came to hub {hub} by {:?}", topic.name, topic.path)
        })?;
    }
    let mut dots = BTreeSet::new();
    for (partition, entries) in &evidence.hubs[hub].log {
        for entry in entries {
            ensure(dots.insert(entry.dot), || {
                format!("the entry {} is twice at hub {hub}, again in {partition}", entry.dot)
            })?;
        }
    }
    Ok(())
}

fn difference(found: &[String], expected: &[String]) -> String {
    let at = (0..found.len().max(expected.len()))
        .find(|at| found.get(*at) != expected.get(*at))
        .unwrap_or_default();
    format!(
        "{} lines, expected {}; line {at} is {:?}, expected {:?}",
        found.len(),
        expected.len(),
        found.get(at),
        expected.get(at)
    )
}
