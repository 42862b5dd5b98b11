//! Opening a journal of many files, after a kill and after a clean stop, each in a fresh process.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use headland_event::{ByteCount, CommitNumber, Offset, Random, SeededRandom};
use headland_storage::{Commit, DiskStore, LogReader, LogStore, StateChange, StateOwner};
use rustix::fs::{Advice, fadvise};
use serde_json::{Value, json};

use super::batches::{Shape, Spread};
use super::store::{Commits, Encoding, hub_options, partition};
use crate::arguments::Arguments;
use crate::report::Report;
use headland_gauge::{self as gauge, Resident};

const AFTER_A_KILL: Duration = Duration::from_secs(5);
const AFTER_A_STOP: Duration = Duration::from_secs(1);
const RESIDENT_BYTES: u64 = 64 << 20;
/// Batches as an ingest hub writes them: eight partitions in turn.
const SHAPE: Shape = Shape { records: 1_000, spread: Spread::Turns };
/// Keys of state that the journal's commits set over and over, unless `--keys` says otherwise.
const KEYS: u64 = 1_000_000;
/// Keys that one commit of the beginning sets.
const KEYS_A_COMMIT: u64 = 1_000;
/// What the filler says when it has written enough; it goes on until it is killed.
const FULL: &[u8] = b"full\n";

/// Fills a journal, kills the filler and opens what it left, three times.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    let directory = arguments.take_path("directory")?.join("open");
    let mebibytes: u64 = arguments.take("mebibytes", 10_240)?;
    let keys: u64 = arguments.take("keys", KEYS)?;
    arguments.finish()?;
    let mut filler = this("fill", &directory)?
        .args(["--mebibytes", &mebibytes.to_string(), "--keys", &keys.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a filler")?;
    let mut said = filler.stdout.take().context("the filler's output is piped")?;
    let mut word = [0; FULL.len()];
    let is_full = said.read_exact(&mut word);
    filler.kill().context("cannot kill the filler")?;
    filler.wait().context("cannot wait for the filler")?;
    is_full.context("the filler ended before it was full")?;
    let mut opened = Vec::new();
    for (name, limit, cache) in [
        ("after_a_kill", AFTER_A_KILL, "empty"),
        ("after_a_clean_stop", AFTER_A_STOP, "empty"),
        ("after_a_clean_stop_in_page_cache", AFTER_A_STOP, "full"),
    ] {
        let output = this("open-once", &directory)?.args(["--cache", cache]).output();
        let output = output.context("cannot open in a fresh process")?;
        let failure = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name}: {failure}");
        let result: Value = serde_json::from_slice(&output.stdout).context("cannot read it")?;
        opened.push((name, limit, result));
    }
    std::fs::remove_dir_all(&directory).context("cannot remove the journal")?;
    Ok(report((mebibytes, keys), opened))
}

fn report((mebibytes, keys): (u64, u64), opened: Vec<(&str, Duration, Value)>) -> Report {
    let is_met = |(_, limit, result): &(&str, Duration, Value)| {
        let of = |name: &str| result.get(name).and_then(Value::as_u64).unwrap_or(u64::MAX);
        u128::from(of("millis")) <= limit.as_millis() && of("resident_peak_bytes") <= RESIDENT_BYTES
    };
    let is_green = opened.iter().all(is_met);
    let mut result = json!({
        "journal_mebibytes": mebibytes,
        "file_bytes": hub_options().file_bytes.get(),
        "state_keys": keys,
        "millis_at_most_after_a_kill": AFTER_A_KILL.as_millis(),
        "millis_at_most_after_a_clean_stop": AFTER_A_STOP.as_millis(),
        "resident_peak_bytes_at_most": RESIDENT_BYTES,
    });
    for (name, _, value) in opened {
        if let Some(object) = result.as_object_mut() {
            object.insert(name.to_owned(), value);
        }
    }
    Report { is_green, result }
}

fn this(command: &str, directory: &Path) -> Result<Command> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut this = Command::new(program);
    this.arg(command).arg("--directory").arg(directory).stderr(Stdio::piped());
    Ok(this)
}

/// Writes a journal of `--mebibytes`, says so, and goes on until it is killed.
pub(crate) fn fill(mut arguments: Arguments) -> Result<()> {
    let directory = arguments.take_path("directory")?;
    let mebibytes: u64 = arguments.take("mebibytes", 10_240)?;
    let keys: u64 = arguments.take("keys", KEYS)?;
    arguments.finish()?;
    let mut store = DiskStore::open(&directory, hub_options())?;
    let mut commits = Commits::new(SHAPE, Encoding::Before)?;
    let mut random = SeededRandom::new(2);
    let owner = StateOwner::new("open")?;
    let set = |key: u64, number: u64| {
        let key = Bytes::from(format!("key-{key}"));
        StateChange { owner: owner.clone(), key, value: Some(Bytes::from(number.to_string())) }
    };
    for first in (0..keys).step_by(usize::try_from(KEYS_A_COMMIT)?) {
        let state = (first..keys.min(first + KEYS_A_COMMIT)).map(|key| set(key, 0)).collect();
        store.append(&[Commit { entries: Vec::new(), state }])?;
    }
    let groups = (mebibytes << 20) / (16 * 200_000);
    for number in 0.. {
        let mut group = Vec::new();
        for turn in 0..16 {
            let mut commit = commits.next(number * 16 + turn)?;
            commit.state.push(set(random.below(keys), number));
            group.push(commit);
        }
        store.append(&group)?;
        if number == groups {
            let mut out = std::io::stdout().lock();
            std::io::Write::write_all(&mut out, FULL).context("nobody listens")?;
            std::io::Write::flush(&mut out).context("nobody listens")?;
        }
    }
    Ok(())
}

/// Opens a store once, reads a little, closes it, and says what that took.
pub(crate) fn once(mut arguments: Arguments) -> Result<Report> {
    let directory = arguments.take_path("directory")?;
    let cache: String = arguments.take("cache", "full".to_owned())?;
    arguments.finish()?;
    if cache == "empty" {
        forget(&directory)?;
    }
    let (cpu, start) = (gauge::cpu(), gauge::now());
    let store = DiskStore::open(&directory, hub_options())?;
    let (took, cpu) = (gauge::now() - start, gauge::cpu() - cpu);
    let Resident { now, peak } = Resident::of_this()?;
    let reader = store.reader();
    let (partition, limit) = (partition(5)?, ByteCount::mebibytes(1));
    let end = reader.end(&partition).get();
    for part in 0..16 {
        let from = Offset::new(end / 16 * part);
        ensure!(!reader.read(&partition, from, limit)?.is_empty(), "nothing at {from:?}");
    }
    ensure!(
        !reader.replay(CommitNumber::new(1), limit)?.commits.is_empty(),
        "the first commit is gone"
    );
    let read = Resident::of_this()?;
    let report = store.report();
    let result = json!({
        "millis": took.as_millis(),
        "cpu_millis": cpu.as_millis(),
        "resident_bytes": now,
        "resident_peak_bytes": peak,
        "resident_peak_bytes_after_reading": read.peak,
        "files": report.files,
        "commits": report.last_commit.get(),
        "commits_in_doubt": report.in_doubt,
        "commits_replayed_into_state": report.replayed,
    });
    store.close()?;
    Ok(Report { is_green: true, result })
}

/// Takes every file of a directory out of the page cache.
fn forget(directory: &Path) -> Result<()> {
    for found in std::fs::read_dir(directory).context("cannot list the journal")? {
        let path = found.context("cannot list the journal")?.path();
        if path.is_dir() {
            forget(&path)?;
            continue;
        }
        let file = std::fs::File::open(&path).context("cannot open a file of the journal")?;
        // Pages that are not on the disk yet cannot be forgotten.
        file.sync_data().context("cannot write a file back")?;
        fadvise(&file, 0, None, Advice::DontNeed).context("cannot empty the page cache")?;
    }
    Ok(())
}
