//! The network between the ends: `headland-wan`, with a namespace for each side.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Those that a namespace may choose from.
const ALLOWED_CONGESTION_CONTROLS: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

/// Where a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Side a, where links and flows come from.
    A,
    /// Side b, where they go.
    B,
}

/// An emulated network, or none.
pub(crate) struct Network {
    wan: Option<Wan>,
}

struct Wan {
    binary: PathBuf,
    control: PathBuf,
    report: PathBuf,
    child: Child,
}

impl Network {
    /// Starts a network by a profile, with its socket and report below `directory`.
    pub(crate) fn start(
        profile: Option<&toml::Table>,
        seed: u64,
        directory: &Path,
    ) -> Result<Self> {
        let Some(profile) = profile else { return Ok(Self { wan: None }) };
        let file = directory.join("profile.toml");
        std::fs::write(&file, profile.to_string()).context("cannot write the profile")?;
        let (control, report) = (directory.join("wan.sock"), directory.join("wan.json"));
        let binary = std::env::current_exe()?.with_file_name("headland-wan");
        let mut child = Command::new(&binary)
            .args(["net", "up", "--seed", &seed.to_string(), "--profile"])
            .arg(&file)
            .arg("--control")
            .arg(&control)
            .arg("--report")
            .arg(&report)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let mut ready = String::new();
        let said = child.stdout.take().context("its output is a pipe")?;
        BufReader::new(said).read_line(&mut ready).context("cannot hear the network")?;
        ensure!(!ready.is_empty(), "the network did not start; it needs root");
        Ok(Self { wan: Some(Wan { binary, control, report, child }) })
    }

    /// A command that runs `program` at a place.
    pub(crate) fn command(&self, place: Place, program: &Path) -> Command {
        let Some(wan) = &self.wan else { return Command::new(program) };
        let mut command = Command::new(&wan.binary);
        command.args(["net", "exec", "--control"]).arg(&wan.control);
        command.arg(match place {
            Place::A => "a",
            Place::B => "b",
        });
        command.arg("--").arg(program);
        command
    }

    /// The address under which side a reaches side b.
    pub(crate) const fn target(&self) -> &'static str {
        match self.wan {
            None => "127.0.0.1",
            Some(_) => "10.77.2.1",
        }
    }

    /// The address of a place, for both.
    pub(crate) const fn address(&self, place: Place) -> &'static str {
        match (&self.wan, place) {
            (Some(_), Place::A) => "10.77.1.1",
            (None | Some(_), Place::A | Place::B) => self.target(),
        }
    }

    /// Gives every TCP connection that begins from now on this congestion control; needs root.
    pub(crate) fn set_congestion(&self, name: &str) -> Result<()> {
        // A namespace may choose only among those that the machine allows to everybody.
        let allowed = std::fs::read_to_string(ALLOWED_CONGESTION_CONTROLS)
            .context("cannot read which congestion controls are allowed")?;
        if !allowed.split_whitespace().any(|allowed| allowed == name) {
            std::fs::write(ALLOWED_CONGESTION_CONTROLS, format!("{} {name}", allowed.trim()))
                .with_context(|| format!("cannot allow {name}"))?;
        }
        for place in [Place::A, Place::B] {
            let mut set = self.command(place, Path::new("sysctl"));
            set.args(["-qw", &format!("net.ipv4.tcp_congestion_control={name}")]);
            let status = set.status().context("cannot run sysctl")?;
            ensure!(status.success(), "{name} cannot be set");
        }
        Ok(())
    }

    /// Somebody who can change the network while it runs; `None` when there is none.
    pub(crate) fn teller(&self) -> Option<Teller> {
        let wan = self.wan.as_ref()?;
        Some(Teller { binary: wan.binary.clone(), control: wan.control.clone() })
    }

    /// Stops the network; what it reports, and whether it kept up with what it had to carry.
    pub(crate) fn stop(mut self) -> Result<Option<Value>> {
        let Some(wan) = &mut self.wan else { return Ok(None) };
        let teller = Teller { binary: wan.binary.clone(), control: wan.control.clone() };
        teller.tell("\"stop\"").context("cannot stop the network")?;
        wan.child.wait().context("cannot wait for the network")?;
        let report = std::fs::read_to_string(&wan.report).context("the network has no report")?;
        Ok(Some(serde_json::from_str(&report).context("cannot understand its report")?))
    }
}

/// Talks to a running network.
pub(crate) struct Teller {
    binary: PathBuf,
    control: PathBuf,
}

impl Teller {
    /// Tells it one line of JSON.
    pub(crate) fn tell(&self, line: &str) -> Result<()> {
        let mut tell = Command::new(&self.binary);
        tell.args(["tell", "--control"]).arg(&self.control).arg(line).stdout(Stdio::null());
        let status = tell.status().context("cannot speak to the network")?;
        ensure!(status.success(), "the network did not take {line}");
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(wan) = &mut self.wan {
            // It has ended already unless the measurement failed.
            wan.child.kill().ok();
            wan.child.wait().ok();
        }
    }
}
