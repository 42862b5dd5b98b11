//! Metrics of an agent, from what it says of itself.

use headland_platform::telemetry::Metrics;

use crate::node::{RuleStatus, ScrubView, Status};

/// What the agent says about itself.
pub(crate) fn observe(status: &Status) -> Metrics {
    let mut metrics = Metrics::new();
    let help = "1 while the hub is connected";
    metrics.set("headland_agent_connected", help, &[], status.connected.into());
    observe_outbox(&mut metrics, status);
    let help = "Dead letters written since the start";
    metrics.set_total("headland_agent_dead_letters", help, &[], status.dead_letters);
    let help = "Records since the start with an event time too far ahead of the agent's clock";
    metrics.set_total("headland_agent_future_records", help, &[], status.future_records);
    let help = "Damaged places of the log met by the last start and since; the rest is served";
    metrics.set("headland_log_damaged_commits", help, &[], whole(status.damaged_commits));
    for (topic, records) in &status.lost_records {
        let labels = [("topic", topic.as_str())];
        let help = "Records that damage took from the log, met since the start";
        metrics.set("headland_log_lost_records", help, &labels, whole(*records));
    }
    observe_scrub(&mut metrics, &status.scrub);
    observe_rules(&mut metrics, &status.rules);
    metrics
}

/// What waits for a hub, what is kept for one, and what nobody has.
fn observe_outbox(metrics: &mut Metrics, status: &Status) {
    let help = "Records in the outbox that the hub has not acknowledged";
    let records = whole(status.unacknowledged_records);
    metrics.set("headland_agent_unacknowledged_records", help, &[], records);
    let help = "Bytes in the outbox that the hub has not acknowledged";
    let bytes = whole(status.unacknowledged_bytes);
    metrics.set("headland_agent_unacknowledged_bytes", help, &[], bytes);
    let help = "Records sent that the hub has not acknowledged";
    let in_flight = whole(status.in_flight_records);
    metrics.set("headland_agent_in_flight_records", help, &[], in_flight);
    let help = "Bytes that the hub has acknowledged, kept to refill it";
    metrics.set("headland_agent_kept_bytes", help, &[], whole(status.kept_bytes));
    let shed = [("time", status.shed_by_age_records), ("bytes", status.shed_by_bytes_records)];
    for (policy, records) in shed {
        let labels = [("policy", policy)];
        let help =
            "Records shed since the start that no hub has, by what the outbox had too much of";
        metrics.set_total("headland_agent_shed_records", help, &labels, records);
    }
}

/// How the log is read through for damage.
fn observe_scrub(metrics: &mut Metrics, scrub: &ScrubView) {
    let help = "Bytes of the log that were read again for damage, since the start";
    metrics.set_total("headland_scrub_bytes", help, &[], scrub.read_bytes);
    let help = "Damaged places that were met by that, since the start";
    metrics.set_total("headland_scrub_damaged_places", help, &[], scrub.damaged);
    let help = "Parts of the log that the disk did not give back, since the start";
    metrics.set_total("headland_scrub_failed_reads", help, &[], scrub.failed);
    if let Some(at) = scrub.last_pass {
        let help = "When all of the log was read again the last time, milliseconds since 1970";
        metrics.set("headland_scrub_last_pass_milliseconds", help, &[], at.millis());
    }
}

/// What rules make of rows, and what they keep.
fn observe_rules(metrics: &mut Metrics, rules: &[RuleStatus]) {
    for RuleStatus { name, rows, limited, results, keys, state_bytes } in rules {
        for (outcome, rows) in rows {
            let help = "Rows that a rule has seen, by what became of them";
            let labels = [("rule", name.as_str()), ("outcome", outcome)];
            metrics.set_total("headland_rule_rows", help, &labels, *rows);
        }
        let rule = [("rule", name.as_str())];
        let help = "Rows that a rule had no room for, since the start";
        metrics.set_total("headland_rule_limited_rows", help, &rule, *limited);
        let help = "Results of a rule";
        metrics.set_total("headland_rule_results", help, &rule, *results);
        let help = "Keys that a rule keeps";
        metrics.set("headland_rule_keys", help, &rule, whole(*keys));
        let help = "Bytes of a rule's state, about";
        metrics.set("headland_rule_state_bytes", help, &rule, whole(*state_bytes));
    }
}

/// A count as a gauge holds it.
fn whole(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
