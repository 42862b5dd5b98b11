//! What reconciliation promises: `reconcile-proof` built for release, at full size, and the laws of
//! the crate over many schedules.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::proof::Proof;
use super::{Measured, option};
use crate::step;
use crate::workspace::Workspace;

const AREA: &str = "reconcile";

/// Events per second and bytes per key.
pub(super) fn speed(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    let directory = match option(arguments, "--directory")? {
        Some(directory) => PathBuf::from(directory),
        None => workspace.target_directory()?.join("reconcile-proof"),
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

/// How soon a shelf that runs low is warned of, at real hubs on loopback.
pub(super) fn restock(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    let rate = option(arguments, "--rate")?.unwrap_or("5000").to_owned();
    let seconds = option(arguments, "--seconds")?.unwrap_or("60").to_owned();
    let mut proof = Proof::build(workspace, "restock", &super::NODES)?;
    proof.run("restock", &rate, &[seconds])?;
    let mut measured = proof.measured();
    measured.result = measured.result.get_mut("restock").map(Value::take).unwrap_or_default();
    Ok(measured)
}

/// Runs one command, whose result stands for all.
fn prove(workspace: &Workspace, command: &str, rest: &[String]) -> Result<Measured> {
    let mut proof = Proof::build(workspace, AREA, &[])?;
    proof.run(command, command, rest)?;
    let mut measured = proof.measured();
    measured.result = measured.result.get_mut(command).map(Value::take).unwrap_or_default();
    Ok(measured)
}
