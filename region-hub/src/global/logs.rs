//! How far each region's logs have come: promises that wait for their data, and rows that wait for
//! the promise that covers them.
//!
//! Each life of a region's hub and each topic has a queue of its own: promises of a life that is
//! over may never come true, and one topic's data may be hours behind another's. Whatever is given
//! up at a bound is told as a [`Lost`] stretch of time, of which nothing is final any more.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use headland_event::{EventTime, Incarnation, Offset, PartitionIndex, Promise, TopicName, Verdict};

/// Bytes of rows of one topic, of one life, that wait at most; beyond it they wait no longer. One
/// that a promise covers which is known, though its data is not all here, is judged by that as
/// everywhere; what others are of is not final here. A region promises every second.
const HELD_BYTES_LIMIT: usize = 4 << 20;

/// Most promises of one topic, of one life, that wait for their data: more than an hour at one a
/// second. Beyond it the last but one is passed over, and what lies between is not final here.
const PROMISES_LIMIT: usize = 4_096;

/// Most lives of a region's hub that are told apart; the oldest goes first.
const LIVES_LIMIT: usize = 4;

/// What is known of the logs of all regions, by the number of the region.
#[derive(Debug)]
pub(super) struct Logs {
    pub(super) regions: Vec<RegionLogs>,
}

/// What is known of a region's logs. Offsets are those of the region itself.
#[derive(Debug, Default)]
pub(super) struct RegionLogs {
    /// By the life of its hub, the last one last.
    pub(super) lives: BTreeMap<Incarnation, LifeLogs>,
    /// The promises in effect, of all lives.
    pub(super) watermarks: BTreeMap<TopicName, EventTime>,
}

/// The logs of one life.
#[derive(Debug, Default)]
pub(super) struct LifeLogs {
    pub(super) begins: Begins,
    pub(super) topics: BTreeMap<TopicName, TopicLogs>,
}

/// How the logs of a life begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Begins {
    /// From nothing: at offset 0.
    #[default]
    Empty,
    /// Where the life before it ended, as behind a restored backup.
    Behind,
}

/// The partitions of a topic.
#[derive(Debug, Default)]
pub(super) struct TopicLogs {
    /// Promises that are not in effect, in the order of the log.
    pub(super) promises: VecDeque<Waiting>,
    /// Where its partitions end here.
    pub(super) ends: BTreeMap<PartitionIndex, Offset>,
    /// Rows that no promise in effect covers, of each partition in the order of its log.
    pub(super) held: BTreeMap<PartitionIndex, VecDeque<Held>>,
    pub(super) held_bytes: usize,
}

/// A promise that waits for its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) watermark: EventTime,
    pub(super) ends: BTreeMap<PartitionIndex, Offset>,
}

/// What rows of a topic came behind, by the promises that are known whether or not their data is
/// here.
#[derive(Debug, Default)]
struct Judge {
    /// Of each partition the promises that reach further than all before them, with where they end.
    reaching: BTreeMap<PartitionIndex, Vec<(Offset, usize)>>,
    /// The watermark before each promise, and behind the last one.
    before: Vec<EventTime>,
}

/// A row that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) partition: PartitionIndex,
    pub(super) offset: Offset,
    /// Its event time by its record, which its log went by.
    pub(super) time: EventTime,
    /// What its log has called it.
    pub(super) verdict: Verdict,
    /// The latest event time that it may have.
    pub(super) horizon: EventTime,
    /// The watermark in effect when it came.
    pub(super) behind: EventTime,
    /// Bytes of its own: a part of its batch would keep all of that in memory.
    pub(super) value: Bytes,
}

/// Whose log something is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    /// The number of the region.
    pub(super) region: usize,
    pub(super) life: Incarnation,
    pub(super) topic: &'a TopicName,
}

/// A stretch of time of which rows are missing, or may count elsewhere otherwise than here: behind
/// `after`, up to and with `until`, or as late as anything known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) after: EventTime,
    pub(super) until: Option<EventTime>,
}

/// A promise that takes effect, or rows that no longer wait for one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) topic: TopicName,
    /// Rows that lie before the promise and behind the one before it.
    pub(super) held: Vec<Due>,
}

/// A row that has waited.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) held: Held,
    /// The watermark that it came behind.
    pub(super) behind: EventTime,
    pub(super) settled: Settled,
}

/// By what a row that waited is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// By the promise that covers it, as everywhere.
    ByPromise,
    /// By what was known when there was no more room for it.
    ByBound,
}

/// Why rows of a topic wait no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Release {
    /// The next promise is reached.
    Promise,
    /// They are too many.
    Bound,
}

impl Logs {
    pub(super) fn new(regions: usize) -> Self {
        Self { regions: std::iter::repeat_with(RegionLogs::default).take(regions).collect() }
    }

    /// Something of a life of a region came, `offset` into its log. A life that is new, where there
    /// was another, may not hold what that held.
    pub(super) fn on_life(
        &mut self,
        region: usize,
        life: Incarnation,
        offset: Offset,
    ) -> Option<Lost> {
        let logs = self.regions.get_mut(region)?;
        if logs.lives.contains_key(&life) {
            return None;
        }
        let is_first = logs.lives.is_empty();
        let begins =
            if offset == Offset::default() || is_first { Begins::Empty } else { Begins::Behind };
        logs.lives.insert(life, LifeLogs { begins, topics: BTreeMap::new() });
        if logs.lives.len() > LIVES_LIMIT {
            logs.lives.pop_first();
        }
        // Of a topic that has promised nothing, nothing is final yet.
        let after = logs.watermarks.values().min().copied().unwrap_or(EventTime::MIN);
        (!is_first).then_some(Lost { after, until: None })
    }

    /// A promise in a region's log.
    pub(super) fn on_promise(
        &mut self,
        region: usize,
        life: Incarnation,
        promise: Promise,
    ) -> Option<Lost> {
        let Promise { topic, watermark, ends } = promise;
        let logs = self.regions.get_mut(region)?;
        let in_effect = logs.watermark(&topic);
        let waiting = &mut logs.lives.get_mut(&life)?.topics.entry(topic).or_default().promises;
        let mut lost = None;
        if waiting.len() >= PROMISES_LIMIT
            && let Some(passed_over) = waiting.pop_back()
        {
            let before = waiting.back().map_or(in_effect, |before| before.watermark);
            lost = Some(Lost { after: before, until: Some(passed_over.watermark) });
        }
        waiting.push_back(Waiting { watermark, ends });
        lost
    }

    /// Rows of a partition from `from` to `end` came, or stand for some that are gone; what was
    /// before them came never. With it, how far this life had come before: a log that comes over
    /// several ways comes once.
    pub(super) fn reach(
        &mut self,
        At { region, life, topic }: At<'_>,
        partition: PartitionIndex,
        (from, end): (Offset, Offset),
    ) -> (Offset, Option<Lost>) {
        let Some(logs) = self.regions.get_mut(region) else { return Default::default() };
        let expected = logs.end(life, topic, partition);
        let after = logs.watermark(topic);
        let Some(of_life) = logs.lives.get_mut(&life) else { return Default::default() };
        let known = of_life.topics.entry(topic.clone()).or_default();
        let known = known.ends.entry(partition).or_default();
        let before = std::mem::replace(known, end.max(*known));
        (before, (from > expected).then_some(Lost { after, until: None }))
    }

    /// Keeps a row until a promise covers it.
    pub(super) fn hold(&mut self, At { region, life, topic }: At<'_>, held: Held) {
        let logs = self.regions.get_mut(region).and_then(|logs| logs.lives.get_mut(&life));
        if let Some(logs) = logs {
            logs.topics.entry(topic.clone()).or_default().hold(held);
        }
    }

    /// The region's next promise whose data is here; it is in effect from now on.
    pub(super) fn next_reached(&mut self, region: usize) -> Option<Reached> {
        let logs = self.regions.get_mut(region)?;
        let lives: Vec<Incarnation> = logs.lives.keys().copied().collect();
        for life in lives {
            let topics = logs.lives.get(&life).into_iter().flat_map(|logs| logs.topics.keys());
            let found =
                topics.clone().find_map(|topic| Some((topic.clone(), logs.due(life, topic)?)));
            if let Some((topic, release)) = found {
                return logs.settle(life, topic, release);
            }
        }
        None
    }

    /// The watermark in effect of a region's topic.
    pub(super) fn watermark(&self, region: usize, topic: &TopicName) -> EventTime {
        self.regions.get(region).map_or(EventTime::MIN, |logs| logs.watermark(topic))
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
    fn watermark(&self, topic: &TopicName) -> EventTime {
        self.watermarks.get(topic).copied().unwrap_or(EventTime::MIN)
    }

    /// Where a partition ends here, as far as a life has come: one that goes on where another ended
    /// has that one's end until it writes something.
    fn end(&self, life: Incarnation, topic: &TopicName, partition: PartitionIndex) -> Offset {
        for logs in self.lives.range(..=life).rev().map(|(_, logs)| logs) {
            let end = logs.topics.get(topic).and_then(|logs| logs.ends.get(&partition));
            match (end, logs.begins) {
                (Some(end), Begins::Empty | Begins::Behind) => return *end,
                (None, Begins::Empty) => return Offset::default(),
                (None, Begins::Behind) => {}
            }
        }
        Offset::default()
    }

    /// Whether rows of a topic have to wait no longer, and for what reason.
    fn due(&self, life: Incarnation, topic: &TopicName) -> Option<Release> {
        let logs = self.lives.get(&life)?.topics.get(topic)?;
        if logs.held_bytes > HELD_BYTES_LIMIT {
            return Some(Release::Bound);
        }
        let mut ends = logs.promises.front()?.ends.iter();
        let is_here = ends.all(|(partition, end)| self.end(life, topic, *partition) >= *end);
        is_here.then_some(Release::Promise)
    }

    /// Lets the first promise of a topic take effect, or gives up waiting for it.
    fn settle(&mut self, life: Incarnation, topic: TopicName, release: Release) -> Option<Reached> {
        let behind = self.watermark(&topic);
        let logs = self.lives.get_mut(&life)?.topics.get_mut(&topic)?;
        let held = match release {
            Release::Bound => {
                tracing::warn!(%topic, limit = HELD_BYTES_LIMIT, "rows wait for no promise");
                let judge = Judge::new(&logs.promises, behind);
                let (held, settle) = (logs.release(None).into_iter(), |held| judge.settle(held));
                held.map(settle).collect()
            }
            Release::Promise => {
                let Waiting { watermark, ends } = logs.promises.pop_front()?;
                self.watermarks.insert(topic.clone(), behind.max(watermark));
                let held = logs.release(Some(&ends)).into_iter();
                held.map(|held| Due { held, behind, settled: Settled::ByPromise }).collect()
            }
        };
        Some(Reached { topic, held })
    }
}

impl TopicLogs {
    /// Keeps a row behind those of its partition.
    pub(super) fn hold(&mut self, held: Held) {
        let rows = self.held.entry(held.partition).or_default();
        debug_assert!(rows.back().is_none_or(|last| last.offset < held.offset), "in log order");
        self.held_bytes += held.value.len();
        rows.push_back(held);
    }

    /// Takes out the rows that a promise with these ends covers, or all of them, by partition in
    /// the order of the log. O(rows taken out + partitions): however many wait, and for however
    /// many promises, each is looked at once.
    fn release(&mut self, ends: Option<&BTreeMap<PartitionIndex, Offset>>) -> Vec<Held> {
        let mut due = Vec::new();
        for (partition, rows) in &mut self.held {
            let count = ends.map_or(rows.len(), |ends| {
                let end = ends.get(partition).copied().unwrap_or_default();
                rows.partition_point(|held| held.offset < end)
            });
            due.extend(rows.drain(..count));
        }
        self.held.retain(|_, rows| !rows.is_empty());
        let bytes: usize = due.iter().map(|held| held.value.len()).sum();
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
        due
    }
}

impl Judge {
    /// By promises in the order of the log, behind a watermark that is in effect. O(promises ×
    /// partitions).
    fn new(promises: &VecDeque<Waiting>, in_effect: EventTime) -> Self {
        let mut judge = Self { before: vec![in_effect], ..Self::default() };
        let mut behind = in_effect;
        for (number, Waiting { watermark, ends }) in promises.iter().enumerate() {
            behind = behind.max(*watermark);
            judge.before.push(behind);
            for (partition, end) in ends {
                let reaching = judge.reaching.entry(*partition).or_default();
                if reaching.last().is_none_or(|(furthest, _)| furthest < end) {
                    reaching.push((*end, number));
                }
            }
        }
        judge
    }

    /// What a row came behind: the promises before the first that covers it. Without one that does,
    /// others may be before it. O(log promises).
    fn settle(&self, held: Held) -> Due {
        let reaching = self.reaching.get(&held.partition).map(Vec::as_slice).unwrap_or_default();
        let first = reaching.partition_point(|(end, _)| *end <= held.offset);
        let covering = reaching.get(first).map(|(_, number)| *number);
        let last = self.before.len().saturating_sub(1);
        let before = self.before.get(covering.unwrap_or(last));
        let behind = before.copied().unwrap_or(EventTime::MIN);
        let settled = if covering.is_some() { Settled::ByPromise } else { Settled::ByBound };
        Due { held, behind, settled }
    }
}

#[cfg(test)]
mod tests;
