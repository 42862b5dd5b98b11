//! Results as records: one per (rule, key, window), which a later one replaces.
//!
//! A record's key is the alert id of rule, key and window; its value is JSON of what the result
//! says, or nothing when it is taken back, so that whoever keeps the last record per key has the
//! results that stand. What may differ between hubs stands in headers: how often the result changed
//! there. The value of a final result is the same at every hub.

use std::collections::BTreeMap;

use headland_detection::{Change, Program, Revisions, Rule, RuleResult};
use headland_event::{AlertId, Coverage, Finality, Record, RegionId, TopicName};
use serde::Serialize;

use super::logs::Logs;
use super::ready::Urgency;

/// Header of a result: counts what was said of it at this hub, from 1.
pub const REVISION_HEADER: &str = "hl-revision";

/// Header of a result: `provisional`, `final` or `correction`.
pub const FINALITY_HEADER: &str = "hl-finality";

/// Results on their way into records.
#[derive(Debug)]
pub(super) struct Results {
    pub(super) revisions: Revisions,
    regions: Vec<RegionId>,
    /// The topics that each rule reads.
    topics: BTreeMap<String, Vec<TopicName>>,
    waiting: Vec<RuleResult>,
}

/// What the value of a record says.
#[derive(Serialize)]
struct Said<'a> {
    rule: &'a str,
    key: &'a str,
    window: &'a str,
    finality: Finality,
    coverage: &'a Coverage,
    values: BTreeMap<&'a str, String>,
}

impl Results {
    pub(super) fn new(program: &Program, regions: &[RegionId]) -> Self {
        let topics = program.rules().iter().map(|rule| {
            let topics = rule.sources().iter().map(|table| program.table(*table).topic().clone());
            (rule.name().to_string(), topics.collect())
        });
        Self {
            revisions: Revisions::default(),
            regions: regions.to_vec(),
            topics: topics.collect(),
            waiting: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, result: RuleResult) {
        self.waiting.push(result);
    }

    /// The records of what was added, in order.
    pub(super) fn take(
        &mut self,
        program: &Program,
        logs: &Logs,
    ) -> Vec<(TopicName, Record, Urgency)> {
        let mut records = Vec::new();
        let mut results = std::mem::take(&mut self.waiting).into_iter().peekable();
        while let Some(result) = results.next() {
            let is_replaced = result.change == Change::UpdateBefore
                && results.peek().is_some_and(|next| replaces(next, &result));
            let mut rules = program.rules().iter();
            let rule = rules.find(|rule| *rule.name() == result.rule);
            if let (false, Some(rule)) = (is_replaced, rule) {
                records.extend(self.record(rule, &result, logs));
            }
        }
        records
    }

    fn record(
        &mut self,
        rule: &Rule,
        result: &RuleResult,
        logs: &Logs,
    ) -> Option<(TopicName, Record, Urgency)> {
        let id = AlertId::derive(&result.rule, &result.key, &result.window);
        let (_, revision) = self.revisions.on_result(id, rule, result)?;
        let is_given = match result.change {
            Change::Insert | Change::UpdateAfter => true,
            Change::UpdateBefore | Change::Delete => false,
        };
        let coverage = self.coverage(result, logs);
        let value = is_given.then(|| value(result, &coverage).into());
        let key = Some(id.to_string().into());
        let record = Record { time: result.event_time, key, value, headers: Vec::new() };
        let finality = match result.finality {
            Finality::Provisional => "provisional",
            Finality::Final => "final",
            Finality::Correction => "correction",
        };
        let record = record
            .with_header(REVISION_HEADER, revision.to_string())
            .with_header(FINALITY_HEADER, finality);
        // What is still open is said again; what takes back is not, and what closed is the last.
        let is_open = !coverage.missing.is_empty() && result.finality == Finality::Provisional;
        let urgency = if is_open && is_given { Urgency::Provisional } else { Urgency::Standing };
        Some((result.topic.clone(), record, urgency))
    }

    /// Whose rows a result is made of.
    fn coverage(&self, result: &RuleResult, logs: &Logs) -> Coverage {
        let topics = self.topics.get(&*result.rule).map(Vec::as_slice).unwrap_or_default();
        let mut coverage = Coverage::default();
        for (index, region) in self.regions.iter().enumerate() {
            let is_complete = logs.has_promised(index, topics.iter(), result.event_time);
            let names = if is_complete { &mut coverage.complete } else { &mut coverage.missing };
            names.push(region.to_string());
        }
        let is_whole = result.finality == Finality::Provisional || coverage.missing.is_empty();
        debug_assert!(is_whole, "what is final or corrected covers every region");
        coverage
    }
}

fn value(result: &RuleResult, coverage: &Coverage) -> Vec<u8> {
    let values = result.columns.iter().map(|(name, value)| (&**name, value.to_string()));
    let said = Said {
        rule: &result.rule,
        key: &result.key,
        window: &result.window,
        finality: result.finality,
        coverage,
        values: values.collect(),
    };
    #[expect(clippy::expect_used, reason = "texts and numbers always have a JSON")]
    serde_json::to_vec(&said).expect("a result has a JSON")
}

/// Whether a result is the new row of the update that an old one belongs to.
fn replaces(new: &RuleResult, old: &RuleResult) -> bool {
    let is_same = (&new.rule, &new.key, &new.window) == (&old.rule, &old.key, &old.window);
    new.change == Change::UpdateAfter && is_same
}
