//! `headland-agent`: detects on the device and sends to its region's hub.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use edge_agent::rules::RulesCommand;
use headland_detection::rule_files::Report;
use headland_platform::clock::Clock;
use headland_platform::process::{self, Lifetime};
use headland_platform::task;

/// Detects on the device and sends to its region's hub.
#[derive(Debug, Parser)]
#[command(name = "headland-agent", version)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArguments,
}

/// What an agent may be asked beside running.
#[derive(Debug, Subcommand)]
enum Command {
    /// Check rule files, or explain what their rules will do.
    #[command(subcommand)]
    Rules(RulesCommand),
}

/// How the agent runs.
#[derive(Debug, clap::Args)]
struct RunArguments {
    /// The agent's configuration.
    #[arg(long, required = true)]
    config: Option<PathBuf>,
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
    let Arguments { command, run } = Arguments::parse();
    if let Some(Command::Rules(command)) = command {
        return told(&edge_agent::rules::run(&command));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime
        .map_err(|error| Box::new(error) as Box<dyn std::error::Error>)
        .and_then(|runtime| runtime.block_on(start(run)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error.as_ref()),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{}", process::last_word("headland-agent", error));
    ExitCode::FAILURE
}

fn told(report: &Report) -> ExitCode {
    let told = std::io::stdout().write_all(report.told.as_bytes());
    match told.and_then(|()| std::io::stderr().write_all(report.refused.as_bytes())) {
        Ok(()) => report.judgement.exit_code().into(),
        Err(error) => failed(&error),
    }
}

async fn start(arguments: RunArguments) -> Result<(), Box<dyn std::error::Error>> {
    let lifetime = if arguments.exit_with_parent { Lifetime::OfParent } else { Lifetime::Own };
    process::begin(&arguments.log, lifetime)?;
    // The parser asks for it unless there is a command.
    let config = edge_agent::config::load(&arguments.config.unwrap_or_default())?;
    if arguments.check {
        for line in edge_agent::check(&config, Clock::start().wall())? {
            eprintln!("{line}");
        }
        return Ok(());
    }
    process::run_until_signal(|token| edge_agent::run(config, token)).await?;
    Ok(())
}
