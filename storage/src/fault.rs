//! What can be wrong with bytes of the journal, and with a journal as a whole.

use headland_event::codec::CodecError;
use headland_event::{BatchError, ByteCount};

use crate::log::AppendError;
use crate::medium::MediumError;
use crate::state::StateError;

/// Why bytes are not a valid header, frame, entry or change of state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The file ends inside it.
    #[error("{needed} bytes are needed, {left} are left")]
    Short {
        /// How many bytes it needs.
        needed: u64,
        /// How many there are.
        left: u64,
    },
    /// It does not start with its magic number.
    #[error("the magic number is missing")]
    Magic,
    /// A later format.
    #[error("{field} is {found}, this build reads {expected}")]
    Version {
        /// The field that says so.
        field: &'static str,
        /// Its value.
        found: u16,
        /// What this build reads.
        expected: u16,
    },
    /// Some byte changed.
    #[error("the CRC-32C of the {part} is {found:08x}, its bytes give {expected:08x}")]
    Checksum {
        /// What was checked.
        part: &'static str,
        /// What stands there.
        found: u32,
        /// What the bytes give.
        expected: u32,
    },
    /// A number that is not the one its place demands.
    #[error("{field} is {found}, expected {expected}")]
    Mismatch {
        /// The field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What its place demands.
        expected: u64,
    },
    /// The layout breaks off or contradicts itself.
    #[error("the layout is broken")]
    Layout(#[from] CodecError),
    /// The batch in an entry is not valid.
    #[error("the batch is not valid")]
    Batch(#[from] BatchError),
}

impl Fault {
    /// Whether a later build could read the bytes: they are whole, only newer.
    #[must_use]
    pub const fn is_version(&self) -> bool {
        matches!(self, Self::Version { .. })
    }
}

/// Acknowledged bytes that are not what was written, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file} is damaged at byte {}", position.get())]
#[non_exhaustive]
pub struct Corruption {
    /// Name of the file.
    pub file: String,
    /// Position of the first invalid frame in it.
    pub position: ByteCount,
    /// What is wrong there.
    pub source: Fault,
}

impl From<Corruption> for OpenError {
    fn from(corruption: Corruption) -> Self {
        if corruption.source.is_version() {
            Self::Unsupported(corruption)
        } else {
            Self::Corrupt(corruption)
        }
    }
}

/// A data directory that could not be opened. Nothing acknowledged was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error("the data directory {directory} is in use by another process")]
    Locked {
        /// The directory.
        directory: String,
    },
    /// The medium failed.
    #[error("the data directory could not be read or written")]
    Medium(#[from] MediumError),
    /// Acknowledged data is damaged; cutting it off would lose it silently.
    #[error("the journal is damaged below its durable end")]
    Corrupt(#[source] Corruption),
    /// Written by a later build.
    #[error("the journal was written by a later version")]
    Unsupported(#[source] Corruption),
    /// A file that the journal is made of is missing.
    #[error(
        "{name}, which {file} names as a part of the journal, is missing; put it back, or make an \
         empty file of that name to go on without what was in it"
    )]
    Missing {
        /// The file that is missing.
        name: String,
        /// The file that names it.
        file: String,
    },
    /// Of a file that the journal is made of the header is unreadable, or it is missing: files of
    /// the first version name each other by their headers.
    #[error("the file before {file} is missing or unreadable; restore a backup")]
    Unlinked {
        /// The file that names it.
        file: String,
    },
    /// The node's identity was written by a later build.
    #[error("the identity in {file} cannot be read")]
    Identity {
        /// Name of the identity file.
        file: String,
        /// What is wrong with it.
        source: Fault,
    },
    /// What was in doubt at the end of the journal contradicts what stands before it.
    #[error("the end of the journal contradicts what stands before it")]
    InDoubt(#[source] AppendError),
    /// The state could not be rebuilt from the journal.
    #[error("the state could not be rebuilt")]
    State(#[source] StateError),
}

impl OpenError {
    /// Whether opening could succeed later with nobody repairing anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Locked { .. } | Self::Medium(_) => true,
            Self::State(error) => error.is_retryable(),
            Self::Corrupt(_)
            | Self::Unsupported(_)
            | Self::Missing { .. }
            | Self::Unlinked { .. }
            | Self::InDoubt(_)
            | Self::Identity { .. } => false,
        }
    }
}
