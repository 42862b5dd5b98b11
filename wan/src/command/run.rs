//! `headland-wan run --profile P -- COMMAND`: a network for one command.

use std::error::Error;
use std::io;
use std::process::{Child, Command, ExitCode};

use clap::Args;
use headland_wan::Controlled;
use headland_wan::control::Sides;

use super::session::{NetOptions, ServedControl, Session, is_valid};
use super::{INVALID, Outcome};

/// What to run over which network.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    net: NetOptions,
    /// A command for side b, started first and ended when the one on side a ends; `sh -c` runs it.
    #[arg(long, value_name = "SHELL")]
    b: Option<String>,
    /// The command for side a and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs the command and exits with its code, or with 75 when it succeeded in an invalid run.
pub(crate) fn run(options: Options) -> Outcome {
    let Options { net, b, command } = options;
    let session = Session::start(&net)?;
    let path = net.control.unwrap_or_else(|| {
        std::env::temp_dir().join(format!("headland-wan-{}.sock", std::process::id()))
    });
    let control = ServedControl::start(path, session.handle.clone())?;
    let sides = session.handle.sides().ok_or("the network has no sides")?;
    let environment = environment(&control, &sides);
    let [side_a, side_b] = session.handle.namespaces();
    let start =
        |command: &mut Command| -> io::Result<Child> { command.envs(environment.clone()).spawn() };
    let beside = b.map(|text| {
        side_b.inside(|| start(Command::new("sh").arg("-c").arg(format!("exec {text}"))))
    });
    let beside = beside.transpose().map_err(|error| format!("cannot run side b: {error}"))?;
    let code = main_command(command, |command| side_a.inside(|| start(command)));
    if let Some(mut child) = beside {
        // One that has ended already is no failure.
        drop(child.kill());
        child.wait()?;
    }
    drop(control);
    let report = session.finish()?;
    let code = code?;
    let is_spoilt = code == ExitCode::SUCCESS && !is_valid(&report);
    Ok(if is_spoilt { INVALID.into() } else { code })
}

/// What the commands learn of the network they are in.
fn environment(control: &ServedControl, sides: &Sides) -> [(&'static str, String); 5] {
    [
        ("HEADLAND_WAN_CONTROL", control.path().display().to_string()),
        ("HEADLAND_WAN_A", sides.a.ipv4.to_string()),
        ("HEADLAND_WAN_B", sides.b.ipv4.to_string()),
        ("HEADLAND_WAN_A6", sides.a.ipv6.to_string()),
        ("HEADLAND_WAN_B6", sides.b.ipv6.to_string()),
    ]
}

fn main_command(
    words: Vec<String>,
    start: impl FnOnce(&mut Command) -> io::Result<Child>,
) -> Result<ExitCode, Box<dyn Error>> {
    let (program, arguments) = words.split_first().ok_or("no command was given")?;
    let mut command = Command::new(program);
    let mut child =
        start(command.args(arguments)).map_err(|error| format!("cannot run {program}: {error}"))?;
    let status = child.wait()?;
    // As shells do it: a signal shows as 128 and its number, of which none is above 64.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
