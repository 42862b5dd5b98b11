//! Why a quickstart could not run to its end.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use headland_event::{AgentName, NameError, RegionId};
use headland_platform::clock::EntropyError;
use headland_platform::tls::AuthorityError;
use headland_wan::BindError;

use super::excerpt::ExcerptError;

/// A quickstart that could not run to its end; all its processes are gone when this is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuickstartError {
    /// What is embedded in the binary does not parse: the build is broken.
    #[error("the embedded data is broken")]
    Excerpt(#[from] ExcerptError),
    /// A built-in name does not fit: the build is broken.
    #[error("a built-in name does not fit")]
    Name(#[from] NameError),
    /// There is no region to kill a hub in.
    #[error("the plan has no region")]
    NoRegion,
    /// A line was planned for an agent that the fleet does not have.
    #[error("the plan names agent {agent}, which the fleet does not have")]
    UnknownAgent {
        /// The agent.
        agent: AgentName,
    },
    /// The agent's program is not beside this one.
    #[error(
        "there is no headland-agent beside this program ({}): build both with `cargo build \
         --release --bin headland --bin headland-agent`", .expected.display()
    )]
    AgentMissing {
        /// Where it should be.
        expected: PathBuf,
    },
    /// A file or directory could not be used.
    #[error("could not {action} {}", .path.display())]
    File {
        /// What was tried, for example `write`.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// The runtime, the signal handlers or a free port could not be had.
    #[error("the machine refused {what}")]
    Machine {
        /// What was asked for.
        what: &'static str,
        /// How it failed.
        source: io::Error,
    },
    /// The machine gives no random numbers for keys.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The private authority could not sign.
    #[error("could not make the run's certificates")]
    Authority(#[from] AuthorityError),
    /// A relay between two hubs could not listen.
    #[error("could not set up the relay between two hubs")]
    Relay(#[from] BindError),
    /// A program could not be started.
    #[error("could not start {name} ({})", .program.display())]
    Start {
        /// Which child, for example `hub eu`.
        name: String,
        /// Its program.
        program: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// A program ended by itself.
    #[error("{name} ended by itself ({status}); the last lines of its log:\n{log}")]
    Ended {
        /// Which child.
        name: String,
        /// How it ended.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// Something did not happen in time.
    #[error("after {} s {what}; {}", .waited.as_secs(), first_of(.found))]
    Overdue {
        /// What did not happen.
        what: &'static str,
        /// How long it was waited for.
        waited: Duration,
        /// What was found instead, one line per difference.
        found: Vec<String>,
    },
    /// A hub's agents had nothing unacknowledged, so killing it would have shown nothing.
    #[error("no agent of hub {region} had a batch in flight while the hub was stopped")]
    NothingInFlight {
        /// The hub's region.
        region: RegionId,
    },
    /// A hub's API answered something else than its contract says.
    #[error("{path} of {node} answered {found}")]
    Answer {
        /// The hub or agent.
        node: String,
        /// What was asked.
        path: String,
        /// What came back.
        found: String,
    },
}

impl QuickstartError {
    /// Names the file that an operation failed on.
    pub(super) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}

/// The first few of what was found: enough to see what is wrong.
fn first_of(found: &[String]) -> String {
    let shown: Vec<&str> = found.iter().take(8).map(String::as_str).collect();
    shown.join("; ")
}
