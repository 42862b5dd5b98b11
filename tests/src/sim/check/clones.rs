//! Of a hub that goes on from a copy of its data directory nothing is lost in silence.

use region_hub::topics::Replication;

use super::{agreement, counting, ensure, lives, mirror_of};
use crate::sim::evidence::{Evidence, records_of};
use crate::sim::topology::{CopyOf, REGIONS, region_of};

/// What has nothing to do with the copied hub is whole. All hubs end the same and have every
/// record, and if the copy could not be told from the original a hub may say instead that a log
/// went back, or is not what was written.
pub(super) fn check(evidence: &Evidence, (cloned, how): (usize, CopyOf)) -> Result<(), String> {
    others(evidence, cloned)?;
    if how == CopyOf::Image && is_named(evidence) {
        return Ok(());
    }
    let all = lives::check(evidence).and_then(|()| agreement::check(evidence));
    all.map_err(|what| format!("a hub was copied ({how:?}), and {what}"))
}

/// What agents of other regions wrote is at the hubs of those, and their logs are copied exactly.
fn others(evidence: &Evidence, cloned: usize) -> Result<(), String> {
    let hubs = || (0..REGIONS.len()).filter(|hub| *hub != cloned);
    for agent in 0..evidence.settings.homes.agents() {
        if region_of(agent) != cloned {
            hubs().try_for_each(|hub| counting::lines_of(evidence, agent, hub))?;
        }
    }
    for source in hubs() {
        let mut targets = hubs().filter(|hub| *hub != source);
        targets.try_for_each(|hub| copied(evidence, source, hub))?;
    }
    Ok(())
}

/// What was born at a hub is at another one as it was written, beside what is handed on.
fn copied(evidence: &Evidence, source: usize, hub: usize) -> Result<(), String> {
    let (from, to) = (&evidence.hubs[source], &evidence.hubs[hub]);
    let born = from.log.iter().filter(|(partition, _)| {
        let topic = from.topics.get(&partition.topic);
        topic.is_some_and(|of| of.is_local() && of.replication == Replication::Offered)
    });
    for (partition, entries) in born {
        let mirror = mirror_of(source, partition);
        let copy = to.log.get(&mirror).map_or(&[][..], Vec::as_slice);
        ensure(copy == entries.as_slice(), || format!("{mirror} at hub {hub} is no copy"))?;
    }
    Ok(())
}

/// Whether a hub has an alert that a log went back, or is not what was written.
pub(in crate::sim) fn is_named(evidence: &Evidence) -> bool {
    let logs = evidence.hubs.iter().flat_map(|hub| &hub.log);
    let alerts = logs.filter(|(at, _)| counting::topic_of(at) == "alerts");
    alerts.flat_map(|(_, entries)| records_of(entries)).any(|record| {
        let alert: serde_json::Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
        alert["rule"] == "log_went_back" || alert["rule"] == "audit"
    })
}
