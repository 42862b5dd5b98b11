//! The project's own commands: `cargo xtask` lists them.
//!
//! It depends on no other crate of ours and decides nothing at run time of the product: it builds,
//! checks and measures. No shell script holds logic; this does.

/// The workspace: where it lies, which packages it has, where it builds.
mod workspace;
/// Commands as child processes, timed.
mod step;
/// `cargo xtask check`: what every commit passes.
mod check;
/// `cargo xtask tidy`: checks of our own habits.
mod tidy;
/// `cargo xtask reference`: pages made from the sources.
mod reference;
/// `cargo xtask ci`: the areas beyond `check`.
mod ci;
/// Tests that did not run, and the list of those that may.
mod skips;
/// `cargo xtask soak`: measurements that take long.
mod soak;
/// `cargo quickstart`: builds both binaries and hands over to them.
mod quickstart;

use std::process::ExitCode;

use anyhow::{Result, bail};

use workspace::Workspace;

const COMMANDS: &str = "\
Usage: cargo xtask COMMAND

  check                    format, clippy, docs, unit tests, tidy: before each commit
  tidy                     checks of our own habits only
  reference                writes docs/reference from the sources
  ci                       integration tests, doc tests, features, dependencies
  skips LOG                fails when a test log skips what tests/skips.txt does not name
  soak [NAME] [--json]     a long measurement; without NAME lists them
  quickstart [ARGS...]     builds the release binaries and runs `headland quickstart ARGS...`
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let workspace = Workspace::find();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("", arguments),
    };
    match command {
        "" | "help" | "--help" => {
            eprint!("{COMMANDS}");
            Ok(())
        }
        "check" => check::run(&workspace),
        "tidy" => tidy::run(&workspace),
        "reference" => reference::run(&workspace),
        "ci" => ci::run(&workspace),
        "skips" => skips::run(&workspace, rest),
        "soak" => soak::run(&workspace, rest),
        "quickstart" => quickstart::run(&workspace, rest),
        unknown => bail!("no command `{unknown}`\n\n{COMMANDS}"),
    }
}
