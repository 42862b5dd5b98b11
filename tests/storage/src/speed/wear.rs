//! What reaches the disk for each byte of records, while half of every file is cleaned away.
//!
//! Three figures, because they differ: what was handed to calls; what the kernel accounts to this
//! process, which counts a folio of several pages whole when a byte of it becomes dirty; and, for
//! root, the sectors that a disk of its own was given: an ext4 image in memory, its journal apart.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use headland_event::{ByteCount, EventTime, SeededRandom};
use headland_gauge::Written;
use headland_storage::{
    CleanPolicy, Cleaning, Composer, DiskStore, LogStore, OpenOptions, Retention, StateMarks,
};
use rustix::process::geteuid;
use serde_json::{Value, json};

use super::batches::{RECORD_LEN, Shape, Spread, encoded};
use super::device::Device;
use super::rounded;
use super::store::partition;
use crate::arguments::Arguments;
use crate::powercut::{Journaling, Mount, make_file_system};
use crate::report::Report;

/// Small files, so that many are closed and cleaned.
const FILE_BYTES: ByteCount = ByteCount::mebibytes(4);
/// Records of a batch: a batch is a commit.
const RECORDS: usize = 100;
/// Commits between two rounds of cleaning: about one file.
const COMMITS_A_ROUND: u64 = 200;
/// Written at most for each byte of records.
const BAR: f64 = 2.0;

/// Room for what half of the default size leaves, and for what is not cleaned yet.
const IMAGE_BYTES: u64 = 1 << 30;

/// Appends to two partitions in turns, one of which is acknowledged at once, and cleans until
/// nothing is due; counts what is written meanwhile, on the directory's disk and on two of its own.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    let directory = arguments.take_path("directory")?.join("wear");
    let mebibytes: u64 = arguments.take("mebibytes", 256)?;
    let memory: PathBuf = arguments.take("memory", PathBuf::from("/dev/shm"))?;
    arguments.finish()?;
    let wear = Wear::of(&directory, mebibytes)?;
    std::fs::remove_dir_all(&directory).context("cannot remove the store")?;
    let mut result = wear.report();
    // Without a disk of its own nothing tells what is this process's from what is others'.
    let mut worst = wear.ratio(wear.all().pages);
    if geteuid().is_root() {
        worst = 0.0;
        for (name, journaling) in [("plain", Journaling::Off), ("journaled", Journaling::On)] {
            let written = on_own_disk(&directory, &memory, (mebibytes, journaling))?;
            if journaling == Journaling::Off {
                worst = wear.ratio(written);
            }
            if let Some(object) = result.as_object_mut() {
                let name = format!("disk_bytes_a_byte_{name}");
                object.insert(name, Value::from(rounded(wear.ratio(written))));
            }
        }
    }
    Ok(Report { is_green: worst <= BAR && wear.removed > 0, result })
}

/// Bytes that a disk of its own is given.
fn on_own_disk(
    point: &Path,
    memory: &Path,
    (mebibytes, journaling): (u64, Journaling),
) -> Result<u64> {
    let scratch = tempfile::tempdir_in(memory).context("cannot use --memory")?;
    let image = scratch.path().join("image");
    make_file_system(&image, IMAGE_BYTES, journaling)?;
    let mount = Mount::new(&image, point)?;
    let device = Device::of(point)?;
    let before = device.written()?;
    Wear::of(&point.join("data"), mebibytes)?;
    rustix::fs::syncfs(std::fs::File::open(point)?).context("cannot write the disk back")?;
    let written = device.written()? - before;
    mount.end()?;
    Ok(written)
}

/// What was written.
#[derive(Debug, Default)]
struct Wear {
    appended_bytes: u64,
    appending: Written,
    marking: Written,
    cleaning: Written,
    copied: usize,
    removed: usize,
}

impl Wear {
    /// Fills a store in a directory, half of which goes.
    fn of(directory: &Path, mebibytes: u64) -> Result<Self> {
        let options = OpenOptions { file_bytes: FILE_BYTES, ..OpenOptions::new(1) };
        let mut store = DiskStore::open(directory, options)?;
        let mut composer = Composer::new(store.incarnation(), &store.reader(), &store)?;
        let mut random = SeededRandom::new(1);
        let shape = Shape { records: RECORDS, spread: Spread::One };
        let (acknowledged, kept) = (partition(0)?, partition(1)?);
        let bytes = u64::try_from(RECORDS * RECORD_LEN)?;
        let commits = (mebibytes << 20) / bytes;
        let mut wear = Self { appended_bytes: commits * bytes, ..Self::default() };
        for number in 1..=commits {
            let to = if number % 2 == 0 { &acknowledged } else { &kept };
            for batch in encoded(shape, &mut random)? {
                composer.born(to, None, batch, &mut random);
            }
            let composed = composer.take().context("something was born")?;
            counted(&mut wear.appending, || store.append(&[composed.commit]))??;
            if number % COMMITS_A_ROUND == 0 {
                counted(&mut wear.marking, || store.mark_state())??;
                let mut policy = CleanPolicy::default();
                policy.trim(acknowledged.clone(), composer.end(&acknowledged), Retention::NOTHING);
                let (now, budget) = (EventTime::from_millis(0), ByteCount::mebibytes(64));
                let report = counted(&mut wear.cleaning, || store.clean(&policy, now, budget))??;
                wear.copied += report.files_written;
                wear.removed += report.files_removed;
            }
        }
        counted(&mut wear.marking, || store.close())??;
        Ok(wear)
    }

    const fn all(&self) -> Written {
        self.appending.plus(self.marking).plus(self.cleaning)
    }

    fn ratio(&self, bytes: u64) -> f64 {
        bytes as f64 / self.appended_bytes as f64
    }

    fn report(&self) -> Value {
        let parts = |of: fn(&Written) -> u64| {
            let part = |written: &Written| rounded(self.ratio(of(written)));
            json!({
                "all": part(&self.all()),
                "appending": part(&self.appending),
                "state_marks": part(&self.marking),
                "cleaning": part(&self.cleaning),
            })
        };
        json!({
            "appended_bytes": self.appended_bytes,
            "written_bytes_a_byte": parts(|written| written.calls),
            "folio_bytes_a_byte": parts(|written| written.pages),
            "files_copied": self.copied,
            "files_removed": self.removed,
        })
    }
}

/// Does something and adds what this process wrote meanwhile.
fn counted<T>(sum: &mut Written, work: impl FnOnce() -> T) -> Result<T> {
    let before = Written::by_this()?;
    let done = work();
    *sum = sum.plus(Written::by_this()?.since(before));
    Ok(done)
}
