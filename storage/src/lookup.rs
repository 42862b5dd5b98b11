//! Look-ups in the index, by the writer and its readers at once.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use headland_event::{CommitNumber, TopicPartition};

use crate::index::{CommitStretch, Index, Stretch};
use crate::log::ReadError;
use crate::medium::MediumFile;
use crate::points::Seek;

/// The index behind a lock that is only ever held for look-ups and additions in memory.
#[derive(Debug)]
pub(crate) struct Shared<F>(Arc<RwLock<Index<F>>>);

impl<F> Clone for Shared<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F> Shared<F> {
    pub(crate) fn new(index: Index<F>) -> Self {
        Self(Arc::new(RwLock::new(index)))
    }

    // A panic under the lock is a broken invariant of the index; the writer that met it is gone,
    // and what readers find was committed before.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Index<F>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Index<F>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: MediumFile> Shared<F> {
    /// Stretches of a partition in order, the first one where reading starts, at most `count`.
    ///
    /// All are taken under one lock: a block looked up later could be one that the writer began
    /// after filling up the block before it, and entries in between would be missed. None when
    /// nothing is there to be found: at or after the end, or no record that late.
    ///
    /// # Errors
    /// [`ReadError::Medium`] when points have to be read from a file and that fails.
    pub(crate) fn stretches(
        &self,
        partition: &TopicPartition,
        seek: Seek,
        count: usize,
    ) -> Result<Vec<Stretch<F>>, ReadError> {
        Ok(self.read().stretches(partition, seek, count))
    }

    /// The rest of the file that holds `commit`, or else the first one after it, from a point at
    /// or before it on.
    ///
    /// # Errors
    /// [`ReadError::Medium`] when points have to be read from a file and that fails.
    pub(crate) fn commits_from(
        &self,
        commit: CommitNumber,
    ) -> Result<Option<CommitStretch<F>>, ReadError> {
        Ok(self.read().commits_from(commit))
    }
}
