//! Links to other regions: what operators ask for, and `headland link`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use headland_event::{ByteCount, Lane, RegionId, TopicName};
use headland_platform::config::SizeText;
use headland_replication::Condition;
use headland_replication::latency::Recent;
use headland_replication::marks::Outstanding;
use serde::{Deserialize, Serialize};

use crate::client::{self, AskError};
use crate::node::LinkState;
use crate::review::lines;

/// What becomes of a link; it holds over restarts until it is changed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum LinkChange {
    /// No data of these lanes is sent to the region from now on; of all of them when none is named.
    Pause(BTreeSet<Lane>),
    /// Data of these lanes is sent again; of all of them when none is named.
    Resume(BTreeSet<Lane>),
    /// At most so many bytes a second are sent on average; without a number as many as the path
    /// takes.
    Limit(Option<ByteCount>),
}

/// What a region lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OutstandingView {
    /// Records.
    pub records: u64,
    /// Bytes of their batches.
    pub bytes: u64,
    /// From the event time the region has seen to that of the newest record, in milliseconds.
    pub event_time_ms: u64,
    /// For how long the oldest of them has waited, in milliseconds.
    pub age_ms: u64,
}

impl From<Outstanding> for OutstandingView {
    fn from(Outstanding { records, bytes, event_time, age }: Outstanding) -> Self {
        let millis =
            |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (event_time_ms, age_ms) = (millis(event_time), millis(age));
        Self { records, bytes: bytes.get(), event_time_ms, age_ms }
    }
}

/// How long records of the last one to two minutes took, from being durable here until the region
/// acknowledged that they are durable there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LatencyView {
    /// How many there were.
    pub records: u64,
    /// Half of them took no longer, in milliseconds, rounded up.
    pub p50_ms: u64,
    /// Nine of ten took no longer.
    pub p90_ms: u64,
    /// 99 of 100 took no longer.
    pub p99_ms: u64,
    /// None took longer.
    pub max_ms: u64,
}

impl From<Recent> for LatencyView {
    fn from(Recent { records, p50, p90, p99, max }: Recent) -> Self {
        let millis = |time: std::time::Duration| {
            u64::try_from(time.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
        };
        let [p50_ms, p90_ms, p99_ms, max_ms] = [p50, p90, p99, max].map(millis);
        Self { records, p50_ms, p90_ms, p99_ms, max_ms }
    }
}

/// What a region lacks of a topic.
#[derive(Debug, Clone, Serialize)]
pub struct LinkTopicView {
    /// The topic's name here.
    pub topic: TopicName,
    /// Its lane.
    pub lane: Lane,
    /// What the region lacks of it, without what comes to it over another way.
    #[serde(flatten)]
    pub outstanding: OutstandingView,
    /// Why the region does not take it, or a partition of it; absent while it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A link to another region, seen from this hub: what is sent, and how that does.
#[derive(Debug, Clone, Serialize)]
pub struct LinkView {
    /// The region.
    pub region: RegionId,
    /// The region that it was left for; absent while it is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_for: Option<RegionId>,
    /// How long ago this hub granted the region a lease, in milliseconds; absent where it never
    /// did in this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_granted_ms: Option<u64>,
    /// Its hub.
    pub peer: String,
    /// Whether there is a connection.
    pub state: LinkState,
    /// How the link does.
    pub condition: Condition,
    /// The round trip in milliseconds, when it was measured.
    pub rtt_ms: Option<u64>,
    /// Lanes of which nothing is sent, on purpose.
    pub paused: BTreeSet<Lane>,
    /// Most bytes a second that are sent; absent for as many as the path takes.
    pub bytes_per_second: Option<ByteCount>,
    /// What the region lacks; link or no link. Before it was met in this run, all that it would be
    /// offered.
    #[serde(flatten)]
    pub outstanding: OutstandingView,
    /// The same by lane.
    pub lanes: BTreeMap<String, OutstandingView>,
    /// How long records took to the region lately, by lane; of lanes on which some arrived.
    pub latency: BTreeMap<String, LatencyView>,
    /// Records at the region that are not here; while the link is down, as last heard.
    pub behind_records: u64,
    /// Topics of which the region lacks something that it does not take, for another reason than
    /// that it comes over another way: `headland link show` says why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused_topics: Vec<TopicName>,
    /// What the region lacks of each topic; only when one link is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<Vec<LinkTopicView>>,
}

/// What to do about links.
#[derive(Debug, Clone, Subcommand)]
pub enum LinkCommand {
    /// List every link: how it does, and what the other region lacks.
    List {
        /// The hub's socket, as `api.socket` in its configuration says.
        #[arg(long)]
        socket: PathBuf,
    },
    /// Show one link, topic by topic.
    Show(LinkOptions),
    /// Send a region no data until it is resumed; what it sends goes on being taken.
    Pause {
        /// Which link.
        #[command(flatten)]
        link: LinkOptions,
        /// Only of this lane; may be repeated.
        #[arg(long = "lane")]
        lanes: Vec<LaneOption>,
    },
    /// Send a region data again.
    Resume {
        /// Which link.
        #[command(flatten)]
        link: LinkOptions,
        /// Only of this lane; may be repeated.
        #[arg(long = "lane")]
        lanes: Vec<LaneOption>,
    },
    /// Send a region at most so much a second; alerts never wait for it.
    Limit {
        /// Which link.
        #[command(flatten)]
        link: LinkOptions,
        /// Bytes a second, as `2MiB`; absent for as many as the path takes.
        #[arg(long, value_parser = size)]
        rate: Option<ByteCount>,
    },
}

/// Which link of which hub.
#[derive(Debug, Clone, Args)]
pub struct LinkOptions {
    /// The hub's socket, as `api.socket` in its configuration says.
    #[arg(long)]
    socket: PathBuf,
    /// The region at the other end.
    region: RegionId,
}

/// A lane that carries data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LaneOption {
    /// Alerts.
    Alerts,
    /// State: inventory, promises, committed offsets.
    State,
    /// Everything else.
    Telemetry,
}

impl From<LaneOption> for Lane {
    fn from(option: LaneOption) -> Self {
        match option {
            LaneOption::Alerts => Self::Alerts,
            LaneOption::State => Self::State,
            LaneOption::Telemetry => Self::Telemetry,
        }
    }
}

fn size(text: &str) -> Result<ByteCount, String> {
    let size: Result<SizeText, _> = serde_json::from_value(serde_json::Value::from(text));
    size.map(SizeText::get).map_err(|error| error.to_string())
}

/// Asks the hub and returns what to print: JSON, one object a line.
///
/// # Errors
/// [`AskError`] when the hub does not answer, or refuses.
pub fn run(command: &LinkCommand) -> Result<String, AskError> {
    let lanes = |options: &[LaneOption]| options.iter().map(|lane| (*lane).into()).collect();
    match command {
        LinkCommand::List { socket } => {
            client::ask(socket, client::get(socket, "/v1/links"), lines)
        }
        LinkCommand::Show(LinkOptions { socket, region }) => {
            client::ask(socket, client::get(socket, &format!("/v1/links/{region}")), lines)
        }
        LinkCommand::Pause { link, lanes: of } => change(link, &LinkChange::Pause(lanes(of))),
        LinkCommand::Resume { link, lanes: of } => change(link, &LinkChange::Resume(lanes(of))),
        LinkCommand::Limit { link, rate } => change(link, &LinkChange::Limit(*rate)),
    }
}

fn change(link: &LinkOptions, change: &LinkChange) -> Result<String, AskError> {
    let LinkOptions { socket, region } = link;
    let path = format!("/v1/links/{region}");
    let exchange = async { client::post(socket, &path, serde_json::to_vec(change)?).await };
    client::ask(socket, exchange, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_size_with_a_unit() {
        assert_eq!(size("2MiB"), Ok(ByteCount::mebibytes(2)));
        assert!(size("much").is_err());
    }
}
