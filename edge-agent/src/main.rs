//! `headland-agent`: detects on the device and sends to its region's hub.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use headland_platform::clock::Clock;
use headland_platform::process::{self, Lifetime};
use headland_platform::task;

/// Detects on the device and sends to its region's hub.
#[derive(Debug, Parser)]
#[command(name = "headland-agent", version)]
struct Arguments {
    /// The agent's configuration.
    #[arg(long)]
    config: PathBuf,
    /// What to log, for example `info` or `info,edge_agent=debug`.
    #[arg(long, default_value = "info")]
    log: String,
    /// Check configuration, certificates and rules, say what was found, then exit.
    #[arg(long)]
    check: bool,
    /// End when the process that started this one ends; for drivers.
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

fn main() -> ExitCode {
    task::end_on_panic(headland_storage::is_panic_contained);
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime
        .map_err(|error| Box::new(error) as Box<dyn std::error::Error>)
        .and_then(|runtime| runtime.block_on(run(arguments)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", process::last_word("headland-agent", error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let lifetime = if arguments.exit_with_parent { Lifetime::OfParent } else { Lifetime::Own };
    process::begin(&arguments.log, lifetime)?;
    let config = edge_agent::config::load(&arguments.config)?;
    if arguments.check {
        for line in edge_agent::check(&config, Clock::start().wall())? {
            eprintln!("{line}");
        }
        return Ok(());
    }
    process::run_until_signal(|token| edge_agent::run(config, token)).await?;
    Ok(())
}
