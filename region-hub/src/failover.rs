//! Leaving a region for another one, and returning to it: `headland failover`, `headland failback`.

use std::path::PathBuf;

use clap::Args;
use headland_event::RegionId;
use serde::{Deserialize, Serialize};

use crate::client::{self, AskError};
use crate::groups::GroupView;
use crate::review::lines;

/// What becomes of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailoverAction {
    /// It acknowledges nothing any more; consumers go on in the region of the hub that is asked.
    Leave,
    /// It is in use again.
    Return,
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
    /// Whether the region's hub has it on disk by now; until then that hub goes on as before.
    pub heard_there: bool,
    /// Records the region was last known to have that are not here, the RPO; absent when its hub
    /// was not met in this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo_records: Option<u64>,
    /// From the request until consumers can go on, in milliseconds: the RTO.
    pub rto_ms: u64,
    /// Every group: where it goes on here.
    pub groups: Vec<GroupView>,
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
