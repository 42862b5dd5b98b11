//! The agent's own HTTP interface, on a Unix socket of mode 0600.

use std::path::Path;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use headland_platform::socket::{SocketError, bind_private};
use headland_platform::task::{self, Task, Token};
use headland_platform::telemetry::Metrics;
use tokio::sync::{mpsc, oneshot};

use crate::node::{RuleStatus, ScrubView, Status};

/// Asks the node what it says about itself.
pub(crate) type StatusQuery = oneshot::Sender<Status>;

#[derive(Clone)]
struct Shared {
    queries: mpsc::Sender<StatusQuery>,
    metrics: Metrics,
}

/// Serves until the token is cancelled.
///
/// # Errors
/// [`SocketError`] when the socket cannot be made.
pub(crate) fn serve(
    socket: &Path,
    queries: mpsc::Sender<StatusQuery>,
    metrics: Metrics,
    token: &Token,
) -> Result<Task<Option<()>>, SocketError> {
    let listener = bind_private(socket)?;
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/metrics", get(scrape))
        .with_state(Shared { queries, metrics });
    Ok(task::spawn("api", token, async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the HTTP interface stopped");
        }
    }))
}

async fn status(State(shared): State<Shared>) -> Response {
    match ask(&shared).await {
        Some(status) => Json(status).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping").into_response(),
    }
}

async fn scrape(State(shared): State<Shared>) -> Response {
    if let Some(status) = ask(&shared).await {
        let gauge = |name, help, value: u64| {
            shared.metrics.set(name, help, &[], i64::try_from(value).unwrap_or(i64::MAX));
        };
        gauge(
            "headland_agent_unacknowledged_records",
            "Records in the outbox that the hub has not acknowledged",
            status.unacknowledged_records,
        );
        gauge(
            "headland_agent_in_flight_records",
            "Records sent that the hub has not acknowledged",
            status.in_flight_records,
        );
        gauge(
            "headland_agent_unacknowledged_bytes",
            "Bytes in the outbox that the hub has not acknowledged",
            status.unacknowledged_bytes,
        );
        gauge(
            "headland_agent_kept_bytes",
            "Bytes that the hub has acknowledged, kept to refill it",
            status.kept_bytes,
        );
        for (policy, records) in
            [("time", status.shed_by_age_records), ("bytes", status.shed_by_bytes_records)]
        {
            shared.metrics.set(
                "headland_agent_shed_records",
                "Records shed since the start that no hub has, by what the outbox had too much of",
                &[("policy", policy)],
                i64::try_from(records).unwrap_or(i64::MAX),
            );
        }
        gauge(
            "headland_agent_dead_letters",
            "Dead letters written since the start",
            status.dead_letters,
        );
        gauge(
            "headland_agent_future_records",
            "Records since the start with an event time too far ahead of the agent's clock",
            status.future_records,
        );
        gauge(
            "headland_log_damaged_commits",
            "Damaged places of the log met by the last start and since; the rest is served",
            u64::try_from(status.damaged_commits).unwrap_or(u64::MAX),
        );
        observe_scrub(&shared.metrics, &status.scrub);
        for (topic, records) in &status.lost_records {
            shared.metrics.set(
                "headland_log_lost_records",
                "Records that damage took from the log, met since the start",
                &[("topic", topic.as_str())],
                i64::try_from(*records).unwrap_or(i64::MAX),
            );
        }
        gauge("headland_agent_connected", "1 while the hub is connected", status.connected.into());
        observe_rules(&shared.metrics, &status.rules);
    }
    shared.metrics.render().into_response()
}

/// How the log is read through for damage.
fn observe_scrub(metrics: &Metrics, scrub: &ScrubView) {
    let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let help = "Bytes of the log that were read again for damage, since the start";
    metrics.set("headland_scrub_bytes", help, &[], whole(scrub.read_bytes));
    let help = "Damaged places that were met by that, since the start";
    metrics.set("headland_scrub_damaged_places", help, &[], whole(scrub.damaged));
    let help = "Parts of the log that the disk did not give back, since the start";
    metrics.set("headland_scrub_failed_reads", help, &[], whole(scrub.failed));
    if let Some(at) = scrub.last_pass {
        let help = "When all of the log was read again the last time, milliseconds since 1970";
        metrics.set("headland_scrub_last_pass_milliseconds", help, &[], at.millis());
    }
}

/// What rules make of rows, and what they keep.
fn observe_rules(metrics: &Metrics, rules: &[RuleStatus]) {
    let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let length = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    for RuleStatus { name, rows, limited, results, keys, state_bytes } in rules {
        for (outcome, rows) in rows {
            let help = "Rows that a rule has seen, by what became of them";
            let labels = [("rule", name.as_str()), ("outcome", outcome)];
            metrics.set("headland_rule_rows", help, &labels, whole(*rows));
        }
        let rule = [("rule", name.as_str())];
        let help = "Rows that a rule had no room for, since the start";
        metrics.set("headland_rule_limited_rows", help, &rule, whole(*limited));
        let help = "Results of a rule";
        metrics.set("headland_rule_results", help, &rule, whole(*results));
        let help = "Keys that a rule keeps";
        metrics.set("headland_rule_keys", help, &rule, length(*keys));
        let help = "Bytes of a rule's state, about";
        metrics.set("headland_rule_state_bytes", help, &rule, length(*state_bytes));
    }
}

async fn ask(shared: &Shared) -> Option<Status> {
    let (answer, answered) = oneshot::channel();
    shared.queries.send(answer).await.ok()?;
    answered.await.ok()
}
