//! What has to hold.

use std::fmt;

use headland_event::{RegionId, TopicPartition, mirrored_name};
use region_hub::topics::{Topic, Topics};

use super::evidence::Evidence;
use super::topology::{Disks, REGIONS};

/// Every record is everywhere, once.
pub(super) mod counting;
/// Whatever lives of nodes ended, every record is everywhere.
mod lives;
/// Of two that write as one agent nothing is lost in silence.
mod copies;
/// Of a hub that was copied nothing is lost in silence.
pub(super) mod clones;
/// All hubs say the same.
mod agreement;
/// Derived records and alerts are written once.
mod derivation;
/// What hubs hold is what was written.
mod audit;
/// What cleaning leaves is what was written.
mod cleaning;
/// Windows over all regions have equal final results.
pub(super) mod finality;
/// Lateness is decided once, by promises that were made.
mod lateness;

/// Something that has to hold of every schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// Once everything is healed, all work gets done.
    Settles,
    /// Every input line is in the logs of every hub exactly once and in order, mirrors are exact
    /// copies of their source, and nothing returns to its origin.
    EveryRecordCountsOnce,
    /// All hubs have the same state and show the same tables, which are those of the definitions.
    SameState,
    /// Crashes neither double nor lose a derived record or an alert.
    DerivedOnce,
    /// One verdict per record, by a promise that was logged before it.
    LatenessOnce,
    /// No hub's audit finds that its log is not what was written.
    AuditAgrees,
    /// Windows over all regions are final once, with equal bytes at every hub.
    EqualFinals,
    /// What a hub acknowledged is durable there, whatever crashes.
    AcknowledgedSurvives,
    /// No hub acknowledges records of agents while another one goes on for its region.
    OneHolder,
    /// What cleaning leaves stands where it was written, and tables are what they were.
    CleaningKeeps,
    /// Groups go on exactly where they committed, by every name of a topic, and copies are found by
    /// what their regions are called.
    GroupsGoOn,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Settles => "settles",
            Self::EveryRecordCountsOnce => "every record counts once",
            Self::SameState => "same state",
            Self::DerivedOnce => "derived once",
            Self::LatenessOnce => "lateness once",
            Self::AuditAgrees => "audit agrees",
            Self::EqualFinals => "equal finals",
            Self::AcknowledgedSurvives => "acknowledged survives",
            Self::OneHolder => "one holder",
            Self::CleaningKeeps => "cleaning keeps",
            Self::GroupsGoOn => "groups go on",
        })
    }
}

/// What does not hold; each check names the first thing it meets.
pub(super) fn judge(evidence: &Evidence) -> Vec<(Check, String)> {
    if evidence.hubs.len() < REGIONS.len() {
        return vec![(Check::Settles, "a hub is down at the end".to_owned())];
    }
    if let Some(cloned) = evidence.settings.cloned {
        let checks = [
            (Check::EveryRecordCountsOnce, clones::check(evidence, cloned)),
            (Check::CleaningKeeps, cleaning::check(evidence)),
        ];
        let failed = checks.into_iter().filter_map(|(check, found)| Some((check, found.err()?)));
        return failed.collect();
    }
    if evidence.settings.disks != Disks::Stay {
        let checks = [
            (Check::EveryRecordCountsOnce, lives::check(evidence)),
            (Check::SameState, agreement::check(evidence)),
            (Check::CleaningKeeps, cleaning::check(evidence)),
        ];
        let failed = checks.into_iter().filter_map(|(check, found)| Some((check, found.err()?)));
        return failed.collect();
    }
    if let Some((agent, how)) = evidence.settings.copied {
        let checks = [
            (Check::EveryRecordCountsOnce, copies::check(evidence, agent, how)),
            (Check::SameState, agreement::check(evidence)),
            (Check::CleaningKeeps, cleaning::check(evidence)),
        ];
        let failed = checks.into_iter().filter_map(|(check, found)| Some((check, found.err()?)));
        return failed.collect();
    }
    let checks = [
        (Check::EveryRecordCountsOnce, counting::check(evidence)),
        (Check::SameState, agreement::check(evidence)),
        (Check::DerivedOnce, derivation::check(evidence)),
        (Check::LatenessOnce, lateness::check(evidence)),
        (Check::AuditAgrees, audit::check(evidence)),
        (Check::CleaningKeeps, cleaning::check(evidence)),
        (Check::EqualFinals, finality::check(evidence)),
    ];
    let failed = checks.into_iter().filter_map(|(check, found)| Some((check, found.err()?)));
    failed.collect()
}

/// The partition that mirrors one of another region's, in a hub's log: hubs call it otherwise that
/// called the region otherwise when they took it up.
pub(super) fn mirror_at(
    topics: &Topics,
    source: usize,
    partition: &TopicPartition,
) -> Option<TopicPartition> {
    let mut copies = topics.iter().filter(|topic| is_copy_of(topic, REGIONS[source]));
    let copy = copies.find(|topic| topic.origin_name == partition.topic)?;
    Some(TopicPartition::new(copy.name.clone(), partition.partition))
}

/// Whether a topic is a copy that came from a region itself.
pub(super) fn is_copy_of(topic: &Topic, region: &str) -> bool {
    let is_of_region = topic.origin.as_str() == region && !topic.is_apart();
    is_of_region && !topic.is_local() && topic.path.len() == 1
}

/// The partition that mirrors one of another region's, by what checks call it.
pub(super) fn mirror_of(source: usize, partition: &TopicPartition) -> TopicPartition {
    let region = RegionId::new(REGIONS[source]).unwrap();
    let topic = mirrored_name(&region, &partition.topic).unwrap();
    TopicPartition::new(topic, partition.partition)
}

/// The partition in which a hub keeps what a region calls by this name.
fn kept_as(hub: usize, source: usize, partition: &TopicPartition) -> TopicPartition {
    if hub == source { partition.clone() } else { mirror_of(source, partition) }
}

/// Says what differs, unless nothing does.
pub(super) fn ensure(holds: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(text()) }
}
