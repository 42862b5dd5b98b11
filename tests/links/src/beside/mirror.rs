//! One scenario over MirrorMaker 2: two clusters of one broker each, it beside the target.
//!
//! The machines run, the topic is known and records have passed before anything is counted: what
//! starting costs is not held against them.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::java::{Java, Kit};
use crate::children::Process;
use crate::network::{Network, Place};
use crate::scenario::Scenario;
use crate::timeline::Timeline;
use headland_gauge::float;

/// What is written, and what MirrorMaker calls its copy.
const TOPIC: &str = "proof.events";
const COPY: &str = "us.proof.events";
/// Seconds until the first records have passed.
const START_SECONDS_MOST: u64 = 120;
/// Seconds until all have passed: a bad path is not waited for longer.
const LOOPBACK_SECONDS_MOST: u64 = 100;
const NETWORK_SECONDS_MOST: u64 = 30;
/// Seconds of a steady load before what counts, and parts of any other.
const WARM_SECONDS: u64 = 8;
const WARM_PART: u64 = 4;
/// Over a network less is sent before: one that loses much may pass 0.2 MB/s.
const WARM_RECORDS_OVER_NETWORK: u64 = 1_000;

/// What is run, and where.
pub(super) struct Run<'a> {
    pub(super) kit: &'a Kit,
    pub(super) scenario: &'a Scenario,
    /// Its file.
    pub(super) path: &'a str,
    /// The congestion control of everything in the network; that of the system on loopback.
    pub(super) congestion: Option<&'a str>,
}

/// Both brokers and MirrorMaker, with the network between them.
struct Peers {
    network: Network,
    us: Java,
    eu: Java,
    mirror: Java,
    addresses: [String; 2],
}

impl Run<'_> {
    /// Runs it below `folder`.
    pub(super) fn measure(&self, folder: &Path) -> Result<Value> {
        std::fs::create_dir_all(folder).context("cannot create a directory")?;
        let network = Network::start(self.scenario.network.as_ref(), self.scenario.seed, folder)?;
        if let Some(congestion) = self.congestion {
            network.set_congestion(congestion)?;
        }
        let mut peers = self.start(network, folder)?;
        let measured = self.measure_with(&mut peers);
        if measured.is_err() {
            for java in [&peers.us, &peers.eu, &peers.mirror] {
                eprintln!("{}", java.last_words());
            }
        }
        let mut measured = measured?;
        let Peers { network, us, eu, mirror, addresses: _ } = peers;
        drop((mirror, us, eu));
        let report = network.stop()?;
        if let Some(object) = measured.as_object_mut() {
            object.insert("congestion_control".to_owned(), json!(self.congestion));
            object.insert("network".to_owned(), json!(report));
        }
        Ok(measured)
    }

    fn start(&self, network: Network, folder: &Path) -> Result<Peers> {
        let mut brokers = Vec::new();
        let mut addresses = Vec::new();
        for (name, place) in [("us", Place::A), ("eu", Place::B)] {
            let (address, controller) = (free(&network, place)?, free(&network, place)?);
            let listens = [address.as_str(), controller.as_str()];
            brokers.push(Java::broker(self.kit, &network, place, listens, &folder.join(name))?);
            addresses.push(address);
        }
        let (eu, us) = (brokers.pop(), brokers.pop());
        let (us, eu) = us.zip(eu).context("two brokers were started")?;
        let addresses: [String; 2] = addresses.try_into().ok().context("each has an address")?;
        // MirrorMaker looks for new topics every ten minutes: this one is there before it.
        self.load(&network, &addresses, 0)?;
        let [us_address, eu_address] = addresses.each_ref().map(String::as_str);
        let values = [("us", us_address), ("eu", eu_address)];
        let settings = ("mirror-maker.properties", values.as_slice());
        let mirror = Java::mirror(self.kit, &network, settings, &["--clusters", "eu"], folder)?;
        Ok(Peers { network, us, eu, mirror, addresses })
    }

    fn measure_with(&self, peers: &mut Peers) -> Result<Value> {
        let Peers { network, addresses, .. } = &*peers;
        let warm = self.warm_records();
        let mut first =
            self.watch(network, addresses, Place::B, (warm, START_SECONDS_MOST), false)?;
        self.load(network, addresses, warm)?;
        let passed = number(&first.hear()?, "records");
        ensure!(passed >= float(warm), "MirrorMaker passed {passed} of the first {warm} records");
        let is_steady = self.scenario.records_per_second > 0;
        let seconds = match self.scenario.network {
            None => LOOPBACK_SECONDS_MOST,
            Some(_) if is_steady => LOOPBACK_SECONDS_MOST,
            Some(_) => NETWORK_SECONDS_MOST,
        };
        let all = (self.scenario.records, seconds);
        let cpu = peers.cpu()?;
        let source = if is_steady {
            Some(self.watch(network, addresses, Place::A, all, true)?)
        } else {
            None
        };
        let mut target = self.watch(network, addresses, Place::B, all, is_steady)?;
        let written = self.load(network, addresses, self.scenario.records)?;
        let seen = target.hear()?;
        let at_source = source.map(|mut source| source.hear()).transpose()?;
        let spent = peers.cpu()?.into_iter().zip(cpu).map(|(after, before)| after - before);
        Ok(self.conclude(&written, &seen, at_source.as_ref(), &spent.collect::<Vec<_>>()))
    }

    const fn warm_records(&self) -> u64 {
        match (self.scenario.records_per_second, &self.scenario.network) {
            (0, None) => self.scenario.records / WARM_PART,
            (0, Some(_)) => WARM_RECORDS_OVER_NETWORK,
            (rate, _) => rate * WARM_SECONDS,
        }
    }

    /// Writes records at the source and waits until it has acknowledged them.
    fn load(&self, network: &Network, [us, _]: &[String; 2], records: u64) -> Result<Value> {
        let records = records.to_string();
        let options =
            [("scenario", self.path), ("broker", us), ("topic", TOPIC), ("records", &records)];
        Process::start("peer-load", network, Place::A, &options)?.hear()
    }

    /// Begins to watch for so many records, for so many seconds.
    fn watch(
        &self,
        network: &Network,
        [us, eu]: &[String; 2],
        place: Place,
        (records, seconds): (u64, u64),
        is_reading: bool,
    ) -> Result<Process> {
        let (broker, topic) = match place {
            Place::A => (us, TOPIC),
            Place::B => (eu, COPY),
        };
        let (records, seconds) = (records.to_string(), seconds.to_string());
        let options = [
            ("scenario", self.path),
            ("broker", broker),
            ("topic", topic),
            ("records", &records),
            ("seconds-most", &seconds),
            ("ages", if is_reading { "1" } else { "0" }),
        ];
        let mut watcher = Process::start("peer-watch", network, place, &options)?;
        watcher.hear()?;
        Ok(watcher)
    }

    fn conclude(
        &self,
        written: &Value,
        seen: &Value,
        at_source: Option<&Value>,
        spent: &[Duration],
    ) -> Value {
        let records = number(seen, "records");
        let seconds = number(seen, "last_at") - number(written, "started_at");
        let bytes = records * float(u64::try_from(self.scenario.record_bytes).unwrap_or(0));
        let line = Timeline::from_json(seen.get("timeline"));
        let steady = line.rate_beside(std::slice::from_ref(&line));
        let cpu: Vec<f64> = spent.iter().map(Duration::as_secs_f64).collect();
        let all: f64 = cpu.iter().sum();
        let [us, eu, mirror] = cpu.try_into().unwrap_or_default();
        json!({
            "records": records,
            "is_complete": records >= float(self.scenario.records),
            "seconds": seconds,
            "goodput_megabytes_per_second": bytes / seconds / 1e6,
            "steady_megabytes_per_second": steady,
            "cpu_seconds_per_million_records": all / records * 1e6,
            "cpu_seconds": { "source_broker": us, "target_broker": eu, "mirror_maker": mirror },
            "latency": seen.get("latency"),
            "latency_at_source": at_source.and_then(|seen| seen.get("latency")),
        })
    }
}

impl Peers {
    /// Processor time of each so far.
    fn cpu(&self) -> Result<[Duration; 3]> {
        Ok([self.us.cpu()?, self.eu.cpu()?, self.mirror.cpu()?])
    }
}

/// A number that a process said; 0 when it said none.
pub(super) fn number(said: &Value, name: &str) -> f64 {
    said.get(name).and_then(Value::as_f64).unwrap_or(0.0)
}

/// An address at a place that nobody listens on now.
pub(super) fn free(network: &Network, place: Place) -> Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot find a free port")?;
    let port = listener.local_addr().context("cannot find a free port")?.port();
    Ok(format!("{}:{port}", network.address(place)))
}
