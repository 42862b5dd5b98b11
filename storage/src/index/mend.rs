//! What a file written anew makes of offsets that were lost.

use std::ops::Range;
use std::sync::Arc;

use headland_event::{CommitNumber, Offset, TopicPartition};

use super::{Index, PartitionId, Segment};
use crate::chain::{Hole, HoleCause};
use crate::summary::Summary;

/// What a cold file in the place of a damaged one changes about what is lost.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mend {
    /// Offsets that it holds and that were lost before.
    pub(crate) held: Vec<(TopicPartition, Range<Offset>)>,
    /// Offsets that it does not hold because they are lost: in a cold file that does not show.
    pub(crate) lost: Vec<Hole>,
}

/// Where what came back for lost offsets belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LostPlace {
    /// The closed file with this key.
    In(CommitNumber),
    /// A file that is still written to.
    Open,
    /// Nowhere: the partition never had them, or they are cleaned or held.
    Nowhere,
}

impl<F: Clone> Index<F> {
    /// Moves with every mend: who read what is lost before one has to read it again.
    pub(crate) const fn mends(&self) -> u64 {
        self.mends
    }

    /// Changes what is known to be lost, once the file that mends it is in its place.
    pub(crate) fn mend(&mut self, mend: &Mend) {
        let Mend { held, lost } = mend;
        for (partition, held) in held {
            let is_its = |hole: &Hole| hole.partition == *partition && overlap(hole, held);
            let (cut, kept) = std::mem::take(&mut self.lost).into_iter().partition(is_its);
            self.lost = kept;
            let cut: Vec<Hole> = cut;
            for hole in cut {
                let before = Hole { until: held.start, ..hole.clone() };
                let behind = Hole { from: held.end, ..hole };
                self.lost.extend([before, behind].into_iter().filter(|h| h.from < h.until));
            }
        }
        for hole in lost {
            debug_assert!(hole.cause == HoleCause::Lost && hole.from < hole.until, "a loss");
            if !self.is_lost(&hole.partition, &(hole.from..hole.until)) {
                self.lost.push(hole.clone());
            }
        }
        self.mends += 1;
    }

    /// Whether all of a range is known to be lost, whatever the files still show.
    pub(crate) fn is_lost(&self, partition: &TopicPartition, range: &Range<Offset>) -> bool {
        is_within(&self.lost(partition), range)
    }

    /// The file to be written anew for offsets that came back.
    pub(crate) fn place_of_lost(
        &self,
        partition: &TopicPartition,
        range: &Range<Offset>,
    ) -> LostPlace {
        let Some(id) = self.id(partition) else { return LostPlace::Nowhere };
        if range.end <= self.start(partition) || self.end_of(id) < range.end {
            return LostPlace::Nowhere;
        }
        let Some(files) = self.partitions.get(id.as_index()).map(|found| &found.files) else {
            return LostPlace::Nowhere;
        };
        let before = files.range(..=range.start).next_back().map(|(_, key)| *key);
        let share = |key| self.segment(key).and_then(|file| file.shares.get(&id));
        let in_or_open = |key| match self.closed.contains_key(&key) {
            true => LostPlace::In(key),
            false => LostPlace::Open,
        };
        if let Some(key) = before.filter(|key| share(*key).is_some_and(|s| range.start < s.end)) {
            return in_or_open(key);
        }
        if !self.is_lost(partition, range) {
            return LostPlace::Nowhere;
        }
        let behind = files.range(range.end..).next().map(|(_, key)| *key);
        let first = before.unwrap_or_default();
        let last = behind.unwrap_or(self.last);
        // The damage between two files is in one of them, or in one that lost all it held.
        let damaged = self.closed.range(first..=last.max(first)).find(|(_, file)| file.is_damaged);
        let damaged = damaged.map(|(key, _)| *key);
        damaged.or(before).or(behind).map_or(LostPlace::Nowhere, in_or_open)
    }

    /// Whether a file with this summary may take the place of the closed one with a key.
    pub(crate) fn may_replace(&self, key: CommitNumber, summary: &Summary) -> bool {
        let Some(replaced) = self.closed.get(&key).map(Arc::clone) else { return false };
        let replaced = [replaced];
        summary.shares.iter().all(|share| {
            let id = self.id(&share.partition);
            id.is_some_and(|id| self.may_hold(&replaced, id, &(share.base..share.end)))
        })
    }

    /// Whether a file may hold these offsets in the place of others: they held them, or they are
    /// lost.
    pub(super) fn may_hold(
        &self,
        replaced: &[Arc<Segment<F>>],
        id: PartitionId,
        share: &Range<Offset>,
    ) -> bool {
        let Some(partition) = self.name(id) else { return false };
        let held = || replaced.iter().filter_map(|segment| segment.shares.get(&id));
        let first = held().map(|held| held.base).min().unwrap_or(share.end);
        let last = held().map(|held| held.end).max().unwrap_or(share.end);
        let is_lost = |from, until| from >= until || self.is_lost(partition, &(from..until));
        is_lost(share.start, first.min(share.end)) && is_lost(last.max(share.start), share.end)
    }
}

fn overlap(hole: &Hole, range: &Range<Offset>) -> bool {
    hole.from < range.end && range.start < hole.until
}

/// Whether ranges, in any order, cover another one together.
pub(crate) fn is_within(ranges: &[Range<Offset>], range: &Range<Offset>) -> bool {
    let mut next = range.start;
    while next < range.end {
        let Some(found) = ranges.iter().find(|found| found.contains(&next)) else { return false };
        next = found.end;
    }
    true
}

#[cfg(test)]
mod tests {
    use headland_event::{PartitionIndex, TopicName};

    use super::*;

    fn partition(index: u32) -> TopicPartition {
        TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(index))
    }

    fn range(from: u64, until: u64) -> Range<Offset> {
        Offset::new(from)..Offset::new(until)
    }

    fn hole(index: u32, from: u64, until: u64) -> Hole {
        let Range { start: from, end: until } = range(from, until);
        Hole { partition: partition(index), from, until, cause: HoleCause::Lost }
    }

    #[test]
    fn what_is_held_again_is_cut_out_of_what_is_lost_and_the_rest_stays() {
        let mut index = Index::<()>::new();
        [hole(0, 10, 20), hole(1, 10, 20)].into_iter().for_each(|hole| index.keep_hole(hole));

        let held = vec![(partition(0), range(8, 12)), (partition(0), range(14, 16))];
        index.mend(&Mend { held, lost: vec![hole(0, 12, 14), hole(0, 30, 31)] });

        let mut lost = index.lost(&partition(0));
        lost.sort_by_key(|lost| lost.start);
        assert_eq!(lost, [range(12, 14), range(16, 20), range(30, 31)]);
        assert_eq!(index.lost(&partition(1)), [range(10, 20)]);
        assert_eq!(index.mends(), 1);
    }

    #[test]
    fn ranges_that_touch_cover_what_neither_does() {
        let lost = [range(4, 6), range(0, 4)];

        assert!(is_within(&lost, &range(3, 6)));
        assert!(!is_within(&lost, &range(3, 7)));
    }
}
