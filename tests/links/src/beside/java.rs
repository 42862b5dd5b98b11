//! Kafka's broker and MirrorMaker 2, as processes.
//!
//! Their settings are the files of `tests/links/peers`; the virtual machine gets the heap and the
//! collector that Kafka's start scripts give it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use headland_gauge as gauge;
use serde_json::{Value, json};

use crate::network::{Network, Place};

/// As `kafka-run-class.sh` has them.
const MACHINE: [&str; 6] = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];
/// As `kafka-server-start.sh` has it.
const BROKER_HEAP: [&str; 2] = ["-Xms1G", "-Xmx1G"];
/// As `connect-mirror-maker.sh` has it.
const MIRROR_HEAP: [&str; 2] = ["-Xms256M", "-Xmx2G"];
const QUIET: &str = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn";
/// Any 16 bytes in base 64.
const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qg";
/// Lines of a log that are shown when a run fails.
const LAST_LINES: usize = 15;

/// Where Java finds what Maven fetched, and the settings.
#[derive(Debug)]
pub(super) struct Kit {
    classes: String,
    settings: PathBuf,
}

impl Kit {
    /// Reads the class path from a file.
    pub(super) fn read(classes: &Path, settings: PathBuf) -> Result<Self> {
        let classes = std::fs::read_to_string(classes).context("cannot read the class path")?;
        Ok(Self { classes: classes.trim().to_owned(), settings })
    }

    /// Writes settings with what stands between `@` filled in.
    fn settings(&self, name: &str, folder: &Path, values: &[(&str, &str)]) -> Result<PathBuf> {
        let from = self.settings.join(name);
        let text = std::fs::read_to_string(&from);
        let text = text.with_context(|| format!("cannot read {}", from.display()))?;
        let to = folder.join(name);
        std::fs::write(&to, filled(text, values)).context("cannot write settings")?;
        Ok(to)
    }
}

fn filled(text: String, values: &[(&str, &str)]) -> String {
    values.iter().fold(text, |text, (name, value)| text.replace(&format!("@{name}@"), value))
}

/// What figures depend on.
pub(super) fn conditions() -> Value {
    json!({
        "java_options": MACHINE.join(" "),
        "broker_heap": BROKER_HEAP.join(" "),
        "mirror_maker_heap": MIRROR_HEAP.join(" "),
        "sync": "Kafka's default: the system writes when it likes, nothing waits for the disk",
        "encryption": "none",
    })
}

/// A virtual machine; it is killed when it is dropped.
pub(super) struct Java {
    child: Child,
    log: PathBuf,
}

impl Java {
    /// Starts a broker on an empty folder, which listens a while later.
    pub(super) fn broker(
        kit: &Kit,
        network: &Network,
        place: Place,
        [address, controller]: [&str; 2],
        folder: &Path,
    ) -> Result<Self> {
        std::fs::create_dir_all(folder).context("cannot create a broker's folder")?;
        let data = folder.join("data").display().to_string();
        let values = [("address", address), ("controller", controller), ("folder", &data)];
        let settings = kit.settings("server.properties", folder, &values)?;
        let mut format = Command::new("java");
        format.args([QUIET, "-cp", &kit.classes, "kafka.tools.StorageTool", "format", "-t"]);
        format.args([CLUSTER, "-c"]).arg(&settings).stdout(Stdio::null());
        let status = format.status().context("cannot run java")?;
        ensure!(status.success(), "a broker's folder cannot be formatted");
        let mut java = machine(kit, network, place, BROKER_HEAP);
        Self::start(java.arg("kafka.Kafka").arg(settings), folder.join("broker.log"))
    }

    /// Starts MirrorMaker beside the second broker, with settings and what fills them in.
    pub(super) fn mirror(
        kit: &Kit,
        network: &Network,
        (name, values): (&str, &[(&str, &str)]),
        options: &[&str],
        folder: &Path,
    ) -> Result<Self> {
        let settings = kit.settings(name, folder, values)?;
        let mut java = machine(kit, network, Place::B, MIRROR_HEAP);
        java.arg("org.apache.kafka.connect.mirror.MirrorMaker").arg(settings);
        Self::start(java.args(options), folder.join("mirror-maker.log"))
    }

    fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let said = File::create(&log).context("cannot create a log")?;
        let errors = said.try_clone().context("cannot create a log")?;
        let child = command.stdin(Stdio::null()).stdout(said).stderr(errors).spawn();
        Ok(Self { child: child.context("cannot start java")?, log })
    }

    /// Processor time so far.
    pub(super) fn cpu(&self) -> Result<Duration> {
        gauge::cpu_of(self.child.id())
    }

    /// The last lines that it said.
    pub(super) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(LAST_LINES);
        format!("{}:\n{}", self.log.display(), lines.get(from..).unwrap_or_default().join("\n"))
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn machine(kit: &Kit, network: &Network, place: Place, heap: [&str; 2]) -> Command {
    let mut java = network.command(place, Path::new("java"));
    java.args(heap).args(MACHINE).args([QUIET, "-cp", &kit.classes]);
    java
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_in_the_repository_are_filled_in_completely() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let values = [
            ("address", "127.0.0.1:5"),
            ("controller", "127.0.0.1:6"),
            ("folder", "/data"),
            ("us", "127.0.0.1:5"),
            ("eu", "127.0.0.1:7"),
            ("here", "us"),
            ("there", "eu"),
            ("here_address", "127.0.0.1:5"),
            ("there_address", "127.0.0.1:7"),
            ("both_ways", "true"),
        ];

        let names = ["server.properties", "mirror-maker.properties", "contrast.properties"];
        for name in names {
            let text = std::fs::read_to_string(folder.join(name)).unwrap();
            let settings = filled(text, &values);
            let mut set = settings.lines().filter(|line| !line.starts_with('#'));

            assert!(set.all(|line| line.replace("1@127.0.0.1:6", "").matches('@').count() == 0));
        }
    }
}
