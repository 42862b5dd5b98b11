//! Reservations, and the rights they are made from.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use headland_event::Offset;
use headland_reconcile::Sku;
use headland_reconcile::escrow::Answer;
use headland_storage::LogReader;
use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::posted::Posted;
use super::{Failure, Shared, WAIT_LIMIT, ask, wait_for};
use crate::escrow::{
    CloseRequest, ReserveRequest, Reserved, RightsView, UnitsRequest, escrow_partition,
};
use crate::node::EscrowError;

/// What to do about something that is not known to be durable: its name makes it the same.
const ASK_AGAIN: &str = "it is not durable yet; ask again under the same name";

/// Which sku's rights are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RightsQuery {
    sku: String,
}

/// What was asked for is durable here.
#[derive(Serialize)]
pub(super) struct DurableJson {
    durable: bool,
}

/// Answers a reservation: granted, not here, unknown yet, promised elsewhere, closed. Granted is
/// durable.
pub(super) async fn reserve(
    State(shared): State<Shared>,
    Posted(asked): Posted<ReserveRequest>,
) -> Result<Json<Answer>, Failure> {
    let reserved = ask(&shared, move |node, now| node.on_reserve(now, &asked)).await?;
    match reserved.map_err(refused)? {
        Reserved::Answered(Answer::OtherUnits { promised }) => {
            let text = format!("the request has {promised} units already; use another name");
            Err(Failure(StatusCode::CONFLICT, text))
        }
        Reserved::Answered(Answer::Ending { outcome }) => {
            let text = format!("the request is being {outcome}; ask again later for a new one");
            Err(Failure(StatusCode::CONFLICT, text))
        }
        Reserved::Answered(answer) => Ok(Json(answer)),
        Reserved::UnderWay(at) => {
            durable(&shared, at).await?;
            Ok(Json(Answer::Granted))
        }
    }
}

/// Sells or releases what was reserved here.
pub(super) async fn close(
    State(shared): State<Shared>,
    Posted(asked): Posted<CloseRequest>,
) -> Result<Json<DurableJson>, Failure> {
    let end = ask(&shared, move |node, now| node.on_reservation_closed(now, &asked)).await?;
    written(&shared, end).await
}

/// Puts units up for sale.
pub(super) async fn offer(
    State(shared): State<Shared>,
    Posted(asked): Posted<UnitsRequest>,
) -> Result<Json<DurableJson>, Failure> {
    let end = ask(&shared, move |node, now| node.on_offered(now, &asked)).await?;
    written(&shared, end).await
}

/// Recalls rights because units are missing.
pub(super) async fn recall(
    State(shared): State<Shared>,
    Posted(asked): Posted<UnitsRequest>,
) -> Result<Json<DurableJson>, Failure> {
    let end = ask(&shared, move |node, now| node.on_missing(now, &asked)).await?;
    written(&shared, end).await
}

/// Rights of a sku, as far as they are known here.
pub(super) async fn show(
    State(shared): State<Shared>,
    Asked(RightsQuery { sku }): Asked<RightsQuery>,
) -> Result<Json<RightsView>, Failure> {
    let sku = Sku::new(&sku).map_err(|e| Failure(StatusCode::BAD_REQUEST, e.to_string()))?;
    let view = ask(&shared, move |node, _| node.rights_of(&sku)).await?;
    view.map(Json).map_err(refused)
}

async fn written(
    shared: &Shared,
    end: Result<Offset, EscrowError>,
) -> Result<Json<DurableJson>, Failure> {
    let end = end.map_err(refused)?;
    if let Some(last) = end.get().checked_sub(1) {
        durable(shared, Offset::new(last)).await?;
    }
    Ok(Json(DurableJson { durable: true }))
}

async fn durable(shared: &Shared, at: Offset) -> Result<(), Failure> {
    let partition = escrow_partition();
    wait_for(shared, &partition, at, WAIT_LIMIT).await;
    if shared.reader.end(&partition) > at {
        return Ok(());
    }
    Err(Failure(StatusCode::GATEWAY_TIMEOUT, ASK_AGAIN.to_owned()))
}

fn refused(error: EscrowError) -> Failure {
    let code = match error {
        EscrowError::NotConfigured
        | EscrowError::Ending { .. }
        | EscrowError::Closed { .. }
        | EscrowError::Order(_) => StatusCode::CONFLICT,
        EscrowError::NotOpen { .. } => StatusCode::NOT_FOUND,
        EscrowError::Frozen { .. } | EscrowError::Full => StatusCode::SERVICE_UNAVAILABLE,
    };
    Failure(code, error.to_string())
}
