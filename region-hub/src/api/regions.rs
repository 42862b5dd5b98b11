//! Which regions take part.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use headland_event::Offset;
use headland_storage::LogReader;

use super::{Failure, Shared, WAIT_LIMIT, ask, wait_for};
use crate::members::{RegionRequest, RegionsView, members_partition};
use crate::node::RegionError;

/// Every life of every region's hub, as far as this hub has read.
pub(super) async fn list(State(shared): State<Shared>) -> Result<Json<RegionsView>, Failure> {
    ask(&shared, |node, _| node.regions()).await.map(Json)
}

/// Changes a region's part; it is answered with who takes part once the change is durable.
pub(super) async fn change(
    State(shared): State<Shared>,
    Json(request): Json<RegionRequest>,
) -> Result<Json<RegionsView>, Failure> {
    let end = ask(&shared, move |node, now| node.on_region(now, &request)).await?;
    let end = end.map_err(|error| {
        let code = match error {
            RegionError::NoLife { .. } => StatusCode::NOT_FOUND,
            RegionError::NotConfigured
            | RegionError::NotHere { .. }
            | RegionError::OwnRegion { .. }
            | RegionError::LifeEnded { .. } => StatusCode::CONFLICT,
            RegionError::Batch(_) => StatusCode::BAD_REQUEST,
            RegionError::Full => StatusCode::SERVICE_UNAVAILABLE,
        };
        Failure(code, error.to_string())
    })?;
    let (at, last) = (members_partition(), Offset::new(end.get().saturating_sub(1)));
    wait_for(&shared, &at, last, WAIT_LIMIT).await;
    if shared.reader.end(&at) <= last {
        let text = "the change is not durable yet; look at GET /v1/regions".to_owned();
        return Err(Failure(StatusCode::GATEWAY_TIMEOUT, text));
    }
    ask(&shared, |node, _| node.regions()).await.map(Json)
}
