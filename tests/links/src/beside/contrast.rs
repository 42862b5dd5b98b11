//! What MirrorMaker 2 does where names decide: topics that look like copies, dots in an alias, two
//! instances that do not agree on aliases; and how far back its translated groups begin.
//!
//! Nothing is held to a bar: it is what links are compared with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::catalogue;
use super::connection::Connection;
use super::fetch;
use super::java::{Java, Kit};
use super::mirror::free;
use super::protocol;
use crate::arguments::Arguments;
use crate::load::{Load, PARTITIONS};
use crate::network::{Network, Place};
use crate::report::Report;
use headland_gauge as gauge;

/// Records of a topic in a layout, and of the one that groups read.
const RECORDS: u64 = 800;
const GROUP_RECORDS: u64 = 40_000;
/// Records of a batch, and bytes of a record.
const BATCH: u64 = 50;
const RECORD_BYTES: usize = 100;
/// Between two batches of the topic that groups read: 10,000 records a second.
const PAUSE: Duration = Duration::from_millis(5);
/// How far groups are behind the end.
const LAGS: [u64; 5] = [0, 8, 80, 800, 8_000];
/// Until the first copy is complete.
const PATIENCE: Duration = Duration::from_secs(100);
/// What MirrorMaker gets beyond that, to go on copying or to translate.
const AFTERMATH: Duration = Duration::from_secs(25);
const LOOK: Duration = Duration::from_millis(500);

/// One instance of MirrorMaker: what it calls the first cluster and the second.
struct Instance {
    here: &'static str,
    there: &'static str,
    /// It runs from the second to the first.
    is_reversed: bool,
    is_both_ways: bool,
}

/// Two clusters, and who copies between them.
struct Layout {
    name: &'static str,
    /// Topics that are written at the first cluster.
    topics: &'static [&'static str],
    instances: &'static [Instance],
    /// The copy that is waited for at the second.
    copy: &'static str,
}

const LAYOUTS: [Layout; 3] = [
    Layout {
        name: "a_local_topic_looks_like_a_copy",
        topics: &["orders", "eu.orders"],
        instances: &[Instance { here: "us", there: "eu", is_reversed: false, is_both_ways: true }],
        copy: "us.orders",
    },
    Layout {
        name: "an_alias_has_a_dot",
        topics: &["orders"],
        instances: &[Instance {
            here: "us.east",
            there: "eu",
            is_reversed: false,
            is_both_ways: true,
        }],
        copy: "us.east.orders",
    },
    Layout {
        name: "two_instances_name_the_clusters_differently",
        topics: &["orders"],
        instances: &[
            Instance { here: "us", there: "eu", is_reversed: false, is_both_ways: false },
            Instance { here: "europe", there: "america", is_reversed: true, is_both_ways: false },
        ],
        copy: "us.orders",
    },
];

/// Runs every layout, or those whose name begins as `--only` says.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    let directory = arguments.take_path("directory")?;
    let classes = arguments.take_path("classes")?;
    let settings = arguments.take_path("settings")?;
    let only: String = arguments.take("only", String::new())?;
    arguments.finish()?;
    std::fs::create_dir_all(&directory).context("cannot create the directory")?;
    let scratch = tempfile::tempdir_in(&directory).context("cannot create a directory")?;
    let kit = Kit::read(&classes, settings)?;
    let mut result = Map::new();
    for layout in LAYOUTS.iter().filter(|layout| layout.name.starts_with(&only)) {
        let clusters = Clusters::start(&kit, &scratch.path().join(layout.name))?;
        result.insert(layout.name.to_owned(), layout.run(clusters)?);
    }
    let name = "groups_go_on_at_the_copy";
    if name.starts_with(&only) {
        let clusters = Clusters::start(&kit, &scratch.path().join(name))?;
        result.insert(name.to_owned(), groups(clusters)?);
    }
    Ok(Report { is_green: true, result: result.into() })
}

impl Layout {
    fn run(&self, mut clusters: Clusters<'_>) -> Result<Value> {
        for topic in self.topics {
            clusters.write(topic, RECORDS, Duration::ZERO)?;
        }
        for instance in self.instances {
            clusters.mirror(instance)?;
        }
        clusters.wait_for(self.copy, RECORDS)?;
        std::thread::sleep(AFTERMATH);
        let written = RECORDS * u64::try_from(self.topics.len())?;
        let (here, there) = (clusters.topics(0)?, clusters.topics(1)?);
        Ok(json!({
            "records_written_at_the_first": written,
            "records_at_the_first": sum(&here),
            "records_at_the_second": sum(&there),
            "topics_at_the_first": here,
            "topics_at_the_second": there,
        }))
    }
}

fn sum(topics: &Map<String, Value>) -> u64 {
    topics.values().filter_map(Value::as_u64).sum()
}

/// Groups without members that are so far behind; what each reads again at the copy.
fn groups(mut clusters: Clusters<'_>) -> Result<Value> {
    let (topic, copy) = ("orders", "us.orders");
    clusters.mirror(&Instance {
        here: "us",
        there: "eu",
        is_reversed: false,
        is_both_ways: false,
    })?;
    clusters.write(topic, GROUP_RECORDS, PAUSE)?;
    clusters.wait_for(copy, GROUP_RECORDS)?;
    let ends = clusters.ends(0, topic)?;
    let mut committed = Vec::new();
    for lag in LAGS {
        let offsets: Vec<(u32, u64)> = ends
            .iter()
            .map(|(partition, end)| (*partition, end.saturating_sub(lag / u64::from(PARTITIONS))))
            .collect();
        let group = format!("behind-{lag}");
        clusters.commit(&group, topic, &offsets)?;
        committed.push((lag, group, offsets));
    }
    std::thread::sleep(AFTERMATH);
    let mut said = Vec::new();
    for (lag, group, offsets) in committed {
        let translated = clusters.offsets(1, &group, copy)?;
        let pairs = offsets.iter().zip(&translated);
        let again: u64 = pairs
            .map(|((_, at), (_, translated))| at.saturating_sub(translated.unwrap_or(0)))
            .sum();
        let absent = translated.iter().filter(|(_, offset)| offset.is_none()).count();
        said.push(json!({
            "records_behind_the_end": lag,
            "records_read_again": again,
            "partitions_without_a_translated_offset": absent,
        }));
    }
    Ok(json!({ "records": GROUP_RECORDS, "partitions": PARTITIONS, "groups": said }))
}

/// Two clusters of one broker each, and what copies between them.
struct Clusters<'a> {
    kit: &'a Kit,
    folder: PathBuf,
    network: Network,
    addresses: [String; 2],
    connections: Vec<Connection>,
    // In the order in which they end.
    mirrors: Vec<Java>,
    brokers: Vec<Java>,
}

impl<'a> Clusters<'a> {
    fn start(kit: &'a Kit, folder: &Path) -> Result<Self> {
        let network = Network::start(None, 0, folder)?;
        let (mut brokers, mut addresses) = (Vec::new(), Vec::new());
        for name in ["first", "second"] {
            let (address, controller) = (free(&network, Place::A)?, free(&network, Place::A)?);
            let listens = [address.as_str(), controller.as_str()];
            brokers.push(Java::broker(kit, &network, Place::A, listens, &folder.join(name))?);
            addresses.push(address);
        }
        let connections = addresses
            .iter()
            .map(|address| Connection::open(address.parse().context("an address")?))
            .collect::<Result<_>>()?;
        let addresses = addresses.try_into().ok().context("each has an address")?;
        let (folder, mirrors) = (folder.to_owned(), Vec::new());
        Ok(Self { kit, folder, network, addresses, connections, mirrors, brokers })
    }

    fn mirror(&mut self, instance: &Instance) -> Result<()> {
        let Instance { here, there, is_reversed, is_both_ways } = *instance;
        let [first, second] = self.addresses.each_ref().map(String::as_str);
        let (here_at, there_at) = if is_reversed { (second, first) } else { (first, second) };
        let values = [
            ("here", here),
            ("there", there),
            ("here_address", here_at),
            ("there_address", there_at),
            ("both_ways", if is_both_ways { "true" } else { "false" }),
        ];
        let folder = self.folder.join(here);
        std::fs::create_dir_all(&folder).context("cannot create a directory")?;
        let java =
            Java::mirror(self.kit, &self.network, ("contrast.properties", &values), &[], &folder)?;
        self.mirrors.push(java);
        Ok(())
    }

    fn connection(&mut self, cluster: usize) -> Result<&mut Connection> {
        self.connections.get_mut(cluster).context("one of two clusters")
    }

    /// Creates a topic at the first cluster and writes to it, partition after partition.
    fn write(&mut self, topic: &str, records: u64, pause: Duration) -> Result<()> {
        let connection = self.connection(0)?;
        connection.create(topic, PARTITIONS, None)?;
        let mut load = Load::new(RECORD_BYTES);
        for number in 0..records / BATCH {
            let partition = u32::try_from(number % u64::from(PARTITIONS))?;
            let batches = [(partition, load.batch(BATCH, gauge::now())?)];
            let request = protocol::produce(topic, &batches)?;
            let until = gauge::now() + PATIENCE;
            // A topic that was made just now refuses for a moment.
            while protocol::read_produced(connection.ask(&request)?)?.iter().any(|code| *code != 0)
            {
                ensure!(gauge::now() < until, "{topic} cannot be written to");
                std::thread::sleep(LOOK);
            }
            std::thread::sleep(pause);
        }
        Ok(())
    }

    fn ends(&mut self, cluster: usize, topic: &str) -> Result<Vec<(u32, u64)>> {
        let request = fetch::list_ends(topic, PARTITIONS)?;
        fetch::read_ends(self.connection(cluster)?.ask(&request)?)
    }

    /// Waits until a topic of the second cluster has so many records.
    fn wait_for(&mut self, topic: &str, records: u64) -> Result<()> {
        let until = gauge::now() + PATIENCE;
        while self.ends(1, topic)?.iter().map(|(_, end)| end).sum::<u64>() < records {
            if gauge::now() > until {
                for java in self.mirrors.iter().chain(&self.brokers) {
                    eprintln!("{}", java.last_words());
                }
                bail!("{topic} did not become complete");
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// The topics of a cluster that are not MirrorMaker's own, each with its records.
    fn topics(&mut self, cluster: usize) -> Result<Map<String, Value>> {
        let names =
            catalogue::read_topics(self.connection(cluster)?.ask(&catalogue::list_topics()?)?)?;
        let mut topics = Map::new();
        for name in names.into_iter().filter(|name| name.ends_with("orders")) {
            let records: u64 = self.ends(cluster, &name)?.iter().map(|(_, end)| end).sum();
            topics.insert(name, json!(records));
        }
        Ok(topics)
    }

    /// Commits offsets for a group at the first cluster.
    fn commit(&mut self, group: &str, topic: &str, offsets: &[(u32, u64)]) -> Result<()> {
        self.wait_for_coordinator(0, group)?;
        let request = catalogue::commit(group, topic, offsets)?;
        let is_taken = catalogue::read_committed(self.connection(0)?.ask(&request)?)?;
        ensure!(is_taken, "the offsets of {group} are refused");
        Ok(())
    }

    /// The offsets that a group has at a cluster.
    fn offsets(
        &mut self,
        cluster: usize,
        group: &str,
        topic: &str,
    ) -> Result<Vec<(u32, Option<u64>)>> {
        self.wait_for_coordinator(cluster, group)?;
        let request = catalogue::committed(group, topic, PARTITIONS)?;
        catalogue::read_offsets(self.connection(cluster)?.ask(&request)?)
    }

    fn wait_for_coordinator(&mut self, cluster: usize, group: &str) -> Result<()> {
        let until = gauge::now() + PATIENCE;
        let request = catalogue::find_coordinator(group)?;
        while !catalogue::read_coordinator(self.connection(cluster)?.ask(&request)?)? {
            ensure!(gauge::now() < until, "nobody keeps the offsets of {group}");
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}
