//! `kill -9` at random moments under load.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result};
use headland_event::{Random, SeededRandom};
use headland_storage::DiskStore;
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::check::{self, Failures, Known};
use crate::gauge;
use crate::load::Load;
use crate::report::Report;
use crate::writer::{self, GROUP_LIMIT};

/// Kills that one data directory goes through; then a fresh one keeps the checks short.
const KILLS_PER_DIRECTORY: u64 = 20;
/// Longest life of a writer. The shortest is nothing, so some kills strike while it opens.
const LIFE_MILLIS: u64 = 400;

/// One data directory and what is known about it.
struct Journal {
    directory: PathBuf,
    load: Load,
    seed: u64,
    acknowledged: u64,
}

/// Kills writers and checks what each left.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    let directory = arguments.take_path("directory")?;
    let (kills, seed) = (arguments.take("kills", 200)?, arguments.take("seed", 1)?);
    arguments.finish()?;
    let mut random = SeededRandom::new(seed);
    let mut tally = Tally::default();
    let mut journal = None;
    for life in 0..kills {
        if life % KILLS_PER_DIRECTORY == 0 {
            journal.take().map_or(Ok(()), Journal::discard)?;
            journal = Some(Journal::create(&directory, seed + life)?);
        }
        let Some(current) = &mut journal else { continue };
        let writer = writer::start(&current.directory, current.seed, random.next_u64())?;
        let life = Duration::from_micros(random.below(LIFE_MILLIS * 1_000));
        let count = current.kill(writer, life)?;
        let ending = if random.below(2) == 0 { Ending::Close } else { Ending::Drop };
        let failures = current.check(ending, &mut tally)?;
        tally.kills += 1;
        tally.acknowledgements += count;
        tally.failures.add(failures);
        if !failures.is_none() {
            eprintln!("{}: {failures:?}; it is kept", current.directory.display());
            journal = Some(Journal::create(&directory, seed + kills + tally.kills)?);
        }
    }
    journal.map_or(Ok(()), Journal::discard)?;
    Ok(tally.report(seed))
}

/// How the checker leaves a store to the next writer.
enum Ending {
    Close,
    Drop,
}

/// What all kills amount to.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    acknowledgements: u64,
    commits: u64,
    in_doubt: usize,
    tails: usize,
    files_most: usize,
    failures: Failures,
}

impl Tally {
    fn report(&self, seed: u64) -> Report {
        let Self { kills, acknowledgements, commits, in_doubt, tails, files_most, failures } = self;
        let result: Value = json!({
            "kills": kills,
            "seed": seed,
            "acknowledgements": acknowledgements,
            "commits_checked": commits,
            "commits_in_doubt_kept": in_doubt,
            "unfinished_writes_cut": tails,
            "journal_files_most": files_most,
            "failures": failures.report(),
        });
        Report { is_green: failures.is_none() && *kills > 0, result }
    }
}

impl Journal {
    fn create(parent: &Path, seed: u64) -> Result<Self> {
        let directory = parent.join(format!("kill-{seed}"));
        if directory.exists() {
            std::fs::remove_dir_all(&directory).context("cannot remove an old directory")?;
        }
        std::fs::create_dir_all(&directory).context("cannot create a directory")?;
        Ok(Self { directory, load: Load::new(seed)?, seed, acknowledged: 0 })
    }

    fn discard(self) -> Result<()> {
        std::fs::remove_dir_all(self.directory).context("cannot remove a checked directory")
    }

    /// Lets the writer live for a while, kills it, and notes what it said; returns how often.
    fn kill(&mut self, mut writer: Child, life: Duration) -> Result<u64> {
        let said = writer.stdout.take().context("the writer's output is piped")?;
        let (sender, acknowledged) = mpsc::channel();
        let until = gauge::now() + life;
        std::thread::scope(|scope| {
            let listener = scope.spawn(move || writer::listen(said, &sender));
            let mut gone_by_itself = false;
            while let Some(left) = until.checked_sub(gauge::now()) {
                match acknowledged.recv_timeout(left) {
                    Ok(number) => self.acknowledged = self.acknowledged.max(number),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => {
                        gone_by_itself = true;
                        break;
                    }
                }
            }
            writer.kill().context("cannot kill the writer")?;
            writer.wait().context("cannot wait for the writer")?;
            for number in &acknowledged {
                self.acknowledged = self.acknowledged.max(number);
            }
            anyhow::ensure!(!gone_by_itself, "the writer ended before it was killed");
            listener.join().map_err(|_| anyhow::Error::msg("the listener panicked"))
        })
    }

    /// Opens the store as the next life would, and looks at everything.
    fn check(&mut self, ending: Ending, tally: &mut Tally) -> Result<Failures> {
        let nonce = (self.seed << 32) + tally.kills + 1;
        let store = match DiskStore::open(&self.directory, writer::options(nonce)) {
            Ok(store) => store,
            Err(error) => {
                eprintln!("{:#}", anyhow::Error::new(error));
                return Ok(Failures { failures_to_open: 1, ..Failures::default() });
            }
        };
        let known = Known { acknowledged: self.acknowledged, in_flight: GROUP_LIMIT };
        let (last, failures) = check::check(&store, &self.load, known)?;
        let report = store.report();
        tally.commits += last;
        tally.in_doubt += report.in_doubt;
        tally.tails += report.tails.len();
        tally.files_most = tally.files_most.max(report.files);
        // What a store shows once it has opened is durable, acknowledged or not.
        self.acknowledged = last;
        match ending {
            Ending::Close => store.close()?,
            Ending::Drop => drop(store),
        }
        Ok(failures)
    }
}
