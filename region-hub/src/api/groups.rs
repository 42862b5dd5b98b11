//! Consumer groups: what they have committed, and reading on where they are.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use headland_event::{GroupName, Now, Offset, TopicName, TopicPartition};
use headland_platform::task;
use headland_storage::LogReader;
use serde::{Deserialize, Serialize};

use super::asked::{Asked, Named};
use super::posted::Posted;
use super::record::{DamagedJson, Page, RecordJson, RecordsJson, read_records};
use super::{Failure, RECORDS_LIMIT, Shared, WAIT_LIMIT, ask, durable, tell_damage};
use crate::groups::{GroupView, OffsetsRequest, Place, Reading};
use crate::node::{GroupError, Node};
use crate::peer_link::murmur2;

impl From<GroupError> for Failure {
    fn from(error: GroupError) -> Self {
        let code = match &error {
            GroupError::NoTopic { .. } | GroupError::NoGroup { .. } => StatusCode::NOT_FOUND,
            GroupError::Left(_)
            | GroupError::EarlierCopy { .. }
            | GroupError::PastEnd { .. }
            | GroupError::Commit(_) => StatusCode::CONFLICT,
            GroupError::TooMany { .. }
            | GroupError::Nothing
            | GroupError::Twice { .. }
            | GroupError::Batch(_) => StatusCode::BAD_REQUEST,
            GroupError::Full | GroupError::NotBack { .. } => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(code, error.to_string())
    }
}

fn named(text: &str) -> Result<GroupName, Failure> {
    GroupName::new(text).map_err(|error| Failure(StatusCode::BAD_REQUEST, error.to_string()))
}

/// Asks the node about a group. A request that has to wait for what comes back is held, as long as
/// one may be: who asks for the first time after a lost disk is answered a little later.
async fn ask_once_back<T: Send + 'static>(
    shared: &Shared,
    question: impl Fn(&mut Node, Now) -> Result<T, GroupError> + Clone + Send + 'static,
) -> Result<T, Failure> {
    let mut commits = shared.commits.clone();
    let wait = tokio::time::sleep(WAIT_LIMIT);
    tokio::pin!(wait);
    loop {
        commits.borrow_and_update();
        let answer = ask(shared, question.clone()).await?;
        if !matches!(answer, Err(GroupError::NotBack { .. })) {
            return Ok(answer?);
        }
        // That the wait is over is written down.
        tokio::select! {
            changed = commits.changed() => if changed.is_err() {
                return Ok(answer?);
            },
            () = &mut wait => return Ok(answer?),
        }
    }
}

/// Every group.
pub(super) async fn list(State(shared): State<Shared>) -> Result<Json<Vec<GroupView>>, Failure> {
    ask(&shared, |node, _| node.groups()).await.map(Json)
}

/// One group; of one that has committed nothing, that.
pub(super) async fn show(
    State(shared): State<Shared>,
    Named(group): Named<String>,
) -> Result<Json<GroupView>, Failure> {
    let group = named(&group)?;
    ask_once_back(&shared, move |node, _| node.group_to_go_on(&group)).await.map(Json)
}

/// Changes committed offsets; it is answered with the group once they are durable.
pub(super) async fn change(
    State(shared): State<Shared>,
    Named(group): Named<String>,
    Posted(request): Posted<OffsetsRequest>,
) -> Result<Json<GroupView>, Failure> {
    let group = named(&group)?;
    let of = group.clone();
    let ticket = ask_once_back(&shared, move |node, now| node.on_group(now, &of, &request)).await?;
    durable(&shared, ticket).await?;
    ask(&shared, move |node, _| node.group(&group)).await.map(Json)
}

/// Deletes a group; it is answered with what is left of it, nothing, once that is durable.
pub(super) async fn delete(
    State(shared): State<Shared>,
    Named(group): Named<String>,
) -> Result<Json<GroupView>, Failure> {
    let group = named(&group)?;
    let of = group.clone();
    let ticket = ask_once_back(&shared, move |node, now| node.on_group_end(now, &of)).await?;
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
    /// What was passed because it cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<DamagedPlace>,
}

/// Offsets of a partition whose records are damaged.
#[derive(Serialize)]
struct DamagedPlace {
    topic: TopicName,
    partition: headland_event::PartitionIndex,
    #[serde(flatten)]
    offsets: DamagedJson,
}

impl ReadJson {
    /// One page of what was read of several partitions, each from an offset on.
    fn of(read: Vec<(TopicPartition, Offset, RecordsJson)>) -> Self {
        let (mut records, mut positions, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
        for (at, from, RecordsJson { records: found, next, damaged: passed, bytes: _ }) in read {
            let TopicPartition { topic, partition } = at;
            if next > from {
                positions.push(Place { topic: topic.clone(), partition, offset: next });
            }
            let passed = passed.into_iter();
            damaged.extend(passed.map(|offsets| {
                let topic = topic.clone();
                DamagedPlace { topic, partition, offsets }
            }));
            let found = found.into_iter();
            records.extend(found.map(|record| {
                let topic = topic.clone();
                ReadRecord { topic, partition, record }
            }));
        }
        Self { records, positions, damaged }
    }
}

/// Reads a page of several partitions, each from an offset on: an even share of each, and all
/// together no more than one answer holds. With large batches not all have their turn then, and
/// which one is first changes with every page, so that none waits for ever.
fn read_places(
    reader: &impl LogReader,
    mut places: Vec<Reading>,
    max: usize,
) -> Result<Vec<(TopicPartition, Offset, RecordsJson)>, String> {
    let count = places.len().max(1);
    let offsets: Vec<u8> = places.iter().flat_map(|place| place.from.get().to_be_bytes()).collect();
    let first = usize::try_from(murmur2(&offsets)).unwrap_or_default() % count;
    places.rotate_left(first);
    let (mut left, each) = (Page::of(max), max.div_ceil(count));
    let bytes_each = (left.bytes / count).max(1);
    let mut read = Vec::new();
    for Reading { at, from, until } in places {
        if left.bytes == 0 || left.max == 0 {
            break;
        }
        let page = Page { max: each.min(left.max), bytes: left.bytes.min(bytes_each), until };
        let found = read_records(reader, &at, from, page)?;
        left.bytes = left.bytes.saturating_sub(found.bytes);
        left.max = left.max.saturating_sub(found.records.len());
        read.push((at, from, found));
    }
    Ok(read)
}

/// Reads on where a group is: from each partition alike, in its order.
pub(super) async fn read(
    State(shared): State<Shared>,
    Named(group): Named<String>,
    Asked(ReadQuery { topic, max, wait_ms }): Asked<ReadQuery>,
) -> Result<Json<ReadJson>, Failure> {
    let (group, max) = (named(&group)?, max.unwrap_or(RECORDS_LIMIT).min(RECORDS_LIMIT));
    let mut commits = shared.commits.clone();
    let wait = tokio::time::sleep(Duration::from_millis(wait_ms).min(WAIT_LIMIT));
    tokio::pin!(wait);
    loop {
        commits.borrow_and_update();
        let (of, named) = (group.clone(), topic.clone());
        let places = ask_once_back(&shared, move |node, _| node.reading(&of, &named)).await?;
        let reader = shared.reader.clone();
        let reading = task::spawn_blocking("read group", move || read_places(&reader, places, max));
        let read = reading.join().await.unwrap_or_else(|| Ok(Vec::new()));
        let read = read.map_err(|error| Failure(StatusCode::INTERNAL_SERVER_ERROR, error))?;
        let damage = read.iter().flat_map(|(_, _, found)| found.damage()).collect();
        tell_damage(&shared, damage).await?;
        let page = ReadJson::of(read);
        if !page.positions.is_empty() || max == 0 {
            return Ok(Json(page));
        }
        tokio::select! {
            changed = commits.changed() => if changed.is_err() {
                return Ok(Json(page));
            },
            () = &mut wait => return Ok(Json(page)),
        }
    }
}

#[cfg(test)]
mod tests {
    use headland_event::{
        Batch, Dot, Entry, EventTime, Incarnation, PartitionIndex, Record, Sequence, StreamId,
    };
    use headland_storage::{Commit, LogStore, MemoryDisk, MemoryStore, OpenOptions};

    use super::*;

    fn at(partition: u32) -> TopicPartition {
        TopicPartition::new(TopicName::new("bulk").unwrap(), PartitionIndex::new(partition))
    }

    const fn all_of(at: TopicPartition) -> Reading {
        Reading { at, from: Offset::new(0), until: Offset::new(u64::MAX) }
    }

    /// A log of so many partitions with two batches each, of so many bytes.
    fn log(partitions: u32, bytes: usize) -> MemoryStore {
        let mut store = MemoryStore::open(&MemoryDisk::new(1), OpenOptions::new(1)).unwrap();
        for base in 0..2 {
            for partition in 0..partitions {
                let value = vec![b'x'; bytes];
                let batch =
                    Batch::encode(&[Record::new(EventTime::default(), "k", value)]).unwrap();
                let stream = StreamId::new([u8::try_from(partition).unwrap(); 16]);
                let (incarnation, sequence) = (Incarnation::new(1, 1), Sequence::new(base + 1));
                let dot = Dot { stream, incarnation, sequence };
                let entry = Entry { base: Offset::new(base), dot, stamp: None, batch };
                let entries = vec![(at(partition), entry)];
                store.append(&[Commit { entries, state: Vec::new() }]).unwrap();
            }
        }
        store
    }

    #[test]
    fn a_page_over_many_partitions_is_bounded_and_every_record_is_read_once() {
        let (count, store) = (24, log(24, 900 << 10));
        let mut places: Vec<_> = (0..count).map(|n| all_of(at(n))).collect();
        let (mut pages, mut seen) = (0, Vec::new());
        while seen.len() < 48 {
            let read = read_places(&store.reader(), places.clone(), 500).unwrap();
            let bytes: usize = read.iter().map(|(_, _, found)| found.bytes).sum();
            assert!(bytes <= 9 << 20, "{bytes} bytes in a page");
            for (of, _, found) in read {
                let offsets = found.records.iter().map(|record| (of.partition, record.offset));
                seen.extend(offsets);
                let place = places.iter_mut().find(|place| place.at == of).unwrap();
                place.from = found.next;
            }
            pages += 1;
            assert!(pages < 100, "{} of 48 records after {pages} pages", seen.len());
        }
        let expected = (0..count).flat_map(|n| [0, 1].map(|base| (n, base)));
        let expected: Vec<_> =
            expected.map(|(n, base)| (PartitionIndex::new(n), Offset::new(base))).collect();
        seen.sort_unstable();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_page_has_no_more_records_than_were_asked_for() {
        let store = log(5, 10);
        let places = (0..5).map(|n| all_of(at(n))).collect();

        let read = read_places(&store.reader(), places, 3).unwrap();

        assert_eq!(read.iter().map(|(_, _, found)| found.records.len()).sum::<usize>(), 3);
    }
    #[test]
    fn a_page_ends_where_what_is_to_be_read_does_and_goes_on_behind_it() {
        let store = log(1, 10);
        let until = |until| {
            let place = Reading { until: Offset::new(until), ..all_of(at(0)) };
            let read = read_places(&store.reader(), vec![place], 500).unwrap();
            read.iter().map(|(_, _, found)| (found.records.len(), found.next.get())).collect()
        };

        let ends: [Vec<(usize, u64)>; 3] = [1, 2, 9].map(until);

        assert_eq!(ends, [vec![(1, 1)], vec![(2, 2)], vec![(2, 2)]]);
    }
}
