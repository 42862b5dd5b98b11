//! What each subcommand of `headland-wan` does.

/// The options that say which network to make, and the network itself.
pub(crate) mod session;
/// `run`: a network for one command.
pub(crate) mod run;
/// `net up`: a network that stays.
pub(crate) mod up;
/// `net exec`: a command on one side.
pub(crate) mod exec;
/// `relay`: a network in front of a server.
pub(crate) mod relay;
/// `tell`: a line to a control socket.
pub(crate) mod tell;
/// `probe`: measurements of the emulator from outside.
pub(crate) mod probe;
/// `profiles`: the names there are.
pub(crate) mod profiles;

use std::error::Error;
use std::process::ExitCode;

/// How a subcommand ends: with a code, or with words about why it could not do its work.
pub(crate) type Outcome = Result<ExitCode, Box<dyn Error>>;

/// The exit code of a run that is invalid because the machine was overloaded: `EX_TEMPFAIL` of
/// sysexits, "try again".
pub(crate) const INVALID: u8 = 75;
