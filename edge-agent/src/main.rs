//! `headland-agent`: detects on the device and sends to its region's hub.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use headland_platform::clock::Clock;
use headland_platform::task::{self, Token};
use headland_platform::telemetry::log_to_stderr;
use tokio::signal::unix::{SignalKind, signal};

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
            tell(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    log_to_stderr(&arguments.log)?;
    if arguments.exit_with_parent {
        task::end_with_parent()?;
    }
    let config = edge_agent::config::load(&arguments.config)?;
    if arguments.check {
        for line in edge_agent::check(&config, Clock::start().wall())? {
            eprintln!("{line}");
        }
        return Ok(());
    }
    let token = Token::new();
    let signals = task::spawn_until_done("signals", stop_on_signal(token.clone()));
    edge_agent::run(config, token).await?;
    if let Some(result) = signals.join().await {
        result?;
    }
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
    tracing::info!("{name}: writing what was read, then closing link and log");
    token.cancel();
    Ok(())
}

/// Prints an error with its causes, one line each.
fn tell(error: &dyn std::error::Error) {
    eprintln!("headland-agent: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  caused by: {cause}");
        source = cause.source();
    }
}
