//! Of two that write as one agent, on a data directory and its copy, nothing is lost in silence.

use headland_event::{Dot, Offset, Record};

use super::{counting, ensure};
use crate::sim::evidence::{Evidence, Log, records_of, text};
use crate::sim::machine::Told;
use crate::sim::topology::{CopyOf, REGIONS, agent_name, region_of};

/// What agents' two sources become.
const TOPICS: [&str; 2] = ["inventory.events", "air.readings"];

pub(super) fn check(evidence: &Evidence, copied: usize, how: CopyOf) -> Result<(), String> {
    for hub in 0..REGIONS.len() {
        let others = (0..evidence.settings.homes.agents()).filter(|agent| *agent != copied);
        others.into_iter().try_for_each(|agent| counting::lines_of(evidence, agent, hub))?;
    }
    for source in 0..REGIONS.len() {
        for hub in (0..REGIONS.len()).filter(|hub| *hub != source) {
            counting::mirrors(evidence, source, hub)?;
        }
    }
    match how {
        CopyOf::Files => nothing_is_passed_over(evidence, copied),
        CopyOf::Image => {
            let lost = lost(evidence, copied);
            ensure(lost.is_none() || is_named(evidence, copied), || {
                let who = format!("{lost:?} of agent {copied}");
                format!("{who} is not at its hub as it was written, and nobody says so")
            })
        }
    }
}

/// Each of the two is a life of its own: who runs at the end has brought all that it wrote, and who
/// does not, all up to somewhere.
fn nothing_is_passed_over(evidence: &Evidence, copied: usize) -> Result<(), String> {
    for topic in TOPICS {
        let held = counting::union_of(evidence, region_of(copied), topic);
        for (log, is_running) in [(&evidence.agents[copied], true), (&evidence.copy, false)] {
            let mut written = written(log, topic, None).into_iter();
            let missing = written.find(|(dot, record)| held.get(dot) != Some(record));
            let Some((missing, _)) = missing else { continue };
            let beyond = written.find(|(dot, _)| held.contains_key(dot));
            ensure(!is_running && beyond.is_none(), || {
                let dot = beyond.map(|(dot, _)| dot);
                format!("{missing:?} of agent {copied} is not at its hub, {dot:?} behind it is")
            })?;
        }
    }
    Ok(())
}

/// The first record that who runs wrote, or that the other one wrote and was told to be safe, and
/// its hub has not, or has other bytes of.
fn lost(evidence: &Evidence, copied: usize) -> Option<(String, Dot)> {
    TOPICS.into_iter().find_map(|topic| {
        let held = counting::union_of(evidence, region_of(copied), topic);
        let runs = written(&evidence.agents[copied], topic, None);
        // What no hub ever said to have is still on the disk of whoever wrote it.
        let rests = written(&evidence.copy, topic, Some(&evidence.copys_told));
        let lost =
            runs.into_iter().chain(rests).find(|(dot, record)| held.get(dot) != Some(record));
        lost.map(|(dot, _)| (topic.to_owned(), dot))
    })
}

/// Records of a topic in the order of a log, with their dots; only those that hubs said to have,
/// where it is given until where.
fn written(log: &Log, topic: &str, told: Option<&Told>) -> Vec<(Dot, Record)> {
    let of_topic = log.iter().filter(|(at, _)| at.topic.as_str() == topic);
    let entries = of_topic.flat_map(|(at, entries)| {
        let told =
            told.map_or(Offset::new(u64::MAX), |told| told.get(at).copied().unwrap_or_default());
        entries.iter().filter(move |entry| entry.end() <= told)
    });
    let dots = entries.flat_map(|entry| {
        let records = entry.batch.records().unwrap().into_iter();
        let sequences = (0..).map(|place| entry.dot.sequence.after(place));
        let dots = sequences.map(|sequence| Dot { sequence, ..entry.dot });
        dots.zip(records).collect::<Vec<_>>()
    });
    dots.collect()
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
