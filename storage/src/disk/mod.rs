//! A directory on a disk: its lock, its files, and sled as the cache of state.

/// The directory and its files.
mod directory;
/// sled as the cache of state.
mod sled_state;
/// Changes of state that sled was not given yet.
mod waiting;
/// The table of rows in sled.
mod table;
/// Ranges of blocks, and what the blocks of each add up to.
mod ranges;
/// Blocks: rows that follow each other, as sled stores them.
mod block;
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
