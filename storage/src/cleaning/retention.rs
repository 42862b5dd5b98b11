//! Where partitions may start: what retention and acknowledgements let go.
//!
//! A start moves by whole blocks and shares of files, and only to the base of an entry; where
//! a receiver acknowledged, it moves to exactly that offset. Nothing is removed here.

use headland_event::{ByteCount, EventTime, Offset, TopicPartition};

use crate::cleaning::policy::{CleanPolicy, Receivers, Retention, Shed, Trim};
use crate::cleaning::record::ShedBy;
use crate::index::HeldBytes;
use crate::log::ReadError;
use crate::lookup::Shared;
use crate::medium::MediumFile;
use crate::points::Seek;

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
/// Cost: the points of one file.
pub(super) fn cut<F: MediumFile>(
    shared: &Shared<F>,
    partition: &TopicPartition,
    policy: &CleanPolicy,
    now: EventTime,
) -> Result<Option<Cut>, ReadError> {
    let receivers = policy.receivers.get(partition).copied().unwrap_or_default();
    let Receivers { hold, trim, shed } = receivers;
    let (start, end) = {
        let index = shared.read();
        (index.start(partition), index.end(partition))
    };
    let limits = Limits { shared, partition, end, now };
    let (retained, by) = match (limits.start(policy.retention(&partition.topic))?, shed) {
        ((retained, _), Some(Shed { to, by })) if to > retained => (to.min(end), by),
        (retained, Some(_) | None) => retained,
    };
    let acknowledged = match trim {
        Some(Trim { to, keep }) => to.min(hold.unwrap_or(to)).min(limits.start(keep)?.0),
        None => Offset::new(0),
    };
    let next = retained.max(acknowledged).min(end);
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

    /// Base of the first block with a record of `time` or later, else the end.
    fn first_at(&self, time: EventTime) -> Result<Offset, ReadError> {
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
