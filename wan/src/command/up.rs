//! `headland-wan net up`: a network that stays until it is told to stop.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use headland_wan::{ControlSocket, Controlled};

use super::session::{NetOptions, Session, is_valid};
use super::{INVALID, Outcome};

/// Which network to make.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    net: NetOptions,
}

/// Makes the network, says on standard output where its sides are, and keeps it.
pub(crate) fn up(options: &Options) -> Outcome {
    let path = options.net.control.as_ref().ok_or("`net up` needs --control PATH")?;
    let session = Session::start(&options.net)?;
    let socket = ControlSocket::bind(path)
        .map_err(|error| format!("cannot listen on {}: {error}", path.display()))?;
    // A driver waits for this line: from here on, sides can be entered and changes told.
    let sides = serde_json::to_string(&session.handle.sides())?;
    writeln!(std::io::stdout(), "{sides}")?;
    socket.serve(&session.handle)?;
    let report = session.finish()?;
    Ok(if is_valid(&report) { ExitCode::SUCCESS } else { INVALID.into() })
}
