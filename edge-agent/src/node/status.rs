//! What the agent says about itself.

use std::collections::BTreeMap;

use headland_event::{AgentName, EventTime, Offset, TopicName};
use headland_replication::Identity;
use serde::Serialize;

use super::Node;

/// A source of the agent.
#[derive(Debug, Clone, Serialize)]
pub struct SourceStatus {
    /// The table of the rules that it belongs to.
    pub table: String,
    /// Its file.
    pub path: String,
    /// Its topic.
    pub topic: TopicName,
    /// Bytes of the file that were read.
    pub position: u64,
    /// Lines of the file that were read.
    pub lines: u64,
}

/// A rule of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleStatus {
    /// Its name.
    pub name: String,
    /// Rows that it has seen, by what became of them.
    pub rows: BTreeMap<&'static str, u64>,
    /// Of those that were refused, rows that it had no room for, since the start.
    pub limited: u64,
    /// Results that it has given.
    pub results: u64,
    /// Keys that it keeps.
    pub keys: usize,
    /// Bytes of its state, about.
    pub state_bytes: usize,
}

/// An agent's own view of itself.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The agent's name.
    pub name: Option<AgentName>,
    /// The hub that is used, or being dialled: `region/<region>/hub/<name>`.
    pub hub: Option<String>,
    /// Whether the hub has said hello.
    pub connected: bool,
    /// Up to which of its records a topic is acknowledged, all of them by some hub.
    pub acknowledged: BTreeMap<TopicName, Offset>,
    /// Records in the outbox that the hub has not acknowledged.
    pub unacknowledged_records: u64,
    /// Of these, records that were sent.
    pub in_flight_records: u64,
    /// Bytes of these records.
    pub unacknowledged_bytes: u64,
    /// Bytes of records that the hub has acknowledged and that are kept to refill it.
    pub kept_bytes: u64,
    /// Records shed since the start because they were older than the outbox keeps, and nobody has.
    pub shed_by_age_records: u64,
    /// Records shed since the start because there were more than the outbox keeps.
    pub shed_by_bytes_records: u64,
    /// Dead letters written since the start.
    pub dead_letters: u64,
    /// Records since the start whose event time was too far ahead of the agent's clock.
    pub future_records: u64,
    /// What the agent reads.
    pub sources: Vec<SourceStatus>,
    /// What its rules do.
    pub rules: Vec<RuleStatus>,
    /// Event time by topic, milliseconds.
    pub watermarks: BTreeMap<TopicName, EventTime>,
    /// Damaged places of the log that the start met.
    pub damaged_commits: usize,
    /// Records that damage took from the log by topic, as far as that was met since the start.
    pub lost_records: BTreeMap<TopicName, u64>,
    /// How far the log is read through for more damage.
    pub scrub: ScrubView,
}

/// What a scrub of the log found.
#[derive(Debug, Clone, Serialize)]
pub struct ScrubView {
    /// Bytes of commits read since the start.
    pub read_bytes: u64,
    /// Damaged places met since the start, each as often as it was.
    pub damaged: u64,
    /// Reads that failed since the start.
    pub failed: u64,
    /// When all was read the last time, milliseconds since 1970; absent before the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_pass: Option<EventTime>,
}

impl Node {
    /// The agent's view of itself.
    #[must_use]
    pub fn status(&self) -> Status {
        let uplink = self.uplink.as_ref().filter(|uplink| uplink.is_ready());
        let name = match &self.identity {
            Identity::Agent { name, .. } => Some(name.clone()),
            Identity::Hub { .. } => None,
        };
        let sources = self.sources.iter().map(|source| SourceStatus {
            table: source.decoder.table_name().to_owned(),
            path: source.path.clone(),
            topic: source.decoder.topic().clone(),
            position: source.position.bytes,
            lines: source.position.lines,
        });
        let watermarks = self.sources.iter().filter_map(|source| {
            let watermark = self.detect.watermark(source.decoder.tables())?;
            Some((source.decoder.topic().clone(), watermark))
        });
        let rules = self.detect.meters().map(|(name, counts, load)| RuleStatus {
            name: name.to_owned(),
            rows: counts.outcomes().into(),
            limited: load.limited,
            results: counts.results,
            keys: load.keys,
            state_bytes: load.bytes,
        });
        let acknowledged = self.outbox.ledger().all_acked();
        Status {
            name,
            hub: self.hub_identities.get(self.hubs.current()).map(ToString::to_string),
            connected: uplink.is_some(),
            acknowledged: acknowledged.map(|(at, next)| (at.topic, next)).collect(),
            unacknowledged_records: self.outbox.unacked_records(),
            in_flight_records: uplink.map_or(0, crate::uplink::Uplink::in_flight_records),
            unacknowledged_bytes: self.outbox.ledger().unacked_bytes().get(),
            kept_bytes: self.outbox.ledger().kept_bytes().get(),
            shed_by_age_records: self.cleaning.shed_records.0,
            shed_by_bytes_records: self.cleaning.shed_records.1,
            dead_letters: self.outbox.dead_letters(),
            future_records: self.future_records,
            sources: sources.collect(),
            rules: rules.collect(),
            watermarks: watermarks.collect(),
            damaged_commits: self.missing.commits().len(),
            lost_records: self.missing.records(),
            scrub: self.scrub_view(),
        }
    }
}
