//! What the storage engine promises: `storage-proof` built for release, at full size.
//!
//! It runs below the target folder, or where `--directory` says; what it writes is taken away
//! again, except a journal that shows a failure.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Measured;
use super::broker::Broker;
use super::proof::Proof;
use crate::step;
use crate::workspace::Workspace;

const AREA: &str = "storage";

/// The journal side by side with a bare file, then reads, opening and idleness.
pub(super) fn speed(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    prove(workspace, &["append", "read", "open", "idle", "wear"], arguments)
}

/// `kill -9` at random moments.
pub(super) fn kill(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    prove(workspace, &["kill"], arguments)
}

/// Power cuts on an image in memory.
pub(super) fn powercut(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    prove(workspace, &["powercut"], arguments)
}

/// Disks that are full.
pub(super) fn full(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    prove(workspace, &["full"], arguments)
}

/// Everything a crash can leave, in memory.
pub(super) fn schedules(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    prove(workspace, &["schedules"], arguments)
}

/// The store beside Kafka's broker, which is fetched and runs only as long as this does.
pub(super) fn kafka(workspace: &Workspace, arguments: &[String]) -> Result<Measured> {
    let (folder, rest) = folder(workspace, arguments)?;
    let broker = Broker::start(workspace, &folder.join("kafka"))?;
    let process = broker.process().to_string();
    let own = ["--broker", &broker.address(), "--broker-process", &process].map(str::to_owned);
    let mut measured = prove_in(workspace, &["kafka"], &folder, &[&own[..], rest].concat())?;
    if let Some(conditions) = measured.conditions.as_object_mut() {
        conditions.insert("broker".to_owned(), broker.conditions());
    }
    Ok(measured)
}

/// Builds the binary, runs some of its commands and takes over what each found.
fn prove(workspace: &Workspace, commands: &[&str], arguments: &[String]) -> Result<Measured> {
    let (folder, rest) = folder(workspace, arguments)?;
    prove_in(workspace, commands, &folder, rest)
}

fn prove_in(
    workspace: &Workspace,
    commands: &[&str],
    folder: &Path,
    rest: &[String],
) -> Result<Measured> {
    let mut proof = Proof::build(workspace, AREA, &[])?;
    proof.condition("file_system", Value::from(file_system(folder)?));
    let directory = folder.to_str().context("the directory's name is no text")?;
    let rest = [&["--directory", directory].map(str::to_owned)[..], rest].concat();
    for command in commands {
        proof.run(command, command, &rest)?;
    }
    Ok(proof.measured())
}

/// A folder to write in, and the other arguments.
fn folder<'a>(workspace: &Workspace, arguments: &'a [String]) -> Result<(PathBuf, &'a [String])> {
    let (directory, rest) = match arguments {
        [option, value, rest @ ..] if option == "--directory" => (PathBuf::from(value), rest),
        rest => (workspace.target_directory()?, rest),
    };
    let folder = directory.join("storage-proof");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok((folder, rest))
}

/// Type and options of the file system that a folder lies in.
fn file_system(folder: &Path) -> Result<String> {
    let mut findmnt = Command::new("findmnt");
    findmnt.args(["--noheadings", "--output", "FSTYPE,OPTIONS", "--target"]).arg(folder);
    Ok(step::capture(&mut findmnt)?.split_whitespace().collect::<Vec<_>>().join(" "))
}
