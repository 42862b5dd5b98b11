//! A directory on a disk: its lock, its files, and sled as the cache of state.

/// The directory and its files.
mod directory;
/// sled as the cache of state.
mod sled_state;
/// Changes of state that sled was not given yet.
mod waiting;
/// Rows of the state in sled, and what they add up to.
mod row;
/// The state mark.
mod marker;
/// sled behind a wall: its panics are errors here.
mod contained;
/// Backups: a consistent copy of a data directory, and back.
mod backup;
/// What belongs to a backup.
mod manifest;

pub use backup::{BackupError, BackupReport, backup, restore};
pub use contained::is_panic_contained;
pub use directory::{DiskFile, DiskMedium, DiskStore};
pub use sled_state::SledState;

#[cfg(test)]
mod tests;
