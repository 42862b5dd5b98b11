//! Which regions take part.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::posted::Posted;
use super::{Failure, Shared, WAIT_LIMIT, ask};
use crate::members::{RegionRequest, RegionsView};
use crate::node::RegionError;

/// How often it is looked whether a change holds while nothing becomes durable.
const READ_EVERY: Duration = Duration::from_millis(50);

/// Every life of every region's hub, as far as this hub has read.
pub(super) async fn list(State(shared): State<Shared>) -> Result<Json<RegionsView>, Failure> {
    ask(&shared, |node, _| node.regions()).await.map(Json)
}

/// Changes a region's part; it is answered with who takes part once the change is durable.
pub(super) async fn change(
    State(shared): State<Shared>,
    Posted(request): Posted<RegionRequest>,
) -> Result<Json<RegionsView>, Failure> {
    let end = ask(&shared, move |node, now| node.on_region(now, &request)).await?;
    let end = end.map_err(|error| {
        let code = match error {
            RegionError::NoLife { .. } => StatusCode::NOT_FOUND,
            RegionError::NotConfigured
            | RegionError::NotHere { .. }
            | RegionError::GoesOn { .. }
            | RegionError::SeveralLives { .. }
            | RegionError::OwnRegion { .. }
            | RegionError::LifeEnded { .. } => StatusCode::CONFLICT,
            RegionError::Batch(_) => StatusCode::BAD_REQUEST,
            RegionError::Full => StatusCode::SERVICE_UNAVAILABLE,
        };
        Failure(code, error.to_string())
    })?;
    let mut commits = shared.commits.clone();
    // What is durable is read by and by: until it is, the list is the one from before.
    let read = async {
        loop {
            commits.mark_unchanged();
            if let Some(view) = ask(&shared, move |node, _| node.regions_from(end)).await? {
                return Ok(Json(view));
            }
            drop(tokio::time::timeout(READ_EVERY, commits.changed()).await);
        }
    };
    tokio::time::timeout(WAIT_LIMIT, read).await.unwrap_or_else(|_| {
        let text = "the change does not hold yet; look at GET /v1/regions".to_owned();
        Err(Failure(StatusCode::GATEWAY_TIMEOUT, text))
    })
}
