//! Leaving a region for another one, and returning to it: `headland failover`, `headland failback`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use headland_event::RegionId;
use serde::{Deserialize, Serialize};

use crate::client::{self, AskError};
use crate::groups::GroupView;
use crate::review::lines;

/// What becomes of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailoverAction {
    /// It takes nothing of agents and no commits; consumers go on in the region of the hub that is
    /// asked.
    Leave,
    /// It is in use again; asked of the hub where consumers went on.
    Return,
    /// It is in use again, whatever its consumers did where they went on, for that is lost; asked
    /// of any hub, its own too.
    ForceReturn,
}

/// What an operator asks for, at the hub of the region to go on in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailoverRequest {
    /// What becomes of the region.
    pub action: FailoverAction,
    /// The region.
    pub region: RegionId,
}

/// What a failover or failback came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailoverView {
    /// The region.
    pub region: RegionId,
    /// The region that it is left for; absent while it is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<RegionId>,
    /// Whether the region's hub has answered that it holds to it; until then it may go on as
    /// before. All that it took before the answer of what groups committed is here.
    pub heard_there: bool,
    /// Records the region was last known to have that are not here, the RPO; absent when its hub
    /// was not met in this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo_records: Option<u64>,
    /// From the request until consumers can go on, in milliseconds: the RTO. A region that is
    /// linked is waited for.
    pub rto_ms: u64,
    /// Every group: where it goes on here.
    pub groups: Vec<GroupView>,
}

/// What an operator who waits for a failover or failback is told now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailoverStep {
    /// Nothing yet: the region may answer still; to be asked again after so long.
    LookAgain(Duration),
    /// What it came to.
    Done(FailoverView),
}

/// Which region, and the hub of the one to go on in.
#[derive(Debug, Clone, Args)]
pub struct FailoverOptions {
    /// The socket of the hub to go on at, as `api.socket` in its configuration says.
    #[arg(long)]
    socket: PathBuf,
    /// The region that is left or returned to.
    region: RegionId,
}

/// Which region to return to, and how.
#[derive(Debug, Clone, Args)]
pub struct FailbackOptions {
    #[command(flatten)]
    of: FailoverOptions,
    /// The region it was left for is lost: what groups have read there and did not arrive is read
    /// again. Any hub can be asked, the region's own too.
    #[arg(long)]
    force: bool,
}

/// Returns to a region; what to print is one JSON object.
///
/// # Errors
/// As [`run`].
pub fn run_back(options: &FailbackOptions) -> Result<String, AskError> {
    let FailbackOptions { of, force } = options;
    run(of, if *force { FailoverAction::ForceReturn } else { FailoverAction::Return })
}

/// Asks the hub and returns what to print: one JSON object.
///
/// # Errors
/// [`AskError`] when the hub does not answer, or refuses.
pub fn run(options: &FailoverOptions, action: FailoverAction) -> Result<String, AskError> {
    let FailoverOptions { socket, region } = options;
    let request = FailoverRequest { action, region: region.clone() };
    let exchange =
        async { client::post(socket, "/v1/failover", serde_json::to_vec(&request)?).await };
    client::ask(socket, exchange, lines)
}
