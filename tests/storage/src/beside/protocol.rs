//! The few requests of Kafka's protocol that producing takes, in the versions before its compact
//! encoding: CreateTopics 2 and Produce 3.
//!
//! ```text
//! request   length i32 │ key i16 │ version i16 │ correlation i32 │ client string │ body
//! response  length i32 │ correlation i32 │ body
//! string    length i16, -1 for none │ bytes
//! ```
//!
//! # Source
//! <https://kafka.apache.org/protocol>: the versions before flexible ones are read by every broker.

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BufMut, Bytes};
use headland_event::Batch;

const PRODUCE: (i16, i16) = (0, 3);
const CREATE_TOPICS: (i16, i16) = (19, 2);
const CLIENT: &str = "proof";
const TIMEOUT_MS: i32 = 30_000;
/// The leader has written the batches, and flushed them where its topic says so.
const ACKS_OF_LEADER: i16 = 1;

/// One request to produce: batches, each of a partition.
pub(super) fn produce(topic: &str, batches: &[(u32, Batch)]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    body.put_i16(-1);
    body.put_i16(ACKS_OF_LEADER);
    body.put_i32(TIMEOUT_MS);
    body.put_i32(1);
    put_string(&mut body, topic)?;
    body.put_i32(i32::try_from(batches.len())?);
    for (partition, batch) in batches {
        let bytes = batch.as_bytes();
        body.put_u32(*partition);
        body.put_i32(i32::try_from(bytes.len())?);
        body.put_slice(bytes);
    }
    request(PRODUCE, &body)
}

/// One request for a topic, with one setting or none.
pub(super) fn create_topic(
    topic: &str,
    partitions: i32,
    setting: Option<(&str, &str)>,
) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    body.put_i32(1);
    put_string(&mut body, topic)?;
    body.put_i32(partitions);
    body.put_i16(1);
    body.put_i32(0);
    body.put_i32(i32::from(setting.is_some()));
    if let Some((name, value)) = setting {
        put_string(&mut body, name)?;
        put_string(&mut body, value)?;
    }
    body.put_i32(TIMEOUT_MS);
    body.put_u8(0);
    request(CREATE_TOPICS, &body)
}

/// A request with its length in front.
pub(super) fn request((key, version): (i16, i16), body: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(body.len() + 32);
    bytes.put_i32(i32::try_from(8 + 2 + CLIENT.len() + body.len())?);
    bytes.put_i16(key);
    bytes.put_i16(version);
    bytes.put_i32(0);
    put_string(&mut bytes, CLIENT)?;
    bytes.put_slice(body);
    Ok(bytes)
}

/// Adds a string that is there.
pub(super) fn put_string(bytes: &mut Vec<u8>, text: &str) -> Result<()> {
    bytes.put_i16(i16::try_from(text.len())?);
    bytes.put_slice(text.as_bytes());
    Ok(())
}

/// Reads a request to produce, without its length, and checks its batches.
pub(super) fn read_produce(mut request: Bytes) -> Result<Vec<(u32, Batch)>> {
    let found = (request.try_get_i16()?, request.try_get_i16()?);
    ensure!(found == PRODUCE, "only requests to produce are understood, found {found:?}");
    request.try_get_i32()?;
    skip_string(&mut request)?;
    skip_string(&mut request)?;
    request.try_get_i16()?;
    request.try_get_i32()?;
    ensure!(request.try_get_i32()? == 1, "one topic a request");
    skip_string(&mut request)?;
    let count = request.try_get_i32()?;
    (0..count)
        .map(|_| {
            let partition = request.try_get_u32()?;
            let length = usize::try_from(request.try_get_i32()?)?;
            ensure!(length <= request.remaining(), "a batch ends behind its request");
            Ok((partition, Batch::decode(request.split_to(length))?))
        })
        .collect()
}

/// Reads past a string.
pub(super) fn skip_string(bytes: &mut Bytes) -> Result<()> {
    let length = usize::try_from(bytes.try_get_i16()?).unwrap_or(0);
    ensure!(length <= bytes.remaining(), "a string ends behind its request");
    bytes.advance(length);
    Ok(())
}

/// The answer to a request to produce: each partition with its base offset.
pub(super) fn produced(topic: &str, bases: &[(u32, u64)]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    body.put_i32(0);
    body.put_i32(1);
    put_string(&mut body, topic)?;
    body.put_i32(i32::try_from(bases.len())?);
    for (partition, base) in bases {
        body.put_u32(*partition);
        body.put_i16(0);
        body.put_u64(*base);
        body.put_i64(-1);
    }
    body.put_i32(0);
    let mut bytes = Vec::with_capacity(4 + body.len());
    bytes.put_i32(i32::try_from(body.len())?);
    bytes.put_slice(&body);
    Ok(bytes)
}

/// The error code of each partition in an answer to a request to produce, without its length.
pub(super) fn read_produced(mut response: Bytes) -> Result<Vec<i16>> {
    response.try_get_i32()?;
    ensure!(response.try_get_i32()? == 1, "one topic a response");
    skip_string(&mut response)?;
    let count = response.try_get_i32()?;
    let code = |_| {
        response.try_get_u32()?;
        let code = response.try_get_i16()?;
        response.try_get_i64()?;
        response.try_get_i64()?;
        Ok(code)
    };
    (0..count).map(code).collect()
}

/// The error code of the one topic in an answer to a request for it, without its length.
pub(super) fn read_created(mut response: Bytes) -> Result<i16> {
    response.try_get_i32()?;
    response.try_get_i32()?;
    ensure!(response.try_get_i32()? == 1, "one topic a response");
    skip_string(&mut response)?;
    response.try_get_i16().context("a response ends early")
}

#[cfg(test)]
mod tests {
    use headland_event::{EventTime, Record};

    use super::*;

    fn batch(records: usize) -> Batch {
        Batch::encode(&vec![Record::new(EventTime::from_millis(1), "k", "v"); records]).unwrap()
    }

    #[test]
    fn a_request_to_produce_reads_back_as_its_batches() {
        let batches = [(0, batch(1)), (7, batch(3))];

        let mut request = Bytes::from(produce("t", &batches).unwrap());
        let length = request.get_i32();

        assert_eq!(usize::try_from(length).unwrap(), request.len());
        assert_eq!(read_produce(request).unwrap(), batches);
    }

    #[test]
    fn a_request_that_ends_early_is_refused() {
        let request = Bytes::from(produce("t", &[(0, batch(1))]).unwrap()).split_off(4);

        for end in 0..request.len() {
            assert!(read_produce(request.slice(..end)).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn an_answer_reads_back_as_one_code_for_each_partition() {
        let mut answer = Bytes::from(produced("t", &[(0, 5), (3, 9)]).unwrap());
        let length = answer.get_i32();

        assert_eq!(usize::try_from(length).unwrap(), answer.len());
        assert_eq!(read_produced(answer).unwrap(), [0, 0]);
    }
}
