//! The contract of a node's log: what it promises, and how it says no.

use std::ops::Range;
use std::time::Duration;

use headland_event::{
    ByteCount, CommitNumber, Entry, EventTime, Incarnation, Offset, TopicPartition,
};

use crate::commit::{Appended, Commit, Priority, StateChange, StoredCommit};
use crate::fault::Corruption;
use crate::medium::MediumError;

/// What a log guarantees beyond the contract; a caller that needs one asks before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether every offset below a partition's end holds a record.
    pub dense_offsets: DenseOffsets,
    /// Whether a batch is read back byte for byte as it was written.
    pub byte_identity: ByteIdentity,
}

/// Whether offsets have holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenseOffsets {
    /// Every offset below the end holds a record.
    Dense,
    /// Some offsets are taken by the log itself, as in Kafka.
    Sparse,
}

/// Whether batches survive unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteIdentity {
    /// A batch is read back byte for byte.
    Identical,
    /// Records survive, the batches around them may not.
    RecordsOnly,
}

/// A group of commits that was not acknowledged.
///
/// After any of these the caller may not assume that the group is absent: one that fails in the
/// middle of a write is *in doubt* until the next append succeeds, and a crash in between may
/// bring it back whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A group holds at least one commit.
    #[error("a group without commits")]
    Empty,
    /// An entry does not start where its partition ends. Nothing was written.
    #[error("an entry of {partition} starts at {found}, the partition ends at {expected}")]
    OffsetGap {
        /// The entry's partition.
        partition: TopicPartition,
        /// End of the partition, counting what stands before the entry in the group.
        expected: Offset,
        /// The entry's base.
        found: Offset,
    },
    /// A commit above its limit. Nothing was written.
    #[error("commit {index} of the group takes {found}, the limit is {limit}")]
    CommitTooLarge {
        /// Index of the commit in the group.
        index: usize,
        /// Its bytes in the journal.
        found: ByteCount,
        /// Most that fit.
        limit: ByteCount,
    },
    /// More than one commit, and together above the limit of a group. Nothing was written.
    #[error("the group takes {found}, the limit is {limit}")]
    GroupTooLarge {
        /// The group's bytes in the journal.
        found: ByteCount,
        /// Most that fit.
        limit: ByteCount,
    },
    /// There is no room; the same append succeeds once there is.
    #[error("there is no room for {needed}")]
    Full {
        /// The group's bytes in the journal.
        needed: ByteCount,
    },
    /// The medium failed. The file it happened in is given up, the next append starts another.
    #[error("the group could not be made durable")]
    Medium(#[source] MediumError),
}

impl AppendError {
    /// Whether the same group could be accepted later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Full { .. } | Self::Medium(_) => true,
            Self::Empty
            | Self::OffsetGap { .. }
            | Self::CommitTooLarge { .. }
            | Self::GroupTooLarge { .. } => false,
        }
    }
}

/// Entries or commits that could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The medium failed.
    #[error("the journal could not be read")]
    Medium(#[source] MediumError),
    /// Committed bytes are not what was written, and what they held is not known.
    #[error("the journal is damaged")]
    Corrupt(#[source] Corruption),
    /// Entries are damaged. A read from `until` goes on behind them.
    #[error("offsets {from} to {until} of {partition} are damaged", until = until.get() - 1)]
    Quarantined {
        /// The partition.
        partition: TopicPartition,
        /// First offset that is lost: the damaged entry's base, at or before the one asked for.
        from: Offset,
        /// Offset after the last one lost: the base of the next valid entry, or the end.
        until: Offset,
    },
    /// Commits have damaged parts. A replay from `until` goes on behind them.
    #[error("{0}")]
    QuarantinedCommits(Box<QuarantinedCommits>),
}

/// Commits that were replayed, and how far that got.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replayed {
    /// The commits, in order; their numbers grow and have gaps where commits were cleaned away.
    pub commits: Vec<StoredCommit>,
    /// Number with which a replay goes on: greater than the one asked for, unless that is behind
    /// the last commit already. Behind the last commit when nothing is left, even where the last
    /// ones were cleaned away.
    pub next: CommitNumber,
}

/// Commits that lost some of what they held, with all that is left.
///
/// It is an error and not a shorter list of commits, so that nobody skips over a loss without
/// having written code for it. Who can do without the lost parts applies what is left and replays
/// from `until`; which offsets are lost, a read of the partitions says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("commits {from} to {until} have damaged parts", until = until.get() - 1)]
#[non_exhaustive]
pub struct QuarantinedCommits {
    /// Name of the file they stand in.
    pub file: String,
    /// Number of the first commit with a damaged part.
    pub from: CommitNumber,
    /// Number of the commit with which a replay goes on. More than one commit is damaged only
    /// when frames' own headers are, so that nobody knows which part belongs to which.
    pub until: CommitNumber,
    /// The valid entries of these commits, in the order they were written.
    pub entries: Vec<(TopicPartition, Entry)>,
    /// The valid changes of state, in the order they were written. A change that is lost may
    /// stand between them, or behind them.
    pub state: Vec<StateChange>,
    /// How much is lost.
    pub lost: LostParts,
}

impl QuarantinedCommits {
    /// Whether the changes of state that are left are all there were.
    #[must_use]
    pub const fn is_state_whole(&self) -> bool {
        match self.lost {
            LostParts::Counted { entries: _, changes } => changes == 0,
            LostParts::Unknown => false,
        }
    }
}

/// What damage took from commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostParts {
    /// So many; one of them at least.
    Counted {
        /// Entries.
        entries: usize,
        /// Changes of state. When there are none, the state that is left is whole.
        changes: usize,
    },
    /// Unknown, entries or changes of any owner: a frame's header is damaged.
    Unknown,
}

impl ReadError {
    /// Whether the same read could succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Medium(_) => true,
            Self::Corrupt(_) | Self::Quarantined { .. } | Self::QuarantinedCommits(_) => false,
        }
    }
}

/// A node's durable log, as its single writer sees it.
///
/// A group of commits is durable as a whole when `append` returns, in the order of the group;
/// a crash before that keeps a prefix of its commits and never a part of one.
pub trait LogStore {
    /// What reads the log while the writer goes on.
    type Reader: LogReader;

    /// What the log guarantees beyond the contract.
    fn capabilities(&self) -> Capabilities;

    /// The life of this data directory.
    fn incarnation(&self) -> Incarnation;

    /// Makes a group of commits durable with one barrier.
    ///
    /// Cost: one buffer, one write, one `fdatasync` for the whole group; a group that starts a
    /// file also pays for that file and its directory entry.
    ///
    /// # Errors
    /// [`AppendError`]; none of the group is acknowledged.
    fn append(&mut self, group: &[Commit]) -> Result<Appended, AppendError> {
        self.append_as(Priority::Normal, group)
    }

    /// As [`Self::append`]; a group of alerts may use the reserve when the disk is full.
    ///
    /// # Errors
    /// [`AppendError`]; none of the group is acknowledged.
    fn append_as(&mut self, priority: Priority, group: &[Commit]) -> Result<Appended, AppendError>;

    /// Records that everything acknowledged is durable; call it after about a second of idleness.
    ///
    /// Until the next append or seal nothing in the log says that the last group was acknowledged,
    /// so damage to it cannot be told from an unfinished write. Cost: one small write and one
    /// barrier, nothing when the log is sealed already.
    ///
    /// # Errors
    /// [`AppendError`] when the seal could not be made durable; what was acknowledged stays so.
    fn seal(&mut self) -> Result<(), AppendError>;

    /// Whether groups of normal priority are admitted after one was refused for lack of room.
    ///
    /// A log that keeps a reserve tries to take it back, which is what they have to wait for.
    ///
    /// # Errors
    /// [`AppendError::Full`] while they are not; others when the medium fails.
    fn readmit(&mut self) -> Result<(), AppendError> {
        Ok(())
    }

    /// A reader of everything committed so far and later.
    fn reader(&self) -> Self::Reader;
}

/// Reads a log while its writer goes on; sees commits once they are durable, never a part of one.
pub trait LogReader: Clone + Send + Sync {
    /// Offset after the last record of a partition, 0 for an unknown one.
    fn end(&self, partition: &TopicPartition) -> Offset;

    /// Offset of the first record kept of a partition, 0 for an unknown one.
    ///
    /// It never goes back, not over a restart either. What was before it is gone or may go any
    /// time; records that a receiver did not have by then are named by the store as dropped.
    fn start(&self, partition: &TopicPartition) -> Offset;

    /// Every partition that holds records, in order.
    fn partitions(&self) -> Vec<TopicPartition>;

    /// Reads whole entries of a partition in offset order; the first may begin before `from`.
    ///
    /// Where offsets were cleaned away, before the start or by compaction, the next live entry
    /// comes: its base is greater than `from`.
    ///
    /// At least one entry when there is one at or after `from`, whatever `limit` says; then as
    /// many as fit `limit` bytes of batches, or fewer. Every byte returned was checked, and no
    /// offset is missing between entries but those that were cleaned away.
    ///
    /// # Errors
    /// [`ReadError::Quarantined`] when the entry that holds `from`, or would come next, is
    /// damaged; entries before it were returned by an earlier read. Others when the medium fails.
    fn read(
        &self,
        partition: &TopicPartition,
        from: Offset,
        limit: ByteCount,
    ) -> Result<Vec<Entry>, ReadError>;

    /// Offset of the first record of a partition whose event time is `time` or later.
    ///
    /// `None` when there is none. Records before it are all earlier; records after it may be
    /// earlier too, as event times need not rise. Cost: a look-up, and one block of the partition
    /// read and one batch decoded.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Quarantined`] when the record may be among damaged ones.
    ///
    /// # Source
    /// Kafka's `ListOffsets` by timestamp (`offsetsForTimes`).
    fn offset_at(
        &self,
        partition: &TopicPartition,
        time: EventTime,
    ) -> Result<Option<Offset>, ReadError>;

    /// Reads whole commits in commit order, the first one numbered `from`.
    ///
    /// Where commits were cleaned away the next one comes, and of one that was cleaned in part
    /// what still counts: the newest change of each key, and entries at or after the start of
    /// their partitions. So a replay from the first commit ends at the state there is now, and
    /// not at each state that there was on the way. None when nothing is left from there on.
    ///
    /// At least one commit when there is one, then as many as fit `limit` bytes of the journal.
    /// A loop goes on from [`Replayed::next`] for as long as that is at most
    /// [`Self::last_commit`]; it ends, whatever was cleaned away.
    ///
    /// # Errors
    /// [`ReadError::QuarantinedCommits`] when the first commit has a damaged part; commits before
    /// it were returned by an earlier call. Others when the medium fails.
    fn replay(&self, from: CommitNumber, limit: ByteCount) -> Result<Replayed, ReadError>;

    /// Number of the last commit, 0 in an empty log.
    fn last_commit(&self) -> CommitNumber;

    /// Number of the first commit of the file that follows the one with `commit`; `None` in the
    /// newest file, and where a log has no files.
    fn next_file(&self, commit: CommitNumber) -> Option<CommitNumber> {
        let _none = commit;
        None
    }

    /// The first offset of a partition that is held in the file of which the first commit has this
    /// number, or in one behind it.
    fn first_in(&self, file: CommitNumber, partition: &TopicPartition) -> Option<Offset> {
        let _none = (file, partition);
        None
    }

    /// Offsets of a partition that the log knows to be lost though nothing was read, those among
    /// them that were given up behind its last entry. Others may be lost as well.
    fn lost(&self, partition: &TopicPartition) -> Vec<Range<Offset>> {
        let _none = partition;
        Vec::new()
    }

    /// So many bytes of commits from one on are not read again soon: memory that holds them may
    /// be of use elsewhere, and who reads them next reads the medium. A hint; nothing is done for
    /// the newest file.
    fn let_go(&self, from: CommitNumber, bytes: ByteCount) {
        let _none = (from, bytes);
    }

    /// Waits until a partition has a record at `from` or after it; returns the partition's end.
    ///
    /// It returns at once when there is one, and after `timeout` in any case. It blocks, so it is
    /// for threads; an async shell learns of commits from what its writer reports. Cost: none
    /// while nothing is committed; each group wakes all that wait, to look for themselves.
    fn wait(&self, partition: &TopicPartition, from: Offset, timeout: Duration) -> Offset;

    /// Waits until commit `from` is there; returns the last commit. Otherwise as [`Self::wait`].
    fn wait_commit(&self, from: CommitNumber, timeout: Duration) -> CommitNumber;
}
