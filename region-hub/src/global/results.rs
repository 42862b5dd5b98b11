//! Results as records: one per (rule, key, window), which a later one replaces.
//!
//! A record's key is the alert id of rule, key and window; its value is JSON of what the result
//! says, or nothing when it is taken back, so that whoever keeps the last record per key has the
//! results that stand. What may differ between hubs stands in headers: how often the result changed
//! there, or that this is forgotten. The value of a final result is the same at every hub.

use std::collections::BTreeMap;
use std::sync::Arc;

use headland_detection::{Change, Program, Rule, RuleResult};
use headland_event::{AlertId, Coverage, EventTime, Finality, Record, RegionId, TopicName};
use serde::Serialize;

use super::logs::Logs;
use super::ready::Urgency;
use super::said::{Revision, Said};
use super::written::{Mark, Written};

/// Header of a result: counts what was said of it at this hub, from 1.
pub const REVISION_HEADER: &str = "hl-revision";

/// Header of a result: `provisional`, `final` or `correction`.
pub const FINALITY_HEADER: &str = "hl-finality";

/// Header of a result that may have been said here before, which is forgotten: its revision begins
/// at 1 again.
pub const ANEW_HEADER: &str = "hl-revision-anew";

/// Results on their way into records.
#[derive(Debug)]
pub(super) struct Results {
    pub(super) said: Said,
    regions: Vec<RegionId>,
    /// The topics that each rule reads.
    topics: BTreeMap<String, Vec<TopicName>>,
    waiting: Vec<RuleResult>,
}

/// A result that is to be written.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) rule: Arc<str>,
    pub(super) topic: TopicName,
    pub(super) record: Record,
    pub(super) urgency: Urgency,
    /// How far its rule is with it.
    pub(super) mark: Mark,
}

/// What the value of a record says.
#[derive(Serialize)]
struct Value<'a> {
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
            let topics =
                rule.sources().iter().filter_map(|table| program.table(*table).topic().cloned());
            (rule.name().to_string(), topics.collect())
        });
        Self {
            said: Said::default(),
            regions: regions.to_vec(),
            topics: topics.collect(),
            waiting: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, result: RuleResult) {
        self.waiting.push(result);
    }

    /// The records of what was added and is not written, in order.
    pub(super) fn take(
        &mut self,
        program: &Program,
        logs: &Logs,
        written: &mut Written,
    ) -> Vec<Made> {
        let mut made = Vec::new();
        let mut results = std::mem::take(&mut self.waiting).into_iter().peekable();
        while let Some(result) = results.next() {
            let is_replaced = result.change == Change::UpdateBefore
                && results.peek().is_some_and(|next| replaces(next, &result));
            let mut rules = program.rules().iter();
            let rule = rules.find(|rule| *rule.name() == result.rule);
            if let (false, Some(rule)) = (is_replaced, rule)
                && !written.is_settled(&result.rule, result.event_time)
            {
                let before = written.said_before(&result.rule);
                let (record, urgency) = self.record((rule, before), &result, logs);
                // Counted also when it is left out: after a restart it may be another that is.
                let mark = written.count(&result.rule, result.finality, result.event_time);
                let (rule, topic) = (result.rule, result.topic);
                made.extend(mark.map(|mark| Made { rule, topic, record, urgency, mark }));
            }
        }
        made
    }

    /// Up to where all regions have promised what a rule reads.
    pub(super) fn least(&self, rule: &str, logs: &Logs) -> EventTime {
        let topics = self.topics.get(rule).map(Vec::as_slice).unwrap_or_default();
        let least = topics.iter().map(|topic| logs.least(topic)).min().flatten();
        least.unwrap_or(EventTime::MIN)
    }

    /// The record of a rule's result. When the rule began otherwise it may have said those of
    /// windows that end up to `before`.
    fn record(
        &mut self,
        (rule, before): (&Rule, EventTime),
        result: &RuleResult,
        logs: &Logs,
    ) -> (Record, Urgency) {
        let id = AlertId::derive(&result.rule, &result.key, &result.window);
        let time = result.event_time;
        let revision = if rule.results_may_change() {
            self.said.say(&result.rule, id, time, before)
        } else {
            debug_assert_eq!(result.change, Change::Insert, "a result that stands is only added");
            if time <= before { Revision::Anew } else { Revision::Known(1) }
        };
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
        let record = match revision {
            Revision::Known(count) => record.with_header(REVISION_HEADER, count.to_string()),
            Revision::Anew => {
                record.with_header(REVISION_HEADER, "1").with_header(ANEW_HEADER, "true")
            }
        };
        let record = record.with_header(FINALITY_HEADER, finality);
        // What is still open is said again; what takes back is not, and what closed is the last.
        let is_open = !coverage.missing.is_empty() && result.finality == Finality::Provisional;
        let urgency = match result.finality {
            _ if is_open && is_given => Urgency::Provisional,
            Finality::Final => Urgency::Final,
            Finality::Provisional | Finality::Correction => Urgency::Standing,
        };
        (record, urgency)
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
    let said = Value {
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
