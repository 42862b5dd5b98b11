//! The store through `LogStore::append`: one commit and one barrier an append.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use headland_event::{
    Batch, ByteCount, Dot, Entry, Incarnation, Offset, PartitionIndex, Record, SeededRandom,
    Sequence, StreamId, TopicName, TopicPartition,
};
use headland_storage::{Commit, DiskStore, LogStore, OpenOptions};

use super::append::Subject;
use super::batches::{RECORD_LEN, Shape, encoded, records};

/// Different appends, as many as the bare file has.
const APPENDS: usize = 16;

/// Size of a hub's journal files.
pub(super) const HUB_FILE_BYTES: ByteCount = ByteCount::mebibytes(120);

/// How a hub opens its store.
pub(crate) const fn hub_options() -> OpenOptions {
    OpenOptions {
        file_bytes: HUB_FILE_BYTES,
        cache_bytes: ByteCount::mebibytes(16),
        ..OpenOptions::new(1)
    }
}

/// Whether batches are encoded while the watch runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Before,
    Within,
}

enum Content {
    Batches(Vec<Batch>),
    Records(Vec<Vec<Record>>),
}

/// Partition `index` of those that commits go to.
pub(crate) fn partition(index: u32) -> Result<TopicPartition> {
    let topic = TopicName::new("speed.events")?;
    Ok(TopicPartition::new(topic, PartitionIndex::new(index)))
}

/// Commits of one shape, one after the other.
pub(super) struct Commits {
    shape: Shape,
    partitions: Vec<TopicPartition>,
    ends: Vec<Offset>,
    contents: Vec<Content>,
}

impl Commits {
    /// Commits for an empty store.
    pub(super) fn new(shape: Shape, encoding: Encoding) -> Result<Self> {
        let mut random = SeededRandom::new(1);
        let contents = (0..APPENDS)
            .map(|_| {
                Ok(match encoding {
                    Encoding::Before => Content::Batches(encoded(shape, &mut random)?),
                    Encoding::Within => {
                        let batch = |count| records(count, &mut random);
                        Content::Records(shape.batches().into_iter().map(batch).collect())
                    }
                })
            })
            .collect::<Result<_>>()?;
        let partitions = (0..8).map(partition).collect::<Result<_>>()?;
        Ok(Self { shape, partitions, ends: vec![Offset::new(0); 8], contents })
    }

    /// Commit number `number`, with batches encoded now or before; call it for each in turn.
    pub(super) fn next(&mut self, number: u64) -> Result<Commit> {
        let number = usize::try_from(number)?;
        let batches = match self.contents.get(number % APPENDS).context("one of sixteen")? {
            Content::Batches(batches) => batches.clone(),
            Content::Records(records) => {
                records.iter().map(|records| Batch::encode(records)).collect::<Result<_, _>>()?
            }
        };
        let mut entries = Vec::with_capacity(batches.len());
        for (index, batch) in batches.into_iter().enumerate() {
            let index = self.shape.partition(number, index);
            let partition = self.partitions.get(index).context("one of eight")?;
            let end = self.ends.get_mut(index).context("one of eight")?;
            let (stream, incarnation) = (StreamId::new([7; 16]), Incarnation::new(1, 1));
            let dot = Dot { stream, incarnation, sequence: Sequence::new(end.get() + 1) };
            let entry = Entry { base: *end, dot, stamp: None, batch };
            *end = entry.end();
            entries.push((partition.clone(), entry));
        }
        Ok(Commit { entries, state: Vec::new() })
    }
}

/// A store that batches are appended to.
pub(super) struct Journal {
    store: Option<DiskStore>,
    directory: PathBuf,
    records: usize,
    commits: Commits,
}

impl Journal {
    pub(super) fn create(directory: &Path, shape: Shape, encoding: Encoding) -> Result<Self> {
        let directory = directory.join(match encoding {
            Encoding::Before => "store",
            Encoding::Within => "store-and-encoding",
        });
        let store = Some(DiskStore::open(&directory, hub_options())?);
        let commits = Commits::new(shape, encoding)?;
        Ok(Self { store, directory, records: shape.records, commits })
    }
}

impl Subject for Journal {
    fn append(&mut self, number: u64) -> Result<u64> {
        let commit = self.commits.next(number)?;
        let store = self.store.as_mut().context("it is open until it is finished")?;
        store.append(&[commit])?;
        Ok(u64::try_from(self.records * RECORD_LEN)?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if let Some(store) = self.store.take() {
            store.close()?;
        }
        std::fs::remove_dir_all(&self.directory).context("cannot remove the store")
    }
}
