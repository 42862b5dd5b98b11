//! What detection promises of speed and size: `detection-proof` built for release.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Measured, load_average};
use crate::step;
use crate::workspace::Workspace;

const PACKAGE: &str = "headland-detection-proof";
const BINARY: &str = "detection-proof";

/// Each in a process of its own, so that none has another's memory.
const COMMANDS: [&str; 5] = ["filter", "tumble", "hop", "keys", "snapshot"];

/// Processor time, memory and instructions per event, keys and a snapshot.
pub(super) fn speed(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    if let Some(unknown) = arguments.first() {
        bail!("detection-speed takes no arguments, found `{unknown}`");
    }
    let binary = build(workspace)?;
    let conditions = json!({ "load_average_at_the_start": load_average()? });
    let (mut is_green, mut results) = (true, serde_json::Map::new());
    for command in COMMANDS {
        eprintln!("==> {BINARY} {command}");
        let mut proof = Command::new(&binary);
        let output = proof.arg(command).stderr(Stdio::inherit()).output();
        let output = output.context("cannot run the proof")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let result: Value = serde_json::from_str(said.trim())
            .with_context(|| format!("{BINARY} {command} ended with {}", output.status))?;
        is_green &= result.get("is_green") == Some(&Value::Bool(true));
        results.insert(command.to_owned(), result);
    }
    results.insert("instructions".to_owned(), instructions(&binary)?);
    Ok(Measured { is_green, conditions, result: results.into() })
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "--package", PACKAGE]);
    let outcome = step::run("build of the proof (release)", &mut cargo)?;
    if !outcome.is_success {
        bail!("the build failed; the messages above say where");
    }
    Ok(workspace.target_directory()?.join("release").join(BINARY))
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
