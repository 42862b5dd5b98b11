//! What detection promises of speed and size: `detection-proof` built for release.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

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

/// Instructions per event, of a run less one that only makes its lines; says so where nothing
/// counts them.
fn instructions(binary: &Path) -> Result<Value> {
    const EVENTS: u64 = 200_000;
    // The proof runs five rounds of as many events as it is told.
    const ROUNDS: u64 = 5;
    let mut results = serde_json::Map::new();
    let without = count(binary, "lines", EVENTS)?;
    for command in ["filter", "tumble", "hop"] {
        let with = count(binary, command, EVENTS)?;
        let each = match (with, without) {
            (Some(with), Some(without)) => {
                json!(with.saturating_sub(without) / (EVENTS * ROUNDS))
            }
            _ => json!("counted by nothing: install perf, or valgrind where there are no counters"),
        };
        results.insert(command.to_owned(), each);
    }
    Ok(results.into())
}

/// Instructions of a run in user space: by the processor's counters, or by valgrind, which runs
/// them one by one, where a virtual machine has none.
fn count(binary: &Path, command: &str, events: u64) -> Result<Option<u64>> {
    let events = events.to_string();
    let run = [binary.as_os_str(), command.as_ref(), events.as_ref()];
    let perf = ["perf", "stat", "--field-separator", ",", "--event", "instructions:u"];
    if let Some(counted) = said_by(&perf, &run, |line| {
        line.contains("instructions").then(|| line.split(',').next()).flatten()
    })? {
        return Ok(Some(counted));
    }
    let valgrind =
        ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"];
    said_by(&valgrind, &run, |line| line.split_once("refs:").map(|(_, number)| number.trim()))
}

/// The number in the line a counter writes of a run; none where the counter is not here.
fn said_by(
    counter: &[&str],
    run: &[&OsStr],
    number: fn(&str) -> Option<&str>,
) -> Result<Option<u64>> {
    let [program, arguments @ ..] = counter else { return Ok(None) };
    let mut counter = Command::new(program);
    // It is slow and misses its bar, and a trace of where it said so would be counted too.
    counter.args(arguments).args(run).env("RUST_BACKTRACE", "0");
    let Ok(output) = counter.output() else { return Ok(None) };
    // What a run that died had counted until then is no figure: it has to have reported.
    if serde_json::from_slice::<Value>(&output.stdout).is_err() {
        return Ok(None);
    }
    let said = String::from_utf8(output.stderr).context("a counter writes text")?;
    let counted = said.lines().find_map(number).map(|number| number.replace(',', ""));
    Ok(counted.and_then(|number| number.parse().ok()))
}
