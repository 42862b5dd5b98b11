//! The agent's configuration: one TOML file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use headland_event::{AgentName, ByteCount, Codec, Lane, RegionId, SchemaId};
use headland_platform::config::{
    self, ApiConfig, ConfigError, DurationText, Loaded, SizeText, Spanned, TlsConfig,
    has_host_and_port, without_port,
};
use headland_storage::{CodecNotBuilt, OpenOptions, Scrub, SnapshotPace};
use serde::Deserialize;

/// One hub, or a list of them.
mod hubs;

use crate::outbox::Limits;

/// `agent.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// The region the agent belongs to; it must be the one in its certificate.
    pub region: RegionId,
    /// The agent's name; it must be the one in its certificate.
    pub name: AgentName,
    /// Folder of the journal. On flash choose a partition that survives updates.
    #[serde(deserialize_with = "config::some_path")]
    pub data_dir: PathBuf,
    /// The hub to send to, or several in the order in which they are preferred, each as a table
    /// `[[hub]]`: what one does not take goes to the next.
    #[serde(rename = "hub", deserialize_with = "hubs::one_or_more")]
    pub hubs: Vec<HubConfig>,
    /// When to go to another hub, where there are several.
    #[serde(default)]
    pub roaming: RoamingConfig,
    /// Who the agent is and whom it trusts.
    pub tls: TlsConfig,
    /// The rules the agent runs.
    pub rules: RulesConfig,
    /// The streams the agent reads; at least one.
    #[serde(rename = "source")]
    pub sources: Vec<SourceConfig>,
    /// The agent's own HTTP interface.
    pub api: ApiConfig,
    /// How much the agent keeps while its hub is away.
    #[serde(default)]
    pub outbox: OutboxConfig,
    /// Sizes of the journal.
    #[serde(default)]
    pub storage: StorageConfig,
    /// Traces; absent means none are exported.
    #[serde(default)]
    pub telemetry: Option<TelemetryConfig>,
}

/// `[[hub]]`: a hub to send to; `[hub]` when it is the only one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubConfig {
    /// `host:port`, UDP. A name is resolved at every attempt to connect.
    pub address: Spanned<String>,
    /// The hub's name in its certificate; a hub of another name is refused.
    pub name: String,
    /// The hub's region (default the agent's). A hub of another one has to name the agent, with its
    /// region, in an `[[agent]]` of its own.
    #[serde(default)]
    pub region: Option<RegionId>,
}

impl HubConfig {
    /// The hub's region, for an agent of region `own`.
    #[must_use]
    pub fn region<'a>(&'a self, own: &'a RegionId) -> &'a RegionId {
        self.region.as_ref().unwrap_or(own)
    }
}

/// `[roaming]`: when to go to another of several hubs.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoamingConfig {
    /// How long a hub may be away until the next one is dialled (default `"3s"`, at least
    /// `"100ms"`); one that takes none of the agent's topics is left at once. Shorter leaves hubs
    /// that only restart, longer lets alerts wait. A hub that is silent was noticed after 5 s.
    pub move_after: DurationText,
    /// How long an agent stays at a hub until it tries those before it in the list (default
    /// `"10m"`, at least `"1s"`). Half of it is drawn at random. A try that fails, and a stay that
    /// was shorter, doubles it, up to 16 times. Shorter comes back sooner, longer bears more with
    /// a hub that comes and goes.
    pub return_after: DurationText,
}

impl Default for RoamingConfig {
    fn default() -> Self {
        Self {
            move_after: DurationText::new(Duration::from_secs(3)),
            return_after: DurationText::new(Duration::from_mins(10)),
        }
    }
}

/// `[rules]`: SQL.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesConfig {
    /// The file with tables and rules.
    pub file: Spanned<PathBuf>,
}

/// `[[source]]`: a file that is followed as it grows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// The table of the rules file that says what a line means.
    pub table: Spanned<String>,
    /// The file; it may appear later. As it is written here it names the source in the journal:
    /// another spelling is another source, read from its start. Two sources cannot read one file.
    pub path: Spanned<SourcePath>,
    /// The lane of the stream on the link: `state` or `telemetry` (default).
    #[serde(default = "telemetry")]
    pub lane: Lane,
    /// How the stream's batches are compressed, in the journal, on the link and in every region,
    /// because nothing on the way does it anew: `"none"` (default), `"lz4"`, cheap, or `"zstd"`,
    /// smaller. Of sources of one topic the first counts. Small batches, as of few lines at a
    /// time, gain little.
    #[serde(default)]
    pub codec: Codec,
    /// Id of the schema that the source writes, as `headland schema check` prints it (default none:
    /// its records do not say). A hub that knows schemas of the topic and not this one does not
    /// count the records.
    #[serde(default)]
    pub schema: Option<SchemaId>,
}

/// A source's file, as written and as found.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "PathBuf")]
pub struct SourcePath {
    /// As the configuration says it, whatever folder the agent was started in.
    pub written: PathBuf,
    /// Where it is.
    pub resolved: PathBuf,
}

impl From<PathBuf> for SourcePath {
    fn from(written: PathBuf) -> Self {
        Self { resolved: written.clone(), written }
    }
}

impl SourceConfig {
    /// What names the source in the journal.
    #[must_use]
    pub fn id(&self) -> String {
        self.path.get_ref().written.display().to_string()
    }
}

/// `[outbox]`: how much is kept while the hub is away.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboxConfig {
    /// Most unacknowledged bytes (default `"256MiB"`). When they are reached, the oldest telemetry
    /// is shed, then the oldest state, and the hub is told what is missing; alerts stay, and when
    /// nothing else is left, sources are not read further. Too small sheds in short outages, too
    /// large fills the device.
    #[serde(deserialize_with = "config::some_size")]
    pub bytes_limit: SizeText,
    /// Age beyond which unacknowledged records are shed, alerts excepted (default `"72h"`). It is
    /// counted while the agent runs, whatever the device's clock says. Too short sheds what a
    /// longer outage would have left room for, too long sends what nobody asks for any more.
    #[serde(deserialize_with = "config::some_time")]
    pub age_limit: DurationText,
    /// Bytes of acknowledged records that are kept to refill a hub that lost its disk (default
    /// `"64MiB"`), as far as unacknowledged ones leave them room; at most `bytes_limit`. Too few
    /// leave holes at such a hub, too many wear the device's flash for nothing.
    pub keep_bytes: SizeText,
    /// For how long they are kept (default `"1h"`), counted as `age_limit` is.
    pub keep: DurationText,
    /// How often event-time promises are sent at most (default `"100ms"`). Shorter makes results
    /// final sooner and costs a small frame each time.
    pub promise_interval: DurationText,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            bytes_limit: SizeText::new(ByteCount::mebibytes(256)),
            age_limit: DurationText::new(Duration::from_hours(72)),
            keep_bytes: SizeText::new(ByteCount::mebibytes(64)),
            keep: DurationText::new(Duration::from_hours(1)),
            promise_interval: DurationText::new(Duration::from_millis(100)),
        }
    }
}

impl OutboxConfig {
    /// What the outbox keeps.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        Limits {
            bytes: self.bytes_limit.get(),
            age: self.age_limit.get(),
            kept_bytes: self.keep_bytes.get(),
            kept_age: self.keep.get(),
        }
    }
}

/// `[storage]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// Size of one journal file (default `"64MiB"`; on small flash `"4MiB"`). Files are freed as a
    /// whole or copied, so the journal takes up to a few files more than the outbox keeps; smaller
    /// ones cost a directory entry more often.
    pub file_bytes: Spanned<SizeText>,
    /// Least time between two snapshots of what is derived from the journal (default `"10s"`);
    /// their size adds to it, so that they are at most a quarter of what is written. A restart
    /// reads the journal again from the last one on, and nothing behind the last but one is
    /// cleaned: longer costs time at a start and room, shorter costs writing.
    pub snapshot_after: DurationText,
    /// Bytes of the journal that are read again a second at most, to find damage before the hub
    /// asks for what it took (default `"1MiB"`; `"0B"` reads nothing again). All of it is read
    /// once a week, on a thread of its own; a quarter as fast while the link reads.
    pub scrub_bytes_per_second: SizeText,
}

impl Default for StorageConfig {
    fn default() -> Self {
        let file_bytes = Spanned::new(0..0, SizeText::new(ByteCount::mebibytes(64)));
        let snapshot_after = DurationText::new(SnapshotPace::AFTER);
        let scrub_bytes_per_second = SizeText::new(Scrub::BYTES_PER_SECOND);
        Self { file_bytes, snapshot_after, scrub_bytes_per_second }
    }
}

/// `[telemetry]`: where traces go.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// OTLP over HTTP, for example `http://127.0.0.1:4318/v1/traces`.
    #[serde(deserialize_with = "config::some_endpoint")]
    pub otlp_endpoint: String,
    /// Share of records whose way is traced, 0 to 1 (default 0.001). Alerts' records are chosen
    /// like any other, so 1 traces everything and costs a span per record and hop.
    #[serde(default = "one_in_a_thousand")]
    pub trace_ratio: f64,
}

const fn telemetry() -> Lane {
    Lane::Telemetry
}

const fn one_in_a_thousand() -> f64 {
    0.001
}

/// Reads the agent's configuration and resolves its paths.
///
/// # Errors
/// [`ConfigError`] with file, line and column.
pub fn load(path: &Path) -> Result<Loaded<AgentConfig>, ConfigError> {
    let mut loaded: Loaded<AgentConfig> = config::load(path)?;
    let folder = loaded.clone();
    let value = &mut loaded.value;
    for path in [&mut value.data_dir, &mut value.api.socket, value.rules.file.get_mut()]
        .into_iter()
        .chain(value.tls.paths_mut())
    {
        *path = folder.resolve(path);
    }
    for source in &mut value.sources {
        let path = source.path.get_mut();
        path.resolved = folder.resolve(&path.written);
    }
    check_address(&loaded)?;
    check_hubs(&loaded)?;
    check_sources(&loaded)?;
    check_storage(&loaded)?;
    Ok(loaded)
}

/// Refuses files of the journal into which next to nothing fits.
fn check_storage(loaded: &Loaded<AgentConfig>) -> Result<(), ConfigError> {
    let (size, least) = (&loaded.value.storage.file_bytes, OpenOptions::FILE_BYTES_LEAST);
    let found = size.get_ref().get();
    if found >= least {
        return Ok(());
    }
    let text = format!(
        "file_bytes is {found}, and a file of the journal has at least {least}: each commit would \
         be in one of its own"
    );
    Err(loaded.error_at(size, text))
}

/// Refuses an address that cannot be dialled.
fn check_address(loaded: &Loaded<AgentConfig>) -> Result<(), ConfigError> {
    for address in loaded.value.hubs.iter().map(|hub| &hub.address) {
        if !has_host_and_port(address.get_ref()) {
            return Err(loaded.error_at(address, without_port(address.get_ref())));
        }
    }
    Ok(())
}

/// Refuses a hub that is named twice: what it has acknowledged is told by its name.
fn check_hubs(loaded: &Loaded<AgentConfig>) -> Result<(), ConfigError> {
    let AgentConfig { region, hubs, .. } = &loaded.value;
    for (index, hub) in hubs.iter().enumerate() {
        let is_same =
            |it: &&HubConfig| it.name == hub.name && it.region(region) == hub.region(region);
        if hubs.iter().take(index).any(|it| is_same(&it)) {
            let text = format!("hub {} of region {} is named twice", hub.name, hub.region(region));
            return Err(loaded.error_at(&hub.address, text));
        }
    }
    Ok(())
}

/// Refuses lanes that are not for sources, a file without a name, and two sources of one file:
/// their places in it would be one in the journal.
fn check_sources(loaded: &Loaded<AgentConfig>) -> Result<(), ConfigError> {
    let sources = &loaded.value.sources;
    for (index, source) in sources.iter().enumerate() {
        if !matches!(source.lane, Lane::State | Lane::Telemetry) {
            let message =
                format!("lane {} is not for sources; use state or telemetry", source.lane);
            return Err(loaded.error_at(&source.table, message));
        }
        if !source.codec.is_built() {
            let message = CodecNotBuilt { codec: source.codec }.to_string();
            return Err(loaded.error_at(&source.table, message));
        }
        if source.path.get_ref().written.as_os_str().is_empty() {
            let message = "the path is empty; expected such as \"events.jsonl\"";
            return Err(loaded.error_at(&source.path, message));
        }
        let path = &source.path.get_ref().resolved;
        let earlier = sources.iter().take(index);
        if let Some(first) = earlier.into_iter().find(|it| it.path.get_ref().resolved == *path) {
            let table = first.table.get_ref();
            let message = format!("{} is read for table {table} already", path.display());
            return Err(loaded.error_at(&source.path, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"
region = "eu"
name = "eu-1"
data_dir = "data"
[hub]
address = "127.0.0.1:4433"
name = "hub-1"
[tls]
ca_file = "ca.pem"
certificate_file = "eu-1.pem"
key_file = "eu-1.key"
[rules]
file = "rules.sql"
[[source]]
table = "air"
path = "air.csv"
[api]
socket = "eu-1.sock"
"#;

    fn read(text: &str) -> Result<Loaded<AgentConfig>, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, text).unwrap();
        load(&path)
    }

    #[test]
    fn defaults_are_the_documented_ones_and_paths_start_at_the_files_folder() {
        let config = read(EXAMPLE).unwrap().value;

        let hours = Duration::from_hours;
        let (bytes, kept_bytes) = (ByteCount::mebibytes(256), ByteCount::mebibytes(64));
        let limits = Limits { bytes, age: hours(72), kept_bytes, kept_age: hours(1) };
        assert_eq!(config.outbox.limits(), limits);
        assert_eq!(config.storage.file_bytes.get_ref().get(), kept_bytes);
        assert_eq!(config.sources[0].lane, Lane::Telemetry);
        assert!(config.rules.file.get_ref().is_absolute());
    }

    #[test]
    fn files_of_the_journal_have_room_for_more_than_a_commit() {
        let of = |size: &str| read(&format!("{EXAMPLE}[storage]\nfile_bytes = \"{size}\"\n"));

        let told = of("1KiB").unwrap_err().to_string();

        assert!(of("64KiB").is_ok());
        assert!(
            told.contains("file_bytes is 1KiB, and a file of the journal has at least 64KiB"),
            "{told}"
        );
    }

    #[test]
    fn what_would_be_nothing_is_refused_where_it_stands() {
        let told = |text: &str| read(text).unwrap_err().to_string();
        let more = |table: &str| told(&format!("{EXAMPLE}{table}\n"));

        let source = told(&EXAMPLE.replace("air.csv", ""));
        assert!(
            source
                .ends_with("agent.toml:16:8: the path is empty; expected such as \"events.jsonl\""),
            "{source}"
        );
        let data = told(&EXAMPLE.replace("\"data\"", "\"\""));
        assert!(data.contains("agent.toml:4:12: the path is empty"), "{data}");
        let socket = told(&EXAMPLE.replace("eu-1.sock", ""));
        assert!(socket.contains("agent.toml:18:10: the path is empty"), "{socket}");
        assert!(more("[outbox]\nbytes_limit = \"0B\"").contains("agent.toml:20:15: "));
        assert!(more("[outbox]\nage_limit = \"0s\"").contains("agent.toml:20:13: "));
        assert!(more("[telemetry]\notlp_endpoint = \"nope\"").contains("agent.toml:20:17: "));
    }

    #[test]
    fn a_source_on_the_alerts_lane_is_refused_with_its_place() {
        let text = EXAMPLE.replace("path = \"air.csv\"", "path = \"air.csv\"\nlane = \"alerts\"");

        let error = read(&text).unwrap_err().to_string();

        assert!(
            error.ends_with(
                "agent.toml:15:9: lane alerts is not for sources; use state or telemetry"
            ),
            "{error}"
        );
    }

    #[test]
    fn a_codec_that_does_not_exist_is_refused_with_those_that_do() {
        let of = |codec: &str| {
            let path = format!("path = \"air.csv\"\ncodec = \"{codec}\"");
            read(&EXAMPLE.replace("path = \"air.csv\"", &path))
        };

        let error = of("gzip").unwrap_err().to_string();

        assert!(error.contains("agent.toml:17:9: "), "{error}");
        assert!(error.contains("none") && error.contains("lz4"), "{error}");
        assert_eq!(of("lz4").unwrap().value.sources[0].codec, Codec::Lz4);
        assert_eq!(read(EXAMPLE).unwrap().value.sources[0].codec, Codec::None);
    }

    #[test]
    fn a_bad_region_name_says_what_fits() {
        let error = read(&EXAMPLE.replace("\"eu\"", "\"e u\"")).unwrap_err().to_string();

        assert!(
            error.ends_with(
                "agent.toml:2:10: region \"e u\" does not fit: \
                 1 to 64 characters of A-Z a-z 0-9 . _ -"
            ),
            "{error}"
        );
    }

    #[test]
    fn two_sources_of_one_file_are_refused_at_the_second() {
        let text =
            EXAMPLE.replace("[api]", "[[source]]\ntable = \"other\"\npath = \"./air.csv\"\n[api]");

        let error = read(&text).unwrap_err().to_string();

        let (place, message) = error.split_once("agent.toml:").unwrap();
        assert!(!place.is_empty());
        let (place, message) = message.split_once(": ").unwrap();
        assert_eq!(place, "19:8");
        assert!(message.ends_with("air.csv is read for table air already"), "{message}");
    }

    #[test]
    fn one_hub_or_several_in_order_each_of_its_own_region_or_the_agents() {
        let several = r#"[[hub]]
address = "127.0.0.1:4433"
name = "hub-1"
[[hub]]
address = "us.example:4433"
name = "hub-1"
region = "us"
"#;
        let one = "[hub]\naddress = \"127.0.0.1:4433\"\nname = \"hub-1\"\n";
        let hubs = |text: &str| -> Vec<(String, String)> {
            let config = read(text).unwrap().value;
            let of = |hub: &HubConfig| {
                (hub.region(&config.region).to_string(), hub.address.get_ref().clone())
            };
            config.hubs.iter().map(of).collect()
        };
        let pair = |region: &str, address: &str| (region.to_owned(), address.to_owned());

        assert_eq!(hubs(EXAMPLE), [pair("eu", "127.0.0.1:4433")]);
        let both = [pair("eu", "127.0.0.1:4433"), pair("us", "us.example:4433")];
        assert_eq!(hubs(&EXAMPLE.replace(one, several)), both);
    }

    #[test]
    fn a_hub_named_twice_or_none_is_refused() {
        let one = "[hub]\naddress = \"127.0.0.1:4433\"\nname = \"hub-1\"\n";
        let error = |text: &str| read(&EXAMPLE.replace(one, text)).unwrap_err().to_string();
        let entry = one.replace("[hub]", "[[hub]]");

        let twice = error(&format!("{entry}{entry}region = \"eu\"\n"));
        assert!(
            twice.ends_with("agent.toml:9:11: hub hub-1 of region eu is named twice"),
            "{twice}"
        );
        let none = error("hub = []\n");
        assert!(none.contains("at least one hub"), "{none}");
    }

    #[test]
    fn an_address_needs_a_host_and_a_port() {
        for (address, fits) in [
            ("hub.eu.example:4433", true),
            ("[::1]:4433", true),
            ("hub.eu.example", false),
            ("hub.eu.example:", false),
            ("hub.eu.example:0", false),
            ("::1:4433", false),
            (":4433", false),
        ] {
            let error = read(&EXAMPLE.replace("127.0.0.1:4433", address)).err();

            let found = error.map(|error| error.to_string()).unwrap_or_default();
            let refusal = format!("agent.toml:6:11: address \"{address}\" is not host:port");
            assert_eq!(found.contains(&refusal), !fits, "{found}");
        }
    }
}
