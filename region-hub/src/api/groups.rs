//! Consumer groups: what they have committed, and reading on where they are.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use headland_event::{GroupName, TopicName};
use headland_platform::task;
use serde::{Deserialize, Serialize};

use super::record::{RecordJson, RecordsJson, read_records};
use super::{Failure, RECORDS_LIMIT, Shared, WAIT_LIMIT, ask, durable};
use crate::groups::{GroupView, OffsetsRequest, Place};
use crate::node::GroupError;

impl From<GroupError> for Failure {
    fn from(error: GroupError) -> Self {
        let code = match &error {
            GroupError::NoTopic { .. } => StatusCode::NOT_FOUND,
            GroupError::EarlierCopy { .. } | GroupError::PastEnd { .. } | GroupError::Commit(_) => {
                StatusCode::CONFLICT
            }
            GroupError::TooMany { .. } | GroupError::Batch(_) => StatusCode::BAD_REQUEST,
            GroupError::Full => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(code, error.to_string())
    }
}

fn named(text: &str) -> Result<GroupName, Failure> {
    GroupName::new(text).map_err(|error| Failure(StatusCode::BAD_REQUEST, error.to_string()))
}

/// Every group.
pub(super) async fn list(State(shared): State<Shared>) -> Result<Json<Vec<GroupView>>, Failure> {
    ask(&shared, |node, _| node.groups()).await.map(Json)
}

/// One group; of one that has committed nothing, that.
pub(super) async fn show(
    State(shared): State<Shared>,
    Path(group): Path<String>,
) -> Result<Json<GroupView>, Failure> {
    let group = named(&group)?;
    ask(&shared, move |node, _| node.group(&group)).await.map(Json)
}

/// Changes committed offsets; it is answered with the group once they are durable.
pub(super) async fn change(
    State(shared): State<Shared>,
    Path(group): Path<String>,
    Json(request): Json<OffsetsRequest>,
) -> Result<Json<GroupView>, Failure> {
    let group = named(&group)?;
    let of = group.clone();
    let ticket = ask(&shared, move |node, now| node.on_group(now, &of, &request)).await??;
    durable(&shared, ticket).await?;
    ask(&shared, move |node, _| node.group(&group)).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadQuery {
    topic: String,
    #[serde(default)]
    max: Option<usize>,
    #[serde(default)]
    wait_ms: u64,
}

/// A record with the topic and partition it stands in.
#[derive(Serialize)]
struct ReadRecord {
    topic: TopicName,
    partition: headland_event::PartitionIndex,
    #[serde(flatten)]
    record: RecordJson,
}

/// Records, and what to commit once they are dealt with.
#[derive(Serialize)]
pub(super) struct ReadJson {
    records: Vec<ReadRecord>,
    positions: Vec<Place>,
}

/// Reads on where a group is: from each partition alike, in its order.
pub(super) async fn read(
    State(shared): State<Shared>,
    Path(group): Path<String>,
    Query(ReadQuery { topic, max, wait_ms }): Query<ReadQuery>,
) -> Result<Json<ReadJson>, Failure> {
    let (group, max) = (named(&group)?, max.unwrap_or(RECORDS_LIMIT).min(RECORDS_LIMIT));
    let mut commits = shared.commits.clone();
    let wait = tokio::time::sleep(Duration::from_millis(wait_ms).min(WAIT_LIMIT));
    tokio::pin!(wait);
    loop {
        commits.borrow_and_update();
        let (of, named) = (group.clone(), topic.clone());
        let places = ask(&shared, move |node, _| node.reading(&of, &named)).await??;
        let reader = shared.reader.clone();
        let reading = task::spawn_blocking("read group", move || {
            let each = max.div_ceil(places.len().max(1));
            let read = places.into_iter().map(|(at, from)| {
                read_records(&reader, &at, from, each).map(|read| (at, from, read))
            });
            read.collect::<Result<Vec<_>, _>>()
        });
        let read = reading.join().await.unwrap_or_else(|| Ok(Vec::new()));
        let read = read.map_err(|error| Failure(StatusCode::INTERNAL_SERVER_ERROR, error))?;
        let (mut records, mut positions) = (Vec::new(), Vec::new());
        for (at, from, RecordsJson { records: found, next, .. }) in read {
            let (topic, partition) = (at.topic.clone(), at.partition);
            if next > from {
                positions.push(Place { topic: topic.clone(), partition, offset: next });
            }
            let found = found.into_iter();
            records.extend(found.map(|record| ReadRecord {
                topic: topic.clone(),
                partition,
                record,
            }));
        }
        if !positions.is_empty() || max == 0 {
            return Ok(Json(ReadJson { records, positions }));
        }
        tokio::select! {
            changed = commits.changed() => if changed.is_err() {
                return Ok(Json(ReadJson { records, positions }));
            },
            () = &mut wait => return Ok(Json(ReadJson { records, positions })),
        }
    }
}
