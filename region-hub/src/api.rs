//! The hub's own HTTP interface, on a Unix socket of mode 0600.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use headland_event::{Lane, Now, Offset, PartitionIndex, RegionId, TopicName, TopicPartition};
use headland_platform::socket::{SocketError, bind_private};
use headland_platform::task::{self, Task, Token};
use headland_reconcile::{AttributeView, Location, Sku};
use headland_storage::{DiskFile, FoundOffsets, JournalReader, LogReader, Ticket};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

/// What is posted, read as JSON.
mod posted;
/// What is asked for in the first line of a request.
mod asked;
/// Records as JSON.
mod record;
/// Late events and decisions about them.
mod review;
/// Which regions take part.
mod regions;
/// Reservations, and the rights they are made from.
mod escrow;
/// Links to other regions.
mod links;
/// Consumer groups.
mod groups;
/// Leaving a region for this one.
mod failover;

use asked::{Asked, Named};
use record::{Page, RecordsJson, read_records};

use crate::metrics;
use crate::node::{AckStatus, AuditStatus, KeptStatus, Node, Status};
use crate::topics::{Replication, Topic, Topics};

/// Most records of one answer.
pub(crate) const RECORDS_LIMIT: usize = 10_000;

/// Longest wait for a record.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// Asks the node something, or to write something; it answers between two inputs.
pub(crate) type Question = Box<dyn FnOnce(&mut Node, Now) + Send>;

#[derive(Clone)]
struct Shared {
    questions: mpsc::Sender<Question>,
    reader: JournalReader<DiskFile>,
    commits: watch::Receiver<u64>,
}

/// What the interface works on.
pub(crate) struct Sources {
    /// Questions to the node.
    pub(crate) questions: mpsc::Sender<Question>,
    /// The log.
    pub(crate) reader: JournalReader<DiskFile>,
    /// Changes with every durable commit.
    pub(crate) commits: watch::Receiver<u64>,
}

/// Serves until the token is cancelled.
///
/// # Errors
/// [`SocketError`] when the socket cannot be made.
pub(crate) fn serve(
    socket: &Path,
    sources: Sources,
    token: &Token,
) -> Result<Task<Option<()>>, SocketError> {
    let listener = bind_private(socket)?;
    let Sources { questions, reader, commits } = sources;
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/audit", get(audit))
        .route("/v1/topics", get(topics))
        .route("/v1/topics/{topic}", get(topic))
        .route("/v1/topics/{topic}/{partition}/records", get(records))
        .route("/v1/groups", get(groups::list))
        .route("/v1/groups/{group}", get(groups::show).delete(groups::delete))
        .route("/v1/groups/{group}/offsets", post(groups::change))
        .route("/v1/groups/{group}/records", get(groups::read))
        .route("/v1/failover", post(failover::change))
        .route("/v1/links", get(links::list))
        .route("/v1/links/{region}", get(links::show).post(links::change))
        .route("/v1/stock", get(stock))
        .route("/v1/review", get(review::list).post(review::decide))
        .route("/v1/regions", get(regions::list).post(regions::change))
        .route("/v1/reserve", post(escrow::reserve))
        .route("/v1/reserve/close", post(escrow::close))
        .route("/v1/rights", get(escrow::show).post(escrow::offer))
        .route("/v1/rights/recall", post(escrow::recall))
        .route("/metrics", get(scrape))
        .fallback(asked::nothing)
        .method_not_allowed_fallback(asked::not_so)
        .with_state(Shared { questions, reader, commits });
    Ok(task::spawn("api", token, async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the HTTP interface stopped");
        }
    }))
}

/// An answer that says what is wrong.
#[derive(Debug)]
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(code, error) = self;
        (code, Json(BTreeMap::from([("error", error)]))).into_response()
    }
}

async fn ask<T: Send + 'static>(
    shared: &Shared,
    question: impl FnOnce(&mut Node, Now) -> T + Send + 'static,
) -> Result<T, Failure> {
    let (answer, answered) = oneshot::channel();
    let stopping = || Failure(StatusCode::SERVICE_UNAVAILABLE, "the hub is stopping".to_owned());
    let question: Question = Box::new(move |node, now| drop(answer.send(question(node, now))));
    shared.questions.send(question).await.map_err(|_| stopping())?;
    answered.await.map_err(|_| stopping())
}

/// Waits until what was composed by then is durable.
async fn durable(shared: &Shared, ticket: Ticket) -> Result<(), Failure> {
    let mut commits = shared.commits.clone();
    let waiting = async {
        loop {
            commits.borrow_and_update();
            if ask(shared, move |node, _| node.is_durable(ticket)).await? {
                return Ok(());
            }
            // A hub that stops closes the channel, and then answers no question either.
            drop(commits.changed().await);
        }
    };
    let late = || {
        let text = "it holds, and is not durable yet; ask for it again".to_owned();
        Err(Failure(StatusCode::GATEWAY_TIMEOUT, text))
    };
    tokio::time::timeout(WAIT_LIMIT, waiting).await.unwrap_or_else(|_| late())
}

/// What a hub says of itself.
#[derive(Serialize)]
struct StatusJson {
    #[serde(flatten)]
    status: Status,
    /// Topics that are acknowledged once other regions hold them too.
    acks: Vec<AckStatus>,
}

async fn status(State(shared): State<Shared>) -> Result<Json<StatusJson>, Failure> {
    let of = |node: &mut Node, now: Now| StatusJson {
        status: node.status(),
        acks: node.acks(now.monotonic).collect(),
    };
    ask(&shared, of).await.map(Json)
}

async fn audit(State(shared): State<Shared>) -> Result<Json<AuditStatus>, Failure> {
    ask(&shared, |node, _| node.audit_status()).await.map(Json)
}

#[derive(Serialize)]
struct PartitionJson {
    partition: PartitionIndex,
    start: Offset,
    end: Offset,
}

#[derive(Serialize)]
struct TopicJson {
    topic: TopicName,
    /// Other names that it is found by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also: Vec<TopicName>,
    lane: Lane,
    origin: RegionId,
    origin_name: TopicName,
    path: Vec<RegionId>,
    replication: Replication,
    /// How long and how much of it is kept, and which hub says so.
    kept: KeptStatus,
    partitions: Vec<PartitionJson>,
}

async fn topics(State(shared): State<Shared>) -> Result<Json<Vec<TopicJson>>, Failure> {
    let all = |node: &mut Node, _| -> Vec<(Topic, KeptStatus)> {
        node.topics().iter().map(|topic| (topic.clone(), node.kept_of(topic))).collect()
    };
    let known = ask(&shared, all).await?;
    Ok(Json(known.into_iter().map(|known| topic_json(&shared, known)).collect()))
}

async fn topic(
    State(shared): State<Shared>,
    Named(name): Named<String>,
) -> Result<Json<TopicJson>, Failure> {
    let found = move |node: &mut Node, _| {
        find(node.topics(), &name).map(|topic| (topic.clone(), node.kept_of(&topic)))
    };
    ask(&shared, found).await?.map(|known| Json(topic_json(&shared, known)))
}

/// A topic by any of its names, or an answer that says which there are.
fn find(topics: &Topics, name: &str) -> Result<Topic, Failure> {
    let found = TopicName::new(name).ok();
    let found = found.and_then(|name| topics.resolve(&name));
    found.cloned().ok_or_else(|| {
        let names: Vec<&str> = topics.iter().map(|known| known.name.as_str()).collect();
        let text = format!("there is no topic {name}; there are {}", names.join(", "));
        Failure(StatusCode::NOT_FOUND, text)
    })
}

fn topic_json(shared: &Shared, (known, kept): (Topic, KeptStatus)) -> TopicJson {
    let Topic { name, also, lane, partitions, origin, origin_name, path, replication } = known;
    let partitions = (0..partitions).map(PartitionIndex::new).map(|partition| {
        let at = TopicPartition::new(name.clone(), partition);
        PartitionJson { partition, start: shared.reader.start(&at), end: shared.reader.end(&at) }
    });
    let partitions = partitions.collect();
    let topic = name;
    TopicJson { topic, also, lane, origin, origin_name, path, replication, kept, partitions }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordsQuery {
    #[serde(default)]
    from: u64,
    #[serde(default)]
    max: Option<usize>,
    #[serde(default)]
    wait_ms: u64,
}

async fn records(
    State(shared): State<Shared>,
    Named((topic, partition)): Named<(String, u32)>,
    Asked(query): Asked<RecordsQuery>,
) -> Result<Json<RecordsJson>, Failure> {
    let topic = TopicName::new(&topic)
        .map_err(|error| Failure(StatusCode::BAD_REQUEST, error.to_string()))?;
    let at = located(&shared, TopicPartition::new(topic, PartitionIndex::new(partition))).await?;
    let from = Offset::new(query.from);
    wait_for(&shared, &at, from, Duration::from_millis(query.wait_ms).min(WAIT_LIMIT)).await;
    let max = query.max.unwrap_or(RECORDS_LIMIT).min(RECORDS_LIMIT);
    let reader = shared.reader.clone();
    let page = Page::of(max);
    let read = task::spawn_blocking("read records", move || read_records(&reader, &at, from, page));
    let records = read.join().await.unwrap_or_else(|| Ok(RecordsJson::none(from)));
    let records = records.map_err(|error| Failure(StatusCode::INTERNAL_SERVER_ERROR, error))?;
    tell_damage(&shared, records.damage().collect()).await?;
    Ok(Json(records))
}

/// Tells the node of damage that a reading met: it says so to operators, and asks others for what
/// was there.
async fn tell_damage(shared: &Shared, damage: Vec<FoundOffsets>) -> Result<(), Failure> {
    if damage.is_empty() {
        return Ok(());
    }
    ask(shared, move |node, now| {
        damage.into_iter().for_each(|found| node.on_found_damage(now, found));
    })
    .await
}

/// A partition by the name of its log, which any name of its topic finds.
async fn located(shared: &Shared, at: TopicPartition) -> Result<TopicPartition, Failure> {
    // What has records by this name has no other one, and need not ask the node.
    if shared.reader.end(&at) > Offset::default() {
        return Ok(at);
    }
    ask(shared, move |node, _| partition_of(node.topics(), at)).await?
}

/// A partition by the name of its log, or an answer that says which there are. A topic that is not
/// known may come from another region later: who waits for its records need not ask whether it has.
fn partition_of(topics: &Topics, at: TopicPartition) -> Result<TopicPartition, Failure> {
    let TopicPartition { topic, partition } = at;
    let Some(known) = topics.resolve(&topic) else {
        return Ok(TopicPartition::new(topic, partition));
    };
    // Of a copy it is not known how many there are: those without a record are not offered.
    if partition.get() < known.partitions || !known.is_local() {
        return Ok(TopicPartition::new(known.name.clone(), partition));
    }
    let last = known.partitions.saturating_sub(1);
    let text = format!("topic {topic} has no partition {partition}; it has 0 to {last}");
    Err(Failure(StatusCode::NOT_FOUND, text))
}

/// Waits until a partition reaches beyond `from`, or for `limit`.
async fn wait_for(shared: &Shared, at: &TopicPartition, from: Offset, limit: Duration) {
    let mut commits = shared.commits.clone();
    let grown = async { while shared.reader.end(at) <= from && commits.changed().await.is_ok() {} };
    // Whether it grew or the time is up, what is there is the answer.
    drop(tokio::time::timeout(limit, grown).await);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StockQuery {
    sku: String,
    #[serde(default)]
    location: Option<String>,
}

#[derive(Serialize)]
struct StockJson {
    sku: String,
    units: BTreeMap<String, i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_transit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reserved: Option<i64>,
    attributes: BTreeMap<String, AttributeView>,
    /// The cut that the answer reflects: of each log of inventory, up to where it was applied.
    reflects: BTreeMap<String, Offset>,
}

async fn stock(
    State(shared): State<Shared>,
    Asked(StockQuery { sku, location }): Asked<StockQuery>,
) -> Result<Json<StockJson>, Failure> {
    let unfit = |text: String| Failure(StatusCode::BAD_REQUEST, text);
    let known = Sku::new(&sku).map_err(|error| unfit(error.to_string()))?;
    let only = location.as_deref().map(Location::new).transpose();
    let only = only.map_err(|error| unfit(error.to_string()))?;
    let (product, applied) = ask(&shared, move |node, _| {
        let inventory = node.inventory();
        (inventory.product(&known), inventory.applied())
    })
    .await?;
    let product = product
        .ok_or_else(|| Failure(StatusCode::NOT_FOUND, format!("nothing is known of sku {sku}")))?;
    let units = product.units.into_iter();
    let units = units.filter(|(at, _)| only.as_ref().is_none_or(|only| only == at));
    let attributes = product.attributes.into_iter();
    Ok(Json(StockJson {
        sku,
        units: units.map(|(at, units)| (at.to_string(), units)).collect(),
        in_transit: product.in_transit,
        reserved: product.reserved,
        attributes: attributes.map(|(name, value)| (name.to_string(), value)).collect(),
        reflects: applied.iter().map(|(actor, end)| (actor.to_string(), end)).collect(),
    }))
}

async fn scrape(State(shared): State<Shared>) -> Result<String, Failure> {
    let observed = ask(&shared, |node, now| metrics::observe(node, now)).await?;
    Ok(observed.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_a_topic_has_not_is_not_found_and_the_answer_says_which_there_are() {
        let topics = Topics::new(&RegionId::new("eu").unwrap(), &[]).unwrap();
        let at = |topic: &str, partition| {
            TopicPartition::new(TopicName::new(topic).unwrap(), PartitionIndex::new(partition))
        };

        let last = partition_of(&topics, at("alerts", 7)).unwrap();
        let Failure(code, text) = partition_of(&topics, at("alerts", 8)).unwrap_err();
        let to_come = partition_of(&topics, at("us.alerts", 8)).unwrap();

        assert_eq!((last, to_come), (at("alerts", 7), at("us.alerts", 8)));
        assert_eq!(code, StatusCode::NOT_FOUND);
        assert_eq!(text, "topic alerts has no partition 8; it has 0 to 7");
    }

    #[test]
    fn an_unknown_topic_is_not_found_and_the_answer_names_those_there_are() {
        let topics = Topics::new(&RegionId::new("eu").unwrap(), &[]).unwrap();

        let Failure(code, text) = find(&topics, "alert").unwrap_err();

        assert_eq!(code, StatusCode::NOT_FOUND);
        assert!(
            text.starts_with(
                "there is no topic alert; there are _audit, _groups, _promises, _settings, \
                 alerts, "
            ),
            "{text}"
        );
        assert_eq!(find(&topics, "alerts").unwrap().name.as_str(), "alerts");
    }
}
