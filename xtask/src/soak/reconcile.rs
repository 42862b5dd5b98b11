//! What reconciliation promises: `reconcile-proof` built for release, at full size, and the laws of
//! the crate over many schedules.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Measured, load_average, option};
use crate::step;
use crate::workspace::Workspace;

const PACKAGE: &str = "headland-reconcile-proof";
const BINARY: &str = "reconcile-proof";

/// Events per second and bytes per key.
pub(super) fn speed(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    let directory = match option(arguments, "--directory")? {
        Some(directory) => PathBuf::from(directory),
        None => workspace.target_directory()?.join(BINARY),
    };
    let mut rest = vec!["--directory".to_owned()];
    rest.push(directory.to_str().context("the directory's name is no text")?.to_owned());
    prove(workspace, "speed", &rest)
}

/// Regions that sell the same stock.
pub(super) fn escrow(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    prove(workspace, "escrow", arguments)
}

/// The whole recorded retail stream.
pub(super) fn retail(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    if option(arguments, "--data")?.is_none() {
        bail!("--data FOLDER is missing: the folder of the recorded rows, arrivals and truth");
    }
    prove(workspace, "retail", arguments)
}

/// Each law of the crate over many schedules.
pub(super) fn laws(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    let cases = option(arguments, "--cases")?.unwrap_or("10000");
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--release", "--locked", "--package", "headland-reconcile"]);
    cargo.args(["--test", "convergence"]).env("HEADLAND_RECONCILE_CASES", cases);
    let outcome = step::run(&format!("{cases} schedules of each law"), &mut cargo)?;
    let cases: u64 = cases.parse().with_context(|| format!("--cases cannot be {cases}"))?;
    Ok(Measured {
        is_green: outcome.is_success,
        conditions: Value::Null,
        result: json!({"schedules_of_each_law": cases, "is_green": outcome.is_success}),
    })
}

/// Builds the binary, runs a command of it and takes over what it found.
fn prove(workspace: &Workspace, command: &str, arguments: &[String]) -> Result<Measured> {
    let binary = build(workspace)?;
    let conditions = json!({"load_average_at_the_start": load_average()?});
    eprintln!("==> {BINARY} {command}");
    let mut proof = Command::new(&binary);
    proof.arg(command).args(arguments);
    let output = proof.stderr(Stdio::inherit()).output().context("cannot run the proof")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let result = serde_json::from_str(said.trim())
        .with_context(|| format!("{BINARY} {command} ended with {}", output.status))?;
    Ok(Measured { is_green: output.status.success(), conditions, result })
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
