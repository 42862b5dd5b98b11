//! Names of regions, nodes and topics; ids, offsets and dots.
//!
//! A name is checked once, when it is built; afterwards its type says that it fits.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name that does not fit its rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {found:?} does not fit: {expected}")]
#[non_exhaustive]
pub struct NameError {
    /// What kind of name was read, for example `topic`.
    pub kind: &'static str,
    /// The name as found.
    pub found: String,
    /// The rule it breaks.
    pub expected: &'static str,
}

fn check(
    kind: &'static str,
    found: &str,
    length_max: usize,
    expected: &'static str,
) -> Result<Arc<str>, NameError> {
    let fits = !found.is_empty()
        && found.len() <= length_max
        && found != "."
        && found != ".."
        && found.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if fits {
        Ok(Arc::from(found))
    } else {
        Err(NameError { kind, found: found.to_owned(), expected })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $length_max:literal, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks and keeps a name.
            ///
            /// # Errors
            /// [`NameError`] when the name does not fit the rule in the type's documentation.
            pub fn new(name: &str) -> Result<Self, NameError> {
                check($kind, name, $length_max, $rule).map(Self)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(&name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.as_str().to_owned()
            }
        }
    };
}

name!(
    /// A region's id: 1 to 64 of `[A-Za-z0-9._-]`. Never decided by splitting a topic's name.
    RegionId,
    "region",
    64,
    "1 to 64 characters of A-Z a-z 0-9 . _ -"
);
name!(
    /// What a hub calls another region in names of topics: 1 to 64 of `[A-Za-z0-9._-]`. Not its id.
    Alias,
    "alias",
    64,
    "1 to 64 characters of A-Z a-z 0-9 . _ -"
);
name!(
    /// A hub's name within its region: 1 to 64 of `[A-Za-z0-9._-]`.
    HubName,
    "hub",
    64,
    "1 to 64 characters of A-Z a-z 0-9 . _ -"
);
name!(
    /// An agent's name within its region: 1 to 64 of `[A-Za-z0-9._-]`.
    AgentName,
    "agent",
    64,
    "1 to 64 characters of A-Z a-z 0-9 . _ -"
);
name!(
    /// A topic's name: 1 to 249 of `[A-Za-z0-9._-]`, Kafka's rule. Never used as a path.
    TopicName,
    "topic",
    249,
    "1 to 249 characters of A-Z a-z 0-9 . _ -"
);

name!(
    /// The name of a consumer group: 1 to 249 of `[A-Za-z0-9._-]`.
    GroupName,
    "group",
    249,
    "1 to 249 characters of A-Z a-z 0-9 . _ -"
);

impl From<&RegionId> for Alias {
    /// A region's id is what it is called unless a hub says otherwise.
    fn from(region: &RegionId) -> Self {
        Self(region.0.clone())
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $type:ident, $raw:ty) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize,
            Deserialize,
        )]
        #[serde(transparent)]
        pub struct $type($raw);

        impl $type {
            /// Wraps a raw number.
            #[must_use]
            pub const fn new(raw: $raw) -> Self {
                Self(raw)
            }

            /// The raw number.
            #[must_use]
            pub const fn get(self) -> $raw {
                self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

macro_rules! counted {
    ($type:ident) => {
        impl $type {
            /// The number `count` after this one.
            ///
            /// # Panics
            /// When the sum leaves 64 bits, which no log can reach.
            #[must_use]
            pub const fn after(self, count: u64) -> Self {
                match self.0.checked_add(count) {
                    Some(raw) => Self(raw),
                    None => panic!("a 64-bit count overflowed"),
                }
            }

            /// How far this number is past `earlier`, zero when it is not.
            #[must_use]
            pub const fn since(self, earlier: Self) -> u64 {
                self.0.saturating_sub(earlier.0)
            }
        }
    };
}

number!(
    /// Index of a partition within its topic, from 0.
    PartitionIndex,
    u32
);
number!(
    /// Position of a record in one partition of one node's log, from 0.
    Offset,
    u64
);
number!(
    /// How far a record's offset is past the base offset of its batch, from 0.
    OffsetDelta,
    u32
);
number!(
    /// Position of a record in its stream and incarnation, contiguous from 1.
    Sequence,
    u64
);
number!(
    /// Number of a commit in one node's journal, contiguous from 1.
    CommitNumber,
    u64
);
number!(
    /// Index of a partition announced on one connection of a link, from 0, in the order announced.
    ChannelId,
    u32
);
number!(
    /// How often the receiver of a channel has said where it stands, from 1 for the first time.
    ChannelEpoch,
    u64
);
number!(
    /// How often a group's committed offset in a partition was set back or ahead on purpose, from
    /// 0. Within one epoch a committed offset only grows.
    GroupEpoch,
    u64
);
counted!(Offset);
counted!(Sequence);
counted!(CommitNumber);
counted!(ChannelEpoch);
counted!(GroupEpoch);

impl Offset {
    /// Offset of the record at `delta` in a batch whose base offset is this one.
    ///
    /// # Panics
    /// When the sum leaves 64 bits, which no log can reach.
    #[must_use]
    pub const fn at(self, delta: OffsetDelta) -> Self {
        // A lossless widening; `u64::from` is not const.
        self.after(delta.0 as u64)
    }
}

/// 128-bit random id of a stream: one partition of one topic as its first durable writer wrote it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId([u8; 16]);

impl StreamId {
    /// Wraps the 16 bytes of an id.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the id.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One life of a node's data directory: a counter for people, a nonce so that two never collide.
///
/// New with a new data directory, a restore, or a machine that no longer matches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    counter: u32,
    nonce: u64,
}

impl Incarnation {
    /// The `counter`-th life, told apart from every other by 64 random bits.
    #[must_use]
    pub const fn new(counter: u32, nonce: u64) -> Self {
        Self { counter, nonce }
    }

    /// How many lives this node's identity had, this one included.
    #[must_use]
    pub const fn counter(self) -> u32 {
        self.counter
    }

    /// The random part.
    #[must_use]
    pub const fn nonce(self) -> u64 {
        self.nonce
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.counter, self.nonce)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A record's name for life: assigned once by its first durable writer, changed by nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    /// The stream the record was written to.
    pub stream: StreamId,
    /// The life of the writer.
    pub incarnation: Incarnation,
    /// The record's place in that stream and life.
    pub sequence: Sequence,
}

impl Dot {
    /// The dot of the record `count` places later in the same stream and incarnation.
    #[must_use]
    pub const fn after(self, count: u64) -> Self {
        Self { sequence: self.sequence.after(count), ..self }
    }

    /// The dot of the record at `delta` in a batch whose first dot is this one.
    #[must_use]
    pub const fn at(self, delta: OffsetDelta) -> Self {
        // A lossless widening; `u64::from` is not const.
        self.after(delta.0 as u64)
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.stream, self.incarnation, self.sequence)
    }
}

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition within it.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// Names a partition.
    #[must_use]
    pub const fn new(topic: TopicName, partition: PartitionIndex) -> Self {
        Self { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_name_of_249_characters_fits_and_one_of_250_does_not() {
        assert_eq!(TopicName::new(&"a".repeat(249)).unwrap().as_str().len(), 249);
        assert_eq!(TopicName::new(&"a".repeat(250)).unwrap_err().kind, "topic");
    }

    #[test]
    fn a_name_with_a_path_separator_or_nothing_else_than_dots_is_refused() {
        for name in ["", ".", "..", "a/b", "a b", "ä"] {
            assert_eq!(TopicName::new(name).unwrap_err().found, name);
        }
    }

    #[test]
    fn a_channel_epoch_follows_the_one_before_it() {
        let first = ChannelEpoch::new(1);

        assert_eq!(first.after(1), ChannelEpoch::new(2));
        assert_eq!(first.after(1).since(first), 1);
    }

    #[test]
    fn dots_of_one_batch_are_contiguous() {
        let dot = Dot {
            stream: StreamId::new([7; 16]),
            incarnation: Incarnation::new(1, 2),
            sequence: Sequence::new(5),
        };

        assert_eq!(dot.after(3).sequence, Sequence::new(8));
        assert_eq!(dot.at(OffsetDelta::new(3)), dot.after(3));
        assert_eq!(dot.after(3).stream, dot.stream);
    }
}
