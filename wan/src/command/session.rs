//! A network that runs: the thread that moves packets, and the control socket.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use clap::Args;
use headland_wan::net::{NetError, Priority};
use headland_wan::{ControlSocket, Controlled, Net, NetHandle, Profile, control};
use serde_json::Value;

use crate::clock::Clock;

/// Which network to make.
#[derive(Debug, Args)]
pub(crate) struct NetOptions {
    /// The network: a name of `headland-wan profiles`, or a TOML file.
    #[arg(long)]
    pub(crate) profile: String,
    /// The seed that decides what is lost.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Where to put the control socket.
    #[arg(long)]
    pub(crate) control: Option<PathBuf>,
    /// Where to write the report at the end; without it, to standard error.
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
}

/// A running network.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) handle: NetHandle,
    mover: JoinHandle<Result<(), NetError>>,
    report: Option<PathBuf>,
}

impl Session {
    /// Makes the network and lets its packets move.
    pub(crate) fn start(options: &NetOptions) -> Result<Self, Box<dyn Error>> {
        Self::of(profile(&options.profile)?, options.seed, options.report.clone())
    }

    /// The same for a profile that is known already.
    pub(crate) fn of(
        profile: Profile,
        seed: u64,
        report: Option<PathBuf>,
    ) -> Result<Self, Box<dyn Error>> {
        let net = Net::create(profile, seed)?;
        let handle = net.handle();
        let (tell, told) = mpsc::channel();
        let mover = thread::Builder::new().name("mover".into()).spawn(move || {
            if tell.send(Net::claim_priority()).is_err() {
                return Ok(());
            }
            let clock = Clock::start();
            net.run(|| clock.now()).map(drop)
        })?;
        let priority = told.recv()?;
        if priority == Priority::Plain {
            eprintln!("headland-wan: no real-time priority; expect up to 20 ms more under load");
        }
        Ok(Self { handle, mover, report })
    }

    /// Ends the network and reports; returns whether the run was valid.
    pub(crate) fn finish(self) -> Result<Value, Box<dyn Error>> {
        self.handle.stop();
        self.mover.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let report = self.handle.report();
        match self.report {
            Some(path) => fs::write(path, format!("{report}\n"))?,
            None => eprintln!("headland-wan: {report}"),
        }
        Ok(report)
    }
}

/// Whether a report is of a run that means something.
pub(crate) fn is_valid(report: &Value) -> bool {
    report.get("is_valid").and_then(Value::as_bool).unwrap_or(false)
}

/// A control socket that is served on a thread of its own until it is dropped.
#[derive(Debug)]
pub(crate) struct ServedControl {
    path: PathBuf,
    server: Option<JoinHandle<io::Result<()>>>,
}

impl ServedControl {
    pub(crate) fn start(path: PathBuf, handle: NetHandle) -> io::Result<Self> {
        let socket = ControlSocket::bind(&path)?;
        let server =
            thread::Builder::new().name("control".into()).spawn(move || socket.serve(&handle))?;
        Ok(Self { path, server: Some(server) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ServedControl {
    fn drop(&mut self) {
        // The server waits for connections; this one tells it to end and to take its file away.
        let asked = control::tell(&self.path, "\"stop\"");
        if let (Ok(_), Some(server)) = (asked, self.server.take()) {
            drop(server.join());
        }
    }
}

/// A profile by name, or from a file when the name looks like one.
pub(crate) fn profile(name: &str) -> Result<Profile, Box<dyn Error>> {
    if !name.contains(['/', '.']) {
        return Ok(Profile::named(name)?);
    }
    let text = fs::read_to_string(name).map_err(|error| format!("cannot read {name}: {error}"))?;
    Ok(Profile::parse(name, &text)?)
}
