//! What reaches the disk for each byte of records, while half of every file is cleaned away.

use anyhow::{Context, Result};
use headland_event::{ByteCount, EventTime, SeededRandom};
use headland_gauge::Written;
use headland_storage::{
    CleanPolicy, Cleaning, Composer, DiskStore, LogStore, OpenOptions, Retention, StateMarks,
};
use serde_json::json;

use super::batches::{RECORD_LEN, Shape, Spread, encoded};
use super::rounded;
use super::store::partition;
use crate::arguments::Arguments;
use crate::report::Report;

/// Small files, so that many are closed and cleaned.
const FILE_BYTES: ByteCount = ByteCount::mebibytes(4);
/// Records of a batch: a batch is a commit.
const RECORDS: usize = 100;
/// Commits between two rounds of cleaning: about one file.
const COMMITS_A_ROUND: u64 = 200;
/// Written at most for each byte of records.
const BAR: f64 = 2.0;

/// Appends to two partitions in turns, one of which is acknowledged at once, and cleans until
/// nothing is due; counts the bytes of pages that this process made dirty for a disk.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    let directory = arguments.take_path("directory")?.join("wear");
    let mebibytes: u64 = arguments.take("mebibytes", 256)?;
    arguments.finish()?;
    let mut store =
        DiskStore::open(&directory, OpenOptions { file_bytes: FILE_BYTES, ..OpenOptions::new(1) })?;
    let reader = store.reader();
    let mut composer = Composer::new(store.incarnation(), &reader, &store)?;
    let mut random = SeededRandom::new(1);
    let shape = Shape { records: RECORDS, spread: Spread::One };
    let (acknowledged, kept) = (partition(0)?, partition(1)?);
    let commits = (mebibytes << 20) / u64::try_from(RECORDS * RECORD_LEN)?;
    let (mut copied, mut removed) = (0, 0);
    let before = Written::by_this()?;
    for number in 1..=commits {
        let to = if number % 2 == 0 { &acknowledged } else { &kept };
        for batch in encoded(shape, &mut random)? {
            composer.born(to, None, batch, &mut random);
        }
        let composed = composer.take().context("something was born")?;
        store.append(&[composed.commit])?;
        if number % COMMITS_A_ROUND == 0 {
            store.mark_state()?;
            let mut policy = CleanPolicy::default();
            policy.trim(acknowledged.clone(), composer.end(&acknowledged), Retention::NOTHING);
            let report =
                store.clean(&policy, EventTime::from_millis(0), ByteCount::mebibytes(64))?;
            copied += report.files_written;
            removed += report.files_removed;
        }
    }
    let Written { calls, pages } = Written::by_this()?.since(before);
    store.close()?;
    std::fs::remove_dir_all(&directory).context("cannot remove the store")?;
    let appended = commits * u64::try_from(RECORDS * RECORD_LEN)?;
    let ratio = |bytes: u64| bytes as f64 / appended as f64;
    let result = json!({
        "appended_bytes": appended,
        "written_bytes_a_byte": rounded(ratio(calls)),
        "pages_written_bytes_a_byte": rounded(ratio(pages)),
        "files_copied": copied,
        "files_removed": removed,
    });
    Ok(Report { is_green: ratio(pages) <= BAR && removed > 0, result })
}
