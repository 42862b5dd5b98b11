//! What a disk was given.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{major, minor};

/// Bytes of a sector in the kernel's accounts, whatever the disk's own are.
const SECTOR_LEN: u64 = 512;
/// Which field of a disk's account has the sectors written.
const SECTORS_WRITTEN: usize = 6;

/// A block device with a file system on it.
#[derive(Debug)]
pub(super) struct Device {
    account: PathBuf,
}

impl Device {
    /// The one that a directory lies on.
    pub(super) fn of(directory: &Path) -> Result<Self> {
        let number = std::fs::metadata(directory).context("cannot look at a directory")?.dev();
        let account = format!("/sys/dev/block/{}:{}/stat", major(number), minor(number));
        Ok(Self { account: PathBuf::from(account) })
    }

    /// Bytes written to it so far, by anybody.
    pub(super) fn written(&self) -> Result<u64> {
        let account = std::fs::read_to_string(&self.account);
        let account = account.with_context(|| format!("no {}", self.account.display()))?;
        sectors(&account).map(|sectors| sectors * SECTOR_LEN).context("an account of a disk")
    }
}

fn sectors(account: &str) -> Option<u64> {
    account.split_whitespace().nth(SECTORS_WRITTEN)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_written_are_the_seventh_field_of_an_account() {
        assert_eq!(sectors("  110  0  4440  12  53  9  712  30  0  40  42\n"), Some(712));
        assert_eq!(sectors("110 0 4440"), None);
    }
}
