//! `failover-proof groups|automatic|disks [SIZE]`: real hubs, agents and groups on loopback, whose
//! regions are left and returned to or lose their disk; what that costs, as one JSON object.
//!
//! `SIZE` is how many lags are drawn beside those that are always tried, how often a hub is killed,
//! or how often a disk is lost. `cargo xtask soak failover` builds it for release and runs it.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use headland_tests::failover::disks::Ack;
use headland_tests::failover::{automatic, disks, groups};
use serde_json::{Value, json};

/// What groups lag behind.
const LAGS: [u64; 6] = [0, 1, 10, 100, 1_000, 10_000];

/// Lines of 1,000 bytes that either of two regions lacks when one comes back.
const DELTA_LINES: u64 = 20_000;

/// Agents of the region whose hub is killed, and of the one whose disk is lost.
const AGENTS: usize = 12;
const AGENTS_OF_A_DISK: usize = 4;

/// Where all that is drawn begins.
const SEED: u64 = 20_261_123;

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().context("groups, automatic or disks")?;
    let size = match arguments.next() {
        Some(text) => Some(text.parse().with_context(|| format!("{text:?} is no number"))?),
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (is_green, result) = runtime.block_on(measure(&what, size))?;
    writeln!(std::io::stdout(), "{result}").context("cannot print the result")?;
    Ok(if is_green { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(what: &str, size: Option<usize>) -> Result<(bool, Value)> {
    match what {
        "groups" => {
            let found = groups::run(&LAGS, (size.unwrap_or(2), SEED), DELTA_LINES).await?;
            Ok((found.is_exact() && found.is_lean(), found.json()))
        }
        "automatic" => {
            let found = automatic::run(AGENTS, size.unwrap_or(5), SEED).await?;
            Ok((found.is_exact() && found.is_soon(), found.json()))
        }
        "disks" => {
            let tries = size.unwrap_or(5);
            let two = disks::run(Ack::TwoRegions, AGENTS_OF_A_DISK, tries, SEED).await?;
            let one = disks::run(Ack::Local, AGENTS_OF_A_DISK, tries, SEED).await?;
            let is_green = two.is_exact() && one.is_exact();
            Ok((is_green, json!([two.json(), one.json()])))
        }
        other => bail!("{other} is not groups, automatic or disks"),
    }
}
