//! Leaving a region for this one, and returning to it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::posted::Posted;
use super::{Failure, Shared, ask, durable};
use crate::failover::{FailoverRequest, FailoverStep, FailoverView};
use crate::node::FailoverError;

impl From<FailoverError> for Failure {
    fn from(error: FailoverError) -> Self {
        let code = match &error {
            FailoverError::NoRegion { .. } => StatusCode::NOT_FOUND,
            FailoverError::OwnRegion { .. }
            | FailoverError::NotLeft { .. }
            | FailoverError::LeftFor { .. }
            | FailoverError::Begun { .. }
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
    Posted(request): Posted<FailoverRequest>,
) -> Result<Json<FailoverView>, Failure> {
    let FailoverRequest { action, region } = request;
    let of = region.clone();
    let asked = ask(&shared, move |node, now| (node.on_failover(now, &of, action), now)).await?;
    let (ticket, began) = (asked.0?, asked.1.monotonic);
    if let Some(ticket) = ticket {
        durable(&shared, ticket).await?;
    }
    loop {
        let of = region.clone();
        let step = ask(&shared, move |node, now| {
            node.poll_failover(&of, action, now.monotonic.since(began))
        });
        match step.await? {
            FailoverStep::LookAgain(after) => tokio::time::sleep(after).await,
            FailoverStep::Done(view) => return Ok(Json(view)),
        }
    }
}
