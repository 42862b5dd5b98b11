//! The hub's configuration: one TOML file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use headland_event::{AgentName, Alias, ByteCount, Codec, HubName, Lane, RegionId, TopicName};
use headland_platform::config::{
    self, ApiConfig, ConfigError, DurationText, Loaded, SizeText, Spanned, TlsConfig,
};
use headland_reconcile::{AttributeName, KnownSkus, Sku, Units};
use headland_replication::NamePattern;
use headland_replication::route::NamePolicy;
use headland_storage::{Compaction, Retention, Scrub, SnapshotPace};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::ingest::RegisteredSchemas;

/// When records are acknowledged to who sent them.
mod ack;
/// When a region is left without an operator.
mod failover;
/// What a configuration says twice or cannot mean.
mod places;
/// Files that a configuration names and a hub decides by.
mod lists;
/// What copies of other regions' topics take over.
mod sync;

pub use ack::{Ack, AckError};
pub use failover::{Failback, FailoverConfig};
pub use sync::{Copies, SyncConfig, SyncedSetting};

/// `hub.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubConfig {
    /// The hub's region; it must be the one in its certificate.
    pub region: RegionId,
    /// The hub's name; it must be the one in its certificate.
    pub name: HubName,
    /// Folder of the journal.
    #[serde(deserialize_with = "config::some_path")]
    pub data_dir: PathBuf,
    /// Where agents and other hubs reach this one.
    pub listen: ListenConfig,
    /// Who the hub is and whom it trusts.
    pub tls: TlsConfig,
    /// The hub's own HTTP interface.
    pub api: ApiConfig,
    /// How regions' inventory is brought together.
    #[serde(default)]
    pub reconcile: ReconcileConfig,
    /// Rights to sell: reservations without overselling (default none: this hub takes none).
    #[serde(default)]
    pub escrow: Option<RightsConfig>,
    /// Which regions take part, kept as records that all hubs share (default none: every region
    /// that is linked does, and none can be excluded).
    #[serde(default)]
    pub membership: Option<MembershipConfig>,
    /// Records that say that this hub is there, for monitoring that watches topics (default none;
    /// links say so themselves, see `headland link list`).
    #[serde(default)]
    pub heartbeats: Option<HeartbeatsConfig>,
    /// Regions that are left without an operator (default none: by `headland failover` alone).
    #[serde(default)]
    pub failover: Option<FailoverConfig>,
    /// What copies of other regions' topics take over of how those are kept where they were born.
    #[serde(default)]
    pub sync: SyncConfig,
    /// Schemas of topics (default none: records of every schema are taken in).
    #[serde(default)]
    pub schemas: Option<SchemasConfig>,
    /// What `schemas.directory` holds, by topic; filled in by [`load`].
    #[serde(skip)]
    pub registered: RegisteredSchemas,
    /// What `reconcile.skus_file` lists; filled in by [`load`].
    #[serde(skip)]
    pub known_skus: KnownSkus,
    /// Rules over the rows of several regions (default none).
    #[serde(default)]
    pub rules: Option<RulesConfig>,
    /// How event time is promised.
    #[serde(default)]
    pub progress: ProgressConfig,
    /// Sizes of the journal.
    #[serde(default)]
    pub storage: StorageConfig,
    /// Topics that agents may publish.
    #[serde(default, rename = "topic")]
    pub topics: Vec<TopicConfig>,
    /// Hubs of other regions.
    #[serde(default, rename = "peer")]
    pub peers: Vec<PeerConfig>,
    /// Agents that may send to this hub, and what each may publish.
    #[serde(default, rename = "agent")]
    pub agents: Vec<AgentConfig>,
    /// Traces; absent means none are exported.
    #[serde(default)]
    pub telemetry: Option<TelemetryConfig>,
}

/// `[listen]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// Address and UDP port for QUIC.
    #[serde(deserialize_with = "listen_address")]
    pub address: SocketAddr,
}

/// `[rules]`: SQL over the topics of several regions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesConfig {
    /// The file with tables, each `'topic' = '<topic>@*'`, and rules.
    pub file: Spanned<PathBuf>,
    /// The regions whose rows count, this hub's among them, the same list at each of their hubs. A
    /// window is final when all of them are past it: one that never has any holds it for ever.
    pub regions: Vec<RegionId>,
}

/// `[reconcile]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReconcileConfig {
    /// The topic whose events are inventory, in every region (default `inventory.events`).
    pub topic: TopicName,
    /// Units below which a restock alert is raised (default 20). Zero warns only of shelves that
    /// were oversold; a high value warns of nearly every sku.
    pub restock_below: i64,
    /// A TOML file of the skus there are, each with its unit: `"85123A" = "each"` (default none:
    /// any sku in any unit counts). An event from this region's agents about another sku, or in
    /// another unit, goes to `inventory.rejected` in every region. A list that lacks a sku refuses
    /// its sales, so extend it before the sku is sold; events that were refused stay so.
    pub skus_file: Option<PathBuf>,
    /// Attributes of which concurrent values are all kept until somebody who saw them writes again
    /// (default none: the last writer wins). It has to be alike in every region.
    pub multi_value: BTreeSet<AttributeName>,
    /// How the tables whose rows change, `inventory.{stock,oversold,late}`, are cleaned (default
    /// `"compact"`): `"delete"` keeps every level that a shelf ever had. The other tables keep
    /// every record: almost each has a key of its own.
    pub cleanup: Cleanup,
    /// How long a row that was taken away is kept as a record without value (default `"24h"`). A
    /// reader that takes longer from the beginning to the end keeps such rows.
    pub tombstones: DurationText,
    /// How the batches of derived tables are compressed: `"none"` (default), `"lz4"` or `"zstd"`.
    pub codec: Codec,
}

impl ReconcileConfig {
    /// How the tables whose rows change are compacted; `None` when they keep everything.
    #[must_use]
    pub const fn compaction(&self) -> Option<Compaction> {
        self.cleanup.compaction(self.tombstones)
    }
}

/// What goes of a topic besides what passes its retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cleanup {
    /// Nothing.
    #[default]
    Delete,
    /// Records whose key has a later record, once every linked hub has them.
    Compact,
}

impl Cleanup {
    const fn compaction(self, tombstones: DurationText) -> Option<Compaction> {
        match self {
            Self::Delete => None,
            Self::Compact => Some(Compaction { tombstones: tombstones.get() }),
        }
    }
}

impl Default for ReconcileConfig {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a literal that fits the rule for topics")]
        let topic = TopicName::new("inventory.events").expect("a literal topic name fits");
        Self {
            topic,
            restock_below: 20,
            skus_file: None,
            multi_value: BTreeSet::new(),
            cleanup: Cleanup::Compact,
            tombstones: a_day(),
            codec: Codec::None,
        }
    }
}

/// `[escrow]`: rights to sell, so that regions cut off from each other sell no unit twice.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RightsConfig {
    /// Units of a sku that this hub keeps when another one asks for rights, and below which it asks
    /// itself (default 5). Too small refuses customers after each refill, too large hoards.
    pub floor: Units,
    /// Floors of skus that have one of their own, `"85123A" = 20` (default none).
    pub floors: BTreeMap<Sku, Units>,
    /// How long an unanswered request for rights stands before the next one (default 5 s). Shorter
    /// asks again while an answer is on its way, longer leaves customers without after a cut.
    pub ask_again: DurationText,
}

impl Default for RightsConfig {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a literal within the limit of units")]
        let floor = Units::new(5).expect("five units are within the limit");
        let ask_again = DurationText::new(Duration::from_secs(5));
        Self { floor, floors: BTreeMap::new(), ask_again }
    }
}

/// `[membership]`: who takes part in reconciling. Have it in every region, or in none: a hub
/// without it refuses the links of those that have it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MembershipConfig {
    /// How often this hub says what it has applied, when that has changed (default `"30s"`).
    /// Shorter writes more records, longer makes `stable` of `headland region list` lag behind.
    pub report_every: DurationText,
}

impl Default for MembershipConfig {
    fn default() -> Self {
        Self { report_every: DurationText::new(Duration::from_secs(30)) }
    }
}

/// `[heartbeats]`: one small record at a time in the topic `heartbeats`, which goes to other
/// regions as any topic does, on the lane `telemetry`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeartbeatsConfig {
    /// How often one is written (default `"1s"`, at least `"100ms"`). Shorter costs a barrier each
    /// on a hub with nothing else to write, longer notices later.
    pub every: DurationText,
    /// How long they are kept here (default `"1h"`). Those of other regions are kept as all copies
    /// are: for as long as this says there with `[sync] retention = "origin"`, by default for good.
    /// A topic of that name that agents published before is kept as a whole.
    #[serde(deserialize_with = "config::some_time")]
    pub keep: DurationText,
}

impl Default for HeartbeatsConfig {
    fn default() -> Self {
        Self {
            every: DurationText::new(Duration::from_secs(1)),
            keep: DurationText::new(Duration::from_hours(1)),
        }
    }
}

/// `[schemas]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemasConfig {
    /// Folder with a folder for each topic, `<topic>/v1.avsc` and so on; check it with `headland
    /// schema check`. An agent's record that names another schema of such a topic, in its header
    /// `hl-schema`, is a dead letter; one that names none is taken in.
    pub directory: Spanned<PathBuf>,
}

/// `[progress]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProgressConfig {
    /// How long a silent agent holds the region's watermark (default `"60s"`). Too short makes the
    /// backlog of an agent that was only briefly away late; too long delays final results.
    pub agent_hold: DurationText,
    /// How often the region's promise is logged at most (default `"100ms"`).
    pub promise_interval: DurationText,
}

impl Default for ProgressConfig {
    fn default() -> Self {
        Self {
            agent_hold: DurationText::new(Duration::from_secs(60)),
            promise_interval: DurationText::new(Duration::from_millis(100)),
        }
    }
}

/// `[storage]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// Size of one journal file (default `"120MiB"`). Smaller files are freed sooner and cost more
    /// directory entries; the space of the open one is reserved at once. From 128 MiB on ext4 maps
    /// a file in more extents than an inode holds, which slows every barrier.
    pub file_bytes: SizeText,
    /// Least time between two snapshots of what is derived from the journal (default `"10s"`);
    /// their size adds to it, so that they are at most a quarter of what is written. A restart
    /// reads the journal again from the last one on, and nothing behind the last but one is
    /// cleaned: longer costs time at a start and room, shorter costs writing.
    pub snapshot_after: DurationText,
    /// Bytes of the journal that are read again a second at most, to find damage while others
    /// still have what it took (default `"1MiB"`, which is 600 GB in a week; `"0B"` reads nothing
    /// again). All of it is read once a week, on a thread of its own; a quarter as fast while links
    /// read. More finds damage in a larger journal within the week, and takes that much from the
    /// disk.
    pub scrub_bytes_per_second: SizeText,
}

impl Default for StorageConfig {
    fn default() -> Self {
        let file_bytes = SizeText::new(ByteCount::mebibytes(120));
        let snapshot_after = DurationText::new(SnapshotPace::AFTER);
        let scrub_bytes_per_second = SizeText::new(Scrub::BYTES_PER_SECOND);
        Self { file_bytes, snapshot_after, scrub_bytes_per_second }
    }
}

/// `[[topic]]`: a topic that agents may publish.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicConfig {
    /// The topic's name, without a region.
    pub name: TopicName,
    /// Its lane on links, for life (default `telemetry`).
    #[serde(default = "telemetry")]
    pub lane: Lane,
    /// How many partitions it has (default 8, at most 1,024); it can only grow. An agent that has
    /// written it goes on in the partition it was in, so that its records stay in order; agents
    /// that write it for the first time are spread over all.
    #[serde(default = "eight")]
    pub partitions: u32,
    /// How much of it is kept, here and of its copies from other regions, and of its dead and late
    /// topics (default all):
    /// `{ time = "168h", bytes = "10GiB" }`.
    #[serde(default)]
    pub retention: RetentionConfig,
    /// `"compact"` keeps only the newest record of each key, here and of its copies from other
    /// regions, besides what `retention` lets go; `"delete"` (default) every one. What is compacted
    /// leaves its offset. Records without a key stay. Not for the topic of `[reconcile]`, whose
    /// every event counts.
    #[serde(default)]
    pub cleanup: Cleanup,
    /// How long the last record of a key stays that has no value, by its event time, where
    /// `cleanup` is `"compact"` (default `"24h"`). A reader that takes longer from the beginning to
    /// the end keeps values that were deleted; a longer time costs room only.
    #[serde(default = "a_day")]
    pub tombstones: DurationText,
    /// How the batches that this hub builds of the topic are compressed: `"none"` (default),
    /// `"lz4"`, cheap, or `"zstd"`, smaller. They are its dead letters: agents choose for what they
    /// publish, and nothing on the way is compressed anew.
    #[serde(default)]
    pub codec: Codec,
    /// When an agent is told that a record of it is safe: `"local"` (default) once this hub has it
    /// on disk, `"regions(2)"` once two regions have, this one among them, so that a hub whose disk
    /// is lost takes nothing with it that was acknowledged. While too few regions are reached
    /// nothing of it is acknowledged, and agents keep what they have. Regions are those of
    /// `[[peer]]` that are offered the topic. It holds for its dead and late topics as well, in as
    /// many of those regions as are offered them.
    #[serde(default)]
    pub ack: Ack,
    /// How long records may wait for other regions until the topic is refused to the agent, where
    /// `ack` is `"regions(n)"` (default `"10s"`). What waits takes up the agent's window, which the
    /// agent's other topics share; once it is held where it has to be, the agent is asked to
    /// connect anew and goes on. Shorter interrupts agents for a short cut of a link, longer lets
    /// a cut hold up other topics.
    #[serde(default = "ten_seconds")]
    pub ack_wait: DurationText,
    /// Who says how copies of the topic from other regions are kept: `"here"` (default) this hub,
    /// as it keeps its own, or `"origin"` the hub of the region each was born in, as far as it
    /// says so and `[sync]` does not exclude it; what it has not said is kept for good.
    #[serde(default)]
    pub copies: Copies,
}

impl TopicConfig {
    /// How the topic is compacted; `None` when every key keeps all of its records.
    #[must_use]
    pub const fn compaction(&self) -> Option<Compaction> {
        self.cleanup.compaction(self.tombstones)
    }
}

/// `retention` of a topic: what passes either limit goes, oldest first, in whole blocks.
///
/// A hub that is linked and does not have it by then is told what is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    /// Age since its ingest hub took it in, whatever time the event says (default any). Shorter
    /// than an outage of a peer leaves holes there.
    #[serde(default)]
    pub time: Option<DurationText>,
    /// Bytes of each partition (default any); up to a journal file's share more are kept.
    #[serde(default)]
    pub bytes: Option<SizeText>,
}

impl From<RetentionConfig> for Retention {
    fn from(RetentionConfig { time, bytes }: RetentionConfig) -> Self {
        Self { time: time.map(DurationText::get), bytes: bytes.map(SizeText::get) }
    }
}

/// `[[peer]]`: a hub of another region.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// The peer's region.
    pub region: RegionId,
    /// The peer's name in its certificate.
    pub name: HubName,
    /// What the region is called here in names of its topics, with dots where wanted (default its
    /// id): with `"europe"`, `orders` of region `eu` is `europe.orders`. It can be changed at any
    /// restart: copies keep their records, offsets and groups, and are found by their names of
    /// before and by the new one. It may not be this hub's region, nor the region or alias of
    /// another peer.
    #[serde(default)]
    pub alias: Option<Spanned<Alias>>,
    /// How its topics are found here: `"prefix"` (default) by what the region is called alone, or
    /// `"identity"` by the names they have there as well, wherever no other topic has them: for a
    /// region that only takes over from another one. A topic that is declared here later takes such
    /// a name. What hubs write for each other, and the topic of `[reconcile]`, have the prefix
    /// alone.
    #[serde(default)]
    pub names: NamePolicy,
    /// Where to dial it, `host:port`; absent means this hub waits to be dialled.
    #[serde(default)]
    pub address: Option<Spanned<String>>,
    /// Whether topics that came from other regions are passed on to this peer (default no).
    /// Needed in chains and stars; in a full mesh it ships everything twice.
    #[serde(default)]
    pub forward: bool,
    /// Which topics it is offered, by their names here, `*` for any characters (default all):
    /// `["orders", "eu.*"]`; of several names of a copy one is enough. What hubs tell
    /// each other, in topics that begin with `_`, goes always.
    #[serde(default)]
    pub topics: Option<Vec<NamePattern>>,
    /// Which of those it is not offered (default none): `["*.dead"]`.
    #[serde(default)]
    pub exclude: Vec<NamePattern>,
    /// Consumer groups whose committed offsets are taken over from it, by the same patterns
    /// (default all). One that is left out begins here where it has committed here.
    #[serde(default)]
    pub groups: Option<Vec<NamePattern>>,
    /// Which of those are not taken over (default none): `["console-*"]`.
    #[serde(default)]
    pub exclude_groups: Vec<NamePattern>,
    /// Most bytes a second that it is sent, on average (default as much as the path takes):
    /// `"2MiB"`. Alerts never wait for it. Too little and the peer falls behind for good;
    /// `headland link limit` sets another one while the hub runs, which holds from then on.
    #[serde(default)]
    pub rate: Option<SizeText>,
}

/// `[[agent]]`: an agent of this region.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// The agent's name in its certificate.
    pub name: AgentName,
    /// The region in its certificate (default this hub's). One of another region comes here while
    /// its own hub is away, and what it then sends is of this region's topics: name it here, with
    /// what it may publish, at each hub that its own configuration lists.
    #[serde(default)]
    pub region: Option<RegionId>,
    /// Topics it may publish, each with its `.dead` one: names, or patterns with `*` for any
    /// characters, which stand for the `[[topic]]`s that fit.
    pub topics: Vec<NamePattern>,
    /// Topics that it may not, although `topics` has them; patterns as there (default none).
    #[serde(default)]
    pub exclude: Vec<NamePattern>,
    /// Device ids (record keys) it may publish for: `till-1` is that device alone; one that ends in
    /// `-`, `_`, `.`, `:` or `/`, such as `till-1-`, is all that begin so, one that ends in `*` all
    /// that begin with what stands before it, and `*` alone all there are.
    pub devices: Vec<DevicePattern>,
}

/// Devices an agent may publish for: one by its exact id, or all whose ids begin alike.
///
/// A text that ends in a separator (`-`, `_`, `.`, `:` or `/`) stands for every id that begins with
/// it, one that ends in `*` for every id that begins with what stands before it, `*` alone for
/// all; any other text for that id only. So `till-1` does not admit `till-10`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum DevicePattern {
    /// One device.
    Exact(String),
    /// Every device whose id begins with this.
    Prefix(String),
}

/// Characters that end a prefix by themselves.
const SEPARATORS: [char; 5] = ['-', '_', '.', ':', '/'];

/// A text that names no devices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a device id, nor a prefix that ends in one of - _ . : / or in *")]
pub struct DevicePatternError {
    /// The text as found.
    pub found: String,
}

impl DevicePattern {
    /// Reads a pattern as the configuration has it.
    ///
    /// # Errors
    /// [`DevicePatternError`] when it is empty or has a `*` before its end.
    pub fn new(text: &str) -> Result<Self, DevicePatternError> {
        let prefix = text.strip_suffix('*');
        if text.is_empty() || prefix.unwrap_or(text).contains('*') {
            return Err(DevicePatternError { found: text.to_owned() });
        }
        Ok(match prefix {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None if text.ends_with(SEPARATORS) => Self::Prefix(text.to_owned()),
            None => Self::Exact(text.to_owned()),
        })
    }

    /// Whether a device is among them.
    #[must_use]
    pub fn covers(&self, device: &str) -> bool {
        match self {
            Self::Exact(id) => device == id,
            Self::Prefix(prefix) => device.starts_with(prefix),
        }
    }
}

impl std::fmt::Display for DevicePattern {
    /// The id, or what ids begin with and a `*`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(id) => f.write_str(id),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl TryFrom<String> for DevicePattern {
    type Error = DevicePatternError;

    fn try_from(text: String) -> Result<Self, DevicePatternError> {
        Self::new(&text)
    }
}

/// `[telemetry]`: where traces go.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// OTLP over HTTP, for example `http://127.0.0.1:4318/v1/traces`.
    #[serde(deserialize_with = "config::some_endpoint")]
    pub otlp_endpoint: String,
    /// Share of the traces chosen by agents that this hub exports its spans of, 0 to 1 (default
    /// 1). Chosen by the trace's id, so hubs of one ratio keep the same traces whole; the choice of
    /// the agent stays in the record's `traceparent`. A low one spares the collector of a hub with
    /// many agents, at the cost of traces that end at the agent.
    #[serde(default = "one")]
    pub trace_ratio: f64,
}

/// An address to listen at; names are for those who dial.
fn listen_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        D::Error::custom(format!(
            "{text:?} is not an IP address with a port; expected such as \"0.0.0.0:4433\" for all \
             addresses of this machine"
        ))
    })
}

const fn one() -> f64 {
    1.0
}

const fn a_day() -> DurationText {
    DurationText::new(Duration::from_hours(24))
}

const fn ten_seconds() -> DurationText {
    DurationText::new(Duration::from_secs(10))
}

const fn telemetry() -> Lane {
    Lane::Telemetry
}

const fn eight() -> u32 {
    8
}

/// Reads the hub's configuration and resolves its paths.
///
/// # Errors
/// [`ConfigError`] with file, line and column: what does not fit by itself, what is declared
/// twice, is this hub's own peer, or has no port, and what is wrong with the list of known skus or
/// the schemas that it names.
pub fn load(path: &Path) -> Result<Loaded<HubConfig>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let mut loaded = parse(path, text)?;
    lists::read(&mut loaded)?;
    Ok(loaded)
}

/// As [`load`], from text; `path` is what errors name and where relative paths start.
fn parse(path: &Path, text: String) -> Result<Loaded<HubConfig>, ConfigError> {
    let mut loaded: Loaded<HubConfig> = config::parse(path, text.clone())?;
    places::check(&config::parse(path, text)?)?;
    let folder = loaded.clone();
    let value = &mut loaded.value;
    for path in
        [&mut value.data_dir, &mut value.api.socket].into_iter().chain(value.tls.paths_mut())
    {
        *path = folder.resolve(path);
    }
    if let Some(rules) = &mut value.rules {
        let file = rules.file.get_mut();
        *file = folder.resolve(file);
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_id_admits_itself_alone_and_a_prefix_says_that_it_is_one() {
        let covered = |pattern: &str| {
            let pattern = DevicePattern::new(pattern).unwrap();
            ["till-1", "till-10", "till-1-a", "till-2"].map(|device| pattern.covers(device))
        };

        assert_eq!(covered("till-1"), [true, false, false, false]);
        assert_eq!(covered("till-1-"), [false, false, true, false]);
        assert_eq!(covered("till-1*"), [true, true, true, false]);
        assert_eq!(covered("till-"), [true, true, true, true]);
        assert_eq!(covered("*"), [true, true, true, true]);
    }

    #[test]
    fn no_device_and_a_star_before_the_end_are_refused() {
        for found in ["", "till-*-a", "**"] {
            let error = DevicePattern::new(found).unwrap_err();
            assert_eq!(error, DevicePatternError { found: found.to_owned() });
        }
    }
}
