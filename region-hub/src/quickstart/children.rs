//! The hubs and agents of a run, each a process of its own that never outlives it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use headland_event::{AgentName, RegionId};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::directory::RunDirectory;
use super::error::QuickstartError;
use super::fleet::Fleet;

/// How much of a log an error shows.
const LOG_LINES_SHOWN: usize = 12;

/// A hub or an agent; ordered so that hubs start first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NodeName {
    /// The hub of a region.
    Hub(RegionId),
    /// An agent.
    Agent(AgentName),
}

impl NodeName {
    /// The name of the node's configuration, certificate and log files.
    fn file(&self) -> String {
        match self {
            Self::Hub(region) => format!("hub-{region}"),
            Self::Agent(agent) => agent.to_string(),
        }
    }
}

impl std::fmt::Display for NodeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hub(region) => write!(f, "hub {region}"),
            Self::Agent(agent) => write!(f, "agent {agent}"),
        }
    }
}

/// The programs and the running processes. Dropped, it kills what still runs.
#[derive(Debug)]
pub(super) struct Children {
    hub_program: PathBuf,
    agent_program: PathBuf,
    running: BTreeMap<NodeName, Child>,
}

impl Children {
    /// Finds the programs: this one is the hub, the agent's lies beside it.
    ///
    /// # Errors
    /// [`QuickstartError::AgentMissing`] when it does not.
    pub(super) fn find() -> Result<Self, QuickstartError> {
        let hub_program = std::env::current_exe()
            .map_err(|source| QuickstartError::Machine { what: "this program's path", source })?;
        let agent_program = hub_program.with_file_name("headland-agent");
        if !agent_program.is_file() {
            return Err(QuickstartError::AgentMissing { expected: agent_program });
        }
        Ok(Self { hub_program, agent_program, running: BTreeMap::new() })
    }

    /// Starts all nodes of a fleet.
    ///
    /// # Errors
    /// [`QuickstartError::Start`] for the first that does not start.
    pub(super) fn start_all(
        &mut self,
        fleet: &Fleet,
        directory: &RunDirectory,
    ) -> Result<(), QuickstartError> {
        let hubs = fleet.regions().iter().cloned().map(NodeName::Hub);
        let agents = fleet.sites().iter().map(|site| NodeName::Agent(site.name.clone()));
        hubs.chain(agents).try_for_each(|node| self.start(node, directory))
    }

    /// Starts a node with the configuration that lies in the directory; its log is appended to.
    ///
    /// # Errors
    /// [`QuickstartError`] when its log cannot be opened or the program not be started.
    pub(super) fn start(
        &mut self,
        node: NodeName,
        directory: &RunDirectory,
    ) -> Result<(), QuickstartError> {
        let log_path = directory.log(&node.file());
        let log = File::options().create(true).append(true).open(&log_path);
        let log = log.and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = log.map_err(QuickstartError::file("write", log_path))?;
        let program = match &node {
            NodeName::Hub(_) => &self.hub_program,
            NodeName::Agent(_) => &self.agent_program,
        };
        let mut command = Command::new(program);
        if let NodeName::Hub(_) = node {
            command.arg("hub");
        }
        command.arg("--config").arg(directory.config(&node.file()));
        // Nothing of this process runs when it is killed itself.
        command.arg("--exit-with-parent");
        // Of its own group, so that Ctrl-C in a terminal reaches this process alone, which then
        // ends the others in order.
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).kill_on_drop(true);
        let child = command.spawn().map_err(|source| QuickstartError::Start {
            name: node.to_string(),
            program: program.clone(),
            source,
        })?;
        self.running.insert(node, child);
        Ok(())
    }

    /// Fails when a node has ended by itself.
    ///
    /// # Errors
    /// [`QuickstartError::Ended`] with the end of its log.
    pub(super) fn check(&mut self, directory: &RunDirectory) -> Result<(), QuickstartError> {
        for (node, child) in &mut self.running {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(QuickstartError::Ended {
                    name: node.to_string(),
                    status: status.to_string(),
                    log: log_end(&directory.log(&node.file())),
                });
            }
        }
        Ok(())
    }

    /// Freezes a node: it still holds its ports and its memory, and does nothing.
    ///
    /// # Errors
    /// [`QuickstartError::Machine`] when the signal cannot be sent.
    pub(super) fn freeze(&self, node: &NodeName) -> Result<(), QuickstartError> {
        let pid = self.running.get(node).and_then(Child::id);
        let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let sent =
            pid.ok_or(rustix::io::Errno::SRCH).and_then(|pid| kill_process(pid, Signal::STOP));
        let what = "a signal to a child process";
        sent.map_err(|errno| QuickstartError::Machine { what, source: errno.into() })
    }

    /// Takes a node out of the running ones, so that its end is no failure.
    pub(super) fn take(&mut self, node: &NodeName) -> Option<Child> {
        self.running.remove(node)
    }

    /// Takes all nodes, agents last.
    pub(super) fn take_all(&mut self) -> Vec<Child> {
        std::mem::take(&mut self.running).into_values().collect()
    }
}

/// The last lines of a log, indented.
fn log_end(path: &Path) -> String {
    let log = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let shown = lines.iter().skip(lines.len().saturating_sub(LOG_LINES_SHOWN));
    shown.map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_last_lines_of_a_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.log");
        let lines: Vec<String> = (0..20).map(|line| format!("line {line}")).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();

        let shown = log_end(&path);

        assert_eq!(shown.lines().count(), LOG_LINES_SHOWN);
        assert!(shown.starts_with("  line 8\n") && shown.ends_with("  line 19"), "{shown}");
        assert_eq!(log_end(&folder.path().join("none")), "");
    }

    #[test]
    fn hubs_start_before_agents_and_are_named_by_region() {
        let hub = NodeName::Hub(RegionId::new("us").unwrap());
        let agent = NodeName::Agent(AgentName::new("ap-1").unwrap());

        assert!(hub < agent);
        assert_eq!((hub.to_string(), hub.file()), ("hub us".to_owned(), "hub-us".to_owned()));
        assert_eq!((agent.to_string(), agent.file()), ("agent ap-1".to_owned(), "ap-1".to_owned()));
    }
}
