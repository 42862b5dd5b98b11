//! `headland`: a region's hub, and what its operators need around it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use headland_platform::clock::Clock;
use headland_platform::config::Loaded;
use headland_platform::task::{self, Token};
use headland_platform::telemetry::log_to_stderr;
use region_hub::config::HubConfig;
use region_hub::pki::PkiCommand;
use region_hub::store::StoreCommand;
use tokio::signal::unix::{SignalKind, signal};

/// A multi-region replicated edge detection platform.
#[derive(Debug, Parser)]
#[command(name = "headland", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a region's hub.
    Hub {
        /// The hub's configuration.
        #[arg(long)]
        config: PathBuf,
        /// What to log, for example `info` or `info,region_hub=debug`.
        #[arg(long, default_value = "info")]
        log: String,
        /// Check configuration and certificates, say what was found, then exit.
        #[arg(long)]
        check: bool,
        /// End when the process that started this one ends; for drivers.
        #[arg(long, hide = true)]
        exit_with_parent: bool,
    },
    /// Make a fleet's authority and the certificates of its nodes.
    #[command(subcommand)]
    Pki(PkiCommand),
    /// Verify, back up and restore a node's data directory.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Start regions on this machine, play recorded streams, break things, compare the answers.
    Quickstart(region_hub::quickstart::Options),
}

fn main() -> ExitCode {
    task::end_on_panic(headland_storage::is_panic_contained);
    match dispatch(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            tell(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match command {
        Command::Hub { config, log, check, exit_with_parent } => {
            log_to_stderr(&log)?;
            if exit_with_parent {
                task::end_with_parent()?;
            }
            let config = region_hub::config::load(&config)?;
            if check {
                for line in region_hub::check(&config, Clock::start().wall())? {
                    eprintln!("{line}");
                }
                return Ok(ExitCode::SUCCESS);
            }
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(run_hub(config))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Pki(command) => {
            eprintln!("{}", region_hub::pki::run(&command)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Store(command) => {
            let outcome = region_hub::store::run(&command)?;
            eprintln!("{outcome}");
            Ok(outcome.exit_code())
        }
        Command::Quickstart(options) => Ok(region_hub::quickstart::run(&options)?.exit_code()),
    }
}

async fn run_hub(config: Loaded<HubConfig>) -> Result<(), Box<dyn std::error::Error>> {
    let token = Token::new();
    let signals = task::spawn_until_done("signals", stop_on_signal(token.clone()));
    region_hub::run(config, token).await?;
    signals.join().await.transpose()?;
    Ok(())
}

/// Cancels `token` on SIGTERM or SIGINT, and says which of them.
///
/// # Errors
/// When the process may not listen to signals.
async fn stop_on_signal(token: Token) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = token.cancelled() => return Ok(()),
    };
    tracing::info!("{name}: writing what is queued, then closing links and log");
    token.cancel();
    Ok(())
}

/// Prints an error with its causes, one line each.
fn tell(error: &dyn std::error::Error) {
    eprintln!("headland: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  caused by: {cause}");
        source = cause.source();
    }
}
