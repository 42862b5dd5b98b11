//! What a load lets go of, and whether nothing else is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use headland_event::{ByteCount, Entry, Offset, TopicName, TopicPartition};
use headland_storage::{
    CleanPolicy, Compaction, CompactionRule, Dropped, LogReader, Receivers, Retention, StateChange,
    TopicPattern, TopicRule, Trim,
};

use crate::load::{AGED, BOUNDED, KEYED, Load, OUTBOX, Volume};

/// How much is kept of a load.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Commits after which records count as old.
    age: u64,
    /// Bytes of each bounded partition.
    bytes: u64,
    /// Records of an outbox that were not acknowledged yet.
    lag: u64,
    /// Commits for which a tombstone is kept.
    tombstones: u64,
}

const fn limits(load: &Load) -> Limits {
    match load.volume() {
        Volume::Mixed => Limits { age: 400, bytes: 64 << 10, lag: 500, tombstones: 300 },
        Volume::Small => Limits { age: 12, bytes: 400, lag: 5, tombstones: 8 },
    }
}

/// What may go once the log ends there. A receiver of the bounded topic has nothing yet, so what
/// goes of it is shed; an outbox is trimmed as far as it was acknowledged.
pub(crate) fn policy(load: &Load, reader: &impl LogReader) -> Result<CleanPolicy> {
    let Limits { age, bytes, lag, tombstones } = limits(load);
    let rule = |name: &str, retention| -> Result<TopicRule> {
        let pattern = TopicPattern::Exactly(TopicName::new(name)?);
        Ok(TopicRule { pattern, retention })
    };
    let aged = Retention { time: Some(Duration::from_millis(age)), bytes: None };
    let bounded = Retention { time: None, bytes: Some(ByteCount::new(bytes)) };
    let topics = vec![rule(AGED, aged)?, rule(BOUNDED, bounded)?];
    let pattern = TopicPattern::Exactly(TopicName::new(KEYED)?);
    let compaction = Compaction { tombstones: Duration::from_millis(tombstones) };
    let compactions = vec![CompactionRule { pattern, compaction }];
    let mut receivers = BTreeMap::new();
    for partition in load.partitions() {
        let acknowledged = reader.end(&partition).get().saturating_sub(lag);
        let receivers_of = match partition.topic.as_str() {
            BOUNDED => Receivers { hold: Some(Offset::new(0)), ..Receivers::default() },
            OUTBOX => {
                let (to, keep) = (Offset::new(acknowledged), Retention::NOTHING);
                Receivers { trim: Some(Trim { to, keep }), ..Receivers::default() }
            }
            _ => continue,
        };
        receivers.insert(partition, receivers_of);
    }
    Ok(CleanPolicy { topics, compactions, receivers, ..CleanPolicy::default() })
}

/// Whether a partition may start where it does: `entries` is all that was ever written to it, each
/// with the number of its commit, `last` the log's last commit, `dropped` what the store says that
/// it shed.
pub(crate) fn may_start(
    load: &Load,
    (partition, start): (&TopicPartition, Offset),
    (entries, last): (&[(u64, Entry)], u64),
    dropped: &[Dropped],
) -> bool {
    let Limits { age, bytes, lag, tombstones: _ } = limits(load);
    if start == Offset::default() {
        return true;
    }
    let mut gone = entries.iter().filter(|(_, entry)| entry.end() <= start);
    match partition.topic.as_str() {
        // A load's clock stands at the number of the next commit.
        AGED => gone.all(|(number, _)| number + age <= last + 1),
        BOUNDED => {
            let named: u64 = dropped.iter().map(|range| range.count).sum();
            let kept = entries.iter().filter(|(_, entry)| entry.base >= start);
            // A part is a little longer than its batch.
            let kept: usize = kept.map(|(_, entry)| entry.batch.as_bytes().len() + 128).sum();
            named == start.get() && u64::try_from(kept).is_ok_and(|kept| kept >= bytes)
        }
        OUTBOX => {
            let end = entries.last().map_or(0, |(_, entry)| entry.end().get());
            start.get() <= end.saturating_sub(lag)
        }
        _ => false,
    }
}

/// Whether compaction may have taken a tombstone of this commit once the log ends there.
pub(crate) fn may_forget(load: &Load, number: u64, last: u64) -> bool {
    // A load's clock stands at the number of the next commit.
    number + limits(load).tombstones <= last + 1
}

/// The newest change of each key, and the number of its commit.
#[derive(Debug, Default)]
pub(crate) struct Newest(BTreeMap<Bytes, (u64, Option<Bytes>)>);

impl Newest {
    /// Takes in the changes of a commit, the next one in order.
    pub(crate) fn apply<'a>(
        &mut self,
        number: u64,
        changes: impl IntoIterator<Item = &'a StateChange>,
    ) {
        for StateChange { owner: _, key, value } in changes {
            self.0.insert(key.clone(), (number, value.clone()));
        }
    }

    /// Whether a change made by this commit must still be in the log: it set the key, and nobody
    /// changed it since. A deletion may go with the last value that it deletes.
    pub(crate) fn must_stay(&self, number: u64, change: &StateChange) -> bool {
        let newest = self.0.get(&change.key);
        change.value.is_some() && newest == Some(&(number, change.value.clone()))
    }

    /// What all changes leave.
    pub(crate) fn state(self) -> BTreeMap<Bytes, Bytes> {
        self.0.into_iter().filter_map(|(key, (_, value))| value.map(|value| (key, value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use headland_storage::{DiskStore, LogStore};

    use super::*;
    use crate::load::{Ends, KEPT};
    use crate::writer::options;

    /// Every entry of a load of 600 commits, by partition.
    fn entries(load: &Load) -> BTreeMap<TopicPartition, Vec<(u64, Entry)>> {
        let (mut ends, mut all) = (Ends::new(), BTreeMap::<_, Vec<_>>::new());
        for number in 1..=600 {
            for (partition, entry) in load.commit(number, &mut ends).unwrap().entries {
                all.entry(partition).or_default().push((number, entry));
            }
        }
        all
    }

    fn judged(topic: &str, start: impl Fn(&[(u64, Entry)]) -> Offset) -> bool {
        let load = Load::new(1, Volume::Mixed).unwrap();
        let all = entries(&load);
        let (partition, entries) = all.iter().find(|(p, _)| p.topic.as_str() == topic).unwrap();
        may_start(&load, (partition, start(entries)), (entries, 600), &[])
    }

    /// Where the first entry of this commit or a later one begins.
    fn base_from(number: u64) -> impl Fn(&[(u64, Entry)]) -> Offset {
        move |entries| entries.iter().find(|(n, _)| *n >= number).unwrap().1.base
    }

    #[test]
    fn old_records_may_go_and_young_ones_may_not() {
        assert!(judged(AGED, base_from(200)));
        assert!(!judged(AGED, base_from(260)));
    }

    #[test]
    fn what_nobody_acknowledged_may_not_go() {
        let end = |entries: &[(u64, Entry)]| entries.last().unwrap().1.end().get();

        assert!(judged(OUTBOX, |entries| Offset::new(end(entries) - 500)));
        assert!(!judged(OUTBOX, |entries| Offset::new(end(entries) - 499)));
    }

    #[test]
    fn what_was_shed_without_being_named_may_not_go_nor_what_is_kept() {
        assert!(!judged(BOUNDED, base_from(50)));
        assert!(!judged(KEPT, base_from(50)));
        assert!(judged(KEPT, |_| Offset::new(0)));
    }

    #[test]
    fn a_policy_names_each_outbox_and_each_bounded_partition() {
        let directory = tempfile::tempdir().unwrap();
        let load = Load::new(1, Volume::Mixed).unwrap();
        let store = DiskStore::open(directory.path(), options(1)).unwrap();

        let policy = policy(&load, &store.reader()).unwrap();

        assert_eq!((policy.topics.len(), policy.receivers.len()), (2, 4));
    }

    #[test]
    fn the_newest_value_must_stay_and_an_older_one_or_a_deletion_need_not() {
        let load = Load::new(1, Volume::Mixed).unwrap();
        let change = |key: &'static str, value: Option<&'static str>| StateChange {
            owner: load.owner().clone(),
            key: Bytes::from(key),
            value: value.map(Bytes::from),
        };
        let mut newest = Newest::default();
        newest.apply(1, &[change("a", Some("1")), change("b", Some("1"))]);
        newest.apply(2, &[change("a", Some("2")), change("b", None)]);

        assert!(newest.must_stay(2, &change("a", Some("2"))));
        assert!(!newest.must_stay(1, &change("a", Some("1"))));
        assert!(!newest.must_stay(2, &change("b", None)));
        assert_eq!(newest.state().into_values().collect::<Vec<_>>(), ["2"]);
    }
}
