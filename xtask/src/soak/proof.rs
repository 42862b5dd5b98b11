//! A proof of one area: a binary of its own, built for release, each of whose commands prints what
//! it found as one JSON object and ends well only when what is promised held.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::{Measured, load_average};
use crate::step;
use crate::workspace::Workspace;

/// A built proof with what its commands have found so far.
pub(super) struct Proof {
    binary: PathBuf,
    measured: Measured,
    results: Map<String, Value>,
}

impl Proof {
    /// Builds `<area>-proof`, and the packages that it needs beside it.
    pub(super) fn build(workspace: &Workspace, area: &str, beside: &[&str]) -> Result<Self> {
        let name = format!("{area}-proof");
        let mut cargo = workspace.cargo();
        cargo.args(["build", "--release", "--locked", "--package", &format!("headland-{name}")]);
        cargo.args(beside.iter().flat_map(|package| ["--package", package]));
        let outcome = step::run("build of the proof (release)", &mut cargo)?;
        if !outcome.is_success {
            bail!("the build failed; the messages above say where");
        }
        let binary = workspace.target_directory()?.join("release").join(name);
        let conditions = json!({ "load_average_at_the_start": load_average()? });
        let measured = Measured { is_green: true, conditions, result: Value::Null };
        Ok(Self { binary, measured, results: Map::new() })
    }

    /// The binary.
    pub(super) fn binary(&self) -> &Path {
        &self.binary
    }

    /// Says on what else the figures depend.
    pub(super) fn condition(&mut self, name: &str, value: Value) {
        if let Value::Object(conditions) = &mut self.measured.conditions {
            conditions.insert(name.to_owned(), value);
        }
    }

    /// Runs a command and keeps what it found under `name`.
    pub(super) fn run(&mut self, name: &str, command: &str, rest: &[String]) -> Result<()> {
        eprintln!("==> {name}");
        let mut proof = Command::new(&self.binary);
        let output = proof.arg(command).args(rest).stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("cannot run {}", self.binary.display()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let found: Value = serde_json::from_str(said.trim())
            .with_context(|| format!("{name} ended with {}", output.status))?;
        self.measured.is_green &= output.status.success();
        self.keep(name, found);
        Ok(())
    }

    /// Adds a result that was found otherwise.
    pub(super) fn keep(&mut self, name: &str, found: Value) {
        self.results.insert(name.to_owned(), found);
    }

    /// All that was found.
    pub(super) fn measured(self) -> Measured {
        Measured { result: self.results.into(), ..self.measured }
    }
}
