//! Every record is everywhere, once.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::{Dot, Entry, Hole, Record, StreamId, TopicPartition, Verdict};
use headland_replication::Counted;
use region_hub::topics::Replication;

use super::{ensure, kept_as, mirror_of};
use crate::sim::evidence::{Evidence, HubEvidence, records_of, text};
use crate::sim::input::{Fate, InputFile, mirror_prefix};
use crate::sim::topology::{Homes, REGIONS, agents_of, region_of};

pub(super) fn check(evidence: &Evidence) -> Result<(), String> {
    for agent in 0..evidence.settings.homes.agents() {
        for hub in 0..REGIONS.len() {
            match evidence.settings.homes {
                Homes::Own => lines_of(evidence, agent, hub)?,
                Homes::All => lines_of_all(evidence, agent, hub)?,
            }
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

/// The topics that a file's lines end in, with those lines: records in their topic, others in the
/// dead one.
pub(super) fn expected_of(file: &InputFile) -> [(String, Vec<String>); 2] {
    let of = |fates: &[Fate]| -> Vec<String> {
        let lines = file.lines.iter().filter(|line| fates.contains(&line.fate));
        lines.map(|line| text(Some(&line.text))).collect()
    };
    let dead = format!("{}.dead", file.topic);
    [(file.topic.to_owned(), of(&[Fate::Record, Fate::Forbidden])), (dead, of(&[Fate::Dead]))]
}

/// An agent's lines are at a hub in order: records in their topic, others in the dead one.
pub(super) fn lines_of(evidence: &Evidence, agent: usize, hub: usize) -> Result<(), String> {
    for file in &evidence.inputs[agent] {
        for (topic, expected) in expected_of(file) {
            let topic = &*topic;
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

/// A reader of all regions' logs at a hub that counts each dot once, whichever copy comes first,
/// has an agent's lines in the order in which they were written.
fn lines_of_all(evidence: &Evidence, agent: usize, hub: usize) -> Result<(), String> {
    for file in &evidence.inputs[agent] {
        for (topic, expected) in expected_of(file) {
            let topic = &*topic;
            let streams = streams_of(evidence, agent, topic);
            let all = union_of(evidence, hub, topic).into_iter();
            let of_agent = all.filter(|(dot, _)| streams.contains(&dot.stream));
            let mut found: Vec<(Dot, Record)> = of_agent.collect();
            found.sort_by_key(|(dot, _)| (dot.incarnation, dot.sequence));
            let found: Vec<String> =
                found.iter().map(|(_, record)| text(record.value.as_ref())).collect();
            ensure(found == expected, || {
                format!("agent {agent}'s {topic} at hub {hub}: {}", difference(&found, &expected))
            })?;
        }
    }
    Ok(())
}

/// What a reader of a topic of all regions counts at a hub, by dot.
pub(super) fn union_of(evidence: &Evidence, hub: usize, topic: &str) -> BTreeMap<Dot, Record> {
    let (mut counted, mut records) = (Counted::default(), BTreeMap::new());
    for (partition, entries) in &evidence.hubs[hub].log {
        if topic_of(partition) != topic {
            continue;
        }
        for entry in entries.iter().filter(|entry| Hole::of(&entry.batch).is_none()) {
            let doubled = counted.count(entry.dot, entry.batch.span()).doubled;
            for (place, record) in (0..).zip(entry.batch.records().unwrap()) {
                if !doubled.has(place) {
                    let sequence = entry.dot.sequence.after(place);
                    let before = records.insert(Dot { sequence, ..entry.dot }, record);
                    assert!(before.is_none(), "a dot counts once");
                }
            }
        }
    }
    records
}

/// Copies of records of agents at the first hub beyond one for each.
pub(in crate::sim) fn doubled(evidence: &Evidence) -> usize {
    let topics = ["inventory.events", "air.readings"].into_iter();
    topics.map(|topic| copies(evidence, topic) - union_of(evidence, 0, topic).len()).sum()
}

fn copies(evidence: &Evidence, topic: &str) -> usize {
    let log = &evidence.hubs[0].log;
    let log = log.iter().filter(|(partition, _)| topic_of(partition) == topic);
    let entries = log.flat_map(|(_, entries)| entries);
    entries.filter(|entry| Hole::of(&entry.batch).is_none()).map(|entry| entry.batch.len()).sum()
}

/// What its region calls the topic of a partition.
pub(super) fn topic_of(partition: &TopicPartition) -> &str {
    let name = partition.topic.as_str();
    let name = name.strip_prefix("handed-on.").unwrap_or(name);
    mirror_prefix(name).map_or(name, |(_, rest)| rest)
}

/// Records of agents in the logs of hubs that are not of their regions.
pub(in crate::sim) fn roamed(evidence: &Evidence) -> usize {
    let of_hub = |(hub, of): (usize, &HubEvidence)| -> usize {
        let own: BTreeSet<StreamId> = agents_of(hub, evidence.settings.homes)
            .flat_map(|agent| streams_of(evidence, agent, "inventory.events"))
            .collect();
        let log = of.log.iter().filter(|(at, _)| at.topic.as_str() == "inventory.events");
        let entries = log.flat_map(|(_, entries)| entries);
        let entries = entries.filter(|entry| Hole::of(&entry.batch).is_none());
        entries.filter(|entry| !own.contains(&entry.dot.stream)).map(|of| of.batch.len()).sum()
    };
    evidence.hubs.iter().enumerate().map(of_hub).sum()
}

/// Streams that an agent wrote to a topic.
fn streams_of(evidence: &Evidence, agent: usize, topic: &str) -> BTreeSet<StreamId> {
    let log = evidence.agents[agent].iter();
    let log = log.filter(|(partition, _)| partition.topic.as_str() == topic);
    log.flat_map(|(_, entries)| entries).map(|entry| entry.dot.stream).collect()
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
    let (source, homes) = (region_of(agent), evidence.settings.homes);
    let streams = streams_of(evidence, agent, topic);
    let log = evidence.hubs[hub].log.iter();
    log.filter(move |(partition, _)| {
        let name = partition.topic.as_str();
        match mirror_prefix(name) {
            Some((_, rest)) if homes == Homes::All => rest == topic,
            None if homes == Homes::All => name == topic,
            Some((region, rest)) => hub != source && region == source && rest == topic,
            None => hub == source && name == topic,
        }
    })
    .flat_map(|(_, entries)| entries)
    .filter(|entry| Hole::of(&entry.batch).is_none())
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
pub(super) fn mirrors(evidence: &Evidence, source: usize, hub: usize) -> Result<(), String> {
    let from = &evidence.hubs[source];
    let to = &evidence.hubs[hub];
    for (partition, entries) in &from.log {
        // A copy need not have the name here that checks call it by.
        let topic = from.topics.get(&partition.topic).filter(|topic| topic.is_local());
        let mirror = mirror_of(source, partition);
        let copies = to.log.get(&mirror).map_or(&[][..], Vec::as_slice);
        let is_offered = topic.is_some_and(|topic| topic.replication == Replication::Offered);
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

/// No topic of a hub came back to it, in a full mesh none came by way of a third one, and none is
/// there again by another name.
fn nothing_returned(evidence: &Evidence, hub: usize) -> Result<(), String> {
    let mut known = BTreeSet::new();
    for topic in evidence.hubs[hub].topics.iter() {
        let is_first = known.insert((&topic.origin, &topic.origin_name));
        ensure(is_first, || format!("{} is a second copy at hub {hub}", topic.name))?;
        let comes_directly = topic.path.len() <= 1;
        let is_own = topic.origin.as_str() == REGIONS[hub];
        ensure(comes_directly && is_own == topic.is_local(), || {
            format!("{} came to hub {hub} by {:?}", topic.name, topic.path)
        })?;
    }
    let mut dots = BTreeSet::new();
    for (partition, entries) in &evidence.hubs[hub].log {
        // In the logs of two regions may be what an agent brought to both of their hubs.
        let log = mirror_prefix(partition.topic.as_str()).map_or(hub, |(region, _)| region);
        let log = if evidence.settings.homes == Homes::All { log } else { hub };
        for entry in entries.iter().filter(|entry| entry.dot.sequence.get() > 0) {
            ensure(dots.insert((log, entry.dot)), || {
                format!("the entry {} is twice at hub {hub}, again in {partition}", entry.dot)
            })?;
        }
    }
    Ok(())
}

pub(super) fn difference(found: &[String], expected: &[String]) -> String {
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
