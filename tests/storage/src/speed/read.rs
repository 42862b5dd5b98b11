//! Reading one partition among eight from the page cache, on one core.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use headland_event::{ByteCount, Entry, Offset};
use headland_storage::{DiskStore, LogReader, LogStore};
use serde_json::json;

use super::append::rounded;
use super::batches::{Shape, Spread};
use super::store::{Commits, Encoding, hub_options, partition};
use crate::arguments::Arguments;
use crate::report::Report;
use headland_gauge::{self as gauge, float, median};

/// Least bytes of batches a second.
const MEGABYTES_PER_SECOND: f64 = 500.0;
/// Records of a batch, each batch in the partition after the one before.
const SHAPE: Shape = Shape { records: 1_000, spread: Spread::Turns };
/// Bytes of batches that one read may return.
const READ_BYTES: ByteCount = ByteCount::mebibytes(1);

/// Writes a journal and reads one of its partitions over and over.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    let directory = arguments.take_path("directory")?.join("read");
    let rounds: usize = arguments.take("rounds", 7)?;
    let mebibytes: u64 = arguments.take("mebibytes", 1_024)?;
    arguments.finish()?;
    let store = write(&directory, mebibytes << 20)?;
    let mut wall = Vec::new();
    let mut core = Vec::new();
    for _ in 0..rounds {
        let (cpu, start) = (gauge::cpu(), gauge::now());
        let bytes = float(read(&store.reader())?);
        wall.push(bytes / 1e6 / (gauge::now() - start).as_secs_f64());
        core.push(bytes / 1e6 / (gauge::cpu() - cpu).as_secs_f64());
    }
    store.close()?;
    std::fs::remove_dir_all(&directory).context("cannot remove the journal")?;
    let best = wall.iter().copied().fold(0.0, f64::max);
    let result = json!({
        "what": "one partition of eight, batches of 1,000 records of 200 bytes, one core",
        "journal_mebibytes": mebibytes,
        "read_bytes_limit": READ_BYTES.get(),
        "rounds": rounds,
        "megabytes_per_second_median": rounded(median(&wall)),
        "megabytes_per_second_best": rounded(best),
        "megabytes_per_cpu_second_median": rounded(median(&core)),
        "megabytes_per_cpu_second_at_least": MEGABYTES_PER_SECOND,
    });
    // Other work on the machine lengthens the wall clock and not the processor's time.
    Ok(Report { is_green: median(&core) >= MEGABYTES_PER_SECOND, result })
}

/// A store with as many bytes of records.
fn write(directory: &Path, bytes: u64) -> Result<DiskStore> {
    let mut store = DiskStore::open(directory, hub_options())?;
    let mut commits = Commits::new(SHAPE, Encoding::Before)?;
    for number in 0..bytes / 1_600_000 {
        let group: Result<Vec<_>> = (0..8).map(|turn| commits.next(number * 8 + turn)).collect();
        store.append(&group?)?;
    }
    Ok(store)
}

/// Reads every entry of the fourth partition and returns the bytes of its batches.
fn read(reader: &impl LogReader) -> Result<u64> {
    let partition = partition(3)?;
    let mut next = Offset::new(0);
    let mut bytes = 0;
    loop {
        let entries = reader.read(&partition, next, READ_BYTES)?;
        let Some(last) = entries.last() else { break };
        next = last.end();
        for Entry { batch, .. } in &entries {
            bytes += u64::try_from(batch.as_bytes().len())?;
        }
    }
    ensure!(next == reader.end(&partition), "the partition was not read to its end");
    Ok(bytes)
}
