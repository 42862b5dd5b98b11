//! One durable journal per node: atomic commits over partitions, and a cache of state.
//!
//! A commit is any number of batches for any partitions and any changes of state; it becomes
//! durable as one frame of one file, and a group of commits with one barrier. Readers follow while
//! the writer goes on. What the format promises after a crash is in `docs/specs/store.md`.
//!
//! The crate does *not* know what a record means, who sends it, or what time it is; it starts no
//! thread and no task. What is damaged it names ([`ReadError::Quarantined`], [`verify`]) and reads
//! past, and what somebody else still has it puts back ([`Refill`]). Of a damaged change of state
//! that has to be replayed it names the commit, and owners of state stop until they accept the loss
//! ([`LostState`]). What no longer counts is taken away by [`Cleaning`], when it is asked to.
//!
//! Main types: [`LogStore`] and [`LogReader`] are the contract, [`Commit`] what goes in,
//! [`StateStore`] what state is read by. [`MemoryStore`] implements them over a [`MemoryDisk`]
//! that can lose power, `DiskStore` (feature `disk`) over a directory; both write the same bytes
//! through the same code.
//!
//! ```
//! use headland_event::{
//!     Batch, ByteCount, Dot, Entry, EventTime, Incarnation, Offset, PartitionIndex, Record,
//!     Sequence, StreamId, TopicName, TopicPartition,
//! };
//! use headland_storage::{
//!     Commit, LogReader, LogStore, MemoryDisk, MemoryStore, OpenOptions, Survival,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let disk = MemoryDisk::new(1);
//! let mut store = MemoryStore::open(&disk, OpenOptions::new(2))?;
//! let partition = TopicPartition::new(TopicName::new("air.readings")?, PartitionIndex::new(0));
//! let stream = StreamId::new([7; 16]);
//! let dot = Dot { stream, incarnation: store.incarnation(), sequence: Sequence::new(1) };
//! let batch = Batch::encode(&[Record::new(EventTime::from_millis(0), "Dongsi", "{}")])?;
//! let entry = Entry { base: Offset::new(0), dot, stamp: None, batch };
//! let commit = Commit { entries: vec![(partition.clone(), entry.clone())], state: vec![] };
//!
//! let appended = store.append(&[commit])?;
//! disk.crash(Survival::Nothing);
//!
//! let store = MemoryStore::open(&disk, OpenOptions::new(3))?;
//! let reader = store.reader();
//! assert_eq!(reader.last_commit(), appended.last);
//! let read = reader.read(&partition, Offset::new(0), ByteCount::mebibytes(1))?;
//! assert_eq!(read, [entry]);
//! # Ok(())
//! # }
//! ```

/// What a caller hands in to be made durable together.
mod commit;
/// How the batches of each topic are compressed.
mod codecs;
/// Composes commits: gives records their offsets and dots, and keeps the order.
mod composer;
/// The contract of a node's log.
mod log;
/// State, and what it may be cached in.
mod state;
/// Changes of state that are lost for good.
mod loss;
/// Snapshots of operators' state.
mod snapshot;
/// A store: the journal, and the cache of the state that its commits left.
mod store;
/// Takes away what no longer counts.
mod cleaning;
/// Puts entries that came back in the place of lost ones.
mod refill;
/// The writer of the journal.
mod journal;
/// Offsets of a group that is not durable yet.
mod offsets;
/// Room kept so that alerts still get through on a full disk.
mod reserve;
/// A group of commits encoded in one buffer.
mod group;
/// How many offsets a file gives at most.
mod allowance;
/// Bodies of commit frames.
mod body;
/// Headers of journal files and of frames.
mod frame;
/// Which files the journal is made of.
mod chain;
/// Where commits and offsets are: in which file.
mod index;
/// Where they are in one file.
mod points;
/// What a closed file holds, at its end.
mod summary;
/// Points paged in from there.
mod pages;
/// Look-ups in the index, by the writer and its readers at once.
mod lookup;
/// Reads a journal while its writer goes on.
mod reader;
/// Replays commits.
mod replay;
/// Takes a node through its log at a start, past damage.
mod restart;
/// Reads a log through, a little at a time, for damage.
mod scrub;
/// Wakes threads that wait for commits.
mod signal;
/// Reads a partition's entries of one block.
mod stretch;
/// Gathers entries in order.
mod gather;
/// Reads past damage and names what it took.
mod quarantine;
/// Walks the frames of one file.
mod cursor;
/// Finds valid frames and parts again behind damage.
mod salvage;
/// Bytes of one file, read in chunks.
mod window;
/// Writes what is left of files after cleaning.
mod cold;
/// Reads a file whole.
mod scan;
/// Finds out, from the files alone, what was acknowledged.
mod recovery;
/// What the newest file was when it was last known whole.
mod witness;
/// What follows the last valid frame of a file.
mod tail;
/// Which life of which data directory this is.
mod identity;
/// Where a data directory lies, so that a copy of it is told from the original.
mod place;
/// What can be wrong with bytes and with a journal.
mod fault;
/// Reads everything and says what is damaged.
mod verify;
/// What holds the journal's files.
mod medium;
/// Appends composed commits in groups: one barrier serves all that wait.
mod committer;
/// A disk in memory that loses power.
mod memory;
/// A directory on a disk.
#[cfg(feature = "disk")]
mod disk;
/// The suite that every backend passes.
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;

pub use cleaning::{
    CleanError, CleanPolicy, CleanReport, Cleaning, Compaction, CompactionRule, Dropped, Receivers,
    Retention, Shed, ShedBy, TopicPattern, TopicRule, Trim, dropped,
};
pub use codecs::{CodecNotBuilt, TopicCodecs};
pub use commit::{
    Appended, Commit, Priority, StateChange, StateOwner, StateOwnerError, StoredCommit,
};
pub use committer::{CommitWriter, NotDurable, NotDurableCause, Report, UpkeepError};
pub use composer::{Composed, Composer, ComposerError, Ticket};
#[cfg(feature = "disk")]
pub use disk::{
    BackupError, BackupReport, DiskFile, DiskMedium, DiskStore, SledState, backup,
    is_panic_contained, restore,
};
pub use fault::{Corruption, Fault, OpenError};
pub use log::{
    AppendError, ByteIdentity, Capabilities, DenseOffsets, LogReader, LogStore, LostParts,
    QuarantinedCommits, ReadError, Replayed,
};
pub use loss::LostState;
pub use medium::{Medium, MediumError, MediumFile, Operation};
pub use memory::{MemoryDisk, MemoryFile, MemoryMedium, MemoryStore, Survival};
pub use place::{OnCopy, Place, Standing};
pub use reader::JournalReader;
pub use recovery::OpenReport;
pub use refill::{Refill, RefillRefused, Refilled};
pub use restart::{
    Missing, MissingCommits, MissingOffsets, UndecidedLoss, lost_around, replay_past_damage,
};
pub use scrub::{Found, FoundOffsets, Scrub, ScrubRead, ScrubStatus, Scrubbed};
pub use snapshot::{Snapshot, SnapshotError, SnapshotPace, SnapshotStore};
pub use state::{MemoryState, StateCache, StateError, StateMarks, StateStore};
pub use store::{CloseError, OpenOptions, Store};
pub use tail::{Tail, TailKept};
pub use verify::{Damage, Damaged, Unfinished, VerifiedFile, VerifyReport, verify};
