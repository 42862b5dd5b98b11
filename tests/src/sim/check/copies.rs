//! Of two that write as one agent, on a data directory and its copy, nothing is lost in silence.

use headland_event::Dot;

use super::{counting, ensure};
use crate::sim::evidence::{Evidence, Log, records_of, text};
use crate::sim::topology::{REGIONS, agent_name, region_of};

pub(super) fn check(evidence: &Evidence, copied: usize) -> Result<(), String> {
    for hub in 0..REGIONS.len() {
        let others = (0..evidence.settings.homes.agents()).filter(|agent| *agent != copied);
        others.into_iter().try_for_each(|agent| counting::lines_of(evidence, agent, hub))?;
    }
    for source in 0..REGIONS.len() {
        for hub in (0..REGIONS.len()).filter(|hub| *hub != source) {
            counting::mirrors(evidence, source, hub)?;
        }
    }
    let lost = lost(evidence, copied);
    ensure(lost.is_none() || is_named(evidence, copied), || {
        format!(
            "{lost:?} of agent {copied} is not at its hub as it was written, and nobody says so"
        )
    })
}

/// The first record that one of the two wrote and its hub has not, or has other bytes of.
fn lost(evidence: &Evidence, copied: usize) -> Option<(String, Dot)> {
    let topics = ["inventory.events", "air.readings"].into_iter();
    topics.into_iter().find_map(|topic| {
        let held = counting::union_of(evidence, region_of(copied), topic);
        let written = |log: &Log| {
            let of_topic = log.iter().filter(|(at, _)| at.topic.as_str() == topic);
            let entries = of_topic.flat_map(|(_, entries)| entries.clone());
            let dots = entries.flat_map(|entry| {
                let records = entry.batch.records().unwrap().into_iter();
                let sequences = (0..).map(move |place| entry.dot.sequence.after(place));
                sequences
                    .zip(records)
                    .map(move |(sequence, record)| (Dot { sequence, ..entry.dot }, record))
            });
            dots.collect::<Vec<_>>()
        };
        let mut both = written(&evidence.agents[copied]).into_iter().chain(written(&evidence.copy));
        let lost = both.find(|(dot, record)| held.get(dot) != Some(record));
        lost.map(|(dot, _)| (topic.to_owned(), dot))
    })
}

/// Whether an alert of the agent's hub is about the agent or what it writes.
fn is_named(evidence: &Evidence, copied: usize) -> bool {
    let log = &evidence.hubs[region_of(copied)].log;
    let alerts = log.iter().filter(|(at, _)| at.topic.as_str() == "alerts");
    let (name, streams) = (agent_name(copied), evidence.agents[copied].values());
    let streams: Vec<String> =
        streams.flatten().map(|entry| entry.dot.stream.to_string()).collect();
    alerts.flat_map(|(_, entries)| records_of(entries)).any(|record| {
        let alert: serde_json::Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
        let key = text(record.key.as_ref());
        match alert["rule"].as_str() {
            Some("log_went_back") => key.contains(&name),
            Some("audit") => streams.iter().any(|stream| key.contains(stream)),
            _ => false,
        }
    })
}
