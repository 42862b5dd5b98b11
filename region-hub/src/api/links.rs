//! Links to other regions.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use headland_event::RegionId;

use super::asked::Named;
use super::posted::Posted;
use super::{Failure, Shared, ask, durable};
use crate::links::{LinkChange, LinkView};
use crate::node::LinkError;

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        let code = match &error {
            LinkError::NoLink { .. } => StatusCode::NOT_FOUND,
            LinkError::NoRate | LinkError::ControlLane => StatusCode::BAD_REQUEST,
        };
        Self(code, error.to_string())
    }
}

fn named(text: &str) -> Result<RegionId, Failure> {
    RegionId::new(text).map_err(|error| Failure(StatusCode::BAD_REQUEST, error.to_string()))
}

/// Every link.
pub(super) async fn list(State(shared): State<Shared>) -> Result<Json<Vec<LinkView>>, Failure> {
    ask(&shared, |node, now| node.links(now).collect()).await.map(Json)
}

/// One link, topic by topic.
pub(super) async fn show(
    State(shared): State<Shared>,
    Named(region): Named<String>,
) -> Result<Json<LinkView>, Failure> {
    let region = named(&region)?;
    Ok(Json(ask(&shared, move |node, now| node.link(now, &region)).await??))
}

/// Changes what is sent to a region; it is answered once the change holds over a restart.
pub(super) async fn change(
    State(shared): State<Shared>,
    Named(region): Named<String>,
    Posted(change): Posted<LinkChange>,
) -> Result<Json<LinkView>, Failure> {
    let region = named(&region)?;
    let of = region.clone();
    let ticket = ask(&shared, move |node, now| node.on_link_change(now, &of, &change)).await??;
    durable(&shared, ticket).await?;
    Ok(Json(ask(&shared, move |node, now| node.link(now, &region)).await??))
}
