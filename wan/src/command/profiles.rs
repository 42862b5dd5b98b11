//! `headland-wan profiles`: the names there are.

use std::io::Write;
use std::process::ExitCode;

use headland_wan::catalogue;

use super::Outcome;

/// Prints one name a line.
pub(crate) fn list() -> Outcome {
    for name in catalogue::names() {
        writeln!(std::io::stdout(), "{name}")?;
    }
    Ok(ExitCode::SUCCESS)
}
