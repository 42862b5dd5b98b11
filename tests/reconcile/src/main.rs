//! `reconcile-proof COMMAND [--name value …]`: escrow under cuts, crashes, restores and clones,
//! the recorded retail stream at several hubs, and stopwatches, each with one JSON object as its
//! result.
//!
//! `cargo xtask soak` builds it for release and runs it at full size; the tests of this package run
//! the same code at a size that fits a build.

/// The command line, as the storage proof reads it.
#[path = "../../storage/src/arguments.rs"]
mod arguments;
/// What a proof ends with.
#[path = "../../storage/src/report.rs"]
mod report;
/// Escrow beside a central lock and no coordination.
mod escrow;
/// Events of the recorded retail stream at several hubs.
mod retail;
/// How fast events are applied, and what a key costs.
mod speed;
#[cfg(test)]
#[path = "../../../reconcile/tests/oracle/mod.rs"]
mod oracle;

use std::process::ExitCode;

use anyhow::{Result, bail};

use arguments::Arguments;

const COMMANDS: &str = "\
Usage: reconcile-proof COMMAND [--name value …]

  escrow   regions that sell the same stock while cut off   --runs 10000 --seed 1
  retail   the recorded retail stream, clean and dirty      --data FOLDER --seed 1
  speed    events per second, bytes per key                 --directory D --keys 1000000
";

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else { bail!("{COMMANDS}") };
    let arguments = Arguments::parse(rest)?;
    let report = match command.as_str() {
        "escrow" => escrow::run(arguments)?,
        "retail" => retail::run(arguments)?,
        "speed" => speed::run(arguments)?,
        unknown => bail!("no command `{unknown}`\n\n{COMMANDS}"),
    };
    report.print()
}
