//! `agents-proof [AGENTS [SECONDS]]`: what many agents cost one hub, and how they come back after
//! it was killed, as one JSON object.
//!
//! `cargo xtask soak links-agents` builds it for release and runs it. The hub is the real one, in a
//! process of its own; the agents speak for themselves over QUIC, each with its certificate, its
//! socket, its link and its dialer, and keep what they made in memory.

/// One agent.
mod device;
/// All of them, and what they have seen.
mod crowd;
/// What a connection costs without a link on it.
mod bare;
/// The measurement from start to report.
mod measure;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

/// The role in which this program is started by itself.
const BARE: &str = "bare";

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if arguments.first().is_some_and(|first| first == BARE) {
        runtime.block_on(bare::listen(arguments.get(1).context("the folder is missing")?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut numbers = arguments.iter();
    let mut number = |default: u64| match numbers.next() {
        Some(text) => text.parse().with_context(|| format!("{text:?} is no number")),
        None => Ok(default),
    };
    let (agents, lasts) = (number(2_000)?, Duration::from_secs(number(60)?));
    let (is_green, result) = runtime.block_on(measure::measure(agents, lasts))?;
    writeln!(std::io::stdout(), "{result}").context("cannot print the result")?;
    Ok(if is_green { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
