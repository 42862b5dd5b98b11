//! How far each region's logs have come: promises that wait for their data, and late rows that
//! wait for the promise that covers them.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use headland_event::{EventTime, Offset, PartitionIndex, Promise, Record, TopicName};

/// Bytes of late rows of a region that wait at most; the oldest go as if the next promise had come,
/// and may then count at one hub and not at another. A region promises every second.
const HELD_BYTES_LIMIT: usize = 16 << 20;

/// What is known of the logs of all regions, by the number of the region.
#[derive(Debug)]
pub(super) struct Logs {
    pub(super) regions: Vec<RegionLogs>,
}

/// What is known of a region's logs. Offsets are those of the region itself.
#[derive(Debug, Default)]
pub(super) struct RegionLogs {
    /// Promises that are not in effect, in the order of the region's log.
    pub(super) promises: VecDeque<Promise>,
    /// Where its partitions end here.
    pub(super) ends: BTreeMap<(TopicName, PartitionIndex), Offset>,
    /// The promises in effect.
    pub(super) watermarks: BTreeMap<TopicName, EventTime>,
    /// Late rows that no promise in effect covers.
    pub(super) held: VecDeque<Held>,
    pub(super) held_bytes: usize,
}

/// A late row that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) topic: TopicName,
    pub(super) partition: PartitionIndex,
    pub(super) offset: Offset,
    pub(super) value: Bytes,
}

/// A promise that takes effect.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) topic: TopicName,
    /// The watermark that the late rows came behind.
    pub(super) behind: EventTime,
    /// Late rows that lie before the promise and behind the one before it.
    pub(super) late: Vec<Held>,
}

impl Logs {
    pub(super) fn new(regions: usize) -> Self {
        Self { regions: std::iter::repeat_with(RegionLogs::default).take(regions).collect() }
    }

    /// A record of a region's `_promises`. One that is no promise, such as an absent agent, says
    /// nothing here; nor does one about a topic that is not read, whose data nobody waits for.
    pub(super) fn on_promise(
        &mut self,
        region: usize,
        record: &Record,
        is_read: impl Fn(&TopicName) -> bool,
    ) {
        let value = record.value.as_deref().unwrap_or_default();
        if let (Some(logs), Ok(promise)) =
            (self.regions.get_mut(region), serde_json::from_slice::<Promise>(value))
            && is_read(&promise.topic)
        {
            logs.promises.push_back(promise);
        }
    }

    /// A region's partition ends there now.
    pub(super) fn reach(
        &mut self,
        region: usize,
        topic: &TopicName,
        partition: PartitionIndex,
        end: Offset,
    ) {
        if let Some(logs) = self.regions.get_mut(region) {
            logs.ends.insert((topic.clone(), partition), end);
        }
    }

    /// Keeps a late row until a promise covers it.
    pub(super) fn hold(&mut self, region: usize, held: Held) {
        if let Some(logs) = self.regions.get_mut(region) {
            logs.held_bytes += held.value.len();
            logs.held.push_back(held);
        }
    }

    /// The region's next promise, if its data is here; it is in effect from now on.
    pub(super) fn next_reached(&mut self, region: usize) -> Option<Reached> {
        let logs = self.regions.get_mut(region)?;
        if logs.held_bytes > HELD_BYTES_LIMIT {
            return logs.release_early();
        }
        let Promise { topic, ends, .. } = logs.promises.front()?;
        let is_here = ends.iter().all(|(partition, end)| {
            let here = logs.ends.get(&(topic.clone(), *partition));
            here.copied().unwrap_or_default() >= *end
        });
        if !is_here {
            return None;
        }
        let Promise { topic, watermark, ends } = logs.promises.pop_front()?;
        let before = logs.watermarks.get(&topic).copied();
        let late = logs.release(|held| {
            let end = ends.get(&held.partition).copied().unwrap_or_default();
            held.topic == topic && held.offset < end
        });
        let risen = before.map_or(watermark, |before| before.max(watermark));
        logs.watermarks.insert(topic.clone(), risen);
        Some(Reached { topic, behind: before.unwrap_or(EventTime::MIN), late })
    }

    /// Up to where every region has promised a topic; none while one has promised nothing.
    pub(super) fn least(&self, topic: &TopicName) -> Option<EventTime> {
        let watermarks = self.regions.iter().map(|logs| logs.watermarks.get(topic).copied());
        watermarks.min().flatten()
    }

    /// Up to where the region that is furthest has promised a topic.
    pub(super) fn most(&self, topic: &TopicName) -> Option<EventTime> {
        self.regions.iter().filter_map(|logs| logs.watermarks.get(topic).copied()).max()
    }

    /// Whether a region has promised all of these topics up to a time.
    pub(super) fn has_promised<'a>(
        &self,
        region: usize,
        mut topics: impl Iterator<Item = &'a TopicName>,
        time: EventTime,
    ) -> bool {
        let Some(logs) = self.regions.get(region) else { return false };
        topics.all(|topic| logs.watermarks.get(topic).is_some_and(|watermark| *watermark >= time))
    }
}

impl RegionLogs {
    /// Takes out the late rows that something is true of, in their order.
    fn release(&mut self, is_due: impl Fn(&Held) -> bool) -> Vec<Held> {
        let (due, rest) = self.held.drain(..).partition::<VecDeque<_>, _>(is_due);
        self.held = rest;
        self.held_bytes = self.held.iter().map(|held| held.value.len()).sum();
        due.into()
    }

    /// Takes out the late rows of the topic that has waited longest, behind the promise in effect.
    fn release_early(&mut self) -> Option<Reached> {
        let topic = self.held.front()?.topic.clone();
        tracing::warn!(%topic, limit = HELD_BYTES_LIMIT, "late rows no longer wait for a promise");
        let late = self.release(|held| held.topic == topic);
        let behind = self.watermarks.get(&topic).copied().unwrap_or(EventTime::MIN);
        Some(Reached { topic, behind, late })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> TopicName {
        TopicName::new("air").unwrap()
    }

    fn promise(watermark: i64, end: u64) -> Record {
        let ends = BTreeMap::from([(PartitionIndex::new(0), Offset::new(end))]);
        let watermark = EventTime::from_millis(watermark);
        let value = serde_json::to_vec(&Promise { topic: topic(), watermark, ends }).unwrap();
        Record::new(EventTime::from_millis(0), "air", value)
    }

    fn held(offset: u64) -> Held {
        let partition = PartitionIndex::new(0);
        Held { topic: topic(), partition, offset: Offset::new(offset), value: Bytes::new() }
    }

    #[test]
    fn a_promise_is_reached_with_its_data_and_names_what_its_late_rows_came_behind() {
        let mut logs = Logs::new(1);
        logs.on_promise(0, &promise(100, 3), |_| true);
        logs.on_promise(0, &promise(200, 5), |_| true);
        logs.hold(0, held(4));

        logs.reach(0, &topic(), PartitionIndex::new(0), Offset::new(4));
        let [first, none] = [logs.next_reached(0), logs.next_reached(0)];
        logs.reach(0, &topic(), PartitionIndex::new(0), Offset::new(5));
        let second = logs.next_reached(0);

        let reached = |behind, late| Reached { topic: topic(), behind, late };
        assert_eq!(first, Some(reached(EventTime::MIN, Vec::new())));
        assert_eq!(none, None);
        assert_eq!(second, Some(reached(EventTime::from_millis(100), vec![held(4)])));
        assert_eq!(logs.least(&topic()), Some(EventTime::from_millis(200)));
    }

    #[test]
    fn a_region_that_has_promised_nothing_holds_all_and_the_furthest_is_known() {
        let mut logs = Logs::new(2);
        logs.on_promise(1, &promise(100, 0), |_| true);

        assert!(logs.next_reached(1).is_some());

        assert_eq!(logs.least(&topic()), None);
        assert_eq!(logs.most(&topic()), Some(EventTime::from_millis(100)));
    }

    #[test]
    fn a_promise_about_a_topic_that_is_not_read_holds_no_other() {
        let mut logs = Logs::new(1);
        logs.on_promise(0, &promise(100, 7), |_| false);
        logs.on_promise(0, &promise(200, 0), |_| true);

        assert!(logs.next_reached(0).is_some());

        assert_eq!(logs.least(&topic()), Some(EventTime::from_millis(200)));
    }

    #[test]
    fn late_rows_beyond_their_bound_wait_no_longer() {
        let mut logs = Logs::new(1);
        let value = Bytes::from(vec![0; HELD_BYTES_LIMIT]);
        logs.hold(0, Held { value, ..held(0) });
        let at_the_bound = logs.next_reached(0);

        logs.hold(0, Held { value: Bytes::from_static(b"x"), ..held(1) });
        let beyond = logs.next_reached(0).unwrap();

        assert_eq!(at_the_bound, None);
        assert_eq!(beyond.late.len(), 2);
        assert_eq!(logs.regions[0].held_bytes, 0);
    }
}
