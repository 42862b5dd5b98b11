//! The agent's own HTTP interface, on a Unix socket of mode 0600.

use std::path::Path;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use headland_platform::socket::{SocketError, bind_private};
use headland_platform::task::{self, Task, Token};
use tokio::sync::{mpsc, oneshot};

use crate::metrics;
use crate::node::Status;

/// Asks the node what it says about itself.
pub(crate) type StatusQuery = oneshot::Sender<Status>;

#[derive(Clone)]
struct Shared {
    queries: mpsc::Sender<StatusQuery>,
}

/// Serves until the token is cancelled.
///
/// # Errors
/// [`SocketError`] when the socket cannot be made.
pub(crate) fn serve(
    socket: &Path,
    queries: mpsc::Sender<StatusQuery>,
    token: &Token,
) -> Result<Task<Option<()>>, SocketError> {
    let listener = bind_private(socket)?;
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/metrics", get(scrape))
        .with_state(Shared { queries });
    Ok(task::spawn("api", token, async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the HTTP interface stopped");
        }
    }))
}

async fn status(State(shared): State<Shared>) -> Response {
    match ask(&shared).await {
        Some(status) => Json(status).into_response(),
        None => stopping(),
    }
}

async fn scrape(State(shared): State<Shared>) -> Response {
    match ask(&shared).await {
        Some(status) => metrics::observe(&status).render().into_response(),
        None => stopping(),
    }
}

fn stopping() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping").into_response()
}

async fn ask(shared: &Shared) -> Option<Status> {
    let (answer, answered) = oneshot::channel();
    shared.queries.send(answer).await.ok()?;
    answered.await.ok()
}
