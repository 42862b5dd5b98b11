//! Requests about topics and groups, in the versions before Kafka's compact encoding: Metadata 1,
//! FindCoordinator 0, OffsetCommit 2, OffsetFetch 1.
//!
//! # Source
//! <https://kafka.apache.org/protocol>: the versions before flexible ones are read by every broker.

use anyhow::{Result, ensure};
use bytes::{Buf, BufMut, Bytes};

use super::protocol::{put_string, request, skip_string};

const METADATA: (i16, i16) = (3, 1);
const FIND_COORDINATOR: (i16, i16) = (10, 0);
const OFFSET_COMMIT: (i16, i16) = (8, 2);
const OFFSET_FETCH: (i16, i16) = (9, 1);
/// Of somebody who is no member.
const NO_GENERATION: i32 = -1;
const NO_RETENTION: i64 = -1;

/// Asks for every topic.
pub(super) fn list_topics() -> Result<Vec<u8>> {
    request(METADATA, &(-1_i32).to_be_bytes())
}

/// The names of all topics.
pub(super) fn read_topics(mut response: Bytes) -> Result<Vec<String>> {
    response.try_get_i32()?;
    let brokers = response.try_get_i32()?;
    for _ in 0..brokers {
        response.try_get_i32()?;
        skip_string(&mut response)?;
        response.try_get_i32()?;
        skip_string(&mut response)?;
    }
    response.try_get_i32()?;
    let topics = response.try_get_i32()?;
    let topic = |_| {
        response.try_get_i16()?;
        let name = read_string(&mut response)?;
        response.try_get_u8()?;
        let partitions = response.try_get_i32()?;
        for _ in 0..partitions {
            response.try_get_i16()?;
            response.try_get_i32()?;
            response.try_get_i32()?;
            for _list in ["replicas", "in sync"] {
                let count = response.try_get_i32()?;
                for _ in 0..count {
                    response.try_get_i32()?;
                }
            }
        }
        Ok(name)
    };
    (0..topics).map(topic).collect()
}

fn read_string(bytes: &mut Bytes) -> Result<String> {
    let length = usize::try_from(bytes.try_get_i16()?)?;
    ensure!(length <= bytes.remaining(), "a string ends behind its response");
    Ok(String::from_utf8(bytes.split_to(length).to_vec())?)
}

/// Asks who keeps the offsets of a group; a broker makes a place for them first.
pub(super) fn find_coordinator(group: &str) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    put_string(&mut body, group)?;
    request(FIND_COORDINATOR, &body)
}

/// Whether there is a place for the offsets of the group.
pub(super) fn read_coordinator(mut response: Bytes) -> Result<bool> {
    response.try_get_i32()?;
    Ok(response.try_get_i16()? == 0)
}

/// Commits offsets of one topic for a group without members.
pub(super) fn commit(group: &str, topic: &str, offsets: &[(u32, u64)]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    put_string(&mut body, group)?;
    body.put_i32(NO_GENERATION);
    put_string(&mut body, "")?;
    body.put_i64(NO_RETENTION);
    body.put_i32(1);
    put_string(&mut body, topic)?;
    body.put_i32(i32::try_from(offsets.len())?);
    for (partition, offset) in offsets {
        body.put_u32(*partition);
        body.put_u64(*offset);
        put_string(&mut body, "")?;
    }
    request(OFFSET_COMMIT, &body)
}

/// Whether every offset was taken.
pub(super) fn read_committed(mut response: Bytes) -> Result<bool> {
    response.try_get_i32()?;
    ensure!(response.try_get_i32()? == 1, "one topic a response");
    skip_string(&mut response)?;
    let count = response.try_get_i32()?;
    let mut is_taken = true;
    for _ in 0..count {
        response.try_get_u32()?;
        is_taken &= response.try_get_i16()? == 0;
    }
    Ok(is_taken)
}

/// Asks for the offsets of a group at `partitions` partitions of one topic.
pub(super) fn committed(group: &str, topic: &str, partitions: u32) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    put_string(&mut body, group)?;
    body.put_i32(1);
    put_string(&mut body, topic)?;
    body.put_u32(partitions);
    (0..partitions).for_each(|partition| body.put_u32(partition));
    request(OFFSET_FETCH, &body)
}

/// The offset of each partition; `None` where the group has none.
pub(super) fn read_offsets(mut response: Bytes) -> Result<Vec<(u32, Option<u64>)>> {
    response.try_get_i32()?;
    ensure!(response.try_get_i32()? == 1, "one topic a response");
    skip_string(&mut response)?;
    let count = response.try_get_i32()?;
    let offset = |_| {
        let partition = response.try_get_u32()?;
        let offset = response.try_get_i64()?;
        skip_string(&mut response)?;
        let code = response.try_get_i16()?;
        ensure!(code == 0, "partition {partition} has no offset: code {code}");
        Ok((partition, u64::try_from(offset).ok()))
    };
    (0..count).map(offset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_that_was_never_committed_is_none() {
        let mut answer = vec![0; 4];
        answer.put_i32(1);
        put_string(&mut answer, "t").unwrap();
        answer.put_i32(2);
        for (partition, offset) in [(0, 7_i64), (1, -1)] {
            answer.put_u32(partition);
            answer.put_i64(offset);
            put_string(&mut answer, "").unwrap();
            answer.put_i16(0);
        }

        assert_eq!(read_offsets(answer.into()).unwrap(), [(0, Some(7)), (1, None)]);
    }

    #[test]
    fn topics_are_found_behind_brokers_and_partitions() {
        let mut answer = vec![0; 4];
        answer.put_i32(1);
        answer.put_i32(1);
        put_string(&mut answer, "host").unwrap();
        answer.put_i32(9_092);
        answer.put_i16(-1);
        answer.put_i32(1);
        answer.put_i32(2);
        for topic in ["orders", "us.orders"] {
            answer.put_i16(0);
            put_string(&mut answer, topic).unwrap();
            answer.put_u8(0);
            answer.put_i32(1);
            answer.put_i16(0);
            for number in [0, 1, 1, 1, 1, 1] {
                answer.put_i32(number);
            }
        }

        assert_eq!(read_topics(answer.into()).unwrap(), ["orders", "us.orders"]);
    }
}
