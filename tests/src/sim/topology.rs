//! Regions, nodes, their configuration and rules.

use std::sync::LazyLock;

use edge_agent::config::AgentConfig;
use headland_detection::Program;
use headland_event::{AgentName, HubName, RegionId};
use headland_platform::tls::{Role, SpiffeId};
use headland_replication::Identity;
use region_hub::config::HubConfig;

use super::names::{self, Called, PEERS};

/// Regions; each has one hub.
pub(super) const REGIONS: [&str; 3] = ["eu", "us", "ap"];

/// Agents of all regions that stay at the hub of theirs.
const AGENTS: usize = 6;

/// Agents of all regions that go from hub to hub.
const ROAMING_AGENTS: usize = 10;

const RULES: &str = include_str!("../../../examples/quickstart/rules.sql");

/// Rules that every hub runs over the rows of all regions, in windows of every kind, of one topic
/// and of two: early and corrected, with means whose bytes depend on the order of their rows.
const HUB_RULES: &str = "
CREATE TABLE inventory_events (
  kind STRING, sku STRING, quantity BIGINT, `time` TIMESTAMP(3), WATERMARK FOR `time` AS `time`
) WITH ('topic' = 'inventory.events@*');
CREATE TABLE sales (sku STRING, window_end TIMESTAMP(3), units BIGINT, mean DOUBLE)
WITH ('topic' = 'sales', 'emit.early' = '10 min', 'allowed-lateness' = '1 h');
INSERT INTO sales SELECT sku, window_end, SUM(quantity), AVG(quantity / 7E0)
FROM TABLE(TUMBLE(TABLE inventory_events, DESCRIPTOR(`time`), INTERVAL '30' MINUTES))
WHERE kind = 'sale' GROUP BY sku, window_start, window_end;
CREATE TABLE hops (sku STRING, window_end TIMESTAMP(3), units BIGINT, mean DOUBLE)
WITH ('topic' = 'hops', 'emit.early' = '20 min', 'allowed-lateness' = '20 min');
INSERT INTO hops SELECT sku, window_end, SUM(quantity), AVG(quantity / 7E0)
FROM TABLE(HOP(TABLE inventory_events, DESCRIPTOR(`time`), INTERVAL '30' MINUTES,
  INTERVAL '2' HOURS))
WHERE kind = 'sale' GROUP BY sku, window_start, window_end;
CREATE TABLE growing (sku STRING, window_end TIMESTAMP(3), units BIGINT, mean DOUBLE)
WITH ('topic' = 'growing', 'allowed-lateness' = '30 min');
INSERT INTO growing SELECT sku, window_end, SUM(quantity), AVG(quantity / 7E0)
FROM TABLE(CUMULATE(TABLE inventory_events, DESCRIPTOR(`time`), INTERVAL '1' HOUR,
  INTERVAL '4' HOURS))
WHERE kind = 'sale' GROUP BY sku, window_start, window_end;
CREATE TABLE air_readings (
  station STRING, pm25 DOUBLE, `time` TIMESTAMP(3), WATERMARK FOR `time` AS `time`
) WITH ('topic' = 'air.readings@*');
CREATE VIEW both_topics AS
SELECT `time`, quantity / 7E0 AS amount FROM inventory_events WHERE kind = 'sale'
UNION ALL SELECT `time`, pm25 / 7E0 FROM air_readings;
CREATE TABLE united (window_end TIMESTAMP(3), n BIGINT, mean DOUBLE)
WITH ('topic' = 'united', 'emit.early' = '20 min', 'allowed-lateness' = '1 h');
INSERT INTO united SELECT window_end, COUNT(*), AVG(amount)
FROM TABLE(TUMBLE(TABLE both_topics, DESCRIPTOR(`time`), INTERVAL '1' HOUR))
GROUP BY window_start, window_end;";

/// The topics of the results of those rules.
pub(super) const RESULTS_TOPICS: [&str; 4] = ["sales", "hops", "growing", "united"];

/// A process of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum NodeId {
    /// The hub of a region, by the region's index.
    Hub(usize),
    /// An agent, by its index over all regions.
    Agent(usize),
}

/// Index of an agent's region.
pub(super) const fn region_of(agent: usize) -> usize {
    agent % REGIONS.len()
}

/// Every region.
pub(super) fn regions() -> [RegionId; 3] {
    REGIONS.map(|name| RegionId::new(name).unwrap())
}

/// Agents of a region.
pub(super) fn agents_of(region: usize, homes: Homes) -> impl Iterator<Item = usize> + Clone {
    (0..homes.agents()).filter(move |agent| region_of(*agent) == region)
}

/// Which hubs an agent goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Homes {
    /// That of its region.
    Own,
    /// That of its region, and while it is away those of the others.
    All,
}

impl Homes {
    /// How many agents there are.
    pub(super) const fn agents(self) -> usize {
        match self {
            Self::Own => AGENTS,
            Self::All => ROAMING_AGENTS,
        }
    }
}

/// How regions look after each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leases {
    /// They do not.
    Off,
    /// Each is in use by a lease of a majority, and is left and returned to without an operator.
    On,
}

/// What is the same for all nodes of a schedule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) homes: Homes,
    pub(super) disks: Disks,
    pub(super) leases: Leases,
    pub(super) clocks: Clocks,
    /// The agent whose data directory is copied, and how.
    pub(super) copied: Option<(usize, CopyOf)>,
    /// The hub whose data directory is copied, and how.
    pub(super) cloned: Option<(usize, CopyOf)>,
    pub(super) names: Names,
    /// How long hubs wait for silent agents.
    pub(super) agent_hold: &'static str,
}

/// What hubs call other regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// As they are named, for good.
    Stay,
    /// Now one thing, now another, and groups read meanwhile.
    Change,
}

/// How a data directory is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CopyOf {
    /// File by file: the copy can be told from the original.
    Files,
    /// With the file system that it lies in, as a snapshot of a machine is: it cannot.
    Image,
}

/// Whose wall clocks are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clocks {
    /// Those of hubs.
    OfHubs,
    /// Those of agents too.
    OfAll,
}

/// What disks of nodes do, and what hubs and agents keep for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disks {
    /// All of them stay.
    Stay,
    /// Some are lost or go back to a backup; agents keep all that they had acknowledged.
    Refilled,
    /// All of them stay, and a hub goes on with its own as another life; agents keep little.
    Renewed,
    /// Some are lost or go back; agents keep little, since two regions have what was acknowledged.
    Held,
}

/// The hubs of an agent, the preferred one first.
pub(super) fn hubs_of(agent: usize, homes: Homes) -> Vec<NodeId> {
    let count = match homes {
        Homes::Own => 1,
        Homes::All => REGIONS.len(),
    };
    (0..count).map(|at| NodeId::Hub((region_of(agent) + at) % REGIONS.len())).collect()
}

/// Agents that a hub takes records of.
fn agents_at(region: usize, homes: Homes) -> Vec<usize> {
    let is_one = |agent: &usize| hubs_of(*agent, homes).contains(&NodeId::Hub(region));
    (0..homes.agents()).filter(is_one).collect()
}

/// Name of an agent, `eu-1`.
pub(super) fn agent_name(agent: usize) -> String {
    let index = agent / REGIONS.len() + 1;
    format!("{}-{index}", REGIONS[region_of(agent)])
}

/// Who a node's certificate would name.
pub(super) fn spiffe_id(node: NodeId) -> SpiffeId {
    let (region, role) = match node {
        NodeId::Hub(region) => (region, Role::Hub("hub-1".to_owned())),
        NodeId::Agent(agent) => (region_of(agent), Role::Agent(agent_name(agent))),
    };
    let region = RegionId::new(REGIONS[region]).unwrap();
    SpiffeId { fleet: "headland".to_owned(), region, role }
}

/// How a node names itself on links.
pub(super) fn identity(node: NodeId) -> Identity {
    match node {
        NodeId::Hub(region) => Identity::Hub {
            region: RegionId::new(REGIONS[region]).unwrap(),
            name: HubName::new("hub-1").unwrap(),
        },
        NodeId::Agent(agent) => Identity::Agent {
            region: RegionId::new(REGIONS[region_of(agent)]).unwrap(),
            name: AgentName::new(&agent_name(agent)).unwrap(),
        },
    }
}

/// The region that a peer of a hub's configuration is.
pub(super) fn peer_of(region: usize, index: usize) -> usize {
    (0..REGIONS.len()).filter(|other| *other != region).nth(index).unwrap()
}

/// A hub of a full mesh: of two hubs the one of the earlier region dials.
pub(super) fn hub_config(region: usize, settings: Settings, called: [Called; PEERS]) -> HubConfig {
    let Settings { homes, disks, leases, names, agent_hold, .. } = settings;
    let name = REGIONS[region];
    let ack = if disks == Disks::Held { "regions(2)" } else { "local" };
    let membership = match disks {
        Disks::Stay => "",
        Disks::Refilled | Disks::Renewed | Disks::Held => {
            "membership = { report_every = \"300ms\" }"
        }
    };
    let failover = match leases {
        Leases::Off => String::new(),
        Leases::On => format!(
            "failover = {{ regions = {REGIONS:?}, automatic = true, after = \"4s\", \
             failback = \"automatic\", failback_after = \"1s\" }}"
        ),
    };
    let mut text = format!(
        r#"
region = "{name}"
name = "hub-1"
data_dir = "none"
listen = {{ address = "127.0.0.1:1" }}
tls = {{ ca_file = "none", certificate_file = "none", key_file = "none" }}
api = {{ socket = "none" }}
reconcile = {{ restock_below = 20 }}
progress = {{ agent_hold = "{agent_hold}", promise_interval = "400ms" }}
storage = {{ snapshot_after = "500ms" }}
{membership}
{failover}
[[topic]]
name = "inventory.events"
lane = "state"
partitions = 8
ack = "{ack}"
[[topic]]
name = "air.readings"
partitions = 8
ack = "{ack}"
"#
    );
    if names == Names::Change {
        text += &names::look_alike();
    }
    for (peer, called) in called.into_iter().enumerate() {
        let other = peer_of(region, peer);
        let address = if region < other { "address = \"none:1\"\n" } else { "" };
        text += &format!("[[peer]]\nregion = \"{}\"\nname = \"hub-1\"\n{address}", REGIONS[other]);
        text += &called.config();
    }
    for agent in agents_at(region, homes) {
        let (of, agent) = (REGIONS[region_of(agent)], agent_name(agent));
        text += &format!(
            "[[agent]]\nname = \"{agent}\"\nregion = \"{of}\"\ndevices = [\"{agent}-\"]\n\
             topics = [\"inventory.events\", \"air.readings\", \"alerts\"]\n"
        );
    }
    toml::from_str(&text).expect("a hub's configuration fits")
}

/// An agent that follows one stream of inventory and one of air.
pub(super) fn agent_config(agent: usize, settings: Settings) -> AgentConfig {
    let Settings { homes, disks, .. } = settings;
    let keep = match disks {
        Disks::Stay | Disks::Renewed | Disks::Held => "keep_bytes = \"4KiB\", keep = \"20s\"",
        Disks::Refilled => "keep_bytes = \"1MiB\", keep = \"1h\"",
    };
    let (region, name) = (REGIONS[region_of(agent)], agent_name(agent));
    let hubs = hubs_of(agent, homes).into_iter().map(|hub| {
        let of = identity(hub).region().clone();
        format!("{{ address = \"none:1\", name = \"hub-1\", region = \"{of}\" }}")
    });
    let hubs = hubs.collect::<Vec<_>>().join(", ");
    let text = format!(
        r#"
region = "{region}"
name = "{name}"
data_dir = "none"
hub = [{hubs}]
roaming = {{ move_after = "150ms", return_after = "1s" }}
tls = {{ ca_file = "none", certificate_file = "none", key_file = "none" }}
rules = {{ file = "none" }}
api = {{ socket = "none" }}
outbox = {{ promise_interval = "300ms", {keep} }}
storage = {{ snapshot_after = "500ms" }}
[[source]]
table = "inventory_events"
path = "inventory.jsonl"
lane = "state"
[[source]]
table = "air_readings"
path = "air.csv"
"#
    );
    toml::from_str(&text).expect("an agent's configuration fits")
}

/// The rules that hubs run; compiled once, as every start of a node asks for them.
pub(super) fn hub_program() -> Program {
    static COMPILED: LazyLock<Program> =
        LazyLock::new(|| Program::compile("hub.sql", HUB_RULES).expect("the hubs' rules compile"));
    COMPILED.clone()
}

/// The rules of the quickstart.
pub(super) fn program() -> Program {
    static COMPILED: LazyLock<Program> = LazyLock::new(|| {
        Program::compile("rules.sql", RULES).expect("the quickstart's rules compile")
    });
    COMPILED.clone()
}
