//! What the driver asks hubs and agents over their Unix sockets.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::QuickstartError;
use crate::client;

/// A node that does not answer within this time counts as not answering. Above the wait of a
/// long poll.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A hub's or an agent's API.
#[derive(Debug, Clone)]
pub(super) struct Api {
    node: String,
    socket: PathBuf,
}

/// A hub's `/v1/status`, as far as the driver needs it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct HubStatus {
    /// Whether it serves agents.
    pub(super) ready: bool,
    /// Digest of its reconciled state.
    pub(super) fingerprint: String,
    /// How far it has reconciled each actor.
    pub(super) applied: BTreeMap<String, u64>,
    /// Its links to other hubs.
    pub(super) links: Vec<LinkStatus>,
    /// Its agents.
    pub(super) agents: Vec<AgentLink>,
}

/// A hub's link to another hub.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct LinkStatus {
    /// The other region.
    pub(super) peer: String,
    /// `up` or `down`.
    pub(super) state: String,
}

/// A hub's view of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct AgentLink {
    /// The agent.
    pub(super) name: String,
    /// Whether its link is up.
    pub(super) connected: bool,
}

/// An agent's `/v1/status`, as far as the driver needs it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct AgentStatus {
    /// Whether its link is up.
    pub(super) connected: bool,
    /// Records in its outbox that no hub has acknowledged.
    pub(super) unacknowledged_records: u64,
    /// Records sent and not acknowledged.
    pub(super) in_flight_records: u64,
    /// Its inputs.
    pub(super) sources: Vec<SourceStatus>,
}

/// How far an agent has read an input.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct SourceStatus {
    /// The file.
    pub(super) path: PathBuf,
    /// Bytes read and committed.
    pub(super) position: u64,
}

/// One topic of `/v1/topics`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct TopicListing {
    /// Its name at this hub.
    pub(super) topic: String,
    /// Its partitions.
    pub(super) partitions: Vec<PartitionListing>,
}

/// One partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct PartitionListing {
    /// Its index.
    pub(super) partition: u32,
    /// The offset after its last record.
    pub(super) end: u64,
}

/// A page of records, kept as JSON: the dump writes them on as they are.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Page {
    /// The records.
    pub(super) records: Vec<serde_json::Map<String, Value>>,
    /// Where to read on.
    pub(super) next: u64,
}

/// `/v1/stock` of one product.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
pub(super) struct StockView {
    /// Units by location.
    #[serde(default)]
    pub(super) units: BTreeMap<String, i64>,
    /// Attributes by name.
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, String>,
}

impl Api {
    /// The API of `node`, named so in errors, at `socket`.
    pub(super) const fn new(node: String, socket: PathBuf) -> Self {
        Self { node, socket }
    }

    /// Asks for `path`.
    ///
    /// # Errors
    /// [`QuickstartError::Answer`] when nobody answers, or not with what the contract says.
    ///
    /// # Cancel safety
    /// Safe: only reads.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, QuickstartError> {
        let failed = |found: String| QuickstartError::Answer {
            node: self.node.clone(),
            path: path.to_owned(),
            found,
        };
        let answer = tokio::time::timeout(ANSWER_LIMIT, client::get(&self.socket, path));
        let answer = answer.await.map_err(|_| failed("nothing in time".to_owned()))?;
        let body = answer.map_err(|error| failed(error.to_string()))?;
        serde_json::from_slice(&body)
            .map_err(|error| failed(format!("{error}: {}", String::from_utf8_lossy(&body))))
    }
}
