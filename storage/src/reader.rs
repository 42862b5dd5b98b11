//! Reads a journal while its writer goes on.

use headland_event::{ByteCount, CommitNumber, Entry, Offset, TopicPartition};

use crate::commit::StoredCommit;
use crate::gather::Gathering;
use crate::log::{LogReader, ReadError};
use crate::lookup::Shared;
use crate::medium::MediumFile;
use crate::points::Seek;
use crate::quarantine;
use crate::replay;
use crate::stretch::{self, Ended, Target};

/// Blocks looked at by one read: 4 MiB of the journal at most, however rare the partition is.
const BLOCKS_PER_READ: usize = 64;

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

    fn read(
        &self,
        partition: &TopicPartition,
        from: Offset,
        limit: ByteCount,
    ) -> Result<Vec<Entry>, ReadError> {
        // What was committed before the look-up below is in what it finds.
        let (start, end) = {
            let index = self.shared.read();
            (index.start(partition), index.end(partition))
        };
        let from = from.max(start);
        if from >= end {
            return Ok(Vec::new());
        }
        let stretches = self.shared.stretches(partition, Seek::Offset(from), BLOCKS_PER_READ)?;
        let target = Target::new(partition);
        let mut gathering = Gathering::new(from, limit);
        let mut is_whole = true;
        for stretch in &stretches {
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
            Some(_) | None => end,
        };
        if !gathering.is_empty() || (is_whole && gathering.next() >= until) {
            return Ok(gathering.finish());
        }
        quarantine::gather(&stretches, &target, Gathering::new(from, limit), until)
    }

    fn replay(&self, from: CommitNumber, limit: ByteCount) -> Result<Vec<StoredCommit>, ReadError> {
        replay::replay(&self.shared, from, self.last_commit(), limit)
    }

    fn last_commit(&self) -> CommitNumber {
        self.shared.read().last()
    }
}
