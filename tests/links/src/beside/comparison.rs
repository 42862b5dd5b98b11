//! A link and MirrorMaker side by side: the same scenario, one after the other.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::java::{self, Kit};
use super::mirror::{Run, number};
use crate::arguments::Arguments;
use crate::measure;
use crate::report::Report;
use crate::scenario::Scenario;

/// Over a network MirrorMaker gets each of them.
const CONGESTION_CONTROLS: [&str; 2] = ["cubic", "bbr"];
/// On loopback: so many times fewer CPU-seconds.
const CPU_RATIO_LEAST: f64 = 5.0;
/// On loopback, of the latency that MirrorMaker adds.
const P50_PART_MOST: f64 = 1.0 / 3.0;
const P99_PART_MOST: f64 = 1.0 / 2.0;

/// Runs `--scenario` over a link and over MirrorMaker: `--classes` is a file with its class path,
/// `--settings` the folder with its settings.
pub(crate) fn run(mut arguments: Arguments) -> Result<Report> {
    let directory = arguments.take_path("directory")?;
    let path = arguments.take_path("scenario")?;
    let classes = arguments.take_path("classes")?;
    let settings = arguments.take_path("settings")?;
    arguments.finish()?;
    let kit = Kit::read(&classes, settings)?;
    let scenario = Scenario::read(&path)?;
    let load = load_average()?;
    let link = measure::scenario(&directory, &path, &scenario)?;
    let scratch = tempfile::tempdir_in(&directory).context("cannot create a directory")?;
    let text = path.to_str().context("the scenario's name is text")?;
    let controls: Vec<Option<&str>> = match scenario.network {
        None => vec![None],
        Some(_) => CONGESTION_CONTROLS.map(Some).to_vec(),
    };
    let mut mirrors = Vec::new();
    for congestion in controls {
        let run = Run { kit: &kit, scenario: &scenario, path: text, congestion };
        let folder = scratch.path().join(congestion.unwrap_or("loopback"));
        mirrors.push(run.measure(&folder)?);
    }
    let end = link.result.pointer("/ends/0").cloned().unwrap_or_default();
    let compared: Vec<(Value, bool)> =
        mirrors.iter().map(|mirror| compare(&scenario, &end, mirror)).collect();
    let is_met = compared.iter().all(|(_, is_met)| *is_met);
    let result = json!({
        "load_average_at_the_start": load,
        "link": link.result,
        "link_conditions": { "sync": "each commit of either end", "encryption": "mutual TLS 1.3" },
        "mirror_maker": mirrors,
        "mirror_maker_conditions": java::conditions(),
        "comparison": compared.into_iter().map(|(compared, _)| compared).collect::<Vec<_>>(),
    });
    Ok(Report { is_green: link.is_green && is_met, result })
}

/// What the scenario compares, and whether the link is ahead by as much as it has to be.
fn compare(scenario: &Scenario, link: &Value, mirror: &Value) -> (Value, bool) {
    let both = |name| (number(link, name), number(mirror, name));
    match (scenario.records_per_second, &scenario.network) {
        (0, None) => {
            let (ours, theirs) = both("cpu_seconds_per_million_records");
            let ratio = theirs / ours;
            let is_complete = mirror.get("is_complete") == Some(&Value::Bool(true));
            let is_met = ratio >= CPU_RATIO_LEAST && is_complete;
            let compared = json!({
                "link_cpu_seconds_per_million_records": ours,
                "mirror_maker_cpu_seconds_per_million_records": theirs,
                "times_fewer_cpu_seconds": ratio,
                "times_least": CPU_RATIO_LEAST,
                "is_met": is_met,
            });
            (compared, is_met)
        }
        (0, Some(_)) => {
            let (ours, theirs) = both("goodput_megabytes_per_second");
            let compared = json!({
                "congestion_control": mirror.get("congestion_control"),
                "link_goodput_megabytes_per_second": ours,
                "mirror_maker_goodput_megabytes_per_second": theirs,
                "is_met": ours > theirs,
            });
            (compared, ours > theirs)
        }
        (_, network) => latencies(link, mirror, network.is_none()),
    }
}

/// The age of records where they arrive, and how much of it the way between the ends adds: the
/// quantile at the target less the same quantile at the source.
fn latencies(link: &Value, mirror: &Value, is_loopback: bool) -> (Value, bool) {
    let added = |side: &Value, quantile: &str| {
        let at = |place| side.get(place).map_or(0.0, |latency| number(latency, quantile));
        at("latency") - at("latency_at_source")
    };
    let of = |quantile: &str| (added(link, quantile), added(mirror, quantile));
    let ((p50, their_p50), (p99, their_p99)) = (of("p50_ms"), of("p99_ms"));
    let is_ahead = p50 <= P50_PART_MOST * their_p50 && p99 <= P99_PART_MOST * their_p99;
    let is_met = if is_loopback { is_ahead } else { p50 <= their_p50 && p99 <= their_p99 };
    let compared = json!({
        "congestion_control": mirror.get("congestion_control"),
        "link_adds_p50_ms": p50,
        "link_adds_p99_ms": p99,
        "mirror_maker_adds_p50_ms": their_p50,
        "mirror_maker_adds_p99_ms": their_p99,
        "part_of_p50": p50 / their_p50,
        "part_of_p99": p99 / their_p99,
        "is_met": is_met,
    });
    (compared, is_met)
}

/// The load of the last 1, 5 and 15 minutes: figures of a busy machine are worth less.
fn load_average() -> Result<String> {
    let table = std::fs::read_to_string(Path::new("/proc/loadavg"));
    let table = table.context("cannot read the load")?;
    Ok(table.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(text: &str) -> Scenario {
        toml::from_str(text).unwrap()
    }

    fn ages(target: [f64; 2], source: [f64; 2]) -> Value {
        json!({
            "latency": { "p50_ms": target[0], "p99_ms": target[1] },
            "latency_at_source": { "p50_ms": source[0], "p99_ms": source[1] },
        })
    }

    #[test]
    fn the_processor_is_compared_where_all_is_sent_at_once_without_a_network() {
        let scenario = scenario("records = 1\nrecord_bytes = 200\nrecords_per_second = 0");
        let link = json!({ "cpu_seconds_per_million_records": 2.0 });
        let mirror = |cpu| json!({ "cpu_seconds_per_million_records": cpu, "is_complete": true });

        assert!(compare(&scenario, &link, &mirror(10.0)).1);
        assert!(!compare(&scenario, &link, &mirror(9.9)).1);
    }

    #[test]
    fn a_mirror_that_is_not_complete_proves_nothing() {
        let scenario = scenario("records = 1\nrecord_bytes = 200\nrecords_per_second = 0");
        let link = json!({ "cpu_seconds_per_million_records": 2.0 });
        let mirror = json!({ "cpu_seconds_per_million_records": 20.0, "is_complete": false });

        assert!(!compare(&scenario, &link, &mirror).1);
    }

    #[test]
    fn what_a_way_adds_leaves_out_what_the_source_takes() {
        let (compared, is_met) =
            latencies(&ages([3.0, 6.0], [2.0, 4.0]), &ages([4.0, 8.0], [1.0, 4.0]), true);

        assert!(is_met);
        assert_eq!(compared["link_adds_p50_ms"], 1.0);
        assert_eq!(compared["mirror_maker_adds_p99_ms"], 4.0);
    }

    #[test]
    fn more_than_a_third_of_the_median_is_too_much() {
        let found = latencies(&ages([3.1, 6.0], [2.0, 4.0]), &ages([4.0, 8.0], [1.0, 4.0]), true);

        assert!(!found.1);
    }
}
