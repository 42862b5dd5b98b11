//! `cargo quickstart`: builds both release binaries and hands over to `headland quickstart`.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::{self, Stopwatch};
use crate::workspace::Workspace;

/// Builds `headland` and `headland-agent`, and becomes `headland quickstart` with `arguments`.
///
/// Replacing this process instead of waiting for a child leaves one owner of Ctrl-C and of the
/// exit code.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let headland = build(workspace)?;
    let error = Command::new(&headland).arg("quickstart").args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", headland.display()))
}

/// Builds both release binaries and returns the path of `headland`.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf> {
    let headland = workspace.target_directory()?.join("release/headland");
    let expected = if headland.exists() {
        "seconds, unless much changed since the last time"
    } else {
        "several minutes the first time, up to 10 on two cores"
    };
    eprintln!("Building headland and headland-agent (release): {expected}.");
    let watch = Stopwatch::start();
    let status = workspace
        .cargo()
        .args(["build", "--release", "--package", "region-hub", "--package", "edge-agent"])
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the build failed; the messages above say where");
    }
    eprintln!("Built in {}.", step::shown(watch.elapsed()));
    Ok(headland)
}
