//! Kafka's broker: fetched by Maven when it is asked for, one node that is its own controller.
//!
//! Nothing of it is part of this project. Its settings are Kafka's own, but for where it listens
//! and writes, and that it keeps records of any age: those of the proof are of 1970. The virtual
//! machine gets the heap and the collector that Kafka's start script gives it.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::step::{self, Stopwatch};
use crate::workspace::Workspace;

/// What [`PROJECT`] asks for.
pub(super) const VERSION: &str = "4.1.0";
/// File with the class path of what was fetched.
pub(super) const CLASSES: &str = "class-path";
/// What Maven fetches: the broker, MirrorMaker 2 and what says what goes wrong.
const PROJECT: &str = "tests/links/peers/pom.xml";
/// As `kafka-server-start.sh` and `kafka-run-class.sh` have them.
const MACHINE: [&str; 8] = [
    "-Xms1G",
    "-Xmx1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];
const QUIET: &str = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn";
/// Any 16 bytes in base 64.
const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qg";
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker that runs; it ends when this is dropped, and what it wrote is removed.
pub(super) struct Broker {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
    machine: String,
}

impl Broker {
    /// Fetches the broker, formats an empty folder and waits until it listens.
    pub(super) fn start(workspace: &Workspace, folder: &Path) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder).context("cannot remove what an earlier run left")?;
        }
        fs::create_dir_all(folder).context("cannot create a folder for the broker")?;
        let classes = fetch(workspace, folder)?;
        let (address, controller) = (free_address()?, free_address()?);
        let settings = folder.join("server.properties");
        fs::write(&settings, server_properties(folder, address, controller))
            .context("cannot write the broker's settings")?;
        let java = |main: &str| {
            let mut java = Command::new("java");
            java.args(MACHINE).arg(QUIET).args(["-cp", &classes, main]);
            java
        };
        let mut format = java("kafka.tools.StorageTool");
        step::capture(format.args(["format", "-t", CLUSTER, "-c"]).arg(&settings))?;
        let version = Command::new("java").arg("-version").output().context("cannot run java")?;
        let machine = String::from_utf8_lossy(&version.stderr).lines().next().map(str::to_owned);
        let mut kafka = java("kafka.Kafka");
        // What a proof says on its standard output is its result alone.
        kafka.arg(&settings).stdout(Stdio::null());
        let child = kafka.spawn().context("cannot start the broker")?;
        let (folder, machine) = (folder.to_owned(), machine.unwrap_or_default());
        let mut broker = Self { child, folder, address, machine };
        broker.wait()?;
        Ok(broker)
    }

    fn wait(&mut self) -> Result<()> {
        let watch = Stopwatch::start();
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait().context("cannot watch the broker")? {
                bail!("the broker ended with {status}; its messages are above");
            }
            ensure!(watch.elapsed() < PATIENCE, "the broker does not listen on {}", self.address);
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// Where it listens.
    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The number of its process.
    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    /// What figures about it depend on.
    pub(super) fn conditions(&self) -> Value {
        let machine = MACHINE.join(" ");
        json!({ "kafka": VERSION, "java": self.machine, "java_options": machine })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended.and_then(|_| fs::remove_dir_all(&self.folder)) {
            eprintln!("what the broker left could not be cleared: {error}");
        }
    }
}

/// Lets Maven fetch the broker, MirrorMaker and what they need; returns their class path, which it
/// also leaves in [`CLASSES`] below `folder`.
pub(super) fn fetch(workspace: &Workspace, folder: &Path) -> Result<String> {
    let list = folder.join(CLASSES);
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "--file"]).arg(workspace.root().join(PROJECT));
    maven.arg("dependency:build-classpath");
    maven.arg(format!("-Dmdep.outputFile={}", list.display()));
    // What Maven says on its standard output is none of this command's result.
    step::capture(&mut maven).context("cannot fetch the broker")?;
    fs::read_to_string(list).context("Maven wrote no class path")
}

/// An address of this machine that nobody listens on now.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot find a free port")?;
    listener.local_addr().context("cannot find a free port")
}

fn server_properties(folder: &Path, address: SocketAddr, controller: SocketAddr) -> String {
    let data = folder.join("data");
    [
        "process.roles=broker,controller".to_owned(),
        "node.id=1".to_owned(),
        format!("controller.quorum.voters=1@{controller}"),
        format!("listeners=PLAINTEXT://{address},CONTROLLER://{controller}"),
        "controller.listener.names=CONTROLLER".to_owned(),
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned(),
        format!("log.dirs={}", data.display()),
        "log.retention.ms=-1".to_owned(),
    ]
    .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_both_listeners_and_where_to_write() {
        let settings = server_properties(
            Path::new("/data"),
            ([127, 0, 0, 1], 5).into(),
            ([127, 0, 0, 1], 6).into(),
        );

        assert!(settings.contains("listeners=PLAINTEXT://127.0.0.1:5,CONTROLLER://127.0.0.1:6\n"));
        assert!(settings.contains("log.dirs=/data/data\n"));
    }

    #[test]
    fn the_project_names_the_version_that_is_said() {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PROJECT);

        let project = fs::read_to_string(project).unwrap();

        assert_eq!(project.matches(&format!("<version>{VERSION}</version>")).count(), 2);
    }
}
