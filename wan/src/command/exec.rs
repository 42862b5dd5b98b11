//! `headland-wan net exec`: become a command on one side of a running network.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::{Args, ValueEnum};
use headland_wan::control::Sides;
use headland_wan::{Namespace, control};

use super::Outcome;

/// What to run where.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The network's control socket; `$HEADLAND_WAN_CONTROL` inside of `run`.
    #[arg(long)]
    control: PathBuf,
    /// The side.
    #[arg(value_enum)]
    side: SideName,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SideName {
    /// The client's.
    A,
    /// The target's.
    B,
}

/// Enters the side and becomes the command: same process, so that its signals are its own.
pub(crate) fn exec(options: &Options) -> Outcome {
    let told = control::tell(&options.control, "\"sides\"")
        .map_err(|error| format!("cannot ask {}: {error}", options.control.display()))?;
    let sides: Option<Sides> = serde_json::from_value(told)?;
    let sides = sides.ok_or("this network is a relay; it has no sides to enter")?;
    let side = match options.side {
        SideName::A => sides.a,
        SideName::B => sides.b,
    };
    Namespace::open(&side.namespace)?.enter()?;
    let (program, arguments) = options.command.split_first().ok_or("no command was given")?;
    let error = Command::new(program).args(arguments).exec();
    Err(format!("cannot run {program}: {error}").into())
}
