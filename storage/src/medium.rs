//! What holds the journal's files: a directory on a disk, or memory that can lose power.

use std::io;

use bytes::Bytes;
use headland_event::ByteCount;

use crate::place::Place;

/// What was being done when a medium failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Listing the names.
    List,
    /// Opening a file.
    Open,
    /// Creating a file and allocating its bytes.
    Create,
    /// Reading bytes.
    Read,
    /// Writing bytes.
    Write,
    /// Making written bytes durable.
    Sync,
    /// Cutting or measuring a file.
    Resize,
    /// Removing or renaming a file, or making names durable.
    Name,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::List => "list",
            Self::Open => "open",
            Self::Create => "create",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Resize => "resize",
            Self::Name => "rename, remove or sync the name of",
        })
    }
}

/// A failure of the medium.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MediumError {
    /// There is no room, or a quota is used up.
    #[error("could not {operation} {name}: there is no room")]
    Full {
        /// What was being done.
        operation: Operation,
        /// The file it was done to.
        name: String,
    },
    /// Anything else.
    #[error("could not {operation} {name}")]
    Io {
        /// What was being done.
        operation: Operation,
        /// The file it was done to.
        name: String,
        /// What the system says.
        source: io::Error,
    },
}

impl MediumError {
    /// Sorts a system's error.
    #[must_use]
    pub fn new(operation: Operation, name: impl Into<String>, source: io::Error) -> Self {
        let name = name.into();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full { operation, name },
            // `io::ErrorKind` is the standard library's and open-ended.
            _ => Self::Io { operation, name, source },
        }
    }

    /// Whether there is no file of that name.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Full { .. } => false,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Whether the file ends before what was to be read of it.
    #[must_use]
    pub fn is_short(&self) -> bool {
        match self {
            Self::Full { .. } => false,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::UnexpectedEof,
        }
    }
}

/// The files of one data directory, in the hands of one process; clones share them.
pub trait Medium: Clone + Send {
    /// An open file.
    type File: MediumFile;

    /// Names of all files, in no particular order.
    ///
    /// # Errors
    /// [`MediumError`] when they cannot be listed.
    fn list(&self) -> Result<Vec<String>, MediumError>;

    /// Opens a file that exists.
    ///
    /// # Errors
    /// [`MediumError`] when it does not or cannot be opened.
    fn open(&self, name: &str) -> Result<Self::File, MediumError>;

    /// Creates a file of `size` zero bytes and makes sure that there is room for all of them.
    ///
    /// Neither the bytes nor the name are durable yet. After an error no file of that name is left
    /// behind, unless it existed before.
    ///
    /// # Errors
    /// [`MediumError::Full`] when there is no room; others when the name is taken or I/O fails.
    fn create(&mut self, name: &str, size: ByteCount) -> Result<Self::File, MediumError>;

    /// Removes a file. Open handles keep working; the removal is durable after `sync_names`.
    ///
    /// # Errors
    /// [`MediumError`] when it cannot be removed.
    fn remove(&mut self, name: &str) -> Result<(), MediumError>;

    /// Makes creations and removals durable.
    ///
    /// # Errors
    /// [`MediumError`] when that is not certain.
    fn sync_names(&mut self) -> Result<(), MediumError>;

    /// The whole content of a small file, `None` when there is none.
    ///
    /// # Errors
    /// [`MediumError`] when it cannot be read.
    fn load(&self, name: &str) -> Result<Option<Bytes>, MediumError>;

    /// Puts a small file in place of the old one: after a crash there is one or the other, whole.
    ///
    /// # Errors
    /// [`MediumError`] when it is not certain that the new one is durable.
    fn replace(&mut self, name: &str, content: &[u8]) -> Result<(), MediumError>;

    /// What stays as long as the directory lies where it does, and is another of a copy.
    ///
    /// # Errors
    /// [`MediumError`] when something cannot be read that may be there.
    fn place(&self) -> Result<Place, MediumError>;
}

/// An open file; clones share it.
pub trait MediumFile: Clone + Send + Sync {
    /// Size of the file, allocated bytes that were never written included.
    ///
    /// # Errors
    /// [`MediumError`] when it cannot be known.
    fn size(&self) -> Result<ByteCount, MediumError>;

    /// Fills `buffer` with the bytes from `position` on; fails when the file ends before.
    ///
    /// # Errors
    /// [`MediumError`] when they cannot all be read.
    fn read_at(&self, position: ByteCount, buffer: &mut [u8]) -> Result<(), MediumError>;

    /// Bytes from `position` on are not read again soon: whoever does reads the device. A hint.
    fn let_go(&self, position: ByteCount, length: ByteCount) {
        let _none = (position, length);
    }

    /// Writes all bytes at `position`; after an error any part of them may be there.
    ///
    /// # Errors
    /// [`MediumError`] when not all were written.
    fn write_at(&self, position: ByteCount, bytes: &[u8]) -> Result<(), MediumError>;

    /// Makes everything written to this file durable: one barrier.
    ///
    /// # Errors
    /// [`MediumError`] when that is not certain; the bytes must then be written elsewhere, because
    /// a later barrier on the same file may succeed without them.
    fn sync(&self) -> Result<(), MediumError>;

    /// Cuts the file and frees what lies behind.
    ///
    /// # Errors
    /// [`MediumError`] when it cannot be cut.
    fn truncate(&self, size: ByteCount) -> Result<(), MediumError>;
}
