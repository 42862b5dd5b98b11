//! Metrics of a hub, taken from its node when they are asked for.

use std::time::Duration;

use headland_event::{Monotonic, Now};
use headland_platform::telemetry::{Histogram, Metrics};
use headland_replication::link::CopyCounts;
use headland_replication::{Condition, latency};

use crate::global::Rules;
use crate::node::{LeaseStatus, LinkState, Node, Status};

/// What the node says about itself.
pub(crate) fn observe(node: &Node, now: Now) -> Metrics {
    let mut metrics = Metrics::new();
    let status = node.status();
    observe_flow(&mut metrics, node, now);
    observe_links(&mut metrics, node, &status, now.monotonic);
    observe_copies(&mut metrics, node);
    if let Some(rules) = node.rules() {
        observe_rules(&mut metrics, rules);
    }
    for agent in &status.agents {
        let labels = [("agent", agent.name.as_str())];
        let help = "1 while an agent is connected";
        metrics.set("headland_agent_connected", help, &labels, agent.connected.into());
    }
    for (topic, watermark) in &status.watermarks {
        let labels = [("topic", topic.as_str())];
        let help = "Promised event time, milliseconds since 1970";
        metrics.set("headland_watermark_milliseconds", help, &labels, watermark.millis());
    }
    if let Some(lease) = &status.lease {
        observe_leases(&mut metrics, lease);
    }
    observe_acks(&mut metrics, node, now.monotonic);
    observe_audit(&mut metrics, node);
    observe_scrub(&mut metrics, node);
    observe_log(&mut metrics, node);
    metrics
}

/// Which links are up, and what each end is known to lack.
fn observe_links(metrics: &mut Metrics, node: &Node, status: &Status, now: Monotonic) {
    for link in &status.links {
        let peer = [("peer_region", link.region.as_str())];
        let is_up = i64::from(link.state == LinkState::Up);
        metrics.set("headland_link_up", "1 while the link to a region is up", &peer, is_up);
        metrics.set(
            "headland_link_lag_records",
            "Records here that the peer is not known to have",
            &peer,
            whole(link.lag_records),
        );
        metrics.set(
            "headland_link_behind_records",
            "Records at the peer that are not stored here",
            &peer,
            whole(link.behind_records),
        );
    }
    for (region, lag) in node.link_lags(now) {
        metrics.set(
            "headland_link_lag_seconds",
            "Seconds since all that a region was known to have was stored here, 0 while it is",
            &[("peer_region", region.as_str())],
            whole(lag.as_secs()),
        );
    }
}

/// What the log holds, what damage took from it, and what senders shed.
fn observe_log(metrics: &mut Metrics, node: &Node) {
    for (topic, records) in node.records() {
        let labels = [("topic", topic.as_str())];
        let help = "Durable records of a topic";
        metrics.set("headland_topic_records", help, &labels, whole(records));
    }
    let help = "Damaged places of the log met by the last start and since; the rest is served";
    let damaged = whole(node.missing().commits().len());
    metrics.set("headland_log_damaged_commits", help, &[], damaged);
    for (topic, records) in node.missing().records() {
        let labels = [("topic", topic.as_str())];
        let help =
            "Records that damage took from the log and nobody brought again, met since the start";
        metrics.set("headland_log_lost_records", help, &labels, whole(records));
    }
    for (topic, policy, records) in node.dropped() {
        let labels = [("topic", topic.as_str()), ("policy", policy.as_str())];
        let help =
            "Records since the start that senders had to shed, named in the topic in their place";
        metrics.set_total("headland_topic_dropped_records", help, &labels, records);
    }
}

/// How the log is read through for damage.
fn observe_scrub(metrics: &mut Metrics, node: &Node) {
    let scrub = node.scrub_status();
    let help = "Bytes of the log that were read again for damage, since the start";
    metrics.set_total("headland_scrub_bytes", help, &[], scrub.read.get());
    let help = "Damaged places that were met by that, since the start";
    metrics.set_total("headland_scrub_damaged_places", help, &[], scrub.damaged);
    let help = "Parts of the log that the disk did not give back, since the start";
    metrics.set_total("headland_scrub_failed_reads", help, &[], scrub.failed);
    if let Some(at) = scrub.last_pass {
        let help = "When all of the log was read again the last time, milliseconds since 1970";
        metrics.set("headland_scrub_last_pass_milliseconds", help, &[], at.millis());
    }
}

/// Whether the log holds what was written.
fn observe_audit(metrics: &mut Metrics, node: &Node) {
    let audit = node.audit_status();
    let help = "Statements of writers that the log agrees with, since the start";
    metrics.set_total("headland_audit_agreed_statements", help, &[], audit.agreed);
    let help = "Ranges in which the log does not hold what was written, since the start";
    metrics.set_total("headland_audit_faults", help, &[], audit.faults);
}

/// Whether this region is in use, where leases say so.
fn observe_leases(metrics: &mut Metrics, lease: &LeaseStatus) {
    let help = "1 while this region is in use as far as leases go, which it is without automatic";
    metrics.set("headland_lease_in_use", help, &[], lease.in_use.into());
    let help = "Other regions that are linked and vote with this one about who is in use";
    metrics.set("headland_lease_voters", help, &[], whole(lease.voters.len()));
    let help =
        "Regions that were left without an operator, as this hub has decided since its start";
    metrics.set_total("headland_lease_regions_left", help, &[], lease.left);
}

/// How topics do that wait for other regions.
fn observe_acks(metrics: &mut Metrics, node: &Node, now: Monotonic) {
    for ack in node.acks(now) {
        let topic = [("topic", ack.topic.as_str())];
        let help = "Regions that have to hold a record before it is acknowledged";
        metrics.set("headland_ack_regions", help, &topic, whole(ack.regions));
        let help = "Regions that are reached and offered the topic, this one among them";
        metrics.set("headland_ack_reached_regions", help, &topic, whole(ack.reached));
        let help = "Records here that fewer regions are known to hold";
        metrics.set("headland_ack_waiting_records", help, &topic, whole(ack.waiting_records));
        let help = "For how many milliseconds the oldest has waited that is not acknowledged";
        metrics.set("headland_ack_waiting_milliseconds", help, &topic, whole(ack.waiting_ms));
    }
}

/// What alerts that went in datagrams too did on each link.
fn observe_copies(metrics: &mut Metrics, node: &Node) {
    for (region, CopyCounts { sent, taken, passed }) in node.link_copies() {
        for (outcome, count) in [("sent", sent), ("taken", taken), ("passed", passed)] {
            let labels = [("peer_region", region.as_str()), ("outcome", outcome)];
            let help = "Datagrams with copies of alerts, and alerts taken of them or passed over";
            metrics.set_total("headland_link_copies", help, &labels, count);
        }
    }
}

/// What links lack and how they do, and how far consumer groups are behind.
fn observe_flow(metrics: &mut Metrics, node: &Node, now: Now) {
    for link in node.links(now) {
        let region = link.region.as_str();
        for condition in Condition::ALL {
            let name = condition.to_string();
            let labels = [("peer_region", region), ("condition", name.as_str())];
            let help = "1 for how the link to a region does";
            let holds = i64::from(condition == link.condition);
            metrics.set("headland_link_condition", help, &labels, holds);
        }
        for (lane, lacking) in &link.lanes {
            let labels = [("peer_region", region), ("lane", lane.as_str())];
            let help = "Records here that a region lacks";
            metrics.set("headland_link_outstanding_records", help, &labels, whole(lacking.records));
            let help = "Bytes of batches here that a region lacks";
            metrics.set("headland_link_outstanding_bytes", help, &labels, whole(lacking.bytes));
            let help = "Milliseconds of event time that a region lacks";
            let event_time = whole(lacking.event_time_ms);
            metrics.set("headland_link_event_time_milliseconds", help, &labels, event_time);
            let help = "For how many milliseconds the oldest record has waited that a region lacks";
            metrics.set("headland_link_age_milliseconds", help, &labels, whole(lacking.age_ms));
        }
    }
    for (region, lane, counted) in node.latencies() {
        let lane = lane.to_string();
        let labels = [("peer_region", region.as_str()), ("lane", lane.as_str())];
        let help =
            "Milliseconds from a record being durable here to a region's word that it is there";
        metrics.set_histogram(
            "headland_link_latency_milliseconds",
            help,
            &labels,
            histogram(counted),
        );
    }
    for group in node.groups() {
        let labels = [("group", group.group.as_str())];
        let help = "Records here that a consumer group has not read";
        metrics.set("headland_group_lag_records", help, &labels, whole(group.lag_records));
    }
    let help = "Committed offsets of other regions left out at a limit, since the start: here \
                their groups read again";
    metrics.set_total("headland_group_offsets_left_out", help, &[], node.group_offsets_left_out());
}

/// What rules over all regions make of rows, and what they keep.
fn observe_rules(metrics: &mut Metrics, rules: &Rules) {
    for (rule, counts, load) in rules.meters() {
        for (outcome, rows) in counts.outcomes() {
            let help = "Rows that a rule has seen, by what became of them";
            let labels = [("rule", rule), ("outcome", outcome)];
            metrics.set_total("headland_rule_rows", help, &labels, rows);
        }
        let rule = [("rule", rule)];
        let help = "Rows that a rule had no room for, since the start";
        metrics.set_total("headland_rule_limited_rows", help, &rule, load.limited);
        let help = "Results of a rule";
        metrics.set_total("headland_rule_results", help, &rule, counts.results);
        let help = "Keys that a rule keeps";
        metrics.set("headland_rule_keys", help, &rule, whole(load.keys));
        let help = "Bytes of a rule's state, about";
        metrics.set("headland_rule_state_bytes", help, &rule, whole(load.bytes));
    }
    for (what, count) in rules.counts().left() {
        let help = "What rules over all regions left out or say otherwise than other hubs";
        metrics.set_total("headland_rules_left", help, &[("what", what)], count);
    }
}

/// Times as milliseconds.
fn histogram(of: &latency::Histogram) -> Histogram {
    let latency::Histogram { buckets, records: _, sum } = of;
    let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
    let bounds = latency::BOUNDS.into_iter().map(millis).chain([f64::INFINITY]);
    Histogram { buckets: bounds.zip(buckets.iter().copied()).collect(), sum: millis(*sum) }
}

/// A count as a gauge holds it.
fn whole(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use headland_detection::Program;
    use headland_event::RegionId;

    use super::*;
    use crate::topics::Topics;

    #[test]
    fn each_rule_over_all_regions_has_its_rows_and_its_state_among_the_metrics() {
        let sql = "CREATE TABLE air (station STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
             WITH ('topic' = 'air@*');
             CREATE TABLE n (n BIGINT) WITH ('topic' = 'n');
             INSERT INTO n SELECT COUNT(*) FROM air GROUP BY TUMBLE(ts, INTERVAL '1' HOUR);";
        let own = RegionId::new("eu").unwrap();
        let program = Program::compile("rules.sql", sql).unwrap();
        let topics = Topics::new(&own, &[]).unwrap();
        let rules = Rules::new(program, &own, std::slice::from_ref(&own), &topics, 1).unwrap();
        let mut metrics = Metrics::new();

        observe_rules(&mut metrics, &rules);

        let text = metrics.render();
        for line in [
            "headland_rule_rows_total{rule=\"n\",outcome=\"late\"} 0",
            "headland_rule_limited_rows_total{rule=\"n\"} 0",
            "headland_rule_keys{rule=\"n\"} 0",
            "headland_rule_state_bytes{rule=\"n\"} 0",
            "headland_rules_left_total{what=\"gaps\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in {text}");
        }
    }
}
