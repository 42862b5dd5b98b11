//! What detection promises of speed and size: `detection-proof` built for release.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Measured;
use super::proof::Proof;
use crate::workspace::Workspace;

/// Each in a process of its own, so that none has another's memory.
const COMMANDS: [&str; 5] = ["filter", "tumble", "hop", "keys", "snapshot"];

/// Processor time, memory and instructions per event, keys and a snapshot.
pub(super) fn speed(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    if let Some(unknown) = arguments.first() {
        bail!("detection-speed takes no arguments, found `{unknown}`");
    }
    let mut proof = Proof::build(workspace, "detection", &[])?;
    for command in COMMANDS {
        proof.run(command, command, &[])?;
    }
    let instructions = instructions(proof.binary())?;
    proof.keep("instructions", instructions);
    Ok(proof.measured())
}

/// Instructions per event by `perf`, of a run less a run of no events, lines made included; says so
/// where the machine counts none.
fn instructions(binary: &Path) -> Result<Value> {
    const EVENTS: u64 = 200_000;
    // The proof runs five rounds of as many events as it is told.
    const ROUNDS: u64 = 5;
    let mut results = serde_json::Map::new();
    for command in ["filter", "tumble", "hop"] {
        let (with, without) = (count(binary, command, EVENTS)?, count(binary, command, 0)?);
        let each = match (with, without) {
            (Some(with), Some(without)) => {
                json!(with.saturating_sub(without) / (EVENTS * ROUNDS))
            }
            _ => json!("this machine counts no instructions"),
        };
        results.insert(command.to_owned(), each);
    }
    Ok(results.into())
}

/// Instructions of a run in user space; none without `perf` or without counters.
fn count(binary: &Path, command: &str, events: u64) -> Result<Option<u64>> {
    let mut perf = Command::new("perf");
    perf.args(["stat", "--field-separator", ",", "--event", "instructions:u"]);
    perf.arg(binary).arg(command).arg(events.to_string());
    let Ok(output) = perf.stdout(Stdio::null()).output() else { return Ok(None) };
    let said = String::from_utf8(output.stderr).context("perf writes text")?;
    let counted = said.lines().find(|line| line.contains("instructions"));
    let counted = counted.and_then(|line| line.split(',').next());
    Ok(counted.and_then(|number| number.parse().ok()))
}
