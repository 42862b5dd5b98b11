//! One data directory through many violent ends, and what all of them amount to.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headland_storage::DiskStore;
use serde_json::json;

use crate::check::{self, Cleanings, Failures, Known, Starts};
use crate::load::{Load, Volume};
use crate::report::Report;
use crate::writer::{self, GROUP_LIMIT, Said};
use headland_gauge as gauge;

/// Ends among which some have to come after compaction and some have to leave a state cache that is
/// kept, or that was not tested.
const ENDS_WITH_ALL: u64 = 20;

/// The file that vouches for the state cache. A cache that is thrown away loses it at once, and one
/// that is rebuilt gets the next by a mark, which opening sets after 64 MiB only.
const STATE_MARK: &str = "state.mark";

/// How a checker leaves a store to the next writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As an operator does.
    Close,
    /// As a crash does.
    Drop,
}

/// What all ends amount to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    ends: u64,
    /// Of each life.
    acknowledgements: Vec<u64>,
    /// Lives of which a commit was acknowledged, beyond what there was when they opened.
    lives_with_commits: u64,
    /// Openings that went on with the state cache they found.
    caches_kept: u64,
    commits: u64,
    in_doubt: usize,
    tails: usize,
    files_most: usize,
    cleaned_most: u64,
    compacted_most: u64,
    /// Ends after which a log was found that compaction had been at work on.
    compacted_ends: u64,
    cleanings_most: usize,
    failures: Failures,
}

impl Tally {
    /// The report; `ends` names what the ends were.
    pub(crate) fn report(&self, ends: &str, seed: u64) -> Report {
        let Self { ends: count, commits, .. } = self;
        let mut each = self.acknowledgements.clone();
        each.sort_unstable();
        let mut result = json!({
            "seed": seed,
            "acknowledgements": each.iter().sum::<u64>(),
            "acknowledgements_a_life_median": each.get(each.len() / 2),
            "acknowledgements_a_life_most": each.last(),
            "lives_with_commits": self.lives_with_commits,
            "state_caches_kept": self.caches_kept,
            "commits_checked": commits,
            "commits_in_doubt_kept": self.in_doubt,
            "unfinished_writes_cut": self.tails,
            "journal_files_most": self.files_most,
            "records_cleaned_most": self.cleaned_most,
            "records_compacted_most": self.compacted_most,
            "ends_with_records_compacted": self.compacted_ends,
            "commits_of_cleaning_most": self.cleanings_most,
            "failures": self.failures.report(),
        });
        if let Some(object) = result.as_object_mut() {
            object.insert(ends.to_owned(), json!(count));
        }
        // A few ends on a slow disk may all come before compaction does.
        let is_all_tested =
            (self.compacted_ends > 0 && self.caches_kept > 0) || *count < ENDS_WITH_ALL;
        let is_loaded = self.lives_with_commits > 0;
        Report { is_green: self.failures.is_none() && is_loaded && is_all_tested, result }
    }
}

/// A data directory, and what is known about what is in it.
#[derive(Debug)]
pub(crate) struct Trial {
    directory: PathBuf,
    load: Load,
    seed: u64,
    life: u64,
    acknowledged: u64,
    cleanings: Cleanings,
    starts: Starts,
}

impl Trial {
    /// A trial in a directory that is empty or missing.
    pub(crate) fn new(directory: PathBuf, seed: u64) -> Result<Self> {
        let load = Load::new(seed, Volume::Mixed)?;
        let (cleanings, starts) = (Cleanings::new(), Starts::new());
        Ok(Self { directory, load, seed, life: 0, acknowledged: 0, cleanings, starts })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Lets a writer live for a while and ends it with `end`; notes what it acknowledged.
    pub(crate) fn live(
        &mut self,
        life: Duration,
        tally: &mut Tally,
        end: impl FnOnce(&mut Child) -> Result<()>,
    ) -> Result<()> {
        self.life += 1;
        let mut writer = writer::start(&self.directory, self.seed, self.life)?;
        let said = writer.stdout.take().context("the writer's output is piped")?;
        let (sender, acknowledged) = mpsc::channel();
        let (until, before) = (gauge::now() + life, self.acknowledged);
        std::thread::scope(|scope| {
            let listener = scope.spawn(move || writer::listen(said, &sender));
            let lived = self.wait(until, &acknowledged).and_then(|()| end(&mut writer));
            // Whatever went wrong, no writer is left behind.
            let killed = writer.kill().and_then(|()| writer.wait());
            acknowledged.iter().for_each(|said| self.acknowledge(said));
            tally.lives_with_commits += u64::from(self.acknowledged > before);
            lived?;
            killed.context("cannot kill the writer")?;
            let Ok(count) = listener.join() else { bail!("the listener panicked") };
            tally.acknowledgements.push(count);
            Ok(())
        })
    }

    fn wait(&mut self, until: Duration, acknowledged: &Receiver<Said>) -> Result<()> {
        while let Some(left) = until.checked_sub(gauge::now()) {
            match acknowledged.recv_timeout(left) {
                Ok(said) => self.acknowledge(said),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => bail!("the writer ended by itself"),
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, said: Said) {
        let commit = match said {
            Said::Commit(commit) => commit,
            Said::Cleaning { commit, starts } => {
                self.cleanings.insert(commit);
                for (partition, start) in self.load.partitions().zip(starts) {
                    let known = self.starts.entry(partition).or_default();
                    *known = start.max(*known);
                }
                commit
            }
        };
        self.acknowledged = self.acknowledged.max(commit);
    }

    /// Opens the store as the next life would, looks at everything, and counts it.
    pub(crate) fn check(&mut self, ending: Ending, tally: &mut Tally) -> Result<Failures> {
        tally.ends += 1;
        let nonce = (self.seed << 32) + self.life;
        let store = match DiskStore::open(&self.directory, writer::options(nonce)) {
            Ok(store) => store,
            Err(error) => {
                eprintln!("{:#}", anyhow::Error::new(error));
                let failures = Failures { failures_to_open: 1, ..Failures::default() };
                tally.failures.add(failures);
                return Ok(failures);
            }
        };
        tally.caches_kept += u64::from(self.directory.join(STATE_MARK).exists());
        let (acknowledged, in_flight) = (self.acknowledged, GROUP_LIMIT);
        let known = Known { acknowledged, in_flight, starts: &self.starts };
        let (found, failures) = check::check(&store, &self.load, known, &mut self.cleanings)?;
        let report = store.report();
        tally.failures.add(failures);
        tally.commits += found.last;
        tally.cleaned_most = tally.cleaned_most.max(found.cleaned);
        tally.compacted_most = tally.compacted_most.max(found.compacted);
        tally.compacted_ends += u64::from(found.compacted > 0);
        tally.cleanings_most = tally.cleanings_most.max(self.cleanings.len());
        tally.in_doubt += report.in_doubt;
        tally.tails += report.tails.len();
        tally.files_most = tally.files_most.max(report.files);
        // What a store shows once it has opened is durable, acknowledged or not.
        self.acknowledged = found.last;
        self.cleanings.retain(|number| *number <= found.last);
        match ending {
            Ending::Close => store.close()?,
            Ending::Drop => drop(store),
        }
        Ok(failures)
    }
}
