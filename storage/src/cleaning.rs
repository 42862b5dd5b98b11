//! Takes away what no longer counts: records by retention and acknowledgement, state by key.
//!
//! The journal's files are shared by all partitions, so cleaning has two halves. First partitions
//! get a new *start*: one commit says as state, under the owner `log`, where they start and what
//! was shed before every linked receiver had it. Then files in which nothing counts any more are
//! removed, and of those in which little does the rest is copied to *cold* files, which keep
//! offsets and commit numbers. Nothing is removed before that commit, and nothing before the copy
//! and the chain that names it are durable: a crash at any moment leaves one file or the other.
//!
//! Of partitions that are compacted, a round of reading finds which records a later one of the same
//! key took the place of. They count as dead where it is decided which files are copied, and are
//! left out of the copy.
//!
//! What stays whatever a policy says: files with a commit after the state mark or after the oldest
//! operator snapshot that may still be restored, which would have to replay it; the file that is
//! being written; and files that are damaged.
//!
//! Everything is done in steps of a budget, and what has been found out is remembered between
//! them, but not over a restart. A copy that was interrupted by one is begun again.

use headland_event::{ByteCount, EventTime, TopicPartition};

/// What is kept.
mod policy;
/// What cleaning keeps as state.
mod record;
/// Where partitions may start.
mod retention;
/// Names what is shed.
mod shed;
/// Moves the starts of partitions.
mod starts;
/// Which records of a compacted partition a later one of the same key took the place of.
mod compaction;
/// Runs of records that are gone, as holes with a name.
mod runs;
/// What of a commit is live.
mod liveness;
/// Which files are cleaned next.
mod plan;
/// Reads closed files and copies what is live.
mod pass;
/// Works through closed files.
mod cleaner;

pub(crate) use cleaner::{Cleaner, Workplace};
pub use policy::{
    CleanPolicy, Compaction, CompactionRule, Receivers, Retention, Shed, TopicPattern, TopicRule,
    Trim,
};
pub use record::{Dropped, ShedBy};
pub(crate) use record::{owner, start_of};
pub use starts::dropped;
pub(crate) use starts::{Moves, known, moves};

use crate::log::{AppendError, ReadError};
use crate::medium::MediumError;
use crate::refill::{Refill, Refilled};
use crate::state::StateError;

/// What a call of [`crate::Store::clean`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CleanReport {
    /// Partitions that start later now.
    pub moved: Vec<TopicPartition>,
    /// What was shed: records that a linked receiver did not have yet.
    pub dropped: Vec<Dropped>,
    /// Files that were removed.
    pub files_removed: usize,
    /// Files that were written with what was left of others.
    pub files_written: usize,
    /// What became of entries that came back in the place of lost ones.
    pub refilled: Vec<Refilled>,
    /// Bytes read.
    pub read: ByteCount,
    /// Bytes of files written. The commit of new starts and the chain come on top: some hundred
    /// bytes each.
    pub written: ByteCount,
    /// Whether nothing is left to do until something is appended, acknowledged or grows old.
    pub is_done: bool,
}

/// Cleaning that could not go on. Nothing is lost; a later call goes on where it can.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CleanError {
    /// The state that says what is live could not be read.
    #[error("the state that cleaning needs could not be read")]
    State(#[source] StateError),
    /// What is to be shed could not be read.
    #[error("records that are to be shed could not be read")]
    Read(#[source] ReadError),
    /// New starts of partitions could not be made durable; nothing was removed.
    #[error("new starts of partitions could not be made durable")]
    Start(#[source] AppendError),
    /// What is left of a file could not be copied.
    #[error("what is left of a file could not be copied")]
    Copy(#[source] AppendError),
    /// A file could not be read or written.
    #[error("a file could not be cleaned")]
    Medium(#[source] MediumError),
    /// The journal could not be told of its new files; it goes on with the old ones.
    #[error("cleaned files could not be made part of the journal")]
    Install(#[source] AppendError),
}

impl CleanError {
    /// Whether a later call could succeed.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::State(error) => error.is_retryable(),
            Self::Read(error) => error.is_retryable(),
            Self::Start(error) | Self::Copy(error) | Self::Install(error) => error.is_retryable(),
            Self::Medium(_) => true,
        }
    }
}

/// A store that can take away what no longer counts.
pub trait Cleaning {
    /// Takes away what `policy` lets go at `now`, reading and writing about `budget` bytes.
    ///
    /// `now` is on the clock of event times. A call goes at most one commit past its budget, and
    /// the next one goes on where it stopped; [`CleanReport::is_done`] says when nothing is left.
    /// When nothing is due nothing is written. Cost: one commit when partitions get a new start,
    /// two barriers for each file that is copied, one for each run of files that is removed.
    ///
    /// # Errors
    /// [`CleanError`]; nothing is lost.
    fn clean(
        &mut self,
        policy: &CleanPolicy,
        now: EventTime,
        budget: ByteCount,
    ) -> Result<CleanReport, CleanError>;

    /// Takes in an entry that came back in the place of a lost one, at the offset that it had.
    ///
    /// Later calls of [`Self::clean`] write the damaged file anew with it, once nothing has to be
    /// replayed from there, and say in [`CleanReport::refilled`] what became of it. It waits in
    /// memory until then, as long as the process lives.
    fn refill(&mut self, refill: Refill);
}
