//! Results over the rows of all regions: final once, with equal bytes at every hub.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::{Record, TopicPartition};
use region_hub::global::{FINALITY_HEADER, REVISION_HEADER};

use super::ensure;
use crate::sim::evidence::{Evidence, Log, records_of, text};
use crate::sim::topology::{Homes, RESULTS_TOPICS};

/// Values by (rule, key, window).
type Values = BTreeMap<String, String>;

/// What a hub said of every window.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    finals: Values,
    /// What stands at the end of windows that have closed: final, or corrected since.
    closed: Values,
    /// Windows that were final and are provisional again: late rows of them may be missing there.
    doubted: BTreeSet<String>,
}

pub(super) fn check(evidence: &Evidence) -> Result<(), String> {
    let mut hubs = Vec::new();
    for (hub, left) in evidence.hubs.iter().enumerate() {
        hubs.push(said(&left.log).map_err(|error| format!("hub {hub}: {error}"))?);
    }
    let Some(first) = hubs.first() else { return Err("no hub is there".to_owned()) };
    for (hub, other) in hubs.iter().enumerate() {
        if evidence.settings.homes == Homes::All {
            // A window of rows that two hubs have is final at no hub that knows of it.
            let both = |of: &Values, other: &Values| -> Values {
                let of = of.iter().filter(|(key, _)| other.contains_key(*key));
                of.map(|(key, value)| (key.clone(), value.clone())).collect()
            };
            let (of, first) =
                (both(&other.finals, &first.finals), both(&first.finals, &other.finals));
            same(&of, &first).map_err(|at| format!("hub {hub}, final {at}"))?;
            continue;
        }
        same(&other.finals, &first.finals).map_err(|at| format!("hub {hub}, final {at}"))?;
        same(&other.closed, &first.closed).map_err(|at| format!("hub {hub}, at last {at}"))?;
        // Late rows are missing nowhere here.
        ensure(other.doubted.is_empty(), || format!("hub {hub}: {:?} open again", other.doubted))?;
    }
    Ok(())
}

/// How many windows are final at the first hub.
pub(in crate::sim) fn finals(evidence: &Evidence) -> usize {
    let said = evidence.hubs.first().and_then(|hub| said(&hub.log).ok());
    said.map_or(0, |said| said.finals.len())
}

/// What a hub said, whose revisions have no gap and whose final results come once.
fn said(log: &Log) -> Result<Said, String> {
    let (mut said, mut revisions) = (Said::default(), BTreeMap::<String, u32>::new());
    for (TopicPartition { topic, .. }, entries) in log {
        if !RESULTS_TOPICS.contains(&topic.as_str()) {
            continue;
        }
        for record in records_of(entries) {
            let key = text(record.key.as_ref());
            let revision = revisions.entry(key.clone()).or_default();
            *revision += 1;
            ensure(header(&record, REVISION_HEADER) == revision.to_string(), || {
                format!("{key} has revision {}, not {revision}", header(&record, REVISION_HEADER))
            })?;
            let (finality, value) = (header(&record, FINALITY_HEADER), text(record.value.as_ref()));
            if finality == "provisional" {
                if said.closed.contains_key(&key) {
                    said.doubted.insert(key);
                }
                continue;
            }
            ensure(!said.doubted.contains(&key), || format!("{key} is certain again"))?;
            if finality == "final" {
                let before = said.finals.insert(key.clone(), value.clone());
                ensure(before.is_none(), || format!("{key} is final twice"))?;
            }
            said.closed.insert(key, value);
        }
    }
    Ok(said)
}

fn header(record: &Record, name: &str) -> String {
    String::from_utf8_lossy(record.header(name).unwrap_or_default()).into_owned()
}

fn same(found: &Values, expected: &Values) -> Result<(), String> {
    let mut keys = found.keys().chain(expected.keys());
    match keys.find(|key| found.get(*key) != expected.get(*key)) {
        None => Ok(()),
        Some(key) => Err(format!("{key}: {:?}, not {:?}", found.get(key), expected.get(key))),
    }
}
