//! What a proof ends with: one JSON object on standard output, and an exit code.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::Value;

/// What was found.
#[derive(Debug)]
pub(crate) struct Report {
    /// Whether everything that must hold did.
    pub(crate) is_green: bool,
    /// What was measured or counted, with units in the names.
    pub(crate) result: Value,
}

impl Report {
    /// Prints the result; the exit code says whether it is green.
    pub(crate) fn print(&self) -> Result<ExitCode> {
        writeln!(std::io::stdout(), "{}", self.result).context("cannot print the result")?;
        Ok(if self.is_green { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
