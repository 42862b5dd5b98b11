//! `storage-proof COMMAND --directory D …`: kills, power cuts, full disks and stopwatches for the
//! storage engine, each with one JSON object as its result.
//!
//! `cargo xtask soak` builds it for release and runs it at full size; the tests of this package run
//! the same code at a size that fits a build. What it writes goes below the directory it is given.

/// The command line.
mod arguments;
/// What a proof ends with.
mod report;
/// What the machine says about time, processor, memory and bytes written.
mod gauge;
/// Commits that are known from their number alone.
mod load;
/// The process that is killed.
mod writer;
/// What a store has to show after it was killed.
mod check;
/// `kill -9` at random moments under load.
mod kill;
/// Rates side by side with a bare file.
mod speed;

use std::process::ExitCode;

use anyhow::{Result, bail};

use arguments::Arguments;

const COMMANDS: &str = "\
Usage: storage-proof COMMAND --directory D [--name value …]

  speed    appends side by side with a bare file     --rounds 5 --millis 1000
  kill     kill -9 at random moments under load      --kills 200 --seed 1
  write    the process that `kill` kills             --seed 1 --life 1
";

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else { bail!("{COMMANDS}") };
    let arguments = Arguments::parse(rest)?;
    let report = match command.as_str() {
        "speed" => speed::run(arguments)?,
        "kill" => kill::run(arguments)?,
        "write" => {
            writer::write(arguments)?;
            return Ok(ExitCode::SUCCESS);
        }
        unknown => bail!("no command `{unknown}`\n\n{COMMANDS}"),
    };
    report.print()
}
