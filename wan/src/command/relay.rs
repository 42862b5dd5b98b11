//! `headland-wan relay`: an emulated network in front of a server, without privilege.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use clap::{Args, ValueEnum};
use headland_wan::{ControlSocket, Controlled, Relay, Scenario, StreamRelay};
use serde_json::Value;

use super::session::{is_valid, network, play};
use super::{INVALID, Outcome};
use crate::clock::Clock;

/// Between whom to stand.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where clients send to; port 0 takes any free one.
    #[arg(long)]
    listen: SocketAddr,
    /// What it speaks.
    #[arg(long, value_enum, default_value = "udp")]
    protocol: Protocol,
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

/// What the server behind the network speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// Datagrams, each with its own fate.
    Udp,
    /// Connections; delay, jitter, rate and cuts only.
    Tcp,
}

/// Relays until the control socket says `"stop"`; prints the address it listens on first.
pub(crate) fn relay(options: &Options) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (profile, scenario) = network(options.profile.as_deref(), options.scenario.as_deref())?;
    let Options { listen, target, seed, .. } = options;
    let clock = Clock::start();
    let now = move || clock.now();
    let found = match options.protocol {
        Protocol::Udp => {
            let bound = runtime.block_on(async { Relay::bind(*listen, *target, profile, *seed) });
            let relay = bound?;
            let controls = Controls::start(options, scenario, relay.handle(), relay.address())?;
            runtime.block_on(relay.run(now))?;
            controls.finish()?
        }
        Protocol::Tcp => {
            let relay = runtime.block_on(StreamRelay::bind(*listen, *target, profile, *seed))?;
            let controls = Controls::start(options, scenario, relay.handle(), relay.address())?;
            runtime.block_on(relay.run(now))?;
            controls.finish()?
        }
    };
    match &options.report {
        Some(path) => fs::write(path, format!("{found}\n"))?,
        None => eprintln!("headland-wan: {found}"),
    }
    Ok(if is_valid(&found) { ExitCode::SUCCESS } else { INVALID.into() })
}

/// What changes a relay while it runs.
struct Controls<H> {
    handle: H,
    server: JoinHandle<io::Result<()>>,
    /// Dropping it ends the scenario.
    _player: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl<H: Controlled + Clone + 'static> Controls<H> {
    /// Serves the control socket, plays the scenario and prints where the relay listens.
    fn start(
        options: &Options,
        scenario: Option<Scenario>,
        handle: H,
        address: SocketAddr,
    ) -> Result<Self, Box<dyn Error>> {
        let path = &options.control;
        let socket = ControlSocket::bind(path)
            .map_err(|error| format!("cannot listen on {}: {error}", path.display()))?;
        let controlled = handle.clone();
        let server = thread::Builder::new()
            .name("control".into())
            .spawn(move || socket.serve(&controlled))?;
        let player = scenario.map(|scenario| play(scenario, handle.clone())).transpose()?;
        writeln!(io::stdout(), "{address}")?;
        Ok(Self { handle, server, _player: player })
    }

    /// Waits until the control socket's file is gone, and reports.
    fn finish(self) -> Result<Value, Box<dyn Error>> {
        self.server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(self.handle.report())
    }
}
