//! Reads a journal while its writer goes on.

use std::ops::Range;
use std::time::Duration;

use headland_event::{ByteCount, CommitNumber, Entry, EventTime, Offset, TopicPartition};

use crate::gather::Gathering;
use crate::index::Index;
use crate::log::{LogReader, ReadError, Replayed};
use crate::lookup::Shared;
use crate::medium::MediumFile;
use crate::points::Seek;
use crate::quarantine::{self, Known};
use crate::replay;
use crate::stretch::{self, Ended, Target};

/// Blocks looked at by one read: 4 MiB of the journal at most, however rare the partition is.
const BLOCKS_PER_READ: usize = 64;
/// Bytes of batches read at once on the way to a record of some time: about a block.
const SEEK_BYTES: ByteCount = ByteCount::new(64 << 10);

/// Reads a journal while its writer goes on; clones are cheap and share everything.
#[derive(Debug)]
pub struct JournalReader<F> {
    shared: Shared<F>,
}

impl<F> Clone for JournalReader<F> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<F: MediumFile> JournalReader<F> {
    pub(crate) const fn new(shared: Shared<F>) -> Self {
        Self { shared }
    }

    pub(crate) const fn shared(&self) -> &Shared<F> {
        &self.shared
    }
}

impl<F: MediumFile> JournalReader<F> {
    /// Whether the way to an offset's entry meets damage. Cost: a read of 64 blocks at most, and
    /// none past what is damaged.
    pub(crate) fn is_damaged_at(
        &self,
        partition: &TopicPartition,
        at: Offset,
    ) -> Result<bool, ReadError> {
        let stretches = self.shared.stretches(partition, Seek::Offset(at), BLOCKS_PER_READ)?;
        let target = Target::new(partition);
        let mut gathering = Gathering::new(at, ByteCount::new(1));
        for stretch in &stretches {
            gathering.cross(stretch.before, stretch.base);
            match stretch::gather(stretch, &target, &mut gathering).map_err(ReadError::Medium)? {
                Ended::Whole => {}
                Ended::Full => return Ok(false),
                Ended::Astray => return Ok(gathering.is_empty()),
            }
        }
        let held_end = self.shared.read().held_end(partition);
        Ok(gathering.is_empty() && gathering.next() < held_end)
    }

    /// Reads within what the index knew of a partition a moment ago.
    fn read_within(
        &self,
        bounds: &Bounds,
        partition: &TopicPartition,
        from: Offset,
        limit: ByteCount,
    ) -> Result<Vec<Entry>, ReadError> {
        let from = from.max(bounds.start);
        if from >= bounds.held_end {
            return bounds.behind_the_last_entry(partition, from);
        }
        let stretches = self.shared.stretches(partition, Seek::Offset(from), BLOCKS_PER_READ)?;
        let target = Target::new(partition);
        let mut gathering = Gathering::new(from, limit);
        let mut is_whole = true;
        for stretch in &stretches {
            gathering.cross(stretch.before, stretch.base);
            match stretch::gather(stretch, &target, &mut gathering).map_err(ReadError::Medium)? {
                Ended::Whole => {}
                Ended::Full => return Ok(gathering.finish()),
                Ended::Astray => {
                    is_whole = false;
                    break;
                }
            }
        }
        // With fewer stretches than were asked for, these are all there are.
        let until = match stretches.last() {
            Some(last) if stretches.len() == BLOCKS_PER_READ => last.base,
            Some(_) | None => bounds.held_end,
        };
        if !gathering.is_empty() || (is_whole && gathering.next() >= until) {
            return Ok(gathering.finish());
        }
        let known = Known { until, lost: &bounds.lost };
        quarantine::gather(&stretches, &target, Gathering::new(from, limit), known)
    }
}

impl<F: MediumFile> LogReader for JournalReader<F> {
    fn end(&self, partition: &TopicPartition) -> Offset {
        self.shared.read().end(partition)
    }

    fn start(&self, partition: &TopicPartition) -> Offset {
        self.shared.read().start(partition)
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        self.shared.read().partitions()
    }

    fn lost(&self, partition: &TopicPartition) -> Vec<Range<Offset>> {
        self.shared.read().lost(partition)
    }

    fn read(
        &self,
        partition: &TopicPartition,
        from: Offset,
        limit: ByteCount,
    ) -> Result<Vec<Entry>, ReadError> {
        loop {
            // What was committed before the look-up below is in what it finds.
            let bounds = Bounds::of(&self.shared.read(), partition);
            let read = self.read_within(&bounds, partition, from, limit);
            // What was cleaned away since is neither there nor lost: then the start has moved.
            let is_outdated = matches!(&read, Err(ReadError::Quarantined { .. }))
                && bounds.start < self.start(partition);
            // A file that was written anew meanwhile shows a loss only to who knows of it.
            if !is_outdated && bounds.mends == self.shared.read().mends() {
                return read;
            }
        }
    }

    fn offset_at(
        &self,
        partition: &TopicPartition,
        time: EventTime,
    ) -> Result<Option<Offset>, ReadError> {
        let stretches = self.shared.stretches(partition, Seek::Time(time), 1)?;
        let Some(mut next) = stretches.first().map(|stretch| stretch.base) else {
            return Ok(None);
        };
        // Points know the largest time of a block as batches' headers say it, so nearly always
        // the record is in this block; a compacted batch may promise a time that is gone.
        while next < self.end(partition) {
            let entries = self.read(partition, next, SEEK_BYTES)?;
            let Some(last) = entries.last() else { break };
            next = last.end();
            if let Some(found) = entries.iter().find_map(|entry| offset_in(entry, time)) {
                return Ok(Some(found.max(self.start(partition))));
            }
        }
        Ok(None)
    }

    fn replay(&self, from: CommitNumber, limit: ByteCount) -> Result<Replayed, ReadError> {
        replay::replay(&self.shared, from, self.last_commit(), limit)
    }

    fn last_commit(&self) -> CommitNumber {
        self.shared.read().last()
    }

    fn next_file(&self, commit: CommitNumber) -> Option<CommitNumber> {
        self.shared.read().next_file(commit)
    }

    fn first_in(&self, file: CommitNumber, partition: &TopicPartition) -> Option<Offset> {
        self.shared.read().first_in(file, partition)
    }

    fn let_go(&self, from: CommitNumber, bytes: ByteCount) {
        let is_closed = self.next_file(from).is_some();
        if let Some(Ok(Some(stretch))) = is_closed.then(|| self.shared.commits_from(from)) {
            stretch.source.file.let_go(ByteCount::new(stretch.frame), bytes);
        }
    }

    fn wait(&self, partition: &TopicPartition, from: Offset, timeout: Duration) -> Offset {
        self.shared.committed().wait(timeout, || self.end(partition) > from);
        self.end(partition)
    }

    fn wait_commit(&self, from: CommitNumber, timeout: Duration) -> CommitNumber {
        self.shared.committed().wait(timeout, || self.last_commit() >= from);
        self.last_commit()
    }
}

/// What the index knows of a partition, taken under one lock.
struct Bounds {
    start: Offset,
    held_end: Offset,
    lost: Vec<Range<Offset>>,
    /// See [`Index::mends`].
    mends: u64,
}

impl Bounds {
    fn of<F: MediumFile>(index: &Index<F>, partition: &TopicPartition) -> Self {
        Self {
            start: index.start(partition),
            held_end: index.held_end(partition),
            lost: index.lost(partition),
            mends: index.mends(),
        }
    }

    /// What a read finds where no entry follows: nothing, unless something is lost there.
    fn behind_the_last_entry(
        &self,
        partition: &TopicPartition,
        from: Offset,
    ) -> Result<Vec<Entry>, ReadError> {
        let behind = self.lost.iter().filter(|lost| from < lost.end);
        match behind.min_by_key(|lost| lost.start) {
            None => Ok(Vec::new()),
            Some(lost) => {
                let (partition, from, until) = (partition.clone(), lost.start, lost.end);
                Err(ReadError::Quarantined { partition, from, until })
            }
        }
    }
}

/// Offset of an entry's first record at `time` or later.
fn offset_in(entry: &Entry, time: EventTime) -> Option<Offset> {
    if entry.batch.max_time() < time {
        return None;
    }
    let Ok(contents) = entry.batch.contents() else {
        // Whoever reads from here finds out why; to go on behind it would pass records over.
        return Some(entry.base);
    };
    let mut records = contents.iter();
    records.find_map(|record| match record {
        Ok(record) if record.time() < time => None,
        Ok(record) => Some(entry.base.after(u64::from(record.delta().get()))),
        Err(_) => Some(entry.base),
    })
}
