//! Commands as child processes, timed.

use std::io::{self, BufRead, BufReader, Write};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Measures how long something took; the one place of this tool that reads the clock.
#[expect(clippy::disallowed_types, reason = "a tool measures its own steps and feeds no core")]
pub(crate) struct Stopwatch(std::time::Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_types,
        clippy::disallowed_methods,
        reason = "a tool measures its own steps and feeds no core"
    )]
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What a command did.
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) is_success: bool,
    pub(crate) took: Duration,
    /// What it wrote, both streams in the order of writing; empty when it was not kept.
    pub(crate) output: String,
}

/// Runs a command whose output goes straight to the terminal.
pub(crate) fn run(name: &str, command: &mut Command) -> Result<Outcome> {
    eprintln!("==> {name}");
    let watch = Stopwatch::start();
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    let (is_success, took) = (status.success(), watch.elapsed());
    Ok(Outcome { name: name.to_owned(), is_success, took, output: String::new() })
}

/// Runs a command, shows its output and keeps it.
pub(crate) fn run_kept(name: &str, command: &mut Command) -> Result<Outcome> {
    eprintln!("==> {name}");
    let watch = Stopwatch::start();
    let (reader, writer) = io::pipe().context("cannot open a pipe")?;
    let errors = writer.try_clone().context("cannot open a pipe")?;
    let spawned = command.stdout(writer).stderr(errors).spawn();
    let mut child = spawned.with_context(|| format!("cannot run {command:?}"))?;
    // The command still holds our ends for writing, and reading would never end with them open.
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut output = String::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.context("cannot read what the command wrote")?;
        let line = String::from_utf8_lossy(&line);
        writeln!(io::stderr(), "{line}").context("cannot write to the terminal")?;
        output.push_str(&line);
        output.push('\n');
    }
    let status = child.wait().with_context(|| format!("cannot wait for {command:?}"))?;
    Ok(Outcome {
        name: name.to_owned(),
        is_success: status.success(),
        took: watch.elapsed(),
        output,
    })
}

/// Runs a command quietly and returns what it wrote to its standard output.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A duration as people read it: `4.2s` or `3m07s`.
pub(crate) fn shown(took: Duration) -> String {
    let seconds = took.as_secs();
    if seconds < 60 {
        format!("{seconds}.{}s", took.subsec_millis() / 100)
    } else {
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    }
}

/// Prints a table of outcomes and fails when one of them failed; `limit` is only reported.
pub(crate) fn conclude(outcomes: &[Outcome], limit: Duration) -> Result<()> {
    eprintln!();
    for Outcome { name, is_success, took, .. } in outcomes {
        let verdict = if *is_success { "ok    " } else { "FAILED" };
        let slow = if *took > limit { "  over its limit of time" } else { "" };
        eprintln!("{verdict} {:>7}  {name}{slow}", shown(*took));
    }
    let failed: Vec<&str> = outcomes
        .iter()
        .filter(|outcome| !outcome.is_success)
        .map(|outcome| outcome.name.as_str())
        .collect();
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, is_success: bool) -> Outcome {
        Outcome { name: name.into(), is_success, took: Duration::ZERO, output: String::new() }
    }

    #[test]
    fn a_duration_is_shown_in_seconds_below_a_minute_and_in_minutes_above() {
        assert_eq!(shown(Duration::from_millis(4_290)), "4.2s");
        assert_eq!(shown(Duration::from_secs(60)), "1m00s");
        assert_eq!(shown(Duration::from_secs(187)), "3m07s");
    }

    #[test]
    fn the_failed_steps_are_named() {
        let outcomes = [outcome("docs", true), outcome("tidy", false), outcome("unit", false)];

        let error = conclude(&outcomes, Duration::from_secs(1)).unwrap_err();

        assert_eq!(error.to_string(), "failed: tidy, unit");
    }

    #[test]
    fn kept_output_holds_both_streams_in_order() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; echo three; exit 3"]);

        let outcome = run_kept("both", &mut command).unwrap();

        assert_eq!(outcome.output, "one\ntwo\nthree\n");
        assert!(!outcome.is_success);
    }
}
