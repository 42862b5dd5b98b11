//! Compares a directory with the file it stands in.

use std::collections::BTreeMap;

use headland_event::{ByteCount, CommitNumber, Entry, EventTime, Offset, TopicPartition};

use crate::fault::Fault;
use crate::frame::FRAME_MAGIC;
use crate::medium::{MediumError, MediumFile};
use crate::points::{CommitPoint, EntryPoint, Points};
use crate::summary::{self, PointCodec, Summary};

/// What was found in a file.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) is_damaged: bool,
    shares: BTreeMap<TopicPartition, (Offset, Offset, EventTime)>,
    last: Option<CommitNumber>,
}

impl Held {
    pub(super) fn commit(&mut self, number: CommitNumber) {
        self.last = Some(number);
    }

    pub(super) fn entry(&mut self, partition: TopicPartition, entry: &Entry) {
        let (end, time) = (entry.end(), entry.batch.max_time());
        let (_, held_end, held_time) =
            self.shares.entry(partition).or_insert((entry.base, end, time));
        (*held_end, *held_time) = (end, time.max(*held_time));
    }
}

/// Whether a directory was begun at a file's end: else nothing stands there, or frames that were
/// given up.
pub(super) fn is_there<F: MediumFile>(
    file: &F,
    (end, size): (u64, u64),
) -> Result<bool, MediumError> {
    let mut first = vec![0; FRAME_MAGIC.len().min(ByteCount::new(size - end).as_len())];
    file.read_at(ByteCount::new(end), &mut first)?;
    Ok(first.iter().any(|byte| *byte != 0) && first != FRAME_MAGIC)
}

/// Checks a directory; returns the ends of the partitions it names.
pub(super) fn check<F: MediumFile>(
    file: &F,
    nonce: u64,
    (end, size): (u64, u64),
    held: &Held,
) -> Result<Result<Vec<(TopicPartition, Offset)>, Fault>, MediumError> {
    let summary = match Summary::load(file, nonce, (end, size))? {
        Ok(summary) => summary,
        Err(fault) => return Ok(Err(fault)),
    };
    for share in &summary.shares {
        if let Err(fault) = check_points::<F, EntryPoint>(file, &share.points)? {
            return Ok(Err(fault));
        }
    }
    if let Err(fault) = check_points::<F, CommitPoint>(file, &summary.points)? {
        return Ok(Err(fault));
    }
    let ends = summary.shares.iter().map(|share| (share.partition.clone(), share.end)).collect();
    if held.is_damaged {
        return Ok(Ok(ends));
    }
    Ok(compare(&summary, held).map(|()| ends))
}

fn check_points<F: MediumFile, P: PointCodec>(
    file: &F,
    points: &Points<P>,
) -> Result<Result<(), Fault>, MediumError> {
    match points {
        Points::Held(_) => Ok(Ok(())),
        Points::Paged(at) => Ok(summary::load_points::<F, P>(file, *at)?.map(drop)),
    }
}

/// Compares a summary with a file of which every byte was valid.
fn compare(summary: &Summary, held: &Held) -> Result<(), Fault> {
    let mismatch = |field, found, expected| Err(Fault::Mismatch { field, found, expected });
    let (found, expected) = (summary.shares.len(), held.shares.len());
    if found != expected {
        let count = |length| crate::group::byte_count(length).get();
        return mismatch("partitions", count(found), count(expected));
    }
    for share in &summary.shares {
        let Some((base, end, time)) = held.shares.get(&share.partition) else {
            return mismatch("partitions", 1, 0);
        };
        if (share.base, share.end) != (*base, *end) {
            return mismatch("end offset", share.end.get(), end.get());
        }
        if share.time != *time {
            let raw = |time: EventTime| u64::from_ne_bytes(time.millis().to_ne_bytes());
            return mismatch("event time", raw(share.time), raw(*time));
        }
    }
    match held.last {
        Some(last) if last != summary.last => {
            mismatch("last commit", summary.last.get(), last.get())
        }
        Some(_) | None => Ok(()),
    }
}
