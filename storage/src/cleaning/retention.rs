//! Where partitions may start: what retention and acknowledgements let go.
//!
//! Age counts from when an entry's ingest hub took it in, as its stamp says: a device whose clock
//! is wrong neither loses its records early nor keeps a disk full. Entries without a stamp have
//! event times only.
//!
//! A start moves by whole blocks and shares of files, and only to the base of an entry; where
//! a receiver acknowledged, it moves to exactly that offset. Nothing is removed here.

use headland_event::{ByteCount, Entry, EventTime, Offset, TopicPartition};

use crate::cleaning::policy::{CleanPolicy, Receivers, Retention, Shed, Trim};
use crate::cleaning::record::ShedBy;
use crate::index::HeldBytes;
use crate::log::{LogReader, ReadError};
use crate::lookup::Shared;
use crate::medium::MediumFile;
use crate::points::Seek;
use crate::reader::JournalReader;

/// Where a partition is to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) start: Offset,
    /// The first offset that no longer is kept for a linked receiver, and why; from there to the
    /// start all is shed.
    pub(super) shed: Option<(Offset, ShedBy)>,
}

/// Finds where a partition is to start, `None` when it stays as it is.
///
/// Cost: the points of one file; with a retention by time also one block, or one for each halving
/// of the partition when something goes.
pub(super) fn cut<F: MediumFile>(
    shared: &Shared<F>,
    partition: &TopicPartition,
    policy: &CleanPolicy,
    now: EventTime,
) -> Result<Option<Cut>, ReadError> {
    let receivers = policy.receivers.get(partition).copied().unwrap_or_default();
    let Receivers { hold, keep: kept, trim, shed } = receivers;
    let (start, end) = {
        let index = shared.read();
        (index.start(partition), index.end(partition))
    };
    let limits = Limits { shared, partition, end, now };
    let (retained, by) = match (limits.start(policy.retention(&partition.topic))?, shed) {
        ((retained, _), Some(Shed { to, by })) if to > retained => (to.min(end), by),
        (retained, Some(_) | None) => retained,
    };
    let kept = kept.unwrap_or(end).min(end);
    let retained = retained.min(kept);
    let acknowledged = match trim {
        Some(Trim { to, keep }) => to.min(hold.unwrap_or(to)).min(limits.start(keep)?.0),
        None => Offset::new(0),
    };
    let next = retained.max(acknowledged).min(kept);
    if next <= start {
        return Ok(None);
    }
    let shed_from = hold.map(|hold| hold.max(start)).filter(|from| *from < retained);
    Ok(Some(Cut { start: next, shed: shed_from.map(|from| (from, by)) }))
}

/// What decides how much of a partition is kept.
struct Limits<'a, F> {
    shared: &'a Shared<F>,
    partition: &'a TopicPartition,
    end: Offset,
    now: EventTime,
}

impl<F: MediumFile> Limits<'_, F> {
    /// Where the partition starts under a retention, and which limit says so.
    fn start(&self, retention: Retention) -> Result<(Offset, ShedBy), ReadError> {
        let Retention { time, bytes } = retention;
        let by_time = match time {
            Some(age) => self.first_at(self.now.minus(age))?,
            None => Offset::new(0),
        };
        let by_bytes = bytes.map_or(Offset::new(0), |bytes| self.newest(bytes));
        Ok(if by_time >= by_bytes { (by_time, ShedBy::Time) } else { (by_bytes, ShedBy::Bytes) })
    }

    /// Base of the first block with an entry that was taken in at `time` or later, else the end.
    ///
    /// Entries of a partition were taken in one after the other, so it is found by halving: one
    /// block is read when nothing goes, else one for each halving of the partition.
    fn first_at(&self, time: EventTime) -> Result<Offset, ReadError> {
        let start = self.shared.read().start(self.partition);
        let Some(first) = self.entry(start)? else { return Ok(self.end) };
        if first.stamp.is_none() {
            return self.first_of(time);
        }
        if taken_in_at(&first) >= time {
            return Ok(start);
        }
        // Everything before `low` is older, nothing from `high` on is.
        let (mut low, mut high) = (first.end(), self.end);
        while low < high {
            let middle = low.after(high.since(low) / 2);
            match self.entry(middle)? {
                Some(entry) if entry.base < high && taken_in_at(&entry) < time => {
                    low = entry.end();
                }
                Some(entry) => high = entry.base.clamp(low, middle),
                None => high = middle,
            }
        }
        if low >= self.end {
            return Ok(self.end);
        }
        let found = self.shared.stretches(self.partition, Seek::Offset(low), 1)?;
        Ok(found.first().map_or(low, |stretch| stretch.base.min(low)))
    }

    /// The entry at an offset, or the next one behind it that is not damaged.
    fn entry(&self, mut at: Offset) -> Result<Option<Entry>, ReadError> {
        let reader = JournalReader::new(self.shared.clone());
        loop {
            match reader.read(self.partition, at, ByteCount::new(1)) {
                Ok(entries) => return Ok(entries.into_iter().next()),
                Err(ReadError::Quarantined { until, .. }) => at = until,
                Err(error) => return Err(error),
            }
        }
    }

    /// Base of the first block with a record of `time` or later by its own word, else the end.
    fn first_of(&self, time: EventTime) -> Result<Offset, ReadError> {
        let found = self.shared.stretches(self.partition, Seek::Time(time), 1)?;
        Ok(found.first().map_or(self.end, |stretch| stretch.base))
    }

    /// Base of the newest shares that hold at least `bytes`, or of them all.
    fn newest(&self, bytes: ByteCount) -> Offset {
        let mut start = self.end;
        let mut kept = 0;
        for HeldBytes { base, bytes: held } in self.shared.read().held(self.partition).iter().rev()
        {
            if kept >= bytes.get() {
                return start;
            }
            kept += held.get();
            start = *base;
        }
        if kept >= bytes.get() { start } else { Offset::new(0) }
    }
}

/// When the entry's ingest hub took it in, or else what its records say.
fn taken_in_at(entry: &Entry) -> EventTime {
    entry.stamp.as_ref().map_or_else(|| entry.batch.max_time(), |stamp| stamp.hlc.wall())
}
