//! A scenario from start to report.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::changes;
use crate::children::Process;
use crate::fleet;
use crate::network::{Network, Place};
use crate::report::Report;
use crate::scenario::Scenario;
use crate::silence::Silences;
use crate::timeline::Timeline;
use headland_gauge::float;

/// What both ends of a link or a flow have said at their ends.
struct Said {
    name: String,
    sent: Value,
    stored: Value,
}

/// Runs one scenario and reports what it took.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    let directory = arguments.take_path("directory")?;
    let path = arguments.take_path("scenario")?;
    arguments.finish()?;
    scenario(&directory, &path, &Scenario::read(&path)?)
}

/// Runs a scenario that was read from `path`, below `directory`.
pub(crate) fn scenario(directory: &Path, path: &Path, scenario: &Scenario) -> Result<Report> {
    std::fs::create_dir_all(directory).context("cannot create the directory")?;
    let scratch = tempfile::tempdir_in(directory).context("cannot create a directory")?;
    let network = Network::start(scenario.network.as_ref(), scenario.seed, scratch.path())?;
    let mut links = Vec::new();
    for number in 0..scenario.links {
        let folder = scratch.path().join(format!("link-{number}"));
        links.push(Pair::link(&network, path, folder)?);
    }
    let flows: Vec<Pair> = scenario
        .flows
        .iter()
        .map(|congestion| Pair::flow(&network, congestion, scenario.flow_seconds))
        .collect::<Result<_>>()?;
    let pairs = links.into_iter().chain(flows);
    let (said, made) = std::thread::scope(|scope| {
        let changes = changes::start(scope, &network, scenario)?;
        let said = pairs.map(Pair::end).collect::<Result<Vec<_>>>()?;
        let made = changes.join().ok().context("the changes of the network panicked")?;
        Ok::<_, anyhow::Error>((said, made?))
    })?;
    let report = network.stop()?;
    Ok(conclude(scenario, &said, &made, report.as_ref()))
}

/// Two processes, one of which sends to the other.
struct Pair {
    name: String,
    from: Process,
    to: Process,
}

impl Pair {
    fn link(network: &Network, scenario: &Path, folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder).context("cannot create a directory")?;
        fleet::issue(&folder)?;
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let scenario = scenario.to_str().context("the scenario's name is text")?;
        let folder = folder.to_str().context("the directory's name is text")?;
        let options = [("scenario", scenario), ("directory", folder)];
        let mut to = Process::start("sink", network, Place::B, &options)?;
        let target = target(network, &to.hear()?)?;
        let options = [("scenario", scenario), ("directory", folder), ("target", &target)];
        let from = Process::start("source", network, Place::A, &options)?;
        Ok(Self { name: name.unwrap_or_default(), from, to })
    }

    fn flow(network: &Network, congestion: &str, seconds: u64) -> Result<Self> {
        let mut to = Process::start("flow-sink", network, Place::B, &[])?;
        let (target, seconds) = (target(network, &to.hear()?)?, seconds.to_string());
        let options =
            [("target", target.as_str()), ("congestion", congestion), ("seconds", &seconds)];
        let from = Process::start("flow-source", network, Place::A, &options)?;
        Ok(Self { name: congestion.to_owned(), from, to })
    }

    fn end(mut self) -> Result<Said> {
        let sent = self.from.hear()?;
        Ok(Said { name: self.name, sent, stored: self.to.end()? })
    }
}

/// Where side a reaches what listens on side b.
fn target(network: &Network, said: &Value) -> Result<String> {
    let address = said.get("address").and_then(Value::as_str);
    let port = address.and_then(|address| address.rsplit(':').next());
    let port = port.with_context(|| format!("there is no address in {said}"))?;
    Ok(format!("{}:{port}", network.target()))
}

fn conclude(
    scenario: &Scenario,
    said: &[Said],
    made: &[Duration],
    network: Option<&Value>,
) -> Report {
    let number = |said: &Value, name: &str| said.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let records = float(scenario.records);
    let bytes = records * float(u64::try_from(scenario.record_bytes).unwrap_or(0));
    let lines: Vec<Timeline> =
        said.iter().map(|said| Timeline::from_json(said.stored.get("timeline"))).collect();
    let rates: Vec<f64> = lines.iter().map(|line| line.rate_beside(&lines)).collect();
    let all: f64 = rates.iter().sum();
    let mut is_green =
        network.is_none_or(|report| report.get("is_valid") == Some(&Value::Bool(true)));
    let mut results = Vec::new();
    for (Said { name, sent, stored }, rate) in said.iter().zip(rates) {
        let share = if all > 0.0 { rate / all * 100.0 } else { 0.0 };
        is_green &= said.len() == 1 || share >= scenario.least_share_percent;
        let mut result = json!({
            "name": name,
            "steady_megabytes_per_second": rate,
            "share_percent": share,
        });
        if let (Some(of_link), true) = (result.as_object_mut(), name.starts_with("link-")) {
            let is_complete = number(stored, "records").to_bits() == records.to_bits();
            is_green &= is_complete;
            let silences = Silences::from_json(stored.get("silences"));
            let (changes, is_within) = changes::conclude(scenario, made, &silences);
            is_green &= is_within && alerts_are_in_time(scenario, stored);
            is_green &= records_are_in_time(scenario, stored);
            let seconds = number(sent, "seconds");
            let cpu = number(sent, "cpu_seconds") + number(stored, "cpu_seconds");
            of_link.extend([
                ("is_complete".to_owned(), json!(is_complete)),
                ("seconds".to_owned(), json!(seconds)),
                ("goodput_megabytes_per_second".to_owned(), json!(bytes / seconds / 1e6)),
                ("cpu_seconds_per_million_records".to_owned(), json!(cpu / records * 1e6)),
                ("cpu_seconds_source".to_owned(), json!(number(sent, "cpu_seconds"))),
                ("cpu_seconds_sink".to_owned(), json!(number(stored, "cpu_seconds"))),
                ("start_ms".to_owned(), sent.get("start_ms").cloned().unwrap_or_default()),
                ("latency".to_owned(), stored.get("latency").cloned().unwrap_or_default()),
                ("latency_at_source".to_owned(), sent.get("latency").cloned().unwrap_or_default()),
                ("alerts".to_owned(), stored.get("alerts").cloned().unwrap_or_default()),
                ("connections".to_owned(), json!(number(sent, "connections"))),
                ("changes".to_owned(), changes),
            ]);
        }
        results.push(result);
    }
    let result = json!({
        "records": scenario.records,
        "record_bytes": scenario.record_bytes,
        "records_per_second": scenario.records_per_second,
        "ends": results,
        "network": network,
    });
    Report { is_green, result }
}

/// Whether records were as soon on the receiver's disk as they have to be.
fn records_are_in_time(scenario: &Scenario, stored: &Value) -> bool {
    let number = |name| stored.get("latency").and_then(|latency| latency.get(name));
    let bars = [("p50_ms", scenario.p50_ms_most), ("p99_ms", scenario.p99_ms_most)];
    bars.into_iter().all(|(name, most)| {
        most.is_none_or(|most| number(name).and_then(Value::as_f64).is_some_and(|ms| ms <= most))
    })
}

/// Whether every alert arrived, and most of them as soon as they have to.
fn alerts_are_in_time(scenario: &Scenario, stored: &Value) -> bool {
    let number = |name| stored.get("alerts").and_then(|alerts| alerts.get(name));
    scenario.alerts.is_none_or(|alerts| {
        let count = number("count").and_then(Value::as_u64);
        let p99_ms = number("p99_ms").and_then(Value::as_f64);
        count == Some(alerts.count) && p99_ms.is_some_and(|p99_ms| p99_ms <= alerts.p99_ms_most)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_load_is_held_to_its_quantiles() {
        let text = "records = 1\nrecord_bytes = 16\nrecords_per_second = 1\np99_ms_most = 190.0";
        let scenario: Scenario = toml::from_str(text).unwrap();
        let latency = |p99: f64| json!({ "latency": { "p50_ms": 500.0, "p99_ms": p99 } });

        assert!(records_are_in_time(&scenario, &latency(190.0)));
        assert!(!records_are_in_time(&scenario, &latency(190.1)));
        assert!(!records_are_in_time(&scenario, &json!({})));
    }
}
