//! `headland audit`: whether a running hub's log holds what was written.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::client::{self, AskError};
use crate::node::AuditStatus;

/// Which hub to ask.
#[derive(Debug, Clone, Args)]
pub struct AuditOptions {
    /// The hub's socket, as `api.socket` in its configuration says.
    #[arg(long)]
    socket: PathBuf,
}

/// What a hub's audit has found, as text for operators.
#[derive(Debug)]
pub struct Audited(AuditStatus);

impl Audited {
    /// Success while no range differs.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        if self.0.faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl fmt::Display for Audited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AuditStatus { streams, agreed, unchecked, faults, left_out, last_faults } = &self.0;
        write!(f, "{streams} streams; since the start {agreed} statements agreed, ")?;
        write!(f, "{unchecked} could not be compared, {faults} ranges differ")?;
        if *left_out > 0 {
            write!(f, "\n{left_out} batches are of streams beyond the limit and not audited")?;
        }
        last_faults.iter().try_for_each(|fault| write!(f, "\n{fault}"))
    }
}

/// Asks the hub.
///
/// # Errors
/// [`AskError`] when it does not answer.
pub fn run(AuditOptions { socket }: &AuditOptions) -> Result<Audited, AskError> {
    let read = |answer: &[u8]| serde_json::from_slice(answer).map(Audited);
    client::ask(socket, client::get(socket, "/v1/audit"), read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_that_differs_is_a_line() {
        let faults = ["3 records are missing in eu.air/0", "records are not those in air/1"];
        let audited = Audited(AuditStatus {
            streams: 7,
            agreed: 40,
            unchecked: 1,
            faults: 2,
            left_out: 0,
            last_faults: faults.map(str::to_owned).to_vec(),
        });

        let text = audited.to_string();

        assert_eq!(
            text,
            "7 streams; since the start 40 statements agreed, 1 could not be compared, \
             2 ranges differ\n3 records are missing in eu.air/0\nrecords are not those in air/1"
        );
    }
}
