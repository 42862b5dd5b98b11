//! The few requests of Kafka's protocol that reading takes, in the versions before its compact
//! encoding: ListOffsets 1 and Fetch 4. Each is for partitions of one topic.
//!
//! # Source
//! <https://kafka.apache.org/protocol>: the versions before flexible ones are read by every broker.

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BufMut, Bytes};
use headland_event::Batch;

use super::protocol::{put_string, request, skip_string};

const FETCH: (i16, i16) = (1, 4);
const LIST_OFFSETS: (i16, i16) = (2, 1);
const NO_REPLICA: i32 = -1;
/// The offset after the last record.
const LATEST: i64 = -1;
/// How long a broker may wait for a record before it answers with none.
const WAIT_MS: i32 = 200;
/// Kafka's defaults for a consumer: of an answer, and of one partition in it.
const FETCH_BYTES: i32 = 50 << 20;
const PARTITION_BYTES: i32 = 1 << 20;
/// Kafka's codes for a topic that is not there, and for one that was made just now.
const UNKNOWN_TOPIC: i16 = 3;
const NO_LEADER: i16 = 5;
const NOT_LEADER: i16 = 6;
/// Base offset and length before what the length counts.
const BATCH_PREFIX: usize = 12;

/// Asks for the end of each of `partitions` partitions.
pub(super) fn list_ends(topic: &str, partitions: u32) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    body.put_i32(NO_REPLICA);
    body.put_i32(1);
    put_string(&mut body, topic)?;
    body.put_u32(partitions);
    for partition in 0..partitions {
        body.put_u32(partition);
        body.put_i64(LATEST);
    }
    request(LIST_OFFSETS, &body)
}

/// The end of each partition, in the order of the answer; 0 where there is no topic yet.
pub(super) fn read_ends(mut response: Bytes) -> Result<Vec<(u32, u64)>> {
    response.try_get_i32()?;
    ensure!(response.try_get_i32()? == 1, "one topic a response");
    skip_string(&mut response)?;
    let count = response.try_get_i32()?;
    let end = |_| {
        let partition = response.try_get_u32()?;
        let code = response.try_get_i16()?;
        response.try_get_i64()?;
        let end = response.try_get_i64()?;
        match code {
            0 => Ok((partition, u64::try_from(end)?)),
            UNKNOWN_TOPIC | NO_LEADER | NOT_LEADER => Ok((partition, 0)),
            other => bail!("partition {partition} has no end: code {other}"),
        }
    };
    (0..count).map(end).collect()
}

/// Asks for what each partition has from an offset on.
pub(super) fn fetch(topic: &str, positions: &[(u32, u64)]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    body.put_i32(NO_REPLICA);
    body.put_i32(WAIT_MS);
    body.put_i32(1);
    body.put_i32(FETCH_BYTES);
    body.put_u8(0);
    body.put_i32(1);
    put_string(&mut body, topic)?;
    body.put_i32(i32::try_from(positions.len())?);
    for (partition, offset) in positions {
        body.put_u32(*partition);
        body.put_u64(*offset);
        body.put_i32(PARTITION_BYTES);
    }
    request(FETCH, &body)
}

/// The batches of each partition, each with the offset after it.
pub(super) fn read_fetched(mut response: Bytes) -> Result<Vec<(u32, u64, Batch)>> {
    response.try_get_i32()?;
    response.try_get_i32()?;
    let topics = response.try_get_i32()?;
    let mut batches = Vec::new();
    for _ in 0..topics {
        skip_string(&mut response)?;
        let partitions = response.try_get_i32()?;
        for _ in 0..partitions {
            let partition = response.try_get_u32()?;
            let code = response.try_get_i16()?;
            ensure!(code == 0, "partition {partition} cannot be read: code {code}");
            response.try_get_i64()?;
            response.try_get_i64()?;
            let aborted = usize::try_from(response.try_get_i32()?).unwrap_or(0);
            ensure!(response.remaining() >= aborted * 16, "a response ends early");
            response.advance(aborted * 16);
            let length = usize::try_from(response.try_get_i32()?).unwrap_or(0);
            ensure!(response.remaining() >= length, "records end behind their response");
            read_batches(partition, response.split_to(length), &mut batches)?;
        }
    }
    Ok(batches)
}

/// Takes the batches out of what a partition has; the last one may be cut off.
fn read_batches(
    partition: u32,
    mut records: Bytes,
    batches: &mut Vec<(u32, u64, Batch)>,
) -> Result<()> {
    while records.len() > BATCH_PREFIX {
        let mut prefix = records.slice(..BATCH_PREFIX);
        let base = prefix.get_u64();
        let length = BATCH_PREFIX + usize::try_from(prefix.get_i32())?;
        if length > records.len() {
            break;
        }
        let batch = Batch::decode(records.split_to(length)).context("a batch of the broker")?;
        batches.push((partition, base + batch.span(), batch));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use headland_event::{EventTime, Record};

    use super::*;

    fn batch(base: u64, records: usize) -> Vec<u8> {
        let records = vec![Record::new(EventTime::from_millis(1), "k", "v"); records];
        let mut bytes = Batch::encode(&records).unwrap().as_bytes().to_vec();
        bytes.splice(..8, base.to_be_bytes());
        bytes
    }

    #[test]
    fn the_batches_of_a_partition_are_read_with_the_offset_after_each() {
        let mut batches = Vec::new();

        let records = [batch(5, 2), batch(7, 3)].concat();
        read_batches(1, records.into(), &mut batches).unwrap();

        let ends: Vec<(u32, u64)> = batches.iter().map(|(p, end, _)| (*p, *end)).collect();
        assert_eq!(ends, [(1, 7), (1, 10)]);
    }

    #[test]
    fn a_batch_that_is_cut_off_is_left_for_the_next_answer() {
        let mut batches = Vec::new();
        let mut records = [batch(0, 1), batch(1, 1)].concat();
        records.pop();

        read_batches(0, records.into(), &mut batches).unwrap();

        assert_eq!(batches.len(), 1);
    }

    #[test]
    fn a_topic_that_is_not_there_yet_ends_at_0() {
        let mut answer = vec![0; 4];
        answer.put_i32(1);
        put_string(&mut answer, "t").unwrap();
        answer.put_i32(3);
        for (partition, code, end) in [(0, 0, 9), (1, UNKNOWN_TOPIC, -1), (2, NOT_LEADER, -1)] {
            answer.put_u32(partition);
            answer.put_i16(code);
            answer.put_i64(-1);
            answer.put_i64(end);
        }

        assert_eq!(read_ends(answer.into()).unwrap(), [(0, 9), (1, 0), (2, 0)]);
    }
}
