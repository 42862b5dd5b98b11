//! `kill -9` at random moments under load.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use headland_event::{Random, SeededRandom};

use crate::arguments::Arguments;
use crate::report::Report;
use crate::trial::{Ending, Tally, Trial};

/// Kills that one data directory goes through; then a fresh one keeps the checks short.
const KILLS_PER_DIRECTORY: u64 = 10;
/// Longest life of a writer. The shortest is nothing, so some kills strike while it opens.
/// Most last long enough for hundreds of acknowledgements on a disk that is shared.
const LIFE_MICROS: u64 = 3_000_000;

/// Kills writers and checks what each left.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    let directory = arguments.take_path("directory")?;
    let (kills, seed) = (arguments.take("kills", 200)?, arguments.take("seed", 1)?);
    arguments.finish()?;
    let mut random = SeededRandom::new(seed);
    let mut tally = Tally::default();
    let mut killed = 0;
    while killed < kills {
        let mut trial = start(&directory, seed + killed)?;
        let mut is_sound = true;
        for _ in 0..KILLS_PER_DIRECTORY.min(kills - killed) {
            let life = Duration::from_micros(random.below(LIFE_MICROS));
            trial.live(life, &mut tally, |_| Ok(()))?;
            killed += 1;
            let ending = if random.below(2) == 0 { Ending::Close } else { Ending::Drop };
            let failures = trial.check(ending, &mut tally)?;
            if !failures.is_none() {
                eprintln!("{} is kept: {failures:?}", trial.directory().display());
                is_sound = false;
                break;
            }
        }
        if is_sound {
            std::fs::remove_dir_all(trial.directory()).context("cannot remove what was checked")?;
        }
    }
    Ok(tally.report("kills", seed))
}

/// A trial in an empty directory of its own.
fn start(parent: &Path, seed: u64) -> Result<Trial> {
    let directory = parent.join(format!("kill-{seed}"));
    if directory.exists() {
        std::fs::remove_dir_all(&directory).context("cannot remove what an earlier run left")?;
    }
    std::fs::create_dir_all(&directory).context("cannot create a directory")?;
    Trial::new(directory, seed)
}
