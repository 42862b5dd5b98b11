//! `kills-proof [KILLS]`: two real hubs under load, either of which is killed in turn; how soon the
//! link flows again, and whether anything is lost or doubled, as one JSON object.
//!
//! `cargo xtask soak links-kill` builds it for release and runs it.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use headland_tests::kills;

/// Within which it has to flow again, in milliseconds.
const FLOWS_MAX_MS: u64 = 2_000;

fn main() -> Result<ExitCode> {
    let kills = match std::env::args().nth(1) {
        Some(text) => text.parse().with_context(|| format!("{text:?} is no number"))?,
        None => 200,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(kills::run(kills))?;
    writeln!(std::io::stdout(), "{}", found.json()).context("cannot print the result")?;
    let is_soon = found.flowed_ms.iter().all(|took| *took <= FLOWS_MAX_MS);
    let is_green = is_soon && (found.lost, found.doubled) == (0, 0);
    Ok(if is_green { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
