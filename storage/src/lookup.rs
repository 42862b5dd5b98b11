//! Look-ups in the index, by the writer and its readers at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use headland_event::{CommitNumber, TopicPartition};

use crate::frame::FIRST_FRAME_AT;
use crate::index::{Before, CommitStretch, Index, Planned, Source, Stretch};
use crate::log::ReadError;
use crate::medium::MediumFile;
use crate::pages::{Page, Pages};
use crate::points::{self, CommitPoint, EntryPoint, Paged, Points, Seek};
use crate::scan::{self, ScanError};
use crate::signal::Signal;
use crate::summary::{self, PointCodec};

/// Memory of paged-in points: those of some hundred files, whatever the journal's size. Less than
/// a reader's working set costs it a read of up to a few hundred KiB for each look-up.
const ENTRY_PAGES_BYTES: usize = 7 << 20;
/// Memory of paged-in points of commits, which a replay needs once per file.
const COMMIT_PAGES_BYTES: usize = 1 << 20;

/// The file, by its nonce, and the position of the points in it.
type PageKey = (u64, u64);

/// The index and what is paged in, shared by the writer and its readers.
///
/// The lock of the index is only ever held for look-ups and additions in memory, that of the pages
/// only to fetch and to keep one; files are read under neither.
#[derive(Debug)]
pub(crate) struct Shared<F>(Arc<Inner<F>>);

#[derive(Debug)]
struct Inner<F> {
    index: RwLock<Index<F>>,
    entry_pages: Mutex<Pages<PageKey, EntryPoint>>,
    commit_pages: Mutex<Pages<PageKey, CommitPoint>>,
    committed: Signal,
}

impl<F> Clone for Shared<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F> Shared<F> {
    pub(crate) fn new(index: Index<F>) -> Self {
        Self(Arc::new(Inner {
            index: RwLock::new(index),
            entry_pages: Mutex::new(Pages::new(ENTRY_PAGES_BYTES)),
            commit_pages: Mutex::new(Pages::new(COMMIT_PAGES_BYTES)),
            committed: Signal::default(),
        }))
    }

    // A panic under the lock is a broken invariant of the index; the writer that met it is gone,
    // and what readers find was committed before.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Index<F>> {
        self.0.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Index<F>> {
        self.0.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the writer says after it added commits, when it no longer holds the index.
    pub(crate) fn committed(&self) -> &Signal {
        &self.0.committed
    }
}

impl<F: MediumFile> Shared<F> {
    /// Stretches of a partition in order, the first one where reading starts, at most `count`.
    ///
    /// All are planned under one lock: a block looked up later could be one that the writer began
    /// after filling up the block before it, and entries in between would be missed. None when
    /// nothing is there to be found: at or after the end, or no record that late.
    ///
    /// Where points were made from a file that is damaged some are missing; what lies before the
    /// others, and before the next file, is then said to be behind a loss.
    ///
    /// # Errors
    /// [`ReadError`] when points have to be read from a file and that fails. Damaged points are
    /// made again from the file.
    pub(crate) fn stretches(
        &self,
        partition: &TopicPartition,
        seek: Seek,
        count: usize,
    ) -> Result<Vec<Stretch<F>>, ReadError> {
        let plan = self.read().plan(partition, seek, count);
        let mut stretches = Vec::new();
        let mut is_behind_damaged = false;
        for (nth, planned) in plan.into_iter().enumerate() {
            let Planned { source, base, last, first, is_damaged, points } = planned;
            let Page { points, is_damaged } = match points {
                Points::Held(points) => Page { points: Arc::from(points), is_damaged },
                Points::Paged(at) => page(&self.0.entry_pages, &source, at, || {
                    let (scratch, segment) = scan::alone(source.clone(), (base, last))?;
                    let is_damaged = segment.is_damaged;
                    Ok((segment.into_entry_points(scratch.id(partition)), is_damaged))
                })?,
            };
            // Only the first file is entered in the middle. Held points start there already.
            let points = if nth == 0 { points::entries_from(&points, seek) } else { &points };
            let left = count - stretches.len();
            let was_damaged = std::mem::replace(&mut is_behind_damaged, is_damaged);
            stretches.extend(points.iter().take(left).enumerate().map(|(nth, point)| Stretch {
                source: source.clone(),
                base: point.base,
                before: match first {
                    Some((base, before)) if base == point.base => before,
                    Some(_) | None => Before::Nothing,
                },
                place: point.place,
                until: point.until(),
                is_behind_loss: is_damaged || (was_damaged && nth == 0),
            }));
            if stretches.len() == count {
                break;
            }
        }
        Ok(stretches)
    }

    /// The rest of the file that holds `commit`, or else the first one after it, from a point at
    /// or before it on.
    ///
    /// # Errors
    /// [`ReadError`] when points have to be read from a file and that fails. Damaged points are
    /// made again from the file.
    pub(crate) fn commits_from(
        &self,
        commit: CommitNumber,
    ) -> Result<Option<CommitStretch<F>>, ReadError> {
        let Some(Planned { source, base, last, points, .. }) = self.read().plan_commits(commit)
        else {
            return Ok(None);
        };
        let point = match points {
            Points::Held(points) => points.first().copied(),
            Points::Paged(at) => {
                let page = page(&self.0.commit_pages, &source, at, || {
                    let (_, segment) = scan::alone(source.clone(), (base, last))?;
                    let is_damaged = segment.is_damaged;
                    Ok((segment.into_commit_points(), is_damaged))
                })?;
                points::commit_from(&page.points, commit)
            }
        };
        // The header of the first frame may be damaged, and then there is no point of it.
        let start = CommitPoint { commit: base, frame: FIRST_FRAME_AT };
        let point = point.filter(|point| point.commit <= commit).unwrap_or(start);
        let CommitPoint { commit, frame } = point;
        Ok(Some(CommitStretch { source, commit, frame, last }))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A cache is as good after a panic as before.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Points from the cache, else from the file's directory, else `rebuilt` from the file, which also
/// says whether that is damaged.
fn page<F: MediumFile, P: PointCodec>(
    pages: &Mutex<Pages<PageKey, P>>,
    source: &Source<F>,
    at: Paged,
    rebuilt: impl FnOnce() -> Result<(Vec<P>, bool), ScanError>,
) -> Result<Page<P>, ReadError> {
    let key = (source.nonce, at.position);
    if let Some(page) = lock(pages).get(key) {
        return Ok(page);
    }
    let loaded = summary::load_points(&source.file, at).map_err(ReadError::Medium)?;
    let (points, is_damaged) = match loaded {
        Ok(points) => (points, false),
        Err(_damaged) => rebuilt()?,
    };
    let page = Page { points: Arc::from(points), is_damaged };
    lock(pages).insert(key, page.clone());
    Ok(page)
}

impl From<ScanError> for ReadError {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Medium(error) => Self::Medium(error),
            ScanError::Damaged(corruption) => Self::Corrupt(corruption),
        }
    }
}
