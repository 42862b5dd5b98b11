//! `cargo xtask check`: what every commit passes, under five minutes.

use std::time::Duration;

use anyhow::Result;

use crate::step::{self, Outcome, Stopwatch};
use crate::tidy;
use crate::workspace::Workspace;

/// The whole check is meant to stay under five minutes; no step may take most of it.
const STEP_LIMIT: Duration = Duration::from_secs(180);

/// Each step as cargo is told it. `--locked` fails on a `Cargo.lock` that a manifest outgrew.
const STEPS: [(&str, &[&str]); 4] = [
    ("format", &["fmt", "--all", "--check"]),
    ("clippy", &["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"]),
    ("docs", &["doc", "--workspace", "--no-deps", "--locked"]),
    ("unit", &["test", "--workspace", "--lib", "--bins", "--locked"]),
];

/// Runs every step, also after one failed, and says which did.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut outcomes = Vec::new();
    for (name, arguments) in STEPS {
        let mut cargo = workspace.cargo();
        // Appended to what the environment asks for would be kinder, but cargo rebuilds the docs
        // on every change of this variable, so it has one value.
        cargo.args(arguments).env("RUSTDOCFLAGS", "--deny warnings");
        outcomes.push(step::run(name, &mut cargo)?);
    }
    outcomes.push(tidy(workspace)?);
    step::conclude(&outcomes, STEP_LIMIT)
}

fn tidy(workspace: &Workspace) -> Result<Outcome> {
    eprintln!("==> tidy");
    let watch = Stopwatch::start();
    let findings = tidy::findings(workspace)?;
    tidy::print(&findings);
    Ok(Outcome {
        name: "tidy".into(),
        is_success: findings.is_empty(),
        took: watch.elapsed(),
        output: String::new(),
    })
}
