//! A directory on a disk: its lock, its files, and sled as the cache of state.

/// The directory and its files.
mod directory;
/// sled as the cache of state.
mod sled_state;

pub use directory::{DiskFile, DiskMedium, DiskStore};
pub use sled_state::SledState;

#[cfg(test)]
mod tests;
