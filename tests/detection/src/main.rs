//! `detection-proof COMMAND [--name value …]`: stopwatches for detection, each with one JSON object
//! as its result.
//!
//! `cargo xtask soak detection-speed` builds it for release and runs every command in a process of
//! its own; the tests of this package run the same code at a size that fits a build.

/// The input.
mod lines;
/// Processor time per event of one rule.
mod speed;
/// What a million keys take, and their snapshot.
mod keys;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

const COMMANDS: &str = "\
Usage: detection-proof COMMAND [EVENTS]

  filter    WHERE over plain rows                                     1000000 events a round
  tumble    average per 10 s over 100 devices with HAVING             1000000
  hop       average per 5 min every minute over 100 devices           1000000
  lines     nothing but the lines of the above, to be taken off       1000000
  keys      the average per 10 s over 1,000 and over 1,000,000 keys   12000000
  snapshot  a snapshot of 1,000,000 keys while rows go on             1000000
";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else { bail!("{COMMANDS}") };
    let events = match rest {
        [] => None,
        [events] => Some(events.parse().context("EVENTS is a number")?),
        _ => bail!("{COMMANDS}"),
    };
    let report = run(command, events)?;
    print(&report)?;
    ensure!(report.get("is_green") == Some(&Value::Bool(true)), "{command} missed a bar");
    Ok(())
}

fn run(command: &str, events: Option<usize>) -> Result<Value> {
    const MILLION: usize = 1_000_000;
    match command {
        "filter" => speed::measure(&speed::FILTER, events.unwrap_or(MILLION)),
        "tumble" => speed::measure(&speed::TUMBLE, events.unwrap_or(MILLION)),
        "hop" => speed::measure(&speed::HOP, events.unwrap_or(MILLION)),
        "lines" => speed::make_lines(events.unwrap_or(MILLION)),
        "keys" => keys::ratio(events.unwrap_or(12 * MILLION)),
        "snapshot" => keys::snapshot(events.unwrap_or(MILLION)),
        unknown => bail!("no command `{unknown}`\n\n{COMMANDS}"),
    }
}

#[expect(clippy::print_stdout, reason = "the report is this program's output")]
fn print(report: &Value) -> Result<()> {
    println!("{}", serde_json::to_string(report).context("cannot write the report")?);
    Ok(())
}
