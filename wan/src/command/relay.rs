//! `headland-wan relay`: an emulated network in front of a UDP server, without privilege.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use clap::Args;
use headland_wan::{ControlSocket, Controlled, Relay};

use super::session::{is_valid, network, play};
use super::{INVALID, Outcome};
use crate::clock::Clock;

/// Between whom to stand.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where clients send to; port 0 takes any free one.
    #[arg(long)]
    listen: SocketAddr,
    /// The server behind the network.
    #[arg(long)]
    target: SocketAddr,
    /// The network: a name of `headland-wan profiles`, or a TOML file.
    #[arg(long, required_unless_present = "scenario")]
    profile: Option<String>,
    /// A timed list of changes, which also may name the profile.
    #[arg(long)]
    scenario: Option<PathBuf>,
    /// The seed that decides what is lost.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to put the control socket.
    #[arg(long)]
    control: PathBuf,
    /// Where to write the report at the end; without it, to standard error.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// Relays until the control socket says `"stop"`; prints the address it listens on first.
#[expect(clippy::print_stdout, reason = "the address is this command's output")]
pub(crate) fn relay(options: &Options) -> Outcome {
    let Options { listen, target, profile: _, scenario: _, seed, control, report } = options;
    let (network, scenario) = network(options.profile.as_deref(), options.scenario.as_deref())?;
    let socket = ControlSocket::bind(control)
        .map_err(|error| format!("cannot listen on {}: {error}", control.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let relay = {
        let _inside = runtime.enter();
        Relay::bind(*listen, *target, network, *seed)?
    };
    println!("{}", relay.address());
    let handle = relay.handle();
    let controlled = handle.clone();
    let server =
        thread::Builder::new().name("control".into()).spawn(move || socket.serve(&controlled))?;
    let player = scenario.map(|scenario| play(scenario, handle.clone())).transpose()?;
    let clock = Clock::start();
    runtime.block_on(relay.run(|| clock.now()))?;
    server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    // Without its sender the scenario ends.
    drop(player);
    let found = handle.report();
    match report {
        Some(path) => fs::write(path, format!("{found}\n"))?,
        None => eprintln!("headland-wan: {found}"),
    }
    Ok(if is_valid(&found) { ExitCode::SUCCESS } else { INVALID.into() })
}
