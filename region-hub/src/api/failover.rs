//! Leaving a region for this one, and returning to it.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use headland_event::Now;

use super::{Failure, Shared, ask, durable};
use crate::failover::{FailoverRequest, FailoverView};
use crate::node::{FailoverError, Node};

/// How long the other region may take to answer, while it is linked.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl From<FailoverError> for Failure {
    fn from(error: FailoverError) -> Self {
        let code = match &error {
            FailoverError::NoRegion { .. } => StatusCode::NOT_FOUND,
            FailoverError::OwnRegion { .. }
            | FailoverError::NotLeft { .. }
            | FailoverError::LeftFor { .. }
            | FailoverError::Left(_) => StatusCode::CONFLICT,
            FailoverError::Full => StatusCode::SERVICE_UNAVAILABLE,
            FailoverError::Batch(_) => StatusCode::BAD_REQUEST,
        };
        Self(code, error.to_string())
    }
}

/// Leaves a region or returns to it; it is answered once that is durable here, and where the region
/// is linked, there: then all that groups have committed there is here.
pub(super) async fn change(
    State(shared): State<Shared>,
    Json(request): Json<FailoverRequest>,
) -> Result<Json<FailoverView>, Failure> {
    let FailoverRequest { action, region } = request;
    let of = region.clone();
    let asked = ask(&shared, move |node, now| (node.on_failover(now, &of, action), now)).await?;
    let (ticket, began) = (asked.0?, asked.1.monotonic);
    if let Some(ticket) = ticket {
        durable(&shared, ticket).await?;
    }
    let answered = async {
        loop {
            let of = region.clone();
            if !ask(&shared, move |node, _| node.is_answer_due(&of)).await? {
                return Ok::<(), Failure>(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if let Ok(answered) = tokio::time::timeout(ANSWERED_WITHIN, answered).await {
        answered?;
    }
    let view =
        move |node: &mut Node, now: Now| node.failover(&region, action, now.monotonic.since(began));
    ask(&shared, view).await.map(Json)
}
