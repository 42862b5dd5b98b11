//! Disks that are full: a small file system in memory, and a limit on the size of files.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use headland_event::{ByteCount, CommitNumber};
use headland_storage::{
    AppendError, Commit, DiskStore, LogReader, LogStore, OpenOptions, Priority,
};
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::load::{Ends, Load, Volume};
use crate::powercut::Mount;
use crate::report::Report;

/// Alerts that have to get through while the disk is full: more than the file at hand has room for.
const ALERTS: u64 = 400;
/// Alerts between two attempts to append what was refused.
const ALERTS_PER_ATTEMPT: u64 = 20;
/// Commits appended once there is room again.
const AFTERWARDS: u64 = 50;
/// Room for a few files and the reserve.
const DISK_MEBIBYTES: u64 = 24;
/// What takes half of that room, until there has to be more.
const BALLAST_BYTES: usize = 12 << 20;
/// A limit that only very small files keep: smaller than a normal commit, larger than alerts.
const LIMIT_BYTES: u64 = 8 << 10;

/// Runs both, the second one in a process that ignores the signal of its limit.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    let directory = arguments.take_path("directory")?;
    arguments.finish()?;
    ensure!(
        geteuid().is_root(),
        "this mounts a small file system, which only root may: run the same command with sudo"
    );
    let (is_full_green, full) = on_small_disk(&directory.join("small"))?;
    let (is_limit_green, limited) = in_limited_process(&directory.join("limited"))?;
    let result = json!({ "no_room": full, "file_size_limit": limited });
    Ok(Report { is_green: is_full_green && is_limit_green, result })
}

fn on_small_disk(point: &Path) -> Result<(bool, Value)> {
    let mount = Mount::in_memory(DISK_MEBIBYTES, point)?;
    let ballast = point.join("ballast");
    std::fs::write(&ballast, vec![7; BALLAST_BYTES]).context("cannot take room")?;
    let rest = point.join("rest");
    let mut drill = Drill::start(point.join("data"))?;
    drill.append_until_refused()?;
    // What was refused was larger than what is left, and what failed attempts took comes free a
    // little later; both are taken, so that nothing fits but what the reserve gives.
    fill(&rest)?;
    drill.append_alerts()?;
    for taken in [&ballast, &rest] {
        std::fs::remove_file(taken).context("cannot make room")?;
    }
    drill.append_afterwards()?;
    let is_reserve_used = drill.counts.is_reserve_used;
    let (is_green, result) = drill.finish()?;
    mount.end()?;
    Ok((is_green && is_reserve_used, result))
}

/// Writes a file until there is no room.
fn fill(path: &Path) -> Result<()> {
    let mut file = std::fs::File::create(path).context("cannot take the rest of the room")?;
    loop {
        match std::io::Write::write(&mut file, &[7; 4_096]) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error).context("cannot take the rest of the room"),
        }
    }
}

/// Starts this program again with `SIGXFSZ` ignored, so that a write beyond the limit is an error.
fn in_limited_process(directory: &Path) -> Result<(bool, Value)> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(program);
    shell.arg("full-limited").arg("--directory").arg(directory).stderr(Stdio::inherit());
    let output = shell.output().context("cannot start a limited process")?;
    let result = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("the limited process ended with {}", output.status))?;
    Ok((output.status.success(), result))
}

/// What the limited process does.
pub(crate) fn limited(mut arguments: Arguments) -> Result<ExitCode> {
    let directory = arguments.take_path("directory")?;
    arguments.finish()?;
    let before = getrlimit(Resource::Fsize);
    let limit = |current| {
        let limits = Rlimit { current, maximum: before.maximum };
        setrlimit(Resource::Fsize, limits).context("cannot set the limit")
    };
    let mut drill = Drill::start(directory.clone())?;
    for _ in 0..10 {
        drill.append().context("there is no limit at the start")?;
    }
    limit(Some(LIMIT_BYTES))?;
    drill.append_until_refused()?;
    drill.append_alerts()?;
    limit(before.current)?;
    drill.append_afterwards()?;
    let (is_green, result) = drill.finish()?;
    std::fs::remove_dir_all(&directory).context("cannot remove the store")?;
    Report { is_green, result }.print()
}

const fn options(nonce: u64) -> OpenOptions {
    OpenOptions {
        file_bytes: ByteCount::mebibytes(1),
        reserve_bytes: ByteCount::mebibytes(1),
        ..OpenOptions::new(nonce)
    }
}

/// One store on one disk that fills up, and what it acknowledged.
struct Drill {
    directory: PathBuf,
    store: Option<DiskStore>,
    load: Load,
    alerts: Load,
    ends: Ends,
    acknowledged: Vec<Commit>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    before: usize,
    attempts: u64,
    acknowledged_while_full: u64,
    alerts: u64,
    alerts_refused: u64,
    is_reserve_used: bool,
    afterwards: u64,
    lost: usize,
    partial: usize,
}

impl Drill {
    fn start(directory: PathBuf) -> Result<Self> {
        if directory.exists() {
            std::fs::remove_dir_all(&directory).context("cannot remove an earlier run")?;
        }
        let store = Some(DiskStore::open(&directory, options(1))?);
        Ok(Self {
            directory,
            store,
            load: Load::new(1, Volume::Mixed)?,
            alerts: Load::alerts(2)?,
            ends: Ends::new(),
            acknowledged: Vec::new(),
            counts: Counts::default(),
        })
    }

    fn append_until_refused(&mut self) -> Result<()> {
        while self.append().is_ok() {
            ensure!(self.acknowledged.len() < 100_000, "the disk does not get full");
        }
        self.counts.before = self.acknowledged.len();
        Ok(())
    }

    /// Appends alerts, and between them tries again what was refused.
    fn append_alerts(&mut self) -> Result<()> {
        for number in 0..ALERTS {
            self.append_alert(number)?;
            if number % ALERTS_PER_ATTEMPT == 0 {
                self.counts.attempts += 1;
                self.counts.acknowledged_while_full += u64::from(self.append().is_ok());
            }
        }
        self.counts.is_reserve_used = !self.directory.join("reserve").exists();
        Ok(())
    }

    fn append_afterwards(&mut self) -> Result<()> {
        for _ in 0..AFTERWARDS {
            self.append().context("there is room again")?;
            self.counts.afterwards += 1;
        }
        Ok(())
    }

    /// Appends the next large commit; what is refused is the same at the next attempt.
    fn append(&mut self) -> Result<(), AppendError> {
        let number = u64::try_from(self.acknowledged.len()).unwrap_or(u64::MAX);
        let mut ends = self.ends.clone();
        let Ok(commit) = self.load.commit_of_at_least(2 * LIMIT_BYTES, number, &mut ends) else {
            return Err(AppendError::Empty);
        };
        let Some(store) = &mut self.store else { return Err(AppendError::Empty) };
        store.append(std::slice::from_ref(&commit))?;
        self.ends = ends;
        self.acknowledged.push(commit);
        Ok(())
    }

    fn append_alert(&mut self, number: u64) -> Result<()> {
        let mut ends = self.ends.clone();
        let commit = self.alerts.commit(number, &mut ends)?;
        let Some(store) = &mut self.store else { bail!("the store is open") };
        match store.append_as(Priority::Alerts, std::slice::from_ref(&commit)) {
            Ok(_) => {
                self.counts.alerts += 1;
                self.ends = ends;
                self.acknowledged.push(commit);
            }
            Err(error) => {
                ensure!(error.is_retryable(), "an alert is refused for good: {error}");
                self.counts.alerts_refused += 1;
            }
        }
        Ok(())
    }

    /// Opens the store anew and compares it with what was acknowledged.
    fn finish(mut self) -> Result<(bool, Value)> {
        drop(self.store.take());
        let store = DiskStore::open(&self.directory, options(2))?;
        let mut found = Vec::new();
        let mut next = CommitNumber::new(1);
        while next <= store.last_commit() {
            let replayed = store.reader().replay(next, ByteCount::mebibytes(4))?;
            let commits = replayed.commits.into_iter();
            found.extend(commits.map(|c| Commit { entries: c.entries, state: c.state }));
            next = replayed.next;
        }
        let same = self.acknowledged.iter().zip(&found).filter(|(a, b)| a == b).count();
        self.counts.lost = self.acknowledged.len() - same;
        self.counts.partial = found.len().saturating_sub(self.acknowledged.len());
        let Counts {
            before,
            attempts,
            acknowledged_while_full,
            alerts,
            alerts_refused,
            is_reserve_used,
            afterwards,
            lost,
            partial,
        } = self.counts;
        let result = json!({
            "commits_before": before,
            "attempts_while_full": attempts,
            "acknowledged_while_full": acknowledged_while_full,
            "alerts_accepted": alerts,
            "alerts_refused": alerts_refused,
            "reserve_was_used": is_reserve_used,
            "commits_once_there_was_room": afterwards,
            "acknowledged_lost": lost,
            "never_acknowledged_visible": partial,
        });
        let is_green = acknowledged_while_full == 0
            && alerts == ALERTS
            && afterwards == AFTERWARDS
            && (lost, partial) == (0, 0);
        Ok((is_green, result))
    }
}
