//! `headland`: a region's hub, and what its operators need around it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use headland_platform::task::{self, Token};
use headland_platform::telemetry::log_to_stderr;

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
        /// Check configuration and certificate, then exit.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime
        .map_err(|error| Box::new(error) as Box<dyn std::error::Error>)
        .and_then(|runtime| runtime.block_on(run(arguments.command)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Hub { config, log, check } => {
            log_to_stderr(&log)?;
            let config = region_hub::config::load(&config)?;
            if check {
                return Ok(region_hub::check(&config)?);
            }
            let token = Token::new();
            let signals = task::spawn_until_done("signals", task::cancel_on_signal(token.clone()));
            region_hub::run(config, token).await?;
            signals.join().await.transpose()?;
            Ok(())
        }
    }
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
