//! `restock-proof [EVENTS_PER_SECOND [SECONDS]]`: how soon a shelf that runs low is warned of, at
//! real hubs on loopback, as one JSON object.
//!
//! `cargo xtask soak reconcile-restock` builds it for release and runs it.

/// From a line in a file to an alert in somebody else's hand.
mod latency;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use latency::{Load, measure};

fn main() -> Result<ExitCode> {
    let mut numbers = std::env::args().skip(1);
    let mut number = |default: u64| match numbers.next() {
        Some(text) => text.parse().with_context(|| format!("{text:?} is no number")),
        None => Ok(default),
    };
    let (events_per_second, lasts) = (number(5_000)?, Duration::from_secs(number(60)?));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (is_green, result) = runtime.block_on(measure(Load { events_per_second, lasts }))?;
    writeln!(std::io::stdout(), "{result}").context("cannot print the result")?;
    Ok(if is_green { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
