//! A bare file with one `fdatasync` a batch: what the disk can do.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use headland_event::SeededRandom;
use rustix::fs::{FallocateFlags, fallocate};

use super::append::Subject;
use super::batches::{RECORD_LEN, Shape, noise};
use super::store::HUB_FILE_BYTES;

/// Different batches, so that neither side lives in a processor's cache alone.
const BATCHES: usize = 16;
/// What is allocated at once, as large as a hub's journal file.
const ALLOCATED: u64 = HUB_FILE_BYTES.get();

/// Whether room is allocated before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// Each write makes the file longer.
    Written,
    /// `fallocate` goes ahead.
    Allocated,
}

/// A file that batches are appended to.
pub(super) struct BareFile {
    file: File,
    path: PathBuf,
    growth: Growth,
    batches: Vec<Vec<u8>>,
    end: u64,
    allocated: u64,
}

impl BareFile {
    pub(super) fn create(directory: &Path, shape: Shape, growth: Growth) -> Result<Self> {
        let path = directory.join(match growth {
            Growth::Written => "bare",
            Growth::Allocated => "bare-allocated",
        });
        let options = OpenOptions::new().create(true).truncate(true).write(true).clone();
        let file = options.open(&path).context("cannot create a file")?;
        let mut random = SeededRandom::new(1);
        let batch = |_| noise(shape.records * RECORD_LEN, &mut random);
        let batches = (0..BATCHES).map(batch).collect();
        Ok(Self { file, path, growth, batches, end: 0, allocated: 0 })
    }
}

impl Subject for BareFile {
    fn append(&mut self, number: u64) -> Result<u64> {
        let index = usize::try_from(number).unwrap_or(0) % BATCHES;
        let batch = self.batches.get(index).map_or(&[][..], Vec::as_slice);
        let length = u64::try_from(batch.len())?;
        if self.growth == Growth::Allocated && self.end + length > self.allocated {
            fallocate(&self.file, FallocateFlags::empty(), self.allocated, ALLOCATED)?;
            self.allocated += ALLOCATED;
        }
        self.file.write_all_at(batch, self.end)?;
        self.file.sync_data()?;
        self.end += length;
        Ok(length)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        std::fs::remove_file(self.path).context("cannot remove the bare file")
    }
}
