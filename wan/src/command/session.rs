//! A network that runs: the thread that moves packets, and the control socket.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::Args;
use headland_wan::net::{NetError, Priority};
use headland_wan::{ControlSocket, Controlled, Net, NetHandle, Profile, Scenario, control};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::clock::Clock;

/// Which network to make.
#[derive(Debug, Args)]
pub(crate) struct NetOptions {
    /// The network: a name of `headland-wan profiles`, or a TOML file.
    #[arg(long, required_unless_present = "scenario")]
    pub(crate) profile: Option<String>,
    /// The seed that decides what is lost.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// A timed list of changes, which also may name the profile.
    #[arg(long)]
    pub(crate) scenario: Option<PathBuf>,
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
    mover: JoinHandle<Result<Duration, NetError>>,
    /// Dropping the sender ends the scenario.
    scenario: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
    report: Option<PathBuf>,
}

impl Session {
    /// Makes the network and lets its packets move and its scenario begin.
    pub(crate) fn start(options: &NetOptions) -> Result<Self, Box<dyn Error>> {
        let (profile, scenario) = network(options.profile.as_deref(), options.scenario.as_deref())?;
        let net = Net::create(profile, options.seed)?;
        let handle = net.handle();
        let (tell, told) = mpsc::channel();
        let mover = thread::Builder::new().name("mover".into()).spawn(move || {
            if tell.send(Net::claim_priority()).is_err() {
                return Ok(Duration::ZERO);
            }
            let clock = Clock::start();
            net.run(|| clock.now())?;
            Ok(processor_time())
        })?;
        let priority = told.recv()?;
        if priority == Priority::Plain {
            eprintln!("headland-wan: no real-time priority; expect up to 20 ms more under load");
        }
        let scenario = scenario.map(|scenario| play(scenario, handle.clone())).transpose()?;
        Ok(Self { handle, mover, scenario, report: options.report.clone() })
    }

    /// Ends the network and reports; returns whether the run was valid.
    pub(crate) fn finish(self) -> Result<Value, Box<dyn Error>> {
        self.handle.stop();
        let mover = self.mover.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let processor_time = mover?;
        if let Some((stop, player)) = self.scenario {
            drop(stop);
            player.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        let mut report = self.handle.report();
        if let Some(report) = report.as_object_mut() {
            let micros = u64::try_from(processor_time.as_micros())?;
            report.insert("processor_time_us".into(), micros.into());
        }
        match self.report {
            Some(path) => fs::write(path, format!("{report}\n"))?,
            None => eprintln!("headland-wan: {report}"),
        }
        Ok(report)
    }
}

/// Applies a scenario's changes when they are due, on a thread of its own.
pub(crate) fn play<H: Controlled + 'static>(
    mut scenario: Scenario,
    handle: H,
) -> io::Result<(mpsc::Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = mpsc::channel::<()>();
    let clock = Clock::start();
    let player = thread::Builder::new().name("scenario".into()).spawn(move || {
        while let Some(due) = scenario.poll_timeout() {
            match stopped.recv_timeout(due.saturating_sub(clock.now())) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
            while let Some(change) = scenario.poll_output(clock.now()) {
                handle.apply(&change);
            }
        }
    })?;
    Ok((stop, player))
}

/// What the calling thread has used of a core so far.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// The network that is asked for, by itself or by the scenario that is played over it.
pub(crate) fn network(
    name: Option<&str>,
    file: Option<&Path>,
) -> Result<(Profile, Option<Scenario>), Box<dyn Error>> {
    let scenario = file.map(scenario).transpose()?;
    let named = name.map(profile).transpose()?;
    let of_scenario = scenario.as_ref().and_then(Scenario::profile);
    let profile = named.or(of_scenario);
    let profile = profile.ok_or("the scenario names no profile, and --profile was not given")?;
    Ok((profile, scenario))
}

fn scenario(path: &Path) -> Result<Scenario, Box<dyn Error>> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(Scenario::parse(&text)?)
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
fn profile(name: &str) -> Result<Profile, Box<dyn Error>> {
    if !name.contains(['/', '.']) {
        return Ok(Profile::named(name)?);
    }
    let text = fs::read_to_string(name).map_err(|error| format!("cannot read {name}: {error}"))?;
    Ok(Profile::parse(name, &text)?)
}
