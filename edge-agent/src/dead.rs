//! Dead letters: what could not go on, with the reason, in a topic of its own.

use bytes::Bytes;
use headland_event::{EventTime, NameError, Record, TopicName};
use sha2::{Digest, Sha256};

/// Most bytes that a dead letter repeats: enough to see what it was.
const KEPT_BYTES: usize = 4 << 10;

/// Header of a dead letter: why it is there.
const REASON_HEADER: &str = "hl-reason";

/// Header of a dead letter that does not repeat all: how many bytes the whole has.
const LENGTH_HEADER: &str = "hl-bytes";

/// Header of a dead letter that does not repeat all: SHA-256 of the whole, in hexadecimal.
const HASH_HEADER: &str = "hl-sha256";

/// The topic of a topic's dead letters.
///
/// # Errors
/// [`NameError`] when the topic's name is too long.
pub fn topic_of(topic: &TopicName) -> Result<TopicName, NameError> {
    TopicName::new(&format!("{topic}.dead"))
}

/// The dead letter of `bytes`: the first 4 KiB and why; of more also their length and SHA-256.
#[must_use]
pub fn letter(time: EventTime, bytes: &Bytes, reason: &str) -> Record {
    let kept = bytes.slice(..bytes.len().min(KEPT_BYTES));
    let is_whole = kept.len() == bytes.len();
    let record = Record { time, key: None, value: Some(kept), headers: Vec::new() }
        .with_header(REASON_HEADER, reason.to_owned());
    if is_whole {
        return record;
    }
    record
        .with_header(LENGTH_HEADER, bytes.len().to_string())
        .with_header(HASH_HEADER, sha256(bytes))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_one_is_whole_and_a_large_one_has_its_hash() {
        let limit = Bytes::from(vec![b'a'; KEPT_BYTES]);
        let beyond = Bytes::from(vec![b'a'; KEPT_BYTES + 1]);

        let [small, large] =
            [&limit, &beyond].map(|bytes| letter(EventTime::default(), bytes, "torn"));

        assert_eq!(small.header("hl-reason"), Some(&b"torn"[..]));
        assert_eq!((&small.value, small.header("hl-sha256")), (&Some(limit.clone()), None));
        assert_eq!(large.value, Some(limit));
        assert_eq!(large.header("hl-bytes"), Some(&b"4097"[..]));
        // `head -c 4097 /dev/zero | tr '\0' a | sha256sum`
        let hash = "4e369b5618643c3abddd027b650bfa54810be3b418028a7c9d82299a59d008e8";
        assert_eq!(large.header("hl-sha256"), Some(hash.as_bytes()));
    }

    #[test]
    fn a_topic_whose_dead_letters_have_no_name_is_refused() {
        let of = |length: usize| topic_of(&TopicName::new(&"t".repeat(length)).unwrap());

        assert_eq!(of(244).unwrap().as_str().len(), 249);
        assert!(of(245).is_err());
    }
}
