//! `headland-wan tell`: one line to a control socket.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use headland_wan::control;

use super::Outcome;

/// What to tell whom.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The network's control socket; `$HEADLAND_WAN_CONTROL` inside of `run`.
    #[arg(long)]
    control: PathBuf,
    /// The line: `{"cut":"both"}`, `"report"`, `"stop"`; quotes around one word may be left out.
    line: String,
}

/// Prints the answer.
pub(crate) fn tell(options: &Options) -> Outcome {
    let is_word = options.line.bytes().all(|byte| byte.is_ascii_lowercase());
    let line = if is_word { format!("\"{}\"", options.line) } else { options.line.clone() };
    let answer = control::tell(&options.control, &line)
        .map_err(|error| format!("{}: {error}", options.control.display()))?;
    writeln!(std::io::stdout(), "{answer}")?;
    Ok(ExitCode::SUCCESS)
}
