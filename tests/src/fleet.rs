//! A fleet of real processes in a folder of its own: one authority, hubs, agents, their files.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use headland_platform::clock::Clock;
use headland_platform::tls::Authority;
use serde_json::Value;
use tempfile::TempDir;

use crate::binaries;
use crate::http::Api;
use crate::process::{Process, WAIT_LIMIT};

/// Copies of nodes.
mod copies;

/// Topics an agent may publish unless a test says otherwise.
pub const TOPICS: [&str; 3] = ["inventory.events", "air.readings", "alerts"];

/// The rules every agent runs unless a test says otherwise: a window and a filter.
pub const RULES: &str = include_str!("rules.sql");

/// How often a question is asked again whose answer nothing announces.
pub(crate) const ASK_INTERVAL: Duration = Duration::from_millis(20);

/// A folder with the fleet's authority and the files of its nodes; removed when this is dropped.
#[derive(Debug)]
pub struct Fleet {
    folder: TempDir,
    authority: Authority,
}

/// A hub or an agent: its files and, while it runs, its process.
#[derive(Debug)]
pub struct Node {
    /// The configuration's file.
    pub config: PathBuf,
    /// The HTTP interface.
    pub api: Api,
    /// Where a hub listens; where an agent dials.
    pub address: SocketAddr,
    kind: Kind,
    name: String,
    process: Option<Process>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hub,
    Agent,
}

impl Fleet {
    /// An empty fleet with an authority of its own.
    ///
    /// # Errors
    /// When the machine gives no folder.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let fleet = Self { folder, authority: Authority::new("shop")? };
        fleet.write("ca.pem", fleet.authority.certificate_pem())?;
        Ok(fleet)
    }

    /// A file of the fleet.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When the machine refuses.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.path(name), text).with_context(|| format!("cannot write {name}"))
    }

    /// Appends lines to a file, as a device does; creates it when it is not there.
    ///
    /// # Errors
    /// When the machine refuses.
    pub fn append(&self, name: &str, lines: &[impl AsRef<str>]) -> Result<()> {
        let text: String = lines.iter().map(|line| format!("{}\n", line.as_ref())).collect();
        let file = fs::OpenOptions::new().create(true).append(true).open(self.path(name));
        let mut file = file.with_context(|| format!("cannot open {name}"))?;
        file.write_all(text.as_bytes()).with_context(|| format!("cannot append to {name}"))
    }

    /// Writes `<name>.pem` and `<name>.key` for `spiffe://shop/region/<id>`.
    ///
    /// # Errors
    /// When the id does not fit or the machine refuses.
    pub fn issue(&self, name: &str, id: &str) -> Result<()> {
        self.issue_by(&self.authority, name, id)
    }

    /// The same, signed by another authority.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn issue_by(&self, authority: &Authority, name: &str, id: &str) -> Result<()> {
        let issued = authority.issue(&format!("spiffe://shop/region/{id}").parse()?)?;
        self.write(&format!("{name}.pem"), &issued.certificate_pem)?;
        self.write(&format!("{name}.key"), &issued.key_pem)
    }

    /// Writes `ca.crl`, which nodes read again when they are configured to: it revokes nothing, or
    /// also the certificate in `<name>.pem`.
    ///
    /// # Errors
    /// When the machine refuses.
    pub fn revoke(&self, name: Option<&str>) -> Result<()> {
        let known = fs::read_to_string(self.path("ca.crl")).ok();
        let now = Clock::start().wall();
        let list = match name {
            Some(name) => {
                let certificate = fs::read_to_string(self.path(&format!("{name}.pem")))?;
                self.authority.revoke(known.as_deref(), &certificate, now)?
            }
            None => self.authority.revocations(known.as_deref(), now)?,
        };
        // As `headland pki` does: whole or not at all.
        self.write("ca.crl.draft", &list)?;
        fs::rename(self.path("ca.crl.draft"), self.path("ca.crl")).context("no ca.crl")
    }

    /// A hub of a region with its certificate and configuration: one partition a topic, and no
    /// restock alerts.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn hub(&self, region: &str) -> Result<Node> {
        let address = free_address()?;
        self.issue(region, &format!("{region}/hub/hub-1"))?;
        let text = format!(
            r#"region = "{region}"
name = "hub-1"
data_dir = "{region}.data"
[listen]
address = "{address}"
[tls]
ca_file = "ca.pem"
certificate_file = "{region}.pem"
key_file = "{region}.key"
[api]
socket = "{region}.sock"
[storage]
file_bytes = "4MiB"
[reconcile]
restock_below = 0
[[topic]]
name = "inventory.events"
lane = "state"
partitions = 1
[[topic]]
name = "air.readings"
partitions = 1
"#
        );
        self.node(Kind::Hub, region, address, &text)
    }

    /// An agent of a hub's region with its certificate, rules, and two sources:
    /// `<name>.jsonl` with inventory events and `<name>.csv` with air readings.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn agent(&self, name: &str, hub: &Node) -> Result<Node> {
        let (region, address) = (&hub.name, hub.address);
        self.issue(name, &format!("{region}/agent/{name}"))?;
        self.write("rules.sql", RULES)?;
        let text = format!(
            r#"region = "{region}"
name = "{name}"
data_dir = "{name}.data"
[hub]
address = "{address}"
name = "hub-1"
[tls]
ca_file = "ca.pem"
certificate_file = "{name}.pem"
key_file = "{name}.key"
[rules]
file = "rules.sql"
[[source]]
table = "inventory_events"
path = "{name}.jsonl"
lane = "state"
[[source]]
table = "air_readings"
path = "{name}.csv"
[api]
socket = "{name}.sock"
"#
        );
        self.node(Kind::Agent, name, address, &text)
    }

    fn node(&self, kind: Kind, name: &str, address: SocketAddr, text: &str) -> Result<Node> {
        let file = format!("{name}.toml");
        self.write(&file, text)?;
        let api = Api::new(&self.path(&format!("{name}.sock")));
        let (config, name) = (self.path(&file), name.to_owned());
        Ok(Node { config, api, address, kind, name, process: None })
    }
}

impl Node {
    /// Its name; a hub has that of its region.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Appends to the configuration; takes effect at the next start.
    ///
    /// # Errors
    /// When the machine refuses.
    pub fn configure(&self, text: &str) -> Result<()> {
        let known = fs::read_to_string(&self.config).context("no configuration")?;
        fs::write(&self.config, format!("{known}{text}\n")).context("cannot configure")
    }

    /// Replaces the one place of the configuration that says `old`.
    ///
    /// # Errors
    /// When there is not exactly one, or the machine refuses.
    pub fn reconfigure(&self, old: &str, new: &str) -> Result<()> {
        let known = fs::read_to_string(&self.config).context("no configuration")?;
        if known.matches(old).count() != 1 {
            bail!("{old:?} does not stand exactly once in:\n{known}");
        }
        fs::write(&self.config, known.replace(old, new)).context("cannot configure")
    }

    /// Lets an agent publish topics for devices of some prefixes.
    ///
    /// # Errors
    /// When the machine refuses.
    pub fn grant(&self, agent: &str, topics: &[&str], devices: &[&str]) -> Result<()> {
        let line = format!("name = {agent:?}\ntopics = {topics:?}\ndevices = {devices:?}");
        self.configure(&format!("[[agent]]\n{line}"))
    }

    /// Makes a hub dial another.
    ///
    /// # Errors
    /// When the machine refuses.
    pub fn dial(&self, hub: &Self) -> Result<()> {
        self.dial_through(hub, hub.address)
    }

    /// Makes a hub dial another at an address that leads to it.
    ///
    /// # Errors
    /// When the machine refuses.
    pub fn dial_through(&self, hub: &Self, address: SocketAddr) -> Result<()> {
        self.configure(&format!(
            "[[peer]]\nregion = \"{}\"\nname = \"hub-1\"\naddress = \"{address}\"",
            hub.name
        ))
    }

    /// Lets another hub dial this one.
    ///
    /// # Errors
    /// When the machine refuses.
    pub fn expect(&self, hub: &Self) -> Result<()> {
        self.configure(&format!("[[peer]]\nregion = \"{}\"\nname = \"hub-1\"", hub.name))
    }

    /// Starts the process and does not wait for it to be ready.
    ///
    /// # Errors
    /// When the binaries cannot be built or started.
    pub fn launch(&self) -> Result<Process> {
        let binaries = binaries::built()?;
        let config = self.config.to_str().context("a path that is not UTF-8")?;
        match self.kind {
            Kind::Hub => Process::start(&binaries.hub, &["hub", "--config", config]),
            Kind::Agent => Process::start(&binaries.agent, &["--config", config]),
        }
    }

    /// Starts the process and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it does not become ready in time, with what it said.
    pub async fn start(&mut self) -> Result<()> {
        let mut process = self.launch()?;
        let ready = match self.kind {
            Kind::Hub => "ready hub=",
            Kind::Agent => "ready agent=",
        };
        process.says(ready).await.with_context(|| format!("{} is not ready", self.name))?;
        self.process = Some(process);
        Ok(())
    }

    /// The running process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().with_context(|| format!("{} does not run", self.name))
    }

    /// Waits for a line of the log; see [`Process::says`].
    ///
    /// # Errors
    /// As [`Process::says`].
    pub async fn says(&mut self, text: &str) -> Result<String> {
        let name = self.name.clone();
        self.process()?.says(text).await.with_context(|| name)
    }

    /// What the process has said; nothing when it does not run.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.process.as_ref().map(Process::lines).unwrap_or_default()
    }

    /// Ends the process as a power cut would.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.take().with_context(|| format!("{} does not run", self.name))?.kill().await
    }

    /// Ends the process as an operator does, and fails when it does not end well.
    ///
    /// # Errors
    /// When it does not run, or ends with a failure.
    pub async fn stop(&mut self) -> Result<()> {
        let process = self.process.take();
        let ended = process.with_context(|| format!("{} does not run", self.name))?.stop().await?;
        if ended.status.success() {
            return Ok(());
        }
        bail!("{} ended badly, {}:\n{}", self.name, ended.status, ended.lines.join("\n"))
    }

    /// What the node says of itself.
    ///
    /// # Errors
    /// As [`Api::json`].
    pub async fn status(&self) -> Result<Value> {
        self.api.json("/v1/status").await
    }

    /// Asks for the status until `check` holds.
    ///
    /// # Errors
    /// When it does not in time, with the last status.
    pub async fn status_when(&self, check: impl Fn(&Value) -> bool) -> Result<Value> {
        self.json_when("/v1/status", check).await
    }

    /// Asks for JSON until `check` holds.
    ///
    /// # Errors
    /// When it does not in time, with the last answer.
    pub async fn json_when(&self, path: &str, check: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let asking = async {
            let mut interval = tokio::time::interval(ASK_INTERVAL);
            loop {
                interval.tick().await;
                last = self.api.json(path).await?;
                if check(&last) {
                    return Ok(last.clone());
                }
            }
        };
        let asked = tokio::time::timeout(WAIT_LIMIT, asking).await;
        asked.unwrap_or_else(|_| bail!("{} stays at {last}", self.name))
    }

    /// Every record of a hub's topic, by any of its names, by partition and offset; none when it is
    /// not known.
    ///
    /// # Errors
    /// As [`Api::json`].
    pub async fn records(&self, topic: &str) -> Result<Vec<Value>> {
        let topics = self.api.json("/v1/topics").await?;
        let is_it = |found: &&Value| {
            let also = found.get("also").and_then(Value::as_array);
            let names = found.get("topic").into_iter().chain(also.into_iter().flatten());
            names.into_iter().any(|name| name == topic)
        };
        let known = topics.as_array().and_then(|all| all.iter().find(is_it));
        let partitions = known.and_then(|topic| topic.get("partitions")?.as_array());
        let mut records = Vec::new();
        for partition in partitions.into_iter().flatten() {
            let number = |field| partition.get(field).and_then(Value::as_u64).unwrap_or_default();
            let (partition, mut next, end) = (number("partition"), number("start"), number("end"));
            while next < end {
                let path = format!("/v1/topics/{topic}/{partition}/records?from={next}");
                let answer = self.api.json(&path).await?;
                let page = answer.get("records").and_then(Value::as_array);
                let page = page.filter(|page| !page.is_empty());
                records.extend_from_slice(page.with_context(|| format!("{path} is empty"))?);
                let after = answer.get("next").and_then(Value::as_u64);
                next = after.with_context(|| format!("{path} does not say what is next"))?;
            }
        }
        Ok(records)
    }

    /// Waits until a hub's topic has at least `count` records, and returns all it has.
    ///
    /// # Errors
    /// When it has fewer for too long, with those.
    pub async fn records_when(&self, topic: &str, count: usize) -> Result<Vec<Value>> {
        let mut last = Vec::new();
        let asking = async {
            loop {
                last = self.records(topic).await?;
                if last.len() >= count {
                    return Ok(last.clone());
                }
                // The first partition's growth wakes the question; another one's is seen after
                // the wait.
                let wait = ASK_INTERVAL.as_millis();
                let path = format!("/v1/topics/{topic}/0/records?max=1&wait_ms={wait}&from=");
                self.api.json(&format!("{path}{}", last.len())).await?;
            }
        };
        let asked = tokio::time::timeout(WAIT_LIMIT, asking).await;
        asked.unwrap_or_else(|_| {
            bail!("{} has {} records of {topic}, not {count}: {last:?}", self.name, last.len())
        })
    }

    /// The units of a sku at a location, as a hub sees them; `None` while it knows nothing.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn units(&self, sku: &str, location: &str) -> Result<Option<i64>> {
        let path = format!("/v1/stock?sku={sku}&location={location}");
        let answer = self.api.get(&path).await?;
        if answer.code == 404 {
            return Ok(None);
        }
        let stock: Value = serde_json::from_str(&answer.body).context("stock is not JSON")?;
        Ok(stock.get("units").and_then(|units| units.get(location)?.as_i64()))
    }

    /// Waits until a hub sees so many units of a sku at a location.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn units_when(&self, sku: &str, location: &str, units: i64) -> Result<()> {
        let mut last = None;
        let asking = async {
            let mut interval = tokio::time::interval(ASK_INTERVAL);
            loop {
                interval.tick().await;
                last = self.units(sku, location).await?;
                if last == Some(units) {
                    return Ok(());
                }
            }
        };
        let asked = tokio::time::timeout(WAIT_LIMIT, asking).await;
        let (name, at) = (&self.name, format!("{sku} at {location}"));
        asked.unwrap_or_else(|_| bail!("{name} has {last:?} of {at}, not {units}"))
    }
}

/// Waits until hubs have the same state of inventory, byte for byte.
///
/// # Errors
/// When they do not in time, with what each has.
pub async fn equal_when(hubs: &[&Node]) -> Result<()> {
    let mut last = Vec::new();
    let asking = async {
        let mut interval = tokio::time::interval(ASK_INTERVAL);
        loop {
            interval.tick().await;
            last.clear();
            for hub in hubs {
                last.push(hub.status().await?.get("fingerprint").map(Value::to_string));
            }
            if last.iter().all(|of| Some(of) == last.first()) {
                return Ok(());
            }
        }
    };
    let asked = tokio::time::timeout(WAIT_LIMIT, asking).await;
    asked.unwrap_or_else(|_| bail!("hubs do not end alike: {last:?}"))
}

/// The values of records, parsed as JSON.
///
/// # Errors
/// When one is not JSON.
pub fn values(records: &[Value]) -> Result<Vec<Value>> {
    let parse = |record: &Value| {
        let text = record["value"].as_str().with_context(|| format!("no text in {record}"))?;
        serde_json::from_str(text).with_context(|| format!("{text} is not JSON"))
    };
    records.iter().map(parse).collect()
}

/// A free UDP port on loopback, outside the range from which the machine gives ports to sockets
/// that ask for none: nobody takes it while a hub is being restarted.
///
/// # Errors
/// When no port of the range is free.
pub fn free_address() -> Result<SocketAddr> {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        // Processes that run side by side have near ids, so each begins far from the others.
        let port = FIRST + process.wrapping_mul(61).wrapping_add(step) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port from {FIRST} on")
}
