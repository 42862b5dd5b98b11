//! What is kept of which partition: plain data, which the caller makes from its configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use headland_event::{ByteCount, Offset, TopicName, TopicPartition};

use crate::cleaning::record::ShedBy;
use crate::commit::StateOwner;

/// Live share of a file, in percent, below which what is left of it is written anew.
///
/// At 50 a byte is written again at most as often as its file loses half, so that all copies of an
/// appended byte together are at most one more. Higher frees room earlier and writes more.
const LIVE_PERCENT: u8 = 50;

/// What cleaning may take away; everything that nothing here lets go is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanPolicy {
    /// Rules for topics: the first one whose pattern fits a partition's topic counts for it.
    pub topics: Vec<TopicRule>,
    /// Topics of which only the newest record of each key is kept, besides what their rule above
    /// lets go: the first one whose pattern fits counts. Others keep every record.
    pub compactions: Vec<CompactionRule>,
    /// How far the receivers of single partitions are.
    pub receivers: BTreeMap<TopicPartition, Receivers>,
    /// Operators that start again from snapshots: while one of them has fewer than two, no file is
    /// removed, because it would replay them. Those that have any need not be named.
    pub operators: Vec<StateOwner>,
    /// Live share of a closed file, in percent, below which the rest is copied and the file
    /// removed. Default 50. Too small keeps dead bytes on the disk, too large writes more: at 50
    /// at most one byte for each byte appended. At most 100.
    pub live_percent: u8,
}

impl Default for CleanPolicy {
    /// Keeps every record; superseded changes of state go.
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            compactions: Vec::new(),
            receivers: BTreeMap::new(),
            operators: Vec::new(),
            live_percent: LIVE_PERCENT,
        }
    }
}

impl CleanPolicy {
    /// The retention of a topic; that of no rule is without limits.
    #[must_use]
    pub fn retention(&self, topic: &TopicName) -> Retention {
        let rule = self.topics.iter().find(|rule| rule.pattern.fits(topic));
        rule.map_or(Retention::FOREVER, |rule| rule.retention)
    }

    /// How a topic is compacted; `None` for one of no rule.
    #[must_use]
    pub fn compaction(&self, topic: &TopicName) -> Option<Compaction> {
        let rule = self.compactions.iter().find(|rule| rule.pattern.fits(topic));
        rule.map(|rule| rule.compaction)
    }

    /// Says that nothing within retention goes at or after `offset`: the slowest linked receiver
    /// has everything before it.
    pub fn hold(&mut self, partition: TopicPartition, offset: Offset) {
        self.receivers.entry(partition).or_default().hold = Some(offset);
    }

    /// Says that nothing goes at or after `offset`, whatever retention says: too few have it.
    pub fn keep(&mut self, partition: TopicPartition, offset: Offset) {
        self.receivers.entry(partition).or_default().keep = Some(offset);
    }

    /// Gives up everything before `shed.to`, whoever does not have it yet.
    pub fn shed(&mut self, partition: TopicPartition, shed: Shed) {
        self.receivers.entry(partition).or_default().shed = Some(shed);
    }

    /// Says that everything before `to` was acknowledged, and how much of it to keep all the same.
    pub fn trim(&mut self, partition: TopicPartition, to: Offset, keep: Retention) {
        self.receivers.entry(partition).or_default().trim = Some(Trim { to, keep });
    }
}

/// The retention of some topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRule {
    /// Which topics.
    pub pattern: TopicPattern,
    /// What is kept of each of their partitions.
    pub retention: Retention,
}

/// How some topics are compacted by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionRule {
    /// Which topics.
    pub pattern: TopicPattern,
    /// What is kept of each of their partitions.
    pub compaction: Compaction,
}

/// Compaction of a partition by key: a record goes once a later one has the same key.
///
/// Records without a key stay, and so do all that a linked receiver does not have yet. What goes
/// leaves its offset: in a batch as a gap between offset deltas, and where a whole batch goes as a
/// hole named [`headland_event::DropPolicy::Compacted`]. A file is written anew only when less
/// than [`CleanPolicy::live_percent`] of it counts, so some superseded records stay for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// How long a tombstone, a record without a value, is kept at least, by its event time: as
    /// long as the slowest reader may need from the start of the partition to its end. Then it
    /// goes when its file is copied and nothing older of its key is in files before. Too short and
    /// such a reader keeps a value that was deleted, too long costs room only.
    pub tombstones: Duration,
}

/// Some topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicPattern {
    /// The one of this name.
    Exactly(TopicName),
    /// Every topic whose name begins with this; all topics, when it is empty.
    StartsWith(String),
}

impl TopicPattern {
    /// Whether a topic is one of them.
    #[must_use]
    pub fn fits(&self, topic: &TopicName) -> bool {
        match self {
            Self::Exactly(name) => name == topic,
            Self::StartsWith(prefix) => topic.as_str().starts_with(prefix.as_str()),
        }
    }
}

/// How much of a partition is kept: what passes either limit goes, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Age since an entry's ingest hub took it in, by its stamp, of a block of about 64 KiB as a
    /// whole: it goes when its youngest entry is older. Of entries without a stamp it is that of
    /// their event times. `None` keeps records of any age.
    ///
    /// # Source
    /// Kafka's `retention.ms` with `message.timestamp.type=LogAppendTime`.
    pub time: Option<Duration>,
    /// Bytes of the partition in the journal. At least as many are kept, and up to those of one
    /// file's share more, because whole shares go. `None` keeps any number.
    pub bytes: Option<ByteCount>,
}

impl Retention {
    /// Keeps everything.
    pub const FOREVER: Self = Self { time: None, bytes: None };

    /// Keeps nothing: for acknowledged records that nobody will ask for again.
    pub const NOTHING: Self = Self { time: None, bytes: Some(ByteCount::new(0)) };
}

/// How far those are that a partition is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Receivers {
    /// The slowest linked receiver has everything before this offset. What retention takes at or
    /// after it is *shed*: recorded as [`crate::Dropped`], for receivers to accept as a hole.
    /// `None` when nobody is linked: what goes then leaves no record.
    pub hold: Option<Offset>,
    /// Nothing goes at or after this offset, whatever else is said here or by retention.
    pub keep: Option<Offset>,
    /// What was acknowledged and may go before retention takes it.
    pub trim: Option<Trim>,
    /// What goes before retention takes it, acknowledged or not.
    pub shed: Option<Shed>,
}

/// Records that the caller has decided to give up, for what only it knows: how much it keeps of
/// all partitions together, and since when by its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shed {
    /// All before this offset, the base of an entry.
    pub to: Offset,
    /// Why, for those who do not have them.
    pub by: ShedBy,
}

/// Records that were acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// All before this offset.
    pub to: Offset,
    /// How much of them is kept all the same, to refill a receiver that lost its disk. The
    /// partition's newest bytes count first, acknowledged or not.
    pub keep: Retention,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    #[test]
    fn the_first_rule_that_fits_a_topic_counts() {
        let rule = |pattern, bytes| {
            let retention = Retention { time: None, bytes: Some(ByteCount::new(bytes)) };
            TopicRule { pattern, retention }
        };
        let policy = CleanPolicy {
            topics: vec![
                rule(TopicPattern::Exactly(topic("air.late")), 1),
                rule(TopicPattern::StartsWith("air.".to_owned()), 2),
            ],
            ..CleanPolicy::default()
        };

        let bytes = |name| policy.retention(&topic(name)).bytes.map(ByteCount::get);

        assert_eq!(bytes("air.late"), Some(1));
        assert_eq!(bytes("air.later"), Some(2));
        assert_eq!(bytes("air"), None);
    }
}
