//! What is under review, and decisions about it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use headland_reconcile::ReviewEntry;
use headland_storage::LogReader;
use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::posted::Posted;
use super::{Failure, RECORDS_LIMIT, Shared, WAIT_LIMIT, ask, wait_for};
use crate::node::{ReviewError, ReviewRequest};

/// Which late events are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only what decisions call so.
    #[serde(default)]
    late: Option<String>,
    /// Only those that nobody has decided, or that reviewers disagree on.
    #[serde(default)]
    pending: Option<bool>,
}

/// A decision that is durable.
#[derive(Serialize)]
pub(super) struct DecidedJson {
    /// Its own delivery id.
    id: String,
}

/// Late events and then overlaps, each in order of arrival, at most 10,000.
pub(super) async fn list(
    State(shared): State<Shared>,
    Asked(ListQuery { late, pending }): Asked<ListQuery>,
) -> Result<Json<Vec<ReviewEntry>>, Failure> {
    let asked = late.clone();
    let records: Vec<ReviewEntry> = ask(&shared, move |node, _| {
        let records = node.inventory().under_review();
        let is_wanted = |record: &ReviewEntry| {
            asked.as_ref().is_none_or(|asked| record.id() == asked)
                && pending.is_none_or(|pending| pending == record.is_pending())
        };
        late_first(records.filter(is_wanted), RECORDS_LIMIT)
    })
    .await?;
    match late {
        Some(late) if records.is_empty() => {
            let text = ReviewError::NotLate { late }.to_string();
            Err(Failure(StatusCode::NOT_FOUND, text))
        }
        Some(_) | None => Ok(Json(records)),
    }
}

/// As many as fit, late events before overlaps: one stocktake of a busy shelf brings many of these.
fn late_first(records: impl Iterator<Item = ReviewEntry>, limit: usize) -> Vec<ReviewEntry> {
    let (mut late, mut overlaps) = (Vec::new(), Vec::new());
    for record in records {
        let of_kind = match record {
            ReviewEntry::Late(_) => &mut late,
            ReviewEntry::Overlap(_) => &mut overlaps,
        };
        if of_kind.len() < limit {
            of_kind.push(record);
        }
        if late.len() >= limit {
            break;
        }
    }
    late.extend(overlaps);
    late.truncate(limit);
    late
}

/// Takes a decision; it is answered when it is durable.
pub(super) async fn decide(
    State(shared): State<Shared>,
    Posted(request): Posted<ReviewRequest>,
) -> Result<Json<DecidedJson>, Failure> {
    let reviewed = ask(&shared, move |node, now| node.on_review(now, &request)).await?;
    let reviewed = reviewed.map_err(|error| {
        let code = match error {
            ReviewError::NotLate { .. } => StatusCode::NOT_FOUND,
            ReviewError::Unfit(_)
            | ReviewError::Batch(_)
            | ReviewError::NotFewer { .. }
            | ReviewError::Carried => StatusCode::BAD_REQUEST,
            ReviewError::NoInventory | ReviewError::Closed(_) => StatusCode::CONFLICT,
        };
        Failure(code, error.to_string())
    })?;
    wait_for(&shared, &reviewed.at, reviewed.offset, WAIT_LIMIT).await;
    if shared.reader.end(&reviewed.at) <= reviewed.offset {
        let text = "the decision is not durable yet; ask again what is under review".to_owned();
        return Err(Failure(StatusCode::GATEWAY_TIMEOUT, text));
    }
    Ok(Json(DecidedJson { id: reviewed.id.to_string() }))
}
