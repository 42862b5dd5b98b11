//! What hubs say of the topics that are declared there, in `_settings`.
//!
//! ```text
//! record:   key "topics" │ value JSON
//!           {"version":1,"topics":{"air":{"partitions":8,"retention_ms":3600000,
//!            "retention_bytes":1073741824,"compacted":{"tombstones_ms":86400000}}}}
//! ```
//! A record names every topic that its hub declares: the last one of a log holds and nothing before
//! it is needed. Unknown fields are for later versions, an unknown `version` is not read. As many
//! topics as a node may have, with names of 249 characters, are well below a record's 1 MiB.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use headland_event::limits::TOPICS_LIMIT;
use headland_event::{Batch, ByteCount, Now, Record, TopicName};
use headland_storage::{Compaction, Retention};
use serde::{Deserialize, Serialize};

use crate::topics::PARTITIONS_LIMIT;

/// The version that is written, and the only one that is read.
const VERSION: u8 = 1;

/// The key of every record: of a log the last one stays.
const KEY: &str = "topics";

/// The topic of what hubs say of their topics.
///
/// # Panics
/// Never: the name is a literal that fits.
#[must_use]
pub fn settings_topic() -> TopicName {
    #[expect(clippy::expect_used, reason = "a literal that fits the rule for topics")]
    TopicName::new("_settings").expect("a literal topic name fits")
}

/// What a hub says of a topic that is declared there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    partitions: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retention_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retention_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compacted: Option<Compacted>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Compacted {
    tombstones_ms: u64,
}

impl Settings {
    /// What is said of a topic with so many partitions of which this is kept.
    #[must_use]
    pub fn new(partitions: u32, retention: Retention, compaction: Option<Compaction>) -> Self {
        let Retention { time, bytes } = retention;
        let compacted = compaction
            .map(|Compaction { tombstones }| Compacted { tombstones_ms: millis(tombstones) });
        let (retention_ms, retention_bytes) = (time.map(millis), bytes.map(ByteCount::get));
        Self { partitions, retention_ms, retention_bytes, compacted }
    }

    /// How many partitions it has.
    #[must_use]
    pub const fn partitions(&self) -> u32 {
        self.partitions
    }

    /// How long and how much of a partition is kept.
    #[must_use]
    pub fn retention(&self) -> Retention {
        let (time, bytes) = (self.retention_ms, self.retention_bytes);
        Retention { time: time.map(Duration::from_millis), bytes: bytes.map(ByteCount::new) }
    }

    /// How it is compacted; `None` when every key keeps all of its records.
    #[must_use]
    pub fn compaction(&self) -> Option<Compaction> {
        let tombstones = |of: Compacted| Duration::from_millis(of.tombstones_ms);
        self.compacted.map(|of| Compaction { tombstones: tombstones(of) })
    }
}

/// What a hub says of all its topics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    version: u8,
    topics: BTreeMap<TopicName, Settings>,
}

/// Why a record is no word on topics that can be held to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnreadSettings {
    /// It is no JSON of that kind.
    #[error("it is not of a known kind")]
    Json(#[from] serde_json::Error),
    /// A later version wrote it.
    #[error("it has version {found}, this build reads {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// More topics than a node may have.
    #[error("it names {found} topics, at most {TOPICS_LIMIT} there are")]
    TooMany {
        /// Topics named.
        found: usize,
    },
    /// More partitions than a topic may have, or none.
    #[error("topic {topic} has {found} partitions there, expected 1 to {PARTITIONS_LIMIT}")]
    Partitions {
        /// The topic.
        topic: TopicName,
        /// Its partitions.
        found: u32,
    },
}

impl UnreadSettings {
    /// Whether the same record could be read later: never by this build.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Json(_)
            | Self::Version { .. }
            | Self::TooMany { .. }
            | Self::Partitions { .. } => false,
        }
    }
}

impl Said {
    /// The word on these topics.
    #[must_use]
    pub const fn new(topics: BTreeMap<TopicName, Settings>) -> Self {
        Self { version: VERSION, topics }
    }

    /// Whether all of every topic is kept.
    #[must_use]
    pub fn limits_nothing(&self) -> bool {
        let all = Retention { time: None, bytes: None };
        let mut topics = self.topics.values();
        topics.all(|of| of.retention() == all && of.compaction().is_none())
    }

    /// What is said of a topic, by its name at the hub that says it.
    #[must_use]
    pub fn of(&self, topic: &TopicName) -> Option<&Settings> {
        self.topics.get(topic)
    }

    /// Every topic that is spoken of, ordered by name.
    pub fn topics(&self) -> impl Iterator<Item = (&TopicName, &Settings)> {
        self.topics.iter()
    }

    /// The record of it.
    #[must_use]
    pub fn record(&self, now: Now) -> Record {
        Record::new(now.wall, KEY, json(self))
    }

    /// Reads the value of a record.
    ///
    /// # Errors
    /// [`UnreadSettings`] when it is anything else, or beyond a bound.
    pub fn decode(value: &Bytes) -> Result<Self, UnreadSettings> {
        let said: Self = serde_json::from_slice(value)?;
        if said.version != VERSION {
            return Err(UnreadSettings::Version { found: said.version });
        }
        if said.topics.len() > TOPICS_LIMIT {
            return Err(UnreadSettings::TooMany { found: said.topics.len() });
        }
        let unfit = |(_, of): &(&TopicName, &Settings)| !is_count(of.partitions);
        if let Some((topic, of)) = said.topics().find(unfit) {
            let (topic, found) = (topic.clone(), of.partitions);
            return Err(UnreadSettings::Partitions { topic, found });
        }
        Ok(said)
    }

    /// The last word of a batch that can be held to; `None` when it has none.
    #[must_use]
    pub fn last_of(batch: &Batch) -> Option<Self> {
        let values = batch.records().unwrap_or_default().into_iter().rev();
        // What has another key, or is a hole, says nothing of topics.
        let of_topics = values.filter(|record| record.key.as_deref() == Some(KEY.as_bytes()));
        of_topics.filter_map(|record| record.value).find_map(|value| match Self::decode(&value) {
            Ok(said) => Some(said),
            Err(error) => {
                let error = headland_platform::telemetry::with_causes(&error);
                tracing::warn!(error, "a region's word on its topics is not held to");
                None
            }
        })
    }
}

fn json(said: &Said) -> Bytes {
    #[expect(clippy::expect_used, reason = "names and numbers always have a JSON")]
    Bytes::from(serde_json::to_vec(said).expect("names and numbers have a JSON"))
}

fn is_count(partitions: u32) -> bool {
    (1..=PARTITIONS_LIMIT).contains(&partitions)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first version's bytes: other hubs hold to them.
    const GOLDEN: &str = concat!(
        r#"{"version":1,"topics":{"air":{"partitions":8,"retention_ms":3600000,"#,
        r#""retention_bytes":1073741824,"compacted":{"tombstones_ms":86400000}},"#,
        r#""orders":{"partitions":1}}}"#,
    );

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    fn golden() -> Said {
        let retention = Retention {
            time: Some(Duration::from_hours(1)),
            bytes: Some(ByteCount::mebibytes(1_024)),
        };
        let compaction = Compaction { tombstones: Duration::from_hours(24) };
        let all = Retention { time: None, bytes: None };
        Said::new(BTreeMap::from([
            (topic("air"), Settings::new(8, retention, Some(compaction))),
            (topic("orders"), Settings::new(1, all, None)),
        ]))
    }

    #[test]
    fn what_is_said_of_topics_has_the_bytes_it_always_had() {
        let record = golden().record(Now::default());

        assert_eq!(record.key.as_deref(), Some(&b"topics"[..]));
        assert_eq!(record.value.as_deref(), Some(GOLDEN.as_bytes()));
        assert_eq!(Said::decode(&Bytes::from_static(GOLDEN.as_bytes())).unwrap(), golden());
    }

    #[test]
    fn what_a_later_build_adds_is_passed_over_and_a_later_version_is_not_read() {
        let more = GOLDEN.replace("{\"partitions\":1}", "{\"partitions\":1,\"colour\":\"red\"}");
        let later = GOLDEN.replace("\"version\":1", "\"version\":2");

        assert_eq!(Said::decode(&more.into()).unwrap(), golden());
        let error = Said::decode(&later.into()).unwrap_err();
        assert_eq!(error.to_string(), "it has version 2, this build reads 1");
    }

    #[test]
    fn topics_and_partitions_beyond_their_bounds_are_refused() {
        let of = |count: usize, partitions: u32| {
            let all = Retention { time: None, bytes: None };
            let one = |n| (topic(&format!("t{n}")), Settings::new(partitions, all, None));
            let record = Said::new((0..count).map(one).collect()).record(Now::default());
            Said::decode(&record.value?).err().map(|error| error.to_string())
        };

        assert_eq!(of(TOPICS_LIMIT, PARTITIONS_LIMIT), None);
        assert!(of(TOPICS_LIMIT + 1, 1).unwrap().starts_with("it names 1025 topics"));
        assert!(of(1, 0).unwrap().starts_with("topic t0 has 0 partitions there"));
        assert!(of(1, PARTITIONS_LIMIT + 1).unwrap().contains("has 1025 partitions"));
    }

    #[test]
    fn of_a_batch_the_last_word_that_can_be_held_to_holds() {
        let now = Now::default();
        let first = Said::new(BTreeMap::new()).record(now);
        let broken = Record::new(now.wall, KEY, "{");
        let other = Record::new(now.wall, "later", "{}");
        let batch = Batch::encode(&[first, golden().record(now), broken, other]).unwrap();

        assert_eq!(Said::last_of(&batch), Some(golden()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_word_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _said = Said::decode(&Bytes::from(bytes));
        }
    }
}
