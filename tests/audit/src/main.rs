//! `audit-proof [RECORDS]`: an agent and two real hubs, between which somebody drops one record of
//! many and doubles another; how soon `headland audit` names each, and what auditing costs, as one
//! JSON object.
//!
//! `cargo xtask soak audit` builds it for release and runs it. The nodes are the real ones and have
//! no switch for this: whoever drops and doubles stands between the hubs, with certificates of the
//! fleet's own authority, and hands on every other byte as it came.

/// What is dropped and doubled, and how offsets are shifted so that nobody else notices.
mod tampering;
/// Who stands between the hubs.
mod relay;
/// What the command for operators names.
mod named;
/// What auditing costs.
mod cost;
/// The measurement from start to report.
mod measure;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};

/// Records in a run without a wish.
const RECORDS: u64 = 10_000_000;

fn main() -> Result<ExitCode> {
    let records = match std::env::args().nth(1) {
        Some(text) => text.parse().with_context(|| format!("{text:?} is no number"))?,
        None => RECORDS,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (is_green, result) = runtime.block_on(measure::measure(records))?;
    writeln!(std::io::stdout(), "{result}").context("cannot print the result")?;
    Ok(if is_green { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
